//! Random sequences of everything that happens: pushes, mistakes, hand work, restarts, a gateway
//! that fails, workers that die. Whatever came before, the end is what Git says, nothing of others
//! was touched, and nothing was lost beyond the budget.
//!
//! `LOCKSTEP_TEST_SEED` repeats one sequence; `LOCKSTEP_TEST_CASES` asks for more of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use lockstep::{
    domain::run::{Action, ChangeRecord, Outcome, RunStatus},
    sync::{run::Report, schedule, worker},
};
use serde_json::{Value, json};

use crate::support::app::{Mode, TestApp, classic, oas, upstream};

crate::in_both_modes! {
    whatever_happens_the_end_is_what_git_says,
}

const TWO: &str = r#"path = "one"
drift = "revert"
[stack.second]
repository = "shop"
target = "production"
path = "two"
drift = "revert""#;

const STEPS: u64 = 30;
const LIMIT: usize = 3;

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[usize::try_from(self.below(items.len() as u64)).unwrap()]
    }
}

/// One object of Git.
#[derive(Debug, Clone, PartialEq)]
struct Wanted {
    is_oas: bool,
    path: String,
    target: String,
}

/// What Git says, by folder and id, and what others put on the gateway.
struct World {
    app: TestApp,
    random: Random,
    git: BTreeMap<(&'static str, String), Wanted>,
    foreign: BTreeMap<String, String>,
    count: u64,
    told: Vec<String>,
}

const FOLDERS: [&str; 2] = ["one", "two"];
const IDS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

impl World {
    async fn new(mode: Mode, seed: u64) -> Self {
        let app = TestApp::with_stack(mode, TWO).await;
        let mut world = Self {
            app,
            random: Random(seed),
            git: BTreeMap::new(),
            foreign: BTreeMap::new(),
            count: 0,
            told: Vec::new(),
        };
        for folder in FOLDERS {
            // A folder stays when it is emptied.
            world.app.repo.write(&format!("{folder}/README.md"), "APIs");
        }
        for (index, id) in IDS.iter().enumerate() {
            let folder = FOLDERS[index % 2];
            world.describe(folder, id, &format!("/{id}/"));
        }
        world.push().await;
        world.run().await;
        world
    }

    fn next(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    fn describe(&mut self, folder: &'static str, id: &str, path: &str) {
        let target = format!("http://git-{}", self.next());
        let is_oas = self.random.below(3) == 0;
        let text = if is_oas {
            oas(id, path, &target)
        } else {
            classic(id, path, &target)
        };
        self.app.repo.write(&format!("{folder}/{id}.json"), text);
        let wanted = Wanted {
            is_oas,
            path: path.to_owned(),
            target,
        };
        self.git.insert((folder, id.to_owned()), wanted);
    }

    fn forget(&mut self, folder: &'static str, id: &str) {
        if self.git.remove(&(folder, id.to_owned())).is_some() {
            self.erase(&format!("{folder}/{id}.json"));
        }
    }

    /// Removes a file that may not have been committed yet, if it is there.
    fn erase(&self, path: &str) {
        let _ = std::fs::remove_file(self.app.repo.path().join(path));
    }

    async fn push(&mut self) {
        self.app.repo.commit("whatever");
        assert_eq!(self.app.push_webhook().await, 202);
    }

    /// Runs what is due, and looks at what it did.
    async fn run(&mut self) {
        self.app.forget_backoff().await;
        let reports = self.app.run_pending().await;
        self.look_at(&reports);
    }

    fn look_at(&self, reports: &[Report]) {
        for report in reports {
            let lost = report
                .changes
                .iter()
                .filter(|change| {
                    change.action == Action::Delete && change.outcome == Outcome::Applied
                })
                .count();
            assert!(lost <= LIMIT, "{lost} deletions at once: {report:#?}");
        }
        for seen in self.app.writes() {
            let id = seen.object.as_ref().map_or("", |object| object.id.as_str());
            assert!(!self.foreign.contains_key(id), "{id} is foreign: {seen:?}");
        }
    }

    async fn step(&mut self) {
        let folder = *self.random.pick(&FOLDERS);
        let id = *self.random.pick(&IDS);
        let what = self.random.below(18);
        self.told.push(format!("{what}:{folder}/{id}"));
        match what {
            // Git.
            0..=2 => {
                let at = *self.random.pick(&IDS);
                self.describe(folder, id, &format!("/{at}/"));
            }
            3 => self.forget(folder, id),
            4 => {
                let other = if folder == "one" { "two" } else { "one" };
                let path = self
                    .git
                    .get(&(folder, id.to_owned()))
                    .map(|was| was.path.clone());
                if let Some(path) = path {
                    self.forget(folder, id);
                    self.describe(other, id, &path);
                }
            }
            5 => {
                self.app
                    .repo
                    .write(&format!("{folder}/broken.json"), "{\"api_id\": ");
            }
            6 => self.empty(folder).await,
            7 => {
                if self.git.remove(&(folder, id.to_owned())).is_some() {
                    let path = format!("{folder}/{id}.json");
                    self.app.repo.write(&path, "{\"note\": \"later\"}");
                }
            }
            8 => {
                for folder in FOLDERS {
                    self.erase(&format!("{folder}/broken.json"));
                }
            }
            // What tells of it.
            9 | 10 => self.push().await,
            11 => {
                self.app.repo.commit("nobody tells");
                let stacks: Vec<_> = self.app.app.stacks.values().cloned().collect();
                schedule::sweep(&self.app.app, &stacks).await.unwrap();
            }
            // Others.
            12 => {
                if let Some(mut body) = self.app.gateway.live_classic(id)
                    && body.get("is_oas") != Some(&Value::Bool(true))
                {
                    let number = self.next();
                    body["proxy"]["target_url"] = json!(format!("http://by-hand-{number}"));
                    self.app.gateway.put_api_by_hand(&body);
                    self.app.gateway.reload_now().await;
                }
            }
            13 => {
                self.app.gateway.remove_by_hand(id);
                self.app.gateway.reload_now().await;
            }
            14 => {
                let number = self.next();
                let (name, target) = (format!("x{number}"), format!("http://foreign-{number}"));
                let path = if self.random.below(2) == 0 {
                    format!("/{id}/")
                } else {
                    format!("/{name}/")
                };
                let mut body: Value =
                    serde_json::from_str(&classic(&name, &path, &target)).unwrap();
                body["org_id"] = json!("default");
                self.app.gateway.put_api_by_hand(&body);
                self.app.gateway.reload_now().await;
                self.foreign.insert(name, target);
            }
            15 => {
                self.app.gateway.restart(false).await.unwrap();
                self.app.gateway.ready().await;
            }
            16 => {
                schedule::drift(&self.app.app, "production").await.unwrap();
            }
            // What goes wrong.
            _ => self.die().await,
        }
        if self.random.below(2) == 0 {
            if self.random.below(4) == 0 {
                let status = *self.random.pick(&[500, 403, 400]);
                let times = 1 + usize::try_from(self.random.below(3)).unwrap();
                self.app
                    .gateway
                    .faults()
                    .answer(status, times, |asked| asked.method != "GET");
            }
            self.run().await;
            self.app.gateway.faults().clear();
        }
    }

    /// The worst merge of the year.
    async fn empty(&mut self, folder: &'static str) {
        for id in IDS {
            self.forget(folder, id);
        }
        self.push().await;
        self.app.forget_backoff().await;
        let reports = self.app.run_pending().await;
        let stack = if folder == "one" { "shop" } else { "second" };
        for report in &reports {
            let is_emptied = report.plan.as_ref().is_some_and(|plan| plan.stack == stack);
            let deletes = |change: &ChangeRecord| {
                change.action == Action::Delete && change.outcome == Outcome::Applied
            };
            let lost = report.changes.iter().any(deletes);
            assert!(
                !(is_emptied && lost),
                "an emptied folder deleted: {report:#?}"
            );
        }
        self.look_at(&reports);
    }

    /// A worker dies at some request to the gateway.
    async fn die(&mut self) {
        self.app.forget_backoff().await;
        let fatal = self.random.below(12);
        let count = Arc::new(AtomicU64::new(0));
        let mut asked = self
            .app
            .gateway
            .faults()
            .hang(1, move |_| count.fetch_add(1, Ordering::Relaxed) == fatal);
        let app = self.app.app.clone();
        let mut running = tokio::spawn(async move { worker::run_pending(&app).await });
        tokio::select! {
            _ = &mut running => {}
            () = asked.reached(1) => {
                running.abort();
                let _ = running.await;
            }
        }
        drop(asked);
        self.app.gateway.faults().clear();
        // Nobody waits for its lease to run out.
        self.app.sql("update lease set until = 0").await;
    }

    /// Everything is mended, and Git is made sense of; what is left must follow.
    async fn settle(&mut self) {
        self.app.gateway.faults().clear();
        for folder in FOLDERS {
            self.erase(&format!("{folder}/broken.json"));
        }
        // Each object in one folder, on a path of its own.
        for (index, id) in IDS.iter().enumerate() {
            let here = FOLDERS[index % 2];
            let there = FOLDERS[(index + 1) % 2];
            self.git.remove(&(there, (*id).to_owned()));
            self.erase(&format!("{there}/{id}.json"));
            self.describe(here, id, &format!("/{id}/"));
        }
        self.push().await;
        for _ in 0..6 {
            self.run().await;
            // Whatever is parked may have been waiting for the other stack.
            self.app
                .sql("update stack_state set wanted = wanted + 1 where last_status <> 'succeeded'")
                .await;
        }
        self.run().await;
    }

    async fn check(&self) {
        assert!(
            self.app
                .app
                .store
                .open_runs("production")
                .await
                .unwrap()
                .is_empty()
        );
        let mut said = String::new();
        for stack in ["shop", "second"] {
            let state = self.app.state(stack).await;
            assert!(
                matches!(
                    state.last_status,
                    Some(RunStatus::Succeeded | RunStatus::Parked)
                ),
                "{stack}: {:?} {:?}\n{:?}",
                state.last_status,
                state.problem,
                self.told
            );
            said.push_str(state.problem.as_deref().unwrap_or_default());
        }
        for ((_, id), wanted) in &self.git {
            let live = self.app.gateway.live_classic(id);
            let is_right = live.as_ref().is_some_and(|live| {
                upstream(live) == wanted.target
                    && live["proxy"]["listen_path"] == wanted.path.as_str()
            });
            let is_told = [" ", ","]
                .iter()
                .any(|end| said.contains(&format!("/{id}{end}")));
            assert!(
                is_right || is_told,
                "{id} should be {wanted:?}, is {live:?}, and nobody says so: {said}\n{:?}",
                self.told
            );
        }
        for (id, target) in &self.foreign {
            let live = self.app.gateway.live_classic(id).unwrap();
            assert_eq!(upstream(&live), target);
        }
        let intended: BTreeSet<String> = self
            .app
            .events()
            .await
            .iter()
            .filter(|(header, _)| header.event_type == "run.intended")
            .map(|(_, event)| event.payload.clone())
            .collect();
        for write in self.app.writes() {
            let Some(object) = &write.object else {
                continue;
            };
            let name = format!("/{}\"", object.id);
            assert!(
                intended.iter().any(|payload| payload.contains(&name)),
                "{write:?} has no intent"
            );
        }
    }
}

async fn whatever_happens_the_end_is_what_git_says(mode: Mode) {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let seed = number("LOCKSTEP_TEST_SEED");
    let cases = if seed.is_some() {
        1
    } else {
        number("LOCKSTEP_TEST_CASES").unwrap_or(6)
    };
    for _ in 0..cases {
        let seed = seed.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0 | 1);
        eprintln!("LOCKSTEP_TEST_SEED={seed}");
        let mut world = World::new(mode, seed).await;
        for _ in 0..STEPS {
            world.step().await;
        }
        world.settle().await;
        world.check().await;
        world.app.finish().await;
    }
}
