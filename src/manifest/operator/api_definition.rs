//! `ApiDefinition` → a classic definition. Its fields bear the gateway's own names; what differs
//! is translated here and taken out.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use super::{
    super::{Reading, checks, native},
    Resource, encoded,
    fields::{self, Unknown},
    numeric_text,
};
use crate::domain::object::Kind;

/// Members that name Kubernetes Secrets, and what to write in their place.
const SECRET_REFS: &[(&str, &str)] = &[
    (
        "certificate_secret_names",
        "put the certificate and its key into the server's configuration ([certificate.NAME]) and \
         write certificate:NAME in certificates",
    ),
    (
        "client_certificate_refs",
        "commit the certificates as .pem files and write certificate:FILE in client_certificates",
    ),
    (
        "upstream_certificate_refs",
        "put the certificates and their keys into the server's configuration ([certificate.NAME]) \
         and write certificate:NAME in upstream_certificates",
    ),
    (
        "pinned_public_keys_refs",
        "commit the public keys as .pem files and write certificate:FILE in pinned_public_keys",
    ),
];

pub(super) fn translate(resource: Resource, reading: &mut Reading<'_>) {
    let before = reading.found.len();
    fields::check(
        "ApiDefinition",
        &resource.spec,
        Unknown::Passed,
        &resource.place,
        reading,
    );
    let id = resource.derived_id();
    let Resource {
        mut spec, place, ..
    } = resource;
    let place_of_spec = place.below("/spec");

    for (name, cure) in SECRET_REFS {
        let is_used = match spec.remove(*name) {
            Some(Value::Array(names)) => !names.is_empty(),
            Some(Value::Object(names)) => !names.is_empty(),
            Some(Value::Null) | None => false,
            Some(_) => true,
        };
        if is_used {
            reading.wrong(
                &place_of_spec,
                format!("/{name}"),
                "names Kubernetes Secrets, which cannot be read without a cluster",
                Some(cure),
            );
        }
    }
    // It picks the gateway; here the stack's target does.
    spec.remove("contextRef");
    if let Some(graphql) = spec.get_mut("graphql").and_then(Value::as_object_mut)
        && graphql
            .remove("graph_ref")
            .is_some_and(|graph| graph.as_str() != Some(""))
    {
        reading.wrong(
            &place_of_spec,
            "/graphql/graph_ref",
            "names a graph resource, which is not supported",
            Some("put the schema into graphql.schema"),
        );
    }
    target_of_proxy(&mut spec, &place_of_spec, reading);
    policy_names(&mut spec);
    versions(&mut spec, &place_of_spec, reading);

    let own_id = spec
        .get("api_id")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let id = if own_id.is_empty() {
        id
    } else {
        own_id.to_owned()
    };
    if let Some((message, fix)) = checks::id_problem(Kind::ClassicApi, &id) {
        reading.wrong(&place_of_spec, "/api_id", message, Some(fix));
    }
    spec.insert("api_id".to_owned(), json!(id));
    if spec.get("use_standard_auth") == Some(&Value::Bool(true)) {
        let configs = spec
            .entry("auth_configs")
            .or_insert_with(|| Value::Object(Map::new()));
        if let Some(configs) = configs.as_object_mut()
            && !configs.contains_key("authToken")
        {
            let header = json!({"auth_header_name": "Authorization"});
            configs.insert("authToken".to_owned(), header);
        }
    }
    let mut body = Value::Object(spec);
    checks::required_text(&body, "/name", "the API's name", &place_of_spec, reading);
    native::classic_checks(&body, &place_of_spec, reading);
    native::organisation(&mut body, "", "org_id", &place_of_spec, reading);
    native::finish(
        body,
        Kind::ClassicApi,
        Some(id),
        place_of_spec,
        reading,
        before,
    );
}

/// `target_internal` names another API; the gateway's own form of that is a `tyk://` address.
fn target_of_proxy(
    spec: &mut Map<String, Value>,
    place: &super::super::Place,
    reading: &mut Reading<'_>,
) {
    let has_graphql = spec
        .get("graphql")
        .and_then(|graphql| graphql.get("enabled"))
        .is_some_and(|enabled| enabled == &Value::Bool(true));
    let Some(proxy) = spec.get_mut("proxy").and_then(Value::as_object_mut) else {
        reading.wrong(place, "/proxy", "the proxy section is missing", None);
        return;
    };
    if let Some(internal) = proxy
        .remove("target_internal")
        .filter(|internal| !internal.is_null())
    {
        match internal_address(&internal) {
            Some(address) => {
                proxy.insert("target_url".to_owned(), json!(address));
            }
            None => reading.wrong(
                place,
                "/proxy/target_internal",
                "must name an API: target: { name, namespace }",
                None,
            ),
        }
    }
    let has_target = proxy
        .get("target_url")
        .and_then(Value::as_str)
        .is_some_and(|url| !url.is_empty());
    let balances = proxy.get("enable_load_balancing") == Some(&Value::Bool(true))
        || proxy.get("service_discovery").is_some();
    if !has_target && !has_graphql && !balances {
        reading.wrong(
            place,
            "/proxy/target_url",
            "the upstream's address is missing",
            Some("write target_url, or target_internal for another API"),
        );
    }
}

/// `tyk://` and the other API's id, its path and query.
fn internal_address(internal: &Value) -> Option<String> {
    let target = internal.get("target")?;
    let name = target
        .get("name")?
        .as_str()
        .filter(|name| !name.is_empty())?;
    let namespace = target
        .get("namespace")
        .and_then(Value::as_str)
        .filter(|namespace| !namespace.is_empty())
        .unwrap_or("default");
    let text = |name: &str| {
        internal
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let mut address = format!("tyk://{}", encoded(namespace, name));
    let path = text("path");
    if !path.is_empty() {
        if !path.starts_with('/') {
            address.push('/');
        }
        address.push_str(path);
    }
    if !text("query").is_empty() {
        address.push('?');
        address.push_str(text("query"));
    }
    Some(address)
}

/// Policies may be named by namespace and name. A text that is an id already stays.
fn policy_names(spec: &mut Map<String, Value>) {
    let translate = |value: &mut Value| {
        if let Value::String(name) = value
            && BASE64_URL_SAFE_NO_PAD.decode(name.as_bytes()).is_err()
            && name.contains('/')
        {
            *name = BASE64_URL_SAFE_NO_PAD.encode(name.as_bytes());
        }
    };
    if let Some(Value::Array(names)) = spec.get_mut("jwt_default_policies") {
        names.iter_mut().for_each(translate);
    }
    if let Some(Value::Object(mapping)) = spec.get_mut("jwt_scope_to_policy_mapping") {
        mapping.values_mut().for_each(translate);
    }
}

/// Every API has a version, and some of its endpoints' settings have forms of the operator's own.
fn versions(spec: &mut Map<String, Value>, place: &super::super::Place, reading: &mut Reading<'_>) {
    let data = spec.entry("version_data").or_insert(Value::Null);
    if data.is_null() {
        *data = json!({
            "default_version": "Default",
            "not_versioned": true,
            "versions": {"Default": {"name": "Default", "use_extended_paths": true}},
        });
    }
    let versions = data.get_mut("versions").and_then(Value::as_object_mut);
    for (version, settings) in versions.into_iter().flatten() {
        let Some(paths) = settings.get_mut("extended_paths") else {
            continue;
        };
        let mut base = "/version_data/versions".to_owned();
        crate::domain::diff::push_token(&mut base, version);
        let breakers = paths
            .get_mut("circuit_breakers")
            .and_then(Value::as_array_mut);
        for breaker in breakers.into_iter().flatten() {
            if let Some(threshold) = breaker.get_mut("threshold_percent") {
                numeric_text(threshold);
            }
        }
        let rewrites = paths.get_mut("url_rewrites").and_then(Value::as_array_mut);
        for (index, rewrite) in rewrites.into_iter().flatten().enumerate() {
            let pointer = format!("{base}/extended_paths/url_rewrites/{index}");
            rewrite_target(rewrite, &pointer, place, reading);
            let triggers = rewrite.get_mut("triggers").and_then(Value::as_array_mut);
            for (index, trigger) in triggers.into_iter().flatten().enumerate() {
                rewrite_target(
                    trigger,
                    &format!("{pointer}/triggers/{index}"),
                    place,
                    reading,
                );
            }
        }
    }
}

fn rewrite_target(
    rewrite: &mut Value,
    pointer: &str,
    place: &super::super::Place,
    reading: &mut Reading<'_>,
) {
    let Some(members) = rewrite.as_object_mut() else {
        return;
    };
    let Some(internal) = members
        .remove("rewrite_to_internal")
        .filter(|internal| !internal.is_null())
    else {
        return;
    };
    match internal_address(&internal) {
        Some(address) => {
            members.insert("rewrite_to".to_owned(), json!(address));
        }
        None => reading.wrong(
            place,
            format!("{pointer}/rewrite_to_internal"),
            "must name an API: target: { name, namespace }",
            None,
        ),
    }
}
