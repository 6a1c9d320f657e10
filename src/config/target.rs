//! `[target.NAME]`

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use secrecy::SecretString;
use url::Url;

use super::{
    Name,
    reader::{Field, NamedSections, Read, Section},
    values::{duration, parse_url},
};

const DEFAULT_ORG: &str = "default";
const DEFAULT_READ_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_WRITE_TIMEOUT: Duration = Duration::from_mins(1);
const SHORTEST_TIMEOUT: Duration = Duration::from_secs(1);
const LONGEST_TIMEOUT: Duration = Duration::from_mins(10);
const DEFAULT_DRIFT: Duration = Duration::from_mins(5);
const SHORTEST_DRIFT: Duration = Duration::from_secs(10);
const MOST_NODES: usize = 64;
const LONGEST_DRIFT: Duration = Duration::from_hours(24);

/// A Tyk gateway.
#[derive(Clone, Debug)]
pub struct Target {
    /// The control addresses of its nodes, the first of which goes first in every run.
    pub nodes: Vec<Url>,
    pub secret: SecretString,
    pub org: String,
    pub read_timeout: Duration,
    pub write_timeout: Duration,
    /// Reading the documents of APIs with a JWT scheme can bring a gateway down, hence off by default.
    pub allow_jwt_document_reads: bool,
    /// How often the live state is compared with what the last run left.
    pub drift_interval: Duration,
}

pub(super) fn read(section: &Section<'_>) -> Read<Target> {
    let kind = section
        .required("kind")
        .and_then(|field| field.parse(gateway));
    let nodes = section
        .required("nodes")
        .and_then(|field| read_nodes(&field));
    let secret = section
        .required("secret")
        .and_then(|field| field.worker_secret());
    let org = read_org(section);
    let timeout = |key, default| {
        section.or_default(key, default, |field| {
            field.parse(duration(SHORTEST_TIMEOUT, LONGEST_TIMEOUT))
        })
    };
    let read_timeout = timeout("read_timeout", DEFAULT_READ_TIMEOUT);
    let write_timeout = timeout("write_timeout", DEFAULT_WRITE_TIMEOUT);
    let allow_jwt_document_reads =
        section.or_default("allow_jwt_document_reads", false, Field::boolean);
    let drift_interval = section.or_default("drift", DEFAULT_DRIFT, |field| {
        field.parse(duration(SHORTEST_DRIFT, LONGEST_DRIFT))
    });
    let () = kind?;
    Ok(Target {
        nodes: nodes?,
        secret: secret?,
        org: org?,
        read_timeout: read_timeout?,
        write_timeout: write_timeout?,
        allow_jwt_document_reads: allow_jwt_document_reads?,
        drift_interval: drift_interval?,
    })
}

pub(super) fn read_org(section: &Section<'_>) -> Read<String> {
    section.or_default("org", DEFAULT_ORG.to_owned(), |field| field.parse(org_id))
}

/// One run at a time talks to a target. Two targets of one gateway would undo that.
pub(super) fn refuse_shared_nodes(sections: &NamedSections<'_>, targets: &BTreeMap<Name, Target>) {
    let mut first_with = BTreeMap::<&str, &Name>::new();
    for (name, target) in targets {
        for node in &target.nodes {
            let Some(first) = first_with.insert(node.as_str(), name) else {
                continue;
            };
            if let Some(field) = sections
                .get(name)
                .and_then(|section| section.field("nodes"))
            {
                field.problem(&format!(
                    "is the gateway of target.{first}; one gateway is one target, so that only one run at a time talks to it"
                ));
            }
        }
    }
}

fn gateway(kind: &str) -> Result<(), &'static str> {
    match kind {
        "gateway" => Ok(()),
        _ => Err("must be \"gateway\", the only kind of target so far"),
    }
}

fn read_nodes(field: &Field<'_>) -> Read<Vec<Url>> {
    let nodes = field.items()?;
    if !(1..=MOST_NODES).contains(&nodes.len()) {
        return Err(field.problem(&format!(
            "must name the control address of each gateway, 1 to {MOST_NODES} of them"
        )));
    }
    let nodes: Vec<Read<Url>> = nodes
        .iter()
        .map(|node| {
            node.parse(|text| {
                let url = parse_url(text)?;
                if !matches!(url.scheme(), "http" | "https") {
                    return Err("must be an http:// or https:// URL".to_owned());
                }
                Ok(url)
            })
        })
        .collect();
    let nodes = nodes.into_iter().collect::<Read<Vec<Url>>>()?;
    let addresses: BTreeSet<String> = nodes.iter().map(node_address).collect();
    if addresses.len() < nodes.len() {
        return Err(field.problem(&"names a gateway twice"));
    }
    Ok(nodes)
}

/// How people tell nodes apart: host, port, and the path if there is one.
pub fn node_address(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    let path = url.path().trim_end_matches('/');
    format!("{host}:{port}{path}")
}

fn org_id(text: &str) -> Result<String, &'static str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if (1..=64).contains(&text.len()) && text.bytes().all(is_plain) {
        Ok(text.to_owned())
    } else {
        Err("must be 1 to 64 letters, digits, _ and -")
    }
}
