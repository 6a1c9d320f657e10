//! `[audit]`: what signs the history's checkpoints, and where they are sent.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use secrecy::{ExposeSecret, SecretSlice, SecretString};

use super::{
    Name,
    notify::{Address, address, signing_key},
    reader::{Field, NamedSections, Read, Section},
    repository::RepositoryUrl,
    stack::{branch_name, built_in},
    values::duration,
};
use crate::{domain::audit::checkpoint::SigningKey, webhook::RefName};

const DEFAULT_BRANCH: &str = "checkpoints";

const DAY: Duration = Duration::from_hours(24);
/// More than the year that audits go back.
const DEFAULT_RETENTION: Duration = DAY.saturating_mul(400);
/// What runs, approvals and notices look back at is younger.
const SHORTEST_RETENTION: Duration = DAY.saturating_mul(30);
const LONGEST_RETENTION: Duration = DAY.saturating_mul(36_500);

#[derive(Clone, Debug)]
pub struct Audit {
    /// Its name is the origin of the checkpoints.
    pub signing_key: Option<Arc<SigningKey>>,
    /// Signs beside the new one, once.
    pub previous_signing_key: Option<Arc<SigningKey>>,
    pub sinks: BTreeMap<Name, CheckpointSink>,
    /// How long an event stays in the history at least.
    pub retention: Duration,
}

/// Where checkpoints are sent.
#[derive(Clone, Debug)]
pub enum CheckpointSink {
    /// Appended to.
    File(PathBuf),
    /// A repository on this machine or on a Git host, each checkpoint a commit on the branch.
    Git {
        repository: RepositoryUrl,
        /// May write to the repository.
        token: Option<SecretString>,
        branch: RefName,
    },
    /// Takes `CloudEvents`, signed with the key.
    Webhook {
        address: Address,
        key: SecretSlice<u8>,
    },
}

pub(super) fn read(section: &Section<'_>, sinks: &NamedSections<'_>) -> Read<Audit> {
    let signing = section.optional("signing_key", key);
    let previous = section.optional("previous_signing_key", |field| {
        if section.field("signing_key").is_none() {
            return Err(field.problem(&"has a use beside signing_key only"));
        }
        key(field)
    });
    let retention = section.or_default("retention", DEFAULT_RETENTION, |field| {
        field.parse(duration(SHORTEST_RETENTION, LONGEST_RETENTION))
    });
    section.refuse_unknown_keys();
    let sinks = sinks.read(sink);
    let (signing_key, previous_signing_key) = (signing?, previous?);
    let retention = retention?;
    if let (Some(new), Some(old)) = (&signing_key, &previous_signing_key)
        && new.verifier().name() != old.verifier().name()
    {
        return Err(section.problem(
            &"the two keys have different names, and a history has one: make the new key with the name of the old one",
        ));
    }
    Ok(Audit {
        signing_key,
        previous_signing_key,
        sinks,
        retention,
    })
}

fn key(field: &Field<'_>) -> Read<Arc<SigningKey>> {
    let text = field.worker_secret()?;
    let key = text.expose_secret().trim().parse::<SigningKey>();
    key.map(Arc::new).map_err(|error| {
        field.problem(&format!(
            "{error} (make one with: lockstep audit keygen --name ORIGIN --out FILE)"
        ))
    })
}

fn sink(section: &Section<'_>) -> Read<CheckpointSink> {
    #[derive(Clone, Copy)]
    enum Kind {
        File,
        Git,
        Webhook,
    }
    let kind = section.required("kind").and_then(|field| {
        field.parse(|kind| match kind {
            "file" => Ok(Kind::File),
            "git" => Ok(Kind::Git),
            "webhook" => Ok(Kind::Webhook),
            _ => Err("must be \"file\", \"git\" or \"webhook\""),
        })
    })?;
    Ok(match kind {
        Kind::File => {
            let in_base_dir = |path: &str| filled(path).map(|path| section.base_dir().join(path));
            CheckpointSink::File(section.required("path")?.parse(in_base_dir)?)
        }
        Kind::Git => git(section)?,
        Kind::Webhook => {
            let address = section.required("url").and_then(|field| address(&field));
            let key = section
                .required("secret")
                .and_then(|field| signing_key(&field));
            CheckpointSink::Webhook {
                address: address?,
                key: key?,
            }
        }
    })
}

fn git(section: &Section<'_>) -> Read<CheckpointSink> {
    let repository = match (section.field("path"), section.field("url")) {
        (Some(path), None) => {
            path.parse(|path| RepositoryUrl::local(filled(path)?, section.base_dir()))
        }
        (None, Some(url)) => url.parse(RepositoryUrl::on_a_host),
        (Some(_), Some(url)) => {
            Err(url.problem(&"has no use beside path: a repository is in one place"))
        }
        (None, None) => Err(section.missing(
            "path",
            &"is missing: the folder of a repository on this machine; or give url, the https:// \
              address of one on a Git host",
        )),
    };
    let token_field = section.field("token");
    let token = token_field.as_ref().map(Field::worker_secret).transpose();
    let branch = match section.field("branch") {
        Some(field) => field.parse(branch_name),
        None => built_in(section, branch_name(DEFAULT_BRANCH)),
    };
    let repository = repository?;
    if let Some(field) = token_field.filter(|_| repository.is_local_path()) {
        return Err(field.problem(&"has no use with a local path"));
    }
    Ok(CheckpointSink::Git {
        repository,
        token: token?,
        branch: branch?,
    })
}

fn filled(path: &str) -> Result<&str, String> {
    if path.is_empty() {
        return Err("must not be empty".to_owned());
    }
    Ok(path)
}
