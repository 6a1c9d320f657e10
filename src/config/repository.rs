//! `[repository.NAME]`

use std::{collections::BTreeSet, fmt, path::Path, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::{
    Name,
    notify::over_tls,
    reader::{Field, Read, Section},
    values::{duration, is_loopback, parse_url},
};
use crate::webhook::{Host, RepositoryName};

const DEFAULT_SWEEP: Duration = Duration::from_mins(3);
const SHORTEST_SWEEP: Duration = Duration::from_secs(10);
const LONGEST_SWEEP: Duration = Duration::from_hours(24);

#[derive(Clone, Debug)]
pub struct Repository {
    pub url: RepositoryUrl,
    /// `None`: only the sweep sees changes.
    pub webhook: Option<RepositoryWebhook>,
    pub token: Option<SecretString>,
    /// How often the head is asked for, whether or not a webhook said something.
    pub sweep: Duration,
    /// `None`: commits are not marked.
    pub status: Option<CommitStatuses>,
}

/// How the host is told what became of its commits.
#[derive(Clone, Debug)]
pub struct CommitStatuses {
    /// A token that may write statuses.
    pub token: SecretString,
    /// The address of the host's REST API, where it is not the usual one.
    api: Option<Url>,
}

impl Repository {
    /// Where a host of this kind has its REST API.
    pub fn status_api(&self, host: Host) -> Option<Url> {
        if let Some(api) = &self.status.as_ref()?.api {
            return Some(api.clone());
        }
        let mut url = parse_url(&self.url.0).ok()?;
        if host == Host::GitHub && url.host_str() == Some("github.com") {
            return Url::parse("https://api.github.com").ok();
        }
        url.set_path(match host {
            Host::GitHub => "/api/v3",
            Host::GitLab => "/api/v4",
        });
        Some(url)
    }
}

/// Which of a webhook's deliveries are about this repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryWebhook {
    pub webhook: Name,
    pub full_name: RepositoryName,
}

/// Where a repository is fetched from: `https`, `http` on this machine only, or a folder (absolute, or made
/// so from the folder of the file). It holds no credentials, so it may be shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepositoryUrl(String);

impl RepositoryUrl {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_local_path(&self) -> bool {
        !self.0.contains("://")
    }

    fn parse(text: &str, base_dir: &Path) -> Result<Self, String> {
        let is_path = text.starts_with('/') || text.starts_with("./") || text.starts_with("../");
        if is_path {
            return Self::local(text, base_dir);
        }
        if !text.contains("://") {
            return Err(
                "must be an https:// URL, or a path that begins with /, ./ or ../ (ssh is not supported)"
                    .to_owned(),
            );
        }
        Self::on_a_host(text)
    }

    /// Not a folder of this machine.
    pub(super) fn on_a_host(text: &str) -> Result<Self, String> {
        let url = parse_url(text)?;
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&url) => {}
            "http" => return Err("http is for this machine only; use https".to_owned()),
            "file" => return Err("write a local repository as a path, without file://".to_owned()),
            _ => return Err("must be an https:// URL or a path".to_owned()),
        }
        Ok(Self(text.to_owned()))
    }

    /// `..` parts stay: what they lead to is for the file system to say, which knows about links.
    pub(super) fn local(text: &str, base_dir: &Path) -> Result<Self, String> {
        let absolute =
            std::path::absolute(base_dir.join(text)).map_err(|error| error.to_string())?;
        absolute
            .into_os_string()
            .into_string()
            .map(Self)
            .map_err(|_| "the path is not UTF-8".to_owned())
    }

    /// What hosts call the repository, as far as the URL tells.
    fn full_name(&self) -> Option<RepositoryName> {
        let url = parse_url(&self.0).ok()?;
        let path = url.path().trim_matches('/');
        RepositoryName::parse(path.strip_suffix(".git").unwrap_or(path)).ok()
    }
}

impl fmt::Display for RepositoryUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

pub(super) fn read(section: &Section<'_>, webhooks: &BTreeSet<&Name>) -> Read<Repository> {
    let url = section
        .required("url")
        .and_then(|field| field.parse(|text| RepositoryUrl::parse(text, section.base_dir())));
    let webhook = section.optional("webhook", |field| field.name_among("webhook", webhooks));
    let full_name_field = section.field("full_name");
    let full_name = full_name_field
        .as_ref()
        .map(|field| field.parse(RepositoryName::parse))
        .transpose();
    let token_field = section.field("token");
    let token = token_field.as_ref().map(Field::worker_secret).transpose();
    let sweep = section.or_default("sweep", DEFAULT_SWEEP, |field| {
        field.parse(duration(SHORTEST_SWEEP, LONGEST_SWEEP))
    });

    let status_field = section.field("status");
    let status = read_status(section);
    let url = url?;
    if let Some(field) = token_field.filter(|_| url.is_local_path()) {
        return Err(field.problem(&"has no use with a local path"));
    }
    let webhook = match (webhook?, full_name?, full_name_field) {
        (Some(webhook), Some(full_name), _) => Some(RepositoryWebhook { webhook, full_name }),
        (Some(webhook), None, _) => {
            let full_name = url.full_name().ok_or_else(|| {
                section.missing("full_name", &"is missing: the URL does not tell what the webhook's host calls this repository")
            })?;
            Some(RepositoryWebhook { webhook, full_name })
        }
        (None, Some(_), Some(field)) => {
            return Err(field.problem(&"has no use without webhook"));
        }
        (None, _, _) => None,
    };
    let status = status?;
    if let (Some(status), Some(field)) = (&status, status_field) {
        if webhook.is_none() {
            return Err(field.problem(&"needs webhook, which says what kind of host it is"));
        }
        if status.api.is_none() && url.is_local_path() {
            return Err(field.problem(
                &"needs api: the address of the host's REST API cannot be told from a local path",
            ));
        }
    }
    Ok(Repository {
        url,
        status,
        webhook,
        token: token?,
        sweep: sweep?,
    })
}

fn read_status(section: &Section<'_>) -> Read<Option<CommitStatuses>> {
    let Some(section) = section.table("status")? else {
        return Ok(None);
    };
    let token = section.required("token").and_then(|field| {
        let token = field.worker_secret()?;
        let is_visible = token
            .expose_secret()
            .bytes()
            .all(|byte| byte.is_ascii_graphic());
        if is_visible {
            Ok(token)
        } else {
            Err(field.problem(&"a token has no spaces, line breaks or letters beyond ASCII"))
        }
    });
    let api = section.optional("api", |field| {
        field.parse(|text| over_tls(parse_url(text)?))
    });
    section.refuse_unknown_keys();
    Ok(Some(CommitStatuses {
        token: token?,
        api: api?,
    }))
}
