//! One commit's files, read out of an object database.
//!
//! A blob is looked at before it is unpacked, a tree is walked with a count. Names are text
//! of others: nothing is ever written to disk under them.

use std::collections::{BTreeMap, BTreeSet};

use gix::ObjectId;
use gix::objs::TreeRefIter;
use gix::objs::tree::EntryKind;
use jiff::Timestamp;

use super::error::{Bound, Error, Fault, one_line};
use super::http::Watch;
use super::{Limits, RepoPath, Selection};
use crate::domain::revision::Revision;

/// The files of a stack's path at a revision, and who made that revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub revision: Revision,
    /// The id of the root's tree.
    pub tree: String,
    pub author: Person,
    pub committer: Person,
    pub message: String,
    pub signature: Signature,
    /// In the order of their paths.
    pub files: Vec<File>,
    /// In the order of their paths.
    pub problems: Vec<Problem>,
}

/// Whether a commit bears a signature. It is not verified here, so its presence proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    Unsigned,
    Present,
}

impl Signature {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unsigned => "unsigned",
            Self::Present => "present, not verified",
        }
    }
}

/// As the commit names them; nobody has verified it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    pub name: String,
    pub email: String,
    /// 1970-01-01 when the commit's date cannot be read, as Git shows it.
    pub at: Timestamp,
}

#[derive(Clone, PartialEq, Eq)]
pub struct File {
    /// Relative to the repository's root.
    pub path: String,
    pub blob: String,
    pub bytes: Vec<u8>,
}

/// Something under the stack's path that should be a manifest and cannot be read as one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct Problem {
    pub path: String,
    pub reason: Reason,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Reason {
    #[error("is a symbolic link, which is not followed; commit the files themselves or exclude it")]
    Symlink,
    #[error("is a submodule, whose files are not read; commit the files themselves or exclude it")]
    Submodule,
    #[error("is a Git LFS pointer, not the file itself; take it out of LFS or exclude it")]
    LfsPointer,
    #[error("has a name that is not UTF-8")]
    NotUtf8,
    #[error("has a name with a backslash, a control character or a part that is no name")]
    BadName,
    #[error("has a path longer than 4096 bytes")]
    LongPath,
    #[error("has {bytes} bytes, more than the limit of {limit} for one file")]
    TooLarge { bytes: u64, limit: u64 },
    #[error("appears more than once in its folder")]
    Twice,
}

const MAX_PATH_BYTES: usize = 4096;
const MAX_COMMIT_BYTES: u64 = 1024 * 1024;
const MAX_TREE_BYTES: u64 = 32 * 1024 * 1024;
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";
const MAX_LFS_POINTER_BYTES: usize = 1024;

/// The caller has made sure that the commit is there. What is missing from here on is a
/// fault of the object database.
pub(super) fn read(
    repository: &gix::Repository,
    revision: &Revision,
    path: &RepoPath,
    selection: &Selection,
    limits: &Limits,
    watch: &Watch,
) -> Result<Snapshot, Fault> {
    let objects = Objects {
        repository,
        limits,
        watch,
    };
    let id = object_id(revision, watch)?;
    let header = objects.header(id)?;
    if header.kind() != gix::objs::Kind::Commit {
        return Err(Fault::Final(Error::NotACommit {
            repository: watch.repository(),
            revision: revision.clone(),
        }));
    }
    let data = objects.data(id, gix::objs::Kind::Commit, MAX_COMMIT_BYTES)?;
    let commit = gix::objs::CommitRef::from_bytes(&data, id.kind()).map_err(doubt)?;
    let root = commit.tree();
    let folder = objects.folder(root, path, revision)?;
    let prefix = if path.is_root() {
        String::new()
    } else {
        format!("{path}/")
    };
    let mut walk = Walk {
        objects,
        selection,
        root,
        below: prefix.len(),
        entries: 0,
        bytes: 0,
        files: Vec::new(),
        problems: Vec::new(),
    };
    walk.folder(folder, &prefix, 0)?;
    let (files, problems) = walk.finish();
    Ok(Snapshot {
        revision: revision.clone(),
        tree: root.to_string(),
        author: person(commit.author().map_err(doubt)?),
        committer: person(commit.committer().map_err(doubt)?),
        message: String::from_utf8_lossy(commit.message).into_owned(),
        signature: signature(&commit),
        files,
        problems,
    })
}

/// The files at some paths, in their order. A path is text of others: it is walked part by part,
/// and no part leads upwards.
pub(super) fn files(
    repository: &gix::Repository,
    revision: &Revision,
    paths: &BTreeSet<String>,
    limits: &Limits,
    watch: &Watch,
) -> Result<(Vec<File>, Vec<Problem>), Fault> {
    let objects = Objects {
        repository,
        limits,
        watch,
    };
    let root = objects.root(revision)?;
    let selection = Selection::default();
    let mut walk = Walk {
        objects,
        selection: &selection,
        root,
        below: 0,
        entries: 0,
        bytes: 0,
        files: Vec::new(),
        problems: Vec::new(),
    };
    for path in paths {
        watch.check()?;
        walk.entries += 1;
        if walk.entries > limits.max_entries {
            return Err(walk.passed(Bound::Entries, limits.max_entries as u64));
        }
        walk.single(path)?;
    }
    Ok(walk.finish())
}

/// Which of the paths are there. A folder that many of them are in is read once.
pub(super) fn present(
    repository: &gix::Repository,
    revision: &Revision,
    paths: &BTreeSet<String>,
    limits: &Limits,
    watch: &Watch,
) -> Result<BTreeSet<String>, Fault> {
    let objects = Objects {
        repository,
        limits,
        watch,
    };
    let root = objects.root(revision)?;
    let mut folders: BTreeMap<&str, Option<BTreeSet<Vec<u8>>>> = BTreeMap::new();
    let mut found = BTreeSet::new();
    for path in paths {
        watch.check()?;
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        if !folders.contains_key(folder) {
            folders.insert(folder, objects.names(root, folder)?);
        }
        let names = folders.get(folder).and_then(Option::as_ref);
        if names.is_some_and(|names| names.contains(name.as_bytes())) {
            found.insert(path.clone());
        }
    }
    Ok(found)
}

pub(super) fn object_id(revision: &Revision, watch: &Watch) -> Result<ObjectId, Error> {
    // gix is built with SHA-1 only, so that a SHA-256 id is refused here.
    ObjectId::from_hex(revision.as_str().as_bytes()).map_err(|_| Error::ObjectFormat {
        repository: watch.repository(),
    })
}

impl std::fmt::Debug for File {
    /// Without the bytes: a manifest may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { path, blob, bytes } = self;
        f.debug_struct("File")
            .field("path", path)
            .field("blob", blob)
            .field("bytes", &bytes.len())
            .finish()
    }
}

#[derive(Clone, Copy)]
struct Objects<'a> {
    repository: &'a gix::Repository,
    limits: &'a Limits,
    watch: &'a Watch,
}

impl Objects<'_> {
    /// The tree of a commit.
    fn root(&self, revision: &Revision) -> Result<ObjectId, Fault> {
        let id = object_id(revision, self.watch)?;
        let data = self.data(id, gix::objs::Kind::Commit, MAX_COMMIT_BYTES)?;
        let commit = gix::objs::CommitRef::from_bytes(&data, id.kind()).map_err(doubt)?;
        Ok(commit.tree())
    }

    fn header(&self, id: ObjectId) -> Result<gix::odb::find::Header, Fault> {
        self.repository.find_header(id).map_err(doubt)
    }

    /// Unpacks an object only after its kind and size are known.
    fn data(&self, id: ObjectId, kind: gix::objs::Kind, limit: u64) -> Result<Vec<u8>, Fault> {
        let header = self.header(id)?;
        if header.kind() != kind {
            return Err(Fault::Doubtful(format!(
                "{id} is a {}, not a {kind}",
                header.kind()
            )));
        }
        if header.size() > limit {
            return Err(Fault::Final(self.too_large(Bound::Object, limit)));
        }
        Ok(self
            .repository
            .find_object(id)
            .map_err(doubt)?
            .detach()
            .data)
    }

    fn tree(&self, id: ObjectId) -> Result<Vec<u8>, Fault> {
        if id == ObjectId::empty_tree(id.kind()) {
            return Ok(Vec::new());
        }
        self.data(id, gix::objs::Kind::Tree, MAX_TREE_BYTES)
    }

    /// The tree at a path, or what is wrong with that path.
    fn folder(
        &self,
        root: ObjectId,
        path: &RepoPath,
        revision: &Revision,
    ) -> Result<ObjectId, Fault> {
        let mut folder = root;
        for part in path.parts() {
            let found = match self.entry(folder, part)? {
                Some((EntryKind::Tree, id)) => {
                    folder = id;
                    continue;
                }
                Some((EntryKind::Blob | EntryKind::BlobExecutable, _)) => "a file",
                Some((EntryKind::Link, _)) => "a symbolic link",
                Some((EntryKind::Commit, _)) => "a submodule",
                None => {
                    return Err(Fault::Final(Error::PathMissing {
                        path: path.to_string(),
                        revision: revision.clone(),
                    }));
                }
            };
            return Err(Fault::Final(Error::PathNotAFolder {
                path: path.to_string(),
                revision: revision.clone(),
                found,
            }));
        }
        Ok(folder)
    }

    /// The names in a folder; `None` when there is no such folder.
    fn names(&self, root: ObjectId, path: &str) -> Result<Option<BTreeSet<Vec<u8>>>, Fault> {
        let mut folder = root;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            match self.entry(folder, part)? {
                Some((EntryKind::Tree, id)) => folder = id,
                _ => return Ok(None),
            }
        }
        let data = self.tree(folder)?;
        let mut names = BTreeSet::new();
        for entry in TreeRefIter::from_bytes(&data, folder.kind()) {
            names.insert(entry.map_err(doubt)?.filename.to_vec());
        }
        Ok(Some(names))
    }

    fn entry(&self, tree: ObjectId, name: &str) -> Result<Option<(EntryKind, ObjectId)>, Fault> {
        let data = self.tree(tree)?;
        for entry in TreeRefIter::from_bytes(&data, tree.kind()) {
            let entry = entry.map_err(doubt)?;
            if entry.filename == name.as_bytes() {
                return Ok(Some((entry.mode.kind(), entry.oid.to_owned())));
            }
        }
        Ok(None)
    }

    fn too_large(&self, what: Bound, limit: u64) -> Error {
        Error::TooLarge {
            repository: self.watch.repository(),
            what,
            limit,
        }
    }
}

struct Walk<'a> {
    objects: Objects<'a>,
    selection: &'a Selection,
    root: ObjectId,
    /// Where the path below the stack's path starts in a full path.
    below: usize,
    entries: usize,
    bytes: u64,
    files: Vec<File>,
    problems: Vec<Problem>,
}

impl Walk<'_> {
    /// `prefix` is empty or ends with `/`. The depth is bounded, so that recursion is.
    fn folder(&mut self, id: ObjectId, prefix: &str, depth: usize) -> Result<(), Fault> {
        let Objects { limits, watch, .. } = self.objects;
        if depth > limits.max_depth {
            return Err(self.passed(Bound::Depth, limits.max_depth as u64));
        }
        watch.check()?;
        let data = self.objects.tree(id)?;
        for entry in TreeRefIter::from_bytes(&data, id.kind()) {
            let entry = entry.map_err(doubt)?;
            self.entries += 1;
            if self.entries > limits.max_entries {
                return Err(self.passed(Bound::Entries, limits.max_entries as u64));
            }
            let path = format!("{prefix}{}", String::from_utf8_lossy(entry.filename));
            let below = &path[self.below..];
            let fault = name_fault(entry.filename, &path);
            let kind = entry.mode.kind();
            let concerns_us = match kind {
                EntryKind::Tree => !self.selection.skips_folder(below),
                EntryKind::Commit => !self.selection.leaves_out(below),
                EntryKind::Blob | EntryKind::BlobExecutable => self.selection.selects(below),
                EntryKind::Link => {
                    self.selection.selects(below)
                        || (!self.selection.leaves_out(below)
                            && self.may_lead_to_a_folder(entry.oid.to_owned(), prefix)?)
                }
            };
            if !concerns_us {
                continue;
            }
            if let Some(reason) = fault {
                self.problem(path, reason)?;
                continue;
            }
            match kind {
                EntryKind::Tree => {
                    self.folder(entry.oid.to_owned(), &format!("{path}/"), depth + 1)?;
                }
                EntryKind::Commit => self.problem(path, Reason::Submodule)?,
                EntryKind::Link => self.problem(path, Reason::Symlink)?,
                EntryKind::Blob | EntryKind::BlobExecutable => {
                    self.file(entry.oid.to_owned(), path)?;
                }
            }
        }
        Ok(())
    }

    /// What stands at one path, if it is a file.
    fn single(&mut self, path: &str) -> Result<(), Fault> {
        let mut folder = self.root;
        let mut parts = path.split('/').peekable();
        while let Some(part) = parts.next() {
            let Some((kind, id)) = self.objects.entry(folder, part)? else {
                return Ok(());
            };
            let is_last = parts.peek().is_none();
            match kind {
                EntryKind::Tree => folder = id,
                EntryKind::Blob | EntryKind::BlobExecutable if is_last => {
                    return self.file(id, path.to_owned());
                }
                EntryKind::Blob | EntryKind::BlobExecutable => return Ok(()),
                EntryKind::Link => return self.problem(path.to_owned(), Reason::Symlink),
                EntryKind::Commit => return self.problem(path.to_owned(), Reason::Submodule),
            }
        }
        Ok(())
    }

    fn file(&mut self, id: ObjectId, path: String) -> Result<(), Fault> {
        let Objects { limits, watch, .. } = self.objects;
        watch.check()?;
        let bytes = self.objects.header(id)?.size();
        let limit = limits.max_file_bytes;
        if bytes > limit {
            return self.problem(path, Reason::TooLarge { bytes, limit });
        }
        self.bytes += bytes;
        if self.bytes > limits.max_total_bytes {
            return Err(self.passed(Bound::Bytes, limits.max_total_bytes));
        }
        let bytes = self.objects.data(id, gix::objs::Kind::Blob, limit)?;
        if bytes.len() <= MAX_LFS_POINTER_BYTES && bytes.starts_with(LFS_POINTER) {
            return self.problem(path, Reason::LfsPointer);
        }
        self.files.push(File {
            path,
            blob: id.to_string(),
            bytes,
        });
        self.count()
    }

    fn problem(&mut self, path: String, reason: Reason) -> Result<(), Fault> {
        let path = if reason == Reason::LongPath {
            path.chars().take(200).chain(['…']).collect()
        } else {
            path
        };
        self.problems.push(Problem { path, reason });
        self.count()
    }

    fn count(&self) -> Result<(), Fault> {
        let limit = self.objects.limits.max_files;
        if self.files.len() + self.problems.len() > limit {
            return Err(self.passed(Bound::Files, limit as u64));
        }
        Ok(())
    }

    fn passed(&self, what: Bound, limit: u64) -> Fault {
        Fault::Final(self.objects.too_large(what, limit))
    }

    /// Whether manifests may stand behind a link whose own name is not a manifest's.
    /// A link to a plain file, to nowhere or out of the repository hides none.
    fn may_lead_to_a_folder(&self, link: ObjectId, prefix: &str) -> Result<bool, Fault> {
        if self.objects.header(link)?.size() > MAX_PATH_BYTES as u64 {
            return Ok(false);
        }
        let target = self
            .objects
            .data(link, gix::objs::Kind::Blob, MAX_PATH_BYTES as u64)?;
        let Ok(target) = std::str::from_utf8(&target) else {
            return Ok(false);
        };
        if target.starts_with('/') {
            return Ok(false);
        }
        let mut parts: Vec<&str> = prefix.split('/').filter(|part| !part.is_empty()).collect();
        for part in target.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    if parts.pop().is_none() {
                        return Ok(false);
                    }
                }
                part => parts.push(part),
            }
        }
        let mut folder = self.root;
        for part in parts {
            match self.objects.entry(folder, part)? {
                Some((EntryKind::Tree, id)) => folder = id,
                Some((EntryKind::Link | EntryKind::Commit, _)) => return Ok(true),
                Some((EntryKind::Blob | EntryKind::BlobExecutable, _)) | None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// In the order of paths. A name that a tree holds twice is nobody's file: which of the
    /// two is meant cannot be said.
    fn finish(self) -> (Vec<File>, Vec<Problem>) {
        let Self {
            mut files,
            mut problems,
            ..
        } = self;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let twice: BTreeSet<String> = files
            .windows(2)
            .filter(|pair| pair[0].path == pair[1].path)
            .map(|pair| pair[0].path.clone())
            .collect();
        files.retain(|file| !twice.contains(&file.path));
        problems.extend(twice.into_iter().map(|path| Problem {
            path,
            reason: Reason::Twice,
        }));
        problems.sort();
        problems.dedup();
        (files, problems)
    }
}

fn name_fault(name: &[u8], path: &str) -> Option<Reason> {
    let Ok(name) = std::str::from_utf8(name) else {
        return Some(Reason::NotUtf8);
    };
    if path.len() > MAX_PATH_BYTES {
        return Some(Reason::LongPath);
    }
    let is_bad = matches!(name, "" | "." | "..")
        || name.contains(['/', '\\'])
        || name.chars().any(char::is_control);
    is_bad.then_some(Reason::BadName)
}

fn signature(commit: &gix::objs::CommitRef<'_>) -> Signature {
    let is_signature = |name: &&str| matches!(*name, "gpgsig" | "gpgsig-sha256");
    let names = commit.extra_headers.iter().map(|(name, _)| *name);
    let mut names = names.filter_map(|name| std::str::from_utf8(name).ok());
    if names.any(|name| is_signature(&name)) {
        Signature::Present
    } else {
        Signature::Unsigned
    }
}

fn person(signature: gix::actor::SignatureRef<'_>) -> Person {
    let seconds = signature
        .time()
        .map(|time| time.seconds)
        .unwrap_or_default();
    Person {
        name: String::from_utf8_lossy(signature.name).into_owned(),
        email: String::from_utf8_lossy(signature.email).into_owned(),
        at: Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH),
    }
}

/// An object that cannot be found or read.
pub(super) fn doubt(error: impl std::error::Error + 'static) -> Fault {
    Fault::Doubtful(one_line(&error))
}
