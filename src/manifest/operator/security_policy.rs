//! `SecurityPolicy` → a policy. APIs are named by namespace and name there, by id in the gateway.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    super::{Reading, checks, native},
    KnownApi, Resource,
    fields::{self, Unknown},
    numeric_text,
};
use crate::domain::object::Kind;

pub(super) fn translate(
    resource: Resource,
    known: &BTreeMap<String, KnownApi>,
    reading: &mut Reading<'_>,
) {
    let before = reading.found.len();
    fields::check(
        "SecurityPolicy",
        &resource.spec,
        Unknown::Passed,
        &resource.place,
        reading,
    );
    let derived = resource.derived_id();
    let Resource {
        namespace: own_namespace,
        mut spec,
        place,
        ..
    } = resource;
    let place = place.below("/spec");
    spec.remove("contextRef");
    if let Some(state) = spec.remove("state")
        && !matches!(state.as_str(), Some("active" | ""))
    {
        reading.warn(
            &place,
            "/state",
            "has no effect on a gateway without a Dashboard",
            Some("write is_inactive: true to refuse every key of the policy"),
        );
    }

    let mut rights = match spec.remove("access_rights") {
        Some(Value::Object(rights)) => rights,
        Some(Value::Null) | None => Map::new(),
        Some(_) => {
            reading.wrong(&place, "/access_rights", "must be an object", None);
            Map::new()
        }
    };
    match spec.remove("access_rights_array") {
        Some(Value::Array(entries)) => {
            for (index, entry) in entries.into_iter().enumerate() {
                let pointer = format!("/access_rights_array/{index}");
                if let Some((id, right)) =
                    right_of(entry, &own_namespace, &pointer, known, &place, reading)
                {
                    rights.insert(id, right);
                }
            }
        }
        Some(Value::Null) | None => {}
        Some(_) => reading.wrong(&place, "/access_rights_array", "must be a list", None),
    }
    spec.insert("access_rights".to_owned(), Value::Object(rights));

    let own_id = spec.get("id").and_then(Value::as_str).unwrap_or_default();
    let id = if own_id.is_empty() {
        derived
    } else {
        own_id.to_owned()
    };
    if let Some((message, fix)) = checks::id_problem(Kind::Policy, &id) {
        reading.wrong(&place, "/id", message, Some(fix));
    }
    spec.insert("id".to_owned(), json!(id));
    let mut body = Value::Object(spec);
    checks::required_text(&body, "/name", "the policy's name", &place, reading);
    native::policy_checks(&body, &place, reading);
    native::organisation(&mut body, "", "org_id", &place, reading);
    native::finish(body, Kind::Policy, Some(id), place, reading, before);
}

/// One entry: the API's id, and the right with the names in it replaced.
fn right_of(
    entry: Value,
    own_namespace: &str,
    pointer: &str,
    known: &BTreeMap<String, KnownApi>,
    place: &super::super::Place,
    reading: &mut Reading<'_>,
) -> Option<(String, Value)> {
    let Value::Object(mut entry) = entry else {
        reading.wrong(place, pointer, "must be an object", None);
        return None;
    };
    let mut text = |name: &str| match entry.remove(name) {
        Some(Value::String(text)) => text,
        _ => String::new(),
    };
    let (name, namespace, kind) = (text("name"), text("namespace"), text("kind"));
    if name.is_empty() {
        reading.wrong(
            place,
            format!("{pointer}/name"),
            "the API's name is missing",
            None,
        );
        return None;
    }
    if !kind.is_empty() && kind != "ApiDefinition" {
        let message = format!("names a {kind}, and only ApiDefinition is supported here");
        reading.wrong(
            place,
            format!("{pointer}/kind"),
            message,
            Some("write the policy as the gateway has it, with the API's id in access_rights"),
        );
        return None;
    }
    let namespace = if namespace.is_empty() {
        own_namespace
    } else {
        &namespace
    };
    let full_name = format!("{namespace}/{name}");
    let Some(api) = known.get(&full_name) else {
        let names: Vec<&str> = known.keys().map(String::as_str).collect();
        let fix = checks::nearest(&full_name, &names).map_or_else(
            || {
                "add the ApiDefinition, or write the policy with the API's id in access_rights"
                    .to_owned()
            },
            |nearest| format!("did you mean {nearest}?"),
        );
        reading.wrong(
            place,
            format!("{pointer}/name"),
            format!("no ApiDefinition {full_name} is described here"),
            Some(&fix),
        );
        return None;
    };
    numeric_limits(&mut entry);
    entry.insert("api_id".to_owned(), json!(api.id));
    entry.insert("api_name".to_owned(), json!(api.name));
    let has_versions = entry
        .get("versions")
        .and_then(Value::as_array)
        .is_some_and(|versions| !versions.is_empty());
    if !has_versions {
        entry.insert("versions".to_owned(), json!(["Default"]));
    }
    Some((api.id.clone(), Value::Object(entry)))
}

/// Rates may be written as texts; the gateway takes numbers.
fn numeric_limits(entry: &mut Map<String, Value>) {
    numeric_limit(entry);
    let endpoints = entry.get_mut("endpoints").and_then(Value::as_array_mut);
    for endpoint in endpoints.into_iter().flatten() {
        let methods = endpoint.get_mut("methods").and_then(Value::as_array_mut);
        for method in methods
            .into_iter()
            .flatten()
            .filter_map(Value::as_object_mut)
        {
            numeric_limit(method);
        }
    }
}

fn numeric_limit(holder: &mut Map<String, Value>) {
    let Some(Value::Object(limit)) = holder.get_mut("limit") else {
        return;
    };
    for name in ["rate", "per"] {
        if let Some(value) = limit.get_mut(name) {
            numeric_text(value);
        }
    }
}
