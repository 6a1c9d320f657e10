//! `SecurityPolicy` → a policy. APIs are named by namespace and name there, by id in the gateway.

use serde_json::{Map, Value, json};

use super::{
    super::{Place, Reading, checks, native},
    Cluster, Kind as Resources, Resource, check_spec,
    fields::Unknown,
    numeric_text, reference,
};
use crate::domain::{diff::push_token, object::Kind};

pub(super) fn translate(resource: Resource, cluster: &Cluster, reading: &mut Reading<'_>) {
    let before = reading.found.len();
    let kind = Resources::SecurityPolicy;
    check_spec(kind, &resource, Unknown::Passed, cluster, reading);
    let Resource {
        name,
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

    let mut rights = Map::new();
    let mut entries = Vec::new();
    if let Some(Value::Object(described)) = spec.remove("access_rights") {
        for (id, right) in described {
            let mut pointer = "/access_rights".to_owned();
            push_token(&mut pointer, &id);
            let is_named = right.get("name").and_then(Value::as_str);
            if is_named.is_some_and(|name| !name.is_empty()) {
                entries.push((pointer, right));
            } else {
                let mut right = right;
                for member in ["name", "namespace", "kind"] {
                    right.as_object_mut().map(|right| right.remove(member));
                }
                if let Some(right) = right.as_object_mut() {
                    numeric_limits(right);
                }
                rights.insert(id, right);
            }
        }
    }
    if let Some(Value::Array(listed)) = spec.remove("access_rights_array") {
        let listed = listed.into_iter().enumerate();
        entries
            .extend(listed.map(|(index, right)| (format!("/access_rights_array/{index}"), right)));
    }
    for (pointer, entry) in entries {
        let right = right_of(entry, &name.namespace, &pointer, cluster, &place, reading);
        if let Some((id, right)) = right {
            rights.insert(id, right);
        }
    }
    spec.insert("access_rights".to_owned(), Value::Object(rights));

    let own_id = spec.get("id").and_then(Value::as_str);
    let id = match own_id.unwrap_or_default() {
        "" => name.derived_id(),
        own => own.to_owned(),
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
    cluster: &Cluster,
    place: &Place,
    reading: &mut Reading<'_>,
) -> Option<(String, Value)> {
    if !entry.is_object() {
        // Its shape is a problem already.
        return None;
    }
    let name = reference(&entry, own_namespace, place, pointer, reading)?;
    let kind = entry.get("kind").and_then(Value::as_str);
    let kind = kind.filter(|kind| !kind.is_empty());
    let kind = kind.map_or(Some(Resources::ApiDefinition), Resources::named);
    let Some(kind) = kind.filter(|kind| kind.is_api()) else {
        let apis = Resources::ALL.into_iter().filter(|kind| kind.is_api());
        let apis: Vec<&str> = apis.map(Resources::as_str).collect();
        let message = format!("must be one of {}", apis.join(", "));
        reading.wrong(place, format!("{pointer}/kind"), message, None);
        return None;
    };
    let Some(api) = cluster.apis.get(&(kind, name.clone())) else {
        let full_name = name.to_string();
        let described = cluster.apis.keys().filter(|(other, _)| *other == kind);
        let others: Vec<String> = described.map(|(_, name)| name.to_string()).collect();
        let others: Vec<&str> = others.iter().map(String::as_str).collect();
        let kind = kind.as_str();
        let fix = checks::nearest(&full_name, &others).map_or_else(
            || format!("add the {kind}, or write the policy with the API's id in access_rights"),
            |nearest| format!("did you mean {nearest}?"),
        );
        reading.wrong(
            place,
            format!("{pointer}/name"),
            format!("no {kind} {full_name} is described here"),
            Some(&fix),
        );
        return None;
    };
    let Value::Object(mut entry) = entry else {
        return None;
    };
    for member in ["name", "namespace", "kind"] {
        entry.remove(member);
    }
    numeric_limits(&mut entry);
    entry.insert("api_id".to_owned(), json!(api.id));
    entry.insert("api_name".to_owned(), json!(api.name));
    Some((api.id.clone(), Value::Object(entry)))
}

/// Rates may be written as texts; the gateway takes numbers.
fn numeric_limits(entry: &mut Map<String, Value>) {
    numeric_limit(entry);
    for endpoint in items(entry, "endpoints") {
        items(endpoint, "methods").for_each(numeric_limit);
    }
    for member in ["json_rpc_methods", "mcp_primitives"] {
        items(entry, member).for_each(numeric_limit);
    }
}

/// The objects of a list.
fn items<'a>(
    holder: &'a mut Map<String, Value>,
    member: &str,
) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    let list = holder.get_mut(member).and_then(Value::as_array_mut);
    list.into_iter().flatten().filter_map(Value::as_object_mut)
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
    let smoothing = limit.get_mut("smoothing").and_then(Value::as_object_mut);
    if let Some(trigger) = smoothing.and_then(|smoothing| smoothing.get_mut("trigger")) {
        numeric_text(trigger);
    }
}
