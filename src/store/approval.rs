//! What waits for an approval, and what people decided on it.
//!
//! Only a run changes what waits, inside the transaction that ends it and under the target's
//! lease; a decision finds what it is about still waiting, or is not recorded.

use std::collections::BTreeMap;

use super::{
    Store,
    audit::append,
    db::{Tx, clean},
    error::{Error, Result, parse, parse_json, unreadable},
    stack::{Raise, StackTarget, note_trace, raise},
};
use crate::domain::{
    approval::{Approver, Choice, Decision, Remainder},
    audit::event::{NewEvent, Person},
    canonical::{Digest, canonical},
    run::{RunId, Trigger},
};

/// The part of a stack's last plan that waits for an approval.
#[derive(Debug, Clone, PartialEq)]
pub struct Parked {
    pub stack: String,
    /// Empty for a target of one node.
    pub node: String,
    pub target: String,
    /// The run that found it first.
    pub run: RunId,
    /// The last run that found it equal.
    pub last_run: RunId,
    pub hash: Digest,
    pub remainder: Remainder,
    pub since: i64,
    /// Who pushed or wrote it, or anything since. Their approval does not count.
    pub people: Vec<Person>,
}

/// What the end of a run means for what waits on one node.
#[derive(Debug, Clone, PartialEq)]
pub enum Parking {
    /// This waits now; what waited before, and what was decided on it, counts no more.
    New {
        remainder: Remainder,
        people: Vec<Person>,
    },
    /// The same waits still.
    Same { people: Vec<Person> },
    /// Nothing waits any more.
    Void,
    /// What had been approved is live.
    CarriedOut,
}

/// For every node that the run can speak of, by its name; a node that is left out keeps what it
/// has.
pub type Parkings = BTreeMap<String, Parking>;

/// A decision to be recorded.
#[derive(Debug, Clone)]
pub struct NewDecision {
    /// Time-ordered, made by the caller.
    pub id: String,
    pub stack: StackTarget,
    pub hash: Digest,
    /// The run that was named.
    pub run: RunId,
    pub decision: Decision,
    /// Asks for a run of the stack.
    pub raises: bool,
}

impl Store {
    /// What waits on the stack's nodes, by node.
    pub async fn parked(&self, stack: &str) -> Result<Vec<Parked>> {
        let rows: Vec<ParkedRow> = on_pool!(self, |pool| {
            sqlx::query_as(
                "select stack, node, target, run, last_run, plan_hash, plan, since, people \
                 from parked where stack = $1 order by node",
            )
            .bind(stack)
            .fetch_all(pool)
            .await?
        });
        rows.into_iter().map(Parked::try_from).collect()
    }

    /// What was decided on the plan and still counts, oldest first.
    pub async fn decisions(&self, stack: &str, hash: Digest) -> Result<Vec<Decision>> {
        let rows: Vec<DecisionRow> = on_pool!(self, |pool| {
            sqlx::query_as(
                "select choice, person, actor, reason, at, expires_at from approval \
                 where stack = $1 and plan_hash = $2 and used_by is null and voided_at is null \
                 order by at, id",
            )
            .bind(stack)
            .bind(hash.to_string())
            .fetch_all(pool)
            .await?
        });
        rows.into_iter().map(Decision::try_from).collect()
    }

    /// The decisions that let the run carry out what had been held back, oldest first.
    pub async fn decisions_behind(&self, run: &RunId) -> Result<Vec<Decision>> {
        let rows: Vec<DecisionRow> = on_pool!(self, |pool| {
            sqlx::query_as(
                "select choice, person, actor, reason, at, expires_at from approval \
                 where used_by = $1 order by at, id",
            )
            .bind(&run.0)
            .fetch_all(pool)
            .await?
        });
        rows.into_iter().map(Decision::try_from).collect()
    }

    /// Records a decision with its event. Says `false`, and records nothing, when what it is about
    /// does not wait any more.
    pub async fn decide(&self, new: &NewDecision, event: &NewEvent) -> Result<bool> {
        let NewDecision {
            id,
            stack,
            hash,
            run,
            decision,
            raises,
        } = new;
        let hash = hash.to_string();
        let (person, actor) = match &decision.by {
            Approver::Person(name) => (Some(name), None),
            Approver::Local(user) => (None, Some(clean(user))),
        };
        retrying!(async {
            let mut tx = self.begin().await?;
            if *raises {
                let stacks = std::slice::from_ref(stack);
                raise(&mut tx, stacks, Trigger::Approval, Raise::Always).await?;
                note_trace(&mut tx, stack, event).await?;
            }
            let sql = locking!(
                &tx,
                "select node from parked where stack = $1 and plan_hash = $2"
            );
            let waits: Vec<String> = on_tx!(&mut tx, |connection| {
                sqlx::query_scalar(sql)
                    .bind(&stack.stack)
                    .bind(&hash)
                    .fetch_all(connection)
                    .await?
            });
            if waits.is_empty() {
                tx.rollback().await?;
                return Ok(false);
            }
            on_tx!(&mut tx, |connection| {
                sqlx::query(
                    "insert into approval (id, stack, plan_hash, run, choice, person, actor, \
                     reason, at, expires_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
                )
                .bind(id)
                .bind(&stack.stack)
                .bind(&hash)
                .bind(&run.0)
                .bind(decision.choice.as_str())
                .bind(person)
                .bind(&actor)
                .bind(clean(&decision.reason))
                .bind(decision.at)
                .bind(decision.expires_at)
                .execute(connection)
                .await?;
            });
            append(&mut tx, std::slice::from_ref(event)).await?;
            tx.commit().await?;
            Ok(true)
        })
    }
}

/// Brings what waits in line with a run that ended.
pub(super) async fn park(
    tx: &mut Tx,
    stack: &StackTarget,
    run: &RunId,
    at: i64,
    parkings: &Parkings,
) -> Result<()> {
    for (node, parking) in parkings {
        match parking {
            Parking::Same { people } => {
                on_tx!(tx, |connection| {
                    sqlx::query(
                        "update parked set last_run = $3, people = $4 \
                         where stack = $1 and node = $2",
                    )
                    .bind(&stack.stack)
                    .bind(node)
                    .bind(&run.0)
                    .bind(people_text(people))
                    .execute(connection)
                    .await?;
                });
            }
            Parking::New { remainder, people } => {
                let before = take(tx, stack, node).await?;
                let parked = (remainder, people.as_slice());
                insert(tx, stack, node, run, at, parked).await?;
                if let Some(before) = before {
                    void(tx, &stack.stack, &before, at).await?;
                }
            }
            Parking::Void => {
                if let Some(before) = take(tx, stack, node).await? {
                    void(tx, &stack.stack, &before, at).await?;
                }
            }
            Parking::CarriedOut => {
                if let Some(before) = take(tx, stack, node).await? {
                    use_up(tx, &stack.stack, &before, run).await?;
                }
            }
        }
    }
    Ok(())
}

/// Removes what waits, and says which plan it was.
async fn take(tx: &mut Tx, stack: &StackTarget, node: &str) -> Result<Option<String>> {
    Ok(on_tx!(tx, |connection| {
        sqlx::query_scalar("delete from parked where stack = $1 and node = $2 returning plan_hash")
            .bind(&stack.stack)
            .bind(node)
            .fetch_optional(connection)
            .await?
    }))
}

async fn insert(
    tx: &mut Tx,
    stack: &StackTarget,
    node: &str,
    run: &RunId,
    at: i64,
    (remainder, people): (&Remainder, &[Person]),
) -> Result<()> {
    on_tx!(tx, |connection| {
        sqlx::query(
            "insert into parked (stack, node, target, run, last_run, plan_hash, plan, since, \
             people) values ($1, $2, $3, $4, $4, $5, $6, $7, $8)",
        )
        .bind(&stack.stack)
        .bind(node)
        .bind(&stack.target)
        .bind(&run.0)
        .bind(remainder.hash().to_string())
        .bind(canonical(&serde_json::json!(remainder)))
        .bind(at)
        .bind(people_text(people))
        .execute(connection)
        .await?;
    });
    Ok(())
}

/// Another node may wait for the same plan; then what was decided on it counts there still.
async fn void(tx: &mut Tx, stack: &str, hash: &str, at: i64) -> Result<()> {
    on_tx!(tx, |connection| {
        sqlx::query(
            "update approval set voided_at = $3 where stack = $1 and plan_hash = $2 \
             and used_by is null and voided_at is null and not exists \
             (select 1 from parked where parked.stack = $1 and parked.plan_hash = $2)",
        )
        .bind(stack)
        .bind(hash)
        .bind(at)
        .execute(connection)
        .await?;
    });
    Ok(())
}

async fn use_up(tx: &mut Tx, stack: &str, hash: &str, run: &RunId) -> Result<()> {
    on_tx!(tx, |connection| {
        sqlx::query(
            "update approval set used_by = $3 where stack = $1 and plan_hash = $2 \
             and used_by is null and voided_at is null and not exists \
             (select 1 from parked where parked.stack = $1 and parked.plan_hash = $2)",
        )
        .bind(stack)
        .bind(hash)
        .bind(&run.0)
        .execute(connection)
        .await?;
    });
    Ok(())
}

pub(super) fn people_text(people: &[Person]) -> String {
    clean(&serde_json::to_string(people).expect("texts are always JSON"))
}

#[derive(sqlx::FromRow)]
struct ParkedRow {
    stack: String,
    node: String,
    target: String,
    run: String,
    last_run: String,
    plan_hash: String,
    plan: String,
    since: i64,
    people: String,
}

impl TryFrom<ParkedRow> for Parked {
    type Error = Error;

    fn try_from(row: ParkedRow) -> Result<Self> {
        Ok(Self {
            hash: parse("digest", &row.plan_hash)?,
            remainder: parse_json("plan", &row.plan)?,
            people: parse_json("list of people", &row.people)?,
            stack: row.stack,
            node: row.node,
            target: row.target,
            run: RunId(row.run),
            last_run: RunId(row.last_run),
            since: row.since,
        })
    }
}

#[derive(sqlx::FromRow)]
struct DecisionRow {
    choice: String,
    person: Option<String>,
    actor: Option<String>,
    reason: String,
    at: i64,
    expires_at: i64,
}

impl TryFrom<DecisionRow> for Decision {
    type Error = Error;

    fn try_from(row: DecisionRow) -> Result<Self> {
        let choice: Choice = parse("choice", &row.choice)?;
        let by = approver(row.person, row.actor, &row.reason)?;
        Ok(Self {
            by,
            choice,
            reason: row.reason,
            at: row.at,
            expires_at: row.expires_at,
        })
    }
}

pub(super) fn approver(
    person: Option<String>,
    actor: Option<String>,
    what: &str,
) -> Result<Approver> {
    match (person, actor) {
        (Some(person), _) => Ok(Approver::Person(person)),
        (None, Some(actor)) => Ok(Approver::Local(actor)),
        (None, None) => Err(unreadable("decision of nobody", what)),
    }
}
