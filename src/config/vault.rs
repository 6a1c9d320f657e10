//! `[vault]`: where the secrets of stacks are that are given as `{ vault = "mount/path#field" }`.

use std::time::Duration;

use url::Url;

use super::{
    notify::over_tls,
    reader::{Field, Read, Section},
    source::Source,
    values::{duration, parse_url},
};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const SHORTEST_TIMEOUT: Duration = Duration::from_secs(1);
const LONGEST_TIMEOUT: Duration = Duration::from_mins(1);
const DEFAULT_APPROLE: &str = "approle";

/// A Vault, or what speaks like one.
#[derive(Clone, Debug)]
pub struct Vault {
    pub address: Url,
    pub namespace: Option<String>,
    pub login: Login,
    /// For one request.
    pub timeout: Duration,
}

/// How a token is had. Files are read anew, so that an agent may renew them.
#[derive(Clone, Debug)]
pub enum Login {
    Token(Source),
    AppRole {
        /// Where the method is mounted.
        mount: String,
        role_id: Source,
        secret_id: Source,
    },
}

pub(super) fn read(section: &Section<'_>) -> Read<Vault> {
    let address = section
        .required("address")
        .and_then(|field| field.parse(|text| over_tls(parse_url(text)?)));
    let namespace = section.optional("namespace", |field| field.parse(path));
    let token = section.optional("token", Field::source);
    let role_id = section.optional("role_id", Field::source);
    let secret_id = section.optional("secret_id", Field::source);
    let approle = section.or_default("approle", DEFAULT_APPROLE.to_owned(), |field| {
        field.parse(path)
    });
    let timeout = section.or_default("timeout", DEFAULT_TIMEOUT, |field| {
        field.parse(duration(SHORTEST_TIMEOUT, LONGEST_TIMEOUT))
    });
    section.refuse_unknown_keys();
    let login = match (token?, role_id?, secret_id?) {
        (Some(token), None, None) => Login::Token(token),
        (None, Some(role_id), Some(secret_id)) => Login::AppRole {
            mount: approle?,
            role_id,
            secret_id,
        },
        _ => {
            return Err(section.problem(
                &"needs either token, or role_id and secret_id, each { env = \"NAME\" } or { file = \"path\" }",
            ));
        }
    };
    Ok(Vault {
        address: address?,
        namespace: namespace?,
        login,
        timeout: timeout?,
    })
}

fn path(text: &str) -> Result<String, &'static str> {
    let text = text.trim_matches('/');
    let is_segment = |segment: &str| !matches!(segment, "" | "." | "..");
    let is_plain = text
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !b"?#%".contains(&byte));
    if text.split('/').all(is_segment) && is_plain {
        Ok(text.to_owned())
    } else {
        Err("must be a name, or several parted by /")
    }
}
