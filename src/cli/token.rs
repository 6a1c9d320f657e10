//! `lockstep token …`: how people prove who they are.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::{Exit, Invocation, output, sync::operator};
use crate::{
    app::App,
    domain::{
        audit::event::Actor,
        token::{Scope, Token as Record},
    },
    sync::token::{self, Wanted},
};

/// Make, list and revoke tokens, with which people prove to the API who they are.
#[derive(Debug, Subcommand)]
pub enum Token {
    Create(Create),
    List(List),
    Revoke(Revoke),
}

/// Make a token for a person of the configuration, and print it, this once.
///
/// What is kept is a hash, from which nobody gets it back.
#[derive(Debug, Args)]
pub struct Create {
    /// Whose it is: the NAME of a [person.NAME] in the configuration
    #[arg(long, value_name = "NAME")]
    person: String,
    /// What it may be used for: read, operate (runs and holds), approve, audit; several with commas
    #[arg(long, value_delimiter = ',', required = true, value_parser = scope)]
    scope: Vec<Scope>,
    /// When it stops to work: 12h, 90d; a year at most
    #[arg(long, value_name = "TIME", default_value = "90d", value_parser = lifetime)]
    expires: i64,
    /// Where it is used, for whoever reads the list
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

/// List every token that was ever made, without anything that could open a door.
#[derive(Debug, Args)]
pub struct List {}

/// Revoke a token: it opens nothing from now on.
#[derive(Debug, Args)]
pub struct Revoke {
    /// Its id, as `lockstep token list` prints it: the part between the first two `_`
    id: String,
}

impl Token {
    pub async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        match self {
            Self::Create(create) => create.run(invocation).await,
            Self::List(list) => list.run(invocation).await,
            Self::Revoke(revoke) => revoke.run(invocation).await,
        }
    }
}

impl Create {
    async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        const LONGEST_NOTE: usize = 200;
        let Self {
            person,
            scope,
            expires,
            note,
        } = self;
        let note = note
            .map(|note| note.trim().to_owned())
            .filter(|note| !note.is_empty());
        let is_short = note
            .as_ref()
            .is_none_or(|note| note.chars().count() <= LONGEST_NOTE);
        anyhow::ensure!(is_short, "--note is longer than {LONGEST_NOTE} characters");
        let app = invocation.open().await?;
        anyhow::ensure!(
            app.people.contains_key(&person),
            "there is no person {person} in the configuration; {}",
            known(&app)
        );
        let wanted = Wanted {
            person,
            scopes: scope.into_iter().collect::<BTreeSet<_>>(),
            expires_at: app.now().saturating_add(expires),
            note,
        };
        let (record, text) = token::create(&app, wanted, actor(&app), operator()).await?;
        if invocation.is_json() {
            let mut value = to_json(&record, app.now());
            value["token"] = json!(text.expose_secret());
            output::json(&value)?;
        } else {
            output::text(text.expose_secret());
            eprintln!(
                "token {} of {}, for {}, until {}; it is not shown again",
                record.id,
                record.person,
                scopes(&record),
                output::moment(record.expires_at)
            );
        }
        Ok(Exit::Done)
    }
}

impl List {
    async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let app = invocation.open().await?;
        let now = app.now();
        let tokens = app.store.tokens().await?;
        if invocation.is_json() {
            let tokens: Vec<Value> = tokens.iter().map(|token| to_json(token, now)).collect();
            output::json(&json!({"tokens": tokens}))?;
            return Ok(Exit::Done);
        }
        let rows = tokens
            .iter()
            .map(|token| {
                vec![
                    token.id.clone(),
                    token.person.clone(),
                    scopes(token),
                    state(token, now).to_owned(),
                    output::moment(token.expires_at),
                    token
                        .last_used_at
                        .map_or_else(|| "never".to_owned(), output::moment),
                    token.note.clone().unwrap_or_default(),
                ]
            })
            .collect();
        let head = [
            "ID",
            "PERSON",
            "SCOPES",
            "STATE",
            "EXPIRES",
            "LAST USED",
            "NOTE",
        ];
        output::table(&head, rows);
        Ok(Exit::Done)
    }
}

impl Revoke {
    async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let app = invocation.open().await?;
        let revoked = token::revoke(&app, &self.id, actor(&app), operator()).await?;
        anyhow::ensure!(
            revoked,
            "there is no token {} that is not revoked already; `lockstep token list` lists them",
            self.id
        );
        if invocation.is_json() {
            output::json(&json!({"id": self.id, "revoked": true}))?;
        } else {
            output::text(&format!("token {} opens nothing any more", self.id));
        }
        Ok(Exit::Done)
    }
}

fn actor(app: &App) -> Actor {
    Actor::new("cli", app.worker.clone())
}

fn known(app: &App) -> String {
    let names: Vec<&str> = app.people.keys().map(String::as_str).collect();
    if names.is_empty() {
        "add one as [person.NAME], with logins or emails".to_owned()
    } else {
        format!("it has {}", names.join(", "))
    }
}

fn to_json(token: &Record, now: i64) -> Value {
    json!({
        "id": token.id,
        "person": token.person,
        "scopes": token.scopes,
        "state": state(token, now),
        "note": token.note,
        "created_at": output::rfc3339(token.created_at),
        "expires_at": output::rfc3339(token.expires_at),
        "revoked_at": token.revoked_at.map(output::rfc3339),
        "last_used_at": token.last_used_at.map(output::rfc3339),
    })
}

fn scopes(token: &Record) -> String {
    let scopes: Vec<&str> = token.scopes.iter().map(|scope| scope.as_str()).collect();
    scopes.join(",")
}

fn state(token: &Record, now: i64) -> &'static str {
    if token.revoked_at.is_some() {
        "revoked"
    } else if now >= token.expires_at {
        "expired"
    } else {
        "valid"
    }
}

fn scope(text: &str) -> Result<Scope, String> {
    text.parse().map_err(|_| {
        let words: Vec<&str> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
        format!("the scopes are {}", words.join(", "))
    })
}

/// In microseconds.
fn lifetime(text: &str) -> Result<i64, String> {
    const HOUR: i64 = 60 * 60 * 1_000_000;
    const LONGEST: i64 = 366 * 24 * HOUR;
    let (digits, unit) = match text.split_at_checked(text.len().saturating_sub(1)) {
        Some((digits, "h")) => (digits, HOUR),
        Some((digits, "d")) => (digits, 24 * HOUR),
        _ => ("", 0),
    };
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number {
        return Err("a whole number and a unit: 12h, 90d".to_owned());
    }
    let micros = digits
        .parse::<i64>()
        .ok()
        .and_then(|count| count.checked_mul(unit));
    match micros {
        Some(0) => Err("must be 1h or more".to_owned()),
        Some(micros) if micros <= LONGEST => Ok(micros),
        _ => Err("must be 366d or less".to_owned()),
    }
}
