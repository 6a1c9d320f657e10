//! References to certificates: `certificate:NAME`, wherever a gateway takes a certificate's id, is
//! replaced by the id, and the certificate becomes an object of the desired state.
//!
//! A name is that of a PEM file, without its suffix and seen from the stack's folder, or of a
//! certificate in the configuration. A private key in Git is refused: whoever can read the
//! repository has it. What is no reference is left as it is.

use std::collections::{BTreeMap, BTreeSet};

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::{Described, NamedCertificate, Place, Problem, Reading, SourceFile, checks};
use crate::domain::{
    certificate::{Certificate, Content, private_key_line},
    diff::push_token,
    object::{Kind, Object, ObjectKey},
};

const REFERENCE: &str = "certificate:";

/// What a name begins with that stands for a certificate in a Secret; no file is called so.
const IN_SECRET: &str = "secret:";

/// A certificate, or a public key, that a Secret in Git holds.
#[derive(Debug, Clone)]
pub(super) struct InSecret {
    pub text: String,
    pub place: Place,
    pub pointer: String,
}

/// What is written where a gateway takes a certificate's id.
pub(super) fn reference(name: &str) -> String {
    format!("{REFERENCE}{name}")
}

pub(super) fn reference_to_secret(name: &str) -> String {
    reference(&format!("{IN_SECRET}{name}"))
}

const SUFFIXES: [&str; 2] = [".pem", ".crt"];

/// What a gateway needs in a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// A certificate that somebody else has to show.
    Certificate,
    /// One that the gateway itself shows, so that it needs the key.
    WithKey,
    PublicKey,
    /// Several, parted by commas.
    PublicKeys,
}

/// Where ids of certificates stand; `*` is every item or member.
const CLASSIC: &[(&str, Need)] = &[
    ("/certificates/*", Need::WithKey),
    ("/client_certificates/*", Need::Certificate),
    ("/upstream_certificates/*", Need::WithKey),
    ("/pinned_public_keys/*", Need::PublicKeys),
    ("/request_signing/certificate_id", Need::WithKey),
];

const OAS: &[(&str, Need)] = &[
    (
        "/x-tyk-api-gateway/server/customDomain/certificates/*",
        Need::WithKey,
    ),
    (
        "/x-tyk-api-gateway/server/clientCertificates/allowlist/*",
        Need::Certificate,
    ),
    (
        "/x-tyk-api-gateway/upstream/mutualTLS/domainToCertificateMapping/*/certificate",
        Need::WithKey,
    ),
    (
        "/x-tyk-api-gateway/upstream/certificatePinning/domainToPublicKeysMapping/*/publicKeys/*",
        Need::PublicKey,
    ),
    (
        "/x-tyk-api-gateway/upstream/authentication/requestSigning/certificateId",
        Need::WithKey,
    ),
];

pub(super) fn is_pem(file: &SourceFile) -> bool {
    suffix(&file.path).is_some()
}

/// Whether a reference may stand in a body.
pub(super) fn refers(body: &Value) -> bool {
    match body {
        Value::String(text) => text.contains(REFERENCE),
        Value::Array(items) => items.iter().any(refers),
        Value::Object(members) => members.values().any(refers),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Replaces every reference, and gives the certificates that were referred to.
pub(super) fn resolve(files: &[&SourceFile], reading: &mut Reading<'_>) -> Vec<(Object, Place)> {
    let mut shelf = Shelf::new(files, reading);
    let mut objects = std::mem::take(&mut reading.objects);
    let referring = objects
        .iter_mut()
        .filter(|each| each.refers_to_certificates);
    for Described { object, place, .. } in referring {
        let places = match object.key.kind {
            Kind::ClassicApi => CLASSIC,
            Kind::OasApi | Kind::McpProxy => OAS,
            Kind::Certificate | Kind::Policy => continue,
        };
        for (pattern, need) in places {
            let path: Vec<&str> = pattern.split('/').skip(1).collect();
            visit(
                &mut object.body,
                &path,
                &mut String::new(),
                &mut |id, at| {
                    if *need == Need::PublicKeys {
                        let ids = id.split(',').map(|id| {
                            let id = id.trim();
                            let known = shelf.id_of(id, Need::PublicKey, place, at, reading);
                            known.unwrap_or_else(|| id.to_owned())
                        });
                        let ids: Vec<String> = ids.collect();
                        return id.contains(REFERENCE).then(|| ids.join(","));
                    }
                    shelf.id_of(id, *need, place, at, reading)
                },
            );
        }
    }
    reading.objects = objects;
    shelf.finish(reading)
}

/// Every certificate that can be referred to, and those that were.
struct Shelf<'f> {
    files: BTreeMap<String, Vec<&'f SourceFile>>,
    read: BTreeMap<String, Known>,
    used: BTreeSet<String>,
}

/// What a name stands for.
#[derive(Clone)]
enum Known {
    Certificate {
        certificate: Box<Certificate>,
        path: String,
    },
    NotHere,
    /// It is said elsewhere why.
    Broken,
}

impl<'f> Shelf<'f> {
    fn new(files: &[&'f SourceFile], reading: &Reading<'_>) -> Self {
        let mut by_name: BTreeMap<String, Vec<&SourceFile>> = BTreeMap::new();
        for file in files {
            let name = name_of(&file.path, &reading.options.folders);
            by_name.entry(name).or_default().push(file);
        }
        Self {
            files: by_name,
            read: BTreeMap::new(),
            used: BTreeSet::new(),
        }
    }

    /// The id that stands for a reference; `None` where there is nothing to replace.
    fn id_of(
        &mut self,
        text: &str,
        need: Need,
        place: &Place,
        pointer: &str,
        reading: &mut Reading<'_>,
    ) -> Option<String> {
        let name = text.strip_prefix(REFERENCE)?;
        if !self.read.contains_key(name) {
            let known = self.read_one(name, place, pointer, reading)?;
            self.read.insert(name.to_owned(), known);
        }
        let known = self.read.get(name).cloned()?;
        let Known::Certificate { certificate, path } = known else {
            return None;
        };
        self.used.insert(name.to_owned());
        let is_public_key = certificate.content == Content::PublicKey;
        match need {
            Need::PublicKey | Need::PublicKeys if !is_public_key => {
                reading.wrong(
                    place,
                    pointer,
                    format!("pins a public key, and {path} holds a certificate"),
                    Some("write its key into a file with: openssl x509 -in FILE -pubkey -noout"),
                );
                return None;
            }
            Need::Certificate | Need::WithKey if is_public_key => {
                reading.wrong(
                    place,
                    pointer,
                    format!("needs a certificate, and {path} holds a public key"),
                    None,
                );
                return None;
            }
            Need::WithKey if !certificate.has_private_key => reading.warn(
                place,
                pointer,
                format!(
                    "the gateway has to show this certificate, and {path} holds no private key"
                ),
                Some("give both in the configuration of the server, as [certificate.NAME]"),
            ),
            _ => {}
        }
        let out_of_date = reading.options.now;
        if let Some(said) = out_of_date.and_then(|now| certificate.out_of_date(now)) {
            reading.warn(place, pointer, format!("{REFERENCE}{name} {said}"), None);
        }
        let organisation = reading.options.org.as_deref().unwrap_or_default();
        Some(certificate.id(organisation))
    }

    /// Reads what a name stands for. `None` for an unknown one, which is named wherever it stands.
    fn read_one(
        &self,
        name: &str,
        place: &Place,
        pointer: &str,
        reading: &mut Reading<'_>,
    ) -> Option<Known> {
        let in_secret = name.strip_prefix(IN_SECRET);
        if let Some(held) = in_secret
            .and_then(|name| reading.in_secrets.get(name))
            .cloned()
        {
            return Some(read_secret(&held, reading));
        }
        let files = self.files.get(name).map_or(&[][..], Vec::as_slice);
        let options = reading.options;
        let named = options.certificates.get(name);
        let known = match (files, named) {
            ([file], None) => read_file(file, reading),
            ([], Some(NamedCertificate::NotHere)) => Known::NotHere,
            ([], Some(NamedCertificate::Unreadable(why))) => unreadable(name, why, reading),
            ([], Some(NamedCertificate::Text(text))) => {
                match Certificate::parse(text.expose_secret()) {
                    Ok(certificate) => Known::Certificate {
                        certificate: Box::new(certificate),
                        path: format!("[certificate.{name}]"),
                    },
                    Err(problem) => unreadable(name, &problem.message, reading),
                }
            }
            ([], None) => {
                self.unknown(name, place, pointer, reading);
                return None;
            }
            (files, named) => {
                let mut meant: Vec<String> = files.iter().map(|file| file.path.clone()).collect();
                meant.extend(named.map(|_| format!("[certificate.{name}]")));
                let message = format!("{name} may mean {}", meant.join(" or "));
                reading.wrong(place, pointer, message, Some("rename one of them"));
                Known::Broken
            }
        };
        Some(known)
    }

    fn unknown(&self, name: &str, place: &Place, pointer: &str, reading: &mut Reading<'_>) {
        let names: Vec<&str> = self
            .files
            .keys()
            .chain(reading.options.certificates.keys())
            .map(String::as_str)
            .collect();
        let fix = checks::nearest(name, &names).map_or_else(
            || {
                format!(
                    "add the file {name}.pem below the stack's folder, or [certificate.{name}] to \
                     the server's configuration"
                )
            },
            |nearest| format!("did you mean {REFERENCE}{nearest}?"),
        );
        let message = format!("there is no certificate {name:?}");
        reading.wrong(place, pointer, message, Some(&fix));
    }

    /// The certificates that were referred to, each once, and a word on the files that were not.
    fn finish(self, reading: &mut Reading<'_>) -> Vec<(Object, Place)> {
        for (name, files) in &self.files {
            if self.read.contains_key(name) {
                continue;
            }
            for file in files {
                let place = place_of(&file.path);
                reading.ignore(&place, "a certificate that no manifest refers to");
                let text = String::from_utf8_lossy(&file.bytes);
                if let Some(line) = private_key_line(&text) {
                    let message = format!("there is a private key on line {line}: {IN_GIT}");
                    reading.warn(&place, "", message, Some(CURE));
                }
            }
        }
        let organisation = reading.options.org.clone().unwrap_or_default();
        let mut found: BTreeMap<String, (Box<Certificate>, String)> = BTreeMap::new();
        for name in &self.used {
            let Some(Known::Certificate { certificate, path }) = self.read.get(name) else {
                continue;
            };
            let weight =
                |certificate: &Certificate| (certificate.has_private_key, certificate.chain.len());
            let id = certificate.id(&organisation);
            // Of two that begin with the same certificate, the one that says more.
            let says_more = found
                .get(&id)
                .is_none_or(|(first, _)| weight(certificate) > weight(first));
            if says_more {
                found.insert(id, (certificate.clone(), path.clone()));
            }
        }
        found
            .into_iter()
            .map(|(id, (certificate, path))| {
                let place = place_of(&path);
                let object = Object {
                    key: ObjectKey::new(Kind::Certificate, id),
                    body: certificate.body(),
                    path,
                };
                (object, place)
            })
            .collect()
    }
}

pub(super) const IN_GIT: &str = "whoever can read the repository has it";
pub(super) const CURE: &str = "take it for stolen: make a new one, and give it in the server's configuration \
                    as [certificate.NAME]";

/// Nothing in Git is wrong, and it may be in the middle of a renewal.
fn unreadable(name: &str, why: &str, reading: &mut Reading<'_>) -> Known {
    let message = format!("[certificate.{name}] of the configuration: {why}");
    reading.unreadable.insert(message);
    Known::Broken
}

fn read_file(file: &SourceFile, reading: &mut Reading<'_>) -> Known {
    let mut broken = |line: u64, message: String, fix: Option<&str>| {
        reading.problems.push(Problem {
            file: file.path.clone(),
            line,
            column: u64::from(line > 0),
            document: 0,
            pointer: String::new(),
            message,
            fix: fix.map(str::to_owned),
        });
        Known::Broken
    };
    let Ok(text) = std::str::from_utf8(&file.bytes) else {
        return broken(
            0,
            "the file is no text, and certificates are read as PEM".to_owned(),
            Some("turn it into PEM with: openssl x509 -inform der -in FILE"),
        );
    };
    if let Some(line) = private_key_line(text) {
        let message = format!("a private key is refused: {IN_GIT}");
        return broken(line, message, Some(CURE));
    }
    match Certificate::parse(text) {
        Ok(certificate) => Known::Certificate {
            certificate: Box::new(certificate),
            path: file.path.clone(),
        },
        Err(problem) => broken(problem.line, problem.message, problem.fix),
    }
}

fn read_secret(held: &InSecret, reading: &mut Reading<'_>) -> Known {
    match Certificate::parse(&held.text) {
        Ok(certificate) => Known::Certificate {
            certificate: Box::new(certificate),
            path: held.place.file.clone(),
        },
        Err(problem) => {
            let pointer = held.pointer.as_str();
            reading.wrong(&held.place, pointer, problem.message, problem.fix);
            Known::Broken
        }
    }
}

fn place_of(path: &str) -> Place {
    Place::new(path, 0)
}

fn suffix(path: &str) -> Option<&'static str> {
    SUFFIXES.into_iter().find(|suffix| path.ends_with(suffix))
}

/// A file's path below the folder that is read, without its suffix.
fn name_of(path: &str, folders: &[String]) -> String {
    let below = folders.iter().find_map(|folder| {
        let folder = folder.trim_end_matches('/');
        if folder.is_empty() {
            return Some(path);
        }
        path.strip_prefix(folder)?.strip_prefix('/')
    });
    let below = below.unwrap_or(path);
    let name = suffix(below).and_then(|suffix| below.strip_suffix(suffix));
    name.unwrap_or(below).to_owned()
}

/// Offers every text at a pattern, with its pointer, for another to be put in its place.
fn visit(
    value: &mut Value,
    path: &[&str],
    pointer: &mut String,
    replace: &mut dyn FnMut(&str, &str) -> Option<String>,
) {
    let Some((step, rest)) = path.split_first() else {
        if let Value::String(text) = value
            && let Some(other) = replace(text, pointer)
        {
            *value = json!(other);
        }
        return;
    };
    let mut below = |name: &str, value: &mut Value| {
        let length = pointer.len();
        push_token(pointer, name);
        visit(value, rest, pointer, replace);
        pointer.truncate(length);
    };
    match value {
        Value::Object(members) if *step == "*" => {
            for (name, member) in members.iter_mut() {
                below(name, member);
            }
        }
        Value::Array(items) if *step == "*" => {
            for (index, item) in items.iter_mut().enumerate() {
                below(&index.to_string(), item);
            }
        }
        Value::Object(members) => {
            if let Some(member) = members.get_mut(*step) {
                below(step, member);
            }
        }
        _ => {}
    }
}
