//! Errors as a caller sees them: a status, a code and a plain sentence. What went wrong inside is
//! logged once, here, and never shown.

use std::{any::Any, borrow::Cow};

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

/// An answer that is not a success.
#[derive(Debug, Clone)]
pub struct Error {
    pub status: StatusCode,
    /// One of a small closed set.
    pub code: &'static str,
    pub message: Cow<'static, str>,
    /// Seconds after which trying again makes sense.
    pub retry_after: Option<u32>,
    /// How the caller can say who they are.
    pub challenge: Option<&'static str>,
}

impl Error {
    pub const fn new(status: StatusCode, code: &'static str, message: &'static str) -> Self {
        Self {
            status,
            code,
            message: Cow::Borrowed(message),
            retry_after: None,
            challenge: None,
        }
    }

    /// With a sentence that names what it is about.
    pub fn told(status: StatusCode, code: &'static str, message: String) -> Self {
        Self {
            message: Cow::Owned(message),
            ..Self::new(status, code, "")
        }
    }

    pub fn unauthenticated(message: String) -> Self {
        Self {
            challenge: Some("Bearer"),
            ..Self::told(StatusCode::UNAUTHORIZED, "unauthenticated", message)
        }
    }

    pub const fn busy(message: &'static str) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            code: "unavailable",
            message: Cow::Borrowed(message),
            retry_after: Some(10),
            challenge: None,
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let body = json!({"error": {"code": self.code, "message": self.message}});
        let mut response = (self.status, Json(body)).into_response();
        if let Some(seconds) = self.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(challenge) = self.challenge {
            response.headers_mut().insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static(challenge),
            );
        }
        response
    }
}

pub async fn not_found() -> Error {
    Error::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here")
}

pub async fn method_not_allowed() -> Error {
    Error::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this address does not take that method",
    )
}

/// A handler that panics answers one request with an error, and the process lives on.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the layer that catches panics hands them over"
)]
pub fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    tracing::error!(message, "a handler panicked");
    Error::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "something went wrong here; it is in the log",
    )
    .into_response()
}
