//! The inventory (which stack owns which object) and the bodies (masked JSON by its hash). Both
//! are written inside the transactions of runs, never alone.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::QueryBuilder;

use super::{
    Store,
    db::{BATCH, Tx},
    error::{Result, parse, parse_opt},
};
use crate::domain::{
    canonical::Digest,
    inventory::{Inventory, Owned},
    object::ObjectKey,
    run::RunId,
};

/// Bodies of one statement: they are the large values.
const BODIES: usize = 200;

/// A masked body in canonical JSON, and its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    pub digest: Digest,
    pub text: String,
}

/// What becomes of an object's ownership. The target is the lease's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InventoryChange {
    Put {
        node: String,
        object: ObjectKey,
        owned: Owned,
    },
    Remove {
        node: String,
        object: ObjectKey,
    },
    /// The stack owns it no more, on any node, and does not take it over again by itself.
    Release {
        object: ObjectKey,
        stack: String,
        run: RunId,
    },
    /// The stack may take it over again.
    Retake {
        object: ObjectKey,
        stack: String,
    },
}

impl InventoryChange {
    /// On a target of one node, which has no name.
    pub fn put(object: ObjectKey, owned: Owned) -> Self {
        Self::Put {
            node: String::new(),
            object,
            owned,
        }
    }

    /// On a target of one node, which has no name.
    pub fn remove(object: ObjectKey) -> Self {
        Self::Remove {
            node: String::new(),
            object,
        }
    }

    /// The same on a node of that name.
    #[must_use]
    pub fn on(self, name: &str) -> Self {
        let node = name.to_owned();
        match self {
            Self::Put { object, owned, .. } => Self::Put {
                node,
                object,
                owned,
            },
            Self::Remove { object, .. } => Self::Remove { node, object },
            of_every_node => of_every_node,
        }
    }
}

impl Store {
    /// Every owned object of one node of a target, whatever stack owns it. A target of one node
    /// names it `""`.
    pub async fn inventory(&self, target: &str, node: &str) -> Result<Inventory> {
        let rows: Vec<OwnedRow> = on_pool!(self, |pool| {
            sqlx::query_as(
                "select object, stack, desired, observed, listed, gateway_version, run, path, since, observed_at \
                 from inventory where target = $1 and node = $2",
            )
            .bind(target)
            .bind(node)
            .fetch_all(pool)
            .await?
        });
        rows.into_iter().map(OwnedRow::read).collect()
    }

    /// The same of every node, by its name.
    pub async fn inventories(&self, target: &str) -> Result<BTreeMap<String, Inventory>> {
        let nodes: Vec<String> = on_pool!(self, |pool| {
            sqlx::query_scalar("select distinct node from inventory where target = $1")
                .bind(target)
                .fetch_all(pool)
                .await?
        });
        let mut inventories = BTreeMap::new();
        for node in nodes {
            let inventory = self.inventory(target, &node).await?;
            inventories.insert(node, inventory);
        }
        Ok(inventories)
    }

    /// What the stack was told to let go of, and may still describe.
    pub async fn released(&self, target: &str, stack: &str) -> Result<BTreeSet<ObjectKey>> {
        let rows: Vec<String> = on_pool!(self, |pool| {
            sqlx::query_scalar("select object from released where target = $1 and stack = $2")
                .bind(target)
                .bind(stack)
                .fetch_all(pool)
                .await?
        });
        rows.iter().map(|object| parse("object", object)).collect()
    }

    /// How many objects every stack owns, each counted once however many nodes have it.
    pub async fn owned_objects(&self) -> Result<BTreeMap<String, i64>> {
        let rows: Vec<(String, i64)> = on_pool!(self, |pool| {
            sqlx::query_as("select stack, count(*) from (select distinct target, object, stack from inventory) as owned group by stack")
                .fetch_all(pool)
                .await?
        });
        Ok(rows.into_iter().collect())
    }

    /// The bodies with these hashes, as far as they are known.
    pub async fn bodies(&self, digests: &[Digest]) -> Result<BTreeMap<Digest, String>> {
        let wanted: BTreeSet<&Digest> = digests.iter().collect();
        let wanted: Vec<String> = wanted.into_iter().map(ToString::to_string).collect();
        let mut bodies = BTreeMap::new();
        for chunk in wanted.chunks(BATCH) {
            let rows: Vec<(String, String)> = on_pool!(self, |pool| {
                let mut select =
                    QueryBuilder::new("select digest, content from body where digest in (");
                let mut digests = select.separated(", ");
                for digest in chunk {
                    digests.push_bind(digest);
                }
                select.push(")");
                select
                    .build_query_as()
                    .persistent(false)
                    .fetch_all(pool)
                    .await?
            });
            for (digest, text) in rows {
                bodies.insert(parse("digest", &digest)?, text);
            }
        }
        Ok(bodies)
    }

    /// How many objects runs of the stack deleted on one node since then, as the target was seen to
    /// have done. Certificates are not counted: they go when nothing uses them.
    pub async fn deletions_since(&self, stack: &str, node: &str, since: i64) -> Result<i64> {
        Ok(on_pool!(self, |pool| {
            sqlx::query_scalar(
                "select count(*) from run r join change c on c.run = r.id \
                 where r.stack = $1 and r.node = $3 \
                 and coalesce(r.finished_at, r.started_at) >= $2 and c.action = 'delete' and c.outcome = 'applied' \
                 and c.object not like 'certificate/%'",
            )
            .bind(stack)
            .bind(since)
            .bind(node)
            .fetch_one(pool)
            .await?
        }))
    }
}

/// Keeps bodies that are not known yet. In the order of their hashes, so that two transactions
/// with the same bodies cannot wait for each other.
pub(super) async fn insert_bodies(tx: &mut Tx, bodies: &[Body]) -> Result<()> {
    let bodies: BTreeMap<&Digest, &str> = bodies
        .iter()
        .map(|body| (&body.digest, body.text.as_str()))
        .collect();
    let bodies: Vec<_> = bodies.into_iter().collect();
    for chunk in bodies.chunks(BODIES) {
        on_tx!(tx, |connection| {
            let mut insert = QueryBuilder::new("insert into body (digest, content) ");
            insert.push_values(chunk, |mut row, (digest, text)| {
                row.push_bind(digest.to_string()).push_bind(*text);
            });
            insert.push(" on conflict (digest) do nothing");
            insert.build().persistent(false).execute(connection).await?;
        });
    }
    Ok(())
}

/// Writes what became of objects. Of two changes to one object the later stands.
pub(super) async fn change_inventory(
    tx: &mut Tx,
    target: &str,
    changes: &[InventoryChange],
) -> Result<()> {
    let mut last: BTreeMap<(&str, &ObjectKey), Option<&Owned>> = BTreeMap::new();
    for change in changes {
        match change {
            InventoryChange::Put {
                node,
                object,
                owned,
            } => last.insert((node, object), Some(owned)),
            InventoryChange::Remove { node, object } => last.insert((node, object), None),
            // A person's word, never one of many.
            InventoryChange::Release { object, stack, run } => {
                release(tx, target, object, stack, run).await?;
                continue;
            }
            InventoryChange::Retake { object, stack } => {
                retake(tx, target, object, stack).await?;
                continue;
            }
        };
    }
    let mut puts = Vec::new();
    let mut removals = Vec::new();
    for ((node, object), owned) in last {
        match owned {
            Some(owned) => puts.push((node, object.to_string(), owned)),
            None => removals.push((node, object.to_string())),
        }
    }
    for chunk in puts.chunks(BATCH) {
        on_tx!(tx, |connection| {
            let mut upsert = QueryBuilder::new(
                "insert into inventory (target, node, object, stack, desired, observed, listed, \
                 gateway_version, run, path, since, observed_at) ",
            );
            upsert.push_values(chunk, |mut row, (node, object, owned)| {
                row.push_bind(target)
                    .push_bind(*node)
                    .push_bind(object)
                    .push_bind(&owned.stack)
                    .push_bind(owned.desired.to_string())
                    .push_bind(owned.observed.map(|observed| observed.to_string()))
                    .push_bind(owned.listed.map(|listed| listed.to_string()))
                    .push_bind(&owned.gateway_version)
                    .push_bind(&owned.run.0)
                    .push_bind(&owned.path)
                    .push_bind(owned.since)
                    .push_bind(owned.observed_at);
            });
            upsert.push(
                " on conflict (target, node, object) do update set stack = excluded.stack, \
                 desired = excluded.desired, observed = excluded.observed, \
                 listed = excluded.listed, gateway_version = excluded.gateway_version, \
                 run = excluded.run, path = excluded.path, since = excluded.since, observed_at = excluded.observed_at",
            );
            upsert.build().persistent(false).execute(connection).await?;
        });
    }
    for chunk in removals.chunks(BATCH) {
        on_tx!(tx, |connection| {
            let mut delete = QueryBuilder::new("delete from inventory where target = ");
            delete.push_bind(target).push(" and (node, object) in (");
            delete.push_values(chunk, |mut row, (node, object)| {
                row.push_bind(*node).push_bind(object);
            });
            delete.push(")");
            delete.build().persistent(false).execute(connection).await?;
        });
    }
    Ok(())
}

async fn release(
    tx: &mut Tx,
    target: &str,
    object: &ObjectKey,
    stack: &str,
    run: &RunId,
) -> Result<()> {
    let object = object.to_string();
    on_tx!(tx, |connection| {
        sqlx::query("delete from inventory where target = $1 and object = $2 and stack = $3")
            .bind(target)
            .bind(&object)
            .bind(stack)
            .execute(connection)
            .await?;
    });
    on_tx!(tx, |connection| {
        sqlx::query(
            "insert into released (target, object, stack, run) values ($1, $2, $3, $4) \
             on conflict (target, object, stack) do nothing",
        )
        .bind(target)
        .bind(&object)
        .bind(stack)
        .bind(&run.0)
        .execute(connection)
        .await?;
    });
    Ok(())
}

async fn retake(tx: &mut Tx, target: &str, object: &ObjectKey, stack: &str) -> Result<()> {
    on_tx!(tx, |connection| {
        sqlx::query("delete from released where target = $1 and object = $2 and stack = $3")
            .bind(target)
            .bind(object.to_string())
            .bind(stack)
            .execute(connection)
            .await?;
    });
    Ok(())
}

#[derive(sqlx::FromRow)]
pub(super) struct OwnedRow {
    object: String,
    stack: String,
    desired: String,
    observed: Option<String>,
    listed: Option<String>,
    gateway_version: String,
    run: String,
    path: Option<String>,
    since: i64,
    observed_at: i64,
}

impl OwnedRow {
    pub(super) fn read(self) -> Result<(ObjectKey, Owned)> {
        let owned = Owned {
            desired: parse("digest", &self.desired)?,
            observed: parse_opt("digest", self.observed.as_deref())?,
            listed: parse_opt("digest", self.listed.as_deref())?,
            since: self.since,
            stack: self.stack,
            gateway_version: self.gateway_version,
            run: RunId(self.run),
            path: self.path,
            observed_at: self.observed_at,
        };
        Ok((parse("object", &self.object)?, owned))
    }
}
