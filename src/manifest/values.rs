//! Values of an environment, and the placeholders that they fill: `${values.NAME}`, where NAME may
//! have dots.
//!
//! Placeholders are filled in what a YAML or JSON parser has made of a file, so a value is never
//! parsed and cannot end the text that it stands in. A text that is one placeholder and nothing
//! else becomes the value, with its type. Any other `${…}` is the user's own; `$${values.` stands
//! for the text `${values.`.
//!
//! The texts of a `ConfigMap` are documents of their own: they are filled when they were parsed.

use std::{borrow::Cow, collections::BTreeSet};

use serde_json::{Map, Value};

use super::{
    Place, Reading,
    budget::{Budget, Exhausted, size, text_size},
    checks,
    draft::{Draft, Written, escaped, tokens},
};

const OPEN: &str = "${values.";
const ESCAPE: &str = "$${values.";

/// What the values files of a stack say, the later over the earlier.
#[derive(Debug, Default)]
pub(super) struct Values {
    tree: Map<String, Value>,
    /// Which file wrote what of it.
    written: Written,
    is_named: bool,
}

/// The values that were asked for: pointers into their tree.
pub(super) type Used = BTreeSet<String>;

impl Values {
    /// Reads every document that a stack's values files have.
    pub fn new(files: Vec<Draft>, reading: &mut Reading<'_>) -> Self {
        let mut values = Self {
            is_named: !reading.options.environment.values.is_empty(),
            ..Self::default()
        };
        for file in files {
            let Value::Object(members) = file.value else {
                let message = format!(
                    "values are members with names, and this is {}",
                    checks::shape_of(&file.value)
                );
                reading.wrong(
                    &file.place,
                    "",
                    message,
                    Some("write them like upstream: http://orders.internal"),
                );
                continue;
            };
            let mut pointer = String::new();
            overlay(
                &mut values.tree,
                members,
                &mut pointer,
                &file.place,
                &mut values.written,
            );
        }
        values
    }

    /// Fills every placeholder of a document.
    pub fn fill(&self, value: &mut Value, budget: &Budget) -> Result<Filled, Exhausted> {
        let mut filled = Filled::default();
        if has_placeholder(value) {
            self.fill_at(value, &mut String::new(), &mut filled, budget)?;
        }
        Ok(filled)
    }

    /// A name with its placeholders filled where they can be.
    pub fn in_name(&self, name: String, used: &mut Used) -> String {
        const SHORT: usize = 100;
        if !name.contains(OPEN) {
            return name;
        }
        match self.text(&name, &Budget::new(SHORT), used) {
            Ok(Value::String(filled)) => filled,
            Ok(_) | Err(_) => name,
        }
    }

    fn fill_at(
        &self,
        value: &mut Value,
        pointer: &mut String,
        filled: &mut Filled,
        budget: &Budget,
    ) -> Result<(), Exhausted> {
        match value {
            Value::String(text) if text.contains(OPEN) => {
                match self.text(text, budget, &mut filled.used) {
                    Ok(new) => {
                        filled.is_changed = true;
                        *value = new;
                    }
                    Err(Refusal::Fault(fault)) => filled.faults.push((pointer.clone(), fault)),
                    Err(Refusal::Exhausted(exhausted)) => return Err(exhausted),
                }
                Ok(())
            }
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    below(pointer, &index.to_string(), |pointer| {
                        self.fill_at(item, pointer, filled, budget)
                    })?;
                }
                Ok(())
            }
            Value::Object(members) => {
                let is_config_map = members.get("kind").is_some_and(|kind| kind == "ConfigMap");
                for (name, member) in members {
                    if is_config_map && name == "data" {
                        continue;
                    }
                    below(pointer, name, |pointer| {
                        if name.contains(OPEN) {
                            filled.faults.push((pointer.clone(), Fault::in_name()));
                        }
                        self.fill_at(member, pointer, filled, budget)
                    })?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn text(&self, text: &str, budget: &Budget, used: &mut Used) -> Result<Value, Refusal> {
        let pieces = pieces(text)?;
        if let [Piece::Value(name)] = pieces.as_slice() {
            let value = self.get(name, used)?;
            budget.take(size(value))?;
            return Ok(value.clone());
        }
        let mut filled = String::new();
        for piece in pieces {
            let piece = match piece {
                Piece::Text(text) => Cow::Borrowed(text),
                Piece::Value(name) => match self.get(name, used)? {
                    Value::String(text) => Cow::Borrowed(text.as_str()),
                    Value::Bool(flag) => Cow::Owned(flag.to_string()),
                    Value::Number(number) => Cow::Owned(number.to_string()),
                    other => return Err(Fault::not_a_text(name, other).into()),
                },
            };
            budget.take(text_size(piece.len()))?;
            filled.push_str(&piece);
        }
        Ok(Value::String(filled))
    }

    fn get(&self, name: &str, used: &mut Used) -> Result<&Value, Fault> {
        let pointer = format!("/{}", name.replace('.', "/"));
        let mut parts = name.split('.');
        let first = parts.next().and_then(|first| self.tree.get(first));
        let found = parts.fold(first, |value, part| value?.get(part));
        match found {
            Some(value) => {
                used.insert(pointer);
                Ok(value)
            }
            None => Err(Fault::missing(name, &self.tree, self.is_named)),
        }
    }

    /// Values that nothing asks for, with where they were written.
    pub fn warn_of_unused(&self, reading: &mut Reading<'_>) {
        let mut pointer = String::new();
        for (name, value) in &self.tree {
            below(&mut pointer, name, |pointer| {
                self.unused(value, pointer, reading);
            });
        }
    }

    fn unused(&self, value: &Value, pointer: &mut String, reading: &mut Reading<'_>) {
        if reading.used_values.contains(pointer.as_str()) {
            return;
        }
        if let Value::Object(members) = value
            && !members.is_empty()
        {
            for (name, member) in members {
                below(pointer, name, |pointer| {
                    self.unused(member, pointer, reading);
                });
            }
            return;
        }
        let Some(place) = self.written.writer(pointer) else {
            return;
        };
        let name: Vec<String> = tokens(pointer).collect();
        let message = format!("nothing uses the value {}", name.join("."));
        reading.warn(&place, "", message, None);
    }
}

/// Puts the members of a later file over those of the earlier ones.
fn overlay(
    tree: &mut Map<String, Value>,
    members: Map<String, Value>,
    pointer: &mut String,
    place: &Place,
    written: &mut Written,
) {
    for (name, member) in members {
        below(pointer, &name, |pointer| {
            match (tree.get_mut(&name), member) {
                (Some(Value::Object(earlier)), Value::Object(later)) => {
                    overlay(earlier, later, pointer, place, written);
                }
                (_, member) => {
                    written.put(pointer, place.below(pointer));
                    tree.insert(name.clone(), member);
                }
            }
        });
    }
}

fn below<T>(pointer: &mut String, name: &str, go: impl FnOnce(&mut String) -> T) -> T {
    let length = pointer.len();
    pointer.push('/');
    pointer.push_str(&escaped(name));
    let result = go(pointer);
    pointer.truncate(length);
    result
}

#[derive(Debug, PartialEq, Eq)]
enum Piece<'t> {
    Text(&'t str),
    Value(&'t str),
}

/// Cuts a text into what is its own and what is to be filled.
fn pieces(text: &str) -> Result<Vec<Piece<'_>>, Fault> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(OPEN) {
        let before = &rest[..at];
        if let Some(before) = before.strip_suffix('$') {
            pieces.push(Piece::Text(before));
            pieces.push(Piece::Text(OPEN));
            rest = &rest[at + OPEN.len()..];
            continue;
        }
        if !before.is_empty() {
            pieces.push(Piece::Text(before));
        }
        let after = &rest[at + OPEN.len()..];
        let name = after.split_once('}').filter(|(name, _)| is_name(name));
        let Some((name, after)) = name else {
            return Err(Fault::unreadable());
        };
        pieces.push(Piece::Value(name));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}

/// Few documents have one, and a walk that keeps its way costs more than this.
fn has_placeholder(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains(OPEN),
        Value::Array(items) => items.iter().any(has_placeholder),
        Value::Object(members) => members
            .iter()
            .any(|(name, member)| name.contains(OPEN) || has_placeholder(member)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Letters, digits, `_` and `-`, in parts with dots between them.
fn is_name(name: &str) -> bool {
    let is_part = |part: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        !part.is_empty() && part.bytes().all(is_plain)
    };
    name.split('.').all(is_part)
}

/// A document that is to be written so that reading it fills nothing.
pub(super) fn escaped_in(value: &Value) -> Value {
    let mut value = value.clone();
    escape(&mut value);
    value
}

fn escape(value: &mut Value) {
    match value {
        Value::String(text) if text.contains(OPEN) => *text = text.replace(OPEN, ESCAPE),
        Value::Array(items) => items.iter_mut().for_each(escape),
        Value::Object(members) => members.values_mut().for_each(escape),
        _ => {}
    }
}

enum Refusal {
    Fault(Fault),
    Exhausted(Exhausted),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Exhausted> for Refusal {
    fn from(exhausted: Exhausted) -> Self {
        Self::Exhausted(exhausted)
    }
}

/// What became of a document.
#[derive(Default)]
pub(super) struct Filled {
    pub is_changed: bool,
    pub used: Used,
    /// By pointer.
    pub faults: Vec<(String, Fault)>,
}

/// Why a placeholder cannot be filled.
pub(super) struct Fault {
    pub message: String,
    pub fix: Option<String>,
}

impl Fault {
    fn unreadable() -> Self {
        Self {
            message: format!("{OPEN} begins a placeholder, and this one cannot be read"),
            fix: Some(format!(
                "write {OPEN}NAME}}, of letters, digits, _ and -, with dots between parts; {ESCAPE} stands for the text itself"
            )),
        }
    }

    fn in_name() -> Self {
        Self {
            message: format!("a placeholder {OPEN}…}} cannot be part of a member's name"),
            fix: Some("use a patch of the stack for what differs in names".to_owned()),
        }
    }

    fn not_a_text(name: &str, value: &Value) -> Self {
        let shape = checks::shape_of(value);
        Self {
            message: format!("the value {name} is {shape}, which cannot be part of a longer text"),
            fix: Some("let the placeholder stand alone, or give a text".to_owned()),
        }
    }

    fn missing(name: &str, tree: &Map<String, Value>, is_named: bool) -> Self {
        let fix = if is_named {
            let mut names = Vec::new();
            leaves(tree, "", &mut names);
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            checks::nearest(name, &names).map_or_else(
                || "add it to a values file of the stack".to_owned(),
                |nearest| format!("did you mean {nearest}?"),
            )
        } else {
            format!("name values files in the stack; {ESCAPE} stands for the text itself")
        };
        Self {
            message: format!("there is no value {name}"),
            fix: Some(fix),
        }
    }
}

/// The dotted names of some values, for a hint.
fn leaves(tree: &Map<String, Value>, prefix: &str, names: &mut Vec<String>) {
    const ENOUGH: usize = 1_000;
    for (name, value) in tree {
        if names.len() >= ENOUGH {
            return;
        }
        let name = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        match value {
            Value::Object(members) => leaves(members, &name, names),
            _ => names.push(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_into_its_own_words_and_names() {
        let cut = |text| pieces(text).map_err(|fault| fault.message);
        let (text, value) = (Piece::Text, Piece::Value);
        assert_eq!(cut("${values.a}"), Ok(vec![value("a")]));
        assert_eq!(
            cut("a${values.b.c-d}e"),
            Ok(vec![text("a"), value("b.c-d"), text("e")])
        );
        assert_eq!(
            cut("${other}${values.a}"),
            Ok(vec![text("${other}"), value("a")])
        );
        assert_eq!(
            cut("$${values.a}"),
            Ok(vec![text(""), text(OPEN), text("a}")])
        );
        for wrong in [
            "${values.}",
            "${values.a",
            "${values.a b}",
            "${values..a}",
            "${values.${values.a}}",
        ] {
            assert!(cut(wrong).is_err(), "{wrong}");
        }
    }
}
