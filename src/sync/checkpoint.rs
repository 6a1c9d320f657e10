//! Checkpoints: signing the history's tree, sending what was signed to where the database cannot
//! reach, and the history's own check of itself.
//!
//! One process at a time signs, under a lease of its own: at least every minute while there is
//! news, and every hour without, because that nothing happened is a statement, too. A tree that is
//! not the continuation of the last checkpoint is never signed. Everybody who is sent checkpoints
//! has a cursor and is tried until it takes them; no run waits for any of this.

use std::{
    io::{Read as _, Seek as _, Write as _},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::{lease::Holding, report::Standing, run::backoff};
use crate::{
    app::{App, CheckpointSink, Keeps},
    domain::{
        audit::{
            checkpoint::{Checkpoint, Note, SigningKey, VerifierKey},
            event::{Actor, EventType},
            keys::Named,
            verify::Flaw,
        },
        canonical::Digest,
    },
    git::{Record, Records},
    store::{self, CheckState, Head, KeptCheckpoint, SinkChange, Verification, Walk},
};

/// Names the lease of whoever signs.
const LEASE: &str = "audit:checkpoints";

/// News is signed when the last checkpoint is that old, and the timer looks every [`LOOK`]: a
/// minute together.
const NEWS: i64 = 45_000_000;
const LOOK: Duration = Duration::from_secs(15);

/// Without news.
const HEARTBEAT: i64 = 3_600_000_000;

/// How many events the history's own check looks at in one go.
const SLICE: i64 = 10_000;

/// How many checkpoints are sent at once.
const BATCH: i64 = 100;

/// The file that a Git repository gets.
const GIT_FILE: &str = "checkpoint";

/// What came of looking whether to sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signing {
    /// Too early.
    NotDue,
    /// Another process is at it.
    Busy,
    /// No key.
    Keyless,
    Signed(KeptCheckpoint),
    /// The history is not what was signed before, or the key is not.
    Refused(String),
}

/// Signs a checkpoint if one is due.
pub async fn sign_due(app: &App) -> anyhow::Result<Signing> {
    let Some(key) = &app.audit.signing_key else {
        return Ok(Signing::Keyless);
    };
    let head = app.store.head().await?;
    let ours = [key.verifier().clone()];
    let is_due = app.store.last_checkpoint().await?.is_none_or(|last| {
        let age = app.now() - last.at;
        let is_news = head.size > last.size;
        // A new key is sworn in at once.
        age >= HEARTBEAT || (age >= NEWS && is_news) || Checkpoint::open(&last.note, &ours).is_err()
    });
    if is_due {
        sign(app).await
    } else {
        Ok(Signing::NotDue)
    }
}

/// Signs a checkpoint now.
pub async fn sign(app: &App) -> anyhow::Result<Signing> {
    let Some(key) = app.audit.signing_key.clone() else {
        return Ok(Signing::Keyless);
    };
    let Some(holding) = Holding::take(&app.store, LEASE, &app.worker).await? else {
        return Ok(Signing::Busy);
    };
    let signed = sign_held(app, &holding, &key).await;
    let noted = match &signed {
        Ok(signing) => note_signing(app, &holding, signing).await,
        Err(_) => Ok(()),
    };
    let _ = holding.release().await;
    noted?;
    signed
}

async fn sign_held(app: &App, holding: &Holding, key: &SigningKey) -> anyhow::Result<Signing> {
    let before = match name_key(app, key).await? {
        Ok(before) => before,
        Err(why) => return Ok(Signing::Refused(why)),
    };
    let last = app.store.last_checkpoint().await?;
    let head = app.store.head().await?;
    let sealed = last.as_ref().map_or(0, |last| last.size);
    if sealed > head.size {
        let why = format!(
            "the last checkpoint covers {sealed} events, and the history has {}: its end was cut off",
            head.size
        );
        return Ok(Signing::Refused(why));
    }
    let frontier = match app.store.frontier_at(sealed).await {
        Ok(frontier) => frontier,
        Err(store::Error::Unreadable { value, .. }) => {
            return Ok(Signing::Refused(format!(
                "the tree of the history lacks {value}"
            )));
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(last) = &last {
        // Of a key that is lost nobody here can check the signature; the root speaks for itself.
        let note: Result<Note, _> = last.note.parse();
        let signed: Option<Checkpoint> = note.ok().and_then(|note| note.text().parse().ok());
        if signed.is_none_or(|signed| signed.root != frontier.root()) {
            let why = format!(
                "the history is not what checkpoint {} says: it was rewritten, or the checkpoint was",
                last.number
            );
            return Ok(Signing::Refused(why));
        }
    }
    let grown = match app.store.grow(frontier, head).await? {
        Ok(grown) => grown,
        Err(broken) => return Ok(Signing::Refused(broken.to_string())),
    };
    let number = last.map_or(0, |last| last.number + 1);
    let at = app.now();
    let time = Timestamp::from_microsecond(at).context("the clock is out of range")?;
    let checkpoint = Checkpoint::of_history(
        key.verifier().name(),
        u64::try_from(number).unwrap_or(0),
        &time.to_string(),
        grown.frontier.size(),
        grown.frontier.root(),
    );
    let keys: Vec<&SigningKey> = before.as_deref().into_iter().chain([key]).collect();
    let kept = KeptCheckpoint {
        number,
        size: head.size,
        at,
        note: checkpoint.sign(&keys).to_string(),
    };
    match app
        .store
        .keep_checkpoint(holding.lease(), &kept, &grown)
        .await
    {
        Ok(()) => Ok(Signing::Signed(kept)),
        Err(store::Error::LeaseLost { .. }) => Ok(Signing::Busy),
        Err(error) => Err(error.into()),
    }
}

/// Sees to it that the history names the key that signs, and answers the key that has to sign
/// beside it, if the new one was named since the last checkpoint.
async fn name_key(
    app: &App,
    key: &SigningKey,
) -> anyhow::Result<Result<Option<Arc<SigningKey>>, String>> {
    let ours = key.verifier().to_string();
    let named = last_named(app).await?;
    let previous = app.audit.previous_signing_key.clone();
    match named {
        Some((sequence, named)) if named.key == ours => {
            let sealed = app
                .store
                .last_checkpoint()
                .await?
                .map_or(0, |last| last.size);
            let Some(before) = named.before.filter(|_| sealed <= sequence) else {
                return Ok(Ok(None));
            };
            Ok(previous
                .filter(|previous| previous.verifier().to_string() == before)
                .map(Some)
                .ok_or_else(|| needs(&before)))
        }
        Some((_, named)) => {
            let before = named.key;
            let Some(previous) =
                previous.filter(|previous| previous.verifier().to_string() == before)
            else {
                return Ok(Err(needs(&before)));
            };
            record_key(app, key, Some(before), None).await?;
            Ok(Ok(Some(previous)))
        }
        None => {
            record_key(app, key, None, None).await?;
            Ok(Ok(None))
        }
    }
}

fn needs(before: &str) -> String {
    format!(
        "the history is signed by {before}, which has to vouch for the new key: give it as \
         audit.previous_signing_key. If it is lost: lockstep audit accept-key --reason …"
    )
}

/// Records which key signs from here on. Without the one before it, whoever pinned that one has to
/// be told the new one.
pub async fn record_key(
    app: &App,
    key: &SigningKey,
    before: Option<String>,
    reason: Option<&str>,
) -> anyhow::Result<()> {
    let mut payload = json!(Named {
        key: key.verifier().to_string(),
        before,
    });
    if let Some(reason) = reason {
        payload["reason"] = json!(reason);
    }
    let event = app.event(EventType::SigningKeyNamed, actor(app), payload);
    app.store.record_events(&[event]).await?;
    Ok(())
}

/// The key that the history named last, and where.
pub async fn last_named(app: &App) -> anyhow::Result<Option<(i64, Named)>> {
    let named = app.store.signing_keys_named().await?;
    let Some(event) = named.last() else {
        return Ok(None);
    };
    let named = serde_json::from_str(&event.payload)
        .context("the event that names the signing key cannot be read")?;
    Ok(Some((event.sequence, named)))
}

fn actor(app: &App) -> Actor {
    Actor::new("worker", app.worker.clone())
}

/// Puts on record, once, why nothing is signed.
async fn note_signing(app: &App, holding: &Holding, signing: &Signing) -> anyhow::Result<()> {
    let unsigned = match signing {
        Signing::Signed(_) => None,
        Signing::Refused(why) => Some(why.clone()),
        Signing::NotDue | Signing::Busy | Signing::Keyless => return Ok(()),
    };
    let state = app.store.check_state().await?;
    if state.unsigned == unsigned {
        return Ok(());
    }
    if let Some(why) = &unsigned {
        error!(why, "no checkpoint of the history is signed");
        record_flaw(app, why).await?;
    }
    let state = CheckState { unsigned, ..state };
    set_state(app, holding, &state).await
}

async fn record_flaw(app: &App, what: &str) -> anyhow::Result<()> {
    let payload = json!({"message": what});
    let event = app.event(EventType::HistoryBroken, actor(app), payload);
    app.store.record_events(&[event]).await?;
    Ok(())
}

async fn set_state(app: &App, holding: &Holding, state: &CheckState) -> anyhow::Result<()> {
    match app.store.set_check_state(holding.lease(), state).await {
        Ok(()) | Err(store::Error::LeaseLost { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Goes on with the history's own check by one slice, from where the last one ended: of this
/// process, of another, or of one before a restart. `walk` is kept from one slice to the next; after
/// the end it begins anew.
pub async fn check_slice(app: &App, walk: &mut Option<Walk>) -> anyhow::Result<()> {
    let Some(holding) = Holding::take(&app.store, LEASE, &app.worker).await? else {
        return Ok(());
    };
    let checked = check_held(app, &holding, walk).await;
    let _ = holding.release().await;
    checked
}

/// The keys of this installation, once one of them has signed.
async fn heard_keys(app: &App) -> anyhow::Result<Vec<VerifierKey>> {
    let keys = app.audit.verifier_keys();
    let last = app.store.last_checkpoint().await?;
    let is_heard = last.is_some_and(|last| Checkpoint::open(&last.note, &keys).is_ok());
    Ok(if is_heard { keys } else { Vec::new() })
}

/// A walk from where the round has come to. Where the tree does not lead there, the walk from the
/// beginning names what is wrong with it.
async fn begin_walk(app: &App, next: i64) -> anyhow::Result<Result<Walk, Flaw>> {
    let pins = heard_keys(app).await?;
    let from = async |from: i64| {
        let pins = pins.clone();
        let what = Verification {
            from,
            pins,
            ..Verification::default()
        };
        app.store.begin_walk(what).await
    };
    match from(next).await {
        Err(store::Error::Unreadable { .. }) if next > 0 => Ok(from(0).await?),
        begun => Ok(begun?),
    }
}

async fn check_held(app: &App, holding: &Holding, walk: &mut Option<Walk>) -> anyhow::Result<()> {
    let mut state = app.store.check_state().await?;
    let begun = match walk.take() {
        Some(walk) if walk.next() == state.next => Ok(walk),
        _ => begin_walk(app, state.next).await?,
    };
    let found = match begun {
        Ok(mut begun) => match app.store.walk(&mut begun, SLICE).await? {
            Ok(is_done) => Ok((begun, is_done)),
            Err(flaw) => Err(flaw),
        },
        Err(flaw) => Err(flaw),
    };
    match found {
        Ok((begun, false)) => {
            state.next = begun.next();
            *walk = Some(begun);
        }
        Ok((begun, true)) => {
            state = CheckState {
                next: 0,
                sound_at: Some(app.now()),
                sound_size: Some(begun.next()),
                flaw: None,
                flaw_at: None,
                ..state
            };
        }
        Err(flaw) => {
            let flaw = flaw.to_string();
            if state.flaw.as_ref() != Some(&flaw) {
                error!(flaw, "the history is not as it was written");
                record_flaw(app, &flaw).await?;
                state.flaw = Some(flaw);
                state.flaw_at = Some(app.now());
            }
            state.next = 0;
        }
    }
    set_state(app, holding, &state).await
}

/// Sends everybody what is new to them, once. What tests step with.
pub async fn send_pending(app: &App) -> anyhow::Result<()> {
    for sink in &app.audit.sinks {
        send(app, sink).await?;
    }
    Ok(())
}

async fn send(app: &App, sink: &CheckpointSink) -> anyhow::Result<()> {
    app.store.open_checkpoint_sink(&sink.name).await?;
    loop {
        let Some(state) = app.store.sink(&sink.name).await? else {
            return Ok(());
        };
        let pending = app.store.checkpoints_from(state.cursor + 1, BATCH).await?;
        if pending.is_empty() || state.not_before > app.now() {
            return Ok(());
        }
        let lease = format!("sink:{}", sink.name);
        let Some(holding) = Holding::take(&app.store, &lease, &app.worker).await? else {
            return Ok(());
        };
        let sent = deliver(app, sink, &pending).await;
        let is_sent = sent.is_ok();
        let at = app.now();
        let change = match sent {
            Ok(cursor) => SinkChange::Told { cursor, at },
            Err(problem) => {
                warn!(sink = sink.name, problem, "checkpoints wait");
                let attempt = state.attempt + 1;
                SinkChange::Failed {
                    attempt,
                    not_before: at + backoff(attempt),
                    problem,
                    at,
                }
            }
        };
        app.metrics
            .notice(&sink.name, if is_sent { "told" } else { "failed" });
        let changed = app
            .store
            .change_sink(holding.lease(), &sink.name, &change)
            .await;
        let _ = holding.release().await;
        changed?;
        if !is_sent {
            return Ok(());
        }
    }
}

/// Answers the number of the last checkpoint that was taken.
async fn deliver(
    app: &App,
    sink: &CheckpointSink,
    pending: &[KeptCheckpoint],
) -> Result<i64, String> {
    let Some(last) = pending.last() else {
        return Err("there is nothing to send".to_owned());
    };
    match &sink.keeps {
        Keeps::File(path) => {
            let path = path.clone();
            let mut notes = String::new();
            for checkpoint in pending {
                notes.push_str(&checkpoint.note);
                notes.push('\n');
            }
            let done = tokio::task::spawn_blocking(move || {
                append(&path, &notes).map_err(|error| format!("{}: {error}", path.display()))
            });
            done.await
                .unwrap_or_else(|stopped| Err(stopped.to_string()))?;
            Ok(last.number)
        }
        Keeps::Git { remote, branch } => {
            let each = pending
                .iter()
                .map(|checkpoint| Record {
                    content: checkpoint.note.clone(),
                    message: format!(
                        "Checkpoint {}: {} events\n",
                        checkpoint.number, checkpoint.size
                    ),
                    at: checkpoint.at / 1_000_000,
                })
                .collect();
            let file = GIT_FILE;
            app.mirrors
                .record(remote, branch, Records { file, each })
                .await
                .map_err(|error| error.to_string())?;
            Ok(last.number)
        }
        Keeps::Webhook(webhook) => {
            // One is one request; the cursor moves with each.
            let first = &pending[0];
            let root = Digest::of(first.note.as_bytes());
            let data = json!({
                "number": first.number,
                "size": first.size,
                "note": first.note,
            });
            let id = format!("checkpoint-{}-{}", first.number, root.short());
            let event = crate::notify::News {
                id,
                kind: "checkpoint",
                at: first.at,
                data,
            };
            webhook
                .send(&event, &app.place, app.now() / 1_000_000)
                .await
                .map_err(|error| error.to_string())?;
            Ok(first.number)
        }
    }
}

/// What is answered is on the disk. A line that a crash left without its end is ended first.
fn append(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).append(true).create(true);
    let mut file = options.open(path)?;
    if file.metadata()?.len() > 0 {
        let mut last = [0];
        file.seek(std::io::SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n\n")?;
        }
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// How everybody stands who is sent checkpoints.
pub async fn standings(app: &App) -> store::Result<Vec<Standing>> {
    let mut standings = Vec::new();
    for sink in &app.audit.sinks {
        let state = app.store.sink(&sink.name).await?;
        let cursor = state.as_ref().map_or(-1, |state| state.cursor);
        let next = app.store.checkpoints_from(cursor + 1, 1).await?;
        standings.push(Standing {
            sink: sink.name.clone(),
            untold_since: next.first().map(|checkpoint| checkpoint.at),
            again_at: state
                .as_ref()
                .and_then(|state| (state.attempt > 0).then_some(state.not_before)),
            failing_since: state.as_ref().and_then(|state| state.failing_since),
            told_at: state.as_ref().and_then(|state| state.told_at),
            problem: state.and_then(|state| state.problem),
        });
    }
    Ok(standings)
}

/// How the history's proof stands.
#[derive(Debug, Clone)]
pub struct Proof {
    pub head: Head,
    pub last: Option<KeptCheckpoint>,
    pub check: CheckState,
}

pub async fn proof(app: &App) -> store::Result<Proof> {
    Ok(Proof {
        last: app.store.last_checkpoint().await?,
        head: app.store.head().await?,
        check: app.store.check_state().await?,
    })
}

/// Signs, checks and sends until told to stop, and signs the end.
pub async fn run_until_shutdown(app: App, shutdown: CancellationToken) {
    if app.audit.signing_key.is_none() {
        warn!(
            "no checkpoint of the history is signed: audit.signing_key is not set (make one with \
             lockstep audit keygen)"
        );
    }
    let mut tasks = tokio::task::JoinSet::new();
    for sink in app.audit.sinks.iter().cloned() {
        let (app, shutdown) = (app.clone(), shutdown.clone());
        tasks.spawn(async move {
            while !shutdown.is_cancelled() {
                if let Err(error) = send(&app, &sink).await {
                    warn!(sink = sink.name, %error, "checkpoints wait: the store could not be read");
                }
                let _ = tokio::time::timeout(LOOK, shutdown.cancelled()).await;
            }
        });
    }
    let mut walk = None;
    while !shutdown.is_cancelled() {
        if let Err(error) = sign_due(&app).await {
            warn!(%error, "no checkpoint could be signed");
        }
        if let Err(error) = check_slice(&app, &mut walk).await {
            warn!(%error, "the history's own check could not go on");
            walk = None;
        }
        let _ = tokio::time::timeout(LOOK, shutdown.cancelled()).await;
    }
    while tasks.join_next().await.is_some() {}
}
