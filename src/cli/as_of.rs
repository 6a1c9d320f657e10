//! `lockstep as-of TARGET --at TIME`: what a target ran at a moment, from what is on record.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};

use super::{
    Exit, Invocation, find_target,
    import::{Folder, Outcome},
    output,
    sync::asker,
};
use crate::{
    app::{App, Target},
    domain::{moment::parse_moment, object::ObjectKey},
    manifest::{
        self,
        write::{self, Layout, Manifest, Refused},
    },
    sync::{
        history::{self, Stand, State},
        reading,
    },
};

/// Show the whole configuration of a target as it was at a moment.
///
/// It is put together from what runs verified and recorded; the target is not asked. It says what
/// it rests on, and what is not known. With --into it is written as manifests, in which references
/// stand for secrets, as `lockstep import` writes them. Exit code 0: done; 1: something that was
/// there could not be written.
#[derive(Debug, Args)]
pub struct AsOf {
    /// The target: a [target.NAME] of the configuration
    target: String,
    /// A day (2026-11-23), a moment (2026-11-23T12:00:00Z) or a time ago (36h, 7d)
    #[arg(long, value_name = "WHEN")]
    at: String,
    /// One object alone, as KIND/ID
    #[arg(long, value_name = "KIND/ID")]
    object: Option<ObjectKey>,
    /// A folder for manifests; made if it is missing
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// Overwrite files that say something else
    #[arg(long, requires = "into")]
    force: bool,
}

impl AsOf {
    pub async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let app = invocation.open().await?;
        let target = find_target(&app, &self.target)?.clone();
        let at = parse_moment(&self.at, app.now())?;
        let past = history::as_of(&app.store, &target.name, at, self.object.as_ref()).await?;
        let mut exit = Exit::Done;
        let mut export = Export::default();
        if let Some(into) = &self.into {
            let asked = json!({
                "target": target.name,
                "at": at,
                "object": self.object,
            });
            reading::reported(&app, &asker(&app), "as-of", asked).await?;
            export = write(&app, &target, &past, into, self.force)?;
            let is_there = |(_, outcome): &(Manifest, Outcome)| {
                !matches!(outcome, Outcome::Kept | Outcome::Failed(_))
            };
            if !export.refused.is_empty() || !export.written.iter().all(is_there) {
                exit = Exit::Failed;
            }
        }
        let Export { written, refused } = export;
        let rests = rests_on(&past, &target, at);
        if invocation.is_json() {
            let stands: Vec<Value> = past.objects.iter().map(stand_json).collect();
            let files: Vec<Value> = written.iter().map(file_json).collect();
            output::json(&json!({
                "target": target.name,
                "at": output::rfc3339(at),
                "rests_on": rests,
                "looked_by": past.looked.as_ref().map(|run| &run.id),
                "looked_at": past.looked.as_ref().and_then(|run| run.finished_at).map(output::rfc3339),
                "objects": stands,
                "foreign": past.foreign,
                "files": files,
                "refused": refused,
            }))?;
            return Ok(exit);
        }
        let rows: Vec<Vec<String>> = past.objects.iter().map(stand_row).collect();
        if !rows.is_empty() {
            output::table(&["OBJECT", "THEN", "SINCE", "COMMIT", "RUN"], rows);
        }
        for (manifest, outcome) in &written {
            eprintln!("{}: {}", manifest.path, outcome.word());
            for secret in &manifest.secrets {
                eprintln!("  {} was a secret: ${}", secret.pointer, secret.variable);
            }
        }
        for Refused { object, reason } in &refused {
            eprintln!("{object}: not written: {reason}");
        }
        for line in rests {
            eprintln!("{line}");
        }
        Ok(exit)
    }
}

/// What came of the manifests.
#[derive(Default)]
struct Export {
    written: Vec<(Manifest, Outcome)>,
    refused: Vec<Refused>,
}

/// What the answer rests on, and what it does not know, in sentences.
fn rests_on(past: &history::AsOf, target: &Target, at: i64) -> Vec<String> {
    let mut lines = Vec::new();
    lines.push(match &past.looked {
        Some(run) => {
            let ended = run.finished_at.unwrap_or(run.started_at);
            format!(
                "it rests on what runs read back and recorded; the whole target was last looked at \
                 before {} by the run {}, which ended {}",
                output::moment(at),
                run.id,
                output::moment(ended)
            )
        }
        None => format!(
            "no run on {} had come to a good end by {}: what is shown is what was recorded, and \
             there may have been more",
            target.name,
            output::moment(at)
        ),
    });
    lines.push(
        "what others changed and changed back between two looks is not on record; the manifests \
         are in the form that is compared, without what the gateway fills in"
            .to_owned(),
    );
    if !target.peers.is_empty() {
        lines.push(format!(
            "it is the configuration of the first of {} nodes",
            target.peers.len() + 1
        ));
    }
    for stand in &past.objects {
        if let Some(drifted) = stand.drifted {
            lines.push(format!(
                "{} was seen changed by hand at {}, and had not been put back: what is shown is \
                 what the last run left (`lockstep history object {} {}` shows the fields)",
                stand.object,
                output::moment(drifted),
                target.name,
                stand.object
            ));
        }
        if let State::Unknown(reason) = &stand.state {
            lines.push(format!("{} is unknown: {reason}", stand.object));
        }
    }
    if !past.foreign.is_empty() {
        let names: Vec<String> = past.foreign.iter().map(ToString::to_string).collect();
        lines.push(format!(
            "these had appeared and belonged to no stack, and what they said is not on record: {}",
            names.join(", ")
        ));
    }
    lines
}

fn write(
    app: &App,
    target: &Target,
    past: &history::AsOf,
    into: &std::path::Path,
    force: bool,
) -> anyhow::Result<Export> {
    let options = manifest::Options {
        org: target.org.clone(),
        ..manifest::Options::default()
    };
    let mut found = Vec::new();
    let mut secrets = Vec::new();
    let mut refused = Vec::new();
    for stand in &past.objects {
        let body = match &stand.state {
            State::Absent => continue,
            State::Known(body) => body,
            State::Unknown(reason) => {
                refused.push(Refused {
                    object: stand.object.clone(),
                    reason: reason.clone(),
                });
                continue;
            }
        };
        let body = serde_json::from_str(body)
            .with_context(|| format!("what is on record of {} cannot be read", stand.object))?;
        match write::unmasked(&stand.object, body) {
            Ok((one, hidden)) => {
                found.push(one);
                secrets.extend(hidden);
            }
            Err(reason) => refused.push(reason),
        }
    }
    let mut made = write::write(&found, Layout::Native, &options, &app.masker);
    refused.append(&mut made.refused);
    let folder = Folder::open(into)?;
    let mut written = Vec::new();
    for mut manifest in made.manifests {
        let own = secrets
            .iter()
            .filter(|secret| secret.object == manifest.object);
        manifest.secrets.extend(own.cloned());
        let outcome = folder.put(&manifest, force);
        written.push((manifest, outcome));
    }
    Ok(Export { written, refused })
}

fn word(state: &State) -> &'static str {
    match state {
        State::Known(_) => "present",
        State::Unknown(_) => "unknown",
        State::Absent => "absent",
    }
}

fn stand_row(stand: &Stand) -> Vec<String> {
    let entry = &stand.rests_on;
    let drifted = if stand.drifted.is_some() {
        ", drifted"
    } else {
        ""
    };
    vec![
        stand.object.to_string(),
        format!("{}{drifted}", word(&stand.state)),
        output::moment(entry.finished_at.unwrap_or(entry.at)),
        entry
            .revision
            .as_ref()
            .map_or("-", |revision| revision.short())
            .to_owned(),
        entry.run.to_string(),
    ]
}

fn stand_json(stand: &Stand) -> Value {
    let entry = &stand.rests_on;
    let (body, why) = match &stand.state {
        State::Known(body) => (serde_json::from_str(body).unwrap_or_default(), None),
        State::Unknown(reason) => (Value::Null, Some(reason)),
        State::Absent => (Value::Null, None),
    };
    json!({
        "object": stand.object,
        "state": word(&stand.state),
        "unknown_because": why,
        "drifted_at": stand.drifted.map(output::rfc3339),
        "since": output::rfc3339(entry.finished_at.unwrap_or(entry.at)),
        "run": entry.run,
        "revision": entry.revision,
        "body": body,
    })
}

fn file_json((manifest, outcome): &(Manifest, Outcome)) -> Value {
    json!({
        "object": manifest.object,
        "file": manifest.path,
        "outcome": outcome.word(),
        "differs": manifest.differs,
        "secrets": manifest.secrets,
    })
}
