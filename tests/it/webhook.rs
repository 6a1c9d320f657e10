//! Requests as Git hosts send them, signed here, and what becomes of them.

use std::{collections::BTreeMap, path::PathBuf};

use axum::http::{HeaderMap, HeaderValue};
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use lockstep::webhook::{
    COMMITS_KEPT, Claim, DeliveryId, Event, GitRef, HeaderProblem, Headers, Host, Malformation,
    PushEvent, Received, RefName, Rejection, RepositoryName, Scheme, Secrets, SecretsError,
    displayable, receive,
    signature::{StandardSignature, StandardVerdict},
};
use proptest::prelude::*;
use secrecy::SecretString;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const NOW: i64 = 1_770_000_000;
const SECRET: &str = "It's a Secret to Everybody";
const SIGNING_TOKEN: &str = "whsec_dGVzdHRlc3R0ZXN0dGVzdHRlc3R0ZXN0dGVzdHRlc3Q=";
const BEFORE: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const AFTER: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const ZEROS: &str = "0000000000000000000000000000000000000000";

/// A request as a host would send it; tests change what they are about.
#[derive(Clone)]
struct Request {
    scheme: Scheme,
    secrets: Vec<&'static str>,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Request {
    fn github(event: &str, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let signature = format!("sha256={}", hex::encode(hmac_of(SECRET.as_bytes(), &body)));
        Self {
            scheme: Scheme::GitHubSha256,
            secrets: vec![SECRET],
            headers: vec![],
            body,
        }
        .with("Content-Type", "application/json")
        .with("X-GitHub-Event", event)
        .with("X-GitHub-Delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958")
        .with("X-GitHub-Hook-ID", "292430182")
        .with("X-Hub-Signature-256", &signature)
    }

    fn gitlab_token(body: impl Into<Vec<u8>>) -> Self {
        Self {
            scheme: Scheme::GitLabToken,
            secrets: vec![SECRET],
            headers: vec![],
            body: body.into(),
        }
        .with("Content-Type", "application/json")
        .with("X-Gitlab-Event", "Push Hook")
        .with("X-Gitlab-Token", SECRET)
        .with("Idempotency-Key", "f5e5f430-f57b-4e6e-9fac-d9128cd7232f")
    }

    fn gitlab_signature(body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let id = "f5e5f430-f57b-4e6e-9fac-d9128cd7232f";
        let signature = standard_signature(SIGNING_TOKEN, id, &NOW.to_string(), &body);
        Self {
            scheme: Scheme::GitLabSignature,
            secrets: vec![SIGNING_TOKEN],
            headers: vec![],
            body,
        }
        .with("Content-Type", "application/json")
        .with("webhook-id", id)
        .with("webhook-timestamp", &NOW.to_string())
        .with("webhook-signature", &signature)
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self = self.without(name);
        self.headers
            .push((name.to_owned(), value.as_bytes().to_vec()));
        self
    }

    fn with_another(mut self, name: &str, value: &str) -> Self {
        self.headers
            .push((name.to_owned(), value.as_bytes().to_vec()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers
            .retain(|(present, _)| !present.eq_ignore_ascii_case(name));
        self
    }

    fn secrets(mut self, secrets: &[&'static str]) -> Self {
        self.secrets = secrets.to_vec();
        self
    }

    fn receive(&self) -> Result<Received, Rejection> {
        self.receive_at(NOW)
    }

    fn receive_at(&self, now: i64) -> Result<Received, Rejection> {
        receive(
            &secrets(self.scheme, &self.secrets),
            &view(&self.headers),
            &self.body,
            now,
        )
    }

    fn push(&self) -> PushEvent {
        match self.receive().unwrap().event {
            Event::Push(push) => push,
            other => panic!("not a push: {other:?}"),
        }
    }
}

fn secrets(scheme: Scheme, secrets: &[&str]) -> Secrets {
    let secrets: Vec<SecretString> = secrets.iter().copied().map(SecretString::from).collect();
    Secrets::new(scheme, &secrets).unwrap()
}

fn view(headers: &[(String, Vec<u8>)]) -> Headers<'_> {
    Headers::new(
        headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_slice())),
    )
}

fn hmac_of(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

fn standard_signature(token: &str, id: &str, timestamp: &str, body: &[u8]) -> String {
    let key = STANDARD
        .decode(token.strip_prefix("whsec_").unwrap())
        .unwrap();
    let message = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
    format!("v1,{}", STANDARD.encode(hmac_of(&key, &message)))
}

fn github_push() -> Value {
    json!({
        "ref": "refs/heads/main", "before": BEFORE, "after": AFTER, "forced": true,
        "commits": [{
            "id": AFTER, "message": "Add the orders API\n\nand more", "timestamp": "2026-02-01T10:00:00+01:00",
            "author": {"name": "Ada", "email": "ada@example.com"}, "added": ["a"],
        }],
        "repository": {"id": 17, "full_name": "acme/shop", "pushed_at": 1},
        "pusher": {"name": "ada", "email": "ada@example.com"},
        "sender": {"login": "ada-l"},
    })
}

fn gitlab_push() -> Value {
    json!({
        "object_kind": "push", "ref": "refs/heads/main", "before": BEFORE, "after": AFTER, "checkout_sha": AFTER,
        "user_name": "Ada", "user_username": "ada-l", "user_email": "[REDACTED]", "project_id": 15,
        "project": {"id": 15, "path_with_namespace": "acme/apis/shop"},
        "commits": [{"id": AFTER, "message": "Add", "timestamp": "2026-02-01T10:00:00+01:00", "author": {"name": "Ada", "email": "a@b"}}],
        "total_commits_count": 1,
    })
}

/// `document` with one value changed, by JSON pointer; `null` removes nothing, it is a value.
fn changed(mut document: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    document.pointer_mut(parent).unwrap()[key] = value;
    document
}

fn signed_github_push(pointer: &str, value: Value) -> Request {
    Request::github("push", changed(github_push(), pointer, value).to_string())
}

#[test]
fn a_push_of_github_is_read_in_full() {
    let push = Request::github("push", github_push().to_string()).push();
    let expected = json!({
        "repository": {"id": "17", "full_name": "acme/shop"},
        "git_ref": {"branch": "main"},
        "before": BEFORE,
        "after": AFTER,
        "forced": true,
        "commits": [{
            "id": AFTER, "author_name": "Ada", "author_email": "ada@example.com",
            "message": "Add the orders API", "timestamp": "2026-02-01T09:00:00Z",
        }],
        "commits_complete": true,
        "pusher": {"name": "ada", "login": "ada-l", "email": "ada@example.com"},
    });
    assert_eq!(serde_json::to_value(push).unwrap(), expected);
}

#[test]
fn a_push_of_gitlab_is_read_in_full() {
    let push = Request::gitlab_token(gitlab_push().to_string()).push();
    let expected = json!({
        "repository": {"id": "15", "full_name": "acme/apis/shop"},
        "git_ref": {"branch": "main"},
        "before": BEFORE,
        "after": AFTER,
        "forced": false,
        "commits": [{
            "id": AFTER, "author_name": "Ada", "author_email": "a@b",
            "message": "Add", "timestamp": "2026-02-01T09:00:00Z",
        }],
        "commits_complete": true,
        "pusher": {"name": "Ada", "login": "ada-l", "email": "[REDACTED]"},
    });
    assert_eq!(serde_json::to_value(push).unwrap(), expected);
}

#[test]
fn what_was_received_survives_the_queue() {
    for request in [
        Request::github("push", github_push().to_string()),
        Request::gitlab_signature(gitlab_push().to_string()),
        Request::github("ping", "{}"),
        Request::github("issues", "{}"),
    ] {
        let received = request.receive().unwrap();
        let message = serde_json::to_string(&received).unwrap();
        assert_eq!(
            serde_json::from_str::<Received>(&message).unwrap(),
            received
        );
    }
    let hostile = r#"{"branch":"-x"}"#;
    assert!(
        serde_json::from_str::<GitRef>(hostile).is_err(),
        "checked on the way back, too"
    );
}

#[test]
fn the_hash_is_of_the_raw_body() {
    let request = Request::github("ping", r#"{"zen": "x"}"#);
    let expected = hex::encode(Sha256::digest(&request.body));
    assert_eq!(request.receive().unwrap().body_sha256, expected);
}

#[test]
#[expect(clippy::too_many_lines, reason = "the cases are data")]
fn every_way_to_fail_authentication_is_one_and_the_same_answer() {
    use Rejection::{BadSignature, MissingSignature, StaleSignature};

    let github = || Request::github("push", github_push().to_string());
    let token = || Request::gitlab_token(gitlab_push().to_string());
    let signed = || Request::gitlab_signature(gitlab_push().to_string());
    let good = github().headers.pop().unwrap().1;
    let good = String::from_utf8(good).unwrap();
    let id = "f5e5f430-f57b-4e6e-9fac-d9128cd7232f";
    let signed_with = |id: &str, timestamp: &str| {
        let signature = standard_signature(SIGNING_TOKEN, id, timestamp, &signed().body);
        signed()
            .with("webhook-id", id)
            .with("webhook-timestamp", timestamp)
            .with("webhook-signature", &signature)
    };
    let cases = [
        (github().without("x-hub-signature-256"), MissingSignature),
        (github().with("x-hub-signature-256", ""), BadSignature),
        (
            github().with("x-hub-signature-256", "sha256="),
            BadSignature,
        ),
        (
            github().with("x-hub-signature-256", &good[7..]),
            BadSignature,
        ),
        (
            github().with("x-hub-signature-256", &format!("{good}00")),
            BadSignature,
        ),
        (
            github().with("x-hub-signature-256", &good.replace("sha256=", "SHA256=")),
            BadSignature,
        ),
        (
            github().with("x-hub-signature-256", &good.replace("sha256=", "sha256==")),
            BadSignature,
        ),
        (
            github().with("x-hub-signature-256", &"s".repeat(100_000)),
            BadSignature,
        ),
        (
            github().with_another("x-hub-signature-256", &good),
            BadSignature,
        ),
        (github().secrets(&["another"]), BadSignature),
        (
            github()
                .without("x-hub-signature-256")
                .with("x-hub-signature", "sha1=00"),
            MissingSignature,
        ),
        (token().without("x-gitlab-token"), MissingSignature),
        (token().with("x-gitlab-token", ""), BadSignature),
        (
            token().with("x-gitlab-token", "It's a Secret to Everybod"),
            BadSignature,
        ),
        (
            token().with("x-gitlab-token", "It's a Secret to Everybody "),
            BadSignature,
        ),
        (
            token().with("x-gitlab-token", &"x".repeat(5000)),
            BadSignature,
        ),
        (token().with_another("x-gitlab-token", SECRET), BadSignature),
        (signed().without("webhook-signature"), MissingSignature),
        (signed().without("webhook-id"), MissingSignature),
        (signed().without("webhook-timestamp"), MissingSignature),
        // No way back from the signature to the token, and none from one scheme to another.
        (
            signed()
                .without("webhook-signature")
                .with("x-gitlab-token", SIGNING_TOKEN),
            MissingSignature,
        ),
        (signed().with("webhook-signature", "v1,"), BadSignature),
        (signed().with("webhook-signature", "v2,AAAA"), BadSignature),
        (
            signed().with("webhook-signature", &"v1,AAAA ".repeat(1000)),
            BadSignature,
        ),
        (signed().with("webhook-id", "another"), BadSignature),
        (signed_with("", &NOW.to_string()), BadSignature),
        (signed_with("a.b", &NOW.to_string()), BadSignature),
        (signed_with("a b", &NOW.to_string()), BadSignature),
        (
            signed_with(&"a".repeat(257), &NOW.to_string()),
            BadSignature,
        ),
        (signed_with(id, ""), BadSignature),
        (signed_with(id, "-1"), BadSignature),
        (signed_with(id, "+1770000000"), BadSignature),
        (signed_with(id, "1e9"), BadSignature),
        (signed_with(id, "99999999999999999999999999"), BadSignature),
        (signed_with(id, "9223372036854775807"), StaleSignature),
        (signed_with(id, "0"), StaleSignature),
        (signed_with(id, &(NOW - 301).to_string()), StaleSignature),
        (signed_with(id, &(NOW + 301).to_string()), StaleSignature),
    ];
    for (number, (request, expected)) in cases.into_iter().enumerate() {
        let rejection = request.receive().unwrap_err();
        assert_eq!(rejection, expected, "case {number}");
        assert_eq!(
            (rejection.status(), rejection.code()),
            (401, "unauthorized"),
            "case {number}"
        );
    }
    for offset in [-300, 0, 300] {
        assert!(signed().receive_at(NOW + offset).is_ok(), "{offset} s");
    }
    assert_eq!(signed().receive_at(i64::MIN).unwrap_err(), StaleSignature);
    assert_eq!(signed().receive_at(i64::MAX).unwrap_err(), StaleSignature);
}

#[test]
fn a_missing_signature_is_refused_before_the_body_is_there() {
    let request = Request::github("push", "").without("x-hub-signature-256");
    let secrets = secrets(request.scheme, &request.secrets);
    let rejection = Claim::read(&secrets, &view(&request.headers)).unwrap_err();
    assert_eq!(rejection, Rejection::MissingSignature);
}

#[test]
fn during_a_rotation_both_secrets_are_taken_and_the_one_that_fitted_is_told() {
    let push = gitlab_push().to_string();
    let old_token = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let cases = [
        (Request::github("ping", "{}").secrets(&[SECRET, "old"]), 0),
        (Request::github("ping", "{}").secrets(&["new", SECRET]), 1),
        (Request::github("ping", "{}").secrets(&[SECRET, SECRET]), 0),
        (
            Request::gitlab_token(push.clone()).secrets(&["new", SECRET]),
            1,
        ),
        (
            Request::gitlab_signature(push).secrets(&[old_token, SIGNING_TOKEN]),
            1,
        ),
    ];
    for (request, index) in cases {
        assert_eq!(request.receive().unwrap().secret_index, index);
    }
}

#[test]
fn a_signature_list_is_good_when_one_entry_is() {
    let signed = Request::gitlab_signature(gitlab_push().to_string());
    let good = String::from_utf8(signed.headers.last().unwrap().1.clone()).unwrap();
    let other = "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    for list in [
        format!("{other} {good}"),
        format!("{good} {other}"),
        format!("v2,x v1a,y v1,short {good}"),
    ] {
        assert!(
            signed
                .clone()
                .with("webhook-signature", &list)
                .receive()
                .is_ok(),
            "{list}"
        );
    }
    assert!(signed.with("webhook-signature", other).receive().is_err());
}

#[test]
fn unusable_secrets_are_refused_and_never_shown() {
    use SecretsError::{ControlCharacter, Count, Empty, NotASigningToken};
    let cases: [(Scheme, &[&str], SecretsError); 9] = [
        (Scheme::GitHubSha256, &[], Count),
        (Scheme::GitHubSha256, &["a", "b", "c"], Count),
        (Scheme::GitHubSha256, &["a", ""], Empty { index: 1 }),
        (Scheme::GitLabToken, &["  "], Empty { index: 0 }),
        (
            Scheme::GitLabToken,
            &["a\nb"],
            ControlCharacter { index: 0 },
        ),
        (
            Scheme::GitLabSignature,
            &["plain"],
            NotASigningToken { index: 0 },
        ),
        (
            Scheme::GitLabSignature,
            &["whsec_"],
            NotASigningToken { index: 0 },
        ),
        (
            Scheme::GitLabSignature,
            &["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"],
            NotASigningToken { index: 0 },
        ),
        (
            Scheme::GitLabSignature,
            &[SIGNING_TOKEN, "whsec_not base64"],
            NotASigningToken { index: 1 },
        ),
    ];
    for (scheme, given, expected) in cases {
        let given: Vec<SecretString> = given.iter().copied().map(SecretString::from).collect();
        assert_eq!(Secrets::new(scheme, &given).unwrap_err(), expected);
    }

    let request = Request::gitlab_token(gitlab_push().to_string());
    let secrets = secrets(request.scheme, &request.secrets);
    let headers = view(&request.headers);
    let claim = Claim::read(&secrets, &headers).unwrap();
    let shown = format!("{secrets:?} {headers:?} {claim:?}");
    let as_bytes = format!("{:?}", SECRET.as_bytes());
    let as_bytes = as_bytes.trim_matches(['[', ']']);
    let planted = format!("{:?} {:?}", SECRET, SECRET.as_bytes());
    assert!(
        planted.contains(SECRET) && planted.contains(as_bytes),
        "the search would find it"
    );
    assert!(
        !shown.contains(SECRET) && !shown.contains(as_bytes),
        "{shown}"
    );
}

#[test]
fn only_the_content_types_that_hosts_send_are_taken() {
    let github = |content_type: &str| {
        Request::github("ping", "{}")
            .with("content-type", content_type)
            .receive()
    };
    let gitlab = |content_type: &str| {
        Request::gitlab_token(gitlab_push().to_string())
            .with("content-type", content_type)
            .receive()
    };
    for good in [
        "application/json",
        "application/json; charset=utf-8",
        "application/json;charset=\"UTF-8\"",
        "Application/JSON",
    ] {
        assert!(github(good).is_ok() && gitlab(good).is_ok(), "{good}");
    }
    for bad in [
        "",
        "text/plain",
        "application/jsonx",
        "application/json; charset=utf-7",
        "application/json, text/plain",
        "multipart/form-data",
    ] {
        assert_eq!(
            github(bad).unwrap_err(),
            Rejection::UnsupportedContentType,
            "{bad}"
        );
    }
    let form = "application/x-www-form-urlencoded";
    assert_eq!(
        gitlab(form).unwrap_err().status(),
        415,
        "GitLab sends no forms"
    );
    let ping = || Request::github("ping", "{}");
    for (request, name) in [
        (ping().without("content-type"), "no content type"),
        (
            ping().with_another("content-type", "application/json"),
            "two content types",
        ),
        (ping().with("content-encoding", "gzip"), "a compressed body"),
    ] {
        assert_eq!(request.receive().unwrap_err().status(), 415, "{name}");
    }
    assert!(
        ping()
            .with("content-encoding", "identity")
            .receive()
            .is_ok()
    );
}

#[test]
fn a_form_of_github_is_verified_raw_and_read_from_its_field() {
    let form = |fields: &[(&str, &str)]| {
        let body = serde_urlencoded::to_string(fields).unwrap();
        Request::github("push", body).with("content-type", "application/x-www-form-urlencoded")
    };
    let push = github_push().to_string();
    assert_eq!(
        form(&[("payload", &push)]).push(),
        Request::github("push", push.clone()).push()
    );
    let malformed = Rejection::Malformed(Malformation::Form);
    assert_eq!(form(&[]).receive().unwrap_err(), malformed);
    assert_eq!(form(&[("other", &push)]).receive().unwrap_err(), malformed);
    assert_eq!(
        form(&[("payload", &push), ("payload", &push)])
            .receive()
            .unwrap_err(),
        malformed
    );
}

#[test]
fn delivery_ids_are_taken_from_the_best_header_there_is() {
    let push = gitlab_push().to_string();
    let hash = hex::encode(Sha256::digest(&push));
    let id = |hook: Option<&str>, id: &str| {
        Ok(DeliveryId {
            hook: hook.map(str::to_owned),
            id: id.to_owned(),
        })
    };
    let unusable = || Err(Rejection::Malformed(Malformation::DeliveryId));
    let github = || Request::github("ping", "{}");
    let token = || Request::gitlab_token(push.clone()).without("idempotency-key");
    let signed = Request::gitlab_signature(push.clone());
    let signed_id = "f5e5f430-f57b-4e6e-9fac-d9128cd7232f";
    let guid = "72d3162e-cc78-11e3-81ab-4c9367dc0958";
    let cases = [
        (github(), id(Some("292430182"), guid)),
        (github().without("x-github-hook-id"), id(None, guid)),
        (github().without("x-github-delivery"), unusable()),
        (github().with("x-github-delivery", ""), unusable()),
        (github().with("x-github-delivery", "a b"), unusable()),
        (
            github().with("x-github-delivery", &"a".repeat(257)),
            unusable(),
        ),
        (github().with_another("x-github-delivery", "b"), unusable()),
        (github().with("x-github-hook-id", "a\tb"), unusable()),
        (
            token().with("idempotency-key", "a").with("webhook-id", "b"),
            id(None, "a"),
        ),
        (
            token()
                .with("webhook-id", "b")
                .with("x-gitlab-event-uuid", "c"),
            id(None, "b"),
        ),
        (
            token().with("x-gitlab-event-uuid", "c"),
            id(None, &format!("c:{hash}")),
        ),
        (token().with("x-gitlab-webhook-uuid", "random"), unusable()),
        (token(), unusable()),
        (token().with("idempotency-key", "a\u{e9}"), unusable()),
        // The id that was signed wins over one that anybody could have added.
        (
            signed.clone().with("idempotency-key", "fresh"),
            id(None, signed_id),
        ),
        (signed, id(None, signed_id)),
    ];
    for (number, (request, expected)) in cases.into_iter().enumerate() {
        assert_eq!(
            request.receive().map(|received| received.delivery),
            expected,
            "case {number}"
        );
    }
}

#[test]
fn events_other_than_pushes_are_ignored_by_a_name_that_is_safe_to_show() {
    let ignored = |kind: &str| {
        Ok(Event::Ignored {
            kind: kind.to_owned(),
        })
    };
    let gitlab = |body: Value| Request::gitlab_token(body.to_string());
    let merge_queue = "refs/heads/gh-readonly-queue/main/pr-1-aaaa";
    let long = "x".repeat(100);
    let cases = [
        (
            Request::github("issues", "not even json"),
            ignored("issues"),
        ),
        (
            Request::github(&long, "{}"),
            ignored(&format!("{}…", &long[..63])),
        ),
        (
            signed_github_push("/ref", merge_queue.into()),
            ignored("push to a merge queue"),
        ),
        (
            signed_github_push("/ref", "refs/notes/x".into()),
            ignored("push to another kind of ref"),
        ),
        (gitlab(json!({"object_kind": "note"})), ignored("note")),
        (
            gitlab(json!({"event_name": "project_create"})),
            ignored("project_create"),
        ),
        (
            gitlab(json!({"object_kind": "", "event_name": "x"})),
            ignored("x"),
        ),
        (
            gitlab(json!({"object_kind": "a\u{1b}[2J\u{202e}"})),
            ignored("a\\u{1b}[2J\\u{202e}"),
        ),
        (Request::github("ping", "{\"zen\":\"x\"}"), Ok(Event::Ping)),
        (
            gitlab(json!({})),
            Err(Rejection::Malformed(Malformation::EventName)),
        ),
        (
            Request::github("", "{}"),
            Err(Rejection::Malformed(Malformation::EventName)),
        ),
        (
            Request::github("push", "{}").with_another("x-github-event", "ping"),
            Err(Rejection::Malformed(Malformation::EventName)),
        ),
        (
            Request::github("push", "{}").without("x-github-event"),
            Err(Rejection::Malformed(Malformation::EventName)),
        ),
    ];
    for (number, (request, expected)) in cases.into_iter().enumerate() {
        assert_eq!(
            request.receive().map(|received| received.event),
            expected,
            "case {number}"
        );
    }
}

#[test]
fn what_is_malformed_after_a_good_signature_is_a_400_with_a_name() {
    use Malformation::{Ref, RepositoryName, Revision};
    let cases = [
        ("/ref", json!("main"), Some(Ref)),
        ("/ref", json!("refs/heads/-x"), Some(Ref)),
        ("/ref", json!("refs/heads/a..b"), Some(Ref)),
        ("/ref", json!("HEAD"), Some(Ref)),
        ("/after", json!("--output=/tmp/x"), Some(Revision)),
        ("/after", json!(&AFTER[1..]), Some(Revision)),
        ("/after", json!(AFTER.to_uppercase()), Some(Revision)),
        ("/commits/0/id", json!("x"), Some(Revision)),
        (
            "/repository/full_name",
            json!("../../o/r"),
            Some(RepositoryName),
        ),
        (
            "/repository/full_name",
            json!("alone"),
            Some(RepositoryName),
        ),
        (
            "/repository/full_name",
            json!("a/b c"),
            Some(RepositoryName),
        ),
        ("/repository/id", json!(-1), None),
        ("/repository/id", json!("17"), None),
        ("/repository", Value::Null, None),
        ("/commits", json!({}), None),
        ("/commits/0/message", json!(5), None),
        ("/pusher", json!("ada"), None),
    ];
    for (pointer, value, expected) in cases {
        let rejection = signed_github_push(pointer, value.clone())
            .receive()
            .unwrap_err();
        assert_eq!((rejection.status(), rejection.code()), (400, "malformed"));
        match (rejection, expected) {
            (Rejection::Malformed(Malformation::Json { .. }), None) => {}
            (Rejection::Malformed(found), Some(expected)) => {
                assert_eq!(found, expected, "{pointer} = {value}");
            }
            (other, _) => panic!("{pointer} = {value}: {other:?}"),
        }
    }
    let both_zeros = changed(
        changed(github_push(), "/before", ZEROS.into()),
        "/after",
        ZEROS.into(),
    );
    assert!(
        Request::github("push", both_zeros.to_string())
            .receive()
            .is_err()
    );
    let fields = [
        "ref",
        "before",
        "after",
        "forced",
        "commits",
        "repository",
        "pusher",
        "sender",
    ];
    let as_array: Value = fields
        .iter()
        .map(|field| github_push()[field].clone())
        .collect();
    let as_array = as_array.to_string();
    assert!(
        Request::github("push", as_array).receive().is_err(),
        "a struct is no array"
    );
}

#[test]
fn zeros_mean_created_or_deleted() {
    let created = signed_github_push("/before", ZEROS.into()).push();
    assert_eq!(
        (created.before, created.after.unwrap().as_str()),
        (None, AFTER)
    );
    let deleted = signed_github_push("/after", "0".repeat(64).into()).push();
    assert_eq!(
        (deleted.before.unwrap().as_str(), deleted.after),
        (BEFORE, None)
    );
    let deleted = changed(
        changed(gitlab_push(), "/after", ZEROS.into()),
        "/checkout_sha",
        Value::Null,
    );
    assert_eq!(
        Request::gitlab_token(deleted.to_string()).push().after,
        None
    );
}

#[test]
fn an_annotated_tag_of_gitlab_leads_to_its_commit() {
    let commit = "c".repeat(40);
    let mut tag = changed(gitlab_push(), "/ref", "refs/tags/v1".into());
    tag["object_kind"] = "tag_push".into();
    tag["checkout_sha"] = commit.clone().into();
    let push = Request::gitlab_token(tag.to_string()).push();
    assert_eq!(push.git_ref, GitRef::parse("refs/tags/v1").unwrap());
    assert_eq!(push.after.unwrap().as_str(), commit);
}

#[test]
fn a_list_of_commits_is_called_complete_only_when_it_is() {
    let commits = |count: usize| -> Value {
        (0..count)
            .map(|number| json!({"id": format!("{number:040x}"), "message": "m"}))
            .collect()
    };
    let github = |count| signed_github_push("/commits", commits(count)).push();
    let gitlab = |listed, total: Value| {
        let push = changed(gitlab_push(), "/commits", commits(listed));
        Request::gitlab_token(changed(push, "/total_commits_count", total).to_string()).push()
    };
    assert!(github(0).commits_complete);
    assert!(github(COMMITS_KEPT).commits_complete);
    let cut = github(COMMITS_KEPT + 1);
    assert!(!cut.commits_complete);
    assert_eq!(cut.commits.len(), COMMITS_KEPT);
    assert_eq!(
        cut.commits[0].id.as_str(),
        format!("{:040x}", 1),
        "the oldest is left out"
    );
    assert!(!github(2048).commits_complete);
    assert!(
        signed_github_push("/commits", Value::Null)
            .push()
            .commits
            .is_empty()
    );
    assert!(gitlab(20, 20.into()).commits_complete);
    assert!(!gitlab(20, 21.into()).commits_complete);
    assert!(!gitlab(20, Value::Null).commits_complete);
}

#[test]
fn a_push_stays_small_on_the_queue_whatever_it_says() {
    let widest = "\u{10ffff}".repeat(5000);
    let commit =
        json!({"id": AFTER, "message": widest, "author": {"name": widest, "email": widest}});
    let commits: Value = std::iter::repeat_n(commit, COMMITS_KEPT + 50).collect();
    let received = signed_github_push("/commits", commits).receive().unwrap();
    let size = serde_json::to_string(&received).unwrap().len();
    assert!(size < 600_000, "{size} bytes");
}

#[test]
fn text_of_strangers_cannot_move_a_cursor() {
    let message = "\n\r\n  Fix\u{202e} it \u{1b}[2J\u{2028}\u{200b}now \nsecond line";
    let push = signed_github_push("/commits/0/message", message.into()).push();
    assert_eq!(
        push.commits[0].message,
        r"Fix\u{202e} it \u{1b}[2J\u{2028}\u{200b}now"
    );
    let push = signed_github_push("/sender/login", "\u{7}bell".into()).push();
    assert_eq!(push.pusher.unwrap().login.unwrap(), r"\u{7}bell");
    let sly = GitRef::parse("refs/heads/a\u{202e}b").unwrap();
    assert_eq!(sly.to_string(), r"refs/heads/a\u{202e}b");
    assert_eq!(
        sly.branch().unwrap().as_str(),
        "a\u{202e}b",
        "comparisons see the exact name"
    );
    for (text, limit, shown) in [
        ("short", 5, "short"),
        ("longer", 5, "long…"),
        ("äöüßé", 5, "äöüßé"),
        ("äöüßéx", 5, "äöüß…"),
        ("x", 0, ""),
        ("", 3, ""),
    ] {
        assert_eq!(displayable(text, limit), shown);
    }
}

#[test]
fn names_of_refs_follow_the_rules_of_git() {
    let good = [
        "main",
        "a/b",
        "v1.2.3",
        "äöü",
        "a-b",
        "a@b",
        "feature/-x",
        "lock",
        &"a".repeat(255),
    ];
    for name in good {
        assert!(RefName::parse(name).is_ok(), "{name}");
    }
    let bad = [
        "",
        "-x",
        "--upload-pack=x",
        "@",
        "/a",
        "a/",
        "a//b",
        ".a",
        "a/.b",
        "a.",
        "a..b",
        "a.lock",
        "a.lock/b",
        "a@{b",
        "a b",
        "a~b",
        "a^b",
        "a:b",
        "a?b",
        "a*b",
        "a[b",
        "a\\b",
        "a\nb",
        "a\u{7f}b",
        "a\0b",
        &"a".repeat(256),
        &"a/".repeat(1000),
    ];
    for name in bad {
        assert!(RefName::parse(name).is_err(), "{name:?}");
        assert!(
            GitRef::parse(&format!("refs/heads/{name}")).is_err(),
            "{name:?}"
        );
        assert!(
            GitRef::parse(&format!("refs/tags/{name}")).is_err(),
            "{name:?}"
        );
    }
}

#[test]
fn repository_names_are_compared_as_the_hosts_do() {
    let name = |name| RepositoryName::parse(name).unwrap();
    assert!(name("Acme/Shop").is_same_as(&name("acme/shop")));
    assert!(!name("acme/shop").is_same_as(&name("acme/shop2")));
    for bad in [
        "", "a", "/a", "a/", "a//b", "a/..", "./a", "a/b c", "a/ü", "a\\b/c",
    ] {
        assert!(RepositoryName::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn headers_are_read_from_a_header_map() {
    let mut map = HeaderMap::new();
    map.insert("X-GitHub-Event", HeaderValue::from_static("push"));
    map.append("twice", HeaderValue::from_static("a"));
    map.append("twice", HeaderValue::from_static("b"));
    map.insert("binary", HeaderValue::from_bytes(b"a\xff").unwrap());
    let headers = Headers::new(
        map.iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes())),
    );
    assert_eq!(headers.get("x-github-event"), Ok(Some("push")));
    assert_eq!(headers.get("X-GITHUB-EVENT"), Ok(Some("push")));
    assert_eq!(headers.get("absent"), Ok(None));
    assert_eq!(headers.get("twice"), Err(HeaderProblem::Duplicate));
    assert_eq!(headers.get("binary"), Err(HeaderProblem::NotText));
}

#[test]
fn hosts_have_lower_case_names() {
    for (name, host) in [("github", Host::GitHub), ("gitlab", Host::GitLab)] {
        assert_eq!(name.parse(), Ok(host));
        assert_eq!(host.to_string(), name);
        assert_eq!(serde_json::to_value(host).unwrap(), name);
    }
    assert!("GitHub".parse::<Host>().is_err());
}

proptest! {
    #[test]
    fn a_request_with_any_byte_flipped_is_refused(place in any::<prop::sample::Index>(), flip in 1..=255_u8) {
        for mut request in [
            Request::github("push", github_push().to_string()),
            Request::gitlab_signature(gitlab_push().to_string()),
        ] {
            prop_assert!(request.receive().is_ok());
            let place = place.index(request.body.len());
            request.body[place] ^= flip;
            prop_assert_eq!(request.receive().unwrap_err(), Rejection::BadSignature);
        }
    }

    #[test]
    fn a_digest_with_any_bit_flipped_is_refused(place in 0..32_usize, bit in 0..8_u8) {
        let flipped = |mut digest: Vec<u8>| {
            digest[place] ^= 1_u8 << bit;
            digest
        };
        let github = Request::github("push", github_push().to_string());
        let digest = flipped(hmac_of(SECRET.as_bytes(), &github.body));
        let github = github.with("x-hub-signature-256", &format!("sha256={}", hex::encode(digest)));
        prop_assert_eq!(github.receive().unwrap_err(), Rejection::BadSignature);

        let gitlab = Request::gitlab_signature(gitlab_push().to_string());
        let good = String::from_utf8(gitlab.headers.last().unwrap().1.clone()).unwrap();
        let digest = flipped(STANDARD.decode(&good[3..]).unwrap());
        let gitlab = gitlab.with("webhook-signature", &format!("v1,{}", STANDARD.encode(digest)));
        prop_assert_eq!(gitlab.receive().unwrap_err(), Rejection::BadSignature);
    }

    #[test]
    fn a_signature_header_with_any_character_changed_is_refused(place in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut request = Request::github("push", github_push().to_string());
        let header = &mut request.headers.last_mut().unwrap().1;
        let place = place.index(header.len());
        // The case of a hex digit does not matter; everything else does.
        prop_assume!(!header[place].eq_ignore_ascii_case(&byte));
        header[place] = byte;
        prop_assert_eq!(request.receive().unwrap_err(), Rejection::BadSignature);
    }

    #[test]
    fn arbitrary_requests_are_refused_without_a_panic(
        body in prop::collection::vec(any::<u8>(), 0..200),
        headers in prop::collection::vec((
            prop::sample::select(vec![
                "content-type", "x-hub-signature-256", "x-github-event", "x-gitlab-token", "webhook-id",
                "webhook-timestamp", "webhook-signature", "content-encoding",
            ]).prop_map(str::to_owned),
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..80),
                Just(b"application/json".to_vec()),
                "sha256=[0-9a-f]{64}".prop_map(String::into_bytes),
                "v1,[A-Za-z0-9+/]{43}=".prop_map(String::into_bytes),
                "[0-9]{0,22}".prop_map(String::into_bytes),
            ],
        ), 0..10),
        now in any::<i64>(),
    ) {
        for (scheme, secret) in [
            (Scheme::GitHubSha256, SECRET),
            (Scheme::GitLabToken, SECRET),
            (Scheme::GitLabSignature, SIGNING_TOKEN),
        ] {
            prop_assert!(receive(&secrets(scheme, &[secret]), &view(&headers), &body, now).is_err());
        }
    }

    #[test]
    fn arbitrary_signed_bodies_and_ids_do_not_panic(
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            // The shape of a push with one value replaced by any text.
            (prop::sample::select(vec!["/ref", "/before", "/after", "/commits/0/id", "/commits/0/message",
                "/commits/0/timestamp", "/repository/full_name", "/pusher/name"]), any::<String>())
                .prop_map(|(pointer, text)| changed(github_push(), pointer, text.into()).to_string().into_bytes()),
        ],
        event in prop::sample::select(vec!["push", "ping", "issues"]),
        delivery in any::<String>(),
        form in any::<bool>(),
    ) {
        let content_type = if form { "application/x-www-form-urlencoded" } else { "application/json" };
        let github = Request::github(event, body.clone()).with("content-type", content_type).with("x-github-delivery", &delivery);
        if let Err(rejection) = github.receive() {
            prop_assert_eq!(rejection.status(), 400);
        }
        for gitlab in [Request::gitlab_token(body.clone()), Request::gitlab_signature(body)] {
            if let Err(rejection) = gitlab.receive() {
                prop_assert_eq!(rejection.status(), 400);
            }
        }
    }

    #[test]
    fn a_shown_text_is_never_longer_than_its_limit(text in any::<String>(), limit in 0..50_usize) {
        let shown = displayable(&text, limit);
        prop_assert!(shown.chars().count() <= limit);
        prop_assert!(!shown.chars().any(char::is_control));
    }
}

// ---- Samples of others, read in place ----

fn samples() -> Option<PathBuf> {
    Some(crate::support::shared()?.join("samples/webhooks"))
}

fn files_in(folder: &str) -> Option<BTreeMap<String, Vec<u8>>> {
    let files = std::fs::read_dir(samples()?.join(folder))
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect();
    Some(files)
}

fn word(event: &Event) -> &'static str {
    match event {
        Event::Push(_) => "push",
        Event::Ping => "ping",
        Event::Ignored { .. } => "ignored",
    }
}

#[test]
#[ignore = "needs ../shared; tests/run has it"]
fn every_sample_of_github_is_taken_for_what_it_is() {
    let Some(files) = files_in("github") else {
        return;
    };
    assert_eq!(files.len(), 74);
    let mut words = BTreeMap::<_, usize>::new();
    for (name, body) in files {
        // The file's name begins with the event: push__…, pull_request.opened__…, check-suite__…
        let event_name = name
            .split("__")
            .next()
            .unwrap()
            .split('.')
            .next()
            .unwrap()
            .replace('-', "_");
        let event = Request::github(&event_name, body).receive().unwrap().event;
        let expected = match event_name.as_str() {
            "push" => "push",
            "ping" => "ping",
            other => {
                assert_eq!(
                    event,
                    Event::Ignored {
                        kind: other.to_owned()
                    }
                );
                "ignored"
            }
        };
        assert_eq!(word(&event), expected, "{name}");
        *words.entry(expected).or_default() += 1;
    }
    assert_eq!(
        words,
        BTreeMap::from([("push", 1), ("ping", 5), ("ignored", 68)])
    );
}

#[test]
#[ignore = "needs ../shared; tests/run has it"]
fn every_sample_of_gitlab_is_taken_for_what_it_is() {
    let Some(files) = files_in("gitlab") else {
        return;
    };
    assert_eq!(files.len(), 47);
    let mut words = BTreeMap::<_, usize>::new();
    for (name, body) in files {
        let by_token = Request::gitlab_token(body.clone()).receive().unwrap();
        let by_signature = Request::gitlab_signature(body.clone()).receive().unwrap();
        assert_eq!(by_token.event, by_signature.event);
        let document: Value = serde_json::from_slice(&body).unwrap();
        let is_push = document["ref"].is_string() && document["checkout_sha"].is_string();
        let expected = if is_push { "push" } else { "ignored" };
        assert_eq!(word(&by_token.event), expected, "{name}");
        *words.entry(expected).or_default() += 1;
        if let Event::Push(push) = by_token.event {
            assert_eq!(
                push.after.unwrap().as_str(),
                document["checkout_sha"],
                "{name}"
            );
            assert_eq!(push.git_ref.to_string(), document["ref"], "{name}");
            assert_eq!(
                push.repository.full_name.as_str(),
                document["project"]["path_with_namespace"]
            );
            let listed = document["commits"].as_array().unwrap().len();
            assert_eq!(push.commits.len(), listed, "{name}");
            assert_eq!(
                push.commits_complete,
                document["total_commits_count"] == listed,
                "{name}"
            );
        }
    }
    assert_eq!(words, BTreeMap::from([("push", 10), ("ignored", 37)]));
}

/// Each hostile body as a push of GitHub, correctly signed, and as whatever GitLab would make of it.
#[test]
#[ignore = "needs ../shared; tests/run has it"]
fn every_hostile_body_is_refused_or_harmless() {
    let table = [
        (
            "azure-empty-refUpdates",
            "malformed_json",
            "malformed_event_name",
        ),
        (
            "bitbucket-server-links-clone-not-array",
            "malformed_json",
            "malformed_event_name",
        ),
        ("bom", "malformed_json", "malformed_json"),
        ("deep-nesting-127", "malformed_json", "malformed_json"),
        ("deep-nesting-200", "malformed_json", "malformed_json"),
        ("empty-object", "malformed_json", "malformed_event_name"),
        (
            "github-push-duplicate-keys",
            "malformed_json",
            "malformed_event_name",
        ),
        ("github-push-empty-html-url", "push", "malformed_event_name"),
        (
            "github-push-forged-clone-url",
            "push",
            "malformed_event_name",
        ),
        (
            "github-push-log-injection",
            "malformed_ref",
            "malformed_event_name",
        ),
        (
            "github-push-number-overflow",
            "malformed_json",
            "malformed_event_name",
        ),
        (
            "github-push-ref-option-injection",
            "malformed_ref",
            "malformed_event_name",
        ),
        (
            "github-push-ref-traversal",
            "malformed_ref",
            "malformed_event_name",
        ),
        (
            "github-push-sha256-objectformat",
            "push",
            "malformed_event_name",
        ),
        ("gogs-null-repo", "malformed_json", "malformed_event_name"),
        ("invalid-utf8", "malformed_json", "malformed_event_name"),
        ("json-null", "malformed_json", "malformed_json"),
        ("truncated", "malformed_json", "malformed_json"),
    ];
    let Some(files) = files_in("hostile") else {
        return;
    };
    assert_eq!(files.len(), table.len());
    let outcome = |request: Request| match request.receive() {
        Ok(received) => {
            let everything = serde_json::to_string(&received).unwrap();
            for trace in ["169.254", "oProxyCommand", "://", "passwd", "--"] {
                assert!(!everything.contains(trace), "{everything}");
            }
            word(&received.event)
        }
        Err(rejection) => rejection.label(),
    };
    for (name, as_github, as_gitlab) in table {
        let body = &files[&format!("{name}__crafted.json")];
        assert_eq!(
            outcome(Request::github("push", body.clone())),
            as_github,
            "{name}"
        );
        assert_eq!(
            outcome(Request::gitlab_token(body.clone())),
            as_gitlab,
            "{name}"
        );
        assert_eq!(
            outcome(Request::gitlab_signature(body.clone())),
            as_gitlab,
            "{name}"
        );
        // As a kind of event that we ignore, not one byte of it is looked at.
        assert_eq!(
            outcome(Request::github("issues", body.clone())),
            "ignored",
            "{name}"
        );
        let ping = outcome(Request::github("ping", body.clone()));
        assert!(["ping", "malformed_json"].contains(&ping), "{name}");
    }
}

#[test]
#[ignore = "needs ../shared; tests/run has it"]
fn every_signature_vector_is_judged_right() {
    let Some(samples) = samples() else {
        return;
    };
    let vectors = std::fs::read(samples.join("signatures.json")).unwrap();
    let vectors: Vec<Value> = serde_json::from_slice(&vectors).unwrap();
    assert_eq!(vectors.len(), 26);
    let mut counted = BTreeMap::<_, usize>::new();
    for vector in &vectors {
        let name = vector["name"].as_str().unwrap();
        let secret = vector["secret"].as_str().unwrap();
        let body = STANDARD
            .decode(vector["body_b64"].as_str().unwrap())
            .unwrap();
        let mut headers: Vec<(String, Vec<u8>)> = vector["header"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().unwrap().into()))
            .collect();
        let has_type = headers.iter().any(|(name, _)| name == "content-type");
        if !has_type {
            headers.push(("content-type".to_owned(), b"application/json".to_vec()));
        }
        let verify = |scheme, now| {
            let secrets = secrets(scheme, &[secret]);
            let claim = Claim::read(&secrets, &view(&headers));
            claim
                .and_then(|claim| claim.verify(&body, now).map(|_| ()))
                .is_ok()
        };
        let (kind, is_valid) = match vector["scheme"].as_str().unwrap() {
            "github-sha256" => ("github", verify(Scheme::GitHubSha256, NOW)),
            "standard-v1" => {
                let now = vector["verify_at"].as_i64().unwrap();
                let header = |name: &str| vector["header"][name].as_str().unwrap();
                let signature = StandardSignature::parse(
                    header("webhook-id"),
                    header("webhook-timestamp"),
                    header("webhook-signature"),
                );
                let key = STANDARD
                    .decode(secret.strip_prefix("whsec_").unwrap())
                    .unwrap();
                let verdict = signature.unwrap().check(&key, &body, now);
                let is_valid = verdict == StandardVerdict::Good;
                // The other vectors have shorter keys than GitLab makes, so only the check itself is theirs.
                if key.len() == 32 {
                    assert_eq!(verify(Scheme::GitLabSignature, now), is_valid, "{name}");
                    ("gitlab", is_valid)
                } else {
                    ("standard webhooks", is_valid)
                }
            }
            "hub-sha256" | "gitea" => {
                *counted.entry("other hosts").or_default() += 1;
                continue;
            }
            other => panic!("{name} has the unknown scheme {other}"),
        };
        // Where the vector leaves the choice to us (upper-case hex digits), the digest counts, not its spelling.
        let expected = vector["valid"].as_bool().unwrap_or(true);
        assert_eq!(is_valid, expected, "{name}");
        *counted.entry(kind).or_default() += 1;
    }
    let expected = BTreeMap::from([
        ("github", 14),
        ("gitlab", 1),
        ("standard webhooks", 6),
        ("other hosts", 5),
    ]);
    assert_eq!(counted, expected);
}
