//! One run, top to bottom: look, record the intent, apply, reload, read back, repair, record the
//! outcome. Everything here happens under the target's lease.
//!
//! Nothing is written to a target before its intent is committed, and a worker that lost its
//! lease writes no history: the run stays open, and whoever holds the target next resolves it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tracing::{info, warn};

use super::{
    apply::{self, Done, Sent, Verdict},
    lease::Holding,
    look::{self, Look, LookError, Wanted},
    observe::{self, Observation},
};
use crate::{
    app::{App, Stack},
    domain::{
        audit::event::{Actor, EventType, NewEvent, Person},
        canonical::{Digest, canonical},
        inventory::Owned,
        object::ObjectKey,
        plan::{Change, Hold, Plan},
        revision::Revision,
        run::{Action, ChangeRecord, Outcome, RunId, RunStatus, Trigger},
    },
    store::{
        self, Body, ChangeOutcome, Delivery, Finish, Intent, InventoryChange, NewRun, Settle,
        StackState, Undo,
    },
};

/// Tells a person what is going on.
pub type Progress<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// Tells nobody.
pub fn silent(_: &str) {}

/// What a run came to.
#[derive(Debug)]
pub struct Report {
    /// `None` when nothing was recorded: the same failure as before, tried again later.
    pub run: Option<RunId>,
    pub status: RunStatus,
    pub revision: Option<Revision>,
    pub plan: Option<Plan>,
    pub changes: Vec<ChangeRecord>,
    pub message: Option<String>,
    /// It will be tried again by itself.
    pub again_at: Option<i64>,
}

/// Why a run ended without an outcome on record.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The intent is on record and the outcome is not: the next holder of the lease resolves it.
    #[error("the run {run} stays open: {why}")]
    Open { run: RunId, why: String },
}

/// Everything a run knows about itself before it looks at anything.
struct Context<'a> {
    app: &'a App,
    holding: &'a Holding,
    stack: &'a Stack,
    state: &'a StackState,
    run: RunId,
    trigger: Trigger,
    deliveries: Vec<Delivery>,
    started_at: i64,
    progress: Progress<'a>,
}

/// Converges one stack.
pub async fn run_stack(
    app: &App,
    holding: &Holding,
    stack: &Stack,
    state: &StackState,
    manual: Option<Person>,
    progress: Progress<'_>,
) -> Result<Report, RunError> {
    let started_at = app.now();
    let deliveries = app
        .store
        .deliveries_between(&stack.name, state.done, state.wanted)
        .await?;
    let trigger = if manual.is_some() {
        Trigger::Manual
    } else if deliveries.is_empty() {
        state.pending_trigger.unwrap_or(Trigger::StartUp)
    } else {
        Trigger::Push
    };
    let context = Context {
        app,
        holding,
        stack,
        state,
        run: app.new_run_id(),
        trigger,
        deliveries,
        started_at,
        progress,
    };

    progress("reading the head of the branch");
    let head = match look::head(app, stack).await {
        Ok(head) => head,
        Err(error) => return context.failed(None, None, &error, manual).await,
    };
    if context.lags_behind(&head).await? {
        return context.wait_for_the_host(&head).await;
    }
    progress(&format!("reading the manifests at {}", head.short()));
    let wanted = match look::wanted(app, stack, &head).await {
        Err(LookError::Refused { .. }) if trigger == Trigger::Drift => {
            // The head is refused already; what was settled last still holds.
            let settled = state.settled.clone().unwrap_or_else(|| head.clone());
            look::wanted(app, stack, &settled).await
        }
        other => other,
    };
    let wanted = match wanted {
        Ok(wanted) => wanted,
        Err(error) => return context.failed(Some(head), None, &error, manual).await,
    };
    progress("reading what the gateway runs");
    let author = wanted.author.clone();
    let look = match look::look(app, stack, state, wanted, started_at).await {
        Ok(look) => look,
        Err(error) => {
            return context
                .failed(Some(head), Some(&author), &error, manual)
                .await;
        }
    };
    for warning in &look.wanted.warnings {
        info!(stack = %stack.name, "{warning}");
    }
    if look.plan.writes() {
        context.write(look, manual).await
    } else {
        context.record_only(look, manual).await
    }
}

impl Context<'_> {
    fn actor(&self) -> Actor {
        Actor::new("worker", self.app.worker.clone())
    }

    fn event(&self, event_type: EventType, payload: Value) -> NewEvent {
        NewEvent {
            target: Some(self.stack.target.name.clone()),
            stack: Some(self.stack.name.clone()),
            run: Some(self.run.clone()),
            ..NewEvent::new(event_type, self.app.now(), self.actor(), payload)
        }
    }

    /// Whether the head that the host names is older than what we were told: a replica that lags
    /// behind. It is believed after a while, because branches do move back.
    async fn lags_behind(&self, head: &Revision) -> store::Result<bool> {
        let Some(newest) = self.deliveries.last() else {
            return Ok(false);
        };
        if newest.after.as_ref() == Some(head) {
            return Ok(false);
        }
        let patience = i64::try_from(self.app.lag_patience.as_micros()).unwrap_or(i64::MAX);
        if self.app.now().saturating_sub(newest.received_at) > patience {
            return Ok(false);
        }
        if newest.before.as_ref() == Some(head) {
            return Ok(true);
        }
        let is_settled_now = self.state.settled.as_ref() == Some(head);
        let announced = self
            .deliveries
            .iter()
            .any(|delivery| delivery.after.as_ref() == Some(head));
        Ok(!is_settled_now
            && !announced
            && self.app.store.was_settled(&self.stack.name, head).await?)
    }

    async fn wait_for_the_host(self, head: &Revision) -> Result<Report, RunError> {
        const SOON: i64 = 2_000_000;
        let message = format!(
            "the Git host still names {} as the head, which is older than what was pushed; asking again",
            head.short()
        );
        let again_at = self.app.now() + SOON;
        self.app
            .store
            .postpone(&self.stack.name, self.state.attempt, again_at, &message)
            .await?;
        Ok(Report {
            run: None,
            status: RunStatus::Failed,
            revision: Some(head.clone()),
            plan: None,
            changes: Vec::new(),
            message: Some(message),
            again_at: Some(again_at),
        })
    }

    fn new_run(
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

    /// The people of a run: who pushed, who wrote the head, who asked for it by hand.
    fn people(
        &self,
        author: Option<&crate::git::Person>,
        manual: Option<Person>,
    ) -> Vec<(String, Person)> {
        let mut people = Vec::new();
        let pushers: BTreeSet<String> = BTreeSet::new();
        let mut named = pushers;
        for delivery in &self.deliveries {
            if let Some(pusher) = &delivery.pusher
                && named.insert(pusher.to_string())
            {
                people.push(("pusher".to_owned(), pusher.clone()));
            }
        }
        if let Some(author) = author {
            let author = Person {
                name: Some(author.name.clone()),
                login: None,
                email: Some(author.email.clone()),
            };
            people.push(("author".to_owned(), author));
        }
        if let Some(operator) = manual {
            people.push(("operator".to_owned(), operator));
        }
        people
    }

    fn source(&self, revision: Option<&Revision>) -> Value {
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
        json!({
            "repository": self.stack.repository,
            "branch": self.stack.branch.as_str(),
            "path": self.stack.path.as_str(),
            "revision": revision,
            "previous": self.state.settled,
            "deliveries": deliveries,
            "passed_over": passed_over,
        })
    }

    /// Records a run that could not even be planned, and when it is tried again. The same failure
    /// as the time before is not recorded again: an outage of a day is one line, not a thousand.
    async fn failed(
        self,
        revision: Option<Revision>,
        author: Option<&crate::git::Person>,
        error: &LookError,
        manual: Option<Person>,
    ) -> Result<Report, RunError> {
        if let LookError::Store(_) = error {
            warn!(stack = %self.stack.name, %error, "the run could not read the store");
        }
        let now = self.app.now();
        let message = error.to_string();
        let refused = matches!(error, LookError::Refused { .. });
        let permanent = match error {
            LookError::Refused { .. } => true,
            LookError::Git(error) => !error.is_transient() && revision.is_some(),
            LookError::NoBranch { .. } | LookError::Target { .. } | LookError::Store(_) => false,
        };
        let status = if refused {
            RunStatus::Refused
        } else {
            RunStatus::Failed
        };
        let attempt = self.state.attempt + 1;
        let again_at = (!permanent).then(|| now + backoff(attempt));
        if let Some(again_at) = again_at
            && manual.is_none()
            && self.state.attempt > 0
            && self.state.problem.as_deref() == Some(message.as_str())
        {
            self.app
                .store
                .postpone(&self.stack.name, attempt, again_at, &message)
                .await?;
            return Ok(Report {
                run: None,
                status,
                revision,
                plan: None,
                changes: Vec::new(),
                message: Some(message),
                again_at: Some(again_at),
            });
        }
        let author = match error {
            LookError::Refused { author, .. } => Some(author.as_ref()),
            _ => author,
        };
        let mut event = self.event(
            EventType::RunFinished,
            json!({
                "status": status,
                "trigger": self.trigger,
                "source": self.source(revision.as_ref()),
                "message": message,
                "again_at": again_at,
            }),
        );
        event.people = self.people(author, manual);
        let finish = Finish {
            status,
            message: Some(message.clone()),
            at: now,
            outcomes: Vec::new(),
            bodies: Vec::new(),
            inventory: Vec::new(),
            settle: match again_at {
                None => Settle::Done {
                    claimed: self.state.wanted,
                    settled: None,
                },
                Some(not_before) => Settle::Retry {
                    attempt,
                    not_before,
                },
            },
            problem: Some(message.clone()),
            holds_deletions: None,
            events: vec![event],
        };
        let new_run = self.new_run(revision.clone(), None, None);
        self.app
            .store
            .record_run(self.holding.lease(), &new_run, &Intent::default(), &finish)
            .await?;
        self.app.metrics.run_finished(&self.stack.name, status, 0);
        Ok(Report {
            run: Some(self.run),
            status,
            revision,
            plan: None,
            changes: Vec::new(),
            message: Some(message),
            again_at,
        })
    }

    /// A run with nothing to write: adoptions, what is held back, or nothing at all.
    async fn record_only(self, look: Look, manual: Option<Person>) -> Result<Report, RunError> {
        let now = self.app.now();
        let plan = &look.plan;
        let mut changes = records(plan);
        let mut inventory = Vec::new();
        let mut bodies = Vec::new();
        for change in &mut changes {
            if change.outcome == Outcome::Open {
                change.outcome = Outcome::Applied;
                self.take_record(change, &look, &mut inventory, &mut bodies);
            }
        }
        self.refresh_listed(&look, &look.observation, &mut inventory);
        let status = status_of(plan, &[]);
        let mut events = self.change_events(&changes);
        events.push(self.finished_event(status, None, &look.wanted, &changes, manual));
        let message = held_message(plan);
        let finish = Finish {
            status,
            message: message.clone(),
            at: now,
            outcomes: Vec::new(),
            bodies,
            inventory,
            settle: Settle::Done {
                claimed: self.state.wanted,
                settled: Some(look.wanted.revision.clone()),
            },
            problem: message.clone(),
            holds_deletions: Some(holds_deletions(plan)),
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
        })
    }

    /// A run that writes: intent, waves, outcomes.
    async fn write(self, mut look: Look, manual: Option<Person>) -> Result<Report, RunError> {
        let target = &self.stack.target;
        let plan = look.plan.clone();
        let mut changes = records(&plan);
        let all: Vec<Change> = plan.changes().cloned().collect();
        let previous = match apply::previous_bodies(target, &all, &look.observation).await {
            Ok(previous) => previous,
            Err(error) => {
                let error = LookError::target(self.stack, error);
                let author = look.wanted.author.clone();
                let revision = Some(look.wanted.revision.clone());
                return self.failed(revision, Some(&author), &error, manual).await;
            }
        };
        self.record_intent(&look, &changes, &previous, manual.clone())
            .await?;
        crate::crash::point("after-intent");

        let mut inventory = Vec::new();
        let mut bodies = Vec::new();
        let mut message = None;
        let mut again = false;
        let mut position = 0;
        for wave in &plan.waves {
            let span = position..position + wave.len();
            position = span.end;
            if again || message.is_some() {
                for record in &mut changes[span] {
                    record.outcome = Outcome::Skipped;
                    record.message = Some("an earlier wave of this run went wrong".to_owned());
                    undo_record(record, &look, &mut inventory);
                }
                continue;
            }
            let sent = self.send(wave, &look).await?;
            crate::crash::point("after-writes");
            let observation = self.reload_and_read(&sent, wave, &look).await?;
            crate::crash::point("after-reload");
            let documents = apply::documents(target, wave, &observation)
                .await
                .map_err(|error| self.open(&error))?;
            let mut judged = self.judge_wave(wave, &sent, &look, &observation, &documents);
            let observation = self
                .repair(wave, span.start, &mut judged, &previous, &look, observation)
                .await?;
            for (record, done) in changes[span].iter_mut().zip(&judged) {
                record.outcome = done.outcome;
                record.message.clone_from(&done.message);
                self.settle_record(record, &look, &observation, &mut inventory, &mut bodies);
            }
            if let Some(error) = &sent.broken {
                again = true;
                message = Some(format!("the target {}: {error}", target.name));
            }
            if sent.lease_lost {
                again = true;
                message = Some("the lease of the target ran out".to_owned());
            }
            look.observation = observation;
        }
        self.refresh_listed(&look, &look.observation, &mut inventory);
        crate::crash::point("before-outcome");
        self.record_outcome(&look, changes, inventory, bodies, message, again, manual)
            .await
    }

    async fn record_intent(
        &self,
        look: &Look,
        changes: &[ChangeRecord],
        previous: &BTreeMap<ObjectKey, Value>,
        manual: Option<Person>,
    ) -> Result<(), RunError> {
        let plan = &look.plan;
        let mut inventory = Vec::new();
        let mut bodies = Vec::new();
        let mut undo = Vec::new();
        for record in changes {
            let key = &record.object;
            if !matches!(record.action, Action::Create | Action::Update)
                || record.outcome != Outcome::Open
            {
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
            if let Some(body) = previous.get(key) {
                undo.push(Undo {
                    position: record.position,
                    object: key.clone(),
                    sealed: self.app.key.seal(
                        &undo_label(&self.run, record.position),
                        canonical(body).into_bytes(),
                    ),
                });
            }
        }
        let intended: Vec<Value> = changes
            .iter()
            .filter(|record| record.outcome == Outcome::Open)
            .map(|record| json!([record.action, record.object, record.before, record.after]))
            .collect();
        let mut event = self.event(
            EventType::RunIntended,
            json!({
                "trigger": self.trigger,
                "source": self.source(Some(&look.wanted.revision)),
                "plan": plan.hash(),
                "gateway": look.observation.version,
                "changes": intended,
            }),
        );
        event.people = self.people(Some(&look.wanted.author), manual);
        let new_run = self.new_run(
            Some(look.wanted.revision.clone()),
            Some(plan),
            Some(&look.observation.version),
        );
        let intent = Intent {
            changes: changes.to_vec(),
            bodies,
            undo,
            inventory,
            events: vec![event],
        };
        self.app
            .store
            .begin_run(self.holding.lease(), &new_run, &intent)
            .await?;
        Ok(())
    }

    async fn send(&self, wave: &[Change], look: &Look) -> Result<Sent, RunError> {
        let count = wave.iter().filter(|change| change.action.writes()).count();
        let tell = |place: usize, change: &Change| {
            let message = format!(
                "{} {} ({} of {count})",
                change.action,
                change.object,
                place + 1
            );
            (self.progress)(&message);
        };
        let target = &self.stack.target;
        let sent = apply::send(target, self.holding, wave, &look.wanted.desired, &tell).await;
        Ok(sent)
    }

    /// One reload that is waited for, and one listing. When something that should be live is not
    /// there, both once more: a reload by somebody else can hide an object until the next one.
    async fn reload_and_read(
        &self,
        sent: &Sent,
        wave: &[Change],
        look: &Look,
    ) -> Result<Observation, RunError> {
        let wrote_all = wave.iter().any(|change| change.action.writes()) && sent.broken.is_none();
        (self.progress)("waiting for the gateway to load it");
        if sent.touched || wrote_all {
            self.stack
                .target
                .client
                .reload()
                .await
                .map_err(|error| self.open(&error))?;
        }
        let observation = self.read(look).await?;
        let deleted: BTreeSet<&ObjectKey> = look
            .plan
            .changes()
            .filter(|change| change.action == Action::Delete)
            .map(|change| &change.object)
            .collect();
        let was_live = look
            .observation
            .live
            .keys()
            .any(|key| !deleted.contains(key) && !observation.live.contains_key(key));
        let is_missing = wave.iter().enumerate().any(|(place, change)| {
            matches!(change.action, Action::Create | Action::Update)
                && !sent.done.contains_key(&place)
                && !observation.live.contains_key(&change.object)
        });
        if !(was_live || is_missing) {
            return Ok(observation);
        }
        self.stack
            .target
            .client
            .reload()
            .await
            .map_err(|error| self.open(&error))?;
        self.read(look).await
    }

    async fn read(&self, look: &Look) -> Result<Observation, RunError> {
        observe::observe(
            &self.stack.target.client,
            &look.inventory,
            &look.wanted.desired,
            &self.app.masker,
        )
        .await
        .map_err(|error| self.open(&error))
    }

    fn open(&self, error: &crate::tyk::gateway::Error) -> RunError {
        RunError::Open {
            run: self.run.clone(),
            why: format!("the target {}: {error}", self.stack.target.name),
        }
    }

    fn judge_wave(
        &self,
        wave: &[Change],
        sent: &Sent,
        look: &Look,
        observation: &Observation,
        documents: &BTreeMap<ObjectKey, Value>,
    ) -> Vec<Done> {
        wave.iter()
            .enumerate()
            .map(|(place, change)| {
                if !change.action.writes() {
                    return Done {
                        outcome: Outcome::Applied,
                        message: None,
                    };
                }
                let told = sent.done.get(&place);
                if let Some(done) = told
                    && done.outcome != Outcome::Unknown
                {
                    return done.clone();
                }
                let document = documents.get(&change.object);
                let verdict = apply::judge(
                    change,
                    &look.wanted.desired,
                    observation,
                    document,
                    &self.app.masker,
                );
                let said = verdict.message(&change.object);
                match (&verdict, told) {
                    (Verdict::Right { .. }, _) => Done {
                        outcome: Outcome::Applied,
                        message: said,
                    },
                    // No answer came, and it is not there: it did not arrive.
                    (_, Some(unknown)) => Done {
                        outcome: Outcome::Failed,
                        message: unknown.message.clone(),
                    },
                    (_, None) => Done {
                        outcome: Outcome::Failed,
                        message: said,
                    },
                }
            })
            .collect()
    }

    /// Puts back the previous bodies of objects that an update took down or changed otherwise
    /// than asked. A wave with an intent of its own.
    async fn repair(
        &self,
        wave: &[Change],
        first: usize,
        judged: &mut [Done],
        previous: &BTreeMap<ObjectKey, Value>,
        look: &Look,
        observation: Observation,
    ) -> Result<Observation, RunError> {
        let broken: Vec<usize> = wave
            .iter()
            .enumerate()
            .filter(|(place, change)| {
                judged[*place].outcome == Outcome::Failed
                    && change.action == Action::Update
                    && previous.contains_key(&change.object)
                    && is_not_as_before(change, look, &observation)
            })
            .map(|(place, _)| place)
            .collect();
        if broken.is_empty() {
            return Ok(observation);
        }
        (self.progress)("putting back what the change took down");
        let objects: Vec<&ObjectKey> = broken.iter().map(|&place| &wave[place].object).collect();
        let event = self.event(
            EventType::RunIntended,
            json!({"repair": objects, "positions": broken.iter().map(|place| first + place).collect::<Vec<_>>()}),
        );
        let intent = Intent {
            events: vec![event],
            ..Intent::default()
        };
        self.app
            .store
            .extend_run(self.holding.lease(), &self.run, &intent)
            .await?;
        let target = &self.stack.target;
        for &place in &broken {
            let key = &wave[place].object;
            if !self.holding.covers(target.write_needs()).await {
                return Err(RunError::Open {
                    run: self.run.clone(),
                    why: "the lease of the target ran out during a repair".to_owned(),
                });
            }
            if let Err(error) = target.client.write(key.kind, &key.id, &previous[key]).await {
                if error.is_transient() {
                    return Err(self.open(&error));
                }
                warn!(object = %key, %error, "the previous body could not be put back");
            }
        }
        target
            .client
            .reload()
            .await
            .map_err(|error| self.open(&error))?;
        let observation = self.read(look).await?;
        for &place in &broken {
            let key = &wave[place].object;
            let before = look.observation.live.get(key);
            let now = observation.live.get(key);
            let is_back = match (before, now) {
                (Some(before), Some(now)) => before.digest == now.digest,
                _ => false,
            };
            let cause = judged[place].message.take().unwrap_or_default();
            judged[place] = if is_back {
                Done {
                    outcome: Outcome::Repaired,
                    message: Some(format!("{cause}. The previous body is back and live")),
                }
            } else {
                Done {
                    outcome: Outcome::Failed,
                    message: Some(format!(
                        "{cause}. The previous body was put back and does not show as it was: look at \
                         {key} on the gateway"
                    )),
                }
            };
        }
        Ok(observation)
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
        let since = look.inventory.get(key).map_or(now, |owned| owned.since);
        Owned {
            stack: self.stack.name.clone(),
            desired,
            observed,
            listed,
            gateway_version: observation.version.clone(),
            run: self.run.clone(),
            since,
            observed_at: now,
        }
    }

    /// The inventory after one change of a writing run.
    fn settle_record(
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
            (Action::Delete | Action::Forget, Outcome::Applied) => {
                inventory.push(InventoryChange::remove(key.clone()));
            }
            (Action::Update, Outcome::Repaired) => {
                if let Some(before) = look.inventory.get(key) {
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

    /// The inventory after an adoption or a forgetting.
    fn take_record(
        &self,
        record: &ChangeRecord,
        look: &Look,
        inventory: &mut Vec<InventoryChange>,
        bodies: &mut Vec<Body>,
    ) {
        self.settle_record(record, look, &look.observation, inventory, bodies);
    }

    /// Keeps what was read back, masked, so that drift can be shown field by field later.
    fn keep_observed(
        &self,
        key: &ObjectKey,
        references: bool,
        observation: &Observation,
        bodies: &mut Vec<Body>,
    ) {
        if let Some(masked) = observation.masked(key, &self.app.masker, references) {
            let text = canonical(&masked);
            bodies.push(Body {
                digest: Digest::of(text.as_bytes()),
                text,
            });
        }
    }

    /// Remembers in which exact text an unchanged object is listed now, where another text says
    /// the same: the next look then need not read it closely.
    fn refresh_listed(
        &self,
        look: &Look,
        observation: &Observation,
        inventory: &mut Vec<InventoryChange>,
    ) {
        let changed: BTreeSet<ObjectKey> = inventory
            .iter()
            .map(|change| match change {
                InventoryChange::Put { object, .. } | InventoryChange::Remove { object, .. } => {
                    object.clone()
                }
            })
            .collect();
        for (key, owned) in look.inventory.iter() {
            if owned.stack != self.stack.name || changed.contains(key) {
                continue;
            }
            let listed = observation.listed_digest(key);
            let same = observation.live.get(key).map(|seen| seen.digest) == owned.observed;
            if same && owned.observed.is_some() && listed.is_some() && listed != owned.listed {
                let owned = Owned {
                    listed,
                    ..owned.clone()
                };
                inventory.push(InventoryChange::put(key.clone(), owned));
            }
        }
    }

    fn change_events(&self, changes: &[ChangeRecord]) -> Vec<NewEvent> {
        changes
            .iter()
            .map(|record| {
                let event_type = match record.outcome {
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
                });
                NewEvent {
                    object: Some(record.object.clone()),
                    ..self.event(event_type, payload)
                }
            })
            .collect()
    }

    fn finished_event(
        &self,
        status: RunStatus,
        message: Option<&str>,
        wanted: &Wanted,
        changes: &[ChangeRecord],
        manual: Option<Person>,
    ) -> NewEvent {
        let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
        for record in changes {
            *outcomes.entry(record.outcome.as_str()).or_default() += 1;
        }
        let mut event = self.event(
            EventType::RunFinished,
            json!({
                "status": status,
                "trigger": self.trigger,
                "source": self.source(Some(&wanted.revision)),
                "outcomes": outcomes,
                "message": message,
            }),
        );
        event.people = self.people(Some(&wanted.author), manual);
        event
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one outcome")]
    async fn record_outcome(
        self,
        look: &Look,
        changes: Vec<ChangeRecord>,
        inventory: Vec<InventoryChange>,
        bodies: Vec<Body>,
        message: Option<String>,
        again: bool,
        manual: Option<Person>,
    ) -> Result<Report, RunError> {
        let now = self.app.now();
        let status = status_of(&look.plan, &changes);
        let failures: Vec<String> = changes
            .iter()
            .filter(|record| matches!(record.outcome, Outcome::Failed | Outcome::Repaired))
            .map(|record| {
                let said = record.message.as_deref().unwrap_or("no reason was given");
                format!("{} {}: {said}", record.action, record.object)
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
        let mut events = self.change_events(&changes);
        events.push(self.finished_event(
            status,
            message.as_deref(),
            &look.wanted,
            &changes,
            manual,
        ));
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
            inventory,
            settle: match again_at {
                Some(not_before) => Settle::Retry {
                    attempt,
                    not_before,
                },
                None => Settle::Done {
                    claimed: self.state.wanted,
                    settled,
                },
            },
            problem: (status != RunStatus::Succeeded).then(|| message.clone().unwrap_or_default()),
            holds_deletions: Some(holds_deletions(&look.plan)),
            events,
        };
        self.app
            .store
            .finish_run(self.holding.lease(), &self.run, &finish)
            .await?;
        crate::crash::point("after-outcome");
        self.report_metrics(status, &changes);
        for delivery in &self.deliveries {
            if status == RunStatus::Succeeded || status == RunStatus::Parked {
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
        })
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
    if !matches!(record.action, Action::Create | Action::Update) {
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

/// How long to wait before the next attempt, in microseconds: 2 s doubling to 5 min.
pub fn backoff(attempt: i64) -> i64 {
    const FIRST: i64 = 2_000_000;
    const LONGEST: i64 = 300_000_000;
    let doublings = u32::try_from(attempt - 1).unwrap_or(0).min(20);
    (FIRST << doublings).min(LONGEST)
}

/// A failed update needs its previous body back only where the live state is no longer the
/// previous one.
fn is_not_as_before(change: &Change, look: &Look, observation: &Observation) -> bool {
    let before = look.observation.live.get(&change.object);
    let now = observation.live.get(&change.object);
    match (before, now) {
        (Some(before), Some(now)) => before.digest != now.digest,
        (Some(_), None) => true,
        (None, _) => false,
    }
}

/// The plan's changes as they are recorded: those to carry out, in order, then those held back.
fn records(plan: &Plan) -> Vec<ChangeRecord> {
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
