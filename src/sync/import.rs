//! What a gateway runs, read whole: for writing it down, and for comparing it with files that no
//! stack has. Nothing is written to the target and nothing to the store. The caller holds the
//! target's lease.

use std::{collections::BTreeSet, sync::Arc};

use serde::Serialize;

use super::observe::{self, Observation, listed_with_jwt};
use crate::{
    app::Target,
    domain::{
        diff::FieldChange,
        inventory::Inventory,
        normalize,
        object::{Kind, ObjectKey},
        plan::{Prepared, PreparedDesired},
        secrets::Masker,
    },
    manifest::write::Found,
    tyk::gateway::{Error, Listed},
};

/// What was read.
#[derive(Debug)]
pub struct Taken {
    pub objects: Vec<Found>,
    pub left_out: Vec<LeftOut>,
    /// Objects that the gateway lists without an id.
    pub nameless: usize,
    /// Everything that the gateway lists, asked for or not.
    pub listed: BTreeSet<ObjectKey>,
    pub version: String,
}

/// An object that was not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    pub object: ObjectKey,
    pub reason: String,
}

/// Reads the selected objects of a target: classic definitions and policies from the listing, OAS
/// documents one after the other.
pub async fn take(
    target: &Target,
    masker: &Masker,
    selects: impl Fn(&ObjectKey, &str) -> bool,
) -> Result<Taken, Error> {
    let nothing = PreparedDesired::new();
    let Observation {
        listed,
        nameless,
        version,
        ..
    } = see(target, Arc::new(nothing), masker).await?;
    let mut taken = Taken {
        objects: Vec::new(),
        left_out: Vec::new(),
        nameless,
        listed: listed.keys().cloned().collect(),
        version,
    };
    for (key, listed) in &listed {
        if !selects(key, &listed.name) {
            continue;
        }
        match body(target, listed).await? {
            Body::Read(body) => taken.objects.push(Found {
                key: key.clone(),
                body,
            }),
            Body::Unread(reason) => taken.left_out.push(LeftOut {
                object: key.clone(),
                reason,
            }),
        }
    }
    Ok(taken)
}

/// Files compared with a gateway.
#[derive(Debug, Default)]
pub struct Comparison {
    pub version: String,
    pub equal: BTreeSet<ObjectKey>,
    pub only_in_files: BTreeSet<ObjectKey>,
    pub changed: Vec<Changed>,
    pub only_on_gateway: Vec<(ObjectKey, String)>,
    /// In the files and on the gateway, and not compared.
    pub not_compared: Vec<LeftOut>,
    pub nameless: usize,
}

/// An object that is not on the gateway as its file has it.
#[derive(Debug, Clone, Serialize)]
pub struct Changed {
    pub object: ObjectKey,
    /// From the gateway to the file, masked.
    pub fields: Vec<FieldChange>,
}

impl Comparison {
    pub fn is_equal(&self) -> bool {
        let Self {
            version: _,
            equal: _,
            only_in_files,
            changed,
            only_on_gateway,
            not_compared,
            nameless: _,
        } = self;
        only_in_files.is_empty()
            && changed.is_empty()
            && not_compared.is_empty()
            && only_on_gateway.is_empty()
    }
}

/// Compares what files want with what is live, object by object, whoever owns it.
pub async fn compare(
    target: &Target,
    masker: &Masker,
    desired: Arc<PreparedDesired>,
) -> Result<Comparison, Error> {
    let seen = see(target, desired.clone(), masker).await?;
    let mut comparison = Comparison {
        version: seen.version,
        nameless: seen.nameless,
        ..Comparison::default()
    };
    for (key, listed) in &seen.listed {
        let Some(wanted) = desired.get(key) else {
            // What the files do not refer to is none of their business.
            if key.kind == Kind::Certificate {
                continue;
            }
            let object = (key.clone(), listed.name.clone());
            comparison.only_on_gateway.push(object);
            continue;
        };
        match body(target, listed).await? {
            Body::Read(body) => {
                let asked = &wanted.object.body;
                if normalize::equal(key.kind, asked, &body) {
                    comparison.equal.insert(key.clone());
                } else {
                    comparison.changed.push(Changed {
                        object: key.clone(),
                        fields: fields(wanted, &body, masker),
                    });
                }
            }
            Body::Unread(reason) => comparison.not_compared.push(LeftOut {
                object: key.clone(),
                reason,
            }),
        }
    }
    comparison.only_in_files = desired
        .keys()
        .filter(|key| !seen.listed.contains_key(key))
        .cloned()
        .collect();
    Ok(comparison)
}

fn fields(wanted: &Prepared, live: &serde_json::Value, masker: &Masker) -> Vec<FieldChange> {
    let (kind, asked) = (wanted.object.key.kind, &wanted.object.body);
    let comparable = normalize::comparable(kind, asked);
    let kept = normalize::kept(kind, asked, live);
    let dropped = kept.dropped.into_iter().map(|pointer| FieldChange {
        before: comparable.pointer(&pointer).cloned(),
        after: None,
        pointer,
    });
    let mut fields: Vec<FieldChange> = kept
        .differs
        .into_iter()
        .chain(dropped)
        .map(|change| {
            let masked = |value: Option<serde_json::Value>| {
                value.map(|value| masker.mask_at(&change.pointer, &value, wanted.references))
            };
            // What was asked for is the state to come, what was read the state before it.
            FieldChange {
                before: masked(change.after),
                after: masked(change.before),
                pointer: change.pointer,
            }
        })
        .collect();
    fields.sort_by(|left, right| left.pointer.cmp(&right.pointer));
    fields
}

/// A look in which nothing is ours.
async fn see(
    target: &Target,
    desired: Arc<PreparedDesired>,
    masker: &Masker,
) -> Result<Observation, Error> {
    let inventory = Arc::new(Inventory::new());
    observe::observe(&target.client, &inventory, &desired, masker).await
}

enum Body {
    Read(serde_json::Value),
    Unread(String),
}

/// The body of a live object, from the endpoint of its own kind.
async fn body(target: &Target, listed: &Listed) -> Result<Body, Error> {
    let key = &listed.key;
    match key.kind {
        Kind::Certificate | Kind::Policy | Kind::ClassicApi => Ok(Body::Read(listed.body())),
        Kind::OasApi | Kind::McpProxy
            if !target.allow_jwt_document_reads && listed_with_jwt(&listed.body()) =>
        {
            Ok(Body::Unread(format!(
                "it has a JWT scheme, and reading its document can bring a gateway down that \
                 serves JWT traffic; allow_jwt_document_reads = true in [target.{}] allows it",
                target.name
            )))
        }
        Kind::OasApi | Kind::McpProxy => match target.client.document(&key.id).await {
            Ok(Some(document)) => Ok(Body::Read(document)),
            Ok(None) => Ok(Body::Unread(
                "the gateway lists it, and has no document of it".to_owned(),
            )),
            Err(error @ Error::BadId { .. }) => Ok(Body::Unread(error.to_string())),
            Err(error) => Err(error),
        },
    }
}
