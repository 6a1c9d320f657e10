//! Taking an object over, and letting go of one, by a person's word. Both change the inventory
//! alone, as a run of their own with who and why; nothing is written to the target.

use std::collections::BTreeMap;

use serde_json::json;

use super::{
    apply,
    lease::Holding,
    look::{self, Look, LookError},
    nodes::ALONE,
    run::{Context, Report, RunError, silent},
};
use crate::{
    app::{App, Stack, new_trace},
    domain::{
        audit::event::{Asker, EventType, NewEvent},
        canonical::{Digest, canonical},
        inventory::Owned,
        normalize,
        object::ObjectKey,
        revision::Revision,
        run::{Action, ChangeRecord, Outcome, RunStatus, Trigger},
    },
    store::{self, Body, Finish, Intent, InventoryChange, Parkings, Settle, StackState},
};

#[derive(Debug, thiserror::Error)]
pub enum OwnershipError {
    /// A sentence for each object that it cannot be done for; none of them was changed.
    #[error("{}", .0.join("\n"))]
    Refused(Vec<String>),
    #[error(transparent)]
    Look(#[from] LookError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Who asks for it, and why.
#[derive(Debug, Clone)]
pub struct Wish {
    pub by: Asker,
    pub reason: String,
}

/// Makes a stack the owner of objects that Git describes and nobody owns. What differs from Git is
/// brought in step by the run that follows. The caller holds the target's lease.
pub async fn adopt(
    app: &App,
    holding: &Holding,
    stack: &Stack,
    objects: &[ObjectKey],
    wish: Wish,
) -> Result<Report, OwnershipError> {
    let state = state_of(app, stack).await?;
    let head = look::head(app, stack).await?;
    let wanted = look::wanted(app, stack, &head).await?;
    let mut looks = Vec::new();
    for node in stack.target.nodes() {
        let here = stack.at(&node);
        let look = look::look(app, &here, &state, wanted.clone(), app.now()).await?;
        looks.push((here, look));
    }
    let refused: Vec<String> = objects
        .iter()
        .filter_map(|key| refusal(app, stack, &looks, &head, key))
        .collect();
    if !refused.is_empty() {
        return Err(OwnershipError::Refused(refused));
    }

    let context = context(app, holding, stack, &state, wish.by);
    let mut inventory = Vec::new();
    let mut bodies = Vec::new();
    let mut records = Vec::new();
    for (here, look) in &looks {
        let adopted = as_found(&context, here, look, objects).await?;
        for (key, owned, body) in adopted {
            let position = i64::try_from(records.len()).unwrap_or(i64::MAX);
            let before = Some(owned.desired);
            records.push(record(position, &key, Action::Adopt, &wish.reason, before));
            bodies.push(body);
            bodies.extend(look.observation.text(&key, &app.masker));
            inventory.push(InventoryChange::put(key, owned).on(&here.target.node));
        }
    }
    inventory.extend(objects.iter().map(|object| InventoryChange::Retake {
        object: object.clone(),
        stack: stack.name.clone(),
    }));
    let events = object_events(&context, EventType::ObjectAdopted, &wish.reason, &records);
    let report = put_on_record(context, &wish.reason, records, inventory, bodies, events).await?;
    app.store.want(&stack.id(), Trigger::Manual).await?;
    Ok(report)
}

/// Why an object cannot be adopted.
fn refusal(
    app: &App,
    stack: &Stack,
    looks: &[(Stack, Look)],
    head: &Revision,
    key: &ObjectKey,
) -> Option<String> {
    let (_, look) = looks.first()?;
    let owner = look.inventory.get(key).map(|owned| owned.stack.as_str());
    let is_live = looks
        .iter()
        .any(|(_, look)| look.observation.live.contains_key(key));
    if !look.wanted.desired.contains_key(key) {
        Some(format!(
            "{key} is described by no manifest of {} at {}, so that owning it would mean deleting \
             it: add its manifest first (lockstep import writes one)",
            stack.name,
            head.short()
        ))
    } else if !is_live {
        Some(format!(
            "{key} is not on {}: lockstep sync {} makes it",
            stack.target.name, stack.name
        ))
    } else if owner == Some(&stack.name) {
        Some(format!("{key} belongs to {} already", stack.name))
    } else {
        let owner = owner.filter(|owner| app.stacks.contains_key(*owner))?;
        Some(format!(
            "{key} belongs to the stack {owner}: remove it from that stack's manifests, or let go \
             of it with `lockstep release {owner} {key} --reason …`"
        ))
    }
}

/// The objects as they are on one node now, read as closely as is safe.
async fn as_found(
    context: &Context<'_>,
    here: &Stack,
    look: &Look,
    objects: &[ObjectKey],
) -> Result<Vec<(ObjectKey, Owned, Body)>, OwnershipError> {
    let masker = &context.app.masker;
    let wave: Vec<_> = look
        .plan
        .held
        .iter()
        .map(|held| held.change.clone())
        .filter(|change| objects.contains(&change.object))
        .collect();
    let live = apply::previous_bodies(&here.target, &wave, &look.observation)
        .await
        .map_err(|error| LookError::target(here, error))?;
    let mut found = Vec::new();
    for key in objects {
        let seen = look.observation.live.get(key).map(|seen| seen.digest);
        let is_hidden = look.observation.hides(key);
        let read = live.get(key).map(|body| {
            let comparable = normalize::comparable(key.kind, body);
            let text = canonical(&masker.mask_owned(comparable, is_hidden));
            Body {
                digest: Digest::of(text.as_bytes()),
                text,
            }
        });
        let Some(body) = read.or_else(|| look.observation.text(key, masker)) else {
            continue;
        };
        let owned = Owned {
            stack: here.name.clone(),
            desired: body.digest,
            observed: seen,
            listed: look.observation.listed_digest(key),
            hidden: is_hidden,
            gateway_version: look.observation.version.clone(),
            run: context.run.clone(),
            path: None,
            since: context.started_at,
            observed_at: context.started_at,
        };
        found.push((key.clone(), owned, body));
    }
    Ok(found)
}

/// Makes a stack let go of objects: they stay on the target and belong to nobody. The caller holds
/// the target's lease.
pub async fn release(
    app: &App,
    holding: &Holding,
    stack: &Stack,
    objects: &[ObjectKey],
    wish: Wish,
) -> Result<Report, OwnershipError> {
    let state = state_of(app, stack).await?;
    let inventory = look::inventory(app, &stack.target).await?;
    let refused: Vec<String> = objects
        .iter()
        .filter_map(|key| match inventory.get(key) {
            Some(owned) if owned.stack == stack.name => None,
            Some(owned) => Some(format!("{key} belongs to the stack {}", owned.stack)),
            None => Some(format!(
                "{key} belongs to no stack of {}",
                stack.target.name
            )),
        })
        .collect();
    if !refused.is_empty() {
        return Err(OwnershipError::Refused(refused));
    }
    let context = context(app, holding, stack, &state, wish.by);
    let owners: BTreeMap<_, _> = inventory.into_iter().collect();
    let records: Vec<ChangeRecord> = objects
        .iter()
        .zip(0..)
        .map(|(key, position)| {
            let before = owners.get(key).map(|owned| owned.desired);
            record(position, key, Action::Release, &wish.reason, before)
        })
        .collect();
    let changes = objects
        .iter()
        .map(|object| InventoryChange::Release {
            object: object.clone(),
            stack: stack.name.clone(),
            run: context.run.clone(),
        })
        .collect();
    let events = object_events(&context, EventType::ObjectReleased, &wish.reason, &records);
    put_on_record(context, &wish.reason, records, changes, Vec::new(), events).await
}

fn object_events(
    context: &Context<'_>,
    event_type: EventType,
    reason: &str,
    records: &[ChangeRecord],
) -> Vec<NewEvent> {
    records
        .iter()
        .map(|record| NewEvent {
            object: Some(record.object.clone()),
            people: context.people(None),
            actor: context.asked_by(),
            ..context.event(event_type, json!({"reason": reason, "body": record.before}))
        })
        .collect()
}

pub(super) async fn state_of(app: &App, stack: &Stack) -> store::Result<StackState> {
    let state = app.store.stack_state(&stack.name).await?;
    Ok(state.unwrap_or_else(|| stack.fresh_state()))
}

pub(super) fn context<'a>(
    app: &'a App,
    holding: &'a Holding,
    stack: &'a Stack,
    state: &'a StackState,
    by: Asker,
) -> Context<'a> {
    Context {
        app,
        holding,
        stack,
        state,
        run: app.new_run_id(),
        trigger: Trigger::Manual,
        deliveries: Vec::new(),
        started_at: app.now(),
        trace: by.trace.clone().unwrap_or_else(new_trace),
        operator: Some(by),
        progress: &silent,
        course: &ALONE,
        node_problem: None,
    }
}

pub(super) fn record(
    position: i64,
    key: &ObjectKey,
    action: Action,
    reason: &str,
    before: Option<Digest>,
) -> ChangeRecord {
    ChangeRecord {
        position,
        object: key.clone(),
        action,
        reason: reason.to_owned(),
        before,
        after: before,
        fields: Vec::new(),
        outcome: Outcome::Applied,
        message: None,
    }
}

pub(super) async fn put_on_record(
    context: Context<'_>,
    reason: &str,
    records: Vec<ChangeRecord>,
    inventory: Vec<InventoryChange>,
    bodies: Vec<Body>,
    events: Vec<NewEvent>,
) -> Result<Report, OwnershipError> {
    let finish = Finish {
        status: RunStatus::Succeeded,
        message: Some(reason.to_owned()),
        at: context.app.now(),
        outcomes: Vec::new(),
        bodies,
        inventory,
        settle: Settle::Keep,
        problem: None,
        holds_deletions: None,
        stands: None,
        node: None,
        parkings: Parkings::new(),
        events,
    };
    let intent = Intent {
        changes: records.clone(),
        ..Intent::default()
    };
    let new_run = context.new_run(None, None, None);
    context
        .app
        .store
        .record_run(context.holding.lease(), &new_run, &intent, &finish)
        .await?;
    Ok(Report {
        run: Some(context.run),
        status: RunStatus::Succeeded,
        revision: None,
        plan: None,
        changes: records,
        message: None,
        again_at: None,
        node: None,
        nodes: Vec::new(),
    })
}
