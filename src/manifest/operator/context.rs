//! `OperatorContext`: which Tyk is meant. Here the stack's target says that, so a context is no
//! object; it must not mean another organisation, and it says which ports Ingresses get.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use serde_json::{Map, Value};

use super::{
    super::{Place, Reading, checks},
    Cluster, FullName, NAMESPACE, Resource,
    fields::{self, Unknown},
    reference,
};

#[derive(Debug)]
pub(super) struct Context {
    place: Place,
    organisation: String,
    pub http_port: Option<i64>,
    pub https_port: Option<i64>,
}

pub(super) fn translate(
    name: FullName,
    resource: Resource,
    cluster: &mut Cluster,
    reading: &mut Reading<'_>,
) {
    let Resource { spec, place, .. } = resource;
    fields::check("OperatorContext", &spec, Unknown::Refused, &place, reading);
    let empty = Map::new();
    let env = spec.get("env").and_then(Value::as_object).unwrap_or(&empty);
    let mode = env.get("mode").and_then(Value::as_str).unwrap_or_default();
    if !matches!(mode, "" | "ce" | "pro") {
        reading.wrong(
            &place,
            "/spec/env/mode",
            "must be ce, for a gateway, or pro, for a Dashboard",
            checks::nearest(mode, &["ce", "pro"]),
        );
    }
    let given = from_secret(&spec, &name, &place, cluster, reading);
    let is_secret = |text: &str| !text.is_empty() && !text.contains("${");
    if env
        .get("auth")
        .and_then(Value::as_str)
        .is_some_and(is_secret)
    {
        reading.warn(
            &place,
            "/spec/env/auth",
            "a secret of Tyk's admin API: whoever can read the repository has it",
            Some(
                "take it out: the target's secret in the configuration is used. If it is in use, change it",
            ),
        );
    }
    let text = |member: &str, key: &str| {
        let own = env.get(member).and_then(Value::as_str).unwrap_or_default();
        let given = given.get(key).map_or("", String::as_str);
        let text = if own.is_empty() { given } else { own };
        text.to_owned()
    };
    let port = |member: &str, key: &str| {
        let own = env
            .get("ingress")
            .and_then(|ports| ports.get(member)?.as_i64());
        let given = given.get(key).and_then(|text| text.parse().ok());
        own.filter(|port| *port != 0).or(given)
    };
    let context = Context {
        organisation: text("org", "TYK_ORG"),
        http_port: port("httpPort", "TYK_HTTP_INGRESS_PORT"),
        https_port: port("httpsPort", "TYK_HTTPS_INGRESS_PORT"),
        place: place.clone(),
    };
    reading.ignore(
        &place,
        "an OperatorContext, whose place the stack's target takes",
    );
    cluster.contexts.insert(name, context);
}

/// What a Secret in Git says of the context, where it stands there in clear.
fn from_secret(
    spec: &Map<String, Value>,
    name: &FullName,
    place: &Place,
    cluster: &Cluster,
    reading: &mut Reading<'_>,
) -> BTreeMap<String, String> {
    let Some(secret) = spec.get("secretRef").filter(|secret| secret.is_object()) else {
        return BTreeMap::new();
    };
    let secret = reference(secret, &name.namespace, place, "/spec/secretRef", reading);
    let Some(secret) = secret.and_then(|name| cluster.secrets.get(&name)) else {
        return BTreeMap::new();
    };
    secret.is_used.store(true, Ordering::Relaxed);
    ["TYK_ORG", "TYK_HTTP_INGRESS_PORT", "TYK_HTTPS_INGRESS_PORT"]
        .into_iter()
        .filter_map(|key| Some((key.to_owned(), secret.text(key).ok()??)))
        .collect()
}

/// Looks at the context that a resource names, if it is described here.
pub(super) fn look(resource: &Resource, cluster: &Cluster, reading: &mut Reading<'_>) {
    let Some(context) = named(resource, reading) else {
        return;
    };
    let place = &resource.place;
    if let Some(first) = &cluster.first_context
        && *first != context
    {
        reading.warn(
            place,
            "/spec/contextRef",
            format!("names the context {context}, and others here name {first}: all of them go to the stack's target"),
            Some("give every Tyk a stack of its own"),
        );
    }
    let Some(described) = cluster.contexts.get(&context) else {
        return;
    };
    let own = described.organisation.as_str();
    if let Some(org) = &reading.options.org
        && !own.is_empty()
        && own != org
    {
        let message = format!(
            "names the context {context}, which {} gives the organisation {own}, and the target serves {org}",
            described.place.file
        );
        let fix = "correct the context's org, or set the target's org to it";
        reading.wrong(place, "/spec/contextRef", message, Some(fix));
    }
}

/// The context that a resource names.
pub(super) fn named(resource: &Resource, reading: &mut Reading<'_>) -> Option<FullName> {
    let context = resource.spec.get("contextRef")?;
    if !context.is_object() {
        return None;
    }
    let place = &resource.place;
    reference(context, NAMESPACE, place, "/spec/contextRef", reading)
}
