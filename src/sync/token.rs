//! Making, revoking and checking tokens. The text of a token leaves this module once, to whoever
//! made it.

use std::collections::BTreeSet;

use secrecy::SecretString;
use serde_json::json;

use crate::{
    app::App,
    domain::{
        audit::event::{Actor, Asker, EventType, Person},
        token::{Presented, Refusal, Scope, Token, mint},
    },
    message::Origin,
    store,
};

/// What a new token is for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Somebody whom the configuration knows.
    pub person: String,
    pub scopes: BTreeSet<Scope>,
    pub expires_at: i64,
    pub note: Option<String>,
}

/// Who showed a token that is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub person: String,
    /// The id of the token.
    pub token: String,
    /// Where they called from, if they called.
    pub origin: Origin,
}

impl Caller {
    /// The caller as one who asks for something.
    pub fn asker(&self, kind: &str) -> Asker {
        Asker {
            person: Person {
                login: Some(self.person.clone()),
                ..Person::default()
            },
            address: self.origin.address.map(|address| address.to_string()),
            actor: Actor::new(kind, self.token.clone()),
            trace: self.origin.trace.clone(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Makes a token and records that, with who made it. Gives its record and its text.
pub async fn create(
    app: &App,
    wanted: Wanted,
    actor: Actor,
    operator: Person,
) -> store::Result<(Token, SecretString)> {
    let mut id = [0; 6];
    let mut secret = [0; 32];
    for bytes in [&mut id[..], &mut secret[..]] {
        aws_lc_rs::rand::fill(bytes).expect("the operating system gives random bytes");
    }
    let (id, text, hash) = mint(id, &secret);
    let Wanted {
        person,
        scopes,
        expires_at,
        note,
    } = wanted;
    let token = Token {
        id,
        person,
        hash,
        scopes,
        note,
        created_at: app.now(),
        expires_at,
        revoked_at: None,
        last_used_at: None,
    };
    let payload = json!({
        "token": token.id,
        "scopes": token.scopes,
        "expires_at": token.expires_at,
        "note": token.note,
    });
    let mut event = app.event(EventType::TokenCreated, actor, payload);
    event.people = people(&token, operator);
    app.store.create_token(&token, &event).await?;
    Ok((token, text.into()))
}

/// Says `false` when there is no such token that is not revoked already.
pub async fn revoke(app: &App, id: &str, actor: Actor, operator: Person) -> store::Result<bool> {
    let Some(token) = app.store.token(id).await? else {
        return Ok(false);
    };
    let now = app.now();
    let mut event = app.event(EventType::TokenRevoked, actor, json!({"token": token.id}));
    event.people = people(&token, operator);
    app.store.revoke_token(id, now, &event).await
}

fn people(token: &Token, operator: Person) -> Vec<(String, Person)> {
    let holder = Person {
        login: Some(token.person.clone()),
        ..Person::default()
    };
    vec![
        ("holder".to_owned(), holder),
        ("operator".to_owned(), operator),
    ]
}

/// Checks a token against the database and the configuration; one of the scopes is enough.
pub async fn sign_in(app: &App, text: &str, scopes: &[Scope]) -> Result<Caller, SignInError> {
    let shown = Presented::parse(text).ok_or(Refusal::Malformed)?;
    let token = app.store.token(&shown.id).await?;
    let token = token.ok_or(Refusal::Unknown)?;
    let now = app.now();
    let opened = scopes.iter().map(|&scope| token.opens(&shown, scope, now));
    opened
        .reduce(Result::or)
        .unwrap_or(Err(Refusal::OutOfScope))?;
    if !app.people.contains_key(&token.person) {
        return Err(Refusal::NoPerson.into());
    }
    app.store.token_used(&token, now).await?;
    Ok(Caller {
        person: token.person,
        token: token.id,
        origin: Origin::default(),
    })
}
