//! OAS documents as the gateway gives them back: the extension in its own types, what is switched
//! off left out, durations in one spelling, and the parts that come from the projection.

use serde_json::{Map, Value, json};

use super::state::{flag, set, text};
use super::types::{Type, loose, types, write_text, write_value};
use super::{settle, validate};

pub const EXTENSION: &str = "x-tyk-api-gateway";

const METHODS: [&str; 9] = [
    "get", "put", "post", "delete", "options", "head", "patch", "trace", "connect",
];

/// Parts that have no classic form and are given back as they came.
const UNTOUCHED: [&str; 3] = [
    "oas.MCPPrimitive",
    "oas.MockResponse",
    "oas.ProtectedResourceMetadata",
];

/// Parts of an operation that stay when they are switched off: permissions, because that says
/// something too, and parts that have no classic form.
const KEPT: [&str; 7] = [
    "validateRequest",
    "allow",
    "block",
    "ignoreAuthentication",
    "mockResponse",
    "scopeCheck",
    "exchange",
];

pub fn extension_type() -> Type {
    types().named("oas.XTykAPIGateway")
}

/// A document as it is written to disk: the extension is already read into its types.
pub fn stored(document: &Value) -> Value {
    let mut out = settle::openapi(&loose(document));
    let extension = document.get(EXTENSION).unwrap_or(&Value::Null);
    set(
        &mut out,
        &format!("/{EXTENSION}"),
        read_extension(extension),
    );
    out
}

/// The extension in its types; where one member does not fit, nothing of it is read.
pub fn read_extension(extension: &Value) -> Value {
    match types().decode(&extension_type(), extension) {
        Ok(read @ Value::Object(_)) => read,
        _ => Value::Object(Map::new()),
    }
}

/// What `GET` shows: the document, with the parts that the definition knows better.
pub fn fill(document: &Value, definition: &Value) -> Value {
    let mut out = document.clone();
    let mut extension = document
        .get(EXTENSION)
        .cloned()
        .unwrap_or_else(|| json!({}));
    identity(&mut extension, definition);
    settle::extension(&mut extension, document, definition);
    prune(&extension_type(), &mut extension);
    set(&mut out, &format!("/{EXTENSION}"), extension);
    settle::security(&mut out, definition);
    settle::path_parameters(&mut out);
    if let Some(map) = out.as_object_mut() {
        map.entry("components").or_insert_with(|| json!({}));
    }
    out
}

/// The text of a filled document; the members of the extension stand in their own order.
pub fn encode(document: &Value) -> String {
    let mut out = String::from("{");
    for (position, (key, value)) in document.as_object().into_iter().flatten().enumerate() {
        if position > 0 {
            out.push(',');
        }
        write_text(key, &mut out);
        out.push(':');
        if key == EXTENSION {
            let mut value = value.clone();
            shuffle_handlers(&mut value);
            out.push_str(&types().encode(&extension_type(), &value));
        } else {
            write_value(value, &mut out);
        }
    }
    out.push('}');
    out
}

/// Whether a load takes the document.
pub fn is_loadable(document: &Value) -> bool {
    document.get(EXTENSION).is_some_and(Value::is_object) && validate::is_sound(document)
}

/// The operations of a path item.
pub fn operations(item: &Value) -> impl Iterator<Item = (&String, &Value)> {
    item.as_object()
        .into_iter()
        .flatten()
        .filter(|(method, _)| METHODS.contains(&method.as_str()))
}

/// The parameter itself, or the one that it refers to within the document.
pub fn dereference<'document>(
    document: &'document Value,
    parameter: &'document Value,
) -> &'document Value {
    parameter
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|target| target.strip_prefix('#'))
        .and_then(|pointer| document.pointer(pointer))
        .unwrap_or(parameter)
}

/// Takes out what is switched off: an optional part of which every member is zero.
pub fn prune(ty: &Type, value: &mut Value) {
    match (ty, value) {
        (Type::Pointer(inner), value) => prune(inner, value),
        (Type::List(inner), Value::Array(items)) => {
            for item in items {
                prune(inner, item);
            }
        }
        (Type::Map(inner), Value::Object(map)) => {
            map.values_mut().for_each(|item| prune(inner, item));
        }
        (Type::Struct(index), Value::Object(map)) => {
            let name = types().name(*index);
            if UNTOUCHED.contains(&name) {
                return;
            }
            for field in types().fields(ty).map_or(&[][..], |shape| &shape.fields) {
                let Some(item) = map.get_mut(&field.name) else {
                    continue;
                };
                prune(&field.ty, item);
                let optional = matches!(field.ty, Type::Pointer(_));
                let kept = (name == "oas.Operation" && KEPT.contains(&field.name.as_str()))
                    || field.name == "protectedResourceMetadata";
                if optional && !kept && is_hollow(&field.ty, item) {
                    map.remove(&field.name);
                }
            }
        }
        _ => {}
    }
}

/// Whether nothing is in a value, however deep one looks.
pub fn is_hollow(ty: &Type, value: &Value) -> bool {
    match (ty, value) {
        // A switch that may be absent says something by being there.
        (Type::Pointer(inner), value) => !matches!(**inner, Type::Bool) && is_hollow(inner, value),
        (_, Value::Array(items)) => items.is_empty(),
        (Type::Struct(_), Value::Object(map)) => types().fields(ty).is_none_or(|shape| {
            map.iter().all(|(key, item)| {
                shape
                    .field(key)
                    .is_none_or(|field| is_hollow(&field.ty, item))
            })
        }),
        (_, Value::Object(map)) => map.is_empty(),
        _ => types().is_zero(ty, value),
    }
}

/// What the definition says of itself, also after a collision or a change of versions.
fn identity(extension: &mut Value, definition: &Value) {
    let texts = [
        ("/info/id", "/api_id"),
        ("/info/dbId", "/id"),
        ("/info/orgId", "/org_id"),
        ("/info/name", "/name"),
        ("/info/expiration", "/expiration"),
        ("/server/listenPath/value", "/proxy/listen_path"),
        ("/upstream/url", "/proxy/target_url"),
    ];
    for (pointer, from) in texts {
        set(extension, pointer, text(definition, from).into());
    }
    for (pointer, from) in [
        ("/info/state/active", "/active"),
        ("/info/state/internal", "/internal"),
    ] {
        set(extension, pointer, flag(definition, from).into());
    }
    versioning(
        extension,
        definition.get("definition").unwrap_or(&Value::Null),
    );
}

fn versioning(extension: &mut Value, from: &Value) {
    let versions: Vec<Value> = from
        .get("versions")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(name, id)| json!({"name": name, "id": id}))
        .collect();
    set(
        extension,
        "/info/versioning",
        json!({
            "enabled": flag(from, "/enabled"),
            "name": text(from, "/name"),
            "default": text(from, "/default"),
            "location": text(from, "/location"),
            "key": text(from, "/key"),
            "versions": versions,
            "stripVersioningData": flag(from, "/strip_versioning_data"),
            "urlVersioningPattern": text(from, "/url_versioning_pattern"),
            "fallbackToDefault": flag(from, "/fallback_to_default"),
        }),
    );
}

/// Event handlers come in another order at each read.
fn shuffle_handlers(extension: &mut Value) {
    if let Some(handlers) = extension
        .pointer_mut("/server/eventHandlers")
        .and_then(Value::as_array_mut)
    {
        super::apis::shuffle(handlers);
    }
}
