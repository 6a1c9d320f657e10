//! The history's format: one append-only log in which every event names the one before it by
//! hash, and whose hashes are the leaves of an RFC 6962 Merkle tree.

pub mod catalogue;
pub mod checkpoint;
pub mod event;
pub mod export;
pub mod keys;
pub mod merkle;
pub mod person;
pub mod retention;
pub mod trace;
pub mod verify;
