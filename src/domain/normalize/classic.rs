//! Classic definitions, and the classic projections in which a gateway lists OAS APIs.
//!
//! For the gateway absent, null, zero and empty are one, except inside the few members that it
//! keeps as free JSON.

use serde_json::Value;

use super::{canonical_duration, drop_zeros};
use crate::domain::diff::push_token;

pub(super) fn comparable(body: &Value) -> Value {
    let mut body = body.clone();
    if let Some(members) = body.as_object_mut() {
        members.remove("is_oas");
    }
    merged_schema(&mut body);
    drop_zeros(&mut body, &mut String::new(), &is_verbatim);
    durations(&mut body, &mut String::new());
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
pub(super) fn is_verbatim(pointer: &str) -> bool {
    let tokens: Vec<&str> = pointer.split('/').skip(1).collect();
    match tokens.as_slice() {
        ["config_data"]
        | ["auth_provider" | "session_provider", "meta"]
        | ["custom_middleware", "id_extractor", "extractor_config"]
        | ["event_handlers", "events", _, _, "handler_meta"]
        | ["response_processors", _, "options"]
        | ["graphql", "engine", "data_sources", _, "config"] => true,
        [
            "version_data",
            "versions",
            _,
            "extended_paths",
            group,
            _,
            last,
        ] => matches!(
            (*group, *last),
            ("validate_json", "schema") | ("persist_graphql", "variables")
        ),
        _ => false,
    }
}

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

fn durations(value: &mut Value, pointer: &mut String) {
    if is_verbatim(pointer) {
        return;
    }
    match value {
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                let length = pointer.len();
                push_token(pointer, name);
                if let Value::String(text) = member
                    && DURATIONS.contains(&name.as_str())
                    && let Some(printed) = canonical_duration(text)
                {
                    *text = printed;
                } else {
                    durations(member, pointer);
                }
                pointer.truncate(length);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                let length = pointer.len();
                push_token(pointer, &index.to_string());
                durations(item, pointer);
                pointer.truncate(length);
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
pub(super) fn proper_names(asked: &mut Value, read: &Value, pointer: &mut String) {
    if is_verbatim(pointer) {
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
                let length = pointer.len();
                push_token(pointer, name);
                proper_names(member, other, pointer);
                pointer.truncate(length);
            }
        }
        (Value::Array(asked), Value::Array(read)) => {
            for (index, (item, other)) in asked.iter_mut().zip(read).enumerate() {
                let length = pointer.len();
                push_token(pointer, &index.to_string());
                proper_names(item, other, pointer);
                pointer.truncate(length);
            }
        }
        _ => {}
    }
}
