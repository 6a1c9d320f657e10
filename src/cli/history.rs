//! `lockstep history`: what happened, newest first, by what it is about.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Exit, Invocation, find_target, output};
use crate::{
    app::App,
    domain::{
        approval::Choice,
        audit::event::{Event, EventType, Header, Person},
        moment::parse_moment,
        object::ObjectKey,
        revision::Revision,
        run::{Outcome, RunId, RunStatus, Trigger},
    },
    http::api::view::{
        ApprovalView, ChangeView, DeliveryView, EventView, FieldView, List, ObjectView, PersonView,
        RunView, named,
    },
    store::{Cursor, Filter, From, Page, Paging},
    sync::history::{self, Chapter, fill},
};

/// List what happened, newest first: deliveries, runs, changes, drift, decisions.
///
/// Without a subcommand it lists events. A list that goes on says with which --before; the pages
/// stay as they are while the history grows.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct History {
    #[command(subcommand)]
    of: Option<Of>,
    #[command(flatten)]
    events: Events,
}

#[derive(Debug, Subcommand)]
enum Of {
    /// Events of the history: the same as without a subcommand
    Events(Events),
    /// Runs: why, at which commit, how they ended
    Runs(Runs),
    /// Changes of objects, and what came of each
    Changes(Changes),
    /// Objects as they are owned now
    Objects(Objects),
    /// Deliveries of Git hosts
    Deliveries(Deliveries),
    /// Approvals and rejections
    Approvals(Approvals),
    /// The life of one object: every change with its reason and its people, and what was done by hand
    Object(Life),
}

/// Which part of a list.
#[derive(Debug, Args)]
struct Part {
    /// From a day (2026-11-23), a moment (2026-11-23T12:00:00Z) or a time ago (36h, 7d) on
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Up to a day, a moment or a time ago, itself not included
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// With these words in it, upper and lower case alike
    #[arg(long, value_name = "WORDS")]
    text: Option<String>,
    /// What is older than this place, as the page before names it
    #[arg(long, value_name = "CURSOR", conflicts_with = "after")]
    before: Option<Cursor>,
    /// What is newer than this place
    #[arg(long, value_name = "CURSOR")]
    after: Option<Cursor>,
    /// How many at most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=1_000))]
    limit: i64,
}

/// Where it happened.
#[derive(Debug, Args)]
struct Place {
    /// Of one stack
    #[arg(long)]
    stack: Option<String>,
    /// Of one target
    #[arg(long)]
    target: Option<String>,
}

#[derive(Debug, Args)]
struct Events {
    #[command(flatten)]
    place: Place,
    /// Of one object, as KIND/ID; for example oas/orders
    #[arg(long, value_name = "KIND/ID")]
    object: Option<ObjectKey>,
    /// Of one run
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// Of one commit, by its first digits, 7 at least
    #[arg(long, value_name = "COMMIT")]
    commit: Option<String>,
    /// That name somebody: a login, an address or a name
    #[arg(long, value_name = "WHO")]
    person: Option<String>,
    /// Of one actor, by its id: a worker, or a token
    #[arg(long, value_name = "ID")]
    actor: Option<String>,
    /// Of one type, such as run.finished
    #[arg(long = "type", value_name = "TYPE", value_parser = event_type)]
    event_type: Option<EventType>,
    #[command(flatten)]
    part: Part,
}

#[derive(Debug, Args)]
struct Runs {
    #[command(flatten)]
    place: Place,
    /// With a change of one object, as KIND/ID
    #[arg(long, value_name = "KIND/ID")]
    object: Option<ObjectKey>,
    /// At one commit, by its first digits, 7 at least
    #[arg(long, value_name = "COMMIT")]
    commit: Option<String>,
    /// That somebody pushed: a login, an address or a name
    #[arg(long, value_name = "WHO")]
    person: Option<String>,
    /// That ended so: succeeded, parked, refused, failed, interrupted
    #[arg(long)]
    status: Option<RunStatus>,
    /// That began for this reason: push, sweep, drift, manual, …
    #[arg(long)]
    trigger: Option<Trigger>,
    #[command(flatten)]
    part: Part,
}

#[derive(Debug, Args)]
struct Changes {
    #[command(flatten)]
    place: Place,
    /// Of one object, as KIND/ID
    #[arg(long, value_name = "KIND/ID")]
    object: Option<ObjectKey>,
    /// Of one run
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// At one commit, by its first digits, 7 at least
    #[arg(long, value_name = "COMMIT")]
    commit: Option<String>,
    /// That somebody pushed: a login, an address or a name
    #[arg(long, value_name = "WHO")]
    person: Option<String>,
    /// That came to this: applied, failed, repaired, skipped, unknown, held
    #[arg(long)]
    outcome: Option<Outcome>,
    #[command(flatten)]
    part: Part,
}

#[derive(Debug, Args)]
struct Objects {
    #[command(flatten)]
    place: Place,
    /// One object on every target, as KIND/ID
    #[arg(long, value_name = "KIND/ID")]
    object: Option<ObjectKey>,
    /// Described by this file
    #[arg(long)]
    path: Option<String>,
    /// After this place, as the page before names it
    #[arg(long, value_name = "CURSOR")]
    before: Option<Cursor>,
    /// How many at most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=1_000))]
    limit: i64,
}

#[derive(Debug, Args)]
struct Deliveries {
    #[command(flatten)]
    place: Place,
    /// Of one repository of the configuration
    #[arg(long)]
    repository: Option<String>,
    /// That one run stands for
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// That announced one commit, by its first digits, 7 at least
    #[arg(long, value_name = "COMMIT")]
    commit: Option<String>,
    /// That somebody pushed: a login, an address or a name
    #[arg(long, value_name = "WHO")]
    person: Option<String>,
    #[command(flatten)]
    part: Part,
}

#[derive(Debug, Args)]
struct Approvals {
    #[command(flatten)]
    place: Place,
    /// Of what one run held back or carried out
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// By one person of the configuration
    #[arg(long, value_name = "NAME")]
    person: Option<String>,
    /// approve or reject
    #[arg(long)]
    choice: Option<Choice>,
    #[command(flatten)]
    part: Part,
}

#[derive(Debug, Args)]
struct Life {
    /// The target: a [target.NAME] of the configuration
    target: String,
    /// The object, as KIND/ID; for example oas/orders
    #[arg(value_name = "KIND/ID")]
    object: ObjectKey,
    /// Before a day, a moment or a time ago
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// How many changes at most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    limit: u16,
}

fn event_type(text: &str) -> Result<EventType, String> {
    let known = EventType::ALL
        .iter()
        .find(|each| each.as_str() == text)
        .copied();
    known.ok_or_else(|| {
        let types: Vec<&str> = EventType::ALL.iter().map(|each| each.as_str()).collect();
        format!(
            "there is no type {text}; the types are {}",
            types.join(", ")
        )
    })
}

impl History {
    pub async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let app = invocation.open().await?;
        match self.of {
            None => self.events.run(&app, invocation).await?,
            Some(Of::Events(events)) => events.run(&app, invocation).await?,
            Some(Of::Runs(runs)) => runs.run(&app, invocation).await?,
            Some(Of::Changes(changes)) => changes.run(&app, invocation).await?,
            Some(Of::Objects(objects)) => objects.run(&app, invocation).await?,
            Some(Of::Deliveries(deliveries)) => deliveries.run(&app, invocation).await?,
            Some(Of::Approvals(approvals)) => approvals.run(&app, invocation).await?,
            Some(Of::Object(life)) => life.run(&app, invocation).await?,
        }
        Ok(Exit::Done)
    }
}

/// The rest of a filter: where and when.
async fn filter(
    app: &App,
    place: Place,
    part: &Part,
    commit: Option<&str>,
) -> anyhow::Result<Filter> {
    let now = app.now();
    let moment = |when: Option<&str>| when.map(|when| parse_moment(when, now)).transpose();
    let commit = match commit {
        Some(digits) => Some(history::commit(&app.store, digits).await?),
        None => None,
    };
    Ok(Filter {
        stack: place.stack,
        target: place.target,
        commit,
        since: moment(part.since.as_deref())?,
        until: moment(part.until.as_deref())?,
        text: part.text.clone(),
        ..Filter::default()
    })
}

fn from(part: &Part) -> From {
    match (&part.before, &part.after) {
        (Some(before), _) => From::Before(before.clone()),
        (None, Some(after)) => From::After(after.clone()),
        (None, None) => From::Newest,
    }
}

/// Prints a page as what was asked for: JSON under the list's name, or lines.
fn show<S, T: serde::Serialize>(
    invocation: &Invocation,
    name: &str,
    (page, has_more): (Page<S>, bool),
    view: impl Fn(&S) -> T,
    lines: impl Fn(&[S]),
) -> anyhow::Result<()> {
    if invocation.is_json() {
        return output::json(&named(name, &List::of(page, view)));
    }
    if page.items.is_empty() {
        eprintln!("nothing of that is on record");
    } else {
        lines(&page.items);
    }
    if has_more && let Some(before) = &page.before {
        eprintln!("there is more: --before {before}");
    }
    Ok(())
}

impl Events {
    async fn run(self, app: &App, invocation: &Invocation) -> anyhow::Result<()> {
        let filter = Filter {
            object: self.object,
            run: self.run.map(RunId),
            person: self.person,
            actor: self.actor,
            types: self.event_type.into_iter().collect(),
            ..filter(app, self.place, &self.part, self.commit.as_deref()).await?
        };
        let page = async |paging: Paging| app.store.events_page(&filter, &paging).await;
        let page = fill(from(&self.part), self.part.limit, page).await?;
        show(invocation, "events", page, EventView::of, |events| {
            let lines: Vec<String> = events.iter().map(line).collect();
            output::text(&lines.join("\n"));
        })
    }
}

impl Runs {
    async fn run(self, app: &App, invocation: &Invocation) -> anyhow::Result<()> {
        let filter = Filter {
            object: self.object,
            person: self.person,
            status: self.status,
            trigger: self.trigger,
            ..filter(app, self.place, &self.part, self.commit.as_deref()).await?
        };
        let page = async |paging: Paging| app.store.runs_page(&filter, &paging).await;
        let page = fill(from(&self.part), self.part.limit, page).await?;
        show(invocation, "runs", page, RunView::of, |runs| {
            let rows = runs.iter().map(|run| {
                vec![
                    output::moment(run.started_at),
                    run.id.to_string(),
                    run.stack.clone(),
                    run.trigger.to_string(),
                    run.status.to_string(),
                    short(run.revision.as_ref().map(Revision::short)),
                    run.changes.to_string(),
                    short(run.pusher.as_ref().map(ToString::to_string).as_deref()),
                ]
            });
            let head = [
                "BEGAN", "RUN", "STACK", "TRIGGER", "STATUS", "COMMIT", "CHANGES", "PUSHER",
            ];
            output::table(&head, rows.collect());
        })
    }
}

impl Changes {
    async fn run(self, app: &App, invocation: &Invocation) -> anyhow::Result<()> {
        let filter = Filter {
            object: self.object,
            run: self.run.map(RunId),
            person: self.person,
            outcome: self.outcome,
            ..filter(app, self.place, &self.part, self.commit.as_deref()).await?
        };
        let page = async |paging: Paging| app.store.changes_page(&filter, &paging).await;
        let page = fill(from(&self.part), self.part.limit, page).await?;
        show(invocation, "changes", page, ChangeView::of, |changes| {
            let rows = changes.iter().map(|entry| {
                vec![
                    output::moment(entry.at),
                    entry.run.to_string(),
                    entry.stack.clone(),
                    entry.change.outcome.to_string(),
                    entry.change.action.to_string(),
                    entry.change.object.to_string(),
                    short(entry.revision.as_ref().map(Revision::short)),
                    short(entry.pusher.as_ref().map(ToString::to_string).as_deref()),
                ]
            });
            let head = [
                "BEGAN", "RUN", "STACK", "OUTCOME", "ACTION", "OBJECT", "COMMIT", "PUSHER",
            ];
            output::table(&head, rows.collect());
        })
    }
}

impl Objects {
    async fn run(self, app: &App, invocation: &Invocation) -> anyhow::Result<()> {
        let filter = Filter {
            stack: self.place.stack,
            target: self.place.target,
            object: self.object,
            path: self.path,
            ..Filter::default()
        };
        let begin = self.before.map_or(From::Newest, From::Before);
        let page = async |paging: Paging| app.store.objects_page(&filter, &paging).await;
        let page = fill(begin, self.limit, page).await?;
        show(invocation, "objects", page, ObjectView::of, |objects| {
            let rows = objects.iter().map(|entry| {
                vec![
                    entry.target.clone(),
                    entry.object.to_string(),
                    entry.owned.stack.clone(),
                    short(entry.owned.path.as_deref()),
                    output::moment(entry.owned.observed_at),
                    entry.owned.run.to_string(),
                ]
            });
            let head = ["TARGET", "OBJECT", "OWNER", "FILE", "OBSERVED", "RUN"];
            output::table(&head, rows.collect());
        })
    }
}

impl Deliveries {
    async fn run(self, app: &App, invocation: &Invocation) -> anyhow::Result<()> {
        let filter = Filter {
            repository: self.repository,
            run: self.run.map(RunId),
            person: self.person,
            ..filter(app, self.place, &self.part, self.commit.as_deref()).await?
        };
        let page = async |paging: Paging| app.store.deliveries_page(&filter, &paging).await;
        let page = fill(from(&self.part), self.part.limit, page).await?;
        show(
            invocation,
            "deliveries",
            page,
            DeliveryView::of,
            |deliveries| {
                let rows = deliveries.iter().map(|delivery| {
                    vec![
                        output::moment(delivery.received_at),
                        delivery.id.clone(),
                        delivery.event.clone(),
                        short(delivery.repository.as_deref()),
                        short(delivery.git_ref.as_deref()),
                        short(delivery.after.as_ref().map(Revision::short)),
                        short(delivery.pusher.as_ref().map(ToString::to_string).as_deref()),
                    ]
                });
                let head = [
                    "RECEIVED",
                    "DELIVERY",
                    "EVENT",
                    "REPOSITORY",
                    "REF",
                    "COMMIT",
                    "PUSHER",
                ];
                output::table(&head, rows.collect());
            },
        )
    }
}

impl Approvals {
    async fn run(self, app: &App, invocation: &Invocation) -> anyhow::Result<()> {
        let filter = Filter {
            run: self.run.map(RunId),
            person: self.person,
            choice: self.choice,
            ..filter(app, self.place, &self.part, None).await?
        };
        let page = async |paging: Paging| app.store.approvals_page(&filter, &paging).await;
        let page = fill(from(&self.part), self.part.limit, page).await?;
        show(invocation, "approvals", page, ApprovalView::of, |entries| {
            let rows = entries.iter().map(|entry| {
                vec![
                    output::moment(entry.at),
                    entry.stack.clone(),
                    entry.choice.to_string(),
                    entry.by.to_string(),
                    entry.run.to_string(),
                    short(entry.used_by.as_ref().map(ToString::to_string).as_deref()),
                    entry.reason.clone(),
                ]
            });
            let head = [
                "AT",
                "STACK",
                "CHOICE",
                "BY",
                "HELD BY RUN",
                "LET GO RUN",
                "REASON",
            ];
            output::table(&head, rows.collect());
        })
    }
}

fn short(text: Option<&str>) -> String {
    text.unwrap_or("-").to_owned()
}

impl Life {
    async fn run(self, app: &App, invocation: &Invocation) -> anyhow::Result<()> {
        let target = find_target(app, &self.target)?;
        let now = app.now();
        let until = self
            .until
            .map(|when| parse_moment(&when, now))
            .transpose()?;
        let life = history::life(
            &app.store,
            &target.name,
            &self.object,
            until,
            self.limit.into(),
        );
        let (chapters, has_more) = life.await?;
        if invocation.is_json() {
            let chapters: Vec<Value> = chapters.iter().map(chapter_json).collect();
            return output::json(&json!({
                "target": target.name,
                "object": self.object,
                "chapters": chapters,
                "more": has_more,
            }));
        }
        if chapters.is_empty() {
            eprintln!("nothing is on record of {} on {}", self.object, target.name);
        } else {
            let told: Vec<String> = chapters.iter().map(chapter_text).collect();
            output::text(&told.join("\n\n"));
        }
        if has_more && let Some(last) = chapters.last() {
            eprintln!("there is more: --until {}", output::rfc3339(last.at));
        }
        Ok(())
    }
}

pub(super) fn chapter_json(chapter: &Chapter) -> Value {
    let Chapter {
        at,
        what,
        by_hand,
        stack,
        node,
        run,
        revision,
        path,
        behind,
        trigger,
        outcome,
        reason,
        message,
        fields,
        event,
    } = chapter;
    let person = |person: &Option<Person>| person.as_ref().map(PersonView::of);
    let approvals: Vec<ApprovalView> = behind.approvals.iter().map(ApprovalView::of).collect();
    let fields: Vec<FieldView> = fields.iter().map(FieldView::of).collect();
    json!({
        "at": output::rfc3339(*at),
        "what": what,
        "by_hand": by_hand,
        "stack": stack,
        "node": node,
        "run": run,
        "revision": revision,
        "path": path,
        "author": person(&behind.author),
        "pusher": person(&behind.pusher),
        "operator": person(&behind.operator),
        "approvals": approvals,
        "trigger": trigger,
        "outcome": outcome,
        "reason": reason,
        "message": message,
        "fields": fields,
        "event": event,
    })
}

fn chapter_text(chapter: &Chapter) -> String {
    let mut first = vec![output::moment(chapter.at), format!("{:8}", chapter.what)];
    first.extend(chapter.outcome.map(|outcome| outcome.to_string()));
    first.extend(
        chapter
            .revision
            .as_ref()
            .map(|revision| revision.short().to_owned()),
    );
    first.extend(chapter.path.clone());
    if !chapter.node.is_empty() {
        first.push(format!("on {}", chapter.node));
    }
    if chapter.by_hand {
        first.push("BY HAND".to_owned());
    }
    let mut lines = vec![first.join("  ")];
    let behind = &chapter.behind;
    let mut people = Vec::new();
    for (part, person) in [
        ("written by", &behind.author),
        ("pushed by", &behind.pusher),
        ("asked for by", &behind.operator),
    ] {
        people.extend(person.as_ref().map(|person| format!("{part} {person}")));
    }
    let approvals = behind.approvals.iter();
    people.extend(approvals.map(|approval| {
        format!(
            "{} by {}: {}",
            approval.choice, approval.by, approval.reason
        )
    }));
    if !people.is_empty() {
        lines.push(format!("    {}", people.join(", ")));
    }
    let mut why = vec![chapter.reason.clone()];
    why.extend(chapter.message.clone());
    why.extend(chapter.run.as_ref().map(|run| format!("run {run}")));
    why.extend(chapter.event.map(|event| format!("event {event}")));
    why.retain(|part| !part.is_empty());
    if !why.is_empty() {
        lines.push(format!("    {}", why.join("; ")));
    }
    lines.extend(chapter.fields.iter().map(|field| format!("      {field}")));
    lines.join("\n")
}

fn line(event: &Event) -> String {
    let header: Option<Header> = serde_json::from_str(&event.header).ok();
    let payload: Value = serde_json::from_str(&event.payload).unwrap_or_default();
    let Some(header) = header else {
        return format!("{}: cannot be read", event.sequence);
    };
    let mut words = vec![
        output::moment(header.at),
        format!("{:18}", header.event_type),
    ];
    words.extend(header.stack.clone());
    words.extend(header.object.as_ref().map(ToString::to_string));
    words.extend(summary(&payload));
    let people: Vec<String> = event
        .people
        .iter()
        .filter_map(|opening| serde_json::from_str::<Person>(&opening.value).ok())
        .map(|person| person.to_string())
        .collect();
    if !people.is_empty() {
        words.push(format!("by {}", people.join(", ")));
    }
    if let Some(run) = &header.run {
        words.push(format!("(run {run})"));
    }
    words.join("  ")
}
/// What a payload says, in a few words.
fn summary(payload: &Value) -> Vec<String> {
    let text = |pointer: &str| payload.pointer(pointer).and_then(Value::as_str);
    let mut words = Vec::new();
    for pointer in ["/status", "/action", "/outcome", "/ref"] {
        words.extend(text(pointer).map(str::to_owned));
    }
    for pointer in ["/source/revision", "/after", "/revision"] {
        if let Some(digits) = text(pointer) {
            words.push(digits.chars().take(8).collect());
            break;
        }
    }
    if let Some(changes) = payload.get("changes").and_then(Value::as_array) {
        words.push(format!("{} changes", changes.len()));
    }
    if let Some(objects) = payload.get("objects").and_then(Value::as_array) {
        let names: Vec<&str> = objects.iter().filter_map(Value::as_str).take(5).collect();
        words.push(names.join(" "));
    }
    // A person's own words; a change's reason is not one.
    let said = text("/reason").filter(|_| payload.get("action").is_none());
    words.extend(said.map(|said| said.chars().take(160).collect()));
    for pointer in ["/ignored", "/message"] {
        if let Some(message) = text(pointer) {
            let first = message.lines().next().unwrap_or_default();
            words.push(first.chars().take(160).collect());
        }
    }
    words
}
