//! Tokens: how a person proves to the API who they are, and what a token may be used for.
//!
//! A token is `lst_<id>_<secret>`. The id finds its record; the secret is 32 random bytes, of which
//! only a SHA-256 is kept. A slow hash would protect nothing: it is for secrets that can be guessed,
//! and nobody guesses 256 random bits. Neither a token nor its hash is ever shown.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::run::{UnknownWord, words};

const PREFIX: &str = "lst_";
const ID_BYTES: usize = 6;
const SECRET_BYTES: usize = 32;

words! {
    /// What a token may be used for.
    Scope {
        /// To see how stacks stand, and the runs.
        Read = "read",
        /// To ask for a run, and to hold stacks.
        Operate = "operate",
        /// To decide what waits for an approval.
        Approve = "approve",
        /// To read the history and its proofs.
        Audit = "audit",
    }
}

/// The SHA-256 of a token's secret. Never printed.
#[derive(Clone, Copy)]
pub struct SecretHash([u8; 32]);

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(…)")
    }
}

impl SecretHash {
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// To be stored, and nothing else.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// A token as somebody shows it: which one it claims to be, and the hash of what proves it.
#[derive(Debug, Clone)]
pub struct Presented {
    pub id: String,
    hash: SecretHash,
}

impl Presented {
    /// `None` when the text has not the form of a token.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let is_id = id.len() == 2 * ID_BYTES && id.bytes().all(is_lower_hex);
        let is_secret = secret.len() == 2 * SECRET_BYTES && secret.bytes().all(is_lower_hex);
        let mut bytes = [0; SECRET_BYTES];
        if !is_id || !is_secret || hex::decode_to_slice(secret, &mut bytes).is_err() {
            return None;
        }
        Some(Self {
            id: id.to_owned(),
            hash: hash(&bytes),
        })
    }
}

/// A new token: its id, its text, and what is kept of it. The random bytes come from the edge.
pub fn mint(id: [u8; ID_BYTES], secret: &[u8; SECRET_BYTES]) -> (String, String, SecretHash) {
    let id = hex::encode(id);
    let text = format!("{PREFIX}{id}_{}", hex::encode(secret));
    (id, text, hash(secret))
}

fn hash(secret: &[u8; SECRET_BYTES]) -> SecretHash {
    SecretHash(Sha256::digest(secret).into())
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// A token as it is kept.
#[derive(Debug, Clone)]
pub struct Token {
    pub id: String,
    /// The name of a person of the configuration.
    pub person: String,
    pub hash: SecretHash,
    pub scopes: BTreeSet<Scope>,
    pub note: Option<String>,
    pub created_at: i64,
    pub expires_at: i64,
    pub revoked_at: Option<i64>,
    /// To the hour.
    pub last_used_at: Option<i64>,
}

/// Why a token opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Refusal {
    #[error("there is no token in the request")]
    Missing,
    #[error("what is given is not a token")]
    Malformed,
    #[error("there is no such token")]
    Unknown,
    #[error("the token is not right")]
    Wrong,
    #[error("the token was revoked")]
    Revoked,
    #[error("the token has expired")]
    Expired,
    #[error("the configuration has no such person")]
    NoPerson,
    #[error("the token is not for that")]
    OutOfScope,
}

impl Refusal {
    /// For the history, metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Unknown => "unknown",
            Self::Wrong => "wrong",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::NoPerson => "no-person",
            Self::OutOfScope => "out-of-scope",
        }
    }

    /// Whether the token proved who holds it, so that they may be told what is wrong with it.
    pub fn is_of_a_known_holder(self) -> bool {
        match self {
            Self::Revoked | Self::Expired | Self::NoPerson | Self::OutOfScope => true,
            Self::Missing | Self::Malformed | Self::Unknown | Self::Wrong => false,
        }
    }
}

impl Token {
    /// Whether what was shown opens what the scope stands for. What is wrong with the token is said
    /// only to whoever holds it.
    pub fn opens(&self, shown: &Presented, scope: Scope, now: i64) -> Result<(), Refusal> {
        if shown.id != self.id || !self.hash.is(&shown.hash) {
            return Err(Refusal::Wrong);
        }
        if self.revoked_at.is_some() {
            return Err(Refusal::Revoked);
        }
        if now >= self.expires_at {
            return Err(Refusal::Expired);
        }
        if !self.scopes.contains(&scope) {
            return Err(Refusal::OutOfScope);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> (Token, String) {
        let (id, text, hash) = mint([7; 6], &[9; 32]);
        let token = Token {
            id,
            person: "ada".to_owned(),
            hash,
            scopes: [Scope::Approve].into(),
            note: None,
            created_at: 0,
            expires_at: 100,
            revoked_at: None,
            last_used_at: None,
        };
        (token, text)
    }

    #[test]
    fn a_token_opens_what_it_is_for_while_it_is_valid() {
        let (token, text) = token();
        let shown = Presented::parse(&text).unwrap();
        assert_eq!(token.opens(&shown, Scope::Approve, 99), Ok(()));
        let other = Presented::parse(&mint([7; 6], &[8; 32]).1).unwrap();
        let revoked = Token {
            revoked_at: Some(50),
            ..token.clone()
        };
        for (token, shown, scope, now, refusal) in [
            (&token, &shown, Scope::Approve, 100, Refusal::Expired),
            (&token, &shown, Scope::Operate, 99, Refusal::OutOfScope),
            (&token, &other, Scope::Approve, 99, Refusal::Wrong),
            // Whoever does not hold it learns nothing about it.
            (&revoked, &other, Scope::Approve, 99, Refusal::Wrong),
            (&revoked, &shown, Scope::Approve, 99, Refusal::Revoked),
        ] {
            assert_eq!(token.opens(shown, scope, now), Err(refusal));
        }
    }

    #[test]
    fn what_has_not_the_form_of_a_token_is_none() {
        let (_, text) = token();
        assert!(Presented::parse(&text).is_some());
        for wrong in [
            "",
            "lst_",
            &text[4..],
            &text[..text.len() - 1],
            &format!("{text}0"),
            &text.to_uppercase(),
            &text.replace("09", "0G"),
            &format!(" {text}"),
        ] {
            assert!(Presented::parse(wrong).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn neither_a_token_nor_its_hash_is_in_a_debug_text() {
        let (token, text) = token();
        let shown = Presented::parse(&text).unwrap();
        let said = format!("{token:?} {shown:?}");
        let hash = hex::encode(token.hash.bytes());
        assert!(
            !said.contains(&hash) && !said.contains(&text[20..]),
            "{said}"
        );
        assert!(
            !said.contains(&format!("{:?}", token.hash.bytes())),
            "{said}"
        );
    }
}
