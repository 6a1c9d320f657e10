//! Desired × live × inventory → a plan: an immutable value that can be printed, hashed and stored
//! before anything is written.
//!
//! Whether an owned object needs a change is decided by two comparisons of hashes: what Git wants
//! with what was applied last, and what is live with what was seen after that. So a gateway that
//! prints a document otherwise than it was written causes no change, and a hand-made one does.

mod draft;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::draft::Draft;
use super::{
    canonical::Digest,
    diff::FieldChange,
    inventory::Inventory,
    normalize,
    object::{Desired, Object, ObjectKey, Route},
    run::Action,
    secrets::{Masker, has_references},
};

/// An object that Git wants, with the hash that says whether it changed.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub object: Object,
    /// Of the masked body.
    pub digest: Digest,
    /// The masked body, canonical.
    pub text: String,
    /// The gateway puts secrets in the place of references, so what it reads back is hidden.
    pub references: bool,
}

pub type PreparedDesired = BTreeMap<ObjectKey, Prepared>;

/// Masks and hashes what Git wants.
pub fn prepare(desired: Desired, masker: &Masker) -> PreparedDesired {
    desired
        .into_iter()
        .map(|(key, object)| {
            let comparable = normalize::comparable(key.kind, &object.body);
            let text = super::canonical::canonical(&masker.mask(&comparable, false));
            let prepared = Prepared {
                digest: Digest::of(text.as_bytes()),
                references: has_references(&object.body),
                text,
                object,
            };
            (key, prepared)
        })
        .collect()
}

/// One live object, as a listing shows it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub name: String,
    pub route: Option<Route>,
    /// Of the masked, normalised listing.
    pub digest: Digest,
    /// The ids of the APIs that it lists as its versions.
    pub children: Vec<String>,
}

pub type Live = BTreeMap<ObjectKey, Seen>;

/// One change of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    pub object: ObjectKey,
    pub action: Action,
    /// Why, in a sentence.
    pub reason: String,
    /// The file in Git that describes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Digest>,
    /// The live state differs from what the last run left.
    #[serde(default)]
    pub drifted: bool,
    /// Field changes, masked; filled in by [`Plan::describe`], not part of the hash.
    #[serde(default)]
    pub fields: Vec<FieldChange>,
}

/// Why a change waits for a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "kebab-case")]
pub enum Hold {
    /// Deletions beyond the budget, or an empty desired state.
    Budget,
    /// The stack's `prune` is off.
    PruneOff,
    /// It exists, differs, and belongs to nobody.
    Foreign,
    /// It belongs to another stack.
    OtherStack { stack: String },
    /// Another API listens there.
    RouteTaken { by: ObjectKey },
    /// It needs a change that is held back itself.
    Depends { on: ObjectKey },
}

/// A change that is held back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Held {
    pub change: Change,
    #[serde(flatten)]
    pub hold: Hold,
    /// Why, and what to do, in sentences.
    pub message: String,
}

/// The ordered changes from live to desired. Each wave ends with one reload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub stack: String,
    pub target: String,
    pub waves: Vec<Vec<Change>>,
    pub held: Vec<Held>,
    /// What a reader should know beforehand.
    pub notes: Vec<String>,
}

/// What a plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    pub stack: &'a str,
    pub target: &'a str,
    pub desired: &'a PreparedDesired,
    pub live: &'a Live,
    pub inventory: &'a Inventory,
    /// Of the objects that [`candidates`] names, those that already are what Git wants.
    pub equal: &'a BTreeSet<ObjectKey>,
    pub gateway_version: &'a str,
    pub prune: bool,
    pub deletion_limit: usize,
    /// Deletions of this stack in the last 24 hours.
    pub recent_deletions: usize,
    /// Since when deletions of this stack are held back, if they are.
    pub held_since: Option<i64>,
}

/// The live objects that must be compared field by field before planning: those that nobody owns,
/// those whose last write is unresolved, and those that another version of the gateway printed.
pub fn candidates(
    stack: &str,
    desired: &PreparedDesired,
    live: &Live,
    inventory: &Inventory,
    gateway_version: &str,
) -> Vec<ObjectKey> {
    desired
        .keys()
        .filter(|key| {
            let Some(seen) = live.get(key) else {
                return false;
            };
            match inventory.get(key) {
                None => true,
                Some(owned) if owned.stack != stack => false,
                Some(owned) => match owned.observed {
                    None => true,
                    Some(observed) => {
                        observed != seen.digest && owned.gateway_version != gateway_version
                    }
                },
            }
        })
        .cloned()
        .collect()
}

impl Plan {
    pub fn new(inputs: Inputs<'_>) -> Self {
        let mut draft = Draft::classify(inputs);
        draft.hold_deletions();
        draft.settle_routes();
        draft.into_plan()
    }

    pub fn changes(&self) -> impl Iterator<Item = &Change> {
        self.waves.iter().flatten()
    }

    /// Nothing to write, nothing to record, nothing that waits.
    pub fn is_empty(&self) -> bool {
        self.waves.is_empty() && self.held.is_empty()
    }

    /// Whether carrying it out sends requests that change the target.
    pub fn writes(&self) -> bool {
        self.changes().any(|change| change.action.writes())
    }

    /// Names what the plan does: stack, target, and every change with its before and after. Not
    /// the revision and not the time, so that an equal remainder is the same plan.
    pub fn hash(&self) -> Digest {
        let line =
            |change: &Change| json!([change.object, change.action, change.before, change.after]);
        let waves: Vec<Vec<Value>> = self
            .waves
            .iter()
            .map(|wave| wave.iter().map(line).collect())
            .collect();
        let held: Vec<Value> = self.held.iter().map(|held| line(&held.change)).collect();
        Digest::of_json(&json!({
            "stack": self.stack, "target": self.target, "waves": waves, "held": held,
        }))
    }

    /// Fills in the field changes, which need bodies that only the changed objects are worth
    /// loading for.
    pub fn describe(&mut self, mut fields: impl FnMut(&Change) -> Vec<FieldChange>) {
        let held = self.held.iter_mut().map(|held| &mut held.change);
        for change in self.waves.iter_mut().flatten().chain(held) {
            change.fields = fields(change);
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            stack,
            target,
            waves,
            held,
            notes,
        } = self;
        if self.is_empty() {
            return writeln!(f, "{stack} → {target}: in step, nothing to do");
        }
        writeln!(f, "{stack} → {target}:")?;
        for (index, wave) in waves.iter().enumerate() {
            if waves.len() > 1 {
                writeln!(f, "  wave {} of {}", index + 1, waves.len())?;
            }
            for change in wave {
                write_change(f, change)?;
            }
        }
        for note in notes {
            writeln!(f, "  note: {note}")?;
        }
        if !held.is_empty() {
            writeln!(f, "  held back, waiting for a person:")?;
            for held in held {
                write_change(f, &held.change)?;
            }
            // One sentence may hold many changes back.
            let messages: BTreeSet<&str> = held.iter().map(|held| held.message.as_str()).collect();
            for message in messages {
                writeln!(f, "    {message}")?;
            }
        }
        Ok(())
    }
}

fn write_change(f: &mut fmt::Formatter<'_>, change: &Change) -> fmt::Result {
    let sign = match change.action {
        Action::Create => '+',
        Action::Update => '~',
        Action::Delete => '-',
        Action::Adopt => '=',
        Action::Forget => '.',
    };
    write!(
        f,
        "  {sign} {} {} ({}",
        change.action, change.object, change.reason
    )?;
    if let Some(path) = &change.path {
        write!(f, ", {path}")?;
    }
    writeln!(f, ")")?;
    for field in change.fields.iter().take(FIELDS_SHOWN) {
        writeln!(f, "      {field}")?;
    }
    if change.fields.len() > FIELDS_SHOWN {
        writeln!(
            f,
            "      … and {} more fields",
            change.fields.len() - FIELDS_SHOWN
        )?;
    }
    Ok(())
}

/// A diff that nobody reads to its end is cut in the text form; the JSON form has it whole.
const FIELDS_SHOWN: usize = 40;

/// Of two APIs on one route the gateway renames one to `<path>-<id>`, with `_` after it until it
/// is unique.
pub fn is_collision_rename(wanted: &Route, found: &Route, id: &str) -> bool {
    wanted.domain == found.domain
        && found
            .listen_path
            .strip_prefix(&wanted.listen_path)
            .and_then(|rest| rest.strip_prefix('-'))
            .and_then(|rest| rest.strip_prefix(id))
            .is_some_and(|rest| rest.bytes().all(|byte| byte == b'_'))
}
