//! Lockstep as a whole and in its large parts, against real files, databases and servers.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod store;
