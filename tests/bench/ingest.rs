//! Webhook ingest, beside a bare server that checks the HMAC and publishes to JetStream.
//!
//! Needs a nats-server: the first of `LOCKSTEP_TEST_NATS`, or the one on the PATH.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, http::StatusCode, routing::post};
use hmac::{Hmac, KeyInit, Mac};
use lockstep::{
    app::Queue,
    http::{self, receiver::Receiver},
    metrics::Metrics,
    queue::{JetStream, Options},
    webhook::{Scheme, Secrets},
};
use sha2::Sha256;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{repeats, report};

const SECRET: &str = "bench-webhook-secret";
const CONNECTIONS: usize = 64;
const TIME: Duration = Duration::from_secs(3);

struct Nats {
    child: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn nats() -> Nats {
    let binaries = std::env::var("LOCKSTEP_TEST_NATS").unwrap_or_default();
    let binary = binaries
        .split(':')
        .find(|binary| !binary.is_empty())
        .unwrap_or("nats-server");
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let folder = tempfile::tempdir().unwrap();
    let child = Command::new(binary)
        .args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"])
        .arg(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a nats-server is needed: tests/run installs one");
    Nats {
        child,
        url: format!("nats://127.0.0.1:{port}"),
        _folder: folder,
    }
}

pub async fn run() {
    let body = Bytes::from(push());
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..repeats() {
        let nats = nats();
        let address = serve_ours(&nats.url).await;
        ours.push(load(address, "/webhooks/bench", &body).await);
        drop(nats);
        let nats = self::nats();
        let address = serve_bare(&nats.url).await;
        bare.push(load(address, "/bare", &body).await);
    }
    report(
        "ingest, a 10 kB GitHub push onto JetStream",
        "requests/s",
        &ours,
        &bare,
    );
}

async fn serve_ours(url: &str) -> SocketAddr {
    let jetstream = JetStream::connect(Options::new(url.to_owned().into())).unwrap();
    while jetstream.ready().await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let secrets = Secrets::new(Scheme::GitHubSha256, &[SECRET.to_owned().into()]).unwrap();
    let webhooks = BTreeMap::from([("bench".to_owned(), Arc::new(secrets))]);
    let receiver = Receiver::new(webhooks, "bench".to_owned(), Arc::new(Notify::new()));
    let state = http::State {
        receiver: Some(Arc::new(receiver)),
        queue: Queue::JetStream(jetstream),
        app: None,
        api: None,
        metrics: Metrics::default(),
    };
    listen(http::router(state)).await
}

async fn serve_bare(url: &str) -> SocketAddr {
    let client = loop {
        match async_nats::connect(url).await {
            Ok(client) => break client,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let jetstream = async_nats::jetstream::new(client);
    jetstream
        .create_stream(async_nats::jetstream::stream::Config {
            name: "BARE".to_owned(),
            subjects: vec!["bare".to_owned()],
            ..Default::default()
        })
        .await
        .unwrap();
    let router = Router::new()
        .route("/bare", post(receive_bare))
        .with_state(jetstream);
    listen(router).await
}

/// The least that such a server does: the HMAC, and a publish that is acknowledged.
async fn receive_bare(
    State(jetstream): State<async_nats::jetstream::Context>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let signature = headers["x-hub-signature-256"].to_str().unwrap();
    let digest = hex::decode(signature.trim_start_matches("sha256=")).unwrap();
    let mut mac: Hmac<Sha256> = Hmac::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(&body);
    if mac.verify_slice(&digest).is_err() {
        return StatusCode::UNAUTHORIZED;
    }
    let id = headers["x-github-delivery"].to_str().unwrap();
    let mut published = async_nats::HeaderMap::new();
    published.insert("Nats-Msg-Id", id);
    let sent = jetstream
        .publish_with_headers("bare", published, body)
        .await;
    let Ok(acknowledgement) = sent else {
        return StatusCode::SERVICE_UNAVAILABLE;
    };
    match acknowledgement.await {
        Ok(_) => StatusCode::ACCEPTED,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn listen(router: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(http::server::serve(
        listener,
        router,
        CancellationToken::new(),
    ));
    address
}

/// Requests a second, over so many connections.
async fn load(address: SocketAddr, path: &str, body: &Bytes) -> f64 {
    let mut mac: Hmac<Sha256> = Hmac::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(body);
    let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
    let http = reqwest::Client::builder()
        .pool_max_idle_per_host(CONNECTIONS)
        .build()
        .unwrap();
    let url = format!("http://{address}{path}");
    let counted = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for connection in 0..CONNECTIONS {
        let (http, url, body, signature) =
            (http.clone(), url.clone(), body.clone(), signature.clone());
        let counted = counted.clone();
        tasks.spawn(async move {
            let mut number = 0_u64;
            while start.elapsed() < TIME {
                number += 1;
                let answer = http
                    .post(&url)
                    .header("content-type", "application/json")
                    .header("x-github-event", "push")
                    .header("x-github-hook-id", "1")
                    .header("x-github-delivery", format!("{connection}-{number}"))
                    .header("x-hub-signature-256", &signature)
                    .body(body.clone())
                    .send()
                    .await
                    .unwrap();
                assert_eq!(answer.status(), StatusCode::ACCEPTED);
                answer.bytes().await.unwrap();
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of requests is small")]
    let requests = counted.load(Ordering::Relaxed) as f64;
    requests / start.elapsed().as_secs_f64()
}

/// A push of GitHub's usual size and shape: a few commits, and mostly addresses.
fn push() -> String {
    let commit = |index: usize| {
        serde_json::json!({
            "id": format!("{index:040x}"), "message": "Change the orders API", "distinct": true,
            "timestamp": "2026-11-23T12:00:00Z", "url": "https://git.example.org/acme/shop/commit/1",
            "author": {"name": "Ada Example", "email": "ada@example.org", "username": "ada"},
            "committer": {"name": "Ada Example", "email": "ada@example.org", "username": "ada"},
            "added": [], "removed": [], "modified": ["apis/orders.yaml", "apis/catalog.yaml"],
        })
    };
    let addresses = |of: &str, count: usize| {
        let mut addresses = serde_json::Map::new();
        for index in 0..count {
            let address = format!("https://api.git.example.org/{of}/of/acme/number{{/{index}}}");
            addresses.insert(format!("{of}_{index}_url"), address.into());
        }
        addresses
    };
    let mut repository = addresses("repository", 75);
    repository.insert("id".to_owned(), 1.into());
    repository.insert("full_name".to_owned(), "acme/shop".into());
    let mut sender = addresses("sender", 15);
    sender.insert("login".to_owned(), "ada".into());
    let commits: Vec<_> = (1..=3).map(commit).collect();
    serde_json::json!({
        "ref": "refs/heads/main", "before": "1".repeat(40), "after": "2".repeat(40),
        "created": false, "deleted": false, "forced": false, "commits": commits,
        "head_commit": commit(3), "pusher": {"name": "ada", "email": "ada@example.org"},
        "repository": repository, "sender": sender,
    })
    .to_string()
}
