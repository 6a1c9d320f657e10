//! What is on a target beside what the stacks own.

use std::collections::BTreeMap;

use super::{
    Store,
    audit::append,
    error::{Result, parse_json},
};
use crate::domain::{audit::event::NewEvent, object::ObjectKey};

/// The objects of one node of a target that no stack owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// Since when the target is watched: what was there already is older.
    pub since: i64,
    /// When each was first seen: microseconds UTC.
    pub first_seen: BTreeMap<ObjectKey, i64>,
}

impl Store {
    pub async fn foreign(&self, target: &str, node: &str) -> Result<Option<Foreign>> {
        let row: Option<(i64, String)> = on_pool!(self, |pool| {
            sqlx::query_as(
                "select since, foreign_objects from target_state where target = $1 and node = $2",
            )
            .bind(target)
            .bind(node)
            .fetch_optional(pool)
            .await?
        });
        row.map(|(since, objects)| {
            Ok(Foreign {
                since,
                first_seen: parse_json("map of foreign objects", &objects)?,
            })
        })
        .transpose()
    }

    /// Remembers what was seen, with the event that tells of what is new.
    pub async fn set_foreign(
        &self,
        target: &str,
        node: &str,
        foreign: &Foreign,
        now: i64,
        events: &[NewEvent],
    ) -> Result<()> {
        let objects =
            serde_json::to_string(&foreign.first_seen).expect("a map of numbers is always JSON");
        retrying!(async {
            let mut tx = self.begin().await?;
            on_tx!(&mut tx, |connection| {
                sqlx::query(
                    "insert into target_state (target, node, foreign_objects, since, seen_at) \
                     values ($1, $2, $3, $4, $5) on conflict (target, node) do update set \
                     foreign_objects = excluded.foreign_objects, seen_at = excluded.seen_at",
                )
                .bind(target)
                .bind(node)
                .bind(&objects)
                .bind(foreign.since)
                .bind(now)
                .execute(connection)
                .await?;
            });
            append(&mut tx, events).await?;
            tx.commit().await
        })
    }

    /// Whether what the database says of the target may be older than the target.
    pub async fn is_doubtful(&self, target: &str) -> Result<bool> {
        let found: i64 = on_pool!(self, |pool| {
            sqlx::query_scalar(
                "select count(*) from target_state \
                 where target = $1 and doubtful_since is not null",
            )
            .bind(target)
            .fetch_one(pool)
            .await?
        });
        Ok(found > 0)
    }

    /// Doubts what the database says of these targets, or ends that, with the event that says why.
    pub async fn set_doubtful(
        &self,
        targets: &[String],
        doubtful_since: Option<i64>,
        now: i64,
        event: Option<&NewEvent>,
    ) -> Result<()> {
        retrying!(async {
            let mut tx = self.begin().await?;
            for target in targets {
                on_tx!(&mut tx, |connection| {
                    sqlx::query(
                        "insert into target_state \
                         (target, node, foreign_objects, since, seen_at, doubtful_since) \
                         values ($1, '', '{}', $2, $2, $3) on conflict (target, node) \
                         do update set doubtful_since = excluded.doubtful_since",
                    )
                    .bind(target)
                    .bind(now)
                    .bind(doubtful_since)
                    .execute(connection)
                    .await?;
                });
            }
            if let Some(event) = event {
                append(&mut tx, std::slice::from_ref(event)).await?;
            }
            tx.commit().await
        })
    }

    /// How often runs of the stack put each object back that was changed by hand, since then.
    pub async fn reverts(&self, stack: &str, since: i64) -> Result<BTreeMap<ObjectKey, Reverts>> {
        let rows: Vec<(String, i64, i64)> = on_pool!(self, |pool| {
            sqlx::query_as(
                "select c.object, count(*), max(r.started_at) from run r \
                 join change c on c.run = r.id \
                 where r.stack = $1 and r.started_at >= $2 and r.trigger = 'drift' \
                 and c.action in ('create', 'update') and c.outcome = 'applied' group by c.object",
            )
            .bind(stack)
            .bind(since)
            .fetch_all(pool)
            .await?
        });
        rows.into_iter()
            .map(|(object, count, last)| {
                Ok((
                    super::error::parse("object", &object)?,
                    Reverts { count, last },
                ))
            })
            .collect()
    }
}

/// How often one object was put back, and when last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reverts {
    pub count: i64,
    pub last: i64,
}
