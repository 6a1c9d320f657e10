//! Names inside a repository: a branch and a folder. Both are parsed once and can then be
//! neither an option, nor a traversal, nor a pattern.

use std::fmt;
use std::str::FromStr;

/// A branch's short name, like `main` or `release/5.8`, valid by the rules of
/// `git check-ref-format`, and never starting with `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BranchName(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not a branch's name: {0}")]
pub struct BranchNameError(&'static str);

/// A folder relative to the repository's root; empty for the root itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RepoPath(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not a folder of a repository: {0}")]
pub struct RepoPathError(&'static str);

impl BranchName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `refs/heads/…`
    pub fn full_ref(&self) -> String {
        format!("refs/heads/{}", self.0)
    }
}

impl FromStr for BranchName {
    type Err = BranchNameError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let refuse = |why| Err(BranchNameError(why));
        if name.is_empty() {
            return refuse("it is empty");
        }
        if name.len() > 255 {
            return refuse("it is longer than 255 bytes");
        }
        if name.starts_with("refs/") {
            return refuse("write the short name, `main` instead of `refs/heads/main`");
        }
        if name == "HEAD" || name == "@" {
            return refuse("write the branch's own name, like `main`");
        }
        if name.starts_with('-') {
            return refuse("it starts with `-`");
        }
        if name
            .chars()
            .any(|c| c.is_control() || " ~^:?*[\\".contains(c))
        {
            return refuse("it holds a space, a control character or one of ~^:?*[\\");
        }
        if name.contains("..") || name.contains("@{") {
            return refuse("it holds `..` or `@{`");
        }
        if name.ends_with('.') {
            return refuse("it ends with `.`");
        }
        for part in name.split('/') {
            if part.is_empty() {
                return refuse("it starts or ends with `/`, or holds `//`");
            }
            if part.starts_with('.') {
                return refuse("a part of it starts with `.`");
            }
            let is_lock = part.len() >= 5 && part.as_bytes()[part.len() - 5..] == *b".lock";
            if is_lock {
                return refuse("a part of it ends with `.lock`");
            }
        }
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for BranchName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl RepoPath {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|part| !part.is_empty())
    }
}

impl FromStr for RepoPath {
    type Err = RepoPathError;

    /// `.`, a leading `./` and one trailing `/` are habits of people and taken away.
    fn from_str(path: &str) -> Result<Self, Self::Err> {
        let refuse = |why| Err(RepoPathError(why));
        if path.len() > 4096 {
            return refuse("it is longer than 4096 bytes");
        }
        if path.starts_with('/') {
            return refuse("it is absolute; paths start at the repository's root, without `/`");
        }
        if path.contains('\\') {
            return refuse("it holds `\\`; folders are separated by `/`");
        }
        if path.chars().any(char::is_control) {
            return refuse("it holds a control character");
        }
        let path = path.strip_prefix("./").unwrap_or(path);
        let path = path.strip_suffix('/').unwrap_or(path);
        if path.is_empty() || path == "." {
            return Ok(Self::default());
        }
        for part in path.split('/') {
            match part {
                "" => return refuse("it holds `//`"),
                "." | ".." => return refuse("it holds `.` or `..` as a part"),
                _ => {}
            }
        }
        Ok(Self(path.to_owned()))
    }
}

impl fmt::Display for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_that_git_accepts_are_accepted() {
        for name in [
            "main",
            "release/5.8",
            "a",
            "feat/ümlaut",
            "x@y",
            "a-b_c",
            "a.b",
        ] {
            let branch: BranchName = name.parse().unwrap();
            assert_eq!(branch.full_ref(), format!("refs/heads/{name}"));
        }
    }

    #[test]
    fn branches_that_git_refuses_and_those_that_look_like_options_are_refused() {
        let long = "a".repeat(256);
        for name in [
            "",
            "-x",
            "--upload-pack=x",
            "a..b",
            "a b",
            "a~1",
            "a^",
            "a:b",
            "a?",
            "a*",
            "a[b",
            "a\\b",
            "/a",
            "a/",
            "a//b",
            "a.",
            ".a",
            "a/.b",
            "a.lock",
            "a.lock/b",
            "a@{1}",
            "@",
            "HEAD",
            "refs/heads/main",
            "a\0b",
            "a\nb",
            "a\x7f",
            &long,
        ] {
            assert!(name.parse::<BranchName>().is_err(), "{name:?}");
        }
    }

    #[test]
    fn folders_are_relative_and_habits_are_taken_away() {
        for (text, path) in [
            ("", ""),
            (".", ""),
            ("./", ""),
            ("apis", "apis"),
            ("./apis/", "apis"),
            ("a/b", "a/b"),
            (".tyk", ".tyk"),
            ("a/..b", "a/..b"),
        ] {
            assert_eq!(text.parse::<RepoPath>().unwrap().as_str(), path, "{text:?}");
        }
        for text in [
            "/", "/apis", "..", "a/../b", "a/..", "a//b", "a\\b", "a\0", "a/./b", "a//",
        ] {
            assert!(text.parse::<RepoPath>().is_err(), "{text:?}");
        }
    }
}
