#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod config;
mod git;
mod manifest;
mod normalize;
mod plan;
mod sandbox;
mod support;
mod webhook;
