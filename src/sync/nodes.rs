//! The nodes of a target, one after another: which of them a run goes to, when it stops, and what
//! all of them together mean for the stack.
//!
//! The first node that can be reached is the canary: if the run ends repaired or failed there, the
//! others are not touched. A node that cannot be reached lags behind: the others get their due,
//! and the stack is tried again until it is caught up.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    app::Target,
    domain::{revision::Revision, run::RunStatus},
    store::{NodeState, Settle},
};

/// What became of the nodes that a run has been to so far.
#[derive(Debug, Default)]
pub(super) struct Course {
    /// The node at hand is the last one.
    pub(super) is_last: bool,
    /// Whether the target has several nodes at all.
    pub(super) is_shared: bool,
    reached: usize,
    parked: bool,
    lagging: Vec<String>,
    failed: Vec<String>,
}

/// Of what concerns no node, or all of them.
pub(super) static ALONE: Course = Course {
    is_last: true,
    is_shared: false,
    reached: 0,
    parked: false,
    lagging: Vec::new(),
    failed: Vec::new(),
};

/// How one node's run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) status: RunStatus,
    /// Nothing was written, because the node could not be asked.
    pub(super) is_unreachable: bool,
}

impl Ended {
    /// On a node that could be asked.
    pub(super) fn reached(status: RunStatus) -> Self {
        Self {
            status,
            is_unreachable: false,
        }
    }
}

/// What the end of one node's run means for the stack.
#[derive(Debug)]
pub(super) struct Meaning {
    pub(super) settle: Settle,
    pub(super) problem: Option<String>,
    pub(super) stands: Option<RunStatus>,
}

impl Course {
    pub(super) fn over(nodes: usize) -> Self {
        Self {
            is_shared: nodes > 1,
            ..Self::default()
        }
    }

    /// Whether the nodes after this one are left alone.
    pub(super) fn stops(&self, ended: Ended) -> bool {
        let is_good = matches!(ended.status, RunStatus::Succeeded | RunStatus::Parked);
        self.reached == 0 && !is_good && !ended.is_unreachable
    }

    pub(super) fn add(&mut self, address: &str, ended: Ended, message: Option<&str>) {
        let said = || format!("{address}: {}", message.unwrap_or("no reason was given"));
        match ended.status {
            _ if ended.is_unreachable => {
                self.lagging.push(said());
                return;
            }
            RunStatus::Succeeded => {}
            RunStatus::Parked => self.parked = true,
            RunStatus::Running
            | RunStatus::Refused
            | RunStatus::Failed
            | RunStatus::Interrupted => self.failed.push(said()),
        }
        self.reached += 1;
    }

    /// What this end means: nothing yet while nodes follow, and all of them together at the last.
    pub(super) fn meaning(
        &self,
        ended: Ended,
        settle: Settle,
        problem: Option<String>,
        again: Settle,
    ) -> Meaning {
        if !self.is_last && !self.stops(ended) {
            return Meaning {
                settle: Settle::Keep,
                problem: None,
                stands: None,
            };
        }
        if self.lagging.is_empty() && self.failed.is_empty() {
            let parked_before = self.parked && ended.status == RunStatus::Succeeded;
            return Meaning {
                settle,
                problem,
                stands: parked_before.then_some(RunStatus::Parked),
            };
        }
        let told = problem.into_iter().filter(|problem| !problem.is_empty());
        let problems: Vec<String> = self
            .lagging
            .iter()
            .chain(&self.failed)
            .cloned()
            .chain(told)
            .collect();
        let settle = match settle {
            _ if !self.lagging.is_empty() => again,
            // Not every node is there, so the target is not.
            Settle::Done { claimed, .. } => Settle::Done {
                claimed,
                settled: None,
            },
            other => other,
        };
        Meaning {
            settle,
            problem: Some(problems.join("\n")),
            stands: Some(RunStatus::Failed),
        }
    }
}

/// The nodes that a run has something to do on. Another try goes only to those that are not at the
/// revision yet.
pub(super) fn to_visit(
    target: &Arc<Target>,
    states: &BTreeMap<String, NodeState>,
    head: &Revision,
    is_retry: bool,
) -> Vec<Arc<Target>> {
    let is_there = |node: &Target| {
        states
            .get(&node.node)
            .is_some_and(|state| state.settled.as_ref() == Some(head) && state.problem.is_none())
    };
    let behind: Vec<Arc<Target>> = target
        .nodes()
        .filter(|node| !(is_retry && is_there(node)))
        .collect();
    if behind.is_empty() {
        target.nodes().collect()
    } else {
        behind
    }
}
