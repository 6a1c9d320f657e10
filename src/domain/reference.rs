//! `${secret:NAME}` in a text of a manifest: a secret of the stack, filled in when the text is sent
//! to a gateway, and nowhere else. `$${secret:` is the text `${secret:` itself.
//!
//! A body keeps its references for as long as it is looked at, hashed, stored or shown. What was
//! filled in is used for two things: to be sent, and to be compared in memory with what a gateway
//! reads back.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::object::Desired;

const OPENING: &str = "${secret:";
const LONGEST_NAME: usize = 63;

/// The values of a stack's secrets, by name. `Debug` shows the names alone.
#[derive(Debug, Clone, Default)]
pub struct Secrets(BTreeMap<String, SecretString>);

impl FromIterator<(String, SecretString)> for Secrets {
    fn from_iter<T: IntoIterator<Item = (String, SecretString)>>(values: T) -> Self {
        Self(values.into_iter().collect())
    }
}

impl Secrets {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(ExposeSecret::expose_secret)
    }
}

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'t> {
    Plain(&'t str),
    Secret(&'t str),
}

/// Why a text that begins a reference is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a reference to a secret is ${{secret:NAME}}, its name 1 to 63 letters, digits, _ and -; the \
     text itself is written $${{secret:"
)]
pub struct NoReference;

/// Whether a name is one that a secret may have.
pub fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(is_plain)
}

/// A text taken apart at its references. Plain parts are as they are to be sent.
pub fn pieces(text: &str) -> Result<Vec<Piece<'_>>, NoReference> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(place) = rest.find(OPENING) {
        let after = place + OPENING.len();
        if let Some(before) = rest[..place].strip_suffix('$') {
            pieces.push(Piece::Plain(before));
            pieces.push(Piece::Plain(OPENING));
            rest = &rest[after..];
            continue;
        }
        pieces.push(Piece::Plain(&rest[..place]));
        let (name, following) = rest[after..].split_once('}').ok_or(NoReference)?;
        if !is_name(name) {
            return Err(NoReference);
        }
        pieces.push(Piece::Secret(name));
        rest = following;
    }
    pieces.push(Piece::Plain(rest));
    pieces.retain(|piece| *piece != Piece::Plain(""));
    Ok(pieces)
}

/// Whether a text may have references, or parts that only look like one.
pub fn may_refer(text: &str) -> bool {
    text.contains(OPENING)
}

/// The secrets that a text refers to.
pub fn names_in(text: &str) -> Vec<&str> {
    if !may_refer(text) {
        return Vec::new();
    }
    let pieces = pieces(text).unwrap_or_default();
    let names = pieces.into_iter().filter_map(|piece| match piece {
        Piece::Secret(name) => Some(name),
        Piece::Plain(_) => None,
    });
    names.collect()
}

/// The secrets that objects refer to.
pub fn names_of(desired: &Desired) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for object in desired.values() {
        collect(&object.body, &mut names);
    }
    names
}

fn collect(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => names.extend(names_in(text).into_iter().map(str::to_owned)),
        Value::Array(items) => items.iter().for_each(|item| collect(item, names)),
        Value::Object(members) => members.values().for_each(|member| collect(member, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Whether a body refers to a secret.
pub fn refers(body: &Value) -> bool {
    match body {
        Value::String(text) => !names_in(text).is_empty(),
        Value::Array(items) => items.iter().any(refers),
        Value::Object(members) => members.values().any(refers),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The body as it is sent. `None` where it is sent as it is. A secret that is not known stays a
/// reference, which no run lets happen: it would end before.
pub fn filled(body: &Value, secrets: &Secrets) -> Option<Value> {
    fn fill(value: &mut Value, secrets: &Secrets, is_filled: &mut bool) {
        match value {
            Value::String(text) if may_refer(text) => {
                if let Ok(pieces) = pieces(text) {
                    *is_filled = true;
                    *text = fill_text(&pieces, secrets);
                }
            }
            Value::Array(items) => {
                for item in items {
                    fill(item, secrets, is_filled);
                }
            }
            Value::Object(members) => {
                for member in members.values_mut() {
                    fill(member, secrets, is_filled);
                }
            }
            _ => {}
        }
    }
    if !has_openings(body) {
        return None;
    }
    let (mut body, mut is_filled) = (body.clone(), false);
    fill(&mut body, secrets, &mut is_filled);
    is_filled.then_some(body)
}

/// A body as a manifest says it: what looks like a reference in it is text.
pub fn written(body: Value) -> Value {
    match body {
        Value::String(text) if may_refer(&text) => {
            Value::String(text.replace(OPENING, &format!("${OPENING}")))
        }
        Value::Array(items) => items.into_iter().map(written).collect(),
        Value::Object(members) => {
            let members = members.into_iter();
            members
                .map(|(name, member)| (name, written(member)))
                .collect()
        }
        other => other,
    }
}

fn has_openings(body: &Value) -> bool {
    match body {
        Value::String(text) => may_refer(text),
        Value::Array(items) => items.iter().any(has_openings),
        Value::Object(members) => members.values().any(has_openings),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn fill_text(pieces: &[Piece<'_>], secrets: &Secrets) -> String {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Plain(plain) => text.push_str(plain),
            Piece::Secret(name) => match secrets.get(name) {
                Some(value) => text.push_str(value),
                None => {
                    let _ = write!(text, "{OPENING}{name}}}");
                }
            },
        }
    }
    text
}

impl Secrets {
    /// Words of a gateway about a body that was sent, without the secrets in it and without `others`.
    /// A gateway may quote a part of the body, cut it off anywhere, and write it in several ways.
    pub fn hide_in(&self, words: &str, others: &[String]) -> String {
        /// Hidden by itself, a shorter one would show where it is not.
        const LONG_ENOUGH: usize = 6;
        const SHORTEST_BEGINNING: usize = 4;
        let named = self.0.iter().map(|(name, value)| {
            let shown = format!("(secret {name})");
            (value.expose_secret(), shown)
        });
        let unnamed = others
            .iter()
            .map(|value| (value.as_str(), "(secret)".to_owned()));
        let mut needles: Vec<(String, String)> = Vec::new();
        for (value, shown) in named.chain(unnamed) {
            for spelling in spellings(value) {
                if spelling.len() < LONG_ENOUGH && words.contains(&spelling) {
                    return format!("{shown} stands in its words, which are not repeated");
                }
                needles.push((spelling, shown.clone()));
            }
        }
        needles.retain(|(spelling, _)| spelling.len() >= LONG_ENOUGH);
        needles.sort_by(|left, right| right.0.len().cmp(&left.0.len()).then(left.cmp(right)));
        let mut words = words.to_owned();
        for (spelling, shown) in &needles {
            if words.contains(spelling.as_str()) {
                words = words.replace(spelling.as_str(), shown);
            }
        }
        // What was cut off in the middle.
        let beginning = needles.iter().filter_map(|(spelling, shown)| {
            let lengths = (SHORTEST_BEGINNING..spelling.len()).rev();
            let at = lengths
                .filter(|length| spelling.is_char_boundary(*length))
                .find(|length| {
                    words
                        .trim_end_matches(['…', '.', '"'])
                        .ends_with(&spelling[..*length])
                })?;
            Some((at, shown))
        });
        if let Some((length, shown)) = beginning.max() {
            let whole = words.trim_end_matches(['…', '.', '"']).len();
            words.truncate(whole - length);
            let _ = write!(words, "{shown}…");
        }
        words
    }
}

/// The ways in which a value may be written inside other texts. Of a value of several lines each
/// one counts.
fn spellings(value: &str) -> BTreeSet<String> {
    const LONG_ENOUGH: usize = 8;
    let unquoted = |text: String| text[1..text.len() - 1].to_owned();
    let json = unquoted(serde_json::Value::from(value).to_string());
    let escaped = |text: &str| {
        text.replace('<', "\\u003c")
            .replace('>', "\\u003e")
            .replace('&', "\\u0026")
    };
    let lines = value.lines().filter(|line| line.len() >= LONG_ENOUGH);
    let mut spellings: BTreeSet<String> = lines.map(str::to_owned).collect();
    spellings.extend([
        value.to_owned(),
        escaped(&json),
        json,
        unquoted(format!("{value:?}")),
        STANDARD.encode(value),
        url::form_urlencoded::byte_serialize(value.as_bytes()).collect(),
        percent_encoded(value),
    ]);
    spellings
}

fn percent_encoded(value: &str) -> String {
    let mut text = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn secrets(values: &[(&str, &str)]) -> Secrets {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned().into());
        values.iter().map(pair).collect()
    }

    #[test]
    fn references_stand_anywhere_in_a_text_and_two_dollars_are_the_text_itself() {
        let secrets = secrets(&[("user", "ada"), ("pass-word", "a\"b\n${secret:user}")]);
        let body = json!({
            "whole": "${secret:user}",
            "two": "https://${secret:user}:${secret:pass-word}@host",
            "itself": "$${secret:user} and $$${secret:user}",
            "others": ["${values.x}", "$secret_env.X", "${secretly}"],
        });
        assert_eq!(
            filled(&body, &secrets).unwrap(),
            json!({
                "whole": "ada",
                "two": "https://ada:a\"b\n${secret:user}@host",
                "itself": "${secret:user} and $${secret:user}",
                "others": ["${values.x}", "$secret_env.X", "${secretly}"],
            })
        );
        assert!(refers(&body) && !refers(&body["itself"]) && !refers(&body["others"]));
        assert_eq!(filled(&body["others"], &secrets), None);
    }

    #[test]
    fn what_only_begins_like_a_reference_is_none() {
        for text in [
            "${secret:",
            "${secret:}",
            "a ${secret:a b}",
            "${secret:${secret:a}}",
        ] {
            assert_eq!(pieces(text), Err(NoReference), "{text}");
        }
        assert!(pieces(&format!("${{secret:{}}}", "n".repeat(63))).is_ok());
        assert!(pieces(&format!("${{secret:{}}}", "n".repeat(64))).is_err());
    }

    #[test]
    fn words_that_quote_a_body_lose_the_secrets_however_they_are_written() {
        let secrets = secrets(&[
            ("odd", "p4ss\"w<ord>&\n/second-line"),
            ("inner", "w0rd-of-many"),
            ("outer", "a-w0rd-of-many-more"),
            ("short", "q7"),
        ]);
        for (words, expected) in [
            (
                "refused: p4ss\"w<ord>&\n/second-line!",
                "refused: (secret odd)!",
            ),
            (
                r#"at "p4ss\"w<ord>&\n/second-line""#,
                r#"at "(secret odd)""#,
            ),
            (
                r#"at "p4ss\"w\u003cord\u003e\u0026\n/second-line""#,
                r#"at "(secret odd)""#,
            ),
            (
                "GET /p4ss%22w%3Cord%3E%26%0A%2Fsecond-line",
                "GET /(secret odd)",
            ),
            ("only /second-line here", "only (secret odd) here"),
            (
                "a-w0rd-of-many-more, w0rd-of-many",
                "(secret outer), (secret inner)",
            ),
            ("cut at a-w0rd-of-man", "cut at (secret outer)…"),
            ("nothing", "nothing"),
            ("an-unnamed-one", "(secret)"),
            (
                "with q7",
                "(secret short) stands in its words, which are not repeated",
            ),
        ] {
            assert_eq!(
                secrets.hide_in(words, &["an-unnamed-one".to_owned()]),
                expected,
                "{words}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_can_be_written(text in "[a${secret:}n]{0,40}|.{0,40}") {
            let body = json!([text]);
            let manifest = written(body.clone());
            prop_assert!(!refers(&manifest));
            let sent = filled(&manifest, &Secrets::default());
            prop_assert_eq!(sent.unwrap_or(manifest), body);
        }

        #[test]
        fn nothing_makes_it_panic(text in "[${secret:a}]{0,60}", value in ".{0,20}", words in ".{0,60}") {
            let secrets = secrets(&[("a", &value)]);
            let _ = filled(&json!(text), &secrets);
            let _ = secrets.hide_in(&words, &[value]);
        }
    }
}
