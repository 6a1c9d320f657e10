//! The planner, against a gateway in memory that keeps what it is given.

use std::collections::{BTreeMap, BTreeSet};

use lockstep::domain::{
    canonical::Digest,
    inventory::{Inventory, Owned},
    normalize,
    object::{Desired, Kind, Object, ObjectKey, Route, classic_children},
    plan::{Hold, Inputs, Live, Plan, PreparedDesired, Seen, candidates, prepare},
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
                };
                (key.clone(), seen)
            })
            .collect()
    }

    fn plan(&self, desired: &PreparedDesired) -> Plan {
        self.plan_with(desired, |_| {})
    }

    fn plan_with(&self, desired: &PreparedDesired, change: impl FnOnce(&mut Inputs<'_>)) -> Plan {
        let live = self.live();
        let equal: BTreeSet<ObjectKey> = candidates(STACK, desired, &live, &self.inventory, "5.14")
            .into_iter()
            .filter(|key| normalize::equal(key.kind, &desired[key].object.body, &self.bodies[key]))
            .collect();
        let mut inputs = Inputs {
            stack: STACK,
            target: "production",
            desired,
            live: &live,
            inventory: &self.inventory,
            equal: &equal,
            gateway_version: "5.14",
            prune: true,
            deletion_limit: 1_000,
            recent_deletions: 0,
            held_since: self.held_since,
        };
        change(&mut inputs);
        Plan::new(inputs)
    }

    fn apply(&mut self, plan: &Plan, desired: &PreparedDesired) {
        for change in plan.changes() {
            let key = &change.object;
            match change.action {
                Action::Create | Action::Update => {
                    self.bodies
                        .insert(key.clone(), desired[key].object.body.clone());
                }
                Action::Delete => {
                    self.bodies.remove(key);
                }
                Action::Adopt | Action::Forget => {}
            }
        }
        self.clock += 1;
        let holds_deletions = plan.held.iter().any(|held| held.hold == Hold::Budget);
        self.held_since = holds_deletions.then(|| self.held_since.unwrap_or(self.clock - 1));
        let live = self.live();
        for change in plan.changes() {
            let key = &change.object;
            if matches!(change.action, Action::Delete | Action::Forget) {
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
                listed: None,
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
    let plan = world.plan_with(&wanted, |inputs| inputs.deletion_limit = 3);
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
fn two_apis_may_swap_their_routes() {
    let mut world = World::of(&desired([classic("a", "/a/"), classic("b", "/b/")]));
    let wanted = desired([classic("a", "/b/"), classic("b", "/a/")]);
    let plan = world.plan(&wanted);
    assert_eq!(plan.changes().count(), 2);
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
    assert_eq!(actions(&plan), ["delete classic/a", "create oas/a"]);
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
    assert_eq!(actions(&plan), ["delete classic/a", "create classic/a"]);
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
