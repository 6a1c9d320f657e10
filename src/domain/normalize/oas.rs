//! OAS documents: every read rebuilds the extension, and parts of the OpenAPI document, from the
//! gateway's own types. The rules are those of Tyk 5.8 to 5.14, checked against recorded pairs of
//! what was posted and what was read.

use serde_json::Value;

use super::{Verbatim, canonical_duration, drop_zeros, is_verbatim, is_zero};
use crate::domain::{
    canonical::canonical,
    way::{Way, at},
};

pub(super) fn comparable(body: &Value) -> Value {
    let mut body = body.clone();
    if let Some(members) = body.as_object_mut() {
        // The gateway writes its own addresses into it, which differ from node to node.
        members.remove("servers");
    }
    if let Some(extension) = body.get_mut("x-tyk-api-gateway") {
        drop_zeros(extension, Way::Root(""), VERBATIM);
        settle_extension(extension, Way::Root(""));
        drop_zeros(extension, Way::Root(""), VERBATIM);
    }
    drop_openapi_zeros(&mut body);
    settle_security(&mut body);
    body
}

/// Of the extension. Plugin data is the user's own JSON.
const VERBATIM: &Verbatim = &[&["middleware", "global", "pluginConfig", "data", "value"]];

/// Lists whose order the gateway does not keep, by the name of the member.
const UNORDERED: &[&str] = &[
    "add",
    "clientToPolicyMapping",
    "domainToCertificateMapping",
    "domainToPublicKeysMapping",
    "eventHandlers",
    "headers",
    "pinnedPublicKeys",
    "rules",
    "scopeToPolicyMapping",
    "targets",
    "versions",
];

fn settle_extension(value: &mut Value, way: Way<'_>) {
    if is_verbatim(way, VERBATIM) {
        return;
    }
    match value {
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                settle_extension(member, Way::Member(&way, name));
                if let Value::Array(items) = member
                    && name == "add"
                {
                    keep_last_of_each_name(items);
                }
                if let Value::Array(items) = member
                    && UNORDERED.contains(&name.as_str())
                {
                    items.sort_by_cached_key(canonical);
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                settle_extension(item, Way::Item(&way, index));
            }
        }
        Value::String(text) => {
            if text.len() <= 32
                && let Some(printed) = canonical_duration(text)
            {
                *text = printed;
            }
        }
        _ => {}
    }
}

/// Headers to add are a map by name to the gateway, so of two with one name the last stays.
fn keep_last_of_each_name(items: &mut Vec<Value>) {
    let names: Vec<Option<Value>> = items.iter().map(|item| item.get("name").cloned()).collect();
    let mut index = 0;
    items.retain(|_| {
        let later = &names[index + 1..];
        let repeated = names[index].is_some() && later.contains(&names[index]);
        index += 1;
        !repeated
    });
}

/// Members of the OpenAPI part that are left out when they are false.
const FALSE_IS_ABSENT: &[&str] = &[
    "allowEmptyValue",
    "allowReserved",
    "deprecated",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "nullable",
    "readOnly",
    "required",
    "uniqueItems",
    "writeOnly",
];

fn drop_openapi_zeros(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|name, member| {
                if name == "example" || name == "default" {
                    return true;
                }
                if name != "x-tyk-api-gateway" {
                    drop_openapi_zeros(member);
                }
                let says_nothing = match member {
                    Value::Null => true,
                    Value::String(text) => text.is_empty(),
                    Value::Bool(false) => FALSE_IS_ABSENT.contains(&name.as_str()),
                    _ => {
                        matches!(
                            name.as_str(),
                            "components"
                                | "parameters"
                                | "required"
                                | "securitySchemes"
                                | "tags"
                                | "webhooks"
                        ) && is_zero(member)
                    }
                };
                !says_nothing
            });
        }
        Value::Array(items) => items.iter_mut().for_each(drop_openapi_zeros),
        _ => {}
    }
}

/// Root security: the empty alternative goes when there are others, and scopes stay only where
/// the scheme has any. An empty list says nothing.
fn settle_security(body: &mut Value) {
    let scoped: Vec<String> = at(body, "/components/securitySchemes")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter(|(_, scheme)| {
            matches!(
                scheme.get("type").and_then(Value::as_str),
                Some("oauth2" | "openIdConnect")
            )
        })
        .map(|(name, _)| name.clone())
        .collect();
    let Some(members) = body.as_object_mut() else {
        return;
    };
    let Some(Value::Array(alternatives)) = members.get_mut("security") else {
        return;
    };
    if alternatives.len() > 1 {
        alternatives.retain(|alternative| !is_zero(alternative));
    }
    for alternative in alternatives.iter_mut() {
        let Some(schemes) = alternative.as_object_mut() else {
            continue;
        };
        for (name, scopes) in schemes.iter_mut() {
            if !scoped.contains(name) {
                *scopes = Value::Array(Vec::new());
            }
        }
    }
    if alternatives.is_empty() {
        members.remove("security");
    }
}

/// A document that was read without the addresses that the gateway wrote into it, and with an
/// order where every read has another one.
pub(super) fn slim(body: &Value) -> Value {
    let mut body = body.clone();
    let listen_path = body
        .pointer("/x-tyk-api-gateway/server/listenPath/value")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    if let Some(members) = body.as_object_mut() {
        if members.get("components").is_some_and(is_zero) {
            members.remove("components");
        }
        if let Some(Value::Array(servers)) = members.get_mut("servers") {
            let own = own_servers(servers, listen_path.trim_end_matches('/'));
            servers.drain(..own);
            if servers.is_empty() {
                members.remove("servers");
            }
        }
    }
    if let Some(extension) = body.get_mut("x-tyk-api-gateway") {
        settle_order(extension, Way::Root(""));
    }
    body
}

/// How many of a document's first servers are the gateway's: it writes its own before those of
/// the user, all with one host or none, at the listen path or below it.
fn own_servers(servers: &[Value], listen_path: &str) -> usize {
    let mut own_host = None;
    for (index, server) in servers.iter().enumerate() {
        let alone = server.as_object().filter(|members| members.len() == 1);
        let url = alone.and_then(|members| members.get("url")?.as_str());
        let (host, path) = match url.map(|url| (url, url.split_once("://"))) {
            Some((url, None)) => (None, url),
            Some((_, Some(("http" | "https", rest)))) => {
                let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
                (Some(host), path)
            }
            Some(_) | None => return index,
        };
        let is_here = path
            .strip_prefix(listen_path)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
        if !is_here || host.is_some_and(|host| *own_host.get_or_insert(host) != host) {
            return index;
        }
    }
    servers.len()
}

/// Lists that every read has in another order, by the name of the member.
const RESTLESS: &[&str] = &["domainToCertificateMapping", "eventHandlers"];

fn settle_order(value: &mut Value, way: Way<'_>) {
    if is_verbatim(way, VERBATIM) {
        return;
    }
    match value {
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                settle_order(member, Way::Member(&way, name));
                if let Value::Array(items) = member
                    && RESTLESS.contains(&name.as_str())
                {
                    items.sort_by_cached_key(canonical);
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                settle_order(item, Way::Item(&way, index));
            }
        }
        _ => {}
    }
}

/// Takes out of a document that was read what the gateway adds by itself, as far as it was not
/// asked for: a member that Git does not name is the gateway's to fill.
pub(super) fn drop_additions(wanted: &Value, found: &mut Value) {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => {
            found.retain(|name, _| wanted.contains_key(name));
            for (name, member) in found.iter_mut() {
                if let Some(wanted) = wanted.get(name) {
                    drop_additions(wanted, member);
                }
            }
        }
        (Value::Array(wanted), Value::Array(found)) => {
            for (wanted, found) in wanted.iter().zip(found) {
                drop_additions(wanted, found);
            }
        }
        _ => {}
    }
}

/// What the gateway is known to change while it loads a document.
pub(super) fn rewritten(pointer: &str, before: Option<&Value>, after: Option<&Value>) -> bool {
    let same_number = || {
        let float = |value: Option<&Value>| value.and_then(Value::as_f64);
        matches!((float(before), float(after)), (Some(before), Some(after)) if before.to_bits() == after.to_bits())
    };
    // Integers above 2^53 lose their last digits.
    same_number()
        // Anything above TLS 1.2 is forced down to it.
        || pointer.ends_with("/tlsTransport/maxVersion")
        // The block that repeats where components say that the key stands.
        || (after.is_none()
            && pointer.starts_with("/x-tyk-api-gateway/server/authentication/securitySchemes/")
            && ["/header", "/query", "/cookie"].iter().any(|place| pointer.ends_with(place)))
        || (pointer.starts_with("/x-tyk-api-gateway/server/listenPath/value")
            && before.and_then(Value::as_str).zip(after.and_then(Value::as_str)).is_some_and(
                |(before, after)| super::classic::clean_path(before) == after,
            ))
        || (pointer.starts_with("/security/") && before.is_none())
        || pointer.ends_with("/enforceTimeout/value")
        // A setting of its own name moved to another one.
        || (after.is_none()
            && ["/serviceDiscovery/cacheTimeout", "/virtualEndpoint/name", "/prePlugin"]
                .iter()
                .any(|place| pointer.ends_with(place)))
}
