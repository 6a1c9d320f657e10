//! `lockstep status --objects`: what is on each target, and whose it is.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::{Value, json};

use super::{
    Exit, Invocation,
    output::{self, Unreached},
    take_target,
};
use crate::{
    app::{App, Target},
    domain::{
        inventory::Inventory,
        object::ObjectKey,
        plan::{Live, PreparedDesired},
    },
    sync::{look, observe},
};

/// What one target has of one object.
struct Row {
    object: ObjectKey,
    name: String,
    owner: Option<String>,
    /// The stacks whose manifests describe it.
    described_by: BTreeSet<String>,
    is_live: bool,
}

pub async fn run(app: &App, invocation: &Invocation) -> anyhow::Result<Exit> {
    let mut listed = Vec::new();
    let mut rows = Vec::new();
    let mut unreached = Vec::new();
    for target in app.targets.values() {
        let described = described(app, target).await;
        let holding = take_target(app, &target.name).await?;
        let mut seen = Vec::new();
        for node in target.nodes() {
            let inventory = Arc::new(look::inventory(app, &node).await?);
            let nothing = Arc::new(PreparedDesired::new());
            let observed = observe::observe(&node.client, &inventory, &nothing, &app.masker).await;
            seen.push((node, inventory, observed));
        }
        holding.release().await?;
        for (node, inventory, observed) in seen {
            let name = if target.peers.is_empty() {
                target.name.clone()
            } else {
                format!("{} {}", target.name, node.address)
            };
            let observed = match observed {
                Ok(observed) => observed,
                Err(error) => {
                    unreached.push(Unreached::new(&node, &error));
                    continue;
                }
            };
            for row in table(&observed.live, &inventory, &described) {
                listed.push(row.json(&name));
                rows.push(row.cells(&name));
            }
        }
    }
    output::unreached(&unreached);
    if invocation.is_json() {
        output::json(&json!({"objects": listed, "unreached": unreached}))?;
    } else {
        output::table(&["TARGET", "OBJECT", "NAME", "WHOSE"], rows);
    }
    Ok(if unreached.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

/// What the stacks of a target describe at the heads of their branches, as far as it can be read.
async fn described(app: &App, target: &Target) -> BTreeMap<ObjectKey, BTreeSet<String>> {
    let mut described: BTreeMap<ObjectKey, BTreeSet<String>> = BTreeMap::new();
    for stack in app.stacks.values() {
        if stack.target.name != target.name {
            continue;
        }
        let read = async {
            let head = look::head(app, stack).await?;
            look::wanted(app, stack, &head).await
        };
        match read.await {
            Ok(wanted) => {
                for key in wanted.desired.keys() {
                    let stacks = described.entry(key.clone()).or_default();
                    stacks.insert(stack.name.clone());
                }
            }
            Err(error) => eprintln!(
                "warning: what the stack {} describes cannot be read: {}",
                stack.name,
                output::harmless(&error.to_string())
            ),
        }
    }
    described
}

fn table(
    live: &Live,
    inventory: &Inventory,
    described: &BTreeMap<ObjectKey, BTreeSet<String>>,
) -> Vec<Row> {
    let keys: BTreeSet<&ObjectKey> = live.keys().chain(inventory.keys()).collect();
    keys.into_iter()
        .map(|key| Row {
            object: key.clone(),
            name: live
                .get(key)
                .map_or_else(String::new, |seen| seen.name.clone()),
            owner: inventory.get(key).map(|owned| owned.stack.clone()),
            described_by: described.get(key).cloned().unwrap_or_default(),
            is_live: live.contains_key(key),
        })
        .collect()
}

impl Row {
    fn whose(&self) -> &'static str {
        match &self.owner {
            Some(_) if !self.is_live => "missing",
            Some(owner) if self.described_by.iter().any(|stack| stack != owner) => "claimed",
            Some(_) => "owned",
            None if !self.described_by.is_empty() => "claimed",
            None => "foreign",
        }
    }

    fn json(&self, target: &str) -> Value {
        json!({
            "target": target,
            "object": self.object,
            "name": self.name,
            "whose": self.whose(),
            "owner": self.owner,
            "described_by": self.described_by,
            "live": self.is_live,
        })
    }

    fn cells(self, target: &str) -> Vec<String> {
        let owner = match &self.owner {
            Some(owner) if self.is_live => format!("owned by {owner}"),
            Some(owner) => format!("owned by {owner}, and not on the gateway"),
            None => "foreign".to_owned(),
        };
        let claims: Vec<&str> = self
            .described_by
            .iter()
            .filter(|stack| Some(*stack) != self.owner.as_ref())
            .map(String::as_str)
            .collect();
        let whose = if claims.is_empty() {
            owner
        } else {
            format!(
                "{owner}, described by {} (see lockstep plan)",
                claims.join(", ")
            )
        };
        vec![target.to_owned(), self.object.to_string(), self.name, whose]
    }
}
