//! Who calls: a token in the `Authorization` header, checked against the database. Refused sign-ins
//! are counted, and summarised in the history in bounded numbers.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use axum::http::{HeaderMap, StatusCode, header};
use serde_json::json;
use tracing::{info, warn};

use super::{super::State, Error, limits::Limits, of_store};
use crate::{
    app::App,
    domain::{
        audit::event::{Actor, EventType, callers},
        token::{Refusal, Scope},
    },
    message::Origin,
    sync::{
        reading::Readings,
        token::{Caller, SignInError, sign_in},
    },
};

/// From how many addresses a summary tells who was turned away.
const MOST_ADDRESSES: usize = 16;

/// What the API works with: everything that a worker has, and the count of who was turned away.
pub struct Api {
    pub app: App,
    pub limits: Limits,
    /// Who read the history.
    pub readings: Readings,
    failed: Mutex<Failed>,
}

struct Failed {
    since: i64,
    counts: BTreeMap<&'static str, u64>,
    /// Where they came from, of as many addresses as are told apart.
    addresses: BTreeMap<IpAddr, u64>,
}

impl Api {
    pub fn new(app: App) -> Self {
        let failed = Failed {
            since: app.now(),
            counts: BTreeMap::new(),
            addresses: BTreeMap::new(),
        };
        Self {
            limits: Limits::default(),
            app,
            readings: Readings::default(),
            failed: Mutex::new(failed),
        }
    }

    fn count(&self, refusal: Refusal, address: Option<IpAddr>) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        *failed.counts.entry(refusal.label()).or_default() += 1;
        let Some(address) = address else { return };
        let is_told_apart = failed.addresses.len() < MOST_ADDRESSES;
        if is_told_apart || failed.addresses.contains_key(&address) {
            *failed.addresses.entry(address).or_default() += 1;
        }
    }

    /// Puts on record what was counted: who read the history, and who was turned away.
    pub async fn report(&self) {
        if let Err(error) = self.readings.report(&self.app).await {
            warn!(%error, "who read the history could not be recorded; it is counted on");
        }
        self.report_failed_sign_ins().await;
    }

    /// Puts on record how many sign-ins failed since the last time, and why; nothing when none
    /// did. What cannot be recorded is counted on.
    pub async fn report_failed_sign_ins(&self) {
        let now = self.app.now();
        let (since, counts, addresses) = {
            let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            if failed.counts.is_empty() {
                failed.since = now;
                return;
            }
            let since = std::mem::replace(&mut failed.since, now);
            let addresses = std::mem::take(&mut failed.addresses);
            (since, std::mem::take(&mut failed.counts), addresses)
        };
        let payload = json!({"from": since, "until": now, "counts": counts});
        let actor = Actor::new("server", self.app.worker.clone());
        let mut event = self.app.event(EventType::SignInsFailed, actor, payload);
        event.people = callers(addresses.keys());
        if let Err(error) = self.app.store.record_events(&[event]).await {
            warn!(%error, "failed sign-ins could not be recorded; they are counted on");
            let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.since = since;
            for (label, count) in counts {
                *failed.counts.entry(label).or_default() += count;
            }
            for (address, count) in addresses {
                *failed.addresses.entry(address).or_default() += count;
            }
        }
    }
}

/// Who calls, with a token that is for what they ask. What is wrong with a token is said only to
/// whoever holds it.
pub async fn caller<'a>(
    state: &'a State,
    headers: &HeaderMap,
    origin: &Origin,
    scopes: &[Scope],
) -> Result<(&'a Api, Caller), Error> {
    let api = state.api.as_ref().ok_or(Error::new(
        StatusCode::NOT_FOUND,
        "not_found",
        "there is nothing here",
    ))?;
    let refused = |refusal: Refusal| {
        api.count(refusal, origin.address);
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
        Ok(caller) => Ok((
            api,
            Caller {
                origin: origin.clone(),
                ..caller
            },
        )),
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
