//! What waits for an approval, and how it was decided.
//!
//! An approval names the hash of a remainder: stack, target, and every change's before and after.
//! Not the revision and not the time, so that an equal remainder of a later push keeps what was
//! decided on it, and any difference needs a new decision.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{canonical::Digest, plan::Change};

/// The part of a plan that waits for an approval, as a plan of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Remainder {
    pub stack: String,
    pub target: String,
    /// In the order of their objects.
    pub changes: Vec<Change>,
}

impl Remainder {
    /// `None` when nothing waits.
    pub fn of(stack: &str, target: &str, waiting: impl Iterator<Item = Change>) -> Option<Self> {
        let mut changes: Vec<Change> = waiting.collect();
        changes
            .sort_by(|left, right| (&left.object, left.action).cmp(&(&right.object, right.action)));
        (!changes.is_empty()).then(|| Self {
            stack: stack.to_owned(),
            target: target.to_owned(),
            changes,
        })
    }

    /// What an approval names.
    pub fn hash(&self) -> Digest {
        let changes: Vec<_> = self
            .changes
            .iter()
            .map(|change| json!([change.object, change.action, change.before, change.after]))
            .collect();
        Digest::of_json(&json!({
            "stack": self.stack, "target": self.target, "changes": changes,
        }))
    }
}

/// How a remainder was decided so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Of the remainder that was decided on.
    pub hash: Digest,
    pub verdict: Verdict,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// So many of the approvals that are needed have been given, and count.
    Awaiting {
        given: usize,
        needed: usize,
    },
    Approved,
    /// Approved, and not carried out in time.
    Expired,
    Rejected {
        by: String,
        reason: String,
    },
}
