//! What every stack is asked for, and how far it got: there is work while `wanted > done`.

use std::collections::BTreeMap;

use sqlx::QueryBuilder;

use super::{
    Store,
    audit::append,
    db::{BATCH, Tx, clean, clean_opt},
    error::{Result, parse_opt},
    hold::{Hold, HoldRow},
    runs::{Finish, Settle},
};
use crate::domain::{
    audit::{event::NewEvent, trace::TraceId},
    canonical::Digest,
    revision::Revision,
    run::{RunId, RunStatus, Trigger},
};

/// A stack and the target that it is synced to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StackTarget {
    pub stack: String,
    pub target: String,
}

impl StackTarget {
    pub fn new(stack: impl Into<String>, target: impl Into<String>) -> Self {
        Self {
            stack: stack.into(),
            target: target.into(),
        }
    }
}

/// How a stack stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackState {
    pub stack: String,
    pub target: String,
    /// Grows with every reason to look at the stack.
    pub wanted: i64,
    /// The `wanted` that the last settled run began with.
    pub done: i64,
    /// How many runs in a row could not settle.
    pub attempt: i64,
    /// When the next run may begin: microseconds UTC.
    pub not_before: i64,
    /// The latest reason; it stands for what is wanted and not done.
    pub pending_trigger: Option<Trigger>,
    /// Of the request that asked for it last, if one did.
    pub pending_trace: Option<TraceId>,
    /// The revision that the target was brought to last, when, and by which run.
    pub settled: Option<Revision>,
    pub settled_at: Option<i64>,
    pub settled_run: Option<RunId>,
    pub last_status: Option<RunStatus>,
    pub last_run: Option<RunId>,
    /// The revision that the last run was at, whatever came of it.
    pub last_revision: Option<Revision>,
    pub last_success_at: Option<i64>,
    /// What a person should know, in a sentence.
    pub problem: Option<String>,
    /// Since when deletions are held back, if they are.
    pub held_since: Option<i64>,
    /// How many objects differ from what the last run left.
    pub drifted: i64,
    pub drift_checked_at: Option<i64>,
    /// Names the state of drift that is on record already.
    pub drift_seen: Option<Digest>,
    /// While somebody holds it, what it wants waits.
    pub hold: Option<Hold>,
}

impl StackState {
    /// Of a stack that nobody ever asked for.
    pub fn new(stack: &StackTarget) -> Self {
        Self {
            stack: stack.stack.clone(),
            target: stack.target.clone(),
            wanted: 0,
            done: 0,
            attempt: 0,
            not_before: 0,
            pending_trigger: None,
            pending_trace: None,
            settled: None,
            settled_at: None,
            settled_run: None,
            last_status: None,
            last_run: None,
            last_revision: None,
            last_success_at: None,
            problem: None,
            held_since: None,
            drifted: 0,
            drift_checked_at: None,
            drift_seen: None,
            hold: None,
        }
    }

    pub fn is_pending(&self) -> bool {
        self.wanted > self.done
    }
}

/// When `wanted` grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Raise {
    Always,
    /// Not when there is work anyway.
    WhenIdle,
}

impl Store {
    /// Asks for a run of the stack. A timer's reason adds nothing to work that waits already; a
    /// person's reason always counts, and ends a wait for another try. Says whether it counted.
    pub async fn want(&self, stack: &StackTarget, trigger: Trigger) -> Result<bool> {
        let when = match trigger {
            Trigger::Sweep | Trigger::Drift | Trigger::StartUp => Raise::WhenIdle,
            Trigger::Push | Trigger::Manual | Trigger::Approval | Trigger::Rollback => {
                Raise::Always
            }
        };
        retrying!(async {
            let mut tx = self.begin().await?;
            let raised = raise(&mut tx, std::slice::from_ref(stack), trigger, when).await?;
            tx.commit().await?;
            Ok(!raised.is_empty())
        })
    }

    /// Asks for a run by a person's word, with the event that says whose.
    pub async fn ask_for_run(
        &self,
        stack: &StackTarget,
        trigger: Trigger,
        event: &NewEvent,
    ) -> Result<()> {
        retrying!(async {
            let mut tx = self.begin().await?;
            let stacks = std::slice::from_ref(stack);
            raise(&mut tx, stacks, trigger, Raise::Always).await?;
            note_trace(&mut tx, stack, event).await?;
            append(&mut tx, std::slice::from_ref(event)).await?;
            tx.commit().await
        })
    }

    /// Every stack that was ever asked for, by name.
    pub async fn stack_states(&self) -> Result<Vec<StackState>> {
        let rows: Vec<StackRow> = on_pool!(self, |pool| {
            sqlx::query_as(
                "select stack, target, wanted, done, attempt, not_before, pending_trigger, pending_trace, \
                 settled, settled_at, settled_run, last_status, last_run, last_revision, \
                 last_success_at, problem, held_since, drifted, drift_checked_at, drift_seen, \
                 hold_since, hold_until, hold_reason, hold_by, hold_revision, hold_generation \
                 from stack_state order by stack",
            )
            .fetch_all(pool)
            .await?
        });
        rows.into_iter().map(StackState::try_from).collect()
    }

    pub async fn stack_state(&self, stack: &str) -> Result<Option<StackState>> {
        let row: Option<StackRow> = on_pool!(self, |pool| {
            sqlx::query_as(
                "select stack, target, wanted, done, attempt, not_before, pending_trigger, pending_trace, \
                 settled, settled_at, settled_run, last_status, last_run, last_revision, \
                 last_success_at, problem, held_since, drifted, drift_checked_at, drift_seen, \
                 hold_since, hold_until, hold_reason, hold_by, hold_revision, hold_generation \
                 from stack_state where stack = $1",
            )
            .bind(stack)
            .fetch_optional(pool)
            .await?
        });
        row.map(StackState::try_from).transpose()
    }

    /// The stacks that have work, are not held, and need not wait for another try.
    pub async fn due(&self, now: i64) -> Result<Vec<StackTarget>> {
        let rows: Vec<(String, String)> = on_pool!(self, |pool| {
            sqlx::query_as(
                "select stack, target from stack_state \
                 where wanted > done and not_before <= $1 and hold_since is null \
                 order by not_before, stack",
            )
            .bind(now)
            .fetch_all(pool)
            .await?
        });
        Ok(stack_targets(rows))
    }

    /// Whether an earlier run of the stack brought the target to this revision, as far as it was
    /// allowed to.
    pub async fn was_settled(&self, stack: &str, revision: &Revision) -> Result<bool> {
        let found: i64 = on_pool!(self, |pool| {
            sqlx::query_scalar(
                "select count(*) from (select 1 from run where stack = $1 and revision = $2 \
                 and status in ('succeeded', 'parked') limit 1) as found",
            )
            .bind(stack)
            .bind(revision.as_str())
            .fetch_one(pool)
            .await?
        });
        Ok(found > 0)
    }

    /// Records how many objects of the stack differ from what its last run left.
    pub async fn set_drift(
        &self,
        stack: &str,
        drifted: i64,
        seen: Option<Digest>,
        now: i64,
    ) -> Result<()> {
        retrying!(async {
            let mut tx = self.begin().await?;
            on_tx!(&mut tx, |connection| {
                sqlx::query(
                    "update stack_state set drifted = $2, drift_checked_at = $3, drift_seen = $4 \
                     where stack = $1",
                )
                .bind(stack)
                .bind(drifted)
                .bind(now)
                .bind(seen.map(|seen| seen.to_string()))
                .execute(connection)
                .await?;
            });
            tx.commit().await
        })
    }

    /// Puts off the next try without a run on record: the same trouble as before, or a Git host
    /// that lags behind.
    pub async fn postpone(
        &self,
        stack: &str,
        attempt: i64,
        not_before: i64,
        problem: &str,
    ) -> Result<()> {
        retrying!(async {
            let mut tx = self.begin().await?;
            on_tx!(&mut tx, |connection| {
                sqlx::query(
                    "update stack_state set attempt = $2, not_before = $3, problem = $4 \
                     where stack = $1",
                )
                .bind(stack)
                .bind(attempt)
                .bind(not_before)
                .bind(clean(problem))
                .execute(connection)
                .await?;
            });
            tx.commit().await
        })
    }

    /// For every stack with work: when the oldest delivery that waits for it was received. Work
    /// that no delivery stands for is not in it.
    pub async fn oldest_unsettled(&self) -> Result<BTreeMap<String, i64>> {
        let rows: Vec<(String, i64)> = on_pool!(self, |pool| {
            sqlx::query_as(
                "select t.stack, min(d.received_at) from stack_state t \
                 join delivery_stack s on s.stack = t.stack and s.generation > t.done \
                 join delivery d on d.id = s.delivery \
                 where t.wanted > t.done group by t.stack",
            )
            .fetch_all(pool)
            .await?
        });
        Ok(rows.into_iter().collect())
    }
}

pub(super) fn stack_targets(rows: Vec<(String, String)>) -> Vec<StackTarget> {
    rows.into_iter()
        .map(|(stack, target)| StackTarget { stack, target })
        .collect()
}

/// Lets the run that a request asked for go on with the request's trace, as its event has it.
pub(super) async fn note_trace(tx: &mut Tx, stack: &StackTarget, event: &NewEvent) -> Result<()> {
    on_tx!(tx, |connection| {
        sqlx::query("update stack_state set pending_trace = $2 where stack = $1")
            .bind(&stack.stack)
            .bind(event.trace())
            .execute(connection)
            .await?;
    });
    Ok(())
}

/// Raises `wanted` by one for every stack, and answers the new values of those that were raised.
/// The rows are taken in the order of their names, so that two transactions cannot wait for each
/// other.
pub(super) async fn raise(
    tx: &mut Tx,
    stacks: &[StackTarget],
    trigger: Trigger,
    when: Raise,
) -> Result<Vec<(String, i64)>> {
    let targets: BTreeMap<&str, &str> = stacks
        .iter()
        .map(|each| (each.stack.as_str(), each.target.as_str()))
        .collect();
    let targets: Vec<_> = targets.into_iter().collect();
    let condition = match when {
        Raise::Always => "",
        Raise::WhenIdle => " where stack_state.wanted <= stack_state.done",
    };
    let mut raised: Vec<(String, i64)> = Vec::with_capacity(targets.len());
    for chunk in targets.chunks(BATCH) {
        let rows: Vec<(String, i64)> = on_tx!(tx, |connection| {
            let mut upsert = QueryBuilder::new(
                "insert into stack_state (stack, target, wanted, done, attempt, not_before, \
                 pending_trigger, drifted) ",
            );
            upsert.push_values(chunk, |mut row, (stack, target)| {
                row.push_bind(*stack).push_bind(*target);
                row.push("1, 0, 0, 0").push_bind(trigger.as_str());
                row.push("0");
            });
            upsert.push(
                " on conflict (stack) do update set target = excluded.target, \
                 wanted = stack_state.wanted + 1, attempt = 0, not_before = 0, \
                 pending_trigger = excluded.pending_trigger, pending_trace = null",
            );
            // What a rollback held back and somebody approves is carried out at its revision.
            if trigger == Trigger::Approval {
                upsert.push(
                    ", hold_generation = case when stack_state.hold_revision is not null \
                     then stack_state.wanted + 1 end",
                );
            }
            upsert.push(condition);
            upsert.push(" returning stack, wanted");
            upsert
                .build_query_as()
                .persistent(false)
                .fetch_all(connection)
                .await?
        });
        raised.extend(rows);
    }
    Ok(raised)
}

/// Brings a stack's row in line with a run that ended.
pub(super) async fn settle(
    tx: &mut Tx,
    stack: &StackTarget,
    run: &RunId,
    finish: &Finish,
) -> Result<()> {
    // A run that a crash interrupted says nothing about its stack, and a change of ownership says
    // nothing about its revision; the run that follows does.
    if finish.settle == Settle::Keep {
        return Ok(());
    }
    let status = finish.stands.unwrap_or(finish.status);
    let succeeded_at = (status == RunStatus::Succeeded).then_some(finish.at);
    on_tx!(tx, |connection| {
        sqlx::query(
            "insert into stack_state (stack, target, wanted, done, attempt, not_before, drifted, \
             last_status, last_run, last_success_at, problem, last_revision) \
             values ($1, $2, 0, 0, 0, 0, 0, $3, $4, $5, $6, \
             (select revision from run where id = $4)) \
             on conflict (stack) do update set last_status = excluded.last_status, \
             last_run = excluded.last_run, problem = excluded.problem, \
             last_revision = excluded.last_revision, \
             last_success_at = coalesce(excluded.last_success_at, stack_state.last_success_at), \
             drifted = case when excluded.last_success_at is null then stack_state.drifted \
             else 0 end, \
             drift_seen = case when excluded.last_success_at is null then stack_state.drift_seen \
             end",
        )
        .bind(&stack.stack)
        .bind(&stack.target)
        .bind(status.as_str())
        .bind(&run.0)
        .bind(succeeded_at)
        .bind(clean_opt(finish.problem.as_deref()))
        .execute(connection)
        .await?;
    });
    if let Some(holds) = finish.holds_deletions {
        let statement = if holds {
            "update stack_state set held_since = coalesce(held_since, $2) where stack = $1"
        } else {
            "update stack_state set held_since = null where stack = $1 and $2 = $2"
        };
        on_tx!(tx, |connection| {
            sqlx::query(statement)
                .bind(&stack.stack)
                .bind(finish.at)
                .execute(connection)
                .await?;
        });
    }
    match &finish.settle {
        Settle::Done { claimed, settled } => {
            on_tx!(tx, |connection| {
                sqlx::query(
                    "update stack_state set attempt = 0, not_before = 0, \
                     done = case when done > $2 then done else $2 end, \
                     wanted = case when wanted > $2 then wanted else $2 end where stack = $1",
                )
                .bind(&stack.stack)
                .bind(claimed)
                .execute(connection)
                .await?;
            });
            if let Some(revision) = settled {
                on_tx!(tx, |connection| {
                    sqlx::query(
                        "update stack_state set settled = $2, settled_at = $3, settled_run = $4 \
                         where stack = $1",
                    )
                    .bind(&stack.stack)
                    .bind(revision.as_str())
                    .bind(finish.at)
                    .bind(&run.0)
                    .execute(connection)
                    .await?;
                });
            }
        }
        Settle::Retry {
            attempt,
            not_before,
        } => {
            on_tx!(tx, |connection| {
                sqlx::query(
                    "update stack_state set attempt = $2, not_before = $3 where stack = $1",
                )
                .bind(&stack.stack)
                .bind(attempt)
                .bind(not_before)
                .execute(connection)
                .await?;
            });
        }
        Settle::Keep => {}
    }
    Ok(())
}

#[derive(sqlx::FromRow)]
struct StackRow {
    stack: String,
    target: String,
    wanted: i64,
    done: i64,
    attempt: i64,
    not_before: i64,
    pending_trigger: Option<String>,
    pending_trace: Option<String>,
    settled: Option<String>,
    settled_at: Option<i64>,
    settled_run: Option<String>,
    last_status: Option<String>,
    last_run: Option<String>,
    last_revision: Option<String>,
    last_success_at: Option<i64>,
    problem: Option<String>,
    held_since: Option<i64>,
    drifted: i64,
    drift_checked_at: Option<i64>,
    drift_seen: Option<String>,
    #[sqlx(flatten)]
    hold: HoldRow,
}

impl TryFrom<StackRow> for StackState {
    type Error = super::Error;

    fn try_from(row: StackRow) -> Result<Self> {
        Ok(Self {
            pending_trigger: parse_opt("trigger", row.pending_trigger.as_deref())?,
            pending_trace: parse_opt("trace", row.pending_trace.as_deref())?,
            settled: parse_opt("revision", row.settled.as_deref())?,
            last_status: parse_opt("status", row.last_status.as_deref())?,
            settled_run: row.settled_run.map(RunId),
            last_run: row.last_run.map(RunId),
            last_revision: parse_opt("revision", row.last_revision.as_deref())?,
            drift_seen: parse_opt("digest", row.drift_seen.as_deref())?,
            stack: row.stack,
            target: row.target,
            wanted: row.wanted,
            done: row.done,
            attempt: row.attempt,
            not_before: row.not_before,
            settled_at: row.settled_at,
            last_success_at: row.last_success_at,
            problem: row.problem,
            held_since: row.held_since,
            drifted: row.drifted,
            drift_checked_at: row.drift_checked_at,
            hold: row.hold.hold()?,
        })
    }
}
