//! Certificates that manifests refer to: made before what uses them, one of each, and removed when
//! nothing uses them any more.

use std::collections::BTreeSet;

use lockstep::{
    config::Config,
    domain::{
        certificate::Certificate,
        object::{Kind, ObjectKey},
        run::{Action, Outcome, RunStatus},
    },
    manifest::{self, NamedCertificate, SourceFile},
    sandbox::gateway::Gateway,
    sync::{run::Report, schedule},
    tyk::gateway::{Client, Options},
};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::support::app::{GATEWAY_SECRET, Mode, TestApp, classic, oas, upstream};

crate::in_both_modes! {
    a_certificate_is_made_before_the_api_that_refers_to_it,
    references_stand_wherever_a_gateway_takes_an_id,
    two_files_of_one_certificate_are_one_object,
    a_certificate_goes_when_nothing_uses_it_and_after_what_used_it,
    a_certificate_that_another_api_uses_stays,
    a_certificate_that_was_there_is_used_and_never_removed,
    a_shared_certificate_belongs_to_one_stack_until_the_other_takes_it_over,
    a_certificate_that_was_removed_by_hand_is_put_back,
    a_private_key_in_git_is_refused_and_kept_nowhere,
    what_cannot_be_referred_to_is_named_with_its_place,
    an_expired_certificate_is_warned_of_and_what_needs_it_is_not_written,
    a_renewed_certificate_goes_live_by_itself_and_the_old_one_goes,
    a_certificate_whose_chain_or_key_changed_is_put_anew,
    an_unusable_renewal_leaves_what_is_live,
    removed_certificates_do_not_count_as_losses,
    plans_without_certificates_ask_for_none,
    nodes_that_share_their_certificates_keep_what_one_of_them_uses,
}

const CA: &str = include_str!("../data/certificates/ca.pem");
const PARTNER: &str = include_str!("../data/certificates/partner.pem");
const EXPIRED: &str = include_str!("../data/certificates/expired.pem");
const FUTURE: &str = include_str!("../data/certificates/future.pem");
const SERVER: &str = include_str!("../data/certificates/server.pem");
const SERVER_KEY: &str = include_str!("../data/certificates/server.key");
const RENEWED: &str = include_str!("../data/certificates/renewed.pem");
const RENEWED_KEY: &str = include_str!("../data/certificates/renewed.key");
const PUBLIC_KEY: &str = include_str!("../data/certificates/server-public-key.pem");

fn id(pem: &str) -> String {
    Certificate::parse(pem).unwrap().id("default")
}

fn client(gateway: &Gateway) -> Client {
    let url = gateway.url().parse().unwrap();
    Client::new(Options::new(url, GATEWAY_SECRET.to_owned().into())).unwrap()
}

async fn on(gateway: &Gateway) -> BTreeSet<String> {
    client(gateway).certificates("default").await.unwrap()
}

async fn are_there(app: &TestApp, pems: &[&str]) {
    let expected: BTreeSet<String> = pems.iter().map(|pem| id(pem)).collect();
    assert_eq!(on(&app.gateway).await, expected);
}

/// A definition whose clients show a certificate of one of these.
fn with_clients(api: &str, certificates: &[&str]) -> String {
    let mut body: Value =
        serde_json::from_str(&classic(api, &format!("/{api}/"), "http://up")).unwrap();
    body["client_certificates"] = json!(certificates);
    body.to_string()
}

fn with_own(api: &str, name: &str) -> String {
    let mut body: Value =
        serde_json::from_str(&classic(api, &format!("/{api}/"), "http://up")).unwrap();
    body["certificates"] = json!([format!("certificate:{name}")]);
    body.to_string()
}

/// What a run did, in its order.
fn done(report: &Report) -> Vec<(Action, &str, Outcome)> {
    report
        .changes
        .iter()
        .map(|change| {
            let name = match change.object.kind {
                Kind::Certificate => "certificate",
                _ => change.object.id.as_str(),
            };
            (change.action, name, change.outcome)
        })
        .collect()
}

const APPLIED: Outcome = Outcome::Applied;

/// No line of a private key is anywhere in the database.
async fn finish(app: TestApp) {
    let text = app.all_text().await;
    for key in [SERVER_KEY, RENEWED_KEY] {
        let line = key.lines().nth(1).unwrap();
        assert!(!text.contains(line), "a private key is in the database");
    }
    app.finish().await;
}

async fn a_certificate_is_made_before_the_api_that_refers_to_it(mode: Mode) {
    let app = TestApp::start(mode).await;
    app.repo
        .write("certs/ca.pem", CA)
        .write("a.json", with_clients("a", &["certificate:certs/ca"]));
    let report = app.push_well("first").await;
    let expected = [
        (Action::Create, "certificate", APPLIED),
        (Action::Create, "a", APPLIED),
    ];
    assert_eq!(done(&report), expected);
    let paths: Vec<String> = app.writes().into_iter().map(|seen| seen.path).collect();
    assert_eq!(paths, ["/tyk/certs", "/tyk/apis"]);
    let live = app.gateway.live_classic("a").unwrap();
    assert_eq!(live["client_certificates"], json!([id(CA)]));
    are_there(&app, &[CA]).await;
    // What is kept of it is what people may see.
    let text = app.all_text().await;
    assert!(text.contains("Lockstep test CA"));
    assert!(!text.contains("BEGIN CERTIFICATE"));
    // And then there is nothing to do.
    app.gateway.clear_log();
    app.repo.write("README.md", "words");
    assert!(app.push_well("again").await.changes.is_empty());
    assert!(app.writes().is_empty());
    finish(app).await;
}

async fn references_stand_wherever_a_gateway_takes_an_id(mode: Mode) {
    let app = with_server(mode, "").await;
    let mut old: Value = serde_json::from_str(&with_clients("old", &["certificate:ca"])).unwrap();
    old["certificates"] = json!(["certificate:shop-tls", "plain-id"]);
    old["upstream_certificates"] = json!({"up.example": "certificate:shop-tls"});
    old["pinned_public_keys"] =
        json!({"up.example": "certificate:key,certificate:key", "x.example": "plain"});
    let mut new: Value = serde_json::from_str(&oas("new", "/new/", "http://up")).unwrap();
    let extension = &mut new["x-tyk-api-gateway"];
    extension["server"]["customDomain"] =
        json!({"enabled": true, "name": "new.example", "certificates": ["certificate:shop-tls"]});
    extension["server"]["clientCertificates"] =
        json!({"enabled": true, "allowlist": ["certificate:ca"]});
    extension["upstream"]["mutualTLS"] = json!({
        "enabled": true,
        "domainToCertificateMapping": [{"domain": "up.example", "certificate": "certificate:shop-tls"}],
    });
    extension["upstream"]["certificatePinning"] = json!({
        "enabled": true,
        "domainToPublicKeysMapping": [{"domain": "up.example", "publicKeys": ["certificate:key"]}],
    });
    app.repo
        .write("ca.crt", CA)
        .write("key.pem", PUBLIC_KEY)
        .write("old.json", old.to_string())
        .write("new.json", new.to_string());
    app.push_well("first").await;
    are_there(&app, &[CA, SERVER, PUBLIC_KEY]).await;
    let (ca, server, key) = (id(CA), id(SERVER), id(PUBLIC_KEY));
    let live = app.gateway.live_classic("old").unwrap();
    assert_eq!(live["client_certificates"], json!([ca]));
    assert_eq!(live["certificates"], json!([server, "plain-id"]));
    assert_eq!(live["upstream_certificates"], json!({"up.example": server}));
    let pinned = json!({"up.example": format!("{key},{key}"), "x.example": "plain"});
    assert_eq!(live["pinned_public_keys"], pinned);
    let live = app.gateway.live_api("new").unwrap();
    let text = live.to_string();
    assert!(!text.contains("certificate:"), "{text}");
    for id in [&ca, &server, &key] {
        assert!(text.contains(id.as_str()), "{text}");
    }
    finish(app).await;
}

async fn two_files_of_one_certificate_are_one_object(mode: Mode) {
    let app = TestApp::start(mode).await;
    let commented = format!("# of the partner\r\n{}", CA.replace('\n', "\r\n"));
    app.repo
        .write("one.pem", CA)
        .write("two.crt", commented)
        .write("a.json", with_clients("a", &["certificate:one"]))
        .write("b.json", with_clients("b", &["certificate:two"]));
    let report = app.push_well("first").await;
    assert_eq!(report.changes.len(), 3);
    are_there(&app, &[CA]).await;
    finish(app).await;
}

async fn a_certificate_goes_when_nothing_uses_it_and_after_what_used_it(mode: Mode) {
    let app = TestApp::start(mode).await;
    app.repo
        .write("ca.pem", CA)
        .write("partner.pem", PARTNER)
        .write(
            "a.json",
            with_clients("a", &["certificate:ca", "certificate:partner"]),
        )
        .write("b.json", with_clients("b", &["certificate:ca"]))
        .write("c.json", classic("c", "/c/", "http://c"));
    app.push_well("first").await;
    // One of its two users is left.
    app.repo
        .write("a.json", with_clients("a", &["certificate:partner"]));
    app.push_well("one less").await;
    are_there(&app, &[CA, PARTNER]).await;
    app.repo.remove("b.json");
    app.gateway.clear_log();
    let report = app.push_well("none").await;
    let expected = [
        (Action::Delete, "b", APPLIED),
        (Action::Delete, "certificate", APPLIED),
    ];
    assert_eq!(done(&report), expected);
    let order: Vec<String> = app
        .gateway
        .log()
        .into_iter()
        .filter(|seen| seen.is_write() || seen.is_reload())
        .map(|seen| seen.path)
        .collect();
    let removed = format!("/tyk/certs/{}", id(CA));
    let expected = ["/tyk/apis/b", "/tyk/reload", &removed, "/tyk/reload"];
    assert_eq!(order, expected);
    are_there(&app, &[PARTNER]).await;
    finish(app).await;
}

async fn a_certificate_that_another_api_uses_stays(mode: Mode) {
    let app = TestApp::start(mode).await;
    app.repo
        .write("ca.pem", CA)
        .write("a.json", with_clients("a", &["certificate:ca"]));
    app.push_well("first").await;
    let foreign = with_clients("foreign", &[&id(CA)]);
    app.gateway
        .put_api_by_hand(&serde_json::from_str(&foreign).unwrap());
    app.gateway.reload_now().await;
    app.repo.write("a.json", classic("a", "/a/", "http://a"));
    let report = app.push_well("not ours any more").await;
    assert_eq!(done(&report), [(Action::Update, "a", APPLIED)]);
    let plan = report.plan.unwrap().to_string();
    assert!(plan.contains("stays: classic/foreign uses it"), "{plan}");
    are_there(&app, &[CA]).await;
    // It is still ours, and goes when the other lets go of it.
    app.gateway.remove_by_hand("foreign");
    app.gateway.reload_now().await;
    app.repo.write("README.md", "words");
    let report = app.push_well("gone").await;
    assert_eq!(done(&report), [(Action::Delete, "certificate", APPLIED)]);
    are_there(&app, &[]).await;
    finish(app).await;
}

async fn a_certificate_that_was_there_is_used_and_never_removed(mode: Mode) {
    let app = with_server(mode, "").await;
    let by_hand = client(&app.gateway);
    for pem in [CA, SERVER] {
        let body = Certificate::parse(pem).unwrap().body();
        let id = id(pem);
        by_hand.write(Kind::Certificate, &id, &body).await.unwrap();
    }
    app.repo
        .write("ca.pem", CA)
        .write("a.json", with_clients("a", &["certificate:ca"]))
        .write("b.json", classic("b", "/b/", "http://b"));
    let report = app.push_well("first").await;
    assert!(
        done(&report)
            .iter()
            .all(|(_, name, _)| *name != "certificate")
    );
    // One without its key is of no use where the gateway has to show it.
    app.repo.write("c.json", with_own("c", "shop-tls"));
    let report = app.push("own").await;
    assert_eq!(report.status, RunStatus::Parked);
    let message = report.message.unwrap();
    assert!(message.contains("without its private key"), "{message}");
    app.repo
        .remove("c.json")
        .write("a.json", classic("a", "/a/", "http://a"));
    app.push_well("unused").await;
    are_there(&app, &[CA, SERVER]).await;
    finish(app).await;
}

async fn a_shared_certificate_belongs_to_one_stack_until_the_other_takes_it_over(mode: Mode) {
    let app = TestApp::with_stack(mode, TWO).await;
    app.repo
        .write("one/ca.pem", CA)
        .write("one/a.json", with_clients("a", &["certificate:ca"]))
        .write("two/shared/ca.pem", CA)
        .write("two/b.json", with_clients("b", &["certificate:shared/ca"]));
    let reports = push_all(&app, "first").await;
    assert!(
        reports
            .iter()
            .all(|report| report.status == RunStatus::Succeeded)
    );
    let made: usize = reports.iter().map(|report| report.changes.len()).sum();
    assert_eq!(made, 3);
    assert_eq!(owner(&app, CA).await.as_deref(), Some("second"));
    // The owner lets go, the other takes it over.
    app.repo
        .write("two/b.json", classic("b", "/b/", "http://b"));
    push_all(&app, "second lets go").await;
    assert_eq!(owner(&app, CA).await.as_deref(), Some("shop"));
    are_there(&app, &[CA]).await;
    app.repo
        .write("one/a.json", classic("a", "/a/", "http://a"));
    push_all(&app, "nobody").await;
    are_there(&app, &[]).await;
    assert_eq!(owner(&app, CA).await, None);
    finish(app).await;
}

const TWO: &str = r#"path = "one"
[stack.second]
repository = "shop"
target = "production"
path = "two""#;

async fn push_all(app: &TestApp, message: &str) -> Vec<Report> {
    app.repo.commit(message);
    assert_eq!(app.push_webhook().await, 202);
    let mut reports = Vec::new();
    loop {
        let more = app.run_pending().await;
        if more.is_empty() {
            return reports;
        }
        reports.extend(more);
    }
}

async fn owner(app: &TestApp, pem: &str) -> Option<String> {
    let inventory = app.app.store.inventory("production", "").await.unwrap();
    let key = ObjectKey::new(Kind::Certificate, id(pem));
    inventory.get(&key).map(|owned| owned.stack.clone())
}

async fn a_certificate_that_was_removed_by_hand_is_put_back(mode: Mode) {
    let app = TestApp::with_stack(mode, "drift = \"revert\"").await;
    app.repo
        .write("ca.pem", CA)
        .write("a.json", with_clients("a", &["certificate:ca"]));
    app.push_well("first").await;
    let by_hand = client(&app.gateway);
    by_hand.delete(Kind::Certificate, &id(CA)).await.unwrap();
    schedule::drift(&app.app, "production").await.unwrap();
    let report = &app.run_pending().await[0];
    assert_eq!(done(report), [(Action::Create, "certificate", APPLIED)]);
    are_there(&app, &[CA]).await;
    let types = app.event_types().await;
    assert!(types.contains(&"drift.observed".to_owned()));
    finish(app).await;
}

async fn a_private_key_in_git_is_refused_and_kept_nowhere(mode: Mode) {
    let app = TestApp::start(mode).await;
    app.repo
        .write("tls.pem", format!("{SERVER}{SERVER_KEY}"))
        .write("a.json", with_own("a", "tls"));
    let report = app.push("a key").await;
    assert_eq!(report.status, RunStatus::Refused);
    let line = SERVER.lines().count() + 1;
    let message = report.message.unwrap();
    let expected = format!("tls.pem:{line}:1: a private key is refused");
    assert!(message.contains(&expected), "{message}");
    assert!(app.writes().is_empty());
    finish(app).await;
}

async fn what_cannot_be_referred_to_is_named_with_its_place(mode: Mode) {
    let app = with_server(mode, "path = \"apis\"").await;
    let mut a: Value =
        serde_json::from_str(&with_clients("a", &["certificate:certs/partnr"])).unwrap();
    a["pinned_public_keys"] = json!({"x": "certificate:certs/partner"});
    let a = serde_json::to_string_pretty(&a).unwrap();
    app.repo
        .write("apis/certs/partner.pem", PARTNER)
        .write("apis/broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n")
        .write("apis/shop-tls.pem", CA)
        .write("apis/a.json", &a)
        .write("apis/b.json", with_clients("b", &["certificate:broken"]))
        .write("apis/c.json", with_clients("c", &["certificate:shop-tls"]));
    let report = app.push("wrong").await;
    assert_eq!(report.status, RunStatus::Refused);
    let message = report.message.unwrap();
    let line = a.lines().position(|line| line.contains("partnr")).unwrap() + 1;
    for expected in [
        &format!(
            "apis/a.json:{line}:5: /client_certificates/0: there is no certificate \"certs/partnr\"; did you mean certificate:certs/partner?"
        ),
        "/pinned_public_keys/x: pins a public key, and apis/certs/partner.pem holds a certificate",
        "apis/broken.pem:1:1: the block is no PEM",
        "shop-tls may mean apis/shop-tls.pem or [certificate.shop-tls]",
    ] {
        assert!(message.contains(expected), "{expected}\n{message}");
    }
    assert!(app.writes().is_empty());
    finish(app).await;
}

async fn an_expired_certificate_is_warned_of_and_what_needs_it_is_not_written(mode: Mode) {
    let app = TestApp::start(mode).await;
    app.repo
        .write("expired.pem", EXPIRED)
        .write("future.pem", FUTURE)
        .write("a.json", with_clients("a", &["certificate:expired"]))
        .write("b.json", with_clients("b", &["certificate:future"]));
    app.repo.commit("dates");
    let stack = app.app.stack("shop").unwrap();
    let head = lockstep::sync::look::head(&app.app, stack).await.unwrap();
    let wanted = lockstep::sync::look::wanted(&app.app, stack, &head).await;
    let warnings = wanted.unwrap().warnings;
    let warned = |file: &str, text: &str| {
        let mut found = warnings.iter().filter(|warning| warning.file == file);
        assert!(
            found.any(|warning| warning.message.contains(text) && warning.line == 1),
            "{warnings:?}"
        );
    };
    warned("a.json", "expired on 2021-01-01T00:00:00Z");
    warned("b.json", "is not valid before 2090-01-01T00:00:00Z");
    let report = app.push("again").await;
    assert_eq!(report.status, RunStatus::Failed);
    let message = report.message.unwrap();
    assert!(message.contains("certificate is expired"), "{message}");
    assert_eq!(app.gateway.live_ids(), ["b"]);
    let skipped = report.changes.iter().find(|change| change.object.id == "a");
    let said = skipped.unwrap().message.clone().unwrap();
    assert!(said.contains("which the gateway did not take"), "{said}");
    are_there(&app, &[FUTURE]).await;
    finish(app).await;
}

/// With a certificate and its key in the configuration.
async fn with_server(mode: Mode, lines: &str) -> TestApp {
    let mut app = TestApp::with_stack(mode, lines).await;
    put_server(&app, SERVER, SERVER_KEY);
    app.config_text.push_str(
        "[certificate.shop-tls]\ncertificate = { file = \"shop.crt\" }\nprivate_key = { file = \"shop.key\" }\n",
    );
    app.app = app.another_worker().await;
    app
}

fn put_server(app: &TestApp, certificate: &str, key: &str) {
    std::fs::write(app.folder.path().join("shop.crt"), certificate).unwrap();
    std::fs::write(app.folder.path().join("shop.key"), key).unwrap();
}

async fn a_renewed_certificate_goes_live_by_itself_and_the_old_one_goes(mode: Mode) {
    let app = with_server(mode, "").await;
    app.repo.write("a.json", with_own("a", "shop-tls"));
    app.push_well("first").await;
    are_there(&app, &[SERVER]).await;
    let by_hand = client(&app.gateway);
    let has_key = by_hand.has_private_key(&id(SERVER)).await.unwrap();
    assert_eq!(has_key, Some(true));
    put_server(&app, RENEWED, RENEWED_KEY);
    schedule::drift(&app.app, "production").await.unwrap();
    let reports = app.run_pending().await;
    let expected = [
        (Action::Create, "certificate", APPLIED),
        (Action::Update, "a", APPLIED),
        (Action::Delete, "certificate", APPLIED),
    ];
    assert_eq!(done(&reports[0]), expected);
    are_there(&app, &[RENEWED]).await;
    let live = app.gateway.live_classic("a").unwrap();
    assert_eq!(live["certificates"], json!([id(RENEWED)]));
    schedule::drift(&app.app, "production").await.unwrap();
    assert!(app.run_pending().await.is_empty());
    finish(app).await;
}

async fn a_certificate_whose_chain_or_key_changed_is_put_anew(mode: Mode) {
    let app = with_server(mode, "").await;
    app.repo
        .write("tls.pem", SERVER)
        .write("a.json", with_clients("a", &["certificate:tls"]));
    app.push_well("public").await;
    app.repo.write("b.json", with_own("b", "shop-tls"));
    let report = app.push_well("with its key").await;
    let expected = [
        (Action::Update, "certificate", APPLIED),
        (Action::Create, "b", APPLIED),
    ];
    assert_eq!(done(&report), expected);
    let by_hand = client(&app.gateway);
    let has_key = by_hand.has_private_key(&id(SERVER)).await.unwrap();
    assert_eq!(has_key, Some(true));
    put_server(&app, &format!("{SERVER}{CA}"), SERVER_KEY);
    app.repo.write("README.md", "words");
    let report = app.push_well("with a chain").await;
    assert_eq!(done(&report), [(Action::Update, "certificate", APPLIED)]);
    are_there(&app, &[SERVER]).await;
    finish(app).await;
}

async fn an_unusable_renewal_leaves_what_is_live(mode: Mode) {
    let app = with_server(mode, "").await;
    app.repo.write("a.json", with_own("a", "shop-tls"));
    app.push_well("first").await;
    put_server(&app, EXPIRED, RENEWED_KEY);
    schedule::drift(&app.app, "production").await.unwrap();
    let reports = app.run_pending().await;
    assert_eq!(reports[0].status, RunStatus::Failed);
    are_there(&app, &[SERVER]).await;
    let live = app.gateway.live_classic("a").unwrap();
    assert_eq!(live["certificates"], json!([id(SERVER)]));
    assert_eq!(upstream(&live), "http://up");
    // It is told once, and not sent at every look.
    schedule::drift(&app.app, "production").await.unwrap();
    assert!(app.run_pending().await.is_empty());
    std::fs::remove_file(app.folder.path().join("shop.crt")).unwrap();
    app.repo.write("README.md", "words");
    let report = app.push("unreadable").await;
    assert_eq!(report.status, RunStatus::Failed);
    let message = report.message.unwrap();
    assert!(
        message.contains("[certificate.shop-tls] of the configuration: cannot be read"),
        "{message}"
    );
    // It is tried again by itself.
    assert!(report.again_at.is_some());
    put_server(&app, RENEWED, RENEWED_KEY);
    app.forget_backoff().await;
    let reports = app.run_pending().await;
    assert_eq!(reports[0].status, RunStatus::Succeeded);
    are_there(&app, &[RENEWED]).await;
    finish(app).await;
}

async fn removed_certificates_do_not_count_as_losses(mode: Mode) {
    let app = TestApp::with_stack(mode, "deletion_limit = 0").await;
    app.repo
        .write("ca.pem", CA)
        .write("partner.pem", PARTNER)
        .write(
            "a.json",
            with_clients("a", &["certificate:ca", "certificate:partner"]),
        );
    app.push_well("first").await;
    app.repo.write("a.json", classic("a", "/a/", "http://a"));
    let report = app.push_well("unused").await;
    assert_eq!(report.changes.len(), 3);
    are_there(&app, &[]).await;
    finish(app).await;
}

async fn plans_without_certificates_ask_for_none(mode: Mode) {
    let app = TestApp::start(mode).await;
    app.repo
        .write("ca.pem", CA)
        .write("a.json", with_clients("a", &["an-id-of-somebody"]));
    let report = app.push_well("first").await;
    assert_eq!(done(&report), [(Action::Create, "a", APPLIED)]);
    let log = app.gateway.log();
    assert!(log.iter().all(|seen| !seen.path.starts_with("/tyk/certs")));
    finish(app).await;
}

async fn nodes_that_share_their_certificates_keep_what_one_of_them_uses(mode: Mode) {
    let app = TestApp::with_nodes(mode, "", 1).await;
    app.repo
        .write("ca.pem", CA)
        .write("a.json", with_clients("a", &["certificate:ca"]));
    app.push_well("first").await;
    assert_eq!(on(&app.more[0]).await.len(), 1);
    app.repo.write("a.json", classic("a", "/a/", "http://a"));
    let report = app.push_well("unused").await;
    // On the first node it stays, because the second was not there yet; then it goes.
    let kept = report.nodes[0].plan.as_ref().unwrap().to_string();
    assert!(kept.contains("stays: the node "), "{kept}");
    let removed: Vec<usize> = report
        .nodes
        .iter()
        .map(|node| {
            node.changes
                .iter()
                .filter(|change| change.action.removes())
                .count()
        })
        .collect();
    assert_eq!(removed, [0, 1]);
    app.repo.write("README.md", "words");
    app.push_well("again").await;
    assert!(on(&app.gateway).await.is_empty());
    assert!(on(&app.more[0]).await.is_empty());
    finish(app).await;
}

fn parsed(text: &str, folder: &std::path::Path) -> Result<Config, String> {
    let environment = |name: &str| (name == "KEY").then(|| SERVER_KEY.to_owned());
    Config::parse(text, folder, &environment).map_err(|errors| errors.to_string())
}

#[test]
fn the_configuration_names_certificates_and_keys_by_reference() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    file("tls.crt", SERVER);
    file("tls.pem", &format!("{SERVER}{SERVER_KEY}"));
    file("broken.crt", "words");
    let good = "[certificate.a]\ncertificate = { file = \"tls.crt\" }\nprivate_key = { env = \"KEY\" }\n\
                [certificate.b]\ncertificate = { file = \"tls.pem\" }\n";
    let config = parsed(good, folder.path()).unwrap();
    for certificate in config.certificates.values() {
        let text = certificate.text().unwrap();
        let read = Certificate::parse(text.expose_secret()).unwrap();
        assert!(read.has_private_key);
        let line = SERVER_KEY.lines().nth(1).unwrap();
        assert!(!format!("{certificate:?}").contains(line));
    }
    let cases = [
        (
            "private_key = { env = \"KEY\" }",
            "certificate.a.certificate: is missing",
        ),
        (
            "certificate = { file = \"none.crt\" }",
            "certificate.a: cannot be read from",
        ),
        (
            "certificate = { file = \"broken.crt\" }",
            "certificate.a: holds no certificate",
        ),
        (
            "certificate = { file = \"tls.crt\" }\nprivate_key = { file = \"tls.crt\" }",
            "certificate.a: private_key holds no private key in PEM",
        ),
        (
            "certificate = \"-----BEGIN CERTIFICATE-----\"",
            "certificate.a.certificate: secrets are given by reference",
        ),
        (
            "certificate = { file = \"tls.pem\" }\nprivate_key = { env = \"KEY\" }",
            "certificate.a: there is a second private key",
        ),
    ];
    for (lines, expected) in cases {
        let text = format!("[certificate.a]\n{lines}\n");
        let message = parsed(&text, folder.path()).unwrap_err();
        assert!(message.contains(expected), "{expected}\n{message}");
    }
}

#[test]
fn a_name_that_only_the_server_knows_can_be_validated() {
    let file = |path: &str, text: &str| SourceFile {
        path: path.to_owned(),
        bytes: text.as_bytes().to_vec(),
    };
    let mut api: Value = serde_json::from_str(&with_own("a", "shop-tls")).unwrap();
    api["client_certificates"] = json!(["certificate:certs/ca"]);
    let files = [
        file("tyk/a.json", &api.to_string()),
        file("tyk/certs/ca.pem", CA),
        file("tyk/certs/unused.pem", SERVER_KEY),
    ];
    let options = manifest::Options {
        folders: vec!["tyk/".to_owned()],
        certificates: [("shop-tls".to_owned(), NamedCertificate::NotHere)].into(),
        ..manifest::Options::default()
    };
    let read = manifest::read(&files, &options).unwrap();
    let keys: Vec<Kind> = read.desired.keys().map(|key| key.kind).collect();
    assert_eq!(keys, [Kind::Certificate, Kind::ClassicApi]);
    let body = &read.desired.values().next_back().unwrap().body;
    assert_eq!(body["certificates"], json!(["certificate:shop-tls"]));
    assert_eq!(read.ignored[0].path, "tyk/certs/unused.pem");
    let warned: Vec<String> = read.warnings.iter().map(ToString::to_string).collect();
    let key = "tyk/certs/unused.pem: there is a private key on line 1";
    assert!(
        warned.iter().any(|warning| warning.contains(key)),
        "{warned:?}"
    );
}
