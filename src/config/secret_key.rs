//! The installation's key: 32 bytes from which HMACs are made and with which undo bodies are sealed. It never
//! shows in `Debug`, and it is never made here: the store does that for an embedded installation.

use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretSlice, SecretString};

const LENGTH: usize = 32;

#[derive(Clone, Debug)]
pub struct SecretKey(SecretSlice<u8>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the key is not 32 bytes, written as 64 hex digits or as base64 (make one with: openssl rand -hex 32)"
)]
pub struct InvalidSecretKey;

impl SecretKey {
    /// White space around the text does not count.
    pub fn parse(text: &SecretString) -> Result<Self, InvalidSecretKey> {
        let text = text.expose_secret().trim();
        let bytes = match text.len() {
            64 => hex::decode(text).ok(),
            _ => STANDARD.decode(text).ok(),
        };
        let bytes = bytes
            .filter(|bytes| bytes.len() == LENGTH)
            .ok_or(InvalidSecretKey)?;
        Ok(Self(bytes.into()))
    }

    pub fn expose_bytes(&self) -> &[u8] {
        self.0.expose_secret()
    }
}
