//! Walks the log and names the first event that is not as it was written.

use super::event::{BEFORE_THE_FIRST, Event, FORMAT, Header, Opening, hash};
use crate::domain::canonical::Digest;

/// Checks events in the order of the log, in constant memory.
#[derive(Debug, Clone)]
pub struct Verifier {
    next: i64,
    previous: Digest,
}

/// The first thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {sequence}: {what}")]
pub struct Broken {
    pub sequence: i64,
    pub what: String,
}

impl Default for Verifier {
    fn default() -> Self {
        Self {
            next: 0,
            previous: BEFORE_THE_FIRST,
        }
    }
}

impl Verifier {
    /// How many events were found right so far.
    pub fn count(&self) -> i64 {
        self.next
    }

    /// The hash of the last event that was found right.
    pub fn last(&self) -> Digest {
        self.previous
    }

    pub fn check(&mut self, event: &Event) -> Result<(), Broken> {
        let broken = |sequence: i64, what: &str| {
            Err(Broken {
                sequence,
                what: what.to_owned(),
            })
        };
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
        if hash(&event.header, &event.payload, event.previous) != event.hash {
            return broken(at, "was altered: its content does not give its hash");
        }
        match serde_json::from_str::<Header>(&event.header) {
            Ok(header) if header.v > FORMAT => {
                return broken(at, "was written by a newer version of Lockstep");
            }
            Ok(header) if header.sequence != at => {
                return broken(at, "was moved: its header names another place");
            }
            Ok(_) => {}
            Err(_) => return broken(at, "has a header that cannot be read"),
        }
        if event.people.iter().any(|opening| !opening.holds()) {
            return broken(at, "a person's name does not match its commitment");
        }
        let is_named = |opening: &Opening| event.payload.contains(&opening.commitment.to_string());
        if !event.people.iter().all(is_named) {
            return broken(at, "a person is put to it that its content does not name");
        }
        self.next += 1;
        self.previous = event.hash;
        Ok(())
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
