//! Which files below a stack's path are manifests.
//!
//! Globs are applied to the path below the stack's path. `*` stays within one folder, `**`
//! crosses folders. Files and folders whose name starts with `.` are not selected, because
//! `.github/workflows/*.yml` and `.golangci.yml` are nobody's manifests. They are selected
//! by an include glob that writes such a part out, like `.apis/**/*.yaml` or `**/.*.json`.
//! `.tyk.json` alone is never taken as hidden: it is the name of tyk-sync's index.

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

#[derive(Debug, Clone)]
pub struct Selection {
    include: GlobSet,
    /// Those of `include` that write out a part starting with `.`.
    include_hidden: GlobSet,
    /// Each glob as it is, and as the name of a folder with everything in it.
    exclude: GlobSet,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the glob {glob:?} cannot be read: {reason}")]
pub struct SelectionError {
    glob: String,
    reason: String,
}

const DEFAULT_INCLUDE: &str = "**/*.{yaml,yml,json,pem,crt}";
const INDEX_OF_TYK_SYNC: &str = ".tyk.json";

impl Selection {
    /// An empty `include` stands for the default, `**/*.{yaml,yml,json,pem,crt}`.
    pub fn new<I: AsRef<str>, E: AsRef<str>>(
        include: &[I],
        exclude: &[E],
    ) -> Result<Self, SelectionError> {
        let mut included: Vec<&str> = include.iter().map(AsRef::as_ref).collect();
        if included.is_empty() {
            included.push(DEFAULT_INCLUDE);
        }
        let hidden = included.iter().copied().filter(|glob| names_hidden(glob));
        let mut excluded = Vec::new();
        for glob in exclude {
            let glob = glob.as_ref().trim_end_matches('/');
            excluded.push(glob.to_owned());
            excluded.push(format!("{glob}/**"));
        }
        Ok(Self {
            include: set(included.iter().copied())?,
            include_hidden: set(hidden)?,
            exclude: set(excluded.iter().map(String::as_str))?,
        })
    }

    /// Whether the file at this path, seen from the stack's path, is a manifest.
    pub fn selects(&self, below: &str) -> bool {
        let (folders, name) = below.rsplit_once('/').unwrap_or(("", below));
        let hidden = |part: &str| part.starts_with('.');
        let is_hidden =
            folders.split('/').any(hidden) || (hidden(name) && name != INDEX_OF_TYK_SYNC);
        let include = if is_hidden {
            &self.include_hidden
        } else {
            &self.include
        };
        include.is_match(below) && !self.exclude.is_match(below)
    }

    /// Whether a folder can be passed over as a whole.
    pub(super) fn skips_folder(&self, below: &str) -> bool {
        let name = below.rsplit_once('/').map_or(below, |(_, name)| name);
        (name.starts_with('.') && self.include_hidden.is_empty()) || self.exclude.is_match(below)
    }

    /// Whether what looks like a folder, but holds no files of this repository, is meant to
    /// be left out. `libs/**` means `libs` too.
    pub(super) fn leaves_out(&self, below: &str) -> bool {
        self.skips_folder(below) || self.exclude.is_match(format!("{below}/_"))
    }
}

impl Default for Selection {
    fn default() -> Self {
        Self::new::<&str, &str>(&[], &[]).expect("the default glob is valid")
    }
}

fn set<'a>(globs: impl Iterator<Item = &'a str>) -> Result<GlobSet, SelectionError> {
    let mut builder = GlobSetBuilder::new();
    for glob in globs {
        builder.add(parse(glob)?);
    }
    builder.build().map_err(|error| SelectionError {
        glob: String::new(),
        reason: error.kind().to_string(),
    })
}

fn parse(glob: &str) -> Result<Glob, SelectionError> {
    let refuse = |reason: String| SelectionError {
        glob: glob.to_owned(),
        reason,
    };
    if glob.is_empty() || glob.starts_with('/') {
        return Err(refuse(
            "globs are relative to the stack's path, like `apis/*.yaml`".to_owned(),
        ));
    }
    GlobBuilder::new(glob)
        .literal_separator(true)
        .backslash_escape(true)
        .build()
        .map_err(|error| refuse(error.kind().to_string()))
}

fn names_hidden(glob: &str) -> bool {
    glob.split('/').any(|part| part.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(include: &[&str], exclude: &[&str], yes: &[&str], no: &[&str]) {
        let selection = Selection::new(include, exclude).unwrap();
        for path in yes {
            assert!(
                selection.selects(path),
                "{path} with {include:?} {exclude:?}"
            );
        }
        for path in no {
            assert!(
                !selection.selects(path),
                "{path} with {include:?} {exclude:?}"
            );
        }
    }

    #[test]
    fn yaml_json_and_certificates_anywhere_are_selected_by_default() {
        check(
            &[],
            &[],
            &[
                "a.yaml",
                "a/b/c.yml",
                "x.json",
                ".tyk.json",
                "a/.tyk.json",
                "certs/ca.pem",
                "certs/ca.crt",
            ],
            &["README.md", "a.yaml.bak", "yaml", "a.YAML"],
        );
    }

    #[test]
    fn hidden_files_and_folders_need_a_glob_that_names_them() {
        let hidden = [
            ".github/workflows/ci.yml",
            ".golangci.yml",
            "a/.x/b.json",
            ".x/.tyk.json",
        ];
        check(&[], &[], &[], &hidden);
        check(&["**"], &[], &["README.md"], &hidden);
        check(&["**/*{.yml,.json}"], &[], &["a.yml"], &hidden);
        check(
            &[".apis/**/*.yaml", "*.json"],
            &[],
            &[".apis/a/b.yaml", "a.json"],
            &hidden,
        );
        check(
            &["**/.*.json"],
            &[],
            &["a/.b.json", ".b.json"],
            &["a/b.json"],
        );
    }

    #[test]
    fn a_star_stays_within_its_folder() {
        check(
            &["apis/*.yaml"],
            &[],
            &["apis/a.yaml"],
            &["apis/b/a.yaml", "a.yaml"],
        );
    }

    #[test]
    fn an_excluded_folder_takes_everything_in_it_along() {
        for exclude in ["vendor", "vendor/", "vendor/**"] {
            check(
                &[],
                &[exclude],
                &["a.yaml"],
                &["vendor/a.yaml", "vendor/b/c.json"],
            );
        }
        check(
            &[],
            &["**/test-*.yaml"],
            &["a.yaml"],
            &["test-a.yaml", "x/test-a.yaml"],
        );
        let selection = Selection::new::<&str, _>(&[], &["libs/*"]).unwrap();
        assert!(selection.leaves_out("libs/x"));
        let selection = Selection::new::<&str, _>(&[], &["libs/x/**"]).unwrap();
        assert!(selection.leaves_out("libs/x"));
        assert!(!selection.leaves_out("libs/y"));
    }

    #[test]
    fn a_glob_that_cannot_be_read_is_named() {
        let error = Selection::new::<_, &str>(&["a/[b"], &[]).unwrap_err();
        assert!(error.to_string().contains("a/[b"), "{error}");
        assert!(Selection::new::<_, &str>(&["/apis/*.yaml"], &[]).is_err());
        assert!(Selection::new::<_, &str>(&[""], &[]).is_err());
    }
}
