//! Holds: while a stack is held, what it is asked for waits, apart from a rollback.
//!
//! A rollback is a hold at a revision. It has a place of its own in what the stack is asked for, so
//! that a crash leaves it to be carried out, and whatever is asked for after it waits.

use super::{
    Store,
    audit::append,
    db::{Tx, clean},
    error::{Result, parse, parse_json},
    inbox::person_text,
    stack::{Raise, StackTarget, raise, stack_targets},
};
use crate::domain::{
    audit::event::{NewEvent, Person},
    revision::Revision,
    run::Trigger,
};

/// A stack's hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Times are microseconds UTC.
    pub since: i64,
    /// `None` until somebody releases it.
    pub until: Option<i64>,
    pub reason: String,
    /// `None` when the person was erased.
    pub by: Option<Person>,
    pub rollback: Option<Rollback>,
}

/// Where a hold keeps its stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollback {
    pub revision: Revision,
    /// The value of `wanted` that stands for it.
    pub generation: i64,
}

/// A hold as it is asked for.
#[derive(Debug, Clone)]
pub struct NewHold {
    pub at: i64,
    pub until: Option<i64>,
    pub reason: String,
    pub by: Person,
}

/// A hold that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub hold: Hold,
    /// The deliveries that waited behind it, by id, in their order.
    pub waited: Vec<String>,
}

impl Hold {
    /// Whether its time ran out, and nobody has noticed yet.
    pub fn is_over(&self, now: i64) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

impl Store {
    /// Puts a stack on hold. One that is held stays so, until the new end and for the new reason,
    /// and where it was rolled back to.
    pub async fn hold(&self, stack: &StackTarget, hold: &NewHold, event: &NewEvent) -> Result<()> {
        retrying!(async {
            let mut tx = self.begin().await?;
            put(&mut tx, stack, hold).await?;
            append(&mut tx, std::slice::from_ref(event)).await?;
            tx.commit().await
        })
    }

    /// Asks for an earlier revision, and holds the stack there.
    pub async fn roll_back(
        &self,
        stack: &StackTarget,
        hold: &NewHold,
        revision: &Revision,
        events: &[NewEvent],
    ) -> Result<()> {
        retrying!(async {
            let mut tx = self.begin().await?;
            let only = std::slice::from_ref(stack);
            raise(&mut tx, only, Trigger::Rollback, Raise::Always).await?;
            put(&mut tx, stack, hold).await?;
            on_tx!(&mut tx, |connection| {
                sqlx::query(
                    "update stack_state set hold_revision = $2, hold_generation = wanted \
                     where stack = $1",
                )
                .bind(&stack.stack)
                .bind(revision.as_str())
                .execute(connection)
                .await?;
            });
            append(&mut tx, events).await?;
            tx.commit().await
        })
    }

    /// Ends a stack's hold, with the event that is made of it. `None` when it has none.
    pub async fn release_hold(
        &self,
        stack: &StackTarget,
        event: impl Fn(&Ended) -> NewEvent + Send + Sync,
    ) -> Result<Option<Ended>> {
        self.end_hold(stack, Trigger::Manual, |_| true, event).await
    }

    /// Ends a stack's hold if its time ran out. Whoever comes second gets `None`.
    pub async fn end_hold_that_is_over(
        &self,
        stack: &StackTarget,
        now: i64,
        event: impl Fn(&Ended) -> NewEvent + Send + Sync,
    ) -> Result<Option<Ended>> {
        let is_over = |hold: &Hold| hold.is_over(now);
        self.end_hold(stack, Trigger::Sweep, is_over, event).await
    }

    async fn end_hold(
        &self,
        stack: &StackTarget,
        trigger: Trigger,
        ends: impl Fn(&Hold) -> bool + Send + Sync,
        event: impl Fn(&Ended) -> NewEvent + Send + Sync,
    ) -> Result<Option<Ended>> {
        retrying!(async {
            let mut tx = self.begin().await?;
            let Some(hold) = held(&mut tx, &stack.stack).await?.filter(&ends) else {
                tx.rollback().await?;
                return Ok(None);
            };
            let waited: Vec<String> = on_tx!(&mut tx, |connection| {
                sqlx::query_scalar(
                    "select s.delivery from delivery_stack s \
                     join stack_state t on t.stack = s.stack \
                     where s.stack = $1 and s.generation > t.done order by s.generation",
                )
                .bind(&stack.stack)
                .fetch_all(connection)
                .await?
            });
            // Drift that was only told of while it was held is news again.
            on_tx!(&mut tx, |connection| {
                sqlx::query(
                    "update stack_state set hold_since = null, hold_until = null, \
                     hold_reason = null, hold_by = null, hold_revision = null, \
                     hold_generation = null, attempt = 0, not_before = 0, drift_seen = null \
                     where stack = $1",
                )
                .bind(&stack.stack)
                .execute(connection)
                .await?;
            });
            // After a rollback the head is wanted, announced or not.
            if hold.rollback.is_some() {
                let only = std::slice::from_ref(stack);
                raise(&mut tx, only, trigger, Raise::WhenIdle).await?;
            }
            let ended = Ended { hold, waited };
            append(&mut tx, &[event(&ended)]).await?;
            tx.commit().await?;
            Ok(Some(ended))
        })
    }

    /// The stacks that must be looked at whatever holds them back: a hold that ran out, a rollback
    /// that was not carried out yet, a run that was left open.
    pub async fn unfinished(&self, now: i64) -> Result<Vec<StackTarget>> {
        let rows: Vec<(String, String)> = on_pool!(self, |pool| {
            sqlx::query_as(
                "select stack, target from stack_state where hold_until <= $1 \
                 or wanted > done and not_before <= $1 and (hold_generation > done \
                 or exists (select 1 from run where run.target = stack_state.target \
                 and run.status = 'running' and run.stack = stack_state.stack)) \
                 order by not_before, stack",
            )
            .bind(now)
            .fetch_all(pool)
            .await?
        });
        Ok(stack_targets(rows))
    }

    /// The revisions that the stack's runs were at, newest first, that begin with these digits.
    pub async fn revisions_of_runs(
        &self,
        stack: &str,
        digits: &str,
        limit: i64,
    ) -> Result<Vec<Revision>> {
        let length = i32::try_from(digits.len()).unwrap_or(i32::MAX);
        let rows: Vec<String> = on_pool!(self, |pool| {
            sqlx::query_scalar(
                "select revision from run where stack = $1 and substr(revision, 1, $3) = $2 \
                 group by revision order by max(started_at) desc limit $4",
            )
            .bind(stack)
            .bind(digits)
            .bind(length)
            .bind(limit)
            .fetch_all(pool)
            .await?
        });
        rows.iter().map(|row| parse("revision", row)).collect()
    }
}

async fn put(tx: &mut Tx, stack: &StackTarget, hold: &NewHold) -> Result<()> {
    let NewHold {
        at,
        until,
        reason,
        by,
    } = hold;
    on_tx!(tx, |connection| {
        sqlx::query(
            "insert into stack_state (stack, target, wanted, done, attempt, not_before, drifted, \
             hold_since, hold_until, hold_reason, hold_by) \
             values ($1, $2, 0, 0, 0, 0, 0, $3, $4, $5, $6) \
             on conflict (stack) do update set \
             hold_since = coalesce(stack_state.hold_since, excluded.hold_since), \
             hold_until = excluded.hold_until, hold_reason = excluded.hold_reason, \
             hold_by = excluded.hold_by",
        )
        .bind(&stack.stack)
        .bind(&stack.target)
        .bind(at)
        .bind(until)
        .bind(clean(reason))
        .bind(person_text(by))
        .execute(connection)
        .await?;
    });
    Ok(())
}

async fn held(tx: &mut Tx, stack: &str) -> Result<Option<Hold>> {
    let sql = locking!(
        tx,
        "select hold_since, hold_until, hold_reason, hold_by, hold_revision, hold_generation \
         from stack_state where stack = $1"
    );
    let row: Option<HoldRow> = on_tx!(tx, |connection| {
        sqlx::query_as(sql)
            .bind(stack)
            .fetch_optional(connection)
            .await?
    });
    row.map_or(Ok(None), HoldRow::hold)
}

#[derive(sqlx::FromRow)]
pub(super) struct HoldRow {
    #[sqlx(rename = "hold_since")]
    since: Option<i64>,
    #[sqlx(rename = "hold_until")]
    until: Option<i64>,
    #[sqlx(rename = "hold_reason")]
    reason: Option<String>,
    #[sqlx(rename = "hold_by")]
    by: Option<String>,
    #[sqlx(rename = "hold_revision")]
    revision: Option<String>,
    #[sqlx(rename = "hold_generation")]
    generation: Option<i64>,
}

impl HoldRow {
    pub(super) fn hold(self) -> Result<Option<Hold>> {
        let Self {
            since,
            until,
            reason,
            by,
            revision,
            generation,
        } = self;
        let Some(since) = since else {
            return Ok(None);
        };
        let rollback = match (revision, generation) {
            (Some(revision), Some(generation)) => Some(Rollback {
                revision: parse("revision", &revision)?,
                generation,
            }),
            _ => None,
        };
        Ok(Some(Hold {
            since,
            until,
            reason: reason.unwrap_or_default(),
            by: by.map(|by| parse_json("person", &by)).transpose()?,
            rollback,
        }))
    }
}
