//! The admin API's answers, as far as they are read.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use serde::Deserialize;
use serde_json::{error::Category, value::RawValue};

use super::{Error, Listed, Listing};
use crate::domain::object::{Kind, ObjectKey, Route};

/// What a gateway says of an object that it does not have.
pub(super) const ABSENT: [&str; 2] = ["API not found", "Policy not found"];

/// What a gateway says where a file could not be removed.
pub(super) const DELETE_FAILED: &str = "Delete failed";

#[derive(Deserialize)]
pub(super) struct Envelope {
    pub status: String,
    pub message: String,
}

/// The list is null where there are none.
#[derive(Deserialize)]
pub(super) struct Certificates {
    pub certs: Option<Vec<String>>,
}

#[derive(Deserialize)]
pub(super) struct Certificate {
    pub has_private: bool,
}

#[derive(Deserialize)]
pub(super) struct AddedCertificate {
    pub id: String,
}

#[derive(Deserialize)]
pub(super) struct Schema {
    pub schema: serde_json::Value,
}

#[derive(Deserialize)]
pub(super) struct Hello {
    pub version: String,
}

#[derive(Deserialize)]
pub(super) struct Ready {
    #[serde(rename = "status")]
    _status: String,
}

/// Of a write and of a deletion.
#[derive(Deserialize)]
pub(super) struct Written {
    pub key: String,
}

/// What is needed of every API; the rest of its 6 kB is passed over.
#[derive(Deserialize)]
struct Api<'a> {
    #[serde(borrow, default, rename = "api_id")]
    id: Cow<'a, str>,
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    application_protocol: Cow<'a, str>,
    #[serde(borrow, default)]
    domain: Cow<'a, str>,
    #[serde(default)]
    domain_disabled: bool,
    #[serde(default)]
    is_oas: bool,
    #[serde(borrow, default)]
    proxy: Proxy<'a>,
}

#[derive(Default, Deserialize)]
struct Proxy<'a> {
    #[serde(borrow, default)]
    listen_path: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Policy<'a> {
    #[serde(borrow, default)]
    id: Cow<'a, str>,
    #[serde(borrow, default)]
    name: Cow<'a, str>,
}

/// The APIs that a policy names; nothing for one that is not as it should be.
pub(super) fn grants(policy: &RawValue) -> Vec<String> {
    #[derive(Deserialize)]
    struct Rights {
        #[serde(default)]
        access_rights: Option<BTreeMap<String, Box<RawValue>>>,
    }
    serde_json::from_str::<Rights>(policy.get())
        .ok()
        .and_then(|rights| rights.access_rights)
        .map(|rights| rights.into_keys().collect())
        .unwrap_or_default()
}

/// Reads both lists. Anything but two arrays of objects is an error, never an empty list.
pub(super) fn listing(apis: &[u8], policies: &[u8]) -> Result<Listing, Error> {
    let apis = array(apis, "APIs")?;
    let policies = array(policies, "policies")?;
    let all = apis.len() + policies.len();
    let mut objects = Vec::with_capacity(all);
    for raw in apis {
        objects.push(api(raw)?);
    }
    for raw in policies {
        objects.push(policy(raw)?);
    }
    objects.retain(|listed| !listed.key.id.is_empty());
    let twice = listed_twice(&objects);
    if twice.is_empty() {
        let nameless = all - objects.len();
        Ok(Listing { objects, nameless })
    } else {
        Err(Error::ListedTwice { keys: twice })
    }
}

/// What is wrong with a text that was to be JSON, without a word of it.
pub(super) fn fault(error: &serde_json::Error) -> String {
    let problem = match error.classify() {
        Category::Data => "it is JSON of another shape",
        Category::Eof => "its JSON ends too early",
        Category::Syntax | Category::Io => "it is not JSON",
    };
    format!(
        "{problem} (line {}, column {})",
        error.line(),
        error.column()
    )
}

fn api(raw: Box<RawValue>) -> Result<Listed, Error> {
    let api: Api = read(&raw, "APIs")?;
    let kind = if api.application_protocol == "mcp" {
        Kind::McpProxy
    } else if api.is_oas {
        Kind::OasApi
    } else {
        Kind::ClassicApi
    };
    let domain = if api.domain_disabled { "" } else { &api.domain };
    let (key, name, route) = (
        ObjectKey::new(kind, api.id.as_ref()),
        api.name.to_string(),
        Some(Route::new(domain, &api.proxy.listen_path)),
    );
    Ok(Listed {
        key,
        name,
        route,
        raw,
    })
}

fn policy(raw: Box<RawValue>) -> Result<Listed, Error> {
    let policy: Policy = read(&raw, "policies")?;
    let (key, name) = (
        ObjectKey::new(Kind::Policy, policy.id.as_ref()),
        policy.name.to_string(),
    );
    Ok(Listed {
        key,
        name,
        route: None,
        raw,
    })
}

/// APIs of every kind share one space of ids.
fn listed_twice(objects: &[Listed]) -> Vec<ObjectKey> {
    let mut seen = BTreeSet::new();
    let twice: BTreeSet<ObjectKey> = objects
        .iter()
        .map(|listed| &listed.key)
        .filter(|key| !seen.insert((key.kind.is_api(), key.id.as_str())))
        .cloned()
        .collect();
    twice.into_iter().collect()
}

fn array(bytes: &[u8], what: &str) -> Result<Vec<Box<RawValue>>, Error> {
    serde_json::from_slice(bytes).map_err(|error| unreadable(what, &error))
}

fn read<'a, T: Deserialize<'a>>(raw: &'a RawValue, what: &str) -> Result<T, Error> {
    // A struct would be read from an array of its fields as well.
    if !raw.get().starts_with('{') {
        let detail = format!("the list of {what}: an element is no object");
        return Err(Error::bad_answer(detail, false));
    }
    serde_json::from_str(raw.get()).map_err(|error| unreadable(what, &error))
}

fn unreadable(what: &str, error: &serde_json::Error) -> Error {
    Error::bad_answer(format!("the list of {what}: {}", fault(error)), false)
}
