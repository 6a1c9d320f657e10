#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod config;
mod git;
mod normalize;
mod plan;
mod queue;
mod support;
mod webhook;
