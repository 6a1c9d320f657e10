//! Every trap of the gateway that a manifest can spring, as data. Each ends in a refusal before the
//! write, in a repaired run, or in an API that works; what worked before answers requests through
//! the gateway afterwards. All run against the stand-in, and against a real gateway when
//! `LOCKSTEP_TEST_GATEWAY_URL` names its control API, `LOCKSTEP_TEST_GATEWAY_PROXY_URL` its port for
//! traffic and `LOCKSTEP_TEST_GATEWAY_SECRET` its secret. That gateway must be on this machine: its
//! requests go to an upstream of ours. Nobody else should write to it meanwhile.
#![expect(clippy::too_many_lines, reason = "the traps are data")]

use std::{
    collections::BTreeMap,
    env,
    net::SocketAddr,
    panic::AssertUnwindSafe,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use futures_util::FutureExt as _;
use lockstep::{
    domain::{
        object::{Kind, ObjectKey},
        run::{Action, Outcome, RunStatus},
    },
    sandbox::gateway::{Gateway, GatewayOptions},
    sync::{run::Report, schedule},
    tyk::gateway::{Client, Options},
};
use serde_json::{Value, json};

use crate::support::app::{GATEWAY_SECRET, Mode, TestApp};

/// What a trap comes to.
#[derive(Debug, Clone, Copy)]
enum End {
    /// The manifests are refused, with this in the sentence.
    Refused(&'static str),
    /// The change is held back.
    Held(&'static str),
    /// The gateway refuses the write, in its own words.
    Failed(&'static str),
    /// The gateway took it, it went wrong, and the previous body is back.
    Repaired(&'static str),
    /// It is live as asked.
    Works,
}
use End::{Failed, Held, Refused, Repaired, Works};

struct Trap {
    name: &'static str,
    /// What is written beside `keep` and `other` at first, by file.
    before: Vec<Value>,
    /// What somebody else puts on the gateway's disk, before the first push and loaded.
    foreign: Vec<Value>,
    /// The same, between the first push and the second, and not loaded.
    meanwhile: Vec<Value>,
    after: Vec<Value>,
    end: End,
    /// Paths that answer with 200 in the end, beside those of `keep` and `other`.
    answer: Vec<String>,
}

/// One gateway, and the names that a trap uses on it.
struct Site {
    prefix: String,
    upstream: String,
    proxy: String,
    client: Client,
    http: reqwest::Client,
}

impl Site {
    fn id(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Not the id, because a gateway serves every API below its id as well.
    fn path(&self, name: &str) -> String {
        format!("/at-{}/", self.id(name))
    }

    fn classic(&self, name: &str, change: impl FnOnce(&mut Value)) -> Value {
        let mut body = json!({
            "api_id": self.id(name), "name": self.id(name), "org_id": "default", "active": true,
            "use_keyless": true,
            "proxy": {
                "listen_path": self.path(name), "target_url": self.upstream, "strip_listen_path": true,
            },
            "version_data": {
                "not_versioned": true,
                "versions": {"Default": {"name": "Default", "use_extended_paths": true}},
            },
        });
        change(&mut body);
        body
    }

    fn oas(&self, name: &str, change: impl FnOnce(&mut Value)) -> Value {
        let mut body = json!({
            "openapi": "3.0.3", "info": {"title": self.id(name), "version": "1"}, "paths": {},
            "x-tyk-api-gateway": {
                "info": {
                    "id": self.id(name), "orgId": "default", "name": self.id(name),
                    "state": {"active": true},
                },
                "upstream": {"url": self.upstream},
                "server": {"listenPath": {"value": self.path(name), "strip": true}},
            },
        });
        change(&mut body);
        body
    }

    fn policy(&self, name: &str, change: impl FnOnce(&mut Value)) -> Value {
        let api = self.id("keep");
        let mut body = json!({
            "id": self.id(name), "name": name, "org_id": "default", "active": true, "rate": 5,
            "per": 60, "access_rights": {
                (api.as_str()): {"api_id": api, "api_name": api, "versions": ["Default"]},
            },
        });
        change(&mut body);
        body
    }

    async fn answers(&self, path: &str) -> u16 {
        // The port may be closed for a moment while the gateway loads.
        let url = format!("{}{path}x", self.proxy);
        match self.http.get(url).send().await {
            Ok(answer) => answer.status().as_u16(),
            Err(_) => 0,
        }
    }

    async fn put(&self, body: &Value) {
        let (kind, id) = key_of(body);
        self.client.write(kind, &id, body).await.unwrap();
    }

    /// Removes everything that bears the prefix, also what the gateway only has on its disk.
    async fn tidy(&self) {
        self.client.reload().await.unwrap();
        for _ in 0..2 {
            let live = self.client.list().await.unwrap().objects;
            let ours = live
                .iter()
                .filter(|listed| listed.key.id.starts_with(&self.prefix));
            for listed in ours {
                let ObjectKey { kind, id } = &listed.key;
                self.client.delete(*kind, id).await.unwrap();
            }
            self.client.reload().await.unwrap();
        }
    }
}

fn key_of(body: &Value) -> (Kind, String) {
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str);
    if let Some(id) = text("/x-tyk-api-gateway/info/id") {
        (Kind::OasApi, id.to_owned())
    } else if let Some(id) = text("/api_id") {
        (Kind::ClassicApi, id.to_owned())
    } else {
        (Kind::Policy, text("/id").unwrap_or_default().to_owned())
    }
}

fn listen_at(body: &mut Value, path: &str) {
    let pointer = if body.get("openapi").is_some() {
        "/x-tyk-api-gateway/server/listenPath/value"
    } else {
        "/proxy/listen_path"
    };
    *body.pointer_mut(pointer).unwrap() = json!(path);
}

fn set(body: &mut Value, pointer: &str, value: Value) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let mut at = body;
    for token in parent.split('/').skip(1) {
        at = at
            .as_object_mut()
            .unwrap()
            .entry(token)
            .or_insert(json!({}));
    }
    at.as_object_mut().unwrap().insert(name.to_owned(), value);
}

fn remove(body: &mut Value, pointer: &str) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = body.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    parent.remove(name);
}

/// An update of an API that works, one change each.
fn updates(site: &Site) -> Vec<Trap> {
    type Change = (&'static str, &'static str, Value, End);
    let x = "/x-tyk-api-gateway";
    let classic: Vec<Change> = vec![
        (
            "a brace is open",
            "/proxy/listen_path",
            json!("/x/{y/"),
            Refused("braces"),
        ),
        (
            "a brace is closed twice",
            "/proxy/listen_path",
            json!("/x/y}/"),
            Refused("braces"),
        ),
        (
            "a variable without a name",
            "/proxy/listen_path",
            json!("/x/{}/"),
            Refused("no name"),
        ),
        (
            "a variable without a pattern",
            "/proxy/listen_path",
            json!("/x/{y:}/"),
            Refused("no name"),
        ),
        (
            "a pattern that does not compile",
            "/proxy/listen_path",
            json!("/x/{y:[0-9+}/"),
            Repaired("did not load it"),
        ),
        (
            "no leading slash",
            "/proxy/listen_path",
            json!("x/y/"),
            Refused("must begin with /"),
        ),
        (
            "an empty listen path",
            "/proxy/listen_path",
            json!(""),
            Refused("empty"),
        ),
        (
            "a blank listen path",
            "/proxy/listen_path",
            json!("  "),
            Refused("empty"),
        ),
        (
            "a space in the listen path",
            "/proxy/listen_path",
            json!("/a b/"),
            Refused("not served"),
        ),
        (
            "dots in the listen path",
            "/proxy/listen_path",
            json!("/a/../b/"),
            Refused("not served"),
        ),
        (
            "a question mark in the listen path",
            "/proxy/listen_path",
            json!("/a?b/"),
            Refused("not served"),
        ),
        (
            "a percent sign in the listen path",
            "/proxy/listen_path",
            json!("/a%20b/"),
            Refused("not served"),
        ),
        (
            "two slashes in the listen path",
            "/proxy/listen_path",
            json!("//a/"),
            Refused("not served"),
        ),
        (
            "a reference as listen path",
            "/proxy/listen_path",
            json!("env://LISTEN"),
            Refused("must begin with /"),
        ),
        (
            "another id of the database",
            "/id",
            json!("not hex"),
            Refused("24 hex"),
        ),
        (
            "a bundle that nobody serves",
            "/custom_middleware_bundle",
            json!("nowhere.zip"),
            Repaired("did not load it"),
        ),
        (
            "TCP without a port",
            "/protocol",
            json!("tcp"),
            Refused("needs a listen_port"),
        ),
        (
            "a protocol that is none",
            "/protocol",
            json!("gopher"),
            Refused("no such protocol"),
        ),
        (
            "no target",
            "/proxy/target_url",
            json!(""),
            Refused("address is missing"),
        ),
        (
            "a target that cannot be read",
            "/proxy/target_url",
            json!("http://[::1"),
            Refused("cannot be read"),
        ),
        (
            "a target with a space in the host",
            "/proxy/target_url",
            json!("http://a b/"),
            Refused("cannot be read"),
        ),
        (
            "a target without a scheme",
            "/proxy/target_url",
            json!("orders/v1"),
            Refused("a scheme"),
        ),
        (
            "the name is a number",
            "/name",
            json!(5),
            Refused("must be a text"),
        ),
        (
            "a flag is a text",
            "/use_keyless",
            json!("yes"),
            Refused("true or false"),
        ),
        (
            "a list is a text",
            "/proxy/target_list",
            json!("a"),
            Refused("a list"),
        ),
        (
            "a deep field of the wrong type",
            "/proxy/transport",
            json!({"ssl_min_version": "x"}),
            Refused("must be a whole number"),
        ),
        (
            "load balancing over nothing",
            "/proxy/enable_load_balancing",
            json!(true),
            Refused("there is no target"),
        ),
        (
            "a timeout below zero",
            "/version_data/versions/Default/global_enforce_timeout",
            json!("-5s"),
            Refused("a timeout below 0"),
        ),
        (
            "keyless and a token",
            "/use_standard_auth",
            json!(true),
            Refused("both on"),
        ),
        (
            "another organisation",
            "/org_id",
            json!("other"),
            Refused("organisation"),
        ),
        ("not active", "/active", json!(false), Works),
        ("an unknown key", "/use_keyles", json!(true), Works),
        (
            "a duration in another spelling",
            "/version_data/versions/Default/global_enforce_timeout",
            json!("60s"),
            Works,
        ),
        (
            "a version that nobody has",
            "/definition",
            json!({
                "enabled": true, "name": "v1", "default": "self", "location": "header", "key": "x-version",
                "versions": {"v2": "nowhere"},
            }),
            Works,
        ),
    ];
    let oas: Vec<Change> = vec![
        (
            "OAS: a brace is open",
            "server/listenPath/value",
            json!("/x/{y/"),
            Refused("braces"),
        ),
        (
            "OAS: a pattern that does not compile",
            "server/listenPath/value",
            json!("/x/{y:[0-9+}/"),
            Failed("failed to compile pattern"),
        ),
        (
            "OAS: two variables of one name",
            "server/listenPath/value",
            json!("/x/{y}/{y}/"),
            Failed("variable collision"),
        ),
        (
            "OAS: no leading slash",
            "server/listenPath/value",
            json!("x/y/"),
            Refused("must begin with /"),
        ),
        (
            "OAS: a blank listen path",
            "server/listenPath/value",
            json!(" "),
            Refused("empty"),
        ),
        (
            "OAS: a percent sign in the listen path",
            "server/listenPath/value",
            json!("/a%20b/"),
            Refused("not served"),
        ),
        (
            "OAS: another id of the database",
            "info/dbId",
            json!("not hex"),
            Refused("24 hex"),
        ),
        (
            "OAS: a target that cannot be read",
            "upstream/url",
            json!("http://[::1"),
            Refused("cannot be read"),
        ),
        (
            "OAS: a target without a scheme",
            "upstream/url",
            json!("orders"),
            Refused("a scheme"),
        ),
        (
            "OAS: a bundle that nobody serves",
            "middleware",
            json!({"global": {"pluginConfig": {"bundle": {"enabled": true, "path": "nowhere.zip"}}}}),
            Repaired("did not load it"),
        ),
        (
            "OAS: the name is a number",
            "info/name",
            json!(5),
            Refused("must be a text"),
        ),
        (
            "OAS: a duration that is none",
            "upstream/rateLimit",
            json!({"enabled": true, "rate": 5, "per": "sixty"}),
            Refused("must be a duration"),
        ),
        (
            "OAS: a duration in another spelling",
            "upstream/rateLimit",
            json!({"enabled": true, "rate": 5000, "per": "60s"}),
            Works,
        ),
        (
            "OAS: an unknown key of the extension",
            "bogus",
            json!({"a": 1}),
            Works,
        ),
        ("OAS: not active", "info/state/active", json!(false), Works),
        (
            "OAS: another organisation",
            "info/orgId",
            json!("other"),
            Refused("organisation"),
        ),
        (
            "OAS: middleware of an operation that is not there",
            "middleware",
            json!({"operations": {"nowhere": {"allow": {"enabled": true}}}}),
            Works,
        ),
    ];
    let roots: Vec<Change> = vec![
        (
            "OAS: a version of OpenAPI that is none",
            "/openapi",
            json!("3.2.0"),
            Refused("3.0 and 3.1"),
        ),
        (
            "OAS: an unknown key of the document",
            "/bogus",
            json!(1),
            Refused("has no field bogus"),
        ),
        (
            "OAS: a reference to another file",
            "/paths",
            json!({"/x": {"$ref": "other.yaml#/x"}}),
            Failed("request malformed"),
        ),
        (
            "OAS: a scheme that is missing",
            "/security",
            json!([{"key": []}]),
            Refused("no security scheme key"),
        ),
        (
            "OAS: a path without a slash",
            "/paths",
            json!({"nope": {}}),
            Refused("must begin with /"),
        ),
        (
            "OAS: a path parameter that is not declared",
            "/paths",
            json!({"/u/{id}": {"get": {"operationId": "u", "responses": {"200": {"description": "x"}}}}}),
            Refused("is not declared"),
        ),
        (
            "OAS: two operations of one id",
            "/paths",
            json!({"/u": {
                "get": {"operationId": "u", "responses": {"200": {"description": "x"}}},
                "post": {"operationId": "u", "responses": {"200": {"description": "x"}}},
            }}),
            Refused("has the operationId u too"),
        ),
        (
            "OAS: the title is empty",
            "/info/title",
            json!(""),
            Refused("title is empty"),
        ),
    ];
    let mut traps = Vec::new();
    let mut update = |name, before: Value, after: Value, end| {
        traps.push(Trap {
            name,
            before: vec![before],
            foreign: Vec::new(),
            meanwhile: Vec::new(),
            after: vec![after],
            end,
            answer: vec![site.path("mine")],
        });
    };
    for (name, pointer, value, end) in classic {
        let before = site.classic("mine", |_| {});
        let after = site.classic("mine", |body| set(body, pointer, value));
        update(name, before, after, end);
    }
    for (name, pointer, value, end) in oas {
        let pointer = format!("{x}/{pointer}");
        let after = site.oas("mine", |body| set(body, &pointer, value));
        update(name, site.oas("mine", |_| {}), after, end);
    }
    for (name, pointer, value, end) in roots {
        let after = site.oas("mine", |body| set(body, pointer, value));
        update(name, site.oas("mine", |_| {}), after, end);
    }
    let gone: Vec<(&'static str, &'static str, End)> = vec![
        (
            "OAS: no listen path",
            "/x-tyk-api-gateway/server/listenPath",
            Refused("listen path is missing"),
        ),
        (
            "OAS: no upstream",
            "/x-tyk-api-gateway/upstream",
            Refused("address is missing"),
        ),
        ("OAS: no paths", "/paths", Refused("paths is missing")),
        ("OAS: no id", "/x-tyk-api-gateway/info/id", Refused("no id")),
    ];
    for (name, pointer, end) in gone {
        let after = site.oas("mine", |body| remove(body, pointer));
        update(name, site.oas("mine", |_| {}), after, end);
    }
    let without_target = site.classic("mine", |body| remove(body, "/proxy/target_url"));
    update(
        "no target at all",
        site.classic("mine", |_| {}),
        without_target,
        Refused("address is missing"),
    );
    let bad_address = site.classic("mine", |body| {
        set(body, "/enable_ip_whitelisting", json!(true));
        set(body, "/allowed_ips", json!(["300.1.1.1"]));
    });
    update(
        "an address that is none",
        site.classic("mine", |_| {}),
        bad_address,
        Refused("no IP address"),
    );
    // The gateway would show a secret in the place of the reference.
    let reference = |body: &mut Value| set(body, "/config_data", json!({"a": "env://PATH"}));
    update(
        "a bundle that nobody serves, and a reference to a secret",
        site.classic("mine", reference),
        site.classic("mine", |body| {
            reference(body);
            bundled(body);
        }),
        Repaired("did not load it"),
    );
    let without_id = site.classic("mine", |body| remove(body, "/api_id"));
    update(
        "no id",
        site.classic("mine", |_| {}),
        without_id,
        Refused("no id"),
    );
    // Its document is not read from a gateway that may be busy: Git has it.
    traps.push(Trap {
        name: "OAS with JWT: a bundle that nobody serves",
        before: vec![site.oas("mine", with_jwt)],
        foreign: Vec::new(),
        meanwhile: Vec::new(),
        after: vec![site.oas("mine", |body| {
            with_jwt(body);
            bundled_oas(body);
        })],
        end: Repaired("did not load it"),
        answer: Vec::new(),
    });
    traps
}

fn with_jwt(body: &mut Value) {
    set(
        body,
        "/components",
        json!({"securitySchemes": {"idp": {
            "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
        }}}),
    );
    set(body, "/security", json!([{"idp": []}]));
    set(
        body,
        "/x-tyk-api-gateway/server/authentication",
        json!({
            "enabled": true,
            "securitySchemes": {"idp": {
                "enabled": true, "header": {"enabled": true, "name": "Authorization"},
                "signingMethod": "hmac", "source": "c2VjcmV0", "identityBaseField": "sub",
                "defaultPolicies": ["none"],
            }},
        }),
    );
}

/// Objects that get in each other's way.
fn collisions(site: &Site) -> Vec<Trap> {
    let plain = |name: &str| site.classic(name, |_| {});
    let at = |name: &str, path: &str| {
        let path = site.path(path);
        site.classic(name, |body| listen_at(body, &path))
    };
    let trap = |name, before: Vec<Value>, after: Vec<Value>, end, answer: &[&str]| Trap {
        name,
        before,
        foreign: Vec::new(),
        meanwhile: Vec::new(),
        after,
        end,
        answer: answer.iter().map(|name| site.path(name)).collect(),
    };
    vec![
        trap(
            "two of one listen path",
            vec![plain("a")],
            vec![plain("a"), at("b", "a")],
            Refused("would rename one of them"),
            &["a"],
        ),
        trap(
            "two of one id",
            vec![plain("a")],
            vec![plain("a"), site.oas("a", |_| {})],
            Refused("is taken by"),
            &["a"],
        ),
        Trap {
            foreign: vec![plain("foreign")],
            ..trap(
                "the listen path of somebody else",
                vec![plain("a")],
                vec![at("a", "foreign")],
                Held("belongs to no stack"),
                &["a", "foreign"],
            )
        },
        Trap {
            foreign: vec![plain("foreign")],
            ..trap(
                "a new API on the listen path of somebody else",
                vec![],
                vec![at("a", "foreign")],
                Held("belongs to no stack"),
                &["foreign"],
            )
        },
        Trap {
            foreign: vec![plain("a")],
            ..trap(
                "the id of somebody else",
                vec![],
                vec![at("a", "b")],
                Held("belongs to no stack"),
                &["a"],
            )
        },
        Trap {
            meanwhile: vec![at("foreign", "b")],
            ..trap(
                "somebody takes the new listen path at the same time",
                vec![plain("a")],
                vec![at("a", "b")],
                Repaired("another listen path"),
                &["a"],
            )
        },
        Trap {
            meanwhile: vec![at("foreign", "b")],
            ..trap(
                "somebody takes the listen path of a new API at the same time",
                vec![plain("a")],
                vec![plain("a"), plain("b")],
                Failed("It was removed again"),
                &["a"],
            )
        },
        Trap {
            foreign: vec![plain("foreign")],
            meanwhile: vec![at("foreign", "b")],
            ..trap(
                "somebody moves to the listen path of a new API at the same time",
                vec![plain("a")],
                vec![plain("a"), plain("b")],
                Failed("removed again"),
                &["a"],
            )
        },
        trap(
            "a swap of two listen paths",
            vec![plain("a"), plain("b")],
            vec![at("a", "b"), at("b", "a")],
            Works,
            &["a", "b"],
        ),
        trap(
            "a ring of three listen paths",
            vec![plain("a"), plain("b"), plain("c")],
            vec![at("a", "b"), at("b", "c"), at("c", "a")],
            Works,
            &["a", "b", "c"],
        ),
        trap(
            "classic becomes OAS",
            vec![plain("a")],
            vec![site.oas("a", |_| {})],
            Works,
            &["a"],
        ),
        trap(
            "OAS becomes classic",
            vec![site.oas("a", |_| {})],
            vec![plain("a")],
            Works,
            &["a"],
        ),
        trap(
            "classic becomes OAS and is not loaded",
            vec![plain("a")],
            vec![site.oas("a", bundled_oas)],
            Repaired("did not load it"),
            &["a"],
        ),
        trap(
            "OAS becomes classic and is not loaded",
            vec![site.oas("a", |_| {})],
            vec![site.classic("a", bundled)],
            Repaired("did not load it"),
            &["a"],
        ),
        trap(
            "classic becomes OAS and is refused",
            vec![plain("a")],
            vec![site.oas("a", |body| listen_at(body, "/x/{y}/{y}/"))],
            Repaired("variable collision"),
            &["a"],
        ),
        Trap {
            meanwhile: vec![at("foreign", "b")],
            ..trap(
                "classic becomes OAS where somebody else comes",
                vec![plain("a")],
                vec![site.oas("a", |body| listen_at(body, &site.path("b")))],
                Repaired("another listen path"),
                &["a"],
            )
        },
        trap(
            "a swap of which one is not loaded",
            vec![plain("a"), plain("b")],
            vec![
                site.classic("a", |body| {
                    listen_at(body, &site.path("b"));
                    bundled(body);
                }),
                at("b", "a"),
            ],
            Repaired("did not load it"),
            &["a", "b"],
        ),
        trap(
            "an API takes the path of one that goes elsewhere and is not loaded",
            vec![plain("a"), plain("b")],
            vec![
                site.classic("a", |body| {
                    listen_at(body, &site.path("c"));
                    bundled(body);
                }),
                at("b", "a"),
            ],
            Repaired("has to go back"),
            &["a", "b"],
        ),
        trap(
            "a new API takes the path of one that goes elsewhere and is not loaded",
            vec![plain("a")],
            vec![
                site.classic("a", |body| {
                    listen_at(body, &site.path("c"));
                    bundled(body);
                }),
                at("b", "a"),
            ],
            Repaired("has to go back"),
            &["a"],
        ),
        trap(
            "a new API that is not loaded",
            vec![plain("a")],
            vec![plain("a"), site.classic("b", bundled)],
            Failed("did not load it"),
            &["a"],
        ),
        trap(
            "the id oas",
            vec![],
            vec![site.classic("a", |body| set(body, "/api_id", json!("oas")))],
            Refused("hide it"),
            &[],
        ),
        trap(
            "an id that ends in -oas",
            vec![],
            vec![site.classic("a-oas", |_| {})],
            Refused("never loads it"),
            &[],
        ),
        trap(
            "an id with a slash",
            vec![],
            vec![site.classic("a", |body| set(body, "/api_id", json!("a/b")))],
            Refused("cannot be an API's id"),
            &[],
        ),
        trap(
            "an id with a space",
            vec![],
            vec![site.classic("a", |body| set(body, "/api_id", json!("a b")))],
            Refused("cannot be an API's id"),
            &[],
        ),
        trap(
            "an id of dots",
            vec![],
            vec![site.classic("a", |body| set(body, "/api_id", json!("..")))],
            Refused("cannot be an API's id"),
            &[],
        ),
    ]
}

fn bundled(body: &mut Value) {
    set(body, "/custom_middleware_bundle", json!("nowhere.zip"));
}

fn bundled_oas(body: &mut Value) {
    let bundle = json!({"bundle": {"enabled": true, "path": "nowhere.zip"}});
    set(
        body,
        "/x-tyk-api-gateway/middleware/global/pluginConfig",
        bundle,
    );
}

/// Bases and their versions, policies and the APIs that they name.
fn families(site: &Site) -> Vec<Trap> {
    let base = |versions: &[(&str, &str)]| {
        let versions: BTreeMap<&str, String> = versions
            .iter()
            .map(|(name, id)| (*name, site.id(id)))
            .collect();
        site.classic("base", |body| {
            set(
                body,
                "/definition",
                json!({
                    "enabled": true, "name": "v1", "default": "self", "location": "header",
                    "key": "x-version", "versions": versions,
                }),
            );
        })
    };
    let child = || site.classic("child", |_| {});
    let policy = |name, change: fn(&mut Value), end| Trap {
        name,
        before: vec![site.policy("gold", |_| {})],
        foreign: Vec::new(),
        meanwhile: Vec::new(),
        after: vec![site.policy("gold", change)],
        end,
        answer: Vec::new(),
    };
    let trap = |name, before: Vec<Value>, after: Vec<Value>, end, answer: &[&str]| Trap {
        name,
        before,
        foreign: Vec::new(),
        meanwhile: Vec::new(),
        after,
        end,
        answer: answer.iter().map(|name| site.path(name)).collect(),
    };
    let mine = || site.classic("mine", |_| {});
    vec![
        trap(
            "a version goes while its base lists it",
            vec![base(&[("v2", "child")]), child(), mine()],
            vec![base(&[("v2", "child")]), mine()],
            Held("take it off the versions"),
            &["base", "child"],
        ),
        trap(
            "a version goes with its entry",
            vec![base(&[("v2", "child")]), child(), mine()],
            vec![base(&[]), mine()],
            Works,
            &["base"],
        ),
        trap(
            "a base goes and its version stays",
            vec![base(&[("v2", "child")]), child(), mine()],
            vec![child(), mine()],
            Works,
            &["child"],
        ),
        // Deleted first, the base would be written again when its version goes.
        trap(
            "a base and its version go",
            vec![
                base(&[("v2", "child")]),
                child(),
                mine(),
                site.classic("more", |_| {}),
                site.classic("most", |_| {}),
            ],
            vec![
                mine(),
                site.classic("more", |_| {}),
                site.classic("most", |_| {}),
            ],
            Works,
            &["mine"],
        ),
        trap(
            "a version becomes OAS",
            vec![base(&[("v2", "child")]), child()],
            vec![base(&[("v2", "child")]), site.oas("child", |_| {})],
            Works,
            &["base", "child"],
        ),
        trap(
            "a version becomes OAS and is not loaded",
            vec![base(&[("v2", "child")]), child()],
            vec![base(&[("v2", "child")]), site.oas("child", bundled_oas)],
            Repaired("did not load it"),
            &["base", "child"],
        ),
        Trap {
            foreign: vec![base(&[("v2", "child")])],
            ..trap(
                "a version of somebody else's base goes",
                vec![child(), mine(), site.classic("more", |_| {})],
                vec![mine(), site.classic("more", |_| {})],
                Held("take it off the versions"),
                &["base", "child"],
            )
        },
        policy(
            "a policy without an id",
            |body| remove(body, "/id"),
            Refused("no id"),
        ),
        policy(
            "a policy with the id .",
            |body| set(body, "/id", json!(".")),
            Refused("cannot be a policy's id"),
        ),
        policy(
            "a policy with the id ..",
            |body| set(body, "/id", json!("..")),
            Refused("cannot be a policy's id"),
        ),
        policy(
            "a policy with a space in its id",
            |body| set(body, "/id", json!("a b")),
            Refused("cannot be a policy's id"),
        ),
        policy(
            "a policy whose rate is a text",
            |body| set(body, "/rate", json!("5")),
            Refused("must be a number"),
        ),
        policy(
            "a policy with another database id",
            |body| set(body, "/_id", json!("zz")),
            Refused("24 hex"),
        ),
        policy(
            "per_api beside another partition",
            |body| set(body, "/partitions", json!({"per_api": true, "quota": true})),
            Refused("per_api together"),
        ),
        policy(
            "a policy of another organisation",
            |body| set(body, "/org_id", json!("other")),
            Refused("organisation"),
        ),
        policy(
            "a policy for an API that nobody has",
            |body| {
                set(
                    body,
                    "/access_rights",
                    json!({"nowhere": {"api_id": "nowhere", "versions": ["Default"]}}),
                );
            },
            Works,
        ),
        policy(
            "a policy that stands under another id",
            |body| set(body, "/access_rights", json!({"a": {"api_id": "b"}})),
            Refused("names the API b"),
        ),
        policy(
            "a policy with a rate below zero",
            |body| set(body, "/rate", json!(-5)),
            Works,
        ),
    ]
}

/// Springs one trap.
async fn spring(trap: &Trap, site: &Site, app: &TestApp) {
    let name = trap.name;
    for body in &trap.foreign {
        site.put(body).await;
    }
    if !trap.foreign.is_empty() {
        site.client.reload().await.unwrap();
    }
    let keep = site.classic("keep", |_| {});
    let other = site.oas("other", |_| {});
    app.repo
        .write("keep.json", keep.to_string())
        .write("other.json", other.to_string());
    for (number, body) in trap.before.iter().enumerate() {
        app.repo
            .write(&format!("trap-{number}.json"), body.to_string());
    }
    let report = app.push(&format!("{name}: before")).await;
    assert_eq!(
        report.status,
        RunStatus::Succeeded,
        "{name}: {:?}",
        report.message
    );

    for body in &trap.meanwhile {
        site.put(body).await;
    }
    for number in 0..trap.before.len().max(trap.after.len()) {
        let file = format!("trap-{number}.json");
        match trap.after.get(number) {
            Some(body) => app.repo.write(&file, body.to_string()),
            None => app.repo.remove(&file),
        };
    }
    let report = app.push(&format!("{name}: after")).await;
    judge(trap, &report);
    let mut paths = vec![site.path("keep"), site.path("other")];
    paths.extend(trap.answer.iter().cloned());
    for path in &paths {
        assert_eq!(
            site.answers(path).await,
            200,
            "{name}: {path} does not answer"
        );
    }
    // The same head is not tried again by itself.
    let stacks: Vec<_> = app.app.stacks.values().cloned().collect();
    assert!(
        schedule::sweep(&app.app, &stacks).await.unwrap().is_empty(),
        "{name}"
    );
    assert!(app.run_pending().await.is_empty(), "{name}");
    let state = app.state("shop").await;
    let is_told = state.problem.is_some();
    assert_eq!(
        is_told,
        !matches!(trap.end, Works),
        "{name}: {:?}",
        state.problem
    );

    // What it was before mends it, and the status says so.
    if !trap.meanwhile.is_empty() || matches!(trap.end, Works) {
        return;
    }
    for number in 0..trap.before.len().max(trap.after.len()) {
        let file = format!("trap-{number}.json");
        match trap.before.get(number) {
            Some(body) => app.repo.write(&file, body.to_string()),
            None => app.repo.remove(&file),
        };
    }
    let report = app.push(&format!("{name}: before again")).await;
    assert_eq!(
        report.status,
        RunStatus::Succeeded,
        "{name}: {:?}",
        report.message
    );
    assert_eq!(app.state("shop").await.problem, None, "{name}");
    let writes = report
        .changes
        .iter()
        .filter(|change| change.action.writes());
    assert_eq!(
        writes.count(),
        0,
        "{name}: nothing was left to mend: {:?}",
        report.changes
    );
}

fn judge(trap: &Trap, report: &Report) {
    let name = trap.name;
    let message = report.message.clone().unwrap_or_default();
    let has = |outcome: Outcome| {
        report
            .changes
            .iter()
            .any(|change| change.outcome == outcome)
    };
    let (status, said) = match trap.end {
        Refused(said) => (RunStatus::Refused, said),
        Held(said) => (RunStatus::Parked, said),
        Failed(said) | Repaired(said) => (RunStatus::Failed, said),
        Works => (RunStatus::Succeeded, ""),
    };
    assert_eq!(report.status, status, "{name}: {message}");
    assert!(
        message.contains(said),
        "{name}: {said:?} is not in: {message}"
    );
    match trap.end {
        Repaired(_) => {
            assert!(has(Outcome::Repaired), "{name}: {:?}", report.changes);
            assert!(message.contains("failed, repaired: "), "{name}: {message}");
        }
        Failed(_) => assert!(
            has(Outcome::Failed) && !has(Outcome::Repaired),
            "{name}: {message}"
        ),
        Refused(_) => assert!(report.changes.is_empty(), "{name}"),
        Held(_) | Works => {}
    }
}

/// Answers everything with 200.
async fn upstream() -> SocketAddr {
    let router = axum::Router::new().fallback(|| async { "it works" });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

async fn stand_in() -> Gateway {
    let options = GatewayOptions {
        secret: GATEWAY_SECRET.to_owned(),
        tick: Duration::from_millis(2),
        proxy: Some("127.0.0.1:0".parse().unwrap()),
        ..GatewayOptions::default()
    };
    Gateway::start(options).await.unwrap()
}

async fn site(url: &str, secret: &str, proxy: String) -> Site {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let options = Options::new(url.parse().unwrap(), secret.to_owned().into());
    Site {
        prefix: format!("trap-{}-{number}-", std::process::id()),
        upstream: format!("http://{}", upstream().await),
        proxy: proxy.trim_end_matches('/').to_owned(),
        client: Client::new(options).unwrap(),
        http: reqwest::Client::builder().no_proxy().build().unwrap(),
    }
}

const LINES: &str = "deletion_limit = 10\n";

/// Springs every trap, and says of all of them which did not end as they should.
async fn each(count: usize, mut one: impl AsyncFnMut(usize)) {
    let mut failed = 0;
    for index in 0..count {
        let sprung = AssertUnwindSafe(one(index)).catch_unwind().await;
        failed += usize::from(sprung.is_err());
    }
    assert_eq!(failed, 0, "of {count} traps");
}

async fn all_on_the_stand_in(traps: fn(&Site) -> Vec<Trap>) {
    let count = traps(&site("http://localhost", "", String::new()).await).len();
    each(count, async |index| {
        let gateway = stand_in().await;
        let (url, proxy) = (gateway.url(), gateway.proxy_url().unwrap());
        let site = site(&url, GATEWAY_SECRET, proxy).await;
        let app = TestApp::on_gateway(Mode::Embedded, LINES, &[], gateway, &url).await;
        let trap = traps(&site).swap_remove(index);
        spring(&trap, &site, &app).await;
        check_disk(&trap, &site, &app);
        app.finish().await;
    })
    .await;
}

/// Nothing is left on the disk that the next reload would bring to life.
fn check_disk(trap: &Trap, site: &Site, app: &TestApp) {
    if !trap.meanwhile.is_empty() {
        return;
    }
    let mut expected: Vec<String> = vec![site.id("keep"), site.id("other")];
    expected.extend(trap.foreign.iter().map(|body| key_of(body).1));
    let wanted = if matches!(trap.end, Works) {
        &trap.after
    } else {
        &trap.before
    };
    let keys = wanted.iter().map(key_of);
    expected.extend(keys.filter(|(kind, _)| kind.is_api()).map(|(_, id)| id));
    expected.sort();
    let files = app.gateway.files();
    let apis = files.iter().filter_map(|file| file.strip_prefix("apps/"));
    let mut found: Vec<String> = apis
        .map(|file| file.trim_end_matches(".json").to_owned())
        .filter(|name| !name.ends_with("-oas"))
        .collect();
    found.sort();
    assert_eq!(found, expected, "{}", trap.name);
}

async fn all_on_a_real_gateway(traps: fn(&Site) -> Vec<Trap>) {
    let url = env::var("LOCKSTEP_TEST_GATEWAY_URL").expect("it names a gateway");
    let proxy = env::var("LOCKSTEP_TEST_GATEWAY_PROXY_URL").expect("it names its port for traffic");
    let secret = env::var("LOCKSTEP_TEST_GATEWAY_SECRET").unwrap_or_default();
    let count = traps(&site(&url, &secret, proxy.clone()).await).len();
    each(count, async |index| {
        let site = site(&url, &secret, proxy.clone()).await;
        let environment = [("GATEWAY", secret.as_str())];
        let beside = stand_in().await;
        let app = TestApp::on_gateway(Mode::Embedded, LINES, &environment, beside, &url).await;
        let trap = traps(&site).swap_remove(index);
        let sprung = AssertUnwindSafe(spring(&trap, &site, &app))
            .catch_unwind()
            .await;
        let word = if sprung.is_ok() { "ok" } else { "NOT SO" };
        eprintln!("{}: {:?}: {word}", trap.name, trap.end);
        site.tidy().await;
        app.finish().await;
        assert!(sprung.is_ok(), "{}", trap.name);
    })
    .await;
}

#[tokio::test]
async fn an_update_that_is_a_trap_takes_nothing_down() {
    all_on_the_stand_in(updates).await;
}

#[tokio::test]
async fn objects_that_get_in_each_others_way_take_nothing_down() {
    all_on_the_stand_in(collisions).await;
}

#[tokio::test]
async fn versions_and_policies_take_nothing_down() {
    all_on_the_stand_in(families).await;
}

mod real_gateway {
    #[tokio::test]
    #[ignore = "needs LOCKSTEP_TEST_GATEWAY_PROXY_URL; tests/run leaves it out without"]
    async fn every_trap_takes_nothing_down() {
        super::all_on_a_real_gateway(|site| {
            let mut traps = super::updates(site);
            traps.extend(super::collisions(site));
            traps.extend(super::families(site));
            traps
        })
        .await;
    }
}

#[tokio::test]
async fn no_two_apis_are_on_one_path_at_any_moment_of_a_swap() {
    let gateway = stand_in().await;
    let (url, proxy) = (gateway.url(), gateway.proxy_url().unwrap());
    let site = site(&url, GATEWAY_SECRET, proxy).await;
    let app = TestApp::on_gateway(Mode::Embedded, LINES, &[], gateway, &url).await;
    let trap = collisions(&site)
        .into_iter()
        .find(|trap| trap.name == "a swap of two listen paths")
        .unwrap();
    spring(&trap, &site, &app).await;
    let runs = app.runs().await;
    let detail = app.detail(Some(&runs[0].id)).await;
    let actions: Vec<Action> = detail.changes.iter().map(|change| change.action).collect();
    assert_eq!(actions, [Action::Replace, Action::Update, Action::Create]);
    app.finish().await;
}

/// A stand-in of one's own with `keep` on it.
async fn kept() -> (Site, TestApp) {
    let gateway = stand_in().await;
    let (url, proxy) = (gateway.url(), gateway.proxy_url().unwrap());
    let site = site(&url, GATEWAY_SECRET, proxy).await;
    let app = TestApp::on_gateway(Mode::Embedded, LINES, &[], gateway, &url).await;
    app.repo
        .write("keep.json", site.classic("keep", |_| {}).to_string())
        .write("mine.json", site.classic("mine", |_| {}).to_string());
    app.push_well("first").await;
    (site, app)
}

#[tokio::test]
async fn a_restart_renames_every_duplicate_and_the_next_run_makes_ours_anew() {
    let (site, app) = kept().await;
    let path = site.path("keep");
    let twin = site.classic("twin", |body| listen_at(body, &path));
    site.put(&twin).await;
    app.gateway.reload_now().await;
    assert_eq!(site.answers(&path).await, 200);
    app.gateway.restart(false).await.unwrap();
    app.gateway.ready().await;
    assert_eq!(site.answers(&path).await, 404);
    app.repo.write("README.md", "words");
    let report = app.push_well("words").await;
    assert_eq!(site.answers(&path).await, 200);
    let notes = report.plan.unwrap().notes.join("\n");
    assert!(notes.contains("at its next start"), "{notes}");
    // Another API is not put where the next start would take it down.
    let third = site.classic("third", |body| listen_at(body, &site.path("fourth")));
    let fourth = site.classic("other", |body| listen_at(body, &site.path("fourth")));
    site.put(&third).await;
    site.put(&fourth).await;
    app.gateway.reload_now().await;
    app.repo
        .write("fourth.json", site.classic("fourth", |_| {}).to_string());
    let report = app.push("fourth").await;
    assert_eq!(report.status, RunStatus::Parked);
    let message = report.message.unwrap();
    assert!(message.contains("by its document"), "{message}");
    app.finish().await;
}

#[tokio::test]
async fn what_cannot_be_repaired_stands_on_the_status_until_it_is() {
    let (site, app) = kept().await;
    app.gateway.faults().lose(&site.id("mine"));
    let update = |name: &str| {
        site.classic("mine", |body| set(body, "/name", json!(name)))
            .to_string()
    };
    app.repo.write("mine.json", update("second"));
    for message in ["second", "words"] {
        app.repo.write("README.md", message);
        let report = app.push(message).await;
        assert_eq!(report.status, RunStatus::Failed);
        let problem = app.state("shop").await.problem.unwrap();
        assert!(problem.contains("did not load it"), "{problem}");
    }
    app.gateway.faults().clear();
    app.repo.write("README.md", "more words");
    app.push_well("more words").await;
    assert_eq!(app.state("shop").await.problem, None);
    assert_eq!(site.answers(&site.path("mine")).await, 200);
    app.finish().await;
}

#[tokio::test]
async fn what_others_do_during_a_run_is_told_and_not_undone() {
    let (site, app) = kept().await;
    let stranger = site.classic("stranger", |_| {});
    site.put(&stranger).await;
    app.gateway.reload_now().await;
    let update = site.classic("mine", |body| set(body, "/name", json!("second")));
    app.repo.write("mine.json", update.to_string());
    let mut held = app.gateway.faults().hang(1, |asked| asked.method == "POST");
    app.repo.commit("second");
    app.push_webhook().await;
    let running = {
        let app = app.app.clone();
        tokio::spawn(async move { lockstep::sync::worker::run_pending(&app).await.unwrap() })
    };
    held.reached(1).await;
    app.gateway.remove_by_hand(&site.id("stranger"));
    drop(held);
    let reports = running.await.unwrap();
    assert_eq!(reports[0].status, RunStatus::Succeeded);
    let events = app.events().await;
    let told = events
        .iter()
        .filter(|(header, _)| header.event_type == "drift.observed");
    assert_eq!(told.count(), 1);
    app.finish().await;
}
