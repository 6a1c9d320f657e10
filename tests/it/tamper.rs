//! The history's proof: what is signed and sent, and that whatever somebody does to the database
//! who can switch off its own refusals is found and named. What the database alone cannot show is
//! shown by a checkpoint that was kept elsewhere.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use lockstep::{
    app::{App, Audit},
    domain::{
        audit::{
            checkpoint::{Checkpoint, SigningKey, VerifierKey, notes},
            event::{Actor, EventType, NewEvent, Person, hash},
            merkle::{self, Frontier},
            verify::Flaw,
        },
        canonical::Digest,
        object::{Kind, ObjectKey},
        run::RunId,
    },
    store::{KeptCheckpoint, Store, Verification, Walk},
    sync::checkpoint::{self, Signing},
};
use serde_json::json;

use crate::support::{
    app::{Mode, TestApp},
    git_http::GitHttp,
    git_repo::{GitRepo, git_command},
    history::assert_whole,
    listener::{Answer, Listener},
    process::lockstep,
};

crate::in_both_modes! {
    whatever_is_done_to_any_row_is_found_and_named,
    what_only_a_checkpoint_kept_elsewhere_can_show_is_shown_by_it,
    proofs_lead_from_any_event_and_checkpoint_to_any_later_one,
    a_range_is_verified_by_itself,
    a_new_key_is_vouched_for_by_the_one_before_it,
    a_history_that_was_changed_is_not_signed_and_its_own_check_finds_it,
    checkpoints_reach_everybody_who_keeps_them,
    a_keeper_that_is_away_is_tried_again,
    log_and_tree_stay_whole_under_eight_writers,
    the_check_goes_on_where_it_was,
}

const NOW: i64 = 1_767_225_600_000_000;

fn key(seed: u8) -> Arc<SigningKey> {
    Arc::new(SigningKey::from_seed("lockstep.example/test", [seed; 32]).unwrap())
}

fn signing_with(app: &App, key: &Arc<SigningKey>, previous: Option<&Arc<SigningKey>>) -> App {
    App {
        audit: Arc::new(Audit {
            signing_key: Some(key.clone()),
            previous_signing_key: previous.cloned(),
            ..Audit::default()
        }),
        ..app.clone()
    }
}

fn events(from: i64, count: i64) -> Vec<NewEvent> {
    (from..from + count)
        .map(|index| NewEvent {
            target: Some("production".to_owned()),
            stack: Some("shop".to_owned()),
            object: Some(ObjectKey::new(Kind::ClassicApi, format!("api-{index}"))),
            run: Some(RunId(format!("run-{index}"))),
            people: vec![
                ("pusher".to_owned(), person(index)),
                ("author".to_owned(), person(index + 1)),
            ],
            ..NewEvent::new(
                EventType::ChangeApplied,
                NOW + index,
                Actor::new("worker", "one"),
                json!({"index": index}),
            )
        })
        .collect()
}

/// Events that are found by what stands in their payload: the tenth by a commit, the twentieth by
/// two objects.
fn found_by_payload(events: &mut [NewEvent]) {
    for (index, event_type, payload) in [
        (
            10,
            EventType::DeliveryAccepted,
            json!({"after": "ab".repeat(20), "index": 10}),
        ),
        (
            20,
            EventType::DriftObserved,
            json!({"objects": ["oas/a", "oas/b", "oas/a"], "index": 20}),
        ),
    ] {
        let event = &mut events[index];
        (event.event_type, event.payload) = (event_type, payload);
    }
}

fn person(index: i64) -> Person {
    Person {
        login: Some(format!("person-{index}")),
        ..Person::default()
    }
}

async fn signed(app: &App) -> KeptCheckpoint {
    match checkpoint::sign(app).await.unwrap() {
        Signing::Signed(kept) => kept,
        other => panic!("{other:?}"),
    }
}

/// A history of 600 events after the two that it begins with, with three checkpoints, of which the
/// triggers are taken off and every computed column is one that can be changed.
struct Victim {
    test: TestApp,
    app: App,
    checkpoints: Vec<KeptCheckpoint>,
}

const TABLES: [&str; 6] = [
    "audit_person",
    "audit_object",
    "audit_event",
    "audit_head",
    "audit_node",
    "audit_checkpoint",
];

impl Victim {
    async fn new(mode: Mode) -> Self {
        let test = TestApp::start(mode).await;
        let app = signing_with(&test.app, &key(1), None);
        let mut checkpoints = Vec::new();
        for part in 0..3 {
            let mut new = events(part * 200, 200);
            if part == 0 {
                found_by_payload(&mut new);
            }
            app.store.record_events(&new).await.unwrap();
            checkpoints.push(signed(&app).await);
        }
        let victim = Self {
            test,
            app,
            checkpoints,
        };
        assert_eq!(victim.flaw().await, "");
        victim.disarm(mode).await;
        assert_eq!(victim.flaw().await, "");
        victim
    }

    async fn disarm(&self, mode: Mode) {
        match mode {
            Mode::Embedded => {
                for table in TABLES {
                    self.test
                        .sql(&format!(
                            "pragma foreign_keys = off; pragma legacy_alter_table = on; \
                             create table other as select * from {table}; \
                             drop table {table}; alter table other rename to {table}"
                        ))
                        .await;
                }
            }
            Mode::ScaledOut => {
                for table in TABLES {
                    self.test
                        .sql(&format!("alter table {table} disable trigger all"))
                        .await;
                }
                let of_event = [
                    "at",
                    "type",
                    "actor_kind",
                    "actor_id",
                    "target",
                    "stack",
                    "object",
                    "run",
                    "pushed",
                ];
                let of_person = ["login", "email", "name"];
                let computed = of_event.map(|column| ("audit_event", column));
                let computed = computed
                    .into_iter()
                    .chain(of_person.map(|column| ("audit_person", column)));
                for (table, column) in computed {
                    self.test
                        .sql(&format!(
                            "alter table {table} alter column {column} drop expression"
                        ))
                        .await;
                }
                self.test
                    .sql(
                        "alter table audit_event drop constraint audit_event_pkey; \
                         alter table audit_person drop constraint audit_person_pkey; \
                         alter table audit_event drop constraint audit_event_sequence_check",
                    )
                    .await;
            }
        }
        for table in TABLES {
            self.test
                .sql(&format!(
                    "create table kept_{table} as select * from {table}"
                ))
                .await;
        }
    }

    async fn restore(&self) {
        for table in TABLES {
            self.test
                .sql(&format!(
                    "delete from {table}; insert into {table} select * from kept_{table}"
                ))
                .await;
        }
    }

    /// The first thing that is wrong, or nothing.
    async fn flaw(&self) -> String {
        self.flaw_against(&[], vec![key(1).verifier().clone()])
            .await
    }

    async fn flaw_against(&self, kept: &[&KeptCheckpoint], pins: Vec<VerifierKey>) -> String {
        let kept = kept
            .iter()
            .map(|kept| {
                let trusted = [key(1).verifier().clone()];
                let (opened, _) = Checkpoint::open(&kept.note, &trusted).unwrap();
                (opened.size, opened.root)
            })
            .collect();
        let what = Verification {
            pins,
            kept,
            ..Verification::default()
        };
        match walk(&self.app.store, what).await {
            Ok(_) => String::new(),
            Err(flaw) => flaw.to_string(),
        }
    }

    /// Writes the history anew from an event on, as somebody who knows how it is made can.
    async fn rewrite(&self, from: i64) {
        self.rewrite_with(from, "\"index\"", "\"other\"").await;
    }

    async fn rewrite_with(&self, from: i64, old: &str, new: &str) {
        let mut previous: Option<Digest> = None;
        let mut sql = String::new();
        let mut next = from;
        loop {
            let page = self.app.store.events_from(next, 1_000).await.unwrap();
            let Some(last) = page.last() else { break };
            next = last.sequence + 1;
            for event in &page {
                let before = previous.unwrap_or(event.previous);
                let payload = event.payload.replace(old, new);
                let hash = hash(&event.header, &payload, before);
                sql.push_str(&format!(
                    "update audit_event set payload = '{payload}', previous = '{before}', \
                     hash = '{hash}' where sequence = {}; ",
                    event.sequence
                ));
                previous = Some(hash);
            }
        }
        let last = previous.unwrap();
        sql.push_str(&format!("update audit_head set hash = '{last}'"));
        self.test.sql(&sql).await;
    }
}

async fn walk(store: &Store, what: Verification) -> Result<Walk, Flaw> {
    let mut walk = store.begin_walk(what).await.unwrap()?;
    while !store.walk(&mut walk, 150).await.unwrap()? {}
    Ok(walk)
}

/// Event 6 in the place of the fifth, which it hides from every question, with all of the fifth in
/// its time: as one text with the others a page of both would read as before.
fn two_in_one() -> String {
    let columns = "type, actor_kind, actor_id, target, stack, object, run, pushed, previous, hash, \
                   header, payload";
    let texts: Vec<String> = columns
        .split(", ")
        .map(|column| {
            format!("coalesce(octet_length({column}) || '', '') || ':' || coalesce({column}, '')")
        })
        .collect();
    format!(
        "create table five as select at || ',' || {} || '6,' || \
         (select at from audit_event where sequence = 6) as text \
         from audit_event where sequence = 5; \
         update audit_event set at = (select text from five), \
         ({columns}) = (select {columns} from audit_event where sequence = 6) where sequence = 5; \
         delete from audit_event where sequence = 6; drop table five",
        texts.join(" || ")
    )
}

/// What is done, and how what is found begins.
#[expect(clippy::too_many_lines, reason = "the cases are data")]
fn matrix(mode: Mode) -> Vec<(String, &'static str)> {
    let other = "'~' || substr";
    let hex = |column: &str| {
        format!("case when substr({column}, 9, 1) = '0' then overlay_1 else overlay_0 end")
            .replace(
                "overlay_1",
                &format!("substr({column}, 1, 8) || '1' || substr({column}, 10)"),
            )
            .replace(
                "overlay_0",
                &format!("substr({column}, 1, 8) || '0' || substr({column}, 10)"),
            )
    };
    let event = |change: String| format!("update audit_event set {change} where sequence = 5");
    let mut matrix: Vec<(String, &'static str)> = Vec::new();
    for column in [
        "header",
        "payload",
        "type",
        "actor_kind",
        "actor_id",
        "target",
        "stack",
        "object",
        "run",
    ] {
        matrix.push((
            event(format!("{column} = {other}({column}, 2)")),
            "event 5:",
        ));
    }
    for column in ["target", "stack", "object", "run", "type", "actor_id"] {
        matrix.push((event(format!("{column} = null")), "event 5:"));
    }
    if mode == Mode::Embedded {
        // The same bytes as another type: no question finds them, and no page shows them.
        for column in [
            "header", "payload", "previous", "hash", "type", "actor_id", "target", "run",
        ] {
            let blob = event(format!("{column} = cast({column} as blob)"));
            matrix.push((blob, "event 5:"));
        }
        matrix.push((event("at = at || 'x'".to_owned()), "event 5:"));
        matrix.push((two_in_one(), "event 5:"));
    }
    for column in ["previous", "hash"] {
        matrix.push((event(format!("{column} = {}", hex(column))), "event 5:"));
        matrix.push((event(format!("{column} = upper({column})")), "event 5:"));
        matrix.push((event(format!("{column} = ''")), "event 5:"));
    }
    let person = |change: &str| {
        format!("update audit_person set {change} where sequence = 5 and position = 0")
    };
    let no_salt = match mode {
        Mode::Embedded => "zeroblob(32)",
        Mode::ScaledOut => "decode(repeat('00', 32), 'hex')",
    };
    if mode == Mode::Embedded {
        for change in [
            "commitment = cast(commitment as blob)",
            "value = cast(value as blob)",
            "value = null",
            "salt = hex(salt)",
            "salt = null",
            "position = position || 'x'",
        ] {
            matrix.push((person(change), "event 5: a person beside it cannot be read"));
        }
        matrix.push((person("sequence = '5x'"), "event 5: a person is put to it"));
        matrix.push((
            "update audit_object set sequence = '21x' where object = 'oas/b'".to_owned(),
            "event 21: lists oas/b",
        ));
        matrix.push((
            "insert into audit_object (object, sequence) values ('oas/a', '22x')".to_owned(),
            "event 22: an object",
        ));
    }
    for (sql, found) in [
        // Every column, the rest of them.
        (event("at = at + 1".to_owned()), "event 5:"),
        (event("at = null".to_owned()), "event 5:"),
        (event("sequence = 100000".to_owned()), "event 5: missing"),
        (event("sequence = -1".to_owned()), "event -1:"),
        (event("sequence = 6".to_owned()), "event 5: missing"),
        (person("value = replace(value, 'person', 'parson')"), "event 5:"),
        (person(&format!("salt = {no_salt}")), "event 5:"),
        (person(&format!("commitment = {}", hex("commitment"))), "event 5:"),
        (person("position = 1"), "event 5:"),
        (person("position = 7"), "event 5:"),
        (person("sequence = 6"), "event 6:"),
        (person("sequence = 100000"), "event 100000: a person"),
        // What an event is found by.
        ("update audit_event set pushed = null where type = 'delivery.accepted'".to_owned(), "event 11: is found by another commit"),
        ("update audit_event set pushed = 'ab' where type = 'delivery.accepted'".to_owned(), "event 11: is found by another commit"),
        (event("pushed = 'ab'".to_owned()), "event 5: is found by another commit"),
        ("delete from audit_object where object = 'oas/a'".to_owned(), "event 21: lists oas/a"),
        ("delete from audit_object".to_owned(), "event 21: lists oas/a"),
        ("update audit_object set object = 'oas/c' where object = 'oas/a'".to_owned(), "event 21: is found by \"oas/c\""),
        ("update audit_object set sequence = 5 where object = 'oas/a'".to_owned(), "event 5: is found by \"oas/a\""),
        ("update audit_object set sequence = 100000 where object = 'oas/b'".to_owned(), "event 21: lists oas/b"),
        ("insert into audit_object (object, sequence) values ('oas/a', 22)".to_owned(), "event 22: is found by \"oas/a\""),
        ("insert into audit_object (object, sequence) values ('oas/a', 100000)".to_owned(), "event 100000: an object"),
        // Whole events.
        ("delete from audit_event where sequence = 0".to_owned(), "event 0: missing"),
        ("delete from audit_event where sequence = 300".to_owned(), "event 300: missing"),
        ("delete from audit_event where sequence = 601".to_owned(), "event 601: missing"),
        ("delete from audit_event where sequence >= 400".to_owned(), "event 400: missing"),
        ("delete from audit_event".to_owned(), "event 0: missing"),
        (
            "update audit_event set sequence = 100000 where sequence = 7; \
             update audit_event set sequence = 7 where sequence = 8; \
             update audit_event set sequence = 8 where sequence = 100000".to_owned(),
            "event 7:",
        ),
        (
            "insert into audit_event (sequence, header, payload, previous, hash, at, type, \
             actor_kind, actor_id, target, stack, object, run) select 602, header, payload, hash, previous, at, type, \
             actor_kind, actor_id, target, stack, object, run from audit_event \
             where sequence = 601".to_owned(),
            "event 602:",
        ),
        (
            "update audit_event set sequence = sequence + 1 where sequence >= 9; \
             insert into audit_event (sequence, header, payload, previous, hash, at, type, \
             actor_kind, actor_id, target, stack, object, run) select 9, header, payload, previous, hash, at, type, \
             actor_kind, actor_id, target, stack, object, run from audit_event \
             where sequence = 10".to_owned(),
            "event 10:",
        ),
        // The head.
        ("update audit_head set size = size + 1".to_owned(), "event 602: missing"),
        (format!("update audit_head set hash = {}", hex("hash")), "event 601:"),
        ("update audit_head set hash = 'nonsense'".to_owned(), "event 601:"),
        // The tree.
        (format!("update audit_node set hash = {} where position = 1", hex("hash")), "node 1 of level 8"),
        ("delete from audit_node where position = 0".to_owned(), "node 0 of level 8"),
        ("update audit_node set position = 5 where position = 1".to_owned(), "node 1 of level 8"),
        (
            "insert into audit_node (level, position, hash) select 8, 2, hash from audit_node \
             where position = 1".to_owned(),
            "node 2 of level 8",
        ),
        // Checkpoints.
        ("update audit_checkpoint set note = replace(note, 'number 1', 'number 2') where number = 1".to_owned(), "checkpoint 1:"),
        ("update audit_checkpoint set note = 'nonsense' where number = 1".to_owned(), "checkpoint 1:"),
        ("update audit_checkpoint set size = size + 1 where number = 1".to_owned(), "checkpoint 1:"),
        ("update audit_checkpoint set size = size + 1 where number = 2".to_owned(), "checkpoint 2:"),
        ("update audit_checkpoint set at = at + 1 where number = 1".to_owned(), "checkpoint 1:"),
        ("update audit_checkpoint set number = 9 where number = 1".to_owned(), "checkpoint 1: missing"),
        ("delete from audit_checkpoint where number = 0".to_owned(), "checkpoint 0: missing"),
        ("delete from audit_checkpoint where number = 1".to_owned(), "checkpoint 1: missing"),
        // The nodes that it signed for are left over.
        ("delete from audit_checkpoint where number = 2".to_owned(), "node 1 of level 8"),
    ] {
        matrix.push((sql, found));
    }
    matrix
}

async fn whatever_is_done_to_any_row_is_found_and_named(mode: Mode) {
    let victim = Victim::new(mode).await;
    for (sql, found) in matrix(mode) {
        victim.test.sql(&sql).await;
        let flaw = victim.flaw().await;
        assert!(flaw.starts_with(found), "{sql}\nfound: {flaw:?}");
        victim.restore().await;
    }
    assert_eq!(victim.flaw().await, "");

    // Every event anew and the chain made whole: the signed tree shows it.
    victim.rewrite(5).await;
    let flaw = victim.flaw().await;
    assert!(
        flaw.starts_with("checkpoint 0:") && flaw.contains("rewritten"),
        "{flaw}"
    );
    victim.restore().await;
    for (from, found) in [(250, "node 0 of level 8"), (260, "checkpoint 1:")] {
        victim.rewrite(from).await;
        let flaw = victim.flaw().await;
        assert!(flaw.starts_with(found), "{flaw}");
        victim.restore().await;
    }
    victim.test.finish_made_up().await;
}

async fn what_only_a_checkpoint_kept_elsewhere_can_show_is_shown_by_it(mode: Mode) {
    let victim = Victim::new(mode).await;
    let [_, middle, last] = [0, 1, 2].map(|at| &victim.checkpoints[at]);
    let pin = vec![key(1).verifier().clone()];
    let against = async |kept: &KeptCheckpoint| victim.flaw_against(&[kept], pin.clone()).await;
    assert_eq!(against(last).await, "");

    // A backup from the time of the second checkpoint, restored whole.
    victim
        .test
        .sql(&format!(
            "delete from audit_person where sequence >= {size}; \
             delete from audit_event where sequence >= {size}; \
             delete from audit_checkpoint where number > 1; \
             delete from audit_node where position >= {size} / 256; \
             update audit_head set size = {size}, \
             hash = (select hash from audit_event where sequence = {size} - 1)",
            size = middle.size
        ))
        .await;
    assert_eq!(victim.flaw().await, "", "the database alone shows nothing");
    assert_eq!(against(middle).await, "");
    let flaw = against(last).await;
    assert!(
        flaw.contains("kept elsewhere") && flaw.contains("cut off"),
        "{flaw}"
    );
    victim.restore().await;

    // Everything rewritten, and nothing of the proof left.
    victim.rewrite(5).await;
    victim
        .test
        .sql("delete from audit_checkpoint; delete from audit_node")
        .await;
    let shown = victim.flaw_against(&[], Vec::new()).await;
    assert_eq!(shown, "", "the database alone shows nothing");
    let flaw = victim.flaw().await;
    assert!(flaw.contains("no checkpoint is signed"), "{flaw}");
    for kept in [middle, last] {
        let flaw = against(kept).await;
        assert!(
            flaw.contains("kept elsewhere") && flaw.contains("rewritten"),
            "{flaw}"
        );
    }

    // And signed by a key of the attacker's own, which the history now names from the beginning:
    // whoever pinned the key sees it, and so does whoever has a checkpoint.
    let names = [1, 9].map(|seed| key(seed).verifier().to_string());
    victim.rewrite_with(5, &names[0], &names[1]).await;
    let thief = signing_with(&victim.app, &key(9), None);
    signed(&thief).await;
    assert_eq!(
        victim.flaw_against(&[], Vec::new()).await,
        "",
        "nobody knows the key"
    );
    let flaw = victim.flaw().await;
    assert!(flaw.contains("no checkpoint is signed"), "{flaw}");
    let flaw = victim.flaw_against(&[last], Vec::new()).await;
    assert!(
        flaw.contains("kept elsewhere") && flaw.contains("rewritten"),
        "{flaw}"
    );
    victim.test.finish_made_up().await;
}

async fn proofs_lead_from_any_event_and_checkpoint_to_any_later_one(mode: Mode) {
    let victim = Victim::new(mode).await;
    let store = &victim.app.store;
    let mut opened = BTreeMap::new();
    for kept in &victim.checkpoints {
        let trusted = [key(1).verifier().clone()];
        let (checkpoint, _) = Checkpoint::open(&kept.note, &trusted).unwrap();
        opened.insert(kept.size, checkpoint.root);
    }
    let (size, root) = opened
        .last_key_value()
        .map(|(size, root)| (*size, *root))
        .unwrap();
    let mut leaves = store.events_from(0, 1_000).await.unwrap();
    leaves.truncate(usize::try_from(size).unwrap());
    for sequence in (0..size)
        .step_by(37)
        .chain([0, 255, 256, 511, 512, size - 1])
    {
        let proof = store
            .prove_inclusion(sequence, size)
            .await
            .unwrap()
            .unwrap();
        let leaf = leaves[usize::try_from(sequence).unwrap()].hash;
        let [index, size] = [sequence, size].map(|each| u64::try_from(each).unwrap());
        merkle::verify_inclusion(leaf, index, size, root, &proof).unwrap();
    }
    assert_eq!(store.prove_inclusion(size, size).await.unwrap(), None);
    for (old, old_root) in &opened {
        for (new, new_root) in opened.range(old..) {
            let proof = store.prove_consistency(*old, *new).await.unwrap().unwrap();
            let [old, new] = [*old, *new].map(|each| u64::try_from(each).unwrap());
            merkle::verify_consistency(old, *old_root, new, *new_root, &proof).unwrap();
        }
    }
    let mut frontier = Frontier::default();
    for leaf in &leaves {
        frontier.append(leaf.hash, |_, _| {});
    }
    assert_eq!(store.frontier_at(size).await.unwrap(), frontier);
    victim.test.finish_made_up().await;
}

async fn a_range_is_verified_by_itself(mode: Mode) {
    let victim = Victim::new(mode).await;
    let store = &victim.app.store;
    let range = async |from: i64, to: Option<i64>| {
        let what = Verification {
            from,
            to,
            pins: vec![key(1).verifier().clone()],
            ..Verification::default()
        };
        walk(store, what).await
    };
    for (from, to) in [
        (1, None),
        (300, None),
        (201, Some(401)),
        (601, None),
        (0, Some(10)),
    ] {
        let walked = range(from, to).await.unwrap();
        assert_eq!((walked.from(), walked.next()), (from, to.unwrap_or(602)));
    }
    victim
        .test
        .sql("update audit_event set payload = '{}' where sequence = 50")
        .await;
    assert!(range(100, None).await.is_ok());
    assert!(range(0, Some(50)).await.is_ok());
    assert!(range(50, Some(51)).await.is_err());
    victim.restore().await;
    // What was rewritten before the range shows in the tree that the range goes on from.
    victim.rewrite(5).await;
    let flaw = range(100, None).await.unwrap_err().to_string();
    assert!(flaw.starts_with("checkpoint 0:"), "{flaw}");
    victim.restore().await;
    victim.test.finish_made_up().await;
}

async fn a_new_key_is_vouched_for_by_the_one_before_it(mode: Mode) {
    let test = TestApp::start(mode).await;
    let first = signing_with(&test.app, &key(1), None);
    first.store.record_events(&events(0, 3)).await.unwrap();
    let old = signed(&first).await;

    // Without the one before it the new key signs nothing, and that is on record.
    let alone = signing_with(&test.app, &key(2), None);
    for _ in 0..2 {
        let refused = checkpoint::sign(&alone).await.unwrap();
        assert!(
            matches!(&refused, Signing::Refused(why) if why.contains("previous_signing_key")),
            "{refused:?}"
        );
    }
    let broken = |types: Vec<String>| {
        types
            .iter()
            .filter(|each| *each == "history.broken")
            .count()
    };
    assert_eq!(broken(test.event_types().await), 1);

    let rotated = signing_with(&test.app, &key(2), Some(&key(1)));
    let new = signed(&rotated).await;
    rotated.store.record_events(&events(3, 3)).await.unwrap();
    let alone = signed(&alone).await;
    let keys = [key(1).verifier().clone(), key(2).verifier().clone()];
    let signers = |kept: &KeptCheckpoint| Checkpoint::open(&kept.note, &keys).unwrap().1.len();
    assert_eq!([signers(&old), signers(&new), signers(&alone)], [1, 2, 1]);
    assert_eq!(
        checkpoint::proof(&rotated).await.unwrap().check.unsigned,
        None
    );

    // Whoever pinned either of them, or none, finds it right.
    for pins in [vec![], vec![keys[0].clone()], vec![keys[1].clone()]] {
        let what = Verification {
            pins,
            ..Verification::default()
        };
        let walked = walk(&rotated.store, what).await.unwrap();
        assert_eq!(walked.keys().trusted(), &keys[1..]);
    }
    let stranger = Verification {
        pins: vec![key(3).verifier().clone()],
        ..Verification::default()
    };
    assert!(walk(&rotated.store, stranger).await.is_err());

    // A key that is lost: with a reason, and whoever pinned the old one is told.
    let lost = signing_with(&test.app, &key(4), None);
    checkpoint::record_key(&lost, &key(4), None, Some("the disk burnt"))
        .await
        .unwrap();
    signed(&lost).await;
    let pinned = |seed| Verification {
        pins: vec![key(seed).verifier().clone()],
        ..Verification::default()
    };
    let flaw = walk(&lost.store, pinned(2)).await.unwrap_err().to_string();
    assert!(
        flaw.starts_with("checkpoint 3: no key that is trusted"),
        "{flaw}"
    );
    assert!(walk(&lost.store, pinned(4)).await.is_ok());
    // The check at the end pins nothing: there the first key is trusted, and does not vouch.
    let flaw = walk(&lost.store, Verification::default())
        .await
        .unwrap_err();
    assert!(matches!(flaw, Flaw::Checkpoint { number: 3, .. }), "{flaw}");
}

async fn a_history_that_was_changed_is_not_signed_and_its_own_check_finds_it(mode: Mode) {
    let victim = Victim::new(mode).await;
    let app = &victim.app;
    let mut progress = None;
    checkpoint::check_slice(app, &mut progress).await.unwrap();
    let proof = checkpoint::proof(app).await.unwrap();
    assert_eq!(
        (proof.check.sound_size, proof.check.flaw),
        (Some(602), None)
    );

    victim
        .test
        .sql("update audit_event set payload = '{}' where sequence = 50")
        .await;
    for _ in 0..2 {
        checkpoint::check_slice(app, &mut progress).await.unwrap();
    }
    let proof = checkpoint::proof(app).await.unwrap();
    assert!(proof.check.flaw.unwrap().starts_with("event 50:"));
    let types = victim.test.event_types().await;
    assert_eq!(
        types
            .iter()
            .filter(|each| *each == "history.broken")
            .count(),
        1,
        "told once"
    );
    victim.restore().await;

    victim.rewrite(250).await;
    let refused = checkpoint::sign(app).await.unwrap();
    assert!(
        matches!(&refused, Signing::Refused(why) if why.contains("checkpoint 2")),
        "{refused:?}"
    );
    let metrics = victim.test.url("/metrics");
    let metrics = reqwest::get(metrics).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("lockstep_audit_broken 1"), "{metrics}");
    victim.restore().await;
    signed(app).await;
    checkpoint::check_slice(app, &mut progress).await.unwrap();
    let proof = checkpoint::proof(app).await.unwrap();
    assert_eq!((proof.check.unsigned, proof.check.flaw), (None, None));
    victim.test.finish_made_up().await;
}

const WEBHOOK_KEY: &str = "whsec_dGVzdHRlc3R0ZXN0dGVzdHRlc3R0ZXN0dGVzdHRlc3Q=";

const HOST_TOKEN: &str = "ghs_a-token-that-nobody-may-see";

async fn keeping(mode: Mode, listener: &Listener, git: &str, host: &GitHttp) -> (TestApp, App) {
    let lines = format!(
        "[audit.sink.archive]\nkind = \"file\"\npath = \"kept\"\n\
         [audit.sink.mirror]\nkind = \"git\"\npath = \"{git}\"\n\
         [audit.sink.host]\nkind = \"git\"\nurl = \"{}\"\ntoken = {{ env = \"HOST\" }}\nbranch = \"kept/here\"\n\
         [audit.sink.auditors]\nkind = \"webhook\"\nurl = \"{}\"\nsecret = {{ env = \"AUDIT\" }}\n",
        host.url(),
        listener.url("/kept")
    );
    let environment = [("AUDIT", WEBHOOK_KEY), ("HOST", HOST_TOKEN)];
    let test = TestApp::with_environment(mode, &lines, &environment).await;
    let config = test.config();
    assert_eq!(config.audit.sinks.len(), 4);
    let mut audit = Audit {
        signing_key: Some(key(1)),
        ..Audit::default()
    };
    audit.sinks.clone_from(&test.app.audit.sinks);
    let app = App {
        audit: Arc::new(audit),
        ..test.app.clone()
    };
    (test, app)
}

async fn checkpoints_reach_everybody_who_keeps_them(mode: Mode) {
    let listener = Listener::start();
    let repository = GitRepo::new();
    let git = repository.path().display().to_string();
    let on_host = GitRepo::new();
    let host = GitHttp::serve(on_host.path(), Some(HOST_TOKEN));
    let (test, app) = keeping(mode, &listener, &git, &host).await;
    let mut made = Vec::new();
    for part in 0..3 {
        app.store.record_events(&events(part, 1)).await.unwrap();
        made.push(signed(&app).await.note);
        checkpoint::send_pending(&app).await.unwrap();
    }
    let file = std::fs::read_to_string(test.folder.path().join("kept")).unwrap();
    let found: Vec<String> = notes(&file).map(|note| note.to_string()).collect();
    assert_eq!(found, made);

    for (repository, branch) in [(&repository, "checkpoints"), (&on_host, "kept/here")] {
        let shown = |revision: &str| {
            let file = format!("{branch}{revision}:checkpoint");
            let output = git_command(repository.path())
                .args(["show", &file])
                .output();
            String::from_utf8(output.unwrap().stdout).unwrap()
        };
        assert_eq!(["~2", "~1", ""].map(shown).to_vec(), made);
        repository.git(&["fsck", "--strict"]);
    }

    let heard = listener.heard();
    let notes: Vec<String> = heard
        .iter()
        .map(|heard| heard.json()["data"]["note"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(notes, made);
    assert_eq!(heard[0].json()["type"], "lockstep.checkpoint");
    assert!(heard[0].header("webhook-signature").starts_with("v1,"));

    // Nothing new, nothing sent.
    checkpoint::send_pending(&app).await.unwrap();
    assert_eq!(listener.heard().len(), 3);
    for standing in checkpoint::standings(&app).await.unwrap() {
        assert_eq!((standing.untold_since, standing.problem), (None, None));
    }
    test.finish_made_up().await;
}

async fn a_keeper_that_is_away_is_tried_again(mode: Mode) {
    let listener = Listener::start();
    let gone = tempfile::tempdir().unwrap();
    let git = gone.path().join("later");
    let on_host = GitRepo::new();
    let host = GitHttp::serve(on_host.path(), Some("another"));
    let (test, app) = keeping(mode, &listener, &git.display().to_string(), &host).await;
    listener.answers(Answer::Says(503, Vec::new(), "busy".to_owned()));
    // A folder where the file should be.
    let file = test.folder.path().join("kept");
    std::fs::create_dir(&file).unwrap();
    app.store.record_events(&events(0, 1)).await.unwrap();
    let made = signed(&app).await.note;
    checkpoint::send_pending(&app).await.unwrap();
    let standings = checkpoint::standings(&app).await.unwrap();
    let failing = standings
        .iter()
        .filter(|standing| standing.problem.is_some());
    assert_eq!(failing.count(), 4, "{standings:?}");
    let told = format!("{standings:?}");
    assert!(
        told.contains("refuses commits of ours (HTTP 401); the token is wrong"),
        "{told}"
    );
    assert!(!told.contains(HOST_TOKEN), "{told}");
    let metrics = reqwest::get(test.url("/metrics"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(
        metrics.contains("lockstep_sink_failing{sink=\"audit.sink.archive\"} 1"),
        "{metrics}"
    );

    std::fs::remove_dir(&file).unwrap();
    std::process::Command::new("git")
        .args(["init", "--quiet", "--bare"])
        .arg(&git)
        .status()
        .unwrap();
    host.expect_token(HOST_TOKEN);
    // Not before its time, and then at once.
    checkpoint::send_pending(&app).await.unwrap();
    assert!(!file.exists());
    test.sql("update sink set not_before = 0").await;
    checkpoint::send_pending(&app).await.unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("{made}\n"));
    let kept = on_host.git(&["show", "kept/here:checkpoint"]);
    assert_eq!(kept, made.trim_end());
    assert_eq!(listener.heard().len(), 2);
    for standing in checkpoint::standings(&app).await.unwrap() {
        assert_eq!((standing.untold_since, standing.problem), (None, None));
    }
    test.finish_made_up().await;
}

async fn log_and_tree_stay_whole_under_eight_writers(mode: Mode) {
    let test = TestApp::start(mode).await;
    let app = signing_with(&test.app, &key(1), None);
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..8 {
        // With connections of its own, as a worker has them.
        let store = test.store_again().await;
        writers.spawn(async move {
            for round in 0..15 {
                let new = events(writer * 1_000 + round, 1 + round % 5);
                store.record_events(&new).await.unwrap();
            }
            store.close().await;
        });
    }
    let mut signed = 0;
    while !writers.is_empty() {
        if let Signing::Signed(_) = checkpoint::sign(&app).await.unwrap() {
            signed += 1;
        }
        let ended = tokio::time::timeout(Duration::from_millis(1), writers.join_next()).await;
        if let Ok(Some(ended)) = ended {
            ended.unwrap();
        }
    }
    assert!(signed > 1, "{signed} checkpoints");
    checkpoint::sign(&app).await.unwrap();
    let (size, checkpoints) = assert_whole(&app.store, key(1).verifier()).await;
    assert_eq!((size, checkpoints.last()), (8 * 15 * 3 + 2, Some(&size)));
    test.finish_made_up().await;
}

/// Every slice begins anew, as after a restart, and in turns with another process.
async fn the_check_goes_on_where_it_was(mode: Mode) {
    let test = TestApp::start(mode).await;
    let app = signing_with(&test.app, &key(1), None);
    for part in 0..13 {
        app.store
            .record_events(&events(part * 1_000, 1_000))
            .await
            .unwrap();
        if part % 3 == 0 {
            signed(&app).await;
        }
    }
    let size = app.store.head().await.unwrap().size;
    assert!(size < 20_000, "two slices");
    let next = async || checkpoint::proof(&app).await.unwrap().check.next;
    checkpoint::check_slice(&app, &mut None).await.unwrap();
    assert_eq!(next().await, 10_000);
    checkpoint::check_slice(&app, &mut None).await.unwrap();
    let check = checkpoint::proof(&app).await.unwrap().check;
    assert_eq!(
        (check.next, check.sound_size, check.flaw),
        (0, Some(size), None)
    );

    // What is found in its second half is told, and the next round begins at the beginning.
    let (mut ours, mut theirs) = (None, None);
    checkpoint::check_slice(&app, &mut ours).await.unwrap();
    let alter =
        |text: &str| format!("update audit_event set payload = '{text}' where sequence = 12000");
    let kept = app
        .store
        .events_from(12_000, 1)
        .await
        .unwrap()
        .remove(0)
        .payload;
    test.sql(guards_off(mode)).await;
    test.sql(&alter("{}")).await;
    checkpoint::check_slice(&app, &mut theirs).await.unwrap();
    let check = checkpoint::proof(&app).await.unwrap().check;
    assert!(check.flaw.unwrap().starts_with("event 12000:"));
    assert_eq!(check.next, 0);
    test.sql(&alter(&kept)).await;
    for _ in 0..2 {
        checkpoint::check_slice(&app, &mut ours).await.unwrap();
    }
    let check = checkpoint::proof(&app).await.unwrap().check;
    assert_eq!((check.next, check.flaw), (0, None));
    test.finish_made_up().await;
}

fn guards_off(mode: Mode) -> &'static str {
    match mode {
        Mode::Embedded => "drop trigger audit_event_no_update",
        Mode::ScaledOut => "alter table audit_event disable trigger all",
    }
}

#[test]
fn keygen_makes_a_key_for_its_owner_alone_and_overwrites_none() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.key");
    let keygen = |name: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_lockstep"));
        command
            .args(["audit", "keygen", "--name", name, "--out"])
            .arg(&file);
        command.output().unwrap()
    };
    let made = keygen("lockstep.example/a");
    assert!(made.status.success(), "{made:?}");
    let verifier: VerifierKey = String::from_utf8(made.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    let key: SigningKey = text.trim().parse().unwrap();
    assert_eq!(key.verifier(), &verifier);
    assert_eq!(verifier.name(), "lockstep.example/a");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(keygen("lockstep.example/b").status.code(), Some(1));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    assert_eq!(keygen("with space").status.code(), Some(1));
}

#[tokio::test]
async fn the_command_verifies_against_what_was_kept_elsewhere() {
    let test = TestApp::start(Mode::Embedded).await;
    let app = &test.app;
    app.store.record_events(&events(0, 20)).await.unwrap();
    let kept = signed(app).await.note;
    let file = test.folder.path().join("kept");
    std::fs::write(&file, &kept).unwrap();
    let config = test.folder.path().join("lockstep.toml");
    std::fs::write(&config, &test.config_text).unwrap();
    let environment = [("WEBHOOK", "x"), ("GATEWAY", "x")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let verify = |more: &[&str]| {
        let arguments = [&["audit", "verify", "--output", "json"], more].concat();
        let (code, out, said) = lockstep(test.folder.path(), &environment, &arguments);
        let value: serde_json::Value = serde_json::from_str(&out).unwrap_or_default();
        (code, value, said)
    };
    let against = ["--against", file.to_str().unwrap()];
    let (code, value, said) = verify(&against);
    assert_eq!(
        (code, &value["ok"], &value["signed"]),
        (0, &json!(true), &json!(22)),
        "{said}"
    );
    let pinned = app
        .audit
        .signing_key
        .as_ref()
        .unwrap()
        .verifier()
        .to_string();
    assert_eq!(verify(&["--key", &pinned, "--since-checkpoint", "0"]).0, 0);
    let stranger = key(7).verifier().to_string();
    assert_eq!(verify(&["--key", &stranger]).0, 1);

    // A checkpoint of more than there is; and one that nobody signed.
    let key = app.audit.signing_key.clone().unwrap();
    let more = Checkpoint::of_history(key.verifier().name(), 1, "now", 30, Digest::of(b""));
    std::fs::write(&file, more.sign(&[&key]).to_string()).unwrap();
    let (code, value, _) = verify(&against);
    assert_eq!(
        (code, &value["kept_checkpoint"]),
        (1, &json!(30)),
        "{value}"
    );
    std::fs::write(&file, kept.replace("number 0", "number 1")).unwrap();
    let (code, value, _) = verify(&against);
    assert_eq!(code, 1, "{value}");
    assert!(
        value["problem"].as_str().unwrap().contains("changed"),
        "{value}"
    );
    std::fs::write(&file, "nothing").unwrap();
    let (code, _, said) = verify(&against);
    assert_eq!(code, 1);
    assert!(said.contains("holds no checkpoint"), "{said}");
    test.finish_made_up().await;
}
