//! What the stand-in offers to a test: its states, its faults, its memory of what was asked.

use std::time::Duration;

use lockstep::sandbox::gateway::{Gateway, GatewayOptions, Keep, Kind, Object};
use serde_json::{Value, json};

#[tokio::test]
async fn what_was_written_is_live_after_a_reload_and_not_before() {
    let gateway = gateway().await;
    assert_eq!(post(&gateway, "/tyk/apis", &classic("a")).await.0, 200);
    assert!(gateway.live_ids().is_empty());
    assert_eq!(gateway.files(), ["apps/a.json"]);
    get(&gateway, "/tyk/reload?block=true").await;
    assert_eq!(gateway.live_ids(), ["a"]);
    assert_eq!(
        gateway.live_api("a").unwrap()["proxy"]["listen_path"],
        "/a/"
    );
    assert!(gateway.misuse().is_empty(), "{:?}", gateway.misuse());
}

#[tokio::test]
async fn one_load_serves_all_who_asked_for_a_reload_while_another_ran() {
    let gateway = gateway().await;
    let before = gateway.loads();
    let mut hang = gateway.faults().hold_loads();
    let first = get(&gateway, "/tyk/reload?block=true");
    let others = async {
        hang.reached(1).await;
        let waiting = (0..49).map(|_| get(&gateway, "/tyk/reload?block=true"));
        let released = async {
            while gateway.log().len() < 50 {
                tokio::task::yield_now().await;
            }
            gateway.faults().clear();
            drop(hang);
        };
        tokio::join!(futures_util::future::join_all(waiting), released).0
    };
    let (first, others) = tokio::join!(first, others);
    assert_eq!(first.0, 200);
    assert!(others.iter().all(|answer| answer.0 == 200));
    assert_eq!(gateway.loads() - before, 2);
}

#[tokio::test]
async fn only_the_exact_word_makes_a_reload_wait() {
    let gateway = gateway().await;
    let mut hang = gateway.faults().hold_loads();
    for query in ["", "?block=1", "?block=TRUE"] {
        let answer = get(&gateway, &format!("/tyk/reload{query}")).await;
        assert_eq!(answer.0, 200);
    }
    hang.reached(1).await;
    let waiting = get(&gateway, "/tyk/reload?block=true");
    tokio::pin!(waiting);
    let early = futures_util::future::poll_immediate(&mut waiting).await;
    assert!(early.is_none());
    drop(hang);
    assert_eq!(waiting.await.0, 200);
}

#[tokio::test]
async fn a_reload_that_fails_says_200_and_leaves_everything_as_it_was() {
    let gateway = gateway().await;
    gateway.put_api_by_hand(&classic("a"));
    gateway.faults().fail_reloads(true);
    assert_eq!(get(&gateway, "/tyk/reload?block=true").await.0, 200);
    assert!(gateway.live_ids().is_empty());
    gateway.faults().fail_reloads(false);
    get(&gateway, "/tyk/reload?block=true").await;
    assert_eq!(gateway.live_ids(), ["a"]);
}

#[tokio::test]
async fn an_api_can_be_accepted_and_missing_after_the_reload() {
    let gateway = gateway().await;
    gateway.faults().lose("a");
    assert_eq!(post(&gateway, "/tyk/apis", &classic("a")).await.0, 200);
    gateway.reload_now().await;
    assert!(gateway.live_ids().is_empty());
    gateway.faults().clear();
    gateway.reload_now().await;
    assert_eq!(gateway.live_ids(), ["a"]);
}

#[tokio::test]
async fn a_restart_lists_nothing_until_the_load_and_keeps_its_address() {
    let gateway = gateway().await;
    gateway.put_api_by_hand(&classic("a"));
    gateway.put_policy_by_hand("p", &json!({"id": "p"}));
    gateway.reload_now().await;
    let url = gateway.url();
    let mut hang = gateway.faults().hold_loads();
    gateway.restart(false).await.unwrap();
    hang.reached(1).await;
    assert_eq!(gateway.url(), url);
    assert_eq!(get(&gateway, "/ready").await.0, 503);
    assert_eq!(get(&gateway, "/tyk/apis").await, (200, json!([])));
    assert_eq!(get(&gateway, "/tyk/policies/p").await.0, 200);
    gateway.faults().clear();
    drop(hang);
    gateway.ready().await;
    assert_eq!(get(&gateway, "/ready").await.0, 200);
    assert_eq!(gateway.live_ids(), ["a"]);
    gateway.restart(true).await.unwrap();
    gateway.ready().await;
    assert!(gateway.live_ids().is_empty());
}

#[tokio::test]
async fn two_oas_reads_at_once_end_the_process() {
    let gateway = gateway().await;
    gateway.put_api_by_hand(&oas("a"));
    gateway.reload_now().await;
    gateway.faults().die_on_overlapping_oas_reads(true);
    let mut hang = gateway.faults().hang(1, |asked| asked.method == "GET");
    let (first, second) = tokio::join!(try_get(&gateway, "/tyk/apis/oas/a"), async {
        hang.reached(1).await;
        try_get(&gateway, "/tyk/apis/oas/a").await
    });
    assert!(first.is_err() && second.is_err());
    assert!(try_get(&gateway, "/hello").await.unwrap_err().is_connect());
    assert_eq!(gateway.misuse().len(), 1, "{:?}", gateway.misuse());
    gateway.restart(false).await.unwrap();
    gateway.ready().await;
    assert_eq!(get(&gateway, "/tyk/apis/oas/a").await.0, 200);
}

#[tokio::test]
async fn overlapping_requests_and_writes_beside_a_reload_are_noticed() {
    let gateway = gateway().await;
    let mut hang = gateway.faults().hang(1, |asked| asked.path == "/tyk/apis");
    tokio::join!(get(&gateway, "/tyk/apis"), async {
        hang.reached(1).await;
        get(&gateway, "/tyk/policies").await;
        drop(hang);
    });
    assert_eq!(
        gateway.misuse(),
        ["overlapping admin requests: GET /tyk/policies while GET /tyk/apis was under way"]
    );
    gateway.clear_log();
    let mut hang = gateway.faults().hold_loads();
    tokio::join!(get(&gateway, "/tyk/reload?block=true"), async {
        hang.reached(1).await;
        post(&gateway, "/tyk/apis", &classic("a")).await;
        get(&gateway, "/tyk/apis/oas").await;
        drop(hang);
    });
    let misuse = gateway.misuse().join("\n");
    assert!(misuse.contains("a write between a reload's request and its answer"));
    assert!(misuse.contains("an OAS read while a reload was running"));
    assert!(misuse.contains("a read of the OAS list"));
}

#[tokio::test]
async fn requests_can_be_refused_cut_and_held() {
    let gateway = gateway().await;
    let faults = gateway.faults();
    faults.answer(503, 1, |asked| asked.method == "POST");
    assert_eq!(post(&gateway, "/tyk/apis", &classic("a")).await.0, 503);
    assert!(gateway.files().is_empty());
    faults.answer_after(500, 1, |asked| asked.method == "POST");
    assert_eq!(post(&gateway, "/tyk/apis", &classic("a")).await.0, 500);
    assert_eq!(gateway.files(), ["apps/a.json"]);
    faults.answer(403, 1, |_| true);
    let refused = get(&gateway, "/tyk/apis").await;
    assert_eq!(refused.0, 403);
    assert!(
        refused.1["message"]
            .as_str()
            .unwrap()
            .starts_with("Attempted administrative")
    );
    faults.reset(1, |asked| asked.query == "block=true");
    assert!(try_get(&gateway, "/tyk/reload?block=true").await.is_err());
    assert!(gateway.live_ids().is_empty());
    faults.reset_after(1, |asked| asked.query == "block=true");
    assert!(try_get(&gateway, "/tyk/reload?block=true").await.is_err());
    assert_eq!(gateway.live_ids(), ["a"]);
    faults.empty_list(1);
    assert_eq!(get(&gateway, "/tyk/apis").await, (200, json!([])));
    assert_eq!(
        get(&gateway, "/tyk/apis").await.1.as_array().unwrap().len(),
        1
    );
    let cut = gateway
        .log()
        .into_iter()
        .filter(|seen| seen.status.is_none())
        .count();
    assert_eq!(cut, 2);
}

#[tokio::test]
async fn the_log_keeps_order_objects_and_bodies_within_the_limit() {
    let gateway = Gateway::start(GatewayOptions {
        keep: Keep::Bodies(300),
        tick: Duration::from_millis(1),
        ..GatewayOptions::default()
    })
    .await
    .unwrap();
    let mut large = classic("large");
    large["config_data"] = json!({"text": "x".repeat(1000)});
    post(&gateway, "/tyk/apis", &classic("small")).await;
    post(&gateway, "/tyk/apis", &large).await;
    get(&gateway, "/tyk/policies/p").await;
    let log = gateway.log();
    let object = |kind, id: &str| {
        Some(Object {
            kind,
            id: id.to_owned(),
        })
    };
    assert_eq!(log[0].object, object(Kind::Classic, "small"));
    assert_eq!(log[1].object, object(Kind::Classic, "large"));
    assert_eq!(log[2].object, object(Kind::Policy, "p"));
    assert!(log[0].body.is_some() && log[1].body.is_none());
    assert!(log[0].body_hash.is_some() && log[0].body_hash != log[1].body_hash);
    assert_eq!(log[2].status, Some(404));
    assert!(log[0].ended.unwrap() <= log[1].started);
    gateway.clear_log();
    assert!(gateway.log().is_empty());
}

#[tokio::test]
async fn policies_vanish_where_no_path_is_configured() {
    let gateway = Gateway::start(GatewayOptions {
        policy_path: false,
        tick: Duration::from_millis(1),
        ..GatewayOptions::default()
    })
    .await
    .unwrap();
    assert_eq!(
        post(&gateway, "/tyk/policies", &json!({"id": "p"})).await.0,
        200
    );
    gateway.reload_now().await;
    assert!(gateway.live_policy_ids().is_empty());
    let path = get(&gateway, "/config?field=policies.policy_path").await;
    assert_eq!(path, (200, json!("")));
}

#[tokio::test]
async fn a_list_is_as_large_as_a_real_one_and_in_another_order_each_time() {
    let gateway = gateway().await;
    for number in 0..200 {
        gateway.put_api_by_hand(&classic(&format!("api{number}")));
    }
    gateway.reload_now().await;
    let first = get(&gateway, "/tyk/apis").await.1;
    let second = get(&gateway, "/tyk/apis").await.1;
    assert_ne!(first, second);
    let each = first.to_string().len() / 200;
    assert!((6000..8000).contains(&each), "{each} bytes");
}

#[tokio::test]
async fn a_dropped_gateway_answers_no_more() {
    let gateway = gateway().await;
    let url = gateway.url();
    assert_eq!(get(&gateway, "/hello").await.0, 200);
    drop(gateway);
    // The listener lets go of its port as soon as its task is polled.
    tokio::task::yield_now().await;
    let error = reqwest::get(format!("{url}/hello")).await.unwrap_err();
    assert!(error.is_connect(), "{error:?}");
}

#[tokio::test]
async fn the_secret_is_not_shown() {
    let options = GatewayOptions {
        secret: "planted-secret".to_owned(),
        ..GatewayOptions::default()
    };
    assert!(options.secret.contains("planted-secret"));
    assert!(!format!("{options:?}").contains("planted-secret"));
    let gateway = Gateway::start(options).await.unwrap();
    assert!(!format!("{gateway:?}").contains("planted-secret"));
}

async fn gateway() -> Gateway {
    Gateway::start(GatewayOptions {
        tick: Duration::from_millis(1),
        ..GatewayOptions::default()
    })
    .await
    .unwrap()
}

async fn get(gateway: &Gateway, path: &str) -> (u16, Value) {
    try_get(gateway, path).await.unwrap()
}

async fn try_get(gateway: &Gateway, path: &str) -> reqwest::Result<(u16, Value)> {
    send(gateway, reqwest::Method::GET, path, String::new()).await
}

async fn post(gateway: &Gateway, path: &str, body: &Value) -> (u16, Value) {
    let sent = send(gateway, reqwest::Method::POST, path, body.to_string());
    sent.await.unwrap()
}

/// A connection of its own for every request: none is kept that a restart would cut.
async fn send(
    gateway: &Gateway,
    method: reqwest::Method,
    path: &str,
    body: String,
) -> reqwest::Result<(u16, Value)> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let answer = client
        .request(method, format!("{}{path}", gateway.url()))
        .header("x-tyk-authorization", "SECRET")
        .body(body)
        .send()
        .await?;
    let status = answer.status().as_u16();
    let text = answer.text().await?;
    Ok((
        status,
        serde_json::from_str(&text).unwrap_or(Value::String(text)),
    ))
}

fn classic(id: &str) -> Value {
    json!({
        "api_id": id, "org_id": "default", "name": id, "use_keyless": true,
        "proxy": {"listen_path": format!("/{id}/"), "target_url": "http://upstream.internal"},
        "version_data": {"not_versioned": true, "versions": {"Default": {"name": "Default"}}},
    })
}

fn oas(id: &str) -> Value {
    json!({
        "openapi": "3.0.3", "info": {"title": id, "version": "1"}, "paths": {},
        "x-tyk-api-gateway": {
            "info": {"id": id, "name": id, "state": {"active": true}},
            "upstream": {"url": "http://upstream.internal"},
            "server": {"listenPath": {"value": format!("/{id}/")}},
        },
    })
}
