//! Names of branches and tags, checked by Git's own rules and one more. A name that passed is still never
//! an address: it is compared with the branch that the configuration names.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::text::displayable;

const LONGEST_NAME: usize = 1024;
const LONGEST_COMPONENT: usize = 255;

/// A branch or tag by its short name. Any other namespace of refs is of no interest here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GitRef {
    Branch(RefName),
    Tag(RefName),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRef {
    #[error("not a name that Git allows for a branch or tag")]
    Name,
    #[error("a ref that is neither a branch nor a tag")]
    OtherNamespace,
}

impl GitRef {
    /// The full ref: `refs/heads/main`.
    pub fn parse(full: &str) -> Result<Self, InvalidRef> {
        if let Some(name) = full.strip_prefix("refs/heads/") {
            RefName::parse(name).map(Self::Branch)
        } else if let Some(name) = full.strip_prefix("refs/tags/") {
            RefName::parse(name).map(Self::Tag)
        } else if let Some(other) = full.strip_prefix("refs/") {
            RefName::parse(other).and(Err(InvalidRef::OtherNamespace))
        } else {
            Err(InvalidRef::Name)
        }
    }

    pub fn branch(&self) -> Option<&RefName> {
        match self {
            Self::Branch(name) => Some(name),
            Self::Tag(_) => None,
        }
    }
}

/// The full ref, for people: see [`RefName`]'s `Display`.
impl fmt::Display for GitRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Branch(name) => write!(formatter, "refs/heads/{name}"),
            Self::Tag(name) => write!(formatter, "refs/tags/{name}"),
        }
    }
}

/// The short name, exactly as Git has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RefName(String);

impl RefName {
    /// The rules of `git check-ref-format`, and no leading `-`: Git itself takes `refs/heads/-x`, but a
    /// short name like that would be read as an option by whatever gets it as an argument.
    pub fn parse(name: &str) -> Result<Self, InvalidRef> {
        let is_forbidden = |byte: u8| {
            byte.is_ascii_control()
                || matches!(byte, b' ' | b'~' | b'^' | b':' | b'?' | b'*' | b'[' | b'\\')
        };
        let component_is_valid = |component: &str| {
            !component.is_empty()
                && component.len() <= LONGEST_COMPONENT
                && !component.starts_with('.')
                && component.strip_suffix(".lock").is_none()
        };
        let is_valid = name.len() <= LONGEST_NAME
            && !name.starts_with('-')
            && !name.ends_with('.')
            && name != "@"
            && !name.contains("..")
            && !name.contains("@{")
            && !name.bytes().any(is_forbidden)
            && name.split('/').all(component_is_valid);
        if is_valid {
            Ok(Self(name.to_owned()))
        } else {
            Err(InvalidRef::Name)
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RefName {
    type Error = InvalidRef;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::parse(&name)
    }
}

impl From<RefName> for String {
    fn from(name: RefName) -> Self {
        name.0
    }
}

/// For people: what Git allows but a terminal would act upon is spelled out. `as_str` has the exact name.
impl fmt::Display for RefName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&displayable(&self.0, LONGEST_NAME))
    }
}
