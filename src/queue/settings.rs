//! How the streams and the consumer must be set up, by the server's own names and values.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Difference, Error, Options, nanoseconds};

/// The one durable consumer that all workers pull from.
pub(super) const CONSUMER: &str = "workers";

/// How long a worker may hold a message before it is given out again.
const ACK_WAIT_NANOSECONDS: u64 = 30_000_000_000;

/// Messages that wait for their retry count as unacknowledged too. With the server's own limit of
/// a thousand, as many retries would stop every new message.
const MAX_UNACKNOWLEDGED: i64 = 20_000;

const LONGEST_TIMEOUT: Duration = Duration::from_mins(1);

/// What cannot be read is rare, and small.
const ASIDE_BYTES: i64 = 64 * 1024 * 1024;

pub(super) struct Wanted {
    pub name: String,
    settings: Vec<(&'static str, Value)>,
}

pub(super) fn aside_name(stream: &str) -> String {
    format!("{stream}_ASIDE")
}

pub(super) fn aside_subject(subject: &str) -> String {
    format!("{subject}.aside")
}

/// No limit here makes the server drop a message; at the size limit it refuses new ones. The
/// number of replicas is left to whoever runs NATS.
pub(super) fn stream(options: &Options) -> Wanted {
    let mut settings = keeps_everything(&options.subject, options.max_bytes);
    settings.extend([
        ("retention", json!("workqueue")),
        (
            "duplicate_window",
            json!(nanoseconds(options.duplicate_window)),
        ),
    ]);
    Wanted::new(options.stream.clone(), settings)
}

pub(super) fn aside(options: &Options) -> Wanted {
    let mut settings = keeps_everything(
        &aside_subject(&options.subject),
        options.max_bytes.min(ASIDE_BYTES),
    );
    settings.extend([
        ("retention", json!("limits")),
        (
            "duplicate_window",
            json!(nanoseconds(options.duplicate_window)),
        ),
    ]);
    Wanted::new(aside_name(&options.stream), settings)
}

/// Gives out every message, again and again, until it is acknowledged.
pub(super) fn consumer() -> Wanted {
    let settings = vec![
        ("durable_name", json!(CONSUMER)),
        ("deliver_policy", json!("all")),
        ("ack_policy", json!("explicit")),
        ("ack_wait", json!(ACK_WAIT_NANOSECONDS)),
        ("max_deliver", json!(-1)),
        ("max_ack_pending", json!(MAX_UNACKNOWLEDGED)),
        ("replay_policy", json!("instant")),
        ("deliver_subject", Value::Null),
        ("filter_subject", Value::Null),
        ("headers_only", Value::Null),
        ("inactive_threshold", Value::Null),
        ("rate_limit_bps", Value::Null),
        ("backoff", Value::Null),
    ];
    Wanted {
        name: format!("consumer {CONSUMER}"),
        settings,
    }
}

/// Names go into subjects of the server's API, where a dot or a wildcard would mean something.
pub(super) fn check(options: &Options) -> Result<(), Error> {
    if options.publish_timeout.is_zero() || options.publish_timeout > LONGEST_TIMEOUT {
        return Err(Error::Options(
            "the timeout must be above zero and at most a minute",
        ));
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let is_token = |token: &str| !token.is_empty() && token.chars().all(is_plain);
    if !is_token(&options.stream) {
        return Err(Error::Options(
            "the stream's name may hold letters, digits, - and _ only",
        ));
    }
    if !options.subject.split('.').all(is_token) {
        return Err(Error::Options(
            "the subject is words of letters, digits, - and _, with dots between them",
        ));
    }
    Ok(())
}

impl Wanted {
    fn new(name: String, mut settings: Vec<(&'static str, Value)>) -> Self {
        settings.insert(0, ("name", json!(name)));
        Self { name, settings }
    }

    pub fn for_creation(&self) -> Value {
        let settings: Map<String, Value> = self
            .settings
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        Value::Object(settings)
    }

    pub fn differences(&self, found: &Value) -> Vec<Difference> {
        self.settings
            .iter()
            .filter(|(name, wanted)| !same(wanted, &found[*name]))
            .map(|(name, wanted)| Difference {
                of: self.name.clone(),
                setting: name,
                wanted: wanted.to_string(),
                found: found[*name].to_string(),
            })
            .collect()
    }
}

fn keeps_everything(subject: &str, max_bytes: i64) -> Vec<(&'static str, Value)> {
    vec![
        ("subjects", json!([subject])),
        ("storage", json!("file")),
        ("discard", json!("new")),
        ("max_bytes", json!(max_bytes)),
        ("max_msgs", json!(-1)),
        ("max_msgs_per_subject", json!(-1)),
        ("max_msg_size", json!(-1)),
        ("max_age", json!(0)),
        ("no_ack", Value::Null),
        ("sealed", Value::Null),
        ("mirror", Value::Null),
        ("sources", Value::Null),
        ("subject_transform", Value::Null),
    ]
}

/// The server leaves out what is empty, in one version this and in another that.
fn same(wanted: &Value, found: &Value) -> bool {
    wanted == found || (is_empty(wanted) && is_empty(found))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}
