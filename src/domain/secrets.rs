//! What of an object's body must never be kept or shown in clear.
//!
//! A secret's value is replaced by an HMAC of its place and its value under the installation's
//! key, so that a change of it can be seen and its value cannot. Three rules find secrets, and
//! where they are in doubt they hide: members whose name says so, headers whose name says so, and
//! credentials inside addresses.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

use super::diff::push_token;

/// Replaces secrets by keyed hashes. Holds the installation's key, so it never prints itself.
#[derive(Clone)]
pub struct Masker {
    mac: Hmac<Sha256>,
}

/// Member names that hold a secret, in lower case and without `_` and `-`.
const SECRET_NAMES: &[&str] = &[
    "accesskey",
    "accesskeyid",
    "apikey",
    "apisecret",
    "assertion",
    "authorization",
    "authtoken",
    "bearertoken",
    "clientsecret",
    "cookie",
    "credentials",
    "dsn",
    "hmacsecret",
    "jwtsecret",
    "jwtsource",
    "passphrase",
    "passwd",
    "password",
    "privatekey",
    "pwd",
    "refreshtoken",
    "secret",
    "secretaccesskey",
    "secretkey",
    "sessiontoken",
    "setcookie",
    "sharedsecret",
    "signingkey",
    "token",
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

/// Members whose name sounds like a secret and holds none: names of headers, kinds of tokens.
const NOT_SECRET: &[&str] = &["tokenendpoint", "tokenurl"];

impl Masker {
    pub fn new(key: &[u8; 32]) -> Self {
        Self {
            mac: Hmac::new_from_slice(key).expect("HMAC takes a key of any length"),
        }
    }

    /// A copy of the body without its secrets. `hide_all` hides every text: for a body in which
    /// the gateway has put secret values in the place of references, anywhere.
    pub fn mask(&self, body: &Value, hide_all: bool) -> Value {
        let mut masked = body.clone();
        self.visit(&mut masked, &mut String::new(), hide_all);
        masked
    }

    /// The same for a part of a body: what stands at `pointer`.
    pub fn mask_at(&self, pointer: &str, value: &Value, hide_all: bool) -> Value {
        let mut masked = value.clone();
        let mut place = pointer.to_owned();
        if pointer.split('/').any(is_secret_name) || is_key_of_scheme(pointer) {
            self.hide_texts(&mut masked, &mut place);
        } else {
            // A header's value stands apart from its name, so it is hidden whatever the name.
            let hide_all = hide_all || pointer.ends_with("/value");
            self.visit(&mut masked, &mut place, hide_all);
        }
        masked
    }

    fn visit(&self, value: &mut Value, pointer: &mut String, hide_all: bool) {
        match value {
            Value::Object(members) => {
                // `{"name": "Authorization", "value": "…"}`, as header lists are written.
                let named_secret = members
                    .get("name")
                    .or_else(|| members.get("key"))
                    .and_then(Value::as_str)
                    .is_some_and(is_secret_name);
                for (name, member) in members.iter_mut() {
                    let length = pointer.len();
                    push_token(pointer, name);
                    let secret = is_secret_name(name)
                        || (named_secret && name == "value")
                        || is_key_of_scheme(pointer);
                    if secret {
                        self.hide_texts(member, pointer);
                    } else {
                        self.visit(member, pointer, hide_all);
                    }
                    pointer.truncate(length);
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    let length = pointer.len();
                    push_token(pointer, &index.to_string());
                    self.visit(item, pointer, hide_all);
                    pointer.truncate(length);
                }
            }
            Value::String(text) => {
                if hide_all || text_holds_secret(text) {
                    self.hide(text, pointer);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Hides the texts of a member whose name says that it is secret: the member itself, or the
    /// items of a list. An object below such a name has names of its own to go by.
    fn hide_texts(&self, value: &mut Value, pointer: &mut String) {
        match value {
            Value::String(text) => self.hide(text, pointer),
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    let length = pointer.len();
                    push_token(pointer, &index.to_string());
                    self.hide_texts(item, pointer);
                    pointer.truncate(length);
                }
            }
            other => self.visit(other, pointer, false),
        }
    }

    fn hide(&self, text: &mut String, pointer: &str) {
        // A reference is not a secret, and says more than a hash.
        if text.is_empty() || is_reference(text) {
            return;
        }
        let mut mac = self.mac.clone();
        mac.update(pointer.as_bytes());
        mac.update(&[0]);
        mac.update(text.as_bytes());
        let tag = mac.finalize().into_bytes();
        *text = format!("(secret {})", hex::encode(&tag[..16]));
    }
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
    let plain: String = name
        .chars()
        .filter(|character| !matches!(character, '_' | '-' | ' '))
        .map(|character| character.to_ascii_lowercase())
        .collect();
    !NOT_SECRET.contains(&plain.as_str())
        && (SECRET_NAMES.contains(&plain.as_str())
            || SECRET_ENDINGS.iter().any(|ending| plain.ends_with(ending)))
}

/// The key with which an OAS document's JWT scheme checks signatures, which is called `source`.
fn is_key_of_scheme(pointer: &str) -> bool {
    pointer.ends_with("/source") && pointer.contains("/authentication/securitySchemes/")
}

/// `https://user:password@host`, a bearer token in a header's text, or a private key.
fn text_holds_secret(text: &str) -> bool {
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
            REFERENCES.iter().any(|form| text.contains(form)) || text.starts_with("file://")
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

    #[test]
    fn references_are_shown_and_what_they_resolve_to_is_not() {
        let body = json!({"secret": "env://NAME", "proxy": {"target_url": "https://resolved"}});
        assert_eq!(masker().mask(&body, false)["secret"], "env://NAME");
        let hidden = masker().mask(&body, true).to_string();
        assert!(!hidden.contains("resolved"));
    }
}
