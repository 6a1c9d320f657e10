//! The forms of answers: envelopes, texts and content types as recorded.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use futures_util::stream;
use serde_json::Value;

use super::types::{write_text, write_value};

/// Shorter answers carry their length, longer ones are sent in chunks.
const WITH_LENGTH: usize = 2048;

/// Pieces of a list are joined up to about this size.
const CHUNK: usize = 64 * 1024;

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    content_type: Option<&'static str>,
    headers: Vec<(&'static str, String)>,
    pieces: Vec<Bytes>,
}

impl Reply {
    /// JSON as an encoder writes it, with a line end.
    pub fn json(status: u16, text: impl Into<String>) -> Self {
        let mut text = text.into();
        text.push('\n');
        Self::bare_json(status, text)
    }

    /// JSON without a line end.
    pub fn bare_json(status: u16, text: impl Into<Bytes>) -> Self {
        Self {
            status,
            content_type: Some("application/json"),
            headers: Vec::new(),
            pieces: vec![text.into()],
        }
    }

    pub fn text(status: u16, text: &'static str) -> Self {
        Self {
            content_type: Some("text/plain; charset=utf-8"),
            ..Self::bare_json(status, text)
        }
    }

    pub fn value(status: u16, value: &Value) -> Self {
        let mut out = String::new();
        write_value(value, &mut out);
        Self::json(status, out)
    }

    pub fn message(status: u16, word: &str, message: &str) -> Self {
        Self::json(status, envelope(word, message))
    }

    pub fn error(status: u16, message: &str) -> Self {
        Self::message(status, "error", message)
    }

    pub fn bare_error(status: u16, message: &str) -> Self {
        Self::bare_json(status, envelope("error", message))
    }

    pub fn done(key: &str, action: &str) -> Self {
        let mut out = String::from("{\"key\":");
        write_text(key, &mut out);
        out.push_str(",\"status\":\"ok\",\"action\":\"");
        out.push_str(action);
        out.push_str("\"}");
        Self::json(200, out)
    }

    pub fn redirect(location: &str) -> Self {
        Self {
            status: 301,
            content_type: None,
            headers: vec![("location", location.to_owned())],
            pieces: Vec::new(),
        }
    }

    /// A JSON list of texts that are JSON already.
    pub fn list(items: impl IntoIterator<Item = Bytes>, line_end: bool) -> Self {
        let mut pieces = Vec::new();
        let mut piece = Vec::with_capacity(CHUNK);
        piece.push(b'[');
        let mut first = true;
        for item in items {
            if !first {
                piece.push(b',');
            }
            first = false;
            piece.extend_from_slice(&item);
            if piece.len() >= CHUNK {
                pieces.push(Bytes::from(std::mem::replace(
                    &mut piece,
                    Vec::with_capacity(CHUNK),
                )));
            }
        }
        piece.push(b']');
        if line_end {
            piece.push(b'\n');
        }
        pieces.push(Bytes::from(piece));
        Self {
            pieces,
            ..Self::bare_json(200, Bytes::new())
        }
    }

    pub fn with_header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub fn into_attachment(mut self, name: &str) -> Self {
        self.content_type = Some("application/octet-stream");
        self.with_header(
            "content-disposition",
            &format!("attachment;filename=\"{name}\""),
        )
    }

    pub fn into_response(self) -> Response<Body> {
        let length: usize = self.pieces.iter().map(Bytes::len).sum();
        let body = if length <= WITH_LENGTH {
            Body::from(self.pieces.concat())
        } else {
            Body::from_stream(stream::iter(
                self.pieces.into_iter().map(Ok::<_, std::io::Error>),
            ))
        };
        let mut response = Response::new(body);
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        if let Some(content_type) = self.content_type {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        response
    }
}

fn envelope(word: &str, message: &str) -> String {
    let mut out = String::from("{\"status\":\"");
    out.push_str(word);
    out.push_str("\",\"message\":");
    write_text(message, &mut out);
    out.push('}');
    out
}
