//! Queries of the history: the first page of each, on a database that holds years of it.
//!
//! `LOCKSTEP_BENCH_EVENTS` says how many events (100,000 when it does not); with
//! `LOCKSTEP_TEST_POSTGRES` the same is done in a database of that server, which is dropped
//! afterwards. `LOCKSTEP_BENCH_DATABASES` names one of `sqlite` and `postgres` to leave the other
//! out. With `LOCKSTEP_BENCH_KEEP` naming a folder nothing is dropped, and what is there is measured
//! again without being filled. Every event is sealed as a real one is, and follows the one before
//! it; only the way into the tables is a bulk one.
//!
//! With `LOCKSTEP_BENCH_COMMANDS=1` the commands that go over the whole history are run too, as
//! processes of their own whose largest memory is shown.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use lockstep::{
    app::App,
    config::Config,
    domain::{
        audit::event::{Actor, BEFORE_THE_FIRST, EventType, NewEvent, Person, seal},
        canonical::Digest,
        object::{Kind, ObjectKey},
        revision::Revision,
        run::{Outcome, RunId, RunStatus},
    },
    store::{FILE, Filter, Paging, PgOptions, Store},
    sync::{checkpoint, history},
};
use serde_json::{Value, json};
use sqlx::{
    AssertSqlSafe, Connection as _, PgConnection, QueryBuilder, SqliteConnection,
    postgres::PgPoolCopyExt as _,
};

use super::median;

const TARGETS: i64 = 20;
const STACKS: i64 = 40;
const OBJECTS: i64 = 500;
const PEOPLE: i64 = 200;
/// Changes of one run.
const CHANGES: i64 = 6;
/// Events of one part of the history in Postgres.
const PART: i64 = 1 << 20;
/// 2024-01-01.
const START: i64 = 1_704_067_200_000_000;
/// Between two runs.
const STEP: i64 = 90_000_000;
/// Runs that are made at once.
const BATCH: i64 = 1_000;
/// How often each query is asked.
const TIMES: usize = 15;

#[derive(Clone)]
enum Cell {
    Text(String),
    Number(i64),
    Bytes([u8; 32]),
    Null,
}

struct Table {
    name: &'static str,
    columns: &'static str,
    rows: Vec<Vec<Cell>>,
}

fn tables() -> Vec<Table> {
    let table = |name, columns| Table {
        name,
        columns,
        rows: Vec::new(),
    };
    vec![
        table(
            "delivery",
            "id, webhook, event, repository, git_ref, revision_before, revision_after, commits, \
             forced, pusher, body_sha256, received_at, recorded_at",
        ),
        table("delivery_stack", "delivery, stack, generation, received_at"),
        table("delivery_commit", "revision, delivery"),
        table(
            "run",
            "id, stack, target, trigger, status, revision, previous, claimed, attempt, \
             started_at, finished_at, plan_hash, plan, commits, pusher, worker, fence, version, \
             gateway_version, message, changes, node",
        ),
        table("run_delivery", "run, delivery"),
        table(
            "change",
            "run, position, object, action, reason, body_before, body_after, fields, outcome, \
             message, stack, target, at",
        ),
        table("audit_event", "sequence, header, payload, previous, hash"),
        table(
            "audit_person",
            "commitment, sequence, position, salt, value",
        ),
        table("audit_object", "object, sequence"),
        table(
            "approval",
            "id, stack, plan_hash, run, choice, person, actor, reason, at, expires_at, used_by, \
             voided_at",
        ),
    ]
}

/// Makes runs in their order, each event after the one before it.
struct Maker {
    next: i64,
    previous: Digest,
    run: i64,
}

/// Of run number so-and-so.
struct Made {
    id: RunId,
    stack: String,
    target: String,
    revision: String,
    at: i64,
}

fn made(run: i64) -> Made {
    // A third of everything is the first stack's.
    let stack = if run % 3 == 0 { 0 } else { run % STACKS };
    Made {
        id: RunId(format!("{run:08x}-0000-7000-8000-{run:012x}")),
        stack: format!("stack-{stack}"),
        target: format!("target-{}", stack % TARGETS),
        revision: Digest::of(&run.to_le_bytes()).to_string()[..40].to_owned(),
        at: START + run * STEP,
    }
}

fn object(run: i64, position: i64) -> ObjectKey {
    ObjectKey::new(
        Kind::OasApi,
        format!("api-{}", (run * 7 + position * 83) % OBJECTS),
    )
}

fn person(run: i64) -> Person {
    let number = run * 31 % PEOPLE;
    Person {
        name: Some(format!("Person {number}")),
        login: Some(format!("person-{number}")),
        email: Some(format!("person-{number}@example.org")),
        ..Person::default()
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "what is made for a row ends in it"
)]
fn text(value: impl ToString) -> Cell {
    Cell::Text(value.to_string())
}

impl Maker {
    fn event(&mut self, tables: &mut [Table], event: &NewEvent) {
        let sealed = seal(event, self.next, self.previous, || {
            let mut salt = [0; 32];
            salt[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
            salt[16..].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
            salt
        });
        self.next += 1;
        self.previous = sealed.hash;
        tables[6].rows.push(vec![
            Cell::Number(sealed.sequence),
            Cell::Text(sealed.header),
            Cell::Text(sealed.payload),
            text(sealed.previous),
            text(sealed.hash),
        ]);
        for (position, opening) in (0..).zip(sealed.people) {
            tables[7].rows.push(vec![
                text(opening.commitment),
                Cell::Number(sealed.sequence),
                Cell::Number(position),
                Cell::Bytes(opening.salt),
                Cell::Text(opening.value),
            ]);
        }
        if let Some(objects) = event.payload.get("objects").and_then(Value::as_array) {
            for object in objects.iter().filter_map(Value::as_str) {
                let row = vec![text(object), Cell::Number(sealed.sequence)];
                tables[8].rows.push(row);
            }
        }
    }

    #[expect(clippy::too_many_lines, reason = "the rows of one run, table by table")]
    fn one(&mut self, tables: &mut [Table]) {
        let run = self.run;
        self.run += 1;
        let made = made(run);
        let pusher = person(run);
        let pusher_text = serde_json::to_string(&pusher).unwrap();
        let delivery = format!("acme/7/{run:012x}");
        let message = format!("Raise the limit of api-{run} (#{run})");
        let commits = json!([{"id": made.revision, "message": message, "author": pusher}]);
        let failed = run % 97 == 0;
        let status = if failed { "failed" } else { "succeeded" };
        let digest = |what: &str| Digest::of(format!("{what}{}", run % 1_000).as_bytes());
        tables[0].rows.push(vec![
            text(&delivery),
            text("acme"),
            text("push"),
            text(format!("repository-{}", run % 10)),
            text("refs/heads/main"),
            Cell::Null,
            text(&made.revision),
            text(&commits),
            Cell::Number(0),
            text(&pusher_text),
            text(digest("body")),
            Cell::Number(made.at),
            Cell::Number(made.at + 1_000),
        ]);
        tables[1].rows.push(vec![
            text(&delivery),
            text(&made.stack),
            Cell::Number(run),
            Cell::Number(made.at),
        ]);
        tables[2]
            .rows
            .push(vec![text(&made.revision), text(&delivery)]);
        tables[3].rows.push(vec![
            text(&made.id),
            text(&made.stack),
            text(&made.target),
            text("push"),
            text(status),
            text(&made.revision),
            Cell::Null,
            Cell::Number(run),
            Cell::Number(0),
            Cell::Number(made.at),
            Cell::Number(made.at + 3_000_000),
            text(digest("plan")),
            Cell::Null,
            text(&commits),
            text(&pusher_text),
            text(format!("worker-{}", run % 8)),
            Cell::Number(run),
            text("0.1.0"),
            text("v5.8.0"),
            Cell::Null,
            Cell::Number(CHANGES),
            text(""),
        ]);
        tables[4].rows.push(vec![text(&made.id), text(&delivery)]);
        let worker = Actor::new("worker", format!("worker-{}", run % 8));
        let event = |event_type, payload, people: &[&str]| NewEvent {
            target: Some(made.target.clone()),
            stack: Some(made.stack.clone()),
            run: Some(made.id.clone()),
            people: people
                .iter()
                .map(|part| ((*part).to_owned(), pusher.clone()))
                .collect(),
            ..NewEvent::new(event_type, made.at, worker.clone(), payload)
        };
        let source = json!({"revision": made.revision, "repository": "shop", "branch": "main"});
        let accepted = NewEvent {
            run: None,
            actor: Actor::new("webhook", "acme"),
            ..event(
                EventType::DeliveryAccepted,
                json!({"delivery": delivery, "after": made.revision, "ref": "refs/heads/main"}),
                &["pusher"],
            )
        };
        self.event(tables, &accepted);
        let intended = json!({"trigger": "push", "source": source, "plan": digest("plan")});
        self.event(
            tables,
            &event(EventType::RunIntended, intended, &["pusher", "author"]),
        );
        for position in 0..CHANGES {
            let object = object(run, position);
            let outcome = if failed { "failed" } else { "applied" };
            tables[5].rows.push(vec![
                text(&made.id),
                Cell::Number(position),
                text(&object),
                text("update"),
                text("differs from Git"),
                text(digest("before")),
                text(digest("after")),
                text(json!([{"pointer": "/x-tyk-api-gateway/upstream/url", "before": "http://a", "after": format!("http://b/{run}")}])),
                text(outcome),
                Cell::Null,
                text(&made.stack),
                text(&made.target),
                Cell::Number(made.at),
            ]);
            let event_type = if failed {
                EventType::ChangeFailed
            } else {
                EventType::ChangeApplied
            };
            let payload = json!({"action": "update", "before": digest("before"), "after": digest("after"), "outcome": outcome, "reason": "differs from Git"});
            let applied = NewEvent {
                object: Some(object),
                ..event(event_type, payload, &[])
            };
            self.event(tables, &applied);
        }
        let finished = json!({"status": status, "trigger": "push", "source": source});
        self.event(
            tables,
            &event(EventType::RunFinished, finished, &["pusher", "author"]),
        );
        if run % 50 == 0 {
            let seen = object(run, 1);
            let payload = json!({"objects": [seen], "changes": [{"object": seen, "what": "changed", "fields": []}]});
            let drift = NewEvent {
                run: None,
                ..event(EventType::DriftObserved, payload, &[])
            };
            self.event(tables, &drift);
        }
        if run % 100 == 0 {
            tables[9].rows.push(vec![
                text(format!("approval-{run:012x}")),
                text(&made.stack),
                text(digest("plan")),
                text(&made.id),
                text("approve"),
                text(format!("person-{}", run % PEOPLE)),
                Cell::Null,
                text("it is meant"),
                Cell::Number(made.at),
                Cell::Number(made.at + STEP),
                text(&made.id),
                Cell::Null,
            ]);
        }
    }
}

/// What every target has now.
fn inventory() -> Table {
    let mut table = Table {
        name: "inventory",
        columns: "target, node, object, stack, desired, observed, listed, gateway_version, run, \
                  path, since, observed_at",
        rows: Vec::new(),
    };
    for target in 0..TARGETS {
        for number in 0..OBJECTS {
            let digest = Digest::of(&number.to_le_bytes());
            table.rows.push(vec![
                text(format!("target-{target}")),
                text(""),
                text(format!("oas/api-{number}")),
                text(format!("stack-{target}")),
                text(digest),
                text(digest),
                Cell::Null,
                text("v5.8.0"),
                text(made(number).id),
                text(format!("apis/api-{number}.yaml")),
                Cell::Number(START),
                Cell::Number(START),
            ]);
        }
    }
    table
}

pub async fn run() {
    let events: i64 = std::env::var("LOCKSTEP_BENCH_EVENTS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(100_000);
    let databases = std::env::var("LOCKSTEP_BENCH_DATABASES").unwrap_or_default();
    let wants = |name: &str| databases.is_empty() || databases.contains(name);
    let kept = std::env::var("LOCKSTEP_BENCH_KEEP").ok().map(PathBuf::from);
    let temporary = tempfile::tempdir().unwrap();
    let folder = kept.as_deref().unwrap_or(temporary.path());
    if wants("sqlite") {
        let folder = folder.join("sqlite");
        let data = folder.join("data");
        std::fs::create_dir_all(&data).unwrap();
        let store = Store::embedded(&data).await.unwrap();
        let file = data.join(FILE);
        let url = format!("sqlite://{}", file.display());
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        // What is lost with the machine is made again.
        for pragma in ["pragma synchronous = off", "pragma cache_size = -500000"] {
            sqlx::raw_sql(pragma)
                .execute(&mut connection)
                .await
                .unwrap();
        }
        if store.head().await.unwrap().size < events {
            let start = Instant::now();
            let runs = fill_sqlite(&mut connection, events).await;
            let size = std::fs::metadata(&file).unwrap().len();
            filled("SQLite", events, runs, start, size);
        }
        connection.close().await.unwrap();
        store.close().await;
        let place = Place::new(&folder, "dir = \"data\"", Vec::new());
        measure("SQLite", &place).await;
    }
    if wants("postgres")
        && let Ok(server) = std::env::var("LOCKSTEP_TEST_POSTGRES")
    {
        let name = match &kept {
            Some(_) => "lockstep_bench_kept".to_owned(),
            None => format!("lockstep_bench_{}", std::process::id()),
        };
        let mut admin = PgConnection::connect(&server).await.unwrap();
        let is_there: bool =
            sqlx::query_scalar("select exists (select 1 from pg_database where datname = $1)")
                .bind(&name)
                .fetch_one(&mut admin)
                .await
                .unwrap();
        if !is_there {
            let create = AssertSqlSafe(format!("create database {name}"));
            sqlx::query(create).execute(&mut admin).await.unwrap();
        }
        let (base, _) = server.rsplit_once('/').unwrap();
        let url = format!("{base}/{name}");
        let store = Store::postgres(&url.clone().into(), &PgOptions::default())
            .await
            .unwrap();
        if store.head().await.unwrap().size < events {
            let pool = sqlx::PgPool::connect(&url).await.unwrap();
            let start = Instant::now();
            let runs = fill_postgres(&pool, events).await;
            let size: i64 = sqlx::query_scalar("select pg_database_size(current_database())")
                .fetch_one(&pool)
                .await
                .unwrap();
            filled("Postgres", events, runs, start, size.unsigned_abs());
            pool.close().await;
        }
        store.close().await;
        // Nothing here sends a message, so nobody is there.
        let storage = "postgres = { env = \"POSTGRES\" }\nnats = \"nats://127.0.0.1:1\"\n\
                       secret_key = { env = \"KEY\" }";
        let environment = vec![("POSTGRES", url), ("KEY", "5a".repeat(32))];
        let place = Place::new(&folder.join("postgres"), storage, environment);
        measure("Postgres", &place).await;
        if kept.is_none() {
            let drop = AssertSqlSafe(format!("drop database {name} with (force)"));
            sqlx::query(drop).execute(&mut admin).await.unwrap();
        }
    }
}

/// A configuration over a database that is filled.
struct Place {
    folder: PathBuf,
    environment: Vec<(&'static str, String)>,
}

impl Place {
    fn new(folder: &Path, storage: &str, environment: Vec<(&'static str, String)>) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let place = Self {
            folder: folder.to_owned(),
            environment,
        };
        let config = folder.join("lockstep.toml");
        if !config.exists() {
            let made = place
                .command(&["audit", "keygen", "--name", "bench", "--out", "audit.key"])
                .status();
            assert!(made.unwrap().success());
            let text = format!(
                "[storage]\n{storage}\n[audit]\nsigning_key = {{ file = \"audit.key\" }}\n\
                 [repository.shop]\nurl = \"./shop\"\n\
                 [target.target-7]\nkind = \"gateway\"\nnodes = [\"http://127.0.0.1:1\"]\n\
                 secret = {{ env = \"KEY\" }}\n\
                 [stack.stack-7]\nrepository = \"shop\"\npath = \"apis\"\ntarget = \"target-7\"\n"
            );
            std::fs::write(config, text).unwrap();
        }
        place
    }

    async fn open(&self) -> App {
        let text = std::fs::read_to_string(self.folder.join("lockstep.toml")).unwrap();
        let environment = |name: &str| {
            let found = self.environment.iter().find(|(known, _)| *known == name);
            Some(found.map_or_else(|| "bench".to_owned(), |(_, value)| value.clone()))
        };
        let config = Config::parse(&text, &self.folder, &environment).unwrap();
        App::open(&config).await.unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep"));
        command
            .args(arguments)
            .current_dir(&self.folder)
            .env("KEY", "bench")
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    /// Runs a command to its end, and prints how long it took and its largest memory.
    async fn time(&self, database: &str, arguments: &[&str], events: i64) {
        let start = Instant::now();
        let mut child = self.command(arguments).spawn().unwrap();
        let status = format!("/proc/{}/status", child.id());
        let mut peak = String::new();
        let ended = loop {
            if let Some(ended) = child.try_wait().unwrap() {
                break ended;
            }
            let text = std::fs::read_to_string(&status).unwrap_or_default();
            if let Some(line) = text.lines().find(|line| line.starts_with("VmHWM:")) {
                line.trim_start_matches("VmHWM:")
                    .trim()
                    .clone_into(&mut peak);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let seconds = start.elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53 events")]
        let rate = events as f64 / seconds;
        println!(
            "{database}: lockstep {}: {seconds:.1} s, {rate:.0} events/s, at most {peak}; {ended}",
            arguments.join(" ")
        );
    }
}

fn filled(name: &str, events: i64, runs: i64, start: Instant, size: u64) {
    println!(
        "{name}: {events} events of {runs} runs in {:.0} s, {} MB",
        start.elapsed().as_secs_f64(),
        size / 1_000_000
    );
}

/// Makes batches until there are so many events, and hands each to `write`, while the next is made.
async fn make(events: i64, mut write: impl AsyncFnMut(&[Table])) -> Maker {
    let (made, mut batches) = tokio::sync::mpsc::channel(1);
    let making = tokio::task::spawn_blocking(move || {
        let mut maker = Maker {
            next: 0,
            previous: BEFORE_THE_FIRST,
            run: 0,
        };
        while maker.next < events {
            let mut tables = tables();
            for _ in 0..BATCH {
                maker.one(&mut tables);
            }
            made.blocking_send(tables).unwrap();
        }
        maker
    });
    write(&[inventory()]).await;
    while let Some(tables) = batches.recv().await {
        write(&tables).await;
    }
    making.await.unwrap()
}

async fn fill_sqlite(connection: &mut SqliteConnection, events: i64) -> i64 {
    let maker = make(events, async |tables: &[Table]| {
        let mut tx = connection.begin().await.unwrap();
        for table in tables {
            let columns = table.columns.split(',').count();
            for chunk in table.rows.chunks(30_000 / columns) {
                let mut insert = QueryBuilder::<sqlx::Sqlite>::new(format!(
                    "insert into {} ({}) ",
                    table.name, table.columns
                ));
                insert.push_values(chunk, |mut row, cells| {
                    for cell in cells {
                        match cell {
                            Cell::Text(text) => row.push_bind(text.clone()),
                            Cell::Number(number) => row.push_bind(*number),
                            Cell::Bytes(bytes) => row.push_bind(bytes.to_vec()),
                            Cell::Null => row.push("null"),
                        };
                    }
                });
                insert
                    .build()
                    .persistent(false)
                    .execute(&mut *tx)
                    .await
                    .unwrap();
            }
        }
        tx.commit().await.unwrap();
    })
    .await;
    sqlx::query("update audit_head set size = $1, hash = $2 where id = 1")
        .bind(maker.next)
        .bind(maker.previous.to_string())
        .execute(connection)
        .await
        .unwrap();
    maker.run
}

async fn fill_postgres(pool: &sqlx::PgPool, events: i64) -> i64 {
    // Indexes are made at the end, as they are in the migrations; references hold by construction.
    let indexes: Vec<(String, String)> = sqlx::query_as(
        "select indexname::text, indexdef from pg_indexes where schemaname = 'public' \
         and indexdef not like 'CREATE UNIQUE%' and tablename not like 'audit\\_event\\__'",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    for (name, _) in &indexes {
        let drop = AssertSqlSafe(format!("drop index {name}"));
        sqlx::query(drop).execute(pool).await.unwrap();
    }
    for table in tables() {
        let alter = AssertSqlSafe(format!("alter table {} disable trigger all", table.name));
        sqlx::query(alter).execute(pool).await.unwrap();
    }
    sqlx::query("alter table audit_head disable trigger user")
        .execute(pool)
        .await
        .unwrap();
    for part in 0..=events / PART {
        // Parts are made one after the other, as the history grows into them.
        sqlx::query("update audit_head set size = $1")
            .bind(part * PART)
            .execute(pool)
            .await
            .unwrap();
        sqlx::query("select audit_event_room($1)")
            .bind((part + 1) * PART)
            .execute(pool)
            .await
            .unwrap();
    }
    let maker = make(events, async |tables: &[Table]| {
        for table in tables {
            let copy = format!("copy {} ({}) from stdin", table.name, table.columns);
            let mut copy = pool.copy_in_raw(&copy).await.unwrap();
            copy.send(copied(&table.rows).into_bytes()).await.unwrap();
            copy.finish().await.unwrap();
        }
    })
    .await;
    sqlx::query("update audit_head set size = $1, hash = $2 where id = 1")
        .bind(maker.next)
        .bind(maker.previous.to_string())
        .execute(pool)
        .await
        .unwrap();
    sqlx::query("alter table audit_head enable trigger user")
        .execute(pool)
        .await
        .unwrap();
    let mut connection = pool.acquire().await.unwrap();
    sqlx::query("set maintenance_work_mem = '1GB'")
        .execute(&mut *connection)
        .await
        .unwrap();
    for (_, definition) in indexes {
        // Of the history, on every part of it.
        let definition = definition.replacen(" ON ONLY ", " ON ", 1);
        sqlx::query(AssertSqlSafe(definition))
            .execute(&mut *connection)
            .await
            .unwrap();
    }
    for table in tables() {
        let alter = AssertSqlSafe(format!("alter table {} enable trigger all", table.name));
        sqlx::query(alter).execute(&mut *connection).await.unwrap();
    }
    sqlx::query("vacuum analyze")
        .execute(&mut *connection)
        .await
        .unwrap();
    maker.run
}

/// Rows as Postgres copies them.
fn copied(rows: &[Vec<Cell>]) -> String {
    let mut out = String::new();
    for row in rows {
        for (index, cell) in row.iter().enumerate() {
            if index > 0 {
                out.push('\t');
            }
            match cell {
                Cell::Text(text) => {
                    for letter in text.chars() {
                        match letter {
                            '\\' => out.push_str("\\\\"),
                            '\t' => out.push_str("\\t"),
                            '\n' => out.push_str("\\n"),
                            '\r' => out.push_str("\\r"),
                            other => out.push(other),
                        }
                    }
                }
                Cell::Number(number) => out.push_str(&number.to_string()),
                Cell::Bytes(bytes) => {
                    out.push_str("\\\\x");
                    out.push_str(&hex::encode(bytes));
                }
                Cell::Null => out.push_str("\\N"),
            }
        }
        out.push('\n');
    }
    out
}

/// Asks one question so often, and prints the median.
macro_rules! ask {
    ($database:expr, $worst:ident, $name:expr, $question:expr) => {{
        let mut times = Vec::new();
        let mut found = 0_usize;
        for _ in 0..TIMES {
            let start = Instant::now();
            found = $question;
            times.push(start.elapsed().as_secs_f64() * 1_000.0);
        }
        let median = median(&times);
        if median > $worst.0 {
            $worst = (median, $name.to_string());
        }
        let slowest = times.iter().copied().fold(0.0, f64::max);
        println!(
            "{:9} {:34} {median:8.1} ms (slowest {slowest:.1}), {found} items",
            $database, $name
        );
    }};
}

#[expect(clippy::too_many_lines, reason = "a list of questions")]
async fn measure(database: &str, place: &Place) {
    let app = place.open().await;
    let store = &app.store;
    let page = Paging::of(50);
    let newest = store.runs_page(&Filter::default(), &Paging::of(1)).await;
    let newest = newest.unwrap().items[0].started_at;
    let runs = (newest - START) / STEP + 1;
    let somewhere = made(runs / 2 + 1);
    let commit: Revision = somewhere.revision.parse().unwrap();
    let everything = Filter::default();
    let one = |change: fn(&mut Filter)| {
        let mut filter = Filter::default();
        change(&mut filter);
        filter
    };
    let month = Filter {
        since: Some(somewhere.at - 86_400_000_000 * 30),
        until: Some(somewhere.at),
        ..Filter::default()
    };
    let filters = [
        ("newest", everything.clone()),
        (
            "a large stack",
            one(|it| it.stack = Some("stack-0".to_owned())),
        ),
        (
            "a small stack",
            one(|it| it.stack = Some("stack-7".to_owned())),
        ),
        (
            "a target",
            one(|it| it.target = Some("target-7".to_owned())),
        ),
        (
            "a person",
            one(|it| it.person = Some("Person-7".to_owned())),
        ),
        ("nobody", one(|it| it.person = Some("nobody".to_owned()))),
        (
            "an object",
            one(|it| it.object = Some(ObjectKey::new(Kind::OasApi, "api-7"))),
        ),
        (
            "an object of a target",
            Filter {
                target: Some("target-7".to_owned()),
                ..one(|it| it.object = Some(ObjectKey::new(Kind::OasApi, "api-7")))
            },
        ),
        (
            "a commit",
            Filter {
                commit: Some(commit.clone()),
                ..Filter::default()
            },
        ),
        (
            "a run",
            Filter {
                run: Some(somewhere.id.clone()),
                ..Filter::default()
            },
        ),
        ("a month", month.clone()),
        (
            "a month of a target",
            Filter {
                target: Some("target-7".to_owned()),
                ..month.clone()
            },
        ),
        ("words", one(|it| it.text = Some("git".to_owned()))),
        (
            "words that are nowhere",
            one(|it| it.text = Some("nowhere at all".to_owned())),
        ),
        (
            "words that are nowhere in a stack",
            Filter {
                stack: Some("stack-7".to_owned()),
                ..one(|it| it.text = Some("nowhere at all".to_owned()))
            },
        ),
    ];
    let mut worst = (0.0, String::new());
    for (name, filter) in &filters {
        ask!(
            database,
            worst,
            format!("runs: {name}"),
            store.runs_page(filter, &page).await.unwrap().items.len()
        );
        ask!(
            database,
            worst,
            format!("changes: {name}"),
            store.changes_page(filter, &page).await.unwrap().items.len()
        );
        ask!(
            database,
            worst,
            format!("events: {name}"),
            store.events_page(filter, &page).await.unwrap().items.len()
        );
        ask!(
            database,
            worst,
            format!("deliveries: {name}"),
            store
                .deliveries_page(filter, &page)
                .await
                .unwrap()
                .items
                .len()
        );
        ask!(
            database,
            worst,
            format!("approvals: {name}"),
            store
                .approvals_page(filter, &page)
                .await
                .unwrap()
                .items
                .len()
        );
        ask!(
            database,
            worst,
            format!("objects: {name}"),
            store.objects_page(filter, &page).await.unwrap().items.len()
        );
    }
    let failed = Filter {
        status: Some(RunStatus::Failed),
        ..Filter::default()
    };
    ask!(
        database,
        worst,
        "runs: failed",
        store.runs_page(&failed, &page).await.unwrap().items.len()
    );
    let failed = Filter {
        outcome: Some(Outcome::Failed),
        ..Filter::default()
    };
    ask!(
        database,
        worst,
        "changes: failed",
        store
            .changes_page(&failed, &page)
            .await
            .unwrap()
            .items
            .len()
    );
    for event_type in [
        EventType::DriftObserved,
        EventType::ChangeApplied,
        EventType::TokenCreated,
    ] {
        let filter = Filter {
            types: vec![event_type],
            ..Filter::default()
        };
        ask!(
            database,
            worst,
            format!("events: {event_type}"),
            store.events_page(&filter, &page).await.unwrap().items.len()
        );
    }
    let worker = one(|it| it.actor = Some("worker-3".to_owned()));
    ask!(
        database,
        worst,
        "events: an actor",
        store.events_page(&worker, &page).await.unwrap().items.len()
    );
    let path = one(|it| it.path = Some("apis/api-7.yaml".to_owned()));
    ask!(
        database,
        worst,
        "objects: a file",
        store.objects_page(&path, &page).await.unwrap().items.len()
    );
    let object = ObjectKey::new(Kind::OasApi, "api-7");
    ask!(
        database,
        worst,
        "the life of an object, 50",
        history::life(store, "target-7", &object, None, 50)
            .await
            .unwrap()
            .0
            .len()
    );
    ask!(
        database,
        worst,
        "a trace of an object",
        history::trace_object(store, &object).await.unwrap().len()
    );
    ask!(
        database,
        worst,
        "a trace of a commit",
        history::trace_commit(store, commit.clone())
            .await
            .unwrap()
            .changes
            .len()
    );
    ask!(
        database,
        worst,
        "one object as of the middle",
        history::as_of(store, "target-7", somewhere.at, Some(&object))
            .await
            .unwrap()
            .objects
            .len()
    );
    ask!(
        database,
        worst,
        "runs by an end of their id",
        store
            .commits_like(&somewhere.revision[..8])
            .await
            .unwrap()
            .len()
    );
    let quarter = Filter {
        since: Some(somewhere.at - 86_400_000_000 * 90),
        until: Some(somewhere.at),
        ..Filter::default()
    };
    // A report goes over the time once a standing, so the first page of each of its lists counts.
    ask!(database, worst, "report: what was done beside Git", {
        let mut rows = 0;
        for event_type in history::OUT_OF_BAND {
            let filter = Filter {
                types: vec![*event_type],
                ..quarter.clone()
            };
            let events = store.events_page(&filter, &page).await.unwrap();
            let of_events = events.items.iter().flat_map(history::out_of_band);
            rows += of_events.count();
        }
        rows
    });
    ask!(database, worst, "report: what was done through Git", {
        let changes = store.changes_page(&quarter, &page).await.unwrap();
        history::rows(&app, changes.items).await.unwrap().len()
    });
    println!(
        "{database}: the slowest first page, by its median: {} in {:.1} ms",
        worst.1, worst.0
    );
    let start = Instant::now();
    let whole = history::as_of(store, "target-7", somewhere.at, None)
        .await
        .unwrap();
    println!(
        "{database}: a whole target as of the middle: {} objects in {:.0} ms",
        whole.objects.len(),
        start.elapsed().as_secs_f64() * 1_000.0
    );
    if std::env::var("LOCKSTEP_BENCH_COMMANDS").is_ok() {
        checkpoint::sign(&app).await.unwrap();
        let events = store.head().await.unwrap().size;
        store.close().await;
        let out = place.folder.join("export.tar");
        let file = out.to_str().unwrap();
        for arguments in [
            &["audit", "verify"] as &[&str],
            &["audit", "export", "--out", file],
            &["report", "changes", "--quarter", "2024Q1", "--csv"],
            &["history", "runs", "--text", "nowhere at all"],
            &["history", "changes", "--target", "target-7"],
        ] {
            place.time(database, arguments, events).await;
        }
        let _ = std::fs::remove_file(out);
    }
}
