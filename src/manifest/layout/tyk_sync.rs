//! A tyk-sync repository, or a folder that its `dump` wrote: `.tyk.json` lists the files that count.
//!
//! The list decides for the JSON below its folder. A file in it that is missing is a problem, for
//! what is absent would be deleted. Ids given in the list stand over those in the files.

use serde_json::{Map, Value};

use super::{
    super::{
        Limits, Place, Reading, SourceFile, checks,
        draft::Draft,
        library::{Library, folder_of, join},
        native,
        source::Source,
    },
    Arranged,
};
use crate::domain::object::Kind;

pub(super) const INDEX: &str = ".tyk.json";

const KNOWN: &[&str] = &["assets", "client_idps", "files", "policies", "type"];

/// The files that an index names, seen from the repository's root.
pub(super) fn named(index: &SourceFile, limits: &Limits) -> Vec<String> {
    let mut found = Vec::new();
    for document in Source::new(index).parse(limits).into_iter().flatten() {
        let lists = ["files", "policies", "assets", "client_idps"];
        let lists = lists.iter().filter_map(|name| document.value.get(name));
        let files = lists
            .flat_map(entries)
            .filter_map(|(_, entry)| entry.get("file")?.as_str());
        found.extend(files.filter_map(|file| join(folder_of(&index.path), file)));
    }
    found.retain(|path| !path.is_empty());
    found
}

/// An object stands for a list of one, and an empty one for none: both are found in the wild.
fn entries(list: &Value) -> Vec<(String, &Value)> {
    match list {
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(index, item)| (format!("/{index}"), item))
            .collect(),
        Value::Object(members) if !members.is_empty() => vec![(String::new(), list)],
        _ => Vec::new(),
    }
}

/// Reads the files of an index.
pub(super) fn read(
    index: &str,
    library: &Library<'_>,
    reading: &mut Reading<'_>,
    arranged: &mut Arranged,
) {
    for draft in library.documents(index, reading) {
        let Draft { value, place, .. } = draft;
        let Value::Object(members) = value else {
            let message = format!(
                "the index of a tyk-sync repository is an object, and this is {}",
                checks::shape_of(&value)
            );
            reading.wrong(&place, "", message, None);
            continue;
        };
        let mut listing = Listing {
            place,
            library,
            reading,
            arranged,
        };
        listing.read(&members);
    }
}

struct Listing<'a, 'f, 'o> {
    /// Of the index.
    place: Place,
    library: &'a Library<'f>,
    reading: &'a mut Reading<'o>,
    arranged: &'a mut Arranged,
}

impl Listing<'_, '_, '_> {
    fn read(&mut self, members: &Map<String, Value>) {
        for name in members
            .keys()
            .filter(|name| !KNOWN.contains(&name.as_str()))
        {
            let fix =
                checks::nearest(name, KNOWN).map(|nearest| format!("did you mean {nearest}?"));
            let pointer = format!("/{}", super::super::draft::escaped(name));
            let message = format!("the index of a tyk-sync repository has no {name}");
            self.reading
                .wrong(&self.place, pointer, message, fix.as_deref());
        }
        match members.get("type") {
            None | Some(Value::Null) => {}
            Some(Value::String(kind)) if matches!(kind.as_str(), "" | "apidef" | "oas") => {}
            Some(_) => self.reading.wrong(
                &self.place,
                "/type",
                "the type is not known",
                Some("write \"apidef\""),
            ),
        }
        self.list(members, "files", Self::api);
        self.list(members, "policies", Self::policy);
        for (name, what) in [
            ("assets", "an API template, which only a Dashboard holds"),
            (
                "client_idps",
                "an identity provider for clients, which only a Dashboard holds",
            ),
        ] {
            self.list(members, name, |listing, drafts, _, _| {
                for draft in drafts {
                    listing.reading.ignore(&draft.place, what);
                }
            });
        }
    }

    fn list(
        &mut self,
        members: &Map<String, Value>,
        name: &str,
        mut take: impl FnMut(&mut Self, Vec<Draft>, &Value, &str),
    ) {
        let Some(list) = members.get(name) else {
            return;
        };
        if !matches!(list, Value::Array(_) | Value::Object(_) | Value::Null) {
            let message = format!("must be a list, and is {}", checks::shape_of(list));
            self.reading
                .wrong(&self.place, format!("/{name}"), message, None);
        }
        for (at, entry) in entries(list) {
            let pointer = format!("/{name}{at}");
            if let Some(drafts) = self.documents(entry, &pointer) {
                take(self, drafts, entry, &pointer);
            }
        }
    }

    /// The documents of the file that an entry names.
    fn documents(&mut self, entry: &Value, pointer: &str) -> Option<Vec<Draft>> {
        let at = format!("{pointer}/file");
        let Some(file) = entry
            .get("file")
            .and_then(Value::as_str)
            .filter(|file| !file.is_empty())
        else {
            self.reading.wrong(
                &self.place,
                at,
                "the entry names no file",
                Some("write \"file\": \"orders.json\""),
            );
            return None;
        };
        let Some(path) = join(folder_of(&self.place.file), file) else {
            self.reading.wrong(
                &self.place,
                at,
                format!("{file} is not in the repository"),
                Some("a file is named by its path below the index"),
            );
            return None;
        };
        if !self.library.has(&path) {
            let message = format!("the index names {file}, and there is no such file");
            self.reading.wrong(
                &self.place,
                at,
                message,
                Some("commit it, or take it out of the index"),
            );
            return None;
        }
        let before = self.reading.problems.len();
        self.arranged.taken.insert(path.clone());
        let drafts = self.library.documents(&path, self.reading);
        if drafts.is_empty() && self.reading.problems.len() == before {
            self.reading
                .wrong(&self.place, at, format!("{file} is empty"), None);
            return None;
        }
        Some(drafts)
    }

    fn api(&mut self, drafts: Vec<Draft>, entry: &Value, pointer: &str) {
        if let Some(Value::Object(settings)) = entry.get("oas")
            && settings
                .values()
                .any(|value| !matches!(value, Value::Bool(false)) && value != "")
        {
            self.reading.wrong(
                &self.place,
                format!("{pointer}/oas"),
                "is tyk-sync's conversion of Swagger documents, which is not followed",
                Some("commit the definition that it makes, or the OpenAPI document and openapi = { … } in the stack"),
            );
        }
        for mut draft in drafts {
            if let Some(wrapper) = native::wrapper(&draft.value) {
                let inner = draft.value.pointer(wrapper).cloned().unwrap_or_default();
                draft = draft.part(wrapper, inner);
            }
            match native::kind_of(&draft.value, &draft.place) {
                Some(kind @ (Kind::OasApi | Kind::McpProxy)) => {
                    self.set(
                        &mut draft,
                        entry,
                        pointer,
                        "api_id",
                        native::id_pointer(kind),
                    );
                    self.set(
                        &mut draft,
                        entry,
                        pointer,
                        "org_id",
                        "/x-tyk-api-gateway/info/orgId",
                    );
                }
                Some(Kind::ClassicApi) => {
                    self.set(&mut draft, entry, pointer, "api_id", "/api_id");
                    self.set(&mut draft, entry, pointer, "org_id", "/org_id");
                    self.set(&mut draft, entry, pointer, "db_id", "/id");
                    // Without an id of its own, an API goes by the one of its database.
                    let text = |pointer| {
                        draft
                            .value
                            .pointer(pointer)
                            .and_then(Value::as_str)
                            .filter(|text| !text.is_empty())
                    };
                    if text("/api_id").is_none()
                        && let Some(id) = text("/id").map(str::to_owned)
                    {
                        let writer = draft.writer("/id");
                        put(&mut draft, "/api_id", &id, writer);
                    }
                }
                _ => {
                    if super::super::openapi::is_plain(&draft.value)
                        && self.reading.options.environment.openapi.is_some()
                    {
                        self.arranged.drafts.push(draft);
                        continue;
                    }
                    self.reading.wrong(
                        &draft.place,
                        "",
                        format!(
                            "{} lists this file as an API, and it is none",
                            self.place.file
                        ),
                        Some("take it out of the list, or export the API again"),
                    );
                    continue;
                }
            }
            self.arranged.drafts.push(draft);
        }
    }

    fn policy(&mut self, drafts: Vec<Draft>, entry: &Value, pointer: &str) {
        for mut draft in drafts {
            if native::kind_of(&draft.value, &draft.place) == Some(Kind::Policy) {
                self.set(&mut draft, entry, pointer, "id", "/id");
                self.arranged.drafts.push(draft);
            } else {
                self.reading.wrong(
                    &draft.place,
                    "",
                    format!(
                        "{} lists this file as a policy, and it is none",
                        self.place.file
                    ),
                    Some("a policy has access_rights"),
                );
            }
        }
    }

    /// An id in the list stands over the one in the file.
    fn set(&mut self, draft: &mut Draft, entry: &Value, pointer: &str, name: &str, to: &str) {
        match entry.get(name) {
            Some(Value::String(id)) if !id.is_empty() => {
                let by = self.place.below(&format!("{pointer}/{name}"));
                put(draft, to, id, by);
            }
            None | Some(Value::Null | Value::String(_)) => {}
            Some(other) => {
                let message = format!("must be a text, and is {}", checks::shape_of(other));
                self.reading
                    .wrong(&self.place, format!("{pointer}/{name}"), message, None);
            }
        }
    }
}

fn put(draft: &mut Draft, to: &str, text: &str, by: Place) {
    if draft.value.pointer(to).and_then(Value::as_str) == Some(text) {
        return;
    }
    let Some((parent, name)) = to.rsplit_once('/') else {
        return;
    };
    if let Some(Value::Object(members)) = draft.value.pointer_mut(parent) {
        members.insert(name.to_owned(), text.into());
        draft.written.put(to, by);
    }
}
