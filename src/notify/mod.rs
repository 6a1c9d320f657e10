//! The clients of those who are told: webhooks that take `CloudEvents`, Slack and what is
//! compatible with it, and the Git hosts that show a status at each commit.
//!
//! They send what they are given and decide nothing; who is told of what, and what happens when it
//! does not arrive, is for the caller. Addresses come from configuration alone. No redirect is
//! followed, no proxy is used, nothing is tried twice. No secret is part of an error, and of what a
//! receiver answers at most a short sentence.

mod cloud_events;
mod github;
mod gitlab;
mod send;
mod slack;

use std::time::Duration;

pub use self::{
    cloud_events::{News, Webhook},
    github::GitHub,
    gitlab::GitLab,
    send::{Error, Sender},
    slack::Slack,
};
use crate::domain::{
    notice::{Mark, Notice},
    revision::Revision,
    run::RunId,
};

/// How long a receiver may take, and how much of its answer is read.
#[derive(Debug, Clone)]
pub struct Options {
    pub connect_timeout: Duration,
    /// For one request, connecting and the whole answer included.
    pub timeout: Duration,
    pub longest_answer: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(10),
            longest_answer: 64 * 1024,
        }
    }
}

/// Where a person can read more, if this installation has such a place: an address without a
/// slash at its end.
#[derive(Debug, Clone, Default)]
pub struct Place(pub Option<String>);

impl Place {
    pub fn of_run(&self, run: &RunId) -> Option<String> {
        self.0.as_ref().map(|base| format!("{base}/runs/{run}"))
    }

    /// The run's if there is one, with the event that is told: whoever reads it back can see
    /// whether the history that they have still knows it.
    fn of_mark(&self, mark: &Mark) -> Option<String> {
        let base = self.0.as_ref()?;
        let run = mark.run.as_ref().and_then(|run| self.of_run(run));
        let page = run.unwrap_or_else(|| format!("{base}/"));
        let hash = mark.hash.to_string();
        Some(format!("{page}#event-{}-{}", mark.sequence, &hash[..16]))
    }
}

/// The event that a mark names in its link: what was told is kept by the host, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    pub sequence: i64,
    /// The first digits of the event's hash.
    pub hash: String,
}

impl Trace {
    /// `None` for a link that is not ours.
    fn read(link: &str) -> Option<Self> {
        let (_, event) = link.rsplit_once("#event-")?;
        let (sequence, hash) = event.split_once('-')?;
        let is_hash = hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        Some(Self {
            sequence: sequence.parse().ok().filter(|sequence| *sequence >= 0)?,
            hash: is_hash.then(|| hash.to_owned())?,
        })
    }
}

/// Somebody who takes notices.
#[derive(Debug)]
pub enum Receiver {
    Webhook(Webhook),
    Slack(Slack),
}

impl Receiver {
    /// `now` is when it is sent, in seconds since 1970.
    pub async fn tell(&self, notice: &Notice, place: &Place, now: i64) -> Result<(), Error> {
        match self {
            Self::Webhook(webhook) => webhook.tell(notice, place, now).await,
            Self::Slack(slack) => slack.tell(notice, place).await,
        }
    }
}

/// A Git host that shows how its commits stand.
#[derive(Debug)]
pub enum GitHost {
    GitHub(GitHub),
    GitLab(GitLab),
}

impl GitHost {
    /// `branch` is the one that the mark's stack follows.
    pub async fn mark(&self, mark: &Mark, branch: &str, place: &Place) -> Result<(), Error> {
        match self {
            Self::GitHub(github) => github.mark(mark, place).await,
            Self::GitLab(gitlab) => gitlab.mark(mark, branch, place).await,
        }
    }

    /// What the newest mark of a stack at a commit names.
    pub async fn trace(&self, stack: &str, revision: &Revision) -> Result<Option<Trace>, Error> {
        match self {
            Self::GitHub(github) => github.trace(stack, revision).await,
            Self::GitLab(gitlab) => gitlab.trace(stack, revision).await,
        }
    }

    /// How many requests one mark may take.
    pub const MOST_REQUESTS: u32 = 3;
}

/// What a stack is called at a commit.
fn context(stack: &str) -> String {
    format!("lockstep/{stack}")
}
