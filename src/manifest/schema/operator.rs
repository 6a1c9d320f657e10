//! The operator's kinds, explained and as JSON Schemas from the table that their translation goes by.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::explain::{Explained, Member};
use crate::manifest::{
    checks,
    operator::fields::{Becomes, Field, fields},
};

/// The kinds, in the order of their names.
pub fn kinds() -> BTreeSet<&'static str> {
    fields().iter().map(|field| field.kind).collect()
}

pub(super) fn kind(name: &str) -> Option<&'static str> {
    kinds()
        .into_iter()
        .find(|kind| kind.eq_ignore_ascii_case(name))
}

/// `a[].{}.b` is a, its items, their values, and b of those.
fn steps(path: &'static str) -> Vec<&'static str> {
    let mut steps = Vec::new();
    for part in path.split('.') {
        let name = part.trim_end_matches("[]");
        if !name.is_empty() {
            steps.push(name);
        }
        let lists = (part.len() - name.len()) / 2;
        steps.extend(std::iter::repeat_n("[]", lists));
    }
    steps
}

fn is_name(step: &str) -> bool {
    step != "[]" && step != "{}"
}

/// Explains a kind, or a field of its spec by the names on the way to it.
pub(super) fn explain<'t>(
    kind: &'static str,
    tokens: impl Iterator<Item = &'t str>,
) -> Result<Explained, String> {
    let wanted: Vec<&str> = tokens
        .enumerate()
        .filter(|(at, token)| *at > 0 || *token != "spec")
        .map(|(_, token)| token)
        .collect();
    let mut own: Option<&Field> = None;
    let mut below: BTreeMap<&str, &Field> = BTreeMap::new();
    for field in fields().iter().filter(|field| field.kind == kind) {
        let names: Vec<&str> = steps(field.path)
            .into_iter()
            .filter(|step| is_name(step))
            .collect();
        if names == wanted {
            // A list has a line for itself and one for its items.
            own = own.or(Some(field));
        } else if names.len() == wanted.len() + 1 && names.starts_with(&wanted) {
            let name = names[wanted.len()];
            below.entry(name).or_insert(field);
        }
    }
    if own.is_none() && below.is_empty() {
        return Err(unknown(kind, &wanted));
    }
    let mut path = format!("{kind}.spec");
    for token in &wanted {
        path.push('.');
        path.push_str(token);
    }
    Ok(Explained {
        path,
        shape: own.map_or_else(|| "an object".to_owned(), shape),
        about: own.map(about).unwrap_or_default(),
        required: own.is_some_and(|field| field.required),
        fields: below
            .into_iter()
            .map(|(name, field)| Member {
                name: name.to_owned(),
                shape: shape(field),
                about: about(field),
                required: field.required,
            })
            .collect(),
    })
}

fn unknown(kind: &str, wanted: &[&str]) -> String {
    let last = wanted.last().copied().unwrap_or_default();
    let known: BTreeSet<&str> = fields()
        .iter()
        .filter(|field| field.kind == kind)
        .filter_map(|field| steps(field.path).into_iter().rfind(|step| is_name(step)))
        .collect();
    let known: Vec<&str> = known.into_iter().collect();
    let hint = checks::nearest(last, &known)
        .map(|nearest| format!("; did you mean {nearest}?"))
        .unwrap_or_default();
    format!("{kind} has no field {}{hint}", wanted.join("."))
}

fn shape(field: &Field) -> String {
    let item = match field.shape {
        "text" => "a text",
        "flag" => "true or false",
        "number" => "a number",
        "whole number" => "a whole number",
        _ => "an object",
    };
    if field.path.ends_with("[]") {
        format!("a list; each item is {item}")
    } else {
        item.to_owned()
    }
}

fn about(field: &Field) -> String {
    match field.becomes {
        Becomes::Same => field.about.to_owned(),
        Becomes::At(place) => format!("{}; becomes {place}", field.about),
        Becomes::Refused(reason) => format!("{}; refused: {reason}", field.about),
        Becomes::NotApplicable(reason) => format!("{}; not applied: {reason}", field.about),
    }
}

#[derive(Default)]
struct Node {
    field: Option<&'static Field>,
    below: BTreeMap<&'static str, Node>,
}

/// The JSON Schema of a resource of this kind.
pub(super) fn json_schema(kind: &'static str) -> Value {
    let mut spec = Node::default();
    for field in fields().iter().filter(|field| field.kind == kind) {
        let mut node = &mut spec;
        for step in steps(field.path) {
            node = node.below.entry(step).or_default();
        }
        node.field = Some(field);
    }
    json!({
        "title": kind,
        "type": "object",
        "properties": {
            "apiVersion": {"const": "tyk.tyk.io/v1alpha1"},
            "kind": {"const": kind},
            "metadata": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "namespace": {"type": "string"}},
                "required": ["name"],
            },
            "spec": schema(&spec),
        },
        "required": ["apiVersion", "kind", "metadata", "spec"],
    })
}

fn schema(node: &Node) -> Value {
    let mut schema = if let Some(items) = node.below.get("[]") {
        json!({"type": ["array", "null"], "items": schema(items)})
    } else if let Some(values) = node.below.get("{}") {
        json!({"type": ["object", "null"], "additionalProperties": schema(values)})
    } else if node.below.is_empty() {
        // Numbers may be written as texts there, and placeholders are texts.
        match node.field.map_or("object", |field| field.shape) {
            "text" => json!({"type": ["string", "null"]}),
            "flag" => json!({"anyOf": [
                {"type": ["boolean", "null"]},
                {"$ref": "#/definitions/placeholder"},
            ]}),
            "number" => json!({"type": ["number", "string", "null"]}),
            "whole number" => json!({"type": ["integer", "string", "null"]}),
            _ => json!({}),
        }
    } else {
        let properties: Map<String, Value> = node
            .below
            .iter()
            .map(|(name, below)| ((*name).to_owned(), schema(below)))
            .collect();
        json!({
            "type": ["object", "null"],
            "properties": properties,
            "additionalProperties": false,
        })
    };
    if let Some(field) = node.field
        && !field.about.is_empty()
    {
        schema["description"] = json!(about(field));
    }
    schema
}
