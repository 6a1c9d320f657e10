//! The reload: requests for one are gathered, and one load on the next tick serves them all. It
//! never says whether the load went well; neither does a real gateway.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::serve::Shared;

/// A request for a reload, with somebody who waits for its end or without.
pub type Request = Option<oneshot::Sender<()>>;

#[derive(Debug)]
pub struct Reloader {
    task: JoinHandle<()>,
}

impl Reloader {
    pub fn spawn(shared: Arc<Shared>, mut requests: mpsc::UnboundedReceiver<Request>) -> Self {
        let task = tokio::spawn(async move {
            let begun = Instant::now();
            while let Some(first) = requests.recv().await {
                let tick = shared.options.tick;
                if !tick.is_zero() {
                    let ticks = begun.elapsed().as_nanos() / tick.as_nanos() + 1;
                    let ticks = u32::try_from(ticks).unwrap_or(u32::MAX);
                    tokio::time::sleep_until(begun + tick * ticks).await;
                }
                let mut waiting = vec![first];
                while let Ok(another) = requests.try_recv() {
                    waiting.push(another);
                }
                shared.load().await;
                for waiter in waiting.into_iter().flatten() {
                    // A client that went away is no longer waiting.
                    let _ = waiter.send(());
                }
            }
        });
        Self { task }
    }

    /// The load after a start.
    #[expect(clippy::unused_self, reason = "it belongs to the life of the reloader")]
    pub fn load_in_background(&self, shared: Arc<Shared>) {
        tokio::spawn(async move { shared.load().await });
    }
}

impl Drop for Reloader {
    fn drop(&mut self) {
        self.task.abort();
    }
}
