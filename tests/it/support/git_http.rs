//! A Git host over smart HTTP on this machine: a thin layer around `git upload-pack` and
//! `git receive-pack`, and the counter that tells what a client really asked for.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinHandle;

use super::git_repo::git_command;

/// Serves one repository until it is dropped. Must be made inside a tokio runtime.
pub struct GitHttp {
    url: String,
    host: Arc<Host>,
    server: JoinHandle<()>,
}

struct Host {
    repository: PathBuf,
    token: Mutex<Option<String>>,
    requests: Mutex<Vec<Request>>,
    before_push: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    is_deaf: AtomicBool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Answered with 401.
    Refused,
    /// The first step of everything.
    Handshake,
    ListRefs,
    Fetch,
    /// The first step of a push.
    Offer,
    Push,
}

impl GitHttp {
    /// With a token, requests without `x-access-token:<token>` get a 401.
    pub fn serve(repository: &Path, token: Option<&str>) -> Self {
        let host = Arc::new(Host {
            repository: repository.to_owned(),
            token: Mutex::new(token.map(ToOwned::to_owned)),
            requests: Mutex::default(),
            before_push: Mutex::default(),
            is_deaf: AtomicBool::default(),
        });
        let router = Router::new()
            .route("/repo.git/info/refs", get(info_refs))
            .route("/repo.git/git-upload-pack", post(upload_pack))
            .route("/repo.git/git-receive-pack", post(receive_pack))
            .with_state(Arc::clone(&host));
        let (address, server) = serve(router);
        Self {
            url: format!("http://{address}/repo.git"),
            host,
            server,
        }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on.
    pub fn expect_token(&self, token: &str) {
        *self.host.token.lock().unwrap() = Some(token.to_owned());
    }

    /// Done once, after the next client was told where the branches are and before its push.
    pub fn before_push(&self, act: impl FnOnce() + Send + 'static) {
        *self.host.before_push.lock().unwrap() = Some(Box::new(act));
    }

    /// The next push is taken, and whoever sent it does not hear of it.
    pub fn lose_the_next_answer(&self) {
        self.host.is_deaf.store(true, Ordering::Relaxed);
    }

    /// Every request so far, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.host.requests.lock().unwrap().clone()
    }

    pub fn count(&self, of: Request) -> usize {
        self.requests()
            .iter()
            .filter(|request| **request == of)
            .count()
    }
}

impl Drop for GitHttp {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Any router on a free port of this machine; for hosts that misbehave.
pub fn serve(router: Router) -> (std::net::SocketAddr, JoinHandle<()>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let server = tokio::spawn(async move {
        axum::serve(listener, router).await.unwrap();
    });
    (address, server)
}

#[derive(serde::Deserialize)]
struct Service {
    service: String,
}

async fn info_refs(
    State(host): State<Arc<Host>>,
    Query(Service { service }): Query<Service>,
    headers: HeaderMap,
) -> Response {
    if let Some(refusal) = host.refuses(&headers) {
        return refusal;
    }
    let (program, request) = match service.as_str() {
        "git-upload-pack" => ("upload-pack", Request::Handshake),
        "git-receive-pack" => ("receive-pack", Request::Offer),
        _ => return StatusCode::FORBIDDEN.into_response(),
    };
    host.note(request);
    let mut answer = Vec::new();
    let protocol = protocol(&headers);
    if protocol != "version=2" {
        let line = format!("# service={service}\n");
        answer.extend(format!("{:04x}{line}0000", line.len() + 4).into_bytes());
    }
    let options = [program, "--http-backend-info-refs"];
    answer.extend(host.git(&options, &protocol, Bytes::new()).await);
    reply(program, "advertisement", answer)
}

async fn upload_pack(State(host): State<Arc<Host>>, headers: HeaderMap, body: Bytes) -> Response {
    if let Some(refusal) = host.refuses(&headers) {
        return refusal;
    }
    let is_list = body.windows(15).any(|part| part == b"command=ls-refs");
    host.note(if is_list {
        Request::ListRefs
    } else {
        Request::Fetch
    });
    let answer = host.git(&["upload-pack"], &protocol(&headers), body).await;
    reply("upload-pack", "result", answer)
}

async fn receive_pack(State(host): State<Arc<Host>>, headers: HeaderMap, body: Bytes) -> Response {
    if let Some(refusal) = host.refuses(&headers) {
        return refusal;
    }
    host.note(Request::Push);
    let act = host.before_push.lock().unwrap().take();
    if let Some(act) = act {
        act();
    }
    let answer = host.git(&["receive-pack"], &protocol(&headers), body).await;
    if host.is_deaf.swap(false, Ordering::Relaxed) {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    reply("receive-pack", "result", answer)
}

fn protocol(headers: &HeaderMap) -> String {
    let value = headers.get("git-protocol");
    value.map_or("", |value| value.to_str().unwrap()).to_owned()
}

fn reply(program: &str, kind: &str, body: Vec<u8>) -> Response {
    let content_type = format!("application/x-git-{program}-{kind}");
    ([(header::CONTENT_TYPE, content_type)], Body::from(body)).into_response()
}

impl Host {
    fn note(&self, request: Request) {
        self.requests.lock().unwrap().push(request);
    }

    fn refuses(&self, headers: &HeaderMap) -> Option<Response> {
        let token = self.token.lock().unwrap().clone()?;
        let encoded =
            base64::engine::general_purpose::STANDARD.encode(format!("x-access-token:{token}"));
        let wanted = format!("Basic {encoded}");
        let given = headers.get(header::AUTHORIZATION);
        if given.is_some_and(|given| given.as_bytes() == wanted.as_bytes()) {
            return None;
        }
        self.note(Request::Refused);
        let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"git\"")];
        Some((StatusCode::UNAUTHORIZED, challenge).into_response())
    }

    async fn git(&self, options: &[&str], protocol: &str, input: Bytes) -> Vec<u8> {
        let mut command: tokio::process::Command = git_command(&self.repository).into();
        let mut child = command
            .args(options)
            .arg("--stateless-rpc")
            .arg(".")
            .env("GIT_PROTOCOL", protocol)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the git binary is on the PATH");
        let mut stdin = child.stdin.take().unwrap();
        let feed = async move {
            // The program may have said all it has to say before it read everything.
            let _ = stdin.write_all(&input).await;
        };
        let (output, ()) = tokio::join!(child.wait_with_output(), feed);
        output.unwrap().stdout
    }
}
