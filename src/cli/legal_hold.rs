//! `lockstep audit legal-hold …`: what keeps events in the history however old they are.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Exit, Invocation, output, sync::asker};
use crate::{
    config::Name,
    domain::{audit::retention::LegalHold, moment::parse_moment},
    sync::{hold, retention},
};

/// Order that nothing leaves the history, and lift such an order.
#[derive(Debug, Subcommand)]
pub enum LegalHolds {
    Place(Place),
    Lift(Lift),
    List(List),
}

/// Order that nothing leaves the history from a moment on, until the hold is lifted.
///
/// It is itself an event of the history, with its reason and who placed it. Several holds may stand
/// at once.
#[derive(Debug, Args)]
pub struct Place {
    /// What it is called: lower-case letters, digits and -
    #[arg(value_parser = Name::parse)]
    name: Name,
    /// Keep what happened from a day (2026-11-23), a moment or a time ago (400d) on; without it
    /// everything
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Why; it is kept in the history
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Lift a legal hold: what it kept may leave, as far as nothing else keeps it.
#[derive(Debug, Args)]
pub struct Lift {
    /// Its name
    name: String,
    /// Why; it is kept in the history
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// List the legal holds that stand.
#[derive(Debug, Args)]
pub struct List {}

impl LegalHolds {
    pub async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        match self {
            Self::Place(place) => place.run(invocation).await,
            Self::Lift(lift) => lift.run(invocation).await,
            Self::List(list) => list.run(invocation).await,
        }
    }
}

impl Place {
    async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let reason = hold::reason(&self.reason)?;
        let name = self.name.as_str();
        let app = invocation.open().await?;
        let since = self.since.as_deref();
        let since = since
            .map(|when| parse_moment(when, app.now()))
            .transpose()?;
        retention::place(&app, &asker(&app), name, since, &reason).await?;
        if invocation.is_json() {
            output::json(&json!({"name": name, "since": since.map(output::rfc3339)}))?;
        } else {
            output::text(&match since {
                None => format!("{name}: nothing leaves the history until it is lifted"),
                Some(since) => format!(
                    "{name}: nothing from {} on leaves the history until it is lifted",
                    output::rfc3339(since)
                ),
            });
        }
        Ok(Exit::Done)
    }
}

impl Lift {
    async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let reason = hold::reason(&self.reason)?;
        let app = invocation.open().await?;
        retention::lift(&app, &asker(&app), &self.name, &reason).await?;
        if invocation.is_json() {
            output::json(&json!({"name": self.name, "lifted": true}))?;
        } else {
            output::text(&format!("{}: lifted", self.name));
        }
        Ok(Exit::Done)
    }
}

impl List {
    async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let Self {} = self;
        let app = invocation.open().await?;
        let holds = retention::legal_holds(&app).await?;
        if invocation.is_json() {
            let holds: Vec<Value> = holds.iter().map(to_json).collect();
            output::json(&json!({"legal_holds": holds}))?;
        } else if holds.is_empty() {
            output::text("no legal hold stands");
        } else {
            let lines: Vec<String> = holds.iter().map(line).collect();
            output::text(&lines.join("\n"));
        }
        Ok(Exit::Done)
    }
}

fn line(hold: &LegalHold) -> String {
    let since = match hold.since {
        None => "everything".to_owned(),
        Some(since) => format!("from {} on", output::rfc3339(since)),
    };
    format!(
        "{}  {since}  placed {} (event {}): {}",
        hold.name,
        output::rfc3339(hold.at),
        hold.sequence,
        hold.reason
    )
}

fn to_json(hold: &LegalHold) -> Value {
    let LegalHold {
        name,
        since,
        reason,
        at,
        sequence,
    } = hold;
    json!({
        "name": name,
        "since": since.map(output::rfc3339),
        "reason": reason,
        "placed_at": output::rfc3339(*at),
        "event": sequence,
    })
}
