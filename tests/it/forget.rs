//! Erasing a person: they are nowhere afterwards, and the history is as provable as before.

use lockstep::{
    domain::{
        approval::{Approver, Choice},
        audit::event::EventType,
        run::RunStatus,
        token::Scope,
    },
    store,
    sync::{approval, hold, ownership::Wish, start, token},
};
use serde_json::{Value, json};

use crate::support::{
    app::{Mode, TestApp, asker, classic},
    process::lockstep,
};

crate::in_both_modes! {
    a_person_who_is_forgotten_is_nowhere_and_the_history_stays_provable,
    who_cannot_be_forgotten_is_told_why_and_nothing_is_erased,
    who_erases_themselves_is_not_named_by_it,
}

const GRACE: &str = "[person.grace]\nlogins = { github = \"grace-h\" }\n";

/// A history in which ada pushed, and grace approved and holds the stack, at a server that does not
/// know grace any more.
async fn with_people(mode: Mode) -> (TestApp, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.key");
    let key = store::keygen("log.example/test", &file).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    let lines = format!("[audit]\nsigning_key = {{ env = \"AUDIT\" }}\n{GRACE}");
    let mut app = TestApp::with_environment(mode, &lines, &[("AUDIT", &text)]).await;
    start::started(&app.app, app.address).await.unwrap();
    let names = ["one", "two", "three", "four"];
    for name in names {
        let api = classic(name, &format!("/{name}/"), "http://upstream");
        app.repo.write(&format!("{name}.json"), api);
    }
    app.push_well("Four\n\nSigned-off-by: Ada Example <ada@example.org>")
        .await;
    for name in names {
        app.repo.remove(&format!("{name}.json"));
    }
    let parked = app.push("four away").await;
    assert_eq!(parked.status, RunStatus::Parked);
    let wanted = token::Wanted {
        person: "grace".to_owned(),
        scopes: [Scope::Approve].into(),
        expires_at: app.app.now() + 3_600_000_000,
        note: Some("a laptop".to_owned()),
    };
    let (made, _) = token::create(&app.app, wanted, asker("op").actor, asker("op").person)
        .await
        .unwrap();
    let voice = approval::Voice {
        by: Approver::Person("grace".to_owned()),
        asker: asker("grace"),
        token: Some(made.id),
    };
    let run = parked.run.unwrap();
    approval::decide(&app.app, &run, Choice::Approve, voice, "it is meant")
        .await
        .unwrap();
    assert_eq!(app.run_pending().await[0].status, RunStatus::Succeeded);
    let stack = app.app.stack("shop").unwrap().clone();
    let wish = Wish {
        by: asker("grace"),
        reason: "as ada asked".to_owned(),
    };
    hold::hold(&app.app, &stack, None, wish).await.unwrap();
    app.config_text = app.config_text.replace(GRACE, "");
    (app, key.verifier().to_string())
}

fn run(app: &TestApp, user: &str, arguments: &[&str]) -> (i32, String, String) {
    let mut environment = app.for_a_process();
    environment.push(("USER".to_owned(), user.to_owned()));
    lockstep(app.folder.path(), &environment, arguments)
}

fn forget(app: &TestApp, user: &str, person: &str, more: &[&str]) -> (i32, String, String) {
    let first = ["--output", "json", "audit", "forget", person];
    run(app, user, &[&first, more].concat())
}

/// What is in the database, and with SQLite in the bytes of its files.
async fn everything(app: &TestApp) -> String {
    let mut text = app.all_text().await;
    for file in ["lockstep.db", "lockstep.db-wal"] {
        if let Ok(bytes) = std::fs::read(app.folder.path().join("data").join(file)) {
            text.push_str(&String::from_utf8_lossy(&bytes));
        }
    }
    text.to_lowercase()
}

async fn a_person_who_is_forgotten_is_nowhere_and_the_history_stays_provable(mode: Mode) {
    let (app, key) = with_people(mode).await;
    let before = everything(&app).await;
    for name in ["ada@example.org", "ada example", "grace"] {
        assert!(before.contains(name), "the search finds {name}");
    }
    let yes = ["--reason", "asked by letter 4711", "--yes"];

    let (code, out, err) = forget(&app, "op", "ADA@example.org", &yes);
    assert_eq!(code, 0, "{out}{err}");
    let erased: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(erased["erased"], true);
    let mut names: Vec<&str> = erased["names"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["ADA@example.org", "Ada Example", "ada"]);
    for of in ["commitments", "deliveries", "runs", "other_texts"] {
        assert!(erased[of].as_u64().unwrap() > 0, "{of}: {erased}");
    }
    // The reason of the hold stands in an event, and its hash covers it.
    assert_eq!(erased["mentions"]["count"], 1, "{erased}");
    let left = everything(&app).await;
    assert!(!left.contains("ada@example.org") && !left.contains("ada example"));
    let kept = app.state("shop").await.hold.unwrap();
    assert_eq!(kept.reason, "as [erased] asked");
    assert!(kept.by.is_some(), "grace is still there");

    let (code, out, err) = forget(&app, "op", "grace", &yes);
    assert_eq!(code, 0, "{out}{err}");
    let left = everything(&app).await;
    assert!(!left.contains("grace"), "{left}");
    assert_eq!(app.state("shop").await.hold.unwrap().by, None);

    let (code, _, err) = forget(&app, "op", "grace", &yes);
    assert_eq!(code, 1);
    assert!(err.contains("erased already"), "{err}");

    let told: Vec<_> = app
        .events()
        .await
        .into_iter()
        .filter(|(header, _)| header.event_type == EventType::PersonErased.as_str())
        .collect();
    assert_eq!(told.len(), 2);
    for (header, event) in told {
        assert_eq!(header.actor.kind, "cli");
        assert!(event.payload.contains("4711"), "{}", event.payload);
        assert_eq!(event.people.len(), 1);
        assert_eq!(event.people[0].value, r#"{"login":"op"}"#);
    }

    let (code, out, err) = run(&app, "op", &["audit", "export", "--out", "all.tar"]);
    assert_eq!(code, 0, "{out}{err}");
    let (code, out, err) = run(&app, "op", &["audit", "verify", "--key", &key]);
    assert_eq!(code, 0, "{out}{err}");
    let exported = std::fs::read(app.folder.path().join("all.tar")).unwrap();
    let exported = String::from_utf8_lossy(&exported).to_lowercase();
    assert!(exported.contains("person.erased"));
    assert!(!exported.contains("grace") && !exported.contains("ada@example.org"));
    let (code, out, err) = run(&app, "op", &["audit", "verify", "all.tar", "--key", &key]);
    assert_eq!(code, 0, "{out}{err}");
    app.finish().await;
}

async fn who_cannot_be_forgotten_is_told_why_and_nothing_is_erased(mode: Mode) {
    let (mut app, _) = with_people(mode).await;
    let before = app.app.store.head().await.unwrap();
    let because = ["--reason", "asked by letter"];
    let yes = ["--reason", "asked by letter", "--yes"];
    let named = ["--reason", "Grace asked", "--yes"];
    for (person, more, code, says) in [
        ("grace", &because[..], 2, "\"erased\": false"),
        ("grace", &named[..], 1, "the reason names the person"),
        ("nobody@example.org", &yes[..], 1, "nothing on record names"),
        (" ", &yes[..], 1, "name the person"),
    ] {
        let (exit, out, err) = forget(&app, "op", person, more);
        assert_eq!(exit, code, "{person}: {out}{err}");
        assert!(format!("{out}{err}").contains(says), "{out}{err}");
    }
    app.config_text.push_str(GRACE);
    for person in ["grace", "grace-h"] {
        let (exit, out, err) = forget(&app, "op", person, &yes);
        assert_eq!(exit, 1, "{out}");
        assert!(err.contains("[person.grace]"), "{err}");
    }
    assert_eq!(app.app.store.head().await.unwrap(), before);
    app.finish().await;
}

async fn who_erases_themselves_is_not_named_by_it(mode: Mode) {
    let (app, _) = with_people(mode).await;
    let yes = ["--reason", "leaving", "--yes", "--exactly"];
    let (code, out, err) = forget(&app, "grace", "grace", &yes);
    assert_eq!(code, 0, "{out}{err}");
    let (_, event) = app.events().await.pop().unwrap();
    let payload: Value = serde_json::from_str(&event.payload).unwrap();
    assert_eq!(payload["by_themselves"], json!(true));
    assert!(event.people.is_empty());
    assert!(!app.all_text().await.to_lowercase().contains("grace"));
    app.finish().await;
}
