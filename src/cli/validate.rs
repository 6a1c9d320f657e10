//! `lockstep validate PATH…`: the manifests of a folder, checked as a run would check them.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::{Exit, Invocation, output};
use crate::{
    git::Selection,
    manifest::{self, NamedCertificate},
};

/// Check manifests on this machine, without a gateway or a configuration.
///
/// Every problem is listed with its file, line and column. Exit code 1: there are problems.
#[derive(Debug, Args)]
pub struct Validate {
    /// Files or folders with manifests
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The organisation that the target serves; a document that names another is refused
    #[arg(long, value_name = "ORG")]
    org: Option<String>,
    /// A certificate that the server's configuration has as [certificate.NAME]; may be repeated
    #[arg(long = "certificate", value_name = "NAME")]
    certificates: Vec<String>,
}

impl Validate {
    pub fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let mut files = Vec::new();
        for path in &self.paths {
            let selection = Selection::default();
            collect(path, path, &selection, &mut files)
                .with_context(|| format!("cannot read {}", path.display()))?;
        }
        let options = manifest::Options {
            org: self.org.clone(),
            certificates: self
                .certificates
                .iter()
                .map(|name| (name.clone(), NamedCertificate::NotHere))
                .collect(),
            folders: self
                .paths
                .iter()
                .filter(|path| path.is_dir())
                .map(|path| path.display().to_string())
                .collect(),
            now: jiff::Timestamp::from_microsecond(crate::app::now()).ok(),
            ..manifest::Options::default()
        };
        let read = manifest::read(&files, &options);
        if invocation.is_json() {
            let value = match &read {
                Ok(read) => json!({
                    "ok": true,
                    "objects": read.desired.values().map(|object| json!({
                        "object": object.key, "name": object.name(), "file": object.path,
                    })).collect::<Vec<_>>(),
                    "ignored": read.ignored,
                    "warnings": read.warnings,
                    "problems": [],
                }),
                Err(problems) => json!({"ok": false, "problems": problems}),
            };
            output::json(&value)?;
        } else {
            print(&read, files.len());
        }
        Ok(if read.is_ok() {
            Exit::Done
        } else {
            Exit::Failed
        })
    }
}

fn print(read: &Result<manifest::Manifests, Vec<manifest::Problem>>, files: usize) {
    match read {
        Ok(read) => {
            let mut text = String::new();
            for object in read.desired.values() {
                text.push_str(&format!(
                    "{}  {}  {}\n",
                    object.key,
                    object.name(),
                    object.path
                ));
            }
            for ignored in &read.ignored {
                text.push_str(&format!("ignored: {ignored}\n"));
            }
            for warning in &read.warnings {
                text.push_str(&format!("warning: {warning}\n"));
            }
            text.push_str(&format!(
                "{} objects in {files} files, no problems",
                read.desired.len()
            ));
            output::text(&text);
        }
        Err(problems) => {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            output::text(&lines.join("\n"));
            eprintln!("{} problems in {files} files", problems.len());
        }
    }
}

/// The selected files below a folder, or the one file that was named.
pub(super) fn collect(
    root: &Path,
    path: &Path,
    selection: &Selection,
    files: &mut Vec<manifest::SourceFile>,
) -> anyhow::Result<()> {
    let metadata = std::fs::metadata(path)?;
    if metadata.is_file() {
        files.push(manifest::SourceFile {
            path: path.display().to_string(),
            bytes: std::fs::read(path)?,
        });
        return Ok(());
    }
    let mut entries: Vec<PathBuf> = std::fs::read_dir(path)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    entries.sort();
    for entry in entries {
        // Links are not followed: neither are they in a repository.
        let kind = std::fs::symlink_metadata(&entry)?.file_type();
        let below = entry.strip_prefix(root).unwrap_or(&entry);
        if kind.is_dir() {
            let hidden = entry
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if !hidden {
                collect(root, &entry, selection, files)?;
            }
        } else if kind.is_file() && selection.selects(&below.to_string_lossy()) {
            files.push(manifest::SourceFile {
                path: entry.display().to_string(),
                bytes: std::fs::read(&entry)?,
            });
        }
    }
    Ok(())
}
