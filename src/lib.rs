//! Lockstep keeps the Tyk API gateway in step with Git.

pub mod config;
pub mod domain;
pub mod git;
pub mod queue;
pub mod webhook;
