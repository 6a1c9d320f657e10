//! A Git host's request — headers, raw body — becomes an event or a typed rejection.
//!
//! The order is fixed: content type, shape of the signature, the signature over the raw bytes, and only then
//! the first look into the body. Which check a request must pass is decided by [`Secrets`], that is by
//! configuration; the request never chooses.
//!
//! This module is pure and synchronous. It never reads a clock (the time is passed in), a file, the
//! environment or the network, and it never uses anything of a payload as an address: an event names its
//! repository, and the caller finds the repository of that name in its own configuration.

mod event;
mod git_ref;
mod github;
mod gitlab;
mod headers;
mod rejection;
mod repository_name;
mod secrets;
pub mod signature;
mod text;

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use self::{
    event::{COMMITS_KEPT, Commit, DeliveryId, Event, Person, PushEvent, RepositoryId},
    git_ref::{GitRef, InvalidRef, RefName},
    headers::{HeaderProblem, Headers},
    rejection::{Malformation, Rejection},
    repository_name::{InvalidRepositoryName, RepositoryName},
    secrets::{Host, Scheme, Secrets, SecretsError, UnknownHost},
    text::displayable,
};
use self::{headers::MediaType, signature::Proof};

/// A request whose signature was right and whose body could be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    pub delivery: DeliveryId,
    pub event: Event,
    /// Which of the configured secrets matched: tells when a rotation is through.
    pub secret_index: usize,
    /// Lower-case hex.
    pub body_sha256: String,
}

pub fn receive(
    secrets: &Secrets,
    headers: &Headers<'_>,
    raw_body: &[u8],
    now_unix_seconds: i64,
) -> Result<Received, Rejection> {
    let verified = Claim::read(secrets, headers)?.verify(raw_body, now_unix_seconds)?;
    let body_sha256 = hex::encode(Sha256::digest(raw_body));
    let (delivery, event) = match secrets.scheme().host() {
        Host::GitHub => (
            github::delivery(headers)?,
            github::event(headers, &verified)?,
        ),
        Host::GitLab => (
            gitlab::delivery(headers, &verified, &body_sha256)?,
            gitlab::event(&verified)?,
        ),
    };
    Ok(Received {
        delivery,
        event,
        secret_index: verified.secret_index,
        body_sha256,
    })
}

/// What the headers alone say. Reading it is cheap, so that a request without a plausible signature is
/// refused before its body takes memory.
pub struct Claim<'a> {
    secrets: &'a Secrets,
    media_type: MediaType,
    proof: Proof<'a>,
}

impl<'a> Claim<'a> {
    pub fn read(secrets: &'a Secrets, headers: &Headers<'a>) -> Result<Self, Rejection> {
        let scheme = secrets.scheme();
        let media_type = headers.media_type()?;
        if media_type == MediaType::Form && scheme.host() != Host::GitHub {
            return Err(Rejection::UnsupportedContentType);
        }
        let proof = match scheme {
            Scheme::GitHubSha256 => github::proof(headers)?,
            Scheme::GitLabToken => gitlab::token_proof(headers)?,
            Scheme::GitLabSignature => gitlab::signature_proof(headers)?,
        };
        Ok(Self {
            secrets,
            media_type,
            proof,
        })
    }

    pub fn verify(
        self,
        raw_body: &'a [u8],
        now_unix_seconds: i64,
    ) -> Result<Verified<'a>, Rejection> {
        let secret_index = self.proof.check(self.secrets, raw_body, now_unix_seconds)?;
        Ok(Verified {
            raw_body,
            media_type: self.media_type,
            secret_index,
            signed_id: self.proof.signed_id(),
        })
    }
}

/// The headers may hold the secret itself, so they are not shown.
impl fmt::Debug for Claim<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Claim")
            .field("scheme", &self.secrets.scheme())
            .field("media_type", &self.media_type)
            .finish_non_exhaustive()
    }
}

/// The proof that a body was checked: nothing else can be parsed.
pub struct Verified<'a> {
    raw_body: &'a [u8],
    media_type: MediaType,
    secret_index: usize,
    signed_id: Option<&'a str>,
}

impl Verified<'_> {
    pub fn secret_index(&self) -> usize {
        self.secret_index
    }

    fn json(&self) -> Result<Cow<'_, [u8]>, Rejection> {
        #[derive(Deserialize)]
        struct Form {
            payload: String,
        }

        match self.media_type {
            MediaType::Json => Ok(Cow::Borrowed(self.raw_body)),
            MediaType::Form => serde_urlencoded::from_bytes::<Form>(self.raw_body)
                .map(|form| Cow::Owned(form.payload.into_bytes()))
                .map_err(|_| Rejection::Malformed(Malformation::Form)),
        }
    }
}

/// Objects only: serde would also read a struct from an array, field by field.
fn parse_object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, Rejection> {
    let malformed = |line, column| Rejection::Malformed(Malformation::Json { line, column });
    let starts_an_object = json.trim_ascii_start().first() == Some(&b'{');
    if !starts_an_object {
        return Err(malformed(1, 1));
    }
    serde_json::from_slice(json).map_err(|error| malformed(error.line(), error.column()))
}
