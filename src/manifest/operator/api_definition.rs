//! `ApiDefinition` → a classic definition. Its fields bear the gateway's own names; what differs
//! is translated here and taken out.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use super::{
    super::{Place, Reading, checks, native},
    Cluster, FullName, Kind as Resources, Resource, check_spec,
    fields::Unknown,
    graph::Graphs,
    is_name, numeric_text,
};
use crate::domain::{diff::push_token, object::Kind};

pub(super) fn translate(
    resource: Resource,
    graphs: &Graphs,
    cluster: &Cluster,
    reading: &mut Reading<'_>,
) {
    let before = reading.found.len();
    check(&resource, cluster, reading);
    make(resource, before, graphs, cluster, reading);
}

/// What can be said of an API, or a template of some, by itself.
pub(super) fn check(resource: &Resource, cluster: &Cluster, reading: &mut Reading<'_>) {
    check_spec(
        Resources::ApiDefinition,
        resource,
        Unknown::Passed,
        cluster,
        reading,
    );
}

/// Makes the definition of an API whose fields were checked.
pub(super) fn make(
    resource: Resource,
    before: usize,
    graphs: &Graphs,
    cluster: &Cluster,
    reading: &mut Reading<'_>,
) {
    let Resource {
        name,
        mut spec,
        place,
        ..
    } = resource;
    let place = place.below("/spec");
    // It picks the gateway; here the stack's target does.
    spec.remove("contextRef");
    certificates(&mut spec, &name, &place, cluster, reading);
    graphs.fill(&mut spec, &name, &place, cluster, reading);
    data_sources(&spec, &place, reading);
    target_of_proxy(&mut spec, &name.namespace, &place, cluster, reading);
    policies(&mut spec, &place, cluster, reading);
    versions(&mut spec, &name.namespace, &place, cluster, reading);
    if spec.get("use_standard_auth") == Some(&Value::Bool(true)) {
        let configs = spec.entry("auth_configs").or_insert(Value::Null);
        if configs.is_null() {
            *configs = Value::Object(Map::new());
        }
        if let Some(configs) = configs.as_object_mut()
            && !configs.contains_key("authToken")
        {
            let header = json!({"auth_header_name": "Authorization"});
            configs.insert("authToken".to_owned(), header);
        }
    }

    let own_id = spec.get("api_id").and_then(Value::as_str);
    let id = match own_id.unwrap_or_default() {
        "" => name.derived_id(),
        own => own.to_owned(),
    };
    if let Some((message, fix)) = checks::id_problem(Kind::ClassicApi, &id) {
        reading.wrong(&place, "/api_id", message, Some(fix));
    }
    spec.insert("api_id".to_owned(), json!(id));
    let mut body = Value::Object(spec);
    checks::required_text(&body, "/name", "the API's name", &place, reading);
    native::classic_checks(&body, &place, reading);
    native::organisation(&mut body, "", "org_id", &place, reading);
    native::finish(body, Kind::ClassicApi, Some(id), place, reading, before);
}

/// Names of Secrets → references to certificates, where a gateway has the certificates' ids.
fn certificates(
    spec: &mut Map<String, Value>,
    name: &FullName,
    place: &Place,
    cluster: &Cluster,
    reading: &mut Reading<'_>,
) {
    let namespace = name.namespace.as_str();
    let names = |value: Option<Value>| match value {
        Some(Value::Array(names)) => names,
        _ => Vec::new(),
    };
    let served = names(spec.remove("certificate_secret_names"));
    for (index, secret) in served.iter().enumerate() {
        let pointer = format!("/certificate_secret_names/{index}");
        let Some(secret) = secret.as_str() else {
            continue;
        };
        if index > 0 {
            let message = "is not used: the operator takes the first of these names alone";
            let fix = "write certificate:NAME into certificates for more";
            reading.warn(place, pointer, message, Some(fix));
            continue;
        }
        if let Some(id) = cluster.certificate(secret, namespace, place, &pointer, reading) {
            spec.insert("certificates".to_owned(), json!([id]));
        }
    }
    let clients = names(spec.remove("client_certificate_refs"));
    let is_asked_for = spec.get("use_mutual_tls_auth") == Some(&Value::Bool(true));
    if !clients.is_empty() && !is_asked_for {
        reading.warn(
            place,
            "/client_certificate_refs",
            "has no effect without use_mutual_tls_auth: nobody is asked for a certificate",
            Some("write use_mutual_tls_auth: true"),
        );
    }
    if !clients.is_empty() && is_asked_for {
        // They stand in the place of those that the API lists itself.
        spec.insert("client_certificates".to_owned(), json!([]));
    }
    for (index, secret) in clients.iter().enumerate().filter(|_| is_asked_for) {
        let pointer = format!("/client_certificate_refs/{index}");
        let Some(secret) = secret.as_str() else {
            continue;
        };
        if let Some(id) = cluster.certificate(secret, namespace, place, &pointer, reading) {
            let allowed = spec.entry("client_certificates").or_insert(Value::Null);
            match allowed.as_array_mut() {
                Some(allowed) => allowed.push(json!(id)),
                None => *allowed = json!([id]),
            }
        }
    }
    for (refs, ids) in [
        ("upstream_certificate_refs", "upstream_certificates"),
        ("pinned_public_keys_refs", "pinned_public_keys"),
    ] {
        let Some(Value::Object(secrets)) = spec.remove(refs) else {
            continue;
        };
        for (host, secret) in secrets {
            let mut pointer = format!("/{refs}");
            push_token(&mut pointer, &host);
            let Some(secret) = secret.as_str() else {
                continue;
            };
            if let Some(id) = cluster.certificate(secret, namespace, place, &pointer, reading) {
                let known = spec.entry(ids).or_insert(Value::Null);
                if !known.is_object() {
                    *known = json!({});
                }
                known[host] = json!(id);
            }
        }
    }
}

/// What the operator refuses of the first GraphQL engine's sources.
fn data_sources(spec: &Map<String, Value>, place: &Place, reading: &mut Reading<'_>) {
    let graphql = spec.get("graphql").unwrap_or(&Value::Null);
    let is_executed = graphql.get("enabled") == Some(&Value::Bool(true))
        && graphql.get("execution_mode").and_then(Value::as_str) == Some("executionEngine");
    if !is_executed {
        return;
    }
    let fields = graphql
        .get("type_field_configurations")
        .and_then(Value::as_array);
    for (index, field) in fields.into_iter().flatten().enumerate() {
        let source = format!("/graphql/type_field_configurations/{index}/data_source");
        let kind = field.pointer("/data_source/kind").and_then(Value::as_str);
        // The first is the gateway's spelling, the second the operator's.
        let is_known = matches!(
            kind,
            Some("HTTPJSONDataSource" | "HTTPJsonDataSource" | "GraphQLDataSource")
        );
        if !is_known {
            reading.wrong(
                place,
                format!("{source}/kind"),
                "must be HTTPJSONDataSource or GraphQLDataSource",
                None,
            );
        }
        for member in ["url", "method"] {
            let value = field.pointer(&format!("/data_source/data_source_config/{member}"));
            if value.and_then(Value::as_str).is_none_or(str::is_empty) {
                let pointer = format!("{source}/data_source_config/{member}");
                reading.wrong(place, pointer, format!("the {member} is missing"), None);
            }
        }
    }
}

/// `target_internal` names another API; the gateway's own form of that is a `tyk://` address.
fn target_of_proxy(
    spec: &mut Map<String, Value>,
    namespace: &str,
    place: &Place,
    cluster: &Cluster,
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
        let pointer = "/proxy/target_internal";
        if let Some(address) =
            cluster.internal_address(&internal, namespace, place, pointer, reading)
        {
            proxy.insert("target_url".to_owned(), json!(address));
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

/// Policies may be named by namespace and name. A text that is an id already stays.
fn policies(
    spec: &mut Map<String, Value>,
    place: &Place,
    cluster: &Cluster,
    reading: &mut Reading<'_>,
) {
    let mut translate = |value: &mut Value, pointer: &str| {
        let Value::String(text) = value else {
            return;
        };
        if BASE64_URL_SAFE_NO_PAD.decode(text.as_bytes()).is_ok() {
            return;
        }
        if let Some((namespace, name)) = text.split_once('/')
            && is_name(namespace)
            && is_name(name)
        {
            let name = FullName {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            };
            *text = cluster.policy_id(&name, place, pointer, reading);
        }
    };
    if let Some(Value::Array(names)) = spec.get_mut("jwt_default_policies") {
        for (index, name) in names.iter_mut().enumerate() {
            translate(name, &format!("/jwt_default_policies/{index}"));
        }
    }
    if let Some(Value::Object(mapping)) = spec.get_mut("jwt_scope_to_policy_mapping") {
        for (scope, name) in mapping {
            let mut pointer = "/jwt_scope_to_policy_mapping".to_owned();
            push_token(&mut pointer, scope);
            translate(name, &pointer);
        }
    }
}

/// Every API has a version, and some of its endpoints' settings have forms of the operator's own.
fn versions(
    spec: &mut Map<String, Value>,
    namespace: &str,
    place: &Place,
    cluster: &Cluster,
    reading: &mut Reading<'_>,
) {
    let data = spec.entry("version_data").or_insert(Value::Null);
    let versions = data.get("versions").and_then(Value::as_object);
    if versions.is_none_or(Map::is_empty) {
        *data = json!({
            "default_version": "Default",
            "not_versioned": true,
            "versions": {"Default": {"name": "Default", "use_extended_paths": false}},
        });
    }
    let versions = data.get_mut("versions").and_then(Value::as_object_mut);
    for (version, settings) in versions.into_iter().flatten() {
        let Some(paths) = settings.get_mut("extended_paths") else {
            continue;
        };
        let mut base = "/version_data/versions".to_owned();
        push_token(&mut base, version);
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
            rewrite_target(rewrite, &pointer, namespace, place, cluster, reading);
            let triggers = rewrite.get_mut("triggers").and_then(Value::as_array_mut);
            for (index, trigger) in triggers.into_iter().flatten().enumerate() {
                rewrite_target(
                    trigger,
                    &format!("{pointer}/triggers/{index}"),
                    namespace,
                    place,
                    cluster,
                    reading,
                );
            }
        }
    }
}

fn rewrite_target(
    rewrite: &mut Value,
    pointer: &str,
    namespace: &str,
    place: &Place,
    cluster: &Cluster,
    reading: &mut Reading<'_>,
) {
    let Some(members) = rewrite.as_object_mut() else {
        return;
    };
    let Some(internal) = members
        .remove("rewrite_to_internal")
        .filter(|internal| !internal.is_null())
    else {
        let target = members.get("rewrite_to").and_then(Value::as_str);
        if target.is_none_or(str::is_empty) {
            reading.warn(
                place,
                format!("{pointer}/rewrite_to"),
                "where the request is rewritten to is missing",
                Some("write rewrite_to, or rewrite_to_internal for another API"),
            );
        }
        return;
    };
    let pointer = format!("{pointer}/rewrite_to_internal");
    if let Some(address) = cluster.internal_address(&internal, namespace, place, &pointer, reading)
    {
        members.insert("rewrite_to".to_owned(), json!(address));
    }
}
