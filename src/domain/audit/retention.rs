//! What keeps events in the history that are old enough to leave it.

use serde::Deserialize;

use super::event::{Event, EventType, Header};

/// Somebody's word that nothing leaves from a moment on. It stands in the history, as the event that
/// placed it, and keeps that event as well: none is placed for a time that is still to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegalHold {
    pub name: String,
    /// Microseconds UTC; without it everything stays.
    pub since: Option<i64>,
    pub reason: String,
    /// When it was placed, and by which event.
    pub at: i64,
    pub sequence: i64,
}

#[derive(Deserialize)]
struct Said {
    name: String,
    since: Option<i64>,
    #[serde(default)]
    reason: String,
}

/// The holds that stand after these events, by name. One whose event cannot be read holds everything:
/// what is not understood lets nothing go.
pub fn standing(events: &[Event]) -> Vec<LegalHold> {
    let mut holds: Vec<LegalHold> = Vec::new();
    for event in events {
        let header: Option<Header> = serde_json::from_str(&event.header).ok();
        let is_of = |event_type: EventType| {
            let header = header.as_ref();
            header.is_some_and(|header| header.event_type == event_type.as_str())
        };
        let said: Option<Said> = serde_json::from_str(&event.payload).ok();
        if is_of(EventType::LegalHoldLifted) {
            if let Some(said) = said {
                holds.retain(|hold| hold.name != said.name);
            }
            continue;
        }
        let (name, since, reason) = match said {
            Some(said) => (said.name, said.since, said.reason),
            None => (format!("event {}", event.sequence), None, String::new()),
        };
        holds.retain(|hold| hold.name != name);
        holds.push(LegalHold {
            name,
            since,
            reason,
            at: header.map_or(0, |header| header.at),
            sequence: event.sequence,
        });
    }
    holds.sort_by(|one, other| one.name.cmp(&other.name));
    holds
}
