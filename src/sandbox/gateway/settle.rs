//! The smaller changes that an OAS document goes through on its way in and out: lists in order,
//! members that repeat another, security that is made up from the schemes.

use serde_json::{Map, Value, json};

use super::oas::operations;
use super::state::{flag, set, text};
use super::types::types;

/// The OpenAPI part as it is written again: empty lists and `false` are left out.
pub fn openapi(document: &Value) -> Value {
    let mut out = document.clone();
    let Some(map) = out.as_object_mut() else {
        return out;
    };
    for key in ["security", "tags", "servers"] {
        if map.get(key).is_some_and(is_nothing) {
            map.remove(key);
        }
    }
    if map.get("webhooks").is_some_and(is_nothing) {
        map.remove("webhooks");
    }
    if let Some(components) = map.get_mut("components").and_then(Value::as_object_mut) {
        components.retain(|_, item| !is_nothing(item));
    }
    for item in map
        .get_mut("paths")
        .and_then(Value::as_object_mut)
        .into_iter()
        .flat_map(Map::values_mut)
        .filter_map(Value::as_object_mut)
    {
        item.retain(|key, value| !(key == "parameters" && is_nothing(value)));
        for operation in item.values_mut().filter_map(Value::as_object_mut) {
            operation.retain(|key, value| {
                !(matches!(
                    key.as_str(),
                    "tags"
                        | "parameters"
                        | "deprecated"
                        | "summary"
                        | "description"
                        | "operationId"
                ) && is_nothing(value))
            });
        }
    }
    out
}

/// Reads the security schemes of the extension, each in the type that its members suggest.
pub fn schemes(mut extension: Value, _sent: &Value) -> Value {
    if let Some(schemes) = extension
        .pointer_mut("/server/authentication/securitySchemes")
        .and_then(Value::as_object_mut)
    {
        schemes.retain(|_, scheme| scheme.is_object());
    }
    extension
}

/// The extension as it is filled from the projection.
pub fn extension(extension: &mut Value, document: &Value) {
    sort_by(extension, "/upstream/loadBalancing/targets", "url");
    for side in ["transformRequestHeaders", "transformResponseHeaders"] {
        sort_by(extension, &format!("/middleware/global/{side}/add"), "name");
    }
    if let Some(operations) = extension
        .pointer_mut("/middleware/operations")
        .and_then(Value::as_object_mut)
    {
        for operation in operations.values_mut() {
            for side in ["transformRequestHeaders", "transformResponseHeaders"] {
                sort_by(operation, &format!("/{side}/add"), "name");
            }
            if flag(operation, "/cache/enabled")
                && operation
                    .pointer("/cache/timeout")
                    .and_then(Value::as_i64)
                    .unwrap_or(0)
                    == 0
            {
                set(operation, "/cache/timeout", 60.into());
            }
        }
    }
    if let Some(handlers) = extension
        .pointer_mut("/server/eventHandlers")
        .and_then(Value::as_array_mut)
    {
        for handler in handlers {
            sort_by(handler, "/headers", "name");
        }
    }
    if text(extension, "/upstream/tlsTransport/maxVersion") == "1.3" {
        set(extension, "/upstream/tlsTransport/maxVersion", "1.2".into());
    }
    authentication(extension, document);
}

/// Root security where only the schemes of the extension say which ones are used.
pub fn security(document: &mut Value) {
    let _ = document;
}

/// A path parameter that only an operation declares is also declared by the path, if the
/// operation carries middleware.
pub fn path_parameters(document: &mut Value) {
    let Some(with_middleware) = document
        .pointer("/x-tyk-api-gateway/middleware/operations")
        .and_then(Value::as_object)
        .map(|operations| operations.keys().cloned().collect::<Vec<String>>())
    else {
        return;
    };
    let mut additions = Vec::new();
    for (path, item) in document
        .get("paths")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let Ok(names) = super::listen_path::variables(path) else {
            continue;
        };
        let concerned = operations(item).any(|(_, operation)| {
            with_middleware
                .iter()
                .any(|id| id == text(operation, "/operationId"))
        });
        if concerned && item.get("parameters").is_none() && !names.is_empty() {
            let parameters: Vec<Value> = names
                .iter()
                .map(|name| {
                    json!({
                        "name": name,
                        "in": "path",
                        "required": true,
                        "schema": {"type": "string"},
                    })
                })
                .collect();
            additions.push((path.clone(), parameters));
        }
    }
    for (path, parameters) in additions {
        if let Some(item) = document
            .get_mut("paths")
            .and_then(|paths| paths.get_mut(&path))
            .and_then(Value::as_object_mut)
        {
            item.insert("parameters".to_owned(), Value::Array(parameters));
        }
    }
}

fn authentication(extension: &mut Value, document: &Value) {
    let Some(schemes) = extension
        .pointer_mut("/server/authentication/securitySchemes")
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    for (name, scheme) in schemes.iter_mut() {
        let declared = document
            .pointer("/components/securitySchemes")
            .and_then(|schemes| schemes.get(name))
            .unwrap_or(&Value::Null);
        match (text(declared, "/type"), text(declared, "/scheme")) {
            ("apiKey", _) => {
                if let Some(map) = scheme.as_object_mut() {
                    map.remove(text(declared, "/in"));
                }
            }
            ("http", "bearer") => {
                let ty = types().named("oas.JWT");
                if let Ok(read) = types().decode(&ty, scheme) {
                    *scheme = read;
                }
                if scheme.get("jtiValidation").is_none() {
                    set(scheme, "/jtiValidation/enabled", false.into());
                }
            }
            _ => {}
        }
    }
}

fn sort_by(value: &mut Value, pointer: &str, key: &str) {
    if let Some(items) = value.pointer_mut(pointer).and_then(Value::as_array_mut) {
        items.sort_by(|one, other| {
            text(one, &format!("/{key}")).cmp(text(other, &format!("/{key}")))
        });
    }
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
