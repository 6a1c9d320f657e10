//! The client of a Tyk Gateway's admin API.
//!
//! Its quirks, each seen on a running 5.14: writes reach the disk and reads come from memory, so a
//! 200 proves nothing until a reload was waited for and the object was seen; a POST creates or
//! overwrites; a body that is not what it should be makes another object with a random id; the
//! DELETE of a policy that is not there is a 500; two reads of OAS documents at once can stop the
//! process. Certificates are the exception: they live in Redis, at once and for every node that
//! shares it.
//!
//! So this client has one request under way at most, never lists OAS documents, and never tries
//! anything twice: its caller decides. A request that was begun is seen through to its answer,
//! also when nobody waits for it any more, because only then is it safe to begin the next one.
//! No secret and no body is ever part of an error or of what `Debug` prints.

mod certificates;
mod connection;
mod error;
mod schema;
mod wire;

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use reqwest::{Method, StatusCode};
use secrecy::SecretString;
use serde_json::{Value, value::RawValue};
use tokio::sync::{Mutex, OwnedMutexGuard};
use url::Url;

use self::connection::{Answer, Ask, Connection, on_the_right_thread};
pub use self::{
    certificates::Added,
    error::Error,
    schema::{Generation, Schema},
};
use crate::domain::object::{Kind, ObjectKey, Route};

/// How a gateway is reached, and how long it may take.
#[derive(Clone)]
pub struct Options {
    /// The control API's address, without credentials. A path in it is kept as a prefix.
    pub url: Url,
    pub secret: SecretString,
    pub connect_timeout: Duration,
    /// For one request, connecting and the whole answer included; so are the two below.
    pub read_timeout: Duration,
    /// A gateway checks large documents for up to a minute.
    pub write_timeout: Duration,
    /// A gateway cuts an answer after 120 s.
    pub reload_timeout: Duration,
    /// A larger answer is an error. Five thousand APIs are listed in 33 MB.
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
            max_body_bytes: 256 * 1024 * 1024,
        }
    }
}

// Whatever is in the address besides the host stays out.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("scheme", &self.url.scheme())
            .field("host", &self.url.host_str())
            .field("port", &self.url.port_or_known_default())
            .finish_non_exhaustive()
    }
}

/// One gateway. Requests wait for one another.
#[derive(Debug)]
pub struct Client {
    connection: Arc<Mutex<Connection>>,
    schemas: schema::Schemas,
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
pub struct Listed {
    pub key: ObjectKey,
    pub name: String,
    /// Absent for what is no API.
    pub route: Option<Route>,
    pub raw: Box<RawValue>,
}

impl Listed {
    /// The listed body: a policy, a certificate's id, or a classic definition (of an OAS API its
    /// projection). Null for one that is nested deeper than this process reads, which equals no
    /// desired state.
    pub fn body(&self) -> Value {
        serde_json::from_str(self.raw.get()).unwrap_or_default()
    }

    /// The ids of the APIs that a listed policy gives access to, read without the rest of it.
    pub fn grants(&self) -> Vec<String> {
        match self.key.kind {
            Kind::Policy => wire::grants(&self.raw),
            Kind::Certificate | Kind::ClassicApi | Kind::OasApi | Kind::McpProxy => Vec::new(),
        }
    }
}

// A body may hold secrets, so it is never printed.
impl fmt::Debug for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.key, self.raw.get().len())
    }
}

/// What a deletion came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deleted {
    Done,
    /// The gateway does not have it in memory. Its file may be on disk all the same.
    Absent,
    /// The gateway did not remove it; its own words. It also says so of a policy that is not
    /// there, and of an API that was deleted and is still in memory.
    Refused(String),
}

impl Client {
    pub fn new(options: Options) -> Result<Self, Error> {
        let connection = Connection::new(options)?;
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
            schemas: schema::Schemas::default(),
        })
    }

    pub async fn readiness(&self) -> Result<Readiness, Error> {
        let answer = self.ask(Ask::open("ready")).await?;
        match answer.status {
            StatusCode::OK => {
                let _: wire::Ready = answer.json().await?;
                Ok(Readiness::Ready)
            }
            StatusCode::NOT_FOUND => Ok(Readiness::Unknown),
            StatusCode::SERVICE_UNAVAILABLE if answer.is_the_gateways() => {
                Ok(Readiness::NotReady(answer.message))
            }
            _ => Err(answer.error()),
        }
    }

    pub async fn version(&self) -> Result<String, Error> {
        let answer = self.ask(Ask::open("hello")).await?.expect_ok()?;
        let hello: wire::Hello = answer.json().await?;
        Ok(hello.version)
    }

    /// All APIs and all policies: one listing, two requests with none between them.
    pub async fn list(&self) -> Result<Listing, Error> {
        let (apis, policies) = self
            .alone(false, |connection| async move {
                let ask = Ask::read(&["tyk", "apis"]).with_query("include_types=mcp");
                let apis = connection.send(ask).await?.expect_ok()?;
                let ask = Ask::read(&["tyk", "policies"]);
                let policies = connection.send(ask).await?.expect_ok()?;
                Ok((apis.body, policies.body))
            })
            .await?;
        on_the_right_thread(apis.len() + policies.len(), move || {
            wire::listing(&apis, &policies)
        })
        .await
    }

    /// One OAS document. See the module's note: one at a time, and not in a loop.
    pub async fn document(&self, id: &str) -> Result<Option<Value>, Error> {
        // These words lead to the list of all documents, or to no document.
        if matches!(id, "export" | "import" | "versions") {
            return Err(Error::BadId { id: id.to_owned() });
        }
        let ask = Ask::read(&["tyk", "apis", "oas"]).with_id(id)?;
        let answer = self.ask(ask).await?;
        if answer.says_absent() {
            return Ok(None);
        }
        let document: Value = answer.expect_ok()?.json().await?;
        if document.is_object() {
            Ok(Some(document))
        } else {
            Err(Error::bad_answer("the document is no object", false))
        }
    }

    /// Creates or overwrites an object on the gateway's disk.
    pub async fn write(&self, kind: Kind, id: &str, body: &Value) -> Result<(), Error> {
        connection::check_id(id)?;
        if kind == Kind::Certificate {
            self.add_certificate(id, body).await?;
            return Ok(());
        }
        let ask = Ask::write(Method::POST, endpoint(kind)).with_body(Bytes::from(body.to_string()));
        let answer = self.ask(ask).await?.expect_ok()?;
        let written: wire::Written = answer.json().await?;
        if written.key == id {
            Ok(())
        } else {
            Err(Error::WrongKey {
                asked: id.to_owned(),
                made: written.key,
            })
        }
    }

    /// Removes an object from the gateway's disk, if the gateway has it in memory.
    pub async fn delete(&self, kind: Kind, id: &str) -> Result<Deleted, Error> {
        if kind == Kind::Certificate {
            return self.delete_certificate(id).await;
        }
        let ask = Ask::write(Method::DELETE, endpoint(kind)).with_id(id)?;
        let answer = self.ask(ask).await?;
        match answer.status {
            StatusCode::OK => {
                let deleted: wire::Written = answer.json().await?;
                if deleted.key == id {
                    Ok(Deleted::Done)
                } else {
                    let detail = "the gateway says that it deleted another object";
                    Err(Error::bad_answer(detail, true))
                }
            }
            StatusCode::NOT_FOUND if answer.says_absent() => Ok(Deleted::Absent),
            // An MCP proxy that is an API of another kind by now.
            StatusCode::NOT_FOUND if answer.is_the_gateways() => {
                Ok(Deleted::Refused(answer.message))
            }
            StatusCode::INTERNAL_SERVER_ERROR if answer.message == wire::DELETE_FAILED => {
                Ok(Deleted::Refused(answer.message))
            }
            _ => Err(answer.error()),
        }
    }

    /// Makes the gateway load its disk, and waits for it. The answer is the same whether the
    /// gateway could load what it found or not.
    pub async fn reload(&self) -> Result<(), Error> {
        let ask = Ask::reload(&["tyk", "reload"]).with_query("block=true");
        let answer = self.ask(ask).await?.expect_ok()?;
        let said: wire::Envelope = answer.json().await?;
        if said.status == "ok" {
            Ok(())
        } else {
            Err(Error::bad_answer("the reload's status is not ok", false))
        }
    }

    async fn ask(&self, ask: Ask) -> Result<Answer, Error> {
        self.alone(ask.writes(), |connection| async move {
            connection.send(ask).await
        })
        .await
    }

    /// Runs requests that no other request may come between. They run in a task of their own: a
    /// caller that is dropped leaves the gateway busy, and the lock has to be held until it is not.
    async fn alone<T, F>(
        &self,
        writes: bool,
        requests: impl FnOnce(OwnedMutexGuard<Connection>) -> F,
    ) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let connection = self.connection.clone().lock_owned().await;
        match tokio::spawn(requests(connection)).await {
            Ok(result) => result,
            Err(error) => Err(connection::unfinished(error, writes)),
        }
    }
}

fn endpoint(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Certificate => certificates::ENDPOINT,
        Kind::Policy => &["tyk", "policies"],
        Kind::ClassicApi => &["tyk", "apis"],
        Kind::OasApi => &["tyk", "apis", "oas"],
        Kind::McpProxy => &["tyk", "mcps"],
    }
}
