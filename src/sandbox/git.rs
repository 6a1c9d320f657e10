//! A Git host in miniature: a repository that is written without the git binary, and the signed
//! push webhooks that GitHub would send for it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use gix::objs::{
    Tree,
    tree::{Entry, EntryKind},
};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// Who commits and pushes.
#[derive(Debug, Clone, Copy)]
pub struct Author {
    pub name: &'static str,
    pub login: &'static str,
    pub email: &'static str,
}

/// A bare repository with one branch, `main`, and what its next commit will hold.
#[derive(Debug)]
pub struct Repository {
    folder: PathBuf,
    files: BTreeMap<String, String>,
    head: Option<String>,
    before: Option<String>,
    last: Option<Value>,
    pushes: AtomicU64,
}

/// A request as GitHub would send it.
#[derive(Debug, Clone)]
pub struct Push {
    pub delivery: String,
    pub body: String,
    /// The value of `X-Hub-Signature-256`.
    pub signature: String,
}

impl Repository {
    pub fn create(folder: &Path) -> Result<Self> {
        gix::init_bare(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
            files: BTreeMap::new(),
            head: None,
            before: None,
            last: None,
            pushes: AtomicU64::new(0),
        })
    }

    pub fn write(&mut self, path: &str, text: &str) {
        self.files.insert(path.to_owned(), text.to_owned());
    }

    pub fn remove(&mut self, path: &str) {
        self.files.remove(path);
    }

    pub fn files(&self) -> &BTreeMap<String, String> {
        &self.files
    }

    pub fn replace_all(&mut self, files: BTreeMap<String, String>) {
        self.files = files;
    }

    /// Commits what is there now to `main`, and says which commit it is.
    pub fn commit(&mut self, author: Author, message: &str) -> Result<String> {
        let repository = gix::open_opts(&self.folder, gix::open::Options::isolated())?;
        let tree = write_tree(&repository, &self.files)?;
        let signature = gix::actor::Signature {
            name: author.name.into(),
            email: author.email.into(),
            time: gix::date::Time::now_utc(),
        };
        let parent = self
            .head
            .as_deref()
            .map(|head| gix::ObjectId::from_hex(head.as_bytes()))
            .transpose()?;
        let mut time = gix::date::parse::TimeBuf::default();
        let signature = signature.to_ref(&mut time);
        let id = repository
            .commit_as(
                signature,
                signature,
                "refs/heads/main",
                message,
                tree,
                parent,
            )?
            .to_string();
        let commit = json!({
            "id": id, "message": message, "distinct": true,
            "timestamp": "2026-01-01T00:00:00Z",
            "author": {"name": author.name, "email": author.email, "username": author.login},
            "committer": {"name": author.name, "email": author.email, "username": author.login},
            "added": [], "removed": [], "modified": [],
        });
        self.last = Some(commit);
        self.before = self.head.replace(id.clone());
        Ok(id)
    }

    pub fn head(&self) -> Option<&str> {
        self.head.as_deref()
    }

    /// The webhook that announces the last commit.
    pub fn push(&self, full_name: &str, pusher: Author, secret: &str) -> Push {
        let number = self.pushes.fetch_add(1, Ordering::Relaxed) + 1;
        let zero = "0".repeat(40);
        let before = self.before.clone().unwrap_or_else(|| zero.clone());
        let after = self.head.clone().unwrap_or(zero);
        let name = full_name.rsplit('/').next().unwrap_or(full_name);
        let body = json!({
            "ref": "refs/heads/main", "before": before, "after": after,
            "created": self.before.is_none(), "deleted": false, "forced": false,
            "base_ref": null, "compare": "", "commits": [self.last], "head_commit": self.last,
            "pusher": {"name": pusher.login, "email": pusher.email},
            "sender": {"login": pusher.login, "id": 1},
            "repository": {"id": 1, "name": name, "full_name": full_name, "default_branch": "main"},
        })
        .to_string();
        let mut mac: Hmac<Sha256> =
            Hmac::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
        mac.update(body.as_bytes());
        Push {
            delivery: format!("{after}-{number}"),
            signature: format!("sha256={}", hex::encode(mac.finalize().into_bytes())),
            body,
        }
    }
}

/// Writes files as blobs and folders as trees, and answers the root's id.
fn write_tree(
    repository: &gix::Repository,
    files: &BTreeMap<String, String>,
) -> Result<gix::ObjectId> {
    let mut folders: BTreeMap<&str, BTreeMap<String, String>> = BTreeMap::new();
    let mut entries = Vec::new();
    for (path, text) in files {
        if let Some((folder, rest)) = path.split_once('/') {
            folders
                .entry(folder)
                .or_default()
                .insert(rest.to_owned(), text.clone());
            continue;
        }
        entries.push(Entry {
            mode: EntryKind::Blob.into(),
            filename: path.as_str().into(),
            oid: repository.write_blob(text)?.detach(),
        });
    }
    for (folder, files) in folders {
        entries.push(Entry {
            mode: EntryKind::Tree.into(),
            filename: folder.into(),
            oid: write_tree(repository, &files)?,
        });
    }
    entries.sort();
    Ok(repository.write_object(&Tree { entries })?.detach())
}
