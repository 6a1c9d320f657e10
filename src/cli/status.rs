//! `lockstep status`: how every stack stands.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::{Value, json};

use super::{Exit, Invocation, approval, hold, objects, output};
use crate::{
    app::App,
    store::{Holder, NodeState, StackState},
    sync::{
        self,
        approval::{Waiting, waiting},
        checkpoint::{self, Proof},
        report::{self, Standing},
    },
};

/// Show how every stack stands: its revision, its last run, what waits and for what, what drifted.
#[derive(Debug, Args)]
pub struct Status {
    /// List what is on every target and whose it is: owned, foreign, or claimed by another stack
    #[arg(long)]
    objects: bool,
}

impl Status {
    pub async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let app = invocation.open().await?;
        if self.objects {
            return objects::run(&app, invocation).await;
        }
        let owned = app.store.owned_objects().await?;
        let mut states = app.store.stack_states().await?;
        for stack in app.stacks.values() {
            if !states.iter().any(|state| state.stack == stack.name) {
                states.push(stack.fresh_state());
            }
        }
        states.retain(|state| app.stacks.contains_key(&state.stack));
        for state in &mut states {
            // One that ran out holds nothing; a worker puts its end on record.
            state.hold.take_if(|hold| hold.is_over(app.now()));
        }
        states.sort_by(|left, right| left.stack.cmp(&right.stack));
        let mut holders = app.store.leases().await?;
        holders.retain(|holder| app.targets.contains_key(&holder.target));
        let sinks = standings(&app).await?;
        let proof = checkpoint::proof(&app).await?;
        let nodes = nodes(&app).await?;
        let mut awaiting: BTreeMap<&str, Vec<Waiting>> = BTreeMap::new();
        for (name, stack) in app.stacks.iter() {
            awaiting.insert(name, waiting(&app, stack, app.now()).await?);
        }
        let doubtful = doubtful(&app).await?;
        if invocation.is_json() {
            let stacks: Vec<_> = states
                .iter()
                .map(|state| {
                    let mut shown = stack_json(&app, state);
                    let awaiting = awaiting.get(state.stack.as_str()).into_iter().flatten();
                    let nodes = nodes.iter().filter(|node| node.stack == state.stack);
                    shown["objects"] = json!(owned.get(&state.stack).copied().unwrap_or(0));
                    shown["nodes"] = nodes.map(Node::json).collect();
                    shown["awaiting_approval"] = awaiting.map(approval::to_json).collect();
                    shown
                })
                .collect();
            let leases: Vec<_> = holders.iter().map(lease_json).collect();
            let sinks: Vec<_> = sinks.iter().map(sink_json).collect();
            output::json(&json!({
                "stacks": stacks, "leases": leases, "sinks": sinks, "to_recover": doubtful,
                "history": proof_json(&proof),
            }))?;
            return Ok(Exit::Done);
        }
        let rows = states
            .iter()
            .map(|state| {
                vec![
                    state.stack.clone(),
                    state.target.clone(),
                    standing(&app, state),
                    state
                        .settled
                        .as_ref()
                        .map_or("-", |revision| revision.short())
                        .to_owned(),
                    state
                        .settled_at
                        .map_or_else(|| "-".to_owned(), output::moment),
                    owned.get(&state.stack).copied().unwrap_or(0).to_string(),
                    state.drifted.to_string(),
                ]
            })
            .collect();
        output::table(
            &[
                "STACK", "TARGET", "STANDING", "REVISION", "SINCE", "OBJECTS", "DRIFTED",
            ],
            rows,
        );
        remarks(&app, &states);
        for target in &doubtful {
            output::text(&format!(
                "\n{target}: the database knows less than what it told before, as one does that was \
                 restored from a backup; deletions wait until `lockstep recover {target} --reason …`"
            ));
        }
        tell_troubles(&proof, &sinks);
        for node in &nodes {
            output::text(&node.text());
        }
        for waiting in awaiting.values().flatten() {
            output::text(&format!("\n{}", approval::to_text(waiting)));
        }
        for holder in holders {
            eprintln!("{} is being worked on by {}", holder.target, holder.owner);
        }
        Ok(Exit::Done)
    }
}

/// Everybody who is told of news, and everybody who is sent checkpoints.
async fn standings(app: &App) -> anyhow::Result<Vec<Standing>> {
    let mut standings = report::standings(app).await?;
    standings.extend(checkpoint::standings(app).await?);
    Ok(standings)
}

fn tell_troubles(proof: &Proof, sinks: &[Standing]) {
    for sentence in proof_text(proof) {
        output::text(&format!("\n{sentence}"));
    }
    for standing in sinks {
        if let Some(problem) = &standing.problem {
            output::text(&format!("\n{}: {problem}", standing.sink));
        }
    }
}

/// What a person should know of each stack, in sentences.
fn remarks(app: &App, states: &[StackState]) {
    for state in states {
        let Some(stack) = app.stack(&state.stack) else {
            continue;
        };
        if let Some(hold) = &state.hold {
            output::text(&format!("\n{}", sync::hold::held(stack, hold)));
        }
        if let Some(until) = frozen_until(app, state) {
            output::text(&format!("\n{}", sync::hold::frozen(stack, until)));
        }
        if let Some(problem) = state.problem.as_ref().filter(|problem| !problem.is_empty()) {
            output::text(&format!("\n{}: {problem}", state.stack));
        }
    }
}

fn frozen_until(app: &App, state: &StackState) -> Option<i64> {
    app.stack(&state.stack)?.freeze.frozen_until(app.now())
}

/// The targets of which the database may say less than is true.
async fn doubtful(app: &App) -> anyhow::Result<Vec<String>> {
    let mut doubtful = Vec::new();
    for target in app.targets.keys() {
        if app.store.is_doubtful(target).await? {
            doubtful.push(target.clone());
        }
    }
    Ok(doubtful)
}

fn stack_json(app: &App, state: &StackState) -> Value {
    json!({
        "stack": state.stack,
        "target": state.target,
        "standing": standing(app, state),
        "settled": state.settled,
        "settled_at": state.settled_at.map(output::rfc3339),
        "last_run": state.last_run,
        "last_status": state.last_status,
        "last_revision": state.last_revision,
        "last_success_at": state.last_success_at.map(output::rfc3339),
        "waiting": state.is_pending(),
        "attempt": state.attempt,
        "drifted": state.drifted,
        "problem": state.problem,
        "hold": state.hold.as_ref().map(hold::to_json),
        "frozen_until": frozen_until(app, state).map(output::rfc3339),
    })
}

fn lease_json(holder: &Holder) -> Value {
    json!({
        "target": holder.target,
        "worker": holder.owner,
        "seconds": holder.age.as_secs(),
    })
}

fn proof_json(proof: &Proof) -> Value {
    let Proof { head, last, check } = proof;
    json!({
        "events": head.size,
        "signed": last.as_ref().map_or(0, |last| last.size),
        "signed_at": last.as_ref().map(|last| output::rfc3339(last.at)),
        "unsigned_because": check.unsigned,
        "sound_at": check.sound_at.map(output::rfc3339),
        "sound_events": check.sound_size,
        "problem": check.flaw,
        "problem_since": check.flaw_at.map(output::rfc3339),
    })
}

/// What is wrong with the history's proof, in sentences.
fn proof_text(proof: &Proof) -> Vec<String> {
    let mut sentences = Vec::new();
    if let (Some(flaw), Some(at)) = (&proof.check.flaw, proof.check.flaw_at) {
        sentences.push(format!(
            "the history was tampered with, found on {}: {flaw}",
            output::moment(at)
        ));
    }
    if let Some(why) = &proof.check.unsigned {
        sentences.push(format!("no checkpoint of the history is signed: {why}"));
    }
    sentences
}

fn sink_json(standing: &Standing) -> serde_json::Value {
    let Standing {
        sink,
        problem,
        failing_since,
        untold_since,
        again_at,
        told_at,
    } = standing;
    json!({
        "sink": sink,
        "problem": problem,
        "failing_since": failing_since.map(output::rfc3339),
        "untold_since": untold_since.map(output::rfc3339),
        "again_at": again_at.map(output::rfc3339),
        "told_at": told_at.map(output::rfc3339),
    })
}

/// One node of a target of several, for one stack.
struct Node {
    stack: String,
    address: String,
    state: Option<NodeState>,
}

/// Every node of the targets of several, in their order.
async fn nodes(app: &App) -> anyhow::Result<Vec<Node>> {
    let mut states: BTreeMap<(String, String), NodeState> = app
        .store
        .node_states()
        .await?
        .into_iter()
        .map(|state| ((state.stack.clone(), state.node.clone()), state))
        .collect();
    let several = app
        .stacks
        .values()
        .filter(|stack| !stack.target.peers.is_empty());
    Ok(several
        .flat_map(|stack| {
            let nodes: Vec<_> = stack.target.nodes().collect();
            nodes.into_iter().map(|node| (stack.name.clone(), node))
        })
        .map(|(stack, node)| Node {
            state: states.remove(&(stack.clone(), node.node.clone())),
            stack,
            address: node.address.clone(),
        })
        .collect())
}

impl Node {
    fn json(&self) -> Value {
        let state = self.state.as_ref();
        json!({
            "node": self.address,
            "settled": state.and_then(|state| state.settled.clone()),
            "settled_at": state.and_then(|state| state.settled_at).map(output::rfc3339),
            "lag_since": state.and_then(|state| state.lag_since).map(output::rfc3339),
            "problem": state.and_then(|state| state.problem.clone()),
        })
    }

    fn text(&self) -> String {
        let Self {
            stack,
            address,
            state,
        } = self;
        let Some(state) = state else {
            return format!("{stack} on {address}: has had no run yet");
        };
        let revision = state
            .settled
            .as_ref()
            .map_or("no revision yet", |revision| revision.short());
        match (&state.problem, state.lag_since) {
            (Some(problem), Some(since)) => format!(
                "{stack} on {address}: at {revision}, behind since {}: {problem}",
                output::moment(since)
            ),
            _ => format!("{stack} on {address}: at {revision}"),
        }
    }
}

fn standing(app: &App, state: &StackState) -> String {
    let last = state
        .last_status
        .map_or_else(|| "no run yet".to_owned(), |status| status.to_string());
    let mut words = Vec::new();
    words.extend(state.hold.as_ref().map(|_| "held"));
    words.extend(frozen_until(app, state).map(|_| "frozen"));
    words.extend(state.is_pending().then_some("waiting"));
    if words.is_empty() {
        last
    } else {
        format!("{} ({last})", words.join(", "))
    }
}
