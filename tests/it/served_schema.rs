//! What a gateway's own schema says of OAS documents, before they are written to it.

use lockstep::{
    domain::run::RunStatus,
    sandbox::gateway::{Gateway, GatewayOptions},
    sync::look,
};
use serde_json::{Value, json};

use crate::support::app::{GATEWAY_SECRET, Mode, TestApp, oas};

async fn on_gateway_with(schema: Option<Value>, lines: &str) -> TestApp {
    let options = GatewayOptions {
        secret: GATEWAY_SECRET.to_owned(),
        tick: std::time::Duration::from_millis(3),
        schema,
        ..GatewayOptions::default()
    };
    let gateway = Gateway::start(options).await.unwrap();
    let url = gateway.url();
    TestApp::on_gateway(Mode::Embedded, lines, &[], gateway, &url).await
}

/// As that of a version that allows one listen path alone.
fn of_another_version() -> Value {
    let listen_path = json!({"properties": {"value": {"enum": ["/only/"]}}});
    let server = json!({"properties": {"listenPath": listen_path}});
    json!({
        "$schema": "http://json-schema.org/draft-04/schema#",
        "properties": {"x-tyk-api-gateway": {"properties": {"server": server}}},
    })
}

async fn notes(app: &TestApp) -> Vec<String> {
    let stack = app.app.stack("shop").unwrap();
    let revision = look::head(&app.app, stack).await.unwrap();
    let wanted = look::wanted(&app.app, stack, &revision).await.unwrap();
    let state = app.state("shop").await;
    let look = look::look(&app.app, stack, &state, wanted, app.app.now());
    look.await.unwrap().plan.notes
}

fn times_asked(app: &TestApp) -> usize {
    let log = app.gateway.log();
    log.iter()
        .filter(|seen| seen.path.ends_with("/tyk/schema"))
        .count()
}

const NOTE: &str = "o.json: /x-tyk-api-gateway/server/listenPath/value: the gateway's own schema says of oas/o: what \
     stands there is not one of \"/only/\"";

#[tokio::test]
async fn what_it_does_not_allow_is_a_note_of_the_plan_and_stops_nothing() {
    let app = on_gateway_with(Some(of_another_version()), "").await;
    app.repo.write("p.json", oas("p", "/only/", "http://p"));
    app.push_well("one").await;
    app.repo.write("o.json", oas("o", "/planted/", "http://o"));
    app.repo.commit("two");
    assert_eq!(notes(&app).await, [NOTE]);
    let report = app.push("the same").await;
    assert_eq!(report.status, RunStatus::Succeeded, "{:?}", report.message);
    assert!(notes(&app).await.is_empty(), "nothing is to be written");
    assert_eq!(times_asked(&app), 1);
    app.finish().await;
}

#[tokio::test]
async fn a_strict_stack_writes_nothing_that_it_does_not_allow() {
    let app = on_gateway_with(
        Some(of_another_version()),
        "strict = true\nallow_keyless = true",
    )
    .await;
    app.repo.write("o.json", oas("o", "/planted/", "http://o"));
    let report = app.push("one").await;
    assert_eq!(report.status, RunStatus::Refused);
    assert!(report.message.unwrap().contains(NOTE));
    assert!(app.writes().is_empty());
    app.finish().await;
}

#[tokio::test]
async fn a_gateway_without_a_schema_that_can_be_used_is_asked_once_and_says_nothing() {
    for schema in [json!({"type": 5}), json!({"$ref": "#/none"})] {
        let app = on_gateway_with(Some(schema), "").await;
        app.repo.write("o.json", oas("o", "/o/", "http://o"));
        app.push_well("one").await;
        app.repo.write("o.json", oas("o", "/p/", "http://o"));
        app.push_well("two").await;
        assert_eq!(times_asked(&app), 1);
        app.finish().await;
    }
}

#[tokio::test]
async fn of_many_objections_the_first_are_told_and_the_others_counted() {
    let app = on_gateway_with(Some(of_another_version()), "").await;
    app.repo.write("p.json", oas("p", "/only/", "http://p"));
    app.push_well("one").await;
    for number in 0..25 {
        let name = format!("o{number}");
        let document = oas(&name, &format!("/{name}/"), "http://o");
        app.repo.write(&format!("{name}.json"), document);
    }
    app.repo.commit("many");
    let notes = notes(&app).await;
    assert_eq!(notes.len(), 21);
    assert_eq!(notes[20], "the gateway's own schema says 5 things more");
    app.finish().await;
}
