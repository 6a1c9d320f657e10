//! The classic projection of an OAS document: what `GET /tyk/apis` shows of it, and what the
//! loader works with. It reads the document and changes nothing in it.

mod authentication;
mod operations;
#[rustfmt::skip]
mod table;

use serde_json::{Map, Value, json};

use super::duration;
use super::oas::read_extension;
use super::state::{flag, set, text};
use super::types::{Type, types};
pub use authentication::scheme_of;
pub use operations::{has_endpoint_part, rule_order};
use table::{Carry, DISCOVERY, ROWS, Row};

/// The sparse classic definition of a document.
pub fn project(document: &Value, extension: &Value) -> Value {
    let extension = read_extension(extension);
    let mut out = constants();
    carry(&extension, "", &mut out, "", ROWS);
    upstream(&extension, &mut out);
    global(&extension, &mut out);
    handlers(&extension, &mut out);
    authentication::project(document, &extension, &mut out);
    operations::project(document, &extension, &mut out);
    let ty = types().named("APIDefinition");
    types().decode(&ty, &out).unwrap_or(out)
}

/// Carries the rows of a table from one place to another.
fn carry(from: &Value, from_path: &str, to: &mut Value, to_path: &str, rows: &[Row]) {
    for (source, target, how) in rows {
        let value = from.pointer(&format!("{from_path}{source}"));
        let value = match how {
            Carry::Same => value.cloned(),
            Carry::Not => Some(json!(!value.and_then(Value::as_bool).unwrap_or(false))),
            Carry::Seconds => value
                .and_then(Value::as_str)
                .map(|length| json!(duration::seconds(length))),
            Carry::Tls => value.and_then(Value::as_str).map(|name| json!(tls(name))),
        };
        if let Some(value) = value {
            set(to, &format!("{to_path}{target}"), value);
        }
    }
}

/// What is the same in every projection.
fn constants() -> Value {
    json!({
        "auth_configs": {},
        "scopes": {"jwt": {}, "oidc": {}},
        "event_handlers": {"events": {}},
        "version_data": {
            "not_versioned": true,
            "versions": {"": {
                "use_extended_paths": true,
                "global_headers": {},
                "global_response_headers": {},
                "extended_paths": {},
            }},
        },
    })
}

fn upstream(extension: &Value, out: &mut Value) {
    for (from, to) in [
        ("/upstream/serviceDiscovery", "/proxy/service_discovery"),
        (
            "/upstream/uptimeTests/serviceDiscovery",
            "/uptime_tests/config/service_discovery",
        ),
    ] {
        carry(extension, from, out, to, DISCOVERY);
        let old = extension
            .pointer(&format!("{from}/cacheTimeout"))
            .and_then(Value::as_i64)
            .filter(|timeout| *timeout > 0);
        let cached = if let Some(cache) = extension.pointer(&format!("{from}/cache")) {
            let timeout = cache.get("timeout").cloned().unwrap_or_else(|| json!(0));
            set(out, &format!("{to}/cache_timeout"), timeout);
            flag(cache, "/enabled")
        } else {
            if let Some(timeout) = old {
                set(out, &format!("{to}/cache_timeout"), json!(timeout));
            }
            old.is_some()
        };
        set(out, &format!("{to}/cache_disabled"), json!(!cached));
    }
    if let Some(tests) = list(extension, "/upstream/uptimeTests/tests") {
        let tests: Vec<Value> = tests
            .map(|test| {
                let length = duration::nanoseconds(text(test, "/timeout")).unwrap_or(0);
                json!({
                    "url": text(test, "/url"),
                    "timeout": length,
                    "method": text(test, "/method"),
                    "headers": test.get("headers"),
                    "body": text(test, "/body"),
                    "commands": test.get("commands"),
                    "enable_proxy_protocol": flag(test, "/enableProxyProtocol"),
                    "protocol": "",
                })
            })
            .collect();
        set(out, "/uptime_tests/check_list", tests.into());
    }
    if let Some(pairs) = list(extension, "/upstream/mutualTLS/domainToCertificateMapping") {
        let pairs =
            pairs.map(|pair| (text(pair, "/domain"), text(pair, "/certificate").to_owned()));
        set(out, "/upstream_certificates", map_of(pairs));
    }
    if let Some(pairs) = list(
        extension,
        "/upstream/certificatePinning/domainToPublicKeysMapping",
    ) {
        let pairs = pairs.map(|pair| {
            let keys: Vec<&str> = list(pair, "/publicKeys")
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            (text(pair, "/domain"), keys.join(","))
        });
        set(out, "/pinned_public_keys", map_of(pairs));
    }
    if let Some(targets) = list(extension, "/upstream/loadBalancing/targets") {
        let addresses: Vec<Value> = targets
            .flat_map(|target| {
                let weight = target.get("weight").and_then(Value::as_u64).unwrap_or(0);
                let weight = usize::try_from(weight).unwrap_or(0);
                std::iter::repeat_n(Value::from(text(target, "/url")), weight)
            })
            .collect();
        let switches = [
            (
                "/upstream/loadBalancing/enabled",
                "/proxy/enable_load_balancing",
            ),
            (
                "/upstream/loadBalancing/skipUnavailableHosts",
                "/proxy/check_host_against_uptime_tests",
            ),
        ];
        for (from, to) in switches {
            set(out, to, flag(extension, from).into());
        }
        set(out, "/proxy/target_list", addresses.into());
    }
}

fn global(extension: &Value, out: &mut Value) {
    for (from, to) in [
        ("transformRequestHeaders", "global_headers"),
        ("transformResponseHeaders", "global_response_headers"),
    ] {
        if let Some(headers) = list(extension, &format!("/middleware/global/{from}/add")) {
            set(
                out,
                &format!("/version_data/versions//{to}"),
                headers_of(headers),
            );
        }
    }
    for (from, old, to) in [
        ("prePlugins", "prePlugin", "pre"),
        (
            "postAuthenticationPlugins",
            "postAuthenticationPlugin",
            "post_key_auth",
        ),
        ("postPlugins", "postPlugin", "post"),
        ("responsePlugins", "responsePlugin", "response"),
    ] {
        let found = list(extension, &format!("/middleware/global/{from}"))
            .or_else(|| list(extension, &format!("/middleware/global/{old}/plugins")));
        if let Some(plugins) = found {
            let plugins: Vec<Value> = plugins.map(plugin).collect();
            set(out, &format!("/custom_middleware/{to}"), plugins.into());
        }
    }
    if let Some(plugin) =
        list(extension, "/middleware/global/trafficLogs/plugins").and_then(|mut it| it.next())
    {
        set(
            out,
            "/analytics_plugin",
            json!({
                "enable": flag(plugin, "/enabled"),
                "func_name": text(plugin, "/functionName"),
                "plugin_path": text(plugin, "/path"),
            }),
        );
    }
    if let Some(errors) = extension.pointer("/errorOverrides/value") {
        set(out, "/error_overrides", error_overrides(errors));
    }
}

fn plugin(plugin: &Value) -> Value {
    json!({
        "disabled": !flag(plugin, "/enabled"),
        "name": text(plugin, "/functionName"),
        "path": text(plugin, "/path"),
        "raw_body_only": flag(plugin, "/rawBodyOnly"),
        "require_session": flag(plugin, "/requireSession"),
    })
}

/// Members in camel case become members in snake case, at every depth below the status codes.
fn error_overrides(errors: &Value) -> Value {
    let codes = errors.as_object().into_iter().flatten();
    codes
        .map(|(code, rules)| (code.clone(), snake(rules)))
        .collect::<Map<String, Value>>()
        .into()
}

fn snake(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(snake).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(key, item)| {
                let verbatim = key == "headers";
                let mut name = String::new();
                for character in key.chars() {
                    if character.is_ascii_uppercase() {
                        name.push('_');
                    }
                    name.push(character.to_ascii_lowercase());
                }
                (name, if verbatim { item.clone() } else { snake(item) })
            })
            .collect(),
        other => other.clone(),
    }
}

fn handlers(extension: &Value, out: &mut Value) {
    let mut events: Map<String, Value> = Map::new();
    for handler in list(extension, "/server/eventHandlers")
        .into_iter()
        .flatten()
    {
        let disabled = !flag(handler, "/enabled");
        let (name, meta) = match text(handler, "/type") {
            "webhook" => (
                "eh_web_hook_handler",
                json!({
                    "disabled": disabled,
                    "id": text(handler, "/id"),
                    "name": text(handler, "/name"),
                    "method": text(handler, "/method"),
                    "target_path": text(handler, "/url"),
                    "template_path": text(handler, "/bodyTemplate"),
                    "event_timeout": duration::seconds(text(handler, "/cooldownPeriod")),
                    "header_map": headers_of(list(handler, "/headers").into_iter().flatten()),
                }),
            ),
            "custom" => (
                "eh_dynamic_handler",
                json!({
                    "disabled": disabled,
                    "id": text(handler, "/id"),
                    "name": text(handler, "/functionName"),
                    "path": text(handler, "/path"),
                }),
            ),
            "log" => (
                "eh_log_handler",
                json!({"disabled": disabled, "prefix": text(handler, "/logPrefix")}),
            ),
            _ => continue,
        };
        let entry = events
            .entry(text(handler, "/trigger"))
            .or_insert_with(|| json!([]));
        if let Some(entries) = entry.as_array_mut() {
            entries.push(json!({"handler_name": name, "handler_meta": meta}));
        }
    }
    set(out, "/event_handlers/events", events.into());
    let versions = list(extension, "/info/versioning/versions")
        .map(|versions| map_of(versions.map(|it| (text(it, "/name"), text(it, "/id").to_owned()))))
        .filter(|versions| versions.as_object().is_some_and(|map| !map.is_empty()));
    if let Some(versions) = versions {
        set(out, "/definition/versions", versions);
    }
}

fn headers_of<'value>(headers: impl Iterator<Item = &'value Value>) -> Value {
    map_of(headers.map(|header| (text(header, "/name"), text(header, "/value").to_owned())))
}

fn map_of<'value>(pairs: impl Iterator<Item = (&'value str, String)>) -> Value {
    pairs
        .map(|(key, value)| (key.to_owned(), Value::from(value)))
        .collect::<Map<String, Value>>()
        .into()
}

fn list<'value>(
    value: &'value Value,
    pointer: &str,
) -> Option<impl Iterator<Item = &'value Value> + use<'value>> {
    Some(value.pointer(pointer)?.as_array()?.iter())
}

fn tls(name: &str) -> u64 {
    match name {
        "1.0" => 769,
        "1.1" => 770,
        "1.2" => 771,
        "1.3" => 772,
        _ => 0,
    }
}

/// A value in a type of its own, written in full.
pub fn in_full(ty: &Type, value: &Value) -> Value {
    serde_json::from_str(&types().encode(ty, value)).unwrap_or_else(|_| value.clone())
}
