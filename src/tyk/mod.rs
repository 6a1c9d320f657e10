//! Clients of Tyk installations, concrete, their wire types private.

pub mod gateway;
