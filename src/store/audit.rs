//! The history: appended to inside the transaction of what it tells of, read in pages, walked to
//! be verified. Nothing here changes or removes an event, and the database refuses it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;
use sqlx::QueryBuilder;

use super::{
    Store,
    db::{BATCH, Tx, clean},
    error::{Result, parse, unreadable},
    retention::{make_room, needs_room},
};
use crate::domain::{
    audit::event::{Event, EventType, NewEvent, Opening, seal},
    canonical::Digest,
    object::ObjectKey,
    run::RunId,
};

/// How many events one page holds at most.
const PAGE: i64 = 1_000;

/// Where the history ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// How many events there are.
    pub size: i64,
    /// The hash of the last one.
    pub hash: Digest,
}

/// Which events to show. Everything that is `None` is not asked for.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    pub event_type: Option<EventType>,
    pub actor_kind: Option<String>,
    pub actor_id: Option<String>,
    pub target: Option<String>,
    pub stack: Option<String>,
    pub object: Option<ObjectKey>,
    pub run: Option<RunId>,
    /// Microseconds UTC, the first inside and the second outside.
    pub since: Option<i64>,
    pub until: Option<i64>,
    /// Only events before this sequence number: the last one of the page before.
    pub before: Option<i64>,
    /// At most 1,000; 0 is 50.
    pub limit: i64,
}

impl Store {
    /// Appends events that belong to nothing else that is recorded. All of them, or none.
    pub async fn record_events(&self, events: &[NewEvent]) -> Result<()> {
        retrying!(async {
            let mut tx = self.begin().await?;
            append(&mut tx, events).await?;
            tx.commit().await
        })
    }

    pub async fn head(&self) -> Result<Head> {
        let (size, hash): (i64, String) = on_pool!(self, |pool| {
            sqlx::query_as("select size, hash from audit_head where id = 1")
                .fetch_one(pool)
                .await?
        });
        Ok(Head {
            size,
            hash: parse("hash", &hash)?,
        })
    }

    /// One page of the history in its order, from this sequence number on.
    pub async fn events_from(&self, sequence: i64, limit: i64) -> Result<Vec<Event>> {
        let rows = self.event_rows_from(sequence, limit).await?;
        self.with_people(rows).await
    }

    /// One page of the events that the filter names, newest first. Pages are stable: what is
    /// appended meanwhile comes before the first.
    pub async fn events(&self, filter: &EventFilter) -> Result<Vec<Event>> {
        let EventFilter {
            event_type,
            actor_kind,
            actor_id,
            target,
            stack,
            object,
            run,
            since,
            until,
            before,
            limit,
        } = filter;
        let texts = [
            ("type", event_type.map(|each| each.as_str().to_owned())),
            ("actor_kind", actor_kind.clone()),
            ("actor_id", actor_id.clone()),
            ("target", target.clone()),
            ("stack", stack.clone()),
            ("object", object.as_ref().map(ToString::to_string)),
            ("run", run.as_ref().map(ToString::to_string)),
        ];
        let numbers = [
            ("at >= ", *since),
            ("at < ", *until),
            ("sequence < ", *before),
        ];
        let rows: Vec<EventRow> = on_pool!(self, |pool| {
            let mut select = QueryBuilder::new(
                "select sequence, header, payload, previous, hash from audit_event where 1 = 1",
            );
            for (column, text) in texts {
                if let Some(text) = text {
                    select
                        .push(" and ")
                        .push(column)
                        .push(" = ")
                        .push_bind(text);
                }
            }
            for (condition, number) in numbers {
                if let Some(number) = number {
                    select.push(" and ").push(condition).push_bind(number);
                }
            }
            select
                .push(" order by sequence desc limit ")
                .push_bind(page(*limit));
            select.build_query_as().fetch_all(pool).await?
        });
        self.with_people(rows).await
    }

    /// The first events of these types after a sequence number, in the order of the history, of
    /// one run or of all. Without what stands behind their commitments.
    pub async fn events_after(
        &self,
        after: i64,
        types: &[EventType],
        run: Option<&RunId>,
        limit: i64,
    ) -> Result<Vec<Event>> {
        let rows: Vec<EventRow> = on_pool!(self, |pool| {
            let mut select = QueryBuilder::new(
                "select sequence, header, payload, previous, hash from audit_event \
                 where sequence > ",
            );
            select.push_bind(after).push(" and type in (");
            let mut listed = select.separated(", ");
            for event_type in types {
                listed.push_bind(event_type.as_str());
            }
            select.push(")");
            if let Some(run) = run {
                select.push(" and run = ").push_bind(run.0.as_str());
            }
            select
                .push(" order by sequence limit ")
                .push_bind(page(limit));
            select.build_query_as().fetch_all(pool).await?
        });
        rows.into_iter().map(|row| row.with(Vec::new())).collect()
    }

    /// How many events of these types come after a sequence number and happened before a moment,
    /// and the last of them.
    pub async fn events_before(
        &self,
        after: i64,
        types: &[EventType],
        moment: i64,
    ) -> Result<(i64, Option<i64>)> {
        Ok(on_pool!(self, |pool| {
            let mut select = QueryBuilder::new(
                "select count(*), max(sequence) from audit_event where sequence > ",
            );
            select.push_bind(after).push(" and at < ").push_bind(moment);
            select.push(" and type in (");
            let mut listed = select.separated(", ");
            for event_type in types {
                listed.push_bind(event_type.as_str());
            }
            select.push(")");
            select.build_query_as().fetch_one(pool).await?
        }))
    }

    /// The first and the last of the first `size` events that happened within a time.
    pub async fn events_within(
        &self,
        since: Option<i64>,
        until: Option<i64>,
        size: i64,
    ) -> Result<Option<(i64, i64)>> {
        // With the count, and a size that no index answers, it is one walk over the times, and not
        // one from each end of the history through all that is outside of them.
        let (first, last, _): (Option<i64>, Option<i64>, i64) = on_pool!(self, |pool| {
            let mut select = QueryBuilder::new(
                "select min(sequence), max(sequence), count(*) from audit_event \
                 where sequence + 0 < ",
            );
            select.push_bind(size);
            for (condition, moment) in [(" and at >= ", since), (" and at < ", until)] {
                if let Some(moment) = moment {
                    select.push(condition).push_bind(moment);
                }
            }
            select.build_query_as().fetch_one(pool).await?
        });
        Ok(first.zip(last))
    }

    async fn event_rows_from(&self, sequence: i64, limit: i64) -> Result<Vec<EventRow>> {
        Ok(on_pool!(self, |pool| {
            sqlx::query_as(
                "select sequence, header, payload, previous, hash from audit_event \
                 where sequence >= $1 order by sequence limit $2",
            )
            .bind(sequence)
            .bind(page(limit))
            .fetch_all(pool)
            .await?
        }))
    }

    pub(super) async fn with_people(&self, rows: Vec<EventRow>) -> Result<Vec<Event>> {
        let mut people = self.people_of(&rows).await?;
        rows.into_iter()
            .map(|row| {
                let openings = people.remove(&row.sequence).unwrap_or_default();
                let openings: Result<_> = openings.into_iter().map(Opening::try_from).collect();
                row.with(openings?)
            })
            .collect()
    }

    async fn people_of(&self, events: &[EventRow]) -> Result<BTreeMap<i64, Vec<PersonRow>>> {
        let mut people: BTreeMap<i64, Vec<PersonRow>> = BTreeMap::new();
        for chunk in events.chunks(BATCH) {
            let rows: Vec<PersonRow> = on_pool!(self, |pool| {
                let mut select = QueryBuilder::new(
                    "select sequence, commitment, salt, value from audit_person \
                     where sequence in (",
                );
                let mut sequences = select.separated(", ");
                for event in chunk {
                    sequences.push_bind(event.sequence);
                }
                select.push(") order by sequence, position");
                select.build_query_as().fetch_all(pool).await?
            });
            for row in rows {
                people.entry(row.sequence).or_default().push(row);
            }
        }
        Ok(people)
    }
}

/// Where the history ended after this process appended last, and whether it still ended there when
/// the process came back: then nobody else appends, and the head need not be asked for.
#[derive(Default)]
pub(super) struct LastAppend(Mutex<Option<(Head, bool)>>);

impl LastAppend {
    fn state(&self) -> MutexGuard<'_, Option<(Head, bool)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the history probably ends.
    fn guess(&self) -> Option<Head> {
        self.state()
            .and_then(|(head, is_alone)| is_alone.then_some(head))
    }

    fn went(&self, from: Head, to: Head) {
        let mut state = self.state();
        let is_alone = state.is_some_and(|(last, _)| last == from);
        *state = Some((to, is_alone));
    }
}

/// Appends events as the last thing of a transaction: the head's row is what all writers of the
/// history wait for, so nothing else may be waited for while it is held.
pub(super) async fn append(tx: &mut Tx, events: &[NewEvent]) -> Result<()> {
    if events.is_empty() {
        return Ok(());
    }
    // Room for them is made under the head's lock.
    let count = i64::try_from(events.len()).unwrap_or(i64::MAX);
    let is_near = |head: &Head| !needs_room(head.size, head.size.saturating_add(count));
    if let Tx::Postgres(_, last) = tx
        && let Some(head) = last.guess().filter(is_near)
        && append_to(tx, events, head).await?
    {
        return Ok(());
    }
    let sql = locking!(tx, "select size, hash from audit_head where id = 1");
    let (size, hash): (i64, String) = on_tx!(tx, |connection| {
        sqlx::query_as(sql).fetch_one(connection).await?
    });
    let hash = parse("hash", &hash)?;
    if append_to(tx, events, Head { size, hash }).await? {
        Ok(())
    } else {
        Err(unreadable("head of the history", &size.to_string()))
    }
}

/// Appends events to a history that ends here. Whether it does: if not, nothing was done.
async fn append_to(tx: &mut Tx, events: &[NewEvent], head: Head) -> Result<bool> {
    let people = events.iter().map(|event| event.people.len()).sum();
    let mut salts = salts(people).into_iter();
    let mut end = head;
    let mut sealed = Vec::with_capacity(events.len());
    for event in events {
        let event = seal(event, end.size, end.hash, || {
            salts.next().expect("there is a salt for every person")
        });
        end = Head {
            size: end.size + 1,
            hash: event.hash,
        };
        sealed.push(event);
    }

    make_room(tx, head.size, end.size).await?;
    if !insert_events(tx, &sealed, head, end).await? {
        return Ok(false);
    }
    insert_people(tx, &sealed).await?;
    insert_objects(tx, events, head.size).await?;
    if let Tx::Postgres(_, last) = tx {
        last.went(head, end);
    }
    Ok(true)
}

/// Adds the events, and makes the last of them the head of the history. Whether the history ends
/// where they begin: if not, nothing was done.
async fn insert_events(tx: &mut Tx, events: &[Event], head: Head, end: Head) -> Result<bool> {
    match tx {
        // In one statement, because each is a way to the server and back: it waits for the head,
        // compares it, inserts, and moves the head when it was inserted.
        Tx::Postgres(transaction, _) => {
            let texts = |of: fn(&Event) -> String| events.iter().map(of).collect::<Vec<_>>();
            let done = sqlx::query(
                "with head as ( \
                 select 1 from audit_head where id = 1 and size = $6 and hash = $7 for update), \
                 appended as ( \
                 insert into audit_event (sequence, header, payload, previous, hash) \
                 select * from unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[]) \
                 where exists (select 1 from head) returning 1) \
                 update audit_head set size = $8, hash = $9 \
                 where id = 1 and (select count(*) from appended) > 0",
            )
            .bind(events.iter().map(|event| event.sequence).collect::<Vec<_>>())
            .bind(texts(|event| event.header.clone()))
            .bind(texts(|event| event.payload.clone()))
            .bind(texts(|event| event.previous.to_string()))
            .bind(texts(|event| event.hash.to_string()))
            .bind(head.size)
            .bind(head.hash.to_string())
            .bind(end.size)
            .bind(end.hash.to_string())
            .execute(&mut **transaction)
            .await?;
            return Ok(done.rows_affected() == 1);
        }
        Tx::Sqlite(transaction) => {
            for chunk in events.chunks(BATCH) {
                let mut insert = QueryBuilder::new(
                    "insert into audit_event (sequence, header, payload, previous, hash) ",
                );
                insert.push_values(chunk, |mut row, event| {
                    row.push_bind(event.sequence)
                        .push_bind(&event.header)
                        .push_bind(&event.payload)
                        .push_bind(event.previous.to_string())
                        .push_bind(event.hash.to_string());
                });
                let query = insert.build().persistent(is_frequent(chunk.len()));
                query.execute(&mut **transaction).await?;
            }
            sqlx::query("update audit_head set size = $1, hash = $2 where id = 1")
                .bind(end.size)
                .bind(end.hash.to_string())
                .execute(&mut **transaction)
                .await?;
        }
    }
    Ok(true)
}

/// Whether a statement of so many rows comes so often that it is kept prepared.
fn is_frequent(rows: usize) -> bool {
    rows <= 20
}

async fn insert_people(tx: &mut Tx, events: &[Event]) -> Result<()> {
    let people: Vec<(i64, i64, &Opening)> = events
        .iter()
        .flat_map(|event| {
            (0..)
                .zip(&event.people)
                .map(|(position, opening)| (event.sequence, position, opening))
        })
        .collect();
    for chunk in people.chunks(BATCH) {
        on_tx!(tx, |connection| {
            let mut insert = QueryBuilder::new(
                "insert into audit_person (commitment, sequence, position, salt, value) ",
            );
            insert.push_values(chunk, |mut row, (sequence, position, opening)| {
                row.push_bind(opening.commitment.to_string())
                    .push_bind(sequence)
                    .push_bind(position)
                    .push_bind(opening.salt.to_vec())
                    .push_bind(&opening.value);
            });
            let query = insert.build().persistent(is_frequent(chunk.len()));
            query.execute(connection).await?;
        });
    }
    Ok(())
}

/// Where events stand that list objects which their headers cannot name, so that they are found by
/// each of them.
async fn insert_objects(tx: &mut Tx, events: &[NewEvent], first: i64) -> Result<()> {
    let mut listed: BTreeSet<(String, i64)> = BTreeSet::new();
    for (event, sequence) in events.iter().zip(first..) {
        if lists_objects(event.event_type.as_str()) {
            let objects = listed_in(&event.payload).into_iter();
            listed.extend(objects.map(|object| (object, sequence)));
        }
    }
    let listed: Vec<_> = listed.into_iter().collect();
    for chunk in listed.chunks(BATCH) {
        on_tx!(tx, |connection| {
            let mut insert = QueryBuilder::new("insert into audit_object (object, sequence) ");
            insert.push_values(chunk, |mut row, (object, sequence)| {
                row.push_bind(object).push_bind(sequence);
            });
            insert.build().persistent(false).execute(connection).await?;
        });
    }
    Ok(())
}

/// Whether events of this type are found by the objects that their payload lists.
pub(super) fn lists_objects(event_type: &str) -> bool {
    [EventType::DriftObserved, EventType::ForeignAppeared]
        .iter()
        .any(|listing| listing.as_str() == event_type)
}

/// The objects that a payload lists, as they are kept.
pub(super) fn listed_in(payload: &Value) -> BTreeSet<String> {
    let objects = payload.get("objects").and_then(Value::as_array);
    let names = objects.into_iter().flatten().filter_map(Value::as_str);
    names.map(clean).collect()
}

fn salts(count: usize) -> Vec<[u8; 32]> {
    let mut salts = vec![[0; 32]; count];
    for salt in &mut salts {
        aws_lc_rs::rand::fill(salt).expect("the operating system gives random bytes");
    }
    salts
}

fn page(limit: i64) -> i64 {
    match limit {
        ..=0 => 50,
        limit => limit.min(PAGE),
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct EventRow {
    pub(super) sequence: i64,
    header: String,
    payload: String,
    previous: String,
    hash: String,
}

impl EventRow {
    pub(super) fn with(self, people: Vec<Opening>) -> Result<Event> {
        Ok(Event {
            sequence: self.sequence,
            previous: parse("hash", &self.previous)?,
            hash: parse("hash", &self.hash)?,
            header: self.header,
            payload: self.payload,
            people,
        })
    }
}

#[derive(sqlx::FromRow)]
struct PersonRow {
    sequence: i64,
    commitment: String,
    salt: Vec<u8>,
    value: String,
}

impl TryFrom<PersonRow> for Opening {
    type Error = super::Error;

    fn try_from(row: PersonRow) -> Result<Self> {
        Ok(Self {
            commitment: parse("commitment", &row.commitment)?,
            salt: row
                .salt
                .try_into()
                .map_err(|_| unreadable("salt", &row.commitment))?,
            value: row.value,
        })
    }
}
