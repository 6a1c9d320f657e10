//! Old events leave the history: after an export that has them in full, never what is young or held,
//! and what stays still proves all of it.

use std::sync::Arc;

use lockstep::{
    app::{App, Audit},
    domain::{
        audit::{
            checkpoint::{Checkpoint, SigningKey},
            event::{Actor, Event, EventType, NewEvent, Person},
            merkle::verify_inclusion,
            retention::standing,
            verify::Flaw,
        },
        canonical::Digest,
    },
    store::{KeptCheckpoint, Store, Verification, Walk},
    sync::{
        checkpoint::{self, Signing},
        retention::{self, Archive, Kept, Leaving, RetentionError},
    },
};
use serde_json::json;

use crate::support::app::{Mode, TestApp, asker};

crate::in_both_modes! {
    what_left_is_proved_by_its_hashes_and_the_rest_as_before,
    what_is_done_to_what_stays_of_events_is_found_and_named,
    nothing_young_or_held_leaves,
    an_export_that_is_no_proof_of_the_oldest_events_lets_nothing_go,
    a_hold_that_comes_between_stops_it_and_what_was_begun_is_gone_on_with,
    what_leaves_while_it_is_verified_is_no_flaw,
}

/// Long before every clock of the tests.
const OLD: i64 = 1_262_304_000_000_000;
const DAY: i64 = 24 * 3_600 * 1_000_000;

/// Some events of every new installation, 600 old ones, and three checkpoints.
struct Old {
    test: TestApp,
    /// The tables' owner, who signs and to whom nothing is young.
    app: App,
    checkpoints: Vec<KeptCheckpoint>,
}

impl Old {
    async fn new(mode: Mode) -> Self {
        let test = TestApp::start(mode).await;
        let key = SigningKey::from_seed("lockstep.example/test", [1; 32]).unwrap();
        let owner = test.as_owner().await;
        let app = App {
            audit: Arc::new(Audit {
                signing_key: Some(Arc::new(key)),
                ..Audit::default()
            }),
            ..owner
        };
        let mut checkpoints = Vec::new();
        for part in 0..3 {
            app.store
                .record_events(&events(part * 200, 200))
                .await
                .unwrap();
            checkpoints.push(signed(&app).await);
        }
        Self {
            test,
            app,
            checkpoints,
        }
    }

    /// An export of everything up to an event, as far as retiring it looks at one.
    fn archive(&self, until: i64) -> Archive {
        let last = self.checkpoints.last().unwrap();
        let keys = self.app.audit.verifier_keys();
        let (checkpoint, _) = Checkpoint::open(&last.note, &keys).unwrap();
        Archive {
            file: "old.tar".to_owned(),
            sha256: Digest::of(b"its bytes"),
            from: 0,
            until,
            end: until,
            checkpoint: last.number,
            size: last.size,
            root: checkpoint.root,
        }
    }

    async fn retires(&self, until: i64) -> Leaving {
        let archive = self.archive(until);
        let leaving = retention::may_leave(&self.app, &archive).await.unwrap();
        let by = asker("ada");
        retention::retire(&self.app, &by, &archive, &leaving, Some("old"), |_| {})
            .await
            .unwrap();
        leaving
    }

    async fn walk_from(&self, from: i64) -> Result<Walk, Flaw> {
        let keys = self.app.audit.verifier_keys();
        let kept = self
            .checkpoints
            .iter()
            .map(|kept| {
                let (opened, _) = Checkpoint::open(&kept.note, &keys).unwrap();
                (opened.size, opened.root)
            })
            .collect();
        let what = Verification {
            from,
            pins: keys,
            kept,
            ..Verification::default()
        };
        let mut walk = self.app.store.begin_walk(what).await.unwrap()?;
        while !self.app.store.walk(&mut walk, 70).await.unwrap()? {}
        Ok(walk)
    }

    async fn flaw(&self) -> String {
        match self.walk_from(0).await {
            Ok(_) => String::new(),
            Err(flaw) => flaw.to_string(),
        }
    }

    async fn first(&self) -> i64 {
        self.app.store.events_from(0, 1).await.unwrap()[0].sequence
    }

    /// Also an index or a rule that is in the way.
    async fn disarm(&self, mode: Mode) {
        match mode {
            Mode::Embedded => {
                for trigger in [
                    "audit_leaf_no_insert",
                    "audit_leaf_no_update",
                    "audit_leaf_no_delete",
                    "audit_event_no_insert",
                    "audit_event_no_update",
                    "audit_event_no_delete",
                ] {
                    self.test.sql(&format!("drop trigger {trigger}")).await;
                }
            }
            Mode::ScaledOut => {
                for table in ["audit_leaf", "audit_event", "audit_event_0"] {
                    self.test
                        .sql(&format!("alter table {table} disable trigger user"))
                        .await;
                }
            }
        }
    }

    async fn finish(self) {
        self.app.store.close().await;
        self.test.finish_made_up().await;
    }
}

fn events(from: i64, count: i64) -> Vec<NewEvent> {
    (from..from + count)
        .map(|index| {
            let (event_type, payload) = match index % 40 {
                // Found by what its payload lists.
                7 => (
                    EventType::DriftObserved,
                    json!({"objects": ["oas/a", format!("oas/{index}")]}),
                ),
                _ => (EventType::ChangeApplied, json!({"index": index})),
            };
            NewEvent {
                people: vec![(
                    "pusher".to_owned(),
                    Person {
                        login: Some(format!("person-{index}")),
                        ..Person::default()
                    },
                )],
                ..NewEvent::new(
                    event_type,
                    OLD + index * DAY,
                    Actor::new("worker", "one"),
                    payload,
                )
            }
        })
        .collect()
}

async fn signed(app: &App) -> KeptCheckpoint {
    match checkpoint::sign(app).await.unwrap() {
        Signing::Signed(kept) => kept,
        other => panic!("{other:?}"),
    }
}

async fn what_left_is_proved_by_its_hashes_and_the_rest_as_before(mode: Mode) {
    let old = Old::new(mode).await;
    let before = old.app.store.events_from(0, 1_000).await.unwrap();
    let leaving = old.retires(300).await;
    assert_eq!(
        (leaving.from, leaving.until, &leaving.kept),
        (0, 300, &None)
    );
    assert_eq!(old.app.store.left().await.unwrap(), 300);
    assert_eq!(old.first().await, 300);
    // Also that neither people nor objects are left of them.
    for from in [0, 1, 100, 255, 256, 299, 300, 301, 500] {
        let walk = old.walk_from(from).await.unwrap();
        assert_eq!(walk.left(), 300, "from {from}");
    }
    // Whoever noted an event long ago still finds that it was this one.
    assert_eq!(
        old.app.store.hash_of(5).await.unwrap(),
        Some(before[5].hash)
    );
    let last = old.checkpoints.last().unwrap();
    let proof = old.app.store.prove_inclusion(5, last.size).await.unwrap();
    let archive = old.archive(0);
    let proof = proof.unwrap();
    let size = last.size.unsigned_abs();
    verify_inclusion(before[5].hash, 5, size, archive.root, &proof).unwrap();
    // The history goes on: it is signed, and its own check finds nothing.
    old.app
        .store
        .record_events(&events(600, 200))
        .await
        .unwrap();
    signed(&old.app).await;
    assert_eq!(old.flaw().await, "");
    // Twice is once, and the next ones leave behind the first.
    assert_eq!(old.retires(300).await.until, 300);
    let leaving = old.retires(450).await;
    assert_eq!((leaving.from, leaving.until), (300, 450));
    assert_eq!(old.first().await, 450);
    assert_eq!(old.flaw().await, "");
    let told = old.test.event_types().await;
    let retired = EventType::HistoryRetired.as_str();
    assert_eq!(told.iter().filter(|each| *each == retired).count(), 2);
    old.finish().await;
}

#[expect(clippy::too_many_lines, reason = "the cases are data")]
async fn what_is_done_to_what_stays_of_events_is_found_and_named(mode: Mode) {
    let old = Old::new(mode).await;
    old.test
        .sql("create table content as select sequence, header, payload from audit_event")
        .await;
    old.retires(300).await;
    old.disarm(mode).await;
    for (done, undone, found) in [
        (
            "update audit_leaf set hash = (select hash from audit_leaf where sequence = 7) \
             where sequence = 8",
            "",
            "checkpoint 0",
        ),
        (
            "delete from audit_leaf where sequence = 299",
            "",
            "event 299: missing",
        ),
        (
            "delete from audit_leaf where sequence = 9",
            "",
            "event 9: left, and its hash is missing",
        ),
        (
            "delete from audit_leaf where sequence = 0",
            "",
            "event 0: left, and its hash is missing",
        ),
        (
            "update audit_leaf set hash = 'nonsense' where sequence = 12",
            "",
            "event 12: has a hash",
        ),
        (
            "update audit_leaf set payload = replace(payload, 'key', 'kez') where header is not null",
            "",
            "was altered",
        ),
        (
            "update audit_leaf set \
             header = (select header from content where content.sequence = audit_leaf.sequence), \
             payload = (select payload from content where content.sequence = audit_leaf.sequence) \
             where sequence = 200",
            "",
            "event 200: left, and its content was kept or put back",
        ),
        (
            "insert into audit_event (sequence, header, payload, previous, hash) \
             select 3, header, payload, previous, hash from audit_event where sequence = 400",
            "delete from audit_event where sequence = 3",
            "event 3: left, and stands in the history again",
        ),
        (
            "insert into audit_leaf (sequence, hash) \
             select sequence, hash from audit_event where sequence = 300; \
             delete from audit_person where sequence = 300; \
             delete from audit_event where sequence = 300",
            "insert into audit_event (sequence, header, payload, previous, hash) \
             select sequence, header, payload, previous, hash from kept_event where sequence = 300",
            "event 300: was removed: no event of the history says that it may leave",
        ),
    ] {
        for sql in [
            "create table kept_leaf as select * from audit_leaf",
            "create table kept_event as select * from audit_event",
            done,
        ] {
            old.test.sql(sql).await;
        }
        let flaw = old.flaw().await;
        assert!(flaw.contains(found), "{done}: {flaw:?}");
        for sql in [
            undone,
            "delete from audit_leaf",
            "insert into audit_leaf select * from kept_leaf",
            "drop table kept_leaf",
            "drop table kept_event",
        ] {
            old.test.sql(sql).await;
        }
        assert_eq!(old.flaw().await, "", "{done}");
    }
    // A key's event was among those that left, or one of the cases said nothing.
    let named = old.app.store.signing_keys_named().await.unwrap();
    assert!(named.len() == 1 && named[0].sequence < 300);
    // Whoever brings no key along is told by it who signs.
    let unpinned = async || {
        let mut walk = old
            .app
            .store
            .begin_walk(Verification::default())
            .await
            .unwrap()?;
        while !old.app.store.walk(&mut walk, 70).await.unwrap()? {}
        Ok::<_, Flaw>(walk)
    };
    unpinned().await.unwrap();
    for sql in [
        "create table kept_leaf as select * from audit_leaf",
        "update audit_leaf set header = null, payload = null where header is not null",
    ] {
        old.test.sql(sql).await;
    }
    assert!(matches!(unpinned().await, Err(Flaw::Checkpoint { .. })));
    for sql in [
        "delete from audit_leaf",
        "insert into audit_leaf select * from kept_leaf",
    ] {
        old.test.sql(sql).await;
    }
    old.finish().await;
}

async fn nothing_young_or_held_leaves(mode: Mode) {
    let mut old = Old::new(mode).await;
    let begun = old.app.store.events_from(0, 1_000).await.unwrap();
    let sequence_of = |index: i64| {
        let at = format!("\"at\":{}", OLD + index * DAY);
        let found = begun.iter().find(|event| event.header.contains(&at));
        found.unwrap().sequence
    };
    // What every installation begins with is young; after it come the old ones.
    let start = sequence_of(0);
    old.retires(start).await;
    let by = asker("grace");
    let place = |name: &'static str, since: Option<i64>| {
        let (app, by) = (old.app.clone(), by.clone());
        async move { retention::place(&app, &by, name, since, "a dispute").await }
    };
    let archive = old.archive(500);
    let kept = async |app: &App| {
        let leaving = retention::may_leave(app, &archive).await.unwrap();
        assert_eq!(leaving.from, start);
        let by = match leaving.kept {
            Some(Kept::Held(hold)) => hold.name,
            Some(Kept::Young) => "young".to_owned(),
            None => String::new(),
        };
        (leaving.until, by)
    };
    assert_eq!(kept(&old.app).await, (500, String::new()));
    place("summer", Some(OLD + 180 * DAY)).await.unwrap();
    assert_eq!(
        kept(&old.app).await,
        (sequence_of(180), "summer".to_owned())
    );
    place("spring", Some(OLD + 90 * DAY)).await.unwrap();
    assert_eq!(kept(&old.app).await, (sequence_of(90), "spring".to_owned()));
    place("all", None).await.unwrap();
    assert_eq!(kept(&old.app).await, (start, "all".to_owned()));
    for (name, since) in [("spring", None), ("tomorrow", Some(old.app.now() + DAY))] {
        let refused = place(name, since).await;
        assert!(
            matches!(refused, Err(RetentionError::Refused(_))),
            "{name}: {refused:?}"
        );
    }
    let names = async |app: &App| -> Vec<String> {
        let holds = retention::legal_holds(app).await.unwrap();
        holds.into_iter().map(|hold| hold.name).collect()
    };
    assert_eq!(names(&old.app).await, ["all", "spring", "summer"]);
    let lift = async |name| retention::lift(&old.app, &by, name, "over").await;
    let refused = lift("winter").await.unwrap_err();
    assert!(refused.to_string().contains("legal-hold list"));
    lift("all").await.unwrap();
    lift("spring").await.unwrap();
    assert_eq!(
        kept(&old.app).await,
        (sequence_of(180), "summer".to_owned())
    );
    lift("summer").await.unwrap();
    assert_eq!(names(&old.app).await, Vec::<String>::new());
    // However many there were before.
    for _ in 0..6 {
        let many = (0..2_000).map(|index| {
            let event_type = [EventType::LegalHoldPlaced, EventType::LegalHoldLifted][index % 2];
            let payload = json!({"name": "many", "reason": "one of many"});
            old.app.event(event_type, Actor::new("cli", "one"), payload)
        });
        let many: Vec<NewEvent> = many.collect();
        old.app.store.record_events(&many).await.unwrap();
    }
    place("newest", None).await.unwrap();
    assert_eq!(kept(&old.app).await, (start, "newest".to_owned()));
    lift("newest").await.unwrap();
    assert_eq!(kept(&old.app).await, (500, String::new()));
    // One that nobody can read keeps everything.
    let garbled = old.app.event(
        EventType::LegalHoldPlaced,
        Actor::new("cli", "one"),
        json!({"reason": "?"}),
    );
    old.app.store.record_events(&[garbled]).await.unwrap();
    assert_eq!(kept(&old.app).await.0, start);
    let name = names(&old.app).await.remove(0);
    retention::lift(&old.app, &by, &name, "over").await.unwrap();

    let retention = old.app.now() - (OLD + 100 * DAY - DAY / 2);
    old.app.audit = Arc::new(Audit {
        signing_key: old.app.audit.signing_key.clone(),
        retention,
        ..Audit::default()
    });
    assert_eq!(kept(&old.app).await, (sequence_of(100), "young".to_owned()));
    old.finish().await;
}

async fn an_export_that_is_no_proof_of_the_oldest_events_lets_nothing_go(mode: Mode) {
    let old = Old::new(mode).await;
    let good = old.archive(300);
    for (archive, says) in [
        (
            Archive {
                from: 1,
                ..good.clone()
            },
            "the oldest events leave first",
        ),
        (
            Archive {
                root: Digest::of(b"another"),
                ..good.clone()
            },
            "of another history",
        ),
        (
            Archive {
                until: 0,
                ..good.clone()
            },
            "has event 0 without its content",
        ),
        (
            Archive {
                size: 100_000,
                ..good.clone()
            },
            "of another",
        ),
    ] {
        let refused = retention::may_leave(&old.app, &archive).await.unwrap_err();
        assert!(refused.to_string().contains(says), "{refused}");
    }
    // Without the record nothing leaves, whoever asks the store.
    assert_eq!(old.app.store.let_go(300, 100, |_| true).await.unwrap(), 0);
    assert_eq!(old.first().await, 0);
    old.finish().await;
}

async fn a_hold_that_comes_between_stops_it_and_what_was_begun_is_gone_on_with(mode: Mode) {
    let old = Old::new(mode).await;
    let archive = old.archive(300);
    let leaving = retention::may_leave(&old.app, &archive).await.unwrap();
    let by = asker("grace");
    retention::place(&old.app, &by, "late", None, "a dispute")
        .await
        .unwrap();
    let retire = async |leaving: &Leaving| {
        retention::retire(&old.app, &by, &archive, leaving, None, |_| {}).await
    };
    let refused = retire(&leaving).await.unwrap_err();
    assert!(refused.to_string().contains("meanwhile"), "{refused}");
    assert_eq!(old.first().await, 0);
    assert_eq!(old.app.store.retired().await.unwrap(), 0);
    retention::lift(&old.app, &by, "late", "over")
        .await
        .unwrap();

    // The process dies after the record and the first hundred.
    let record = old.app.event(
        EventType::HistoryRetired,
        Actor::new("cli", "one"),
        json!({"from": 0, "until": 300, "sha256": archive.sha256, "file": "old.tar", "checkpoint": 2}),
    );
    assert!(old.app.store.retire(&record, |_| true).await.unwrap());
    assert_eq!(old.flaw().await, "");
    assert_eq!(old.app.store.let_go(300, 100, |_| true).await.unwrap(), 100);
    assert_eq!(old.flaw().await, "");
    retention::place(&old.app, &by, "later", None, "a dispute")
        .await
        .unwrap();
    let held = retention::may_leave(&old.app, &archive).await.unwrap();
    assert_eq!((held.from, held.until), (100, 100));
    // Whoever looked before it was placed is told by the last look.
    let is_free = |holds: &[Event]| standing(holds).is_empty();
    assert_eq!(old.app.store.let_go(300, 100, is_free).await.unwrap(), 100);
    retention::lift(&old.app, &by, "later", "over")
        .await
        .unwrap();
    let leaving = retention::may_leave(&old.app, &archive).await.unwrap();
    assert_eq!((leaving.from, leaving.until), (100, 300));
    retire(&leaving).await.unwrap();
    assert_eq!(old.first().await, 300);
    assert_eq!(old.flaw().await, "");
    let told = old.test.event_types().await;
    let retired = EventType::HistoryRetired.as_str();
    assert_eq!(told.iter().filter(|each| *each == retired).count(), 1);
    old.finish().await;
}

async fn what_leaves_while_it_is_verified_is_no_flaw(mode: Mode) {
    let old = Old::new(mode).await;
    let what = Verification {
        pins: old.app.audit.verifier_keys(),
        ..Verification::default()
    };
    let store = &old.app.store;
    let mut walk = store.begin_walk(what).await.unwrap().unwrap();
    assert!(!store.walk(&mut walk, 90).await.unwrap().unwrap());
    old.retires(310).await;
    while !store.walk(&mut walk, 90).await.unwrap().unwrap() {}
    assert_eq!(walk.left(), 310);

    // Also of pages that were read ahead.
    store.record_events(&events(600, 2_500)).await.unwrap();
    let verified = async || {
        let mut walk = store
            .begin_walk(Verification::default())
            .await
            .unwrap()
            .unwrap();
        while !store.walk(&mut walk, i64::MAX).await.unwrap().unwrap() {}
        walk.left()
    };
    let until_all_left = async { while verified().await < 590 {} };
    tokio::join!(until_all_left, old.retires(590));
    old.finish().await;
}

const PART: i64 = 1 << 20;

/// As if almost a whole part had been written: the last event stands at its end but three.
async fn almost_a_whole_part() -> (TestApp, i64) {
    let test = TestApp::start(Mode::ScaledOut).await;
    let last = PART - 3;
    test.sql(&format!(
        "alter table audit_head disable trigger user; \
         alter table audit_leaf disable trigger user; \
         insert into audit_event (sequence, header, payload, previous, hash) \
         select {last}, header, payload, previous, hash from audit_event order by sequence limit 1; \
         update audit_head set size = {last} + 1, \
         hash = (select hash from audit_event where sequence = {last}); \
         alter table audit_head enable trigger user"
    ))
    .await;
    (test, last)
}

#[tokio::test]
#[ignore = "needs Postgres and NATS; tests/run has it"]
async fn a_part_is_begun_by_many_at_once() {
    let (test, last) = almost_a_whole_part().await;
    let (one, other) = (&test.app.store, test.store_again().await);
    let appends = async |store: &Store, from: i64| {
        for index in 0..10 {
            let new = events(from + 2 * index, 2);
            store.record_events(&new).await.unwrap();
        }
    };
    tokio::join!(
        appends(one, 0),
        appends(one, 20),
        appends(&other, 40),
        appends(&other, 60)
    );
    let found = one.events_from(last, 100).await.unwrap();
    let sequences: Vec<i64> = found.iter().map(|event| event.sequence).collect();
    assert_eq!(sequences, (last..=last + 80).collect::<Vec<_>>());
    other.close().await;
    one.close().await;
    test.services().unwrap().drop_database().await;
}

#[tokio::test]
#[ignore = "needs Postgres and NATS; tests/run has it"]
async fn the_history_goes_on_in_the_next_part_and_an_empty_one_is_dropped() {
    let (test, last) = almost_a_whole_part().await;
    // Who serves appends, and makes no table of its own.
    test.app.store.record_events(&events(0, 2)).await.unwrap();
    test.app.store.record_events(&events(2, 1)).await.unwrap();
    test.app.store.record_events(&events(3, 5)).await.unwrap();
    let mut connection = test.services().unwrap().connect().await;
    let counts = async |connection: &mut _, part: &str| -> i64 {
        let sql = format!("select count(*) from {part}");
        sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
            .fetch_one(connection)
            .await
            .unwrap()
    };
    assert_eq!(counts(&mut connection, "audit_event_1").await, 6);
    let found = test.app.store.events_from(last, 100).await.unwrap();
    let sequences: Vec<i64> = found.iter().map(|event| event.sequence).collect();
    assert_eq!(sequences, (last..last + 9).collect::<Vec<_>>());
    // Each part refuses by itself what the whole refuses.
    for sql in [
        "delete from audit_event_1",
        "update audit_event_1 set payload = ''",
        "truncate audit_event_1",
        "truncate audit_event_0",
    ] {
        let refused = sqlx::query(sql).execute(&mut connection).await.unwrap_err();
        assert!(
            refused.to_string().contains("append-only"),
            "{sql}: {refused}"
        );
    }
    // The first part is there until all of it left.
    let owner = test.as_owner().await;
    owner.store.drop_empty_parts().await.unwrap();
    assert!(counts(&mut connection, "audit_event_0").await > 0);
    test.sql(&format!(
        "insert into audit_leaf (sequence, hash) values ({}, '{}')",
        PART - 1,
        "0".repeat(64)
    ))
    .await;
    owner.store.drop_empty_parts().await.unwrap();
    let left: Option<String> = sqlx::query_scalar("select to_regclass('audit_event_0')::text")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(left, None);
    assert_eq!(counts(&mut connection, "audit_event").await, 6);
    owner.store.close().await;
    test.app.store.close().await;
    test.services().unwrap().drop_database().await;
}
