//! What the tests share: real repositories and real servers, made for one test each.

pub mod git_http;
pub mod git_repo;
