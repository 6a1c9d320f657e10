//! The two states of a gateway: what is on disk, and what is live since the last load. Writes
//! touch the disk, reads see what is live, and a load carries the one over into the other.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::listen_path;
use super::oas;
use super::target;
use super::types::{Type, types};

/// A file in the folder of APIs.
#[derive(Debug, Clone)]
pub enum File {
    /// A classic definition, sparse, or the projection of an OAS document.
    Definition(Arc<Value>),
    /// An OAS document.
    Document(Arc<Value>),
    /// Something that is not JSON.
    Broken,
}

#[derive(Debug, Clone, Default)]
pub struct Disk {
    pub apis: BTreeMap<String, File>,
    /// The file's name without `.json` → the policy, sparse; absent when it cannot be read.
    pub policies: BTreeMap<String, Option<Arc<Value>>>,
}

/// A loaded API.
#[derive(Debug, Clone)]
pub struct LiveApi {
    /// Sparse, with secrets resolved and, after a collision, another listen path.
    pub definition: Arc<Value>,
    pub document: Option<Arc<Value>>,
    /// The API that lists this one as its version.
    pub base: Option<String>,
    /// Whether requests on the proxy port reach it.
    pub served: bool,
    /// Where it stands among those that may answer a request: the lowest one does.
    pub rank: usize,
    checksum: [u8; 32],
    sources: (Arc<Value>, Option<Arc<Value>>),
    text: Arc<OnceLock<Bytes>>,
}

#[derive(Debug, Default)]
pub struct Live {
    pub apis: BTreeMap<String, LiveApi>,
    /// (organisation, id) → the policy, sparse.
    pub policies: BTreeMap<(String, String), Arc<Value>>,
    pub loaded_once: bool,
}

#[derive(Debug, Default)]
pub struct State {
    pub disk: Disk,
    pub live: Live,
}

impl LiveApi {
    pub fn text(&self) -> Bytes {
        self.text
            .get_or_init(|| Bytes::from(types().encode(&classic(), &self.definition)))
            .clone()
    }

    pub fn is_oas(&self) -> bool {
        flag(&self.definition, "/is_oas")
    }

    pub fn is_mcp(&self) -> bool {
        text(&self.definition, "/application_protocol") == "mcp"
    }

    pub fn listen_path(&self) -> &str {
        text(&self.definition, "/proxy/listen_path")
    }

    /// Changes the definition in memory alone, as the version parameters of a POST do.
    pub fn amend(&mut self, change: impl FnOnce(&mut Value)) {
        change(Arc::make_mut(&mut self.definition));
        self.text = Arc::default();
    }
}

/// What a load needs beside the disk.
pub struct Surroundings<'gateway> {
    pub environment: &'gateway BTreeMap<String, String>,
    pub lost: &'gateway (dyn Fn(&str) -> bool + Sync),
}

/// The type of a classic definition.
pub fn classic() -> Type {
    types().named("APIDefinition")
}

/// The type of a policy.
pub fn policy() -> Type {
    types().named("user.Policy")
}

/// Builds the live policies from the files; the last file of one (organisation, id) wins.
pub fn load_policies(disk: &Disk) -> BTreeMap<(String, String), Arc<Value>> {
    disk.policies
        .values()
        .flatten()
        .map(|policy| {
            let key = (
                text(policy, "/org_id").to_owned(),
                text(policy, "/id").to_owned(),
            );
            (key, policy.clone())
        })
        .collect()
}

/// Builds the live APIs from the files. `before` is what was live: an unchanged API keeps its
/// object, and with it a listen path that an earlier collision gave it.
pub fn load_apis(
    disk: &Disk,
    before: &BTreeMap<String, LiveApi>,
    around: &Surroundings<'_>,
) -> BTreeMap<String, LiveApi> {
    let mut found: Vec<Found> = disk
        .apis
        .iter()
        .filter(|(name, _)| is_main(name))
        .filter_map(|(name, file)| read(name, file, disk, before, around))
        .collect();
    let mut crowd: BTreeMap<(String, String), usize> = BTreeMap::new();
    for api in &found {
        *crowd.entry(api.address()).or_default() += 1;
    }
    // The longest paths first, as the router wants them; equal ones stay in the files' order.
    found.sort_by_key(|api| std::cmp::Reverse(text(&api.definition, "/proxy/listen_path").len()));
    let mut live: BTreeMap<String, LiveApi> = BTreeMap::new();
    for (rank, api) in found.into_iter().enumerate() {
        let id = api.id.clone();
        if let Some(loaded) = api.load(&crowd, before, rank) {
            live.insert(id, loaded);
        }
    }
    bind_versions(&mut live);
    live
}

/// Sets the hidden link of every child from the list of its base.
fn bind_versions(live: &mut BTreeMap<String, LiveApi>) {
    let mut links = Vec::new();
    for (id, api) in live.iter() {
        if let Some(versions) = api
            .definition
            .pointer("/definition/versions")
            .and_then(Value::as_object)
        {
            for child in versions.values().filter_map(Value::as_str) {
                links.push((child.to_owned(), id.clone()));
            }
        }
    }
    for api in live.values_mut() {
        api.base = None;
    }
    for (child, base) in links {
        if let Some(api) = live.get_mut(&child) {
            api.base = Some(base);
        }
    }
}

/// A file read, before it is decided whether and where it is served.
struct Found {
    id: String,
    definition: Arc<Value>,
    document: Option<Arc<Value>>,
    sources: (Arc<Value>, Option<Arc<Value>>),
    checksum: [u8; 32],
    unchanged: bool,
    /// The definition in full, where it is already written.
    whole: Option<Bytes>,
}

impl Found {
    fn address(&self) -> (String, String) {
        (
            domain(&self.definition).to_owned(),
            text(&self.definition, "/proxy/listen_path").to_owned(),
        )
    }

    fn load(
        self,
        crowd: &BTreeMap<(String, String), usize>,
        before: &BTreeMap<String, LiveApi>,
        rank: usize,
    ) -> Option<LiveApi> {
        let was = before.get(&self.id);
        if let Some(was) = was.filter(|_| self.unchanged) {
            return Some(LiveApi {
                sources: self.sources,
                rank,
                ..was.clone()
            });
        }
        let domain = domain(&self.definition).to_owned();
        let mut path = text(&self.definition, "/proxy/listen_path").to_owned();
        let mut renamed = false;
        while !listen_path::is_ignored(&path)
            && crowd.get(&(domain.clone(), path.clone())).copied() > Some(1)
        {
            if renamed {
                path.push('_');
                continue;
            }
            if was.is_some_and(|was| was.listen_path() == path) {
                break;
            }
            path.push('-');
            path.push_str(&self.id);
            renamed = true;
        }
        let mut definition = self.definition;
        if renamed {
            set(
                Arc::make_mut(&mut definition),
                "/proxy/listen_path",
                path.clone().into(),
            );
        }
        let reachable = listen_path::is_reachable(&path);
        if !reachable && !listen_path::is_ignored(&path) {
            return None;
        }
        let on_this_port = matches!(
            text(&definition, "/protocol"),
            "" | "http" | "https" | "h2c"
        ) && port(&definition) == 0;
        Some(LiveApi {
            served: reachable
                && on_this_port
                && target::is_readable(text(&definition, "/proxy/target_url"))
                && !flag(&definition, "/internal"),
            rank,
            definition,
            document: self.document,
            base: None,
            checksum: self.checksum,
            sources: self.sources,
            text: Arc::new(match self.whole {
                Some(whole) if !renamed => OnceLock::from(whole),
                _ => OnceLock::new(),
            }),
        })
    }
}

fn read(
    name: &str,
    file: &File,
    disk: &Disk,
    before: &BTreeMap<String, LiveApi>,
    around: &Surroundings<'_>,
) -> Option<Found> {
    let File::Definition(source) = file else {
        return None;
    };
    let document_source = if flag(source, "/is_oas") {
        let suffix = if text(source, "/application_protocol") == "mcp" {
            "mcp"
        } else {
            "oas"
        };
        match disk.apis.get(&format!("{name}-{suffix}")) {
            Some(File::Document(document)) => Some(document.clone()),
            _ => return None,
        }
    } else {
        None
    };
    let id = text(source, "/api_id");
    if let Some(was) = before.get(id).filter(|was| {
        Arc::ptr_eq(&was.sources.0, source)
            && match (&was.sources.1, &document_source) {
                (None, None) => true,
                (Some(one), Some(other)) => Arc::ptr_eq(one, other),
                _ => false,
            }
    }) && !(around.lost)(id)
    {
        return Some(Found {
            id: id.to_owned(),
            // With the path that a collision gave it, which nobody else's then collides with.
            definition: was.definition.clone(),
            document: was.document.clone(),
            sources: (source.clone(), document_source),
            checksum: was.checksum,
            unchanged: true,
            whole: None,
        });
    }
    let definition = resolve(source, around.environment);
    let document = document_source
        .as_ref()
        .map(|document| resolve(document, around.environment));
    let id = text(&definition, "/api_id").to_owned();
    if !is_loadable(&definition, document.as_deref()) || (around.lost)(&id) {
        return None;
    }
    let whole = types().encode(&classic(), &definition);
    let checksum = checksum(&whole, document.as_deref());
    let settled = settle(definition.clone());
    let whole = Arc::ptr_eq(&settled, &definition).then(|| Bytes::from(whole));
    let same = before.get(&id).filter(|was| was.checksum == checksum);
    Some(Found {
        unchanged: same.is_some(),
        id,
        definition: same.map_or(settled, |was| was.definition.clone()),
        document,
        sources: (source.clone(), document_source),
        checksum,
        whole,
    })
}

/// What the loader refuses, with a line in its log and nothing else.
fn is_loadable(definition: &Value, document: Option<&Value>) -> bool {
    let bundle = !flag(definition, "/custom_middleware_bundle_disabled")
        && !text(definition, "/custom_middleware_bundle").is_empty();
    let raw = matches!(text(definition, "/protocol"), "tcp" | "tls");
    let unbound = raw && port(definition) == 0;
    !bundle && !unbound && document.is_none_or(oas::is_loadable)
}

/// The port that an API has for itself; none is 0.
fn port(definition: &Value) -> i64 {
    definition
        .pointer("/listen_port")
        .and_then(Value::as_i64)
        .unwrap_or(0)
}

/// The changes that a load makes in every definition.
fn settle(mut definition: Arc<Value>) -> Arc<Value> {
    let number = |pointer: &str| {
        definition
            .pointer(pointer)
            .and_then(Value::as_u64)
            .unwrap_or(0)
    };
    let least = number("/proxy/transport/ssl_min_version");
    let most = number("/proxy/transport/ssl_max_version");
    // TLS 1.2 is the highest that this transport is held to, unless the lowest is higher.
    let held = if most > 0 { 771.max(least) } else { least };
    if held != most {
        set(
            Arc::make_mut(&mut definition),
            "/proxy/transport/ssl_max_version",
            held.into(),
        );
    }
    if let Some(headers) = definition.get("tag_headers").and_then(Value::as_array) {
        let lower: Vec<Value> = headers
            .iter()
            .map(|header| Value::from(header.as_str().unwrap_or_default().to_lowercase()))
            .collect();
        if lower != *headers {
            set(Arc::make_mut(&mut definition), "/tag_headers", lower.into());
        }
    }
    let merged = text(&definition, "/graphql/supergraph/merged_sdl");
    if flag(&definition, "/graphql/enabled")
        && text(&definition, "/graphql/execution_mode") == "supergraph"
        && text(&definition, "/graphql/schema") != merged
    {
        let merged = merged.to_owned();
        let definition = Arc::make_mut(&mut definition);
        set(definition, "/graphql/schema", merged.into());
    }
    definition
}

fn checksum(definition: &str, document: Option<&Value>) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(definition);
    if let Some(document) = document {
        let mut out = String::new();
        super::types::write_value(document, &mut out);
        hash.update(out);
    }
    hash.finalize().into()
}

/// Replaces `env://NAME` by the value of NAME in every text; a missing variable stays.
fn resolve(source: &Arc<Value>, environment: &BTreeMap<String, String>) -> Arc<Value> {
    if environment.is_empty() || !mentions(source) {
        return source.clone();
    }
    let mut value = (**source).clone();
    replace(&mut value, environment);
    Arc::new(value)
}

fn mentions(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("env://"),
        Value::Array(items) => items.iter().any(mentions),
        Value::Object(map) => map.values().any(mentions),
        _ => false,
    }
}

fn replace(value: &mut Value, environment: &BTreeMap<String, String>) {
    match value {
        Value::String(text) => {
            if let Some((head, name)) = text.split_once("env://")
                && let Some(found) = environment.get(name).filter(|found| !found.is_empty())
            {
                *text = format!("{head}{found}");
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, environment)),
        Value::Object(map) => map.values_mut().for_each(|item| replace(item, environment)),
        _ => {}
    }
}

fn is_main(name: &str) -> bool {
    !(name.ends_with("-oas") || name.ends_with("-mcp"))
}

pub fn domain(definition: &Value) -> &str {
    if flag(definition, "/domain_disabled") {
        ""
    } else {
        text(definition, "/domain")
    }
}

pub fn text<'value>(value: &'value Value, pointer: &str) -> &'value str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

pub fn flag(value: &Value, pointer: &str) -> bool {
    value
        .pointer(pointer)
        .and_then(Value::as_bool)
        .unwrap_or(false)
}

/// Sets a member, making the objects on the way to it.
pub fn set(value: &mut Value, pointer: &str, item: Value) {
    let mut place = value;
    for key in pointer.split('/').skip(1) {
        if !place.is_object() {
            *place = Value::Object(serde_json::Map::new());
        }
        let Value::Object(map) = place else { return };
        place = map.entry(key).or_insert(Value::Null);
    }
    *place = item;
}
