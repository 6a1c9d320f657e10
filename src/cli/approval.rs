//! `lockstep approve` and `lockstep reject`, and what awaits approval as other commands show it.

use std::os::unix::fs::MetadataExt;

use anyhow::Context;
use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::{
    Exit, Invocation, environment, output,
    sync::{asker, operator},
};
use crate::{
    app::App,
    domain::{
        approval::{Approver, Choice, Decision, Standing, Verdict, Weight},
        audit::event::Asker,
        run::RunId,
        token::Scope,
    },
    sync::{
        approval::{self, Decided, Voice, Waiting},
        token::sign_in,
    },
};

/// Approve what a run held back: exactly that, and nothing that differs from it.
///
/// The decision is bound to what the run held back, not to its commit. With `LOCKSTEP_TOKEN` set to
/// a token of scope `approve` it is that person's; without, it is recorded as unauthenticated and
/// counts only where the stack allows it. Exit code 0: approved; 2: recorded, and more is needed;
/// 1: it could not be recorded.
#[derive(Debug, Args)]
pub struct Approve {
    /// The run's id, as `lockstep status` and `lockstep history` print it
    #[arg(value_name = "RUN")]
    run: String,
    /// Why; it is kept in the history
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Reject what a run held back: it stays as it is until Git changes, or whoever rejected it
/// approves.
///
/// With `LOCKSTEP_TOKEN` set to a token of scope `approve` it is that person's decision; without, it
/// is recorded as unauthenticated and counts only where the stack allows it. Exit code 0: rejected;
/// 2: recorded, and it does not count; 1: it could not be recorded.
#[derive(Debug, Args)]
pub struct Reject {
    /// The run's id, as `lockstep status` and `lockstep history` print it
    #[arg(value_name = "RUN")]
    run: String,
    /// Why; it is kept in the history
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

impl Approve {
    pub async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        decide(invocation, self.run, Choice::Approve, &self.reason).await
    }
}

impl Reject {
    pub async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        decide(invocation, self.run, Choice::Reject, &self.reason).await
    }
}

async fn decide(
    invocation: &Invocation,
    run: String,
    choice: Choice,
    reason: &str,
) -> anyhow::Result<Exit> {
    let app = invocation.open().await?;
    let voice = voice(&app).await?;
    let decided = approval::decide(&app, &RunId(run), choice, voice, reason).await?;
    let is_effective = match choice {
        Choice::Approve => decided.standing.verdict == Verdict::Approved,
        Choice::Reject => decided.weight == Weight::Counts,
    };
    if invocation.is_json() {
        output::json(&json!({
            "stack": decided.stack,
            "plan": decided.hash,
            "decision": choice,
            "counts": decided.weight == Weight::Counts,
            "standing": standing_json(&decided.standing),
        }))?;
    } else {
        output::text(&told(&decided, choice));
    }
    Ok(if is_effective {
        Exit::Done
    } else {
        Exit::Pending
    })
}

/// Whose decision it is: the holder's of the token in the environment, or else the user's.
async fn voice(app: &App) -> anyhow::Result<Voice> {
    let Some(token) = environment("LOCKSTEP_TOKEN").map(SecretString::from) else {
        return Ok(Voice {
            by: Approver::Local(user()),
            asker: asker(app),
            token: None,
        });
    };
    let caller = sign_in(app, token.expose_secret().trim(), &[Scope::Approve])
        .await
        .context("LOCKSTEP_TOKEN cannot be used")?;
    let asker = Asker {
        person: caller.asker("cli").person,
        ..asker(app)
    };
    Ok(Voice {
        by: Approver::Person(caller.person),
        asker,
        token: Some(caller.token),
    })
}

/// One user is one voice, whatever the environment calls them.
fn user() -> String {
    std::fs::metadata("/proc/self").map_or_else(
        |_| operator().to_string(),
        |process| format!("uid {}", process.uid()),
    )
}

fn told(decided: &Decided, choice: Choice) -> String {
    let Decided {
        stack,
        changes,
        weight,
        standing,
        expires_at,
        hash: _,
    } = decided;
    let mut text = match weight.why_not() {
        None => String::new(),
        Some(why_not) => format!("recorded, and it does not count: {why_not}"),
    };
    if *weight == Weight::Unauthenticated {
        text.push_str(
            ". Set LOCKSTEP_TOKEN to a token of scope approve (lockstep token create), or \
             allow_local_approval on the stack",
        );
    }
    if !text.is_empty() {
        text.push('\n');
    }
    match (&standing.verdict, choice) {
        (Verdict::Approved, _) => text.push_str(&format!(
            "approved until {}: {} of {stack}. A running server carries it out now; without one, \
             `lockstep sync {stack}` does",
            output::moment(*expires_at),
            count(*changes),
        )),
        (Verdict::Rejected { .. }, Choice::Reject) => text.push_str(&format!(
            "rejected, so that it stays as it is: {} of {stack}",
            count(*changes)
        )),
        (verdict, _) => text.push_str(&format!("{stack}: {}", verdict_text(verdict))),
    }
    text
}

/// What waits, for `status` and `show`.
pub fn to_text(waiting: &Waiting) -> String {
    let Waiting {
        parked,
        decisions,
        standing,
    } = waiting;
    let mut lines = vec![format!(
        "{} of {} wait for approval since {}: {}",
        count(parked.remainder.changes.len()),
        parked.stack,
        output::moment(parked.since),
        verdict_text(&standing.verdict)
    )];
    for change in &parked.remainder.changes {
        lines.push(format!("  {} {}", change.action, change.object));
    }
    lines.extend(decisions.iter().map(|(decision, weight)| {
        let why_not = weight.why_not();
        let why_not = why_not.map_or_else(String::new, |why| format!(" (does not count: {why})"));
        format!("  {}{why_not}", decision_text(decision))
    }));
    if !matches!(standing.verdict, Verdict::Approved) {
        lines.push(format!(
            "  lockstep approve {0} --reason …   or   lockstep reject {0}",
            parked.last_run
        ));
    }
    lines.join("\n")
}

pub fn decision_text(decision: &Decision) -> String {
    let Decision {
        by,
        choice,
        reason,
        at,
        expires_at,
    } = decision;
    let (word, until) = match choice {
        Choice::Approve => (
            "approved",
            format!(", until {}", output::moment(*expires_at)),
        ),
        Choice::Reject => ("rejected", String::new()),
    };
    let reason = if reason.is_empty() {
        String::new()
    } else {
        format!(": {reason}")
    };
    format!("{word} by {by} at {}{until}{reason}", output::moment(*at))
}

pub fn to_json(waiting: &Waiting) -> Value {
    let Waiting {
        parked,
        decisions,
        standing,
    } = waiting;
    let decisions: Vec<Value> = decisions
        .iter()
        .map(|(decision, weight)| {
            let mut value = decision_json(decision);
            value["counts"] = json!(*weight == Weight::Counts);
            value["why_not"] = json!(weight.why_not());
            value
        })
        .collect();
    json!({
        "node": parked.node,
        "plan": parked.hash,
        "run": parked.last_run,
        "parked_by": parked.run,
        "since": output::rfc3339(parked.since),
        "changes": parked.remainder.changes,
        "decisions": decisions,
        "standing": standing_json(standing),
        "approve": format!("lockstep approve {} --reason …", parked.last_run),
    })
}

pub fn decision_json(decision: &Decision) -> Value {
    let (person, user) = match &decision.by {
        Approver::Person(name) => (Some(name), None),
        Approver::Local(user) => (None, Some(user)),
    };
    let expires_at = (decision.choice == Choice::Approve).then_some(decision.expires_at);
    json!({
        "decision": decision.choice,
        "person": person,
        "user": user,
        "authenticated": person.is_some(),
        "reason": decision.reason,
        "at": output::rfc3339(decision.at),
        "expires_at": expires_at.map(output::rfc3339),
    })
}

fn standing_json(standing: &Standing) -> Value {
    match &standing.verdict {
        Verdict::Awaiting { given, needed } => {
            json!({"verdict": "awaiting", "given": given, "needed": needed})
        }
        Verdict::Approved => json!({"verdict": "approved"}),
        Verdict::Expired => json!({"verdict": "expired"}),
        Verdict::Rejected { by, reason } => {
            json!({"verdict": "rejected", "by": by, "reason": reason})
        }
    }
}

fn verdict_text(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Awaiting { given, needed } => format!(
            "{given} of {needed} approvals given, {} missing",
            needed.saturating_sub(*given)
        ),
        Verdict::Approved => "approved, and not carried out yet".to_owned(),
        Verdict::Expired => "it was approved, and that ran out".to_owned(),
        Verdict::Rejected { by, reason } if reason.is_empty() => format!("rejected by {by}"),
        Verdict::Rejected { by, reason } => format!("rejected by {by}: {reason}"),
    }
}

fn count(changes: usize) -> String {
    match changes {
        1 => "1 change".to_owned(),
        many => format!("{many} changes"),
    }
}
