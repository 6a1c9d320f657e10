//! Approvals: what waits for one, how it stands, and taking a decision. A decision names a run and
//! binds to the hash of what that run held back; it lets go exactly this, whichever run comes next.
//!
//! Nothing is carried out here: an approval asks for a run, and that run plans anew.

use serde_json::json;

use super::{look::Look, run::Context};
use crate::{
    app::{App, Stack},
    domain::{
        approval::{
            Approver, Choice, Decision, Difference, Electorate, Remainder, Standing, Verdict,
            Weight,
        },
        audit::event::{Asker, EventType, NewEvent, Person},
        canonical::Digest,
        plan::Plan,
        run::{ChangeRecord, Outcome, RunId},
    },
    store::{self, NewDecision, Parked, Parking, Parkings, RunFilter},
};

/// What waits on one node, and how it stands.
#[derive(Debug, Clone)]
pub struct Waiting {
    pub parked: Parked,
    /// Oldest first, each with its weight.
    pub decisions: Vec<(Decision, Weight)>,
    pub standing: Standing,
}

/// What waits for an approval on the nodes of a stack's target.
pub async fn waiting(app: &App, stack: &Stack, now: i64) -> store::Result<Vec<Waiting>> {
    let mut waiting = Vec::new();
    for parked in app.store.parked(&stack.name).await? {
        let decisions = app.store.decisions(&stack.name, parked.hash).await?;
        let electorate = electorate(app, stack, &parked.people);
        let standing = electorate.judge(parked.hash, &decisions, now);
        let weights = electorate.weights(&decisions, now);
        waiting.push(Waiting {
            decisions: decisions.into_iter().zip(weights).collect(),
            parked,
            standing,
        });
    }
    Ok(waiting)
}

fn electorate<'a>(app: &'a App, stack: &Stack, involved: &'a [Person]) -> Electorate<'a> {
    Electorate {
        needed: stack.min_approvers,
        local_counts: stack.allow_local_approval,
        people: &app.people,
        involved,
    }
}

/// Who decides, and how that is known.
#[derive(Debug, Clone)]
pub struct Voice {
    pub by: Approver,
    /// For the history, and where they said it.
    pub asker: Asker,
    /// The id of the token that proved who they are.
    pub token: Option<String>,
}

/// A decision that is on record.
#[derive(Debug, Clone)]
pub struct Decided {
    pub stack: String,
    /// What was decided on.
    pub hash: Digest,
    pub changes: usize,
    /// Whether the decision counts.
    pub weight: Weight,
    pub standing: Standing,
    /// When an approval runs out.
    pub expires_at: i64,
}

#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    #[error("a reason is one line of 1 to {LONGEST_REASON} characters")]
    Reason,
    #[error("there is no run {0}; `lockstep history` lists them")]
    NoRun(RunId),
    #[error("the run {0} held nothing back that waits for an approval")]
    NothingHeld(RunId),
    #[error("the stack {0} is not in the configuration")]
    NoStack(String),
    #[error(
        "what the run {run} held back waits no more: it was carried out, or has left the plan{}",
        .newest.as_ref().map(|newest| format!(" (lockstep show {newest})")).unwrap_or_default()
    )]
    WaitsNoMore { run: RunId, newest: Option<RunId> },
    #[error(
        "another plan waits now than what the run {run} held back ({difference}): look at it with \
         `lockstep show {newest}`, and decide on {newest}"
    )]
    Differs {
        run: RunId,
        newest: RunId,
        difference: Difference,
    },
    #[error(
        "{0} pushed or wrote a part of what waits, or of what was pushed since; somebody else has \
         to approve it"
    )]
    Involved(String),
    #[error("the configuration has no person {0}")]
    Unknown(String),
    #[error(transparent)]
    Store(#[from] store::Error),
}

const LONGEST_REASON: usize = 1_000;

/// Records a decision on what a run held back. An approval that counts asks for a run of the stack.
pub async fn decide(
    app: &App,
    run: &RunId,
    choice: Choice,
    voice: Voice,
    reason: &str,
) -> Result<Decided, DecideError> {
    let reason = reason.trim();
    let is_said = !reason.is_empty() || choice == Choice::Reject;
    let is_text = !reason.chars().any(char::is_control);
    if !is_said || !is_text || reason.chars().count() > LONGEST_REASON {
        return Err(DecideError::Reason);
    }
    let (stack, remainder) = held_by(app, run).await?;
    let hash = remainder.hash();
    let now = app.now();
    let parked = find(app, &stack, run, &remainder).await?;
    let weight = electorate(app, &stack, &parked.people).weigh(&voice.by, choice);
    match (&voice.by, weight) {
        // Whoever pushed it may reject it, and take that back; it is no approval.
        (Approver::Person(name), Weight::Involved) => {
            let decisions = app.store.decisions(&stack.name, hash).await?;
            let latest = decisions.iter().rfind(|decision| decision.by == voice.by);
            if latest.is_none_or(|latest| latest.choice != Choice::Reject) {
                return Err(DecideError::Involved(name.clone()));
            }
        }
        (Approver::Person(name), Weight::Unknown) => {
            return Err(DecideError::Unknown(name.clone()));
        }
        _ => {}
    }
    let decision = Decision {
        by: voice.by.clone(),
        choice,
        reason: reason.to_owned(),
        at: now,
        expires_at: now.saturating_add(stack.approval_valid),
    };
    let expires_at = decision.expires_at;
    let event = decision_event(app, &stack, run, &remainder, &decision, weight, voice);
    let new = NewDecision {
        id: uuid::Uuid::now_v7().to_string(),
        stack: stack.id(),
        hash,
        run: run.clone(),
        decision,
        raises: choice == Choice::Approve && weight == Weight::Counts,
    };
    if !app.store.decide(&new, &event).await? {
        // A run ended between the look and the record.
        let newest = newest_run(app, &stack).await?;
        let run = run.clone();
        return Err(DecideError::WaitsNoMore { run, newest });
    }
    let decisions = app.store.decisions(&stack.name, hash).await?;
    let standing = electorate(app, &stack, &parked.people).judge(hash, &decisions, now);
    Ok(Decided {
        stack: stack.name.clone(),
        hash,
        changes: remainder.changes.len(),
        weight,
        standing,
        expires_at,
    })
}

/// What a run held back for an approval, and its stack.
async fn held_by(
    app: &App,
    run: &RunId,
) -> Result<(std::sync::Arc<Stack>, Remainder), DecideError> {
    // What is no id at all is not for the database to refuse.
    let is_id = run
        .0
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let detail = if is_id {
        app.store.run(run).await?
    } else {
        None
    };
    let detail = detail.ok_or_else(|| DecideError::NoRun(run.clone()))?;
    let name = detail.run.stack;
    let stack = app.stack(&name).cloned();
    let stack = stack.ok_or(DecideError::NoStack(name))?;
    let remainder = detail
        .plan
        .as_deref()
        .and_then(|plan| serde_json::from_str::<Plan>(plan).ok())
        .and_then(|plan| plan.remainder())
        .ok_or_else(|| DecideError::NothingHeld(run.clone()))?;
    Ok((stack, remainder))
}

/// What waits now, when it is what the run held back.
async fn find(
    app: &App,
    stack: &Stack,
    run: &RunId,
    remainder: &Remainder,
) -> Result<Parked, DecideError> {
    let hash = remainder.hash();
    let mut parked = app.store.parked(&stack.name).await?;
    if let Some(place) = parked.iter().position(|parked| parked.hash == hash) {
        return Ok(parked.swap_remove(place));
    }
    let run = run.clone();
    let Some(other) = parked.pop() else {
        let newest = newest_run(app, stack).await?;
        return Err(DecideError::WaitsNoMore { run, newest });
    };
    Err(DecideError::Differs {
        run,
        difference: Difference::between(Some(remainder), Some(&other.remainder)),
        newest: other.last_run,
    })
}

async fn newest_run(app: &App, stack: &Stack) -> store::Result<Option<RunId>> {
    let state = app.store.stack_state(&stack.name).await?;
    Ok(state.and_then(|state| state.last_run))
}

fn decision_event(
    app: &App,
    stack: &Stack,
    run: &RunId,
    remainder: &Remainder,
    decision: &Decision,
    weight: Weight,
    voice: Voice,
) -> NewEvent {
    let (event_type, part) = match decision.choice {
        Choice::Approve => (EventType::ApprovalGiven, "approver"),
        Choice::Reject => (EventType::ApprovalRejected, "rejecter"),
    };
    let expires_at = (decision.choice == Choice::Approve).then_some(decision.expires_at);
    let payload = json!({
        "plan": remainder.hash(),
        "changes": remainder.changes.len(),
        "reason": decision.reason,
        "expires_at": expires_at,
        "authenticated": voice.token.is_some(),
        "token": voice.token,
        "counts": weight == Weight::Counts,
    });
    NewEvent {
        target: Some(stack.target.name.clone()),
        stack: Some(stack.name.clone()),
        run: Some(run.clone()),
        people: vec![(part.to_owned(), voice.asker.on_record())],
        ..app
            .event(event_type, voice.asker.actor, payload)
            .traced(voice.asker.trace.as_ref())
    }
}

impl Look {
    /// The approved plan that this look lets go.
    pub(super) fn approved(&self) -> Option<&Waiting> {
        self.waiting
            .as_ref()
            .filter(|waiting| waiting.standing.verdict == Verdict::Approved)
            .filter(|waiting| {
                let is_planned = |change| {
                    let held = self.plan.held.iter().map(|held| &held.change);
                    self.plan
                        .changes()
                        .chain(held)
                        .any(|planned| is_same(planned, change))
                };
                self.plan.remainder().is_none()
                    && waiting.parked.remainder.changes.iter().any(is_planned)
            })
    }
}

fn is_same(left: &crate::domain::plan::Change, right: &crate::domain::plan::Change) -> bool {
    (&left.object, left.action, left.before, left.after)
        == (&right.object, right.action, right.before, right.after)
}

impl Context<'_> {
    /// What the end of the run means for what waits for an approval, with the events that say so.
    pub(super) async fn parkings(
        &self,
        look: &Look,
        changes: &[ChangeRecord],
    ) -> store::Result<(Parkings, Vec<NewEvent>)> {
        let before = look.waiting.as_ref().map(|waiting| &waiting.parked);
        let remainder = look.plan.remainder();
        let mut events = Vec::new();
        let parking = match (before, remainder) {
            (None, None) => return Ok((Parkings::new(), events)),
            (Some(before), Some(now)) if before.hash == now.hash() => Parking::Same {
                people: self.with_involved(&before.people, look),
            },
            (before, Some(now)) => {
                if let Some(before) = before {
                    events.push(self.voided(look, before, Some(&now)));
                }
                events.push(self.event(
                    EventType::PlanParked,
                    json!({
                        "plan": now.hash(),
                        "changes": Difference::between(None, Some(&now)).added,
                        "needed": self.stack.min_approvers,
                    }),
                ));
                let people = self.people_behind(look, before, &now).await?;
                Parking::New {
                    remainder: now,
                    people,
                }
            }
            (Some(before), None) => match look.approved() {
                Some(approved) if is_live(&approved.parked.remainder, changes) => {
                    Parking::CarriedOut
                }
                // Something went wrong: what is left of it is seen by the next run.
                Some(_) => return Ok((Parkings::new(), events)),
                None => {
                    events.push(self.voided(look, before, None));
                    Parking::Void
                }
            },
        };
        Ok((
            Parkings::from([(self.stack.target.node.clone(), parking)]),
            events,
        ))
    }

    fn voided(&self, look: &Look, before: &Parked, now: Option<&Remainder>) -> NewEvent {
        let decisions = look
            .waiting
            .as_ref()
            .map_or(0, |waiting| waiting.decisions.len());
        self.event(
            EventType::PlanVoided,
            json!({
                "plan": before.hash,
                "parked_by": before.run,
                "difference": Difference::between(Some(&before.remainder), now),
                "decisions": decisions,
            }),
        )
    }

    /// Who pushed or wrote what waits: everybody since the stack was settled, and everybody behind
    /// what waited before, where a part of it waits still.
    async fn people_behind(
        &self,
        look: &Look,
        before: Option<&Parked>,
        now: &Remainder,
    ) -> store::Result<Vec<Person>> {
        let mut people = Vec::new();
        if let Some(before) = before {
            let waits_still = |change| now.changes.iter().any(|other| is_same(change, other));
            if before.remainder.changes.iter().any(waits_still) {
                people.clone_from(&before.people);
            }
        }
        // Runs whose manifests were refused, or that failed, took deliveries with them.
        let filter = RunFilter {
            stack: Some(self.stack.name.clone()),
            since: self.state.settled_at,
            limit: 1_000,
            ..RunFilter::default()
        };
        for run in self.app.store.runs(&filter).await? {
            people.extend(run.pusher);
            people.extend(run.commits.into_iter().filter_map(|commit| commit.author));
        }
        Ok(self.with_involved(&people, look))
    }

    /// Adds who pushed and who wrote what this run brings.
    fn with_involved(&self, people: &[Person], look: &Look) -> Vec<Person> {
        let author = look.wanted.commit.author_named();
        let pushed = self.deliveries.iter().flat_map(|delivery| {
            let authors = delivery
                .commits
                .iter()
                .filter_map(|commit| commit.author.as_ref());
            delivery.pusher.iter().chain(authors)
        });
        let all = people.iter().chain(pushed).chain([&author]);
        distinct(all, self.app)
    }
}

/// Each of them once, those whom the configuration knows first: they alone could approve, so
/// whoever is cut off beyond the bound changes nothing.
fn distinct<'a>(people: impl Iterator<Item = &'a Person>, app: &App) -> Vec<Person> {
    const MOST: usize = 1_000;
    let mut seen = std::collections::BTreeSet::new();
    let once = people.filter(|person| seen.insert(json!(person).to_string()));
    let is_known = |person: &&Person| app.people.values().any(|identity| identity.is(person));
    let (known, others): (Vec<&Person>, Vec<&Person>) = once.partition(is_known);
    let all = known.into_iter().chain(others);
    all.take(MOST).cloned().collect()
}

/// Whether every change that was approved is live.
fn is_live(remainder: &Remainder, changes: &[ChangeRecord]) -> bool {
    remainder.changes.iter().all(|change| {
        changes.iter().any(|record| {
            record.object == change.object
                && record.action == change.action
                && record.outcome == Outcome::Applied
        })
    })
}
