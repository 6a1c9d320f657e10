//! `lockstep plan STACK`: what a run would change now.

use clap::Args;
use serde_json::{Value, json};

use super::{
    Exit, Invocation, find_stack,
    output::{self, Unreached},
    take_target,
};
use crate::{
    domain::revision::Revision,
    sync::look::{self, Look},
};

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
        let mut looks = Vec::new();
        for node in stack.target.nodes() {
            let here = stack.at(&node);
            let look = look::look(&app, &here, &state, wanted.clone(), app.now()).await;
            looks.push((node, look));
        }
        holding.release().await?;
        let several = looks.len() > 1;
        let mut plans = Vec::new();
        let mut unreached = Vec::new();
        for (node, look) in looks {
            match look {
                Ok(look) => plans.push((node, look)),
                Err(error) if several && error.is_unreachable() => {
                    unreached.push(Unreached::new(&node, &error));
                }
                Err(error) => return Err(error.into()),
            }
        }
        output::unreached(&unreached);
        for warning in &wanted.warnings {
            eprintln!("warning: {}", output::harmless(&warning.to_string()));
        }
        let is_empty = plans.iter().all(|(_, look)| look.plan.is_empty());
        if invocation.is_json() {
            let of_node = |look: &Look| {
                json!({
                    "hash": look.plan.hash(),
                    "empty": look.plan.is_empty(),
                    "plan": look.plan,
                })
            };
            let mut shown = json!({
                "stack": stack.name,
                "target": stack.target.name,
                "revision": revision,
                "ignored": wanted.ignored,
                "warnings": wanted.warnings,
            });
            if let ([(_, look)], false, Value::Object(members)) =
                (plans.as_slice(), several, &mut shown)
            {
                if let Value::Object(of_node) = of_node(look) {
                    members.extend(of_node);
                }
            } else {
                let nodes = plans.iter().map(|(node, look)| {
                    let mut shown = of_node(look);
                    shown["node"] = json!(node.address);
                    shown
                });
                shown["nodes"] = nodes.collect();
                shown["unreached"] = json!(unreached);
                shown["empty"] = json!(is_empty);
            }
            output::json(&shown)?;
        } else {
            for (node, look) in &plans {
                if several {
                    output::text(&format!("on {}:", node.address));
                }
                output::text(&format!("{}at {revision}", look.plan));
            }
        }
        Ok(if !unreached.is_empty() {
            Exit::Failed
        } else if is_empty {
            Exit::Done
        } else {
            Exit::Pending
        })
    }
}
