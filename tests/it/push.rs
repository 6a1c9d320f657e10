//! Keeping checkpoints on a branch: of repositories on real Git hosts, of hosts that refuse, and of
//! hosts that mean harm. Every branch is read back by Git itself, and sound by its strictest check.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request as HttpRequest;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use lockstep::git::{Bound, Error, Limits, Location, Mirrors, Record, Records, Remote};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use secrecy::SecretString;
use tempfile::TempDir;

use crate::support::git_http::{GitHttp, Request, serve};
use crate::support::git_repo::{GitRepo, git_command};

const TOKEN: &str = "ghs_a-token-that-nobody-may-see";

struct Writer {
    mirrors: Mirrors,
    remote: Remote,
    _root: TempDir,
}

impl Writer {
    fn to(location: &str) -> Self {
        Self::new(location, None, Duration::from_mins(1))
    }

    fn new(location: &str, token: Option<&str>, timeout: Duration) -> Self {
        let root = tempfile::tempdir().unwrap();
        let limits = Limits {
            timeout,
            ..Limits::default()
        };
        Self {
            mirrors: Mirrors::new(root.path(), limits),
            remote: Remote {
                location: Location::parse(location).unwrap(),
                token: token.map(|token| SecretString::from(token.to_owned())),
            },
            _root: root,
        }
    }

    async fn keep(&self, numbers: impl IntoIterator<Item = i64>) -> Result<(), Error> {
        let each = numbers.into_iter().map(|number| Record {
            content: note(number),
            message: format!("Checkpoint {number}\n"),
            at: 1_767_225_600 + number,
        });
        let records = Records {
            file: "checkpoint",
            each: each.collect(),
        };
        let branch = "checkpoints".parse().unwrap();
        self.mirrors.record(&self.remote, &branch, records).await
    }
}

fn note(number: i64) -> String {
    format!("lockstep.example/test\n{number}\n")
}

/// A bare repository, as a host keeps it.
struct Bare(TempDir);

impl Bare {
    fn new() -> Self {
        let bare = Self(tempfile::tempdir().unwrap());
        bare.git(&["init", "--quiet", "--bare", "-b", "main"]);
        bare
    }

    /// With what was pushed to it before.
    fn of(repo: &GitRepo) -> Self {
        let bare = Self::new();
        repo.git(&["push", "-q", bare.path().to_str().unwrap(), "--all"]);
        bare
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn git(&self, arguments: &[&str]) -> String {
        git(self.path(), arguments)
    }

    fn hook(&self, name: &str, script: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let hook = self.path().join("hooks").join(name);
        std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
        std::fs::write(&hook, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// What the commits of the branch hold, from the first on. Looks whether they are sound, too.
    fn kept(&self) -> Vec<String> {
        kept(self.path())
    }
}

fn kept(repository: &Path) -> Vec<String> {
    git(repository, &["fsck", "--strict", "--full"]);
    let commits = git(repository, &["rev-list", "--reverse", "checkpoints"]);
    let shown = commits
        .lines()
        .map(|commit| try_git(repository, &["show", &format!("{commit}:checkpoint")]));
    shown.flatten().collect()
}

fn try_git(repository: &Path, arguments: &[&str]) -> Option<String> {
    let output = git_command(repository).args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    output.status.success().then_some(text)
}

fn git(repository: &Path, arguments: &[&str]) -> String {
    let text = try_git(repository, arguments);
    text.unwrap_or_else(|| panic!("git {arguments:?}"))
}

fn notes(numbers: impl IntoIterator<Item = i64>) -> Vec<String> {
    numbers.into_iter().map(note).collect()
}

// What is kept

#[tokio::test]
async fn checkpoints_arrive_in_an_empty_repository_and_follow_each_other() {
    let bare = Bare::new();
    let host = GitHttp::serve(bare.path(), Some(TOKEN));
    let writer = Writer::new(host.url(), Some(TOKEN), Duration::from_mins(1));
    writer.keep([1]).await.unwrap();
    assert_eq!(bare.kept(), notes([1]));
    assert_eq!(host.requests(), [Request::Offer, Request::Push]);

    writer.keep([2, 3]).await.unwrap();
    assert_eq!(bare.kept(), notes([1, 2, 3]));
    assert_eq!(host.count(Request::Push), 2, "both at once");
    assert_eq!(host.count(Request::Fetch), 1);
    assert_eq!(
        bare.git(&[
            "log",
            "-1",
            "--format=%an %ae %cn %at %ct %s",
            "checkpoints"
        ]),
        "lockstep lockstep@localhost lockstep 1767225603 1767225603 Checkpoint 3\n"
    );

    let clone = tempfile::tempdir().unwrap();
    let from = bare.path().to_str().unwrap();
    let options = ["clone", "-q", "-b", "checkpoints", from, "."];
    git(clone.path(), &options);
    assert_eq!(kept(clone.path()), notes([1, 2, 3]));
    assert_eq!(git(clone.path(), &["ls-files"]), "checkpoint\n");
}

#[tokio::test]
async fn the_files_the_history_and_the_other_branches_of_a_repository_stay() {
    let repo = GitRepo::new();
    repo.write("README.md", "Ours").commit("one");
    repo.branch("checkpoints");
    let main = repo.write("apis/users.yaml", "name: users").commit("two");
    repo.git(&["checkout", "-q", "checkpoints"]);
    repo.write("keys/old.pub", "key")
        .symlink("link", "README.md");
    let before = repo.submodule("library").commit("three");
    let bare = Bare::of(&repo);
    let host = GitHttp::serve(bare.path(), None);
    Writer::to(host.url()).keep([1, 2]).await.unwrap();

    assert_eq!(bare.kept(), notes([1, 2]));
    assert_eq!(bare.git(&["rev-parse", "checkpoints~2"]).trim(), before);
    assert_eq!(bare.git(&["rev-parse", "main"]).trim(), main);
    let changed = ["diff", "--name-status", &before, "checkpoints"];
    assert_eq!(bare.git(&changed), "A\tcheckpoint\n");
}

#[tokio::test]
async fn what_is_there_is_not_committed_once_more() {
    let bare = Bare::new();
    let host = GitHttp::serve(bare.path(), None);
    for batch in [vec![1], vec![1], vec![1, 2], vec![2], vec![1, 2, 3]] {
        Writer::to(host.url()).keep(batch).await.unwrap();
    }
    assert_eq!(bare.kept(), notes([1, 2, 3]));
    assert_eq!(host.count(Request::Push), 3);
}

#[tokio::test]
async fn a_push_whose_answer_was_lost_is_not_made_again() {
    let bare = Bare::new();
    let host = GitHttp::serve(bare.path(), None);
    host.lose_the_next_answer();
    let writer = Writer::to(host.url());
    let error = writer.keep([1, 2]).await.unwrap_err();
    assert!(
        matches!(error, Error::Status { status: 502, .. }),
        "{error:?}"
    );
    assert!(error.is_transient());
    writer.keep([1, 2, 3]).await.unwrap();
    assert_eq!(bare.kept(), notes([1, 2, 3]));
}

#[tokio::test]
async fn a_repository_on_this_machine_is_kept_in_the_same_way() {
    let repo = GitRepo::new();
    repo.write("README.md", "Ours").commit("one");
    let writer = Writer::to(repo.path().to_str().unwrap());
    for batch in [vec![1], vec![1, 2, 3], vec![3]] {
        writer.keep(batch).await.unwrap();
    }
    assert_eq!(kept(repo.path()), notes([1, 2, 3]));
    assert_eq!(repo.git(&["status", "--porcelain"]), "");

    let gone = Writer::to("/absent/checkpoints.git");
    let error = gone.keep([1]).await.unwrap_err().to_string();
    assert!(error.contains("/absent/checkpoints.git"), "{error}");
}

/// Whether a checkpoint is right is for whoever verifies: both are kept.
#[tokio::test]
async fn what_a_branch_holds_is_not_judged() {
    let bare = Bare::new();
    let host = GitHttp::serve(bare.path(), None);
    Writer::to(host.url()).keep([9]).await.unwrap();
    Writer::to(host.url()).keep([1]).await.unwrap();
    assert_eq!(bare.kept(), notes([9, 1]));
}

// Races

/// Somebody else adds a commit that changes no file.
fn commit_beside(repository: &Path) {
    let head = try_git(repository, &["rev-parse", "-q", "--verify", "checkpoints"]);
    let tree = match &head {
        Some(_) => git(repository, &["rev-parse", "checkpoints^{tree}"]),
        None => git(
            repository,
            &["hash-object", "-w", "-t", "tree", "/dev/null"],
        ),
    };
    let somebody = ["-c", "user.name=x", "-c", "user.email=x@example.com"];
    let mut commit = somebody.to_vec();
    commit.extend(["commit-tree", "-m", "beside", tree.trim()]);
    if let Some(head) = &head {
        commit.extend(["-p", head.trim()]);
    }
    let id = git(repository, &commit);
    git(
        repository,
        &["update-ref", "refs/heads/checkpoints", id.trim()],
    );
}

#[tokio::test]
async fn a_push_that_lost_a_race_follows_the_winner() {
    let bare = Bare::new();
    let host = GitHttp::serve(bare.path(), None);
    let writer = Writer::to(host.url());
    for number in [1, 2] {
        let folder = bare.path().to_owned();
        host.before_push(move || commit_beside(&folder));
        writer.keep([number]).await.unwrap();
    }
    let messages = bare.git(&["log", "--reverse", "--format=%s", "checkpoints"]);
    assert_eq!(messages, "beside\nCheckpoint 1\nbeside\nCheckpoint 2\n");
    assert_eq!(bare.kept(), notes([1, 1, 2]));
    assert_eq!(host.count(Request::Push), 4);
}

#[tokio::test]
async fn a_branch_that_was_moved_back_is_followed_and_never_moved_by_force() {
    let bare = Bare::new();
    let host = GitHttp::serve(bare.path(), None);
    let writer = Writer::to(host.url());
    writer.keep([1, 2]).await.unwrap();
    let folder = bare.path().to_owned();
    host.before_push(move || {
        git(
            &folder,
            &["update-ref", "refs/heads/checkpoints", "checkpoints~1"],
        );
    });
    writer.keep([3]).await.unwrap();
    assert_eq!(bare.kept(), notes([1, 3]));

    let folder = bare.path().to_owned();
    host.before_push(move || {
        git(&folder, &["update-ref", "-d", "refs/heads/checkpoints"]);
    });
    writer.keep([4]).await.unwrap();
    assert_eq!(bare.kept(), notes([4]));
}

// Hosts that refuse

#[tokio::test]
async fn a_wrong_or_missing_token_is_told_and_not_shown() {
    let bare = Bare::new();
    let host = GitHttp::serve(bare.path(), Some("another"));
    for (token, hint) in [
        (Some(TOKEN), "may not write to this repository"),
        (None, "give a `token` that may write"),
    ] {
        let writer = Writer::new(host.url(), token, Duration::from_mins(1));
        let error = writer.keep([1]).await.unwrap_err();
        assert!(matches!(error, Error::Unwritable { status: 401, .. }));
        assert!(error.to_string().contains(hint), "{error}");
        assert!(!format!("{error} {error:?}").contains(TOKEN));
    }
    assert_eq!(host.requests(), [Request::Refused, Request::Refused]);
}

#[tokio::test]
async fn a_hook_that_declines_is_told_in_its_words() {
    let bare = Bare::new();
    bare.hook(
        "pre-receive",
        &format!(
            "printf 'no \\033[31mcheckpoints\\007 after {TOKEN}\\n' >&2\n\
             head -c 3000 /dev/zero | tr '\\0' 'x' >&2\nexit 1"
        ),
    );
    let host = GitHttp::serve(bare.path(), Some(TOKEN));
    let writer = Writer::new(host.url(), Some(TOKEN), Duration::from_mins(1));
    let error = writer.keep([1]).await.unwrap_err();
    assert!(matches!(error, Error::NotTaken { .. }), "{error:?}");
    assert!(!error.is_transient());
    let told = error.to_string();
    assert!(
        told.contains("did not take the commit: pre-receive hook declined; it says: no"),
        "{told}"
    );
    assert!(!told.contains(TOKEN), "{told}");
    assert!(
        !told.chars().any(char::is_control) && told.len() < 600,
        "{told}"
    );
    assert_eq!(host.count(Request::Push), 1, "the branch had not moved");

    bare.hook("pre-receive", "exit 0");
    writer.keep([1]).await.unwrap();
    assert_eq!(bare.kept(), notes([1]));
}

#[tokio::test]
async fn a_branch_that_nobody_may_update_is_told() {
    let bare = Bare::new();
    bare.git(&["config", "receive.unpackLimit", "1"]);
    bare.hook("update", "echo \"$1 is protected\" >&2\nexit 1");
    let host = GitHttp::serve(bare.path(), None);
    let error = Writer::to(host.url()).keep([1]).await.unwrap_err();
    let told = error.to_string();
    assert!(told.contains("hook declined"), "{told}");
    assert!(
        told.contains("refs/heads/checkpoints is protected"),
        "{told}"
    );
}

#[tokio::test]
async fn a_host_that_takes_no_pushes_is_told() {
    for (status, expect) in [
        (StatusCode::FORBIDDEN, "may write to"),
        (StatusCode::NOT_FOUND, "does not exist for us"),
        (StatusCode::TOO_MANY_REQUESTS, "asks for fewer requests"),
        (StatusCode::BAD_GATEWAY, "answered with HTTP 502"),
    ] {
        let (url, _server) = host_that(move |_| status.into_response());
        let told = Writer::to(&url).keep([1]).await.unwrap_err().to_string();
        assert!(told.contains(expect), "{told}");
    }
    let old = ["report-status ", ""].map(|report| {
        let offer = format!(
            "{} capabilities^{{}}\0{report}delete-refs\n",
            "0".repeat(40)
        );
        Answers {
            offer: [line(offer.as_bytes()), b"0000".to_vec()].concat(),
            report: b"0000".to_vec(),
        }
    });
    let told = ["does not say what became of it", "does not offer to report"];
    for (answers, expect) in old.into_iter().zip(told) {
        let (url, _server) = answers.serve();
        let told = Writer::to(&url).keep([1]).await.unwrap_err().to_string();
        assert!(told.contains(expect), "{told}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let bare = Bare::new();
    let inner = GitHttp::serve(bare.path(), None);
    let target = inner.url().to_owned();
    let (url, _server) = host_that(move |path| {
        let to = format!("{target}{}", path.strip_prefix("/repo.git").unwrap());
        (StatusCode::FOUND, [(header::LOCATION, to)]).into_response()
    });
    let writer = Writer::new(&url, Some(TOKEN), Duration::from_mins(1));
    let error = writer.keep([1]).await.unwrap_err();
    match &error {
        Error::Redirected { to, .. } => assert_eq!(to, inner.url()),
        error => panic!("{error:?}"),
    }
    assert_eq!(inner.requests(), []);
}

// Hosts that mean harm

/// Answers every request by its path and query.
fn host_that(
    answer: impl Fn(&str) -> Response + Clone + Send + Sync + 'static,
) -> (String, tokio::task::JoinHandle<()>) {
    let (address, server) = serve(Router::new().fallback(axum::routing::any(
        move |request: HttpRequest| {
            let answer = answer(request.uri().path());
            async move { answer }
        },
    )));
    (format!("http://{address}/repo.git"), server)
}

fn line(data: &[u8]) -> Vec<u8> {
    [format!("{:04x}", data.len() + 4).as_bytes(), data].concat()
}

/// The two answers of a push.
#[derive(Debug, Clone, Default)]
struct Answers {
    offer: Vec<u8>,
    report: Vec<u8>,
}

impl Answers {
    /// Of a host with an empty repository that takes what comes.
    fn good() -> Self {
        let announced = line(b"# service=git-receive-pack\n");
        let offers = "report-status delete-refs side-band-64k quiet ofs-delta agent=git/2.39.5";
        let offer = format!("{} capabilities^{{}}\0{offers}\n", "0".repeat(40));
        let report = [
            line(b"unpack ok\n"),
            line(b"ok refs/heads/checkpoints\n"),
            b"0000".to_vec(),
        ];
        let band = [&[1], report.concat().as_slice()].concat();
        let end = b"0000".to_vec();
        Self {
            offer: [announced, end.clone(), line(offer.as_bytes()), end.clone()].concat(),
            report: [line(&band), end].concat(),
        }
    }

    fn serve(self) -> (String, tokio::task::JoinHandle<()>) {
        host_that(move |path| answer(path, &self))
    }
}

fn answer(path: &str, Answers { offer, report }: &Answers) -> Response {
    if path.ends_with("/info/refs") {
        reply("advertisement", offer.clone())
    } else {
        reply("result", report.clone())
    }
}

fn reply(kind: &str, body: impl Into<Body>) -> Response {
    let content_type = format!("application/x-git-receive-pack-{kind}");
    ([(header::CONTENT_TYPE, content_type)], body.into()).into_response()
}

#[derive(Debug, Clone)]
enum Edit {
    Set(u8),
    Insert(Vec<u8>),
    Remove(usize),
    CutOff,
}

fn edited(mut bytes: Vec<u8>, edits: &[(prop::sample::Index, Edit)]) -> Vec<u8> {
    for (at, edit) in edits {
        let at = at.index(bytes.len() + 1);
        match edit {
            Edit::Set(byte) if at < bytes.len() => bytes[at] = *byte,
            Edit::Set(byte) => bytes.push(*byte),
            Edit::Insert(new) => drop(bytes.splice(at..at, new.clone())),
            Edit::Remove(count) => drop(bytes.drain(at..bytes.len().min(at + count))),
            Edit::CutOff => bytes.truncate(at),
        }
    }
    bytes
}

fn edits() -> impl Strategy<Value = Vec<(prop::sample::Index, Edit)>> {
    let edit = prop_oneof![
        any::<u8>().prop_map(Edit::Set),
        prop::sample::select(b"0123456789abcdef\0\n ".to_vec()).prop_map(Edit::Set),
        prop::collection::vec(any::<u8>(), 1..9).prop_map(Edit::Insert),
        (1_usize..9).prop_map(Edit::Remove),
        Just(Edit::CutOff),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), edit), 0..4)
}

#[test]
fn whatever_a_host_answers_is_taken_for_done_only_if_it_says_so_and_is_no_panic() {
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    let _inside = runtime.enter();
    let answers = Arc::new(Mutex::new(Answers::good()));
    let served = Arc::clone(&answers);
    let (url, _server) = host_that(move |path| answer(path, &served.lock().unwrap()));
    let writer = Writer::to(&url);
    runtime.block_on(writer.keep([1])).unwrap();

    let mut runner = TestRunner::new(Config::with_cases(256));
    let ran = runner.run(&(edits(), edits()), |(offer, report)| {
        let good = Answers::good();
        let told = Answers {
            offer: edited(good.offer, &offer),
            report: edited(good.report, &report),
        };
        *answers.lock().unwrap() = told.clone();
        let says = |words: &str| {
            told.report
                .windows(words.len())
                .any(|w| w == words.as_bytes())
        };
        match runtime.block_on(writer.keep([1])) {
            Ok(()) => prop_assert!(says("unpack ok") && says("ok refs/heads/checkpoints")),
            Err(Error::Internal { detail, .. }) => prop_assert!(false, "{detail}"),
            Err(error) => prop_assert!(!error.to_string().chars().any(char::is_control)),
        }
        Ok(())
    });
    ran.unwrap();
}

fn without_end(kind: &str, first: Vec<u8>, next: &[u8]) -> Response {
    let many = next.repeat(1_000);
    let lines = futures_util::stream::unfold((first, many), |(next, many)| async {
        Some((Ok::<_, std::io::Error>(next), (many.clone(), many)))
    });
    reply(kind, Body::from_stream(lines))
}

#[tokio::test]
async fn answers_without_end_are_cut_off() {
    let good = Answers::good();
    let refs = line(format!("{} refs/heads/branch\n", "1".repeat(40)).as_bytes());
    let offer = good.offer.strip_suffix(b"0000").unwrap().to_vec();
    let long = line(format!("\x02{}", "x".repeat(60_000)).as_bytes());
    let short = line(b"\x02x");
    for (offer_ends, remark, is_size) in [
        (false, &long, true),
        (true, &long, true),
        (true, &short, false),
    ] {
        let (good, offer, refs) = (good.clone(), offer.clone(), refs.clone());
        let remark = remark.clone();
        let (url, _server) = host_that(move |path| match path.ends_with("/info/refs") {
            true if offer_ends => reply("advertisement", good.offer.clone()),
            true => without_end("advertisement", offer.clone(), &refs),
            false => without_end("result", Vec::new(), &remark),
        });
        let error = Writer::to(&url).keep([1]).await.unwrap_err();
        let is_cut_off = match &error {
            Error::TooLarge { what, .. } => is_size && *what == Bound::Push,
            Error::Protocol { detail, .. } => !is_size && detail.contains("without an end"),
            _ => false,
        };
        assert!(is_cut_off, "{error:?}");
    }
}

#[tokio::test]
async fn a_host_that_never_answers_costs_the_timeout_and_no_more() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/repo.git", listener.local_addr().unwrap());
    let writer = Writer::new(&url, None, Duration::from_millis(300));
    let error = writer.keep([1]).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
    assert!(error.is_transient());
}
