//! What Lockstep decides, and the words it decides in. Pure and synchronous: no I/O, no clock, no
//! randomness; what a rule needs to know is passed in, what it decides is a value.
//!
//! Reading order: [`object`] and [`revision`] are the nouns, [`reference`] is how a text refers to
//! a secret, [`canonical`] and [`secrets`] make bodies comparable and safe to keep, [`normalize`] makes what a gateway reads back comparable
//! with what Git says, [`inventory`] says what a stack owns, [`plan`] turns desired × live ×
//! inventory into changes, [`guard`] holds back what could hurt, [`approval`] says who may let it
//! go and [`token`] how they prove who they are, [`window`] says when nothing goes live, [`run`] is
//! one attempt to converge, [`audit`] is the history's format, [`notice`] what of it people are
//! told.

pub mod approval;
pub mod audit;
pub mod canonical;
pub mod certificate;
pub mod csv;
pub mod diff;
pub mod guard;
pub mod inventory;
pub mod moment;
pub mod normalize;
pub mod notice;
pub mod object;
pub mod parallel;
pub mod plan;
pub mod pull_request;
pub mod reference;
pub mod revision;
pub mod run;
pub mod secrets;
pub mod token;
pub mod way;
pub mod window;
