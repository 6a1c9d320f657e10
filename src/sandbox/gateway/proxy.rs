//! The proxy port, as plain as can be: the longest listen path wins, keyless APIs are forwarded,
//! all others ask for a key that nobody has.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Response;
use axum::http::request::Parts;
use bytes::Bytes;
use serde_json::Value;

use super::listen_path;
use super::reply::Reply;
use super::routes::percent_decode;
use super::serve::Shared;
use super::state::{LiveApi, flag, text};

pub async fn handle(shared: &Arc<Shared>, parts: Parts, body: Bytes) -> Response<Body> {
    let path = percent_decode(parts.uri.path());
    if path.contains("//") {
        return Reply::redirect(&listen_path::clean(&path)).into_response();
    }
    match find(shared, &parts, &path) {
        Ok(target) => forward(shared, &parts, body, &target).await,
        Err(reply) => reply.into_response(),
    }
}

/// Where the request goes.
fn find(shared: &Arc<Shared>, parts: &Parts, path: &str) -> Result<String, Reply> {
    let state = shared.state();
    let apis = &state.live.apis;
    let found = apis
        .values()
        .filter(|api| api.served)
        .filter_map(|api| Some((api, listen_path::strip(api.listen_path(), path)?)))
        .min_by_key(|(api, _)| api.rank);
    let by_id = || {
        let (id, rest) = path.strip_prefix('/')?.split_once('/')?;
        let api = apis.get(id).filter(|api| api.served)?;
        Some((api, rest))
    };
    let (api, rest) = found
        .or_else(by_id)
        .ok_or_else(|| Reply::text(404, "Not Found"))?;
    let (api, rest) = version(apis, api, rest, parts)?;
    if !flag(&api.definition, "/use_keyless") {
        return Err(refusal(parts, &api.definition));
    }
    let target = text(&api.definition, "/proxy/target_url").trim_end_matches('/');
    let tail = if flag(&api.definition, "/proxy/strip_listen_path") {
        rest.trim_start_matches('/')
    } else {
        path.trim_start_matches('/')
    };
    let query = parts
        .uri
        .query()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    Ok(format!("{target}/{tail}{query}"))
}

/// The API that a request for a version is meant for.
fn version<'live, 'path>(
    apis: &'live std::collections::BTreeMap<String, LiveApi>,
    base: &'live LiveApi,
    rest: &'path str,
    parts: &Parts,
) -> Result<(&'live LiveApi, &'path str), Reply> {
    let definition = base.definition.get("definition").unwrap_or(&Value::Null);
    if !flag(definition, "/enabled") {
        return Ok((base, rest));
    }
    let key = text(definition, "/key");
    let query: Vec<(String, String)> =
        serde_urlencoded::from_str(parts.uri.query().unwrap_or_default()).unwrap_or_default();
    let (asked, after) = match text(definition, "/location") {
        "header" => (
            parts
                .headers
                .get(key)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
                .to_owned(),
            rest,
        ),
        "url-param" => (
            query
                .into_iter()
                .find(|(name, _)| name == key)
                .map(|(_, value)| value)
                .unwrap_or_default(),
            rest,
        ),
        _ => {
            let trimmed = rest.trim_start_matches('/');
            let (first, after) = trimmed.split_once('/').unwrap_or((trimmed, ""));
            (first.to_owned(), after)
        }
    };
    let own = text(definition, "/name");
    let default = match text(definition, "/default") {
        "self" => own,
        other => other,
    };
    let child = |name: &str| {
        let id = definition.get("versions")?.get(name)?.as_str()?;
        apis.get(id)
    };
    if asked.is_empty() {
        return Ok((child(default).unwrap_or(base), rest));
    }
    if asked == own {
        return Ok((base, after));
    }
    if let Some(child) = child(&asked) {
        return Ok((child, after));
    }
    if flag(definition, "/fallback_to_default") {
        return Ok((child(default).unwrap_or(base), rest));
    }
    Err(failure(404, "This API version does not seem to exist"))
}

fn refusal(parts: &Parts, definition: &Value) -> Reply {
    let header = match text(definition, "/auth_configs/authToken/auth_header_name") {
        "" => match text(definition, "/auth/auth_header_name") {
            "" => "Authorization",
            name => name,
        },
        name => name,
    };
    if parts.headers.contains_key(header) {
        failure(403, "Access to this API has been disallowed")
    } else {
        failure(401, "Authorization field missing")
    }
}

fn failure(status: u16, message: &str) -> Reply {
    Reply::bare_json(status, format!("{{\n    \"error\": \"{message}\"\n}}"))
}

async fn forward(shared: &Arc<Shared>, parts: &Parts, body: Bytes, target: &str) -> Response<Body> {
    let answered = shared
        .client
        .request(parts.method.clone(), target)
        .body(body)
        .send()
        .await;
    let problem = || failure(500, "There was a problem proxying the request").into_response();
    let Ok(answered) = answered else {
        return problem();
    };
    let status = answered.status();
    let content_type = answered.headers().get("content-type").cloned();
    let Ok(bytes) = answered.bytes().await else {
        return problem();
    };
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    if let Some(content_type) = content_type {
        response.headers_mut().insert("content-type", content_type);
    }
    response
}
