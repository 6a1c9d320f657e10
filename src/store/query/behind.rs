//! What stands behind something on a page: the runs, events, approvals and deliveries that belong to
//! it, for a whole page at once.

use std::collections::BTreeMap;

use sqlx::{FromRow, QueryBuilder, postgres::PgRow, sqlite::SqliteRow};

use super::{
    ApprovalEntry,
    rows::{ApprovalRow, DeliveryOfRunRow},
};
use crate::{
    domain::{
        audit::event::{Event, EventType},
        run::RunId,
    },
    store::{
        Delivery, Run, Store,
        audit::EventRow,
        db::BATCH,
        error::Result,
        inbox::delivery_columns,
        runs::{RunRow, run_columns},
    },
};

impl Store {
    /// What happened in these runs, without their plans, by their ids.
    pub async fn runs_by_id(&self, ids: &[RunId]) -> Result<BTreeMap<RunId, Run>> {
        let mut found = BTreeMap::new();
        let select = concat!("select ", run_columns!(), " from run where id in (");
        for row in self.of_runs::<RunRow>(select, ids, ")").await? {
            let run = Run::try_from(row)?;
            found.insert(run.id.clone(), run);
        }
        Ok(found)
    }

    /// The events of these types that belong to these runs, in the order of the history.
    pub async fn events_of_runs(
        &self,
        ids: &[RunId],
        types: &[EventType],
    ) -> Result<BTreeMap<RunId, Vec<Event>>> {
        let mut found: BTreeMap<RunId, Vec<Event>> = BTreeMap::new();
        for chunk in ids.chunks(BATCH) {
            let rows: Vec<EventRow> = on_pool!(self, |pool| {
                let mut select = QueryBuilder::new(
                    "select sequence, header, payload, previous, hash from audit_event \
                     where run in (",
                );
                let mut listed = select.separated(", ");
                for id in chunk {
                    listed.push_bind(id.0.clone());
                }
                // Not by the index of types, which a database without statistics takes for the
                // narrower one.
                select.push(") and coalesce(type, '') in (");
                let mut listed = select.separated(", ");
                for event_type in types {
                    listed.push_bind(event_type.as_str());
                }
                select.push(") order by sequence");
                select
                    .build_query_as()
                    .persistent(false)
                    .fetch_all(pool)
                    .await?
            });
            for event in self.with_people(rows).await? {
                let header: std::result::Result<crate::domain::audit::event::Header, _> =
                    serde_json::from_str(&event.header);
                if let Some(run) = header.ok().and_then(|header| header.run) {
                    found.entry(run).or_default().push(event);
                }
            }
        }
        Ok(found)
    }

    /// What let these runs carry out what had been held back, by run.
    pub async fn approvals_behind(
        &self,
        ids: &[RunId],
    ) -> Result<BTreeMap<RunId, Vec<ApprovalEntry>>> {
        let mut found: BTreeMap<RunId, Vec<ApprovalEntry>> = BTreeMap::new();
        let select = "select id, stack, plan_hash, run, choice, person, actor, reason, at, \
                      expires_at, used_by, voided_at from approval where used_by in (";
        let rows = self.of_runs::<ApprovalRow>(select, ids, ") order by at, id");
        for row in rows.await? {
            let entry = ApprovalEntry::try_from(row)?;
            if let Some(run) = entry.used_by.clone() {
                found.entry(run).or_default().push(entry);
            }
        }
        Ok(found)
    }

    /// The runs that stand for a delivery, newest first, a few of them.
    pub async fn runs_for(&self, delivery: &str) -> Result<Vec<RunId>> {
        let rows: Vec<String> = on_pool!(self, |pool| {
            sqlx::query_scalar(
                "select run from run_delivery where delivery = $1 order by run desc limit 100",
            )
            .bind(delivery)
            .fetch_all(pool)
            .await?
        });
        Ok(rows.into_iter().map(RunId).collect())
    }

    /// The deliveries that these runs stand for, in the order of their receipt, by run.
    pub async fn deliveries_for(&self, ids: &[RunId]) -> Result<BTreeMap<RunId, Vec<Delivery>>> {
        let mut found: BTreeMap<RunId, Vec<Delivery>> = BTreeMap::new();
        let select = concat!(
            "select x.run, ",
            delivery_columns!(),
            " from run_delivery x join delivery d on d.id = x.delivery where x.run in ("
        );
        let rows = self.of_runs::<DeliveryOfRunRow>(select, ids, ") order by received_at, id");
        for row in rows.await? {
            let run = RunId(row.run);
            found.entry(run).or_default().push(row.delivery.try_into()?);
        }
        Ok(found)
    }

    /// The rows of these runs: `select` ends where their ids are listed, and `end` follows them.
    async fn of_runs<R>(
        &self,
        select: &'static str,
        ids: &[RunId],
        end: &'static str,
    ) -> Result<Vec<R>>
    where
        R: for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
    {
        let mut rows = Vec::new();
        for chunk in ids.chunks(BATCH) {
            rows.extend::<Vec<R>>(on_pool!(self, |pool| {
                let mut query = QueryBuilder::new(select);
                let mut listed = query.separated(", ");
                for id in chunk {
                    listed.push_bind(id.0.clone());
                }
                query.push(end);
                let query = query.build_query_as().persistent(false);
                query.fetch_all(pool).await?
            }));
        }
        Ok(rows)
    }
}
