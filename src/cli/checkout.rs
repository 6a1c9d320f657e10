//! Manifests as they lie on this machine, read as a run reads them from their repository: a file
//! that another one names is found wherever it lies in the checkout, and nothing outside of it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::Context;

use super::validate::collect;
use crate::{
    git::Selection,
    manifest::{
        self, Checked, Environment, Ignored, Limits, Manifests, Options, Problem, Search,
        SourceFile,
    },
};

/// Files by their paths from the repository's root, as manifests name each other.
pub(super) struct Checkout {
    root: PathBuf,
    pub files: Vec<SourceFile>,
    further: Vec<SourceFile>,
    /// The folders that were asked for.
    pub folders: Vec<String>,
    /// What each file is called by whoever asked.
    shown: BTreeMap<String, String>,
}

impl Checkout {
    /// Reads what lies at some paths. The repository is the one that they lie in; without one, it
    /// is the folder around them all.
    pub fn around(paths: &[PathBuf], selection: &Selection) -> anyhow::Result<Self> {
        let full: Vec<PathBuf> = paths
            .iter()
            .map(|path| path.canonicalize().with_context(|| unreadable(path)))
            .collect::<anyhow::Result<_>>()?;
        let root = root_of(&full).context("no path was given")?;
        let mut checkout = Self::new(root);
        for (path, full) in paths.iter().zip(&full) {
            checkout.collect(path, full, selection)?;
        }
        Ok(checkout)
    }

    /// Reads a folder of a checkout whose root is known.
    pub fn of_stack(root: &Path, folder: &str, selection: &Selection) -> anyhow::Result<Self> {
        let full = root.canonicalize().with_context(|| unreadable(root))?;
        let mut checkout = Self::new(full.clone());
        checkout.collect(&root.join(folder), &full.join(folder), selection)?;
        Ok(checkout)
    }

    fn new(root: PathBuf) -> Self {
        Self {
            root,
            files: Vec::new(),
            further: Vec::new(),
            folders: Vec::new(),
            shown: BTreeMap::new(),
        }
    }

    fn collect(&mut self, path: &Path, full: &Path, selection: &Selection) -> anyhow::Result<()> {
        let mut files = Vec::new();
        collect(path, path, selection, &mut files).with_context(|| unreadable(path))?;
        if full.is_dir() {
            self.folders.push(self.below(full));
        }
        for file in files {
            let own = Path::new(&file.path).strip_prefix(path);
            let below = self.below(&own.map_or_else(|_| full.to_owned(), |own| full.join(own)));
            self.shown.insert(below.clone(), file.path);
            self.files.push(SourceFile {
                path: below,
                bytes: file.bytes,
            });
        }
        Ok(())
    }

    /// A path from the root, with `/` between its parts.
    fn below(&self, full: &Path) -> String {
        let below = full.strip_prefix(&self.root).unwrap_or(full);
        let parts = below
            .components()
            .map(|part| part.as_os_str().to_string_lossy());
        parts.collect::<Vec<_>>().join("/")
    }

    /// Reads the manifests, with what they name, and calls every file as whoever asked calls it.
    pub fn check(&mut self, options: &mut Options) -> Checked {
        let searched = self.complete(&options.environment, &options.limits);
        options.folders.clone_from(&self.folders);
        options.further = std::mem::take(&mut self.further);
        let mut checked = manifest::check(&self.files, options);
        // What comes of files that are not all there is nobody's wish.
        if let Err(problem) = searched {
            checked.problems = vec![problem];
        }
        self.name_all(&mut checked);
        checked
    }

    /// The same for whoever needs all of them to be right.
    pub fn read(&mut self, options: &mut Options) -> anyhow::Result<Manifests> {
        let Checked {
            manifests,
            problems,
        } = self.check(options);
        if problems.is_empty() {
            return Ok(manifests);
        }
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow::bail!(
            "{} problems of the manifests:\n{}",
            problems.len(),
            lines.join("\n")
        );
    }

    /// Looks for what the files, and the stack, name.
    fn complete(&mut self, environment: &Environment, limits: &Limits) -> Result<(), Problem> {
        let mut search = Search::new(environment.clone(), limits.clone());
        loop {
            let named = search.next(&self.files)?;
            if named.is_empty() {
                self.further = search.into_found();
                return Ok(());
            }
            search.add(
                named
                    .into_iter()
                    .filter_map(|path| self.single(path, limits)),
            );
        }
    }

    /// One file, unless a link leads to it: neither would it be followed in a repository.
    fn single(&self, path: String, limits: &Limits) -> Option<SourceFile> {
        let full = self.root.join(&path);
        let metadata = std::fs::symlink_metadata(&full).ok()?;
        let is_small = metadata.len() <= limits.file_bytes as u64;
        let is_plain = full.canonicalize().ok()? == full;
        (metadata.is_file() && is_small && is_plain)
            .then(|| std::fs::read(&full).ok())?
            .map(|bytes| SourceFile { path, bytes })
    }

    /// What a file is called by whoever asked.
    pub fn shown(&self, path: &str) -> String {
        if let Some(shown) = self.shown.get(path) {
            return shown.clone();
        }
        let full = self.root.join(path);
        if !full.exists() {
            return path.to_owned();
        }
        let here = std::env::current_dir().and_then(|folder| folder.canonicalize());
        let below = here
            .ok()
            .and_then(|here| Some(full.strip_prefix(here).ok()?.to_owned()));
        below.unwrap_or(full).display().to_string()
    }

    fn name_problems(&self, problems: &mut [Problem]) {
        for problem in problems {
            problem.file = self.shown(&problem.file);
        }
    }

    fn name_all(&self, checked: &mut Checked) {
        let Checked {
            manifests,
            problems,
        } = checked;
        self.name_problems(problems);
        self.name_problems(&mut manifests.warnings);
        for Ignored { path, .. } in &mut manifests.ignored {
            *path = self.shown(path);
        }
        for object in manifests.desired.values_mut() {
            object.path = self.shown(&object.path);
        }
    }
}

fn unreadable(path: &Path) -> String {
    format!("cannot read {}", path.display())
}

fn root_of(paths: &[PathBuf]) -> Option<PathBuf> {
    let folder = |path: &PathBuf| {
        if path.is_dir() {
            path.clone()
        } else {
            path.parent().unwrap_or(path).to_owned()
        }
    };
    let mut folders = paths.iter().map(folder);
    let mut common = folders.next()?;
    for folder in folders {
        while !folder.starts_with(&common) {
            common.pop();
        }
    }
    let repository = common
        .ancestors()
        .find(|folder| folder.join(".git").exists())
        .map(Path::to_owned);
    Some(repository.unwrap_or(common))
}
