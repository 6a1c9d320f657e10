//! A NATS server of one test's own: a free port, a folder that goes with it, killed and started
//! again at will.

use std::{
    env,
    io::{BufRead, BufReader},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tempfile::TempDir;

/// The servers that the queue must work with, from the oldest to the newest.
pub fn binaries() -> Vec<PathBuf> {
    let list = env::var_os("LOCKSTEP_TEST_NATS").expect("LOCKSTEP_TEST_NATS lists nats-servers");
    let binaries: Vec<PathBuf> = env::split_paths(&list).collect();
    assert!(!binaries.is_empty(), "LOCKSTEP_TEST_NATS is empty");
    binaries
}

pub struct Nats {
    binary: PathBuf,
    port: u16,
    arguments: Vec<String>,
    has_jetstream: bool,
    folder: TempDir,
    server: Option<Child>,
}

impl Nats {
    pub fn start(binary: &Path) -> Self {
        let mut nats = Self::stopped(binary);
        nats.restart();
        nats
    }

    /// A server that is not there yet: its port is chosen, and nobody listens on it.
    pub fn stopped(binary: &Path) -> Self {
        Self {
            binary: binary.to_owned(),
            port: free_port(),
            arguments: Vec::new(),
            has_jetstream: true,
            folder: TempDir::new().unwrap(),
            server: None,
        }
    }

    pub fn start_without_jetstream(binary: &Path) -> Self {
        let mut nats = Self::stopped(binary);
        nats.has_jetstream = false;
        nats.restart();
        nats
    }

    pub fn with_arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments = arguments.iter().map(ToString::to_string).collect();
        self
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// With SIGKILL: nothing is flushed or said goodbye to.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    /// Returns when the server says that it is ready, with what the folder holds.
    pub fn restart(&mut self) {
        self.kill();
        let mut server = Command::new(&self.binary)
            .args(["-a", "127.0.0.1", "-p", &self.port.to_string()])
            .args(self.has_jetstream.then_some("-js"))
            .arg("-sd")
            .arg(self.folder.path())
            .args(&self.arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}", self.binary.display()));
        let mut log = BufReader::new(server.stderr.take().unwrap());
        self.server = Some(server);
        let mut said = String::new();
        while !said.contains("Server is ready") {
            let read = log.read_line(&mut said).unwrap();
            assert_ne!(read, 0, "nats-server ended: {said}");
        }
        // The rest of its log goes nowhere, but must be read, or the server stops at a full pipe.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    }

    /// The server is there and does nothing, as when its machine hangs.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        // It may answer until the last of its threads stands still.
        let stopped = waitpid(Some(self.id()), WaitOptions::UNTRACED).unwrap();
        assert!(stopped.is_some_and(|(_, status)| status.stopped()));
    }

    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.id(), signal).unwrap();
    }

    fn id(&self) -> Pid {
        Pid::from_child(self.server.as_ref().expect("it runs"))
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}
