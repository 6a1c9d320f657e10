//! One audit event: a canonical header (what one filters by), a payload behind its digest, and
//! people behind salted commitments.
//!
//! `hash = SHA-256(0x00 ‖ header ‖ payload digest ‖ previous hash)`. The two digests have a fixed
//! length, so the parts cannot be confused; the leading zero byte is RFC 6962's mark of a leaf, so
//! the hashes are the leaves of the log's Merkle tree as they stand. The first event's previous
//! hash is 32 zero bytes.
//!
//! Names and addresses of people are not in the payload: there stands a commitment,
//! `SHA-256(0x02 ‖ salt ‖ canonical JSON)`, and the salt and the value are kept beside the log.
//! Erasing those two leaves every hash as it was.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::trace::TraceId;
use crate::domain::{
    canonical::{Digest, canonical},
    object::ObjectKey,
    run::RunId,
};

/// The version of the header's format that new events are written in.
pub const FORMAT: i64 = 1;

/// The types of events. A type's name and the meaning of its payload never change; a new meaning
/// is a new type.
macro_rules! event_types {
    ($($variant:ident = $text:literal, $what:literal;)+) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum EventType { $(#[doc = $what] $variant),+ }

        impl EventType {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// The header's format that the first events of this type were written in.
            pub fn since(self) -> i64 {
                1
            }

            /// What it says, in a sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $what),+ }
            }
        }
    };
}

event_types! {
    DeliveryAccepted = "delivery.accepted", "A Git host's push was verified and concerns at least one stack.";
    DeliveryIgnored = "delivery.ignored", "A verified delivery concerns no stack.";
    DeliveriesRefused = "deliveries.refused", "How many requests a webhook refused, and why, over a time.";
    MessageSetAside = "message.set-aside", "A queue message could not be read and was set aside.";
    RunIntended = "run.intended", "A run is about to write: its plan and every change, before the first request.";
    RunRequested = "run.requested", "Somebody asked for a run of a stack.";
    RunFinished = "run.finished", "A run ended: its status, and what became of every change.";
    ChangeApplied = "change.applied", "A change is live, as read back from the target.";
    ChangeFailed = "change.failed", "A change did not take effect.";
    ChangeRepaired = "change.repaired", "A change took an object down, and the previous body was put back.";
    ChangeHeld = "change.held", "A change is held back until a person decides.";
    ChangeResolved = "change.resolved", "A change whose outcome was open after a crash was looked up on the target.";
    DriftObserved = "drift.observed", "Objects differ from what the last run left, and no run of ours did it.";
    PlanParked = "plan.parked", "A part of a plan waits for an approval, as a plan of its own.";
    PlanVoided = "plan.voided", "What waited for an approval has changed or is gone; what was decided on it counts no more.";
    ApprovalGiven = "approval.given", "Somebody approved what a run held back.";
    ApprovalRejected = "approval.rejected", "Somebody rejected what a run held back.";
    TokenCreated = "token.created", "A token for the API was made.";
    TokenRevoked = "token.revoked", "A token for the API was revoked.";
    SignInsFailed = "sign-ins.failed", "How many requests to the API had no valid token, over a time.";
    ObjectAdopted = "object.adopted", "A stack was told to own an object that nobody owned.";
    ObjectReleased = "object.released", "A stack was told to let go of an object; it stays on the target.";
    StackHeld = "stack.held", "A stack was put on hold: pushes wait.";
    HoldEnded = "hold.ended", "A stack's hold was ended, or ran out.";
    StackRolledBack = "stack.rolled-back", "An earlier revision was asked for.";
    FreezeOverridden = "freeze.overridden", "Somebody had a stack run within its freeze window.";
    ForeignAppeared = "foreign.appeared", "Objects that no stack owns appeared on the target.";
    GatewayRebased = "gateway.rebased", "Another version of the gateway prints objects otherwise; what was observed was taken anew.";
    NodeLagged = "node.lagged", "A node of a target could not be brought to a revision; it is caught up when it returns.";
    TargetRecovered = "target.recovered", "Ownership was taken anew from what is live and equal to Git.";
    HistoryBehind = "history.behind", "The database knows less than what was told before: it was restored from a backup.";
    ObjectsImported = "objects.imported", "What a target runs was written down as manifests.";
    ConfigLoaded = "config.loaded", "A process loaded its configuration: what it is, and what is other than the time before.";
    MigrationsApplied = "migrations.applied", "The database's tables were brought to another version.";
    HistoryExported = "history.exported", "A part of the history was given out as a file.";
    HistoryRead = "history.read", "How often somebody read the history, and what they asked for, over a time.";
    NoticeFailed = "notice.failed", "Somebody who wanted to be told could not be reached, and was given up on.";
    ServerStarted = "server.started", "A process started.";
    ServerStopped = "server.stopped", "A process stopped in order.";
    SigningKeyNamed = "signing-key.named", "A key that signs the history's checkpoints was named; the one before it signs the next checkpoint, too.";
    HistoryBroken = "history.broken", "The history's own check found something that is not as it was written.";
    LegalHoldPlaced = "legal-hold.placed", "Somebody ordered that nothing leaves the history from a moment on.";
    LegalHoldLifted = "legal-hold.lifted", "A legal hold was lifted.";
    HistoryRetired = "history.retired", "Old events may leave the history: they were exported, and their hashes stay.";
    PersonErased = "person.erased", "A person's name and addresses were erased; the commitments stay.";
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Who did it: `kind` is `webhook`, `worker`, `cli`, `server` or `api`, `id` names which one: the
/// webhook by its name in the configuration, the API's caller by the token's id, and a process by
/// the name that it gave itself. People are never named here, see [`NewEvent::people`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    pub kind: String,
    pub id: String,
}

impl Actor {
    pub fn new(kind: &str, id: impl Into<String>) -> Self {
        Self {
            kind: kind.to_owned(),
            id: id.into(),
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.id)
    }
}

/// An event that has happened and is not yet in the log.
#[derive(Debug, Clone)]
pub struct NewEvent {
    pub event_type: EventType,
    /// Microseconds since 1970, UTC.
    pub at: i64,
    pub actor: Actor,
    pub target: Option<String>,
    pub stack: Option<String>,
    pub object: Option<ObjectKey>,
    pub run: Option<RunId>,
    /// A JSON object without any person's name or address, and without secrets.
    pub payload: Value,
    /// People, by their part in the event: `pusher`, `author`, `operator`, …
    pub people: Vec<(String, Person)>,
}

impl NewEvent {
    pub fn new(event_type: EventType, at: i64, actor: Actor, payload: Value) -> Self {
        Self {
            event_type,
            at,
            actor,
            target: None,
            stack: None,
            object: None,
            run: None,
            payload,
            people: Vec::new(),
        }
    }

    /// The same with one more member of its payload.
    #[must_use]
    pub fn with(mut self, member: &str, value: impl Serialize) -> Self {
        if let Some(members) = self.payload.as_object_mut() {
            members.insert(member.to_owned(), json!(value));
        }
        self
    }

    /// The same as a part of a trace.
    #[must_use]
    pub fn traced(self, trace: Option<&TraceId>) -> Self {
        match trace {
            Some(trace) => self.with(TRACE, trace),
            None => self,
        }
    }

    /// The trace that it is a part of.
    pub fn trace(&self) -> Option<&str> {
        self.payload.get(TRACE)?.as_str()
    }
}

/// The member of a payload that names the trace.
const TRACE: &str = "trace";

/// A person as a Git host or an operating system named them, or whoever called from an address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The network address that a request came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

impl Person {
    /// Of whom nothing is known but where the request came from.
    pub fn at(address: impl fmt::Display) -> Self {
        Self {
            address: Some(address.to_string()),
            ..Self::default()
        }
    }
}

/// Those whose requests came from some addresses, for a summary.
pub fn callers(addresses: impl IntoIterator<Item: fmt::Display>) -> Vec<(String, Person)> {
    let caller = |address| ("caller".to_owned(), Person::at(address));
    addresses.into_iter().map(caller).collect()
}

/// Who asked for something, and by which way.
#[derive(Debug, Clone)]
pub struct Asker {
    pub person: Person,
    /// Where the request came from, if it came over the network.
    pub address: Option<String>,
    pub actor: Actor,
    /// Of the request that it came with.
    pub trace: Option<TraceId>,
}

impl Asker {
    /// The person as an event names them, with where they called from.
    pub fn on_record(&self) -> Person {
        Person {
            address: self.address.clone(),
            ..self.person.clone()
        }
    }
}

impl fmt::Display for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self
            .login
            .as_deref()
            .or(self.name.as_deref())
            .or(self.email.as_deref())
            .or(self.address.as_deref());
        f.write_str(shown.unwrap_or("unknown"))
    }
}

/// An event as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The place in the log, from 0: the leaf's index.
    pub sequence: i64,
    /// Canonical JSON; see [`Header`].
    pub header: String,
    /// Canonical JSON.
    pub payload: String,
    pub previous: Digest,
    pub hash: Digest,
    /// What the commitments in the payload stand for, as far as it was not erased.
    pub people: Vec<Opening>,
}

/// The opening of one commitment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    pub commitment: Digest,
    pub salt: [u8; 32],
    /// Canonical JSON of a [`Person`].
    pub value: String,
}

impl Opening {
    pub fn holds(&self) -> bool {
        commit(&self.salt, &self.value) == self.commitment
    }
}

/// The header's members, as its canonical JSON has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub v: i64,
    #[serde(rename = "seq")]
    pub sequence: i64,
    #[serde(rename = "type")]
    pub event_type: String,
    pub at: i64,
    pub actor: Actor,
    pub target: Option<String>,
    pub stack: Option<String>,
    pub object: Option<ObjectKey>,
    pub run: Option<RunId>,
}

/// Puts a new event at its place in the log. `salts` yields 32 fresh random bytes for each person.
pub fn seal(
    new: &NewEvent,
    sequence: i64,
    previous: Digest,
    mut salts: impl FnMut() -> [u8; 32],
) -> Event {
    let NewEvent {
        event_type,
        at,
        actor,
        target,
        stack,
        object,
        run,
        payload,
        people,
    } = new;
    let header = Header {
        v: FORMAT,
        sequence,
        event_type: event_type.as_str().to_owned(),
        at: *at,
        actor: actor.clone(),
        target: target.clone(),
        stack: stack.clone(),
        object: object.clone(),
        run: run.clone(),
    };
    let header = canonical(&json!(header));

    let openings: Vec<Opening> = people
        .iter()
        .map(|(_, person)| {
            let salt = salts();
            let value = canonical(&json!(person));
            Opening {
                commitment: commit(&salt, &value),
                salt,
                value,
            }
        })
        .collect();
    let mut payload = payload.clone();
    if !openings.is_empty()
        && let Some(members) = payload.as_object_mut()
    {
        let named: Vec<Value> = people
            .iter()
            .zip(&openings)
            .map(|((part, _), opening)| json!({"part": part, "person": opening.commitment}))
            .collect();
        members.insert("people".to_owned(), Value::Array(named));
    }
    let payload = canonical(&payload);
    let hash = hash(&header, &payload, previous);
    Event {
        sequence,
        header,
        payload,
        previous,
        hash,
        people: openings,
    }
}

/// The hash of an event, from its parts as they are stored.
pub fn hash(header: &str, payload: &str, previous: Digest) -> Digest {
    hash_of(header, Digest::of(payload.as_bytes()), previous)
}

/// The same, from the digest of the payload alone.
pub fn hash_of(header: &str, payload: Digest, previous: Digest) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update([0x00]);
    hasher.update(header.as_bytes());
    hasher.update(payload.0);
    hasher.update(previous.0);
    Digest(hasher.finalize().into())
}

/// What the first event names as the one before it.
pub const BEFORE_THE_FIRST: Digest = Digest([0; 32]);

fn commit(salt: &[u8; 32], value: &str) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update([0x02]);
    hasher.update(salt);
    hasher.update(value.as_bytes());
    Digest(hasher.finalize().into())
}
