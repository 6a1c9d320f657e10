//! Reading repositories: real ones, over real HTTP, and hosts that mean harm.

use std::path::Path;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::any;
use lockstep::domain::revision::Revision;
use lockstep::git::{
    Bound, BranchName, Error, Limits, Location, Mirrors, Reason, Remote, RepoPath, Selection,
    Snapshot,
};
use secrecy::SecretString;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::git_http::{GitHttp, Request, serve};
use crate::support::git_repo::GitRepo;

const TOKEN: &str = "ghs_a-token-that-nobody-may-see";
/// Tells a wait that ends from one that does not, on the busiest machine; it measures nothing.
const PATIENCE: Duration = Duration::from_secs(30);

struct Reader {
    mirrors: Mirrors,
    remote: Remote,
    root: TempDir,
}

impl Reader {
    fn new(location: &str, limits: Limits) -> Self {
        let root = tempfile::tempdir().unwrap();
        Self {
            mirrors: Mirrors::new(root.path(), limits),
            remote: Remote {
                location: Location::parse(location).unwrap(),
                token: None,
            },
            root,
        }
    }

    fn of(location: &str) -> Self {
        Self::new(location, Limits::default())
    }

    fn local(repo: &GitRepo) -> Self {
        Self::of(repo.path().to_str().unwrap())
    }

    fn with_token(mut self, token: &str) -> Self {
        self.remote.token = Some(SecretString::from(token.to_owned()));
        self
    }

    async fn head(&self) -> Result<Option<Revision>, Error> {
        self.mirrors.head(&self.remote, &branch("main")).await
    }

    async fn tree(&self, revision: &str, path: &str) -> Result<Snapshot, Error> {
        self.select(revision, path, &Selection::default()).await
    }

    async fn select(
        &self,
        revision: &str,
        path: &str,
        selection: &Selection,
    ) -> Result<Snapshot, Error> {
        let path: RepoPath = path.parse().unwrap();
        let revision = revision.parse().unwrap();
        self.mirrors
            .tree(&self.remote, &revision, &path, selection)
            .await
    }
}

fn branch(name: &str) -> BranchName {
    name.parse().unwrap()
}

fn paths(snapshot: &Snapshot) -> Vec<&str> {
    snapshot
        .files
        .iter()
        .map(|file| file.path.as_str())
        .collect()
}

fn problems(snapshot: &Snapshot) -> Vec<(&str, &Reason)> {
    let problems = snapshot.problems.iter();
    problems
        .map(|problem| (problem.path.as_str(), &problem.reason))
        .collect()
}

fn short(timeout_ms: u64) -> Limits {
    Limits {
        timeout: Duration::from_millis(timeout_ms),
        ..Limits::default()
    }
}

// What is read

#[tokio::test]
async fn the_head_and_its_files_are_read_over_http() {
    let repo = GitRepo::new();
    repo.write("apis/users.yaml", "name: users")
        .write("README.md", "hello");
    let first = repo.commit("The first API\n\nWith a body.");
    let host = GitHttp::serve(repo.path(), None);
    let reader = Reader::of(host.url());

    let head = reader.head().await.unwrap().unwrap();
    assert_eq!(head.as_str(), first);
    let snapshot = reader.tree(&first, "").await.unwrap();
    assert_eq!(paths(&snapshot), ["apis/users.yaml"]);
    assert_eq!(snapshot.files[0].bytes, b"name: users");
    assert_eq!(
        snapshot.files[0].blob,
        repo.git(&["rev-parse", "HEAD:apis/users.yaml"])
    );
    assert_eq!(snapshot.tree, repo.git(&["rev-parse", "HEAD^{tree}"]));
    assert_eq!(snapshot.revision, head);
    assert_eq!(snapshot.author.name, "Ada Author");
    assert_eq!(snapshot.committer.email, "carl@example.com");
    assert_eq!(snapshot.author.at.to_string(), "2026-01-01T00:00:00Z");
    assert_eq!(snapshot.message, "The first API\n\nWith a body.\n");
    assert_eq!(snapshot.problems, []);
}

#[tokio::test]
async fn a_push_is_seen_and_costs_one_fetch_and_nothing_new_costs_none() {
    let repo = GitRepo::new();
    let first = repo.write("a.yaml", "1").write("b.yaml", "1").commit("one");
    let host = GitHttp::serve(repo.path(), None);
    let reader = Reader::of(host.url());
    reader.tree(&first, "").await.unwrap();

    let second = repo.write("a.yaml", "2").remove("b.yaml").commit("two");
    assert_eq!(reader.head().await.unwrap().unwrap().as_str(), second);
    let snapshot = reader.tree(&second, "").await.unwrap();
    assert_eq!(paths(&snapshot), ["a.yaml"]);
    assert_eq!(snapshot.files[0].bytes, b"2");
    assert_eq!(host.count(Request::Fetch), 2);

    let before = host.requests().len();
    reader.tree(&second, "").await.unwrap();
    let old = reader.tree(&first, "").await.unwrap();
    assert_eq!(paths(&old), ["a.yaml", "b.yaml"]);
    assert_eq!(
        host.requests().len(),
        before,
        "both revisions are in the cache"
    );
}

#[tokio::test]
async fn the_head_is_asked_in_two_requests_and_fetches_nothing() {
    let repo = GitRepo::new();
    repo.write("a.yaml", "1").commit("one");
    let host = GitHttp::serve(repo.path(), None);
    let reader = Reader::of(host.url());
    reader.head().await.unwrap();
    assert_eq!(host.requests(), [Request::Handshake, Request::ListRefs]);
    assert_eq!(std::fs::read_dir(reader.root.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_branch_that_moved_back_is_read_where_it_is_now() {
    let repo = GitRepo::new();
    let first = repo.write("a.yaml", "1").commit("one");
    let second = repo.write("a.yaml", "2").commit("two");
    let host = GitHttp::serve(repo.path(), None);
    let reader = Reader::of(host.url());
    assert_eq!(reader.tree(&second, "").await.unwrap().files[0].bytes, b"2");
    repo.force_move(&first);
    assert_eq!(reader.head().await.unwrap().unwrap().as_str(), first);
    assert_eq!(reader.tree(&first, "").await.unwrap().files[0].bytes, b"1");
}

#[tokio::test]
async fn two_readers_of_one_repository_at_once_share_one_fetch() {
    let repo = GitRepo::new();
    repo.write("one/a.yaml", "1").write("two/b.yaml", "2");
    let head = repo.commit("one");
    let host = GitHttp::serve(repo.path(), None);
    let reader = Reader::of(host.url());
    let (one, two) = tokio::join!(reader.tree(&head, "one"), reader.tree(&head, "two"));
    assert_eq!(paths(&one.unwrap()), ["one/a.yaml"]);
    assert_eq!(paths(&two.unwrap()), ["two/b.yaml"]);
    assert_eq!(host.count(Request::Fetch), 1);
}

#[tokio::test]
async fn a_branch_that_does_not_exist_is_none_also_when_a_longer_name_starts_with_it() {
    let repo = GitRepo::new();
    repo.write("a.yaml", "1").commit("one");
    repo.branch("feature-x").branch("feature/y");
    let host = GitHttp::serve(repo.path(), None);
    for reader in [Reader::of(host.url()), Reader::local(&repo)] {
        let missing = reader
            .mirrors
            .head(&reader.remote, &branch("feature"))
            .await;
        assert_eq!(missing.unwrap(), None);
        let there = reader
            .mirrors
            .head(&reader.remote, &branch("feature/y"))
            .await;
        assert_eq!(there.unwrap().unwrap().as_str(), repo.head());
    }
}

#[tokio::test]
async fn a_repository_without_commits_has_no_head() {
    let repo = GitRepo::new();
    let host = GitHttp::serve(repo.path(), None);
    assert_eq!(Reader::of(host.url()).head().await.unwrap(), None);
    assert_eq!(Reader::local(&repo).head().await.unwrap(), None);
}

#[tokio::test]
async fn a_local_work_tree_is_read_at_its_commits_and_not_at_its_files() {
    let repo = GitRepo::new();
    let head = repo.write("apis/a.yaml", "committed").commit("one");
    repo.write("apis/a.yaml", "not committed")
        .write("apis/b.yaml", "new");
    let reader = Reader::local(&repo);
    assert_eq!(reader.head().await.unwrap().unwrap().as_str(), head);
    let snapshot = reader.tree(&head, "apis").await.unwrap();
    assert_eq!(paths(&snapshot), ["apis/a.yaml"]);
    assert_eq!(snapshot.files[0].bytes, b"committed");
    assert_eq!(
        std::fs::read_dir(reader.root.path()).unwrap().count(),
        0,
        "nothing is cached"
    );
}

#[tokio::test]
async fn a_local_bare_repository_with_packed_refs_is_read_too() {
    let repo = GitRepo::new();
    let head = repo.write("a.yaml", "1").commit("one");
    let bare = tempfile::tempdir().unwrap();
    let bare_path = bare.path().join("copy.git");
    repo.git(&["clone", "-q", "--bare", ".", bare_path.to_str().unwrap()]);
    let reader = Reader::of(bare_path.to_str().unwrap());
    assert_eq!(reader.head().await.unwrap().unwrap().as_str(), head);
    assert_eq!(paths(&reader.tree(&head, "").await.unwrap()), ["a.yaml"]);
}

#[tokio::test]
async fn a_folder_that_is_no_repository_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = Reader::of(folder.path().to_str().unwrap())
        .head()
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Local { .. }), "{error:?}");
    assert!(!error.is_transient());
    assert!(
        error.to_string().contains(folder.path().to_str().unwrap()),
        "{error}"
    );
}

#[tokio::test]
async fn hundreds_of_files_in_the_default_selection_are_read_in_order() {
    let repo = GitRepo::new();
    for number in 0..300 {
        repo.write(&format!("apis/{number:03}.yaml"), format!("n: {number}"));
    }
    let head = repo.commit("many");
    let host = GitHttp::serve(repo.path(), None);
    let snapshot = Reader::of(host.url()).tree(&head, "apis").await.unwrap();
    assert_eq!(snapshot.files.len(), 300);
    assert!(snapshot.files.is_sorted_by_key(|file| file.path.clone()));
}

// What a stack's path means

#[tokio::test]
async fn a_path_that_does_not_exist_is_an_error_and_not_an_empty_state() {
    let repo = GitRepo::new();
    repo.write("apis/a.yaml", "1")
        .write("other/README.md", "x")
        .symlink("link", "apis");
    let head = repo.submodule("module").commit("one");
    let reader = Reader::local(&repo);
    for path in ["api", "apis/deeper", "Apis"] {
        let error = reader.tree(&head, path).await.unwrap_err();
        assert!(
            matches!(error, Error::PathMissing { .. }),
            "{path}: {error:?}"
        );
        assert!(!error.is_transient());
    }
    for (path, what) in [
        ("apis/a.yaml", "a file"),
        ("apis/a.yaml/x", "a file"),
        ("link", "a symbolic link"),
        ("module", "a submodule"),
    ] {
        match reader.tree(&head, path).await.unwrap_err() {
            Error::PathNotAFolder { found, .. } => assert_eq!(found, what),
            error => panic!("{path}: {error:?}"),
        }
    }
    let empty = reader.tree(&head, "other").await.unwrap();
    assert_eq!((empty.files, empty.problems), (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn globs_see_the_path_below_the_stacks_path() {
    let repo = GitRepo::new();
    for path in [
        "s/apis/a.yaml",
        "s/apis/deep/b.yaml",
        "s/c.yaml",
        "s/vendor/d.yaml",
        "e.yaml",
    ] {
        repo.write(path, "x");
    }
    let head = repo.commit("one");
    let reader = Reader::local(&repo);
    let selection = Selection::new(&["apis/*.yaml", "vendor/**"], &["vendor"]).unwrap();
    let snapshot = reader.select(&head, "s", &selection).await.unwrap();
    assert_eq!(paths(&snapshot), ["s/apis/a.yaml"]);
}

#[tokio::test]
async fn workflows_are_not_manifests_but_the_index_of_tyk_sync_is() {
    let repo = GitRepo::new();
    for path in [
        ".github/workflows/ci.yml",
        ".golangci.yml",
        ".tyk.json",
        "a.json",
        "x/.y/z.json",
    ] {
        repo.write(path, "{}");
    }
    let head = repo.commit("one");
    let reader = Reader::local(&repo);
    assert_eq!(
        paths(&reader.tree(&head, "").await.unwrap()),
        [".tyk.json", "a.json"]
    );
    let explicit = Selection::new::<_, &str>(&["x/.y/*.json"], &[]).unwrap();
    let snapshot = reader.select(&head, "", &explicit).await.unwrap();
    assert_eq!(paths(&snapshot), ["x/.y/z.json"]);
    let inside = reader.tree(&head, ".github").await.unwrap();
    assert_eq!(
        paths(&inside),
        [".github/workflows/ci.yml"],
        "a stack may live in one"
    );
}

// What is reported instead of read

#[tokio::test]
async fn everything_that_cannot_be_read_is_reported_at_once_beside_the_files() {
    let repo = GitRepo::new();
    repo.write("good.yaml", "1")
        .write("large.yaml", "x".repeat(100))
        .write(
            "lfs.json",
            "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
        )
        .write("back\\slash.yaml", "x")
        .write("real/a.yaml", "1")
        .symlink("link.yaml", "good.yaml")
        .symlink("folder-link", "real")
        .symlink("outside.json", "../../etc/passwd")
        .symlink("NOTES", "good.yaml")
        .symlink("dangling", "nowhere/at-all");
    let bad: std::ffi::OsString =
        std::os::unix::ffi::OsStringExt::from_vec(b"caf\xe9.yaml".to_vec());
    std::fs::write(repo.path().join(bad), "x").unwrap();
    let head = repo.submodule("module").commit("one");
    let limits = Limits {
        max_file_bytes: 99,
        ..Limits::default()
    };
    let host = GitHttp::serve(repo.path(), None);
    for location in [host.url(), repo.path().to_str().unwrap()] {
        let reader = Reader::new(location, limits.clone());
        let snapshot = reader.tree(&head, "").await.unwrap();
        assert_eq!(paths(&snapshot), ["good.yaml", "real/a.yaml"]);
        assert_eq!(
            problems(&snapshot),
            [
                ("back\\slash.yaml", &Reason::BadName),
                ("caf\u{fffd}.yaml", &Reason::NotUtf8),
                ("folder-link", &Reason::Symlink),
                (
                    "large.yaml",
                    &Reason::TooLarge {
                        bytes: 100,
                        limit: 99
                    }
                ),
                ("lfs.json", &Reason::LfsPointer),
                ("link.yaml", &Reason::Symlink),
                ("module", &Reason::Submodule),
                ("outside.json", &Reason::Symlink),
            ]
        );
        let exclude = [
            "*k*",
            "la*",
            "lfs.json",
            "caf*",
            "module/**",
            "outside.json",
        ];
        let selection = Selection::new::<&str, _>(&[], &exclude).unwrap();
        let snapshot = reader.select(&head, "", &selection).await.unwrap();
        assert_eq!(paths(&snapshot), ["good.yaml", "real/a.yaml"]);
        assert_eq!(snapshot.problems, []);
    }
}

#[tokio::test]
async fn executable_files_are_files() {
    let repo = GitRepo::new();
    repo.write("a.yaml", "1").commit("one");
    repo.git(&["update-index", "--chmod=+x", "a.yaml"]);
    repo.git(&["commit", "-q", "-m", "two"]);
    let snapshot = Reader::local(&repo).tree(&repo.head(), "").await.unwrap();
    assert_eq!(paths(&snapshot), ["a.yaml"]);
}

/// Writes a tree object that `git` itself would not make.
fn hostile_tree(repo: &GitRepo, entries: &[(&str, &[u8], &str)]) -> String {
    let mut raw = Vec::new();
    for (mode, name, id) in entries {
        raw.extend_from_slice(mode.as_bytes());
        raw.push(b' ');
        raw.extend_from_slice(name);
        raw.push(0);
        raw.extend(hex::decode(id).unwrap());
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), raw).unwrap();
    let path = file.path().to_str().unwrap();
    repo.git(&["hash-object", "-w", "-t", "tree", "--literally", path])
}

fn commit_of(repo: &GitRepo, tree: &str) -> String {
    repo.git(&["commit-tree", tree, "-m", "hostile"])
}

#[tokio::test]
async fn names_that_climb_out_or_appear_twice_are_reported() {
    let repo = GitRepo::new();
    repo.write("a.yaml", "1").commit("one");
    let blob = repo.git(&["rev-parse", "HEAD:a.yaml"]);
    let inner = hostile_tree(&repo, &[("100644", b"x.yaml", &blob)]);
    let tree = hostile_tree(
        &repo,
        &[
            ("100644", b"../../evil.yaml", &blob),
            ("40000", b"..", &inner),
            ("40000", b"a/b", &inner),
            ("100644", b"bell\x07.yaml", &blob),
            ("100644", b"good.yaml", &blob),
            ("100644", b"same.yaml", &blob),
            ("100644", b"same.yaml", &blob),
        ],
    );
    let snapshot = Reader::local(&repo)
        .tree(&commit_of(&repo, &tree), "")
        .await
        .unwrap();
    assert_eq!(paths(&snapshot), ["good.yaml"]);
    assert_eq!(
        problems(&snapshot),
        [
            ("a/b", &Reason::BadName),
            ("bell\u{7}.yaml", &Reason::BadName),
            ("same.yaml", &Reason::Twice),
        ]
    );
}

#[tokio::test]
async fn a_small_repository_that_unfolds_without_end_is_stopped() {
    let repo = GitRepo::new();
    repo.write("a.yaml", "1").commit("one");
    let blob = repo.git(&["rev-parse", "HEAD:a.yaml"]);
    let mut tree = hostile_tree(&repo, &[("100644", b"a.yaml", &blob)]);
    for _ in 0..10 {
        let names: Vec<String> = (0..10).map(|number| format!("d{number}")).collect();
        let entries: Vec<(&str, &[u8], &str)> = names
            .iter()
            .map(|name| ("40000", name.as_bytes(), tree.as_str()))
            .collect();
        tree = hostile_tree(&repo, &entries);
    }
    let commit = commit_of(&repo, &tree);
    let error = Reader::local(&repo).tree(&commit, "").await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::TooLarge {
                what: Bound::Files,
                ..
            }
        ),
        "{error:?}"
    );

    let selection = Selection::new::<_, &str>(&["*.none"], &[]).unwrap();
    let limits = Limits {
        max_entries: 5_000,
        ..Limits::default()
    };
    let reader = Reader::new(repo.path().to_str().unwrap(), limits);
    let error = reader.select(&commit, "", &selection).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::TooLarge {
                what: Bound::Entries,
                ..
            }
        ),
        "{error:?}"
    );
}

// Bounds

#[tokio::test]
async fn every_bound_is_an_error_that_names_it() {
    let repo = GitRepo::new();
    repo.write("a.yaml", "12345")
        .write("b/c/d.yaml", "12345")
        .write("e.yaml", "12345");
    let head = repo.commit("one");
    let ample = Limits::default();
    for (limits, expect) in [
        (
            Limits {
                max_files: 2,
                ..ample.clone()
            },
            Bound::Files,
        ),
        (
            Limits {
                max_total_bytes: 14,
                ..ample.clone()
            },
            Bound::Bytes,
        ),
        (
            Limits {
                max_depth: 1,
                ..ample.clone()
            },
            Bound::Depth,
        ),
        (
            Limits {
                max_entries: 4,
                ..ample.clone()
            },
            Bound::Entries,
        ),
    ] {
        let reader = Reader::new(repo.path().to_str().unwrap(), limits);
        match reader.tree(&head, "").await.unwrap_err() {
            Error::TooLarge { what, .. } => assert_eq!(what, expect),
            error => panic!("{error:?}"),
        }
    }
    let exact = Limits {
        max_files: 3,
        max_total_bytes: 15,
        max_depth: 2,
        max_entries: 5,
        ..ample
    };
    let reader = Reader::new(repo.path().to_str().unwrap(), exact);
    assert_eq!(reader.tree(&head, "").await.unwrap().files.len(), 3);
}

/// Bytes that do not compress.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}

#[tokio::test]
async fn a_pack_larger_than_the_limit_is_cut_off_and_leaves_nothing_behind() {
    let repo = GitRepo::new();
    let head = repo
        .write("a.yaml", "1")
        .write("noise.bin", noise(3_000_000))
        .commit("one");
    let host = GitHttp::serve(repo.path(), None);
    let limits = Limits {
        max_pack_bytes: 1_000_000,
        ..Limits::default()
    };
    let reader = Reader::new(host.url(), limits);
    let error = reader.tree(&head, "").await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::TooLarge {
                what: Bound::Pack,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(!error.is_transient());
    assert_eq!(host.count(Request::Fetch), 1, "it is not tried again");
    assert!(bytes_under(reader.root.path()) < 200_000);
}

#[tokio::test]
async fn an_object_that_unpacks_to_more_than_the_limit_is_refused_before_it_is_unpacked() {
    let repo = GitRepo::new();
    let head = repo
        .write("a.yaml", "1")
        .write("zeros.bin", vec![0; 5_000_000])
        .commit("one");
    let host = GitHttp::serve(repo.path(), None);
    let limits = Limits {
        max_object_bytes: 1_000_000,
        ..Limits::default()
    };
    let error = Reader::new(host.url(), limits)
        .tree(&head, "")
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::TooLarge {
                what: Bound::Object,
                ..
            }
        ),
        "{error:?}"
    );
    let reader = Reader::of(host.url());
    assert_eq!(paths(&reader.tree(&head, "").await.unwrap()), ["a.yaml"]);
}

fn bytes_under(folder: &Path) -> u64 {
    files_under(folder)
        .iter()
        .map(|file| file.metadata().unwrap().len())
        .sum()
}

fn files_under(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_under(&path));
        } else {
            files.push(path);
        }
    }
    files
}

// The cache

fn packs(reader: &Reader) -> Vec<std::path::PathBuf> {
    let mut files = files_under(reader.root.path());
    files.retain(|file| {
        file.extension()
            .is_some_and(|extension| extension == "pack")
    });
    files
}

#[tokio::test]
async fn a_damaged_cache_is_thrown_away_and_fetched_anew_once() {
    let repo = GitRepo::new();
    let head = repo.write("a.yaml", "some text").commit("one");
    let host = GitHttp::serve(repo.path(), None);
    let reader = Reader::of(host.url());
    let whole = reader.tree(&head, "").await.unwrap();

    let pack = packs(&reader).remove(0);
    let length = std::fs::metadata(&pack).unwrap().len();
    std::fs::remove_file(&pack).unwrap();
    std::fs::write(&pack, vec![0x5a; usize::try_from(length).unwrap()]).unwrap();
    assert_eq!(reader.tree(&head, "").await.unwrap(), whole);
    assert_eq!(host.count(Request::Fetch), 2);

    std::fs::remove_file(packs(&reader).remove(0)).unwrap();
    assert_eq!(reader.tree(&head, "").await.unwrap(), whole);

    for file in files_under(reader.root.path()) {
        if file.ends_with("HEAD") {
            std::fs::write(file, "nonsense").unwrap();
        }
    }
    assert_eq!(reader.tree(&head, "").await.unwrap(), whole);
}

#[tokio::test]
async fn what_a_killed_process_left_behind_does_not_stop_the_next_fetch() {
    let repo = GitRepo::new();
    let first = repo.write("a.yaml", "1").commit("one");
    let host = GitHttp::serve(repo.path(), None);
    let reader = Reader::of(host.url());
    reader.tree(&first, "").await.unwrap();
    let cache = packs(&reader).remove(0);
    let cache = cache.ancestors().nth(3).unwrap();
    std::fs::write(cache.join("shallow.lock"), "").unwrap();
    std::fs::write(cache.join("refs/cache/last.lock"), "").unwrap();
    std::fs::write(cache.join("objects/pack/.tmpAbCd"), "half a pack").unwrap();

    let second = repo.write("a.yaml", "2").commit("two");
    assert_eq!(reader.tree(&second, "").await.unwrap().files[0].bytes, b"2");
    assert!(
        files_under(cache)
            .iter()
            .all(|file| !file.ends_with(".tmpAbCd"))
    );
}

#[tokio::test]
async fn after_many_packs_the_cache_is_made_anew() {
    let repo = GitRepo::new();
    let host = GitHttp::serve(repo.path(), None);
    let limits = Limits {
        max_packs: 3,
        ..Limits::default()
    };
    let reader = Reader::new(host.url(), limits);
    let mut counts = Vec::new();
    for number in 0..7 {
        let head = repo.write("a.yaml", format!("{number}")).commit("one more");
        let snapshot = reader.tree(&head, "").await.unwrap();
        assert_eq!(snapshot.files[0].bytes, number.to_string().as_bytes());
        counts.push(packs(&reader).len());
    }
    assert_eq!(counts, [1, 2, 3, 1, 2, 3, 1]);
    assert_eq!(host.count(Request::Fetch), 7);
}

// Credentials

#[tokio::test]
async fn a_token_opens_the_repository_and_is_nowhere_on_disk() {
    let repo = GitRepo::new();
    let head = repo.write("a.yaml", "1").commit("one");
    let host = GitHttp::serve(repo.path(), Some(TOKEN));
    let reader = Reader::of(host.url()).with_token(TOKEN);
    assert_eq!(reader.head().await.unwrap().unwrap().as_str(), head);
    assert_eq!(paths(&reader.tree(&head, "").await.unwrap()), ["a.yaml"]);
    assert_eq!(
        host.count(Request::Refused),
        0,
        "it is sent at once, not after a refusal"
    );

    let holds_token = |root: &Path| {
        let encoded = base64::Engine::encode(
            &base64::engine::general_purpose::STANDARD,
            format!("x-access-token:{TOKEN}"),
        );
        files_under(root).iter().any(|file| {
            let text = String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned();
            text.contains(TOKEN) || text.contains(&encoded)
        })
    };
    assert!(!holds_token(reader.root.path()));
    std::fs::write(reader.root.path().join("planted"), format!("x {TOKEN}")).unwrap();
    assert!(
        holds_token(reader.root.path()),
        "a token on disk would be found"
    );
    assert!(!format!("{:?}", reader.remote).contains(TOKEN));
}

#[tokio::test]
async fn a_wrong_or_missing_token_is_refused_without_asking_anybody_for_another() {
    let repo = GitRepo::new();
    let head = repo.write("a.yaml", "1").commit("one");
    let host = GitHttp::serve(repo.path(), Some("another"));
    for (reader, with_token) in [
        (Reader::of(host.url()).with_token(TOKEN), true),
        (Reader::of(host.url()), false),
    ] {
        let before = host.requests().len();
        for error in [
            reader.head().await.unwrap_err(),
            reader.tree(&head, "").await.unwrap_err(),
        ] {
            assert!(
                matches!(error, Error::Refused { status: 401, has_token, .. } if has_token == with_token),
                "{error:?}"
            );
            assert!(!error.is_transient());
            assert!(!format!("{error} {error:?}").contains(TOKEN));
        }
        assert_eq!(
            host.requests()[before..],
            [Request::Refused, Request::Refused]
        );
    }
}

// Hosts that fail or mean harm

/// Answers every request with the same function.
fn host_that<F, R>(answer: F) -> (String, tokio::task::JoinHandle<()>)
where
    F: Fn() -> R + Clone + Send + Sync + 'static,
    R: IntoResponse + Send + 'static,
{
    let (address, server) = serve(Router::new().fallback(any(move || {
        let answer = answer();
        async move { answer }
    })));
    (format!("http://{address}/repo.git"), server)
}

const SOME: &str = "1111111111111111111111111111111111111111";

#[tokio::test]
async fn a_host_that_accepts_and_never_answers_costs_the_timeout_and_no_more() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/repo.git", listener.local_addr().unwrap());
    let reader = Reader::new(&url, short(300));
    for tree in [false, true] {
        let start = Instant::now();
        let error = if tree {
            reader.tree(SOME, "").await.unwrap_err()
        } else {
            reader.head().await.unwrap_err()
        };
        assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
        assert!(error.is_transient());
        assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    }
}

/// A packet line of 65,000 bytes that never comes to its end: a byte again and again, each
/// well before any timeout of a single read.
fn dribble(kind: &str) -> impl IntoResponse + use<> {
    let clock = tokio::time::interval(Duration::from_millis(20));
    let drops = futures_util::stream::unfold((clock, "fde8"), |(mut clock, drop)| async move {
        clock.tick().await;
        Some((Ok::<_, std::io::Error>(drop), (clock, "x")))
    });
    let content_type = format!("application/x-git-upload-pack-{kind}");
    (
        [(header::CONTENT_TYPE, content_type)],
        Body::from_stream(drops),
    )
}

#[tokio::test]
async fn a_host_that_dribbles_costs_the_timeout_and_no_more() {
    let (url, _server) = host_that(|| dribble("advertisement"));
    let reader = Reader::new(&url, short(500));
    let start = Instant::now();
    for error in [
        reader.head().await.unwrap_err(),
        reader.tree(SOME, "").await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
    }
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_host_that_dribbles_its_headers_costs_the_timeout_and_no_more() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/repo.git", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        // An answer that comes before its question is another failure.
        client.read_u8().await.unwrap();
        let mut clock = tokio::time::interval(Duration::from_millis(20));
        client
            .write_all(b"HTTP/1.1 200 OK\r\nX-Long: ")
            .await
            .unwrap();
        while client.write_all(b"x").await.is_ok() {
            clock.tick().await;
        }
    });
    let reader = Reader::new(&url, short(500));
    let start = Instant::now();
    let error = reader.head().await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    server.abort();
}

#[tokio::test]
async fn a_host_that_dribbles_the_pack_costs_the_timeout_and_no_more() {
    let repo = GitRepo::new();
    let head = repo.write("a.yaml", "1").commit("one");
    let good = GitHttp::serve(repo.path(), None);
    let advertised = reqwest::Client::new()
        .get(format!("{}/info/refs?service=git-upload-pack", good.url()))
        .header("Git-Protocol", "version=2")
        .send()
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    let router = Router::new()
        .route(
            "/repo.git/info/refs",
            axum::routing::get(move || async move {
                let kind = "application/x-git-upload-pack-advertisement";
                ([(header::CONTENT_TYPE, kind)], advertised)
            }),
        )
        .fallback(any(|| async { dribble("result") }));
    let (address, _server) = serve(router);
    let reader = Reader::new(&format!("http://{address}/repo.git"), short(500));
    for error in [
        reader.head().await.unwrap_err(),
        reader.tree(&head, "").await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
    }
}

/// What a server of Git's first protocol sends: all its refs, with its abilities in the first.
fn branches_without_end() -> impl IntoResponse {
    let line = |rest: &str| format!("{:04x}{SOME} {rest}\n", SOME.len() + rest.len() + 6);
    let first = line("HEAD\0multi_ack side-band-64k shallow ofs-delta");
    let many = line("refs/heads/branch").repeat(1_000);
    let lines = futures_util::stream::unfold((first, many), |(next, many)| async {
        Some((Ok::<_, std::io::Error>(next), (many.clone(), many)))
    });
    let content_type = "application/x-git-upload-pack-advertisement";
    (
        [(header::CONTENT_TYPE, content_type)],
        Body::from_stream(lines),
    )
}

#[tokio::test]
async fn a_list_of_branches_without_end_is_cut_off() {
    let (url, _server) = host_that(branches_without_end);
    let reader = Reader::new(&url, short(50_000));
    let error = reader.head().await.unwrap_err();
    let is_cut_off = matches!(
        error,
        Error::TooLarge {
            what: Bound::Refs,
            ..
        }
    );
    assert!(is_cut_off, "{error:?}");
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_its_target_is_named() {
    let repo = GitRepo::new();
    let head = repo.write("a.yaml", "1").commit("one");
    let inner = GitHttp::serve(repo.path(), None);
    let target = format!("{}/info/refs?service=git-upload-pack", inner.url());
    let (url, _server) =
        host_that(move || (StatusCode::FOUND, [(header::LOCATION, target.clone())]));
    let reader = Reader::of(&url).with_token(TOKEN);
    for error in [
        reader.head().await.unwrap_err(),
        reader.tree(&head, "").await.unwrap_err(),
    ] {
        match &error {
            Error::Redirected { to, .. } => assert_eq!(to, inner.url()),
            error => panic!("{error:?}"),
        }
        assert!(!error.is_transient());
    }
    assert_eq!(inner.requests(), [], "the other host was not asked");
}

#[tokio::test]
async fn what_a_host_says_is_told_apart() {
    for (status, limit, expect_transient) in [
        (StatusCode::NOT_FOUND, None, false),
        (StatusCode::FORBIDDEN, None, false),
        (StatusCode::FORBIDDEN, Some("17"), true),
        (StatusCode::TOO_MANY_REQUESTS, Some("17"), true),
        (StatusCode::BAD_GATEWAY, None, true),
        (StatusCode::IM_A_TEAPOT, None, false),
    ] {
        let (url, _server) = host_that(move || match limit {
            Some(seconds) => (status, [(header::RETRY_AFTER, seconds)]).into_response(),
            None => status.into_response(),
        });
        let error = Reader::of(&url).head().await.unwrap_err();
        assert_eq!(
            error.is_transient(),
            expect_transient,
            "{status}: {error:?}"
        );
        let is_fitting = match &error {
            Error::RepositoryMissing { .. } => status == StatusCode::NOT_FOUND,
            Error::Refused { .. } => status == StatusCode::FORBIDDEN && limit.is_none(),
            Error::RateLimited { retry_after, .. } => limit.is_some() && *retry_after == Some(17),
            Error::Status { .. } => [502, 418].contains(&status.as_u16()),
            _ => false,
        };
        assert!(is_fitting, "{status}: {error:?}");
    }
}

#[tokio::test]
async fn a_host_that_is_down_is_unreachable_for_now() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/repo.git", listener.local_addr().unwrap());
    drop(listener);
    let error = Reader::of(&url).head().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert!(error.is_transient());
}

#[tokio::test]
async fn an_answer_that_is_not_git_is_said_on_one_line_without_the_token() {
    let (url, _server) = host_that(|| {
        let kind = "application/x-git-upload-pack-advertisement";
        let line = format!("ERR sorry\x1b[31m {TOKEN}\n");
        let body = format!("{:04x}{line}", line.len() + 4);
        ([(header::CONTENT_TYPE, kind)], body)
    });
    let reader = Reader::of(&url).with_token(TOKEN);
    for error in [
        reader.head().await.unwrap_err(),
        reader.tree(SOME, "").await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
        let text = error.to_string();
        assert!(
            !text.contains(TOKEN) && !text.contains('\x1b') && !text.contains('\n'),
            "{text}"
        );
    }
    let (url, _server) = host_that(|| "<html>log in</html>");
    let error = Reader::of(&url).head().await.unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
}

#[tokio::test]
async fn a_commit_that_the_host_does_not_have_is_a_typed_error() {
    let repo = GitRepo::new();
    let head = repo.write("a.yaml", "1").commit("one");
    let host = GitHttp::serve(repo.path(), None);
    for reader in [Reader::of(host.url()), Reader::local(&repo)] {
        let error = reader.tree(SOME, "").await.unwrap_err();
        assert!(matches!(error, Error::RevisionMissing { .. }), "{error:?}");
        let blob = repo.git(&["rev-parse", "HEAD:a.yaml"]);
        let error = reader.tree(&blob, "").await.unwrap_err();
        assert!(matches!(error, Error::NotACommit { .. }), "{error:?}");
        let error = reader.tree(&"a".repeat(64), "").await.unwrap_err();
        assert!(matches!(error, Error::ObjectFormat { .. }), "{error:?}");
        assert_eq!(paths(&reader.tree(&head, "").await.unwrap()), ["a.yaml"]);
    }
}

#[tokio::test]
async fn a_repository_with_sha256_ids_is_refused_clearly() {
    let folder = tempfile::tempdir().unwrap();
    let repo = GitRepo::new();
    let path = folder.path().to_str().unwrap();
    repo.git(&["init", "-q", "-b", "main", "--object-format=sha256", path]);
    let host = GitHttp::serve(folder.path(), None);
    let error = Reader::of(host.url()).head().await.unwrap_err();
    assert!(matches!(error, Error::ObjectFormat { .. }), "{error:?}");
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_no_lock() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/repo.git", listener.local_addr().unwrap());
    let reader = Reader::new(&url, short(700));
    let start = Instant::now();
    tokio::select! {
        answer = reader.tree(SOME, "") => panic!("{answer:?}"),
        // Its work has begun and holds the lock; then it is dropped.
        _ = listener.accept() => {}
    }
    let error = reader.tree(SOME, "").await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_silent_repository_delays_no_other() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("http://{}/repo.git", listener.local_addr().unwrap());
    let repo = GitRepo::new();
    let head = repo.write("a.yaml", "1").commit("one");
    let host = GitHttp::serve(repo.path(), None);
    let reader = Reader::new(host.url(), short(8_000));
    let stuck = Remote {
        location: Location::parse(&silent).unwrap(),
        token: None,
    };
    let revision = SOME.parse().unwrap();
    let path = RepoPath::default();
    let selection = Selection::default();
    tokio::select! {
        answer = reader.mirrors.tree(&stuck, &revision, &path, &selection) => {
            panic!("{answer:?}");
        }
        snapshot = reader.tree(&head, "") => assert_eq!(paths(&snapshot.unwrap()), ["a.yaml"]),
    }
}
