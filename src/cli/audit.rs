//! `lockstep audit …`: the history's proof.

use std::{io::IsTerminal as _, path::PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Exit, Invocation,
    export::{Export, verify_file},
    forget::Forget,
    legal_hold::LegalHolds,
    output,
    retire::Retire,
};
use crate::{
    app::App,
    domain::{
        audit::{
            catalogue,
            checkpoint::{Checkpoint, VerifierKey, notes},
            verify::Flaw,
        },
        canonical::Digest,
    },
    store::{self, Verification, Walk},
    sync::checkpoint,
};

/// Verify the history, make, show and change what signs it, erase people from it, and let old events
/// go.
#[derive(Debug, Subcommand)]
pub enum Audit {
    Verify(Verify),
    Export(Export),
    Checkpoint(ShowCheckpoint),
    Keygen(Keygen),
    AcceptKey(AcceptKey),
    Forget(Forget),
    Retire(Retire),
    #[command(subcommand)]
    LegalHold(LegalHolds),
    /// Print what every type of event means, and what its payload says
    ///
    /// It needs no configuration.
    Events(Events),
}

/// Walk the history and name the first thing in it that is not as it was written.
///
/// Checked are every event and the one before it, every column of it, the people behind its
/// commitments, the tree over all of it, and every signed checkpoint. What the database alone
/// cannot show is shown by a checkpoint that was kept elsewhere: --against detects a history that
/// was rewritten as a whole, or whose end was cut off. Exit code 1 when something is wrong.
///
/// With a FILE that `lockstep audit export` wrote, that file is verified, offline: it takes no
/// configuration and no database, only --key.
#[derive(Debug, Args)]
pub struct Verify {
    /// An export to verify in place of the database
    #[arg(
        value_name = "FILE",
        requires = "key",
        conflicts_with_all = ["from", "to", "since_checkpoint", "against"]
    )]
    file: Option<PathBuf>,
    /// Begin with this event
    #[arg(long, value_name = "SEQUENCE", value_parser = clap::value_parser!(i64).range(0..))]
    from: Option<i64>,
    /// End before this event
    #[arg(long, value_name = "SEQUENCE", value_parser = clap::value_parser!(i64).range(0..))]
    to: Option<i64>,
    /// Begin where this checkpoint ends; the tree up to there is taken from it
    #[arg(long, value_name = "NUMBER", conflicts_with = "from")]
    since_checkpoint: Option<i64>,
    /// Checkpoints that were kept elsewhere: a file with one or many
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// The verifier key to trust, as `lockstep audit keygen` printed it; may be repeated. Without it
    /// the key of this installation is trusted, or else the first one that the history names
    #[arg(long, value_name = "KEY")]
    key: Vec<VerifierKey>,
}

/// Print the last signed checkpoint, to be kept elsewhere and verified against.
#[derive(Debug, Args)]
pub struct ShowCheckpoint {}

/// Make a key that signs checkpoints, and print the verifier key that belongs to it.
///
/// Give the file as `audit.signing_key`, and the verifier key to whoever verifies the history. To
/// change a key, make a new one of the same name, and name the old one as
/// `audit.previous_signing_key` until the next checkpoint is signed: it vouches for the new one.
#[derive(Debug, Args)]
pub struct Keygen {
    /// The history's name in every checkpoint, such as lockstep.example.com/production
    #[arg(long, value_name = "ORIGIN")]
    name: String,
    /// Where the key is written, for its owner alone; a file that is there stays
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Sign with the configured key although the one before it is lost and cannot vouch for it.
///
/// It is recorded with the reason. Whoever verifies with the old key is told so, and has to be
/// given the new one.
#[derive(Debug, Args)]
pub struct AcceptKey {
    /// Why; it is kept in the history
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

#[derive(Debug, Args)]
pub struct Events {}

impl Audit {
    pub async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        match self {
            Self::Verify(verify) => match &verify.file {
                Some(file) => verify_file(file, &verify.key, invocation),
                None => verify.run(invocation).await,
            },
            Self::Export(export) => export.run(invocation).await,
            Self::Checkpoint(ShowCheckpoint {}) => show(invocation).await,
            Self::Keygen(keygen) => keygen.run(invocation),
            Self::AcceptKey(accept) => accept.run(invocation).await,
            Self::Forget(forget) => forget.run(invocation).await,
            Self::Retire(retire) => retire.run(invocation).await,
            Self::LegalHold(holds) => holds.run(invocation).await,
            Self::Events(events) => events.run(invocation),
        }
    }
}

impl Events {
    fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let Self {} = self;
        if invocation.is_json() {
            output::json(&catalogue::to_json())?;
        } else {
            output::text(catalogue::markdown().trim_end());
        }
        Ok(Exit::Done)
    }
}

impl Verify {
    async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let against = self.against.as_deref().map(read_notes).transpose()?;
        let app = invocation.open().await?;
        let verified = self.verify(&app, against.as_deref()).await?;
        let (exit, value, text) = match &verified {
            Ok(walk) => (Exit::Done, right(walk), told(walk)),
            Err(flaw) => (
                Exit::Failed,
                wrong(flaw),
                format!("the history was tampered with: {flaw}"),
            ),
        };
        if invocation.is_json() {
            output::json(&value)?;
        } else {
            output::text(&text);
        }
        Ok(exit)
    }

    async fn verify(
        &self,
        app: &App,
        against: Option<&[String]>,
    ) -> anyhow::Result<Result<Walk, Flaw>> {
        let pins = if self.key.is_empty() {
            installed_key(app).await?
        } else {
            self.key.clone()
        };
        let from = match self.since_checkpoint {
            None => self.from.unwrap_or(0),
            Some(number) => {
                app.store
                    .checkpoints_from(number, 1)
                    .await?
                    .first()
                    .filter(|checkpoint| checkpoint.number == number)
                    .with_context(|| format!("there is no checkpoint {number}"))?
                    .size
            }
        };
        let kept = against.map(unproved).transpose()?.unwrap_or_default();
        let what = Verification {
            from,
            to: self.to,
            pins,
            kept,
        };
        let mut walk = match app.store.begin_walk(what).await {
            Ok(Ok(walk)) => walk,
            Ok(Err(flaw)) => return Ok(Err(flaw)),
            Err(error) => return Err(error.into()),
        };
        let shows = std::io::stderr().is_terminal() && walk.end() - walk.from() > STEP;
        loop {
            match app.store.walk(&mut walk, STEP).await? {
                Ok(true) => break,
                Ok(false) => {}
                Err(flaw) => return Ok(Err(flaw)),
            }
            if shows {
                eprint!("\r{} of {} events", walk.next(), walk.end());
            }
        }
        if shows {
            eprintln!();
        }
        // Whose word the kept checkpoints are is known once the history has named its keys.
        let known = walk.keys().known();
        for note in against.unwrap_or_default() {
            if let Err(error) = Checkpoint::open(note, &known) {
                let size = unproved(std::slice::from_ref(note))?;
                return Ok(Err(Flaw::Kept {
                    size: size.first().map_or(0, |(size, _)| *size),
                    what: error.to_string(),
                }));
            }
        }
        Ok(Ok(walk))
    }
}

/// How many events are looked at before it is said how far it has come.
const STEP: i64 = 20_000;

/// The keys of this installation are trusted, once there is a checkpoint.
async fn installed_key(app: &App) -> anyhow::Result<Vec<VerifierKey>> {
    let has_signed = app.store.last_checkpoint().await?.is_some();
    Ok(if has_signed {
        app.audit.verifier_keys()
    } else {
        Vec::new()
    })
}

fn read_notes(path: &std::path::Path) -> anyhow::Result<Vec<String>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let notes: Vec<String> = notes(&text).map(|note| note.to_string()).collect();
    anyhow::ensure!(
        !notes.is_empty(),
        "{} holds no checkpoint: an origin, a size and a root on lines of their own, an empty \
         line, and signatures",
        path.display()
    );
    Ok(notes)
}

/// Sizes and roots, whoever signed them.
fn unproved(notes: &[String]) -> anyhow::Result<Vec<(u64, Digest)>> {
    notes
        .iter()
        .map(|note| {
            let (text, _) = note.rsplit_once("\n\n").unwrap_or_default();
            let checkpoint: Checkpoint = format!("{text}\n").parse()?;
            Ok((checkpoint.size, checkpoint.root))
        })
        .collect()
}

fn right(walk: &Walk) -> Value {
    let keys: Vec<String> = walk
        .keys()
        .trusted()
        .iter()
        .map(ToString::to_string)
        .collect();
    json!({
        "ok": true,
        "from": walk.from(),
        "events": walk.next(),
        "head": walk.last(),
        "checkpoints": walk.checkpoints(),
        "signed": walk.sealed(),
        "left": walk.left(),
        "keys": keys,
    })
}

fn told(walk: &Walk) -> String {
    let count = walk.next() - walk.from();
    let signed = if walk.sealed() == 0 {
        "; none is covered by a signed checkpoint".to_owned()
    } else {
        format!(
            "; {} checkpoints, the last one over {} events",
            walk.checkpoints(),
            walk.sealed()
        )
    };
    let left = match walk.left() - walk.from() {
        ..=0 => String::new(),
        left => format!(", {left} of them left and proved by their hashes alone"),
    };
    format!(
        "{count} events, every one as it was written{left}; the last one's hash is {}{signed}",
        walk.last()
    )
}

fn wrong(flaw: &Flaw) -> Value {
    match flaw {
        Flaw::Event(broken) => {
            json!({"ok": false, "event": broken.sequence, "problem": broken.what})
        }
        Flaw::Node { node, what } => {
            json!({"ok": false, "node": {"level": node.level, "index": node.index}, "problem": what})
        }
        Flaw::Checkpoint { number, what } => {
            json!({"ok": false, "checkpoint": number, "problem": what})
        }
        Flaw::Kept { size, what } => {
            json!({"ok": false, "kept_checkpoint": size, "problem": what})
        }
    }
}

async fn show(invocation: &Invocation) -> anyhow::Result<Exit> {
    let app = invocation.open().await?;
    let Some(last) = app.store.last_checkpoint().await? else {
        anyhow::bail!("there is no checkpoint yet: `lockstep serve` signs them");
    };
    if invocation.is_json() {
        output::json(&json!({
            "number": last.number,
            "size": last.size,
            "at": output::rfc3339(last.at),
            "note": last.note,
        }))?;
    } else {
        output::text(last.note.trim_end());
    }
    Ok(Exit::Done)
}

impl Keygen {
    fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let key = store::keygen(&self.name, &self.out)
            .with_context(|| format!("no key was made in {}", self.out.display()))?;
        let verifier = key.verifier().to_string();
        if invocation.is_json() {
            output::json(&json!({"file": self.out, "verifier_key": verifier}))?;
        } else {
            output::text(&verifier);
        }
        Ok(Exit::Done)
    }
}

impl AcceptKey {
    async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let reason = self.reason.trim();
        anyhow::ensure!(!reason.is_empty(), "--reason must say why");
        let app = invocation.open().await?;
        let key = app
            .audit
            .signing_key
            .clone()
            .context("there is no audit.signing_key in the configuration")?;
        let verifier = key.verifier().to_string();
        let named = checkpoint::last_named(&app).await?;
        let is_new = named.is_none_or(|(_, named)| named.key != verifier);
        if is_new {
            checkpoint::record_key(&app, &key, None, Some(reason)).await?;
        }
        if invocation.is_json() {
            output::json(&json!({"verifier_key": verifier, "changed": is_new}))?;
        } else {
            output::text(&verifier);
        }
        Ok(Exit::Done)
    }
}
