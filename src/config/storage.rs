//! `[storage]`: one folder, or Postgres and NATS. There is nothing in between, because each mode is tested as
//! a whole.

use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::{
    SecretKey,
    reader::{Absent, Field, Read, Role, Section},
    values::parse_url,
};

const DEFAULT_DIR: &str = "lockstep-data";

#[derive(Clone, Debug)]
pub enum Storage {
    Embedded(Embedded),
    ScaledOut(ScaledOut),
}

/// Everything in one folder, one process.
#[derive(Clone, Debug)]
pub struct Embedded {
    pub dir: PathBuf,
    /// `None`: the store keeps a key of its own in the folder.
    pub secret_key: Option<SecretKey>,
}

/// Any number of processes on one database and one queue.
#[derive(Clone, Debug)]
pub struct ScaledOut {
    pub postgres: SecretString,
    /// The tables are another role's, whose address only `lockstep migrate` and what erases follow.
    pub has_owner: bool,
    pub nats: NatsServers,
    pub secret_key: SecretKey,
}

/// What changes the tables, as their owner.
#[derive(Clone, Debug)]
pub enum Tables {
    /// The file in the folder.
    Embedded(PathBuf),
    Postgres {
        /// The role that serves.
        serving: SecretString,
        /// `None`: the role that serves owns them, too.
        owner: Option<SecretString>,
    },
}

/// `[storage]` as far as it could be read, and is needed.
pub(super) struct Storages {
    pub(super) storage: Read<Storage>,
    pub(super) nats: Read<NatsServers>,
    pub(super) tables: Read<Tables>,
}

/// One or more URLs of one NATS cluster; they may hold credentials.
#[derive(Clone, Debug)]
pub struct NatsServers(Vec<SecretString>);

impl NatsServers {
    pub fn urls(&self) -> &[SecretString] {
        &self.0
    }
}

/// Where the end of the history is noted outside of the database, so that a database that was
/// restored from an older backup is noticed.
pub(super) fn read_witness(section: &Section<'_>) -> Read<Option<PathBuf>> {
    section.optional("witness", |field| {
        let path = field.parse(folder_name)?;
        Ok(section.base_dir().join(path))
    })
}

/// The queue stands beside the storage, because a receiver needs nothing else of it, and so do the
/// tables for their owner.
pub(super) fn read(section: &Section<'_>, role: Role) -> Storages {
    let dir = section.field("dir");
    let postgres = section.field("postgres");
    let owner = section.field("postgres_owner");
    let nats = section.field("nats");
    let secret_key = section.field("secret_key");
    section.refuse_unknown_keys();

    let key = secret_key.map(|field| {
        let text = field.worker_secret()?;
        SecretKey::parse(&text).map_err(|error| field.problem(&error))
    });
    if let (None, Some(owner)) = (&postgres, &owner) {
        let refusal = owner.problem(&"has a use beside postgres only: it owns the tables there");
        return Storages::none(refusal);
    }
    let (postgres, nats) = match (dir, postgres, nats) {
        (None, Some(postgres), Some(nats)) => (postgres, nats),
        (dir, None, None) => {
            let dir = dir.map_or(Ok(DEFAULT_DIR.to_owned()), |dir| dir.parse(folder_name));
            let queue = match role {
                Role::All | Role::Files | Role::Owner => Err(Absent),
                Role::Receiver => Err(section.problem(
                    &"a process that only receives needs postgres and nats: an embedded installation is one process",
                )),
            };
            let dir = dir.map(|dir| section.base_dir().join(dir));
            let tables = dir.clone().map(Tables::Embedded);
            let storage = match (dir, key.transpose()) {
                (Ok(dir), Ok(secret_key)) => Ok(Storage::Embedded(Embedded { dir, secret_key })),
                _ => Err(Absent),
            };
            return Storages {
                storage,
                nats: queue,
                tables,
            };
        }
        (Some(dir), _, _) => {
            let refusal = dir.problem(
                &"either dir (everything in one folder) or postgres and nats (scaled out); there is no mixture",
            );
            return Storages::none(refusal);
        }
        (None, Some(postgres), None) => {
            let refusal = postgres.problem(
                &"needs nats beside it: receivers reach the workers through the queue, not through the database",
            );
            return Storages::none(refusal);
        }
        (None, None, Some(nats)) => {
            let refusal = nats.problem(
                &"needs postgres beside it: the queue carries messages, the history is kept in the database",
            );
            return Storages::none(refusal);
        }
    };

    let key = key.unwrap_or_else(|| section.required("secret_key").and(Err(Absent)));
    let has_owner = owner.is_some();
    let postgres = read_postgres(&postgres, &[Role::All, Role::Owner]);
    let owner = owner.map(|owner| read_postgres(&owner, &[Role::Owner]));
    let tables = match (&postgres, owner.transpose()) {
        (Ok(serving), Ok(owner)) => Ok(Tables::Postgres {
            serving: serving.clone(),
            owner,
        }),
        _ => Err(Absent),
    };
    let nats = read_nats(&nats);
    let storage = match (postgres, &nats, key) {
        (Ok(postgres), Ok(nats), Ok(secret_key)) => Ok(Storage::ScaledOut(ScaledOut {
            postgres,
            has_owner,
            nats: nats.clone(),
            secret_key,
        })),
        _ => Err(Absent),
    };
    Storages {
        storage,
        nats,
        tables,
    }
}

impl Storages {
    fn none(refusal: Absent) -> Self {
        Self {
            storage: Err(refusal),
            nats: Err(refusal),
            tables: Err(refusal),
        }
    }
}

fn read_postgres(field: &Field<'_>, roles: &[Role]) -> Read<SecretString> {
    let url = field.secret_of(roles)?;
    let scheme_is_known = Url::parse(url.expose_secret().trim())
        .is_ok_and(|url| matches!(url.scheme(), "postgres" | "postgresql"));
    if scheme_is_known {
        Ok(url.expose_secret().trim().into())
    } else {
        Err(field.problem(&"what it refers to is not a postgres:// URL"))
    }
}

/// In the file an address may stand as it is, as long as it holds no credentials.
fn read_nats(field: &Field<'_>) -> Read<NatsServers> {
    if field.is_text() {
        return field.parse(|text| {
            for url in text.split(',') {
                parse_url(url.trim())?;
            }
            nats_servers(text)
        });
    }
    let urls = field.secret()?;
    nats_servers(urls.expose_secret()).map_err(|error| field.problem(&error))
}

fn nats_servers(text: &str) -> Result<NatsServers, String> {
    let server = |url: &str| {
        let is_nats = Url::parse(url)
            .is_ok_and(|url| matches!(url.scheme(), "nats" | "tls") && url.has_host());
        is_nats.then(|| SecretString::from(url))
    };
    text.split(',')
        .map(|url| server(url.trim()))
        .collect::<Option<_>>()
        .map(NatsServers)
        .ok_or_else(|| "must be nats:// or tls:// URLs, parted by commas".to_owned())
}

fn folder_name(text: &str) -> Result<String, &'static str> {
    if text.is_empty() {
        Err("must not be empty")
    } else {
        Ok(text.to_owned())
    }
}
