//! What a run holds back, and the people who decide about it: over the real API, with real tokens.

use lockstep::{
    domain::{
        approval::{Approver, Choice, Verdict, Weight},
        audit::event::{Actor, Person},
        run::{Outcome, RunId, RunStatus, Trigger},
        token::Scope,
    },
    sync::{
        approval::{self, DecideError, Voice, Waiting},
        run::Report,
        token::{self, Wanted},
    },
};
use reqwest::{Client, Method};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::support::app::{Mode, TestApp, asker, classic, oas, policy, push_body};

crate::in_both_modes! {
    an_approval_lets_exactly_what_was_held_back_go,
    an_equal_remainder_of_a_later_push_keeps_what_was_decided,
    another_remainder_voids_what_was_decided_and_names_what_differs,
    what_left_the_plan_again_waits_no_more,
    nobody_approves_what_they_pushed_or_wrote,
    a_push_that_was_refused_hides_nobody,
    two_people_are_needed_where_the_stack_says_so,
    an_approval_that_ran_out_lets_nothing_go,
    a_rejection_stands_until_its_giver_approves,
    who_pushed_it_may_take_a_rejection_back,
    what_was_changed_by_hand_since_needs_a_new_approval,
    what_no_database_takes_is_refused_before_it,
    what_was_carried_out_needs_a_new_approval_when_it_comes_again,
    a_run_that_fails_keeps_the_approval,
    without_a_token_it_counts_only_where_the_stack_allows_it,
    a_token_opens_what_it_is_for_and_nothing_else,
    a_run_is_asked_for_over_the_api,
    a_hold_is_put_and_ended_over_the_api,
    every_wrong_request_to_the_api_gets_its_own_clear_answer,
}

const HOUR: i64 = 3_600_000_000;

/// Nothing counts without a token, whichever the mode.
const PEOPLE: &str = r#"allow_local_approval = false
[person.ada]
logins = { github = "Ada" }
[person.grace]
logins = { github = "grace-h" }
emails = ["grace@example.org"]
[person.linus]
emails = ["linus@example.org"]
"#;

/// Four APIs and a policy, live.
async fn shop(mode: Mode, lines: &str) -> TestApp {
    let app = TestApp::with_stack(mode, lines).await;
    for name in ["one", "two", "three", "four"] {
        app.repo.write(&format!("{name}.json"), api(name));
    }
    app.repo
        .write("orders.json", oas("orders", "/orders/", "http://orders"))
        .write("gold.json", policy("gold", "one", 5));
    app.push_well("first").await;
    app
}

fn api(name: &str) -> String {
    classic(name, &format!("/{name}/"), "http://upstream")
}

/// Removes so much that it is held back: the run.
async fn park(app: &TestApp) -> RunId {
    for name in ["one", "two", "three", "four"] {
        app.repo.remove(&format!("{name}.json"));
    }
    let report = app.push("four away").await;
    assert_eq!(report.status, RunStatus::Parked);
    report.run.unwrap()
}

async fn token_for(app: &TestApp, person: &str, scopes: &[Scope]) -> String {
    let wanted = Wanted {
        person: person.to_owned(),
        scopes: scopes.iter().copied().collect(),
        expires_at: app.app.now() + HOUR,
        note: None,
    };
    let actor = Actor::new("cli", "test");
    let made = token::create(&app.app, wanted, actor, Person::default()).await;
    made.unwrap().1.expose_secret().to_owned()
}

async fn ask(app: &TestApp, token: &str, path: &str, body: &Value) -> (u16, Value) {
    let response = Client::new()
        .post(app.url(path))
        .bearer_auth(token)
        .json(body)
        .send()
        .await
        .unwrap();
    let status = response.status().as_u16();
    (status, response.json().await.unwrap())
}

async fn decide(app: &TestApp, person: &str, run: &RunId, choice: &str) -> (u16, Value) {
    let token = token_for(app, person, &[Scope::Approve]).await;
    let path = format!("/api/v1/runs/{run}/{choice}");
    ask(app, &token, &path, &json!({"reason": "it is meant"})).await
}

async fn approve(app: &TestApp, person: &str, run: &RunId) -> (u16, Value) {
    decide(app, person, run, "approve").await
}

async fn waiting(app: &TestApp) -> Option<Waiting> {
    let stack = app.app.stack("shop").unwrap();
    let now = app.app.now();
    let mut waiting = approval::waiting(&app.app, stack, now).await.unwrap();
    assert!(waiting.len() <= 1);
    waiting.pop()
}

async fn verdict(app: &TestApp) -> Verdict {
    waiting(app).await.unwrap().standing.verdict
}

/// The one run that is due.
async fn run(app: &TestApp) -> Report {
    let mut reports = app.run_pending().await;
    assert_eq!(reports.len(), 1, "{reports:#?}");
    reports.remove(0)
}

fn message(body: &Value) -> &str {
    body["error"]["message"].as_str().unwrap()
}

/// A push of the head by somebody else than the usual pusher.
async fn push_by(app: &TestApp, login: &str, email: &str) -> Vec<Report> {
    let mut body: Value = serde_json::from_str(&app.push_body()).unwrap();
    body["pusher"] = json!({"name": login, "email": email});
    for commit in ["/head_commit/author", "/commits/0/author"] {
        *body.pointer_mut(commit).unwrap() = json!({"name": login, "email": email});
    }
    assert_eq!(app.send(&body.to_string(), None).await, 202);
    app.run_pending().await
}

async fn payloads(app: &TestApp, event_type: &str) -> Vec<Value> {
    let events = app.events().await;
    events
        .into_iter()
        .filter(|(header, _)| header.event_type == event_type)
        .map(|(_, event)| serde_json::from_str(&event.payload).unwrap())
        .collect()
}

async fn an_approval_lets_exactly_what_was_held_back_go(mode: Mode) {
    let app = shop(mode, PEOPLE).await;
    let parked_by = park(&app).await;
    assert_eq!(app.gateway.live_ids().len(), 5);
    let parked = payloads(&app, "plan.parked").await;
    assert_eq!(parked[0]["changes"].as_array().unwrap().len(), 4);
    assert_eq!(
        verdict(&app).await,
        Verdict::Awaiting {
            given: 0,
            needed: 1
        }
    );

    let (status, body) = approve(&app, "grace", &parked_by).await;
    assert_eq!((status, &body["verdict"]), (200, &json!("approved")));
    assert_eq!(body["counts"], true);
    let report = run(&app).await;
    assert_eq!(report.status, RunStatus::Succeeded, "{:?}", report.message);
    assert_eq!(app.gateway.live_ids(), ["orders"]);
    let detail = app.detail(report.run.as_ref()).await;
    assert_eq!(detail.run.trigger, Trigger::Approval);

    // Nothing waits, and it is known who let it go.
    assert!(waiting(&app).await.is_none());
    let run_id = report.run.unwrap();
    let behind = app.app.store.decisions_behind(&run_id).await.unwrap();
    assert_eq!(behind.len(), 1);
    assert_eq!(behind[0].by, Approver::Person("grace".to_owned()));
    let given = payloads(&app, "approval.given").await;
    assert_eq!(given[0]["authenticated"], true);
    assert_eq!(given[0]["plan"], parked[0]["plan"]);
    assert!(!given[0].to_string().contains("grace"));
    let intended = payloads(&app, "run.intended").await;
    assert_eq!(intended.last().unwrap()["approved"], parked[0]["plan"]);
    assert!(payloads(&app, "plan.voided").await.is_empty());

    let (status, body) = approve(&app, "grace", &parked_by).await;
    assert_eq!(status, 409);
    assert!(message(&body).contains("waits no more"), "{body}");
    let (status, body) = approve(&app, "grace", &run_id).await;
    assert_eq!(status, 409);
    assert!(message(&body).contains("held nothing back"), "{body}");
    app.finish().await;
}

async fn an_equal_remainder_of_a_later_push_keeps_what_was_decided(mode: Mode) {
    let app = shop(mode, &format!("min_approvers = 2\n{PEOPLE}")).await;
    let first = park(&app).await;
    let since = waiting(&app).await.unwrap().parked.since;
    let (_, body) = approve(&app, "grace", &first).await;
    assert_eq!(
        (&body["given"], &body["needed"]),
        (&json!(1), &json!(2)),
        "{body}"
    );
    let report = run(&app).await;
    assert_eq!(report.status, RunStatus::Parked);
    assert!(
        report
            .message
            .unwrap()
            .contains("1 of 2 approvals are given")
    );

    app.repo
        .write("orders.json", oas("orders", "/orders/", "http://other"));
    let second = app.push("something else").await;
    assert_eq!(second.status, RunStatus::Parked);
    let waits = waiting(&app).await.unwrap();
    assert_eq!(
        (waits.parked.since, &waits.parked.run),
        (since, &first),
        "the record stays"
    );
    assert_eq!(Some(&waits.parked.last_run), second.run.as_ref());
    assert_eq!(payloads(&app, "plan.parked").await.len(), 1);
    assert!(payloads(&app, "plan.voided").await.is_empty());

    // Either run names it.
    let (status, body) = approve(&app, "linus", &second.run.unwrap()).await;
    assert_eq!((status, &body["verdict"]), (200, &json!("approved")));
    assert_eq!(run(&app).await.status, RunStatus::Succeeded);
    assert_eq!(app.gateway.live_ids(), ["orders"]);
    app.finish().await;
}

async fn another_remainder_voids_what_was_decided_and_names_what_differs(mode: Mode) {
    let app = shop(mode, &format!("min_approvers = 2\n{PEOPLE}")).await;
    let first = park(&app).await;
    approve(&app, "grace", &first).await;
    run(&app).await;
    app.repo
        .write("two.json", api("two"))
        .remove("orders.json")
        .remove("gold.json");
    let second = app.push("other ones away").await;
    assert_eq!(second.status, RunStatus::Parked);
    let voided = payloads(&app, "plan.voided").await;
    assert_eq!(voided.len(), 1);
    assert_eq!(voided[0]["decisions"], 1);
    let difference = &voided[0]["difference"];
    assert_eq!(
        difference["gone"],
        json!([{"action": "delete", "object": "classic/two"}])
    );
    assert_eq!(difference["added"].as_array().unwrap().len(), 2);
    let waits = waiting(&app).await.unwrap();
    assert!(waits.decisions.is_empty());
    assert_eq!(Some(&waits.parked.run), second.run.as_ref());

    let (status, body) = approve(&app, "linus", &first).await;
    assert_eq!(status, 409);
    let said = message(&body);
    assert!(said.contains("no longer: delete classic/two"), "{said}");
    assert!(
        said.contains("delete oas/orders") && said.contains(&second.run.unwrap().0),
        "{said}"
    );
    assert_eq!(app.gateway.live_ids().len(), 5);

    // The first remainder comes back: what was decided on it does not.
    app.repo
        .remove("two.json")
        .write("orders.json", oas("orders", "/orders/", "http://orders"))
        .write("gold.json", policy("gold", "one", 5));
    assert_eq!(app.push("as at first").await.status, RunStatus::Parked);
    assert!(waiting(&app).await.unwrap().decisions.is_empty());
    app.finish().await;
}

async fn what_left_the_plan_again_waits_no_more(mode: Mode) {
    let app = shop(mode, PEOPLE).await;
    let first = park(&app).await;
    for name in ["one", "two", "three", "four"] {
        app.repo.write(&format!("{name}.json"), api(name));
    }
    app.push_well("put back").await;
    assert!(waiting(&app).await.is_none());
    let voided = payloads(&app, "plan.voided").await;
    assert_eq!(voided[0]["difference"]["gone"].as_array().unwrap().len(), 4);
    let (status, body) = approve(&app, "grace", &first).await;
    assert_eq!(status, 409, "{body}");
    app.finish().await;
}

async fn nobody_approves_what_they_pushed_or_wrote(mode: Mode) {
    let app = shop(mode, PEOPLE).await;
    let run_id = park(&app).await;
    let (status, body) = approve(&app, "ada", &run_id).await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (403, &json!("forbidden")),
        "the pusher"
    );
    assert!(
        message(&body).contains("somebody else has to approve"),
        "{body}"
    );

    // A later push of the same: who wrote it may not approve either, by an address of theirs.
    app.repo.write("README.md", "words");
    app.repo.commit("words");
    let reports = push_by(&app, "someone", "Grace@Example.org").await;
    assert_eq!(reports[0].status, RunStatus::Parked);
    let (status, _) = approve(&app, "grace", &run_id).await;
    assert_eq!(status, 403, "the author");
    let (status, _) = approve(&app, "ada", &run_id).await;
    assert_eq!(status, 403, "the first pusher still");
    assert!(payloads(&app, "approval.given").await.is_empty());

    // Hidden addresses name a login.
    app.repo.write("README.md", "other words");
    app.repo.commit("other words");
    push_by(&app, "bot", "12+GRACE-h@users.noreply.github.com").await;
    let people = waiting(&app).await.unwrap().parked.people;
    let grace = &app.app.people["grace"];
    assert_eq!(people.iter().filter(|person| grace.is(person)).count(), 2);

    // Whoever pushed it may say that it shall not happen.
    let (status, body) = decide(&app, "ada", &run_id, "reject").await;
    assert_eq!((status, &body["verdict"]), (200, &json!("rejected")));
    decide(&app, "linus", &run_id, "approve").await;
    assert!(matches!(verdict(&app).await, Verdict::Rejected { .. }));
    app.finish().await;
}

async fn a_push_that_was_refused_hides_nobody(mode: Mode) {
    let app = shop(mode, PEOPLE).await;
    for name in ["one", "two", "three", "four"] {
        app.repo.remove(&format!("{name}.json"));
    }
    app.repo.write("bad.yaml", "api_id: [\n");
    app.repo.commit("removes, and is wrong");
    let reports = push_by(&app, "grace-h", "other@example.org").await;
    assert_eq!(reports[0].status, RunStatus::Refused);
    app.repo.remove("bad.yaml");
    app.repo.commit("mends it");
    let reports = push_by(&app, "someone", "someone@example.org").await;
    assert_eq!(reports[0].status, RunStatus::Parked);
    let run_id = reports[0].run.clone().unwrap();
    assert_eq!(approve(&app, "grace", &run_id).await.0, 403);
    assert_eq!(approve(&app, "linus", &run_id).await.0, 200);
    app.finish().await;
}

async fn two_people_are_needed_where_the_stack_says_so(mode: Mode) {
    let app = shop(mode, &format!("min_approvers = 2\n{PEOPLE}")).await;
    let run_id = park(&app).await;
    for _ in 0..2 {
        approve(&app, "grace", &run_id).await;
    }
    run(&app).await;
    assert_eq!(
        verdict(&app).await,
        Verdict::Awaiting {
            given: 1,
            needed: 2
        },
        "one person is one approval"
    );
    let weights: Vec<Weight> = waiting(&app)
        .await
        .unwrap()
        .decisions
        .iter()
        .map(|(_, weight)| *weight)
        .collect();
    assert_eq!(weights, [Weight::Superseded, Weight::Counts]);
    assert_eq!(app.gateway.live_ids().len(), 5);
    approve(&app, "linus", &run_id).await;
    assert_eq!(run(&app).await.status, RunStatus::Succeeded);
    app.finish().await;
}

async fn an_approval_that_ran_out_lets_nothing_go(mode: Mode) {
    let app = shop(mode, PEOPLE).await;
    let run_id = park(&app).await;
    approve(&app, "grace", &run_id).await;
    app.sql("update approval set expires_at = at").await;
    let report = run(&app).await;
    assert_eq!(report.status, RunStatus::Parked);
    assert!(report.message.unwrap().contains("that ran out"));
    assert_eq!(verdict(&app).await, Verdict::Expired);
    assert_eq!(app.gateway.live_ids().len(), 5);
    approve(&app, "grace", &run_id).await;
    assert_eq!(run(&app).await.status, RunStatus::Succeeded);
    app.finish().await;
}

async fn a_rejection_stands_until_its_giver_approves(mode: Mode) {
    let app = shop(mode, PEOPLE).await;
    let run_id = park(&app).await;
    let (status, body) = decide(&app, "linus", &run_id, "reject").await;
    assert_eq!((status, &body["by"]), (200, &json!("linus")));
    approve(&app, "grace", &run_id).await;
    let report = run(&app).await;
    assert_eq!(report.status, RunStatus::Parked);
    assert!(
        report
            .message
            .unwrap()
            .contains("rejected by linus: it is meant")
    );
    assert_eq!(payloads(&app, "approval.rejected").await.len(), 1);
    approve(&app, "linus", &run_id).await;
    assert_eq!(run(&app).await.status, RunStatus::Succeeded);
    app.finish().await;
}

async fn who_pushed_it_may_take_a_rejection_back(mode: Mode) {
    let app = shop(mode, PEOPLE).await;
    let run_id = park(&app).await;
    assert_eq!(approve(&app, "ada", &run_id).await.0, 403, "ada pushed it");
    assert_eq!(decide(&app, "ada", &run_id, "reject").await.0, 200);
    assert_eq!(
        approve(&app, "grace", &run_id).await.1["verdict"],
        "rejected"
    );
    let (status, body) = approve(&app, "ada", &run_id).await;
    assert_eq!((status, &body["counts"]), (200, &json!(false)));
    assert_eq!(body["verdict"], "approved", "by grace");
    assert_eq!(run(&app).await.status, RunStatus::Succeeded);
    app.finish().await;
}

async fn what_was_changed_by_hand_since_needs_a_new_approval(mode: Mode) {
    let app = shop(mode, PEOPLE).await;
    let run_id = park(&app).await;
    assert_eq!(
        approve(&app, "grace", &run_id).await.1["verdict"],
        "approved"
    );
    let mut body = app.gateway.live_classic("two").unwrap();
    body["proxy"]["target_url"] = json!("http://by-hand");
    app.gateway.put_api_by_hand(&body);
    app.gateway.reload_now().await;
    let report = run(&app).await;
    assert_eq!(report.status, RunStatus::Parked);
    assert!(app.gateway.live_classic("two").is_some());
    let held = &report.plan.unwrap().held;
    let two = held.iter().find(|held| held.change.object.id == "two");
    assert!(
        two.unwrap()
            .change
            .reason
            .contains("changed on the gateway"),
        "{held:#?}"
    );
    let voided = payloads(&app, "plan.voided").await;
    assert_eq!(
        voided[0]["difference"]["altered"],
        json!([{"action": "delete", "object": "classic/two"}])
    );
    approve(&app, "grace", &report.run.unwrap()).await;
    assert_eq!(run(&app).await.status, RunStatus::Succeeded);
    app.finish().await;
}

async fn what_no_database_takes_is_refused_before_it(mode: Mode) {
    let app = shop(mode, PEOPLE).await;
    let run_id = park(&app).await;
    let token = token_for(&app, "grace", &[Scope::Approve]).await;
    for reason in ["nothing\u{0}", "one line\nand another", "\u{1b}[31mred"] {
        let path = format!("/api/v1/runs/{run_id}/approve");
        let (status, body) = ask(&app, &token, &path, &json!({"reason": reason})).await;
        assert_eq!(status, 422, "{reason:?}: {body}");
    }
    let path = "/api/v1/runs/%00/approve";
    let (status, body) = ask(&app, &token, path, &json!({"reason": "it is meant"})).await;
    assert_eq!(status, 404, "{body}");
    assert!(waiting(&app).await.unwrap().decisions.is_empty());
    app.finish().await;
}

async fn what_was_carried_out_needs_a_new_approval_when_it_comes_again(mode: Mode) {
    let app = shop(mode, PEOPLE).await;
    let first = park(&app).await;
    let hash = waiting(&app).await.unwrap().parked.hash;
    approve(&app, "grace", &first).await;
    assert_eq!(run(&app).await.status, RunStatus::Succeeded);
    for name in ["one", "two", "three", "four"] {
        app.repo.write(&format!("{name}.json"), api(name));
    }
    app.push_well("made again").await;
    let second = park(&app).await;
    let waits = waiting(&app).await.unwrap();
    assert_eq!(waits.parked.hash, hash, "the same remainder");
    assert!(waits.decisions.is_empty());
    assert_eq!(waits.parked.run, second);
    assert_eq!(app.gateway.live_ids().len(), 5);
    app.finish().await;
}

async fn a_run_that_fails_keeps_the_approval(mode: Mode) {
    let app = shop(mode, PEOPLE).await;
    let run_id = park(&app).await;
    approve(&app, "grace", &run_id).await;
    // The gateway is away before anything is planned, and then refuses to delete.
    app.gateway
        .faults()
        .answer(500, 2, |asked| asked.path == "/tyk/apis");
    assert_eq!(run(&app).await.status, RunStatus::Failed);
    assert_eq!(verdict(&app).await, Verdict::Approved);
    app.gateway.faults().clear();
    app.gateway
        .faults()
        .answer(403, 9, |asked| asked.method == "DELETE");
    app.forget_backoff().await;
    let report = run(&app).await;
    assert_eq!(report.status, RunStatus::Failed);
    assert_eq!(verdict(&app).await, Verdict::Approved);
    app.gateway.faults().clear();
    app.forget_backoff().await;
    let stack = app.app.stack("shop").unwrap().id();
    app.app.store.want(&stack, Trigger::Manual).await.unwrap();
    let report = run(&app).await;
    assert_eq!(report.status, RunStatus::Succeeded, "{:?}", report.message);
    assert!(
        report
            .changes
            .iter()
            .all(|change| change.outcome == Outcome::Applied)
    );
    assert!(waiting(&app).await.is_none());
    app.finish().await;
}

async fn local(app: &TestApp, user: &str, run: &RunId) -> Result<Weight, DecideError> {
    let voice = Voice {
        by: Approver::Local(user.to_owned()),
        asker: asker(user),
        token: None,
    };
    let decided = approval::decide(&app.app, run, Choice::Approve, voice, "it is meant").await?;
    Ok(decided.weight)
}

async fn without_a_token_it_counts_only_where_the_stack_allows_it(mode: Mode) {
    let app = shop(mode, "").await;
    let allows = app.app.stack("shop").unwrap().allow_local_approval;
    assert_eq!(allows, mode == Mode::Embedded, "the default");
    let run_id = park(&app).await;
    let weight = local(&app, "uid 7", &run_id).await.unwrap();
    let given = payloads(&app, "approval.given").await;
    assert_eq!(given[0]["authenticated"], false);
    assert_eq!(given[0]["counts"], allows);
    if allows {
        assert_eq!(weight, Weight::Counts);
        assert_eq!(run(&app).await.status, RunStatus::Succeeded);
    } else {
        assert_eq!(weight, Weight::Unauthenticated);
        assert!(app.run_pending().await.is_empty(), "it asks for nothing");
        let verdict = verdict(&app).await;
        assert_eq!(
            verdict,
            Verdict::Awaiting {
                given: 0,
                needed: 1
            }
        );
    }
    app.finish().await;

    let app = shop(mode, "allow_local_approval = true\nmin_approvers = 2").await;
    let run_id = park(&app).await;
    for user in ["uid 7", "uid 7"] {
        local(&app, user, &run_id).await.unwrap();
    }
    run(&app).await;
    let awaiting = Verdict::Awaiting {
        given: 1,
        needed: 2,
    };
    assert_eq!(verdict(&app).await, awaiting, "one user is one approval");
    local(&app, "uid 8", &run_id).await.unwrap();
    assert_eq!(run(&app).await.status, RunStatus::Succeeded);
    app.finish().await;
}

async fn a_token_opens_what_it_is_for_and_nothing_else(mode: Mode) {
    let app = shop(mode, PEOPLE).await;
    let run_id = park(&app).await;
    let path = format!("/api/v1/runs/{run_id}/approve");
    let reason = json!({"reason": "it is meant"});
    let right = token_for(&app, "grace", &[Scope::Read, Scope::Approve]).await;
    let operates = token_for(&app, "grace", &[Scope::Operate]).await;
    let revoked = token_for(&app, "grace", &[Scope::Approve]).await;
    let expired = token_for(&app, "grace", &[Scope::Approve]).await;
    let of_nobody = token_for(&app, "nobody", &[Scope::Approve]).await;
    let id = |token: &str| token[4..16].to_owned();
    let actor = || Actor::new("cli", "test");
    for _ in 0..2 {
        token::revoke(&app.app, &id(&revoked), actor(), Person::default())
            .await
            .unwrap();
    }
    app.sql(&format!(
        "update token set expires_at = 1 where id = '{}'",
        id(&expired)
    ))
    .await;
    let wrong = format!("{}{}", &right[..17], "0".repeat(64));
    let unknown = format!("lst_{}_{}", "0".repeat(12), "0".repeat(64));

    for (token, status, said) in [
        (wrong.as_str(), 401, "takes a token of scope approve"),
        (&unknown, 401, "takes a token of scope approve"),
        ("nonsense", 401, "takes a token of scope approve"),
        (&revoked, 401, "was revoked"),
        (&expired, 401, "has expired"),
        (&operates, 403, "not for that"),
        (&of_nobody, 403, "does not know the person"),
    ] {
        let (found, body) = ask(&app, token, &path, &reason).await;
        assert_eq!(found, status, "{body}");
        assert!(message(&body).contains(said), "{body}");
    }
    assert!(waiting(&app).await.unwrap().decisions.is_empty());
    // They are counted, and told in one event.
    app.api.report_failed_sign_ins().await;
    app.api.report_failed_sign_ins().await;
    let failed = payloads(&app, "sign-ins.failed").await;
    assert_eq!(failed.len(), 1);
    assert_eq!(
        failed[0]["counts"],
        json!({"wrong": 1, "unknown": 1, "malformed": 1, "revoked": 1, "expired": 1,
               "out-of-scope": 1, "no-person": 1})
    );

    assert_eq!(ask(&app, &right, &path, &reason).await.0, 200);
    let used = app.app.store.token(&id(&right)).await.unwrap().unwrap();
    let at = used.last_used_at.unwrap();
    assert_eq!(at % HOUR, 0, "to the hour");
    assert_eq!(payloads(&app, "token.created").await.len(), 5);
    assert_eq!(payloads(&app, "token.revoked").await.len(), 1);

    // Neither a secret nor its hash is told anywhere.
    let events = app.events().await;
    let events: Vec<String> = events
        .into_iter()
        .map(|(_, event)| format!("{}{}", event.header, event.payload))
        .collect();
    let events = events.join("\n");
    let text = app.all_text().await;
    assert!(events.contains(&id(&right)) && text.contains(&id(&right)));
    for token in [&right, &operates, &revoked, &expired] {
        let hash = hex::encode(used.hash.bytes());
        assert!(!text.contains(&token[17..]), "a secret is in the database");
        assert!(!events.contains(&token[17..]) && !events.contains(&hash));
    }
    app.finish().await;
}

async fn a_run_is_asked_for_over_the_api(mode: Mode) {
    let app = shop(mode, PEOPLE).await;
    app.repo
        .write("orders.json", oas("orders", "/orders/", "http://other"));
    app.repo.commit("nobody was told");
    let token = token_for(&app, "linus", &[Scope::Operate]).await;
    let path = "/api/v1/stacks/shop/sync";
    let (status, body) = ask(&app, &token, path, &json!({"reason": "host is down"})).await;
    assert_eq!((status, &body["stack"]), (202, &json!("shop")));
    let report = run(&app).await;
    assert_eq!(report.status, RunStatus::Succeeded);
    assert_eq!(report.changes.len(), 1);
    let asked = payloads(&app, "run.requested").await;
    assert_eq!(asked[0]["reason"], "host is down");

    // A body is not needed, another stack is not known.
    let bare = Client::new().post(app.url(path)).bearer_auth(&token);
    assert_eq!(bare.send().await.unwrap().status(), 202);
    let unknown = "/api/v1/stacks/shpo/sync";
    assert_eq!(ask(&app, &token, unknown, &json!({})).await.0, 404);
    app.finish().await;
}

async fn a_hold_is_put_and_ended_over_the_api(mode: Mode) {
    let app = shop(mode, PEOPLE).await;
    let token = token_for(&app, "linus", &[Scope::Operate]).await;
    let hold = "/api/v1/stacks/shop/hold";
    for wrong in [
        json!({}),
        json!({"reason": "x", "until": "yesterday"}),
        json!({"reason": "x", "for": "ever"}),
    ] {
        let (status, _) = ask(&app, &token, hold, &wrong).await;
        assert!(status == 409 || status == 422, "{wrong}: {status}");
    }
    let wish = json!({"reason": "Black Friday", "until": "2h"});
    let (status, body) = ask(&app, &token, hold, &wish).await;
    assert_eq!(status, 200, "{body}");
    assert!(
        body["says"]
            .as_str()
            .unwrap()
            .contains("by linus: Black Friday")
    );
    app.repo
        .write("orders.json", oas("orders", "/orders/", "http://other"));
    app.repo.commit("behind the hold");
    assert_eq!(app.push_webhook().await, 202);
    assert!(app.run_pending().await.is_empty());
    let sync = "/api/v1/stacks/shop/sync";
    let (status, body) = ask(&app, &token, sync, &json!({})).await;
    assert_eq!(status, 409);
    assert!(body.to_string().contains("Black Friday"), "{body}");
    let release = "/api/v1/stacks/shop/release";
    let (status, body) = ask(&app, &token, release, &json!({})).await;
    assert_eq!((status, body["waited"].as_array().unwrap().len()), (200, 1));
    assert_eq!(run(&app).await.status, RunStatus::Succeeded);
    let (status, _) = ask(&app, &token, release, &json!({})).await;
    assert_eq!(status, 409, "it is not held");
    // Approving is no operating.
    let other = token_for(&app, "grace", &[Scope::Approve]).await;
    assert_eq!(ask(&app, &other, hold, &wish).await.0, 403);
    app.finish().await;
}

async fn every_wrong_request_to_the_api_gets_its_own_clear_answer(mode: Mode) {
    let app = shop(mode, PEOPLE).await;
    let run_id = park(&app).await;
    let path = format!("/api/v1/runs/{run_id}/approve");
    let token = token_for(&app, "grace", &[Scope::Approve]).await;

    let missing = Client::new().post(app.url(&path)).send().await.unwrap();
    assert_eq!(missing.status(), 401);
    assert_eq!(missing.headers()["www-authenticate"], "Bearer");
    let basic = Client::new().post(app.url(&path));
    let basic = basic
        .basic_auth("grace", Some(&token))
        .send()
        .await
        .unwrap();
    assert_eq!(basic.status(), 401);
    let twice = Client::new().post(app.url(&path));
    let twice = twice.bearer_auth(&token).bearer_auth(&token).send().await;
    assert_eq!(twice.unwrap().status(), 401);
    let get = Client::new().request(Method::GET, app.url(&path));
    assert_eq!(get.send().await.unwrap().status(), 405);

    let send = async |content_type: &str, body: String| {
        let request = Client::new().post(app.url(&path)).bearer_auth(&token);
        let request = request.header("content-type", content_type).body(body);
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let body: Value = response.json().await.unwrap();
        assert!(body["error"]["message"].is_string(), "{body}");
        status
    };
    let json_type = "application/json";
    assert_eq!(send("text/plain", "{}".to_owned()).await, 415);
    for wrong in [
        "{",
        "{\"reason\": 1}",
        "{\"reason\": \"a\", \"force\": true}",
        "{\"reason\": \"  \"}",
        "{}",
    ] {
        assert_eq!(send(json_type, wrong.to_owned()).await, 422, "{wrong}");
    }
    let long = json!({"reason": "a".repeat(1_001)}).to_string();
    assert_eq!(send(json_type, long).await, 422);
    assert_eq!(send(json_type, " ".repeat(64 * 1024 + 1)).await, 413);

    let unknown = "/api/v1/runs/no-such-run/approve";
    let reason = json!({"reason": "it is meant"});
    assert_eq!(ask(&app, &token, unknown, &reason).await.0, 404);
    let first = app.runs().await.pop().unwrap().id;
    let first = format!("/api/v1/runs/{first}/approve");
    assert_eq!(ask(&app, &token, &first, &reason).await.0, 409);
    assert!(waiting(&app).await.unwrap().decisions.is_empty());
    // The receiver's own deliveries go on as before.
    let body = push_body(None, &app.repo.head(), "main");
    assert_eq!(app.send(&body, None).await, 202);
    app.finish().await;
}
