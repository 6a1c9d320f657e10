//! What the sources must keep to, read from the sources.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use crate::support::process::source_files;

/// The rooms in the order in which they may know each other: a room uses what stands on an earlier
/// line, and what it may use of its own line is named below.
const LAYERS: &[&[&str]] = &[
    &["crash", "domain", "sandbox"],
    &["manifest", "webhook", "keys", "metrics"],
    &["config", "message"],
    &["git", "notify", "queue", "store", "tyk", "vault"],
    &["app"],
    &["sync"],
    &["http"],
    &["cli"],
];

/// Rooms that imports must not reach, although they stand early: the stand-in is a witness.
const WITNESSES: &[(&str, &[&str])] = &[("sandbox", &["cli"])];

/// Rooms without input, output, clock or randomness.
const PURE: &[&str] = &["domain", "manifest", "webhook"];

const IMPURE: &[&str] = &[
    "async fn",
    "tokio",
    "sqlx",
    "axum",
    "reqwest",
    "async_nats",
    "gix",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "SystemTime",
    "Instant::now",
    "Timestamp::now",
    "rand",
    "getrandom",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files_of(room: &str) -> Vec<PathBuf> {
    let source = root().join("src");
    let mut files = Vec::new();
    if source.join(room).is_dir() {
        files.extend(source_files(&source.join(room)));
    }
    files.extend(Some(source.join(format!("{room}.rs"))).filter(|file| file.is_file()));
    assert!(!files.is_empty(), "there is no room {room}");
    files
}

/// The code of a file: no comments, and nothing from its unit tests on.
fn code(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    let lines = text.lines().take_while(|line| *line != "#[cfg(test)]");
    let code = lines.filter(|line| !line.trim_start().starts_with("//"));
    code.collect::<Vec<_>>().join("\n")
}

/// The rooms that a text names after `crate::`, also in a list of imports.
fn rooms_named(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for after in code.split("crate::").skip(1) {
        let mut take = |text: &str| {
            let name: String = text
                .chars()
                .take_while(|letter| letter.is_ascii_lowercase() || *letter == '_')
                .collect();
            found.insert(name);
        };
        let Some(list) = after.strip_prefix('{') else {
            take(after);
            continue;
        };
        let mut depth = 1;
        let mut starts_name = true;
        for (at, letter) in list.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => starts_name = true,
                letter if letter.is_whitespace() => {}
                _ if starts_name && depth == 1 => {
                    take(&list[at..]);
                    starts_name = false;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    found.remove("");
    found
}

fn layer_of(room: &str) -> usize {
    LAYERS
        .iter()
        .position(|layer| layer.contains(&room))
        .unwrap_or_else(|| panic!("{room} has no place among the layers"))
}

#[test]
fn the_reader_of_imports_sees_every_form() {
    let code = "use crate::store::Run;\nuse crate::{\n    app::{App, Queue}, domain::run::Run,\n\
                sync,\n};\nlet x = crate::keys::seal();";
    let expected = ["app", "domain", "keys", "store", "sync"];
    assert_eq!(rooms_named(code), expected.map(str::to_owned).into());
}

#[test]
fn a_room_uses_only_what_stands_before_it() {
    let mut wrong = Vec::new();
    for (layer, rooms) in LAYERS.iter().enumerate() {
        for room in *rooms {
            for file in files_of(room) {
                for used in rooms_named(&code(&file)) {
                    let is_witness = WITNESSES
                        .iter()
                        .any(|(witness, users)| *witness == used && !users.contains(room));
                    if used != **room && (layer_of(&used) >= layer || is_witness) {
                        wrong.push(format!("{} uses {used}", file.display()));
                    }
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn every_room_has_its_place() {
    let lib = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let rooms: BTreeSet<&str> = lib
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect();
    let placed: BTreeSet<&str> = LAYERS
        .iter()
        .flat_map(|layer| layer.iter().copied())
        .collect();
    assert_eq!(rooms, placed);
}

#[test]
fn what_decides_neither_reads_nor_writes_nor_asks_for_the_time() {
    let mut wrong = Vec::new();
    for room in PURE {
        for file in files_of(room) {
            let code = code(&file);
            for word in IMPURE {
                let found = code.match_indices(word).any(|(at, _)| {
                    let before = code[..at].chars().next_back();
                    let after = code[at + word.len()..].chars().next();
                    let is_inside = |letter: Option<char>| {
                        letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
                    };
                    !is_inside(before) && !is_inside(after)
                });
                if found {
                    wrong.push(format!("{}: {word}", file.display()));
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn migrations_come_in_pairs() {
    let names = |folder: &str| -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(root().join("migrations").join(folder))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let sqlite = names("sqlite");
    assert!(!sqlite.is_empty());
    assert_eq!(sqlite, names("postgres"));
}
