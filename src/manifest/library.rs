//! Every file that may be read, by its path: those that are read by themselves, and those that
//! are read where another file, or the stack, names them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{
    Limits, Options, Place, Problem, Reading, SourceFile,
    draft::Draft,
    source::{Document, Source},
};
use crate::domain::parallel;

pub(super) struct Library<'f> {
    sources: BTreeMap<&'f str, Source<'f>>,
    /// Those that are manifests unless something else is said of them, in their order.
    listed: BTreeSet<&'f str>,
    limits: &'f Limits,
    /// What those hold that were parsed before they are asked for.
    parsed: Mutex<BTreeMap<&'f str, Parsed>>,
}

type Parsed = Result<Vec<Document>, Problem>;

impl<'f> Library<'f> {
    pub fn new(files: &[&'f SourceFile], options: &'f Options) -> Self {
        let all = options.further.iter().chain(files.iter().copied());
        Self {
            sources: all
                .map(|file| (file.path.as_str(), Source::new(file)))
                .collect(),
            listed: files.iter().map(|file| file.path.as_str()).collect(),
            limits: &options.limits,
            parsed: Mutex::default(),
        }
    }

    /// Parses all on all cores, where one file after the other is going to be asked for.
    pub fn parse(&self) {
        let sources = self.sources.iter().collect();
        let parsed = parallel::map(sources, |(path, source): (&&'f str, &Source<'f>)| {
            (*path, source.parse(self.limits))
        });
        *self.waiting() = parsed.into_iter().collect();
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<&'f str, Parsed>> {
        self.parsed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn listed(&self) -> impl Iterator<Item = &'f str> + '_ {
        self.listed.iter().copied()
    }

    pub fn has(&self, path: &str) -> bool {
        self.sources.contains_key(path)
    }

    pub fn source(&self, path: &str) -> Option<&Source<'f>> {
        self.sources.get(path)
    }

    /// The documents of a file. One that cannot be read leaves a problem behind.
    pub fn documents(&self, path: &str, reading: &mut Reading<'_>) -> Vec<Draft> {
        let Some(source) = self.sources.get(path) else {
            return Vec::new();
        };
        // A file that several ask for is parsed again for each: they change what they get.
        let parsed = self.waiting().remove(path);
        match parsed.unwrap_or_else(|| source.parse(self.limits)) {
            Ok(documents) => {
                let draft = |document: Document| {
                    Draft::new(document.value, Place::new(path, document.index))
                };
                documents.into_iter().map(draft).collect()
            }
            Err(problem) => {
                reading.problems.push(problem);
                Vec::new()
            }
        }
    }
}

/// A path that a file of a folder names, seen from the repository's root; `None` when it leads out
/// of the repository.
pub(super) fn join(folder: &str, path: &str) -> Option<String> {
    if path.starts_with('/') || path.contains('\\') || path.chars().any(char::is_control) {
        return None;
    }
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

pub(super) fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

pub(super) fn name_of(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// Whether a path, of a file or folder, lies below a folder.
pub(super) fn is_below(folder: &str, path: &str) -> bool {
    folder.is_empty()
        || path
            .strip_prefix(folder)
            .is_some_and(|rest| rest.starts_with('/'))
}

pub(super) fn in_folder(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        name.to_owned()
    } else {
        format!("{folder}/{name}")
    }
}

/// The folders around a path, the nearest first, the root last.
pub(super) fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    let mut next = (!path.is_empty()).then_some(path);
    std::iter::from_fn(move || {
        let folder = folder_of(next?);
        next = (!folder.is_empty()).then_some(folder);
        Some(folder)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_leaves_the_repository() {
        for (folder, path, expected) in [
            ("a/b", "../c.yaml", Some("a/c.yaml")),
            ("a/b", "../../../c", None),
            ("", "..", None),
            ("a", "/etc/passwd", None),
            ("a", "./b//c", Some("a/b/c")),
            ("a", "b/../../a", Some("a")),
            ("a", "b\\c", None),
            ("a", "..", Some("")),
        ] {
            assert_eq!(join(folder, path).as_deref(), expected, "{folder} {path}");
        }
    }

    #[test]
    fn the_folders_around_a_path_end_at_the_root() {
        let found: Vec<&str> = ancestors("a/b/c.yaml").collect();
        assert_eq!(found, ["a/b", "a", ""]);
        assert_eq!(ancestors("c.yaml").collect::<Vec<_>>(), [""]);
    }
}
