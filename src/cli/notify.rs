//! `lockstep notify`: trying out who is told of news.

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json;

use super::{Exit, Invocation, init_logs, output};
use crate::{
    app::{self, Tells},
    config,
    domain::notice::Notice,
    notify::{self, Place},
};

/// Try out who is told of news.
#[derive(Debug, Subcommand)]
pub enum Notify {
    Test(Test),
}

impl Notify {
    pub async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        match self {
            Self::Test(test) => test.run(invocation).await,
        }
    }
}

/// Send a test notice to one receiver, and say whether it was taken.
#[derive(Debug, Args)]
pub struct Test {
    /// The NAME of [notify.NAME] in the configuration
    name: String,
}

impl Test {
    async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        init_logs("warn");
        let config = invocation.load()?;
        let wanted = format!("notify.{}", self.name);
        let sinks = app::sinks(&config, notify::Options::default())?;
        let sink = sinks
            .iter()
            .find(|sink| sink.name == wanted)
            .with_context(|| {
                let known: Vec<&str> = config.notify.keys().map(config::Name::as_str).collect();
                format!(
                    "there is no [notify.{}] in the configuration; it has: {}",
                    self.name,
                    if known.is_empty() {
                        "none".to_owned()
                    } else {
                        known.join(", ")
                    }
                )
            })?;
        let Tells::Notices { receiver, .. } = &sink.tells else {
            anyhow::bail!("{wanted} takes no notices");
        };
        let now = app::now();
        let place = Place(config.server.public_url.clone());
        let sent = receiver
            .tell(&Notice::test(now), &place, now / 1_000_000)
            .await;
        let problem = sent.err().map(|error| error.to_string());
        if invocation.is_json() {
            output::json(&json!({
                "sink": sink.name,
                "taken": problem.is_none(),
                "problem": problem,
            }))?;
        } else if problem.is_none() {
            output::text(&format!("{wanted}: the test notice was taken"));
        }
        match problem {
            None => Ok(Exit::Done),
            Some(problem) => {
                eprintln!("{wanted}: {problem}");
                Ok(Exit::Failed)
            }
        }
    }
}
