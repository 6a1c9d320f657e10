//! What may leave the history, and letting it go: only its oldest events, only after an export that
//! has them in full was verified, none that is younger than the configuration says, and none that a
//! legal hold keeps.

use serde_json::json;
use tracing::warn;

use crate::{
    app::App,
    domain::{
        audit::{
            event::{Asker, EventType, NewEvent},
            retention::{LegalHold, standing},
        },
        canonical::Digest,
    },
    store,
};

/// How many events leave in one transaction.
const AT_ONCE: i64 = 10_000;

#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    /// A sentence that says why not, and what to do. Nothing left.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// An export that was verified: what of it counts here.
#[derive(Debug, Clone)]
pub struct Archive {
    /// Its name, without the folder.
    pub file: String,
    pub sha256: Digest,
    /// The events that it has in full: the first inside and the second outside.
    pub from: i64,
    pub until: i64,
    /// Where it ends, with the events of which it has only the hash.
    pub end: i64,
    /// The checkpoint that proves it.
    pub checkpoint: i64,
    pub size: i64,
    pub root: Digest,
}

/// What may leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaving {
    /// The first inside and the second outside.
    pub from: i64,
    pub until: i64,
    /// Why the rest of the export may not.
    pub kept: Option<Kept>,
    holds: Vec<LegalHold>,
}

/// What keeps events that were exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// They are younger than `audit.retention`.
    Young,
    Held(LegalHold),
}

/// The legal holds that stand, by name.
pub async fn legal_holds(app: &App) -> store::Result<Vec<LegalHold>> {
    Ok(standing(&app.store.legal_hold_events().await?))
}

/// Orders that nothing leaves the history from a moment on.
pub async fn place(
    app: &App,
    by: &Asker,
    name: &str,
    since: Option<i64>,
    reason: &str,
) -> Result<(), RetentionError> {
    if since.is_some_and(|since| since > app.now()) {
        return Err(RetentionError::Refused(
            "a legal hold begins in the past: leave --since out, and everything stays".to_owned(),
        ));
    }
    if legal_holds(app).await?.iter().any(|hold| hold.name == name) {
        return Err(RetentionError::Refused(format!(
            "the legal hold {name} stands already; give another one another name"
        )));
    }
    let mut payload = json!({"name": name, "reason": reason});
    if let Some(since) = since {
        payload["since"] = json!(since);
    }
    let event = told(app, by, EventType::LegalHoldPlaced, payload);
    Ok(app.store.record_events(&[event]).await?)
}

pub async fn lift(app: &App, by: &Asker, name: &str, reason: &str) -> Result<(), RetentionError> {
    if !legal_holds(app).await?.iter().any(|hold| hold.name == name) {
        return Err(RetentionError::Refused(format!(
            "there is no legal hold {name}: `lockstep audit legal-hold list` shows those that stand"
        )));
    }
    let payload = json!({"name": name, "reason": reason});
    let event = told(app, by, EventType::LegalHoldLifted, payload);
    Ok(app.store.record_events(&[event]).await?)
}

/// What of an export may leave the history now.
pub async fn may_leave(app: &App, archive: &Archive) -> Result<Leaving, RetentionError> {
    let refused = |why: String| Err(RetentionError::Refused(why));
    let left = app.store.left().await?;
    let size = app.store.head().await?.size;
    if archive.size > size {
        return refused(format!(
            "the export was signed over {} events, and this history has {size}: it is of another \
             one, or of what was lost when a backup was restored",
            archive.size
        ));
    }
    if app.store.frontier_at(archive.size).await?.root() != archive.root {
        return refused(
            "the export is of another history: the checkpoint in it is not one of this history"
                .to_owned(),
        );
    }
    if archive.from > left {
        return refused(format!(
            "the oldest events leave first: the history begins with event {left}, and the export \
             has events from {} on in full. Export without --since, --target, --stack and --object",
            archive.from
        ));
    }
    if archive.until <= left && left < archive.end {
        return refused(format!(
            "the oldest events leave first, and the export has event {left} without its content, \
             because it happened after its --until: export up to a later moment"
        ));
    }
    let mut leaving = Leaving {
        from: left,
        until: archive.until,
        kept: None,
        holds: legal_holds(app).await?,
    };
    let youngest = app.now().saturating_sub(app.audit.retention);
    let mut keep = |first: Option<i64>, kept: Kept| {
        if let Some(first) = first.filter(|first| *first < leaving.until) {
            leaving.until = first.max(left);
            leaving.kept = Some(kept);
        }
    };
    keep(app.store.first_since(youngest).await?, Kept::Young);
    for hold in leaving.holds.clone() {
        let first = match hold.since {
            None => Some(left),
            Some(since) => app.store.first_since(since).await?,
        };
        keep(first, Kept::Held(hold));
    }
    leaving.until = leaving.until.max(left);
    Ok(leaving)
}

/// Lets the events go, after it was put on record that they may. What was begun and not ended is
/// gone on with by asking again. `progress` is told how many have left.
pub async fn retire(
    app: &App,
    by: &Asker,
    archive: &Archive,
    leaving: &Leaving,
    reason: Option<&str>,
    mut progress: impl FnMut(i64),
) -> Result<(), RetentionError> {
    let is_unchanged = |events: &[_]| standing(events) == leaving.holds;
    let held = || {
        RetentionError::Refused(
            "a legal hold was placed or lifted meanwhile; run the command again".to_owned(),
        )
    };
    if leaving.until <= leaving.from {
        return Ok(());
    }
    if app.store.retired().await? < leaving.until {
        let mut payload = json!({
            "from": leaving.from,
            "until": leaving.until,
            "sha256": archive.sha256,
            "file": archive.file,
            "checkpoint": archive.checkpoint,
        });
        if let Some(reason) = reason {
            payload["reason"] = json!(reason);
        }
        let record = told(app, by, EventType::HistoryRetired, payload);
        if !app.store.retire(&record, is_unchanged).await? {
            return Err(held());
        }
    }
    let mut left = leaving.from;
    while left < leaving.until {
        let next = app
            .store
            .let_go(leaving.until, AT_ONCE, is_unchanged)
            .await?;
        if next <= left {
            return Err(held());
        }
        left = next;
        progress(left);
    }
    if let Err(error) = app.store.drop_empty_parts().await {
        warn!(%error, "an empty part of the history could not be dropped; the next time does it");
    }
    Ok(())
}

fn told(app: &App, by: &Asker, event_type: EventType, payload: serde_json::Value) -> NewEvent {
    NewEvent {
        people: vec![("operator".to_owned(), by.on_record())],
        ..app
            .event(event_type, by.actor.clone(), payload)
            .traced(by.trace.as_ref())
    }
}
