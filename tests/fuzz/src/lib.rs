//! What the fuzz targets share: bytes as a file, and bytes as a part of a good document.

use lockstep::{
    domain::{plan::prepare, secrets::Masker},
    manifest::{Options, SourceFile, check},
};
use serde_json::{Value, json};

/// Reads bytes as a run reads a file, to the end of what a plan would need. Nothing may panic.
pub fn read(path: &str, bytes: &[u8]) {
    let file = SourceFile {
        path: path.to_owned(),
        bytes: bytes.to_vec(),
    };
    let options = Options {
        org: Some("default".to_owned()),
        strict: bytes.len() % 2 == 0,
        ..Options::default()
    };
    let checked = check(&[file], &options);
    for problem in checked.problems.iter().chain(&checked.manifests.warnings) {
        assert!(!problem.to_string().is_empty());
        assert_eq!(problem.file, path);
    }
    prepare(checked.manifests.desired, &Masker::new(&[7; 32]));
}

/// Puts bytes into a good document: the first two say where, the others what, as JSON or as text.
pub fn read_with_a_part(mut document: Value, bytes: &[u8]) {
    let [high, low, what @ ..] = bytes else {
        return;
    };
    let what = serde_json::from_slice(what)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(what).into_owned()));
    let mut places = Vec::new();
    collect(&document, &mut String::new(), &mut places);
    let place = usize::from(*high) << 8 | usize::from(*low);
    let place = &places[place % places.len()];
    if let Some(value) = document.pointer_mut(place) {
        *value = what;
    }
    read("a.json", document.to_string().as_bytes());
}

fn collect(value: &Value, pointer: &mut String, places: &mut Vec<String>) {
    places.push(pointer.clone());
    let mut below = |name: &str, value: &Value| {
        let length = pointer.len();
        lockstep::domain::diff::push_token(pointer, name);
        collect(value, pointer, places);
        pointer.truncate(length);
    };
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| below(name, value)),
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                below(&index.to_string(), value);
            }
        }
        _ => {}
    }
}

pub fn oas() -> Value {
    json!({
        "openapi": "3.0.3",
        "info": {"title": "Orders", "version": "1"},
        "servers": [{"url": "https://a.test"}],
        "security": [{"key": []}],
        "components": {"securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "Authorization"}}},
        "paths": {"/orders/{id}": {
            "parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}],
            "get": {"operationId": "get", "responses": {"200": {"description": "ok"}}}
        }},
        "x-tyk-api-gateway": {
            "info": {
                "id": "orders", "orgId": "default", "dbId": "", "name": "Orders", "state": {"active": true},
                "versioning": {"location": "header", "key": "v", "versions": [{"name": "v2", "id": "o2"}]}
            },
            "upstream": {
                "url": "http://orders.internal",
                "loadBalancing": {"enabled": true, "targets": [{"url": "http://a", "weight": 1}]},
                "rateLimit": {"enabled": true, "rate": 1, "per": "1m"},
                "mutualTLS": {"enabled": true, "domainToCertificateMapping": [{"domain": "*", "certificate": "certificate:a"}]}
            },
            "server": {
                "listenPath": {"value": "/orders/", "strip": true},
                "authentication": {"enabled": true, "securitySchemes": {"key": {"enabled": true, "source": "x"}}},
                "customDomain": {"enabled": true, "name": "a.test", "certificates": ["certificate:a"]},
                "eventHandlers": [{"enabled": true, "type": "custom", "trigger": "HostDown"}],
                "ipAccessControl": {"enabled": true, "allow": ["10.0.0.0/8"]}
            },
            "middleware": {
                "global": {"cors": {"enabled": true}, "prePlugins": [{"enabled": true, "functionName": "f"}]},
                "operations": {"get": {
                    "urlRewrite": {"enabled": true, "pattern": ".*", "rewriteTo": "/x", "triggers": []},
                    "enforceTimeout": {"enabled": true, "duration": "1s"}
                }}
            }
        }
    })
}

pub fn classic() -> Value {
    json!({
        "api_id": "orders", "id": "", "org_id": "default", "name": "Orders", "slug": "orders",
        "protocol": "http", "listen_port": 0, "domain": "a.test", "active": true, "use_keyless": false,
        "use_standard_auth": true, "auth_configs": {"authToken": {"auth_header_name": "Authorization"}},
        "certificates": ["certificate:a"], "pinned_public_keys": {"*": "certificate:a,b"},
        "allowed_ips": ["10.0.0.1"], "enable_ip_whitelisting": true,
        "definition": {"location": "header", "key": "v", "versions": {"v2": "o2"}},
        "version_data": {"not_versioned": true, "versions": {"Default": {
            "name": "Default", "global_enforce_timeout": "1s", "extended_paths": {
                "white_list": [{"path": "/a/{id}", "method": "GET"}],
                "hard_timeouts": [{"path": "/a", "timeout": 1, "duration": "1s"}],
                "url_rewrites": [{"path": "/a", "match_pattern": "(.*)", "rewrite_to": "/b"}]
            }
        }}},
        "proxy": {
            "listen_path": "/orders/", "target_url": "http://orders.internal", "enable_load_balancing": true,
            "target_list": ["http://a"], "service_discovery": {}, "transport": {"ssl_min_version": 771}
        },
        "upstream_auth": {"enabled": true, "oauth": {"enabled": true, "allowed_authorize_types": ["password"]}},
        "graphql": {"enabled": false, "engine": {"data_sources": [{"name": "a"}]}},
        "config_data": {"a": [1, 2.5, null]}, "CORS": {"enable": true, "max_age": 1}
    })
}

pub fn policy() -> Value {
    json!({
        "_id": "", "id": "gold", "org_id": "default", "name": "Gold", "rate": 5, "per": 60.5, "quota_max": -1,
        "access_rights": {"orders": {"api_id": "orders", "api_name": "Orders", "versions": ["Default"],
            "allowed_urls": [{"url": "/a/(\\d+)", "methods": ["GET"]}], "limit": {"rate": 1}}},
        "partitions": {"acl": true, "quota": false, "per_api": false}, "tags": ["a"], "meta_data": {"a": 1}
    })
}

pub fn operator() -> Vec<Value> {
    let resource = |kind: &str, spec: Value| {
        json!({
            "apiVersion": "tyk.tyk.io/v1alpha1", "kind": kind,
            "metadata": {"name": "orders", "namespace": "default", "labels": {"template": "false"}},
            "spec": spec
        })
    };
    let mut definition = classic();
    if let Some(members) = definition.as_object_mut() {
        members.insert("contextRef".to_owned(), json!({"name": "c", "namespace": "n"}));
    }
    vec![
        resource("ApiDefinition", definition),
        resource(
            "SecurityPolicy",
            json!({
                "name": "Gold", "state": "active", "active": true, "rate": 5, "per": 60,
                "access_rights_array": [{"name": "orders", "namespace": "default", "versions": ["Default"]}]
            }),
        ),
        resource(
            "TykOasApiDefinition",
            json!({"tykOAS": {"configmapRef": {"name": "oas", "namespace": "default", "keyName": "oas.json"}}}),
        ),
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "oas", "namespace": "default"},
            "data": {"oas.json": oas().to_string()}
        }),
        resource("OperatorContext", json!({"env": {"mode": "ce", "url": "http://a", "auth": "x", "org": "default"}})),
    ]
}
