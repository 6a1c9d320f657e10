//! `lockstep drift [STACK]`: what was changed by hand since the last run.

use clap::Args;
use serde_json::json;

use super::{Exit, Invocation, find_stack, output, take_target};
use crate::sync::schedule::check_drift;

/// Show what was changed on the gateways since the last run, and not by a run.
///
/// Nothing is written, and nothing is put back: the stack's `drift` rule, or `lockstep sync`, does
/// that. Exit code 0: nothing; 2: something was; 1: it could not be found out.
#[derive(Debug, Args)]
pub struct Drift {
    /// One stack; all of them without it
    stack: Option<String>,
}

impl Drift {
    pub async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let app = invocation.open().await?;
        let stacks = match &self.stack {
            Some(name) => vec![find_stack(&app, name)?.clone()],
            None => app.stacks.values().cloned().collect(),
        };
        let mut found = Vec::new();
        let mut text = String::new();
        let mut total = 0;
        for stack in stacks {
            let Some(state) = app.store.stack_state(&stack.name).await? else {
                text.push_str(&format!("{}: has had no run yet\n", stack.name));
                found.push(json!({"stack": stack.name, "settled": null, "changes": []}));
                continue;
            };
            let holding = take_target(&app, &stack.target.name).await?;
            let drift = check_drift(&app, &stack, &state).await;
            holding.release().await?;
            let Some(drift) = drift? else {
                text.push_str(&format!("{}: has had no successful run yet\n", stack.name));
                found.push(json!({"stack": stack.name, "settled": null, "changes": []}));
                continue;
            };
            let changes = drift.changes();
            total += changes.len();
            if changes.is_empty() {
                text.push_str(&format!("{}: as the last run left it\n", stack.name));
            }
            for change in &changes {
                text.push_str(&format!(
                    "{}: {} {}\n",
                    stack.name, change.object, change.reason
                ));
                for field in &change.fields {
                    text.push_str(&format!("    {field}\n"));
                }
            }
            found.push(json!({"stack": stack.name, "settled": state.settled, "changes": changes}));
        }
        if invocation.is_json() {
            output::json(&json!({"drifted": total, "stacks": found}))?;
        } else {
            output::text(&text);
        }
        Ok(if total == 0 {
            Exit::Done
        } else {
            Exit::Pending
        })
    }
}
