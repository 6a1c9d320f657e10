//! Changes to a document that others write: JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7396).
//! Both note who wrote what, which is why they are here and not a library's.

use serde_json::{Map, Value};

use super::{
    Place,
    budget::{self, Budget, Exhausted},
    checks,
    draft::{Draft, escaped, tokens},
};

/// Why a patch cannot be applied, and where in the patch.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub pointer: String,
    pub message: String,
}

impl Fault {
    fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            message: message.into(),
        }
    }
}

impl From<Exhausted> for Fault {
    fn from(exhausted: Exhausted) -> Self {
        Self::new("", exhausted.to_string())
    }
}

/// One operation of a JSON Patch.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operation {
    Add { path: String, value: Value },
    Remove { path: String },
    Replace { path: String, value: Value },
    Move { from: String, path: String },
    Copy { from: String, path: String },
    Test { path: String, value: Value },
}

/// Reads a list of operations.
pub(super) fn operations(list: &Value) -> Result<Vec<Operation>, Fault> {
    const MOST: usize = 1_000;
    let Value::Array(items) = list else {
        let message = format!(
            "must be a list of operations, and is {}",
            checks::shape_of(list)
        );
        return Err(Fault::new("", message));
    };
    if items.len() > MOST {
        let message = format!("has more than {MOST} operations");
        return Err(Fault::new("", message));
    }
    let read = |(index, item): (usize, &Value)| {
        operation(item)
            .map_err(|fault| Fault::new(format!("/{index}{}", fault.pointer), fault.message))
    };
    items.iter().enumerate().map(read).collect()
}

fn operation(item: &Value) -> Result<Operation, Fault> {
    const NAMES: &[&str] = &["add", "remove", "replace", "move", "copy", "test"];
    let text = |name: &str| match item.get(name) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => {
            let message = format!("must be a text, and is {}", checks::shape_of(other));
            Err(Fault::new(format!("/{name}"), message))
        }
        None => Err(Fault::new("", format!("the operation has no {name}"))),
    };
    let pointer = |name: &str| {
        let text = text(name)?;
        if text.is_empty() || text.starts_with('/') {
            Ok(text)
        } else {
            let message = "is a JSON pointer, which begins with /, like /info/title";
            Err(Fault::new(format!("/{name}"), message))
        }
    };
    let value = || {
        let value = item.get("value").cloned();
        value.ok_or_else(|| Fault::new("", "the operation has no value"))
    };
    let op = text("op")?;
    let path = pointer("path")?;
    Ok(match op.as_str() {
        "add" => Operation::Add {
            path,
            value: value()?,
        },
        "remove" => Operation::Remove { path },
        "replace" => Operation::Replace {
            path,
            value: value()?,
        },
        "move" => Operation::Move {
            from: pointer("from")?,
            path,
        },
        "copy" => Operation::Copy {
            from: pointer("from")?,
            path,
        },
        "test" => Operation::Test {
            path,
            value: value()?,
        },
        other => {
            let hint = checks::nearest(other, NAMES)
                .map(|nearest| format!("; did you mean {nearest}?"))
                .unwrap_or_default();
            return Err(Fault::new(
                "/op",
                format!("there is no operation {other:?}{hint}"),
            ));
        }
    })
}

/// Carries operations out in their order. `place` is where their list was written. What was done
/// before a fault stays done: a fault refuses the whole reading.
pub(super) fn apply(
    draft: &mut Draft,
    operations: &[Operation],
    place: &Place,
    budget: &Budget,
) -> Result<(), Fault> {
    for (index, operation) in operations.iter().enumerate() {
        let at = format!("/{index}");
        let value_place = place.below(&format!("{at}/value"));
        let fault = |message: String| Fault::new(at.clone(), message);
        match operation {
            Operation::Add { path, value } => {
                budget.take(budget::size(value))?;
                add(draft, path, value.clone(), value_place, budget).map_err(fault)?;
            }
            Operation::Remove { path } => {
                remove(draft, path, budget).map_err(fault)?;
            }
            Operation::Replace { path, value } => {
                budget.take(budget::size(value))?;
                let Some(here) = draft.value.pointer_mut(path) else {
                    return Err(fault(nothing_at(path)));
                };
                *here = value.clone();
                draft.written.put(path, value_place);
            }
            Operation::Move { from, path } => {
                if path.starts_with(&format!("{from}/")) {
                    return Err(fault(format!("{from} cannot be moved into itself")));
                }
                let value = remove(draft, from, budget).map_err(fault)?;
                add(draft, path, value, place.below(&at), budget).map_err(fault)?;
            }
            Operation::Copy { from, path } => {
                let Some(value) = draft.value.pointer(from) else {
                    return Err(fault(nothing_at(from)));
                };
                budget.take(budget::size(value))?;
                let value = value.clone();
                add(draft, path, value, place.below(&at), budget).map_err(fault)?;
            }
            Operation::Test { path, value } => match draft.value.pointer(path) {
                Some(here) if here == value => {}
                Some(_) => return Err(fault(format!("the test fails: {path} has another value"))),
                None => return Err(fault(nothing_at(path))),
            },
        }
    }
    Ok(())
}

fn nothing_at(path: &str) -> String {
    format!("there is nothing at {path}")
}

fn split(path: &str) -> Option<(&str, String)> {
    let (parent, last) = path.rsplit_once('/')?;
    Some((parent, last.replace("~1", "/").replace("~0", "~")))
}

fn add(
    draft: &mut Draft,
    path: &str,
    value: Value,
    by: Place,
    budget: &Budget,
) -> Result<(), String> {
    let Some((parent, last)) = split(path) else {
        draft.value = value;
        draft.written.put("", by);
        return Ok(());
    };
    let own = draft.place.below(parent);
    match draft.value.pointer_mut(parent) {
        Some(Value::Object(members)) => {
            members.insert(last, value);
            draft.written.put(path, by);
            Ok(())
        }
        Some(Value::Array(items)) => {
            let count = items.len();
            let index = if last == "-" {
                Some(count)
            } else {
                index_of(&last)
            };
            let Some(index) = index.filter(|index| *index <= count) else {
                return Err(format!(
                    "{last:?} is no place in the list at {parent}, which has {count} items"
                ));
            };
            budget
                .take(count)
                .map_err(|exhausted| exhausted.to_string())?;
            items.insert(index, value);
            draft.written.insert_item(parent, index, count, &own, by);
            Ok(())
        }
        Some(other) => Err(format!(
            "{parent} is {}, which has no members",
            checks::shape_of(other)
        )),
        None => Err(nothing_at(parent)),
    }
}

fn remove(draft: &mut Draft, path: &str, budget: &Budget) -> Result<Value, String> {
    let Some((parent, last)) = split(path) else {
        return Err("the whole document cannot be removed".to_owned());
    };
    let own = draft.place.below(parent);
    match draft.value.pointer_mut(parent) {
        Some(Value::Object(members)) => {
            let removed = members.remove(&last).ok_or_else(|| nothing_at(path))?;
            draft.written.remove_member(parent, &last);
            Ok(removed)
        }
        Some(Value::Array(items)) => {
            let count = items.len();
            let Some(index) = index_of(&last).filter(|index| *index < count) else {
                return Err(nothing_at(path));
            };
            budget
                .take(count)
                .map_err(|exhausted| exhausted.to_string())?;
            let removed = items.remove(index);
            draft.written.remove_item(parent, index, count, &own);
            Ok(removed)
        }
        _ => Err(nothing_at(path)),
    }
}

/// An index of RFC 6901: no sign, no leading zero.
fn index_of(token: &str) -> Option<usize> {
    let is_plain = token == "0" || (!token.starts_with('0') && !token.is_empty());
    let is_digits = token.bytes().all(|byte| byte.is_ascii_digit());
    (is_plain && is_digits)
        .then(|| token.parse().ok())
        .flatten()
}

/// Maps are merged, null takes a member away, everything else takes its place.
pub(super) fn merge(
    draft: &mut Draft,
    patch: &Value,
    place: &Place,
    budget: &Budget,
) -> Result<(), Exhausted> {
    budget.take(budget::size(patch))?;
    merge_at(
        &mut draft.value,
        patch,
        &mut String::new(),
        &mut |pointer, removed| {
            if removed {
                if let Some((parent, last)) = split(pointer) {
                    draft.written.remove_member(parent, &last);
                }
            } else {
                draft.written.put(pointer, place.below(pointer));
            }
        },
    );
    Ok(())
}

fn merge_at(
    target: &mut Value,
    patch: &Value,
    pointer: &mut String,
    note: &mut dyn FnMut(&str, bool),
) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        note(pointer, false);
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
        note(pointer, false);
    }
    let Value::Object(members) = target else {
        return;
    };
    let length = pointer.len();
    for (name, change) in changes {
        pointer.push('/');
        pointer.push_str(&escaped(name));
        if change.is_null() {
            if members.remove(name).is_some() {
                note(pointer, true);
            }
        } else {
            merge_at(
                members.entry(name.clone()).or_insert(Value::Null),
                change,
                pointer,
                note,
            );
        }
        pointer.truncate(length);
    }
}

/// Every place that a pattern like `spec/versions/*/name` names, `*` for every member or item.
pub(super) fn each(
    value: &mut Value,
    pattern: &str,
    pointer: &mut String,
    visit: &mut dyn FnMut(&mut Value, &str),
) {
    let (first, rest) = match pattern.split_once('/') {
        Some((first, rest)) => (first, Some(rest)),
        None => (pattern, None),
    };
    let length = pointer.len();
    let mut go = |name: &str, member: &mut Value| {
        pointer.push('/');
        pointer.push_str(&escaped(name));
        match rest {
            Some(rest) => each(member, rest, pointer, visit),
            None => visit(member, pointer),
        }
        pointer.truncate(length);
    };
    match value {
        Value::Object(members) if first == "*" => {
            for (name, member) in members {
                go(name, member);
            }
        }
        Value::Object(members) => {
            for name in tokens(&format!("/{first}")) {
                if let Some(member) = members.get_mut(&name) {
                    go(&name, member);
                }
            }
        }
        Value::Array(items) if first == "*" => {
            for (index, item) in items.iter_mut().enumerate() {
                go(&index.to_string(), item);
            }
        }
        _ => {}
    }
}
