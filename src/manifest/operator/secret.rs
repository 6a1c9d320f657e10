//! Secrets, as far as manifests refer to them. Whoever can read the repository has what stands in
//! them: a certificate may stand there, a private key or a password may not. For those a name in
//! the server's configuration stands in.
//!
//! No value of a Secret is ever part of a message.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;

use super::{
    super::{Place, Reading, certificates, certificates::InSecret},
    Cluster, FullName, NAMESPACE,
};
use crate::domain::{certificate::private_key_line, diff::push_token};

const CERTIFICATE: &str = "tls.crt";
const PRIVATE_KEY: &str = "tls.key";

// Never printed: it holds what may be secret.
pub(super) struct Secret {
    /// By key: base64 as in `data`, or a text as in `stringData`.
    data: BTreeMap<String, Data>,
    pub place: Place,
    pub is_used: AtomicBool,
}

enum Data {
    Encoded(String),
    Text(String),
}

/// A value that cannot be used, and why.
pub(super) struct NotBase64;

impl Secret {
    pub fn read(value: &Value, place: Place) -> Self {
        let mut data = BTreeMap::new();
        for (member, data_of) in [
            ("data", Data::Encoded as fn(String) -> Data),
            ("stringData", Data::Text),
        ] {
            let members = value.get(member).and_then(Value::as_object);
            for (key, text) in members.into_iter().flatten() {
                if let Some(text) = text.as_str() {
                    data.insert(key.clone(), data_of(text.to_owned()));
                }
            }
        }
        Self {
            data,
            place,
            is_used: AtomicBool::new(false),
        }
    }

    /// The text under a key. A placeholder is passed on as it is.
    pub fn text(&self, key: &str) -> Result<Option<String>, NotBase64> {
        match self.data.get(key) {
            None => Ok(None),
            Some(Data::Text(text)) => Ok(Some(text.clone())),
            Some(Data::Encoded(text)) if text.contains("${") => Ok(Some(text.clone())),
            Some(Data::Encoded(text)) => {
                let letters: String = text.split_whitespace().collect();
                let bytes = BASE64_STANDARD.decode(letters).map_err(|_| NotBase64)?;
                Ok(Some(String::from_utf8(bytes).map_err(|_| NotBase64)?))
            }
        }
    }

    fn pointer(&self, key: &str) -> String {
        let is_text = matches!(self.data.get(key), Some(Data::Text(_)));
        let mut pointer = if is_text { "/stringData" } else { "/data" }.to_owned();
        push_token(&mut pointer, key);
        pointer
    }

    /// A word on a Secret that nobody refers to.
    pub fn finish(self, reading: &mut Reading<'_>) {
        if self.is_used.load(Ordering::Relaxed) {
            return;
        }
        reading.ignore(&self.place, "a Secret that no manifest refers to");
        for key in self.data.keys() {
            let holds_key = self
                .text(key)
                .is_ok_and(|text| text.is_some_and(|text| private_key_line(&text).is_some()));
            if holds_key {
                let message = format!("there is a private key: {}", certificates::IN_GIT);
                let fix = Some(certificates::CURE);
                reading.warn(&self.place, self.pointer(key), message, fix);
            }
        }
    }
}

impl Cluster {
    /// What stands for a TLS Secret: a reference to a certificate. That of the Secret itself when
    /// it is here and has no private key; else the one that goes by its name, in the server's
    /// configuration or in a file.
    pub(super) fn certificate(
        &self,
        name: &str,
        namespace: &str,
        place: &Place,
        pointer: &str,
        reading: &mut Reading<'_>,
    ) -> Option<String> {
        if !super::is_name(name) {
            let message = "must be the name of a Secret";
            reading.wrong(place, pointer, message, None);
            return None;
        }
        let name = FullName {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        let elsewhere = if name.namespace == NAMESPACE {
            name.name.clone()
        } else {
            format!("{}-{}", name.namespace, name.name)
        };
        let elsewhere = certificates::reference(&elsewhere);
        let Some(secret) = self.secrets.get(&name) else {
            return Some(elsewhere);
        };
        secret.is_used.store(true, Ordering::Relaxed);
        let mut texts = BTreeMap::new();
        for key in [CERTIFICATE, PRIVATE_KEY] {
            match secret.text(key) {
                Ok(Some(text)) if private_key_line(&text).is_some() => {
                    let message = format!("a private key is refused: {}", certificates::IN_GIT);
                    let cure = certificates::CURE;
                    reading.wrong(&secret.place, secret.pointer(key), message, Some(cure));
                    return None;
                }
                Ok(text) => {
                    texts.insert(key, text.unwrap_or_default());
                }
                Err(NotBase64) if key == PRIVATE_KEY => {
                    texts.insert(key, "sealed".to_owned());
                }
                Err(NotBase64) => {
                    reading.wrong(
                        &secret.place,
                        secret.pointer(key),
                        "is not base64 of a text",
                        Some("encode it, or write it as it is under stringData"),
                    );
                    return None;
                }
            }
        }
        // The key is given in some other way, so the certificate has to be given with it.
        if texts.get(PRIVATE_KEY).is_some_and(|key| !key.is_empty()) {
            return Some(elsewhere);
        }
        let text = texts.remove(CERTIFICATE).unwrap_or_default();
        if text.is_empty() {
            let message = format!("the Secret {name} has no {CERTIFICATE}");
            reading.wrong(&secret.place, "/data", message, None);
            return None;
        }
        let certificate = InSecret {
            text,
            pointer: secret.pointer(CERTIFICATE),
            place: secret.place.clone(),
        };
        let reference = certificates::reference_to_secret(&name.to_string());
        reading.in_secrets.insert(name.to_string(), certificate);
        Some(reference)
    }

    /// A value that a Secret holds. In Git only a placeholder for it may stand.
    pub(super) fn secret_value(
        &self,
        name: &FullName,
        key: &str,
        place: &Place,
        pointer: &str,
        reading: &mut Reading<'_>,
    ) -> Option<String> {
        const CURE: &str = "write a reference to the secret into the document itself, such as \
                            ${secret:NAME} or $secret_env.NAME";
        let Some(secret) = self.secrets.get(name) else {
            let message =
                format!("names the Secret {name}, and without a cluster its value is not known");
            reading.wrong(place, pointer, message, Some(CURE));
            return None;
        };
        secret.is_used.store(true, Ordering::Relaxed);
        match secret.text(key) {
            Ok(Some(text)) if is_reference(&text) => Some(text),
            Ok(Some(_)) => {
                let message = format!(
                    "the secret stands in clear in Git: {}",
                    certificates::IN_GIT
                );
                let fix = format!("take it for stolen, make a new one, and {CURE}");
                reading.wrong(&secret.place, secret.pointer(key), message, Some(&fix));
                None
            }
            Ok(None) | Err(NotBase64) => {
                let message = format!("the Secret {name} has no text under the key {key:?}");
                reading.wrong(place, pointer, message, None);
                None
            }
        }
    }
}

/// Whether a text says where a secret is, and is none itself.
fn is_reference(text: &str) -> bool {
    let is_placeholder = text.starts_with("${") && text.ends_with('}');
    let schemes = ["env://", "secrets://", "vault://", "consul://"];
    let names = [
        "$secret_env.",
        "$secret_conf.",
        "$secret_vault.",
        "$secret_consul.",
    ];
    is_placeholder
        || schemes.iter().any(|scheme| text.starts_with(scheme))
        || names.iter().any(|name| text.starts_with(name))
}
