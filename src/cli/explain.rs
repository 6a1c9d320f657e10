//! `lockstep explain KIND[.field]`: what a manifest may hold, from the tables that check it.

use clap::Args;

use super::{Exit, Invocation, output};
use crate::manifest::schema::{self, Explained};

/// Say what a kind of manifest, or a field of one, is.
///
/// It is what the checks go by: `lockstep explain oas`, `lockstep explain classic.proxy`,
/// `lockstep explain policy.access_rights.limit`, `lockstep explain ApiDefinition.proxy`. Below oas, the gateway's own fields need no
/// x-tyk-api-gateway: `lockstep explain oas.server.authentication`.
#[derive(Debug, Args)]
pub struct Explain {
    /// The kind, and with dots the way to the field
    #[arg(value_name = "KIND[.FIELD]")]
    path: String,
}

impl Explain {
    pub fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let explained = schema::explain(&self.path).map_err(anyhow::Error::msg)?;
        if invocation.is_json() {
            output::json(&explained)?;
        } else {
            print(&explained);
        }
        Ok(Exit::Done)
    }
}

fn print(explained: &Explained) {
    let required = if explained.required { ", required" } else { "" };
    let mut text = format!("{}: {}{required}\n", explained.path, explained.shape);
    if !explained.about.is_empty() {
        text.push_str(&format!("{}\n", explained.about));
    }
    output::text(&text);
    if explained.fields.is_empty() {
        return;
    }
    output::text("");
    let rows = explained.fields.iter().map(|field| {
        let required = if field.required { " (required)" } else { "" };
        vec![
            format!("{}{required}", field.name),
            field.shape.clone(),
            field.about.clone(),
        ]
    });
    output::table(&["FIELD", "IS", "ABOUT"], rows.collect::<Vec<_>>());
}
