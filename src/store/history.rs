//! Runs as they were: one in full, or pages of many. Only reads.

use sqlx::QueryBuilder;

use super::{
    Store,
    error::Result,
    inbox::Delivery,
    runs::{Run, RunRow, run_columns},
};
use crate::domain::{
    object::ObjectKey,
    run::{ChangeRecord, RunId, RunStatus},
};

/// How many runs one page holds at most.
const PAGE: i64 = 1_000;

/// A run in full.
#[derive(Debug, Clone)]
pub struct RunDetail {
    pub run: Run,
    /// JSON.
    pub plan: Option<String>,
    pub changes: Vec<ChangeRecord>,
    /// What it stands for, in the order of its receipt.
    pub deliveries: Vec<Delivery>,
}

/// Which runs to show. Everything that is `None` is not asked for.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    pub stack: Option<String>,
    pub target: Option<String>,
    /// Runs with a change of this object.
    pub object: Option<ObjectKey>,
    pub status: Option<RunStatus>,
    /// When it started: microseconds UTC, the first inside and the second outside.
    pub since: Option<i64>,
    pub until: Option<i64>,
    /// Only runs that started before this one: the last one of the page before.
    pub before: Option<RunId>,
    /// At most 1,000; 0 is 50.
    pub limit: i64,
}

impl Store {
    pub async fn run(&self, id: &RunId) -> Result<Option<RunDetail>> {
        let row: Option<RunRow> = on_pool!(self, |pool| {
            sqlx::query_as(concat!(
                "select ",
                run_columns!(),
                " from run where id = $1"
            ))
            .bind(&id.0)
            .fetch_optional(pool)
            .await?
        });
        let Some(row) = row else { return Ok(None) };
        let plan: Option<String> = on_pool!(self, |pool| {
            sqlx::query_scalar("select plan from run where id = $1")
                .bind(&id.0)
                .fetch_one(pool)
                .await?
        });
        Ok(Some(RunDetail {
            run: Run::try_from(row)?,
            plan,
            changes: self.changes(id).await?,
            deliveries: self.deliveries_of(id).await?,
        }))
    }

    /// One page of runs, newest first.
    pub async fn runs(&self, filter: &RunFilter) -> Result<Vec<Run>> {
        let RunFilter {
            stack,
            target,
            object,
            status,
            since,
            until,
            before,
            limit,
        } = filter;
        let texts = [
            ("stack", stack.as_deref()),
            ("target", target.as_deref()),
            ("status", status.map(RunStatus::as_str)),
        ];
        let numbers = [("started_at >= ", since), ("started_at < ", until)];
        let limit = match *limit {
            ..=0 => 50,
            limit => limit.min(PAGE),
        };
        let rows: Vec<RunRow> = on_pool!(self, |pool| {
            let mut select =
                QueryBuilder::new(concat!("select ", run_columns!(), " from run where 1 = 1"));
            for (column, text) in texts {
                if let Some(text) = text {
                    select
                        .push(" and ")
                        .push(column)
                        .push(" = ")
                        .push_bind(text);
                }
            }
            for (condition, number) in numbers {
                if let Some(number) = number {
                    select.push(" and ").push(condition).push_bind(number);
                }
            }
            if let Some(object) = object {
                select
                    .push(" and id in (select c.run from change c where c.object = ")
                    .push_bind(object.to_string())
                    .push(")");
            }
            if let Some(before) = before {
                select
                    .push(" and (started_at, id) < (select b.started_at, b.id from run b where b.id = ")
                    .push_bind(&before.0)
                    .push(")");
            }
            select
                .push(" order by started_at desc, id desc limit ")
                .push_bind(limit);
            select.build_query_as().fetch_all(pool).await?
        });
        rows.into_iter().map(Run::try_from).collect()
    }
}
