//! What must hold for an id, a listen path, a field, whatever the document that has it.

use serde_json::Value;

use super::{Place, Reading};
use crate::domain::{object::Kind, secrets, way::at};

/// The longest id that a gateway can store: it names its file `<id>-oas.json`, and a file's name has
/// 255 bytes at most. With a longer one its disk refuses, after it took one file of two.
const LONGEST_ID: usize = 246;

/// Ids that a gateway's routes hide.
const HIDDEN_IDS: &[&str] = &["oas", "export", "import", "versions"];

/// Why an id would not work, and what to do.
pub(super) fn id_problem(kind: Kind, id: &str) -> Option<(String, &'static str)> {
    if id.len() > LONGEST_ID {
        return Some((
            format!(
                "the id has {} characters, and a gateway can store {LONGEST_ID} at most",
                id.len()
            ),
            "shorten it, or the namespace and name that it is made of",
        ));
    }
    if kind == Kind::Policy {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~".contains(&byte);
        if id == "." || id == ".." || !id.bytes().all(allowed) {
            return Some((
                format!("{id:?} cannot be a policy's id"),
                "use letters, digits and . _ - ~",
            ));
        }
        return None;
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if !id.bytes().all(allowed) {
        return Some((
            format!("{id:?} cannot be an API's id"),
            "use letters, digits, _ and -",
        ));
    }
    if HIDDEN_IDS.contains(&id) {
        return Some((
            format!(
                "an API with the id {id} cannot be reached: the gateway's own addresses hide it"
            ),
            "give it another id",
        ));
    }
    if id.ends_with("-oas") || id.ends_with("-mcp") {
        return Some((
            format!(
                "the gateway accepts an API with the id {id} and never loads it, because of its ending"
            ),
            "give it an id that does not end in -oas or -mcp",
        ));
    }
    None
}

/// Why a listen path would not be served.
pub(super) fn listen_path_problem(path: &str) -> Option<&'static str> {
    if path.trim().is_empty() {
        return Some("the listen path is empty, so the API would not be served");
    }
    if !path.starts_with('/') {
        return Some("the listen path must begin with /: the gateway would not load the API");
    }
    if path.contains(char::is_whitespace) || path.contains('?') || path.contains('#') {
        return Some("a listen path with a space, ? or # is listed by the gateway and not served");
    }
    if path.split('/').any(|part| part == "..") {
        return Some("a listen path with .. is listed by the gateway and not served");
    }
    if path.contains("//") || path.contains('%') {
        return Some("a listen path with // or % is listed by the gateway and not served");
    }
    if path.contains("{}") || path.contains("{:") || path.contains(":}") {
        return Some(
            "a variable of the listen path has no name or no pattern: the gateway would not load the API",
        );
    }
    let mut depth = 0_i32;
    for character in path.chars() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth < 0 {
            break;
        }
    }
    if depth != 0 {
        return Some(
            "the braces of the listen path do not match: the gateway would not load the API",
        );
    }
    None
}

/// `id` (classic), `dbId` (OAS) and `_id` (policy) are database ids: 24 hex digits, or empty.
pub(super) fn is_database_id(text: &str) -> bool {
    text.is_empty() || (text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

pub(super) fn shape_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A value as a message may show it: what may be secret by its kind alone.
pub(super) fn shown(value: &Value, pointer: &str) -> String {
    const LONGEST: usize = 60;
    match value {
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) if may_be_shown(text, pointer) => {
            if text.chars().count() <= LONGEST {
                format!("the text {text:?}")
            } else {
                let start: String = text.chars().take(LONGEST).collect();
                format!("a text that begins with {start:?}")
            }
        }
        _ => shape_of(value).to_owned(),
    }
}

fn may_be_shown(text: &str, pointer: &str) -> bool {
    // A header's value stands apart from its name.
    let is_header = pointer
        .split('/')
        .any(|token| token.to_ascii_lowercase().contains("header"));
    !is_header && !secrets::may_be_secret(pointer, text)
}

/// Whether a text has a place for a value that is put in after the checks.
pub(super) fn is_filled_in_later(text: &str) -> bool {
    text.contains("${secret:") || text.contains("${values.")
}

/// The text at a pointer; a missing, empty or other value is named.
pub(super) fn required_text(
    body: &Value,
    pointer: &str,
    what: &str,
    place: &Place,
    reading: &mut Reading<'_>,
) {
    match at(body, pointer) {
        Some(Value::String(text)) if !text.trim().is_empty() => {}
        Some(Value::String(_)) => reading.wrong(place, pointer, format!("{what} is empty"), None),
        Some(other) => {
            let message = format!("{what} must be a text, and is {}", shape_of(other));
            reading.wrong(place, pointer, message, None);
        }
        None => reading.wrong(place, pointer, format!("{what} is missing"), None),
    }
}

/// The known name that is most like one that is not known.
pub(super) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), *candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, candidate)| candidate)
}
