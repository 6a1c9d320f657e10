//! One run, top to bottom: look, record the intent, apply, reload, read back, repair, record the
//! outcome. Everything here happens under the target's lease.
//!
//! Nothing is written to a target before its intent is committed, and a worker that lost its
//! lease writes no history: the run stays open, and whoever holds the target next resolves it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tracing::{info, warn};

use super::{
    apply::{self, Done, Sent, Verdict},
    lease::Holding,
    look::{self, Look, LookError, Wanted},
    nodes::{self, Course, Ended},
    observe::{self, Observation},
    record::{Written, records},
    repair::Account,
    witness,
};
use crate::{
    app::{App, Stack, new_trace},
    domain::{
        audit::{event::Asker, trace::TraceId},
        object::{Kind, ObjectKey},
        plan::{Change, Plan},
        revision::Revision,
        run::{Action, ChangeRecord, Outcome, RunId, RunStatus, Trigger},
    },
    store::{self, Delivery, StackState},
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
    /// The node, on a target of several.
    pub node: Option<String>,
    /// What it came to on each node, on a target of several.
    pub nodes: Vec<Report>,
}

impl Report {
    /// A run that came to nothing, and why.
    pub(super) fn without_changes(run: Option<RunId>, status: RunStatus, message: String) -> Self {
        Self {
            run,
            status,
            revision: None,
            plan: None,
            changes: Vec::new(),
            message: Some(message),
            again_at: None,
            node: None,
            nodes: Vec::new(),
        }
    }

    /// All nodes together: the worst status, every change, every message.
    fn of_all(mut reports: Vec<Self>) -> Self {
        if reports.len() == 1 && reports[0].node.is_none() {
            return reports.remove(0);
        }
        let rank = |status: RunStatus| match status {
            RunStatus::Succeeded => 0,
            RunStatus::Parked => 1,
            _ => 2,
        };
        let messages: Vec<String> = reports
            .iter()
            .filter_map(|report| {
                let node = report.node.as_deref().unwrap_or_default();
                Some(format!("{node}: {}", report.message.as_deref()?))
            })
            .collect();
        Self {
            run: reports.iter().rev().find_map(|report| report.run.clone()),
            status: reports
                .iter()
                .map(|report| report.status)
                .max_by_key(|status| rank(*status))
                .unwrap_or(RunStatus::Succeeded),
            revision: reports.iter().find_map(|report| report.revision.clone()),
            plan: reports.iter().find_map(|report| report.plan.clone()),
            changes: reports
                .iter()
                .flat_map(|report| report.changes.iter().cloned())
                .collect(),
            message: (!messages.is_empty()).then(|| messages.join("\n")),
            again_at: reports.iter().filter_map(|report| report.again_at).max(),
            node: None,
            nodes: reports,
        }
    }
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
pub(super) struct Context<'a> {
    pub(super) app: &'a App,
    pub(super) holding: &'a Holding,
    pub(super) stack: &'a Stack,
    pub(super) state: &'a StackState,
    pub(super) run: RunId,
    pub(super) trigger: Trigger,
    pub(super) deliveries: Vec<Delivery>,
    pub(super) started_at: i64,
    /// Who asked for it by hand.
    pub(super) operator: Option<Asker>,
    /// What binds it to the push or the request that it follows from.
    pub(super) trace: TraceId,
    pub(super) progress: Progress<'a>,
    /// The nodes before this one, on a target of several.
    pub(super) course: &'a Course,
    /// Why this node was not where it should be.
    pub(super) node_problem: Option<String>,
}

/// Converges one stack, on every node of its target: to the head of its branch, or to where it was
/// rolled back to.
pub async fn run_stack(
    app: &App,
    holding: &Holding,
    stack: &Stack,
    state: &StackState,
    operator: Option<Asker>,
    progress: Progress<'_>,
) -> Result<Report, RunError> {
    let started_at = app.now();
    let rollback = state.hold.as_ref().and_then(|hold| hold.rollback.clone());
    // What came after a rollback was asked for waits behind it.
    let state = &match &rollback {
        Some(rollback) => StackState {
            wanted: rollback.generation,
            ..state.clone()
        },
        None => state.clone(),
    };
    let deliveries = app
        .store
        .deliveries_between(&stack.name, state.done, state.wanted)
        .await?;
    let trigger = if rollback.is_some() {
        Trigger::Rollback
    } else if operator.is_some() {
        Trigger::Manual
    } else if deliveries.is_empty() {
        state.pending_trigger.unwrap_or(Trigger::StartUp)
    } else {
        Trigger::Push
    };
    let asked = operator.as_ref().and_then(|by| by.trace.clone());
    let pushed = deliveries.last().and_then(|last| last.trace.clone());
    let trace = asked
        .or(pushed)
        .or_else(|| state.pending_trace.clone())
        .unwrap_or_else(new_trace);
    // What goes wrong before any node is asked concerns all of them.
    let context = Context {
        app,
        holding,
        stack,
        state,
        run: app.new_run_id(),
        trigger,
        deliveries,
        started_at,
        operator,
        trace,
        progress,
        course: &nodes::ALONE,
        node_problem: None,
    };

    let head = if let Some(rollback) = rollback {
        rollback.revision
    } else {
        progress("reading the head of the branch");
        let head = match look::head(app, stack).await {
            Ok(head) => head,
            Err(error) => return context.failed(None, None, &error).await,
        };
        if context.lags_behind(&head).await? {
            return context.wait_for_the_host(&head).await;
        }
        head
    };
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
        Err(error) => return context.failed(Some(head), None, &error).await,
    };
    for warning in &wanted.warnings {
        info!(stack = %stack.name, "{warning}");
    }

    let (report, moving) = context.visit(&wanted).await?;
    wake_neighbours(app, stack, state, &report, &moving).await?;
    if let Err(error) = witness::note(app).await {
        warn!("{error:#}");
    }
    Ok(report)
}

/// What this stack let go of, or mended, may be what others of the target wait for.
async fn wake_neighbours(
    app: &App,
    stack: &Stack,
    before: &StackState,
    report: &Report,
    moving: &BTreeSet<String>,
) -> store::Result<()> {
    let is_news = !report.changes.is_empty() || before.last_status != Some(report.status);
    let mended = report.status == RunStatus::Succeeded && is_news;
    if !mended && moving.is_empty() {
        return Ok(());
    }
    for other in app.store.stack_states().await? {
        let Some(neighbour) = app
            .stack(&other.stack)
            .filter(|other| other.name != stack.name && other.target.name == stack.target.name)
        else {
            continue;
        };
        let waits = mended && other.last_status == Some(RunStatus::Parked);
        if waits || moving.contains(&other.stack) {
            app.store.want(&neighbour.id(), Trigger::Sweep).await?;
        }
    }
    Ok(())
}

impl Context<'_> {
    /// Goes to the nodes of the target, one after another. Answers what it came to on all of them,
    /// and the stacks that objects move to.
    async fn visit(self, wanted: &Wanted) -> Result<(Report, BTreeSet<String>), RunError> {
        let mut states = BTreeMap::new();
        if !self.stack.target.peers.is_empty() {
            let known = self.app.store.node_states().await?.into_iter();
            let ours = known.filter(|node| node.stack == self.stack.name);
            states.extend(ours.map(|node| (node.node.clone(), node)));
        }
        let is_retry = self.state.attempt > 0 && self.operator.is_none();
        let nodes = nodes::to_visit(&self.stack.target, &states, &wanted.revision, is_retry);
        let mut course = Course::over(1 + self.stack.target.peers.len());
        let mut reports: Vec<Report> = Vec::new();
        let mut moving = BTreeSet::new();
        for (node, place) in nodes.iter().zip(1..) {
            course.is_last = place == nodes.len();
            let here = self.stack.at(node);
            let context = Context {
                app: self.app,
                holding: self.holding,
                stack: &here,
                state: self.state,
                run: self.app.new_run_id(),
                trigger: self.trigger,
                deliveries: self.deliveries.clone(),
                started_at: self.app.now(),
                operator: self.operator.clone(),
                trace: self.trace.clone(),
                progress: self.progress,
                course: &course,
                node_problem: states.get(&node.node).and_then(|node| node.problem.clone()),
            };
            let run = Box::pin(context.run_node(wanted.clone(), &mut moving));
            let (mut report, is_unreachable) = run.await?;
            let ended = Ended {
                status: report.status,
                is_unreachable,
            };
            if course.is_shared {
                report.node = Some(node.address.clone());
            }
            let stops = course.stops(ended);
            course.add(&node.address, ended, report.message.as_deref());
            reports.push(report);
            if stops {
                break;
            }
            if !course.is_last {
                crate::crash::point("between-nodes");
            }
        }
        Ok((Report::of_all(reports), moving))
    }

    /// Looks at one node and does what is due there. Says whether the node could not be asked.
    async fn run_node(
        self,
        wanted: Wanted,
        moving: &mut BTreeSet<String>,
    ) -> Result<(Report, bool), RunError> {
        (self.progress)("reading what the gateway runs");
        let commit = wanted.commit.clone();
        let revision = wanted.revision.clone();
        let target = &self.stack.target;
        let is_open = self.course.is_shared
            && self
                .app
                .store
                .open_runs(&target.name)
                .await?
                .iter()
                .any(|open| open.run.node == target.node);
        let look = if is_open {
            Err(LookError::Open {
                target: target.name.clone(),
            })
        } else {
            look::look(self.app, self.stack, self.state, wanted, self.started_at).await
        };
        let look = match look {
            Ok(look) => look,
            Err(error) => {
                let is_unreachable = error.is_unreachable();
                let report = self.failed(Some(revision), Some(&commit), &error).await?;
                return Ok((report, is_unreachable));
            }
        };
        moving.extend(look.plan.moving.values().cloned());
        let report = if look.plan.writes() {
            self.write(look).await?
        } else {
            self.record_only(look).await?
        };
        Ok((report, false))
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
            revision: Some(head.clone()),
            again_at: Some(again_at),
            ..Report::without_changes(None, RunStatus::Failed, message)
        })
    }

    /// A run that writes: intent, waves, outcomes.
    async fn write(self, look: Look) -> Result<Report, RunError> {
        let target = &self.stack.target;
        let plan = look.plan.clone();
        let mut changes = records(&plan);
        let all: Vec<Change> = plan.changes().cloned().collect();
        let mut previous = match apply::previous_bodies(target, &all, &look.observation).await {
            Ok(previous) => previous,
            Err(error) => {
                let error = LookError::target(self.stack, error);
                let commit = look.wanted.commit.clone();
                let revision = Some(look.wanted.revision.clone());
                return self.failed(revision, Some(&commit), &error).await;
            }
        };
        self.previous_from_git(&look, &mut previous).await;
        self.record_intent(&look, &changes, &previous).await?;
        crate::crash::point("after-intent");

        let mut account = Account::new(all, previous);
        let mut latest: Option<Observation> = None;
        let mut message = None;
        let mut first = 0;
        for wave in &plan.waves {
            let span = first..first + wave.len();
            first = span.end;
            let before = latest.as_ref().unwrap_or(&look.observation);
            let sent = self.send(wave, span.start, &account, &look, before).await;
            crate::crash::point("after-writes");
            let observation = self.reload_and_read(&sent, wave, &look).await?;
            crate::crash::point("after-reload");
            let documents = apply::documents(target, wave, &observation)
                .await
                .map_err(|error| self.open(&error))?;
            let judged = self.judge_wave(wave, &sent, &look, &observation, &documents);
            for (place, change) in wave.iter().enumerate() {
                let is_lost = judged[place].outcome == Outcome::Failed
                    && change.action == Action::Create
                    && change.object.kind != Kind::Certificate
                    && !sent.done.contains_key(&place)
                    && !observation.live.contains_key(&change.object);
                if is_lost {
                    account.lost.insert(span.start + place);
                }
            }
            account.done[span.clone()].clone_from_slice(&judged);
            let took = sent.took.iter();
            account
                .took
                .extend(took.map(|(place, took)| (span.start + place, *took)));
            if let Some(error) = &sent.broken {
                message = Some(format!("the target {}: {error}", target.name));
            }
            if sent.lease_lost {
                message = Some("the lease of the target ran out".to_owned());
            }
            if message.is_some() {
                let why = "an earlier wave of this run went wrong";
                account.done[first..].fill(Done::new(Outcome::Skipped, why));
            }
            let observation = self.repair(&mut account, &look, observation).await?;
            latest = Some(observation);
            if message.is_some() {
                break;
            }
        }
        let observation = latest.as_ref().unwrap_or(&look.observation);
        let mut inventory = Vec::new();
        let mut bodies = Vec::new();
        let took = account.took;
        for (record, done) in changes.iter_mut().zip(account.done) {
            record.outcome = done.outcome;
            record.message = done.message;
            self.settle_record(record, &look, observation, &mut inventory, &mut bodies);
        }
        self.refresh_listed(&look, observation, &mut inventory);
        crate::crash::point("before-outcome");
        let again = message.is_some();
        let written = Written {
            changes,
            took,
            inventory,
            bodies,
        };
        self.record_outcome(&look, written, message, again).await
    }

    /// What is to be made anew where something else still stands is not sent.
    async fn send(
        &self,
        wave: &[Change],
        first: usize,
        account: &Account,
        look: &Look,
        observation: &Observation,
    ) -> Sent {
        let mut sent = Sent::default();
        for (place, change) in wave.iter().enumerate() {
            if account.is_blocked(first + place) {
                let why = format!("{} did not make room for it", change.object);
                sent.done.insert(place, Done::new(Outcome::Skipped, why));
            }
        }
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
        apply::send(
            target,
            self.holding,
            wave,
            &look.wanted.desired,
            observation,
            &tell,
            &mut sent,
        )
        .await;
        sent
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
            .filter(|change| change.action.removes())
            .map(|change| &change.object)
            .collect();
        let was_live = look
            .observation
            .live
            .keys()
            .any(|key| !deleted.contains(key) && !observation.live.contains_key(key));
        let is_missing = wave.iter().enumerate().any(|(place, change)| {
            change.action.puts()
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
}

/// How long to wait before the next attempt, in microseconds: 2 s doubling to 5 min.
pub fn backoff(attempt: i64) -> i64 {
    const FIRST: i64 = 2_000_000;
    const LONGEST: i64 = 300_000_000;
    let doublings = u32::try_from(attempt - 1).unwrap_or(0).min(20);
    (FIRST << doublings).min(LONGEST)
}
