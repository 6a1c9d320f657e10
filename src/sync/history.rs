//! What the history says together: the life of an object, the way from a commit to what is live,
//! the changes of a time with who is behind them, and what a target ran at a moment. Only reads,
//! and reads only what is on record: no target is asked.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    app::App,
    domain::{
        approval::Approver,
        audit::event::{Event, EventType, Header, Person},
        diff::FieldChange,
        object::ObjectKey,
        pull_request,
        revision::Revision,
        run::{Action, Outcome, RunId, Trigger},
    },
    store::{
        self, ApprovalEntry, ChangeEntry, Delivery, Filter, From, ObjectEntry, Paging, Run, Store,
    },
};

/// The first digits of a commit that name it, at least.
const SHORTEST: usize = 7;

#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    #[error(
        "a commit is named by its id in lower-case hex digits, or by the first of them, 7 at least"
    )]
    Malformed,
    #[error("no delivery and no run knows a commit that begins with {0}")]
    Unknown(String),
    #[error("{digits} is the beginning of several commits: {}", known.join(", "))]
    Several { digits: String, known: Vec<String> },
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// The commit that these digits mean. A full id may be one that is not on record.
pub async fn commit(store: &Store, digits: &str) -> Result<Revision, CommitError> {
    const LONGEST: usize = 64;
    if !(SHORTEST..=LONGEST).contains(&digits.len()) || !is_hex(digits) {
        return Err(CommitError::Malformed);
    }
    if let Ok(revision) = digits.parse() {
        return Ok(revision);
    }
    let mut known = store.commits_like(digits).await?;
    match known.len() {
        0 => Err(CommitError::Unknown(digits.to_owned())),
        1 => Ok(known.remove(0)),
        _ => Err(CommitError::Several {
            digits: digits.to_owned(),
            known: known.iter().map(ToString::to_string).collect(),
        }),
    }
}

/// Whether a text may be the beginning of a commit's id.
pub fn is_commit(text: &str) -> bool {
    text.len() >= SHORTEST && is_hex(text)
}

fn is_hex(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// The people of a run, by their part in it.
#[derive(Debug, Clone, Default)]
pub struct Behind {
    pub author: Option<Person>,
    pub pusher: Option<Person>,
    /// Who asked for it by hand.
    pub operator: Option<Person>,
    pub approvals: Vec<ApprovalEntry>,
    /// The file of each object, where the events name it.
    paths: BTreeMap<String, String>,
}

/// Who is behind these runs. Who was erased is nobody.
pub async fn behind(store: &Store, runs: &[RunId]) -> store::Result<BTreeMap<RunId, Behind>> {
    const TELLING: &[EventType] = &[
        EventType::RunIntended,
        EventType::RunFinished,
        EventType::ChangeApplied,
        EventType::ObjectAdopted,
        EventType::ObjectReleased,
    ];
    let runs: BTreeSet<&RunId> = runs.iter().collect();
    let runs: Vec<RunId> = runs.into_iter().cloned().collect();
    let mut events = store.events_of_runs(&runs, TELLING).await?;
    let mut approvals = store.approvals_behind(&runs).await?;
    Ok(runs
        .into_iter()
        .map(|run| {
            let mut behind = Behind {
                approvals: approvals.remove(&run).unwrap_or_default(),
                ..Behind::default()
            };
            for event in events.remove(&run).unwrap_or_default() {
                for (part, person) in people(&event) {
                    match part.as_str() {
                        "author" => behind.author = Some(person),
                        "pusher" => behind.pusher = Some(person),
                        "operator" => behind.operator = Some(person),
                        _ => {}
                    }
                }
                behind.paths.extend(path_in(&event));
            }
            (run, behind)
        })
        .collect())
}

/// The object of an event and its file, where the event names both.
fn path_in(event: &Event) -> Option<(String, String)> {
    let header: Header = serde_json::from_str(&event.header).ok()?;
    let payload: Value = serde_json::from_str(&event.payload).ok()?;
    // Of a run as a whole that is the folder.
    let path = payload.pointer("/source/path")?.as_str()?;
    Some((header.object?.to_string(), path.to_owned()))
}

/// The people of an event by their part in it, as far as they were not erased.
pub fn people(event: &Event) -> Vec<(String, Person)> {
    let payload: Value = serde_json::from_str(&event.payload).unwrap_or_default();
    let named = payload.get("people").and_then(Value::as_array);
    named
        .into_iter()
        .flatten()
        .filter_map(|named| {
            let part = named.get("part")?.as_str()?;
            let commitment = named.get("person")?.as_str()?;
            let opening = event
                .people
                .iter()
                .find(|opening| opening.commitment.to_string() == commitment)?;
            let person = serde_json::from_str(&opening.value).ok()?;
            Some((part.to_owned(), person))
        })
        .collect()
}

/// One thing that happened to an object.
#[derive(Debug, Clone)]
pub struct Chapter {
    /// Microseconds UTC.
    pub at: i64,
    /// The change's action, or what was seen: `drift`, `appeared`.
    pub what: String,
    /// Whether nobody of ours did it.
    pub by_hand: bool,
    pub stack: Option<String>,
    pub node: String,
    pub run: Option<RunId>,
    pub revision: Option<Revision>,
    pub path: Option<String>,
    pub behind: Behind,
    pub trigger: Option<Trigger>,
    pub outcome: Option<Outcome>,
    pub reason: String,
    pub message: Option<String>,
    pub fields: Vec<FieldChange>,
    /// The event, of what was seen.
    pub event: Option<i64>,
}

/// The life of an object, newest first, from a moment back: what runs did to it, and what was seen
/// to have been done by others. With whether there is more before that.
pub async fn life(
    store: &Store,
    target: &str,
    object: &ObjectKey,
    until: Option<i64>,
    limit: usize,
) -> store::Result<(Vec<Chapter>, bool)> {
    let filter = Filter {
        target: Some(target.to_owned()),
        object: Some(object.clone()),
        until,
        ..Filter::default()
    };
    let wanted = limit.saturating_add(1);
    let changes = all(wanted, async |paging| {
        store.changes_page(&filter, &paging).await
    })
    .await?;
    let seen = Filter {
        types: vec![EventType::DriftObserved, EventType::ForeignAppeared],
        ..filter
    };
    let events = all(wanted, async |paging| {
        store.events_page(&seen, &paging).await
    })
    .await?;

    let runs: Vec<RunId> = changes.iter().map(|entry| entry.run.clone()).collect();
    let behind = behind(store, &runs).await?;
    let owned = Filter {
        target: Some(target.to_owned()),
        object: Some(object.clone()),
        ..Filter::default()
    };
    let owned = store.objects_page(&owned, &Paging::of(100)).await?;
    let path_of = |run: &RunId, behind: &Behind| {
        let named = behind.paths.get(&object.to_string()).cloned();
        named.or_else(|| {
            let here = owned.items.iter().find(|entry| entry.owned.run == *run);
            here.and_then(|entry| entry.owned.path.clone())
        })
    };
    let mut chapters: Vec<Chapter> = changes
        .into_iter()
        .map(|entry| {
            let behind = behind.get(&entry.run).cloned().unwrap_or_default();
            Chapter {
                at: entry.finished_at.unwrap_or(entry.at),
                what: entry.change.action.to_string(),
                by_hand: false,
                path: path_of(&entry.run, &behind),
                stack: Some(entry.stack),
                node: entry.node,
                run: Some(entry.run),
                revision: entry.revision,
                behind,
                trigger: Some(entry.trigger),
                outcome: Some(entry.change.outcome),
                reason: entry.change.reason,
                message: entry.change.message,
                fields: entry.change.fields,
                event: None,
            }
        })
        .collect();
    chapters.extend(events.iter().flat_map(|event| seen_in(event, object)));
    chapters.sort_by_key(|chapter| std::cmp::Reverse(chapter.at));
    let has_more = chapters.len() > limit;
    chapters.truncate(limit);
    Ok((chapters, has_more))
}

/// What an event says was done to the object by others.
fn seen_in(event: &Event, object: &ObjectKey) -> Vec<Chapter> {
    let Ok(header) = serde_json::from_str::<Header>(&event.header) else {
        return Vec::new();
    };
    let payload: Value = serde_json::from_str(&event.payload).unwrap_or_default();
    let appeared = header.event_type == EventType::ForeignAppeared.as_str();
    let chapter = Chapter {
        at: header.at,
        what: if appeared { "appeared" } else { "drift" }.to_owned(),
        by_hand: true,
        stack: header.stack,
        node: text(&payload, "/node"),
        run: header.run,
        revision: None,
        path: None,
        behind: Behind::default(),
        trigger: None,
        outcome: None,
        reason: text(&payload, "/by"),
        message: None,
        fields: Vec::new(),
        event: Some(event.sequence),
    };
    let changes = payload.get("changes").and_then(Value::as_array);
    let mut chapters: Vec<Chapter> = changes
        .into_iter()
        .flatten()
        .filter(|change| text(change, "/object") == object.to_string())
        .map(|change| Chapter {
            node: text(change, "/node"),
            message: Some(text(change, "/what")).filter(|what| !what.is_empty()),
            fields: change
                .get("fields")
                .and_then(|fields| serde_json::from_value(fields.clone()).ok())
                .unwrap_or_default(),
            ..chapter.clone()
        })
        .collect();
    if chapters.is_empty() {
        chapters.push(chapter);
    }
    chapters
}

fn text(value: &Value, pointer: &str) -> String {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_default().to_owned()
}

/// The newest so many items of a list, however many pages they take.
pub async fn all<T>(
    wanted: usize,
    page: impl AsyncFn(Paging) -> store::Result<store::Page<T>>,
) -> store::Result<Vec<T>> {
    let wanted = i64::try_from(wanted).unwrap_or(i64::MAX);
    let (page, _) = fill(From::Newest, wanted, page).await?;
    Ok(page.items)
}

/// A page with as many items as are wanted, where there are so many: one page of the store may end
/// early. Says whether there is more beyond it.
pub async fn fill<T>(
    from: From,
    wanted: i64,
    page: impl AsyncFn(Paging) -> store::Result<store::Page<T>>,
) -> store::Result<(store::Page<T>, bool)> {
    let is_forward = matches!(from, From::After(_));
    let mut whole = page(Paging {
        from,
        limit: wanted,
    })
    .await?;
    loop {
        let count = i64::try_from(whole.items.len()).unwrap_or(i64::MAX);
        let next = match (is_forward, &whole.before, &whole.after) {
            (false, Some(before), _) => From::Before(before.clone()),
            (true, _, Some(after)) => From::After(after.clone()),
            _ => return Ok((whole, false)),
        };
        if count >= wanted {
            return Ok((whole, true));
        }
        let mut more = page(Paging {
            from: next,
            limit: wanted - count,
        })
        .await?;
        if is_forward {
            let is_end = more.after == whole.after;
            whole.after = more.after;
            more.items.append(&mut whole.items);
            whole.items = more.items;
            if is_end {
                return Ok((whole, false));
            }
        } else {
            whole.before = more.before;
            whole.after = whole.after.or(more.after);
            whole.items.append(&mut more.items);
        }
    }
}

/// One change of a report, or something that others did, with who is behind it.
#[derive(Debug, Clone)]
pub struct Row {
    pub standing: Standing,
    pub at: i64,
    /// `change`, or the type of the event.
    pub kind: String,
    pub target: String,
    pub stack: String,
    pub object: String,
    pub action: String,
    pub outcome: String,
    pub run: Option<RunId>,
    pub commit: Option<Revision>,
    pub trigger: Option<Trigger>,
    pub author: Option<Person>,
    pub pusher: Option<Person>,
    pub operator: Option<Person>,
    pub approvals: Vec<ApprovalEntry>,
    /// Whether somebody approved who is neither the author nor the pusher; `None` without an
    /// approval.
    pub by_another: Option<bool>,
    pub pull_request: Option<String>,
    pub reason: String,
    /// Why it stands where it does, in sentences.
    pub notes: Vec<String>,
}

/// How much a change asks to be looked at; the first most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Beside Git: drift, what others made, freezes that were overridden.
    OutOfBand,
    /// Through Lockstep, by a person's hand or with an approval that nobody signed in for.
    ByHand,
    /// No approval of another person is on record here.
    Unapproved,
    Approved,
}

impl Standing {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OutOfBand => "out-of-band",
            Self::ByHand => "by-hand",
            Self::Unapproved => "unapproved",
            Self::Approved => "approved",
        }
    }
}

/// The events of a report: what was done beside Git.
pub const OUT_OF_BAND: &[EventType] = &[
    EventType::DriftObserved,
    EventType::ForeignAppeared,
    EventType::FreezeOverridden,
];

/// The rows of what was done beside Git, an object a row.
pub fn out_of_band(event: &Event) -> Vec<Row> {
    let Ok(header) = serde_json::from_str::<Header>(&event.header) else {
        return Vec::new();
    };
    let payload: Value = serde_json::from_str(&event.payload).unwrap_or_default();
    let listed = payload.get("objects").and_then(Value::as_array);
    let objects: Vec<String> = listed
        .into_iter()
        .flatten()
        .filter_map(|object| Some(object.as_str()?.to_owned()))
        .collect();
    let objects = if objects.is_empty() {
        vec![String::new()]
    } else {
        objects
    };
    let by = people(event).into_iter();
    let operator = by.map(|(_, person)| person).next();
    let is_override = header.event_type == EventType::FreezeOverridden.as_str();
    let note = if is_override {
        "a freeze window was overridden"
    } else {
        "not by a run of this installation; who it was is not known here"
    };
    objects
        .into_iter()
        .map(|object| Row {
            standing: Standing::OutOfBand,
            at: header.at,
            kind: header.event_type.clone(),
            target: header.target.clone().unwrap_or_default(),
            stack: header.stack.clone().unwrap_or_default(),
            object,
            action: String::new(),
            outcome: "observed".to_owned(),
            run: header.run.clone(),
            commit: None,
            trigger: None,
            author: None,
            pusher: None,
            operator: operator.clone(),
            approvals: Vec::new(),
            by_another: None,
            pull_request: None,
            reason: text(&payload, "/reason"),
            notes: vec![format!("{note} (event {})", event.sequence)],
        })
        .collect()
}

/// The rows of some changes. What was only held back changed nothing and has none.
pub async fn rows(app: &App, changes: Vec<ChangeEntry>) -> store::Result<Vec<Row>> {
    let runs: Vec<RunId> = changes.iter().map(|entry| entry.run.clone()).collect();
    let known = app.store.runs_by_id(&runs).await?;
    let behind = behind(&app.store, &runs).await?;
    Ok(changes
        .into_iter()
        .filter(|entry| !matches!(entry.change.outcome, Outcome::Held | Outcome::Skipped))
        .map(|entry| {
            let behind = behind.get(&entry.run).cloned().unwrap_or_default();
            row(app, entry.clone(), known.get(&entry.run), behind)
        })
        .collect())
}

fn row(app: &App, entry: ChangeEntry, run: Option<&Run>, behind: Behind) -> Row {
    let commit = run.and_then(|run| {
        let revision = run.revision.as_ref()?.as_str();
        run.commits.iter().find(|commit| commit.id == revision)
    });
    let author = behind
        .author
        .or_else(|| commit.and_then(|commit| commit.author.clone()));
    let pusher = entry.pusher.clone().or(behind.pusher);
    let pull_request = commit.and_then(|commit| pull_request::named_in(&commit.message));
    let involved: Vec<&Person> = author.iter().chain(&pusher).collect();
    let is_another = |approval: &ApprovalEntry| match &approval.by {
        Approver::Person(name) => app
            .people
            .get(name)
            .is_some_and(|identity| !involved.iter().any(|person| identity.is(person))),
        Approver::Local(_) => false,
    };
    let by_another =
        (!behind.approvals.is_empty()).then(|| behind.approvals.iter().any(is_another));
    let is_local = |approval: &ApprovalEntry| matches!(approval.by, Approver::Local(_));
    let mut notes = Vec::new();
    let mut standing = Standing::Unapproved;
    if behind.approvals.is_empty() {
        notes.push(match &pull_request {
            Some(named) => format!(
                "no approval is on record here; the commit names {named}, whose reviews the Git \
                 host has"
            ),
            None => "no approval is on record here".to_owned(),
        });
    } else if by_another == Some(true) {
        standing = Standing::Approved;
    } else {
        notes.push("nobody but the author or the pusher approved".to_owned());
    }
    if behind.approvals.iter().any(is_local) {
        standing = standing.min(Standing::ByHand);
        notes.push("approved without a token: whoever it was did not sign in".to_owned());
    }
    match entry.trigger {
        Trigger::Manual | Trigger::Rollback => {
            standing = standing.min(Standing::ByHand);
            notes.push(format!("the run was asked for by hand ({})", entry.trigger));
        }
        Trigger::Drift => notes.push("puts back what was changed by hand".to_owned()),
        _ => {}
    }
    Row {
        standing,
        at: entry.finished_at.unwrap_or(entry.at),
        kind: "change".to_owned(),
        target: entry.target,
        stack: entry.stack,
        object: entry.change.object.to_string(),
        action: entry.change.action.to_string(),
        outcome: entry.change.outcome.to_string(),
        run: Some(entry.run),
        commit: entry.revision,
        trigger: Some(entry.trigger),
        author,
        pusher,
        operator: behind.operator,
        approvals: behind.approvals,
        by_another,
        pull_request,
        reason: entry.change.reason,
        notes,
    }
}

/// What is known of the way of one object, or of one commit.
#[derive(Debug, Default)]
pub struct Trace {
    pub objects: Vec<ObjectTrace>,
    pub commit: Option<CommitTrace>,
}

/// From an object, or the file that describes it, back to who wrote it.
#[derive(Debug)]
pub struct ObjectTrace {
    pub target: String,
    pub object: ObjectKey,
    /// As the inventory has it on every node; empty when no stack owns it any more.
    pub live: Vec<ObjectEntry>,
    /// The last change of it.
    pub last: Option<ChangeEntry>,
    pub run: Option<Run>,
    pub deliveries: Vec<Delivery>,
    pub behind: Behind,
}

/// From a commit to what it brought live.
#[derive(Debug)]
pub struct CommitTrace {
    pub commit: Revision,
    /// Those that announced it.
    pub deliveries: Vec<Delivery>,
    /// Runs at this commit, newest first.
    pub runs: Vec<Run>,
    /// Runs at a later commit that stand for a delivery which announced this one.
    pub passed_over_by: Vec<Run>,
    /// The changes of the runs at this commit, and what the inventory has of each object now.
    pub changes: Vec<(ChangeEntry, Vec<ObjectEntry>)>,
}

/// How many of each a trace shows.
pub const TRACED: i64 = 100;

pub async fn trace_object(store: &Store, object: &ObjectKey) -> store::Result<Vec<ObjectTrace>> {
    let filter = Filter {
        object: Some(object.clone()),
        ..Filter::default()
    };
    let owned = store.objects_page(&filter, &Paging::of(TRACED)).await?;
    let changes = store.changes_page(&filter, &Paging::of(TRACED)).await?;
    let mut traces: BTreeMap<String, ObjectTrace> = BTreeMap::new();
    let start = |target: &String| ObjectTrace::start(target, object);
    for entry in owned.items {
        let trace = traces.entry(entry.target.clone());
        let trace = trace.or_insert_with_key(start);
        trace.live.push(entry);
    }
    for entry in changes.items {
        let trace = traces.entry(entry.target.clone());
        let trace = trace.or_insert_with_key(start);
        trace.last.get_or_insert(entry);
    }
    complete(store, traces.into_values().collect()).await
}

pub async fn trace_path(store: &Store, path: &str) -> store::Result<Vec<ObjectTrace>> {
    let filter = Filter {
        path: Some(path.to_owned()),
        ..Filter::default()
    };
    let owned = store.objects_page(&filter, &Paging::of(TRACED)).await?;
    let mut traces: BTreeMap<(String, ObjectKey), ObjectTrace> = BTreeMap::new();
    for entry in owned.items {
        let place = (entry.target.clone(), entry.object.clone());
        let trace = traces
            .entry(place)
            .or_insert_with_key(|(target, object)| ObjectTrace::start(target, object));
        trace.live.push(entry);
    }
    complete(store, traces.into_values().collect()).await
}

impl ObjectTrace {
    fn start(target: &str, object: &ObjectKey) -> Self {
        Self {
            target: target.to_owned(),
            object: object.clone(),
            live: Vec::new(),
            last: None,
            run: None,
            deliveries: Vec::new(),
            behind: Behind::default(),
        }
    }
}

/// Goes on from where objects are to their last change, its run, and who is behind that.
async fn complete(store: &Store, mut traces: Vec<ObjectTrace>) -> store::Result<Vec<ObjectTrace>> {
    for trace in &mut traces {
        if trace.last.is_none() {
            let filter = Filter {
                target: Some(trace.target.clone()),
                object: Some(trace.object.clone()),
                ..Filter::default()
            };
            let last = all(1, async |paging| store.changes_page(&filter, &paging).await).await?;
            trace.last = last.into_iter().next();
        }
    }
    let runs = traces.iter().filter_map(|trace| trace.last.as_ref());
    let runs: BTreeSet<RunId> = runs.map(|last| last.run.clone()).collect();
    let runs: Vec<RunId> = runs.into_iter().collect();
    let known = store.runs_by_id(&runs).await?;
    let deliveries = store.deliveries_for(&runs).await?;
    let behind = behind(store, &runs).await?;
    for trace in &mut traces {
        if let Some(last) = &trace.last {
            trace.run = known.get(&last.run).cloned();
            trace.deliveries = deliveries.get(&last.run).cloned().unwrap_or_default();
            trace.behind = behind.get(&last.run).cloned().unwrap_or_default();
        }
    }
    Ok(traces)
}

pub async fn trace_commit(store: &Store, commit: Revision) -> store::Result<CommitTrace> {
    let filter = Filter {
        commit: Some(commit.clone()),
        ..Filter::default()
    };
    let page = Paging::of(TRACED);
    let deliveries = store.deliveries_page(&filter, &page).await?.items;
    let runs = store.runs_page(&filter, &page).await?.items;
    let mut others = BTreeSet::new();
    for delivery in &deliveries {
        others.extend(store.runs_for(&delivery.id).await?);
    }
    for run in &runs {
        others.remove(&run.id);
    }
    let others: Vec<RunId> = others.into_iter().collect();
    let passed_over_by = store.runs_by_id(&others).await?.into_values().rev();
    let passed_over_by = passed_over_by.collect();
    let mut changes = Vec::new();
    let mut known: BTreeMap<ObjectKey, Vec<ObjectEntry>> = BTreeMap::new();
    for entry in store.changes_page(&filter, &page).await?.items {
        let object = entry.change.object.clone();
        if !known.contains_key(&object) {
            let filter = Filter {
                object: Some(object.clone()),
                ..Filter::default()
            };
            let live = store.objects_page(&filter, &page).await?.items;
            known.insert(object.clone(), live);
        }
        let here = known[&object]
            .iter()
            .filter(|live| live.target == entry.target);
        let here = here.cloned().collect();
        changes.push((entry, here));
    }
    Ok(CommitTrace {
        commit,
        deliveries,
        runs,
        passed_over_by,
        changes,
    })
}

/// What a target ran at a moment, as far as it is on record.
#[derive(Debug)]
pub struct AsOf {
    pub objects: Vec<Stand>,
    /// The last look at the whole target before that moment.
    pub looked: Option<Run>,
    /// Objects that no stack owned, as they had appeared by then; what they say is not on record.
    pub foreign: BTreeSet<ObjectKey>,
}

/// How one object stood.
#[derive(Debug)]
pub struct Stand {
    pub object: ObjectKey,
    /// The change that it rests on.
    pub rests_on: ChangeEntry,
    pub state: State,
    /// Seen to have been changed by others after that change, and not put back by then.
    pub drifted: Option<i64>,
}

#[derive(Debug)]
pub enum State {
    /// Canonical JSON, masked.
    Known(String),
    /// It was there, and what it said is not on record, for this reason.
    Unknown(String),
    Absent,
}

pub async fn as_of(
    store: &Store,
    target: &str,
    at: i64,
    object: Option<&ObjectKey>,
) -> store::Result<AsOf> {
    let entries = store.last_changes(target, object, at).await?;
    let wanted: Vec<_> = entries
        .iter()
        .flat_map(|entry| [entry.change.before, entry.change.after])
        .flatten()
        .collect();
    let bodies = store.bodies(&wanted).await?;
    let changed: Vec<ObjectKey> = entries
        .iter()
        .map(|entry| entry.change.object.clone())
        .collect();
    let drifts = store.last_drifts(target, &changed, at).await?;
    let mut objects = Vec::new();
    for entry in entries {
        let change = &entry.change;
        let after = change.after.and_then(|digest| bodies.get(&digest).cloned());
        let before = change
            .before
            .and_then(|digest| bodies.get(&digest).cloned());
        let lost = |what: Option<String>| {
            what.map_or_else(
                || State::Unknown("what it said is not on record".to_owned()),
                State::Known,
            )
        };
        let state = match (change.outcome, change.action) {
            (Outcome::Applied, Action::Create | Action::Update | Action::Adopt) => lost(after),
            (Outcome::Applied, Action::Delete | Action::Replace | Action::Forget)
            | (Outcome::Repaired, Action::Create) => State::Absent,
            (Outcome::Applied, Action::Release) => State::Unknown(
                "the stack had let go of it; what others made of it is not on record".to_owned(),
            ),
            (Outcome::Repaired, _) => lost(before),
            _ => State::Unknown("whether its last change had reached it was not known".to_owned()),
        };
        let since = entry.finished_at.unwrap_or(entry.at);
        let drifted = drifts.get(&change.object).copied().filter(|at| *at > since);
        objects.push(Stand {
            object: change.object.clone(),
            state,
            drifted,
            rests_on: entry,
        });
    }
    let owned: BTreeSet<&ObjectKey> = objects
        .iter()
        .filter(|stand| !matches!(stand.state, State::Absent))
        .map(|stand| &stand.object)
        .collect();
    let appeared = Filter {
        target: Some(target.to_owned()),
        object: object.cloned(),
        types: vec![EventType::ForeignAppeared],
        // The moment itself is within.
        until: Some(at.saturating_add(1)),
        ..Filter::default()
    };
    let appeared = all(1_000, async |paging| {
        store.events_page(&appeared, &paging).await
    })
    .await?;
    let foreign = appeared
        .iter()
        .filter_map(|event| serde_json::from_str::<Value>(&event.payload).ok())
        .flat_map(|payload| {
            let listed = payload.get("objects").and_then(Value::as_array).cloned();
            listed.unwrap_or_default()
        })
        .filter_map(|named| named.as_str()?.parse::<ObjectKey>().ok())
        .filter(|key| !owned.contains(key) && object.is_none_or(|only| only == key))
        .collect();
    Ok(AsOf {
        foreign,
        looked: store.last_whole_run(target, at).await?,
        objects,
    })
}
