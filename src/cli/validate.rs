//! `lockstep validate PATH…`: the manifests of a folder, checked as a run would check them.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::{Exit, Invocation, checkout::Checkout, output};
use crate::{
    git::Selection,
    manifest::{self, Environment, NamedCertificate},
};

/// Check manifests on this machine, without a gateway or a configuration.
///
/// Every problem is listed with its file, line and column. Exit code 1: there are problems.
///
/// With --stack they are read as that stack of the configuration reads them: its folder, its values
/// and patches, the organisation of its target. PATH is then the checkout of its repository. No
/// secret is needed for that.
#[derive(Debug, Args)]
pub struct Validate {
    /// Files or folders with manifests
    #[arg(required_unless_present = "stack", value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Read them as this stack does; PATH is the root of a checkout, by default this folder
    #[arg(long, value_name = "NAME", conflicts_with = "values")]
    stack: Option<String>,
    /// A file with values for ${values.NAME}, by its path from the repository's root; may be
    /// repeated, the later over the earlier
    #[arg(long, value_name = "FILE")]
    values: Vec<String>,
    /// The organisation that the target serves; a document that names another is refused
    #[arg(long, value_name = "ORG")]
    org: Option<String>,
    /// A certificate that the server's configuration has as [certificate.NAME]; may be repeated
    #[arg(long = "certificate", value_name = "NAME")]
    certificates: Vec<String>,
}

impl Validate {
    pub fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let (mut checkout, mut options) = self.files(invocation)?;
        options.now = jiff::Timestamp::from_microsecond(crate::app::now()).ok();
        let searched = checkout.complete(&options.environment, &options.limits);
        options.folders.clone_from(&checkout.folders);
        options.further = std::mem::take(&mut checkout.further);
        let mut read = match searched {
            Ok(()) => manifest::read(&checkout.files, &options),
            Err(problem) => Err(vec![problem]),
        };
        match &mut read {
            Ok(read) => checkout.name_all(read),
            Err(problems) => checkout.name_problems(problems),
        }
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
            print(&read, checkout.files.len());
        }
        Ok(if read.is_ok() {
            Exit::Done
        } else {
            Exit::Failed
        })
    }

    /// The files, and what they are read with.
    fn files(&self, invocation: &Invocation) -> anyhow::Result<(Checkout, manifest::Options)> {
        let not_here = |name: &str| (name.to_owned(), NamedCertificate::NotHere);
        let mut options = manifest::Options {
            org: self.org.clone(),
            certificates: self
                .certificates
                .iter()
                .map(|name| not_here(name))
                .collect(),
            environment: Environment {
                values: self.values.clone(),
                ..Environment::default()
            },
            ..manifest::Options::default()
        };
        let Some(name) = &self.stack else {
            let checkout = Checkout::around(&self.paths, &Selection::default())?;
            return Ok((checkout, options));
        };
        let root = match self.paths.as_slice() {
            [] => Path::new("."),
            [root] => root,
            _ => anyhow::bail!("with --stack, give one path: the root of a checkout"),
        };
        let config = invocation.load_for_manifests()?;
        let stack = config.stacks.get(name.as_str()).with_context(|| {
            let known: Vec<String> = config.stacks.keys().map(ToString::to_string).collect();
            super::unknown("stack", name, known.iter())
        })?;
        let own = config
            .certificates
            .iter()
            .map(|name| not_here(name.as_str()));
        options.certificates.extend(own);
        options.org = options
            .org
            .or_else(|| config.orgs.get(&stack.target).cloned());
        options.environment.clone_from(&stack.environment);
        let selection = Selection::new(stack.files.include(), stack.files.exclude())?;
        let checkout = Checkout::of_stack(root, stack.path.as_str(), &selection)?;
        Ok((checkout, options))
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
