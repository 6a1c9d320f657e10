//! Lockstep
pub mod domain;
pub mod git;
