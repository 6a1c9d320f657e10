//! `lockstep audit export`, and the other end of it: `lockstep audit verify FILE`.
//!
//! What is in the file, and what proves it, is told in [`crate::domain::audit::export`].

use std::{
    fs::File,
    io::{BufRead, BufReader, BufWriter, IsTerminal as _, Read, Seek as _, SeekFrom, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use super::{Exit, Invocation, output, sync::asker};
use crate::{
    app::App,
    domain::{
        audit::{
            checkpoint::{Checkpoint, VerifierKey},
            event::{BEFORE_THE_FIRST, Event, Header},
            export::{
                self, Checker, Earlier, Filter, Handover, Line, Manifest, Proof, Refused, Verified,
                cloud_event, csv_head, csv_row, subtrees,
            },
            keys::Named,
        },
        canonical::Digest,
        moment::parse_moment,
        object::ObjectKey,
    },
    store::KeptCheckpoint,
    sync::{
        checkpoint::{self, Signing},
        reading::{self, Exported},
    },
};

const PAGE: i64 = 1_000;
/// A member that is read as a whole is not larger.
const LARGEST_MEMBER: u64 = 16 * 1024 * 1024;
/// One event is not larger: a run of ten thousand changes takes a tenth of it.
const LONGEST_LINE: u64 = 256 * 1024 * 1024;

/// Write a part of the history into one file that proves itself.
///
/// It holds every event of the time with its hash, the content of those that the filter names, the
/// proof that they are what was signed, the signed checkpoint, and the same once more as a CSV file
/// for spreadsheets and as `CloudEvents`. An event outside of the filter is there with its header
/// and hash, so that nobody has to believe that nothing was left out. Whoever has the verifier key
/// verifies it with `lockstep audit verify FILE --key KEY`, offline. The export is itself recorded.
#[derive(Debug, Args)]
pub struct Export {
    /// From a day (2026-11-23), a moment (2026-11-23T12:00:00Z) or a time ago (36h, 7d) on
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Up to a day, a moment or a time ago, itself not included
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// The content of this target's events only
    #[arg(long)]
    target: Option<String>,
    /// The content of this stack's events only
    #[arg(long)]
    stack: Option<String>,
    /// The content of this object's events only, as in oas/orders
    #[arg(long)]
    object: Option<ObjectKey>,
    /// Where to write it; a file that is there stays
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Export {
    pub async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        anyhow::ensure!(
            !self.out.exists(),
            "{} is there already; name another file",
            self.out.display()
        );
        let app = invocation.open().await?;
        let now = app.now();
        let moment = |when: Option<&str>| when.map(|when| parse_moment(when, now)).transpose();
        let filter = Filter {
            since: moment(self.since.as_deref())?,
            until: moment(self.until.as_deref())?,
            target: self.target.clone(),
            stack: self.stack.clone(),
            object: self.object.clone(),
        };
        let checkpoint = newest_checkpoint(&app).await?;
        let (file, manifest) = write(&app, filter, &checkpoint, &self.out).await?;

        let path = file.path().to_owned();
        let key = app.audit.signing_key.as_ref().map(|key| key.verifier());
        let trusted: Vec<VerifierKey> = key.into_iter().cloned().collect();
        let found = tokio::task::spawn_blocking(move || read(&path, &trusted)).await??;
        if let Err(refused) = found {
            bail!(
                "nothing was exported, because it would not verify: {refused}\n\
                 hint: `lockstep audit verify` names what is wrong with the history"
            );
        }
        let digest = digest_of(file.path())?;
        // No export without a record of it.
        let exported = Exported {
            filter: json!(manifest.filter),
            from: manifest.from.cast_signed(),
            until: manifest.to.cast_signed(),
            events: manifest.matches.cast_signed(),
            sha256: digest,
        };
        reading::exported(&app, &asker(&app), &exported).await?;
        file.persist_noclobber(&self.out)
            .with_context(|| format!("cannot write {}", self.out.display()))?;

        let key = key.map(ToString::to_string).unwrap_or_default();
        if invocation.is_json() {
            output::json(&json!({
                "file": self.out,
                "sha256": digest,
                "events": manifest.events,
                "matches": manifest.matches,
                "checkpoint": checkpoint.number,
                "verifier_key": key,
            }))?;
        } else {
            output::text(&format!(
                "{} events, {} of them in full, proved against checkpoint {}\n\
                 verify it anywhere: lockstep audit verify {} --key '{key}'",
                manifest.events,
                manifest.matches,
                checkpoint.number,
                self.out.display(),
            ));
        }
        Ok(Exit::Done)
    }
}

/// A checkpoint over all that there is, made now if nobody else is at it.
async fn newest_checkpoint(app: &App) -> anyhow::Result<KeptCheckpoint> {
    match checkpoint::sign(app).await? {
        Signing::Signed(checkpoint) => Ok(checkpoint),
        Signing::Keyless => bail!(
            "an export is proved by a signed checkpoint, and there is no audit.signing_key: make \
             one with `lockstep audit keygen`"
        ),
        Signing::Refused(why) => bail!("no checkpoint is signed: {why}"),
        Signing::Busy | Signing::NotDue => app
            .store
            .last_checkpoint()
            .await?
            .context("another process signs the first checkpoint at this moment; try again"),
    }
}

/// The three members that grow with the history, before it is known how large they are.
struct Bodies {
    log: BufWriter<File>,
    csv: BufWriter<File>,
    cloud_events: BufWriter<File>,
}

async fn write(
    app: &App,
    filter: Filter,
    checkpoint: &KeptCheckpoint,
    out: &Path,
) -> anyhow::Result<(NamedTempFile, Manifest)> {
    let folder = match out.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let cannot_write = || format!("cannot write to {}", folder.display());
    let body = || tempfile::tempfile_in(folder).with_context(cannot_write);
    let mut bodies = Bodies {
        log: BufWriter::new(body()?),
        csv: BufWriter::new(body()?),
        cloud_events: BufWriter::new(body()?),
    };
    let origin = origin_of(&checkpoint.note)?;
    let (from, to) = range(app, &filter, checkpoint.size).await?;
    let mut manifest = Manifest {
        format: export::FORMAT.to_owned(),
        lockstep: env!("CARGO_PKG_VERSION").to_owned(),
        created_at: output::rfc3339(app.now()),
        origin,
        from: from.unsigned_abs(),
        to: to.unsigned_abs(),
        previous: BEFORE_THE_FIRST,
        filter,
        events: (to - from).unsigned_abs(),
        matches: 0,
    };
    let shows = std::io::stderr().is_terminal() && to - from > PAGE;
    bodies.csv.write_all(csv_head().as_bytes())?;
    let mut next = from;
    while next < to {
        let events = app.store.events_from(next, PAGE.min(to - next)).await?;
        let (Some(first), Some(last)) = (events.first(), events.last()) else {
            bail!("event {next} is missing: `lockstep audit verify` says more");
        };
        if next == from {
            manifest.previous = first.previous;
        }
        next = last.sequence + 1;
        for event in &events {
            manifest.matches += u64::from(put(&mut bodies, &manifest, event)?);
        }
        if shows {
            eprint!("\r{} of {} events", next - from, to - from);
        }
    }
    if shows {
        eprintln!();
    }
    let proof = proof(app, from, to, checkpoint).await?;
    let mut file = tempfile::Builder::new()
        .prefix(".lockstep-export-")
        .tempfile_in(folder)
        .with_context(cannot_write)?;
    pack(file.as_file_mut(), &manifest, checkpoint, &proof, bodies)?;
    Ok((file, manifest))
}

/// Writes one event, and says whether its content is there.
fn put(bodies: &mut Bodies, manifest: &Manifest, event: &Event) -> anyhow::Result<bool> {
    let header: Header = serde_json::from_str(&event.header)
        .with_context(|| format!("event {} has a header that cannot be read", event.sequence))?;
    let is_match = manifest.filter.matches(&header);
    serde_json::to_writer(&mut bodies.log, &Line::of(event, is_match))?;
    bodies.log.write_all(b"\n")?;
    if is_match {
        bodies.csv.write_all(csv_row(event, &header).as_bytes())?;
        let line = cloud_event(&manifest.origin, event, &header);
        bodies.cloud_events.write_all(line.as_bytes())?;
    }
    Ok(is_match)
}

/// The events from the first to the last of the time that is asked for. Clocks of several processes
/// differ, so some between them may be outside of it.
async fn range(app: &App, filter: &Filter, size: i64) -> anyhow::Result<(i64, i64)> {
    let (since, until) = (filter.since, filter.until);
    // What left the history is in the exports from before it did.
    let start = app.store.left().await?;
    if since.is_none() && until.is_none() {
        return Ok((start, size));
    }
    let found = app.store.events_within(since, until, size).await?;
    let (first, last) = found.unwrap_or((size, size - 1));
    Ok((
        if since.is_none() { start } else { first },
        if until.is_none() { size } else { last + 1 },
    ))
}

async fn proof(
    app: &App,
    from: i64,
    to: i64,
    checkpoint: &KeptCheckpoint,
) -> anyhow::Result<Proof> {
    let nodes = |first: i64, end: i64| subtrees(first.unsigned_abs()..end.unsigned_abs());
    let earlier = app.store.last_checkpoint_within(from.max(1)).await?;
    let earlier = match earlier.filter(|earlier| earlier.number < checkpoint.number) {
        None => None,
        Some(earlier) => app
            .store
            .prove_consistency(earlier.size, checkpoint.size)
            .await?
            .map(|consistency| Earlier {
                checkpoint: earlier.note,
                consistency,
            }),
    };
    Ok(Proof {
        before: app.store.tree_nodes(&nodes(0, from)).await?,
        after: app.store.tree_nodes(&nodes(to, checkpoint.size)).await?,
        earlier,
        handovers: handovers(app, checkpoint).await?,
    })
}

/// Every change of the signing key, with the first checkpoint that both keys signed.
async fn handovers(app: &App, newest: &KeptCheckpoint) -> anyhow::Result<Vec<Handover>> {
    let mut handovers = Vec::new();
    for event in app.store.signing_keys_named().await? {
        let named: Named = serde_json::from_str(&event.payload)
            .context("the event that names a signing key cannot be read")?;
        if named.before.is_none() || event.sequence >= newest.size {
            continue;
        }
        let number = app.store.first_checkpoint_over(event.sequence + 1).await?;
        let Some(number) = number else { continue };
        let kept = app.store.checkpoints_from(number, 1).await?;
        let Some(kept) = kept.into_iter().next() else {
            continue;
        };
        let inclusion = app.store.prove_inclusion(event.sequence, kept.size).await?;
        handovers.push(Handover {
            header: event.header,
            payload: event.payload,
            previous: event.previous,
            checkpoint: kept.note,
            inclusion: inclusion.unwrap_or_default(),
        });
    }
    Ok(handovers)
}

fn origin_of(note: &str) -> anyhow::Result<String> {
    let (text, _) = note.split_once("\n\n").context("a checkpoint has no end")?;
    let checkpoint: Checkpoint = format!("{text}\n").parse()?;
    Ok(checkpoint.origin)
}

fn pack(
    file: &mut File,
    manifest: &Manifest,
    checkpoint: &KeptCheckpoint,
    proof: &Proof,
    bodies: Bodies,
) -> anyhow::Result<()> {
    let mut archive = tar::Builder::new(BufWriter::new(&mut *file));
    let at = u64::try_from(checkpoint.at / 1_000_000).unwrap_or(0);
    let header = |size: u64| {
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o644);
        header.set_mtime(at);
        header
    };
    let readme = readme(manifest);
    for (name, content) in [
        ("manifest.json", serde_json::to_vec_pretty(manifest)?),
        ("checkpoint", checkpoint.note.clone().into_bytes()),
        ("proof.json", serde_json::to_vec_pretty(proof)?),
    ] {
        let size = content.len() as u64;
        archive.append_data(&mut header(size), name, content.as_slice())?;
    }
    for (name, body) in [
        ("log.ndjson", bodies.log),
        ("changes.csv", bodies.csv),
        ("events.ndjson", bodies.cloud_events),
    ] {
        let mut body = body
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)?;
        let size = body.seek(SeekFrom::End(0))?;
        body.seek(SeekFrom::Start(0))?;
        archive.append_data(&mut header(size), name, body)?;
    }
    archive.append_data(
        &mut header(readme.len() as u64),
        "README.txt",
        readme.as_bytes(),
    )?;
    archive.into_inner()?.flush()?;
    file.sync_all()?;
    Ok(())
}

fn readme(manifest: &Manifest) -> String {
    format!(
        "An export of the history of {}: events {} to {} (the latter not included), {} of them in \
         full.\n\n\
         changes.csv is for a spreadsheet, events.ndjson for programs (CloudEvents 1.0).\n\
         log.ndjson is what proves them: every event of the range with its hash.\n\n\
         Verify it with the verifier key of the log, which you were given by another way than this \
         file:\n\n    lockstep audit verify FILE --key KEY\n\n\
         The format is documented in Lockstep's sources, src/domain/audit/export.rs; a second \
         verifier, in Python, is tests/verify_export.py.\n",
        manifest.origin, manifest.from, manifest.to, manifest.matches
    )
}

/// Verifies an export, with nothing but the file and the keys.
pub fn verify_file(
    file: &Path,
    keys: &[VerifierKey],
    invocation: &Invocation,
) -> anyhow::Result<Exit> {
    let found = read(file, keys)?;
    if invocation.is_json() {
        output::json(&match &found {
            Ok((manifest, checkpoint, verified)) => json!({
                "ok": true,
                "origin": manifest.origin,
                "from": manifest.from,
                "to": manifest.to,
                "filter": manifest.filter,
                "events": verified.events,
                "matches": verified.matches,
                "checkpoint": {
                    "number": checkpoint.number(),
                    "size": checkpoint.size,
                    "time": checkpoint.time(),
                },
            }),
            Err(Refused::Event { sequence, what }) => {
                json!({"ok": false, "event": sequence, "problem": what})
            }
            Err(Refused::Whole(what)) => json!({"ok": false, "problem": what}),
        })?;
    } else {
        output::text(&match &found {
            Ok((manifest, checkpoint, verified)) => format!(
                "{} events of {} ({} to {}), {} of them in full, every one as it was written and \
                 none left out; signed over {} events{}",
                verified.events,
                manifest.origin,
                manifest.from,
                manifest.to,
                verified.matches,
                checkpoint.size,
                checkpoint
                    .time()
                    .map(|time| format!(" at {time}"))
                    .unwrap_or_default(),
            ),
            Err(refused) => format!("the export is not to be believed: {refused}"),
        });
    }
    Ok(if found.is_ok() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

pub type Found = Result<(Manifest, Checkpoint, Verified), Refused>;

/// Reads the archive once, from its beginning to its end.
pub fn read(path: &Path, keys: &[VerifierKey]) -> anyhow::Result<Found> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut archive = tar::Archive::new(BufReader::new(file));
    let mut members = Members(
        archive
            .entries()
            .with_context(|| format!("{} is no tar archive", path.display()))?,
    );
    Ok(check(&mut members, keys))
}

/// The members of an archive, each asked for by the name that must come next.
struct Members<'a, R: Read>(tar::Entries<'a, R>);

impl<'a, R: Read> Members<'a, R> {
    fn next(&mut self, name: &str) -> Result<tar::Entry<'a, R>, Refused> {
        let missing = || Refused::Whole(format!("{name} is not where it belongs in the file"));
        let entry = self.0.next().ok_or_else(missing)?;
        let entry = entry.map_err(|error| unreadable(name, &error))?;
        let is_it = entry.path_bytes().as_ref() == name.as_bytes();
        let is_file = entry.header().entry_type().is_file();
        if is_it && is_file {
            Ok(entry)
        } else {
            Err(missing())
        }
    }

    fn text(&mut self, name: &str) -> Result<String, Refused> {
        let mut text = String::new();
        let entry = self.next(name)?;
        if entry.size() > LARGEST_MEMBER {
            return Err(Refused::Whole(format!("{name} is too large")));
        }
        entry
            .take(LARGEST_MEMBER)
            .read_to_string(&mut text)
            .map_err(|error| unreadable(name, &error))?;
        Ok(text)
    }

    fn json<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, Refused> {
        serde_json::from_str(&self.text(name)?).map_err(|error| unreadable(name, &error))
    }

    fn digest(&mut self, name: &str) -> Result<Digest, Refused> {
        digest(self.next(name)?).map_err(|error| unreadable(name, &error))
    }
}

fn unreadable(name: &str, error: &impl ToString) -> Refused {
    Refused::Whole(format!("{name} cannot be read: {}", error.to_string()))
}

fn check<R: Read>(members: &mut Members<'_, R>, keys: &[VerifierKey]) -> Found {
    let manifest: Manifest = members.json("manifest.json")?;
    let note = members.text("checkpoint")?;
    let proof: Proof = members.json("proof.json")?;
    let trusted = export::trusted(keys, &proof.handovers)?;
    let open = |what: &str, note: &str| {
        Checkpoint::open(note, &trusted)
            .map(|(checkpoint, _)| checkpoint)
            .map_err(|error| Refused::Whole(format!("{what}: {error}")))
    };
    let checkpoint = open("the checkpoint", &note)?;
    // It may be older than the keys that are trusted here: then it adds nothing.
    let earlier = proof
        .earlier
        .as_ref()
        .map(|earlier| open("the earlier checkpoint", &earlier.checkpoint))
        .transpose();
    let earlier = if proof.handovers.is_empty() {
        earlier?
    } else {
        earlier.unwrap_or_default()
    };
    let mut checker = Checker::new(
        manifest.clone(),
        checkpoint.clone(),
        proof,
        earlier.as_ref(),
    )?;
    let mut lines = BufReader::new(members.next("log.ndjson")?);
    let mut line = String::new();
    loop {
        line.clear();
        let read = (&mut lines).take(LONGEST_LINE).read_line(&mut line);
        let read = read.map_err(|error| unreadable("log.ndjson", &error))?;
        if read == 0 {
            break;
        }
        checker.line(&line)?;
    }
    drop(lines);
    let verified = checker.finish()?;
    if members.digest("changes.csv")? != verified.csv {
        return Err(Refused::Whole(
            "changes.csv does not say what the events say".to_owned(),
        ));
    }
    if members.digest("events.ndjson")? != verified.cloud_events {
        return Err(Refused::Whole(
            "events.ndjson does not say what the events say".to_owned(),
        ));
    }
    Ok((manifest, checkpoint, verified))
}

fn digest(mut reader: impl Read) -> std::io::Result<Digest> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(Digest(hasher.finalize().into())),
            read => hasher.update(&buffer[..read]),
        }
    }
}

pub fn digest_of(path: &Path) -> anyhow::Result<Digest> {
    Ok(digest(File::open(path)?)?)
}
