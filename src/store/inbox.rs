//! Deliveries: each is recorded once, together with the wish that it is for every stack it
//! concerns. Never decides which stacks those are.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sqlx::QueryBuilder;

use super::{
    Store,
    audit::append,
    db::{BATCH, Tx, clean, clean_opt},
    error::{Result, parse_json, parse_opt},
    stack::{Raise, StackTarget, raise},
};
use crate::domain::{
    audit::{
        event::{NewEvent, Person},
        trace::TraceId,
    },
    revision::Revision,
    run::{RunId, Trigger},
};

/// The columns of [`DeliveryRow`].
macro_rules! delivery_columns {
    () => {
        "id, webhook, event, repository, git_ref, revision_before, revision_after, commits, \
         forced, pusher, body_sha256, received_at, trace"
    };
}
pub(super) use delivery_columns;

/// A verified request of a Git host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The webhook, the host's hook and the host's delivery: `webhook/hook/delivery`.
    pub id: String,
    /// As it is configured.
    pub webhook: String,
    /// `push`, `ping`, …
    pub event: String,
    /// As it is configured; `None` when none is.
    pub repository: Option<String>,
    pub git_ref: Option<String>,
    pub before: Option<Revision>,
    pub after: Option<Revision>,
    pub commits: Vec<CommitRef>,
    pub forced: bool,
    pub pusher: Option<Person>,
    pub body_sha256: String,
    /// When the receiver took it: microseconds UTC.
    pub received_at: i64,
    /// Absent from deliveries of before it was noted.
    pub trace: Option<TraceId>,
}

/// A commit as its host announced it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitRef {
    pub id: String,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<Person>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    New,
    /// It was recorded before, and nothing was done now.
    Duplicate,
}

impl Store {
    /// Records a delivery, raises what every stack that it concerns is asked for, and appends the
    /// event that says so: all of it, or, for a delivery that is known, nothing.
    pub async fn record_delivery(
        &self,
        delivery: &Delivery,
        stacks: &[StackTarget],
        now: i64,
        event: &NewEvent,
    ) -> Result<Recorded> {
        retrying!(self.try_record_delivery(delivery, stacks, now, event))
    }

    async fn try_record_delivery(
        &self,
        delivery: &Delivery,
        stacks: &[StackTarget],
        now: i64,
        event: &NewEvent,
    ) -> Result<Recorded> {
        let mut tx = self.begin().await?;
        if !insert_delivery(&mut tx, delivery, now).await? {
            tx.rollback().await?;
            return Ok(Recorded::Duplicate);
        }
        let generations = raise(&mut tx, stacks, Trigger::Push, Raise::Always).await?;
        for chunk in generations.chunks(BATCH) {
            on_tx!(&mut tx, |connection| {
                let mut insert = QueryBuilder::new(
                    "insert into delivery_stack (delivery, stack, generation, received_at) ",
                );
                insert.push_values(chunk, |mut row, (stack, generation)| {
                    row.push_bind(&delivery.id)
                        .push_bind(stack)
                        .push_bind(generation)
                        .push_bind(delivery.received_at);
                });
                insert.build().persistent(false).execute(connection).await?;
            });
        }
        append(&mut tx, std::slice::from_ref(event)).await?;
        tx.commit().await?;
        Ok(Recorded::New)
    }

    pub async fn delivery(&self, id: &str) -> Result<Option<Delivery>> {
        let row: Option<DeliveryRow> = on_pool!(self, |pool| {
            sqlx::query_as(concat!(
                "select ",
                delivery_columns!(),
                " from delivery where id = $1"
            ))
            .bind(id)
            .fetch_optional(pool)
            .await?
        });
        row.map(Delivery::try_from).transpose()
    }

    /// The deliveries that stand for a stack's generations above `after` and up to `up_to`, in
    /// their order.
    pub async fn deliveries_between(
        &self,
        stack: &str,
        after: i64,
        up_to: i64,
    ) -> Result<Vec<Delivery>> {
        let rows: Vec<DeliveryRow> = on_pool!(self, |pool| {
            sqlx::query_as(
                "select d.id, d.webhook, d.event, d.repository, d.git_ref, d.revision_before, \
                 d.revision_after, d.commits, d.forced, d.pusher, d.body_sha256, d.received_at, \
                 d.trace \
                 from delivery_stack s join delivery d on d.id = s.delivery \
                 where s.stack = $1 and s.generation > $2 and s.generation <= $3 \
                 order by s.generation",
            )
            .bind(stack)
            .bind(after)
            .bind(up_to)
            .fetch_all(pool)
            .await?
        });
        rows.into_iter().map(Delivery::try_from).collect()
    }

    /// The deliveries that a run stands for, in the order of their receipt.
    pub(super) async fn deliveries_of(&self, run: &RunId) -> Result<Vec<Delivery>> {
        let rows: Vec<DeliveryRow> = on_pool!(self, |pool| {
            sqlx::query_as(
                "select d.id, d.webhook, d.event, d.repository, d.git_ref, d.revision_before, \
                 d.revision_after, d.commits, d.forced, d.pusher, d.body_sha256, d.received_at, \
                 d.trace \
                 from run_delivery r join delivery d on d.id = r.delivery \
                 where r.run = $1 order by d.received_at, d.id",
            )
            .bind(&run.0)
            .fetch_all(pool)
            .await?
        });
        rows.into_iter().map(Delivery::try_from).collect()
    }

    /// The delivery that was received last for a branch.
    pub async fn newest_delivery(
        &self,
        repository: &str,
        git_ref: &str,
    ) -> Result<Option<Delivery>> {
        let row: Option<DeliveryRow> = on_pool!(self, |pool| {
            sqlx::query_as(concat!(
                "select ",
                delivery_columns!(),
                " from delivery where repository = $1 and git_ref = $2 \
                 order by received_at desc, recorded_at desc, id desc limit 1"
            ))
            .bind(repository)
            .bind(git_ref)
            .fetch_optional(pool)
            .await?
        });
        row.map(Delivery::try_from).transpose()
    }
}

/// Whether it was new.
async fn insert_delivery(tx: &mut Tx, delivery: &Delivery, now: i64) -> Result<bool> {
    let Delivery {
        id,
        webhook,
        event,
        repository,
        git_ref,
        before,
        after,
        commits,
        forced,
        pusher,
        body_sha256,
        received_at,
        trace,
    } = delivery;
    let inserted = on_tx!(tx, |connection| {
        sqlx::query(
            "insert into delivery (id, webhook, event, repository, git_ref, revision_before, \
             revision_after, commits, forced, pusher, body_sha256, received_at, recorded_at, \
             trace) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) \
             on conflict (id) do nothing",
        )
        .bind(id)
        .bind(webhook)
        .bind(clean(event))
        .bind(clean_opt(repository.as_deref()))
        .bind(clean_opt(git_ref.as_deref()))
        .bind(before.as_ref().map(Revision::as_str))
        .bind(after.as_ref().map(Revision::as_str))
        .bind(commits_text(commits))
        .bind(i64::from(*forced))
        .bind(pusher.as_ref().map(person_text))
        .bind(body_sha256)
        .bind(received_at)
        .bind(now)
        .bind(trace.as_ref().map(TraceId::as_str))
        .execute(connection)
        .await?
        .rows_affected()
    });
    if inserted == 1 {
        insert_commits(tx, delivery).await?;
    }
    Ok(inserted == 1)
}

/// Every commit that it announced, so that it is found by each.
async fn insert_commits(tx: &mut Tx, delivery: &Delivery) -> Result<()> {
    let announced = delivery.commits.iter().map(|commit| clean(&commit.id));
    let after = delivery.after.iter().map(ToString::to_string);
    let commits: BTreeSet<String> = announced.chain(after).collect();
    let commits: Vec<String> = commits.into_iter().collect();
    for chunk in commits.chunks(BATCH) {
        on_tx!(tx, |connection| {
            let mut insert = QueryBuilder::new("insert into delivery_commit (revision, delivery) ");
            insert.push_values(chunk, |mut row, commit| {
                row.push_bind(commit).push_bind(&delivery.id);
            });
            insert.build().persistent(false).execute(connection).await?;
        });
    }
    Ok(())
}

pub(super) fn commits_text(commits: &[CommitRef]) -> String {
    serde_json::to_string(commits).expect("texts are always JSON")
}

pub(super) fn person_text(person: &Person) -> String {
    serde_json::to_string(person).expect("texts are always JSON")
}

#[derive(sqlx::FromRow)]
pub(super) struct DeliveryRow {
    id: String,
    webhook: String,
    event: String,
    repository: Option<String>,
    git_ref: Option<String>,
    revision_before: Option<String>,
    revision_after: Option<String>,
    commits: String,
    forced: i64,
    pusher: Option<String>,
    body_sha256: String,
    received_at: i64,
    trace: Option<String>,
}

impl TryFrom<DeliveryRow> for Delivery {
    type Error = super::Error;

    fn try_from(row: DeliveryRow) -> Result<Self> {
        Ok(Self {
            before: parse_opt("revision", row.revision_before.as_deref())?,
            after: parse_opt("revision", row.revision_after.as_deref())?,
            commits: parse_json("list of commits", &row.commits)?,
            forced: row.forced != 0,
            pusher: row
                .pusher
                .map(|pusher| parse_json("person", &pusher))
                .transpose()?,
            trace: parse_opt("trace", row.trace.as_deref())?,
            id: row.id,
            webhook: row.webhook,
            event: row.event,
            repository: row.repository,
            git_ref: row.git_ref,
            body_sha256: row.body_sha256,
            received_at: row.received_at,
        })
    }
}
