//! Pages of what is on record: runs, changes, events, deliveries, approvals and objects, by what
//! they are about. Only reads.
//!
//! A page is found through one index, that of the narrowest thing that is asked for. Whatever else
//! is asked for is looked at row by row, in [`LOOK`] rows at most; a page that ends there says from
//! where to go on. So no question reads further than that, however rare what it asks for is.
//!
//! Pages are stable: their order is that of what never changes, and what is recorded meanwhile
//! comes before the first page.

mod behind;
mod moment;
mod page;
mod question;
mod rows;

use sqlx::{FromRow, QueryBuilder, postgres::PgRow, sqlite::SqliteRow};

pub use self::page::{Cursor, CursorError, From, LARGEST_PAGE, Page, Paging};
use self::question::{
    Asked, Condition, Key, Piece, Question, Source, clean, number, push_conditions, text, words_in,
};
use self::rows::{ApprovalRow, ChangeEntryRow, ObjectRow};
use super::{
    Delivery, Run, Store,
    audit::{EventRow, lists_objects},
    db::Db,
    error::{Result, parse},
    inbox::{DeliveryRow, delivery_columns},
    runs::{RunRow, run_columns},
};
use crate::domain::{
    approval::{Approver, Choice},
    audit::event::{Event, EventType, Person},
    canonical::Digest,
    inventory::Owned,
    object::ObjectKey,
    revision::Revision,
    run::{ChangeRecord, Outcome, RunId, RunStatus, Trigger},
};

/// How many rows a page looks at, at most, for what no index answers.
pub const LOOK: i64 = 1_000;

/// How far the clocks of workers may be apart for events still to be found by their time: the
/// history's order is that of its sequence, and times may step back in it.
pub const SKEW: i64 = 60 * 60 * 1_000_000;

/// How many runs of one commit its events are looked for in.
const RUNS_OF_A_COMMIT: i64 = 500;

/// What is asked for. Everything that is `None` is not; a list that has no such thing passes over
/// it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub target: Option<String>,
    pub stack: Option<String>,
    pub object: Option<ObjectKey>,
    pub run: Option<RunId>,
    pub commit: Option<Revision>,
    /// A login, an address or a name, upper and lower case alike. Of runs and changes whoever
    /// pushed; of deliveries too; of events anybody named in them; of approvals the person.
    pub person: Option<String>,
    /// Of any of these types; of all when there are none.
    pub types: Vec<EventType>,
    /// The id of an actor, such as a worker's name or a token's id.
    pub actor: Option<String>,
    pub status: Option<RunStatus>,
    pub trigger: Option<Trigger>,
    pub outcome: Option<Outcome>,
    pub choice: Option<Choice>,
    pub repository: Option<String>,
    pub path: Option<String>,
    /// Microseconds UTC, the first inside and the second outside.
    pub since: Option<i64>,
    pub until: Option<i64>,
    /// Words that stand in it, upper and lower case alike.
    pub text: Option<String>,
}

/// A change with the run that made it.
#[derive(Debug, Clone, PartialEq)]
pub struct ChangeEntry {
    pub change: ChangeRecord,
    pub run: RunId,
    pub stack: String,
    pub target: String,
    /// The node of the target; "" of a target of one.
    pub node: String,
    /// When the run began.
    pub at: i64,
    pub finished_at: Option<i64>,
    pub trigger: Trigger,
    pub status: RunStatus,
    pub revision: Option<Revision>,
    pub pusher: Option<Person>,
}

/// A decision with what it is about.
#[derive(Debug, Clone, PartialEq)]
pub struct ApprovalEntry {
    pub id: String,
    pub stack: String,
    pub plan_hash: Digest,
    /// The run that was named.
    pub run: RunId,
    pub choice: Choice,
    pub by: Approver,
    pub reason: String,
    pub at: i64,
    pub expires_at: i64,
    /// The run that it let go.
    pub used_by: Option<RunId>,
    pub voided_at: Option<i64>,
}

/// An owned object with where it is.
#[derive(Debug, Clone, PartialEq)]
pub struct ObjectEntry {
    pub target: String,
    /// The node of the target; "" of a target of one.
    pub node: String,
    pub object: ObjectKey,
    pub owned: Owned,
}

const OF_EVENT: &[Key] = &[Key::Number("e.sequence")];

impl Store {
    /// Runs, newest first by when they began.
    pub async fn runs_page(&self, filter: &Filter, paging: &Paging) -> Result<Page<Run>> {
        const KEYS: &[Key] = &[Key::Number("r.started_at"), Key::Text("r.id")];
        let own = |condition| Source::new("run r", KEYS, vec![condition]);
        let mut asked = Asked::default();
        if let Some(commit) = &filter.commit {
            asked.by(
                vec![own(text("r.revision = ", commit.as_str()))],
                text("r.revision = ", commit.as_str()),
            );
        }
        if let Some(object) = &filter.object {
            const OF_CHANGE: &[Key] = &[Key::Number("c.at"), Key::Text("c.run")];
            let object = object.to_string();
            let source = Source {
                repeats: true,
                ..Source::new("change c", OF_CHANGE, vec![text("c.object = ", &object)])
            };
            let mut exists = text(
                "exists (select 1 from change c where c.run = r.id and c.object = ",
                &object,
            );
            exists.push(Piece::Sql(")"));
            asked.by(vec![source], exists);
        }
        if let Some(person) = &filter.person {
            let handles = ["r.pusher_login = ", "r.pusher_email = ", "r.pusher_name = "];
            let (sources, any) = self.by_handles("run r", KEYS, handles, person);
            asked.by(sources, any);
        }
        for (sql, value) in [
            ("r.id = ", filter.run.as_ref().map(|run| run.0.as_str())),
            ("r.stack = ", filter.stack.as_deref()),
            ("r.target = ", filter.target.as_deref()),
            ("r.status = ", filter.status.map(RunStatus::as_str)),
        ] {
            if let Some(value) = value {
                asked.by(vec![own(text(sql, value))], text(sql, value));
            }
        }
        if let Some(trigger) = filter.trigger {
            asked.rest.push(text("r.trigger = ", trigger.as_str()));
        }
        if let Some(words) = &filter.text {
            asked
                .rest
                .push(words_in(&["r.message", "r.commits"], words));
        }
        asked.between(filter, Source::new("run r", KEYS, Vec::new()));
        let question = Question {
            columns: run_columns!(),
            join: "run r on r.id = l.k2",
            sources: asked.sources,
            rest: asked.rest,
        };
        self.page(
            &question,
            paging,
            |row: RunRow| Run::try_from(row),
            |run: &Run| Cursor::new(run.started_at, run.id.0.clone(), 0),
        )
        .await
    }

    /// Changes of runs, newest first by when their run began.
    pub async fn changes_page(
        &self,
        filter: &Filter,
        paging: &Paging,
    ) -> Result<Page<ChangeEntry>> {
        const KEYS: &[Key] = &[
            Key::Number("c.at"),
            Key::Text("c.run"),
            Key::Position("c.position"),
        ];
        const OF_RUN: &[Key] = &[
            Key::Number("r.started_at"),
            Key::Text("r.id"),
            Key::Position("c.position"),
        ];
        const RUN_AND_CHANGE: &str = "run r join change c on c.run = r.id";
        let own = |condition| Source::new("change c", KEYS, vec![condition]);
        let mut asked = Asked::default();
        if let Some(run) = &filter.run {
            asked.by(
                vec![own(text("c.run = ", &run.0))],
                text("c.run = ", &run.0),
            );
        }
        if let Some(commit) = &filter.commit {
            let commit = text("r.revision = ", commit.as_str());
            let source = Source::new(RUN_AND_CHANGE, OF_RUN, vec![commit.clone()]);
            asked.by(vec![source], commit);
        }
        let mut target = filter.target.as_deref();
        if let Some(object) = &filter.object {
            let object = text("c.object = ", &object.to_string());
            if let Some(target) = target.take_if(|_| asked.sources.is_empty()) {
                // One index has both.
                let both = vec![text("c.target = ", target), object];
                asked.sources.push(Source::new("change c", KEYS, both));
            } else {
                asked.by(vec![own(object.clone())], object);
            }
        }
        if let Some(person) = &filter.person {
            let handles = ["r.pusher_login = ", "r.pusher_email = ", "r.pusher_name = "];
            let (sources, any) = self.by_handles(RUN_AND_CHANGE, OF_RUN, handles, person);
            asked.by(sources, any);
        }
        for (sql, value) in [
            ("c.stack = ", filter.stack.as_deref()),
            ("c.target = ", target),
            ("c.outcome = ", filter.outcome.map(Outcome::as_str)),
        ] {
            if let Some(value) = value {
                asked.by(vec![own(text(sql, value))], text(sql, value));
            }
        }
        if let Some(status) = filter.status {
            asked.rest.push(text("r.status = ", status.as_str()));
        }
        if let Some(trigger) = filter.trigger {
            asked.rest.push(text("r.trigger = ", trigger.as_str()));
        }
        if let Some(words) = &filter.text {
            let places = ["c.reason", "c.message", "c.fields", "c.object"];
            asked.rest.push(words_in(&places, words));
        }
        asked.between(filter, Source::new("change c", KEYS, Vec::new()));
        let question = Question {
            columns: "c.position, c.object, c.action, c.reason, c.body_before, c.body_after, \
                      c.fields, c.outcome, c.message, c.run, c.stack, c.target, c.at, r.node, \
                      r.finished_at, r.trigger, r.status, r.revision, r.pusher",
            join: "change c on c.run = l.k2 and c.position = l.k3 join run r on r.id = l.k2",
            sources: asked.sources,
            rest: asked.rest,
        };
        self.page(
            &question,
            paging,
            |row: ChangeEntryRow| ChangeEntry::try_from(row),
            |entry: &ChangeEntry| Cursor::new(entry.at, entry.run.0.clone(), entry.change.position),
        )
        .await
    }

    /// Events, newest first by their place in the history.
    pub async fn events_page(&self, filter: &Filter, paging: &Paging) -> Result<Page<Event>> {
        let mut asked = self.asked_of_events(filter).await?;
        if asked.sources.is_empty() {
            asked
                .sources
                .push(Source::new("audit_event e", OF_EVENT, Vec::new()));
        }
        let (first, end) = self.sequences(filter.since, filter.until).await?;
        for source in &mut asked.sources {
            let column = source.keys[0].column();
            for (comparison, bound) in [(" >= ", first), (" < ", end)] {
                if let Some(bound) = bound {
                    source.conditions.push(vec![
                        Piece::Sql(column),
                        Piece::Sql(comparison),
                        Piece::Number(bound),
                    ]);
                }
            }
        }
        for (sql, moment) in [("e.at >= ", filter.since), ("e.at < ", filter.until)] {
            if let Some(moment) = moment {
                asked.rest.push(number(sql, moment));
            }
        }
        let question = Question {
            columns: "e.sequence, e.header, e.payload, e.previous, e.hash",
            join: "audit_event e on e.sequence = l.k1",
            sources: asked.sources,
            rest: asked.rest,
        };
        let page = self
            .page(&question, paging, Ok, |row: &EventRow| {
                Cursor::of_event(row.sequence)
            })
            .await?;
        Ok(Page {
            items: self.with_people(page.items).await?,
            before: page.before,
            after: page.after,
        })
    }

    async fn asked_of_events(&self, filter: &Filter) -> Result<Asked> {
        let own = |condition| Source::new("audit_event e", OF_EVENT, vec![condition]);
        let mut asked = Asked::default();
        if let Some(commit) = &filter.commit {
            let mut sources = vec![own(text("e.pushed = ", commit.as_str()))];
            let runs = self.runs_of(commit).await?;
            if !runs.is_empty() {
                let mut among = vec![Piece::Sql("e.run in (")];
                for (index, run) in runs.into_iter().enumerate() {
                    if index > 0 {
                        among.push(Piece::Sql(", "));
                    }
                    among.push(Piece::Text(run));
                }
                among.push(Piece::Sql(")"));
                sources.push(own(among));
            }
            // It is always what comes first.
            asked.by(sources, Vec::new());
        }
        if let Some(person) = &filter.person {
            const OF_PERSON: &[Key] = &[Key::Number("p.sequence")];
            let handles = ["p.login = ", "p.email = ", "p.name = "];
            let (sources, any) = self.by_handles("audit_person p", OF_PERSON, handles, person);
            let mut exists = vec![Piece::Sql(
                "exists (select 1 from audit_person p where p.sequence = e.sequence and ",
            )];
            exists.extend(any);
            exists.push(Piece::Sql(")"));
            asked.by(sources, exists);
        }
        if let Some(run) = &filter.run {
            let run = text("e.run = ", &run.0);
            asked.by(vec![own(run.clone())], run);
        }
        if let Some(object) = &filter.object {
            const LISTED: &[Key] = &[Key::Number("o.sequence")];
            let object = object.to_string();
            let named = text("e.object = ", &object);
            let listed = text("o.object = ", &object);
            let mut either = vec![Piece::Sql("(")];
            either.extend(named.clone());
            either.extend(text(
                " or exists (select 1 from audit_object o where o.sequence = e.sequence and o.object = ",
                &object,
            ));
            either.push(Piece::Sql("))"));
            let listed = Source::new("audit_object o", LISTED, vec![listed]);
            // Events that list objects are about none of them alone.
            let mut types = filter.types.iter();
            let all_list = !filter.types.is_empty()
                && types.all(|event_type| lists_objects(event_type.as_str()));
            let sources = if all_list {
                vec![listed]
            } else {
                vec![own(named), listed]
            };
            asked.by(sources, either);
        }
        for (sql, value) in [
            ("e.actor_id = ", filter.actor.as_deref()),
            ("e.type = ", only_type(filter)),
            ("e.stack = ", filter.stack.as_deref()),
            ("e.target = ", filter.target.as_deref()),
        ] {
            if let Some(value) = value {
                asked.by(vec![own(text(sql, value))], text(sql, value));
            }
        }
        if filter.types.len() > 1 {
            let mut among = vec![Piece::Sql("e.type in (")];
            for (index, event_type) in filter.types.iter().enumerate() {
                if index > 0 {
                    among.push(Piece::Sql(", "));
                }
                among.push(Piece::Text(event_type.as_str().to_owned()));
            }
            among.push(Piece::Sql(")"));
            asked.rest.push(among);
        }
        if let Some(words) = &filter.text {
            asked.rest.push(words_in(&["e.payload"], words));
        }
        Ok(asked)
    }

    /// Deliveries, newest first by when they were received.
    pub async fn deliveries_page(
        &self,
        filter: &Filter,
        paging: &Paging,
    ) -> Result<Page<Delivery>> {
        const KEYS: &[Key] = &[Key::Number("d.received_at"), Key::Text("d.id")];
        const OF_STACK: &[Key] = &[Key::Number("s.received_at"), Key::Text("s.delivery")];
        let mut asked = Asked::default();
        if let Some(commit) = &filter.commit {
            let source = Source::new(
                "delivery_commit x join delivery d on d.id = x.delivery",
                KEYS,
                vec![text("x.revision = ", commit.as_str())],
            );
            asked.by(vec![source], Vec::new());
        }
        if let Some(run) = &filter.run {
            let source = Source::new(
                "run_delivery x join delivery d on d.id = x.delivery",
                KEYS,
                vec![text("x.run = ", &run.0)],
            );
            let mut exists = text(
                "exists (select 1 from run_delivery x where x.delivery = d.id and x.run = ",
                &run.0,
            );
            exists.push(Piece::Sql(")"));
            asked.by(vec![source], exists);
        }
        if let Some(person) = &filter.person {
            let handles = ["d.pusher_login = ", "d.pusher_email = ", "d.pusher_name = "];
            let (sources, any) = self.by_handles("delivery d", KEYS, handles, person);
            asked.by(sources, any);
        }
        if let Some(stack) = &filter.stack {
            let source = Source::new(
                "delivery_stack s",
                OF_STACK,
                vec![text("s.stack = ", stack)],
            );
            let mut exists = text(
                "exists (select 1 from delivery_stack s where s.delivery = d.id and s.stack = ",
                stack,
            );
            exists.push(Piece::Sql(")"));
            asked.by(vec![source], exists);
        }
        if let Some(repository) = &filter.repository {
            let repository = text("d.repository = ", repository);
            let source = Source::new("delivery d", KEYS, vec![repository.clone()]);
            asked.by(vec![source], repository);
        }
        if let Some(target) = &filter.target {
            let mut exists = text(
                "exists (select 1 from delivery_stack s join stack_state t on t.stack = s.stack \
                 where s.delivery = d.id and t.target = ",
                target,
            );
            exists.push(Piece::Sql(")"));
            asked.rest.push(exists);
        }
        if let Some(words) = &filter.text {
            asked
                .rest
                .push(words_in(&["d.commits", "d.git_ref"], words));
        }
        asked.between(filter, Source::new("delivery d", KEYS, Vec::new()));
        let question = Question {
            columns: delivery_columns!(),
            join: "delivery d on d.id = l.k2",
            sources: asked.sources,
            rest: asked.rest,
        };
        self.page(
            &question,
            paging,
            |row: DeliveryRow| Delivery::try_from(row),
            |delivery: &Delivery| Cursor::new(delivery.received_at, delivery.id.clone(), 0),
        )
        .await
    }

    /// Approvals and rejections, newest first.
    pub async fn approvals_page(
        &self,
        filter: &Filter,
        paging: &Paging,
    ) -> Result<Page<ApprovalEntry>> {
        const KEYS: &[Key] = &[Key::Number("a.at"), Key::Text("a.id")];
        let own = |condition| Source::new("approval a", KEYS, vec![condition]);
        let mut asked = Asked::default();
        if let Some(run) = &filter.run {
            // Of the run that held something back, and of the one that carried it out.
            let mut either = text("(a.run = ", &run.0);
            either.extend(text(" or a.used_by = ", &run.0));
            either.push(Piece::Sql(")"));
            asked.rest.push(either);
        }
        for (sql, value) in [
            ("a.person = ", filter.person.as_deref()),
            ("a.stack = ", filter.stack.as_deref()),
        ] {
            if let Some(value) = value {
                asked.by(vec![own(text(sql, value))], text(sql, value));
            }
        }
        if let Some(choice) = filter.choice {
            asked.rest.push(text("a.choice = ", choice.as_str()));
        }
        if let Some(target) = &filter.target {
            let mut exists = text(
                "exists (select 1 from stack_state t where t.stack = a.stack and t.target = ",
                target,
            );
            exists.push(Piece::Sql(")"));
            asked.rest.push(exists);
        }
        if let Some(words) = &filter.text {
            asked.rest.push(words_in(&["a.reason"], words));
        }
        asked.between(filter, Source::new("approval a", KEYS, Vec::new()));
        let question = Question {
            columns: "a.id, a.stack, a.plan_hash, a.run, a.choice, a.person, a.actor, a.reason, \
                      a.at, a.expires_at, a.used_by, a.voided_at",
            join: "approval a on a.id = l.k2",
            sources: asked.sources,
            rest: asked.rest,
        };
        self.page(
            &question,
            paging,
            |row: ApprovalRow| ApprovalEntry::try_from(row),
            |entry: &ApprovalEntry| Cursor::new(entry.at, entry.id.clone(), 0),
        )
        .await
    }

    /// Owned objects by target, node and name. Its pages go on with `Before`, in that order.
    pub async fn objects_page(
        &self,
        filter: &Filter,
        paging: &Paging,
    ) -> Result<Page<ObjectEntry>> {
        let limit = paging.rows();
        let last = match &paging.from {
            From::Newest => None,
            From::Before(cursor) | From::After(cursor) => Some(
                <(String, String, String)>::try_from(cursor.clone())
                    .map_err(|_| super::error::unreadable("cursor", &cursor.text))?,
            ),
        };
        let mut conditions: Vec<Condition> = Vec::new();
        for (sql, value) in [
            ("i.target = ", filter.target.clone()),
            ("i.stack = ", filter.stack.clone()),
            (
                "i.object = ",
                filter.object.as_ref().map(ToString::to_string),
            ),
            ("i.path = ", filter.path.clone()),
            ("i.run = ", filter.run.as_ref().map(ToString::to_string)),
        ] {
            conditions.extend(value.map(|value| text(sql, &value)));
        }
        if let Some(words) = &filter.text {
            conditions.push(words_in(&["i.object", "i.path"], words));
        }
        if let Some((target, node, object)) = last {
            let mut after = text("(i.target, i.node, i.object) > (", &target);
            after.extend(text(", ", &node));
            after.extend(text(", ", &object));
            after.push(Piece::Sql(")"));
            conditions.push(after);
        }
        let mut rows: Vec<ObjectRow> = on_pool!(self, |pool| {
            let mut select = QueryBuilder::new(
                "select i.target, i.node, i.object, i.stack, i.desired, i.observed, i.listed, \
                 i.hidden, i.gateway_version, i.run, i.path, i.since, i.observed_at from inventory i",
            );
            push_conditions(&mut select, " where ", &conditions);
            select
                .push(" order by i.target, i.node, i.object limit ")
                .push_bind(limit + 1);
            select
                .build_query_as()
                .persistent(false)
                .fetch_all(pool)
                .await?
        });
        let has_more = rows.len() > usize::try_from(limit).unwrap_or(usize::MAX);
        if has_more {
            rows.pop();
        }
        let items: Vec<ObjectEntry> = rows
            .into_iter()
            .map(ObjectEntry::try_from)
            .collect::<Result<_>>()?;
        let before = items.last().filter(|_| has_more).map(|last| {
            let place = (&last.target, &last.node, last.object.to_string());
            Cursor::new(0, serde_json::to_string(&place).expect("texts are JSON"), 0)
        });
        Ok(Page {
            items,
            before,
            after: None,
        })
    }

    /// Commits of runs and deliveries that begin with these digits, a few of them.
    pub async fn commits_like(&self, digits: &str) -> Result<Vec<Revision>> {
        const SHOWN: i64 = 5;
        // Behind every hex digit.
        let end = format!("{digits}g");
        let rows: Vec<String> = on_pool!(self, |pool| {
            sqlx::query_scalar(
                "select revision from (select distinct revision from run \
                 where revision >= $1 and revision < $2 order by revision limit $3) as runs union \
                 select revision from (select distinct revision from delivery_commit \
                 where revision >= $1 and revision < $2 order by revision limit $3) as pushed \
                 order by revision limit $3",
            )
            .bind(digits)
            .bind(&end)
            .bind(SHOWN)
            .fetch_all(pool)
            .await?
        });
        rows.iter().map(|row| parse("revision", row)).collect()
    }

    /// One event, with what stands behind its commitments.
    pub async fn event(&self, sequence: i64) -> Result<Option<Event>> {
        let events = self.events_from(sequence, 1).await?;
        Ok(events.into_iter().find(|event| event.sequence == sequence))
    }

    async fn runs_of(&self, commit: &Revision) -> Result<Vec<String>> {
        Ok(on_pool!(self, |pool| {
            sqlx::query_scalar(
                "select id from run where revision = $1 order by started_at desc, id desc limit $2",
            )
            .bind(commit.as_str())
            .bind(RUNS_OF_A_COMMIT)
            .fetch_all(pool)
            .await?
        }))
    }

    /// The part of the history in which events between these times stand: its first sequence
    /// number and the one after its last, with [`SKEW`] to spare.
    async fn sequences(
        &self,
        since: Option<i64>,
        until: Option<i64>,
    ) -> Result<(Option<i64>, Option<i64>)> {
        let mut first = None;
        let mut end = None;
        if let Some(since) = since {
            let before: Option<i64> = on_pool!(self, |pool| {
                sqlx::query_scalar(
                    "select sequence from audit_event where at < $1 \
                     order by at desc, sequence desc limit 1",
                )
                .bind(since.saturating_sub(SKEW))
                .fetch_optional(pool)
                .await?
            });
            first = before.map(|before| before + 1);
        }
        if let Some(until) = until {
            end = on_pool!(self, |pool| {
                sqlx::query_scalar(
                    "select sequence from audit_event where at >= $1 \
                     order by at, sequence limit 1",
                )
                .bind(until.saturating_add(SKEW))
                .fetch_optional(pool)
                .await?
            });
        }
        Ok((first, end))
    }

    /// A source a name that the person may go by, and the same as one condition.
    fn by_handles(
        &self,
        table: &'static str,
        keys: &'static [Key],
        handles: [&'static str; 3],
        person: &str,
    ) -> (Vec<Source>, Condition) {
        let person = match &self.db {
            // The columns hold what stands between the quotes of the JSON.
            Db::Postgres(_) => {
                let quoted = serde_json::to_string(&clean(person)).expect("texts are JSON");
                quoted[1..quoted.len() - 1].to_owned()
            }
            Db::Sqlite { .. } => person.to_owned(),
        };
        let is = |handle: &'static str| {
            vec![
                Piece::Sql(handle),
                Piece::Sql("lower("),
                Piece::Text(clean(&person)),
                Piece::Sql(")"),
            ]
        };
        let sources = handles
            .iter()
            .map(|handle| Source::new(table, keys, vec![is(handle)]))
            .collect();
        let mut any = vec![Piece::Sql("(")];
        for (index, handle) in handles.into_iter().enumerate() {
            if index > 0 {
                any.push(Piece::Sql(" or "));
            }
            any.extend(is(handle));
        }
        any.push(Piece::Sql(")"));
        (sources, any)
    }

    async fn page<R, T>(
        &self,
        question: &Question,
        paging: &Paging,
        read: impl Fn(R) -> Result<T>,
        cursor_of: impl Fn(&T) -> Cursor,
    ) -> Result<Page<T>>
    where
        R: for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
    {
        let limit = paging.rows();
        let is_exact = question.rest.is_empty();
        let look = if is_exact {
            limit + 1
        } else {
            LOOK.max(limit + 1)
        };
        let rows: Vec<R> = on_pool!(self, |pool| {
            let mut select = QueryBuilder::new("");
            question.push_page(&mut select, paging, look, limit + 1);
            select
                .build_query_as()
                .persistent(false)
                .fetch_all(pool)
                .await?
        });
        let mut items: Vec<T> = rows.into_iter().map(read).collect::<Result<_>>()?;
        let has_more = items.len() > usize::try_from(limit).unwrap_or(usize::MAX);
        if has_more {
            items.pop();
        }
        // The last row that was looked at, where the page ended for that reason.
        let mut end = items.last().filter(|_| has_more).map(&cursor_of);
        if !has_more && !is_exact {
            let last: Option<Cursor> = on_pool!(self, |pool| {
                let mut select = QueryBuilder::new("");
                question.push_end(&mut select, paging, look);
                let row: Option<(i64, String, i64)> = select
                    .build_query_as()
                    .persistent(false)
                    .fetch_optional(pool)
                    .await?;
                row.map(|(number, text, position)| Cursor::new(number, text, position))
            });
            end = last;
        }
        let start = items.first().map(&cursor_of);
        if paging.is_forward() {
            let given = match &paging.from {
                From::After(cursor) => Some(cursor.clone()),
                _ => None,
            };
            let before = start.or_else(|| given.clone());
            let after = end.or_else(|| items.last().map(&cursor_of)).or(given);
            items.reverse();
            return Ok(Page {
                items,
                before,
                after,
            });
        }
        Ok(Page {
            items,
            before: end,
            after: start,
        })
    }
}

fn only_type(filter: &Filter) -> Option<&'static str> {
    match filter.types.as_slice() {
        [only] => Some(only.as_str()),
        _ => None,
    }
}

impl TryFrom<Cursor> for (String, String, String) {
    type Error = CursorError;

    fn try_from(cursor: Cursor) -> Result<Self, CursorError> {
        let place: Self = serde_json::from_str(&cursor.text).map_err(|_| CursorError)?;
        let has_nul = [&place.0, &place.1, &place.2]
            .iter()
            .any(|text| text.contains('\0'));
        if has_nul { Err(CursorError) } else { Ok(place) }
    }
}
