//! `lockstep demo`: the whole path, from a push to a live gateway, with nothing installed.
//!
//! The server is the real one, in embedded mode; the demo stands outside it: it commits, sends
//! signed webhooks, changes things by hand, and looks at the gateway for itself.

mod manifests;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use clap::Args;
use secrecy::SecretString;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::Notify;
use url::Url;

use super::{
    Exit, Invocation, init_logs, output,
    serve::{Running, receiver, until_signalled},
};
use crate::{
    app::App,
    config::Config,
    domain::{
        object::{Kind, ObjectKey},
        run::{Action, Outcome, RunStatus, Trigger},
    },
    http,
    sandbox::{
        gateway::{Gateway, GatewayOptions},
        git::{Author, Repository},
    },
    store::{RunDetail, RunFilter},
    sync::schedule,
    tyk::gateway::{Client, Options},
};

/// Show the whole path from a push to a live gateway, with nothing installed.
///
/// A Git repository, a stand-in gateway and the whole server run in a temporary folder. The demo
/// makes commits, sends signed webhooks, and tells what happens. Exit code 0: every step held.
#[derive(Debug, Args)]
pub struct Demo {
    /// End when the steps are through, instead of staying up until Ctrl-C
    #[arg(long)]
    once: bool,
    /// An empty folder to work in, which stays; a temporary one without it
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// A real gateway's control address, instead of the stand-in; what the demo makes there has
    /// ids of its own and is removed at the end
    #[arg(long, value_name = "URL", requires = "secret_file")]
    gateway: Option<Url>,
    /// A file that holds that gateway's admin secret
    #[arg(long, value_name = "FILE", requires = "gateway")]
    secret_file: Option<PathBuf>,
}

const ADA: Author = Author {
    name: "Ada Example",
    login: "ada",
    email: "ada@example.org",
};
const BOB: Author = Author {
    name: "Bob Example",
    login: "bob",
    email: "bob@example.org",
};
const REPOSITORY: &str = "acme/shop";
const STACK: &str = "shop";
const TARGET: &str = "gateway";

/// How long a step may take before it has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often is looked while waiting.
const LOOK: Duration = Duration::from_millis(20);

/// One step, as `--output json` prints it.
#[derive(Debug, Serialize)]
struct Step {
    name: &'static str,
    ok: bool,
    /// From the push (or the change by hand) to what it led to, seen from outside.
    seconds: f64,
    detail: String,
}

impl Demo {
    pub async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        init_logs("error");
        let temporary = tempfile::tempdir().context("cannot make a temporary folder")?;
        let folder = match &self.dir {
            None => temporary.path().to_owned(),
            Some(folder) => {
                std::fs::create_dir_all(folder)
                    .with_context(|| format!("cannot make {}", folder.display()))?;
                let is_empty = std::fs::read_dir(folder)?.next().is_none();
                ensure!(
                    is_empty,
                    "{} is not empty: name an empty folder, or one that does not exist",
                    folder.display()
                );
                folder.canonicalize()?
            }
        };
        let mut stage = Stage::set(&folder, self.gateway, self.secret_file).await?;
        if !invocation.is_json() {
            output::text(&stage.introduction());
        }
        let steps = stage.play(invocation).await;
        let removed = stage.remove_what_it_made().await;
        if invocation.is_json() {
            output::json(&json!({"steps": steps}))?;
        }
        let held = steps.iter().all(|step| step.ok);
        if !self.once {
            eprintln!(
                "still up: receiver http://{}, gateway {}, data in {}; Ctrl-C ends it",
                stage.running.address,
                stage.url,
                folder.display()
            );
            until_signalled().await;
        }
        stage.running.stop().await?;
        removed?;
        Ok(if held { Exit::Done } else { Exit::Failed })
    }
}

/// Everything that the demo plays with.
struct Stage {
    app: App,
    running: Running,
    repository: Repository,
    /// The demo's own look at the gateway.
    client: Client,
    url: Url,
    stand_in: Option<Gateway>,
    prefix: String,
    webhook_secret: String,
    http: reqwest::Client,
}

/// What a step found: what to tell, and how long it took.
type Found = anyhow::Result<(String, Duration)>;

impl Stage {
    async fn set(
        folder: &Path,
        gateway: Option<Url>,
        secret_file: Option<PathBuf>,
    ) -> anyhow::Result<Self> {
        let random = || uuid::Uuid::new_v4().simple().to_string();
        let (stand_in, url, secret, prefix) =
            if let (Some(url), Some(file)) = (gateway, secret_file) {
                let secret = std::fs::read_to_string(&file)
                    .with_context(|| format!("cannot read {}", file.display()))?;
                let prefix = format!("demo-{}-", &random()[..6]);
                (None, url, secret.trim().to_owned(), prefix)
            } else {
                let secret = random();
                let options = GatewayOptions {
                    secret: secret.clone(),
                    ..GatewayOptions::default()
                };
                let gateway = Gateway::start(options).await?;
                let url = gateway.url().parse()?;
                (Some(gateway), url, secret, String::new())
            };
        let repository = Repository::create(&folder.join("shop.git"))
            .map_err(|error| anyhow::anyhow!("cannot make the repository: {error}"))?;
        let webhook_secret = random();
        let text = config_text(&url);
        std::fs::write(folder.join("lockstep.toml"), &text)?;
        let environment = |name: &str| match name {
            "DEMO_WEBHOOK" => Some(webhook_secret.clone()),
            "DEMO_GATEWAY" => Some(secret.clone()),
            _ => None,
        };
        let config = Config::parse(&text, folder, &environment)?;
        let app = App::open(&config).await?;
        let nudge = Arc::new(Notify::new());
        let state = http::State {
            receiver: Some(Arc::new(receiver(&config.webhooks, &app.worker, &nudge))),
            queue: app.queue.clone(),
            metrics: app.metrics.clone(),
            api: None,
            app: Some(app.clone()),
        };
        let running = Running::start(config.server.listen, state, nudge, Some(app.clone())).await?;
        let client = Client::new(Options::new(url.clone(), SecretString::from(secret)))?;
        Ok(Self {
            app,
            running,
            repository,
            client,
            url,
            stand_in,
            prefix,
            webhook_secret,
            http: reqwest::Client::new(),
        })
    }

    fn introduction(&self) -> String {
        let what = if self.stand_in.is_some() {
            "a stand-in gateway"
        } else {
            "the gateway"
        };
        format!(
            "{what} on {}, the server on http://{}, a repository with {} manifests\n",
            self.url,
            self.running.address,
            manifests::all(&self.prefix).len()
        )
    }

    /// Every step, in order. A step that fails does not keep the next ones from being tried.
    async fn play(&mut self, invocation: &Invocation) -> Vec<Step> {
        let mut steps = Vec::new();
        for name in [
            "create", "update", "drift", "delete", "refused", "budget", "history",
        ] {
            let started = Instant::now();
            let found = match name {
                "create" => self.create().await,
                "update" => self.update().await,
                "drift" => self.drift().await,
                "delete" => self.delete().await,
                "refused" => self.refused().await,
                "budget" => self.budget().await,
                _ => self.history().await,
            };
            let step = match found {
                Ok((detail, took)) => Step {
                    name,
                    ok: true,
                    seconds: took.as_secs_f64(),
                    detail,
                },
                Err(error) => Step {
                    name,
                    ok: false,
                    seconds: started.elapsed().as_secs_f64(),
                    detail: format!("{error:#}"),
                },
            };
            if !invocation.is_json() {
                let word = if step.ok { "ok" } else { "FAILED" };
                let detail = step.detail.replace('\n', "\n                          ");
                output::text(&format!(
                    "{:8} {word:6} {:6.2} s  {detail}",
                    step.name, step.seconds
                ));
            }
            steps.push(step);
        }
        steps
    }

    async fn create(&mut self) -> Found {
        self.repository.replace_all(manifests::all(&self.prefix));
        let (detail, took) = self.push(ADA, "Put the shop under Git").await?;
        expect_status(&detail, RunStatus::Succeeded)?;
        let live = self.live().await?;
        for name in ["orders", "catalog", "ping", "gold", "payments-partner"] {
            let id = format!("{}{name}", self.prefix);
            ensure!(live.keys().any(|key| key.id == id), "{id} is not live");
        }
        let ours: Vec<String> = detail
            .changes
            .iter()
            .map(|change| change.object.to_string())
            .collect();
        ensure!(ours.len() == 6, "{} objects instead of 6", ours.len());
        Ok((format!("6 objects live: {}", ours.join(", ")), took))
    }

    async fn update(&mut self) -> Found {
        let path = "apis/orders.yaml";
        let text = self.repository.files()[path]
            .replace("orders.internal:8080", "orders-v2.internal:8080");
        self.repository.write(path, &text);
        let (detail, took) = self.push(BOB, "Send orders to version 2").await?;
        expect_status(&detail, RunStatus::Succeeded)?;
        let key = ObjectKey::new(Kind::OasApi, format!("{}orders", self.prefix));
        self.expect_upstream(&key, "http://orders-v2.internal:8080")
            .await?;
        let fields: Vec<String> = detail
            .changes
            .iter()
            .flat_map(|change| change.fields.iter().map(ToString::to_string))
            .collect();
        ensure!(
            detail.changes.len() == 1,
            "more than one object was changed"
        );
        ensure!(!fields.is_empty(), "the history shows no difference");
        Ok((format!("{key}\n{}", fields.join("\n")), took))
    }

    async fn drift(&mut self) -> Found {
        let key = ObjectKey::new(Kind::ClassicApi, format!("{}ping", self.prefix));
        let listing = self.live().await?;
        let mut body = listing.get(&key).context("ping is not live")?.clone();
        body["proxy"]["target_url"] = json!("http://somewhere-else.internal");
        let started = Instant::now();
        self.client.write(key.kind, &key.id, &body).await?;
        self.client.reload().await?;
        self.expect_upstream(&key, "http://somewhere-else.internal")
            .await?;
        // What the timer does every few minutes.
        let found = wait_for("the drift check", async || {
            let found = schedule::drift(&self.app, TARGET).await?;
            let changed = found.iter().find(|drift| !drift.changes().is_empty());
            Ok(changed.map(|drift| {
                let changes = drift.changes();
                let fields: Vec<String> = changes
                    .iter()
                    .flat_map(|change| change.fields.iter().map(ToString::to_string))
                    .collect();
                (changes.len(), fields)
            }))
        })
        .await?;
        ensure!(found.0 == 1, "{} objects drifted instead of 1", found.0);
        let detail = wait_for("the drift to be reverted", async || {
            let newest = self.newest_run().await?;
            let is_it = newest.as_ref().is_some_and(|detail| {
                detail.run.trigger == Trigger::Drift && detail.run.finished_at.is_some()
            });
            Ok(newest.filter(|_| is_it))
        })
        .await?;
        expect_status(&detail, RunStatus::Succeeded)?;
        self.expect_upstream(&key, "http://ping.internal:7000")
            .await?;
        let took = started.elapsed();
        Ok((
            format!(
                "{key} was changed by hand, seen and reverted\n{}",
                found.1.join("\n")
            ),
            took,
        ))
    }

    async fn delete(&mut self) -> Found {
        self.repository.remove("policies/gold.yaml");
        let (detail, took) = self.push(ADA, "Retire the gold plan").await?;
        expect_status(&detail, RunStatus::Succeeded)?;
        let key = ObjectKey::new(Kind::Policy, format!("{}gold", self.prefix));
        ensure!(
            !self.live().await?.contains_key(&key),
            "{key} is still live"
        );
        let deleted = detail
            .changes
            .iter()
            .any(|change| change.object == key && change.action == Action::Delete);
        ensure!(deleted, "the history does not show the deletion");
        Ok((format!("{key} is gone"), took))
    }

    async fn refused(&mut self) -> Found {
        let before = self.live().await?;
        let path = "apis/ping.yaml";
        let good = self.repository.files()[path].clone();
        self.repository.write(
            path,
            &good.replace("ping.internal:7000", "ping.internal:7001"),
        );
        self.repository
            .write("apis/returns.yaml", manifests::BROKEN);
        let writes_before = self.writes();
        let (detail, took) = self.push(BOB, "Add returns").await?;
        expect_status(&detail, RunStatus::Refused)?;
        let message = detail.run.message.unwrap_or_default();
        ensure!(
            message.contains("apis/returns.yaml:9:7"),
            "the message does not name the place: {message}"
        );
        ensure!(self.live().await? == before, "the gateway was changed");
        ensure!(self.writes() == writes_before, "the gateway was written to");
        self.repository.write(path, &good);
        self.repository.remove("apis/returns.yaml");
        let (mended, _) = self.push(BOB, "Take returns out again").await?;
        expect_status(&mended, RunStatus::Succeeded)?;
        Ok((format!("nothing was written\n{message}"), took))
    }

    async fn budget(&mut self) -> Found {
        let before = self.live().await?;
        let files = self.repository.files().clone();
        self.repository.replace_all(BTreeMap::from([(
            "README.md".to_owned(),
            "Empty\n".to_owned(),
        )]));
        let (detail, took) = self.push(BOB, "Remove everything, by mistake").await?;
        expect_status(&detail, RunStatus::Parked)?;
        ensure!(self.live().await? == before, "something was deleted");
        let held = detail
            .changes
            .iter()
            .filter(|change| change.outcome == Outcome::Held)
            .count();
        ensure!(held == 5, "{held} deletions were held back instead of 5");
        let message = detail.run.message.unwrap_or_default();
        self.repository.replace_all(files);
        let (back, _) = self.push(ADA, "Put everything back").await?;
        expect_status(&back, RunStatus::Succeeded)?;
        ensure!(
            back.changes.is_empty(),
            "putting the files back changed something"
        );
        Ok((format!("{held} deletions held back\n{message}"), took))
    }

    async fn history(&mut self) -> Found {
        let started = Instant::now();
        let verified = self.app.store.verify_history().await?;
        let head = verified.map_err(|broken| anyhow::anyhow!("the history is broken: {broken}"))?;
        let runs = self
            .app
            .store
            .runs(&RunFilter {
                stack: Some(STACK.to_owned()),
                limit: 20,
                ..RunFilter::default()
            })
            .await?;
        ensure!(runs.len() >= 7, "{} runs are on record", runs.len());
        let mut lines = vec![format!("{} events, verified", head.size)];
        for run in runs.iter().rev() {
            let who = run
                .pusher
                .as_ref()
                .map_or_else(|| "nobody".to_owned(), ToString::to_string);
            let revision = run
                .revision
                .as_ref()
                .map_or("-", |revision| revision.short());
            lines.push(format!(
                "{revision} {} by {who}: {}",
                run.trigger, run.status
            ));
        }
        for name in [ADA.login, BOB.login] {
            let is_named = lines
                .iter()
                .any(|line| line.contains(&format!("by {name}:")));
            ensure!(is_named, "{name} is not named in the history");
        }
        Ok((lines.join("\n"), started.elapsed()))
    }

    /// Commits, sends the webhook, and waits until the run that took it is on record.
    async fn push(
        &mut self,
        author: Author,
        message: &str,
    ) -> anyhow::Result<(RunDetail, Duration)> {
        self.repository
            .commit(author, message)
            .map_err(|error| anyhow::anyhow!("cannot commit: {error}"))?;
        let push = self
            .repository
            .push(REPOSITORY, author, &self.webhook_secret);
        let delivery = format!("demo/1/{}", push.delivery);
        let started = Instant::now();
        let answer = self
            .http
            .post(format!("http://{}/webhooks/demo", self.running.address))
            .header("content-type", "application/json")
            .header("user-agent", "GitHub-Hookshot/demo")
            .header("x-github-event", "push")
            .header("x-github-hook-id", "1")
            .header("x-github-delivery", &push.delivery)
            .header("x-hub-signature-256", &push.signature)
            .body(push.body)
            .send()
            .await?;
        ensure!(
            answer.status().as_u16() == 202,
            "the receiver answered {}",
            answer.status()
        );
        let detail = wait_for("the run of the push", async || {
            let newest = self.newest_run().await?;
            let is_it = newest.as_ref().is_some_and(|detail| {
                detail.run.finished_at.is_some()
                    && detail.deliveries.iter().any(|known| known.id == delivery)
            });
            Ok(newest.filter(|_| is_it))
        })
        .await?;
        Ok((detail, started.elapsed()))
    }

    async fn newest_run(&self) -> anyhow::Result<Option<RunDetail>> {
        let filter = RunFilter {
            stack: Some(STACK.to_owned()),
            limit: 1,
            ..RunFilter::default()
        };
        let Some(run) = self.app.store.runs(&filter).await?.into_iter().next() else {
            return Ok(None);
        };
        Ok(self.app.store.run(&run.id).await?)
    }

    /// What the gateway lists, as far as it is the demo's.
    async fn live(&self) -> anyhow::Result<BTreeMap<ObjectKey, Value>> {
        let listing = self.client.list().await?;
        let payments = payments_id(&self.prefix);
        Ok(listing
            .objects
            .into_iter()
            .filter(|listed| listed.key.id.starts_with(&self.prefix) || listed.key.id == payments)
            .map(|listed| (listed.key.clone(), listed.body()))
            .collect())
    }

    async fn expect_upstream(&self, key: &ObjectKey, url: &str) -> anyhow::Result<()> {
        let live = self.live().await?;
        let body = live
            .get(key)
            .with_context(|| format!("{key} is not live"))?;
        let found = body.pointer("/proxy/target_url").and_then(Value::as_str);
        ensure!(
            found == Some(url),
            "{key} goes to {found:?} instead of {url}"
        );
        Ok(())
    }

    /// How many writes the stand-in saw; a real gateway does not tell.
    fn writes(&self) -> usize {
        let log = self.stand_in.as_ref().map(Gateway::log).unwrap_or_default();
        log.iter().filter(|seen| seen.is_write()).count()
    }

    /// A gateway that is not ours gets back what it was.
    async fn remove_what_it_made(&self) -> anyhow::Result<()> {
        if self.stand_in.is_some() {
            return Ok(());
        }
        let keys: Vec<ObjectKey> = self.live().await?.into_keys().collect();
        for key in &keys {
            self.client.delete(key.kind, &key.id).await?;
        }
        self.client.reload().await?;
        let left = self.live().await?.len();
        ensure!(
            left == 0,
            "{left} of the demo's objects are still on the gateway"
        );
        Ok(())
    }
}

fn config_text(gateway: &Url) -> String {
    format!(
        r#"# Made by `lockstep demo`.
[server]
listen = "127.0.0.1:0"
[storage]
dir = "data"
[webhook.demo]
host = "github"
secrets = [{{ env = "DEMO_WEBHOOK" }}]
[repository.shop]
url = "./shop.git"
webhook = "demo"
full_name = "{REPOSITORY}"
sweep = "1h"
[target.{TARGET}]
kind = "gateway"
nodes = ["{gateway}"]
secret = {{ env = "DEMO_GATEWAY" }}
drift = "1h"
[stack.{STACK}]
repository = "shop"
target = "{TARGET}"
drift = "revert"
"#
    )
}

/// The id that the operator gives `default/<prefix>payments`.
fn payments_id(prefix: &str) -> String {
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
    BASE64_URL_SAFE_NO_PAD.encode(format!("default/{prefix}payments"))
}

fn expect_status(detail: &RunDetail, status: RunStatus) -> anyhow::Result<()> {
    ensure!(
        detail.run.status == status,
        "the run {} instead of {status}: {}",
        detail.run.status,
        detail.run.message.as_deref().unwrap_or("no message")
    );
    Ok(())
}

/// Looks again and again until there is something, or patience ends.
async fn wait_for<T>(
    what: &str,
    mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let started = Instant::now();
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        ensure!(
            started.elapsed() < PATIENCE,
            "{what} did not come within {} s",
            PATIENCE.as_secs()
        );
        tokio::time::sleep(LOOK).await;
    }
}
