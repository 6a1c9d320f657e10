//! Puts right what a run broke: finds the changes that took something down, of their own objects or
//! beside them, writes the previous bodies, takes away again what was made in vain, and looks at
//! what came of it. Both a run and the recovery of a dead worker's run work with it.
//!
//! It decides nothing about what should be, touches no object that the run's intent does not name,
//! and believes no answer but the listing after a reload.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::{Value, json};
use tracing::{info, warn};

use super::{
    apply::Done,
    lease::Holding,
    look::{self, Look},
    observe::{self, Observation},
    run::{Context, RunError},
};
use crate::{
    app::Target,
    domain::{
        audit::event::EventType,
        inventory::Inventory,
        object::{Kind, Object, ObjectKey, Route},
        plan::{Change, Live, PreparedDesired, is_collision_rename},
        run::{Action, Outcome, RunId},
        secrets::Masker,
    },
    store::Intent,
    tyk::gateway::{Client, Error},
};

/// What is to be done to put things right.
#[derive(Default)]
pub(super) struct Mending {
    /// Objects that are live, were made by this run and must go again.
    pub(super) remove: BTreeSet<ObjectKey>,
    /// Objects that the gateway took and did not load. Their files would come to life at any later
    /// reload, and what is not live cannot be deleted.
    pub(super) unload: BTreeSet<ObjectKey>,
    /// The bodies that were live before.
    pub(super) put_back: BTreeMap<ObjectKey, Value>,
}

impl Mending {
    pub(super) fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.unload.is_empty() && self.put_back.is_empty()
    }

    pub(super) fn objects(&self) -> BTreeSet<&ObjectKey> {
        let others = self.remove.iter().chain(&self.unload);
        others.chain(self.put_back.keys()).collect()
    }
}

/// What a mending came to.
pub(super) struct Mended {
    pub(super) observation: Observation,
    /// What the gateway said where it would not have a body back.
    pub(super) words: BTreeMap<ObjectKey, String>,
}

/// All that is needed to write to a target for a run that is open.
pub(super) struct Hands<'a> {
    pub(super) target: &'a Target,
    pub(super) client: &'a Client,
    pub(super) holding: &'a Holding,
    pub(super) run: &'a RunId,
    pub(super) inventory: &'a Arc<Inventory>,
    pub(super) desired: &'a Arc<PreparedDesired>,
    pub(super) masker: &'a Masker,
}

impl Hands<'_> {
    /// Carries out a mending whose intent is on record, with as many reloads as it takes.
    pub(super) async fn mend(&self, mending: &Mending) -> Result<Mended, RunError> {
        let Mending {
            remove,
            unload,
            put_back,
        } = mending;
        let mut words = BTreeMap::new();
        for key in remove {
            self.delete(key).await?;
        }
        // Written over another kind, an object leaves the file of that kind behind.
        let stands_in_the_way = |key: &ObjectKey| remove.iter().any(|other| other.id == key.id);
        if put_back.keys().any(stands_in_the_way) {
            self.reload().await?;
        }
        for key in unload {
            if let Some(placeholder) = placeholder(key) {
                self.put(key, &placeholder).await?;
            }
        }
        for (key, body) in put_back {
            let refusal = self.put(key, body).await?;
            words.extend(refusal.map(|words| (key.clone(), words)));
        }
        self.reload().await?;
        let mut observation = self.read().await?;

        let renamed: BTreeSet<&ObjectKey> = put_back
            .iter()
            .filter(|(key, body)| keeps_a_given_name(key, body, &observation.live))
            .map(|(key, _)| key)
            .collect();
        let loaded = unload
            .iter()
            .filter(|key| observation.live.contains_key(*key));
        let to_delete: BTreeSet<&ObjectKey> = renamed.iter().copied().chain(loaded).collect();
        if !to_delete.is_empty() {
            for key in to_delete {
                self.delete(key).await?;
            }
            self.reload().await?;
            for &key in &renamed {
                self.put(key, &put_back[key]).await?;
            }
            if !renamed.is_empty() {
                self.reload().await?;
            }
            observation = self.read().await?;
        }
        Ok(Mended { observation, words })
    }

    async fn put(&self, key: &ObjectKey, body: &Value) -> Result<Option<String>, RunError> {
        self.covered().await?;
        let written = self.client.write(key.kind, &key.id, body).await;
        crate::crash::point("during-repair");
        match written {
            Ok(()) => Ok(None),
            Err(error) if error.is_transient() || error.is_denial() => Err(self.open(&error)),
            Err(error) => {
                warn!(object = %key, %error, "the gateway refuses what is to be put back");
                Ok(Some(error.to_string()))
            }
        }
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), RunError> {
        self.covered().await?;
        match self.client.delete(key.kind, &key.id).await {
            // The listing after the reload has the last word.
            Ok(_) => Ok(()),
            Err(error) if error.is_transient() || error.is_denial() => Err(self.open(&error)),
            Err(error) => {
                warn!(object = %key, %error, "it could not be taken away");
                Ok(())
            }
        }
    }

    async fn covered(&self) -> Result<(), RunError> {
        if self.holding.covers(self.target.write_needs()).await {
            return Ok(());
        }
        Err(RunError::Open {
            run: self.run.clone(),
            why: "the lease of the target ran out during a repair".to_owned(),
        })
    }

    async fn reload(&self) -> Result<(), RunError> {
        self.client
            .reload()
            .await
            .map_err(|error| self.open(&error))
    }

    async fn read(&self) -> Result<Observation, RunError> {
        observe::observe(self.client, self.inventory, self.desired, self.masker)
            .await
            .map_err(|error| self.open(&error))
    }

    fn open(&self, error: &Error) -> RunError {
        RunError::Open {
            run: self.run.clone(),
            why: format!("the target {}: {error}", self.target.name),
        }
    }
}

/// Whether an object still has the name that a collision gave it though nobody else is on its own
/// route: the same body under the same checksum does not make the gateway load it anew.
fn keeps_a_given_name(key: &ObjectKey, body: &Value, live: &Live) -> bool {
    let Some(own) = route_of(key, body) else {
        return false;
    };
    let is_free = !live
        .iter()
        .any(|(other, seen)| other != key && seen.route.as_ref() == Some(&own));
    let found = live.get(key).and_then(|seen| seen.route.as_ref());
    is_free && found.is_some_and(|found| is_collision_rename(&own, found, &key.id))
}

fn route_of(key: &ObjectKey, body: &Value) -> Option<Route> {
    let object = Object {
        key: key.clone(),
        body: body.clone(),
        path: String::new(),
    };
    object.route()
}

/// The least that a gateway loads under an id, and serves to nobody: it is there to be deleted. A
/// certificate is never loaded, so it needs none.
fn placeholder(key: &ObjectKey) -> Option<Value> {
    let ObjectKey { kind, id } = key;
    let name = "on its way out";
    let listen_path = format!("/{id}/on-its-way-out/");
    let body = match kind {
        Kind::Certificate => return None,
        Kind::Policy => json!({"id": id, "name": name, "is_inactive": true, "access_rights": {}}),
        Kind::ClassicApi => json!({
            "api_id": id, "name": name, "internal": true,
            "proxy": {"listen_path": listen_path, "target_url": "http://localhost"},
        }),
        Kind::OasApi | Kind::McpProxy => json!({
            "openapi": "3.0.3", "info": {"title": name, "version": "0"}, "paths": {},
            "x-tyk-api-gateway": {
                "info": {"id": id, "name": name, "state": {"active": false, "internal": true}},
                "upstream": {"url": "http://localhost"},
                "server": {"listenPath": {"value": listen_path}},
            },
        }),
    };
    Some(body)
}

/// The change that is to make anew what a [`Action::Replace`] takes away, or the other way round.
pub(super) fn partner(changes: &[Change], position: usize) -> Option<usize> {
    let one = &changes[position];
    let is_pair = |other: &Change| match one.action {
        Action::Replace => other.action == Action::Create,
        Action::Create => other.action == Action::Replace,
        _ => false,
    };
    let same_place = |other: &Change| {
        other.object.id == one.object.id && other.object.kind.is_api() == one.object.kind.is_api()
    };
    changes
        .iter()
        .position(|other| is_pair(other) && same_place(other))
}

/// What one broken change needs.
#[derive(Debug, Clone, PartialEq)]
enum Cure {
    PutBack(ObjectKey),
    Remove(ObjectKey),
    Unload(ObjectKey),
    /// Nothing is known that could be put back.
    None(ObjectKey),
}

/// An object that is not part of the run and is not as it was before it.
struct Victim {
    object: ObjectKey,
    what: String,
    /// The change that did it, by its place in the run.
    cause: Option<usize>,
}

/// How the changes of a run stand while it is under way, by their places in it.
pub(super) struct Account {
    pub(super) changes: Vec<Change>,
    pub(super) done: Vec<Done>,
    /// What was live before, of what is changed or made anew.
    pub(super) previous: BTreeMap<ObjectKey, Value>,
    /// How long the requests took: microseconds, by position.
    pub(super) took: BTreeMap<usize, i64>,
    /// Created objects that the gateway took and did not load.
    pub(super) lost: BTreeSet<usize>,
    /// Changes that were dealt with after an earlier wave.
    mended: BTreeSet<usize>,
    /// What others did meanwhile, and is on record.
    told: BTreeSet<ObjectKey>,
}

impl Account {
    pub(super) fn new(changes: Vec<Change>, previous: BTreeMap<ObjectKey, Value>) -> Self {
        Self {
            done: vec![Done::open(); changes.len()],
            changes,
            previous,
            took: BTreeMap::new(),
            lost: BTreeSet::new(),
            mended: BTreeSet::new(),
            told: BTreeSet::new(),
        }
    }

    /// Whether a change waits for an object to go that is still there.
    pub(super) fn is_blocked(&self, position: usize) -> bool {
        let creates = self.changes[position].action == Action::Create;
        let gone = partner(&self.changes, position).filter(|other| *other < position);
        creates && gone.is_some_and(|gone| self.done[gone].outcome != Outcome::Applied)
    }
}

impl Context<'_> {
    /// After a wave: finds what it broke and puts it right, with an intent of its own.
    pub(super) async fn repair(
        &self,
        account: &mut Account,
        look: &Look,
        observation: Observation,
    ) -> Result<Observation, RunError> {
        let victims = victims(account, look, &observation.live);
        let mut harmful = BTreeSet::new();
        for victim in &victims {
            if let Some(cause) = victim.cause {
                harmful.insert(cause);
                account.done[cause] = Done::new(Outcome::Failed, victim.what.clone());
            }
        }
        self.tell_of_others(&victims, &mut account.told).await?;
        let cures = loop {
            let cures = cures(account, &harmful, look, &observation.live);
            let followers = followers(account, &cures, look);
            if followers.is_empty() {
                break cures;
            }
            for (position, why) in followers {
                harmful.insert(position);
                account.done[position] = Done::new(Outcome::Failed, why);
            }
        };
        let mut mending = Mending::default();
        for (_, cure) in &cures {
            match cure {
                Cure::PutBack(key) => {
                    let body = account.previous[key].clone();
                    // Of another kind than what stands there now.
                    let others = observation
                        .live
                        .keys()
                        .filter(|other| other.id == key.id && other.kind.is_api() && *other != key);
                    mending.remove.extend(others.cloned());
                    mending.put_back.insert(key.clone(), body);
                }
                Cure::Remove(key) => {
                    mending.remove.insert(key.clone());
                }
                Cure::Unload(key) => {
                    mending.unload.insert(key.clone());
                }
                Cure::None(_) => {}
            }
        }
        let mut observation = observation;
        let mut words = BTreeMap::new();
        if !mending.is_empty() {
            (self.progress)("putting back what the change took down");
            let positions: Vec<usize> = cures.iter().map(|(position, _)| *position).collect();
            let payload = json!({"repair": mending.objects(), "positions": positions});
            let intended = self.event(EventType::RunIntended, payload);
            let intent = Intent {
                events: vec![self.of_look(intended, look)],
                ..Intent::default()
            };
            self.app
                .store
                .extend_run(self.holding.lease(), &self.run, &intent)
                .await?;
            let mended = self.hands(look).mend(&mending).await?;
            observation = mended.observation;
            words = mended.words;
        }
        for (position, cure) in cures {
            conclude(account, position, &cure, look, &observation.live, &words);
            account.mended.insert(position);
        }
        Ok(observation)
    }

    fn hands<'a>(&'a self, look: &'a Look) -> Hands<'a> {
        Hands {
            target: &self.stack.target,
            client: &self.stack.target.client,
            holding: self.holding,
            run: &self.run,
            inventory: &look.inventory,
            desired: &look.wanted.desired,
            masker: &self.app.masker,
        }
    }

    /// Puts on record, once, what changed beside the run by nobody of ours.
    async fn tell_of_others(
        &self,
        victims: &[Victim],
        told: &mut BTreeSet<ObjectKey>,
    ) -> Result<(), RunError> {
        let news: Vec<&Victim> = victims
            .iter()
            .filter(|victim| victim.cause.is_none() && told.insert(victim.object.clone()))
            .collect();
        if news.is_empty() {
            return Ok(());
        }
        let mut details = Vec::new();
        for victim in &news {
            warn!(object = %victim.object, "{}", victim.what);
            details.push(json!({"object": victim.object, "what": victim.what}));
        }
        let objects: Vec<&ObjectKey> = news.iter().map(|victim| &victim.object).collect();
        let payload = json!({
            "objects": objects,
            "changes": details,
            "by": "not by this run, which saw it happen",
        });
        let intent = Intent {
            events: vec![self.event(EventType::DriftObserved, payload)],
            ..Intent::default()
        };
        self.app
            .store
            .extend_run(self.holding.lease(), &self.run, &intent)
            .await?;
        Ok(())
    }

    /// Where the live body cannot be had, or would put secrets in the place of references, the body
    /// that Git had at the settled revision: of objects that are as the last run left them.
    pub(super) async fn previous_from_git(
        &self,
        look: &Look,
        previous: &mut BTreeMap<ObjectKey, Value>,
    ) {
        let as_left = |key: &ObjectKey| {
            let owned = look.inventory.get(key)?;
            let seen = look.observation.live.get(key)?;
            (owned.observed == Some(seen.digest)).then_some(owned.desired)
        };
        let needed: Vec<(&ObjectKey, _)> = look
            .plan
            .changes()
            .filter(|change| matches!(change.action, Action::Update | Action::Replace))
            .map(|change| &change.object)
            // A private key is kept nowhere, not even sealed.
            .filter(|key| key.kind != Kind::Certificate)
            .filter(|key| {
                let desired = look.wanted.desired.get(*key);
                !previous.contains_key(*key) || desired.is_some_and(|wanted| wanted.references)
            })
            .filter_map(|key| Some((key, as_left(key)?)))
            .collect();
        let Some(settled) = self.state.settled.as_ref().filter(|_| !needed.is_empty()) else {
            return;
        };
        match look::wanted(self.app, self.stack, settled).await {
            Ok(before) => {
                for (key, applied) in needed {
                    let was = before.desired.get(key);
                    if let Some(was) = was.filter(|was| was.digest == applied) {
                        previous.insert(key.clone(), was.object.body.clone());
                    }
                }
            }
            Err(error) => {
                info!(revision = %settled.short(), %error, "the manifests before this run cannot be read");
            }
        }
    }
}

/// What is gone or renamed though no change of the run concerns it.
fn victims(account: &Account, look: &Look, now: &Live) -> Vec<Victim> {
    let Account { changes, done, .. } = account;
    let changed: BTreeSet<(bool, &str)> = changes
        .iter()
        .map(|change| (change.object.kind.is_api(), change.object.id.as_str()))
        .collect();
    let written = |place: usize| {
        let was_sent = !matches!(done[place].outcome, Outcome::Open | Outcome::Skipped);
        was_sent && changes[place].action.puts()
    };
    let mut victims = Vec::new();
    for (key, was) in &look.observation.live {
        if changed.contains(&(key.kind.is_api(), key.id.as_str())) {
            continue;
        }
        let Some(seen) = now.get(key) else {
            // On a disk that knows no case, "Orders" and "orders" are one file.
            let cause = (0..changes.len())
                .filter(|place| written(*place))
                .find(|place| {
                    let object = &changes[*place].object;
                    object.kind.is_api() == key.kind.is_api()
                        && object.id.eq_ignore_ascii_case(&key.id)
                });
            let what = match cause {
                Some(place) => format!(
                    "{} took {key} down: the gateway's disk takes their ids for one name",
                    changes[place].object
                ),
                None => format!("{key} was live and is gone; no change of this run concerns it"),
            };
            victims.push(Victim {
                object: key.clone(),
                what,
                cause,
            });
            continue;
        };
        let (Some(own), Some(found)) = (&was.route, &seen.route) else {
            continue;
        };
        if own == found {
            continue;
        }
        let cause = (0..changes.len())
            .filter(|place| written(*place))
            .find(|place| {
                let wanted = look.wanted.desired.get(&changes[*place].object);
                let route = wanted.and_then(|wanted| wanted.object.route());
                route.is_some_and(|route| is_collision_rename(&route, found, &key.id))
            });
        if let Some(place) = cause {
            victims.push(Victim {
                object: key.clone(),
                what: format!(
                    "{} and {key} came to listen on one path, and the gateway renamed {key} to {found}",
                    changes[place].object
                ),
                cause,
            });
        } else if is_collision_rename(own, found, &key.id) {
            victims.push(Victim {
                object: key.clone(),
                what: format!(
                    "the gateway renamed {key} from {own} to {found}, as it does at a restart with \
                     two APIs on one path; no change of this run concerns it"
                ),
                cause,
            });
        }
    }
    victims
}

/// What the changes that failed so far need, by their place in the run.
fn cures(
    account: &Account,
    harmful: &BTreeSet<usize>,
    look: &Look,
    now: &Live,
) -> Vec<(usize, Cure)> {
    let Account {
        changes,
        done,
        previous,
        lost,
        mended,
        took: _,
        told: _,
    } = account;
    let before = &look.observation.live;
    let mut cures = Vec::new();
    for (position, change) in changes.iter().enumerate() {
        if mended.contains(&position) {
            continue;
        }
        let key = &change.object;
        let failed = done[position].outcome == Outcome::Failed;
        let cure = match change.action {
            Action::Update if failed && is_not_as_before(before, now, key) => {
                Some(if previous.contains_key(key) {
                    Cure::PutBack(key.clone())
                } else {
                    Cure::None(key.clone())
                })
            }
            Action::Replace if done[position].outcome == Outcome::Applied => {
                let anew = partner(changes, position).map(|place| done[place].outcome);
                let in_vain = matches!(anew, Some(Outcome::Failed | Outcome::Skipped));
                in_vain.then(|| {
                    if previous.contains_key(key) {
                        Cure::PutBack(key.clone())
                    } else {
                        Cure::None(key.clone())
                    }
                })
            }
            // What replaces something is put right with it.
            Action::Create if failed && partner(changes, position).is_none() => {
                let route = now.get(key).and_then(|seen| seen.route.as_ref());
                let wanted = look.wanted.desired.get(key);
                let asked = wanted.and_then(|wanted| wanted.object.route());
                let renamed = route
                    .zip(asked)
                    .is_some_and(|(found, asked)| is_collision_rename(&asked, found, &key.id));
                let harmed = now.contains_key(key) && harmful.contains(&position);
                if renamed || harmed {
                    Some(Cure::Remove(key.clone()))
                } else {
                    lost.contains(&position).then(|| Cure::Unload(key.clone()))
                }
            }
            _ => None,
        };
        cures.extend(cure.map(|cure| (position, cure)));
    }
    cures
}

/// Changes that went well and stand where something has to go back to: they go back too.
fn followers(account: &Account, cures: &[(usize, Cure)], look: &Look) -> Vec<(usize, String)> {
    let mut followers = Vec::new();
    for (_, cure) in cures {
        let Cure::PutBack(key) = cure else {
            continue;
        };
        let was = look.observation.live.get(key);
        let Some(route) = was.and_then(|seen| seen.route.as_ref()) else {
            continue;
        };
        for (position, change) in account.changes.iter().enumerate() {
            let wanted = look.wanted.desired.get(&change.object);
            let took_it = change.action.puts()
                && change.object.id != key.id
                && account.done[position].outcome == Outcome::Applied
                && wanted.and_then(|wanted| wanted.object.route()).as_ref() == Some(route);
            if took_it {
                followers.push((position, format!("{key} has to go back to {route}")));
            }
        }
    }
    followers
}

/// Says what became of a broken change, and of the one that belongs to it.
fn conclude(
    account: &mut Account,
    position: usize,
    cure: &Cure,
    look: &Look,
    now: &Live,
    words: &BTreeMap<ObjectKey, String>,
) {
    let before = &look.observation.live;
    // The change that went wrong: of a pair it is the second.
    let fault = match account.changes[position].action {
        Action::Replace => partner(&account.changes, position).unwrap_or(position),
        _ => position,
    };
    let cause = account.done[fault].message.take().unwrap_or_default();
    let (outcome, said) = match cure {
        Cure::PutBack(key) if !is_not_as_before(before, now, key) => (
            Outcome::Repaired,
            format!("{cause}. The previous body of {key} is back and live"),
        ),
        Cure::PutBack(key) => {
            let found = now.get(key).and_then(|seen| seen.route.as_ref());
            let own = before.get(key).and_then(|seen| seen.route.as_ref());
            let why = match (words.get(key), own, found) {
                (Some(words), _, _) => format!(": {words}"),
                (None, Some(own), Some(found)) if is_collision_rename(own, found, &key.id) => {
                    format!(
                        ": another API listens on {own} now, so the gateway gave it {found}; it keeps \
                         that until its document changes"
                    )
                }
                _ => String::new(),
            };
            (
                Outcome::Failed,
                format!(
                    "{cause}. The previous body was put back and does not show as it was{why}: look \
                     at {key} on the gateway"
                ),
            )
        }
        Cure::Remove(key) if !now.contains_key(key) => {
            (Outcome::Failed, format!("{cause}. It was removed again"))
        }
        Cure::Remove(key) => (
            Outcome::Failed,
            format!("{cause}. It could not be removed again: delete {key} on the gateway"),
        ),
        Cure::Unload(_) => (Outcome::Failed, cause),
        Cure::None(key) => (
            Outcome::Failed,
            format!(
                "{cause}. It is not repaired, because the body that {key} had before is not known \
                 here: mend it in Git"
            ),
        ),
    };
    if fault != position {
        account.done[position] = Done {
            outcome,
            message: Some(match outcome {
                Outcome::Repaired => {
                    "it could not be made anew; the previous body is back and live".to_owned()
                }
                _ => "it could not be made anew, and is not as it was".to_owned(),
            }),
        };
        // A change that was never sent has nothing that was put right.
        if account.done[fault].outcome == Outcome::Skipped {
            account.done[fault].message = Some(said);
            return;
        }
    }
    account.done[fault] = Done {
        outcome,
        message: Some(said),
    };
}

/// A failed change needs the previous body back only where the live state is no longer the
/// previous one.
fn is_not_as_before(before: &Live, now: &Live, key: &ObjectKey) -> bool {
    match (before.get(key), now.get(key)) {
        (Some(before), Some(now)) => before.digest != now.digest,
        (Some(_), None) => true,
        (None, _) => false,
    }
}
