//! Operations: the middleware of each becomes entries in the lists of extended paths, in the
//! order in which the gateway walks the paths.

use serde_json::{Map, Value, json};

use super::super::duration;
use super::super::oas::operations;
use super::super::state::{flag, set, text};
use super::table::{ENDPOINTS, RULES};
use super::{carry, headers_of, list};

pub fn project(document: &Value, extension: &Value, out: &mut Value) {
    let Some(configured) = extension
        .pointer("/middleware/operations")
        .and_then(Value::as_object)
    else {
        return;
    };
    let mut lists: Map<String, Value> = Map::new();
    for (path, item) in walk(document) {
        for (method, operation) in operations(item) {
            let Some(parts) = configured.get(text(operation, "/operationId")) else {
                continue;
            };
            for (part, target, rows) in ENDPOINTS {
                let Some(part_value) = parts.get(part) else {
                    continue;
                };
                let mut entry = json!({"path": path, "method": method.to_uppercase()});
                carry(part_value, "", &mut entry, "", rows);
                extra(part, part_value, &mut entry);
                let list = lists.entry(*target).or_insert_with(|| json!([]));
                if let Some(entries) = list.as_array_mut() {
                    entries.push(entry);
                }
            }
        }
    }
    set(
        out,
        "/version_data/versions//extended_paths",
        Value::Object(lists),
    );
}

/// Where a kind of rule stands among the rules of a trigger.
pub fn rule_order(kind: &str) -> usize {
    RULES
        .iter()
        .position(|(name, _)| *name == kind)
        .unwrap_or(RULES.len())
}

/// Whether anything of an operation's middleware becomes an extended path.
pub fn has_endpoint_part(parts: &Value) -> bool {
    ENDPOINTS
        .iter()
        .any(|(part, _, _)| parts.get(part).is_some())
}

fn extra(part: &str, value: &Value, entry: &mut Value) {
    match part {
        "transformRequestHeaders" | "transformResponseHeaders" => {
            let headers = headers_of(list(value, "/add").into_iter().flatten());
            set(entry, "/add_headers", headers);
        }
        "transformRequestBody" | "transformResponseBody" => {
            let body = text(value, "/body");
            let (mode, source) = if body.is_empty() {
                ("file", text(value, "/path"))
            } else {
                ("blob", body)
            };
            set(entry, "/template_data/enable_session", true.into());
            set(entry, "/template_data/template_mode", mode.into());
            set(entry, "/template_data/template_source", source.into());
        }
        "urlRewrite" => {
            if let Some(triggers) = list(value, "/triggers") {
                let triggers: Vec<Value> = triggers.map(trigger).collect();
                set(entry, "/triggers", triggers.into());
            }
        }
        "enforceTimeout" => {
            if let Some(length) = duration::nanoseconds(text(value, "/duration")) {
                let seconds = length.div_euclid(1_000_000_000)
                    + i64::from(length.rem_euclid(1_000_000_000) > 0);
                set(entry, "/timeout", seconds.into());
            }
        }
        "virtualEndpoint" => {
            let body = text(value, "/body");
            let kind = if body.is_empty() { "file" } else { "blob" };
            set(entry, "/function_source_type", kind.into());
            if !body.is_empty() {
                set(entry, "/function_source_uri", body.into());
            }
        }
        _ => {}
    }
}

fn trigger(trigger: &Value) -> Value {
    let mut options = json!({});
    for rule in list(trigger, "/rules").into_iter().flatten() {
        let kind = text(rule, "/in");
        let Some((_, target)) = RULES.iter().find(|(name, _)| *name == kind) else {
            continue;
        };
        let pattern = json!({
            "match_rx": text(rule, "/pattern"),
            "reverse": flag(rule, "/negate"),
        });
        if kind == "requestBody" {
            set(&mut options, &format!("/{target}"), pattern);
        } else if let Some(map) = options.as_object_mut() {
            let names = map.entry(*target).or_insert_with(|| json!({}));
            if let Some(names) = names.as_object_mut() {
                names.insert(text(rule, "/name").to_owned(), pattern);
            }
        }
    }
    json!({
        "on": text(trigger, "/condition"),
        "rewrite_to": text(trigger, "/rewriteTo"),
        "options": options,
    })
}

/// The paths: more segments first, then longer ones, names of variables left out of the count.
fn walk(document: &Value) -> Vec<(&String, &Value)> {
    let mut paths: Vec<(&String, &Value)> = document
        .get("paths")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .collect();
    paths.sort_by(|(one, _), (other, _)| {
        let (short, long) = (bare(one), bare(other));
        if short == long {
            return other.cmp(one);
        }
        let slashes = |path: &str| path.matches('/').count();
        slashes(&long)
            .cmp(&slashes(&short))
            .then(long.len().cmp(&short.len()))
            .then(short.cmp(&long))
    });
    paths
}

fn bare(path: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for character in path.chars() {
        match character {
            '{' => inside = true,
            '}' => inside = false,
            other if !inside => out.push(other),
            _ => {}
        }
    }
    out
}
