//! The schema of the extension: the types come from the table of types, what is required and
//! which values are allowed from a table of rules. It reports every error, as the gateway does.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::Deserialize;
use serde_json::Value;

use super::types::{Type, types};
use super::validate::{expected, kind};

#[derive(Debug, Default, Deserialize)]
struct Rules {
    #[serde(default)]
    required: Vec<String>,
    #[serde(default)]
    fields: BTreeMap<String, Limits>,
}

#[derive(Debug, Default, Deserialize)]
struct Limits {
    #[serde(default, rename = "enum")]
    values: Vec<String>,
    #[serde(default)]
    items: Vec<String>,
    pattern: Option<Pattern>,
    minimum: Option<f64>,
    maximum: Option<f64>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Pattern {
    NonBlank,
    Hms,
    Timeout,
    Duration,
    Domain,
}

/// Adds the errors of a value to the list; `path` is where it stands.
pub fn check(ty: &Type, value: &Value, path: &str, errors: &mut Vec<String>) {
    match expected(ty) {
        None => return,
        Some(wanted) => {
            let given = kind(value);
            if given != wanted && (wanted, given) != ("number", "integer") {
                errors.push(format!(
                    "{path}: Invalid type. Expected: {wanted}, given: {given}"
                ));
                return;
            }
        }
    }
    match (ty, value) {
        (Type::Pointer(inner), _) => check(inner, value, path, errors),
        (Type::List(inner), Value::Array(items)) => {
            for (position, item) in items.iter().enumerate() {
                check(inner, item, &format!("{path}.{position}"), errors);
            }
        }
        (Type::Map(inner), Value::Object(map)) => {
            for (key, item) in map {
                check(inner, item, &format!("{path}.{key}"), errors);
            }
        }
        (Type::Struct(index), Value::Object(map)) => {
            let name = types().name(*index);
            alternatives(name, value, path, errors);
            let rules = table().get(name);
            for required in rules.map_or(&[][..], |rules| &rules.required) {
                if !map.contains_key(required) {
                    errors.push(format!("{path}: {required} is required"));
                }
            }
            for field in types().fields(ty).map_or(&[][..], |shape| &shape.fields) {
                let Some(item) = map.get(&field.name) else {
                    continue;
                };
                let path = format!("{path}.{}", field.name);
                check(&field.ty, item, &path, errors);
                if let Some(limits) = rules.and_then(|rules| rules.fields.get(&field.name)) {
                    limits.check(item, &path, errors);
                }
            }
        }
        _ => {}
    }
}

impl Limits {
    fn check(&self, value: &Value, path: &str, errors: &mut Vec<String>) {
        if let (Some(pattern), Some(text)) = (self.pattern, value.as_str())
            && !pattern.matches(text)
        {
            errors.push(format!(
                "{path}: Does not match pattern '{}'",
                pattern.text()
            ));
        }
        if let Some(text) = value.as_str() {
            one_of(&self.values, text, path, errors);
        }
        if !self.items.is_empty() {
            for (position, item) in value.as_array().into_iter().flatten().enumerate() {
                if let Some(text) = item.as_str() {
                    one_of(&self.items, text, &format!("{path}.{position}"), errors);
                }
            }
        }
        if let Some(number) = value.as_f64() {
            if let Some(minimum) = self.minimum.filter(|minimum| number < *minimum) {
                errors.push(format!(
                    "{path}: Must be greater than or equal to {minimum}"
                ));
            }
            if let Some(maximum) = self.maximum.filter(|maximum| number > *maximum) {
                errors.push(format!("{path}: Must be less than or equal to {maximum}"));
            }
        }
    }
}

impl Pattern {
    fn matches(self, text: &str) -> bool {
        match self {
            Self::NonBlank => text.chars().any(|character| !character.is_whitespace()),
            Self::Hms => is_sequence(text, &["h", "m", "s"], false),
            Self::Timeout => is_sequence(text, &["m", "s", "ms"], true),
            Self::Duration => is_sequence(text, &["h", "m", "s", "ms", "µs", "ns"], false),
            Self::Domain => is_domain(text),
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::NonBlank => r"\S+",
            Self::Hms => r"^(\d+h)?(\d+m)?(\d+s)?$",
            Self::Timeout => r"^(\d+(?:\.\d+)?m)?(\d+(?:\.\d+)?s)?(\d+(?:\.\d+)?ms)?$",
            Self::Duration => r"^(\d+h)?(\d+m)?(\d+s)?(\d+ms)?(\d+µs)?(\d+ns)?$",
            Self::Domain => r"^([*a-zA-Z0-9-]+(\.[*a-zA-Z0-9-]+)*)(:\d+)?$",
        }
    }
}

/// The two places where one of several forms must hold.
fn alternatives(name: &str, value: &Value, path: &str, errors: &mut Vec<String>) {
    match name {
        "oas.Upstream" if value.get("url").is_none() && value.get("loadBalancing").is_none() => {
            errors.push(format!("{path}: Must validate at least one schema (anyOf)"));
            errors.push(format!("{path}: url is required"));
        }
        "oas.Versioning" => {
            let location = value.get("location").and_then(Value::as_str);
            let known = matches!(location, Some("header" | "url-param"));
            let Some(location) = location.filter(|location| *location != "url") else {
                return;
            };
            if !known {
                errors.push(format!("{path}: Must validate at least one schema (anyOf)"));
                let values = ["header".to_owned(), "url-param".to_owned()];
                one_of(&values, location, &format!("{path}.location"), errors);
            } else if value.get("key").is_none() {
                errors.push(format!("{path}: Must validate at least one schema (anyOf)"));
                errors.push(format!("{path}: key is required"));
            }
        }
        _ => {}
    }
}

fn one_of(values: &[String], text: &str, path: &str, errors: &mut Vec<String>) {
    if values.is_empty() || values.iter().any(|value| value == text) {
        return;
    }
    let values: Vec<String> = values.iter().map(|value| format!("\"{value}\"")).collect();
    errors.push(format!(
        "{path}: {path} must be one of the following: {}",
        values.join(", ")
    ));
}

/// Numbers with units, in this order, each at most once.
fn is_sequence(text: &str, units: &[&str], fractions: bool) -> bool {
    let mut rest = text;
    let mut units = units.iter();
    while !rest.is_empty() {
        let digits = rest
            .find(|character: char| {
                !(character.is_ascii_digit() || (fractions && character == '.'))
            })
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let is_number = match number.split_once('.') {
            Some((whole, fraction)) => {
                !whole.is_empty() && !fraction.is_empty() && !fraction.contains('.')
            }
            None => !number.is_empty(),
        };
        let length = after
            .find(|character: char| character.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(length);
        if !is_number || !units.by_ref().any(|known| *known == unit) {
            return false;
        }
        rest = after;
    }
    true
}

fn is_domain(text: &str) -> bool {
    let (host, port) = text.split_once(':').unwrap_or((text, "0"));
    !port.is_empty()
        && port.bytes().all(|byte| byte.is_ascii_digit())
        && host.split('.').all(|label| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'*' || byte == b'-')
        })
}

fn table() -> &'static BTreeMap<String, Rules> {
    static TABLE: OnceLock<BTreeMap<String, Rules>> = OnceLock::new();
    TABLE.get_or_init(|| {
        serde_json::from_str(include_str!("rules.json")).expect("rules.json is a table of rules")
    })
}
