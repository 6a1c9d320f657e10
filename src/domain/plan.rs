//! Desired × live × inventory → a plan: an immutable value that can be printed, hashed and stored
//! before anything is written.
//!
//! Whether an owned object needs a change is decided by two comparisons of hashes: what Git wants
//! with what was applied last, and what is live with what was seen after that. So a gateway that
//! prints a document otherwise than it was written causes no change, and a hand-made one does.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    canonical::Digest,
    diff::FieldChange,
    guard::{self, Budget},
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

/// A plan that is being made.
struct Draft<'a> {
    inputs: Inputs<'a>,
    upserts: BTreeMap<ObjectKey, Change>,
    deletes: BTreeMap<ObjectKey, Change>,
    /// Changes of the record only.
    records: Vec<Change>,
    /// Objects that must be gone before they can be made anew.
    replaced: BTreeSet<ObjectKey>,
    /// What must be out of a route's way, by the change that needs the route.
    after: BTreeMap<ObjectKey, ObjectKey>,
    held: Vec<Held>,
    notes: Vec<String>,
}

impl<'a> Draft<'a> {
    fn classify(inputs: Inputs<'a>) -> Self {
        let mut draft = Self {
            inputs,
            upserts: BTreeMap::new(),
            deletes: BTreeMap::new(),
            records: Vec::new(),
            replaced: BTreeSet::new(),
            after: BTreeMap::new(),
            held: Vec::new(),
            notes: Vec::new(),
        };
        let live_kinds: BTreeMap<&str, &ObjectKey> = inputs
            .live
            .keys()
            .filter(|key| key.kind.is_api())
            .map(|key| (key.id.as_str(), key))
            .collect();
        for (key, prepared) in inputs.desired {
            let of_other_kind = live_kinds
                .get(key.id.as_str())
                .copied()
                .filter(|live| key.kind.is_api() && *live != key);
            draft.want(key, prepared, of_other_kind);
        }
        for (key, owned) in inputs.inventory {
            if owned.stack != inputs.stack || inputs.desired.contains_key(key) {
                continue;
            }
            let change = Change {
                object: key.clone(),
                action: Action::Delete,
                reason: "removed from Git".to_owned(),
                path: None,
                before: Some(owned.desired),
                after: None,
                drifted: false,
                fields: Vec::new(),
            };
            if !inputs.live.contains_key(key) {
                draft.records.push(Change {
                    action: Action::Forget,
                    reason: "gone from Git and from the gateway".to_owned(),
                    ..change
                });
            } else if !draft.replaced.contains(key) {
                draft.deletes.insert(key.clone(), change);
            }
        }
        draft
    }

    /// What one object of Git needs.
    fn want(&mut self, key: &ObjectKey, prepared: &Prepared, of_other_kind: Option<&ObjectKey>) {
        let owned = self.inputs.inventory.get(key);
        let change = |action: Action, reason: &str| Change {
            object: key.clone(),
            action,
            reason: reason.to_owned(),
            path: Some(prepared.object.path.clone()),
            before: owned.map(|owned| owned.desired),
            after: Some(prepared.digest),
            drifted: false,
            fields: Vec::new(),
        };
        if let Some(owned) = owned
            && owned.stack != self.inputs.stack
        {
            self.held.push(Held {
                change: change(Action::Update, "described by two stacks"),
                hold: Hold::OtherStack {
                    stack: owned.stack.clone(),
                },
                message: format!(
                    "{key} belongs to the stack {}: remove it there first, or from {} here",
                    owned.stack, prepared.object.path
                ),
            });
            return;
        }
        if let Some(other) = of_other_kind {
            self.change_kind(
                key,
                other,
                change(Action::Create, "changed its kind in Git"),
            );
            return;
        }
        let Some(seen) = self.inputs.live.get(key) else {
            let gone = owned.is_some_and(|owned| owned.observed.is_some());
            let reason = if gone {
                "removed from the gateway since the last run"
            } else {
                "new in Git"
            };
            self.upserts.insert(
                key.clone(),
                Change {
                    drifted: gone,
                    before: None,
                    ..change(Action::Create, reason)
                },
            );
            return;
        };
        let equal = self.inputs.equal.contains(key);
        let Some(owned) = owned else {
            if equal {
                self.records.push(change(
                    Action::Adopt,
                    "already on the gateway, and as Git wants it",
                ));
            } else {
                let update = change(Action::Update, "on the gateway, and not ours");
                self.hold_foreign(update, seen);
            }
            return;
        };
        let changed = owned.desired != prepared.digest;
        let (drifted, unknown) = match owned.observed {
            Some(observed) => (observed != seen.digest, false),
            None => (false, true),
        };
        if equal && (drifted || unknown) && (!changed || unknown) {
            let reason = if unknown {
                "found as Git wants it"
            } else {
                "another version of the gateway prints it otherwise"
            };
            self.records.push(change(Action::Adopt, reason));
            return;
        }
        let reason = match (changed, drifted, unknown) {
            (false, false, false) => return,
            (true, true, _) => "changed in Git, and on the gateway since the last run",
            (true, false, _) => "changed in Git",
            (false, true, _) => "changed on the gateway since the last run",
            (false, false, true) => "not as the last run meant to leave it",
        };
        let update = Change {
            drifted,
            before: Some(if changed { owned.desired } else { seen.digest }),
            ..change(Action::Update, reason)
        };
        let renamed = prepared
            .object
            .route()
            .zip(seen.route.as_ref())
            .is_some_and(|(wanted, found)| is_collision_rename(&wanted, found, &key.id));
        if renamed {
            // The gateway keeps the name that it gave until the API is loaded anew.
            self.replace(update);
        } else {
            self.upserts.insert(key.clone(), update);
        }
    }

    fn hold_foreign(&mut self, update: Change, seen: &Seen) {
        let message = format!(
            "{} is on the gateway, belongs to no stack and differs from {}: make the two equal, \
             remove it from the gateway, or give the one in Git another id",
            update.object,
            update.path.as_deref().unwrap_or("Git"),
        );
        self.held.push(Held {
            change: Change {
                before: Some(seen.digest),
                ..update
            },
            hold: Hold::Foreign,
            message,
        });
    }

    /// A classic API written over an OAS one leaves the OAS file behind, so the old one goes
    /// first, and the new one is made after a reload.
    fn change_kind(&mut self, key: &ObjectKey, other: &ObjectKey, create: Change) {
        let owner = self.inputs.inventory.get(other);
        let ours = owner.is_some_and(|owned| owned.stack == self.inputs.stack);
        if !ours {
            let held_by = owner.map_or_else(
                || "belongs to no stack".to_owned(),
                |owned| format!("belongs to the stack {}", owned.stack),
            );
            self.held.push(Held {
                message: format!(
                    "the id {} is taken on the gateway by {other}, which {held_by}: give the one \
                     in {} another id, or remove the other",
                    key.id,
                    create.path.as_deref().unwrap_or("Git"),
                ),
                change: create,
                hold: Hold::Foreign,
            });
            return;
        }
        let before = owner.map(|owned| owned.desired);
        let gone = Change {
            object: other.clone(),
            action: Action::Delete,
            reason: "changes its kind".to_owned(),
            path: None,
            before,
            after: None,
            drifted: false,
            fields: Vec::new(),
        };
        self.replaced.insert(other.clone());
        self.replaced.insert(key.clone());
        self.deletes.insert(other.clone(), gone);
        self.upserts.insert(key.clone(), create);
    }

    fn replace(&mut self, update: Change) {
        let key = update.object.clone();
        self.replaced.insert(key.clone());
        self.deletes.insert(
            key.clone(),
            Change {
                action: Action::Delete,
                reason: "listens elsewhere than asked; made anew".to_owned(),
                after: None,
                ..update.clone()
            },
        );
        self.upserts.insert(
            key,
            Change {
                action: Action::Create,
                before: None,
                ..update
            },
        );
    }

    /// Deletions that make room for the same object are no loss and are not counted.
    fn hold_deletions(&mut self) {
        let losses: Vec<ObjectKey> = self
            .deletes
            .keys()
            .filter(|key| !self.replaced.contains(*key))
            .cloned()
            .collect();
        // What was made after deletions were held back must not make them look few.
        let held_since = self.inputs.held_since.unwrap_or(i64::MAX);
        let owned = self
            .inputs
            .inventory
            .values()
            .filter(|owned| owned.stack == self.inputs.stack && owned.since <= held_since)
            .count();
        let budget = Budget {
            limit: self.inputs.deletion_limit,
            owned,
            recent: self.inputs.recent_deletions,
        };
        let (hold, message) = if !self.inputs.prune {
            (
                Hold::PruneOff,
                "prune is off for this stack: delete by hand, or set prune = true".to_owned(),
            )
        } else if let Some(overdraft) =
            guard::judge(losses.len(), self.inputs.desired.len(), budget)
        {
            (
                Hold::Budget,
                format!("nothing is deleted: {overdraft}. {}", overdraft.cure()),
            )
        } else {
            return;
        };
        for key in losses {
            if let Some(change) = self.deletes.remove(&key) {
                self.held.push(Held {
                    change,
                    hold: hold.clone(),
                    message: message.clone(),
                });
            }
        }
    }

    /// Two APIs on one route take each other down, so a change that needs a route waits for the
    /// one that leaves it, and is held when nothing does.
    fn settle_routes(&mut self) {
        let occupants: BTreeMap<&Route, &ObjectKey> = self
            .inputs
            .live
            .iter()
            .filter_map(|(key, seen)| Some((seen.route.as_ref()?, key)))
            .collect();
        let held_deletes: BTreeSet<ObjectKey> = self
            .held
            .iter()
            .filter(|held| held.change.action == Action::Delete)
            .map(|held| held.change.object.clone())
            .collect();
        // A change that is held back keeps its own route, which may hold back the next one.
        loop {
            self.after.clear();
            let mut blocked: Option<(ObjectKey, ObjectKey)> = None;
            for key in self.upserts.keys() {
                let Some(route) = self.wanted_route(key) else {
                    continue;
                };
                let Some(&occupant) = occupants.get(&route) else {
                    continue;
                };
                if occupant == key || self.deletes.contains_key(occupant) {
                    if occupant != key {
                        self.after.insert(key.clone(), occupant.clone());
                    }
                    continue;
                }
                let leaves = self.upserts.contains_key(occupant)
                    && self
                        .wanted_route(occupant)
                        .is_some_and(|other| other != route);
                if leaves {
                    self.after.insert(key.clone(), occupant.clone());
                } else {
                    blocked = Some((key.clone(), occupant.clone()));
                    break;
                }
            }
            let Some((key, occupant)) = blocked else {
                return;
            };
            let Some(change) = self.upserts.remove(&key) else {
                return;
            };
            let route = self.wanted_route(&key).map(|route| route.to_string());
            let route = route.unwrap_or_default();
            let (hold, message) = if held_deletes.contains(&occupant) {
                (
                    Hold::Depends {
                        on: occupant.clone(),
                    },
                    format!(
                        "{key} listens on {route}, which {occupant} leaves only when its deletion goes through"
                    ),
                )
            } else {
                let owner = self.inputs.inventory.get(&occupant).map_or_else(
                    || "belongs to no stack".to_owned(),
                    |owned| format!("belongs to the stack {}", owned.stack),
                );
                (
                    Hold::RouteTaken {
                        by: occupant.clone(),
                    },
                    format!(
                        "{key} cannot listen on {route}: {occupant} does, and it {owner}. Change one of \
                         the listen paths, or remove the other API"
                    ),
                )
            };
            // Made anew or not at all.
            self.deletes
                .retain(|deleted, _| !(self.replaced.contains(deleted) && deleted.id == key.id));
            self.held.push(Held {
                change,
                hold,
                message,
            });
        }
    }

    fn wanted_route(&self, key: &ObjectKey) -> Option<Route> {
        self.inputs.desired.get(key)?.object.route()
    }

    /// Dependencies first, deletions last, each prefix of the order a state that can be lived
    /// with: anybody's reload may make it live.
    fn into_plan(mut self) -> Plan {
        let needed_first: BTreeSet<ObjectKey> = self.after.values().cloned().collect();
        let children: BTreeSet<&str> = self
            .inputs
            .live
            .iter()
            .filter(|(key, _)| !self.deletes.contains_key(*key))
            .flat_map(|(_, seen)| seen.children.iter().map(String::as_str))
            .collect();

        let mut first: Vec<Change> = Vec::new();
        let mut second: Vec<Change> = Vec::new();
        let mut last: Vec<Change> = Vec::new();
        for (key, change) in std::mem::take(&mut self.deletes) {
            if needed_first.contains(&key) || self.replaced.contains(&key) {
                first.push(change);
            } else if children.contains(key.id.as_str()) {
                // While a base lists it, deleting a version rewrites the base from memory.
                second.push(change);
            } else {
                last.push(change);
            }
        }
        // APIs before the policies that they may name.
        last.sort_by_key(|change| !change.object.kind.is_api());

        let (anew, upserts): (Vec<Change>, Vec<Change>) = self
            .order_upserts()
            .into_iter()
            .partition(|change| self.replaced.contains(&change.object));
        first.extend(upserts);
        first.extend(last);
        second.splice(0..0, anew);
        first.splice(0..0, std::mem::take(&mut self.records));

        let closes = self.closes_the_port(first.iter().chain(&second));
        if closes {
            self.notes.push(
                "this removes the gateway's last API: a gateway with a separate control port then \
                 closes its port for traffic until an API is loaded again"
                    .to_owned(),
            );
        }
        self.held
            .sort_by(|left, right| left.change.object.cmp(&right.change.object));
        Plan {
            stack: self.inputs.stack.to_owned(),
            target: self.inputs.target.to_owned(),
            waves: [first, second]
                .into_iter()
                .filter(|wave| !wave.is_empty())
                .collect(),
            held: self.held,
            notes: self.notes,
        }
    }

    /// Policies, then versions before the bases that list them, and what leaves a route before
    /// what takes it.
    fn order_upserts(&mut self) -> Vec<Change> {
        let mut waiting = std::mem::take(&mut self.upserts);
        let mut before: BTreeMap<ObjectKey, Vec<ObjectKey>> = BTreeMap::new();
        let by_id: BTreeMap<String, ObjectKey> = waiting
            .keys()
            .filter(|key| key.kind.is_api())
            .map(|key| (key.id.clone(), key.clone()))
            .collect();
        for key in waiting.keys() {
            let children = self
                .inputs
                .desired
                .get(key)
                .map(|prepared| prepared.object.child_versions())
                .unwrap_or_default();
            let mut needs: Vec<ObjectKey> = children
                .into_iter()
                .filter_map(|id| by_id.get(id).cloned())
                .collect();
            needs.extend(self.after.get(key).cloned());
            before.insert(key.clone(), needs);
        }
        // Keys are sorted with policies first; each is preceded by what it needs. A ring (two
        // APIs that swap their routes) is cut where it closes.
        let mut ordered = Vec::new();
        let mut entered: BTreeSet<ObjectKey> = BTreeSet::new();
        let keys: Vec<ObjectKey> = waiting.keys().cloned().collect();
        for key in keys {
            let mut stack = vec![(key, false)];
            while let Some((key, ready)) = stack.pop() {
                if ready {
                    ordered.extend(waiting.remove(&key));
                    continue;
                }
                if !entered.insert(key.clone()) {
                    continue;
                }
                let needs = before.get(&key).cloned().unwrap_or_default();
                stack.push((key, true));
                stack.extend(needs.into_iter().map(|need| (need, false)));
            }
        }
        ordered
    }

    fn closes_the_port<'c>(&self, changes: impl Iterator<Item = &'c Change>) -> bool {
        let mut apis: BTreeSet<&str> = self
            .inputs
            .live
            .keys()
            .filter(|key| key.kind.is_api())
            .map(|key| key.id.as_str())
            .collect();
        let had_some = !apis.is_empty();
        for change in changes.filter(|change| change.object.kind.is_api()) {
            match change.action {
                Action::Delete => {
                    apis.remove(change.object.id.as_str());
                }
                Action::Create | Action::Update => {
                    apis.insert(change.object.id.as_str());
                }
                Action::Adopt | Action::Forget => {}
            }
        }
        had_some && apis.is_empty()
    }
}

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
