//! A message in a worker's hands. It ends in exactly one of three ways, each of which takes it.

use std::{fmt, time::Duration};

use async_nats::{HeaderMap, Request, header};
use bytes::Bytes;
use serde_json::json;

use super::{Error, JetStream, error, nanoseconds, one_line, settings::aside_subject};

/// Why a message was set aside, as a header of it.
const REASON: &str = "Lockstep-Reason";
/// In bytes; well within the room that `publish` leaves for it.
const LONGEST_REASON: usize = 600;

/// Dropped without a word it is given out again when the wait for its acknowledgement ends.
pub struct Message {
    queue: JetStream,
    body: Bytes,
    id: Option<String>,
    delivery: Delivery,
}

/// What the subject to acknowledge at says of the message.
#[derive(Debug, PartialEq, Eq)]
struct Delivery {
    subject: String,
    attempt: u64,
    sequence: u64,
    pending: u64,
}

impl Message {
    pub(super) fn new(queue: &JetStream, message: async_nats::Message) -> Option<Self> {
        let delivery = Delivery::parse(message.reply?.as_str())?;
        let id = message.headers.and_then(|headers| {
            let id = headers.get(header::NATS_MESSAGE_ID)?;
            Some(id.as_str().to_owned())
        });
        Some(Self {
            queue: queue.clone(),
            body: message.payload,
            id,
            delivery,
        })
    }

    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// 1 when it is given out for the first time.
    pub fn attempt(&self) -> u64 {
        self.delivery.attempt
    }

    /// Returns once the server confirmed that the message is gone. After an error it may come back.
    pub async fn ack(self) -> Result<(), Error> {
        self.settle(Bytes::from_static(b"+ACK")).await
    }

    /// Given out again after `delay`, as often as it takes. After an error it comes back sooner or
    /// later than that.
    pub async fn retry_after(self, delay: Duration) -> Result<(), Error> {
        let answer = format!("-NAK {}", json!({ "delay": nanoseconds(delay) }));
        self.settle(answer.into()).await
    }

    /// Moves it to the second stream with the reason, for people to look at. After an error it
    /// comes back; set aside twice it is kept once.
    pub async fn set_aside(self, reason: &str) -> Result<(), Error> {
        let id = self
            .id
            .clone()
            .unwrap_or_else(|| format!("sequence {}", self.delivery.sequence));
        let mut reason = one_line(reason);
        reason.truncate(reason.floor_char_boundary(LONGEST_REASON));
        let mut headers = HeaderMap::new();
        headers.insert(header::NATS_MESSAGE_ID, one_line(&id));
        headers.insert(REASON, reason);

        let subject = aside_subject(&self.queue.shared.options.subject);
        let deadline = self.queue.deadline();
        let store = || async {
            let headers = headers.clone();
            self.queue
                .send(subject.clone(), headers, self.body.clone())
                .await
        };
        match self.queue.exchange(deadline, deadline, store).await {
            Ok(_) => self.ack().await,
            Err(error) if error::is_full(&error) => Err(Error::AsideIsFull),
            Err(error) => Err(error),
        }
    }

    pub(super) fn pending(&self) -> u64 {
        self.delivery.pending
    }

    /// The server answers a request where it would take a plain message in silence.
    async fn settle(self, answer: Bytes) -> Result<(), Error> {
        let deadline = self.queue.deadline();
        let settle = || async {
            let subject = self.delivery.subject.clone();
            let request = Request::new().payload(answer.clone());
            self.queue.ask(subject, request).await
        };
        self.queue.exchange(deadline, deadline, settle).await?;
        Ok(())
    }
}

/// Without the body, which may name people.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("id", &self.id)
            .field("delivery", &self.delivery)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl Delivery {
    /// `$JS.ACK.stream.consumer.attempt.sequence.sequence.time.pending`, in newer servers with a
    /// domain and an account before the stream and perhaps more at the end.
    fn parse(subject: &str) -> Option<Self> {
        let tokens: Vec<&str> = subject.strip_prefix("$JS.ACK.")?.split('.').collect();
        let numbers = match tokens.len() {
            7 => &tokens[2..],
            9.. => &tokens[4..],
            _ => return None,
        };
        Some(Self {
            subject: subject.to_owned(),
            attempt: numbers.first()?.parse().ok()?,
            sequence: numbers.get(1)?.parse().ok()?,
            pending: numbers.get(4)?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_acknowledgement_subject_are_read() {
        for subject in [
            "$JS.ACK.LOCKSTEP.workers.3.17.20.1700000000000000000.5",
            "$JS.ACK._.ACCOUNT.LOCKSTEP.workers.3.17.20.1700000000000000000.5",
            "$JS.ACK.hub.ACCOUNT.LOCKSTEP.workers.3.17.20.1700000000000000000.5.random",
        ] {
            let expected = Delivery {
                subject: subject.to_owned(),
                attempt: 3,
                sequence: 17,
                pending: 5,
            };
            assert_eq!(Delivery::parse(subject), Some(expected));
        }
        for subject in [
            "",
            "$JS.ACK.",
            "$JS.ACK.a.b.c.d.e.f.g",
            "$JS.ACK.1.2.3.4.5.6.7.8",
        ] {
            assert_eq!(Delivery::parse(subject), None, "{subject}");
        }
    }
}
