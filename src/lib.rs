//! Lockstep
