//! Two bodies → the fields that differ, by JSON pointer. Both bodies are masked before they come
//! here, so a diff can be stored and shown.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One field that differs: absent before means added, absent after means removed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldChange {
    /// A JSON pointer (RFC 6901); empty for the whole document.
    pub pointer: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

impl fmt::Display for FieldChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pointer = if self.pointer.is_empty() {
            "/"
        } else {
            &self.pointer
        };
        match (&self.before, &self.after) {
            (None, Some(after)) => write!(f, "+ {pointer}: {}", shorten(after)),
            (Some(before), None) => write!(f, "- {pointer}: {}", shorten(before)),
            (Some(before), Some(after)) => {
                write!(f, "~ {pointer}: {} → {}", shorten(before), shorten(after))
            }
            (None, None) => write!(f, "  {pointer}"),
        }
    }
}

/// The fields in which `after` differs from `before`, in the order of their pointers. Arrays are
/// compared place by place; an array whose length changed shows its tail as added or removed.
pub fn diff(before: &Value, after: &Value) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    compare(before, after, &mut String::new(), &mut changes);
    changes
}

fn compare(before: &Value, after: &Value, pointer: &mut String, changes: &mut Vec<FieldChange>) {
    match (before, after) {
        (Value::Object(left), Value::Object(right)) => {
            let mut names: Vec<&String> = left.keys().chain(right.keys()).collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                step(left.get(name), right.get(name), name, pointer, changes);
            }
        }
        (Value::Array(left), Value::Array(right)) => {
            for index in 0..left.len().max(right.len()) {
                let place = index.to_string();
                step(left.get(index), right.get(index), &place, pointer, changes);
            }
        }
        _ if before == after => {}
        _ => changes.push(FieldChange {
            pointer: pointer.clone(),
            before: Some(before.clone()),
            after: Some(after.clone()),
        }),
    }
}

fn step(
    before: Option<&Value>,
    after: Option<&Value>,
    name: &str,
    pointer: &mut String,
    changes: &mut Vec<FieldChange>,
) {
    let length = pointer.len();
    push_token(pointer, name);
    match (before, after) {
        (Some(before), Some(after)) => compare(before, after, pointer, changes),
        (None, None) => {}
        _ => changes.push(FieldChange {
            pointer: pointer.clone(),
            before: before.cloned(),
            after: after.cloned(),
        }),
    }
    pointer.truncate(length);
}

/// Appends one reference token to a JSON pointer.
pub fn push_token(pointer: &mut String, name: &str) {
    pointer.push('/');
    for character in name.chars() {
        match character {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            other => pointer.push(other),
        }
    }
}

fn shorten(value: &Value) -> String {
    const LONGEST: usize = 120;
    let text = value.to_string();
    if text.chars().count() <= LONGEST {
        return text;
    }
    let head: String = text.chars().take(LONGEST).collect();
    format!("{head}… ({} characters)", text.chars().count())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_kind_of_change_is_named_by_its_pointer() {
        let before = json!({"a": 1, "b": {"c/d": [1, 2]}, "gone": true});
        let after = json!({"a": 2, "b": {"c/d": [1, 2, 3]}, "new": null});
        let shown: Vec<String> = diff(&before, &after)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            shown,
            [
                "~ /a: 1 → 2",
                "+ /b/c~1d/2: 3",
                "- /gone: true",
                "+ /new: null"
            ]
        );
    }

    #[test]
    fn equal_bodies_have_no_diff() {
        let body = json!({"a": [{"b": null}]});
        assert!(diff(&body, &body).is_empty());
    }
}
