//! Who reads the history is on record in it, too: every export by itself, and queries in summaries of
//! a bounded number, so that looking at lists does not fill the history with looks.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use serde_json::{Value, json};

use crate::{
    app::App,
    domain::{
        audit::event::{Asker, EventType, NewEvent, Person},
        canonical::Digest,
    },
    store,
};

/// What was given out.
#[derive(Debug, Clone)]
pub struct Exported {
    /// What was asked for, as a JSON object: times, targets, stacks, objects.
    pub filter: Value,
    /// The first event of the range, and the one after its last.
    pub from: i64,
    pub until: i64,
    /// How many events the file has in full.
    pub events: i64,
    /// Of the whole file.
    pub sha256: Digest,
}

/// Puts an export on record. It is not given out before this has returned.
pub async fn exported(app: &App, by: &Asker, export: &Exported) -> store::Result<()> {
    let Exported {
        filter,
        from,
        until,
        events,
        sha256,
    } = export;
    let payload = json!({
        "filter": filter,
        "from": from,
        "until": until,
        "events": events,
        "sha256": sha256,
    });
    let event = event(app, by, EventType::HistoryExported, payload);
    app.store.record_events(&[event]).await
}

/// Puts a report or a past configuration on record before it is given out.
pub async fn reported(
    app: &App,
    by: &Asker,
    report: &'static str,
    filter: Value,
) -> store::Result<()> {
    let payload = json!({"report": report, "filter": filter});
    let event = event(app, by, EventType::HistoryExported, payload);
    app.store.record_events(&[event]).await
}

/// Counts queries until they are put on record.
#[derive(Default)]
pub struct Readings {
    counted: Mutex<BTreeMap<String, Reading>>,
}

struct Reading {
    by: Asker,
    since: i64,
    counts: BTreeMap<&'static str, u64>,
}

impl Readings {
    /// One query. `what` names what was asked for: a word of the program's own, never a text of the
    /// caller.
    pub fn count(&self, app: &App, by: &Asker, what: &'static str) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let reading = counted
            .entry(by.actor.to_string())
            .or_insert_with(|| Reading {
                by: by.clone(),
                since: app.now(),
                counts: BTreeMap::new(),
            });
        *reading.counts.entry(what).or_default() += 1;
    }

    /// Puts on record what was counted, an event for everybody who asked. What cannot be recorded is
    /// counted on.
    pub async fn report(&self, app: &App) -> store::Result<()> {
        let counted = {
            let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *counted)
        };
        let until = app.now();
        let events: Vec<NewEvent> = counted
            .values()
            .map(|reading| {
                let payload = json!({
                    "from": reading.since,
                    "until": until,
                    "counts": reading.counts,
                });
                event(app, &reading.by, EventType::HistoryRead, payload)
            })
            .collect();
        let recorded = app.store.record_events(&events).await;
        if recorded.is_err() {
            let mut again = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
            for (actor, reading) in counted {
                match again.get_mut(&actor) {
                    None => {
                        again.insert(actor, reading);
                    }
                    Some(later) => {
                        later.since = reading.since;
                        for (what, count) in reading.counts {
                            *later.counts.entry(what).or_default() += count;
                        }
                    }
                }
            }
        }
        recorded
    }
}

fn event(app: &App, by: &Asker, event_type: EventType, payload: Value) -> NewEvent {
    let reader: Vec<(String, Person)> = vec![("reader".to_owned(), by.on_record())];
    NewEvent {
        people: reader,
        ..app
            .event(event_type, by.actor.clone(), payload)
            .traced(by.trace.as_ref())
    }
}
