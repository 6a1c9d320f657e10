//! Leases: who may talk to a target. One row a target, judged by the database's clock alone. The
//! fence grows with every new holder; a write of the history names it, and is refused when it is
//! not the current one.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{
    Store,
    db::Tx,
    error::{Error, Result},
    stack::{StackTarget, stack_targets},
};

/// The right to talk to a target until its deadline. Clones are the same lease, so that one task
/// can renew it while another works under it.
#[derive(Debug, Clone)]
pub struct Lease {
    target: String,
    owner: String,
    fence: i64,
    deadline: Arc<Mutex<Instant>>,
}

/// Who has a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub target: String,
    pub owner: String,
    pub fence: i64,
    pub remaining: Duration,
    /// For how long it has been held without a break.
    pub age: Duration,
}

impl Lease {
    pub fn target(&self) -> &str {
        &self.target
    }

    pub fn owner(&self) -> &str {
        &self.owner
    }

    pub fn fence(&self) -> i64 {
        self.fence
    }

    /// Never later than the database's own end of it.
    pub fn deadline(&self) -> Instant {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn remaining(&self) -> Duration {
        self.deadline().saturating_duration_since(Instant::now())
    }

    fn lost(&self) -> Error {
        Error::LeaseLost {
            target: self.target.clone(),
        }
    }
}

impl Store {
    /// Takes the lease when nobody has it, and answers `None` when somebody has. The same owner
    /// does not get it twice.
    pub async fn try_lease(
        &self,
        target: &str,
        owner: &str,
        ttl: Duration,
    ) -> Result<Option<Lease>> {
        let micros = micros(ttl);
        // From before the statement is sent: the database counts from later.
        let asked = Instant::now();
        let fence: Option<i64> = retrying!(async {
            let mut tx = self.begin().await?;
            let fence = on_tx!(&mut tx, |connection| {
                sqlx::query_scalar(
                    "insert into lease (target, owner, fence, since, until) \
                     values ($1, $2, 1, (select now from clock), \
                     (select now from clock) + $3) \
                     on conflict (target) do update set owner = excluded.owner, \
                     fence = lease.fence + 1, since = excluded.since, until = excluded.until \
                     where lease.until <= (select now from clock) \
                     returning fence",
                )
                .bind(target)
                .bind(owner)
                .bind(micros)
                .fetch_optional(connection)
                .await?
            });
            tx.commit().await?;
            Ok(fence)
        })?;
        Ok(fence.map(|fence| Lease {
            target: target.to_owned(),
            owner: owner.to_owned(),
            fence,
            deadline: Arc::new(Mutex::new(asked + ttl)),
        }))
    }

    /// Makes the lease last `ttl` from now.
    pub async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<()> {
        let micros = micros(ttl);
        let asked = Instant::now();
        retrying!(async {
            let mut tx = self.begin().await?;
            let renewed = on_tx!(&mut tx, |connection| {
                sqlx::query(
                    "update lease set until = (select now from clock) + $4 \
                     where target = $1 and owner = $2 and fence = $3 \
                     and until > (select now from clock)",
                )
                .bind(&lease.target)
                .bind(&lease.owner)
                .bind(lease.fence)
                .bind(micros)
                .execute(connection)
                .await?
                .rows_affected()
            });
            if renewed == 0 {
                return Err(lease.lost());
            }
            tx.commit().await
        })?;
        let mut deadline = lease
            .deadline
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *deadline = asked + ttl;
        Ok(())
    }

    /// Ends the lease, and answers the stacks of its target that have work. Whoever raised `wanted`
    /// and found the lease taken did so before the row was locked here, so it is seen here; whoever
    /// comes later finds the lease free.
    pub async fn release(&self, lease: Lease) -> Result<Vec<StackTarget>> {
        retrying!(async {
            let mut tx = self.begin().await?;
            let ended = on_tx!(&mut tx, |connection| {
                sqlx::query(
                    "update lease set until = 0, owner = '' \
                     where target = $1 and owner = $2 and fence = $3",
                )
                .bind(&lease.target)
                .bind(&lease.owner)
                .bind(lease.fence)
                .execute(connection)
                .await?
                .rows_affected()
            });
            if ended == 0 {
                return Err(lease.lost());
            }
            let rows: Vec<(String, String)> = on_tx!(&mut tx, |connection| {
                sqlx::query_as(
                    "select stack, target from stack_state \
                     where target = $1 and wanted > done order by not_before, stack",
                )
                .bind(&lease.target)
                .fetch_all(connection)
                .await?
            });
            tx.commit().await?;
            Ok(stack_targets(rows))
        })
    }

    /// Ends the leases of owners that are known to be dead, and says how many there were. For one
    /// machine that knows its own processes; anywhere else a lease must run out.
    pub async fn end_leases_of(&self, dead: impl Fn(&str) -> bool + Send) -> Result<usize> {
        let mut ended = 0;
        for holder in self.leases().await? {
            if !dead(&holder.owner) {
                continue;
            }
            retrying!(async {
                let mut tx = self.begin().await?;
                on_tx!(&mut tx, |connection| {
                    sqlx::query(
                        "update lease set until = 0, owner = '' \
                         where target = $1 and owner = $2 and fence = $3",
                    )
                    .bind(&holder.target)
                    .bind(&holder.owner)
                    .bind(holder.fence)
                    .execute(connection)
                    .await?;
                });
                tx.commit().await
            })?;
            ended += 1;
        }
        Ok(ended)
    }

    pub async fn holder(&self, target: &str) -> Result<Option<Holder>> {
        let row: Option<HolderRow> = on_pool!(self, |pool| {
            sqlx::query_as(
                "select target, owner, fence, until - clock.now as remaining, clock.now - since as age \
                 from lease cross join clock where target = $1 and until > clock.now",
            )
            .bind(target)
            .fetch_optional(pool)
            .await?
        });
        Ok(row.map(Holder::from))
    }

    /// Every lease that somebody has, by target.
    pub async fn leases(&self) -> Result<Vec<Holder>> {
        let rows: Vec<HolderRow> = on_pool!(self, |pool| {
            sqlx::query_as(
                "select target, owner, fence, until - clock.now as remaining, clock.now - since as age \
                 from lease cross join clock where until > clock.now order by target",
            )
            .fetch_all(pool)
            .await?
        });
        Ok(rows.into_iter().map(Holder::from).collect())
    }
}

/// Locks the lease's row until the transaction ends, and refuses a lease that is not the current
/// one any more. The clock is read after the lock was got, because waiting for it takes time.
pub(super) async fn check(tx: &mut Tx, lease: &Lease) -> Result<()> {
    let sql = locking!(
        tx,
        "select owner, fence, until from lease where target = $1"
    );
    let row: Option<(String, i64, i64)> = on_tx!(tx, |connection| {
        sqlx::query_as(sql)
            .bind(&lease.target)
            .fetch_optional(connection)
            .await?
    });
    let now = tx.clock().await?;
    let current = row.is_some_and(|(owner, fence, until)| {
        owner == lease.owner && fence == lease.fence && until > now
    });
    if current { Ok(()) } else { Err(lease.lost()) }
}

fn micros(ttl: Duration) -> i64 {
    i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX / 4)
}

#[derive(sqlx::FromRow)]
struct HolderRow {
    target: String,
    owner: String,
    fence: i64,
    remaining: i64,
    age: i64,
}

impl From<HolderRow> for Holder {
    fn from(row: HolderRow) -> Self {
        Self {
            target: row.target,
            owner: row.owner,
            fence: row.fence,
            remaining: Duration::from_micros(row.remaining.unsigned_abs()),
            age: Duration::from_micros(row.age.unsigned_abs()),
        }
    }
}
