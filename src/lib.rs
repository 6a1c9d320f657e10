//! Lockstep

pub mod sandbox;
