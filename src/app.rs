//! What a running process holds: configuration, store, queue, caches and clients, put together
//! once.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use url::Url;

use crate::{
    config::{
        self, Config, DriftPolicy, Embedded, Protect, ScaledOut, SecretKey, SecretSource,
        StackNames, Storage, Tables,
    },
    domain::{
        approval::Identity,
        audit::{
            checkpoint::{SigningKey, VerifierKey},
            event::{Actor, EventType, NewEvent},
            trace::TraceId,
        },
        notice::News,
        plan::Rules,
        run::RunId,
        secrets::Masker,
        window::Freeze,
    },
    git::{self, BranchName, Location, Mirrors, Remote, RepoPath, Selection},
    keys::InstallationKey,
    manifest::{self, Environment, Keyless, NamedCertificate},
    metrics::Metrics,
    notify::{self, GitHost, GitHub, GitLab, Place, Receiver, Sender, Slack, Webhook},
    queue::JetStream,
    store::{self, LocalQueue, Migration, PgOptions, QueueLimits, StackState, StackTarget, Store},
    tyk::gateway,
    vault::Vault,
    webhook::{Host, RepositoryName},
};

/// A Tyk installation as it is reached at one of its nodes. Each node is read, applied, reloaded
/// and verified on its own, under the one lease of the target.
#[derive(Debug)]
pub struct Target {
    pub name: String,
    /// Names the node in the inventory and in runs: the first is "", as that of a target of one.
    pub node: String,
    /// The node for people: host and port.
    pub address: String,
    pub client: gateway::Client,
    /// The other nodes, in their order; they have none themselves.
    pub peers: Vec<Arc<Target>>,
    pub org: Option<String>,
    pub write_timeout: Duration,
    pub allow_jwt_document_reads: bool,
    pub drift_interval: Duration,
}

impl Target {
    /// How much of the lease a write needs.
    pub fn write_needs(&self) -> Duration {
        self.write_timeout
    }

    /// Every node in its order, this one first.
    pub fn nodes(self: &Arc<Self>) -> impl Iterator<Item = Arc<Self>> {
        std::iter::once(self.clone()).chain(self.peers.iter().cloned())
    }
}

/// A repository, branch and path bound to a target, with its rules.
#[derive(Debug, Clone)]
pub struct Stack {
    pub name: String,
    /// The repository's name in the configuration.
    pub repository: String,
    /// Which deliveries concern it: a webhook's name, and the host's name of the repository.
    pub announced_by: Option<(String, RepositoryName)>,
    pub remote: Remote,
    pub branch: BranchName,
    pub path: RepoPath,
    pub selection: Selection,
    pub environment: Environment,
    pub sweep_interval: Duration,
    pub target: Arc<Target>,
    pub drift: DriftPolicy,
    pub rules: Rules,
    pub protect: Protect,
    pub freeze: Freeze,
    pub min_approvers: usize,
    pub allow_local_approval: bool,
    /// In microseconds.
    pub approval_valid: i64,
    /// Where the secrets are that its manifests may refer to, by name.
    pub secrets: Arc<BTreeMap<String, SecretSource>>,
    pub keyless: Keyless,
    pub strict: bool,
}

impl Stack {
    /// How it stands before anybody asked for it.
    pub fn fresh_state(&self) -> StackState {
        StackState::new(&self.id())
    }

    /// The same stack, with its target as it is reached at one of its nodes.
    #[must_use]
    pub fn at(&self, node: &Arc<Target>) -> Self {
        Self {
            target: node.clone(),
            ..self.clone()
        }
    }

    pub fn id(&self) -> StackTarget {
        StackTarget {
            stack: self.name.clone(),
            target: self.target.name.clone(),
        }
    }
}

/// Somebody who is told of the history's news.
#[derive(Debug)]
pub struct Sink {
    /// The section that it is configured in: `notify.NAME` or `repository.NAME`.
    pub name: String,
    pub tells: Tells,
}

/// What a sink is told, and by whom.
#[derive(Debug)]
pub enum Tells {
    /// Notices of some kinds, about some stacks.
    Notices {
        receiver: Receiver,
        news: BTreeSet<News>,
        stacks: StackNames,
    },
    /// How the commits of a repository stand, at its host.
    Commits { repository: String, host: GitHost },
}

/// What signs the history's checkpoints, and where they are sent.
#[derive(Debug, Default)]
pub struct Audit {
    pub signing_key: Option<Arc<SigningKey>>,
    /// Signs beside the new one, once.
    pub previous_signing_key: Option<Arc<SigningKey>>,
    pub sinks: Vec<Arc<CheckpointSink>>,
    /// How long an event stays in the history at least, in microseconds.
    pub retention: i64,
}

impl Audit {
    /// What verifies that this installation signed.
    pub fn verifier_keys(&self) -> Vec<VerifierKey> {
        let keys = self.signing_key.iter().chain(&self.previous_signing_key);
        keys.map(|key| key.verifier().clone()).collect()
    }
}

/// Where checkpoints are sent.
#[derive(Debug)]
pub struct CheckpointSink {
    /// The section that it is configured in: `audit.sink.NAME`.
    pub name: String,
    pub keeps: Keeps,
}

#[derive(Debug)]
pub enum Keeps {
    File(PathBuf),
    /// On this machine or on a Git host.
    Git {
        remote: Remote,
        branch: BranchName,
    },
    Webhook(Webhook),
}

/// Where pushes wait: a table of the embedded store, or JetStream.
#[derive(Clone)]
pub enum Queue {
    Local(LocalQueue),
    JetStream(JetStream),
}

/// Everything a worker needs. Cloning shares it.
#[derive(Clone)]
pub struct App {
    pub store: Store,
    pub queue: Queue,
    pub mirrors: Mirrors,
    pub key: InstallationKey,
    pub masker: Masker,
    pub metrics: Metrics,
    /// Names this process in leases and in the history.
    pub worker: String,
    /// How long a head that is older than what was pushed is put down to a lagging replica.
    pub lag_patience: Duration,
    /// Microseconds since 1970, UTC.
    pub clock: fn() -> i64,
    pub stacks: Arc<BTreeMap<String, Arc<Stack>>>,
    pub targets: Arc<BTreeMap<String, Arc<Target>>>,
    /// Certificates that the manifests of every stack may refer to, by name.
    pub certificates: Arc<BTreeMap<String, config::Certificate>>,
    /// Where secrets of stacks may be.
    pub vault: Option<Vault>,
    /// Who may approve, by name.
    pub people: Arc<BTreeMap<String, Identity>>,
    pub sinks: Arc<Vec<Arc<Sink>>>,
    pub audit: Arc<Audit>,
    /// For how long news is told, and tried to be told.
    pub news_patience: Duration,
    /// Where a person can read more.
    pub place: Place,
    pub config_hash: String,
    /// A name for what every key of the configuration says, by the dotted key.
    pub config_keys: Arc<BTreeMap<String, String>>,
    /// Where the end of the history is noted outside of the database.
    pub witness: Option<PathBuf>,
    /// Where the embedded store, or this process's caches, lie.
    pub folder: PathBuf,
}

impl App {
    /// Opens what the configuration names. The database must answer; the queue, the Git hosts and
    /// the targets need not yet.
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        let opened = match &config.storage {
            Storage::Embedded(embedded) => open_embedded(embedded).await?,
            Storage::ScaledOut(scaled_out) => {
                open_scaled_out(scaled_out, open_database(scaled_out).await?).await?
            }
        };
        Self::assemble(config, opened).await
    }

    /// The same as the owner of the database's tables, for what the serving role may not do.
    pub async fn open_as_owner(config: &Config, tables: &Tables) -> anyhow::Result<Self> {
        match (&config.storage, tables) {
            (
                Storage::ScaledOut(scaled_out),
                Tables::Postgres {
                    owner: Some(owner), ..
                },
            ) => {
                let store = Store::postgres_migrated(owner, &PgOptions::default())
                    .await
                    .context("cannot open the database as its owner")?;
                Self::assemble(config, open_scaled_out(scaled_out, store).await?).await
            }
            _ => Self::open(config).await,
        }
    }

    async fn assemble(config: &Config, opened: Opened) -> anyhow::Result<Self> {
        let (store, queue, key, folder) = opened;
        let audit = audit(config, &store).await?;
        let targets = targets(config)?;
        let stacks = stacks(config, &targets)?;
        let certificates = config
            .certificates
            .iter()
            .map(|(name, certificate)| (name.as_str().to_owned(), certificate.clone()))
            .collect();
        let vault = config.vault.as_ref().map(Vault::new).transpose();
        let people = config
            .people
            .iter()
            .map(|(name, person)| (name.as_str().to_owned(), person.identity.clone()))
            .collect();
        let config_keys = config
            .keys()
            .iter()
            .map(|(path, text)| (path.clone(), key.name_of("config", path, text)))
            .collect();
        let app = Self {
            mirrors: Mirrors::new(folder.join("git"), git::Limits::default()),
            masker: key.masker(),
            store,
            queue,
            key,
            metrics: Metrics::default(),
            worker: worker_name(),
            lag_patience: Duration::from_secs(30),
            clock: now,
            stacks: Arc::new(stacks),
            targets: Arc::new(targets),
            certificates: Arc::new(certificates),
            vault: vault.context("cannot make the client for Vault")?,
            people: Arc::new(people),
            sinks: Arc::new(sinks(config, notify::Options::default())?),
            audit: Arc::new(audit),
            news_patience: Duration::from_hours(24),
            place: Place(config.server.public_url.clone()),
            config_hash: config.hash().to_owned(),
            config_keys: Arc::new(config_keys),
            witness: config.witness.clone(),
            folder,
        };
        note_migrations(&app.store, &app.worker).await?;
        Ok(app)
    }

    /// Microseconds since 1970, UTC.
    pub fn now(&self) -> i64 {
        (self.clock)()
    }

    /// What manifests are read with for a target: folders are where their files are from. Reads the
    /// certificates of the configuration.
    pub fn manifest_options(&self, target: &Target, folders: Vec<String>) -> manifest::Options {
        let certificates = self
            .certificates
            .iter()
            .map(|(name, certificate)| {
                let read = match certificate.text() {
                    Ok(text) => NamedCertificate::Text(text),
                    Err(why) => NamedCertificate::Unreadable(why),
                };
                (name.clone(), read)
            })
            .collect();
        manifest::Options {
            org: target.org.clone(),
            certificates,
            folders,
            now: jiff::Timestamp::from_microsecond(self.now()).ok(),
            ..manifest::Options::default()
        }
    }

    /// An event that happens now, with the process that records it and its version.
    pub fn event(&self, event_type: EventType, actor: Actor, payload: Value) -> NewEvent {
        event_of(&self.worker, event_type, self.now(), actor, payload)
    }

    /// This process as an actor.
    pub fn actor(&self) -> Actor {
        Actor::new("worker", self.worker.clone())
    }

    pub fn new_run_id(&self) -> RunId {
        RunId(uuid::Uuid::now_v7().to_string())
    }

    pub fn stack(&self, name: &str) -> Option<&Arc<Stack>> {
        self.stacks.get(name)
    }

    /// The stacks that a push to a branch of a repository concerns.
    pub fn stacks_of<'a>(
        &'a self,
        webhook: &'a str,
        repository: &'a RepositoryName,
        branch: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Stack>> {
        self.stacks.values().filter(move |stack| {
            stack.branch.as_str() == branch
                && stack
                    .announced_by
                    .as_ref()
                    .is_some_and(|(name, full_name)| name == webhook && full_name == repository)
        })
    }
}

fn event_of(
    worker: &str,
    event_type: EventType,
    at: i64,
    actor: Actor,
    payload: Value,
) -> NewEvent {
    NewEvent::new(event_type, at, actor, payload)
        .with("worker", worker)
        .with("version", env!("CARGO_PKG_VERSION"))
}

/// Brings the tables up to date as their owner, gives the serving role its rights, and puts on
/// record what was applied and is not on record yet: that is what it answers.
pub async fn migrate(tables: &Tables) -> anyhow::Result<Vec<Migration>> {
    let options = PgOptions::default();
    let store = match tables {
        Tables::Embedded(dir) => Store::embedded(dir)
            .await
            .with_context(|| format!("cannot open the data folder {}", dir.display()))?,
        Tables::Postgres {
            serving,
            owner: None,
        } => Store::postgres(serving, &options)
            .await
            .context("cannot open the database")?,
        Tables::Postgres {
            serving,
            owner: Some(owner),
        } => {
            let role = store::role_of(serving)?;
            anyhow::ensure!(
                role != store::role_of(owner)?,
                "storage.postgres and storage.postgres_owner are both the role {role}: the role that \
                 serves must be another one than the owner of the tables"
            );
            Store::postgres_owned(owner, &options, &role)
                .await
                .context("cannot bring the tables up to date as their owner")?
        }
    };
    let applied = note_migrations(&store, &worker_name()).await?;
    store.close().await;
    Ok(applied)
}

/// Puts on record which migrations were applied and are not on record yet, by whichever process.
async fn note_migrations(store: &Store, worker: &str) -> anyhow::Result<Vec<Migration>> {
    let told = |applied: &[Migration]| {
        let payload = json!({"migrations": applied});
        let actor = Actor::new("worker", worker);
        event_of(worker, EventType::MigrationsApplied, now(), actor, payload)
    };
    store
        .note_migrations(told)
        .await
        .context("cannot record the migrations")
}

/// Microseconds since 1970, UTC.
pub fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Whether a worker of this machine does not run any more, by the name that it gave itself.
fn is_dead(worker: &str) -> bool {
    let Some(rest) = worker.strip_prefix(&format!("{}-", host_name())) else {
        return false;
    };
    let process = rest.split('-').next().unwrap_or_default();
    let is_number = !process.is_empty() && process.bytes().all(|byte| byte.is_ascii_digit());
    is_number
        && std::path::Path::new("/proc/self").exists()
        && !std::path::Path::new("/proc").join(process).exists()
}

fn host_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    if host.is_empty() { "worker" } else { host }.to_owned()
}

/// Names something that no request of others has named.
pub fn new_trace() -> TraceId {
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random).expect("the operating system gives random bytes");
    TraceId::new(random)
}

/// Unique to this process: two on one machine, or one after the other, are two workers.
pub fn worker_name() -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("{}-{}-{}", host_name(), std::process::id(), &random[..6])
}

type Opened = (Store, Queue, InstallationKey, PathBuf);

async fn open_embedded(embedded: &Embedded) -> anyhow::Result<Opened> {
    let dir = &embedded.dir;
    let store = Store::embedded(dir)
        .await
        .with_context(|| format!("cannot open the data folder {}", dir.display()))?;
    let key = match &embedded.secret_key {
        Some(key) => installation_key(key)?,
        None => InstallationKey::new(*store.installation_key_embedded(dir).await?.expose_secret()),
    };
    store.check_key(key.bytes()).await?;
    // One folder is one machine: a process that was killed here needs no lease to run out.
    store.end_leases_of(is_dead).await?;
    let queue = Queue::Local(store.local_queue(QueueLimits::default())?);
    Ok((store, queue, key, dir.clone()))
}

/// As the role that serves. Where another one owns the tables, this one must not be able to.
async fn open_database(scaled_out: &ScaledOut) -> anyhow::Result<Store> {
    let (url, options) = (&scaled_out.postgres, PgOptions::default());
    let cannot = "cannot open the database";
    if !scaled_out.has_owner {
        return Store::postgres(url, &options).await.context(cannot);
    }
    let store = Store::postgres_migrated(url, &options)
        .await
        .context(cannot)?;
    if store.owns_its_tables().await.context(cannot)? {
        return Err(store::Error::Owner(store::role_of(url)?)).context(cannot);
    }
    Ok(store)
}

async fn open_scaled_out(scaled_out: &ScaledOut, store: Store) -> anyhow::Result<Opened> {
    let key = installation_key(&scaled_out.secret_key)?;
    store.check_key(key.bytes()).await?;
    let queue = Queue::JetStream(jetstream(scaled_out.nats.urls())?);
    // Caches can be made anew at any time, so they lie where the machine keeps such things.
    let folder = cache_folder();
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    Ok((store, queue, key, folder))
}

pub fn jetstream(urls: &[secrecy::SecretString]) -> anyhow::Result<JetStream> {
    let joined: Vec<&str> = urls.iter().map(ExposeSecret::expose_secret).collect();
    let options = crate::queue::Options::new(joined.join(",").into());
    Ok(JetStream::connect(options)?)
}

fn cache_folder() -> PathBuf {
    std::env::temp_dir().join(format!("lockstep-{}", std::process::id()))
}

fn installation_key(key: &SecretKey) -> anyhow::Result<InstallationKey> {
    let bytes: [u8; 32] = key
        .expose_bytes()
        .try_into()
        .context("the secret key must be 32 bytes")?;
    Ok(InstallationKey::new(bytes))
}

fn targets(config: &Config) -> anyhow::Result<BTreeMap<String, Arc<Target>>> {
    let mut targets = BTreeMap::new();
    for (name, target) in &config.targets {
        let at = |url: &Url, is_first: bool, peers: Vec<Arc<Target>>| {
            let mut options = gateway::Options::new(url.clone(), target.secret.clone());
            options.read_timeout = target.read_timeout;
            options.write_timeout = target.write_timeout;
            let client = gateway::Client::new(options)
                .with_context(|| format!("target.{name}: cannot make its client"))?;
            let address = config::node_address(url);
            anyhow::Ok(Target {
                name: name.as_str().to_owned(),
                node: if is_first {
                    String::new()
                } else {
                    address.clone()
                },
                address,
                client,
                peers,
                org: Some(target.org.clone()),
                write_timeout: target.write_timeout,
                allow_jwt_document_reads: target.allow_jwt_document_reads,
                drift_interval: target.drift_interval,
            })
        };
        let (first, others) = target
            .nodes
            .split_first()
            .with_context(|| format!("target.{name} has no node"))?;
        let peers = others
            .iter()
            .map(|url| Ok(Arc::new(at(url, false, Vec::new())?)))
            .collect::<anyhow::Result<_>>()?;
        let first = at(first, true, peers)?;
        targets.insert(first.name.clone(), Arc::new(first));
    }
    Ok(targets)
}

fn stacks(
    config: &Config,
    targets: &BTreeMap<String, Arc<Target>>,
) -> anyhow::Result<BTreeMap<String, Arc<Stack>>> {
    let mut stacks = BTreeMap::new();
    for (name, stack) in &config.stacks {
        let place = || format!("stack.{name}");
        let repository = config
            .repositories
            .get(&stack.repository)
            .with_context(place)?;
        let target = targets.get(stack.target.as_str()).with_context(place)?;
        let announced_by = repository.webhook.as_ref().map(|webhook| {
            (
                webhook.webhook.as_str().to_owned(),
                webhook.full_name.clone(),
            )
        });
        let built = Stack {
            name: name.as_str().to_owned(),
            repository: stack.repository.as_str().to_owned(),
            announced_by,
            remote: Remote {
                location: Location::parse(repository.url.as_str()).with_context(place)?,
                token: repository.token.clone(),
            },
            branch: stack.branch.as_str().parse().with_context(place)?,
            path: stack.path.as_str().parse().with_context(place)?,
            selection: Selection::new(stack.files.include(), stack.files.exclude())
                .with_context(place)?,
            environment: stack.environment.clone(),
            sweep_interval: repository.sweep,
            target: target.clone(),
            drift: stack.drift,
            rules: Rules {
                prune: stack.prune,
                deletion_limit: usize::try_from(stack.deletion_limit).unwrap_or(usize::MAX),
                require_approval: stack.require_approval,
                drift_waits: stack.drift == DriftPolicy::Approve,
            },
            protect: stack.protect.clone(),
            freeze: stack.freeze.clone(),
            min_approvers: usize::try_from(stack.min_approvers).unwrap_or(usize::MAX),
            allow_local_approval: stack.allow_local_approval,
            approval_valid: i64::try_from(stack.approval_valid.as_micros()).unwrap_or(i64::MAX),
            secrets: Arc::new(stack.secrets.clone()),
            keyless: stack.keyless,
            strict: stack.strict,
        };
        stacks.insert(built.name.clone(), Arc::new(built));
    }
    Ok(stacks)
}

/// An embedded installation that names no key keeps one in its folder.
async fn audit(config: &Config, store: &Store) -> anyhow::Result<Audit> {
    let config::Audit {
        signing_key,
        previous_signing_key,
        sinks,
        retention,
    } = &config.audit;
    let signing_key = match (signing_key, &config.storage) {
        (None, Storage::Embedded(embedded)) => {
            Some(Arc::new(store.signing_key_embedded(&embedded.dir).await?))
        }
        (signing_key, _) => signing_key.clone(),
    };
    let sender = Sender::new(notify::Options::default())
        .context("cannot make the client for checkpoints")?;
    let sinks = sinks
        .iter()
        .map(|(name, sink)| {
            let name = format!("audit.sink.{name}");
            let keeps = keeps(sink, &sender).with_context(|| name.clone())?;
            Ok(Arc::new(CheckpointSink { name, keeps }))
        })
        .collect::<anyhow::Result<_>>()?;
    Ok(Audit {
        signing_key,
        previous_signing_key: previous_signing_key.clone(),
        sinks,
        retention: i64::try_from(retention.as_micros()).unwrap_or(i64::MAX),
    })
}

fn keeps(sink: &config::CheckpointSink, sender: &Sender) -> anyhow::Result<Keeps> {
    Ok(match sink {
        config::CheckpointSink::File(path) => Keeps::File(path.clone()),
        config::CheckpointSink::Git {
            repository,
            token,
            branch,
        } => Keeps::Git {
            remote: Remote {
                location: Location::parse(repository.as_str())?,
                token: token.clone(),
            },
            branch: branch.as_str().parse()?,
        },
        config::CheckpointSink::Webhook { address, key } => Keeps::Webhook(Webhook::new(
            sender.clone(),
            address.url().clone(),
            key.clone(),
        )),
    })
}

/// Everybody who is told of news.
pub fn sinks(config: &Config, options: notify::Options) -> anyhow::Result<Vec<Arc<Sink>>> {
    let sender = Sender::new(options).context("cannot make the client for notices")?;
    let mut sinks = Vec::new();
    for (name, notify) in &config.notify {
        let receiver = match &notify.receiver {
            config::Receiver::Webhook { address, key } => Receiver::Webhook(Webhook::new(
                sender.clone(),
                address.url().clone(),
                key.clone(),
            )),
            config::Receiver::Slack { address } => {
                Receiver::Slack(Slack::new(sender.clone(), address.url().clone()))
            }
        };
        sinks.push(Arc::new(Sink {
            name: format!("notify.{name}"),
            tells: Tells::Notices {
                receiver,
                news: notify.events.clone(),
                stacks: notify.stacks.clone(),
            },
        }));
    }
    for (name, repository) in &config.repositories {
        let (Some(status), Some(announced)) = (&repository.status, &repository.webhook) else {
            continue;
        };
        let place = || format!("repository.{name}.status");
        let webhook = config
            .webhooks
            .get(&announced.webhook)
            .with_context(place)?;
        let host = webhook.secrets.scheme().host();
        let api = repository.status_api(host).with_context(place)?;
        let (full_name, token) = (announced.full_name.clone(), status.token.clone());
        let sender = sender.clone();
        let host = match host {
            Host::GitHub => GitHost::GitHub(GitHub::new(sender, api, full_name, token)),
            Host::GitLab => GitHost::GitLab(GitLab::new(sender, api, full_name, token)),
        };
        sinks.push(Arc::new(Sink {
            name: format!("repository.{name}"),
            tells: Tells::Commits {
                repository: name.as_str().to_owned(),
                host,
            },
        }));
    }
    Ok(sinks)
}
