//! What was read from a gateway, without what the gateway puts there by itself: the text that
//! somebody would have written. Nothing is left out whose absence means something else.

use serde_json::Value;

use super::{Verbatim, classic, is_verbatim, is_zero, oas, policy};
use crate::domain::{object::Kind, way::Way};

/// A body that was read, as a manifest says the same.
pub fn slim(kind: Kind, body: &Value) -> Value {
    match kind {
        Kind::Certificate => body.clone(),
        Kind::ClassicApi => {
            let mut body = body.clone();
            if let Some(members) = body.as_object_mut() {
                members.remove("is_oas");
            }
            drop_filled(&mut body, Way::Root(""), "", classic::VERBATIM);
            body
        }
        Kind::Policy => {
            let mut body = body.clone();
            drop_filled(&mut body, Way::Root(""), "", policy::VERBATIM);
            body
        }
        Kind::OasApi | Kind::McpProxy => oas::slim(body),
    }
}

/// Members whose own members are named by users: a header that is set to nothing, or a version
/// without settings, is not the same as none.
const MAPS: &[&str] = &[
    "access_rights",
    "add_headers",
    "auth_configs",
    "auth_headers",
    "client_ids",
    "error_overrides",
    "events",
    "global_headers",
    "global_response_headers",
    "graphql_access_rights",
    "header_map",
    "header_matches",
    "headers",
    "jwt_scope_to_policy_mapping",
    "method_actions",
    "path_part_matches",
    "pinned_public_keys",
    "query_val_matches",
    "request_context_matches",
    "request_headers",
    "request_headers_rewrite",
    "scope_to_policy",
    "security_requirement_scopes",
    "session_meta_matches",
    "upstream_certificates",
    "versions",
];

/// Drops the zeros that a gateway fills in for every field that was not given. `name` is that of
/// the member which `value` is, or which is the list that `value` stands in.
fn drop_filled(value: &mut Value, way: Way<'_>, name: &str, verbatim: &Verbatim) {
    match value {
        Value::Object(members) => {
            let is_map = MAPS.contains(&name);
            members.retain(|name, member| {
                let way = Way::Member(&way, name);
                let is_free = is_verbatim(way, verbatim);
                // Somebody wrote an empty list, or an empty map: the gateway fills in null. An
                // empty object anywhere else is the gateway's.
                let was_written = match member {
                    Value::Array(items) => items.is_empty(),
                    Value::Object(members) => {
                        members.is_empty() && (is_free || MAPS.contains(&name.as_str()))
                    }
                    _ => false,
                };
                if !is_free {
                    drop_filled(member, way, name, verbatim);
                }
                is_map || was_written || !is_zero(member)
            });
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                drop_filled(item, Way::Item(&way, index), name, verbatim);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn zeros_go_and_what_users_named_stays() {
        let read = json!({
            "api_id": "a", "is_oas": false, "slug": "", "domain": null, "tags": [], "tag_headers": null,
            "scopes": {"jwt": {}}, "upstream_certificates": {},
            "cache_options": {"cache_timeout": 0, "enable_cache": false},
            "auth_configs": {"authToken": {"use_param": false}},
            "config_data": {"zero": 0, "none": null},
            "version_data": {"versions": {"Default": {"name": "", "global_headers": {"X-Empty": ""},
                "global_enforce_timeout": "0s", "extended_paths": {"ignored": [{"path": "", "disabled": false}]}}}},
        });
        let slim = slim(Kind::ClassicApi, &read);
        assert_eq!(
            slim,
            json!({
                "api_id": "a", "tags": [], "upstream_certificates": {},
                "auth_configs": {"authToken": {}},
                "config_data": {"zero": 0, "none": null},
                "version_data": {"versions": {"Default": {"global_headers": {"X-Empty": ""},
                    "extended_paths": {"ignored": [{}]}}}},
            })
        );
    }

    #[test]
    fn of_the_servers_only_the_gateways_own_go() {
        let document = |servers: Value| {
            json!({
                "openapi": "3.0.3", "components": {}, "servers": servers,
                "x-tyk-api-gateway": {"server": {"listenPath": {"value": "/orders/"}}},
            })
        };
        for (servers, left) in [
            (
                json!([{"url": "http://127.0.0.1:8080/orders"}, {"url": "/orders"}]),
                None,
            ),
            (
                json!([
                    {"url": "http://gw/orders/v2"}, {"url": "http://gw/orders?v=2"}, {"url": "/orders"},
                    {"url": "https://api.example.org/orders"},
                ]),
                Some(json!([{"url": "https://api.example.org/orders"}])),
            ),
            (
                json!([{"url": "https://api.example.org/"}]),
                Some(json!([{"url": "https://api.example.org/"}])),
            ),
            (
                json!([{"url": "/orders", "description": "ours"}]),
                Some(json!([{"url": "/orders", "description": "ours"}])),
            ),
        ] {
            let slim = slim(Kind::OasApi, &document(servers));
            assert_eq!(slim.get("servers").cloned(), left);
            assert!(slim.get("components").is_none());
        }
    }
}
