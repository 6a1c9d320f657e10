//! Erasing a person: the openings of the history's commitments, and what every other table says of
//! people. The history's hashes stay as they are, and an event says that it was done.

use std::collections::BTreeSet;

use sqlx::QueryBuilder;

use super::{
    Store,
    approval::people_text,
    audit::append,
    db::{BATCH, Db, Tx},
    error::{Result, parse_json},
    inbox::{CommitRef, commits_text},
};
use crate::domain::audit::{
    event::{NewEvent, Person},
    person::{ERASED, Names},
};

/// How many records named the person.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Erased {
    /// Commitments of the history that nobody can open any more.
    pub commitments: usize,
    pub deliveries: usize,
    pub runs: usize,
    /// Texts of other tables: approvals, holds, tokens, what waits.
    pub others: usize,
}

/// What names a person.
#[derive(Debug, Default)]
pub struct Records {
    commitments: Vec<String>,
    deliveries: Vec<Rewrite>,
    runs: Vec<Rewrite>,
    /// What waits for an approval: stack, node, and who is left of those behind it.
    parked: Vec<(String, String, String)>,
    cells: Vec<Cell>,
}

/// A delivery or a run that names the person, and what it says after that.
#[derive(Debug)]
struct Rewrite {
    id: String,
    pusher: Option<String>,
    commits: String,
}

/// What a column says of the person, wherever it does, and what it says after that.
#[derive(Debug)]
struct Cell {
    table: &'static str,
    column: &'static str,
    text: String,
    left: Option<String>,
}

/// How a column names people.
#[derive(Clone, Copy)]
enum Says {
    /// As JSON; without the person there is nothing.
    Person,
    /// By what they go by here.
    Name,
    /// Among other words.
    Words,
}

/// Every column that may name people, apart from those of deliveries, runs and what waits that hold
/// lists. A column of the history's events is none of them: those never name anybody.
const COLUMNS: [(&str, &str, Says); 11] = [
    ("stack_state", "hold_by", Says::Person),
    ("stack_state", "hold_reason", Says::Words),
    ("stack_state", "problem", Says::Words),
    ("node_state", "problem", Says::Words),
    ("run", "message", Says::Words),
    ("change", "message", Says::Words),
    ("approval", "person", Says::Name),
    ("approval", "actor", Says::Name),
    ("approval", "reason", Says::Words),
    ("token", "person", Says::Name),
    ("token", "note", Says::Words),
];

impl Records {
    pub fn count(&self) -> Erased {
        Erased {
            commitments: self.commitments.len(),
            deliveries: self.deliveries.len(),
            runs: self.runs.len(),
            others: self.parked.len() + self.cells.len(),
        }
    }
}

impl Store {
    /// Erases a person, upper and lower case alike, and takes the names out of texts. What is
    /// recorded of them later is a new record. `event` says that it was done, and names nobody.
    pub async fn erase_person(&self, names: &Names, event: &NewEvent) -> Result<Erased> {
        let records = self.records_of(names).await?;
        retrying!(async {
            let mut tx = self.begin().await?;
            erase(&mut tx, &records).await?;
            append(&mut tx, std::slice::from_ref(event)).await?;
            tx.commit().await
        })?;
        if let Db::Sqlite { writer, .. } = &self.db {
            // The log beside the file has the pages as they were, until they are in the file.
            sqlx::query("pragma wal_checkpoint(truncate)")
                .execute(writer)
                .await?;
        }
        Ok(records.count())
    }

    /// Everybody who is on record, once each.
    pub async fn people(&self) -> Result<Vec<Person>> {
        let mut known: BTreeSet<String> = BTreeSet::new();
        let mut after = String::new();
        loop {
            let page = self.openings_after(&after).await?;
            let Some((last, _)) = page.last() else { break };
            after.clone_from(last);
            known.extend(page.into_iter().map(|(_, value)| value));
        }
        known.extend(self.texts("stack_state", "hold_by").await?);
        let mut people: Vec<Person> = Vec::new();
        for value in &known {
            people.push(parse_json("person", value)?);
        }
        for table in ["delivery", "run"] {
            let mut seen: BTreeSet<String> = BTreeSet::new();
            let mut after = String::new();
            loop {
                let page = self.lists_after(table, &after).await?;
                let Some((last, _, _)) = page.last() else {
                    break;
                };
                after.clone_from(last);
                for (_, pusher, commits) in page {
                    let commits: Vec<CommitRef> = parse_json("list of commits", &commits)?;
                    let pusher = pusher.map(|pusher| parse_json("person", &pusher));
                    let authors = commits.into_iter().filter_map(|commit| commit.author);
                    for person in pusher.transpose()?.into_iter().chain(authors) {
                        let text = serde_json::to_string(&person).expect("texts are always JSON");
                        if seen.insert(text) {
                            people.push(person);
                        }
                    }
                }
            }
        }
        for (_, _, behind) in self.parked_people().await? {
            people.extend(behind);
        }
        for (table, column, says) in COLUMNS {
            if matches!(says, Says::Name) {
                people.extend(
                    self.texts(table, column)
                        .await?
                        .into_iter()
                        .map(|login| Person {
                            login: Some(login),
                            ..Person::default()
                        }),
                );
            }
        }
        Ok(people)
    }

    /// What names the person by any of the names.
    pub async fn records_of(&self, names: &Names) -> Result<Records> {
        let mut records = Records {
            commitments: self.commitments_to(names).await?,
            deliveries: self.rewrites("delivery", names).await?,
            runs: self.rewrites("run", names).await?,
            ..Records::default()
        };
        for (stack, node, people) in self.parked_people().await? {
            let left: Vec<Person> = people
                .iter()
                .filter(|person| !names.mean(person))
                .cloned()
                .collect();
            if left.len() < people.len() {
                records.parked.push((stack, node, people_text(&left)));
            }
        }
        for (table, column, says) in COLUMNS {
            for text in self.texts(table, column).await? {
                let left = match says {
                    Says::Person => names.mean(&parse_json("person", &text)?).then_some(None),
                    Says::Name => {
                        let person = Person {
                            login: Some(text.clone()),
                            ..Person::default()
                        };
                        names.mean(&person).then(|| Some(ERASED.to_owned()))
                    }
                    Says::Words => names.without(&text).map(Some),
                };
                records.cells.extend(left.map(|left| Cell {
                    table,
                    column,
                    text,
                    left,
                }));
            }
        }
        Ok(records)
    }

    /// One page of what the events after a place say, for whoever looks for words in it.
    pub async fn payloads_after(&self, sequence: i64) -> Result<Vec<(i64, String)>> {
        Ok(on_pool!(self, |pool| {
            sqlx::query_as(
                "select sequence, payload from audit_event where sequence > $1 \
                 order by sequence limit 1000",
            )
            .bind(sequence)
            .fetch_all(pool)
            .await?
        }))
    }

    async fn openings_after(&self, commitment: &str) -> Result<Vec<(String, String)>> {
        Ok(on_pool!(self, |pool| {
            sqlx::query_as(
                "select commitment, value from audit_person where commitment > $1 \
                 order by commitment limit 1000",
            )
            .bind(commitment)
            .fetch_all(pool)
            .await?
        }))
    }

    async fn commitments_to(&self, names: &Names) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let mut after = String::new();
        loop {
            let page = self.openings_after(&after).await?;
            let Some((last, _)) = page.last() else {
                return Ok(found);
            };
            after.clone_from(last);
            for (commitment, value) in page {
                if names.mean(&parse_json("person", &value)?) {
                    found.push(commitment);
                }
            }
        }
    }

    /// Everything that a column says, once each.
    async fn texts(&self, table: &'static str, column: &'static str) -> Result<Vec<String>> {
        Ok(on_pool!(self, |pool| {
            let mut select = QueryBuilder::new("select distinct ");
            select.push(column).push(" from ").push(table);
            select.push(" where ").push(column).push(" is not null");
            select.build_query_scalar().fetch_all(pool).await?
        }))
    }

    async fn parked_people(&self) -> Result<Vec<(String, String, Vec<Person>)>> {
        let rows: Vec<(String, String, String)> = on_pool!(self, |pool| {
            sqlx::query_as("select stack, node, people from parked order by stack, node")
                .fetch_all(pool)
                .await?
        });
        rows.into_iter()
            .map(|(stack, node, people)| Ok((stack, node, parse_json("list of people", &people)?)))
            .collect()
    }

    async fn lists_after(
        &self,
        table: &'static str,
        id: &str,
    ) -> Result<Vec<(String, Option<String>, String)>> {
        Ok(on_pool!(self, |pool| {
            let mut select = QueryBuilder::new("select id, pusher, commits from ");
            select
                .push(table)
                .push(" where id > ")
                .push_bind(id)
                .push(" order by id limit 500");
            select.build_query_as().fetch_all(pool).await?
        }))
    }

    async fn rewrites(&self, table: &'static str, names: &Names) -> Result<Vec<Rewrite>> {
        let mut found = Vec::new();
        let mut after = String::new();
        loop {
            let page = self.lists_after(table, &after).await?;
            let Some((last, _, _)) = page.last() else {
                return Ok(found);
            };
            after.clone_from(last);
            for (id, pusher, commits) in page {
                found.extend(rewrite(id, pusher, &commits, names)?);
            }
        }
    }
}

async fn erase(tx: &mut Tx, records: &Records) -> Result<()> {
    let Records {
        commitments,
        deliveries,
        runs,
        parked,
        cells,
    } = records;
    for chunk in commitments.chunks(BATCH) {
        on_tx!(tx, |connection| {
            let mut delete = QueryBuilder::new("delete from audit_person where commitment in (");
            let mut list = delete.separated(", ");
            for commitment in chunk {
                list.push_bind(commitment);
            }
            delete.push(")");
            delete.build().persistent(false).execute(connection).await?;
        });
    }
    for (table, rewrites) in [("delivery", deliveries), ("run", runs)] {
        for chunk in rewrites.chunks(BATCH) {
            on_tx!(tx, |connection| {
                let mut update = QueryBuilder::new("with known (id, pusher, commits) as (");
                update.push_values(chunk, |mut row, rewrite| {
                    row.push_bind(&rewrite.id)
                        .push_bind(&rewrite.pusher)
                        .push_bind(&rewrite.commits);
                });
                update
                    .push(") update ")
                    .push(table)
                    .push(" set pusher = known.pusher, commits = known.commits from known where ")
                    .push(table)
                    .push(".id = known.id");
                update.build().persistent(false).execute(connection).await?;
            });
        }
    }
    for (stack, node, people) in parked {
        on_tx!(tx, |connection| {
            sqlx::query("update parked set people = $3 where stack = $1 and node = $2")
                .bind(stack)
                .bind(node)
                .bind(people)
                .execute(connection)
                .await?;
        });
    }
    for Cell {
        table,
        column,
        text,
        left,
    } in cells
    {
        on_tx!(tx, |connection| {
            let mut update = QueryBuilder::new("update ");
            update.push(table).push(" set ").push(column).push(" = ");
            update.push_bind(left).push(" where ").push(column);
            update.push(" = ").push_bind(text);
            update.build().execute(connection).await?;
        });
    }
    Ok(())
}

fn rewrite(
    id: String,
    pusher: Option<String>,
    commits: &str,
    names: &Names,
) -> Result<Option<Rewrite>> {
    let mut changed = false;
    let pusher = match pusher {
        Some(text) if names.mean(&parse_json("person", &text)?) => {
            changed = true;
            None
        }
        other => other,
    };
    let mut commits: Vec<CommitRef> = parse_json("list of commits", commits)?;
    for commit in &mut commits {
        if commit
            .author
            .as_ref()
            .is_some_and(|author| names.mean(author))
        {
            commit.author = None;
            changed = true;
        }
        // Trailers such as `Signed-off-by` name people too.
        if let Some(message) = names.without(&commit.message) {
            commit.message = message;
            changed = true;
        }
    }
    Ok(changed.then(|| Rewrite {
        id,
        pusher,
        commits: commits_text(&commits),
    }))
}
