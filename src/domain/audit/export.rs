//! A part of the history as one file that proves itself to whoever has the log's verifier key, and
//! nothing else of ours: a tar archive of the members below, in this order. A reader needs memory
//! for one event at a time.
//!
//! | member | what it holds |
//! |---|---|
//! | `manifest.json` | [`Manifest`]: the range of events, the filter, how many there are and match |
//! | `checkpoint` | the signed checkpoint (C2SP `tlog-checkpoint`) that the range is proved against |
//! | `proof.json` | [`Proof`]: the hashes of the tree's nodes beside the range |
//! | `log.ndjson` | one [`Line`] for each event of the range, in the log's order |
//! | `changes.csv` | the matches for a spreadsheet, see [`CSV_HEAD`] |
//! | `events.ndjson` | the matches as `CloudEvents` 1.0, one to a line |
//! | `README.txt` | how to verify it |
//!
//! # What a verifier does
//!
//! 1. `checkpoint` is signed with the key that the verifier brought along, and is of `origin`. Where
//!    another key signs by now, each of the `handovers`, in their order, makes one more key trusted:
//!    an event of the type `signing-key.named` that is proved (RFC 6962) to be in a checkpoint that
//!    a trusted key signed, and that names a trusted key as the one `before`.
//! 2. For each line: `hash = SHA-256(0x00 ‖ header ‖ payload digest ‖ previous hash)`, where the
//!    digests and hashes are their 32 bytes and the previous hash of the first line is `previous`
//!    of the manifest; the header's `seq` counts up from `from` to `to`, the latter not included.
//! 3. The header meets the filter exactly where the line has a payload, whose SHA-256 is the
//!    payload digest: so nothing was left out that the filter names. Of each of its people
//!    `SHA-256(0x02 ‖ salt ‖ value)` is the commitment, which stands in the payload.
//! 4. The tree: `before` are the roots of the complete subtrees over the events before `from`,
//!    `after` those over the events from `to` to the checkpoint's size, both cut from the left into
//!    the largest aligned subtrees; with the lines' hashes between them they make the root of the
//!    RFC 6962 tree that the checkpoint names.
//! 5. Where the proof has an `earlier` checkpoint it is signed too, and `consistency` (RFC 6962)
//!    leads from its root to the newer one. Where there are handovers, an earlier one that none of
//!    the trusted keys signed says nothing to this reader.
//! 6. `changes.csv` and `events.ndjson` say what the lines say, byte for byte.

use std::ops::Range;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    checkpoint::{Checkpoint, VerifierKey},
    event::{Event, EventType, FORMAT as HEADER_FORMAT, Header, Opening, Person, hash_of},
    keys::Named,
    merkle::{Node, parent, verify_consistency, verify_inclusion},
};
use crate::domain::{
    canonical::{Digest, canonical},
    csv,
    object::ObjectKey,
};

/// The name and the version of the archive's format.
pub const FORMAT: &str = "lockstep-audit-export/1";

/// The columns of `changes.csv`. Every cell is in quotes, and what is a control character (Unicode's
/// category Cc) in it is a space. Where what follows white space and U+FEFF is one of
/// `= + - @ ＝ ＋ － ＠ | %`, an apostrophe comes first, so that no spreadsheet takes it for a formula.
pub const CSV_HEAD: [&str; 13] = [
    "sequence", "time", "type", "actor", "target", "stack", "object", "run", "status", "revision",
    "reason", "people", "hash",
];

/// Ends a line of `changes.csv`.
const CSV_END: &str = "\r\n";

/// Which events an export is about. Everything that is `None` is not asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Microseconds UTC, the first inside and the second outside.
    pub since: Option<i64>,
    pub until: Option<i64>,
    pub target: Option<String>,
    pub stack: Option<String>,
    pub object: Option<ObjectKey>,
}

impl Filter {
    pub fn matches(&self, header: &Header) -> bool {
        let Self {
            since,
            until,
            target,
            stack,
            object,
        } = self;
        since.is_none_or(|since| header.at >= since)
            && until.is_none_or(|until| header.at < until)
            && (target.is_none() || *target == header.target)
            && (stack.is_none() || *stack == header.stack)
            && (object.is_none() || *object == header.object)
    }
}

/// What an export says of itself. Nothing here is believed: a verifier finds each of it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: String,
    /// The version of Lockstep that wrote it.
    pub lockstep: String,
    /// RFC 3339.
    pub created_at: String,
    pub origin: String,
    /// The sequence numbers of the events: the first inside and the second outside.
    pub from: u64,
    pub to: u64,
    /// The hash of the event before the first; 64 zeros before the log's first.
    pub previous: Digest,
    pub filter: Filter,
    pub events: u64,
    pub matches: u64,
}

/// What leads from the range to the checkpoint's root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    pub before: Vec<Digest>,
    pub after: Vec<Digest>,
    pub earlier: Option<Earlier>,
    /// Every change of the signing key, from the log's first on.
    #[serde(default)]
    pub handovers: Vec<Handover>,
}

/// The event in which a key was named, in a tree that the key before it signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    pub header: String,
    pub payload: String,
    pub previous: Digest,
    pub checkpoint: String,
    pub inclusion: Vec<Digest>,
}

/// A checkpoint that was signed before, and the proof that the newer one only added to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earlier {
    pub checkpoint: String,
    pub consistency: Vec<Digest>,
}

/// One event of the range. Its content is there where the filter names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    pub hash: Digest,
    pub header: String,
    pub payload_digest: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub people: Vec<Disclosed>,
}

/// Whom a commitment stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disclosed {
    pub commitment: Digest,
    /// Hex.
    pub salt: String,
    /// Canonical JSON.
    pub value: String,
}

impl Line {
    pub fn of(event: &Event, is_match: bool) -> Self {
        let named = |opening: &Opening| Disclosed {
            commitment: opening.commitment,
            salt: hex::encode(opening.salt),
            value: opening.value.clone(),
        };
        Self {
            hash: event.hash,
            header: event.header.clone(),
            payload_digest: Digest::of(event.payload.as_bytes()),
            payload: is_match.then(|| event.payload.clone()),
            people: if is_match {
                event.people.iter().map(named).collect()
            } else {
                Vec::new()
            },
        }
    }
}

/// The complete subtrees that a range of leaves is made of, from the left, each the largest that
/// begins there.
pub fn subtrees(range: Range<u64>) -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut begin = range.start;
    while begin < range.end {
        let fits = (range.end - begin).ilog2();
        let level = if begin == 0 {
            fits
        } else {
            fits.min(begin.trailing_zeros())
        };
        nodes.push(Node {
            level,
            index: begin >> level,
        });
        begin += 1 << level;
    }
    nodes
}

/// Subtrees that stand side by side from the first leaf on, joined where they make a larger one.
#[derive(Debug, Default)]
struct Joined(Vec<(u32, Digest)>);

impl Joined {
    fn push(&mut self, mut level: u32, mut hash: Digest) {
        while let Some((_, left)) = self.0.pop_if(|(last, _)| *last == level) {
            hash = parent(left, hash);
            level += 1;
        }
        self.0.push((level, hash));
    }

    fn root(self) -> Option<Digest> {
        let joined = self.0.into_iter().rev().map(|(_, hash)| hash);
        joined.reduce(|right, left| parent(left, right))
    }
}

/// Why an export is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("event {sequence}: {what}")]
    Event { sequence: u64, what: String },
    #[error("{0}")]
    Whole(String),
}

fn whole(what: impl Into<String>) -> Refused {
    Refused::Whole(what.into())
}

/// The keys that may sign, from those that the reader trusts and what they handed over.
pub fn trusted(
    pinned: &[VerifierKey],
    handovers: &[Handover],
) -> Result<Vec<VerifierKey>, Refused> {
    let mut trusted = pinned.to_vec();
    for handover in handovers {
        let Handover {
            header,
            payload,
            previous,
            checkpoint,
            inclusion,
        } = handover;
        // One that was signed by keys before the reader's is of no use to them.
        let Ok((checkpoint, _)) = Checkpoint::open(checkpoint, &trusted) else {
            continue;
        };
        let unreadable = |_| whole("an event that names a key cannot be read");
        let named: Named = serde_json::from_str(payload).map_err(unreadable)?;
        let header_of: Header = serde_json::from_str(header).map_err(unreadable)?;
        let leaf = hash_of(header, Digest::of(payload.as_bytes()), *previous);
        let index = u64::try_from(header_of.sequence).unwrap_or(u64::MAX);
        verify_inclusion(leaf, index, checkpoint.size, checkpoint.root, inclusion).map_err(
            |error| {
                whole(format!(
                    "an event that names a key is not in the log: {error}"
                ))
            },
        )?;
        let vouches = |key: &VerifierKey| Some(key.to_string()) == named.before;
        if header_of.event_type == EventType::SigningKeyNamed.as_str()
            && trusted.iter().any(vouches)
        {
            let key = named.key.parse::<VerifierKey>();
            trusted.push(key.map_err(|error| whole(format!("a named key is none: {error}")))?);
        }
    }
    Ok(trusted)
}

/// What an export was found to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub events: u64,
    pub matches: u64,
    /// How many events from the first on are there in full.
    pub whole: u64,
    /// What `changes.csv` and `events.ndjson` must be, by their SHA-256.
    pub csv: Digest,
    pub cloud_events: Digest,
}

/// Checks the lines of an export one by one.
#[derive(Debug)]
pub struct Checker {
    manifest: Manifest,
    after: Vec<Digest>,
    checkpoint: Checkpoint,
    tree: Joined,
    next: u64,
    previous: Digest,
    matches: u64,
    whole: u64,
    csv: Sha256,
    cloud_events: Sha256,
}

impl Checker {
    /// Begins with what stands before the lines. The checkpoints are opened already: their
    /// signatures are right.
    pub fn new(
        manifest: Manifest,
        checkpoint: Checkpoint,
        proof: Proof,
        earlier: Option<&Checkpoint>,
    ) -> Result<Self, Refused> {
        let Manifest {
            format, from, to, ..
        } = &manifest;
        if format != FORMAT {
            return Err(whole(format!(
                "its format is {format:?}, and this version reads {FORMAT}"
            )));
        }
        if manifest.origin != checkpoint.origin {
            return Err(whole("the checkpoint is of another log"));
        }
        if from > to || *to > checkpoint.size {
            return Err(whole(
                "its range is not a part of what the checkpoint was made of",
            ));
        }
        let (left, right) = (subtrees(0..*from), subtrees(*to..checkpoint.size));
        if left.len() != proof.before.len() || right.len() != proof.after.len() {
            return Err(whole("the proof does not fit the range"));
        }
        if let (Some(older), Some(earlier)) = (earlier, &proof.earlier) {
            if older.origin != checkpoint.origin {
                return Err(whole("the earlier checkpoint is of another log"));
            }
            verify_consistency(
                older.size,
                older.root,
                checkpoint.size,
                checkpoint.root,
                &earlier.consistency,
            )
            .map_err(|error| {
                whole(format!(
                    "the history is not what the earlier checkpoint was signed of: {error}"
                ))
            })?;
        }
        let mut tree = Joined::default();
        for (node, hash) in left.iter().zip(&proof.before) {
            tree.push(node.level, *hash);
        }
        let mut csv = Sha256::new();
        csv.update(csv_head());
        Ok(Self {
            next: *from,
            previous: manifest.previous,
            manifest,
            after: proof.after,
            checkpoint,
            tree,
            matches: 0,
            whole: 0,
            csv,
            cloud_events: Sha256::new(),
        })
    }

    /// Takes the next line of `log.ndjson`.
    pub fn line(&mut self, text: &str) -> Result<(), Refused> {
        let sequence = self.next;
        let broken = |what: &str| {
            Err(Refused::Event {
                sequence,
                what: what.to_owned(),
            })
        };
        if sequence >= self.manifest.to {
            return broken("there are more events than the manifest says");
        }
        let Ok(line) = serde_json::from_str::<Line>(text) else {
            return broken("its line cannot be read");
        };
        if hash_of(&line.header, line.payload_digest, self.previous) != line.hash {
            return broken("was altered, moved or removed: its hash does not follow from it");
        }
        let header = match serde_json::from_str::<Header>(&line.header) {
            Ok(header) if header.v > HEADER_FORMAT => {
                return broken("was written by a newer version of Lockstep");
            }
            Ok(header) => header,
            Err(_) => return broken("has a header that cannot be read"),
        };
        if u64::try_from(header.sequence) != Ok(sequence) {
            return broken("its header names another place");
        }
        match (self.manifest.filter.matches(&header), &line.payload) {
            (true, None) => return broken("the filter names it, and its content was left out"),
            (false, Some(_)) => {
                return broken("its content is there, and the filter does not name it");
            }
            _ => {}
        }
        self.previous = line.hash;
        self.next += 1;
        self.tree.push(0, line.hash);
        let Some(payload) = line.payload else {
            if line.people.is_empty() {
                return Ok(());
            }
            return broken("people are put to it, and its content is not there");
        };
        if Digest::of(payload.as_bytes()) != line.payload_digest {
            return broken("its content was altered");
        }
        let mut people = Vec::new();
        for named in line.people {
            let mut salt = [0; 32];
            if hex::decode_to_slice(&named.salt, &mut salt).is_err() {
                return broken("the salt of a person's name cannot be read");
            }
            let opening = Opening {
                commitment: named.commitment,
                salt,
                value: named.value,
            };
            if !opening.holds() {
                return broken("a person's name does not match its commitment");
            }
            if !payload.contains(&opening.commitment.to_string()) {
                return broken("a person is put to it that its content does not name");
            }
            people.push(opening);
        }
        let event = Event {
            sequence: header.sequence,
            previous: line.hash,
            hash: line.hash,
            header: line.header,
            payload,
            people,
        };
        self.whole += u64::from(self.manifest.from + self.whole == sequence);
        self.matches += 1;
        self.csv.update(csv_row(&event, &header));
        self.cloud_events
            .update(cloud_event(&self.manifest.origin, &event, &header));
        Ok(())
    }

    /// Compares what was read with the checkpoint and the manifest.
    pub fn finish(mut self) -> Result<Verified, Refused> {
        let Manifest {
            from,
            to,
            events,
            matches,
            ..
        } = self.manifest;
        if self.next != to {
            return Err(Refused::Event {
                sequence: self.next,
                what: "missing: the file ends before it".to_owned(),
            });
        }
        if events != to - from || matches != self.matches {
            return Err(whole(format!(
                "the manifest counts {events} events and {matches} matches, and there are {} and {}",
                to - from,
                self.matches
            )));
        }
        let right = subtrees(to..self.checkpoint.size);
        for (node, hash) in right.iter().zip(&self.after) {
            self.tree.push(node.level, *hash);
        }
        let root = self.tree.root().unwrap_or_else(super::merkle::empty_root);
        if root != self.checkpoint.root {
            return Err(whole(
                "the events are not those that the checkpoint was signed of",
            ));
        }
        Ok(Verified {
            events,
            matches,
            whole: self.whole,
            csv: Digest(self.csv.finalize().into()),
            cloud_events: Digest(self.cloud_events.finalize().into()),
        })
    }
}

/// The row of `changes.csv` for an event, with its line break.
pub fn csv_row(event: &Event, header: &Header) -> String {
    let payload: Value = serde_json::from_str(&event.payload).unwrap_or_default();
    let first = |pointers: &[&str]| {
        let found = pointers
            .iter()
            .find_map(|pointer| payload.pointer(pointer)?.as_str());
        found.unwrap_or_default().to_owned()
    };
    let object = header.object.as_ref().map(ToString::to_string);
    let run = header.run.as_ref().map(ToString::to_string);
    let cells = [
        header.sequence.to_string(),
        time(header.at),
        header.event_type.clone(),
        header.actor.to_string(),
        header.target.clone().unwrap_or_default(),
        header.stack.clone().unwrap_or_default(),
        object.unwrap_or_default(),
        run.unwrap_or_default(),
        first(&["/status", "/outcome", "/action", "/decision"]),
        first(&["/source/revision", "/revision", "/after"]),
        first(&["/reason", "/message"]),
        people(event, &payload),
        event.hash.to_string(),
    ];
    csv::line(cells.iter().map(String::as_str)) + CSV_END
}

/// The first row, with its line break.
pub fn csv_head() -> String {
    csv::line(CSV_HEAD) + CSV_END
}

/// Who took part: `pusher: ada; author: Ada Lovelace`.
fn people(event: &Event, payload: &Value) -> String {
    let listed = payload.get("people").and_then(Value::as_array);
    let named: Vec<String> = listed
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let commitment = entry.get("person")?.as_str()?;
            let part = entry.get("part")?.as_str()?;
            let opening = event
                .people
                .iter()
                .find(|opening| opening.commitment.to_string() == commitment)?;
            let person: Person = serde_json::from_str(&opening.value).ok()?;
            Some(format!("{part}: {person}"))
        })
        .collect();
    named.join("; ")
}

/// An event as one line of `events.ndjson`, with its line break: canonical JSON. People stay behind
/// their commitments.
pub fn cloud_event(origin: &str, event: &Event, header: &Header) -> String {
    let mut members = Map::new();
    members.insert("specversion".to_owned(), json!("1.0"));
    members.insert("id".to_owned(), json!(header.sequence.to_string()));
    members.insert("source".to_owned(), json!(origin));
    members.insert(
        "type".to_owned(),
        json!(format!("lockstep.{}", header.event_type)),
    );
    members.insert("time".to_owned(), json!(time(header.at)));
    members.insert("hash".to_owned(), json!(event.hash));
    members.insert("actor".to_owned(), json!(header.actor.to_string()));
    let object = header.object.as_ref().map(ToString::to_string);
    let run = header.run.as_ref().map(ToString::to_string);
    for (name, value) in [
        ("target", &header.target),
        ("stack", &header.stack),
        ("subject", &object),
        ("run", &run),
    ] {
        if let Some(value) = value {
            members.insert(name.to_owned(), json!(value));
        }
    }
    let payload: Value = serde_json::from_str(&event.payload).unwrap_or_default();
    members.insert("data".to_owned(), payload);
    canonical(&Value::Object(members)) + "\n"
}

/// RFC 3339 in UTC with six digits of a second.
fn time(micros: i64) -> String {
    Timestamp::from_microsecond(micros).map_or_else(
        |_| micros.to_string(),
        |at| at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string(),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::audit::merkle::Frontier;

    proptest! {
        #[test]
        fn what_stands_beside_a_range_makes_the_root_with_it(
            size in 1_u64..200,
            cut in (0_u64..200, 0_u64..200),
        ) {
            let (from, to) = (cut.0.min(cut.1).min(size), cut.0.max(cut.1).min(size));
            let mut nodes = std::collections::BTreeMap::new();
            let mut frontier = Frontier::default();
            for index in 0..size {
                frontier.append(Digest::of(&index.to_be_bytes()), |node, hash| {
                    nodes.insert(node, hash);
                });
            }
            let mut tree = Joined::default();
            for node in subtrees(0..from) {
                tree.push(node.level, nodes[&node]);
            }
            for index in from..to {
                tree.push(0, Digest::of(&index.to_be_bytes()));
            }
            for node in subtrees(to..size) {
                tree.push(node.level, nodes[&node]);
            }
            prop_assert_eq!(tree.root(), Some(frontier.root()));
        }
    }
}
