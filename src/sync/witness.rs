//! A file outside of the database that notes where the history ends. A database that knows less
//! was restored from a backup: its record of who owns what may be older than the gateways, so
//! deletions wait until ownership was taken anew.
//!
//! The file is one line of JSON: `{"size": 42, "hash": "…"}`, the number of events and the hash of
//! the last one.

use std::{io::Write, path::Path};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing::error;

use crate::{
    app::App,
    domain::{audit::event::EventType, canonical::Digest},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    size: i64,
    hash: Digest,
}

/// Compares the history with what was noted, and says so when it knows less. Ends with the note
/// brought up to date. Does nothing where no witness is configured.
pub async fn check(app: &App) -> anyhow::Result<()> {
    let Some(path) = &app.witness else {
        return Ok(());
    };
    if let Some(told) = read(path)?
        && !holds(app, told).await?
    {
        let size = app.store.head().await?.size;
        error!(
            told = told.size,
            found = size,
            "the history knows less than what was noted in {}: the database was restored from an \
             older backup. Deletions wait until `lockstep recover TARGET` for each target",
            path.display()
        );
        let payload = json!({"told": told, "found": size});
        let event = app.event(EventType::HistoryBehind, app.actor(), payload);
        let targets: Vec<String> = app.targets.keys().cloned().collect();
        let now = app.now();
        app.store
            .set_doubtful(&targets, Some(now), now, Some(&event))
            .await?;
    }
    note(app).await
}

/// Notes where the history ends now.
pub async fn note(app: &App) -> anyhow::Result<()> {
    let Some(path) = &app.witness else {
        return Ok(());
    };
    let head = app.store.head().await?;
    let told = Told {
        size: head.size,
        hash: head.hash,
    };
    let path = path.clone();
    tokio::task::spawn_blocking(move || write(&path, told)).await?
}

/// Whether the history still has the event that was noted as its last.
async fn holds(app: &App, told: Told) -> anyhow::Result<bool> {
    if told.size == 0 {
        return Ok(true);
    }
    let found = app.store.hash_of(told.size - 1).await?;
    Ok(found == Some(told.hash))
}

fn read(path: &Path) -> anyhow::Result<Option<Told>> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", path.display()));
        }
    };
    let told = serde_json::from_slice(&text).with_context(|| {
        format!(
            "{} does not say where the history ends: it is storage.witness; remove it only if you \
             are sure that the database is the newest",
            path.display()
        )
    })?;
    Ok(Some(told))
}

/// Whole or not at all: a crash leaves the note of before.
fn write(path: &Path, told: Told) -> anyhow::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer(&mut file, &told)?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        std::fs::File::open(folder)?.sync_all()
    };
    write().with_context(|| format!("cannot write {} (storage.witness)", path.display()))
}
