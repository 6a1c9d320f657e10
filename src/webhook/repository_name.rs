//! A repository's full name at its host. It is compared with names from the configuration; it is never a
//! path of a file system and never part of an address.

use std::fmt;

use serde::{Deserialize, Serialize};

const LONGEST: usize = 1024;

/// `org/shop`, at GitLab also `group/subgroup/shop`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepositoryName(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a repository's full name is like org/name, of letters, digits, `.`, `_` and `-`")]
pub struct InvalidRepositoryName;

impl RepositoryName {
    pub fn parse(name: &str) -> Result<Self, InvalidRepositoryName> {
        let part_is_valid = |part: &str| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            !part.is_empty() && part != "." && part != ".." && part.bytes().all(is_plain)
        };
        let is_valid =
            name.len() <= LONGEST && name.contains('/') && name.split('/').all(part_is_valid);
        if is_valid {
            Ok(Self(name.to_owned()))
        } else {
            Err(InvalidRepositoryName)
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// GitHub and GitLab find repositories without regard to case, so two spellings are one repository.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl TryFrom<String> for RepositoryName {
    type Error = InvalidRepositoryName;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::parse(&name)
    }
}

impl From<RepositoryName> for String {
    fn from(name: RepositoryName) -> Self {
        name.0
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
