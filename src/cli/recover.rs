//! `lockstep recover TARGET`: ownership anew, after the database was lost or restored.

use clap::Args;
use serde_json::json;

use super::{Exit, Invocation, find_target, output, sync::asker, take_target};
use crate::{
    domain::object::ObjectKey,
    sync::{
        ownership::Wish,
        reclaim::{Reclaimed, reclaim},
        recover::recover,
    },
};

/// Take ownership anew after Lockstep's database was lost or restored from a backup.
///
/// What is on the target and equals Git belongs to the stack that describes it. The rest belongs
/// to nobody, is listed, and is neither changed nor deleted until it is adopted. Nothing is written
/// to the target. It may be repeated. Exit code 0: everything is owned or will be made; 2: some
/// objects wait for a decision.
#[derive(Debug, Args)]
pub struct Recover {
    target: String,
    /// Why; it is kept in the history
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

impl Recover {
    pub async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let reason = self.reason.trim().to_owned();
        anyhow::ensure!(!reason.is_empty(), "--reason must say why");
        let app = invocation.open().await?;
        let target = find_target(&app, &self.target)?.clone();
        let holding = take_target(&app, &target.name).await?;
        let wish = Wish {
            by: asker(&app),
            reason,
        };
        let done = async {
            recover(&app, &holding, &target).await?;
            anyhow::Ok(reclaim(&app, &holding, &target, &wish).await?)
        }
        .await;
        holding.release().await?;
        let done = done?;
        let waits = done
            .iter()
            .any(|stack| !stack.differing.is_empty() || !stack.left.is_empty());
        if invocation.is_json() {
            let stacks: Vec<_> = done
                .iter()
                .map(|stack| {
                    json!({
                        "stack": stack.stack,
                        "node": stack.node,
                        "adopted": stack.adopted,
                        "differing": stack.differing,
                        "missing": stack.missing,
                        "left": stack.left,
                        "unclaimed": stack.unclaimed,
                    })
                })
                .collect();
            output::json(&json!({"target": target.name, "stacks": stacks}))?;
        } else {
            for stack in &done {
                output::text(&tell(stack));
            }
        }
        Ok(if waits { Exit::Pending } else { Exit::Done })
    }
}

fn tell(found: &Reclaimed) -> String {
    let Reclaimed {
        stack,
        node,
        adopted,
        differing,
        missing,
        left,
        unclaimed,
    } = found;
    let names = |keys: &[ObjectKey]| {
        let names: Vec<String> = keys.iter().map(ToString::to_string).collect();
        names.join(" ")
    };
    let on_node = node.as_ref().map(|node| format!(" on {node}"));
    let mut text = format!(
        "{stack}{}: {} objects equal Git and are owned again\n",
        on_node.unwrap_or_default(),
        adopted.len()
    );
    if !missing.is_empty() {
        text.push_str(&format!(
            "  not on the target, made by the next run: {}\n",
            names(missing)
        ));
    }
    if !differing.is_empty() {
        let names = names(differing);
        text.push_str(&format!(
            "  differ from Git and belong to nobody: {names}\n    where Git is right: lockstep adopt \
             {stack} {names} --reason …\n"
        ));
    }
    if !left.is_empty() {
        text.push_str(&format!(
            "  owned before, not in Git, and left alone: {}\n    delete them by hand, or add their \
             manifests and adopt them\n",
            names(left)
        ));
    }
    if !unclaimed.is_empty() {
        text.push_str(&format!(
            "  on the target, in no stack's manifests, and left alone: {}\n    if they were made from \
             Git and have left it, delete them by hand\n",
            names(unclaimed)
        ));
    }
    text
}
