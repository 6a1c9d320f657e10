//! Live objects → the text of manifests that describe them, so that a plan has nothing to do.
//!
//! Each text is read again as a run would read it and compared with the live object before it
//! counts. Secrets never get into a text: references that the gateway resolves stand in their
//! place. Nothing is written to a disk here.

mod names;
mod operator;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::Serialize;
use serde_json::Value;

use super::{Options, SourceFile, native, read, values};
use crate::domain::{
    diff::diff,
    normalize,
    object::{Desired, Kind, Object, ObjectKey, Route},
    reference::{self, Secrets},
    secrets::{Masker, is_masked},
};

/// A live object, as the endpoint of its own kind reads it.
#[derive(Clone)]
pub struct Found {
    pub key: ObjectKey,
    pub body: Value,
}

// A body may hold secrets, so it is never printed.
impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.key, f)
    }
}

/// The form of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// The gateway's own documents, as JSON: it is what the gateway itself speaks, and no text,
    /// number or duration in it can be read as something else.
    Native,
    /// The resources of Tyk Operator, as YAML, for what they can express exactly.
    Operator,
}

/// One manifest.
#[derive(Debug, Clone)]
pub struct Manifest {
    pub object: ObjectKey,
    pub name: String,
    /// Below the folder of manifests.
    pub path: String,
    pub text: String,
    pub layout: Layout,
    /// What a reader should know, in sentences: why it is not in the layout that was asked for, or
    /// what looks odd about the object.
    pub notes: Vec<String>,
    /// The secrets that somebody has to give to the gateway.
    pub secrets: Vec<Secret>,
    /// Fields that a plan would change: the manifest cannot say what the gateway has. Pointers
    /// only, as values may be secret.
    pub differs: Vec<String>,
}

/// A secret that was replaced by a reference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Secret {
    pub object: ObjectKey,
    /// Into the object's own document.
    pub pointer: String,
    /// The variable in the environment of the gateway's process.
    pub variable: String,
}

/// An object that no manifest can describe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    pub object: ObjectKey,
    pub reason: String,
}

/// Everything that came of some live objects, in the order of their keys.
#[derive(Debug, Default)]
pub struct Written {
    pub manifests: Vec<Manifest>,
    pub refused: Vec<Refused>,
}

/// Describes live objects. The result does not depend on their order, and not on each other
/// except where one file may not stand beside another.
pub fn write(found: &[Found], layout: Layout, options: &Options, masker: &Masker) -> Written {
    let mut order: Vec<&Found> = found.iter().collect();
    order.sort_by(|left, right| left.key.cmp(&right.key));
    let mut written = Written::default();
    let mut drafts = BTreeMap::new();
    for found in order {
        match Draft::native(found, options, masker) {
            Ok(draft) => {
                drafts.insert(found.key.clone(), draft);
            }
            Err(reason) => written.refused.push(Refused {
                object: found.key.clone(),
                reason,
            }),
        }
    }
    note_renamed(&mut drafts);
    if layout == Layout::Operator {
        operator::rewrite(&mut drafts, options);
    }
    let mut manifests: Vec<Manifest> = drafts.into_values().map(|draft| draft.manifest).collect();
    keep_apart(&mut manifests, &mut written.refused, options);
    written.manifests = manifests;
    written
        .refused
        .sort_by(|left, right| left.object.cmp(&right.object));
    written
}

/// Describes what manifests want in the gateway's own form. What is written reads back as exactly
/// the same objects; secrets stay as they are there, and are named.
pub fn converted(desired: &Desired, options: &Options) -> Written {
    // Which texts are secret does not depend on the key.
    let masker = Masker::new(&[0; 32]);
    let mut written = Written::default();
    let mut refuse = |object: &ObjectKey, reason: &str| {
        written.refused.push(Refused {
            object: object.clone(),
            reason: reason.to_owned(),
        });
    };
    let mut manifests = Vec::new();
    for (key, object) in desired {
        if key.kind == Kind::Certificate {
            refuse(
                key,
                "a certificate is no document; copy its file, and write certificate:NAME where its \
                 id stands now",
            );
            continue;
        }
        let document = values::escaped_in(&native::manifest_of(key.kind, &object.body));
        let Ok(mut text) = serde_json::to_string_pretty(&document) else {
            refuse(key, "its document cannot be written as JSON");
            continue;
        };
        text.push('\n');
        let hidden = diff(&object.body, &masker.mask(&object.body, false));
        let secrets = hidden.into_iter().map(|change| Secret {
            object: key.clone(),
            pointer: change.pointer,
            variable: String::new(),
        });
        manifests.push(Manifest {
            object: key.clone(),
            name: object.name().to_owned(),
            path: format!("{}.json", names::file_stem(key)),
            text,
            layout: Layout::Native,
            notes: Vec::new(),
            secrets: secrets.collect(),
            differs: Vec::new(),
        });
    }
    let files: Vec<SourceFile> = manifests.iter().map(source).collect();
    let mut again = super::check(&files, options).manifests.desired;
    manifests.retain(|manifest| {
        let read = again.remove(&manifest.object).map(|object| object.body);
        let is_same = read.as_ref() == desired.get(&manifest.object).map(|object| &object.body);
        if !is_same {
            refuse(
                &manifest.object,
                "written as JSON it would not say the same",
            );
        }
        is_same
    });
    written.manifests = manifests;
    written
}

/// A manifest, and what it must come back as.
struct Draft<'f> {
    manifest: Manifest,
    found: &'f Found,
    /// The live body with references in the place of secrets.
    said: Value,
}

impl<'f> Draft<'f> {
    fn native(found: &'f Found, options: &Options, masker: &Masker) -> Result<Self, String> {
        let Found { key, body } = found;
        if !body.is_object() {
            return Err("its document is nested too deeply to be read".to_owned());
        }
        let stem = names::file_stem(key);
        let mut best: Option<Self> = None;
        // What the gateway fills in is left out, unless that changes what is said.
        for body in [normalize::slim(key.kind, body), body.clone()] {
            let (said, secrets) = without_secrets(key, body, masker);
            if key.kind == Kind::Policy
                && let Some(secret) = secrets.first()
            {
                return Err(format!(
                    "it holds a secret ({}), and in a policy a gateway resolves no reference; keep \
                     the policy by hand, or take the secret out of it",
                    secret.pointer
                ));
            }
            let said = reference::written(said);
            let path = format!("{stem}.json");
            let written = values::escaped_in(&native::manifest_of(key.kind, &said));
            let mut text =
                serde_json::to_string_pretty(&written).map_err(|error| error.to_string())?;
            text.push('\n');
            let name = Object {
                key: key.clone(),
                body: said.clone(),
                path: path.clone(),
            }
            .name()
            .to_owned();
            let mut draft = Self {
                manifest: Manifest {
                    object: key.clone(),
                    name,
                    path,
                    text,
                    layout: Layout::Native,
                    notes: Vec::new(),
                    secrets,
                    differs: Vec::new(),
                },
                found,
                said,
            };
            draft.manifest.differs = draft.differences(&[], options)?;
            let differs = draft.manifest.differs.len();
            if best
                .as_ref()
                .is_none_or(|best| differs < best.manifest.differs.len())
            {
                best = Some(draft);
            }
            if differs == 0 {
                break;
            }
        }
        best.ok_or_else(|| "there is nothing to write".to_owned())
    }

    /// Reads the manifest as a run would, beside the others that it refers to, and names the
    /// fields that do not come back as the gateway has them.
    fn differences(&self, others: &[SourceFile], options: &Options) -> Result<Vec<String>, String> {
        let Found { key, body } = self.found;
        let mut files = others.to_vec();
        files.push(self.source());
        let mut read = read(&files, options).map_err(|problems| {
            let own = problems
                .iter()
                .map(|problem| match problem.pointer.as_str() {
                    "" => problem.message.clone(),
                    pointer => format!("{pointer}: {}", problem.message),
                });
            own.collect::<Vec<_>>().join("; ")
        })?;
        let Some(object) = read.desired.remove(key) else {
            return Err("no manifest reads back as this object".to_owned());
        };
        let kind = key.kind;
        // What a plan asks, and that nothing was lost which a plan would not miss.
        let asked = normalize::comparable(kind, &object.body);
        let said = normalize::comparable(kind, &self.said);
        let sent = reference::filled(&object.body, &Secrets::default());
        let sent = sent.as_ref().unwrap_or(&object.body);
        if asked == said && normalize::equal(kind, sent, body) {
            return Ok(Vec::new());
        }
        let kept = normalize::kept(kind, sent, body);
        let changed = kept.differs.into_iter().map(|change| change.pointer);
        let lost = diff(&said, &asked).into_iter().map(|change| change.pointer);
        let pointers: BTreeSet<String> = changed.chain(kept.dropped).chain(lost).collect();
        Ok(pointers.into_iter().collect())
    }

    fn source(&self) -> SourceFile {
        source(&self.manifest)
    }
}

fn source(manifest: &Manifest) -> SourceFile {
    SourceFile {
        path: manifest.path.clone(),
        bytes: manifest.text.clone().into_bytes(),
    }
}

/// Puts references where the masker sees secrets, and where the same text stands again.
fn without_secrets(key: &ObjectKey, body: Value, masker: &Masker) -> (Value, Vec<Secret>) {
    /// A shorter text may stand somewhere by chance.
    const LONG_ENOUGH: usize = 8;
    let mut pointers: Vec<String> = Vec::new();
    let mut values: Vec<String> = Vec::new();
    for change in diff(&body, &masker.mask(&body, false)) {
        if let Some(Value::String(value)) = change.before
            && value.chars().count() >= LONG_ENOUGH
        {
            values.push(value);
        }
        pointers.push(change.pointer);
    }
    if !values.is_empty() {
        repeated(&body, &values, &mut String::new(), &mut pointers);
    }
    pointers.sort();
    pointers.dedup();
    let mut body = body;
    let mut secrets = Vec::new();
    for pointer in pointers {
        let variable = names::variable(key, &pointer);
        if let Some(place) = body.pointer_mut(&pointer) {
            *place = Value::String(format!("env://{variable}"));
            secrets.push(Secret {
                object: key.clone(),
                pointer,
                variable,
            });
        }
    }
    (body, secrets)
}

/// A masked body as an object that a manifest can describe: references stand where masks did. A
/// mask in a policy has no reference, because a gateway resolves none there.
pub fn unmasked(key: &ObjectKey, mut body: Value) -> Result<(Found, Vec<Secret>), Refused> {
    let refused = |reason: &str| Refused {
        object: key.clone(),
        reason: reason.to_owned(),
    };
    if key.kind == Kind::Certificate {
        return Err(refused(
            "a certificate's file is not kept; take it from where it was made",
        ));
    }
    let mut secrets = Vec::new();
    put_references(key, &mut body, &mut String::new(), &mut secrets);
    if key.kind == Kind::Policy && !secrets.is_empty() {
        return Err(refused(
            "it held a secret, which is not on record, and in a policy a gateway resolves no \
             reference",
        ));
    }
    let key = key.clone();
    Ok((Found { key, body }, secrets))
}

fn put_references(
    key: &ObjectKey,
    value: &mut Value,
    pointer: &mut String,
    secrets: &mut Vec<Secret>,
) {
    let mut step = |name: &str, member: &mut Value| {
        let length = pointer.len();
        crate::domain::diff::push_token(pointer, name);
        put_references(key, member, pointer, secrets);
        pointer.truncate(length);
    };
    match value {
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                step(name, member);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                step(&index.to_string(), item);
            }
        }
        Value::String(text) if is_masked(text) => {
            let variable = names::variable(key, pointer);
            *text = format!("env://{variable}");
            secrets.push(Secret {
                object: key.clone(),
                pointer: pointer.clone(),
                variable,
            });
        }
        _ => {}
    }
}

/// The places of all texts that hold one of these values.
fn repeated(value: &Value, values: &[String], pointer: &mut String, found: &mut Vec<String>) {
    let mut step = |name: &str, member: &Value| {
        let length = pointer.len();
        crate::domain::diff::push_token(pointer, name);
        repeated(member, values, pointer, found);
        pointer.truncate(length);
    };
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                step(name, member);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                step(&index.to_string(), item);
            }
        }
        Value::String(text) if values.iter().any(|value| text.contains(value.as_str())) => {
            found.push(pointer.clone());
        }
        _ => {}
    }
}

/// Where two APIs share a route, a gateway serves one of them at another, which is what it then
/// reads back.
fn note_renamed(drafts: &mut BTreeMap<ObjectKey, Draft<'_>>) {
    let object = |draft: &Draft<'_>| Object {
        key: draft.manifest.object.clone(),
        body: draft.said.clone(),
        path: String::new(),
    };
    let routes: BTreeSet<Route> = drafts
        .values()
        .filter_map(|draft| object(draft).route())
        .collect();
    for draft in drafts.values_mut() {
        let Some(route) = object(draft).route() else {
            continue;
        };
        let suffix = format!("-{}", draft.manifest.object.id);
        let meant = route
            .listen_path
            .trim_end_matches('_')
            .strip_suffix(&suffix);
        let Some(meant) = meant.map(|meant| Route::new(&route.domain, meant)) else {
            continue;
        };
        if meant.listen_path.ends_with('/') || routes.contains(&meant) {
            draft.manifest.notes.push(format!(
                "it listens on {route}, which looks as if the gateway had moved it there from \
                 {meant} because two APIs shared that"
            ));
        }
    }
}

/// Takes out what cannot stand beside the others: a stack's manifests are refused as a whole when
/// two of them are at odds.
fn keep_apart(manifests: &mut Vec<Manifest>, refused: &mut Vec<Refused>, options: &Options) {
    let mut taken: BTreeMap<String, ObjectKey> = BTreeMap::new();
    manifests.retain(|manifest| {
        let Some(first) = taken.get(&manifest.path) else {
            taken.insert(manifest.path.clone(), manifest.object.clone());
            return true;
        };
        refused.push(Refused {
            object: manifest.object.clone(),
            reason: format!("{first} needs the same file, {}", manifest.path),
        });
        false
    });
    loop {
        let files: Vec<SourceFile> = manifests.iter().map(source).collect();
        let Err(problems) = read(&files, options) else {
            return;
        };
        let reasons: BTreeMap<&str, &str> = problems
            .iter()
            .map(|problem| (problem.file.as_str(), problem.message.as_str()))
            .collect();
        let before = manifests.len();
        manifests.retain(|manifest| {
            let Some(reason) = reasons.get(manifest.path.as_str()) else {
                return true;
            };
            refused.push(Refused {
                object: manifest.object.clone(),
                reason: (*reason).to_owned(),
            });
            false
        });
        if manifests.len() == before {
            return;
        }
    }
}
