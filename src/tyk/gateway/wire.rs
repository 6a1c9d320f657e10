//! The admin API's answers, as far as they are read.

use std::{borrow::Cow, collections::BTreeSet};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Error, Listed, Listing};
use crate::domain::object::{Kind, ObjectKey, Route};

#[derive(Deserialize)]
pub(super) struct Envelope {
    #[serde(rename = "status")]
    _status: String,
    pub message: String,
}

#[derive(Deserialize)]
pub(super) struct Hello {
    pub version: String,
}

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

/// Reads both lists. Anything but two arrays of objects is an error, never an empty list.
pub(super) fn listing(apis: &[u8], policies: &[u8]) -> Result<Listing, Error> {
    let mut objects = Vec::new();
    for raw in array(apis, "APIs")? {
        let api: Api = read(&raw)?;
        let kind = if api.application_protocol == "mcp" {
            Kind::McpProxy
        } else if api.is_oas {
            Kind::OasApi
        } else {
            Kind::ClassicApi
        };
        let domain = if api.domain_disabled { "" } else { &api.domain };
        let route = Route::new(domain, &api.proxy.listen_path);
        let key = ObjectKey::new(kind, api.id.as_ref());
        let name = api.name.to_string();
        drop(api);
        objects.push(Listed {
            key,
            name,
            route: Some(route),
            raw,
        });
    }
    for raw in array(policies, "policies")? {
        let policy: Policy = read(&raw)?;
        let key = ObjectKey::new(Kind::Policy, policy.id.as_ref());
        let name = policy.name.to_string();
        drop(policy);
        objects.push(Listed {
            key,
            name,
            route: None,
            raw,
        });
    }
    let all = objects.len();
    objects.retain(|listed| !listed.key.id.is_empty());
    let nameless = all - objects.len();
    let mut seen = BTreeSet::new();
    for listed in &objects {
        if !seen.insert((listed.key.kind.is_api(), listed.key.id.as_str())) {
            return Err(Error::ListedTwice(listed.key.to_string()));
        }
    }
    Ok(Listing { objects, nameless })
}

fn array(bytes: &[u8], what: &str) -> Result<Vec<Box<RawValue>>, Error> {
    serde_json::from_slice(bytes)
        .map_err(|error| Error::BadAnswer(format!("the list of {what} cannot be read: {error}")))
}

fn read<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Result<T, Error> {
    serde_json::from_str(raw.get())
        .map_err(|error| Error::BadAnswer(format!("an item of a list cannot be read: {error}")))
}
