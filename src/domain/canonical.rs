//! Canonical JSON and its hash: members sorted by name, integers exact, no white space.
//!
//! RFC 8785 is not used on purpose: it turns integers above 2^53 into floating point numbers, so
//! that two different quotas could hash the same.

use std::{fmt, fmt::Write as _, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// A SHA-256 digest, printed as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(pub [u8; 32]);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 64 lower-case hex digits")]
pub struct DigestError;

impl Digest {
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest of a value's canonical text.
    pub fn of_json(value: &Value) -> Self {
        Self::of(canonical(value).as_bytes())
    }

    /// The first twelve digits, for people.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..6])
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 64];
        f.write_str(faster_hex::hex_encode(&self.0, &mut digits).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        // One digest is one text, so that no letter of it can be changed unnoticed.
        if text.len() != 2 * bytes.len() || text.bytes().any(|letter| letter.is_ascii_uppercase()) {
            return Err(DigestError);
        }
        faster_hex::hex_decode(text.as_bytes(), &mut bytes).map_err(|_| DigestError)?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// The canonical text of a value. Depth is bounded by the parsers that made the value.
pub fn canonical(value: &Value) -> String {
    let mut out = String::new();
    write_value(value, &mut out);
    out
}

fn write_value(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => write_number(number, out),
        Value::String(text) => write_text(text, out),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_value(item, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            // Sorted here, whatever order the map keeps: another crate may switch serde_json to
            // insertion order for the whole build.
            if members.keys().is_sorted() {
                write_members(members.iter(), out);
            } else {
                let mut sorted: Vec<_> = members.iter().collect();
                sorted.sort_unstable_by_key(|(name, _)| name.as_str());
                write_members(sorted.into_iter(), out);
            }
        }
    }
}

fn write_members<'v>(members: impl Iterator<Item = (&'v String, &'v Value)>, out: &mut String) {
    out.push('{');
    for (index, (name, member)) in members.enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_text(name, out);
        out.push(':');
        write_value(member, out);
    }
    out.push('}');
}

/// `1.0` and `1` are one number to every JSON reader that matters here, so they are one text.
fn write_number(number: &serde_json::Number, out: &mut String) {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the value is whole and below 2^53, so the cast is exact"
    )]
    if let Some(float) = number.as_f64()
        && number.is_f64()
        && float.fract() == 0.0
        && float.abs() < 9_007_199_254_740_992.0
    {
        let _ = write!(out, "{}", float as i64);
        return;
    }
    let _ = write!(out, "{number}");
}

fn write_text(text: &str, out: &mut String) {
    // Nearly every text is its own JSON.
    if text
        .bytes()
        .any(|byte| byte < b' ' || byte == b'"' || byte == b'\\')
    {
        let quoted = serde_json::to_string(text).expect("a string is always JSON");
        out.push_str(&quoted);
    } else {
        out.push('"');
        out.push_str(text);
        out.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn members_are_sorted_and_integers_stay_exact() {
        let value = json!({"b": 9_007_199_254_740_993_u64, "a": [1.0, "x\n", null, true]});
        assert_eq!(
            canonical(&value),
            r#"{"a":[1,"x\n",null,true],"b":9007199254740993}"#
        );
    }

    #[test]
    fn neighbouring_integers_above_two_to_the_53rd_hash_differently() {
        let left = Digest::of_json(&json!(9_007_199_254_740_993_u64));
        let right = Digest::of_json(&json!(9_007_199_254_740_992_u64));
        assert_ne!(left, right);
    }

    #[test]
    fn a_digest_has_one_text_and_no_other() {
        let digest = Digest::of(b"a");
        let text = digest.to_string();
        assert_eq!(text, hex::encode(digest.0));
        assert_eq!(text.parse(), Ok(digest));
        for other in [
            "",
            &text[..62],
            &format!("{text}00"),
            &format!("0x{text}"),
            &format!("{} ", &text[..63]),
            &format!("é{}", &text[2..]),
            &text.to_uppercase(),
        ] {
            assert_eq!(other.parse::<Digest>(), Err(DigestError), "{other}");
        }
    }
}
