//! `lockstep plan STACK`: what a run would change now.

use clap::Args;
use serde_json::json;

use super::{Exit, Invocation, find_stack, output, take_target};
use crate::{domain::revision::Revision, sync::look};

/// Show what a run of a stack would change now. Nothing is written.
///
/// Exit code 0: nothing; 2: something would change, or is held back; 1: it could not be found out.
#[derive(Debug, Args)]
pub struct Plan {
    stack: String,
    /// A commit other than the head of the branch
    #[arg(long, value_name = "COMMIT")]
    revision: Option<Revision>,
}

impl Plan {
    pub async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let app = invocation.open().await?;
        let stack = find_stack(&app, &self.stack)?.clone();
        let revision = match self.revision {
            Some(revision) => revision,
            None => look::head(&app, &stack).await?,
        };
        let wanted = look::wanted(&app, &stack, &revision).await?;
        let holding = take_target(&app, &stack.target.name).await?;
        let state = app.store.stack_state(&stack.name).await?;
        let state = state.unwrap_or_else(|| stack.fresh_state());
        let look = look::look(&app, &stack, &state, wanted, app.now()).await;
        holding.release().await?;
        let look = look?;
        if invocation.is_json() {
            output::json(&json!({
                "stack": stack.name,
                "target": stack.target.name,
                "revision": revision,
                "hash": look.plan.hash(),
                "empty": look.plan.is_empty(),
                "plan": look.plan,
                "ignored": look.wanted.ignored,
                "warnings": look.wanted.warnings,
            }))?;
        } else {
            for warning in &look.wanted.warnings {
                eprintln!("warning: {warning}");
            }
            output::text(&format!("{}at {revision}", look.plan));
        }
        Ok(if look.plan.is_empty() {
            Exit::Done
        } else {
            Exit::Pending
        })
    }
}
