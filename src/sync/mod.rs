//! The workflow: messages to runs, runs to a gateway that is in step with Git.
//!
//! Reading order: [`worker`] turns pushes into work, [`run`] is one run from top to bottom,
//! [`look`] is its first half, [`apply`] its second, `repair` what follows when it went wrong;
//! [`recover`] resolves what a dead worker left, [`schedule`] holds the timers.

pub mod apply;
pub mod lease;
mod leaving;
pub mod look;
pub mod observe;
pub mod ownership;
mod record;
pub mod recover;
mod repair;
pub mod run;
pub mod schedule;
pub mod worker;
