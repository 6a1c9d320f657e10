//! Somebody who is told things over HTTP: keeps every request, and answers as it is told to.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::HeaderMap,
    response::Response,
};
use bytes::Bytes;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::git_http::serve;

/// What was asked of it.
#[derive(Debug, Clone)]
pub struct Heard {
    pub method: String,
    /// As it was sent, not decoded.
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

#[derive(Debug, Clone)]
pub enum Answer {
    /// A status, headers and a body.
    Says(u16, Vec<(&'static str, String)>, String),
    Never,
    /// A status and a body without an end.
    Endless(u16),
}

pub struct Listener {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    heard: Mutex<Vec<Heard>>,
    /// What it answers next; afterwards 200.
    answers: Mutex<VecDeque<Answer>>,
}

impl Heard {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

impl Listener {
    pub fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let router = Router::new().fallback(hear).with_state(shared.clone());
        let (address, server) = serve(router);
        Self {
            address,
            shared,
            server,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers a request like that, after what it is to answer already.
    pub fn answers(&self, answer: Answer) -> &Self {
        self.shared.answers.lock().unwrap().push_back(answer);
        self
    }

    pub fn says(&self, status: u16, body: &str) -> &Self {
        self.answers(Answer::Says(status, Vec::new(), body.to_owned()))
    }

    pub fn heard(&self) -> Vec<Heard> {
        self.shared.heard.lock().unwrap().clone()
    }

    /// The bodies of what was heard since the last time.
    pub fn take(&self) -> Vec<Value> {
        let heard = std::mem::take(&mut *self.shared.heard.lock().unwrap());
        heard.iter().map(Heard::json).collect()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn hear(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    shared.heard.lock().unwrap().push(Heard {
        method: parts.method.to_string(),
        path: parts.uri.to_string(),
        headers: parts.headers,
        body,
    });
    let answer = shared.answers.lock().unwrap().pop_front();
    let builder = Response::builder();
    match answer {
        None => builder.body(Body::from("ok")).unwrap(),
        Some(Answer::Says(status, headers, body)) => {
            let mut builder = builder.status(status);
            for (name, value) in headers {
                builder = builder.header(name, value);
            }
            builder.body(Body::from(body)).unwrap()
        }
        Some(Answer::Never) => std::future::pending().await,
        Some(Answer::Endless(status)) => {
            let chunk = Ok::<_, std::convert::Infallible>(Bytes::from_static(&[b'x'; 4_096]));
            let endless = futures_util::stream::repeat(chunk);
            let body = Body::from_stream(endless);
            builder.status(status).body(body).unwrap()
        }
    }
}
