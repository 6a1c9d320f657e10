//! Which part of a list is asked for, and what one is answered with.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// How many items a page has at most.
pub const LARGEST_PAGE: i64 = 1_000;

/// A place in a list, for whoever pages through it. Its text is opaque.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    pub(super) number: i64,
    pub(super) text: String,
    pub(super) position: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("that is not a cursor: give one as a page of the same list has it")]
pub struct CursorError;

impl Cursor {
    pub(super) fn new(number: i64, text: impl Into<String>, position: i64) -> Self {
        Self {
            number,
            text: text.into(),
            position,
        }
    }

    /// Where an event stands.
    pub fn of_event(sequence: i64) -> Self {
        Self::new(sequence, "", 0)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = (1, self.number, &self.text, self.position);
        let text = serde_json::to_string(&place).expect("texts and numbers are always JSON");
        f.write_str(&URL_SAFE_NO_PAD.encode(text))
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        const LONGEST: usize = 4_096;
        if text.len() > LONGEST {
            return Err(CursorError);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| CursorError)?;
        let place: (i64, i64, String, i64) =
            serde_json::from_slice(&bytes).map_err(|_| CursorError)?;
        match place {
            // Postgres has no NUL in a text.
            (1, number, text, position) if !text.contains('\0') => {
                Ok(Self::new(number, text, position))
            }
            _ => Err(CursorError),
        }
    }
}

/// Which part of a list is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Paging {
    pub from: From,
    /// At most [`LARGEST_PAGE`]; 0 is 50.
    pub limit: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum From {
    /// The newest.
    #[default]
    Newest,
    /// Those that are older than this place, or after it in a list by name.
    Before(Cursor),
    /// Those that are newer, the nearest of them.
    After(Cursor),
}

impl Paging {
    pub fn of(limit: i64) -> Self {
        Self {
            from: From::Newest,
            limit,
        }
    }

    pub(super) fn rows(&self) -> i64 {
        match self.limit {
            ..=0 => 50,
            limit => limit.min(LARGEST_PAGE),
        }
    }

    pub(super) fn is_forward(&self) -> bool {
        matches!(self.from, From::After(_))
    }
}

/// A part of a list, newest first.
#[derive(Debug, Clone)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// From where to go on to what is older; `None` at the end. There may be nothing more.
    pub before: Option<Cursor>,
    /// From where to go on to what is newer, now or later.
    pub after: Option<Cursor>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_comes_back_as_it_was(number: i64, text in "[^\\x00]{0,60}", position: i64) {
            let cursor = Cursor::new(number, text, position);
            prop_assert_eq!(cursor.to_string().parse::<Cursor>(), Ok(cursor));
        }

        #[test]
        fn whatever_is_given_for_a_cursor_is_read_or_refused(text in ".{0,80}") {
            let _ = text.parse::<Cursor>();
        }
    }
}
