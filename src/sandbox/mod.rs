//! Stand-ins for the servers that a deployment talks to, for the demo and the tests. They import
//! nothing else of this crate: what they answer comes from recordings of the real servers, so a
//! mistake in our own reading of a gateway cannot hide in them.

pub mod gateway;
