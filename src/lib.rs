//! Lockstep keeps the Tyk API gateway in step with Git: a push reaches a webhook receiver and a
//! durable queue; a worker reads the manifests at the branch's head, compares them with what the
//! gateway runs, applies the difference, reads it back, and records everything in a history that
//! can be verified.
//!
//! # The map, in reading order
//!
//! A module uses only what stands before it; neighbours on one line do not see each other. A test
//! reads the sources and enforces it.
//!
//! 1. [`domain`]: pure; decides everything. Start with [`domain::plan`].
//! 2. [`manifest`] (files → what Git wants), [`webhook`] (a request → a push), [`config`]; pure too.
//!    Small ones beside them: [`keys`], [`metrics`], [`crash`], and [`message`], what travels
//!    through the queue.
//! 3. The edges: [`git`], [`queue`] (JetStream), [`store`] (SQLite, Postgres, the local queue),
//!    [`tyk`] (the gateway's client), [`vault`] (where secrets may be), [`notify`] (who is told of
//!    news).
//! 4. [`app`]: what a running process holds.
//! 5. [`sync`]: messages to runs, runs to a gateway that is in step. [`sync::run`] is the product
//!    on one page.
//! 6. [`http`]: the receiver, the API, health, metrics.
//! 7. [`cli`]: a file a command.
//!
//! [`sandbox`] is a stand-in gateway for the demo and the tests. It imports nothing of ours: it
//! is a witness, not a mirror.
//!
//! # What must stay true
//!
//! - A 202 is sent after the queue has the push, and nothing acknowledged is given up on.
//! - A message is a hint: everything is derived anew from Git and the target.
//! - Every request to a target happens under its lease; no write without a committed intent.
//! - A gateway's 200 is not believed; the object is read back.
//! - Only owned objects are changed or deleted, and the inventory alone says what is owned.
//! - Secrets are given by reference and leave the process only to where they belong.

pub mod app;
pub mod cli;
pub mod config;
pub mod crash;
pub mod domain;
pub mod git;
pub mod http;
pub mod keys;
pub mod manifest;
pub mod message;
pub mod metrics;
pub mod notify;
pub mod queue;
pub mod sandbox;
pub mod store;
pub mod sync;
pub mod tyk;
pub mod vault;
pub mod webhook;
