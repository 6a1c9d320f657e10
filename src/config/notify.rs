//! `[notify.NAME]`

use std::{collections::BTreeSet, fmt};

use base64::{Engine, engine::general_purpose::STANDARD};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use secrecy::{ExposeSecret, SecretSlice};
use url::Url;

use super::{
    Name,
    reader::{Field, Read, Section},
    values::{is_loopback, parse_url},
};
use crate::domain::notice::News;

/// Everything that asks for a person, and its end.
const DEFAULT_EVENTS: [News; 7] = [
    News::Failed,
    News::Repaired,
    News::Parked,
    News::Recovered,
    News::Drift,
    News::Lagged,
    News::Behind,
];

const KEY_PREFIX: &str = "whsec_";
const KEY_LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// Somebody who is told of news.
#[derive(Clone, Debug)]
pub struct Notify {
    pub receiver: Receiver,
    pub events: BTreeSet<News>,
    pub stacks: StackNames,
}

#[derive(Clone, Debug)]
pub enum Receiver {
    /// Takes `CloudEvents`, signed with the key.
    Webhook {
        address: Address,
        key: SecretSlice<u8>,
    },
    /// Slack, or what is compatible with its incoming webhooks.
    Slack { address: Address },
}

/// Where notices go. It may be a secret, so only its host is shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(Url);

impl Address {
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// Given by reference it may hold a query; credentials before the host go nowhere.
    fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text.trim()).map_err(|error| format!("is not a URL: {error}"))?;
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err("must not have a user, a password or a # part".to_owned());
        }
        Ok(Self(over_tls(url)?))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", self.0.host_str().unwrap_or_default())
    }
}

/// Stacks by their names; all of them when none is named.
#[derive(Clone, Debug, Default)]
pub struct StackNames(Option<GlobSet>);

impl StackNames {
    pub fn names(&self, stack: &str) -> bool {
        self.0.as_ref().is_none_or(|globs| globs.is_match(stack))
    }
}

/// https from anywhere, http to this machine only.
pub(super) fn over_tls(url: Url) -> Result<Url, String> {
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        "http" => Err("http is for this machine only; use https".to_owned()),
        _ => Err("must be an https:// URL".to_owned()),
    }
}

pub(super) fn read(section: &Section<'_>, stacks: &BTreeSet<&Name>) -> Read<Notify> {
    let kind = section.required("kind").and_then(|field| {
        field.parse(|kind| match kind {
            "webhook" => Ok(true),
            "slack" => Ok(false),
            _ => Err("must be \"webhook\" or \"slack\""),
        })
    });
    let url = section.required("url");
    let secret = section.field("secret");
    let events = section.or_default("events", DEFAULT_EVENTS.into(), |field| {
        let events: Vec<Read<News>> = field
            .items()?
            .iter()
            .map(|item| item.parse(str::parse))
            .collect();
        let events: BTreeSet<News> = events.into_iter().collect::<Read<_>>()?;
        if events.is_empty() {
            return Err(field.problem(&"names no event; leave the section out instead"));
        }
        Ok(events)
    });
    let stacks = section.or_default("stacks", StackNames::default(), |field| {
        stack_names(field, stacks)
    });
    let receiver = match (kind?, secret) {
        (true, Some(secret)) => {
            let key = signing_key(&secret);
            let address = url.and_then(|field| address(&field));
            Receiver::Webhook {
                address: address?,
                key: key?,
            }
        }
        (true, None) => {
            return Err(section.missing(
                "secret",
                &"is missing: requests are signed (make one with: echo whsec_$(openssl rand -base64 32))",
            ));
        }
        (false, Some(secret)) => {
            return Err(secret.problem(&"has no use here: the address itself is the secret"));
        }
        (false, None) => Receiver::Slack {
            address: secret_address(&url?)?,
        },
    };
    Ok(Notify {
        receiver,
        events: events?,
        stacks: stacks?,
    })
}

pub(super) fn address(field: &Field<'_>) -> Read<Address> {
    if field.is_text() {
        return field.parse(|text| over_tls(parse_url(text)?).map(Address));
    }
    secret_address(field)
}

fn secret_address(field: &Field<'_>) -> Read<Address> {
    let text = field.worker_secret()?;
    Address::parse(text.expose_secret()).map_err(|problem| field.problem(&problem))
}

/// As the Standard Webhooks have it.
pub(super) fn signing_key(field: &Field<'_>) -> Read<SecretSlice<u8>> {
    let text = field.worker_secret()?;
    let key = text.expose_secret().trim().strip_prefix(KEY_PREFIX);
    let key = key.and_then(|encoded| STANDARD.decode(encoded).ok());
    match key.filter(|key| KEY_LENGTHS.contains(&key.len())) {
        Some(key) => Ok(key.into()),
        None => Err(field.problem(
            &"must be whsec_ and the base64 of 24 to 64 bytes (make one with: echo whsec_$(openssl rand -base64 32))",
        )),
    }
}

/// A pattern that names no stack is a mistake.
fn stack_names(field: &Field<'_>, stacks: &BTreeSet<&Name>) -> Read<StackNames> {
    let mut globs = GlobSetBuilder::new();
    let mut is_good = true;
    for item in field.items()? {
        let glob = item.parse(|pattern| {
            let glob = GlobBuilder::new(pattern)
                .build()
                .map_err(|error| error.to_string())?;
            let matcher = glob.compile_matcher();
            if stacks.iter().any(|stack| matcher.is_match(stack.as_str())) {
                Ok(glob)
            } else {
                Err(format!("there is no stack \"{pattern}\""))
            }
        });
        match glob {
            Ok(glob) => {
                globs.add(glob);
            }
            Err(_) => is_good = false,
        }
    }
    let globs = globs.build().map_err(|error| field.problem(&error))?;
    if !is_good {
        return Err(super::reader::Absent);
    }
    if globs.is_empty() {
        return Err(field.problem(&"names no stack; leave the key out for all of them"));
    }
    Ok(StackNames(Some(globs)))
}
