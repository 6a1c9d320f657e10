//! Tyk Operator's resources, translated as the operator does, for a gateway without a cluster.
//!
//! Everything that they refer to is looked for in the manifests: `ConfigMaps`, graphs, other
//! APIs, policies, Secrets. What is not there is a problem with the cure in it, never left out in
//! silence. What only a Dashboard can hold is checked, and said to be of no use to a gateway.

mod api_definition;
mod context;
mod document;
pub mod fields;
mod graph;
mod ingress;
mod portal;
mod sdl;
mod secret;
mod security_policy;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use self::{fields::Unknown, ingress::Ingress, secret::Secret};
use super::{Place, Reading, checks};
use crate::domain::way::at;

const GROUP: &str = "tyk.tyk.io/";
const VERSION: &str = "tyk.tyk.io/v1alpha1";

/// The namespace of what names none.
const NAMESPACE: &str = "default";

/// The operator's kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    ApiDefinition,
    SecurityPolicy,
    TykOasApiDefinition,
    TykStreamsApiDefinition,
    TykMcpProxyDefinition,
    OperatorContext,
    SuperGraph,
    SubGraph,
    ApiDescription,
    PortalApiCatalogue,
    PortalConfig,
}

impl Kind {
    const ALL: [Self; 11] = [
        Self::ApiDefinition,
        Self::SecurityPolicy,
        Self::TykOasApiDefinition,
        Self::TykStreamsApiDefinition,
        Self::TykMcpProxyDefinition,
        Self::OperatorContext,
        Self::SuperGraph,
        Self::SubGraph,
        Self::ApiDescription,
        Self::PortalApiCatalogue,
        Self::PortalConfig,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::ApiDefinition => "ApiDefinition",
            Self::SecurityPolicy => "SecurityPolicy",
            Self::TykOasApiDefinition => "TykOasApiDefinition",
            Self::TykStreamsApiDefinition => "TykStreamsApiDefinition",
            Self::TykMcpProxyDefinition => "TykMcpProxyDefinition",
            Self::OperatorContext => "OperatorContext",
            Self::SuperGraph => "SuperGraph",
            Self::SubGraph => "SubGraph",
            Self::ApiDescription => "APIDescription",
            Self::PortalApiCatalogue => "PortalAPICatalogue",
            Self::PortalConfig => "PortalConfig",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    fn is_api(self) -> bool {
        matches!(
            self,
            Self::ApiDefinition
                | Self::TykOasApiDefinition
                | Self::TykStreamsApiDefinition
                | Self::TykMcpProxyDefinition
        )
    }
}

/// Whether a value is a Kubernetes object of any kind.
pub(super) fn is_kubernetes(value: &Value) -> bool {
    let has = |name: &str| value.get(name).is_some_and(Value::is_string);
    has("apiVersion") && has("kind")
        || value
            .get("apiVersion")
            .and_then(Value::as_str)
            .is_some_and(|version| version.starts_with(GROUP))
}

/// Whether it is of the operator, or one of Kubernetes' own that the operator's refer to.
pub(super) fn concerns(value: &Value) -> bool {
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    text("apiVersion").starts_with(GROUP)
        || matches!(text("kind"), "ConfigMap" | "Secret" | "Ingress")
}

/// What names an object: its kind, namespace and name.
pub(super) fn name_of(value: &Value) -> Option<(&str, &str, &str)> {
    if !is_kubernetes(value) {
        return None;
    }
    let text = |pointer: &str| {
        at(value, pointer)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let namespace = text("/metadata/namespace").unwrap_or("default");
    Some((text("/kind")?, namespace, text("/metadata/name")?))
}

/// The items of a `List`, which is how `kubectl get -o yaml` prints several objects.
pub(super) fn items_of_list(value: &Value) -> Option<Vec<Value>> {
    let kind = value.get("kind")?.as_str()?;
    let is_ours = kind
        .strip_suffix("List")
        .is_some_and(|kind| Kind::named(kind).is_some());
    if kind != "List" && !is_ours {
        return None;
    }
    value.get("items")?.as_array().cloned()
}

/// The namespace and name of a resource, in the order in which people write them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct FullName {
    namespace: String,
    name: String,
}

impl FullName {
    /// The id that the operator gives a resource without one: base64url without padding.
    fn derived_id(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.to_string())
    }
}

impl std::fmt::Display for FullName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// One resource that is to be translated.
#[derive(Debug, Clone)]
struct Resource {
    name: FullName,
    spec: Map<String, Value>,
    place: Place,
    /// It is not applied itself: Ingresses are made into APIs after it.
    is_template: bool,
}

struct ConfigMap {
    data: BTreeMap<String, String>,
    place: Place,
    is_used: AtomicBool,
}

/// A Kubernetes object that was read and not yet put beside the others.
pub(super) struct Read {
    name: FullName,
    place: Place,
    object: ReadObject,
}

enum ReadObject {
    Resource(Kind, Resource),
    ConfigMap(ConfigMap),
    Secret(Secret),
    Ingress(Ingress),
}

/// What a reference to an API or a policy needs to know of it.
#[derive(Debug, Clone)]
struct Known {
    id: String,
    name: String,
}

/// The resources of all files; they refer to each other, so they wait for each other.
#[derive(Default)]
pub(super) struct Resources {
    by_kind: BTreeMap<Kind, BTreeMap<FullName, Resource>>,
    cluster: Cluster,
    ingresses: Vec<Ingress>,
}

/// What resources refer to.
#[derive(Default)]
struct Cluster {
    config_maps: BTreeMap<FullName, ConfigMap>,
    secrets: BTreeMap<FullName, Secret>,
    contexts: BTreeMap<FullName, context::Context>,
    /// The context that was named first.
    first_context: Option<FullName>,
    apis: BTreeMap<(Kind, FullName), Known>,
    policies: BTreeMap<FullName, Known>,
    copied: Copied,
}

/// How much was written out more than once: a small file must not become a large state.
#[derive(Default)]
struct Copied(AtomicUsize);

impl Copied {
    const MOST: usize = 16 * 1024 * 1024;

    /// Counts bytes that stand in a file once and are used once more.
    fn take(&self, bytes: usize, place: &Place, reading: &mut Reading<'_>) -> bool {
        let before = self.0.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) <= Self::MOST {
            return true;
        }
        if before <= Self::MOST {
            reading.wrong(
                place,
                "",
                "too much is made of too little here: the same templates, graphs and ConfigMaps are used too often",
                Some("write what is large as a document of its own"),
            );
        }
        false
    }
}

/// Reads one Kubernetes object: one of ours, or one that is none of our business.
pub(super) fn take(value: Value, place: Place, reading: &mut Reading<'_>) {
    let text = |pointer: &str| {
        at(&value, pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let (version, kind) = (text("/apiVersion"), text("/kind"));
    let is_ours = version.starts_with(GROUP);
    let is_wanted = match (version, kind) {
        ("v1", "ConfigMap" | "Secret") => true,
        (version, "Ingress") => version.starts_with("networking.k8s.io/"),
        _ => is_ours,
    };
    if !is_wanted {
        reading.ignore(
            &place,
            format!("a Kubernetes {kind}, which a gateway does not have"),
        );
        return;
    }
    if is_ours && version != VERSION {
        let message = format!("the version {version} is not known");
        let fix = format!("write {VERSION}");
        reading.wrong(&place, "/apiVersion", message, Some(&fix));
        return;
    }
    let Some(name) = full_name(&value, &place, reading) else {
        return;
    };
    let object = match kind {
        "ConfigMap" if !is_ours => Some(ReadObject::ConfigMap(ConfigMap::read(&value, &place))),
        "Secret" if !is_ours => Some(ReadObject::Secret(Secret::read(&value, place.clone()))),
        "Ingress" if !is_ours => {
            ingress::read(name.clone(), &value, place.clone(), reading).map(ReadObject::Ingress)
        }
        _ => resource(&name, value, &place, reading),
    };
    reading.resources.extend(object.map(|object| Read {
        name,
        place,
        object,
    }));
}

fn resource(
    name: &FullName,
    mut value: Value,
    place: &Place,
    reading: &mut Reading<'_>,
) -> Option<ReadObject> {
    let kind = value
        .get("kind")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let Some(kind) = Kind::named(kind) else {
        let names = Kind::ALL.map(Kind::as_str);
        let fix = checks::nearest(kind, &names).map(|nearest| format!("did you mean {nearest}?"));
        let message = format!("there is no kind {kind:?} in {GROUP}");
        reading.wrong(place, "/kind", message, fix.as_deref());
        return None;
    };
    let label = |name: &str| {
        let labels = at(&value, "/metadata/labels");
        labels.and_then(|labels| labels.get(name)) == Some(&Value::String("true".to_owned()))
    };
    let is_template = match kind {
        Kind::ApiDefinition => label("template"),
        _ => label("tyk.io/ingress-template"),
    };
    let Some(Value::Object(mut spec)) = value.get_mut("spec").map(Value::take) else {
        reading.wrong(place, "/spec", "the spec is missing", None);
        return None;
    };
    spec.values_mut().for_each(whole_numbers);
    let resource = Resource {
        name: name.clone(),
        spec,
        place: place.clone(),
        is_template,
    };
    Some(ReadObject::Resource(kind, resource))
}

/// Kubernetes reads `10.0` as `10`.
fn whole_numbers(value: &mut Value) {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) => {
            let float = number.as_f64().filter(|_| number.is_f64());
            #[expect(
                clippy::cast_possible_truncation,
                reason = "it is whole and below 2^53"
            )]
            if let Some(float) = float.filter(|float| float.fract() == 0.0 && float.abs() < EXACT) {
                *value = Value::from(float as i64);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Object(members) => members.values_mut().for_each(whole_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

impl ConfigMap {
    fn read(value: &Value, place: &Place) -> Self {
        let data = value.get("data").and_then(Value::as_object);
        let data = data.into_iter().flatten().filter_map(|(key, text)| {
            let text = text.as_str()?;
            Some((key.clone(), text.to_owned()))
        });
        Self {
            data: data.collect(),
            place: place.clone(),
            is_used: AtomicBool::new(false),
        }
    }
}

impl Resources {
    /// Puts what was read beside the others, unless one of its kind and name is there.
    pub(super) fn add(&mut self, read: Read, reading: &mut Reading<'_>) {
        let Read {
            name,
            place,
            object,
        } = read;
        let (kind, first) = match object {
            ReadObject::Resource(kind, resource) => {
                let others = self.by_kind.entry(kind).or_default();
                (
                    kind.as_str(),
                    put(others, &name, resource).map(|first| &first.place),
                )
            }
            ReadObject::ConfigMap(config_map) => {
                let others = &mut self.cluster.config_maps;
                (
                    "ConfigMap",
                    put(others, &name, config_map).map(|first| &first.place),
                )
            }
            ReadObject::Secret(secret) => {
                let others = &mut self.cluster.secrets;
                (
                    "Secret",
                    put(others, &name, secret).map(|first| &first.place),
                )
            }
            ReadObject::Ingress(ingress) => {
                self.ingresses.push(ingress);
                return;
            }
        };
        if let Some(first) = first {
            reading.wrong(
                &place,
                "/metadata/name",
                format!("the {kind} {name} is described in {} too", first.file),
                Some("rename one of the two, or remove it"),
            );
        }
    }

    /// Translates everything: what is referred to before what refers to it.
    pub(super) fn translate(self, reading: &mut Reading<'_>) {
        let Self {
            mut by_kind,
            mut cluster,
            ingresses,
        } = self;
        let contexts = by_kind.remove(&Kind::OperatorContext);
        for (name, resource) in contexts.unwrap_or_default() {
            context::translate(name, resource, &mut cluster, reading);
        }
        let mut resources = by_kind.values().flat_map(BTreeMap::values);
        // What is wrong with a reference is said where the resource is translated.
        let mut unheard = Reading::new(reading.options);
        cluster.first_context =
            resources.find_map(|resource| context::named(resource, &mut unheard));
        let mut of = |kind: Kind| by_kind.remove(&kind).unwrap_or_default();
        let (apis, templates) = apart(of(Kind::ApiDefinition));
        let documents = [
            Kind::TykOasApiDefinition,
            Kind::TykStreamsApiDefinition,
            Kind::TykMcpProxyDefinition,
        ]
        .map(|kind| (kind, of(kind)));
        let (documents, document_templates) = read_documents(documents, &cluster, reading);
        let policies = of(Kind::SecurityPolicy);
        for (name, api) in &apis {
            cluster.know_api(Kind::ApiDefinition, name, &api.spec, "api_id", "name");
        }
        for document in &documents {
            cluster.apis.insert(
                (document.kind, document.resource.name.clone()),
                document.known(),
            );
        }
        for (name, policy) in &policies {
            let known = Known::of(name, &policy.spec, "id", "name");
            cluster.policies.insert(name.clone(), known);
        }
        let mut graphs =
            graph::Graphs::new(of(Kind::SubGraph), of(Kind::SuperGraph), &cluster, reading);
        graphs.link(&apis, &cluster, reading);

        for ingress in ingresses {
            let made = ingress.apis((&templates, &apis), &document_templates, &cluster, reading);
            for api in made {
                match api {
                    ingress::Api::Classic(api) => {
                        let before = reading.found.len();
                        api_definition::make(*api, before, &graphs, &cluster, reading);
                    }
                    ingress::Api::Oas(document) => {
                        document::translate(*document, &cluster, reading);
                    }
                }
            }
        }
        for template in templates.into_values() {
            api_definition::check(&template, &cluster, reading);
            reading.ignore(&template.place, TEMPLATE);
        }
        for template in document_templates.into_values() {
            reading.ignore(&template.resource.place, TEMPLATE);
        }
        reading.each(apis.into_values().collect(), |api, reading| {
            api_definition::translate(api, &graphs, &cluster, reading);
        });
        reading.each(documents, |document, reading| {
            document::translate(document, &cluster, reading);
        });
        reading.each(policies.into_values().collect(), |policy, reading| {
            security_policy::translate(policy, &cluster, reading);
        });
        portal::check(
            [
                Kind::ApiDescription,
                Kind::PortalApiCatalogue,
                Kind::PortalConfig,
            ]
            .map(|kind| (kind, of(kind))),
            &cluster,
            reading,
        );
        graphs.finish(reading);
        cluster.finish(reading);
    }
}

const TEMPLATE: &str = "a template for Ingress resources, which is not applied itself";

/// The documents that are applied, and those that are templates.
fn read_documents(
    resources: [(Kind, BTreeMap<FullName, Resource>); 3],
    cluster: &Cluster,
    reading: &mut Reading<'_>,
) -> (
    Vec<document::Document>,
    BTreeMap<FullName, document::Document>,
) {
    let resources = resources.into_iter().flat_map(|(kind, resources)| {
        let resources = resources.into_values();
        resources.map(move |resource| (kind, resource))
    });
    let read = reading.each(resources.collect(), |(kind, resource), reading| {
        document::read(kind, resource, cluster, reading)
    });
    let mut documents = Vec::new();
    let mut templates = BTreeMap::new();
    for document in read.into_iter().flatten() {
        if !document.resource.is_template {
            documents.push(document);
        } else if document.kind == Kind::TykOasApiDefinition {
            templates.insert(document.resource.name.clone(), document);
        } else {
            let place = &document.resource.place;
            reading.ignore(place, "a template, which is not applied itself");
        }
    }
    (documents, templates)
}

/// Those that are applied, and the templates.
fn apart(
    resources: BTreeMap<FullName, Resource>,
) -> (BTreeMap<FullName, Resource>, BTreeMap<FullName, Resource>) {
    resources
        .into_iter()
        .partition(|(_, resource)| !resource.is_template)
}

impl Known {
    /// The id and the name that a spec gives itself, or the id that comes of its name.
    fn of(name: &FullName, spec: &Map<String, Value>, id: &str, called: &str) -> Self {
        let text = |member: &str| spec.get(member).and_then(Value::as_str).unwrap_or_default();
        let id = match text(id) {
            "" => name.derived_id(),
            own => own.to_owned(),
        };
        Self {
            id,
            name: text(called).to_owned(),
        }
    }
}

impl Cluster {
    fn know_api(
        &mut self,
        kind: Kind,
        name: &FullName,
        spec: &Map<String, Value>,
        id: &str,
        called: &str,
    ) {
        let known = Known::of(name, spec, id, called);
        self.apis.insert((kind, name.clone()), known);
    }

    /// The id of a policy that a resource names. One that is not described here has the id that
    /// the operator would give it.
    fn policy_id(
        &self,
        name: &FullName,
        place: &Place,
        pointer: &str,
        reading: &mut Reading<'_>,
    ) -> String {
        if let Some(policy) = self.policies.get(name) {
            return policy.id.clone();
        }
        reading.warn(
            place,
            pointer,
            format!("no SecurityPolicy {name} is described here"),
            Some("a token for which no policy is found is refused"),
        );
        name.derived_id()
    }

    /// The `tyk://` address of another API: its id, and the path and query behind it.
    fn internal_address(
        &self,
        internal: &Value,
        namespace: &str,
        place: &Place,
        pointer: &str,
        reading: &mut Reading<'_>,
    ) -> Option<String> {
        let target = internal.get("target").unwrap_or(&Value::Null);
        let name = reference(
            target,
            namespace,
            place,
            &format!("{pointer}/target"),
            reading,
        )?;
        let known = self.apis.get(&(Kind::ApiDefinition, name.clone()));
        if known.is_none() {
            let message = format!("no ApiDefinition {name} is described here");
            let fix = "if the gateway has no such API, every request fails";
            reading.warn(place, format!("{pointer}/target/name"), message, Some(fix));
        }
        let id = known.map_or_else(|| name.derived_id(), |known| known.id.clone());
        let text = |name: &str| {
            let text = internal.get(name).and_then(Value::as_str);
            text.unwrap_or_default()
        };
        let mut address = format!("tyk://{id}");
        let path = text("path");
        if !path.is_empty() {
            if !path.starts_with('/') {
                address.push('/');
            }
            // What ends a path, or is read as an escape in it, is meant as itself.
            let path = path.replace('%', "%25").replace('?', "%3F");
            address.push_str(&path.replace('#', "%23"));
        }
        if !text("query").is_empty() {
            address.push('?');
            address.push_str(text("query"));
        }
        Some(address)
    }

    fn finish(self, reading: &mut Reading<'_>) {
        for config_map in self.config_maps.into_values() {
            if !config_map.is_used.into_inner() {
                reading.ignore(&config_map.place, "a ConfigMap that no manifest refers to");
            }
        }
        for secret in self.secrets.into_values() {
            secret.finish(reading);
        }
    }
}

/// The one that has the name already, or none and it is put there.
fn put<'t, T>(others: &'t mut BTreeMap<FullName, T>, name: &FullName, new: T) -> Option<&'t T> {
    match others.entry(name.clone()) {
        Entry::Occupied(first) => Some(first.into_mut()),
        Entry::Vacant(place) => {
            place.insert(new);
            None
        }
    }
}

/// The namespace and name of a Kubernetes object.
fn full_name(value: &Value, place: &Place, reading: &mut Reading<'_>) -> Option<FullName> {
    let empty = Value::Null;
    let metadata = value.get("metadata").unwrap_or(&empty);
    reference(metadata, NAMESPACE, place, "/metadata", reading)
}

/// A name, and a namespace or the one that holds without it.
fn reference(
    value: &Value,
    namespace: &str,
    place: &Place,
    pointer: &str,
    reading: &mut Reading<'_>,
) -> Option<FullName> {
    let mut text = |member: &str| match value.get(member) {
        None | Some(Value::Null) => Some(String::new()),
        Some(Value::String(text)) if text.is_empty() || is_name(text) => Some(text.clone()),
        Some(_) => {
            reading.wrong(
                place,
                format!("{pointer}/{member}"),
                "is not what Kubernetes takes for a name",
                Some("use lower-case letters, digits, - and ., and begin and end with a letter or digit"),
            );
            None
        }
    };
    let (name, own) = (text("name"), text("namespace"));
    let (name, own) = (name?, own?);
    if name.is_empty() {
        reading.wrong(
            place,
            format!("{pointer}/name"),
            "the name is missing",
            None,
        );
        return None;
    }
    Some(FullName {
        namespace: if own.is_empty() {
            namespace.to_owned()
        } else {
            own
        },
        name,
    })
}

/// A DNS subdomain, as the names of Kubernetes objects are.
fn is_name(text: &str) -> bool {
    const LONGEST: usize = 253;
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    text.len() <= LONGEST
        && bytes.first().is_some_and(|&byte| is_letter(byte))
        && bytes.last().is_some_and(|&byte| is_letter(byte))
        && bytes
            .iter()
            .all(|&byte| is_letter(byte) || matches!(byte, b'-' | b'.'))
}

/// Names the fields that a kind does not have, and looks at the context that it names.
fn check_spec(
    kind: Kind,
    resource: &Resource,
    unknown: Unknown,
    cluster: &Cluster,
    reading: &mut Reading<'_>,
) {
    let Resource { spec, place, .. } = resource;
    fields::check(kind.as_str(), spec, unknown, place, reading);
    context::look(resource, cluster, reading);
}

/// Numbers that the resource's schema takes as texts, such as "0.5".
fn numeric_text(value: &mut Value) {
    if let Value::String(text) = value
        && let Ok(number) = text.trim().parse::<f64>()
        && number.is_finite()
    {
        #[expect(clippy::cast_possible_truncation, reason = "it is whole and small")]
        let whole = (number.fract() == 0.0 && number.abs() < 1e15).then_some(number as i64);
        *value = whole.map_or_else(|| Value::from(number), Value::from);
    }
}
