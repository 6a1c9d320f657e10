//! `lockstep diff TARGET DIR`: files and a gateway side by side, with no stack and no record.

use std::{path::PathBuf, sync::Arc};

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::{Exit, Invocation, checkout::Checkout, find_stack, find_target, output, take_target};
use crate::{
    domain::{
        plan::{PreparedDesired, prepare},
        reference::{self, Secrets},
    },
    git::Selection,
    manifest,
    sync::{
        import::{self, Comparison},
        secrets,
    },
};

/// Compare the manifests of a folder with what a gateway runs.
///
/// It needs a [target.NAME] and nothing else: no stack, no repository, no record of what was
/// applied. Nothing is written. Exit code 0: equal; 2: there are differences; 1: it could not be
/// found out.
#[derive(Debug, Args)]
pub struct Diff {
    /// The gateway: a [target.NAME] of the configuration
    target: String,
    /// The folder with manifests, or one file
    #[arg(value_name = "DIR")]
    path: PathBuf,
    /// The stack of the configuration whose secrets the manifests refer to
    #[arg(long, value_name = "STACK")]
    stack: Option<String>,
}

impl Diff {
    pub async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let app = invocation.open().await?;
        let target = find_target(&app, &self.target)?.clone();
        let paths = std::slice::from_ref(&self.path);
        let mut checkout = Checkout::around(paths, &Selection::default())?;
        let stack = match &self.stack {
            Some(name) => Some(find_stack(&app, name)?.clone()),
            None => None,
        };
        let known = stack.as_ref().map(|stack| stack.secrets.keys().cloned());
        let mut options = manifest::Options {
            secrets: known.map(Iterator::collect),
            ..app.manifest_options(&target, checkout.folders.clone())
        };
        let read = checkout.read(&mut options)?;
        if !read.unreadable.is_empty() {
            let lines: Vec<String> = read.unreadable.into_iter().collect();
            anyhow::bail!("{}", lines.join("\n"));
        }
        for warning in &read.warnings {
            eprintln!("warning: {}", output::harmless(&warning.to_string()));
        }
        let names = reference::names_of(&read.desired);
        let secrets = match &stack {
            Some(stack) => secrets::read(&app, stack, names)
                .await
                .map_err(|problems| anyhow::anyhow!("{}", problems.join("\n")))?,
            None if names.is_empty() => Secrets::default(),
            None => anyhow::bail!(
                "the manifests refer to secrets; name the stack that has them: --stack STACK"
            ),
        };
        let masker = app.masker.with(Arc::new(secrets));
        let desired = Arc::new(prepare(read.desired, &masker));
        let holding = take_target(&app, &target.name).await?;
        let compared = import::compare(&target, &app.masker, desired.clone()).await;
        holding.release().await?;
        let compared = compared.with_context(|| format!("the target {}", target.name))?;
        if invocation.is_json() {
            output::json(&to_json(&target.name, &compared, &desired))?;
        } else {
            output::text(&to_text(&target.name, &compared, &desired));
        }
        Ok(if compared.is_equal() {
            Exit::Done
        } else {
            Exit::Pending
        })
    }
}

fn to_json(target: &str, compared: &Comparison, desired: &PreparedDesired) -> serde_json::Value {
    let file = |key| desired.get(key).map(|wanted| wanted.object.path.as_str());
    json!({
        "target": target,
        "gateway_version": compared.version,
        "is_equal": compared.is_equal(),
        "equal": compared.equal,
        "created": compared.only_in_files.iter().map(|key| json!({
            "object": key, "file": file(key),
        })).collect::<Vec<_>>(),
        "changed": compared.changed.iter().map(|changed| json!({
            "object": changed.object, "file": file(&changed.object), "fields": changed.fields,
        })).collect::<Vec<_>>(),
        "only_on_gateway": compared.only_on_gateway.iter().map(|(key, name)| json!({
            "object": key, "name": name,
        })).collect::<Vec<_>>(),
        "not_compared": compared.not_compared,
        "nameless": compared.nameless,
    })
}

fn to_text(target: &str, compared: &Comparison, desired: &PreparedDesired) -> String {
    let mut lines = Vec::new();
    let file = |key| {
        let path = desired.get(key).map(|wanted| wanted.object.path.as_str());
        path.unwrap_or_default()
    };
    for key in &compared.only_in_files {
        lines.push(format!("+ {key} (not on the gateway, {})", file(key)));
    }
    for changed in &compared.changed {
        let object = &changed.object;
        lines.push(format!("~ {object} (differs, {})", file(object)));
        let fields = changed.fields.iter().map(|field| format!("    {field}"));
        lines.extend(fields);
    }
    for (key, name) in &compared.only_on_gateway {
        lines.push(format!("- {key} (only on the gateway, {name})"));
    }
    for left in &compared.not_compared {
        lines.push(format!("? {} (not compared: {})", left.object, left.reason));
    }
    if compared.nameless > 0 {
        lines.push(format!(
            "? {} on the gateway without an id",
            compared.nameless
        ));
    }
    lines.push(format!(
        "{target}: {} equal, {} not on the gateway, {} that differ, {} only on the gateway, {} not compared",
        compared.equal.len(),
        compared.only_in_files.len(),
        compared.changed.len(),
        compared.only_on_gateway.len(),
        compared.not_compared.len(),
    ));
    lines.join("\n")
}
