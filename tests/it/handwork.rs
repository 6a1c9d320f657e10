//! What others do on a gateway, and what its upgrade does: told apart, told once, and never
//! answered by a flood of writes.

use lockstep::{domain::run::RunStatus, sync::schedule};
use serde_json::{Value, json};

use crate::support::app::{Mode, TestApp, classic, oas, upstream};

crate::in_both_modes! {
    a_foreign_object_that_appears_is_told_once_and_left_alone,
    an_object_that_is_changed_again_and_again_is_put_back_ever_later,
    the_same_hand_work_after_a_revert_is_observed_anew,
    an_upgraded_gateway_that_prints_otherwise_is_rebased_and_nothing_is_written,
    hand_work_under_an_upgrade_is_still_seen,
}

async fn by_hand(app: &TestApp, body: &str) {
    let mut body: Value = serde_json::from_str(body).unwrap();
    body["org_id"] = json!("default");
    app.gateway.put_api_by_hand(&body);
    app.gateway.reload_now().await;
}

async fn check(app: &TestApp) {
    schedule::drift(&app.app, "production").await.unwrap();
}

async fn observed(app: &TestApp, event_type: &str) -> usize {
    let types = app.event_types().await;
    types.iter().filter(|found| *found == event_type).count()
}

async fn a_foreign_object_that_appears_is_told_once_and_left_alone(mode: Mode) {
    let app = TestApp::with_stack(mode, "drift = \"revert\"").await;
    by_hand(&app, &classic("old", "/old/", "http://old")).await;
    app.repo.write("a.json", classic("a", "/a/", "http://a"));
    app.push_well("first").await;
    check(&app).await;
    assert_eq!(
        observed(&app, "foreign.appeared").await,
        0,
        "it was there before"
    );
    by_hand(&app, &classic("new", "/new/", "http://new")).await;
    for _ in 0..3 {
        check(&app).await;
    }
    assert!(app.run_pending().await.is_empty());
    let events = app.events().await;
    let told: Vec<_> = events
        .iter()
        .filter(|(header, _)| header.event_type == "foreign.appeared")
        .collect();
    assert_eq!(told.len(), 1);
    assert!(told[0].1.payload.contains("classic/new"));
    assert!(!told[0].1.payload.contains("classic/old"));
    // Gone and back is news again.
    app.gateway.remove_by_hand("new");
    app.gateway.reload_now().await;
    check(&app).await;
    by_hand(&app, &classic("new", "/new/", "http://new")).await;
    check(&app).await;
    assert_eq!(observed(&app, "foreign.appeared").await, 2);
    app.finish().await;
}

async fn an_object_that_is_changed_again_and_again_is_put_back_ever_later(mode: Mode) {
    let app = TestApp::with_stack(mode, "drift = \"revert\"").await;
    app.repo.write("a.json", classic("a", "/a/", "http://a"));
    app.push_well("first").await;
    for round in 0..3 {
        by_hand(
            &app,
            &classic("a", "/a/", &format!("http://by-hand-{round}")),
        )
        .await;
        check(&app).await;
        assert_eq!(app.run_pending().await.len(), 1);
        assert_eq!(
            upstream(&app.gateway.live_classic("a").unwrap()),
            "http://a"
        );
    }
    by_hand(&app, &classic("a", "/a/", "http://by-hand-again")).await;
    check(&app).await;
    assert!(app.run_pending().await.is_empty());
    let state = app.state("shop").await;
    assert_eq!(state.drifted, 1);
    let problem = state.problem.unwrap();
    assert!(
        problem.contains("put back 3 times within 24 hours"),
        "{problem}"
    );
    // A push is not slowed down by it.
    app.repo.write("a.json", classic("a", "/a/", "http://a-2"));
    app.push_well("second").await;
    assert_eq!(
        upstream(&app.gateway.live_classic("a").unwrap()),
        "http://a-2"
    );
    // When the time is over it is put back again.
    by_hand(&app, &classic("a", "/a/", "http://by-hand-later")).await;
    app.sql("update run set started_at = started_at - 3600000000")
        .await;
    check(&app).await;
    assert_eq!(app.run_pending().await.len(), 1);
    app.finish().await;
}

async fn the_same_hand_work_after_a_revert_is_observed_anew(mode: Mode) {
    let app = TestApp::with_stack(mode, "drift = \"revert\"").await;
    app.repo.write("a.json", classic("a", "/a/", "http://a"));
    app.push_well("first").await;
    for _ in 0..2 {
        by_hand(&app, &classic("a", "/a/", "http://by-hand")).await;
        check(&app).await;
        app.run_pending().await;
    }
    assert_eq!(observed(&app, "drift.observed").await, 2);
    app.finish().await;
}

/// Classic, OAS, and OAS with a JWT scheme, whose document must not be read.
async fn three(mode: Mode, lines: &str) -> TestApp {
    let app = TestApp::with_stack(mode, lines).await;
    let mut with_jwt: Value = serde_json::from_str(&oas("jwt", "/jwt/", "http://jwt")).unwrap();
    with_jwt["components"] = json!({"securitySchemes": {"jwt": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}});
    with_jwt["security"] = json!([{"jwt": []}]);
    with_jwt["x-tyk-api-gateway"]["server"]["authentication"] = json!({
        "enabled": true,
        "securitySchemes": {"jwt": {"enabled": true, "header": {"enabled": true, "name": "Authorization"},
            "signingMethod": "hmac", "source": "c2VjcmV0", "identityBaseField": "sub"}},
    });
    app.repo
        .write("a.json", classic("a", "/a/", "http://a"))
        .write("b.json", oas("b", "/b/", "http://b"))
        .write("jwt.json", with_jwt.to_string());
    app.push_well("first").await;
    // As if an older gateway had printed all of them otherwise.
    let other = format!("sha256:{}", "ab".repeat(32));
    let sample = app.app.store.inventory("production", "").await.unwrap();
    let digest = sample.values().next().unwrap().desired.to_string();
    let other = if digest.starts_with("sha256:") {
        other
    } else {
        "ab".repeat(32)
    };
    app.sql(&format!(
        "update inventory set gateway_version = '5.13.0', listed = null, observed = '{other}'"
    ))
    .await;
    app.gateway.clear_log();
    app
}

async fn an_upgraded_gateway_that_prints_otherwise_is_rebased_and_nothing_is_written(mode: Mode) {
    let app = three(mode, "drift = \"revert\"").await;
    check(&app).await;
    assert_eq!(observed(&app, "drift.observed").await, 0);
    let reports = app.run_pending().await;
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].status, RunStatus::Succeeded);
    assert!(app.writes().is_empty());
    assert_eq!(observed(&app, "gateway.rebased").await, 3);
    let inventory = app.app.store.inventory("production", "").await.unwrap();
    assert!(
        inventory
            .values()
            .all(|owned| owned.gateway_version == "5.14.0")
    );
    check(&app).await;
    assert!(app.run_pending().await.is_empty(), "once");
    app.finish().await;
}

async fn hand_work_under_an_upgrade_is_still_seen(mode: Mode) {
    let app = three(mode, "").await;
    by_hand(&app, &classic("a", "/a/", "http://by-hand")).await;
    check(&app).await;
    let found = schedule::drift(&app.app, "production").await.unwrap();
    let objects: Vec<String> = found[0]
        .changes()
        .iter()
        .map(|change| change.object.to_string())
        .collect();
    assert_eq!(objects, ["classic/a"]);
    app.finish().await;
}
