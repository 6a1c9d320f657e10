//! Two roles in Postgres: one owns the tables and changes them, the other serves, and may do to each
//! table what serving takes and no more. What it may not do to the history, no bug and no stolen
//! address of the database does either.

use sqlx::{AssertSqlSafe, PgConnection, QueryBuilder, Row as _};

use super::{
    Store,
    db::{Db, POSTGRES_MIGRATIONS},
    error::{Error, Result},
    retention::PARTS,
};

/// What the serving role may do to each table, beside reading it. A table that is not here is not
/// even read; a test holds the list against the database.
pub const RIGHTS: [(&str, &str); 31] = [
    ("_sqlx_migrations", ""),
    ("approval", "insert, update (used_by, voided_at)"),
    ("audit_check", "update"),
    ("audit_checkpoint", "insert"),
    ("audit_event", "insert"),
    ("audit_head", "update (size, hash)"),
    ("audit_leaf", ""),
    ("audit_node", "insert"),
    ("audit_object", "insert"),
    ("audit_person", "insert"),
    ("body", "insert"),
    ("change", "insert, update (outcome, message)"),
    ("clock", ""),
    ("config_loaded", "insert, update"),
    ("delivery", "insert"),
    ("delivery_commit", "insert"),
    ("delivery_stack", "insert"),
    ("installation", "insert"),
    ("inventory", "insert, update, delete"),
    ("lease", "insert, update"),
    ("migration_told", "insert"),
    ("node_state", "insert, update"),
    ("parked", "insert, update, delete"),
    ("released", "insert, delete"),
    (
        "run",
        "insert, update (status, finished_at, message, changes)",
    ),
    ("run_delivery", "insert"),
    ("sink", "insert, update"),
    ("stack_state", "insert, update"),
    ("target_state", "insert, update"),
    ("token", "insert, update (revoked_at, last_used_at)"),
    ("undo", "insert, delete"),
];

/// Only one process grants at a time. The number means nothing.
const GRANTING: i64 = 0x6c6f_636b_7374_6570;

impl Store {
    /// Gives the serving role its rights, and takes every other one from it. This is the owner's
    /// connection.
    pub(super) async fn grant(&self, role: &str) -> Result<()> {
        let Db::Postgres(pool) = &self.db else {
            return Ok(());
        };
        let mut tx = pool.begin().await?;
        sqlx::query("select pg_advisory_xact_lock($1)")
            .bind(GRANTING)
            .execute(&mut *tx)
            .await?;
        may_serve(&mut tx, role).await?;
        let names = sqlx::query("select quote_ident($1), quote_ident(current_schema())")
            .bind(role)
            .fetch_one(&mut *tx)
            .await?;
        let (role, schema): (String, String) = (names.try_get(0)?, names.try_get(1)?);
        let mut statements = vec![
            format!("revoke all on schema {schema} from {role}"),
            format!("grant usage on schema {schema} to {role}"),
        ];
        for (table, rights) in RIGHTS {
            let rights = [rights, "select"].join(if rights.is_empty() { "" } else { ", " });
            statements.push(format!("revoke all on {schema}.{table} from {role}"));
            statements.push(format!("grant {rights} on {schema}.{table} to {role}"));
        }
        // Of the history's parts it needs none by itself: it reads and adds to the whole.
        let parts: Vec<String> = sqlx::query_scalar(PARTS).fetch_all(&mut *tx).await?;
        for part in parts {
            statements.push(format!("revoke all on {schema}.{part} from {role}"));
        }
        statements.push(format!(
            "grant execute on function {schema}.audit_event_room(bigint) to {role}"
        ));
        for statement in statements {
            sqlx::query(AssertSqlSafe(statement))
                .persistent(false)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Whether the role of this connection may do everything to the tables: it owns them, or could
    /// act as their owner.
    pub async fn owns_its_tables(&self) -> Result<bool> {
        match &self.db {
            Db::Postgres(pool) => owns(&mut *pool.acquire().await?, None).await,
            Db::Sqlite { .. } => Ok(true),
        }
    }
}

/// Refuses a role that is not there, or could act as the owner of any of our tables.
pub(super) async fn may_serve(connection: &mut PgConnection, role: &str) -> Result<()> {
    let is_there: bool =
        sqlx::query_scalar("select exists (select 1 from pg_roles where rolname = $1)")
            .bind(role)
            .fetch_one(&mut *connection)
            .await?;
    if !is_there {
        return Err(Error::NoRole(role.to_owned()));
    }
    if owns(connection, Some(role)).await? {
        return Err(Error::Owner(role.to_owned()));
    }
    Ok(())
}

/// Whether a role, or that of the connection, may act as the owner of any of our tables.
async fn owns(connection: &mut PgConnection, role: Option<&str>) -> Result<bool> {
    let mut select = QueryBuilder::new("select exists (select 1 from pg_class where pg_has_role(");
    match role {
        Some(role) => select.push_bind(role).push("::name"),
        None => select.push("current_user"),
    };
    select.push(
        ", relowner, 'member') and relnamespace = current_schema()::regnamespace and relname in (",
    );
    let mut listed = select.separated(", ");
    for (table, _) in RIGHTS {
        listed.push_bind(table);
    }
    select.push("))");
    Ok(select.build_query_scalar().fetch_one(connection).await?)
}

/// Refuses a database that is not at the version of this program.
pub(super) async fn check_version(connection: &mut PgConnection) -> Result<()> {
    let applied: Option<Vec<(i64, Vec<u8>)>> = match sqlx::query_as(
        "select version, checksum from _sqlx_migrations where success order by version",
    )
    .fetch_all(connection)
    .await
    {
        Ok(applied) => Some(applied),
        // There is no such table, or this role has no right to it.
        Err(sqlx::Error::Database(error))
            if matches!(error.code().as_deref(), Some("42P01" | "42501")) =>
        {
            None
        }
        Err(error) => return Err(error.into()),
    };
    let applied = applied.ok_or(Error::Older)?;
    let is_ours = |version: i64| POSTGRES_MIGRATIONS.iter().any(|own| own.version == version);
    if let Some((newer, _)) = applied.iter().find(|(version, _)| !is_ours(*version)) {
        return Err(Error::Newer(*newer));
    }
    for own in POSTGRES_MIGRATIONS.iter() {
        let found = applied.iter().find(|(version, _)| *version == own.version);
        let (_, checksum) = found.ok_or(Error::Older)?;
        if *checksum != *own.checksum {
            return Err(Error::Migration(
                sqlx::migrate::MigrateError::VersionMismatch(own.version),
            ));
        }
    }
    Ok(())
}
