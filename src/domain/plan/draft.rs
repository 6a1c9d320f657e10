//! A plan that is being made: every object is classified, then what could hurt is held back, then
//! what is left is put in an order each prefix of which can be lived with.

use std::collections::{BTreeMap, BTreeSet};

use super::{Change, Held, Hold, Inputs, Plan, Prepared, Seen, is_collision_rename};
use crate::domain::{
    guard::{self, Budget},
    object::{ObjectKey, Route},
    run::Action,
};

/// A plan that is being made.
pub(super) struct Draft<'a> {
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
    pub(super) fn classify(inputs: Inputs<'a>) -> Self {
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
    pub(super) fn hold_deletions(&mut self) {
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
    pub(super) fn settle_routes(&mut self) {
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
    pub(super) fn into_plan(mut self) -> Plan {
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
