//! What a gateway was asked, in order, and what a careful client must not do. It remembers; it
//! never decides an answer.

use std::collections::BTreeSet;
use std::time::Instant;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// How much of the bodies of requests is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    Nothing,
    /// The hash of the body alone.
    Hashes,
    /// Bodies up to this many bytes each; of longer ones the hash alone.
    Bodies(usize),
}

/// One request to the control API.
#[derive(Debug, Clone)]
pub struct Seen {
    pub started: Instant,
    /// Absent while the request is under way, or when its connection went away.
    pub ended: Option<Instant>,
    pub method: String,
    pub path: String,
    pub query: String,
    pub status: Option<u16>,
    pub object: Option<Object>,
    pub body_hash: Option<[u8; 32]>,
    pub body: Option<Bytes>,
}

/// The object that a request names by its path, or by its body where the path has no id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    pub kind: Kind,
    pub id: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Classic,
    Oas,
    Mcp,
    Policy,
    Certificate,
}

impl Seen {
    pub fn is_write(&self) -> bool {
        matches!(self.method.as_str(), "POST" | "PUT" | "PATCH" | "DELETE")
    }

    pub fn is_admin(&self) -> bool {
        self.path.starts_with("/tyk/")
    }

    pub fn is_oas_read(&self) -> bool {
        self.method == "GET"
            && (self.path == "/tyk/apis/oas"
                || self.path.starts_with("/tyk/apis/oas/")
                || self.path == "/tyk/mcps"
                || self.path.starts_with("/tyk/mcps/"))
    }

    pub fn is_reload(&self) -> bool {
        self.path == "/tyk/reload" || self.path == "/tyk/reload/group"
    }
}

/// The journal of one gateway.
#[derive(Debug)]
pub struct Journal {
    keep: Keep,
    seen: Vec<Seen>,
    forgotten: usize,
    open: BTreeSet<usize>,
    misuse: Vec<String>,
}

impl Journal {
    pub fn new(keep: Keep) -> Self {
        Self {
            keep,
            seen: Vec::new(),
            forgotten: 0,
            open: BTreeSet::new(),
            misuse: Vec::new(),
        }
    }

    /// Notes a request and returns its number.
    pub fn begin(&mut self, mut seen: Seen, body: &Bytes, loading: bool) -> usize {
        self.judge(&seen, loading);
        match self.keep {
            Keep::Nothing => {}
            Keep::Hashes => seen.body_hash = Some(hash(body)),
            Keep::Bodies(limit) => {
                seen.body_hash = Some(hash(body));
                if body.len() <= limit && !body.is_empty() {
                    seen.body = Some(body.clone());
                }
            }
        }
        let number = self.forgotten + self.seen.len();
        self.seen.push(seen);
        self.open.insert(number);
        number
    }

    /// Notes the end of a request; without a status its connection was cut.
    pub fn end(&mut self, number: usize, status: Option<u16>) {
        self.open.remove(&number);
        let Some(seen) = number
            .checked_sub(self.forgotten)
            .and_then(|index| self.seen.get_mut(index))
        else {
            return;
        };
        seen.status = status;
        if status.is_some() {
            seen.ended = Some(Instant::now());
        }
    }

    pub fn all(&self) -> Vec<Seen> {
        self.seen.clone()
    }

    pub fn clear(&mut self) {
        self.forgotten += self.seen.len();
        self.seen.clear();
        self.misuse.clear();
    }

    pub fn misuse(&self) -> Vec<String> {
        self.misuse.clone()
    }

    /// Whether an OAS read other than this request is under way.
    pub fn reads_oas_beside(&self, number: usize) -> bool {
        self.under_way()
            .any(|(other, seen)| other != number && seen.is_oas_read())
    }

    fn judge(&mut self, seen: &Seen, loading: bool) {
        if !seen.is_admin() {
            return;
        }
        let mut found = Vec::new();
        for (_, other) in self.under_way().filter(|(_, other)| other.is_admin()) {
            let pair = format!("{} while {} was under way", name(seen), name(other));
            if seen.is_write() && other.is_reload() {
                found.push(format!(
                    "a write between a reload's request and its answer: {pair}"
                ));
            } else if seen.is_oas_read() && other.is_oas_read() {
                found.push(format!("two OAS reads at once: {pair}"));
            } else {
                found.push(format!("overlapping admin requests: {pair}"));
            }
        }
        if loading && seen.is_oas_read() {
            found.push(format!(
                "an OAS read while a reload was running: {}",
                name(seen)
            ));
        }
        if loading && seen.is_write() {
            found.push(format!(
                "a write while a reload was running: {}",
                name(seen)
            ));
        }
        if seen.method == "GET" && seen.path == "/tyk/apis/oas" {
            found.push("a read of the OAS list".to_owned());
        }
        self.misuse.extend(found);
    }

    fn under_way(&self) -> impl Iterator<Item = (usize, &Seen)> {
        self.open.iter().filter_map(|number| {
            let index = number.checked_sub(self.forgotten)?;
            self.seen.get(index).map(|seen| (*number, seen))
        })
    }
}

fn name(seen: &Seen) -> String {
    format!("{} {}", seen.method, seen.path)
}

fn hash(body: &[u8]) -> [u8; 32] {
    Sha256::digest(body).into()
}
