//! The store of certificates: live at once, without a reload, one per fingerprint. It reads of a
//! certificate what it shows, and verifies nothing.

mod x509;

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::reply::Reply;
use super::routes::Call;
use super::serve::Shared;

#[derive(Debug, Default)]
pub struct Certificates {
    /// Organisation and fingerprint → what is shown.
    stored: BTreeMap<String, Stored>,
}

#[derive(Debug, Clone)]
struct Stored {
    fingerprint: String,
    has_private: bool,
    shown: x509::Shown,
}

impl Stored {
    fn row(&self, id: &str) -> Value {
        let names = &self.shown.dns_names;
        json!({
            "id": id,
            "issuer_cn": self.shown.issuer.common_name(),
            "subject_cn": self.shown.subject.common_name(),
            "dns_names": if names.is_empty() { Value::Null } else { json!(names) },
            "has_private": self.has_private,
            "not_before": self.shown.not_before,
            "not_after": self.shown.not_after,
            "is_ca": self.shown.is_ca,
        })
    }

    fn whole(&self, id: &str) -> Value {
        let mut whole = json!({
            "id": id,
            "fingerprint": self.fingerprint,
            "has_private": self.has_private,
            "issuer": self.shown.issuer.to_value(),
            "subject": self.shown.subject.to_value(),
            "not_before": self.shown.not_before,
            "not_after": self.shown.not_after,
            "is_ca": self.shown.is_ca,
        });
        if !self.shown.dns_names.is_empty()
            && let Some(map) = whole.as_object_mut()
        {
            map.insert("dns_names".to_owned(), json!(self.shown.dns_names));
        }
        whole
    }
}

pub fn list(shared: &Arc<Shared>, call: &Call<'_>) -> Reply {
    let certificates = shared.certificates();
    let organisation = call.parameter("org_id");
    let found: Vec<(&String, &Stored)> = certificates
        .stored
        .iter()
        .filter(|(id, _)| id.starts_with(organisation))
        .collect();
    if found.is_empty() {
        return Reply::json(200, "{\"certs\":null}");
    }
    if call.parameter("mode") == "detailed" {
        let rows: Vec<Value> = found.iter().map(|(id, stored)| stored.row(id)).collect();
        return Reply::value(200, &json!({ "certs": rows }));
    }
    let ids: Vec<&String> = found.into_iter().map(|(id, _)| id).collect();
    Reply::value(200, &json!({ "certs": ids }))
}

pub fn read(shared: &Arc<Shared>, ids: &str) -> Reply {
    let certificates = shared.certificates();
    let found: Vec<Option<Value>> = ids
        .split(',')
        .map(|id| Some(certificates.stored.get(id)?.whole(id)))
        .collect();
    match found.as_slice() {
        [None] => Reply::error(404, "Certificate with given SHA256 fingerprint not found"),
        [Some(one)] => Reply::value(200, one),
        many => Reply::value(200, &json!(many)),
    }
}

pub fn add(shared: &Arc<Shared>, call: &Call<'_>) -> Reply {
    let text = String::from_utf8_lossy(&call.body);
    let (shown, der) = match parse(&text) {
        Ok(parsed) => parsed,
        Err(problem) => return Reply::error(403, problem),
    };
    let fingerprint = hex::encode(Sha256::digest(&der));
    let id = format!("{}{fingerprint}", call.parameter("org_id"));
    let mut certificates = shared.certificates();
    if certificates.stored.contains_key(&id) {
        return Reply::error(403, &format!("Certificate with {id} id already exists"));
    }
    // A public key is shown as a certificate of that name, without a fingerprint.
    let (fingerprint, shown) = match shown {
        Some(shown) => (fingerprint, shown),
        None => (
            String::new(),
            x509::Shown::named(&format!("Public Key: {fingerprint}")),
        ),
    };
    let stored = Stored {
        fingerprint,
        has_private: text.contains("PRIVATE KEY-----"),
        shown,
    };
    certificates.stored.insert(id.clone(), stored);
    Reply::json(
        200,
        format!("{{\"id\":\"{id}\",\"status\":\"ok\",\"message\":\"Certificate added\"}}"),
    )
}

/// What is shown of the first certificate, or of none for a public key, and what names it. That a
/// private key fits is not looked at.
fn parse(text: &str) -> Result<(Option<x509::Shown>, Vec<u8>), &'static str> {
    const NO_PEM: &str = "Failed to decode certificate. It should be PEM encoded.";
    let now = jiff::Timestamp::now().to_string();
    let mut certificates = Vec::new();
    for der in blocks(text, "CERTIFICATE") {
        let shown = x509::read(&der).ok_or(NO_PEM)?;
        if shown.not_after < now {
            return Err("certificate is expired");
        }
        certificates.push((Some(shown), der));
    }
    if text.matches("PRIVATE KEY-----").count() > 2 {
        return Err("Found multiple private keys");
    }
    let public_key = blocks(text, "PUBLIC KEY").pop();
    match (certificates.into_iter().next(), public_key) {
        (Some(_), Some(_)) => Err("Public keys can't be combined with certificates"),
        (Some(first), None) => Ok(first),
        (None, Some(der)) => Ok((None, der)),
        (None, None) => Err(NO_PEM),
    }
}

pub fn remove(shared: &Arc<Shared>, call: &Call<'_>, id: &str) -> Reply {
    let mut certificates = shared.certificates();
    if id.starts_with(call.parameter("org_id")) {
        certificates.stored.remove(id);
    }
    Reply::message(200, "ok", "removed")
}

fn blocks(text: &str, label: &str) -> Vec<Vec<u8>> {
    let begin = format!("-----BEGIN {label}-----");
    let end = format!("-----END {label}-----");
    text.split(&begin)
        .skip(1)
        .filter_map(|rest| {
            let (inside, _) = rest.split_once(&end)?;
            let inside: String = inside.split_whitespace().collect();
            base64::engine::general_purpose::STANDARD
                .decode(inside)
                .ok()
        })
        .collect()
}
