//! What a verified request says, in one vocabulary for all hosts. The types can be serialised because they
//! travel through the queue; what comes back from it is checked as strictly as what came from the host.

use std::{borrow::Cow, collections::VecDeque, fmt, marker::PhantomData, ops::Deref};

use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{SeqAccess, Visitor},
};

use super::{
    GitRef, Malformation, Rejection, RepositoryName,
    text::{displayable, first_line},
};
use crate::domain::revision::Revision;

/// How many commits of a push are kept, the newest ones. A message on the queue stays well below one
/// megabyte with that, whatever the commits say.
pub const COMMITS_KEPT: usize = 250;

const LONGEST_MESSAGE: usize = 200;
const LONGEST_PERSON: usize = 100;
const LONGEST_KIND: usize = 64;

/// Names a delivery for de-duplication. A host repeats it when it delivers the same event again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeliveryId {
    /// GitHub shares one delivery id among all webhooks that an event goes to, so the hook is part of it.
    pub hook: Option<String>,
    pub id: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    clippy::large_enum_variant,
    reason = "most events that matter are pushes"
)]
pub enum Event {
    Push(PushEvent),
    Ping,
    /// Valid, and of no use to us. `kind` is safe to show.
    Ignored {
        kind: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushEvent {
    pub repository: RepositoryId,
    pub git_ref: GitRef,
    /// `None`: the push created the ref.
    pub before: Option<Revision>,
    /// `None`: the push deleted the ref. For a tag this may be the tag's own id at GitHub.
    pub after: Option<Revision>,
    pub forced: bool,
    /// Oldest first.
    pub commits: Vec<Commit>,
    /// False when the host, or [`COMMITS_KEPT`], left commits out.
    pub commits_complete: bool,
    pub pusher: Option<Person>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryId {
    /// The host's own number, which outlives renames.
    pub id: Option<String>,
    pub full_name: RepositoryName,
}

/// Every text is safe to show and capped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    pub id: Revision,
    pub author_name: Option<String>,
    pub author_email: Option<String>,
    /// The first line of the message.
    pub message: String,
    pub timestamp: Option<Timestamp>,
}

/// Every text is safe to show and capped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    pub name: Option<String>,
    pub login: Option<String>,
    pub email: Option<String>,
}

impl Event {
    pub(super) fn ignored(kind: &str) -> Self {
        Self::Ignored {
            kind: displayable(kind, LONGEST_KIND),
        }
    }
}

impl Person {
    /// `None` when the host named nobody.
    pub(super) fn from_texts(
        name: Option<Text<'_>>,
        login: Option<Text<'_>>,
        email: Option<Text<'_>>,
    ) -> Option<Self> {
        let person = Self {
            name: shown_person(name),
            login: shown_person(login),
            email: shown_person(email),
        };
        let Self { name, login, email } = &person;
        let is_somebody = name.is_some() || login.is_some() || email.is_some();
        is_somebody.then_some(person)
    }
}

/// A text of a payload, where it lies in the body unless it has escapes.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'b>(#[serde(borrow)] Cow<'b, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// A commit as both hosts write it. Lists of files are passed over: no host's list is complete.
#[derive(Deserialize)]
pub(super) struct WireCommit<'b> {
    #[serde(borrow)]
    id: Text<'b>,
    #[serde(borrow)]
    message: Option<Text<'b>>,
    #[serde(borrow)]
    timestamp: Option<Text<'b>>,
    #[serde(borrow)]
    author: Option<WireAuthor<'b>>,
}

#[derive(Deserialize)]
struct WireAuthor<'b> {
    #[serde(borrow)]
    name: Option<Text<'b>>,
    #[serde(borrow)]
    email: Option<Text<'b>>,
}

impl TryFrom<WireCommit<'_>> for Commit {
    type Error = Rejection;

    fn try_from(wire: WireCommit<'_>) -> Result<Self, Rejection> {
        let WireCommit {
            id,
            message,
            timestamp,
            author,
        } = wire;
        let (author_name, author_email) =
            author.map_or((None, None), |author| (author.name, author.email));
        Ok(Self {
            id: parse_revision(&id)?,
            author_name: shown_person(author_name),
            author_email: shown_person(author_email),
            message: displayable(
                first_line(message.as_deref().unwrap_or_default()),
                LONGEST_MESSAGE,
            ),
            timestamp: timestamp.and_then(|timestamp| timestamp.parse().ok()),
        })
    }
}

/// The newest [`COMMITS_KEPT`] commits of a list of any length: memory does not grow with the list.
#[derive(Default)]
pub(super) struct NewestCommits<'b> {
    kept: VecDeque<WireCommit<'b>>,
    pub(super) listed: u64,
}

impl NewestCommits<'_> {
    pub(super) fn all_kept(&self) -> bool {
        u64::try_from(self.kept.len()) == Ok(self.listed)
    }

    pub(super) fn into_commits(self) -> Result<Vec<Commit>, Rejection> {
        self.kept.into_iter().map(Commit::try_from).collect()
    }
}

impl<'de: 'b, 'b> Deserialize<'de> for NewestCommits<'b> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Newest<'b>(PhantomData<&'b ()>);

        impl<'de: 'b, 'b> Visitor<'de> for Newest<'b> {
            type Value = NewestCommits<'b>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list of commits")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut commits = NewestCommits::default();
                while let Some(commit) = list.next_element()? {
                    if commits.kept.len() == COMMITS_KEPT {
                        commits.kept.pop_front();
                    }
                    commits.kept.push_back(commit);
                    commits.listed += 1;
                }
                Ok(commits)
            }
        }

        deserializer.deserialize_seq(Newest(PhantomData))
    }
}

pub(super) fn parse_revision(text: &str) -> Result<Revision, Rejection> {
    text.parse()
        .map_err(|_| Rejection::Malformed(Malformation::Revision))
}

/// Hosts write zeros, as many as their ids are long, where there is no commit.
pub(super) fn parse_revision_or_zeros(text: &str) -> Result<Option<Revision>, Rejection> {
    let revision = parse_revision(text)?;
    let is_zeros = text.bytes().all(|byte| byte == b'0');
    Ok((!is_zeros).then_some(revision))
}

pub(super) fn parse_repository_name(text: &str) -> Result<RepositoryName, Rejection> {
    RepositoryName::parse(text).map_err(|_| Rejection::Malformed(Malformation::RepositoryName))
}

fn shown_person(text: Option<Text<'_>>) -> Option<String> {
    text.filter(|text| !text.trim().is_empty())
        .map(|text| displayable(&text, LONGEST_PERSON))
}
