//! Reads the files under a path at a commit, from a Git host over HTTPS or from a
//! repository on this machine, and keeps checkpoints in one.
//!
//! There is never a work tree: files are read out of the object database of a bare, shallow
//! cache. So checkout filters, hooks, submodules, symbolic links and file names cannot do
//! anything here. A local repository is read in place. Nothing is written to any, but for the
//! branch that [`Mirrors::record`] is given to keep checkpoints on, and that one only grows. Nothing
//! is taken from the environment or from the user's Git configuration, and no other program is run.
//!
//! Everything is bounded: time, bytes on the wire, the size of objects, files, folders. What
//! a person can mend in the repository (a symbolic link, a submodule, a file too large) is a
//! [`Problem`] of the [`Snapshot`], so that all of them are seen at once; what passes a
//! bound is an [`Error`].

use std::time::Duration;

use secrecy::SecretString;

mod error;
mod http;
mod location;
mod mirror;
mod name;
mod push;
mod record;
mod selection;
mod snapshot;

pub use error::{Bound, Error};
pub use location::{Location, LocationError};
pub use mirror::Mirrors;
pub use name::{BranchName, BranchNameError, RepoPath, RepoPathError};
pub use record::{Record, Records};
pub use selection::{Selection, SelectionError};
pub use snapshot::{File, Person, Problem, Reason, Signature, Snapshot};

/// A repository and what is needed to read it, or to write to it. Comes from configuration only.
#[derive(Debug, Clone)]
pub struct Remote {
    pub location: Location,
    /// Sent as the password of the user `x-access-token`, with every request, to this
    /// location's host only. Local repositories need none.
    pub token: Option<SecretString>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Selected files and problems together.
    pub max_files: usize,
    pub max_file_bytes: u64,
    /// All selected files of one snapshot together.
    pub max_total_bytes: u64,
    /// Folders within folders, below the stack's path.
    pub max_depth: usize,
    /// Everything that is looked at below the stack's path, selected or not.
    pub max_entries: usize,
    /// What one fetch may bring.
    pub max_pack_bytes: u64,
    /// Any single object of the repository, selected or not. The hosts' own limits for a
    /// file are about 100 MiB.
    pub max_object_bytes: u64,
    /// A cache with that many packs, each a fetch, is thrown away and made anew.
    pub max_packs: usize,
    pub connect_timeout: Duration,
    /// For one call as a whole: connecting, transfer and reading.
    pub timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: u64 = 1024 * 1024;
        Self {
            max_files: 10_000,
            max_file_bytes: 4 * MIB,
            max_total_bytes: 64 * MIB,
            max_depth: 32,
            max_entries: 1_000_000,
            max_pack_bytes: 512 * MIB,
            max_object_bytes: 128 * MIB,
            max_packs: 500,
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_mins(1),
        }
    }
}
