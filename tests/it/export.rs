//! An export of the history, verified by the binary and by a verifier in another language, whole
//! and after everything that may be done to it.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    process::Command,
};

use lockstep::{
    app::App,
    config::Config,
    domain::{
        audit::event::{Actor, EventType, NewEvent, Person},
        object::{Kind, ObjectKey},
    },
    store::Store,
};
use serde_json::{Value, json};
use sqlx::{ConnectOptions as _, Connection as _, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

use crate::support::process::lockstep;

const START: i64 = 1_767_225_600_000_000;
const SECOND: i64 = 1_000_000;
const MEMBERS: [&str; 7] = [
    "manifest.json",
    "checkpoint",
    "proof.json",
    "log.ndjson",
    "changes.csv",
    "events.ndjson",
    "README.txt",
];

/// A folder with a configuration and a history, and the keys that sign it.
struct Archive {
    folder: TempDir,
}

impl Archive {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a key and answers what verifies it.
    fn keygen(&self, file: &str) -> String {
        let made = self.run(&[
            "audit",
            "keygen",
            "--name",
            "log.example/test",
            "--out",
            file,
        ]);
        assert_eq!(made.0, 0, "{made:?}");
        made.1.trim().to_owned()
    }

    fn sign_with(&self, key: &str, previous: Option<&str>) {
        let previous = previous
            .map(|file| format!("previous_signing_key = {{ file = \"{file}\" }}\n"))
            .unwrap_or_default();
        let text = format!(
            "[repository.shop]\nurl = \"{}\"\n\
             [target.production]\nkind = \"gateway\"\nnodes = [\"http://127.0.0.1:1\"]\n\
             secret = {{ env = \"GATEWAY\" }}\n\
             [stack.shop]\nrepository = \"shop\"\ntarget = \"production\"\n\
             [audit]\nsigning_key = {{ file = \"{key}\" }}\n{previous}",
            self.folder.path().display()
        );
        std::fs::write(self.path("lockstep.toml"), text).unwrap();
    }

    async fn record(&self, events: &[NewEvent]) {
        let environment = |name: &str| (name == "GATEWAY").then(|| "secret".to_owned());
        let config = Config::load(&self.path("lockstep.toml"), &environment).unwrap();
        let app = App::open(&config).await.unwrap();
        app.store.record_events(events).await.unwrap();
        app.store.close().await;
    }

    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let environment = [("GATEWAY".to_owned(), "secret".to_owned())];
        lockstep(self.folder.path(), &environment, arguments)
    }

    fn export(&self, file: &str, more: &[&str]) -> Value {
        let arguments = [
            &["--output", "json", "audit", "export", "--out", file],
            more,
        ]
        .concat();
        let (code, out, err) = self.run(&arguments);
        assert_eq!(code, 0, "{out}{err}");
        serde_json::from_str(&out).unwrap()
    }

    /// What the binary says of a file, from a folder without a configuration.
    fn verify(file: &Path, key: &str) -> (i32, Value) {
        let elsewhere = tempfile::tempdir().unwrap();
        let file = file.to_str().unwrap();
        let arguments = ["--output", "json", "audit", "verify", file, "--key", key];
        let (code, out, err) = lockstep(elsewhere.path(), &[], &arguments);
        let value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
        (code, value)
    }
}

/// What the verifier in Python says: its exit code and its words.
fn verify_in_python(file: &Path, key: &str) -> (i32, String) {
    let python = std::env::var("LOCKSTEP_TEST_PYTHON").expect("LOCKSTEP_TEST_PYTHON names Python");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verify_export.py");
    let done = Command::new(python)
        .arg("-B")
        .arg(script)
        .arg(file)
        .arg(key)
        .output()
        .unwrap();
    let words = format!(
        "{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
    assert!(!words.contains("Traceback"), "{words}");
    (done.status.code().unwrap_or(-1), words)
}

fn events(from: i64, count: i64) -> Vec<NewEvent> {
    let people = ["ada", "=HYPERLINK(\"http://x\")", "grace, \"hopper\"\n"];
    let reasons = [
        "=1+1 \u{1}\u{7f}\u{2028} ü",
        "\u{feff} \u{a0}\u{3000}＝1",
        "\t\r-1",
        "plain",
    ];
    (from..from + count)
        .map(|index| {
            let person = Person {
                login: Some(people[usize::try_from(index).unwrap() % people.len()].to_owned()),
                ..Person::default()
            };
            let stack = if index % 3 == 0 { "shop" } else { "books" };
            NewEvent {
                target: Some("production".to_owned()),
                stack: Some(stack.to_owned()),
                object: Some(ObjectKey::new(
                    Kind::ClassicApi,
                    format!("api-{}", index % 7),
                )),
                people: vec![("pusher".to_owned(), person)],
                ..NewEvent::new(
                    EventType::ChangeApplied,
                    START + index * SECOND,
                    Actor::new("worker", "one"),
                    json!({
                        "outcome": "applied",
                        "reason": reasons[usize::try_from(index).unwrap() % reasons.len()],
                        "number": 1.5e-7,
                        "whole": i64::MAX,
                        "source": {"revision": "abc"},
                    }),
                )
            }
        })
        .collect()
}

fn unpack(file: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(File::open(file).unwrap());
    let mut members = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        members.insert(name, content);
    }
    members
}

fn pack(members: &BTreeMap<String, Vec<u8>>, file: &Path) {
    let mut archive = tar::Builder::new(File::create(file).unwrap());
    for name in MEMBERS {
        let Some(content) = members.get(name) else {
            continue;
        };
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive
            .append_data(&mut header, name, content.as_slice())
            .unwrap();
    }
    archive.finish().unwrap();
}

fn lines(members: &BTreeMap<String, Vec<u8>>) -> Vec<Value> {
    String::from_utf8(members["log.ndjson"].clone())
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn with_lines(
    members: &BTreeMap<String, Vec<u8>>,
    change: impl FnOnce(&mut Vec<Value>),
) -> BTreeMap<String, Vec<u8>> {
    let mut lines = lines(members);
    change(&mut lines);
    let mut text = String::new();
    for line in &lines {
        text.push_str(&line.to_string());
        text.push('\n');
    }
    let mut members = members.clone();
    members.insert("log.ndjson".to_owned(), text.into_bytes());
    members
}

fn with_json(
    members: &BTreeMap<String, Vec<u8>>,
    name: &str,
    change: impl FnOnce(&mut Value),
) -> BTreeMap<String, Vec<u8>> {
    let mut value = serde_json::from_slice(&members[name]).unwrap();
    change(&mut value);
    let mut members = members.clone();
    members.insert(name.to_owned(), value.to_string().into_bytes());
    members
}

fn with_text(
    members: &BTreeMap<String, Vec<u8>>,
    name: &str,
    from: &str,
    to: &str,
) -> BTreeMap<String, Vec<u8>> {
    let text = String::from_utf8(members[name].clone()).unwrap();
    assert!(text.contains(from), "{name} has no {from:?}");
    let mut members = members.clone();
    members.insert(name.to_owned(), text.replacen(from, to, 1).into_bytes());
    members
}

/// Another digit in the place of the first one.
fn spoiled(value: &mut Value) {
    let text = value.as_str().unwrap();
    let (first, rest) = text.split_at(1);
    let other = if first == "0" { "1" } else { "0" };
    *value = json!(format!("{other}{rest}"));
}

fn text_of(line: &Value, member: &str) -> String {
    line[member].as_str().unwrap().to_owned()
}

/// Everything that may be done to an export, by name.
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn tampered(whole: &BTreeMap<String, Vec<u8>>) -> Vec<(&'static str, BTreeMap<String, Vec<u8>>)> {
    let count = lines(whole).len();
    let full = lines(whole)
        .iter()
        .position(|line| line.get("payload").is_some())
        .unwrap();
    let bare = lines(whole)
        .iter()
        .position(|line| line.get("payload").is_none())
        .unwrap();
    let named = lines(whole)
        .iter()
        .position(|line| line.get("people").is_some())
        .unwrap();
    let replaced = |member: &'static str, from: &'static str, to: &'static str| {
        with_lines(whole, |lines| {
            let text = text_of(&lines[full], member);
            assert!(text.contains(from), "{text}");
            lines[full][member] = json!(text.replacen(from, to, 1));
        })
    };
    vec![
        (
            "a hash",
            with_lines(whole, |lines| spoiled(&mut lines[full]["hash"])),
        ),
        (
            "a header's stack",
            replaced("header", "\"stack\":\"shop\"", "\"stack\":\"shoq\""),
        ),
        (
            "a header's time",
            replaced("header", "\"at\":1", "\"at\":2"),
        ),
        ("a payload", replaced("payload", "applied", "refused")),
        (
            "a payload's digest",
            with_lines(whole, |lines| spoiled(&mut lines[bare]["payload_digest"])),
        ),
        (
            "the first event gone",
            with_lines(whole, |lines| drop(lines.remove(0))),
        ),
        (
            "an event in the middle gone",
            with_lines(whole, |lines| drop(lines.remove(count / 2))),
        ),
        (
            "the last event gone",
            with_lines(whole, |lines| drop(lines.pop())),
        ),
        (
            "two events swapped",
            with_lines(whole, |lines| lines.swap(full, full + 1)),
        ),
        (
            "an event twice",
            with_lines(whole, |lines| lines.insert(full, lines[full].clone())),
        ),
        (
            "one event more at the end",
            with_lines(whole, |lines| lines.push(lines[count - 1].clone())),
        ),
        (
            "the content of a match left out",
            with_lines(whole, |lines| {
                let line = lines[full].as_object_mut().unwrap();
                line.remove("payload");
                line.remove("people");
            }),
        ),
        (
            "a person's name",
            with_lines(whole, |lines| {
                lines[named]["people"][0]["value"] = json!("{\"login\":\"mallory\"}");
            }),
        ),
        (
            "a person's salt",
            with_lines(whole, |lines| {
                spoiled(&mut lines[named]["people"][0]["salt"]);
            }),
        ),
        (
            "another filter",
            with_json(whole, "manifest.json", |manifest| {
                manifest["filter"]["stack"] = json!("books");
            }),
        ),
        (
            "no filter",
            with_json(whole, "manifest.json", |manifest| {
                manifest["filter"]["stack"] = Value::Null;
            }),
        ),
        (
            "another count",
            with_json(whole, "manifest.json", |manifest| {
                manifest["matches"] = json!(1);
            }),
        ),
        (
            "another range",
            with_json(whole, "manifest.json", |manifest| {
                manifest["to"] = json!(manifest["to"].as_u64().unwrap() - 1);
            }),
        ),
        (
            "another event before the first",
            with_json(whole, "manifest.json", |manifest| {
                spoiled(&mut manifest["previous"]);
            }),
        ),
        (
            "another log's name",
            with_json(whole, "manifest.json", |manifest| {
                manifest["origin"] = json!("log.example/other");
            }),
        ),
        ("the checkpoint's size", {
            let note = String::from_utf8(whole["checkpoint"].clone()).unwrap();
            let size = note.lines().nth(1).unwrap().to_owned();
            with_text(
                whole,
                "checkpoint",
                &format!("\n{size}\n"),
                &format!("\n{size}0\n"),
            )
        }),
        (
            "the checkpoint's signer",
            with_text(whole, "checkpoint", "\u{2014} log", "\u{2014} lag"),
        ),
        (
            "a node of the proof",
            with_json(whole, "proof.json", |proof| {
                spoiled(&mut proof["before"][0]);
            }),
        ),
        (
            "a node of the proof left out",
            with_json(whole, "proof.json", |proof| {
                drop(proof["after"].as_array_mut().unwrap().pop());
            }),
        ),
        (
            "the proof of consistency",
            with_json(whole, "proof.json", |proof| {
                spoiled(&mut proof["earlier"]["consistency"][0]);
            }),
        ),
        (
            "a cell of the table",
            with_text(whole, "changes.csv", "applied", "refused"),
        ),
        (
            "a cloud event",
            with_text(whole, "events.ndjson", "applied", "refused"),
        ),
        ("the table left out", {
            let mut members = whole.clone();
            members.remove("changes.csv");
            members
        }),
    ]
}

/// A history of 300 events with an early checkpoint, and an export of the middle of it.
async fn archive() -> (Archive, String) {
    let archive = Archive::new();
    let key = archive.keygen("one.key");
    archive.sign_with("one.key", None);
    archive.record(&events(0, 60)).await;
    archive.export("early.tar", &[]);
    archive.record(&events(60, 240)).await;
    (archive, key)
}

const MIDDLE: [&str; 6] = [
    "--since",
    "2026-01-01T00:01:40Z",
    "--until",
    "2026-01-01T00:03:20Z",
    "--stack",
    "shop",
];

#[tokio::test]
async fn an_export_verifies_without_a_configuration_or_a_database() {
    let (archive, key) = archive().await;
    let made = archive.export("middle.tar", &MIDDLE);
    assert_eq!(made["verifier_key"], json!(key));
    let (code, said) = Archive::verify(&archive.path("middle.tar"), &key);
    assert_eq!((code, &said["ok"]), (0, &json!(true)), "{said}");
    assert_eq!(said["events"], json!(100));
    assert_eq!(said["matches"], made["matches"]);
    assert!((30..40).contains(&said["matches"].as_u64().unwrap()));

    let members = unpack(&archive.path("middle.tar"));
    let table = String::from_utf8(members["changes.csv"].clone()).unwrap();
    assert!(table.contains("\"'=1+1"), "a formula is made harmless");
    let other = archive.keygen("other.key");
    let (code, said) = Archive::verify(&archive.path("middle.tar"), &other);
    assert_eq!(code, 1, "a key that signed nothing: {said}");

    // A file that is there stays, and the export is in the history.
    let (code, out, err) = archive.run(&["audit", "export", "--out", "middle.tar"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("is there already"), "{err}");
    let all = archive.export("all.tar", &[]);
    assert_eq!(all["events"], all["matches"]);
    let log = String::from_utf8(unpack(&archive.path("all.tar"))["log.ndjson"].clone()).unwrap();
    assert_eq!(log.matches("history.exported").count(), 2);
}

#[tokio::test]
async fn what_was_done_to_an_export_is_found() {
    let (archive, key) = archive().await;
    archive.export("middle.tar", &MIDDLE);
    let whole = unpack(&archive.path("middle.tar"));
    let file = archive.path("tampered.tar");
    pack(&whole, &file);
    assert_eq!(
        Archive::verify(&file, &key).0,
        0,
        "packed anew it is the same"
    );
    for (what, members) in tampered(&whole) {
        assert!(members != whole, "{what}: nothing was done");
        pack(&members, &file);
        let (code, said) = Archive::verify(&file, &key);
        assert_eq!((code, &said["ok"]), (1, &json!(false)), "{what}: {said}");
    }
    for garbage in [&b""[..], b"no archive at all", &[0; 4096]] {
        std::fs::write(&file, garbage).unwrap();
        assert_eq!(Archive::verify(&file, &key).0, 1);
    }
}

#[tokio::test]
#[ignore = "needs Python with cryptography; tests/run has it"]
async fn a_verifier_in_another_language_accepts_the_export_and_refuses_what_was_done_to_it() {
    let (archive, key) = archive().await;
    archive.export("middle.tar", &MIDDLE);
    archive.export("all.tar", &[]);
    for name in ["middle.tar", "all.tar", "early.tar"] {
        let (code, words) = verify_in_python(&archive.path(name), &key);
        assert_eq!(code, 0, "{name}: {words}");
    }
    let whole = unpack(&archive.path("middle.tar"));
    let file = archive.path("tampered.tar");
    for (what, members) in tampered(&whole) {
        pack(&members, &file);
        let (code, words) = verify_in_python(&file, &key);
        assert_eq!(code, 1, "{what}: {words}");
        assert!(words.contains("refused: "), "{what}: {words}");
    }
    let other = archive.keygen("other.key");
    assert_eq!(verify_in_python(&archive.path("all.tar"), &other).0, 1);
}

#[tokio::test]
#[ignore = "needs Python with cryptography; tests/run has it"]
async fn whoever_pinned_the_first_key_follows_it_to_the_next() {
    let (archive, first) = archive().await;
    let second = archive.keygen("two.key");
    archive.sign_with("two.key", Some("one.key"));
    archive.export("changed.tar", &[]);
    archive.sign_with("two.key", None);
    archive.record(&events(300, 10)).await;
    let third = archive.keygen("three.key");
    archive.sign_with("three.key", Some("two.key"));
    archive.export("changed-again.tar", &MIDDLE);
    archive.sign_with("three.key", None);
    archive.record(&events(310, 10)).await;
    archive.export("later.tar", &MIDDLE);
    for name in ["changed.tar", "changed-again.tar", "later.tar"] {
        let file = archive.path(name);
        for (place, key) in [&first, &second, &third].into_iter().enumerate() {
            let signed_for = place < 2 || name != "changed.tar";
            let (code, said) = Archive::verify(&file, key);
            assert_eq!(code == 0, signed_for, "{name} by key {place}: {said}");
            let (code, words) = verify_in_python(&file, key);
            assert_eq!(code == 0, signed_for, "{name} by key {place}: {words}");
        }
    }
    // Without the event that hands over, the first key is worth nothing.
    let cut = with_json(&unpack(&archive.path("later.tar")), "proof.json", |proof| {
        drop(proof["handovers"].as_array_mut().unwrap().remove(0));
    });
    let file = archive.path("cut.tar");
    pack(&cut, &file);
    assert_eq!(Archive::verify(&file, &first).0, 1);
    assert_eq!(verify_in_python(&file, &first).0, 1);
}

#[tokio::test]
async fn what_would_not_verify_is_not_exported() {
    let (archive, _) = archive().await;
    let database = archive.path("lockstep-data/lockstep.db");
    let options = SqliteConnectOptions::new().filename(database);
    let mut connection = options.connect().await.unwrap();
    for sql in [
        "drop trigger audit_event_no_update",
        "update audit_event set payload = replace(payload, 'applied', 'refused') where sequence = 120",
    ] {
        sqlx::query(sql).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
    let (code, out, err) = archive.run(&["audit", "export", "--out", "all.tar"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("event 120"), "{err}");
    assert!(!archive.path("all.tar").exists());
    let left = std::fs::read_dir(archive.folder.path()).unwrap();
    let names: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert!(
        names
            .iter()
            .all(|name| !name.to_string_lossy().starts_with(".lockstep-export")),
        "{names:?}"
    );
}

#[tokio::test]
#[ignore = "needs Python with the package cryptography; tests/run has it"]
async fn old_events_leave_after_their_export_and_later_exports_prove_the_rest() {
    let archive = Archive::new();
    let key = archive.keygen("first.key");
    archive.sign_with("first.key", None);
    let file = archive.path("lockstep.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}retention = \"36500d\"\n")).unwrap();
    // Before anything that happens today is recorded.
    let store = Store::embedded(&archive.path("lockstep-data"))
        .await
        .unwrap();
    store.record_events(&events(0, 300)).await.unwrap();
    store.close().await;
    let until = jiff::Timestamp::from_microsecond(START + 200 * SECOND).unwrap();
    archive.export("old.tar", &["--until", &until.to_string()]);

    let retire = |file: &str, more: &[&str]| {
        let arguments = [&["--output", "json", "audit", "retire", file], more].concat();
        let (code, out, err) = archive.run(&arguments);
        (code, serde_json::from_str(&out).unwrap_or(Value::Null), err)
    };
    let (code, told, err) = retire("old.tar", &["--yes"]);
    assert_eq!((code, &told["events"]), (1, &json!(0)), "{err}");
    assert_eq!(told["kept"], "it is younger than audit.retention");
    std::fs::write(&file, format!("{text}retention = \"30d\"\n")).unwrap();

    for (name, tampered) in [
        ("a filter", None),
        (
            "an event",
            Some(with_lines(&unpack(&archive.path("old.tar")), |lines| {
                drop(lines.remove(10));
            })),
        ),
    ] {
        let bad = archive.path("bad.tar");
        match tampered {
            Some(members) => pack(&members, &bad),
            None => drop(archive.export("bad.tar", &["--stack", "books"])),
        }
        let (code, told, err) = retire("bad.tar", &["--yes"]);
        assert_eq!((code, told), (1, Value::Null), "{name}: {err}");
        std::fs::remove_file(bad).unwrap();
    }
    let (code, told, _) = retire("old.tar", &[]);
    assert_eq!((code, &told["retired"]), (2, &json!(false)));
    assert_eq!((&told["from"], &told["until"]), (&json!(0), &json!(200)));
    let (code, told, err) = retire("old.tar", &["--yes", "--reason", "two years are over"]);
    assert_eq!((code, &told["retired"]), (0, &json!(true)), "{err}");
    let (code, told, err) = retire("old.tar", &["--yes"]);
    assert_eq!((code, &told["events"]), (0, &json!(0)), "{err}");

    let (code, out, err) = archive.run(&["audit", "verify"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("200 of them left"), "{out}");
    assert_eq!(Archive::verify(&archive.path("old.tar"), &key).0, 0);
    archive.export("rest.tar", &[]);
    let (code, told) = Archive::verify(&archive.path("rest.tar"), &key);
    assert_eq!((code, &told["from"]), (0, &json!(200)), "{told}");
    let (code, words) = verify_in_python(&archive.path("rest.tar"), &key);
    assert_eq!(code, 0, "{words}");
    let text = String::from_utf8(unpack(&archive.path("rest.tar"))["events.ndjson"].clone());
    assert!(text.unwrap().contains("two years are over"));
}
