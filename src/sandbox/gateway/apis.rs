//! APIs: classic definitions, OAS documents and MCP proxies. Writes go to disk and say 200; what
//! exists is asked of the live state, also where the disk knows better.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::policies::first_value;
use super::reply::Reply;
use super::routes::{Call, percent_decode};
use super::serve::Shared;
use super::servers::Version;
use super::state::{File, LiveApi, State, classic, flag, set, text};
use super::types::{types, write_text, write_value};
use super::{oas, project, servers, validate, versions};

const NOT_FOUND: &str = "API not found";
const CLASSIC_FORMAT: &str =
    "the requested API definition is in Tyk classic format, please use old api endpoint";
const MISMATCH: &str =
    "Request APIID does not match that in Definition! For Update operations these must match.";

pub fn list(shared: &Arc<Shared>, call: &Call<'_>) -> Reply {
    let with_mcp = call
        .parameter("include_types")
        .split(',')
        .any(|kind| kind.trim() == "mcp");
    let mut apis: Vec<LiveApi> = if call.empty_lists {
        Vec::new()
    } else {
        let state = shared.state();
        let live = state.live.apis.values();
        live.filter(|api| with_mcp || !api.is_mcp())
            .cloned()
            .collect()
    };
    shuffle(&mut apis);
    Reply::list(apis.iter().map(LiveApi::text), true)
}

pub fn list_oas(shared: &Arc<Shared>, call: &Call<'_>, mcp: bool) -> Reply {
    let documents = if call.empty_lists {
        Vec::new()
    } else {
        documents(shared, mcp)
    };
    Reply::list(
        documents
            .iter()
            .map(|document| Bytes::from(oas::encode(document))),
        mcp,
    )
}

pub fn read(shared: &Arc<Shared>, id: &str) -> Reply {
    let state = shared.state();
    let Some(api) = state.live.apis.get(id) else {
        return Reply::error(404, NOT_FOUND);
    };
    let mut body = api.text().to_vec();
    body.push(b'\n');
    with_base(Reply::bare_json(200, body), api)
}

pub fn read_oas(shared: &Arc<Shared>, id: &str) -> Reply {
    match filled(shared, id) {
        Err(NoDocument::Absent) => Reply::bare_error(404, NOT_FOUND),
        Err(NoDocument::Classic) => Reply::bare_error(400, CLASSIC_FORMAT),
        Ok((document, api)) => with_base(Reply::bare_json(200, oas::encode(&document)), &api),
    }
}

pub fn read_mcp(shared: &Arc<Shared>, id: &str) -> Reply {
    match filled(shared, id) {
        Err(NoDocument::Absent) => Reply::error(404, NOT_FOUND),
        Ok((document, api)) if api.is_mcp() => {
            with_base(Reply::json(200, oas::encode(&document)), &api)
        }
        _ => Reply::error(404, "API is not an MCP Proxy"),
    }
}

pub fn create(shared: &Arc<Shared>, call: &Call<'_>) -> Reply {
    if let Err(reply) = versions::check_parameters(shared, call) {
        return reply;
    }
    let definition = match decode_classic(&call.body) {
        Ok(definition) => definition,
        Err(reply) => return reply,
    };
    let (id, definition) = match with_id(definition) {
        Ok(pair) => pair,
        Err(reply) => return reply,
    };
    let mut state = shared.state();
    write_classic(&mut state, &id, definition);
    versions::amend_base(&mut state, call, &id);
    Reply::done(&id, "added")
}

pub fn update(shared: &Arc<Shared>, call: &Call<'_>, id: &str) -> Reply {
    if !is_path_component(id) {
        return Reply::error(400, "Invalid API ID");
    }
    match shared.state().live.apis.get(id) {
        None => return Reply::error(404, NOT_FOUND),
        Some(api) if api.is_oas() => {
            return Reply::error(
                400,
                "this API endpoint only supports Tyk Classic APIs; please use the appropriate \
                 Tyk OAS API endpoint",
            );
        }
        Some(_) => {}
    }
    let Ok(definition) = decode_unchecked(&call.body) else {
        return Reply::error(400, "Request malformed");
    };
    if text(&definition, "/api_id") != id {
        return Reply::error(400, MISMATCH);
    }
    if let Err(reply) = checked(&definition) {
        return reply;
    }
    write_classic(&mut shared.state(), id, definition);
    Reply::done(id, "modified")
}

pub fn delete(shared: &Arc<Shared>, id: &str, mcp: bool) -> Reply {
    if !is_path_component(id) {
        return Reply::error(400, "Invalid API ID");
    }
    let mut state = shared.state();
    let Some(api) = state.live.apis.get(id).cloned() else {
        return Reply::error(404, NOT_FOUND);
    };
    if mcp && !api.is_mcp() {
        return Reply::error(404, "API is not an MCP Proxy");
    }
    let names: Vec<String> = match (mcp, api.is_oas()) {
        (true, _) => vec![id.to_owned(), format!("{id}-mcp")],
        (false, true) => vec![id.to_owned(), format!("{id}-oas")],
        (false, false) => vec![id.to_owned()],
    };
    if !names.iter().all(|name| state.disk.apis.contains_key(name)) {
        return Reply::error(500, "Delete failed");
    }
    for name in &names {
        state.disk.apis.remove(name);
    }
    if let Some(base) = &api.base {
        versions::forget(&mut state, base, id);
    }
    Reply::done(id, "deleted")
}

pub fn create_oas(shared: &Arc<Shared>, call: &Call<'_>, mcp: bool) -> Reply {
    let document = match validate::document(&call.body, mcp) {
        Ok(document) => document,
        Err(message) => return Reply::error(400, &message),
    };
    if let Err(reply) = versions::check_parameters(shared, call) {
        return reply;
    }
    add_document(shared, call, &document, mcp)
}

pub fn update_oas(shared: &Arc<Shared>, call: &Call<'_>, id: &str, mcp: bool) -> Reply {
    let document = match validate::document(&call.body, mcp) {
        Ok(document) => document,
        Err(message) => return Reply::error(400, &message),
    };
    replace_document(shared, id, &document, mcp)
}

/// Only the form with the whole document: the others merge from memory, which no client of ours
/// may ask for.
pub fn patch(shared: &Arc<Shared>, call: &Call<'_>, id: &str) -> Reply {
    let sent = match validate::parse(&call.body) {
        Ok(sent) => sent,
        Err(message) => return Reply::error(400, message),
    };
    match shared.state().live.apis.get(id) {
        None => return Reply::error(404, NOT_FOUND),
        Some(api) if !api.is_oas() => return Reply::error(400, validate::NOT_OAS),
        Some(_) => {}
    }
    let mut document = sent;
    if document.get(oas::EXTENSION).is_none_or(Value::is_null) {
        let live = shared
            .state()
            .live
            .apis
            .get(id)
            .and_then(|api| Some(oas::fill(api.document.as_ref()?, &api.definition)));
        let extension = live
            .and_then(|live| live.get(oas::EXTENSION).cloned())
            .unwrap_or(Value::Null);
        set(&mut document, "/x-tyk-api-gateway", extension);
    }
    if let Err(message) = validate::check(&document, false) {
        return Reply::error(400, &message);
    }
    replace_document(shared, id, &document, false)
}

pub fn import(shared: &Arc<Shared>, call: &Call<'_>) -> Reply {
    let mut document = match validate::parse(&call.body) {
        Ok(document) => document,
        Err(message) => return Reply::error(400, message),
    };
    if document.get(oas::EXTENSION).is_some_and(|it| !it.is_null()) {
        return Reply::error(
            400,
            "the import payload should not contain x-tyk-api-gateway",
        );
    }
    let upstream = match call.parameter("upstreamURL") {
        "" => text(&document, "/servers/0/url").to_owned(),
        given => given.to_owned(),
    };
    if upstream.is_empty() {
        return Reply::error(
            400,
            "The ‘servers’ object is empty in your OAS. You can either add a ‘servers’ section \
             to your OpenAPI description or provide a Custom Upstream URL in the manual \
             configuration options below.",
        );
    }
    let listen_path = match call.parameter("listenPath") {
        "" => "/",
        given => given,
    };
    let extension = json!({
        "info": {
            "name": text(&document, "/info/title"),
            "id": call.parameter("apiID"),
            "state": {"active": true},
        },
        "upstream": {"url": upstream},
        "server": {"listenPath": {"value": listen_path, "strip": true}},
        "middleware": {"global": {
            "contextVariables": {"enabled": true},
            "trafficLogs": {"enabled": true},
        }},
    });
    set(&mut document, "/x-tyk-api-gateway", extension);
    if let Err(message) = validate::check(&document, false) {
        return Reply::error(400, &message);
    }
    add_document(shared, call, &document, false)
}

pub fn export(shared: &Arc<Shared>, id: &str) -> Reply {
    match filled(shared, id) {
        Err(NoDocument::Absent) => Reply::error(404, NOT_FOUND),
        Err(NoDocument::Classic) => Reply::error(400, CLASSIC_FORMAT),
        Ok((document, _)) => {
            attachment(&oas::encode(&document), &format!("TykOasApiDef-{id}.json"))
        }
    }
}

pub fn export_all(shared: &Arc<Shared>) -> Reply {
    let documents: Vec<String> = documents(shared, false).iter().map(oas::encode).collect();
    attachment(&format!("[{}]", documents.join(",")), "TykOasApiDef.json")
}

pub fn versions(shared: &Arc<Shared>, call: &Call<'_>, id: &str) -> Reply {
    let state = shared.state();
    let apis = &state.live.apis;
    let Some(base) = apis.get(id) else {
        return Reply::error(404, NOT_FOUND);
    };
    let own_name = text(&base.definition, "/definition/name");
    let default = text(&base.definition, "/definition/default");
    let listed: BTreeMap<&str, &str> = base
        .definition
        .pointer("/definition/versions")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(name, id)| Some((name.as_str(), id.as_str()?)))
        .collect();
    let mut rows = vec![(own_name, base)];
    rows.extend(
        listed
            .iter()
            .filter_map(|(name, id)| Some((*name, apis.get(*id)?))),
    );
    let search = call.parameter("searchText").to_lowercase();
    let access = call.parameter("accessType");
    let texts: Vec<String> = rows
        .into_iter()
        .filter(|(name, api)| {
            let title = text(&api.definition, "/name").to_lowercase();
            let internal = flag(&api.definition, "/internal");
            (title.contains(&search) || name.to_lowercase().contains(&search))
                && match access {
                    "internal" => internal,
                    "external" => !internal,
                    _ => true,
                }
        })
        .map(|(name, api)| {
            let is_base = text(&api.definition, "/api_id") == id;
            let is_default = if is_base {
                matches!(default, "" | "self") || default == own_name
            } else {
                default == name
            };
            version_row(name, api, is_default)
        })
        .collect();
    let texts = if texts.is_empty() {
        "null".to_owned()
    } else {
        format!("[{}]", texts.join(","))
    };
    Reply::json(200, format!("{{\"status\":\"success\",\"apis\":{texts}}}"))
}

/// The id that a definition or document carries.
pub fn id_in(body: &Value) -> String {
    match text(body, "/x-tyk-api-gateway/info/id") {
        "" => text(body, "/api_id").to_owned(),
        id => id.to_owned(),
    }
}

/// Lists come in another order each time.
pub fn shuffle<T>(items: &mut [T]) {
    let mut seed = uuid::Uuid::new_v4().as_u64_pair().0 | 1;
    for last in (1..items.len()).rev() {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let bound = u64::try_from(last).unwrap_or(u64::MAX - 1) + 1;
        let chosen = usize::try_from(seed % bound).unwrap_or(0);
        items.swap(last, chosen);
    }
}

fn add_document(shared: &Arc<Shared>, call: &Call<'_>, document: &Value, mcp: bool) -> Reply {
    let extension = document.get(oas::EXTENSION).cloned().unwrap_or_default();
    let definition = project::project(document, &extension);
    if let Err(reply) = checked(&definition) {
        return reply;
    }
    let (id, definition) = match with_id(definition) {
        Ok(pair) => pair,
        Err(reply) => return reply,
    };
    let mut document = oas::stored(document);
    let base_id = call.parameter("base_api_id");
    let mut state = shared.state();
    let base = state
        .live
        .apis
        .get(base_id)
        .map(|base| base.definition.clone());
    let version = base.as_deref().map(|base| Version {
        base,
        name: call.parameter("new_version_name"),
    });
    let address = shared.public_address();
    if let Err(message) = servers::regenerate(&mut document, &definition, None, version, &address) {
        return Reply::error(400, &message);
    }
    set(
        &mut document,
        "/x-tyk-api-gateway/info/id",
        id.clone().into(),
    );
    write_document(&mut state, &id, definition, document, mcp);
    versions::amend_base(&mut state, call, &id);
    Reply::done(&id, "added")
}

fn replace_document(shared: &Arc<Shared>, id: &str, document: &Value, mcp: bool) -> Reply {
    if !is_path_component(id) {
        return Reply::error(400, "Invalid API ID");
    }
    let mut state = shared.state();
    let before = match state.live.apis.get(id) {
        None => return Reply::error(404, NOT_FOUND),
        Some(api) if mcp && !api.is_mcp() => {
            return Reply::error(404, "API is not an MCP Proxy");
        }
        Some(api) if !api.is_oas() => return Reply::error(400, validate::NOT_OAS),
        Some(api) => api.definition.clone(),
    };
    let extension = document.get(oas::EXTENSION).cloned().unwrap_or_default();
    let definition = project::project(document, &extension);
    if text(&definition, "/api_id") != id {
        return Reply::error(400, MISMATCH);
    }
    if let Err(reply) = checked(&definition) {
        return reply;
    }
    let mut document = oas::stored(document);
    let address = shared.public_address();
    if let Err(message) =
        servers::regenerate(&mut document, &definition, Some(&before), None, &address)
    {
        return Reply::error(400, &message);
    }
    write_document(&mut state, id, definition, document, mcp);
    Reply::done(id, "modified")
}

pub fn write_classic(state: &mut State, id: &str, mut definition: Value) {
    if let Some(map) = definition.as_object_mut() {
        map.remove("is_oas");
    }
    state
        .disk
        .apis
        .insert(id.to_owned(), File::Definition(Arc::new(definition)));
}

pub fn write_document(
    state: &mut State,
    id: &str,
    mut definition: Value,
    document: Value,
    mcp: bool,
) {
    set(&mut definition, "/is_oas", true.into());
    let suffix = if mcp {
        set(&mut definition, "/application_protocol", "mcp".into());
        set(&mut definition, "/json_rpc_version", "2.0".into());
        "mcp"
    } else {
        "oas"
    };
    let apis = &mut state.disk.apis;
    apis.insert(id.to_owned(), File::Definition(Arc::new(definition)));
    apis.insert(format!("{id}-{suffix}"), File::Document(Arc::new(document)));
}

fn decode_unchecked(body: &[u8]) -> Result<Value, ()> {
    let sent = first_value(body).ok_or(())?;
    if sent.is_null() {
        return Ok(Value::Object(Map::new()));
    }
    types().decode(&classic(), &sent).map_err(|_| ())
}

fn decode_classic(body: &[u8]) -> Result<Value, Reply> {
    let definition = decode_unchecked(body).map_err(|()| Reply::error(400, "Request malformed"))?;
    checked(&definition)?;
    Ok(definition)
}

fn checked(definition: &Value) -> Result<(), Reply> {
    validate::definition(definition).map_err(|reason| {
        let message = format!("Validation of API Definition failed. Reason: {reason}.");
        Reply::error(400, &message)
    })
}

fn with_id(mut definition: Value) -> Result<(String, Value), Reply> {
    let mut id = text(&definition, "/api_id").to_owned();
    if id.is_empty() {
        id = uuid::Uuid::new_v4().simple().to_string();
        set(&mut definition, "/api_id", id.clone().into());
    }
    if !is_path_component(&id) {
        return Err(Reply::error(400, "Invalid API ID"));
    }
    Ok((id, definition))
}

/// Whether the id stays inside the folder, also when it is decoded again.
fn is_path_component(id: &str) -> bool {
    let mut decoded = id.to_owned();
    for _ in 0..3 {
        decoded = percent_decode(&decoded);
    }
    [id, decoded.as_str()]
        .iter()
        .all(|id| !matches!(*id, "" | "." | "..") && !id.contains(['/', '\\']))
}

enum NoDocument {
    Absent,
    Classic,
}

fn filled(shared: &Arc<Shared>, id: &str) -> Result<(Value, LiveApi), NoDocument> {
    let api = shared
        .state()
        .live
        .apis
        .get(id)
        .cloned()
        .ok_or(NoDocument::Absent)?;
    let document = api.document.clone().ok_or(NoDocument::Classic)?;
    Ok((oas::fill(&document, &api.definition), api))
}

fn documents(shared: &Arc<Shared>, mcp: bool) -> Vec<Value> {
    let apis: Vec<LiveApi> = shared.state().live.apis.values().cloned().collect();
    let mut documents: Vec<Value> = apis
        .iter()
        .filter(|api| api.is_mcp() == mcp)
        .filter_map(|api| Some(oas::fill(api.document.as_ref()?, &api.definition)))
        .collect();
    shuffle(&mut documents);
    documents
}

fn attachment(text: &str, name: &str) -> Reply {
    let value: Value = serde_json::from_str(text).unwrap_or_default();
    let text = serde_json::to_string_pretty(&value).unwrap_or_default();
    Reply::bare_json(200, text).into_attachment(name)
}

fn with_base(reply: Reply, api: &LiveApi) -> Reply {
    match &api.base {
        Some(base) => reply.with_header("x-tyk-base-api-id", base),
        None => reply,
    }
}

fn version_row(name: &str, api: &LiveApi, is_default: bool) -> String {
    let definition = &api.definition;
    let mut out = String::from("{\"id\":");
    write_text(text(definition, "/api_id"), &mut out);
    out.push_str(",\"name\":");
    write_text(text(definition, "/name"), &mut out);
    out.push_str(",\"versionName\":");
    write_text(name, &mut out);
    out.push_str(",\"internal\":");
    write_value(&flag(definition, "/internal").into(), &mut out);
    out.push_str(",\"expirationDate\":");
    write_text(text(definition, "/expiration"), &mut out);
    out.push_str(",\"isDefaultVersion\":");
    write_value(&is_default.into(), &mut out);
    out.push('}');
    out
}
