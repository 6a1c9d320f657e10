//! `lockstep trace PATH|OBJECT|COMMIT`: from a file to what is live, and back.

use clap::Args;
use serde_json::{Value, json};

use super::{Exit, Invocation, output};
use crate::{
    domain::object::ObjectKey,
    http::api::view::{ApprovalView, ChangeView, DeliveryView, ObjectView, PersonView, RunView},
    store::{ChangeEntry, ObjectEntry},
    sync::history::{self, CommitTrace, ObjectTrace},
};

/// Show the way from a file to what is live, and back: commit, delivery, run, change, outcome.
///
/// What is live is what the inventory says, as it was read back last; no target is asked. A file
/// is found while the inventory knows it: of an object that is gone, name the object.
#[derive(Debug, Args)]
pub struct Trace {
    /// A file of the repository, an object as KIND/ID, or a commit by its first digits, 7 at least
    #[arg(value_name = "PATH|OBJECT|COMMIT")]
    what: String,
}

impl Trace {
    pub async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let app = invocation.open().await?;
        let store = &app.store;
        let mut objects = Vec::new();
        if let Ok(object) = self.what.parse::<ObjectKey>() {
            objects = history::trace_object(store, &object).await?;
        }
        if objects.is_empty() {
            objects = history::trace_path(store, &self.what).await?;
        }
        if objects.is_empty() && history::is_commit(&self.what) {
            let commit = history::commit(store, &self.what).await?;
            let trace = history::trace_commit(store, commit).await?;
            if trace.deliveries.is_empty() && trace.runs.is_empty() {
                anyhow::bail!(
                    "no delivery announced the commit {}, and no run was at it",
                    trace.commit
                );
            }
            if invocation.is_json() {
                output::json(&commit_json(&trace))?;
            } else {
                output::text(&commit_text(&trace));
            }
            return Ok(Exit::Done);
        }
        if objects.is_empty() {
            anyhow::bail!(
                "{} is no file that the inventory knows, no object on record, and no commit\n\
                 hint: a file is named from the repository's root, an object as KIND/ID (such as \
                 oas/orders), a commit by 7 digits or more",
                self.what
            );
        }
        if invocation.is_json() {
            let objects: Vec<Value> = objects.iter().map(object_json).collect();
            output::json(&json!({"objects": objects}))?;
        } else {
            let texts: Vec<String> = objects.iter().map(object_text).collect();
            output::text(&texts.join("\n\n"));
        }
        Ok(Exit::Done)
    }
}

/// What the inventory says of an object that a change left.
fn standing(entry: &ChangeEntry, live: &[ObjectEntry]) -> String {
    match live.first() {
        None => "no stack owns it now".to_owned(),
        Some(now) if now.owned.run == entry.run && now.owned.observed.is_some() => {
            "live now, as this run left it".to_owned()
        }
        Some(now) if now.owned.observed.is_none() => {
            "unknown now: its last write is not resolved".to_owned()
        }
        Some(now) => format!("changed since, by the run {}", now.owned.run),
    }
}

fn object_json(trace: &ObjectTrace) -> Value {
    let ObjectTrace {
        target,
        object,
        live,
        last,
        run,
        deliveries,
        behind,
    } = trace;
    let live_views: Vec<ObjectView> = live.iter().map(ObjectView::of).collect();
    let deliveries: Vec<DeliveryView> = deliveries.iter().map(DeliveryView::of).collect();
    let approvals: Vec<ApprovalView> = behind.approvals.iter().map(ApprovalView::of).collect();
    json!({
        "target": target,
        "object": object,
        "live": live_views,
        "standing": last.as_ref().map(|last| standing(last, live)),
        "last_change": last.as_ref().map(ChangeView::of),
        "run": run.as_ref().map(RunView::of),
        "deliveries": deliveries,
        "author": behind.author.as_ref().map(PersonView::of),
        "pusher": behind.pusher.as_ref().map(PersonView::of),
        "approvals": approvals,
    })
}

fn object_text(trace: &ObjectTrace) -> String {
    let mut lines = vec![format!("object    {} on {}", trace.object, trace.target)];
    for live in &trace.live {
        let owned = &live.owned;
        let node = if live.node.is_empty() {
            String::new()
        } else {
            format!(" on {}", live.node)
        };
        lines.push(format!(
            "owned     by {} since {}{node}",
            owned.stack,
            output::moment(owned.since)
        ));
        lines.push(format!(
            "file      {}",
            owned.path.as_deref().unwrap_or("not on record")
        ));
        lines.push(match owned.observed {
            Some(observed) => format!(
                "live      {observed}, observed {}",
                output::moment(owned.observed_at)
            ),
            None => "live      unknown: its last write is not resolved".to_owned(),
        });
    }
    if trace.live.is_empty() {
        lines.push("owned     by no stack".to_owned());
    }
    if let Some(last) = &trace.last {
        lines.push(format!(
            "change    {} {}, {}: {}",
            last.change.action,
            last.change.outcome,
            output::moment(last.finished_at.unwrap_or(last.at)),
            standing(last, &trace.live)
        ));
        lines.push(format!(
            "run       {} ({}, {})",
            last.run, last.trigger, last.status
        ));
        let commit = last
            .revision
            .as_ref()
            .map_or("-", |revision| revision.as_str());
        lines.push(format!("commit    {commit}"));
    }
    for delivery in &trace.deliveries {
        lines.push(format!(
            "delivery  {} received {}",
            delivery.id,
            output::moment(delivery.received_at)
        ));
    }
    for (part, person) in [
        ("author", &trace.behind.author),
        ("pusher", &trace.behind.pusher),
        ("operator", &trace.behind.operator),
    ] {
        lines.extend(person.as_ref().map(|person| format!("{part:8}  {person}")));
    }
    for approval in &trace.behind.approvals {
        lines.push(format!("approval  {} by {}", approval.choice, approval.by));
    }
    lines.join("\n")
}

fn commit_json(trace: &CommitTrace) -> Value {
    let CommitTrace {
        commit,
        deliveries,
        runs,
        passed_over_by,
        changes,
    } = trace;
    let deliveries: Vec<DeliveryView> = deliveries.iter().map(DeliveryView::of).collect();
    let runs: Vec<RunView> = runs.iter().map(RunView::of).collect();
    let passed_over_by: Vec<RunView> = passed_over_by.iter().map(RunView::of).collect();
    let changes: Vec<Value> = changes
        .iter()
        .map(|(entry, live)| {
            let mut change = json!(ChangeView::of(entry));
            change["standing"] = json!(standing(entry, live));
            change["path"] = json!(live.first().and_then(|live| live.owned.path.clone()));
            change
        })
        .collect();
    json!({
        "commit": commit,
        "deliveries": deliveries,
        "runs": runs,
        "passed_over_by": passed_over_by,
        "changes": changes,
    })
}

fn commit_text(trace: &CommitTrace) -> String {
    let mut lines = vec![format!("commit    {}", trace.commit)];
    for delivery in &trace.deliveries {
        let pusher = delivery.pusher.as_ref();
        let pusher = pusher.map_or_else(String::new, |pusher| format!(", pushed by {pusher}"));
        lines.push(format!(
            "delivery  {} received {}{pusher}",
            delivery.id,
            output::moment(delivery.received_at)
        ));
    }
    for run in &trace.runs {
        lines.push(format!(
            "run       {} of {} → {}: {}, {} changes",
            run.id, run.stack, run.target, run.status, run.changes
        ));
    }
    for run in &trace.passed_over_by {
        lines.push(format!(
            "passed    over by the run {} of {} at {}",
            run.id,
            run.stack,
            run.revision
                .as_ref()
                .map_or("no commit", |revision| revision.short())
        ));
    }
    for (entry, live) in &trace.changes {
        let path = live.first().and_then(|live| live.owned.path.as_deref());
        let path = path.map_or_else(String::new, |path| format!(" from {path}"));
        lines.push(format!(
            "change    {} {}{path} on {}: {}; {}",
            entry.change.action,
            entry.change.object,
            entry.target,
            entry.change.outcome,
            standing(entry, live)
        ));
    }
    lines.join("\n")
}
