//! The `servers` of an OAS document: those that the gateway makes from the listen path come
//! first, those of the author that mean something else follow.

use serde_json::{Map, Value, json};

use super::listen_path::{self, Fault};
use super::state::{domain, flag, text};

/// The version of a child, when it is written for a base.
#[derive(Debug, Clone, Copy)]
pub struct Version<'base> {
    pub base: &'base Value,
    pub name: &'base str,
}

/// Puts the gateway's servers before those of the document.
pub fn regenerate(
    document: &mut Value,
    definition: &Value,
    before: Option<&Value>,
    version: Option<Version<'_>>,
    address: &str,
) -> Result<(), String> {
    let old: Vec<String> = before
        .map(|before| urls(before, version, address))
        .unwrap_or_default()
        .iter()
        .map(|url| comparable(url))
        .collect();
    let mut servers = Vec::new();
    let mut known = Vec::new();
    for url in urls(definition, version, address) {
        let server = server(&url).map_err(|fault| message(fault, &url))?;
        known.push(comparable(text(&server, "/url")));
        servers.push(server);
    }
    let own = document
        .get("servers")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    for server in own {
        let url = comparable(text(&server, "/url"));
        if !old.contains(&url) && !known.contains(&url) {
            known.push(url);
            servers.push(server);
        }
    }
    if let Some(map) = document.as_object_mut() {
        map.insert("servers".to_owned(), Value::Array(servers));
    }
    Ok(())
}

fn server(url: &str) -> Result<Value, Fault> {
    let names = match listen_path::variables(url) {
        // Taken here, and refused by the router at the load.
        Err(Fault::NoPattern) => return Ok(json!({"url": url})),
        other => other?,
    };
    let distinct: std::collections::BTreeSet<&str> = names.iter().copied().collect();
    if distinct.len() < names.len() {
        return Err(Fault::Collision);
    }
    if names.is_empty() {
        return Ok(json!({"url": url}));
    }
    let url = listen_path::without_patterns(url);
    let mut variables = Map::new();
    for (position, name) in names.iter().enumerate() {
        variables.insert(
            (*name).to_owned(),
            json!({"default": format!("pathParam{}", position + 1)}),
        );
    }
    Ok(json!({"url": url, "variables": variables}))
}

fn message(fault: Fault, url: &str) -> String {
    let what = match fault {
        Fault::Unclosed(_) => format!(
            "failed to parse: expected closing curly brace at position {}",
            url.len()
        ),
        Fault::UnexpectedClose => "unexpected closing curly brace".to_owned(),
        Fault::BadPattern | Fault::NoPattern => "failed to compile pattern".to_owned(),
        Fault::Nameless => "empty variable name".to_owned(),
        Fault::Collision => "variable collision".to_owned(),
    };
    format!("failed to add Tyk servers: {what}")
}

fn urls(definition: &Value, version: Option<Version<'_>>, address: &str) -> Vec<String> {
    let hosts = hosts(definition, address);
    // A base that has no versions yet gives its first child no address below its own.
    let version = version.filter(|version| flag(version.base, "/definition/enabled"));
    if let Some(version) = version {
        return versioned(definition, version, &hosts);
    }
    let name = text(definition, "/definition/name");
    if flag(definition, "/definition/enabled") && !name.is_empty() {
        let version = Version {
            base: definition,
            name,
        };
        return versioned(definition, version, &hosts);
    }
    let path = text(definition, "/proxy/listen_path");
    hosts.iter().map(|host| join(host, path)).collect()
}

fn versioned(definition: &Value, version: Version<'_>, hosts: &[String]) -> Vec<String> {
    let Version { base, name } = version;
    let path = text(base, "/proxy/listen_path");
    let location = text(base, "/definition/location");
    let key = text(base, "/definition/key");
    let default = text(base, "/definition/default");
    let is_base = text(definition, "/api_id") == text(base, "/api_id");
    let mut urls: Vec<String> = hosts
        .iter()
        .map(|host| {
            let url = join(host, path);
            match location {
                "header" => url,
                "url-param" => format!("{url}?{key}={name}"),
                _ if url.ends_with('/') => format!("{url}{name}"),
                _ => format!("{url}/{name}"),
            }
        })
        .collect();
    let falls_back = flag(base, "/definition/fallback_to_default")
        && !default.is_empty()
        && location != "header"
        && (name == default || (default == "self" && is_base));
    if falls_back {
        urls.extend(hosts.iter().map(|host| join(host, path)));
    }
    if !flag(definition, "/internal") && !is_base {
        let own = text(definition, "/proxy/listen_path");
        urls.extend(hosts.iter().map(|host| join(host, own)));
    }
    urls
}

/// The hosts; an empty one stands for a relative address.
fn hosts(definition: &Value, address: &str) -> Vec<String> {
    let domain = domain(definition);
    if !domain.is_empty() {
        return vec![domain.to_owned()];
    }
    let tags = definition
        .get("tags")
        .and_then(Value::as_array)
        .is_some_and(|tags| !tags.is_empty());
    if tags && !flag(definition, "/tags_disabled") {
        return vec![String::new()];
    }
    vec![address.to_owned(), String::new()]
}

fn join(host: &str, path: &str) -> String {
    let path = listen_path::clean(path);
    if host.is_empty() {
        return path;
    }
    let host = host.trim_end_matches('/');
    if host.starts_with("http://") || host.starts_with("https://") {
        return format!("{host}{path}");
    }
    format!("http://{host}{path}")
}

/// Two addresses that differ in a slash at the end are one.
fn comparable(url: &str) -> String {
    let (head, query) = url
        .split_once('?')
        .map_or((url, ""), |(head, query)| (head, query));
    let (origin, path) = match head.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            (format!("{scheme}://{host}"), path)
        }
        None => (String::new(), head),
    };
    format!("{origin}{}?{query}", listen_path::clean(path))
}
