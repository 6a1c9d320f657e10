//! The file and the environment become a [`Config`] in which nothing can be wrong: every value is parsed into
//! a type of its own, every name that is referred to exists, every secret is there. All problems are
//! reported at once, each with its line and key.
//!
//! Secrets stand outside the file; the file only says where. This module never writes anything, never opens a
//! connection, and never puts a secret into a problem's text or into `Debug`.

mod audit;
mod certificate;
mod notify;
mod person;
mod problem;
mod reader;
mod repository;
mod secret_key;
mod server;
mod source;
mod stack;
mod storage;
mod target;
mod values;
mod vault;
mod webhook;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use toml::de::DeTable;

use self::reader::{Absent, Read, Reader, Role};
pub use self::{
    audit::{Audit, CheckpointSink},
    certificate::Certificate,
    notify::{Address, Notify, Receiver, StackNames},
    person::Person,
    problem::{ConfigErrors, Problem},
    repository::{CommitStatuses, Repository, RepositoryUrl, RepositoryWebhook},
    secret_key::{InvalidSecretKey, SecretKey},
    server::Server,
    source::{SecretSource, Source, VaultField},
    stack::{DriftPolicy, FileFilter, Protect, RepositoryPath, Stack},
    storage::{Embedded, NatsServers, ScaledOut, Storage, Tables},
    target::{Target, node_address},
    values::Name,
    vault::{Login, Vault},
    webhook::Webhook,
};

/// What `parse` calls the file in its problems, and where commands look for it.
pub const FILE_NAME: &str = "lockstep.toml";

/// Looks up a variable; a test passes its own.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

#[derive(Clone, Debug)]
pub struct Config {
    pub server: Server,
    pub storage: Storage,
    /// A file that notes where the history ends, best on another disk than the database.
    pub witness: Option<PathBuf>,
    pub webhooks: BTreeMap<Name, Webhook>,
    pub repositories: BTreeMap<Name, Repository>,
    pub targets: BTreeMap<Name, Target>,
    pub stacks: BTreeMap<Name, Stack>,
    /// Certificates that the manifests of every stack may refer to.
    pub certificates: BTreeMap<Name, Certificate>,
    /// Where secrets of stacks may be.
    pub vault: Option<Vault>,
    pub people: BTreeMap<Name, Person>,
    pub notify: BTreeMap<Name, Notify>,
    pub audit: Audit,
    hash: String,
    keys: Keys,
}

/// What the file says, by dotted key. Never printed: an address may be a secret.
#[derive(Clone)]
struct Keys(BTreeMap<String, String>);

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(…)")
    }
}

/// What a process that only receives needs of the same file. The references of all other parts are checked
/// for their form but not followed, so that it holds no secret of a database, repository or target.
#[derive(Clone, Debug)]
pub struct ReceiverConfig {
    pub server: Server,
    pub nats: NatsServers,
    pub webhooks: BTreeMap<Name, Webhook>,
    hash: String,
}

/// What checking manifests needs of the same file. No reference is followed, so that a pipeline
/// holds no secret for it.
#[derive(Clone, Debug)]
pub struct ManifestConfig {
    pub stacks: BTreeMap<Name, Stack>,
    /// The organisation that each target serves.
    pub orgs: BTreeMap<Name, String>,
    pub certificates: Vec<Name>,
}

impl ManifestConfig {
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        let text = problem::read_file(path)?;
        Self::parse(&text, folder_of(path)).map_err(|errors| errors.of_file(path))
    }

    pub fn parse(text: &str, base_dir: &Path) -> Result<Self, ConfigErrors> {
        let reader = Reader::new(text, base_dir, &|_| None, Role::Files);
        let config = read(&reader, |parts| {
            Ok(Self {
                stacks: parts.stacks,
                orgs: parts.orgs,
                certificates: parts.certificate_names,
            })
        });
        reader.finish(config)
    }
}

/// What whoever owns the database's tables needs of the same file, to bring them up to date. It holds
/// no secret of anything else.
#[derive(Clone, Debug)]
pub struct OwnerConfig {
    pub tables: Tables,
}

impl Config {
    pub fn load(path: &Path, env: Environment<'_>) -> Result<Self, ConfigErrors> {
        let text = problem::read_file(path)?;
        Self::parse(&text, folder_of(path), env).map_err(|errors| errors.of_file(path))
    }

    /// `base_dir` is where relative paths start: the folder of the file.
    pub fn parse(text: &str, base_dir: &Path, env: Environment<'_>) -> Result<Self, ConfigErrors> {
        let reader = Reader::new(text, base_dir, env, Role::All);
        let config = read(&reader, |parts| {
            Ok(Self {
                server: parts.server?,
                storage: parts.storage?,
                witness: parts.witness?,
                webhooks: parts.webhooks,
                repositories: parts.repositories,
                targets: parts.targets,
                stacks: parts.stacks,
                certificates: parts.certificates,
                vault: parts.vault?,
                people: parts.people,
                notify: parts.notify,
                audit: parts.audit?,
                hash: parts.hash,
                keys: parts.keys,
            })
        });
        reader.finish(config)
    }

    /// Names the content of the file without its comments and layout, in lower-case hex. It depends on no
    /// secret: the file holds none. It does depend on the names of variables and files that hold them.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// What the file says, key by key, as the hash sees it. The keys are dotted.
    pub fn keys(&self) -> &BTreeMap<String, String> {
        &self.keys.0
    }
}

impl ReceiverConfig {
    pub fn load(path: &Path, env: Environment<'_>) -> Result<Self, ConfigErrors> {
        let text = problem::read_file(path)?;
        Self::parse(&text, folder_of(path), env).map_err(|errors| errors.of_file(path))
    }

    pub fn parse(text: &str, base_dir: &Path, env: Environment<'_>) -> Result<Self, ConfigErrors> {
        let reader = Reader::new(text, base_dir, env, Role::Receiver);
        let config = read(&reader, |parts| {
            Ok(Self {
                server: parts.server?,
                nats: parts.nats?,
                webhooks: parts.webhooks,
                hash: parts.hash,
            })
        });
        reader.finish(config)
    }

    /// The same as [`Config::hash`] of the same file.
    pub fn hash(&self) -> &str {
        &self.hash
    }
}

impl OwnerConfig {
    pub fn load(path: &Path, env: Environment<'_>) -> Result<Self, ConfigErrors> {
        let text = problem::read_file(path)?;
        Self::parse(&text, folder_of(path), env).map_err(|errors| errors.of_file(path))
    }

    pub fn parse(text: &str, base_dir: &Path, env: Environment<'_>) -> Result<Self, ConfigErrors> {
        let reader = Reader::new(text, base_dir, env, Role::Owner);
        let config = read(&reader, |parts| {
            Ok(Self {
                tables: parts.tables?,
            })
        });
        reader.finish(config)
    }
}

/// Every part that could be read; a part that is missing from a map has left a problem behind, or is not
/// needed for the reader's role.
struct Parts {
    server: Read<Server>,
    storage: Read<Storage>,
    witness: Read<Option<PathBuf>>,
    nats: Read<NatsServers>,
    tables: Read<Tables>,
    webhooks: BTreeMap<Name, Webhook>,
    repositories: BTreeMap<Name, Repository>,
    targets: BTreeMap<Name, Target>,
    stacks: BTreeMap<Name, Stack>,
    orgs: BTreeMap<Name, String>,
    certificates: BTreeMap<Name, Certificate>,
    certificate_names: Vec<Name>,
    vault: Read<Option<Vault>>,
    people: BTreeMap<Name, Person>,
    notify: BTreeMap<Name, Notify>,
    audit: Read<Audit>,
    hash: String,
    keys: Keys,
}

fn read<T>(reader: &Reader<'_>, assemble: impl FnOnce(Parts) -> Read<T>) -> Read<T> {
    let (document, syntax_errors) = DeTable::parse_recoverable(reader.text());
    if !syntax_errors.is_empty() {
        // What follows from a broken line is noise; the lines themselves are what must be mended first.
        for error in syntax_errors {
            reader.syntax_problem(&error);
        }
        return Err(Absent);
    }
    let root = reader.root(document.get_ref());

    let server = server::read(&root.section("server"));
    let storage_section = root.section("storage");
    let witness = storage::read_witness(&storage_section);
    let storage::Storages {
        storage,
        nats,
        tables,
    } = storage::read(&storage_section, reader.role());
    let webhooks = root.named_sections("webhook");
    let repositories = root.named_sections("repository");
    let targets = root.named_sections("target");
    let stacks = root.named_sections("stack");
    let certificates = root.named_sections("certificate");
    let vault = root.table("vault");
    let people = root.named_sections("person");
    let notify = root.named_sections("notify");
    let audit_section = root.section("audit");
    let audit_sinks = audit_section.named_sections("sink");
    root.refuse_unknown_keys();

    let approvals = stack::Approvals {
        // Whoever only reads manifests approves nothing.
        is_embedded: reader.role() == Role::Files || matches!(storage, Ok(Storage::Embedded(_))),
        people: people.names().len(),
    };
    let vault = match vault {
        Ok(Some(section)) => vault::read(&section).map(Some),
        Ok(None) => Ok(None),
        Err(absent) => Err(absent),
    };
    let parts = Parts {
        server,
        storage,
        witness,
        nats,
        tables,
        repositories: repositories.read(|section| repository::read(section, &webhooks.names())),
        stacks: stacks.read(|section| {
            stack::read(section, &repositories.names(), &targets.names(), approvals)
        }),
        certificate_names: certificates.names().into_iter().cloned().collect(),
        certificates: certificates.read(certificate::read),
        vault,
        people: people.read(person::read),
        notify: notify.read(|section| notify::read(section, &stacks.names())),
        webhooks: webhooks.read(webhook::read),
        targets: targets.read(target::read),
        orgs: match reader.role() {
            Role::Files => targets.read(target::read_org),
            Role::All | Role::Receiver | Role::Owner => BTreeMap::new(),
        },
        audit: audit::read(&audit_section, &audit_sinks),
        hash: reader::canonical_hash(document.get_ref()),
        keys: Keys(reader::canonical_keys(document.get_ref())),
    };
    target::refuse_shared_nodes(&targets, &parts.targets);
    stack::refuse_twins(&stacks, &parts.stacks);
    stack::refuse_vault_without_section(&stacks, &parts.stacks, &parts.vault);
    person::refuse_shared_names(&people, &parts.people);
    assemble(parts)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}
