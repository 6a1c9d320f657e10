//! The history's tree, and the signed statements about it.
//!
//! Appending an event touches neither. Whoever makes a checkpoint reads the events since the last
//! one, lets the tree grow over them, and writes the nodes that became complete, of every eighth
//! level, beside it. So a node of any level takes one short read, and a proof takes one a level.

use std::collections::BTreeMap;

use sqlx::QueryBuilder;

use super::{
    Head, Store,
    db::{BATCH, clean_opt},
    error::{Result, parse, unreadable},
    lease::{self, Lease},
};
use crate::domain::{
    audit::{
        merkle::{Frontier, Node, Recipe, parent, peaks},
        verify::Broken,
    },
    canonical::Digest,
};

/// Nodes are kept of every so many levels.
pub(super) const STEP: u32 = 8;

/// How many hashes are read at once.
const PAGE: i64 = 10_000;

/// A checkpoint as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct KeptCheckpoint {
    /// Its place among the checkpoints, from 0.
    pub number: i64,
    pub size: i64,
    /// Microseconds since 1970, UTC.
    pub at: i64,
    /// The signed note, to the letter.
    pub note: String,
}

/// A tree that has grown over new events, and what became complete in it.
#[derive(Debug, Clone)]
pub struct Grown {
    pub frontier: Frontier,
    nodes: Vec<(Node, Digest)>,
}

/// What the history's own check came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct CheckState {
    /// How far the round has come that is under way.
    pub next: i64,
    /// When the last round ended that found nothing wrong, and how many events it had.
    pub sound_at: Option<i64>,
    pub sound_size: Option<i64>,
    pub flaw: Option<String>,
    pub flaw_at: Option<i64>,
    /// Why no checkpoint is signed.
    pub unsigned: Option<String>,
}

impl Store {
    pub async fn last_checkpoint(&self) -> Result<Option<KeptCheckpoint>> {
        Ok(on_pool!(self, |pool| {
            sqlx::query_as(
                "select number, size, at, note from audit_checkpoint order by number desc limit 1",
            )
            .fetch_optional(pool)
            .await?
        }))
    }

    /// The checkpoints from this number on, in their order.
    pub async fn checkpoints_from(&self, number: i64, limit: i64) -> Result<Vec<KeptCheckpoint>> {
        Ok(on_pool!(self, |pool| {
            sqlx::query_as(
                "select number, size, at, note from audit_checkpoint where number >= $1 \
                 order by number limit $2",
            )
            .bind(number)
            .bind(limit)
            .fetch_all(pool)
            .await?
        }))
    }

    /// The number of the first checkpoint over at least so many events.
    pub async fn first_checkpoint_over(&self, size: i64) -> Result<Option<i64>> {
        Ok(on_pool!(self, |pool| {
            sqlx::query_scalar(
                "select number from audit_checkpoint where size >= $1 order by size, number limit 1",
            )
            .bind(size)
            .fetch_optional(pool)
            .await?
        }))
    }

    /// The last checkpoint over at most so many events.
    pub async fn last_checkpoint_within(&self, size: i64) -> Result<Option<KeptCheckpoint>> {
        Ok(on_pool!(self, |pool| {
            sqlx::query_as(
                "select number, size, at, note from audit_checkpoint where size <= $1 \
                 order by size desc, number desc limit 1",
            )
            .bind(size)
            .fetch_optional(pool)
            .await?
        }))
    }

    /// The hashes of complete subtrees that a checkpoint covers, in the order asked for.
    pub async fn tree_nodes(&self, nodes: &[Node]) -> Result<Vec<Digest>> {
        let mut hashes = Vec::with_capacity(nodes.len());
        for node in nodes {
            hashes.push(self.tree_node(*node).await?);
        }
        Ok(hashes)
    }

    /// Lets the tree of a checkpoint grow to the history's end, reading nothing that is older, and
    /// refuses when the new events do not follow one another.
    pub async fn grow(&self, frontier: Frontier, head: Head) -> Result<Result<Grown, Broken>> {
        let mut grown = Grown {
            frontier,
            nodes: Vec::new(),
        };
        let mut next = size_of(grown.frontier.size());
        let mut previous = None;
        while next < head.size {
            let rows: Vec<(i64, String, String)> = on_pool!(self, |pool| {
                sqlx::query_as(
                    "select sequence, previous, hash from audit_event \
                     where sequence >= $1 and sequence < $2 order by sequence limit $3",
                )
                .bind(next)
                .bind(head.size)
                .bind(PAGE)
                .fetch_all(pool)
                .await?
            });
            if rows.is_empty() {
                return Ok(broken(next, "missing: it was removed"));
            }
            for (sequence, follows, hash) in rows {
                if sequence != next {
                    return Ok(broken(next, "missing: it was removed"));
                }
                if previous.is_some_and(|previous| previous != follows) {
                    return Ok(broken(sequence, "does not follow the event before it"));
                }
                let Ok(leaf) = hash.parse() else {
                    return Ok(broken(sequence, "has a hash that cannot be read"));
                };
                grown.frontier.append(leaf, |node, hash| {
                    if is_kept(node) {
                        grown.nodes.push((node, hash));
                    }
                });
                previous = Some(hash);
                next += 1;
            }
        }
        if previous.is_some_and(|last| last != head.hash.to_string()) {
            let what = "is not the event that the log's head names";
            return Ok(broken(head.size - 1, what));
        }
        Ok(Ok(grown))
    }

    /// Keeps a checkpoint with the nodes that it adds. Refused when the lease is not the current
    /// one, so that two are never signed over the same number.
    pub async fn keep_checkpoint(
        &self,
        lease: &Lease,
        checkpoint: &KeptCheckpoint,
        grown: &Grown,
    ) -> Result<()> {
        retrying!(async {
            let mut tx = self.begin().await?;
            lease::check(&mut tx, lease).await?;
            for chunk in grown.nodes.chunks(BATCH) {
                on_tx!(&mut tx, |connection| {
                    let mut insert =
                        QueryBuilder::new("insert into audit_node (level, position, hash) ");
                    insert.push_values(chunk, |mut row, (node, hash)| {
                        row.push_bind(i64::from(node.level))
                            .push_bind(size_of(node.index))
                            .push_bind(hash.to_string());
                    });
                    insert.build().persistent(false).execute(connection).await?;
                });
            }
            on_tx!(&mut tx, |connection| {
                sqlx::query(
                    "insert into audit_checkpoint (number, size, at, note) values ($1, $2, $3, $4)",
                )
                .bind(checkpoint.number)
                .bind(checkpoint.size)
                .bind(checkpoint.at)
                .bind(&checkpoint.note)
                .execute(connection)
                .await?;
            });
            tx.commit().await
        })
    }

    /// The tree over the first `size` events, from what is kept of it. What no checkpoint covers
    /// yet is read leaf by leaf.
    pub async fn frontier_at(&self, size: i64) -> Result<Frontier> {
        let sealed = self.last_checkpoint().await?.map_or(0, |last| last.size);
        let known = size_from(size.min(sealed));
        let mut hashes = Vec::new();
        for peak in peaks(known) {
            hashes.push(self.tree_node(peak).await?);
        }
        let mut frontier =
            Frontier::of(known, hashes).expect("a tree has as many peaks as it is asked for");
        while size_of(frontier.size()) < size {
            let first = size_of(frontier.size());
            let leaves = self.leaves(first, (size - first).min(PAGE)).await?;
            for leaf in leaves {
                frontier.append(leaf, |_, _| {});
            }
        }
        Ok(frontier)
    }

    /// That the event is in the tree of a checkpoint over `size` events.
    pub async fn prove_inclusion(&self, sequence: i64, size: i64) -> Result<Option<Vec<Digest>>> {
        match Recipe::inclusion(size_from(sequence), size_from(size)) {
            Some(recipe) if sequence >= 0 => self.prove(&recipe).await.map(Some),
            _ => Ok(None),
        }
    }

    /// That the tree of one checkpoint is the beginning of another's.
    pub async fn prove_consistency(&self, old: i64, new: i64) -> Result<Option<Vec<Digest>>> {
        match Recipe::consistency(size_from(old), size_from(new)) {
            Some(recipe) => self.prove(&recipe).await.map(Some),
            None => Ok(None),
        }
    }

    async fn prove(&self, recipe: &Recipe) -> Result<Vec<Digest>> {
        let mut nodes = BTreeMap::new();
        for node in recipe.nodes() {
            nodes.insert(node, self.tree_node(node).await?);
        }
        recipe
            .prove(|node| nodes.get(&node).copied())
            .map_err(|missing| unreadable("proof", &missing.to_string()))
    }

    /// A complete subtree's root, from at most 128 hashes that are kept below it.
    async fn tree_node(&self, node: Node) -> Result<Digest> {
        let height = node.level % STEP;
        let first = size_of(node.index << height);
        let count = 1_i64 << height;
        let mut hashes = if node.level < STEP {
            self.leaves(first, count).await?
        } else {
            self.kept_nodes(i64::from(node.level - height), first, count)
                .await?
        };
        while hashes.len() > 1 {
            hashes = hashes
                .chunks_exact(2)
                .map(|pair| parent(pair[0], pair[1]))
                .collect();
        }
        Ok(hashes[0])
    }

    /// The hashes of exactly these events.
    async fn leaves(&self, first: i64, count: i64) -> Result<Vec<Digest>> {
        let hashes: Vec<String> = on_pool!(self, |pool| {
            sqlx::query_scalar(
                "select hash from ( \
                 select sequence, hash from audit_leaf where sequence >= $1 and sequence < $2 \
                 union all \
                 select sequence, hash from audit_event where sequence >= $1 and sequence < $2 \
                 ) leaf order by sequence",
            )
            .bind(first)
            .bind(first + count)
            .fetch_all(pool)
            .await?
        });
        all_of(&hashes, count, || format!("events from {first} on"))
    }

    async fn kept_nodes(&self, level: i64, first: i64, count: i64) -> Result<Vec<Digest>> {
        let hashes: Vec<String> = on_pool!(self, |pool| {
            sqlx::query_scalar(
                "select hash from audit_node \
                 where level = $1 and position >= $2 and position < $3 order by position",
            )
            .bind(level)
            .bind(first)
            .bind(first + count)
            .fetch_all(pool)
            .await?
        });
        all_of(&hashes, count, || {
            format!("nodes of level {level} from {first} on")
        })
    }

    /// The kept nodes that become complete with these events, and how many are kept in all.
    pub(super) async fn nodes_over(&self, first: i64, end: i64) -> Result<BTreeMap<Node, String>> {
        let mut nodes = BTreeMap::new();
        for level in (STEP..64).step_by(STEP as usize) {
            let (from, until) = (first >> level, end >> level);
            if until == 0 {
                break;
            }
            if from == until {
                continue;
            }
            let rows: Vec<(i64, String)> = on_pool!(self, |pool| {
                sqlx::query_as(
                    "select position, hash from audit_node \
                     where level = $1 and position >= $2 and position < $3",
                )
                .bind(i64::from(level))
                .bind(from)
                .bind(until)
                .fetch_all(pool)
                .await?
            });
            nodes.extend(rows.into_iter().map(|(position, hash)| {
                let index = size_from(position);
                (Node { level, index }, hash)
            }));
        }
        Ok(nodes)
    }

    pub(super) async fn count_nodes(&self) -> Result<i64> {
        Ok(on_pool!(self, |pool| {
            sqlx::query_scalar("select count(*) from audit_node")
                .fetch_one(pool)
                .await?
        }))
    }

    pub async fn check_state(&self) -> Result<CheckState> {
        Ok(on_pool!(self, |pool| {
            sqlx::query_as(
                "select next, sound_at, sound_size, flaw, flaw_at, unsigned \
                 from audit_check where id = 1",
            )
            .fetch_one(pool)
            .await?
        }))
    }

    /// Refused when the lease is not the current one.
    pub async fn set_check_state(&self, lease: &Lease, state: &CheckState) -> Result<()> {
        let CheckState {
            next,
            sound_at,
            sound_size,
            flaw,
            flaw_at,
            unsigned,
        } = state;
        retrying!(async {
            let mut tx = self.begin().await?;
            lease::check(&mut tx, lease).await?;
            on_tx!(&mut tx, |connection| {
                sqlx::query(
                    "update audit_check set next = $1, sound_at = $2, sound_size = $3, \
                     flaw = $4, flaw_at = $5, unsigned = $6 where id = 1",
                )
                .bind(next)
                .bind(sound_at)
                .bind(sound_size)
                .bind(clean_opt(flaw.as_deref()))
                .bind(flaw_at)
                .bind(clean_opt(unsigned.as_deref()))
                .execute(connection)
                .await?;
            });
            tx.commit().await
        })
    }

    /// Makes somebody known who is sent checkpoints; a new one is sent the last one first.
    pub async fn open_checkpoint_sink(&self, name: &str) -> Result<()> {
        retrying!(async {
            let mut tx = self.begin().await?;
            on_tx!(&mut tx, |connection| {
                sqlx::query(
                    "insert into sink (name, cursor, attempt, not_before) \
                     values ($1, (select coalesce(max(number), 0) - 1 from audit_checkpoint), 0, 0) \
                     on conflict (name) do nothing",
                )
                .bind(name)
                .execute(connection)
                .await?;
            });
            tx.commit().await
        })
    }
}

pub(super) fn is_kept(node: Node) -> bool {
    node.level > 0 && node.level.is_multiple_of(STEP)
}

/// Sequence numbers are signed in the databases and counted in the tree.
pub(super) fn size_from(size: i64) -> u64 {
    u64::try_from(size).unwrap_or(0)
}

pub(super) fn size_of(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn all_of(hashes: &[String], count: i64, what: impl Fn() -> String) -> Result<Vec<Digest>> {
    if size_of(hashes.len() as u64) != count {
        return Err(unreadable("tree without", &what()));
    }
    hashes.iter().map(|hash| parse("hash", hash)).collect()
}

fn broken<T>(sequence: i64, what: &str) -> Result<T, Broken> {
    Err(Broken {
        sequence,
        what: what.to_owned(),
    })
}
