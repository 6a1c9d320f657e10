//! The planner, against a gateway in memory that keeps what it is given.

use std::collections::{BTreeMap, BTreeSet};

use lockstep::domain::{
    approval::{Standing, Verdict},
    canonical::Digest,
    guard::RequireApproval,
    inventory::{Inventory, Owned},
    normalize,
    object::{Desired, Kind, Object, ObjectKey, Route, classic_children, grants_of},
    plan::{
        Hold, Inputs, Live, Neighbours, Plan, PreparedDesired, Rules, Seen, candidates, prepare,
    },
    run::{Action, RunId},
    secrets::Masker,
};
use proptest::prelude::*;
use serde_json::{Value, json};

const STACK: &str = "shop";

fn masker() -> Masker {
    Masker::new(&[1; 32])
}

fn classic(id: &str, path: &str) -> Object {
    Object {
        key: ObjectKey::new(Kind::ClassicApi, id),
        body: json!({"api_id": id, "name": id, "proxy": {"listen_path": path, "target_url": "http://up"}}),
        path: format!("{id}.yaml"),
    }
}

fn policy(id: &str) -> Object {
    Object {
        key: ObjectKey::new(Kind::Policy, id),
        body: json!({"id": id, "name": id}),
        path: format!("{id}.yaml"),
    }
}

fn desired(objects: impl IntoIterator<Item = Object>) -> PreparedDesired {
    let desired: Desired = objects
        .into_iter()
        .map(|object| (object.key.clone(), object))
        .collect();
    prepare(desired, &masker())
}

/// What a test asks of a plan beside the world.
#[derive(Default)]
struct Asked {
    rules: Rules,
    protected: BTreeSet<ObjectKey>,
    released: BTreeSet<ObjectKey>,
    unread: BTreeMap<ObjectKey, String>,
    neighbours: Neighbours,
    standing: Option<Standing>,
}

/// A gateway of classic APIs and policies, and the record of who owns what.
#[derive(Clone, Default)]
struct World {
    bodies: BTreeMap<ObjectKey, Value>,
    inventory: Inventory,
    clock: i64,
    held_since: Option<i64>,
}

impl World {
    fn live(&self) -> Live {
        self.bodies
            .iter()
            .map(|(key, body)| {
                let listed = masker().mask(&normalize::listed(key.kind, body), false);
                let seen = Seen {
                    name: key.id.clone(),
                    route: key.kind.is_api().then(|| Route::of_classic(body)),
                    digest: Digest::of_json(&listed),
                    children: classic_children(body)
                        .into_iter()
                        .map(str::to_owned)
                        .collect(),
                    certificates: BTreeSet::new(),
                    grants: grants_of(body).into_iter().map(str::to_owned).collect(),
                };
                (key.clone(), seen)
            })
            .collect()
    }

    fn plan(&self, desired: &PreparedDesired) -> Plan {
        self.plan_with(desired, |_| {})
    }

    fn plan_with(&self, desired: &PreparedDesired, change: impl FnOnce(&mut Asked)) -> Plan {
        let live = self.live();
        let equal: BTreeSet<ObjectKey> = candidates(STACK, desired, &live, &self.inventory, "5.14")
            .into_iter()
            .filter(|key| normalize::equal(key.kind, &desired[key].object.body, &self.bodies[key]))
            .collect();
        let mut asked = Asked {
            rules: Rules {
                deletion_limit: 1_000,
                ..Rules::default()
            },
            ..Asked::default()
        };
        change(&mut asked);
        Plan::new(Inputs {
            stack: STACK,
            target: "production",
            desired,
            live: &live,
            inventory: &self.inventory,
            equal: &equal,
            gateway_version: "5.14",
            rules: asked.rules,
            protected: &asked.protected,
            released: &asked.released,
            unread: &asked.unread,
            neighbours: &asked.neighbours,
            used_elsewhere: &BTreeMap::new(),
            standing: asked.standing.as_ref(),
            recent_deletions: 0,
            held_since: self.held_since,
        })
    }

    fn apply(&mut self, plan: &Plan, desired: &PreparedDesired) {
        for change in plan.changes() {
            let key = &change.object;
            match change.action {
                Action::Create | Action::Update => {
                    self.bodies
                        .insert(key.clone(), desired[key].object.body.clone());
                }
                Action::Delete | Action::Replace => {
                    self.bodies.remove(key);
                }
                Action::Adopt | Action::Forget | Action::Release => {}
            }
        }
        self.clock += 1;
        let holds_deletions = plan.held.iter().any(|held| held.hold == Hold::Budget);
        self.held_since = holds_deletions.then(|| self.held_since.unwrap_or(self.clock - 1));
        let live = self.live();
        for change in plan.changes() {
            let key = &change.object;
            if change.action.removes() || change.action == Action::Forget {
                self.inventory.remove(key);
            } else {
                self.own(key, desired[key].digest, live[key].digest);
            }
        }
    }

    fn own(&mut self, key: &ObjectKey, desired: Digest, observed: Digest) {
        let since = self
            .inventory
            .get(key)
            .map_or(self.clock, |owned| owned.since);
        self.inventory.insert(
            key.clone(),
            Owned {
                since,
                path: None,
                listed: None,
                hidden: false,
                stack: STACK.to_owned(),
                desired,
                observed: Some(observed),
                gateway_version: "5.14".to_owned(),
                run: RunId("run".to_owned()),
                observed_at: 0,
            },
        );
    }

    fn of(desired: &PreparedDesired) -> Self {
        let mut world = Self::default();
        let plan = world.plan(desired);
        world.apply(&plan, desired);
        world
    }
}

fn actions(plan: &Plan) -> Vec<String> {
    plan.changes()
        .map(|change| format!("{} {}", change.action, change.object))
        .collect()
}

#[test]
fn planning_again_after_applying_is_empty() {
    let wanted = desired([classic("a", "/a/"), policy("p")]);
    let world = World::of(&wanted);
    assert!(world.plan(&wanted).is_empty());
}

#[test]
fn policies_come_first_and_deletions_last() {
    let kept = || (0..4).map(|n| classic(&format!("kept{n}"), &format!("/k{n}/")));
    let leaving = [classic("old", "/old/"), policy("gone")];
    let mut world = World::of(&desired(kept().chain(leaving)));
    let wanted = desired(kept().chain([classic("new", "/new/"), policy("p")]));
    let plan = world.plan(&wanted);
    assert_eq!(
        actions(&plan),
        [
            "create policy/p",
            "create classic/new",
            "delete classic/old",
            "delete policy/gone"
        ]
    );
    assert_eq!(plan.waves.len(), 1);
    world.apply(&plan, &wanted);
    assert!(world.plan(&wanted).is_empty());
}

#[test]
fn a_foreign_object_is_adopted_when_equal_and_otherwise_left_alone() {
    let mut world = World::default();
    for object in [classic("same", "/same/"), classic("other", "/other/")] {
        world.bodies.insert(object.key, object.body);
    }
    let mut different = classic("other", "/other/");
    different.body["name"] = json!("mine");
    let wanted = desired([classic("same", "/same/"), different]);
    let plan = world.plan(&wanted);
    assert_eq!(actions(&plan), ["adopt classic/same"]);
    assert_eq!(plan.held.len(), 1);
    assert_eq!(plan.held[0].hold, Hold::Foreign);
    // A foreign object that Git does not name is nobody's business.
    let mut world = World::default();
    let stray = classic("stray", "/stray/");
    world.bodies.insert(stray.key, stray.body);
    assert!(world.plan(&desired([])).is_empty());
}

#[test]
fn an_object_of_another_stack_is_refused_by_name() {
    let wanted = desired([classic("a", "/a/")]);
    let mut world = World::of(&wanted);
    for owned in world.inventory.values_mut() {
        "other".clone_into(&mut owned.stack);
    }
    let plan = world.plan(&wanted);
    assert!(plan.waves.is_empty());
    assert!(plan.held[0].message.contains("belongs to the stack other"));
}

#[test]
fn a_change_by_hand_is_seen_whether_it_changed_or_removed_the_object() {
    let wanted = desired([classic("a", "/a/"), classic("b", "/b/")]);
    let mut world = World::of(&wanted);
    let a = ObjectKey::new(Kind::ClassicApi, "a");
    world.bodies.get_mut(&a).unwrap()["name"] = json!("by hand");
    world.bodies.remove(&ObjectKey::new(Kind::ClassicApi, "b"));
    let plan = world.plan(&wanted);
    assert_eq!(actions(&plan), ["update classic/a", "create classic/b"]);
    assert!(plan.changes().all(|change| change.drifted));
    world.apply(&plan, &wanted);
    assert!(world.plan(&wanted).is_empty());
}

#[test]
fn deletions_beyond_the_budget_wait_and_the_rest_goes_on() {
    let world = World::of(&desired(
        (0..10).map(|n| classic(&format!("a{n}"), &format!("/{n}/"))),
    ));
    let wanted = desired([classic("a0", "/0/"), classic("new", "/new/")]);
    let plan = world.plan_with(&wanted, |inputs| inputs.rules.deletion_limit = 3);
    assert_eq!(actions(&plan), ["create classic/new"]);
    assert_eq!(plan.held.len(), 9);
    assert!(plan.held.iter().all(|held| held.hold == Hold::Budget));

    let empty = world.plan(&desired([]));
    assert!(empty.waves.is_empty());
    assert!(
        empty.held[0]
            .message
            .contains("describes no objects at all")
    );
}

#[test]
fn what_needs_the_route_of_a_held_deletion_waits_with_it() {
    let world = World::of(&desired([classic("a", "/a/"), classic("b", "/b/")]));
    let wanted = desired([classic("c", "/a/"), classic("d", "/d/")]);
    let plan = world.plan(&wanted);
    assert_eq!(actions(&plan), ["create classic/d"]);
    let c = plan
        .held
        .iter()
        .find(|held| held.change.object.id == "c")
        .unwrap();
    assert!(matches!(c.hold, Hold::Depends { .. }));
}

#[test]
fn a_route_is_left_before_it_is_taken() {
    let mut world = World::of(&desired([
        classic("a", "/x/"),
        classic("z", "/z/"),
        classic("k", "/k/"),
    ]));
    // z moves to /x/ which a leaves; b takes /z/.
    let wanted = desired([
        classic("a", "/a/"),
        classic("z", "/x/"),
        classic("b", "/z/"),
        classic("k", "/k/"),
    ]);
    let plan = world.plan(&wanted);
    assert_eq!(
        actions(&plan),
        ["update classic/a", "update classic/z", "create classic/b"]
    );
    world.apply(&plan, &wanted);
    assert!(world.plan(&wanted).is_empty());

    let replaced = world.plan(&desired([
        classic("a", "/a/"),
        classic("z", "/x/"),
        classic("n", "/z/"),
        classic("k", "/k/"),
    ]));
    assert_eq!(actions(&replaced), ["delete classic/b", "create classic/n"]);
}

#[test]
fn a_route_that_a_foreign_api_holds_is_refused_with_both_named() {
    let mut world = World::default();
    let stray = classic("stray", "/a/");
    world.bodies.insert(stray.key, stray.body);
    let plan = world.plan(&desired([classic("a", "/a/")]));
    assert!(plan.waves.is_empty());
    assert_eq!(
        plan.held[0].message,
        "classic/a cannot listen on /a/: classic/stray does, and it belongs to no stack. Change \
         one of the listen paths, or remove the other API"
    );
}

#[test]
fn two_apis_swap_their_routes_without_a_moment_of_collision() {
    let ring = |paths: &[(&str, &str)]| desired(paths.iter().map(|(id, path)| classic(id, path)));
    let mut world = World::of(&ring(&[("a", "/a/"), ("b", "/b/"), ("c", "/c/")]));
    let wanted = ring(&[("a", "/b/"), ("b", "/a/"), ("c", "/c/")]);
    let plan = world.plan(&wanted);
    assert_eq!(
        actions(&plan),
        ["replace classic/a", "update classic/b", "create classic/a"]
    );
    assert_eq!(plan.waves.len(), 2, "a reload parts the last two");
    world.apply(&plan, &wanted);
    assert!(world.plan(&wanted).is_empty());

    let wanted = ring(&[("a", "/a/"), ("b", "/c/"), ("c", "/b/")]);
    let plan = world.plan(&wanted);
    assert!(plan.held.is_empty(), "{plan}");
    let mut routes: BTreeMap<ObjectKey, Route> = BTreeMap::new();
    for (key, seen) in world.live() {
        routes.insert(key, seen.route.unwrap());
    }
    for change in plan.changes() {
        if change.action.removes() {
            routes.remove(&change.object);
        } else {
            let route = wanted[&change.object].object.route().unwrap();
            routes.insert(change.object.clone(), route);
        }
        let distinct: BTreeSet<_> = routes.values().collect();
        assert_eq!(distinct.len(), routes.len(), "two on one route: {plan}");
    }
    world.apply(&plan, &wanted);
    assert!(world.plan(&wanted).is_empty());
}

#[test]
fn versions_come_before_their_base_and_leave_after_it() {
    let mut base = classic("base", "/base/");
    base.body["definition"] = json!({"versions": {"v2": "a-child"}});
    let mut world = World::of(&desired([
        base.clone(),
        classic("a-child", "/c/"),
        classic("k", "/k/"),
        classic("l", "/l/"),
    ]));
    let plan = World::default().plan(&desired([base, classic("a-child", "/c/")]));
    assert_eq!(
        actions(&plan),
        ["create classic/a-child", "create classic/base"]
    );

    let wanted = desired([
        classic("base", "/base/"),
        classic("k", "/k/"),
        classic("l", "/l/"),
    ]);
    let plan = world.plan(&wanted);
    assert_eq!(plan.waves.len(), 2);
    assert_eq!(
        actions(&plan),
        ["update classic/base", "delete classic/a-child"]
    );
    world.apply(&plan, &wanted);
    assert!(world.plan(&wanted).is_empty());
}

/// A base that lists one version, and three others.
fn family() -> [Object; 5] {
    let mut base = classic("base", "/base/");
    base.body["definition"] = json!({"versions": {"v2": "child"}});
    let other = |id: &str| classic(id, &format!("/{id}/"));
    [base, other("child"), other("k"), other("l"), other("m")]
}

#[test]
fn a_base_and_its_version_go_the_version_first() {
    let mut world = World::of(&desired(family()));
    let wanted = desired(family().into_iter().skip(2));
    let plan = world.plan(&wanted);
    // Deleted after its base, the version would bring the base back.
    assert_eq!(
        actions(&plan),
        ["delete classic/child", "delete classic/base"]
    );
    assert_eq!(plan.waves.len(), 1);
    world.apply(&plan, &wanted);
    assert!(world.plan(&wanted).is_empty());
}

#[test]
fn a_version_that_a_base_goes_on_listing_is_not_deleted() {
    let world = World::of(&desired(family()));
    let [base, _, k, l, m] = family();
    let plan = world.plan(&desired([base, k, l, m]));
    assert!(plan.waves.is_empty());
    let message = &plan.held[0].message;
    assert!(
        message.contains("take it off the versions of classic/base"),
        "{message}"
    );
}

#[test]
fn a_base_is_written_again_when_its_version_is_made_anew() {
    let wanted = desired(family());
    let mut world = World::of(&wanted);
    let child = ObjectKey::new(Kind::ClassicApi, "child");
    world.bodies.get_mut(&child).unwrap()["proxy"]["listen_path"] = json!("/child/-child");
    let plan = world.plan(&wanted);
    assert_eq!(
        actions(&plan),
        [
            "replace classic/child",
            "update classic/base",
            "create classic/child"
        ]
    );
}

#[test]
fn a_policy_that_names_a_deleted_api_is_announced() {
    let mut gold = policy("gold");
    gold.body["access_rights"] = json!({"a": {"api_id": "a"}});
    let objects = |with_a: bool| {
        let a = with_a.then(|| classic("a", "/a/"));
        a.into_iter()
            .chain([classic("b", "/b/"), classic("c", "/c/"), gold.clone()])
    };
    let world = World::of(&desired(objects(true)));
    let plan = world.plan(&desired(objects(false)));
    assert_eq!(actions(&plan), ["delete classic/a"]);
    let note = "policy/gold still names classic/a, which is deleted";
    assert!(plan.notes[0].starts_with(note), "{:?}", plan.notes);
}

#[test]
fn a_path_that_a_renamed_api_has_in_its_document_is_not_given_away() {
    let mut world = World::of(&desired([classic("k", "/k/")]));
    let stranger = classic("s", "/a/-s");
    world.bodies.insert(stranger.key, stranger.body);
    let plan = world.plan(&desired([classic("k", "/k/"), classic("a", "/a/")]));
    assert!(plan.waves.is_empty());
    assert!(matches!(plan.held[0].hold, Hold::RouteTaken { .. }));
    let message = &plan.held[0].message;
    assert!(message.contains("by its document"), "{message}");
}

#[test]
fn an_api_that_changes_its_kind_is_removed_and_made_anew() {
    let mut world = World::of(&desired([classic("a", "/a/"), classic("k", "/k/")]));
    let oas = Object {
        key: ObjectKey::new(Kind::OasApi, "a"),
        body: json!({"x-tyk-api-gateway": {"info": {"id": "a", "name": "a"}, "server": {"listenPath": {"value": "/a/"}}}}),
        path: "a.yaml".to_owned(),
    };
    let wanted = desired([oas, classic("k", "/k/")]);
    let plan = world.plan(&wanted);
    assert_eq!(actions(&plan), ["replace classic/a", "create oas/a"]);
    assert_eq!(plan.waves.len(), 2);
    world.apply(&plan, &wanted);
    assert!(
        !world
            .inventory
            .contains_key(&ObjectKey::new(Kind::ClassicApi, "a"))
    );
}

#[test]
fn an_api_that_the_gateway_renamed_is_made_anew() {
    let wanted = desired([classic("a", "/a/"), classic("b", "/b/")]);
    let mut world = World::of(&wanted);
    let a = ObjectKey::new(Kind::ClassicApi, "a");
    world.bodies.get_mut(&a).unwrap()["proxy"]["listen_path"] = json!("/a/-a");
    let plan = world.plan(&wanted);
    assert_eq!(actions(&plan), ["replace classic/a", "create classic/a"]);
    assert!(plan.held.is_empty());
}

#[test]
fn the_last_api_is_announced() {
    let world = World::of(&desired([classic("a", "/a/"), policy("p"), policy("q")]));
    let plan = world.plan(&desired([policy("p"), policy("q")]));
    assert!(plan.notes[0].contains("last API"), "{plan}");
}

#[test]
fn the_hash_names_the_changes_and_nothing_else() {
    let world = World::of(&desired([classic("a", "/a/")]));
    let wanted = desired([classic("a", "/a/"), classic("b", "/b/")]);
    let mut plan = world.plan(&wanted);
    let hash = plan.hash();
    plan.describe(|_| Vec::new());
    plan.notes.push("a note".to_owned());
    assert_eq!(plan.hash(), hash);
    let other = desired([classic("a", "/a/"), classic("b", "/b2/")]);
    assert_ne!(world.plan(&other).hash(), hash);
}

/// What is planned for one object, or what holds it back, in every state that it can be found in.
#[test]
fn every_cell_of_the_table_has_its_change_or_its_guard() {
    // state of the object on the target, wanted by Git, prune: what comes of it
    let cells = [
        ("absent", true, true, "create"),
        ("absent", true, false, "create"),
        ("absent", false, true, "nothing"),
        ("absent", false, false, "nothing"),
        ("equal", true, true, "nothing"),
        ("equal", true, false, "nothing"),
        ("equal", false, true, "delete"),
        ("equal", false, false, "held: prune is off"),
        ("different", true, true, "update"),
        ("different", true, false, "update"),
        ("different", false, true, "delete"),
        ("different", false, false, "held: prune is off"),
        ("foreign", true, true, "held: foreign"),
        ("foreign", true, false, "held: foreign"),
        ("foreign", false, true, "nothing"),
        ("foreign", false, false, "nothing"),
        ("foreign and equal", true, true, "adopt"),
        ("foreign and equal", true, false, "adopt"),
        ("owned by another", true, true, "held: other stack"),
        ("owned by another", true, false, "held: other stack"),
        ("owned by another", false, true, "nothing"),
        ("owned by another", false, false, "nothing"),
        ("let go of by another", true, true, "adopt"),
        ("let go of by another", true, false, "adopt"),
        ("taken up by another", false, true, "moves"),
        ("taken up by another", false, false, "moves"),
        ("released", true, true, "held: released"),
        ("released", true, false, "held: released"),
        ("released", false, true, "nothing"),
        ("released", false, false, "nothing"),
        ("changed by hand", true, true, "update, drifted"),
        ("changed by hand", true, false, "update, drifted"),
        ("changed by hand", false, true, "delete"),
        ("changed by hand", false, false, "held: prune is off"),
        ("removed by hand", true, true, "create, drifted"),
        ("removed by hand", true, false, "create, drifted"),
        ("removed by hand", false, true, "forget"),
        ("removed by hand", false, false, "forget"),
        (
            "renamed by the gateway",
            true,
            true,
            "replace, drifted; create, drifted",
        ),
        (
            "renamed by the gateway",
            true,
            false,
            "replace, drifted; create, drifted",
        ),
        ("renamed by the gateway", false, true, "delete"),
        ("renamed by the gateway", false, false, "held: prune is off"),
        ("of another kind", true, true, "replace; create"),
        ("of another kind", true, false, "replace; create"),
    ];
    for (state, is_wanted, prune, expected) in cells {
        let found = cell(state, is_wanted, prune);
        assert_eq!(
            found, expected,
            "{state}, wanted: {is_wanted}, prune: {prune}"
        );
    }
}

/// Four APIs in step, the fourth of which is found in the state that the cell names.
fn world_in(state: &str) -> World {
    let others = || ["k", "l", "m"].map(|id| classic(id, &format!("/{id}/")));
    let object = classic("x", "/x/");
    let key = object.key.clone();
    let mut old = object.clone();
    old.body["name"] = json!("older");
    let with = |object: &Object| World::of(&desired(others().into_iter().chain([object.clone()])));
    let mut world = match state {
        "absent" | "foreign" | "foreign and equal" | "released" => World::of(&desired(others())),
        "different" => with(&old),
        _ => with(&object),
    };
    match state {
        "absent" | "equal" | "taken up by another" | "different" => {}
        "foreign" | "changed by hand" => {
            world.bodies.insert(key, old.body);
        }
        "foreign and equal" | "released" => {
            world.bodies.insert(key, object.body);
        }
        "owned by another" | "let go of by another" => {
            "other".clone_into(&mut world.inventory.get_mut(&key).unwrap().stack);
        }
        "removed by hand" => {
            world.bodies.remove(&key);
        }
        "renamed by the gateway" => {
            world.bodies.get_mut(&key).unwrap()["proxy"]["listen_path"] = json!("/x/-x");
        }
        "of another kind" => {
            let other = ObjectKey::new(Kind::OasApi, "x");
            let owned = world.inventory.remove(&key).unwrap();
            world.inventory.insert(other.clone(), owned);
            let body = world.bodies.remove(&key).unwrap();
            world.bodies.insert(other, body);
        }
        other => panic!("no such state: {other}"),
    }
    world
}

fn cell(state: &str, is_wanted: bool, prune: bool) -> String {
    let ids: &[&str] = if is_wanted {
        &["k", "l", "m", "x"]
    } else {
        &["k", "l", "m"]
    };
    let wanted = desired(ids.iter().map(|id| classic(id, &format!("/{id}/"))));
    let key = ObjectKey::new(Kind::ClassicApi, "x");
    let plan = world_in(state).plan_with(&wanted, |asked| {
        asked.rules.prune = prune;
        if state == "released" {
            asked.released.insert(key.clone());
        }
        asked.neighbours.read.insert("other".to_owned());
        if state == "owned by another" || state == "taken up by another" {
            let other = BTreeSet::from(["other".to_owned()]);
            asked.neighbours.describe.insert(key.clone(), other);
        }
    });
    let mut said: Vec<String> = plan
        .changes()
        .map(|change| {
            assert_eq!(change.object.id, "x", "{plan}");
            let drifted = if change.drifted { ", drifted" } else { "" };
            format!("{}{drifted}", change.action)
        })
        .collect();
    for held in &plan.held {
        assert!(held.message.contains("classic/x"), "{}", held.message);
        said.push(match &held.hold {
            Hold::PruneOff => "held: prune is off".to_owned(),
            Hold::Foreign => "held: foreign".to_owned(),
            Hold::Released => "held: released".to_owned(),
            Hold::OtherStack { stack } if stack == "other" => "held: other stack".to_owned(),
            other => format!("{other:?}"),
        });
    }
    if plan.moving.contains_key(&key) {
        said.push("moves".to_owned());
    }
    if said.is_empty() {
        said.push("nothing".to_owned());
    }
    said.join("; ")
}

fn many(range: std::ops::Range<usize>) -> PreparedDesired {
    desired(range.map(|n| classic(&format!("a{n}"), &format!("/{n}/"))))
}

fn approved(plan: &Plan) -> Standing {
    Standing {
        hash: plan.remainder().unwrap().hash(),
        verdict: Verdict::Approved,
    }
}

#[test]
fn an_approval_lets_go_exactly_what_it_names() {
    let world = World::of(&many(0..10));
    let limited = |inputs: &mut Asked| inputs.rules.deletion_limit = 3;
    let parked = world.plan_with(&many(0..4), limited);
    assert_eq!(parked.remainder().unwrap().changes.len(), 6);
    let standing = approved(&parked);

    let released = world.plan_with(&many(0..4), |inputs| {
        limited(inputs);
        inputs.standing = Some(standing.clone());
    });
    assert_eq!(released.changes().count(), 6);
    assert!(released.held.is_empty());

    // What else the push brings has no part in it.
    let more = many(0..4)
        .into_iter()
        .chain(desired([classic("new", "/new/")]));
    let with_more = world.plan_with(&more.collect(), |inputs| {
        limited(inputs);
        inputs.standing = Some(standing.clone());
    });
    assert_eq!(with_more.changes().count(), 7);

    // One deletion more is another plan.
    let different = world.plan_with(&many(0..3), |inputs| {
        limited(inputs);
        inputs.standing = Some(standing.clone());
    });
    assert_eq!(different.changes().count(), 0);
    assert_eq!(different.held.len(), 7);
}

#[test]
fn a_rejection_is_told_and_holds() {
    let world = World::of(&many(0..10));
    let parked = world.plan(&desired([]));
    let standing = Standing {
        verdict: Verdict::Rejected {
            by: "ada".to_owned(),
            reason: "not on a Friday".to_owned(),
        },
        ..approved(&parked)
    };
    let plan = world.plan_with(&desired([]), |inputs| {
        inputs.standing = Some(standing.clone());
    });
    assert_eq!(plan.held.len(), 10);
    assert!(
        plan.held[0]
            .message
            .contains("rejected by ada: not on a Friday")
    );
}

#[test]
fn a_protected_object_and_one_whose_file_stays_are_not_deleted_unasked() {
    let world = World::of(&many(0..10));
    let keys = |ids: &[&str]| -> Vec<ObjectKey> {
        ids.iter()
            .map(|id| ObjectKey::new(Kind::ClassicApi, *id))
            .collect()
    };
    let protected: BTreeSet<ObjectKey> = keys(&["a0"]).into_iter().collect();
    let unread = BTreeMap::from([(keys(&["a1"]).remove(0), "a1.yaml".to_owned())]);
    let plan = world.plan_with(&many(3..10), |inputs| {
        inputs.protected = protected.clone();
        inputs.unread = unread.clone();
    });
    assert_eq!(actions(&plan), ["delete classic/a2"]);
    assert_eq!(plan.held[0].hold, Hold::Protected);
    assert_eq!(
        plan.held[1].hold,
        Hold::FileStays {
            path: "a1.yaml".to_owned()
        }
    );
    let standing = approved(&plan);
    let plan = world.plan_with(&many(3..10), |inputs| {
        inputs.protected = protected.clone();
        inputs.unread = unread.clone();
        inputs.standing = Some(standing.clone());
    });
    assert_eq!(plan.changes().count(), 3);
}

#[test]
fn what_may_move_to_a_neighbour_that_cannot_be_read_stays() {
    let world = World::of(&many(0..4));
    let neighbours = Neighbours {
        unreadable: BTreeSet::from(["other".to_owned()]),
        ..Neighbours::default()
    };
    let plan = world.plan_with(&many(0..3), |inputs| inputs.neighbours = neighbours);
    assert!(plan.waves.is_empty());
    assert!(plan.held[0].message.contains("mend"), "{plan}");
}

#[test]
fn approvals_may_be_asked_for_deletions_or_for_everything() {
    let world = World::of(&many(0..4));
    let wanted: PreparedDesired = many(0..3)
        .into_iter()
        .chain(desired([classic("new", "/new/")]))
        .collect();
    let with = |rule: RequireApproval, standing: Option<Standing>| {
        world.plan_with(&wanted, |inputs| {
            inputs.rules.require_approval = rule;
            inputs.standing = standing;
        })
    };
    assert_eq!(
        actions(&with(RequireApproval::Deletions, None)),
        ["create classic/new"]
    );
    let everything = with(RequireApproval::Always, None);
    assert!(everything.waves.is_empty());
    assert_eq!(everything.held.len(), 2);
    let standing = approved(&everything);
    let plan = with(RequireApproval::Always, Some(standing));
    assert_eq!(actions(&plan), ["create classic/new", "delete classic/a3"]);
}

#[test]
fn hand_work_is_put_back_unasked_unless_the_stack_wants_to_be_asked() {
    let wanted = many(0..3);
    let mut world = World::of(&wanted);
    let a = ObjectKey::new(Kind::ClassicApi, "a0");
    world.bodies.get_mut(&a).unwrap()["name"] = json!("by hand");
    // Everything else waits for approvals; what was approved before does not.
    let plan = world.plan_with(&wanted, |inputs| {
        inputs.rules.require_approval = RequireApproval::Always;
    });
    assert_eq!(actions(&plan), ["update classic/a0"]);
    let plan = world.plan_with(&wanted, |inputs| inputs.rules.drift_waits = true);
    assert!(plan.waves.is_empty());
    assert_eq!(plan.held[0].hold, Hold::Drift);
    // A change in Git to the same object is no hand work.
    let changed: PreparedDesired = wanted
        .into_iter()
        .map(|(key, prepared)| {
            let mut object = prepared.object;
            object.body["name"] = json!("newer");
            desired([object]).remove_entry(&key).unwrap()
        })
        .collect();
    let plan = world.plan_with(&changed, |inputs| inputs.rules.drift_waits = true);
    assert_eq!(plan.changes().count(), 3);
}

fn objects() -> impl Strategy<Value = BTreeMap<String, (u8, u8)>> {
    prop::collection::btree_map("[a-e]", (0..6_u8, 0..3_u8), 0..5)
}

fn model(chosen: &BTreeMap<String, (u8, u8)>) -> PreparedDesired {
    let mut routes = BTreeSet::new();
    desired(
        chosen
            .iter()
            .filter(|(_, (route, _))| routes.insert(*route))
            .map(|(id, (route, name))| {
                let mut object = classic(id, &format!("/{route}/"));
                object.body["name"] = json!(format!("n{name}"));
                object
            }),
    )
}

proptest! {
    #[test]
    fn applying_a_plan_without_holds_reaches_the_desired_state(before in objects(), after in objects()) {
        let first = model(&before);
        let mut world = World::of(&first);
        prop_assert!(world.plan(&first).is_empty());
        let second = model(&after);
        let plan = world.plan(&second);
        world.apply(&plan, &second);
        if plan.held.is_empty() {
            let bodies: BTreeMap<_, _> = second.iter().map(|(key, prepared)| (key.clone(), prepared.object.body.clone())).collect();
            prop_assert_eq!(&world.bodies, &bodies);
            prop_assert!(world.plan(&second).is_empty());
        } else {
            // What is held stays held, and nothing else is left to do.
            let again = world.plan(&second);
            prop_assert!(again.waves.is_empty(), "{}", again);
            prop_assert_eq!(again.held.len(), plan.held.len());
        }
        let routes: BTreeSet<_> = world.live().values().filter_map(|seen| seen.route.clone()).collect();
        prop_assert_eq!(routes.len(), world.bodies.len(), "two objects share a route");
    }
}
