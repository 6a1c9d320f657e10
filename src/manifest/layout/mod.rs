//! Which files are read, and as what: a file that another one speaks for is not read by itself.
//!
//! `kustomization.yaml` speaks for the YAML and JSON below its folder, `.tyk.json` for the JSON
//! below its own, the stack for its values and patches. Everything else is read as it is.

mod kustomize;
mod names;
mod tyk_sync;

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Environment, Limits, PatchSource, Place, Problem, Reading, SourceFile,
    draft::Draft,
    library::{Library, ancestors, folder_of, in_folder, name_of},
};

/// What the files came to.
#[derive(Default)]
struct Arranged {
    drafts: Vec<Draft>,
    /// Files that another one spoke for.
    taken: BTreeSet<String>,
}

const CHART: &str = "Chart.yaml";

const COMMIT_THE_OUTPUT: &str = "commit the built output instead, and exclude this folder";

/// The documents that files were made into that speak for others, and the files that are read as
/// they are.
pub(super) fn arrange<'f>(
    library: &Library<'f>,
    reading: &mut Reading<'_>,
) -> (Vec<Draft>, Vec<&'f str>) {
    let mut arranged = Arranged {
        taken: named_by_stack(&reading.options.environment),
        ..Arranged::default()
    };
    let charts = refuse_charts(library, reading);
    let is_in_chart = |path: &str| ancestors(path).any(|folder| charts.contains(folder));

    let mut kustomizations: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut indexes = BTreeMap::new();
    for path in library.listed().filter(|path| !is_in_chart(path)) {
        if kustomize::NAMES.contains(&name_of(path)) {
            kustomizations
                .entry(folder_of(path))
                .or_default()
                .push(path);
        } else if name_of(path) == tyk_sync::INDEX {
            indexes.insert(folder_of(path), path);
        }
    }
    if !kustomizations.is_empty() || !indexes.is_empty() {
        library.parse();
    }
    let folders: BTreeSet<&str> = kustomizations.keys().copied().collect();
    kustomize::read(&folders, library, reading, &mut arranged);
    for index in indexes.values() {
        arranged.taken.insert((*index).to_owned());
        tyk_sync::read(index, library, reading, &mut arranged);
    }

    let mut plain = Vec::new();
    for path in library.listed() {
        if arranged.taken.contains(path) || is_in_chart(path) {
            continue;
        }
        let is_json = path.to_ascii_lowercase().ends_with(".json");
        let index = ancestors(path).find(|folder| indexes.contains_key(folder));
        let kustomization = ancestors(path).find(|folder| folders.contains(folder));
        let reason = match (kustomization, index) {
            (_, Some(folder)) if is_json => {
                format!("{} does not list it", in_folder(folder, tyk_sync::INDEX))
            }
            (Some(folder), _) => format!(
                "the kustomization of {} does not use it",
                if folder.is_empty() {
                    "the root"
                } else {
                    folder
                }
            ),
            _ => {
                plain.push(path);
                continue;
            }
        };
        reading.ignore(&Place::new(path, 0), reason);
    }
    (arranged.drafts, plain)
}

fn named_by_stack(environment: &Environment) -> BTreeSet<String> {
    let patches = environment.patches.iter().filter_map(|patch| match patch {
        PatchSource::File(path) => Some(path.clone()),
        PatchSource::Inline { .. } => None,
    });
    environment.values.iter().cloned().chain(patches).collect()
}

/// A chart is a program that writes manifests; only its output can be read.
fn refuse_charts(library: &Library<'_>, reading: &mut Reading<'_>) -> BTreeSet<String> {
    let mut charts: BTreeSet<String> = BTreeSet::new();
    for path in library.listed().filter(|path| name_of(path) == CHART) {
        let folder = folder_of(path);
        let mut around = ancestors(folder);
        if !around.any(|outer| charts.contains(outer)) {
            let fix = format!("run helm template, and {COMMIT_THE_OUTPUT}");
            let message = "this folder is a Helm chart, which is not rendered";
            reading.wrong(&Place::new(path, 0), "", message, Some(&fix));
        }
        charts.insert(folder.to_owned());
    }
    charts
}

/// Looks for the files that others name, round by round: a file that was found may name further
/// ones.
#[derive(Debug, Default)]
pub struct Search {
    environment: Environment,
    limits: Limits,
    asked: BTreeSet<String>,
    rounds: usize,
    found: Vec<SourceFile>,
}

impl Search {
    pub fn new(environment: Environment, limits: Limits) -> Self {
        Self {
            environment,
            limits,
            ..Self::default()
        }
    }

    /// The paths, seen from the repository's root, that somebody names and that are not here and
    /// were not asked for. Empty when there is nothing more to look for. Not all of them need be
    /// files, or be there.
    pub fn next(&mut self, files: &[SourceFile]) -> Result<BTreeSet<String>, Problem> {
        const ROUNDS: usize = 32;
        let limits = &self.limits;
        let all = || files.iter().chain(&self.found);
        let here: BTreeSet<&str> = all().map(|file| file.path.as_str()).collect();
        let mut named = named_by_stack(&self.environment);
        for file in all() {
            let name = name_of(&file.path);
            if kustomize::NAMES.contains(&name) {
                named.extend(kustomize::named(file, limits));
            } else if name == tyk_sync::INDEX {
                named.extend(tyk_sync::named(file, limits));
            }
        }
        named.retain(|path| !here.contains(path.as_str()) && !self.asked.contains(path));
        let Some(first) = named.first() else {
            return Ok(named);
        };
        let refuse = |message: String| Err(Problem::of_file(first, message, None));
        self.rounds += 1;
        self.asked.extend(named.iter().cloned());
        if self.rounds > ROUNDS {
            return refuse(format!(
                "files name each other more than {ROUNDS} levels deep"
            ));
        }
        if self.asked.len() > limits.further_files {
            return refuse(format!(
                "files name more than {} others",
                limits.further_files
            ));
        }
        let bytes: usize = self.found.iter().map(|file| file.bytes.len()).sum();
        if bytes > limits.further_bytes {
            return refuse(format!(
                "the files that others name have more than {} bytes",
                limits.further_bytes
            ));
        }
        Ok(named)
    }

    pub fn add(&mut self, found: impl IntoIterator<Item = SourceFile>) {
        self.found.extend(found);
    }

    /// Everything that was found.
    pub fn into_found(self) -> Vec<SourceFile> {
        self.found
    }
}
