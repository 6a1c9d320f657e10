//! What the history says of everything that happens: that each thing is recorded, with what is known
//! of it, as the catalogue says, and that events of earlier versions stay readable and verifiable.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use lockstep::{
    app::{App, Audit, Queue},
    domain::{
        audit::{
            catalogue,
            checkpoint::SigningKey,
            event::{Actor, Event, EventType, Header, Opening, Person},
            person::Names,
            verify::Verifier,
        },
        canonical::Digest,
        run::{RunId, RunStatus},
        token::Scope,
    },
    message::{Delivered, Message},
    store::EventFilter,
    sync::{
        checkpoint::{self, Signing},
        hold,
        lease::Holding,
        ownership,
        ownership::Wish,
        reading, recover, retention, run, schedule, start, token, witness, worker,
    },
};
use reqwest::Client;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::support::{
    app::{
        Mode, PLANTED, TestApp, asker, classic, frozen_today, oas, policy, push_body, sign,
        upstream,
    },
    listener::Listener,
    process::lockstep,
};

crate::in_both_modes! {
    every_type_of_event_is_recorded_as_the_catalogue_says,
    a_push_can_be_followed_from_its_request_to_every_object,
    what_a_request_of_the_api_sets_going_bears_its_trace,
    a_run_that_was_left_open_goes_on_with_its_trace,
    a_configuration_is_recorded_by_what_is_other_than_before,
    what_is_refused_is_told_with_where_it_came_from,
    the_first_process_alone_tells_of_the_migrations,
    a_drift_that_is_undone_is_told_with_both_bodies,
    events_of_the_first_format_are_verified_and_found,
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

const PEOPLE: &str = r#"drift = "revert"
[person.grace]
logins = { github = "grace-h" }
"#;

fn parent() -> String {
    format!("00-{TRACE}-00f067aa0ba902b7-01")
}

async fn shop(mode: Mode, lines: &str) -> TestApp {
    let app = TestApp::with_stack(mode, lines).await;
    for name in ["one", "two", "three", "four"] {
        app.repo
            .write(&format!("{name}.json"), api(name, "http://upstream"));
    }
    app.repo
        .write("orders.json", oas("orders", "/orders/", "http://orders"))
        .write("gold.json", policy("gold", "one", 5));
    app.push_well("first").await;
    app
}

fn api(name: &str, target: &str) -> String {
    classic(name, &format!("/{name}/"), target)
}

/// The events of a type, oldest first: header, payload, and the people that the commitments open to.
async fn told(app: &TestApp, event_type: EventType) -> Vec<(Header, Value, Vec<Person>)> {
    let events = app.events().await.into_iter();
    let ours = events.filter(|(header, _)| header.event_type == event_type.as_str());
    ours.map(|(header, event)| {
        let people = event.people.iter();
        let people = people.map(|opening| serde_json::from_str(&opening.value).unwrap());
        let payload = serde_json::from_str(&event.payload).unwrap();
        (header, payload, people.collect())
    })
    .collect()
}

async fn last(app: &TestApp, event_type: EventType) -> (Header, Value, Vec<Person>) {
    told(app, event_type).await.pop().unwrap()
}

async fn by_hand(app: &TestApp, body: &str) {
    let mut body: Value = serde_json::from_str(body).unwrap();
    body["org_id"] = json!("default");
    app.gateway.put_api_by_hand(&body);
    app.gateway.reload_now().await;
}

async fn body(app: &TestApp, digest: Digest) -> String {
    let mut bodies = app.app.store.bodies(&[digest]).await.unwrap();
    bodies.remove(&digest).unwrap()
}

async fn holding(app: &TestApp) -> Holding {
    let taken = Holding::take(&app.app.store, "production", "a person").await;
    taken.unwrap().unwrap()
}

async fn token_of(app: &TestApp, scope: Scope) -> String {
    let wanted = token::Wanted {
        person: "grace".to_owned(),
        scopes: [scope].into(),
        expires_at: app.app.now() + 3_600_000_000,
        note: None,
    };
    let actor = Actor::new("cli", "test");
    let made = token::create(&app.app, wanted, actor, Person::default()).await;
    made.unwrap().1.expose_secret().to_owned()
}

async fn ask(app: &TestApp, token: &str, path: &str, body: &Value) -> u16 {
    let request = Client::new().post(app.url(path)).bearer_auth(token);
    let request = request.header("traceparent", parent()).json(body);
    request.send().await.unwrap().status().as_u16()
}

async fn decide(app: &TestApp, run: &RunId, choice: &str) {
    let token = token_of(app, Scope::Approve).await;
    let path = format!("/api/v1/runs/{run}/{choice}");
    let body = json!({"reason": "it is meant"});
    assert_eq!(ask(app, &token, &path, &body).await, 200);
}

/// A signed push with the trace of whoever sent it.
async fn traced_push(app: &TestApp, traceparent: &str) {
    let body = app.push_body();
    let request = Client::new().post(app.url("/webhooks/acme"));
    let request = request
        .header("content-type", "application/json")
        .header("x-github-event", "push")
        .header("x-github-hook-id", "7")
        .header("x-github-delivery", "traced")
        .header("x-hub-signature-256", sign(body.as_bytes()))
        .header("traceparent", traceparent)
        .body(body);
    assert_eq!(request.send().await.unwrap().status().as_u16(), 202);
}

async fn park(app: &TestApp) -> RunId {
    for name in ["one", "two", "three", "four"] {
        app.repo.remove(&format!("{name}.json"));
    }
    let report = app.push("four away").await;
    assert_eq!(report.status, RunStatus::Parked);
    report.run.unwrap()
}

async fn unpark(app: &TestApp) {
    for name in ["one", "two", "three", "four"] {
        app.repo
            .write(&format!("{name}.json"), api(name, "http://upstream"));
    }
    app.push_well("four back").await;
}

/// Bytes that are no message.
async fn garbage(app: &TestApp) {
    match &app.app.queue {
        Queue::Local(local) => {
            local
                .put("x", b"no message".to_vec(), app.app.now())
                .await
                .unwrap();
        }
        Queue::JetStream(jetstream) => {
            jetstream.publish("x", "no message".into()).await.unwrap();
        }
    }
    worker::take_messages(&app.app, Duration::from_secs(5))
        .await
        .unwrap();
}

#[expect(
    clippy::too_many_lines,
    reason = "everything that can happen, one after the other"
)]
async fn every_type_of_event_is_recorded_as_the_catalogue_says(mode: Mode) {
    let listener = Listener::start();
    let notify = format!(
        "{PEOPLE}[notify.ops]\nkind = \"slack\"\nurl = {{ env = \"CHANNEL\" }}\nevents = [\"drift\"]\n"
    );
    let mut app =
        TestApp::with_environment(mode, &notify, &[("CHANNEL", &listener.url("/hook"))]).await;
    start::started(&app.app, app.address).await.unwrap();
    lockstep::sync::report::open_sinks(&app.app).await.unwrap();
    unpark(&app).await;

    // What nobody follows, what is refused, and what cannot be read.
    let elsewhere = push_body(None, &app.repo.head(), "elsewhere");
    assert_eq!(app.send(&elsewhere, None).await, 202);
    let forged = Client::new()
        .post(app.url("/webhooks/acme"))
        .header("content-type", "application/json")
        .body("{}");
    assert_eq!(forged.send().await.unwrap().status().as_u16(), 401);
    app.receiver.report_refusals(&app.app.queue).await;
    while worker::take_messages(&app.app, Duration::from_millis(50))
        .await
        .unwrap()
        .0
        > 0
    {}
    garbage(&app).await;

    // People and their tokens.
    let token = token_of(&app, Scope::Operate).await;
    assert_eq!(
        ask(&app, "lst_no", "/api/v1/stacks/shop/sync", &json!({})).await,
        401
    );
    app.api.report().await;
    assert_eq!(
        ask(
            &app,
            &token,
            "/api/v1/stacks/shop/sync",
            &json!({"reason": "now"})
        )
        .await,
        202
    );
    app.run_pending().await;
    let id = token.split('_').nth(1).unwrap().to_owned();
    let actor = Actor::new("cli", "test");
    token::revoke(&app.app, &id, actor, Person::default())
        .await
        .unwrap();

    // What is held back, and decided, and void.
    let parked = park(&app).await;
    decide(&app, &parked, "reject").await;
    decide(&app, &parked, "approve").await;
    app.run_pending().await;
    unpark(&app).await;
    park(&app).await;
    unpark(&app).await;

    // Holds, rollbacks, windows.
    let stack = app.app.stack("shop").unwrap().clone();
    let by = || asker("grace");
    let wish = || Wish {
        by: by(),
        reason: "it must be".to_owned(),
    };
    hold::hold(&app.app, &stack, None, wish()).await.unwrap();
    hold::release(&app.app, &stack, Some("over"), &by())
        .await
        .unwrap();
    let taken = holding(&app).await;
    let head = app.repo.head().parse().unwrap();
    let done = hold::roll_back(&app.app, &taken, &stack, &head, wish(), &run::silent).await;
    done.unwrap();
    taken.release().await.unwrap();
    hold::release(&app.app, &stack, None, &by()).await.unwrap();
    app.run_pending().await;
    let frozen = app.reconfigured(&frozen_today()).await;
    let frozen_stack = frozen.stack("shop").unwrap();
    hold::permit(&frozen, frozen_stack, Some(&wish()))
        .await
        .unwrap();

    // Whose an object is.
    let taken = holding(&app).await;
    let key = ["classic/one".parse().unwrap()];
    ownership::release(&app.app, &taken, &stack, &key, wish())
        .await
        .unwrap();
    by_hand(&app, &api("one", "http://by-hand")).await;
    ownership::adopt(&app.app, &taken, &stack, &key, wish())
        .await
        .unwrap();
    taken.release().await.unwrap();
    app.run_pending().await;

    // What others do.
    schedule::drift(&app.app, "production").await.unwrap();
    by_hand(&app, &api("one", "http://by-hand")).await;
    by_hand(&app, &api("foreign", "http://foreign")).await;
    schedule::drift(&app.app, "production").await.unwrap();
    app.run_pending().await;
    listener.says(404, "no_service");
    lockstep::sync::report::report_pending(&app.app)
        .await
        .unwrap();

    // What goes wrong: a refusal, an object that is not loaded, a reload without an answer.
    app.gateway
        .faults()
        .answer(400, 1, |asked| asked.method == "POST");
    app.repo.write("two.json", api("two", "http://refused"));
    app.push("refused").await;
    app.gateway.faults().clear();
    repaired(&app).await;
    app.repo.write("three.json", api("three", "http://open"));
    app.repo.commit("open");
    app.push_webhook().await;
    left_open(&app).await;
    app.forget_backoff().await;
    app.run_pending().await;

    // Another gateway's prints, and ownership anew.
    let other = "ab".repeat(32);
    app.sql(&format!(
        "update inventory set gateway_version = '5.13.0', listed = null, observed = '{other}'"
    ))
    .await;
    schedule::drift(&app.app, "production").await.unwrap();
    app.run_pending().await;
    let taken = holding(&app).await;
    let target = app.app.targets["production"].clone();
    lockstep::sync::reclaim::reclaim(&app.app, &taken, &target, &wish())
        .await
        .unwrap();
    taken.release().await.unwrap();
    let note = app.folder.path().join("witness.json");
    app.app.witness = Some(note.clone());
    let told = json!({"size": 1_000_000, "hash": other});
    std::fs::write(&note, told.to_string()).unwrap();
    witness::check(&app.app).await.unwrap();

    // A key signs, and another one that nobody vouches for does not.
    for (seed, signs) in [(1, true), (2, false)] {
        let key = SigningKey::from_seed("lockstep.example/test", [seed; 32]).unwrap();
        let signing = App {
            audit: Arc::new(Audit {
                signing_key: Some(Arc::new(key)),
                ..Audit::default()
            }),
            ..app.app.clone()
        };
        let signed = checkpoint::sign(&signing).await.unwrap();
        assert_eq!(matches!(signed, Signing::Signed(_)), signs, "{signed:?}");
    }

    // Reading.
    let export = reading::Exported {
        filter: json!({"stack": "shop"}),
        from: 0,
        until: 10,
        events: 5,
        sha256: Digest::of(b"a file"),
    };
    reading::exported(&app.app, &by(), &export).await.unwrap();
    app.api.readings.count(&app.app, &by(), "events");
    app.api.report().await;
    retention::place(&app.app, &by(), "dispute", Some(0), "a dispute")
        .await
        .unwrap();
    retention::lift(&app.app, &by(), "dispute", "settled")
        .await
        .unwrap();
    let erased = app.app.event(
        EventType::PersonErased,
        by().actor,
        json!({"reason": "asked"}),
    );
    let owner = app.as_owner().await;
    let retired = app.app.event(
        EventType::HistoryRetired,
        by().actor,
        json!({"from": 0, "until": 0, "sha256": Digest::of(b"a file"), "file": "old.tar", "checkpoint": 0}),
    );
    assert!(owner.store.retire(&retired, |_| true).await.unwrap());
    owner
        .store
        .erase_person(&Names::only("nobody"), &erased)
        .await
        .unwrap();
    let (folder, environment) = (app.folder.path().to_owned(), app.for_a_process());
    let imported = tokio::task::spawn_blocking(move || {
        lockstep(
            &folder,
            &environment,
            &["import", "production", "--into", "written"],
        )
    });
    let (code, out, problem) = imported.await.unwrap();
    assert!(matches!(code, 0 | 1), "{out}{problem}");
    start::stopped(&app.app, app.address).await.unwrap();

    let mut found: BTreeSet<String> = app.event_types().await.into_iter().collect();
    app.finish().await;
    found.extend(lagged(mode).await);
    let all = EventType::ALL.iter().map(|known| known.as_str().to_owned());
    let missing: Vec<String> = all.filter(|known| !found.contains(known)).collect();
    assert_eq!(missing, Vec::<String>::new());
}

/// An update that the gateway accepts and does not load, until the previous body is put back.
async fn repaired(app: &TestApp) {
    app.repo.write("two.json", api("two", "http://lost"));
    app.gateway.faults().lose("two");
    app.repo.commit("lost");
    app.push_webhook().await;
    let mut reached = app.gateway.faults().hang(1, |asked| {
        let is_old = asked
            .body
            .windows(15)
            .any(|part| part == b"http://upstream");
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
    app.repo.write("two.json", api("two", "http://upstream"));
    app.push_well("mended").await;
}

/// The worker dies between its writes and their outcome.
async fn left_open(app: &TestApp) {
    let mut reached = app
        .gateway
        .faults()
        .hang(1, |asked| asked.path.starts_with("/tyk/reload"));
    let running = {
        let app = app.app.clone();
        tokio::spawn(async move { worker::run_pending(&app).await })
    };
    reached.reached(1).await;
    running.abort();
    assert!(running.await.is_err());
    drop(reached);
    app.sql("update lease set until = 0").await;
}

/// One of two nodes is away.
async fn lagged(mode: Mode) -> Vec<String> {
    let app = TestApp::with_nodes(mode, "", 1).await;
    app.repo.write("one.json", api("one", "http://upstream"));
    app.more[0].stop();
    app.push("first").await;
    let types = app.event_types().await;
    app.finish().await;
    types
}

async fn a_push_can_be_followed_from_its_request_to_every_object(mode: Mode) {
    let app = shop(mode, "").await;
    app.repo
        .write("one.json", api("one", "http://new"))
        .write("orders.json", oas("orders", "/orders/", "http://new"));
    let head = app.repo.commit("Merge pull request #12 from grace/branch");
    traced_push(&app, &parent()).await;
    let reports = app.run_pending().await;
    assert_eq!(reports[0].status, RunStatus::Succeeded);

    let (header, delivery, people) = last(&app, EventType::DeliveryAccepted).await;
    assert_eq!(header.actor, Actor::new("webhook", "acme"));
    assert_eq!(delivery["trace"], TRACE);
    assert_eq!(delivery["worker"], app.app.worker.as_str());
    assert_eq!(delivery["version"], env!("CARGO_PKG_VERSION"));
    let addresses: Vec<_> = people
        .iter()
        .filter_map(|person| person.address.clone())
        .collect();
    assert_eq!(addresses, ["127.0.0.1"]);

    let tree = app.repo.git(&["rev-parse", "HEAD^{tree}"]);
    let blob = app.repo.git(&["rev-parse", "HEAD:one.json"]);
    for event_type in [EventType::RunIntended, EventType::RunFinished] {
        let (_, run, people) = last(&app, event_type).await;
        assert_eq!(run["trace"], TRACE);
        assert_eq!(run["source"]["revision"], head.as_str());
        assert_eq!(run["source"]["tree"], tree.trim());
        assert_eq!(run["source"]["signature"], "unsigned");
        assert_eq!(run["source"]["deliveries"], json!([delivery["delivery"]]));
        assert_eq!(run["gateway"], "5.14.0");
        assert_eq!(run["attempt"], 1);
        assert_eq!(run["config"], app.app.config_hash.as_str());
        assert_eq!(
            run["plan"],
            reports[0].plan.as_ref().unwrap().hash().to_string()
        );
        let names: Vec<_> = people.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["ada", "Ada Author", "Carl Committer"]);
        // Nothing is believed that a commit's words say.
        assert!(!run.to_string().contains("#12"));
    }
    let (_, finished, _) = last(&app, EventType::RunFinished).await;
    assert!(finished["duration"].as_i64().unwrap() > 0);

    let changes = told(&app, EventType::ChangeApplied).await;
    let (_, change, _) = changes
        .iter()
        .rfind(|(header, ..)| header.object == Some("classic/one".parse().unwrap()))
        .unwrap();
    assert_eq!(change["trace"], TRACE);
    assert_eq!(change["source"]["path"], "one.json");
    assert_eq!(change["source"]["blob"], blob.trim());
    assert_eq!(change["source"]["delivery"], delivery["delivery"]);
    assert_eq!(change["trigger"], "push");
    assert_eq!(change["drifted"], false);
    assert!(change["duration"].as_i64().unwrap() > 0);
    for side in ["before", "after"] {
        let digest: Digest = change[side].as_str().unwrap().parse().unwrap();
        let body = body(&app, digest).await;
        assert_eq!(Digest::of(body.as_bytes()), digest);
        assert!(!body.contains(PLANTED));
    }

    // A header that is none starts a trace of its own, and a signature is seen and not believed.
    signed_commit(&app);
    traced_push_again(&app).await;
    app.run_pending().await;
    let (_, run, _) = last(&app, EventType::RunFinished).await;
    assert_eq!(run["source"]["signature"], "present, not verified");
    assert_ne!(run["trace"], TRACE);
    assert_eq!(run["trace"].as_str().unwrap().len(), 32);
    app.finish().await;
}

async fn traced_push_again(app: &TestApp) {
    let body = app.push_body();
    assert_eq!(app.send(&body, None).await, 202);
}

/// A commit with a signature of nobody on top of the head.
fn signed_commit(app: &TestApp) {
    let text = app.repo.git(&["cat-file", "commit", "HEAD"]);
    let head = app.repo.head();
    let (headers, _) = text.split_once("\n\n").unwrap();
    let tree = headers.lines().next().unwrap();
    let who = headers
        .lines()
        .filter(|line| line.starts_with("author") || line.starts_with("committer"));
    let who: Vec<&str> = who.collect();
    let signed = format!(
        "{tree}\nparent {head}\n{}\ngpgsig -----BEGIN PGP SIGNATURE-----\n \n nobody\n -----END PGP SIGNATURE-----\n\nsigned\n",
        who.join("\n")
    );
    let file = app.folder.path().join("commit");
    std::fs::write(&file, signed).unwrap();
    let id = app
        .repo
        .git(&["hash-object", "-t", "commit", "-w", file.to_str().unwrap()]);
    app.repo.git(&["reset", "--hard", id.trim()]);
}

async fn what_a_request_of_the_api_sets_going_bears_its_trace(mode: Mode) {
    let app = shop(mode, PEOPLE).await;
    let token = token_of(&app, Scope::Operate).await;
    let path = "/api/v1/stacks/shop/sync";
    assert_eq!(
        ask(&app, &token, path, &json!({"reason": "now"})).await,
        202
    );
    app.run_pending().await;
    let (header, asked, people) = last(&app, EventType::RunRequested).await;
    let id = token.split('_').nth(1).unwrap();
    assert_eq!(header.actor, Actor::new("api", id));
    assert_eq!(asked["trace"], TRACE);
    assert_eq!(people[0].login.as_deref(), Some("grace"));
    assert_eq!(people[0].address.as_deref(), Some("127.0.0.1"));
    let (_, run, _) = last(&app, EventType::RunFinished).await;
    assert_eq!(
        (&run["trigger"], &run["trace"]),
        (&json!("manual"), &json!(TRACE))
    );

    // A hold by the API is the API's, and its address goes with the person.
    let path = "/api/v1/stacks/shop/hold";
    assert_eq!(
        ask(&app, &token, path, &json!({"reason": "a fair"})).await,
        200
    );
    let (header, held, people) = last(&app, EventType::StackHeld).await;
    assert_eq!(header.actor, Actor::new("api", id));
    assert_eq!(held["trace"], TRACE);
    assert_eq!(people[0].address.as_deref(), Some("127.0.0.1"));
    let erased = app
        .app
        .event(EventType::PersonErased, header.actor, json!({}));
    let owner = app.as_owner().await;
    owner
        .store
        .erase_person(&Names::only("grace"), &erased)
        .await
        .unwrap();
    let (_, _, people) = last(&app, EventType::StackHeld).await;
    assert!(people.is_empty(), "{people:?}");
    hold::release(
        &app.app,
        app.app.stack("shop").unwrap(),
        None,
        &asker("ada"),
    )
    .await
    .unwrap();
    app.run_pending().await;

    let parked = park(&app).await;
    decide(&app, &parked, "approve").await;
    app.run_pending().await;
    let (_, given, _) = last(&app, EventType::ApprovalGiven).await;
    assert_eq!(
        (&given["trace"], &given["changes"]),
        (&json!(TRACE), &json!(4))
    );
    let (_, intended, people) = last(&app, EventType::RunIntended).await;
    assert_eq!(intended["approved"], given["plan"]);
    assert_eq!(intended["trace"], TRACE);
    let names: Vec<_> = people.iter().map(ToString::to_string).collect();
    assert!(names.contains(&"grace".to_owned()), "{names:?}");
    app.finish().await;
}

async fn a_run_that_was_left_open_goes_on_with_its_trace(mode: Mode) {
    let app = shop(mode, "").await;
    app.repo.write("one.json", api("one", "http://new"));
    app.repo.commit("second");
    traced_push(&app, &parent()).await;
    left_open(&app).await;
    assert_eq!(
        app.app.store.open_runs("production").await.unwrap().len(),
        1
    );
    let taken = holding(&app).await;
    let target = Arc::clone(&app.app.targets["production"]);
    let second = app.another_worker().await;
    recover::recover(&second, &taken, &target).await.unwrap();
    taken.release().await.unwrap();

    let (_, intended, _) = last(&app, EventType::RunIntended).await;
    let (_, resolved, _) = last(&app, EventType::ChangeResolved).await;
    let (_, finished, _) = last(&app, EventType::RunFinished).await;
    for event in [&resolved, &finished] {
        assert_eq!(event["trace"], TRACE);
        assert_eq!(event["source"], intended["source"]);
        assert_eq!(event["plan"], intended["plan"]);
        assert_eq!(event["worker"], second.worker.as_str());
    }
    assert_eq!(finished["status"], "interrupted");
    assert_eq!(finished["interrupted"], app.app.worker.as_str());
    assert_eq!(finished["outcomes"], json!({"applied": 1}));
    app.forget_backoff().await;
    app.run_pending().await;
    assert_eq!(
        upstream(&app.gateway.live_classic("one").unwrap()),
        "http://new"
    );
    app.finish().await;
}

async fn a_configuration_is_recorded_by_what_is_other_than_before(mode: Mode) {
    let app = TestApp::start(mode).await;
    start::started(&app.app, app.address).await.unwrap();
    let (header, first, _) = last(&app, EventType::ConfigLoaded).await;
    assert_eq!(header.actor.kind, "server");
    assert_eq!(
        (&first["first"], &first["changes"]),
        (&json!(true), &Value::Null)
    );
    assert_eq!(first["config"], app.app.config_hash.as_str());

    start::started(&app.app, app.address).await.unwrap();
    let (_, again, _) = last(&app, EventType::ConfigLoaded).await;
    assert_eq!(again["changes"]["count"], 0);

    // A command tells of it only where it is another one.
    let cli = Actor::new("cli", "test");
    start::commanded(&app.app, &cli).await.unwrap();
    assert_eq!(told(&app, EventType::ConfigLoaded).await.len(), 2);
    let secret = "a-value-that-nobody-tells";
    let lines = format!("prune = false\nexclude = [\"{secret}\"]");
    let other = app.reconfigured(&lines).await;
    start::commanded(&other, &cli).await.unwrap();
    let (header, changed, _) = last(&app, EventType::ConfigLoaded).await;
    assert_eq!(header.actor, cli);
    let added = json!(["stack.shop.exclude", "stack.shop.prune"]);
    assert_eq!(
        changed["changes"],
        json!({"count": 2, "added": added, "removed": [], "changed": []})
    );
    let third = app.reconfigured("prune = true").await;
    start::commanded(&third, &cli).await.unwrap();
    let (_, changed, _) = last(&app, EventType::ConfigLoaded).await;
    assert_eq!(changed["changes"]["removed"], json!(["stack.shop.exclude"]));
    assert_eq!(changed["changes"]["changed"], json!(["stack.shop.prune"]));
    assert!(!app.all_text().await.contains(secret));
    app.finish().await;
}

async fn what_is_refused_is_told_with_where_it_came_from(mode: Mode) {
    let app = shop(mode, "").await;
    for _ in 0..3 {
        let forged = Client::new()
            .post(app.url("/webhooks/acme"))
            .header("content-type", "application/json")
            .body("{}");
        assert_eq!(forged.send().await.unwrap().status().as_u16(), 401);
        assert_eq!(
            ask(&app, "lst_no", "/api/v1/stacks/shop/sync", &json!({})).await,
            401
        );
    }
    app.receiver.report_refusals(&app.app.queue).await;
    app.api.report().await;
    worker::take_messages(&app.app, Duration::from_secs(5))
        .await
        .unwrap();
    for event_type in [EventType::DeliveriesRefused, EventType::SignInsFailed] {
        let (_, refused, people) = last(&app, event_type).await;
        let counts = refused["counts"].as_object().unwrap();
        let sum: u64 = counts.values().map(|count| count.as_u64().unwrap()).sum();
        assert_eq!(sum, 3, "{refused}");
        let addresses: Vec<_> = people
            .iter()
            .map(|person| person.address.clone().unwrap())
            .collect();
        assert_eq!(addresses, ["127.0.0.1"]);
        // The address stands in no payload, only behind its commitment.
        assert!(!refused.to_string().contains("127.0.0.1"));
    }
    app.finish().await;
}

async fn the_first_process_alone_tells_of_the_migrations(mode: Mode) {
    let app = TestApp::start(mode).await;
    let (one, two) = tokio::join!(app.another_worker(), app.another_worker());
    drop((one, two));
    let migrations = told(&app, EventType::MigrationsApplied).await;
    assert_eq!(migrations.len(), 1);
    let applied = migrations[0].1["migrations"].as_array().unwrap();
    assert_eq!(
        applied.len(),
        lockstep::store::SQLITE_MIGRATIONS.iter().count()
    );
    assert_eq!(applied[0], json!({"version": 1, "name": "installation"}));
    // One that comes later is told by itself.
    app.sql("delete from migration_told where version = 2")
        .await;
    drop(app.another_worker().await);
    let later = last(&app, EventType::MigrationsApplied).await.1;
    assert_eq!(
        later["migrations"],
        json!([{"version": 2, "name": "inbox"}])
    );
    app.finish().await;
}

async fn a_drift_that_is_undone_is_told_with_both_bodies(mode: Mode) {
    let app = shop(mode, "drift = \"revert\"").await;
    by_hand(&app, &api("one", "http://by-hand")).await;
    schedule::drift(&app.app, "production").await.unwrap();
    app.run_pending().await;
    let (_, change, _) = last(&app, EventType::ChangeApplied).await;
    assert_eq!(
        (&change["trigger"], &change["drifted"]),
        (&json!("drift"), &json!(true))
    );
    let digest: Digest = change["before"].as_str().unwrap().parse().unwrap();
    let before = body(&app, digest).await;
    assert!(before.contains("http://by-hand"), "{before}");
    assert!(!before.contains(PLANTED));
    app.finish().await;
}

/// Events as the first version wrote them, which never change.
fn first_format() -> Vec<Event> {
    let lines = include_str!("../data/audit/format-1.ndjson").lines();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    lines
        .map(|line| {
            let event: Value = serde_json::from_str(line).unwrap();
            let people = event["people"].as_array().unwrap().iter();
            let people = people.map(|opening| Opening {
                commitment: text(&opening["commitment"]).parse().unwrap(),
                salt: hex::decode(text(&opening["salt"]))
                    .unwrap()
                    .try_into()
                    .unwrap(),
                value: text(&opening["value"]),
            });
            Event {
                sequence: event["sequence"].as_i64().unwrap(),
                header: text(&event["header"]),
                payload: text(&event["payload"]),
                previous: text(&event["previous"]).parse().unwrap(),
                hash: text(&event["hash"]).parse().unwrap(),
                people: people.collect(),
            }
        })
        .collect()
}

async fn events_of_the_first_format_are_verified_and_found(mode: Mode) {
    let events = first_format();
    let mut verifier = Verifier::default();
    for event in &events {
        verifier.check(event).unwrap();
    }
    // The check would find a byte that is other.
    let mut forged = events[1].clone();
    forged.payload = forged.payload.replace("refs/heads/main", "refs/heads/mair");
    let mut strict = Verifier::default();
    strict.check(&events[0]).unwrap();
    strict.check(&forged).unwrap_err();

    // A database that holds nothing but them is queried and verified, and goes on.
    let app = TestApp::start(mode).await;
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    app.sql(match mode {
        Mode::Embedded => {
            "drop trigger audit_event_no_insert; drop trigger audit_event_no_delete; \
             drop trigger audit_head_no_update; \
             delete from audit_person; delete from audit_event;"
        }
        Mode::ScaledOut => {
            "alter table audit_event disable trigger user; alter table audit_head disable trigger user; \
             delete from audit_person; delete from audit_event;"
        }
    })
    .await;
    for event in &events {
        app.sql(&format!(
            "insert into audit_event (sequence, header, payload, previous, hash) values ({}, {}, {}, '{}', '{}')",
            event.sequence,
            quoted(&event.header),
            quoted(&event.payload),
            event.previous,
            event.hash
        ))
        .await;
        for (position, opening) in event.people.iter().enumerate() {
            let salt = hex::encode(opening.salt);
            let salt = match mode {
                Mode::Embedded => format!("x'{salt}'"),
                Mode::ScaledOut => format!("'\\x{salt}'"),
            };
            app.sql(&format!(
                "insert into audit_person (commitment, sequence, position, salt, value) values ('{}', {}, {position}, {salt}, {})",
                opening.commitment,
                event.sequence,
                quoted(&opening.value)
            ))
            .await;
        }
    }
    // As the migration that made the table filled it.
    app.sql(match mode {
        Mode::Embedded => {
            "insert into audit_object (object, sequence) \
             select distinct listed.value, e.sequence from audit_event e, json_each(e.payload, '$.objects') listed \
             where e.type in ('drift.observed', 'foreign.appeared')"
        }
        Mode::ScaledOut => {
            "insert into audit_object (object, sequence) \
             select distinct listed.object, e.sequence \
             from audit_event e, json_array_elements_text(e.payload::json -> 'objects') listed (object) \
             where e.type in ('drift.observed', 'foreign.appeared')"
        }
    })
    .await;
    let end = events.last().unwrap();
    let size = end.sequence + 1;
    app.sql(&format!(
        "update audit_head set size = {size}, hash = '{}'",
        end.hash
    ))
    .await;

    let store = &app.app.store;
    assert_eq!(store.verify_history().await.unwrap().unwrap().size, size);
    let filter = EventFilter {
        event_type: Some(EventType::RunFinished),
        stack: Some("shop".to_owned()),
        limit: 1_000,
        ..EventFilter::default()
    };
    let runs = store.events(&filter).await.unwrap();
    let written = events
        .iter()
        .filter(|event| event.header.contains("\"run.finished\""));
    assert_eq!(runs.len(), written.count());
    assert!(runs.iter().all(|run| !run.people.is_empty()));
    start::started(&app.app, app.address).await.unwrap();
    assert_eq!(
        store.verify_history().await.unwrap().unwrap().size,
        size + 2
    );
    store.close().await;
}

#[test]
fn the_catalogue_in_the_sources_is_the_programs_own() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/domain/audit/EVENTS.md");
    let stored = std::fs::read_to_string(&file).unwrap_or_default();
    let made = catalogue::markdown();
    if stored != made {
        std::fs::write(&file, made).unwrap();
        panic!(
            "{} was stale and has been written anew: commit it",
            file.display()
        );
    }
}

#[test]
fn the_command_prints_the_catalogue_without_a_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let (code, text, _) = lockstep(folder.path(), &[], &["audit", "events"]);
    assert_eq!((code, text.as_str()), (0, catalogue::markdown().as_str()));
    let (code, json, _) = lockstep(folder.path(), &[], &["audit", "events", "--output", "json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (code, json["types"].as_array().unwrap().len()),
        (0, EventType::ALL.len())
    );
}

#[test]
fn a_payload_is_held_against_the_catalogue() {
    let check = |payload: Value, expect: &[&str]| {
        assert_eq!(catalogue::faults(EventType::TokenRevoked, &payload), expect);
    };
    check(json!({"token": "a", "worker": "w", "version": "1"}), &[]);
    check(
        json!({"token": "a", "worker": "w", "version": "1", "trace": null}),
        &[],
    );
    check(
        json!({"token": null, "worker": "w", "version": "1"}),
        &["token is missing"],
    );
    let more = json!({"token": "a", "worker": "w", "version": "1", "more": 1});
    check(more, &["more is not in the catalogue"]);
}

#[test]
fn messages_of_before_and_of_later_versions_are_read() {
    let old = r#"{"v":1,"message":{"kind":"delivered","webhook":"acme","delivery":{"hook":"7","id":"x"},"event":"ping","body_sha256":"00","received_at":5}}"#;
    let Message::Delivered(Delivered {
        origin,
        received_at,
        ..
    }) = Message::decode(old.as_bytes()).unwrap()
    else {
        panic!("it is a delivery");
    };
    assert_eq!((origin.trace, origin.address, received_at), (None, None, 5));
    let refused = r#"{"v":1,"message":{"kind":"refused","webhook":"acme","receiver":"r","from":1,"until":2,"counts":{"x":3}}}"#;
    let message = Message::decode(refused.as_bytes()).unwrap();
    assert_eq!(Message::decode(&message.encode()).unwrap(), message);
    // What a newer process adds is passed over.
    let newer = old.replace("\"received_at\":5", "\"received_at\":5,\"later\":{\"a\":1}");
    Message::decode(newer.as_bytes()).unwrap();
}
