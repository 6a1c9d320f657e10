//! The schema endpoint: a schema of the OAS documents that are accepted, generated from the table
//! of types. It is far shorter than a real gateway's, and has the same frame.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::oas::EXTENSION;
use super::reply::Reply;
use super::types::{Type, types, write_text};

/// Which schema applies to a version of OpenAPI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    Three0,
    Three1,
}

/// What a version of OpenAPI asks for, or the message when there is no schema for it.
pub fn generation(version: &str) -> Result<Generation, String> {
    let numbers: Vec<&str> = version
        .split(['-', '+'])
        .next()
        .unwrap_or("")
        .split('.')
        .collect();
    let is_version = (1..=3).contains(&numbers.len())
        && numbers
            .iter()
            .all(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()));
    if !is_version {
        return Err(format!("malformed version: {version}"));
    }
    match numbers.as_slice() {
        ["3"] | ["3", "0", ..] => Ok(Generation::Three0),
        ["3", "1", ..] => Ok(Generation::Three1),
        _ => Err(format!("Schema not found for version \"{version}\"")),
    }
}

pub fn read(version: &str) -> Reply {
    let generation = if version.is_empty() {
        Ok(Generation::Three0)
    } else {
        generation(version)
    };
    match generation {
        Ok(generation) => reply(&document(generation)),
        Err(message) => {
            let mut out = String::from("{\"status\":\"Failed\",\"message\":");
            write_text(&message, &mut out);
            out.push('}');
            Reply::json(404, out)
        }
    }
}

pub fn reply(schema: &Value) -> Reply {
    let answer = json!({"status": "Success", "message": "", "schema": schema});
    Reply::value(200, &answer)
}

fn document(generation: Generation) -> Value {
    let mut definitions = Map::new();
    let mut seen = BTreeSet::new();
    let root = types().named("oas.XTykAPIGateway");
    let reference = describe(&root, "XTykAPIGateway", &mut definitions, &mut seen);
    let properties = json!({
        "openapi": {"type": "string"},
        "info": {"type": "object", "required": ["title", "version"]},
        "paths": {"type": "object"},
        "components": {"type": "object"},
        "servers": {"type": "array"},
        "security": {"type": "array"},
        "tags": {"type": "array"},
        "externalDocs": {"type": "object"},
        EXTENSION: reference,
    });
    match generation {
        Generation::Three0 => json!({
            "id": "https://spec.openapis.org/oas/3.0/schema/2021-09-28",
            "$schema": "http://json-schema.org/draft-04/schema#",
            "description": "OpenAPI 3.0 documents with the gateway's extension",
            "type": "object",
            "required": ["openapi", "info", "paths", EXTENSION],
            "properties": properties,
            "patternProperties": {"^x-": {}},
            "additionalProperties": false,
            "definitions": definitions,
        }),
        Generation::Three1 => json!({
            "$id": "https://spec.openapis.org/oas/3.1/schema/2022-10-07",
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$ref": "#/$defs/specification-extensions",
            "description": "OpenAPI 3.1 documents with the gateway's extension",
            "type": "object",
            "required": ["openapi", "info", EXTENSION],
            "properties": properties,
            "anyOf": [
                {"required": ["paths"]},
                {"required": ["components"]},
                {"required": ["webhooks"]},
            ],
            "unevaluatedProperties": false,
            "$defs": definitions,
        }),
    }
}

fn describe(
    ty: &Type,
    name: &str,
    definitions: &mut Map<String, Value>,
    seen: &mut BTreeSet<String>,
) -> Value {
    match ty {
        Type::Bool => json!({"type": "boolean"}),
        Type::Int | Type::Unsigned { .. } => json!({"type": "integer"}),
        Type::Float => json!({"type": "number"}),
        Type::Text | Type::Duration | Type::ObjectId | Type::Time => json!({"type": "string"}),
        Type::Raw | Type::Any => json!({}),
        Type::Pointer(inner) => describe(inner, name, definitions, seen),
        Type::List(inner) => {
            json!({"type": "array", "items": describe(inner, name, definitions, seen)})
        }
        Type::Map(inner) => json!({
            "type": "object",
            "additionalProperties": describe(inner, name, definitions, seen),
        }),
        Type::Struct(index) => {
            let key = format!("X-Tyk-{name}-{index}");
            if seen.insert(key.clone()) {
                let mut properties = Map::new();
                for field in types().fields(ty).map_or(&[][..], |shape| &shape.fields) {
                    let inner = describe(&field.ty, &field.name, definitions, seen);
                    properties.insert(field.name.clone(), inner);
                }
                definitions.insert(
                    key.clone(),
                    json!({"type": "object", "properties": properties}),
                );
            }
            json!({"$ref": format!("#/definitions/{key}")})
        }
    }
}
