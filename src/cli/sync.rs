//! `lockstep sync STACK`: a run now, in this process.

use std::{collections::BTreeMap, io::IsTerminal, os::unix::fs::MetadataExt, time::Instant};

use clap::Args;
use serde_json::{Value, json};

use super::{Exit, Invocation, find_stack, output, take_target};
use crate::{
    app::{App, Stack, new_trace},
    domain::{
        audit::event::{Actor, Asker, Person},
        run::{Outcome, RunStatus, Trigger},
    },
    sync::{
        hold,
        ownership::Wish,
        recover::recover,
        run::{self, Progress, Report},
        start, witness,
    },
};

/// Run a stack now, or all of them: read the head of the branch, and make the gateway serve it.
///
/// With --all a gateway that lost its disk is refilled in one go; targets are served side by side.
///
/// Exit code 0: in step; 2: in step but for what is held back; 1: it did not succeed.
#[derive(Debug, Args)]
pub struct Sync {
    #[arg(required_unless_present = "all")]
    stack: Option<String>,
    /// Every stack of the configuration
    #[arg(long, conflicts_with = "stack")]
    all: bool,
    /// Run inside a freeze window of the stack; the reason is kept in the history
    #[arg(long, value_name = "REASON")]
    override_freeze: Option<String>,
}

impl Sync {
    pub async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let app = invocation.open().await?;
        let wish = match &self.override_freeze {
            Some(reason) => Some(Wish {
                by: asker(&app),
                reason: hold::reason(reason)?,
            }),
            None => None,
        };
        witness::check(&app).await?;
        start::commanded(&app, &asker(&app).actor).await?;
        let Some(name) = &self.stack else {
            return run_all(invocation, &app, wish.as_ref()).await;
        };
        let stack = find_stack(&app, name)?.clone();
        let report = run_now(&app, &stack, wish.as_ref(), &progress).await?;
        finish(invocation, &stack.name, &report)
    }
}

/// Runs one stack under its target's lease.
async fn run_now(
    app: &App,
    stack: &Stack,
    wish: Option<&Wish>,
    progress: Progress<'_>,
) -> anyhow::Result<Report> {
    let holding = take_target(app, &stack.target.name).await?;
    let result = async {
        hold::permit(app, stack, wish).await?;
        recover(app, &holding, &stack.target).await?;
        app.store.want(&stack.id(), Trigger::Manual).await?;
        let state = app.store.stack_state(&stack.name).await?;
        let state = state.unwrap_or_else(|| stack.fresh_state());
        let operator = Some(asker(app));
        let report = run::run_stack(app, &holding, stack, &state, operator, progress).await?;
        anyhow::Ok(report)
    }
    .await;
    holding.release().await?;
    result
}

/// Every stack, those of one target after each other and the targets side by side. What goes wrong
/// with one does not stop the others.
async fn run_all(invocation: &Invocation, app: &App, wish: Option<&Wish>) -> anyhow::Result<Exit> {
    let started = Instant::now();
    let of_target = |target: &String| {
        let target = target.clone();
        async move {
            let mut results = Vec::new();
            let stacks = app.stacks.values();
            for stack in stacks.filter(|stack| stack.target.name == target) {
                let tell = |message: &str| progress(&format!("{}: {message}", stack.name));
                let result = Box::pin(run_now(app, stack, wish, &tell)).await;
                results.push((stack.name.clone(), result));
            }
            results
        }
    };
    let results = futures_util::future::join_all(app.targets.keys().map(of_target)).await;
    let results: BTreeMap<_, _> = results.into_iter().flatten().collect();
    let seconds = started.elapsed().as_secs_f64();
    let mut exit = Exit::Done;
    let mut shown = Vec::new();
    let mut applied = 0;
    for (name, result) in &results {
        exit = exit.worse(result.as_ref().map_or(Exit::Failed, exit_of));
        match result {
            Ok(report) => {
                let changes = report.changes.iter();
                applied += changes
                    .filter(|each| each.outcome == Outcome::Applied)
                    .count();
                shown.push(to_json(name, report));
                if !invocation.is_json() {
                    print(name, report);
                }
            }
            Err(error) => {
                let said = format!("error: {name}: {error:#}");
                eprintln!("{}", output::harmless(&said));
                shown.push(
                    json!({"stack": name, "status": "failed", "message": format!("{error:#}")}),
                );
            }
        }
    }
    if invocation.is_json() {
        output::json(&json!({"stacks": shown, "applied": applied, "seconds": seconds}))?;
    } else {
        output::text(&format!(
            "{} stacks, {applied} changes applied, {seconds:.1} s",
            results.len()
        ));
    }
    Ok(exit)
}

/// Tells people at a terminal what is going on.
pub fn progress(message: &str) {
    if std::io::stderr().is_terminal() {
        eprintln!("{}", output::harmless(message));
    }
}

/// Prints what a run came to.
pub fn finish(invocation: &Invocation, stack: &str, report: &Report) -> anyhow::Result<Exit> {
    if invocation.is_json() {
        output::json(&to_json(stack, report))?;
    } else {
        print(stack, report);
    }
    Ok(exit_of(report))
}

fn exit_of(report: &Report) -> Exit {
    match report.status {
        RunStatus::Succeeded => Exit::Done,
        RunStatus::Parked => Exit::Pending,
        RunStatus::Running | RunStatus::Refused | RunStatus::Failed | RunStatus::Interrupted => {
            Exit::Failed
        }
    }
}

/// Who runs the command, as the operating system says; on record, and no proof.
pub fn operator() -> Person {
    Person {
        login: std::env::var("USER")
            .or_else(|_| std::env::var("LOGNAME"))
            .ok()
            .or_else(|| {
                Some(format!(
                    "uid {}",
                    std::fs::metadata("/proc/self").ok()?.uid()
                ))
            }),
        ..Person::default()
    }
}

/// The same as one who asks for something here.
pub fn asker(app: &App) -> Asker {
    Asker {
        person: operator(),
        address: None,
        actor: Actor::new("cli", app.worker.clone()),
        trace: Some(new_trace()),
    }
}

fn to_json(stack: &str, report: &Report) -> Value {
    json!({
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
    })
}

fn print(stack: &str, report: &Report) {
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
}
