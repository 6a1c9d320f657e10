//! What travels through the queue: one small versioned message a push, and summaries of what was
//! refused. A message is a hint that something happened; everything is derived anew from Git.

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::{
    domain::audit::trace::TraceId,
    webhook::{DeliveryId, Event, Received},
};

/// The version that is written. Older ones stay readable for as long as queues may hold them. A
/// member that may be absent, and that a reader may pass over, needs no other version: so processes
/// of two versions can share a queue while the one takes the place of the other.
const VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every message is a delivery"
)]
pub enum Message {
    /// A verified delivery.
    Delivered(Delivered),
    /// What one webhook refused over a time, by reason.
    Refused(Refused),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    pub webhook: String,
    pub delivery: DeliveryId,
    pub event: Event,
    pub body_sha256: String,
    /// Microseconds since 1970, UTC.
    pub received_at: i64,
    #[serde(default)]
    pub origin: Origin,
}

/// Where a request came from. Messages of before it was noted have neither.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceId>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    pub webhook: String,
    /// Of the refusing process, so that two receivers' summaries are told apart.
    pub receiver: String,
    pub from: i64,
    pub until: i64,
    pub counts: BTreeMap<String, u64>,
    /// How many came from where, of as many addresses as are told apart.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub addresses: BTreeMap<IpAddr, u64>,
}

#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("the message cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the message has version {0}, and this Lockstep reads up to {VERSION}")]
    Newer(u32),
}

#[derive(Serialize, Deserialize)]
struct Envelope<M> {
    v: u32,
    message: M,
}

#[derive(Deserialize)]
struct VersionOnly {
    v: u32,
}

impl Message {
    pub fn delivered(webhook: &str, received: Received, received_at: i64, origin: Origin) -> Self {
        Self::Delivered(Delivered {
            webhook: webhook.to_owned(),
            delivery: received.delivery,
            event: received.event,
            body_sha256: received.body_sha256,
            received_at,
            origin,
        })
    }

    /// The same for a delivery that the host repeats.
    pub fn id(&self) -> String {
        match self {
            Self::Delivered(delivered) => delivered.id(),
            Self::Refused(refused) => format!(
                "refused/{}/{}/{}",
                refused.webhook, refused.receiver, refused.until
            ),
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let envelope = Envelope {
            v: VERSION,
            message: self,
        };
        let mut bytes = Vec::with_capacity(2_048);
        serde_json::to_writer(&mut bytes, &envelope).expect("a message is plain data");
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let VersionOnly { v } = serde_json::from_slice(bytes)?;
        if v > VERSION {
            return Err(Unreadable::Newer(v));
        }
        let envelope: Envelope<Self> = serde_json::from_slice(bytes)?;
        Ok(envelope.message)
    }
}

impl Delivered {
    pub fn id(&self) -> String {
        let hook = self.delivery.hook.as_deref().unwrap_or("-");
        format!("{}/{hook}/{}", self.webhook, self.delivery.id)
    }
}
