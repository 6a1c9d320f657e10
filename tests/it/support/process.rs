//! The real binary, as a process that can be killed.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

/// How long a test waits for what another process does.
const PATIENCE: Duration = Duration::from_mins(1);

/// `lockstep serve`, running.
pub struct Server {
    child: Child,
    pub url: String,
}

impl Server {
    /// Starts it and waits until it listens.
    pub fn start(config: &Path, environment: &[(String, String)], arguments: &[&str]) -> Self {
        let log = config.with_extension("log");
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(log)
            .unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_lockstep"))
            .arg("--config")
            .arg(config)
            .args(["--output", "json", "serve"])
            .args(arguments)
            .envs(environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|_| {
            let log = std::fs::read_to_string(config.with_extension("log")).unwrap_or_default();
            panic!("it did not start: {line:?}\n{log}")
        });
        Self {
            url: said["listening"].as_str().unwrap().to_owned(),
            child,
        }
    }

    /// With SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// With SIGTERM; the exit code.
    pub fn terminate(mut self) -> Option<i32> {
        Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status()
            .unwrap();
        self.child.wait().unwrap().code()
    }

    /// Waits until it has died by itself.
    pub async fn died(&mut self) {
        until("the process to die", async || {
            self.child.try_wait().unwrap().is_some()
        })
        .await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Looks again and again until something holds. For what other processes do, which cannot be
/// stepped.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    let mut looks = tokio::time::interval(Duration::from_millis(10));
    while !holds().await {
        assert!(started.elapsed() < PATIENCE, "{what} did not come");
        looks.tick().await;
    }
}

/// Runs the binary to its end: exit code, standard output, standard error.
pub fn lockstep(
    folder: &Path,
    environment: &[(String, String)],
    arguments: &[&str],
) -> (i32, String, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_lockstep"))
        .args(arguments)
        .current_dir(folder)
        .envs(environment.iter().cloned())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (
        done.status.code().unwrap_or(-1),
        String::from_utf8(done.stdout).unwrap(),
        String::from_utf8(done.stderr).unwrap(),
    )
}

pub fn source_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(source_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
