//! Notices as `CloudEvents` 1.0 in structured JSON, signed as Standard Webhooks are.
//!
//! A receiver takes the part of its secret after `whsec_` as base64 of the key, and compares
//! `webhook-signature` with `v1,` and the base64 of HMAC-SHA256 over
//! `webhook-id.webhook-timestamp.body`. The id is the event's own `id`: the same for every attempt,
//! so whoever has seen it may leave it. `sequence` orders the events of one history, and `hash` is
//! the hash of the event there.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use reqwest::header::{HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretSlice};
use serde_json::{Value, json};
use sha2::Sha256;
use url::Url;

use super::{
    Error, Place, Sender,
    send::{Post, secrets_of},
};
use crate::domain::notice::Notice;

/// What is told as it is, and is no notice.
#[derive(Debug, Clone)]
pub struct News {
    /// The same for every attempt.
    pub id: String,
    pub kind: &'static str,
    /// Microseconds since 1970, UTC.
    pub at: i64,
    pub data: Value,
}

/// A receiver of `CloudEvents`.
pub struct Webhook {
    sender: Sender,
    url: Url,
    key: SecretSlice<u8>,
}

// The address may be a secret.
impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Webhook({})", self.url.host_str().unwrap_or_default())
    }
}

impl Webhook {
    pub fn new(sender: Sender, url: Url, key: SecretSlice<u8>) -> Self {
        Self { sender, url, key }
    }

    pub(super) async fn tell(&self, notice: &Notice, place: &Place, now: i64) -> Result<(), Error> {
        self.post(notice.id(), &event(notice, place), now).await
    }

    /// `now` is when it is sent, in seconds since 1970.
    pub async fn send(&self, news: &News, place: &Place, now: i64) -> Result<(), Error> {
        let News { id, kind, at, data } = news;
        let event = json!({
            "specversion": "1.0",
            "id": id,
            "source": source(place),
            "type": format!("lockstep.{kind}"),
            "time": time(*at),
            "datacontenttype": "application/json",
            "data": data,
        });
        self.post(id.clone(), &event, now).await
    }

    async fn post(&self, id: String, event: &Value, now: i64) -> Result<(), Error> {
        let body = event.to_string().into_bytes();
        let time = now.to_string();
        let signature = self.sign(&id, &time, &body);
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("webhook-id", id),
            ("webhook-timestamp", time),
            ("webhook-signature", signature),
        ] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
        let post = Post {
            url: self.url.clone(),
            headers,
            content_type: "application/cloudevents+json",
            body,
        };
        let sent = self.sender.post(post, &secrets_of(&self.url)).await;
        sent.map_err(|refusal| refusal.error)
    }

    fn sign(&self, id: &str, time: &str, body: &[u8]) -> String {
        let mut mac: Hmac<Sha256> =
            Hmac::new_from_slice(self.key.expose_secret()).expect("HMAC takes a key of any length");
        mac.update(format!("{id}.{time}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

fn source(place: &Place) -> &str {
    place.0.as_deref().unwrap_or("/lockstep")
}

fn time(at: i64) -> String {
    Timestamp::from_microsecond(at).map_or_else(|_| at.to_string(), |at| at.to_string())
}

fn event(notice: &Notice, place: &Place) -> Value {
    let Notice {
        news,
        sequence,
        hash,
        at,
        stack,
        target,
        run,
        status,
        revision,
        summary,
        counts,
        objects,
        unnamed,
        next,
    } = notice;
    let objects: Vec<Value> = objects
        .iter()
        .map(|named| json!({"object": named.object, "message": named.said}))
        .collect();
    let mut event = json!({
        "specversion": "1.0",
        "id": notice.id(),
        "source": source(place),
        "type": format!("lockstep.{}", kind(notice)),
        "time": time(*at),
        "datacontenttype": "application/json",
        // Texts of one length, so that they sort like the numbers they are.
        "sequence": format!("{:020}", (*sequence).max(0)),
        "hash": hash,
        "data": {
            "news": news.as_str(),
            "sequence": sequence,
            "stack": stack,
            "target": target,
            "run": run,
            "status": status,
            "revision": revision,
            "summary": summary,
            "counts": counts,
            "objects": objects,
            "more_objects": unnamed,
            "command": next,
            "link": run.as_ref().and_then(|run| place.of_run(run)),
        },
    });
    if let Some(stack) = stack {
        event["subject"] = json!(stack);
    }
    event
}

/// News of a run is named as such.
fn kind(notice: &Notice) -> String {
    if notice.run.is_some() && notice.status.is_some() {
        format!("run.{}", notice.news)
    } else {
        notice.news.to_string()
    }
}
