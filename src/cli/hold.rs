//! `lockstep hold`, `lockstep release-hold` and `lockstep rollback`: keeping a stack as it is, or as
//! it was.

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};

use super::{
    Exit, Invocation, find_stack, output,
    sync::{asker, finish, progress},
    take_target,
};
use crate::{
    app::App,
    store,
    sync::{hold, ownership::Wish, recover::recover, start, witness},
};

/// Keep a stack as it is: what is pushed waits until the hold ends.
///
/// Pushes are taken in and queue up; the first run after the hold carries them all and names them.
/// What was changed by hand is told and not put back. A stack that is held gets the new end and the
/// new reason.
#[derive(Debug, Args)]
pub struct Hold {
    stack: String,
    /// When it ends by itself: a duration (90m, 36h, 7d), a date and time of the stack's time zone
    /// (2026-11-23T18:00) or a moment (2026-11-23T18:00:00Z); without it, when it is released
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// Why; it is kept in the history
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// End a stack's hold: what waited goes live, and after a rollback the head of the branch.
#[derive(Debug, Args)]
pub struct ReleaseHold {
    stack: String,
    /// Why; it is kept in the history
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Bring a stack back to an earlier revision now, and hold it there until `lockstep release-hold`.
///
/// The checks of manifests and the deletion budget apply as to every run; a freeze window does not,
/// the reason overrides it. Exit code 0: in step with that revision; 2: in step but for what is
/// held back; 1: it did not succeed.
#[derive(Debug, Args)]
pub struct Rollback {
    stack: String,
    /// The first digits of a revision that a run of the stack was at, or the full id of any commit
    #[arg(long, value_name = "REVISION")]
    to: String,
    /// Why; it is kept in the history
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

impl Hold {
    pub async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let app = invocation.open().await?;
        let stack = find_stack(&app, &self.stack)?.clone();
        let until = self
            .until
            .map(|until| stack.freeze.parse_until(&until, app.now()))
            .transpose()
            .context("--until")?;
        let wish = wish(&app, &self.reason)?;
        let hold = hold::hold(&app, &stack, until, wish).await?;
        if let Some(holder) = app.store.holder(&stack.target.name).await? {
            eprintln!(
                "{} is being worked on by {}: a run that has begun ends first",
                stack.target.name, holder.owner
            );
        }
        if invocation.is_json() {
            output::json(&json!({"stack": stack.name, "hold": to_json(&hold)}))?;
        } else {
            output::text(&format!(
                "{}\nend it: lockstep release-hold {}",
                hold::held(&stack, &hold),
                stack.name
            ));
        }
        Ok(Exit::Done)
    }
}

impl ReleaseHold {
    pub async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let app = invocation.open().await?;
        let stack = find_stack(&app, &self.stack)?.clone();
        let reason = self.reason.as_deref().map(hold::reason).transpose()?;
        let ended = hold::release(&app, &stack, reason.as_deref(), &asker(&app)).await?;
        let frozen_until = stack.freeze.frozen_until(app.now());
        if invocation.is_json() {
            output::json(&json!({
                "stack": stack.name,
                "waited": ended.waited,
                "frozen_until": frozen_until.map(output::rfc3339),
            }))?;
            return Ok(Exit::Done);
        }
        let mut text = format!("{} is not held any more", stack.name);
        if ended.waited.is_empty() && ended.hold.rollback.is_none() {
            text.push_str("; nothing waited");
        } else {
            match ended.waited.len() {
                0 => text.push_str("; the head of its branch is next"),
                1 => text.push_str("; a push waited:"),
                many => text.push_str(&format!("; {many} pushes waited:")),
            }
            for delivery in &ended.waited {
                text.push_str(&format!("\n    {delivery}"));
            }
            text.push_str(&match frozen_until {
                Some(until) => format!("\n{}", hold::frozen(&stack, until)),
                None => format!(
                    "\na running server brings it in step, or lockstep sync {}",
                    stack.name
                ),
            });
        }
        output::text(&text);
        Ok(Exit::Done)
    }
}

impl Rollback {
    pub async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let app = invocation.open().await?;
        let stack = find_stack(&app, &self.stack)?.clone();
        let wish = wish(&app, &self.reason)?;
        let revision = hold::find_revision(&app, &stack, &self.to).await?;
        let holding = take_target(&app, &stack.target.name).await?;
        let result = async {
            witness::check(&app).await?;
            start::commanded(&app, &asker(&app).actor).await?;
            recover(&app, &holding, &stack.target).await?;
            let report =
                hold::roll_back(&app, &holding, &stack, &revision, wish, &progress).await?;
            anyhow::Ok(report)
        }
        .await;
        holding.release().await?;
        tell_that_it_is_held(&app, &stack.name).await?;
        finish(invocation, &stack.name, &result?)
    }
}

async fn tell_that_it_is_held(app: &App, stack: &str) -> anyhow::Result<()> {
    let state = app.store.stack_state(stack).await?;
    let rollback = state
        .and_then(|state| state.hold)
        .and_then(|hold| hold.rollback);
    if let Some(rollback) = rollback {
        eprintln!(
            "{stack} is held at {} until `lockstep release-hold {stack}`",
            rollback.revision.short()
        );
    }
    Ok(())
}

fn wish(app: &App, reason: &str) -> anyhow::Result<Wish> {
    Ok(Wish {
        by: asker(app),
        reason: hold::reason(reason).context("--reason")?,
    })
}

/// A hold for programs.
pub fn to_json(hold: &store::Hold) -> Value {
    let store::Hold {
        since,
        until,
        reason,
        by,
        rollback,
    } = hold;
    json!({
        "since": output::rfc3339(*since),
        "until": until.map(output::rfc3339),
        "reason": reason,
        "by": by.as_ref().map(ToString::to_string),
        "revision": rollback.as_ref().map(|rollback| &rollback.revision),
    })
}
