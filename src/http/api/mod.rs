//! `/api/v1/…`: what people and their tools ask for with a token. Served by processes that work,
//! because everything here needs the database.
//!
//! Every route takes a token, on loopback too: a page in a browser, or any user of the machine, can
//! reach loopback, and whoever owns the machine has the command line. A token stands in a header
//! that browsers never send by themselves, so no page can borrow it.

pub mod auth;

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, State as Shared},
    http::{HeaderMap, StatusCode, header},
    routing::post,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tracing::error;

use self::auth::Api;
use super::{State, error::Error};
use crate::{
    app::Stack,
    domain::{
        approval::{Approver, Choice, Verdict, Weight},
        audit::event::{EventType, NewEvent},
        run::{RunId, Trigger},
        token::Scope,
    },
    message::Origin,
    store,
    sync::{
        approval::{self, DecideError, Voice},
        hold::{self, HoldError},
        ownership::Wish,
    },
};

pub const MAX_BODY: usize = 64 * 1024;
const BODY_TIME: Duration = Duration::from_secs(6);
const LONGEST_REASON: usize = 1_000;

pub fn router() -> Router<Arc<State>> {
    Router::new()
        .route("/api/v1/runs/{id}/approve", post(approve))
        .route("/api/v1/runs/{id}/reject", post(reject))
        .route("/api/v1/stacks/{name}/sync", post(sync))
        .route("/api/v1/stacks/{name}/hold", post(put_on_hold))
        .route("/api/v1/stacks/{name}/release", post(release))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Why {
    #[serde(default)]
    reason: String,
}

async fn approve(
    Shared(state): Shared<Arc<State>>,
    Path(run): Path<String>,
    origin: Origin,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Error> {
    decide(&state, run, Choice::Approve, &origin, &headers, body).await
}

async fn reject(
    Shared(state): Shared<Arc<State>>,
    Path(run): Path<String>,
    origin: Origin,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Error> {
    decide(&state, run, Choice::Reject, &origin, &headers, body).await
}

async fn decide(
    state: &State,
    run: String,
    choice: Choice,
    origin: &Origin,
    headers: &HeaderMap,
    body: Body,
) -> Result<Json<Value>, Error> {
    let (api, caller) = auth::caller(state, headers, origin, Scope::Approve).await?;
    let Why { reason } = read(headers, body).await?;
    let voice = Voice {
        by: Approver::Person(caller.person.clone()),
        asker: caller.asker("api"),
        token: Some(caller.token),
    };
    let run = RunId(run);
    let decided = approval::decide(&api.app, &run, choice, voice, &reason)
        .await
        .map_err(|error| undecided(&error))?;
    let mut answer = json!({
        "run": run,
        "stack": decided.stack,
        "plan": decided.hash,
        "decision": choice,
        "counts": decided.weight == Weight::Counts,
    });
    let (verdict, details) = match &decided.standing.verdict {
        Verdict::Awaiting { given, needed } => {
            ("awaiting", json!({"given": given, "needed": needed}))
        }
        Verdict::Approved => ("approved", json!({"expires_at": decided.expires_at})),
        Verdict::Expired => ("expired", json!({})),
        Verdict::Rejected { by, reason } => ("rejected", json!({"by": by, "reason": reason})),
    };
    answer["verdict"] = json!(verdict);
    if let (Some(answer), Value::Object(details)) = (answer.as_object_mut(), details) {
        answer.extend(details);
    }
    Ok(Json(answer))
}

fn undecided(error: &DecideError) -> Error {
    let (status, code) = match error {
        DecideError::Reason => (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
        DecideError::NoRun(_) => (StatusCode::NOT_FOUND, "not_found"),
        DecideError::Involved(_) | DecideError::Unknown(_) => (StatusCode::FORBIDDEN, "forbidden"),
        DecideError::NothingHeld(_)
        | DecideError::NoStack(_)
        | DecideError::WaitsNoMore { .. }
        | DecideError::Differs { .. } => (StatusCode::CONFLICT, "conflict"),
        DecideError::Store(error) => return of_store(error),
    };
    Error::told(status, code, error.to_string())
}

async fn sync(
    Shared(state): Shared<Arc<State>>,
    Path(name): Path<String>,
    origin: Origin,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Error> {
    let (api, caller) = auth::caller(&state, &headers, &origin, Scope::Operate).await?;
    let Why { reason } = read(&headers, body).await?;
    let reason = checked(&reason)?;
    let stack = stack(api, &name)?;
    let app = &api.app;
    let state = app.store.stack_state(&stack.name).await;
    let state = state.map_err(|error| of_store(&error))?;
    let standing = state.and_then(|state| state.hold);
    if let Some(standing) = standing.filter(|hold| !hold.is_over(app.now())) {
        let why = hold::held(stack, &standing);
        return Err(Error::told(StatusCode::CONFLICT, "conflict", why));
    }
    let asker = caller.asker("api");
    let payload = json!({"reason": reason, "token": caller.token});
    let event = NewEvent {
        target: Some(stack.target.name.clone()),
        stack: Some(stack.name.clone()),
        people: vec![("operator".to_owned(), asker.on_record())],
        ..app
            .event(EventType::RunRequested, asker.actor, payload)
            .traced(asker.trace.as_ref())
    };
    app.store
        .ask_for_run(&stack.id(), Trigger::Manual, &event)
        .await
        .map_err(|error| of_store(&error))?;
    let answer = json!({"status": "accepted", "stack": stack.name});
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct HoldWish {
    #[serde(default)]
    reason: String,
    /// As `lockstep hold --until` takes it; without it until it is released.
    until: Option<String>,
}

async fn put_on_hold(
    Shared(state): Shared<Arc<State>>,
    Path(name): Path<String>,
    origin: Origin,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Error> {
    let (api, caller) = auth::caller(&state, &headers, &origin, Scope::Operate).await?;
    let HoldWish { reason, until } = read(&headers, body).await?;
    let stack = stack(api, &name)?;
    let until = until
        .map(|until| stack.freeze.parse_until(&until, api.app.now()))
        .transpose()
        .map_err(|error| unheld(&error.into()))?;
    let wish = Wish {
        by: caller.asker("api"),
        reason: hold::reason(&reason).map_err(|error| unheld(&error))?,
    };
    let held = hold::hold(&api.app, stack, until, wish)
        .await
        .map_err(|error| unheld(&error))?;
    Ok(Json(json!({
        "stack": stack.name,
        "since": held.since,
        "until": held.until,
        "reason": held.reason,
        "says": hold::held(stack, &held),
    })))
}

async fn release(
    Shared(state): Shared<Arc<State>>,
    Path(name): Path<String>,
    origin: Origin,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Error> {
    let (api, caller) = auth::caller(&state, &headers, &origin, Scope::Operate).await?;
    let Why { reason } = read(&headers, body).await?;
    let reason = Some(checked(&reason)?).filter(|reason| !reason.is_empty());
    let stack = stack(api, &name)?;
    let ended = hold::release(&api.app, stack, reason, &caller.asker("api"))
        .await
        .map_err(|error| unheld(&error))?;
    Ok(Json(json!({"stack": stack.name, "waited": ended.waited})))
}

fn unheld(problem: &HoldError) -> Error {
    let status = match problem {
        HoldError::Refused(_) => StatusCode::CONFLICT,
        HoldError::Until(_) => StatusCode::UNPROCESSABLE_ENTITY,
        HoldError::Store(error) => return of_store(error),
        HoldError::Look(_) | HoldError::Run(_) => {
            error!(error = %problem, "a request could not be served");
            return Error::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "something went wrong here; it is in the log",
            );
        }
    };
    Error::told(status, "refused", problem.to_string())
}

fn stack<'a>(api: &'a Api, name: &str) -> Result<&'a Arc<Stack>, Error> {
    api.app.stack(name).ok_or(Error::new(
        StatusCode::NOT_FOUND,
        "not_found",
        "there is no such stack",
    ))
}

fn checked(reason: &str) -> Result<&str, Error> {
    let reason = reason.trim();
    if reason.chars().count() > LONGEST_REASON {
        return Err(Error::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid",
            "a reason has 1000 characters at most",
        ));
    }
    Ok(reason)
}

/// The database is away, or something is wrong with it; what, is for the log.
fn of_store(problem: &store::Error) -> Error {
    error!(error = %problem, "a request could not be served: the store failed");
    if problem.is_transient() {
        return Error::busy("the database does not answer; try again");
    }
    Error::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "something went wrong here; it is in the log",
    )
}

/// The body as JSON, within its bounds; no body at all stands for an empty object.
async fn read<T: DeserializeOwned + Default>(headers: &HeaderMap, body: Body) -> Result<T, Error> {
    let read = axum::body::to_bytes(body, MAX_BODY);
    let bytes = tokio::time::timeout(BODY_TIME, read)
        .await
        .map_err(|_| {
            Error::new(
                StatusCode::REQUEST_TIMEOUT,
                "timeout",
                "the body took too long to arrive",
            )
        })?
        .map_err(|_| {
            Error::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                "the body is larger than 64 KiB, or broke off",
            )
        })?;
    if bytes.is_empty() {
        return Ok(T::default());
    }
    let content_type = headers.get(header::CONTENT_TYPE);
    let is_json = content_type
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.split(';').next())
        .is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json"));
    if !is_json {
        return Err(Error::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "send application/json",
        ));
    }
    serde_json::from_slice(&bytes).map_err(|problem| {
        Error::told(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid",
            format!("the body cannot be read: {problem}"),
        )
    })
}
