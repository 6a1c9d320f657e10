//! The operator's resources: what they become, what is refused, and that the table of their
//! fields tells the truth.

use std::collections::BTreeSet;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use lockstep::manifest::{
    Manifests, Options, Problem, SourceFile,
    operator::fields::{Becomes, Field, fields},
    read,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const SERVER: &str = include_str!("../data/certificates/server.pem");
const SERVER_KEY: &str = include_str!("../data/certificates/server.key");
const PUBLIC_KEY: &str = include_str!("../data/certificates/server-public-key.pem");

fn read_with(documents: &[Value], options: &Options) -> Result<Manifests, Vec<Problem>> {
    let bytes = serde_json::to_vec(documents).unwrap();
    let path = "all.json".to_owned();
    read(&[SourceFile { path, bytes }], options)
}

fn read_all(documents: &[Value]) -> Result<Manifests, Vec<Problem>> {
    read_with(documents, &Options::default())
}

/// The bodies that the documents become, by key.
fn bodies(documents: &[Value]) -> Map<String, Value> {
    let read = read_all(documents).unwrap_or_else(|problems| panic!("{problems:#?}"));
    read.desired
        .into_iter()
        .map(|(key, object)| (key.to_string(), object.body))
        .collect()
}

fn problems(documents: &[Value]) -> Vec<String> {
    let problems = read_all(documents).expect_err("it should be refused");
    problems.iter().map(ToString::to_string).collect()
}

fn resource(kind: &str, name: &str, spec: Value) -> Value {
    let mut whole = json!({
        "apiVersion": "tyk.tyk.io/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
    });
    whole["spec"] = spec;
    whole
}

fn api(name: &str, spec: &Value) -> Value {
    let mut whole = json!({
        "name": name,
        "protocol": "http",
        "proxy": {"target_url": "http://up", "listen_path": format!("/{name}/")},
    });
    merge(&mut whole, spec);
    resource("ApiDefinition", name, whole)
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, member) in from {
                merge(into.entry(name).or_insert(Value::Null), member);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

fn secret(name: &str, texts: Value) -> Value {
    let mut whole = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
    });
    whole["stringData"] = texts;
    whole
}

fn document(name: &str) -> Value {
    json!({
        "openapi": "3.0.3",
        "info": {"title": name, "version": "1"},
        "paths": {},
        "components": {"securitySchemes": {"jwt": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}},
        "x-tyk-api-gateway": {
            "info": {"name": name, "state": {"active": true}},
            "upstream": {"url": "http://up"},
            "server": {
                "listenPath": {"value": format!("/{name}/"), "strip": true},
                "authentication": {"enabled": true, "securitySchemes": {"jwt": {"enabled": true}}},
            },
        },
    })
}

fn config_map(name: &str, document: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": {"api.json": document.to_string()},
    })
}

fn oas(name: &str, spec: &Value) -> [Value; 2] {
    let mut whole = json!({"tykOAS": {"configmapRef": {"name": name, "keyName": "api.json"}}});
    merge(&mut whole, spec);
    [
        config_map(name, &document(name)),
        resource("TykOasApiDefinition", name, whole),
    ]
}

fn policy(name: &str, spec: &Value) -> Value {
    let mut whole = json!({"name": name, "state": "active", "active": true});
    merge(&mut whole, spec);
    resource("SecurityPolicy", name, whole)
}

/// base64url of default/NAME, without padding.
fn id(name: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(format!("default/{name}"))
}

#[test]
fn a_document_in_a_config_map_becomes_the_api_with_the_settings_beside_it() {
    let [map, v2] = oas("v2", &json!({}));
    let [base, orders] = oas(
        "orders",
        &json!({
            "categories": ["shop"],
            "versioning": {
                "enabled": true, "name": "v1", "key": "x-version", "location": "header",
                "versions": [{"name": "v2", "tykOasApiDefinitionRef": {"name": "v2"}}],
            },
            "clientCertificate": {"enabled": true, "allowlist": ["partner"]},
            "customDomain": {"enabled": true, "name": "shop.example.com", "certificates": ["abc"]},
            "certificatePinning": {
                "enabled": true,
                "domainToPublicKeysMapping": [{"domain": "*", "publicKeyRefs": ["pin"]}],
            },
            "jwtAuth": {
                "defaultPoliciesRef": [{"name": "gold"}],
                "scopes": {
                    "claimName": "scope",
                    "scopeToPolicyMapping": [{"scope": "read", "policyRef": {"name": "gold"}}],
                },
            },
            "upstreamRequestSigning": {
                "algorithm": "hmac-sha256", "keyId": "k",
                "secretRef": {"name": "signing", "keyName": "key"},
            },
        }),
    );
    let gold = policy(
        "gold",
        &json!({"access_rights_array": [
            {"name": "orders", "namespace": "default", "kind": "TykOasApiDefinition"},
        ]}),
    );
    let made = bodies(&[
        map,
        v2,
        base,
        orders,
        gold,
        secret("partner", json!({"tls.crt": SERVER})),
        secret("pin", json!({"tls.crt": PUBLIC_KEY, "tls.key": ""})),
        secret("signing", json!({"key": "${secret:SIGNING}"})),
    ]);
    let body = &made[&format!("oas/{}", id("orders"))]["x-tyk-api-gateway"];
    assert_eq!(
        body["info"]["versioning"]["versions"],
        json!([{"name": "v2", "id": id("v2")}])
    );
    let clients = &body["server"]["clientCertificates"];
    assert_eq!(clients["enabled"], true);
    assert_eq!(clients["allowlist"][0].as_str().unwrap().len(), 64);
    assert_eq!(body["server"]["customDomain"]["name"], "shop.example.com");
    let pins = &body["upstream"]["certificatePinning"]["domainToPublicKeysMapping"][0];
    assert_eq!(pins["publicKeys"][0].as_str().unwrap().len(), 64);
    let scheme = &body["server"]["authentication"]["securitySchemes"]["jwt"];
    assert_eq!(scheme["defaultPolicies"], json!([id("gold")]));
    let mapping = &scheme["scopes"]["scopeToPolicyMapping"];
    assert_eq!(mapping, &json!([{"scope": "read", "policyId": id("gold")}]));
    let signing = &body["upstream"]["authentication"]["requestSigning"];
    assert_eq!(signing["secret"], "${secret:SIGNING}");
    let rights = &made[&format!("policy/{}", id("gold"))]["access_rights"];
    assert_eq!(rights[id("orders")]["api_name"], "orders");
    // The certificate and the public key are objects of their own.
    assert_eq!(
        made.keys()
            .filter(|key| key.starts_with("certificate/"))
            .count(),
        2
    );
}

#[test]
fn streams_and_mcp_proxies_are_documents_too() {
    let mut stream = document("stream");
    stream["x-tyk-streaming"] = json!({"streams": {}});
    let of = |kind: &str, member: &str, name: &str| {
        let found = json!({"name": name, "keyName": "api.json"});
        resource(kind, name, json!({member: {"configmapRef": found}}))
    };
    let made = bodies(&[
        config_map("stream", &stream),
        of("TykStreamsApiDefinition", "tykStreams", "stream"),
        config_map("tools", &document("tools")),
        of("TykMcpProxyDefinition", "tykMCP", "tools"),
    ]);
    let keys: BTreeSet<&str> = made.keys().map(String::as_str).collect();
    assert_eq!(
        Vec::from_iter(keys),
        [
            format!("mcp/{}", id("tools")),
            format!("oas/{}", id("stream"))
        ]
    );
    let without = problems(&[
        config_map("plain", &document("plain")),
        of("TykStreamsApiDefinition", "tykStreams", "plain"),
    ]);
    assert!(
        without[0].contains("no section x-tyk-streaming"),
        "{without:?}"
    );
    let lost = problems(&[of("TykMcpProxyDefinition", "tykMCP", "lost")]);
    assert!(lost[0].contains("no ConfigMap default/lost"), "{lost:?}");
}

/// What Tyk Operator's own reconcilers (0.18) were seen to send, beyond what its samples have.
#[test]
fn what_the_operators_samples_do_not_show_is_as_its_reconcilers_send_it() {
    let in_namespace = |mut resource: Value, namespace: &str| {
        resource["metadata"]["namespace"] = json!(namespace);
        resource
    };
    // A right without versions has none: "Default" would let keys into a version of that name.
    let right = json!([{"name": "a", "namespace": "default"}]);
    let spec =
        json!({"name": "gold", "state": "active", "active": true, "access_rights_array": right});
    let made = bodies(&[api("a", &json!({})), policy("gold", &spec)]);
    let policy = &made[&format!("policy/{}", id("gold"))];
    let right = &policy["access_rights"][id("a").as_str()];
    assert_eq!(right.get("versions"), None, "{right}");

    // Another API without a namespace is looked for in that of the resource.
    let outer = json!({"proxy": {"target_url": "", "listen_path": "/outer/", "target_internal": {
        "target": {"name": "inner"}, "path": "/a?b#c%20", "query": "d=e"
    }}});
    let made = bodies(&[
        in_namespace(api("outer", &outer), "tyk"),
        in_namespace(api("inner", &json!({})), "tyk"),
    ]);
    let id_of = |name: &str| BASE64_URL_SAFE_NO_PAD.encode(format!("tyk/{name}"));
    let outer = &made[&format!("classic/{}", id_of("outer"))];
    let address = format!("tyk://{}/a%3Fb%23c%2520?d=e", id_of("inner"));
    assert_eq!(outer["proxy"]["target_url"], address);

    // References to client certificates stand in the place of the list.
    let spec = json!({
        "use_mutual_tls_auth": true, "client_certificates": ["aaaa"],
        "client_certificate_refs": ["tls"], "use_standard_auth": true, "auth_configs": null,
    });
    let made = bodies(&[
        api("mutual", &spec),
        secret("tls", json!({"tls.crt": SERVER})),
    ]);
    let mutual = &made[&format!("classic/{}", id("mutual"))];
    let allowed = mutual["client_certificates"].as_array().unwrap();
    assert!(allowed.len() == 1 && allowed[0] != "aaaa", "{allowed:?}");
    let header = &mutual["auth_configs"]["authToken"]["auth_header_name"];
    assert_eq!(header, "Authorization");

    // Each kind knows its own label of a template, and an Ingress takes any API by its name.
    let mut applied = api("applied", &json!({}));
    applied["metadata"]["labels"] = json!({"tyk.io/ingress-template": "true"});
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": "shop", "annotations": {
            "kubernetes.io/ingress.class": "tyk", "tyk.io/template": "applied"
        }},
        "spec": {"rules": [{"host": "a.test", "http": {"paths": [{
            "path": "/", "pathType": "Prefix",
            "backend": {"service": {"name": "shop", "port": {"number": 80}}}
        }]}}]},
    });
    let made = bodies(&[applied, ingress]);
    assert_eq!(made.len(), 2, "{made:?}");
    assert!(made.contains_key(&format!("classic/{}", id("applied"))));

    // A rewrite to nowhere is refused, as the operator's webhook does.
    let rewrite = json!({"path": "/a", "method": "GET", "match_pattern": ".*", "rewrite_to": "",
        "triggers": [{"on": "all"}]});
    let spec = json!({"version_data": {"not_versioned": true, "versions": {"Default": {
        "name": "Default", "use_extended_paths": true, "extended_paths": {"url_rewrites": [rewrite]}
    }}}});
    let told = read_all(&[api("rewriting", &spec)]).unwrap().warnings;
    let nowhere = "where the request is rewritten to is missing";
    let of_rewrites = told.iter().filter(|told| told.message == nowhere);
    assert_eq!(of_rewrites.count(), 2, "{told:?}");
}

#[test]
fn whole_numbers_may_be_written_with_a_point_as_in_kubernetes() {
    let policy = policy(
        "gold",
        &json!({"rate": 10.0, "per": 60.0, "quota_max": -1.0}),
    );
    let api = api("orders", &json!({"cache_options": {"cache_timeout": 60.0}}));
    let bodies = bodies(&[policy, api]);
    let gold = &bodies[&format!("policy/{}", id("gold"))];
    assert_eq!(gold["rate"].to_string(), "10");
    assert_eq!(gold["quota_max"].to_string(), "-1");
    let orders = &bodies[&format!("classic/{}", id("orders"))];
    assert_eq!(orders["cache_options"]["cache_timeout"].to_string(), "60");
}

#[test]
fn an_ingress_becomes_the_apis_of_the_operators_controller() {
    let mut template = api("base", &json!({"use_keyless": true}));
    template["metadata"]["labels"] = json!({"template": "true"});
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {
            "name": "web",
            "annotations": {"kubernetes.io/ingress.class": "tyk", "tyk.io/template": "base"},
        },
        "spec": {"rules": [{"host": "*.foo.com", "http": {"paths": [
            {"path": "/httpbin", "pathType": "Prefix",
             "backend": {"service": {"name": "httpbin", "port": {"number": 8000}}}},
        ]}}]},
    });
    let made = bodies(&[template, ingress.clone()]);
    // The first nine hex digits of the SHA-256 of *.foo.com/httpbin.
    let name = "default-web-3af1fef04";
    let keys: Vec<&String> = made.keys().collect();
    let body = made.values().next().unwrap();
    assert_eq!(body["proxy"]["listen_path"], "/httpbin");
    assert_eq!(
        body["proxy"]["target_url"],
        "http://httpbin.default.svc.cluster.local:8000"
    );
    assert_eq!(body["domain"], "{?:[^.]+}.foo.com");
    assert_eq!(body["use_keyless"], true);
    assert_eq!(body["name"], name);
    assert_eq!(keys, [&format!("classic/{}", id(name))]);
    let lost = problems(&[ingress]);
    assert!(
        lost[0].contains("no ApiDefinition default/base"),
        "{lost:?}"
    );
}

#[test]
fn a_private_key_or_a_password_in_a_secret_is_refused_and_never_shown() {
    let key = SERVER_KEY.lines().nth(1).unwrap();
    let refused = problems(&[
        secret("own", json!({"tls.crt": SERVER, "tls.key": SERVER_KEY})),
        api("shop", &json!({"certificate_secret_names": ["own"]})),
    ]);
    assert!(
        refused[0].contains("a private key is refused"),
        "{refused:?}"
    );
    assert!(!refused.concat().contains(key));

    let signing = json!({"upstreamRequestSigning": {
        "algorithm": "hmac-sha256", "keyId": "k",
        "secretRef": {"name": "signing", "keyName": "key"},
    }});
    let [map, signed] = oas("signed", &signing);
    let refused = problems(&[map, signed, secret("signing", json!({"key": "pa55word"}))]);
    assert!(refused[0].contains("stands in clear in Git"), "{refused:?}");
    assert!(!refused.concat().contains("pa55word"));

    // A Secret that is not here goes by its name in the server's configuration.
    let missing = problems(&[api("shop", &json!({"certificate_secret_names": ["own"]}))]);
    assert!(
        missing[0].contains("there is no certificate \"own\""),
        "{missing:?}"
    );
}

#[test]
fn a_context_must_not_mean_another_organisation_and_is_no_object() {
    let context = |org: &str| {
        let env =
            json!({"mode": "ce", "org": org, "url": "http://tyk", "ingress": {"httpPort": 80}});
        resource("OperatorContext", "prod", json!({"env": env}))
    };
    let shop = api("shop", &json!({"contextRef": {"name": "prod"}}));
    let options = Options {
        org: Some("acme".to_owned()),
        ..Options::default()
    };
    let made = read_with(&[context("acme"), shop.clone()], &options).unwrap();
    assert_eq!(made.desired.len(), 1);
    assert_eq!(made.ignored.len(), 1);
    let refused = read_with(&[context("other"), shop], &options).unwrap_err();
    assert!(refused[0].message.contains("gives the organisation other"));
    let unknown = problems(&[resource(
        "OperatorContext",
        "x",
        json!({"env": {"TYK_MODE": "pro"}}),
    )]);
    assert!(unknown[0].contains("/spec/env/TYK_MODE: the field TYK_MODE does not exist"));
}

#[test]
fn graphs_are_written_into_the_apis_that_serve_them() {
    let users = "type Query {me: User} type User @key(fields: \"id\") {id: ID!}";
    let posts = "extend type User @key(fields: \"id\") {id: ID! @external posts: [String]}";
    let sub =
        |name: &str, sdl: &str| resource("SubGraph", name, json!({"schema": "x", "sdl": sdl}));
    let serving = |name: &str, mode: &str, graph: &str| {
        let graphql = json!({"enabled": true, "execution_mode": mode, "graph_ref": graph});
        api(name, &json!({"use_keyless": true, "graphql": graphql}))
    };
    let refs = json!([{"name": "users"}, {"name": "posts"}]);
    let all = [
        sub("users", users),
        sub("posts", posts),
        resource(
            "SuperGraph",
            "all",
            json!({"schema": "y", "subgraph_refs": refs}),
        ),
        serving("users-api", "subgraph", "users"),
        serving("posts-api", "subgraph", "posts"),
        serving("all-api", "supergraph", "all"),
    ];
    let made = bodies(&all);
    let graphql = &made[&format!("classic/{}", id("all-api"))]["graphql"];
    assert_eq!(graphql["schema"], "y");
    assert_eq!(
        graphql["supergraph"]["merged_sdl"],
        "type Query {me: User} type User {id: ID! posts: [String]}"
    );
    assert_eq!(
        graphql["supergraph"]["subgraphs"][0],
        json!({"api_id": id("users-api"), "name": "users-api", "url": "tyk://users-api", "sdl": users})
    );
    let own = &made[&format!("classic/{}", id("posts-api"))]["graphql"];
    assert_eq!(own["subgraph"]["sdl"], posts);
    let unserved = problems(&[&all[..4], &all[5..]].concat());
    assert!(unserved[0].contains("no ApiDefinition here serves the SubGraph default/posts"));
}

#[test]
fn what_a_portal_shows_is_checked_and_is_not_applicable() {
    let entry = json!({"name": "x", "policyRef": {"name": "gold"}});
    let read = read_all(&[
        resource("APIDescription", "one", entry),
        resource("PortalConfig", "conf", json!({})),
        resource(
            "PortalAPICatalogue",
            "all",
            json!({"apis": [{"apiDescriptionRef": {"name": "one"}}]}),
        ),
    ])
    .unwrap();
    assert!(read.desired.is_empty());
    let reasons: BTreeSet<&str> = read.ignored.iter().map(|one| one.reason.as_str()).collect();
    assert_eq!(reasons.len(), 3);
    assert!(
        reasons
            .iter()
            .all(|reason| reason.contains("not applicable to a gateway"))
    );
    let refused = problems(&[resource(
        "PortalConfig",
        "conf",
        json!({"enable_dcrr": true}),
    )]);
    assert!(
        refused[0].contains("did you mean enable_dcr?"),
        "{refused:?}"
    );
}

#[test]
#[ignore = "needs ../shared; tests/run has it"]
fn every_field_of_the_operators_schema_is_in_the_table() {
    let Some(shared) = crate::support::shared() else {
        return;
    };
    let text = std::fs::read_to_string(shared.join("reference/operator-crd-fields.tsv")).unwrap();
    let known: BTreeSet<(&str, &str)> = fields()
        .iter()
        .map(|field| (field.kind, field.path))
        .collect();
    let mut rows = 0;
    for line in text.lines().skip(1) {
        let mut columns = line.split('\t');
        let (kind, path) = (columns.next().unwrap(), columns.next().unwrap());
        let path = path.replace("{key}", "{}");
        assert!(known.contains(&(kind, path.as_str())), "{kind} {path}");
        rows += 1;
    }
    assert_eq!(rows, 987);
}

/// A value that a field takes, and that is not its zero.
fn sample(field: &Field) -> Value {
    let text = match (field.kind, field.path) {
        ("ApiDefinition", "protocol") => "https",
        ("ApiDefinition", "proxy.listen_path") => "/marker/",
        ("ApiDefinition", "proxy.target_url") => "http://marker",
        ("ApiDefinition" | "SecurityPolicy", "id" | "_id") => "0123456789abcdef01234567",
        (_, path) if path.ends_with("execution_mode") => "proxyOnly",
        _ => "marker",
    };
    match field.shape {
        "text" => json!(text),
        "flag" => json!(true),
        "whole number" => json!(7),
        "number" => json!("0.5"),
        _ => json!({"any": "thing"}),
    }
}

/// Writes a value at a field's path: the first item of a list, the member `any` of a map.
fn place(spec: &mut Value, path: &str, value: Value) {
    let pointer = concrete(path);
    let mut at = spec;
    for step in pointer.split('/').skip(1) {
        if step == "0" {
            if !at.is_array() {
                *at = json!([null]);
            }
            at = &mut at[0];
        } else {
            if !at.is_object() {
                *at = json!({});
            }
            at = &mut at[step];
        }
    }
    *at = value;
}

fn concrete(path: &str) -> String {
    format!(
        "/{}",
        path.replace("[]", ".0")
            .replace("{}", "any")
            .replace('.', "/")
    )
}

/// Fields without others below them.
fn leaves(kind: &str) -> Vec<&'static Field> {
    let own: Vec<&Field> = fields().iter().filter(|field| field.kind == kind).collect();
    let has_more = |field: &Field| {
        own.iter().any(|other| {
            other.path.len() > field.path.len() && other.path.starts_with(field.path) && {
                other.path[field.path.len()..].starts_with(['.', '['])
            }
        })
    };
    own.iter()
        .copied()
        .filter(|field| !has_more(field))
        .collect()
}

#[test]
fn a_field_of_an_api_or_a_policy_arrives_where_the_table_says() {
    let mut checked = 0;
    let mut wrong = Vec::new();
    for kind in ["ApiDefinition", "SecurityPolicy"] {
        for field in leaves(kind) {
            let value = sample(field);
            let mut given = json!({});
            place(&mut given, field.path, value.clone());
            if field.path == "version_data.default_version" {
                given["version_data"]["versions"] = json!({"marker": {"name": "marker"}});
            }
            if field.path == "proxy.enable_load_balancing" {
                given["proxy"]["target_list"] = json!(["http://up"]);
            }
            if field.path == "contextRef.namespace" {
                given["contextRef"]["name"] = json!("marker");
            }
            // References need what they refer to; tests of their own look at those.
            let refers = [
                "_refs",
                "certificate_secret_names",
                "_internal",
                "graph_ref",
            ]
            .iter()
            .any(|part| field.path.contains(part));
            let names_api = field.path.starts_with("access_rights_array")
                || ["name", "namespace", "kind"]
                    .iter()
                    .any(|end| field.path == format!("access_rights.{{}}.{end}"));
            if refers || (names_api && field.becomes == Becomes::At("access_rights.{}.api_id")) {
                continue;
            }
            let shop = api("shop", &json!({}));
            let documents = if kind == "ApiDefinition" {
                vec![api("mine", &given)]
            } else {
                if names_api {
                    merge(
                        &mut given["access_rights_array"][0],
                        &json!({"name": "shop", "namespace": "default"}),
                    );
                }
                vec![shop, policy("mine", &given)]
            };
            let read = match read_all(&documents) {
                Ok(read) => read,
                Err(problems) => {
                    // Only what excludes another may be refused.
                    let shown = format!("{problems:?}");
                    let is_meant = matches!(field.becomes, Becomes::Refused(_))
                        || shown.contains("listen_port")
                        || shown.contains("stands under");
                    if !is_meant {
                        wrong.push(format!("{field:?}: {shown}"));
                    }
                    continue;
                }
            };
            let place = match field.becomes {
                Becomes::Same => field.path.to_owned(),
                Becomes::At(place) => place.to_owned(),
                Becomes::NotApplicable(_) => continue,
                Becomes::Refused(_) => {
                    wrong.push(format!("{field:?} is accepted"));
                    continue;
                }
            };
            let mut pointer = concrete(&place);
            if names_api {
                pointer = pointer.replace("/any/", &format!("/{}/", id("shop")));
            }
            let number = value.as_str() == Some("0.5");
            let expected = if number { json!(0.5) } else { value };
            let found = read.desired.values().any(|object| {
                let at = object.body.pointer(&pointer);
                let is_named = names_api
                    && ["api_id", "api_name"]
                        .iter()
                        .any(|end| pointer.ends_with(end));
                at == Some(&expected) || (is_named && at.is_some())
            });
            if !found {
                wrong.push(format!("{field:?} is not at {pointer}"));
            }
            checked += 1;
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(checked > 500, "{checked}");
}

fn any_json() -> impl Strategy<Value = Value> {
    let names: Vec<String> = fields()
        .iter()
        .flat_map(|field| field.path.split('.'))
        .map(|step| step.replace("[]", ""))
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[ -~]{0,12}".prop_map(Value::from),
        Just(json!("tyk://x")),
        Just(json!("default/x")),
        Just(json!("x")),
    ];
    leaf.prop_recursive(5, 48, 6, move |inner| {
        let name = prop::sample::select(names.clone());
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name, inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_spec_makes_it_panic(
        spec in any_json(),
        other in any_json(),
        kind in prop::sample::select(vec![
            "ApiDefinition", "SecurityPolicy", "TykOasApiDefinition", "TykStreamsApiDefinition",
            "TykMcpProxyDefinition", "OperatorContext", "SuperGraph", "SubGraph",
            "APIDescription", "PortalAPICatalogue", "PortalConfig",
        ]),
        text in "[ -~]{0,40}",
    ) {
        let mut ingress = resource("Ingress", "x", other.clone());
        ingress["apiVersion"] = json!("networking.k8s.io/v1");
        ingress["metadata"]["annotations"] = json!({"kubernetes.io/ingress.class": "tyk"});
        let held = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"x": text, "y": spec.to_string()}});
        let found = json!({"configmapRef": {"name": "x", "keyName": "y"}});
        let mut whole = spec.clone();
        if let Some(members) = whole.as_object_mut() {
            for member in ["tykOAS", "tykStreams", "tykMCP"] {
                members.entry(member).or_insert_with(|| found.clone());
            }
        }
        let _ = read_all(&[
            resource(kind, "x", whole),
            resource(kind, "y", other),
            resource("SubGraph", "z", json!({"schema": text, "sdl": text})),
            ingress,
            held,
            secret("x", json!({"tls.crt": text})),
        ]);
    }
}
