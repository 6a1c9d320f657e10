//! Walking the history to verify it: events, tree, checkpoints, what stands beside commitments and
//! what events are found by, page by page, in constant memory. What is appended meanwhile is left
//! out.

mod people;
mod rows;
mod text;

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use tokio::task::JoinSet;

use self::rows::{Beside, Page, Row};
use super::{
    Head, Store,
    checkpoint::{KeptCheckpoint, STEP, is_kept, size_from, size_of},
    error::Result,
};
use crate::domain::{
    audit::{
        checkpoint::VerifierKey,
        event::EventType,
        keys::Keys,
        merkle::{Frontier, Node},
        verify::{Broken, Flaw, Verifier, Written},
    },
    canonical::Digest,
};

/// How many events are read at once.
const PAGE: i64 = 1_000;

/// How many pages are read while one is checked: a database answers one question after the other,
/// and has another process or thread to do it.
const AHEAD: usize = 2;

/// How many checkpoints are read at once.
const CHECKPOINTS: i64 = 500;

/// What is verified, and what it is held against.
#[derive(Debug, Clone, Default)]
pub struct Verification {
    /// The first event, and the first one that is left out.
    pub from: i64,
    pub to: Option<i64>,
    /// Keys that are trusted from outside; without any the first key that the history names is.
    pub pins: Vec<VerifierKey>,
    /// Sizes and roots of checkpoints that were kept outside of the database, by size.
    pub kept: Vec<(u64, Digest)>,
}

/// A walk that is under way.
#[derive(Debug, Clone)]
pub struct Walk {
    verifier: Verifier,
    frontier: Frontier,
    keys: Keys,
    from: i64,
    end: i64,
    /// How many events left the history.
    left: i64,
    /// What the end is compared with, unless the walk ends before.
    head: Option<Head>,
    /// How many events the last checkpoint covers.
    sealed: i64,
    first_number: i64,
    last_number: i64,
    /// Read and not yet passed.
    checkpoints: VecDeque<KeptCheckpoint>,
    next_number: i64,
    kept: VecDeque<(u64, Digest)>,
    origin: Option<String>,
}

impl Walk {
    /// The next event.
    pub fn next(&self) -> i64 {
        self.verifier.count()
    }

    /// The first event that is left out.
    pub fn end(&self) -> i64 {
        self.end
    }

    pub fn from(&self) -> i64 {
        self.from
    }

    /// How many events left the history, and are proved by their hashes alone.
    pub fn left(&self) -> i64 {
        self.left
    }

    /// The last event's hash.
    pub fn last(&self) -> Digest {
        self.verifier.last()
    }

    /// How many events the last checkpoint covers that the walk has passed.
    pub fn sealed(&self) -> i64 {
        self.sealed.min(self.next())
    }

    /// How many checkpoints there are up to the end.
    pub fn checkpoints(&self) -> i64 {
        self.next_number
    }

    pub fn keys(&self) -> &Keys {
        &self.keys
    }
}

type Found<T> = std::result::Result<T, Flaw>;

impl Store {
    /// Walks the whole history, and names the first thing that is wrong, or the end that was found
    /// right.
    pub async fn verify_history(&self) -> Result<Found<Head>> {
        let mut walk = match self.begin_walk(Verification::default()).await? {
            Ok(walk) => walk,
            Err(flaw) => return Ok(Err(flaw)),
        };
        loop {
            match self.walk(&mut walk, PAGE).await? {
                Ok(true) => {
                    return Ok(Ok(Head {
                        size: walk.next(),
                        hash: walk.last(),
                    }));
                }
                Ok(false) => {}
                Err(flaw) => return Ok(Err(flaw)),
            }
        }
    }

    /// Takes note of what is there now, for a walk over it.
    pub async fn begin_walk(&self, what: Verification) -> Result<Found<Walk>> {
        let Verification {
            from,
            to,
            pins,
            mut kept,
        } = what;
        // Before the head: what a checkpoint covers is in the history.
        let last = self.last_checkpoint().await?;
        let (size, hash, first, end): (i64, String, i64, i64) = on_pool!(self, |pool| {
            sqlx::query_as(
                "select size, hash, (select coalesce(min(sequence), 0) from audit_event), \
                 (select coalesce(max(sequence), -1) + 1 from audit_event) \
                 from audit_head where id = 1",
            )
            .fetch_one(pool)
            .await?
        });
        let Ok(hash) = hash.parse::<Digest>() else {
            let what = "is not the event that the log's head names";
            return Ok(broken(size - 1, what));
        };
        if first < 0 {
            return Ok(broken(first, "stands twice, or out of order"));
        }
        // After the events, of which some may leave in between.
        let (left, retired) = (self.left().await?, self.retired().await?);
        if left > retired {
            let what = "was removed: no event of the history says that it may leave";
            return Ok(broken(retired, what));
        }
        let end = end.max(size);
        let to = to.map_or(end, |to| to.min(end));
        let from = from.clamp(0, to);
        let (sealed, last_number) = last.map_or((0, -1), |last| (last.size, last.number));
        let (verifier, frontier) = if from == 0 {
            (Verifier::default(), Frontier::default())
        } else {
            let before = self.hash_of(from - 1).await?;
            let Some(before) = before else {
                return Ok(broken(from - 1, "missing: it was removed"));
            };
            let frontier = self.frontier_at(from).await?;
            (Verifier::from(from, before), frontier)
        };
        let next_number = if from == 0 {
            0
        } else {
            self.first_checkpoint_over(from)
                .await?
                .unwrap_or(last_number + 1)
        };
        kept.sort_unstable();
        let mut walk = Walk {
            verifier,
            frontier,
            keys: Keys::pinned(pins),
            from,
            end: to,
            left,
            head: (to == end).then_some(Head { size, hash }),
            sealed,
            first_number: next_number,
            last_number,
            checkpoints: VecDeque::new(),
            next_number,
            kept: kept.into(),
            origin: None,
        };
        if from > 0 {
            self.name_keys_before(&mut walk).await?;
        }
        // What was kept of before the walk's beginning.
        while let Some((size, root)) = walk.kept.front().copied() {
            if size >= size_from(from) {
                break;
            }
            let found = self.frontier_at(size_of(size)).await?;
            if let Err(flaw) = compare(size, root, &found) {
                return Ok(Err(flaw));
            }
            walk.kept.pop_front();
        }
        Ok(Ok(walk))
    }

    /// Goes on by at most so many events, and says whether the end is reached.
    pub async fn walk(&self, walk: &mut Walk, most: i64) -> Result<Found<bool>> {
        let until = walk.end.min(walk.next().saturating_add(most));
        let mut ahead = VecDeque::new();
        while walk.next() < until {
            let first = walk.next();
            if walk.checkpoints.is_empty() {
                self.read_checkpoints(walk).await?;
            }
            if first < walk.left {
                let end = until.min(first + PAGE).min(walk.left);
                if let Err(flaw) = self.walk_leaves(walk, first, end).await? {
                    return Ok(Err(flaw));
                }
                continue;
            }
            let (end, page) = self.page_from(first, until, &mut ahead).await?;
            let page = match page {
                Ok(page) => page,
                Err(flaw) => return Ok(Err(flaw)),
            };
            let before = walk.clone();
            // Of a head that was cut, too.
            if let Err(flaw) = self.walk_page(walk, end, page).await? {
                let left = self.left().await?;
                if left == before.left {
                    return Ok(Err(flaw));
                }
                // Some of these events left while they were read.
                *walk = Walk { left, ..before };
                ahead.clear();
            }
        }
        if walk.next() < walk.end {
            return Ok(Ok(false));
        }
        self.finish_walk(walk)
            .await
            .map(|found| found.map(|()| true))
    }

    /// The page that begins with this event, and where it ends. Those behind it are read meanwhile.
    async fn page_from(
        &self,
        first: i64,
        until: i64,
        ahead: &mut VecDeque<(i64, JoinSet<Result<Found<Page>>>)>,
    ) -> Result<(i64, Found<Page>)> {
        let mut next = ahead.back().map_or(first, |(end, _)| *end);
        while next < until && ahead.len() <= AHEAD {
            let (store, from, end) = (self.clone(), next, until.min(next + PAGE));
            let mut reading = JoinSet::new();
            reading.spawn(async move { store.read_page(from, end).await });
            ahead.push_back((end, reading));
            next = end;
        }
        let (end, mut reading) = ahead.pop_front().expect("there are events up to the end");
        let page = reading.join_next().await.expect("it reads one page");
        Ok((end, page.expect("reading a page does not panic")?))
    }

    async fn walk_page(&self, walk: &mut Walk, end: i64, page: Page) -> Result<Found<()>> {
        let Page { events, mut beside } = page;
        for row in events.rows()? {
            if let Err(flaw) = self.pass_checkpoints(walk).await? {
                return Ok(Err(flaw));
            }
            let Some(row) = row else {
                return Ok(broken(walk.next(), "has a column that cannot be read"));
            };
            if let Err(flaw) = walk.pass_event(&row, &mut beside) {
                return Ok(Err(flaw));
            }
        }
        if walk.next() < end {
            return Ok(broken(walk.next(), "missing: it was removed"));
        }
        Ok(beside.people.next().map_or(Ok(()), |sequence| {
            broken(sequence, "a person is put to it and it is not there")
        }))
    }

    /// Passes what is left of events that are not there any more.
    async fn walk_leaves(&self, walk: &mut Walk, first: i64, end: i64) -> Result<Found<()>> {
        let nodes = self.nodes_over(first, end).await?;
        let leaves: Vec<Leaf> = on_pool!(self, |pool| {
            sqlx::query_as(
                "select sequence, hash, header, payload from audit_leaf \
                 where sequence >= $1 and sequence < $2 order by sequence",
            )
            .bind(first)
            .bind(end)
            .fetch_all(pool)
            .await?
        });
        for leaf in &leaves {
            if let Err(flaw) = self.pass_checkpoints(walk).await? {
                return Ok(Err(flaw));
            }
            if let Err(flaw) = walk.pass_leaf(leaf, &nodes) {
                return Ok(Err(flaw));
            }
        }
        Ok(if walk.next() < end {
            broken(walk.next(), "left, and its hash is missing: it was removed")
        } else {
            Ok(())
        })
    }

    /// Passes the checkpoints over as many events as were passed.
    async fn pass_checkpoints(&self, walk: &mut Walk) -> Result<Found<()>> {
        while walk.checkpoint_is_due() {
            if let Err(flaw) = walk.pass_checkpoint() {
                return Ok(Err(flaw));
            }
            if walk.checkpoints.is_empty() {
                self.read_checkpoints(walk).await?;
            }
        }
        Ok(Ok(()))
    }

    async fn finish_walk(&self, walk: &mut Walk) -> Result<Found<()>> {
        if walk.checkpoints.is_empty() {
            self.read_checkpoints(walk).await?;
        }
        if let Err(flaw) = self.pass_checkpoints(walk).await? {
            return Ok(Err(flaw));
        }
        if let Err(flaw) = walk.pass_kept() {
            return Ok(Err(flaw));
        }
        let Some(head) = walk.head else {
            return Ok(Ok(()));
        };
        if let Err(broken) = walk.verifier.finish(head.size, head.hash) {
            return Ok(Err(broken.into()));
        }
        if let Some(left) = walk.checkpoints.front() {
            return Ok(Err(Flaw::Checkpoint {
                number: left.number,
                what: format!(
                    "counts {} events, and the history has {}: its end was cut off",
                    left.size, walk.end
                ),
            }));
        }
        if let Some((size, _)) = walk.kept.back() {
            return Ok(Err(Flaw::Kept {
                size: *size,
                what: format!("the history has {} events: its end was cut off", walk.end),
            }));
        }
        // A range may have no checkpoint; the whole has one, or nobody signed it.
        let has_to_be_signed = walk.from == 0 || walk.next_number > walk.first_number;
        if walk.keys.is_unheard() && has_to_be_signed {
            return Ok(Err(Flaw::Checkpoint {
                number: (walk.next_number - 1).max(0),
                what: "no checkpoint is signed by a key that is trusted".to_owned(),
            }));
        }
        self.count_all(walk).await
    }

    /// What no page of the walk comes across: rows that belong to nothing, or to no number.
    async fn count_all(&self, walk: &Walk) -> Result<Found<()>> {
        let (events, people, objects): (Option<i64>, Option<i64>, Option<i64>) =
            on_pool!(self, |pool| {
                sqlx::query_as(
                    "select (select min(sequence) from audit_event where sequence < $1), \
                     (select cast(min(sequence) as bigint) from audit_person \
                      where sequence < $1 or sequence >= $2), \
                     (select cast(min(sequence) as bigint) from audit_object \
                      where sequence < $1 or sequence >= $2)",
                )
                .bind(walk.left)
                .bind(walk.end)
                .fetch_one(pool)
                .await?
            });
        // Another process may have appended meanwhile; then the strays are its own.
        let is_still = self.head().await?.size == walk.end;
        for (stray, what) in [
            (events, "left, and stands in the history again"),
            (people, "a person is put to it and it is not there"),
            (objects, "an object is put to it and it is not there"),
        ] {
            if let Some(stray) = stray.filter(|_| is_still) {
                return Ok(broken(stray, what));
            }
        }
        let expected: i64 = (STEP..63)
            .step_by(STEP as usize)
            .map(|level| walk.sealed >> level)
            .sum();
        let found = self.count_nodes().await?;
        let sealed = self.last_checkpoint().await?.map_or(0, |last| last.size);
        if found != expected && sealed == walk.sealed {
            return Ok(Err(Flaw::Node {
                node: Node {
                    level: STEP,
                    index: size_from(walk.sealed >> STEP),
                },
                what: format!("{found} nodes are kept, {expected} belong to the last checkpoint"),
            }));
        }
        Ok(Ok(()))
    }

    async fn read_checkpoints(&self, walk: &mut Walk) -> Result<()> {
        let first = walk
            .checkpoints
            .back()
            .map_or(walk.next_number, |last| last.number + 1);
        let last = walk.last_number;
        if first > last {
            return Ok(());
        }
        let read = self.checkpoints_from(first, CHECKPOINTS).await?;
        walk.checkpoints
            .extend(read.into_iter().filter(|each| each.number <= last));
        Ok(())
    }

    /// The keys that the events before a range name.
    async fn name_keys_before(&self, walk: &mut Walk) -> Result<()> {
        for event in self.signing_keys_named().await? {
            if event.sequence >= walk.from {
                break;
            }
            // What is wrong with it is said by the walk over the whole.
            let _ = walk.keys.name(&event.payload);
            let Some(number) = self.first_checkpoint_over(event.sequence + 1).await? else {
                continue;
            };
            let vouching = self.checkpoints_from(number, 1).await?;
            if let Some(checkpoint) = vouching.first()
                && checkpoint.size <= walk.from
            {
                let _ = walk.keys.open(&checkpoint.note);
            }
        }
        Ok(())
    }
}

/// What is left of an event.
#[derive(sqlx::FromRow)]
struct Leaf {
    sequence: i64,
    hash: String,
    header: Option<String>,
    payload: Option<String>,
}

impl Walk {
    fn checkpoint_is_due(&self) -> bool {
        self.checkpoints
            .front()
            .is_some_and(|next| next.size <= self.next())
    }

    fn pass_checkpoint(&mut self) -> Found<()> {
        let Some(kept) = self.checkpoints.pop_front() else {
            return Ok(());
        };
        self.check_checkpoint(&kept)
            .map_err(|what| Flaw::Checkpoint {
                number: kept.number.min(self.next_number),
                what,
            })?;
        self.next_number = kept.number + 1;
        Ok(())
    }

    fn check_checkpoint(&mut self, kept: &KeptCheckpoint) -> std::result::Result<(), String> {
        if kept.number != self.next_number {
            return Err("missing: it was removed".to_owned());
        }
        let checkpoint = self.keys.open(&kept.note)?;
        let time = Timestamp::from_microsecond(kept.at).map(|at| at.to_string());
        if checkpoint.number() != Some(size_from(kept.number))
            || checkpoint.size != size_from(kept.size)
            || checkpoint.time() != time.as_deref().ok()
        {
            return Err("was altered: what stands beside its note is not what it says".to_owned());
        }
        let origin = self.origin.get_or_insert_with(|| checkpoint.origin.clone());
        if *origin != checkpoint.origin {
            return Err(format!("is of another log, {}", checkpoint.origin));
        }
        if kept.size < self.next() {
            return Err("covers fewer events than the one before it".to_owned());
        }
        if checkpoint.root != self.frontier.root() {
            return Err(
                "its root is not that of the events: events before it were rewritten, or it was"
                    .to_owned(),
            );
        }
        Ok(())
    }

    fn pass_event(&mut self, row: &Row<'_>, beside: &mut Beside) -> Found<()> {
        self.pass_kept()?;
        let sequence = self.next();
        let (hash, header) = row.check(&mut self.verifier, beside)?;
        if header.event_type.0 == EventType::SigningKeyNamed.as_str() {
            self.keys
                .name(row.payload)
                .map_err(|what| Broken { sequence, what })?;
        }
        self.pass_nodes(hash, &beside.nodes)
    }

    fn pass_leaf(&mut self, leaf: &Leaf, nodes: &BTreeMap<Node, String>) -> Found<()> {
        self.pass_kept()?;
        let sequence = leaf.sequence;
        if sequence != self.next() {
            let what = "left, and its hash is missing: it was removed";
            return broken(self.next(), what);
        }
        let Ok(hash) = leaf.hash.parse() else {
            return broken(sequence, "has a hash that cannot be read");
        };
        match (&leaf.header, &leaf.payload) {
            (None, None) => self.verifier.pass(hash),
            (header, payload) => {
                let payload = payload.as_deref().unwrap_or_default();
                let header = self.verifier.check_written(&Written {
                    sequence,
                    header: header.as_deref().unwrap_or_default(),
                    payload,
                    previous: self.verifier.last(),
                    hash,
                })?;
                if header.event_type.0 != EventType::SigningKeyNamed.as_str() {
                    let what = "left, and its content was kept or put back";
                    return broken(sequence, what);
                }
                self.keys
                    .name(payload)
                    .map_err(|what| Broken { sequence, what })?;
            }
        }
        self.pass_nodes(hash, nodes)
    }

    /// Lets the tree grow by an event, and compares what becomes complete with what is kept.
    fn pass_nodes(&mut self, hash: Digest, nodes: &BTreeMap<Node, String>) -> Found<()> {
        let sealed = self.sealed;
        let mut flaw = None;
        self.frontier.append(hash, |node, hash| {
            if !is_kept(node) || size_of(node.leaves().end) > sealed || flaw.is_some() {
                return;
            }
            let what = match nodes.get(&node) {
                None => "missing: it was removed",
                Some(kept) if *kept != hash.to_string() => {
                    "is not the root of the events below it: it was altered"
                }
                Some(_) => return,
            };
            flaw = Some(Flaw::Node {
                node,
                what: what.to_owned(),
            });
        });
        flaw.map_or(Ok(()), Err)
    }

    /// Compares the tree with what was kept elsewhere of it at this size.
    fn pass_kept(&mut self) -> Found<()> {
        while let Some((size, root)) = self.kept.front().copied() {
            if size > self.frontier.size() {
                break;
            }
            compare(size, root, &self.frontier)?;
            self.kept.pop_front();
        }
        Ok(())
    }
}

fn compare(size: u64, root: Digest, frontier: &Frontier) -> Found<()> {
    if frontier.root() == root {
        return Ok(());
    }
    Err(Flaw::Kept {
        size,
        what: "the history had other events then: it was rewritten".to_owned(),
    })
}

fn broken<T>(sequence: i64, what: &str) -> Found<T> {
    Err(Flaw::Event(Broken {
        sequence,
        what: what.to_owned(),
    }))
}
