//! The secrets of one webhook together with the one scheme by which requests prove that they know them.
//! They never show in `Debug`, and a webhook without a secret cannot be built.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A new and an old one while a rotation is under way.
const MOST_SECRETS: usize = 2;
const SIGNING_TOKEN_PREFIX: &str = "whsec_";
const SIGNING_KEY_LENGTH: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Host {
    GitHub,
    GitLab,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scheme {
    /// HMAC-SHA256 of the raw body in `X-Hub-Signature-256`.
    #[serde(rename = "github-sha256")]
    GitHubSha256,
    /// The secret itself in `X-Gitlab-Token`.
    #[serde(rename = "gitlab-token")]
    GitLabToken,
    /// GitLab 19 and later: HMAC-SHA256 of id, time and raw body in `webhook-signature`.
    #[serde(rename = "gitlab-signature")]
    GitLabSignature,
}

/// One or two secrets, none empty. They are kept as the key bytes that the scheme works with.
#[derive(Clone, Debug)]
pub struct Secrets {
    scheme: Scheme,
    keys: Vec<SecretSlice<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretsError {
    #[error("a webhook needs one secret, or two during a rotation")]
    Count,
    #[error("secret {} is empty", .index + 1)]
    Empty { index: usize },
    #[error("secret {} has control characters or a line break in it", .index + 1)]
    ControlCharacter { index: usize },
    #[error("secret {} is no GitLab signing token: whsec_ and the base64 of 32 bytes", .index + 1)]
    NotASigningToken { index: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the hosts are \"github\" and \"gitlab\"")]
pub struct UnknownHost;

impl Secrets {
    pub fn new(scheme: Scheme, secrets: &[SecretString]) -> Result<Self, SecretsError> {
        if secrets.is_empty() || secrets.len() > MOST_SECRETS {
            return Err(SecretsError::Count);
        }
        let keys = secrets
            .iter()
            .enumerate()
            .map(|(index, secret)| key(scheme, secret.expose_secret(), index))
            .collect::<Result<_, _>>()?;
        Ok(Self { scheme, keys })
    }

    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Tries every key, also after one fitted: the time taken must not tell which.
    pub(super) fn find(&self, mut fits: impl FnMut(&[u8]) -> bool) -> Option<usize> {
        let mut found = None;
        for (index, key) in self.keys.iter().enumerate() {
            let this_fits = fits(key.expose_secret());
            if this_fits && found.is_none() {
                found = Some(index);
            }
        }
        found
    }
}

impl Scheme {
    pub fn host(self) -> Host {
        match self {
            Self::GitHubSha256 => Host::GitHub,
            Self::GitLabToken | Self::GitLabSignature => Host::GitLab,
        }
    }
}

impl FromStr for Host {
    type Err = UnknownHost;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "github" => Ok(Self::GitHub),
            "gitlab" => Ok(Self::GitLab),
            _ => Err(UnknownHost),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::GitHub => "github",
            Self::GitLab => "gitlab",
        })
    }
}

fn key(scheme: Scheme, secret: &str, index: usize) -> Result<SecretSlice<u8>, SecretsError> {
    if secret.trim().is_empty() {
        return Err(SecretsError::Empty { index });
    }
    if secret.chars().any(char::is_control) {
        return Err(SecretsError::ControlCharacter { index });
    }
    let bytes = match scheme {
        Scheme::GitHubSha256 => secret.as_bytes().to_vec(),
        // Only digests are compared: equal lengths, and nothing to learn from the time it takes.
        Scheme::GitLabToken => Sha256::digest(secret).to_vec(),
        Scheme::GitLabSignature => secret
            .strip_prefix(SIGNING_TOKEN_PREFIX)
            .and_then(|encoded| STANDARD.decode(encoded).ok())
            .filter(|bytes| bytes.len() == SIGNING_KEY_LENGTH)
            .ok_or(SecretsError::NotASigningToken { index })?,
    };
    Ok(bytes.into())
}
