//! Who wants to be told of the history's news, and how far each was told.
//!
//! A cursor moves only under the sink's lease, in the transaction that says what became of the
//! notice, so that two processes do not tell the same twice. News itself is not kept here: it is
//! in the history.

use super::{
    Store,
    audit::append,
    db::{Tx, clean},
    error::Result,
    lease::{self, Lease},
};
use crate::domain::audit::event::NewEvent;

/// How far somebody was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkState {
    pub name: String,
    /// The last event that was told or passed over; -1 before the first.
    pub cursor: i64,
    /// How many attempts in a row went wrong.
    pub attempt: i64,
    /// When the next attempt may begin: microseconds UTC.
    pub not_before: i64,
    /// What the receiver said last, when it did not take a notice.
    pub problem: Option<String>,
    pub failing_since: Option<i64>,
    /// When a notice was taken last.
    pub told_at: Option<i64>,
}

/// What becomes of a sink.
#[derive(Debug, Clone)]
pub enum SinkChange {
    /// Nothing up to here was news for it.
    Passed { cursor: i64 },
    /// The notice was taken.
    Told { cursor: i64, at: i64 },
    /// The notice is tried again.
    Failed {
        attempt: i64,
        not_before: i64,
        problem: String,
        at: i64,
    },
    /// The notice is not tried again; the events say so.
    GaveUp {
        cursor: i64,
        problem: String,
        at: i64,
        events: Vec<NewEvent>,
    },
}

impl Store {
    /// Makes the sink known. A new one begins at the history's end, and is not told of the past.
    pub async fn open_sink(&self, name: &str) -> Result<()> {
        retrying!(async {
            let mut tx = self.begin().await?;
            on_tx!(&mut tx, |connection| {
                sqlx::query(
                    "insert into sink (name, cursor, attempt, not_before) \
                     values ($1, (select size - 1 from audit_head where id = 1), 0, 0) \
                     on conflict (name) do nothing",
                )
                .bind(name)
                .execute(connection)
                .await?;
            });
            tx.commit().await
        })
    }

    pub async fn sink(&self, name: &str) -> Result<Option<SinkState>> {
        let row: Option<SinkRow> = on_pool!(self, |pool| {
            sqlx::query_as(
                "select name, cursor, attempt, not_before, problem, failing_since, told_at \
                 from sink where name = $1",
            )
            .bind(name)
            .fetch_optional(pool)
            .await?
        });
        Ok(row.map(SinkState::from))
    }

    /// Records what became of a notice. Refused when the lease is not the sink's current one.
    pub async fn change_sink(&self, lease: &Lease, name: &str, change: &SinkChange) -> Result<()> {
        retrying!(async {
            let mut tx = self.begin().await?;
            lease::check(&mut tx, lease).await?;
            write(&mut tx, name, change).await?;
            tx.commit().await
        })
    }
}

async fn write(tx: &mut Tx, name: &str, change: &SinkChange) -> Result<()> {
    match change {
        SinkChange::Passed { cursor } => {
            on_tx!(tx, |connection| {
                sqlx::query("update sink set cursor = $2 where name = $1")
                    .bind(name)
                    .bind(cursor)
                    .execute(connection)
                    .await?;
            });
        }
        SinkChange::Told { cursor, at } => {
            on_tx!(tx, |connection| {
                sqlx::query(
                    "update sink set cursor = $2, told_at = $3, attempt = 0, not_before = 0, \
                     problem = null, failing_since = null where name = $1",
                )
                .bind(name)
                .bind(cursor)
                .bind(at)
                .execute(connection)
                .await?;
            });
        }
        SinkChange::Failed {
            attempt,
            not_before,
            problem,
            at,
        } => {
            on_tx!(tx, |connection| {
                sqlx::query(
                    "update sink set attempt = $2, not_before = $3, problem = $4, \
                     failing_since = coalesce(failing_since, $5) where name = $1",
                )
                .bind(name)
                .bind(attempt)
                .bind(not_before)
                .bind(clean(problem))
                .bind(at)
                .execute(connection)
                .await?;
            });
        }
        SinkChange::GaveUp {
            cursor,
            problem,
            at,
            events,
        } => {
            on_tx!(tx, |connection| {
                sqlx::query(
                    "update sink set cursor = $2, problem = $3, \
                     failing_since = coalesce(failing_since, $4) where name = $1",
                )
                .bind(name)
                .bind(cursor)
                .bind(clean(problem))
                .bind(at)
                .execute(connection)
                .await?;
            });
            append(tx, events).await?;
        }
    }
    Ok(())
}

#[derive(sqlx::FromRow)]
struct SinkRow {
    name: String,
    cursor: i64,
    attempt: i64,
    not_before: i64,
    problem: Option<String>,
    failing_since: Option<i64>,
    told_at: Option<i64>,
}

impl From<SinkRow> for SinkState {
    fn from(row: SinkRow) -> Self {
        let SinkRow {
            name,
            cursor,
            attempt,
            not_before,
            problem,
            failing_since,
            told_at,
        } = row;
        Self {
            name,
            cursor,
            attempt,
            not_before,
            problem,
            failing_since,
            told_at,
        }
    }
}
