//! The smaller changes that an OAS document goes through on its way in and out: lists in order,
//! members that repeat another, security that is made up from the schemes.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::duration;
use super::oas::{is_hollow, operations, prune};
use super::project::{has_endpoint_part, in_full, rule_order, scheme_of};
use super::state::{flag, set, text};
use super::types::types;

/// The OpenAPI part as it is written again: empty lists, empty texts and `false` are left out
/// where they mean the same as nothing.
pub fn openapi(document: &Value) -> Value {
    let mut out = document.clone();
    let Some(map) = out.as_object_mut() else {
        return out;
    };
    for key in ["security", "tags", "servers", "webhooks"] {
        if map.get(key).is_some_and(is_nothing) {
            map.remove(key);
        }
    }
    if let Some(components) = map.get_mut("components").and_then(Value::as_object_mut) {
        components.retain(|_, item| !is_nothing(item));
    }
    for part in ["paths", "components"] {
        if let Some(part) = map.get_mut(part) {
            tidy(part, false);
        }
    }
    out
}

/// `in_responses`: the members are responses, whose description stays even if it is empty.
fn tidy(value: &mut Value, in_responses: bool) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| tidy(item, false)),
        Value::Object(map) => {
            for (key, item) in map.iter_mut() {
                if key.starts_with("x-") || VERBATIM.contains(&key.as_str()) {
                    continue;
                }
                if in_responses {
                    let description = item.get("description").cloned();
                    tidy(item, false);
                    if let (Some(description), Some(map)) = (description, item.as_object_mut()) {
                        map.insert("description".to_owned(), description);
                    }
                } else {
                    tidy(item, key == "responses");
                }
            }
            if !in_responses {
                map.retain(|key, item| !(is_optional(key) && is_plain_nothing(item)));
            }
        }
        _ => {}
    }
}

/// The extension as it is filled from the projection.
pub fn extension(extension: &mut Value, document: &Value, definition: &Value) {
    upstream(extension, definition);
    if let Some(global) = extension.pointer_mut("/middleware/global") {
        headers(global);
        plugins(global);
    }
    if let Some(configured) = extension
        .pointer_mut("/middleware/operations")
        .and_then(Value::as_object_mut)
    {
        configured.values_mut().for_each(operation);
    }
    for kind in ["mcpTools", "mcpResources", "mcpPrompts"] {
        let primitives = extension
            .pointer_mut(&format!("/middleware/{kind}"))
            .and_then(Value::as_object_mut);
        for primitive in primitives.into_iter().flat_map(Map::values_mut) {
            // Only plugins learn the new name here: nothing else of a primitive is read.
            plugin_names(primitive);
        }
    }
    if let Some(handlers) = extension
        .pointer_mut("/server/eventHandlers")
        .and_then(Value::as_array_mut)
    {
        *handlers = handlers.iter().filter_map(handler).collect();
    }
    if let Some(authentication) = extension.pointer_mut("/server/authentication") {
        schemes(authentication, document);
        if authentication
            .pointer("/customKeyLifetime")
            .is_some_and(|it| duration::seconds(text(it, "/value")) == 0)
        {
            set(authentication, "/customKeyLifetime/enabled", false.into());
        }
        if let Some(oidc) = authentication.get_mut("oidc") {
            lead(oidc, "/scopes/claimName", "/scopes/claims");
            sort_by(oidc, "/scopes/scopeToPolicyMapping", "scope");
        }
    }
}

/// Root security: alternatives that name nothing are dropped, and a single one names every
/// scheme that the extension has.
pub fn security(document: &mut Value, definition: &Value) {
    let declared = |document: &Value, name: &str| {
        document
            .pointer("/components/securitySchemes")
            .and_then(|schemes| schemes.get(name))
            .cloned()
    };
    let scopes = |document: &Value, name: &str, given: Option<&Value>| {
        let scoped = declared(document, name)
            .is_some_and(|it| matches!(text(&it, "/type"), "oauth2" | "openIdConnect"));
        given
            .filter(|_| scoped)
            .cloned()
            .unwrap_or_else(|| json!([]))
    };
    let listed = definition
        .get("security_requirements")
        .and_then(Value::as_array)
        .filter(|list| !list.is_empty());
    let root = document.get("security").cloned().unwrap_or(Value::Null);
    let filled: Vec<Value> = if let Some(listed) = listed {
        listed
            .iter()
            .enumerate()
            .map(|(index, names)| {
                let given = root.get(index);
                names
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .filter(|name| declared(document, name).is_some())
                    .map(|name| {
                        let given = given.and_then(|given| given.get(name));
                        (name.to_owned(), scopes(document, name, given))
                    })
                    .collect::<Map<String, Value>>()
            })
            .filter(|requirement| !requirement.is_empty())
            .map(Value::Object)
            .collect()
    } else {
        let names: Vec<String> = document
            .pointer("/x-tyk-api-gateway/server/authentication/securitySchemes")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(name, _)| name.clone())
            .filter(|name| declared(document, name).is_some())
            .collect();
        if names.is_empty() {
            return;
        }
        let requirement: Map<String, Value> = names
            .into_iter()
            .map(|name| {
                let scopes = scopes(document, &name, root.pointer(&format!("/0/{name}")));
                (name, scopes)
            })
            .collect();
        vec![Value::Object(requirement)]
    };
    if let Some(map) = document.as_object_mut() {
        if filled.is_empty() {
            map.remove("security");
        } else {
            map.insert("security".to_owned(), Value::Array(filled));
        }
    }
}

/// A path parameter that only an operation declares is also declared by the path, if an
/// operation of it carries middleware.
pub fn path_parameters(document: &mut Value) {
    let Some(configured) = document
        .pointer("/x-tyk-api-gateway/middleware/operations")
        .and_then(Value::as_object)
        .cloned()
    else {
        return;
    };
    for (path, item) in document
        .get_mut("paths")
        .and_then(Value::as_object_mut)
        .into_iter()
        .flatten()
    {
        let Ok(names) = super::listen_path::variables(path) else {
            continue;
        };
        let concerned = operations(item).any(|(_, operation)| {
            configured
                .get(text(operation, "/operationId"))
                .is_some_and(has_endpoint_part)
        });
        let Some(item) = item.as_object_mut().filter(|_| concerned) else {
            continue;
        };
        let known: Vec<String> = item
            .get("parameters")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|parameter| text(parameter, "/name").to_owned())
            .collect();
        let missing: Vec<Value> = names
            .iter()
            .filter(|name| !known.iter().any(|known| known == *name))
            .map(|name| {
                json!({
                    "name": name,
                    "in": "path",
                    "required": true,
                    "schema": {"type": "string"},
                })
            })
            .collect();
        if missing.is_empty() {
            continue;
        }
        let list = item.entry("parameters").or_insert_with(|| json!([]));
        if let Some(list) = list.as_array_mut() {
            list.extend(missing);
        }
    }
}

fn upstream(extension: &mut Value, definition: &Value) {
    for pointer in [
        "/upstream/serviceDiscovery",
        "/upstream/uptimeTests/serviceDiscovery",
    ] {
        let Some(discovery) = extension.pointer_mut(pointer) else {
            continue;
        };
        let old = discovery
            .get("cacheTimeout")
            .and_then(Value::as_i64)
            .unwrap_or(0);
        if let Some(map) = discovery.as_object_mut() {
            map.remove("cacheTimeout");
        }
        if old > 0 && discovery.get("cache").is_none() {
            set(
                discovery,
                "/cache",
                json!({"enabled": true, "timeout": old}),
            );
        }
    }
    let tested = extension
        .pointer("/upstream/uptimeTests/tests")
        .is_some_and(|tests| !is_nothing(tests));
    if !tested && extension.pointer("/upstream/uptimeTests").is_some() {
        set(extension, "/upstream/uptimeTests/enabled", false.into());
    }
    for pins in extension
        .pointer_mut("/upstream/certificatePinning/domainToPublicKeysMapping")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        // No key is a list with an empty name in it.
        if pins.get("publicKeys").is_none_or(is_nothing) {
            set(pins, "/publicKeys", json!([""]));
        }
    }
    sort_by(extension, "/upstream/loadBalancing/targets", "url");
    sort_by(
        extension,
        "/upstream/certificatePinning/domainToPublicKeysMapping",
        "domain",
    );
    let tls = definition.pointer("/proxy/transport/ssl_max_version");
    if let Some(name) = tls.and_then(Value::as_u64).and_then(tls_name) {
        set(extension, "/upstream/tlsTransport/maxVersion", name.into());
    }
}

fn operation(operation: &mut Value) {
    headers(operation);
    let zero = |value: &Value, pointer: &str| {
        value.pointer(pointer).and_then(Value::as_i64).unwrap_or(0) == 0
    };
    if flag(operation, "/cache/enabled") && zero(operation, "/cache/timeout") {
        set(operation, "/cache/timeout", 60.into());
    }
    if let Some(length) = operation
        .pointer("/enforceTimeout/duration")
        .and_then(Value::as_str)
        .and_then(duration::nanoseconds)
        .filter(|length| *length > 0)
    {
        let seconds =
            length.div_euclid(1_000_000_000) + i64::from(length.rem_euclid(1_000_000_000) > 0);
        set(operation, "/enforceTimeout/value", seconds.into());
    }
    if let Some(triggers) = operation
        .pointer_mut("/urlRewrite/triggers")
        .and_then(Value::as_array_mut)
    {
        for trigger in triggers {
            if let Some(rules) = trigger.get_mut("rules").and_then(Value::as_array_mut) {
                rules.sort_by_key(|rule| {
                    (
                        rule_order(text(rule, "/in")),
                        text(rule, "/name").to_owned(),
                    )
                });
            }
        }
    }
    function_names(operation);
}

fn function_names(operation: &mut Value) {
    if let Some(endpoint) = operation.get_mut("virtualEndpoint") {
        function_name(endpoint);
    }
    plugin_names(operation);
}

fn plugin_names(operation: &mut Value) {
    if let Some(plugins) = operation
        .get_mut("postPlugins")
        .and_then(Value::as_array_mut)
    {
        plugins.iter_mut().for_each(function_name);
    }
}

/// An old name for the name of a function is given its new place.
fn function_name(value: &mut Value) {
    let old = text(value, "/name").to_owned();
    if let Some(map) = value.as_object_mut() {
        map.remove("name");
    }
    if text(value, "/functionName").is_empty() && !old.is_empty() {
        set(value, "/functionName", old.into());
    }
}

fn plugins(global: &mut Value) {
    for (old, new) in [
        ("prePlugin", "prePlugins"),
        ("postAuthenticationPlugin", "postAuthenticationPlugins"),
        ("postPlugin", "postPlugins"),
        ("responsePlugin", "responsePlugins"),
    ] {
        let Some(map) = global.as_object_mut() else {
            return;
        };
        let moved = map.remove(old).and_then(|old| old.get("plugins").cloned());
        if let Some(moved) = moved.filter(|_| !map.contains_key(new)) {
            map.insert(new.to_owned(), moved);
        }
    }
}

/// Headers to add are a map: one value a name, in the order of the names.
fn headers(value: &mut Value) {
    for side in ["transformRequestHeaders", "transformResponseHeaders"] {
        if let Some(added) = value
            .pointer_mut(&format!("/{side}/add"))
            .and_then(Value::as_array_mut)
        {
            *added = by_name(added);
        }
    }
}

fn by_name(headers: &[Value]) -> Vec<Value> {
    let unique: BTreeMap<&str, &str> = headers
        .iter()
        .map(|header| (text(header, "/name"), text(header, "/value")))
        .collect();
    unique
        .into_iter()
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect()
}

/// An event handler with the members that its type has.
fn handler(handler: &Value) -> Option<Value> {
    let mut out = json!({
        "enabled": flag(handler, "/enabled"),
        "trigger": text(handler, "/trigger"),
        "type": text(handler, "/type"),
    });
    let mut name = text(handler, "/name");
    let mut id = text(handler, "/id");
    match text(handler, "/type") {
        "webhook" => {
            let length = match text(handler, "/cooldownPeriod") {
                "" => "0s".to_owned(),
                length => duration::format(duration::seconds(length) * 1_000_000_000),
            };
            set(&mut out, "/url", text(handler, "/url").into());
            set(&mut out, "/method", text(handler, "/method").into());
            set(&mut out, "/cooldownPeriod", length.into());
            let template = text(handler, "/bodyTemplate");
            if !template.is_empty() {
                set(&mut out, "/bodyTemplate", template.into());
            }
            let headers = handler
                .get("headers")
                .and_then(Value::as_array)
                .filter(|headers| !headers.is_empty());
            if let Some(headers) = headers {
                set(&mut out, "/headers", by_name(headers).into());
            }
        }
        "custom" => {
            name = text(handler, "/functionName");
            set(&mut out, "/functionName", name.into());
            set(&mut out, "/path", text(handler, "/path").into());
        }
        "log" => {
            name = text(handler, "/logPrefix");
            id = "";
            set(&mut out, "/logPrefix", name.into());
        }
        _ => return None,
    }
    for (member, value) in [("id", id), ("name", name)] {
        if !value.is_empty() {
            set(&mut out, &format!("/{member}"), value.into());
        }
    }
    Some(out)
}

fn schemes(authentication: &mut Value, document: &Value) {
    let Some(schemes) = authentication
        .get_mut("securitySchemes")
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    for (name, scheme) in schemes.iter_mut() {
        let declared = document
            .pointer("/components/securitySchemes")
            .and_then(|schemes| schemes.get(name))
            .unwrap_or(&Value::Null);
        let Some(type_name) = scheme_of(declared, scheme).type_name() else {
            continue;
        };
        let ty = types().named(type_name);
        let Ok(mut read) = types().decode(&ty, scheme) else {
            continue;
        };
        match type_name {
            "oas.Token" => {
                if let Some(map) = read.as_object_mut() {
                    map.remove(text(declared, "/in"));
                }
            }
            "oas.JWT" => {
                for (first, all) in [
                    ("/identityBaseField", "/subjectClaims"),
                    ("/policyFieldName", "/basePolicyClaims"),
                    ("/scopes/claimName", "/scopes/claims"),
                ] {
                    lead(&mut read, first, all);
                }
                sort_by(&mut read, "/scopes/scopeToPolicyMapping", "scope");
            }
            _ => {}
        }
        prune(&ty, &mut read);
        if is_hollow(&ty, &read) {
            // What is switched off and says nothing else goes; of these it leaves a null.
            *scheme = Value::Null;
            continue;
        }
        if type_name == "oas.JWT" && read.get("jtiValidation").is_none() {
            set(&mut read, "/jtiValidation/enabled", false.into());
        }
        *scheme = in_full(&ty, &read);
    }
    schemes.retain(|name, scheme| !scheme.is_null() || is_oauth(document, name));
}

fn is_oauth(document: &Value, name: &str) -> bool {
    document
        .pointer("/components/securitySchemes")
        .and_then(|schemes| schemes.get(name))
        .is_some_and(|declared| text(declared, "/type") == "oauth2")
}

/// The legacy claim stands first among the claims.
fn lead(scheme: &mut Value, first: &str, all: &str) {
    let claim = text(scheme, first).to_owned();
    if claim.is_empty() {
        return;
    }
    let mut claims: Vec<Value> = scheme
        .pointer(all)
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    if !claims.iter().any(|known| known.as_str() == Some(&claim)) {
        claims.insert(0, claim.into());
    }
    set(scheme, all, claims.into());
}

fn sort_by(value: &mut Value, pointer: &str, key: &str) {
    let key = format!("/{key}");
    if let Some(items) = value.pointer_mut(pointer).and_then(Value::as_array_mut) {
        items.sort_by(|one, other| text(one, &key).cmp(text(other, &key)));
    }
}

/// Members that hold values of the author's, not parts of the description.
const VERBATIM: [&str; 5] = ["example", "examples", "default", "enum", "value"];

fn is_optional(key: &str) -> bool {
    matches!(
        key,
        "tags"
            | "parameters"
            | "deprecated"
            | "summary"
            | "description"
            | "operationId"
            | "servers"
            | "required"
            | "nullable"
            | "readOnly"
            | "writeOnly"
            | "uniqueItems"
            | "allowEmptyValue"
            | "allowReserved"
            | "title"
            | "format"
            | "pattern"
            | "enum"
            | "allOf"
            | "anyOf"
            | "oneOf"
            | "exclusiveMinimum"
            | "exclusiveMaximum"
            | "minLength"
            | "minItems"
            | "minProperties"
    )
}

/// Nothing that is not an object: an object of that name is somebody's property.
fn is_plain_nothing(value: &Value) -> bool {
    !value.is_object() && (is_nothing(value) || value.as_u64() == Some(0))
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

fn tls_name(number: u64) -> Option<&'static str> {
    match number {
        769 => Some("1.0"),
        770 => Some("1.1"),
        771 => Some("1.2"),
        772 => Some("1.3"),
        _ => None,
    }
}
