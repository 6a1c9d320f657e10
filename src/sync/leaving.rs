//! What must be known before an object that left a stack's manifests is deleted: whether another
//! stack of the target describes it now, whether its file is still in Git, and whether the stack
//! protects it. Asked for only when something leaves, or is owned by another stack. Reads Git and
//! the store; decides nothing and writes nothing.

use std::collections::{BTreeMap, BTreeSet};

use tracing::warn;

use super::look::{self, LookError, Wanted};
use crate::{
    app::{App, Stack},
    domain::{
        inventory::Inventory,
        object::{Kind, ObjectKey},
        plan::{Live, Neighbours, needs_neighbours},
    },
};

#[derive(Debug, Default)]
pub struct Leaving {
    pub neighbours: Neighbours,
    /// Files that described what leaves, are still in Git, and are not read as manifests.
    pub unread: BTreeMap<ObjectKey, String>,
    pub protected: BTreeSet<ObjectKey>,
}

pub async fn leaving(
    app: &App,
    stack: &Stack,
    wanted: &Wanted,
    live: &Live,
    inventory: &Inventory,
) -> Result<Leaving, LookError> {
    if !needs_neighbours(&stack.name, &wanted.desired, live, inventory) {
        return Ok(Leaving::default());
    }
    let gone: BTreeMap<&ObjectKey, Option<&str>> = inventory
        .iter()
        .filter(|(key, owned)| owned.stack == stack.name && !wanted.desired.contains_key(*key))
        // A certificate's file may well stay: nothing refers to it any more.
        .map(|(key, owned)| {
            let path = owned.path.as_deref();
            (key, path.filter(|_| key.kind != Kind::Certificate))
        })
        .collect();
    let protected = gone
        .keys()
        .filter(|key| {
            let name = live.get(**key).map_or("", |seen| seen.name.as_str());
            stack.protect.names(&key.to_string(), &key.id, name)
        })
        .map(|key| (*key).clone())
        .collect();
    Ok(Leaving {
        neighbours: neighbours(app, stack).await,
        unread: unread(app, stack, wanted, &gone).await?,
        protected,
    })
}

/// Reads what the other stacks of the target describe at the heads of their branches.
async fn neighbours(app: &App, stack: &Stack) -> Neighbours {
    let mut neighbours = Neighbours::default();
    for other in app.stacks.values() {
        if other.name == stack.name || other.target.name != stack.target.name {
            continue;
        }
        let read = async {
            let head = look::head(app, other).await?;
            look::described(app, other, &head).await
        };
        match read.await {
            Ok(described) => {
                neighbours.read.insert(other.name.clone());
                for key in described {
                    let describers = neighbours.describe.entry(key).or_default();
                    describers.insert(other.name.clone());
                }
            }
            Err(error) => {
                warn!(stack = %other.name, %error, "what a neighbour describes cannot be read");
                // Only what is in one push can move in one push.
                if other.repository == stack.repository && other.branch == stack.branch {
                    neighbours.unreadable.insert(other.name.clone());
                }
            }
        }
    }
    neighbours
}

async fn unread(
    app: &App,
    stack: &Stack,
    wanted: &Wanted,
    gone: &BTreeMap<&ObjectKey, Option<&str>>,
) -> Result<BTreeMap<ObjectKey, String>, LookError> {
    let read: BTreeSet<&str> = wanted
        .desired
        .values()
        .map(|prepared| prepared.object.path.as_str())
        .collect();
    let doubtful: BTreeSet<String> = gone
        .values()
        .flatten()
        .filter(|path| !read.contains(*path))
        .map(|path| (*path).to_owned())
        .collect();
    if doubtful.is_empty() {
        return Ok(BTreeMap::new());
    }
    let present = app
        .mirrors
        .present(&stack.remote, &wanted.revision, doubtful)
        .await?;
    Ok(gone
        .iter()
        .filter_map(|(key, path)| {
            let path = path.filter(|path| present.contains(*path))?;
            Some(((*key).clone(), path.to_owned()))
        })
        .collect())
}
