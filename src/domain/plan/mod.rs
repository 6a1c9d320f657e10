//! Desired × live × inventory → a plan: an immutable value that can be printed, hashed and stored
//! before anything is written.
//!
//! Whether an owned object needs a change is decided by two comparisons of hashes: what Git wants
//! with what was applied last, and what is live with what was seen after that. So a gateway that
//! prints a document otherwise than it was written causes no change, and a hand-made one does.

mod certificates;
mod draft;
mod family;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::draft::Draft;
use super::{
    approval::{Remainder, Standing},
    canonical::Digest,
    diff::FieldChange,
    guard::RequireApproval,
    inventory::Inventory,
    normalize,
    object::{Desired, Object, ObjectKey, Route},
    parallel, reference,
    run::Action,
    secrets::{Masker, Rotation, has_references, rotation},
};

/// An object that Git wants, with the hash that says whether it changed.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub object: Object,
    /// Of the masked body.
    pub digest: Digest,
    /// The masked body, canonical.
    pub text: String,
    /// Secrets stand in the place of references in what a gateway reads back, so that is hidden.
    pub references: bool,
    /// The body with the stack's secrets filled in, where it refers to any. In memory only.
    filled: Option<Filled>,
}

/// Never printed.
#[derive(Clone)]
struct Filled(Arc<Value>);

impl fmt::Debug for Filled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Filled(…)")
    }
}

impl Prepared {
    /// What is sent to a gateway, and what it should read back. Not to be shown, stored or hashed.
    pub fn asked(&self) -> &Value {
        match &self.filled {
            Some(Filled(body)) => body,
            None => &self.object.body,
        }
    }
}

pub type PreparedDesired = BTreeMap<ObjectKey, Prepared>;

/// Masks and hashes what Git wants, and fills in the secrets that the masker knows, in memory.
pub fn prepare(desired: Desired, masker: &Masker) -> PreparedDesired {
    let objects: Vec<(ObjectKey, Object)> = desired.into_iter().collect();
    parallel::map(objects, |(key, object)| {
        let comparable = normalize::comparable(key.kind, &object.body);
        let text = super::canonical::canonical(&masker.mask_owned(comparable, false));
        let filled = reference::filled(&object.body, masker.secrets());
        let prepared = Prepared {
            digest: Digest::of(text.as_bytes()),
            references: has_references(&object.body)
                || (filled.is_some() && reference::refers(&object.body)),
            filled: filled.map(|body| Filled(Arc::new(body))),
            text,
            object,
        };
        (key, prepared)
    })
    .into_iter()
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
    /// Of the certificates that some stack owns, those that it mentions, by fingerprint.
    pub certificates: BTreeSet<String>,
    /// The ids of the APIs that a policy gives access to.
    pub grants: Vec<String>,
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
    /// The stack's `protect` names the object.
    Protected,
    /// The stack's `require_approval` asks for one.
    ApprovalRequired,
    /// Changed by hand, and the stack's `drift` rule is to ask first.
    Drift,
    /// The file that described the object is still in Git, and is not read as a manifest.
    FileStays { path: String },
    /// Another stack of the same branch may describe it now, and its manifests cannot be read.
    MayMove { stack: String },
    /// The stack's `prune` is off.
    PruneOff,
    /// It exists, differs, and belongs to nobody.
    Foreign,
    /// The stack was told to let go of it, and Git still describes it.
    Released,
    /// It belongs to another stack.
    OtherStack { stack: String },
    /// Another API listens there.
    RouteTaken { by: ObjectKey },
    /// It needs a change that is held back itself.
    Depends { on: ObjectKey },
}

impl Hold {
    /// Whether an approval lets the change go. What does not wait for one waits for a change in
    /// Git, on the target or in the configuration.
    pub fn waits_for_approval(&self) -> bool {
        match self {
            Self::Budget
            | Self::Protected
            | Self::ApprovalRequired
            | Self::Drift
            | Self::FileStays { .. }
            | Self::MayMove { .. } => true,
            Self::PruneOff
            | Self::Foreign
            | Self::Released
            | Self::OtherStack { .. }
            | Self::RouteTaken { .. }
            | Self::Depends { .. } => false,
        }
    }
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
    /// Objects that left this stack's manifests for another stack's, which takes them over: they
    /// are neither deleted nor made anew.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub moving: BTreeMap<ObjectKey, String>,
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
    pub rules: Rules,
    /// Objects that are never deleted without an approval.
    pub protected: &'a BTreeSet<ObjectKey>,
    /// Objects that the stack was told to let go of.
    pub released: &'a BTreeSet<ObjectKey>,
    /// Files that described owned objects, are still in Git, and are not read as manifests.
    pub unread: &'a BTreeMap<ObjectKey, String>,
    pub neighbours: &'a Neighbours,
    /// Owned certificates that must stay because of what is not in `live`, with who uses them.
    pub used_elsewhere: &'a BTreeMap<ObjectKey, String>,
    /// What was decided on the part of an earlier plan that waited for an approval.
    pub standing: Option<&'a Standing>,
    /// Deletions of this stack in the last 24 hours.
    pub recent_deletions: usize,
    /// Since when deletions of this stack are held back, if they are.
    pub held_since: Option<i64>,
}

/// A stack's own rules.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Whether owned objects that left Git are deleted.
    pub prune: bool,
    pub deletion_limit: usize,
    pub require_approval: RequireApproval,
    /// Whether putting back what was changed by hand waits for an approval.
    pub drift_waits: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            prune: true,
            deletion_limit: 3,
            require_approval: RequireApproval::Never,
            drift_waits: false,
        }
    }
}

/// What the other stacks of the target describe at the heads of their branches. Asked for only
/// where it matters: when an object leaves this stack, or another stack owns one that this one
/// describes.
#[derive(Debug, Clone, Default)]
pub struct Neighbours {
    /// The stacks whose manifests were read.
    pub read: BTreeSet<String>,
    pub describe: BTreeMap<ObjectKey, BTreeSet<String>>,
    /// The stacks of the same branch whose manifests could not be read: what leaves this stack may
    /// be on its way there.
    pub unreadable: BTreeSet<String>,
}

impl Neighbours {
    /// The stack that describes the object now, the first by name.
    fn describer(&self, key: &ObjectKey) -> Option<&str> {
        self.describe.get(key)?.first().map(String::as_str)
    }

    /// Whether the stack is known not to describe the object any more.
    fn lets_go(&self, stack: &str, key: &ObjectKey) -> bool {
        let describes = self
            .describe
            .get(key)
            .is_some_and(|stacks| stacks.contains(stack));
        self.read.contains(stack) && !describes
    }
}

/// Whether a plan would depend on what other stacks of the target describe.
pub fn needs_neighbours(
    stack: &str,
    desired: &PreparedDesired,
    live: &Live,
    inventory: &Inventory,
) -> bool {
    inventory.iter().any(|(key, owned)| {
        let is_ours = owned.stack == stack;
        let is_wanted = desired.contains_key(key);
        is_ours && !is_wanted && live.contains_key(key) || !is_ours && is_wanted
    })
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
        draft.hold_writes();
        draft.heed_approval();
        draft.settle_dependencies();
        draft.spare_used_certificates();
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

    /// The part that waits for an approval, as a plan of its own.
    pub fn remainder(&self) -> Option<Remainder> {
        let waiting = self
            .held
            .iter()
            .filter(|held| held.hold.waits_for_approval())
            .map(|held| held.change.clone());
        Remainder::of(&self.stack, &self.target, waiting)
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

    /// Says which secrets have other values now, where there is what was applied last, masked, and
    /// what is wanted.
    pub fn tell_rotations<'b>(
        &mut self,
        bodies: impl Fn(&Change) -> Option<(&'b String, &'b String)>,
    ) {
        let held = self.held.iter_mut().map(|held| &mut held.change);
        for change in self.waves.iter_mut().flatten().chain(held) {
            if let Some((applied, wanted)) =
                bodies(change).filter(|(before, after)| before != after)
            {
                change.tell_rotation(applied, wanted);
            }
        }
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
            moving,
            notes,
        } = self;
        let moving = moving.iter().map(|(object, other)| {
            format!("{object} moves to the stack {other}, which takes it over")
        });
        let notes: Vec<String> = moving.chain(notes.iter().cloned()).collect();
        if self.is_empty() {
            writeln!(f, "{stack} → {target}: in step, nothing to do")?;
            for note in notes {
                writeln!(f, "  note: {note}")?;
            }
            return Ok(());
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
        Action::Replace => '±',
        Action::Adopt => '=',
        Action::Forget | Action::Release => '.',
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

/// How the reason of a change begins that only a rotation of secrets asks for.
pub const ROTATED: &str = "secret ";

impl Change {
    /// Says which secrets have another value than in what was applied last.
    fn tell_rotation(&mut self, applied: &str, wanted: &str) {
        let Rotation { secrets, is_all } = rotation(applied, wanted);
        if secrets.is_empty() {
            return;
        }
        let changed = format!("{ROTATED}{} changed", secrets.join(", "));
        self.reason = match self.reason.strip_prefix(IN_GIT) {
            Some(rest) if is_all => format!("{changed}{rest}"),
            _ => format!("{}; {changed}", self.reason),
        };
    }

    /// Whether only secrets of the stack have other values.
    pub fn is_rotation(&self) -> bool {
        self.action.puts() && !self.drifted && self.reason.starts_with(ROTATED)
    }
}

/// How the reason of a change begins whose desired state is another one than was applied last.
const IN_GIT: &str = "changed in Git";

/// A diff that nobody reads to its end is cut in the text form; the JSON form has it whole.
const FIELDS_SHOWN: usize = 40;

/// Why an object is adopted anew after the gateway was upgraded.
pub const REBASED: &str = "another version of the gateway prints it otherwise";

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

/// The route that an API was renamed from, if its route is one that a gateway gave it.
fn claimed_route(found: &Route, id: &str) -> Option<Route> {
    let given = found.listen_path.trim_end_matches('_');
    let own = given.strip_suffix(id)?.strip_suffix('-')?;
    Some(Route::new(&found.domain, own)).filter(|own| is_collision_rename(own, found, id))
}
