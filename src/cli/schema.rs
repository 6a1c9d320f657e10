//! `lockstep schema [KIND]`: JSON Schemas for editors.

use clap::Args;

use super::{Exit, Invocation, output};
use crate::manifest::schema;

/// Print the JSON Schema (draft 7) of a kind of manifest, for an editor.
///
/// It comes from the tables that check manifests, and knows what `validate --strict` knows of
/// fields. Without a kind it fits every one. For Visual Studio Code: `lockstep schema oas >
/// oas.schema.json`, and "yaml.schemas": {"oas.schema.json": "apis/*.yaml"}.
#[derive(Debug, Args)]
pub struct Schema {
    /// oas, classic, policy, or a kind of Tyk Operator; all of them by default
    kind: Option<String>,
}

impl Schema {
    pub fn run(self, _invocation: &Invocation) -> anyhow::Result<Exit> {
        let Some(schema) = schema::json_schema(self.kind.as_deref()) else {
            let kind = self.kind.unwrap_or_default();
            anyhow::bail!("{}", schema::no_kind(&kind));
        };
        output::json(&schema)?;
        Ok(Exit::Done)
    }
}
