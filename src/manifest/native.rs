//! Documents in the gateway's own formats: Tyk OAS, classic definitions, policies.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::{
    Place, Reading,
    checks::{self, id_problem, is_database_id, listen_path_problem},
    draft::Draft,
    rules,
    schema::{self, Unknown},
    upstream,
};
use crate::domain::{
    object::{Kind, Object, ObjectKey},
    way::at,
};

const EXTENSION: &str = "x-tyk-api-gateway";

/// Where a kind's document has its id.
pub(super) fn id_pointer(kind: Kind) -> &'static str {
    match kind {
        Kind::Certificate => "",
        Kind::Policy => "/id",
        Kind::ClassicApi => "/api_id",
        Kind::OasApi | Kind::McpProxy => "/x-tyk-api-gateway/info/id",
    }
}

pub(super) fn listen_path_pointer(kind: Kind) -> &'static str {
    match kind {
        Kind::Certificate | Kind::Policy => "",
        Kind::ClassicApi => "/proxy/listen_path",
        Kind::OasApi | Kind::McpProxy => "/x-tyk-api-gateway/server/listenPath/value",
    }
}

/// Where an MCP proxy's document stands that has nothing else to say that it is one.
const MCP: &str = "/mcp";

/// Where the definition stands in a document that wraps one.
pub(super) fn wrapper(value: &Value) -> Option<&'static str> {
    if value.get(EXTENSION).is_some() {
        return None;
    }
    for wrapper in ["/oas", MCP] {
        let inner = at(value, wrapper);
        if inner.is_some_and(|inner| inner.get(EXTENSION).is_some()) {
            return Some(wrapper);
        }
    }
    value
        .get("api_definition")
        .is_some_and(Value::is_object)
        .then_some("/api_definition")
}

/// What an unwrapped document means to be.
pub(super) fn kind_of(value: &Value, place: &Place) -> Option<Kind> {
    let members = value.as_object()?;
    if members.contains_key(EXTENSION) {
        let is_proxy = place.base.ends_with(MCP) || serves_mcp(value);
        return Some(if is_proxy {
            Kind::McpProxy
        } else {
            Kind::OasApi
        });
    }
    if members.contains_key("openapi") || members.contains_key("swagger") {
        return None;
    }
    if is_classic(value) {
        return Some(Kind::ClassicApi);
    }
    is_policy(value).then_some(Kind::Policy)
}

/// The policies of a gateway's policy file, which has them under their ids.
pub(super) fn policies_of_map(draft: &Draft) -> Option<Vec<Draft>> {
    let members = draft.value.as_object()?;
    if members.is_empty() || !members.values().all(is_policy) {
        return None;
    }
    let policy = |(id, policy): (&String, &Value)| {
        let mut pointer = String::new();
        crate::domain::diff::push_token(&mut pointer, id);
        let mut policy = draft.part(&pointer, policy.clone());
        if let Value::Object(members) = &mut policy.value {
            // The gateway goes by the key, whatever the policy says of itself.
            members.insert("id".to_owned(), json!(id));
        }
        policy
    };
    Some(members.iter().map(policy).collect())
}

/// Reads one value that is not a Kubernetes object: an object of ours, or nothing that concerns us.
pub(super) fn take(value: Value, place: Place, reading: &mut Reading<'_>) {
    let Value::Object(members) = &value else {
        reading.ignore(&place, "it is no document that describes an object");
        return;
    };
    match kind_of(&value, &place) {
        Some(kind @ (Kind::OasApi | Kind::McpProxy)) => {
            let before = reading.found.len();
            document(value, kind, place, reading, before);
        }
        Some(Kind::ClassicApi) => classic(value, place, reading),
        Some(Kind::Policy) => policy(value, place, reading),
        Some(Kind::Certificate) | None => {
            let reason = if members.contains_key("openapi") {
                "an OpenAPI document without x-tyk-api-gateway: nothing says where it listens; \
                 openapi = { … } of the stack would"
            } else if members.contains_key("swagger") {
                "a Swagger document, which a gateway does not read; convert it to OpenAPI 3"
            } else if is_session(&value) {
                "the session of a key, which is no object of the configuration"
            } else {
                "it describes no API and no policy"
            };
            reading.ignore(&place, reason);
        }
    }
}

fn is_policy(value: &Value) -> bool {
    value.get("access_rights").is_some_and(Value::is_object) && !is_session(value)
}

fn is_session(value: &Value) -> bool {
    value.get("access_rights").is_some_and(Value::is_object)
        && SESSION.iter().any(|name| value.get(*name).is_some())
}

/// Whether a document has what MCP proxies alone have. One that has none of it says so by standing
/// under `mcp`.
fn serves_mcp(body: &Value) -> bool {
    let middleware = at(body, "/x-tyk-api-gateway/middleware");
    middleware.is_some_and(|middleware| {
        ["mcpTools", "mcpResources", "mcpPrompts"]
            .iter()
            .any(|member| middleware.get(member).is_some())
    })
}

/// A body in the form in which it is a manifest.
pub(super) fn manifest_of(kind: Kind, body: &Value) -> Cow<'_, Value> {
    if kind == Kind::McpProxy && !serves_mcp(body) {
        Cow::Owned(json!({"mcp": body}))
    } else {
        Cow::Borrowed(body)
    }
}

/// Members that a key's session has and a policy has not.
const SESSION: &[&str] = &[
    "allowance",
    "basic_auth_data",
    "expires",
    "hmac_string",
    "oauth_keys",
    "quota_remaining",
    "quota_renews",
];

fn is_classic(value: &Value) -> bool {
    let has_proxy = value
        .get("proxy")
        .and_then(Value::as_object)
        .is_some_and(|proxy| {
            let is_routed = proxy.contains_key("listen_path") || proxy.contains_key("target_url");
            is_routed || value.get("listen_port").is_some()
        });
    let says_so = [
        "api_id",
        "version_data",
        "definition",
        "use_keyless",
        "auth_configs",
    ]
    .iter()
    .filter(|name| value.get(**name).is_some())
    .count();
    has_proxy || says_so >= 2
}

/// Checks an id that a document names, or says where to put one. A document without an id must
/// never reach the gateway: it would make an object with a random one.
fn id_of(body: &Value, kind: Kind, place: &Place, reading: &mut Reading<'_>) -> Option<String> {
    let pointer = id_pointer(kind);
    let id = match at(body, pointer) {
        Some(Value::String(id)) if !id.is_empty() => id.clone(),
        Some(Value::String(_) | Value::Null) | None => {
            reading.wrong(
                place,
                pointer,
                "the document has no id, and without one the gateway would make another object at every run",
                Some("write one that never changes"),
            );
            return None;
        }
        Some(other) => {
            let message = format!("the id must be a text, and is {}", checks::shape_of(other));
            reading.wrong(place, pointer, message, Some("put it in quotes"));
            return None;
        }
    };
    if let Some((message, fix)) = id_problem(kind, &id) {
        reading.wrong(place, pointer, message, Some(fix));
        return None;
    }
    Some(id)
}

fn database_id(body: &Value, pointer: &str, place: &Place, reading: &mut Reading<'_>) {
    match at(body, pointer) {
        None | Some(Value::Null) => {}
        Some(Value::String(text)) if is_database_id(text) => {}
        Some(_) => reading.wrong(
            place,
            pointer,
            "is a database id, which is 24 hex digits; with anything else the gateway loses the document's own id",
            Some("remove the field: the open source gateway does not use it"),
        ),
    }
}

/// Gives a document the target's organisation, and refuses another one.
pub(super) fn organisation(
    body: &mut Value,
    parent: &str,
    name: &str,
    place: &Place,
    reading: &mut Reading<'_>,
) {
    let Some(org) = reading.options.org.clone() else {
        return;
    };
    let pointer = format!("{parent}/{name}");
    match at(body, &pointer) {
        Some(Value::String(own)) if *own == org => {}
        Some(Value::String(own)) if !own.is_empty() => {
            let message = format!("belongs to the organisation {own}, and the target serves {org}");
            reading.wrong(
                place,
                pointer,
                message,
                Some("remove the field, or set the target's org to it"),
            );
        }
        Some(Value::String(_) | Value::Null) | None => {
            if let Some(Value::Object(members)) = body.pointer_mut(parent) {
                members.insert(name.to_owned(), json!(org));
            }
        }
        Some(other) => {
            let message = format!("must be a text, and is {}", checks::shape_of(other));
            reading.wrong(place, pointer, message, None);
        }
    }
}

fn check_listen_path(body: &Value, kind: Kind, place: &Place, reading: &mut Reading<'_>) {
    let pointer = listen_path_pointer(kind);
    if let Some(path) = at(body, pointer).and_then(Value::as_str)
        && let Some(message) = listen_path_problem(path)
    {
        reading.wrong(place, pointer, message, Some("write it like /orders/"));
    }
}

/// An OAS document, also one of a stream or of an MCP proxy.
pub(super) fn document(
    mut body: Value,
    kind: Kind,
    place: Place,
    reading: &mut Reading<'_>,
    problems_before: usize,
) {
    oas_checks(&body, kind, &place, reading);
    let id = id_of(&body, kind, &place, reading);
    let info = format!("/{EXTENSION}/info");
    organisation(&mut body, &info, "orgId", &place, reading);
    finish(body, kind, id, place, reading, problems_before);
}

fn oas_checks(body: &Value, kind: Kind, place: &Place, reading: &mut Reading<'_>) {
    match body.get("openapi") {
        Some(Value::String(version))
            if version.starts_with("3.0.") || version.starts_with("3.1.") => {}
        Some(_) => reading.wrong(
            place,
            "/openapi",
            "the gateway reads OpenAPI 3.0 and 3.1",
            Some("write a version such as \"3.0.3\", in quotes"),
        ),
        None => reading.wrong(
            place,
            "/openapi",
            "the OpenAPI version is missing",
            Some("write \"3.0.3\""),
        ),
    }
    checks::required_text(body, "/info/title", "the title", place, reading);
    checks::required_text(body, "/info/version", "the version", place, reading);
    if body.get("paths").is_none() {
        reading.wrong(
            place,
            "/paths",
            "paths is missing",
            Some("write {} for none"),
        );
    }
    let extension = "/x-tyk-api-gateway";
    checks::required_text(
        body,
        &format!("{extension}/info/name"),
        "the API's name",
        place,
        reading,
    );
    if at(body, &format!("{extension}/info/state/active")).is_none() {
        reading.wrong(
            place,
            format!("{extension}/info/state/active"),
            "whether the API is active is missing",
            Some("write state: { active: true }"),
        );
    }
    checks::required_text(
        body,
        listen_path_pointer(kind),
        "the listen path",
        place,
        reading,
    );
    let upstream = at(body, &format!("{extension}/upstream"));
    let has_upstream = upstream.is_some_and(|upstream| {
        upstream.get("url").is_some_and(Value::is_string) || upstream.get("loadBalancing").is_some()
    });
    if !has_upstream {
        reading.wrong(
            place,
            format!("{extension}/upstream/url"),
            "the upstream's address is missing",
            None,
        );
    }
    upstream::oas(body, place, reading);
    check_listen_path(body, kind, place, reading);
    still_served(
        body,
        &format!("{extension}/info/state/active"),
        place,
        reading,
    );
    database_id(body, &format!("{extension}/info/dbId"), place, reading);
    rules::oas(body, place, reading);
    custom_event_handlers(body, place, reading);
    let is_three_zero = body
        .get("openapi")
        .and_then(Value::as_str)
        .is_some_and(|version| version.starts_with("3.0."));
    // What else OpenAPI 3.1 may hold is JSON Schema's affair.
    if is_three_zero {
        schema::check(body, "", schema::OAS, Unknown::Told, place, reading);
    } else if let Some(own) = body.get(EXTENSION) {
        schema::check(
            own,
            extension,
            schema::EXTENSION,
            Unknown::Told,
            place,
            reading,
        );
    }
}

/// Seen to end a 5.14 gateway at its next reload when its JavaScript machine is off.
fn custom_event_handlers(body: &Value, place: &Place, reading: &mut Reading<'_>) {
    let pointer = "/x-tyk-api-gateway/server/eventHandlers";
    let handlers = at(body, pointer).and_then(Value::as_array);
    for (index, handler) in handlers.into_iter().flatten().enumerate() {
        if handler.get("type").and_then(Value::as_str) == Some("custom") {
            reading.warn(
                place,
                format!("{pointer}/{index}"),
                "a custom event handler ends the gateway's process at its next reload unless enable_jsvm is set there",
                None,
            );
        }
    }
}

pub(super) fn classic(mut body: Value, place: Place, reading: &mut Reading<'_>) {
    const KIND: Kind = Kind::ClassicApi;
    let before = reading.found.len();
    let id = id_of(&body, KIND, &place, reading);
    definition_checks(&body, Unknown::Told, &place, reading);
    upstream::missing(&body, &place, reading);
    let versions = at(&body, "/version_data/versions").and_then(Value::as_object);
    if versions.is_none_or(serde_json::Map::is_empty) {
        reading.warn(
            &place,
            "/version_data/versions",
            "the definition has no version, and a gateway answers every request for such an API with an error",
            Some("write version_data: { not_versioned: true, versions: { Default: { name: Default } } }"),
        );
    }
    organisation(&mut body, "", "org_id", &place, reading);
    finish(body, KIND, id, place, reading, before);
}

/// A switch that looks like one and does nothing.
fn still_served(body: &Value, pointer: &str, place: &Place, reading: &mut Reading<'_>) {
    if at(body, pointer) == Some(&Value::Bool(false)) {
        reading.warn(
            place,
            pointer,
            "a gateway serves an API that is not active all the same",
            Some("remove its manifest, or make it internal, to take it out of service"),
        );
    }
}

/// What holds for a definition that somebody else has made of another document, and whose members
/// are known.
pub(super) fn classic_checks(body: &Value, place: &Place, reading: &mut Reading<'_>) {
    definition_checks(body, Unknown::Passed, place, reading);
}

fn definition_checks(body: &Value, unknown: Unknown, place: &Place, reading: &mut Reading<'_>) {
    const PROTOCOLS: &[&str] = &["", "http", "https", "h2c", "tcp", "tls"];
    still_served(body, "/active", place, reading);
    let protocol = body.get("protocol").and_then(Value::as_str);
    if protocol.is_some_and(|protocol| !PROTOCOLS.contains(&protocol)) {
        reading.wrong(
            place,
            "/protocol",
            "the gateway knows no such protocol: it would list the API and not serve it",
            Some("write http, https, h2c, tcp or tls"),
        );
    }
    let is_tcp = body
        .get("protocol")
        .and_then(Value::as_str)
        .is_some_and(|protocol| matches!(protocol, "tcp" | "tls"));
    if is_tcp {
        let port = body.get("listen_port").and_then(Value::as_f64);
        if port.is_none_or(|port| port == 0.0) {
            reading.wrong(
                place,
                "/listen_port",
                "a TCP or TLS API needs a listen_port: the gateway would not load it",
                None,
            );
        }
    } else {
        match at(body, "/proxy/listen_path") {
            None | Some(Value::Null) => reading.wrong(
                place,
                "/proxy/listen_path",
                "the listen path is missing",
                Some("write it like /orders/"),
            ),
            Some(_) => check_listen_path(body, Kind::ClassicApi, place, reading),
        }
    }
    upstream::classic(body, place, reading);
    database_id(body, "/id", place, reading);
    let is_on = |name: &str| body.get(name) == Some(&Value::Bool(true));
    if is_on("use_keyless") && is_on("use_standard_auth") {
        reading.wrong(
            place,
            "/use_keyless",
            "use_keyless and use_standard_auth are both on",
            Some("turn one of them off: an API is either open or asks for a key"),
        );
    } else {
        rules::classic(body, place, reading);
    }
    schema::check(body, "", schema::CLASSIC, unknown, place, reading);
}

pub(super) fn policy(mut body: Value, place: Place, reading: &mut Reading<'_>) {
    const KIND: Kind = Kind::Policy;
    let before = reading.found.len();
    // An export from a Dashboard has its id in `_id` alone.
    let own_id = body.get("id").and_then(Value::as_str).unwrap_or_default();
    if own_id.is_empty()
        && let Some(database_id) = body.get("_id").and_then(Value::as_str)
        && !database_id.is_empty()
    {
        let id = json!(database_id);
        if let Some(members) = body.as_object_mut() {
            members.insert("id".to_owned(), id);
        }
    }
    let id = id_of(&body, KIND, &place, reading);
    plan_checks(&body, Unknown::Told, &place, reading);
    organisation(&mut body, "", "org_id", &place, reading);
    finish(body, KIND, id, place, reading, before);
}

/// The same as [`classic_checks`], for a policy.
pub(super) fn policy_checks(body: &Value, place: &Place, reading: &mut Reading<'_>) {
    plan_checks(body, Unknown::Passed, place, reading);
}

fn plan_checks(body: &Value, unknown: Unknown, place: &Place, reading: &mut Reading<'_>) {
    database_id(body, "/_id", place, reading);
    let rights = body.get("access_rights").and_then(Value::as_object);
    for (id, right) in rights.into_iter().flatten() {
        let mut pointer = "/access_rights".to_owned();
        crate::domain::diff::push_token(&mut pointer, id);
        match right.get("api_id") {
            Some(Value::String(own)) if own == id => {}
            None if right.is_object() => {}
            Some(Value::String(own)) => {
                let message = format!("stands under {id} and names the API {own}");
                reading.wrong(
                    place,
                    format!("{pointer}/api_id"),
                    message,
                    Some("make the two equal"),
                );
            }
            _ => {
                let message = format!("must be an object with the api_id {id}");
                reading.wrong(place, pointer, message, None);
            }
        }
    }
    let flag = |name: &str| at(body, &format!("/partitions/{name}")) == Some(&Value::Bool(true));
    if flag("per_api")
        && ["quota", "rate_limit", "acl", "complexity"]
            .iter()
            .any(|name| flag(name))
    {
        reading.wrong(
            place,
            "/partitions/per_api",
            "per_api together with another partition is refused by the gateway for every key, at request time",
            Some("turn per_api or the others off"),
        );
    }
    schema::check(body, "", schema::POLICY, unknown, place, reading);
}

/// Adds the object, unless something was wrong with it.
pub(super) fn finish(
    body: Value,
    kind: Kind,
    id: Option<String>,
    place: Place,
    reading: &mut Reading<'_>,
    problems_before: usize,
) {
    let Some(id) = id.filter(|_| reading.found.len() == problems_before) else {
        return;
    };
    let object = Object {
        key: ObjectKey::new(kind, id),
        body,
        path: place.file.clone(),
    };
    reading.add(object, place);
}
