//! `lockstep audit forget`: erasing a person from the history, which stays provable.

use clap::Args;
use serde_json::{Value, json};

use super::{Exit, Invocation, output, sync::asker};
use crate::{
    store::Erased,
    sync::{
        forget::{self, Found},
        hold, start,
    },
};

/// Erase a person: nobody can tell any more who it was, and the history stays provable.
///
/// Names, logins and addresses of people are kept beside the history, behind commitments; they are
/// deleted there, and taken out of deliveries, runs, approvals, holds and tokens. What happened, and
/// that somebody did it, stays. That it was done is itself on record, with the reason and without
/// the name. It cannot be undone.
///
/// First it shows what names them. On a terminal it asks then; elsewhere it takes --yes, and without
/// it nothing is erased and the exit code is 2. It does not reach exports and notices that were given
/// out, backups (erase again after restoring one), messages that wait in the queue, and what people
/// wrote into reasons or the names of branches: those events are named. A person of the configuration
/// is refused. Where `storage.postgres_owner` is given, it takes that role. In Postgres the old rows are gone for good with the next vacuum.
#[derive(Debug, Args)]
pub struct Forget {
    /// A login, an e-mail address or a name, as the history has it
    person: String,
    /// Why, without the name; it is kept in the history
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Only what is on record under exactly PERSON, and not under what those records show them to go
    /// by as well
    #[arg(long)]
    exactly: bool,
    /// Erase without asking
    #[arg(long)]
    yes: bool,
}

impl Forget {
    pub async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let person = self.person.trim();
        anyhow::ensure!(!person.is_empty(), "name the person");
        let reason = hold::reason(&self.reason)?;
        let app = invocation.open_as_owner().await?;
        let found = if self.exactly {
            forget::find_exactly(&app, person).await?
        } else {
            forget::find(&app, person).await?
        };
        anyhow::ensure!(
            !found.names.are_in(&reason),
            forget::ForgetError::NamedByReason
        );
        if !(self.yes || output::confirmed(&shown(&found), "Erase this, for ever?")?) {
            if invocation.is_json() {
                output::json(&to_json(&found, &found.records, false))?;
            } else {
                output::text(&shown(&found));
                eprintln!("nothing was erased; with --yes it is, for ever");
            }
            return Ok(Exit::Pending);
        }
        let by = asker(&app);
        // What was loaded before may name a section that is gone now.
        start::commanded(&app, &by.actor).await?;
        let erased = forget::forget(&app, &found, &by, &reason).await?;
        if invocation.is_json() {
            output::json(&to_json(&found, &erased, true))?;
        } else {
            output::text(&format!(
                "erased: {}{}",
                counted(&erased),
                mentioned(&found)
            ));
        }
        Ok(Exit::Done)
    }
}

fn shown(found: &Found) -> String {
    format!(
        "goes by: {}\non record: {}{}",
        found.names.all().join(", "),
        counted(&found.records),
        mentioned(found)
    )
}

fn counted(erased: &Erased) -> String {
    let Erased {
        commitments,
        deliveries,
        runs,
        others,
    } = erased;
    format!(
        "{commitments} times behind a commitment of the history, in {deliveries} deliveries, in \
         {runs} runs, in {others} other texts"
    )
}

fn mentioned(found: &Found) -> String {
    let mentions = &found.mentions;
    if mentions.count == 0 {
        return String::new();
    }
    let events: Vec<String> = mentions.events.iter().map(ToString::to_string).collect();
    let more = if mentions.count > events.len() {
        ", …"
    } else {
        ""
    };
    format!(
        "\nnot erased, because the history's hashes cover it: {} events have such a name in their \
         words ({}{more})",
        mentions.count,
        events.join(", "),
    )
}

fn to_json(found: &Found, erased: &Erased, is_done: bool) -> Value {
    let Erased {
        commitments,
        deliveries,
        runs,
        others,
    } = erased;
    json!({
        "erased": is_done,
        "names": found.names.all(),
        "commitments": commitments,
        "deliveries": deliveries,
        "runs": runs,
        "other_texts": others,
        "mentions": {"count": found.mentions.count, "events": found.mentions.events},
    })
}
