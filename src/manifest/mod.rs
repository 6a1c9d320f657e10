//! Files at a revision → what Git wants, or every problem at once, each with file, line, column,
//! the place in the document and the cure.
//!
//! Pure: nothing is read here but the bytes that are passed in. The result does not depend on the
//! order of the files. A file that is no manifest is listed as ignored; one that means to be a
//! manifest and is wrong is a problem, because what is absent from Git is deleted from the target.

mod budget;
mod certificates;
mod checks;
mod draft;
mod layout;
mod library;
mod native;
mod openapi;
pub mod operator;
mod overlay;
mod patch;
mod pattern;
mod rules;
pub mod schema;
mod secrets;
mod source;
mod upstream;
mod values;
pub mod write;

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fmt,
    sync::Arc,
};

use jiff::Timestamp;
use secrecy::SecretString;
use serde::Serialize;
use serde_json::Value;

use crate::domain::{
    object::{Desired, Object, ObjectKey, Route},
    parallel,
};
use budget::Budget;
use draft::Draft;
pub use layout::Search;
use library::Library;
pub use openapi::{Authentication, OpenApi, Template};
use overlay::Overlay;
pub use overlay::{PatchSource, check_patch};
use values::Values;

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
    /// The secrets that manifests may refer to, by name; any where they are not known.
    pub secrets: Option<BTreeSet<String>>,
    /// The folders whose files are read: a certificate's file is named by its path below one.
    /// None for the repository's root.
    pub folders: Vec<String>,
    /// Without it no certificate is out of date.
    pub now: Option<Timestamp>,
    pub environment: Environment,
    /// Files that are read only where another one, or the stack, names them. [`Search`] tells
    /// which are needed.
    pub further: Vec<SourceFile>,
    /// What to say of an API that everybody can call.
    pub keyless: Keyless,
    /// Whether a warning is a problem.
    pub strict: bool,
    pub limits: Limits,
}

/// What a stack says of its manifests, so that one repository serves several targets. Paths are
/// seen from the repository's root.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Environment {
    /// Files with values for placeholders, the later over the earlier.
    pub values: Vec<String>,
    /// What is changed in the manifests, in this order.
    pub patches: Vec<PatchSource>,
    /// How plain OpenAPI documents become APIs; without it they are ignored.
    pub openapi: Option<OpenApi>,
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

impl Keyless {
    /// What somebody means who says whether it is allowed.
    pub fn of(is_allowed: bool) -> Self {
        if is_allowed {
            Self::Allowed
        } else {
            Self::Refused
        }
    }
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
    /// What values, patches and kustomizations may make of all files together, in scalars, lists
    /// and maps.
    pub made: usize,
    /// Paths that are named by others and lie elsewhere, and what stands there.
    pub further_files: usize,
    pub further_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes: 4 * 1024 * 1024,
            documents: 1_000,
            depth: 64,
            nodes: 500_000,
            aliases: 100,
            made: 4_000_000,
            further_files: 10_000,
            further_bytes: 64 * 1024 * 1024,
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
    let (pem, order): (Vec<_>, Vec<_>) = order
        .into_iter()
        .partition(|file| certificates::is_pem(file));
    let library = Library::new(&order, options);
    let mut reading = Reading::new(options);
    reading.values = Arc::new(values_of(&library, &mut reading));
    let overlay = Overlay::new(&library, &mut reading);
    let (drafts, plain) = layout::arrange(&library, &mut reading);
    reading.each(drafts, |draft, reading| {
        reading.draft(draft, &overlay, 0);
    });
    // Parsed and read in one go, while it is at hand.
    reading.each(plain, |path, reading| {
        for draft in library.documents(path, reading) {
            reading.draft(draft, &overlay, 0);
        }
    });
    // Policies refer to APIs of any file, so they are translated when all are known.
    let mut resources = operator::Resources::default();
    for resource in std::mem::take(&mut reading.resources) {
        resources.add(resource, &mut reading);
    }
    resources.translate(&mut reading);
    let certificates = certificates::resolve(&pem, &mut reading);
    reading.cross_check();
    let described = |(object, place)| Described::new(object, place);
    reading
        .objects
        .extend(certificates.into_iter().map(described));
    overlay.warn_of_unused(&mut reading);
    Arc::clone(&reading.values).warn_of_unused(&mut reading);
    reading.finish(&library)
}

fn values_of(library: &Library<'_>, reading: &mut Reading<'_>) -> Values {
    let mut files = Vec::new();
    for path in &reading.options.environment.values {
        if library.has(path) {
            files.extend(library.documents(path, reading));
        } else {
            reading.problems.push(overlay::missing(path, "values"));
        }
    }
    Values::new(files, reading)
}

/// Where something stands: a file, a document of it, a pointer into that.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    file: String,
    document: usize,
    /// Where the object's own document begins, for lists and wrappers.
    base: String,
    /// What others than the file wrote there.
    written: Option<Arc<draft::Root>>,
}

impl Place {
    fn new(file: &str, document: usize) -> Self {
        Self {
            file: file.to_owned(),
            document,
            base: String::new(),
            written: None,
        }
    }

    fn below(&self, pointer: &str) -> Self {
        Self {
            base: format!("{}{pointer}", self.base),
            ..self.clone()
        }
    }
}

impl Problem {
    /// Of a file as a whole.
    fn of_file(file: &str, message: String, fix: Option<&str>) -> Self {
        Self {
            file: file.to_owned(),
            line: 0,
            column: 0,
            document: 0,
            pointer: String::new(),
            message,
            fix: fix.map(str::to_owned),
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

impl Found {
    /// With its line; of what another file wrote, in that file.
    fn located(self, library: &Library<'_>) -> Problem {
        let Self {
            place,
            pointer,
            mut message,
            fix,
        } = self;
        let mut whole = format!("{}{pointer}", place.base);
        let writer = place
            .written
            .as_ref()
            .and_then(|written| written.writer(&whole));
        let (file, document) = match writer {
            Some(writer) => {
                if writer.file != place.file {
                    message.push_str(&format!(" (written here for {}#{whole})", place.file));
                }
                whole = writer.base;
                (writer.file, writer.document)
            }
            None => (place.file, place.document),
        };
        let (line, column) = library
            .source(&file)
            .map_or((0, 0), |source| source.locate(document, &whole));
        Problem {
            file,
            line,
            column,
            document,
            pointer: whole,
            message,
            fix,
        }
    }
}

/// The items of a list of manifests, and where they stand in it.
fn items_of(value: &mut Value) -> Option<(&'static str, Vec<Value>)> {
    if let Value::Array(items) = value {
        return Some(("", std::mem::take(items)));
    }
    if operator::is_kubernetes(value) {
        return operator::items_of_list(value).map(|items| ("/items", items));
    }
    None
}

/// An object that a document describes, with what is asked of all of them once they are known: no
/// body is gone through for that again.
struct Described {
    object: Object,
    place: Place,
    /// Where it listens, in lower case as far as case means nothing.
    route: Option<Route>,
    refers_to_certificates: bool,
}

impl Described {
    fn new(object: Object, place: Place) -> Self {
        let route = object.route().filter(|route| !route.listen_path.is_empty());
        Self {
            route: route.map(|route| Route::new(&route.domain.to_lowercase(), &route.listen_path)),
            refers_to_certificates: certificates::refers(&object.body),
            object,
            place,
        }
    }
}

/// Everything that was read so far.
struct Reading<'o> {
    options: &'o Options,
    objects: Vec<Described>,
    ignored: Vec<Ignored>,
    /// Problems that already know their line.
    problems: Vec<Problem>,
    found: Vec<Found>,
    warned: Vec<Found>,
    /// Placeholders that could not be filled: nothing else is said of such a text.
    unfilled: Vec<Found>,
    unreadable: BTreeSet<String>,
    /// Tyk Operator's resources, which wait for each other.
    resources: Vec<operator::Read>,
    /// Certificates that Secrets hold, by namespace and name.
    in_secrets: BTreeMap<String, certificates::InSecret>,
    values: Arc<Values>,
    used_values: values::Used,
    /// The stack's patches that were of a manifest, by their place among them.
    used_patches: BTreeSet<usize>,
    budget: Arc<Budget>,
}

impl<'o> Reading<'o> {
    fn new(options: &'o Options) -> Self {
        let budget = Budget::new(options.limits.made);
        Self::with(options, Arc::default(), Arc::new(budget))
    }

    fn with(options: &'o Options, values: Arc<Values>, budget: Arc<Budget>) -> Self {
        Self {
            options,
            objects: Vec::new(),
            ignored: Vec::new(),
            problems: Vec::new(),
            found: Vec::new(),
            warned: Vec::new(),
            unfilled: Vec::new(),
            unreadable: BTreeSet::new(),
            resources: Vec::new(),
            in_secrets: BTreeMap::new(),
            values,
            used_values: BTreeSet::new(),
            used_patches: BTreeSet::new(),
            budget,
        }
    }

    /// Works on many things on all cores, and takes over what was found, in the order of the things.
    fn each<T: Send, R: Send>(
        &mut self,
        things: Vec<T>,
        work: impl Fn(T, &mut Self) -> R + Sync,
    ) -> Vec<R> {
        let (options, values, budget) = (self.options, &self.values, &self.budget);
        let done = parallel::portions(things, |things| {
            let mut reading = Self::with(options, Arc::clone(values), Arc::clone(budget));
            let things = things.into_iter();
            let results: Vec<R> = things.map(|thing| work(thing, &mut reading)).collect();
            (results, reading)
        });
        let results = done.into_iter().flat_map(|(results, reading)| {
            self.take_over(reading);
            results
        });
        results.collect()
    }

    fn take_over(&mut self, reading: Self) {
        let Self {
            options: _,
            objects,
            ignored,
            problems,
            found,
            warned,
            unfilled,
            unreadable,
            resources,
            in_secrets,
            values: _,
            used_values,
            used_patches,
            budget: _,
        } = reading;
        self.objects.extend(objects);
        self.ignored.extend(ignored);
        self.problems.extend(problems);
        self.found.extend(found);
        self.warned.extend(warned);
        self.unfilled.extend(unfilled);
        self.unreadable.extend(unreadable);
        self.resources.extend(resources);
        self.in_secrets.extend(in_secrets);
        self.used_values.extend(used_values);
        self.used_patches.extend(used_patches);
    }

    /// A document that may be a manifest, or hold some.
    fn draft(&mut self, mut draft: Draft, overlay: &Overlay, nesting: usize) {
        const DEEPEST_LIST: usize = 4;
        if let Some((pointer, items)) = items_of(&mut draft.value) {
            if nesting >= DEEPEST_LIST {
                self.ignore(&draft.place, "a list of lists");
                return;
            }
            for (index, item) in items.into_iter().enumerate() {
                let item = draft.part(&format!("{pointer}/{index}"), item);
                self.draft(item, overlay, nesting + 1);
            }
            return;
        }
        if let Some(policies) = native::policies_of_map(&draft) {
            for policy in policies {
                self.manifest(policy, overlay);
            }
            return;
        }
        if let Some(wrapper) = native::wrapper(&draft.value) {
            let inner = draft.value.pointer_mut(wrapper).map(Value::take);
            draft = draft.part(wrapper, inner.unwrap_or_default());
        }
        self.manifest(draft, overlay);
    }

    /// One document: completed, patched, filled, and taken as what it is.
    fn manifest(&mut self, mut draft: Draft, overlay: &Overlay) {
        if openapi::is_plain(&draft.value)
            && let Some(settings) = &self.options.environment.openapi
        {
            openapi::complete(&mut draft, settings, self);
        }
        overlay.apply(&mut draft, self);
        let (mut value, place) = draft.into_parts();
        let is_kubernetes = operator::is_kubernetes(&value);
        let concerns = if is_kubernetes {
            operator::concerns(&value)
        } else {
            native::kind_of(&value, &place).is_some()
        };
        if concerns {
            self.fill(&mut value, &place);
        }
        let references = secrets::references(&value);
        let ignored = self.ignored.len();
        if is_kubernetes {
            operator::take(value, place.clone(), self);
        } else {
            native::take(value, place.clone(), self);
        }
        // What is no manifest may say what it likes.
        if self.ignored.len() == ignored {
            secrets::check(&references, &place, self);
        }
    }

    /// Fills the placeholders of what a parser made of a text.
    fn fill(&mut self, value: &mut Value, place: &Place) {
        match self.values.fill(value, &self.budget) {
            Ok(filled) => {
                self.used_values.extend(filled.used);
                let found = filled.faults.into_iter().map(|(pointer, fault)| Found {
                    place: place.clone(),
                    pointer,
                    message: fault.message,
                    fix: fault.fix,
                });
                self.unfilled.extend(found);
                if filled.is_changed {
                    self.within_depth(value, place);
                }
            }
            Err(exhausted) => self.wrong(place, "", exhausted.to_string(), None),
        }
    }

    /// What values and patches made may be no deeper than a file.
    fn within_depth(&mut self, value: &Value, place: &Place) {
        fn is_within(value: &Value, depth: usize) -> bool {
            depth > 0
                && match value {
                    Value::Array(items) => items.iter().all(|item| is_within(item, depth - 1)),
                    Value::Object(members) => {
                        members.values().all(|member| is_within(member, depth - 1))
                    }
                    _ => true,
                }
        }
        if !is_within(value, self.options.limits.depth) {
            self.wrong(place, "", "values or patches nest this too deeply", None);
        }
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
        secrets::refuse_names(&object, &place, self);
        self.objects.push(Described::new(object, place));
    }

    /// What only shows when all objects are known: two of one id, two on one route, references
    /// to nowhere.
    fn cross_check(&mut self) {
        let mut found = Vec::new();
        let mut by_id: BTreeMap<(bool, &str), &Place> = BTreeMap::new();
        let mut by_route: BTreeMap<&Route, (&ObjectKey, &Place)> = BTreeMap::new();
        for described in &self.objects {
            let (key, place) = (&described.object.key, &described.place);
            match by_id.entry((key.kind.is_api(), &key.id)) {
                Entry::Vacant(slot) => {
                    slot.insert(place);
                }
                Entry::Occupied(first) => {
                    found.push(Found {
                        place: place.clone(),
                        pointer: native::id_pointer(key.kind).to_owned(),
                        message: format!("the id {} is taken by {}", key.id, first.get().file),
                        fix: Some("give one of the two another id, or remove it".to_owned()),
                    });
                    continue;
                }
            }
            let Some(route) = &described.route else {
                continue;
            };
            match by_route.entry(route) {
                Entry::Vacant(slot) => {
                    slot.insert((key, place));
                }
                Entry::Occupied(first) => {
                    let (other, first) = first.get();
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
                }
            }
        }
        let is_described = |id: &str| by_id.contains_key(&(true, id));
        let mut warned = Vec::new();
        for Described { object, place, .. } in &self.objects {
            for id in object.granted_apis() {
                if !is_described(id) {
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

    fn finish(mut self, library: &Library<'_>) -> Checked {
        if self.options.strict {
            self.found.append(&mut self.warned);
        }
        let place = |found: &Found| {
            let Found { place, pointer, .. } = found;
            (
                place.file.clone(),
                place.document,
                format!("{}{pointer}", place.base),
            )
        };
        let unfilled: BTreeSet<_> = self.unfilled.iter().map(place).collect();
        if !unfilled.is_empty() {
            self.found.retain(|found| !unfilled.contains(&place(found)));
            self.found.append(&mut self.unfilled);
        }
        let located = |found: Vec<Found>| {
            // The text of every file that one of them is of is read once more.
            let mut problems = parallel::map(found, |found| found.located(library));
            problems.sort();
            problems.dedup();
            problems
        };
        let mut problems = located(self.found);
        problems.extend(self.problems);
        problems.sort();
        problems.dedup();
        let mut ignored = self.ignored;
        ignored.sort();
        Checked {
            manifests: Manifests {
                desired: self
                    .objects
                    .into_iter()
                    .map(|Described { object, .. }| (object.key.clone(), object))
                    .collect(),
                unreadable: self.unreadable,
                ignored,
                warnings: located(self.warned),
            },
            problems,
        }
    }
}
