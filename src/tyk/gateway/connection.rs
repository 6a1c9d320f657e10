//! One request and its whole answer. Knows HTTP and how a gateway words a refusal; knows no
//! endpoint, follows no redirect, uses no proxy, tries nothing twice.

use std::{borrow::Cow, fmt::Write as _, time::Duration};

use bytes::{Bytes, BytesMut};
use reqwest::{Method, StatusCode, header::HeaderValue, redirect, retry};
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;
use tokio::task::JoinError;
use url::Url;

use super::{Error, Options, wire};

/// Answers below this size are read where they arrive, larger ones on the blocking pool.
const LARGE: usize = 256 * 1024;

/// The longest text of a gateway that is passed on, in characters.
const LONGEST_MESSAGE: usize = 2_000;

/// Whoever holds it may send.
#[derive(Debug)]
pub(super) struct Connection {
    http: reqwest::Client,
    options: Options,
    secret: HeaderValue,
}

/// A request, not yet sent.
pub(super) struct Ask {
    method: Method,
    /// Encoded, without a leading slash.
    path: String,
    query: Option<Cow<'static, str>>,
    body: Option<Bytes>,
    content_type: &'static str,
    patience: Patience,
    with_secret: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    Read,
    Write,
    Reload,
}

/// An answer that arrived whole.
pub(super) struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
    /// What it says, where its status is not 200: cut, and without the secret.
    pub message: String,
    is_the_gateways: bool,
    writes: bool,
}

impl Ask {
    /// A page that needs no secret, and gets none.
    pub fn open(page: &'static str) -> Self {
        Self {
            with_secret: false,
            ..Self::new(Method::GET, &[page], Patience::Read)
        }
    }

    pub fn read(segments: &[&'static str]) -> Self {
        Self::new(Method::GET, segments, Patience::Read)
    }

    pub fn reload(segments: &[&'static str]) -> Self {
        Self::new(Method::GET, segments, Patience::Reload)
    }

    pub fn write(method: Method, segments: &[&'static str]) -> Self {
        Self::new(method, segments, Patience::Write)
    }

    pub fn with_query(self, query: &'static str) -> Self {
        Self {
            query: Some(query.into()),
            ..self
        }
    }

    pub fn with_organisation(self, organisation: &str) -> Self {
        let mut query = "org_id=".to_owned();
        push_encoded(&mut query, organisation);
        Self {
            query: Some(query.into()),
            ..self
        }
    }

    pub fn with_body(self, body: Bytes) -> Self {
        Self {
            body: Some(body),
            ..self
        }
    }

    pub fn with_pem(self, text: Bytes) -> Self {
        Self {
            body: Some(text),
            content_type: "application/x-pem-file",
            ..self
        }
    }

    /// Adds an id as one segment of the path.
    pub fn with_id(mut self, id: &str) -> Result<Self, Error> {
        check_id(id)?;
        self.path.push('/');
        push_encoded(&mut self.path, id);
        Ok(self)
    }

    pub fn writes(&self) -> bool {
        self.patience == Patience::Write
    }

    fn new(method: Method, segments: &[&'static str], patience: Patience) -> Self {
        Self {
            method,
            path: segments.join("/"),
            query: None,
            body: None,
            content_type: "application/json",
            patience,
            with_secret: true,
        }
    }
}

fn push_encoded(place: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            place.push(char::from(byte));
        } else {
            let _ = write!(place, "%{byte:02X}");
        }
    }
}

/// Refuses ids that would lead a request astray: a gateway decodes the path before it looks for
/// the id, and addresses are simplified where they name `.` or `..`.
pub(super) fn check_id(id: &str) -> Result<(), Error> {
    if matches!(id, "" | "." | "..") || id.contains(['/', '\\']) {
        return Err(Error::BadId { id: id.to_owned() });
    }
    Ok(())
}

impl Connection {
    pub fn new(options: Options) -> Result<Self, Error> {
        let Options {
            url,
            secret,
            connect_timeout,
            read_timeout: _,
            write_timeout: _,
            reload_timeout: _,
            max_body_bytes: _,
        } = &options;
        if !matches!(url.scheme(), "http" | "https") {
            let problem = "the gateway's address must begin with http:// or https://";
            return Err(Error::Client(problem.to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            let problem = "the gateway's address must not hold credentials";
            return Err(Error::Client(problem.to_owned()));
        }
        let mut secret = HeaderValue::from_bytes(secret.expose_secret().as_bytes())
            .map_err(|_| Error::Client("the secret does not fit into an HTTP header".to_owned()))?;
        secret.set_sensitive(true);
        let http = reqwest::Client::builder()
            .connect_timeout(*connect_timeout)
            .pool_max_idle_per_host(1)
            // One request at a time needs no HTTP/2.
            .http1_only()
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .no_proxy()
            .build()
            .map_err(|error| Error::Client(error.to_string()))?;
        Ok(Self {
            http,
            options,
            secret,
        })
    }

    /// Sends it, and waits for the whole answer.
    pub async fn send(&self, ask: Ask) -> Result<Answer, Error> {
        let writes = ask.writes();
        let timeout = self.timeout(ask.patience);
        let url = self.url(&ask);
        let mut request = self.http.request(ask.method, url).timeout(timeout);
        if ask.with_secret {
            request = request.header("x-tyk-authorization", self.secret.clone());
        }
        if let Some(body) = ask.body {
            request = request.header("content-type", ask.content_type).body(body);
        }
        let failed = |error: &reqwest::Error| Error::from_transport(error, writes, timeout);
        let mut response = request.send().await.map_err(|error| failed(&error))?;
        let status = response.status();
        let limit = self.options.max_body_bytes;
        let too_large = || {
            let detail = format!("HTTP {status}, and larger than {limit} bytes");
            Error::bad_answer(detail, writes)
        };
        let announced = response.content_length().unwrap_or_default();
        if usize::try_from(announced).map_or(true, |bytes| bytes > limit) {
            return Err(too_large());
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| failed(&error))? {
            if body.len() + chunk.len() > limit {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(self.answer(status, body.freeze(), writes))
    }

    fn timeout(&self, patience: Patience) -> Duration {
        match patience {
            Patience::Read => self.options.read_timeout,
            Patience::Write => self.options.write_timeout,
            Patience::Reload => self.options.reload_timeout,
        }
    }

    fn url(&self, ask: &Ask) -> Url {
        let mut url = self.options.url.clone();
        let prefix = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{prefix}/{}", ask.path));
        url.set_query(ask.query.as_deref());
        url.set_fragment(None);
        url
    }

    fn answer(&self, status: StatusCode, body: Bytes, writes: bool) -> Answer {
        let mut answer = Answer {
            status,
            body,
            message: String::new(),
            is_the_gateways: false,
            writes,
        };
        if status == StatusCode::OK {
            return answer;
        }
        let said = match serde_json::from_slice::<wire::Envelope>(&answer.body) {
            Ok(envelope) => {
                answer.is_the_gateways = true;
                envelope.message
            }
            Err(_) => plain(&answer.body),
        };
        answer.message = self.fit_to_print(&said);
        answer
    }

    /// A server may echo what it was sent, and a log is no place for control characters.
    fn fit_to_print(&self, said: &str) -> String {
        let secret = self.options.secret.expose_secret();
        let said = if secret.is_empty() {
            said.to_owned()
        } else {
            said.replace(secret, "[secret]")
        };
        said.trim()
            .chars()
            .map(|char| match char {
                '\n' => '\n',
                char if char.is_control() => ' ',
                char => char,
            })
            .take(LONGEST_MESSAGE)
            .collect()
    }
}

impl Answer {
    pub fn expect_ok(self) -> Result<Self, Error> {
        if self.status == StatusCode::OK {
            Ok(self)
        } else {
            Err(self.error())
        }
    }

    /// Whether it has the form in which a gateway refuses, and is not some proxy's page.
    pub fn is_the_gateways(&self) -> bool {
        self.is_the_gateways
    }

    /// Whether the gateway itself says that it has no such object.
    pub fn says_absent(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
            && self.is_the_gateways
            && wire::ABSENT.contains(&self.message.as_str())
    }

    pub async fn json<T: DeserializeOwned + Send + 'static>(self) -> Result<T, Error> {
        let Self { body, writes, .. } = self;
        on_the_right_thread(body.len(), move || {
            serde_json::from_slice(&body)
                .map_err(|error| Error::bad_answer(wire::fault(&error), writes))
        })
        .await
    }

    pub fn error(self) -> Error {
        Error::from_status(self.status, self.message, self.writes)
    }
}

/// Reads an answer: a small one at once, a large one where it holds up nobody.
pub(super) async fn on_the_right_thread<T: Send + 'static>(
    bytes: usize,
    read: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    if bytes < LARGE {
        return read();
    }
    match tokio::task::spawn_blocking(read).await {
        Ok(result) => result,
        Err(error) => Err(unfinished(error, false)),
    }
}

/// A task does not end early unless it panicked or the process is stopping.
pub(super) fn unfinished(error: JoinError, writes: bool) -> Error {
    match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Error::NoAnswer {
            detail: "this process is stopping".to_owned(),
            maybe_written: writes,
        },
    }
}

/// The text of an answer that is not in the gateway's form.
fn plain(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text = text.trim_start();
    if text.starts_with('<') {
        "a page of HTML or XML".to_owned()
    } else {
        text.to_owned()
    }
}
