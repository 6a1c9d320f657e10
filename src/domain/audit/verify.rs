//! Walks the log and names the first event that is not as it was written.

use std::borrow::Cow;

use serde::Deserialize;

use super::{
    event::{BEFORE_THE_FIRST, Event, FORMAT, Opening, hash},
    merkle::Node,
};
use crate::domain::canonical::Digest;

/// Checks events in the order of the log, in constant memory.
#[derive(Debug, Clone)]
pub struct Verifier {
    next: i64,
    previous: Digest,
}

/// The first event that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {sequence}: {what}")]
pub struct Broken {
    pub sequence: i64,
    pub what: String,
}

/// The first thing that is wrong, of all that proves the history.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    #[error(transparent)]
    Event(#[from] Broken),
    #[error("{node} of the tree: {what}")]
    Node { node: Node, what: String },
    #[error("checkpoint {number}: {what}")]
    Checkpoint { number: i64, what: String },
    /// Of a checkpoint that was kept outside of the database.
    #[error("the checkpoint of {size} events that is kept elsewhere: {what}")]
    Kept { size: u64, what: String },
}

/// An event as it is stored.
#[derive(Debug, Clone, Copy)]
pub struct Written<'text> {
    pub sequence: i64,
    pub header: &'text str,
    pub payload: &'text str,
    pub previous: Digest,
    pub hash: Digest,
}

/// What one filters by, as the header says it.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct Filterable<'text> {
    #[serde(rename = "v")]
    format: i64,
    #[serde(rename = "seq")]
    sequence: i64,
    #[serde(borrow, rename = "type")]
    pub event_type: Text<'text>,
    pub at: i64,
    #[serde(borrow)]
    pub actor: ActorText<'text>,
    #[serde(borrow)]
    pub target: Option<Text<'text>>,
    #[serde(borrow)]
    pub stack: Option<Text<'text>>,
    #[serde(borrow)]
    pub object: Option<Text<'text>>,
    #[serde(borrow)]
    pub run: Option<Text<'text>>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct ActorText<'text> {
    #[serde(borrow)]
    pub kind: Text<'text>,
    #[serde(borrow)]
    pub id: Text<'text>,
}

/// Text that is copied only if it has escapes.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct Text<'text>(#[serde(borrow)] pub Cow<'text, str>);

impl Default for Verifier {
    fn default() -> Self {
        Self::from(0, BEFORE_THE_FIRST)
    }
}

impl Verifier {
    /// Begins in the middle, behind an event that is known to be right.
    pub fn from(next: i64, previous: Digest) -> Self {
        Self { next, previous }
    }

    /// How many events come before the next one that is checked.
    pub fn count(&self) -> i64 {
        self.next
    }

    /// The hash of the last event that was found right.
    pub fn last(&self) -> Digest {
        self.previous
    }

    pub fn check(&mut self, event: &Event) -> Result<(), Broken> {
        self.check_written(&Written {
            sequence: event.sequence,
            header: &event.header,
            payload: &event.payload,
            previous: event.previous,
            hash: event.hash,
        })?;
        let named = |opening: &Opening| event.payload.contains(&opening.commitment.to_string());
        check_people(event.sequence, &event.people, named)
    }

    /// Checks all of an event but the people beside it.
    pub fn check_written<'text>(
        &mut self,
        event: &Written<'text>,
    ) -> Result<Filterable<'text>, Broken> {
        if event.sequence > self.next {
            return broken(self.next, "missing: it was removed");
        }
        if event.sequence < self.next {
            return broken(event.sequence, "stands twice, or out of order");
        }
        let at = self.next;
        if event.previous != self.previous {
            return broken(at, "does not follow the event before it");
        }
        if hash(event.header, event.payload, event.previous) != event.hash {
            return broken(at, "was altered: its content does not give its hash");
        }
        let header: Filterable<'text> = match serde_json::from_str(event.header) {
            Ok(header) => header,
            Err(_) => return broken(at, "has a header that cannot be read"),
        };
        if header.format > FORMAT {
            return broken(at, "was written by a newer version of Lockstep");
        }
        if header.sequence != at {
            return broken(at, "was moved: its header names another place");
        }
        self.next += 1;
        self.previous = event.hash;
        Ok(header)
    }

    /// Goes on behind an event that left the log, and of which the hash is known.
    pub fn pass(&mut self, hash: Digest) {
        self.next += 1;
        self.previous = hash;
    }

    /// Compares the end of the log with what its head says.
    pub fn finish(&self, head_size: i64, head_hash: Digest) -> Result<(), Broken> {
        if self.next < head_size {
            return Err(Broken {
                sequence: self.next,
                what: format!(
                    "missing: the log's head counts {head_size} events, {} were found",
                    self.next
                ),
            });
        }
        if self.next > head_size || self.previous != head_hash {
            return Err(Broken {
                sequence: self.next - 1,
                what: "is not the event that the log's head names".to_owned(),
            });
        }
        Ok(())
    }
}

/// Checks what stands beside an event for its commitments: each opens its own, and `is_named` by
/// the event's content.
pub fn check_people<'openings>(
    sequence: i64,
    openings: impl IntoIterator<Item = &'openings Opening>,
    is_named: impl Fn(&Opening) -> bool,
) -> Result<(), Broken> {
    for opening in openings {
        if !opening.holds() {
            return broken(sequence, "a person's name does not match its commitment");
        }
        if !is_named(opening) {
            return broken(
                sequence,
                "a person is put to it that its content does not name",
            );
        }
    }
    Ok(())
}

fn broken<T>(sequence: i64, what: &str) -> Result<T, Broken> {
    Err(Broken {
        sequence,
        what: what.to_owned(),
    })
}
