//! Erasing a person: the openings of the history's commitments, and what deliveries and runs say
//! of people. The history's hashes stay as they are, and an event says that it was done.

use sqlx::QueryBuilder;

use super::{
    Store,
    approval::people_text,
    audit::append,
    db::{BATCH, Tx},
    error::{Result, parse_json},
    inbox::{CommitRef, commits_text},
};
use crate::domain::audit::event::{NewEvent, Person};

/// What stands where a person was named in a text.
const ERASED: &str = "[erased]";

/// How many records named the person.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Erased {
    /// Commitments of the history that nobody can open any more.
    pub commitments: usize,
    pub deliveries: usize,
    pub runs: usize,
}

/// A delivery or a run that names the person, and what it says after that.
struct Rewrite {
    id: String,
    pusher: Option<String>,
    commits: String,
}

impl Store {
    /// Erases whoever goes by this name, login or address, upper and lower case alike, and takes
    /// it out of the messages of commits. Who goes by several is erased by each of them. What is
    /// recorded of them later is a new record. `event` says that it was done, and names nobody.
    pub async fn erase_person(&self, name: &str, event: &NewEvent) -> Result<Erased> {
        let commitments = self.commitments_to(name).await?;
        let deliveries = self.rewrites("delivery", name).await?;
        let runs = self.rewrites("run", name).await?;
        let holds = self.holds_by(name).await?;
        retrying!(async {
            let mut tx = self.begin().await?;
            for by in &holds {
                on_tx!(&mut tx, |connection| {
                    sqlx::query("update stack_state set hold_by = null where hold_by = $1")
                        .bind(by)
                        .execute(connection)
                        .await?;
                });
            }
            for chunk in commitments.chunks(BATCH) {
                on_tx!(&mut tx, |connection| {
                    let mut delete =
                        QueryBuilder::new("delete from audit_person where commitment in (");
                    let mut list = delete.separated(", ");
                    for commitment in chunk {
                        list.push_bind(commitment);
                    }
                    delete.push(")");
                    delete.build().persistent(false).execute(connection).await?;
                });
            }
            for (table, rewrites) in [("delivery", &deliveries), ("run", &runs)] {
                for chunk in rewrites.chunks(BATCH) {
                    on_tx!(&mut tx, |connection| {
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
            erase_involved(&mut tx, name).await?;
            append(&mut tx, std::slice::from_ref(event)).await?;
            tx.commit().await
        })?;
        Ok(Erased {
            commitments: commitments.len(),
            deliveries: deliveries.len(),
            runs: runs.len(),
        })
    }

    async fn commitments_to(&self, name: &str) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let mut after = String::new();
        loop {
            let page: Vec<(String, String)> = on_pool!(self, |pool| {
                sqlx::query_as(
                    "select commitment, value from audit_person where commitment > $1 \
                     order by commitment limit 1000",
                )
                .bind(&after)
                .fetch_all(pool)
                .await?
            });
            let Some((last, _)) = page.last() else {
                return Ok(found);
            };
            after.clone_from(last);
            for (commitment, value) in page {
                if names(&parse_json("person", &value)?, name) {
                    found.push(commitment);
                }
            }
        }
    }

    /// What holds say of the person.
    async fn holds_by(&self, name: &str) -> Result<Vec<String>> {
        let mut found: Vec<String> = on_pool!(self, |pool| {
            sqlx::query_scalar(
                "select distinct hold_by from stack_state where hold_by is not null \
                 order by hold_by",
            )
            .fetch_all(pool)
            .await?
        });
        let mut unreadable = None;
        found.retain(|by| match parse_json("person", by) {
            Ok(person) => names(&person, name),
            Err(error) => {
                unreadable = Some(error);
                false
            }
        });
        unreadable.map_or(Ok(found), Err)
    }

    async fn rewrites(&self, table: &'static str, name: &str) -> Result<Vec<Rewrite>> {
        let mut found = Vec::new();
        let mut after = String::new();
        loop {
            let page: Vec<(String, Option<String>, String)> = on_pool!(self, |pool| {
                let mut select = QueryBuilder::new("select id, pusher, commits from ");
                select
                    .push(table)
                    .push(" where id > ")
                    .push_bind(&after)
                    .push(" order by id limit 500");
                select.build_query_as().fetch_all(pool).await?
            });
            let Some((last, _, _)) = page.last() else {
                return Ok(found);
            };
            after.clone_from(last);
            for (id, pusher, commits) in page {
                found.extend(rewrite(id, pusher, &commits, name)?);
            }
        }
    }
}

/// Takes a person out of those who pushed or wrote what waits for an approval.
async fn erase_involved(tx: &mut Tx, name: &str) -> Result<()> {
    let rows: Vec<(String, String, String)> = on_tx!(tx, |connection| {
        sqlx::query_as("select stack, node, people from parked order by stack, node")
            .fetch_all(connection)
            .await?
    });
    for (stack, node, people) in rows {
        let people: Vec<Person> = parse_json("list of people", &people)?;
        let left: Vec<Person> = people
            .iter()
            .filter(|person| !names(person, name))
            .cloned()
            .collect();
        if left.len() == people.len() {
            continue;
        }
        on_tx!(tx, |connection| {
            sqlx::query("update parked set people = $3 where stack = $1 and node = $2")
                .bind(&stack)
                .bind(&node)
                .bind(people_text(&left))
                .execute(connection)
                .await?;
        });
    }
    Ok(())
}

fn rewrite(
    id: String,
    pusher: Option<String>,
    commits: &str,
    name: &str,
) -> Result<Option<Rewrite>> {
    let mut changed = false;
    let pusher = match pusher {
        Some(text) if names(&parse_json("person", &text)?, name) => {
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
            .is_some_and(|author| names(author, name))
        {
            commit.author = None;
            changed = true;
        }
        // Trailers such as `Signed-off-by` name people too.
        if let Some(message) = without(&commit.message, name) {
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

fn names(person: &Person, name: &str) -> bool {
    let Person {
        name: full,
        login,
        email,
        address,
    } = person;
    [full, login, email, address]
        .into_iter()
        .flatten()
        .any(|each| each.to_lowercase() == name.to_lowercase())
}

/// The text without the name; `None` when it is not in it.
fn without(text: &str, name: &str) -> Option<String> {
    // ASCII alone, because that keeps every letter at its place.
    let searched = text.to_ascii_lowercase();
    let name = name.to_ascii_lowercase();
    if name.is_empty() || !searched.contains(&name) {
        return None;
    }
    let mut kept = String::with_capacity(text.len());
    let mut end = 0;
    for (start, found) in searched.match_indices(&name) {
        kept.push_str(&text[end..start]);
        kept.push_str(ERASED);
        end = start + found.len();
    }
    kept.push_str(&text[end..]);
    Some(kept)
}
