//! Two roles in Postgres: one owns the tables, the other serves and cannot harm the history. Every
//! scenario of the scaled-out mode runs like that; here is what each of the two may not do.

use std::collections::BTreeSet;

use lockstep::{
    app::{App, migrate},
    config::{Config, OwnerConfig, Storage, Tables},
    domain::{
        audit::event::{Actor, BEFORE_THE_FIRST, Event, EventType, NewEvent, seal},
        canonical::Digest,
    },
    store::{self, POSTGRES_MIGRATIONS, PgOptions, RIGHTS, Store},
};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};

use crate::support::{
    app::{Mode, Services, TestApp, classic, services},
    process::{Server, lockstep},
};

crate::in_both_modes! {
    migrating_takes_the_tables_alone_and_again_changes_nothing,
}

/// What nobody who serves may change any more.
const APPEND_ONLY: [&str; 7] = [
    "audit_event",
    "audit_leaf",
    "audit_person",
    "audit_node",
    "audit_checkpoint",
    "audit_object",
    "body",
];

async fn migrating_takes_the_tables_alone_and_again_changes_nothing(mode: Mode) {
    let app = TestApp::start(mode).await;
    let told = async || {
        let told = EventType::MigrationsApplied.as_str();
        let types = app.event_types().await;
        types.iter().filter(|each| *each == told).count()
    };
    assert_eq!(told().await, 1);
    // Without the secrets of webhooks, gateways and the installation.
    let environment: Vec<_> = app
        .for_a_process()
        .into_iter()
        .filter(|(name, _)| matches!(name.as_str(), "POSTGRES" | "OWNER"))
        .collect();
    let arguments = ["--output", "json", "migrate"];
    let (code, out, err) = lockstep(app.folder.path(), &environment, &arguments);
    assert_eq!(code, 0, "{out}{err}");
    let said: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(said["applied"], serde_json::json!([]));
    assert_eq!(said["has_owner"], mode == Mode::ScaledOut);
    let (code, out, err) = lockstep(app.folder.path(), &environment, &["migrate"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.starts_with("the tables were up to date"), "{out}");
    assert_eq!(told().await, 1);
    app.finish().await;
}

async fn serving(services: &Services) -> PgConnection {
    PgConnection::connect(&services.serving_url())
        .await
        .unwrap()
}

/// The database refuses it for lack of a right, and for nothing else.
async fn is_refused(connection: &mut PgConnection, sql: &str) {
    let refused = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(connection)
        .await;
    let error = refused.expect_err(sql);
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    assert_eq!(code.as_deref(), Some("42501"), "{sql}: {error}");
}

#[tokio::test]
#[ignore = "needs Postgres and NATS; tests/run has it"]
async fn the_role_that_serves_can_do_its_work_and_not_harm_the_history() {
    let app = TestApp::start(Mode::ScaledOut).await;
    let api = classic("orders", "/orders/", "http://orders");
    app.repo.write("orders.json", api);
    app.push_well("first").await;
    let environment: Vec<_> = app
        .for_a_process()
        .into_iter()
        .filter(|(name, _)| name != "OWNER")
        .collect();
    let (code, out, err) = lockstep(app.folder.path(), &environment, &["audit", "verify"]);
    assert_eq!(code, 0, "{out}{err}");

    let services = app.services().unwrap();
    let mut connection = serving(services).await;
    for table in APPEND_ONLY {
        let column: String = sqlx::query_scalar(
            "select column_name::text from information_schema.columns \
             where table_name = $1 and is_generated = 'NEVER' order by ordinal_position limit 1",
        )
        .bind(table)
        .fetch_one(&mut connection)
        .await
        .unwrap();
        for sql in [
            format!("update {table} set {column} = {column}"),
            format!("delete from {table}"),
            format!("truncate {table} cascade"),
            format!("select * from {table} for update"),
            format!("do 'begin lock table {table} in access exclusive mode; end'"),
            format!("alter table {table} disable trigger all"),
            format!("alter table {table} add column other text"),
            format!("create trigger other before insert on {table} execute function refuse('no')"),
            format!("create rule other as on insert to {table} do instead nothing"),
            format!("drop table {table} cascade"),
            format!("grant update on {table} to public; update {table} set {column} = {column}"),
        ] {
            is_refused(&mut connection, &sql).await;
        }
    }
    for sql in [
        "drop trigger audit_event_no_update on audit_event",
        "drop trigger audit_head_no_delete on audit_head",
        "drop function refuse() cascade",
        "create or replace function refuse() returns trigger language plpgsql as 'begin return new; end'",
        "drop function audit_head_grows() cascade",
        "create or replace function audit_event_leaves() returns trigger language plpgsql as 'begin return old; end'",
        "insert into audit_leaf (sequence, hash) select sequence, hash from audit_event",
        "insert into audit_event_0 (sequence, header, payload, previous, hash) select 99999, header, payload, previous, hash from audit_event limit 1",
        "select * from audit_event_0",
        "alter table audit_event detach partition audit_event_0",
        "drop table audit_event_0",
        "create or replace view clock as select cast(0 as bigint) as now",
        "delete from audit_head",
        "truncate audit_head",
        "update audit_head set id = 2",
        "update run set pusher = null",
        "update delivery set commits = '[]'",
        "delete from delivery",
        "delete from run",
        "delete from approval",
        "update approval set person = 'somebody'",
        "update token set person = 'somebody'",
        "update token set hash = hash",
        "delete from migration_told",
        "update _sqlx_migrations set checksum = checksum",
        "insert into _sqlx_migrations select * from _sqlx_migrations",
        "create table audit_more (id bigint)",
        "set session_replication_role = replica",
    ] {
        is_refused(&mut connection, sql).await;
    }
    is_refused(&mut connection, &format!("set role {}", services.owner())).await;
    let (code, out, err) = lockstep(app.folder.path(), &environment, &["audit", "verify"]);
    assert_eq!(code, 0, "{out}{err}");
    connection.close().await.unwrap();
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs Postgres and NATS; tests/run has it"]
async fn every_table_of_the_database_has_its_rights_named() {
    let app = TestApp::start(Mode::ScaledOut).await;
    let mut connection = serving(app.services().unwrap()).await;
    let tables: Vec<String> = sqlx::query_scalar(
        "select relname::text from pg_class where relnamespace = 'public'::regnamespace \
         and relkind in ('r', 'p', 'v', 'S') and not relispartition",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let tables: BTreeSet<&str> = tables.iter().map(String::as_str).collect();
    let named: BTreeSet<&str> = RIGHTS.iter().map(|(table, _)| *table).collect();
    assert_eq!(tables, named);
    connection.close().await.unwrap();
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs Postgres and NATS; tests/run has it"]
async fn who_serves_changes_no_tables_and_refuses_those_of_another_version() {
    let app = TestApp::start(Mode::ScaledOut).await;
    let refused = |says: &str| {
        let (code, out, err) = lockstep(app.folder.path(), &app.for_a_process(), &["serve"]);
        assert_eq!(code, 1, "{out}{err}");
        assert!(err.contains(says), "{err}");
    };
    app.sql("delete from _sqlx_migrations where version = 36")
        .await;
    refused("run `lockstep migrate`");
    app.sql("insert into _sqlx_migrations values (9999, 'later', now(), true, '', 0)")
        .await;
    refused("written by a newer version");
    app.sql("drop table _sqlx_migrations").await;
    refused("run `lockstep migrate`");
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs Postgres and NATS; tests/run has it"]
async fn a_server_looks_up_no_owner_and_says_when_it_is_the_owner_itself() {
    let mut app = TestApp::start(Mode::ScaledOut).await;
    let file = app.folder.path().join("lockstep.toml");
    let log = || std::fs::read_to_string(file.with_extension("log")).unwrap();
    let environment = |app: &TestApp, url: String| -> Vec<_> {
        let others = app.for_a_process().into_iter();
        let others = others.filter(|(name, _)| !matches!(name.as_str(), "OWNER" | "POSTGRES"));
        others.chain([("POSTGRES".to_owned(), url)]).collect()
    };
    let url = app.services().unwrap().serving_url();
    let server = Server::start(&file, &environment(&app, url), &[]);
    assert_eq!(server.terminate(), Some(0));
    assert!(!log().contains("owns its tables"), "{}", log());

    let owner = "postgres_owner = { env = \"OWNER\" }\n";
    assert!(app.config_text.contains(owner));
    app.config_text = app.config_text.replace(owner, "");
    let url = app.services().unwrap().owner_url();
    let server = Server::start(&file, &environment(&app, url), &[]);
    assert_eq!(server.terminate(), Some(0));
    assert!(log().contains("owns its tables"), "{}", log());
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs Postgres and NATS; tests/run has it"]
async fn two_that_migrate_at_once_apply_everything_once() {
    let services = services().await;
    let tables = services.tables();
    let (one, two) = tokio::join!(Box::pin(migrate(&tables)), Box::pin(migrate(&tables)),);
    let mut applied = one.unwrap();
    applied.extend(two.unwrap());
    let applied: Vec<i64> = applied.iter().map(|migration| migration.version).collect();
    let all: Vec<i64> = POSTGRES_MIGRATIONS
        .iter()
        .map(|each| each.version)
        .collect();
    assert_eq!(applied, all);
    assert!(migrate(&tables).await.unwrap().is_empty());
    services.drop_database().await;
}

#[tokio::test]
#[ignore = "needs Postgres and NATS; tests/run has it"]
async fn one_role_becomes_two_as_the_help_says() {
    let services = services().await;
    let (owner, role) = (services.owner(), services.serving());
    let as_superuser = async |sql: String| {
        let mut connection = services.connect().await;
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut connection)
            .await
            .unwrap();
    };
    as_superuser(format!("grant create on schema public to {role}")).await;
    let one = Tables::Postgres {
        serving: services.serving_url().into(),
        owner: None,
    };
    assert!(!migrate(&one).await.unwrap().is_empty());

    let two = services.tables();
    let refused = migrate(&two).await.unwrap_err();
    let said = format!("{refused:#}");
    assert!(said.contains("reassign owned by"), "{said}");
    as_superuser(format!("reassign owned by {role} to {owner}")).await;
    assert!(migrate(&two).await.unwrap().is_empty());
    let mut connection = serving(&services).await;
    is_refused(&mut connection, "delete from audit_event").await;
    is_refused(&mut connection, "create table other (id bigint)").await;
    sqlx::query("select count(*) from audit_event")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    services.drop_database().await;
}

#[tokio::test]
#[ignore = "needs Postgres and NATS; tests/run has it"]
async fn a_role_that_could_act_as_the_owner_does_not_serve() {
    let app = TestApp::start(Mode::ScaledOut).await;
    let services = app.services().unwrap();
    let (owner, role) = (services.owner(), services.serving());
    let says = |error: anyhow::Error| format!("{error:#}");

    app.sql(&format!("grant {owner} to {role}")).await;
    let said = says(migrate(&services.tables()).await.unwrap_err());
    assert!(said.contains("may act as their owner"), "{said}");
    let said = says(App::open(&app.config()).await.err().unwrap());
    assert!(said.contains("may act as their owner"), "{said}");
    app.sql(&format!("revoke {owner} from {role}")).await;
    App::open(&app.config()).await.unwrap();

    let same = Tables::Postgres {
        serving: services.owner_url().into(),
        owner: Some(services.owner_url().into()),
    };
    let said = says(migrate(&same).await.unwrap_err());
    assert!(said.contains("both the role"), "{said}");
    let unknown = Tables::Postgres {
        serving: services.serving_url().replace(role, "nobody_here").into(),
        owner: Some(services.owner_url().into()),
    };
    let said = says(migrate(&unknown).await.unwrap_err());
    assert!(said.contains("there is no role nobody_here"), "{said}");
    app.finish().await;
}

#[test]
fn each_role_of_the_configuration_looks_up_what_it_needs() {
    let text = "[storage]\npostgres = { env = \"POSTGRES\" }\npostgres_owner = { env = \"OWNER\" }\n\
                nats = \"nats://localhost\"\nsecret_key = { env = \"KEY\" }\n";
    let folder = std::path::Path::new("/");
    let known = |names: &'static [&'static str]| {
        move |name: &str| {
            names.contains(&name).then(|| match name {
                "KEY" => "5a".repeat(32),
                role => format!("postgres://{}@localhost/lockstep", role.to_lowercase()),
            })
        }
    };
    let serves = Config::parse(text, folder, &known(&["POSTGRES", "KEY"])).unwrap();
    assert!(matches!(serves.storage, Storage::ScaledOut(scaled_out) if scaled_out.has_owner));
    let owns = OwnerConfig::parse(text, folder, &known(&["POSTGRES", "OWNER"])).unwrap();
    let Tables::Postgres {
        serving,
        owner: Some(owner),
    } = owns.tables
    else {
        panic!("it has an owner");
    };
    assert_eq!(store::role_of(&serving).unwrap(), "postgres");
    assert_eq!(store::role_of(&owner).unwrap(), "owner");
    assert!(OwnerConfig::parse(text, folder, &known(&["POSTGRES"])).is_err());
    let alone = "[storage]\npostgres_owner = { env = \"OWNER\" }\n";
    let refused = Config::parse(alone, folder, &known(&["OWNER"])).unwrap_err();
    assert!(
        refused.to_string().contains("beside postgres only"),
        "{refused}"
    );
}

/// An event that stood in the history before it had parts.
fn sealed(sequence: i64, previous: Digest) -> Event {
    let new = NewEvent::new(
        EventType::ServerStarted,
        1_700_000_000_000_000 + sequence,
        Actor::new("server", "one"),
        serde_json::json!({"config": "x", "listen": "127.0.0.1:1"}),
    );
    seal(&new, sequence, previous, || [0; 32])
}

#[tokio::test]
#[ignore = "needs Postgres and NATS; tests/run has it"]
async fn a_history_of_before_becomes_the_first_of_its_parts() {
    const PART: i64 = 1 << 20;
    for first in [0, 3 * PART - 2] {
        let services = services().await;
        let owner = PgPool::connect(&services.owner_url()).await.unwrap();
        POSTGRES_MIGRATIONS.run_to(80, &owner).await.unwrap();
        let mut previous = BEFORE_THE_FIRST;
        for sequence in first..first + 5 {
            let event = sealed(sequence, previous);
            sqlx::query(
                "insert into audit_event (sequence, header, payload, previous, hash) \
                 values ($1, $2, $3, $4, $5)",
            )
            .bind(sequence)
            .bind(&event.header)
            .bind(&event.payload)
            .bind(previous.to_string())
            .bind(event.hash.to_string())
            .execute(&owner)
            .await
            .unwrap();
            previous = event.hash;
        }
        sqlx::query("update audit_head set size = $1, hash = $2")
            .bind(first + 5)
            .bind(previous.to_string())
            .execute(&owner)
            .await
            .unwrap();
        migrate(&services.tables()).await.unwrap();

        // The part is named by the place that its end has.
        let part = (first + 5) / PART;
        let parts: Vec<(String, String)> = sqlx::query_as(
            "select relname::text, pg_get_expr(relpartbound, oid) from pg_class \
             where relispartition and relkind = 'r' order by oid",
        )
        .fetch_all(&owner)
        .await
        .unwrap();
        assert_eq!(parts.len(), 1);
        assert_eq!(parts[0].0, format!("audit_event_{part}"));
        let bound = format!("FOR VALUES FROM (MINVALUE) TO ('{}')", (part + 1) * PART);
        assert_eq!(parts[0].1, bound);
        // What later migrations will call them by.
        let indexes: i64 = sqlx::query_scalar(
            "select count(*) from pg_indexes where tablename = 'audit_event' \
             and (indexname like 'audit_event_by_%' or indexname = 'audit_event_pkey')",
        )
        .fetch_one(&owner)
        .await
        .unwrap();
        assert_eq!(indexes, 9);

        let serving =
            Store::postgres_migrated(&services.serving_url().into(), &PgOptions::default())
                .await
                .unwrap();
        let found = serving.events_from(first, 5).await.unwrap();
        assert_eq!(found.len(), 5);
        assert_eq!(found[4].hash, previous);
        let next = NewEvent::new(
            EventType::ServerStopped,
            1_800_000_000_000_000,
            Actor::new("server", "one"),
            serde_json::json!({"config": "x", "listen": "127.0.0.1:1"}),
        );
        serving.record_events(&[next]).await.unwrap();
        if first == 0 {
            serving.verify_history().await.unwrap().unwrap();
        }
        serving.close().await;
        owner.close().await;
        services.drop_database().await;
    }
}
