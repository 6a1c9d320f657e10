//! `lockstep migrate`: the database's tables at this program's version, under the role that owns
//! them.

use clap::Args;
use serde_json::json;

use super::{Exit, Invocation, init_logs, output};
use crate::{app, config::Tables};

const ROLES: &str = "\
A superuser makes the two roles and the database once:

  create role lockstep_owner login password '…';
  create role lockstep login password '…';
  create database lockstep owner lockstep_owner;
  \\c lockstep
  revoke create on schema public from public;
  grant usage, create on schema public to lockstep_owner;

and, where one role did both before, in that database:

  reassign owned by lockstep to lockstep_owner;";

/// Bring the database's tables up to date, and give the role that serves its rights.
///
/// With `storage.postgres_owner` the tables belong to that role, and `lockstep serve` changes none of
/// them: run this before a new version of it. It goes by `storage` alone and looks up no other secret
/// of the configuration. The role of `storage.postgres` gets what serving takes: of the history, to
/// add and to read, and never to change, delete or truncate. Run it as often as you like, also at the
/// same time; what was applied is on record as `migrations.applied`. Without `storage.postgres_owner`,
/// and with the embedded store, it does what a start of `lockstep serve` does first.
#[derive(Debug, Args)]
#[command(after_long_help = ROLES)]
pub struct Migrate {}

impl Migrate {
    pub async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let Self {} = self;
        init_logs("warn");
        let tables = invocation.load_tables()?;
        let applied = app::migrate(&tables).await?;
        let has_owner = matches!(&tables, Tables::Postgres { owner: Some(_), .. });
        if invocation.is_json() {
            output::json(&json!({"applied": applied, "has_owner": has_owner}))?;
            return Ok(Exit::Done);
        }
        let mut text = match applied.len() {
            0 => "the tables were up to date".to_owned(),
            1 => "applied a migration:".to_owned(),
            many => format!("applied {many} migrations:"),
        };
        for migration in &applied {
            text.push_str(&format!(
                "\n    {:04} {}",
                migration.version, migration.name
            ));
        }
        text.push_str(if has_owner {
            "\nthe role that serves has its rights, and no others"
        } else {
            "\nwhoever serves owns the tables"
        });
        output::text(&text);
        Ok(Exit::Done)
    }
}
