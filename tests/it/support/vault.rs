//! A stand-in for Vault, as its documentation has the key-value store of version 2 and
//! the `AppRole` method, over real HTTP.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header::LOCATION},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::git_http::serve;

pub const TOKEN: &str = "hvs.planted-t0ken-of-vault";
pub const ROLE_ID: &str = "planted-r0le-id";
pub const SECRET_ID: &str = "planted-s3cret-id-of-an-approle";

/// What is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    Sealed,
    /// Sends everybody elsewhere.
    Redirect(String),
    Never,
    Endless,
    /// Answers with what it was sent.
    Echo,
    /// A store of version 1.
    VersionOne,
    /// A page that is none of Vault's.
    Page,
}

pub struct Vault {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// By `mount/path`; `None` for a latest version that is deleted.
    secrets: BTreeMap<String, Option<Value>>,
    namespace: Option<String>,
    /// Tokens of logins that are good.
    tokens: Vec<String>,
    lease: u64,
    trouble: Option<Trouble>,
    logins: usize,
    reads: Vec<String>,
}

impl Vault {
    pub fn start() -> Self {
        let shared = Arc::new(Shared::default());
        shared.inner.lock().unwrap().lease = 3_600;
        let router = Router::new()
            .route("/v1/auth/approle/login", post(login))
            .route("/v1/{mount}/data/{*path}", get(read))
            .with_state(shared.clone());
        let (address, server) = serve(router);
        Self {
            address,
            shared,
            server,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Writes a new version.
    pub fn put(&self, place: &str, fields: Value) -> &Self {
        self.with(|inner| inner.secrets.insert(place.to_owned(), Some(fields)));
        self
    }

    pub fn delete_latest(&self, place: &str) {
        self.with(|inner| inner.secrets.insert(place.to_owned(), None));
    }

    pub fn has(&self, trouble: Option<Trouble>) {
        self.with(|inner| inner.trouble = trouble);
    }

    pub fn only_in(&self, namespace: &str) {
        self.with(|inner| inner.namespace = Some(namespace.to_owned()));
    }

    /// How long the tokens of logins last, in seconds.
    pub fn leases(&self, seconds: u64) {
        self.with(|inner| inner.lease = seconds);
    }

    pub fn revoke_all(&self) {
        self.with(|inner| inner.tokens.clear());
    }

    pub fn logins(&self) -> usize {
        self.with(|inner| inner.logins)
    }

    /// The places that were read, in order.
    pub fn reads(&self) -> Vec<String> {
        self.with(|inner| std::mem::take(&mut inner.reads))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.shared.inner.lock().unwrap())
    }
}

impl Drop for Vault {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn errors(status: u16, errors: &[&str]) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    (status, Json(json!({"errors": errors}))).into_response()
}

async fn in_trouble(trouble: Option<Trouble>, sent: &str) -> Option<Response> {
    let answer = match trouble? {
        Trouble::Sealed => errors(503, &["Vault is sealed"]),
        Trouble::Redirect(place) => {
            (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, place)]).into_response()
        }
        Trouble::Never => std::future::pending().await,
        Trouble::Endless => {
            let chunk = Ok::<_, std::convert::Infallible>(Bytes::from(vec![b' '; 64 * 1024]));
            Body::from_stream(futures_util::stream::repeat(chunk)).into_response()
        }
        Trouble::Echo => errors(400, &[&format!("you sent {sent}")]),
        Trouble::VersionOne => Json(json!({"data": {"password": "planted"}})).into_response(),
        Trouble::Page => (StatusCode::BAD_GATEWAY, format!("<html>{sent}</html>")).into_response(),
    };
    Some(answer)
}

async fn login(State(shared): State<Arc<Shared>>, Json(body): Json<Value>) -> Response {
    let trouble = shared.inner.lock().unwrap().trouble.clone();
    if let Some(answer) = in_trouble(trouble, &body.to_string()).await {
        return answer;
    }
    if body != json!({"role_id": ROLE_ID, "secret_id": SECRET_ID}) {
        return errors(400, &["invalid role or secret ID"]);
    }
    let mut inner = shared.inner.lock().unwrap();
    inner.logins += 1;
    let token = format!("hvs.of-login-{}", inner.logins);
    inner.tokens.push(token.clone());
    Json(json!({
        "request_id": "0", "lease_id": "", "renewable": false, "lease_duration": 0, "data": null,
        "auth": {
            "client_token": token, "accessor": "a", "policies": ["default"],
            "lease_duration": inner.lease, "renewable": true, "token_type": "service",
        },
    }))
    .into_response()
}

async fn read(
    State(shared): State<Arc<Shared>>,
    Path((mount, path)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let token = header("x-vault-token").unwrap_or_default();
    let trouble = shared.inner.lock().unwrap().trouble.clone();
    if let Some(answer) = in_trouble(trouble, token).await {
        return answer;
    }
    let mut inner = shared.inner.lock().unwrap();
    assert_eq!(header("x-vault-request"), Some("true"));
    let is_known = token == TOKEN || inner.tokens.iter().any(|known| known == token);
    if !is_known || header("x-vault-namespace") != inner.namespace.as_deref() {
        return errors(403, &["permission denied"]);
    }
    let place = format!("{mount}/{path}");
    inner.reads.push(place.clone());
    let metadata = |deleted: &str| {
        json!({
            "created_time": "2026-01-01T00:00:00Z", "custom_metadata": null,
            "deletion_time": deleted, "destroyed": false, "version": 1,
        })
    };
    match inner.secrets.get(&place) {
        Some(Some(fields)) => {
            let data = json!({"data": fields, "metadata": metadata("")});
            Json(json!({"request_id": "0", "lease_duration": 0, "data": data})).into_response()
        }
        Some(None) => {
            let data = json!({"data": null, "metadata": metadata("2026-01-02T00:00:00Z")});
            (StatusCode::NOT_FOUND, Json(json!({"data": data}))).into_response()
        }
        None => errors(404, &[]),
    }
}
