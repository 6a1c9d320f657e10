//! The caches: one bare, shallow repository a remote, in a folder named by the hash of its
//! address.
//!
//! A cache is only ever a copy: whenever something in it cannot be read, it is thrown away
//! and fetched anew, once. All work runs on the blocking pool, under one lock a cache. The
//! lock belongs to that work and not to whoever waits for it, so that a caller who goes
//! away leaves nothing locked: the work sees it, or its own time runs out.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use gix::progress::Discard;
use gix::protocol::ls_refs::RefPrefixes;
use gix::protocol::transport::{Protocol, Service};
use gix::remote::Direction;
use gix::remote::fetch::{Shallow, Tags};
use reqwest::blocking::Client;
use sha2::{Digest, Sha256};
use url::Url;

use super::error::{Bound, Error, Fault, one_line};
use super::http::{self, Time, Watch};
use super::push::{self, Push};
use super::record::{self, Records};
use super::snapshot::{self, File, Problem, Snapshot, doubt};
use super::{BranchName, Limits, Location, Remote, RepoPath, Selection};
use crate::domain::revision::Revision;

/// Reads repositories, and keeps checkpoints in them. Cheap to clone; clones share caches, locks
/// and connections.
#[derive(Clone)]
pub struct Mirrors(Arc<Inner>);

struct Inner {
    root: PathBuf,
    limits: Limits,
    /// Made on the blocking pool, where a blocking client may be made.
    client: OnceLock<Client>,
    locks: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// A list of branches is small; a host that sends more than this is not a Git host.
const MAX_REFS_BYTES: u64 = 16 * 1024 * 1024;
/// What a host says to a push: all its refs, and what became of ours.
const MAX_PUSH_BYTES: u64 = 16 * 1024 * 1024;
/// The only ref of a cache. What it points to is offered to the host as already known.
const LAST_FETCHED: &str = "refs/cache/last";

impl Mirrors {
    /// Several processes may share the root: a cache is locked while one of them works on it.
    pub fn new(root: impl Into<PathBuf>, limits: Limits) -> Self {
        Self(Arc::new(Inner {
            root: root.into(),
            limits,
            client: OnceLock::new(),
            locks: Mutex::default(),
        }))
    }

    /// The commit that the branch points to on the host, now. `None`: there is no such
    /// branch. Nothing is fetched and no cache is touched, so it waits for nobody.
    pub async fn head(
        &self,
        remote: &Remote,
        branch: &BranchName,
    ) -> Result<Option<Revision>, Error> {
        let inner = Arc::clone(&self.0);
        let branch = branch.clone();
        let bytes = (Bound::Refs, MAX_REFS_BYTES);
        self.0
            .run(remote, bytes, None, move |remote, watch| {
                let found = match &remote.location {
                    Location::Http { url } => inner.remote_head(url, &branch, watch),
                    Location::Local { path } => inner.local_head(path, &branch, watch),
                };
                found.map_err(|fault| settle(fault, &remote, watch))
            })
            .await
    }

    /// The selected files under a path at a revision; fetched from the host if the cache
    /// does not have that revision yet.
    pub async fn tree(
        &self,
        remote: &Remote,
        revision: &Revision,
        path: &RepoPath,
        selection: &Selection,
    ) -> Result<Snapshot, Error> {
        let limits = self.0.limits.clone();
        let (at, path, selection) = (revision.clone(), path.clone(), selection.clone());
        self.at(remote, revision, move |repository, watch| {
            snapshot::read(repository, &at, &path, &selection, &limits, watch)
        })
        .await
    }

    /// Single files at a revision, by their paths from the repository's root. What is not there,
    /// or is a folder, is left out; a link or a file too large is a problem.
    pub async fn files(
        &self,
        remote: &Remote,
        revision: &Revision,
        paths: BTreeSet<String>,
    ) -> Result<(Vec<File>, Vec<Problem>), Error> {
        let limits = self.0.limits.clone();
        let at = revision.clone();
        self.at(remote, revision, move |repository, watch| {
            snapshot::files(repository, &at, &paths, &limits, watch)
        })
        .await
    }

    /// Which of these paths, relative to the repository's root, are there at a revision, whatever
    /// is there.
    pub async fn present(
        &self,
        remote: &Remote,
        revision: &Revision,
        paths: BTreeSet<String>,
    ) -> Result<BTreeSet<String>, Error> {
        let limits = self.0.limits.clone();
        let at = revision.clone();
        self.at(remote, revision, move |repository, watch| {
            snapshot::present(repository, &at, &paths, &limits, watch)
        })
        .await
    }

    /// Makes each of these a commit on the end of a branch, in their order: all of them or none, and
    /// what is there already not once more. A branch that is not there is made, and none is ever
    /// moved to anything but what follows from where it is.
    pub async fn record(
        &self,
        remote: &Remote,
        branch: &BranchName,
        records: Records,
    ) -> Result<(), Error> {
        let inner = Arc::clone(&self.0);
        let branch = branch.clone();
        let lock = self.0.lock_of(remote);
        let bytes = (Bound::Pack, self.0.limits.max_pack_bytes);
        self.0
            .run(remote, bytes, lock, move |remote, watch| {
                let done = match &remote.location {
                    Location::Http { url } => inner.push(url, &branch, &records, watch),
                    Location::Local { path } => inner
                        .open_local(path, watch)
                        .and_then(|to| record::on_branch(&to, &branch, &records, watch)),
                };
                done.map_err(|fault| settle(fault, &remote, watch))
            })
            .await
    }

    /// Reads something at a revision, which is fetched from the host if the cache does not have
    /// it yet.
    async fn at<T: Send + 'static>(
        &self,
        remote: &Remote,
        revision: &Revision,
        read: impl Fn(&gix::Repository, &Watch) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Error> {
        let inner = Arc::clone(&self.0);
        let revision = revision.clone();
        let lock = self.0.lock_of(remote);
        let bytes = (Bound::Pack, self.0.limits.max_pack_bytes);
        self.0
            .run(remote, bytes, lock, move |remote, watch| {
                let found = match &remote.location {
                    Location::Http { url } => inner.cached(url, Some(&revision), watch, read),
                    Location::Local { path } => inner.local(path, &revision, watch, read),
                };
                found.map_err(|fault| settle(fault, &remote, watch))
            })
            .await
    }
}

impl Inner {
    /// Runs work on the blocking pool, with its bounds. The time starts when the lock is
    /// there, and the lock is let go when the work is over.
    async fn run<T: Send + 'static>(
        &self,
        remote: &Remote,
        bytes: (Bound, u64),
        lock: Option<Arc<tokio::sync::Mutex<()>>>,
        work: impl FnOnce(Remote, &Arc<Watch>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let guard = match lock {
            Some(lock) => Some(lock.lock_owned().await),
            None => None,
        };
        let stop = Arc::new(AtomicBool::new(false));
        let _stops_when_dropped = StopWhenDropped(Arc::clone(&stop));
        let timeout = self.limits.timeout;
        let deadline = Instant::now() + timeout;
        let repository = remote.location.to_string();
        let remote = remote.clone();
        let flag = Arc::clone(&stop);
        let mut task = tokio::task::spawn_blocking(move || {
            let _guard = guard;
            let name = remote.location.to_string();
            let time = Time {
                deadline,
                timeout,
                stop: flag,
            };
            let watch = Watch::new(name, remote.token.clone(), time, bytes);
            work(remote, &Arc::new(watch))
        });
        // Reading from the host ends by itself; unpacking what came is told to end.
        let answer = tokio::time::timeout_at(deadline.into(), &mut task).await;
        let answer = if let Ok(answer) = answer {
            answer
        } else {
            stop.store(true, Ordering::Relaxed);
            task.await
        };
        answer.unwrap_or_else(|error| {
            Err(Error::Internal {
                repository,
                detail: one_line(&error),
            })
        })
    }

    /// `None`: there is no cache to be locked.
    fn lock_of(&self, remote: &Remote) -> Option<Arc<tokio::sync::Mutex<()>>> {
        let Location::Http { url } = &remote.location else {
            return None;
        };
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(locks.entry(cache_name(url)).or_default()))
    }

    fn client(&self, watch: &Watch) -> Result<Client, Error> {
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        let client =
            http::client(self.limits.connect_timeout).map_err(|detail| Error::Internal {
                repository: watch.repository(),
                detail,
            })?;
        Ok(self.client.get_or_init(|| client).clone())
    }

    fn remote_head(
        &self,
        url: &Url,
        branch: &BranchName,
        watch: &Arc<Watch>,
    ) -> Result<Option<Revision>, Fault> {
        let client = self.client(watch)?;
        let mut transport = http::transport(client, Arc::clone(watch), git_url(url)?, Protocol::V2);
        let explain = |error: gix::Error| watch.explain(&error);
        let handshake = gix::protocol::handshake(
            &mut transport,
            Service::UploadPack,
            |_| Ok(None),
            Vec::new(),
            &mut Discard,
        )
        .map_err(explain)?;
        push::refuse_other_ids(&handshake, watch)?;
        let full_ref = branch.full_ref();
        // An old server has listed everything already.
        let refs = if let Some(refs) = handshake.refs {
            refs
        } else {
            let mut prefixes = RefPrefixes::new();
            prefixes.extend([full_ref.as_str().into()]);
            let agent = ("agent", Some("git/lockstep".into()));
            gix::protocol::LsRefsCommand::new(Some(prefixes), &handshake.capabilities, agent)
                .invoke_blocking(&mut transport, &mut Discard, false)
                .map_err(explain)?
        };
        let head = push::target_of(&full_ref, refs);
        head.map(revision_of).transpose()
    }

    /// A host that refuses is asked where the branch is now: if it moved in between, it is followed
    /// there, once.
    fn push(
        &self,
        url: &Url,
        branch: &BranchName,
        records: &Records,
        watch: &Arc<Watch>,
    ) -> Result<(), Fault> {
        let first = self.begin_push(url, branch, watch)?;
        let head = first.head();
        let Err(refusal) = self.push_onto(first, url, records, watch)? else {
            return Ok(());
        };
        let second = self.begin_push(url, branch, watch)?;
        if second.head() == head {
            return Err(refusal.into());
        }
        self.push_onto(second, url, records, watch)?
            .map_err(Fault::Final)
    }

    fn begin_push(
        &self,
        url: &Url,
        branch: &BranchName,
        watch: &Arc<Watch>,
    ) -> Result<Push, Fault> {
        let part = Arc::new(watch.part((Bound::Push, MAX_PUSH_BYTES)));
        Push::begin(self.client(watch)?, git_url(url)?, branch, part)
    }

    /// The inner error is the host's refusal.
    fn push_onto(
        &self,
        push: Push,
        url: &Url,
        records: &Records,
        watch: &Arc<Watch>,
    ) -> Result<Result<(), Error>, Fault> {
        let head = push.head();
        let revision = head.map(revision_of).transpose()?;
        let commits = self.cached(url, revision.as_ref(), watch, |repository, watch| {
            record::in_memory(repository, head, records, watch)
        })?;
        match commits {
            Some(commits) => push.send(&commits),
            None => Ok(Ok(())),
        }
    }

    fn local_head(
        &self,
        path: &Path,
        branch: &BranchName,
        watch: &Watch,
    ) -> Result<Option<Revision>, Fault> {
        let repository = self.open_local(path, watch)?;
        let full_ref = branch.full_ref();
        let Some(reference) = repository
            .try_find_reference(full_ref.as_str())
            .map_err(doubt)?
        else {
            return Ok(None);
        };
        let id = reference.into_fully_peeled_id().map_err(doubt)?;
        Ok(Some(revision_of(id.detach())?))
    }

    fn local<T>(
        &self,
        folder: &Path,
        revision: &Revision,
        watch: &Watch,
        read: impl Fn(&gix::Repository, &Watch) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let repository = self.open_local(folder, watch)?;
        if !has(&repository, revision, watch)? {
            return Err(missing(revision, watch));
        }
        read(&repository, watch)
    }

    fn open_local(&self, path: &Path, watch: &Watch) -> Result<gix::Repository, Fault> {
        gix::open_opts(path, self.open_options()).map_err(|error| {
            Fault::Final(Error::Local {
                repository: watch.repository(),
                detail: one_line(&error),
            })
        })
    }

    /// `None`: nothing of the repository is needed.
    fn cached<T>(
        &self,
        url: &Url,
        revision: Option<&Revision>,
        watch: &Arc<Watch>,
        read: impl Fn(&gix::Repository, &Watch) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let cache_fault = |error: std::io::Error| cache_error(watch, &error);
        fs::create_dir_all(&self.root).map_err(cache_fault)?;
        let name = cache_name(url);
        // Other processes may share the folder. The system lets go of the lock of one that
        // was killed, and one that lives holds it no longer than its own time allows.
        let lock_path = self.root.join(format!("{name}.lock"));
        let lock = fs::File::create(lock_path).map_err(cache_fault)?;
        lock.lock().map_err(cache_fault)?;

        let folder = self.root.join(format!("{name}.git"));
        let attempt = || {
            let repository = self.open_cache(&folder, revision, watch)?;
            if let Some(revision) = revision
                && !has(&repository, revision, watch)?
            {
                self.fetch(&repository, url, revision, watch)?;
            }
            read(&repository, watch)
        };
        let was_there = folder.exists();
        match attempt() {
            Err(Fault::Doubtful(reason)) if was_there => {
                tracing::warn!(
                    repository = %url,
                    reason,
                    "the cached repository is doubtful and fetched anew"
                );
                remove(&folder, watch)?;
                attempt()
            }
            other => other,
        }
    }

    /// Opens the cache of a repository, or makes it if it is missing or worn out.
    fn open_cache(
        &self,
        folder: &Path,
        revision: Option<&Revision>,
        watch: &Watch,
    ) -> Result<gix::Repository, Fault> {
        if folder.exists() {
            let repository = gix::open_opts(folder, self.open_options()).map_err(doubt)?;
            let wear =
                wear(&folder.join("objects/pack")).map_err(|error| cache_error(watch, &error))?;
            let is_worn_out =
                wear.packs >= self.limits.max_packs || wear.bytes / 2 > self.limits.max_pack_bytes;
            // A revision that is there needs no fetch, and so no new cache.
            let needs_fetch = match revision {
                Some(revision) => !has(&repository, revision, watch)?,
                None => false,
            };
            if !is_worn_out || !needs_fetch {
                return Ok(repository);
            }
            tracing::info!(
                packs = wear.packs,
                bytes = wear.bytes,
                "the cache is made anew"
            );
            drop(repository);
            remove(folder, watch)?;
        }
        gix::ThreadSafeRepository::init_opts(
            folder,
            gix::create::Kind::Bare,
            gix::create::Options::default(),
            self.open_options(),
        )
        .map(Into::into)
        .map_err(|error| {
            Fault::Final(Error::Cache {
                repository: watch.repository(),
                detail: one_line(&error),
            })
        })
    }

    fn fetch(
        &self,
        repository: &gix::Repository,
        url: &Url,
        revision: &Revision,
        watch: &Arc<Watch>,
    ) -> Result<(), Fault> {
        let client = self.client(watch)?;
        let transport = http::transport(client, Arc::clone(watch), git_url(url)?, Protocol::V2);
        let explain = |error: gix::Error| self.explain_fetch(&error, revision, watch);
        // Without any prefix the host would list all its refs, pull requests included. This
        // one matches none: the wanted commit is named by its id.
        let list_nothing = gix::refspec::parse(
            "refs/lockstep/none".into(),
            gix::refspec::parse::Operation::Fetch,
        )
        .map_err(doubt)?
        .to_owned();
        let options = gix::remote::ref_map::Options {
            extra_refspecs: vec![list_nothing],
            ..Default::default()
        };
        let refspec = format!("+{revision}:{LAST_FETCHED}");
        let remote = repository
            .remote_at_without_url_rewrite(git_url(url)?)
            .map_err(doubt)?
            .with_fetch_tags(Tags::None)
            .with_refspecs([refspec.as_str()], Direction::Fetch)
            .map_err(doubt)?;
        remote
            .to_connection_with_transport(transport)
            .with_credentials(|_| Ok(None))
            // Nothing to configure, and so nothing is looked up in any configuration.
            .with_transport_options(Box::new(()))
            .prepare_fetch(Discard, options)
            .map_err(|error| match explain(error) {
                // Nothing of the cache was read yet: it is not to blame.
                Fault::Doubtful(detail) => Fault::Final(Error::Protocol {
                    repository: watch.repository(),
                    detail,
                }),
                fault @ Fault::Final(_) => fault,
            })?
            .with_shallow(Shallow::DepthAtRemote(NonZeroU32::MIN))
            .receive(Discard, watch.stop())
            .map_err(explain)?;
        if has(repository, revision, watch)? {
            Ok(())
        } else {
            Err(missing(revision, watch))
        }
    }

    fn explain_fetch(&self, error: &gix::Error, revision: &Revision, watch: &Watch) -> Fault {
        match watch.explain(error) {
            Fault::Doubtful(text) if text.contains("not our ref") => missing(revision, watch),
            Fault::Doubtful(_) if error.is_resource_exhausted() => Fault::Final(Error::TooLarge {
                repository: watch.repository(),
                what: Bound::Object,
                limit: self.limits.max_object_bytes,
            }),
            fault => fault,
        }
    }

    /// Nothing of the system's, the user's or the environment's configuration is read. Who
    /// owns the folder does not matter, because nothing that a repository configures is run.
    fn open_options(&self) -> gix::open::Options {
        gix::open::Options::isolated()
            .with(gix::sec::Trust::Full)
            .config_overrides([
                "protocol.allow=never".to_owned(),
                format!(
                    "gitoxide.objects.allocLimit={}",
                    self.limits.max_object_bytes
                ),
            ])
    }
}

struct StopWhenDropped(Arc<AtomicBool>);

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a doubt means once nothing more can be done about it.
fn settle(fault: Fault, remote: &Remote, watch: &Watch) -> Error {
    let repository = watch.repository();
    match (fault, &remote.location) {
        (Fault::Final(error), _) => error,
        (Fault::Doubtful(detail), Location::Http { .. }) => Error::Protocol { repository, detail },
        (Fault::Doubtful(detail), Location::Local { .. }) => Error::Local { repository, detail },
    }
}

fn has(repository: &gix::Repository, revision: &Revision, watch: &Watch) -> Result<bool, Fault> {
    let id = snapshot::object_id(revision, watch)?;
    Ok(repository.try_find_header(id).map_err(doubt)?.is_some())
}

fn missing(revision: &Revision, watch: &Watch) -> Fault {
    Fault::Final(Error::RevisionMissing {
        repository: watch.repository(),
        revision: revision.clone(),
    })
}

fn revision_of(id: gix::ObjectId) -> Result<Revision, Fault> {
    id.to_string().parse().map_err(doubt)
}

fn git_url(url: &Url) -> Result<gix::Url, Fault> {
    gix::Url::try_from(url.as_str()).map_err(doubt)
}

fn cache_name(url: &Url) -> String {
    hex::encode(&Sha256::digest(url.as_str())[..16])
}

fn cache_error(watch: &Watch, error: &std::io::Error) -> Fault {
    Fault::Final(Error::Cache {
        repository: watch.repository(),
        detail: one_line(error),
    })
}

fn remove(folder: &Path, watch: &Watch) -> Result<(), Fault> {
    fs::remove_dir_all(folder).map_err(|error| cache_error(watch, &error))
}

struct Wear {
    packs: usize,
    bytes: u64,
}

/// Counts what a cache holds, and takes away what a killed process left half-written.
fn wear(packs: &Path) -> std::io::Result<Wear> {
    let mut wear = Wear { packs: 0, bytes: 0 };
    for entry in fs::read_dir(packs)? {
        let entry = entry?;
        let path = entry.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("pack") => {
                wear.packs += 1;
                wear.bytes += entry.metadata()?.len();
            }
            Some("idx" | "rev" | "keep") => {}
            _ => fs::remove_file(path)?,
        }
    }
    Ok(wear)
}
