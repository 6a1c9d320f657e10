//! Certificates in a plan. One that is there is as Git wants it, because its id says what is in
//! it; so it is made, shared or removed, and changed only in what its id does not say: the chain
//! behind it, or the key beside it.
//!
//! A certificate that was there before us is shared and stays. One of ours goes when nothing that
//! is live, or is about to be, mentions it any more.

use super::{Change, Held, Hold, Prepared, draft::Draft};
use crate::domain::{
    certificate::fingerprint_of,
    object::{Kind, ObjectKey},
    run::Action,
};

impl Draft<'_> {
    /// What a certificate needs that something in Git refers to.
    pub(super) fn want_certificate(&mut self, prepared: &Prepared, change: &Change) {
        let inputs = self.inputs;
        let key = change.object.clone();
        let owned = inputs.inventory.get(&key);
        let record = |action: Action, reason: String| Change {
            action,
            reason,
            ..change.clone()
        };
        let Some(seen) = inputs.live.get(&key) else {
            let drifted = owned.is_some_and(|owned| owned.observed.is_some());
            let reason = if drifted {
                "removed from the gateway since the last run"
            } else {
                "referred to in Git, and not on the gateway"
            };
            let create = Change {
                drifted,
                before: None,
                ..record(Action::Create, reason.to_owned())
            };
            self.upserts.insert(key, create);
            return;
        };
        let Some(owned) = owned else {
            // Another hand put it there: it is used, and never removed.
            if !inputs.equal.contains(&key) {
                self.held.push(Held {
                    message: format!(
                        "{key} ({}) is on the gateway without its private key, and belongs to no \
                         stack: remove it there, so that it can be made with its key",
                        prepared.object.name()
                    ),
                    change: Change {
                        before: Some(seen.digest),
                        ..record(Action::Update, "on the gateway, and not ours".to_owned())
                    },
                    hold: Hold::Foreign,
                });
            }
            return;
        };
        let is_ours = owned.stack == inputs.stack;
        if !is_ours && !inputs.neighbours.lets_go(&owned.stack, &key) {
            return;
        }
        if owned.desired != prepared.digest {
            let reason = "its chain or its key changed".to_owned();
            self.upserts.insert(key, record(Action::Update, reason));
        } else if !is_ours {
            let reason = format!("moved here from the stack {}", owned.stack);
            self.records.push(record(Action::Adopt, reason));
        } else if owned.observed.is_none() {
            let reason = "found as Git wants it".to_owned();
            self.records.push(record(Action::Adopt, reason));
        }
    }

    /// Takes back the deletions of certificates that something will still use when everything else
    /// of this plan is done.
    pub(super) fn spare_used_certificates(&mut self) {
        let leaving: Vec<ObjectKey> = self
            .deletes
            .keys()
            .filter(|key| key.kind == Kind::Certificate)
            .cloned()
            .collect();
        for key in leaving {
            if let Some(user) = self.user_of(&key) {
                self.deletes.remove(&key);
                self.notes.push(format!(
                    "{key} is not referred to in Git any more and stays: {user} uses it"
                ));
            }
        }
    }

    fn user_of(&self, certificate: &ObjectKey) -> Option<String> {
        let inputs = &self.inputs;
        if let Some(user) = inputs.used_elsewhere.get(certificate) {
            return Some(user.clone());
        }
        let fingerprint = fingerprint_of(&certificate.id);
        let live = inputs.live.iter().find(|(key, seen)| {
            let changes = self.upserts.contains_key(*key) || self.deletes.contains_key(*key);
            !changes && seen.certificates.contains(fingerprint)
        });
        // A manifest may name an id itself, and own nothing by that.
        let wanted = inputs.desired.iter().find(|(key, prepared)| {
            key.kind != Kind::Certificate && prepared.text.contains(fingerprint)
        });
        let key = live.map(|(key, _)| key).or(wanted.map(|(key, _)| key))?;
        Some(key.to_string())
    }
}
