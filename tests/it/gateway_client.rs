//! The gateway's client against servers that misbehave: what it sends to the byte, what it takes
//! for an answer, and what it says of everything else.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use lockstep::{
    domain::object::{Kind, ObjectKey},
    sandbox::gateway::{Gateway, GatewayOptions},
    tyk::gateway::{Client, Deleted, Error, Options, Readiness},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

const SECRET: &str = "s3cr3t-value";

#[tokio::test]
async fn each_request_is_sent_as_the_gateway_wants_it() {
    let key = r#"{"key":"a b","status":"ok","action":"added"}"#;
    let server = Server::start([
        Act::answer(200, r#"{"status":"pass","version":"5.14.0"}"#),
        Act::answer(200, r#"{"status":"pass","version":"5.14.0"}"#),
        Act::answer(200, "[]"),
        Act::answer(200, "[]"),
        Act::answer(200, "{}"),
        Act::answer(200, key),
        Act::answer(200, key),
        Act::answer(200, key),
        Act::answer(200, key),
        Act::answer(200, key),
        Act::answer(200, r#"{"status":"ok","message":""}"#),
    ])
    .await;
    let client = server.client();
    client.readiness().await.unwrap();
    assert_eq!(client.version().await.unwrap(), "5.14.0");
    assert!(client.list().await.unwrap().objects.is_empty());
    client.document("a b").await.unwrap();
    for kind in Kind::LOADED {
        client.write(kind, "a b", &json!({"b": 1})).await.unwrap();
    }
    client.delete(Kind::OasApi, "a b").await.unwrap();
    client.reload().await.unwrap();
    let seen = server.seen();
    let lines: Vec<&str> = seen.iter().map(|seen| seen.line.as_str()).collect();
    assert_eq!(
        lines,
        [
            "GET /ready",
            "GET /hello",
            "GET /tyk/apis?include_types=mcp",
            "GET /tyk/policies",
            "GET /tyk/apis/oas/a%20b",
            "POST /tyk/policies",
            "POST /tyk/apis",
            "POST /tyk/apis/oas",
            "POST /tyk/mcps",
            "DELETE /tyk/apis/oas/a%20b",
            "GET /tyk/reload?block=true",
        ]
    );
    for (number, seen) in seen.iter().enumerate() {
        let secret = seen.header("x-tyk-authorization");
        let is_open = number < 2;
        assert_eq!(secret, (!is_open).then_some(SECRET), "{}", seen.line);
    }
    assert_eq!(seen[5].body, br#"{"b":1}"#);
    assert_eq!(seen[5].header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn all_requests_share_one_connection_and_a_closed_one_is_replaced() {
    let reload = || Act::answer(200, r#"{"status":"ok","message":""}"#);
    let server = Server::start([
        reload(),
        reload(),
        reload().and_close(),
        Act::answer(200, r#"{"key":"a"}"#),
    ])
    .await;
    let client = server.client();
    for _ in 0..3 {
        client.reload().await.unwrap();
    }
    assert_eq!(server.connections(), 1);
    server.closed().await;
    client
        .write(Kind::ClassicApi, "a", &json!({}))
        .await
        .unwrap();
    assert_eq!(server.connections(), 2);
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test]
async fn a_path_in_the_address_is_kept_as_a_prefix() {
    for address in ["/gateways/one", "/gateways/one/", "/gateways/one?x=1#y"] {
        let server = Server::start([Act::answer(404, "")]).await;
        let client = client(&format!("{}{address}", server.url));
        client.list().await.unwrap_err();
        let line = "GET /gateways/one/tyk/apis?include_types=mcp";
        assert_eq!(server.seen()[0].line, line);
    }
}

#[tokio::test]
async fn a_gateway_that_is_not_there_was_certainly_not_written_to() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let client = client(&url);
    for error in [
        client.list().await.unwrap_err(),
        client
            .write(Kind::Policy, "a", &json!({}))
            .await
            .unwrap_err(),
        client.delete(Kind::Policy, "a").await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::Unreachable { .. }), "{error}");
        assert!(error.is_transient() && !error.is_ambiguous());
    }
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_was_certainly_not_written_to() {
    let server = Server::start([Act::Raw(b"HTTP/1.1 400 Bad Request\r\n\r\n")]).await;
    let client = client(&server.url.replace("http://", "https://"));
    let error = client
        .write(Kind::Policy, "a", &json!({}))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(!error.is_ambiguous());
}

#[tokio::test]
async fn whether_a_write_without_an_answer_was_done_is_not_known() {
    let ways: [fn() -> Act; 6] = [
        || Act::Hang,
        || Act::Cut,
        || Act::Raw(b""),
        || Act::Raw(b"HTTP/1.1 200 O"),
        || Act::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"key\""),
        || Act::Raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"key\r\n"),
    ];
    for way in ways {
        let server = Server::start([way(), way(), way(), way()]).await;
        let client = server.client_with(|options| {
            options.read_timeout = Duration::from_millis(200);
            options.write_timeout = Duration::from_millis(200);
            options.reload_timeout = Duration::from_millis(200);
        });
        let write = client
            .write(Kind::OasApi, "a", &json!({}))
            .await
            .unwrap_err();
        let delete = client.delete(Kind::OasApi, "a").await.unwrap_err();
        for error in [write, delete] {
            assert!(error.is_ambiguous() && error.is_transient(), "{error}");
        }
        let read = client.list().await.unwrap_err();
        let reload = client.reload().await.unwrap_err();
        for error in [read, reload] {
            assert!(!error.is_ambiguous() && error.is_transient(), "{error}");
        }
        // Nothing is ever tried twice.
        assert_eq!(server.seen().len(), 4);
    }
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_a_timeout_also_in_its_middle() {
    let began = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n[";
    let server = Server::start([Act::Hang, Act::RawThenHang(began)]).await;
    let client = server.client_with(|options| options.read_timeout = Duration::from_millis(200));
    for _ in 0..2 {
        let error = client.list().await.unwrap_err();
        let expected = Error::Timeout {
            after: Duration::from_millis(200),
            maybe_written: false,
        };
        assert_eq!(error, expected);
        let text = "the gateway did not answer within 0.2 s";
        assert_eq!(error.to_string(), text);
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_the_secret_stays() {
    let elsewhere = Server::start([Act::answer(200, "[]"), Act::answer(200, "[]")]).await;
    for status in [301, 302, 303, 307, 308] {
        let to = format!("location: {}/tyk/apis", elsewhere.url);
        let redirect = || Act::answer(status, "").with_header(&to);
        let server = Server::start([redirect(), redirect()]).await;
        let client = server.client();
        for error in [
            client.list().await.unwrap_err(),
            client
                .write(Kind::ClassicApi, "a", &json!({}))
                .await
                .unwrap_err(),
        ] {
            let detail = format!("HTTP {status}, a redirect");
            let expected = Error::BadAnswer {
                detail,
                maybe_written: false,
            };
            assert_eq!(error, expected);
        }
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn an_answer_over_the_limit_is_refused_whether_it_was_announced_or_not() {
    let announced = b"HTTP/1.1 200 OK\r\ncontent-length: 999999999999\r\n\r\n[";
    let mut endless = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..64 {
        endless.extend_from_slice(b"1000\r\n");
        endless.extend_from_slice(&[b' '; 0x1000]);
        endless.extend_from_slice(b"\r\n");
    }
    let endless: &'static [u8] = endless.leak();
    let server = Server::start([Act::RawThenHang(announced), Act::RawThenHang(endless)]).await;
    let client = server.client_with(|options| options.max_body_bytes = 100_000);
    for _ in 0..2 {
        let error = client.list().await.unwrap_err();
        let expected = Error::BadAnswer {
            detail: "HTTP 200 OK, and larger than 100000 bytes".to_owned(),
            maybe_written: false,
        };
        assert_eq!(error, expected);
    }
}

#[tokio::test]
async fn a_list_that_is_no_list_is_never_an_empty_one() {
    let policies = r#"[{"id":"p","name":"p"}]"#;
    let apis = r#"[{"api_id":"a","name":"a","proxy":{"listen_path":"/a/"}}]"#;
    let no_lists = [
        "",
        " ",
        "null",
        "{}",
        r#"{"status":"ok","message":""}"#,
        r#""[]""#,
        "<html>[]</html>",
        "[",
        "[]]",
        "[null]",
        "[[]]",
        "[1]",
        r#"["a"]"#,
        r#"[{"api_id":1,"id":1}]"#,
        r#"[{"api_id":null,"id":null}]"#,
        r#"[{"api_id":"a","id":"a""#,
    ];
    for wrong in no_lists {
        for answers in [[wrong, policies], [apis, wrong]] {
            let server = Server::start(answers.map(|body| Act::answer(200, body))).await;
            let error = server.client().list().await.unwrap_err();
            assert!(matches!(error, Error::BadAnswer { .. }), "{wrong}: {error}");
            assert!(!error.is_transient() && !error.is_ambiguous());
        }
    }
    for status in [204, 206, 404, 500] {
        let server = Server::start([Act::answer(status, "[]"), Act::answer(status, "[]")]).await;
        server.client().list().await.unwrap_err();
    }
}

#[tokio::test]
async fn a_200_of_something_else_is_no_gateways_answer() {
    for page in ["<html>Welcome</html>", "", "[]", "{}", "null", "\"ok\""] {
        let server = Server::start((0..6).map(|_| Act::answer(200, page))).await;
        let client = server.client();
        let body = json!({});
        let errors = [
            client.readiness().await.unwrap_err(),
            client.version().await.unwrap_err(),
            client.reload().await.unwrap_err(),
            client.write(Kind::Policy, "a", &body).await.unwrap_err(),
            client.delete(Kind::Policy, "a").await.unwrap_err(),
        ];
        for (number, error) in errors.into_iter().enumerate() {
            assert!(matches!(error, Error::BadAnswer { .. }), "{page}: {error}");
            assert_eq!(error.is_ambiguous(), number > 2);
        }
        if page != "{}" {
            client.document("a").await.unwrap_err();
        }
    }
}

#[tokio::test]
async fn refusals_are_told_apart_by_what_can_be_done_about_them() {
    let said = |text: &str| json!({"status": "error", "message": text}).to_string();
    let cases = [
        (
            (
                403,
                said("Attempted administrative access with invalid or missing key!"),
            ),
            "the target's secret is wrong: the gateway says (HTTP 403): Attempted administrative \
             access with invalid or missing key!",
            "denial",
        ),
        (
            (401, "who are you".to_owned()),
            "the target's secret is wrong: the gateway says (HTTP 401): who are you",
            "denial",
        ),
        (
            (403, said("Certificate with SHA256 x not allowed")),
            "the request is forbidden (HTTP 403): Certificate with SHA256 x not allowed",
            "denial",
        ),
        (
            (
                500,
                said("Due to enabled use_db_app_configs, please use the Dashboard API"),
            ),
            "this gateway takes its APIs from a Dashboard and cannot be written to: Due to enabled \
             use_db_app_configs, please use the Dashboard API",
            "denial",
        ),
        (
            (
                500,
                said("Due to enabled service policy source, please use the Dashboard API"),
            ),
            "this gateway takes its APIs from a Dashboard and cannot be written to: Due to enabled \
             service policy source, please use the Dashboard API",
            "denial",
        ),
        (
            (500, said("Failed to create file!")),
            "the gateway failed (HTTP 500): Failed to create file!",
            "transient, ambiguous",
        ),
        (
            (502, "<html><body>Bad Gateway</body></html>".to_owned()),
            "the gateway failed (HTTP 502): a page of HTML or XML",
            "transient, ambiguous",
        ),
        (
            (429, "slow down".to_owned()),
            "the gateway failed (HTTP 429): slow down",
            "transient, ambiguous",
        ),
        (
            (404, "404 page not found\n".to_owned()),
            "the gateway does not know the address (HTTP 404): 404 page not found; is it the \
             control API of a gateway that keeps its own configuration?",
            "denial",
        ),
        (
            (405, said("Method not supported")),
            "the gateway does not know the address (HTTP 405): Method not supported; is it the \
             control API of a gateway that keeps its own configuration?",
            "denial",
        ),
        (
            (422, said("The new version name is required")),
            "the gateway refuses it (HTTP 422): The new version name is required",
            "",
        ),
        (
            (413, "Request Entity Too Large".to_owned()),
            "the gateway refuses it (HTTP 413): Request Entity Too Large",
            "",
        ),
        (
            (201, "{}".to_owned()),
            "the answer is not a gateway's: HTTP 201",
            "ambiguous",
        ),
    ];
    for ((status, body), text, nature) in cases {
        let server = Server::start([Act::answer(status, &body), Act::answer(status, &body)]).await;
        let client = server.client();
        let write = client.write(Kind::OasApi, "a", &json!({})).await;
        let write = write.unwrap_err();
        assert_eq!(write.to_string(), text);
        assert_eq!(nature_of(&write), nature, "{write}");
        let read = client.list().await.unwrap_err();
        assert_eq!(read.to_string(), text);
        assert!(!read.is_ambiguous(), "a read writes nothing");
    }
}

#[tokio::test]
async fn a_gateways_words_are_cut_and_cleaned() {
    let long = format!("x\u{1b}[31m\r\ny{}", "é".repeat(5_000));
    let body = json!({"status": "error", "message": long}).to_string();
    let server = Server::start([Act::answer(400, &body)]).await;
    let error = server
        .client()
        .write(Kind::OasApi, "a", &json!({}))
        .await
        .unwrap_err();
    let Error::Refused { message, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(message.chars().count(), 2_000);
    assert!(message.starts_with("x [31m \nyé"), "{message}");
}

#[tokio::test]
async fn readiness_is_the_gateways_word_alone() {
    let not_ready = r#"{"status":"error","message":"A successful API reload did not happen"}"#;
    let server = Server::start([
        Act::answer(503, not_ready),
        Act::answer(404, "Not Found"),
        Act::answer(503, "<html>no backend</html>"),
        Act::answer(500, "oops"),
    ])
    .await;
    let client = server.client();
    let reason = "A successful API reload did not happen".to_owned();
    let first = client.readiness().await.unwrap();
    assert_eq!(first, Readiness::NotReady(reason));
    assert_eq!(client.readiness().await.unwrap(), Readiness::Unknown);
    for status in [503, 500] {
        let error = client.readiness().await.unwrap_err();
        assert!(matches!(error, Error::Server { status: found, .. } if found == status));
    }
}

#[tokio::test]
async fn only_the_gateways_own_word_makes_an_object_absent() {
    let api = r#"{"status":"error","message":"API not found"}"#;
    let server = Server::start([
        Act::answer(404, api),
        Act::answer(404, api),
        Act::answer(404, "404 page not found\n"),
        Act::answer(404, "404 page not found\n"),
        Act::answer(404, r#"{"status":"error","message":"no such tenant"}"#),
        Act::answer(500, r#"{"status":"error","message":"Delete failed"}"#),
        Act::answer(500, r#"{"status":"error","message":"out of memory"}"#),
        Act::answer(200, r#"{"key":"b","status":"ok","action":"deleted"}"#),
    ])
    .await;
    let client = server.client();
    assert_eq!(client.document("a").await.unwrap(), None);
    let deleted = client.delete(Kind::OasApi, "a").await.unwrap();
    assert_eq!(deleted, Deleted::Absent);
    let not_found = |error: Error| matches!(error, Error::NotFound { .. });
    assert!(not_found(client.document("a").await.unwrap_err()));
    let delete = async || client.delete(Kind::OasApi, "a").await;
    assert!(not_found(delete().await.unwrap_err()));
    assert!(not_found(client.document("a").await.unwrap_err()));
    let refused = Deleted::Refused("Delete failed".to_owned());
    assert_eq!(delete().await.unwrap(), refused);
    assert!(delete().await.unwrap_err().is_ambiguous());
    assert!(matches!(
        delete().await.unwrap_err(),
        Error::BadAnswer { .. }
    ));
}

#[tokio::test]
async fn ids_that_would_lead_a_request_astray_are_not_sent() {
    let server = Server::start([]).await;
    let client = server.client();
    for id in ["", ".", "..", "a/b", "/", "oas/a", "a\\b", "../policies/a"] {
        let expected = Error::BadId { id: id.to_owned() };
        let body = json!({});
        assert_eq!(client.document(id).await.unwrap_err(), expected);
        for kind in Kind::LOADED {
            assert_eq!(client.delete(kind, id).await.unwrap_err(), expected);
            let written = client.write(kind, id, &body).await;
            assert_eq!(written.unwrap_err(), expected);
        }
    }
    for page in ["export", "import", "versions"] {
        let error = client.document(page).await.unwrap_err();
        assert!(matches!(error, Error::BadId { .. }));
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn objects_without_an_id_are_counted_and_left_out() {
    let apis = r#"[{"api_id":""},{},{"api_id":"a","is_oas":true}]"#;
    let policies = r#"[{"id":""},{"_id":"x"},{"id":"a"}]"#;
    let server = Server::start([Act::answer(200, apis), Act::answer(200, policies)]).await;
    let listing = server.client().list().await.unwrap();
    assert_eq!(listing.nameless, 4);
    let keys: Vec<&ObjectKey> = listing.objects.iter().map(|listed| &listed.key).collect();
    let expected = [
        &ObjectKey::new(Kind::OasApi, "a"),
        &ObjectKey::new(Kind::Policy, "a"),
    ];
    assert_eq!(keys, expected);
}

#[tokio::test]
async fn ids_that_are_listed_twice_are_all_named() {
    let apis = r#"[{"api_id":"a"},{"api_id":"a","is_oas":true},{"api_id":"b"}]"#;
    let policies = r#"[{"id":"p","org_id":"1"},{"id":"p","org_id":"2"},{"id":"p"},{"id":"b"}]"#;
    let server = Server::start([Act::answer(200, apis), Act::answer(200, policies)]).await;
    let error = server.client().list().await.unwrap_err();
    let keys = vec![
        ObjectKey::new(Kind::Policy, "p"),
        ObjectKey::new(Kind::OasApi, "a"),
    ];
    assert_eq!(error, Error::ListedTwice { keys });
    let text = "the gateway lists policy/p, oas/a more than once; remove all of its files but one";
    assert_eq!(error.to_string(), text);
}

#[tokio::test]
async fn policies_of_two_organisations_under_one_id_are_found_on_a_gateway() {
    let gateway = gateway().await;
    gateway.put_policy_by_hand("one", &json!({"id": "gold", "org_id": "1"}));
    gateway.put_policy_by_hand("two", &json!({"id": "gold", "org_id": "2"}));
    gateway.reload_now().await;
    let error = client(&gateway.url()).list().await.unwrap_err();
    let keys = vec![ObjectKey::new(Kind::Policy, "gold")];
    assert_eq!(error, Error::ListedTwice { keys });
}

#[tokio::test]
async fn a_listed_body_is_read_exactly_or_not_at_all() {
    let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
    let apis = format!(
        r#"[{{"api_id":"a","config_data":{{"n":9007199254740993}}}},{{"api_id":"b","config_data":{deep}}}]"#
    );
    let server = Server::start([Act::answer(200, &apis), Act::answer(200, "[]")]).await;
    let listing = server.client().list().await.unwrap();
    let number = &listing.objects[0].body()["config_data"]["n"];
    assert_eq!(number, &json!(9_007_199_254_740_993_u64));
    assert_eq!(listing.objects[1].body(), Value::Null);
}

#[tokio::test]
async fn neither_secrets_nor_bodies_are_printed() {
    let planted = "PLANTED-IN-A-BODY";
    let echo = json!({"status": "error", "message": format!("you said {SECRET}")}).to_string();
    let of_another_shape = format!(r#""{planted}""#);
    let listed = format!(r#"[{{"api_id":"a","config_data":"{planted}"}}]"#);
    let wrong_type = format!(r#"[{{"api_id":"a","is_oas":"{planted}"}}]"#);
    let server = Server::start([
        Act::answer(400, &echo),
        Act::answer(403, SECRET),
        Act::answer(200, &of_another_shape),
        Act::answer(200, &wrong_type),
        Act::answer(200, "[]"),
        Act::answer(200, &listed),
        Act::answer(200, "[]"),
    ])
    .await;
    let url = server.url.parse().unwrap();
    let options = Options::new(url, SECRET.to_owned().into());
    let mut printed = format!("{options:?}");
    let client = Client::new(options).unwrap();
    let body = json!({"secret": planted});
    let errors = [
        client.write(Kind::OasApi, "a", &body).await.unwrap_err(),
        client.delete(Kind::OasApi, "a").await.unwrap_err(),
        client.document("a").await.unwrap_err(),
        client.list().await.unwrap_err(),
    ];
    for error in errors {
        printed.push_str(&format!("{error} {error:?}"));
    }
    let listing = client.list().await.unwrap();
    printed.push_str(&format!("{listing:?} {client:?}"));
    // They were there to be found.
    assert_eq!(server.seen()[0].header("x-tyk-authorization"), Some(SECRET));
    assert!(String::from_utf8_lossy(&server.seen()[0].body).contains(planted));
    assert!(listing.objects[0].raw.get().contains(planted));
    assert!(printed.contains("you said [secret]"), "{printed}");
    assert!(!printed.contains(SECRET), "{printed}");
    assert!(!printed.contains(planted), "{printed}");
}

#[test]
fn an_address_or_a_secret_that_cannot_be_used_is_refused_at_once() {
    let new = |url: &str, secret: &str| {
        let options = Options::new(url.parse().unwrap(), secret.to_owned().into());
        Client::new(options).map(drop)
    };
    for (url, secret) in [
        ("ftp://gateway/", "x"),
        ("unix:/run/tyk", "x"),
        ("http://user:pass@gateway/", "x"),
        ("http://user@gateway/", "x"),
        ("http://gateway/", "two\nlines"),
    ] {
        let error = new(url, secret).unwrap_err();
        assert!(matches!(error, Error::Client(_)), "{url}");
        assert!(!error.to_string().contains("pass@"), "{error}");
    }
    new("http://gateway:8080/", "grüße").unwrap();
}

#[tokio::test]
async fn a_request_that_nobody_waits_for_keeps_its_turn_until_it_is_answered() {
    let gateway = gateway().await;
    gateway.faults().die_on_overlapping_oas_reads(true);
    gateway.put_api_by_hand(&json!({
        "openapi": "3.0.3",
        "info": {"title": "a", "version": "1"},
        "paths": {},
        "x-tyk-api-gateway": {
            "info": {"id": "a", "name": "a", "state": {"active": true}},
            "upstream": {"url": "http://127.0.0.1:9"},
            "server": {"listenPath": {"value": "/a/"}}
        }
    }));
    gateway.reload_now().await;
    let client = Arc::new(client(&gateway.url()));
    let mut hang = gateway.faults().hang(1, |asked| asked.method == "GET");
    let given_up = tokio::spawn({
        let client = client.clone();
        async move { client.document("a").await }
    });
    hang.reached(1).await;
    given_up.abort();
    assert!(given_up.await.unwrap_err().is_cancelled());
    let next = client.document("a");
    tokio::pin!(next);
    let early = futures_util::future::poll_immediate(&mut next).await;
    assert!(early.is_none());
    drop(hang);
    assert!(next.await.unwrap().is_some());
    assert_eq!(gateway.log().len(), 2);
    assert!(gateway.misuse().is_empty(), "{:?}", gateway.misuse());
}

#[tokio::test]
async fn nothing_comes_between_the_two_halves_of_a_listing() {
    let gateway = gateway().await;
    let client = client(&gateway.url());
    let calls = (0..20).map(|number| {
        let client = &client;
        async move {
            match number % 3 {
                0 => drop(client.list().await.unwrap()),
                1 => client.reload().await.unwrap(),
                _ => drop(client.document("absent").await.unwrap()),
            }
        }
    });
    futures_util::future::join_all(calls).await;
    assert!(gateway.misuse().is_empty(), "{:?}", gateway.misuse());
    let log = gateway.log();
    let halves = log.windows(2).filter(|pair| pair[0].path == "/tyk/apis");
    let mut listings = 0;
    for pair in halves {
        assert_eq!(pair[1].path, "/tyk/policies");
        listings += 1;
    }
    assert_eq!(listings, 7);
}

/// One scripted answer.
enum Act {
    Answer {
        status: u16,
        headers: String,
        body: String,
        close: bool,
    },
    /// These bytes, then the end of the connection.
    Raw(&'static [u8]),
    RawThenHang(&'static [u8]),
    /// Reads the request and never answers.
    Hang,
    /// Reads the request and resets the connection.
    Cut,
}

impl Act {
    fn answer(status: u16, body: &str) -> Self {
        Self::Answer {
            status,
            headers: String::new(),
            body: body.to_owned(),
            close: false,
        }
    }

    fn with_header(mut self, line: &str) -> Self {
        if let Self::Answer { headers, .. } = &mut self {
            headers.push_str(line);
            headers.push_str("\r\n");
        }
        self
    }

    /// Closes the connection after the answer, without a word about it.
    fn and_close(mut self) -> Self {
        if let Self::Answer { close, .. } = &mut self {
            *close = true;
        }
        self
    }
}

#[derive(Debug, Clone, Default)]
struct Seen {
    /// Method and path.
    line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Answers requests one by one as a script says, and remembers them.
struct Server {
    url: String,
    state: Arc<State>,
    task: JoinHandle<()>,
}

struct State {
    script: Mutex<std::vec::IntoIter<Act>>,
    seen: Mutex<Vec<Seen>>,
    connections: watch::Sender<(usize, usize)>,
}

impl Server {
    async fn start(script: impl IntoIterator<Item = Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State {
            script: Mutex::new(script.into_iter().collect::<Vec<_>>().into_iter()),
            seen: Mutex::default(),
            connections: watch::Sender::default(),
        });
        let task = tokio::spawn({
            let state = state.clone();
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let state = state.clone();
                    state.connections.send_modify(|(opened, _)| *opened += 1);
                    tokio::spawn(async move {
                        state.serve(stream).await;
                        state.connections.send_modify(|(_, closed)| *closed += 1);
                    });
                }
            }
        });
        Self { url, state, task }
    }

    fn client(&self) -> Client {
        client(&self.url)
    }

    fn client_with(&self, change: impl FnOnce(&mut Options)) -> Client {
        let mut options = Options::new(self.url.parse().unwrap(), SECRET.to_owned().into());
        change(&mut options);
        Client::new(options).unwrap()
    }

    fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    fn connections(&self) -> usize {
        self.state.connections.borrow().0
    }

    /// Waits until a connection has been closed by the script.
    async fn closed(&self) {
        let mut connections = self.state.connections.subscribe();
        connections
            .wait_for(|(_, closed)| *closed > 0)
            .await
            .unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    async fn serve(&self, mut stream: TcpStream) {
        let mut buffer = Vec::new();
        while let Some(seen) = read_request(&mut stream, &mut buffer).await {
            self.seen.lock().unwrap().push(seen);
            let act = self.script.lock().unwrap().next();
            match act.unwrap_or(Act::Hang) {
                Act::Answer {
                    status,
                    headers,
                    body,
                    close,
                } => {
                    let length = body.len();
                    let answer = format!(
                        "HTTP/1.1 {status} Said\r\n{headers}content-length: {length}\r\n\r\n{body}"
                    );
                    let _ = stream.write_all(answer.as_bytes()).await;
                    if close {
                        return;
                    }
                }
                Act::Raw(bytes) => {
                    let _ = stream.write_all(bytes).await;
                    return;
                }
                Act::RawThenHang(bytes) => {
                    let _ = stream.write_all(bytes).await;
                    until_closed(&mut stream).await;
                    return;
                }
                Act::Hang => {
                    until_closed(&mut stream).await;
                    return;
                }
                Act::Cut => {
                    stream.set_zero_linger().unwrap();
                    return;
                }
            }
        }
    }
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Seen> {
    let head = loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break buffer.drain(..end + 4).collect::<Vec<u8>>();
        }
        // What is no HTTP is answered all the same.
        if buffer
            .first()
            .is_some_and(|byte| !byte.is_ascii_uppercase())
        {
            return Some(Seen::default());
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let line = lines.next()?.trim_end_matches(" HTTP/1.1").to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let mut seen = Seen {
        line,
        headers,
        body: Vec::new(),
    };
    let length = seen
        .header("content-length")
        .map_or(0, |length| length.parse().unwrap());
    while buffer.len() < length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    seen.body = buffer.drain(..length).collect();
    Some(seen)
}

async fn until_closed(stream: &mut TcpStream) {
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
}

fn nature_of(error: &Error) -> String {
    let traits = [
        (error.is_denial(), "denial"),
        (error.is_transient(), "transient"),
        (error.is_ambiguous(), "ambiguous"),
    ];
    let held = traits.iter().filter(|(holds, _)| *holds);
    let names: Vec<&str> = held.map(|(_, name)| *name).collect();
    names.join(", ")
}

async fn gateway() -> Gateway {
    let options = GatewayOptions {
        secret: SECRET.to_owned(),
        tick: Duration::from_millis(1),
        ..GatewayOptions::default()
    };
    Gateway::start(options).await.unwrap()
}

fn client(url: &str) -> Client {
    let options = Options::new(url.parse().unwrap(), SECRET.to_owned().into());
    Client::new(options).unwrap()
}
