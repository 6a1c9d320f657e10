//! The local queue of the embedded mode: a table of the same SQLite file. A put that was answered
//! is on the disk.
//!
//! One task writes all puts that wait together in one transaction, because a commit costs a wait
//! for the disk, whatever is in it. Nothing is dropped: a queue that is full refuses.

use std::{fmt, sync::Arc, time::Duration};

use sqlx::{QueryBuilder, SqlitePool};
use tokio::sync::{Notify, mpsc, oneshot};

use super::{
    Store,
    db::{Db, clean},
    error::{Error, Result},
};

/// Puts of one transaction.
const GROUP: usize = 256;

/// How much the queue takes.
#[derive(Debug, Clone, Copy)]
pub struct QueueLimits {
    /// Puts that wait for the disk.
    pub waiting_puts: usize,
    /// Messages that wait to be taken.
    pub messages: i64,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self {
            waiting_puts: 1_024,
            messages: 100_000,
        }
    }
}

/// The queue. Cheap to clone; its writing task ends with the last clone.
#[derive(Clone)]
pub struct LocalQueue {
    writer: SqlitePool,
    readers: SqlitePool,
    puts: mpsc::Sender<Put>,
    changed: Arc<Notify>,
}

/// A message that somebody works on now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueMessage {
    pub id: String,
    pub payload: Vec<u8>,
    pub put_at: i64,
    /// How often it was taken, this time included.
    pub deliveries: i64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueDepth {
    /// Messages that are not acknowledged, those being worked on included.
    pub waiting: i64,
    pub set_aside: i64,
    /// When the oldest of the waiting ones was put.
    pub oldest: Option<i64>,
}

/// The message was not taken. It may be put again later.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PutError {
    #[error("too many messages wait for the disk")]
    Busy,
    #[error("the queue is full")]
    Full,
    #[error("the message could not be written: {0}")]
    Failed(Arc<Error>),
    #[error("the queue has stopped")]
    Stopped,
}

struct Put {
    id: String,
    payload: Vec<u8>,
    at: i64,
    answer: oneshot::Sender<Result<(), PutError>>,
}

impl Store {
    /// The queue in this store's file. Belongs to the embedded mode.
    pub fn local_queue(&self, limits: QueueLimits) -> Result<LocalQueue> {
        let Db::Sqlite { writer, readers } = &self.db else {
            return Err(Error::NoLocalQueue);
        };
        let (puts, waiting) = mpsc::channel(limits.waiting_puts);
        let queue = LocalQueue {
            writer: writer.clone(),
            readers: readers.clone(),
            puts,
            changed: Arc::new(Notify::new()),
        };
        tokio::spawn(write_puts(
            writer.clone(),
            waiting,
            limits.messages,
            Arc::clone(&queue.changed),
        ));
        Ok(queue)
    }
}

impl fmt::Debug for LocalQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalQueue")
    }
}

impl LocalQueue {
    /// Returns when the message is on the disk. A message whose id is in the queue already is
    /// there, so putting it again is fine.
    pub async fn put(&self, id: &str, payload: Vec<u8>, now: i64) -> Result<(), PutError> {
        let (answer, answered) = oneshot::channel();
        let put = Put {
            id: id.to_owned(),
            payload,
            at: now,
            answer,
        };
        self.puts.try_send(put).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => PutError::Busy,
            mpsc::error::TrySendError::Closed(_) => PutError::Stopped,
        })?;
        answered.await.unwrap_or(Err(PutError::Stopped))
    }

    /// Returns after a put, at once when there was one since the last time. A hint to look: another
    /// process may have put something too.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Makes everything that was taken and not acknowledged takeable at once. For a process that
    /// starts on a folder of its own: whoever took it is dead.
    pub async fn take_back(&self) -> Result<()> {
        retrying!(async {
            sqlx::query("update queue_message set visible_at = 0 where set_aside_at is null")
                .execute(&self.writer)
                .await?;
            Ok::<_, Error>(())
        })
    }

    /// Takes the oldest messages, for so long: one that is neither acknowledged nor put back by
    /// then can be taken again.
    pub async fn take(
        &self,
        now: i64,
        limit: i64,
        visible_for: Duration,
    ) -> Result<Vec<QueueMessage>> {
        let hidden = i64::try_from(visible_for.as_micros()).unwrap_or(i64::MAX / 4);
        let mut rows: Vec<MessageRow> = retrying!(async {
            let mut tx = self.writer.begin_with("begin immediate").await?;
            let rows = sqlx::query_as(
                "update queue_message set visible_at = $2, deliveries = deliveries + 1 \
                 where number in (select number from queue_message \
                 where set_aside_at is null and visible_at <= $1 order by number limit $3) \
                 returning number, id, payload, put_at, deliveries",
            )
            .bind(now)
            .bind(now.saturating_add(hidden))
            .bind(limit)
            .fetch_all(&mut *tx)
            .await?;
            tx.commit().await?;
            Ok(rows)
        })?;
        // `returning` has no order.
        rows.sort_by_key(|row| row.number);
        Ok(rows.into_iter().map(QueueMessage::from).collect())
    }

    /// The message is dealt with.
    pub async fn ack(&self, id: &str) -> Result<()> {
        retrying!(async {
            sqlx::query("delete from queue_message where id = $1 and set_aside_at is null")
                .bind(id)
                .execute(&self.writer)
                .await?;
            Ok(())
        })
    }

    /// The message can be taken again, not before that time.
    pub async fn retry_later(&self, id: &str, not_before: i64) -> Result<()> {
        retrying!(async {
            sqlx::query("update queue_message set visible_at = $2 where id = $1")
                .bind(id)
                .bind(not_before)
                .execute(&self.writer)
                .await?;
            Ok(())
        })
    }

    /// The message cannot be read. It stays in the table and is not taken again.
    pub async fn set_aside(&self, id: &str, reason: &str, now: i64) -> Result<()> {
        retrying!(async {
            sqlx::query(
                "update queue_message set set_aside_at = $2, set_aside_reason = $3 where id = $1",
            )
            .bind(id)
            .bind(now)
            .bind(clean(reason))
            .execute(&self.writer)
            .await?;
            Ok(())
        })
    }

    pub async fn depth(&self) -> Result<QueueDepth> {
        let (waiting, oldest): (i64, Option<i64>) = sqlx::query_as(
            "select count(*), min(put_at) from queue_message where set_aside_at is null",
        )
        .fetch_one(&self.readers)
        .await?;
        let set_aside: i64 =
            sqlx::query_scalar("select count(*) from queue_message where set_aside_at is not null")
                .fetch_one(&self.readers)
                .await?;
        Ok(QueueDepth {
            waiting,
            set_aside,
            oldest,
        })
    }
}

/// The writing task: all puts that wait go into one transaction, and are answered after its
/// commit. It ends when the last queue is dropped and everything that waited is written.
async fn write_puts(
    writer: SqlitePool,
    mut waiting: mpsc::Receiver<Put>,
    messages: i64,
    changed: Arc<Notify>,
) {
    let mut group = Vec::with_capacity(GROUP);
    while waiting.recv_many(&mut group, GROUP).await > 0 {
        let outcome = retrying!(write_group(&writer, &group, messages));
        let answer = match outcome {
            Ok(true) => Ok(()),
            Ok(false) => Err(PutError::Full),
            Err(error) => Err(PutError::Failed(Arc::new(error))),
        };
        if answer.is_ok() {
            changed.notify_one();
        }
        for put in group.drain(..) {
            // Whoever asked may have gone; the message is there all the same.
            let _ = put.answer.send(answer.clone());
        }
    }
}

/// Whether there was room.
async fn write_group(writer: &SqlitePool, group: &[Put], messages: i64) -> Result<bool> {
    let mut tx = writer.begin_with("begin immediate").await?;
    let depth: i64 = sqlx::query_scalar(
        "select count(*) from (select 1 from queue_message where set_aside_at is null limit $1)",
    )
    .bind(messages)
    .fetch_one(&mut *tx)
    .await?;
    if depth >= messages {
        tx.rollback().await?;
        return Ok(false);
    }
    let mut insert = QueryBuilder::new(
        "insert into queue_message (id, payload, put_at, visible_at, deliveries) ",
    );
    insert.push_values(group, |mut row, put| {
        row.push_bind(&put.id)
            .push_bind(&put.payload)
            .push_bind(put.at)
            .push_bind(put.at)
            .push("0");
    });
    insert.push(" on conflict (id) do nothing");
    insert.build().persistent(false).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(true)
}

#[derive(sqlx::FromRow)]
struct MessageRow {
    number: i64,
    id: String,
    payload: Vec<u8>,
    put_at: i64,
    deliveries: i64,
}

impl From<MessageRow> for QueueMessage {
    fn from(row: MessageRow) -> Self {
        Self {
            id: row.id,
            payload: row.payload,
            put_at: row.put_at,
            deliveries: row.deliveries,
        }
    }
}
