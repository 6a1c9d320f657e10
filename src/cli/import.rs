//! `lockstep import TARGET --into DIR`: a live gateway as manifests.
//!
//! Files are made below the one folder that was named and nowhere else, whole or not at all, and
//! nothing that is there is lost: a file that says something else stays unless it is forced.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::{Args, ValueEnum};
use globset::{Glob, GlobMatcher};
use serde::Serialize;
use serde_json::json;

use super::{Exit, Invocation, find_target, output, sync::asker, take_target, validate::collect};
use crate::{
    app::Target,
    domain::{
        audit::event::{EventType, NewEvent},
        object::{Kind, ObjectKey},
    },
    git::Selection,
    manifest::{
        self, SourceFile,
        write::{self, Manifest},
    },
    sync::import::{self, Taken},
};

/// Write what a gateway runs as manifests that change nothing on it.
///
/// Every manifest is read again and compared with the gateway before it is written. Secrets are
/// replaced by references to variables in the gateway's own environment, and listed. The gateway
/// is only read. Safe to run twice: equal files stay untouched, and one that says something else is
/// not overwritten. Exit code 0: done; 1: something could not be written, or not exactly.
#[derive(Debug, Args)]
pub struct Import {
    /// The gateway: a [target.NAME] of the configuration
    target: String,
    /// The folder for the manifests; made if it is missing
    #[arg(long, value_name = "DIR")]
    into: PathBuf,
    /// The form of the manifests
    #[arg(long, value_enum, default_value_t = Layout::Native)]
    layout: Layout,
    /// Only objects whose KIND/ID or name matches; may be given more than once
    #[arg(long, value_name = "GLOB", value_parser = glob)]
    only: Vec<GlobMatcher>,
    /// Overwrite files that say something else
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Layout {
    /// The gateway's own documents, as JSON
    Native,
    /// Tyk Operator's resources, as YAML, for what they can express exactly
    Operator,
}

impl From<Layout> for write::Layout {
    fn from(layout: Layout) -> Self {
        match layout {
            Layout::Native => Self::Native,
            Layout::Operator => Self::Operator,
        }
    }
}

fn glob(text: &str) -> Result<GlobMatcher, String> {
    let glob = Glob::new(text).map_err(|error| error.kind().to_string())?;
    Ok(glob.compile_matcher())
}

impl Import {
    pub async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let app = invocation.open().await?;
        let target = find_target(&app, &self.target)?.clone();
        let holding = take_target(&app, &target.name).await?;
        let taken = import::take(&target, &app.masker, |key, name| self.selects(key, name)).await;
        holding.release().await?;
        let taken = taken.with_context(|| format!("the target {}", target.name))?;
        let masker = app.masker.clone();
        let result =
            tokio::task::spawn_blocking(move || self.write(&target, taken, &masker)).await??;
        let by = asker(&app);
        let event = NewEvent {
            target: Some(result.target.clone()),
            people: vec![("operator".to_owned(), by.on_record())],
            ..app
                .event(EventType::ObjectsImported, by.actor, result.on_record())
                .traced(by.trace.as_ref())
        };
        app.store.record_events(&[event]).await?;
        result.print(invocation)?;
        Ok(result.exit())
    }

    fn selects(&self, key: &ObjectKey, name: &str) -> bool {
        let is_match = |only: &GlobMatcher| only.is_match(key.to_string()) || only.is_match(name);
        self.only.is_empty() || self.only.iter().any(is_match)
    }

    fn write(
        &self,
        target: &Target,
        taken: Taken,
        masker: &crate::domain::secrets::Masker,
    ) -> anyhow::Result<Imported> {
        let options = manifest::Options {
            org: target.org.clone(),
            ..manifest::Options::default()
        };
        let folder = Folder::open(&self.into)?;
        let there = folder.described(&options)?;
        let written = write::write(&taken.objects, self.layout.into(), &options, masker);
        let mut objects = Vec::new();
        for manifest in written.manifests {
            let elsewhere = there
                .get(&manifest.object)
                .filter(|place| place.path != manifest.path);
            let outcome = match elsewhere {
                Some(place) => Outcome::Failed(format!("{} describes it already", place.path)),
                None => folder.put(&manifest, self.force),
            };
            objects.push((manifest, outcome));
        }
        let gone = there
            .into_iter()
            .filter(|(key, place)| !taken.listed.contains(key) && self.selects(key, &place.name))
            .map(|(object, place)| Gone {
                object,
                file: place.path,
            })
            .collect();
        Ok(Imported {
            target: target.name.clone(),
            version: taken.version,
            folder: self.into.clone(),
            objects,
            refused: written.refused,
            left_out: taken.left_out,
            nameless: taken.nameless,
            gone,
        })
    }
}

/// What became of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Written,
    Unchanged,
    Overwritten,
    /// It says something else, and stays.
    Kept,
    Failed(String),
}

impl Outcome {
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Unchanged => "unchanged",
            Self::Overwritten => "overwritten",
            Self::Kept => "kept",
            Self::Failed(_) => "failed",
        }
    }
}

/// A file that describes an object which the gateway does not have.
#[derive(Debug, Serialize)]
struct Gone {
    object: ObjectKey,
    file: String,
}

/// What a file of the folder describes.
struct Described {
    path: String,
    name: String,
}

/// The folder that is written to.
pub(super) struct Folder {
    root: PathBuf,
}

impl Folder {
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let place = || format!("cannot use the folder {}", path.display());
        fs::create_dir_all(path).with_context(place)?;
        let root = fs::canonicalize(path).with_context(place)?;
        Ok(Self { root })
    }

    /// The objects that files of the folder describe already. A file that cannot be read
    /// describes nothing; `lockstep validate` says what is wrong with it.
    fn described(
        &self,
        options: &manifest::Options,
    ) -> anyhow::Result<BTreeMap<ObjectKey, Described>> {
        let mut files = Vec::new();
        collect(&self.root, &self.root, &Selection::default(), &mut files)
            .with_context(|| format!("cannot read {}", self.root.display()))?;
        for file in &mut files {
            let below = Path::new(&file.path).strip_prefix(&self.root);
            if let Ok(below) = below.map(|below| below.to_string_lossy().into_owned()) {
                file.path = below;
            }
        }
        let read = |files: &[SourceFile]| manifest::read(files, options);
        let found: Vec<manifest::Manifests> = match read(&files) {
            Ok(all) => vec![all],
            Err(_) => files
                .iter()
                .filter_map(|file| read(std::slice::from_ref(file)).ok())
                .collect(),
        };
        let objects = found.into_iter().flat_map(|read| read.desired);
        Ok(objects
            .map(|(key, object)| {
                let name = object.name().to_owned();
                let path = object.path;
                (key, Described { path, name })
            })
            .collect())
    }

    pub(super) fn put(&self, manifest: &Manifest, force: bool) -> Outcome {
        self.try_put(manifest, force)
            .unwrap_or_else(|error| Outcome::Failed(format!("{}: {error}", manifest.path)))
    }

    fn try_put(&self, manifest: &Manifest, force: bool) -> std::io::Result<Outcome> {
        let path = self.root.join(&manifest.path);
        let parent = path.parent().unwrap_or(&self.root);
        if let Err(error) = fs::create_dir(parent)
            && error.kind() != ErrorKind::AlreadyExists
        {
            return Err(error);
        }
        // What is written must be in the folder that was named, whatever lies in it.
        if !fs::symlink_metadata(parent)?.is_dir() {
            return Err(std::io::Error::other(
                "its folder is a link or a file; nothing is written through it",
            ));
        }
        let outcome = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Outcome::Written,
            Err(error) => return Err(error),
            Ok(there) if !there.is_file() => {
                return Err(std::io::Error::other(
                    "a link or a folder stands in its place; nothing is written through it",
                ));
            }
            Ok(there) => {
                let is_equal = there.len() == manifest.text.len() as u64
                    && fs::read(&path)? == manifest.text.as_bytes();
                match (is_equal, force) {
                    (true, _) => return Ok(Outcome::Unchanged),
                    (false, false) => return Ok(Outcome::Kept),
                    (false, true) => Outcome::Overwritten,
                }
            }
        };
        // Whoever looks sees the old file or the new one, never half of one.
        let mut file = tempfile::Builder::new()
            .prefix(".import-")
            .permissions(permissions())
            .tempfile_in(parent)?;
        file.write_all(manifest.text.as_bytes())?;
        file.as_file().sync_all()?;
        if outcome == Outcome::Written {
            file.persist_noclobber(&path)?;
        } else {
            file.persist(&path)?;
        }
        Ok(outcome)
    }
}

/// Manifests hold no secret, and others are to commit them; the process's mask still applies.
fn permissions() -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o644)
}

/// What an import came to.
struct Imported {
    target: String,
    version: String,
    folder: PathBuf,
    objects: Vec<(Manifest, Outcome)>,
    refused: Vec<write::Refused>,
    left_out: Vec<import::LeftOut>,
    nameless: usize,
    gone: Vec<Gone>,
}

impl Imported {
    fn exit(&self) -> Exit {
        let is_well = |(manifest, outcome): &(Manifest, Outcome)| {
            let is_there = !matches!(outcome, Outcome::Kept | Outcome::Failed(_));
            is_there && manifest.differs.is_empty()
        };
        let whole =
            self.refused.is_empty() && self.objects.iter().all(is_well) && self.left_out.is_empty();
        if whole { Exit::Done } else { Exit::Failed }
    }

    fn count(&self, word: &str) -> usize {
        let outcomes = self.objects.iter().map(|(_, outcome)| outcome.word());
        outcomes.filter(|outcome| *outcome == word).count()
    }

    fn secrets(&self) -> impl Iterator<Item = (&Manifest, &write::Secret)> {
        self.objects.iter().flat_map(|(manifest, _)| {
            manifest
                .secrets
                .iter()
                .map(move |secret| (manifest, secret))
        })
    }

    fn print(&self, invocation: &Invocation) -> anyhow::Result<()> {
        if invocation.is_json() {
            output::json(&self.to_json())?;
        } else {
            output::text(&self.to_text());
        }
        if !self.objects.is_empty() {
            eprintln!("{}", self.next_steps());
        }
        Ok(())
    }

    /// What the history says of it, of a bounded length.
    fn on_record(&self) -> serde_json::Value {
        const MOST_OBJECTS: usize = 200;
        let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, outcome) in &self.objects {
            *outcomes.entry(outcome.word()).or_default() += 1;
        }
        let objects = self.objects.iter().map(|(manifest, _)| &manifest.object);
        json!({
            "gateway": self.version,
            "folder": self.folder,
            "complete": self.exit() == Exit::Done,
            "count": self.objects.len(),
            "objects": objects.take(MOST_OBJECTS).collect::<Vec<_>>(),
            "outcomes": outcomes,
            "refused": self.refused.len(),
            "left_out": self.left_out.len(),
        })
    }

    fn to_json(&self) -> serde_json::Value {
        json!({
            "target": self.target,
            "gateway_version": self.version,
            "folder": self.folder,
            "complete": self.exit() == Exit::Done,
            "objects": self.objects.iter().map(|(manifest, outcome)| json!({
                "object": manifest.object,
                "name": manifest.name,
                "file": manifest.path,
                "layout": manifest.layout,
                "outcome": outcome.word(),
                "problem": if let Outcome::Failed(reason) = outcome { Some(reason) } else { None },
                "notes": manifest.notes,
                "differs": manifest.differs,
            })).collect::<Vec<_>>(),
            "secrets": self.secrets().map(|(manifest, secret)| json!({
                "object": secret.object,
                "file": manifest.path,
                "pointer": secret.pointer,
                "variable": secret.variable,
            })).collect::<Vec<_>>(),
            "refused": self.refused,
            "left_out": self.left_out,
            "nameless": self.nameless,
            "gone": self.gone,
        })
    }

    fn to_text(&self) -> String {
        let mut lines = Vec::new();
        for (manifest, outcome) in &self.objects {
            let Manifest {
                object,
                path,
                notes,
                differs,
                ..
            } = manifest;
            match outcome {
                Outcome::Unchanged => {}
                Outcome::Written | Outcome::Overwritten => {
                    lines.push(format!("{}: {object} in {path}", outcome.word()));
                }
                Outcome::Kept => lines.push(format!(
                    "kept: {path} says something else than {object} on the gateway; --force \
                     overwrites it"
                )),
                Outcome::Failed(reason) => lines.push(format!("failed: {object}: {reason}")),
            }
            for note in notes {
                lines.push(format!("note: {object}: {note}"));
            }
            if !differs.is_empty() {
                lines.push(format!(
                    "differs: {object} cannot be written so that it plans empty: {}",
                    differs.join(", ")
                ));
            }
        }
        for refused in &self.refused {
            lines.push(format!("failed: {}: {}", refused.object, refused.reason));
        }
        for left in &self.left_out {
            lines.push(format!("left out: {}: {}", left.object, left.reason));
        }
        if self.nameless > 0 {
            lines.push(format!(
                "left out: {} without an id, which nothing can be done with",
                self.nameless
            ));
        }
        for gone in &self.gone {
            lines.push(format!(
                "gone: {} describes {}, which the gateway does not have",
                gone.file, gone.object
            ));
        }
        lines.push(format!(
            "{} objects of {}: {} written, {} unchanged, {} overwritten, {} kept, {} failed, {} left out",
            self.objects.len() + self.refused.len() + self.left_out.len() + self.nameless,
            self.target,
            self.count("written"),
            self.count("unchanged"),
            self.count("overwritten"),
            self.count("kept"),
            self.count("failed") + self.refused.len(),
            self.left_out.len() + self.nameless,
        ));
        let secrets: Vec<_> = self.secrets().collect();
        if !secrets.is_empty() {
            lines.push(String::new());
            lines.push(
                "Secrets, to be given to the gateway as variables of its process's environment:"
                    .to_owned(),
            );
            for (manifest, secret) in secrets {
                lines.push(format!(
                    "  {}  {} {}, {}",
                    secret.variable, secret.object, secret.pointer, manifest.path
                ));
            }
            let in_documents = self
                .secrets()
                .any(|(_, secret)| secret.object.kind == Kind::OasApi);
            if in_documents && resolves_in_part(&self.version) {
                lines.push(format!(
                    "This gateway ({}) resolves references in OAS documents only where a classic \
                     definition has the same field; 5.14 and later resolve them all.",
                    self.version
                ));
            }
        }
        lines.join("\n")
    }

    fn next_steps(&self) -> String {
        let mut steps = Vec::new();
        if self.secrets().next().is_some() {
            steps.push(
                "give the gateway the variables that are listed, with the values that it uses \
                 now: without them the next write of such an object would lose its secret"
                    .to_owned(),
            );
        }
        steps.push(format!(
            "put {} under Git, and add a [repository] and a [stack] with target = \"{}\"",
            self.folder.display(),
            self.target
        ));
        steps.push(
            "`lockstep plan STACK`, then `lockstep sync STACK`: objects that are equal are adopted \
             by themselves, and nothing is written to the gateway"
                .to_owned(),
        );
        let differing: BTreeSet<String> = self
            .objects
            .iter()
            .filter(|(manifest, _)| !manifest.differs.is_empty())
            .map(|(manifest, _)| manifest.object.to_string())
            .collect();
        if !differing.is_empty() {
            let differing: Vec<String> = differing.into_iter().collect();
            steps.push(format!(
                "`lockstep adopt STACK {} --reason …` for what differs, once you want it as its \
                 manifest says",
                differing.join(" ")
            ));
        }
        let numbered: Vec<String> = steps
            .iter()
            .enumerate()
            .map(|(index, step)| format!("  {}. {step}", index + 1))
            .collect();
        format!("next:\n{}", numbered.join("\n"))
    }
}

/// Before 5.14 references are looked for in the classic projection of an OAS document alone. A
/// gateway that was built from sources does not know its version.
fn resolves_in_part(version: &str) -> bool {
    if version.ends_with("-dev") {
        return false;
    }
    let mut parts = version.trim_start_matches('v').split('.');
    let mut number = || parts.next()?.parse::<u32>().ok();
    matches!((number(), number()), (Some(major), Some(minor)) if (major, minor) < (5, 14))
}
