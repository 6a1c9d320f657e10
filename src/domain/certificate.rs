//! Certificates and public keys as a gateway keeps them: it names each by the organisation and
//! the SHA-256 of its DER form, so that equal ones are one object and an id says what is in it.
//!
//! Reads PEM and says what is wrong with it. Verifies no signature and no chain. A private key is
//! carried along and never shown.

use std::collections::BTreeSet;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use rustls_pki_types::pem::{PemObject as _, SectionKind};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use x509_cert::{
    Certificate as X509,
    der::{Decode as _, Encode as _},
};

/// The member of an object's body that holds what is uploaded. It is never stored nor shown.
pub const TEXT: &str = "pem";

/// The hex digits of a SHA-256, with which every certificate's id ends.
const FINGERPRINT: usize = 64;

/// A file of certificates is not larger, all those that systems trust included.
const LARGEST: usize = 1024 * 1024;

/// What one PEM text holds.
#[derive(Debug, Clone)]
pub struct Certificate {
    pub content: Content,
    /// Of what names it: the first certificate, or the public key.
    pub fingerprint: String,
    /// Of the certificates after the first.
    pub chain: Vec<String>,
    pub has_private_key: bool,
    /// What is uploaded: what was read, and nothing else.
    text: SecretString,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Certificate {
        subject: String,
        issuer: String,
        not_before: Timestamp,
        not_after: Timestamp,
    },
    PublicKey,
}

/// Why a text cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// From 1; 0 for the text as a whole.
    pub line: u64,
    pub message: String,
    pub fix: Option<&'static str>,
}

/// The line, from 1, on which a private key begins.
pub fn private_key_line(text: &str) -> Option<u64> {
    blocks(text)
        .find(|block| block.label.ends_with(PRIVATE_KEY))
        .map(|block| block.line)
}

const PRIVATE_KEY: &str = "PRIVATE KEY";

impl Certificate {
    pub fn parse(text: &str) -> Result<Self, Problem> {
        if text.len() > LARGEST {
            let message = format!("has more than {LARGEST} bytes");
            return Err(Problem::of(0, message, None));
        }
        let mut certificates: Vec<(X509, Vec<u8>)> = Vec::new();
        let mut public_key: Option<Vec<u8>> = None;
        let mut private_key: Option<&str> = None;
        for block in blocks(text) {
            match block.label {
                "CERTIFICATE" => {
                    let der = block.der()?;
                    let certificate = X509::from_der(&der).map_err(|_| {
                        let message = "the certificate cannot be read".to_owned();
                        Problem::of(block.line, message, Some("write it anew, as PEM"))
                    })?;
                    certificates.push((certificate, der));
                }
                "PUBLIC KEY" => public_key = Some(block.der()?),
                label if label.ends_with(PRIVATE_KEY) => {
                    if block.is_encrypted() {
                        return Err(Problem::of(
                            block.line,
                            "the private key is encrypted, and the gateway could not open it"
                                .to_owned(),
                            Some("decrypt it with: openssl pkey -in FILE -out FILE"),
                        ));
                    }
                    if private_key.replace(block.whole()).is_some() {
                        let message = "there is a second private key".to_owned();
                        return Err(Problem::of(block.line, message, Some("keep one of them")));
                    }
                }
                // A gateway passes over what it does not know, such as the parameters of a curve.
                _ => {}
            }
        }
        match (certificates.is_empty(), public_key) {
            (false, None) => Self::of_chain(&certificates, private_key),
            (true, Some(der)) => Ok(Self::of_public_key(&der)),
            (false, Some(_)) => Err(Problem::of(
                0,
                "holds certificates and a public key, and the gateway takes one or the other"
                    .to_owned(),
                Some("put the public key into a file of its own"),
            )),
            (true, None) => Err(Problem::of(
                0,
                "holds no certificate and no public key that the gateway reads: a block between \
                 -----BEGIN CERTIFICATE----- and -----END CERTIFICATE-----"
                    .to_owned(),
                Some("turn a DER file into PEM with: openssl x509 -inform der -in FILE"),
            )),
        }
    }

    fn of_chain(
        certificates: &[(X509, Vec<u8>)],
        private_key: Option<&str>,
    ) -> Result<Self, Problem> {
        let unreadable = |what: &str| Problem::of(0, format!("{what} cannot be read"), None);
        let mut text = String::new();
        for (_, der) in certificates {
            text.push_str(&pem("CERTIFICATE", der));
        }
        text.extend(private_key);
        let mut fingerprints = certificates.iter().map(|(_, der)| fingerprint(der));
        let (Some((first, _)), Some(fingerprint)) = (certificates.first(), fingerprints.next())
        else {
            return Err(unreadable("the certificate"));
        };
        let first = first.tbs_certificate();
        let time = |time: x509_cert::time::Time| {
            let seconds = i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
            Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
        };
        Ok(Self {
            content: Content::Certificate {
                subject: name(first.subject()),
                issuer: name(first.issuer()),
                not_before: time(first.validity().not_before),
                not_after: time(first.validity().not_after),
            },
            fingerprint,
            chain: fingerprints.collect(),
            has_private_key: private_key.is_some(),
            text: text.into(),
        })
    }

    fn of_public_key(der: &[u8]) -> Self {
        Self {
            content: Content::PublicKey,
            fingerprint: fingerprint(der),
            chain: Vec::new(),
            has_private_key: false,
            text: pem("PUBLIC KEY", der).into(),
        }
    }

    /// The id under which a gateway keeps it for an organisation.
    pub fn id(&self, organisation: &str) -> String {
        format!("{organisation}{}", self.fingerprint)
    }

    /// The body of its object: what people may see, and [`TEXT`].
    pub fn body(&self) -> Value {
        let Self {
            content,
            fingerprint,
            chain,
            has_private_key,
            text,
        } = self;
        let mut body = match content {
            Content::Certificate {
                subject,
                issuer,
                not_before,
                not_after,
            } => json!({
                "subject": subject,
                "issuer": issuer,
                "not_before": not_before,
                "not_after": not_after,
                "has_private_key": has_private_key,
            }),
            Content::PublicKey => json!({"subject": "a public key"}),
        };
        body["fingerprint"] = json!(fingerprint);
        if !chain.is_empty() {
            body["chain"] = json!(chain);
        }
        body[TEXT] = json!(text.expose_secret());
        body
    }

    /// Why a gateway would not use it at that time.
    pub fn out_of_date(&self, now: Timestamp) -> Option<String> {
        match &self.content {
            Content::Certificate { not_after, .. } if *not_after < now => Some(format!(
                "expired on {not_after}, and a gateway refuses to take it"
            )),
            Content::Certificate { not_before, .. } if *not_before > now => Some(format!(
                "is not valid before {not_before}, and is refused in handshakes until then"
            )),
            Content::Certificate { .. } | Content::PublicKey => None,
        }
    }
}

impl Problem {
    fn of(line: u64, message: String, fix: Option<&'static str>) -> Self {
        Self { line, message, fix }
    }
}

/// The part of a certificate's id that says what is in it; whatever stands before it is the
/// organisation.
pub fn fingerprint_of(id: &str) -> &str {
    let start = id.len().saturating_sub(FINGERPRINT);
    id.get(start..).unwrap_or(id)
}

pub fn organisation_of(id: &str) -> &str {
    id.strip_suffix(fingerprint_of(id)).unwrap_or_default()
}

/// The known fingerprints that a text mentions, in one pass over it: a listing of thousands of
/// APIs is searched for all certificates at once.
pub fn mentioned(text: &str, known: &BTreeSet<&str>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    if known.is_empty() {
        return found;
    }
    for run in text.split(|letter: char| !letter.is_ascii_hexdigit()) {
        // The organisation before it may end in such digits too.
        if run.len() >= FINGERPRINT && known.contains(fingerprint_of(run)) {
            found.insert(fingerprint_of(run).to_owned());
        }
    }
    found
}

fn fingerprint(der: &[u8]) -> String {
    hex::encode(Sha256::digest(der))
}

fn name(name: &x509_cert::name::Name) -> String {
    const LONGEST: usize = 400;
    let is_empty = name.to_der().map_or(true, |der| der.len() <= 2);
    if is_empty {
        return "no name".to_owned();
    }
    name.to_string().chars().take(LONGEST).collect()
}

fn pem(label: &str, der: &[u8]) -> String {
    const WIDTH: usize = 64;
    let mut text = format!("-----BEGIN {label}-----\n");
    for (index, letter) in BASE64_STANDARD.encode(der).chars().enumerate() {
        if index > 0 && index % WIDTH == 0 {
            text.push('\n');
        }
        text.push(letter);
    }
    text.push_str(&format!("\n-----END {label}-----\n"));
    text
}

/// One block of a PEM text.
struct Block<'a> {
    label: &'a str,
    line: u64,
    /// From its first line to the end of the text.
    rest: &'a str,
}

impl<'a> Block<'a> {
    /// To its last line; to the end of the text for one that does not end. Looked for only where it
    /// is needed: a text may be full of beginnings.
    fn whole(&self) -> &'a str {
        let end = format!("-----END {}-----", self.label);
        let length = self
            .rest
            .find(&end)
            .map_or(self.rest.len(), |at| at + end.len());
        // With the line break, so that another block may follow.
        let length = length + usize::from(self.rest[length..].starts_with('\n'));
        &self.rest[..length]
    }

    fn der(&self) -> Result<Vec<u8>, Problem> {
        match <(SectionKind, Vec<u8>)>::from_pem_slice(self.whole().as_bytes()) {
            Ok((_, der)) if !der.is_empty() => Ok(der),
            // The parser's words repeat what it read.
            Ok(_) | Err(_) => Err(Problem::of(
                self.line,
                "the block is no PEM: it does not end, or what is in it is not base64".to_owned(),
                None,
            )),
        }
    }

    fn is_encrypted(&self) -> bool {
        self.label.starts_with("ENCRYPTED") || self.whole().contains("Proc-Type: 4,ENCRYPTED")
    }
}

fn blocks(text: &str) -> impl Iterator<Item = Block<'_>> {
    let mut offset = 0;
    let lines = text
        .split_inclusive('\n')
        .zip(1..)
        .map(move |(line, number)| {
            let start = offset;
            offset += line.len();
            (start, line, number)
        });
    lines.filter_map(|(start, line, number)| {
        let label = line
            .trim()
            .strip_prefix("-----BEGIN ")?
            .strip_suffix("-----")?;
        Some(Block {
            label,
            line: number,
            rest: &text[start..],
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = include_str!("../../tests/data/certificates/server.pem");
    const KEY: &str = include_str!("../../tests/data/certificates/server.key");
    const CA: &str = include_str!("../../tests/data/certificates/ca.pem");
    const PUBLIC_KEY: &str = include_str!("../../tests/data/certificates/server-public-key.pem");

    #[test]
    fn a_certificate_is_named_by_what_stands_first_in_it() {
        let alone = Certificate::parse(SERVER).unwrap();
        let chain = Certificate::parse(&format!("words\n{SERVER}\n{CA}{KEY}")).unwrap();
        assert_eq!(alone.fingerprint, chain.fingerprint);
        assert_eq!(chain.chain, [Certificate::parse(CA).unwrap().fingerprint]);
        assert!(chain.has_private_key && !alone.has_private_key);
        let Content::Certificate { subject, .. } = &alone.content else {
            panic!("it is no public key");
        };
        assert_eq!(subject, "CN=shop.example.com,O=Lockstep tests");
        let id = alone.id("5e9d9544a1dcd60001d0ed20");
        assert_eq!(organisation_of(&id), "5e9d9544a1dcd60001d0ed20");
        assert_eq!(fingerprint_of(&id), alone.fingerprint);
        let known = BTreeSet::from([alone.fingerprint.as_str()]);
        let text = format!("{{\"a\":\"x,{id}\",\"b\":\"{}\"}}", "0".repeat(64));
        let found = mentioned(&text, &known);
        assert_eq!(found, BTreeSet::from([alone.fingerprint.clone()]));
        let key = Certificate::parse(PUBLIC_KEY).unwrap();
        assert_eq!(key.content, Content::PublicKey);
    }

    #[test]
    fn a_private_key_is_uploaded_and_never_shown() {
        let certificate = Certificate::parse(&format!("{KEY}{SERVER}")).unwrap();
        let line = KEY.lines().nth(1).unwrap();
        let body = certificate.body();
        assert!(body[TEXT].as_str().unwrap().contains(line));
        assert!(!format!("{certificate:?}").contains(line));
        let kind = crate::domain::object::Kind::Certificate;
        let shown = crate::domain::normalize::comparable(kind, &body);
        assert!(!shown.to_string().contains(line));
        assert_eq!(shown["has_private_key"], true);
    }

    #[test]
    fn what_a_gateway_would_not_take_has_its_line_and_its_cure() {
        let broken = SERVER.replace("MII", "M?I");
        let encrypted = KEY.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        let cases = [
            (String::new(), 0, "holds no certificate"),
            ("\0\u{1}".to_owned(), 0, "holds no certificate"),
            (format!("\n\n{broken}"), 3, "the block is no PEM"),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----".to_owned(),
                1,
                "the certificate cannot be read",
            ),
            (format!("{CA}{PUBLIC_KEY}"), 0, "one or the other"),
            (
                format!("{SERVER}{KEY}{KEY}"),
                SERVER.lines().count() + KEY.lines().count() + 1,
                "a second private key",
            ),
            (
                format!("{SERVER}{encrypted}"),
                SERVER.lines().count() + 1,
                "is encrypted",
            ),
            (" ".repeat(LARGEST + 1), 0, "has more than"),
        ];
        for (text, line, message) in cases {
            let problem = Certificate::parse(&text).unwrap_err();
            assert!(problem.message.contains(message), "{problem:?}");
            assert_eq!(problem.line, line as u64, "{problem:?}");
        }
    }

    #[test]
    fn a_text_full_of_beginnings_takes_no_longer_than_another() {
        let text = "-----BEGIN NOTHING-----\n".repeat(LARGEST / 30);
        assert!(Certificate::parse(&text).is_err());
        assert_eq!(private_key_line(&text), None);
    }
}
