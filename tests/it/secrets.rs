//! Secrets of a stack by reference: filled in when they are sent, seen when they change, and shown
//! nowhere.

use std::path::Path;

use lockstep::{
    config::{Config, SecretSource},
    domain::run::{Action, Outcome, RunStatus},
    manifest::{self, Options, SourceFile},
    sandbox::gateway::{Asked, Gateway, GatewayOptions},
    sync::{
        hold,
        lease::Holding,
        ownership::{self, Wish},
        run::{Report, silent},
        schedule, worker,
    },
};
use serde_json::{Value, json};

use crate::support::{
    app::{GATEWAY_SECRET, Mode, TestApp, asker, classic, oas, upstream},
    git_repo::GitRepo,
    process::lockstep,
    vault::{ROLE_ID, SECRET_ID, TOKEN, Trouble, Vault},
};

crate::in_both_modes! {
    a_secret_is_filled_in_and_a_plan_after_it_is_empty,
    a_rotation_goes_live_by_itself_and_is_named,
    a_rotation_that_waits_for_an_approval_is_asked_for_once,
    a_change_by_hand_of_a_field_with_a_secret_is_drift,
    an_old_value_is_hidden_when_rotation_drift_and_restart_meet,
    a_reference_that_leaves_git_leaves_no_value_behind,
    a_secret_that_cannot_be_read_stops_its_stack_alone_before_any_write,
    a_rotation_that_takes_an_api_down_is_put_back_with_the_value_before,
    a_rollback_has_the_secrets_of_today,
    every_node_gets_the_secret_and_its_rotation,
    a_gateway_that_quotes_a_body_tells_no_secret,
    an_object_with_secrets_is_adopted_without_showing_them,
    three_stacks_of_one_repository_have_secrets_of_their_own,
    secrets_come_from_vault_and_rotate_there,
    what_vault_does_not_give_stops_the_run_and_is_tried_again,
    gateway_references_beside_secrets_pass_untouched,
}

const PASSWORD: &str = "planted-pa55word-1";
const ROTATED: &str = "planted-pa55word-2";
/// Everything that could break a text that holds it.
const ODD: &str = "planted \"quotes\" \\ </script> ${secret:db} %41 é\u{1F600}\ttab";
const PEM: &str = "-----BEGIN PRIVATE KEY-----\nplanted-line-0ne-of-a-key\nplanted-line-tw0\n-----END PRIVATE KEY-----";

const LINES: &str = r#"drift = "revert"
[stack.shop.secrets]
db = { file = "db" }
odd = { env = "ODD" }
pem = { file = "pem" }
short = { env = "SHORT" }
absent = { env = "NEVER_SET" }
"#;

fn put(app: &TestApp, name: &str, value: &str) {
    std::fs::write(app.folder.path().join(name), value).unwrap();
}

async fn shop_with(mode: Mode, lines: &str) -> TestApp {
    let app = TestApp::with_environment(mode, lines, &[("ODD", ODD), ("SHORT", "q7")]).await;
    // A line break at the end does not count.
    put(&app, "db", &format!("{PASSWORD}\n"));
    put(&app, "pem", PEM);
    app
}

async fn shop(mode: Mode) -> TestApp {
    let app = shop_with(mode, LINES).await;
    app.repo.write("a.json", with_secrets("a", "http://a"));
    app.repo.write("o.json", oas_with_secrets("o"));
    app.push_well("first").await;
    app
}

/// With secrets where Tyk has secrets, and anywhere else.
fn with_secrets(id: &str, target: &str) -> String {
    let mut body: Value = serde_json::from_str(&classic(id, &format!("/{id}/"), target)).unwrap();
    body["upstream_auth"]["basic_auth"]["password"] = json!("${secret:db}");
    body["config_data"] = json!({
        "two": "${secret:short}-${secret:db}", "odd": "<${secret:odd}>", "key": "${secret:pem}",
        "text": "$${secret:db}", "script": "`$${values.x}${y}`",
    });
    body["version_data"]["versions"]["Default"]["global_headers"] =
        json!({"X-Partner": "partner ${secret:db}"});
    body.to_string()
}

fn oas_with_secrets(id: &str) -> String {
    let mut body: Value = serde_json::from_str(&oas(
        id,
        &format!("/{id}/"),
        "https://user:${secret:db}@up.example/x",
    ))
    .unwrap();
    body["x-tyk-api-gateway"]["middleware"] = json!({"global": {"transformRequestHeaders": {
        "enabled": true, "add": [{"name": "X-Partner", "value": "partner ${secret:db}"}],
    }}});
    body.to_string()
}

/// What the text of the OAS API says in its upstream, and in the header that it adds.
fn of_oas(live: &Value) -> (String, String) {
    let extension = &live["x-tyk-api-gateway"];
    let add = &extension["middleware"]["global"]["transformRequestHeaders"]["add"];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&extension["upstream"]["url"]), text(&add[0]["value"]))
}

fn is_filled_with(app: &TestApp, value: &str) {
    let live = app.gateway.live_classic("a").unwrap();
    assert_eq!(live["upstream_auth"]["basic_auth"]["password"], value);
    assert_eq!(live["config_data"]["two"], format!("q7-{value}"));
    let default = &live["version_data"]["versions"]["Default"];
    assert_eq!(
        default["global_headers"]["X-Partner"],
        format!("partner {value}")
    );
    let (url, header) = of_oas(&app.gateway.live_api("o").unwrap());
    assert_eq!(url, format!("https://user:{value}@up.example/x"));
    assert_eq!(header, format!("partner {value}"));
}

/// The parts of every value that was ever a secret here.
const PLANTED: &[&str] = &[
    PASSWORD,
    ROTATED,
    "planted \"quotes\"",
    r#"planted \"quotes\""#,
    "planted-line-0ne",
    "planted-line-tw0",
    "planted-by-hand",
    // Longer than what salts may have in them by chance.
    "q7-planted",
    "q7-(secret",
    TOKEN,
    ROLE_ID,
    SECRET_ID,
    "hvs.of-login",
];

fn shows_none(text: &str) {
    for planted in PLANTED {
        assert!(!text.contains(planted), "{planted} is in {text:.2000}");
    }
}

/// Nothing of them is in the database, its bytes on disk included.
async fn finish(app: TestApp) {
    let marker = "a-text-that-is-searched-for-in-bytes";
    app.app.store.postpone("shop", 0, 0, marker).await.unwrap();
    let text = app.all_text().await;
    assert!(text.contains(marker) && text.contains("(secret db "));
    shows_none(&text);
    let data = app.folder.path().join("data");
    if data.is_dir() {
        let mut bytes = Vec::new();
        for entry in std::fs::read_dir(&data).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                bytes.extend(std::fs::read(path).unwrap());
            }
        }
        let bytes = String::from_utf8_lossy(&bytes);
        assert!(bytes.contains(marker), "the search finds nothing");
        shows_none(&bytes);
    }
    for report in app.runs().await {
        let detail = app.detail(Some(&report.id)).await;
        shows_none(&format!("{detail:?}"));
    }
    app.finish().await;
}

fn reasons(report: &Report) -> Vec<(Action, &str, &str, Outcome)> {
    report
        .changes
        .iter()
        .map(|change| {
            let (id, reason) = (change.object.id.as_str(), change.reason.as_str());
            (change.action, id, reason, change.outcome)
        })
        .collect()
}

async fn holding(app: &TestApp) -> Holding {
    let holding = Holding::take(&app.app.store, "production", "a person").await;
    holding.unwrap().unwrap()
}

async fn drift(app: &TestApp) -> Vec<Report> {
    let found = schedule::drift(&app.app, "production").await.unwrap();
    for drift in &found {
        shows_none(&format!("{:?}{}", drift.look.plan, drift.look.plan));
    }
    app.run_pending().await
}

async fn is_at_rest(app: &TestApp) {
    app.gateway.clear_log();
    assert!(drift(app).await.is_empty());
    app.repo.write("README.md", app.repo.head());
    assert!(app.push_well("words").await.changes.is_empty());
    assert!(app.writes().is_empty());
}

const APPLIED: Outcome = Outcome::Applied;

async fn a_secret_is_filled_in_and_a_plan_after_it_is_empty(mode: Mode) {
    let app = shop(mode).await;
    is_filled_with(&app, PASSWORD);
    let live = app.gateway.live_classic("a").unwrap();
    assert_eq!(live["config_data"]["odd"], format!("<{ODD}>"));
    assert_eq!(live["config_data"]["key"], PEM);
    assert_eq!(live["config_data"]["text"], "${secret:db}");
    assert_eq!(live["config_data"]["script"], "`${values.x}${y}`");
    is_at_rest(&app).await;
    // Also for a gateway that prints everything anew, and for a worker that knows nothing.
    app.gateway.restart(false).await.unwrap();
    is_at_rest(&app).await;
    let other = app.another_worker().await;
    assert!(app.sync_with(&other).await.changes.is_empty());
    // What is kept of it names the secret and shows the rest.
    let text = app.all_text().await;
    assert!(text.contains("partner (secret db "));
    finish(app).await;
}

async fn a_rotation_goes_live_by_itself_and_is_named(mode: Mode) {
    let app = shop(mode).await;
    put(&app, "db", ROTATED);
    let reports = drift(&app).await;
    assert_eq!(
        reasons(&reports[0]),
        [
            (Action::Update, "a", "secret db changed", APPLIED),
            (Action::Update, "o", "secret db changed", APPLIED),
        ]
    );
    is_filled_with(&app, ROTATED);
    is_at_rest(&app).await;
    // Together with a change in Git it is named too, and with the place of each.
    put(&app, "db", PASSWORD);
    app.repo.write("a.json", with_secrets("a", "http://other"));
    let report = app.push_well("other").await;
    let expected = "changed in Git; secret db changed";
    assert_eq!(
        reasons(&report)[0],
        (Action::Update, "a", expected, APPLIED)
    );
    let plan = report.plan.unwrap();
    let fields: Vec<String> = plan.waves[0][0]
        .fields
        .iter()
        .map(|field| field.pointer.clone())
        .collect();
    assert_eq!(
        fields,
        [
            "/config_data/two",
            "/proxy/target_url",
            "/upstream_auth/basic_auth/password",
            "/version_data/versions/Default/global_headers/X-Partner",
        ]
    );
    assert_eq!(app.gateway.misuse(), [""; 0]);
    is_filled_with(&app, PASSWORD);
    finish(app).await;
}

async fn a_rotation_that_waits_for_an_approval_is_asked_for_once(mode: Mode) {
    let app = shop_with(mode, LINES).await;
    app.repo
        .write("b.json", classic("b", "/b/", "http://${secret:db}"));
    app.push_well("first").await;
    let strict = "[stack.shop]\nrequire_approval = \"always\"\n";
    let text = app.config_text.replace("[stack.shop]\n", strict);
    let strict = app.opened_with(&text).await;
    put(&app, "db", ROTATED);
    schedule::drift(&strict, "production").await.unwrap();
    let reports = worker::run_pending(&strict).await.unwrap();
    assert_eq!(reports[0].status, RunStatus::Parked);
    let held = &reports[0].plan.as_ref().unwrap().held[0];
    assert_eq!(held.change.reason, "secret db changed");
    schedule::drift(&strict, "production").await.unwrap();
    assert!(worker::run_pending(&strict).await.unwrap().is_empty());
    // Another value is another plan.
    put(&app, "db", "planted-by-hand");
    schedule::drift(&strict, "production").await.unwrap();
    assert_eq!(worker::run_pending(&strict).await.unwrap().len(), 1);
    let live = app.gateway.live_classic("b").unwrap();
    assert_eq!(upstream(&live), format!("http://{PASSWORD}"));
    finish(app).await;
}

async fn a_change_by_hand_of_a_field_with_a_secret_is_drift(mode: Mode) {
    let app = shop(mode).await;
    for (pointer, by_hand) in [
        ("/upstream_auth/basic_auth/password", "planted-by-hand"),
        ("/config_data/two", "q7-planted-by-hand"),
        ("/name", "planted-by-hand"),
    ] {
        let mut body = app.gateway.live_classic("a").unwrap();
        *body.pointer_mut(pointer).unwrap() = json!(by_hand);
        app.gateway.put_api_by_hand(&body);
        app.gateway.reload_now().await;
        let reports = drift(&app).await;
        let reason = "changed on the gateway since the last run";
        assert_eq!(
            reasons(&reports[0]),
            [(Action::Update, "a", reason, APPLIED)]
        );
        let plan = reports[0].plan.as_ref().unwrap();
        let fields = &plan.waves[0][0].fields;
        assert_eq!(fields.len(), 1, "{fields:?}");
        assert_eq!(fields[0].pointer, pointer);
        is_filled_with(&app, PASSWORD);
    }
    is_at_rest(&app).await;
    finish(app).await;
}

async fn an_old_value_is_hidden_when_rotation_drift_and_restart_meet(mode: Mode) {
    let app = shop(mode).await;
    let mut body = app.gateway.live_classic("a").unwrap();
    body["proxy"]["target_url"] = json!("http://by-hand");
    app.gateway.put_api_by_hand(&body);
    app.gateway.restart(false).await.unwrap();
    put(&app, "db", ROTATED);
    let reports = drift(&app).await;
    let both = "secret db changed, and on the gateway since the last run";
    assert_eq!(
        reasons(&reports[0]),
        [
            (Action::Update, "a", both, APPLIED),
            (Action::Update, "o", "secret db changed", APPLIED),
        ]
    );
    is_filled_with(&app, ROTATED);
    is_at_rest(&app).await;
    finish(app).await;
}

async fn a_reference_that_leaves_git_leaves_no_value_behind(mode: Mode) {
    let app = shop(mode).await;
    app.repo
        .write("a.json", classic("a", "/a/", "http://a"))
        .remove("o.json");
    // At the same time it is changed by hand, so that it is read closely.
    let mut body = app.gateway.live_classic("a").unwrap();
    body["config_data"]["more"] = json!("planted-by-hand");
    app.gateway.put_api_by_hand(&body);
    app.gateway.reload_now().await;
    let report = app.push_well("without").await;
    let plan = report.plan.unwrap();
    shows_none(&format!("{plan:?}{plan}"));
    let live = app.gateway.live_classic("a").unwrap();
    assert!(!live.to_string().contains(PASSWORD));
    is_at_rest(&app).await;
    finish(app).await;
}

async fn a_secret_that_cannot_be_read_stops_its_stack_alone_before_any_write(mode: Mode) {
    let second = "[stack.second]\nrepository = \"shop\"\ntarget = \"production\"\npath = \"two\"\n";
    let app = shop_with(mode, &format!("path = \"one\"\n{LINES}{second}")).await;
    app.repo.write("one/a.json", with_secrets("a", "http://a"));
    app.repo
        .write("two/b.json", classic("b", "/b/", "http://b"));
    app.repo.commit("first");
    app.push_webhook().await;
    app.run_pending().await;
    is_live(&app, &["a", "b"]);
    app.gateway.clear_log();
    // Gone, empty, too large, no text, and never set.
    let file = app.folder.path().join("db");
    let broken: [(&str, &dyn Fn()); 4] = [
        ("cannot be read from", &|| {
            std::fs::remove_file(&file).unwrap();
        }),
        ("cannot be empty", &|| put(&app, "db", " \n")),
        ("larger than 64 KiB", &|| {
            put(&app, "db", &"x".repeat(70_000));
        }),
        ("UTF-8", &|| std::fs::write(&file, [0xff, 0xfe]).unwrap()),
    ];
    for (number, (words, break_it)) in broken.iter().enumerate() {
        break_it();
        let target = format!("http://b{number}");
        app.repo.write("one/a.json", with_secrets("a", &target));
        app.repo.write("two/b.json", classic("b", "/b/", &target));
        app.repo.commit("next");
        app.push_webhook().await;
        app.forget_backoff().await;
        let reports = app.run_pending().await;
        let failed = reports
            .iter()
            .find(|report| report.status == RunStatus::Failed)
            .unwrap();
        let message = failed.message.as_deref().unwrap();
        assert!(
            message.starts_with("the secret db of the stack shop cannot be read: "),
            "{message}"
        );
        assert!(message.contains(words), "{message}");
        assert!(failed.again_at.is_some());
        assert_eq!(upstream(&app.gateway.live_classic("b").unwrap()), target);
        assert!(app.writes().iter().all(|write| !write.path.ends_with("/a")));
        is_live(&app, &["a", "b"]);
    }
    assert_eq!(
        upstream(&app.gateway.live_classic("a").unwrap()),
        "http://a"
    );
    // Said once, and tried again until it is there.
    app.forget_backoff().await;
    app.run_pending().await;
    let runs = app.runs().await.len();
    app.forget_backoff().await;
    app.run_pending().await;
    assert_eq!(app.runs().await.len(), runs);
    put(&app, "db", PASSWORD);
    app.forget_backoff().await;
    let reports = app.run_pending().await;
    assert_eq!(reports[0].status, RunStatus::Succeeded);
    assert_eq!(
        upstream(&app.gateway.live_classic("a").unwrap()),
        "http://b3"
    );
    app.repo
        .write("one/c.json", classic("c", "/c/", "http://${secret:absent}"));
    app.repo.commit("not set");
    app.push_webhook().await;
    let reports = app.run_pending().await;
    let message = reports
        .iter()
        .find_map(|report| report.message.as_deref())
        .unwrap();
    let expected = "the secret absent of the stack shop cannot be read: the environment variable \
                    NEVER_SET is not set";
    assert_eq!(message, expected);
    finish(app).await;
}

fn is_live(app: &TestApp, ids: &[&str]) {
    assert_eq!(app.gateway.live_ids(), ids);
}

async fn a_rotation_that_takes_an_api_down_is_put_back_with_the_value_before(mode: Mode) {
    let app = shop(mode).await;
    put(&app, "db", ROTATED);
    app.gateway.faults().lose("a");
    let mut reached = app.gateway.faults().hang(1, |asked| {
        let mut windows = asked.body.windows(PASSWORD.len());
        asked.method == "POST" && windows.any(|window| window == PASSWORD.as_bytes())
    });
    schedule::drift(&app.app, "production").await.unwrap();
    let running = {
        let app = app.app.clone();
        tokio::spawn(async move { worker::run_pending(&app).await.unwrap() })
    };
    reached.reached(1).await;
    app.gateway.faults().clear();
    drop(reached);
    let reports = running.await.unwrap();
    let outcomes: Vec<_> = reasons(&reports[0])
        .iter()
        .map(|change| (change.1, change.3))
        .collect();
    assert_eq!(outcomes, [("a", Outcome::Repaired), ("o", APPLIED)]);
    let live = app.gateway.live_classic("a").unwrap();
    assert_eq!(live["upstream_auth"]["basic_auth"]["password"], PASSWORD);
    let (_, header) = of_oas(&app.gateway.live_api("o").unwrap());
    assert_eq!(header, format!("partner {ROTATED}"));
    // The next run has it right.
    let report = app.push_well("again").await;
    let reason = "secret db changed";
    assert_eq!(reasons(&report), [(Action::Update, "a", reason, APPLIED)]);
    is_filled_with(&app, ROTATED);
    is_at_rest(&app).await;
    finish(app).await;
}

async fn a_rollback_has_the_secrets_of_today(mode: Mode) {
    let app = shop(mode).await;
    let first = app.repo.head();
    app.repo.write("a.json", with_secrets("a", "http://second"));
    app.push_well("second").await;
    put(&app, "db", ROTATED);
    let first = first.parse().unwrap();
    let stack = app.app.stack("shop").unwrap().clone();
    let holding = holding(&app).await;
    let wish = Wish {
        by: asker("ada"),
        reason: "back".to_owned(),
    };
    hold::roll_back(&app.app, &holding, &stack, &first, wish, &silent)
        .await
        .unwrap();
    holding.release().await.unwrap();
    assert_eq!(
        upstream(&app.gateway.live_classic("a").unwrap()),
        "http://a"
    );
    is_filled_with(&app, ROTATED);
    finish(app).await;
}

async fn every_node_gets_the_secret_and_its_rotation(mode: Mode) {
    let app = shop_with(mode, LINES).await.and_nodes(2).await;
    app.repo.write("a.json", with_secrets("a", "http://a"));
    app.repo.write("o.json", oas_with_secrets("o"));
    app.push_well("first").await;
    let passwords = |app: &TestApp| {
        let nodes = std::iter::once(&app.gateway).chain(&app.more);
        let password = |node: &Gateway| {
            let live = node.live_classic("a").unwrap();
            live["upstream_auth"]["basic_auth"]["password"].clone()
        };
        nodes.map(password).collect::<Vec<Value>>()
    };
    assert_eq!(passwords(&app), [PASSWORD; 3]);
    put(&app, "db", ROTATED);
    // By hand on one of them, meanwhile.
    let mut body = app.more[1].live_classic("a").unwrap();
    body["name"] = json!("planted-by-hand");
    app.more[1].put_api_by_hand(&body);
    app.more[1].reload_now().await;
    drift(&app).await;
    assert_eq!(passwords(&app), [ROTATED; 3]);
    is_at_rest(&app).await;
    finish(app).await;
}

async fn a_gateway_that_quotes_a_body_tells_no_secret(mode: Mode) {
    let app = shop(mode).await;
    let writes = |asked: &Asked<'_>| asked.method == "PUT" || asked.method == "POST";
    app.repo
        .write("b.json", classic("b", "/b/", "http://${secret:db}/x"));
    app.repo.write("c.json", with_secrets("c", "http://c"));
    app.gateway.faults().quote(2, writes);
    let report = app.push("refused").await;
    assert_eq!(report.status, RunStatus::Failed);
    shows_none(&format!("{report:?}"));
    let message = report.message.unwrap();
    assert!(message.contains("http://(secret db)/x"), "{message}");
    assert!(
        message.contains("(secret short) stands in its words, which are not repeated"),
        "{message}"
    );
    finish(app).await;
}

async fn an_object_with_secrets_is_adopted_without_showing_them(mode: Mode) {
    let app = shop_with(mode, LINES).await;
    app.repo.write("a.json", with_secrets("a", "http://a"));
    app.push_well("first").await;
    let live = app.gateway.live_classic("a").unwrap();
    // Another installation, whose gateway has it already, once the same and once with another value.
    for (value, is_equal) in [(PASSWORD, true), (ROTATED, false)] {
        let other = shop_with(mode, LINES).await;
        put(&other, "db", value);
        other.gateway.put_api_by_hand(&live);
        other.gateway.reload_now().await;
        other.repo.write("a.json", with_secrets("a", "http://a"));
        let report = other.push("there already").await;
        let plan = report.plan.as_ref().unwrap();
        shows_none(&format!("{plan:?}{plan}"));
        if is_equal {
            assert_eq!(report.changes[0].action, Action::Adopt);
        } else {
            assert_eq!(report.status, RunStatus::Parked);
            let stack = other.app.stacks["shop"].clone();
            let holding = holding(&other).await;
            let objects = ["classic/a".parse().unwrap()];
            let wish = Wish {
                by: asker("ada"),
                reason: "ours".to_owned(),
            };
            ownership::adopt(&other.app, &holding, &stack, &objects, wish)
                .await
                .unwrap();
            holding.release().await.unwrap();
            let reports = other.run_pending().await;
            shows_none(&format!("{reports:?}"));
            assert_eq!(reports[0].status, RunStatus::Succeeded);
        }
        let password = &other.gateway.live_classic("a").unwrap()["upstream_auth"]["basic_auth"];
        assert_eq!(password["password"], value);
        is_at_rest(&other).await;
        finish(other).await;
    }
    finish(app).await;
}

async fn three_stacks_of_one_repository_have_secrets_of_their_own(mode: Mode) {
    let options = || GatewayOptions {
        secret: GATEWAY_SECRET.to_owned(),
        ..GatewayOptions::default()
    };
    let gateways = [
        Gateway::start(options()).await.unwrap(),
        Gateway::start(options()).await.unwrap(),
    ];
    let mut lines = "[stack.shop.secrets]\ndb = { file = \"db\" }\n".to_owned();
    for (name, gateway) in ["second", "third"].iter().zip(&gateways) {
        lines.push_str(&format!(
            "[target.{name}]\nkind = \"gateway\"\nnodes = [\"{}\"]\nsecret = {{ env = \"GATEWAY\" }}\n\
             [stack.{name}]\nrepository = \"shop\"\ntarget = \"{name}\"\n\
             [stack.{name}.secrets]\ndb = {{ file = \"{name}\" }}\n",
            gateway.url()
        ));
    }
    let app = shop_with(mode, &lines).await;
    put(&app, "second", "planted-pa55word-of-second");
    put(&app, "third", "planted-pa55word-of-third");
    app.repo
        .write("b.json", classic("b", "/b/", "http://${secret:db}"));
    app.repo.commit("first");
    app.push_webhook().await;
    app.run_pending().await;
    let live = |app: &TestApp| {
        let all = [&app.gateway, &gateways[0], &gateways[1]];
        all.map(|gateway| upstream(&gateway.live_classic("b").unwrap()).to_owned())
    };
    let expected = |first: &str| {
        [
            first,
            "planted-pa55word-of-second",
            "planted-pa55word-of-third",
        ]
        .map(|value| format!("http://{value}"))
    };
    assert_eq!(live(&app), expected(PASSWORD));
    // One in the base reaches all, one secret its own stack alone.
    put(&app, "db", ROTATED);
    for target in ["production", "second", "third"] {
        schedule::drift(&app.app, target).await.unwrap();
    }
    let reports = app.run_pending().await;
    assert_eq!(reports.len(), 1, "the other two have nothing to do");
    let reason = "secret db changed";
    assert_eq!(
        reasons(&reports[0]),
        [(Action::Update, "b", reason, APPLIED)]
    );
    assert_eq!(live(&app), expected(ROTATED));
    app.repo
        .write("b.json", classic("b", "/c/", "http://${secret:db}"));
    app.repo.commit("to all");
    app.push_webhook().await;
    assert_eq!(app.run_pending().await.len(), 3);
    assert_eq!(live(&app), expected(ROTATED));
    let text = app.all_text().await;
    for value in ["planted-pa55word-of-second", "planted-pa55word-of-third"] {
        assert!(!text.contains(value));
    }
    finish(app).await;
}

const IN_VAULT: &str = r#"drift = "revert"
[stack.shop.secrets]
db = { vault = "kv/shop/database#password" }
port = { vault = "kv/shop/database#port" }
[vault]
timeout = "1s"
"#;

async fn with_vault(mode: Mode, vault: &Vault, login: &str) -> TestApp {
    let lines = format!("{IN_VAULT}address = \"{}\"\n{login}\n", vault.url());
    let environment = [("TOKEN", TOKEN), ("ROLE", ROLE_ID), ("SECRET", SECRET_ID)];
    TestApp::with_environment(mode, &lines, &environment).await
}

const APP_ROLE: &str = "role_id = { env = \"ROLE\" }\nsecret_id = { env = \"SECRET\" }";

async fn secrets_come_from_vault_and_rotate_there(mode: Mode) {
    let vault = Vault::start();
    vault.only_in("team/a");
    let place = "kv/shop/database";
    vault.put(place, json!({"password": PASSWORD, "port": 8080}));
    let login = format!("{APP_ROLE}\nnamespace = \"team/a\"");
    let app = with_vault(mode, &vault, &login).await;
    app.repo.write(
        "b.json",
        classic("b", "/b/", "http://u:${secret:db}@up:${secret:port}"),
    );
    app.push_well("first").await;
    let live = |app: &TestApp| upstream(&app.gateway.live_classic("b").unwrap()).to_owned();
    assert_eq!(live(&app), format!("http://u:{PASSWORD}@up:8080"));
    // One request for both fields, and one login for all requests.
    assert_eq!(vault.reads(), [place]);
    is_at_rest(&app).await;
    assert!(vault.reads().len() >= 2);
    assert_eq!(vault.logins(), 1);
    vault.put(place, json!({"password": ROTATED, "port": true}));
    let reports = drift(&app).await;
    let reason = "secret db, port changed";
    assert_eq!(
        reasons(&reports[0]),
        [(Action::Update, "b", reason, APPLIED)]
    );
    assert_eq!(live(&app), format!("http://u:{ROTATED}@up:true"));
    // A token that was revoked, or runs out, is replaced.
    vault.revoke_all();
    vault.leases(5);
    is_at_rest(&app).await;
    assert!(vault.logins() >= 2, "{}", vault.logins());
    finish(app).await;
}

async fn what_vault_does_not_give_stops_the_run_and_is_tried_again(mode: Mode) {
    let vault = Vault::start();
    let place = "kv/shop/database";
    let good = || json!({"password": PASSWORD, "port": "1"});
    vault.put(place, good());
    let elsewhere = Vault::start();
    let mut app = with_vault(mode, &vault, "token = { env = \"TOKEN\" }").await;
    app.repo
        .write("b.json", classic("b", "/b/", "http://${secret:db}"));
    app.push_well("first").await;
    let other_place = format!("{}/v1/kv/data/shop/database", elsewhere.url());
    let troubles = [
        (
            Trouble::Sealed,
            "Vault is sealed, or not ready (HTTP 503): Vault is sealed",
        ),
        (
            Trouble::Redirect(other_place),
            "a redirect, which is not followed",
        ),
        (Trouble::Never, "Vault did not answer within 1 s"),
        (Trouble::Endless, "it has more than 1 MiB"),
        (Trouble::Echo, "Vault refuses it (HTTP 400): you sent …"),
        (Trouble::VersionOne, "is the mount of version 2?"),
        (Trouble::Page, "(HTTP 502): it gives no reason"),
    ];
    app.gateway.clear_log();
    for (number, (trouble, words)) in troubles.into_iter().enumerate() {
        vault.has(Some(trouble));
        app.repo.write(
            "b.json",
            classic("b", &format!("/b{number}/"), "http://${secret:db}"),
        );
        does_not_begin(&app, words).await;
    }
    vault.has(None);
    vault.delete_latest(place);
    does_not_begin(&app, "its latest version is deleted (HTTP 404)").await;
    for (fields, words) in [
        (json!({"port": "1"}), "it has no such field"),
        (json!({"password": ""}), "the field is empty"),
        (
            json!({"password": {"planted-by-hand": 1}}),
            "the field is no text",
        ),
        (
            json!({"password": "x".repeat(70_000)}),
            "the field has more than 64 KiB",
        ),
    ] {
        vault.put(place, fields);
        does_not_begin(&app, words).await;
    }
    vault.put(place, good());
    vault.only_in("another");
    does_not_begin(&app, "(HTTP 403): the token may be wrong").await;
    assert!(elsewhere.reads().is_empty());
    assert!(app.writes().is_empty(), "nothing was written meanwhile");
    // An AppRole that is not let in, and a Vault that is not there.
    let text = app
        .config_text
        .replace("token = { env = \"TOKEN\" }", APP_ROLE);
    app.app = app
        .opened_with(&text.replace("{ env = \"SECRET\" }", "{ env = \"ROLE\" }"))
        .await;
    does_not_begin(&app, "(HTTP 400): invalid role or secret ID").await;
    app.app = app
        .opened_with(&text.replace(&vault.url(), "http://127.0.0.1:1"))
        .await;
    does_not_begin(&app, "Vault cannot be reached at 127.0.0.1:1").await;
    finish(app).await;
}

/// A push ends before anything is written, says why, and is tried again.
async fn does_not_begin(app: &TestApp, words: &str) {
    app.repo.write("README.md", words);
    app.repo.commit(words);
    app.push_webhook().await;
    app.forget_backoff().await;
    let reports = app.run_pending().await;
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].status, RunStatus::Failed);
    assert!(reports[0].again_at.is_some());
    let message = reports[0].message.as_deref().unwrap();
    let beginning = "the secret db of the stack shop cannot be read: from Vault at \
                     kv/shop/database#password: ";
    assert!(message.starts_with(beginning), "{message}");
    assert!(message.contains(words), "{words}: {message}");
    shows_none(message);
    let live = app.gateway.live_classic("b").unwrap();
    assert_eq!(upstream(&live), format!("http://{PASSWORD}"));
}

async fn gateway_references_beside_secrets_pass_untouched(mode: Mode) {
    let app = shop_with(mode, LINES).await;
    let forms = [
        "env://X",
        "secrets://x",
        "consul://x",
        "vault://x",
        "kv://x",
        "file:///x",
        "$kv{x}",
        "$secret_env.X",
        "$secret_conf.X",
        "$secret_consul.X",
        "$secret_vault.X",
    ];
    let mut body: Value =
        serde_json::from_str(&classic("a", "/a/", "http://${secret:db}")).unwrap();
    body["config_data"] = json!({"forms": forms});
    app.repo.write("a.json", body.to_string());
    app.push_well("first").await;
    let live = app.gateway.live_classic("a").unwrap();
    assert_eq!(live["config_data"]["forms"], json!(forms));
    is_at_rest(&app).await;
    put(&app, "db", ROTATED);
    assert_eq!(reasons(&drift(&app).await[0])[0].2, "secret db changed");
    is_at_rest(&app).await;
    finish(app).await;
}

/// Everything that the binary says and keeps, at the most talkative.
#[expect(clippy::too_many_lines, reason = "every command once")]
#[tokio::test]
async fn no_command_says_a_secret() {
    let options = GatewayOptions {
        secret: GATEWAY_SECRET.to_owned(),
        ..GatewayOptions::default()
    };
    let gateway = Gateway::start(options).await.unwrap();
    let repo = GitRepo::new();
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "[repository.shop]\nurl = \"{}\"\n\
         [target.production]\nkind = \"gateway\"\nnodes = [\"{}\"]\nsecret = {{ env = \"GATEWAY\" }}\n\
         [stack.shop]\nrepository = \"shop\"\ntarget = \"production\"\n{LINES}",
        repo.path().display(),
        gateway.url(),
    );
    std::fs::write(folder.path().join("lockstep.toml"), config).unwrap();
    let rotate = |value: &str| std::fs::write(folder.path().join("db"), value).unwrap();
    rotate(PASSWORD);
    std::fs::write(folder.path().join("pem"), PEM).unwrap();
    repo.write("a.json", with_secrets("a", "http://a"));
    repo.write("o.json", oas_with_secrets("o"));
    repo.commit("first");
    let said = std::sync::Mutex::new(String::new());
    let run = async |arguments: &[&str]| {
        let folder = folder.path().to_owned();
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let variables = [
            ("GATEWAY", GATEWAY_SECRET),
            ("ODD", ODD),
            ("SHORT", "q7"),
            ("RUST_LOG", "trace"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let (code, out, err) = tokio::task::spawn_blocking(move || {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            lockstep(&folder, &variables, &arguments)
        })
        .await
        .unwrap();
        let mut said = said.lock().unwrap();
        said.push_str(&out);
        said.push_str(&err);
        (code, out, err)
    };
    let repository = repo.path().display().to_string();
    let everything: [&[&str]; 8] = [
        &["plan", "shop"],
        &["drift", "shop"],
        &["status"],
        &["history", "shop"],
        &["show", "shop"],
        &["audit", "verify"],
        &["diff", "production", &repository, "--stack", "shop"],
        &["diff", "production", &repository],
    ];
    let all = async || {
        for arguments in everything {
            run(arguments).await;
            run(&[&["--output", "json"], arguments].concat()).await;
        }
    };
    all().await;
    let (code, out, err) = run(&["sync", "shop"]).await;
    assert_eq!(code, 0, "{out}{err}");
    all().await;
    assert_eq!(run(&["plan", "shop"]).await.0, 0);
    let (code, out, err) = run(&["diff", "production", &repository, "--stack", "shop"]).await;
    assert_eq!(code, 0, "{out}{err}");
    let (code, _, err) = run(&["diff", "production", &repository]).await;
    assert!(code == 1 && err.contains("--stack STACK"), "{err}");
    // Rotated, changed by hand, and refused with the body in the gateway's words.
    rotate(ROTATED);
    let mut body = gateway.live_classic("a").unwrap();
    body["config_data"]["more"] = json!("planted-by-hand");
    gateway.put_api_by_hand(&body);
    gateway.reload_now().await;
    all().await;
    let (code, out, _) = run(&["plan", "shop"]).await;
    assert!(code == 2 && out.contains("secret db changed"), "{out}");
    gateway
        .faults()
        .quote(1, |asked| asked.method == "PUT" || asked.method == "POST");
    assert_eq!(run(&["sync", "shop"]).await.0, 1);
    all().await;
    assert_eq!(run(&["sync", "shop"]).await.0, 0);
    all().await;
    // What is live is not written into files.
    let (code, out, err) = run(&["import", "production", "--into", "imported"]).await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(
        out.contains("the stack shop describes it in a.json"),
        "{out}"
    );
    let imported = folder.path().join("imported");
    assert!(!imported.join("a.json").exists());
    // A secret that cannot be read is named, and nothing else of it.
    std::fs::remove_file(folder.path().join("db")).unwrap();
    let (code, out, err) = run(&["plan", "shop"]).await;
    assert_eq!(code, 1);
    assert!(format!("{out}{err}").contains("the secret db of the stack shop cannot be read"));

    let said = said.into_inner().unwrap();
    assert!(said.contains("(secret db ") && said.contains("X-Partner"));
    shows_none(&said);
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(folder.path().join("lockstep-data")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            bytes.extend(std::fs::read(path).unwrap());
        }
    }
    let bytes = String::from_utf8_lossy(&bytes);
    assert!(bytes.contains("(secret db "), "the search finds nothing");
    shows_none(&bytes);
    // The same search finds what is planted.
    let planted = std::panic::catch_unwind(|| shows_none(&format!("x{PASSWORD}x")));
    assert!(planted.is_err());
}

fn problems(text: &str, known: Option<&[&str]>) -> Vec<String> {
    let files = [SourceFile {
        path: "a.yaml".to_owned(),
        bytes: text.as_bytes().to_vec(),
    }];
    let known = known.map(|names| names.iter().map(ToString::to_string).collect());
    let options = Options {
        secrets: known,
        ..Options::default()
    };
    match manifest::read(&files, &options) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn references_that_cannot_be_filled_in_are_named_with_their_place() {
    let text = "api_id: a\nname: a\nproxy:\n  listen_path: /a/\n  target_url: http://${secret:databse-password}\n\
                config_data:\n  other: [ok, '${secret:nobody}']\n  broken: '${secret:a b}'\n  ${secret:db}: x\n";
    assert_eq!(
        problems(text, Some(&["database-password", "db"])),
        [
            "a.yaml:5:3: /proxy/target_url: the stack has no secret \"databse-password\"; did you mean \
             ${secret:database-password}?",
            "a.yaml:7:15: /config_data/other/1: the stack has no secret \"nobody\"; add nobody to \
             [stack.NAME.secrets] in the configuration of the server",
            "a.yaml:8:3: /config_data/broken: a reference to a secret is ${secret:NAME}, its name 1 to 63 \
             letters, digits, _ and -; the text itself is written $${secret:",
            "a.yaml:9:3: /config_data/${secret:db}: a secret cannot stand in a name: names are shown",
        ]
    );
    let well = "api_id: a\nname: a\nproxy: { listen_path: /a/, target_url: 'http://u:${secret:any}@${secret:host}:80' }\n";
    assert_eq!(problems(well, None), [""; 0]);
    for (from, to, words) in [
        (
            "name: a",
            "name: '${secret:any}'",
            "a secret cannot stand in a name, which is shown",
        ),
        (
            "/a/",
            "'/${secret:any}/'",
            "a secret cannot stand in a listen path or a domain",
        ),
        (
            "name: a",
            "name: a\ndomain: '${secret:any}'",
            "a secret cannot stand in a listen path or a domain",
        ),
    ] {
        let found = problems(&well.replacen(from, to, 1), None);
        assert!(
            found.iter().any(|problem| problem.contains(words)),
            "{found:?}"
        );
    }
    // What is no manifest may say what it likes.
    assert_eq!(problems("words: '${secret:nobody}'\n", Some(&[])), [""; 0]);
}

fn configured(lines: &str) -> Result<Config, String> {
    let text = format!(
        "[repository.shop]\nurl = \"/shop\"\n[target.production]\nkind = \"gateway\"\nnodes = [\"http://a\"]\n\
         secret = {{ env = \"GATEWAY\" }}\n[stack.shop]\nrepository = \"shop\"\ntarget = \"production\"\n{lines}"
    );
    let environment =
        |name: &str| (name == "GATEWAY" || name == "TOKEN").then(|| "planted".to_owned());
    Config::parse(&text, Path::new("/etc/lockstep"), &environment)
        .map_err(|errors| errors.to_string())
}

#[test]
fn where_secrets_are_is_read_and_checked() {
    let vault = "[vault]\naddress = \"https://vault.example.com\"\ntoken = { env = \"TOKEN\" }\n";
    let all = format!(
        "[stack.shop.secrets]\na = {{ env = \"TOKEN\" }}\nB_2 = {{ file = \"b\" }}\nc = {{ env = \"NOT_SET\" }}\n\
         d = {{ vault = \"kv/shop/db#pass word\" }}\n{vault}"
    );
    let config = configured(&all).unwrap();
    let secrets = &config.stacks["shop"].secrets;
    assert_eq!(secrets.keys().collect::<Vec<_>>(), ["B_2", "a", "c", "d"]);
    assert!(matches!(&secrets["c"], SecretSource::NotSet { .. }));
    let SecretSource::Vault(field) = &secrets["d"] else {
        panic!("it is in Vault");
    };
    assert_eq!(field.to_string(), "kv/shop/db#pass word");
    assert!(!format!("{config:?}").contains("planted"));
    for (lines, words) in [
        (
            "[stack.shop.secrets]\na = \"planted\"",
            "secrets are given by reference",
        ),
        (
            "[stack.shop.secrets]\na = { value = \"planted\" }",
            "either { env = ",
        ),
        (
            "[stack.shop.secrets]\n\"a b\" = { env = \"TOKEN\" }",
            "a secret's name is 1 to 63",
        ),
        (
            "[stack.shop.secrets]\na = { vault = \"kv/db\" }",
            "vault is written \"mount/path#field\"",
        ),
        (
            "[stack.shop.secrets]\na = { vault = \"kv/../db#x\" }",
            "vault is written \"mount/path#field\"",
        ),
        (
            "[stack.shop.secrets]\na = { vault = \"kv/db#x\", env = \"TOKEN\" }",
            "secrets are given by reference",
        ),
        (
            "[stack.shop.secrets]\na = { vault = \"kv/db#x\" }",
            "the file has no [vault] section",
        ),
        (
            "[vault]\naddress = \"http://vault.example.com\"\ntoken = { env = \"TOKEN\" }",
            "http is for this machine only",
        ),
        (
            "[vault]\naddress = \"https://vault.example.com\"",
            "needs either token, or role_id and secret_id",
        ),
        (
            "[vault]\naddress = \"https://v\"\ntoken = { env = \"TOKEN\" }\nrole_id = { env = \"TOKEN\" }",
            "needs either token, or role_id and secret_id",
        ),
        (
            "[vault]\naddress = \"https://v\"\ntoken = \"planted\"",
            "secrets are given by reference",
        ),
        (
            "[vault]\naddress = \"https://v\"\ntoken = { env = \"TOKEN\" }\nnamespace = \"a?b\"",
            "must be a name",
        ),
        (
            "[vault]\naddress = \"https://v\"\ntoken = { env = \"TOKEN\" }\ntimeout = \"2m\"",
            "must be 1m or less",
        ),
    ] {
        let problem = configured(lines).unwrap_err();
        assert!(problem.contains(words), "{lines}: {problem}");
        assert!(!problem.contains("planted"), "{problem}");
    }
}
