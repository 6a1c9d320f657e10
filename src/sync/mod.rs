//! The workflow: messages to runs, runs to a gateway that is in step with Git.
//!
//! Reading order: [`worker`] turns pushes into work, [`run`] is one run from top to bottom,
//! [`look`] is its first half, [`secrets`] what manifests refer to, [`apply`] its second, `repair` what follows when it went wrong;
//! [`recover`] resolves what a dead worker left, [`hold`] says when none may begin, [`schedule`]
//! holds the timers, [`report`] tells what came of it. [`import`] reads a target for those who have
//! no stack yet; [`history`] puts together what is on record. [`start`] and [`reading`]
//! put on record what no run does: which configuration was loaded, and who read the history;
//! [`forget`] takes a person out of it.

pub mod apply;
pub mod approval;
pub mod checkpoint;
pub mod forget;
pub mod handwork;
pub mod history;
pub mod hold;
pub mod import;
pub mod lease;
mod leaving;
pub mod look;
mod nodes;
pub mod observe;
pub mod ownership;
pub mod reading;
pub mod reclaim;
mod record;
pub mod recover;
mod repair;
pub mod report;
pub mod retention;
pub mod run;
pub mod schedule;
mod schema;
pub mod secrets;
pub mod start;
pub mod token;
pub mod witness;
pub mod worker;
