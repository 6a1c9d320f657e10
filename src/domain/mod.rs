//! What Lockstep decides with: pure and synchronous, no I/O, no clock, no randomness.

pub mod revision;
