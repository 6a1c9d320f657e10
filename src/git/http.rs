//! The wire to a Git host. gix speaks Git through it; this file alone decides what may be
//! sent and how long it may take.
//!
//! It never follows a redirect, never asks a credential helper, never reads a proxy or any
//! other setting from the environment, never sends a token over plain HTTP to another
//! machine ([`Location`](super::Location) cannot name one), and never reads more bytes or
//! for longer than its [`Watch`] allows.

use std::io::{self, BufRead, BufReader, Cursor, Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use gix::protocol::transport::Protocol;
use gix::protocol::transport::client::blocking_io::http::{
    GetResponse, Http, PostBodyDataKind, PostResponse, Transport,
};
use reqwest::blocking::{Client, RequestBuilder, Response};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::redirect::Policy;
use secrecy::{ExposeSecret, SecretString};

use super::error::{Bound, Error, Fault, one_line, plain};

/// The user name that GitHub, GitLab and Gitea accept beside any token.
const USER_NAME: &str = "x-access-token";

pub(super) fn client(connect_timeout: Duration) -> Result<Client, String> {
    Client::builder()
        .connect_timeout(connect_timeout)
        .redirect(Policy::none())
        .referer(false)
        .no_proxy()
        // Every request carries what is left of its operation's time.
        .timeout(None)
        .pool_idle_timeout(Duration::from_secs(90))
        .pool_max_idle_per_host(4)
        .build()
        .map_err(|error| one_line(&error))
}

/// The bounds of one operation, and the first thing that went wrong in it.
///
/// gix turns every error into its own; what really happened is kept here.
pub(super) struct Watch {
    repository: String,
    token: Option<SecretString>,
    time: Time,
    bytes_left: AtomicU64,
    bytes_limit: u64,
    bound: Bound,
    failure: Mutex<Option<Error>>,
}

#[derive(Clone)]
pub(super) struct Time {
    pub(super) deadline: Instant,
    /// For the message only.
    pub(super) timeout: Duration,
    /// Set when nobody waits for the answer any more.
    pub(super) stop: Arc<AtomicBool>,
}

impl Watch {
    pub(super) fn new(
        repository: String,
        token: Option<SecretString>,
        time: Time,
        (bound, bytes_limit): (Bound, u64),
    ) -> Self {
        Self {
            repository,
            token,
            time,
            bytes_left: AtomicU64::new(bytes_limit),
            bytes_limit,
            bound,
            failure: Mutex::new(None),
        }
    }

    /// The same operation, with the bytes of one of its parts counted by themselves.
    pub(super) fn part(&self, bytes: (Bound, u64)) -> Self {
        Self::new(
            self.repository(),
            self.token.clone(),
            self.time.clone(),
            bytes,
        )
    }

    pub(super) fn repository(&self) -> String {
        self.repository.clone()
    }

    pub(super) fn stop(&self) -> &AtomicBool {
        &self.time.stop
    }

    /// An error once the time is over or nobody waits for the answer any more.
    pub(super) fn check(&self) -> Result<(), Error> {
        if Instant::now() >= self.time.deadline {
            Err(self.timed_out())
        } else if self.time.stop.load(Ordering::Relaxed) {
            Err(Error::Cancelled {
                repository: self.repository(),
            })
        } else {
            Ok(())
        }
    }

    /// What an error of gix means.
    pub(super) fn explain(&self, error: &(dyn std::error::Error + 'static)) -> Fault {
        let known = self
            .failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(failure) = known {
            return Fault::Final(failure);
        }
        if let Err(over) = self.check() {
            return Fault::Final(over);
        }
        Fault::Doubtful(self.scrub(&one_line(error)))
    }

    fn timed_out(&self) -> Error {
        Error::TimedOut {
            repository: self.repository(),
            after: self.time.timeout,
        }
    }

    /// Words of the host, fit to be shown.
    pub(super) fn words(&self, text: &str) -> String {
        plain(&self.scrub(text))
    }

    /// A host may echo what we sent; a credential goes no further than here.
    fn scrub(&self, text: &str) -> String {
        let Some(token) = &self.token else {
            return text.to_owned();
        };
        let token = token.expose_secret();
        if token.is_empty() {
            return text.to_owned();
        }
        text.replace(token, "***").replace(&basic(token), "***")
    }

    /// Keeps the first failure and gives gix an error that stops it.
    fn fail(&self, error: Error) -> io::Error {
        let message = error.to_string();
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert(error);
        // Not a kind that gix answers by asking for credentials or by trying again.
        io::Error::other(message)
    }

    fn transport_failure(&self, error: &(dyn std::error::Error + 'static)) -> io::Error {
        let failure = self.check().err().unwrap_or_else(|| Error::Unreachable {
            repository: self.repository(),
            detail: self.scrub(&one_line(error)),
        });
        self.fail(failure)
    }
}

pub(super) fn transport(
    client: Client,
    watch: Arc<Watch>,
    url: gix::Url,
    version: Protocol,
) -> Transport<Wire> {
    let authorization = watch.token.as_ref().and_then(|token| {
        let mut value =
            HeaderValue::try_from(format!("Basic {}", basic(token.expose_secret()))).ok()?;
        value.set_sensitive(true);
        Some(value)
    });
    let wire = Wire {
        client,
        authorization,
        watch,
    };
    Transport::new_http(wire, url, version, false)
}

pub(super) struct Wire {
    client: Client,
    authorization: Option<HeaderValue>,
    watch: Arc<Watch>,
}

impl Wire {
    /// The request is sent when its answer is first read: gix writes the body before that.
    fn exchange<S: AsRef<str>>(
        &self,
        request: RequestBuilder,
        lines: impl IntoIterator<Item = S>,
    ) -> PostResponse<Headers, Body, RequestBody> {
        let mut headers = HeaderMap::new();
        for line in lines {
            let Some((name, value)) = line.as_ref().split_once(':') else {
                continue;
            };
            if let (Ok(name), Ok(value)) = (
                HeaderName::try_from(name.trim()),
                HeaderValue::try_from(value.trim()),
            ) {
                headers.append(name, value);
            }
        }
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        let shared = Arc::new(Mutex::new(Exchange::Unsent {
            request: Box::new(request.headers(headers)),
            body: Vec::new(),
        }));
        PostResponse {
            post_body: RequestBody(Arc::clone(&shared)),
            headers: Headers {
                shared: Arc::clone(&shared),
                watch: Arc::clone(&self.watch),
                lines: None,
            },
            body: Body {
                shared,
                watch: Arc::clone(&self.watch),
                reader: None,
            },
        }
    }
}

impl Http for Wire {
    type Headers = Headers;
    type ResponseBody = Body;
    type PostBody = RequestBody;

    fn get(
        &mut self,
        url: &str,
        _base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> gix::Result<GetResponse<Headers, Body>> {
        Ok(self.exchange(self.client.get(url), headers).into())
    }

    fn post(
        &mut self,
        url: &str,
        _base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
        _kind: PostBodyDataKind,
    ) -> gix::Result<PostResponse<Headers, Body, RequestBody>> {
        Ok(self.exchange(self.client.post(url), headers))
    }

    fn configure(&mut self, _config: &dyn std::any::Any) -> gix::Result {
        Ok(())
    }
}

enum Exchange {
    Unsent {
        request: Box<RequestBuilder>,
        body: Vec<u8>,
    },
    Answered {
        lines: Vec<u8>,
        response: Box<Response>,
    },
    Over,
}

/// Sends the request, unless that was done, and hands out what `take` asks for.
fn answered<T>(
    shared: &Mutex<Exchange>,
    watch: &Watch,
    take: impl FnOnce(&mut Exchange) -> Option<T>,
) -> io::Result<T> {
    let mut exchange = shared.lock().unwrap_or_else(PoisonError::into_inner);
    if matches!(*exchange, Exchange::Unsent { .. })
        && let Exchange::Unsent { request, body } =
            std::mem::replace(&mut *exchange, Exchange::Over)
    {
        *exchange = send(*request, body, watch)?;
    }
    take(&mut exchange).ok_or_else(|| io::Error::other("the answer was already read"))
}

fn send(request: RequestBuilder, body: Vec<u8>, watch: &Watch) -> io::Result<Exchange> {
    watch.check().map_err(|over| watch.fail(over))?;
    let left = watch
        .time
        .deadline
        .saturating_duration_since(Instant::now());
    // The request's own timeout counts until the last byte of the answer, so that a host
    // that dribbles is no better off than one that is silent.
    let request = request.timeout(left);
    let request = if body.is_empty() {
        request
    } else {
        request.body(body)
    };
    let response = request
        .send()
        .map_err(|error| watch.transport_failure(&error.without_url()))?;
    if !response.status().is_success() {
        return Err(watch.fail(refusal(&response, watch)));
    }
    let mut lines = Vec::new();
    for (name, value) in response.headers() {
        lines.extend_from_slice(name.as_str().as_bytes());
        lines.extend_from_slice(b": ");
        lines.extend_from_slice(value.to_str().unwrap_or_default().as_bytes());
        lines.push(b'\n');
    }
    Ok(Exchange::Answered {
        lines,
        response: Box::new(response),
    })
}

fn refusal(response: &Response, watch: &Watch) -> Error {
    let repository = watch.repository();
    let status = response.status().as_u16();
    let header = |name: HeaderName| {
        response
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let retry_after = header(RETRY_AFTER).and_then(|text| text.trim().parse().ok());
    // GitHub says "too many requests" with a 403 as well.
    let is_rate_limit = status == 429
        || (status == 403
            && (header(RETRY_AFTER).is_some()
                || header(HeaderName::from_static("x-ratelimit-remaining")) == Some("0")));
    match status {
        _ if is_rate_limit => Error::RateLimited {
            repository,
            status,
            retry_after,
        },
        401 | 403 => Error::Refused {
            repository,
            status,
            has_token: watch.token.is_some(),
        },
        404 | 410 => Error::RepositoryMissing { repository, status },
        300..=399 => Error::Redirected {
            repository,
            to: redirect_target(response, watch),
        },
        _ => Error::Status { repository, status },
    }
}

/// The address to write into the configuration: without the part that Git appends.
fn redirect_target(response: &Response, watch: &Watch) -> String {
    let target = response
        .headers()
        .get(LOCATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| response.url().join(value).ok());
    let Some(mut target) = target else {
        return "nowhere".to_owned();
    };
    target.set_query(None);
    target.set_fragment(None);
    if target.set_username("").is_err() || target.set_password(None).is_err() {
        return "an address that is none".to_owned();
    }
    let text = target.as_str();
    let appended = ["/info/refs", "/git-receive-pack"];
    let text = appended
        .iter()
        .find_map(|end| text.strip_suffix(end))
        .unwrap_or(text);
    watch.words(text)
}

pub(super) struct RequestBody(Arc<Mutex<Exchange>>);

impl Write for RequestBody {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Exchange::Unsent { body, .. } => body.extend_from_slice(bytes),
            Exchange::Answered { .. } | Exchange::Over => {
                return Err(io::Error::other("the request was already sent"));
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) struct Headers {
    shared: Arc<Mutex<Exchange>>,
    watch: Arc<Watch>,
    lines: Option<Cursor<Vec<u8>>>,
}

impl Headers {
    fn lines(&mut self) -> io::Result<&mut Cursor<Vec<u8>>> {
        let lines = match self.lines.take() {
            Some(lines) => lines,
            None => answered(&self.shared, &self.watch, |exchange| match exchange {
                Exchange::Answered { lines, .. } => Some(Cursor::new(std::mem::take(lines))),
                Exchange::Unsent { .. } | Exchange::Over => None,
            })?,
        };
        Ok(self.lines.insert(lines))
    }
}

impl Read for Headers {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.lines()?.read(bytes)
    }
}

impl BufRead for Headers {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.lines()?.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        if let Some(lines) = &mut self.lines {
            lines.consume(amount);
        }
    }
}

pub(super) struct Body {
    shared: Arc<Mutex<Exchange>>,
    watch: Arc<Watch>,
    reader: Option<BufReader<Watched>>,
}

impl Body {
    fn reader(&mut self) -> io::Result<&mut BufReader<Watched>> {
        let reader = if let Some(reader) = self.reader.take() {
            reader
        } else {
            let take = |exchange: &mut Exchange| match std::mem::replace(exchange, Exchange::Over) {
                Exchange::Answered { response, .. } => Some(response),
                Exchange::Unsent { .. } | Exchange::Over => None,
            };
            let watched = Watched {
                response: answered(&self.shared, &self.watch, take)?,
                watch: Arc::clone(&self.watch),
            };
            BufReader::with_capacity(64 * 1024, watched)
        };
        Ok(self.reader.insert(reader))
    }
}

impl Read for Body {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.reader()?.read(bytes)
    }
}

impl BufRead for Body {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.reader()?.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        if let Some(reader) = &mut self.reader {
            reader.consume(amount);
        }
    }
}

struct Watched {
    response: Box<Response>,
    watch: Arc<Watch>,
}

impl Read for Watched {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let watch = &self.watch;
        watch.check().map_err(|over| watch.fail(over))?;
        let count = self
            .response
            .read(bytes)
            .map_err(|error| watch.transport_failure(&error))?;
        let left = watch.bytes_left.load(Ordering::Relaxed);
        let Some(left) = left.checked_sub(count as u64) else {
            return Err(watch.fail(Error::TooLarge {
                repository: watch.repository(),
                what: watch.bound,
                limit: watch.bytes_limit,
            }));
        };
        watch.bytes_left.store(left, Ordering::Relaxed);
        Ok(count)
    }
}

fn basic(token: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(format!("{USER_NAME}:{token}"))
}
