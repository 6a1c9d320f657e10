//! What the gateway checks beyond the shapes of fields, and what it should: of a definition that
//! breaks one of these rules it says the first alone, or nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{Keyless, Place, Reading, checks};
use crate::domain::{diff::push_token, way::at};

const EXTENSION: &str = "/x-tyk-api-gateway";
const METHODS: &[&str] = &[
    "delete", "get", "head", "options", "patch", "post", "put", "trace",
];

fn below(pointer: &str, tokens: &[&str]) -> String {
    let mut pointer = pointer.to_owned();
    for token in tokens {
        push_token(&mut pointer, token);
    }
    pointer
}

fn is_on(body: &Value, pointer: &str) -> bool {
    at(body, pointer) == Some(&Value::Bool(true))
}

fn members<'b>(body: &'b Value, pointer: &str) -> impl Iterator<Item = (&'b String, &'b Value)> {
    let members = at(body, pointer).and_then(Value::as_object);
    members.into_iter().flat_map(Map::iter)
}

fn items<'b>(body: &'b Value, pointer: &str) -> impl Iterator<Item = (usize, &'b Value)> {
    let items = at(body, pointer).and_then(Value::as_array);
    items.into_iter().flatten().enumerate()
}

/// Says that everybody can call an API, as the stack wants it said.
fn open_to_everybody(pointer: &str, message: &str, place: &Place, reading: &mut Reading<'_>) {
    let fix = Some("ask for a key, or set allow_keyless = true for the stack if it is meant so");
    match reading.options.keyless {
        Keyless::Allowed => {}
        Keyless::Told => reading.warn(place, pointer, message, fix),
        Keyless::Refused => reading.wrong(place, pointer, message, fix),
    }
}

/// The gateway's own rules for a classic definition.
pub(super) fn classic(body: &Value, place: &Place, reading: &mut Reading<'_>) {
    let is_raw = matches!(
        body.get("protocol").and_then(Value::as_str),
        Some("tcp" | "tls")
    );
    let is_reachable = !is_raw && !is_on(body, "/internal") && !is_on(body, "/use_mutual_tls_auth");
    if is_on(body, "/use_keyless") && is_reachable {
        let message = "the API is open to everybody: no key is asked for";
        open_to_everybody("/use_keyless", message, place, reading);
    }
    data_sources(body, place, reading);
    credential_sources(body, place, reading);
    for (switch, list) in [
        ("/enable_ip_whitelisting", "/allowed_ips"),
        ("/enable_ip_blacklisting", "/blacklisted_ips"),
    ] {
        if is_on(body, switch) {
            refuse_misread_addresses(body, list, place, reading);
        }
    }
    timeouts(body, place, reading);
    upstream_authentication(body, place, reading);
    let is_balanced = is_on(body, "/proxy/enable_load_balancing")
        && !is_on(body, "/proxy/service_discovery/use_discovery_service");
    if is_balanced && items(body, "/proxy/target_list").next().is_none() {
        reading.wrong(
            place,
            "/proxy/target_list",
            "load balancing is on and there is no target: the gateway refuses the definition",
            Some("list the upstreams, or turn enable_load_balancing off"),
        );
    }
}

fn data_sources(body: &Value, place: &Place, reading: &mut Reading<'_>) {
    const SOURCES: &str = "/graphql/engine/data_sources";
    let mut names = BTreeSet::new();
    for (index, source) in items(body, SOURCES) {
        let name = source
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if !names.insert(name.trim().to_lowercase()) {
            reading.wrong(
                place,
                format!("{SOURCES}/{index}/name"),
                format!(
                    "two data sources have the name {name:?}: the gateway refuses the definition"
                ),
                Some("give each a name of its own"),
            );
        }
    }
}

fn credential_sources(body: &Value, place: &Place, reading: &mut Reading<'_>) {
    const SWITCHES: &[(&str, &str)] = &[
        ("authToken", "/use_standard_auth"),
        ("jwt", "/enable_jwt"),
        ("hmac", "/enable_signature_checking"),
        ("oauth", "/use_oauth2"),
        ("oidc", "/use_openid"),
        ("coprocess", "/enable_coprocess_auth"),
    ];
    for (name, switch) in SWITCHES {
        let pointer = format!("/auth_configs/{name}");
        let is_there = |member: &str| is_on(body, &format!("{pointer}/{member}"));
        let is_used = is_on(body, switch) && at(body, &pointer).is_some_and(Value::is_object);
        if is_used
            && is_there("disable_header")
            && !is_there("use_param")
            && !is_there("use_cookie")
        {
            reading.wrong(
                place,
                pointer,
                "no header, no parameter and no cookie has the credentials: the gateway refuses the definition",
                Some("turn one of them on"),
            );
        }
    }
}

/// With the older switches the gateway refuses what it cannot read as an address.
fn refuse_misread_addresses(body: &Value, list: &str, place: &Place, reading: &mut Reading<'_>) {
    for (index, address) in items(body, list) {
        let Some(text) = address.as_str() else {
            continue;
        };
        if !super::schema::is_address(text) && !checks::is_filled_in_later(text) {
            reading.wrong(
                place,
                format!("{list}/{index}"),
                format!("{text:?} is no IP address and no network such as 10.0.0.0/8: the gateway refuses the definition"),
                None,
            );
        }
    }
}

fn timeouts(body: &Value, place: &Place, reading: &mut Reading<'_>) {
    const VERSIONS: &str = "/version_data/versions";
    let is_negative = |value: Option<&Value>| match value {
        Some(Value::Number(number)) => number.as_f64().is_some_and(|seconds| seconds < 0.0),
        Some(Value::String(text)) => text.starts_with('-'),
        _ => false,
    };
    for (name, version) in members(body, VERSIONS) {
        if is_negative(version.get("global_enforce_timeout")) {
            reading.wrong(
                place,
                below(VERSIONS, &[name, "global_enforce_timeout"]),
                "a timeout below 0 is refused by the gateway",
                None,
            );
        }
        for (index, timeout) in items(version, "/extended_paths/hard_timeouts") {
            for member in ["timeout", "duration"] {
                if is_negative(timeout.get(member)) {
                    let index = index.to_string();
                    let way = [name, "extended_paths", "hard_timeouts", &index, member];
                    reading.wrong(
                        place,
                        below(VERSIONS, &way),
                        "a timeout below 0 is refused by the gateway",
                        None,
                    );
                }
            }
        }
    }
}

fn upstream_authentication(body: &Value, place: &Place, reading: &mut Reading<'_>) {
    const TYPES: &str = "/upstream_auth/oauth/allowed_authorize_types";
    let is_used = |mode: &str| is_on(body, &format!("/upstream_auth/{mode}/enabled"));
    if !is_on(body, "/upstream_auth/enabled") || !is_used("oauth") {
        return;
    }
    if is_used("basic_auth") {
        reading.wrong(
            place,
            "/upstream_auth",
            "basic_auth and oauth are both on: the gateway refuses the definition",
            Some("turn one of them off"),
        );
    }
    let types: Vec<&Value> = items(body, TYPES).map(|(_, kind)| kind).collect();
    let is_right = matches!(types[..], [kind] if kind == "clientCredentials" || kind == "password");
    if !is_right {
        reading.wrong(
            place,
            TYPES,
            "must have one item, clientCredentials or password: the gateway refuses another list",
            None,
        );
    }
}

/// The gateway's own rules for an OAS document.
pub(super) fn oas(body: &Value, place: &Place, reading: &mut Reading<'_>) {
    let server = format!("{EXTENSION}/server");
    let asks = is_on(body, &format!("{server}/authentication/enabled"))
        || is_on(body, &format!("{server}/clientCertificates/enabled"))
        || is_on(body, &format!("{EXTENSION}/info/state/internal"));
    if !asks {
        let message = "the API is open to everybody: without server.authentication.enabled no key is asked for";
        open_to_everybody(&format!("{server}/authentication"), message, place, reading);
    }
    let operations = paths(body, place, reading);
    for (id, _) in members(body, &format!("{EXTENSION}/middleware/operations")) {
        if !operations.contains_key(id) {
            let names: Vec<&str> = operations.keys().map(String::as_str).collect();
            let fix = checks::nearest(id, &names).map_or_else(
                || "use the operationId of an operation".to_owned(),
                |nearest| format!("did you mean {nearest}?"),
            );
            reading.warn(
                place,
                below(EXTENSION, &["middleware", "operations", id]),
                format!("no operation has the operationId {id}, so nothing comes of this"),
                Some(&fix),
            );
        }
    }
    security(body, place, reading);
    schemes(body, place, reading);
    handlers(body, place, reading);
    balancing(body, place, reading);
    versioning(body, place, reading);
}

/// The operations by their ids; and what is wrong with the paths.
fn paths(body: &Value, place: &Place, reading: &mut Reading<'_>) -> BTreeMap<String, String> {
    let mut operations: BTreeMap<String, String> = BTreeMap::new();
    for (path, item) in members(body, "/paths") {
        if path.starts_with("x-") {
            continue;
        }
        if !path.starts_with('/') {
            reading.wrong(
                place,
                below("/paths", &[path]),
                format!("the path {path:?} must begin with /: the gateway refuses the document"),
                None,
            );
            continue;
        }
        path_parameters_are_whole(item, &below("/paths", &[path]), place, reading);
        let common = path_parameters(body, item);
        for method in METHODS {
            let Some(operation) = item.get(*method).filter(|operation| operation.is_object())
            else {
                continue;
            };
            let pointer = below("/paths", &[path, method]);
            if let Some(id) = operation.get("operationId").and_then(Value::as_str)
                && !id.is_empty()
                && let Some(first) = operations.insert(id.to_owned(), format!("{method} {path}"))
            {
                reading.wrong(
                    place,
                    format!("{pointer}/operationId"),
                    format!(
                        "{first} has the operationId {id} too: the gateway refuses the document"
                    ),
                    Some("give each operation an id of its own"),
                );
            }
            path_parameters_are_whole(operation, &pointer, place, reading);
            let own = path_parameters(body, operation);
            let (Some(common), Some(own)) = (&common, &own) else {
                continue;
            };
            let declared: BTreeSet<&str> = common.union(own).copied().collect();
            let named = variables(path);
            if common.len() + own.len() == named.len() {
                continue;
            }
            if let Some(missing) = named.symmetric_difference(&declared).next() {
                let message = if named.contains(missing) {
                    format!(
                        "the path's parameter {missing} is not declared: the gateway refuses the document"
                    )
                } else {
                    format!("the path has no parameter {missing}: the gateway refuses the document")
                };
                reading.wrong(
                    place,
                    pointer,
                    message,
                    Some("declare under parameters what the path has in braces, with in: path and required: true"),
                );
            }
        }
    }
    operations
}

fn variables(path: &str) -> BTreeSet<&str> {
    let parts = path.split('{').skip(1);
    parts
        .filter_map(|part| part.split_once('}'))
        .map(|(name, _)| name.trim_end_matches('*'))
        .collect()
}

/// The names of path parameters; `None` where a reference leads to nowhere that is known here.
fn path_parameters<'b>(body: &'b Value, of: &'b Value) -> Option<BTreeSet<&'b str>> {
    let mut names = BTreeSet::new();
    for (_, parameter) in items(of, "/parameters") {
        let parameter = match parameter.get("$ref").and_then(Value::as_str) {
            Some(reference) => body.pointer(reference.strip_prefix('#')?)?,
            None => parameter,
        };
        if parameter.get("in").and_then(Value::as_str) == Some("path") {
            names.insert(parameter.get("name").and_then(Value::as_str)?);
        }
    }
    Some(names)
}

/// A path's parameter is required, and says what it is.
fn path_parameters_are_whole(of: &Value, above: &str, place: &Place, reading: &mut Reading<'_>) {
    for (index, parameter) in items(of, "/parameters") {
        if parameter.get("in").and_then(Value::as_str) != Some("path") {
            continue;
        }
        let pointer = format!("{above}/parameters/{index}");
        if parameter.get("required") != Some(&Value::Bool(true)) {
            reading.wrong(
                place,
                format!("{pointer}/required"),
                "a parameter of the path must be required: the gateway refuses the document",
                Some("write required: true"),
            );
        }
        if parameter.get("schema").is_none() && parameter.get("content").is_none() {
            reading.wrong(
                place,
                format!("{pointer}/schema"),
                "the parameter's schema is missing: the gateway refuses the document",
                Some("write schema: { type: string }"),
            );
        }
    }
}

/// What a security scheme must have, by its type.
fn schemes(body: &Value, place: &Place, reading: &mut Reading<'_>) {
    const SCHEMES: &str = "/components/securitySchemes";
    for (name, scheme) in members(body, SCHEMES) {
        let needed: &[&str] = match scheme.get("type").and_then(Value::as_str) {
            Some("apiKey") => &["in", "name"],
            Some("http") => &["scheme"],
            Some("oauth2") => &["flows"],
            Some("openIdConnect") => &["openIdConnectUrl"],
            _ => &[],
        };
        for member in needed {
            if scheme.get(*member).is_none_or(Value::is_null) {
                reading.wrong(
                    place,
                    below(SCHEMES, &[name, member]),
                    format!("{member} is missing: the gateway refuses the document"),
                    None,
                );
            }
        }
    }
}

/// A webhook names one of the gateway's by its id, or says where it goes.
fn handlers(body: &Value, place: &Place, reading: &mut Reading<'_>) {
    let handlers = format!("{EXTENSION}/server/eventHandlers");
    for (index, handler) in items(body, &handlers) {
        let has = |member: &str| handler.get(member).is_some();
        if handler.get("type").and_then(Value::as_str) != Some("webhook") {
            continue;
        }
        let needed: &[&str] = if has("id") {
            &["cooldownPeriod"]
        } else {
            &["bodyTemplate", "cooldownPeriod", "method", "url"]
        };
        for member in needed.iter().filter(|member| !has(member)) {
            reading.wrong(
                place,
                format!("{handlers}/{index}/{member}"),
                format!("{member} is missing: the gateway refuses the document"),
                None,
            );
        }
    }
}

fn security(body: &Value, place: &Place, reading: &mut Reading<'_>) {
    let schemes: BTreeSet<&String> = members(body, "/components/securitySchemes")
        .map(|(name, _)| name)
        .collect();
    let names: Vec<&str> = schemes.iter().map(|name| name.as_str()).collect();
    for (index, requirement) in items(body, "/security") {
        for name in requirement.as_object().into_iter().flat_map(Map::keys) {
            if !schemes.contains(name) {
                let fix = checks::nearest(name, &names).map_or_else(
                    || "declare it under components.securitySchemes".to_owned(),
                    |nearest| format!("did you mean {nearest}?"),
                );
                reading.wrong(
                    place,
                    below("/security", &[&index.to_string(), name]),
                    format!("there is no security scheme {name} in components.securitySchemes: the gateway refuses the document"),
                    Some(&fix),
                );
            }
        }
    }
    let own = format!("{EXTENSION}/server/authentication/securitySchemes");
    for (name, _) in members(body, &own) {
        if !schemes.contains(name) {
            let fix = checks::nearest(name, &names).map_or_else(
                || "declare it under components.securitySchemes".to_owned(),
                |nearest| format!("did you mean {nearest}?"),
            );
            reading.warn(
                place,
                below(&own, &[name]),
                format!("there is no security scheme {name} in components.securitySchemes: the gateway may answer 401 to everybody"),
                Some(&fix),
            );
        }
    }
}

fn balancing(body: &Value, place: &Place, reading: &mut Reading<'_>) {
    let balancing = format!("{EXTENSION}/upstream/loadBalancing");
    if !is_on(body, &format!("{balancing}/enabled")) {
        return;
    }
    let targets = format!("{balancing}/targets");
    let weighs = |target: &Value| target.get("weight").and_then(Value::as_f64) != Some(0.0);
    if items(body, &targets).next().is_none() {
        let message = "load balancing is on and there is no target, so upstream.url alone is used";
        reading.warn(place, targets, message, None);
    } else if !items(body, &targets).any(|(_, target)| weighs(target)) {
        let message = "every target has the weight 0: the gateway refuses the document";
        reading.wrong(place, targets, message, None);
    }
}

fn versioning(body: &Value, place: &Place, reading: &mut Reading<'_>) {
    let versioning = format!("{EXTENSION}/info/versioning");
    let Some(location) = at(body, &format!("{versioning}/location")).and_then(Value::as_str) else {
        return;
    };
    let pointer = format!("{versioning}/location");
    match location {
        "url" => {}
        "header" | "url-param" => {
            if at(body, &format!("{versioning}/key")).is_none() {
                reading.wrong(
                    place,
                    format!("{versioning}/key"),
                    "the name of the header or parameter is missing: the gateway refuses the document",
                    None,
                );
            }
        }
        _ => reading.wrong(
            place,
            pointer,
            format!("must be header, url-param or url, and is {location:?}: the gateway refuses the document"),
            None,
        ),
    }
}
