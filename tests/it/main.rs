//! Everything that is tested through the public interface of the crate.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod approval;
mod architecture;
mod certificates;
mod chance;
mod cli;
mod config;
mod crash;
mod events;
mod export;
mod forget;
mod gateway_client;
mod gateway_contract;
mod git;
mod handwork;
mod history;
mod hold;
mod import;
mod manifest;
mod migrate;
mod nodes;
mod normalize;
mod notify;
mod ownership;
mod plan;
mod queue;
mod receiver;
mod reclaim;
mod sandbox;
mod store;
mod support;
mod sync;
mod tamper;
mod traps;
mod webhook;
