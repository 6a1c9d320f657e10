//! Policies: one file each, read by id, never checked for sense.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize as _;
use serde_json::Value;

use super::reply::Reply;
use super::routes::Call;
use super::serve::Shared;
use super::state::{Live, policy, set, text};
use super::types::types;

/// The policy that was loaded last under this id, whatever its organisation.
pub fn find<'live>(live: &'live Live, id: &str) -> Option<&'live Value> {
    live.policies
        .iter()
        .rev()
        .find(|((_, other), _)| other == id)
        .map(|(_, policy)| &**policy)
}

pub fn list(shared: &Arc<Shared>, call: &Call<'_>) -> Reply {
    if call.empty_lists {
        return Reply::list([], true);
    }
    let policies: Vec<Arc<Value>> = shared.state().live.policies.values().cloned().collect();
    let mut texts: Vec<Bytes> = policies
        .iter()
        .map(|policy_| Bytes::from(types().encode(&policy(), policy_)))
        .collect();
    super::apis::shuffle(&mut texts);
    Reply::list(texts, true)
}

pub fn read(shared: &Arc<Shared>, id: &str) -> Reply {
    let state = shared.state();
    match find(&state.live, id) {
        Some(found) => Reply::json(200, types().encode(&policy(), found)),
        None => Reply::error(404, "Policy not found"),
    }
}

pub fn create(shared: &Arc<Shared>, call: &Call<'_>) -> Reply {
    write(shared, call, None)
}

pub fn update(shared: &Arc<Shared>, call: &Call<'_>, id: &str) -> Reply {
    write(shared, call, Some(id))
}

pub fn delete(shared: &Arc<Shared>, id: &str) -> Reply {
    match shared.state().disk.policies.remove(id) {
        Some(_) => Reply::done(id, "deleted"),
        None => Reply::error(500, "Delete failed"),
    }
}

fn write(shared: &Arc<Shared>, call: &Call<'_>, path_id: Option<&str>) -> Reply {
    let Some(mut sent) = first_value(&call.body).and_then(|value| {
        let value = if value.is_null() {
            Value::Object(serde_json::Map::new())
        } else {
            value
        };
        types().decode(&policy(), &value).ok()
    }) else {
        return Reply::error(400, "Request malformed");
    };
    let id = text(&sent, "/id").to_owned();
    if !id.bytes().all(is_allowed) {
        return Reply::error(
            400,
            "Invalid Policy ID: Allowed characters: a-z, A-Z, 0-9, ., _, -, ~",
        );
    }
    if path_id.is_some_and(|path_id| path_id != id) {
        return Reply::error(
            400,
            "Request ID does not match that in policy! For Update operations these must match.",
        );
    }
    let id = if id.is_empty() {
        let id = text(&sent, "/_id").to_owned();
        if id.is_empty() {
            return Reply::error(400, "Unable to create policy without id.");
        }
        set(&mut sent, "/id", id.clone().into());
        id
    } else {
        id
    };
    if shared.options.policy_path {
        shared
            .state()
            .disk
            .policies
            .insert(id.clone(), Some(Arc::new(sent)));
    }
    let action = if path_id.is_some() {
        "modified"
    } else {
        "added"
    };
    Reply::done(&id, action)
}

/// The first JSON value of a text; what follows it is not looked at.
pub fn first_value(body: &[u8]) -> Option<Value> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    Value::deserialize(&mut reader).ok()
}

fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b".-_~".contains(&byte)
}
