//! Lockstep keeps the Tyk API gateway in step with Git.

pub mod app;
pub mod cli;
pub mod config;
pub mod crash;
pub mod domain;
pub mod git;
pub mod http;
pub mod keys;
pub mod manifest;
pub mod message;
pub mod metrics;
pub mod queue;
pub mod sandbox;
pub mod store;
pub mod sync;
pub mod tyk;
pub mod webhook;
