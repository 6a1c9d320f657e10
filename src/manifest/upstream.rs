//! Where an API's requests go. A gateway takes any text for it, lists the API as asked, and then
//! serves it to nobody or answers every request with an error: nothing shows that after the write.

use serde_json::Value;

use super::{Place, Reading};
use crate::domain::{reference::may_refer, way::at};

const TARGET: &str = "/proxy/target_url";

const FIX: &str = "write it like http://orders.internal:8080";

/// The address of a classic definition's upstream, where it has one.
pub(super) fn classic(body: &Value, place: &Place, reading: &mut Reading<'_>) {
    if let Some(address) = at(body, TARGET).and_then(Value::as_str)
        && !address.is_empty()
    {
        let elsewhere = is_on(body, "/proxy/enable_load_balancing")
            || is_on(body, "/proxy/service_discovery/use_discovery_service");
        check(address, elsewhere, TARGET, place, reading);
    }
}

/// A classic definition that names no upstream and has nothing else that may answer.
pub(super) fn missing(body: &Value, place: &Place, reading: &mut Reading<'_>) {
    let has_none = match at(body, TARGET) {
        None | Some(Value::Null) => true,
        Some(address) => address == "",
    };
    if has_none && !answers_without_upstream(body) {
        let message = "the upstream's address is missing: every request for the API would fail";
        reading.wrong(place, TARGET, message, Some(FIX));
    }
}

/// The address of an OAS document's upstream, where it has one.
pub(super) fn oas(body: &Value, place: &Place, reading: &mut Reading<'_>) {
    const POINTER: &str = "/x-tyk-api-gateway/upstream/url";
    // Streams and operations may answer by themselves.
    let operations = at(body, "/x-tyk-api-gateway/middleware/operations");
    let elsewhere = is_on(body, "/x-tyk-api-gateway/upstream/loadBalancing/enabled")
        || is_on(body, "/x-tyk-api-gateway/upstream/serviceDiscovery/enabled")
        || body.get("x-tyk-streaming").is_some()
        || operations.is_some_and(is_filled);
    if let Some(address) = at(body, POINTER).and_then(Value::as_str) {
        check(address, elsewhere, POINTER, place, reading);
    }
}

fn check(address: &str, elsewhere: bool, pointer: &str, place: &Place, reading: &mut Reading<'_>) {
    let message = match address_problem(address) {
        Some(Fault::Unreadable) => {
            "the upstream's address cannot be read: the gateway would list the API and not serve it"
        }
        // The host comes from a list of targets.
        Some(Fault::Incomplete) if elsewhere => return,
        Some(Fault::Incomplete) => {
            "the upstream's address must have a scheme and a host: every request for the API would fail"
        }
        None => return,
    };
    reading.wrong(place, pointer, message, Some(FIX));
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Unreadable,
    Incomplete,
}

fn address_problem(address: &str) -> Option<Fault> {
    /// Addresses of hosts. Others name a secret's place or another API.
    const SCHEMES: &[&str] = &[
        "http", "https", "ws", "wss", "h2c", "tcp", "tls", "grpc", "grpcs",
    ];
    let bytes = address.as_bytes();
    if bytes.iter().any(u8::is_ascii_control) {
        return Some(Fault::Unreadable);
    }
    // Filled in by the gateway, or by a run.
    if address.starts_with('$') || may_refer(address) {
        return None;
    }
    let Some((scheme, rest)) = address.split_once("://") else {
        return Some(Fault::Incomplete);
    };
    if !SCHEMES.contains(&scheme.to_ascii_lowercase().as_str()) {
        return None;
    }
    let is_escape = |at: usize| {
        let digits = bytes.get(at + 1..at + 3);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    let mut percents = address.match_indices('%').map(|(at, _)| at);
    if percents.any(|at| !is_escape(at)) {
        return Some(Fault::Unreadable);
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = &rest[..end];
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    if host.is_empty() {
        return Some(Fault::Incomplete);
    }
    let (name, port) = match host.strip_prefix('[') {
        Some(inside) => match inside.split_once(']') {
            Some((name, "")) => (name, ""),
            Some((name, after)) => match after.strip_prefix(':') {
                Some(port) => (name, port),
                None => return Some(Fault::Unreadable),
            },
            None => return Some(Fault::Unreadable),
        },
        None => host.rsplit_once(':').unwrap_or((host, "")),
    };
    let is_forbidden = |letter: char| " {}|\\^`".contains(letter);
    let wrong = name.contains(is_forbidden) || !port.bytes().all(|byte| byte.is_ascii_digit());
    wrong.then_some(Fault::Unreadable)
}

/// Whether something other than one upstream may answer.
fn answers_without_upstream(body: &Value) -> bool {
    let has_text = |pointer: &str| {
        let text = at(body, pointer).and_then(Value::as_str);
        text.is_some_and(|text| !text.is_empty())
    };
    let versions = at(body, "/version_data/versions").and_then(Value::as_object);
    let answers_by_itself = versions.into_iter().flatten().any(|(_, version)| {
        let paths = version.get("extended_paths").and_then(Value::as_object);
        let on_a_path = paths.into_iter().flatten().any(|(_, list)| is_filled(list));
        let another = version.get("override_target").and_then(Value::as_str);
        on_a_path || another.is_some_and(|target| !target.is_empty())
    });
    let protocol = body.get("protocol").and_then(Value::as_str);
    answers_by_itself
        || protocol.is_some_and(|protocol| matches!(protocol, "tcp" | "tls"))
        || is_on(body, "/proxy/enable_load_balancing")
        || is_on(body, "/proxy/service_discovery/use_discovery_service")
        || is_on(body, "/graphql/enabled")
        || has_text("/custom_middleware_bundle")
        || at(body, "/custom_middleware")
            .and_then(Value::as_object)
            .is_some_and(|parts| parts.values().any(is_filled))
}

fn is_filled(value: &Value) -> bool {
    match value {
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
        _ => false,
    }
}

fn is_on(body: &Value, pointer: &str) -> bool {
    at(body, pointer) == Some(&Value::Bool(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_told_from_what_a_gateway_cannot_use() {
        for good in [
            "http://a",
            "https://u:p@a.b:80/x?y#z",
            "http://[::1]:80/",
            "http://a/b c",
            "h2c://a:1",
            "tcp://localhost:6379",
            "env://NAME",
            "tyk://other/",
            "$secret_env.NAME",
            "http://a/%20",
            "http://ä/",
        ] {
            assert_eq!(address_problem(good), None, "{good}");
        }
        for unreadable in [
            "http://[::1",
            "http://[::1]x",
            "http://a b/",
            "http://a:b/",
            "http://a/%zz",
            "http://{a}/",
            "http://a\n/",
        ] {
            let found = address_problem(unreadable);
            assert_eq!(found, Some(Fault::Unreadable), "{unreadable}");
        }
        for incomplete in ["a", "a/b", "//a/b", "a:80", "http:///x", "http://"] {
            let found = address_problem(incomplete);
            assert_eq!(found, Some(Fault::Incomplete), "{incomplete}");
        }
    }
}
