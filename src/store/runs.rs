//! Runs: the intent before the first write, the outcome after the last, both under the lease.
//!
//! Every write here locks the lease's row and checks owner, fence and time in its own transaction;
//! with a lease that is lost nothing at all is written.

use sqlx::QueryBuilder;

use super::{
    Store,
    approval::{Parkings, park},
    audit::append,
    db::{BATCH, Tx, clean, clean_opt},
    error::{Error, Result, parse, parse_json, parse_opt},
    inbox::{CommitRef, commits_text, person_text},
    inventory::{Body, InventoryChange, change_inventory, insert_bodies},
    lease::{self, Lease},
    nodes::{NodeProgress, progress},
    stack::{StackTarget, settle},
};
use crate::domain::{
    audit::event::{NewEvent, Person},
    canonical::Digest,
    object::ObjectKey,
    revision::Revision,
    run::{ChangeRecord, Outcome, RunId, RunStatus, Trigger},
};

/// The columns of [`RunRow`].
macro_rules! run_columns {
    () => {
        "id, stack, target, node, trigger, status, revision, previous, claimed, attempt, started_at, \
         finished_at, plan_hash, commits, pusher, worker, fence, version, gateway_version, \
         message, changes"
    };
}
pub(super) use run_columns;

/// A run as it begins. Its target is the lease's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRun {
    pub id: RunId,
    pub stack: String,
    /// The node of the target; "" of a target of one.
    pub node: String,
    pub trigger: Trigger,
    pub revision: Option<Revision>,
    /// The revision that the stack was settled at before.
    pub previous: Option<Revision>,
    /// The stack's `wanted` when the run began.
    pub claimed: i64,
    pub attempt: i64,
    pub started_at: i64,
    pub plan_hash: Option<Digest>,
    /// JSON.
    pub plan: Option<String>,
    /// Every commit that the run carries, those that were passed over included.
    pub commits: Vec<CommitRef>,
    /// The deliveries that it stands for, by id.
    pub deliveries: Vec<String>,
    pub pusher: Option<Person>,
    pub worker: String,
    /// Lockstep's version.
    pub version: String,
    pub gateway_version: Option<String>,
}

/// What is about to be written to the target, and what has to be known to take it back.
#[derive(Debug, Clone, Default)]
pub struct Intent {
    pub changes: Vec<ChangeRecord>,
    pub bodies: Vec<Body>,
    pub undo: Vec<Undo>,
    pub inventory: Vec<InventoryChange>,
    pub events: Vec<NewEvent>,
}

/// The body that an object had before, sealed by the caller. It is deleted when its run ends.
#[derive(Clone, PartialEq, Eq)]
pub struct Undo {
    /// The position of the change that it takes back.
    pub position: i64,
    pub object: ObjectKey,
    pub sealed: Vec<u8>,
}

impl std::fmt::Debug for Undo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "undo of change {} of {}", self.position, self.object)
    }
}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Finish {
    pub status: RunStatus,
    pub message: Option<String>,
    pub at: i64,
    pub outcomes: Vec<ChangeOutcome>,
    pub bodies: Vec<Body>,
    pub inventory: Vec<InventoryChange>,
    pub settle: Settle,
    /// What a person should know about the stack from now on.
    pub problem: Option<String>,
    /// Whether deletions are held back now; `None` when the run could not say.
    pub holds_deletions: Option<bool>,
    /// How the stack stands, where that is not how this run ended: a run is of one node.
    pub stands: Option<RunStatus>,
    /// How far the run's node is, on a target of several.
    pub node: Option<NodeProgress>,
    /// What waits for an approval now; empty when the run could not say.
    pub parkings: Parkings,
    pub events: Vec<NewEvent>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeOutcome {
    pub position: i64,
    pub outcome: Outcome,
    pub message: Option<String>,
}

/// What the end of a run means for what its stack is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settle {
    /// Everything that was asked for until `claimed` is dealt with.
    Done {
        claimed: i64,
        /// The revision that the target is at now.
        settled: Option<Revision>,
    },
    /// It is tried again, not before that time.
    Retry { attempt: i64, not_before: i64 },
    /// Nothing: another run deals with it, and says how the stack stands.
    Keep,
}

/// A run as it is recorded. Its plan is in [`super::RunDetail`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub id: RunId,
    pub stack: String,
    pub target: String,
    pub node: String,
    pub trigger: Trigger,
    pub status: RunStatus,
    pub revision: Option<Revision>,
    pub previous: Option<Revision>,
    pub claimed: i64,
    pub attempt: i64,
    pub started_at: i64,
    pub finished_at: Option<i64>,
    pub plan_hash: Option<Digest>,
    pub commits: Vec<CommitRef>,
    pub pusher: Option<Person>,
    pub worker: String,
    /// The fence of the lease that it ran under.
    pub fence: i64,
    pub version: String,
    pub gateway_version: Option<String>,
    pub message: Option<String>,
    /// How many changes it has.
    pub changes: i64,
}

/// A run whose outcome is not known: its worker is at it, or died.
#[derive(Debug, Clone)]
pub struct OpenRun {
    pub run: Run,
    pub changes: Vec<ChangeRecord>,
    pub undo: Vec<Undo>,
}

impl Store {
    /// Records the intent of a run. Nothing may be written to the target before this returned. A
    /// target takes one open run: an older one is finished first.
    pub async fn begin_run(&self, lease: &Lease, run: &NewRun, intent: &Intent) -> Result<()> {
        retrying!(async {
            let mut tx = self.begin().await?;
            lease::check(&mut tx, lease).await?;
            insert_bodies(&mut tx, &intent.bodies).await?;
            insert_run(&mut tx, lease, run, intent.changes.len(), None).await?;
            insert_intent(&mut tx, lease, &run.id, intent).await?;
            append(&mut tx, &intent.events).await?;
            tx.commit().await
        })
    }

    /// Records the intent of a further wave of an open run, at positions of its own.
    pub async fn extend_run(&self, lease: &Lease, run: &RunId, intent: &Intent) -> Result<()> {
        retrying!(async {
            let mut tx = self.begin().await?;
            lease::check(&mut tx, lease).await?;
            insert_bodies(&mut tx, &intent.bodies).await?;
            let extended = on_tx!(&mut tx, |connection| {
                sqlx::query(
                    "update run set changes = changes + $3 \
                     where id = $1 and target = $2 and status = 'running'",
                )
                .bind(&run.0)
                .bind(lease.target())
                .bind(count(intent.changes.len()))
                .execute(connection)
                .await?
                .rows_affected()
            });
            if extended == 0 {
                return Err(Error::NotOpen(run.clone()));
            }
            insert_intent(&mut tx, lease, run, intent).await?;
            append(&mut tx, &intent.events).await?;
            tx.commit().await
        })
    }

    /// Records how an open run ended: outcomes, ownership, the stack's state and the events
    /// together. The lease may be a later one than that which the run began under.
    pub async fn finish_run(&self, lease: &Lease, run: &RunId, finish: &Finish) -> Result<()> {
        retrying!(async {
            let mut tx = self.begin().await?;
            lease::check(&mut tx, lease).await?;
            insert_bodies(&mut tx, &finish.bodies).await?;
            let stack: Option<String> = on_tx!(&mut tx, |connection| {
                sqlx::query_scalar(
                    "update run set status = $3, finished_at = $4, message = $5 \
                     where id = $1 and target = $2 and status = 'running' returning stack",
                )
                .bind(&run.0)
                .bind(lease.target())
                .bind(finish.status.as_str())
                .bind(finish.at)
                .bind(clean_opt(finish.message.as_deref()))
                .fetch_optional(connection)
                .await?
            });
            let Some(stack) = stack else {
                return Err(Error::NotOpen(run.clone()));
            };
            on_tx!(&mut tx, |connection| {
                sqlx::query("delete from undo where run = $1")
                    .bind(&run.0)
                    .execute(connection)
                    .await?;
            });
            let stack = StackTarget::new(stack, lease.target());
            close(&mut tx, lease, &stack, run, finish).await?;
            tx.commit().await
        })
    }

    /// Records a run that writes nothing to the target, from its beginning to its end at once.
    /// `intent.undo` is not kept.
    pub async fn record_run(
        &self,
        lease: &Lease,
        run: &NewRun,
        intent: &Intent,
        finish: &Finish,
    ) -> Result<()> {
        retrying!(async {
            let mut tx = self.begin().await?;
            lease::check(&mut tx, lease).await?;
            let bodies = [intent.bodies.as_slice(), &finish.bodies].concat();
            insert_bodies(&mut tx, &bodies).await?;
            insert_run(&mut tx, lease, run, intent.changes.len(), Some(finish)).await?;
            insert_changes(&mut tx, &run.id, &intent.changes).await?;
            change_inventory(&mut tx, lease.target(), &intent.inventory).await?;
            let stack = StackTarget::new(&run.stack, lease.target());
            // The events in their order: those of the intent come first.
            let finish = Finish {
                events: [intent.events.as_slice(), &finish.events].concat(),
                bodies: Vec::new(),
                ..finish.clone()
            };
            close(&mut tx, lease, &stack, &run.id, &finish).await?;
            tx.commit().await
        })
    }

    /// The runs of a target whose outcome is not known, oldest first.
    pub async fn open_runs(&self, target: &str) -> Result<Vec<OpenRun>> {
        let rows: Vec<RunRow> = on_pool!(self, |pool| {
            sqlx::query_as(concat!(
                "select ",
                run_columns!(),
                " from run where target = $1 and status = 'running' order by started_at, id"
            ))
            .bind(target)
            .fetch_all(pool)
            .await?
        });
        let mut open = Vec::with_capacity(rows.len());
        for row in rows {
            let run = Run::try_from(row)?;
            let changes = self.changes(&run.id).await?;
            let undo = self.undo(&run.id).await?;
            open.push(OpenRun { run, changes, undo });
        }
        Ok(open)
    }

    /// The changes of a run in their order.
    pub async fn changes(&self, run: &RunId) -> Result<Vec<ChangeRecord>> {
        let rows: Vec<ChangeRow> = on_pool!(self, |pool| {
            sqlx::query_as(
                "select position, object, action, reason, body_before, body_after, fields, \
                 outcome, message from change where run = $1 order by position",
            )
            .bind(&run.0)
            .fetch_all(pool)
            .await?
        });
        rows.into_iter().map(ChangeRecord::try_from).collect()
    }

    async fn undo(&self, run: &RunId) -> Result<Vec<Undo>> {
        let rows: Vec<(i64, String, Vec<u8>)> = on_pool!(self, |pool| {
            sqlx::query_as(
                "select position, object, sealed from undo where run = $1 order by position",
            )
            .bind(&run.0)
            .fetch_all(pool)
            .await?
        });
        rows.into_iter()
            .map(|(position, object, sealed)| {
                Ok(Undo {
                    position,
                    object: parse("object", &object)?,
                    sealed,
                })
            })
            .collect()
    }
}

async fn insert_run(
    tx: &mut Tx,
    lease: &Lease,
    run: &NewRun,
    changes: usize,
    finish: Option<&Finish>,
) -> Result<()> {
    let NewRun {
        id,
        stack,
        node,
        trigger,
        revision,
        previous,
        claimed,
        attempt,
        started_at,
        plan_hash,
        plan,
        commits,
        deliveries,
        pusher,
        worker,
        version,
        gateway_version,
    } = run;
    let status = finish.map_or(RunStatus::Running, |finish| finish.status);
    on_tx!(tx, |connection| {
        sqlx::query(
            "insert into run (id, stack, target, trigger, status, revision, previous, claimed, \
             attempt, started_at, finished_at, plan_hash, plan, commits, pusher, worker, fence, \
             version, gateway_version, message, changes, node) \
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, \
             $18, $19, $20, $21, $22)",
        )
        .bind(&id.0)
        .bind(stack)
        .bind(lease.target())
        .bind(trigger.as_str())
        .bind(status.as_str())
        .bind(revision.as_ref().map(Revision::as_str))
        .bind(previous.as_ref().map(Revision::as_str))
        .bind(claimed)
        .bind(attempt)
        .bind(started_at)
        .bind(finish.map(|finish| finish.at))
        .bind(plan_hash.map(|hash| hash.to_string()))
        .bind(plan)
        .bind(commits_text(commits))
        .bind(pusher.as_ref().map(person_text))
        .bind(worker)
        .bind(lease.fence())
        .bind(version)
        .bind(clean_opt(gateway_version.as_deref()))
        .bind(finish.and_then(|finish| clean_opt(finish.message.as_deref())))
        .bind(count(changes))
        .bind(node)
        .execute(connection)
        .await?;
    });
    for chunk in deliveries.chunks(BATCH) {
        on_tx!(tx, |connection| {
            let mut insert = QueryBuilder::new("insert into run_delivery (run, delivery) ");
            insert.push_values(chunk, |mut row, delivery| {
                row.push_bind(&id.0).push_bind(delivery);
            });
            insert.push(" on conflict (run, delivery) do nothing");
            insert.build().persistent(false).execute(connection).await?;
        });
    }
    Ok(())
}

async fn insert_intent(tx: &mut Tx, lease: &Lease, run: &RunId, intent: &Intent) -> Result<()> {
    insert_changes(tx, run, &intent.changes).await?;
    for chunk in intent.undo.chunks(BATCH) {
        on_tx!(tx, |connection| {
            let mut insert = QueryBuilder::new("insert into undo (run, position, object, sealed) ");
            insert.push_values(chunk, |mut row, undo| {
                row.push_bind(&run.0)
                    .push_bind(undo.position)
                    .push_bind(undo.object.to_string())
                    .push_bind(&undo.sealed);
            });
            insert.build().persistent(false).execute(connection).await?;
        });
    }
    change_inventory(tx, lease.target(), &intent.inventory).await
}

async fn insert_changes(tx: &mut Tx, run: &RunId, changes: &[ChangeRecord]) -> Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    // A change is found by these without its run.
    let (stack, target, at): (String, String, i64) = on_tx!(tx, |connection| {
        sqlx::query_as("select stack, target, started_at from run where id = $1")
            .bind(&run.0)
            .fetch_one(connection)
            .await?
    });
    for chunk in changes.chunks(BATCH) {
        on_tx!(tx, |connection| {
            let mut insert = QueryBuilder::new(
                "insert into change (run, position, object, action, reason, body_before, \
                 body_after, fields, outcome, message, stack, target, at) ",
            );
            insert.push_values(chunk, |mut row, change| {
                let fields =
                    serde_json::to_string(&change.fields).expect("JSON values are always JSON");
                row.push_bind(&run.0)
                    .push_bind(change.position)
                    .push_bind(change.object.to_string())
                    .push_bind(change.action.as_str())
                    .push_bind(clean(&change.reason))
                    .push_bind(change.before.map(|digest| digest.to_string()))
                    .push_bind(change.after.map(|digest| digest.to_string()))
                    .push_bind(fields)
                    .push_bind(change.outcome.as_str())
                    .push_bind(clean_opt(change.message.as_deref()))
                    .push_bind(&stack)
                    .push_bind(&target)
                    .push_bind(at);
            });
            insert.build().persistent(false).execute(connection).await?;
        });
    }
    Ok(())
}

/// What the end of every run writes, whether it had an intent before or not.
async fn close(
    tx: &mut Tx,
    lease: &Lease,
    stack: &StackTarget,
    run: &RunId,
    finish: &Finish,
) -> Result<()> {
    for chunk in finish.outcomes.chunks(BATCH) {
        on_tx!(tx, |connection| {
            let mut update = QueryBuilder::new("with known (position, outcome, message) as (");
            update.push_values(chunk, |mut row, change| {
                row.push_bind(change.position)
                    .push_bind(change.outcome.as_str())
                    .push_bind(clean_opt(change.message.as_deref()));
            });
            update.push(
                ") update change set outcome = known.outcome, \
                 message = coalesce(known.message, change.message) from known \
                 where change.position = known.position and change.run = ",
            );
            update.push_bind(&run.0);
            update.build().persistent(false).execute(connection).await?;
        });
    }
    change_inventory(tx, lease.target(), &finish.inventory).await?;
    settle(tx, stack, run, finish).await?;
    if let Some(node) = &finish.node {
        progress(tx, stack, run, node, finish.at).await?;
    }
    park(tx, stack, run, finish.at, &finish.parkings).await?;
    append(tx, &finish.events).await
}

fn count(length: usize) -> i64 {
    i64::try_from(length).expect("a list in memory is shorter than that")
}

#[derive(sqlx::FromRow)]
pub(super) struct RunRow {
    id: String,
    stack: String,
    target: String,
    node: String,
    trigger: String,
    status: String,
    revision: Option<String>,
    previous: Option<String>,
    claimed: i64,
    attempt: i64,
    started_at: i64,
    finished_at: Option<i64>,
    plan_hash: Option<String>,
    commits: String,
    pusher: Option<String>,
    worker: String,
    fence: i64,
    version: String,
    gateway_version: Option<String>,
    message: Option<String>,
    changes: i64,
}

impl TryFrom<RunRow> for Run {
    type Error = Error;

    fn try_from(row: RunRow) -> Result<Self> {
        Ok(Self {
            trigger: parse("trigger", &row.trigger)?,
            status: parse("status", &row.status)?,
            revision: parse_opt("revision", row.revision.as_deref())?,
            previous: parse_opt("revision", row.previous.as_deref())?,
            plan_hash: parse_opt("digest", row.plan_hash.as_deref())?,
            commits: parse_json("list of commits", &row.commits)?,
            pusher: row
                .pusher
                .map(|pusher| parse_json("person", &pusher))
                .transpose()?,
            id: RunId(row.id),
            stack: row.stack,
            target: row.target,
            node: row.node,
            claimed: row.claimed,
            attempt: row.attempt,
            started_at: row.started_at,
            finished_at: row.finished_at,
            worker: row.worker,
            fence: row.fence,
            version: row.version,
            gateway_version: row.gateway_version,
            message: row.message,
            changes: row.changes,
        })
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct ChangeRow {
    position: i64,
    object: String,
    action: String,
    reason: String,
    body_before: Option<String>,
    body_after: Option<String>,
    fields: String,
    outcome: String,
    message: Option<String>,
}

impl TryFrom<ChangeRow> for ChangeRecord {
    type Error = Error;

    fn try_from(row: ChangeRow) -> Result<Self> {
        Ok(Self {
            position: row.position,
            object: parse("object", &row.object)?,
            action: parse("action", &row.action)?,
            before: parse_opt("digest", row.body_before.as_deref())?,
            after: parse_opt("digest", row.body_after.as_deref())?,
            fields: parse_json("list of field changes", &row.fields)?,
            outcome: parse("outcome", &row.outcome)?,
            reason: row.reason,
            message: row.message,
        })
    }
}
