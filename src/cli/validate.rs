//! `lockstep validate PATH…`: the manifests of a folder, checked as a run would check them.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};

use super::{Exit, Format, Invocation, annotations, checkout::Checkout, output};
use crate::{
    git::Selection,
    manifest::{self, Checked, Environment, Keyless, NamedCertificate},
};

/// Check manifests on this machine, without a gateway or a configuration.
///
/// Every problem is listed with its file, line and column. With --output github or sarif they show
/// as annotations in a pull request. Exit code 1: there are problems.
///
/// With --stack they are read as that stack of the configuration reads them: its folder, its values
/// and patches, the organisation of its target, what it says of warnings. PATH is then the checkout
/// of its repository. No secret is needed for that.
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
    /// Whether APIs may be open to everybody; without it there is a warning of each
    #[arg(long, value_name = "BOOL")]
    allow_keyless: Option<bool>,
    /// Take warnings for problems
    #[arg(long)]
    strict: bool,
}

impl Validate {
    pub fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let (mut checkout, mut options) = self.files(invocation)?;
        options.now = jiff::Timestamp::from_microsecond(crate::app::now()).ok();
        let checked = checkout.check(&mut options);
        match invocation.output {
            Format::Text => print(&checked, checkout.files.len()),
            Format::Json => output::json(&to_json(&checked))?,
            Format::Github => output::text(&annotations::github(&checked)),
            Format::Sarif => output::json(&annotations::sarif(&checked))?,
        }
        Ok(if checked.problems.is_empty() {
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
            keyless: self
                .allow_keyless
                .map_or_else(Keyless::default, Keyless::of),
            strict: self.strict,
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
        if self.allow_keyless.is_none() {
            options.keyless = stack.keyless;
        }
        options.strict |= stack.strict;
        let selection = Selection::new(stack.files.include(), stack.files.exclude())?;
        let checkout = Checkout::of_stack(root, stack.path.as_str(), &selection)?;
        Ok((checkout, options))
    }
}

fn to_json(checked: &Checked) -> Value {
    let Checked {
        manifests,
        problems,
    } = checked;
    if !problems.is_empty() {
        return json!({"ok": false, "problems": problems, "warnings": manifests.warnings});
    }
    json!({
        "ok": true,
        "objects": manifests.desired.values().map(|object| json!({
            "object": object.key, "name": object.name(), "file": object.path,
        })).collect::<Vec<_>>(),
        "ignored": manifests.ignored,
        "warnings": manifests.warnings,
        "problems": [],
    })
}

fn print(checked: &Checked, files: usize) {
    let Checked {
        manifests,
        problems,
    } = checked;
    let mut text = String::new();
    if problems.is_empty() {
        for object in manifests.desired.values() {
            text.push_str(&format!(
                "{}  {}  {}\n",
                object.key,
                object.name(),
                object.path
            ));
        }
        for ignored in &manifests.ignored {
            text.push_str(&format!("ignored: {ignored}\n"));
        }
    }
    for problem in problems {
        text.push_str(&format!("{problem}\n"));
    }
    for warning in &manifests.warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    if problems.is_empty() {
        text.push_str(&format!(
            "{} objects in {files} files, no problems",
            manifests.desired.len()
        ));
    } else {
        eprintln!("{} problems in {files} files", problems.len());
    }
    output::text(&text);
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
