//! What is on record, as JSON. The API and the command line say it in the same words.

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::{IntoResponses, ToSchema};

use crate::{
    domain::{
        approval::Approver,
        audit::event::{Event, Person},
        diff::FieldChange,
        moment::rfc3339,
    },
    store::{ApprovalEntry, ChangeEntry, CommitRef, Delivery, ObjectEntry, Page, Run, StackState},
};

/// A page of a list, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct List<T> {
    pub items: Vec<T>,
    /// Give it as `before` to go on to what is older. Null at the end; the last page may be empty.
    pub before: Option<String>,
    /// Give it as `after` to see what is newer, now or later.
    pub after: Option<String>,
}

impl<T> List<T> {
    pub fn of<S>(page: Page<S>, view: impl Fn(&S) -> T) -> Self {
        Self {
            items: page.items.iter().map(view).collect(),
            before: page.before.map(|cursor| cursor.to_string()),
            after: page.after.map(|cursor| cursor.to_string()),
        }
    }
}

/// A person as a Git host or the configuration names them.
#[derive(Debug, Serialize, ToSchema)]
pub struct PersonView {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Where they called from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

impl PersonView {
    pub fn of(person: &Person) -> Self {
        let Person {
            name,
            login,
            email,
            address,
        } = person.clone();
        Self {
            name,
            login,
            email,
            address,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CommitView {
    pub id: String,
    pub message: String,
    pub author: Option<PersonView>,
}

impl CommitView {
    fn of(commit: &CommitRef) -> Self {
        let CommitRef {
            id,
            message,
            author,
        } = commit;
        Self {
            id: id.clone(),
            message: message.clone(),
            author: author.as_ref().map(PersonView::of),
        }
    }
}

/// One attempt to converge a stack.
#[derive(Debug, Serialize, ToSchema)]
pub struct RunView {
    pub run: String,
    pub stack: String,
    pub target: String,
    /// The node of the target; empty for a target of one.
    pub node: String,
    pub trigger: String,
    pub status: String,
    pub revision: Option<String>,
    pub previous: Option<String>,
    pub attempt: i64,
    pub started_at: String,
    pub finished_at: Option<String>,
    pub pusher: Option<PersonView>,
    pub commits: Vec<CommitView>,
    pub worker: String,
    pub version: String,
    pub gateway_version: Option<String>,
    pub message: Option<String>,
    pub plan_hash: Option<String>,
    /// How many changes it has; `/api/v1/changes?run=` lists them.
    pub changes: i64,
}

impl RunView {
    pub fn of(run: &Run) -> Self {
        Self {
            run: run.id.to_string(),
            stack: run.stack.clone(),
            target: run.target.clone(),
            node: run.node.clone(),
            trigger: run.trigger.to_string(),
            status: run.status.to_string(),
            revision: run.revision.as_ref().map(ToString::to_string),
            previous: run.previous.as_ref().map(ToString::to_string),
            attempt: run.attempt,
            started_at: rfc3339(run.started_at),
            finished_at: run.finished_at.map(rfc3339),
            pusher: run.pusher.as_ref().map(PersonView::of),
            commits: run.commits.iter().map(CommitView::of).collect(),
            worker: run.worker.clone(),
            version: run.version.clone(),
            gateway_version: run.gateway_version.clone(),
            message: run.message.clone(),
            plan_hash: run.plan_hash.map(|hash| hash.to_string()),
            changes: run.changes,
        }
    }
}

/// A run with the deliveries that it stands for and the decisions that let it go.
#[derive(Debug, Serialize, ToSchema)]
pub struct WholeRun {
    #[serde(flatten)]
    pub run: RunView,
    pub deliveries: Vec<DeliveryView>,
    pub approvals: Vec<ApprovalView>,
}

/// One field that differs; what was secret is a keyed hash.
#[derive(Debug, Serialize, ToSchema)]
pub struct FieldView {
    /// A JSON pointer.
    pub pointer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

impl FieldView {
    pub fn of(field: &FieldChange) -> Self {
        let FieldChange {
            pointer,
            before,
            after,
        } = field.clone();
        Self {
            pointer,
            before,
            after,
        }
    }
}

/// What a run did to one object.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChangeView {
    pub run: String,
    pub position: i64,
    pub stack: String,
    pub target: String,
    pub node: String,
    pub object: String,
    pub action: String,
    pub reason: String,
    pub outcome: String,
    pub message: Option<String>,
    pub started_at: String,
    pub finished_at: Option<String>,
    pub trigger: String,
    pub status: String,
    pub revision: Option<String>,
    pub pusher: Option<PersonView>,
    pub before: Option<String>,
    pub after: Option<String>,
    pub fields: Vec<FieldView>,
}

impl ChangeView {
    pub fn of(entry: &ChangeEntry) -> Self {
        let change = &entry.change;
        Self {
            run: entry.run.to_string(),
            position: change.position,
            stack: entry.stack.clone(),
            target: entry.target.clone(),
            node: entry.node.clone(),
            object: change.object.to_string(),
            action: change.action.to_string(),
            reason: change.reason.clone(),
            outcome: change.outcome.to_string(),
            message: change.message.clone(),
            started_at: rfc3339(entry.at),
            finished_at: entry.finished_at.map(rfc3339),
            trigger: entry.trigger.to_string(),
            status: entry.status.to_string(),
            revision: entry.revision.as_ref().map(ToString::to_string),
            pusher: entry.pusher.as_ref().map(PersonView::of),
            before: change.before.map(|digest| digest.to_string()),
            after: change.after.map(|digest| digest.to_string()),
            fields: change.fields.iter().map(FieldView::of).collect(),
        }
    }
}

/// One event of the history, whose hash covers the header, the payload and the event before.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventView {
    /// What one filters by: `seq`, `type`, `at` in microseconds, `actor`, `target`, `stack`,
    /// `object`, `run`, and `v`, the version of the format.
    pub header: Value,
    /// What happened; its members go by the type.
    pub payload: Value,
    /// What the commitments in the payload stand for, as far as it was not erased.
    pub people: Vec<OpeningView>,
    pub hash: String,
    pub previous: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct OpeningView {
    pub commitment: String,
    pub person: Value,
}

impl EventView {
    pub fn of(event: &Event) -> Self {
        let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
        Self {
            header: parse(&event.header),
            payload: parse(&event.payload),
            people: event
                .people
                .iter()
                .map(|opening| OpeningView {
                    commitment: opening.commitment.to_string(),
                    person: parse(&opening.value),
                })
                .collect(),
            hash: event.hash.to_string(),
            previous: event.previous.to_string(),
        }
    }
}

/// A verified request of a Git host.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryView {
    pub id: String,
    pub webhook: String,
    pub event: String,
    pub repository: Option<String>,
    #[serde(rename = "ref")]
    pub git_ref: Option<String>,
    pub before: Option<String>,
    pub after: Option<String>,
    pub forced: bool,
    pub pusher: Option<PersonView>,
    pub commits: Vec<CommitView>,
    pub body_sha256: String,
    pub received_at: String,
    pub trace: Option<String>,
}

impl DeliveryView {
    pub fn of(delivery: &Delivery) -> Self {
        let Delivery {
            id,
            webhook,
            event,
            repository,
            git_ref,
            before,
            after,
            commits,
            forced,
            pusher,
            body_sha256,
            received_at,
            trace,
        } = delivery;
        Self {
            id: id.clone(),
            webhook: webhook.clone(),
            event: event.clone(),
            repository: repository.clone(),
            git_ref: git_ref.clone(),
            before: before.as_ref().map(ToString::to_string),
            after: after.as_ref().map(ToString::to_string),
            forced: *forced,
            pusher: pusher.as_ref().map(PersonView::of),
            commits: commits.iter().map(CommitView::of).collect(),
            body_sha256: body_sha256.clone(),
            received_at: rfc3339(*received_at),
            trace: trace.as_ref().map(ToString::to_string),
        }
    }
}

/// What somebody decided on a plan that waited.
#[derive(Debug, Serialize, ToSchema)]
pub struct ApprovalView {
    pub id: String,
    pub stack: String,
    pub plan: String,
    /// The run that was named.
    pub run: String,
    pub choice: String,
    /// The name of a person of the configuration; null without a token.
    pub person: Option<String>,
    /// Without a token: what the operating system said.
    pub local_user: Option<String>,
    pub reason: String,
    pub at: String,
    pub expires_at: String,
    /// The run that it let go.
    pub used_by: Option<String>,
    pub voided_at: Option<String>,
}

impl ApprovalView {
    pub fn of(entry: &ApprovalEntry) -> Self {
        let (person, local_user) = match &entry.by {
            Approver::Person(name) => (Some(name.clone()), None),
            Approver::Local(user) => (None, Some(user.clone())),
        };
        Self {
            id: entry.id.clone(),
            stack: entry.stack.clone(),
            plan: entry.plan_hash.to_string(),
            run: entry.run.to_string(),
            choice: entry.choice.to_string(),
            person,
            local_user,
            reason: entry.reason.clone(),
            at: rfc3339(entry.at),
            expires_at: rfc3339(entry.expires_at),
            used_by: entry.used_by.as_ref().map(ToString::to_string),
            voided_at: entry.voided_at.map(rfc3339),
        }
    }
}

/// An object that a stack owns, by the record of ownership.
#[derive(Debug, Serialize, ToSchema)]
pub struct ObjectView {
    pub target: String,
    pub node: String,
    pub object: String,
    /// The stack that owns it.
    pub owner: String,
    /// The file that described it when it was applied last.
    pub path: Option<String>,
    /// The run that applied it last.
    pub run: String,
    pub desired: String,
    /// Null while its last write is unresolved.
    pub observed: Option<String>,
    pub gateway_version: String,
    pub since: String,
    pub observed_at: String,
}

impl ObjectView {
    pub fn of(entry: &ObjectEntry) -> Self {
        let owned = &entry.owned;
        Self {
            target: entry.target.clone(),
            node: entry.node.clone(),
            object: entry.object.to_string(),
            owner: owned.stack.clone(),
            path: owned.path.clone(),
            run: owned.run.to_string(),
            desired: owned.desired.to_string(),
            observed: owned.observed.map(|digest| digest.to_string()),
            gateway_version: owned.gateway_version.clone(),
            since: rfc3339(owned.since),
            observed_at: rfc3339(owned.observed_at),
        }
    }
}

/// How a stack stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct StackView {
    pub stack: String,
    pub target: String,
    pub repository: String,
    pub branch: String,
    /// Whether something is asked for that is not done yet.
    pub pending: bool,
    pub settled: Option<String>,
    pub settled_at: Option<String>,
    pub last_status: Option<String>,
    pub last_run: Option<String>,
    pub problem: Option<String>,
    pub drifted: i64,
    pub drift_checked_at: Option<String>,
    /// Why it is on hold, if it is.
    pub held: Option<String>,
    pub objects: i64,
}

impl StackView {
    pub fn of(stack: &crate::app::Stack, state: Option<&StackState>, objects: i64) -> Self {
        let of = |read: fn(&StackState) -> Option<String>| state.and_then(read);
        Self {
            stack: stack.name.clone(),
            target: stack.target.name.clone(),
            repository: stack.repository.clone(),
            branch: stack.branch.as_str().to_owned(),
            pending: state.is_some_and(StackState::is_pending),
            settled: of(|state| state.settled.as_ref().map(ToString::to_string)),
            settled_at: of(|state| state.settled_at.map(rfc3339)),
            last_status: of(|state| state.last_status.map(|status| status.to_string())),
            last_run: of(|state| state.last_run.as_ref().map(ToString::to_string)),
            problem: of(|state| state.problem.clone()),
            drifted: state.map_or(0, |state| state.drifted),
            drift_checked_at: of(|state| state.drift_checked_at.map(rfc3339)),
            held: of(|state| state.hold.as_ref().map(|hold| hold.reason.clone())),
            objects,
        }
    }
}

/// A target and its nodes.
#[derive(Debug, Serialize, ToSchema)]
pub struct TargetView {
    pub target: String,
    /// Host and port of each.
    pub nodes: Vec<String>,
    pub stacks: Vec<String>,
    /// Whether the record of ownership may be older than the target.
    pub doubtful: bool,
}

/// How every route that reads may answer beside what was asked for.
#[derive(IntoResponses)]
pub enum Unread {
    /// As the `ETag` says
    #[response(status = 304)]
    Known,
    /// There is no valid token in the request
    #[response(status = 401)]
    Unknown(ErrorBody),
    /// The token is not for that, or the request comes from a page of another site
    #[response(status = 403)]
    Forbidden(ErrorBody),
    /// The token asks too often; Retry-After says when to go on
    #[response(status = 429)]
    TooOften(ErrorBody),
    /// The database does not answer, or too many ask at once; Retry-After says when to go on
    #[response(status = 503)]
    Busy(ErrorBody),
}

/// How every route that does something may answer beside having done it.
#[derive(IntoResponses)]
pub enum Undone {
    /// There is no valid token in the request
    #[response(status = 401)]
    Unknown(ErrorBody),
    /// The token is not for that, or the request comes from a page of another site
    #[response(status = 403)]
    Forbidden(ErrorBody),
    /// There is no such thing
    #[response(status = 404)]
    Absent(ErrorBody),
    /// It cannot be done as things stand
    #[response(status = 409)]
    Refused(ErrorBody),
    /// Something of what is asked is wrong; the message names it
    #[response(status = 422)]
    Invalid(ErrorBody),
    /// The database does not answer; Retry-After says when to go on
    #[response(status = 503)]
    Busy(ErrorBody),
}

/// What is said when something is wrong.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    pub error: ErrorView,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorView {
    /// One of a small closed set.
    pub code: String,
    /// A sentence.
    pub message: String,
}

/// The same page under the list's own name, as the command line prints it.
pub fn named<T: Serialize>(name: &str, list: &List<T>) -> Value {
    json!({name: list.items, "before": list.before, "after": list.after})
}
