//! What was on a target at a moment.

use std::collections::BTreeMap;

use sqlx::QueryBuilder;

use super::{ChangeEntry, rows::ChangeEntryRow};
use crate::{
    domain::object::ObjectKey,
    store::{
        Run, Store,
        db::BATCH,
        error::{Result, parse},
        runs::{RunRow, run_columns},
    },
};

impl Store {
    /// The last change of every object of a target that had come to an end by a moment, on the
    /// target's first node: what the target was left with then. Changes that were refused or never
    /// sent left nothing.
    pub async fn last_changes(
        &self,
        target: &str,
        object: Option<&ObjectKey>,
        until: i64,
    ) -> Result<Vec<ChangeEntry>> {
        /// The last change of each of the known objects, which `$1` and `$2` bound. In the order of
        /// what was picked: with that of `change` SQLite would walk all of it in its order.
        macro_rules! last_of {
            ($known:literal) => {
                concat!(
                    $known,
                    ", picked as materialized (select object, \
                     (select d.run from change d join run e on e.id = d.run \
                     where d.target = $1 and d.object = known.object and d.at <= $2 \
                     and e.node = '' and coalesce(e.finished_at, $2 + 1) <= $2 \
                     and d.outcome in ('applied', 'repaired', 'unknown', 'open') \
                     order by d.at desc, d.run desc, d.position desc limit 1) as run, \
                     (select d.position from change d join run e on e.id = d.run \
                     where d.target = $1 and d.object = known.object and d.at <= $2 \
                     and e.node = '' and coalesce(e.finished_at, $2 + 1) <= $2 \
                     and d.outcome in ('applied', 'repaired', 'unknown', 'open') \
                     order by d.at desc, d.run desc, d.position desc limit 1) as position \
                     from known where known.object is not null) \
                     select c.position, c.object, c.action, c.reason, c.body_before, \
                     c.body_after, c.fields, c.outcome, c.message, c.run, c.stack, c.target, \
                     c.at, r.node, r.finished_at, r.trigger, r.status, r.revision, r.pusher \
                     from picked join change c \
                     on c.run = picked.run and c.position = picked.position \
                     join run r on r.id = c.run order by picked.object"
                )
            };
        }
        let rows: Vec<ChangeEntryRow> = match object {
            Some(object) => on_pool!(self, |pool| {
                sqlx::query_as(last_of!("with known (object) as (select cast($3 as text))"))
                    .bind(target)
                    .bind(until)
                    .bind(object.to_string())
                    .fetch_all(pool)
                    .await?
            }),
            // From one object to the next, without what lies between.
            None => on_pool!(self, |pool| {
                sqlx::query_as(last_of!(
                    "with recursive known (object) as ( \
                     select min(object) from change where target = $1 union all \
                     select (select min(c.object) from change c \
                     where c.target = $1 and c.object > known.object) \
                     from known where known.object is not null)"
                ))
                .bind(target)
                .bind(until)
                .fetch_all(pool)
                .await?
            }),
        };
        rows.into_iter().map(ChangeEntry::try_from).collect()
    }

    /// When objects of a target were seen to have drifted last, up to a moment.
    pub async fn last_drifts(
        &self,
        target: &str,
        objects: &[ObjectKey],
        until: i64,
    ) -> Result<BTreeMap<ObjectKey, i64>> {
        let mut found = BTreeMap::new();
        for chunk in objects.chunks(BATCH) {
            let rows: Vec<(String, i64)> = on_pool!(self, |pool| {
                let mut select = QueryBuilder::new(
                    "select o.object, max(e.at) from audit_object o \
                     join audit_event e on e.sequence = o.sequence \
                     where e.type = 'drift.observed' and e.at <= ",
                );
                select.push_bind(until).push(" and e.target = ");
                select.push_bind(target).push(" and o.object in (");
                let mut listed = select.separated(", ");
                for object in chunk {
                    listed.push_bind(object.to_string());
                }
                select.push(") group by o.object");
                select
                    .build_query_as()
                    .persistent(false)
                    .fetch_all(pool)
                    .await?
            });
            for (object, at) in rows {
                found.insert(parse("object", &object)?, at);
            }
        }
        Ok(found)
    }

    /// The last run of a target that had come to its end by a moment with everything as it should
    /// be, or held back: then all of it was looked at.
    pub async fn last_whole_run(&self, target: &str, until: i64) -> Result<Option<Run>> {
        let row: Option<RunRow> = on_pool!(self, |pool| {
            sqlx::query_as(concat!(
                "select ",
                run_columns!(),
                " from run where target = $1 and started_at <= $2 and node = '' \
                 and finished_at <= $2 and status in ('succeeded', 'parked') \
                 order by started_at desc, id desc limit 1"
            ))
            .bind(target)
            .bind(until)
            .fetch_optional(pool)
            .await?
        });
        row.map(Run::try_from).transpose()
    }
}
