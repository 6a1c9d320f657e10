//! The whole system in one process: a repository, a stand-in gateway, the receiver over HTTP, and
//! a worker that is stepped. One harness for both modes.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use hmac::{Hmac, KeyInit, Mac};
use lockstep::{
    app::App,
    config::{Config, Tables},
    domain::{
        audit::{
            catalogue,
            event::{Actor, Asker, Event, EventType, Header, Person},
        },
        run::{RunId, RunStatus, Trigger},
    },
    http::{self, api::auth::Api, receiver::Receiver},
    sandbox::gateway::{Gateway, GatewayOptions, Seen},
    store::{EventFilter, PgOptions, RunDetail, RunFilter, StackState, Store},
    sync::{run::Report, worker},
};
use serde_json::{Value, json};
use sha2::Sha256;
use sqlx::{
    AssertSqlSafe, Connection, PgConnection, Row, SqliteConnection, postgres::PgConnectOptions,
};
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    git_repo::GitRepo,
    nats::{self, Nats},
};

pub const WEBHOOK_SECRET: &str = "webhook-s3cr3t-value";
pub const GATEWAY_SECRET: &str = "gateway-s3cr3t-value";
pub const FULL_NAME: &str = "acme/shop";

/// A password that manifests may hold; it must never be found anywhere of ours.
pub const PLANTED: &str = "planted-pa55word-of-an-upstream";

/// Somebody at a command line.
pub fn asker(login: &str) -> Asker {
    Asker {
        person: Person {
            login: Some(login.to_owned()),
            ..Person::default()
        },
        address: None,
        actor: Actor::new("cli", "test"),
        trace: None,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Embedded,
    ScaledOut,
}

/// Runs every scenario in both modes, by its own name.
#[macro_export]
macro_rules! in_both_modes {
    ($($name:ident),+ $(,)?) => {
        mod embedded {
            use $crate::support::app::Mode;
            $(#[tokio::test] async fn $name() { Box::pin(super::$name(Mode::Embedded)).await; })+
        }
        mod scaled_out {
            use $crate::support::app::Mode;
            $(
                #[tokio::test]
                #[ignore = "needs Postgres and NATS; tests/run has it"]
                async fn $name() { Box::pin(super::$name(Mode::ScaledOut)).await; }
            )+
        }
    };
}

/// The database and the queue of the scaled-out mode.
pub struct Services {
    pub nats: Nats,
    server: String,
    database: String,
    owner: String,
    serving: String,
}

pub struct TestApp {
    pub folder: TempDir,
    pub repo: GitRepo,
    pub gateway: Gateway,
    /// The other nodes of the target.
    pub more: Vec<Gateway>,
    pub app: App,
    pub api: Arc<Api>,
    pub receiver: Arc<Receiver>,
    pub config_text: String,
    environment: BTreeMap<String, String>,
    pub address: SocketAddr,
    services: Option<Services>,
    http: reqwest::Client,
    deliveries: AtomicU32,
    pushed: std::sync::Mutex<Option<String>>,
    shutdown: CancellationToken,
}

impl TestApp {
    pub async fn start(mode: Mode) -> Self {
        Self::with_stack(mode, "").await
    }

    /// With more lines for the stack, such as `drift = "revert"`, or further sections.
    pub async fn with_stack(mode: Mode, lines: &str) -> Self {
        Self::with_environment(mode, lines, &[]).await
    }

    pub async fn with_environment(mode: Mode, lines: &str, environment: &[(&str, &str)]) -> Self {
        let options = GatewayOptions {
            secret: GATEWAY_SECRET.to_owned(),
            tick: Duration::from_millis(3),
            ..GatewayOptions::default()
        };
        let gateway = Gateway::start(options).await.unwrap();
        let url = gateway.url();
        Self::on_gateway(mode, lines, environment, gateway, &url).await
    }

    /// With a gateway at an address of one's own; the stand-in is another one where that is a real
    /// gateway, whose secret the environment has as GATEWAY.
    pub async fn on_gateway(
        mode: Mode,
        lines: &str,
        environment: &[(&str, &str)],
        gateway: Gateway,
        url: &str,
    ) -> Self {
        let environment: BTreeMap<String, String> = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let repo = GitRepo::new();
        let folder = tempfile::tempdir().unwrap();
        let services = match mode {
            Mode::Embedded => None,
            Mode::ScaledOut => Some(services().await),
        };
        let config_text = config_text(repo.path(), url, lines, services.as_ref());
        let config = parse(&config_text, folder.path(), services.as_ref(), &environment);
        if let Some(services) = &services {
            lockstep::app::migrate(&services.tables()).await.unwrap();
        }
        let mut app = App::open(&config).await.unwrap();
        app.lag_patience = Duration::ZERO;
        if let lockstep::app::Queue::JetStream(queue) = &app.queue {
            while queue.ready().await.is_err() {}
        }
        let nudge = Arc::new(Notify::new());
        let secrets: BTreeMap<_, _> = config
            .webhooks
            .iter()
            .map(|(name, webhook)| (name.as_str().to_owned(), Arc::new(webhook.secrets.clone())))
            .collect();
        let api = Arc::new(Api::new(app.clone()));
        let receiver = Arc::new(Receiver::new(secrets, "test".to_owned(), nudge));
        let state = http::State {
            receiver: Some(receiver.clone()),
            queue: app.queue.clone(),
            metrics: app.metrics.clone(),
            app: Some(app.clone()),
            api: Some(api.clone()),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        tokio::spawn(http::server::serve(
            listener,
            http::router(state),
            shutdown.clone(),
        ));
        Self {
            folder,
            repo,
            gateway,
            more: Vec::new(),
            app,
            api,
            receiver,
            config_text,
            environment,
            address,
            services,
            http: reqwest::Client::new(),
            deliveries: AtomicU32::new(0),
            pushed: std::sync::Mutex::default(),
            shutdown,
        }
    }

    /// With so many further nodes of the target, each of which prints an address of its own.
    pub async fn with_nodes(mode: Mode, lines: &str, further: usize) -> Self {
        Self::with_stack(mode, lines).await.and_nodes(further).await
    }

    pub async fn and_nodes(self, further: usize) -> Self {
        let mut app = self;
        for number in 0..further {
            let node = Gateway::start(GatewayOptions {
                secret: GATEWAY_SECRET.to_owned(),
                tick: Duration::from_millis(3),
                public_address: Some(format!("node-{number}.example:8080")),
                ..GatewayOptions::default()
            });
            app.more.push(node.await.unwrap());
        }
        let one = format!("[\"{}\"]", app.gateway.url());
        let all: Vec<String> = std::iter::once(&app.gateway)
            .chain(&app.more)
            .map(Gateway::url)
            .collect();
        app.config_text = app.config_text.replace(&one, &format!("{all:?}"));
        app.app = app.another_worker().await;
        app
    }

    pub fn config(&self) -> Config {
        parse(
            &self.config_text,
            self.folder.path(),
            self.services.as_ref(),
            &self.environment,
        )
    }

    /// A worker on the same store and queue, with another configuration.
    pub async fn opened_with(&self, config_text: &str) -> App {
        let services = self.services.as_ref();
        let config = parse(config_text, self.folder.path(), services, &self.environment);
        App::open(&config).await.unwrap()
    }

    /// A second worker on the same store and queue.
    pub async fn another_worker(&self) -> App {
        let mut app = App::open(&self.config()).await.unwrap();
        app.lag_patience = Duration::ZERO;
        app
    }

    /// The same as the owner of the database's tables.
    pub async fn as_owner(&self) -> App {
        let tables = match &self.services {
            None => Tables::Embedded(self.folder.path().join("data")),
            Some(services) => services.tables(),
        };
        App::open_as_owner(&self.config(), &tables).await.unwrap()
    }

    /// A worker that was started anew with other lines for the stack.
    pub async fn reconfigured(&self, lines: &str) -> App {
        let services = self.services.as_ref();
        let text = config_text(self.repo.path(), &self.gateway.url(), lines, services);
        let config = parse(&text, self.folder.path(), services, &BTreeMap::new());
        let mut app = App::open(&config).await.unwrap();
        app.lag_patience = Duration::ZERO;
        app
    }

    /// What a run by hand of a worker with another configuration comes to.
    pub async fn sync_with(&self, app: &App) -> Report {
        let stack = app.stack("shop").unwrap();
        app.store.want(&stack.id(), Trigger::Manual).await.unwrap();
        let mut reports = worker::run_pending(app).await.unwrap();
        assert_eq!(reports.len(), 1, "{reports:#?}");
        reports.remove(0)
    }

    /// What a process of its own needs in its environment, beside the configuration that is written
    /// to the folder here.
    pub fn for_a_process(&self) -> Vec<(String, String)> {
        std::fs::write(self.folder.path().join("lockstep.toml"), &self.config_text).unwrap();
        let mut environment = vec![
            ("WEBHOOK".to_owned(), WEBHOOK_SECRET.to_owned()),
            ("GATEWAY".to_owned(), GATEWAY_SECRET.to_owned()),
            ("KEY".to_owned(), "5a".repeat(32)),
        ];
        environment.extend(self.environment.clone());
        if let Some(services) = &self.services {
            environment.push(("POSTGRES".to_owned(), services.serving_url()));
            environment.push(("OWNER".to_owned(), services.owner_url()));
        }
        environment
    }

    pub fn services(&self) -> Option<&Services> {
        self.services.as_ref()
    }

    pub fn nats(&mut self) -> &mut Nats {
        &mut self.services.as_mut().unwrap().nats
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What the branch's head looks like as a push from what was pushed before.
    pub fn push_body(&self) -> String {
        let head = self.repo.head();
        let before = self.pushed.lock().unwrap().replace(head.clone());
        push_body(before.as_deref(), &head, "main")
    }

    /// Sends a signed GitHub push for the branch's head.
    pub async fn push_webhook(&self) -> u16 {
        let body = self.push_body();
        self.send(&body, None).await
    }

    /// Sends a push with a body of one's own; `delivery` repeats an earlier one.
    pub async fn send(&self, body: &str, delivery: Option<&str>) -> u16 {
        let number = self.deliveries.fetch_add(1, Ordering::Relaxed);
        let own = format!("delivery-{number}");
        self.http
            .post(self.url("/webhooks/acme"))
            .header("content-type", "application/json")
            .header("x-github-event", "push")
            .header("x-github-hook-id", "7")
            .header("x-github-delivery", delivery.unwrap_or(&own))
            .header("x-hub-signature-256", sign(body.as_bytes()))
            .body(body.to_owned())
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    }

    pub async fn run_pending(&self) -> Vec<Report> {
        worker::run_pending(&self.app).await.unwrap()
    }

    /// Commits what was written, pushes, and runs it: the one report.
    pub async fn push(&self, message: &str) -> Report {
        self.repo.commit(message);
        assert_eq!(self.push_webhook().await, 202);
        let mut reports = self.run_pending().await;
        assert_eq!(reports.len(), 1, "{reports:#?}");
        reports.remove(0)
    }

    /// The same for a push that succeeds.
    pub async fn push_well(&self, message: &str) -> Report {
        let report = self.push(message).await;
        assert_eq!(report.status, RunStatus::Succeeded, "{:?}", report.message);
        report
    }

    pub async fn state(&self, stack: &str) -> StackState {
        self.app.store.stack_state(stack).await.unwrap().unwrap()
    }

    pub async fn detail(&self, run: Option<&RunId>) -> RunDetail {
        self.app.store.run(run.unwrap()).await.unwrap().unwrap()
    }

    pub async fn runs(&self) -> Vec<lockstep::store::Run> {
        let filter = RunFilter {
            limit: 1_000,
            ..RunFilter::default()
        };
        self.app.store.runs(&filter).await.unwrap()
    }

    /// Every event, oldest first.
    pub async fn events(&self) -> Vec<(Header, Event)> {
        let filter = EventFilter {
            limit: 1_000,
            ..EventFilter::default()
        };
        let mut events = self.app.store.events(&filter).await.unwrap();
        events.reverse();
        events
            .into_iter()
            .map(|event| (serde_json::from_str(&event.header).unwrap(), event))
            .collect()
    }

    pub async fn event_types(&self) -> Vec<String> {
        let events = self.events().await;
        events
            .into_iter()
            .map(|(header, _)| header.event_type)
            .collect()
    }

    pub fn writes(&self) -> Vec<Seen> {
        let log = self.gateway.log();
        log.into_iter().filter(Seen::is_write).collect()
    }

    /// Lets every wait for another try end now.
    pub async fn forget_backoff(&self) {
        self.sql("update stack_state set not_before = 0").await;
    }

    /// What somebody with access to the database could do.
    pub async fn sql(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        match &self.services {
            None => {
                let mut connection = self.sqlite().await;
                sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
            }
            Some(services) => {
                let mut connection = services.connect().await;
                sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
            }
        }
    }

    /// The same database, as another process opens it.
    pub async fn store_again(&self) -> Store {
        match &self.services {
            None => Store::embedded(&self.folder.path().join("data"))
                .await
                .unwrap(),
            Some(services) => Store::postgres(&services.url().into(), &PgOptions::default())
                .await
                .unwrap(),
        }
    }

    async fn sqlite(&self) -> SqliteConnection {
        let file = self.folder.path().join("data").join(lockstep::store::FILE);
        SqliteConnection::connect(&format!("sqlite://{}", file.display()))
            .await
            .unwrap()
    }

    /// Every text in every table, in one string.
    pub async fn all_text(&self) -> String {
        let mut text = String::new();
        match &self.services {
            None => {
                let mut connection = self.sqlite().await;
                let tables: Vec<String> =
                    sqlx::query_scalar("select name from sqlite_master where type = 'table'")
                        .fetch_all(&mut connection)
                        .await
                        .unwrap();
                for table in tables {
                    let select = AssertSqlSafe(format!("select * from \"{table}\""));
                    let rows = sqlx::query(select)
                        .fetch_all(&mut connection)
                        .await
                        .unwrap();
                    for row in rows {
                        for column in 0..row.len() {
                            if let Ok(value) = row.try_get_unchecked::<Vec<u8>, _>(column) {
                                text.push_str(&String::from_utf8_lossy(&value));
                                text.push('\n');
                            }
                        }
                    }
                }
            }
            Some(services) => {
                let mut connection = services.connect().await;
                let tables: Vec<String> = sqlx::query_scalar(
                    "select tablename::text from pg_tables where schemaname = 'public'",
                )
                .fetch_all(&mut connection)
                .await
                .unwrap();
                for table in tables {
                    let select = AssertSqlSafe(format!("select t::text from \"{table}\" t"));
                    let rows: Vec<String> = sqlx::query_scalar(select)
                        .fetch_all(&mut connection)
                        .await
                        .unwrap();
                    text.push_str(&rows.join("\n"));
                }
            }
        }
        text
    }

    /// What must hold after every scenario: the gateway was used as it must be, the history is
    /// whole and says what its catalogue says, and no secret is anywhere.
    pub async fn finish(self) {
        assert_eq!(faults(&self.app.store).await, Vec::<String>::new());
        self.finish_made_up().await;
    }

    /// The same after events that a test made up.
    pub async fn finish_made_up(self) {
        for gateway in std::iter::once(&self.gateway).chain(&self.more) {
            assert_eq!(gateway.misuse(), Vec::<String>::new());
        }
        self.app.store.verify_history().await.unwrap().unwrap();
        let marker = "a-text-that-is-searched-for";
        let repeated = self.app.store.stack_states().await.unwrap();
        if let Some(state) = repeated.first() {
            // The search would find a secret: it finds this.
            self.app
                .store
                .postpone(&state.stack, state.attempt, state.not_before, marker)
                .await
                .unwrap();
            let text = self.all_text().await;
            assert!(text.contains(marker), "the search finds nothing");
            for secret in [WEBHOOK_SECRET, GATEWAY_SECRET, PLANTED] {
                assert!(!text.contains(secret), "{secret} is in the database");
            }
        }
        self.shutdown.cancel();
        self.app.store.close().await;
        if let Some(services) = &self.services {
            services.drop_database().await;
        }
    }
}

/// What the history says otherwise than the catalogue of its events.
pub async fn faults(store: &Store) -> Vec<String> {
    let mut faults = Vec::new();
    let mut next = 0;
    loop {
        let events = store.events_from(next, 1_000).await.unwrap();
        let Some(last) = events.last() else {
            return faults;
        };
        next = last.sequence + 1;
        for event in &events {
            let header: Header = serde_json::from_str(&event.header).unwrap();
            let payload: Value = serde_json::from_str(&event.payload).unwrap();
            let mut known = EventType::ALL.iter();
            let event_type = *known
                .find(|known| known.as_str() == header.event_type)
                .unwrap();
            let found = catalogue::faults(event_type, &payload);
            let told = |fault| format!("event {} {event_type}: {fault}", event.sequence);
            faults.extend(found.into_iter().map(told));
        }
    }
}

impl Services {
    pub async fn connect(&self) -> PgConnection {
        let options = PgConnectOptions::from_str(&self.server)
            .unwrap()
            .database(&self.database);
        PgConnection::connect_with(&options).await.unwrap()
    }

    /// Nobody gets a connection to the database any more, and who has one loses it.
    pub async fn take_away(&self) {
        self.let_in(false).await;
        let mut connection = PgConnection::connect(&self.server).await.unwrap();
        sqlx::query("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1")
            .bind(&self.database)
            .execute(&mut connection)
            .await
            .unwrap();
    }

    pub async fn bring_back(&self) {
        self.let_in(true).await;
    }

    async fn let_in(&self, everybody: bool) {
        let mut connection = PgConnection::connect(&self.server).await.unwrap();
        let alter = AssertSqlSafe(format!(
            "alter database {} with allow_connections {everybody}",
            self.database
        ));
        sqlx::query(alter).execute(&mut connection).await.unwrap();
    }

    pub async fn drop_database(&self) {
        let mut connection = PgConnection::connect(&self.server).await.unwrap();
        for drop in [
            format!("drop database {} with (force)", self.database),
            format!("drop role {}", self.serving),
            format!("drop role {}", self.owner),
        ] {
            sqlx::query(AssertSqlSafe(drop))
                .execute(&mut connection)
                .await
                .unwrap();
        }
    }

    /// As a superuser.
    pub fn url(&self) -> String {
        let (base, _) = self.server.rsplit_once('/').unwrap();
        format!("{base}/{}", self.database)
    }

    pub fn serving_url(&self) -> String {
        self.url_of(&self.serving)
    }

    pub fn owner_url(&self) -> String {
        self.url_of(&self.owner)
    }

    pub fn serving(&self) -> &str {
        &self.serving
    }

    pub fn owner(&self) -> &str {
        &self.owner
    }

    pub fn tables(&self) -> Tables {
        Tables::Postgres {
            serving: self.serving_url().into(),
            owner: Some(self.owner_url().into()),
        }
    }

    fn url_of(&self, role: &str) -> String {
        let mut url = url::Url::parse(&self.url()).unwrap();
        url.set_username(role).unwrap();
        url.into()
    }
}

pub async fn services() -> Services {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let server = std::env::var("LOCKSTEP_TEST_POSTGRES")
        .expect("LOCKSTEP_TEST_POSTGRES names a server where databases may be made");
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = |what: &str| format!("lockstep_{what}_{}_{number}", std::process::id());
    let (database, owner, serving) = (name("app"), name("owner"), name("serving"));
    let mut connection = PgConnection::connect(&server).await.unwrap();
    for create in [
        format!("create role {owner} login"),
        format!("create role {serving} login"),
        format!("create database {database} owner {owner}"),
    ] {
        sqlx::query(AssertSqlSafe(create))
            .execute(&mut connection)
            .await
            .unwrap();
    }
    Services {
        nats: Nats::start(&nats::binaries()[0]),
        server,
        database,
        owner,
        serving,
    }
}

fn config_text(repo: &Path, gateway: &str, lines: &str, services: Option<&Services>) -> String {
    let storage = match services {
        None => "dir = \"data\"".to_owned(),
        Some(services) => format!(
            "postgres = {{ env = \"POSTGRES\" }}\n\
             postgres_owner = {{ env = \"OWNER\" }}\nnats = \"{}\"\nsecret_key = {{ env = \"KEY\" }}",
            services.nats.url()
        ),
    };
    format!(
        r#"[server]
listen = "127.0.0.1:0"
[storage]
{storage}
[webhook.acme]
host = "github"
secrets = [{{ env = "WEBHOOK" }}]
[repository.shop]
url = "{}"
[target.production]
kind = "gateway"
nodes = ["{gateway}"]
secret = {{ env = "GATEWAY" }}
[stack.shop]
repository = "shop"
target = "production"
{lines}
"#,
        repo.display()
    )
    .replace(
        "[target.production]",
        &format!("webhook = \"acme\"\nfull_name = \"{FULL_NAME}\"\n[target.production]"),
    )
}

fn parse(
    text: &str,
    folder: &Path,
    services: Option<&Services>,
    more: &BTreeMap<String, String>,
) -> Config {
    let postgres = services.map(Services::serving_url);
    let environment = move |name: &str| match name {
        "WEBHOOK" => Some(WEBHOOK_SECRET.to_owned()),
        "GATEWAY" => Some(
            more.get(name)
                .cloned()
                .unwrap_or_else(|| GATEWAY_SECRET.to_owned()),
        ),
        "KEY" => Some("5a".repeat(32)),
        "POSTGRES" => postgres.clone(),
        other => more.get(other).cloned(),
    };
    Config::parse(text, folder, &environment).unwrap()
}

/// A freeze window that is open now and closes in two to three days, whatever the time zone.
pub fn frozen_today() -> String {
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    let days: Vec<String> = (-1..=2)
        .map(|days| {
            let day = today.checked_add(jiff::Span::new().days(days)).unwrap();
            format!("\"{}\"", day.strftime("%a").to_string().to_lowercase())
        })
        .collect();
    format!("freeze = [{{ days = [{}] }}]", days.join(", "))
}

pub fn sign(body: &[u8]) -> String {
    let mut mac: Hmac<Sha256> = Hmac::new_from_slice(WEBHOOK_SECRET.as_bytes()).unwrap();
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

pub fn push_body(before: Option<&str>, after: &str, branch: &str) -> String {
    let zero = "0".repeat(40);
    let commit = json!({
        "id": after, "message": format!("Commit {}", &after[..7]), "timestamp": "2026-11-23T12:00:00Z",
        "author": {"name": "Ada Example", "email": "ada@example.org", "username": "ada"},
        "added": [], "removed": [], "modified": [],
    });
    json!({
        "ref": format!("refs/heads/{branch}"), "before": before.unwrap_or(&zero), "after": after,
        "created": before.is_none(), "deleted": false, "forced": false,
        "commits": [commit], "head_commit": commit,
        "pusher": {"name": "ada", "email": "ada@example.org"},
        "repository": {"id": 1, "name": "shop", "full_name": FULL_NAME, "default_branch": "main"},
    })
    .to_string()
}

/// A classic definition with a secret in it.
pub fn classic(id: &str, path: &str, target: &str) -> String {
    json!({
        "api_id": id, "name": id, "active": true, "use_keyless": true,
        "proxy": {"listen_path": path, "target_url": target, "strip_listen_path": true},
        "upstream_auth": {"enabled": true, "basic_auth": {"enabled": true, "username": "u", "password": PLANTED}},
        "version_data": {"not_versioned": true, "versions": {"Default": {"name": "Default", "use_extended_paths": true}}},
    })
    .to_string()
}

pub fn oas(id: &str, path: &str, target: &str) -> String {
    json!({
        "openapi": "3.0.3", "info": {"title": id, "version": "1"}, "paths": {},
        "x-tyk-api-gateway": {
            "info": {"id": id, "name": id, "state": {"active": true}},
            "upstream": {"url": target},
            "server": {"listenPath": {"value": path, "strip": true}},
        },
    })
    .to_string()
}

pub fn policy(id: &str, api: &str, rate: i64) -> String {
    json!({
        "id": id, "name": id, "active": true, "rate": rate, "per": 60,
        "access_rights": {api: {"api_id": api, "api_name": api, "versions": ["Default"]}},
    })
    .to_string()
}

pub fn upstream(definition: &Value) -> &str {
    definition["proxy"]["target_url"].as_str().unwrap()
}
