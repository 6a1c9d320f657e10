//! Timers: the sweep finds heads that nobody announced, the drift check finds changes made by
//! hand, and both only raise what a stack wants. Each is a public step and a loop around it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    handwork, hold,
    lease::Holding,
    look::{self, Look},
};
use crate::{
    app::{App, Stack},
    config::DriftPolicy,
    domain::{
        audit::event::{EventType, NewEvent},
        canonical::Digest,
        object::Kind,
        plan::{Change, REBASED},
        run::{RunStatus, Trigger},
    },
    store::{self, StackState},
};

/// Asks the hosts for the heads of all stacks' branches, one question a branch, and raises the
/// stacks whose last run was at another revision. Says which were raised.
pub async fn sweep(app: &App, stacks: &[Arc<Stack>]) -> store::Result<Vec<String>> {
    let states: BTreeMap<String, StackState> = app
        .store
        .stack_states()
        .await?
        .into_iter()
        .map(|state| (state.stack.clone(), state))
        .collect();
    let mut raised = Vec::new();
    let mut heads = BTreeMap::new();
    for stack in stacks {
        let branch = (stack.repository.clone(), stack.branch.as_str().to_owned());
        if !heads.contains_key(&branch) {
            let head = match look::head(app, stack).await {
                Ok(head) => Some(head),
                Err(error) => {
                    warn!(stack = %stack.name, %error, "the sweep could not ask for the head");
                    None
                }
            };
            heads.insert(branch.clone(), head);
        }
        let Some(Some(head)) = heads.get(&branch) else {
            continue;
        };
        let trigger = match states.get(&stack.name) {
            None => Trigger::StartUp,
            // A run is on its way already.
            Some(state) if state.wanted > state.done => continue,
            // Whatever came of the last run, it was at this head; trying again changes nothing.
            Some(state) if state.last_revision.as_ref() == Some(head) => continue,
            Some(_) => Trigger::Sweep,
        };
        app.store.want(&stack.id(), trigger).await?;
        raised.push(stack.name.clone());
    }
    Ok(raised)
}

/// What a drift check found for one stack.
#[derive(Debug)]
pub struct Drift {
    pub stack: String,
    /// The node, for people.
    pub node: String,
    pub look: Look,
}

impl Drift {
    /// The owned objects that differ from what the last run left.
    pub fn changes(&self) -> Vec<&Change> {
        let held = self.look.plan.held.iter().map(|held| &held.change);
        self.look
            .plan
            .changes()
            .chain(held)
            .filter(|change| change.drifted)
            .collect()
    }

    /// Whether another version of the gateway prints objects otherwise, and that is not on record.
    pub fn is_rebase(&self) -> bool {
        let mut changes = self.look.plan.changes();
        changes.any(|change| change.reason == REBASED)
    }

    /// Whether a certificate of the configuration is another one than the last run made.
    pub fn is_renewal(&self) -> bool {
        self.look.plan.changes().any(|change| {
            let is_made = change.object.kind == Kind::Certificate && change.action.puts();
            is_made && !change.drifted
        })
    }
}

/// Compares what is live on one node with what the last run left, at the revision that was settled
/// last.
/// `None` when the stack has never been settled. The caller holds the target's lease.
pub async fn check_drift(
    app: &App,
    stack: &Stack,
    state: &StackState,
) -> Result<Option<Drift>, look::LookError> {
    let Some(settled) = &state.settled else {
        return Ok(None);
    };
    let wanted = look::wanted(app, stack, settled).await?;
    let look = look::look(app, stack, state, wanted, app.now()).await?;
    Ok(Some(Drift {
        stack: stack.name.clone(),
        node: stack.target.address.clone(),
        look,
    }))
}

/// Checks all stacks of a target that are at rest, records what is new, and asks for a run where
/// the stack's rule is to revert. A busy target is left for the next time.
pub async fn drift(app: &App, target: &str) -> anyhow::Result<Vec<Drift>> {
    let Some(holding) = Holding::take(&app.store, target, &app.worker).await? else {
        return Ok(Vec::new());
    };
    let found = drift_held(app, target).await;
    let _ = holding.release().await;
    found
}

async fn drift_held(app: &App, target: &str) -> anyhow::Result<Vec<Drift>> {
    let mut found: Vec<Drift> = Vec::new();
    let mut is_seen = BTreeSet::new();
    // An open run must be resolved first: what it may have written is unknown, not drift.
    let open: BTreeSet<String> = app
        .store
        .open_runs(target)
        .await?
        .into_iter()
        .map(|open| open.run.node)
        .collect();
    for state in app.store.stack_states().await? {
        let ours = app.stack(&state.stack);
        let Some(stack) = ours.filter(|_| state.target == target) else {
            continue;
        };
        // A run that is about to begin looks by itself. What waits behind a hold or a freeze window
        // changes nothing until then.
        if state.is_pending() && hold::lets_begin(stack, &state, app.now()) {
            continue;
        }
        let mut drifts = Vec::new();
        for node in stack.target.nodes() {
            if open.contains(&node.node) {
                continue;
            }
            match check_drift(app, &stack.at(&node), &state).await {
                Ok(Some(drift)) => {
                    let Look {
                        observation,
                        inventory,
                        ..
                    } = &drift.look;
                    if is_seen.insert(node.node.clone()) {
                        let live = &observation.live;
                        handwork::note_foreign(app, &node, live, inventory).await?;
                    }
                    drifts.push(drift);
                }
                Ok(None) => {}
                Err(error) => warn!(
                    stack = %stack.name, node = %node.address, %error,
                    "the drift check could not look"
                ),
            }
        }
        if !drifts.is_empty() {
            note(app, stack, &state, &drifts).await?;
        }
        found.extend(drifts);
    }
    Ok(found)
}

/// Puts drift on record once, however often it is seen, and wants a run if it is to be reverted.
async fn note(
    app: &App,
    stack: &Stack,
    state: &StackState,
    drifts: &[Drift],
) -> anyhow::Result<()> {
    let changes: Vec<&Change> = drifts.iter().flat_map(Drift::changes).collect();
    let objects: BTreeSet<String> = changes
        .iter()
        .map(|change| change.object.to_string())
        .collect();
    let fingerprint = fingerprint_of(drifts);
    if !changes.is_empty() && state.drift_seen != Some(fingerprint) {
        info!(stack = %stack.name, objects = changes.len(), "the live state has drifted");
        let details: Vec<_> = drifts
            .iter()
            .flat_map(|drift| {
                drift.changes().into_iter().map(|change| {
                    json!({
                        "object": change.object,
                        "node": drift.node,
                        "what": change.reason,
                        "fields": change.fields,
                    })
                })
            })
            .collect();
        let payload = json!({
            "objects": objects,
            "changes": details,
            "revision": state.settled,
            "in_step_until": state.drift_checked_at.max(state.settled_at),
            "by": "not by a run of this installation",
        });
        let event = NewEvent {
            target: Some(stack.target.name.clone()),
            stack: Some(stack.name.clone()),
            ..app.event(EventType::DriftObserved, app.actor(), payload)
        };
        app.store.record_events(&[event]).await?;
    }
    let count = i64::try_from(changes.len()).unwrap_or(i64::MAX);
    let seen = (!changes.is_empty()).then_some(fingerprint);
    app.store
        .set_drift(&stack.name, count, seen, app.now())
        .await?;
    // Where somebody is asked first, one state of drift asks once.
    let wants_run = match stack.drift {
        DriftPolicy::Report => false,
        DriftPolicy::Revert => true,
        DriftPolicy::Approve => state.drift_seen != Some(fingerprint),
    };
    // While it is held, drift is only told of.
    let wants_run = wants_run && state.hold.is_none();
    let flapping = if wants_run && !changes.is_empty() {
        handwork::flapping(app, stack, &changes).await?
    } else {
        None
    };
    // A renewed certificate that the gateway refuses is not sent again at every look.
    let is_well = matches!(
        state.last_status,
        Some(RunStatus::Succeeded | RunStatus::Parked)
    );
    if let Some(flapping) = flapping {
        warn!(stack = %stack.name, "{}", flapping.message);
        app.store
            .postpone(
                &stack.name,
                state.attempt,
                flapping.until,
                &flapping.message,
            )
            .await?;
    } else if !changes.is_empty() && wants_run
        || changes.is_empty() && drifts.iter().any(Drift::is_rebase) && state.hold.is_none()
        || is_well && drifts.iter().any(Drift::is_renewal) && state.hold.is_none()
    {
        app.store.want(&stack.id(), Trigger::Drift).await?;
    }
    Ok(())
}

/// Names one state of drift: which objects, and how they are.
fn fingerprint_of(drifts: &[Drift]) -> Digest {
    let lines: Vec<_> = drifts
        .iter()
        .flat_map(|drift| {
            let live = &drift.look.observation.live;
            drift.changes().into_iter().map(move |change| {
                let now = live.get(&change.object).map(|seen| seen.digest);
                json!([drift.node, change.object, now])
            })
        })
        .collect();
    Digest::of_json(&json!(lines))
}

/// Runs the timers until told to stop.
pub async fn run_until_shutdown(app: App, nudge: Arc<Notify>, shutdown: CancellationToken) {
    let mut tasks = tokio::task::JoinSet::new();
    let mut by_repository: BTreeMap<String, Vec<Arc<Stack>>> = BTreeMap::new();
    for stack in app.stacks.values() {
        by_repository
            .entry(stack.repository.clone())
            .or_default()
            .push(stack.clone());
    }
    // A repository whose host hangs delays only its own stacks.
    for stacks in by_repository.into_values() {
        let (app, nudge) = (app.clone(), nudge.clone());
        tasks.spawn(async move {
            let Some(interval) = stacks.iter().map(|stack| stack.sweep_interval).min() else {
                return;
            };
            let mut wait = Duration::ZERO;
            loop {
                tokio::time::sleep(wait).await;
                match sweep(&app, &stacks).await {
                    Ok(raised) if !raised.is_empty() => {
                        info!(?raised, "the sweep found heads that nobody had announced");
                        nudge.notify_one();
                    }
                    Ok(_) => {}
                    Err(error) => warn!(%error, "the sweep could not read the store"),
                }
                wait = with_jitter(interval);
            }
        });
    }
    for target in app.targets.values().cloned() {
        let (app, nudge) = (app.clone(), nudge.clone());
        tasks.spawn(async move {
            loop {
                tokio::time::sleep(with_jitter(target.drift_interval)).await;
                match drift(&app, &target.name).await {
                    Ok(found) if found.iter().any(|drift| !drift.changes().is_empty()) => {
                        nudge.notify_one();
                    }
                    Ok(_) => {}
                    Err(error) => {
                        warn!(target_name = %target.name, %error, "the drift check ended early");
                    }
                }
            }
        });
    }
    shutdown.cancelled().await;
    tasks.shutdown().await;
}

/// Up to a tenth earlier or later, so that many workers do not ask in step.
fn with_jitter(interval: Duration) -> Duration {
    let random = uuid::Uuid::new_v4().as_u128() % 2_000;
    let thousandths = 9_000 + u32::try_from(random).unwrap_or(1_000);
    interval * thousandths / 10_000
}
