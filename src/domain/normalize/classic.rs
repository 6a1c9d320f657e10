//! Classic definitions, and the classic projections in which a gateway lists OAS APIs.
//!
//! For the gateway absent, null, zero and empty are one, except inside the few members that it
//! keeps as free JSON.

use serde_json::Value;

use super::{Verbatim, canonical_duration, drop_zeros, is_verbatim};
use crate::domain::way::Way;

pub(super) fn comparable(body: &Value) -> Value {
    let mut body = body.clone();
    if let Some(members) = body.as_object_mut() {
        members.remove("is_oas");
    }
    merged_schema(&mut body);
    drop_zeros(&mut body, Way::Root(""), VERBATIM);
    durations(&mut body, Way::Root(""));
    body
}

/// A gateway shows a supergraph with its merged schema, whatever stood there (`engine_v3.go`).
fn merged_schema(body: &mut Value) {
    let Some(graphql) = body.get_mut("graphql") else {
        return;
    };
    let is_supergraph = graphql.get("enabled") == Some(&Value::Bool(true))
        && graphql.get("execution_mode").and_then(Value::as_str) == Some("supergraph");
    if !is_supergraph {
        return;
    }
    let merged = graphql.pointer("/supergraph/merged_sdl").cloned();
    if let Some(members) = graphql.as_object_mut() {
        members.insert("schema".to_owned(), merged.unwrap_or_default());
    }
}

/// Members that the gateway keeps as free JSON.
pub(super) const VERBATIM: &Verbatim = &[
    &["config_data"],
    &["auth_provider", "meta"],
    &["session_provider", "meta"],
    &["custom_middleware", "id_extractor", "extractor_config"],
    &["event_handlers", "events", "*", "*", "handler_meta"],
    &["response_processors", "*", "options"],
    &["graphql", "engine", "data_sources", "*", "config"],
    &[
        "version_data",
        "versions",
        "*",
        "extended_paths",
        "validate_json",
        "*",
        "schema",
    ],
    &[
        "version_data",
        "versions",
        "*",
        "extended_paths",
        "persist_graphql",
        "*",
        "variables",
    ],
];

/// Members that the gateway decodes as durations, by name: they may stand in every version.
const DURATIONS: &[&str] = &[
    "cooldown",
    "cooldown_period",
    "expires_at",
    "global_enforce_timeout",
    "timeout",
    "ttl",
    "cache_timeout",
    "cacheTimeout",
];

fn durations(value: &mut Value, way: Way<'_>) {
    match value {
        Value::Object(members) if !is_verbatim(way, VERBATIM) => {
            for (name, member) in members.iter_mut() {
                if let Value::String(text) = member
                    && DURATIONS.contains(&name.as_str())
                    && let Some(printed) = canonical_duration(text)
                {
                    *text = printed;
                } else {
                    durations(member, Way::Member(&way, name));
                }
            }
        }
        Value::Array(items) if !is_verbatim(way, VERBATIM) => {
            for (index, item) in items.iter_mut().enumerate() {
                durations(item, Way::Item(&way, index));
            }
        }
        _ => {}
    }
}

/// What the gateway is known to change while it loads a definition.
pub(super) fn rewritten(pointer: &str, before: Option<&Value>, after: Option<&Value>) -> bool {
    let lower = |value: Option<&Value>| value?.as_str().map(str::to_lowercase);
    match pointer {
        // Anything above TLS 1.2 is forced down to it, and raised again to the minimum.
        "/proxy/transport/ssl_max_version" => before.is_some(),
        "/proxy/listen_path" => {
            let text = |value: Option<&Value>| value?.as_str().map(str::to_owned);
            matches!((text(before), text(after)), (Some(before), Some(after)) if clean_path(&before) == after)
        }
        _ if pointer.starts_with("/tag_headers/") => lower(before) == lower(after),
        // Free JSON is decoded into floating point numbers.
        _ if pointer.starts_with("/config_data/") => same_float(before, after),
        // A bundle's manifest takes this member's place.
        _ => pointer.starts_with("/custom_middleware/") && before.is_none(),
    }
}

fn same_float(before: Option<&Value>, after: Option<&Value>) -> bool {
    let float = |value: Option<&Value>| value.and_then(Value::as_f64);
    matches!((float(before), float(after)), (Some(before), Some(after)) if before.to_bits() == after.to_bits())
}

/// The listen path as gateways from 5.15 on clean it: a leading slash, no double ones, the
/// trailing one kept.
pub(super) fn clean_path(path: &str) -> String {
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    let mut cleaned = format!("/{}", parts.join("/"));
    if path.ends_with('/') && cleaned.len() > 1 {
        cleaned.push('/');
    }
    cleaned
}

/// Gives the members of `asked` the names that `read` prints, where they differ only in case: the
/// gateway matches names in any case.
pub(super) fn proper_names(asked: &mut Value, read: &Value, way: Way<'_>) {
    if is_verbatim(way, VERBATIM) {
        return;
    }
    match (asked, read) {
        (Value::Object(asked), Value::Object(read)) => {
            let wrong: Vec<String> = asked
                .keys()
                .filter(|name| !read.contains_key(*name))
                .cloned()
                .collect();
            for name in wrong {
                let proper = read.keys().find(|proper| {
                    proper.eq_ignore_ascii_case(&name) && !asked.contains_key(*proper)
                });
                if let Some(proper) = proper.cloned()
                    && let Some(member) = asked.remove(&name)
                {
                    asked.insert(proper, member);
                }
            }
            for (name, member) in asked.iter_mut() {
                let Some(other) = read.get(name) else {
                    continue;
                };
                proper_names(member, other, Way::Member(&way, name));
            }
        }
        (Value::Array(asked), Value::Array(read)) => {
            for (index, (item, other)) in asked.iter_mut().zip(read).enumerate() {
                proper_names(item, other, Way::Item(&way, index));
            }
        }
        _ => {}
    }
}
