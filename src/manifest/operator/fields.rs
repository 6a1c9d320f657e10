//! Every field that the operator's kinds have, and what becomes of it. The table is data
//! (`fields.tsv`): it drives what is refused as unknown or of another shape, and it is what is
//! explained to people, so that the two cannot differ.

use std::{collections::BTreeMap, sync::LazyLock};

use serde_json::{Map, Value};

use super::super::{Place, Reading, checks};
use crate::domain::way::Way;

/// One field of a kind's spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    pub kind: &'static str,
    /// From the spec on, with dots; `[]` for the items of a list, `{}` for the values of a map.
    pub path: &'static str,
    /// `text`, `flag`, `whole number`, `number` or `object`. An object without fields below it
    /// holds whatever it likes.
    pub shape: &'static str,
    /// The operator's schema asks for it. What a gateway can do without is not asked for here.
    pub required: bool,
    pub about: &'static str,
    pub becomes: Becomes,
}

/// What the translation makes of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Becomes {
    /// It stands at the same place in the gateway's document. Names of resources in it become ids.
    Same,
    /// Where it goes in the gateway's document.
    At(&'static str),
    /// Why a manifest that has it is refused.
    Refused(&'static str),
    /// Why it is accepted and checked, and goes nowhere.
    NotApplicable(&'static str),
}

/// All fields, by kind.
pub fn fields() -> &'static [Field] {
    &FIELDS
}

static FIELDS: LazyLock<Vec<Field>> = LazyLock::new(|| {
    let mut kind = "";
    let mut fields = Vec::new();
    for line in include_str!("fields.tsv").lines() {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'))
        {
            kind = name;
        } else {
            fields.push(field(kind, line).expect("a test reads every line of the table"));
        }
    }
    fields
});

fn field(kind: &'static str, line: &'static str) -> Option<Field> {
    let mut columns = line.split('\t');
    let (path, shape, becomes, about) = (
        columns.next()?,
        columns.next()?,
        columns.next()?,
        columns.next()?,
    );
    let becomes = match becomes.split_once(' ') {
        None if becomes == "=" => Becomes::Same,
        Some((">", place)) => Becomes::At(place),
        Some(("!", reason)) => Becomes::Refused(reason),
        Some(("-", reason)) => Becomes::NotApplicable(reason),
        _ => return None,
    };
    let required = shape.ends_with('!');
    Some(Field {
        kind,
        path,
        shape: shape.trim_end_matches('!'),
        required,
        about,
        becomes,
    })
}

/// The fields of a kind as a tree, by steps.
#[derive(Debug, Default)]
struct Node {
    field: Option<&'static Field>,
    below: BTreeMap<&'static str, Node>,
}

static TREES: LazyLock<BTreeMap<&'static str, Node>> = LazyLock::new(|| {
    let mut trees: BTreeMap<&'static str, Node> = BTreeMap::new();
    for field in fields() {
        let mut node = trees.entry(field.kind).or_default();
        for step in steps(field.path) {
            node = node.below.entry(step).or_default();
        }
        node.field = Some(field);
    }
    trees
});

/// `a[].{}` is a, the items of it, the values of those.
fn steps(path: &'static str) -> impl Iterator<Item = &'static str> {
    path.split('.').flat_map(|part| {
        let name = part.strip_suffix("[]");
        let items = name.map(|_| "[]");
        std::iter::once(name.unwrap_or(part)).chain(items)
    })
}

/// What is said of a field that the table does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unknown {
    /// The spec is the whole of it, so an unknown field can only be a mistake.
    Refused,
    /// The definition below the spec goes to the gateway as it is, and the gateway may know fields
    /// that the operator's schema does not: those are only pointed at.
    Passed,
}

/// Names every field of a spec that the table does not have, or that has another shape.
pub(super) fn check(
    kind: &str,
    spec: &Map<String, Value>,
    unknown: Unknown,
    place: &Place,
    reading: &mut Reading<'_>,
) {
    if let Some(tree) = TREES.get(kind) {
        let mut walk = Walk {
            kind,
            unknown,
            place,
            reading,
        };
        walk.members(tree, spec, Way::Root("/spec"));
    }
}

struct Walk<'a, 'o> {
    kind: &'a str,
    unknown: Unknown,
    place: &'a Place,
    reading: &'a mut Reading<'o>,
}

impl Walk<'_, '_> {
    fn members(&mut self, node: &Node, members: &Map<String, Value>, way: Way<'_>) {
        let any = node.below.get("{}");
        for (name, member) in members {
            match node.below.get(name.as_str()).or(any) {
                Some(below) => self.value(below, member, Way::Member(&way, name)),
                None => self.unknown(node, name, way),
            }
        }
    }

    fn value(&mut self, node: &Node, value: &Value, way: Way<'_>) {
        if value.is_null() {
            return;
        }
        if let Some(item) = node.below.get("[]") {
            let Value::Array(items) = value else {
                return self.shape("a list", value, way);
            };
            for (index, value) in items.iter().enumerate() {
                self.value(item, value, Way::Item(&way, index));
            }
            return;
        }
        if !node.below.is_empty() {
            if let Value::Object(members) = value {
                self.members(node, members, way);
            } else {
                self.shape("an object", value, way);
            }
            return;
        }
        let Some(field) = node.field else {
            return;
        };
        if let Becomes::Refused(reason) = field.becomes {
            self.reading.wrong(self.place, way.pointer(), reason, None);
        }
        let (wanted, fits) = match field.shape {
            "text" => ("a text", value.is_string()),
            "flag" => ("true or false", value.is_boolean()),
            "whole number" => ("a whole number", value.is_i64() || value.is_u64()),
            "number" => ("a number", is_number(value)),
            _ => ("an object", value.is_object()),
        };
        if !fits {
            self.shape(wanted, value, way);
        }
    }

    fn shape(&mut self, wanted: &str, value: &Value, way: Way<'_>) {
        let message = format!("must be {wanted}, and is {}", checks::shape_of(value));
        self.reading.wrong(self.place, way.pointer(), message, None);
    }

    fn unknown(&mut self, node: &Node, name: &str, parent: Way<'_>) {
        let names: Vec<&str> = node.below.keys().copied().collect();
        let fix = checks::nearest(name, &names).map(|nearest| format!("did you mean {nearest}?"));
        let pointer = Way::Member(&parent, name).pointer();
        let is_top = matches!(parent, Way::Root(_));
        if is_top || self.unknown == Unknown::Refused {
            let message = format!("the field {name} does not exist");
            self.reading
                .wrong(self.place, pointer, message, fix.as_deref());
        } else {
            let message = format!(
                "the field {name} is not one of {}, and is passed on as it is",
                self.kind
            );
            self.reading
                .warn(self.place, pointer, message, fix.as_deref());
        }
    }
}

/// A number, or a text of one: the operator's schema has texts where a fraction may stand.
fn is_number(value: &Value) -> bool {
    match value {
        Value::Number(_) => true,
        Value::String(text) => text.trim().parse::<f64>().is_ok_and(f64::is_finite),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_read_and_no_field_stands_twice() {
        let lines = include_str!("fields.tsv")
            .lines()
            .filter(|line| !line.starts_with('['));
        assert_eq!(fields().len(), lines.count());
        let mut seen = std::collections::BTreeSet::new();
        for field in fields() {
            assert!(seen.insert((field.kind, field.path)), "{field:?}");
            let is_known = ["text", "flag", "whole number", "number", "object"];
            assert!(is_known.contains(&field.shape), "{field:?}");
            assert!(!field.about.is_empty(), "{field:?}");
        }
    }
}
