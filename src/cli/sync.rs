//! `lockstep sync STACK`: a run now, in this process.

use std::{io::IsTerminal, os::unix::fs::MetadataExt};

use clap::Args;
use serde_json::json;

use super::{Exit, Invocation, find_stack, output, take_target};
use crate::{
    domain::{
        audit::event::Person,
        run::{Outcome, RunStatus, Trigger},
    },
    sync::{
        recover::recover,
        run::{self, Report},
        witness,
    },
};

/// Run a stack now: read the head of its branch, and make the gateway serve it.
///
/// Exit code 0: in step; 2: in step but for what is held back; 1: it did not succeed.
#[derive(Debug, Args)]
pub struct Sync {
    stack: String,
}

impl Sync {
    pub async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let app = invocation.open().await?;
        let stack = find_stack(&app, &self.stack)?.clone();
        let holding = take_target(&app, &stack.target.name).await?;
        let result = async {
            witness::check(&app).await?;
            recover(&app, &holding, &stack.target).await?;
            app.store.want(&stack.id(), Trigger::Manual).await?;
            let state = app.store.stack_state(&stack.name).await?;
            let state = state.unwrap_or_else(|| stack.fresh_state());
            let is_terminal = std::io::stderr().is_terminal();
            let progress = move |message: &str| {
                if is_terminal {
                    eprintln!("{message}");
                }
            };
            let operator = Some(operator());
            let report =
                run::run_stack(&app, &holding, &stack, &state, operator, &progress).await?;
            anyhow::Ok(report)
        }
        .await;
        holding.release().await?;
        let report = result?;
        print(invocation, &stack.name, &report)?;
        Ok(match report.status {
            RunStatus::Succeeded => Exit::Done,
            RunStatus::Parked => Exit::Pending,
            RunStatus::Running
            | RunStatus::Refused
            | RunStatus::Failed
            | RunStatus::Interrupted => Exit::Failed,
        })
    }
}

/// Who runs the command, as the operating system says; on record, and no proof.
pub fn operator() -> Person {
    Person {
        name: None,
        login: std::env::var("USER")
            .or_else(|_| std::env::var("LOGNAME"))
            .ok()
            .or_else(|| {
                Some(format!(
                    "uid {}",
                    std::fs::metadata("/proc/self").ok()?.uid()
                ))
            }),
        email: None,
    }
}

fn print(invocation: &Invocation, stack: &str, report: &Report) -> anyhow::Result<()> {
    if invocation.is_json() {
        return output::json(&json!({
            "stack": stack,
            "run": report.run,
            "status": report.status,
            "revision": report.revision,
            "message": report.message,
            "changes": report.changes,
            "nodes": report.nodes.iter().map(|report| json!({
                "node": report.node,
                "run": report.run,
                "status": report.status,
                "message": report.message,
                "changes": report.changes,
            })).collect::<Vec<_>>(),
        }));
    }
    let mut text = String::new();
    for change in &report.changes {
        text.push_str(&format!(
            "{:8} {} {}",
            change.outcome, change.action, change.object
        ));
        if let Some(message) = change
            .message
            .as_ref()
            .filter(|_| change.outcome != Outcome::Held)
        {
            text.push_str(&format!(": {message}"));
        }
        text.push('\n');
    }
    let revision = report
        .revision
        .as_ref()
        .map_or("-", |revision| revision.short());
    text.push_str(&format!("{stack}: {} at {revision}", report.status));
    if report.changes.is_empty() && report.status == RunStatus::Succeeded {
        text.push_str(", nothing to do");
    }
    if let Some(message) = &report.message {
        text.push_str(&format!("\n{message}"));
    }
    if let Some(run) = &report.run {
        text.push_str(&format!("\nmore: lockstep show {run}"));
    }
    output::text(&text);
    Ok(())
}
