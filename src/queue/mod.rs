//! The queue between receivers and workers: publish, pull, acknowledge, retry later, set aside.
//!
//! It moves opaque bytes over NATS `JetStream` and knows nothing of what they mean. It makes its
//! streams and its consumer at the first contact, and reads their settings back, because an older
//! server drops a setting that it does not know without a word. A stream that could lose a message
//! (by age, by making room, by giving up) is refused: it is never published to.
//!
//! It never waits for NATS without a bound, never drops a message, and never shows the address,
//! which may hold a password.

mod address;
mod error;
mod message;
mod settings;

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_nats::{
    Client, ConnectOptions, Event, HeaderMap, Request, RequestErrorKind, StatusCode,
    connection::State, header,
};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use self::{
    address::Address,
    settings::{CONSUMER, aside_name},
};
pub use self::{
    error::{Difference, Error, PublishError},
    message::Message,
};

/// What `set_aside` adds to a message must still fit into it, or it could never be set aside.
const ROOM_FOR_REASON: usize = 1024;

/// How long a pull waits for the next of the messages that the server said were there.
const GAP: Duration = Duration::from_millis(100);

const SETTINGS_STAY_WRONG: Duration = Duration::from_secs(1);

const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// A handle on the queue; its copies share one connection.
#[derive(Clone)]
pub struct JetStream {
    shared: Arc<Shared>,
}

/// What a queue is made with.
#[derive(Clone, Debug)]
pub struct Options {
    /// One URL, or a list with commas: `nats://` or `tls://`, each with the same user and password
    /// or token, or none.
    pub url: SecretString,
    /// The stream's name; what is set aside goes to a second stream, `…_ASIDE`.
    pub stream: String,
    pub subject: String,
    /// The stream's size in bytes, at which new messages are refused.
    pub max_bytes: i64,
    /// The bound of every exchange with NATS, not of publishing alone.
    pub publish_timeout: Duration,
    /// How long NATS remembers the id of a message.
    pub duplicate_window: Duration,
}

/// A message is in the stream, now or already before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    New,
    Duplicate,
}

/// What waits in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    /// Messages that are not acknowledged yet, those in a worker's hands included.
    pub messages: u64,
    /// The age of the oldest of them.
    pub oldest: Option<Duration>,
    pub set_aside: u64,
}

struct Shared {
    options: Options,
    client: Client,
    started: Instant,
    /// The connection, counted from 1, on which the settings were last found right; 0 for none.
    checked_on: AtomicU64,
    /// One check at a time: a thousand publishers that meet a new connection cost one.
    /// What was found wrong, and when, is kept for a moment, or each of them would ask again.
    checking: tokio::sync::Mutex<Option<(Instant, Vec<Difference>)>>,
    /// How often the connection broke; also wakes who waits for it.
    breaks: watch::Receiver<u64>,
    /// Why the last attempt to connect failed.
    trouble: Arc<Mutex<Option<String>>>,
}

#[derive(Deserialize)]
struct Stored {
    #[serde(default)]
    duplicate: bool,
}

impl Options {
    pub fn new(url: SecretString) -> Self {
        Self {
            url,
            stream: "LOCKSTEP".to_owned(),
            subject: "lockstep.push".to_owned(),
            max_bytes: 1024 * 1024 * 1024,
            publish_timeout: Duration::from_secs(2),
            duplicate_window: Duration::from_hours(2),
        }
    }
}

impl JetStream {
    /// Returns at once and connects in the background, for as long as it takes, so that a receiver
    /// starts while NATS is down. Fails for options that can never work, and outside a runtime.
    pub fn connect(options: Options) -> Result<Self, Error> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(Error::Options("it needs a running tokio runtime"));
        }
        settings::check(&options)?;
        let address = Address::parse(&options.url)?;

        let trouble = Arc::new(Mutex::new(None));
        let (broke, breaks) = watch::channel(0);
        let told = Arc::clone(&trouble);
        let connect = address
            .credentials
            .apply(ConnectOptions::new())
            .name("lockstep")
            .retry_on_initial_connect()
            .max_reconnects(None)
            .connection_timeout(options.publish_timeout)
            // A peer that went away without a word is noticed after two of these.
            .ping_interval(Duration::from_secs(5))
            .reconnect_delay_callback(reconnect_delay)
            .event_callback(move |event| {
                match &event {
                    Event::Connected => set(&told, None),
                    Event::ClientError(error) => set(&told, Some(error.to_string())),
                    Event::ServerError(error) => set(&told, Some(error.to_string())),
                    _ => {}
                }
                broke.send_modify(|count| *count += u64::from(event == Event::Disconnected));
                std::future::ready(())
            })
            .connect(address.servers);
        // With a retry on the first connect nothing is awaited before the client is handed out.
        let client = connect
            .now_or_never()
            .ok_or(Error::Disconnected { trouble: None })?
            .map_err(|_| Error::Options("its address cannot be used"))?;

        Ok(Self {
            shared: Arc::new(Shared {
                options,
                client,
                started: Instant::now(),
                checked_on: AtomicU64::new(0),
                checking: tokio::sync::Mutex::new(None),
                breaks,
                trouble,
            }),
        })
    }

    /// Connected, and the streams and the consumer exist with the settings that are wanted. Every
    /// call asks the server; a difference also stops `publish` and `pull` until it is gone.
    pub async fn ready(&self) -> Result<(), Error> {
        let deadline = self.deadline();
        self.exchange(deadline, deadline, || self.check(true)).await
    }

    /// Returns once the stream acknowledged the message, which is then in a file of the server's.
    /// There is an answer within `publish_timeout`, whatever NATS does. A message for which none
    /// came from the server may be stored nevertheless; published again it is a duplicate.
    pub async fn publish(&self, id: &str, body: Bytes) -> Result<Published, PublishError> {
        // A header's line has its name, a colon, a space and an end.
        let size = body.len() + id.len() + 32;
        let limit = || {
            self.shared
                .client
                .max_payload()
                .saturating_sub(ROOM_FOR_REASON)
        };
        let deadline = self.deadline();
        // Nobody waits for a server that is down, but for the first connection, which takes a
        // moment.
        let patience = deadline.min(self.shared.started + self.shared.options.publish_timeout);
        let publish = || async {
            self.check(false).await?;
            if size > limit() {
                return Err(error::too_large());
            }
            match self.store(id, body.clone()).await {
                // The stream is gone since it was checked: it is made again.
                Err(Error::NobodyListens) => {
                    self.check(true).await?;
                    self.store(id, body.clone()).await
                }
                other => other,
            }
        };
        self.exchange(patience, deadline, publish)
            .await
            .map_err(|error| error::publish(error, size, limit()))
    }

    /// Up to `max` messages: as many as are there, or else the first one within `wait`, or none.
    /// Whoever holds a message acknowledges it within 30 seconds, or it is given out again.
    pub async fn pull(&self, max: usize, wait: Duration) -> Result<Vec<Message>, Error> {
        if max == 0 {
            return Ok(Vec::new());
        }
        let end = Instant::now() + wait.min(LONGEST_WAIT);
        self.connected_by(end).await?;
        let deadline = self.deadline();
        self.exchange(deadline, deadline, || self.check(false))
            .await?;

        let mut messages = self.next(max, None).await?;
        let left = end.saturating_duration_since(Instant::now());
        if messages.is_empty() && !left.is_zero() {
            // One alone: a request for more would wait until it is full, and what it is sent
            // after we left would be lost until the wait for its acknowledgement ends.
            messages = self.next(1, Some(left)).await?;
            if !messages.is_empty() && max > 1 {
                // A failure here must not lose the one that we hold.
                messages.extend(self.next(max - 1, None).await.unwrap_or_default());
            }
        }
        Ok(messages)
    }

    pub async fn depth(&self) -> Result<Depth, Error> {
        let stream = &self.shared.options.stream;
        let ask = || async {
            self.check(false).await?;
            let queue = self.info(&format!("STREAM.INFO.{stream}")).await?;
            let aside = aside_name(stream);
            let aside = self.info(&format!("STREAM.INFO.{aside}")).await?;
            let messages = queue["state"]["messages"].as_u64().unwrap_or(0);
            let oldest = queue["state"]["first_ts"].as_str().and_then(age);
            Ok(Depth {
                messages,
                oldest: oldest.filter(|_| messages > 0),
                set_aside: aside["state"]["messages"].as_u64().unwrap_or(0),
            })
        };
        let deadline = self.deadline();
        self.exchange(deadline, deadline, ask).await
    }

    /// Does something that may be done twice, again when the connection breaks under it: a server
    /// that only restarts is not noticed if it is quick. Waits for a connection until `patience`,
    /// and ends at the deadline whatever happens.
    async fn exchange<T, F: Future<Output = Result<T, Error>>>(
        &self,
        patience: Instant,
        deadline: Instant,
        work: impl Fn() -> F,
    ) -> Result<T, Error> {
        self.connected_by(patience).await?;
        let mut events = self.shared.breaks.clone();
        loop {
            events.mark_unchanged();
            match timeout_at(deadline, work()).await {
                Err(_) => return Err(Error::TimedOut),
                Ok(Err(Error::Disconnected { .. })) if Instant::now() < deadline => {
                    // Never a loop without a pause, whatever the client's state says.
                    let _: Result<_, _> = timeout_at(soon(deadline), events.changed()).await;
                    self.connected_by(deadline).await?;
                }
                Ok(done) => return done,
            }
        }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.shared.options.publish_timeout
    }

    /// The client's state is the truth; what wakes us comes a moment before that state is
    /// set, hence the second look.
    async fn connected_by(&self, deadline: Instant) -> Result<(), Error> {
        let shared = &*self.shared;
        let mut events = shared.breaks.clone();
        while shared.client.connection_state() != State::Connected {
            if Instant::now() >= deadline {
                let trouble = shared
                    .trouble
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone();
                return Err(Error::Disconnected { trouble });
            }
            let _: Result<_, _> = timeout_at(soon(deadline), events.changed()).await;
        }
        Ok(())
    }

    /// Finds or makes the streams and the consumer and compares their settings, once for each
    /// connection, or `afresh`.
    async fn check(&self, afresh: bool) -> Result<(), Error> {
        let shared = &*self.shared;
        let connection = shared.client.statistics().connects.load(Ordering::Relaxed);
        let is_checked = || shared.checked_on.load(Ordering::Acquire) == connection;
        if !afresh && is_checked() {
            return Ok(());
        }
        let mut wrong = shared.checking.lock().await;
        if !afresh && is_checked() {
            return Ok(());
        }
        if let Some((found, differences)) = &*wrong
            && !afresh
            && found.elapsed() < SETTINGS_STAY_WRONG
        {
            return Err(Error::Settings(differences.clone()));
        }
        let outcome = self.make_and_compare().await;
        match &outcome {
            Ok(()) => {
                *wrong = None;
                shared.checked_on.store(connection, Ordering::Release);
            }
            Err(Error::Settings(differences)) => {
                *wrong = Some((Instant::now(), differences.clone()));
                shared.checked_on.store(0, Ordering::Release);
            }
            // What could not be asked says nothing about the settings.
            Err(_) => {}
        }
        outcome
    }

    async fn make_and_compare(&self) -> Result<(), Error> {
        let options = &self.shared.options;
        let stream = &options.stream;
        let mut differences = Vec::new();
        for wanted in [settings::stream(options), settings::aside(options)] {
            let name = wanted.name.clone();
            let found = self
                .find_or_make(
                    &format!("STREAM.INFO.{name}"),
                    &format!("STREAM.CREATE.{name}"),
                    &wanted.for_creation(),
                )
                .await?;
            differences.extend(wanted.differences(&found["config"]));
        }
        let wanted = settings::consumer();
        let found = self
            .find_or_make(
                &format!("CONSUMER.INFO.{stream}.{CONSUMER}"),
                &format!("CONSUMER.DURABLE.CREATE.{stream}.{CONSUMER}"),
                &json!({ "stream_name": stream, "config": wanted.for_creation() }),
            )
            .await?;
        differences.extend(wanted.differences(&found["config"]));
        if differences.is_empty() {
            Ok(())
        } else {
            Err(Error::Settings(differences))
        }
    }

    async fn find_or_make(&self, find: &str, make: &str, wanted: &Value) -> Result<Value, Error> {
        match self.info(find).await {
            Err(Error::Refused { status: 404, .. }) => {}
            other => return other,
        }
        match self.api(make, wanted.to_string().into()).await {
            Ok(_) => tracing::info!(what = make, "made at the queue"),
            // Somebody else made it at the same moment; what they made is compared.
            Err(Error::Refused { status: 400, .. }) if self.info(find).await.is_ok() => {}
            Err(error) => return Err(error),
        }
        self.info(find).await
    }

    async fn info(&self, subject: &str) -> Result<Value, Error> {
        self.api(subject, Bytes::new()).await
    }

    async fn api(&self, subject: &str, body: Bytes) -> Result<Value, Error> {
        let answer = self
            .ask(format!("$JS.API.{subject}"), Request::new().payload(body))
            .await?;
        error::answer(&answer)
    }

    async fn store(&self, id: &str, body: Bytes) -> Result<Published, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(header::NATS_MESSAGE_ID, one_line(id));
        let subject = self.shared.options.subject.clone();
        self.send(subject, headers, body).await
    }

    async fn send(
        &self,
        subject: String,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Published, Error> {
        let request = Request::new().headers(headers).payload(body);
        let answer = self.ask(subject, request).await?;
        let Stored { duplicate } = error::answer(&answer)?;
        Ok(if duplicate {
            Published::Duplicate
        } else {
            Published::New
        })
    }

    /// The caller bounds the time. When the connection breaks the answer will not come.
    async fn ask(&self, subject: String, request: Request) -> Result<Bytes, Error> {
        let shared = &*self.shared;
        let mut breaks = shared.breaks.clone();
        let before = *breaks.borrow_and_update();
        let answer = tokio::select! {
            biased;
            answer = shared.client.send_request(subject, request.timeout(None)) => answer,
            _ = breaks.wait_for(|now| *now != before) => {
                return Err(Error::Disconnected { trouble: None });
            }
        };
        match answer {
            Ok(message) => Ok(message.payload),
            Err(error) => Err(match error.kind() {
                RequestErrorKind::NoResponders => Error::NobodyListens,
                RequestErrorKind::TimedOut => Error::TimedOut,
                RequestErrorKind::InvalidSubject => Error::Options("its subject is not valid"),
                RequestErrorKind::MaxPayloadExceeded => error::too_large(),
                RequestErrorKind::Other => Error::Disconnected { trouble: None },
            }),
        }
    }

    /// One request to the consumer: what is there now, or what comes within `wait`.
    async fn next(&self, max: usize, wait: Option<Duration>) -> Result<Vec<Message>, Error> {
        let shared = &*self.shared;
        let request = match wait {
            None => json!({ "batch": max, "no_wait": true }),
            Some(wait) => json!({ "batch": max, "expires": nanoseconds(wait) }),
        };
        // The server ends the wait; the margin is for one that has died.
        let mut deadline =
            Instant::now() + wait.unwrap_or_default() + shared.options.publish_timeout;

        let mut breaks = shared.breaks.clone();
        let before = *breaks.borrow_and_update();

        let inbox = shared.client.new_inbox();
        let subject = format!(
            "$JS.API.CONSUMER.MSG.NEXT.{}.{CONSUMER}",
            shared.options.stream
        );
        let asked = async {
            let replies = shared.client.subscribe(inbox.clone()).await.ok()?;
            let body = request.to_string().into();
            let sent = shared.client.publish_with_reply(subject, inbox, body);
            sent.await.ok()?;
            Some(replies)
        };
        let mut replies = timeout_at(deadline, asked)
            .await
            .map_err(|_| Error::TimedOut)?
            .ok_or(Error::Disconnected { trouble: None })?;

        let mut messages = Vec::new();
        while messages.len() < max {
            // The server forgets the request when the connection breaks.
            let reply = async {
                tokio::select! {
                    biased;
                    reply = replies.next() => reply,
                    _ = breaks.wait_for(|now| *now != before) => None,
                }
            };
            let reply = match timeout_at(deadline, reply).await {
                Ok(Some(reply)) => reply,
                Ok(None) if messages.is_empty() => {
                    return Err(Error::Disconnected { trouble: None });
                }
                Err(_) if messages.is_empty() => {
                    // A request to a consumer that is gone is not answered at all.
                    shared.checked_on.store(0, Ordering::Release);
                    return Err(Error::TimedOut);
                }
                Ok(None) | Err(_) => break,
            };
            match reply.status {
                None | Some(StatusCode::OK) => {
                    let Some(message) = Message::new(self, reply) else {
                        continue;
                    };
                    // Redelivered messages come before new ones and are not counted as pending.
                    let is_last = message.pending() == 0 && message.attempt() == 1;
                    messages.push(message);
                    if is_last {
                        break;
                    }
                    deadline = deadline.min(Instant::now() + GAP);
                }
                Some(StatusCode::IDLE_HEARTBEAT) => {}
                Some(StatusCode::NOT_FOUND | StatusCode::TIMEOUT) => break,
                Some(status) => {
                    // The consumer may be gone: it is looked for, and made, by the next pull.
                    shared.checked_on.store(0, Ordering::Release);
                    if !messages.is_empty() {
                        break;
                    }
                    return Err(if status == StatusCode::NO_RESPONDERS {
                        Error::NobodyListens
                    } else {
                        Error::Interrupted(reply.description.unwrap_or_default())
                    });
                }
            }
        }
        Ok(messages)
    }
}

impl fmt::Debug for JetStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JetStream")
            .field("options", &self.shared.options)
            .field("state", &self.shared.client.connection_state())
            .finish_non_exhaustive()
    }
}

/// Quick at first, for a server that only restarts, and never slower than the patience of one who
/// waits for it.
fn reconnect_delay(attempt: usize) -> Duration {
    let doublings = u32::try_from(attempt.min(8)).unwrap_or(8);
    Duration::from_millis(if attempt <= 1 { 0 } else { 4 << doublings }).min(Duration::from_secs(1))
}

fn soon(deadline: Instant) -> Instant {
    deadline.min(Instant::now() + Duration::from_millis(20))
}

fn set(trouble: &Mutex<Option<String>>, value: Option<String>) {
    *trouble.lock().unwrap_or_else(PoisonError::into_inner) = value;
}

/// A header's value is one line: what could end it is written as an escape, so that two ids that
/// differ stay different.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || c == '\\' {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

/// The server counts them in 64 bits, with a sign.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().min(i64::MAX as u128)).unwrap_or_default()
}

/// By two machines' clocks: never below zero.
fn age(timestamp: &str) -> Option<Duration> {
    let then: jiff::Timestamp = timestamp.parse().ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let then = Duration::try_from(then.as_duration()).ok()?;
    Some(now.saturating_sub(then))
}
