//! What can go wrong with a gateway, by what a caller can do about it. Texts hold the gateway's
//! own words where it refuses something, and nothing of what was sent or listed.

use std::{borrow::Cow, time::Duration};

use reqwest::StatusCode;

use crate::domain::object::ObjectKey;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the target's secret is wrong: the gateway says (HTTP {status}): {message}")]
    Unauthorized { status: u16, message: String },
    /// Not about the secret: a client certificate, or something that stands before the gateway.
    #[error("the request is forbidden (HTTP 403): {message}")]
    Forbidden { message: String },
    /// The gateway will not take this body, whatever is done.
    #[error("the gateway refuses it (HTTP {status}): {message}")]
    Refused { status: u16, message: String },
    #[error("this gateway takes its APIs from a Dashboard and cannot be written to: {message}")]
    ReadOnly { message: String },
    #[error(
        "the gateway does not know the address (HTTP {status}): {message}; is it the control API \
         of a gateway that keeps its own configuration?"
    )]
    NotFound { status: u16, message: String },
    #[error("the gateway failed (HTTP {status}): {message}")]
    Server {
        status: u16,
        message: String,
        maybe_written: bool,
    },
    #[error("the gateway is not ready: {0}")]
    NotReady(String),
    /// There was no connection: nothing was sent.
    #[error("the gateway cannot be reached: {detail}")]
    Unreachable { detail: String },
    #[error("the gateway did not answer within {} s", after.as_secs_f64())]
    Timeout {
        after: Duration,
        maybe_written: bool,
    },
    /// It was reached, and the answer did not come, or not whole.
    #[error("the connection to the gateway broke: {detail}")]
    NoAnswer { detail: String, maybe_written: bool },
    #[error("the answer is not a gateway's: {detail}")]
    BadAnswer { detail: String, maybe_written: bool },
    #[error(
        "the gateway lists {} more than once; remove all of its files but one",
        names(keys)
    )]
    ListedTwice { keys: Vec<ObjectKey> },
    /// The object that was asked for is untouched, and another one is on the gateway's disk.
    #[error(
        "the gateway made another object, {made}, instead of {asked}: the document has no id that \
         the gateway understands; remove {made}"
    )]
    WrongKey { asked: String, made: String },
    #[error("no gateway can be asked for the id {id:?}")]
    BadId { id: String },
    #[error("{0}")]
    Client(String),
}

impl Error {
    /// Whether the same request may succeed later without anybody changing Git.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Server { .. }
            | Self::NotReady(_)
            | Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::NoAnswer { .. } => true,
            Self::Unauthorized { .. }
            | Self::Forbidden { .. }
            | Self::Refused { .. }
            | Self::ReadOnly { .. }
            | Self::NotFound { .. }
            | Self::BadAnswer { .. }
            | Self::ListedTwice { .. }
            | Self::WrongKey { .. }
            | Self::BadId { .. }
            | Self::Client(_) => false,
        }
    }

    /// Whether every further request will meet the same refusal.
    pub fn is_denial(&self) -> bool {
        matches!(
            self,
            Self::Unauthorized { .. }
                | Self::Forbidden { .. }
                | Self::ReadOnly { .. }
                | Self::NotFound { .. }
        )
    }

    /// Whether the object may have reached the gateway's disk, or left it, all the same.
    pub fn is_ambiguous(&self) -> bool {
        match self {
            Self::Server { maybe_written, .. }
            | Self::Timeout { maybe_written, .. }
            | Self::NoAnswer { maybe_written, .. }
            | Self::BadAnswer { maybe_written, .. } => *maybe_written,
            Self::Unauthorized { .. }
            | Self::Forbidden { .. }
            | Self::Refused { .. }
            | Self::ReadOnly { .. }
            | Self::NotFound { .. }
            | Self::NotReady(_)
            | Self::Unreachable { .. }
            | Self::ListedTwice { .. }
            | Self::WrongKey { .. }
            | Self::BadId { .. }
            | Self::Client(_) => false,
        }
    }

    /// The same with other words in the place of the gateway's own.
    #[must_use]
    pub fn with_words(mut self, other: impl Fn(&str) -> String) -> Self {
        match &mut self {
            Self::Unauthorized { message, .. }
            | Self::Forbidden { message }
            | Self::Refused { message, .. }
            | Self::ReadOnly { message }
            | Self::NotFound { message, .. }
            | Self::Server { message, .. }
            | Self::NotReady(message)
            | Self::BadAnswer {
                detail: message, ..
            } => *message = other(message),
            // The gateway names an object of another id.
            Self::WrongKey { made, .. } => *made = other(made),
            Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::NoAnswer { .. }
            | Self::ListedTwice { .. }
            | Self::BadId { .. }
            | Self::Client(_) => {}
        }
        self
    }

    pub(super) fn bad_answer(detail: impl Into<String>, maybe_written: bool) -> Self {
        Self::BadAnswer {
            detail: detail.into(),
            maybe_written,
        }
    }

    pub(super) fn from_status(status: StatusCode, message: String, writes: bool) -> Self {
        let code = status.as_u16();
        let is_about_the_secret = message.starts_with("Attempted administrative access");
        match code {
            401 => Self::Unauthorized {
                status: code,
                message,
            },
            403 if is_about_the_secret => Self::Unauthorized {
                status: code,
                message,
            },
            403 => Self::Forbidden { message },
            404 | 405 => Self::NotFound {
                status: code,
                message,
            },
            500 if message.starts_with("Due to enabled") => Self::ReadOnly { message },
            // A gateway's 500 may come after the first of two files; the other three are said by
            // what stands before a gateway.
            500.. | 408 | 425 | 429 => Self::Server {
                status: code,
                message,
                maybe_written: writes,
            },
            300..=399 => Self::bad_answer(format!("HTTP {code}, a redirect"), false),
            ..=299 => Self::bad_answer(format!("HTTP {code}"), writes),
            _ => Self::Refused {
                status: code,
                message,
            },
        }
    }

    pub(super) fn from_transport(error: &reqwest::Error, writes: bool, timeout: Duration) -> Self {
        if error.is_builder() {
            return Self::Client(innermost(error));
        }
        if error.is_connect() {
            return Self::Unreachable {
                detail: innermost(error),
            };
        }
        if error.is_timeout() {
            return Self::Timeout {
                after: timeout,
                maybe_written: writes,
            };
        }
        Self::NoAnswer {
            detail: innermost(error),
            maybe_written: writes,
        }
    }
}

/// The last cause says most, and holds no address.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// The first ten, and how many more there are.
fn names(keys: &[ObjectKey]) -> String {
    const SHOWN: usize = 10;
    let shown: Vec<Cow<'_, str>> = keys
        .iter()
        .take(SHOWN)
        .map(|key| key.to_string().into())
        .chain((keys.len() > SHOWN).then(|| format!("{} more", keys.len() - SHOWN).into()))
        .collect();
    shown.join(", ")
}
