//! What a dead worker left behind: intents without an outcome. They are resolved first thing
//! under the next lease, by making the gateway load its disk and then looking.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};
use tracing::{info, warn};

use super::{
    apply::{self, Verdict},
    lease::Holding,
    look,
    observe::{self, Observation},
    record::undo_label,
    repair::{Hands, Mending},
    run::RunError,
};
use crate::{
    app::{App, Target},
    domain::{
        audit::{
            event::{EventType, NewEvent},
            trace::TraceId,
        },
        inventory::{Inventory, Owned},
        object::{Kind, Object, ObjectKey},
        plan::{Change, PreparedDesired},
        run::{Action, ChangeRecord, Outcome, RunStatus},
    },
    store::{self, ChangeOutcome, Finish, Intent, InventoryChange, OpenRun, Parkings, Settle},
};

/// Resolves every open run of a target.
pub async fn recover(app: &App, holding: &Holding, target: &Arc<Target>) -> Result<(), RunError> {
    for open in app.store.open_runs(&target.name).await? {
        info!(run = %open.run.id, stack = %open.run.stack, "resolving a run that was left open");
        // A node that is not in the configuration any more is asked no more.
        match target.nodes().find(|node| node.node == open.run.node) {
            Some(node) => match resolve(app, holding, &node, open).await {
                // A node that is away must not bar the others; no run goes there meanwhile.
                Err(RunError::Open { run, why }) if !target.peers.is_empty() => {
                    warn!(%run, node = %node.address, why, "a run stays open on one node");
                }
                other => other?,
            },
            None => give_up(app, holding, &open).await?,
        }
    }
    Ok(())
}

async fn resolve(
    app: &App,
    holding: &Holding,
    target: &Target,
    open: OpenRun,
) -> Result<(), RunError> {
    let still_open = |error: &crate::tyk::gateway::Error| RunError::Open {
        run: open.run.id.clone(),
        why: format!("the target {}: {error}", target.name),
    };
    let desired = Arc::new(desired_of(app, &open).await);
    let inventory = Arc::new(look::inventory(app, target).await?);
    // The gateway writes to disk and reads from memory: without a reload nothing can be known.
    // Readiness comes first, because a gateway that is starting shows nothing.
    let read = || observe::observe(&target.client, &inventory, &desired, &app.masker);
    read().await.map_err(|error| still_open(&error))?;
    target
        .client
        .reload()
        .await
        .map_err(|error| still_open(&error))?;
    let mut observation = read().await.map_err(|error| still_open(&error))?;

    let mut repaired = BTreeMap::new();
    let broken = broken(app, &open, &desired, &observation);
    if !broken.is_empty() {
        let hands = Hands {
            target,
            client: &target.client,
            holding,
            run: &open.run.id,
            inventory: &inventory,
            desired: &desired,
            masker: &app.masker,
        };
        observation = put_back(app, &hands, &open, &broken, &observation).await?;
        repaired = conclude(&open, &broken, &observation);
    }

    let wave: Vec<Change> = open.changes.iter().map(as_change).collect();
    let documents = apply::documents(target, &wave, &observation)
        .await
        .map_err(|error| still_open(&error))?;
    record(
        app,
        holding,
        &open,
        &desired,
        &inventory,
        &observation,
        &documents,
        &repaired,
    )
    .await
}

/// Ends a run of a node that nobody can ask any more.
async fn give_up(app: &App, holding: &Holding, open: &OpenRun) -> Result<(), RunError> {
    let message = format!(
        "the node {} is not in the configuration any more; what became of the run there is unknown",
        open.run.node
    );
    let outcomes = open
        .changes
        .iter()
        .filter(|record| record.outcome == Outcome::Open)
        .map(|record| ChangeOutcome {
            position: record.position,
            outcome: Outcome::Unknown,
            message: Some(message.clone()),
        })
        .collect();
    let events = vec![finished(app, open, &message, &[])];
    let events = as_intended(app, open, events).await?;
    let finish = Finish {
        status: RunStatus::Interrupted,
        message: Some(message.clone()),
        at: app.now(),
        outcomes,
        bodies: Vec::new(),
        inventory: Vec::new(),
        settle: Settle::Keep,
        problem: None,
        holds_deletions: None,
        stands: None,
        node: None,
        parkings: Parkings::new(),
        events,
    };
    app.store
        .finish_run(holding.lease(), &open.run.id, &finish)
        .await?;
    Ok(())
}

/// The desired state of the open run, as far as Git still has it. Without it a change can be
/// found to be there or not, and not whether it is right; the run that follows settles that.
async fn desired_of(app: &App, open: &OpenRun) -> PreparedDesired {
    let (Some(stack), Some(revision)) = (app.stack(&open.run.stack), &open.run.revision) else {
        return PreparedDesired::new();
    };
    match look::wanted(app, stack, revision).await {
        Ok(wanted) => Arc::unwrap_or_clone(wanted.desired),
        Err(error) => {
            warn!(run = %open.run.id, %error, "the manifests of an open run cannot be read");
            PreparedDesired::new()
        }
    }
}

/// A change that took its object down, or was about to make it anew, with the body that was live
/// before.
struct Broken {
    position: i64,
    object: ObjectKey,
    body: Value,
}

/// What is to be put back. An object that is merely other than asked is left to the run that
/// follows: somebody may have changed it since.
fn broken(
    app: &App,
    open: &OpenRun,
    desired: &PreparedDesired,
    observation: &Observation,
) -> Vec<Broken> {
    let is_open = |record: &&ChangeRecord| record.outcome == Outcome::Open;
    let verdict = |record: &ChangeRecord| {
        apply::judge(&as_change(record), desired, observation, None, &app.masker)
    };
    let mut broken = Vec::new();
    for record in open.changes.iter().filter(is_open) {
        let key = &record.object;
        let live = observation.live.get(key);
        let is_broken = match record.action {
            Action::Update => live.is_none() || matches!(verdict(record), Verdict::Renamed { .. }),
            Action::Replace => {
                let anew = successor(open, record);
                let successor_lives = anew.is_some_and(|anew| {
                    let is_there = observation.live.contains_key(&anew.object);
                    is_there && !matches!(verdict(anew), Verdict::Renamed { .. })
                });
                // Its own kind and still there: not sent, or made anew already.
                !successor_lives && (live.is_none() || anew.is_some_and(|anew| anew.object == *key))
            }
            _ => false,
        };
        if !is_broken {
            continue;
        }
        let Some(body) = previous_body(app, open, record) else {
            continue;
        };
        let own = Object {
            key: key.clone(),
            body,
            path: String::new(),
        };
        // Not touched: it listens where it did, be it under a name that the gateway gave it.
        let untouched = live.is_some_and(|seen| seen.route == own.route());
        if !untouched {
            broken.push(Broken {
                position: record.position,
                object: own.key,
                body: own.body,
            });
        }
    }
    broken
}

/// The change that was to make anew what another took away.
fn successor<'a>(open: &'a OpenRun, record: &ChangeRecord) -> Option<&'a ChangeRecord> {
    open.changes.iter().find(|other| {
        other.action == Action::Create
            && other.outcome == Outcome::Open
            && other.object.id == record.object.id
            && other.object.kind.is_api() == record.object.kind.is_api()
    })
}

fn previous_body(app: &App, open: &OpenRun, record: &ChangeRecord) -> Option<Value> {
    let undo = open
        .undo
        .iter()
        .find(|undo| undo.position == record.position)?;
    let label = undo_label(&open.run.id, record.position);
    let text = app.key.open(&label, &undo.sealed).ok();
    if text.is_none() {
        warn!(object = %record.object, "the previous body cannot be opened with this key");
    }
    serde_json::from_slice(&text?).ok()
}

async fn put_back(
    app: &App,
    hands: &Hands<'_>,
    open: &OpenRun,
    broken: &[Broken],
    observation: &Observation,
) -> Result<Observation, RunError> {
    let mut mending = Mending::default();
    for broken in broken {
        let others = observation.live.keys().filter(|other| {
            let same_place = other.id == broken.object.id && other.kind.is_api();
            same_place && broken.object.kind.is_api() && **other != broken.object
        });
        mending.remove.extend(others.cloned());
        mending
            .put_back
            .insert(broken.object.clone(), broken.body.clone());
    }
    let payload = json!({"repair": mending.objects()});
    let events = vec![event(app, open, EventType::RunIntended, payload)];
    let intent = Intent {
        events: as_intended(app, open, events).await?,
        ..Intent::default()
    };
    app.store
        .extend_run(hands.holding.lease(), &open.run.id, &intent)
        .await?;
    let mended = hands.mend(&mending).await?;
    Ok(mended.observation)
}

/// What is said of the changes that were repaired, by position.
fn conclude(
    open: &OpenRun,
    broken: &[Broken],
    observation: &Observation,
) -> BTreeMap<i64, (Outcome, String)> {
    let mut said = BTreeMap::new();
    for broken in broken {
        let back = observation.live.contains_key(&broken.object);
        let record = open
            .changes
            .iter()
            .find(|record| record.position == broken.position);
        let outcome = if back {
            Outcome::Repaired
        } else {
            Outcome::Failed
        };
        said.insert(
            broken.position,
            (
                outcome,
                "the worker died while this change had taken the object down; the previous body was put back"
                    .to_owned(),
            ),
        );
        if let Some(anew) = record
            .filter(|record| record.action == Action::Replace)
            .and_then(|record| successor(open, record))
        {
            said.insert(
                anew.position,
                (
                    Outcome::Skipped,
                    format!(
                        "the worker died before it was live; {} is back in its place",
                        broken.object
                    ),
                ),
            );
        }
    }
    said
}

#[expect(
    clippy::too_many_arguments,
    reason = "all that is known of one open run"
)]
async fn record(
    app: &App,
    holding: &Holding,
    open: &OpenRun,
    desired: &PreparedDesired,
    inventory: &Inventory,
    observation: &Observation,
    documents: &BTreeMap<ObjectKey, Value>,
    repaired: &BTreeMap<i64, (Outcome, String)>,
) -> Result<(), RunError> {
    let now = app.now();
    let mut outcomes = Vec::new();
    let mut events = Vec::new();
    let mut kept = Vec::new();
    let mut bodies = Vec::new();
    for record in open
        .changes
        .iter()
        .filter(|record| record.outcome == Outcome::Open)
    {
        let key = &record.object;
        let (outcome, message) = match repaired.get(&record.position) {
            Some(said) => said.clone(),
            None => found(record, open, desired, observation, documents.get(key), app),
        };
        match (record.action, outcome) {
            (Action::Update, Outcome::Unknown) if key.kind == Kind::Certificate => {
                kept.extend(as_before(record, inventory));
            }
            (Action::Delete | Action::Replace | Action::Forget, Outcome::Applied) => {
                kept.push(InventoryChange::remove(key.clone()));
            }
            (Action::Create | Action::Update, Outcome::Applied) => {
                if let (Some(wanted), Some(owned), Some(seen)) = (
                    desired.get(key),
                    inventory.get(key),
                    observation.live.get(key),
                ) {
                    let owned = Owned {
                        desired: wanted.digest,
                        observed: Some(seen.digest),
                        listed: observation.listed_digest(key),
                        gateway_version: observation.version.clone(),
                        observed_at: now,
                        ..owned.clone()
                    };
                    kept.push(InventoryChange::put(key.clone(), owned));
                    bodies.extend(observation.text(key, &app.masker, wanted.references));
                }
            }
            // What was to stand in the place of another kind is not ours, as that is still there.
            (Action::Create, Outcome::Skipped)
                if repaired.contains_key(&record.position)
                    && !observation.live.contains_key(key) =>
            {
                kept.push(InventoryChange::remove(key.clone()));
            }
            _ => {}
        }
        let payload = json!({
            "action": record.action,
            "before": record.before,
            "after": record.after,
            "outcome": outcome,
            "reason": record.reason,
            "message": message,
        });
        events.push(NewEvent {
            object: Some(key.clone()),
            ..event(app, open, EventType::ChangeResolved, payload)
        });
        outcomes.push(ChangeOutcome {
            position: record.position,
            outcome,
            message: Some(message),
        });
    }
    let message =
        "the worker died, or lost the target, before the outcome was on record".to_owned();
    events.push(finished(app, open, &message, &outcomes));
    let events = as_intended(app, open, events).await?;
    let finish = Finish {
        status: RunStatus::Interrupted,
        message: Some(message.clone()),
        at: now,
        outcomes,
        bodies,
        inventory: kept
            .into_iter()
            .map(|change| change.on(&open.run.node))
            .collect(),
        // The stack still wants its run.
        settle: Settle::Keep,
        problem: Some(message),
        holds_deletions: None,
        stands: None,
        node: None,
        parkings: Parkings::new(),
        events,
    };
    app.store
        .finish_run(holding.lease(), &open.run.id, &finish)
        .await?;
    app.metrics
        .run_finished(&open.run.stack, RunStatus::Interrupted, 0);
    Ok(())
}

/// The gateway has a certificate's old chain and key or its new ones, and does not say which: as if
/// nothing had been tried, so that the next run puts it anew.
fn as_before(record: &ChangeRecord, inventory: &Inventory) -> Option<InventoryChange> {
    let owned = Owned {
        desired: record.before?,
        ..inventory.get(&record.object)?.clone()
    };
    Some(InventoryChange::put(record.object.clone(), owned))
}

/// What became of one change, by what is live after a reload.
fn found(
    record: &ChangeRecord,
    open: &OpenRun,
    desired: &PreparedDesired,
    observation: &Observation,
    document: Option<&Value>,
    app: &App,
) -> (Outcome, String) {
    let key = &record.object;
    let is_live = observation.live.contains_key(key);
    match record.action {
        // Under the same key it is live again: what became of it is said by that change.
        Action::Replace if successor(open, record).is_some_and(|anew| anew.object == *key) => (
            Outcome::Skipped,
            "whether it was made anew is told by the change that was to do it".to_owned(),
        ),
        Action::Delete | Action::Replace if is_live => (
            Outcome::Skipped,
            "it is still there: the request had not been sent".to_owned(),
        ),
        Action::Delete | Action::Replace => (Outcome::Applied, "it is gone".to_owned()),
        Action::Adopt | Action::Forget | Action::Release => (
            Outcome::Skipped,
            "only the record would have changed".to_owned(),
        ),
        Action::Create | Action::Update if !is_live => (
            Outcome::Skipped,
            "it is not there: the request had not been sent, or the gateway did not load it"
                .to_owned(),
        ),
        Action::Update if key.kind == Kind::Certificate => (
            Outcome::Unknown,
            "it is there, and whether with its new chain or key cannot be seen".to_owned(),
        ),
        Action::Create | Action::Update if !desired.contains_key(key) => (
            Outcome::Unknown,
            "it is there; its manifest could not be read to compare".to_owned(),
        ),
        Action::Create | Action::Update => {
            let change = as_change(record);
            match apply::judge(&change, desired, observation, document, &app.masker) {
                Verdict::Right { .. } => (Outcome::Applied, "it is live as asked".to_owned()),
                other => (
                    Outcome::Skipped,
                    other.message(key).map_or_else(
                        || "it is not live as asked".to_owned(),
                        |said| format!("it is not live as asked: {said}"),
                    ),
                ),
            }
        }
    }
}

fn as_change(record: &ChangeRecord) -> Change {
    Change {
        object: record.object.clone(),
        action: record.action,
        reason: record.reason.clone(),
        path: None,
        before: record.before,
        after: record.after,
        drifted: false,
        fields: Vec::new(),
    }
}

/// The event that ends an interrupted run.
fn finished(app: &App, open: &OpenRun, message: &str, outcomes: &[ChangeOutcome]) -> NewEvent {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for each in outcomes {
        *counts.entry(each.outcome.as_str()).or_default() += 1;
    }
    let payload = json!({
        "status": RunStatus::Interrupted,
        "outcomes": counts,
        "message": message,
        "duration": app.now() - open.run.started_at,
        "interrupted": open.run.worker,
        "config": app.config_hash,
    });
    event(app, open, EventType::RunFinished, payload)
}

/// With what led to the run, as its intent has it: the trace goes on after a crash.
async fn as_intended(
    app: &App,
    open: &OpenRun,
    events: Vec<NewEvent>,
) -> store::Result<Vec<NewEvent>> {
    let intended = [EventType::RunIntended];
    let found = app
        .store
        .events_after(-1, &intended, Some(&open.run.id), 1)
        .await?;
    let found = found.first();
    let intended: Value = found
        .and_then(|event| serde_json::from_str(&event.payload).ok())
        .unwrap_or_default();
    let trace = intended.get("trace").and_then(Value::as_str);
    let trace: Option<TraceId> = trace.and_then(|trace| trace.parse().ok());
    let source = intended.get("source");
    let with = |event: NewEvent| {
        event
            .traced(trace.as_ref())
            .with("trigger", open.run.trigger)
            .with("attempt", open.run.attempt + 1)
            .with("source", source)
            .with("plan", open.run.plan_hash)
            .with("gateway", &open.run.gateway_version)
    };
    Ok(events.into_iter().map(with).collect())
}

fn event(app: &App, open: &OpenRun, event_type: EventType, payload: Value) -> NewEvent {
    NewEvent {
        target: Some(open.run.target.clone()),
        stack: Some(open.run.stack.clone()),
        run: Some(open.run.id.clone()),
        ..app.event(event_type, app.actor(), payload)
    }
}
