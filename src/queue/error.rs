//! What can go wrong with the queue, and whether waiting helps.

use std::fmt;

use serde::{Deserialize, de::DeserializeOwned};
use thiserror::Error;

/// The server's number for a message beyond the stream's or the server's limit.
const TOO_LARGE: u64 = 10054;
/// The number for every failure to store; the words say which one it was.
const NOT_STORED: u64 = 10077;

#[derive(Debug, Error)]
pub enum Error {
    #[error("the queue cannot be used: {0}")]
    Options(&'static str),
    #[error("no connection to NATS{}", because(trouble.as_deref()))]
    Disconnected { trouble: Option<String> },
    #[error("NATS did not answer in time")]
    TimedOut,
    #[error(
        "nobody listens at NATS: JetStream is not enabled there, or the stream or consumer is gone"
    )]
    NobodyListens,
    #[error("the stream of what was set aside is full: look at it and empty it")]
    AsideIsFull,
    #[error("the pull was interrupted: {0}")]
    Interrupted(String),
    #[error("the queue at NATS is not set up as it must be: {}", listed(.0))]
    Settings(Vec<Difference>),
    #[error("NATS refused: {description} (status {status}, code {code})")]
    Refused {
        status: u64,
        code: u64,
        description: String,
    },
    #[error("NATS answered with something that is not JetStream's")]
    Unreadable,
}

#[derive(Debug, Error)]
pub enum PublishError {
    /// Nothing is known to be stored. Published again later under the same id, it is stored once.
    #[error(transparent)]
    Unavailable(#[from] Error),
    #[error("the queue is full")]
    Full,
    #[error("a message of {size} bytes is larger than the queue takes ({limit} bytes)")]
    TooLarge { size: usize, limit: usize },
}

/// A setting that the server reports otherwise than it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The stream or the consumer.
    pub of: String,
    /// By the server's name for it.
    pub setting: &'static str,
    pub wanted: String,
    pub found: String,
}

impl Error {
    /// Whether the same call may succeed later without anybody changing a setting.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Disconnected { .. }
            | Self::TimedOut
            | Self::NobodyListens
            | Self::Interrupted(_) => true,
            Self::Refused { status, .. } => *status >= 500,
            Self::Options(_) | Self::AsideIsFull | Self::Settings(_) | Self::Unreadable => false,
        }
    }
}

impl PublishError {
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable(error) => error.is_transient(),
            Self::Full => true,
            Self::TooLarge { .. } => false,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            of,
            setting,
            wanted,
            found,
        } = self;
        write!(f, "{setting} of {of} is {found} and must be {wanted}")
    }
}

/// Reads an answer of `JetStream`: its error, or the value.
pub(super) fn answer<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    #[derive(Deserialize)]
    struct Answer {
        error: Option<Refusal>,
    }
    #[derive(Deserialize)]
    struct Refusal {
        code: u64,
        #[serde(default)]
        err_code: u64,
        #[serde(default)]
        description: String,
    }
    let answer: Answer = serde_json::from_slice(body).map_err(|_| Error::Unreadable)?;
    match answer.error {
        None => serde_json::from_slice(body).map_err(|_| Error::Unreadable),
        Some(Refusal {
            code,
            err_code,
            description,
        }) => Err(Error::Refused {
            status: code,
            code: err_code,
            description,
        }),
    }
}

pub(super) fn too_large() -> Error {
    Error::Refused {
        status: 400,
        code: TOO_LARGE,
        description: "the message is too large".to_owned(),
    }
}

pub(super) fn is_full(error: &Error) -> bool {
    matches!(error, Error::Refused { code: NOT_STORED, description, .. } if description.contains("maximum"))
}

pub(super) fn publish(error: Error, size: usize, limit: usize) -> PublishError {
    match error {
        full if is_full(&full) => PublishError::Full,
        Error::Refused {
            code: TOO_LARGE, ..
        } => PublishError::TooLarge { size, limit },
        other => PublishError::Unavailable(other),
    }
}

fn because(trouble: Option<&str>) -> String {
    trouble.map_or_else(String::new, |trouble| format!(" ({trouble})"))
}

fn listed(differences: &[Difference]) -> String {
    let lines: Vec<String> = differences.iter().map(ToString::to_string).collect();
    lines.join("; ")
}
