//! GitLab's headers and payloads. The kind of event is read from the body: the header that names it is not
//! signed, and it calls every event of a system hook the same.

use serde::Deserialize;

use super::{
    DeliveryId, Event, GitRef, HeaderProblem, Headers, InvalidRef, Malformation, Person, PushEvent,
    Rejection, RepositoryId, Verified,
    event::{NewestCommits, Text, parse_repository_name, parse_revision_or_zeros},
    parse_object,
    signature::{Proof, StandardSignature, is_visible_id},
};

const LONGEST_TOKEN: usize = 4096;

pub(super) fn token_proof<'a>(headers: &Headers<'a>) -> Result<Proof<'a>, Rejection> {
    let token = headers
        .get_bytes("x-gitlab-token")
        .map_err(|_| Rejection::BadSignature)?
        .ok_or(Rejection::MissingSignature)?;
    if token.is_empty() || token.len() > LONGEST_TOKEN {
        return Err(Rejection::BadSignature);
    }
    Ok(Proof::Token(token))
}

/// Without the signature there is no way back to the token: the configuration asked for a signature.
pub(super) fn signature_proof<'a>(headers: &Headers<'a>) -> Result<Proof<'a>, Rejection> {
    let read = |name| {
        headers
            .get(name)
            .map_err(|_| Rejection::BadSignature)?
            .ok_or(Rejection::MissingSignature)
    };
    let signatures = read("webhook-signature")?;
    StandardSignature::parse(read("webhook-id")?, read("webhook-timestamp")?, signatures)
        .map(Proof::Standard)
        .ok_or(Rejection::BadSignature)
}

/// A signed id comes before an unsigned one, so that nobody makes a replay look new. The event's own id is
/// shared by the hooks that one event sets off, so the body's hash goes with it. `X-Gitlab-Webhook-UUID` is
/// of no use: GitLab draws a new one for every request.
pub(super) fn delivery(
    headers: &Headers<'_>,
    verified: &Verified<'_>,
    body_sha256: &str,
) -> Result<DeliveryId, Rejection> {
    const UNUSABLE: Rejection = Rejection::Malformed(Malformation::DeliveryId);
    let read = |name| headers.get(name).map_err(|_: HeaderProblem| UNUSABLE);
    let id = if let Some(id) = verified.signed_id {
        id.to_owned()
    } else if let Some(id) = read("idempotency-key")? {
        id.to_owned()
    } else if let Some(id) = read("webhook-id")? {
        id.to_owned()
    } else if let Some(id) = read("x-gitlab-event-uuid")?.filter(|id| !id.is_empty()) {
        format!("{id}:{body_sha256}")
    } else {
        return Err(UNUSABLE);
    };
    if is_visible_id(&id) {
        Ok(DeliveryId { hook: None, id })
    } else {
        Err(UNUSABLE)
    }
}

pub(super) fn event(verified: &Verified<'_>) -> Result<Event, Rejection> {
    let json = verified.json()?;
    let Kind {
        object_kind,
        event_name,
    } = parse_object(&json)?;
    let kind = [object_kind, event_name]
        .into_iter()
        .flatten()
        .find(|kind| !kind.is_empty())
        .ok_or(Rejection::Malformed(Malformation::EventName))?;
    match &*kind {
        "push" | "tag_push" => push(&json),
        other => Ok(Event::ignored(other)),
    }
}

/// System hooks leave `object_kind` out of some events.
#[derive(Deserialize)]
struct Kind<'b> {
    #[serde(borrow)]
    object_kind: Option<Text<'b>>,
    #[serde(borrow)]
    event_name: Option<Text<'b>>,
}

#[derive(Deserialize)]
struct Push<'b> {
    #[serde(borrow, rename = "ref")]
    full_ref: Text<'b>,
    #[serde(borrow)]
    before: Text<'b>,
    #[serde(borrow)]
    after: Text<'b>,
    #[serde(borrow)]
    checkout_sha: Option<Text<'b>>,
    #[serde(borrow)]
    user_name: Option<Text<'b>>,
    #[serde(borrow)]
    user_username: Option<Text<'b>>,
    #[serde(borrow)]
    user_email: Option<Text<'b>>,
    project_id: Option<u64>,
    #[serde(borrow)]
    project: Project<'b>,
    #[serde(borrow)]
    commits: Option<NewestCommits<'b>>,
    total_commits_count: Option<u64>,
}

#[derive(Deserialize)]
struct Project<'b> {
    id: Option<u64>,
    #[serde(borrow)]
    path_with_namespace: Text<'b>,
}

fn push(json: &[u8]) -> Result<Event, Rejection> {
    let Push {
        full_ref,
        before,
        after,
        checkout_sha,
        user_name,
        user_username,
        user_email,
        project_id,
        project,
        commits,
        total_commits_count,
    } = parse_object(json)?;
    let git_ref = match GitRef::parse(&full_ref) {
        Ok(git_ref) => git_ref,
        Err(InvalidRef::OtherNamespace) => {
            return Ok(Event::ignored("push to another kind of ref"));
        }
        Err(InvalidRef::Name) => return Err(Rejection::Malformed(Malformation::Ref)),
    };
    let before = parse_revision_or_zeros(&before)?;
    let after = match (parse_revision_or_zeros(&after)?, &git_ref, checkout_sha) {
        // The `after` of an annotated tag is the tag object; the commit is in `checkout_sha`.
        (Some(_), GitRef::Tag(_), Some(commit)) => parse_revision_or_zeros(&commit)?,
        (after, _, _) => after,
    };
    if before.is_none() && after.is_none() {
        return Err(Rejection::Malformed(Malformation::Revision));
    }
    let commits = commits.unwrap_or_default();
    let commits_complete = commits.all_kept() && total_commits_count == Some(commits.listed);
    Ok(Event::Push(PushEvent {
        repository: RepositoryId {
            id: project_id.or(project.id).map(|id| id.to_string()),
            full_name: parse_repository_name(&project.path_with_namespace)?,
        },
        git_ref,
        before,
        after,
        // GitLab does not say.
        forced: false,
        commits: commits.into_commits()?,
        commits_complete,
        pusher: Person::from_texts(user_name, user_username, user_email),
    }))
}
