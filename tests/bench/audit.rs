//! The history: appending beside a plain insert of the same rows in transactions of the same size,
//! and how many events a second are verified.
//!
//! Postgres is measured where `LOCKSTEP_TEST_POSTGRES` names a server in which a database may be
//! made. `taskset -c 0` shows what one core verifies. `LOCKSTEP_BENCH_EVENTS` sets how many.

use std::{path::Path, str::FromStr as _, time::Instant};

use lockstep::{
    domain::{
        audit::event::{Actor, Event, EventType, NewEvent, Opening, Person},
        object::{Kind, ObjectKey},
        run::RunId,
    },
    store::{FILE, PgOptions, Store, Verification},
};
use secrecy::SecretString;
use serde_json::json;
use sqlx::{
    AssertSqlSafe, Connection as _, PgConnection, PgPool, QueryBuilder, SqlitePool,
    postgres::PgConnectOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{repeats, report};

/// Events of one transaction, and how many transactions are measured at once.
const SIZES: [(usize, usize); 3] = [(1, 100), (20, 50), (200, 10)];

enum Plain {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

pub async fn run() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::embedded(folder.path()).await.unwrap();
    let options = SqliteConnectOptions::new()
        .filename(folder.path().join("plain.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let pool = SqlitePoolOptions::new().max_connections(1);
    let plain = pool.connect_with(options).await.unwrap();
    for statement in sqlite(&folder.path().join(FILE)).await {
        let statement = AssertSqlSafe(statement);
        sqlx::raw_sql(statement).execute(&plain).await.unwrap();
    }
    measure("SQLite", &store, &Plain::Sqlite(plain)).await;

    let Ok(server) = std::env::var("LOCKSTEP_TEST_POSTGRES") else {
        println!("audit: no LOCKSTEP_TEST_POSTGRES, Postgres is not measured");
        return;
    };
    let name = format!("lockstep_bench_{}", std::process::id());
    let mut connection = PgConnection::connect(&server).await.unwrap();
    let create = AssertSqlSafe(format!("create database {name}"));
    sqlx::query(create).execute(&mut connection).await.unwrap();
    let mut url = url::Url::parse(&server).unwrap();
    url.set_path(&name);
    let address = SecretString::from(url.to_string());
    let store = Store::postgres(&address, &PgOptions::default())
        .await
        .unwrap();
    let plain = PgPool::connect_with(PgConnectOptions::from_str(url.as_str()).unwrap());
    let plain = plain.await.unwrap();
    for statement in POSTGRES {
        sqlx::raw_sql(*statement).execute(&plain).await.unwrap();
    }
    measure("Postgres", &store, &Plain::Postgres(plain)).await;
    store.close().await;
    let drop = AssertSqlSafe(format!("drop database {name} with (force)"));
    sqlx::query(drop).execute(&mut connection).await.unwrap();
}

const POSTGRES: &[&str] = &[
    "create table plain (like audit_event including all)",
    "create table plain_person (like audit_person including all)",
];

/// The same tables with the same indexes, and nothing that guards them.
async fn sqlite(history: &Path) -> Vec<String> {
    let history = SqlitePool::connect_with(SqliteConnectOptions::new().filename(history));
    let statements: Vec<String> = sqlx::query_scalar(
        "select replace(replace(sql, 'audit_event', 'plain'), 'audit_person', 'plain_person') \
         from sqlite_master where tbl_name in ('audit_event', 'audit_person') \
         and type in ('table', 'index') and sql is not null order by type desc, tbl_name",
    )
    .fetch_all(&history.await.unwrap())
    .await
    .unwrap();
    assert!(statements.len() > 8, "{statements:?}");
    statements
}

async fn measure(database: &str, store: &Store, plain: &Plain) {
    for (size, count) in SIZES {
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..repeats() {
            let first = store.head().await.unwrap().size;
            let places = (first..).step_by(size).take(count);
            let batches: Vec<Vec<NewEvent>> = places.map(|first| events(first, size)).collect();
            let start = Instant::now();
            for batch in &batches {
                store.record_events(batch).await.unwrap();
            }
            ours.push(start.elapsed().as_secs_f64());

            // The same rows, as they were written.
            let mut rows = Vec::new();
            let mut next = first;
            while rows.len() < size * count {
                let page = store.events_from(next, 1_000).await.unwrap();
                next = page.last().unwrap().sequence + 1;
                rows.extend(page);
            }
            let start = Instant::now();
            for batch in rows.chunks(size) {
                insert(plain, batch).await;
            }
            bare.push(start.elapsed().as_secs_f64());
        }
        let name = format!("append, {database}, {count} transactions of {size} events");
        report(&name, "s", &ours, &bare);
    }

    let wanted = std::env::var("LOCKSTEP_BENCH_EVENTS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(200_000);
    while store.head().await.unwrap().size < wanted {
        store.record_events(&events(0, 2_000)).await.unwrap();
    }
    let mut rates = Vec::new();
    for _ in 0..3 {
        let start = Instant::now();
        let mut walk = store
            .begin_walk(Verification::default())
            .await
            .unwrap()
            .unwrap();
        while !store.walk(&mut walk, 20_000).await.unwrap().unwrap() {}
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53 events")]
        rates.push(walk.next() as f64 / start.elapsed().as_secs_f64());
    }
    println!(
        "verify, {database}, {wanted} events: {:.0} events/s",
        super::median(&rates)
    );
}

fn events(from: i64, count: usize) -> Vec<NewEvent> {
    (from..)
        .take(count)
        .map(|index| NewEvent {
            target: Some("production".to_owned()),
            stack: Some("shop".to_owned()),
            object: Some(ObjectKey::new(
                Kind::ClassicApi,
                format!("api-{}", index % 500),
            )),
            run: Some(RunId(format!("0198f0c4-0000-7000-8000-{index:012}"))),
            // As often as a run has people.
            people: if index % 20 == 0 {
                let login = Some(format!("person-{}", index % 7));
                let person = Person {
                    login,
                    ..Person::default()
                };
                vec![("pusher".to_owned(), person)]
            } else {
                Vec::new()
            },
            ..NewEvent::new(
                EventType::ChangeApplied,
                1_767_225_600_000_000 + index,
                Actor::new("worker", "host-1234-abcdef"),
                json!({
                    "action": "update",
                    "before": "0f".repeat(32),
                    "after": "f0".repeat(32),
                    "fields": [{"path": "/proxy/target_url", "from": "http://a", "to": "http://b"}],
                    "revision": "ab".repeat(20),
                    "milliseconds": 12,
                }),
            )
        })
        .collect()
}

/// What one writes who wants no more than the rows.
async fn insert(plain: &Plain, events: &[Event]) {
    const EVENTS: &str = "insert into plain (sequence, header, payload, previous, hash) ";
    const PEOPLE: &str = "insert into plain_person (commitment, sequence, position, salt, value) ";
    let people: Vec<(i64, i64, &Opening)> = events
        .iter()
        .flat_map(|event| {
            let people = (0..).zip(&event.people);
            people.map(|(position, opening)| (event.sequence, position, opening))
        })
        .collect();
    macro_rules! insert {
        ($pool:expr) => {{
            let mut transaction = $pool.begin().await.unwrap();
            let mut insert = QueryBuilder::new(EVENTS);
            insert.push_values(events, |mut row, event| {
                row.push_bind(event.sequence)
                    .push_bind(&event.header)
                    .push_bind(&event.payload)
                    .push_bind(event.previous.to_string())
                    .push_bind(event.hash.to_string());
            });
            insert.build().execute(&mut *transaction).await.unwrap();
            if !people.is_empty() {
                let mut insert = QueryBuilder::new(PEOPLE);
                insert.push_values(&people, |mut row, (sequence, position, opening)| {
                    row.push_bind(opening.commitment.to_string())
                        .push_bind(*sequence)
                        .push_bind(*position)
                        .push_bind(opening.salt.to_vec())
                        .push_bind(&opening.value);
                });
                insert.build().execute(&mut *transaction).await.unwrap();
            }
            transaction.commit().await.unwrap();
        }};
    }
    match plain {
        Plain::Sqlite(pool) => insert!(pool),
        Plain::Postgres(pool) => insert!(pool),
    }
}
