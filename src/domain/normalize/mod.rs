//! What a gateway reads back is not what was posted: it decodes into its own types, fills in
//! zeros, rewrites durations, drops what it does not know. This makes both sides comparable, and
//! says whether what was read is what was asked for.
//!
//! For classic definitions and policies the rules are exact, so equal means equal. OAS documents
//! are rewritten by the gateway in more ways than can be listed for ever; there a difference that
//! is not a known rewriting counts as one, because a write is believed only when it is seen.

mod certificate;
mod classic;
mod oas;
mod policy;
mod slim;

use serde_json::Value;

use super::{
    diff::{FieldChange, diff},
    object::Kind,
    secrets::has_references,
    way::Way,
};

pub use slim::slim;

/// What a body says, in a form in which equal means equal: for a document from Git, and for one
/// read from the endpoint of its own kind.
pub fn comparable(kind: Kind, body: &Value) -> Value {
    match kind {
        Kind::Certificate => certificate::comparable(body),
        Kind::ClassicApi => classic::comparable(body),
        Kind::OasApi | Kind::McpProxy => oas::comparable(body),
        Kind::Policy => policy::comparable(body),
    }
}

/// What a listing says of an object. A gateway lists OAS APIs as their classic projection.
pub fn listed(kind: Kind, body: &Value) -> Value {
    match kind {
        Kind::Certificate => body.clone(),
        Kind::Policy => policy::comparable(body),
        Kind::ClassicApi | Kind::OasApi | Kind::McpProxy => classic::comparable(body),
    }
}

/// How a body that was read compares with the one that was asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Kept {
    /// Fields that read back as something else. Unmasked: mask before showing.
    pub differs: Vec<FieldChange>,
    /// Fields that the gateway does not keep, by pointer: unknown to it, or without effect.
    pub dropped: Vec<String>,
}

impl Kept {
    pub fn holds(&self) -> bool {
        self.differs.is_empty()
    }
}

/// Compares what was asked for with what the endpoint of its kind reads back.
pub fn kept(kind: Kind, asked: &Value, read: &Value) -> Kept {
    if kind == Kind::Certificate {
        // Its id is its content: one that is there is what was asked for.
        return Kept::default();
    }
    let mut wanted = comparable(kind, asked);
    let mut found = comparable(kind, read);
    match kind {
        Kind::Certificate | Kind::ClassicApi | Kind::Policy => {
            classic::proper_names(&mut wanted, &found, Way::Root(""));
        }
        Kind::OasApi | Kind::McpProxy => oas::drop_additions(&wanted, &mut found),
    }
    let may_resolve = has_references(asked);
    let mut kept = Kept::default();
    for change in diff(&wanted, &found) {
        let FieldChange {
            pointer,
            before,
            after,
        } = &change;
        let known = match kind {
            Kind::Certificate => false,
            Kind::ClassicApi => classic::rewritten(pointer, before.as_ref(), after.as_ref()),
            Kind::OasApi | Kind::McpProxy => {
                oas::rewritten(pointer, before.as_ref(), after.as_ref())
            }
            Kind::Policy => policy::rewritten(pointer, before.as_ref(), after.as_ref()),
        };
        // A resolved reference may stand inside any text.
        let is_reference = may_resolve && before.as_ref().is_some_and(has_references);
        if known || is_reference {
            continue;
        }
        match (before, after) {
            (Some(_), None) => kept.dropped.push(pointer.clone()),
            _ => kept.differs.push(change),
        }
    }
    kept
}

/// Whether an object that nobody owns already is what Git wants, so that taking it over changes
/// nothing. Stricter than [`kept`]: nothing may be dropped or added either.
pub fn equal(kind: Kind, asked: &Value, read: &Value) -> bool {
    let kept = kept(kind, asked, read);
    kept.differs.is_empty() && kept.dropped.is_empty()
}

/// Members that the gateway keeps as free JSON: the names that lead to each from the root.
type Verbatim = [&'static [&'static str]];

fn is_verbatim(way: Way<'_>, verbatim: &Verbatim) -> bool {
    verbatim.iter().any(|names| way.leads_over(names))
}

/// Drops members that say nothing: null, false, 0, empty texts, lists and objects, and the zero
/// duration. Items of a list are never dropped: their place means something.
fn drop_zeros(value: &mut Value, way: Way<'_>, verbatim: &Verbatim) {
    match value {
        Value::Object(members) if !is_verbatim(way, verbatim) => {
            members.retain(|name, member| {
                drop_zeros(member, Way::Member(&way, name), verbatim);
                !is_zero(member)
            });
        }
        Value::Array(items) if !is_verbatim(way, verbatim) => {
            for (index, item) in items.iter_mut().enumerate() {
                drop_zeros(item, Way::Item(&way, index), verbatim);
            }
        }
        _ => {}
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty() || text == "0s",
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
    }
}

/// A duration as the gateway prints it: `60s` → `1m`, `90s` → `1m30s`. `None` when the text is not
/// a duration in Go's form.
fn canonical_duration(text: &str) -> Option<String> {
    let nanos = parse_duration(text)?;
    Some(print_duration(nanos))
}

const UNITS: &[(&str, i128)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

fn parse_duration(text: &str) -> Option<i128> {
    let mut rest = text;
    let mut total: i128 = 0;
    if rest.is_empty() || rest.len() > 64 {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|character: char| !character.is_ascii_digit() && character != '.')
            .filter(|&length| length > 0)?;
        let (number, after) = rest.split_at(digits);
        let unit_length = after
            .find(|character: char| character.is_ascii_digit() || character == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_length);
        let nanos = UNITS.iter().find(|(name, _)| *name == unit)?.1;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let whole: i128 = if whole.is_empty() {
            0
        } else {
            whole.parse().ok()?
        };
        let mut value = whole.checked_mul(nanos)?;
        if !fraction.is_empty() {
            let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
            value += fraction.parse::<i128>().ok()?.checked_mul(nanos)? / scale;
        }
        total = total.checked_add(value)?;
        rest = after;
    }
    Some(total)
}

fn print_duration(nanos: i128) -> String {
    if nanos == 0 {
        return "0s".to_owned();
    }
    let mut rest = nanos;
    let mut text = String::new();
    for (unit, size) in [
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("µs", 1_000),
        ("ns", 1),
    ] {
        let count = rest / size;
        if count > 0 {
            text.push_str(&count.to_string());
            text.push_str(unit);
            rest %= size;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_the_gateway_writes_them() {
        for (asked, printed) in [
            ("60s", Some("1m")),
            ("90s", Some("1m30s")),
            ("1.5h", Some("1h30m")),
            ("0", None),
            ("0s", Some("0s")),
            ("10ms", Some("10ms")),
            ("1m", Some("1m")),
            ("s", None),
            ("5 s", None),
            ("slow", None),
        ] {
            assert_eq!(canonical_duration(asked).as_deref(), printed, "{asked}");
        }
    }
}
