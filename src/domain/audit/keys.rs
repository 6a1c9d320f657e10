//! Which keys speak for a history, as one walks it from its beginning.
//!
//! A key is named by an event, and the first checkpoint after that event is signed by it and by the
//! key before it, which so vouches for it. Whoever pinned one key follows the chain from there. What
//! was signed before the pinned key was named needs no key of its own: the pinned key's signature is
//! over a tree that has all of it.

use serde::{Deserialize, Serialize};

use super::checkpoint::{Checkpoint, Note, NoteError, VerifierKey};

/// The payload of the event that names a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// The new key, as a verifier key.
    pub key: String,
    /// The key that vouches for it; none for the first one.
    #[serde(default)]
    pub before: Option<String>,
}

/// The keys that are trusted so far.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    trusted: Vec<VerifierKey>,
    is_pinned: bool,
    /// Of every key that an event named.
    named: Vec<VerifierKey>,
    /// The key that an event named, with no checkpoint after it yet.
    announced: Option<VerifierKey>,
    has_spoken: bool,
}

impl Keys {
    /// Trusts these, or, without any, the first key that the history names.
    pub fn pinned(pins: Vec<VerifierKey>) -> Self {
        Self {
            is_pinned: !pins.is_empty(),
            trusted: pins,
            ..Self::default()
        }
    }

    /// Takes note of the event that names a key, from its payload.
    pub fn name(&mut self, payload: &str) -> Result<(), String> {
        let named: Named = serde_json::from_str(payload)
            .map_err(|_| "names a key in a form that cannot be read".to_owned())?;
        let key: VerifierKey = named
            .key
            .parse()
            .map_err(|error| format!("names a key that is none: {error}"))?;
        if self.trusted.is_empty() {
            self.trusted.push(key.clone());
        }
        self.named.push(key.clone());
        self.announced = Some(key);
        Ok(())
    }

    /// Checks who signed the next checkpoint of the walk, and reads it. `None` for the checkpoint
    /// when it is signed by keys that are older than the pinned one.
    pub fn open(&mut self, note: &str) -> Result<Checkpoint, String> {
        let note: Note = note.parse().map_err(|error: NoteError| error.to_string())?;
        let checkpoint: Checkpoint = note
            .text()
            .parse()
            .map_err(|error: super::checkpoint::CheckpointError| error.to_string())?;
        let signed = note.signed_by(&self.trusted);
        let announced = self.announced.take();
        match signed {
            Ok(keys) => {
                if keys.iter().all(|key| key.name() != checkpoint.origin) {
                    return Err(format!("is of another log, {}", checkpoint.origin));
                }
                self.has_spoken = true;
            }
            Err(NoteError::Stranger(_)) if self.is_pinned && !self.has_spoken => {
                // Older than the pinned key, if that follows; and signed by whom it says.
                return match note.signed_by(&self.named) {
                    Err(NoteError::Forged { name, id }) => {
                        Err(NoteError::Forged { name, id }.to_string())
                    }
                    _ => Ok(checkpoint),
                };
            }
            Err(error) => return Err(error.to_string()),
        }
        if let Some(key) = announced
            && !self.trusted.contains(&key)
        {
            let is_signed = note
                .signed_by(std::slice::from_ref(&key))
                .is_ok_and(|keys| !keys.is_empty());
            if !is_signed {
                return Err(format!(
                    "is not signed by {}+{}, which was named before it",
                    key.name(),
                    key.id()
                ));
            }
            // From here on the new key speaks alone.
            self.trusted = vec![key];
        }
        Ok(checkpoint)
    }

    /// Whether a key was pinned and has signed no checkpoint of the walk.
    pub fn is_unheard(&self) -> bool {
        self.is_pinned && !self.has_spoken
    }

    /// Every key whose signature counts after the walk: those that are trusted, and those that the
    /// history named, which the trusted ones signed for.
    pub fn known(&self) -> Vec<VerifierKey> {
        let mut known = self.trusted.clone();
        if self.has_spoken || !self.is_pinned {
            known.extend(self.named.iter().cloned());
        }
        known.sort();
        known.dedup();
        known
    }

    pub fn trusted(&self) -> &[VerifierKey] {
        &self.trusted
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::{audit::checkpoint::SigningKey, canonical::Digest};

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed("log.example", [seed; 32]).unwrap()
    }

    fn naming(key: &SigningKey) -> String {
        json!({"key": key.verifier().to_string(), "before": null}).to_string()
    }

    fn note(number: u64, keys: &[&SigningKey]) -> String {
        let root = Digest::of(b"root");
        let checkpoint = Checkpoint::of_history("log.example", number, "now", 1, root);
        checkpoint.sign(keys).to_string()
    }

    fn pins(key: &SigningKey) -> Vec<VerifierKey> {
        vec![key.verifier().clone()]
    }

    #[test]
    fn the_first_named_key_is_trusted_where_none_is_pinned() {
        let mut keys = Keys::default();
        keys.name(&naming(&key(1))).unwrap();
        assert!(keys.open(&note(0, &[&key(1)])).is_ok());
        assert!(keys.open(&note(1, &[&key(2)])).is_err());
    }

    #[test]
    fn a_new_key_counts_when_the_one_before_it_signed_with_it() {
        let mut keys = Keys::pinned(pins(&key(1)));
        keys.name(&naming(&key(1))).unwrap();
        assert!(keys.open(&note(0, &[&key(1)])).is_ok());
        keys.name(&naming(&key(2))).unwrap();
        assert!(
            keys.clone().open(&note(1, &[&key(2)])).is_err(),
            "no voucher"
        );
        assert!(
            keys.clone().open(&note(1, &[&key(1)])).is_err(),
            "not signed by itself"
        );
        assert!(keys.open(&note(1, &[&key(1), &key(2)])).is_ok());
        assert!(
            keys.clone().open(&note(2, &[&key(1)])).is_err(),
            "the old one is out"
        );
        assert!(keys.open(&note(2, &[&key(2)])).is_ok());
        assert_eq!(keys.known().len(), 2);
    }

    #[test]
    fn whoever_pinned_a_later_key_takes_what_is_older_from_its_signature() {
        let mut keys = Keys::pinned(pins(&key(2)));
        keys.name(&naming(&key(1))).unwrap();
        assert!(keys.open(&note(0, &[&key(1)])).is_ok());
        assert!(keys.is_unheard());
        keys.name(&naming(&key(2))).unwrap();
        assert!(keys.open(&note(1, &[&key(1), &key(2)])).is_ok());
        assert!(!keys.is_unheard());
        assert!(keys.open(&note(2, &[&key(1)])).is_err());
    }

    #[test]
    fn a_signature_that_is_not_of_its_text_is_refused_whoever_is_pinned() {
        let spoiled = note(0, &[&key(1)]).replace("number 0", "number 1");
        for pinned in [pins(&key(1)), pins(&key(2)), Vec::new()] {
            let mut keys = Keys::pinned(pinned);
            keys.name(&naming(&key(1))).unwrap();
            assert!(keys.open(&spoiled).is_err());
        }
    }
}
