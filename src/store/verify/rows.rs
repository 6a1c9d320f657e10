//! What a page of the history consists of: its events down to the last column, and what stands beside
//! them; and whether the one says what the other does.

use std::{
    collections::{BTreeMap, BTreeSet},
    iter,
};

use serde::Deserialize;
use serde_json::Value;
use sqlx::{Row as _, postgres::PgRow, sqlite::SqliteRow};

use super::{
    Found, broken,
    people::People,
    text::{Left, Unreadable, number, text},
};
use crate::{
    domain::{
        audit::{
            merkle::Node,
            verify::{Broken, Filterable, Text, Verifier, Written},
        },
        canonical::Digest,
    },
    store::{
        Store,
        audit::{listed_in, lists_objects},
        db::Db,
        error,
    },
};

/// The columns in the order in which [`Row`] takes them.
macro_rules! with_columns {
    ($with:ident) => {
        $with!(
            "type",
            "actor_kind",
            "actor_id",
            "target",
            "stack",
            "object",
            "run",
            "pushed",
            "previous",
            "hash",
            "header",
            "payload"
        )
    };
}

/// Rows as they are.
macro_rules! in_rows {
    ($($column:literal),+) => {
        concat!(
            "select sequence, at",
            $(", ", $column,)+
            " from audit_event where sequence >= $1 and sequence < $2 order by sequence"
        )
    };
}

/// The same, as one text.
macro_rules! in_text {
    ($($column:literal),+) => {
        concat!(
            "select string_agg(event, '') from (select concat(",
            number!("sequence"), ", ", number!("at"),
            $(", ", text!($column),)+
            ") as event from audit_event \
             where sequence >= $1 and sequence < $2 order by sequence) as events"
        )
    };
}

/// A part of the history, read and not yet checked.
pub(super) struct Page {
    pub events: Events,
    pub beside: Beside,
}

/// Events as they were read.
pub(super) enum Events {
    Rows(Vec<PgRow>),
    Text(SqliteRow),
}

impl Events {
    /// In their order; `None` for one that cannot be read, which ends them.
    pub fn rows(&self) -> sqlx::Result<Box<dyn Iterator<Item = Option<Row<'_>>> + Send + '_>> {
        Ok(match self {
            Self::Rows(rows) => Box::new(rows.iter().map(|row| Row::of(row).ok())),
            Self::Text(row) => {
                let mut left = Left::of(row)?;
                Box::new(iter::from_fn(move || {
                    (!left.is_empty()).then(|| Row::read(&mut left).ok())
                }))
            }
        })
    }
}

/// A row of the history as it is, down to the last column.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row<'row> {
    sequence: i64,
    at: Option<i64>,
    /// The columns that one filters by: the type, the actor's kind and id, the target, the stack,
    /// the object and the run.
    shown: [Option<&'row str>; 7],
    /// The commit that it is found by.
    pushed: Option<&'row str>,
    previous: &'row str,
    hash: &'row str,
    header: &'row str,
    pub payload: &'row str,
}

impl<'row> Row<'row> {
    fn of(row: &'row PgRow) -> sqlx::Result<Self> {
        let mut shown = [None; 7];
        for (place, text) in (2..).zip(&mut shown) {
            *text = row.try_get(place)?;
        }
        Ok(Self {
            sequence: row.try_get(0)?,
            at: row.try_get(1)?,
            shown,
            pushed: row.try_get(9)?,
            previous: row.try_get(10)?,
            hash: row.try_get(11)?,
            header: row.try_get(12)?,
            payload: row.try_get(13)?,
        })
    }

    fn read(left: &mut Left<'row>) -> Result<Self, Unreadable> {
        let sequence = left.number()?.ok_or(Unreadable)?;
        let at = left.number()?;
        let mut shown = [None; 7];
        for text in &mut shown {
            *text = left.text()?;
        }
        let pushed = left.text()?;
        let mut text = || left.text()?.ok_or(Unreadable);
        Ok(Self {
            sequence,
            at,
            shown,
            pushed,
            previous: text()?,
            hash: text()?,
            header: text()?,
            payload: text()?,
        })
    }

    /// Checks the next event, and what stands beside it. Its hash, and what its header says.
    pub fn check(
        &self,
        verifier: &mut Verifier,
        beside: &mut Beside,
    ) -> Found<(Digest, Filterable<'row>)> {
        let sequence = self.sequence;
        let (Ok(previous), Ok(hash)) = (self.previous.parse(), self.hash.parse()) else {
            return broken(sequence, "has a hash that cannot be read");
        };
        let header = verifier.check_written(&Written {
            sequence,
            header: self.header,
            payload: self.payload,
            previous,
            hash,
        })?;
        if !self.shows(&header) {
            let what = "is shown as something else than its header says: a column was altered";
            return broken(sequence, what);
        }
        let objects = beside.objects.remove(&sequence).unwrap_or_default();
        self.check_ways(&header, &objects)
            .map_err(|what| Broken { sequence, what })?;
        beside.people.check(sequence, self.payload)?;
        Ok((hash, header))
    }

    /// Whether the columns that one filters by say what the header says.
    fn shows(&self, header: &Filterable<'_>) -> bool {
        let said = [
            Some(&header.event_type),
            Some(&header.actor.kind),
            Some(&header.actor.id),
            header.target.as_ref(),
            header.stack.as_ref(),
            header.object.as_ref(),
            header.run.as_ref(),
        ];
        self.at == Some(header.at) && self.shown == said.map(|text| text.map(|Text(text)| &**text))
    }

    /// Whether an event is found by what its payload says, and by nothing else.
    fn check_ways(
        &self,
        header: &Filterable<'_>,
        objects: &BTreeSet<String>,
    ) -> Result<(), String> {
        #[derive(Default, Deserialize)]
        struct Delivery<'text> {
            #[serde(borrow, default)]
            after: Option<Text<'text>>,
        }
        let event_type = &*header.event_type.0;
        let delivery: Delivery<'_> = if event_type.starts_with("delivery.") {
            serde_json::from_str(self.payload).unwrap_or_default()
        } else {
            Delivery::default()
        };
        if self.pushed != delivery.after.as_ref().map(|after| &*after.0) {
            return Err(
                "is found by another commit than it names: a column was altered".to_owned(),
            );
        }
        let listed = if lists_objects(event_type) {
            let payload: Value = serde_json::from_str(self.payload).unwrap_or_default();
            listed_in(&payload)
        } else {
            BTreeSet::new()
        };
        if let Some(object) = objects.difference(&listed).next() {
            return Err(format!(
                "is found by {object:?}, which it does not list: a row of audit_object was altered"
            ));
        }
        // Those with a NUL in them are passed over by the migration that made the first rows.
        if let Some(object) = listed.difference(objects).next()
            && !self.payload.contains("\\u0000")
        {
            return Err(format!(
                "lists {object} and is not found by it: a row of audit_object was removed"
            ));
        }
        Ok(())
    }
}

/// What the database keeps beside the events of a page, by the event that it belongs to.
pub(super) struct Beside {
    pub nodes: BTreeMap<Node, String>,
    pub people: People,
    /// The objects that an event is found by.
    objects: BTreeMap<i64, BTreeSet<String>>,
}

impl Store {
    async fn events_between(&self, first: i64, end: i64) -> error::Result<Events> {
        Ok(match &self.db {
            Db::Postgres(pool) => {
                let rows = sqlx::query(with_columns!(in_rows)).bind(first).bind(end);
                Events::Rows(rows.fetch_all(pool).await?)
            }
            Db::Sqlite { readers, .. } => {
                let text = sqlx::query(with_columns!(in_text)).bind(first).bind(end);
                Events::Text(text.fetch_one(readers).await?)
            }
        })
    }

    pub(super) async fn read_page(&self, first: i64, end: i64) -> error::Result<Found<Page>> {
        let people = match self.people_between(first, end).await? {
            Ok(people) => people,
            Err(flaw) => return Ok(Err(flaw)),
        };
        let beside = Beside {
            nodes: self.nodes_over(first, end).await?,
            people,
            objects: self.objects_of(first, end).await?,
        };
        Ok(Ok(Page {
            events: self.events_between(first, end).await?,
            beside,
        }))
    }

    /// The objects that these events are found by; "" stands for one that cannot be read.
    async fn objects_of(
        &self,
        first: i64,
        end: i64,
    ) -> error::Result<BTreeMap<i64, BTreeSet<String>>> {
        let mut objects: BTreeMap<i64, BTreeSet<String>> = BTreeMap::new();
        on_pool!(self, |pool| {
            let rows = sqlx::query(
                "select sequence, object from audit_object where sequence >= $1 and sequence < $2",
            )
            .bind(first)
            .bind(end)
            .fetch_all(pool)
            .await?;
            for row in &rows {
                let object = row.try_get(1).unwrap_or_default();
                objects.entry(row.try_get(0)?).or_default().insert(object);
            }
        });
        Ok(objects)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(row: &Row<'_>) -> String {
        let mut written = format!("{},", row.sequence);
        if let Some(at) = row.at {
            written.push_str(&at.to_string());
        }
        written.push(',');
        let shown = row.shown.into_iter().chain([row.pushed]);
        let others = [row.previous, row.hash, row.header, row.payload].map(Some);
        for text in shown.chain(others) {
            match text {
                Some(text) => written.push_str(&format!("{}:{text}", text.len())),
                None => written.push(':'),
            }
        }
        written
    }

    fn column() -> impl Strategy<Value = Option<String>> {
        proptest::option::of("[a-z:,0-9é\0]{0,12}")
    }

    proptest! {
        #[test]
        fn rows_are_told_apart_whatever_their_columns_say(
            sequence in 0..i64::MAX,
            at in proptest::option::of(any::<i64>()),
            shown in proptest::array::uniform7(column()),
            pushed in column(),
            others in proptest::array::uniform4("[a-z:,0-9é\0]{0,12}"),
        ) {
            let row = Row {
                sequence,
                at,
                shown: shown.each_ref().map(Option::as_deref),
                pushed: pushed.as_deref(),
                previous: &others[0],
                hash: &others[1],
                header: &others[2],
                payload: &others[3],
            };
            let page = [texts(&row), texts(&row)].concat();
            let mut left = Left::new(&page);
            prop_assert_eq!(Row::read(&mut left), Ok(Row { ..row }));
            let mut again = left;
            prop_assert!(Row::read(&mut again).is_ok_and(|again| again.payload == others[3]));
            prop_assert!(again.is_empty());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in "[0-9:,a]{0,60}") {
            let mut left = Left::new(&bytes);
            while !left.is_empty() && Row::read(&mut left).is_ok() {}
        }
    }
}
