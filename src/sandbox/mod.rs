//! Stand-ins to try Lockstep out with and to test it against: a gateway, and a Git host. They
//! import nothing of ours, so that a mistake of ours cannot hide in them.

pub mod gateway;
pub mod git;
