//! What of the history is news, and in which words. Events go in, notices for people and marks on
//! commits come out; who is told, and how, is decided elsewhere.
//!
//! Nothing is remembered here: whether something was told before is read from the events before.
//! A notice carries names, counts and first sentences of what is on record, never a body and never
//! a field's value.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde_json::Value;

use super::{
    audit::event::{Event, EventType, Header},
    canonical::Digest,
    revision::Revision,
    run::{RunId, RunStatus, Trigger},
};

/// What notices are made from.
pub const NEWS: &[EventType] = &[
    EventType::RunFinished,
    EventType::DriftObserved,
    EventType::HistoryBehind,
];

/// What marks on commits are made from.
pub const MARKS: &[EventType] = &[
    EventType::DeliveryAccepted,
    EventType::RunIntended,
    EventType::RunFinished,
];

/// What says more about the objects of a run.
pub const DETAILS: &[EventType] = &[
    EventType::ChangeHeld,
    EventType::ChangeFailed,
    EventType::ChangeRepaired,
];

/// How many objects a notice names.
const MOST_OBJECTS: usize = 10;

/// How many commits one event marks.
const MOST_COMMITS: usize = 20;

/// The longest sentence that is passed on, in characters.
const LONGEST_SENTENCE: usize = 300;

/// The kinds of news, by which a receiver chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum News {
    Failed,
    Repaired,
    Parked,
    Recovered,
    Drift,
    Lagged,
    Behind,
    Succeeded,
    /// Asked for by a person, to see whether it arrives.
    Test,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the events are \"failed\", \"repaired\", \"parked\", \"recovered\", \"drift\", \"lagged\", \
     \"behind\" and \"succeeded\""
)]
pub struct UnknownNews;

impl News {
    /// What one may choose from.
    pub const ALL: [Self; 8] = [
        Self::Failed,
        Self::Repaired,
        Self::Parked,
        Self::Recovered,
        Self::Drift,
        Self::Lagged,
        Self::Behind,
        Self::Succeeded,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Repaired => "repaired",
            Self::Parked => "parked",
            Self::Recovered => "recovered",
            Self::Drift => "drift",
            Self::Lagged => "lagged",
            Self::Behind => "behind",
            Self::Succeeded => "succeeded",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for News {
    type Err = UnknownNews;

    fn from_str(text: &str) -> Result<Self, UnknownNews> {
        Self::ALL
            .into_iter()
            .find(|news| news.as_str() == text)
            .ok_or(UnknownNews)
    }
}

/// An event, read.
#[derive(Debug, Clone)]
pub struct Entry {
    pub sequence: i64,
    pub hash: Digest,
    pub header: Header,
    pub payload: Value,
}

impl Entry {
    /// `None` when it cannot be read, which verifying the history says more about.
    pub fn read(event: &Event) -> Option<Self> {
        Some(Self {
            sequence: event.sequence,
            hash: event.hash,
            header: serde_json::from_str(&event.header).ok()?,
            payload: serde_json::from_str(&event.payload).ok()?,
        })
    }

    fn is(&self, event_type: EventType) -> bool {
        self.header.event_type == event_type.as_str()
    }

    fn status(&self) -> Option<RunStatus> {
        self.text("status")?.parse().ok()
    }

    /// The node whose run it is, on a target of several.
    fn node(&self) -> Option<&str> {
        self.text("node")
    }

    /// How the stack stands with this end: on a target of several nodes the last one says it.
    fn stands(&self) -> Option<RunStatus> {
        match self.node() {
            Some(_) => self.text("stands")?.parse().ok(),
            None => self.status(),
        }
    }

    fn is_lagging(&self) -> bool {
        self.payload.get("lagging").and_then(Value::as_bool) == Some(true)
    }

    fn text(&self, member: &str) -> Option<&str> {
        self.payload.get(member)?.as_str()
    }

    fn revision(&self) -> Option<Revision> {
        self.payload
            .pointer("/source/revision")?
            .as_str()?
            .parse()
            .ok()
    }

    fn outcomes(&self) -> BTreeMap<String, u64> {
        let counted = self.payload.get("outcomes").and_then(Value::as_object);
        counted
            .into_iter()
            .flatten()
            .filter_map(|(outcome, count)| Some((outcome.clone(), count.as_u64()?)))
            .collect()
    }

    /// Whether a timer, and nobody who waits for an answer, is the reason of the run.
    fn is_by_timer(&self) -> bool {
        let trigger: Option<Trigger> = self.text("trigger").and_then(|text| text.parse().ok());
        matches!(
            trigger,
            Some(Trigger::Drift | Trigger::Sweep | Trigger::StartUp)
        )
    }
}

/// What the history says around an event.
#[derive(Debug, Clone, Default)]
pub struct Around {
    /// The ends of the same stack's runs before, newest first.
    pub earlier: Vec<Entry>,
    /// What the run's changes came to, where they did not go live.
    pub changes: Vec<Entry>,
    /// The same of the run before it.
    pub changes_before: Vec<Entry>,
    /// Drift was put on record since the run before.
    pub drifted: bool,
}

impl Around {
    /// The run before that came to something: an interrupted one was taken up by the next.
    pub fn last(&self) -> Option<&Entry> {
        self.ended().next()
    }

    fn ended(&self) -> impl Iterator<Item = &Entry> {
        self.earlier
            .iter()
            .filter(|entry| entry.status() != Some(RunStatus::Interrupted))
    }

    /// The run before after which it was known how the stack stands.
    pub fn last_whole(&self) -> Option<&Entry> {
        self.ended().find(|entry| entry.stands().is_some())
    }

    /// Whether the same trouble is on record already since the node was well.
    fn is_repeated(&self, event: &Entry) -> bool {
        let is_well = |entry: &&Entry| {
            matches!(
                entry.status(),
                Some(RunStatus::Succeeded | RunStatus::Parked)
            )
        };
        self.ended()
            .filter(|entry| entry.node() == event.node())
            .take_while(|entry| !is_well(entry))
            .any(|entry| {
                let same = (entry.status(), entry.text("message"));
                same == (event.status(), event.text("message"))
            })
    }

    /// Whether something is on record since the stack was in step as a whole.
    fn was_in_trouble(&self) -> bool {
        self.ended()
            .take_while(|entry| entry.stands() != Some(RunStatus::Succeeded))
            .any(|entry| entry.status() != Some(RunStatus::Succeeded))
    }
}

/// Something that people want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub news: News,
    /// The event that it tells.
    pub sequence: i64,
    pub hash: Digest,
    /// When it happened: microseconds UTC.
    pub at: i64,
    pub stack: Option<String>,
    pub target: Option<String>,
    pub run: Option<RunId>,
    pub status: Option<RunStatus>,
    pub revision: Option<Revision>,
    /// What happened, in a sentence.
    pub summary: String,
    /// How many changes came to what.
    pub counts: BTreeMap<String, u64>,
    /// Some of the objects that it is about.
    pub objects: Vec<Named>,
    /// How many more there are.
    pub unnamed: usize,
    /// The command that says or does more.
    pub next: Option<String>,
}

/// An object, and what is to be said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub object: String,
    pub said: Option<String>,
}

impl Notice {
    /// One that tells nothing.
    pub fn test(at: i64) -> Self {
        Self {
            news: News::Test,
            sequence: -1,
            hash: Digest::of(at.to_string().as_bytes()),
            at,
            stack: None,
            target: None,
            run: None,
            status: None,
            revision: None,
            summary: "This is a test: notices of Lockstep arrive here.".to_owned(),
            counts: BTreeMap::new(),
            objects: Vec::new(),
            unnamed: 0,
            next: None,
        }
    }

    fn of(news: News, event: &Entry, summary: String) -> Self {
        Self {
            news,
            sequence: event.sequence,
            hash: event.hash,
            at: event.header.at,
            stack: event.header.stack.clone(),
            target: event.header.target.clone(),
            run: event.header.run.clone(),
            status: None,
            revision: None,
            summary,
            counts: BTreeMap::new(),
            objects: Vec::new(),
            unnamed: 0,
            next: None,
        }
    }

    /// The same for every attempt to tell it, and different for every event of every history.
    pub fn id(&self) -> String {
        let hash = self.hash.to_string();
        format!("{}-{}", self.sequence, &hash[..16])
    }

    fn name(&mut self, mut objects: Vec<Named>, total: usize) {
        objects.truncate(MOST_OBJECTS);
        self.unnamed = total.saturating_sub(objects.len());
        self.objects = objects;
    }
}

/// The news of an event, unless it is none or was told with an earlier one.
pub fn notice(event: &Entry, around: &Around) -> Option<Notice> {
    if event.is(EventType::RunFinished) {
        return finished(event, around);
    }
    if event.is(EventType::DriftObserved) {
        return Some(drift(event));
    }
    if !event.is(EventType::HistoryBehind) {
        return None;
    }
    let said = event.text("message").map(sentence);
    let summary = said.unwrap_or_else(|| EventType::HistoryBehind.meaning().to_owned());
    Some(Notice {
        next: Some("lockstep status".to_owned()),
        ..Notice::of(News::Behind, event, summary)
    })
}

fn finished(event: &Entry, around: &Around) -> Option<Notice> {
    let status = event.status()?;
    let message = event.text("message");
    let last = around.last().and_then(Entry::status);
    let counts = event.outcomes();
    let count = |outcome: &str| counts.get(outcome).copied().unwrap_or(0);
    let held = held(&around.changes);
    let news = match status {
        RunStatus::Succeeded if event.stands() != Some(RunStatus::Succeeded) => return None,
        RunStatus::Succeeded if around.drifted || around.was_in_trouble() => News::Recovered,
        RunStatus::Succeeded => News::Succeeded,
        RunStatus::Parked => {
            let as_before = last == Some(RunStatus::Parked)
                && held == self::held(&around.changes_before)
                && around
                    .last()
                    .map(Entry::outcomes)
                    .and_then(|before| before.get("held").copied())
                    == Some(count("held"));
            if as_before {
                return None;
            }
            News::Parked
        }
        RunStatus::Failed | RunStatus::Refused => {
            if around.is_repeated(event) {
                return None;
            }
            if event.is_lagging() {
                News::Lagged
            } else if count("repaired") > 0 {
                News::Repaired
            } else {
                News::Failed
            }
        }
        RunStatus::Running | RunStatus::Interrupted => return None,
    };
    let run = event.header.run.as_ref();
    let show = run.map(|run| format!("lockstep show {run}"));
    let said = message.map(sentence);
    let said = said.as_deref().unwrap_or("no reason is on record");
    let said = match event.node() {
        Some(node) => format!("{node}: {said}"),
        None => said.to_owned(),
    };
    let summary = match (news, status) {
        (News::Recovered, _) => format!("In step again: {}.", changes(count("applied"))),
        (News::Repaired, _) => format!("A change went wrong and was put back: {said}"),
        (News::Lagged, _) => format!("A node lags behind until it can be reached: {said}"),
        (News::Parked, _) if is_approvable(&around.changes) => {
            format!("{} for an approval.", wait(count("held")))
        }
        (News::Parked, _) => format!("{} held back.", are(count("held"))),
        (_, RunStatus::Refused) => format!("The manifests were refused: {said}"),
        (_, RunStatus::Failed) => format!("The run failed: {said}"),
        _ => format!("In step: {}.", changes(count("applied"))),
    };
    let mut notice = Notice {
        status: Some(status),
        revision: event.revision(),
        next: match news {
            News::Parked => parked_command(run, &around.changes),
            News::Failed | News::Repaired => show,
            News::Lagged => Some("lockstep status".to_owned()),
            _ => None,
        },
        ..Notice::of(news, event, summary)
    };
    let wanted = match news {
        News::Parked => Some(EventType::ChangeHeld),
        News::Repaired => Some(EventType::ChangeRepaired),
        News::Failed => Some(EventType::ChangeFailed),
        _ => None,
    };
    if let Some(wanted) = wanted {
        let objects = objects(&around.changes, wanted, run);
        let total = usize::try_from(match news {
            News::Parked => count("held"),
            News::Repaired => count("repaired"),
            _ => count("failed"),
        });
        let total = total.unwrap_or(usize::MAX).max(objects.len());
        notice.name(objects, total);
    }
    notice.counts = counts;
    Some(notice)
}

fn drift(event: &Entry) -> Notice {
    let changes = event.payload.get("changes").and_then(Value::as_array);
    let objects: Vec<Named> = changes
        .into_iter()
        .flatten()
        .filter_map(|change| {
            Some(Named {
                object: line(change.get("object")?.as_str()?),
                said: change.get("what").and_then(Value::as_str).map(sentence),
            })
        })
        .collect();
    let count = objects.len();
    let summary = match count {
        1 => "1 object differs from what the last run left, and no run did it.".to_owned(),
        _ => format!("{count} objects differ from what the last run left, and no run did it."),
    };
    let stack = event.header.stack.as_deref().unwrap_or_default();
    let revision = event.text("revision").and_then(|text| text.parse().ok());
    let mut notice = Notice {
        revision,
        next: Some(format!("lockstep drift {stack}")),
        ..Notice::of(News::Drift, event, summary)
    };
    notice.name(objects, count);
    notice
}

/// The objects of those changes that ended in one way. What was not even tried says nothing.
fn objects(changes: &[Entry], wanted: EventType, run: Option<&RunId>) -> Vec<Named> {
    changes
        .iter()
        .filter(|change| change.is(wanted) && change.text("outcome") != Some("skipped"))
        .filter_map(|change| {
            let object = line(&change.header.object.as_ref()?.to_string());
            let said = change.text("message").or(change.text("reason"));
            let said = said.map(|said| sentence(&with_run(said, run)));
            Some(Named { object, said })
        })
        .collect()
}

/// Which objects are held back, and how.
fn held(changes: &[Entry]) -> Vec<(String, Option<&str>)> {
    changes
        .iter()
        .filter(|change| change.is(EventType::ChangeHeld))
        .filter_map(|change| {
            let object = change.header.object.as_ref()?.to_string();
            Some((object, change.text("message")))
        })
        .collect()
}

const APPROVE: &str = "lockstep approve RUN";

fn is_approvable(changes: &[Entry]) -> bool {
    held(changes)
        .iter()
        .any(|(_, said)| said.is_some_and(|said| said.contains(APPROVE)))
}

fn parked_command(run: Option<&RunId>, changes: &[Entry]) -> Option<String> {
    let verb = if is_approvable(changes) {
        "approve"
    } else {
        "show"
    };
    run.map(|run| format!("lockstep {verb} {run}"))
}

/// The command as it can be typed.
fn with_run(said: &str, run: Option<&RunId>) -> String {
    match run {
        Some(run) => said.replace(APPROVE, &format!("lockstep approve {run}")),
        None => said.to_owned(),
    }
}

/// How a commit stands with a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkState {
    Queued,
    Applying,
    InStep,
    /// Something waits for a person.
    Waiting,
    Failed,
}

/// What is to be written at commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    pub stack: String,
    pub state: MarkState,
    pub description: String,
    pub revision: Revision,
    pub run: Option<RunId>,
    /// The event that it tells.
    pub sequence: i64,
    pub hash: Digest,
    /// When it happened: microseconds UTC.
    pub at: i64,
}

/// The stacks that an event is about.
pub fn stacks_of(event: &Entry) -> Vec<&str> {
    if let Some(stack) = &event.header.stack {
        return vec![stack];
    }
    let named = event.payload.get("stacks").and_then(Value::as_array);
    named
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// What an event says about commits. A timer's run that finds what the run before left, at the
/// same commit, says nothing new: hosts limit how often one commit is marked.
pub fn marks(event: &Entry, around: &Around) -> Vec<Mark> {
    let mark = |stack: &str, state, description: String, revision| Mark {
        stack: stack.to_owned(),
        state,
        description,
        revision,
        run: event.header.run.clone(),
        sequence: event.sequence,
        hash: event.hash,
        at: event.header.at,
    };
    if event.is(EventType::DeliveryAccepted) {
        let pushed: Option<Revision> = event.text("after").and_then(|text| text.parse().ok());
        let Some(pushed) = pushed else {
            return Vec::new();
        };
        return stacks_of(event)
            .into_iter()
            .map(|stack| {
                mark(
                    stack,
                    MarkState::Queued,
                    "queued".to_owned(),
                    pushed.clone(),
                )
            })
            .collect();
    }
    let Some(stack) = event.header.stack.as_deref() else {
        return Vec::new();
    };
    let revision = event.revision();
    let last = around.last_whole();
    let same_commit = revision.is_some() && last.and_then(Entry::revision) == revision;
    let last = last.and_then(Entry::stands);
    if event.is(EventType::RunIntended) {
        let known = event.is_by_timer() && same_commit && last == Some(RunStatus::Succeeded);
        // A repair goes on with what was told.
        let is_repair = event.payload.get("repair").is_some();
        let Some(revision) = revision.filter(|_| !known && !is_repair) else {
            return Vec::new();
        };
        let count = event.payload.get("changes").and_then(Value::as_array);
        let count = count.map_or(0, Vec::len);
        let description = format!("applying {}", changes(u64::try_from(count).unwrap_or(0)));
        return vec![mark(stack, MarkState::Applying, description, revision)];
    }
    let Some(status) = event.stands().filter(|_| event.is(EventType::RunFinished)) else {
        return Vec::new();
    };
    if event.is_by_timer() && same_commit && last == Some(status) {
        return Vec::new();
    }
    let Some((state, description)) = standing(event, status, around) else {
        return Vec::new();
    };
    let mut marks: Vec<Mark> = revision
        .iter()
        .map(|revision| mark(stack, state, description.clone(), revision.clone()))
        .collect();
    // Commits that were pushed and passed over went with the run, and would stay "queued".
    let pushed = event
        .payload
        .pointer("/source/pushed")
        .and_then(Value::as_array);
    for pushed in pushed.into_iter().flatten().rev() {
        let pushed: Option<Revision> = pushed.as_str().and_then(|text| text.parse().ok());
        let is_new = |pushed: &Revision| marks.iter().all(|mark| mark.revision != *pushed);
        let Some(pushed) = pushed.filter(is_new) else {
            continue;
        };
        if marks.len() == MOST_COMMITS {
            break;
        }
        let description = match &revision {
            Some(revision) => format!("with {}: {description}", revision.short()),
            None => description.clone(),
        };
        marks.push(mark(stack, state, description, pushed));
    }
    marks
}

fn standing(event: &Entry, status: RunStatus, around: &Around) -> Option<(MarkState, String)> {
    let counts = event.outcomes();
    let count = |outcome: &str| counts.get(outcome).copied().unwrap_or(0);
    // On a target of several nodes the one that failed may have ended before.
    let failing = std::iter::once(event)
        .chain(around.ended().take_while(|entry| entry.stands().is_none()))
        .find(|entry| entry.status() == Some(status));
    let failing = failing.unwrap_or(event);
    let said = failing.text("message").map(sentence).unwrap_or_default();
    let said = match failing.node() {
        Some(node) => format!("{node}: {said}"),
        None => said,
    };
    Some(match status {
        RunStatus::Succeeded => (
            MarkState::InStep,
            format!("in step: {}", changes(count("applied"))),
        ),
        RunStatus::Parked => {
            let waits = if is_approvable(&around.changes) {
                format!("{} for an approval", wait(count("held")))
            } else {
                format!("{} held back", are(count("held")))
            };
            let run = event.header.run.as_ref();
            let command = parked_command(run, &around.changes).unwrap_or_default();
            (MarkState::Waiting, format!("{waits}: {command}"))
        }
        RunStatus::Refused => (MarkState::Failed, format!("refused: {said}")),
        RunStatus::Failed if count("repaired") > 0 => {
            (MarkState::Failed, format!("put back: {said}"))
        }
        RunStatus::Failed => (MarkState::Failed, format!("failed: {said}")),
        RunStatus::Running | RunStatus::Interrupted => return None,
    })
}

fn changes(count: u64) -> String {
    match count {
        0 => "nothing to change".to_owned(),
        1 => "1 change".to_owned(),
        many => format!("{many} changes"),
    }
}

fn wait(count: u64) -> String {
    match count {
        1 => "1 change waits".to_owned(),
        many => format!("{many} changes wait"),
    }
}

fn are(count: u64) -> String {
    match count {
        1 => "1 change is".to_owned(),
        many => format!("{many} changes are"),
    }
}

/// The first sentence of a text, on one line and not too long. A line that ends with a colon goes
/// on in the next one.
pub fn sentence(text: &str) -> String {
    let mut lines = text.trim().lines();
    let mut first = lines.next().unwrap_or_default().to_owned();
    if first.ends_with(':')
        && let Some(next) = lines.next()
    {
        first.push(' ');
        first.push_str(next);
    }
    let end = first.find(". ").map_or(first.len(), |dot| dot + 1);
    shortened(&line(&first[..end]), LONGEST_SENTENCE)
}

/// On one line, without control characters.
pub fn line(text: &str) -> String {
    let plain: String = text
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// At most so many characters; what was cut off shows.
pub fn shortened(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    let kept: String = text.chars().take(longest.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::{
        audit::event::Actor,
        object::{Kind, ObjectKey},
    };

    fn entry(sequence: i64, event_type: EventType, payload: Value) -> Entry {
        Entry {
            sequence,
            hash: Digest::of(&sequence.to_be_bytes()),
            header: Header {
                v: 1,
                sequence,
                event_type: event_type.as_str().to_owned(),
                at: sequence,
                actor: Actor::new("worker", "w"),
                target: Some("production".to_owned()),
                stack: Some("shop".to_owned()),
                object: None,
                run: Some(RunId("run-1".to_owned())),
            },
            payload,
        }
    }

    fn run(sequence: i64, status: &str, message: Option<&str>) -> Entry {
        entry(
            sequence,
            EventType::RunFinished,
            json!({"status": status, "message": message, "trigger": "push",
                   "source": {"revision": "a".repeat(40)}, "outcomes": {"applied": 2}}),
        )
    }

    fn held(object: &str, message: &str) -> Entry {
        let mut held = entry(0, EventType::ChangeHeld, json!({"message": message}));
        held.header.object = Some(ObjectKey::new(Kind::ClassicApi, object));
        held
    }

    /// How a run ended, and its message.
    type Ended<'a> = (&'a str, Option<&'a str>);

    /// What is told of the last of these runs.
    fn told(runs: &[Ended<'_>]) -> Option<News> {
        let mut entries: Vec<Entry> = (0..)
            .zip(runs)
            .map(|(sequence, (status, message))| run(sequence, status, *message))
            .collect();
        let last = entries.pop()?;
        entries.reverse();
        let around = Around {
            earlier: entries,
            ..Around::default()
        };
        notice(&last, &around).map(|notice| notice.news)
    }

    #[test]
    fn trouble_is_told_once_and_then_its_end() {
        let (a, b) = (Some("a"), Some("b"));
        let cases: &[(&[Ended<'_>], Option<News>)] = &[
            (&[("succeeded", None)], Some(News::Succeeded)),
            (&[("failed", a)], Some(News::Failed)),
            (&[("failed", a), ("failed", a)], None),
            (&[("failed", a), ("failed", b)], Some(News::Failed)),
            (&[("failed", a), ("failed", b), ("failed", a)], None),
            (&[("failed", a), ("refused", a)], Some(News::Failed)),
            (&[("failed", a), ("interrupted", a), ("failed", a)], None),
            (&[("failed", a), ("succeeded", None)], Some(News::Recovered)),
            (
                &[("failed", a), ("interrupted", a), ("succeeded", None)],
                Some(News::Recovered),
            ),
            (
                &[("failed", a), ("succeeded", None), ("failed", a)],
                Some(News::Failed),
            ),
            (
                &[("parked", None), ("succeeded", None)],
                Some(News::Recovered),
            ),
            (&[("succeeded", None), ("interrupted", a)], None),
        ];
        for (runs, expected) in cases {
            assert_eq!(told(runs), *expected, "{runs:?}");
        }
    }

    /// The end of a run on one node of several.
    fn on_node(sequence: i64, node: &str, status: &str, stands: Option<&str>) -> Entry {
        let message = (status == "failed").then_some("no answer");
        let mut entry = run(sequence, status, message);
        entry.payload["node"] = json!(node);
        entry.payload["stands"] = json!(stands);
        entry
    }

    #[test]
    fn of_several_nodes_each_trouble_is_told_once_and_the_end_when_all_are_well() {
        let ends = [
            on_node(0, "a", "succeeded", None),
            on_node(1, "b", "succeeded", Some("succeeded")),
            on_node(2, "a", "succeeded", None),
            on_node(3, "b", "failed", Some("failed")),
            on_node(4, "a", "succeeded", None),
            on_node(5, "b", "failed", Some("failed")),
            on_node(6, "a", "failed", None),
            on_node(7, "b", "succeeded", Some("failed")),
            on_node(8, "a", "succeeded", Some("succeeded")),
        ];
        let mut news = Vec::new();
        let mut states = Vec::new();
        for (place, end) in ends.iter().enumerate() {
            let around = Around {
                earlier: ends[..place].iter().rev().cloned().collect(),
                ..Around::default()
            };
            news.push(notice(end, &around).map(|notice| notice.news));
            let said = marks(end, &around);
            states.push(
                said.first()
                    .map(|mark| (mark.state, mark.description.clone())),
            );
        }
        let (failed, well) = (Some(News::Failed), Some(News::Recovered));
        let first = Some(News::Succeeded);
        assert_eq!(
            news,
            [None, first, None, failed, None, None, failed, None, well]
        );
        let mark = |place: usize| states[place].clone().unwrap();
        assert_eq!(states[0], None);
        assert_eq!(mark(1).0, MarkState::InStep);
        assert_eq!(
            mark(3),
            (MarkState::Failed, "failed: b: no answer".to_owned())
        );
        // The node that failed is named, although another one was the last.
        assert_eq!(
            mark(7),
            (MarkState::Failed, "failed: a: no answer".to_owned())
        );
        let mut lagging = ends[3].clone();
        lagging.payload["lagging"] = json!(true);
        let told = notice(&lagging, &Around::default()).unwrap();
        assert_eq!(told.news, News::Lagged);
        assert!(told.summary.ends_with("b: no answer"), "{}", told.summary);
    }

    #[test]
    fn drift_that_a_run_ended_is_a_recovery() {
        let around = Around {
            earlier: vec![run(0, "succeeded", None)],
            drifted: true,
            ..Around::default()
        };
        let told = notice(&run(2, "succeeded", None), &around).unwrap();
        assert_eq!(told.news, News::Recovered);
        assert_eq!(told.summary, "In step again: 2 changes.");
    }

    #[test]
    fn what_waits_is_named_with_the_command_and_told_again_only_when_it_is_another() {
        let mut parked = run(1, "parked", None);
        parked.payload["outcomes"] = json!({"held": 12});
        let approvable = "12 deletions are too many: if it is meant, `lockstep approve RUN \
                          --reason …`; if not, mend it in Git";
        let changes: Vec<Entry> = (0..12)
            .map(|index| held(&format!("api-{index}"), approvable))
            .collect();
        let first = Around {
            changes: changes.clone(),
            ..Around::default()
        };
        let told = notice(&parked, &first).unwrap();
        assert_eq!(told.summary, "12 changes wait for an approval.");
        assert_eq!(told.next.as_deref(), Some("lockstep approve run-1"));
        assert_eq!((told.objects.len(), told.unnamed), (10, 2));
        assert_eq!(told.objects[0].object, "classic/api-0");
        assert!(
            told.objects[0]
                .said
                .as_ref()
                .unwrap()
                .contains("`lockstep approve run-1")
        );
        let again = Around {
            earlier: vec![parked.clone()],
            changes_before: changes.clone(),
            ..first.clone()
        };
        assert_eq!(notice(&parked, &again), None);
        let other = Around {
            changes_before: changes[1..].to_vec(),
            ..again
        };
        assert!(notice(&parked, &other).is_some());
        let description = &marks(&parked, &first)[0].description;
        assert_eq!(
            description,
            "12 changes wait for an approval: lockstep approve run-1"
        );
    }

    #[test]
    fn a_timer_marks_a_commit_only_when_it_stands_otherwise() {
        let mut by_timer = run(2, "succeeded", None);
        by_timer.payload["trigger"] = json!("drift");
        let after = |status: &str| Around {
            earlier: vec![run(1, status, None)],
            ..Around::default()
        };
        assert_eq!(marks(&by_timer, &after("succeeded")), []);
        assert_eq!(
            marks(&by_timer, &after("failed"))[0].state,
            MarkState::InStep
        );
        let by_push = run(2, "succeeded", None);
        assert_eq!(marks(&by_push, &after("succeeded")).len(), 1);
        let mut intended = entry(1, EventType::RunIntended, by_timer.payload.clone());
        assert_eq!(marks(&intended, &after("succeeded")), []);
        intended.payload["changes"] = json!([1, 2]);
        intended.payload["trigger"] = json!("push");
        let mark = &marks(&intended, &after("succeeded"))[0];
        assert_eq!(mark.description, "applying 2 changes");
        // A repair's intent names no commit.
        let repair = entry(1, EventType::RunIntended, json!({"repair": ["classic/a"]}));
        assert_eq!(marks(&repair, &after("succeeded")), []);
    }

    #[test]
    fn commits_that_were_passed_over_stand_like_the_run_that_swallowed_them() {
        let mut event = run(3, "succeeded", None);
        let pushed = ["b", "c", "a"].map(|letter| letter.repeat(40));
        event.payload["source"]["pushed"] = json!(pushed);
        let marks = marks(&event, &Around::default());
        let said: Vec<(&str, &str)> = marks
            .iter()
            .map(|mark| (mark.revision.short(), mark.description.as_str()))
            .collect();
        let short = "a"
            .repeat(40)
            .parse::<Revision>()
            .unwrap()
            .short()
            .to_owned();
        let with = format!("with {short}: in step: 2 changes");
        assert_eq!(said[0].1, "in step: 2 changes");
        assert_eq!(said[1].1, with);
        assert!(said[1].0.starts_with('c') && said[2].0.starts_with('b'));
    }

    #[test]
    fn the_first_sentence_is_one_line_of_bounded_length() {
        let cases = [
            ("one. two", "one."),
            ("v1.2 is\nold", "v1.2 is"),
            ("2 problems:\na.json: bad. More", "2 problems: a.json: bad."),
            ("tab\tand\u{7}bell", "tab and bell"),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(sentence(text), expected);
        }
        assert_eq!(sentence(&"ä".repeat(1_000)).chars().count(), 300);
        assert_eq!(shortened("abcdef", 4), "abc…");
    }
}
