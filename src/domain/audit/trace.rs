//! The id of a trace, as W3C Trace Context has it: it names everything that one request set going.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// 16 bytes that are not all zero, in lower-case hex.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TraceId(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a trace id is 32 lower-case hex digits, not all of them 0")]
pub struct NotATrace;

impl TraceId {
    /// The bytes are drawn at the edge.
    pub fn new(mut bytes: [u8; 16]) -> Self {
        if bytes == [0; 16] {
            bytes[0] = 1;
        }
        Self(hex::encode(bytes))
    }

    /// Reads the header `traceparent`. Whatever is not exactly of its form names no trace.
    pub fn of_parent(header: &str) -> Option<Self> {
        let mut parts = header.splitn(5, '-');
        let (version, trace) = (parts.next()?, parts.next()?);
        let (parent, flags) = (parts.next()?, parts.next()?);
        // Later versions may have more members; the first one has these four.
        let is_ended = parts.next().is_none() || version != "00";
        let is_version = is_hex(version, 2) && version != "ff";
        let is_parent = is_hex(parent, 16) && !is_zero(parent);
        let is_whole = is_version && is_parent && is_hex(flags, 2) && is_ended;
        trace.parse().ok().filter(|_| is_whole)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TraceId {
    type Err = NotATrace;

    fn from_str(text: &str) -> Result<Self, NotATrace> {
        if is_hex(text, 32) && !is_zero(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotATrace)
        }
    }
}

impl TryFrom<String> for TraceId {
    type Error = NotATrace;

    fn try_from(text: String) -> Result<Self, NotATrace> {
        text.parse()
    }
}

impl From<TraceId> for String {
    fn from(trace: TraceId) -> Self {
        trace.0
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_hex(text: &str, length: usize) -> bool {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.len() == length && text.bytes().all(is_digit)
}

fn is_zero(text: &str) -> bool {
    text.bytes().all(|byte| byte == b'0')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn only_a_whole_header_names_a_trace() {
        let check = |header: &str, expect: Option<&str>| {
            let read = TraceId::of_parent(header);
            assert_eq!(read.as_ref().map(TraceId::as_str), expect, "{header}");
        };
        let parent = "00f067aa0ba902b7";
        check(&format!("00-{TRACE}-{parent}-01"), Some(TRACE));
        check(&format!("01-{TRACE}-{parent}-01-more"), Some(TRACE));
        for wrong in [
            String::new(),
            TRACE.to_owned(),
            format!("ff-{TRACE}-{parent}-01"),
            format!("00-{TRACE}-{parent}-01-more"),
            format!("00-{TRACE}-{parent}"),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{}-{parent}-01", "0".repeat(32)),
            format!("00-{}-{parent}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{parent}-1"),
            format!(" 00-{TRACE}-{parent}-01"),
        ] {
            check(&wrong, None);
        }
    }

    proptest! {
        #[test]
        fn every_id_that_is_made_is_read_again(bytes: [u8; 16]) {
            let made = TraceId::new(bytes);
            prop_assert_eq!(made.as_str().parse::<TraceId>(), Ok(made.clone()));
            let header = format!("00-{made}-00f067aa0ba902b7-00");
            prop_assert_eq!(TraceId::of_parent(&header), Some(made));
        }

        #[test]
        fn no_header_makes_it_panic(header: String) {
            let _ = TraceId::of_parent(&header);
        }
    }
}
