//! The receiver as a Git host meets it: over HTTP, with everything that may be wrong.

use std::time::{Duration, Instant};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::Value;
use sha2::Sha256;

use crate::support::app::{
    GATEWAY_SECRET, Mode, TestApp, WEBHOOK_SECRET, classic, push_body, sign,
};

crate::in_both_modes! {
    every_wrong_request_gets_its_own_clear_answer,
    the_metrics_name_what_the_alerts_watch,
}

const TOKENS: &str = r#"[webhook.token]
host = "gitlab"
scheme = "token"
secrets = [{ env = "WEBHOOK" }]
"#;

fn request(app: &TestApp, body: &[u8]) -> RequestBuilder {
    Client::new()
        .post(app.url("/webhooks/acme"))
        .header("content-type", "application/json")
        .header("x-github-event", "push")
        .header("x-github-hook-id", "7")
        .header("x-github-delivery", "one")
        .header("x-hub-signature-256", sign(body))
        .body(body.to_vec())
}

async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, json(response).await)
}

async fn json(response: Response) -> Value {
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

async fn every_wrong_request_gets_its_own_clear_answer(mode: Mode) {
    let app = TestApp::with_stack(mode, TOKENS).await;
    app.repo.write("a.json", classic("a", "/a/", "http://a"));
    let head = app.repo.commit("first");
    let body = push_body(None, &head, "main");
    let body = body.as_bytes();

    let without = |name: &'static str| {
        let mut built = request(&app, body).build().unwrap();
        built.headers_mut().remove(name);
        RequestBuilder::from_parts(Client::new(), built)
    };
    let with = |name: &'static str, value: &str| {
        let mut built = request(&app, body).build().unwrap();
        built.headers_mut().insert(name, value.parse().unwrap());
        RequestBuilder::from_parts(Client::new(), built)
    };
    let empty_digest = with("x-hub-signature-256", "sha256=");
    let wrong_digest = with("x-hub-signature-256", &format!("sha256={}", "0".repeat(64)));
    let sha1 = with(
        "x-hub-signature-256",
        "sha1=01dc10d0c83e72ed246219cdd91669667fe2ca59",
    );
    let unauthorized = [
        without("x-hub-signature-256"),
        empty_digest,
        wrong_digest,
        sha1,
    ];
    let mut answers = Vec::new();
    for request in unauthorized {
        let (status, body) = answer(request).await;
        assert_eq!(status, 401);
        answers.push(body);
    }
    // What was wrong is nobody's business.
    answers.dedup();
    assert_eq!(answers.len(), 1);

    let elsewhere = |path: &str, method: Method| Client::new().request(method, app.url(path));
    let nowhere = answer(elsewhere("/webhooks/unknown", Method::POST)).await;
    assert_eq!(nowhere.0, 404);
    assert_eq!(nowhere, answer(elsewhere("/nothing", Method::GET)).await);
    let wrong_method = answer(elsewhere("/webhooks/acme", Method::GET)).await;
    assert_eq!(wrong_method.0, 405);
    assert_eq!(wrong_method.1["error"]["code"], "method_not_allowed");

    assert_eq!(answer(with("content-type", "text/plain")).await.0, 415);
    assert_eq!(answer(with("content-encoding", "gzip")).await.0, 415);
    assert_eq!(answer(request(&app, b"{\"ref\":")).await.0, 400);
    assert_eq!(answer(request(&app, b"[]")).await.0, 400);
    let option = push_body(None, &head, "-main");
    assert_eq!(answer(request(&app, option.as_bytes())).await.0, 400);

    let huge = vec![b' '; 26 * 1024 * 1024 + 1];
    assert_eq!(too_large(&app, &huge, true).await, 413);
    assert_eq!(too_large(&app, &huge, false).await, 413);

    assert!(app.run_pending().await.is_empty());
    // And one that is right.
    assert_eq!(answer(request(&app, body)).await.0, 202);
    let form = format!("payload={}", percent(body));
    let mut as_form = request(&app, form.as_bytes()).build().unwrap();
    as_form.headers_mut().insert(
        "content-type",
        "application/x-www-form-urlencoded".parse().unwrap(),
    );
    as_form
        .headers_mut()
        .insert("x-github-delivery", "two".parse().unwrap());
    assert_eq!(
        answer(RequestBuilder::from_parts(Client::new(), as_form))
            .await
            .0,
        202
    );
    let gitlab = |token: &str| {
        let push = format!(
            r#"{{"object_kind":"push","ref":"refs/heads/main","before":"{}","after":"{head}","checkout_sha":"{head}","project":{{"id":1,"path_with_namespace":"acme/shop"}},"commits":[],"total_commits_count":0}}"#,
            "0".repeat(40)
        );
        Client::new()
            .post(app.url("/webhooks/token"))
            .header("content-type", "application/json")
            .header("x-gitlab-event", "Push Hook")
            .header("x-gitlab-token", token)
            .header("idempotency-key", "one")
            .body(push)
    };
    assert_eq!(answer(gitlab("wrong")).await.0, 401);
    assert_eq!(answer(gitlab(WEBHOOK_SECRET)).await.0, 202);
    assert_eq!(app.run_pending().await.len(), 1);
    assert_eq!(app.gateway.live_ids(), ["a"]);
    app.finish().await;
}

fn percent(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| format!("%{byte:02X}"))
        .collect::<Vec<_>>()
        .concat()
}

/// Sent raw, because a client would not send what the server has refused already.
async fn too_large(app: &TestApp, body: &[u8], declared: bool) -> u16 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(app.address).await.unwrap();
    let length = if declared {
        format!("content-length: {}", body.len())
    } else {
        "transfer-encoding: chunked".to_owned()
    };
    let head = format!(
        "POST /webhooks/acme HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         x-github-event: push\r\nx-github-delivery: huge\r\nx-hub-signature-256: {}\r\n{length}\r\n\r\n",
        sign(b"x")
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let sent = body.to_vec();
    let writing = tokio::spawn(async move {
        if declared {
            return;
        }
        for chunk in sent.chunks(1024 * 1024) {
            let head = format!("{:x}\r\n", chunk.len());
            let written = async {
                writer.write_all(head.as_bytes()).await?;
                writer.write_all(chunk).await?;
                writer.write_all(b"\r\n").await
            };
            if written.await.is_err() {
                return;
            }
        }
    });
    let mut answer = [0; 12];
    reader.read_exact(&mut answer).await.unwrap();
    writing.abort();
    std::str::from_utf8(&answer[9..12])
        .unwrap()
        .parse()
        .unwrap()
}

async fn the_metrics_name_what_the_alerts_watch(mode: Mode) {
    let channel = "https://hooks.example.com/planted";
    let lines = "[notify.ops]\nkind = \"slack\"\nurl = { env = \"CHANNEL\" }\n";
    let app = TestApp::with_environment(mode, lines, &[("CHANNEL", channel)]).await;
    app.repo.write("a.json", classic("a", "/a/", "http://a"));
    app.push_well("first").await;
    let get = |path: &str| {
        let request = Client::new().get(app.url(path));
        async move {
            let response = request.send().await.unwrap();
            (response.status().as_u16(), response.text().await.unwrap())
        }
    };
    assert_eq!(get("/healthz").await.0, 200);
    assert_eq!(get("/readyz").await.0, 200);
    let (status, text) = get("/metrics").await;
    assert_eq!(status, 200);
    for secret in [WEBHOOK_SECRET, GATEWAY_SECRET, channel] {
        assert!(!text.contains(secret));
    }
    let alerts = include_str!("../../deploy/alerts.yml");
    let mut names: Vec<&str> = alerts
        .split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'))
        .filter(|word| word.starts_with("lockstep_"))
        .collect();
    names.sort_unstable();
    names.dedup();
    assert!(names.len() >= 10, "{names:?}");
    for name in names {
        let is_there = text.contains(name.trim_end_matches("_total"));
        assert!(is_there, "{name} is not in\n{text}");
    }
    app.finish().await;
}

#[tokio::test]
async fn a_gitlab_signing_token_is_checked_with_its_time() {
    let key = BASE64_STANDARD.encode([7; 32]);
    let lines = "[webhook.signed]\nhost = \"gitlab\"\nscheme = \"signature\"\nsecrets = [{ env = \"SIGNING\" }]\n";
    let app = TestApp::with_environment(
        Mode::Embedded,
        lines,
        &[("SIGNING", &format!("whsec_{key}"))],
    )
    .await;
    let body = r#"{"object_kind":"push","ref":"refs/heads/x","before":"0000000000000000000000000000000000000000","after":"1111111111111111111111111111111111111111","project":{"id":1,"path_with_namespace":"a/b"},"commits":[]}"#;
    let now = i64::try_from(
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs(),
    )
    .unwrap();
    let send = |at: i64| {
        let mut mac: Hmac<Sha256> = Hmac::new_from_slice(&[7; 32]).unwrap();
        mac.update(format!("id-1.{at}.{body}").as_bytes());
        let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
        Client::new()
            .post(app.url("/webhooks/signed"))
            .header("content-type", "application/json")
            .header("x-gitlab-event", "Push Hook")
            .header("webhook-id", "id-1")
            .header("webhook-timestamp", at.to_string())
            .header("webhook-signature", format!("v1,{signature}"))
            .body(body)
    };
    assert_eq!(answer(send(now)).await.0, 202);
    assert_eq!(answer(send(now - 3_600)).await.0, 401);
    let unsigned = Client::new()
        .post(app.url("/webhooks/signed"))
        .header("content-type", "application/json")
        .header("x-gitlab-token", format!("whsec_{key}"))
        .body(body);
    assert_eq!(answer(unsigned).await.0, 401);
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs Postgres and NATS; tests/run has it"]
async fn without_its_queue_the_receiver_says_so_in_time_and_without_its_database_it_goes_on() {
    let mut app = TestApp::start(Mode::ScaledOut).await;
    app.repo.write("a.json", classic("a", "/a/", "http://a"));
    let head = app.repo.commit("first");
    let body = push_body(None, &head, "main");
    app.nats().kill();
    let started = Instant::now();
    let refused = request(&app, body.as_bytes()).send().await.unwrap();
    assert_eq!(refused.status().as_u16(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "{:?}",
        started.elapsed()
    );
    app.nats().restart();
    crate::support::process::until("the queue to be back", async || {
        let sent = request(&app, body.as_bytes()).send().await.unwrap();
        sent.status().as_u16() == 202
    })
    .await;
    // With no database at all a push is accepted all the same.
    app.app.store.close().await;
    let mut second = request(&app, body.as_bytes()).build().unwrap();
    second
        .headers_mut()
        .insert("x-github-delivery", "two".parse().unwrap());
    let (status, _) = answer(RequestBuilder::from_parts(Client::new(), second)).await;
    assert_eq!(status, 202);
    let worker = app.another_worker().await;
    let reports = lockstep::sync::worker::run_pending(&worker).await.unwrap();
    assert_eq!(reports.len(), 1);
    assert_eq!(app.gateway.live_ids(), ["a"]);
    worker.store.close().await;
}
