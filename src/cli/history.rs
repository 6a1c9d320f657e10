//! `lockstep history`: what happened, newest first.

use anyhow::Context;
use clap::Args;
use jiff::{Span, Timestamp, ToSpan, civil::Date, tz::TimeZone};
use serde_json::{Value, json};

use super::{Exit, Invocation, output};
use crate::{
    domain::{
        audit::event::{Event, Header, Person},
        object::ObjectKey,
    },
    store::EventFilter,
};

/// List what happened, newest first: deliveries, runs, changes, drift.
#[derive(Debug, Args)]
pub struct History {
    /// Of one stack
    #[arg(long)]
    stack: Option<String>,
    /// Of one target
    #[arg(long)]
    target: Option<String>,
    /// Of one object, as KIND/ID; for example oas/orders
    #[arg(long, value_name = "KIND/ID")]
    object: Option<ObjectKey>,
    /// From a day (2026-11-23), a moment (2026-11-23T12:00:00Z) or a time ago (36h, 7d) on
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Up to a day, a moment or a time ago, itself not included
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// How many at most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=1_000))]
    limit: i64,
}

impl History {
    pub async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let app = invocation.open().await?;
        let now = app.now();
        let moment = |when: Option<&str>| when.map(|when| parse_when(when, now)).transpose();
        let filter = EventFilter {
            stack: self.stack,
            target: self.target,
            object: self.object,
            since: moment(self.since.as_deref())?,
            until: moment(self.until.as_deref())?,
            limit: self.limit,
            ..EventFilter::default()
        };
        let events = app.store.events(&filter).await?;
        if invocation.is_json() {
            let events: Vec<Value> = events.iter().map(to_json).collect();
            output::json(&json!({"events": events}))?;
            return Ok(Exit::Done);
        }
        if events.is_empty() {
            eprintln!("nothing of that is on record");
        }
        let lines: Vec<String> = events.iter().map(line).collect();
        output::text(&lines.join("\n"));
        Ok(Exit::Done)
    }
}

/// A day, a moment, or a time ago, as microseconds since 1970.
pub fn parse_when(when: &str, now: i64) -> anyhow::Result<i64> {
    if let Ok(moment) = when.parse::<Timestamp>() {
        return Ok(moment.as_microsecond());
    }
    if let Ok(day) = when.parse::<Date>() {
        return Ok(day.to_zoned(TimeZone::UTC)?.timestamp().as_microsecond());
    }
    let explain = || {
        format!(
            "{when} is no time: write a day (2026-11-23), a moment (2026-11-23T12:00:00Z) or a \
             time ago (90m, 36h, 7d)"
        )
    };
    let number = when
        .get(..when.len().saturating_sub(1))
        .and_then(|digits| digits.parse::<i64>().ok())
        .filter(|&number| (0..=100_000).contains(&number))
        .with_context(explain)?;
    let span: Span = match when.as_bytes().last() {
        Some(b'm') => number.minutes(),
        Some(b'h') => number.hours(),
        Some(b'd') => (number * 24).hours(),
        _ => anyhow::bail!(explain()),
    };
    let moment = Timestamp::from_microsecond(now)?.checked_sub(span)?;
    Ok(moment.as_microsecond())
}

pub fn to_json(event: &Event) -> Value {
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    let people: Vec<Value> = event
        .people
        .iter()
        .map(|opening| json!({"commitment": opening.commitment, "person": parse(&opening.value)}))
        .collect();
    json!({
        "header": parse(&event.header),
        "payload": parse(&event.payload),
        "people": people,
        "hash": event.hash,
        "previous": event.previous,
    })
}

fn line(event: &Event) -> String {
    let header: Option<Header> = serde_json::from_str(&event.header).ok();
    let payload: Value = serde_json::from_str(&event.payload).unwrap_or_default();
    let Some(header) = header else {
        return format!("{}: cannot be read", event.sequence);
    };
    let mut words = vec![
        output::moment(header.at),
        format!("{:18}", header.event_type),
    ];
    words.extend(header.stack.clone());
    words.extend(header.object.as_ref().map(ToString::to_string));
    words.extend(summary(&payload));
    let people: Vec<String> = event
        .people
        .iter()
        .filter_map(|opening| serde_json::from_str::<Person>(&opening.value).ok())
        .map(|person| person.to_string())
        .collect();
    if !people.is_empty() {
        words.push(format!("by {}", people.join(", ")));
    }
    if let Some(run) = &header.run {
        words.push(format!("(run {run})"));
    }
    words.join("  ")
}

/// What a payload says, in a few words.
fn summary(payload: &Value) -> Vec<String> {
    let text = |pointer: &str| payload.pointer(pointer).and_then(Value::as_str);
    let mut words = Vec::new();
    for pointer in ["/status", "/action", "/outcome", "/ref"] {
        words.extend(text(pointer).map(str::to_owned));
    }
    for pointer in ["/source/revision", "/after", "/revision"] {
        if let Some(digits) = text(pointer) {
            words.push(digits.chars().take(8).collect());
            break;
        }
    }
    if let Some(changes) = payload.get("changes").and_then(Value::as_array) {
        words.push(format!("{} changes", changes.len()));
    }
    if let Some(objects) = payload.get("objects").and_then(Value::as_array) {
        let names: Vec<&str> = objects.iter().filter_map(Value::as_str).take(5).collect();
        words.push(names.join(" "));
    }
    // A person's own words; a change's reason is not one.
    let said = text("/reason").filter(|_| payload.get("action").is_none());
    words.extend(said.map(|said| said.chars().take(160).collect()));
    for pointer in ["/ignored", "/message"] {
        if let Some(message) = text(pointer) {
            let first = message.lines().next().unwrap_or_default();
            words.push(first.chars().take(160).collect());
        }
    }
    words
}
