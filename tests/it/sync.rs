//! From a push to a live gateway, and everything that may go wrong on the way.

use std::path::{Path, PathBuf};

use lockstep::{
    domain::run::{Action, Outcome, RunStatus, Trigger},
    manifest::{self, SourceFile},
    sync::{lease::Holding, schedule, worker},
};
use serde_json::{Value, json};

use crate::support::app::{
    GATEWAY_SECRET, Mode, TestApp, classic, oas, policy, push_body, upstream,
};

crate::in_both_modes! {
    a_push_goes_live_and_the_history_names_who_pushed,
    with_nothing_to_do_nothing_is_written_and_nothing_reloaded,
    a_run_costs_its_writes_one_reload_and_two_listings,
    an_update_is_shown_field_by_field,
    a_deletion_within_the_budget_goes_through,
    an_emptied_branch_deletes_nothing,
    beside_held_deletions_the_rest_goes_live,
    refused_manifests_write_nothing_and_stop_no_other_stack,
    what_nobody_owns_is_left_alone_or_adopted_when_equal,
    an_object_that_two_stacks_describe_belongs_to_the_first,
    drift_is_recorded_once_and_only_reported,
    drift_is_reverted_where_the_stack_says_so,
    pushes_during_a_run_cost_one_further_run,
    repeated_and_replayed_deliveries_change_nothing,
    a_head_that_lags_behind_is_waited_for_and_a_branch_that_moved_back_is_followed,
    a_push_that_concerns_no_stack_is_recorded_as_ignored,
    a_gateway_that_refuses_or_fails_loses_nothing,
    an_empty_list_is_not_believed,
    an_update_that_takes_an_api_down_is_put_back,
    a_revert_that_was_repaired_is_still_seen_as_drift,
    a_write_without_an_answer_is_resolved,
    a_second_worker_waits_for_the_first,
    a_lost_lease_writes_no_history,
    the_sweep_finds_a_head_that_nobody_announced_and_does_not_repeat_a_refused_one,
    an_object_that_vanishes_beside_the_change_is_looked_for_again,
}

/// Two APIs and a policy, live.
async fn shop(mode: Mode, lines: &str) -> TestApp {
    let app = TestApp::with_stack(mode, lines).await;
    app.repo
        .write("orders.json", oas("orders", "/orders/", "http://orders"))
        .write("ping.json", classic("ping", "/ping/", "http://ping"))
        .write("gold.json", policy("gold", "ping", 5));
    app.push_well("first").await;
    app
}

async fn a_push_goes_live_and_the_history_names_who_pushed(mode: Mode) {
    let app = shop(mode, "").await;
    assert_eq!(app.gateway.live_ids(), ["orders", "ping"]);
    assert_eq!(app.gateway.live_policy_ids(), ["gold"]);
    let runs = app.runs().await;
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].trigger, Trigger::Push);
    assert_eq!(runs[0].pusher.as_ref().unwrap().to_string(), "ada");
    assert_eq!(runs[0].revision.as_ref().unwrap().as_str(), app.repo.head());
    let types = app.event_types().await;
    assert_eq!(
        types,
        [
            "migrations.applied",
            "delivery.accepted",
            "run.intended",
            "change.applied",
            "change.applied",
            "change.applied",
            "run.finished"
        ]
    );
    app.finish().await;
}

async fn with_nothing_to_do_nothing_is_written_and_nothing_reloaded(mode: Mode) {
    let app = shop(mode, "").await;
    app.gateway.clear_log();
    app.repo.write("README.md", "words");
    let report = app.push_well("words").await;
    assert!(report.changes.is_empty());
    let log = app.gateway.log();
    assert!(log.iter().all(|seen| !seen.is_write() && !seen.is_reload()));
    app.finish().await;
}

async fn a_run_costs_its_writes_one_reload_and_two_listings(mode: Mode) {
    let app = shop(mode, "").await;
    for index in 0..20 {
        app.repo.write(
            &format!("more/{index}.json"),
            classic(
                &format!("more-{index}"),
                &format!("/more-{index}/"),
                "http://more",
            ),
        );
    }
    app.repo
        .write("ping.json", classic("ping", "/ping/", "http://other"));
    app.gateway.clear_log();
    let report = app.push_well("more").await;
    assert_eq!(report.changes.len(), 21);
    let log = app.gateway.log();
    let count = |path: &str| {
        log.iter()
            .filter(|seen| seen.path == path && seen.method == "GET")
            .count()
    };
    assert_eq!(app.writes().len(), 21);
    assert_eq!(log.iter().filter(|seen| seen.is_reload()).count(), 1);
    assert_eq!(count("/tyk/apis"), 2);
    assert_eq!(count("/tyk/policies"), 2);
    assert_eq!(log.iter().filter(|seen| seen.is_oas_read()).count(), 0);
    app.finish().await;
}

async fn an_update_is_shown_field_by_field(mode: Mode) {
    let app = shop(mode, "").await;
    app.repo
        .write("orders.json", oas("orders", "/orders/", "http://orders-2"));
    let report = app.push_well("update").await;
    assert_eq!(
        upstream(&app.gateway.live_classic("orders").unwrap()),
        "http://orders-2"
    );
    let detail = app.detail(report.run.as_ref()).await;
    assert_eq!(detail.changes.len(), 1);
    let fields: Vec<String> = detail.changes[0]
        .fields
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        fields,
        ["~ /x-tyk-api-gateway/upstream/url: \"http://orders\" → \"http://orders-2\""]
    );
    app.finish().await;
}

async fn a_deletion_within_the_budget_goes_through(mode: Mode) {
    let app = shop(mode, "").await;
    app.repo.remove("orders.json");
    let report = app.push_well("delete").await;
    assert_eq!(report.changes[0].action, Action::Delete);
    assert_eq!(app.gateway.live_ids(), ["ping"]);
    app.finish().await;
}

async fn an_emptied_branch_deletes_nothing(mode: Mode) {
    let app = shop(mode, "").await;
    app.repo
        .remove("orders.json")
        .remove("ping.json")
        .remove("gold.json");
    let report = app.push("empty").await;
    assert_eq!(report.status, RunStatus::Parked);
    assert!(
        report
            .message
            .unwrap()
            .contains("describes no objects at all")
    );
    assert_eq!(app.gateway.live_ids(), ["orders", "ping"]);
    assert!(app.event_types().await.contains(&"change.held".to_owned()));
    app.finish().await;
}

async fn beside_held_deletions_the_rest_goes_live(mode: Mode) {
    let app = shop(mode, "").await;
    app.repo
        .remove("orders.json")
        .remove("gold.json")
        .write("new.json", classic("new", "/new/", "http://new"));
    let report = app.push("two of three away").await;
    assert_eq!(report.status, RunStatus::Parked);
    assert_eq!(app.gateway.live_ids(), ["new", "orders", "ping"]);
    // What was made meanwhile does not make the deletions look few.
    app.repo
        .write("again.json", classic("again", "/again/", "http://again"));
    let report = app.push("again").await;
    assert_eq!(report.status, RunStatus::Parked);
    assert_eq!(app.gateway.live_ids(), ["again", "new", "orders", "ping"]);
    app.finish().await;
}

const SECOND: &str = r#"path = "one"
[stack.second]
repository = "shop"
path = "two"
target = "production"
"#;

async fn refused_manifests_write_nothing_and_stop_no_other_stack(mode: Mode) {
    let app = TestApp::with_stack(mode, SECOND).await;
    app.repo
        .write("one/a.json", classic("a", "/a/", "http://a"))
        .write("one/bad.yaml", "api_id: [\n")
        .write(
            "one/worse.json",
            r#"{"api_id": "oas", "proxy": {"listen_path": "x"}}"#,
        )
        .write("two/b.json", classic("b", "/b/", "http://b"));
    app.repo.commit("first");
    assert_eq!(app.push_webhook().await, 202);
    let reports = app.run_pending().await;
    let mut statuses: Vec<RunStatus> = reports.iter().map(|report| report.status).collect();
    statuses.sort();
    assert_eq!(statuses, [RunStatus::Succeeded, RunStatus::Refused]);
    assert_eq!(app.gateway.live_ids(), ["b"]);
    let refused = reports
        .iter()
        .find(|report| report.status == RunStatus::Refused)
        .unwrap();
    let message = refused.message.as_ref().unwrap();
    for expected in [
        "one/bad.yaml:1:9",
        "one/worse.json:1:2: /api_id",
        "/proxy/listen_path",
    ] {
        assert!(message.contains(expected), "{expected} is not in {message}");
    }
    app.finish().await;
}

async fn what_nobody_owns_is_left_alone_or_adopted_when_equal(mode: Mode) {
    let app = TestApp::start(mode).await;
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let mut same = parse(&classic("same", "/same/", "http://same"));
    same["org_id"] = json!("default");
    app.gateway.put_api_by_hand(&same);
    app.gateway
        .put_api_by_hand(&parse(&classic("other", "/other/", "http://by-hand")));
    app.gateway
        .put_api_by_hand(&parse(&classic("stray", "/stray/", "http://stray")));
    app.gateway.reload_now().await;
    app.gateway.clear_log();
    app.repo
        .write("same.json", classic("same", "/same/", "http://same"))
        .write("other.json", classic("other", "/other/", "http://git"))
        .write("taken.json", classic("taken", "/stray/", "http://taken"));
    let report = app.push("first").await;
    assert_eq!(report.status, RunStatus::Parked);
    let message = report.message.unwrap();
    assert!(
        message.contains("classic/other is on the gateway, belongs to no stack"),
        "{message}"
    );
    assert!(
        message.contains("classic/taken cannot listen on /stray/: classic/stray does"),
        "{message}"
    );
    assert!(app.writes().is_empty());
    let adopted = report
        .changes
        .iter()
        .find(|change| change.action == Action::Adopt)
        .unwrap();
    assert_eq!(adopted.object.id, "same");
    assert_eq!(adopted.outcome, Outcome::Applied);
    // Ours from now on.
    app.repo
        .write("same.json", classic("same", "/same/", "http://same-2"));
    app.push("second").await;
    assert_eq!(
        upstream(&app.gateway.live_classic("same").unwrap()),
        "http://same-2"
    );
    assert_eq!(
        upstream(&app.gateway.live_classic("other").unwrap()),
        "http://by-hand"
    );
    app.finish().await;
}

async fn an_object_that_two_stacks_describe_belongs_to_the_first(mode: Mode) {
    let app = TestApp::with_stack(mode, SECOND).await;
    app.repo
        .write("one/a.json", classic("a", "/a/", "http://one"));
    app.repo.commit("first");
    app.push_webhook().await;
    app.run_pending().await;
    app.repo
        .write("two/a.json", classic("a", "/a/", "http://two"));
    app.repo.commit("second");
    app.push_webhook().await;
    let reports = app.run_pending().await;
    let parked = reports
        .iter()
        .find(|report| report.status == RunStatus::Parked)
        .unwrap();
    assert!(
        parked
            .message
            .as_ref()
            .unwrap()
            .contains("belongs to the stack shop")
    );
    assert_eq!(
        upstream(&app.gateway.live_classic("a").unwrap()),
        "http://one"
    );
    app.finish().await;
}

/// Changes one API behind our back.
async fn by_hand(app: &TestApp, id: &str, target: &str) {
    let mut body = app.gateway.live_classic(id).unwrap();
    body["proxy"]["target_url"] = json!(target);
    app.gateway.put_api_by_hand(&body);
    app.gateway.reload_now().await;
}

async fn drift_is_recorded_once_and_only_reported(mode: Mode) {
    let app = shop(mode, "").await;
    by_hand(&app, "ping", "http://by-hand").await;
    for _ in 0..2 {
        let found = schedule::drift(&app.app, "production").await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].changes().len(), 1);
    }
    assert!(app.run_pending().await.is_empty());
    assert_eq!(
        upstream(&app.gateway.live_classic("ping").unwrap()),
        "http://by-hand"
    );
    let types = app.event_types().await;
    assert_eq!(
        types
            .iter()
            .filter(|name| *name == "drift.observed")
            .count(),
        1
    );
    assert_eq!(app.state("shop").await.drifted, 1);
    app.finish().await;
}

async fn drift_is_reverted_where_the_stack_says_so(mode: Mode) {
    let app = shop(mode, "drift = \"revert\"").await;
    by_hand(&app, "ping", "http://by-hand").await;
    app.gateway.remove_by_hand("orders");
    app.gateway.reload_now().await;
    schedule::drift(&app.app, "production").await.unwrap();
    let reports = app.run_pending().await;
    assert_eq!(reports.len(), 1);
    let detail = app.detail(reports[0].run.as_ref()).await;
    assert_eq!(detail.run.trigger, Trigger::Drift);
    assert_eq!(detail.changes.len(), 2);
    let fields = &detail
        .changes
        .iter()
        .find(|change| change.object.id == "ping")
        .unwrap()
        .fields;
    assert_eq!(
        fields.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["~ /proxy/target_url: \"http://by-hand\" → \"http://ping\""]
    );
    assert_eq!(
        upstream(&app.gateway.live_classic("ping").unwrap()),
        "http://ping"
    );
    assert_eq!(app.gateway.live_ids(), ["orders", "ping"]);
    assert_eq!(app.state("shop").await.drifted, 0);
    app.finish().await;
}

async fn pushes_during_a_run_cost_one_further_run(mode: Mode) {
    let app = shop(mode, "").await;
    app.repo
        .write("ping.json", classic("ping", "/ping/", "http://one"));
    app.repo.commit("one");
    app.push_webhook().await;
    let mut held = app.gateway.faults().hang(1, |asked| asked.method == "POST");
    let running = {
        let app = app.app.clone();
        tokio::spawn(async move { worker::run_pending(&app).await.unwrap() })
    };
    held.reached(1).await;
    let mut passed_over = Vec::new();
    for round in 0..5 {
        app.repo.write(
            "ping.json",
            classic("ping", "/ping/", &format!("http://{round}")),
        );
        passed_over.push(app.repo.commit("more"));
        assert_eq!(app.push_webhook().await, 202);
    }
    drop(held);
    let reports = running.await.unwrap();
    let further = app.run_pending().await;
    assert_eq!(reports.len() + further.len(), 2);
    assert_eq!(
        upstream(&app.gateway.live_classic("ping").unwrap()),
        "http://4"
    );
    let runs = app.runs().await;
    let last = app.detail(Some(&runs[0].id)).await;
    assert_eq!(last.deliveries.len(), 5);
    let carried: Vec<&str> = last
        .run
        .commits
        .iter()
        .map(|commit| commit.id.as_str())
        .collect();
    assert_eq!(carried, passed_over);
    app.finish().await;
}

async fn repeated_and_replayed_deliveries_change_nothing(mode: Mode) {
    let app = shop(mode, "").await;
    let first = app.repo.head();
    app.repo
        .write("ping.json", classic("ping", "/ping/", "http://new"));
    app.push_well("second").await;
    app.gateway.clear_log();
    // The same delivery again, and an old push under a fresh id, as an attacker would replay it.
    let old = push_body(None, &first, "main");
    assert_eq!(app.send(&old, Some("delivery-0")).await, 202);
    assert_eq!(app.send(&old, None).await, 202);
    app.run_pending().await;
    assert!(app.writes().is_empty());
    assert_eq!(
        upstream(&app.gateway.live_classic("ping").unwrap()),
        "http://new"
    );
    let types = app.event_types().await;
    assert_eq!(
        types
            .iter()
            .filter(|name| *name == "delivery.accepted")
            .count(),
        3
    );
    app.finish().await;
}

async fn a_head_that_lags_behind_is_waited_for_and_a_branch_that_moved_back_is_followed(
    mode: Mode,
) {
    let mut app = shop(mode, "").await;
    let first = app.repo.head();
    app.repo
        .write("ping.json", classic("ping", "/ping/", "http://new"));
    let second = app.repo.commit("second");
    app.app.lag_patience = std::time::Duration::from_hours(1);
    // The webhook knows of the second commit while the host still answers with the first.
    app.repo.force_move(&first);
    app.send(&push_body(Some(&first), &second, "main"), None)
        .await;
    let reports = app.run_pending().await;
    assert_eq!(reports.len(), 1);
    assert!(reports[0].message.as_ref().unwrap().contains("still names"));
    assert_eq!(app.runs().await.len(), 1);
    app.repo.force_move(&second);
    app.forget_backoff().await;
    app.run_pending().await;
    assert_eq!(
        upstream(&app.gateway.live_classic("ping").unwrap()),
        "http://new"
    );
    // The branch moves back, and says so.
    app.repo.force_move(&first);
    app.send(&push_body(Some(&second), &first, "main"), None)
        .await;
    let reports = app.run_pending().await;
    assert_eq!(reports[0].status, RunStatus::Succeeded);
    assert_eq!(
        upstream(&app.gateway.live_classic("ping").unwrap()),
        "http://ping"
    );
    app.finish().await;
}

async fn a_push_that_concerns_no_stack_is_recorded_as_ignored(mode: Mode) {
    let app = shop(mode, "").await;
    let head = app.repo.head();
    assert_eq!(
        app.send(&push_body(None, &head, "another-branch"), None)
            .await,
        202
    );
    assert!(app.run_pending().await.is_empty());
    assert_eq!(app.event_types().await.last().unwrap(), "delivery.ignored");
    app.finish().await;
}

async fn a_gateway_that_refuses_or_fails_loses_nothing(mode: Mode) {
    let app = shop(mode, "").await;
    app.repo
        .write("ping.json", classic("ping", "/ping/", "http://new"))
        .remove("orders.json");
    app.repo.commit("second");
    app.push_webhook().await;
    for status in [403, 500, 401] {
        app.gateway.clear_log();
        app.gateway
            .faults()
            .answer(status, 2, |asked| asked.path == "/tyk/apis");
        for _ in 0..2 {
            app.forget_backoff().await;
            let reports = app.run_pending().await;
            assert_eq!(reports.len(), 1, "{status}");
            assert!(reports[0].again_at.is_some());
        }
        assert!(app.writes().is_empty(), "{status}");
        app.gateway.faults().clear();
    }
    // Each failure is on record once, not each try.
    let failed: Vec<_> = app
        .runs()
        .await
        .into_iter()
        .filter(|run| run.status == RunStatus::Failed)
        .collect();
    assert_eq!(failed.len(), 3);
    assert!(
        failed
            .iter()
            .all(|run| !run.message.as_ref().unwrap().contains(GATEWAY_SECRET))
    );
    app.forget_backoff().await;
    let reports = app.run_pending().await;
    assert_eq!(reports[0].status, RunStatus::Succeeded);
    assert_eq!(app.gateway.live_ids(), ["ping"]);
    app.finish().await;
}

async fn an_empty_list_is_not_believed(mode: Mode) {
    let app = shop(mode, "").await;
    app.gateway.clear_log();
    app.gateway.faults().empty_list(1);
    app.repo.write("README.md", "words");
    app.push_well("words").await;
    assert!(app.writes().is_empty());
    app.finish().await;
}

async fn a_revert_that_was_repaired_is_still_seen_as_drift(mode: Mode) {
    let app = shop(mode, "drift = \"revert\"").await;
    by_hand(&app, "ping", "http://by-hand").await;
    schedule::drift(&app.app, "production").await.unwrap();
    // The gateway does not load what Git says, and what was there before is put back.
    app.gateway.faults().lose("ping");
    let mut reached = app.gateway.faults().hang(1, |asked| {
        let mut windows = asked.body.windows(14);
        asked.method == "POST" && windows.any(|window| window == b"http://by-hand")
    });
    let running = {
        let app = app.app.clone();
        tokio::spawn(async move { worker::run_pending(&app).await.unwrap() })
    };
    reached.reached(1).await;
    app.gateway.faults().clear();
    drop(reached);
    let reports = running.await.unwrap();
    assert_eq!(reports[0].changes[0].outcome, Outcome::Repaired);
    assert_eq!(
        upstream(&app.gateway.live_classic("ping").unwrap()),
        "http://by-hand"
    );
    let found = schedule::drift(&app.app, "production").await.unwrap();
    assert_eq!(
        found[0].changes().len(),
        1,
        "it is no news that it should be so"
    );
    app.run_pending().await;
    assert_eq!(
        upstream(&app.gateway.live_classic("ping").unwrap()),
        "http://ping"
    );
    app.finish().await;
}

async fn an_update_that_takes_an_api_down_is_put_back(mode: Mode) {
    let app = shop(mode, "").await;
    app.repo
        .write("ping.json", classic("ping", "/ping/", "http://new"))
        .write("extra.json", classic("extra", "/extra/", "http://extra"));
    app.gateway.faults().lose("ping");
    app.repo.commit("bad");
    app.push_webhook().await;
    // The gateway accepts the update and does not load it; once the previous body is put back it
    // loads again.
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
    let reports = running.await.unwrap();
    assert_eq!(reports[0].status, RunStatus::Failed);
    let detail = app.detail(reports[0].run.as_ref()).await;
    let outcome = |id: &str| {
        detail
            .changes
            .iter()
            .find(|change| change.object.id == id)
            .unwrap()
            .outcome
    };
    assert_eq!(outcome("ping"), Outcome::Repaired);
    assert_eq!(outcome("extra"), Outcome::Applied);
    assert_eq!(
        upstream(&app.gateway.live_classic("ping").unwrap()),
        "http://ping"
    );
    assert_eq!(app.gateway.live_ids(), ["extra", "orders", "ping"]);
    assert!(
        app.event_types()
            .await
            .contains(&"change.repaired".to_owned())
    );
    // The next push tries again, from what is really there.
    app.repo.write("README.md", "words");
    app.push_well("words").await;
    assert_eq!(
        upstream(&app.gateway.live_classic("ping").unwrap()),
        "http://new"
    );
    app.finish().await;
}

async fn a_write_without_an_answer_is_resolved(mode: Mode) {
    let app = shop(mode, "").await;
    for (round, arrives) in [(0, true), (1, false)] {
        let target = format!("http://new-{round}");
        app.repo
            .write("ping.json", classic("ping", "/ping/", &target));
        app.repo.commit("new");
        app.push_webhook().await;
        let is_post = |asked: &lockstep::sandbox::gateway::Asked<'_>| asked.method == "POST";
        if arrives {
            app.gateway.faults().reset_after(1, is_post);
        } else {
            app.gateway.faults().reset(1, is_post);
        }
        let reports = app.run_pending().await;
        assert_eq!(reports.len(), 1);
        let outcome = reports[0].changes[0].outcome;
        let expected = if arrives {
            Outcome::Applied
        } else {
            Outcome::Failed
        };
        assert_eq!(outcome, expected, "{:?}", reports[0].message);
        app.forget_backoff().await;
        app.run_pending().await;
        assert_eq!(upstream(&app.gateway.live_classic("ping").unwrap()), target);
        assert!(
            app.app
                .store
                .open_runs("production")
                .await
                .unwrap()
                .is_empty()
        );
    }
    app.finish().await;
}

async fn a_second_worker_waits_for_the_first(mode: Mode) {
    let app = shop(mode, "").await;
    let second = app.another_worker().await;
    let holding = Holding::take(&app.app.store, "production", "first")
        .await
        .unwrap()
        .unwrap();
    app.repo
        .write("ping.json", classic("ping", "/ping/", "http://new"));
    app.repo.commit("second");
    app.push_webhook().await;
    worker::take_messages(&second, std::time::Duration::from_secs(2))
        .await
        .unwrap();
    app.gateway.clear_log();
    assert!(
        worker::serve_target(&second, "production")
            .await
            .unwrap()
            .is_empty()
    );
    assert!(app.gateway.log().is_empty());
    // Who lets go is told of the work that was left to it.
    let waiting = holding.release().await.unwrap();
    assert_eq!(waiting.len(), 1);
    let reports = worker::serve_target(&second, "production").await.unwrap();
    assert_eq!(reports.len(), 1);
    second.store.close().await;
    app.finish().await;
}

async fn a_lost_lease_writes_no_history(mode: Mode) {
    let app = shop(mode, "").await;
    app.repo
        .write("ping.json", classic("ping", "/ping/", "http://new"));
    app.repo.commit("second");
    app.push_webhook().await;
    let mut held = app
        .gateway
        .faults()
        .hang(1, |asked| asked.path == "/tyk/reload");
    let running = {
        let app = app.app.clone();
        tokio::spawn(async move { worker::run_pending(&app).await })
    };
    held.reached(1).await;
    let before = app.event_types().await.len();
    // Another worker takes the target over while the first one stands still.
    app.sql("update lease set owner = 'somebody else', fence = fence + 1")
        .await;
    drop(held);
    assert!(running.await.unwrap().is_err(), "the worker must notice");
    assert_eq!(app.event_types().await.len(), before);
    let open = app.app.store.open_runs("production").await.unwrap();
    assert_eq!(open.len(), 1);
    // Its lease ends, and the next holder resolves what is open.
    app.sql("update lease set until = 0").await;
    app.run_pending().await;
    assert!(
        app.app
            .store
            .open_runs("production")
            .await
            .unwrap()
            .is_empty()
    );
    let types = app.event_types().await;
    assert!(types.contains(&"change.resolved".to_owned()));
    assert_eq!(
        upstream(&app.gateway.live_classic("ping").unwrap()),
        "http://new"
    );
    app.finish().await;
}

async fn the_sweep_finds_a_head_that_nobody_announced_and_does_not_repeat_a_refused_one(
    mode: Mode,
) {
    let app = shop(mode, "").await;
    let stacks: Vec<_> = app.app.stacks.values().cloned().collect();
    assert!(schedule::sweep(&app.app, &stacks).await.unwrap().is_empty());
    app.repo
        .write("ping.json", classic("ping", "/ping/", "http://new"));
    app.repo.commit("unannounced");
    assert_eq!(schedule::sweep(&app.app, &stacks).await.unwrap(), ["shop"]);
    let reports = app.run_pending().await;
    assert_eq!(
        app.detail(reports[0].run.as_ref()).await.run.trigger,
        Trigger::Sweep
    );
    assert_eq!(
        upstream(&app.gateway.live_classic("ping").unwrap()),
        "http://new"
    );
    app.repo.write("bad.yaml", "api_id: [\n");
    app.repo.commit("bad");
    assert_eq!(schedule::sweep(&app.app, &stacks).await.unwrap(), ["shop"]);
    assert_eq!(app.run_pending().await[0].status, RunStatus::Refused);
    assert!(schedule::sweep(&app.app, &stacks).await.unwrap().is_empty());
    app.finish().await;
}

async fn an_object_that_vanishes_beside_the_change_is_looked_for_again(mode: Mode) {
    let app = shop(mode, "").await;
    app.gateway.faults().lose("orders");
    app.repo
        .write("ping.json", classic("ping", "/ping/", "http://new"));
    app.gateway.clear_log();
    let report = app.push_well("second").await;
    assert_eq!(report.changes.len(), 1);
    let reloads = app
        .gateway
        .log()
        .iter()
        .filter(|seen| seen.is_reload())
        .count();
    assert_eq!(
        reloads, 2,
        "something that was live is not: the reload is asked for once more"
    );
    app.gateway.faults().clear();
    app.gateway.reload_now().await;
    app.finish().await;
}

/// Every sample that can be translated, in as few commits as their ids and paths allow.
pub fn batches_of_samples(shared: &Path) -> Vec<Vec<SourceFile>> {
    let mut paths = Vec::new();
    let mut folders = vec![
        shared.join("samples/manifests"),
        shared.join("samples/gateway/roundtrip"),
    ];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if !path.starts_with(shared.join("samples/gateway"))
                || name.ends_with(".posted.json")
            {
                paths.push(path);
            }
        }
    }
    paths.sort();
    let translates = |files: &[SourceFile]| {
        manifest::read(files, &manifest::Options::default())
            .is_ok_and(|read| !read.desired.is_empty())
    };
    let file = |number: usize, path: &PathBuf| SourceFile {
        path: format!(
            "{number:03}.{}",
            path.extension().unwrap().to_string_lossy()
        ),
        bytes: std::fs::read(path).unwrap(),
    };
    // What refers to each other stands together, and every file by itself as well.
    let together = [
        "ingress-httpbin/",
        "ingress-multi/",
        "ingress-wildcard-host/",
        "create-an-api.mdx.L1480",
        "federation/",
    ];
    let is_example = |path: &&(usize, &PathBuf)| !path.1.to_string_lossy().contains("README");
    let numbered: Vec<(usize, &PathBuf)> = paths.iter().enumerate().collect();
    let groups = together.iter().map(|part| {
        let own = numbered
            .iter()
            .filter(|(_, path)| path.to_string_lossy().contains(part));
        let own = own.filter(is_example);
        own.map(|(number, path)| file(*number, path)).collect()
    });
    let groups: Vec<Vec<SourceFile>> = groups.collect();
    for (group, part) in groups.iter().zip(together) {
        assert!(translates(group), "{part}");
    }
    let single = numbered
        .iter()
        .map(|(number, path)| vec![file(*number, path)])
        .filter(|files| translates(files));
    let mut batches: Vec<Vec<SourceFile>> = Vec::new();
    for files in single.chain(groups) {
        let has_room = batches.iter_mut().find(|batch| {
            let is_new = files
                .iter()
                .all(|file| batch.iter().all(|other| other.path != file.path));
            let with = [batch.as_slice(), files.as_slice()].concat();
            is_new && translates(&with)
        });
        match has_room {
            Some(batch) => batch.extend(files),
            None => batches.push(files),
        }
    }
    batches
}

#[tokio::test]
#[ignore = "needs ../shared; tests/run has it"]
async fn after_a_run_a_plan_of_every_accepted_sample_is_empty() {
    let Some(shared) = crate::support::shared() else {
        return;
    };
    let batches = batches_of_samples(&shared);
    let files: usize = batches.iter().map(Vec::len).sum();
    assert_eq!(files, 121);
    let mut not_loaded = Vec::new();
    for batch in &batches {
        let app = TestApp::start(Mode::Embedded).await;
        for file in batch {
            app.repo.write(&file.path, &file.bytes);
        }
        let report = app.push("samples").await;
        for change in &report.changes {
            if change.outcome != Outcome::Applied {
                not_loaded.push(change.object.to_string());
            }
        }
        app.app
            .store
            .want(&app.app.stack("shop").unwrap().id(), Trigger::Manual)
            .await
            .unwrap();
        let again = app.run_pending().await;
        for change in &again[0].changes {
            assert!(
                not_loaded.contains(&change.object.to_string()),
                "{change:#?}"
            );
        }
        app.finish().await;
    }
    // It names a bundle of plugins and no server that has it: no gateway loads it.
    assert_eq!(not_loaded, ["classic/1"]);
}
