//! Processes that really die: at every step of a push's way, and at random moments.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant, SystemTime},
};

use hmac::{Hmac, KeyInit, Mac};
use lockstep::{
    domain::audit::{checkpoint::SigningKey, event::Header},
    sandbox::gateway::{Gateway, GatewayOptions, Seen},
    store::{EventFilter, PgOptions, Store},
};
use serde_json::Value;
use sha2::Sha256;
use sqlx::AssertSqlSafe;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::support::{
    app::{
        FULL_NAME, GATEWAY_SECRET, Mode, Services, WEBHOOK_SECRET, classic, faults, oas, policy,
        push_body, services, sign,
    },
    git_repo::GitRepo,
    history::assert_whole,
    process::{Server, source_files, until},
};

crate::in_both_modes! {
    a_process_that_dies_at_any_step_loses_nothing,
    a_process_that_dies_between_two_nodes_leaves_none_behind,
    a_process_that_dies_while_an_object_is_gone_has_it_put_back,
    fifty_pushes_survive_kills_at_random_moments,
    log_tree_and_checkpoints_survive_kills_while_events_are_written,
}

/// Where a process may be asked to die that has one node done and others to do.
const BETWEEN_NODES: &str = "between-nodes";

/// Every other place at which a process may be asked to die.
const POINTS: &[&str] = &[
    "before-publish",
    "after-publish",
    "after-inbox",
    "after-intent",
    "after-write",
    "after-writes",
    "after-reload",
    "before-outcome",
    "after-outcome",
];

/// Where no push passes; each has a test of its own.
const ELSEWHERE: &[&str] = &["after-notice"];
/// Places that only a repair comes by.
const REPAIR_POINTS: &[&str] = &["during-repair"];

#[test]
fn every_place_at_which_a_process_may_die_is_tested() {
    let sources = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found: Vec<String> = Vec::new();
    for file in source_files(&sources) {
        let text = std::fs::read_to_string(file).unwrap();
        for part in text.split("crash::point(\"").skip(1) {
            found.push(part.split('"').next().unwrap().to_owned());
        }
    }
    found.sort();
    found.dedup();
    let mut points = [POINTS, REPAIR_POINTS, ELSEWHERE].concat();
    points.push(BETWEEN_NODES);
    points.sort_unstable();
    assert_eq!(found, points);
}

/// Everything around the processes: it outlives them.
struct Around {
    folder: TempDir,
    repo: GitRepo,
    gateways: Vec<Gateway>,
    services: Option<Services>,
    http: reqwest::Client,
    before: Option<String>,
    sent: u32,
    /// The deliveries that were answered 202.
    accepted: Vec<String>,
}

impl Around {
    async fn new(mode: Mode, targets: usize, stacks: &[(String, String, usize)]) -> Self {
        let mut gateways = Vec::new();
        for _ in 0..targets {
            let options = GatewayOptions {
                secret: GATEWAY_SECRET.to_owned(),
                tick: Duration::from_millis(3),
                ..GatewayOptions::default()
            };
            gateways.push(Gateway::start(options).await.unwrap());
        }
        let services = match mode {
            Mode::Embedded => None,
            Mode::ScaledOut => Some(services().await),
        };
        let repo = GitRepo::new();
        let folder = tempfile::tempdir().unwrap();
        let storage = services.as_ref().map_or_else(
            || "dir = \"data\"".to_owned(),
            |services| {
                let nats = services.nats.url();
                format!("postgres = {{ env = \"POSTGRES\" }}\nnats = \"{nats}\"\nsecret_key = {{ env = \"KEY\" }}")
            },
        );
        let mut text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n[storage]\n{storage}\n\
             [webhook.acme]\nhost = \"github\"\nsecrets = [{{ env = \"WEBHOOK\" }}]\n\
             [repository.shop]\nurl = \"{}\"\nwebhook = \"acme\"\nfull_name = \"{FULL_NAME}\"\n",
            repo.path().display()
        );
        for (index, gateway) in gateways.iter().enumerate() {
            text.push_str(&format!(
                "[target.t{index}]\nkind = \"gateway\"\nnodes = [\"{}\"]\nsecret = {{ env = \"GATEWAY\" }}\n",
                gateway.url()
            ));
        }
        for (name, path, target) in stacks {
            text.push_str(&format!(
                "[stack.{name}]\nrepository = \"shop\"\npath = \"{path}\"\ntarget = \"t{target}\"\n"
            ));
        }
        std::fs::write(folder.path().join("lockstep.toml"), text).unwrap();
        Self {
            folder,
            repo,
            gateways,
            services,
            http: reqwest::Client::new(),
            before: None,
            sent: 0,
            accepted: Vec::new(),
        }
    }

    fn environment(&self) -> Vec<(String, String)> {
        let mut environment = vec![
            ("WEBHOOK".to_owned(), WEBHOOK_SECRET.to_owned()),
            ("GATEWAY".to_owned(), GATEWAY_SECRET.to_owned()),
            ("KEY".to_owned(), "5a".repeat(32)),
            ("AUDIT".to_owned(), signing_key().secret_text()),
        ];
        if let Some(services) = &self.services {
            environment.push(("POSTGRES".to_owned(), services.url()));
        }
        environment
    }

    fn start(&self, crash_at: Option<&str>, arguments: &[&str]) -> Server {
        let mut environment = self.environment();
        let point = crash_at.unwrap_or_default().to_owned();
        environment.push(("LOCKSTEP_CRASH_AT".to_owned(), point));
        Server::start(
            &self.folder.path().join("lockstep.toml"),
            &environment,
            arguments,
        )
    }

    /// Sends a push for the head; whether it was answered 202.
    async fn push(&mut self, server: &Server) -> bool {
        let head = self.repo.head();
        let body = push_body(self.before.as_deref(), &head, "main");
        self.before = Some(head);
        self.sent += 1;
        let delivery = format!("delivery-{}", self.sent);
        let answer = self
            .http
            .post(format!("{}/webhooks/acme", server.url))
            .header("content-type", "application/json")
            .header("x-github-event", "push")
            .header("x-github-hook-id", "7")
            .header("x-github-delivery", &delivery)
            .header("x-hub-signature-256", sign(body.as_bytes()))
            .body(body)
            .send()
            .await;
        let accepted = answer.is_ok_and(|answer| answer.status().as_u16() == 202);
        if accepted {
            self.accepted.push(format!("acme/7/{delivery}"));
        }
        accepted
    }

    /// Eight at once that send pushes to a branch of no stack until nobody answers, and what was
    /// answered 202.
    fn flood(&self, server: &Server, round: u32) -> JoinSet<Vec<String>> {
        let mut senders = JoinSet::new();
        for sender in 0..8 {
            let http = self.http.clone();
            let url = format!("{}/webhooks/acme", server.url);
            let body = push_body(None, &self.repo.head(), "elsewhere");
            senders.spawn(async move {
                let mut taken = Vec::new();
                for number in 0.. {
                    let delivery = format!("flood-{round}-{sender}-{number}");
                    let answer = http
                        .post(&url)
                        .header("content-type", "application/json")
                        .header("x-github-event", "push")
                        .header("x-github-hook-id", "7")
                        .header("x-github-delivery", &delivery)
                        .header("x-hub-signature-256", sign(body.as_bytes()))
                        .body(body.clone())
                        .send()
                        .await;
                    match answer {
                        Ok(answer) if answer.status().as_u16() == 202 => {
                            taken.push(format!("acme/7/{delivery}"));
                        }
                        // Too many wait.
                        Ok(_) => {}
                        Err(_) => break,
                    }
                }
                taken
            });
        }
        senders
    }

    /// A process that signs a checkpoint and writes an export.
    fn export(&self, file: &str) -> Child {
        Command::new(env!("CARGO_BIN_EXE_lockstep"))
            .arg("--config")
            .arg(self.folder.path().join("lockstep.toml"))
            .args(["audit", "export", "--out"])
            .arg(self.folder.path().join(file))
            .envs(self.environment())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// The lease of a process that was killed lasts 90 s, and on another machine nobody may end
    /// it. A test does not wait that long.
    async fn end_leases(&self) {
        if let Some(services) = &self.services {
            let mut connection = services.connect().await;
            sqlx::query(AssertSqlSafe("update lease set until = 0".to_owned()))
                .execute(&mut connection)
                .await
                .unwrap();
        }
    }

    async fn store(&self) -> Store {
        match &self.services {
            None => Store::embedded(&self.folder.path().join("data"))
                .await
                .unwrap(),
            Some(services) => Store::postgres(&services.url().into(), &PgOptions::default())
                .await
                .unwrap(),
        }
    }

    /// Waits until nothing is wanted and nothing is open.
    async fn at_rest(&self, store: &Store) {
        until("everything to be at rest", async || {
            let states = store.stack_states().await.unwrap();
            let mut rests = !states.is_empty() && states.iter().all(|state| !state.is_pending());
            // A message that a dead process had taken comes back after a while.
            for delivery in &self.accepted {
                rests = rests && store.delivery(delivery).await.unwrap().is_some();
            }
            for target in 0..self.gateways.len() {
                rests &= store
                    .open_runs(&format!("t{target}"))
                    .await
                    .unwrap()
                    .is_empty();
            }
            rests
        })
        .await;
    }

    /// Every event, oldest first.
    async fn events(&self, store: &Store) -> Vec<(Header, Value)> {
        let mut events = Vec::new();
        let mut before = None;
        loop {
            let filter = EventFilter {
                before,
                limit: 1_000,
                ..EventFilter::default()
            };
            let page = store.events(&filter).await.unwrap();
            let Some(last) = page.last() else { break };
            before = Some(last.sequence);
            for event in page {
                let header = serde_json::from_str(&event.header).unwrap();
                events.push((header, serde_json::from_str(&event.payload).unwrap()));
            }
        }
        events.reverse();
        events
    }

    /// What must hold whatever died.
    async fn check(&self, store: &Store) {
        store.verify_history().await.unwrap().unwrap();
        assert_eq!(faults(store).await, Vec::<String>::new());
        let events = self.events(store).await;
        let mut recorded: BTreeMap<&str, usize> = BTreeMap::new();
        for (header, payload) in &events {
            if header.event_type == "delivery.accepted" {
                *recorded
                    .entry(payload["delivery"].as_str().unwrap())
                    .or_default() += 1;
            }
        }
        for delivery in &self.accepted {
            assert_eq!(recorded.get(delivery.as_str()), Some(&1), "{delivery}");
        }
        assert!(recorded.values().all(|count| *count == 1), "{recorded:?}");
        for gateway in &self.gateways {
            assert_eq!(gateway.misuse(), Vec::<String>::new());
            for write in gateway.log().iter().filter(|seen| seen.is_write()) {
                assert!(
                    has_earlier_intent(write, &events),
                    "{write:?} has no earlier intent"
                );
            }
        }
        let open: Vec<_> = store
            .runs(&lockstep::store::RunFilter {
                status: Some(lockstep::domain::run::RunStatus::Running),
                ..Default::default()
            })
            .await
            .unwrap();
        assert!(open.is_empty(), "{open:?}");
    }

    async fn finish(self, store: Store) {
        store.close().await;
        if let Some(services) = &self.services {
            services.drop_database().await;
        }
    }
}

/// Whether the history names the object of a write in an intent before it.
fn has_earlier_intent(write: &Seen, events: &[(Header, Value)]) -> bool {
    let Some(object) = &write.object else {
        return true;
    };
    let ago = Instant::now().duration_since(write.started);
    let at = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .saturating_sub(ago)
        .as_micros();
    let ends_with_it = |value: &Value| {
        let id = &object.id;
        value
            .as_str()
            .is_some_and(|key| key.ends_with(&format!("/{id}")))
    };
    events.iter().any(|(header, payload)| {
        let is_before = u128::try_from(header.at).unwrap() <= at;
        let changes = payload["changes"].as_array().into_iter().flatten();
        let named = changes.map(|change| &change[1]);
        let repaired = payload["repair"].as_array().into_iter().flatten();
        header.event_type == "run.intended" && is_before && named.chain(repaired).any(ends_with_it)
    })
}

fn one_stack() -> Vec<(String, String, usize)> {
    vec![("shop".to_owned(), String::new(), 0)]
}

async fn a_process_that_dies_between_two_nodes_leaves_none_behind(mode: Mode) {
    let mut around = Around::new(mode, 2, &one_stack()).await;
    let file = around.folder.path().join("lockstep.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let (before, targets) = text.split_once("[target.t0]").unwrap();
    let (_, stacks) = targets.split_once("[stack.").unwrap();
    let nodes: Vec<String> = around.gateways.iter().map(Gateway::url).collect();
    let text = format!(
        "{before}[target.t0]\nkind = \"gateway\"\nnodes = {nodes:?}\nsecret = {{ env = \"GATEWAY\" }}\n[stack.{stacks}"
    );
    std::fs::write(&file, text).unwrap();
    around
        .repo
        .write("ping.json", classic("ping", "/ping/", "http://first"));
    around.repo.commit("first");
    let mut server = around.start(Some(BETWEEN_NODES), &[]);
    // The sweep may be faster than the push.
    around.push(&server).await;
    server.died().await;
    assert_eq!(around.gateways[0].live_ids(), ["ping"]);
    assert!(around.gateways[1].live_ids().is_empty());
    around.end_leases().await;
    let server = around.start(None, &[]);
    let store = around.store().await;
    around.at_rest(&store).await;
    assert_eq!(around.gateways[1].live_ids(), ["ping"]);
    drop(server);
    around.check(&store).await;
    around.finish(store).await;
}

async fn a_process_that_dies_at_any_step_loses_nothing(mode: Mode) {
    let mut around = Around::new(mode, 1, &one_stack()).await;
    around
        .repo
        .write("ping.json", classic("ping", "/ping/", "http://first"))
        .write("gold.json", policy("gold", "ping", 5));
    around.repo.commit("first");
    let server = around.start(None, &[]);
    assert!(around.push(&server).await);
    let store = around.store().await;
    around.at_rest(&store).await;
    drop(server);
    around.end_leases().await;
    for (round, point) in POINTS.iter().enumerate() {
        let target = format!("http://{point}");
        around
            .repo
            .write("ping.json", classic("ping", "/ping/", &target))
            .write(
                "gold.json",
                policy("gold", "ping", 10 + i64::try_from(round).unwrap()),
            );
        let mut server = around.start(Some(point), &[]);
        around.repo.commit(point);
        around.push(&server).await;
        server.died().await;
        around.end_leases().await;
        let server = around.start(None, &[]);
        until(&format!("the head to be live after {point}"), async || {
            let live = around.gateways[0].live_classic("ping").unwrap();
            live["proxy"]["target_url"] == target.as_str()
        })
        .await;
        around.at_rest(&store).await;
        assert_eq!(server.terminate(), Some(0), "{point}");
    }
    around.check(&store).await;
    around.finish(store).await;
}

/// Between the waves of a change of kind, and in the middle of a repair.
async fn a_process_that_dies_while_an_object_is_gone_has_it_put_back(mode: Mode) {
    let mut around = Around::new(mode, 1, &one_stack()).await;
    let bundled = classic("ping", "/ping/", "http://lost").replacen(
        '{',
        "{\"custom_middleware_bundle\": \"nowhere.zip\",",
        1,
    );
    around
        .repo
        .write("ping.json", classic("ping", "/ping/", "http://first"))
        .write("keep.json", classic("keep", "/keep/", "http://keep"));
    around.repo.commit("first");
    let server = around.start(None, &[]);
    assert!(around.push(&server).await);
    let store = around.store().await;
    around.at_rest(&store).await;
    drop(server);
    around.end_leases().await;

    for (point, manifest, live, repairs) in [
        (
            "after-reload",
            oas("ping", "/ping/", "http://second"),
            "http://second",
            1,
        ),
        ("during-repair", bundled, "http://second", 3),
    ] {
        around.repo.write("ping.json", manifest);
        around.repo.commit(point);
        let mut server = around.start(Some(point), &[]);
        around.push(&server).await;
        server.died().await;
        around.end_leases().await;
        let server = around.start(None, &[]);
        around.at_rest(&store).await;
        let ping = around.gateways[0].live_classic("ping").unwrap();
        assert_eq!(ping["proxy"]["target_url"], live, "{point}");
        let events = around.events(&store).await;
        let repaired = events
            .iter()
            .filter(|(_, payload)| payload["outcome"] == "repaired")
            .count();
        assert!(repaired >= repairs, "{point}: {repaired}");
        assert_eq!(server.terminate(), Some(0), "{point}");
    }
    around.check(&store).await;
    around.finish(store).await;
}

/// A small generator, so that a failure can be repeated with its seed.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let seed = std::env::var("LOCKSTEP_TEST_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok())
            .unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0 | 1);
        eprintln!("LOCKSTEP_TEST_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Lets so much time pass.
async fn pass(moment: Duration) {
    let _ = tokio::time::timeout(moment, std::future::pending::<()>()).await;
}

fn signing_key() -> SigningKey {
    SigningKey::from_seed("lockstep.example/crash", [7; 32]).unwrap()
}

/// The server dies while deliveries come in from eight at once, and so does, at a moment of its
/// own, a process that signs checkpoints.
async fn log_tree_and_checkpoints_survive_kills_while_events_are_written(mode: Mode) {
    const KILLS: u32 = 10;
    let mut random = Random::new();
    let mut around = Around::new(mode, 1, &one_stack()).await;
    let file = around.folder.path().join("lockstep.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let audit = "[audit]\nsigning_key = { env = \"AUDIT\" }\n";
    std::fs::write(&file, format!("{text}{audit}")).unwrap();
    around
        .repo
        .write("ping.json", classic("ping", "/ping/", "http://first"));
    around.repo.commit("first");
    let mut server = around.start(None, &[]);
    assert!(around.push(&server).await);
    let store = around.store().await;
    around.at_rest(&store).await;
    let key = signing_key();
    let mut taken = Vec::new();
    for round in 0..KILLS {
        let flood = around.flood(&server, round);
        let before = store.head().await.unwrap().size;
        until("deliveries to be on record", async || {
            store.head().await.unwrap().size > before
        })
        .await;
        let mut signing = around.export(&format!("{round}.tar"));
        pass(Duration::from_micros(random.below(200_000))).await;
        let first = random.below(2);
        for turn in 0..2 {
            if turn == first {
                server.kill();
            } else {
                signing.kill().unwrap();
            }
            pass(Duration::from_micros(random.below(50_000))).await;
        }
        signing.wait().unwrap();
        taken.extend(flood.join_all().await.concat());
        around.end_leases().await;
        assert_whole(&store, key.verifier()).await;
        server = around.start(None, &[]);
    }
    assert!(!taken.is_empty());
    let mut ignored = BTreeMap::new();
    until("every delivery to be on record", async || {
        ignored.clear();
        for (header, payload) in around.events(&store).await {
            if header.event_type == "delivery.ignored" {
                let delivery = payload["delivery"].as_str().unwrap().to_owned();
                *ignored.entry(delivery).or_insert(0) += 1;
            }
        }
        taken.iter().all(|delivery| ignored.contains_key(delivery))
    })
    .await;
    assert!(ignored.values().all(|count| *count == 1), "{ignored:?}");
    around.at_rest(&store).await;
    assert_eq!(server.terminate(), Some(0));
    around.end_leases().await;
    assert!(around.export("whole.tar").wait().unwrap().success());
    let (size, checkpoints) = assert_whole(&store, key.verifier()).await;
    // Behind it stands the export alone.
    assert_eq!(checkpoints.last(), Some(&(size - 1)), "{checkpoints:?}");
    around.check(&store).await;
    around.finish(store).await;
}

async fn fifty_pushes_survive_kills_at_random_moments(mode: Mode) {
    const PUSHES: u32 = 50;
    const KILLS: u32 = 20;
    let mut random = Random::new();
    let mut around = Around::new(mode, 1, &one_stack()).await;
    around
        .repo
        .write("ping.json", classic("ping", "/ping/", "http://first"));
    around.repo.commit("first");
    let mut server = around.start(None, &[]);
    assert!(around.push(&server).await);
    let store = around.store().await;
    around.at_rest(&store).await;
    let mut kills = 0;
    let mut pushes = 0;
    let mut last = String::new();
    while pushes < PUSHES || kills < KILLS {
        // A few pushes, then death at some moment of what they set going.
        for _ in 0..=random.below(4) {
            pushes += 1;
            last = format!("http://push-{pushes}");
            around
                .repo
                .write("ping.json", classic("ping", "/ping/", &last))
                .write(
                    "more.json",
                    classic("more", &format!("/more-{}/", pushes % 3), &last),
                );
            around.repo.commit("push");
            around.push(&server).await;
        }
        pass(Duration::from_micros(random.below(60_000))).await;
        server.kill();
        kills += 1;
        around.end_leases().await;
        server = around.start(None, &[]);
    }
    until("the head to be live", async || {
        let live = around.gateways[0].live_classic("ping").unwrap();
        live["proxy"]["target_url"] == last.as_str()
    })
    .await;
    around.at_rest(&store).await;
    assert!(pushes >= PUSHES && kills >= KILLS);
    assert!(!around.accepted.is_empty());
    around.check(&store).await;
    assert_eq!(server.terminate(), Some(0));
    around.finish(store).await;
}

/// How long the database stays away: no longer than the pushes take, unless somebody who has the
/// time says so. A message that nobody acknowledges is given out again every 30 s.
fn absence() -> Duration {
    let seconds = std::env::var("LOCKSTEP_TEST_ABSENCE_SECONDS").ok();
    Duration::from_secs(seconds.map_or(0, |seconds| seconds.parse().unwrap()))
}

#[tokio::test]
#[ignore = "needs Postgres and NATS; tests/run has it"]
async fn pushes_that_come_while_the_database_is_away_wait_for_it() {
    let mut around = Around::new(Mode::ScaledOut, 1, &one_stack()).await;
    let receiver = around.start(None, &["--role", "receiver"]);
    let worker = around.start(None, &["--role", "worker"]);
    let push = |around: &Around, number: u32| {
        let url = format!("http://push-{number}");
        around
            .repo
            .write("ping.json", classic("ping", "/ping/", &url));
        around.repo.commit("push");
    };
    push(&around, 0);
    assert!(around.push(&receiver).await);
    let store = around.store().await;
    around.at_rest(&store).await;
    store.close().await;
    around.services.as_ref().unwrap().take_away().await;
    for number in 1..=10 {
        push(&around, number);
        assert!(around.push(&receiver).await, "push {number} was refused");
    }
    pass(absence()).await;
    let live = around.gateways[0].live_classic("ping").unwrap();
    assert_eq!(
        live["proxy"]["target_url"], "http://push-0",
        "a write without a record"
    );
    around.services.as_ref().unwrap().bring_back().await;
    let store = around.store().await;
    until("the head to be live", async || {
        let live = around.gateways[0].live_classic("ping").unwrap();
        live["proxy"]["target_url"] == "http://push-10"
    })
    .await;
    around.at_rest(&store).await;
    assert_eq!(around.accepted.len(), 11);
    around.check(&store).await;
    assert_eq!(worker.terminate(), Some(0));
    assert_eq!(receiver.terminate(), Some(0));
    around.finish(store).await;
}

#[tokio::test]
#[ignore = "needs Postgres and NATS; tests/run has it"]
async fn two_workers_and_a_receiver_never_talk_to_one_target_at_once() {
    let stacks: Vec<(String, String, usize)> = (0..10)
        .map(|index| (format!("s{index}"), format!("s{index}"), index % 3))
        .collect();
    let mut around = Around::new(Mode::ScaledOut, 3, &stacks).await;
    let receiver = around.start(None, &["--role", "receiver"]);
    let workers = [
        around.start(None, &["--role", "worker"]),
        around.start(None, &["--role", "worker"]),
    ];
    let store = around.store().await;
    for round in 0..8 {
        for (name, _, _) in &stacks {
            let api = classic(
                &format!("{name}-api"),
                &format!("/{name}/"),
                &format!("http://round-{round}"),
            );
            around.repo.write(&format!("{name}/api.json"), api);
        }
        around.repo.commit("round");
        assert!(around.push(&receiver).await);
    }
    until("the head to be live everywhere", async || {
        stacks.iter().all(|(name, _, target)| {
            let live = around.gateways[*target].live_classic(&format!("{name}-api"));
            live.is_some_and(|live| live["proxy"]["target_url"] == "http://round-7")
        })
    })
    .await;
    around.at_rest(&store).await;
    // The gateways' own logs are the witness: two requests at once, a write during a reload.
    around.check(&store).await;
    let owners: std::collections::BTreeSet<String> = store
        .runs(&lockstep::store::RunFilter {
            limit: 1_000,
            ..Default::default()
        })
        .await
        .unwrap()
        .into_iter()
        .map(|run| run.worker)
        .collect();
    assert!(!owners.is_empty());
    for worker in workers {
        assert_eq!(worker.terminate(), Some(0));
    }
    assert_eq!(receiver.terminate(), Some(0));
    around.finish(store).await;
}

/// What a receiver is signed with elsewhere is what it checks: a request under another key is not
/// accepted by the real process either.
#[tokio::test]
async fn a_forged_push_is_refused_by_the_process() {
    let around = Around::new(Mode::Embedded, 1, &one_stack()).await;
    let server = around.start(None, &[]);
    let mut mac: Hmac<Sha256> = Hmac::new_from_slice(b"another secret").unwrap();
    mac.update(b"{}");
    let answer = around
        .http
        .post(format!("{}/webhooks/acme", server.url))
        .header("content-type", "application/json")
        .header("x-github-event", "push")
        .header("x-github-delivery", "x")
        .header(
            "x-hub-signature-256",
            format!("sha256={}", hex::encode(mac.finalize().into_bytes())),
        )
        .body("{}")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status().as_u16(), 401);
    assert_eq!(server.terminate(), Some(0));
}
