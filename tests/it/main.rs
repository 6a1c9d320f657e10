//! Everything that is tested through the public interface of the crate.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod sandbox;
