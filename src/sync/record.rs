//! What a run puts on record: its intent, its outcome, the inventory after it, and the events that
//! tell of it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tracing::warn;

use super::{
    look::{Commit, Look, LookError, Wanted},
    nodes::{Ended, Meaning},
    observe::Observation,
    run::{Context, Report, RunError, backoff},
};
use crate::{
    domain::{
        approval::{Approver, Choice, Weight},
        audit::event::{Actor, EventType, NewEvent, Person},
        canonical::{Digest, canonical},
        inventory::Owned,
        object::ObjectKey,
        plan::{Hold, Plan, REBASED},
        revision::Revision,
        run::{Action, ChangeRecord, Outcome, RunId, RunStatus, Trigger},
    },
    store::{
        Body, ChangeOutcome, Finish, Intent, InventoryChange, NewRun, NodeProgress, Parkings,
        Settle, Undo,
    },
};

/// What a run wrote, and what follows for the inventory.
pub(super) struct Written {
    pub(super) changes: Vec<ChangeRecord>,
    /// How long the requests took: microseconds, by position.
    pub(super) took: BTreeMap<usize, i64>,
    pub(super) inventory: Vec<InventoryChange>,
    pub(super) bodies: Vec<Body>,
}

impl Context<'_> {
    /// Whoever asked for it by hand, or this process.
    pub(super) fn asked_by(&self) -> Actor {
        let operator = self.operator.as_ref();
        operator.map_or_else(|| self.app.actor(), |by| by.actor.clone())
    }

    pub(super) fn event(&self, event_type: EventType, payload: Value) -> NewEvent {
        NewEvent {
            target: Some(self.stack.target.name.clone()),
            stack: Some(self.stack.name.clone()),
            run: Some(self.run.clone()),
            ..self
                .app
                .event(event_type, self.app.actor(), payload)
                .traced(Some(&self.trace))
        }
    }

    /// The same after a look.
    pub(super) fn of_look(&self, event: NewEvent, look: &Look) -> NewEvent {
        let Wanted {
            revision, commit, ..
        } = &look.wanted;
        self.of_run(event, Some(revision), Some(commit), Some(look))
    }

    /// An event about the run as a whole, with what led to it, as far as that is known yet.
    pub(super) fn of_run(
        &self,
        event: NewEvent,
        at: Option<&Revision>,
        commit: Option<&Commit>,
        look: Option<&Look>,
    ) -> NewEvent {
        event
            .with("trigger", self.trigger)
            .with("attempt", self.state.attempt + 1)
            .with("source", self.source(at, commit))
            .with("plan", look.map(|look| look.plan.hash()))
            .with("gateway", look.map(|look| &look.observation.version))
            .with("config", &self.app.config_hash)
    }

    pub(super) fn new_run(
        &self,
        revision: Option<Revision>,
        plan: Option<&Plan>,
        version: Option<&str>,
    ) -> NewRun {
        let commits = self
            .deliveries
            .iter()
            .flat_map(|delivery| delivery.commits.iter().cloned())
            .collect();
        NewRun {
            id: self.run.clone(),
            stack: self.stack.name.clone(),
            node: self.stack.target.node.clone(),
            trigger: self.trigger,
            revision,
            previous: self.state.settled.clone(),
            claimed: self.state.wanted,
            attempt: self.state.attempt,
            started_at: self.started_at,
            plan_hash: plan.map(Plan::hash),
            plan: plan.map(|plan| canonical(&json!(plan))),
            commits,
            deliveries: self
                .deliveries
                .iter()
                .map(|delivery| delivery.id.clone())
                .collect(),
            pusher: self
                .deliveries
                .last()
                .and_then(|delivery| delivery.pusher.clone()),
            worker: self.app.worker.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            gateway_version: version.map(str::to_owned),
        }
    }

    /// The people of a run: who pushed, who wrote and who committed the head, who asked for it by
    /// hand.
    pub(super) fn people(&self, commit: Option<&Commit>) -> Vec<(String, Person)> {
        let mut people = Vec::new();
        let mut named = BTreeSet::new();
        for delivery in &self.deliveries {
            if let Some(pusher) = &delivery.pusher
                && named.insert(pusher.to_string())
            {
                people.push(("pusher".to_owned(), pusher.clone()));
            }
        }
        if let Some(commit) = commit {
            people.push(("author".to_owned(), commit.author_named()));
            let committer = commit.committer_named();
            people.extend(committer.map(|committer| ("committer".to_owned(), committer)));
        }
        if let Some(operator) = &self.operator {
            people.push(("operator".to_owned(), operator.on_record()));
        }
        people
    }

    /// The people of a run, and whoever approved what it carries out.
    fn people_of(&self, look: &Look) -> Vec<(String, Person)> {
        let mut people = self.people(Some(&look.wanted.commit));
        for (decision, weight) in look.approved().iter().flat_map(|it| &it.decisions) {
            if (decision.choice, *weight) != (Choice::Approve, Weight::Counts) {
                continue;
            }
            let (Approver::Person(name) | Approver::Local(name)) = &decision.by;
            let approver = Person {
                login: Some(name.clone()),
                ..Person::default()
            };
            people.push(("approver".to_owned(), approver));
        }
        people
    }

    fn source(&self, revision: Option<&Revision>, commit: Option<&Commit>) -> Value {
        let commits: Vec<&str> = self
            .deliveries
            .iter()
            .flat_map(|delivery| delivery.commits.iter().map(|commit| commit.id.as_str()))
            .collect();
        let passed_over: Vec<&str> = commits
            .iter()
            .copied()
            .filter(|id| revision.is_none_or(|revision| revision.as_str() != *id))
            .collect();
        let deliveries: Vec<&str> = self
            .deliveries
            .iter()
            .map(|delivery| delivery.id.as_str())
            .collect();
        let pushed: Vec<&str> = self
            .deliveries
            .iter()
            .filter_map(|delivery| Some(delivery.after.as_ref()?.as_str()))
            .collect();
        json!({
            "repository": self.stack.repository,
            "branch": self.stack.branch.as_str(),
            "path": self.stack.path.as_str(),
            "revision": revision,
            "tree": commit.map(|commit| &commit.tree),
            "signature": commit.map(|commit| commit.signature.as_str()),
            "previous": self.state.settled,
            "deliveries": deliveries,
            "pushed": pushed,
            "passed_over": passed_over,
        })
    }

    /// Records a run that could not even be planned, and when it is tried again. The same failure
    /// as the time before is not recorded again: an outage of a day is one line, not a thousand.
    pub(super) async fn failed(
        self,
        revision: Option<Revision>,
        commit: Option<&Commit>,
        error: &LookError,
    ) -> Result<Report, RunError> {
        if let LookError::Store(_) = error {
            warn!(stack = %self.stack.name, %error, "the run could not read the store");
        }
        let now = self.app.now();
        let message = error.to_string();
        let (status, permanent) = match error {
            LookError::Refused { .. } => (RunStatus::Refused, true),
            LookError::Git(error) => {
                let permanent = !error.is_transient() && revision.is_some();
                (RunStatus::Failed, permanent)
            }
            _ => (RunStatus::Failed, false),
        };
        let attempt = self.state.attempt + 1;
        let again_at = (!permanent).then(|| now + backoff(attempt));
        let ended = Ended {
            status,
            is_unreachable: error.is_unreachable(),
        };
        let again = Settle::Retry {
            attempt,
            not_before: now + backoff(attempt),
        };
        let settle = if permanent {
            Settle::Done {
                claimed: self.state.wanted,
                settled: None,
            }
        } else {
            again.clone()
        };
        let problem = Some(self.here(&message));
        let end = self.course.meaning(ended, settle, problem, again);
        if let Some(again_at) = again_at
            && self.was_said_before(&message)
        {
            if end.settle != Settle::Keep {
                let problem = end.problem.unwrap_or_default();
                self.app
                    .store
                    .postpone(&self.stack.name, attempt, again_at, &problem)
                    .await?;
            }
            return Ok(Report {
                revision,
                again_at: Some(again_at),
                ..Report::without_changes(None, status, message)
            });
        }
        let commit = match error {
            LookError::Refused { commit, .. } => Some(commit.as_ref()),
            _ => commit,
        };
        let payload = json!({
            "status": status,
            "message": message,
            "again_at": again_at,
            "duration": now - self.started_at,
        });
        let event = self.event(EventType::RunFinished, payload);
        let mut event = self.of_run(event, revision.as_ref(), commit, None);
        event.people = self.people(commit);
        let mut events = vec![event];
        if self.course.is_shared && ended.is_unreachable {
            let payload = json!({"node": self.stack.target.address, "revision": revision, "message": message});
            events.push(self.event(EventType::NodeLagged, payload));
        }
        self.name_node(&mut events, ended, &end);
        let finish = Finish {
            status,
            message: Some(message.clone()),
            at: now,
            outcomes: Vec::new(),
            bodies: Vec::new(),
            inventory: Vec::new(),
            settle: end.settle,
            problem: end.problem,
            holds_deletions: None,
            stands: end.stands,
            node: self.node_progress(None, Some(&message)),
            parkings: Parkings::new(),
            events,
        };
        let new_run = self.new_run(revision.clone(), None, None);
        self.app
            .store
            .record_run(self.holding.lease(), &new_run, &Intent::default(), &finish)
            .await?;
        self.app.metrics.run_finished(&self.stack.name, status, 0);
        Ok(Report {
            revision,
            again_at,
            ..Report::without_changes(Some(self.run), status, message)
        })
    }

    /// A run with nothing to write: adoptions, what is held back, or nothing at all.
    pub(super) async fn record_only(self, look: Look) -> Result<Report, RunError> {
        let now = self.app.now();
        let plan = &look.plan;
        let mut changes = records(plan);
        let mut inventory = Vec::new();
        let mut bodies = Vec::new();
        for change in &mut changes {
            if change.outcome == Outcome::Open {
                change.outcome = Outcome::Applied;
                self.settle_record(
                    change,
                    &look,
                    &look.observation,
                    &mut inventory,
                    &mut bodies,
                );
            }
        }
        self.refresh_listed(&look, &look.observation, &mut inventory);
        let status = status_of(plan, &[]);
        let mut events = self.change_events(&look, &changes, &BTreeMap::new());
        let (parkings, parked) = self.parkings(&look, &changes).await?;
        events.extend(parked);
        events.push(self.finished_event(status, None, &look, &changes));
        let message = held_message(plan);
        let settle = Settle::Done {
            claimed: self.state.wanted,
            settled: Some(look.wanted.revision.clone()),
        };
        let end = self.end(status, message.clone(), settle);
        self.name_node(&mut events, Ended::reached(status), &end);
        let finish = Finish {
            status,
            message: message.clone(),
            at: now,
            outcomes: Vec::new(),
            bodies,
            inventory: self.on_node(inventory),
            settle: end.settle,
            problem: end.problem,
            holds_deletions: Some(holds_deletions(plan)),
            stands: end.stands,
            node: self.node_progress(Some(&look.wanted.revision), None),
            parkings,
            events,
        };
        let intent = Intent {
            changes: changes.clone(),
            ..Intent::default()
        };
        let new_run = self.new_run(
            Some(look.wanted.revision.clone()),
            Some(plan),
            Some(&look.observation.version),
        );
        self.app
            .store
            .record_run(self.holding.lease(), &new_run, &intent, &finish)
            .await?;
        self.report_metrics(status, &changes);
        Ok(Report {
            run: Some(self.run),
            status,
            revision: Some(look.wanted.revision),
            plan: Some(look.plan),
            changes,
            message,
            again_at: None,
            node: None,
            nodes: Vec::new(),
        })
    }

    pub(super) async fn record_intent(
        &self,
        look: &Look,
        changes: &[ChangeRecord],
        previous: &BTreeMap<ObjectKey, Value>,
    ) -> Result<(), RunError> {
        let plan = &look.plan;
        let mut inventory = Vec::new();
        let mut bodies = Vec::new();
        let mut undo = Vec::new();
        for record in changes {
            let key = &record.object;
            if record.outcome != Outcome::Open {
                continue;
            }
            bodies.extend(self.body_before(look, record));
            let changes_it = matches!(record.action, Action::Update | Action::Replace);
            if let Some(body) = previous.get(key).filter(|_| changes_it) {
                undo.push(Undo {
                    position: record.position,
                    object: key.clone(),
                    sealed: self.app.key.seal(
                        &undo_label(&self.run, record.position),
                        canonical(body).into_bytes(),
                    ),
                });
            }
            if !record.action.puts() {
                continue;
            }
            let Some(wanted) = look.wanted.desired.get(key) else {
                continue;
            };
            bodies.push(Body {
                digest: wanted.digest,
                text: wanted.text.clone(),
            });
            // Ours from now on, and unknown until it is read back.
            let owned = self.owned(look, key, wanted.digest, None, None, &look.observation);
            inventory.push(InventoryChange::put(key.clone(), owned));
        }
        let intended: Vec<Value> = changes
            .iter()
            .filter(|record| record.outcome == Outcome::Open)
            .map(|record| json!([record.action, record.object, record.before, record.after]))
            .collect();
        let payload = json!({
            "approved": look.approved().map(|approved| approved.parked.hash),
            "changes": intended,
        });
        let event = self.event(EventType::RunIntended, payload);
        let mut event = self.of_look(event, look);
        event.people = self.people_of(look);
        let new_run = self.new_run(
            Some(look.wanted.revision.clone()),
            Some(plan),
            Some(&look.observation.version),
        );
        let intent = Intent {
            changes: changes.to_vec(),
            bodies,
            undo,
            inventory: self.on_node(inventory),
            events: vec![event],
        };
        self.app
            .store
            .begin_run(self.holding.lease(), &new_run, &intent)
            .await?;
        Ok(())
    }

    /// What is to be overwritten or deleted, masked, so that the history can show it later.
    fn body_before(&self, look: &Look, record: &ChangeRecord) -> Option<Body> {
        let before = record.before?;
        let wanted = look.wanted.desired.get(&record.object);
        let references = wanted.is_some_and(|wanted| wanted.references);
        let masker = &self.app.masker;
        let body = look.observation.text(&record.object, masker, references)?;
        (body.digest == before).then_some(body)
    }

    pub(super) async fn record_outcome(
        self,
        look: &Look,
        written: Written,
        message: Option<String>,
        again: bool,
    ) -> Result<Report, RunError> {
        let Written {
            changes,
            took,
            inventory,
            bodies,
        } = written;
        let now = self.app.now();
        let status = status_of(&look.plan, &changes);
        let failures: Vec<String> = changes
            .iter()
            .filter(|record| matches!(record.outcome, Outcome::Failed | Outcome::Repaired))
            // What it made room for tells of both.
            .filter(|record| {
                (record.action, record.outcome) != (Action::Replace, Outcome::Repaired)
            })
            .map(|record| {
                let said = record.message.as_deref().unwrap_or("no reason was given");
                let failed = match record.outcome {
                    Outcome::Repaired => "failed, repaired: ",
                    _ => "",
                };
                format!("{} {}: {failed}{said}", record.action, record.object)
            })
            .collect();
        let message = message.or_else(|| match status {
            RunStatus::Failed => Some(failures.join("\n")),
            _ => held_message(&look.plan),
        });
        let attempt = self.state.attempt + 1;
        let again_at = again.then(|| now + backoff(attempt));
        let settled = matches!(status, RunStatus::Succeeded | RunStatus::Parked)
            .then(|| look.wanted.revision.clone());
        let mut events = self.change_events(look, &changes, &took);
        let (parkings, parked) = self.parkings(look, &changes).await?;
        events.extend(parked);
        events.push(self.finished_event(status, message.as_deref(), look, &changes));
        let settle = match again_at {
            Some(not_before) => Settle::Retry {
                attempt,
                not_before,
            },
            None => Settle::Done {
                claimed: self.state.wanted,
                settled: settled.clone(),
            },
        };
        let problem = (status != RunStatus::Succeeded).then(|| message.clone().unwrap_or_default());
        let node_problem = settled
            .is_none()
            .then(|| message.clone().unwrap_or_default());
        let end = self.end(status, problem, settle);
        self.name_node(&mut events, Ended::reached(status), &end);
        let finish = Finish {
            status,
            message: message.clone(),
            at: now,
            outcomes: changes
                .iter()
                .map(|record| ChangeOutcome {
                    position: record.position,
                    outcome: record.outcome,
                    message: record.message.clone(),
                })
                .collect(),
            bodies,
            inventory: self.on_node(inventory),
            settle: end.settle,
            problem: end.problem,
            holds_deletions: Some(holds_deletions(&look.plan)),
            stands: end.stands,
            node: self.node_progress(settled.as_ref(), node_problem.as_deref()),
            parkings,
            events,
        };
        self.app
            .store
            .finish_run(self.holding.lease(), &self.run, &finish)
            .await?;
        crate::crash::point("after-outcome");
        self.report_metrics(status, &changes);
        // What a rollback passes over is not live.
        let is_live = matches!(status, RunStatus::Succeeded | RunStatus::Parked)
            && self.trigger != Trigger::Rollback;
        for delivery in &self.deliveries {
            if is_live {
                self.app.metrics.push_to_live(now - delivery.received_at);
            }
        }
        Ok(Report {
            run: Some(self.run),
            status,
            revision: Some(look.wanted.revision.clone()),
            plan: Some(look.plan.clone()),
            changes,
            message,
            again_at,
            node: None,
            nodes: Vec::new(),
        })
    }

    /// Whether the try before ended with the same words, and nobody asked for this one.
    fn was_said_before(&self, message: &str) -> bool {
        let said = if self.course.is_shared {
            &self.node_problem
        } else {
            &self.state.problem
        };
        self.operator.is_none() && self.state.attempt > 0 && said.as_deref() == Some(message)
    }

    /// What the end of this node's run means for the stack.
    fn end(&self, status: RunStatus, problem: Option<String>, settle: Settle) -> Meaning {
        let ended = Ended::reached(status);
        let attempt = self.state.attempt + 1;
        let again = Settle::Retry {
            attempt,
            not_before: self.app.now() + backoff(attempt),
        };
        let problem = problem.map(|problem| self.here(&problem));
        self.course.meaning(ended, settle, problem, again)
    }

    /// On a target of several nodes the end of a run says which node's it is, whether that could
    /// be reached, and, at the last one, how the stack stands with all of them.
    fn name_node(&self, events: &mut [NewEvent], ended: Ended, end: &Meaning) {
        if !self.course.is_shared {
            return;
        }
        let is_whole = end.settle != Settle::Keep;
        let stands = is_whole.then(|| end.stands.unwrap_or(ended.status));
        for event in events {
            if event.event_type == EventType::RunFinished
                && let Some(members) = event.payload.as_object_mut()
            {
                members.insert("node".to_owned(), json!(self.stack.target.address));
                members.insert("lagging".to_owned(), json!(ended.is_unreachable));
                members.insert("stands".to_owned(), json!(stands));
            }
        }
    }

    /// On a target of several nodes a sentence names the node.
    fn here(&self, message: &str) -> String {
        if self.course.is_shared && !message.is_empty() {
            format!("{}: {message}", self.stack.target.address)
        } else {
            message.to_owned()
        }
    }

    fn on_node(&self, changes: Vec<InventoryChange>) -> Vec<InventoryChange> {
        let node = &self.stack.target.node;
        changes.into_iter().map(|change| change.on(node)).collect()
    }

    fn node_progress(
        &self,
        settled: Option<&Revision>,
        problem: Option<&str>,
    ) -> Option<NodeProgress> {
        self.course.is_shared.then(|| NodeProgress {
            settled: settled.cloned(),
            problem: problem.map(str::to_owned),
        })
    }

    fn owned(
        &self,
        look: &Look,
        key: &ObjectKey,
        desired: Digest,
        observed: Option<Digest>,
        listed: Option<Digest>,
        observation: &Observation,
    ) -> Owned {
        let now = self.app.now();
        let before = look.inventory.get(key);
        let since = before.map_or(now, |owned| owned.since);
        let path = look
            .wanted
            .desired
            .get(key)
            .map(|wanted| wanted.object.path.clone())
            .or_else(|| before?.path.clone());
        Owned {
            stack: self.stack.name.clone(),
            desired,
            observed,
            listed,
            gateway_version: observation.version.clone(),
            run: self.run.clone(),
            path,
            since,
            observed_at: now,
        }
    }

    /// The inventory after one change.
    pub(super) fn settle_record(
        &self,
        record: &ChangeRecord,
        look: &Look,
        observation: &Observation,
        inventory: &mut Vec<InventoryChange>,
        bodies: &mut Vec<Body>,
    ) {
        let key = &record.object;
        match (record.action, record.outcome) {
            (Action::Create | Action::Update | Action::Adopt, Outcome::Applied) => {
                let Some(wanted) = look.wanted.desired.get(key) else {
                    return;
                };
                let seen = observation.live.get(key).map(|seen| seen.digest);
                let listed = observation.listed_digest(key);
                let owned = self.owned(look, key, wanted.digest, seen, listed, observation);
                inventory.push(InventoryChange::put(key.clone(), owned));
                bodies.push(Body {
                    digest: wanted.digest,
                    text: wanted.text.clone(),
                });
                self.keep_observed(key, wanted.references, observation, bodies);
            }
            (Action::Delete | Action::Replace | Action::Forget, Outcome::Applied) => {
                inventory.push(InventoryChange::remove(key.clone()));
            }
            // What is live again is owned as before; what was to stand in its place is not.
            (Action::Create | Action::Update | Action::Replace, Outcome::Repaired) => {
                if !observation.live.contains_key(key) {
                    inventory.push(InventoryChange::remove(key.clone()));
                } else if let Some(before) = look.inventory.get(key) {
                    let was = look.observation.live.get(key).map(|seen| seen.digest);
                    if before.observed.is_some() && before.observed != was {
                        // What was put back had been changed by hand, and is still seen as that.
                        inventory.push(InventoryChange::put(key.clone(), before.clone()));
                        return;
                    }
                    let seen = observation.live.get(key).map(|seen| seen.digest);
                    let listed = observation.listed_digest(key);
                    let owned = self.owned(look, key, before.desired, seen, listed, observation);
                    inventory.push(InventoryChange::put(key.clone(), owned));
                    self.keep_observed(key, false, observation, bodies);
                }
            }
            // Refused before anything was written, or not sent: as it was.
            (_, Outcome::Failed | Outcome::Skipped) => {
                let as_before = match (look.observation.live.get(key), observation.live.get(key)) {
                    (Some(before), Some(now)) => before.digest == now.digest,
                    (None, None) => {
                        record.outcome == Outcome::Skipped || !look.inventory.contains_key(key)
                    }
                    _ => false,
                };
                if as_before {
                    undo_record(record, look, inventory);
                }
            }
            _ => {}
        }
    }

    /// Keeps what was read back, masked, so that drift can be shown field by field later.
    fn keep_observed(
        &self,
        key: &ObjectKey,
        references: bool,
        observation: &Observation,
        bodies: &mut Vec<Body>,
    ) {
        bodies.extend(observation.text(key, &self.app.masker, references));
    }

    /// Remembers in which exact text an unchanged object is listed now, where another text says
    /// the same, so that the next look need not read it closely; in which file it is described;
    /// and that what was released has left Git too.
    pub(super) fn refresh_listed(
        &self,
        look: &Look,
        observation: &Observation,
        inventory: &mut Vec<InventoryChange>,
    ) {
        let changed: BTreeSet<ObjectKey> = inventory
            .iter()
            .map(|change| match change {
                InventoryChange::Put { object, .. }
                | InventoryChange::Remove { object, .. }
                | InventoryChange::Release { object, .. }
                | InventoryChange::Retake { object, .. } => object.clone(),
            })
            .collect();
        for (key, owned) in look.inventory.iter() {
            if owned.stack != self.stack.name || changed.contains(key) {
                continue;
            }
            let listed = observation.listed_digest(key);
            let same = observation.live.get(key).map(|seen| seen.digest) == owned.observed;
            let relisted =
                same && owned.observed.is_some() && listed.is_some() && listed != owned.listed;
            let wanted = look.wanted.desired.get(key);
            let path = wanted.map(|wanted| wanted.object.path.clone());
            let refiled = path.is_some() && path != owned.path;
            if relisted || refiled {
                let owned = Owned {
                    listed: if relisted { listed } else { owned.listed },
                    path: path.or_else(|| owned.path.clone()),
                    ..owned.clone()
                };
                inventory.push(InventoryChange::put(key.clone(), owned));
            }
        }
        let left = |key: &&ObjectKey| !look.wanted.desired.contains_key(*key);
        for object in look.released.iter().filter(left).cloned() {
            let stack = self.stack.name.clone();
            inventory.push(InventoryChange::Retake { object, stack });
        }
    }

    /// One event a change, in the plan's order.
    fn change_events(
        &self,
        look: &Look,
        changes: &[ChangeRecord],
        took: &BTreeMap<usize, i64>,
    ) -> Vec<NewEvent> {
        let held = look.plan.held.iter().map(|held| &held.change);
        let planned = look.plan.changes().chain(held);
        changes
            .iter()
            .zip(planned)
            .enumerate()
            .map(|(position, (record, planned))| {
                let event_type = match record.outcome {
                    Outcome::Applied if record.reason == REBASED => EventType::GatewayRebased,
                    Outcome::Applied => EventType::ChangeApplied,
                    Outcome::Repaired => EventType::ChangeRepaired,
                    Outcome::Held => EventType::ChangeHeld,
                    Outcome::Open | Outcome::Failed | Outcome::Skipped | Outcome::Unknown => {
                        EventType::ChangeFailed
                    }
                };
                let payload = json!({
                    "action": record.action,
                    "before": record.before,
                    "after": record.after,
                    "outcome": record.outcome,
                    "reason": record.reason,
                    "message": record.message,
                    "drifted": planned.drifted,
                    "duration": took.get(&position),
                    "trigger": self.trigger,
                    "attempt": self.state.attempt + 1,
                    "source": self.source_of(look, &record.object, planned.path.as_deref()),
                    "plan": look.plan.hash(),
                    "gateway": look.observation.version,
                    "node": self.course.is_shared.then_some(&self.stack.target.address),
                });
                NewEvent {
                    object: Some(record.object.clone()),
                    ..self.event(event_type, payload)
                }
            })
            .collect()
    }

    /// Where an object stands in Git, and the delivery that announced it last.
    fn source_of(&self, look: &Look, key: &ObjectKey, path: Option<&str>) -> Value {
        let wanted = look.wanted.desired.get(key);
        let owned = look.inventory.get(key);
        let path = wanted
            .map(|wanted| wanted.object.path.as_str())
            .or(path)
            .or_else(|| owned?.path.as_deref());
        json!({
            "repository": self.stack.repository,
            "branch": self.stack.branch.as_str(),
            "revision": look.wanted.revision,
            "path": path,
            "blob": path.and_then(|path| look.wanted.blobs.get(path)),
            "delivery": self.deliveries.last().map(|delivery| &delivery.id),
        })
    }

    fn finished_event(
        &self,
        status: RunStatus,
        message: Option<&str>,
        look: &Look,
        changes: &[ChangeRecord],
    ) -> NewEvent {
        let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
        for record in changes {
            *outcomes.entry(record.outcome.as_str()).or_default() += 1;
        }
        let payload = json!({
            "status": status,
            "outcomes": outcomes,
            "message": message,
            "duration": self.app.now() - self.started_at,
        });
        let event = self.event(EventType::RunFinished, payload);
        let mut event = self.of_look(event, look);
        event.people = self.people_of(look);
        event
    }

    fn report_metrics(&self, status: RunStatus, changes: &[ChangeRecord]) {
        self.app
            .metrics
            .run_finished(&self.stack.name, status, self.app.now() - self.started_at);
        for record in changes {
            self.app.metrics.change(record.action, record.outcome);
        }
    }
}

/// Takes back what the intent put into the inventory.
fn undo_record(record: &ChangeRecord, look: &Look, inventory: &mut Vec<InventoryChange>) {
    let key = &record.object;
    if !record.action.puts() {
        return;
    }
    match look.inventory.get(key) {
        Some(before) => inventory.push(InventoryChange::put(key.clone(), before.clone())),
        None => inventory.push(InventoryChange::remove(key.clone())),
    }
}

/// What binds a sealed body to its place.
pub fn undo_label(run: &RunId, position: i64) -> String {
    format!("{run}/{position}")
}

/// The plan's changes as they are recorded: those to carry out, in order, then those held back.
pub(super) fn records(plan: &Plan) -> Vec<ChangeRecord> {
    let open = plan.changes().map(|change| (change, Outcome::Open, None));
    let held = plan
        .held
        .iter()
        .map(|held| (&held.change, Outcome::Held, Some(held.message.clone())));
    open.chain(held)
        .zip(0..)
        .map(|((change, outcome, message), position)| ChangeRecord {
            position,
            object: change.object.clone(),
            action: change.action,
            reason: change.reason.clone(),
            before: change.before,
            after: change.after,
            fields: change.fields.clone(),
            outcome,
            message,
        })
        .collect()
}

fn status_of(plan: &Plan, changes: &[ChangeRecord]) -> RunStatus {
    let failed = changes.iter().any(|record| {
        matches!(
            record.outcome,
            Outcome::Failed
                | Outcome::Repaired
                | Outcome::Skipped
                | Outcome::Unknown
                | Outcome::Open
        )
    });
    if failed {
        RunStatus::Failed
    } else if plan.held.is_empty() {
        RunStatus::Succeeded
    } else {
        RunStatus::Parked
    }
}

fn holds_deletions(plan: &Plan) -> bool {
    plan.held.iter().any(|held| held.hold == Hold::Budget)
}

fn held_message(plan: &Plan) -> Option<String> {
    let messages: BTreeSet<&str> = plan.held.iter().map(|held| held.message.as_str()).collect();
    let lines: Vec<&str> = messages.into_iter().collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}
