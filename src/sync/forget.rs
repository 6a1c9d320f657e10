//! Erasing a person: who is meant, what names them, and what no erasing reaches.

use serde_json::json;

use crate::{
    app::App,
    domain::audit::{
        event::{Asker, EventType, Person},
        person::Names,
    },
    store::{self, Erased},
};

/// How many events are named that say a name in their words.
const MOST_MENTIONS: usize = 20;

/// What is on record of a person.
#[derive(Debug)]
pub struct Found {
    pub names: Names,
    pub records: Erased,
    pub mentions: Mentions,
}

/// Events that say a name in what somebody wrote, such as a reason or the name of a branch. They
/// are under the history's hashes, so they stay.
#[derive(Debug, Default)]
pub struct Mentions {
    pub count: usize,
    /// The first of them.
    pub events: Vec<i64>,
}

#[derive(Debug, thiserror::Error)]
pub enum ForgetError {
    #[error(
        "nothing on record names {0}: it never did, or they were erased already \
         (`lockstep history events --type person.erased` lists when that was done)"
    )]
    Nobody(String),
    #[error(
        "{0} is [person.{1}] of the configuration, and what they do would be on record again: take \
         that section out first, then their tokens open nothing any more"
    )]
    Configured(String, String),
    #[error("the reason names the person, and it stays for ever: say why without the name")]
    NamedByReason,
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Looks for whatever names the person by this login, address or name, and by what the records show
/// them to go by as well.
pub async fn find(app: &App, person: &str) -> Result<Found, ForgetError> {
    let people = app.store.people().await?;
    find_by(app, person, Names::tied(person, &people)).await
}

/// The same by exactly this login, address or name.
pub async fn find_exactly(app: &App, person: &str) -> Result<Found, ForgetError> {
    find_by(app, person, Names::only(person)).await
}

async fn find_by(app: &App, person: &str, names: Names) -> Result<Found, ForgetError> {
    if let Some(configured) = configured(app, &names) {
        return Err(ForgetError::Configured(person.to_owned(), configured));
    }
    let records = app.store.records_of(&names).await?.count();
    if records == Erased::default() {
        return Err(ForgetError::Nobody(person.to_owned()));
    }
    let mentions = mentions(app, &names).await?;
    Ok(Found {
        names,
        records,
        mentions,
    })
}

/// Erases what was found, and puts on record that it was done: by whom and why, and not of whom.
pub async fn forget(
    app: &App,
    found: &Found,
    by: &Asker,
    reason: &str,
) -> Result<Erased, ForgetError> {
    let names = &found.names;
    if names.are_in(reason) {
        return Err(ForgetError::NamedByReason);
    }
    let operator = by.on_record();
    let is_themselves = names.mean(&operator);
    let payload = json!({"reason": reason, "by_themselves": is_themselves});
    let mut event = app.event(EventType::PersonErased, by.actor.clone(), payload);
    if !is_themselves {
        event.people = vec![("operator".to_owned(), operator)];
    }
    Ok(app.store.erase_person(names, &event).await?)
}

/// The section of the configuration that is about the person.
fn configured(app: &App, names: &Names) -> Option<String> {
    let is_theirs = |section: &String| {
        let login = Some(section.clone());
        names.mean(&Person {
            login,
            ..Person::default()
        })
    };
    let found = app.people.iter().find(|(section, identity)| {
        is_theirs(section)
            || names.all().iter().any(|name| {
                identity.is(&Person {
                    login: Some(name.clone()),
                    email: Some(name.clone()),
                    ..Person::default()
                })
            })
    });
    found.map(|(section, _)| section.clone())
}

async fn mentions(app: &App, names: &Names) -> store::Result<Mentions> {
    let mut mentions = Mentions::default();
    let mut after = -1;
    loop {
        let page = app.store.payloads_after(after).await?;
        let Some((last, _)) = page.last() else {
            return Ok(mentions);
        };
        after = *last;
        for (sequence, payload) in page {
            if names.are_in(&payload) {
                mentions.count += 1;
                if mentions.events.len() < MOST_MENTIONS {
                    mentions.events.push(sequence);
                }
            }
        }
    }
}
