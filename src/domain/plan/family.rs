//! Bases and their versions, and policies and the APIs that they name: what the deletion of one
//! does to the other.
//!
//! A gateway that deletes a version writes the base that lists it again, from memory: a base that
//! was deleted just before comes back, and one that stays loses the version.

use std::collections::BTreeSet;

use super::{Change, Hold, draft::Draft};
use crate::domain::{object::ObjectKey, run::Action};

impl Draft<'_> {
    /// Holds back what would take a version from a base that goes on listing it, and has a base
    /// written again whose version is made anew. Whether anything was held back.
    pub(super) fn settle_versions(&mut self) -> bool {
        let mut waiting: Vec<(ObjectKey, ObjectKey)> = Vec::new();
        let mut rewritten: Vec<(ObjectKey, Change)> = Vec::new();
        for (base, seen) in self.inputs.live {
            if self.deletes.contains_key(base) {
                continue;
            }
            for child in &seen.children {
                let Some(gone) = self
                    .deletes
                    .values()
                    .find(|gone| gone.object.kind.is_api() && gone.object.id == *child)
                else {
                    continue;
                };
                let wanted = self.inputs.desired.get(base);
                let lists_it = wanted
                    .is_none_or(|wanted| wanted.object.child_versions().contains(&child.as_str()));
                let is_written = self.upserts.contains_key(base);
                if gone.action == Action::Delete && (lists_it || !is_written) {
                    waiting.push((gone.object.clone(), base.clone()));
                } else if gone.action == Action::Replace && !is_written {
                    let owner = self.inputs.inventory.get(base);
                    let ours = owner.filter(|owned| owned.stack == self.inputs.stack);
                    match (ours, wanted) {
                        (Some(owned), Some(wanted)) => {
                            let again = Change {
                                object: base.clone(),
                                action: Action::Update,
                                reason: format!(
                                    "lists {}, which is made anew: the gateway takes it off the list",
                                    gone.object
                                ),
                                path: Some(wanted.object.path.clone()),
                                before: Some(owned.desired),
                                after: Some(wanted.digest),
                                drifted: false,
                                fields: Vec::new(),
                            };
                            rewritten.push((base.clone(), again));
                        }
                        _ => waiting.push((gone.object.clone(), base.clone())),
                    }
                }
            }
        }
        self.upserts.extend(rewritten);
        let holds_back = !waiting.is_empty();
        for (gone, base) in waiting {
            let message = format!(
                "{gone} is listed by {base} as a version, and requests for that version would fail \
                 without it: take it off the versions of {base} first"
            );
            let on = Hold::Depends { on: base };
            // One that is made anew waits as a whole.
            let anew = self
                .upserts
                .keys()
                .find(|key| self.replaced.contains(*key) && key.id == gone.id)
                .cloned();
            self.hold(&gone, on.clone(), message.clone());
            if let Some(anew) = anew {
                self.hold(&anew, on, message);
            }
        }
        holds_back
    }

    /// What goes early takes along the versions that it lists and that go too.
    pub(super) fn versions_before_bases(&self, early: &mut BTreeSet<ObjectKey>) {
        let mut todo: Vec<&ObjectKey> = self
            .deletes
            .keys()
            .filter(|key| early.contains(*key) || self.replaced.contains(*key))
            .collect();
        while let Some(base) = todo.pop() {
            for child in self.versions_that_go(base) {
                if early.insert(child.clone()) {
                    todo.push(child);
                }
            }
        }
    }

    /// All removals, each version before the base that lists it.
    pub(super) fn take_deletes(&mut self) -> Vec<Change> {
        let mut ordered: Vec<ObjectKey> = Vec::new();
        let mut entered: BTreeSet<&ObjectKey> = BTreeSet::new();
        for key in self.deletes.keys() {
            let mut stack = vec![(key, false)];
            while let Some((key, ready)) = stack.pop() {
                if ready {
                    ordered.push(key.clone());
                } else if entered.insert(key) {
                    stack.push((key, true));
                    let children = self.versions_that_go(key);
                    stack.extend(children.into_iter().map(|child| (child, false)));
                }
            }
        }
        let mut deletes = std::mem::take(&mut self.deletes);
        ordered
            .iter()
            .filter_map(|key| deletes.remove(key))
            .collect()
    }

    fn versions_that_go(&self, base: &ObjectKey) -> Vec<&ObjectKey> {
        let children = self.inputs.live.get(base).map(|seen| &seen.children);
        self.deletes
            .keys()
            .filter(|key| key.kind.is_api() && *key != base)
            .filter(|key| children.is_some_and(|children| children.contains(&key.id)))
            .collect()
    }

    /// What a reader should know of policies that stay while an API that they name goes.
    pub(super) fn policies_left_behind(&self) -> Vec<String> {
        let gone: Vec<&ObjectKey> = self
            .deletes
            .values()
            .filter(|change| change.action == Action::Delete && change.object.kind.is_api())
            .map(|change| &change.object)
            .collect();
        if gone.is_empty() {
            return Vec::new();
        }
        let mut notes = Vec::new();
        for (key, seen) in self.inputs.live {
            if key.kind.is_api() || self.deletes.contains_key(key) {
                continue;
            }
            let grants: Vec<&str> = match self.inputs.desired.get(key) {
                Some(wanted) => wanted.object.granted_apis(),
                None => seen.grants.iter().map(String::as_str).collect(),
            };
            for api in gone.iter().filter(|api| grants.contains(&api.id.as_str())) {
                notes.push(format!(
                    "{key} still names {api}, which is deleted: its keys lose that API, and a key \
                     without another one is refused"
                ));
            }
        }
        notes
    }
}
