//! `kustomization.yaml`: what it builds out of the repository's own files, as `kustomize build`
//! would. What is not followed is refused by its name, for half of a build is another build.

use std::collections::{BTreeMap, BTreeSet};

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value, json};

use super::{
    super::{
        Limits, Place, Reading, SourceFile, budget, checks,
        draft::{Draft, escaped},
        library::{Library, in_folder, join},
        operator,
        patch::{self, Operation},
        source::Source,
    },
    Arranged, COMMIT_THE_OUTPUT, names,
};

pub(super) const NAMES: &[&str] = &["kustomization.yaml", "kustomization.yml", "Kustomization"];

const DEEPEST: usize = 16;

/// Members that are followed.
const KNOWN: &[&str] = &[
    "apiVersion",
    "bases",
    "configMapGenerator",
    "generatorOptions",
    "kind",
    "metadata",
    "namePrefix",
    "nameSuffix",
    "namespace",
    "patches",
    "patchesJson6902",
    "patchesStrategicMerge",
    "resources",
];

/// Members that kustomize has, for the difference between one that is not followed and a mistake.
const NOT_FOLLOWED: &[&str] = &[
    "buildMetadata",
    "commonAnnotations",
    "commonLabels",
    "components",
    "configurations",
    "crds",
    "generators",
    "helmCharts",
    "helmChartInflationGenerator",
    "helmGlobals",
    "images",
    "imageTags",
    "inventory",
    "labels",
    "openapi",
    "replacements",
    "replicas",
    "secretGenerator",
    "sortOptions",
    "transformers",
    "validators",
    "vars",
];

/// One Kubernetes object on its way through a build.
pub(super) struct Resource {
    pub draft: Draft,
    /// Every namespace and name that it had, the present ones last.
    pub names: Vec<(String, String)>,
}

impl Resource {
    pub fn kind(&self) -> &str {
        text(&self.draft.value, "/kind")
    }

    /// The namespace and name of now.
    pub fn name(&self) -> (String, String) {
        name_of(&self.draft.value)
    }

    fn had(&self, namespace: &str, name: &str) -> bool {
        self.names
            .iter()
            .any(|(own_namespace, own)| own_namespace == namespace && own == name)
    }
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn name_of(value: &Value) -> (String, String) {
    let namespace = match text(value, "/metadata/namespace") {
        "" => "default",
        namespace => namespace,
    };
    (
        namespace.to_owned(),
        text(value, "/metadata/name").to_owned(),
    )
}

/// The paths that a kustomization names, whatever may be there.
pub(super) fn named(file: &SourceFile, limits: &Limits) -> Vec<String> {
    let folder = super::folder_of(&file.path);
    let mut found = Vec::new();
    for document in Source::new(file).parse(limits).into_iter().flatten() {
        let value = document.value;
        let list = |name: &str| {
            value
                .get(name)
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default()
        };
        for entry in list("resources").iter().chain(&list("bases")) {
            let Some(path) = entry.as_str().filter(|entry| !is_remote(entry)) else {
                continue;
            };
            if let Some(path) = join(folder, path) {
                found.extend(NAMES.iter().map(|name| in_folder(&path, name)));
                found.push(path);
            }
        }
        let patches = list("patches").into_iter().chain(list("patchesJson6902"));
        let mut files: Vec<Value> = patches
            .filter_map(|patch| patch.get("path").cloned())
            .collect();
        files.extend(list("patchesStrategicMerge"));
        for generator in list("configMapGenerator") {
            let sources = generator
                .get("files")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default();
            let paths = sources
                .iter()
                .filter_map(Value::as_str)
                .map(|source| json!(key_and_path(source).1));
            files.extend(paths);
        }
        let paths = files
            .iter()
            .filter_map(Value::as_str)
            .filter(|path| !path.contains('\n'));
        found.extend(paths.filter_map(|path| join(folder, path)));
    }
    found.retain(|path| !path.is_empty());
    found
}

/// Builds every kustomization that no other one uses.
pub(super) fn read(
    folders: &BTreeSet<&str>,
    library: &Library<'_>,
    reading: &mut Reading<'_>,
    arranged: &mut Arranged,
) {
    let outermost: Vec<&str> = folders
        .iter()
        .copied()
        .filter(|folder| {
            !super::ancestors(folder).any(|outer| outer != *folder && folders.contains(outer))
        })
        .collect();
    let mut used = BTreeSet::new();
    for folder in folders {
        for path in NAMES.iter().map(|name| in_folder(folder, name)) {
            if let Some(source) = library.source(&path) {
                used.extend(named(source.file(), &reading.options.limits));
            }
        }
    }
    let mut build = Build {
        library,
        reading,
        taken: &mut arranged.taken,
        around: Vec::new(),
        visited: BTreeSet::new(),
    };
    let (bases, tops): (Vec<&str>, Vec<&str>) = outermost
        .into_iter()
        .partition(|folder| used.contains(*folder));
    // A base that nothing has reached is one of a circle, which says so.
    for folder in tops.into_iter().chain(bases) {
        if build.visited.contains(folder) {
            continue;
        }
        let resources = build.folder(folder, None);
        arranged
            .drafts
            .extend(resources.into_iter().map(|resource| resource.draft));
    }
    // What lies beside an outermost one and is not used is not built either, and says so.
    for folder in folders
        .iter()
        .filter(|folder| !build.visited.contains(**folder))
    {
        for path in NAMES.iter().map(|name| in_folder(folder, name)) {
            if library.has(&path) && build.taken.insert(path.clone()) {
                build.reading.ignore(
                    &Place::new(&path, 0),
                    "the kustomization around it does not use it",
                );
            }
        }
    }
}

struct Build<'a, 'f, 'o> {
    library: &'a Library<'f>,
    reading: &'a mut Reading<'o>,
    taken: &'a mut BTreeSet<String>,
    /// The folders that are being built, one for the other.
    around: Vec<String>,
    visited: BTreeSet<String>,
}

impl Build<'_, '_, '_> {
    /// Builds a folder; `from` is where it is named.
    fn folder(&mut self, folder: &str, from: Option<&Place>) -> Vec<Resource> {
        let paths: Vec<String> = NAMES.iter().map(|name| in_folder(folder, name)).collect();
        let present: Vec<&String> = paths.iter().filter(|path| self.library.has(path)).collect();
        let [path] = present.as_slice() else {
            let message = if present.is_empty() {
                "the folder has no kustomization.yaml"
            } else {
                "the folder has more than one kustomization"
            };
            let own = Place::new(present.first().map_or(folder, |path| path), 0);
            self.reading.wrong(from.unwrap_or(&own), "", message, None);
            return Vec::new();
        };
        let own = Place::new(path, 0);
        let from = from.unwrap_or(&own);
        if self.around.iter().any(|outer| outer == folder) {
            self.reading
                .wrong(from, "", "the kustomizations go round in a circle", None);
            return Vec::new();
        }
        if self.around.len() >= DEEPEST {
            let message = format!("kustomizations use each other more than {DEEPEST} levels deep");
            self.reading.wrong(from, "", message, None);
            return Vec::new();
        }
        // Also for an empty one: a diamond of empty folders is walked at every of its paths.
        if let Err(exhausted) = self.reading.budget.take(1_000) {
            self.reading.wrong(from, "", exhausted.to_string(), None);
            return Vec::new();
        }
        self.visited.insert(folder.to_owned());
        self.taken.insert((*path).clone());
        let mut documents = self.library.documents(path, self.reading);
        if documents.len() > 1 {
            self.reading.wrong(
                &documents[1].place,
                "",
                "a kustomization is one document",
                None,
            );
            return Vec::new();
        }
        let Some(Draft { value, place, .. }) = documents.pop() else {
            return Vec::new();
        };
        let Value::Object(members) = value else {
            let message = format!(
                "a kustomization is an object, and this is {}",
                checks::shape_of(&value)
            );
            self.reading.wrong(&place, "", message, None);
            return Vec::new();
        };
        self.around.push(folder.to_owned());
        let mut level = Level {
            build: self,
            folder,
            place,
            members,
        };
        let resources = level.build();
        self.around.pop();
        resources
    }
}

/// One kustomization.
struct Level<'b, 'a, 'f, 'o> {
    build: &'b mut Build<'a, 'f, 'o>,
    folder: &'b str,
    place: Place,
    members: Map<String, Value>,
}

impl Level<'_, '_, '_, '_> {
    fn build(&mut self) -> Vec<Resource> {
        self.refuse_others();
        let mut resources = self.resources();
        resources.extend(self.generated());
        self.strategic_merges(&mut resources);
        self.patches(&mut resources);
        self.rename(&mut resources);
        self.json_patches(&mut resources);
        for resource in &mut resources {
            let name = resource.name();
            if resource.names.last() != Some(&name) {
                resource.names.push(name);
            }
        }
        resources
    }

    fn wrong(&mut self, pointer: impl Into<String>, message: impl Into<String>, fix: Option<&str>) {
        self.build.reading.wrong(&self.place, pointer, message, fix);
    }

    fn refuse_others(&mut self) {
        let built = format!("run kustomize build, and {COMMIT_THE_OUTPUT}");
        let is_used = |value: &Value| match value {
            Value::Null => false,
            Value::Array(items) => !items.is_empty(),
            Value::Object(members) => !members.is_empty(),
            _ => true,
        };
        let others: Vec<String> = self
            .members
            .iter()
            .filter(|(name, value)| !KNOWN.contains(&name.as_str()) && is_used(value))
            .map(|(name, _)| name.clone())
            .collect();
        for name in others {
            let pointer = format!("/{}", escaped(&name));
            if NOT_FOLLOWED.contains(&name.as_str()) {
                self.wrong(
                    pointer,
                    format!("{name} of kustomize is not followed"),
                    Some(&built),
                );
            } else {
                let fix =
                    checks::nearest(&name, KNOWN).map(|nearest| format!("did you mean {nearest}?"));
                self.wrong(pointer, format!("kustomize has no {name}"), fix.as_deref());
            }
        }
        let kind = self
            .members
            .get("kind")
            .and_then(Value::as_str)
            .unwrap_or("Kustomization");
        if kind != "Kustomization" {
            self.wrong(
                "/kind",
                format!("the kind {kind} of kustomize is not followed"),
                Some(&built),
            );
        }
    }

    /// The items of a list, with their pointers.
    fn list(&mut self, name: &str) -> Vec<(String, Value)> {
        let pointer = format!("/{name}");
        match self.members.get(name) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(items)) => items
                .iter()
                .enumerate()
                .map(|(index, item)| (format!("{pointer}/{index}"), item.clone()))
                .collect(),
            Some(other) => {
                let message = format!("must be a list, and is {}", checks::shape_of(other));
                self.wrong(pointer, message, None);
                Vec::new()
            }
        }
    }

    fn text(&mut self, name: &str) -> String {
        match self.members.get(name) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => {
                let message = format!("must be a text, and is {}", checks::shape_of(other));
                self.wrong(format!("/{name}"), message, Some("put it in quotes"));
                String::new()
            }
        }
    }

    /// A path that this kustomization names, seen from the repository's root.
    fn path(&mut self, pointer: &str, text: &str) -> Option<String> {
        let path = join(self.folder, text);
        if path.is_none() {
            let fix = "name a file of the repository by its path from this folder";
            self.wrong(
                pointer,
                format!("{text} leads out of the repository"),
                Some(fix),
            );
        }
        path
    }

    /// A file that must be there.
    fn file(&mut self, pointer: &str, text: &str) -> Option<String> {
        let path = self.path(pointer, text)?;
        if self.build.library.has(&path) {
            self.build.taken.insert(path.clone());
            return Some(path);
        }
        self.wrong(pointer, format!("there is no file {text}"), None);
        None
    }

    fn resources(&mut self) -> Vec<Resource> {
        let mut resources = Vec::new();
        let mut entries = self.list("resources");
        entries.extend(self.list("bases"));
        for (pointer, entry) in entries {
            let Some(entry) = entry.as_str() else {
                self.wrong(pointer, "names a file or a folder", None);
                continue;
            };
            if is_remote(entry) {
                let fix = format!("run kustomize build, and {COMMIT_THE_OUTPUT}");
                self.wrong(
                    pointer,
                    format!("{entry} is not in this repository, and is not fetched"),
                    Some(&fix),
                );
                continue;
            }
            let Some(path) = self.path(&pointer, entry) else {
                continue;
            };
            if self.build.library.has(&path) {
                self.build.taken.insert(path.clone());
                let documents = self.build.library.documents(&path, self.build.reading);
                for document in documents {
                    self.resource(document, &mut resources);
                }
                continue;
            }
            let is_folder = NAMES
                .iter()
                .any(|name| self.build.library.has(&in_folder(&path, name)));
            if is_folder {
                let from = self.place.below(&pointer);
                resources.extend(self.build.folder(&path, Some(&from)));
            } else {
                let message =
                    format!("{entry} is neither a file nor a folder with a kustomization.yaml");
                self.wrong(pointer, message, None);
            }
        }
        resources
    }

    /// One document of a file: an object, or a list of some.
    fn resource(&mut self, draft: Draft, resources: &mut Vec<Resource>) {
        if let Err(exhausted) = self.build.reading.budget.take(budget::size(&draft.value)) {
            self.wrong("/resources", exhausted.to_string(), None);
            return;
        }
        if let Some(items) = operator::items_of_list(&draft.value) {
            for (index, item) in items.into_iter().enumerate() {
                let item = draft.part(&format!("/items/{index}"), item);
                self.resource(item, resources);
            }
            return;
        }
        for (pointer, what) in [
            ("/kind", "kind"),
            ("/apiVersion", "apiVersion"),
            ("/metadata/name", "name"),
        ] {
            if text(&draft.value, pointer).is_empty() {
                let message =
                    format!("kustomize takes Kubernetes objects only, and this has no {what}");
                let fix =
                    "take the file out of the kustomization's resources, or out of its folder";
                self.build
                    .reading
                    .wrong(&draft.place, pointer, message, Some(fix));
                return;
            }
        }
        let names = vec![name_of(&draft.value)];
        resources.push(Resource { draft, names });
    }

    /// The hash that kustomize adds to the name of a generated object is left out: it is for
    /// restarting pods, and references would have to know it.
    fn generated(&mut self) -> Vec<Resource> {
        const KNOWN: &[&str] = &[
            "behavior",
            "files",
            "literals",
            "name",
            "namespace",
            "options",
        ];
        let mut resources = Vec::new();
        for (pointer, generator) in self.list("configMapGenerator") {
            let others = generator.as_object().into_iter().flatten();
            for (name, _) in others.filter(|(name, _)| !KNOWN.contains(&name.as_str())) {
                let fix = format!("run kustomize build, and {COMMIT_THE_OUTPUT}");
                let message = format!("{name} of a configMapGenerator is not followed");
                self.wrong(format!("{pointer}/{}", escaped(name)), message, Some(&fix));
            }
            if !matches!(text(&generator, "/behavior"), "" | "create") {
                let fix = format!("run kustomize build, and {COMMIT_THE_OUTPUT}");
                self.wrong(
                    format!("{pointer}/behavior"),
                    "only the behavior create is followed",
                    Some(&fix),
                );
            }
            let name = text(&generator, "/name").to_owned();
            if name.is_empty() {
                self.wrong(format!("{pointer}/name"), "the name is missing", None);
                continue;
            }
            let mut metadata = json!({"name": name});
            let namespace = text(&generator, "/namespace");
            if !namespace.is_empty() {
                metadata["namespace"] = json!(namespace);
            }
            let value =
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {}});
            let mut draft = Draft::new(value, self.place.below(&pointer));
            self.data_of(&generator, &pointer, &mut draft);
            let names = vec![name_of(&draft.value)];
            resources.push(Resource { draft, names });
        }
        resources
    }

    fn data_of(&mut self, generator: &Value, pointer: &str, draft: &mut Draft) {
        let list = |name: &str| {
            generator
                .get(name)
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default()
        };
        let mut data: Vec<(String, String, Place)> = Vec::new();
        for (index, source) in list("files").iter().enumerate() {
            let at = format!("{pointer}/files/{index}");
            let Some(source) = source.as_str() else {
                self.wrong(at, "names a file", None);
                continue;
            };
            let (key, path) = key_and_path(source);
            let Some(path) = self.file(&at, path) else {
                continue;
            };
            let bytes = self
                .build
                .library
                .source(&path)
                .map(|source| source.file().bytes.clone());
            match String::from_utf8(bytes.unwrap_or_default()) {
                Ok(text) => data.push((key.to_owned(), text, Place::new(&path, 0))),
                Err(_) => self.wrong(at, format!("{path} is not UTF-8"), None),
            }
        }
        for (index, literal) in list("literals").iter().enumerate() {
            let at = format!("{pointer}/literals/{index}");
            match literal.as_str().and_then(|literal| literal.split_once('=')) {
                Some((key, text)) => {
                    let place = self.place.below(&at);
                    data.push((key.to_owned(), unquoted(text).to_owned(), place));
                }
                None => self.wrong(at, "a literal is like name=text", None),
            }
        }
        for (key, text, place) in data {
            if let Err(exhausted) = self
                .build
                .reading
                .budget
                .take(budget::text_size(text.len()))
            {
                self.wrong(pointer, exhausted.to_string(), None);
                return;
            }
            if draft.value["data"].get(&key).is_some() {
                self.wrong(pointer, format!("the ConfigMap has {key} twice"), None);
                continue;
            }
            draft.value["data"][&key] = json!(text);
            draft
                .written
                .put(&format!("/data/{}", escaped(&key)), place);
        }
    }

    /// `patchesStrategicMerge`: files, or the patches themselves.
    fn strategic_merges(&mut self, resources: &mut Vec<Resource>) {
        for (pointer, entry) in self.list("patchesStrategicMerge") {
            let Some(entry) = entry.as_str() else {
                self.wrong(pointer, "is the path of a patch, or its text", None);
                continue;
            };
            let is_text = entry.contains('\n') || entry.trim_start().starts_with('{');
            let documents = if is_text {
                self.inline(entry, &pointer)
            } else {
                self.patch_file(entry, &pointer)
            };
            for document in documents.into_iter().flatten() {
                self.merge_by_name(&document, resources);
            }
        }
    }

    /// `patches`: of either form, with or without a target.
    fn patches(&mut self, resources: &mut Vec<Resource>) {
        for (pointer, entry) in self.list("patches") {
            let Some((documents, target)) = self.patch_and_target(&entry, &pointer) else {
                continue;
            };
            match documents.as_slice() {
                [document] if document.value.is_array() => match target {
                    Some(target) => self.apply_operations(document, &target, &pointer, resources),
                    None => self.wrong(
                        format!("{pointer}/target"),
                        "a JSON patch needs a target",
                        None,
                    ),
                },
                documents => {
                    for document in documents {
                        match &target {
                            Some(target) => {
                                self.merge_target(document, target, &pointer, resources);
                            }
                            None => self.merge_by_name(document, resources),
                        }
                    }
                }
            }
        }
    }

    /// `patchesJson6902`, which come after the names were changed.
    fn json_patches(&mut self, resources: &mut [Resource]) {
        for (pointer, entry) in self.list("patchesJson6902") {
            let Some((documents, target)) = self.patch_and_target(&entry, &pointer) else {
                continue;
            };
            let Some(target) = target else {
                self.wrong(
                    format!("{pointer}/target"),
                    "a JSON patch needs a target",
                    None,
                );
                continue;
            };
            for document in documents {
                self.apply_operations(&document, &target, &pointer, resources);
            }
        }
    }

    fn patch_and_target(
        &mut self,
        entry: &Value,
        pointer: &str,
    ) -> Option<(Vec<Draft>, Option<Target>)> {
        const KNOWN: &[&str] = &["options", "patch", "path", "target"];
        let Value::Object(members) = entry else {
            self.wrong(
                pointer,
                "is an object with path or patch, and a target",
                None,
            );
            return None;
        };
        for name in members
            .keys()
            .filter(|name| !KNOWN.contains(&name.as_str()))
        {
            self.wrong(
                format!("{pointer}/{}", escaped(name)),
                format!("a patch has no {name}"),
                None,
            );
        }
        let asks = |value: &Value| {
            value
                .as_object()
                .is_some_and(|all| all.values().any(|on| on != &Value::Bool(false)))
        };
        if members.get("options").is_some_and(asks) {
            let fix = format!("run kustomize build, and {COMMIT_THE_OUTPUT}");
            self.wrong(
                format!("{pointer}/options"),
                "a patch that changes names or kinds is not followed",
                Some(&fix),
            );
        }
        let target = match members.get("target") {
            None | Some(Value::Null) => None,
            Some(target) => match Target::read(target) {
                Ok(target) => Some(target),
                Err((at, message)) => {
                    let fix = format!("run kustomize build, and {COMMIT_THE_OUTPUT}");
                    self.wrong(format!("{pointer}/target{at}"), message, Some(&fix));
                    return None;
                }
            },
        };
        let documents = match (members.get("path"), members.get("patch")) {
            (Some(Value::String(path)), None) => self.patch_file(path, &format!("{pointer}/path")),
            (None, Some(Value::String(patch))) => self.inline(patch, &format!("{pointer}/patch")),
            _ => {
                self.wrong(pointer, "has either a path or a patch, as a text", None);
                None
            }
        };
        Some((documents?, target))
    }

    fn patch_file(&mut self, text: &str, pointer: &str) -> Option<Vec<Draft>> {
        let path = self.file(pointer, text)?;
        Some(self.build.library.documents(&path, self.build.reading))
    }

    /// The documents of a text in the kustomization.
    fn inline(&mut self, text: &str, pointer: &str) -> Option<Vec<Draft>> {
        let file = SourceFile {
            path: self.place.file.clone(),
            bytes: text.as_bytes().to_vec(),
        };
        let place = self.place.below(pointer);
        match Source::new(&file).parse(&self.build.reading.options.limits) {
            Ok(documents) => Some(
                documents
                    .into_iter()
                    .map(|document| Draft::new(document.value, place.clone()))
                    .collect(),
            ),
            Err(problem) => {
                let message = format!(
                    "the patch cannot be read: {} (line {} of its text)",
                    problem.message, problem.line
                );
                self.wrong(pointer, message, None);
                None
            }
        }
    }

    fn merge_by_name(&mut self, patch: &Draft, resources: &mut Vec<Resource>) {
        let (namespace, name) = name_of(&patch.value);
        let (kind, version) = (
            text(&patch.value, "/kind"),
            text(&patch.value, "/apiVersion"),
        );
        let index = resources.iter().position(|resource| {
            resource.kind() == kind
                && text(&resource.draft.value, "/apiVersion") == version
                && resource.had(&namespace, &name)
        });
        let Some(index) = index else {
            let message = format!(
                "the patch is of {kind} {namespace}/{name}, which the resources do not have"
            );
            self.build
                .reading
                .wrong(&patch.place, "/metadata/name", message, None);
            return;
        };
        if self.merge(patch, &mut resources[index]) {
            resources.remove(index);
        }
    }

    fn merge_target(
        &mut self,
        patch: &Draft,
        target: &Target,
        pointer: &str,
        resources: &mut Vec<Resource>,
    ) {
        let mut has_matched = false;
        let mut kept = Vec::new();
        for mut resource in std::mem::take(resources) {
            if !target.is(&resource) {
                kept.push(resource);
                continue;
            }
            has_matched = true;
            if !self.merge(patch, &mut resource) {
                kept.push(resource);
            }
        }
        *resources = kept;
        if !has_matched {
            self.warn_of_nothing(pointer);
        }
    }

    /// Merges; whether the object is deleted by that.
    fn merge(&mut self, patch: &Draft, resource: &mut Resource) -> bool {
        let mut changes = patch.value.clone();
        // What names the object does not change it.
        let (_, name) = resource.name();
        if let Some(Value::Object(metadata)) = changes.get_mut("metadata") {
            metadata.insert("name".to_owned(), json!(name));
            metadata.remove("namespace");
        }
        if let Value::Object(members) = &mut changes {
            members.remove("kind");
            members.remove("apiVersion");
        }
        if text(&changes, "/$patch") == "delete" {
            return true;
        }
        if let Some(directive) = directive_in(&changes, "") {
            let fix = format!("run kustomize build, and {COMMIT_THE_OUTPUT}");
            self.build.reading.wrong(
                &patch.place,
                directive,
                "this directive of a strategic merge is not followed",
                Some(&fix),
            );
            return false;
        }
        // The operator's kinds have no lists that are merged item by item, so a strategic merge of
        // them is a merge patch.
        let reading = &mut *self.build.reading;
        match patch::merge(&mut resource.draft, &changes, &patch.place, &reading.budget) {
            Ok(()) => reading.within_depth(&resource.draft.value, &patch.place),
            Err(exhausted) => reading.wrong(&patch.place, "", exhausted.to_string(), None),
        }
        false
    }

    fn apply_operations(
        &mut self,
        patch: &Draft,
        target: &Target,
        pointer: &str,
        resources: &mut [Resource],
    ) {
        let operations: Vec<Operation> = match patch::operations(&patch.value) {
            Ok(operations) => operations,
            Err(fault) => {
                self.build
                    .reading
                    .wrong(&patch.place, fault.pointer, fault.message, None);
                return;
            }
        };
        let mut has_matched = false;
        for resource in resources.iter_mut().filter(|resource| target.is(resource)) {
            has_matched = true;
            let reading = &mut *self.build.reading;
            match patch::apply(
                &mut resource.draft,
                &operations,
                &patch.place,
                &reading.budget,
            ) {
                Ok(()) => reading.within_depth(&resource.draft.value, &patch.place),
                Err(fault) => {
                    let message = format!(
                        "{} (the patch is of {})",
                        fault.message, resource.draft.place.file
                    );
                    reading.wrong(&patch.place, fault.pointer, message, None);
                }
            }
        }
        if !has_matched {
            self.warn_of_nothing(pointer);
        }
    }

    fn warn_of_nothing(&mut self, pointer: &str) {
        let message = "the patch's target is none of the resources";
        self.build
            .reading
            .warn(&self.place, format!("{pointer}/target"), message, None);
    }

    /// `namespace`, `namePrefix` and `nameSuffix`, and the references to what they change.
    fn rename(&mut self, resources: &mut [Resource]) {
        let (namespace, prefix, suffix) = (
            self.text("namespace"),
            self.text("namePrefix"),
            self.text("nameSuffix"),
        );
        if namespace.is_empty() && prefix.is_empty() && suffix.is_empty() {
            return;
        }
        let mut renamed = BTreeMap::new();
        for resource in resources.iter_mut() {
            let old = resource.name();
            let kind = resource.kind().to_owned();
            if resource.names.last() != Some(&old) {
                resource.names.push(old.clone());
            }
            let name = format!("{prefix}{}{suffix}", old.1);
            if let Some(Value::Object(metadata)) = resource.draft.value.get_mut("metadata") {
                metadata.insert("name".to_owned(), json!(name));
                if !namespace.is_empty() {
                    metadata.insert("namespace".to_owned(), json!(namespace));
                }
            }
            renamed.insert((kind, old.0, old.1), resource.name());
        }
        for resource in resources {
            let own = resource
                .names
                .last()
                .map_or("default", |(namespace, _)| namespace)
                .to_owned();
            names::follow(&mut resource.draft.value, &own, &renamed);
        }
    }
}

/// Which objects a patch is of; every part is a pattern for the whole.
struct Target {
    group: Option<Regex>,
    version: Option<Regex>,
    kind: Option<Regex>,
    namespace: Option<Regex>,
    name: Option<Regex>,
}

impl Target {
    fn read(target: &Value) -> Result<Self, (String, String)> {
        const KNOWN: &[&str] = &["group", "kind", "name", "namespace", "version"];
        let Value::Object(members) = target else {
            return Err((String::new(), "is an object with kind and name".to_owned()));
        };
        let is_other = |name: &&String| !KNOWN.contains(&name.as_str()) && members[*name] != "";
        if let Some(other) = members.keys().find(is_other) {
            return Err((
                format!("/{}", escaped(other)),
                format!("{other} of a target is not followed"),
            ));
        }
        let pattern = |name: &str| match members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => RegexBuilder::new(&format!("^(?:{text})$"))
                .size_limit(100_000)
                .build()
                .map(Some)
                .map_err(|_| {
                    (
                        format!("/{name}"),
                        "is no regular expression that can be read".to_owned(),
                    )
                }),
            Some(other) => Err((
                format!("/{name}"),
                format!("must be a text, and is {}", checks::shape_of(other)),
            )),
        };
        Ok(Self {
            group: pattern("group")?,
            version: pattern("version")?,
            kind: pattern("kind")?,
            namespace: pattern("namespace")?,
            name: pattern("name")?,
        })
    }

    fn is(&self, resource: &Resource) -> bool {
        let fits = |pattern: &Option<Regex>, text: &str| {
            pattern
                .as_ref()
                .is_none_or(|pattern| pattern.is_match(text))
        };
        let api_version = text(&resource.draft.value, "/apiVersion");
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let now = resource.name();
        let mut names = resource.names.iter().chain([&now]);
        fits(&self.group, group)
            && fits(&self.version, version)
            && fits(&self.kind, resource.kind())
            && names
                .any(|(namespace, name)| fits(&self.namespace, namespace) && fits(&self.name, name))
    }
}

/// The first `$patch`, `$setElementOrder/…` and the like.
fn directive_in(value: &Value, pointer: &str) -> Option<String> {
    match value {
        Value::Object(members) => members.iter().find_map(|(name, member)| {
            let pointer = format!("{pointer}/{}", escaped(name));
            let is_directive = name == "$patch"
                || name.starts_with("$setElementOrder")
                || name.starts_with("$deleteFromPrimitiveList")
                || name == "$retainKeys";
            if is_directive {
                return Some(pointer);
            }
            directive_in(member, &pointer)
        }),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(index, item)| directive_in(item, &format!("{pointer}/{index}"))),
        _ => None,
    }
}

fn is_remote(entry: &str) -> bool {
    const HOSTS: &[&str] = &[
        "github.com/",
        "gitlab.com/",
        "bitbucket.org/",
        "git@",
        "git::",
        "gh:",
    ];
    entry.contains("://")
        || entry.contains("?ref=")
        || HOSTS.iter().any(|host| entry.starts_with(host))
}

/// `key=path`, or a path whose last part is the key.
fn key_and_path(source: &str) -> (&str, &str) {
    source
        .split_once('=')
        .unwrap_or_else(|| (super::name_of(source), source))
}

fn unquoted(text: &str) -> &str {
    let inside = |quote: char| {
        text.strip_prefix(quote)
            .and_then(|text| text.strip_suffix(quote))
    };
    inside('"').or_else(|| inside('\'')).unwrap_or(text)
}
