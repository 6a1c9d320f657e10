//! `lockstep audit retire`: old events leave the history, and their hashes stay.

use std::{io::IsTerminal as _, path::PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};

use super::{
    Exit, Invocation,
    export::{digest_of, read},
    output,
    sync::asker,
};
use crate::{
    app::App,
    domain::audit::checkpoint::VerifierKey,
    sync::{
        hold,
        retention::{self, Archive, Kept, Leaving},
        start,
    },
};

/// Let old events leave the history, after an export that has them in full.
///
/// Their content is deleted here, with the people behind it; their hashes stay for ever, so that the
/// tree and every checkpoint still prove the rest, and the export proves itself. FILE is verified
/// first, against this history and its keys: make it with
/// `lockstep audit export --until 2025-01-01 --out FILE`, and keep it. Only the oldest events leave,
/// none that is younger than `audit.retention`, and none that a legal hold keeps.
///
/// What runs, changes, deliveries and bodies say is not the history's and stays: `as-of` and the
/// lives of objects go back as far as before. It is put on record first, and cannot be undone; after
/// a crash the same command goes on. On a terminal it asks; elsewhere it takes --yes, and without it
/// nothing leaves and the exit code is 2. Where `storage.postgres_owner` is given, it takes that role.
#[derive(Debug, Args)]
pub struct Retire {
    /// The export
    file: PathBuf,
    /// A verifier key to trust beside those of the configuration; may be repeated
    #[arg(long, value_name = "KEY")]
    key: Vec<VerifierKey>,
    /// Why; it is kept in the history
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Do it without asking
    #[arg(long)]
    yes: bool,
}

impl Retire {
    pub async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let reason = self.reason.as_deref().map(hold::reason).transpose()?;
        let app = invocation.open_as_owner().await?;
        let archive = self.archive(&app).await?;
        let leaving = retention::may_leave(&app, &archive).await?;
        let count = leaving.until - leaving.from;
        if count == 0 {
            let why = kept(&leaving).unwrap_or_else(|| "it left already".to_owned());
            if invocation.is_json() {
                output::json(&to_json(&leaving, false))?;
            } else {
                output::text(&format!("nothing of the export may leave: {why}"));
            }
            let has_left = leaving.kept.is_none();
            return Ok(if has_left { Exit::Done } else { Exit::Failed });
        }
        if !(self.yes || output::confirmed(&shown(&leaving), "Let them go, for ever?")?) {
            if invocation.is_json() {
                output::json(&to_json(&leaving, false))?;
            } else {
                output::text(&shown(&leaving));
                eprintln!("nothing left; with --yes it does, for ever");
            }
            return Ok(Exit::Pending);
        }
        let by = asker(&app);
        start::commanded(&app, &by.actor).await?;
        let shows = std::io::stderr().is_terminal();
        let progress = |left: i64| {
            if shows {
                eprint!("\r{} of {count} events", left - leaving.from);
            }
        };
        let done =
            retention::retire(&app, &by, &archive, &leaving, reason.as_deref(), progress).await;
        if shows {
            eprintln!();
        }
        done?;
        if invocation.is_json() {
            output::json(&to_json(&leaving, true))?;
        } else {
            output::text(&format!(
                "{count} events left; the history begins with event {}{}",
                leaving.until,
                rest(&leaving)
            ));
        }
        Ok(Exit::Done)
    }

    async fn archive(&self, app: &App) -> anyhow::Result<Archive> {
        let mut trusted = app.audit.verifier_keys();
        trusted.extend(self.key.iter().cloned());
        anyhow::ensure!(
            !trusted.is_empty(),
            "the export is verified with a key, and there is no audit.signing_key: give --key"
        );
        let file = self.file.clone();
        let (found, sha256) = tokio::task::spawn_blocking(move || {
            let found = read(&file, &trusted)?;
            anyhow::Ok((found, digest_of(&file)?))
        })
        .await??;
        let (manifest, checkpoint, verified) = found.map_err(|refused| {
            anyhow::anyhow!("{} is not to be believed: {refused}", self.file.display())
        })?;
        let from = i64::try_from(manifest.from)?;
        Ok(Archive {
            // Without the folder, which may bear somebody's name.
            file: self
                .file
                .file_name()
                .map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
            sha256,
            from,
            until: from + i64::try_from(verified.whole)?,
            end: i64::try_from(manifest.to)?,
            checkpoint: checkpoint
                .number()
                .and_then(|number| i64::try_from(number).ok())
                .context("the checkpoint of the export has no number")?,
            size: i64::try_from(checkpoint.size)?,
            root: checkpoint.root,
        })
    }
}

fn shown(leaving: &Leaving) -> String {
    format!(
        "{} events may leave, {} to {}{}",
        leaving.until - leaving.from,
        leaving.from,
        leaving.until - 1,
        rest(leaving)
    )
}

fn rest(leaving: &Leaving) -> String {
    kept(leaving).map_or(String::new(), |why| {
        format!("; of the rest of the export none may: {why}")
    })
}

fn kept(leaving: &Leaving) -> Option<String> {
    Some(match leaving.kept.as_ref()? {
        Kept::Young => "it is younger than audit.retention".to_owned(),
        Kept::Held(hold) => format!("the legal hold {} keeps it ({})", hold.name, hold.reason),
    })
}

fn to_json(leaving: &Leaving, is_done: bool) -> Value {
    json!({
        "retired": is_done,
        "from": leaving.from,
        "until": leaving.until,
        "events": leaving.until - leaving.from,
        "kept": kept(leaving),
    })
}
