//! What waits for an approval, and how it was decided.
//!
//! An approval names the hash of a remainder: stack, target, and every change's before and after.
//! Not the revision and not the time, so that an equal remainder of a later push keeps what was
//! decided on it, and any difference needs a new decision.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    audit::event::Person,
    canonical::Digest,
    object::ObjectKey,
    plan::Change,
    run::{Action, UnknownWord, words},
};

/// The part of a plan that waits for an approval, as a plan of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Remainder {
    pub stack: String,
    pub target: String,
    /// In the order of their objects.
    pub changes: Vec<Change>,
}

impl Remainder {
    /// `None` when nothing waits.
    pub fn of(stack: &str, target: &str, waiting: impl Iterator<Item = Change>) -> Option<Self> {
        let mut changes: Vec<Change> = waiting.collect();
        changes
            .sort_by(|left, right| (&left.object, left.action).cmp(&(&right.object, right.action)));
        (!changes.is_empty()).then(|| Self {
            stack: stack.to_owned(),
            target: target.to_owned(),
            changes,
        })
    }

    /// What an approval names.
    pub fn hash(&self) -> Digest {
        let changes: Vec<_> = self
            .changes
            .iter()
            .map(|change| json!([change.object, change.action, change.before, change.after]))
            .collect();
        Digest::of_json(&json!({
            "stack": self.stack, "target": self.target, "changes": changes,
        }))
    }
}

/// How a remainder was decided so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Of the remainder that was decided on.
    pub hash: Digest,
    pub verdict: Verdict,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// So many of the approvals that are needed have been given, and count.
    Awaiting {
        given: usize,
        needed: usize,
    },
    Approved,
    /// Approved, and not carried out in time.
    Expired,
    Rejected {
        by: String,
        reason: String,
    },
}

/// What two remainders do not have in common.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Waits now, and did not before.
    pub added: Vec<Line>,
    /// Waited before, and does not now.
    pub gone: Vec<Line>,
    /// Waits still, with another state before or after it.
    pub altered: Vec<Line>,
}

/// One change, as far as it is told apart by people.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Line {
    pub action: Action,
    pub object: ObjectKey,
}

impl Difference {
    /// `None` stands for nothing that waits.
    pub fn between(before: Option<&Remainder>, now: Option<&Remainder>) -> Self {
        let (before, now) = (lines(before), lines(now));
        let mut difference = Self::default();
        for (line, states) in &before {
            match now.get(line) {
                None => difference.gone.push(line.clone()),
                Some(others) if others != states => difference.altered.push(line.clone()),
                Some(_) => {}
            }
        }
        let is_new = |line: &&Line| !before.contains_key(*line);
        difference.added = now.keys().filter(is_new).cloned().collect();
        difference
    }
}

type States = (Option<Digest>, Option<Digest>);

fn lines(remainder: Option<&Remainder>) -> BTreeMap<Line, States> {
    let changes = remainder.map_or(&[][..], |remainder| &remainder.changes);
    changes
        .iter()
        .map(|change| {
            let line = Line {
                action: change.action,
                object: change.object.clone(),
            };
            (line, (change.before, change.after))
        })
        .collect()
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// The others are counted; the history has them whole.
        const SHOWN: usize = 10;
        let Self {
            added,
            gone,
            altered,
        } = self;
        let mut parts = Vec::new();
        for (word, lines) in [
            ("new", added),
            ("no longer", gone),
            ("changed since", altered),
        ] {
            if lines.is_empty() {
                continue;
            }
            let mut named: Vec<String> = lines
                .iter()
                .take(SHOWN)
                .map(|line| format!("{} {}", line.action, line.object))
                .collect();
            if lines.len() > SHOWN {
                named.push(format!("{} more", lines.len() - SHOWN));
            }
            parts.push(format!("{word}: {}", named.join(", ")));
        }
        f.write_str(&parts.join("; "))
    }
}

words! {
    /// What somebody decided.
    Choice {
        Approve = "approve",
        Reject = "reject",
    }
}

/// Who decided.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Approver {
    /// A person of the configuration, who proved it with a token.
    Person(String),
    /// Whoever could write to the database: what the operating system says of them is no proof.
    Local(String),
}

impl fmt::Display for Approver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Person(name) => f.write_str(name),
            Self::Local(user) => write!(f, "{user} (unauthenticated)"),
        }
    }
}

/// One decision on one remainder that neither fell with it nor was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub by: Approver,
    pub choice: Choice,
    pub reason: String,
    pub at: i64,
    /// An approval counts until then; a rejection as long as its remainder waits.
    pub expires_at: i64,
}

/// What a person goes by at the Git hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// In lower case.
    logins: BTreeSet<String>,
    /// In lower case.
    emails: BTreeSet<String>,
}

impl Identity {
    pub fn new<'a>(
        logins: impl IntoIterator<Item = &'a str>,
        emails: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        Self {
            logins: logins.into_iter().map(str::to_lowercase).collect(),
            emails: emails.into_iter().map(str::to_lowercase).collect(),
        }
    }

    /// Whether a Git host or a commit means this person. In doubt it does: then somebody else has
    /// to approve.
    pub fn is(&self, person: &Person) -> bool {
        let Person { name, login, email } = person;
        // Where a host sends no login of its own, the pusher's name is the login.
        let by_login = [login, name]
            .into_iter()
            .flatten()
            .any(|text| self.logins.contains(&text.to_lowercase()));
        by_login
            || email.as_ref().is_some_and(|email| {
                let email = email.to_lowercase();
                self.emails.contains(&email)
                    || hidden_login(&email).is_some_and(|login| self.logins.contains(login))
            })
    }
}

/// The login in the address that a host gives to those who hide theirs: `12+ada@users.noreply.…`
/// at GitHub, `12-ada@users.noreply.…` at GitLab, or without the number.
fn hidden_login(email: &str) -> Option<&str> {
    let (local, domain) = email.split_once('@')?;
    if !domain.starts_with("users.noreply.") {
        return None;
    }
    let login = local.trim_start_matches(|digit: char| digit.is_ascii_digit());
    let login = login.strip_prefix(['+', '-']).filter(|_| login != local);
    Some(login.unwrap_or(local))
}

/// Whose decisions count on one remainder.
#[derive(Debug, Clone, Copy)]
pub struct Electorate<'a> {
    /// How many approvals it needs.
    pub needed: usize,
    /// Whether a decision of somebody who proved nothing counts.
    pub local_counts: bool,
    /// Everybody whom the configuration knows, by name.
    pub people: &'a BTreeMap<String, Identity>,
    /// Who pushed or wrote what waits.
    pub involved: &'a [Person],
}

/// Whether a decision counts, and why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    Counts,
    Expired,
    /// The same person decided again later.
    Superseded,
    /// They pushed or wrote what waits.
    Involved,
    /// The configuration does not know them, or not any more.
    Unknown,
    /// The stack takes no decision without a token.
    Unauthenticated,
}

impl Weight {
    /// Why it does not count, after "it does not count: ".
    pub fn why_not(self) -> Option<&'static str> {
        match self {
            Self::Counts => None,
            Self::Expired => Some("it ran out"),
            Self::Superseded => Some("the same person decided again"),
            Self::Involved => Some("the pusher or an author of the change gave it"),
            Self::Unknown => Some("the configuration has no such person"),
            Self::Unauthenticated => Some("it was given without a token"),
        }
    }
}

impl Electorate<'_> {
    /// Whether the person pushed or wrote a part of what waits.
    pub fn is_involved(&self, person: &str) -> bool {
        self.people
            .get(person)
            .is_some_and(|identity| self.involved.iter().any(|other| identity.is(other)))
    }

    /// Whether a decision by them, made just now, would count.
    pub fn weigh(&self, by: &Approver, choice: Choice) -> Weight {
        match by {
            Approver::Local(_) if self.local_counts => Weight::Counts,
            Approver::Local(_) => Weight::Unauthenticated,
            Approver::Person(name) if !self.people.contains_key(name) => Weight::Unknown,
            // Whoever pushed something may well say that it shall not happen.
            Approver::Person(name) if choice == Choice::Approve && self.is_involved(name) => {
                Weight::Involved
            }
            Approver::Person(_) => Weight::Counts,
        }
    }

    /// The weight of each decision, in their order. They are given oldest first.
    pub fn weights(&self, decisions: &[Decision], now: i64) -> Vec<Weight> {
        let mut decided_later = BTreeSet::new();
        let mut weights: Vec<Weight> = decisions
            .iter()
            .rev()
            .map(|decision| {
                let is_latest = decided_later.insert(&decision.by);
                match self.weigh(&decision.by, decision.choice) {
                    Weight::Counts if !is_latest => Weight::Superseded,
                    Weight::Counts if has_expired(decision, now) => Weight::Expired,
                    weight => weight,
                }
            })
            .collect();
        weights.reverse();
        weights
    }

    /// How the remainder stands. One rejection that counts outweighs every approval, until who
    /// gave it approves, or the remainder changes.
    pub fn judge(&self, hash: Digest, decisions: &[Decision], now: i64) -> Standing {
        let weights = self.weights(decisions, now);
        let weighed = || decisions.iter().zip(&weights);
        let of = |wanted: Weight| {
            weighed()
                .filter(|(decision, weight)| {
                    **weight == wanted && decision.choice == Choice::Approve
                })
                .count()
        };
        let rejection = weighed()
            .rfind(|(decision, weight)| {
                **weight == Weight::Counts && decision.choice == Choice::Reject
            })
            .map(|(decision, _)| Verdict::Rejected {
                by: decision.by.to_string(),
                reason: decision.reason.clone(),
            });
        let given = of(Weight::Counts);
        let verdict = match rejection {
            Some(rejection) => rejection,
            None if given >= self.needed => Verdict::Approved,
            None if given == 0 && of(Weight::Expired) >= self.needed => Verdict::Expired,
            None => Verdict::Awaiting {
                given,
                needed: self.needed,
            },
        };
        Standing { hash, verdict }
    }
}

fn has_expired(decision: &Decision, now: i64) -> bool {
    decision.choice == Choice::Approve && now >= decision.expires_at
}
