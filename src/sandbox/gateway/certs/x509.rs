//! The few members of an X.509 certificate that the store shows. It reads the structure as far as
//! it needs to, and believes what it reads.

use serde_json::{Value, json};

/// What is shown of a certificate.
#[derive(Debug, Clone)]
pub struct Shown {
    pub issuer: Name,
    pub subject: Name,
    pub not_before: String,
    pub not_after: String,
    pub dns_names: Vec<String>,
    pub is_ca: bool,
}

/// A distinguished name: object identifiers and texts.
#[derive(Debug, Clone, Default)]
pub struct Name {
    parts: Vec<(Vec<u64>, String)>,
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
const GENERALIZED_TIME: u8 = 0x18;
const OCTET_STRING: u8 = 0x04;
const EXTENSIONS: u8 = 0xa3;
const VERSION: u8 = 0xa0;
const DNS_NAME: u8 = 0x82;

pub fn read(der: &[u8]) -> Option<Shown> {
    let (_, certificate, _) = element(der)?;
    let (_, body, _) = element(certificate)?;
    let mut parts = elements(body)?;
    if parts.first()?.0 == VERSION {
        parts.remove(0);
    }
    // Serial number, algorithm, issuer, validity, subject, key, then the optional rest.
    let [_, _, issuer, validity, subject, ..] = parts.as_slice() else {
        return None;
    };
    let times = elements(validity.1)?;
    let mut shown = Shown {
        issuer: name(issuer.1)?,
        subject: name(subject.1)?,
        not_before: time(times.first()?)?,
        not_after: time(times.get(1)?)?,
        dns_names: Vec::new(),
        is_ca: false,
    };
    if let Some((_, wrapped)) = parts.iter().find(|(tag, _)| *tag == EXTENSIONS) {
        let (_, list, _) = element(wrapped)?;
        for (_, extension) in elements(list)? {
            extend(&mut shown, extension)?;
        }
    }
    Some(shown)
}

impl Shown {
    /// Nothing but a common name.
    pub fn named(name: &str) -> Self {
        let never = "0001-01-01T00:00:00Z".to_owned();
        Self {
            issuer: Name::default(),
            subject: Name {
                parts: vec![(vec![2, 5, 4, 3], name.to_owned())],
            },
            not_before: never.clone(),
            not_after: never,
            dns_names: Vec::new(),
            is_ca: false,
        }
    }
}

impl Name {
    pub fn common_name(&self) -> &str {
        self.texts(&[2, 5, 4, 3]).first().copied().unwrap_or("")
    }

    pub fn to_value(&self) -> Value {
        let list = |last: u64| {
            let found = self.texts(&[2, 5, 4, last]);
            if found.is_empty() {
                Value::Null
            } else {
                json!(found)
            }
        };
        let names: Vec<Value> = self
            .parts
            .iter()
            .map(|(kind, text)| json!({"Type": kind, "Value": text}))
            .collect();
        json!({
            "Country": list(6),
            "Organization": list(10),
            "OrganizationalUnit": list(11),
            "Locality": list(7),
            "Province": list(8),
            "StreetAddress": list(9),
            "PostalCode": list(17),
            "SerialNumber": self.texts(&[2, 5, 4, 5]).first().copied().unwrap_or(""),
            "CommonName": self.common_name(),
            "Names": names,
            "ExtraNames": null,
        })
    }

    fn texts(&self, kind: &[u64]) -> Vec<&str> {
        self.parts
            .iter()
            .filter(|(other, _)| other == kind)
            .map(|(_, text)| text.as_str())
            .collect()
    }
}

fn extend(shown: &mut Shown, extension: &[u8]) -> Option<()> {
    let parts = elements(extension)?;
    let kind = identifier(parts.first()?.1);
    let (_, value) = parts.iter().find(|(tag, _)| *tag == OCTET_STRING)?;
    let (_, inside, _) = element(value)?;
    match kind.as_slice() {
        [2, 5, 29, 19] => {
            shown.is_ca = elements(inside)?
                .first()
                .is_some_and(|(tag, value)| *tag == 0x01 && value.first() == Some(&0xff));
        }
        [2, 5, 29, 17] => {
            shown.dns_names = elements(inside)?
                .into_iter()
                .filter(|(tag, _)| *tag == DNS_NAME)
                .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
                .collect();
        }
        _ => {}
    }
    Some(())
}

fn name(body: &[u8]) -> Option<Name> {
    let mut parts = Vec::new();
    for (tag, set) in elements(body)? {
        if tag != SET {
            return None;
        }
        for (tag, pair) in elements(set)? {
            let pair = elements(pair)?;
            let [(OBJECT_IDENTIFIER, kind), (_, text)] = pair.as_slice() else {
                return None;
            };
            if tag == SEQUENCE {
                let text = String::from_utf8_lossy(text).into_owned();
                parts.push((identifier(kind), text));
            }
        }
    }
    Some(Name { parts })
}

/// `YYMMDDhhmmssZ`, or with four digits for the year, as RFC 3339.
fn time((tag, text): &(u8, &[u8])) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?;
    let text = if *tag == GENERALIZED_TIME {
        text.to_owned()
    } else {
        let century = if text.get(..2)? < "50" { "20" } else { "19" };
        format!("{century}{text}")
    };
    let part = |range: std::ops::Range<usize>| text.get(range);
    Some(format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0..4)?,
        part(4..6)?,
        part(6..8)?,
        part(8..10)?,
        part(10..12)?,
        part(12..14)?
    ))
}

fn identifier(bytes: &[u8]) -> Vec<u64> {
    let mut numbers = Vec::new();
    let mut number = 0_u64;
    for byte in bytes {
        number = (number << 7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if numbers.is_empty() {
                let first = (number / 40).min(2);
                numbers.push(first);
                number -= first * 40;
            }
            numbers.push(number);
            number = 0;
        }
    }
    numbers
}

fn elements(mut bytes: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (tag, inside, rest) = element(bytes)?;
        found.push((tag, inside));
        bytes = rest;
    }
    Some(found)
}

/// The first element: its tag, what is in it, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if first & 0x80 == 0 {
        (usize::from(*first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        let length = digits.iter().try_fold(0_usize, |length, digit| {
            Some(length.checked_mul(256)? + usize::from(*digit))
        })?;
        (length, rest)
    };
    let (inside, rest) = rest.split_at_checked(length)?;
    Some((*tag, inside, rest))
}
