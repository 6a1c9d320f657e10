//! Holds, rollbacks and freeze windows: what keeps a stack's runs from beginning, and who may
//! overrule it.
//!
//! A hold is a person's word and stands in the store. A freeze window stands in the configuration
//! and is asked of the clock each time, so that nothing has to be put off or taken back when
//! either changes. Neither loses anything: what is wanted stays wanted, and the first run after it
//! swallows all of it. Neither stops what has begun, and a run that a dead worker left open is
//! resolved all the same.

use serde_json::{Value, json};
use tracing::info;

use super::{
    lease::Holding,
    look::{self, LookError},
    ownership::Wish,
    run::{self, Progress, Report, RunError},
};
use crate::{
    app::{App, Stack},
    domain::{
        audit::event::{Asker, EventType, NewEvent},
        revision::Revision,
        window::UntilError,
    },
    store::{self, Ended, Hold, NewHold, StackState, StackTarget},
};

#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// A sentence that says why not, and what to do. Nothing was changed.
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Until(#[from] UntilError),
    #[error(transparent)]
    Look(#[from] LookError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Whether a run of the stack may begin now, as far as its hold and its freeze windows say. A
/// rollback may, inside a window too: whoever asked for it said why.
pub fn lets_begin(stack: &Stack, state: &StackState, now: i64) -> bool {
    match &state.hold {
        Some(hold) => hold
            .rollback
            .as_ref()
            .is_some_and(|rollback| rollback.generation > state.done),
        None => stack.freeze.frozen_until(now).is_none(),
    }
}

/// The stacks that must be looked at now: those whose run may begin, and those with something to
/// end or to resolve whatever holds them back.
pub async fn due(app: &App) -> store::Result<Vec<StackTarget>> {
    let now = app.now();
    let mut due = app.store.due(now).await?;
    due.retain(|due| {
        let stack = app.stack(&due.stack);
        stack.is_some_and(|stack| stack.freeze.frozen_until(now).is_none())
    });
    let unfinished = app.store.unfinished(now).await?;
    due.extend(
        unfinished
            .into_iter()
            .filter(|due| app.stack(&due.stack).is_some()),
    );
    Ok(due)
}

/// How the stack stands, if a run of it is due. The caller holds the target's lease. A hold that
/// ran out is ended here.
pub async fn ready(app: &App, stack: &Stack) -> store::Result<Option<StackState>> {
    let state = current(app, stack).await?;
    let now = app.now();
    let is_due = state.is_pending() && state.not_before <= now && lets_begin(stack, &state, now);
    Ok(is_due.then_some(state))
}

/// How the stack stands, after a hold that ran out was ended.
async fn current(app: &App, stack: &Stack) -> store::Result<StackState> {
    let read = async || {
        let state = app.store.stack_state(&stack.name).await?;
        store::Result::Ok(state.unwrap_or_else(|| stack.fresh_state()))
    };
    let state = read().await?;
    let now = app.now();
    if !state.hold.as_ref().is_some_and(|hold| hold.is_over(now)) {
        return Ok(state);
    }
    let ended = app
        .store
        .end_hold_that_is_over(&stack.id(), now, |ended| {
            ended_event(app, stack, ended, "it ran out", None, None)
        })
        .await?;
    if let Some(ended) = ended {
        info!(stack = %stack.name, waited = ended.waited.len(), "a hold ran out");
    }
    read().await
}

/// Whether a person may start a run now. A reason to override the freeze windows goes on record,
/// where there is something to override.
pub async fn permit(
    app: &App,
    stack: &Stack,
    override_freeze: Option<&Wish>,
) -> Result<(), HoldError> {
    let state = current(app, stack).await?;
    if let Some(hold) = &state.hold {
        return Err(HoldError::Refused(format!(
            "{}; what is pushed waits. End it with `lockstep release-hold {}`",
            held(stack, hold),
            stack.name
        )));
    }
    let Some(until) = stack.freeze.frozen_until(app.now()) else {
        return Ok(());
    };
    let Some(wish) = override_freeze else {
        return Err(HoldError::Refused(format!(
            "{}; what is pushed waits and goes live then. Override it with \
             `lockstep sync {} --override-freeze REASON`",
            frozen(stack, until),
            stack.name
        )));
    };
    app.store
        .record_events(&[overridden(app, stack, until, wish)])
        .await?;
    Ok(())
}

/// Puts a stack on hold, or gives the hold that it has another end and reason.
pub async fn hold(
    app: &App,
    stack: &Stack,
    until: Option<i64>,
    wish: Wish,
) -> Result<Hold, HoldError> {
    let before = current(app, stack).await?.hold;
    let now = app.now();
    let new = NewHold {
        at: now,
        until,
        reason: wish.reason.clone(),
        by: wish.by.person.clone(),
    };
    let payload = json!({
        "reason": wish.reason,
        "until": until,
        "revision": before.as_ref().and_then(|hold| hold.rollback.as_ref()).map(|at| &at.revision),
        "was_held_since": before.as_ref().map(|hold| hold.since),
    });
    let event = event(app, stack, EventType::StackHeld, payload, Some(&wish.by));
    app.store.hold(&stack.id(), &new, &event).await?;
    let NewHold {
        at,
        until,
        reason,
        by,
    } = new;
    Ok(Hold {
        since: before.as_ref().map_or(at, |before| before.since),
        until,
        reason,
        by: Some(by),
        rollback: before.and_then(|before| before.rollback),
    })
}

/// Ends a stack's hold: what waited is run next, and after a rollback the head in any case.
pub async fn release(
    app: &App,
    stack: &Stack,
    reason: Option<&str>,
    by: &Asker,
) -> Result<Ended, HoldError> {
    // One that ran out is told of as what it is.
    current(app, stack).await?;
    app.store
        .release_hold(&stack.id(), |ended| {
            ended_event(app, stack, ended, "it was released", reason, Some(by))
        })
        .await?
        .ok_or_else(|| HoldError::Refused(format!("{} is not held", stack.name)))
}

/// Brings the target to an earlier revision and holds the stack there until it is released. The
/// wish's reason overrides a freeze window too: in an emergency one command must do. The caller
/// holds the target's lease.
pub async fn roll_back(
    app: &App,
    holding: &Holding,
    stack: &Stack,
    revision: &Revision,
    wish: Wish,
    progress: Progress<'_>,
) -> Result<Report, HoldError> {
    let before = current(app, stack).await?;
    // What cannot be applied must not hold the stack.
    progress(&format!("reading the manifests at {}", revision.short()));
    look::wanted(app, stack, revision).await?;
    let new = NewHold {
        at: app.now(),
        until: None,
        reason: wish.reason.clone(),
        by: wish.by.person.clone(),
    };
    let payload = json!({
        "reason": wish.reason,
        "revision": revision,
        "previous": before.settled,
    });
    let by = Some(&wish.by);
    let mut events = vec![event(app, stack, EventType::StackRolledBack, payload, by)];
    if let Some(until) = stack.freeze.frozen_until(app.now()) {
        events.push(overridden(app, stack, until, &wish));
    }
    // From here on a worker would finish it, and at this revision.
    app.store
        .roll_back(&stack.id(), &new, revision, &events)
        .await?;
    let state = app.store.stack_state(&stack.name).await?;
    let state = state.unwrap_or_else(|| stack.fresh_state());
    Ok(run::run_stack(app, holding, stack, &state, Some(wish.by), progress).await?)
}

/// The revision that a person means: the beginning of one that the stack's runs were at, or any
/// full id. Whether Git has it is found out when its manifests are read.
pub async fn find_revision(app: &App, stack: &Stack, text: &str) -> Result<Revision, HoldError> {
    const SHORTEST: usize = 4;
    const LONGEST: usize = 64;
    const SHOWN: i64 = 5;
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if !(SHORTEST..=LONGEST).contains(&text.len()) || !text.bytes().all(is_hex) {
        return Err(HoldError::Refused(
            "a revision is a commit id in lower-case hex digits, or its first digits, 4 at least"
                .to_owned(),
        ));
    }
    if let Ok(revision) = text.parse::<Revision>() {
        return Ok(revision);
    }
    let mut known = app
        .store
        .revisions_of_runs(&stack.name, text, SHOWN)
        .await?;
    match known.len() {
        0 => Err(HoldError::Refused(format!(
            "no run of {} was at a revision that begins with {text}; `lockstep history --stack {}` \
             lists them, and a full id may be any commit of the repository",
            stack.name, stack.name
        ))),
        1 => Ok(known.remove(0)),
        _ => {
            let known: Vec<&str> = known.iter().map(Revision::as_str).collect();
            Err(HoldError::Refused(format!(
                "{text} is the beginning of several revisions: {}",
                known.join(", ")
            )))
        }
    }
}

/// A reason as it is kept: one text of a bounded length.
pub fn reason(text: &str) -> Result<String, HoldError> {
    const LONGEST: usize = 1_000;
    let text = text.trim();
    let is_text = !text.chars().any(char::is_control);
    if !text.is_empty() && text.chars().count() <= LONGEST && is_text {
        Ok(text.to_owned())
    } else {
        Err(HoldError::Refused(format!(
            "the reason must say why, on one line of at most {LONGEST} characters"
        )))
    }
}

/// "shop is held at 0123abcd since … until … by ada: the reason", without a full stop.
pub fn held(stack: &Stack, hold: &Hold) -> String {
    let Hold {
        since,
        until,
        reason,
        by,
        rollback,
    } = hold;
    let shown = |at: i64| stack.freeze.shown(at).to_string();
    let at = rollback.as_ref().map_or_else(String::new, |rollback| {
        format!(" at {}", rollback.revision.short())
    });
    let until = until.map_or_else(
        || "until it is released".to_owned(),
        |until| format!("until {}", shown(until)),
    );
    let by = by
        .as_ref()
        .map_or_else(|| "somebody".to_owned(), ToString::to_string);
    format!(
        "{} is held{at} since {}, {until}, by {by}: {reason}",
        stack.name,
        shown(*since)
    )
}

/// "shop is frozen until Monday …", without a full stop.
pub fn frozen(stack: &Stack, until: i64) -> String {
    format!(
        "{} is frozen until {}",
        stack.name,
        stack.freeze.shown(until)
    )
}

fn ended_event(
    app: &App,
    stack: &Stack,
    ended: &Ended,
    because: &str,
    reason: Option<&str>,
    by: Option<&Asker>,
) -> NewEvent {
    let Ended { hold, waited } = ended;
    let payload = json!({
        "because": because,
        "reason": reason,
        "since": hold.since,
        "until": hold.until,
        "held_for": hold.reason,
        "revision": hold.rollback.as_ref().map(|rollback| &rollback.revision),
        "waited": waited,
    });
    event(app, stack, EventType::HoldEnded, payload, by)
}

fn overridden(app: &App, stack: &Stack, until: i64, wish: &Wish) -> NewEvent {
    let payload = json!({"reason": wish.reason, "frozen_until": until});
    let by = Some(&wish.by);
    event(app, stack, EventType::FreezeOverridden, payload, by)
}

fn event(
    app: &App,
    stack: &Stack,
    event_type: EventType,
    payload: Value,
    by: Option<&Asker>,
) -> NewEvent {
    let actor = by.map_or_else(|| app.actor(), |by| by.actor.clone());
    NewEvent {
        target: Some(stack.target.name.clone()),
        stack: Some(stack.name.clone()),
        people: by
            .map(|by| ("operator".to_owned(), by.on_record()))
            .into_iter()
            .collect(),
        ..app
            .event(event_type, actor, payload)
            .traced(by.and_then(|by| by.trace.as_ref()))
    }
}
