//! GitHub's headers and payloads. The event's name stands in a header that no signature covers; a body that
//! is not of the kind that the header claims is malformed, never reinterpreted.

use serde::Deserialize;

use super::{
    DeliveryId, Event, GitRef, Headers, InvalidRef, Malformation, Person, PushEvent, Rejection,
    RepositoryId, Verified,
    event::{COMMITS_KEPT, NewestCommits, Text, parse_repository_name, parse_revision_or_zeros},
    parse_object,
    signature::{Proof, is_visible_id, prefixed_sha256},
};

/// GitHub lists at most this many commits, and says nowhere how many there were.
const MOST_COMMITS_LISTED: usize = 2048;
/// A list that GitHub may have cut is never kept whole, so that it is never taken for complete.
const _: () = assert!(COMMITS_KEPT < MOST_COMMITS_LISTED);
/// Branches that a merge queue makes and deletes by itself.
const MERGE_QUEUE_PREFIX: &str = "gh-readonly-queue/";

pub(super) fn proof<'a>(headers: &Headers<'a>) -> Result<Proof<'a>, Rejection> {
    let header = headers
        .get("x-hub-signature-256")
        .map_err(|_| Rejection::BadSignature)?
        .ok_or(Rejection::MissingSignature)?;
    let digest = prefixed_sha256(header).ok_or(Rejection::BadSignature)?;
    Ok(Proof::BodyDigest(digest))
}

pub(super) fn delivery(headers: &Headers<'_>) -> Result<DeliveryId, Rejection> {
    const UNUSABLE: Rejection = Rejection::Malformed(Malformation::DeliveryId);
    let read = |name| match headers.get(name) {
        Ok(Some(id)) if is_visible_id(id) => Ok(Some(id.to_owned())),
        Ok(None) => Ok(None),
        Ok(Some(_)) | Err(_) => Err(UNUSABLE),
    };
    Ok(DeliveryId {
        hook: read("x-github-hook-id")?,
        id: read("x-github-delivery")?.ok_or(UNUSABLE)?,
    })
}

pub(super) fn event(headers: &Headers<'_>, verified: &Verified<'_>) -> Result<Event, Rejection> {
    let name = headers.get("x-github-event").ok().flatten();
    match name {
        Some("push") => push(&verified.json()?),
        Some("ping") => parse_object::<Ping>(&verified.json()?).map(|Ping {}| Event::Ping),
        Some(other) if !other.is_empty() => Ok(Event::ignored(other)),
        _ => Err(Rejection::Malformed(Malformation::EventName)),
    }
}

/// Read only to see that the body can be read: a ping is there to find that out.
#[derive(Deserialize)]
struct Ping {}

#[derive(Deserialize)]
struct Push<'b> {
    #[serde(borrow, rename = "ref")]
    full_ref: Text<'b>,
    #[serde(borrow)]
    before: Text<'b>,
    #[serde(borrow)]
    after: Text<'b>,
    #[serde(default)]
    forced: bool,
    #[serde(borrow)]
    commits: Option<NewestCommits<'b>>,
    #[serde(borrow)]
    repository: Repository<'b>,
    #[serde(borrow)]
    pusher: Option<Pusher<'b>>,
    #[serde(borrow)]
    sender: Option<Sender<'b>>,
}

#[derive(Deserialize)]
struct Repository<'b> {
    id: Option<u64>,
    #[serde(borrow)]
    full_name: Text<'b>,
}

#[derive(Deserialize)]
struct Pusher<'b> {
    #[serde(borrow)]
    name: Option<Text<'b>>,
    #[serde(borrow)]
    email: Option<Text<'b>>,
}

#[derive(Deserialize)]
struct Sender<'b> {
    #[serde(borrow)]
    login: Option<Text<'b>>,
}

fn push(json: &[u8]) -> Result<Event, Rejection> {
    let Push {
        full_ref,
        before,
        after,
        forced,
        commits,
        repository,
        pusher,
        sender,
    } = parse_object(json)?;
    let git_ref = match GitRef::parse(&full_ref) {
        Ok(git_ref) => git_ref,
        Err(InvalidRef::OtherNamespace) => {
            return Ok(Event::ignored("push to another kind of ref"));
        }
        Err(InvalidRef::Name) => return Err(Rejection::Malformed(Malformation::Ref)),
    };
    let is_merge_queue = git_ref
        .branch()
        .is_some_and(|name| name.as_str().starts_with(MERGE_QUEUE_PREFIX));
    if is_merge_queue {
        return Ok(Event::ignored("push to a merge queue"));
    }
    let before = parse_revision_or_zeros(&before)?;
    let after = parse_revision_or_zeros(&after)?;
    if before.is_none() && after.is_none() {
        return Err(Rejection::Malformed(Malformation::Revision));
    }
    let commits = commits.unwrap_or_default();
    let commits_complete = commits.all_kept();
    let (name, email) = pusher.map_or((None, None), |pusher| (pusher.name, pusher.email));
    Ok(Event::Push(PushEvent {
        repository: RepositoryId {
            id: repository.id.map(|id| id.to_string()),
            full_name: parse_repository_name(&repository.full_name)?,
        },
        git_ref,
        before,
        after,
        forced,
        commits: commits.into_commits()?,
        commits_complete,
        pusher: Person::from_texts(name, sender.and_then(|sender| sender.login), email),
    }))
}
