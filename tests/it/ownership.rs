//! Whose an object is, and that nobody else's hand is on it: adopting, releasing, moving between
//! stacks, and what leaves Git without being meant to.

use lockstep::{
    domain::{
        object::ObjectKey,
        run::{Action, RunStatus},
    },
    sync::{
        lease::Holding,
        ownership::{self, OwnershipError, Wish},
        run::Report,
        schedule,
    },
};
use serde_json::{Value, json};

use crate::support::app::{Mode, TestApp, asker, classic, upstream};

crate::in_both_modes! {
    a_differing_foreign_object_is_adopted_by_a_persons_word,
    adopting_what_git_does_not_describe_or_another_stack_owns_is_refused,
    a_released_object_is_left_alone_and_its_manifest_can_go,
    an_object_that_moves_between_stacks_in_one_push_is_never_gone,
    an_object_that_was_claimed_too_early_moves_when_the_other_lets_go,
    what_may_be_moving_to_refused_manifests_is_not_deleted,
    a_file_that_is_still_there_and_says_nothing_deletes_nothing,
    a_file_that_is_not_selected_any_more_deletes_nothing,
    a_protected_object_waits_for_an_approval,
    drift_can_wait_for_an_approval,
}

const TWO: &str = r#"path = "one"
[stack.second]
repository = "shop"
target = "production"
path = "two""#;

fn keys(names: &[&str]) -> Vec<ObjectKey> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn wish() -> Wish {
    Wish {
        by: asker("ada"),
        reason: "it was made by hand".to_owned(),
    }
}

async fn adopt(app: &TestApp, stack: &str, names: &[&str]) -> Result<Report, OwnershipError> {
    let stack = app.app.stack(stack).unwrap().clone();
    let holding = hold(app).await;
    let done = ownership::adopt(&app.app, &holding, &stack, &keys(names), wish()).await;
    holding.release().await.unwrap();
    done
}

async fn release(app: &TestApp, stack: &str, names: &[&str]) -> Result<Report, OwnershipError> {
    let stack = app.app.stack(stack).unwrap().clone();
    let holding = hold(app).await;
    let done = ownership::release(&app.app, &holding, &stack, &keys(names), wish()).await;
    holding.release().await.unwrap();
    done
}

async fn hold(app: &TestApp) -> Holding {
    Holding::take(&app.app.store, "production", "a person")
        .await
        .unwrap()
        .unwrap()
}

async fn by_hand(app: &TestApp, body: &str) {
    let mut body: Value = serde_json::from_str(body).unwrap();
    body["org_id"] = json!("default");
    app.gateway.put_api_by_hand(&body);
    app.gateway.reload_now().await;
}

/// Four APIs that keep the deletion budget out of the way.
fn others(app: &TestApp, folder: &str) {
    for id in ["k", "l", "m", "n"] {
        app.repo.write(
            &format!("{folder}{id}.json"),
            classic(id, &format!("/{id}/"), "http://other"),
        );
    }
}

async fn a_differing_foreign_object_is_adopted_by_a_persons_word(mode: Mode) {
    let app = TestApp::start(mode).await;
    by_hand(&app, &classic("a", "/a/", "http://by-hand")).await;
    app.repo.write("a.json", classic("a", "/a/", "http://git"));
    let parked = app.push("first").await;
    assert_eq!(parked.status, RunStatus::Parked);
    assert!(
        parked
            .message
            .unwrap()
            .contains("lockstep adopt shop classic/a --reason")
    );
    let report = adopt(&app, "shop", &["classic/a"]).await.unwrap();
    assert_eq!(report.changes[0].action, Action::Adopt);
    assert_eq!(
        upstream(&app.gateway.live_classic("a").unwrap()),
        "http://by-hand",
        "only the record has changed"
    );
    let reports = app.run_pending().await;
    assert_eq!(reports[0].status, RunStatus::Succeeded, "{reports:#?}");
    assert_eq!(
        upstream(&app.gateway.live_classic("a").unwrap()),
        "http://git"
    );
    let detail = app.detail(reports[0].run.as_ref()).await;
    let fields: Vec<String> = detail.changes[0]
        .fields
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        fields,
        ["~ /proxy/target_url: \"http://by-hand\" → \"http://git\""]
    );
    let events = app.events().await;
    let (_, adopted) = events
        .iter()
        .find(|(header, _)| header.event_type == "object.adopted")
        .unwrap();
    assert!(adopted.payload.contains("it was made by hand"));
    assert!(adopted.people[0].value.contains("ada"));
    app.finish().await;
}

async fn adopting_what_git_does_not_describe_or_another_stack_owns_is_refused(mode: Mode) {
    let app = TestApp::with_stack(mode, TWO).await;
    by_hand(&app, &classic("stray", "/stray/", "http://by-hand")).await;
    app.repo
        .write("one/a.json", classic("a", "/a/", "http://git"))
        .write("two/b.json", classic("b", "/b/", "http://git"))
        .write("two/c.json", classic("c", "/c/", "http://git"));
    app.repo.commit("first");
    app.push_webhook().await;
    app.run_pending().await;
    let before = app.runs().await.len();
    for (stack, object, said) in [
        ("shop", "classic/stray", "described by no manifest"),
        ("shop", "classic/b", "described by no manifest"),
        ("shop", "classic/a", "belongs to shop already"),
    ] {
        let error = adopt(&app, stack, &[object]).await.unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
    let error = release(&app, "second", &["classic/a", "classic/b"])
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "classic/a belongs to the stack shop");
    // Refused as a whole: b still belongs to it.
    release(&app, "second", &["classic/b"]).await.unwrap();
    assert_eq!(app.runs().await.len(), before + 1);
    app.finish().await;
}

async fn a_released_object_is_left_alone_and_its_manifest_can_go(mode: Mode) {
    let app = TestApp::start(mode).await;
    others(&app, "");
    app.repo.write("a.json", classic("a", "/a/", "http://git"));
    app.push_well("first").await;
    release(&app, "shop", &["classic/a"]).await.unwrap();
    app.gateway.clear_log();
    // Equal to its manifest, and still not taken over again.
    app.repo
        .write("a.json", classic("a", "/a/", "http://git-2"));
    let report = app.push("changed").await;
    assert_eq!(report.status, RunStatus::Parked);
    assert!(report.message.unwrap().contains("was released"));
    app.repo.remove("a.json");
    app.push_well("removed").await;
    assert!(app.writes().is_empty());
    assert_eq!(
        upstream(&app.gateway.live_classic("a").unwrap()),
        "http://git"
    );
    // The word has been kept; a manifest that comes back later is a new wish.
    app.repo.write("a.json", classic("a", "/a/", "http://git"));
    let report = app.push_well("back").await;
    assert_eq!(report.changes[0].action, Action::Adopt);
    app.finish().await;
}

async fn an_object_that_moves_between_stacks_in_one_push_is_never_gone(mode: Mode) {
    let app = TestApp::with_stack(mode, TWO).await;
    others(&app, "one/");
    app.repo
        .write("one/a.json", classic("a", "/a/", "http://git"))
        .write("two/b.json", classic("b", "/b/", "http://git"))
        .write("two/c.json", classic("c", "/c/", "http://git"));
    app.repo.commit("first");
    app.push_webhook().await;
    app.run_pending().await;
    app.gateway.clear_log();
    // One in each direction: whichever stack runs first, both are right.
    app.repo
        .remove("one/a.json")
        .remove("two/b.json")
        .write("two/a.json", classic("a", "/a/", "http://git"))
        .write("one/b.json", classic("b", "/b/", "http://git"));
    app.repo.commit("moved");
    app.push_webhook().await;
    let reports = app.run_pending().await;
    assert!(
        reports
            .iter()
            .all(|report| report.status == RunStatus::Succeeded),
        "{reports:#?}"
    );
    assert!(app.writes().is_empty(), "neither deleted nor made anew");
    let inventory = app.app.store.inventory("production", "").await.unwrap();
    assert_eq!(inventory[&keys(&["classic/a"])[0]].stack, "second");
    assert_eq!(inventory[&keys(&["classic/b"])[0]].stack, "shop");
    app.finish().await;
}

async fn an_object_that_was_claimed_too_early_moves_when_the_other_lets_go(mode: Mode) {
    let app = TestApp::with_stack(mode, TWO).await;
    others(&app, "one/");
    app.repo
        .write("one/a.json", classic("a", "/a/", "http://git"))
        .write("two/c.json", classic("c", "/c/", "http://git"));
    app.repo.commit("first");
    app.push_webhook().await;
    app.run_pending().await;
    app.repo
        .write("two/a.json", classic("a", "/a/", "http://git-2"));
    app.repo.commit("too early");
    app.push_webhook().await;
    app.run_pending().await;
    assert_eq!(
        app.state("second").await.last_status,
        Some(RunStatus::Parked)
    );
    app.repo.remove("one/a.json");
    app.repo.commit("let go");
    app.push_webhook().await;
    app.run_pending().await;
    assert_eq!(
        app.state("second").await.last_status,
        Some(RunStatus::Succeeded)
    );
    assert_eq!(
        upstream(&app.gateway.live_classic("a").unwrap()),
        "http://git-2"
    );
    assert!(app.writes().iter().all(|seen| seen.method != "DELETE"));
    app.finish().await;
}

async fn what_may_be_moving_to_refused_manifests_is_not_deleted(mode: Mode) {
    let app = TestApp::with_stack(mode, TWO).await;
    others(&app, "one/");
    app.repo
        .write("one/a.json", classic("a", "/a/", "http://git"))
        .write("two/c.json", classic("c", "/c/", "http://git"));
    app.repo.commit("first");
    app.push_webhook().await;
    app.run_pending().await;
    app.repo
        .remove("one/a.json")
        .write("two/a.json", classic("a", "/a/", "http://git"))
        .write("two/broken.json", "{\"api_id\": \"x\", ");
    app.repo.commit("moved, with a mistake");
    app.push_webhook().await;
    app.run_pending().await;
    assert_eq!(app.state("shop").await.last_status, Some(RunStatus::Parked));
    assert!(app.gateway.live_classic("a").is_some());
    app.repo.remove("two/broken.json");
    app.repo.commit("mended");
    app.push_webhook().await;
    app.run_pending().await;
    for stack in ["shop", "second"] {
        assert_eq!(
            app.state(stack).await.last_status,
            Some(RunStatus::Succeeded),
            "{stack}"
        );
    }
    assert!(app.writes().iter().all(|seen| seen.method != "DELETE"));
    app.finish().await;
}

async fn a_file_that_is_still_there_and_says_nothing_deletes_nothing(mode: Mode) {
    let app = TestApp::start(mode).await;
    others(&app, "");
    app.repo.write("a.json", classic("a", "/a/", "http://git"));
    app.push_well("first").await;
    app.repo.write("a.json", "{\"note\": \"to be filled in\"}");
    let report = app.push("emptied").await;
    assert_eq!(report.status, RunStatus::Parked);
    let message = report.message.unwrap();
    assert!(
        message.contains("classic/a was described by a.json, which is still in Git"),
        "{message}"
    );
    assert!(app.gateway.live_classic("a").is_some());
    // Removed for good, it goes.
    app.repo.remove("a.json");
    app.push_well("removed").await;
    assert!(app.gateway.live_classic("a").is_none());
    app.finish().await;
}

async fn a_file_that_is_not_selected_any_more_deletes_nothing(mode: Mode) {
    let app = TestApp::start(mode).await;
    others(&app, "apis/");
    app.repo
        .write("apis/a.json", classic("a", "/a/", "http://git"));
    app.push_well("first").await;
    let changed = app.reconfigured("exclude = [\"**/a.json\"]").await;
    let report = app.sync_with(&changed).await;
    assert_eq!(report.status, RunStatus::Parked, "{:?}", report.message);
    assert!(
        report
            .message
            .unwrap()
            .contains("apis/a.json, which is still in Git")
    );
    // A wrong path is no empty desired state either.
    let changed = app.reconfigured("path = \"api\"").await;
    let report = app.sync_with(&changed).await;
    assert_eq!(report.status, RunStatus::Failed);
    assert_eq!(app.gateway.live_ids().len(), 5);
    app.finish().await;
}

async fn a_protected_object_waits_for_an_approval(mode: Mode) {
    let app = TestApp::with_stack(mode, "protect = [\"classic/pay*\"]").await;
    others(&app, "");
    app.repo
        .write("payments.json", classic("payments", "/pay/", "http://git"))
        .write("a.json", classic("a", "/a/", "http://git"));
    app.push_well("first").await;
    app.repo.remove("payments.json").remove("a.json");
    let report = app.push("removed").await;
    assert_eq!(report.status, RunStatus::Parked);
    assert!(report.message.unwrap().contains("lockstep approve RUN"));
    assert!(app.gateway.live_classic("payments").is_some());
    assert!(app.gateway.live_classic("a").is_none());
    app.finish().await;
}

async fn drift_can_wait_for_an_approval(mode: Mode) {
    let app = TestApp::with_stack(mode, "drift = \"approve\"").await;
    others(&app, "");
    app.push_well("first").await;
    by_hand(&app, &classic("k", "/k/", "http://by-hand")).await;
    for _ in 0..2 {
        schedule::drift(&app.app, "production").await.unwrap();
        app.run_pending().await;
    }
    assert_eq!(app.runs().await.len(), 2, "one state of drift asks once");
    assert_eq!(app.state("shop").await.last_status, Some(RunStatus::Parked));
    assert_eq!(
        upstream(&app.gateway.live_classic("k").unwrap()),
        "http://by-hand"
    );
    app.finish().await;
}
