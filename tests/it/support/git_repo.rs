//! A real repository with a work tree in a folder of its own, made by the `git` binary.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;

/// On branch `main`, without commits at first. Commits are a minute apart, starting at
/// 2026-01-01, so that the same steps give the same ids.
pub struct GitRepo {
    folder: TempDir,
    commits: AtomicU64,
}

const FIRST_COMMIT_AT: u64 = 1_767_225_600;

impl GitRepo {
    pub fn new() -> Self {
        let repo = Self {
            folder: tempfile::tempdir().unwrap(),
            commits: AtomicU64::new(0),
        };
        repo.git(&["init", "-q", "-b", "main"]);
        // As the hosts do: a commit may be asked for by its id.
        repo.git(&["config", "uploadpack.allowAnySHA1InWant", "true"]);
        repo.git(&["config", "gc.auto", "0"]);
        repo
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) -> &Self {
        let file = self.place(path);
        std::fs::write(file, text).unwrap();
        self
    }

    pub fn symlink(&self, path: &str, target: &str) -> &Self {
        std::os::unix::fs::symlink(target, self.place(path)).unwrap();
        self
    }

    /// Takes effect with the next commit, like everything else here.
    pub fn submodule(&self, path: &str) -> &Self {
        // Only an id is recorded; no repository stands behind it.
        let entry = format!("160000,{},{path}", "5".repeat(40));
        self.git(&["update-index", "--add", "--cacheinfo", &entry]);
        std::fs::create_dir_all(self.folder.path().join(path)).unwrap();
        self
    }

    pub fn remove(&self, path: &str) -> &Self {
        self.git(&["rm", "-rqf", "--", path]);
        self
    }

    /// Commits everything in the work tree; gives the commit's id.
    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "-A", "."]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        self.head()
    }

    pub fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }

    pub fn branch(&self, name: &str) -> &Self {
        self.git(&["branch", "-f", name]);
        self
    }

    /// Moves `main`, index and work tree to another commit, whatever it is.
    pub fn force_move(&self, revision: &str) -> &Self {
        self.git(&["reset", "-q", "--hard", revision]);
        self
    }

    /// Runs `git` on this repository, free of the machine's configuration; gives its output.
    pub fn git(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "git {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout)
            .unwrap()
            .trim_end()
            .to_owned()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let number = match arguments.first() {
            Some(&"commit") => self.commits.fetch_add(1, Ordering::Relaxed),
            _ => 0,
        };
        let date = format!("{} +0000", FIRST_COMMIT_AT + 60 * number);
        git_command(self.folder.path())
            .env("GIT_AUTHOR_NAME", "Ada Author")
            .env("GIT_AUTHOR_EMAIL", "ada@example.com")
            .env("GIT_COMMITTER_NAME", "Carl Committer")
            .env("GIT_COMMITTER_EMAIL", "carl@example.com")
            .env("GIT_AUTHOR_DATE", &date)
            .env("GIT_COMMITTER_DATE", &date)
            .args(arguments)
            .output()
            .expect("the git binary is on the PATH")
    }

    fn place(&self, path: &str) -> PathBuf {
        let file = self.folder.path().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        file
    }
}

/// `git -C folder`, without anything of the machine's or the user's configuration.
pub fn git_command(folder: &Path) -> Command {
    let mut command = Command::new("git");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GIT_") {
            command.env_remove(name);
        }
    }
    command
        .arg("-C")
        .arg(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0");
    command
}
