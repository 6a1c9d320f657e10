//! Everything that is tested through the public interface of the crate.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod architecture;
mod cli;
mod config;
mod crash;
mod gateway_client;
mod gateway_contract;
mod git;
mod manifest;
mod normalize;
mod ownership;
mod plan;
mod queue;
mod receiver;
mod sandbox;
mod store;
mod support;
mod sync;
mod traps;
mod webhook;
