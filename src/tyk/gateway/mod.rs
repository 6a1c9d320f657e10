//! The client of a Tyk Gateway's admin API.
//!
//! Its quirks, each seen on a running 5.14: writes reach the disk and reads come from memory, so a
//! 200 proves nothing until a reload was waited for and the object was seen; a POST creates or
//! overwrites; a body that is not what it should be makes another object with a random id; a
//! missing policy's DELETE is a 500; two reads of OAS documents at once can stop the process. So
//! this client has one request under way at most, never lists OAS documents, and tries nothing
//! twice: its caller decides.

mod error;
mod wire;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, value::RawValue};
use tokio::sync::Mutex;
use url::Url;

pub use self::error::Error;
use crate::domain::object::{Kind, ObjectKey, Route};

/// How a gateway is reached, and how long it may take.
#[derive(Debug, Clone)]
pub struct Options {
    /// The control API's address.
    pub url: Url,
    pub secret: SecretString,
    pub connect_timeout: Duration,
    pub read_timeout: Duration,
    /// A gateway checks large documents for up to a minute.
    pub write_timeout: Duration,
    /// A gateway cuts an answer after 120 s.
    pub reload_timeout: Duration,
    pub max_body_bytes: usize,
}

impl Options {
    pub fn new(url: Url, secret: SecretString) -> Self {
        Self {
            url,
            secret,
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_mins(1),
            reload_timeout: Duration::from_secs(130),
            max_body_bytes: 512 * 1024 * 1024,
        }
    }
}

/// One gateway. Requests wait for one another.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    options: Options,
    one_at_a_time: Mutex<()>,
}

/// Whether the gateway has loaded its APIs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    NotReady(String),
    /// Gateways before 5.8.3 cannot say.
    Unknown,
}

/// Everything that is live, as listed.
#[derive(Debug)]
pub struct Listing {
    /// In no order: a gateway lists in a random one.
    pub objects: Vec<Listed>,
    /// Objects without an id, which nothing can be done with.
    pub nameless: usize,
}

/// One live object: what is needed of all of them, and the exact text for a closer look.
#[derive(Debug)]
pub struct Listed {
    pub key: ObjectKey,
    pub name: String,
    pub route: Option<Route>,
    pub raw: Box<RawValue>,
}

impl Listed {
    /// The listed body: a policy, or a classic definition (of an OAS API its projection).
    pub fn body(&self) -> Value {
        serde_json::from_str(self.raw.get()).unwrap_or_default()
    }
}

/// What a deletion came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deleted {
    Done,
    /// The gateway does not have it in memory.
    Absent,
    /// The gateway could not remove the file; its own words.
    Refused(String),
}

impl Client {
    pub fn new(options: Options) -> Result<Self, Error> {
        let http = reqwest::Client::builder()
            .connect_timeout(options.connect_timeout)
            .pool_max_idle_per_host(1)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|error| Error::Client(error.to_string()))?;
        Ok(Self {
            http,
            options,
            one_at_a_time: Mutex::new(()),
        })
    }

    pub async fn readiness(&self) -> Result<Readiness, Error> {
        let answer = self.get(&["ready"]).await?;
        match answer.status {
            StatusCode::OK => Ok(Readiness::Ready),
            StatusCode::NOT_FOUND => Ok(Readiness::Unknown),
            StatusCode::SERVICE_UNAVAILABLE => Ok(Readiness::NotReady(answer.message())),
            _ => Err(answer.error()),
        }
    }

    pub async fn version(&self) -> Result<String, Error> {
        let answer = self.get(&["hello"]).await?.expect_ok()?;
        let hello: wire::Hello = answer.json()?;
        Ok(hello.version)
    }

    /// All APIs and all policies: one listing, two requests.
    pub async fn list(&self) -> Result<Listing, Error> {
        let url = self.url(&["tyk", "apis"], Some(("include_types", "mcp")))?;
        let apis = self
            .send(Method::GET, url, None, self.options.read_timeout)
            .await?
            .expect_ok()?;
        let policies = self.get(&["tyk", "policies"]).await?.expect_ok()?;
        let read = move || wire::listing(&apis.body, &policies.body);
        // Tens of megabytes take a while to read.
        tokio::task::spawn_blocking(read)
            .await
            .expect("reading a listing does not panic")
    }

    /// One OAS document. See the module's note: one at a time, and not in a loop.
    pub async fn document(&self, id: &str) -> Result<Option<Value>, Error> {
        let answer = self.get(&["tyk", "apis", "oas", id]).await?;
        if answer.status == StatusCode::NOT_FOUND && answer.is_envelope() {
            return Ok(None);
        }
        answer.expect_ok()?.json().map(Some)
    }

    /// Creates or overwrites an object on the gateway's disk.
    pub async fn write(&self, kind: Kind, id: &str, body: &Value) -> Result<(), Error> {
        let url = self.url(endpoint(kind), None)?;
        let body = Bytes::from(body.to_string());
        let answer = self
            .send(Method::POST, url, Some(body), self.options.write_timeout)
            .await?
            .expect_ok()?;
        let written: wire::Written = answer.json()?;
        if written.key != id {
            return Err(Error::WrongKey {
                asked: id.to_owned(),
                made: written.key,
            });
        }
        Ok(())
    }

    pub async fn delete(&self, kind: Kind, id: &str) -> Result<Deleted, Error> {
        let mut segments = match kind {
            Kind::Policy => vec!["tyk", "policies"],
            Kind::McpProxy => vec!["tyk", "mcps"],
            Kind::ClassicApi => vec!["tyk", "apis"],
            Kind::OasApi => vec!["tyk", "apis", "oas"],
        };
        segments.push(id);
        let url = self.url(&segments, None)?;
        let answer = self
            .send(Method::DELETE, url, None, self.options.write_timeout)
            .await?;
        match answer.status {
            StatusCode::OK => Ok(Deleted::Done),
            StatusCode::NOT_FOUND if answer.is_envelope() => Ok(Deleted::Absent),
            StatusCode::INTERNAL_SERVER_ERROR if answer.message() == "Delete failed" => {
                Ok(Deleted::Refused(answer.message()))
            }
            _ => Err(answer.error()),
        }
    }

    /// Makes the gateway load its disk, and waits for it.
    pub async fn reload(&self) -> Result<(), Error> {
        let url = self.url(&["tyk", "reload"], Some(("block", "true")))?;
        self.send(Method::GET, url, None, self.options.reload_timeout)
            .await?
            .expect_ok()?;
        Ok(())
    }

    async fn get(&self, segments: &[&str]) -> Result<Answer, Error> {
        let url = self.url(segments, None)?;
        self.send(Method::GET, url, None, self.options.read_timeout)
            .await
    }

    /// An address below the gateway's own, each segment encoded as one.
    fn url(&self, segments: &[&str], query: Option<(&str, &str)>) -> Result<Url, Error> {
        let mut url = self.options.url.clone();
        url.path_segments_mut()
            .map_err(|()| Error::Client("the node's address cannot have a path".to_owned()))?
            .pop_if_empty()
            .extend(segments);
        if let Some((name, value)) = query {
            url.query_pairs_mut().append_pair(name, value);
        }
        Ok(url)
    }

    async fn send(
        &self,
        method: Method,
        url: Url,
        body: Option<Bytes>,
        timeout: Duration,
    ) -> Result<Answer, Error> {
        let _turn = self.one_at_a_time.lock().await;
        let writes = matches!(method, Method::POST | Method::DELETE);
        let mut request = self
            .http
            .request(method, url)
            .timeout(timeout)
            .header("x-tyk-authorization", self.options.secret.expose_secret());
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body);
        }
        let failed = |error: &reqwest::Error| Error::from_transport(error, writes, timeout);
        let mut response = request.send().await.map_err(|error| failed(&error))?;
        let status = response.status();
        let mut read = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| failed(&error))? {
            if read.len() + chunk.len() > self.options.max_body_bytes {
                return Err(Error::BadAnswer(format!(
                    "the answer is larger than {} bytes",
                    self.options.max_body_bytes
                )));
            }
            read.extend_from_slice(&chunk);
        }
        Ok(Answer {
            status,
            body: read.freeze(),
        })
    }
}

fn endpoint(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Policy => &["tyk", "policies"],
        Kind::ClassicApi => &["tyk", "apis"],
        Kind::OasApi => &["tyk", "apis", "oas"],
        Kind::McpProxy => &["tyk", "mcps"],
    }
}

/// An answer that arrived whole.
struct Answer {
    status: StatusCode,
    body: Bytes,
}

impl Answer {
    fn expect_ok(self) -> Result<Self, Error> {
        if self.status == StatusCode::OK {
            Ok(self)
        } else {
            Err(self.error())
        }
    }

    fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Error::BadAnswer(format!("the answer is not what was promised: {error}"))
        })
    }

    /// Whether it is the gateway's own form of a message, and not a proxy's page.
    fn is_envelope(&self) -> bool {
        serde_json::from_slice::<wire::Envelope>(&self.body).is_ok()
    }

    /// The gateway's own words, cut.
    fn message(&self) -> String {
        const LONGEST: usize = 2_000;
        let message = serde_json::from_slice::<wire::Envelope>(&self.body).map_or_else(
            |_| String::from_utf8_lossy(&self.body).trim().to_owned(),
            |envelope| envelope.message,
        );
        message.chars().take(LONGEST).collect()
    }

    fn error(&self) -> Error {
        Error::from_status(self.status, self.message())
    }
}
