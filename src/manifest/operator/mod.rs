//! Tyk Operator's resources, translated as the operator does, for a gateway without a cluster.
//!
//! What only a cluster can resolve (Secrets, `ConfigMaps`, graphs) is a problem with the cure in it,
//! never left out in silence.

mod api_definition;
pub mod fields;
mod security_policy;

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;

use super::{Place, Reading, checks};

const GROUP: &str = "tyk.tyk.io/";
const VERSION: &str = "tyk.tyk.io/v1alpha1";

/// Every kind of the operator's group, and what to do with those that are not translated yet.
const KINDS: &[(&str, &str)] = &[
    ("ApiDefinition", ""),
    ("SecurityPolicy", ""),
    (
        "TykOasApiDefinition",
        "commit the OAS document itself, as a file of its own",
    ),
    (
        "TykStreamsApiDefinition",
        "commit the Streams document itself, as a file of its own",
    ),
    (
        "TykMcpProxyDefinition",
        "MCP proxies are not managed yet; exclude the file",
    ),
    (
        "OperatorContext",
        "the stack's target takes its place; exclude the file",
    ),
    (
        "SuperGraph",
        "put the merged schema into the API's graphql section",
    ),
    ("SubGraph", "put the schema into the API's graphql section"),
    (
        "APIDescription",
        "an open source gateway has no portal; exclude the file",
    ),
    (
        "PortalAPICatalogue",
        "an open source gateway has no portal; exclude the file",
    ),
    (
        "PortalConfig",
        "an open source gateway has no portal; exclude the file",
    ),
];

/// Whether a value is a Kubernetes object of any kind.
pub(super) fn is_kubernetes(value: &Value) -> bool {
    let has = |name: &str| value.get(name).is_some_and(Value::is_string);
    has("apiVersion") && has("kind")
        || value
            .get("apiVersion")
            .and_then(Value::as_str)
            .is_some_and(|version| version.starts_with(GROUP))
}

/// The items of a `List`, which is how `kubectl get -o yaml` prints several objects.
pub(super) fn items_of_list(value: &Value) -> Option<Vec<Value>> {
    let kind = value.get("kind")?.as_str()?;
    if kind != "List" && !kind.ends_with("DefinitionList") && kind != "SecurityPolicyList" {
        return None;
    }
    value.get("items")?.as_array().cloned()
}

/// One resource that is to be translated.
struct Resource {
    namespace: String,
    name: String,
    spec: serde_json::Map<String, Value>,
    place: Place,
}

impl Resource {
    fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// The id that the operator gives a resource without one.
    fn derived_id(&self) -> String {
        encoded(&self.namespace, &self.name)
    }
}

/// base64url without padding of `namespace/name`.
fn encoded(namespace: &str, name: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(format!("{namespace}/{name}"))
}

/// The resources of all files; policies refer to APIs by name, so they wait for each other.
#[derive(Default)]
pub(super) struct Resources {
    apis: Vec<Resource>,
    policies: Vec<Resource>,
}

/// What a policy needs to know of an API that it names.
struct KnownApi {
    id: String,
    name: String,
}

impl Resources {
    /// Takes one Kubernetes object: one of ours, or one that is none of our business.
    pub(super) fn take(&mut self, value: &Value, place: Place, reading: &mut Reading<'_>) {
        let text = |pointer: &str| {
            value
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let (version, kind) = (text("/apiVersion"), text("/kind"));
        if !version.starts_with(GROUP) {
            reading.ignore(
                &place,
                format!("a Kubernetes {kind}, which a gateway does not have"),
            );
            return;
        }
        if version != VERSION {
            let message = format!("the version {version} is not known");
            reading.wrong(
                &place,
                "/apiVersion",
                message,
                Some("write tyk.tyk.io/v1alpha1"),
            );
            return;
        }
        let Some((_, cure)) = KINDS.iter().find(|(name, _)| *name == kind) else {
            let names: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
            let fix =
                checks::nearest(&kind, &names).map(|nearest| format!("did you mean {nearest}?"));
            let message = format!("there is no kind {kind:?} in {GROUP}");
            reading.wrong(&place, "/kind", message, fix.as_deref());
            return;
        };
        if !cure.is_empty() {
            let message = format!("the kind {kind} is not supported");
            reading.wrong(&place, "/kind", message, Some(cure));
            return;
        }
        let name = text("/metadata/name");
        if name.is_empty() {
            reading.wrong(&place, "/metadata/name", "the name is missing", None);
            return;
        }
        let is_template = ["template", "tyk.io~1ingress-template"]
            .iter()
            .any(|label| text(&format!("/metadata/labels/{label}")) == "true");
        if is_template {
            reading.ignore(
                &place,
                "a template for Ingress resources, which is not applied itself",
            );
            return;
        }
        let Some(Value::Object(spec)) = value.get("spec") else {
            reading.wrong(&place, "/spec", "the spec is missing", None);
            return;
        };
        let namespace = text("/metadata/namespace");
        let resource = Resource {
            namespace: if namespace.is_empty() {
                "default".to_owned()
            } else {
                namespace
            },
            name,
            spec: spec.clone(),
            place,
        };
        if kind == "ApiDefinition" {
            self.apis.push(resource);
        } else {
            self.policies.push(resource);
        }
    }

    /// Translates everything, APIs first.
    pub(super) fn translate(self, reading: &mut Reading<'_>) {
        let mut known = BTreeMap::new();
        for api in &self.apis {
            let own = api
                .spec
                .get("api_id")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let id = if own.is_empty() {
                api.derived_id()
            } else {
                own.to_owned()
            };
            let name = api
                .spec
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let entry = KnownApi {
                id,
                name: name.to_owned(),
            };
            known.insert(api.full_name(), entry);
        }
        for api in self.apis {
            api_definition::translate(api, reading);
        }
        for policy in self.policies {
            security_policy::translate(policy, &known, reading);
        }
    }
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
