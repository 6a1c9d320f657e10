//! Which handler a request goes to: the secret first, then the path, then the method.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::http::request::Parts;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::log::{Kind, Object};
use super::reply::Reply;
use super::serve::Shared;
use super::{apis, certs, policies, schema};

/// A request to the control API, taken apart.
#[derive(Debug)]
pub struct Call<'request> {
    pub method: &'request str,
    pub query: Vec<(String, String)>,
    pub body: Bytes,
    /// Lists are to be answered as if there were nothing.
    pub empty_lists: bool,
}

impl Call<'_> {
    pub fn parameter(&self, name: &str) -> &str {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value)
    }
}

pub async fn handle(shared: &Arc<Shared>, parts: &Parts, body: Bytes, empty_lists: bool) -> Reply {
    let path = parts.uri.path();
    let call = Call {
        method: parts.method.as_str(),
        query: serde_urlencoded::from_str(parts.uri.query().unwrap_or_default())
            .unwrap_or_default(),
        body,
        empty_lists,
    };
    if path.contains("//") {
        return Reply::redirect(&super::listen_path::clean(path));
    }
    let Some(rest) = path.strip_prefix("/tyk/") else {
        return outside(shared, parts, &call);
    };
    if !is_allowed(shared, parts) {
        return forbidden();
    }
    if rest.is_empty() {
        return Reply::redirect("/");
    }
    let decoded = percent_decode(without_slash(rest));
    let segments: Vec<&str> = decoded.split('/').collect();
    control(shared, &call, &segments).await
}

pub fn forbidden() -> Reply {
    Reply::error(
        403,
        "Attempted administrative access with invalid or missing key!",
    )
}

pub fn without_slash(path: &str) -> &str {
    match path.strip_suffix('/') {
        Some(shorter) if !shorter.is_empty() && shorter != "/tyk" => shorter,
        _ => path,
    }
}

/// The object that a request is about, for the log.
pub fn object(method: &str, path: &str, body: &[u8]) -> Option<Object> {
    let decoded = percent_decode(path.strip_prefix("/tyk/")?);
    let segments: Vec<&str> = decoded.split('/').collect();
    let (kind, id) = match segments.as_slice() {
        ["apis", "oas", id] => (Kind::Oas, Some(*id)),
        ["apis", "oas"] => (Kind::Oas, None),
        ["apis", id] => (Kind::Classic, Some(*id).filter(|_| method != "POST")),
        ["apis"] => (Kind::Classic, None),
        ["mcps", id] => (Kind::Mcp, Some(*id)),
        ["mcps"] => (Kind::Mcp, None),
        ["policies", id] => (Kind::Policy, Some(*id).filter(|_| method != "POST")),
        ["policies"] => (Kind::Policy, None),
        ["certs", id] => (Kind::Certificate, Some(*id)),
        _ => return None,
    };
    let id = match id {
        Some(id) => id.to_owned(),
        None if method == "POST" => {
            let body: Value = serde_json::from_slice(body).ok()?;
            let pointer = match kind {
                Kind::Oas | Kind::Mcp => "/x-tyk-api-gateway/info/id",
                Kind::Policy => "/id",
                Kind::Classic | Kind::Certificate => "/api_id",
            };
            body.pointer(pointer)?.as_str()?.to_owned()
        }
        None => return None,
    };
    Some(Object { kind, id })
}

async fn control(shared: &Arc<Shared>, call: &Call<'_>, segments: &[&str]) -> Reply {
    let method = call.method;
    match (segments, method) {
        (["apis"], "GET") => apis::list(shared, call),
        (["apis", "oas"], "GET") => apis::list_oas(shared, call, false),
        (["apis", "oas", "export"], "GET") => apis::export_all(shared),
        (["apis", "oas"], "POST") => apis::create_oas(shared, call, false),
        (["apis", "oas", "import"], "POST") => apis::import(shared, call),
        (["apis"] | ["apis", _], "POST") => apis::create(shared, call),
        (["apis", "oas", id, "versions"] | ["apis", id, "versions"], "GET") => {
            apis::versions(shared, call, id)
        }
        (["apis", "oas", id, "export"], "GET") => apis::export(shared, id),
        (["apis", "oas", id], "GET") => apis::read_oas(shared, id),
        (["apis", "oas", id], "PUT") => apis::update_oas(shared, call, id, false),
        (["apis", "oas", id], "PATCH") => apis::patch(shared, call, id),
        (["apis", id] | ["apis", "oas", id], "DELETE") => apis::delete(shared, id, false),
        (["apis", id], "GET") => apis::read(shared, id),
        (["apis", id], "PUT") => apis::update(shared, call, id),
        (["mcps"], "GET") => apis::list_oas(shared, call, true),
        (["mcps"], "POST") => apis::create_oas(shared, call, true),
        (["mcps", id], "GET") => apis::read_mcp(shared, id),
        (["mcps", id], "PUT") => apis::update_oas(shared, call, id, true),
        (["mcps", id], "DELETE") => apis::delete(shared, id, true),
        (["policies"], "GET") => policies::list(shared, call),
        (["policies", id], "GET") => policies::read(shared, id),
        (["policies"] | ["policies", _], "POST") => policies::create(shared, call),
        (["policies"], "PUT") => Reply::error(400, "Must specify an apiID to update"),
        (["policies"], "DELETE") => Reply::error(400, "Must specify an apiID to delete"),
        (["policies", id], "PUT") => policies::update(shared, call, id),
        (["policies", id], "DELETE") => policies::delete(shared, id),
        (["reload"], "GET") => reload(shared, call.parameter("block") == "true").await,
        (["reload", "group"], "GET") => reload(shared, false).await,
        (["schema"], "GET") => match &shared.options.schema {
            Some(schema) => schema::reply(schema),
            None => schema::read(call.parameter("oasVersion")),
        },
        (["certs"], "GET") => certs::list(shared, call),
        (["certs"], "POST") => certs::add(shared, call),
        (["certs", ids], "GET") => certs::read(shared, ids),
        (["certs", id], "DELETE") => certs::remove(shared, call, id),
        (["cache", _], "DELETE") => Reply::message(200, "ok", "cache invalidated"),
        (["keys"], "GET") => Reply::json(200, "{\"keys\":[]}"),
        (["keys", _], "GET" | "DELETE") => Reply::error(404, "Key not found"),
        _ if is_known(segments) => Reply::error(405, "Method not supported"),
        _ => Reply::text(404, "404 page not found\n"),
    }
}

fn is_known(segments: &[&str]) -> bool {
    matches!(
        segments,
        ["apis" | "mcps" | "policies" | "reload" | "schema" | "certs" | "keys"]
            | ["apis" | "mcps" | "policies" | "certs" | "cache" | "keys", _]
            | ["reload", "group"]
            | ["apis", "oas", _]
            | ["apis", _, "versions"]
            | ["apis", "oas", _, "versions" | "export"]
    )
}

async fn reload(shared: &Arc<Shared>, block: bool) -> Reply {
    if block {
        let (sender, done) = oneshot::channel();
        if shared.reloads.send(Some(sender)).is_ok() {
            // Without a sender the gateway is going away; the answer no longer matters.
            let _ = done.await;
        }
    } else {
        // As above.
        let _ = shared.reloads.send(None);
    }
    Reply::message(200, "ok", "")
}

fn outside(shared: &Arc<Shared>, parts: &Parts, call: &Call<'_>) -> Reply {
    let path = without_slash(parts.uri.path());
    match (path, call.method) {
        ("/hello", "GET") => hello(shared),
        ("/ready", "GET") => ready(shared),
        ("/hello" | "/ready", _) => Reply::error(405, "Method Not Allowed"),
        ("/config", "GET") if shared.options.config_inspection => {
            if is_allowed(shared, parts) {
                config(shared, call.parameter("field"))
            } else {
                forbidden()
            }
        }
        _ => Reply::text(404, "Not Found"),
    }
}

fn hello(shared: &Arc<Shared>) -> Reply {
    let down = shared.faults.redis_is_down();
    let status = if down { "fail" } else { "pass" };
    Reply::json(200, health(shared, status, "Tyk GW", down))
}

fn ready(shared: &Arc<Shared>) -> Reply {
    if shared.faults.redis_is_down() {
        return Reply::error(503, "Redis connection not available");
    }
    if !shared.state().live.loaded_once {
        return Reply::error(503, "A successful API reload did not happen");
    }
    Reply::json(200, health(shared, "pass", "Tyk GW Ready", false))
}

fn health(shared: &Arc<Shared>, status: &str, description: &str, down: bool) -> String {
    let version = &shared.options.version;
    let mut out = format!(
        "{{\"status\":\"{status}\",\"version\":\"{version}\",\"description\":\"{description}\""
    );
    if down || shared.age() >= shared.options.health_check_after {
        let output = if down {
            "\"output\":\"storage: Redis is either down or was not configured\","
        } else {
            ""
        };
        let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            ",\"details\":{{\"redis\":{{\"status\":\"{status}\",{output}\
             \"componentType\":\"datastore\",\"time\":\"{time}\"}}}}"
        );
    }
    out.push('}');
    out
}

fn config(shared: &Arc<Shared>, field: &str) -> Reply {
    let options = &shared.options;
    let whole = json!({
        "listen_address": options.listen.ip().to_string(),
        "listen_port": shared.proxy_address().map_or(0, |address| address.port()),
        "control_api_port": shared.control_address().port(),
        "secret": "*REDACTED*",
        "node_secret": "*REDACTED*",
        "app_path": "apps",
        "use_db_app_configs": false,
        "reload_interval": options.tick.as_secs().max(1),
        "suppress_redis_signal_reload": false,
        "enable_config_inspection": true,
        "hash_keys": true,
        "policies": {
            "policy_source": "file",
            "policy_path": if options.policy_path { "policies" } else { "" },
            "policy_record_name": "",
        },
    });
    if field.is_empty() {
        return Reply::value(200, &whole);
    }
    match whole.pointer(&format!("/{}", field.replace('.', "/"))) {
        Some(value) => Reply::value(200, value),
        None => Reply::error(404, "field not found"),
    }
}

fn is_allowed(shared: &Arc<Shared>, parts: &Parts) -> bool {
    parts
        .headers
        .get("x-tyk-authorization")
        .is_some_and(|value| value.as_bytes().trim_ascii() == shared.options.secret.as_bytes())
        || shared.options.secret.is_empty()
}

pub fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut position = 0;
    while position < bytes.len() {
        let escaped = (bytes[position] == b'%')
            .then(|| text.get(position + 1..position + 3))
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        if let Some(byte) = escaped {
            out.push(byte);
            position += 3;
        } else {
            out.push(bytes[position]);
            position += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
