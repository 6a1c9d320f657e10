//! A live gateway written down as manifests, and manifests compared with a live gateway.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use lockstep::{
    domain::{
        diff::diff,
        normalize,
        object::{Kind, ObjectKey},
        run::Action,
        secrets::Masker,
    },
    manifest::{
        self, Options, SourceFile,
        write::{Found, Layout, write},
    },
    sandbox::gateway::{Gateway, GatewayOptions, Seen},
    sync::{import, lease::Holding},
    tyk::gateway::{self as tyk, Client},
};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    support::{
        app::{GATEWAY_SECRET, Mode, PLANTED, TestApp, classic, oas, policy},
        git_repo::GitRepo,
        process::lockstep,
    },
    sync::batches_of_samples,
};

crate::in_both_modes! {
    an_import_is_taken_over_by_a_run_and_leaves_no_secret_behind,
}

async fn an_import_is_taken_over_by_a_run_and_leaves_no_secret_behind(mode: Mode) {
    let app = TestApp::start(mode).await;
    let target = app.app.targets["production"].clone();
    let ping = org(&classic("ping", "/ping/", "http://ping"));
    for (kind, id, body) in [
        (Kind::ClassicApi, "ping", &ping),
        (Kind::OasApi, "orders", &document("orders")),
        (Kind::Policy, "gold", &org(&policy("gold", "ping", 5))),
    ] {
        target.client.write(kind, id, body).await.unwrap();
    }
    target.client.reload().await.unwrap();
    let holding = Holding::take(&app.app.store, "production", "importer");
    let holding = holding.await.unwrap().unwrap();
    let taken = import::take(&target, &app.app.masker, |_, _| true).await;
    holding.release().await.unwrap();
    let options = Options {
        org: target.org.clone(),
        ..Options::default()
    };
    let objects = taken.unwrap().objects;
    let written = write(&objects, Layout::Native, &options, &app.app.masker);
    for manifest in &written.manifests {
        app.repo.write(&manifest.path, &manifest.text);
    }
    app.gateway.clear_log();
    let report = app.push_well("imported").await;
    let actions: Vec<Action> = report.changes.iter().map(|change| change.action).collect();
    assert_eq!(actions, [Action::Adopt; 3]);
    assert!(app.writes().is_empty());
    app.finish().await;
}

/// A gateway that was run by hand, and whoever wants it in Git.
struct Desk {
    folder: TempDir,
    repo: GitRepo,
    gateway: Gateway,
    client: Client,
}

impl Desk {
    async fn new() -> Self {
        let gateway = start(BTreeMap::new()).await;
        let desk = Self {
            folder: tempfile::tempdir().unwrap(),
            repo: GitRepo::new(),
            client: client(&gateway),
            gateway,
        };
        desk.configure("");
        desk
    }

    /// With one object of each kind that is managed; two of them hold a secret.
    async fn with_a_shop() -> Self {
        let desk = Self::new().await;
        let mut ledger: Value = document("ledger");
        ledger["x-tyk-api-gateway"]["upstream"]["url"] =
            format!("https://user:{PLANTED}@ledger.test").into();
        desk.put(
            Kind::ClassicApi,
            "ping",
            &org(&classic("ping", "/ping/", "http://ping")),
        )
        .await;
        desk.put(Kind::OasApi, "orders", &document("orders")).await;
        desk.put(Kind::OasApi, "ledger", &ledger).await;
        desk.put(Kind::Policy, "gold", &org(&policy("gold", "ping", 5)))
            .await;
        desk.client.reload().await.unwrap();
        desk
    }

    fn configure(&self, target: &str) {
        self.configure_for(&self.gateway, target);
    }

    fn configure_for(&self, gateway: &Gateway, target: &str) {
        let text = format!(
            "[repository.shop]\nurl = \"{}\"\n\
             [target.production]\nkind = \"gateway\"\nnodes = [\"{}\"]\n\
             secret = {{ env = \"GATEWAY\" }}\n{target}\n\
             [stack.shop]\nrepository = \"shop\"\ntarget = \"production\"\n",
            self.repo.path().display(),
            gateway.url(),
        );
        std::fs::write(self.folder.path().join("lockstep.toml"), text).unwrap();
    }

    async fn put(&self, kind: Kind, id: &str, body: &Value) {
        self.client.write(kind, id, body).await.unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// On a thread of its own, because the stand-in answers on this one.
    async fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let folder = self.folder.path().to_owned();
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        tokio::task::spawn_blocking(move || {
            let environment = [("GATEWAY".to_owned(), GATEWAY_SECRET.to_owned())];
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            lockstep(&folder, &environment, &arguments)
        })
        .await
        .unwrap()
    }

    async fn json(&self, arguments: &[&str]) -> (i32, Value) {
        let mut all = vec!["--output", "json"];
        all.extend(arguments);
        let (code, out, err) = self.run(&all).await;
        let value =
            serde_json::from_str(&out).unwrap_or_else(|_| panic!("{arguments:?}: {out}{err}"));
        (code, value)
    }

    async fn import(&self, more: &[&str]) -> (i32, Value) {
        let mut all = vec!["import", "production", "--into", "out"];
        all.extend(more);
        self.json(&all).await
    }

    fn files(&self) -> BTreeMap<String, String> {
        files(&self.path("out"))
    }

    /// Moves what was imported into the repository's head.
    fn commit(&self) {
        self.repo.git(&["rm", "-rqf", "--ignore-unmatch", "."]);
        for (path, text) in self.files() {
            self.repo.write(&path, text);
        }
        self.repo.commit("imported");
    }
}

async fn start(environment: BTreeMap<String, String>) -> Gateway {
    Gateway::start(GatewayOptions {
        secret: GATEWAY_SECRET.to_owned(),
        tick: Duration::from_millis(3),
        environment,
        ..GatewayOptions::default()
    })
    .await
    .unwrap()
}

fn client(gateway: &Gateway) -> Client {
    let url = gateway.url().parse().unwrap();
    Client::new(tyk::Options::new(url, GATEWAY_SECRET.to_owned().into())).unwrap()
}

fn org(text: &str) -> Value {
    of_the_target(Kind::ClassicApi, serde_json::from_str(text).unwrap())
}

/// Without the one section that the operator's resource does not have.
fn open(id: &str, path: &str) -> Value {
    let mut body = org(&classic(id, path, "http://up"));
    body.as_object_mut().unwrap().remove("upstream_auth");
    body
}

fn of_the_target(kind: Kind, mut body: Value) -> Value {
    let pointer = match kind {
        Kind::Certificate | Kind::Policy | Kind::ClassicApi => "",
        Kind::OasApi | Kind::McpProxy => "/x-tyk-api-gateway/info",
    };
    let name = if pointer.is_empty() {
        "org_id"
    } else {
        "orgId"
    };
    body.pointer_mut(pointer).unwrap()[name] = "default".into();
    body
}

fn document(id: &str) -> Value {
    let text = oas(id, &format!("/{id}/"), &format!("http://{id}.test"));
    of_the_target(Kind::OasApi, serde_json::from_str(&text).unwrap())
}

fn with_jwt(id: &str) -> Value {
    let mut body = document(id);
    body["components"] = json!({"securitySchemes": {"idp": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}});
    body["security"] = json!([{"idp": []}]);
    body["x-tyk-api-gateway"]["server"]["authentication"] = json!({
        "enabled": true,
        "securitySchemes": {"idp": {"enabled": true, "signingMethod": "hmac", "source": PLANTED,
            "identityBaseField": "sub", "header": {"enabled": true, "name": "Authorization"}}},
    });
    body
}

fn files(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let below = path.strip_prefix(folder).unwrap();
                let text = std::fs::read_to_string(&path).unwrap();
                found.insert(below.to_string_lossy().into_owned(), text);
            }
        }
    }
    found
}

/// Everything that is live, as the endpoint of its kind reads it, without the addresses that
/// differ from gateway to gateway.
async fn live(client: &Client) -> BTreeMap<ObjectKey, Value> {
    let mut bodies = BTreeMap::new();
    for listed in client.list().await.unwrap().objects {
        let body = match listed.key.kind {
            Kind::OasApi | Kind::McpProxy => {
                client.document(&listed.key.id).await.unwrap().unwrap()
            }
            Kind::Certificate | Kind::Policy | Kind::ClassicApi => listed.body(),
        };
        bodies.insert(listed.key.clone(), normalize::slim(listed.key.kind, &body));
    }
    bodies
}

fn actions(plan: &Value) -> Vec<&str> {
    let waves = plan["plan"]["waves"].as_array().unwrap();
    let changes = waves.iter().flat_map(|wave| wave.as_array().unwrap());
    changes
        .map(|change| change["action"].as_str().unwrap())
        .collect()
}

fn outcomes(imported: &Value) -> BTreeMap<&str, &str> {
    let objects = imported["objects"].as_array().unwrap();
    objects
        .iter()
        .map(|object| {
            let text = |name: &str| object[name].as_str().unwrap();
            (text("object"), text("outcome"))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_was_run_by_hand_is_taken_over_without_a_write() {
    let desk = Desk::with_a_shop().await;
    desk.gateway.clear_log();
    let (code, imported) = desk.import(&[]).await;
    assert_eq!(
        (code, &imported["complete"]),
        (0, &json!(true)),
        "{imported}"
    );
    let files = desk.files();
    let paths: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(
        paths,
        [
            "apis/ledger.json",
            "apis/orders.json",
            "apis/ping.json",
            "policies/gold.json"
        ]
    );
    assert!(files["apis/ping.json"].len() < 1_000, "zeros are left out");
    desk.commit();
    let (_, plan) = desk.json(&["plan", "shop"]).await;
    assert_eq!(actions(&plan), ["adopt"; 4], "{plan}");
    assert_eq!(plan["plan"]["held"], json!([]));
    let (code, _) = desk.json(&["sync", "shop"]).await;
    assert_eq!(code, 0);
    let (code, plan) = desk.json(&["plan", "shop"]).await;
    assert_eq!((code, &plan["empty"]), (0, &json!(true)), "{plan}");
    assert!(!desk.gateway.log().iter().any(Seen::is_write));
    assert_eq!(desk.gateway.misuse(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_imported_brings_a_deleted_object_back() {
    let desk = Desk::new().await;
    desk.put(Kind::ClassicApi, "ping", &open("ping", "/ping/"))
        .await;
    desk.put(Kind::OasApi, "orders", &document("orders")).await;
    desk.put(Kind::Policy, "gold", &org(&policy("gold", "ping", 5)))
        .await;
    desk.client.reload().await.unwrap();
    let before = live(&desk.client).await;
    desk.import(&[]).await;
    desk.commit();
    desk.run(&["sync", "shop"]).await;
    for key in before.keys() {
        desk.client.delete(key.kind, &key.id).await.unwrap();
    }
    desk.client.reload().await.unwrap();
    assert!(live(&desk.client).await.is_empty());
    let (code, out, err) = desk.run(&["sync", "shop"]).await;
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(live(&desk.client).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_a_file_or_in_what_is_printed_and_each_is_named() {
    let desk = Desk::with_a_shop().await;
    desk.put(Kind::OasApi, "jwt", &with_jwt("jwt")).await;
    let mut silver = org(&policy("silver", "ping", 5));
    silver["meta_data"] = json!({"api_key": PLANTED});
    desk.put(Kind::Policy, "silver", &silver).await;
    let mut echo = org(&classic("echo", "/echo/", "http://echo"));
    echo["config_data"] = json!({"note": format!("the password is {PLANTED}")});
    desk.put(Kind::ClassicApi, "echo", &echo).await;
    desk.client.reload().await.unwrap();
    desk.configure("allow_jwt_document_reads = true");
    let (code, imported) = desk.import(&[]).await;
    let (_, out, err) = desk.run(&["import", "production", "--into", "again"]).await;
    let mut said = format!("{imported}{out}{err}");
    for text in desk.files().values() {
        said.push_str(text);
    }
    assert!(!said.contains(PLANTED));
    let in_clear: Vec<String> = live(&desk.client)
        .await
        .values()
        .map(Value::to_string)
        .collect();
    assert_eq!(
        in_clear
            .iter()
            .filter(|body| body.contains(PLANTED))
            .count(),
        5,
        "the search finds what is there"
    );
    let secrets: Vec<(&str, &str)> = imported["secrets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|secret| {
            let variable = secret["variable"].as_str().unwrap();
            assert!(variable.starts_with("LOCKSTEP_"), "{variable}");
            assert!(said.contains(&format!("env://{variable}")));
            (
                secret["object"].as_str().unwrap(),
                secret["pointer"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        secrets,
        [
            ("classic/echo", "/config_data/note"),
            ("classic/echo", "/upstream_auth/basic_auth/password"),
            ("classic/ping", "/upstream_auth/basic_auth/password"),
            (
                "oas/jwt",
                "/x-tyk-api-gateway/server/authentication/securitySchemes/idp/source"
            ),
            ("oas/ledger", "/x-tyk-api-gateway/upstream/url"),
        ]
    );
    // A policy cannot hold a reference, so it is named instead.
    assert_eq!(code, 1);
    assert_eq!(imported["refused"][0]["object"], "policy/silver");
    let reason = imported["refused"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("/meta_data/api_key"), "{reason}");
    desk.commit();
    let (_, plan) = desk.json(&["plan", "shop"]).await;
    assert_eq!(actions(&plan), ["adopt"; 6], "{plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_import_changes_no_byte_and_overwrites_nothing_unasked() {
    let desk = Desk::with_a_shop().await;
    desk.import(&[]).await;
    let first = desk.files();
    let touched = |name: &str| {
        let metadata = std::fs::metadata(desk.path("out").join(name)).unwrap();
        metadata.modified().unwrap()
    };
    let at = touched("apis/orders.json");
    let (code, again) = desk.import(&[]).await;
    assert_eq!(code, 0);
    assert!(
        outcomes(&again)
            .values()
            .all(|outcome| *outcome == "unchanged")
    );
    assert_eq!(
        (desk.files(), touched("apis/orders.json")),
        (first.clone(), at)
    );

    let edited = first["apis/ping.json"].replace("http://ping", "http://edited");
    std::fs::write(desk.path("out/apis/ping.json"), &edited).unwrap();
    let (code, kept) = desk.import(&[]).await;
    assert_eq!((code, outcomes(&kept)["classic/ping"]), (1, "kept"));
    assert_eq!(desk.files()["apis/ping.json"], edited);
    let (code, forced) = desk.import(&["--force"]).await;
    assert_eq!(
        (code, outcomes(&forced)["classic/ping"]),
        (0, "overwritten")
    );
    assert_eq!(desk.files(), first);

    // What is gone from the gateway is named and stays.
    desk.client.delete(Kind::OasApi, "orders").await.unwrap();
    desk.client.reload().await.unwrap();
    let (code, gone) = desk.import(&[]).await;
    assert_eq!(code, 0);
    assert_eq!(
        gone["gone"],
        json!([{"object": "oas/orders", "file": "apis/orders.json"}])
    );
    assert_eq!(desk.files(), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_asked_for_is_written() {
    let desk = Desk::with_a_shop().await;
    desk.import(&["--only", "policy/*", "--only", "ord*"]).await;
    let paths: Vec<String> = desk.files().into_keys().collect();
    assert_eq!(paths, ["apis/orders.json", "policies/gold.json"]);
    let (code, out, err) = desk
        .run(&["import", "production", "--into", "x", "--only", "a[b"])
        .await;
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("a[b"), "{err}");
    let text = std::fs::read_to_string(desk.path("lockstep.toml")).unwrap();
    let (repository, rest) = text.split_once("[target.").unwrap();
    let (target, stack) = rest.split_once("[stack.").unwrap();
    assert!(!repository.is_empty() && !stack.is_empty());
    std::fs::write(desk.path("lockstep.toml"), format!("[target.{target}")).unwrap();
    let (code, _) = desk.import(&[]).await;
    assert_eq!(code, 0, "one target is configuration enough");
    let (code, _) = desk.json(&["diff", "production", "out"]).await;
    assert_eq!(code, 0);
    let (code, _, err) = desk.run(&["import", "prduction", "--into", "x"]).await;
    assert_eq!(code, 1);
    assert!(err.contains("did you mean production?"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_managed_is_left_out_by_name() {
    let desk = Desk::with_a_shop().await;
    desk.put(Kind::OasApi, "jwt", &with_jwt("jwt")).await;
    let mut proxy = document("tools");
    proxy["x-tyk-api-gateway"]["upstream"]["mcp"] = json!({"enabled": true});
    desk.put(Kind::McpProxy, "tools", &proxy).await;
    desk.client.reload().await.unwrap();
    desk.gateway.clear_log();
    let (code, imported) = desk.import(&[]).await;
    assert_eq!(code, 1);
    let left: BTreeMap<&str, &str> = imported["left_out"]
        .as_array()
        .unwrap()
        .iter()
        .map(|left| {
            (
                left["object"].as_str().unwrap(),
                left["reason"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(left.keys().copied().collect::<Vec<_>>(), ["oas/jwt"]);
    assert!(left["oas/jwt"].contains("allow_jwt_document_reads = true in [target.production]"));
    let log = desk.gateway.log();
    assert!(
        !log.iter().any(|seen| seen.path.ends_with("/oas/jwt")),
        "it was not even read"
    );
    desk.configure("allow_jwt_document_reads = true");
    let (code, imported) = desk.import(&[]).await;
    assert_eq!(code, 0, "{imported}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_that_differ_only_in_case_or_are_names_of_devices_get_safe_files_of_their_own() {
    let desk = Desk::new().await;
    let long = "x".repeat(240);
    for (number, id) in ["Orders", "orders", "con", &long].iter().enumerate() {
        let body = org(&classic(id, &format!("/{number}/"), "http://up"));
        desk.put(Kind::ClassicApi, id, &body).await;
    }
    desk.client.reload().await.unwrap();
    let (code, imported) = desk.import(&[]).await;
    assert_eq!(code, 0, "{imported}");
    let names: Vec<String> = desk
        .files()
        .into_keys()
        .map(|path| path.to_lowercase())
        .collect();
    assert_eq!(names.len(), 4);
    assert!(names.contains(&"apis/orders.json".to_owned()), "{names:?}");
    assert!(!names.contains(&"apis/con.json".to_owned()), "{names:?}");
    desk.commit();
    let (_, plan) = desk.json(&["plan", "shop"]).await;
    assert_eq!(actions(&plan), ["adopt"; 4]);
}

#[test]
fn an_id_that_no_manifest_may_have_is_named_and_makes_no_file() {
    let ids = [
        "../../x", "..", "a/b", "a\\b", "bücher", "x-oas", "oas", "a b", "nul\0", "",
    ];
    let found: Vec<Found> = ids
        .iter()
        .map(|id| Found {
            key: ObjectKey::new(Kind::ClassicApi, *id),
            body: org(&classic(id, "/x/", "http://x")),
        })
        .collect();
    let written = write(&found, Layout::Native, &Options::default(), &masker());
    assert!(written.manifests.is_empty());
    assert_eq!(written.refused.len(), ids.len());
    assert!(
        written
            .refused
            .iter()
            .all(|refused| refused.reason.contains("id"))
    );
}

#[test]
fn two_that_may_not_stand_beside_each_other_are_told_apart() {
    let body = |id: &str, domain: &str| {
        let mut body = org(&classic(id, "/x/", "http://x"));
        body["domain"] = domain.into();
        Found {
            key: ObjectKey::new(Kind::ClassicApi, id),
            body,
        }
    };
    let found = [body("one", "A.example"), body("two", "a.example")];
    let options = Options::default();
    let written = write(&found, Layout::Native, &options, &masker());
    let backwards: Vec<Found> = found.iter().rev().cloned().collect();
    let again = write(&backwards, Layout::Native, &options, &masker());
    assert_eq!(written.manifests.len(), 1);
    assert_eq!(written.refused, again.refused);
    assert_eq!(written.refused[0].object.to_string(), "classic/two");
    assert!(written.refused[0].reason.contains("listens on"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_manifest_can_say_is_written_and_named_with_its_fields() {
    let desk = Desk::new().await;
    // The target's organisation is given to every object that names none.
    let body: Value = serde_json::from_str(&classic("ping", "/ping/", "http://ping")).unwrap();
    desk.put(Kind::ClassicApi, "ping", &body).await;
    let mut other = org(&classic("other", "/other/", "http://other"));
    other["org_id"] = "else".into();
    desk.put(Kind::ClassicApi, "other", &other).await;
    desk.client.reload().await.unwrap();
    let (code, imported) = desk.import(&[]).await;
    assert_eq!(code, 1);
    assert_eq!(imported["objects"][0]["differs"], json!(["/org_id"]));
    assert_eq!(imported["refused"][0]["object"], "classic/other");
    let (_, out, err) = desk.run(&["import", "production", "--into", "out"]).await;
    assert!(
        out.contains("classic/ping cannot be written so that it plans empty: /org_id"),
        "{out}"
    );
    assert!(
        err.contains("lockstep adopt STACK classic/ping --reason"),
        "{err}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_the_gateway_moved_to_another_path_is_named() {
    let desk = Desk::new().await;
    for id in ["one", "two"] {
        desk.put(Kind::ClassicApi, id, &open(id, "/x/")).await;
    }
    let natural = open("orders", "/my-orders/");
    desk.put(Kind::ClassicApi, "orders", &natural).await;
    desk.client.reload().await.unwrap();
    let (code, imported) = desk.import(&[]).await;
    assert_eq!(code, 0);
    let objects = imported["objects"].as_array().unwrap();
    let noted: Vec<&Value> = objects
        .iter()
        .filter(|object| object["notes"] != json!([]))
        .collect();
    assert!(!noted.is_empty());
    for object in noted {
        let note = object["notes"][0].as_str().unwrap();
        assert!(object["object"] != "classic/orders", "{note}");
        assert!(note.contains("moved it there from /x/"), "{note}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_through_a_link() {
    let desk = Desk::with_a_shop().await;
    let outside = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(desk.path("out/policies")).unwrap();
    std::os::unix::fs::symlink(outside.path(), desk.path("out/apis")).unwrap();
    let target = outside.path().join("gold.json");
    std::os::unix::fs::symlink(&target, desk.path("out/policies/gold.json")).unwrap();
    for force in [&[][..], &["--force"]] {
        let (code, imported) = desk.import(force).await;
        assert_eq!(code, 1);
        assert!(
            outcomes(&imported)
                .values()
                .all(|outcome| *outcome == "failed"),
            "{imported}"
        );
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_another_file_describes_is_not_described_twice() {
    let desk = Desk::with_a_shop().await;
    std::fs::create_dir_all(desk.path("out/mine")).unwrap();
    let text = org(&classic("ping", "/ping/", "http://mine")).to_string();
    std::fs::write(desk.path("out/mine/ping.json"), text).unwrap();
    let (code, imported) = desk.import(&["--force"]).await;
    assert_eq!((code, outcomes(&imported)["classic/ping"]), (1, "failed"));
    assert!(!desk.path("out/apis/ping.json").exists());
    let (code, out, _) = desk.run(&["validate", "out"]).await;
    assert_eq!(code, 0, "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_layout_says_the_same() {
    let desk = Desk::with_a_shop().await;
    // One that the operator made, one that it cannot express, and a policy for an OAS API.
    let made = "ZGVmYXVsdC9odHRwYmlu";
    desk.put(Kind::ClassicApi, made, &open(made, "/bin/")).await;
    desk.put(Kind::ClassicApi, "ping", &open("ping", "/ping/"))
        .await;
    let more = org(&classic("more", "/more/", "http://more"));
    desk.put(Kind::ClassicApi, "more", &more).await;
    desk.put(Kind::Policy, "silver", &org(&policy("silver", "orders", 5)))
        .await;
    desk.client.reload().await.unwrap();
    let (code, imported) = desk.import(&["--layout", "operator"]).await;
    assert_eq!(code, 0, "{imported}");
    let layouts: BTreeMap<&str, (&str, bool)> = imported["objects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|object| {
            let text = |name: &str| object[name].as_str().unwrap();
            (
                text("object"),
                (text("layout"), object["notes"] != json!([])),
            )
        })
        .collect();
    let operator = ("operator", false);
    let native = ("native", true);
    let document = ("native", false);
    let expected = BTreeMap::from([
        ("classic/ZGVmYXVsdC9odHRwYmlu", operator),
        ("classic/more", native),
        ("classic/ping", operator),
        ("oas/ledger", document),
        ("oas/orders", document),
        ("policy/gold", operator),
        ("policy/silver", native),
    ]);
    assert_eq!(layouts, expected, "{imported:#}");
    let files = desk.files();
    let gold = &files["policies/gold.yaml"];
    assert!(
        gold.contains("kind: SecurityPolicy") && gold.contains("name: ping"),
        "{gold}"
    );
    let made = files.values().find(|text| text.contains("name: httpbin"));
    assert!(
        !made.unwrap().contains("api_id"),
        "its id follows from its names"
    );
    desk.commit();
    let (_, plan) = desk.json(&["plan", "shop"]).await;
    assert_eq!(actions(&plan), ["adopt"; 7], "{plan}");
    let (code, _) = desk.json(&["diff", "production", "out"]).await;
    assert_eq!(code, 0);
    // The other layout beside it would describe everything twice.
    let (code, other) = desk.import(&[]).await;
    assert_eq!((code, outcomes(&other)["classic/ping"]), (1, "failed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_a_gateway_are_compared_without_a_stack() {
    let desk = Desk::with_a_shop().await;
    desk.import(&[]).await;
    let (code, compared) = desk.json(&["diff", "production", "out"]).await;
    assert_eq!(
        (code, &compared["is_equal"]),
        (0, &json!(true)),
        "{compared}"
    );
    assert_eq!(compared["equal"].as_array().unwrap().len(), 4);

    let change = |name: &str, from: &str, to: &str| {
        let path = desk.path("out").join(name);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(path, text.replace(from, to)).unwrap();
    };
    let mut ping: Value = serde_json::from_str(&desk.files()["apis/ping.json"]).unwrap();
    ping["upstream_auth"]["basic_auth"]["password"] = "another-pa55word".into();
    std::fs::write(desk.path("out/apis/ping.json"), ping.to_string()).unwrap();
    change("policies/gold.json", "\"rate\": 5", "\"rate\": 7");
    std::fs::remove_file(desk.path("out/apis/orders.json")).unwrap();
    let new = org(&classic("new", "/new/", "http://new"));
    std::fs::write(desk.path("out/new.json"), new.to_string()).unwrap();
    let (code, compared) = desk.json(&["diff", "production", "out"]).await;
    assert_eq!(code, 2);
    assert_eq!(compared["created"][0]["object"], "classic/new");
    assert_eq!(compared["only_on_gateway"][0]["object"], "oas/orders");
    let changed = compared["changed"].as_array().unwrap();
    let gold = &changed[0];
    assert_eq!(gold["object"], "policy/gold");
    assert_eq!(
        gold["fields"],
        json!([{"pointer": "/rate", "before": 5, "after": 7}])
    );
    assert_eq!(changed[1]["object"], "classic/ping");
    assert_eq!(
        changed[1]["fields"][0]["pointer"],
        "/upstream_auth/basic_auth/password"
    );
    let (code, out, err) = desk.run(&["diff", "production", "out"]).await;
    assert_eq!(code, 2);
    assert!(
        out.contains("~ /rate: 5 → 7") && out.contains("(secret "),
        "{out}"
    );
    for secret in [PLANTED, "another-pa55word"] {
        assert!(!format!("{out}{err}{compared}").contains(secret));
    }

    std::fs::write(desk.path("out/bad.json"), "{").unwrap();
    let (code, out, err) = desk.run(&["diff", "production", "out"]).await;
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("bad.json:1:"), "{err}");
    let (code, _, err) = desk.run(&["diff", "production", "nowhere"]).await;
    assert_eq!(code, 1);
    assert!(err.contains("nowhere"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_does_not_answer_makes_no_file() {
    let desk = Desk::with_a_shop().await;
    let url = desk.gateway.url();
    let text = std::fs::read_to_string(desk.path("lockstep.toml")).unwrap();
    let wrong = text.replace(&url, "http://127.0.0.1:1");
    std::fs::write(desk.path("lockstep.toml"), wrong).unwrap();
    let (code, out, err) = desk.run(&["import", "production", "--into", "out"]).await;
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("the target production"), "{err}");
    assert!(!desk.path("out").exists());
}

/// The secrets of an import, filled in from what was live.
fn filled(imported: &Value, bodies: &BTreeMap<ObjectKey, Value>) -> BTreeMap<String, String> {
    let secrets = imported["secrets"].as_array().unwrap();
    secrets
        .iter()
        .map(|secret| {
            let key: ObjectKey = secret["object"].as_str().unwrap().parse().unwrap();
            let pointer = secret["pointer"].as_str().unwrap();
            let value = bodies[&key].pointer(pointer).unwrap().as_str().unwrap();
            let variable = secret["variable"].as_str().unwrap();
            (variable.to_owned(), value.to_owned())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ../shared; tests/run has it"]
async fn a_gateway_filled_from_every_sample_comes_back_from_its_import() {
    let Some(shared) = crate::support::shared() else {
        return;
    };
    let (mut objects, mut secrets) = (0, 0);
    let (mut differing, mut rewritten) = (Vec::new(), Vec::new());
    for batch in batches_of_samples(&shared) {
        let desk = Desk::new().await;
        desk.configure("allow_jwt_document_reads = true");
        let read = manifest::read(&batch, &Options::default()).unwrap();
        for (key, object) in read.desired {
            // Some are accepted by no gateway.
            let body = of_the_target(key.kind, object.body);
            let _ = desk.client.write(key.kind, &key.id, &body).await;
        }
        desk.client.reload().await.unwrap();
        let before = live(&desk.client).await;
        for layout in ["operator", "native"] {
            let _ = std::fs::remove_dir_all(desk.path("out"));
            let (_, imported) = desk.import(&["--layout", layout]).await;
            assert_eq!(imported["left_out"], json!([]));
            for object in imported["objects"].as_array().unwrap() {
                if object["differs"] != json!([]) {
                    differing.push(format!("{layout} {object}"));
                }
            }
            for refused in imported["refused"].as_array().unwrap() {
                differing.push(format!("{layout} {refused}"));
            }
            let (code, compared) = desk.json(&["diff", "production", "out"]).await;
            assert_eq!(code, 0, "{layout} {compared:#}");
            if layout == "operator" {
                continue;
            }
            objects += before.len();
            let environment = filled(&imported, &before);
            secrets += environment.len();
            desk.commit();
            let (_, plan) = desk.json(&["plan", "shop"]).await;
            assert!(
                actions(&plan).iter().all(|action| *action == "adopt"),
                "{plan:#}"
            );
            assert_eq!(plan["plan"]["held"], json!([]));
            assert_eq!(actions(&plan).len(), before.len());
            desk.gateway.clear_log();
            let (code, run) = desk.json(&["sync", "shop"]).await;
            assert_eq!(code, 0, "{run:#}");
            assert!(!desk.gateway.log().iter().any(Seen::is_write));
            let (code, _) = desk.json(&["plan", "shop"]).await;
            assert_eq!(code, 0);
            // Everything is gone, the variables are filled in, and the import is synced.
            let anew = start(environment).await;
            desk.configure_for(&anew, "allow_jwt_document_reads = true");
            let (code, run) = desk.json(&["sync", "shop"]).await;
            assert_eq!(code, 0, "{run:#}");
            let after = live(&client(&anew)).await;
            assert_eq!(
                after.keys().collect::<Vec<_>>(),
                before.keys().collect::<Vec<_>>()
            );
            for (key, body) in &before {
                assert!(normalize::equal(key.kind, body, &after[key]), "{key}");
                let changes = diff(body, &after[key]);
                rewritten.extend(changes.iter().map(|change| format!("{key} {change}")));
            }
        }
        assert_eq!(desk.gateway.misuse(), Vec::<String>::new());
    }
    assert_eq!(differing, Vec::<String>::new());
    // A gateway writes more into a list of alternatives each time it is given what it said last.
    assert_eq!(rewritten, ["oas/optauth + /security/0/j: []"]);
    insta::assert_snapshot!(format!("{objects} objects, {secrets} secrets"), @"129 objects, 10 secrets");
}

fn masker() -> Masker {
    Masker::new(&[7; 32])
}

/// Texts that a careless writer would turn into something else.
fn awkward() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "yes",
            "no",
            "on",
            "~",
            "null",
            "True",
            "1e3",
            "0x1F",
            "007",
            "1_000",
            ".inf",
            "12:30",
            "",
            " lead",
            "trail ",
            "a: b",
            "a #b",
            "- a",
            "---",
            "...",
            "? x",
            "&a",
            "*a",
            "!t",
            "%a",
            "@a",
            "`a",
            "{a}",
            "[a]",
            "'",
            "\"",
            "\\",
            "a\nb",
            "a\n\n b\n",
            "\tx",
            "a\tb",
            "\u{85}",
            "\u{feff}x",
            "\u{2028}",
            "\u{0}",
            "\u{7f}",
            "é",
            "日本",
            "🎉",
            "60s",
            "0s",
            "apiVersion: kind:",
            "1.0",
            "-0",
            "2024-01-01",
            "|",
            ">",
            "=",
            "<<",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,12}",
        any::<String>().prop_map(|text| text.chars().take(12).collect()),
    ]
}

fn free() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e15..1e15_f64).prop_map(Value::from),
        awkward().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(awkward(), inner, 0..4)
                .prop_map(|members| members.into_iter().collect::<Value>()),
        ]
    })
}

fn definition() -> impl Strategy<Value = Value> {
    (
        awkward(),
        free(),
        prop::collection::btree_map(awkward(), awkward(), 0..3),
        prop::collection::vec(awkward(), 0..3),
        any::<(bool, bool, u32)>(),
    )
        .prop_map(|(name, free, headers, tags, (flag, other, number))| {
            json!({
                "api_id": "api", "org_id": "default", "name": name, "active": flag, "slug": "",
                "use_keyless": other, "tags": tags, "is_oas": false, "tag_headers": null,
                "proxy": {"listen_path": "/x/", "target_url": "http://x", "strip_listen_path": flag,
                    "target_list": null, "service_discovery": {"cache_timeout": 0}},
                "version_data": {"not_versioned": true, "versions": {"Default": {"name": "Default",
                    "global_headers": headers, "expires": "", "extended_paths": {"persist_graphql": null}}}},
                "config_data": {"free": free}, "global_rate_limit": {"rate": number, "per": 60},
            })
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn whatever_a_definition_holds_it_is_read_back_equal(body in definition(), operator in any::<bool>()) {
        let layout = if operator { Layout::Operator } else { Layout::Native };
        let key = ObjectKey::new(Kind::ClassicApi, "api");
        let found = Found { key: key.clone(), body: body.clone() };
        let written = write(&[found], layout, &Options::default(), &masker());
        prop_assert_eq!(&written.refused, &[]);
        let manifest = &written.manifests[0];
        prop_assert_eq!(&manifest.differs, &Vec::<String>::new());
        let source = SourceFile { path: manifest.path.clone(), bytes: manifest.text.clone().into_bytes() };
        let read = manifest::read(&[source], &Options::default()).unwrap();
        let back = &read.desired[&key].body;
        prop_assert!(normalize::equal(Kind::ClassicApi, back, &body));
        if manifest.secrets.is_empty() {
            prop_assert_eq!(
                lockstep::domain::canonical::canonical(&back["config_data"]),
                lockstep::domain::canonical::canonical(&body["config_data"])
            );
        }
    }
}
