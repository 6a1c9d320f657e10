//! Versions by query parameters: the base of a new child is rewritten from what is in memory,
//! which loses a write that was not yet loaded. A real gateway does so, and so does this one.

use std::sync::Arc;

use serde_json::{Value, json};

use super::apis::{write_classic, write_document};
use super::oas;
use super::reply::Reply;
use super::routes::Call;
use super::serve::Shared;
use super::state::{State, set, text};

pub fn check_parameters(shared: &Arc<Shared>, call: &Call<'_>) -> Result<(), Reply> {
    let base_id = call.parameter("base_api_id");
    if base_id.is_empty() {
        return Ok(());
    }
    if call.parameter("new_version_name").is_empty() {
        return Err(Reply::error(422, "The new version name is required"));
    }
    let state = shared.state();
    let Some(base) = state.live.apis.get(base_id) else {
        let message = format!("{base_id} is not a valid Base API version");
        return Err(Reply::error(400, &message));
    };
    let named = !text(&base.definition, "/definition/name").is_empty();
    if call.parameter("base_api_version_name").is_empty() && !named {
        let message = format!("you need to provide a version name for the new Base API: {base_id}");
        return Err(Reply::error(400, &message));
    }
    Ok(())
}

/// The version parameters rewrite the base: in memory, and on disk from what is in memory.
pub fn amend_base(state: &mut State, call: &Call<'_>, child: &str) {
    let base_id = call.parameter("base_api_id");
    let Some(base) = state.live.apis.get_mut(base_id) else {
        return;
    };
    let new_name = call.parameter("new_version_name");
    base.amend(|definition| {
        set(definition, "/definition/enabled", true.into());
        let given = [
            ("/definition/name", call.parameter("base_api_version_name")),
            (
                "/definition/default",
                if call.parameter("set_default") == "true" {
                    new_name
                } else {
                    ""
                },
            ),
        ];
        for (pointer, value) in given {
            if !value.is_empty() {
                set(definition, pointer, value.into());
            }
        }
        let defaults = [
            ("/definition/key", "x-api-version"),
            ("/definition/location", "header"),
            ("/definition/default", "self"),
        ];
        for (pointer, value) in defaults {
            if text(definition, pointer).is_empty() {
                set(definition, pointer, value.into());
            }
        }
        if definition
            .pointer("/definition/versions")
            .is_none_or(|versions| !versions.is_object())
        {
            set(definition, "/definition/versions", json!({}));
        }
        if let Some(versions) = definition
            .pointer_mut("/definition/versions")
            .and_then(Value::as_object_mut)
        {
            versions.insert(new_name.to_owned(), child.into());
        }
    });
    base.base = Some(base_id.to_owned());
    persist(state, base_id);
}

pub fn forget(state: &mut State, base_id: &str, child: &str) {
    let Some(base) = state.live.apis.get_mut(base_id) else {
        return;
    };
    base.amend(|definition| {
        let mut removed = None;
        if let Some(versions) = definition
            .pointer_mut("/definition/versions")
            .and_then(Value::as_object_mut)
        {
            removed = versions
                .iter()
                .find(|(_, id)| id.as_str() == Some(child))
                .map(|(name, _)| name.clone());
            if let Some(name) = &removed {
                versions.remove(name);
            }
        }
        if removed.is_some_and(|name| text(definition, "/definition/default") == name) {
            let name = text(definition, "/definition/name").to_owned();
            set(definition, "/definition/default", name.into());
        }
    });
    persist(state, base_id);
}

/// Writes a live API to disk as it is in memory: a write that was not yet loaded is lost.
fn persist(state: &mut State, id: &str) {
    let Some(api) = state.live.apis.get(id).cloned() else {
        return;
    };
    let definition = (*api.definition).clone();
    match &api.document {
        Some(document) => {
            let document = oas::fill(document, &definition);
            write_document(state, id, definition, document, api.is_mcp());
        }
        None => write_classic(state, id, definition),
    }
}
