//! From messages to runs: the inbox takes a push off the queue into the database, and a lease
//! turns wanted stacks into runs.
//!
//! Each loop is a public step and a `while`; tests call the steps. Messages are hints and every
//! step may be repeated.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use serde_json::json;
use tokio::{sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{
    hold,
    lease::Holding,
    recover::recover,
    run::{self, Report, RunError},
};
use crate::{
    app::{App, Queue},
    domain::{
        audit::event::{Actor, EventType, NewEvent, Person, callers},
        run::RunStatus,
    },
    message::{Delivered, Message, Refused},
    queue,
    store::{self, CommitRef, Delivery, Recorded, StackTarget},
    webhook::{self, Event, GitRef},
};

/// How many messages are taken off the queue at once.
const BATCH: usize = 64;
const LOCAL_BATCH: i64 = 64;

#[derive(Debug, thiserror::Error)]
pub enum InboxError {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("the queue: {0}")]
    Queue(#[from] queue::Error),
}

/// Takes waiting messages into the database and acknowledges them. Says how many there were, and
/// which stacks want a run.
pub async fn take_messages(
    app: &App,
    wait: Duration,
) -> Result<(usize, BTreeSet<StackTarget>), InboxError> {
    let mut wanted = BTreeSet::new();
    let count = match &app.queue {
        Queue::Local(local) => {
            let taken = local
                .take(app.now(), LOCAL_BATCH, Duration::from_secs(30))
                .await?;
            let count = taken.len();
            for message in taken {
                match Message::decode(&message.payload) {
                    Ok(read) => {
                        wanted.extend(record(app, read).await?);
                        crate::crash::point("after-inbox");
                        local.ack(&message.id).await?;
                    }
                    Err(unreadable) => {
                        set_aside_event(app, &unreadable.to_string()).await?;
                        local
                            .set_aside(&message.id, &unreadable.to_string(), app.now())
                            .await?;
                    }
                }
            }
            count
        }
        Queue::JetStream(jetstream) => {
            // While the database is down nothing is pulled, and messages wait where they are safe.
            app.store.ping().await?;
            let taken = jetstream.pull(BATCH, wait).await?;
            let count = taken.len();
            for message in taken {
                match Message::decode(message.body()) {
                    Ok(read) => {
                        wanted.extend(record(app, read).await?);
                        crate::crash::point("after-inbox");
                        message.ack().await?;
                    }
                    Err(unreadable) => {
                        set_aside_event(app, &unreadable.to_string()).await?;
                        message.set_aside(&unreadable.to_string()).await?;
                    }
                }
            }
            count
        }
    };
    Ok((count, wanted))
}

async fn set_aside_event(app: &App, reason: &str) -> store::Result<()> {
    error!(reason, "a queue message cannot be read; it is set aside");
    let payload = json!({"reason": reason});
    let event = app.event(EventType::MessageSetAside, app.actor(), payload);
    app.store.record_events(&[event]).await
}

/// Records one message in one transaction. A repeated message changes nothing.
async fn record(app: &App, message: Message) -> store::Result<Vec<StackTarget>> {
    match message {
        Message::Delivered(delivered) => record_delivery(app, delivered).await,
        Message::Refused(refused) => {
            record_refused(app, &refused).await?;
            Ok(Vec::new())
        }
    }
}

async fn record_refused(app: &App, refused: &Refused) -> store::Result<()> {
    let actor = Actor::new("webhook", refused.webhook.clone());
    let payload = json!({
        "from": refused.from,
        "until": refused.until,
        "counts": refused.counts,
        "receiver": refused.receiver,
    });
    let mut event = app.event(EventType::DeliveriesRefused, actor, payload);
    event.people = callers(refused.addresses.keys());
    app.store.record_events(&[event]).await
}

async fn record_delivery(app: &App, delivered: Delivered) -> store::Result<Vec<StackTarget>> {
    let id = delivered.id();
    let Delivered {
        webhook,
        event,
        body_sha256,
        received_at,
        origin,
        delivery: _,
    } = delivered;
    let mut delivery = Delivery {
        id,
        webhook: webhook.clone(),
        event: "ping".to_owned(),
        repository: None,
        git_ref: None,
        before: None,
        after: None,
        commits: Vec::new(),
        forced: false,
        pusher: None,
        body_sha256,
        received_at,
        trace: origin.trace,
    };
    let mut stacks = Vec::new();
    let mut ignored_because = None;
    match event {
        Event::Push(push) => {
            "push".clone_into(&mut delivery.event);
            delivery.repository = Some(push.repository.full_name.to_string());
            let (full_ref, branch) = match &push.git_ref {
                GitRef::Branch(name) => (format!("refs/heads/{}", name.as_str()), Some(name)),
                GitRef::Tag(name) => (format!("refs/tags/{}", name.as_str()), None),
            };
            if let Some(branch) = branch {
                let full_name = &push.repository.full_name;
                stacks.extend(
                    app.stacks_of(&webhook, full_name, branch.as_str())
                        .map(|stack| stack.id()),
                );
            }
            if stacks.is_empty() {
                ignored_because = Some("no stack follows this branch of this repository");
            }
            delivery.git_ref = Some(full_ref);
            delivery.before = push.before;
            delivery.after = push.after;
            delivery.forced = push.forced;
            delivery.pusher = push.pusher.map(person);
            delivery.commits = push.commits.into_iter().map(commit).collect();
        }
        Event::Ping => ignored_because = Some("a ping"),
        Event::Ignored { kind } => {
            delivery.event = kind;
            ignored_because = Some("not a push");
        }
    }
    let mut event = delivery_event(app, &delivery, &stacks, ignored_because);
    event.people.extend(callers(origin.address));
    let recorded = app
        .store
        .record_delivery(&delivery, &stacks, app.now(), &event)
        .await?;
    match recorded {
        Recorded::New => {
            info!(delivery = %delivery.id, stacks = stacks.len(), "a delivery is on record");
            Ok(stacks)
        }
        // Recorded before, and perhaps not acknowledged: whoever recorded it may have died.
        Recorded::Duplicate => Ok(stacks),
    }
}

fn delivery_event(
    app: &App,
    delivery: &Delivery,
    stacks: &[StackTarget],
    ignored_because: Option<&str>,
) -> NewEvent {
    let event_type = if ignored_because.is_some() {
        EventType::DeliveryIgnored
    } else {
        EventType::DeliveryAccepted
    };
    let commits: Vec<&str> = delivery
        .commits
        .iter()
        .map(|commit| commit.id.as_str())
        .collect();
    let names: Vec<&str> = stacks.iter().map(|stack| stack.stack.as_str()).collect();
    let payload = json!({
        "delivery": delivery.id,
        "event": delivery.event,
        "repository": delivery.repository,
        "ref": delivery.git_ref,
        "before": delivery.before,
        "after": delivery.after,
        "forced": delivery.forced,
        "commits": commits,
        "body_sha256": delivery.body_sha256,
        "received_at": delivery.received_at,
        "stacks": names,
        "ignored": ignored_because,
    });
    let actor = Actor::new("webhook", delivery.webhook.clone());
    let mut event = app
        .event(event_type, actor, payload)
        .traced(delivery.trace.as_ref());
    // An event about one stack can be found by it.
    if let [only] = stacks {
        event.stack = Some(only.stack.clone());
        event.target = Some(only.target.clone());
    }
    if let Some(pusher) = &delivery.pusher {
        event.people.push(("pusher".to_owned(), pusher.clone()));
    }
    event
}

fn person(person: webhook::Person) -> Person {
    let webhook::Person { name, login, email } = person;
    Person {
        name,
        login,
        email,
        address: None,
    }
}

fn commit(commit: webhook::Commit) -> CommitRef {
    let has_author = commit.author_name.is_some() || commit.author_email.is_some();
    CommitRef {
        id: commit.id.to_string(),
        message: commit.message,
        author: has_author.then_some(Person {
            name: commit.author_name,
            email: commit.author_email,
            ..Person::default()
        }),
    }
}

/// Runs every due stack of one target, unless somebody else holds it: then there is nothing to
/// do, because the holder looks for work after it has let go.
pub async fn serve_target(app: &App, target: &str) -> Result<Vec<Report>, RunError> {
    let mut reports = Vec::new();
    loop {
        let Some(holding) = Holding::take(&app.store, target, &app.worker).await? else {
            return Ok(reports);
        };
        let served = serve_held(app, &holding, target, &mut reports).await;
        let waiting = match holding.release().await {
            Ok(waiting) => waiting,
            // Somebody else has it by now and does what is left.
            Err(store::Error::LeaseLost { .. }) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        served?;
        // What waits for another try is found by the timers.
        let due = if waiting.is_empty() {
            Vec::new()
        } else {
            hold::due(app).await?
        };
        let is_ours =
            |stack: &StackTarget| stack.target == target && app.stacks.contains_key(&stack.stack);
        if !due.iter().any(is_ours) {
            return Ok(reports);
        }
    }
}

async fn serve_held(
    app: &App,
    holding: &Holding,
    target: &str,
    reports: &mut Vec<Report>,
) -> Result<(), RunError> {
    let Some(handle) = app.targets.get(target) else {
        return Ok(());
    };
    if let Err(error) = recover(app, holding, handle).await {
        if let RunError::Open { run, why } = &error {
            warn!(%run, why, "what a dead worker left open cannot be resolved yet");
            postpone_all(app, target, why).await?;
        }
        return Err(error);
    }
    for state in app.store.stack_states().await? {
        let may_have_work = state.target == target && (state.is_pending() || state.hold.is_some());
        let Some(stack) = app.stack(&state.stack).filter(|_| may_have_work) else {
            continue;
        };
        // As it stands now: it may have been held since.
        let Some(state) = hold::ready(app, stack).await? else {
            continue;
        };
        match run::run_stack(app, holding, stack, &state, None, &run::silent).await {
            Ok(report) => {
                log(stack.name.as_str(), &report);
                reports.push(report);
            }
            Err(RunError::Open { run, why }) => {
                warn!(stack = %stack.name, %run, why, "a run stays open; it is resolved at the next attempt");
                let attempt = state.attempt + 1;
                let not_before = app.now() + run::backoff(attempt);
                app.store
                    .postpone(&stack.name, attempt, not_before, &why)
                    .await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// While a target cannot be asked what became of an open run, none of its stacks can be served.
async fn postpone_all(app: &App, target: &str, why: &str) -> store::Result<()> {
    for state in app.store.stack_states().await? {
        if state.target == target && state.wanted > state.done {
            let attempt = state.attempt + 1;
            let not_before = app.now() + run::backoff(attempt);
            app.store
                .postpone(&state.stack, attempt, not_before, why)
                .await?;
        }
    }
    Ok(())
}

fn log(stack: &str, report: &Report) {
    let revision = report
        .revision
        .as_ref()
        .map_or("-", |revision| revision.short());
    let changes = report.changes.len();
    let message = report.message.as_deref().unwrap_or("");
    match report.status {
        RunStatus::Succeeded | RunStatus::Running => {
            info!(stack, revision, changes, "the stack is in step");
        }
        status => warn!(stack, revision, changes, %status, message, "a run needs a look"),
    }
}

/// Takes everything that waits and runs everything that is due, until nothing is left. What tests
/// and the demo step with.
pub async fn run_pending(app: &App) -> anyhow::Result<Vec<Report>> {
    let mut reports = Vec::new();
    loop {
        let (taken, _) = take_messages(app, Duration::from_millis(100)).await?;
        let due = hold::due(app).await?;
        let targets: BTreeSet<String> = due.into_iter().map(|due| due.target).collect();
        let is_idle = taken == 0 && targets.is_empty();
        for target in targets {
            reports.extend(serve_target(app, &target).await?);
        }
        if is_idle {
            return Ok(reports);
        }
    }
}

/// One task a target at most: a slow target delays only its own stacks.
#[derive(Default)]
struct Lanes {
    running: JoinSet<String>,
    /// Targets that are being served; `true` when they were asked for again meanwhile.
    busy: HashMap<String, bool>,
}

impl Lanes {
    fn serve(&mut self, app: &App, target: String) {
        if let Some(again) = self.busy.get_mut(&target) {
            *again = true;
            return;
        }
        self.busy.insert(target.clone(), false);
        let app = app.clone();
        self.running.spawn(async move {
            if let Err(error) = serve_target(&app, &target).await {
                warn!(target_name = %target, %error, "serving a target ended early");
            }
            target
        });
    }

    fn finished(&mut self, app: &App, target: String) {
        if self.busy.remove(&target) == Some(true) {
            self.serve(app, target);
        }
    }
}

/// Works until told to stop, then finishes what it holds. `nudge` is rung by whoever knows of new
/// work: the local receiver, and the timers.
pub async fn run_until_shutdown(app: App, nudge: Arc<Notify>, shutdown: CancellationToken) {
    /// Stacks become due without a message: after a failure, by a timer, by another process.
    const LOOK: Duration = Duration::from_secs(1);
    let mut lanes = Lanes::default();
    let (sender, mut wanted) = tokio::sync::mpsc::channel(16);
    let inbox = tokio::spawn(inbox_loop(app.clone(), sender, nudge, shutdown.clone()));
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(target) = wanted.recv() => lanes.serve(&app, target),
            Some(done) = lanes.running.join_next() => {
                match done {
                    Ok(target) => lanes.finished(&app, target),
                    Err(panic) => {
                        // The lane's lease runs out, and timers find its work.
                        error!(%panic, "a lane died");
                        lanes.busy.clear();
                    }
                }
            }
            _ = looks.tick() => match hold::due(&app).await {
                Ok(due) => {
                    let targets: BTreeSet<String> = due.into_iter().map(|due| due.target).collect();
                    for target in targets {
                        if app.targets.contains_key(&target) {
                            lanes.serve(&app, target);
                        }
                    }
                }
                Err(error) => warn!(%error, "cannot ask the store what is due"),
            },
        }
    }
    inbox.abort();
    while lanes.running.join_next().await.is_some() {}
}

async fn inbox_loop(
    app: App,
    wanted: tokio::sync::mpsc::Sender<String>,
    nudge: Arc<Notify>,
    shutdown: CancellationToken,
) {
    const WAIT: Duration = Duration::from_secs(5);
    const TROUBLE: Duration = Duration::from_secs(1);
    while !shutdown.is_cancelled() {
        match take_messages(&app, WAIT).await {
            Ok((taken, stacks)) => {
                let targets: BTreeSet<String> =
                    stacks.into_iter().map(|stack| stack.target).collect();
                for target in targets {
                    if wanted.send(target).await.is_err() {
                        return;
                    }
                }
                if taken == 0 && matches!(app.queue, Queue::Local(_)) {
                    // The local queue is asked when it is rung for, and now and then.
                    let _ = tokio::time::timeout(TROUBLE, nudge.notified()).await;
                }
            }
            Err(error) => {
                warn!(%error, "messages wait: they cannot be taken in");
                tokio::time::sleep(TROUBLE).await;
            }
        }
    }
}
