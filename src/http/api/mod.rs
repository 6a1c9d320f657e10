//! `/api/v1/…`: what people and their tools ask for with a token. Served by processes that work,
//! because everything here needs the database.
//!
//! Every route takes a token, on loopback too: a page in a browser, or any user of the machine, can
//! reach loopback, and whoever owns the machine has the command line. A token stands in a header
//! that browsers never send by themselves, so no page can borrow it.

pub mod auth;
pub mod limits;
mod origin;
mod query;
pub mod view;

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, State as Shared},
    http::{HeaderMap, StatusCode, header},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tracing::error;
use utoipa::{
    ToSchema,
    openapi::{
        Components, InfoBuilder, OpenApi, OpenApiBuilder,
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use self::{auth::Api, view::Undone};
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

/// Every route of the API. What takes a request is also what tells of it: a route comes into the
/// router with its part of the document.
fn routes() -> OpenApiRouter<Arc<State>> {
    OpenApiRouter::with_openapi(about())
        .merge(query::router())
        .routes(routes!(approve))
        .routes(routes!(reject))
        .routes(routes!(sync))
        .routes(routes!(put_on_hold))
        .routes(routes!(release))
        .routes(routes!(document))
}

pub fn router() -> Router<Arc<State>> {
    let (router, _) = routes().split_for_parts();
    router.layer(axum::middleware::from_fn(origin::refuse_others))
}

/// The OpenAPI document.
pub fn openapi() -> OpenApi {
    let (_, document) = routes().split_for_parts();
    document
}

fn about() -> OpenApi {
    let token = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A token, as `lockstep token create` makes it."))
        .build();
    let mut components = Components::new();
    components.add_security_scheme("token", SecurityScheme::Http(token));
    let info = InfoBuilder::new()
        .title("Lockstep")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Lists are newest first and come in pages: give `before` of a page to go on to what \
             is older, `after` to see what is newer. A page may hold fewer items than the limit, \
             or none, and still have more behind it: it ends where `before` is null. Times are \
             RFC 3339 in UTC; within events they are microseconds since 1970.",
        ))
        .build();
    OpenApiBuilder::new()
        .info(info)
        .components(Some(components))
        .security(Some([SecurityRequirement::new(
            "token",
            Vec::<String>::new(),
        )]))
        .build()
}

/// This document.
#[utoipa::path(
    get, path = "/openapi.json", tag = "about", security(()),
    responses((status = 200, description = "The OpenAPI document", body = Value))
)]
async fn document() -> Json<OpenApi> {
    Json(openapi())
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Why {
    /// For the history.
    #[serde(default)]
    reason: String,
}

/// Approves what a run held back.
#[utoipa::path(
    post, path = "/api/v1/runs/{id}/approve", params(("id" = String, Path)), tag = "decisions",
    request_body = Why,
    responses((status = 200, description = "What was asked for", body = Value), Undone)
)]
async fn approve(
    Shared(state): Shared<Arc<State>>,
    Path(run): Path<String>,
    origin: Origin,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Error> {
    decide(&state, run, Choice::Approve, &origin, &headers, body).await
}

/// Rejects what a run held back.
#[utoipa::path(
    post, path = "/api/v1/runs/{id}/reject", params(("id" = String, Path)), tag = "decisions",
    request_body = Why,
    responses((status = 200, description = "What was asked for", body = Value), Undone)
)]
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
    let (api, caller) = auth::caller(state, headers, origin, &[Scope::Approve]).await?;
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

/// Asks for a run of a stack.
#[utoipa::path(
    post, path = "/api/v1/stacks/{name}/sync", params(("name" = String, Path)), tag = "decisions",
    request_body = Why,
    responses((status = 202, description = "It is asked for, and on its way", body = Value), Undone)
)]
async fn sync(
    Shared(state): Shared<Arc<State>>,
    Path(name): Path<String>,
    origin: Origin,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Error> {
    let (api, caller) = auth::caller(&state, &headers, &origin, &[Scope::Operate]).await?;
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

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct HoldWish {
    /// Why, on one line.
    #[serde(default)]
    reason: String,
    /// As `lockstep hold --until` takes it; without it until it is released.
    until: Option<String>,
}

/// Puts a stack on hold: pushes wait.
#[utoipa::path(
    post, path = "/api/v1/stacks/{name}/hold", params(("name" = String, Path)), tag = "decisions",
    request_body = HoldWish,
    responses((status = 200, description = "What was asked for", body = Value), Undone)
)]
async fn put_on_hold(
    Shared(state): Shared<Arc<State>>,
    Path(name): Path<String>,
    origin: Origin,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Error> {
    let (api, caller) = auth::caller(&state, &headers, &origin, &[Scope::Operate]).await?;
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

/// Ends a stack's hold.
#[utoipa::path(
    post, path = "/api/v1/stacks/{name}/release", params(("name" = String, Path)), tag = "decisions",
    request_body = Why,
    responses((status = 200, description = "What was asked for", body = Value), Undone)
)]
async fn release(
    Shared(state): Shared<Arc<State>>,
    Path(name): Path<String>,
    origin: Origin,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Error> {
    let (api, caller) = auth::caller(&state, &headers, &origin, &[Scope::Operate]).await?;
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
