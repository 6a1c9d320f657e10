//! The checks themselves, over raw bytes and in constant time. Nothing here looks into a body.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Rejection, Secrets};

/// How far a signed time may be from ours, in seconds, to either side.
pub const TOLERANCE_SECONDS: u64 = 300;
const LONGEST_ID: usize = 256;
const LONGEST_SIGNATURE_LIST: usize = 2048;

/// What a request brought along to prove itself: read from the headers, not yet checked. A token is the
/// secret itself, hence no `Debug`.
pub(super) enum Proof<'a> {
    BodyDigest([u8; 32]),
    Token(&'a [u8]),
    Standard(StandardSignature<'a>),
}

/// The three headers of a Standard Webhooks signature, each of a plausible shape.
#[derive(Debug)]
pub struct StandardSignature<'a> {
    id: &'a str,
    timestamp_text: &'a str,
    timestamp: i64,
    digests: Vec<[u8; 32]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandardVerdict {
    Good,
    Bad,
    /// The digest is right, but the signed time is more than [`TOLERANCE_SECONDS`] away.
    Stale,
}

impl<'a> Proof<'a> {
    /// Returns which secret fitted.
    pub(super) fn check(
        &self,
        secrets: &Secrets,
        raw_body: &[u8],
        now_unix_seconds: i64,
    ) -> Result<usize, Rejection> {
        let mut is_stale = false;
        let found = match self {
            Self::BodyDigest(digest) => secrets.find(|key| body_hmac_is(key, raw_body, digest)),
            Self::Token(token) => {
                let digest = Sha256::digest(token);
                secrets.find(|key| bool::from(digest.ct_eq(key)))
            }
            Self::Standard(signature) => {
                secrets.find(
                    |key| match signature.check(key, raw_body, now_unix_seconds) {
                        StandardVerdict::Good => true,
                        StandardVerdict::Bad => false,
                        StandardVerdict::Stale => {
                            is_stale = true;
                            false
                        }
                    },
                )
            }
        };
        let refusal = if is_stale {
            Rejection::StaleSignature
        } else {
            Rejection::BadSignature
        };
        found.ok_or(refusal)
    }

    /// The delivery id that the signature covers, where it covers one.
    pub(super) fn signed_id(&self) -> Option<&'a str> {
        match self {
            Self::Standard(signature) => Some(signature.id),
            Self::BodyDigest(_) | Self::Token(_) => None,
        }
    }
}

impl<'a> StandardSignature<'a> {
    /// `signatures` is a list parted by spaces; entries of other versions than `v1` are passed over.
    pub fn parse(id: &'a str, timestamp: &'a str, signatures: &str) -> Option<Self> {
        // A `.` in the id would let an attacker move the border between id and time.
        let id_is_valid = is_visible_id(id) && !id.contains('.');
        let timestamp_is_digits = timestamp.bytes().all(|byte| byte.is_ascii_digit());
        if !id_is_valid || !timestamp_is_digits || signatures.len() > LONGEST_SIGNATURE_LIST {
            return None;
        }
        let digests: Vec<[u8; 32]> = signatures
            .split(' ')
            .filter_map(|entry| entry.strip_prefix("v1,"))
            .filter_map(|encoded| STANDARD.decode(encoded).ok()?.try_into().ok())
            .collect();
        let has_digests = !digests.is_empty();
        has_digests.then_some(Self {
            id,
            timestamp_text: timestamp,
            timestamp: timestamp.parse().ok()?,
            digests,
        })
    }

    pub fn check(&self, key: &[u8], raw_body: &[u8], now_unix_seconds: i64) -> StandardVerdict {
        let Some(mut mac) = keyed(key) else {
            return StandardVerdict::Bad;
        };
        mac.update(self.id.as_bytes());
        mac.update(b".");
        mac.update(self.timestamp_text.as_bytes());
        mac.update(b".");
        mac.update(raw_body);
        // Every entry is compared, for the same reason as every key is tried.
        let fitting = self
            .digests
            .iter()
            .filter(|digest| mac.clone().verify_slice(digest.as_slice()).is_ok())
            .count();
        let is_in_time = now_unix_seconds.abs_diff(self.timestamp) <= TOLERANCE_SECONDS;
        match (fitting, is_in_time) {
            (0, _) => StandardVerdict::Bad,
            (_, true) => StandardVerdict::Good,
            (_, false) => StandardVerdict::Stale,
        }
    }
}

/// `sha256=` and 64 hex digits, nothing before, between or after.
pub(super) fn prefixed_sha256(header: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    hex::decode_to_slice(header.strip_prefix("sha256=")?, &mut digest).ok()?;
    Some(digest)
}

/// What an id in a header may be made of, wherever it comes from.
pub(super) fn is_visible_id(id: &str) -> bool {
    (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

fn body_hmac_is(key: &[u8], raw_body: &[u8], digest: &[u8; 32]) -> bool {
    keyed(key).is_some_and(|mut mac| {
        mac.update(raw_body);
        mac.verify_slice(digest).is_ok()
    })
}

/// HMAC takes keys of any length; an error would only mean that nothing can be verified.
fn keyed(key: &[u8]) -> Option<Hmac<Sha256>> {
    Hmac::new_from_slice(key).ok()
}
