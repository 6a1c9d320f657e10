//! What bounds those who read the history: how often one token asks, how many questions there are
//! at once, and how large an answer is.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use tokio::sync::{Semaphore, SemaphorePermit};

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
}

/// How much of its burst a token has left, in microseconds that it paid for.
#[derive(Debug, Clone, Copy)]
struct Rate {
    left: i64,
    at: i64,
}

/// Why a question is not answered now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooMuch {
    /// The token has to wait for so many seconds.
    OfThisToken(u32),
    OfEverybody,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            places: Semaphore::new(AT_ONCE),
            rates: Mutex::default(),
        }
    }
}

impl Limits {
    /// A place for one question. It is given back when it is dropped.
    pub fn enter(&self, token: &str, now: i64) -> Result<SemaphorePermit<'_>, TooMuch> {
        self.spend(token, now)?;
        self.places.try_acquire().map_err(|_| TooMuch::OfEverybody)
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_spends_its_burst_and_gets_it_back_with_time() {
        let limits = Limits::default();
        for _ in 0..BURST {
            assert!(limits.enter("a", 7).is_ok());
        }
        assert_eq!(limits.enter("a", 7).err(), Some(TooMuch::OfThisToken(1)));
        assert!(limits.enter("b", 7).is_ok());
        assert!(limits.enter("a", 7 + MINUTE / BURST).is_ok());
        assert!(limits.enter("a", 8 + MINUTE / BURST).is_err());
    }

    #[test]
    fn only_so_many_questions_are_answered_at_once() {
        let limits = Limits::default();
        let places: Vec<_> = (0..AT_ONCE)
            .map(|_| limits.enter("a", 0).unwrap())
            .collect();
        assert_eq!(limits.enter("a", 0).err(), Some(TooMuch::OfEverybody));
        drop(places);
        assert!(limits.enter("a", 0).is_ok());
    }
}
