//! What the tests share: real repositories and real servers, made for one test each.

pub mod app;
pub mod git_http;
pub mod git_repo;
pub mod history;
pub mod listener;
pub mod nats;
pub mod process;
pub mod vault;

use std::{env, path::PathBuf};

/// The folder of samples beside the project, which are other people's files and no part of it.
/// A test that needs them ends early without it, and says so.
#[expect(
    clippy::print_stdout,
    reason = "a test that did not run is told to whoever reads"
)]
pub fn shared() -> Option<PathBuf> {
    let package = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let folder = package.map(|package| package.join("../shared"));
    let found = folder.filter(|folder| folder.is_dir());
    if found.is_none() {
        println!("not run: there is no folder ../shared");
    }
    found
}
