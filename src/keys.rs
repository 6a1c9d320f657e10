//! What the installation's key is used for, each use with a key of its own derived from it.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::domain::secrets::Masker;

/// 32 random bytes that belong to one installation. Never printed.
#[derive(Clone)]
pub struct InstallationKey([u8; 32]);

impl fmt::Debug for InstallationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InstallationKey(…)")
    }
}

#[derive(Debug, thiserror::Error)]
#[error("what was sealed cannot be opened with this installation's key")]
pub struct Unopenable;

impl InstallationKey {
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// For the values that stand in the place of secrets.
    pub fn masker(&self) -> Masker {
        Masker::new(&self.derive("mask"))
    }

    /// Seals a previous body: AES-256-GCM with a random nonce before the text, bound to `label`.
    pub fn seal(&self, label: &str, mut text: Vec<u8>) -> Vec<u8> {
        let nonce = self
            .sealing_key()
            .seal_in_place_append_tag(Aad::from(label.as_bytes()), &mut text)
            .expect("a body is far smaller than what AES-GCM can seal");
        let mut sealed = nonce.as_ref().to_vec();
        sealed.append(&mut text);
        sealed
    }

    pub fn open(&self, label: &str, sealed: &[u8]) -> Result<Vec<u8>, Unopenable> {
        let (nonce, text) = sealed.split_at_checked(12).ok_or(Unopenable)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Unopenable)?;
        let mut text = text.to_vec();
        let length = self
            .sealing_key()
            .open_in_place(nonce, Aad::from(label.as_bytes()), &mut text)
            .map_err(|_| Unopenable)?
            .len();
        text.truncate(length);
        Ok(text)
    }

    /// Names a text to whoever has the key, and says nothing of it to anybody else: enough to see
    /// that it changed.
    pub fn name_of(&self, purpose: &str, label: &str, text: &str) -> String {
        let mut mac: Hmac<Sha256> =
            Hmac::new_from_slice(&self.derive(purpose)).expect("HMAC takes a key of any length");
        mac.update(label.as_bytes());
        mac.update(&[0]);
        mac.update(text.as_bytes());
        hex::encode(&mac.finalize().into_bytes()[..8])
    }

    fn sealing_key(&self) -> RandomizedNonceKey {
        RandomizedNonceKey::new(&AES_256_GCM, &self.derive("seal"))
            .expect("the derived key has the cipher's length")
    }

    fn derive(&self, purpose: &str) -> [u8; 32] {
        let mut mac: Hmac<Sha256> =
            Hmac::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(b"lockstep/");
        mac.update(purpose.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_under_its_own_label_and_key_only() {
        let key = InstallationKey::new([1; 32]);
        let sealed = key.seal("run/0", b"body".to_vec());
        assert!(!sealed.windows(4).any(|window| window == b"body"));
        assert_eq!(key.open("run/0", &sealed).unwrap(), b"body");
        assert!(key.open("run/1", &sealed).is_err());
        assert!(
            InstallationKey::new([2; 32])
                .open("run/0", &sealed)
                .is_err()
        );
        assert!(key.open("run/0", b"short").is_err());
    }
}
