//! A client of Vault that reads secrets of its key-value store, version 2.
//!
//! Every read asks anew, so that a rotation is seen. A token that was logged in for is kept until
//! shortly before it runs out. Redirects are not followed: a token goes to the address that the
//! configuration names. What Vault says is passed on in a few words, without anything that was sent.

use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use reqwest::{Method, StatusCode, header::HeaderValue, redirect, retry};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use url::Url;

use crate::{
    config::{self, Login, Source},
    domain::notice::{line, shortened},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const LONGEST_ANSWER: usize = 1024 * 1024;
const LONGEST_VALUE: usize = 64 * 1024;
/// Of what Vault says, in characters.
const LONGEST_WORDS: usize = 200;
/// A token is not used any more when less of its time is left.
const MARGIN: Duration = Duration::from_secs(10);
/// A token without an end is asked for anew all the same.
const LONGEST_KEPT: Duration = Duration::from_hours(24);

/// Cloning shares the connection and the token.
#[derive(Clone)]
pub struct Vault {
    http: reqwest::Client,
    address: Url,
    namespace: Option<String>,
    login: Login,
    timeout: Duration,
    token: Arc<Mutex<Option<Token>>>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vault({})", self.address)
    }
}

struct Token {
    text: SecretString,
    until: Instant,
}

/// The fields of one secret.
pub type Fields = BTreeMap<String, Result<SecretString, &'static str>>;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("Vault cannot be reached at {0}")]
    Unreachable(String),
    #[error("Vault did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
    #[error("Vault is sealed, or not ready (HTTP {status}): {words}")]
    NotReady { status: u16, words: String },
    #[error("Vault has nothing there, or its latest version is deleted (HTTP 404)")]
    Absent,
    #[error(
        "Vault does not allow it (HTTP 403): the token may be wrong, have run out, or have no policy \
         that reads {0}"
    )]
    Denied(String),
    #[error("Vault does not let us log in with the AppRole (HTTP {status}): {words}")]
    NoLogin { status: u16, words: String },
    #[error("the credentials for Vault {0}")]
    Credentials(String),
    #[error("Vault answers with a redirect, which is not followed: configure the address itself")]
    Redirect,
    #[error("Vault refuses it (HTTP {status}): {words}")]
    Refused { status: u16, words: String },
    #[error("the answer is not one of a key-value store of version 2: {0}")]
    BadAnswer(&'static str),
}

impl Error {
    /// Whether whatever else is asked for now will meet the same.
    pub fn concerns_all(&self) -> bool {
        match self {
            Self::Unreachable(_)
            | Self::Timeout(_)
            | Self::NotReady { .. }
            | Self::NoLogin { .. }
            | Self::Credentials(_)
            | Self::Redirect => true,
            Self::Absent | Self::Denied(_) | Self::Refused { .. } | Self::BadAnswer(_) => false,
        }
    }
}

#[derive(Deserialize)]
struct LoggedIn {
    auth: Auth,
}

#[derive(Deserialize)]
struct Auth {
    client_token: String,
    lease_duration: u64,
}

#[derive(Deserialize)]
struct Read {
    data: Versioned,
}

#[derive(Deserialize)]
struct Versioned {
    data: Option<BTreeMap<String, Value>>,
    metadata: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<String>,
}

impl Vault {
    pub fn new(vault: &config::Vault) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT.min(vault.timeout))
            .timeout(vault.timeout)
            .pool_max_idle_per_host(1)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .no_proxy()
            .user_agent(concat!("lockstep/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self {
            http,
            address: vault.address.clone(),
            namespace: vault.namespace.clone(),
            login: vault.login.clone(),
            timeout: vault.timeout,
            token: Arc::default(),
        })
    }

    /// The latest version of a secret.
    pub async fn read(&self, mount: &str, path: &str) -> Result<Fields, Error> {
        let place = format!("{mount}/data/{path}");
        let segments = [mount, "data"].into_iter().chain(path.split('/'));
        let segments: Vec<&str> = segments.collect();
        let (token, is_kept) = self.token().await?;
        let mut answer = self.ask(Method::GET, &segments, Some(&token), None).await?;
        if answer.status == StatusCode::FORBIDDEN && is_kept {
            // It may have been revoked.
            *self.token.lock().await = None;
            let (token, _) = self.token().await?;
            answer = self.ask(Method::GET, &segments, Some(&token), None).await?;
        }
        let words = answer.words(&token);
        let status = answer.status.as_u16();
        match status {
            200 => fields(&answer.body),
            404 => Err(Error::Absent),
            403 => Err(Error::Denied(place)),
            _ => Err(said(status, words)),
        }
    }

    /// A token, and whether it was logged in for before.
    async fn token(&self) -> Result<(SecretString, bool), Error> {
        let (mount, role_id, secret_id) = match &self.login {
            Login::Token(source) => return Ok((credential("token", source)?, false)),
            Login::AppRole {
                mount,
                role_id,
                secret_id,
            } => (mount, role_id, secret_id),
        };
        let mut kept = self.token.lock().await;
        if let Some(token) = kept.as_ref().filter(|token| Instant::now() < token.until) {
            return Ok((token.text.clone(), true));
        }
        let role_id = credential("role_id", role_id)?;
        let secret_id = credential("secret_id", secret_id)?;
        let body = json!({
            "role_id": role_id.expose_secret(),
            "secret_id": secret_id.expose_secret(),
        });
        let segments: Vec<&str> = ["auth"]
            .into_iter()
            .chain(mount.split('/'))
            .chain(["login"])
            .collect();
        let answer = self.ask(Method::POST, &segments, None, Some(&body)).await?;
        let words = answer
            .words(&secret_id)
            .replace(role_id.expose_secret(), "…");
        let status = answer.status.as_u16();
        match status {
            200 => {}
            400..=499 => return Err(Error::NoLogin { status, words }),
            _ => return Err(said(status, words)),
        }
        let LoggedIn { auth } = serde_json::from_slice(&answer.body)
            .map_err(|_| Error::BadAnswer("the login brings no token"))?;
        let lasts = match auth.lease_duration {
            0 => LONGEST_KEPT,
            seconds => Duration::from_secs(seconds).min(LONGEST_KEPT),
        };
        let token = SecretString::from(auth.client_token);
        *kept = Some(Token {
            text: token.clone(),
            until: Instant::now() + lasts.saturating_sub(MARGIN),
        });
        Ok((token, false))
    }

    async fn ask(
        &self,
        method: Method,
        segments: &[&str],
        token: Option<&SecretString>,
        body: Option<&Value>,
    ) -> Result<Answer, Error> {
        let mut url = self.address.clone();
        url.path_segments_mut()
            .map_err(|()| Error::Unreachable(self.host()))?
            .pop_if_empty()
            .push("v1")
            .extend(segments);
        let mut request = self
            .http
            .request(method, url)
            .header("x-vault-request", "true");
        if let Some(namespace) = &self.namespace {
            request = request.header("x-vault-namespace", namespace);
        }
        if let Some(token) = token {
            let mut header = HeaderValue::from_str(token.expose_secret()).map_err(|_| {
                Error::Credentials("hold a token that does not fit into an HTTP header".to_owned())
            })?;
            header.set_sensitive(true);
            request = request.header("x-vault-token", header);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        // The library's own words would repeat the address.
        let failed = |error: &reqwest::Error| {
            if error.is_timeout() {
                Error::Timeout(self.timeout)
            } else {
                Error::Unreachable(self.host())
            }
        };
        let mut response = request.send().await.map_err(|error| failed(&error))?;
        let status = response.status();
        if status.is_redirection() {
            return Err(Error::Redirect);
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| failed(&error))? {
            if body.len() + chunk.len() > LONGEST_ANSWER {
                return Err(Error::BadAnswer("it has more than 1 MiB"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer {
            status,
            body: body.to_vec(),
        })
    }

    fn host(&self) -> String {
        config::node_address(&self.address)
    }
}

struct Answer {
    status: StatusCode,
    body: Vec<u8>,
}

impl Answer {
    /// Its errors in a few words. A server may echo what it was sent.
    fn words(&self, sent: &SecretString) -> String {
        if self.status.is_success() {
            return String::new();
        }
        let errors = serde_json::from_slice::<Errors>(&self.body).map(|errors| errors.errors);
        let words = errors.unwrap_or_default().join("; ");
        let words = words.replace(sent.expose_secret(), "…");
        match shortened(&line(&words), LONGEST_WORDS) {
            words if words.is_empty() => "it gives no reason".to_owned(),
            words => words,
        }
    }
}

fn said(status: u16, words: String) -> Error {
    match status {
        // 472 and 473: a secondary that does not serve; 503: sealed, or in maintenance.
        429 | 472 | 473 | 500.. => Error::NotReady { status, words },
        _ => Error::Refused { status, words },
    }
}

fn credential(name: &str, source: &Source) -> Result<SecretString, Error> {
    let read = source.secret();
    read.map_err(|why| Error::Credentials(format!("({name}) {why}")))
}

fn fields(body: &[u8]) -> Result<Fields, Error> {
    let Read { data } = serde_json::from_slice(body)
        .map_err(|_| Error::BadAnswer("it has no data; is the mount of version 2?"))?;
    if data.metadata.is_none() {
        return Err(Error::BadAnswer(
            "it has no metadata; is the mount of version 2?",
        ));
    }
    let fields = data.data.ok_or(Error::Absent)?;
    let fields = fields.into_iter().map(|(name, value)| {
        let text = match value {
            Value::String(text) if text.len() > LONGEST_VALUE => Err("has more than 64 KiB"),
            Value::String(text) => Ok(text.into()),
            Value::Number(number) => Ok(number.to_string().into()),
            Value::Bool(flag) => Ok(flag.to_string().into()),
            Value::Null | Value::Array(_) | Value::Object(_) => Err("is no text"),
        };
        (name, text)
    });
    Ok(fields.collect())
}
