//! A commit's full id, parsed once. It never stands for a branch, a tag or an abbreviation.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// 40 (SHA-1) or 64 (SHA-256) lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Revision(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a revision is a full commit id, 40 or 64 hexadecimal digits in lower case, not {length} characters like {start:?}"
)]
pub struct RevisionError {
    length: usize,
    start: String,
}

impl Revision {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first eight digits, for people; never to look something up.
    pub fn short(&self) -> &str {
        &self.0[..8]
    }
}

impl FromStr for Revision {
    type Err = RevisionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if matches!(text.len(), 40 | 64) && text.bytes().all(is_digit) {
            Ok(Self(text.to_owned()))
        } else {
            Err(RevisionError {
                length: text.chars().count(),
                start: text.chars().take(12).collect(),
            })
        }
    }
}

impl TryFrom<String> for Revision {
    type Error = RevisionError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Revision> for String {
    fn from(revision: Revision) -> Self {
        revision.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_id_of_either_hash_is_read_and_shown_whole() {
        for id in ["0123456789abcdef0123456789abcdef01234567", &"a1".repeat(32)] {
            let revision: Revision = id.parse().unwrap();
            assert_eq!(revision.to_string(), id);
            assert_eq!(revision.short(), &id[..8]);
            let json = serde_json::to_string(&revision).unwrap();
            assert_eq!(json, format!("\"{id}\""));
            assert_eq!(serde_json::from_str::<Revision>(&json).unwrap(), revision);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let upper = "A".repeat(40);
        let long = "a".repeat(65);
        let wide = "é".repeat(20);
        for text in ["", "main", "0123456", &upper, &long, &wide, "-x"] {
            assert!(text.parse::<Revision>().is_err(), "{text:?}");
            assert!(serde_json::from_value::<Revision>(text.into()).is_err());
        }
    }

    #[test]
    fn the_refusal_shows_only_the_start_of_a_long_text() {
        let error = "x".repeat(100_000).parse::<Revision>().unwrap_err();
        assert!(error.to_string().len() < 200);
    }
}
