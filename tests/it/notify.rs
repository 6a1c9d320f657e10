//! Who is told what, how often, and what becomes of it when nobody listens.

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use lockstep::{
    app,
    domain::run::{RunStatus, Trigger},
    notify::{Options, Place},
    sync::{
        report::{self, Told, report_pending},
        schedule, worker,
    },
};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::{
    app::{
        GATEWAY_SECRET, Mode, PLANTED, TestApp, WEBHOOK_SECRET, classic, oas, policy, push_body,
        sign,
    },
    git_repo::GitRepo,
    listener::{Answer, Heard, Listener},
    process::{Server, lockstep, until},
};

crate::in_both_modes! {
    a_failed_run_is_told_once_and_then_its_recovery,
    what_waits_is_told_with_its_objects_and_the_command,
    a_repair_is_told_as_one,
    drift_is_told_once_and_then_that_it_ended,
    a_new_sink_is_not_told_of_the_past,
    a_receiver_that_is_down_delays_no_run_and_is_told_later_in_order,
    a_process_that_starts_anew_tells_only_what_was_under_way_again,
    two_workers_tell_once,
    what_is_refused_for_good_is_given_up_and_on_record,
    news_is_given_up_when_it_is_old,
    commits_are_marked_at_github,
    commits_are_marked_at_gitlab,
    no_secret_is_told_and_none_that_a_receiver_repeats_is_kept,
    a_database_that_is_older_than_what_it_told_is_noticed,
    a_node_that_lags_behind_is_told_once_and_then_that_all_are_in_step,
}

const KEY: &[u8; 32] = b"notice-k3y-of-thirty-two-bytes!!";
const TOKEN: &str = "planted-t0ken-for-statuses";
const HOOK_PATH: &str = "/services/T0PLANTED/B0PLANTED/planted-part-of-an-address";

fn key() -> String {
    format!("whsec_{}", STANDARD.encode(KEY))
}

/// A webhook that takes every kind of news.
fn webhook(listener: &Listener) -> String {
    format!(
        "[notify.ops]\nkind = \"webhook\"\nurl = \"{}\"\nsecret = {{ env = \"NOTICE_KEY\" }}\n\
         events = [\"failed\", \"repaired\", \"parked\", \"recovered\", \"drift\", \"succeeded\"]\n",
        listener.url("/hook")
    )
}

/// Two APIs and a policy, live, and told.
async fn shop(mode: Mode, lines: &str, listener: &Listener) -> TestApp {
    let key = key();
    let hook = listener.url(HOOK_PATH);
    let environment = [
        ("NOTICE_KEY", key.as_str()),
        ("STATUS_TOKEN", TOKEN),
        ("CHANNEL", &hook),
        ("LAB", "lab-s3cr3t-value"),
    ];
    let app = TestApp::with_environment(mode, lines, &environment).await;
    report::open_sinks(&app.app).await.unwrap();
    app.repo
        .write("orders.json", oas("orders", "/orders/", "http://orders"))
        .write("ping.json", classic("ping", "/ping/", "http://ping"))
        .write("gold.json", policy("gold", "ping", 5));
    app.push_well("first").await;
    tell(&app).await;
    app
}

/// Tells what is to be told, once.
async fn tell(app: &TestApp) -> Vec<Told> {
    report_pending(&app.app).await.unwrap()
}

/// Lets every wait for another attempt end now.
async fn forget_waits(app: &TestApp) {
    app.sql("update sink set not_before = 0").await;
}

fn types(told: &[Value]) -> Vec<&str> {
    told.iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect()
}

async fn by_hand(app: &TestApp, id: &str, target: &str) {
    let mut body = app.gateway.live_classic(id).unwrap();
    body["proxy"]["target_url"] = json!(target);
    app.gateway.put_api_by_hand(&body);
    app.gateway.reload_now().await;
}

async fn a_failed_run_is_told_once_and_then_its_recovery(mode: Mode) {
    let listener = Listener::start();
    let app = shop(mode, &webhook(&listener), &listener).await;
    assert_eq!(types(&listener.take()), ["lockstep.run.succeeded"]);
    app.gateway
        .faults()
        .answer(400, 2, |asked| asked.method == "POST");
    app.repo
        .write("ping.json", classic("ping", "/ping/", "http://new"));
    let report = app.push("refused by the gateway").await;
    assert_eq!(report.status, RunStatus::Failed);
    tell(&app).await;
    let told = listener.take();
    assert_eq!(types(&told), ["lockstep.run.failed"]);
    let (event, data) = (&told[0], &told[0]["data"]);
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["source"], "/lockstep");
    assert_eq!(event["subject"], "shop");
    assert_eq!(event["datacontenttype"], "application/json");
    assert!(event["time"].as_str().unwrap().ends_with('Z'));
    assert_eq!(data["stack"], "shop");
    assert_eq!(data["target"], "production");
    assert_eq!(data["status"], "failed");
    assert_eq!(data["revision"], app.repo.head());
    let run = report.run.unwrap();
    assert_eq!(data["run"], run.0);
    assert_eq!(data["command"], format!("lockstep show {run}"));
    assert_eq!(data["counts"], json!({"failed": 1}));
    assert_eq!(data["objects"][0]["object"], "classic/ping");
    let (header, last) = app.events().await.pop().unwrap();
    assert_eq!(header.event_type, "run.finished");
    assert_eq!(event["hash"], last.hash.to_string());
    assert_eq!(data["sequence"], last.sequence);

    // The same trouble at the next push is on record, and not told again.
    app.repo.write("README.md", "words");
    assert_eq!(app.push("again").await.status, RunStatus::Failed);
    tell(&app).await;
    assert_eq!(listener.take(), Vec::<Value>::new());

    app.repo.write("README.md", "more words");
    app.push_well("well").await;
    tell(&app).await;
    let told = listener.take();
    assert_eq!(types(&told), ["lockstep.run.recovered"]);
    assert_eq!(told[0]["data"]["summary"], "In step again: 1 change.");
    app.finish().await;
}

async fn what_waits_is_told_with_its_objects_and_the_command(mode: Mode) {
    let listener = Listener::start();
    let lines = "[notify.channel]\nkind = \"slack\"\nurl = { env = \"CHANNEL\" }\n";
    let mut app = shop(mode, lines, &listener).await;
    app.app.place = Place(Some("https://lockstep.example".to_owned()));
    // The first push succeeded, and a channel is not told of that by itself.
    assert!(listener.heard().is_empty());
    app.repo.remove("orders.json").remove("gold.json");
    let report = app.push("two of three away").await;
    assert_eq!(report.status, RunStatus::Parked);
    tell(&app).await;
    assert_eq!(listener.heard()[0].path, HOOK_PATH);
    let told = listener.take();
    let text = told[0]["text"].as_str().unwrap();
    let run = report.run.unwrap();
    assert!(text.contains("*shop* on production"), "{text}");
    assert!(text.contains("2 changes"), "{text}");
    assert!(text.contains("oas/orders"), "{text}");
    assert!(text.contains("policy/gold"), "{text}");
    assert!(text.contains(&format!("lockstep approve {run}")), "{text}");
    assert!(
        text.contains(&format!("https://lockstep.example/runs/{run}")),
        "{text}"
    );
    // What waits as before is not told again; what waits otherwise is.
    app.repo.write("README.md", "words");
    assert_eq!(app.push("words").await.status, RunStatus::Parked);
    tell(&app).await;
    assert!(listener.take().is_empty());
    app.repo
        .write("orders.json", oas("orders", "/orders/", "http://orders"))
        .write("gold.json", policy("gold", "ping", 5));
    app.push_well("back").await;
    tell(&app).await;
    let told = listener.take();
    assert!(told[0]["text"].as_str().unwrap().contains("In step again"));
    app.finish().await;
}

async fn a_repair_is_told_as_one(mode: Mode) {
    let listener = Listener::start();
    let app = shop(mode, &webhook(&listener), &listener).await;
    listener.take();
    app.repo
        .write("ping.json", classic("ping", "/ping/", "http://new"));
    app.gateway.faults().lose("ping");
    app.repo.commit("bad");
    app.push_webhook().await;
    let mut reached = app.gateway.faults().hang(1, |asked| {
        let is_old = asked
            .body
            .windows(11)
            .any(|window| window == b"http://ping");
        asked.method == "POST" && is_old
    });
    let running = {
        let app = app.app.clone();
        tokio::spawn(async move { worker::run_pending(&app).await.unwrap() })
    };
    reached.reached(1).await;
    app.gateway.faults().clear();
    drop(reached);
    running.await.unwrap();
    tell(&app).await;
    let told = listener.take();
    assert_eq!(types(&told), ["lockstep.run.repaired"]);
    let object = &told[0]["data"]["objects"][0];
    assert_eq!(object["object"], "classic/ping");
    app.finish().await;
}

async fn drift_is_told_once_and_then_that_it_ended(mode: Mode) {
    let listener = Listener::start();
    let app = shop(mode, &webhook(&listener), &listener).await;
    listener.take();
    by_hand(&app, "ping", "http://by-hand").await;
    for _ in 0..2 {
        schedule::drift(&app.app, "production").await.unwrap();
        tell(&app).await;
    }
    let told = listener.take();
    assert_eq!(types(&told), ["lockstep.drift"]);
    let data = &told[0]["data"];
    assert_eq!(data["objects"][0]["object"], "classic/ping");
    assert_eq!(data["command"], "lockstep drift shop");
    assert!(!told[0].to_string().contains("http://by-hand"));
    app.repo.write("README.md", "words");
    app.push_well("a run ends it").await;
    tell(&app).await;
    assert_eq!(types(&listener.take()), ["lockstep.run.recovered"]);
    app.finish().await;
}

async fn a_new_sink_is_not_told_of_the_past(mode: Mode) {
    let listener = Listener::start();
    let app = shop(mode, "", &listener).await;
    // The same data, with somebody to tell from now on.
    let text = format!("{}{}", app.config_text, webhook(&listener));
    let second = app.opened_with(&text).await;
    for _ in 0..2 {
        report_pending(&second).await.unwrap();
    }
    assert!(listener.heard().is_empty());
    app.repo.write("README.md", "words");
    app.push_well("words").await;
    report_pending(&second).await.unwrap();
    assert_eq!(types(&listener.take()), ["lockstep.run.succeeded"]);
    app.finish().await;
}

async fn a_receiver_that_is_down_delays_no_run_and_is_told_later_in_order(mode: Mode) {
    let listener = Listener::start();
    let app = shop(mode, &webhook(&listener), &listener).await;
    listener.take();
    let wait = vec![("retry-after", "120".to_owned())];
    listener
        .says(503, "down")
        .answers(Answer::Says(429, wait, String::new()));
    let mut heads = Vec::new();
    for round in 0..3 {
        app.repo.write("README.md", format!("words {round}"));
        app.push_well("words").await;
        heads.push(app.repo.head());
        tell(&app).await;
    }
    // One attempt, and then a wait that holds up no run.
    assert_eq!(listener.take().len(), 1);
    let sink = app.app.store.sink("notify.ops").await.unwrap().unwrap();
    assert_eq!(sink.attempt, 1);
    assert_eq!(sink.problem.as_deref(), Some("it answered 503: down"));
    let standing = &report::standings(&app.app).await.unwrap()[0];
    assert!(standing.untold_since.is_some() && standing.again_at.is_some());
    let metrics = reqwest::get(app.url("/metrics")).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    for line in [
        "lockstep_sink_failing{sink=\"notify.ops\"} 1",
        "lockstep_notices_total{sink=\"notify.ops\",outcome=\"failed\"} 1",
        "lockstep_notices_total{sink=\"notify.ops\",outcome=\"told\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    assert!(metrics.contains("lockstep_sink_lag_seconds{sink=\"notify.ops\"}"));
    assert!(!metrics.contains("sink:notify"));

    forget_waits(&app).await;
    let told = tell(&app).await;
    assert_eq!(told[0].problem.as_deref(), Some("it answered 429"));
    let sink = app.app.store.sink("notify.ops").await.unwrap().unwrap();
    // The receiver asked for two minutes.
    assert!(sink.not_before > app.app.now() + 100_000_000);
    listener.take();
    forget_waits(&app).await;
    assert_eq!(tell(&app).await[0].told, 3);
    let told = listener.take();
    let revisions: Vec<&str> = told
        .iter()
        .map(|event| event["data"]["revision"].as_str().unwrap())
        .collect();
    assert_eq!(revisions, heads);
    let sequences: Vec<&str> = told
        .iter()
        .map(|event| event["sequence"].as_str().unwrap())
        .collect();
    assert!(sequences.is_sorted());
    let sink = app.app.store.sink("notify.ops").await.unwrap().unwrap();
    assert_eq!((sink.attempt, sink.problem), (0, None));
    app.finish().await;
}

async fn a_process_that_starts_anew_tells_only_what_was_under_way_again(mode: Mode) {
    let listener = Listener::start();
    let app = shop(mode, &webhook(&listener), &listener).await;
    let first = listener.heard();
    assert_eq!(first.len(), 1);
    let second = app.another_worker().await;
    report_pending(&second).await.unwrap();
    assert_eq!(listener.heard().len(), 1);
    // The receiver took it, and the process died before that was on record.
    app.sql("update sink set cursor = cursor - 1").await;
    report_pending(&second).await.unwrap();
    let heard = listener.heard();
    assert_eq!(heard.len(), 2);
    // Whoever takes it can see that it is the same.
    assert_eq!(heard[0].header("webhook-id"), heard[1].header("webhook-id"));
    assert_eq!(heard[0].json(), heard[1].json());
    app.finish().await;
}

async fn two_workers_tell_once(mode: Mode) {
    let listener = Listener::start();
    let app = shop(mode, &webhook(&listener), &listener).await;
    let second = app.another_worker().await;
    for round in 0..4 {
        app.repo.write("README.md", format!("words {round}"));
        app.push_well("words").await;
    }
    listener.take();
    let (one, other) = tokio::join!(report_pending(&app.app), report_pending(&second));
    let told = one.unwrap()[0].told + other.unwrap()[0].told;
    // Whoever came second may have found it busy, and does not wait.
    tell(&app).await;
    assert_eq!(told, 4);
    let ids: Vec<Value> = listener
        .take()
        .into_iter()
        .map(|told| told["id"].clone())
        .collect();
    assert_eq!(ids.len(), 4);
    assert!(ids.windows(2).all(|pair| pair[0] != pair[1]));
    app.finish().await;
}

async fn what_is_refused_for_good_is_given_up_and_on_record(mode: Mode) {
    let listener = Listener::start();
    let app = shop(mode, &webhook(&listener), &listener).await;
    let elsewhere = vec![("location", listener.url("/elsewhere"))];
    listener
        .says(404, "no_service")
        .answers(Answer::Says(302, elsewhere, String::new()));
    for round in 0..2 {
        app.repo.write("README.md", format!("words {round}"));
        app.push_well("words").await;
    }
    listener.take();
    let told = tell(&app).await;
    assert_eq!((told[0].told, told[0].gave_up), (0, 2));
    // Once each, and nobody followed the redirect.
    let heard = listener.heard();
    assert_eq!(heard.len(), 2);
    assert!(heard.iter().all(|heard| heard.path == "/hook"));
    let events = app.events().await;
    let given_up: Vec<Value> = events
        .iter()
        .filter(|(header, _)| header.event_type == "notice.failed")
        .map(|(header, event)| {
            assert_eq!(header.stack.as_deref(), Some("shop"));
            serde_json::from_str(&event.payload).unwrap()
        })
        .collect();
    assert_eq!(given_up.len(), 2);
    assert_eq!(given_up[0]["sink"], "notify.ops");
    assert_eq!(given_up[0]["notice"], "succeeded");
    assert_eq!(given_up[0]["problem"], "it answered 404: no_service");
    let second = given_up[1]["problem"].as_str().unwrap();
    assert!(second.contains("redirects are not followed"), "{second}");
    // It shows until a notice is taken again, and is itself no news.
    assert!(
        report::standings(&app.app).await.unwrap()[0]
            .problem
            .is_some()
    );
    tell(&app).await;
    assert_eq!(listener.heard().len(), 2);
    app.repo.write("README.md", "last words");
    app.push_well("words").await;
    tell(&app).await;
    assert!(
        report::standings(&app.app).await.unwrap()[0]
            .problem
            .is_none()
    );
    app.finish().await;
}

async fn news_is_given_up_when_it_is_old(mode: Mode) {
    let listener = Listener::start();
    let mut app = shop(mode, &webhook(&listener), &listener).await;
    listener.take();
    listener.says(500, "").says(500, "");
    app.repo.write("README.md", "words");
    app.push_well("words").await;
    assert_eq!(
        tell(&app).await[0].problem.as_deref(),
        Some("it answered 500")
    );
    // A day later the last attempt is made.
    app.app.news_patience = Duration::ZERO;
    forget_waits(&app).await;
    assert_eq!(tell(&app).await[0].gave_up, 1);
    assert_eq!(listener.take().len(), 2);
    let is_given_up =
        |types: &[String]| types.iter().filter(|name| *name == "notice.failed").count();
    assert_eq!(is_given_up(&app.event_types().await), 1);

    // Nobody served the sink for more than a day: that much is not told, and that is on record.
    app.sql("update sink set attempt = 0, problem = null").await;
    for round in 0..3 {
        app.repo.write("README.md", format!("old words {round}"));
        app.push_well("old words").await;
    }
    assert_eq!(tell(&app).await[0].gave_up, 3);
    assert!(listener.take().is_empty());
    let (header, event) = app.events().await.pop().unwrap();
    assert_eq!(header.event_type, "notice.failed");
    let payload: Value = serde_json::from_str(&event.payload).unwrap();
    assert_eq!(payload["events"], 3);
    app.finish().await;
}

fn statuses(listener: &Listener, repository: &str) -> String {
    format!(
        "[repository.{repository}.status]\ntoken = {{ env = \"STATUS_TOKEN\" }}\napi = \"{}\"\n",
        listener.url("/api")
    )
}

async fn commits_are_marked_at_github(mode: Mode) {
    let listener = Listener::start();
    let mut app = shop(mode, &statuses(&listener, "shop"), &listener).await;
    let head = app.repo.head();
    let heard = listener.heard();
    for heard in &heard {
        assert_eq!(heard.method, "POST");
        assert_eq!(heard.path, format!("/api/repos/acme/shop/statuses/{head}"));
        assert_eq!(heard.header("authorization"), format!("Bearer {TOKEN}"));
        assert_eq!(heard.header("accept"), "application/vnd.github+json");
        assert_eq!(heard.header("content-type"), "application/json");
        assert!(heard.header("user-agent").starts_with("lockstep/"));
    }
    let body = |state: &str, description: &str| json!({"state": state, "context": "lockstep/shop", "description": description});
    assert_eq!(
        listener.take(),
        [
            body("pending", "queued"),
            body("pending", "applying 3 changes"),
            body("success", "in step: 3 changes"),
        ]
    );
    // A link where there is a place for it, with the event that is told.
    app.app.place = Place(Some("https://lockstep.example".to_owned()));
    let manifest = format!("{{\"api_id\": \"x\", \"name\": \"{}\"", "long ".repeat(100));
    app.repo.write("bad.json", manifest);
    let report = app.push("bad").await;
    assert_eq!(report.status, RunStatus::Refused);
    tell(&app).await;
    let told = listener.take();
    let refused = told.last().unwrap();
    assert_eq!(refused["state"], "failure");
    let description = refused["description"].as_str().unwrap();
    assert!(description.starts_with("refused: "), "{description}");
    assert!(description.chars().count() <= 140, "{description}");
    let (_, last) = app.events().await.pop().unwrap();
    let link = format!(
        "https://lockstep.example/runs/{}#event-{}-{}",
        report.run.unwrap(),
        last.sequence,
        &last.hash.to_string()[..16]
    );
    assert_eq!(refused["target_url"], link);
    app.repo
        .remove("bad.json")
        .remove("orders.json")
        .remove("gold.json");
    let parked = app.push("away").await;
    tell(&app).await;
    let told = listener.take();
    assert_eq!(told.last().unwrap()["state"], "pending");
    let description = told.last().unwrap()["description"].as_str().unwrap();
    let command = format!("lockstep approve {}", parked.run.unwrap());
    assert!(description.ends_with(&command), "{description}");

    // Commits that a run passes over stand like it.
    app.repo
        .write("orders.json", oas("orders", "/orders/", "http://orders"))
        .write("gold.json", policy("gold", "ping", 6));
    let passed = app.repo.commit("passed over");
    app.push_webhook().await;
    app.repo.write("README.md", "words");
    let last = app.repo.commit("last");
    app.push_webhook().await;
    app.run_pending().await;
    listener.take();
    tell(&app).await;
    let heard = listener.heard();
    let of = |revision: &str| -> Vec<Value> {
        let path = format!("/api/repos/acme/shop/statuses/{revision}");
        let of: Vec<&Heard> = heard.iter().filter(|heard| heard.path == path).collect();
        of.iter().map(|heard| heard.json()).collect()
    };
    assert_eq!(of(&last).last().unwrap()["state"], "success");
    let passed = of(&passed);
    assert_eq!(passed[0]["description"], "queued");
    let description = passed.last().unwrap()["description"].as_str().unwrap();
    assert_eq!(passed.last().unwrap()["state"], "success");
    assert_eq!(
        description,
        format!("with {}: in step: 1 change", &last[..8])
    );
    app.finish().await;
}

async fn commits_are_marked_at_gitlab(mode: Mode) {
    let listener = Listener::start();
    let lab = GitRepo::new();
    lab.write("lab.json", classic("lab", "/lab/", "http://lab"))
        .write("two.json", classic("two", "/two/", "http://two"));
    lab.commit("first");
    let lines = format!(
        "[webhook.lab]\nhost = \"gitlab\"\nscheme = \"token\"\nsecrets = [{{ env = \"LAB\" }}]\n\
         [repository.lab]\nurl = \"{}\"\nwebhook = \"lab\"\nfull_name = \"group/sub/shop\"\n\
         [stack.lab]\nrepository = \"lab\"\ntarget = \"production\"\n{}",
        lab.path().display(),
        statuses(&listener, "lab")
    );
    let app = shop(mode, &lines, &listener).await;
    // The other repository's commits are marked nowhere.
    assert!(listener.heard().is_empty());
    let stack = app.app.stack("lab").unwrap().id();
    let run = async || {
        app.app.store.want(&stack, Trigger::Manual).await.unwrap();
        app.run_pending().await.remove(0)
    };
    run().await;
    tell(&app).await;
    let head = lab.head();
    for heard in listener.heard() {
        let path = format!("/api/projects/group%2Fsub%2Fshop/statuses/{head}");
        assert_eq!((heard.method.as_str(), &heard.path), ("POST", &path));
        assert_eq!(heard.header("private-token"), TOKEN);
    }
    let body = |state: &str, description: &str| json!({"state": state, "name": "lockstep/lab", "ref": "main", "description": description});
    assert_eq!(
        listener.take(),
        [
            body("running", "applying 2 changes"),
            body("success", "in step: 2 changes"),
        ]
    );
    // A state that it has already is a 400 there, and no failure.
    let again = r#"{"message": "Cannot transition status via :run from :running"}"#;
    listener.says(400, again);
    lab.write("lab.json", classic("lab", "/lab/", "http://new"));
    lab.commit("second");
    run().await;
    let told = tell(&app).await;
    assert_eq!((told[0].told, told[0].gave_up), (2, 0));
    assert_eq!(listener.take().len(), 2);
    // What waits for a person must show: the status that runs is ended, and another begun.
    listener.says(400, again);
    lab.remove("lab.json").remove("two.json");
    lab.commit("all away");
    let parked = run().await;
    assert_eq!(parked.status, RunStatus::Parked);
    tell(&app).await;
    let told = listener.take();
    let states: Vec<&str> = told
        .iter()
        .map(|told| told["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["pending", "canceled", "pending"]);
    let description = told[2]["description"].as_str().unwrap();
    assert!(description.contains("lockstep approve"), "{description}");
    // What was told is read back: the newest by its number.
    let (_, last) = app.events().await.pop().unwrap();
    let hash = &last.hash.to_string()[..16];
    let link = |sequence: i64| format!("https://lockstep.example/#event-{sequence}-{hash}");
    let page = json!([
        {"id": 7, "name": "lockstep/lab", "target_url": link(last.sequence)},
        {"id": 5, "name": "lockstep/lab", "target_url": link(last.sequence + 100)},
        {"id": 9, "name": "other", "target_url": link(last.sequence + 100)},
    ]);
    listener.says(200, &page.to_string());
    report::compare_with_what_was_told(&app.app).await.unwrap();
    let asked = &listener.heard()[0];
    let path = format!(
        "/api/projects/group%2Fsub%2Fshop/repository/commits/{}/statuses",
        lab.head()
    );
    let query = "?name=lockstep%2Flab&per_page=100";
    assert_eq!(
        (asked.method.as_str(), &asked.path),
        ("GET", &format!("{path}{query}"))
    );
    assert!(
        !app.event_types()
            .await
            .contains(&"history.behind".to_owned())
    );
    // A 400 of another kind is refused for good.
    listener.says(400, r#"{"message": "something else"}"#);
    run().await;
    assert_eq!(tell(&app).await[0].gave_up, 1);
    app.finish().await;
}

async fn no_secret_is_told_and_none_that_a_receiver_repeats_is_kept(mode: Mode) {
    const BY_HAND: &str = "by-hand-pa55word";
    let listener = Listener::start();
    let lines = format!(
        "{}[notify.channel]\nkind = \"slack\"\nurl = {{ env = \"CHANNEL\" }}\nevents = [\"succeeded\", \"drift\", \"failed\", \"recovered\"]\n{}",
        webhook(&listener),
        statuses(&listener, "shop")
    );
    let app = shop(mode, &lines, &listener).await;
    // Drift of a secret, and a failure.
    let mut body = app.gateway.live_classic("ping").unwrap();
    body["upstream_auth"]["basic_auth"]["password"] = json!(BY_HAND);
    app.gateway.put_api_by_hand(&body);
    app.gateway.reload_now().await;
    schedule::drift(&app.app, "production").await.unwrap();
    app.gateway
        .faults()
        .answer(400, 1, |asked| asked.method == "POST");
    app.repo
        .write("ping.json", classic("ping", "/ping/", "http://new"));
    app.push("refused").await;
    tell(&app).await;
    let heard = listener.heard();
    let mut text = String::new();
    for heard in &heard {
        text.push_str(&String::from_utf8_lossy(&heard.body));
        // The token and the address go to where they belong, and the key goes nowhere.
        let sent = format!("{:?}", heard.headers);
        assert!(!sent.contains(&STANDARD.encode(KEY)));
        assert_eq!(sent.contains(TOKEN), heard.path.starts_with("/api/"));
    }
    assert!(text.contains("classic/ping"));
    let key = key();
    let secrets = [
        PLANTED,
        BY_HAND,
        WEBHOOK_SECRET,
        GATEWAY_SECRET,
        TOKEN,
        &key,
        "B0PLANTED",
        "planted-part-of-an-address",
    ];
    for secret in secrets {
        assert!(!text.contains(secret), "{secret} was told");
        // The search would have found it.
        assert!(format!("{text}{secret}").contains(secret));
    }

    // Receivers that repeat what they were sent, in a refusal.
    listener
        .says(400, &format!("no {HOOK_PATH}"))
        .says(400, "no");
    for _ in 0..3 {
        listener.says(400, &format!("no {TOKEN}"));
    }
    app.repo.write("README.md", "words");
    app.push_well("words").await;
    tell(&app).await;
    let kept = app.all_text().await;
    assert!(kept.contains("it answered 400: no (secret)"));
    assert!(kept.contains("it answered 400: no /(secret)/(secret)/(secret)"));
    for secret in [TOKEN, "B0PLANTED", "planted-part-of-an-address"] {
        assert!(!kept.contains(secret), "{secret} was kept");
    }
    app.finish().await;
}

async fn a_database_that_is_older_than_what_it_told_is_noticed(mode: Mode) {
    let listener = Listener::start();
    let lines = format!("{}{}", webhook(&listener), statuses(&listener, "shop"));
    let mut app = shop(mode, &lines, &listener).await;
    app.app.place = Place(Some("https://lockstep.example".to_owned()));
    app.repo.write("README.md", "words");
    app.push_well("words").await;
    tell(&app).await;
    let told = listener.take();
    let link = told.last().unwrap()["target_url"].clone();
    let shown = |link: &Value| {
        json!({"state": "success", "statuses": [
            {"context": "ci/other", "target_url": "https://ci.example/#event-999-0000000000000000"},
            {"context": "Lockstep/Shop", "target_url": link},
        ]})
        .to_string()
    };
    let compare = async |link: &Value| {
        listener.says(200, &shown(link));
        report::compare_with_what_was_told(&app.app).await.unwrap();
    };
    let behind = async || {
        let types = app.event_types().await;
        let behind = types.iter().filter(|name| *name == "history.behind");
        behind.count()
    };
    compare(&link).await;
    let asked = listener.heard();
    assert_eq!(asked.len(), 1);
    let path = format!("/api/repos/acme/shop/commits/{}/status", app.repo.head());
    assert_eq!(asked[0].method, "GET");
    assert_eq!(asked[0].path, format!("{path}?per_page=100"));
    assert_eq!(behind().await, 0);
    // Links of others, and none, say nothing.
    for other in [
        json!(null),
        json!("https://x.example/"),
        json!("#event--1-a"),
    ] {
        compare(&other).await;
    }
    assert_eq!(behind().await, 0);
    // More was told than is known here; once on record, however often it is seen.
    let later = json!("https://lockstep.example/runs/x#event-5000-0123456789abcdef");
    compare(&later).await;
    compare(&later).await;
    assert_eq!(behind().await, 1);
    // Another history told of an event that is here, too.
    let other = json!("https://lockstep.example/runs/x#event-2-0123456789abcdef");
    compare(&other).await;
    assert_eq!(behind().await, 2);
    // A host that does not answer says nothing.
    listener.says(500, "");
    report::compare_with_what_was_told(&app.app).await.unwrap();
    assert_eq!(behind().await, 2);
    app.finish().await;
}

async fn a_node_that_lags_behind_is_told_once_and_then_that_all_are_in_step(mode: Mode) {
    let listener = Listener::start();
    let key = key();
    let lines = format!(
        "{}{}",
        webhook(&listener).replace("\"drift\"", "\"lagged\""),
        statuses(&listener, "shop")
    );
    let environment = [("NOTICE_KEY", key.as_str()), ("STATUS_TOKEN", TOKEN)];
    let app = TestApp::with_environment(mode, &lines, &environment)
        .await
        .and_nodes(1)
        .await;
    report::open_sinks(&app.app).await.unwrap();
    app.repo
        .write("ping.json", classic("ping", "/ping/", "http://ping"));
    app.push_well("first").await;
    tell(&app).await;
    let split = |told: Vec<Value>| -> (Vec<Value>, Vec<Value>) {
        told.into_iter()
            .partition(|told| told.get("type").is_some())
    };
    let (told, marks) = split(listener.take());
    assert_eq!(types(&told), ["lockstep.run.succeeded"]);
    assert_eq!(marks.last().unwrap()["state"], "success");

    app.more[0].faults().answer(503, 1_000, |_| true);
    for round in 0..2 {
        app.repo.write(
            "ping.json",
            classic("ping", "/ping/", &format!("http://{round}")),
        );
        app.repo.commit("while a node is away");
        app.push_webhook().await;
        app.run_pending().await;
    }
    tell(&app).await;
    let (told, marks) = split(listener.take());
    assert_eq!(types(&told), ["lockstep.run.lagged"]);
    let last = marks.last().unwrap();
    assert_eq!(last["state"], "failure");
    let address = app.more[0].url().replace("http://", "");
    let description = last["description"].as_str().unwrap();
    assert!(description.contains(&address), "{description}");
    assert!(
        told[0]["data"]["summary"]
            .as_str()
            .unwrap()
            .contains(&address)
    );

    app.more[0].faults().clear();
    app.forget_backoff().await;
    app.run_pending().await;
    tell(&app).await;
    let (told, marks) = split(listener.take());
    assert_eq!(types(&told), ["lockstep.run.recovered"]);
    assert_eq!(marks.last().unwrap()["state"], "success");
    app.finish().await;
}

#[tokio::test]
async fn a_notice_is_signed_as_the_standard_says() {
    let listener = Listener::start();
    let app = shop(Mode::Embedded, &webhook(&listener), &listener).await;
    let heard = &listener.heard()[0];
    assert_eq!(heard.header("content-type"), "application/cloudevents+json");
    let (id, time) = (
        heard.header("webhook-id"),
        heard.header("webhook-timestamp"),
    );
    assert_eq!(heard.json()["id"], id);
    let now = app.app.now() / 1_000_000;
    assert!((now - time.parse::<i64>().unwrap()).abs() < 300);
    let signature = |body: &[u8]| {
        let mut mac: Hmac<Sha256> = Hmac::new_from_slice(KEY).unwrap();
        mac.update(
            [id.as_bytes(), b".", time.as_bytes(), b".", body]
                .concat()
                .as_slice(),
        );
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    };
    assert_eq!(heard.header("webhook-signature"), signature(&heard.body));
    assert_ne!(heard.header("webhook-signature"), signature(b"another"));
    app.finish().await;
}

#[tokio::test]
async fn a_receiver_that_never_answers_or_never_ends_is_cut_off() {
    let listener = Listener::start();
    let mut app = shop(Mode::Embedded, &webhook(&listener), &listener).await;
    let options = Options {
        timeout: Duration::from_millis(300),
        ..Options::default()
    };
    app.app.sinks = Arc::new(app::sinks(&app.config(), options).unwrap());
    listener
        .answers(Answer::Never)
        .answers(Answer::Endless(500));
    app.repo.write("README.md", "words");
    app.push_well("words").await;
    let told = tell(&app).await;
    assert_eq!(told[0].problem.as_deref(), Some("no answer within 300ms"));
    forget_waits(&app).await;
    let problem = tell(&app).await.remove(0).problem.unwrap();
    assert!(problem.starts_with("it answered 500: xxx"), "{problem}");
    assert!(problem.chars().count() < 200);
    forget_waits(&app).await;
    assert_eq!(tell(&app).await[0].told, 1);
    app.finish().await;
}

#[tokio::test]
async fn a_receiver_that_is_not_there_is_said_to_be_so_without_its_address() {
    let listener = Listener::start();
    let lines = "[notify.channel]\nkind = \"slack\"\nurl = { env = \"CHANNEL\" }\nevents = [\"succeeded\"]\n";
    let app = shop(Mode::Embedded, lines, &listener).await;
    drop(listener);
    tokio::task::yield_now().await;
    app.repo.write("README.md", "words");
    app.push_well("words").await;
    let problem = tell(&app).await.remove(0).problem.unwrap();
    assert!(!problem.contains("PLANTED") && !problem.contains("127.0.0.1"));
    app.finish().await;
}

#[tokio::test]
async fn somebody_may_ask_for_some_stacks_alone() {
    let listener = Listener::start();
    let lines = format!(
        "{}stacks = [\"other*\"]\n[stack.other-one]\nrepository = \"shop\"\npath = \"other\"\n\
         target = \"production\"\n",
        webhook(&listener)
    );
    let app = shop_of_two(&lines, &listener).await;
    app.repo
        .write("other/other.json", classic("other", "/other/", "http://o"));
    app.repo.commit("other");
    app.push_webhook().await;
    app.run_pending().await;
    tell(&app).await;
    let told = listener.take();
    assert!(!told.is_empty());
    assert!(told.iter().all(|event| event["subject"] == "other-one"));
    app.finish().await;
}

/// With a stack of its own for `main/`.
async fn shop_of_two(lines: &str, _: &Listener) -> TestApp {
    let key = key();
    let lines = format!("path = \"main\"\n{lines}");
    let app =
        TestApp::with_environment(Mode::Embedded, &lines, &[("NOTICE_KEY", key.as_str())]).await;
    report::open_sinks(&app.app).await.unwrap();
    app.repo
        .write("main/ping.json", classic("ping", "/ping/", "http://ping"));
    app
}

/// The folder of a real server, with somebody to tell.
struct Desk {
    folder: tempfile::TempDir,
    repo: GitRepo,
    _gateway: lockstep::sandbox::gateway::Gateway,
}

impl Desk {
    async fn new(listener: &Listener) -> Self {
        let options = lockstep::sandbox::gateway::GatewayOptions {
            secret: GATEWAY_SECRET.to_owned(),
            tick: Duration::from_millis(3),
            ..Default::default()
        };
        let gateway = lockstep::sandbox::gateway::Gateway::start(options)
            .await
            .unwrap();
        let repo = GitRepo::new();
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n\
             [webhook.acme]\nhost = \"github\"\nsecrets = [{{ env = \"WEBHOOK\" }}]\n\
             [repository.shop]\nurl = \"{}\"\nwebhook = \"acme\"\nfull_name = \"acme/shop\"\n\
             [target.production]\nkind = \"gateway\"\nnodes = [\"{}\"]\nsecret = {{ env = \"GATEWAY\" }}\n\
             [stack.shop]\nrepository = \"shop\"\ntarget = \"production\"\n{}",
            repo.path().display(),
            gateway.url(),
            webhook(listener),
        );
        std::fs::write(folder.path().join("lockstep.toml"), text).unwrap();
        Self {
            folder,
            repo,
            _gateway: gateway,
        }
    }

    fn environment(crash_at: &str) -> Vec<(String, String)> {
        [
            ("WEBHOOK", WEBHOOK_SECRET),
            ("GATEWAY", GATEWAY_SECRET),
            ("NOTICE_KEY", &key()),
            ("LOCKSTEP_CRASH_AT", crash_at),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    fn serve(&self, crash_at: &str) -> Server {
        let config = self.folder.path().join("lockstep.toml");
        Server::start(&config, &Self::environment(crash_at), &[])
    }

    /// On a thread of its own, because the listener answers on this one.
    async fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let folder = self.folder.path().to_owned();
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        tokio::task::spawn_blocking(move || {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            lockstep(&folder, &Self::environment(""), &arguments)
        })
        .await
        .unwrap()
    }

    async fn push(&self, server: &Server, delivery: &str) {
        let body = push_body(None, &self.repo.head(), "main");
        let sent = reqwest::Client::new()
            .post(format!("{}/webhooks/acme", server.url))
            .header("content-type", "application/json")
            .header("x-github-event", "push")
            .header("x-github-hook-id", "7")
            .header("x-github-delivery", delivery)
            .header("x-hub-signature-256", sign(body.as_bytes()))
            .body(body)
            .send()
            .await
            .unwrap();
        assert_eq!(sent.status().as_u16(), 202);
    }
}

#[tokio::test]
async fn a_server_that_is_killed_repeats_the_notice_under_way_and_no_other() {
    let listener = Listener::start();
    let desk = Desk::new(&listener).await;
    desk.repo
        .write("ping.json", classic("ping", "/ping/", "http://ping"));
    desk.repo.commit("first");
    let mut server = desk.serve("after-notice");
    desk.push(&server, "one").await;
    server.died().await;
    assert_eq!(listener.heard().len(), 1);

    let server = desk.serve("");
    until("the notice to be repeated", async || {
        listener.heard().len() == 2
    })
    .await;
    desk.repo
        .write("ping.json", classic("ping", "/ping/", "http://second"));
    desk.repo.commit("second");
    desk.push(&server, "two").await;
    until("the second notice", async || listener.heard().len() == 3).await;
    assert_eq!(server.terminate(), Some(0));
    let heard = listener.heard();
    let ids: Vec<&str> = heard
        .iter()
        .map(|heard| heard.header("webhook-id"))
        .collect();
    assert_eq!(heard.len(), 3);
    assert_eq!(ids[0], ids[1]);
    assert_ne!(ids[1], ids[2]);

    let (code, text, _) = desk.run(&["--output", "json", "status"]).await;
    assert_eq!(code, 0);
    let status: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(status["sinks"][0]["sink"], "notify.ops");
    assert_eq!(status["sinks"][0]["problem"], Value::Null);
    assert!(status["sinks"][0]["told_at"].is_string());
}

#[tokio::test]
async fn a_test_notice_says_what_came_back() {
    let listener = Listener::start();
    let desk = Desk::new(&listener).await;
    let (code, text, _) = desk.run(&["notify", "test", "ops"]).await;
    assert_eq!(
        (code, text.trim()),
        (0, "notify.ops: the test notice was taken")
    );
    assert_eq!(types(&listener.take()), ["lockstep.test"]);
    listener.says(401, "who are you?");
    let (code, text, said) = desk
        .run(&["--output", "json", "notify", "test", "ops"])
        .await;
    assert_eq!(code, 1);
    let result: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(result["taken"], false);
    assert_eq!(result["problem"], "it answered 401: who are you?");
    assert!(said.contains("it answered 401"), "{said}");
    let (code, _, said) = desk.run(&["notify", "test", "nobody"]).await;
    assert_eq!(code, 1);
    assert!(said.contains("it has: ops"), "{said}");
}
