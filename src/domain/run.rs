//! A run: one attempt to converge a stack, and what became of each change.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{canonical::Digest, object::ObjectKey};

/// Names a run. Time-ordered, made at the edge.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub String);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Declares an enum whose text form is the same in code, tables, JSON and pages.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub enum $name { $($(#[$variant_doc])* $variant),+ }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL
                    .iter()
                    .copied()
                    .find(|word| word.as_str() == text)
                    .ok_or_else(|| UnknownWord(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = UnknownWord;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(word: $name) -> Self {
                word.as_str().to_owned()
            }
        }
    };
}

pub(super) use words;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a word that is known here")]
pub struct UnknownWord(pub(super) String);

words! {
    /// Why a run exists.
    Trigger {
        Push = "push",
        /// The timer found that the branch had moved and nobody had said so.
        Sweep = "sweep",
        /// The live state was found to differ from what the last run left.
        Drift = "drift",
        Manual = "manual",
        Approval = "approval",
        StartUp = "start-up",
        /// A person asked for an earlier revision.
        Rollback = "rollback",
    }
}

words! {
    /// How a run stands.
    RunStatus {
        /// Its intent is on record, its outcome is not yet.
        Running = "running",
        Succeeded = "succeeded",
        /// Something waits for a person; everything that does not depend on it is live.
        Parked = "parked",
        /// The manifests were refused; nothing was written.
        Refused = "refused",
        /// Something could not be read, written or verified.
        Failed = "failed",
        /// The worker died or lost its lease; the next run resolved what was open.
        Interrupted = "interrupted",
    }
}

words! {
    /// What a change does to its object.
    Action {
        Create = "create",
        Update = "update",
        Delete = "delete",
        /// The object goes so that a later wave of the same run makes it anew: no loss.
        Replace = "replace",
        /// An unowned object that equals the desired state becomes ours; nothing is written.
        Adopt = "adopt",
        /// An object that we owned is gone from Git and from the target; only the record goes.
        Forget = "forget",
        /// The stack lets go of an object; it stays on the target.
        Release = "release",
    }
}

impl Action {
    /// Whether it is a request that changes the target.
    pub fn writes(self) -> bool {
        self.puts() || self.removes()
    }

    /// Whether the object is to be on the target afterwards as Git describes it.
    pub fn puts(self) -> bool {
        matches!(self, Self::Create | Self::Update)
    }

    pub fn removes(self) -> bool {
        matches!(self, Self::Delete | Self::Replace)
    }
}

words! {
    /// What became of a change.
    Outcome {
        /// Intended, not yet known.
        Open = "open",
        /// Read back from the target, and right.
        Applied = "applied",
        /// The target refused it, or did not take it.
        Failed = "failed",
        /// It took the object down or changed it otherwise than asked; the previous body is back.
        Repaired = "repaired",
        /// Not tried, because something before it went wrong or the lease ran out.
        Skipped = "skipped",
        /// It may or may not have reached the target; the next run looks and says.
        Unknown = "unknown",
        /// Held back until a person decides.
        Held = "held",
    }
}

/// One change of a run, as it is recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChangeRecord {
    /// Its place in the run's order, from 0.
    pub position: i64,
    pub object: ObjectKey,
    pub action: Action,
    /// Why, in a sentence.
    pub reason: String,
    /// The masked body before and after, by hash.
    pub before: Option<Digest>,
    pub after: Option<Digest>,
    /// Field changes, masked: see [`super::diff::FieldChange`].
    pub fields: Vec<super::diff::FieldChange>,
    pub outcome: Outcome,
    /// What the target said, or what was found.
    pub message: Option<String>,
}
