//! Telling people what came of it: notices to those who asked for them, and marks at the commits of
//! the Git hosts.
//!
//! News is read from the history, after it was committed; a run neither waits for anybody who is
//! told nor knows of them. Every sink has a cursor, and it moves when a notice was taken: each
//! notice is told at least once and in order, and again only when the process that told it died
//! before that was on record. One process at a time serves a sink, under a lease of its own. A
//! receiver that does not answer is asked again, ever more seldom; news older than a day is given
//! up, and so is what a receiver refuses for good, and both are on record.
//!
//! What was told is a witness, too: the link of a mark names the event that it tells, so that a
//! database that was restored from a backup can be seen to be older than what it told.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::{lease::Holding, look, run::backoff};
use crate::{
    app::{App, Sink, Stack, Tells},
    domain::{
        audit::event::{EventType, NewEvent},
        notice::{self, Around, DETAILS, Entry, MARKS, Mark, NEWS, Notice},
        revision::Revision,
    },
    notify::{self, GitHost, Options, Trace},
    store::{self, EventFilter, SinkChange, SinkState},
};

/// How many events are read at once.
const PAGE: i64 = 100;

/// How many runs before are looked at, to tell trouble once.
const EARLIER: i64 = 30;

/// How many changes of a run are looked at, to name objects.
const CHANGES: i64 = 25;

/// A receiver may ask for this much time before the next attempt, and not for more.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// What serving a sink came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    pub sink: String,
    /// How many notices were taken.
    pub told: usize,
    /// How many will never be.
    pub gave_up: usize,
    /// Why the next one has to wait.
    pub problem: Option<String>,
}

/// How a sink stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub sink: String,
    pub problem: Option<String>,
    pub failing_since: Option<i64>,
    /// When the oldest event happened that it is still to be told of, or that is still to be
    /// looked at for it.
    pub untold_since: Option<i64>,
    /// When the next attempt may begin.
    pub again_at: Option<i64>,
    pub told_at: Option<i64>,
}

/// One message to a sink.
enum Message {
    Notice(Box<Notice>),
    Mark { mark: Mark, branch: String },
}

impl Sink {
    fn types(&self) -> &'static [EventType] {
        match &self.tells {
            Tells::Notices { .. } => NEWS,
            Tells::Commits { .. } => MARKS,
        }
    }
}

/// Makes every sink of the configuration known. A new one begins at the history's end.
pub async fn open_sinks(app: &App) -> store::Result<()> {
    for sink in app.sinks.iter() {
        app.store.open_sink(&sink.name).await?;
    }
    Ok(())
}

/// Tells every sink what it is to be told now. What tests step with.
pub async fn report_pending(app: &App) -> store::Result<Vec<Told>> {
    let mut told = Vec::new();
    for sink in app.sinks.iter() {
        told.push(serve_sink(app, sink, &CancellationToken::new()).await?);
    }
    Ok(told)
}

/// Tells one sink what is new, until nothing is or a notice has to wait. Somebody else who serves
/// it is left alone.
pub async fn serve_sink(app: &App, sink: &Sink, stop: &CancellationToken) -> store::Result<Told> {
    let mut told = Told {
        sink: sink.name.clone(),
        ..Told::default()
    };
    let Some(state) = app.store.sink(&sink.name).await? else {
        app.store.open_sink(&sink.name).await?;
        return Ok(told);
    };
    let is_due = state.not_before <= app.now();
    let next = app.store.events_after(state.cursor, sink.types(), None, 1);
    if !is_due || next.await?.is_empty() {
        return Ok(told);
    }
    let lease = format!("sink:{}", sink.name);
    let Some(holding) = Holding::take(&app.store, &lease, &app.worker).await? else {
        return Ok(told);
    };
    let served = serve_held(app, sink, &holding, stop, &mut told).await;
    for ended in [served, holding.release().await.map(drop)] {
        match ended {
            // Somebody else serves it by now.
            Ok(()) | Err(store::Error::LeaseLost { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(told)
}

async fn serve_held(
    app: &App,
    sink: &Sink,
    holding: &Holding,
    stop: &CancellationToken,
    told: &mut Told,
) -> store::Result<()> {
    while let Some(mut state) = app.store.sink(&sink.name).await? {
        if state.not_before > app.now() {
            return Ok(());
        }
        if skip_old(app, sink, holding, &state, told).await? {
            continue;
        }
        let types = sink.types();
        let events = app
            .store
            .events_after(state.cursor, types, None, PAGE)
            .await?;
        if events.is_empty() {
            return Ok(());
        }
        let mut passed = None;
        for event in events {
            let messages = match Entry::read(&event) {
                Some(entry) => messages(app, sink, &entry).await?,
                None => Vec::new(),
            };
            if messages.is_empty() {
                passed = Some(event.sequence);
                continue;
            }
            if stop.is_cancelled() {
                return Ok(());
            }
            if let Some(cursor) = passed.take() {
                change(app, sink, holding, &SinkChange::Passed { cursor }).await?;
            }
            if !tell(app, sink, holding, &state, &messages, told).await? {
                return Ok(());
            }
            if let Some(changed) = app.store.sink(&sink.name).await? {
                state = changed;
            }
        }
        if let Some(cursor) = passed {
            change(app, sink, holding, &SinkChange::Passed { cursor }).await?;
        }
    }
    Ok(())
}

/// Tells the messages of one event, and puts on record what became of them. Says whether the next
/// event may follow.
async fn tell(
    app: &App,
    sink: &Sink,
    holding: &Holding,
    state: &SinkState,
    messages: &[Message],
    told: &mut Told,
) -> store::Result<bool> {
    // What a request takes at most, by the clock of a sink that has the usual patience.
    let longest = Options::default().timeout * GitHost::MOST_REQUESTS;
    let mut refused = Vec::new();
    let mut cursor = state.cursor;
    let mut problem = None;
    for message in messages {
        cursor = message.sequence();
        if !holding.covers(longest).await {
            return Ok(false);
        }
        match send(app, sink, message).await {
            Ok(()) => {
                told.told += 1;
                app.metrics.notice(&sink.name, "told");
            }
            Err(notify::Error::Passing { said, after }) => {
                app.metrics.notice(&sink.name, "failed");
                let now = app.now();
                let patience = i64::try_from(app.news_patience.as_micros()).unwrap_or(i64::MAX);
                if now.saturating_sub(message.at()) >= patience {
                    problem = Some(said.clone());
                    refused.push(gave_up(app, sink, message, &said));
                    continue;
                }
                let attempt = state.attempt + 1;
                let wait = after.unwrap_or_default().min(LONGEST_WAIT).as_micros();
                let wait = i64::try_from(wait).unwrap_or(0).max(backoff(attempt));
                debug!(sink = %sink.name, attempt, said, "a notice was not taken");
                if attempt == 1 {
                    warn!(sink = %sink.name, said, "a receiver of news does not take a notice");
                }
                let failed = SinkChange::Failed {
                    attempt,
                    not_before: now.saturating_add(wait),
                    problem: said.clone(),
                    at: now,
                };
                change(app, sink, holding, &failed).await?;
                told.problem = Some(said);
                return Ok(false);
            }
            Err(notify::Error::Lasting { said }) => {
                warn!(sink = %sink.name, said, "a receiver of news refused a notice");
                problem = Some(said.clone());
                refused.push(gave_up(app, sink, message, &said));
            }
        }
    }
    crate::crash::point("after-notice");
    let at = app.now();
    let outcome = match problem {
        None => SinkChange::Told { cursor, at },
        Some(problem) => {
            told.gave_up += refused.len();
            for _ in &refused {
                app.metrics.notice(&sink.name, "gave-up");
            }
            told.problem = Some(problem.clone());
            SinkChange::GaveUp {
                cursor,
                problem,
                at,
                events: refused,
            }
        }
    };
    change(app, sink, holding, &outcome).await?;
    Ok(true)
}

async fn send(app: &App, sink: &Sink, message: &Message) -> Result<(), notify::Error> {
    match (&sink.tells, message) {
        (Tells::Notices { receiver, .. }, Message::Notice(notice)) => {
            let now = app.now() / 1_000_000;
            receiver.tell(notice, &app.place, now).await
        }
        (Tells::Commits { host, .. }, Message::Mark { mark, branch }) => {
            host.mark(mark, branch, &app.place).await
        }
        _ => Ok(()),
    }
}

/// Passes over what is older than anybody wants to be told: the sink was configured again after a
/// long time, or nothing ran for days. It is on record how much that was.
async fn skip_old(
    app: &App,
    sink: &Sink,
    holding: &Holding,
    state: &SinkState,
    told: &mut Told,
) -> store::Result<bool> {
    if state.attempt > 0 {
        return Ok(false);
    }
    let now = app.now();
    let patience = i64::try_from(app.news_patience.as_micros()).unwrap_or(i64::MAX);
    let (count, last) = app
        .store
        .events_before(state.cursor, sink.types(), now.saturating_sub(patience))
        .await?;
    let Some(cursor) = last else {
        return Ok(false);
    };
    let problem = format!("{count} events were too old to be told when this sink was served again");
    info!(sink = %sink.name, count, "news that nobody told in time is passed over");
    told.gave_up += usize::try_from(count).unwrap_or(usize::MAX);
    let payload = json!({
        "sink": sink.name,
        "after": state.cursor,
        "until": cursor,
        "events": count,
        "problem": problem,
    });
    let gave_up = SinkChange::GaveUp {
        cursor,
        problem,
        at: now,
        events: vec![app.event(EventType::NoticeFailed, app.actor(), payload)],
    };
    change(app, sink, holding, &gave_up).await?;
    Ok(true)
}

async fn change(
    app: &App,
    sink: &Sink,
    holding: &Holding,
    change: &SinkChange,
) -> store::Result<()> {
    app.store
        .change_sink(holding.lease(), &sink.name, change)
        .await
}

/// What the sink is told of an event.
async fn messages(app: &App, sink: &Sink, entry: &Entry) -> store::Result<Vec<Message>> {
    match &sink.tells {
        Tells::Notices { news, stacks, .. } => {
            let concerns = |stack: &String| stacks.names(stack);
            if !entry.header.stack.as_ref().is_none_or(concerns) {
                return Ok(Vec::new());
            }
            let notice = notice::notice(entry, &around(app, entry).await?);
            let notice = notice.filter(|notice| news.contains(&notice.news));
            Ok(notice
                .map(|notice| Message::Notice(Box::new(notice)))
                .into_iter()
                .collect())
        }
        Tells::Commits { repository, .. } => {
            let branch = |stack: &str| {
                let stack = app.stack(stack)?;
                let is_ours = stack.repository == *repository;
                is_ours.then(|| stack.branch.as_str().to_owned())
            };
            if !notice::stacks_of(entry)
                .iter()
                .any(|stack| branch(stack).is_some())
            {
                return Ok(Vec::new());
            }
            let marks = notice::marks(entry, &around(app, entry).await?);
            Ok(marks
                .into_iter()
                .filter_map(|mark| {
                    let branch = branch(&mark.stack)?;
                    Some(Message::Mark { mark, branch })
                })
                .collect())
        }
    }
}

/// What the history says around the event of a run.
async fn around(app: &App, entry: &Entry) -> store::Result<Around> {
    let (Some(stack), Some(run)) = (&entry.header.stack, &entry.header.run) else {
        return Ok(Around::default());
    };
    let before = |event_type, limit| EventFilter {
        event_type: Some(event_type),
        stack: Some(stack.clone()),
        before: Some(entry.sequence),
        limit,
        ..EventFilter::default()
    };
    let earlier = app
        .store
        .events(&before(EventType::RunFinished, EARLIER))
        .await?;
    let drift = app
        .store
        .events(&before(EventType::DriftObserved, 1))
        .await?;
    let mut around = Around {
        earlier: earlier.iter().filter_map(Entry::read).collect(),
        ..Around::default()
    };
    around.drifted = match (drift.first(), around.last_whole()) {
        (Some(drift), Some(last)) => drift.sequence > last.sequence,
        (drift, None) => drift.is_some(),
        (None, Some(_)) => false,
    };
    let changes = async |run| -> store::Result<Vec<Entry>> {
        let changes = app
            .store
            .events_after(-1, DETAILS, Some(run), CHANGES)
            .await?;
        Ok(changes.iter().filter_map(Entry::read).collect())
    };
    around.changes = changes(run).await?;
    if let Some(last) = around.last().and_then(|last| last.header.run.clone()) {
        around.changes_before = changes(&last).await?;
    }
    Ok(around)
}

impl Message {
    fn sequence(&self) -> i64 {
        match self {
            Self::Notice(notice) => notice.sequence,
            Self::Mark { mark, .. } => mark.sequence,
        }
    }

    fn at(&self) -> i64 {
        match self {
            Self::Notice(notice) => notice.at,
            Self::Mark { mark, .. } => mark.at,
        }
    }
}

/// The event that says that a message was given up on.
fn gave_up(app: &App, sink: &Sink, message: &Message, problem: &str) -> NewEvent {
    let payload = |what: &str, hash| {
        json!({
            "sink": sink.name,
            "event": message.sequence(),
            "hash": hash,
            "notice": what,
            "problem": problem,
        })
    };
    match message {
        Message::Notice(notice) => NewEvent {
            target: notice.target.clone(),
            stack: notice.stack.clone(),
            run: notice.run.clone(),
            ..app.event(
                EventType::NoticeFailed,
                app.actor(),
                payload(notice.news.as_str(), notice.hash),
            )
        },
        Message::Mark { mark, .. } => NewEvent {
            stack: Some(mark.stack.clone()),
            run: mark.run.clone(),
            ..app.event(
                EventType::NoticeFailed,
                app.actor(),
                payload(&format!("status of {}", mark.revision), mark.hash),
            )
        },
    }
}

/// Asks the Git hosts which event they were told of last, at the commits that the stacks stand at
/// and follow. Where the history does not know it, the database was restored from a backup: that
/// goes on record, and the target is doubted as after a look at the witness's file. A host that
/// does not answer says nothing.
pub async fn compare_with_what_was_told(app: &App) -> store::Result<()> {
    for sink in app.sinks.iter() {
        let Tells::Commits { repository, host } = &sink.tells else {
            continue;
        };
        for stack in app.stacks.values() {
            if stack.repository != *repository {
                continue;
            }
            let settled = app.store.stack_state(&stack.name).await?;
            let settled = settled.and_then(|state| state.settled);
            let head = look::head(app, stack).await.ok();
            let revisions: BTreeSet<Revision> = settled.into_iter().chain(head).collect();
            for revision in revisions {
                match host.trace(&stack.name, &revision).await {
                    Ok(Some(trace)) => compare(app, stack, &trace).await?,
                    Ok(None) => {}
                    Err(error) => {
                        warn!(sink = %sink.name, %error, "the host does not say what it was told");
                    }
                }
            }
        }
    }
    Ok(())
}

async fn compare(app: &App, stack: &Stack, trace: &Trace) -> store::Result<()> {
    let size = app.store.head().await?.size;
    let known = app.store.hash_of(trace.sequence).await?;
    let message = match known {
        Some(hash) if hash.to_string().starts_with(&trace.hash) => return Ok(()),
        Some(_) => format!(
            "The Git host was told of another event {} than the history has: the database was \
             restored from a backup, or another installation marks the same commits.",
            trace.sequence
        ),
        None => format!(
            "The Git host was told of event {}, and the history ends with {size} events: the \
             database is older than what it told, and does not know what was done since.",
            trace.sequence
        ),
    };
    let payload = json!({
        "told": {"size": trace.sequence + 1, "hash": trace.hash},
        "found": size,
        "message": message,
    });
    let filter = EventFilter {
        event_type: Some(EventType::HistoryBehind),
        stack: Some(stack.name.clone()),
        limit: 1,
        ..EventFilter::default()
    };
    let last = app.store.events(&filter).await?;
    let last = last.first().and_then(Entry::read);
    // Every process looks when it starts; one record is enough.
    if last.is_some_and(|last| last.payload.get("told") == payload.get("told")) {
        return Ok(());
    }
    error!(
        stack = %stack.name,
        "{message} Deletions wait until `lockstep recover {}`",
        stack.target.name
    );
    let event = NewEvent {
        target: Some(stack.target.name.clone()),
        stack: Some(stack.name.clone()),
        ..app.event(EventType::HistoryBehind, app.actor(), payload)
    };
    let (now, target) = (app.now(), stack.target.name.clone());
    app.store
        .set_doubtful(&[target], Some(now), now, Some(&event))
        .await
}

/// How every sink of the configuration stands, in its order.
pub async fn standings(app: &App) -> store::Result<Vec<Standing>> {
    let mut standings = Vec::new();
    for sink in app.sinks.iter() {
        let Some(state) = app.store.sink(&sink.name).await? else {
            standings.push(Standing {
                sink: sink.name.clone(),
                problem: None,
                failing_since: None,
                untold_since: None,
                again_at: None,
                told_at: None,
            });
            continue;
        };
        let next = app
            .store
            .events_after(state.cursor, sink.types(), None, 1)
            .await?;
        let next = next.first().and_then(Entry::read);
        standings.push(Standing {
            sink: sink.name.clone(),
            problem: state.problem,
            failing_since: state.failing_since,
            untold_since: next.map(|entry| entry.header.at),
            again_at: (state.attempt > 0).then_some(state.not_before),
            told_at: state.told_at,
        });
    }
    Ok(standings)
}

/// Serves every sink until told to stop; a slow one holds up no other. What is being sent is seen
/// through, so that it is not told twice.
pub async fn run_until_shutdown(app: App, shutdown: CancellationToken) {
    let mut tasks = tokio::task::JoinSet::new();
    if app.place.0.is_some() {
        let (app, shutdown) = (app.clone(), shutdown.clone());
        tasks.spawn(async move {
            let compared = compare_with_what_was_told(&app);
            if let Some(Err(error)) = shutdown.run_until_cancelled(compared).await {
                warn!(%error, "what was told could not be compared with the history");
            }
        });
    }
    for sink in app.sinks.iter().cloned() {
        tasks.spawn(serve_until_shutdown(app.clone(), sink, shutdown.clone()));
    }
    while tasks.join_next().await.is_some() {}
}

async fn serve_until_shutdown(app: App, sink: Arc<Sink>, shutdown: CancellationToken) {
    /// How often the history is looked at for news.
    const LOOK: Duration = Duration::from_secs(1);
    while !shutdown.is_cancelled() {
        if let Err(error) = serve_sink(&app, &sink, &shutdown).await {
            warn!(sink = %sink.name, %error, "news waits: the store could not be read");
        }
        let _ = tokio::time::timeout(LOOK, shutdown.cancelled()).await;
    }
}
