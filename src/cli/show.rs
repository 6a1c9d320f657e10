//! `lockstep show RUN`: one run, whole.

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};

use super::{Exit, Invocation, approval, output};
use crate::{
    app::App,
    domain::{
        approval::Decision,
        plan::Plan,
        run::{Outcome, RunId},
    },
    store::{self, RunDetail},
    sync::approval::{Waiting, waiting},
};

/// Show one run: why, by whom, what it changed and what came of it.
#[derive(Debug, Args)]
pub struct Show {
    /// The run's id, as `lockstep history` and `lockstep sync` print it
    #[arg(value_name = "RUN")]
    run: String,
}

impl Show {
    pub async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let app = invocation.open().await?;
        let detail = app
            .store
            .run(&RunId(self.run.clone()))
            .await?
            .with_context(|| {
                format!(
                    "there is no run {}; `lockstep history` lists them",
                    self.run
                )
            })?;
        let decided = decided(&app, &detail).await?;
        if invocation.is_json() {
            let mut value = to_json(&detail);
            let awaiting = decided.awaiting.iter().map(approval::to_json);
            value["awaiting_approval"] = awaiting.collect();
            let behind = decided.behind.iter().map(approval::decision_json);
            value["approved_by"] = behind.collect();
            output::json(&value)?;
        } else {
            let behind = decided.behind.iter().map(approval::decision_text);
            let awaiting = decided.awaiting.iter().map(approval::to_text);
            let mut text = to_text(&detail);
            for part in behind.chain(awaiting) {
                text.push_str(&format!("\n\n{part}"));
            }
            output::text(&text);
        }
        Ok(Exit::Done)
    }
}

/// What people decide, and decided, about a run.
struct Decided {
    /// What it held back, as far as that waits still.
    awaiting: Vec<Waiting>,
    /// What let it carry out what an earlier run had held back.
    behind: Vec<Decision>,
}

async fn decided(app: &App, detail: &RunDetail) -> store::Result<Decided> {
    let behind = app.store.decisions_behind(&detail.run.id).await?;
    let held = detail
        .plan
        .as_deref()
        .and_then(|plan| serde_json::from_str::<Plan>(plan).ok())
        .and_then(|plan| plan.remainder());
    let mut awaiting = Vec::new();
    if let (Some(held), Some(stack)) = (held, app.stack(&detail.run.stack)) {
        awaiting = waiting(app, stack, app.now()).await?;
        awaiting.retain(|waiting| waiting.parked.hash == held.hash());
    }
    Ok(Decided { awaiting, behind })
}

fn to_json(detail: &RunDetail) -> Value {
    let RunDetail {
        run,
        plan,
        changes,
        deliveries,
    } = detail;
    let plan: Option<Value> = plan
        .as_deref()
        .and_then(|plan| serde_json::from_str(plan).ok());
    let passed_over: Vec<_> = passed_over(detail);
    json!({
        "run": run.id,
        "stack": run.stack,
        "target": run.target,
        "trigger": run.trigger,
        "status": run.status,
        "revision": run.revision,
        "previous": run.previous,
        "attempt": run.attempt,
        "started_at": output::rfc3339(run.started_at),
        "finished_at": run.finished_at.map(output::rfc3339),
        "pusher": run.pusher,
        "commits": run.commits,
        "passed_over": passed_over,
        "deliveries": deliveries.iter().map(|delivery| json!({
            "id": delivery.id,
            "received_at": output::rfc3339(delivery.received_at),
            "ref": delivery.git_ref,
            "after": delivery.after,
        })).collect::<Vec<_>>(),
        "worker": run.worker,
        "version": run.version,
        "gateway_version": run.gateway_version,
        "message": run.message,
        "plan_hash": run.plan_hash,
        "plan": plan,
        "changes": changes,
    })
}

/// The commits that were pushed on the way to the one that the run brought live.
fn passed_over(detail: &RunDetail) -> Vec<&crate::store::CommitRef> {
    let head = detail
        .run
        .revision
        .as_ref()
        .map(super::super::domain::revision::Revision::as_str);
    detail
        .run
        .commits
        .iter()
        .filter(|commit| Some(commit.id.as_str()) != head)
        .collect()
}

fn to_text(detail: &RunDetail) -> String {
    let RunDetail {
        run,
        plan: _,
        changes,
        deliveries,
    } = detail;
    let mut lines = vec![
        format!("run       {}", run.id),
        format!("stack     {} → {}", run.stack, run.target),
        format!("status    {}", run.status),
        format!("trigger   {}", run.trigger),
    ];
    let revision = run
        .revision
        .as_ref()
        .map_or("-", |revision| revision.as_str());
    let previous = run
        .previous
        .as_ref()
        .map_or("-", |previous| previous.short());
    lines.push(format!("revision  {revision} (before: {previous})"));
    if let Some(pusher) = &run.pusher {
        lines.push(format!("pusher    {pusher}"));
    }
    let ended = run
        .finished_at
        .map_or_else(|| "not yet".to_owned(), output::moment);
    lines.push(format!(
        "time      {} to {ended}",
        output::moment(run.started_at)
    ));
    lines.push(format!(
        "versions  Lockstep {}, gateway {}",
        run.version,
        run.gateway_version.as_deref().unwrap_or("-")
    ));
    for delivery in deliveries {
        lines.push(format!(
            "delivery  {} received {}",
            delivery.id,
            output::moment(delivery.received_at)
        ));
    }
    for commit in passed_over(detail) {
        let id: String = commit.id.chars().take(8).collect();
        lines.push(format!("passed    {id} {}", commit.message));
    }
    if let Some(message) = &run.message {
        lines.push(String::new());
        lines.push(message.clone());
    }
    if !changes.is_empty() {
        lines.push(String::new());
    }
    for change in changes {
        lines.push(format!(
            "{:8}  {} {} ({})",
            change.outcome, change.action, change.object, change.reason
        ));
        for field in &change.fields {
            lines.push(format!("            {field}"));
        }
        if let Some(message) = change
            .message
            .as_ref()
            .filter(|_| change.outcome != Outcome::Held)
        {
            lines.push(format!("          {message}"));
        }
    }
    lines.join("\n")
}
