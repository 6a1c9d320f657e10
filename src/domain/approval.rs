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
        let Person {
            name,
            login,
            email,
            address: _,
        } = person;
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::object::Kind;

    const HASH: Digest = Digest([1; 32]);
    const NOW: i64 = 1_000;

    fn people() -> BTreeMap<String, Identity> {
        ["ada", "grace", "linus"]
            .map(|name| {
                let email = format!("{name}@example.org");
                let identity = Identity::new([name], [email.as_str()]);
                (name.to_owned(), identity)
            })
            .into()
    }

    fn by(login: &str) -> Person {
        Person {
            login: Some(login.to_owned()),
            ..Person::default()
        }
    }

    /// `"grace+"` approves, `"grace-"` rejects, `"grace!"` approved and that ran out; `uid …` has
    /// no token.
    fn decision(text: &str, at: i64) -> Decision {
        let (name, sign) = text.split_at(text.len() - 1);
        Decision {
            by: if name.starts_with("uid ") {
                Approver::Local(name.to_owned())
            } else {
                Approver::Person(name.to_owned())
            },
            choice: if sign == "-" {
                Choice::Reject
            } else {
                Choice::Approve
            },
            reason: "it is meant".to_owned(),
            at,
            expires_at: if sign == "!" { NOW } else { NOW + 1 },
        }
    }

    fn decisions(texts: &[&str]) -> Vec<Decision> {
        texts
            .iter()
            .zip(0..)
            .map(|(text, at)| decision(text, at))
            .collect()
    }

    fn judge(needed: usize, local_counts: bool, texts: &[&str]) -> Verdict {
        let people = people();
        let involved = [by("ADA")];
        let electorate = Electorate {
            needed,
            local_counts,
            people: &people,
            involved: &involved,
        };
        let standing = electorate.judge(HASH, &decisions(texts), NOW);
        assert_eq!(standing.hash, HASH);
        standing.verdict
    }

    #[test]
    fn distinct_people_who_had_no_part_in_it_decide() {
        let awaiting = |given, needed| Verdict::Awaiting { given, needed };
        let rejected = |by: &str| Verdict::Rejected {
            by: by.to_owned(),
            reason: "it is meant".to_owned(),
        };
        let local = "uid 7 (unauthenticated)";
        for (needed, local_counts, texts, expected) in [
            (1, false, &[][..], awaiting(0, 1)),
            (1, false, &["grace+"], Verdict::Approved),
            (2, false, &["grace+"], awaiting(1, 2)),
            (2, false, &["grace+", "grace+"], awaiting(1, 2)),
            (2, false, &["grace+", "linus+"], Verdict::Approved),
            // The pusher, and somebody whom the configuration does not know.
            (1, false, &["ada+"], awaiting(0, 1)),
            (1, false, &["mallory+"], awaiting(0, 1)),
            (2, false, &["ada+", "grace+", "mallory+"], awaiting(1, 2)),
            // Without a token.
            (1, false, &["uid 7+"], awaiting(0, 1)),
            (1, true, &["uid 7+"], Verdict::Approved),
            (2, true, &["uid 7+", "uid 7+"], awaiting(1, 2)),
            (2, true, &["uid 7+", "uid 8+"], Verdict::Approved),
            (2, true, &["uid 7+", "grace+"], Verdict::Approved),
            // What ran out.
            (1, false, &["grace!"], Verdict::Expired),
            (2, false, &["grace!"], awaiting(0, 2)),
            (2, false, &["grace!", "linus!"], Verdict::Expired),
            (2, false, &["grace!", "linus+"], awaiting(1, 2)),
            (1, false, &["grace!", "linus+"], Verdict::Approved),
            (1, false, &["grace!", "grace+"], Verdict::Approved),
            // Rejections.
            (1, false, &["grace+", "linus-"], rejected("linus")),
            (1, false, &["linus-", "grace+"], rejected("linus")),
            (1, false, &["linus-", "linus+"], Verdict::Approved),
            (1, false, &["linus+", "linus-"], rejected("linus")),
            (1, false, &["ada-", "linus+"], rejected("ada")),
            (1, false, &["mallory-", "linus+"], Verdict::Approved),
            (1, false, &["uid 7-", "linus+"], Verdict::Approved),
            (1, true, &["uid 7-", "linus+"], rejected(local)),
        ] {
            assert_eq!(
                judge(needed, local_counts, texts),
                expected,
                "{needed} needed, {texts:?}"
            );
        }
    }

    #[test]
    fn a_person_is_known_by_every_login_and_address() {
        let ada = Identity::new(["Ada", "ada.l"], ["Ada@Example.org"]);
        let person = |name: &str, login: &str, email: &str| {
            let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            Person {
                name: text(name),
                login: text(login),
                email: text(email),
                address: None,
            }
        };
        for (known, name, login, email) in [
            (true, "", "ADA", ""),
            (true, "", "ada.L", ""),
            (true, "", "other", "ada@EXAMPLE.org"),
            (true, "ada", "", ""),
            (true, "", "", "ada@users.noreply.github.com"),
            (true, "", "", "12+Ada@users.noreply.github.com"),
            (true, "", "", "12-ada.l@users.noreply.gitlab.com"),
            (false, "", "", "12+adam@users.noreply.github.com"),
            (false, "", "", "12+ada@example.org"),
            (false, "Ada Lovelace", "adam", "adam@example.org"),
            (false, "", "", ""),
        ] {
            let person = person(name, login, email);
            assert_eq!(ada.is(&person), known, "{person:?}");
        }
    }

    #[test]
    fn what_differs_is_named() {
        let remainder = |changes: &[(&str, u8)]| {
            let changes = changes.iter().map(|(id, before)| Change {
                object: ObjectKey::new(Kind::ClassicApi, *id),
                action: Action::Delete,
                reason: String::new(),
                path: None,
                before: Some(Digest([*before; 32])),
                after: None,
                drifted: false,
                fields: Vec::new(),
            });
            Remainder::of("shop", "production", changes).unwrap()
        };
        let before = remainder(&[("a", 1), ("b", 1), ("c", 1)]);
        let now = remainder(&[("b", 1), ("c", 2), ("d", 1)]);
        let difference = Difference::between(Some(&before), Some(&now));
        assert_eq!(
            difference.to_string(),
            "new: delete classic/d; no longer: delete classic/a; changed since: delete classic/c"
        );
        let same = Difference::between(Some(&now), Some(&now));
        assert_eq!(
            (same.to_string().as_str(), same),
            ("", Difference::default())
        );
        let many: Vec<String> = (10..30).map(|id| id.to_string()).collect();
        let many: Vec<(&str, u8)> = many.iter().map(|id| (id.as_str(), 0)).collect();
        let all = Difference::between(Some(&remainder(&many)), None);
        assert!(all.to_string().ends_with(", 10 more"), "{all}");
    }

    const VOICES: [&str; 7] = [
        "ada+", "grace+", "grace-", "grace!", "linus+", "mallory+", "uid 7+",
    ];

    proptest! {
        #[test]
        fn nothing_is_approved_without_enough_people_whose_word_counts(
            said in prop::collection::vec(0..VOICES.len(), 0..12),
            needed in 1_usize..4,
        ) {
            let texts: Vec<&str> = said.iter().map(|&voice| VOICES[voice]).collect();
            let verdict = judge(needed, false, &texts);
            let agrees = |name: &str| {
                let last = texts.iter().rev().find(|text| text.starts_with(name));
                last.is_some_and(|text| text.ends_with('+'))
            };
            let agreed = ["grace", "linus"].iter().filter(|name| agrees(name)).count();
            let objects = texts.iter().rev().find(|text| text.starts_with("grace"));
            let is_rejected = objects == Some(&"grace-");
            prop_assert_eq!(
                verdict == Verdict::Approved,
                agreed >= needed && !is_rejected,
                "{:?} of {}", texts, needed
            );
        }

        #[test]
        fn who_does_not_count_changes_nothing(
            said in prop::collection::vec(0..VOICES.len(), 0..12),
        ) {
            let texts: Vec<&str> = said.iter().map(|&voice| VOICES[voice]).collect();
            let counting: Vec<&str> = texts
                .iter()
                .copied()
                .filter(|text| text.starts_with("grace") || text.starts_with("linus"))
                .collect();
            prop_assert_eq!(judge(2, false, &texts), judge(2, false, &counting));
        }
    }
}
