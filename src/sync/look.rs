//! The first half of every run, and all of a plan or a drift check: what Git wants, what is live,
//! what is owned, and the plan that follows. Writes nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::Value;

use super::{
    approval::{self, Waiting},
    leaving::leaving,
    observe::{self, Observation},
    schema, secrets,
};
use crate::{
    app::{App, Stack, Target},
    domain::{
        audit::event::Person,
        canonical::Digest,
        diff::{FieldChange, diff},
        guard::RequireApproval,
        inventory::{Inventory, Owned},
        object::{Kind, ObjectKey},
        plan::{Change, Inputs, Plan, PreparedDesired, Rules, prepare},
        reference,
        revision::Revision,
        run::Action,
        secrets::Masker,
    },
    git, manifest,
    store::{self, StackState},
    tyk,
};

/// What Git says at one revision.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub revision: Revision,
    pub commit: Arc<Commit>,
    pub desired: Arc<PreparedDesired>,
    /// The ids of the files' blobs, by path.
    pub blobs: Arc<BTreeMap<String, String>>,
    /// Knows what was filled into it.
    pub masker: Masker,
    pub ignored: Vec<manifest::Ignored>,
    pub warnings: Vec<manifest::Problem>,
}

/// Who made a revision, and what Git says of it.
#[derive(Debug, Clone)]
pub struct Commit {
    pub author: git::Person,
    pub committer: git::Person,
    /// The id of the root's tree.
    pub tree: String,
    pub signature: git::Signature,
}

impl Commit {
    pub fn author_named(&self) -> Person {
        named(&self.author)
    }

    /// Where it is not the author.
    pub fn committer_named(&self) -> Option<Person> {
        let (author, committer) = (self.author_named(), named(&self.committer));
        (author != committer).then_some(committer)
    }
}

fn named(person: &git::Person) -> Person {
    Person {
        name: Some(person.name.clone()),
        email: Some(person.email.clone()),
        ..Person::default()
    }
}

/// What Git wants, what is live, and what follows.
#[derive(Debug)]
pub struct Look {
    pub wanted: Wanted,
    pub inventory: Arc<Inventory>,
    pub observation: Observation,
    /// What the stack was told to let go of.
    pub released: BTreeSet<ObjectKey>,
    /// What waits for an approval since an earlier run.
    pub waiting: Option<Waiting>,
    pub plan: Plan,
}

#[derive(Debug, thiserror::Error)]
pub enum LookError {
    #[error("the branch {branch} does not exist in the repository {repository}")]
    NoBranch { repository: String, branch: String },
    #[error(transparent)]
    Git(#[from] git::Error),
    /// The manifests have problems; nothing may be written.
    #[error("{} of the manifests at {revision}:\n{}", count(.problems.len()), list(.problems))]
    Refused {
        revision: Revision,
        commit: Arc<Commit>,
        problems: Vec<String>,
    },
    /// Certificates that the manifests refer to; they may be there in a moment.
    #[error("{}", .0.join("\n"))]
    Certificates(Vec<String>),
    /// Secrets that the manifests refer to; they may be there in a moment.
    #[error("{}", .0.join("\n"))]
    Secrets(Vec<String>),
    #[error("the target {target}: {error}")]
    Target {
        target: String,
        error: tyk::gateway::Error,
    },
    /// What an earlier run left open on a node cannot be resolved yet.
    #[error(
        "an earlier run is open on the target {target}, and what became of it cannot be asked yet"
    )]
    Open { target: String },
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl LookError {
    /// Whether the node could not be asked, so that nothing was written there.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Target { .. } | Self::Open { .. })
    }
}

fn count(problems: usize) -> String {
    match problems {
        1 => "1 problem".to_owned(),
        many => format!("{many} problems"),
    }
}

fn list(problems: &[String]) -> String {
    problems.join("\n")
}

impl LookError {
    pub fn target(stack: &Stack, error: tyk::gateway::Error) -> Self {
        Self::Target {
            target: stack.target.name.clone(),
            error,
        }
    }
}

/// The commit that the stack's branch points to on the host, now.
pub async fn head(app: &App, stack: &Stack) -> Result<Revision, LookError> {
    let head = app.mirrors.head(&stack.remote, &stack.branch).await?;
    head.ok_or_else(|| LookError::NoBranch {
        repository: stack.repository.clone(),
        branch: stack.branch.as_str().to_owned(),
    })
}

/// Reads the manifests at a revision, and the secrets that they refer to.
pub async fn wanted(app: &App, stack: &Stack, revision: &Revision) -> Result<Wanted, LookError> {
    let Read {
        commit,
        blobs,
        manifests,
    } = read(app, stack, revision).await?;
    let names = reference::names_of(&manifests.desired);
    let secrets = secrets::read(app, stack, names)
        .await
        .map_err(LookError::Secrets)?;
    let masker = app.masker.with(Arc::new(secrets));
    let knowing = masker.clone();
    let desired = tokio::task::spawn_blocking(move || prepare(manifests.desired, &knowing))
        .await
        .expect("masking bodies does not panic");
    Ok(Wanted {
        revision: revision.clone(),
        commit,
        desired: Arc::new(desired),
        blobs: Arc::new(blobs),
        masker,
        ignored: manifests.ignored,
        warnings: manifests.warnings,
    })
}

/// The objects that a stack describes at a revision. No secret is read for it.
pub async fn described(
    app: &App,
    stack: &Stack,
    revision: &Revision,
) -> Result<Vec<ObjectKey>, LookError> {
    let Read { manifests, .. } = read(app, stack, revision).await?;
    Ok(manifests.desired.into_keys().collect())
}

/// Manifests without a problem.
struct Read {
    commit: Arc<Commit>,
    /// The ids of the files' blobs, by path.
    blobs: BTreeMap<String, String>,
    manifests: manifest::Manifests,
}

async fn read(app: &App, stack: &Stack, revision: &Revision) -> Result<Read, LookError> {
    let snapshot = app
        .mirrors
        .tree(&stack.remote, revision, &stack.path, &stack.selection)
        .await?;
    let git::Snapshot {
        author,
        committer,
        tree,
        signature,
        files,
        problems,
        revision: _,
        message: _,
    } = snapshot;
    let commit = Arc::new(Commit {
        author,
        committer,
        tree,
        signature,
    });
    let mut blobs: BTreeMap<String, String> = files
        .iter()
        .map(|file| (file.path.clone(), file.blob.clone()))
        .collect();
    let files: Arc<Vec<manifest::SourceFile>> = Arc::new(files.into_iter().map(source).collect());
    let mut refused: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let further = further(app, stack, revision, &files, &mut refused, &mut blobs).await?;
    let (app, target) = (app.clone(), stack.target.clone());
    let folder = stack.path.as_str().to_owned();
    let environment = stack.environment.clone();
    let names = stack.secrets.keys().cloned().collect();
    let (keyless, strict) = (stack.keyless, stack.strict);
    let read = tokio::task::spawn_blocking(move || {
        let options = manifest::Options {
            environment,
            further,
            secrets: Some(names),
            keyless,
            strict,
            ..app.manifest_options(&target, vec![folder])
        };
        manifest::read(&files, &options)
    })
    .await
    .expect("reading manifests does not panic");

    match read {
        Ok(manifests) if refused.is_empty() => {
            if !manifests.unreadable.is_empty() {
                let unreadable = manifests.unreadable.into_iter().collect();
                return Err(LookError::Certificates(unreadable));
            }
            return Ok(Read {
                commit,
                blobs,
                manifests,
            });
        }
        Ok(_) => {}
        Err(problems) => refused.extend(problems.iter().map(ToString::to_string)),
    }
    Err(LookError::Refused {
        revision: revision.clone(),
        commit,
        problems: refused,
    })
}

fn source(file: git::File) -> manifest::SourceFile {
    manifest::SourceFile {
        path: file.path,
        bytes: file.bytes,
    }
}

/// The files that the stack and its manifests name, wherever they lie in the repository.
async fn further(
    app: &App,
    stack: &Stack,
    revision: &Revision,
    files: &Arc<Vec<manifest::SourceFile>>,
    refused: &mut Vec<String>,
    blobs: &mut BTreeMap<String, String>,
) -> Result<Vec<manifest::SourceFile>, LookError> {
    let limits = manifest::Limits::default();
    let mut search = manifest::Search::new(stack.environment.clone(), limits);
    loop {
        let files = Arc::clone(files);
        let looking = tokio::task::spawn_blocking(move || {
            let named = search.next(&files);
            (search, named)
        });
        let named;
        (search, named) = looking.await.expect("reading manifests does not panic");
        match named {
            Ok(named) if named.is_empty() => return Ok(search.into_found()),
            Ok(named) => {
                let (found, problems) = app.mirrors.files(&stack.remote, revision, named).await?;
                refused.extend(problems.iter().map(ToString::to_string));
                let of_file = |file: &git::File| (file.path.clone(), file.blob.clone());
                blobs.extend(found.iter().map(of_file));
                search.add(found.into_iter().map(source));
            }
            Err(problem) => {
                refused.push(problem.to_string());
                return Ok(search.into_found());
            }
        }
    }
}

/// Reads the target and makes the plan. The caller holds the target's lease.
pub async fn look(
    app: &App,
    stack: &Stack,
    state: &StackState,
    wanted: Wanted,
    now: i64,
) -> Result<Look, LookError> {
    const DAY: i64 = 24 * 60 * 60 * 1_000_000;
    let target = &stack.target;
    let inventory = Arc::new(inventory(app, target).await?);
    let observation = observe::observe(&target.client, &inventory, &wanted.desired, &app.masker)
        .await
        .map_err(|error| LookError::target(stack, error))?;
    let equal = observe::equal_objects(
        &target.client,
        &stack.name,
        &wanted.desired,
        &inventory,
        &observation,
        target.allow_jwt_document_reads,
    )
    .await
    .map_err(|error| LookError::target(stack, error))?;
    let leaving = leaving(app, stack, &wanted, &observation.live, &inventory).await?;
    let used_elsewhere = used_elsewhere(app, stack, &wanted, &observation, &inventory).await;
    let is_doubtful = app.store.is_doubtful(&target.name).await?;
    let released = app.store.released(&target.name, &stack.name).await?;
    let recent = app
        .store
        .deletions_since(&stack.name, &target.node, now - DAY)
        .await?;
    let waiting = approval::waiting(app, stack, now).await?;
    let waiting = waiting
        .into_iter()
        .find(|waiting| waiting.parked.node == target.node);
    let mut plan = Plan::new(Inputs {
        stack: &stack.name,
        target: &target.name,
        desired: &wanted.desired,
        live: &observation.live,
        inventory: &inventory,
        equal: &equal,
        gateway_version: &observation.version,
        rules: Rules {
            require_approval: match stack.rules.require_approval {
                RequireApproval::Never if is_doubtful => RequireApproval::Deletions,
                rule => rule,
            },
            ..stack.rules
        },
        protected: &leaving.protected,
        released: &released,
        unread: &leaving.unread,
        neighbours: &leaving.neighbours,
        used_elsewhere: &used_elsewhere,
        standing: waiting.as_ref().map(|waiting| &waiting.standing),
        recent_deletions: usize::try_from(recent).unwrap_or(usize::MAX),
        held_since: state.held_since,
    });
    if is_doubtful {
        plan.notes.push(format!(
            "the database knows less than what it told before, as one does that was restored from a \
             backup: deletions wait until `lockstep recover {}`",
            target.name
        ));
    }
    describe(app, &mut plan, &wanted.desired, &inventory, &observation).await?;
    let (client, version) = (&target.client, &observation.version);
    let objections = schema::objections(client, version, &plan, &wanted.desired).await;
    if stack.strict && !objections.is_empty() {
        return Err(LookError::Refused {
            revision: wanted.revision,
            commit: wanted.commit,
            problems: objections,
        });
    }
    plan.notes.extend(objections);
    Ok(Look {
        wanted,
        inventory,
        observation,
        released,
        waiting,
        plan,
    })
}

/// Nodes may share the Redis that holds the certificates. So before one is removed, every other
/// node of the target is asked whether it uses it.
async fn used_elsewhere(
    app: &App,
    stack: &Stack,
    wanted: &Wanted,
    observation: &Observation,
    inventory: &Inventory,
) -> BTreeMap<ObjectKey, String> {
    let leaving: Vec<ObjectKey> = inventory
        .iter()
        .filter(|(key, owned)| {
            let is_ours = key.kind == Kind::Certificate && owned.stack == stack.name;
            let leaves = !wanted.desired.contains_key(*key) && observation.live.contains_key(*key);
            // It stays for one that no stack owns, whatever the other nodes say.
            let user = observation.user_of(key);
            is_ours && leaves && user.is_none_or(|user| inventory.contains_key(user))
        })
        .map(|(key, _)| key.clone())
        .collect();
    let mut used = BTreeMap::new();
    let Some(target) = app.targets.get(&stack.target.name) else {
        return used;
    };
    if leaving.is_empty() {
        return used;
    }
    for node in target.nodes().filter(|node| node.node != stack.target.node) {
        used.extend(observe::used_on(&node.client, &node.address, &leaving).await);
    }
    used
}

/// What is owned on a node. Ownership is the target's: what is owned on another node and was not
/// yet seen on this one is owned here too, and unknown.
pub async fn inventory(app: &App, target: &Target) -> store::Result<Inventory> {
    let mut inventories = app.store.inventories(&target.name).await?;
    let mut here = inventories.remove(&target.node).unwrap_or_default();
    for (key, owned) in inventories.into_values().flatten() {
        here.entry(key).or_insert(Owned {
            observed: None,
            listed: None,
            ..owned
        });
    }
    Ok(here)
}

/// Loads the bodies of the changed objects, and only those, to show what changes in them.
async fn describe(
    app: &App,
    plan: &mut Plan,
    desired: &PreparedDesired,
    inventory: &Inventory,
    observation: &Observation,
) -> Result<(), LookError> {
    let held = plan.held.iter().map(|held| &held.change);
    let needed: Vec<Digest> = plan
        .changes()
        .chain(held)
        .filter(|change| change.action.puts())
        .filter_map(|change| inventory.get(&change.object))
        .flat_map(|owned| [Some(owned.desired), owned.observed])
        .flatten()
        .collect();
    let texts = app.store.bodies(&needed).await?;
    plan.tell_rotations(|change| {
        let owned = inventory.get(&change.object)?;
        let wanted = desired.get(&change.object)?;
        let applied = texts.get(&owned.desired)?;
        Some((applied, &wanted.text))
    });
    let bodies: BTreeMap<Digest, Value> = texts
        .into_iter()
        .filter_map(|(digest, text)| Some((digest, serde_json::from_str(&text).ok()?)))
        .collect();
    plan.describe(|change| {
        fields(
            change,
            desired,
            inventory,
            observation,
            &bodies,
            &app.masker,
        )
    });
    Ok(())
}

fn fields(
    change: &Change,
    desired: &PreparedDesired,
    inventory: &Inventory,
    observation: &Observation,
    bodies: &BTreeMap<Digest, Value>,
    masker: &Masker,
) -> Vec<FieldChange> {
    let key = &change.object;
    let Some(wanted) = desired.get(key).filter(|_| change.action == Action::Update) else {
        return Vec::new();
    };
    let after: Value = serde_json::from_str(&wanted.text).unwrap_or_default();
    let Some(owned) = inventory.get(key) else {
        // Not ours: what would change if it were, as far as the listing tells.
        let live = observation.masked(key, masker);
        let comparable = !matches!(key.kind, Kind::Certificate | Kind::OasApi | Kind::McpProxy);
        return live
            .filter(|_| comparable)
            .map(|live| diff(&live, &after))
            .unwrap_or_default();
    };
    let mut fields = Vec::new();
    if change.drifted
        && let Some(before) = owned.observed.and_then(|digest| bodies.get(&digest))
        && let Some(live) = observation.masked(key, masker)
    {
        fields.extend(diff(&live, before));
    }
    if owned.desired != wanted.digest
        && let Some(before) = bodies.get(&owned.desired)
    {
        fields.extend(diff(before, &after));
    }
    fields
}
