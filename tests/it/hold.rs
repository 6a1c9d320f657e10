//! Holds, rollbacks and freeze windows: what waits, what it is told, and what goes live afterwards.

use lockstep::{
    app::App,
    domain::{
        audit::person::Names,
        run::{RunStatus, Trigger},
    },
    store::Hold,
    sync::{
        hold::{self, HoldError},
        lease::Holding,
        ownership::Wish,
        run::{self, Report},
        schedule, worker,
    },
};
use serde_json::{Value, json};

use crate::support::app::{Mode, TestApp, asker, classic, frozen_today, upstream};

crate::in_both_modes! {
    pushes_behind_a_hold_wait_and_the_run_after_it_names_them_all,
    a_hold_that_runs_out_is_ended_once_and_what_waited_goes_live,
    a_hold_with_nothing_behind_it_ends_without_a_run,
    a_held_stack_can_be_held_longer_and_a_run_by_hand_is_refused,
    a_rollback_applies_an_earlier_revision_and_holds_the_stack_there,
    a_rollback_to_what_nobody_knows_or_what_is_refused_changes_nothing,
    a_rollback_that_deletes_too_much_is_held_back,
    a_rollback_that_died_is_finished_at_its_revision,
    what_a_dead_worker_left_open_is_resolved_under_a_hold_and_in_a_freeze_window,
    drift_under_a_hold_is_told_once_and_not_put_back,
    a_push_inside_a_freeze_window_waits_and_goes_live_when_it_ends,
    a_freeze_window_is_overridden_with_a_reason_and_by_a_rollback,
    the_sweep_adds_nothing_to_what_waits,
    a_person_who_is_erased_is_not_named_by_a_hold,
}

const MINUTE: i64 = 60_000_000;

fn wish(reason: &str) -> Wish {
    Wish {
        by: asker("grace"),
        reason: reason.to_owned(),
    }
}

/// One API, live.
async fn shop(mode: Mode, lines: &str) -> TestApp {
    let app = TestApp::with_stack(mode, lines).await;
    write(&app, "http://one");
    app.push_well("one").await;
    app
}

fn write(app: &TestApp, target: &str) {
    app.repo
        .write("ping.json", classic("ping", "/ping/", target));
}

fn live(app: &TestApp) -> String {
    upstream(&app.gateway.live_classic("ping").unwrap()).to_owned()
}

async fn held(app: &TestApp, until: Option<i64>) -> Hold {
    let stack = app.app.stack("shop").unwrap();
    hold::hold(&app.app, stack, until, wish("a fair"))
        .await
        .unwrap()
}

async fn release(app: &TestApp) -> Vec<String> {
    let stack = app.app.stack("shop").unwrap();
    hold::release(&app.app, stack, Some("it is over"), &wish("").by)
        .await
        .unwrap()
        .waited
}

async fn roll_back(app: &App, to: &str) -> Result<Report, HoldError> {
    let stack = app.stack("shop").unwrap();
    let holding = Holding::take(&app.store, &stack.target.name, &app.worker)
        .await
        .unwrap()
        .unwrap();
    let done = async {
        let revision = hold::find_revision(app, stack, to).await?;
        hold::roll_back(
            app,
            &holding,
            stack,
            &revision,
            wish("it broke"),
            &run::silent,
        )
        .await
    }
    .await;
    holding.release().await.unwrap();
    done
}

/// The payloads of all events of one type.
async fn told(app: &TestApp, event_type: &str) -> Vec<Value> {
    app.events()
        .await
        .into_iter()
        .filter(|(header, _)| header.event_type == event_type)
        .map(|(_, event)| serde_json::from_str(&event.payload).unwrap())
        .collect()
}

async fn pushes_behind_a_hold_wait_and_the_run_after_it_names_them_all(mode: Mode) {
    let app = shop(mode, "").await;
    held(&app, None).await;
    app.gateway.clear_log();
    let mut commits = Vec::new();
    for number in 0..3 {
        write(&app, &format!("http://later-{number}"));
        commits.push(app.repo.commit("later"));
        assert_eq!(app.push_webhook().await, 202);
        assert!(app.run_pending().await.is_empty());
    }
    assert!(app.gateway.log().is_empty(), "the gateway is left alone");
    let metrics = reqwest::get(app.url("/metrics")).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    for line in [
        "lockstep_stack_held{stack=\"shop\"} 1",
        "lockstep_stack_frozen{stack=\"shop\"} 0",
        "lockstep_oldest_unsettled_push_seconds 0.0",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    assert_eq!(app.runs().await.len(), 1);
    assert_eq!(told(&app, "delivery.accepted").await.len(), 4);

    let waited = release(&app).await;
    assert_eq!(
        waited,
        [
            "acme/7/delivery-1",
            "acme/7/delivery-2",
            "acme/7/delivery-3"
        ]
    );
    let reports = app.run_pending().await;
    assert_eq!(reports.len(), 1);
    assert_eq!(live(&app), "http://later-2");
    let run = app.detail(reports[0].run.as_ref()).await;
    assert_eq!(run.run.trigger, Trigger::Push);
    let carried: Vec<&str> = run
        .run
        .commits
        .iter()
        .map(|commit| commit.id.as_str())
        .collect();
    assert_eq!(carried, commits);
    let ended = told(&app, "hold.ended").await;
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0]["waited"], json!(waited));
    assert_eq!(ended[0]["held_for"], "a fair");
    assert_eq!(ended[0]["reason"], "it is over");
    assert_eq!(told(&app, "stack.held").await[0]["reason"], "a fair");
    app.finish().await;
}

async fn a_hold_that_runs_out_is_ended_once_and_what_waited_goes_live(mode: Mode) {
    let app = shop(mode, "").await;
    held(&app, Some(app.app.now() + MINUTE)).await;
    write(&app, "http://two");
    app.repo.commit("two");
    app.push_webhook().await;
    assert!(app.run_pending().await.is_empty());
    app.sql("update stack_state set hold_until = 1").await;
    let other = app.another_worker().await;
    let (mine, others) = tokio::join!(worker::run_pending(&app.app), worker::run_pending(&other));
    assert_eq!(mine.unwrap().len() + others.unwrap().len(), 1);
    assert_eq!(live(&app), "http://two");
    let ended = told(&app, "hold.ended").await;
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0]["because"], "it ran out");
    assert_eq!(ended[0]["waited"], json!(["acme/7/delivery-1"]));
    assert!(app.state("shop").await.hold.is_none());
    other.store.close().await;
    app.finish().await;
}

async fn a_hold_with_nothing_behind_it_ends_without_a_run(mode: Mode) {
    let app = shop(mode, "").await;
    held(&app, Some(app.app.now() + MINUTE)).await;
    app.sql("update stack_state set hold_until = 1").await;
    app.gateway.clear_log();
    assert!(app.run_pending().await.is_empty());
    assert_eq!(told(&app, "hold.ended").await.len(), 1);
    held(&app, None).await;
    assert!(release(&app).await.is_empty());
    assert!(app.run_pending().await.is_empty());
    assert!(app.gateway.log().is_empty());
    app.finish().await;
}

async fn a_held_stack_can_be_held_longer_and_a_run_by_hand_is_refused(mode: Mode) {
    let app = shop(mode, "").await;
    let first = held(&app, Some(app.app.now() + MINUTE)).await;
    let second = held(&app, None).await;
    assert_eq!(app.state("shop").await.hold, Some(second.clone()));
    assert_eq!((second.since, second.until), (first.since, None));
    assert_eq!(
        told(&app, "stack.held").await[1]["was_held_since"],
        first.since
    );
    let stack = app.app.stack("shop").unwrap();
    let refused = hold::permit(&app.app, stack, Some(&wish("now"))).await;
    let said = refused.unwrap_err().to_string();
    for part in [
        "shop is held since",
        "until it is released, by grace: a fair",
        "lockstep release-hold shop",
    ] {
        assert!(said.contains(part), "{said}");
    }
    // A hold that ran out refuses nobody.
    app.sql("update stack_state set hold_until = 1").await;
    hold::permit(&app.app, stack, None).await.unwrap();
    assert_eq!(told(&app, "hold.ended").await.len(), 1);
    let refused = hold::release(&app.app, stack, None, &wish("").by).await;
    assert_eq!(refused.unwrap_err().to_string(), "shop is not held");
    app.finish().await;
}

async fn a_rollback_applies_an_earlier_revision_and_holds_the_stack_there(mode: Mode) {
    let app = shop(mode, "").await;
    let first = app.repo.head();
    write(&app, "http://two");
    app.push_well("two").await;
    let report = roll_back(&app.app, &first[..8]).await.unwrap();
    assert_eq!(report.status, RunStatus::Succeeded);
    assert_eq!(live(&app), "http://one");
    let run = app.detail(report.run.as_ref()).await.run;
    assert_eq!(run.trigger, Trigger::Rollback);
    assert_eq!(run.revision.unwrap().as_str(), first);
    assert_eq!(
        app.state("shop").await.settled.unwrap().as_str(),
        first,
        "what drift is measured against"
    );
    let found = schedule::drift(&app.app, "production").await.unwrap();
    assert!(found[0].changes().is_empty());
    assert_eq!(
        told(&app, "stack.rolled-back").await[0]["reason"],
        "it broke"
    );

    // What is pushed now waits; the sweep sees the head and waits too.
    write(&app, "http://three");
    app.repo.commit("three");
    app.push_webhook().await;
    assert!(app.run_pending().await.is_empty());
    assert_eq!(live(&app), "http://one");
    assert_eq!(release(&app).await, ["acme/7/delivery-2"]);
    let reports = app.run_pending().await;
    assert_eq!(reports.len(), 1);
    assert_eq!(live(&app), "http://three");

    // The head is wanted after a rollback also when nobody pushed.
    let report = roll_back(&app.app, &first).await.unwrap();
    assert_eq!(report.status, RunStatus::Succeeded);
    assert_eq!(live(&app), "http://one");
    assert!(release(&app).await.is_empty());
    assert_eq!(app.run_pending().await.len(), 1);
    assert_eq!(live(&app), "http://three");
    app.finish().await;
}

async fn a_rollback_to_what_nobody_knows_or_what_is_refused_changes_nothing(mode: Mode) {
    let app = shop(mode, "").await;
    app.repo.write("bad.json", "{\"api_id\": 7");
    let bad = app.repo.commit("bad");
    app.repo.remove("bad.json");
    write(&app, "http://two");
    app.push_well("two").await;
    let before = app.events().await.len();
    app.gateway.clear_log();
    let zeros = "0".repeat(40);
    for (to, said) in [
        ("main", "a revision is a commit id"),
        ("abc", "4 at least"),
        (
            "0123abcd",
            "no run of shop was at a revision that begins with 0123abcd",
        ),
        (&bad[..12], "no run of shop"),
        (&zeros, "does not have the commit"),
        (&bad, "bad.json"),
    ] {
        let error = roll_back(&app.app, to).await.unwrap_err().to_string();
        assert!(error.contains(said), "{to}: {error}");
    }
    assert!(app.state("shop").await.hold.is_none());
    assert!(app.gateway.log().is_empty());
    assert_eq!(app.events().await.len(), before);
    // A full id that no run was at is taken when Git has it.
    app.repo.write("README.md", "words");
    let unseen = app.repo.commit("unseen");
    app.repo.write("README.md", "other words");
    app.repo.commit("seen");
    let report = roll_back(&app.app, &unseen).await.unwrap();
    assert_eq!(report.status, RunStatus::Succeeded);
    app.finish().await;
}

async fn a_rollback_that_deletes_too_much_is_held_back(mode: Mode) {
    let app = shop(mode, "").await;
    let first = app.repo.head();
    for number in 0..4 {
        let name = format!("more-{number}");
        let api = classic(&name, &format!("/{name}/"), "http://more");
        app.repo.write(&format!("{name}.json"), api);
    }
    write(&app, "http://two");
    app.push_well("more").await;
    let report = roll_back(&app.app, &first).await.unwrap();
    assert_eq!(report.status, RunStatus::Parked);
    assert_eq!(live(&app), "http://one", "the rest goes live");
    assert_eq!(app.gateway.live_ids().len(), 5);
    // An approval is carried out at once, and at the revision of the rollback.
    let stack = app.app.stack("shop").unwrap();
    app.app
        .store
        .want(&stack.id(), Trigger::Approval)
        .await
        .unwrap();
    let reports = app.run_pending().await;
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].revision.as_ref().unwrap().as_str(), first);
    assert!(app.run_pending().await.is_empty());
    app.finish().await;
}

async fn a_rollback_that_died_is_finished_at_its_revision(mode: Mode) {
    let app = shop(mode, "").await;
    let first = app.repo.head();
    write(&app, "http://two");
    app.push_well("two").await;
    // Asked for, and no more than that.
    let stack = app.app.stack("shop").unwrap();
    let new = lockstep::store::NewHold {
        at: app.app.now(),
        until: None,
        reason: "it broke".to_owned(),
        by: wish("").by.person,
    };
    app.app
        .store
        .roll_back(&stack.id(), &new, &first.parse().unwrap(), &[])
        .await
        .unwrap();
    write(&app, "http://three");
    app.repo.commit("three");
    app.push_webhook().await;
    // Inside a freeze window too: it has its reason.
    let frozen = app.reconfigured(&frozen_today()).await;
    let reports = worker::run_pending(&frozen).await.unwrap();
    assert_eq!(reports.len(), 1);
    assert_eq!(live(&app), "http://one");
    let run = app.detail(reports[0].run.as_ref()).await;
    assert_eq!(run.run.trigger, Trigger::Rollback);
    assert!(run.deliveries.is_empty(), "what came later waits");

    // A gateway that does not answer: it is tried again, at that revision.
    app.gateway
        .faults()
        .answer(500, 1, |asked| asked.path == "/tyk/apis");
    let second = app.runs().await[1].revision.clone().unwrap();
    let report = roll_back(&app.app, second.as_str()).await.unwrap();
    assert_eq!(report.status, RunStatus::Failed);
    app.forget_backoff().await;
    assert_eq!(app.run_pending().await.len(), 1);
    assert_eq!(live(&app), "http://two");
    // What waited when it was asked for was passed over by it, and is named there.
    let run = app.detail(Some(&app.runs().await[0].id)).await;
    assert_eq!(run.run.trigger, Trigger::Rollback);
    assert_eq!(run.deliveries.len(), 1);
    assert!(release(&app).await.is_empty());
    app.run_pending().await;
    assert_eq!(live(&app), "http://three");
    frozen.store.close().await;
    app.finish().await;
}

async fn what_a_dead_worker_left_open_is_resolved_under_a_hold_and_in_a_freeze_window(mode: Mode) {
    let app = shop(mode, "").await;
    for (url, frozen) in [("http://two", false), ("http://three", true)] {
        write(&app, url);
        app.repo.commit(url);
        app.push_webhook().await;
        // The worker loses its target between the write and the record.
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
        assert_eq!(
            app.app.store.open_runs("production").await.unwrap().len(),
            1
        );
        let worker = if frozen {
            app.reconfigured(&frozen_today()).await
        } else {
            held(&app, None).await;
            app.another_worker().await
        };
        assert!(worker::run_pending(&worker).await.unwrap().is_empty());
        assert!(
            app.app
                .store
                .open_runs("production")
                .await
                .unwrap()
                .is_empty()
        );
        assert_eq!(live(&app), url);
        assert_eq!(app.runs().await[0].status, RunStatus::Interrupted);
        worker.store.close().await;
        if !frozen {
            release(&app).await;
        }
        assert_eq!(app.run_pending().await.len(), 1);
    }
    app.finish().await;
}

async fn drift_under_a_hold_is_told_once_and_not_put_back(mode: Mode) {
    let app = shop(mode, "drift = \"revert\"").await;
    held(&app, None).await;
    write(&app, "http://two");
    app.repo.commit("two");
    app.push_webhook().await;
    app.run_pending().await;
    let mut body = app.gateway.live_classic("ping").unwrap();
    body["proxy"]["target_url"] = json!("http://by-hand");
    app.gateway.put_api_by_hand(&body);
    app.gateway.reload_now().await;
    for _ in 0..2 {
        let found = schedule::drift(&app.app, "production").await.unwrap();
        assert_eq!(found[0].changes().len(), 1);
    }
    assert!(app.run_pending().await.is_empty());
    assert_eq!(live(&app), "http://by-hand");
    assert_eq!(app.state("shop").await.drifted, 1);
    assert_eq!(told(&app, "drift.observed").await.len(), 1);
    release(&app).await;
    app.run_pending().await;
    assert_eq!(live(&app), "http://two");
    app.finish().await;
}

async fn a_push_inside_a_freeze_window_waits_and_goes_live_when_it_ends(mode: Mode) {
    let app = shop(mode, "drift = \"revert\"").await;
    let lines = format!("drift = \"revert\"\n{}", frozen_today());
    let mut frozen = app.reconfigured(&lines).await;
    let runs = app.runs().await.len();
    app.gateway.clear_log();
    for url in ["http://two", "http://three"] {
        write(&app, url);
        app.repo.commit(url);
        app.push_webhook().await;
        assert!(worker::run_pending(&frozen).await.unwrap().is_empty());
    }
    let stacks: Vec<_> = frozen.stacks.values().cloned().collect();
    assert!(schedule::sweep(&frozen, &stacks).await.unwrap().is_empty());
    let found = schedule::drift(&frozen, "production").await.unwrap();
    assert_eq!(found.len(), 1, "drift is told of");
    assert!(worker::run_pending(&frozen).await.unwrap().is_empty());
    assert_eq!(app.runs().await.len(), runs, "no run is on record for it");
    assert!(app.writes().is_empty());
    let stack = frozen.stack("shop").unwrap();
    let said = hold::permit(&frozen, stack, None)
        .await
        .unwrap_err()
        .to_string();
    assert!(said.contains("shop is frozen until "), "{said}");
    assert!(
        said.contains("lockstep sync shop --override-freeze REASON"),
        "{said}"
    );

    // Three days later nobody has to do anything.
    frozen.clock = || lockstep::app::now() + 3 * 24 * 60 * MINUTE;
    let reports = worker::run_pending(&frozen).await.unwrap();
    assert_eq!(reports.len(), 1);
    assert_eq!(live(&app), "http://three");
    let run = app.detail(reports[0].run.as_ref()).await;
    assert_eq!(run.deliveries.len(), 2);
    frozen.store.close().await;
    app.finish().await;
}

async fn a_freeze_window_is_overridden_with_a_reason_and_by_a_rollback(mode: Mode) {
    let app = shop(mode, "").await;
    let first = app.repo.head();
    write(&app, "http://two");
    app.push_well("two").await;
    let stack = app.app.stack("shop").unwrap();
    hold::permit(&app.app, stack, Some(&wish("no need")))
        .await
        .unwrap();
    assert!(told(&app, "freeze.overridden").await.is_empty());

    let frozen = app.reconfigured(&frozen_today()).await;
    let stack = frozen.stack("shop").unwrap();
    hold::permit(&frozen, stack, Some(&wish("checkout is down")))
        .await
        .unwrap();
    let report = roll_back(&frozen, &first).await.unwrap();
    assert_eq!(report.status, RunStatus::Succeeded);
    assert_eq!(live(&app), "http://one");
    let reasons: Vec<Value> = told(&app, "freeze.overridden")
        .await
        .into_iter()
        .map(|told| told["reason"].clone())
        .collect();
    assert_eq!(reasons, ["checkout is down", "it broke"]);
    let named = app.events().await.into_iter().any(|(header, event)| {
        header.event_type == "freeze.overridden"
            && event
                .people
                .iter()
                .any(|person| person.value.contains("grace"))
    });
    assert!(named);
    frozen.store.close().await;
    app.finish().await;
}

async fn the_sweep_adds_nothing_to_what_waits(mode: Mode) {
    let app = shop(mode, "").await;
    held(&app, None).await;
    write(&app, "http://two");
    app.repo.commit("nobody announced it");
    let stacks: Vec<_> = app.app.stacks.values().cloned().collect();
    assert_eq!(schedule::sweep(&app.app, &stacks).await.unwrap(), ["shop"]);
    let wanted = app.state("shop").await.wanted;
    for _ in 0..2 {
        assert!(schedule::sweep(&app.app, &stacks).await.unwrap().is_empty());
        assert!(app.run_pending().await.is_empty());
    }
    assert_eq!(app.state("shop").await.wanted, wanted);
    release(&app).await;
    assert_eq!(app.run_pending().await.len(), 1);
    assert_eq!(live(&app), "http://two");
    app.finish().await;
}

async fn a_person_who_is_erased_is_not_named_by_a_hold(mode: Mode) {
    let app = shop(mode, "").await;
    held(&app, None).await;
    let event = app.app.event(
        lockstep::domain::audit::event::EventType::PersonErased,
        lockstep::domain::audit::event::Actor::new("cli", "test"),
        json!({}),
    );
    let owner = app.as_owner().await;
    owner
        .store
        .erase_person(&Names::only("Grace"), &event)
        .await
        .unwrap();
    let hold = app.state("shop").await.hold.unwrap();
    assert_eq!(hold.by, None);
    let said = hold::held(app.app.stack("shop").unwrap(), &hold);
    assert!(said.contains("by somebody"), "{said}");
    app.finish().await;
}
