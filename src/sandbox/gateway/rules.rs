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
    /// Members that an object in this place must have.
    #[serde(default)]
    required: Vec<String>,
    #[serde(default)]
    first_only: bool,
    #[serde(default)]
    min_items: usize,
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
    check_within(ty, value, path, None, errors);
}

/// As `check`; `limits` are those of the member that the value is.
fn check_within(
    ty: &Type,
    value: &Value,
    path: &str,
    limits: Option<&Limits>,
    errors: &mut Vec<String>,
) {
    let Some(wanted) = expected(ty) else {
        return;
    };
    let given = kind(value);
    if given != wanted && (wanted, given) != ("number", "integer") {
        errors.push(format!(
            "{path}: Invalid type. Expected: {wanted}, given: {given}"
        ));
        return;
    }
    match (ty, value) {
        (Type::Pointer(inner), _) => check_within(inner, value, path, limits, errors),
        (Type::List(inner), Value::Array(items)) => {
            // The schema describes the first item of some lists, and says nothing of the others.
            let described = if limits.is_some_and(|limits| limits.first_only) {
                1
            } else {
                usize::MAX
            };
            for (position, item) in items.iter().enumerate().take(described) {
                let path = format!("{path}.{position}");
                check_within(inner, item, &path, limits, errors);
            }
        }
        (Type::Map(inner), Value::Object(map)) => {
            for (key, item) in map {
                check_within(inner, item, &format!("{path}.{key}"), limits, errors);
            }
        }
        (Type::Struct(index), Value::Object(map)) => {
            let name = types().name(*index);
            if name == "oas.URLRewriteRule" {
                rewrite_rule(value, path, errors);
                return;
            }
            either(name, value, path, errors);
            let rules = table().get(name);
            let required = rules.map_or(&[][..], |rules| &rules.required);
            let here = limits.map_or(&[][..], |limits| &limits.required);
            missing(required.iter().chain(here), value, path, errors);
            for field in types().fields(ty).map_or(&[][..], |shape| &shape.fields) {
                let Some(item) = map.get(&field.name) else {
                    continue;
                };
                let path = format!("{path}.{}", field.name);
                let limits = rules.and_then(|rules| rules.fields.get(&field.name));
                check_within(&field.ty, item, &path, limits, errors);
                if let Some(limits) = limits {
                    limits.check(item, &path, errors);
                }
            }
            loose_parts(name, value, path, errors);
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
        if value
            .as_array()
            .is_some_and(|items| items.len() < self.min_items)
        {
            errors.push(format!(
                "{path}: Array must have at least {} items",
                self.min_items
            ));
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

/// The places where one of several forms must hold, in a type that the table knows.
fn either(name: &str, value: &Value, path: &str, errors: &mut Vec<String>) {
    let lacks = |member: &str| match value.get(member) {
        Some(_) => Vec::new(),
        None => vec![format!("{path}: {member} is required")],
    };
    match name {
        "oas.Upstream" => best(path, [lacks("url"), lacks("loadBalancing")], errors),
        "oas.TransformBody" => {
            best(path, [lacks("body"), lacks("path")], errors);
            if value.as_object().is_some_and(|map| map.len() < 3) {
                errors.push(format!("{path}: Must have at least 3 properties"));
            }
        }
        "oas.Versioning" => {
            let location = value.get("location").and_then(Value::as_str);
            let one = |values: &[&str]| {
                let values: Vec<String> = values.iter().map(|it| (*it).to_owned()).collect();
                let mut errors = Vec::new();
                if let Some(location) = location {
                    one_of(&values, location, &format!("{path}.location"), &mut errors);
                }
                errors
            };
            let mut keyed = lacks("key");
            keyed.extend(one(&["header", "url-param"]));
            best(path, [keyed, one(&["url"])], errors);
        }
        _ => {}
    }
}

/// Parts that the table of types does not describe.
fn loose_parts(name: &str, value: &Value, path: &str, errors: &mut Vec<String>) {
    match name {
        "oas.Authentication" => {
            let schemes = value.get("securitySchemes").and_then(Value::as_object);
            for (scheme, item) in schemes.into_iter().flatten() {
                let path = format!("{path}.securitySchemes.{scheme}");
                let forms = ["Token", "JWT", "Basic", "OAuth", "ExternalOAuth"].map(|form| {
                    let mut errors = Vec::new();
                    let ty = types().named(&format!("oas.{form}"));
                    check(&ty, item, &path, &mut errors);
                    errors
                });
                best(&path, forms, errors);
            }
        }
        "oas.Server" => {
            let handlers = value.get("eventHandlers").and_then(Value::as_array);
            if let Some(handler) = handlers.and_then(|handlers| handlers.first()) {
                let path = format!("{path}.eventHandlers.0");
                let forms = [
                    "Webhook-With-ID",
                    "Webhook-Without-ID",
                    "JSVMEvent",
                    "LogEvent",
                ]
                .map(|form| form_errors(&format!("event.{form}"), handler, &path));
                best(&path, forms, errors);
            }
        }
        _ => {}
    }
}

fn rewrite_rule(value: &Value, path: &str, errors: &mut Vec<String>) {
    best(
        path,
        ["rule.Other", "rule.RequestBody"].map(|form| form_errors(form, value, path)),
        errors,
    );
}

/// The errors of a value that is described by rules alone.
fn form_errors(form: &str, value: &Value, path: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let Some(rules) = table().get(form) else {
        return errors;
    };
    if !value.is_object() {
        let given = kind(value);
        errors.push(format!(
            "{path}: Invalid type. Expected: object, given: {given}"
        ));
        return errors;
    }
    missing(rules.required.iter(), value, path, &mut errors);
    for (member, limits) in &rules.fields {
        if let Some(item) = value.get(member) {
            limits.check(item, &format!("{path}.{member}"), &mut errors);
        }
    }
    errors
}

/// Where no form holds, the errors of the one that comes closest are told.
fn best<const FORMS: usize>(path: &str, forms: [Vec<String>; FORMS], errors: &mut Vec<String>) {
    let closest = forms.into_iter().min_by_key(Vec::len).unwrap_or_default();
    if !closest.is_empty() {
        errors.push(format!("{path}: Must validate at least one schema (anyOf)"));
        errors.extend(closest);
    }
}

fn missing<'rules>(
    required: impl Iterator<Item = &'rules String>,
    value: &Value,
    path: &str,
    errors: &mut Vec<String>,
) {
    for member in required {
        if value.get(member).is_none() {
            errors.push(format!("{path}: {member} is required"));
        }
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
