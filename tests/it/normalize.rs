//! What was posted to a real gateway and what it read back must compare as kept, for every
//! recorded pair: a false difference would undo a good change.

use std::{collections::BTreeMap, path::PathBuf};

use lockstep::domain::{normalize, object::Kind};
use serde_json::{Value, json};

fn pairs(folder: PathBuf) -> BTreeMap<String, (Value, Value)> {
    let mut pairs = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let Some(stem) = name.strip_suffix(".posted.json") else {
            continue;
        };
        let read = path.with_file_name(format!("{stem}.read.json"));
        let parse =
            |path: &PathBuf| serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        pairs.insert(stem.to_owned(), (parse(&path), parse(&read)));
    }
    pairs
}

fn kind_of(name: &str) -> Kind {
    if name.contains("policy") {
        Kind::Policy
    } else if name.contains("classic") {
        Kind::ClassicApi
    } else {
        Kind::OasApi
    }
}

/// Fields that the recorded documents name and the gateway does not know.
fn expected_drops(name: &str) -> &'static [&'static str] {
    match name {
        "own-classic-extended-paths" => {
            &["/version_data/versions/Default/extended_paths/rate_limit/0/enabled"]
        }
        "own-classic-unknown-and-case" => &["/nonsense"],
        "own-oas-unknown-keys" => &[
            "/x-tyk-api-gateway/bogus",
            "/x-tyk-api-gateway/server/contextVariables",
            "/x-tyk-api-gateway/server/listenPath/bogus",
            "/x-tyk-api-gateway/server/slug",
        ],
        "own-policy-limits" => &["/state"],
        "sample-classic-key-concepts-tcp-proxy-L104" => {
            &["/check_host_against_uptime_tests", "/enable_load_balancing"]
        }
        "sample-oas-response-caching-L235" => &["/x-tyk-api-gateway/global"],
        "sample-policy-multiple-environments-L110" => &["/date_created"],
        _ => &[],
    }
}

fn check(folder: PathBuf) -> usize {
    let pairs = pairs(folder);
    let mut problems = Vec::new();
    for (name, (posted, read)) in &pairs {
        let kept = normalize::kept(kind_of(name), posted, read);
        if !kept.differs.is_empty() {
            problems.push(format!("{name} differs: {:#?}", kept.differs));
        }
        if kept.dropped != expected_drops(name) {
            problems.push(format!("{name} dropped: {:#?}", kept.dropped));
        }
        let again = normalize::kept(kind_of(name), read, read);
        if !again.holds() {
            problems.push(format!("{name} differs from itself: {:#?}", again.differs));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    pairs.len()
}

#[test]
#[ignore = "needs ../shared; tests/run has it"]
fn every_recorded_round_trip_reads_back_as_kept() {
    let Some(shared) = crate::support::shared() else {
        return;
    };
    assert_eq!(check(shared.join("samples/gateway/roundtrip")), 54);
}

#[test]
fn a_change_of_any_kept_field_is_seen() {
    let posted = json!({"openapi": "3.0.3", "info": {"title": "T", "version": "1"}, "paths": {},
        "x-tyk-api-gateway": {"info": {"id": "a", "name": "A", "state": {"active": true}},
            "upstream": {"url": "http://up"},
            "server": {"listenPath": {"value": "/a/", "strip": true}}}});
    for pointer in [
        "/info/title",
        "/x-tyk-api-gateway/info/name",
        "/x-tyk-api-gateway/upstream/url",
        "/x-tyk-api-gateway/server/listenPath/value",
    ] {
        let mut read = posted.clone();
        *read.pointer_mut(pointer).unwrap() = json!("other");
        let kept = normalize::kept(Kind::OasApi, &posted, &read);
        assert_eq!(kept.differs.len(), 1, "{pointer}");
        assert_eq!(kept.differs[0].pointer, pointer);
    }
}

#[test]
fn a_classic_field_that_was_set_by_hand_is_seen_even_where_git_names_none() {
    let posted = json!({"api_id": "a", "name": "A"});
    let read = json!({"api_id": "a", "name": "A", "use_keyless": true, "active": false});
    let kept = normalize::kept(Kind::ClassicApi, &posted, &read);
    assert_eq!(kept.differs.len(), 1);
    assert_eq!(kept.differs[0].pointer, "/use_keyless");
}

#[test]
fn a_supergraph_reads_back_with_its_merged_schema() {
    let supergraph = |schema: &str, enabled: bool| {
        json!({"api_id": "a", "graphql": {
            "enabled": enabled, "execution_mode": "supergraph", "schema": schema,
            "supergraph": {"merged_sdl": "type Query {me: ID}"},
        }})
    };
    let kept = |enabled| {
        let read = supergraph("type Query {me: ID}", enabled);
        normalize::kept(Kind::ClassicApi, &supergraph("y", enabled), &read)
    };
    assert!(kept(true).holds());
    assert!(
        !kept(false).holds(),
        "no engine is made, so nothing is replaced"
    );
}
