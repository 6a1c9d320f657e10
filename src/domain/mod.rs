//! The words of the product as types. Pure and synchronous: it never does I/O and never reads a clock.

pub mod revision;
