//! What goes on record when a process starts and stops: the configuration that it loaded, and what is
//! other than the time before, by key. No value is told, only that it changed.

use std::{collections::BTreeMap, net::SocketAddr};

use serde_json::{Value, json};

use crate::{
    app::App,
    domain::audit::event::{Actor, EventType, NewEvent},
    store,
};

/// How many keys one event names.
const MOST_KEYS: usize = 200;

/// A server starts: its configuration and its start, together.
pub async fn started(app: &App, address: SocketAddr) -> store::Result<()> {
    let told = |before: Option<&BTreeMap<String, String>>| {
        vec![
            loaded(app, server(app), before),
            about(app, EventType::ServerStarted, address),
        ]
    };
    app.store.load_config(&app.config_keys, told).await
}

pub async fn stopped(app: &App, address: SocketAddr) -> store::Result<()> {
    let event = about(app, EventType::ServerStopped, address);
    app.store.record_events(&[event]).await
}

/// A command of a person begins that may write: its configuration goes on record where it is
/// another one than was loaded last.
pub async fn commanded(app: &App, actor: &Actor) -> store::Result<()> {
    let told = |before: Option<&BTreeMap<String, String>>| {
        let is_news = before != Some(&*app.config_keys);
        let event = is_news.then(|| loaded(app, actor.clone(), before));
        event.into_iter().collect()
    };
    app.store.load_config(&app.config_keys, told).await
}

fn server(app: &App) -> Actor {
    Actor::new("server", app.worker.clone())
}

fn about(app: &App, event_type: EventType, address: SocketAddr) -> NewEvent {
    let payload = json!({"config": app.config_hash, "listen": address.to_string()});
    app.event(event_type, server(app), payload)
}

fn loaded(app: &App, actor: Actor, before: Option<&BTreeMap<String, String>>) -> NewEvent {
    let payload = json!({
        "config": app.config_hash,
        "first": before.is_none(),
        "changes": before.map(|before| changes(app, before)),
    });
    app.event(EventType::ConfigLoaded, actor, payload)
}

/// Which keys are new, gone, and say something else, and how many they are.
fn changes(app: &App, before: &BTreeMap<String, String>) -> Value {
    let now = &app.config_keys;
    let added = now.keys().filter(|key| !before.contains_key(*key));
    let removed = before.keys().filter(|key| !now.contains_key(*key));
    let altered = now
        .iter()
        .filter(|(key, value)| before.get(*key).is_some_and(|before| before != *value))
        .map(|(key, _)| key);
    let (added, removed, altered): (Vec<_>, Vec<_>, Vec<_>) =
        (added.collect(), removed.collect(), altered.collect());
    json!({
        "count": added.len() + removed.len() + altered.len(),
        "added": first(app, &added),
        "removed": first(app, &removed),
        "changed": first(app, &altered),
    })
}

fn first(app: &App, keys: &[&String]) -> Vec<String> {
    let first = keys.iter().take(MOST_KEYS);
    first.map(|key| without_person(app, key)).collect()
}

/// An event names no person, and the section of one bears their name: a mark stands for it, by which
/// the same section is known again.
fn without_person(app: &App, key: &str) -> String {
    let Some(section) = key.strip_prefix("person.") else {
        return key.to_owned();
    };
    let (name, rest) = section.split_once('.').unwrap_or((section, ""));
    let mark = app.key.name_of("person", "", name);
    format!("person.{mark}.{rest}")
}
