//! What every type of event says, member by member: the table from which the catalogue for people is
//! made, and against which the tests hold what is recorded.

use serde_json::{Value, json};

use super::event::{EventType, FORMAT};

/// One member of a payload.
#[derive(Debug, Clone, Copy)]
pub struct Member {
    pub name: &'static str,
    /// It may be absent or null.
    pub is_optional: bool,
    pub meaning: &'static str,
}

const fn always(name: &'static str, meaning: &'static str) -> Member {
    Member {
        name,
        is_optional: false,
        meaning,
    }
}

const fn maybe(name: &'static str, meaning: &'static str) -> Member {
    Member {
        name,
        is_optional: true,
        meaning,
    }
}

/// What events of every type may say.
pub const COMMON: &[Member] = &[
    always("worker", "The process that recorded it."),
    always("version", "That process's version of Lockstep."),
    maybe(
        "trace",
        "The W3C trace id that all bear that one push or request set going: taken from its header \
         `traceparent`, or made where it had none.",
    ),
    maybe(
        "people",
        "Who had a part in it: a list of `part` and `person`, the commitment. Parts: pusher, author, \
         committer, operator, approver, rejecter, holder, reader, caller. What a commitment stands for \
         has a name, a login, an e-mail address, or the network address of the request.",
    ),
];

const REASON: Member = always("reason", "Why, in the words of whoever asked for it.");
const TOKEN: Member = maybe("token", "The id of the token that proved who it was.");
const NODE: Member = maybe("node", "The node, on a target of several.");
const FROM: Member = always("from", "Since when it was counted: microseconds UTC.");
const UNTIL: Member = always("until", "Until when.");
const CONFIG: Member = always("config", "The hash of the configuration's normal form.");
const BY: Member = always("by", "By whom, as far as that can be said.");

const DELIVERY: &[Member] = &[
    always(
        "delivery",
        "The webhook, the host's hook and the host's id of the delivery.",
    ),
    always("event", "What the host calls it."),
    maybe("repository", "The repository's full name at the host."),
    maybe("ref", "The branch or tag that was pushed."),
    maybe(
        "before",
        "Where it pointed before; absent when it was made.",
    ),
    maybe(
        "after",
        "Where it points since; absent when it was deleted.",
    ),
    always("forced", "Whether the host says that the push was forced."),
    always("commits", "The ids of the commits that the host names."),
    always("body_sha256", "The hash of the request's body."),
    always(
        "received_at",
        "When the receiver took it: microseconds UTC.",
    ),
    always("stacks", "The stacks that it concerns."),
    maybe("ignored", "Why it concerns none."),
];

const TRIGGER: Member = always(
    "trigger",
    "Why there was a run: push, sweep, drift, manual, approval, start-up or rollback.",
);
const ATTEMPT: Member = always("attempt", "Which attempt it was, from 1.");
const SOURCE: Member = always(
    "source",
    "Where it comes from: repository, branch, path, revision, its tree, whether it bears a signature \
     (`unsigned`, or `present, not verified`: Lockstep verifies none), the revision before, the \
     deliveries, the heads that they announced, and the commits that were passed over.",
);
const PLAN: Member = maybe("plan", "The plan's hash, where there was a plan.");
const GATEWAY: Member = maybe("gateway", "The gateway's version, where it was asked.");

const CHANGE: &[Member] = &[
    always(
        "action",
        "create, update, delete, replace, adopt, forget or release.",
    ),
    maybe(
        "before",
        "The hash of the body before; the body is kept, with secrets as keyed hashes.",
    ),
    maybe("after", "The hash of the body after, as asked for."),
    always("outcome", "What became of it."),
    always("reason", "Why it is in the plan."),
    maybe("message", "What was found or what the gateway said."),
    always(
        "drifted",
        "Whether the object had been changed by nobody of ours, so that this undoes it.",
    ),
    maybe(
        "duration",
        "How long its request took: microseconds; absent where none was sent.",
    ),
    TRIGGER,
    ATTEMPT,
    always(
        "source",
        "Where the object stands in Git: repository, branch, revision, path, the file's blob, and the \
         delivery that announced it last.",
    ),
    PLAN,
    GATEWAY,
    NODE,
];

/// The members of a type's payload, without those of every type. A type's members only grow: events
/// of earlier versions may be without the later ones.
#[expect(clippy::too_many_lines, reason = "it is a table")]
pub fn members(event_type: EventType) -> Vec<Member> {
    match event_type {
        EventType::DeliveryAccepted | EventType::DeliveryIgnored => DELIVERY.to_vec(),
        EventType::DeliveriesRefused => vec![
            FROM,
            UNTIL,
            always("counts", "How many, by reason."),
            always("receiver", "The process that refused them."),
        ],
        EventType::MessageSetAside => vec![always("reason", "What is wrong with it.")],
        EventType::RunRequested => vec![
            always("reason", "Why; it may be empty."),
            always("token", "The id of the token that proved who it was."),
        ],
        EventType::RunIntended => vec![
            TRIGGER,
            ATTEMPT,
            SOURCE,
            PLAN,
            GATEWAY,
            maybe(
                "config",
                "The hash of the configuration that the run goes by.",
            ),
            maybe(
                "approved",
                "The hash of the approved plan that it carries out.",
            ),
            maybe(
                "changes",
                "Every change that is about to be written: action, object, before, after.",
            ),
            maybe(
                "repair",
                "In the place of changes: the objects that are about to be put right.",
            ),
            maybe("positions", "The changes whose harm that is."),
        ],
        EventType::RunFinished => vec![
            always(
                "status",
                "succeeded, parked, refused, failed or interrupted.",
            ),
            TRIGGER,
            ATTEMPT,
            SOURCE,
            PLAN,
            GATEWAY,
            maybe(
                "config",
                "The hash of the configuration that the run went by.",
            ),
            maybe("outcomes", "How many changes came to what."),
            maybe("message", "Why it did not succeed, or what waits."),
            maybe("again_at", "When it is tried again: microseconds UTC."),
            always("duration", "How long it took: microseconds."),
            maybe(
                "interrupted",
                "The process that left it open; another one resolved it.",
            ),
            NODE,
            maybe("lagging", "Whether the node could not be reached."),
            maybe(
                "stands",
                "How the stack stands with all nodes, at the last of them.",
            ),
        ],
        EventType::ChangeApplied
        | EventType::ChangeFailed
        | EventType::ChangeRepaired
        | EventType::ChangeHeld
        | EventType::GatewayRebased => CHANGE.to_vec(),
        EventType::ChangeResolved => vec![
            always(
                "action",
                "create, update, delete, replace, adopt, forget or release.",
            ),
            maybe("before", "The hash of the body before."),
            maybe("after", "The hash of the body that was asked for."),
            always("outcome", "What became of it, as far as it can be seen."),
            always("reason", "Why it was in the plan."),
            always("message", "What was found."),
            TRIGGER,
            ATTEMPT,
            SOURCE,
            PLAN,
            GATEWAY,
        ],
        EventType::DriftObserved => vec![
            always("objects", "Which objects."),
            always(
                "changes",
                "Of each: the object, the node, what is other, and its fields, masked.",
            ),
            maybe("revision", "The revision that they are compared with."),
            maybe(
                "in_step_until",
                "When they were seen in step last: microseconds UTC.",
            ),
            BY,
        ],
        EventType::PlanParked => vec![
            always("plan", "The hash of what waits, which an approval names."),
            always("changes", "Of each change: action and object."),
            always("needed", "How many approvals it takes."),
        ],
        EventType::PlanVoided => vec![
            always("plan", "The hash of what waited."),
            always("parked_by", "The run that held it back."),
            always("difference", "What is added, gone and altered."),
            always("decisions", "How many decisions count no more."),
        ],
        EventType::ApprovalGiven | EventType::ApprovalRejected => vec![
            always("plan", "The hash of what was decided on."),
            always("changes", "How many changes that is."),
            always("reason", "Why."),
            maybe(
                "expires_at",
                "Until when an approval counts: microseconds UTC.",
            ),
            always("authenticated", "Whether a token proved who it was."),
            TOKEN,
            always(
                "counts",
                "Whether the decision counts, by the stack's rules.",
            ),
        ],
        EventType::TokenCreated => vec![
            always("token", "The token's id."),
            always("scopes", "What it may be used for."),
            always("expires_at", "Until when: microseconds UTC."),
            maybe("note", "Where it is used."),
        ],
        EventType::TokenRevoked => vec![always("token", "The token's id.")],
        EventType::SignInsFailed => vec![FROM, UNTIL, always("counts", "How many, by reason.")],
        EventType::ObjectAdopted | EventType::ObjectReleased => vec![
            REASON,
            maybe("body", "The hash of its body, if that is known."),
        ],
        EventType::StackHeld => vec![
            REASON,
            maybe(
                "until",
                "When the hold runs out: microseconds UTC; otherwise it lasts until it is ended.",
            ),
            maybe(
                "revision",
                "The revision that the stack is rolled back to, if it is.",
            ),
            maybe("was_held_since", "Since when it was held already."),
        ],
        EventType::HoldEnded => vec![
            always("because", "Whether it ran out or was released."),
            maybe("reason", "Why it was released."),
            always("since", "Since when the stack was held: microseconds UTC."),
            maybe("until", "When the hold was to run out."),
            always("held_for", "Why it was held."),
            maybe(
                "revision",
                "The revision that the stack was rolled back to.",
            ),
            always("waited", "The deliveries that waited."),
        ],
        EventType::StackRolledBack => vec![
            REASON,
            always("revision", "The revision that was asked for."),
            maybe(
                "previous",
                "The revision that the stack was settled at before.",
            ),
        ],
        EventType::FreezeOverridden => vec![
            REASON,
            always("frozen_until", "When the window ends: microseconds UTC."),
        ],
        EventType::ForeignAppeared => vec![
            always("objects", "Which objects."),
            always("node", "On which node."),
            BY,
        ],
        EventType::NodeLagged => vec![
            always("node", "Which node."),
            maybe("revision", "The revision that it could not be brought to."),
            always("message", "Why."),
        ],
        EventType::TargetRecovered => vec![
            REASON,
            always("revision", "The revision that was compared with."),
            always("adopted", "What is owned again."),
            always("differing", "What differs from Git, and is not owned."),
            always(
                "missing",
                "What Git describes and the target does not have.",
            ),
            always("left", "What was owned and is in Git no more."),
        ],
        EventType::HistoryBehind => vec![
            always(
                "told",
                "What was told before: the size of the history, and the last event's hash.",
            ),
            always("found", "How many events the history has."),
            maybe("message", "The same in a sentence."),
        ],
        EventType::ObjectsImported => vec![
            always("gateway", "The gateway's version."),
            always("folder", "The folder that was written to, as it was named."),
            always("complete", "Whether everything could be written exactly."),
            always(
                "count",
                "How many objects were written down or found written down.",
            ),
            always("objects", "The first 200 of them."),
            always("outcomes", "How many files came to what."),
            always(
                "refused",
                "How many objects cannot be written as manifests.",
            ),
            always("left_out", "How many were not read."),
        ],
        EventType::ConfigLoaded => vec![
            CONFIG,
            always("first", "Whether none was loaded before."),
            maybe(
                "changes",
                "What is other than when it was loaded last, by dotted key and never by value: how \
                 many keys, and the first 200 each that were added, removed and changed; a mark stands \
                 for the name of a person's section.",
            ),
        ],
        EventType::MigrationsApplied => {
            vec![always("migrations", "Of each: its version and name.")]
        }
        EventType::HistoryExported => vec![
            always("filter", "What was asked for."),
            maybe("report", "Of a report, or of a past configuration: which."),
            maybe("from", "The first event of the range."),
            maybe("until", "The event after its last."),
            maybe("events", "How many events were given out in full."),
            maybe("checkpoint", "The number of the checkpoint that proves it."),
            maybe("sha256", "The hash of the file."),
        ],
        EventType::HistoryRead => vec![
            FROM,
            UNTIL,
            always("counts", "How many queries, by what was asked for."),
        ],
        EventType::NoticeFailed => vec![
            always("sink", "Who was to be told."),
            maybe("event", "The event that is news."),
            maybe("hash", "That event's hash."),
            maybe("notice", "What kind of news it was."),
            maybe(
                "after",
                "Of news that grew too old: the last event before them.",
            ),
            maybe("until", "The last of them."),
            maybe("events", "How many they were."),
            always("problem", "Why."),
        ],
        EventType::ServerStarted | EventType::ServerStopped => {
            vec![CONFIG, always("listen", "The address that it listens on.")]
        }
        EventType::SigningKeyNamed => vec![
            always(
                "key",
                "The verifier key that checkpoints are signed with from here on.",
            ),
            maybe(
                "before",
                "The verifier key that signs the next checkpoint beside it.",
            ),
            maybe("reason", "Why the key before it does not vouch for it."),
        ],
        EventType::HistoryBroken => vec![always("message", "What was found.")],
        EventType::LegalHoldPlaced => vec![
            always("name", "The hold's name."),
            always("reason", "Why."),
            maybe(
                "since",
                "From when on nothing leaves; without it nothing does at all.",
            ),
        ],
        EventType::LegalHoldLifted => {
            vec![always("name", "The hold's name."), always("reason", "Why.")]
        }
        EventType::HistoryRetired => vec![
            always("from", "The first event that may leave."),
            always("until", "The event after the last one that may."),
            always("sha256", "The hash of the export that has them in full."),
            always("file", "The name of that export's file."),
            always("checkpoint", "The number of the checkpoint that proves it."),
            maybe("reason", "Why."),
        ],
        EventType::PersonErased => vec![
            maybe("reason", "Why."),
            maybe(
                "by_themselves",
                "Whether the person erased themselves; then no operator is named.",
            ),
        ],
    }
}

/// What is wrong with a payload by the table; nothing when it is as the table says.
pub fn faults(event_type: EventType, payload: &Value) -> Vec<String> {
    let Some(found) = payload.as_object() else {
        return vec!["the payload is no object".to_owned()];
    };
    let own = members(event_type);
    let known = || COMMON.iter().chain(&own);
    let missing = known()
        .filter(|member| !member.is_optional)
        .filter(|member| found.get(member.name).is_none_or(Value::is_null))
        .map(|member| format!("{} is missing", member.name));
    let unknown = found
        .keys()
        .filter(|name| known().all(|member| member.name != *name))
        .map(|name| format!("{name} is not in the catalogue"));
    missing.chain(unknown).collect()
}

/// The catalogue for people, as Markdown.
pub fn markdown() -> String {
    let mut text = format!(
        "# The events of the history\n\n\
         Made from the program's own table; `lockstep audit events` prints it. An event has a header \
         (`v`, `seq`, `type`, `at`, `actor`, `target`, `stack`, `object`, `run`) and a payload, both \
         canonical JSON. The header's format is {FORMAT}. A type's name and the meaning of its members \
         never change; members are added, so events of earlier versions may be without some, and stay \
         readable and verifiable. A member in brackets may be absent or null.\n\n\
         No host names a pull request in its push, and the words of a merge commit prove nothing: none \
         is recorded. A process that only receives has no database: its start and stop are not here. A \
         network address is that of the connection's other end; behind a proxy it is the proxy's.\n\n\
         ## Every event\n\n"
    );
    write_members(&mut text, COMMON);
    for event_type in EventType::ALL {
        text.push_str(&format!(
            "\n## `{event_type}`\n\n{} Since format {}.\n\n",
            event_type.meaning(),
            event_type.since()
        ));
        write_members(&mut text, &members(*event_type));
    }
    text
}

fn write_members(text: &mut String, members: &[Member]) {
    for Member {
        name,
        is_optional,
        meaning,
    } in members
    {
        let name = format!("`{name}`");
        let name = if *is_optional {
            format!("[{name}]")
        } else {
            name
        };
        text.push_str(&format!("- {name}: {meaning}\n"));
    }
}

/// The same for programs.
pub fn to_json() -> Value {
    let list = |members: &[Member]| -> Vec<Value> {
        let one = |member: &Member| {
            json!({
                "name": member.name,
                "optional": member.is_optional,
                "meaning": member.meaning,
            })
        };
        members.iter().map(one).collect()
    };
    let types: Vec<Value> = EventType::ALL
        .iter()
        .map(|event_type| {
            json!({
                "type": event_type.as_str(),
                "meaning": event_type.meaning(),
                "since_format": event_type.since(),
                "members": list(&members(*event_type)),
            })
        })
        .collect();
    json!({"format": FORMAT, "every_event": list(COMMON), "types": types})
}
