//! What is live on a target: one listing, made comparable with what was seen there before.
//!
//! Nothing here writes an object. A reload is asked for only where an empty answer must not be
//! believed at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::{Value, value::to_raw_value};

use super::apply;
use crate::{
    domain::{
        canonical::{Digest, canonical},
        certificate::{fingerprint_of, mentioned, organisation_of},
        inventory::Inventory,
        normalize,
        object::{Kind, ObjectKey, classic_children},
        plan::{self, Live, PreparedDesired, Seen},
        secrets::Masker,
    },
    store::Body,
    tyk::gateway::{Client, Error, Listed, Readiness},
};

/// One look at a target.
#[derive(Debug)]
pub struct Observation {
    pub version: String,
    pub live: Live,
    /// The listing itself, for what needs a closer look.
    pub listed: BTreeMap<ObjectKey, Listed>,
    /// Objects that the gateway lists without an id; nothing can be done with them.
    pub nameless: usize,
    /// What may have secrets in it: no text of it is shown or kept.
    hidden: BTreeSet<ObjectKey>,
    /// The masked, normalised texts of what had to be read closely.
    texts: BTreeMap<ObjectKey, String>,
}

impl Observation {
    /// The hash of the exact text in which an object is listed.
    pub fn listed_digest(&self, key: &ObjectKey) -> Option<Digest> {
        let listed = self.listed.get(key)?;
        Some(Digest::of(listed.raw.get().as_bytes()))
    }

    /// An API that mentions a certificate.
    pub fn user_of(&self, certificate: &ObjectKey) -> Option<&ObjectKey> {
        let fingerprint = fingerprint_of(&certificate.id);
        let mut live = self.live.iter();
        let (user, _) = live.find(|(_, seen)| seen.certificates.contains(fingerprint))?;
        Some(user)
    }

    /// Whether secrets may stand in what is live.
    pub fn hides(&self, key: &ObjectKey) -> bool {
        self.hidden.contains(key)
    }

    /// The masked, normalised body of one live object.
    pub fn masked(&self, key: &ObjectKey, masker: &Masker) -> Option<Value> {
        let listed = self.listed.get(key)?;
        let body = normalize::listed(key.kind, &listed.body());
        Some(masker.mask_owned(body, self.hides(key)))
    }

    /// The same as canonical text, with its hash.
    pub fn text(&self, key: &ObjectKey, masker: &Masker) -> Option<Body> {
        let text = match self.texts.get(key) {
            Some(text) => text.clone(),
            None => canonical(&self.masked(key, masker)?),
        };
        let digest = Digest::of(text.as_bytes());
        Some(Body { digest, text })
    }
}

/// Reads what is live. Refuses to read a gateway that is starting: its lists are empty and mean
/// nothing.
pub async fn observe(
    client: &Client,
    inventory: &Arc<Inventory>,
    desired: &Arc<PreparedDesired>,
    masker: &Masker,
) -> Result<Observation, Error> {
    match client.readiness().await? {
        Readiness::Ready => {}
        Readiness::NotReady(reason) => return Err(Error::NotReady(reason)),
        // Gateways before 5.8.3 cannot say; a reload that was waited for is as good.
        Readiness::Unknown => client.reload().await?,
    }
    let version = client.version().await?;
    let mut listing = client.list().await?;
    let owns_apis = inventory.keys().any(|key| key.kind.is_api());
    let shows_apis = listing
        .objects
        .iter()
        .any(|listed| listed.key.kind.is_api());
    if owns_apis && !shows_apis {
        client.reload().await?;
        listing = client.list().await?;
    }
    let nameless = listing.nameless;
    let certificates = certificates(client, inventory, desired).await?;
    let listed: BTreeMap<ObjectKey, Listed> = listing
        .objects
        .into_iter()
        .chain(certificates)
        .map(|listed| (listed.key.clone(), listed))
        .collect();
    let hidden = hidden(inventory, desired);
    let (inventory, desired, masker) = (inventory.clone(), desired.clone(), masker.clone());
    let (live, texts, listed, hidden) = tokio::task::spawn_blocking(move || {
        let mut live = Live::new();
        let mut texts = BTreeMap::new();
        let owned: BTreeSet<&str> = owned_certificates(&inventory).collect();
        for (key, listed) in &listed {
            let (mut seen, text) = see(
                key,
                listed,
                &inventory,
                &desired,
                &masker,
                hidden.contains(key),
            );
            if key.kind.is_api() {
                seen.certificates = mentioned(listed.raw.get(), &owned);
            }
            live.insert(key.clone(), seen);
            texts.extend(text.map(|text| (key.clone(), text)));
        }
        (live, texts, listed, hidden)
    })
    .await
    .expect("reading a listing does not panic");
    Ok(Observation {
        version,
        live,
        listed,
        nameless,
        hidden,
        texts,
    })
}

/// What has secrets in it by what Git says, or had some once: a value that was replaced meanwhile
/// is known to nobody.
fn hidden(inventory: &Inventory, desired: &PreparedDesired) -> BTreeSet<ObjectKey> {
    let had_some = inventory.iter().filter(|(_, owned)| owned.hidden);
    let has_some = desired.iter().filter(|(_, wanted)| wanted.references);
    let keys = had_some.map(|(key, _)| key);
    keys.chain(has_some.map(|(key, _)| key)).cloned().collect()
}

fn see(
    key: &ObjectKey,
    listed: &Listed,
    inventory: &Inventory,
    desired: &PreparedDesired,
    masker: &Masker,
    is_hidden: bool,
) -> (Seen, Option<String>) {
    let known = inventory.get(key).and_then(|owned| {
        let unchanged = owned.listed? == Digest::of(listed.raw.get().as_bytes());
        owned.observed.filter(|_| unchanged)
    });
    let is_wanted_or_ours = inventory.contains_key(key) || desired.contains_key(key);
    // Versions are listed by the rarest of APIs; the text tells without parsing it.
    let may_have_children = key.kind.is_api() && listed.raw.get().contains(r#""versions":{""#);
    let body = (known.is_none() && is_wanted_or_ours || may_have_children).then(|| listed.body());
    let text = body
        .as_ref()
        .filter(|_| known.is_none() && is_wanted_or_ours)
        .map(|body| canonical(&masker.mask_owned(normalize::listed(key.kind, body), is_hidden)));
    let digest = match (known, &text) {
        (Some(digest), _) => digest,
        (None, Some(text)) => Digest::of(text.as_bytes()),
        // Nobody will compare it.
        (None, None) => Digest::of(listed.raw.get().as_bytes()),
    };
    let children = body
        .iter()
        .flat_map(classic_children)
        .map(str::to_owned)
        .collect();
    let seen = Seen {
        name: listed.name.clone(),
        route: listed.route.clone(),
        digest,
        children,
        certificates: BTreeSet::new(),
        grants: listed.grants(),
    };
    (seen, text)
}

/// The target's certificates, as objects that say nothing but their id. Asked for only where a
/// stack refers to some or owns some.
async fn certificates(
    client: &Client,
    inventory: &Inventory,
    desired: &PreparedDesired,
) -> Result<Vec<Listed>, Error> {
    let organisations: BTreeSet<&str> = inventory
        .keys()
        .chain(desired.keys())
        .filter(|key| key.kind == Kind::Certificate)
        .map(|key| organisation_of(&key.id))
        .collect();
    let mut listed = Vec::new();
    for organisation in organisations {
        for id in client.certificates(organisation).await? {
            let raw = to_raw_value(&id).expect("a text is JSON");
            listed.push(Listed {
                key: ObjectKey::new(Kind::Certificate, id),
                name: String::new(),
                route: None,
                raw,
            });
        }
    }
    Ok(listed)
}

fn owned_certificates(inventory: &Inventory) -> impl Iterator<Item = &str> {
    inventory
        .keys()
        .filter(|key| key.kind == Kind::Certificate)
        .map(|key| fingerprint_of(&key.id))
}

/// Which of these certificates the APIs of another node mention, with a word for the node.
pub async fn used_on(
    client: &Client,
    node: &str,
    certificates: &[ObjectKey],
) -> BTreeMap<ObjectKey, String> {
    let used_by = |user: &str, used: &dyn Fn(&str) -> bool| {
        certificates
            .iter()
            .filter(|key| used(fingerprint_of(&key.id)))
            .map(|key| (key.clone(), user.to_owned()))
            .collect()
    };
    let listing = match client.list().await {
        Ok(listing) => listing,
        // Nobody knows; so nothing is removed.
        Err(error) => {
            let user = format!("perhaps the node {node}, which cannot be asked ({error}),");
            return used_by(&user, &|_| true);
        }
    };
    let known = certificates
        .iter()
        .map(|key| fingerprint_of(&key.id))
        .collect();
    let found: BTreeSet<String> = listing
        .objects
        .iter()
        .flat_map(|listed| mentioned(listed.raw.get(), &known))
        .collect();
    used_by(&format!("the node {node}"), &|fingerprint| {
        found.contains(fingerprint)
    })
}

/// Of the objects whose ownership or state is open, those that already are what Git wants. OAS
/// documents are read one by one for it, and those with a JWT scheme only where the target allows
/// it, because such a read can stop a gateway that serves JWT traffic.
pub async fn equal_objects(
    client: &Client,
    stack: &str,
    desired: &PreparedDesired,
    inventory: &Inventory,
    observation: &Observation,
    allow_jwt_reads: bool,
) -> Result<BTreeSet<ObjectKey>, Error> {
    let candidates = plan::candidates(
        stack,
        desired,
        &observation.live,
        inventory,
        &observation.version,
    );
    let mut equal = BTreeSet::new();
    for key in candidates {
        let (Some(wanted), Some(listed)) = (desired.get(&key), observation.listed.get(&key)) else {
            continue;
        };
        let asked = wanted.asked();
        let is_equal = match key.kind {
            // What is not shown of it matters only where nobody knows who put it there.
            Kind::Certificate => {
                let needs_key = asked.get("has_private_key") == Some(&Value::Bool(true));
                let is_owned = inventory.contains_key(&key);
                is_owned || !needs_key || client.has_private_key(&key.id).await? == Some(true)
            }
            Kind::ClassicApi | Kind::Policy => normalize::equal(key.kind, asked, &listed.body()),
            Kind::OasApi | Kind::McpProxy => {
                if !allow_jwt_reads && listed_with_jwt(&listed.body()) {
                    // After an upgrade of the gateway it is compared as far as its listing tells;
                    // what nobody owns, and what is unknown, needs more than that.
                    inventory
                        .get(&key)
                        .is_some_and(|owned| owned.observed.is_some())
                        && apply::projection_holds(asked, &listed.body())
                } else {
                    let document = client.document(&key.id).await?;
                    document.is_some_and(|read| normalize::equal(key.kind, asked, &read))
                }
            }
        };
        if is_equal {
            equal.insert(key);
        }
    }
    Ok(equal)
}

/// Whether a listing shows an API that checks JWTs.
pub fn listed_with_jwt(body: &Value) -> bool {
    body.get("enable_jwt") == Some(&Value::Bool(true))
}
