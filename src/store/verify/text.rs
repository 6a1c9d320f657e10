//! Rows as one text, because in SQLite every row and column that is handed over has its price.
//!
//! A number ends with a comma. Of each other column stands its length in bytes, a colon and the
//! column itself. What has nothing in it has no digits. What is of another type than it should be is
//! an `x`, which nobody can read: no question would find it, and it could stand for whole rows.

use std::str;

use sqlx::{Row as _, sqlite::SqliteRow};

macro_rules! number {
    ($column:literal) => {
        concat!(
            "case typeof(",
            $column,
            ") when 'integer' then ",
            $column,
            " when 'null' then '' else 'x' end, ','"
        )
    };
}

macro_rules! text {
    ($column:literal) => {
        concat!(
            "case typeof(",
            $column,
            ") when 'text' then octet_length(",
            $column,
            ") when 'null' then '' else 'x' end, ':', ",
            $column
        )
    };
}

/// In hex digits.
macro_rules! bytes {
    ($column:literal) => {
        concat!(
            "case typeof(",
            $column,
            ") when 'blob' then 2 * octet_length(",
            $column,
            ") when 'null' then '' else 'x' end, ':', hex(",
            $column,
            ")"
        )
    };
}

pub(super) use {bytes, number, text};

/// What is not read yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Left<'text>(&'text str);

/// What stands there and is no column.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

impl<'text> Left<'text> {
    pub fn of(row: &'text SqliteRow) -> sqlx::Result<Self> {
        // As bytes, because what was put into a database may be no text; nothing of no rows.
        let bytes: Option<&[u8]> = row.try_get_unchecked(0)?;
        let bytes = bytes.unwrap_or_default();
        let readable = match str::from_utf8(bytes) {
            Ok(text) => text,
            // The column that ends behind it is too short then.
            Err(error) => str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
        };
        Ok(Self(readable))
    }

    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub fn number(&mut self) -> Result<Option<i64>, Unreadable> {
        self.digits(b',')
    }

    pub fn text(&mut self) -> Result<Option<&'text str>, Unreadable> {
        let Some(length) = self.digits(b':')? else {
            return Ok(None);
        };
        let length = usize::try_from(length).map_err(|_| Unreadable)?;
        let (text, rest) = self.0.split_at_checked(length).ok_or(Unreadable)?;
        self.0 = rest;
        Ok(Some(text))
    }

    /// A number up to the letter that ends it, or nothing.
    fn digits(&mut self, end: u8) -> Result<Option<i64>, Unreadable> {
        let length = self.0.bytes().position(|letter| letter == end);
        let (digits, rest) = self.0.split_at(length.ok_or(Unreadable)?);
        self.0 = &rest[1..];
        if digits.is_empty() {
            return Ok(None);
        }
        digits.parse().map(Some).map_err(|_| Unreadable)
    }
}

#[cfg(test)]
impl<'text> Left<'text> {
    pub fn new(text: &'text str) -> Self {
        Self(text)
    }
}
