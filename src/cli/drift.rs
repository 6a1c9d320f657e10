//! `lockstep drift [STACK]`: what was changed by hand since the last run.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::json;

use super::{
    Exit, Invocation, find_stack,
    output::{self, Unreached},
    take_target,
};
use crate::sync::{handwork, schedule::check_drift};

/// Show what was changed on the gateways since the last run, and not by a run.
///
/// Nothing is written, and nothing is put back: the stack's `drift` rule, or `lockstep sync`, does
/// that. Objects that appeared and belong to no stack are listed and left alone. Exit code 0:
/// nothing of the stacks' was changed; 2: something was; 1: it could not be found out.
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
        let mut looked = BTreeMap::new();
        let mut unreached = Vec::new();
        for stack in stacks {
            let Some(state) = app.store.stack_state(&stack.name).await? else {
                text.push_str(&format!("{}: has had no run yet\n", stack.name));
                found.push(json!({"stack": stack.name, "settled": null, "changes": []}));
                continue;
            };
            let holding = take_target(&app, &stack.target.name).await?;
            let mut drifts = Vec::new();
            for node in stack.target.nodes() {
                let drift = check_drift(&app, &stack.at(&node), &state).await;
                drifts.push((node, drift));
            }
            holding.release().await?;
            let several = drifts.len() > 1;
            let mut all = Vec::new();
            for (node, drift) in drifts {
                let name = if several {
                    format!("{} on {}", stack.name, node.address)
                } else {
                    stack.name.clone()
                };
                let drift = match drift {
                    Err(error) if several && error.is_unreachable() => {
                        unreached.push(Unreached::new(&node, &error));
                        continue;
                    }
                    other => other?,
                };
                let Some(drift) = drift else {
                    text.push_str(&format!("{name}: has had no successful run yet\n"));
                    continue;
                };
                let changes = drift.changes();
                total += changes.len();
                if changes.is_empty() {
                    text.push_str(&format!("{name}: as the last run left it\n"));
                }
                for change in &changes {
                    text.push_str(&format!("{name}: {} {}\n", change.object, change.reason));
                    for field in &change.fields {
                        text.push_str(&format!("    {field}\n"));
                    }
                }
                all.extend(changes.iter().map(|change| {
                    let mut shown = json!(change);
                    if several {
                        shown["node"] = json!(node.address);
                    }
                    shown
                }));
                let place = (node.name.clone(), node.node.clone());
                looked.insert(place, (node, drift.look));
            }
            found.push(json!({"stack": stack.name, "settled": state.settled, "changes": all}));
        }
        let mut appeared = Vec::new();
        for (target, look) in looked.values() {
            let name = &target.name;
            let live = &look.observation.live;
            let foreign = handwork::foreign(&app, target, live, &look.inventory).await?;
            for (object, at) in &foreign.first_seen {
                if *at > foreign.since {
                    let at = output::moment(*at);
                    text.push_str(&format!(
                        "{name}: {object} appeared, belongs to no stack and is left alone; first \
                         seen {at}\n"
                    ));
                    appeared.push(json!({"target": name, "object": object, "first_seen": at}));
                }
            }
        }
        output::unreached(&unreached);
        if invocation.is_json() {
            output::json(&json!({
                "drifted": total, "stacks": found, "appeared": appeared, "unreached": unreached,
            }))?;
        } else {
            output::text(&text);
        }
        Ok(if !unreached.is_empty() {
            Exit::Failed
        } else if total == 0 {
            Exit::Done
        } else {
            Exit::Pending
        })
    }
}
