//! The sockets: a listener for the control API, one for the proxy port, the faults and the log
//! around every request. What a request means is decided elsewhere.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{Request, Response};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::certs::Certificates;
use super::faults::{Asked, Fault, Faults};
use super::log::{Journal, Seen};
use super::reply::Reply;
use super::state::{State, Surroundings, load_apis, load_policies};
use super::{GatewayOptions, proxy, reload, routes};

/// What the tasks of one gateway have in common.
#[derive(Debug)]
pub struct Shared {
    pub options: GatewayOptions,
    pub faults: Faults,
    pub reloads: mpsc::UnboundedSender<reload::Request>,
    pub client: reqwest::Client,
    state: Mutex<State>,
    journal: Mutex<Journal>,
    certificates: Mutex<Certificates>,
    sockets: Mutex<Sockets>,
    loading: AtomicUsize,
    loads: AtomicU64,
    ready: watch::Sender<bool>,
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Sockets {
    control: SocketAddr,
    proxy: Option<SocketAddr>,
    started: Instant,
    /// How much older the process is made out to be.
    pretended: Duration,
    /// Cancelled when the process ends.
    process: CancellationToken,
    /// Cancelled when the proxy port closes.
    proxy_port: CancellationToken,
    proxy_open: bool,
    /// The listeners; one that was told to stop may hold its port a moment longer.
    control_listener: Option<JoinHandle<()>>,
    proxy_listener: Option<JoinHandle<()>>,
}

/// The connection goes away without an answer.
#[derive(Debug)]
struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the connection is cut on purpose")
    }
}

impl std::error::Error for Cut {}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Port {
    Control,
    Proxy,
}

impl Shared {
    pub fn new(options: GatewayOptions) -> (Arc<Self>, mpsc::UnboundedReceiver<reload::Request>) {
        let (reloads, requests) = mpsc::unbounded_channel();
        let process = CancellationToken::new();
        let shared = Self {
            faults: Faults::default(),
            reloads,
            client: reqwest::Client::builder()
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .unwrap_or_default(),
            state: Mutex::default(),
            journal: Mutex::new(Journal::new(options.keep)),
            certificates: Mutex::default(),
            sockets: Mutex::new(Sockets {
                control: options.listen,
                proxy: options.proxy,
                started: Instant::now(),
                pretended: Duration::ZERO,
                proxy_port: process.child_token(),
                process,
                proxy_open: false,
                control_listener: None,
                proxy_listener: None,
            }),
            loading: AtomicUsize::new(0),
            loads: AtomicU64::new(0),
            ready: watch::Sender::new(false),
            turn: tokio::sync::Mutex::new(()),
            options,
        };
        (Arc::new(shared), requests)
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub fn journal(&self) -> MutexGuard<'_, Journal> {
        lock(&self.journal)
    }

    pub fn certificates(&self) -> MutexGuard<'_, Certificates> {
        lock(&self.certificates)
    }

    pub fn control_address(&self) -> SocketAddr {
        lock(&self.sockets).control
    }

    pub fn proxy_address(&self) -> Option<SocketAddr> {
        lock(&self.sockets).proxy
    }

    /// The host and port that OAS documents show.
    pub fn public_address(&self) -> String {
        self.options.public_address.clone().unwrap_or_else(|| {
            self.proxy_address().map_or_else(
                || "127.0.0.1:8080".to_owned(),
                |address| address.to_string(),
            )
        })
    }

    pub fn age(&self) -> Duration {
        let sockets = lock(&self.sockets);
        sockets.started.elapsed() + sockets.pretended
    }

    pub fn grow_older(&self, by: Duration) {
        lock(&self.sockets).pretended += by;
    }

    pub fn loads(&self) -> u64 {
        self.loads.load(Ordering::SeqCst)
    }

    pub async fn ready(&self) {
        // The sender lives in `self`, so this cannot fail.
        let _ = self.ready.subscribe().wait_for(|ready| *ready).await;
    }

    /// One load: policies, then APIs, then the proxy port follows.
    pub async fn load(self: &Arc<Self>) {
        let _turn = self.turn.lock().await;
        self.loading.fetch_add(1, Ordering::SeqCst);
        let (disk, before) = {
            let state = self.state();
            (state.disk.clone(), state.live.apis.clone())
        };
        self.faults.before_load().await;
        if !self.faults.reload_fails() {
            let lost = |id: &str| self.faults.loses(id);
            let apis = load_apis(
                &disk,
                &before,
                &Surroundings {
                    environment: &self.options.environment,
                    lost: &lost,
                },
            );
            let empty = apis.is_empty();
            let had_any = {
                let mut state = self.state();
                let had_any = !state.live.apis.is_empty();
                if self.options.policy_path {
                    state.live.policies = load_policies(&disk);
                }
                state.live.apis = apis;
                state.live.loaded_once = true;
                had_any
            };
            if empty && had_any {
                self.close_proxy_port();
            } else if !empty {
                // A port that somebody else took meanwhile stays closed.
                let _ = self.open_proxy_port().await;
            }
            self.ready.send_replace(true);
        }
        self.loads.fetch_add(1, Ordering::SeqCst);
        self.loading.fetch_sub(1, Ordering::SeqCst);
    }

    pub async fn open_control(self: &Arc<Self>, again: Option<SocketAddr>) -> io::Result<()> {
        let previous = lock(&self.sockets).control_listener.take();
        gone(previous).await;
        let listener = match again {
            Some(address) => bind_again(address).await?,
            None => TcpListener::bind(self.options.listen).await?,
        };
        let stop = {
            let mut sockets = lock(&self.sockets);
            sockets.control = listener.local_addr()?;
            sockets.process = CancellationToken::new();
            sockets.started = Instant::now();
            sockets.pretended = Duration::ZERO;
            sockets.process.clone()
        };
        let task = tokio::spawn(self.clone().accept(listener, Port::Control, stop));
        lock(&self.sockets).control_listener = Some(task);
        Ok(())
    }

    pub async fn open_proxy_port(self: &Arc<Self>) -> io::Result<()> {
        let address = {
            let sockets = lock(&self.sockets);
            if sockets.proxy_open {
                return Ok(());
            }
            sockets.proxy
        };
        let Some(address) = address else {
            return Ok(());
        };
        let previous = lock(&self.sockets).proxy_listener.take();
        let was_open = previous.is_some();
        gone(previous).await;
        let listener = if was_open {
            bind_again(address).await?
        } else {
            TcpListener::bind(address).await?
        };
        let stop = {
            let mut sockets = lock(&self.sockets);
            sockets.proxy = Some(listener.local_addr()?);
            sockets.proxy_port = sockets.process.child_token();
            sockets.proxy_open = true;
            sockets.proxy_port.clone()
        };
        let task = tokio::spawn(self.clone().accept(listener, Port::Proxy, stop));
        lock(&self.sockets).proxy_listener = Some(task);
        Ok(())
    }

    /// The process ends.
    pub fn stop(&self) {
        {
            let mut sockets = lock(&self.sockets);
            sockets.process.cancel();
            sockets.proxy_open = false;
        }
        self.ready.send_replace(false);
        self.state().live = super::state::Live::default();
    }

    fn close_proxy_port(&self) {
        let mut sockets = lock(&self.sockets);
        sockets.proxy_port.cancel();
        sockets.proxy_open = false;
    }

    async fn accept(self: Arc<Self>, listener: TcpListener, port: Port, stop: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let Ok((stream, _)) = accepted else { continue };
            // Answers are small and waited for.
            let _ = stream.set_nodelay(true);
            let shared = self.clone();
            let stop = stop.clone();
            tokio::spawn(async move {
                let service = service_fn(|request: Request<Incoming>| {
                    let shared = shared.clone();
                    async move {
                        match port {
                            Port::Control => shared.control(request).await,
                            Port::Proxy => Ok(shared.proxied(request).await),
                        }
                    }
                });
                let builder = auto::Builder::new(TokioExecutor::new());
                let connection = builder.serve_connection(TokioIo::new(stream), service);
                tokio::select! {
                    () = stop.cancelled() => {}
                    // A connection that breaks is the client's affair.
                    _ = connection => {}
                }
            });
        }
    }

    async fn control(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, Cut> {
        let started = Instant::now();
        let (parts, body) = request.into_parts();
        let body = collect(body).await.map_err(|_| Cut)?;
        let path = routes::without_slash(parts.uri.path()).to_owned();
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let seen = Seen {
            started,
            ended: None,
            method: parts.method.to_string(),
            object: routes::object(parts.method.as_str(), &path, &body),
            path,
            query,
            status: None,
            body_hash: None,
            body: None,
        };
        let loading = self.loading.load(Ordering::SeqCst) > 0;
        let (number, deadly) = {
            let mut journal = self.journal();
            let is_oas_read = seen.is_oas_read();
            let number = journal.begin(seen, &body, loading);
            (number, is_oas_read && journal.reads_oas_beside(number))
        };
        let noted = Noted {
            shared: &self,
            number,
            status: None,
        };
        if deadly && self.faults.dies_on_overlap() {
            drop(noted);
            self.stop();
            return Err(Cut);
        }
        self.answer(noted, &parts, body).await
    }

    async fn answer(
        self: &Arc<Self>,
        mut noted: Noted<'_>,
        parts: &Parts,
        body: Bytes,
    ) -> Result<Response<Body>, Cut> {
        let fault = self.faults.take(&Asked {
            method: parts.method.as_str(),
            path: routes::without_slash(parts.uri.path()),
            query: parts.uri.query().unwrap_or_default(),
            body: &body,
        });
        let mut empty_lists = false;
        match &fault {
            Some(Fault::Reset) => return Err(Cut),
            Some(Fault::Answer(status)) => return Ok(noted.end(faulty(*status))),
            Some(Fault::Quote) => {
                let words = format!("cannot take {}", String::from_utf8_lossy(&body));
                return Ok(noted.end(Reply::error(400, &words)));
            }
            Some(Fault::Hang(gate)) => gate.clone().pass().await,
            Some(Fault::EmptyList) => empty_lists = true,
            Some(Fault::AnswerAfter(_) | Fault::ResetAfter) | None => {}
        }
        let reply = routes::handle(self, parts, body, empty_lists).await;
        match fault {
            Some(Fault::ResetAfter) => Err(Cut),
            Some(Fault::AnswerAfter(status)) => Ok(noted.end(faulty(status))),
            _ => Ok(noted.end(reply)),
        }
    }

    async fn proxied(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        match collect(body).await {
            Ok(body) => proxy::handle(&self, parts, body).await,
            Err(_) => Reply::text(400, "Bad Request").into_response(),
        }
    }
}

/// Ends the entry of a request in the log, also when the client goes away before the answer.
struct Noted<'gateway> {
    shared: &'gateway Arc<Shared>,
    number: usize,
    status: Option<u16>,
}

impl Noted<'_> {
    fn end(&mut self, reply: Reply) -> Response<Body> {
        self.status = Some(reply.status);
        reply.into_response()
    }
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        self.shared.journal().end(self.number, self.status);
    }
}

/// Waits until a listener that was told to stop has let go of its port.
async fn gone(listener: Option<JoinHandle<()>>) {
    if let Some(listener) = listener {
        // It was cancelled or it ended; in both cases the port is free.
        let _ = listener.await;
    }
}

fn faulty(status: u16) -> Reply {
    match status {
        403 => routes::forbidden(),
        status => Reply::error(status, "injected fault"),
    }
}

async fn collect(body: Incoming) -> Result<Bytes, hyper::Error> {
    body.collect()
        .await
        .map(http_body_util::Collected::to_bytes)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves whole values behind: every change is a single assignment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes an address that was held before. Another process may have its port for a moment, for a
/// connection to somewhere else.
async fn bind_again(address: SocketAddr) -> io::Result<TcpListener> {
    const PATIENCE: Duration = Duration::from_secs(20);
    let started = Instant::now();
    loop {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if started.elapsed() >= PATIENCE {
                    return Err(error);
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            other => return other,
        }
    }
}
