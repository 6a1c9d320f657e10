//! What can go wrong with a gateway, by what a caller can do about it.

use std::time::Duration;

use reqwest::StatusCode;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the gateway refuses the secret (HTTP {status}): check the target's secret")]
    Unauthorized { status: u16 },
    /// The gateway will not take this body, whatever is done.
    #[error("the gateway refuses it (HTTP {status}): {message}")]
    Refused { status: u16, message: String },
    #[error(
        "the gateway takes its configuration from elsewhere and cannot be written to: {message}"
    )]
    ReadOnly { message: String },
    #[error(
        "the gateway does not know the address (HTTP 404): {message}; is it a gateway's control API?"
    )]
    NotFound { message: String },
    #[error("the gateway failed (HTTP {status}): {message}")]
    Server { status: u16, message: String },
    #[error("the gateway is not ready: {0}")]
    NotReady(String),
    #[error("the gateway cannot be reached: {detail}")]
    Unreachable { detail: String },
    /// It was reached, and the answer did not come, or not whole.
    #[error("the gateway did not answer: {detail}")]
    NoAnswer { detail: String, maybe_written: bool },
    #[error("the gateway's answer makes no sense: {0}")]
    BadAnswer(String),
    #[error("the gateway lists {0} twice; remove one of its files")]
    ListedTwice(String),
    #[error(
        "the gateway made another object, {made}, instead of {asked}: the document has no id that \
         the gateway understands; remove {made}"
    )]
    WrongKey { asked: String, made: String },
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
            | Self::NoAnswer { .. } => true,
            Self::Unauthorized { .. }
            | Self::Refused { .. }
            | Self::ReadOnly { .. }
            | Self::NotFound { .. }
            | Self::BadAnswer(_)
            | Self::ListedTwice(_)
            | Self::WrongKey { .. }
            | Self::Client(_) => false,
        }
    }

    /// Whether every further request will meet the same refusal.
    pub fn is_denial(&self) -> bool {
        matches!(
            self,
            Self::Unauthorized { .. } | Self::ReadOnly { .. } | Self::NotFound { .. }
        )
    }

    /// Whether the write may have reached the gateway's disk all the same.
    pub fn is_ambiguous(&self) -> bool {
        match self {
            Self::NoAnswer { maybe_written, .. } => *maybe_written,
            // A write of two files may have done one of them.
            Self::Server { .. } | Self::BadAnswer(_) => true,
            _ => false,
        }
    }

    pub(super) fn from_status(status: StatusCode, message: String) -> Self {
        let code = status.as_u16();
        match code {
            401 | 403 => Self::Unauthorized { status: code },
            404 => Self::NotFound { message },
            500 if message.starts_with("Due to enabled") => Self::ReadOnly { message },
            500.. => Self::Server {
                status: code,
                message,
            },
            // A redirect, or a success other than 200: not this API.
            200..=399 => Self::BadAnswer(format!("HTTP {code}")),
            _ => Self::Refused {
                status: code,
                message,
            },
        }
    }

    pub(super) fn from_transport(error: &reqwest::Error, writes: bool, timeout: Duration) -> Self {
        if error.is_connect() {
            return Self::Unreachable {
                detail: innermost(error),
            };
        }
        let detail = if error.is_timeout() {
            format!("nothing came within {} s", timeout.as_secs())
        } else {
            innermost(error)
        };
        Self::NoAnswer {
            detail,
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
