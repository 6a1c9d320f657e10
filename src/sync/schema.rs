//! What a gateway's own schema says of the OAS documents that a plan would write to it. The tables
//! of `manifest::schema` are those of one version; this is of the gateway that is there.
//!
//! It warns, and no more unless the stack is strict: the gateway judges for itself at the write,
//! and two readers of JSON Schema that differ must not stop a good change.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    domain::{
        object::{Kind, ObjectKey},
        parallel,
        plan::{Plan, Prepared, PreparedDesired},
    },
    tyk::gateway::{Client, Generation, Schema},
};

/// Nobody reads more of them, and they are kept with the run.
const MOST: usize = 20;

/// A sentence, without values, of each thing that the schema does not allow in what the plan
/// creates or updates. Nothing where the gateway cannot say.
pub async fn objections(
    client: &Client,
    version: &str,
    plan: &Plan,
    desired: &Arc<PreparedDesired>,
) -> Vec<String> {
    let mut by_generation: BTreeMap<Generation, Vec<ObjectKey>> = BTreeMap::new();
    for change in plan.changes().filter(|change| change.action.puts()) {
        let key = &change.object;
        let wanted = desired.get(key).filter(|_| key.kind == Kind::OasApi);
        if let Some(generation) = wanted.and_then(|wanted| Generation::of(wanted.asked())) {
            let keys = by_generation.entry(generation).or_default();
            keys.push(key.clone());
        }
    }
    let mut objections: Vec<String> = Vec::new();
    for (generation, keys) in by_generation {
        // One that cannot be asked now is asked the next time; the plan does not depend on it.
        let Ok(Some(schema)) = client.schema(version, generation).await else {
            continue;
        };
        let desired = Arc::clone(desired);
        let found = tokio::task::spawn_blocking(move || {
            parallel::map(keys, |key| match desired.get(&key) {
                Some(wanted) => objections_to(&schema, &key, wanted),
                None => Vec::new(),
            })
        });
        let found = found.await.expect("checking a document does not panic");
        objections.extend(found.into_iter().flatten());
    }
    let more = objections.len().saturating_sub(MOST);
    objections.truncate(MOST);
    if more > 0 {
        objections.push(format!("the gateway's own schema says {more} things more"));
    }
    objections
}

fn objections_to(schema: &Schema, key: &ObjectKey, wanted: &Prepared) -> Vec<String> {
    let path = &wanted.object.path;
    let objections = schema.objections(wanted.asked()).into_iter();
    objections
        .map(|(pointer, said)| {
            format!("{path}: {pointer}: the gateway's own schema says of {key}: {said}")
        })
        .collect()
}
