//! The store: one suite of cases, run on SQLite and on Postgres.

use std::{
    collections::BTreeSet,
    str::FromStr as _,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use lockstep::{
    domain::{
        approval::{Approver, Choice, Decision, Remainder},
        audit::{
            event::{Actor, EventType, NewEvent, Person},
            person::Names,
            verify::{Broken, Flaw},
        },
        canonical::{Digest, canonical},
        diff::FieldChange,
        inventory::Owned,
        object::{Kind, ObjectKey},
        plan::Change,
        revision::Revision,
        run::{Action, ChangeRecord, Outcome, RunId, RunStatus, Trigger},
        token::{Presented, Scope, Token, mint},
    },
    store::{
        Body, ChangeOutcome, CommitRef, Delivery, Ended, Erased, Error, EventFilter, Finish,
        Intent, InventoryChange, LocalQueue, NewDecision, NewHold, NewRun, POSTGRES_MIGRATIONS,
        Parking, Parkings, PgOptions, PutError, QueueLimits, Recorded, RunFilter,
        SQLITE_MIGRATIONS, Settle, SinkChange, StackState, StackTarget, Store, Undo,
    },
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use sqlx::{
    AssertSqlSafe, Connection as _, PgConnection, PgPool, SqlitePool,
    postgres::PgConnectOptions,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};
use tempfile::TempDir;

/// 2026-01-01, in microseconds.
const NOW: i64 = 1_767_225_600_000_000;
const HOUR: i64 = 3_600_000_000;
const LONG: Duration = Duration::from_mins(10);

macro_rules! on_both {
    ($($case:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let fixture = super::Fixture::sqlite().await;
                super::$case(fixture).await;
            })+
        }

        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "needs Postgres; tests/run has it"]
            async fn $case() {
                let fixture = super::Fixture::postgres().await;
                let (server, name) = (fixture.server.clone(), fixture.name.clone());
                super::$case(fixture).await;
                super::drop_database(&server, &name).await;
            })+
        }
    };
}

on_both! {
    the_database_answers_and_takes_a_second_opening,
    a_delivery_is_recorded_once_and_asks_for_every_stack_that_it_concerns,
    of_many_equal_deliveries_at_once_one_is_new,
    concurrent_deliveries_to_crossing_stacks_count_every_one,
    deliveries_are_found_by_generation_and_by_branch,
    hostile_texts_are_recorded,
    a_timer_adds_nothing_to_work_that_waits_and_a_person_always_does,
    a_push_during_a_run_costs_one_further_run,
    a_run_that_failed_for_a_while_is_tried_again_later,
    a_held_stack_is_not_due_until_its_hold_ends,
    a_rollback_is_due_until_it_is_carried_out_and_an_open_run_until_it_is_resolved,
    revisions_of_runs_are_found_by_their_first_digits,
    a_lease_has_one_holder_and_every_holder_a_higher_fence,
    a_lease_is_renewed_by_its_holder_only,
    of_many_workers_one_gets_the_lease,
    a_lost_lease_writes_nothing,
    letting_go_tells_of_work_that_was_asked_for_before,
    an_intent_becomes_a_run_with_its_outcomes,
    a_further_wave_extends_the_run,
    a_run_that_writes_nothing_is_recorded_at_once,
    an_open_run_bars_the_next_until_it_is_resolved,
    a_run_is_finished_once,
    the_inventory_follows_its_changes,
    bodies_are_kept_once_by_their_hash,
    deletions_are_counted_from_a_time_on,
    drift_is_kept_until_a_run_succeeds,
    waiting_deliveries_show_their_age,
    ten_thousand_changes_fit_one_run,
    runs_are_filtered_and_their_pages_are_stable,
    pages_of_events_are_stable,
    events_are_filtered,
    the_history_refuses_changes,
    an_untouched_history_verifies,
    what_is_appended_goes_on_where_the_history_ends_whoever_was_there_before,
    an_altered_payload_is_found,
    an_altered_header_is_found,
    an_altered_person_is_found,
    a_removed_event_is_found,
    an_inserted_event_is_found,
    an_event_inserted_in_front_is_found,
    events_in_another_order_are_found,
    a_cut_tail_is_found,
    an_emptied_history_is_found,
    a_garbled_hash_is_found,
    a_rewritten_head_is_found,
    sixteen_writers_keep_the_chain_unbroken,
    a_call_that_is_dropped_half_way_leaves_nothing_behind,
    erasing_a_person_keeps_the_history_right,
    what_waits_keeps_its_record_until_it_differs,
    a_decision_is_used_up_with_what_it_let_go,
    a_decision_on_what_waits_no_more_is_not_recorded,
    nodes_that_wait_for_the_same_share_what_is_decided,
    erasing_a_person_reaches_who_is_behind_what_waits,
    a_token_is_found_used_and_revoked_once,
    another_key_than_the_first_is_refused,
    a_sink_begins_at_the_end_and_moves_under_its_lease_only,
    events_are_read_on_from_a_place_by_type_and_run,
    a_database_of_a_newer_version_is_refused,
    a_closed_store_is_a_transient_error_and_a_broken_rule_is_not,
}

#[test]
fn both_databases_have_the_same_migrations() {
    let names = |migrator: &sqlx::migrate::Migrator| {
        migrator
            .iter()
            .map(|step| (step.version, step.description.to_string()))
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&SQLITE_MIGRATIONS), names(&POSTGRES_MIGRATIONS));
    assert!(SQLITE_MIGRATIONS.iter().count() > 0);
}

#[tokio::test]
async fn every_call_may_run_on_any_thread() {
    fn sent(_: impl Send) {}
    let home = tempfile::tempdir().unwrap();
    let store = Store::embedded(home.path()).await.unwrap();
    let lease = store.try_lease("a", "b", LONG).await.unwrap().unwrap();
    let (run, intent) = (new_run("run-1", 1), Intent::default());
    let (end, id) = (finish(RunStatus::Failed, 1), run_id("run-1"));
    let (url, options) = (SecretString::from("postgres://"), PgOptions::default());
    let (sent_delivery, event) = (delivery("a", 1), accepted());
    let (events, runs) = (EventFilter::default(), RunFilter::default());
    let names = Names::only("a");
    sent(Store::embedded(home.path()));
    sent(Store::postgres(&url, &options));
    sent(store.record_delivery(&sent_delivery, &[], NOW, &event));
    sent(store.want(&shop(), Trigger::Push));
    sent(store.renew(&lease, LONG));
    sent(store.begin_run(&lease, &run, &intent));
    sent(store.extend_run(&lease, &id, &intent));
    sent(store.finish_run(&lease, &id, &end));
    sent(store.record_run(&lease, &run, &intent, &end));
    sent(store.open_runs("a"));
    sent(store.run(&id));
    sent(store.runs(&runs));
    sent(store.events(&events));
    sent(store.verify_history());
    sent(store.erase_person(&names, &event));
    sent(store.change_sink(&lease, "a", &SinkChange::Passed { cursor: 1 }));
    sent(store.installation_key_embedded(home.path()));
    sent(store.release(lease.clone()));
    let queue = store.local_queue(QueueLimits::default()).unwrap();
    sent(queue.put("a", Vec::new(), NOW));
    sent(queue.take(NOW, 1, LONG));
    sent(queue.changed());
}

async fn the_database_answers_and_takes_a_second_opening(fixture: Fixture) {
    fixture.store.ping().await.unwrap();
    let second = fixture.reopen().await;
    second.ping().await.unwrap();
    assert!(second.stack_states().await.unwrap().is_empty());
    assert_eq!(second.head().await.unwrap().size, 0);
}

async fn a_delivery_is_recorded_once_and_asks_for_every_stack_that_it_concerns(fixture: Fixture) {
    let store = &fixture.store;
    let delivery = delivery("main/1/a", 1);
    let stacks = [shop(), StackTarget::new("billing", "production")];
    let recorded = |times: i64| {
        let delivery = delivery.clone();
        let stacks = stacks.clone();
        async move {
            store
                .record_delivery(&delivery, &stacks, NOW + times, &accepted())
                .await
                .unwrap()
        }
    };
    assert_eq!(recorded(0).await, Recorded::New);
    let states = store.stack_states().await.unwrap();
    let before = fixture.counts().await;
    assert_eq!(recorded(1).await, Recorded::Duplicate);

    assert_eq!(fixture.counts().await, before, "nothing was written twice");
    assert_eq!(store.stack_states().await.unwrap(), states);
    assert_eq!(store.head().await.unwrap().size, 1);
    assert_eq!(
        store.delivery("main/1/a").await.unwrap(),
        Some(delivery.clone())
    );
    assert_eq!(store.delivery("main/1/b").await.unwrap(), None);
    let names: Vec<_> = states.iter().map(|state| state.stack.as_str()).collect();
    assert_eq!(names, ["billing", "shop"]);
    for state in states {
        assert_eq!((state.wanted, state.done), (1, 0));
        assert_eq!(state.pending_trigger, Some(Trigger::Push));
        assert!(state.is_pending());
    }
    let concerns_nothing = Delivery {
        id: "main/1/c".to_owned(),
        ..delivery
    };
    let ignored = store
        .record_delivery(&concerns_nothing, &[], NOW, &accepted())
        .await
        .unwrap();
    assert_eq!(ignored, Recorded::New);
}

async fn of_many_equal_deliveries_at_once_one_is_new(fixture: Fixture) {
    let other = fixture.reopen().await;
    let tasks: Vec<_> = (0..16)
        .map(|index| {
            let store = if index % 2 == 0 {
                fixture.store.clone()
            } else {
                other.clone()
            };
            tokio::spawn(async move {
                store
                    .record_delivery(&delivery("main/1/a", 1), &[shop()], NOW, &accepted())
                    .await
                    .unwrap()
            })
        })
        .collect();
    let mut new = 0;
    for task in tasks {
        new += i32::from(task.await.unwrap() == Recorded::New);
    }
    assert_eq!(new, 1);
    assert_eq!(fixture.shop_state().await.wanted, 1);
    assert_eq!(fixture.store.head().await.unwrap().size, 1);
}

async fn concurrent_deliveries_to_crossing_stacks_count_every_one(fixture: Fixture) {
    let (left, right) = (StackTarget::new("a", "one"), StackTarget::new("b", "two"));
    let tasks: Vec<_> = (0..16)
        .map(|index| {
            let store = fixture.store.clone();
            let stacks = if index % 2 == 0 {
                [left.clone(), right.clone()]
            } else {
                [right.clone(), left.clone()]
            };
            tokio::spawn(async move {
                let delivery = delivery(&format!("main/1/{index}"), index);
                store
                    .record_delivery(&delivery, &stacks, NOW, &accepted())
                    .await
                    .unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    for state in fixture.store.stack_states().await.unwrap() {
        assert_eq!(state.wanted, 16);
        let deliveries = fixture
            .store
            .deliveries_between(&state.stack, 0, 16)
            .await
            .unwrap();
        assert_eq!(deliveries.len(), 16);
    }
    assert!(fixture.verified().await.is_ok());
}

async fn deliveries_are_found_by_generation_and_by_branch(fixture: Fixture) {
    let store = &fixture.store;
    for index in 1..=4 {
        fixture.push(index).await;
    }
    let between = store.deliveries_between("shop", 1, 3).await.unwrap();
    let ids: Vec<_> = between.iter().map(|each| each.id.as_str()).collect();
    assert_eq!(ids, ["main/1/2", "main/1/3"]);
    assert_eq!(between[0], delivery("main/1/2", 2));
    assert!(
        store
            .deliveries_between("other", 0, 9)
            .await
            .unwrap()
            .is_empty()
    );

    let newest = store
        .newest_delivery("apis", "refs/heads/main")
        .await
        .unwrap();
    assert_eq!(newest.unwrap().id, "main/1/4");
    assert_eq!(
        store
            .newest_delivery("apis", "refs/heads/other")
            .await
            .unwrap(),
        None
    );
}

async fn hostile_texts_are_recorded(fixture: Fixture) {
    let hostile = "a\0b'; drop table run; -- \u{202e}%_\\".to_owned();
    let mut sent = delivery("main/1/a", 1);
    sent.git_ref = Some(hostile.clone());
    sent.commits[0].message.clone_from(&hostile);
    sent.pusher = Some(Person {
        name: Some(hostile.clone()),
        ..Person::default()
    });
    let mut event = accepted();
    event.payload = json!({"ref": hostile});
    event.people = vec![("pusher".to_owned(), sent.pusher.clone().unwrap())];
    fixture
        .store
        .record_delivery(&sent, &[shop()], NOW, &event)
        .await
        .unwrap();
    let kept = fixture.store.delivery("main/1/a").await.unwrap().unwrap();
    assert_eq!(kept.commits, sent.commits);
    assert_eq!(kept.pusher, sent.pusher);
    assert_eq!(kept.git_ref, Some(hostile.replace('\0', "\u{fffd}")));
    assert!(fixture.verified().await.is_ok());

    let lease = fixture.lease().await;
    let mut run = new_run("run-1", 1);
    run.gateway_version = Some(hostile.clone());
    let intent = Intent {
        changes: vec![ChangeRecord {
            reason: hostile.clone(),
            message: Some(hostile.clone()),
            ..change(0, Action::Create)
        }],
        ..Intent::default()
    };
    fixture
        .store
        .begin_run(&lease, &run, &intent)
        .await
        .unwrap();
    let finish = Finish {
        message: Some(hostile.clone()),
        problem: Some(hostile.clone()),
        outcomes: vec![ChangeOutcome {
            position: 0,
            outcome: Outcome::Failed,
            message: Some(hostile.clone()),
        }],
        ..finish(RunStatus::Failed, 1)
    };
    fixture
        .store
        .finish_run(&lease, &run.id, &finish)
        .await
        .unwrap();
    let problem = fixture.shop_state().await.problem.unwrap();
    assert!(problem.contains("drop table run"));
}

async fn a_timer_adds_nothing_to_work_that_waits_and_a_person_always_does(fixture: Fixture) {
    let store = &fixture.store;
    assert!(store.want(&shop(), Trigger::Sweep).await.unwrap());
    for timer in [Trigger::Sweep, Trigger::Drift, Trigger::StartUp] {
        assert!(!store.want(&shop(), timer).await.unwrap());
    }
    let state = fixture.shop_state().await;
    assert_eq!(
        (state.wanted, state.pending_trigger),
        (1, Some(Trigger::Sweep))
    );

    assert!(store.want(&shop(), Trigger::Manual).await.unwrap());
    let state = fixture.shop_state().await;
    assert_eq!(
        (state.wanted, state.pending_trigger),
        (2, Some(Trigger::Manual))
    );
    assert_eq!(store.due(NOW).await.unwrap(), [shop()]);

    let moved = StackTarget::new("shop", "elsewhere");
    assert!(store.want(&moved, Trigger::Approval).await.unwrap());
    assert_eq!(store.due(NOW).await.unwrap(), [moved]);
    assert_eq!(store.stack_state("nobody").await.unwrap(), None);
}

async fn a_push_during_a_run_costs_one_further_run(fixture: Fixture) {
    let store = &fixture.store;
    fixture.push(1).await;
    let lease = fixture.lease().await;
    let claimed = fixture.shop_state().await.wanted;
    store
        .begin_run(&lease, &new_run("run-1", claimed), &Intent::default())
        .await
        .unwrap();
    fixture.push(2).await;
    fixture.push(3).await;
    store
        .finish_run(
            &lease,
            &run_id("run-1"),
            &finish(RunStatus::Succeeded, claimed),
        )
        .await
        .unwrap();
    let state = fixture.shop_state().await;
    assert_eq!((state.wanted, state.done), (3, 1));
    assert_eq!(store.due(NOW).await.unwrap(), [shop()]);
    let passed_over = store
        .deliveries_between("shop", state.done, state.wanted)
        .await
        .unwrap();
    assert_eq!(passed_over.len(), 2);

    store
        .record_run(
            &lease,
            &new_run("run-2", 3),
            &Intent::default(),
            &finish(RunStatus::Succeeded, 3),
        )
        .await
        .unwrap();
    assert!(store.due(NOW).await.unwrap().is_empty());
    // A late end of an old claim takes nothing back.
    store
        .record_run(
            &lease,
            &new_run("run-3", 1),
            &Intent::default(),
            &finish(RunStatus::Succeeded, 1),
        )
        .await
        .unwrap();
    assert_eq!(fixture.shop_state().await.done, 3);
}

async fn a_run_that_failed_for_a_while_is_tried_again_later(fixture: Fixture) {
    let store = &fixture.store;
    fixture.push(1).await;
    let lease = fixture.lease().await;
    let retry = Finish {
        settle: Settle::Retry {
            attempt: 3,
            not_before: NOW + HOUR,
        },
        problem: Some("the gateway does not answer".to_owned()),
        ..finish(RunStatus::Failed, 1)
    };
    store
        .record_run(&lease, &new_run("run-1", 1), &Intent::default(), &retry)
        .await
        .unwrap();
    let state = fixture.shop_state().await;
    assert_eq!((state.wanted, state.done, state.attempt), (1, 0, 3));
    assert_eq!(
        state.problem.as_deref(),
        Some("the gateway does not answer")
    );
    assert_eq!(state.last_status, Some(RunStatus::Failed));
    assert_eq!(state.settled, None);
    assert!(store.due(NOW + HOUR - 1).await.unwrap().is_empty());
    assert_eq!(store.due(NOW + HOUR).await.unwrap(), [shop()]);

    fixture.push(2).await;
    assert_eq!(
        store.due(NOW).await.unwrap(),
        [shop()],
        "a push does not wait"
    );
}

fn new_hold(until: Option<i64>) -> NewHold {
    NewHold {
        at: NOW,
        until,
        reason: "a fair\0".to_owned(),
        by: jane(),
    }
}

fn hold_ended(ended: &Ended) -> NewEvent {
    NewEvent {
        payload: json!({"waited": ended.waited}),
        ..event(EventType::HoldEnded, 1)
    }
}

async fn a_held_stack_is_not_due_until_its_hold_ends(fixture: Fixture) {
    let store = &fixture.store;
    let held = event(EventType::StackHeld, 0);
    // Nobody has asked for it yet.
    store
        .hold(&shop(), &new_hold(Some(NOW + HOUR)), &held)
        .await
        .unwrap();
    fixture.push(1).await;
    fixture.push(2).await;
    store
        .hold(
            &shop(),
            &NewHold {
                at: NOW + 1,
                ..new_hold(Some(NOW + HOUR))
            },
            &held,
        )
        .await
        .unwrap();
    let hold = fixture.shop_state().await.hold.unwrap();
    assert_eq!((hold.since, hold.until), (NOW, Some(NOW + HOUR)));
    assert_eq!(
        (hold.reason.as_str(), hold.by),
        ("a fair\u{fffd}", Some(jane()))
    );
    assert_eq!(hold.rollback, None);
    assert!(store.due(NOW + HOUR).await.unwrap().is_empty());
    assert!(store.unfinished(NOW + HOUR - 1).await.unwrap().is_empty());
    assert_eq!(store.unfinished(NOW + HOUR).await.unwrap(), [shop()]);

    let shop_stack = shop();
    let end = |now: i64| store.end_hold_that_is_over(&shop_stack, now, hold_ended);
    assert_eq!(end(NOW + HOUR - 1).await.unwrap(), None);
    let (one, two) = tokio::join!(end(NOW + HOUR), end(NOW + HOUR));
    let ended: Vec<Ended> = [one.unwrap(), two.unwrap()].into_iter().flatten().collect();
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].waited, ["main/1/1", "main/1/2"]);
    assert_eq!(store.due(NOW).await.unwrap(), [shop()]);
    assert_eq!(fixture.shop_state().await.hold, None);
    assert_eq!(store.release_hold(&shop(), hold_ended).await.unwrap(), None);
    assert_eq!(fixture.count("audit_event").await, 5);
}

async fn a_rollback_is_due_until_it_is_carried_out_and_an_open_run_until_it_is_resolved(
    fixture: Fixture,
) {
    let store = &fixture.store;
    let lease = fixture.lease().await;
    let asked = [event(EventType::StackRolledBack, 0)];
    store
        .roll_back(&shop(), &new_hold(None), &revision(1), &asked)
        .await
        .unwrap();
    fixture.push(2).await;
    let state = fixture.shop_state().await;
    let rollback = state.hold.unwrap().rollback.unwrap();
    assert_eq!((rollback.revision, rollback.generation), (revision(1), 1));
    assert_eq!(state.wanted, 2);
    assert!(store.due(NOW).await.unwrap().is_empty());
    assert_eq!(store.unfinished(NOW).await.unwrap(), [shop()]);
    let done = finish(RunStatus::Succeeded, 1);
    store
        .record_run(&lease, &new_run("run-1", 1), &Intent::default(), &done)
        .await
        .unwrap();
    assert!(
        store.unfinished(NOW).await.unwrap().is_empty(),
        "the push waits"
    );

    // An approval concerns what the rollback held back.
    store.want(&shop(), Trigger::Approval).await.unwrap();
    let rollback = fixture.shop_state().await.hold.unwrap().rollback.unwrap();
    assert_eq!(rollback.generation, 3);
    assert_eq!(store.unfinished(NOW).await.unwrap(), [shop()]);
    store
        .postpone("shop", 1, NOW + HOUR, "no answer")
        .await
        .unwrap();
    assert!(store.unfinished(NOW).await.unwrap().is_empty());
    let done = finish(RunStatus::Succeeded, 3);
    store
        .record_run(&lease, &new_run("run-2", 3), &Intent::default(), &done)
        .await
        .unwrap();

    // The head is wanted after it, although nothing waits.
    store
        .release_hold(&shop(), hold_ended)
        .await
        .unwrap()
        .unwrap();
    let state = fixture.shop_state().await;
    assert_eq!(
        (state.wanted, state.pending_trigger),
        (4, Some(Trigger::Manual))
    );
    assert_eq!(store.due(NOW).await.unwrap(), [shop()]);

    store
        .begin_run(&lease, &new_run("run-3", 4), &Intent::default())
        .await
        .unwrap();
    let held = event(EventType::StackHeld, 0);
    store.hold(&shop(), &new_hold(None), &held).await.unwrap();
    assert_eq!(store.unfinished(NOW).await.unwrap(), [shop()]);
    let interrupted = Finish {
        settle: Settle::Keep,
        ..finish(RunStatus::Interrupted, 4)
    };
    store
        .finish_run(&lease, &run_id("run-3"), &interrupted)
        .await
        .unwrap();
    assert!(store.unfinished(NOW).await.unwrap().is_empty());
}

async fn revisions_of_runs_are_found_by_their_first_digits(fixture: Fixture) {
    let store = &fixture.store;
    let lease = fixture.lease().await;
    for (index, digits) in ["aaaa", "aabb", "aaaa"].into_iter().enumerate() {
        let run = NewRun {
            revision: Some(format!("{digits}{:036}", 0).parse().unwrap()),
            started_at: NOW + i64::try_from(index).unwrap(),
            ..new_run(&format!("run-{index}"), 1)
        };
        let done = finish(RunStatus::Refused, 1);
        store
            .record_run(&lease, &run, &Intent::default(), &done)
            .await
            .unwrap();
    }
    let found = async |stack: &str, digits: &str, limit: i64| -> Vec<String> {
        let found = store.revisions_of_runs(stack, digits, limit).await.unwrap();
        found
            .iter()
            .map(|found| found.as_str()[..4].to_owned())
            .collect()
    };
    assert_eq!(found("shop", "aa", 9).await, ["aaaa", "aabb"]);
    assert_eq!(found("shop", "aa", 1).await, ["aaaa"]);
    assert_eq!(found("shop", "aab", 9).await, ["aabb"]);
    assert!(found("shop", "b%", 9).await.is_empty());
    assert!(found("billing", "aa", 9).await.is_empty());
}

/// The columns of a hold come to a table with rows in it.
#[tokio::test]
async fn a_stack_that_was_there_before_there_were_holds_has_none() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join(lockstep::store::FILE);
    let options = SqliteConnectOptions::new()
        .filename(&file)
        .create_if_missing(true);
    let pool = SqlitePoolOptions::new()
        .connect_with(options)
        .await
        .unwrap();
    SQLITE_MIGRATIONS.run_to(8, &pool).await.unwrap();
    sqlx::raw_sql(
        "insert into stack_state (stack, target, wanted, done, attempt, not_before, drifted) \
         values ('shop', 'production', 3, 2, 0, 0, 0)",
    )
    .execute(&pool)
    .await
    .unwrap();
    pool.close().await;
    let store = Store::embedded(home.path()).await.unwrap();
    let state = store.stack_state("shop").await.unwrap().unwrap();
    assert_eq!((state.wanted, state.hold), (3, None));
    assert_eq!(store.due(NOW).await.unwrap(), [shop()]);
}

/// Files and nodes come to objects and runs that were there before.
#[tokio::test]
async fn what_was_owned_and_open_before_there_were_nodes_is_so_on_the_first() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join(lockstep::store::FILE);
    let options = SqliteConnectOptions::new()
        .filename(&file)
        .create_if_missing(true);
    let pool = SqlitePoolOptions::new()
        .connect_with(options)
        .await
        .unwrap();
    SQLITE_MIGRATIONS.run_to(7, &pool).await.unwrap();
    let digest = Digest::of(b"x");
    sqlx::raw_sql(AssertSqlSafe(format!(
        "insert into inventory (target, node, object, stack, desired, gateway_version, run, \
         since, observed_at) values ('production', '', 'oas/a', 'shop', '{digest}', '5.14.0', \
         'run-0', 1, 1); \
         insert into run (id, stack, target, trigger, status, claimed, attempt, started_at, \
         commits, worker, fence, version, changes) values ('run-1', 'shop', 'production', 'push', \
         'running', 1, 0, 1, '[]', 'worker', 1, '0.1.0', 0)"
    )))
    .execute(&pool)
    .await
    .unwrap();
    pool.close().await;
    let store = Store::embedded(home.path()).await.unwrap();
    let inventories = store.inventories("production").await.unwrap();
    let owned = &inventories[""][&"oas/a".parse::<ObjectKey>().unwrap()];
    assert_eq!((owned.stack.as_str(), &owned.path), ("shop", &None));
    let open = store.open_runs("production").await.unwrap();
    assert_eq!(open[0].run.node, "");
    // It bars another on its node, and on no other.
    let lease = store.try_lease("production", "one", LONG).await.unwrap();
    let lease = lease.unwrap();
    let begin = async |id: &str, node: &str| {
        let run = NewRun {
            node: node.to_owned(),
            ..new_run(id, 1)
        };
        store.begin_run(&lease, &run, &Intent::default()).await
    };
    assert!(begin("run-2", "").await.is_err());
    begin("run-3", "b:8080").await.unwrap();
}

async fn a_lease_has_one_holder_and_every_holder_a_higher_fence(fixture: Fixture) {
    let store = &fixture.store;
    let asked = Instant::now();
    let first = store
        .try_lease("production", "one", LONG)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (first.target(), first.owner(), first.fence()),
        ("production", "one", 1)
    );
    assert!(first.deadline() >= asked + LONG && first.remaining() <= LONG);
    for owner in ["two", "one"] {
        assert!(
            store
                .try_lease("production", owner, LONG)
                .await
                .unwrap()
                .is_none()
        );
    }
    assert!(
        store
            .try_lease("staging", "two", LONG)
            .await
            .unwrap()
            .is_some()
    );
    let holder = store.holder("production").await.unwrap().unwrap();
    assert_eq!((holder.owner.as_str(), holder.fence), ("one", 1));
    assert!(holder.remaining > Duration::ZERO && holder.remaining <= LONG);
    let held: Vec<_> = store
        .leases()
        .await
        .unwrap()
        .into_iter()
        .map(|each| each.target)
        .collect();
    assert_eq!(held, ["production", "staging"]);

    store.release(first).await.unwrap();
    assert_eq!(store.holder("production").await.unwrap(), None);
    // A lease of no length has run out when it is given.
    let second = store
        .try_lease("production", "two", Duration::ZERO)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(second.fence(), 2);
    assert_eq!(second.remaining(), Duration::ZERO);
    let third = store
        .try_lease("production", "three", LONG)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(third.fence(), 3);
    let late = store.release(second).await.unwrap_err();
    assert!(matches!(late, Error::LeaseLost { .. }));
    assert_eq!(
        store.holder("production").await.unwrap().unwrap().owner,
        "three"
    );
}

async fn a_lease_is_renewed_by_its_holder_only(fixture: Fixture) {
    let store = &fixture.store;
    let short = Duration::from_mins(1);
    let lease = store
        .try_lease("production", "one", short)
        .await
        .unwrap()
        .unwrap();
    let clone = lease.clone();
    store.renew(&lease, LONG).await.unwrap();
    assert!(clone.remaining() > short, "clones are one lease");
    assert!(store.holder("production").await.unwrap().unwrap().remaining > short);

    let expired = store
        .try_lease("staging", "one", Duration::ZERO)
        .await
        .unwrap()
        .unwrap();
    let lost = store.renew(&expired, LONG).await.unwrap_err();
    assert!(matches!(&lost, Error::LeaseLost { target } if target == "staging"));
    assert!(!lost.is_transient());
    store.release(lease).await.unwrap();
    assert!(store.renew(&clone, LONG).await.is_err());
}

async fn of_many_workers_one_gets_the_lease(fixture: Fixture) {
    let other = fixture.reopen().await;
    let tasks: Vec<_> = (0..16)
        .map(|index| {
            let store = if index % 2 == 0 {
                fixture.store.clone()
            } else {
                other.clone()
            };
            tokio::spawn(async move {
                store
                    .try_lease("production", &format!("worker-{index}"), LONG)
                    .await
                    .unwrap()
            })
        })
        .collect();
    let mut holders = 0;
    for task in tasks {
        holders += i32::from(task.await.unwrap().is_some());
    }
    assert_eq!(holders, 1);
}

async fn a_lost_lease_writes_nothing(fixture: Fixture) {
    let store = &fixture.store;
    fixture.push(1).await;
    // Taken over since then, by the same owner: the fence alone tells them apart.
    let expired = store
        .try_lease("production", "worker", Duration::ZERO)
        .await
        .unwrap()
        .unwrap();
    let current = fixture.lease().await;
    store
        .begin_run(&current, &new_run("open", 1), &full_intent("open", 0))
        .await
        .unwrap();
    let elsewhere = store
        .try_lease("staging", "one", LONG)
        .await
        .unwrap()
        .unwrap();
    // Run out, and nobody came.
    let idle = store
        .try_lease("idle", "worker", Duration::ZERO)
        .await
        .unwrap()
        .unwrap();
    let before = fixture.counts().await;
    let state = fixture.shop_state().await;
    let run = new_run("lost", 1);
    let intent = full_intent("lost", 5);
    let end = full_finish(RunStatus::Succeeded, 1, "lost");

    for outcome in [
        store.begin_run(&expired, &run, &intent).await,
        store.extend_run(&expired, &run_id("open"), &intent).await,
        store.finish_run(&expired, &run_id("open"), &end).await,
        store.record_run(&expired, &run, &intent, &end).await,
        store.begin_run(&idle, &run, &intent).await,
        store.record_run(&idle, &run, &intent, &end).await,
    ] {
        assert!(
            matches!(outcome, Err(Error::LeaseLost { .. })),
            "{outcome:?}"
        );
    }
    // The lease of one target says nothing about a run of another.
    for outcome in [
        store.extend_run(&elsewhere, &run_id("open"), &intent).await,
        store.finish_run(&elsewhere, &run_id("open"), &end).await,
    ] {
        assert!(matches!(outcome, Err(Error::NotOpen(_))), "{outcome:?}");
    }
    assert_eq!(fixture.counts().await, before);
    assert_eq!(fixture.shop_state().await, state);
}

async fn letting_go_tells_of_work_that_was_asked_for_before(fixture: Fixture) {
    let store = &fixture.store;
    let lease = fixture.lease().await;
    fixture.push(1).await;
    store
        .want(&StackTarget::new("other", "staging"), Trigger::Manual)
        .await
        .unwrap();
    assert!(
        store
            .try_lease("production", "late", LONG)
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(store.release(lease).await.unwrap(), [shop()]);

    // Whoever raises and finds the lease taken is seen by whoever lets go: no interleaving loses
    // the work.
    for round in 2..30 {
        let lease = fixture.lease().await;
        store
            .record_run(
                &lease,
                &new_run(&format!("run-{round}"), round - 1),
                &Intent::default(),
                &finish(RunStatus::Succeeded, round - 1),
            )
            .await
            .unwrap();
        let pusher = fixture.store.clone();
        let raised = tokio::spawn(async move {
            let delivery = delivery(&format!("main/1/{round}"), round);
            pusher
                .record_delivery(&delivery, &[shop()], NOW, &accepted())
                .await
                .unwrap();
            pusher
                .try_lease("production", "pusher", LONG)
                .await
                .unwrap()
        });
        let seen = store.release(lease).await.unwrap();
        let got = raised.await.unwrap();
        assert!(
            !seen.is_empty() || got.is_some(),
            "round {round}: nobody does the work"
        );
        if let Some(lease) = got {
            store.release(lease).await.unwrap();
        }
    }
}

async fn an_intent_becomes_a_run_with_its_outcomes(fixture: Fixture) {
    let store = &fixture.store;
    fixture.push(1).await;
    let lease = fixture.lease().await;
    let run = new_run("run-1", 1);
    let intent = full_intent("run-1", 0);
    store.begin_run(&lease, &run, &intent).await.unwrap();

    let detail = store.run(&run.id).await.unwrap().unwrap();
    assert_eq!(detail.run.status, RunStatus::Running);
    assert_eq!(detail.run.finished_at, None);
    assert_eq!(detail.plan, run.plan);
    assert_eq!(detail.changes, intent.changes);
    let inventory = store.inventory("production", "").await.unwrap();
    assert_eq!(
        inventory[&object(0)].observed,
        None,
        "unknown while it is open"
    );

    let end = full_finish(RunStatus::Succeeded, 1, "run-1");
    store.finish_run(&lease, &run.id, &end).await.unwrap();
    let detail = store.run(&run.id).await.unwrap().unwrap();
    let NewRun {
        id,
        stack,
        node: _,
        trigger,
        revision: at,
        previous,
        claimed,
        attempt,
        started_at,
        plan_hash,
        plan,
        commits,
        deliveries,
        pusher,
        worker,
        version,
        gateway_version,
    } = run;
    assert_eq!(detail.plan, plan);
    let ids: Vec<_> = detail.deliveries.into_iter().map(|each| each.id).collect();
    assert_eq!(ids, deliveries);
    let kept = detail.run;
    assert_eq!(
        (kept.id, kept.stack, kept.trigger),
        (id.clone(), stack, trigger)
    );
    assert_eq!((kept.revision, kept.previous), (at, previous));
    assert_eq!(
        (kept.claimed, kept.attempt, kept.started_at),
        (claimed, attempt, started_at)
    );
    assert_eq!(
        (kept.plan_hash, kept.commits, kept.pusher),
        (plan_hash, commits, pusher)
    );
    assert_eq!((kept.worker, kept.version), (worker, version));
    assert_eq!(
        (kept.gateway_version, kept.target.as_str()),
        (gateway_version, "production")
    );
    assert_eq!((kept.fence, kept.changes), (lease.fence(), 3));
    assert_eq!(
        (kept.status, kept.finished_at),
        (RunStatus::Succeeded, Some(NOW + HOUR))
    );
    let outcomes: Vec<_> = detail.changes.iter().map(|change| change.outcome).collect();
    assert_eq!(
        outcomes,
        [Outcome::Applied, Outcome::Repaired, Outcome::Open]
    );
    assert_eq!(detail.changes[1].message.as_deref(), Some("put back"));

    assert_eq!(fixture.count("undo").await, 0, "previous bodies are gone");
    let inventory = store.inventory("production", "").await.unwrap();
    assert!(inventory[&object(0)].observed.is_some());
    let state = fixture.shop_state().await;
    assert_eq!(
        (state.done, state.last_status),
        (1, Some(RunStatus::Succeeded))
    );
    assert_eq!(
        (state.settled, state.settled_run),
        (Some(revision(1)), Some(id.clone()))
    );
    assert_eq!(
        (state.settled_at, state.last_success_at),
        (Some(NOW + HOUR), Some(NOW + HOUR))
    );
    assert_eq!(state.last_run, Some(id));
    assert!(store.was_settled("shop", &revision(1)).await.unwrap());
    assert!(!store.was_settled("shop", &revision(2)).await.unwrap());
    assert!(!store.was_settled("other", &revision(1)).await.unwrap());
    assert!(store.run(&run_id("nothing")).await.unwrap().is_none());
    assert_eq!(fixture.verified().await.unwrap().size, 3);
}

async fn a_further_wave_extends_the_run(fixture: Fixture) {
    let store = &fixture.store;
    let lease = fixture.lease().await;
    store
        .begin_run(&lease, &new_run("run-1", 0), &full_intent("run-1", 0))
        .await
        .unwrap();
    store
        .extend_run(&lease, &run_id("run-1"), &full_intent("run-1", 3))
        .await
        .unwrap();
    let open = store.open_runs("production").await.unwrap();
    let positions: Vec<_> = open[0]
        .changes
        .iter()
        .map(|change| change.position)
        .collect();
    assert_eq!(positions, [0, 1, 2, 3, 4, 5]);
    assert_eq!((open[0].run.changes, open[0].undo.len()), (6, 2));
    let taken = store
        .extend_run(&lease, &run_id("run-1"), &full_intent("run-1", 3))
        .await;
    assert!(
        matches!(taken, Err(Error::Database(_))),
        "a position is given once"
    );
    assert!(
        store
            .extend_run(&lease, &run_id("run-2"), &full_intent("run-2", 0))
            .await
            .is_err()
    );
    assert_eq!(store.head().await.unwrap().size, 2);
}

async fn a_run_that_writes_nothing_is_recorded_at_once(fixture: Fixture) {
    let store = &fixture.store;
    let lease = fixture.lease().await;
    let refused = Finish {
        message: Some("3 problems".to_owned()),
        settle: Settle::Done {
            claimed: 1,
            settled: None,
        },
        ..full_finish(RunStatus::Refused, 1, "run-1")
    };
    fixture.push(1).await;
    store
        .record_run(
            &lease,
            &new_run("run-1", 1),
            &full_intent("run-1", 0),
            &refused,
        )
        .await
        .unwrap();
    let detail = store.run(&run_id("run-1")).await.unwrap().unwrap();
    assert_eq!(detail.run.status, RunStatus::Refused);
    assert_eq!(detail.run.message.as_deref(), Some("3 problems"));
    assert_eq!(detail.changes.len(), 3);
    assert_eq!(detail.changes[0].outcome, Outcome::Applied);
    assert_eq!(fixture.count("undo").await, 0);
    let state = fixture.shop_state().await;
    assert_eq!((state.done, state.settled), (1, None));
    let shown = store.events(&EventFilter::default()).await.unwrap();
    assert!(shown[0].header.contains("run.finished") && shown[1].header.contains("run.intended"));
    assert!(!store.was_settled("shop", &revision(1)).await.unwrap());
}

async fn an_open_run_bars_the_next_until_it_is_resolved(fixture: Fixture) {
    let store = &fixture.store;
    fixture.push(1).await;
    let dead = fixture.lease().await;
    store
        .begin_run(&dead, &new_run("run-1", 1), &full_intent("run-1", 0))
        .await
        .unwrap();
    fixture.sql("update lease set until = 0").await.unwrap();

    let lease = fixture.lease().await;
    let open = store.open_runs("production").await.unwrap();
    assert_eq!(open.len(), 1);
    assert_eq!(open[0].run.id, run_id("run-1"));
    assert_eq!(open[0].undo[0].sealed, b"sealed");
    assert_eq!(open[0].undo[0].object, object(1));
    assert!(!format!("{:?}", open[0].undo).contains("sealed"));
    assert!(store.open_runs("staging").await.unwrap().is_empty());
    assert!(
        store
            .begin_run(&lease, &new_run("run-2", 1), &Intent::default())
            .await
            .is_err()
    );

    let state = fixture.shop_state().await;
    let interrupted = Finish {
        settle: Settle::Keep,
        ..full_finish(RunStatus::Interrupted, 1, "run-1")
    };
    store
        .finish_run(&lease, &run_id("run-1"), &interrupted)
        .await
        .unwrap();
    assert_eq!(
        fixture.shop_state().await,
        state,
        "the work is still to be done"
    );
    assert!(store.open_runs("production").await.unwrap().is_empty());
    store
        .begin_run(&lease, &new_run("run-2", 1), &Intent::default())
        .await
        .unwrap();
}

async fn a_run_is_finished_once(fixture: Fixture) {
    let store = &fixture.store;
    let lease = fixture.lease().await;
    let end = full_finish(RunStatus::Succeeded, 1, "run-1");
    store
        .begin_run(&lease, &new_run("run-1", 1), &full_intent("run-1", 0))
        .await
        .unwrap();
    store
        .finish_run(&lease, &run_id("run-1"), &end)
        .await
        .unwrap();
    let before = fixture.counts().await;
    let again = store.finish_run(&lease, &run_id("run-1"), &end).await;
    assert!(matches!(again, Err(Error::NotOpen(id)) if id == run_id("run-1")));
    assert_eq!(fixture.counts().await, before);
}

async fn the_inventory_follows_its_changes(fixture: Fixture) {
    let store = &fixture.store;
    let lease = fixture.lease().await;
    let put = |index: i64, stack: &str| {
        let owned = Owned {
            stack: stack.to_owned(),
            ..owned("run-1", Some(index))
        };
        InventoryChange::put(object(index), owned)
    };
    let node = InventoryChange::Put {
        node: "second".to_owned(),
        object: object(1),
        owned: owned("run-1", Some(9)),
    };
    let record = |id: &'static str, inventory: Vec<InventoryChange>| {
        let finish = Finish {
            inventory,
            ..finish(RunStatus::Succeeded, 1)
        };
        let lease = lease.clone();
        async move {
            store
                .record_run(&lease, &new_run(id, 1), &Intent::default(), &finish)
                .await
                .unwrap();
        }
    };
    record(
        "run-1",
        vec![put(1, "shop"), put(2, "shop"), put(3, "other"), node],
    )
    .await;
    let inventory = store.inventory("production", "").await.unwrap();
    assert_eq!(inventory.len(), 3);
    assert_eq!(inventory[&object(2)], owned("run-1", Some(2)));
    assert_eq!(
        store.inventory("production", "second").await.unwrap().len(),
        1
    );
    assert!(store.inventory("staging", "").await.unwrap().is_empty());

    let remove = InventoryChange::remove;
    // Of two changes to one object the later stands.
    let changes = vec![
        put(1, "other"),
        remove(object(2)),
        remove(object(3)),
        put(3, "shop"),
        put(4, "shop"),
        remove(object(4)),
    ];
    record("run-2", changes).await;
    let inventory = store.inventory("production", "").await.unwrap();
    let owners: Vec<_> = inventory
        .iter()
        .map(|(key, owned)| (key.clone(), owned.stack.as_str()))
        .collect();
    assert_eq!(owners, [(object(1), "other"), (object(3), "shop")]);
    assert_eq!(
        store.inventory("production", "second").await.unwrap().len(),
        1
    );
    let counts = store.owned_objects().await.unwrap();
    assert_eq!((counts["other"], counts["shop"]), (1, 2));
}

async fn bodies_are_kept_once_by_their_hash(fixture: Fixture) {
    let store = &fixture.store;
    let lease = fixture.lease().await;
    let bodies: Vec<_> = (0..2_500).map(body).collect();
    let twice = [bodies.clone(), bodies.clone()].concat();
    let finish = Finish {
        bodies: twice,
        ..finish(RunStatus::Succeeded, 1)
    };
    for id in ["run-1", "run-2"] {
        store
            .record_run(&lease, &new_run(id, 1), &Intent::default(), &finish)
            .await
            .unwrap();
    }
    assert_eq!(fixture.count("body").await, 2_500);
    let mut digests: Vec<_> = bodies.iter().map(|body| body.digest).collect();
    digests.push(Digest::of(b"unknown"));
    digests.push(digests[0]);
    let found = store.bodies(&digests).await.unwrap();
    assert_eq!(found.len(), 2_500);
    assert!(bodies.iter().all(|body| found[&body.digest] == body.text));
    assert!(store.bodies(&[]).await.unwrap().is_empty());
}

async fn deletions_are_counted_from_a_time_on(fixture: Fixture) {
    let store = &fixture.store;
    let lease = fixture.lease().await;
    let outcomes = [
        Outcome::Applied,
        Outcome::Applied,
        Outcome::Failed,
        Outcome::Held,
    ];
    let changes = (0..)
        .zip(outcomes)
        .map(|(position, outcome)| ChangeRecord {
            outcome,
            ..change(position, Action::Delete)
        })
        .chain([ChangeRecord {
            outcome: Outcome::Applied,
            ..change(9, Action::Update)
        }])
        .collect();
    let intent = Intent {
        changes,
        ..Intent::default()
    };
    let end = finish(RunStatus::Parked, 1);
    store
        .record_run(&lease, &new_run("run-1", 1), &intent, &end)
        .await
        .unwrap();
    assert_eq!(store.deletions_since("shop", "", end.at).await.unwrap(), 2);
    assert_eq!(
        store.deletions_since("shop", "", end.at + 1).await.unwrap(),
        0
    );
    assert_eq!(store.deletions_since("other", "", 0).await.unwrap(), 0);
    assert!(store.was_settled("shop", &revision(1)).await.unwrap());
}

async fn drift_is_kept_until_a_run_succeeds(fixture: Fixture) {
    let store = &fixture.store;
    fixture.push(1).await;
    let seen = Digest::of(b"this drift");
    store.set_drift("shop", 4, Some(seen), NOW).await.unwrap();
    let state = store.stack_state("shop").await.unwrap().unwrap();
    assert_eq!(state.drift_seen, Some(seen));
    let state = fixture.shop_state().await;
    assert_eq!((state.drifted, state.drift_checked_at), (4, Some(NOW)));
    let lease = fixture.lease().await;
    for (id, status, left) in [
        ("run-1", RunStatus::Failed, 4),
        ("run-2", RunStatus::Succeeded, 0),
    ] {
        store
            .record_run(
                &lease,
                &new_run(id, 1),
                &Intent::default(),
                &finish(status, 1),
            )
            .await
            .unwrap();
        assert_eq!(fixture.shop_state().await.drifted, left);
    }
}

async fn waiting_deliveries_show_their_age(fixture: Fixture) {
    let store = &fixture.store;
    for index in 1..=3 {
        fixture.push(index).await;
    }
    store
        .want(&StackTarget::new("swept", "production"), Trigger::Sweep)
        .await
        .unwrap();
    let oldest = store.oldest_unsettled().await.unwrap();
    assert_eq!(
        oldest.into_iter().collect::<Vec<_>>(),
        [("shop".to_owned(), NOW + 1)]
    );
    let lease = fixture.lease().await;
    for (id, claimed, left) in [("run-1", 2, Some(NOW + 3)), ("run-2", 3, None)] {
        store
            .record_run(
                &lease,
                &new_run(id, claimed),
                &Intent::default(),
                &finish(RunStatus::Succeeded, claimed),
            )
            .await
            .unwrap();
        assert_eq!(
            store.oldest_unsettled().await.unwrap().get("shop").copied(),
            left
        );
    }
}

async fn a_sink_begins_at_the_end_and_moves_under_its_lease_only(fixture: Fixture) {
    let store = &fixture.store;
    assert_eq!(store.sink("notify.ops").await.unwrap(), None);
    store.open_sink("notify.ops").await.unwrap();
    let sink = async || store.sink("notify.ops").await.unwrap().unwrap();
    assert_eq!(sink().await.cursor, -1);
    store
        .record_events(&[accepted(), accepted(), accepted()])
        .await
        .unwrap();
    // It is opened once: what it was told stays.
    store.open_sink("notify.ops").await.unwrap();
    assert_eq!(sink().await.cursor, -1);
    store.open_sink("notify.late").await.unwrap();
    let late = store.sink("notify.late").await.unwrap().unwrap();
    assert_eq!(late.cursor, 2);

    let name = "sink:notify.ops";
    let lease = store.try_lease(name, "one", LONG).await.unwrap().unwrap();
    let change = async |change: SinkChange| {
        store
            .change_sink(&lease, "notify.ops", &change)
            .await
            .map(drop)
    };
    for attempt in 1..=2 {
        let failed = SinkChange::Failed {
            attempt,
            not_before: NOW + attempt,
            problem: "it answered\0 500".to_owned(),
            at: NOW + attempt,
        };
        change(failed).await.unwrap();
    }
    let failing = sink().await;
    assert_eq!((failing.attempt, failing.not_before), (2, NOW + 2));
    assert_eq!(failing.problem.as_deref(), Some("it answered\u{fffd} 500"));
    assert_eq!(failing.failing_since, Some(NOW + 1));
    assert_eq!(failing.cursor, -1);
    let gave_up = SinkChange::GaveUp {
        cursor: 0,
        problem: "it answered 404".to_owned(),
        at: NOW + 9,
        events: vec![event(EventType::NoticeFailed, 9)],
    };
    change(gave_up).await.unwrap();
    assert_eq!(store.head().await.unwrap().size, 4);
    let given_up = sink().await;
    assert_eq!((given_up.cursor, given_up.told_at), (0, None));
    assert_eq!(given_up.failing_since, Some(NOW + 1));
    change(SinkChange::Told {
        cursor: 1,
        at: NOW + 10,
    })
    .await
    .unwrap();
    let told = sink().await;
    assert_eq!((told.cursor, told.attempt, told.not_before), (1, 0, 0));
    assert_eq!((told.problem, told.failing_since), (None, None));
    assert_eq!(told.told_at, Some(NOW + 10));
    change(SinkChange::Passed { cursor: 2 }).await.unwrap();
    assert_eq!(sink().await.cursor, 2);

    store.release(lease.clone()).await.unwrap();
    let lost = change(SinkChange::Passed { cursor: 3 }).await;
    assert!(matches!(lost, Err(Error::LeaseLost { .. })));
    assert_eq!(sink().await.cursor, 2);
}

async fn events_are_read_on_from_a_place_by_type_and_run(fixture: Fixture) {
    let store = &fixture.store;
    let of_run = |event_type, index, run: &str| NewEvent {
        run: Some(run_id(run)),
        ..event(event_type, index)
    };
    let events = [
        event(EventType::ServerStarted, 0),
        of_run(EventType::RunFinished, 1, "one"),
        of_run(EventType::ChangeHeld, 2, "two"),
        of_run(EventType::RunFinished, 3, "two"),
        event(EventType::DriftObserved, 4),
    ];
    store.record_events(&events).await.unwrap();
    let two = run_id("two");
    let read = async |after, types: &[EventType], run, limit| -> Vec<i64> {
        let events = store.events_after(after, types, run, limit).await.unwrap();
        events.iter().map(|event| event.sequence).collect()
    };
    let types = [EventType::RunFinished, EventType::DriftObserved];
    assert_eq!(read(-1, &types, None, 100).await, [1, 3, 4]);
    assert_eq!(read(1, &types, None, 100).await, [3, 4]);
    assert_eq!(read(-1, &types, None, 2).await, [1, 3]);
    assert_eq!(read(-1, &types, Some(&two), 100).await, [3]);
    assert_eq!(read(4, &types, None, 100).await, Vec::<i64>::new());
    let before = async |after, moment| store.events_before(after, &types, moment).await.unwrap();
    assert_eq!(before(-1, NOW + 4).await, (2, Some(3)));
    assert_eq!(before(1, NOW + 100).await, (2, Some(4)));
    assert_eq!(before(-1, NOW).await, (0, None));
}

async fn ten_thousand_changes_fit_one_run(fixture: Fixture) {
    const MANY: i64 = 10_000;
    let store = &fixture.store;
    let lease = fixture.lease().await;
    let event = |event_type, index| NewEvent {
        object: Some(object(index)),
        run: Some(run_id("run-1")),
        people: vec![("pusher".to_owned(), jane())],
        ..NewEvent::new(event_type, NOW, worker(), json!({"index": index}))
    };
    let intent = Intent {
        changes: (0..MANY)
            .map(|index| change(index, Action::Create))
            .collect(),
        bodies: (0..MANY).map(body).collect(),
        undo: (0..MANY).map(undo).collect(),
        inventory: (0..MANY)
            .map(|index| InventoryChange::put(object(index), owned("run-1", None)))
            .collect(),
        events: vec![event(EventType::RunIntended, 0)],
    };
    let begun = Instant::now();
    store
        .begin_run(&lease, &new_run("run-1", 1), &intent)
        .await
        .unwrap();
    let intended = begun.elapsed();
    let end = Finish {
        outcomes: (0..MANY)
            .map(|position| ChangeOutcome {
                position,
                outcome: Outcome::Applied,
                message: None,
            })
            .collect(),
        inventory: (0..MANY)
            .map(|index| InventoryChange::put(object(index), owned("run-1", Some(index))))
            .collect(),
        events: (0..MANY)
            .map(|index| event(EventType::ChangeApplied, index))
            .collect(),
        ..finish(RunStatus::Succeeded, 1)
    };
    let begun = Instant::now();
    store
        .finish_run(&lease, &run_id("run-1"), &end)
        .await
        .unwrap();
    eprintln!(
        "10,000 changes: intent {intended:?}, outcome {:?}",
        begun.elapsed()
    );

    let changes = store.changes(&run_id("run-1")).await.unwrap();
    assert_eq!(changes.len(), 10_000);
    assert!(
        changes
            .iter()
            .all(|change| change.outcome == Outcome::Applied)
    );
    let inventory = store.inventory("production", "").await.unwrap();
    assert!(inventory.len() == 10_000 && inventory.values().all(|owned| owned.observed.is_some()));
    assert_eq!(fixture.verified().await.unwrap().size, MANY + 1);
    let removed = Finish {
        inventory: (0..MANY)
            .map(|index| InventoryChange::remove(object(index)))
            .collect(),
        ..finish(RunStatus::Succeeded, 1)
    };
    store
        .record_run(&lease, &new_run("run-2", 1), &Intent::default(), &removed)
        .await
        .unwrap();
    assert!(store.inventory("production", "").await.unwrap().is_empty());
}

async fn runs_are_filtered_and_their_pages_are_stable(fixture: Fixture) {
    let store = &fixture.store;
    let lease = fixture.lease().await;
    let record = |index: i64| {
        let run = NewRun {
            stack: if index % 2 == 0 { "shop" } else { "billing" }.to_owned(),
            // Several at one time: the id breaks the tie.
            started_at: NOW + index / 3,
            ..new_run(&format!("run-{index:02}"), 1)
        };
        let intent = Intent {
            changes: vec![ChangeRecord {
                object: object(index % 5),
                ..change(0, Action::Update)
            }],
            ..Intent::default()
        };
        let status = if index % 4 == 0 {
            RunStatus::Failed
        } else {
            RunStatus::Succeeded
        };
        let lease = lease.clone();
        async move {
            store
                .record_run(&lease, &run, &intent, &finish(status, 1))
                .await
                .unwrap();
        }
    };
    for index in 0..20 {
        record(index).await;
    }
    let ids = |runs: Vec<lockstep::store::Run>| -> Vec<String> {
        runs.into_iter().map(|run| run.id.0).collect()
    };
    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let filter = RunFilter {
            before: before.clone(),
            limit: 7,
            ..RunFilter::default()
        };
        let page = store.runs(&filter).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.id.clone());
        seen.extend(ids(page));
        record(20 + i64::try_from(seen.len()).unwrap()).await;
    }
    let expected: Vec<_> = (0..20)
        .rev()
        .map(|index| format!("run-{index:02}"))
        .collect();
    assert_eq!(
        seen, expected,
        "newest first, each once, whatever is added meanwhile"
    );

    let fresh = RunFilter {
        until: Some(NOW + 6),
        limit: 100,
        ..RunFilter::default()
    };
    let shown = |filter: RunFilter| async move { ids(store.runs(&filter).await.unwrap()) };
    assert_eq!(shown(fresh.clone()).await.len(), 18);
    let of_stack = RunFilter {
        stack: Some("billing".to_owned()),
        status: Some(RunStatus::Succeeded),
        target: Some("production".to_owned()),
        since: Some(NOW + 5),
        ..fresh.clone()
    };
    assert_eq!(shown(of_stack).await, ["run-17", "run-15"]);
    let of_object = RunFilter {
        object: Some(object(2)),
        ..fresh.clone()
    };
    assert_eq!(
        shown(of_object).await,
        ["run-17", "run-12", "run-07", "run-02"]
    );
    let elsewhere = RunFilter {
        target: Some("staging".to_owned()),
        ..fresh
    };
    assert!(shown(elsewhere).await.is_empty());
}

async fn pages_of_events_are_stable(fixture: Fixture) {
    let store = &fixture.store;
    store.record_events(&twenty_events()).await.unwrap();
    store.record_events(&[]).await.unwrap();

    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let filter = EventFilter {
            before,
            limit: 6,
            ..EventFilter::default()
        };
        let page = store.events(&filter).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.sequence);
        seen.extend(page.iter().map(|event| event.sequence));
        store.record_events(&twenty_events()[..1]).await.unwrap();
    }
    assert_eq!(seen, (0..20).rev().collect::<Vec<_>>());
}

async fn events_are_filtered(fixture: Fixture) {
    let store = &fixture.store;
    store.record_events(&twenty_events()).await.unwrap();
    let shown = |filter: EventFilter| async move {
        let events = store.events(&filter).await.unwrap();
        events
            .into_iter()
            .map(|event| event.sequence)
            .collect::<Vec<_>>()
    };
    let all = EventFilter::default;
    let checks = [
        (
            EventFilter {
                event_type: Some(EventType::RunFinished),
                ..all()
            },
            vec![15, 10, 5, 0],
        ),
        (
            EventFilter {
                object: Some(object(6)),
                ..all()
            },
            vec![6],
        ),
        (
            EventFilter {
                run: Some(run_id("run-7")),
                ..all()
            },
            vec![7],
        ),
        (
            EventFilter {
                since: Some(NOW + 3),
                until: Some(NOW + 6),
                ..all()
            },
            vec![5, 4, 3],
        ),
        (
            EventFilter {
                stack: Some("shop".to_owned()),
                target: Some("production".to_owned()),
                actor_kind: Some("worker".to_owned()),
                actor_id: Some("one".to_owned()),
                limit: 2,
                ..all()
            },
            vec![18, 16],
        ),
        (
            EventFilter {
                target: Some("staging".to_owned()),
                ..all()
            },
            vec![],
        ),
    ];
    for (filter, expected) in checks {
        assert_eq!(shown(filter.clone()).await, expected, "{filter:?}");
    }
    let page = store.events_from(3, 2).await.unwrap();
    let sequences: Vec<_> = page.iter().map(|event| event.sequence).collect();
    assert_eq!(sequences, [3, 4]);
    let people: Vec<_> = page[0]
        .people
        .iter()
        .map(|opening| opening.value.as_str())
        .collect();
    assert_eq!(
        people,
        [canonical(&json!(jane())).as_str(), "{}"],
        "in the order of the event"
    );
}

async fn the_history_refuses_changes(fixture: Fixture) {
    fixture.history().await;
    let lease = fixture.lease().await;
    let finish = Finish {
        bodies: vec![body(1)],
        ..finish(RunStatus::Succeeded, 1)
    };
    fixture
        .store
        .record_run(&lease, &new_run("run-1", 1), &Intent::default(), &finish)
        .await
        .unwrap();
    let zeros = "0".repeat(64);
    let mut refused = vec![
        "update audit_event set payload = '{}' where sequence = 1".to_owned(),
        "update audit_event set sequence = 99 where sequence = 5".to_owned(),
        "delete from audit_event".to_owned(),
        "delete from audit_event where sequence = 5".to_owned(),
        "update audit_person set value = '{}'".to_owned(),
        "update audit_head set size = 1".to_owned(),
        "update audit_head set size = 6".to_owned(),
        "update audit_head set size = 7".to_owned(),
        format!("update audit_head set hash = '{zeros}'"),
        "delete from audit_head".to_owned(),
        format!("insert into audit_head (id, size, hash) values (1, 0, '{zeros}')"),
        format!("insert into audit_head (id, size, hash) values (2, 0, '{zeros}')"),
        "update body set content = '{}'".to_owned(),
        "insert into audit_event (sequence, header, payload, previous, hash) \
         select sequence, header, '{}', previous, hash from audit_event where sequence = 2"
            .to_owned(),
        "insert into audit_event (sequence, header, payload, previous, hash) \
         select -1, header, payload, previous, hash from audit_event where sequence = 2"
            .to_owned(),
    ];
    match &fixture.raw {
        Raw::Sqlite(_) => refused.extend([
            "insert or replace into audit_event (sequence, header, payload, previous, hash) \
             select sequence, header, '{}', previous, hash from audit_event where sequence = 2"
                .to_owned(),
            format!("insert or replace into audit_head (id, size, hash) values (1, 0, '{zeros}')"),
            "insert or replace into body (digest, content) select digest, '{}' from body"
                .to_owned(),
            "update or replace audit_event set sequence = 1 where sequence = 2".to_owned(),
        ]),
        Raw::Postgres(_) => refused.extend([
            "truncate audit_event cascade".to_owned(),
            "truncate audit_person".to_owned(),
            "truncate audit_head".to_owned(),
        ]),
    }
    let before = fixture.counts().await;
    for statement in refused {
        assert!(
            fixture.sql(&statement).await.is_err(),
            "not refused: {statement}"
        );
    }
    assert_eq!(fixture.counts().await, before);
    assert!(fixture.verified().await.is_ok());
}

async fn what_is_appended_goes_on_where_the_history_ends_whoever_was_there_before(
    fixture: Fixture,
) {
    let first = &fixture.store;
    let second = fixture.reopen().await;
    let mut size = 0;
    for (store, times) in [
        (first, 3),
        (&second, 1),
        (first, 2),
        (&second, 4),
        (first, 1),
    ] {
        for _ in 0..times {
            let events = twenty_events();
            let taken_back = store.retire(&events[0], |_| false).await.unwrap();
            assert!(!taken_back);
            store.record_events(&events[..3]).await.unwrap();
            size += 3;
            assert_eq!(fixture.verified().await.unwrap().size, size);
        }
    }
    // All at once, in one process and the other.
    let events = twenty_events();
    let each = |store: &Store| {
        let (store, events) = (store.clone(), events.clone());
        async move {
            for event in events {
                store.record_events(&[event]).await.unwrap();
            }
        }
    };
    tokio::join!(each(first), each(first), each(&second), each(&second));
    assert_eq!(fixture.verified().await.unwrap().size, size + 80);
    second.close().await;
}

async fn an_untouched_history_verifies(fixture: Fixture) {
    assert_eq!(fixture.verified().await.unwrap().size, 0);
    fixture.history().await;
    let head = fixture.verified().await.unwrap();
    assert_eq!(head.size, 6);
    assert_eq!(head, fixture.store.head().await.unwrap());
    fixture.sql("delete from audit_person").await.unwrap();
    assert_eq!(
        fixture.verified().await.unwrap(),
        head,
        "people may be erased"
    );
}

async fn an_altered_payload_is_found(fixture: Fixture) {
    let broken = fixture
        .tampered("update audit_event set payload = replace(payload, '2', '3') where sequence = 2")
        .await;
    assert_eq!(broken.sequence, 2);
}

async fn an_altered_header_is_found(fixture: Fixture) {
    let broken = fixture
        .tampered(
            "update audit_event set header = replace(header, 'worker', 'wormer') \
             where sequence = 4",
        )
        .await;
    assert_eq!(broken.sequence, 4);
}

async fn an_altered_person_is_found(fixture: Fixture) {
    let broken = fixture
        .tampered(
            "update audit_person set value = replace(value, 'jane', 'john') where sequence = 3",
        )
        .await;
    assert_eq!(broken.sequence, 3);
}

async fn a_removed_event_is_found(fixture: Fixture) {
    let broken = fixture
        .tampered("delete from audit_event where sequence = 2")
        .await;
    assert_eq!(
        (broken.sequence, broken.what.contains("removed")),
        (2, true)
    );
}

async fn an_inserted_event_is_found(fixture: Fixture) {
    let broken = fixture
        .tampered(
            "insert into audit_event (sequence, header, payload, previous, hash) \
             select 6, header, payload, hash, previous from audit_event where sequence = 5",
        )
        .await;
    assert_eq!(broken.sequence, 6);
}

async fn an_event_inserted_in_front_is_found(fixture: Fixture) {
    let place = match &fixture.raw {
        Raw::Sqlite(_) => "pragma ignore_check_constraints = on",
        Raw::Postgres(_) => "alter table audit_event drop constraint audit_event_sequence_check",
    };
    let broken = fixture
        .tampered(&format!(
            "{place}; insert into audit_event (sequence, header, payload, previous, hash) \
             select -1, header, payload, previous, hash from audit_event where sequence = 0",
        ))
        .await;
    assert_eq!(broken.sequence, -1);
}

async fn events_in_another_order_are_found(fixture: Fixture) {
    let broken = fixture
        .tampered(
            "update audit_event set sequence = 99 where sequence = 3; \
             update audit_event set sequence = 3 where sequence = 4; \
             update audit_event set sequence = 4 where sequence = 99",
        )
        .await;
    assert_eq!(broken.sequence, 3);
}

async fn a_cut_tail_is_found(fixture: Fixture) {
    let broken = fixture
        .tampered("delete from audit_event where sequence >= 4")
        .await;
    assert_eq!(broken.sequence, 4);
}

async fn an_emptied_history_is_found(fixture: Fixture) {
    let broken = fixture.tampered("delete from audit_event").await;
    assert_eq!(broken.sequence, 0);
}

async fn a_garbled_hash_is_found(fixture: Fixture) {
    let broken = fixture
        .tampered("update audit_event set hash = 'nonsense' where sequence = 1")
        .await;
    assert_eq!(broken.sequence, 1);
}

async fn a_rewritten_head_is_found(fixture: Fixture) {
    let broken = fixture
        .tampered(
            "update audit_head set size = 4, \
             hash = (select hash from audit_event where sequence = 3)",
        )
        .await;
    assert_eq!(broken.sequence, 5);
    let broken = fixture
        .tampered("update audit_head set hash = 'nonsense'")
        .await;
    assert_eq!(broken.sequence, 3);
}

async fn sixteen_writers_keep_the_chain_unbroken(fixture: Fixture) {
    let other = fixture.reopen().await;
    let tasks: Vec<_> = (0..16)
        .map(|task| {
            let store = if task % 2 == 0 {
                fixture.store.clone()
            } else {
                other.clone()
            };
            tokio::spawn(async move {
                for index in 0..10 {
                    let events = [
                        event(EventType::PersonErased, index),
                        event(EventType::ServerStarted, task),
                    ];
                    store.record_events(&events).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(fixture.verified().await.unwrap().size, 320);
}

async fn a_call_that_is_dropped_half_way_leaves_nothing_behind(fixture: Fixture) {
    let mut whole = 0;
    for turns in 0..100_i64 {
        let store = fixture.store.clone();
        let call = tokio::spawn(async move {
            let delivery = delivery(&format!("main/1/{turns}"), turns);
            store
                .record_delivery(&delivery, &[shop()], NOW, &accepted())
                .await
        });
        for _ in 0..turns * 20 {
            tokio::task::yield_now().await;
        }
        call.abort();
        if let Ok(recorded) = call.await {
            recorded.unwrap();
            whole += 1;
        }
    }
    fixture.push(1_000).await;
    // A call that was dropped may have been committed a moment before: all of it, or nothing.
    let deliveries = fixture.count("delivery").await;
    assert!(deliveries > whole);
    assert_eq!(fixture.count("delivery_stack").await, deliveries);
    assert_eq!(fixture.shop_state().await.wanted, deliveries);
    assert_eq!(fixture.verified().await.unwrap().size, deliveries);
}

async fn erasing_a_person_keeps_the_history_right(fixture: Fixture) {
    let store = &fixture.store;
    let mut sent = delivery("main/1/a", 1);
    sent.commits[0]
        .message
        .push_str("\n\nSigned-off-by: Jane <JANE@example.org>");
    let mut accepted = accepted();
    accepted.people = vec![("pusher".to_owned(), jane()), ("author".to_owned(), john())];
    store
        .record_delivery(&sent, &[shop()], NOW, &accepted)
        .await
        .unwrap();
    let lease = fixture.lease().await;
    let run = NewRun {
        commits: sent.commits.clone(),
        pusher: Some(jane()),
        ..new_run("run-1", 1)
    };
    store
        .record_run(
            &lease,
            &run,
            &Intent::default(),
            &finish(RunStatus::Succeeded, 1),
        )
        .await
        .unwrap();
    assert!(
        fixture
            .dump()
            .await
            .to_lowercase()
            .contains("jane@example.org"),
        "the search finds what is there"
    );

    let done = event(EventType::PersonErased, 1);
    let erased = store
        .erase_person(&Names::only("Jane@example.org"), &done)
        .await
        .unwrap();
    assert_eq!(
        (erased.commitments, erased.deliveries, erased.runs),
        (1, 1, 1)
    );
    let erased = store
        .erase_person(&Names::only("jane@example.org"), &done)
        .await
        .unwrap();
    assert_eq!(erased, Erased::default());

    let left = fixture.dump().await.to_lowercase();
    assert!(!left.contains("jane@example.org") && left.contains("john@example.org"));
    let head = fixture.verified().await.unwrap();
    assert_eq!(head.size, 3);
    let first = store.events_from(0, 1).await.unwrap().remove(0);
    assert_eq!(first.people.len(), 1);
    assert!(
        first.payload.contains("pusher"),
        "that there was somebody stays on record"
    );
    assert_eq!(
        store.delivery("main/1/a").await.unwrap().unwrap().pusher,
        None
    );
}

async fn what_waits_keeps_its_record_until_it_differs(fixture: Fixture) {
    let store = &fixture.store;
    fixture.push(1).await;
    fixture.parks("run-1", "", parks(1..=2, &[jane()])).await;
    let first = store.parked("shop").await.unwrap();
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].remainder, remainder(1..=2));
    assert_eq!(first[0].hash, remainder(1..=2).hash());
    assert_eq!(
        (&first[0].run, first[0].since),
        (&run_id("run-1"), NOW + HOUR)
    );
    assert_eq!(first[0].people, [jane()]);
    assert!(fixture.decides(1..=2, "grace").await);

    let people = vec![jane(), john()];
    let same = Parking::Same {
        people: people.clone(),
    };
    fixture.parks("run-2", "", same).await;
    let kept = store.parked("shop").await.unwrap().remove(0);
    assert_eq!(
        (&kept.run, &kept.last_run),
        (&run_id("run-1"), &run_id("run-2"))
    );
    assert_eq!((kept.since, kept.people), (first[0].since, people));
    assert_eq!(fixture.standing_decisions(1..=2).await, 1);

    fixture.parks("run-3", "", parks(1..=3, &[])).await;
    let other = store.parked("shop").await.unwrap().remove(0);
    assert_eq!(
        (&other.run, other.hash),
        (&run_id("run-3"), remainder(1..=3).hash())
    );
    assert_eq!(fixture.standing_decisions(1..=2).await, 0);
    fixture.parks("run-4", "", parks(1..=2, &[])).await;
    assert_eq!(fixture.standing_decisions(1..=2).await, 0, "it stays void");
    fixture.parks("run-5", "", Parking::Void).await;
    assert!(store.parked("shop").await.unwrap().is_empty());
    assert!(store.parked("other").await.unwrap().is_empty());
    assert!(fixture.verified().await.is_ok());
}

async fn a_decision_is_used_up_with_what_it_let_go(fixture: Fixture) {
    let store = &fixture.store;
    fixture.parks("run-1", "", parks(1..=2, &[])).await;
    let events = store.head().await.unwrap().size;
    let before = fixture.shop_state().await;
    assert!(fixture.decides(1..=2, "grace").await);
    let raised = fixture.shop_state().await;
    assert_eq!(raised.wanted, before.wanted + 1);
    assert_eq!(raised.pending_trigger, Some(Trigger::Approval));
    assert_eq!(store.head().await.unwrap().size, events + 1);
    fixture.parks("run-2", "", Parking::CarriedOut).await;
    assert_eq!(fixture.standing_decisions(1..=2).await, 0);
    let behind = store.decisions_behind(&run_id("run-2")).await.unwrap();
    assert_eq!(behind.len(), 1);
    assert_eq!(behind[0].by, Approver::Person("grace".to_owned()));
    fixture.parks("run-3", "", parks(1..=2, &[])).await;
    assert_eq!(fixture.standing_decisions(1..=2).await, 0);
}

async fn a_decision_on_what_waits_no_more_is_not_recorded(fixture: Fixture) {
    fixture.push(1).await;
    let before = (fixture.counts().await, fixture.shop_state().await);
    assert!(!fixture.decides(1..=2, "grace").await);
    fixture.parks("run-1", "", parks(1..=3, &[])).await;
    let after = fixture.shop_state().await;
    assert!(!fixture.decides(1..=2, "grace").await);
    assert_eq!(fixture.shop_state().await, after, "nothing was asked for");
    assert_eq!(fixture.count("approval").await, 0);
    assert_eq!(before.1.wanted, after.wanted);
}

async fn nodes_that_wait_for_the_same_share_what_is_decided(fixture: Fixture) {
    let store = &fixture.store;
    fixture.parks("run-1", "left", parks(1..=2, &[])).await;
    fixture.parks("run-2", "right", parks(1..=2, &[])).await;
    assert_eq!(store.parked("shop").await.unwrap().len(), 2);
    assert!(fixture.decides(1..=2, "grace").await);
    fixture.parks("run-3", "left", Parking::CarriedOut).await;
    assert_eq!(fixture.standing_decisions(1..=2).await, 1, "for the other");
    fixture.parks("run-4", "right", Parking::CarriedOut).await;
    assert_eq!(fixture.standing_decisions(1..=2).await, 0);
}

async fn erasing_a_person_reaches_who_is_behind_what_waits(fixture: Fixture) {
    let store = &fixture.store;
    fixture
        .parks("run-1", "", parks(1..=2, &[jane(), john()]))
        .await;
    let erased = event(EventType::PersonErased, 1);
    store
        .erase_person(&Names::only("JANE"), &erased)
        .await
        .unwrap();
    let parked = store.parked("shop").await.unwrap().remove(0);
    assert_eq!(parked.people, [john()]);
}

async fn a_token_is_found_used_and_revoked_once(fixture: Fixture) {
    let store = &fixture.store;
    let (id, text, hash) = mint([7; 6], &[9; 32]);
    let token = Token {
        id: id.clone(),
        person: "grace".to_owned(),
        hash,
        scopes: [Scope::Read, Scope::Approve].into(),
        note: Some("a\0laptop".to_owned()),
        created_at: NOW,
        expires_at: NOW + HOUR,
        revoked_at: None,
        last_used_at: None,
    };
    let created = event(EventType::TokenCreated, 1);
    store.create_token(&token, &created).await.unwrap();
    let kept = store.token(&id).await.unwrap().unwrap();
    assert_eq!((&kept.person, &kept.scopes), (&token.person, &token.scopes));
    assert_eq!(kept.hash.bytes(), token.hash.bytes());
    let shown = Presented::parse(&text).unwrap();
    assert_eq!(kept.opens(&shown, Scope::Read, NOW), Ok(()));
    assert!(store.token("other").await.unwrap().is_none());

    for (at, expected) in [(0, 0), (HOUR / 2, 0), (HOUR + 1, HOUR)] {
        let kept = store.token(&id).await.unwrap().unwrap();
        store.token_used(&kept, NOW + at).await.unwrap();
        let used = store.token(&id).await.unwrap().unwrap();
        assert_eq!(used.last_used_at, Some(NOW + expected));
    }
    let revoked = event(EventType::TokenRevoked, 2);
    assert!(store.revoke_token(&id, NOW + 1, &revoked).await.unwrap());
    assert!(!store.revoke_token(&id, NOW + 2, &revoked).await.unwrap());
    assert!(!store.revoke_token("other", NOW, &revoked).await.unwrap());
    let tokens = store.tokens().await.unwrap();
    assert_eq!(tokens.len(), 1);
    assert_eq!(tokens[0].revoked_at, Some(NOW + 1));
    assert_eq!(store.head().await.unwrap().size, 2);
}

async fn another_key_than_the_first_is_refused(fixture: Fixture) {
    let store = &fixture.store;
    store.check_key(&[7; 32]).await.unwrap();
    store.check_key(&[7; 32]).await.unwrap();
    let refused = store.check_key(&[8; 32]).await.unwrap_err();
    assert!(matches!(refused, Error::KeyDiffers));
    assert!(!refused.is_transient());
    assert!(!fixture.dump().await.contains(&hex::encode([7; 32])));
}

async fn a_database_of_a_newer_version_is_refused(fixture: Fixture) {
    fixture
        .sql(
            "insert into _sqlx_migrations \
             (version, description, installed_on, success, checksum, execution_time) \
             select 9999, 'later', installed_on, success, checksum, execution_time \
             from _sqlx_migrations where version = 1",
        )
        .await
        .unwrap();
    let refused = fixture.try_reopen().await.err().unwrap();
    assert!(matches!(refused, Error::Newer(9999)), "{refused:?}");
    assert!(!refused.is_transient());
}

async fn a_closed_store_is_a_transient_error_and_a_broken_rule_is_not(fixture: Fixture) {
    let store = &fixture.store;
    let lease = fixture.lease().await;
    let run = new_run("run-1", 1);
    store
        .begin_run(&lease, &run, &Intent::default())
        .await
        .unwrap();
    let twice = store
        .begin_run(&lease, &run, &Intent::default())
        .await
        .unwrap_err();
    assert!(!twice.is_transient(), "{twice:?}");
    let gone = fixture
        .sql("select nothing from nowhere")
        .await
        .unwrap_err();
    assert!(!Error::from(gone).is_transient());
    store.close().await;
    assert!(store.ping().await.unwrap_err().is_transient());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres; tests/run has it"]
async fn a_transaction_that_postgres_takes_back_is_sent_again() {
    let fixture = Fixture::postgres().await;
    let stacks = [StackTarget::new("a", "one"), StackTarget::new("b", "two")];
    for stack in &stacks {
        fixture.store.want(stack, Trigger::Manual).await.unwrap();
    }
    // Two transactions that take the same rows in opposite orders: one of them has to give way.
    let Raw::Postgres(raw) = &fixture.raw else {
        unreachable!("the fixture is on Postgres")
    };
    let mut other = raw.begin().await.unwrap();
    let touch = "update stack_state set problem = 'touched' where stack = $1";
    sqlx::query(touch)
        .bind("b")
        .execute(&mut *other)
        .await
        .unwrap();
    let store = fixture.store.clone();
    let call = tokio::spawn(async move {
        store
            .record_delivery(&delivery("main/1/a", 1), &stacks, NOW, &accepted())
            .await
    });
    let blocked = "select cast(count(*) as text) from pg_stat_activity \
         where datname = current_database() and wait_event_type = 'Lock'";
    while fixture.texts(blocked).await[0] == "0" {}
    let touched = sqlx::query(touch).bind("a").execute(&mut *other).await;
    if touched.is_ok() {
        other.commit().await.unwrap();
    } else {
        other.rollback().await.unwrap();
    }
    assert_eq!(call.await.unwrap().unwrap(), Recorded::New);
    for state in fixture.store.stack_states().await.unwrap() {
        assert_eq!(state.wanted, 2);
    }
    assert_eq!(fixture.store.head().await.unwrap().size, 1);
    drop_database(&fixture.server, &fixture.name).await;
}

#[tokio::test]
#[ignore = "needs Postgres; tests/run has it"]
async fn connections_that_the_server_closed_are_made_anew() {
    let fixture = Fixture::postgres().await;
    fixture.push(1).await;
    fixture
        .sql(
            "select pg_terminate_backend(pid) from pg_stat_activity \
             where datname = current_database() and pid <> pg_backend_pid()",
        )
        .await
        .unwrap();
    fixture.push(2).await;
    assert_eq!(fixture.shop_state().await.wanted, 2);
    drop_database(&fixture.server, &fixture.name).await;
}

#[tokio::test]
async fn an_address_never_shows_in_an_error() {
    let options = PgOptions {
        acquire_timeout: Duration::from_millis(50),
        ..PgOptions::default()
    };
    for (address, transient) in [
        ("not an address: hunter2", false),
        ("postgres://jane:hunter2@127.0.0.1:1/lockstep", true),
    ] {
        let address = SecretString::from(address);
        let error = Store::postgres(&address, &options).await.unwrap_err();
        assert_eq!(error.is_transient(), transient, "{error:?}");
        let shown = format!("{error} {error:?} {address:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

// The embedded mode's own.

#[cfg(unix)]
#[tokio::test]
async fn the_key_is_made_once_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    let store = Store::embedded(&dir).await.unwrap();
    let key = store.installation_key_embedded(&dir).await.unwrap();
    let again = store.installation_key_embedded(&dir).await.unwrap();
    assert_eq!(key.expose_secret(), again.expose_secret());
    assert_ne!(key.expose_secret(), &[0; 32]);
    let text = std::fs::read_to_string(dir.join("secret.key")).unwrap();
    assert_eq!(text.trim_end(), hex::encode(key.expose_secret()));
    assert!(!format!("{key:?}").contains(text.trim_end()));

    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    for file in std::fs::read_dir(&dir).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_key_that_is_missing_or_wrong_is_an_error_and_never_replaced() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let store = Store::embedded(dir).await.unwrap();
    store.installation_key_embedded(dir).await.unwrap();
    let path = dir.join("secret.key");
    let text = std::fs::read_to_string(&path).unwrap();
    let refused = async || store.installation_key_embedded(dir).await.unwrap_err();

    std::fs::remove_file(&path).unwrap();
    assert!(matches!(refused().await, Error::KeyMissing { .. }));
    assert!(!path.exists());
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::write(&path, "1".repeat(64)).unwrap();
    std::fs::set_permissions(&path, private).unwrap();
    assert!(matches!(refused().await, Error::KeyDiffers));
    std::fs::write(&path, "hunter2").unwrap();
    let malformed = refused().await;
    assert!(matches!(&malformed, Error::KeyMalformed { .. }));
    assert!(!malformed.to_string().contains("hunter2"));
    std::fs::write(&path, &text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(refused().await, Error::KeyExposed { .. }));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    store.installation_key_embedded(dir).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_is_opened_by_many_at_once() {
    let home = tempfile::tempdir().unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let dir = home.path().join("data");
            tokio::spawn(async move {
                let store = Store::embedded(&dir).await.unwrap();
                let key = store.installation_key_embedded(&dir).await.unwrap();
                store.want(&shop(), Trigger::Manual).await.unwrap();
                hex::encode(key.expose_secret())
            })
        })
        .collect();
    let mut keys = BTreeSet::new();
    for task in tasks {
        keys.insert(task.await.unwrap());
    }
    assert_eq!(keys.len(), 1);
    let store = Store::embedded(&home.path().join("data")).await.unwrap();
    assert_eq!(store.stack_state("shop").await.unwrap().unwrap().wanted, 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn puts_that_wait_together_are_all_there() {
    let (_home, queue) = queue(QueueLimits::default()).await;
    let tasks: Vec<_> = (0..600)
        .map(|index| {
            let queue = queue.clone();
            tokio::spawn(async move { queue.put(&format!("m{index}"), vec![1, 2], NOW).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    queue.changed().await;
    queue.put("m7", vec![9], NOW).await.unwrap();
    let depth = queue.depth().await.unwrap();
    assert_eq!(
        (depth.waiting, depth.set_aside, depth.oldest),
        (600, 0, Some(NOW))
    );
    let taken = queue.take(NOW, 1_000, LONG).await.unwrap();
    assert_eq!(taken.len(), 600);
    assert!(
        taken
            .iter()
            .all(|message| message.payload == [1, 2] && message.deliveries == 1)
    );
}

#[tokio::test]
async fn a_put_that_was_answered_survives_a_crash() {
    let (home, queue) = queue(QueueLimits::default()).await;
    queue.put("first", b"one".to_vec(), NOW).await.unwrap();
    queue.put("second", b"two".to_vec(), NOW).await.unwrap();
    // The files as a killed process leaves them: nothing was closed or moved out of the log.
    let crashed = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(home.path()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), crashed.path().join(file.file_name())).unwrap();
    }
    let store = Store::embedded(crashed.path()).await.unwrap();
    let queue = store.local_queue(QueueLimits::default()).unwrap();
    let taken = queue.take(NOW, 10, LONG).await.unwrap();
    let taken: Vec<_> = taken.iter().map(|message| message.id.as_str()).collect();
    assert_eq!(taken, ["first", "second"]);
}

#[tokio::test]
async fn a_message_comes_back_until_it_is_acknowledged() {
    let (_home, queue) = queue(QueueLimits::default()).await;
    for id in ["a", "b", "c"] {
        queue.put(id, id.as_bytes().to_vec(), NOW).await.unwrap();
    }
    let minute = Duration::from_mins(1);
    let later = NOW + 60_000_000;
    let ids = async |now: i64, limit: i64| {
        let taken = queue.take(now, limit, minute).await.unwrap();
        taken
            .into_iter()
            .map(|message| (message.id, message.deliveries))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        ids(NOW, 2).await,
        [("a".to_owned(), 1), ("b".to_owned(), 1)]
    );
    assert_eq!(ids(NOW, 9).await, [("c".to_owned(), 1)]);
    assert!(ids(NOW, 9).await.is_empty());
    queue.ack("a").await.unwrap();
    queue.retry_later("b", NOW + 5).await.unwrap();
    queue.set_aside("c", "not a message", NOW).await.unwrap();
    assert_eq!(ids(NOW + 5, 9).await, [("b".to_owned(), 2)]);
    assert!(ids(later, 9).await.is_empty());
    assert_eq!(ids(later + 5, 9).await, [("b".to_owned(), 3)]);
    let depth = queue.depth().await.unwrap();
    assert_eq!((depth.waiting, depth.set_aside), (1, 1));
    queue.put("a", Vec::new(), NOW).await.unwrap();
    assert_eq!(
        queue.depth().await.unwrap().waiting,
        2,
        "the inbox knows that it was dealt with"
    );
}

#[tokio::test]
async fn a_queue_that_is_full_refuses_and_drops_nothing() {
    let limits = QueueLimits {
        messages: 2,
        ..QueueLimits::default()
    };
    let (_home, queue) = queue(limits).await;
    queue.put("a", Vec::new(), NOW).await.unwrap();
    queue.put("b", Vec::new(), NOW).await.unwrap();
    let refused = queue.put("c", Vec::new(), NOW).await.unwrap_err();
    assert!(matches!(refused, PutError::Full));
    queue.ack("a").await.unwrap();
    queue.put("c", Vec::new(), NOW).await.unwrap();
    assert_eq!(queue.depth().await.unwrap().waiting, 2);
}

// One thread: the writing task does not run before the first put waits.
#[tokio::test]
async fn more_puts_than_may_wait_are_refused_at_once() {
    let limits = QueueLimits {
        waiting_puts: 1,
        ..QueueLimits::default()
    };
    let (_home, queue) = queue(limits).await;
    let (first, second) = tokio::join!(
        queue.put("a", Vec::new(), NOW),
        queue.put("b", Vec::new(), NOW)
    );
    first.unwrap();
    assert!(matches!(second.unwrap_err(), PutError::Busy));
    assert_eq!(queue.depth().await.unwrap().waiting, 1);
}

// Helpers.

struct Fixture {
    store: Store,
    raw: Raw,
    /// The server's address and the database's name; empty for SQLite.
    server: String,
    name: String,
    home: TempDir,
}

/// A second way into the database, for what the store does not do.
enum Raw {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Fixture {
    async fn sqlite() -> Self {
        let home = tempfile::tempdir().unwrap();
        let store = Store::embedded(home.path()).await.unwrap();
        let options = SqliteConnectOptions::new()
            .filename(home.path().join(lockstep::store::FILE))
            .foreign_keys(false);
        let raw = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options)
            .await
            .unwrap();
        Self {
            store,
            raw: Raw::Sqlite(raw),
            server: String::new(),
            name: String::new(),
            home,
        }
    }

    async fn postgres() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let server = std::env::var("LOCKSTEP_TEST_POSTGRES")
            .expect("LOCKSTEP_TEST_POSTGRES names a server where databases may be made");
        let name = format!(
            "lockstep_store_{}_{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let mut connection = PgConnection::connect(&server).await.unwrap();
        sqlx::query(AssertSqlSafe(format!("create database {name}")))
            .execute(&mut connection)
            .await
            .unwrap();
        let address = database_address(&server, &name);
        let options = PgOptions::default();
        let store = Store::postgres(&address, &options).await.unwrap();
        let raw = PgConnectOptions::from_str(address.expose_secret()).unwrap();
        Self {
            store,
            raw: Raw::Postgres(PgPool::connect_with(raw).await.unwrap()),
            server,
            name,
            home: tempfile::tempdir().unwrap(),
        }
    }

    async fn try_reopen(&self) -> Result<Store, Error> {
        match &self.raw {
            Raw::Sqlite(_) => Store::embedded(self.home.path()).await,
            Raw::Postgres(_) => {
                let address = database_address(&self.server, &self.name);
                Store::postgres(&address, &PgOptions::default()).await
            }
        }
    }

    /// Another process's view of the same database.
    async fn reopen(&self) -> Store {
        self.try_reopen().await.unwrap()
    }

    /// Runs statements as somebody with access to the database could.
    async fn sql(&self, sql: &str) -> Result<(), sqlx::Error> {
        let sql = AssertSqlSafe(sql.to_owned());
        match &self.raw {
            Raw::Sqlite(pool) => sqlx::raw_sql(sql).execute(pool).await.map(drop),
            Raw::Postgres(pool) => sqlx::raw_sql(sql).execute(pool).await.map(drop),
        }
    }

    async fn texts(&self, sql: &str) -> Vec<String> {
        let sql = AssertSqlSafe(sql.to_owned());
        match &self.raw {
            Raw::Sqlite(pool) => sqlx::query_scalar(sql).fetch_all(pool).await.unwrap(),
            Raw::Postgres(pool) => sqlx::query_scalar(sql).fetch_all(pool).await.unwrap(),
        }
    }

    async fn count(&self, table: &str) -> i64 {
        let count = self
            .texts(&format!("select cast(count(*) as text) from {table}"))
            .await;
        count[0].parse().unwrap()
    }

    async fn counts(&self) -> Vec<(&'static str, i64)> {
        let mut counts = Vec::new();
        for table in [
            "delivery",
            "delivery_stack",
            "stack_state",
            "body",
            "run",
            "run_delivery",
            "change",
            "undo",
            "inventory",
            "audit_event",
            "audit_person",
        ] {
            counts.push((table, self.count(table).await));
        }
        counts
    }

    /// Every text of the database in which a person or a secret could stand.
    async fn dump(&self) -> String {
        let mut texts = Vec::new();
        for (table, columns) in [
            ("audit_event", "header || payload"),
            ("audit_person", "value"),
            ("delivery", "coalesce(pusher, '') || commits"),
            ("run", "coalesce(pusher, '') || commits"),
            ("parked", "people"),
            ("installation", "key_fingerprint"),
        ] {
            texts.extend(self.texts(&format!("select {columns} from {table}")).await);
        }
        texts.join("\n")
    }

    async fn lease(&self) -> lockstep::store::Lease {
        self.store
            .try_lease("production", "worker", LONG)
            .await
            .unwrap()
            .unwrap()
    }

    async fn shop_state(&self) -> StackState {
        self.store.stack_state("shop").await.unwrap().unwrap()
    }

    async fn push(&self, index: i64) {
        let delivery = delivery(&format!("main/1/{index}"), index);
        self.store
            .record_delivery(&delivery, &[shop()], NOW + index, &accepted())
            .await
            .unwrap();
    }

    /// A run that leaves this for an approval on a node.
    async fn parks(&self, run: &str, node: &str, parking: Parking) {
        let lease = self.lease().await;
        let end = Finish {
            parkings: [(node.to_owned(), parking)].into(),
            ..finish(RunStatus::Parked, 0)
        };
        let intent = Intent::default();
        self.store
            .record_run(&lease, &new_run(run, 0), &intent, &end)
            .await
            .unwrap();
        self.store.release(lease).await.unwrap();
    }

    /// Whether somebody's approval of that was recorded.
    async fn decides(&self, what: std::ops::RangeInclusive<i64>, person: &str) -> bool {
        let new = NewDecision {
            id: format!("{person}-{}", self.count("approval").await),
            stack: shop(),
            hash: remainder(what).hash(),
            run: run_id("run-1"),
            decision: Decision {
                by: Approver::Person(person.to_owned()),
                choice: Choice::Approve,
                reason: "it is meant".to_owned(),
                at: NOW,
                expires_at: NOW + HOUR,
            },
            raises: true,
        };
        let given = event(EventType::ApprovalGiven, 0);
        self.store.decide(&new, &given).await.unwrap()
    }

    async fn standing_decisions(&self, what: std::ops::RangeInclusive<i64>) -> usize {
        let hash = remainder(what).hash();
        self.store.decisions("shop", hash).await.unwrap().len()
    }

    /// Six events.
    async fn history(&self) {
        let events: Vec<_> = (0..6)
            .map(|index| NewEvent {
                people: vec![("pusher".to_owned(), jane())],
                ..event(EventType::RunFinished, index)
            })
            .collect();
        self.store.record_events(&events[..2]).await.unwrap();
        self.store.record_events(&events[2..]).await.unwrap();
    }

    async fn verified(&self) -> Result<lockstep::store::Head, Flaw> {
        self.store.verify_history().await.unwrap()
    }

    /// What is found after somebody who can switch off the database's own refusals did this.
    async fn tampered(&self, sql: &str) -> Broken {
        if self.store.head().await.is_ok_and(|head| head.size == 0) {
            self.history().await;
            assert!(self.verified().await.is_ok());
        }
        match &self.raw {
            Raw::Sqlite(_) => {
                let triggers = self.texts("select name from sqlite_schema where type = 'trigger'");
                for trigger in triggers.await {
                    self.sql(&format!("drop trigger {trigger}")).await.unwrap();
                }
                self.sql(sql).await.unwrap();
            }
            Raw::Postgres(_) => {
                let off = "set session_replication_role = replica";
                self.sql(&format!("{off}; {sql}; reset session_replication_role"))
                    .await
                    .unwrap();
            }
        }
        match self.verified().await.unwrap_err() {
            Flaw::Event(broken) => broken,
            flaw => panic!("the events themselves are broken, not only: {flaw}"),
        }
    }
}

fn database_address(server: &str, name: &str) -> SecretString {
    let mut url = url::Url::parse(server).unwrap();
    url.set_path(name);
    SecretString::from(url.to_string())
}

async fn drop_database(server: &str, name: &str) {
    let mut connection = PgConnection::connect(server).await.unwrap();
    sqlx::query(AssertSqlSafe(format!("drop database {name} with (force)")))
        .execute(&mut connection)
        .await
        .unwrap();
}

async fn queue(limits: QueueLimits) -> (TempDir, LocalQueue) {
    let home = tempfile::tempdir().unwrap();
    let store = Store::embedded(home.path()).await.unwrap();
    let queue = store.local_queue(limits).unwrap();
    (home, queue)
}

fn shop() -> StackTarget {
    StackTarget::new("shop", "production")
}

fn run_id(id: &str) -> RunId {
    RunId(id.to_owned())
}

fn revision(index: i64) -> Revision {
    format!("{index:040x}").parse().unwrap()
}

fn object(index: i64) -> ObjectKey {
    ObjectKey::new(Kind::OasApi, format!("api-{index}"))
}

fn jane() -> Person {
    Person {
        name: Some("Jane".to_owned()),
        login: Some("jane".to_owned()),
        email: Some("jane@example.org".to_owned()),
        ..Person::default()
    }
}

fn john() -> Person {
    Person {
        email: Some("john@example.org".to_owned()),
        ..Person::default()
    }
}

fn worker() -> Actor {
    Actor::new("worker", "one")
}

fn event(event_type: EventType, index: i64) -> NewEvent {
    NewEvent::new(event_type, NOW + index, worker(), json!({"index": index}))
}

fn accepted() -> NewEvent {
    event(EventType::DeliveryAccepted, 0)
}

fn delivery(id: &str, index: i64) -> Delivery {
    Delivery {
        id: id.to_owned(),
        webhook: "main".to_owned(),
        event: "push".to_owned(),
        repository: Some("apis".to_owned()),
        git_ref: Some("refs/heads/main".to_owned()),
        before: (index > 1).then(|| revision(index - 1)),
        after: Some(revision(index)),
        commits: vec![CommitRef {
            id: revision(index).to_string(),
            message: format!("Change {index}"),
            author: Some(john()),
        }],
        forced: index % 2 == 0,
        pusher: Some(jane()),
        body_sha256: Digest::of(id.as_bytes()).to_string(),
        received_at: NOW + index,
        trace: None,
    }
}

fn new_run(id: &str, claimed: i64) -> NewRun {
    NewRun {
        node: String::new(),
        id: run_id(id),
        stack: "shop".to_owned(),
        trigger: Trigger::Push,
        revision: Some(revision(1)),
        previous: None,
        claimed,
        attempt: 0,
        started_at: NOW,
        plan_hash: Some(Digest::of(b"plan")),
        plan: Some(r#"{"waves":[]}"#.to_owned()),
        commits: delivery("main/1/1", 1).commits,
        deliveries: vec!["main/1/1".to_owned()],
        pusher: Some(jane()),
        worker: "worker".to_owned(),
        version: "0.1.0".to_owned(),
        gateway_version: Some("v5.8.1".to_owned()),
    }
}

fn body(index: i64) -> Body {
    let text = canonical(&json!({"index": index}));
    Body {
        digest: Digest::of(text.as_bytes()),
        text,
    }
}

fn change(position: i64, action: Action) -> ChangeRecord {
    ChangeRecord {
        position,
        object: object(position),
        action,
        reason: "it is in Git and not on the target".to_owned(),
        before: None,
        after: Some(body(position).digest),
        fields: vec![FieldChange {
            pointer: "/info/title".to_owned(),
            before: None,
            after: Some(json!("Orders")),
        }],
        outcome: Outcome::Open,
        message: None,
    }
}

/// Deletions of these objects.
fn remainder(objects: std::ops::RangeInclusive<i64>) -> Remainder {
    let changes = objects.map(|index| Change {
        object: object(index),
        action: Action::Delete,
        reason: "removed from Git".to_owned(),
        path: None,
        before: Some(body(index).digest),
        after: None,
        drifted: false,
        fields: Vec::new(),
    });
    Remainder::of("shop", "production", changes).unwrap()
}

fn parks(objects: std::ops::RangeInclusive<i64>, people: &[Person]) -> Parking {
    Parking::New {
        remainder: remainder(objects),
        people: people.to_vec(),
    }
}

fn undo(position: i64) -> Undo {
    Undo {
        position,
        object: object(position),
        sealed: b"sealed".to_vec(),
    }
}

fn owned(run: &str, observed: Option<i64>) -> Owned {
    Owned {
        path: Some("orders.yaml".to_owned()),
        listed: None,
        hidden: false,
        since: NOW,
        stack: "shop".to_owned(),
        desired: body(observed.unwrap_or(0)).digest,
        observed: observed.map(|index| body(index).digest),
        gateway_version: "v5.8.1".to_owned(),
        run: run_id(run),
        observed_at: NOW,
    }
}

/// Three changes from this position on, and everything that belongs to them.
fn full_intent(run: &str, first: i64) -> Intent {
    Intent {
        changes: (first..first + 3)
            .map(|position| change(position, Action::Update))
            .collect(),
        bodies: (first..first + 3).map(body).collect(),
        undo: vec![undo(first + 1)],
        inventory: vec![InventoryChange::put(object(first), owned(run, None))],
        events: vec![event(EventType::RunIntended, first)],
    }
}

fn finish(status: RunStatus, claimed: i64) -> Finish {
    Finish {
        stands: None,
        node: None,
        holds_deletions: None,
        parkings: Parkings::new(),
        status,
        message: None,
        at: NOW + HOUR,
        outcomes: Vec::new(),
        bodies: Vec::new(),
        inventory: Vec::new(),
        settle: Settle::Done {
            claimed,
            settled: Some(revision(claimed)),
        },
        problem: None,
        events: Vec::new(),
    }
}

fn twenty_events() -> Vec<NewEvent> {
    let event = |index: i64| NewEvent {
        target: Some("production".to_owned()),
        stack: Some(if index % 2 == 0 { "shop" } else { "billing" }.to_owned()),
        object: (index % 3 == 0).then(|| object(index)),
        run: Some(run_id(&format!("run-{index}"))),
        people: vec![
            ("pusher".to_owned(), jane()),
            ("author".to_owned(), Person::default()),
        ],
        ..NewEvent::new(
            if index % 5 == 0 {
                EventType::RunFinished
            } else {
                EventType::ChangeApplied
            },
            NOW + index,
            if index % 2 == 0 {
                worker()
            } else {
                Actor::new("cli", "host")
            },
            json!({"index": index}),
        )
    };
    (0..20).map(event).collect()
}

fn full_finish(status: RunStatus, claimed: i64, run: &str) -> Finish {
    let outcome = |position, outcome, message: Option<&str>| ChangeOutcome {
        position,
        outcome,
        message: message.map(str::to_owned),
    };
    Finish {
        outcomes: vec![
            outcome(0, Outcome::Applied, None),
            outcome(1, Outcome::Repaired, Some("put back")),
        ],
        bodies: vec![body(77)],
        inventory: vec![InventoryChange::put(object(0), owned(run, Some(0)))],
        events: vec![event(EventType::RunFinished, 0)],
        ..finish(status, claimed)
    }
}
