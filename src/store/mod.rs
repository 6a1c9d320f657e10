//! What Lockstep remembers: deliveries, what every stack is asked for, leases, runs, the inventory
//! and the history, in SQLite (embedded) or Postgres (scaled out).
//!
//! It stores what it is given and decides nothing. It never masks: bodies come masked, previous
//! bodies come sealed. It never asks the machine what time it is: times are microseconds UTC, bound
//! by the caller, except for leases, which the database's clock alone judges.
//!
//! Every query is written once, in SQL that both databases take: `$1`, `returning`,
//! `on conflict`, row values, common table expressions. Where the two differ, the migrations hide
//! it (the view `clock`, the computed columns of `audit_event`, the triggers that refuse), or
//! `locking!` does. Not used: `now()`, arrays, `ilike`, JSON operators in queries, enum types,
//! `skip locked`. JSON is stored as text, because hashes are over the text.
//!
//! Every writing method is one transaction. In it, rows are locked in one order: the lease, then
//! stacks by name, then everything else, and the head of the history last.
//!
//! Reading order: `db` (the two databases and the macros that let one text serve both), [`inbox`],
//! [`stack`], [`hold`], [`lease`], [`runs`], [`inventory`], [`approval`], [`token`], [`audit`],
//! [`checkpoint`], [`verify`], `retention` (what leaves it), [`history`], [`query`] (pages of
//! everything), [`queue`], [`sink`]; beside them `error`, [`installation`], `start`, `migrate` (who may do what in Postgres) and
//! `person` (erasing one).

#[macro_use]
mod db;

pub mod approval;
pub mod audit;
pub mod checkpoint;
mod error;
pub mod history;
pub mod hold;
pub mod inbox;
pub mod installation;
pub mod inventory;
pub mod lease;
mod migrate;
mod nodes;
mod person;
pub mod query;
pub mod queue;
mod retention;
pub mod runs;
pub mod sink;
pub mod stack;
mod start;
mod target;
pub mod token;
pub mod verify;

pub use db::{FILE, POSTGRES_MIGRATIONS, PgOptions, SQLITE_MIGRATIONS, Store, role_of};
pub use error::{Error, Result};

pub use approval::{NewDecision, Parked, Parking, Parkings};
pub use audit::{EventFilter, Head};
pub use checkpoint::{CheckState, Grown, KeptCheckpoint};
pub use history::{RunDetail, RunFilter};
pub use hold::{Ended, Hold, NewHold, Rollback};
pub use inbox::{CommitRef, Delivery, Recorded};
pub use installation::{InstallationKey, keygen};
pub use inventory::{Body, InventoryChange};
pub use lease::{Holder, Lease};
pub use migrate::RIGHTS;
pub use nodes::{NodeProgress, NodeState};
pub use person::{Erased, Records};
pub use query::{
    ApprovalEntry, ChangeEntry, Cursor, CursorError, Filter, From, LARGEST_PAGE, LOOK, ObjectEntry,
    Page, Paging,
};
pub use queue::{LocalQueue, PutError, QueueDepth, QueueLimits, QueueMessage};
pub use runs::{ChangeOutcome, Finish, Intent, NewRun, OpenRun, Run, Settle, Undo};
pub use sink::{SinkChange, SinkState};
pub use stack::{StackState, StackTarget};
pub use start::Migration;
pub use target::{Foreign, Reverts};
pub use verify::{Verification, Walk};
