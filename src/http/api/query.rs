//! The routes that read: runs, changes, events, deliveries, approvals, objects, stacks, targets.
//!
//! Every one takes a token of scope `read` or `audit`, is counted, and gives pages that stay as
//! they are while the history grows. An answer names its content by an `ETag`.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{FromRequestParts, Path, Query, State as Shared},
    http::{HeaderMap, HeaderValue, Response, StatusCode, header, request::Parts},
    response::IntoResponse as _,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};
use tokio::sync::SemaphorePermit;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    super::{State, error::Error},
    auth::{self, Api},
    limits::{LARGEST_ANSWER, TooMuch},
    of_store,
    view::{
        ApprovalView, ChangeView, DeliveryView, ErrorBody, EventView, List, ObjectView, RunView,
        StackView, TargetView, Unread, WholeRun,
    },
};
use crate::{
    domain::{moment::parse_moment, run::RunId, token::Scope},
    message::Origin,
    store::{Filter, From, Paging},
    sync::history::{self, CommitError},
};

const PAGE: i64 = 50;
const LARGEST_PAGE: i64 = 200;
/// Whoever reads, reads with one of these.
const READERS: &[Scope] = &[Scope::Read, Scope::Audit];

pub fn router() -> OpenApiRouter<Arc<State>> {
    OpenApiRouter::new()
        .routes(routes!(runs))
        .routes(routes!(run))
        .routes(routes!(changes))
        .routes(routes!(events))
        .routes(routes!(event))
        .routes(routes!(objects))
        .routes(routes!(deliveries))
        .routes(routes!(approvals))
        .routes(routes!(stacks))
        .routes(routes!(targets))
}

/// What a list may be asked for, beside the part of it.
trait Questions: DeserializeOwned {
    fn gather(self, wish: &mut Wish);
}

/// What was asked for, as text.
#[derive(Debug, Default)]
struct Wish {
    texts: Vec<(&'static str, Option<String>)>,
    since: Option<String>,
    until: Option<String>,
    before: Option<String>,
    after: Option<String>,
    limit: Option<i64>,
}

/// Declares what one list may be asked for. Anything else is refused by its name.
macro_rules! questions {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident $(as $renamed:literal)?),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Default, Deserialize, IntoParams)]
        #[serde(deny_unknown_fields)]
        #[into_params(parameter_in = Query)]
        struct $name {
            $(
                $(#[$field_doc])*
                $(#[serde(rename = $renamed)] #[param(rename = $renamed)])?
                $field: Option<String>,
            )*
            /// From a day, a moment (RFC 3339) or a time ago (36h, 7d) on
            since: Option<String>,
            /// Up to a day, a moment or a time ago, itself not included
            until: Option<String>,
            /// Words that stand in it, upper and lower case alike
            text: Option<String>,
            /// A cursor: what is older than it
            before: Option<String>,
            /// A cursor: what is newer than it
            after: Option<String>,
            /// How many, 200 at most; 50 when it is left out
            limit: Option<i64>,
        }

        impl Questions for $name {
            fn gather(self, wish: &mut Wish) {
                *wish = Wish {
                    texts: vec![$((stringify!($field), self.$field),)* ("text", self.text)],
                    since: self.since,
                    until: self.until,
                    before: self.before,
                    after: self.after,
                    limit: self.limit,
                };
            }
        }
    };
}

questions! {
    RunQuestions {
        /// Of one target
        target,
        /// Of one stack
        stack,
        /// With a change of this object, as KIND/ID
        object,
        /// At this commit: its full id, or its first digits, 7 at least
        commit,
        /// Who pushed: a login, an address or a name
        person,
        /// How it ended: succeeded, parked, failed, …
        status,
        /// Why it began: push, sweep, drift, …
        trigger,
    }
}

questions! {
    ChangeQuestions {
        /// On one target
        target,
        /// Of one stack
        stack,
        /// Of one object, as KIND/ID
        object,
        /// Of one run
        run,
        /// At this commit: its full id, or its first digits, 7 at least
        commit,
        /// Who pushed: a login, an address or a name
        person,
        /// What became of it: applied, failed, repaired, held, …
        outcome,
        /// How its run ended
        status,
        /// Why its run began
        trigger,
    }
}

questions! {
    EventQuestions {
        /// Of one target
        target,
        /// Of one stack
        stack,
        /// Of one object, as KIND/ID; drift of it included
        object,
        /// Of one run
        run,
        /// Of this commit: its full id, or its first digits, 7 at least
        commit,
        /// Anybody who is named in it: a login, an address or a name
        person,
        /// Of one type, such as run.finished
        event_type as "type",
        /// Of one actor, by its id: a worker, or a token
        actor,
    }
}

questions! {
    DeliveryQuestions {
        /// That concerned one target
        target,
        /// That concerned one stack
        stack,
        /// Of one repository of the configuration
        repository,
        /// That one run stands for
        run,
        /// That announced this commit
        commit,
        /// Who pushed: a login, an address or a name
        person,
    }
}

questions! {
    ApprovalQuestions {
        /// Of one target
        target,
        /// Of one stack
        stack,
        /// Of what one run held back or carried out
        run,
        /// By one person of the configuration
        person,
        /// approve or reject
        choice,
    }
}

questions! {
    ObjectQuestions {
        /// On one target
        target,
        /// Owned by one stack
        stack,
        /// One object on every target, as KIND/ID
        object,
        /// Applied last by one run
        run,
        /// Described by this file
        path,
    }
}

/// The questions of a request, or a refusal that names what is wrong with them.
struct Asked<Q>(Q);

impl<Q: DeserializeOwned + Send> FromRequestParts<Arc<State>> for Asked<Q> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<State>) -> Result<Self, Error> {
        let Query(questions) = Query::from_request_parts(parts, state)
            .await
            .map_err(|rejection| invalid(rejection.body_text()))?;
        Ok(Self(questions))
    }
}

/// A question that has its place, and who asked it.
struct Asking<'a> {
    api: &'a Api,
    _place: SemaphorePermit<'a>,
}

async fn enter<'a>(
    state: &'a State,
    origin: &Origin,
    headers: &HeaderMap,
    route: &'static str,
) -> Result<Asking<'a>, Error> {
    let (api, caller) = auth::caller(state, headers, origin, READERS).await?;
    let place = api.limits.enter(&caller.token, api.app.now());
    let place = place.map_err(|too_much| match too_much {
        TooMuch::OfThisToken(seconds) => Error {
            retry_after: Some(seconds),
            ..Error::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_requests",
                "this token asks too often; wait as long as Retry-After says",
            )
        },
        TooMuch::OfEverybody => Error {
            retry_after: Some(1),
            ..Error::busy("too many questions at once; try again")
        },
    })?;
    api.readings.count(&api.app, &caller.asker("api"), route);
    Ok(Asking { api, _place: place })
}

impl Asking<'_> {
    async fn read(&self, questions: impl Questions) -> Result<(Filter, Paging), Error> {
        let mut wish = Wish::default();
        questions.gather(&mut wish);
        let mut filter = Filter::default();
        for (name, text) in wish.texts {
            let Some(text) = text else { continue };
            if text.is_empty() || text.chars().count() > 1_000 {
                return Err(invalid(format!("{name} is empty, or too long")));
            }
            self.ask(&mut filter, name, text).await?;
        }
        let now = self.api.app.now();
        let moment = |text: Option<String>| {
            text.map(|text| parse_moment(&text, now))
                .transpose()
                .map_err(|error| invalid(error.to_string()))
        };
        filter.since = moment(wish.since)?;
        filter.until = moment(wish.until)?;
        let limit = wish.limit.unwrap_or(PAGE);
        if !(1..=LARGEST_PAGE).contains(&limit) {
            return Err(invalid(format!("limit is 1 to {LARGEST_PAGE}")));
        }
        let cursor = |text: String| {
            text.parse()
                .map_err(|error: crate::store::CursorError| invalid(error.to_string()))
        };
        let from = match (wish.before, wish.after) {
            (None, None) => From::Newest,
            (Some(before), None) => From::Before(cursor(before)?),
            (None, Some(after)) => From::After(cursor(after)?),
            (Some(_), Some(_)) => {
                return Err(invalid("give before or after, not both".to_owned()));
            }
        };
        Ok((filter, Paging { from, limit }))
    }

    async fn ask(&self, filter: &mut Filter, name: &str, text: String) -> Result<(), Error> {
        match name {
            "target" => filter.target = Some(text),
            "stack" => filter.stack = Some(text),
            "object" => filter.object = Some(word(name, &text)?),
            "run" => filter.run = Some(RunId(text)),
            "commit" => {
                let found = history::commit(&self.api.app.store, &text).await;
                filter.commit = Some(found.map_err(|error| match error {
                    CommitError::Store(error) => of_store(&error),
                    unknown @ CommitError::Unknown(_) => {
                        Error::told(StatusCode::NOT_FOUND, "not_found", unknown.to_string())
                    }
                    other => invalid(other.to_string()),
                })?);
            }
            "person" => filter.person = Some(text),
            "event_type" => {
                let known = crate::domain::audit::event::EventType::ALL;
                let found = known.iter().find(|each| each.as_str() == text);
                let Some(found) = found else {
                    return Err(invalid(format!("type: there is no type of event {text}")));
                };
                filter.types = vec![*found];
            }
            "actor" => filter.actor = Some(text),
            "status" => filter.status = Some(word(name, &text)?),
            "trigger" => filter.trigger = Some(word(name, &text)?),
            "outcome" => filter.outcome = Some(word(name, &text)?),
            "choice" => filter.choice = Some(word(name, &text)?),
            "repository" => filter.repository = Some(text),
            "path" => filter.path = Some(text),
            "text" => filter.text = Some(text),
            other => return Err(invalid(format!("{other} cannot be asked for"))),
        }
        Ok(())
    }
}

fn word<T: std::str::FromStr<Err: std::fmt::Display>>(name: &str, text: &str) -> Result<T, Error> {
    text.parse()
        .map_err(|error| invalid(format!("{name}: {error}")))
}

fn invalid(message: String) -> Error {
    Error::told(StatusCode::UNPROCESSABLE_ENTITY, "invalid", message)
}

/// Asks for fewer items until the answer is small enough.
macro_rules! page {
    ($state:expr, $origin:expr, $headers:expr, $asked:expr, $route:literal, $page:ident, $view:ty) => {{
        let asking = enter(&$state, &$origin, &$headers, $route).await?;
        let (filter, mut paging) = asking.read($asked.0).await?;
        loop {
            let page = asking.api.app.store.$page(&filter, &paging).await;
            let page = page.map_err(|error| of_store(&error))?;
            let list: List<$view> = List::of(page, <$view>::of);
            let body = text(&list)?;
            if body.len() <= LARGEST_ANSWER || paging.limit == 1 {
                break Ok(answer(&$headers, body));
            }
            paging.limit /= 2;
        }
    }};
}

/// Runs, newest first by when they began.
#[utoipa::path(
    get, path = "/api/v1/runs", params(RunQuestions), tag = "history",
    responses(
        (status = 200, description = "What was asked for", body = List<RunView>),
        (status = 422, description = "Something of what is asked is wrong; the message names it", body = ErrorBody),
        Unread,
    )
)]
async fn runs(
    Shared(state): Shared<Arc<State>>,
    origin: Origin,
    headers: HeaderMap,
    asked: Asked<RunQuestions>,
) -> Result<Response<Body>, Error> {
    page!(state, origin, headers, asked, "runs", runs_page, RunView)
}

/// One run, with its deliveries and the decisions behind it.
#[utoipa::path(
    get, path = "/api/v1/runs/{id}", params(("id" = String, Path, description = "The run's id")), tag = "history",
    responses(
        (status = 200, description = "What was asked for", body = WholeRun),
        (status = 404, description = "There is no such thing", body = ErrorBody),
        Unread,
    )
)]
async fn run(
    Shared(state): Shared<Arc<State>>,
    Path(id): Path<String>,
    origin: Origin,
    headers: HeaderMap,
) -> Result<Response<Body>, Error> {
    let asking = enter(&state, &origin, &headers, "runs/{id}").await?;
    let store = &asking.api.app.store;
    let id = RunId(id.replace('\0', ""));
    let failed = |error: crate::store::Error| of_store(&error);
    let mut found = store
        .runs_by_id(std::slice::from_ref(&id))
        .await
        .map_err(failed)?;
    let run = found.remove(&id).ok_or(NO_RUN)?;
    let of_run = Filter {
        run: Some(id.clone()),
        ..Filter::default()
    };
    let whole = Paging::of(crate::store::LARGEST_PAGE);
    let deliveries = store
        .deliveries_page(&of_run, &whole)
        .await
        .map_err(failed)?;
    let mut behind = store
        .approvals_behind(std::slice::from_ref(&id))
        .await
        .map_err(failed)?;
    let approvals = behind.remove(&id).unwrap_or_default();
    let whole = WholeRun {
        run: RunView::of(&run),
        deliveries: deliveries.items.iter().map(DeliveryView::of).collect(),
        approvals: approvals.iter().map(ApprovalView::of).collect(),
    };
    Ok(answer(&headers, text(&whole)?))
}

const NO_RUN: Error = Error::new(StatusCode::NOT_FOUND, "not_found", "there is no such run");

/// Changes of runs with their fields, newest first by when their run began.
#[utoipa::path(
    get, path = "/api/v1/changes", params(ChangeQuestions), tag = "history",
    responses(
        (status = 200, description = "What was asked for", body = List<ChangeView>),
        (status = 422, description = "Something of what is asked is wrong; the message names it", body = ErrorBody),
        Unread,
    )
)]
async fn changes(
    Shared(state): Shared<Arc<State>>,
    origin: Origin,
    headers: HeaderMap,
    asked: Asked<ChangeQuestions>,
) -> Result<Response<Body>, Error> {
    page!(
        state,
        origin,
        headers,
        asked,
        "changes",
        changes_page,
        ChangeView
    )
}

/// Events, newest first by their place in the history.
#[utoipa::path(
    get, path = "/api/v1/events", params(EventQuestions), tag = "history",
    responses(
        (status = 200, description = "What was asked for", body = List<EventView>),
        (status = 422, description = "Something of what is asked is wrong; the message names it", body = ErrorBody),
        Unread,
    )
)]
async fn events(
    Shared(state): Shared<Arc<State>>,
    origin: Origin,
    headers: HeaderMap,
    asked: Asked<EventQuestions>,
) -> Result<Response<Body>, Error> {
    page!(
        state,
        origin,
        headers,
        asked,
        "events",
        events_page,
        EventView
    )
}

/// One event by its sequence number.
#[utoipa::path(
    get, path = "/api/v1/events/{sequence}", tag = "history",
    params(("sequence" = i64, Path, description = "Its place in the history, from 0")),
    responses(
        (status = 200, description = "What was asked for", body = EventView),
        (status = 404, description = "There is no such thing", body = ErrorBody),
        (status = 410, description = "It left the history after it was exported", body = ErrorBody),
        Unread,
    )
)]
async fn event(
    Shared(state): Shared<Arc<State>>,
    Path(sequence): Path<String>,
    origin: Origin,
    headers: HeaderMap,
) -> Result<Response<Body>, Error> {
    const NO_EVENT: Error =
        Error::new(StatusCode::NOT_FOUND, "not_found", "there is no such event");
    const LEFT: Error = Error::new(
        StatusCode::GONE,
        "gone",
        "the event left the history; the export that an event history.retired names has it",
    );
    let asking = enter(&state, &origin, &headers, "events/{sequence}").await?;
    let sequence: i64 = sequence.parse().map_err(|_| NO_EVENT)?;
    let store = &asking.api.app.store;
    let event = store.event(sequence).await;
    let Some(event) = event.map_err(|error| of_store(&error))? else {
        let hash = store.hash_of(sequence).await;
        let has_left = hash.map_err(|error| of_store(&error))?.is_some();
        return Err(if has_left { LEFT } else { NO_EVENT });
    };
    Ok(answer(&headers, text(&EventView::of(&event))?))
}

/// Owned objects with their owners, by target, node and name.
#[utoipa::path(
    get, path = "/api/v1/objects", params(ObjectQuestions), tag = "state",
    responses(
        (status = 200, description = "What was asked for", body = List<ObjectView>),
        (status = 422, description = "Something of what is asked is wrong; the message names it", body = ErrorBody),
        Unread,
    )
)]
async fn objects(
    Shared(state): Shared<Arc<State>>,
    origin: Origin,
    headers: HeaderMap,
    asked: Asked<ObjectQuestions>,
) -> Result<Response<Body>, Error> {
    if asked.0.since.is_some() || asked.0.until.is_some() || asked.0.after.is_some() {
        return Err(invalid(
            "objects are as they are now, in one order: since, until and after do not go with \
             them"
                .to_owned(),
        ));
    }
    page!(
        state,
        origin,
        headers,
        asked,
        "objects",
        objects_page,
        ObjectView
    )
}

/// Deliveries of Git hosts, newest first by when they were received.
#[utoipa::path(
    get, path = "/api/v1/deliveries", params(DeliveryQuestions), tag = "history",
    responses(
        (status = 200, description = "What was asked for", body = List<DeliveryView>),
        (status = 422, description = "Something of what is asked is wrong; the message names it", body = ErrorBody),
        Unread,
    )
)]
async fn deliveries(
    Shared(state): Shared<Arc<State>>,
    origin: Origin,
    headers: HeaderMap,
    asked: Asked<DeliveryQuestions>,
) -> Result<Response<Body>, Error> {
    page!(
        state,
        origin,
        headers,
        asked,
        "deliveries",
        deliveries_page,
        DeliveryView
    )
}

/// What people decided on plans that waited, newest first.
#[utoipa::path(
    get, path = "/api/v1/approvals", params(ApprovalQuestions), tag = "history",
    responses(
        (status = 200, description = "What was asked for", body = List<ApprovalView>),
        (status = 422, description = "Something of what is asked is wrong; the message names it", body = ErrorBody),
        Unread,
    )
)]
async fn approvals(
    Shared(state): Shared<Arc<State>>,
    origin: Origin,
    headers: HeaderMap,
    asked: Asked<ApprovalQuestions>,
) -> Result<Response<Body>, Error> {
    page!(
        state,
        origin,
        headers,
        asked,
        "approvals",
        approvals_page,
        ApprovalView
    )
}

/// Every stack of the configuration and how it stands.
#[utoipa::path(
    get, path = "/api/v1/stacks", tag = "state",
    responses(
        (status = 200, description = "What was asked for", body = List<StackView>),
        Unread,
    )
)]
async fn stacks(
    Shared(state): Shared<Arc<State>>,
    origin: Origin,
    headers: HeaderMap,
) -> Result<Response<Body>, Error> {
    let asking = enter(&state, &origin, &headers, "stacks").await?;
    let app = &asking.api.app;
    let failed = |error: crate::store::Error| of_store(&error);
    let states = app.store.stack_states().await.map_err(failed)?;
    let owned = app.store.owned_objects().await.map_err(failed)?;
    let view = |stack: &Arc<crate::app::Stack>| {
        let state = states.iter().find(|state| state.stack == stack.name);
        StackView::of(stack, state, owned.get(&stack.name).copied().unwrap_or(0))
    };
    let list = List {
        items: app.stacks.values().map(view).collect(),
        before: None,
        after: None,
    };
    Ok(answer(&headers, text(&list)?))
}

/// Every target of the configuration, with its nodes and stacks.
#[utoipa::path(
    get, path = "/api/v1/targets", tag = "state",
    responses(
        (status = 200, description = "What was asked for", body = List<TargetView>),
        Unread,
    )
)]
async fn targets(
    Shared(state): Shared<Arc<State>>,
    origin: Origin,
    headers: HeaderMap,
) -> Result<Response<Body>, Error> {
    let asking = enter(&state, &origin, &headers, "targets").await?;
    let app = &asking.api.app;
    let mut items = Vec::new();
    for target in app.targets.values() {
        let doubtful = app.store.is_doubtful(&target.name).await;
        let of_target = app
            .stacks
            .values()
            .filter(|stack| stack.target.name == target.name);
        items.push(TargetView {
            target: target.name.clone(),
            nodes: target.nodes().map(|node| node.address.clone()).collect(),
            stacks: of_target.map(|stack| stack.name.clone()).collect(),
            doubtful: doubtful.map_err(|error| of_store(&error))?,
        });
    }
    let list = List {
        items,
        before: None,
        after: None,
    };
    Ok(answer(&headers, text(&list)?))
}

fn text(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|problem| {
        tracing::error!(error = %problem, "an answer could not be written");
        Error::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "something went wrong here; it is in the log",
        )
    })
}

/// The body with its `ETag`, or nothing when the caller has it already.
fn answer(headers: &HeaderMap, body: Vec<u8>) -> Response<Body> {
    let digest = Sha256::digest(&body);
    let tag = format!("\"{}\"", hex::encode(&digest[..16]));
    let known = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|each| each.trim().trim_start_matches("W/"))
        .any(|each| each == tag || each == "*");
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut response = Response::new(Body::from(body));
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        response
    };
    let headers = response.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    // Of whoever has the token, and asked for again each time.
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("private, no-cache"),
    );
    headers.insert(header::VARY, HeaderValue::from_static("Authorization"));
    response
}
