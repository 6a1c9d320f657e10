//! What of an object's body must never be kept or shown in clear.
//!
//! A secret's value is replaced by an HMAC of its place and its value under the installation's
//! key, so that a change of it can be seen and its value cannot. Three rules find secrets, and
//! where they are in doubt they hide: members whose name says so, headers whose name says so, and
//! credentials inside addresses.
//!
//! A reference to a secret of the stack (see [`super::reference`]) is shown as the secret's name
//! and an HMAC of its value, `(secret NAME 0123…)`, so that a rotation is a change that can be
//! named. The rest of its text comes from Git and is shown; where the rules hide a text, they hide
//! the rest of it too. What a gateway reads back of such an object has the value in it, at a place
//! and in a spelling of the gateway's choice: there every text is replaced by an HMAC, old values
//! and hand-made ones included. So a difference is seen, and where, and never what.

use std::{collections::BTreeMap, fmt, sync::Arc};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

use super::{
    diff::diff,
    reference::{self, Piece, Secrets},
    way::Way,
};

/// Replaces secrets by keyed hashes. Holds the installation's key, so it never prints itself.
#[derive(Clone)]
pub struct Masker {
    mac: Hmac<Sha256>,
    /// What references in a body from Git stand for.
    secrets: Arc<Secrets>,
}

/// Member names that hold a secret and have none of the endings below, in lower case and without
/// `_` and `-`.
const SECRET_NAMES: &[&str] = &[
    "accesskey",
    "accesskeyid",
    "assertion",
    "cookie",
    "credentials",
    "dsn",
    "jwtsource",
    "passwd",
    "pwd",
    "secretaccesskey",
    "setcookie",
    "signingkey",
];

/// Endings of member and header names that hold a secret, such as `x-api-key` or `db_password`.
const SECRET_ENDINGS: &[&str] = &[
    "apikey",
    "authorization",
    "password",
    "passphrase",
    "privatekey",
    "secret",
    "secretkey",
    "token",
];

/// So much of a name's end tells whether it is one of these words, or ends with one.
const LONGER_THAN_EACH: usize = 16;

impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Masker(…)")
    }
}

impl Masker {
    pub fn new(key: &[u8; 32]) -> Self {
        Self {
            mac: Hmac::new_from_slice(key).expect("HMAC takes a key of any length"),
            secrets: Arc::default(),
        }
    }

    /// The same for bodies that refer to these secrets.
    #[must_use]
    pub fn with(&self, secrets: Arc<Secrets>) -> Self {
        Self {
            mac: self.mac.clone(),
            secrets,
        }
    }

    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// A copy of the body without its secrets. `hide_all` hides every text: for a body that was read
    /// and in which secret values stand in the place of references, anywhere.
    pub fn mask(&self, body: &Value, hide_all: bool) -> Value {
        self.mask_owned(body.clone(), hide_all)
    }

    /// The same for a body that nobody else needs.
    pub fn mask_owned(&self, mut body: Value, hide_all: bool) -> Value {
        self.visit(&mut body, Way::Root(""), hide_all);
        body
    }

    /// The same for a part of a body: what stands at `pointer`.
    pub fn mask_at(&self, pointer: &str, value: &Value, hide_all: bool) -> Value {
        let mut masked = value.clone();
        let way = Way::Root(pointer);
        if pointer.split('/').any(is_secret_name) || is_key_of_scheme(pointer) {
            self.hide_texts(&mut masked, way, hide_all);
        } else {
            // A header's value stands apart from its name, so it is hidden whatever the name.
            let hide_all = hide_all || pointer.ends_with("/value");
            self.visit(&mut masked, way, hide_all);
        }
        masked
    }

    /// Words of a gateway about a body that was sent, without what is secret in it.
    pub fn hide_in(&self, words: &str, sent: &Value) -> String {
        let masked = self.mask(sent, false);
        let hidden = diff(sent, &masked).into_iter();
        let others: Vec<String> = hidden
            .filter_map(|change| Some(change.before?.as_str()?.to_owned()))
            .collect();
        self.secrets.hide_in(words, &others)
    }

    fn visit(&self, value: &mut Value, way: Way<'_>, hide_all: bool) {
        match value {
            Value::Object(members) => {
                // `{"name": "Authorization", "value": "…"}`, as header lists are written.
                let named_secret = members.contains_key("value")
                    && members
                        .get("name")
                        .or_else(|| members.get("key"))
                        .and_then(Value::as_str)
                        .is_some_and(is_secret_name);
                for (name, member) in members.iter_mut() {
                    let way = Way::Member(&way, name);
                    let secret = is_secret_name(name)
                        || (named_secret && name == "value")
                        || (name == "source" && is_key_of_scheme(&way.pointer()));
                    if secret {
                        self.hide_texts(member, way, hide_all);
                    } else {
                        self.visit(member, way, hide_all);
                    }
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.visit(item, Way::Item(&way, index), hide_all);
                }
            }
            Value::String(text) => {
                if hide_all {
                    self.hide_any(text, way);
                } else if text_holds_secret(text) {
                    self.hide(text, way);
                } else if let Some((shown, _)) = self.shown(text) {
                    *text = shown;
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Hides the texts of a member whose name says that it is secret: the member itself, or the
    /// items of a list. An object below such a name has names of its own to go by.
    fn hide_texts(&self, value: &mut Value, way: Way<'_>, hide_all: bool) {
        match value {
            Value::String(text) if hide_all => self.hide_any(text, way),
            Value::String(text) => self.hide(text, way),
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.hide_texts(item, Way::Item(&way, index), hide_all);
                }
            }
            other => self.visit(other, way, hide_all),
        }
    }

    /// Hides a text at a place of secrets.
    fn hide(&self, text: &mut String, way: Way<'_>) {
        match self.shown(text) {
            Some((shown, secrets)) if shown == secrets => *text = shown,
            // Its rest is hidden as Git has it, so that a rotation changes nothing of that.
            Some((_, secrets)) => {
                let tag = self.tag(&way.pointer(), text);
                *text = format!("(secret {tag}) with {secrets}");
            }
            // A reference is not a secret, and says more than a hash.
            None if is_reference(text) => {}
            None => self.hide_any(text, way),
        }
    }

    fn hide_any(&self, text: &mut String, way: Way<'_>) {
        if text.is_empty() {
            return;
        }
        *text = format!("(secret {})", self.tag(&way.pointer(), text));
    }

    /// A text that refers to secrets as it may be shown, and its secrets alone. `None` for one that
    /// does not, or to none that are known.
    fn shown(&self, text: &str) -> Option<(String, String)> {
        if self.secrets.is_empty() || !reference::may_refer(text) {
            return None;
        }
        let (mut shown, mut secrets) = (String::new(), Vec::new());
        for piece in reference::pieces(text).ok()? {
            match piece {
                Piece::Plain(plain) => shown.push_str(plain),
                Piece::Secret(name) => {
                    // No pointer begins like this.
                    let tag = self.tag(&format!("secret:{name}"), self.secrets.get(name)?);
                    let secret = format!("(secret {name} {tag})");
                    shown.push_str(&secret);
                    secrets.push(secret);
                }
            }
        }
        (!secrets.is_empty()).then(|| (shown, secrets.join(", ")))
    }

    fn tag(&self, place: &str, value: &str) -> String {
        let mut mac = self.mac.clone();
        mac.update(place.as_bytes());
        mac.update(&[0]);
        mac.update(value.as_bytes());
        let tag = mac.finalize().into_bytes();
        hex::encode(&tag[..16])
    }
}

/// What of two masked bodies differs by secrets alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// The secrets that have another value.
    pub secrets: Vec<String>,
    /// Nothing else differs.
    pub is_all: bool,
}

/// Which secrets of two masked bodies of one object have another value in the second.
pub fn rotation(before: &str, after: &str) -> Rotation {
    let (rest_before, tags_before) = secrets_of(before);
    let (rest_after, tags_after) = secrets_of(after);
    let is_rotated =
        |(name, tag): &(&&str, &&str)| tags_before.get(*name).is_some_and(|old| old != *tag);
    let rotated = tags_after.iter().filter(is_rotated);
    Rotation {
        secrets: rotated.map(|(name, _)| (*name).to_owned()).collect(),
        is_all: rest_before == rest_after,
    }
}

/// A masked body without the hashes of its secrets, and those by name.
fn secrets_of(text: &str) -> (String, BTreeMap<&str, &str>) {
    const BEGINNING: &str = "(secret ";
    let (mut rest, mut secrets) = (String::new(), BTreeMap::new());
    let mut parts = text.split(BEGINNING);
    rest.push_str(parts.next().unwrap_or_default());
    for part in parts {
        rest.push_str(BEGINNING);
        let named = part.split_once(')').and_then(|(inside, following)| {
            let (name, tag) = inside.split_once(' ')?;
            Some((name, tag, following))
        });
        match named {
            Some((name, tag, following)) => {
                secrets.insert(name, tag);
                rest.push_str(name);
                rest.push(')');
                rest.push_str(following);
            }
            // One without a name hides the rest of a text, whose tag tells of the others too.
            None => rest.push_str(part),
        }
    }
    (rest, secrets)
}

/// Whether what stands at a pointer may be a secret, by its name or by how it looks.
pub fn may_be_secret(pointer: &str, text: &str) -> bool {
    pointer.split('/').any(is_secret_name)
        || is_key_of_scheme(pointer)
        || pointer.ends_with("/value")
        || text_holds_secret(text)
}

/// Whether a text stands in the place of a secret.
pub fn is_masked(text: &str) -> bool {
    let tag = text
        .strip_prefix("(secret ")
        .and_then(|text| text.strip_suffix(')'));
    tag.is_some_and(|tag| tag.len() == 32 && tag.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn is_secret_name(name: &str) -> bool {
    let mut end = [0; LONGER_THAN_EACH];
    let mut start = end.len();
    let letters = name
        .bytes()
        .rev()
        .filter(|letter| !matches!(letter, b'_' | b'-' | b' '));
    for letter in letters.take(end.len()) {
        start -= 1;
        end[start] = letter.to_ascii_lowercase();
    }
    let plain = &end[start..];
    SECRET_NAMES.iter().any(|word| word.as_bytes() == plain)
        || SECRET_ENDINGS
            .iter()
            .any(|ending| plain.ends_with(ending.as_bytes()))
}

/// The key with which an OAS document's JWT scheme checks signatures, which is called `source`.
fn is_key_of_scheme(pointer: &str) -> bool {
    pointer.ends_with("/source") && pointer.contains("/authentication/securitySchemes/")
}

/// `https://user:password@host`, a bearer token in a header's text, or a private key.
fn text_holds_secret(text: &str) -> bool {
    // Each of the three has one or the other, and few texts do.
    if !text
        .bytes()
        .any(|byte| byte == b'@' || byte.is_ascii_whitespace())
    {
        return false;
    }
    if text.contains("-----BEGIN") && text.contains("PRIVATE KEY") {
        return true;
    }
    let scheme_word = text.split_ascii_whitespace().next().unwrap_or_default();
    let is_header_value = ["Bearer", "Basic"]
        .iter()
        .any(|word| scheme_word.eq_ignore_ascii_case(word))
        && text.len() > scheme_word.len() + 8;
    if is_header_value {
        return true;
    }
    let Some((_, rest)) = text.split_once("://") else {
        return false;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority
        .rsplit_once('@')
        .is_some_and(|(credentials, _)| credentials.contains(':'))
}

/// The forms of references that a gateway resolves itself.
const REFERENCES: &[&str] = &[
    "env://",
    "secrets://",
    "consul://",
    "vault://",
    "kv://",
    "$secret_env.",
    "$secret_conf.",
    "$secret_consul.",
    "$secret_vault.",
    "$kv{",
];

fn is_reference(text: &str) -> bool {
    REFERENCES.iter().any(|form| text.starts_with(form))
}

/// Whether a body holds references that a gateway reads back resolved.
pub fn has_references(body: &Value) -> bool {
    match body {
        Value::String(text) => {
            // Every form has one of the two, and few texts do.
            text.bytes().any(|byte| matches!(byte, b'$' | b':'))
                && (REFERENCES.iter().any(|form| text.contains(form))
                    || text.starts_with("file://"))
        }
        Value::Array(items) => items.iter().any(has_references),
        Value::Object(members) => members.values().any(has_references),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn no_secret_word_is_longer_than_what_is_looked_at() {
        let mut words = SECRET_NAMES.iter().chain(SECRET_ENDINGS);
        assert!(words.all(|word| word.len() < LONGER_THAN_EACH));
    }

    fn masker() -> Masker {
        Masker::new(&[7; 32])
    }

    #[test]
    fn values_that_may_be_secret_are_replaced_wherever_they_stand() {
        let body = json!({
            "upstream_auth": {"basic_auth": {"username": "u", "password": "s3cr3t-1"}},
            "auth_configs": {"authToken": {"signature": {"secret": "s3cr3t-2"}, "auth_header_name": "X-Key"}},
            "jwt_source": "s3cr3t-3",
            "global_headers": {"X-Api-Key": "s3cr3t-4", "X-Plain": "shown"},
            "add": [{"name": "Authorization", "value": "s3cr3t-5"}, {"name": "X-A", "value": "shown"}],
            "proxy": {"target_url": "https://user:s3cr3t-6@up.example/"},
            "headers": ["Bearer s3cr3t-7-long-enough"],
            "event": {"client_secret": ["s3cr3t-8"]},
            "server": {"authentication": {"securitySchemes": {"jwt": {"source": "s3cr3t-10"}}}},
            "key": "-----BEGIN EC PRIVATE KEY-----s3cr3t-9",
            "tokenUrl": "https://idp.example/token"
        });
        let shown = masker().mask(&body, false).to_string();
        assert!(!shown.contains("s3cr3t"), "{shown}");
        assert!(shown.contains("https://idp.example/token"));
        assert_eq!(shown.matches("shown").count(), 2);
        // The search above would have found a planted secret.
        assert!(body.to_string().contains("s3cr3t-9"));
    }

    #[test]
    fn a_changed_secret_shows_as_a_change_and_equal_ones_elsewhere_look_different() {
        let masked = masker().mask(&json!({"a": {"secret": "x"}, "b": {"secret": "x"}}), false);
        let other = masker().mask(&json!({"a": {"secret": "y"}, "b": {"secret": "x"}}), false);
        assert_ne!(masked["a"], other["a"]);
        assert_eq!(masked["b"], other["b"]);
        assert_ne!(masked["a"]["secret"], masked["b"]["secret"]);
    }

    fn knowing(value: &str) -> Masker {
        let secrets = [("db".to_owned(), value.to_owned().into())];
        masker().with(Arc::new(secrets.into_iter().collect()))
    }

    #[test]
    fn a_secret_of_the_stack_shows_its_name_and_what_else_its_text_says() {
        let body = json!({
            "X-Custom": "token ${secret:db}, $${secret:db}",
            "password": "${secret:db}",
            "secret": "plain-${secret:db}",
            "target_url": "https://u:${secret:db}@host/",
            "prefixed": "env://X/${secret:db}",
            "authToken": {"name": "${secret:db}"},
        });
        let masked = knowing("s3cr3t").mask(&body, false);
        let tag = masked["password"].as_str().unwrap();
        assert!(tag.starts_with("(secret db ") && tag.len() == "(secret db )".len() + 32);
        assert_eq!(masked["X-Custom"], format!("token {tag}, ${{secret:db}}"));
        assert_eq!(masked["prefixed"], format!("env://X/{tag}"));
        assert_eq!(masked["authToken"]["name"], tag);
        for hidden in ["secret", "target_url"] {
            let text = masked[hidden].as_str().unwrap();
            assert!(text.ends_with(&format!(") with {tag}")), "{text}");
            assert!(!text.contains("plain") && !text.contains("host"), "{text}");
        }
        // Without the values a reference is a text like others.
        assert_eq!(
            masker().mask(&body, false)["password"]
                .as_str()
                .unwrap()
                .len(),
            41
        );
    }

    #[test]
    fn a_rotation_is_told_from_other_changes() {
        let text = |value: &str, body: &Value| knowing(value).mask(body, false).to_string();
        let body = json!({"a": "x ${secret:db}", "password": "plain-${secret:db}"});
        let other = json!({"a": "y ${secret:db}", "password": "plain-${secret:db}"});
        let (before, after) = (text("one", &body), text("two", &body));
        assert_ne!(before, after);
        let rotated = |is_all| Rotation {
            secrets: vec!["db".to_owned()],
            is_all,
        };
        assert_eq!(rotation(&before, &after), rotated(true));
        assert_eq!(rotation(&before, &text("two", &other)), rotated(false));
        assert_eq!(rotation(&before, &text("one", &other)).secrets, [""; 0]);
        let without = json!({"a": "x", "password": "plain"});
        assert_eq!(rotation(&text("one", &without), &after).secrets, [""; 0]);
    }

    #[test]
    fn what_was_read_with_secrets_in_it_shows_no_text_at_all() {
        let read = json!({
            "name": "n", "authToken": {"deep": {"any": "s3cr3t"}}, "list": ["env://a/s3cr3t"],
            "secret": "$secret_env.X/s3cr3t", "n": 7, "on": true, "empty": "",
        });
        let masked = masker().mask(&read, true);
        let shown = masked.to_string();
        assert!(
            !shown.contains("s3cr3t") && !shown.contains("env"),
            "{shown}"
        );
        assert_eq!(
            (&masked["n"], &masked["on"], &masked["empty"]),
            (&json!(7), &json!(true), &json!(""))
        );
    }

    #[test]
    fn references_are_shown_and_what_they_resolve_to_is_not() {
        let body = json!({"secret": "env://NAME", "proxy": {"target_url": "https://resolved"}});
        assert_eq!(masker().mask(&body, false)["secret"], "env://NAME");
        let hidden = masker().mask(&body, true).to_string();
        assert!(!hidden.contains("resolved"));
    }
}
