//! The way to a value inside a body: kept on the stack of a walk, and written as a JSON pointer
//! only where one is needed.

use std::fmt::Write as _;

use serde_json::Value;

use super::diff::push_token;

#[derive(Clone, Copy)]
pub enum Way<'w> {
    /// Where the walk begins, as a pointer.
    Root(&'w str),
    Member(&'w Way<'w>, &'w str),
    Item(&'w Way<'w>, usize),
}

impl Way<'_> {
    pub fn pointer(&self) -> String {
        let mut pointer = String::new();
        self.write(&mut pointer);
        pointer
    }

    fn write(&self, pointer: &mut String) {
        match self {
            Self::Root(base) => pointer.push_str(base),
            Self::Member(above, name) => {
                above.write(pointer);
                push_token(pointer, name);
            }
            Self::Item(above, index) => {
                above.write(pointer);
                let _ = write!(pointer, "/{index}");
            }
        }
    }

    /// Whether it leads from the root over members of these names; `*` is any member or item.
    pub fn leads_over(&self, names: &[&str]) -> bool {
        match (self, names) {
            (Self::Root(_), []) => true,
            (Self::Member(above, name), [rest @ .., last]) => {
                (last == name || *last == "*") && above.leads_over(rest)
            }
            (Self::Item(above, _), [rest @ .., "*"]) => above.leads_over(rest),
            _ => false,
        }
    }
}

/// What stands at a pointer that has nothing escaped in it. Copies no part of the pointer, as
/// `Value::pointer` does.
pub fn at<'v>(value: &'v Value, pointer: &str) -> Option<&'v Value> {
    let mut tokens = pointer.split('/').skip(1);
    tokens.try_fold(value, |value, token| match value {
        Value::Object(members) => members.get(token),
        Value::Array(items) => items.get(token.parse::<usize>().ok()?),
        _ => None,
    })
}
