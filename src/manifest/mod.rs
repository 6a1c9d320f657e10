//! Files at a revision → what Git wants, or every problem at once, each with file, line, column,
//! the place in the document and the cure.
//!
//! Pure: nothing is read here but the bytes that are passed in. The result does not depend on the
//! order of the files. A file that is no manifest is listed as ignored; one that means to be a
//! manifest and is wrong is a problem, because what is absent from Git is deleted from the target.

mod certificates;
mod checks;
mod native;
pub mod operator;
mod pattern;
mod rules;
pub mod schema;
mod source;
mod upstream;
pub mod write;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use jiff::Timestamp;
use secrecy::SecretString;
use serde::Serialize;
use serde_json::Value;

use crate::domain::{
    object::{Desired, Object, ObjectKey, Route},
    parallel,
};
use source::{Document, Source};

/// A file as Git has it; the path is relative to the repository's root.
#[derive(Debug, Clone)]
pub struct SourceFile {
    pub path: String,
    pub bytes: Vec<u8>,
}

/// What manifests are read with.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The organisation that the target serves. A document that names another is refused; one
    /// that names none gets it.
    pub org: Option<String>,
    /// Certificates that manifests may refer to and that are no files of theirs, by name.
    pub certificates: BTreeMap<String, NamedCertificate>,
    /// The folders whose files are read: a certificate's file is named by its path below one.
    /// None for the repository's root.
    pub folders: Vec<String>,
    /// Without it no certificate is out of date.
    pub now: Option<Timestamp>,
    /// What to say of an API that everybody can call.
    pub keyless: Keyless,
    /// Whether a warning is a problem.
    pub strict: bool,
    pub limits: Limits,
}

/// What to say of an API that asks nobody for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keyless {
    /// A warning.
    #[default]
    Told,
    /// It is a problem.
    Refused,
    /// Nothing.
    Allowed,
}

/// A certificate that is kept beside the manifests, with its private key or without.
#[derive(Debug, Clone)]
pub enum NamedCertificate {
    /// PEM.
    Text(SecretString),
    /// It could not be read; why.
    Unreadable(String),
    /// It is known by its name alone: a reference to it is left as it is.
    NotHere,
}

/// Bounds on what one file may ask of us.
#[derive(Debug, Clone)]
pub struct Limits {
    pub file_bytes: usize,
    pub documents: usize,
    pub depth: usize,
    /// Scalars, lists and maps of one file together, aliases written out.
    pub nodes: usize,
    pub aliases: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes: 4 * 1024 * 1024,
            documents: 1_000,
            depth: 64,
            nodes: 500_000,
            aliases: 100,
        }
    }
}

/// What files describe.
#[derive(Debug)]
pub struct Manifests {
    pub desired: Desired,
    /// Certificates of the configuration that cannot be used now, and why: what refers to them is
    /// not complete.
    pub unreadable: BTreeSet<String>,
    pub ignored: Vec<Ignored>,
    pub warnings: Vec<Problem>,
}

/// A file, or one document of it, that describes no object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Ignored {
    pub path: String,
    /// Which document of the file, from 0.
    pub document: usize,
    pub reason: String,
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.reason)
    }
}

/// Something that must be mended, or looked at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    pub file: String,
    /// From 1; 0 for the file as a whole.
    pub line: u64,
    pub column: u64,
    /// Which document of the file, from 0.
    pub document: usize,
    /// A JSON pointer (RFC 6901) into the document; empty for the document as a whole.
    pub pointer: String,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            column,
            document: _,
            pointer,
            message,
            fix,
        } = self;
        f.write_str(file)?;
        if *line > 0 {
            write!(f, ":{line}:{column}")?;
        }
        f.write_str(": ")?;
        if !pointer.is_empty() {
            write!(f, "{pointer}: ")?;
        }
        f.write_str(message)?;
        if let Some(fix) = fix {
            write!(f, "; {fix}")?;
        }
        Ok(())
    }
}

/// Reads every file, and says everything that is wrong with them.
pub fn read(files: &[SourceFile], options: &Options) -> Result<Manifests, Vec<Problem>> {
    let Checked {
        manifests,
        problems,
    } = check(files, options);
    if problems.is_empty() {
        Ok(manifests)
    } else {
        Err(problems)
    }
}

/// Everything that files say, also where something is wrong with some of them. What comes of
/// them is for people to look at then, and for nothing else: what has a problem is missing in it.
#[derive(Debug)]
pub struct Checked {
    pub manifests: Manifests,
    pub problems: Vec<Problem>,
}

/// Reads every file, and says what it found beside everything that is wrong.
pub fn check(files: &[SourceFile], options: &Options) -> Checked {
    let mut order: Vec<&SourceFile> = files.iter().collect();
    order.sort_by(|left, right| left.path.cmp(&right.path));
    let mut reading = Reading::new(options);
    let mut operator = operator::Resources::default();
    let mut sources = Vec::new();
    let (pem, order): (Vec<_>, Vec<_>) = order
        .into_iter()
        .partition(|file| certificates::is_pem(file));
    // Nearly all the time goes into parsing.
    let parsed = parallel::map(order, |file| {
        let source = Source::new(file);
        let documents = source.parse(&options.limits);
        (source, documents)
    });
    for (source, documents) in parsed {
        match documents {
            Ok(documents) => {
                for document in documents {
                    reading.document(&source, document, &mut operator);
                }
            }
            Err(problem) => reading.problems.push(problem),
        }
        sources.push(source);
    }
    // Policies refer to APIs of any file, so they are translated when all are known.
    operator.translate(&mut reading);
    let certificates = certificates::resolve(&pem, &mut reading);
    reading.cross_check();
    reading.objects.extend(certificates);
    reading.finish(&sources)
}

/// Where something stands: a file, a document of it, a pointer into that.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    file: String,
    document: usize,
    /// Where the object's own document begins, for lists and wrappers.
    base: String,
}

impl Place {
    fn below(&self, pointer: &str) -> Self {
        Self {
            base: format!("{}{pointer}", self.base),
            ..self.clone()
        }
    }
}

/// A problem whose line is looked up only when there is one to show.
#[derive(Debug)]
struct Found {
    place: Place,
    pointer: String,
    message: String,
    fix: Option<String>,
}

/// Everything that was read so far.
struct Reading<'o> {
    options: &'o Options,
    objects: Vec<(Object, Place)>,
    ignored: Vec<Ignored>,
    /// Problems that already know their line.
    problems: Vec<Problem>,
    found: Vec<Found>,
    warned: Vec<Found>,
    unreadable: BTreeSet<String>,
    /// Certificates that Secrets hold, by namespace and name.
    in_secrets: BTreeMap<String, certificates::InSecret>,
}

impl<'o> Reading<'o> {
    fn new(options: &'o Options) -> Self {
        Self {
            options,
            objects: Vec::new(),
            ignored: Vec::new(),
            problems: Vec::new(),
            found: Vec::new(),
            warned: Vec::new(),
            unreadable: BTreeSet::new(),
            in_secrets: BTreeMap::new(),
        }
    }

    fn document(
        &mut self,
        source: &Source<'_>,
        document: Document,
        operator: &mut operator::Resources,
    ) {
        let place = Place {
            file: source.path().to_owned(),
            document: document.index,
            base: String::new(),
        };
        self.value(document.value, place, operator, 0);
    }

    /// One value that may be a manifest, or hold some.
    fn value(
        &mut self,
        value: Value,
        place: Place,
        operator: &mut operator::Resources,
        nesting: usize,
    ) {
        const DEEPEST_LIST: usize = 4;
        if let Value::Array(items) = value {
            if nesting >= DEEPEST_LIST {
                self.ignore(&place, "a list of lists");
                return;
            }
            for (index, item) in items.into_iter().enumerate() {
                let place = place.below(&format!("/{index}"));
                self.value(item, place, operator, nesting + 1);
            }
            return;
        }
        if operator::is_kubernetes(&value) {
            if let Some(items) = operator::items_of_list(&value) {
                if nesting >= DEEPEST_LIST {
                    self.ignore(&place, "a list of lists");
                    return;
                }
                for (index, item) in items.into_iter().enumerate() {
                    let place = place.below(&format!("/items/{index}"));
                    self.value(item, place, operator, nesting + 1);
                }
                return;
            }
            operator.take(&value, place, self);
            return;
        }
        native::take(value, place, self);
    }

    fn ignore(&mut self, place: &Place, reason: impl Into<String>) {
        self.ignored.push(Ignored {
            path: place.file.clone(),
            document: place.document,
            reason: reason.into(),
        });
    }

    fn wrong(
        &mut self,
        place: &Place,
        pointer: impl Into<String>,
        message: impl Into<String>,
        fix: Option<&str>,
    ) {
        self.found.push(Found {
            place: place.clone(),
            pointer: pointer.into(),
            message: message.into(),
            fix: fix.map(str::to_owned),
        });
    }

    /// Whether something was said of this place, or of one below it.
    fn has_said(&self, place: &Place, pointer: &str) -> bool {
        self.found
            .iter()
            .rev()
            .take_while(|found| found.place == *place)
            .filter_map(|found| found.pointer.strip_prefix(pointer))
            .any(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    fn warn(
        &mut self,
        place: &Place,
        pointer: impl Into<String>,
        message: impl Into<String>,
        fix: Option<&str>,
    ) {
        self.warned.push(Found {
            place: place.clone(),
            pointer: pointer.into(),
            message: message.into(),
            fix: fix.map(str::to_owned),
        });
    }

    fn add(&mut self, object: Object, place: Place) {
        self.objects.push((object, place));
    }

    /// What only shows when all objects are known: two of one id, two on one route, references
    /// to nowhere.
    fn cross_check(&mut self) {
        let mut found = Vec::new();
        let mut by_id: BTreeMap<(bool, String), &Place> = BTreeMap::new();
        let mut by_route: BTreeMap<Route, (&ObjectKey, &Place)> = BTreeMap::new();
        for (object, place) in &self.objects {
            let key = &object.key;
            let slot = (key.kind.is_api(), key.id.clone());
            if let Some(first) = by_id.get(&slot) {
                found.push(Found {
                    place: place.clone(),
                    pointer: native::id_pointer(key.kind).to_owned(),
                    message: format!("the id {} is taken by {}", key.id, first.file),
                    fix: Some("give one of the two another id, or remove it".to_owned()),
                });
                continue;
            }
            by_id.insert(slot, place);
            let Some(route) = object.route() else {
                continue;
            };
            if route.listen_path.is_empty() {
                continue;
            }
            let route = Route::new(&route.domain.to_lowercase(), &route.listen_path);
            if let Some((other, first)) = by_route.get(&route) {
                found.push(Found {
                    place: place.clone(),
                    pointer: native::listen_path_pointer(key.kind).to_owned(),
                    message: format!(
                        "{key} listens on {route}, and so does {other} in {}: the gateway would \
                         rename one of them",
                        first.file
                    ),
                    fix: Some("change one of the two listen paths".to_owned()),
                });
                continue;
            }
            by_route.insert(route, (key, place));
        }
        let apis: BTreeSet<&str> = self
            .objects
            .iter()
            .filter(|(object, _)| object.key.kind.is_api())
            .map(|(object, _)| object.key.id.as_str())
            .collect();
        let mut warned = Vec::new();
        for (object, place) in &self.objects {
            for id in object.granted_apis() {
                if !apis.contains(id) {
                    let mut pointer = "/access_rights".to_owned();
                    crate::domain::diff::push_token(&mut pointer, id);
                    warned.push(Found {
                        place: place.clone(),
                        pointer,
                        message: format!("no manifest here describes the API {id}"),
                        fix: Some(
                            "if the gateway has no such API, the policy gives access to nothing"
                                .to_owned(),
                        ),
                    });
                }
            }
        }
        self.found.extend(found);
        self.warned.extend(warned);
    }

    fn finish(mut self, sources: &[Source<'_>]) -> Checked {
        if self.options.strict {
            self.found.append(&mut self.warned);
        }
        let by_path: BTreeMap<&str, &Source<'_>> = sources
            .iter()
            .map(|source| (source.path(), source))
            .collect();
        let located = |found: Vec<Found>| {
            let mut problems: Vec<Problem> = found
                .into_iter()
                .map(|found| {
                    let whole = format!("{}{}", found.place.base, found.pointer);
                    let (line, column) = by_path
                        .get(found.place.file.as_str())
                        .map_or((0, 0), |source| source.locate(found.place.document, &whole));
                    Problem {
                        file: found.place.file,
                        line,
                        column,
                        document: found.place.document,
                        pointer: whole,
                        message: found.message,
                        fix: found.fix,
                    }
                })
                .collect();
            problems.sort();
            problems.dedup();
            problems
        };
        let mut problems = located(self.found);
        problems.extend(self.problems);
        problems.sort();
        let mut ignored = self.ignored;
        ignored.sort();
        Checked {
            manifests: Manifests {
                desired: self
                    .objects
                    .into_iter()
                    .map(|(object, _)| (object.key.clone(), object))
                    .collect(),
                unreadable: self.unreadable,
                ignored,
                warnings: located(self.warned),
            },
            problems,
        }
    }
}
