//! The two databases, and the macros that let one text serve both. Opens and migrates them; knows
//! no table.

use std::{fmt, fs, io, path::Path, str::FromStr, sync::Arc, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use sqlx::{
    Connection as _, PgConnection, PgPool, Postgres, Sqlite, SqlitePool, Transaction,
    migrate::{MigrateError, Migrator},
    pool::PoolOptions,
    postgres::PgConnectOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use super::{
    audit::LastAppend,
    error::{Error, Result},
    migrate::{check_version, may_serve},
};

/// The migrations of both databases: equal names, equal meaning.
pub static SQLITE_MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");
pub static POSTGRES_MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// The database's file in the folder of the embedded mode.
pub const FILE: &str = "lockstep.db";

/// Rows of one statement. Both databases limit the values that one statement binds (SQLite to
/// 32,766); no table has more than 30 columns.
pub(super) const BATCH: usize = 1_000;

/// How often a transaction is sent again that the database took back because of another one.
pub(super) const TRIES: u32 = 5;

/// The database. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pub(super) db: Db,
    last_append: Arc<LastAppend>,
}

#[derive(Clone)]
pub(super) enum Db {
    Postgres(PgPool),
    /// SQLite takes one writer at a time: a pool of one makes writers queue here, in order, and
    /// not in SQLite's busy loop. Readers see the last commit and wait for nobody.
    Sqlite {
        writer: SqlitePool,
        readers: SqlitePool,
    },
}

/// A writing transaction.
pub(super) enum Tx {
    Postgres(Transaction<'static, Postgres>, Arc<LastAppend>),
    Sqlite(Transaction<'static, Sqlite>),
}

/// Evaluates the body once a database, with a pool to read from. Each copy is typed for its own
/// database.
macro_rules! on_pool {
    ($store:expr, |$pool:ident| $body:expr) => {
        match &$store.db {
            $crate::store::db::Db::Postgres($pool) => $body,
            $crate::store::db::Db::Sqlite { readers: $pool, .. } => $body,
        }
    };
}

/// Evaluates the body once a database, with the transaction's connection.
macro_rules! on_tx {
    ($tx:expr, |$connection:ident| $body:expr) => {
        match &mut *$tx {
            $crate::store::db::Tx::Postgres(transaction, _) => {
                let $connection = &mut **transaction;
                $body
            }
            $crate::store::db::Tx::Sqlite(transaction) => {
                let $connection = &mut **transaction;
                $body
            }
        }
    };
}

/// A `select` that locks its rows until the transaction ends. In SQLite a writing transaction
/// holds the whole file anyway.
macro_rules! locking {
    ($tx:expr, $sql:literal) => {
        match $tx {
            $crate::store::db::Tx::Postgres(..) => concat!($sql, " for update"),
            $crate::store::db::Tx::Sqlite(_) => $sql,
        }
    };
}

/// Sends a whole transaction again when the database took it back because of another one.
macro_rules! retrying {
    ($transaction:expr) => {{
        let mut tries = 1;
        loop {
            let outcome: $crate::store::Result<_> = $transaction.await;
            match outcome {
                Err(error) if error.is_conflict() && tries < $crate::store::db::TRIES => {
                    tries += 1;
                }
                outcome => break outcome,
            }
        }
    }};
}

/// How to use a Postgres server.
#[derive(Debug, Clone)]
pub struct PgOptions {
    pub max_connections: u32,
    /// How long a call waits for a connection.
    pub acquire_timeout: Duration,
    /// How long the server works on one statement, waiting for locks included.
    pub statement_timeout: Duration,
    /// How long the server keeps a transaction of a process that stopped in the middle of it.
    pub idle_in_transaction_timeout: Duration,
    pub application_name: String,
}

impl Default for PgOptions {
    fn default() -> Self {
        Self {
            max_connections: 10,
            acquire_timeout: Duration::from_secs(10),
            statement_timeout: Duration::from_secs(30),
            idle_in_transaction_timeout: Duration::from_mins(1),
            application_name: "lockstep".to_owned(),
        }
    }
}

// Where the database is may be a secret, so a store prints its kind alone.
impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.db {
            Db::Postgres(_) => "Store(Postgres)",
            Db::Sqlite { .. } => "Store(SQLite)",
        })
    }
}

impl Store {
    /// Opens or makes `dir/lockstep.db`. A folder that is made here, and every file, is for its
    /// owner alone; a folder that was there keeps its mode. Several processes may have it open.
    pub async fn embedded(dir: &Path) -> Result<Self> {
        let folder = dir.to_owned();
        let lock = blocking(move || prepare_folder(&folder)).await?;
        let options = SqliteConnectOptions::new()
            .filename(dir.join(FILE))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A commit is on the disk before it is answered.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            // What is erased is not left in the file's free pages.
            .pragma("secure_delete", "on")
            .busy_timeout(Duration::from_secs(10));
        let writer = PoolOptions::<Sqlite>::new()
            .max_connections(1)
            .connect_with(options.clone())
            .await?;
        SQLITE_MIGRATIONS
            .run(&writer)
            .await
            .map_err(migration_failed)?;
        // Whoever else opens the folder finds the tables made.
        drop(lock);
        let readers = PoolOptions::<Sqlite>::new()
            .max_connections(4)
            .connect_with(options.pragma("query_only", "on"))
            .await?;
        Ok(Self {
            db: Db::Sqlite { writer, readers },
            last_append: Arc::default(),
        })
    }

    /// Connects to a Postgres server and brings its tables up to date; TLS is as the address's
    /// `sslmode` says.
    pub async fn postgres(url: &SecretString, options: &PgOptions) -> Result<Self> {
        let server = server(url, options)?;
        // Without a time limit: another process may be migrating, and a migration may take long.
        let patient = PoolOptions::<Postgres>::new()
            .max_connections(1)
            .acquire_timeout(options.acquire_timeout)
            .connect_with(server.clone())
            .await?;
        POSTGRES_MIGRATIONS
            .run(&patient)
            .await
            .map_err(migration_failed)?;
        patient.close().await;
        Self::connect(server, options).await
    }

    /// The same as the owner of the tables, which another role serves with: it gets its rights, and
    /// must not be able to act as their owner.
    pub async fn postgres_owned(
        url: &SecretString,
        options: &PgOptions,
        serving: &str,
    ) -> Result<Self> {
        // Before anything else, because with tables of that role no migration gets through.
        let mut connection = PgConnection::connect_with(&server(url, options)?).await?;
        may_serve(&mut connection, serving).await?;
        connection.close().await?;
        let store = Self::postgres(url, options).await?;
        store.grant(serving).await?;
        Ok(store)
    }

    /// The same, with tables that are up to date, or it is an error.
    pub async fn postgres_migrated(url: &SecretString, options: &PgOptions) -> Result<Self> {
        let server = server(url, options)?;
        let mut connection = PgConnection::connect_with(&server).await?;
        check_version(&mut connection).await?;
        connection.close().await?;
        Self::connect(server, options).await
    }

    async fn connect(server: PgConnectOptions, options: &PgOptions) -> Result<Self> {
        let PgOptions {
            max_connections,
            acquire_timeout,
            statement_timeout,
            idle_in_transaction_timeout,
            application_name: _,
        } = options;
        let server = server.options([
            (
                "statement_timeout",
                statement_timeout.as_millis().to_string(),
            ),
            (
                "idle_in_transaction_session_timeout",
                idle_in_transaction_timeout.as_millis().to_string(),
            ),
        ]);
        let pool = PoolOptions::<Postgres>::new()
            .max_connections(*max_connections)
            .acquire_timeout(*acquire_timeout)
            .connect_with(server)
            .await?;
        Ok(Self {
            db: Db::Postgres(pool),
            last_append: Arc::default(),
        })
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<()> {
        on_pool!(self, |pool| {
            sqlx::query("select 1").execute(pool).await?;
        });
        Ok(())
    }

    /// Ends every connection in order. Calls that come later fail.
    pub async fn close(&self) {
        match &self.db {
            Db::Postgres(pool) => pool.close().await,
            Db::Sqlite { writer, readers } => {
                readers.close().await;
                writer.close().await;
            }
        }
    }

    pub(super) async fn begin(&self) -> Result<Tx> {
        Ok(match &self.db {
            Db::Postgres(pool) => Tx::Postgres(pool.begin().await?, Arc::clone(&self.last_append)),
            // A transaction that begins by reading and goes on to write would fail when another
            // process wrote in between; this one waits for its turn at the beginning.
            Db::Sqlite { writer, .. } => Tx::Sqlite(writer.begin_with("begin immediate").await?),
        })
    }
}

impl Tx {
    pub(super) async fn commit(self) -> Result<()> {
        match self {
            Self::Postgres(transaction, _) => transaction.commit().await?,
            Self::Sqlite(transaction) => transaction.commit().await?,
        }
        Ok(())
    }

    pub(super) async fn rollback(self) -> Result<()> {
        match self {
            Self::Postgres(transaction, _) => transaction.rollback().await?,
            Self::Sqlite(transaction) => transaction.rollback().await?,
        }
        Ok(())
    }

    /// The database's clock: microseconds UTC.
    pub(super) async fn clock(&mut self) -> Result<i64> {
        Ok(on_tx!(self, |connection| {
            sqlx::query_scalar("select now from clock")
                .fetch_one(connection)
                .await?
        }))
    }
}

/// The role that a database's address names.
pub fn role_of(url: &SecretString) -> Result<String> {
    let options = PgConnectOptions::from_str(url.expose_secret()).map_err(|_| Error::Address)?;
    Ok(options.get_username().to_owned())
}

fn server(url: &SecretString, options: &PgOptions) -> Result<PgConnectOptions> {
    Ok(PgConnectOptions::from_str(url.expose_secret())
        .map_err(|_| Error::Address)?
        .application_name(&options.application_name))
}

/// Text as both databases take it: Postgres has no NUL in a text.
pub(super) fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

pub(super) fn clean_opt(text: Option<&str>) -> Option<String> {
    text.map(clean)
}

/// Runs file work beside the async threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(stopped) => Err(Error::File {
            path: "the worker thread".into(),
            source: io::Error::other(stopped),
        }),
    }
}

pub(super) fn file_error(path: &Path, source: io::Error) -> Error {
    Error::File {
        path: path.to_owned(),
        source,
    }
}

/// Locks the folder against other processes that make its files, until the value is dropped.
pub(super) fn lock_folder(dir: &Path) -> Result<fs::File> {
    let path = dir.join("lockstep.lock");
    let file = private_file(&path).map_err(|error| file_error(&path, error))?;
    file.lock().map_err(|error| file_error(&path, error))?;
    Ok(file)
}

fn prepare_folder(dir: &Path) -> Result<fs::File> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(dir)
        .map_err(|error| file_error(dir, error))?;
    let lock = lock_folder(dir)?;
    // SQLite gives its other files the mode of this one.
    let path = dir.join(FILE);
    private_file(&path).map_err(|error| file_error(&path, error))?;
    Ok(lock)
}

/// Opens a file that only its owner may read, and makes it when it is not there.
fn private_file(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn migration_failed(error: MigrateError) -> Error {
    match error {
        MigrateError::VersionMissing(version) => Error::Newer(version),
        other => Error::Migration(other),
    }
}
