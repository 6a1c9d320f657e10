//! Lockstep

pub mod config;
pub mod domain;
pub mod webhook;
