//! What bounds those who read the history: how often one token asks, how many questions there are
//! at once, and how large an answer is. And the record of who read how much, in bounded numbers.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use serde_json::json;
use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::warn;

use crate::{
    app::App,
    domain::audit::event::{Actor, EventType, NewEvent, Person},
    sync::token::Caller,
};

/// Questions that one token may ask at once, and how many more each minute.
pub const BURST: i64 = 120;
/// Questions that are answered at the same time.
const AT_ONCE: usize = 8;
/// An answer is smaller than this, or of one item.
pub const LARGEST_ANSWER: usize = 4 * 1024 * 1024;

const MINUTE: i64 = 60 * 1_000_000;

#[derive(Debug)]
pub struct Limits {
    places: Semaphore,
    rates: Mutex<BTreeMap<String, Rate>>,
    reads: Mutex<Reads>,
}

/// How much of its burst a token has left, in microseconds that it paid for.
#[derive(Debug, Clone, Copy)]
struct Rate {
    left: i64,
    at: i64,
}

#[derive(Debug)]
struct Reads {
    since: i64,
    /// By token and person, and by route. Nobody gets here without a token, and routes are few.
    counts: BTreeMap<(String, String), BTreeMap<&'static str, u64>>,
}

/// Why a question is not answered now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooMuch {
    /// The token has to wait for so many seconds.
    OfThisToken(u32),
    OfEverybody,
}

impl Limits {
    pub fn new(now: i64) -> Self {
        Self {
            places: Semaphore::new(AT_ONCE),
            rates: Mutex::default(),
            reads: Mutex::new(Reads {
                since: now,
                counts: BTreeMap::new(),
            }),
        }
    }

    /// A place for one question, which is counted. It is given back when it is dropped.
    pub fn enter(
        &self,
        caller: &Caller,
        route: &'static str,
        now: i64,
    ) -> Result<SemaphorePermit<'_>, TooMuch> {
        self.spend(&caller.token, now)?;
        let place = self
            .places
            .try_acquire()
            .map_err(|_| TooMuch::OfEverybody)?;
        let mut reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        let who = (caller.token.clone(), caller.person.clone());
        *reads
            .counts
            .entry(who)
            .or_default()
            .entry(route)
            .or_default() += 1;
        Ok(place)
    }

    fn spend(&self, token: &str, now: i64) -> Result<(), TooMuch> {
        const COST: i64 = MINUTE / BURST;
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        // Who has not asked for a minute has all of it again.
        rates.retain(|_, rate| now - rate.at < MINUTE);
        let rate = rates.entry(token.to_owned()).or_insert(Rate {
            left: MINUTE,
            at: now,
        });
        rate.left = (rate.left + (now - rate.at).max(0)).min(MINUTE);
        rate.at = now;
        if rate.left < COST {
            let seconds = (COST - rate.left) / 1_000_000 + 1;
            return Err(TooMuch::OfThisToken(u32::try_from(seconds).unwrap_or(1)));
        }
        rate.left -= COST;
        Ok(())
    }

    /// Puts on record who read how often since the last time: an event a token. What cannot be
    /// recorded is counted on.
    pub async fn report_reads(&self, app: &App) {
        let now = app.now();
        let (since, counts) = {
            let mut reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
            let since = std::mem::replace(&mut reads.since, now);
            (since, std::mem::take(&mut reads.counts))
        };
        if counts.is_empty() {
            return;
        }
        let events: Vec<NewEvent> = counts
            .iter()
            .map(|((token, person), routes)| NewEvent {
                people: vec![(
                    "reader".to_owned(),
                    Person {
                        login: Some(person.clone()),
                        ..Person::default()
                    },
                )],
                ..NewEvent::new(
                    EventType::HistoryQueried,
                    now,
                    Actor::new("api", token.clone()),
                    json!({"from": since, "until": now, "counts": routes}),
                )
            })
            .collect();
        if let Err(error) = app.store.record_events(&events).await {
            warn!(%error, "who read the history could not be recorded; it is counted on");
            let mut reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
            reads.since = since;
            for (who, routes) in counts {
                let mine = reads.counts.entry(who).or_default();
                for (route, count) in routes {
                    *mine.entry(route).or_default() += count;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_spends_its_burst_and_gets_it_back_with_time() {
        let limits = Limits::new(0);
        let caller = Caller {
            person: "ada".to_owned(),
            token: "a".to_owned(),
        };
        for _ in 0..BURST {
            assert!(limits.enter(&caller, "/", 7).is_ok());
        }
        assert_eq!(
            limits.enter(&caller, "/", 7).err(),
            Some(TooMuch::OfThisToken(1))
        );
        let other = Caller {
            token: "b".to_owned(),
            ..caller.clone()
        };
        assert!(limits.enter(&other, "/", 7).is_ok());
        assert!(limits.enter(&caller, "/", 7 + MINUTE / BURST).is_ok());
        assert!(limits.enter(&caller, "/", 8 + MINUTE / BURST).is_err());
    }

    #[test]
    fn only_so_many_questions_are_answered_at_once() {
        let limits = Limits::new(0);
        let caller = Caller {
            person: "ada".to_owned(),
            token: "a".to_owned(),
        };
        let places: Vec<_> = (0..AT_ONCE)
            .map(|_| limits.enter(&caller, "/", 0).unwrap())
            .collect();
        assert_eq!(
            limits.enter(&caller, "/", 0).err(),
            Some(TooMuch::OfEverybody)
        );
        drop(places);
        assert!(limits.enter(&caller, "/", 0).is_ok());
    }
}
