//! What can go wrong while files are read from Git or checkpoints are kept in it. No message holds
//! a credential.

use std::time::Duration;

use crate::domain::revision::Revision;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{repository} cannot be reached: {detail}")]
    Unreachable { repository: String, detail: String },

    #[error("{repository} took longer than {after:?}")]
    TimedOut { repository: String, after: Duration },

    #[error("reading {repository} was given up by the caller")]
    Cancelled { repository: String },

    #[error("{repository} asks for fewer requests (HTTP {status})")]
    RateLimited {
        repository: String,
        status: u16,
        /// What the host asked for, if it said so in seconds.
        retry_after: Option<u64>,
    },

    #[error("{repository} refuses us (HTTP {status}); {}", refused_hint(*.has_token))]
    Refused {
        repository: String,
        status: u16,
        has_token: bool,
    },

    #[error("{repository} refuses commits of ours (HTTP {status}); {}", unwritable_hint(*.has_token))]
    Unwritable {
        repository: String,
        status: u16,
        has_token: bool,
    },

    /// The host's own words, as far as they fit.
    #[error("{repository} did not take the commit: {detail}")]
    NotTaken { repository: String, detail: String },

    #[error("nothing could be committed to {repository}: {detail}")]
    NotCommitted { repository: String, detail: String },

    #[error(
        "{repository} does not exist for us (HTTP {status}); many hosts answer so when the token is missing or may not read it"
    )]
    RepositoryMissing { repository: String, status: u16 },

    #[error(
        "{repository} redirects to {to}, and redirects are not followed; write the new address into the configuration if it is right"
    )]
    Redirected { repository: String, to: String },

    #[error("{repository} answered with HTTP {status}")]
    Status { repository: String, status: u16 },

    #[error("{repository} answered something that is not a readable Git answer: {detail}")]
    Protocol { repository: String, detail: String },

    #[error("{repository} uses SHA-256 object ids, which are not supported")]
    ObjectFormat { repository: String },

    #[error("{repository} does not have the commit {revision}")]
    RevisionMissing {
        repository: String,
        revision: Revision,
    },

    #[error("{revision} is not a commit in {repository}")]
    NotACommit {
        repository: String,
        revision: Revision,
    },

    #[error("the path {path:?} does not exist at {}", revision.short())]
    PathMissing { path: String, revision: Revision },

    #[error("the path {path:?} at {} is {found}, not a folder", revision.short())]
    PathNotAFolder {
        path: String,
        revision: Revision,
        /// "a file", "a symbolic link" or "a submodule".
        found: &'static str,
    },

    /// A bound that keeps a hostile or mistaken repository from taking all memory or time.
    #[error("{what} in {repository} pass the limit of {limit}")]
    TooLarge {
        repository: String,
        what: Bound,
        limit: u64,
    },

    #[error("the local repository {repository} cannot be read: {detail}")]
    Local { repository: String, detail: String },

    #[error("the cache of {repository} cannot be used: {detail}")]
    Cache { repository: String, detail: String },

    /// A defect of ours or of a library, kept inside this one call.
    #[error("{repository} failed inside of us: {detail}")]
    Internal { repository: String, detail: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    Files,
    Bytes,
    Depth,
    Entries,
    Pack,
    Object,
    Refs,
    Push,
}

impl Error {
    /// Whether the same question may well be answered later without anybody changing anything.
    ///
    /// A missing commit counts: a replica of the host may lag behind the one that named it.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::Cancelled { .. }
            | Self::RateLimited { .. }
            | Self::Protocol { .. }
            | Self::RevisionMissing { .. }
            | Self::Cache { .. } => true,
            Self::Status { status, .. } => *status >= 500 || *status == 408,
            Self::Refused { .. }
            | Self::Unwritable { .. }
            | Self::NotTaken { .. }
            | Self::NotCommitted { .. }
            | Self::RepositoryMissing { .. }
            | Self::Redirected { .. }
            | Self::ObjectFormat { .. }
            | Self::NotACommit { .. }
            | Self::PathMissing { .. }
            | Self::PathNotAFolder { .. }
            | Self::TooLarge { .. }
            | Self::Local { .. }
            | Self::Internal { .. } => false,
        }
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Files => "the selected files and problems",
            Self::Bytes => "the bytes of the selected files",
            Self::Depth => "the nested folders",
            Self::Entries => "the entries below the path",
            Self::Pack => "the bytes of the pack",
            Self::Object => "the bytes of one object",
            Self::Refs => "the bytes of the list of branches",
            Self::Push => "the bytes of what it answers to a commit",
        })
    }
}

fn refused_hint(has_token: bool) -> &'static str {
    if has_token {
        "the token is wrong, has run out, or may not read this repository"
    } else {
        "give a `token` that may read this repository"
    }
}

fn unwritable_hint(has_token: bool) -> &'static str {
    if has_token {
        "the token is wrong, has run out, or may not write to this repository"
    } else {
        "give a `token` that may write to this repository"
    }
}

/// Inside this module an error is either final, or a doubt about what is on disk: then the
/// cache is thrown away and everything fetched anew, once.
#[derive(Debug)]
pub(super) enum Fault {
    Final(Error),
    Doubtful(String),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

/// An error and its causes on one line: bounded, without control characters.
pub(super) fn one_line(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
        if text.len() > 2_000 {
            break;
        }
    }
    plain(&text)
}

/// Text of others, fit for a log line.
pub(super) fn plain(text: &str) -> String {
    let clean = text
        .split(|c: char| c.is_control() || c.is_whitespace())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    if clean.chars().count() > 400 {
        clean.chars().take(400).chain(['…']).collect()
    } else {
        clean
    }
}
