//! A database that was lost, or restored from an older backup: what is equal to Git is owned again,
//! the rest is listed, and nothing is deleted until it is confirmed.

use lockstep::{
    domain::{object::ObjectKey, run::RunStatus},
    sync::{
        lease::Holding,
        ownership::Wish,
        reclaim::{Reclaimed, reclaim},
        witness,
    },
};
use serde_json::{Value, json};

use crate::support::app::{Mode, TestApp, asker, classic, oas, policy, upstream};

crate::in_both_modes! {
    after_a_lost_database_what_equals_git_is_owned_again_and_the_rest_is_listed,
    a_database_that_knows_less_than_was_noted_deletes_nothing_until_recovered,
    a_witness_that_agrees_changes_nothing,
}

async fn by_hand(app: &TestApp, body: &str) {
    let mut body: Value = serde_json::from_str(body).unwrap();
    body["org_id"] = json!("default");
    app.gateway.put_api_by_hand(&body);
    app.gateway.reload_now().await;
}

async fn recovered(app: &TestApp) -> Reclaimed {
    let holding = Holding::take(&app.app.store, "production", "a person")
        .await
        .unwrap()
        .unwrap();
    let target = app.app.targets["production"].clone();
    let wish = Wish {
        by: asker("ada"),
        reason: "the disk died".to_owned(),
    };
    let mut done = reclaim(&app.app, &holding, &target, &wish).await.unwrap();
    holding.release().await.unwrap();
    assert_eq!(done.len(), 1);
    done.remove(0)
}

fn names(keys: &[ObjectKey]) -> Vec<String> {
    keys.iter().map(ToString::to_string).collect()
}

async fn after_a_lost_database_what_equals_git_is_owned_again_and_the_rest_is_listed(mode: Mode) {
    let app = TestApp::start(mode).await;
    for id in ["a", "b", "c", "d", "e"] {
        let path = format!("/{id}/");
        app.repo
            .write(&format!("{id}.json"), classic(id, &path, "http://git"));
    }
    app.repo
        .write("o.json", oas("o", "/o/", "http://o"))
        .write("p.json", policy("p", "a", 5));
    app.push_well("first").await;
    app.sql("delete from inventory; delete from delivery_stack; delete from stack_state")
        .await;
    by_hand(&app, &classic("a", "/a/", "http://by-hand")).await;
    by_hand(&app, &classic("stray", "/stray/", "http://stray")).await;
    app.gateway.remove_by_hand("b");
    app.gateway.reload_now().await;
    app.repo.remove("c.json");
    app.repo.commit("c is gone from Git");
    app.gateway.clear_log();

    let found = recovered(&app).await;
    assert!(app.writes().is_empty());
    assert_eq!(
        names(&found.adopted),
        ["policy/p", "classic/d", "classic/e", "oas/o"]
    );
    assert_eq!(names(&found.differing), ["classic/a"]);
    assert_eq!(names(&found.missing), ["classic/b"]);
    assert_eq!(names(&found.left), Vec::<String>::new());
    // Nobody can tell any more which of them was ours.
    assert_eq!(names(&found.unclaimed), ["classic/c", "classic/stray"]);
    // The run that follows makes what is missing, and touches nothing that nobody owns.
    app.push_webhook().await;
    let reports = app.run_pending().await;
    assert_eq!(reports[0].status, RunStatus::Parked);
    assert_eq!(
        app.gateway.live_ids(),
        ["a", "b", "c", "d", "e", "o", "stray"]
    );
    assert_eq!(
        upstream(&app.gateway.live_classic("a").unwrap()),
        "http://by-hand"
    );
    let types = app.event_types().await;
    assert!(types.contains(&"target.recovered".to_owned()));
    app.finish().await;
}

async fn a_database_that_knows_less_than_was_noted_deletes_nothing_until_recovered(mode: Mode) {
    let mut app = TestApp::start(mode).await;
    let note = app.folder.path().join("witness.json");
    app.app.witness = Some(note.clone());
    for id in ["a", "b", "c", "d", "e"] {
        let path = format!("/{id}/");
        app.repo
            .write(&format!("{id}.json"), classic(id, &path, "http://git"));
    }
    app.push_well("first").await;
    let noted = std::fs::read_to_string(&note).unwrap();
    let size = app.app.store.head().await.unwrap().size;
    assert!(noted.contains(&format!("\"size\":{size}")), "{noted}");
    // Another history of the same length is noticed as well as a shorter one.
    for other in [
        noted.replace(&format!(":{size}"), &format!(":{}", size + 40)),
        noted.replace(
            &app.app.store.head().await.unwrap().hash.to_string(),
            &"ab".repeat(32),
        ),
    ] {
        std::fs::write(&note, &other).unwrap();
        app.sql("update target_state set doubtful_since = null")
            .await;
        witness::check(&app.app).await.unwrap();
        assert!(
            app.app.store.is_doubtful("production").await.unwrap(),
            "{other}"
        );
    }
    // What the database takes for owned may have become somebody else's.
    app.repo.remove("a.json");
    let report = app.push("removed").await;
    assert_eq!(report.status, RunStatus::Parked);
    assert!(report.plan.unwrap().notes[0].contains("lockstep recover production"));
    assert!(app.gateway.live_classic("a").is_some());

    let found = recovered(&app).await;
    assert_eq!(names(&found.left), ["classic/a"]);
    assert!(!app.app.store.is_doubtful("production").await.unwrap());
    let report = app.sync_with(&app.app).await;
    assert_eq!(report.status, RunStatus::Succeeded);
    assert!(app.gateway.live_classic("a").is_some(), "nobody's now");
    app.finish().await;
}

async fn a_witness_that_agrees_changes_nothing(mode: Mode) {
    let mut app = TestApp::start(mode).await;
    app.app.witness = Some(app.folder.path().join("witness.json"));
    witness::check(&app.app).await.unwrap();
    app.repo.write("a.json", classic("a", "/a/", "http://git"));
    app.push_well("first").await;
    witness::check(&app.app).await.unwrap();
    assert!(!app.app.store.is_doubtful("production").await.unwrap());
    let types = app.event_types().await;
    assert!(!types.contains(&"history.behind".to_owned()));
    // A note that is no note is an error, and not overwritten.
    let note = app.app.witness.clone().unwrap();
    std::fs::write(&note, "{}").unwrap();
    assert!(witness::check(&app.app).await.is_err());
    assert_eq!(std::fs::read_to_string(&note).unwrap(), "{}");
    app.finish().await;
}
