//! Taking ownership anew, after the database was lost or restored from a backup: what is live and
//! equal to Git belongs to the stack that describes it, the rest belongs to nobody and is listed.
//! Only the record changes; nothing is written to the target, and what nobody owns is never
//! deleted.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::json;

use super::{
    lease::Holding,
    look::{self, LookError, Wanted},
    observe::{self, Observation},
    ownership::{OwnershipError, Wish, context, put_on_record, record, state_of},
};
use crate::{
    app::{App, Stack, Target},
    domain::{
        audit::event::EventType,
        inventory::{Inventory, Owned},
        object::{Kind, ObjectKey},
        plan::PreparedDesired,
        run::Action,
    },
    store::InventoryChange,
};

/// What came of it for one stack.
#[derive(Debug, Default)]
pub struct Reclaimed {
    pub stack: String,
    /// The node, on a target of several.
    pub node: Option<String>,
    /// Live, as Git wants them: owned now.
    pub adopted: Vec<ObjectKey>,
    /// Live, and not as Git wants them, or not to be compared: they belong to nobody.
    pub differing: Vec<ObjectKey>,
    /// In Git and not on the target: the next run makes them.
    pub missing: Vec<ObjectKey>,
    /// Owned according to the database, live, and not in Git: they are left alone.
    pub left: Vec<ObjectKey>,
    /// Live, in no stack's manifests, and of no stack as far as the database knows, which may be
    /// less than was the case. Told once for each node, with its first stack.
    pub unclaimed: Vec<ObjectKey>,
}

/// Does it for every stack of a target. The caller holds its lease. It may be repeated.
pub async fn reclaim(
    app: &App,
    holding: &Holding,
    target: &Arc<Target>,
    wish: &Wish,
) -> Result<Vec<Reclaimed>, OwnershipError> {
    let stacks: Vec<Arc<Stack>> = app
        .stacks
        .values()
        .filter(|stack| stack.target.name == target.name)
        .cloned()
        .collect();
    // Everything is read before anything is recorded: one stack that cannot be read stops it.
    let mut read = Vec::new();
    let mut describers: BTreeMap<ObjectKey, usize> = BTreeMap::new();
    for stack in &stacks {
        let head = look::head(app, stack).await?;
        let wanted = look::wanted(app, stack, &head).await?;
        for key in wanted.desired.keys() {
            *describers.entry(key.clone()).or_default() += 1;
        }
        read.push(wanted);
    }
    let mut done = Vec::new();
    for node in target.nodes() {
        let before = app.store.inventory(&target.name, &node.node).await?;
        for (stack, wanted) in stacks.iter().zip(&read) {
            let here = stack.at(&node);
            let observation = observe_unowned(&here, app, wanted).await?;
            let mut equal = equal(&here, wanted, &observation).await?;
            // A certificate that is there may be anybody's; the old record knows which were ours.
            let may_be_ours = |key: &ObjectKey| {
                let was_ours = before
                    .get(key)
                    .is_some_and(|owned| owned.stack == stack.name);
                key.kind != Kind::Certificate || was_ours
            };
            equal.retain(|key| describers.get(key) == Some(&1) && may_be_ours(key));
            let mut found = sort(&here, &wanted.desired, &observation, &equal, &before);
            put(
                app,
                holding,
                &here,
                wanted,
                &observation,
                &before,
                wish,
                &found,
            )
            .await?;
            if stack.name == stacks[0].name {
                let live = observation.live.keys();
                let is_unclaimed = |key: &&ObjectKey| {
                    key.kind != Kind::Certificate
                        && !describers.contains_key(*key)
                        && !before.contains_key(*key)
                };
                found.unclaimed = live.filter(is_unclaimed).cloned().collect();
            }
            found.node = (!target.peers.is_empty()).then(|| node.address.clone());
            done.push(found);
        }
    }
    app.store
        .set_doubtful(std::slice::from_ref(&target.name), None, app.now(), None)
        .await?;
    Ok(done)
}

async fn observe_unowned(
    stack: &Stack,
    app: &App,
    wanted: &Wanted,
) -> Result<Observation, OwnershipError> {
    let unowned = Arc::new(Inventory::new());
    let observed =
        observe::observe(&stack.target.client, &unowned, &wanted.desired, &app.masker).await;
    Ok(observed.map_err(|error| LookError::target(stack, error))?)
}

async fn equal(
    stack: &Stack,
    wanted: &Wanted,
    observation: &Observation,
) -> Result<BTreeSet<ObjectKey>, OwnershipError> {
    let equal = observe::equal_objects(
        &stack.target.client,
        &stack.name,
        &wanted.desired,
        &Inventory::new(),
        observation,
        stack.target.allow_jwt_document_reads,
    )
    .await;
    Ok(equal.map_err(|error| LookError::target(stack, error))?)
}

fn sort(
    stack: &Stack,
    desired: &PreparedDesired,
    observation: &Observation,
    equal: &BTreeSet<ObjectKey>,
    before: &Inventory,
) -> Reclaimed {
    let mut found = Reclaimed {
        stack: stack.name.clone(),
        ..Reclaimed::default()
    };
    for key in desired.keys() {
        let list = if equal.contains(key) {
            &mut found.adopted
        } else if key.kind == Kind::Certificate && observation.live.contains_key(key) {
            // It is shared.
            continue;
        } else if observation.live.contains_key(key) {
            &mut found.differing
        } else {
            &mut found.missing
        };
        list.push(key.clone());
    }
    found.left = before
        .iter()
        .filter(|(key, owned)| {
            let was_ours = owned.stack == stack.name;
            was_ours && observation.live.contains_key(*key) && !desired.contains_key(*key)
        })
        .map(|(key, _)| key.clone())
        .collect();
    found
}

#[expect(
    clippy::too_many_arguments,
    reason = "one step of one function, apart to be read"
)]
async fn put(
    app: &App,
    holding: &Holding,
    stack: &Stack,
    wanted: &Wanted,
    observation: &Observation,
    before: &Inventory,
    wish: &Wish,
    found: &Reclaimed,
) -> Result<(), OwnershipError> {
    let state = state_of(app, stack).await?;
    let context = context(app, holding, stack, &state, wish.by.clone());
    let mut inventory: Vec<InventoryChange> = before
        .iter()
        .filter(|(_, owned)| owned.stack == stack.name || !app.stacks.contains_key(&owned.stack))
        .map(|(key, _)| InventoryChange::remove(key.clone()).on(&stack.target.node))
        .collect();
    let mut bodies = Vec::new();
    let mut records = Vec::new();
    for key in &found.adopted {
        let (Some(prepared), Some(seen)) = (wanted.desired.get(key), observation.live.get(key))
        else {
            continue;
        };
        let owned = Owned {
            stack: stack.name.clone(),
            desired: prepared.digest,
            observed: Some(seen.digest),
            listed: observation.listed_digest(key),
            gateway_version: observation.version.clone(),
            run: context.run.clone(),
            path: Some(prepared.object.path.clone()),
            since: context.started_at,
            observed_at: context.started_at,
        };
        inventory.push(InventoryChange::put(key.clone(), owned).on(&stack.target.node));
        bodies.push(crate::store::Body {
            digest: prepared.digest,
            text: prepared.text.clone(),
        });
        bodies.extend(observation.text(key, &app.masker, prepared.references));
        let position = i64::try_from(records.len()).unwrap_or(i64::MAX);
        records.push(record(
            position,
            key,
            Action::Adopt,
            &wish.reason,
            Some(prepared.digest),
        ));
    }
    let mut event = context.event(
        EventType::TargetRecovered,
        json!({
            "reason": wish.reason,
            "revision": wanted.revision,
            "adopted": found.adopted,
            "differing": found.differing,
            "missing": found.missing,
            "left": found.left,
        }),
    );
    event.people = context.people(Some(&wanted.commit));
    put_on_record(
        context,
        &wish.reason,
        records,
        inventory,
        bodies,
        vec![event],
    )
    .await?;
    Ok(())
}
