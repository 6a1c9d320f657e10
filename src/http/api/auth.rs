//! Who calls: a token in the `Authorization` header, checked against the database. Refused sign-ins
//! are counted, and summarised in the history in bounded numbers.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use axum::http::{HeaderMap, StatusCode, header};
use serde_json::json;
use tracing::{info, warn};

use super::{super::State, Error, limits::Limits, of_store};
use crate::{
    app::App,
    domain::{
        audit::event::{Actor, EventType, NewEvent},
        token::{Refusal, Scope},
    },
    sync::token::{Caller, SignInError, sign_in},
};

/// What the API works with: everything that a worker has, and the count of who was turned away.
pub struct Api {
    pub app: App,
    pub limits: Limits,
    failed: Mutex<Failed>,
}

struct Failed {
    since: i64,
    counts: BTreeMap<&'static str, u64>,
}

impl Api {
    pub fn new(app: App) -> Self {
        let failed = Failed {
            since: app.now(),
            counts: BTreeMap::new(),
        };
        Self {
            limits: Limits::new(app.now()),
            app,
            failed: Mutex::new(failed),
        }
    }

    fn count(&self, refusal: Refusal) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        *failed.counts.entry(refusal.label()).or_default() += 1;
    }

    /// Puts on record who was turned away and who read, since the last time.
    pub async fn report(&self) {
        self.report_failed_sign_ins().await;
        self.limits.report_reads(&self.app).await;
    }

    /// Puts on record how many sign-ins failed since the last time, and why; nothing when none
    /// did. What cannot be recorded is counted on.
    pub async fn report_failed_sign_ins(&self) {
        let now = self.app.now();
        let (since, counts) = {
            let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            if failed.counts.is_empty() {
                failed.since = now;
                return;
            }
            let since = std::mem::replace(&mut failed.since, now);
            (since, std::mem::take(&mut failed.counts))
        };
        let payload = json!({"from": since, "until": now, "counts": counts});
        let actor = Actor::new("server", self.app.worker.clone());
        let event = NewEvent::new(EventType::SignInsFailed, now, actor, payload);
        if let Err(error) = self.app.store.record_events(&[event]).await {
            warn!(%error, "failed sign-ins could not be recorded; they are counted on");
            let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.since = since;
            for (label, count) in counts {
                *failed.counts.entry(label).or_default() += count;
            }
        }
    }
}

/// Who calls, with a token that is for what they ask. What is wrong with a token is said only to
/// whoever holds it.
pub async fn caller<'a>(
    state: &'a State,
    headers: &HeaderMap,
    scopes: &[Scope],
) -> Result<(&'a Api, Caller), Error> {
    let api = state.api.as_ref().ok_or(Error::new(
        StatusCode::NOT_FOUND,
        "not_found",
        "there is nothing here",
    ))?;
    let refused = |refusal: Refusal| {
        api.count(refusal);
        info!(reason = refusal.label(), "refused a request to the API");
        let scopes: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
        let scope = scopes.join(" or ");
        match refusal {
            Refusal::OutOfScope => Error::told(
                StatusCode::FORBIDDEN,
                "forbidden",
                format!("the token is not for that; it takes one of scope {scope}"),
            ),
            Refusal::NoPerson => Error::told(
                StatusCode::FORBIDDEN,
                "forbidden",
                "the configuration does not know the person of this token".to_owned(),
            ),
            known if known.is_of_a_known_holder() => Error::unauthenticated(known.to_string()),
            _ => Error::unauthenticated(format!(
                "this takes a token of scope {scope}: Authorization: Bearer lst_…"
            )),
        }
    };
    let text = bearer(headers).map_err(refused)?;
    match sign_in(&api.app, text, scopes).await {
        Ok(caller) => Ok((api, caller)),
        Err(SignInError::Refused(refusal)) => Err(refused(refusal)),
        Err(SignInError::Store(error)) => Err(of_store(&error)),
    }
}

fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or(Refusal::Missing)?;
    if values.next().is_some() {
        return Err(Refusal::Malformed);
    }
    let (scheme, token) = value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .ok_or(Refusal::Malformed)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(token.trim())
    } else {
        Err(Refusal::Malformed)
    }
}
