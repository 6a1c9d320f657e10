//! A plan that is being made: every object is classified, then what could hurt is held back, then
//! what is left is put in an order each prefix of which can be lived with.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Change, Held, Hold, Inputs, Plan, Prepared, REBASED, Seen, claimed_route, is_collision_rename,
};
use crate::domain::{
    approval::{Remainder, Verdict},
    guard::{self, Budget, RequireApproval},
    object::{Kind, ObjectKey, Route},
    run::Action,
};

/// A plan that is being made.
pub(super) struct Draft<'a> {
    pub(super) inputs: Inputs<'a>,
    pub(super) upserts: BTreeMap<ObjectKey, Change>,
    pub(super) deletes: BTreeMap<ObjectKey, Change>,
    /// Changes of the record only.
    pub(super) records: Vec<Change>,
    /// Objects that must be gone before they can be made anew.
    pub(super) replaced: BTreeSet<ObjectKey>,
    /// What must be out of a route's way, by the change that needs the route.
    pub(super) after: BTreeMap<ObjectKey, ObjectKey>,
    pub(super) held: Vec<Held>,
    pub(super) moving: BTreeMap<ObjectKey, String>,
    pub(super) notes: Vec<String>,
}

impl<'a> Draft<'a> {
    pub(super) fn classify(inputs: Inputs<'a>) -> Self {
        let mut draft = Self {
            inputs,
            upserts: BTreeMap::new(),
            deletes: BTreeMap::new(),
            records: Vec::new(),
            replaced: BTreeSet::new(),
            after: BTreeMap::new(),
            held: Vec::new(),
            moving: BTreeMap::new(),
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
            // What was changed by hand is another thing to lose than what somebody approved.
            let by_hand = inputs
                .live
                .get(key)
                .map(|seen| seen.digest)
                .filter(|seen| owned.observed.is_some_and(|observed| observed != *seen))
                .filter(|_| owned.gateway_version == inputs.gateway_version);
            let reason = match by_hand {
                None => "removed from Git",
                Some(_) => "removed from Git, and changed on the gateway since the last run",
            };
            let change = Change {
                object: key.clone(),
                action: Action::Delete,
                reason: reason.to_owned(),
                path: None,
                before: by_hand.or(Some(owned.desired)),
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
            } else if let Some(stack) = inputs.neighbours.describer(key) {
                draft.moving.insert(key.clone(), stack.to_owned());
            } else if !draft.replaced.contains(key) {
                draft.deletes.insert(key.clone(), change);
            }
        }
        draft.spare_used_certificates();
        draft
    }

    /// What one object of Git needs.
    fn want(&mut self, key: &ObjectKey, prepared: &Prepared, of_other_kind: Option<&ObjectKey>) {
        let owned = self.inputs.inventory.get(key);
        let change = Change {
            object: key.clone(),
            action: Action::Create,
            reason: String::new(),
            path: Some(prepared.object.path.clone()),
            before: owned.map(|owned| owned.desired),
            after: Some(prepared.digest),
            drifted: false,
            fields: Vec::new(),
        };
        if key.kind == Kind::Certificate {
            self.want_certificate(prepared, &change);
            return;
        }
        if let Some((hold, message)) = self.not_ours(key, prepared) {
            self.held.push(Held {
                change: Change {
                    action: Action::Update,
                    reason: "not this stack's".to_owned(),
                    ..change
                },
                hold,
                message,
            });
            return;
        }
        if let Some(other) = of_other_kind {
            let reason = "changed its kind in Git".to_owned();
            self.change_kind(key, other, Change { reason, ..change });
            return;
        }
        if let Some(seen) = self.inputs.live.get(key) {
            self.want_live(prepared, seen, change);
            return;
        }
        let drifted = owned.is_some_and(|owned| owned.observed.is_some());
        let reason = if drifted {
            "removed from the gateway since the last run"
        } else {
            "new in Git"
        };
        let create = Change {
            reason: reason.to_owned(),
            drifted,
            before: None,
            ..change
        };
        self.upserts.insert(key.clone(), create);
    }

    /// Why an object that Git describes is none of this stack's business.
    fn not_ours(&self, key: &ObjectKey, prepared: &Prepared) -> Option<(Hold, String)> {
        let (inputs, path) = (&self.inputs, &prepared.object.path);
        match inputs.inventory.get(key) {
            Some(owned) if owned.stack == inputs.stack => None,
            Some(owned) if inputs.neighbours.lets_go(&owned.stack, key) => None,
            Some(owned) => {
                let stack = owned.stack.clone();
                let message = format!(
                    "{key} belongs to the stack {stack}: remove it there first, or from {path} here"
                );
                Some((Hold::OtherStack { stack }, message))
            }
            None if inputs.released.contains(key) => {
                let message = format!(
                    "{key} was released from the stack {0} and is still described by {path}: remove \
                     it there, or take it back with `lockstep adopt {0} {key} --reason …`",
                    inputs.stack
                );
                Some((Hold::Released, message))
            }
            None => None,
        }
    }

    /// What an object needs that Git describes and that is there.
    fn want_live(&mut self, prepared: &Prepared, seen: &Seen, change: Change) {
        let key = change.object.clone();
        let equal = self.inputs.equal.contains(&key);
        let adopt = |reason: &str| Change {
            action: Action::Adopt,
            reason: reason.to_owned(),
            ..change.clone()
        };
        let Some(owned) = self.inputs.inventory.get(&key) else {
            if equal {
                self.records
                    .push(adopt("already on the gateway, and as Git wants it"));
            } else {
                self.hold_foreign(change, seen);
            }
            return;
        };
        let changed = owned.desired != prepared.digest;
        let (drifted, unknown) = match owned.observed {
            Some(observed) => (observed != seen.digest, false),
            None => (false, true),
        };
        if equal && (drifted || unknown) && (!changed || unknown) {
            self.records.push(adopt(if unknown {
                "found as Git wants it"
            } else {
                REBASED
            }));
            return;
        }
        if owned.stack != self.inputs.stack {
            let reason = format!("moved here from the stack {}", owned.stack);
            if !(changed || drifted || unknown) {
                self.records.push(adopt(&reason));
                return;
            }
            self.notes.push(format!("{key} {reason}"));
        }
        let reason = match (changed, drifted, unknown) {
            (false, false, false) => return,
            (true, true, _) => "changed in Git, and on the gateway since the last run",
            (true, false, _) => "changed in Git",
            (false, true, _) => "changed on the gateway since the last run",
            (false, false, true) => "not as the last run meant to leave it",
        };
        let update = Change {
            action: Action::Update,
            reason: reason.to_owned(),
            drifted,
            before: Some(if changed && !drifted {
                owned.desired
            } else {
                seen.digest
            }),
            ..change
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
            self.upserts.insert(key, update);
        }
    }

    fn hold_foreign(&mut self, change: Change, seen: &Seen) {
        let update = Change {
            action: Action::Update,
            reason: "on the gateway, and not ours".to_owned(),
            ..change
        };
        let message = format!(
            "{} is on the gateway, belongs to no stack and differs from {}: take it over with \
             `lockstep adopt {} {} --reason …`, make the two equal, or give the one in Git another id",
            update.object,
            update.path.as_deref().unwrap_or("Git"),
            self.inputs.stack,
            update.object,
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
            action: Action::Replace,
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
                action: Action::Replace,
                reason: format!("made anew: {}", update.reason),
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
    pub(super) fn hold_deletions(&mut self) {
        let losses: Vec<ObjectKey> = self
            .deletes
            .values()
            .filter(|change| change.action == Action::Delete)
            .map(|change| change.object.clone())
            .collect();
        for key in losses {
            if let Some((hold, message)) = self.single_hold(&key) {
                self.hold(&key, hold, message);
            }
        }
        // One that is unused is no loss either.
        let (certificates, losses): (Vec<ObjectKey>, Vec<ObjectKey>) = self
            .deletes
            .values()
            .filter(|change| change.action == Action::Delete)
            .map(|change| change.object.clone())
            .partition(|key| key.kind == Kind::Certificate);
        // What was made after deletions were held back must not make them look few.
        let held_since = self.inputs.held_since.unwrap_or(i64::MAX);
        let owned = self
            .inputs
            .inventory
            .iter()
            .filter(|(key, owned)| {
                let is_counted = key.kind != Kind::Certificate;
                is_counted && owned.stack == self.inputs.stack && owned.since <= held_since
            })
            .count();
        let budget = Budget {
            limit: self.inputs.rules.deletion_limit,
            owned,
            recent: self.inputs.recent_deletions,
        };
        let overdraft = guard::judge(losses.len(), self.inputs.desired.len(), budget);
        for key in losses {
            if let Some(overdraft) = overdraft {
                self.hold(
                    &key,
                    Hold::Budget,
                    format!("nothing is deleted: {overdraft}"),
                );
            } else if self.inputs.rules.require_approval != RequireApproval::Never {
                self.hold_for_approval(&key, "every deletion of this stack");
            }
        }
        if self.inputs.rules.require_approval != RequireApproval::Never {
            for key in certificates {
                self.hold_for_approval(&key, "every deletion of this stack");
            }
        }
    }

    /// Why one deletion waits, whatever the others do.
    fn single_hold(&self, key: &ObjectKey) -> Option<(Hold, String)> {
        let inputs = &self.inputs;
        if !inputs.rules.prune {
            let message = format!(
                "prune is off for this stack: {key} stays until it is deleted by hand, released \
                 (`lockstep release {} {key} --reason …`), or prune = true",
                inputs.stack
            );
            return Some((Hold::PruneOff, message));
        }
        if let Some(stack) = inputs.neighbours.unreadable.first() {
            let hold = Hold::MayMove {
                stack: stack.clone(),
            };
            let message = format!(
                "{key} may be on its way to the stack {stack}, whose manifests cannot be read: mend \
                 those first"
            );
            return Some((hold, message));
        }
        if let Some(path) = inputs.unread.get(key) {
            let hold = Hold::FileStays { path: path.clone() };
            let message = format!(
                "{key} was described by {path}, which is still in Git and is not read as a manifest \
                 any more: look at the stack's path, include and exclude, and at the file itself"
            );
            return Some((hold, message));
        }
        inputs.protected.contains(key).then(|| {
            let message = format!("{key} is named by the stack's protect");
            (Hold::Protected, message)
        })
    }

    /// Writes that wait because the stack's rules ask for it.
    pub(super) fn hold_writes(&mut self) {
        let rules = self.inputs.rules;
        let waiting: Vec<(ObjectKey, bool)> = self
            .upserts
            .iter()
            .filter_map(|(key, change)| {
                let undoes = self.undoes_hand_work(change);
                let waits = if undoes {
                    rules.drift_waits
                } else {
                    rules.require_approval == RequireApproval::Always
                };
                waits.then(|| (key.clone(), undoes))
            })
            .collect();
        for (key, undoes) in waiting {
            // One that is made anew waits as a whole.
            let replaced: Vec<ObjectKey> = self
                .deletes
                .keys()
                .filter(|gone| self.replaced.contains(*gone) && gone.id == key.id)
                .cloned()
                .collect();
            for key in replaced.iter().chain([&key]) {
                if undoes {
                    let message = format!(
                        "{key} was changed by hand, and the stack's drift rule is to ask before it \
                         is put back"
                    );
                    self.hold(key, Hold::Drift, message);
                } else {
                    self.hold_for_approval(key, "every change of this stack");
                }
            }
        }
    }

    /// Whether a change only puts back what was changed by hand.
    fn undoes_hand_work(&self, change: &Change) -> bool {
        let applied = self.inputs.inventory.get(&change.object);
        change.drifted && applied.is_some_and(|owned| Some(owned.desired) == change.after)
    }

    fn hold_for_approval(&mut self, key: &ObjectKey, what: &str) {
        let message = format!("{what} waits for an approval (require_approval)");
        self.hold(key, Hold::ApprovalRequired, message);
    }

    /// A deletion and a creation of one object are held one after the other.
    pub(super) fn hold(&mut self, key: &ObjectKey, hold: Hold, message: String) {
        let change = self
            .deletes
            .remove(key)
            .or_else(|| self.upserts.remove(key));
        if let Some(change) = change {
            self.held.push(Held {
                change,
                hold,
                message,
            });
        }
    }

    /// Lets go what was approved as it is; whatever else was decided is said.
    pub(super) fn heed_approval(&mut self) {
        let waiting = |held: &&Held| held.hold.waits_for_approval();
        let changes = self
            .held
            .iter()
            .filter(waiting)
            .map(|held| held.change.clone());
        let Some(remainder) = Remainder::of(self.inputs.stack, self.inputs.target, changes) else {
            return;
        };
        let standing = self
            .inputs
            .standing
            .filter(|standing| standing.hash == remainder.hash());
        let approve = "if it is meant, `lockstep approve RUN --reason …`; if not, mend it in Git";
        let said = match standing.map(|standing| &standing.verdict) {
            Some(Verdict::Approved) => {
                for change in remainder.changes {
                    let place = if change.action.removes() {
                        &mut self.deletes
                    } else {
                        &mut self.upserts
                    };
                    place.insert(change.object.clone(), change);
                }
                self.held.retain(|held| !held.hold.waits_for_approval());
                self.notes
                    .push("what had been held back was approved".to_owned());
                return;
            }
            Some(Verdict::Awaiting { given, needed }) if *given > 0 => {
                format!("{given} of {needed} approvals are given; {approve}")
            }
            Some(Verdict::Awaiting { .. }) | None => approve.to_owned(),
            Some(Verdict::Expired) => format!("it was approved, and that ran out; {approve}"),
            Some(Verdict::Rejected { by, reason }) => {
                let reason = match reason.as_str() {
                    "" => String::new(),
                    reason => format!(": {reason}"),
                };
                format!("rejected by {by}{reason}; it stays as it is until Git changes")
            }
        };
        for held in &mut self.held {
            if held.hold.waits_for_approval() {
                held.message = format!("{}: {said}", held.message);
            }
        }
    }

    /// A change that is held back may hold back what depends on it, and so on.
    pub(super) fn settle_dependencies(&mut self) {
        loop {
            self.settle_routes();
            if !self.settle_versions() {
                return;
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
        let claimants = self.claimants();
        let held_deletes: BTreeSet<ObjectKey> = self
            .held
            .iter()
            .filter(|held| held.change.action.removes())
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
                let claimant = || {
                    let claimant = claimants.get(&route).copied()?;
                    // What worked there before may have it back for as long as it lasts.
                    (claimant != key && !self.replaced.contains(key)).then_some(claimant)
                };
                let Some(occupant) = occupants.get(&route).copied().or_else(claimant) else {
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
                match self.ring() {
                    // Made anew, so that no two are on one route at any moment.
                    Some(update) => self.replace(update),
                    None => return,
                }
                continue;
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
                // Its document says so; the gateway serves it elsewhere.
                let found = self.inputs.live.get(&occupant);
                let given = found
                    .and_then(|seen| seen.route.as_ref())
                    .filter(|found| found.to_string() != route)
                    .map(|found| format!(" by its document, though it was given {found} for now"))
                    .unwrap_or_default();
                (
                    Hold::RouteTaken {
                        by: occupant.clone(),
                    },
                    format!(
                        "{key} cannot listen on {route}: {occupant} does{given}, and it {owner}. Change \
                         one of the listen paths, or remove the other API"
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

    /// Who has a route in its document and was given another one by the gateway: for as long as its
    /// process lasts the route is free, and its next start renames all who have it.
    fn claimants(&self) -> BTreeMap<Route, &'a ObjectKey> {
        let mut claimants = BTreeMap::new();
        for (key, seen) in self.inputs.live {
            let found = seen.route.as_ref();
            let claimed = found.and_then(|found| claimed_route(found, &key.id));
            if let Some(claimed) = claimed.filter(|_| self.wanted_route(key).as_ref() != found) {
                claimants.insert(claimed, key);
            }
        }
        claimants
    }

    fn routes_on_loan(&self) -> Vec<String> {
        let claimants = self.claimants();
        let anew = self
            .upserts
            .keys()
            .filter(|key| self.replaced.contains(*key));
        anew.filter_map(|key| {
            let route = self.wanted_route(key)?;
            let other = claimants.get(&route).filter(|other| **other != key)?;
            Some(format!(
                "{other} has the path {route} in its document too: the gateway renames both it and \
                 {key} at its next start, until one of them is changed or removed"
            ))
        })
        .collect()
    }

    /// A change of a ring: APIs that take each other's routes. One of them must be out of the way
    /// while the others move.
    fn ring(&mut self) -> Option<Change> {
        let in_ring = self.after.keys().find(|first| {
            let mut at = *first;
            for _ in 0..self.after.len() {
                match self.after.get(at) {
                    Some(next) if self.deletes.contains_key(next) => return false,
                    Some(next) if next == *first => return true,
                    Some(next) => at = next,
                    None => return false,
                }
            }
            false
        })?;
        self.upserts.remove(&in_ring.clone())
    }

    fn wanted_route(&self, key: &ObjectKey) -> Option<Route> {
        self.inputs.desired.get(key)?.object.route()
    }

    /// Dependencies first, deletions last, each prefix of the order a state that can be lived
    /// with: anybody's reload may make it live.
    pub(super) fn into_plan(mut self) -> Plan {
        let needed_first: BTreeSet<ObjectKey> = self.after.values().cloned().collect();
        let children: BTreeSet<&str> = self
            .inputs
            .live
            .iter()
            .filter(|(key, _)| !self.deletes.contains_key(*key))
            .flat_map(|(_, seen)| seen.children.iter().map(String::as_str))
            .collect();

        let mut needed_first = needed_first;
        self.versions_before_bases(&mut needed_first);
        let mut first: Vec<Change> = Vec::new();
        let mut second: Vec<Change> = Vec::new();
        let mut last: Vec<Change> = Vec::new();
        let notes = self.policies_left_behind();
        self.notes.extend(notes);
        let notes = self.routes_on_loan();
        self.notes.extend(notes);
        // When what used them was loaded without them.
        let mut certificates: Vec<Change> = Vec::new();
        for change in self.take_deletes() {
            let key = &change.object;
            if key.kind == Kind::Certificate {
                certificates.push(change);
            } else if needed_first.contains(key) || self.replaced.contains(key) {
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
            waves: [first, second, certificates]
                .into_iter()
                .filter(|wave| !wave.is_empty())
                .collect(),
            held: self.held,
            moving: self.moving,
            notes: self.notes,
        }
    }

    /// Certificates, policies, then versions before the bases that list them, and what leaves a route before
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
        // Keys are sorted with certificates and policies first; each is preceded by what it needs. A ring (two
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
                Action::Delete | Action::Replace => {
                    apis.remove(change.object.id.as_str());
                }
                Action::Create | Action::Update => {
                    apis.insert(change.object.id.as_str());
                }
                Action::Adopt | Action::Forget | Action::Release => {}
            }
        }
        had_some && apis.is_empty()
    }
}
