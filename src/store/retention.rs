//! Events that leave the history when they are old. Their hashes stay as leaves of its tree, so that
//! the checkpoints prove what is left, and that what left was what it was; those that named a signing
//! key stay whole, because checkpoints are verified by them.
//!
//! Two events of the history say what may leave: one that retires the events before it, and legal
//! holds. Nothing leaves that they do not name.

use serde::Deserialize;
use sqlx::AssertSqlSafe;

use super::{
    Store,
    audit::{EventRow, append},
    db::{Db, Tx},
    error::{Result, unreadable},
};
use crate::domain::{
    audit::event::{BEFORE_THE_FIRST, Event, EventType, NewEvent},
    canonical::Digest,
};

/// How many events a part of the history holds in Postgres.
pub const PART: i64 = 1 << 20;

/// What legal holds are read from.
const HOLDS: [EventType; 2] = [EventType::LegalHoldPlaced, EventType::LegalHoldLifted];

impl Store {
    /// How many events left the history: always its first.
    pub async fn left(&self) -> Result<i64> {
        Ok(on_pool!(self, |pool| {
            sqlx::query_scalar("select coalesce(max(sequence) + 1, 0) from audit_leaf")
                .fetch_one(pool)
                .await?
        }))
    }

    /// Up to where the history says that events may leave.
    pub async fn retired(&self) -> Result<i64> {
        let payload: Option<String> = on_pool!(self, |pool| {
            sqlx::query_scalar(RETIRED)
                .bind(EventType::HistoryRetired.as_str())
                .fetch_optional(pool)
                .await?
        });
        Ok(until_of(payload.as_deref()))
    }

    /// The events that placed and lifted legal holds, in their order.
    pub async fn legal_hold_events(&self) -> Result<Vec<Event>> {
        let rows: Vec<EventRow> = on_pool!(self, |pool| {
            sqlx::query_as(HOLD_EVENTS)
                .bind(HOLDS[0].as_str())
                .bind(HOLDS[1].as_str())
                .fetch_all(pool)
                .await?
        });
        rows.into_iter().map(|row| row.with(Vec::new())).collect()
    }

    /// The events that named the keys of checkpoints, in their order, also of those that left.
    pub async fn signing_keys_named(&self) -> Result<Vec<Event>> {
        let left: Vec<EventRow> = on_pool!(self, |pool| {
            sqlx::query_as(
                "select leaf.sequence, leaf.header, coalesce(leaf.payload, '') as payload, \
                 coalesce(before.hash, $1) as previous, leaf.hash \
                 from audit_leaf leaf \
                 left join audit_leaf before on before.sequence = leaf.sequence - 1 \
                 where leaf.header is not null order by leaf.sequence",
            )
            .bind(BEFORE_THE_FIRST.to_string())
            .fetch_all(pool)
            .await?
        });
        let mut events: Vec<Event> = left
            .into_iter()
            .map(|row| row.with(Vec::new()))
            .collect::<Result<_>>()?;
        loop {
            let after = events.last().map_or(-1, |event| event.sequence);
            let page = self
                .events_after(after, &[EventType::SigningKeyNamed], None, 1_000)
                .await?;
            if page.is_empty() {
                return Ok(events);
            }
            events.extend(page);
        }
    }

    /// The hash of an event, whether it left or not.
    pub async fn hash_of(&self, sequence: i64) -> Result<Option<Digest>> {
        let hash: Option<String> = on_pool!(self, |pool| {
            sqlx::query_scalar(
                "select hash from audit_event where sequence = $1 \
                 union all select hash from audit_leaf where sequence = $1 limit 1",
            )
            .bind(sequence)
            .fetch_optional(pool)
            .await?
        });
        Ok(hash.and_then(|hash| hash.parse().ok()))
    }

    /// The first event that happened at a moment or later.
    pub async fn first_since(&self, moment: i64) -> Result<Option<i64>> {
        Ok(on_pool!(self, |pool| {
            sqlx::query_scalar("select min(sequence) from audit_event where at >= $1")
                .bind(moment)
                .fetch_one(pool)
                .await?
        }))
    }

    /// Puts on record that events may leave, unless what a hold says in the same transaction is
    /// against it. Whether it was put on record.
    pub async fn retire(
        &self,
        record: &NewEvent,
        may_leave: impl Fn(&[Event]) -> bool,
    ) -> Result<bool> {
        retrying!(async {
            let mut tx = self.begin().await?;
            // First, so that no hold is placed between this look and the record.
            append(&mut tx, std::slice::from_ref(record)).await?;
            if !may_leave(&hold_events(&mut tx).await?) {
                tx.rollback().await?;
                return Ok(false);
            }
            tx.commit().await?;
            Ok(true)
        })
    }

    /// Lets the next `most` events go that are before `until` and that the history says may leave,
    /// and says how many have left then.
    pub async fn let_go(
        &self,
        until: i64,
        most: i64,
        may_leave: impl Fn(&[Event]) -> bool,
    ) -> Result<i64> {
        retrying!(async {
            let mut tx = self.begin().await?;
            let (left, retired): (i64, Option<String>) = on_tx!(&mut tx, |connection| {
                let left =
                    sqlx::query_scalar("select coalesce(max(sequence) + 1, 0) from audit_leaf")
                        .fetch_one(&mut *connection)
                        .await?;
                let retired = sqlx::query_scalar(RETIRED)
                    .bind(EventType::HistoryRetired.as_str())
                    .fetch_optional(&mut *connection)
                    .await?;
                (left, retired)
            });
            let end = until
                .min(until_of(retired.as_deref()))
                .min(left.saturating_add(most));
            if end <= left {
                tx.rollback().await?;
                return Ok(left);
            }
            on_tx!(&mut tx, |connection| {
                let kept = sqlx::query(
                    "insert into audit_leaf (sequence, hash, header, payload) \
                     select sequence, hash, case when type = $3 then header end, \
                     case when type = $3 then payload end from audit_event \
                     where sequence >= $1 and sequence < $2",
                )
                .bind(left)
                .bind(end)
                .bind(EventType::SigningKeyNamed.as_str())
                .execute(&mut *connection)
                .await?;
                if kept.rows_affected() != (end - left).unsigned_abs() {
                    return Err(unreadable(
                        "history without",
                        &format!("events from {left} on"),
                    ));
                }
                for statement in [
                    "delete from audit_person where sequence >= $1 and sequence < $2",
                    "delete from audit_object where sequence >= $1 and sequence < $2",
                    "delete from audit_event where sequence >= $1 and sequence < $2",
                ] {
                    sqlx::query(statement)
                        .bind(left)
                        .bind(end)
                        .execute(&mut *connection)
                        .await?;
                }
            });
            // The head comes last and keeps new holds waiting: none is placed between this look
            // and the end.
            let sql = locking!(&tx, "select size from audit_head where id = 1");
            let _: i64 = on_tx!(&mut tx, |connection| {
                sqlx::query_scalar(sql).fetch_one(connection).await?
            });
            if !may_leave(&hold_events(&mut tx).await?) {
                tx.rollback().await?;
                return Ok(left);
            }
            tx.commit().await?;
            Ok(end)
        })
    }

    /// Takes away the parts of the history in Postgres that are empty because all of their events
    /// left.
    pub async fn drop_empty_parts(&self) -> Result<()> {
        let Db::Postgres(pool) = &self.db else {
            return Ok(());
        };
        let left = self.left().await?;
        let parts: Vec<String> = sqlx::query_scalar(PARTS).fetch_all(pool).await?;
        for part in parts {
            let place = part.rsplit('_').next().and_then(|place| place.parse().ok());
            let is_empty = place.is_some_and(|place: i64| (place + 1) * PART <= left);
            if !is_empty {
                continue;
            }
            let mut tx = pool.begin().await?;
            // Whoever reads the history meanwhile is not kept waiting behind this for long.
            for statement in [
                "set local lock_timeout = '5s'".to_owned(),
                format!("alter table audit_event detach partition {part}"),
                format!("drop table {part}"),
            ] {
                sqlx::query(AssertSqlSafe(statement))
                    .persistent(false)
                    .execute(&mut *tx)
                    .await?;
            }
            tx.commit().await?;
        }
        Ok(())
    }
}

const RETIRED: &str = "select payload from audit_event where type = $1 \
                       order by sequence desc limit 1";

const HOLD_EVENTS: &str = "select sequence, header, payload, previous, hash from audit_event \
                           where type in ($1, $2) order by sequence";

/// The parts of the history in Postgres, by name.
pub(super) const PARTS: &str = "select quote_ident(relname) from pg_inherits \
                                join pg_class on oid = inhrelid \
                                where inhparent = 'audit_event'::regclass";

/// Whether a history that grows from one size to another goes on in another part.
pub(super) fn needs_room(size: i64, after: i64) -> bool {
    size / PART != after / PART
}

/// Makes the part of the history in Postgres that the next events belong to, before they do. Whoever
/// asks for it has the head's lock.
pub(super) async fn make_room(tx: &mut Tx, size: i64, after: i64) -> Result<()> {
    if let Tx::Postgres(transaction, _) = tx
        && needs_room(size, after)
    {
        sqlx::query("select audit_event_room($1)")
            .bind(after)
            .execute(&mut **transaction)
            .await?;
    }
    Ok(())
}

async fn hold_events(tx: &mut Tx) -> Result<Vec<Event>> {
    let rows: Vec<EventRow> = on_tx!(tx, |connection| {
        sqlx::query_as(HOLD_EVENTS)
            .bind(HOLDS[0].as_str())
            .bind(HOLDS[1].as_str())
            .fetch_all(connection)
            .await?
    });
    rows.into_iter().map(|row| row.with(Vec::new())).collect()
}

/// Where the events end that an event lets go; nowhere, if that cannot be read.
fn until_of(payload: Option<&str>) -> i64 {
    #[derive(Deserialize)]
    struct Retired {
        until: i64,
    }
    payload
        .and_then(|payload| serde_json::from_str::<Retired>(payload).ok())
        .map_or(0, |retired| retired.until)
}
