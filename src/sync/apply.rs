//! Carries out one wave of a plan, reads it back, and puts back what it took down. Decides
//! nothing about what should be: the plan has done that.
//!
//! One request at a time; no write without enough of the lease left for it; no write between a
//! reload's request and its answer; a 200 is believed only when the change is seen.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use serde_json::Value;

use super::{
    lease::Holding,
    observe::{Observation, listed_with_jwt},
};
use crate::{
    app::Target,
    domain::{
        certificate::fingerprint_of,
        diff::FieldChange,
        normalize,
        object::{Kind, ObjectKey, Route},
        plan::{Change, PreparedDesired, is_collision_rename},
        run::{Action, Outcome},
        secrets::{Masker, has_references},
    },
    tyk::gateway::{Deleted, Error},
};

/// What became of one change, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    pub outcome: Outcome,
    pub message: Option<String>,
}

impl Done {
    /// Not sent yet.
    pub fn open() -> Self {
        Self {
            outcome: Outcome::Open,
            message: None,
        }
    }

    pub fn new(outcome: Outcome, message: impl Into<String>) -> Self {
        Self {
            outcome,
            message: Some(message.into()),
        }
    }
}

/// What sending a wave's requests came to.
#[derive(Debug, Default)]
pub struct Sent {
    /// By place in the wave; absent for a request that the gateway took.
    pub done: BTreeMap<usize, Done>,
    /// How long the request took: microseconds, by place in the wave.
    pub took: BTreeMap<usize, i64>,
    /// The target cannot be talked to any more.
    pub broken: Option<Error>,
    /// The lease is gone, or too little of it is left.
    pub lease_lost: bool,
    /// Some request may have reached the gateway's disk.
    pub touched: bool,
}

/// Sends a wave's requests, in order, but for those that `sent` has an answer for already. A refusal
/// concerns its object alone; trouble with the gateway itself ends the wave.
pub async fn send(
    target: &Target,
    holding: &Holding,
    wave: &[Change],
    desired: &PreparedDesired,
    observation: &Observation,
    progress: &(dyn Fn(usize, &Change) + Send + Sync),
    sent: &mut Sent,
) {
    let mut missing = BTreeSet::new();
    for (place, change) in wave.iter().enumerate() {
        if !change.action.writes() || sent.done.contains_key(&place) {
            continue;
        }
        if sent.broken.is_some() || sent.lease_lost {
            let why = "an earlier request of this run went wrong";
            sent.done.insert(place, Done::new(Outcome::Skipped, why));
            continue;
        }
        if !holding.covers(target.write_needs()).await {
            sent.lease_lost = true;
            let why = "the lease of the target ran out before it could be sent";
            sent.done.insert(place, Done::new(Outcome::Skipped, why));
            continue;
        }
        if let Some(why) = needs_or_is_needed(change, desired, &missing, observation) {
            sent.done.insert(place, Done::new(Outcome::Skipped, why));
            continue;
        }
        progress(place, change);
        let started = Instant::now();
        let answer = request(target, change, desired).await;
        let took = i64::try_from(started.elapsed().as_micros()).unwrap_or(i64::MAX);
        sent.took.insert(place, took);
        match answer {
            Ok(None) => sent.touched = true,
            Ok(Some(done)) => {
                sent.done.insert(place, done);
            }
            Err(error) => {
                let ambiguous = error.is_ambiguous();
                sent.touched |= ambiguous;
                let ends_wave = error.is_transient() || error.is_denial();
                let outcome = if ambiguous {
                    Outcome::Unknown
                } else {
                    Outcome::Failed
                };
                if change.object.kind == Kind::Certificate {
                    missing.insert(&change.object);
                }
                sent.done
                    .insert(place, Done::new(outcome, error.to_string()));
                if ends_wave {
                    sent.broken = Some(error);
                }
            }
        }
    }
}

/// Why a change must not be sent: what it refers to was refused, or what it removes is still in
/// use, because the change that was to end that went wrong.
fn needs_or_is_needed(
    change: &Change,
    desired: &PreparedDesired,
    missing: &BTreeSet<&ObjectKey>,
    observation: &Observation,
) -> Option<String> {
    let key = &change.object;
    if change.action.puts() {
        let wanted = desired.get(key)?;
        let certificate = missing
            .iter()
            .find(|missing| wanted.text.contains(fingerprint_of(&missing.id)))?;
        return Some(format!(
            "it refers to {certificate}, which the gateway did not take"
        ));
    }
    if key.kind != Kind::Certificate {
        return None;
    }
    let user = observation.user_of(key)?;
    Some(format!("{user} still uses it"))
}

async fn request(
    target: &Target,
    change: &Change,
    desired: &PreparedDesired,
) -> Result<Option<Done>, Error> {
    let key = &change.object;
    match change.action {
        Action::Create | Action::Update => {
            let Some(wanted) = desired.get(key) else {
                return Ok(Some(Done::new(
                    Outcome::Failed,
                    "Git no longer describes it",
                )));
            };
            let body = &wanted.object.body;
            if key.kind == Kind::Certificate && change.action == Action::Update {
                target.client.renew_certificate(&key.id, body).await?;
            } else {
                target.client.write(key.kind, &key.id, body).await?;
            }
            crate::crash::point("after-write");
            Ok(None)
        }
        Action::Delete | Action::Replace => match target.client.delete(key.kind, &key.id).await? {
            // Somebody may have been faster, or the file is gone while memory still has it: what
            // the reload shows has the last word.
            Deleted::Done | Deleted::Absent | Deleted::Refused(_) => Ok(None),
        },
        Action::Adopt | Action::Forget | Action::Release => Ok(None),
    }
}

/// How one change looks after the reload.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Live as asked; the gateway keeps no trace of these fields.
    Right {
        dropped: Vec<String>,
        note: Option<String>,
    },
    /// Not listed any more, or not yet.
    Vanished,
    /// Listed on another listen path than asked.
    Renamed { found: Route },
    /// Live with other content than asked, masked.
    Differs { fields: Vec<FieldChange> },
    /// Deleted, and still there.
    StillThere,
}

impl Verdict {
    pub fn is_right(&self) -> bool {
        matches!(self, Self::Right { .. })
    }

    /// What a person reads.
    pub fn message(&self, key: &ObjectKey) -> Option<String> {
        match self {
            Self::Right { dropped, note } => {
                let mut said = Vec::new();
                if !dropped.is_empty() {
                    said.push(format!(
                        "the gateway does not keep {}: it does not know these fields, or they have no effect",
                        dropped.join(", ")
                    ));
                }
                said.extend(note.clone());
                (!said.is_empty()).then(|| said.join("; "))
            }
            Self::Vanished if key.kind == Kind::Certificate => {
                Some(format!("the gateway accepted {key} and does not list it"))
            }
            Self::Vanished => Some(format!(
                "the gateway accepted {key} and did not load it: look for a listen path, a plugin \
                 bundle or a setting that it cannot load; its own log names the reason"
            )),
            Self::Renamed { found } => Some(format!(
                "the gateway gave {key} another listen path, {found}, because it found another API \
                 on the one that was asked for"
            )),
            Self::Differs { fields } => {
                let shown: Vec<String> = fields.iter().take(5).map(ToString::to_string).collect();
                Some(format!(
                    "read back otherwise than written: {}",
                    shown.join("; ")
                ))
            }
            Self::StillThere if key.kind == Kind::Certificate => {
                Some(format!("the gateway removed {key} and still lists it"))
            }
            Self::StillThere => Some(format!(
                "{key} is still on the gateway: its file does not bear its id, so the gateway \
                 cannot delete it; remove the file by hand"
            )),
        }
    }
}

/// Compares one change with what is live now. `document` is what the OAS endpoint reads back,
/// where it was read.
pub fn judge(
    change: &Change,
    desired: &PreparedDesired,
    observation: &Observation,
    document: Option<&Value>,
    masker: &Masker,
) -> Verdict {
    let key = &change.object;
    let seen = observation.live.get(key);
    if change.action.removes() {
        return match seen {
            None => right(),
            Some(_) => Verdict::StillThere,
        };
    }
    let (Some(seen), Some(wanted)) = (seen, desired.get(key)) else {
        return Verdict::Vanished;
    };
    if key.kind == Kind::Certificate {
        return right();
    }
    if key.kind != Kind::OasApi && key.kind != Kind::McpProxy && seen.digest == wanted.digest {
        return right();
    }
    let asked = &wanted.object.body;
    if let (Some(route), Some(found)) = (wanted.object.route(), seen.route.as_ref())
        && is_collision_rename(&route, found, &key.id)
    {
        return Verdict::Renamed {
            found: found.clone(),
        };
    }
    let Some(listed) = observation.listed.get(key) else {
        return Verdict::Vanished;
    };
    let kept = match key.kind {
        Kind::Certificate | Kind::ClassicApi | Kind::Policy => {
            normalize::kept(key.kind, asked, &listed.body())
        }
        Kind::OasApi | Kind::McpProxy => match document {
            Some(document) => normalize::kept(key.kind, asked, document),
            None => return judge_projection(asked, &listed.body()),
        },
    };
    if kept.holds() {
        return Verdict::Right {
            dropped: kept.dropped,
            note: None,
        };
    }
    let mask = |value: Option<Value>, pointer: &str| {
        value.map(|value| masker.mask_at(pointer, &value, wanted.references))
    };
    let fields = kept
        .differs
        .into_iter()
        .map(|field| FieldChange {
            before: mask(field.before, &field.pointer),
            after: mask(field.after, &field.pointer),
            pointer: field.pointer,
        })
        .collect();
    Verdict::Differs { fields }
}

fn right() -> Verdict {
    Verdict::Right {
        dropped: Vec::new(),
        note: None,
    }
}

/// Whether the classic projection of an OAS API shows nothing that was not asked for.
pub fn projection_holds(asked: &Value, listed: &Value) -> bool {
    judge_projection(asked, listed).is_right()
}

/// What the classic projection of an OAS API tells, where its document must not be read.
fn judge_projection(asked: &Value, listed: &Value) -> Verdict {
    let mut fields = Vec::new();
    for (wanted_at, found_at) in [
        ("/x-tyk-api-gateway/info/name", "/name"),
        (
            "/x-tyk-api-gateway/server/listenPath/value",
            "/proxy/listen_path",
        ),
        ("/x-tyk-api-gateway/upstream/url", "/proxy/target_url"),
    ] {
        let wanted = asked.pointer(wanted_at);
        let found = listed.pointer(found_at);
        let comparable = wanted.is_some_and(|wanted| !has_references(wanted));
        if comparable && wanted != found {
            fields.push(FieldChange {
                pointer: wanted_at.to_owned(),
                before: wanted.cloned(),
                after: found.cloned(),
            });
        }
    }
    if fields.is_empty() {
        Verdict::Right {
            dropped: Vec::new(),
            note: Some(
                "compared by its listing alone: reading the document of an API with JWT can stop \
                 a busy gateway (allow_jwt_document_reads)"
                    .to_owned(),
            ),
        }
    } else {
        Verdict::Differs { fields }
    }
}

/// Reads back the documents of the OAS APIs that a wave wrote, one at a time.
pub async fn documents(
    target: &Target,
    wave: &[Change],
    observation: &Observation,
) -> Result<BTreeMap<ObjectKey, Value>, Error> {
    let mut documents = BTreeMap::new();
    for change in wave {
        let key = &change.object;
        let written = change.action.puts();
        let Some(listed) = observation.listed.get(key).filter(|_| written) else {
            continue;
        };
        if !matches!(key.kind, Kind::OasApi | Kind::McpProxy) {
            continue;
        }
        if !target.allow_jwt_document_reads && listed_with_jwt(&listed.body()) {
            continue;
        }
        if let Some(document) = target.client.document(&key.id).await? {
            documents.insert(key.clone(), document);
        }
    }
    Ok(documents)
}

/// The bodies that a wave is about to overwrite or delete, as they are live now, so that they can
/// be put back. An OAS document is read for it where that is safe.
pub async fn previous_bodies(
    target: &Target,
    wave: &[Change],
    observation: &Observation,
) -> Result<BTreeMap<ObjectKey, Value>, Error> {
    let mut bodies = BTreeMap::new();
    for change in wave {
        let key = &change.object;
        let Some(listed) = observation
            .listed
            .get(key)
            .filter(|_| matches!(change.action, Action::Update | Action::Replace))
        else {
            continue;
        };
        match key.kind {
            Kind::ClassicApi | Kind::Policy => {
                bodies.insert(key.clone(), listed.body());
            }
            Kind::OasApi | Kind::McpProxy => {
                let safe = target.allow_jwt_document_reads || !listed_with_jwt(&listed.body());
                if safe && let Some(document) = target.client.document(&key.id).await? {
                    bodies.insert(key.clone(), document);
                }
            }
            // A gateway never reads a private key back.
            Kind::Certificate => {}
        }
    }
    Ok(bodies)
}
