//! A target of several nodes: each is read, applied and verified on its own, the first as canary.

use lockstep::{
    domain::run::{Outcome, RunStatus},
    sandbox::gateway::Gateway,
    sync::{schedule, worker},
};
use serde_json::json;

use crate::support::app::{Mode, TestApp, classic, oas, upstream};

crate::in_both_modes! {
    every_node_gets_the_push_one_after_another,
    a_canary_that_fails_stops_the_rest,
    a_node_that_is_down_lags_and_is_caught_up,
    with_the_canary_down_the_next_node_goes_first,
    a_node_that_dies_within_its_run_bars_no_other,
    drift_on_one_node_is_reverted_there_alone,
    a_new_empty_node_is_filled,
    the_deletion_budget_counts_each_node_for_itself,
    a_target_that_grows_keeps_what_it_owns,
    held_deletions_are_held_on_every_node,
}

fn nodes(app: &TestApp) -> Vec<&Gateway> {
    std::iter::once(&app.gateway).chain(&app.more).collect()
}

async fn shop(mode: Mode, lines: &str) -> TestApp {
    let app = TestApp::with_nodes(mode, lines, 2).await;
    for id in ["a", "b", "c", "d"] {
        let path = format!("/{id}/");
        app.repo
            .write(&format!("{id}.json"), classic(id, &path, "http://git"));
    }
    app.repo.write("o.json", oas("o", "/o/", "http://o"));
    app.push_well("first").await;
    app
}

/// The worker is told again by the timers that a stack is due; here by hand.
async fn try_again(app: &TestApp) -> Vec<lockstep::sync::run::Report> {
    app.forget_backoff().await;
    app.run_pending().await
}

async fn every_node_gets_the_push_one_after_another(mode: Mode) {
    let app = shop(mode, "").await;
    for node in nodes(&app) {
        assert_eq!(node.live_ids(), ["a", "b", "c", "d", "o"]);
    }
    assert_eq!(app.runs().await.len(), 3, "a run a node");
    let inventory = app.app.store.inventories("production").await.unwrap();
    assert_eq!(inventory.len(), 3);
    assert_eq!(app.app.store.owned_objects().await.unwrap()["shop"], 5);
    // Each prints servers of its own, and that is no difference.
    let servers: Vec<_> = nodes(&app)
        .iter()
        .map(|node| node.live_api("o").unwrap()["servers"].clone())
        .collect();
    assert_ne!(servers[0], servers[1]);
    for node in nodes(&app) {
        node.clear_log();
    }
    app.repo.write("README.md", "words");
    app.push_well("nothing to do").await;
    for node in nodes(&app) {
        assert!(node.log().iter().all(|seen| !seen.is_write()));
    }
    app.finish().await;
}

async fn a_canary_that_fails_stops_the_rest(mode: Mode) {
    let app = shop(mode, "").await;
    for node in nodes(&app) {
        node.clear_log();
    }
    // The first gateway accepts it and does not load it.
    app.gateway.faults().lose("new");
    app.repo
        .write("new.json", classic("new", "/new/", "http://git"));
    let report = app.push("does not load").await;
    assert_eq!(report.status, RunStatus::Failed);
    assert_eq!(app.state("shop").await.last_status, Some(RunStatus::Failed));
    assert_eq!(report.nodes.len(), 1);
    for node in &app.more {
        assert!(node.log().is_empty(), "not even asked");
    }
    app.gateway.faults().clear();
    app.repo
        .write("new.json", classic("new", "/new/", "http://git-2"));
    app.push_well("loads").await;
    for node in nodes(&app) {
        assert_eq!(node.live_ids(), ["a", "b", "c", "d", "new", "o"]);
    }
    app.finish().await;
}

async fn a_node_that_is_down_lags_and_is_caught_up(mode: Mode) {
    let app = shop(mode, "").await;
    app.more[0].stop();
    app.repo
        .write("a.json", classic("a", "/a/", "http://git-2"));
    let report = app.push("second").await;
    assert_eq!(report.status, RunStatus::Failed);
    for node in [&app.gateway, &app.more[1]] {
        assert_eq!(upstream(&node.live_classic("a").unwrap()), "http://git-2");
    }
    let state = app.state("shop").await;
    assert!(state.is_pending(), "it is tried again");
    assert_eq!(state.last_status, Some(RunStatus::Failed));
    let lag = app.app.store.node_states().await.unwrap();
    let behind: Vec<_> = lag.iter().filter(|node| node.lag_since.is_some()).collect();
    assert_eq!(behind.len(), 1);
    // Trying again and again is told once and leaves the healthy ones alone.
    let runs = app.runs().await.len();
    app.gateway.clear_log();
    for _ in 0..3 {
        try_again(&app).await;
    }
    assert_eq!(app.runs().await.len(), runs);
    assert!(app.gateway.log().is_empty());
    let types = app.event_types().await;
    assert_eq!(
        types.iter().filter(|each| *each == "node.lagged").count(),
        1
    );

    app.more[0].restart(false).await.unwrap();
    app.more[0].ready().await;
    let reports = try_again(&app).await;
    assert_eq!(reports[0].status, RunStatus::Succeeded, "{reports:#?}");
    assert_eq!(
        upstream(&app.more[0].live_classic("a").unwrap()),
        "http://git-2"
    );
    let state = app.state("shop").await;
    assert!(!state.is_pending());
    assert_eq!(state.last_status, Some(RunStatus::Succeeded));
    let lag = app.app.store.node_states().await.unwrap();
    assert!(lag.iter().all(|node| node.lag_since.is_none()));
    app.finish().await;
}

async fn with_the_canary_down_the_next_node_goes_first(mode: Mode) {
    let app = shop(mode, "").await;
    app.gateway.stop();
    app.repo
        .write("a.json", classic("a", "/a/", "http://git-2"));
    app.push("second").await;
    for node in &app.more {
        assert_eq!(upstream(&node.live_classic("a").unwrap()), "http://git-2");
    }
    app.gateway.restart(false).await.unwrap();
    app.gateway.ready().await;
    try_again(&app).await;
    assert_eq!(
        upstream(&app.gateway.live_classic("a").unwrap()),
        "http://git-2"
    );
    assert_eq!(
        app.state("shop").await.last_status,
        Some(RunStatus::Succeeded)
    );
    app.finish().await;
}

async fn a_node_that_dies_within_its_run_bars_no_other(mode: Mode) {
    let app = shop(mode, "").await;
    // The write arrives and the node is gone before it can be asked what became of it.
    let mut asked = app.more[0]
        .faults()
        .hang(1, |asked| asked.path == "/tyk/reload");
    app.repo
        .write("a.json", classic("a", "/a/", "http://git-2"));
    app.repo.commit("second");
    app.push_webhook().await;
    let running = {
        let app = app.app.clone();
        tokio::spawn(async move { worker::run_pending(&app).await })
    };
    asked.reached(1).await;
    app.more[0].stop();
    drop(asked);
    let _ = running.await.unwrap();
    assert_eq!(
        app.app.store.open_runs("production").await.unwrap().len(),
        1
    );
    app.repo
        .write("a.json", classic("a", "/a/", "http://git-3"));
    app.repo.commit("third");
    app.push_webhook().await;
    app.forget_backoff().await;
    app.run_pending().await;
    for node in [&app.gateway, &app.more[1]] {
        assert_eq!(upstream(&node.live_classic("a").unwrap()), "http://git-3");
    }
    app.more[0].restart(false).await.unwrap();
    app.more[0].ready().await;
    try_again(&app).await;
    assert_eq!(
        upstream(&app.more[0].live_classic("a").unwrap()),
        "http://git-3"
    );
    assert!(
        app.app
            .store
            .open_runs("production")
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        app.state("shop").await.last_status,
        Some(RunStatus::Succeeded)
    );
    app.finish().await;
}

async fn drift_on_one_node_is_reverted_there_alone(mode: Mode) {
    let app = shop(mode, "drift = \"revert\"").await;
    let mut body = app.more[1].live_classic("a").unwrap();
    body["proxy"]["target_url"] = json!("http://by-hand");
    app.more[1].put_api_by_hand(&body);
    app.more[1].reload_now().await;
    for node in nodes(&app) {
        node.clear_log();
    }
    let found = schedule::drift(&app.app, "production").await.unwrap();
    assert_eq!(found.len(), 3);
    app.run_pending().await;
    assert_eq!(
        upstream(&app.more[1].live_classic("a").unwrap()),
        "http://git"
    );
    for node in [&app.gateway, &app.more[0]] {
        assert!(node.log().iter().all(|seen| !seen.is_write()));
    }
    app.finish().await;
}

async fn a_new_empty_node_is_filled(mode: Mode) {
    let app = shop(mode, "").await;
    app.more[0].restart(true).await.unwrap();
    app.more[0].ready().await;
    app.repo.write("README.md", "words");
    app.push_well("nothing new").await;
    assert_eq!(app.more[0].live_ids(), ["a", "b", "c", "d", "o"]);
    app.finish().await;
}

async fn the_deletion_budget_counts_each_node_for_itself(mode: Mode) {
    let app = shop(mode, "deletion_limit = 2").await;
    app.repo.remove("a.json").remove("b.json");
    let report = app.push_well("two are gone").await;
    let deleted = report
        .changes
        .iter()
        .filter(|change| change.outcome == Outcome::Applied);
    assert_eq!(deleted.count(), 6);
    for node in nodes(&app) {
        assert_eq!(node.live_ids(), ["c", "d", "o"]);
    }
    app.finish().await;
}

async fn a_target_that_grows_keeps_what_it_owns(mode: Mode) {
    let mut app = TestApp::with_nodes(mode, "", 1).await;
    let several = app.config_text.clone();
    let one = format!("[\"{}\"]", app.gateway.url());
    let both = format!("{:?}", [app.gateway.url(), app.more[0].url()]);
    app.config_text = several.replace(&both, &one);
    app.app = app.another_worker().await;
    for id in ["a", "b", "c"] {
        let path = format!("/{id}/");
        app.repo
            .write(&format!("{id}.json"), classic(id, &path, "http://git"));
    }
    app.push_well("one node").await;
    // The second node was filled by hand, one object of it otherwise.
    for (id, target) in [("a", "http://git"), ("b", "http://by-hand")] {
        let path = format!("/{id}/");
        let mut body: serde_json::Value =
            serde_json::from_str(&classic(id, &path, target)).unwrap();
        body["org_id"] = json!("default");
        app.more[0].put_api_by_hand(&body);
    }
    app.more[0].reload_now().await;
    app.config_text = several;
    app.app = app.another_worker().await;
    app.repo.write("README.md", "words");
    app.push_well("two nodes").await;
    assert_eq!(app.more[0].live_ids(), ["a", "b", "c"]);
    assert_eq!(
        upstream(&app.more[0].live_classic("b").unwrap()),
        "http://git"
    );
    app.repo.remove("a.json");
    app.push_well("a is gone").await;
    for node in nodes(&app) {
        assert_eq!(node.live_ids(), ["b", "c"]);
    }
    app.finish().await;
}

async fn held_deletions_are_held_on_every_node(mode: Mode) {
    let app = shop(mode, "").await;
    app.repo
        .remove("a.json")
        .remove("b.json")
        .remove("c.json")
        .remove("d.json")
        .write("new.json", classic("new", "/new/", "http://git"));
    let report = app.push("too many").await;
    assert_eq!(report.status, RunStatus::Parked);
    for node in nodes(&app) {
        assert_eq!(node.live_ids(), ["a", "b", "c", "d", "new", "o"]);
    }
    assert_eq!(app.state("shop").await.last_status, Some(RunStatus::Parked));
    app.finish().await;
}
