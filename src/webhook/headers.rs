//! A thin view of a request's headers. It never picks one of several headers of the same name: two are an error.

use std::fmt;

use super::Rejection;

/// Borrowed names and values, in the order in which they came.
///
/// From an `http::HeaderMap`: `Headers::new(map.iter().map(|(name, value)| (name.as_str(), value.as_bytes())))`.
#[derive(Clone, Default)]
pub struct Headers<'a>(Vec<(&'a str, &'a [u8])>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderProblem {
    #[error("the header is there more than once")]
    Duplicate,
    #[error("the header's value is not visible ASCII")]
    NotText,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MediaType {
    Json,
    Form,
}

/// Names only: a value may be the secret itself.
impl fmt::Debug for Headers<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

impl<'a> Headers<'a> {
    pub fn new(headers: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        Self(headers.into_iter().collect())
    }

    /// Names are compared without case; values are trimmed.
    pub fn get(&self, name: &str) -> Result<Option<&'a str>, HeaderProblem> {
        let Some(bytes) = self.get_bytes(name)? else {
            return Ok(None);
        };
        let is_plain = bytes.iter().all(|byte| matches!(byte, b' '..=b'~'));
        match std::str::from_utf8(bytes) {
            Ok(text) if is_plain => Ok(Some(text.trim())),
            _ => Err(HeaderProblem::NotText),
        }
    }

    pub fn get_bytes(&self, name: &str) -> Result<Option<&'a [u8]>, HeaderProblem> {
        let mut found = None;
        for (candidate, value) in &self.0 {
            if candidate.eq_ignore_ascii_case(name) && found.replace(*value).is_some() {
                return Err(HeaderProblem::Duplicate);
            }
        }
        Ok(found)
    }

    /// No host compresses its payloads; taking a compressed one would only invite bombs.
    pub(super) fn media_type(&self) -> Result<MediaType, Rejection> {
        const UNSUPPORTED: Rejection = Rejection::UnsupportedContentType;
        let encoding = self.get("content-encoding").map_err(|_| UNSUPPORTED)?;
        if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
            return Err(UNSUPPORTED);
        }
        let content_type = self.get("content-type").map_err(|_| UNSUPPORTED)?;
        let mut parts = content_type.ok_or(UNSUPPORTED)?.split(';').map(str::trim);
        let essence = parts.next().unwrap_or_default();
        let parameters_are_known =
            parts.all(|part| part.replace('"', "").eq_ignore_ascii_case("charset=utf-8"));
        match essence.to_ascii_lowercase().as_str() {
            "application/json" if parameters_are_known => Ok(MediaType::Json),
            "application/x-www-form-urlencoded" if parameters_are_known => Ok(MediaType::Form),
            _ => Err(UNSUPPORTED),
        }
    }
}
