//! What others do on a target: objects that appear and belong to nobody, and objects that are
//! changed again and again after they were put back. Observes and tells; touches nothing.

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;
use tracing::info;

use crate::{
    app::{App, Stack, Target},
    domain::{
        audit::event::{EventType, NewEvent},
        guard,
        inventory::Inventory,
        object::{Kind, ObjectKey},
        plan::{Change, Live},
    },
    store::{self, Foreign},
};

/// What is on a target and belongs to nobody, with the time at which each was first seen. What was
/// there when the target was first looked at has that time.
pub async fn foreign(
    app: &App,
    target: &Target,
    live: &Live,
    inventory: &Inventory,
) -> store::Result<Foreign> {
    let now = app.now();
    let before = app.store.foreign(&target.name, &target.node).await?;
    let since = before.as_ref().map_or(now, |before| before.since);
    let known = before.map(|before| before.first_seen).unwrap_or_default();
    let first_seen = live
        .keys()
        // Certificates are listed only while some stack refers to one.
        .filter(|key| !inventory.contains_key(*key) && key.kind != Kind::Certificate)
        .map(|key| (key.clone(), known.get(key).copied().unwrap_or(now)))
        .collect();
    Ok(Foreign { since, first_seen })
}

/// Remembers the objects of a target that belong to nobody, and puts on record which are new.
pub async fn note_foreign(
    app: &App,
    target: &Target,
    live: &Live,
    inventory: &Inventory,
) -> store::Result<()> {
    let before = app.store.foreign(&target.name, &target.node).await?;
    let found = foreign(app, target, live, inventory).await?;
    if before.as_ref() == Some(&found) {
        return Ok(());
    }
    let appeared: Vec<&ObjectKey> = match &before {
        None => Vec::new(),
        Some(before) => found
            .first_seen
            .keys()
            .filter(|key| !before.first_seen.contains_key(*key))
            .collect(),
    };
    let mut events = Vec::new();
    if !appeared.is_empty() {
        info!(target_name = %target.name, objects = appeared.len(), "objects appeared that no stack owns");
        let payload = json!({
            "objects": appeared,
            "node": target.address,
            "by": "not by a run of this installation",
        });
        events.push(NewEvent {
            target: Some(target.name.clone()),
            ..app.event(EventType::ForeignAppeared, app.actor(), payload)
        });
    }
    app.store
        .set_foreign(&target.name, &target.node, &found, app.now(), &events)
        .await
}

/// An object that was put back too often for the next time to be now.
#[derive(Debug)]
pub struct Flapping {
    /// When it may be put back again: microseconds UTC.
    pub until: i64,
    /// For a person.
    pub message: String,
}

/// Whether some of what drifted is changed again and again.
pub async fn flapping(
    app: &App,
    stack: &Stack,
    changes: &[&Change],
) -> store::Result<Option<Flapping>> {
    let now = app.now();
    let since = now.saturating_sub(micros(guard::FLAPPING_WITHIN));
    let reverts: BTreeMap<ObjectKey, store::Reverts> =
        app.store.reverts(&stack.name, since).await?;
    let worst = changes
        .iter()
        .filter_map(|change| {
            let reverts = reverts.get(&change.object)?;
            let wait = guard::flapping(reverts.count)?;
            let until = reverts.last.saturating_add(micros(wait));
            Some((until, change, reverts.count))
        })
        .filter(|(until, ..)| *until > now)
        .max_by_key(|(until, ..)| *until);
    Ok(worst.map(|(until, change, count)| Flapping {
        until,
        message: format!(
            "{} was changed on {} and put back {count} times within 24 hours, so that it is put \
             back ever later: find out what else writes it, or describe in Git what it should be \
             (lockstep sync {} puts it back now)",
            change.object, stack.target.name, stack.name
        ),
    }))
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
