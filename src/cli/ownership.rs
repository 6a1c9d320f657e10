//! `lockstep adopt` and `lockstep release`: who owns what is on a gateway, by a person's word.

use clap::Args;
use serde_json::json;

use super::{Exit, Invocation, find_stack, output, sync::asker, take_target};
use crate::{
    domain::object::ObjectKey,
    sync::{
        ownership::{self, Wish},
        recover::recover,
        start,
    },
};

/// Take over objects that are on a gateway, that nobody owns, and that the stack's manifests
/// describe otherwise.
///
/// What equals its manifest is adopted without asking. For the others `lockstep plan STACK` shows
/// what would change; adopting them says that Git is right. The next run brings them in step.
#[derive(Debug, Args)]
pub struct Adopt {
    #[command(flatten)]
    word: Word,
}

/// Let go of objects: they stay on the gateway as they are and belong to nobody.
///
/// Their manifests can then be removed without anything being deleted, or another stack can
/// describe them. Until they are removed the stack leaves them alone.
#[derive(Debug, Args)]
pub struct Release {
    #[command(flatten)]
    word: Word,
}

#[derive(Debug, Args)]
struct Word {
    stack: String,
    /// What it is about, as `lockstep status --objects` names it: oas/orders, policy/gold
    #[arg(required = true, value_name = "OBJECT")]
    objects: Vec<ObjectKey>,
    /// Why; it is kept in the history
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

impl Adopt {
    pub async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        self.word.run(invocation, Owning::Begins).await
    }
}

impl Release {
    pub async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        self.word.run(invocation, Owning::Ends).await
    }
}

enum Owning {
    Begins,
    Ends,
}

impl Word {
    async fn run(self, invocation: &Invocation, owning: Owning) -> anyhow::Result<Exit> {
        let Self {
            stack,
            mut objects,
            reason,
        } = self;
        objects.sort();
        objects.dedup();
        let reason = reason.trim().to_owned();
        anyhow::ensure!(!reason.is_empty(), "--reason must say why");
        let app = invocation.open().await?;
        let stack = find_stack(&app, &stack)?.clone();
        let holding = take_target(&app, &stack.target.name).await?;
        let wish = Wish {
            by: asker(&app),
            reason,
        };
        let done = async {
            start::commanded(&app, &asker(&app).actor).await?;
            recover(&app, &holding, &stack.target).await?;
            let report = match owning {
                Owning::Begins => ownership::adopt(&app, &holding, &stack, &objects, wish).await?,
                Owning::Ends => ownership::release(&app, &holding, &stack, &objects, wish).await?,
            };
            anyhow::Ok(report)
        }
        .await;
        holding.release().await?;
        let report = done?;
        if invocation.is_json() {
            output::json(&json!({
                "stack": stack.name,
                "run": report.run,
                "changes": report.changes,
            }))?;
            return Ok(Exit::Done);
        }
        let names: Vec<String> = objects.iter().map(ToString::to_string).collect();
        let names = names.join(", ");
        output::text(&match owning {
            Owning::Begins => format!(
                "{names}: owned by {0} now. A running server brings it in step, or `lockstep sync {0}`",
                stack.name
            ),
            Owning::Ends => format!(
                "{names}: left alone on {} from now on. Remove its manifest from {}, or take it back \
                 with lockstep adopt",
                stack.target.name, stack.name
            ),
        });
        Ok(Exit::Done)
    }
}
