//! `lockstep convert --from FORM --to native PATH --into DIR`: the manifests of another tool as the
//! gateway's own documents.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::{
    Exit, Invocation,
    checkout::Checkout,
    import::{Folder, Outcome},
    output,
};
use crate::{
    git::Selection,
    manifest::{
        self, SourceFile,
        write::{self, Manifest},
    },
};

/// Write the manifests of another tool as the gateway's own documents, a file an object.
///
/// What is written is read again before it counts: it wants exactly what the manifests want that
/// were read, so that a plan sees no difference. Secrets stay as they stand there, and are named;
/// comments and what only a cluster knows, such as labels, are not carried over. Exit code 1:
/// something could not be written.
#[derive(Debug, Args)]
pub struct Convert {
    /// What wrote the manifests
    #[arg(long, value_enum)]
    from: From,
    /// The form to write
    #[arg(long, value_enum, default_value_t = To::Native)]
    to: To,
    /// The file or folder with manifests
    path: PathBuf,
    /// The folder for the manifests; made if it is missing
    #[arg(long, value_name = "DIR")]
    into: PathBuf,
    /// Overwrite files that say something else
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum From {
    /// Tyk Operator's resources
    Operator,
    /// A tyk-sync repository, with its .tyk.json
    TykSync,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum To {
    /// The gateway's own documents, as JSON
    Native,
}

impl From {
    fn refuse_others(self, files: &[SourceFile]) -> anyhow::Result<()> {
        let holds = |file: &SourceFile, word: &[u8]| {
            file.bytes.windows(word.len()).any(|part| part == word)
        };
        match self {
            Self::Operator
                if !files.iter().any(|file| {
                    holds(file, b"tyk.tyk.io/") || holds(file, b"networking.k8s.io/")
                }) =>
            {
                anyhow::bail!(
                    "no file there has a resource of Tyk Operator (tyk.tyk.io/v1alpha1), nor an Ingress"
                )
            }
            Self::TykSync if !files.iter().any(|file| file.path.ends_with(".tyk.json")) => {
                anyhow::bail!(
                    "there is no .tyk.json, by which a tyk-sync repository is known\nhint: loose \
                     definitions need no conversion; `lockstep validate` reads them as they are"
                )
            }
            _ => Ok(()),
        }
    }
}

impl Convert {
    pub fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let To::Native = self.to;
        let paths = std::slice::from_ref(&self.path);
        let mut checkout = Checkout::around(paths, &Selection::default())?;
        self.from.refuse_others(&checkout.files)?;
        let mut options = manifest::Options {
            keyless: manifest::Keyless::Allowed,
            ..manifest::Options::default()
        };
        let read = checkout.read(&mut options)?;
        let converted = write::converted(&read.desired, &options);
        let folder = Folder::open(&self.into)?;
        let written: Vec<(Manifest, Outcome)> = converted
            .manifests
            .into_iter()
            .map(|manifest| {
                let outcome = folder.put(&manifest, self.force);
                (manifest, outcome)
            })
            .collect();
        let commented: Vec<String> = checkout
            .files
            .iter()
            .filter(|file| has_comments(file))
            .map(|file| checkout.shown(&file.path))
            .collect();
        let is_well = |outcome: &Outcome| !matches!(outcome, Outcome::Kept | Outcome::Failed(_));
        let exit = if converted.refused.is_empty() && written.iter().all(|(_, out)| is_well(out)) {
            Exit::Done
        } else {
            Exit::Failed
        };
        if invocation.is_json() {
            output::json(&json!({
                "folder": self.into,
                "complete": exit == Exit::Done,
                "objects": written.iter().map(|(manifest, outcome)| json!({
                    "object": manifest.object,
                    "name": manifest.name,
                    "file": manifest.path,
                    "outcome": outcome.word(),
                    "problem": if let Outcome::Failed(reason) = outcome { Some(reason) } else { None },
                    "secrets_in_clear": manifest.secrets.iter().map(|secret| &secret.pointer).collect::<Vec<_>>(),
                })).collect::<Vec<_>>(),
                "refused": converted.refused,
                "ignored": read.ignored,
                "comments_lost": commented,
            }))?;
            return Ok(exit);
        }
        let lines = told(&written, &converted.refused, &read.ignored);
        output::text(&lines.join("\n"));
        if !commented.is_empty() {
            eprintln!(
                "comments are not carried over; there are some in {}",
                commented.join(", ")
            );
        }
        if self.from == From::Operator {
            eprintln!(
                "ids are written out; labels, annotations and the resources' own names are not carried over"
            );
        }
        Ok(exit)
    }
}

/// What came of everything, a line each.
fn told(
    written: &[(Manifest, Outcome)],
    refused: &[write::Refused],
    ignored: &[manifest::Ignored],
) -> Vec<String> {
    let mut lines = Vec::new();
    for (manifest, outcome) in written {
        match outcome {
            Outcome::Failed(reason) => lines.push(format!("failed: {}: {reason}", manifest.object)),
            Outcome::Kept => lines.push(format!(
                "kept: {} says something else than {}; --force overwrites it",
                manifest.path, manifest.object
            )),
            _ => lines.push(format!(
                "{}: {} in {}",
                outcome.word(),
                manifest.object,
                manifest.path
            )),
        }
        for secret in &manifest.secrets {
            lines.push(format!(
                "secret: {} holds one in clear at {}, as what was read did",
                manifest.path, secret.pointer
            ));
        }
    }
    for refused in refused {
        lines.push(format!("failed: {}: {}", refused.object, refused.reason));
    }
    for ignored in ignored {
        lines.push(format!("ignored: {ignored}"));
    }
    lines
}

/// Whether a YAML file has a line that is a comment.
fn has_comments(file: &SourceFile) -> bool {
    let is_json = file.path.to_ascii_lowercase().ends_with(".json");
    let text = String::from_utf8_lossy(&file.bytes);
    !is_json && text.lines().any(|line| line.trim_start().starts_with('#'))
}
