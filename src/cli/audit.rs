//! `lockstep audit …`: the history's proof.

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Exit, Invocation, output};
use crate::domain::audit::catalogue;

/// Verify the history.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Walk the whole history and name the first event that is not as it was written
    Verify(Verify),
    /// Print what every type of event means, and what its payload says
    ///
    /// It needs no configuration.
    Events(Events),
}

#[derive(Debug, Args)]
pub struct Verify {}

#[derive(Debug, Args)]
pub struct Events {}

impl Audit {
    pub async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        match self {
            Self::Verify(verify) => verify.run(invocation).await,
            Self::Events(events) => events.run(invocation),
        }
    }
}

impl Events {
    fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let Self {} = self;
        if invocation.is_json() {
            output::json(&catalogue::to_json())?;
        } else {
            output::text(catalogue::markdown().trim_end());
        }
        Ok(Exit::Done)
    }
}

impl Verify {
    async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let Self {} = self;
        let app = invocation.open().await?;
        let verified = app.store.verify_history().await?;
        let (exit, value, text) = match &verified {
            Ok(head) => (
                Exit::Done,
                json!({"ok": true, "events": head.size, "head": head.hash}),
                format!(
                    "{} events, every one as it was written; the last one's hash is {}",
                    head.size, head.hash
                ),
            ),
            Err(broken) => (
                Exit::Failed,
                json!({"ok": false, "event": broken.sequence, "problem": broken.what}),
                format!("the history was tampered with: {broken}"),
            ),
        };
        if invocation.is_json() {
            output::json(&value)?;
        } else {
            output::text(&text);
        }
        Ok(exit)
    }
}
