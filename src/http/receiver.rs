//! `POST /webhooks/{name}`: a Git host's request is verified over its raw bytes, put on the
//! durable queue, and answered with 202.
//!
//! It reads configuration and the queue, nothing else, so that it accepts pushes while database,
//! Git host and targets are down. A refusal says as little as possible; refusals are counted, and
//! summarised through the queue in bounded numbers.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, State as Shared},
    http::{HeaderMap, StatusCode, header},
    routing::post,
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tracing::{info, warn};

use super::{State, error::Error};
use crate::{
    app::{Queue, now},
    message::{Message, Origin, Refused},
    queue::PublishError,
    store::PutError,
    webhook::{self, Headers, Rejection, Secrets, displayable},
};

/// The largest body that a host sends: GitHub and GitLab send none above 25 MB.
pub const MAX_BODY: usize = 25 * 1024 * 1024;

/// Reading a body must end within this time, so that the answer can be given within the hosts'
/// 10 s.
const BODY_TIME: Duration = Duration::from_secs(6);

/// All bodies in memory together, in units of 1 KiB.
const BUDGET: usize = 256 * 1024;

/// Bodies above this size are hashed off the threads that serve everybody.
const LARGE: usize = 256 * 1024;

/// From how many addresses a summary tells what was refused.
const MOST_ADDRESSES: usize = 16;

/// What the receiver knows: the webhooks' secrets, by name.
pub struct Receiver {
    webhooks: BTreeMap<String, Arc<Secrets>>,
    budget: Semaphore,
    refused: Mutex<BTreeMap<String, Turned>>,
    counted_since: Mutex<i64>,
    name: String,
    nudge: Arc<Notify>,
}

/// What one webhook refused: why, and from where.
#[derive(Default, Clone)]
struct Turned {
    counts: BTreeMap<String, u64>,
    addresses: BTreeMap<IpAddr, u64>,
}

impl Turned {
    /// What comes from further addresses is counted and not told apart, so that nobody can make a
    /// summary long.
    fn came_from(&mut self, address: IpAddr, count: u64) {
        let is_told_apart = self.addresses.len() < MOST_ADDRESSES;
        if is_told_apart || self.addresses.contains_key(&address) {
            *self.addresses.entry(address).or_default() += count;
        }
    }
}

impl Receiver {
    pub fn new(webhooks: BTreeMap<String, Arc<Secrets>>, name: String, nudge: Arc<Notify>) -> Self {
        Self {
            webhooks,
            budget: Semaphore::new(BUDGET),
            refused: Mutex::default(),
            counted_since: Mutex::new(now()),
            name,
            nudge,
        }
    }

    fn count_refusal(&self, webhook: &str, reason: &str, address: Option<IpAddr>) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let turned = refused.entry(webhook.to_owned()).or_default();
        *turned.counts.entry(reason.to_owned()).or_default() += 1;
        if let Some(address) = address {
            turned.came_from(address, 1);
        }
    }

    /// Sends what was refused since the last time through the queue: one message a webhook that
    /// refused anything. What cannot be sent is counted on.
    pub async fn report_refusals(&self, queue: &Queue) {
        let until = now();
        let refused = {
            let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *refused)
        };
        let from = {
            let mut since = self
                .counted_since
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *since, until)
        };
        for (webhook, turned) in refused {
            let Turned { counts, addresses } = turned.clone();
            let message = Message::Refused(Refused {
                webhook: webhook.clone(),
                receiver: self.name.clone(),
                from,
                until,
                counts,
                addresses,
            });
            if enqueue(queue, &message).await.is_err() {
                let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
                let again = refused.entry(webhook).or_default();
                for (reason, count) in turned.counts {
                    *again.counts.entry(reason).or_default() += count;
                }
                for (address, count) in turned.addresses {
                    again.came_from(address, count);
                }
            }
        }
    }
}

pub fn router() -> Router<Arc<State>> {
    Router::new().route("/webhooks/{name}", post(receive))
}

async fn receive(
    Shared(state): Shared<Arc<State>>,
    Path(name): Path<String>,
    origin: Origin,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Error> {
    let unknown = Error::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here");
    let receiver = state.receiver.as_ref().ok_or_else(|| unknown.clone())?;
    let Some((name, secrets)) = receiver.webhooks.get_key_value(&name) else {
        state.metrics.delivery("(unknown)", "not_found");
        return Err(unknown);
    };
    let address = origin.address;
    match accept(&state, receiver, name, secrets, origin, &headers, body).await {
        Ok(outcome) => {
            state.metrics.delivery(name, outcome);
            Ok((StatusCode::ACCEPTED, Json(json!({"status": outcome}))))
        }
        Err(Refusal { label, error }) => {
            state.metrics.delivery(name, label);
            if error.status != StatusCode::SERVICE_UNAVAILABLE {
                receiver.count_refusal(name, label, address);
            }
            info!(webhook = %name, reason = label, status = error.status.as_u16(), "refused a request");
            Err(error)
        }
    }
}

struct Refusal {
    /// For metrics and the log; one of a small closed set.
    label: &'static str,
    error: Error,
}

impl Refusal {
    fn new(label: &'static str, error: Error) -> Self {
        Self { label, error }
    }
}

async fn accept(
    state: &State,
    receiver: &Receiver,
    name: &str,
    secrets: &Arc<Secrets>,
    origin: Origin,
    headers: &HeaderMap,
    body: Body,
) -> Result<&'static str, Refusal> {
    refuse_encoding(headers)?;
    // A request without a plausible signature is refused before its body is read.
    {
        let view = Headers::new(pairs(headers));
        webhook::Claim::read(secrets, &view).map_err(rejected)?;
    }
    let (raw, _held) = read_body(receiver, headers, body).await?;
    let received_at = now();
    let received = verify(secrets, headers, raw, received_at / 1_000_000)
        .await
        .map_err(rejected)?;
    let outcome = match &received.event {
        webhook::Event::Push(_) => "accepted",
        webhook::Event::Ping => "pong",
        webhook::Event::Ignored { kind } => {
            info!(webhook = %name, event = %displayable(kind, 64), "an event that is not a push");
            "ignored"
        }
    };
    let message = Message::delivered(name, received, received_at, origin);
    crate::crash::point("before-publish");
    enqueue(&state.queue, &message).await?;
    crate::crash::point("after-publish");
    receiver.nudge.notify_one();
    Ok(outcome)
}

/// No host compresses its requests, and a compressed one could grow without bounds.
fn refuse_encoding(headers: &HeaderMap) -> Result<(), Refusal> {
    let is_plain = headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .all(|value| value.as_bytes().eq_ignore_ascii_case(b"identity"));
    if is_plain {
        return Ok(());
    }
    Err(Refusal::new(
        "content_encoding",
        Error::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "send the body without a content encoding",
        ),
    ))
}

fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&str, &[u8])> {
    headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
}

/// The whole body, within its bounds in size and time, and the part of the budget that it takes.
async fn read_body<'r>(
    receiver: &'r Receiver,
    headers: &HeaderMap,
    mut body: Body,
) -> Result<(Bytes, Vec<SemaphorePermit<'r>>), Refusal> {
    let too_large = || {
        Refusal::new(
            "too_large",
            Error::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                "the body is larger than 25 MiB",
            ),
        )
    };
    let crowded = || {
        Refusal::new(
            "crowded",
            Error::busy("too many large requests at once; try again"),
        )
    };
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse::<usize>().ok());
    if declared.is_some_and(|length| length > MAX_BODY) {
        return Err(too_large());
    }
    let read = async {
        let mut raw = BytesMut::with_capacity(declared.unwrap_or(0).min(LARGE));
        let mut held = Vec::new();
        let mut covered = 0;
        while let Some(frame) = body.frame().await {
            let broken = |_| {
                Refusal::new(
                    "broken_body",
                    Error::new(StatusCode::BAD_REQUEST, "bad_request", "the body broke off"),
                )
            };
            let Ok(data) = frame.map_err(broken)?.into_data() else {
                continue;
            };
            if raw.len() + data.len() > MAX_BODY {
                return Err(too_large());
            }
            raw.extend_from_slice(&data);
            if raw.len() > covered {
                let kib = (raw.len() - covered).div_ceil(1024).max(64);
                let permits = u32::try_from(kib).unwrap_or(u32::MAX);
                held.push(
                    receiver
                        .budget
                        .try_acquire_many(permits)
                        .map_err(|_| crowded())?,
                );
                covered += kib * 1024;
            }
        }
        Ok((raw.freeze(), held))
    };
    tokio::time::timeout(BODY_TIME, read).await.map_err(|_| {
        Refusal::new(
            "slow",
            Error::new(
                StatusCode::REQUEST_TIMEOUT,
                "timeout",
                "the body took too long to arrive",
            ),
        )
    })?
}

async fn verify(
    secrets: &Arc<Secrets>,
    headers: &HeaderMap,
    raw: Bytes,
    now_seconds: i64,
) -> Result<webhook::Received, Rejection> {
    if raw.len() <= LARGE {
        let view = Headers::new(pairs(headers));
        return webhook::receive(secrets, &view, &raw, now_seconds);
    }
    let (secrets, headers) = (secrets.clone(), headers.clone());
    tokio::task::spawn_blocking(move || {
        let view = Headers::new(pairs(&headers));
        webhook::receive(&secrets, &view, &raw, now_seconds)
    })
    .await
    .expect("verifying a body does not panic")
}

fn rejected(rejection: Rejection) -> Refusal {
    let status = StatusCode::from_u16(rejection.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let message = match status {
        StatusCode::UNAUTHORIZED => "the request is not authenticated",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            "send application/json (or, from GitHub, application/x-www-form-urlencoded)"
        }
        _ => "the request cannot be read",
    };
    Refusal::new(
        rejection.label(),
        Error::new(status, rejection.code(), message),
    )
}

/// Puts a message on the durable queue; when this returns, the push survives any crash of ours.
async fn enqueue(queue: &Queue, message: &Message) -> Result<(), Refusal> {
    let unavailable = |label: &'static str| {
        Refusal::new(
            label,
            Error::busy("pushes cannot be stored right now; try again"),
        )
    };
    match queue {
        Queue::Local(local) => match local.put(&message.id(), message.encode(), now()).await {
            Ok(()) => Ok(()),
            Err(PutError::Busy | PutError::Full) => Err(unavailable("queue_busy")),
            Err(error) => {
                warn!(%error, "a push could not be stored");
                Err(unavailable("queue_down"))
            }
        },
        Queue::JetStream(jetstream) => {
            match jetstream
                .publish(&message.id(), message.encode().into())
                .await
            {
                Ok(_) => Ok(()),
                Err(PublishError::Full) => Err(unavailable("queue_full")),
                Err(error) => {
                    warn!(%error, "a push could not be queued");
                    Err(unavailable("queue_down"))
                }
            }
        }
    }
}
