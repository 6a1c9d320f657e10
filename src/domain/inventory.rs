//! The inventory: which stack owns which object of a target, and what was seen there after it was
//! last applied. It is the only record of ownership; nothing is written into the objects.

use std::collections::BTreeMap;

use super::{canonical::Digest, object::ObjectKey, run::RunId};

/// One owned object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    pub stack: String,
    /// The masked desired body that was applied last, by hash.
    pub desired: Digest,
    /// The masked, normalised body that was read back after that, by hash. `None` while its last
    /// write is unresolved: then the object is unknown, not drifted.
    pub observed: Option<Digest>,
    /// The exact text of the listing that was observed, by hash: while it is listed like this,
    /// nothing needs to be read more closely.
    pub listed: Option<Digest>,
    /// Secrets may stand in it, so every text of what was observed was hidden. Once so, always so:
    /// what is live may hold a value that nobody knows any more.
    pub hidden: bool,
    /// The gateway that printed what was observed; another version may print it differently.
    pub gateway_version: String,
    pub run: RunId,
    /// The file in Git that described it when it was applied last.
    pub path: Option<String>,
    /// When the stack began to own it: microseconds since 1970, UTC.
    pub since: i64,
    /// When it was observed: microseconds since 1970, UTC.
    pub observed_at: i64,
}

/// Every owned object of one node of a target, whatever stack owns it.
pub type Inventory = BTreeMap<ObjectKey, Owned>;
