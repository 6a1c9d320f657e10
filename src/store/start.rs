//! What is compared with the time before when a process starts: the configuration, and the version
//! of the tables.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    Store,
    audit::append,
    error::{Result, parse_json},
};
use crate::domain::audit::event::NewEvent;

/// A step that brought the tables to another version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Migration {
    pub version: i64,
    pub name: String,
}

impl Store {
    /// Keeps what the configuration says, by key, in the place of what it said the time before, and
    /// appends what is to be told about the two. The first time there is nothing before.
    pub async fn load_config(
        &self,
        keys: &BTreeMap<String, String>,
        told: impl Fn(Option<&BTreeMap<String, String>>) -> Vec<NewEvent>,
    ) -> Result<()> {
        let text = serde_json::to_string(keys).expect("texts are always JSON");
        retrying!(async {
            let mut tx = self.begin().await?;
            let sql = locking!(&tx, "select keys from config_loaded where id = 1");
            let before: Option<String> = on_tx!(&mut tx, |connection| {
                sqlx::query_scalar(sql).fetch_optional(connection).await?
            });
            let before = before
                .map(|before| parse_json("configuration", &before))
                .transpose()?;
            on_tx!(&mut tx, |connection| {
                sqlx::query(
                    "insert into config_loaded (id, keys) values (1, $1) \
                     on conflict (id) do update set keys = excluded.keys",
                )
                .bind(&text)
                .execute(connection)
                .await?;
            });
            append(&mut tx, &told(before.as_ref())).await?;
            tx.commit().await
        })
    }

    /// Appends an event about the migrations that were applied and never told of: once, whichever
    /// process applied them and whichever looks first. Gives those that this call told of.
    pub async fn note_migrations(
        &self,
        told: impl Fn(&[Migration]) -> NewEvent,
    ) -> Result<Vec<Migration>> {
        const UNTOLD: &str = "select version, description as name from _sqlx_migrations \
             where version not in (select version from migration_told) order by version";
        let untold: Vec<Migration> = on_pool!(self, |pool| {
            sqlx::query_as(UNTOLD).fetch_all(pool).await?
        });
        if untold.is_empty() {
            return Ok(Vec::new());
        }
        retrying!(async {
            let mut tx = self.begin().await?;
            let taken: Vec<i64> = on_tx!(&mut tx, |connection| {
                sqlx::query_scalar(
                    "insert into migration_told (version) \
                     select version from _sqlx_migrations where version >= 0 \
                     on conflict (version) do nothing returning version",
                )
                .fetch_all(connection)
                .await?
            });
            let ours: Vec<Migration> = untold
                .iter()
                .filter(|migration| taken.contains(&migration.version))
                .cloned()
                .collect();
            if ours.is_empty() {
                tx.rollback().await?;
                return Ok(ours);
            }
            append(&mut tx, &[told(&ours)]).await?;
            tx.commit().await?;
            Ok(ours)
        })
    }
}
