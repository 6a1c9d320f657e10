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
    run::RunError,
};
use crate::{
    app::{App, Target},
    domain::{
        audit::event::{Actor, EventType, NewEvent},
        inventory::{Inventory, Owned},
        object::{Kind, ObjectKey},
        plan::{Change, PreparedDesired},
        run::{Action, ChangeRecord, Outcome, RunStatus},
    },
    store::{ChangeOutcome, Finish, Intent, InventoryChange, OpenRun, Parkings, Settle},
};

/// Resolves every open run of a target.
pub async fn recover(app: &App, holding: &Holding, target: &Arc<Target>) -> Result<(), RunError> {
    for open in app.store.open_runs(&target.name).await? {
        info!(run = %open.run.id, stack = %open.run.stack, "resolving a run that was left open");
        // A node that is not in the configuration any more is asked no more.
        match target.nodes().find(|node| node.node == open.run.node) {
            Some(node) => resolve(app, holding, &node, open).await?,
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

    let taken_down: Vec<&ChangeRecord> = open
        .changes
        .iter()
        .filter(|record| {
            record.outcome == Outcome::Open
                && record.action == Action::Update
                && !observation.live.contains_key(&record.object)
                && open
                    .undo
                    .iter()
                    .any(|undo| undo.position == record.position)
        })
        .collect();
    let repaired: Vec<ObjectKey> = taken_down
        .iter()
        .map(|record| record.object.clone())
        .collect();
    if !taken_down.is_empty() {
        put_back(app, holding, target, &open, &taken_down).await?;
        observation = read().await.map_err(|error| still_open(&error))?;
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
    let payload = json!({"status": RunStatus::Interrupted, "message": message});
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
        events: vec![event(app, open, EventType::RunFinished, payload)],
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

async fn put_back(
    app: &App,
    holding: &Holding,
    target: &Target,
    open: &OpenRun,
    taken_down: &[&ChangeRecord],
) -> Result<(), RunError> {
    let objects: Vec<&ObjectKey> = taken_down.iter().map(|record| &record.object).collect();
    let event = event(
        app,
        open,
        EventType::RunIntended,
        json!({"repair": objects}),
    );
    let intent = Intent {
        events: vec![event],
        ..Intent::default()
    };
    app.store
        .extend_run(holding.lease(), &open.run.id, &intent)
        .await?;
    for record in taken_down {
        let Some(undo) = open
            .undo
            .iter()
            .find(|undo| undo.position == record.position)
        else {
            continue;
        };
        let label = undo_label(&open.run.id, record.position);
        let body: Option<Value> = app
            .key
            .open(&label, &undo.sealed)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok());
        let Some(body) = body else {
            warn!(object = %record.object, "the previous body cannot be opened with this key");
            continue;
        };
        if !holding.covers(target.write_needs()).await {
            return Err(RunError::Open {
                run: open.run.id.clone(),
                why: "the lease of the target ran out during a repair".to_owned(),
            });
        }
        let key = &record.object;
        if let Err(error) = target.client.write(key.kind, &key.id, &body).await {
            warn!(object = %key, %error, "the previous body could not be put back");
        }
    }
    target
        .client
        .reload()
        .await
        .map_err(|error| RunError::Open {
            run: open.run.id.clone(),
            why: format!("the target {}: {error}", target.name),
        })
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
    repaired: &[ObjectKey],
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
        let (outcome, message) = if repaired.contains(key) {
            let back = observation.live.contains_key(key);
            let said = "the worker died while this change had taken the object down; the previous body was put back";
            (
                if back {
                    Outcome::Repaired
                } else {
                    Outcome::Failed
                },
                said.to_owned(),
            )
        } else {
            found(record, desired, observation, documents.get(key), app)
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
            _ => {}
        }
        let payload = json!({
            "action": record.action,
            "before": record.before,
            "after": record.after,
            "outcome": outcome,
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
    events.push(event(
        app,
        open,
        EventType::RunFinished,
        json!({"status": RunStatus::Interrupted, "message": message}),
    ));
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
    desired: &PreparedDesired,
    observation: &Observation,
    document: Option<&Value>,
    app: &App,
) -> (Outcome, String) {
    let key = &record.object;
    let is_live = observation.live.contains_key(key);
    match record.action {
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

fn event(app: &App, open: &OpenRun, event_type: EventType, payload: Value) -> NewEvent {
    let actor = Actor::new("worker", app.worker.clone());
    NewEvent {
        target: Some(open.run.target.clone()),
        stack: Some(open.run.stack.clone()),
        run: Some(open.run.id.clone()),
        ..NewEvent::new(event_type, app.now(), actor, payload)
    }
}
