//! Holding a target: a lease that is kept alive in the background, and the question that must be
//! asked before every write.
//!
//! The lease is judged by the database's clock. What is known here is a deadline on our own clock
//! that was taken before the database was asked, so it is never later than the real one.

use std::time::Duration;

use tokio::task::JoinHandle;
use tracing::warn;

use crate::store::{self, Lease, StackTarget, Store};

/// How long a lease lasts unless it is renewed: more than the longest write and a margin.
pub const LEASE: Duration = Duration::from_secs(90);

/// How often it is renewed.
const RENEWAL: Duration = Duration::from_secs(20);

/// What must be left beyond the time that a request may take.
pub const MARGIN: Duration = Duration::from_secs(5);

/// A held lease. Dropping it without [`Holding::release`] lets it run out.
pub struct Holding {
    store: Store,
    lease: Lease,
    renewal: JoinHandle<()>,
}

impl Holding {
    /// Takes the target's lease, unless somebody else holds it.
    pub async fn take(store: &Store, target: &str, owner: &str) -> store::Result<Option<Self>> {
        let Some(lease) = store.try_lease(target, owner, LEASE).await? else {
            return Ok(None);
        };
        let renewal = tokio::spawn(renew_until_lost(store.clone(), lease.clone()));
        Ok(Some(Self {
            store: store.clone(),
            lease,
            renewal,
        }))
    }

    /// For the transactions that check it.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Whether a request that may take `longest` can be sent now. Renews when too little is left.
    pub async fn covers(&self, longest: Duration) -> bool {
        let covered = || self.lease.remaining() > longest + MARGIN;
        covered() || (self.store.renew(&self.lease, LEASE).await.is_ok() && covered())
    }

    /// Lets go, and says which stacks of the target want a run: a push that came while the lease
    /// was held found it busy and left the work to its holder.
    pub async fn release(self) -> store::Result<Vec<StackTarget>> {
        self.renewal.abort();
        self.store.release(self.lease.clone()).await
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

async fn renew_until_lost(store: Store, lease: Lease) {
    let mut ticks = tokio::time::interval(RENEWAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        if let Err(error) = store.renew(&lease, LEASE).await {
            warn!(target_name = lease.target(), %error, "could not renew the lease of a target");
            if !error.is_transient() {
                return;
            }
        }
    }
}
