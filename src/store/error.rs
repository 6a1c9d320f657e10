//! What can go wrong in the store, and whether trying again can help.

use std::path::PathBuf;

use sqlx::error::ErrorKind;

use crate::domain::run::RunId;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another worker may hold the target by now. Nothing was written.
    #[error("the lease of target {target} is lost; nothing was written")]
    LeaseLost { target: String },
    /// The run has an outcome already, or was never begun. Nothing was written.
    #[error("run {0} is not open; nothing was written")]
    NotOpen(RunId),
    #[error(
        "the database was written by a newer version of Lockstep (step {0} is not known here)\n\
         hint: run the newer version, or restore the backup from before the upgrade"
    )]
    Newer(i64),
    #[error(
        "the database is at an older version than this program\n\
         hint: run `lockstep migrate`, which uses storage.postgres_owner"
    )]
    Older,
    /// A role that serves could take the history's guards off.
    #[error(
        "the role {0} owns tables of the database, or may act as their owner, so the history is not \
         safe from it\n\
         hint: a superuser runs `reassign owned by \"{0}\" to OWNER` once in this database, and \
         {0} must be neither a superuser nor a member of OWNER"
    )]
    Owner(String),
    #[error(
        "there is no role {0} in the database\n\
         hint: a superuser makes it once: create role \"{0}\" login password '…'"
    )]
    NoRole(String),
    #[error("the database could not be brought up to date")]
    Migration(#[source] sqlx::migrate::MigrateError),
    #[error("the address of the database cannot be read: it looks like postgres://user@host/name")]
    Address,
    #[error(
        "the key of this installation is missing: {path} is not there, but the database was \
         written with a key\n\
         hint: restore the file from the backup; without it masked values cannot be compared"
    )]
    KeyMissing { path: PathBuf },
    #[error(
        "the key is not the one that this database was written with\n\
         hint: use the key of this installation, or an empty database"
    )]
    KeyDiffers,
    #[error("{path} is not a key: it holds 64 hex digits")]
    KeyMalformed { path: PathBuf },
    #[error("{path}: {source}")]
    SigningKey {
        path: PathBuf,
        source: crate::domain::audit::checkpoint::KeyError,
    },
    #[error("{path} may be read by others\nhint: chmod 600 {path}")]
    KeyExposed { path: PathBuf },
    #[error("{path}")]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
    /// A stored value that this version cannot read.
    #[error("the database holds a {what} that cannot be read: {value:?}")]
    Unreadable { what: &'static str, value: String },
    #[error("the local queue belongs to the embedded mode")]
    NoLocalQueue,
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

impl Error {
    /// Whether the same call may succeed later, without anyone changing anything here.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Database(error)
            | Self::Migration(
                sqlx::migrate::MigrateError::Execute(error)
                | sqlx::migrate::MigrateError::ExecuteMigration(error, _),
            ) => passes(error),
            Self::LeaseLost { .. }
            | Self::NotOpen(_)
            | Self::Newer(_)
            | Self::Older
            | Self::Owner(_)
            | Self::NoRole(_)
            | Self::Migration(_)
            | Self::Address
            | Self::KeyMissing { .. }
            | Self::KeyDiffers
            | Self::KeyMalformed { .. }
            | Self::KeyExposed { .. }
            | Self::SigningKey { .. }
            | Self::File { .. }
            | Self::Unreadable { .. }
            | Self::NoLocalQueue => false,
        }
    }

    /// Whether the database took the whole transaction back because of another one, so that the
    /// same transaction may be sent again at once. A broken connection is not meant: then nobody
    /// knows whether it was committed.
    pub(super) fn is_conflict(&self) -> bool {
        let Self::Database(sqlx::Error::Database(error)) = self else {
            return false;
        };
        match error.code().as_deref() {
            // serialization_failure, deadlock_detected
            Some("40001" | "40P01") => true,
            Some(code) => is_sqlite_busy(code),
            None => false,
        }
    }
}

fn passes(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => true,
        sqlx::Error::Database(error) => {
            if error.kind() != ErrorKind::Other {
                return false;
            }
            let code = error.code().unwrap_or_default();
            // Five characters are Postgres: 08 connection, 25P03 idle in transaction, 28 refused
            // while credentials rotate, 40 taken back, 53 out of resources, 55P03 lock timeout,
            // 57 cancelled or shutting down, 58 its disk.
            let postgres = code.len() == 5
                && (["08", "28", "40", "53", "57", "58"]
                    .iter()
                    .any(|class| code.starts_with(class))
                    || matches!(&*code, "25P03" | "55P03" | "25006"));
            postgres || is_sqlite_busy(&code) || is_sqlite_disk(&code)
        }
        _ => false,
    }
}

/// SQLite's extended codes keep the primary code in their low byte: 5 busy, 6 locked.
fn is_sqlite_busy(code: &str) -> bool {
    code.len() < 5 && matches!(code.parse::<u32>().map(|code| code & 0xff), Ok(5 | 6))
}

/// 10 input or output failed, 13 disk full, 14 cannot open.
fn is_sqlite_disk(code: &str) -> bool {
    code.len() < 5
        && matches!(
            code.parse::<u32>().map(|code| code & 0xff),
            Ok(10 | 13 | 14)
        )
}

/// Reads a stored text as what it stands for.
pub(super) fn parse<T: std::str::FromStr>(what: &'static str, text: &str) -> Result<T> {
    text.parse().map_err(|_| unreadable(what, text))
}

pub(super) fn parse_opt<T: std::str::FromStr>(
    what: &'static str,
    text: Option<&str>,
) -> Result<Option<T>> {
    text.map(|text| parse(what, text)).transpose()
}

/// Reads stored JSON.
pub(super) fn parse_json<T: serde::de::DeserializeOwned>(
    what: &'static str,
    text: &str,
) -> Result<T> {
    serde_json::from_str(text).map_err(|_| unreadable(what, text))
}

/// Names the value by its beginning: it may be long.
pub(super) fn unreadable(what: &'static str, value: &str) -> Error {
    Error::Unreadable {
        what,
        value: value.chars().take(80).collect(),
    }
}
