//! The stand-in gateway: against recordings of a real one, and what a test can do with it.

mod behaviour;
mod recordings;
