#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod git;
mod normalize;
mod plan;
mod support;
