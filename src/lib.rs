//! Lockstep keeps the Tyk API gateway in step with Git.

pub mod domain;
pub mod store;
