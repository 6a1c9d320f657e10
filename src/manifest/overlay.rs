//! A stack's own patches: what its environment changes in the manifests, object by object.
//!
//! A patch is of the manifest as it is written: of the document itself for the gateway's own
//! kinds, of the whole resource for those of Tyk Operator.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use serde_json::Value;

use super::{
    Place, Problem, Reading, checks,
    draft::{Draft, escaped},
    library::Library,
    native, operator,
    patch::{self, Operation},
};
use crate::domain::object::Kind;

/// Where a stack's patches are.
#[derive(Debug, Clone, PartialEq)]
pub enum PatchSource {
    /// A file of the repository, seen from its root: a patch, or a list of them.
    File(String),
    /// One that stands in the configuration.
    Inline {
        /// What a problem calls the place.
        name: String,
        patch: Value,
    },
}

/// Why something is no patch; for whoever reads it from somewhere else than a repository.
pub fn check_patch(patch: &Value) -> Result<(), String> {
    match Patch::read(patch, &Place::new("", 0)) {
        Ok(_) => Ok(()),
        Err((pointer, message)) if pointer.is_empty() => Err(message),
        Err((pointer, message)) => Err(format!("{pointer}: {message}")),
    }
}

#[derive(Debug, Default)]
pub(super) struct Overlay {
    patches: Vec<Patch>,
    globs: GlobSet,
}

#[derive(Debug)]
struct Patch {
    object: String,
    action: Action,
    place: Place,
}

#[derive(Debug)]
enum Action {
    Merge(Value),
    Operations(Vec<Operation>),
}

impl Overlay {
    pub fn new(library: &Library<'_>, reading: &mut Reading<'_>) -> Self {
        const MOST: usize = 1_000;
        let mut documents = Vec::new();
        for source in &reading.options.environment.patches {
            match source {
                PatchSource::File(path) if library.has(path) => {
                    documents.extend(library.documents(path, reading));
                }
                PatchSource::File(path) => {
                    reading.problems.push(missing(path, "patch"));
                }
                PatchSource::Inline { name, patch } => {
                    documents.push(Draft::new(patch.clone(), Place::new(name, 0)));
                }
            }
        }
        let mut overlay = Self::default();
        let mut globs = GlobSetBuilder::new();
        for document in documents {
            let drafts = match document.value {
                Value::Array(items) => items
                    .into_iter()
                    .enumerate()
                    .map(|(index, item)| {
                        Draft::new(item, document.place.below(&format!("/{index}")))
                    })
                    .collect(),
                _ => vec![document],
            };
            for draft in drafts {
                match Patch::read(&draft.value, &draft.place) {
                    Ok((patch, glob)) => {
                        overlay.patches.push(patch);
                        globs.add(glob);
                    }
                    Err((pointer, message)) => reading.wrong(&draft.place, pointer, message, None),
                }
            }
        }
        if overlay.patches.len() > MOST {
            let place = overlay.patches[MOST].place.clone();
            reading.wrong(
                &place,
                "",
                format!("the stack has more than {MOST} patches"),
                None,
            );
            return Self::default();
        }
        match globs.build() {
            Ok(globs) => overlay.globs = globs,
            Err(error) => reading.problems.push(Problem::of_file(
                "",
                format!("the patches of the stack: {error}"),
                None,
            )),
        }
        overlay
    }

    /// Carries out every patch of a manifest, in the order in which the stack names them.
    pub fn apply(&self, draft: &mut Draft, reading: &mut Reading<'_>) {
        if self.patches.is_empty() {
            return;
        }
        let names = names_of(draft).into_iter();
        let mut matched: Vec<usize> = names
            .map(|name| reading.values.in_name(name, &mut reading.used_values))
            .flat_map(|name| self.globs.matches(name))
            .collect();
        if matched.is_empty() {
            return;
        }
        matched.sort_unstable();
        matched.dedup();
        for index in matched {
            let patch = &self.patches[index];
            reading.used_patches.insert(index);
            let (at, done) = match &patch.action {
                Action::Merge(merge) => {
                    let at = patch.place.below("/merge");
                    let done = patch::merge(draft, merge, &at, &reading.budget);
                    (at, done.map_err(Into::into))
                }
                Action::Operations(operations) => {
                    let at = patch.place.below("/operations");
                    let done = patch::apply(draft, operations, &at, &reading.budget);
                    (at, done)
                }
            };
            if let Err(fault) = done {
                let message = format!("{} (the patch is of {})", fault.message, draft.place.file);
                reading.wrong(&at, fault.pointer, message, None);
            }
        }
        reading.within_depth(&draft.value, &draft.place);
    }

    pub fn warn_of_unused(&self, reading: &mut Reading<'_>) {
        for (index, patch) in self.patches.iter().enumerate() {
            if reading.used_patches.contains(&index) {
                continue;
            }
            let message = format!("no manifest of the stack is {}", patch.object);
            let fix = "an object is named like oas/orders, a resource of the operator like ApiDefinition/default/orders; * stands for any text";
            reading.warn(&patch.place, "/object", message, Some(fix));
        }
    }
}

impl Patch {
    fn read(value: &Value, place: &Place) -> Result<(Self, globset::Glob), (String, String)> {
        const KNOWN: &[&str] = &["object", "merge", "operations"];
        let Value::Object(members) = value else {
            let message = "a patch is like { object: oas/orders, merge: { … } }".to_owned();
            return Err((String::new(), message));
        };
        if let Some(unknown) = members.keys().find(|name| !KNOWN.contains(&name.as_str())) {
            let hint = checks::nearest(unknown, KNOWN)
                .map(|nearest| format!("; did you mean {nearest}?"))
                .unwrap_or_default();
            let pointer = format!("/{}", escaped(unknown));
            return Err((pointer, format!("a patch has no {unknown}{hint}")));
        }
        let Some(Value::String(object)) = members.get("object") else {
            let message = "names the objects that the patch is of, like oas/orders".to_owned();
            return Err(("/object".to_owned(), message));
        };
        let glob = GlobBuilder::new(object)
            .build()
            .map_err(|error| ("/object".to_owned(), error.to_string()))?;
        let action = match (members.get("merge"), members.get("operations")) {
            (Some(merge @ Value::Object(_)), None) => Action::Merge(merge.clone()),
            (Some(_), None) => {
                return Err(("/merge".to_owned(), "must be an object".to_owned()));
            }
            (None, Some(list)) => {
                let operations = patch::operations(list)
                    .map_err(|fault| (format!("/operations{}", fault.pointer), fault.message))?;
                Action::Operations(operations)
            }
            (Some(_), Some(_)) | (None, None) => {
                let message = "a patch has either merge (RFC 7396) or operations (RFC 6902)";
                return Err((String::new(), message.to_owned()));
            }
        };
        let patch = Self {
            object: object.clone(),
            action,
            place: place.clone(),
        };
        Ok((patch, glob))
    }
}

/// A file that the stack names and the repository does not have.
pub(super) fn missing(path: &str, what: &str) -> Problem {
    let message = format!("the stack names this {what} file, and the repository has none there");
    let fix = "commit it, or change the stack; its path is seen from the repository's root";
    Problem::of_file(path, message, Some(fix))
}

/// What a patch may call a manifest.
fn names_of(draft: &Draft) -> Vec<String> {
    let Draft { value, place, .. } = draft;
    if let Some((kind, namespace, name)) = operator::name_of(value) {
        return vec![
            format!("{kind}/{namespace}/{name}"),
            format!("{namespace}/{name}"),
            name.to_owned(),
        ];
    }
    let Some(kind) = native::kind_of(value, place) else {
        return Vec::new();
    };
    let text = |pointer: &str| {
        value
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let id = match text(native::id_pointer(kind)) {
        "" if kind == Kind::Policy => text("/_id"),
        id => id,
    };
    let name = match kind {
        Kind::OasApi | Kind::McpProxy => text("/x-tyk-api-gateway/info/name"),
        Kind::ClassicApi | Kind::Policy | Kind::Certificate => text("/name"),
    };
    let mut names = Vec::new();
    if !id.is_empty() {
        names.push(format!("{kind}/{id}"));
        names.push(id.to_owned());
    }
    if !name.is_empty() {
        names.push(name.to_owned());
    }
    names
}
