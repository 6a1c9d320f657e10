//! What the client and a Tyk Gateway owe each other. Every case runs against the stand-in, and
//! against a real gateway when `LOCKSTEP_TEST_GATEWAY_URL` names its control API and
//! `LOCKSTEP_TEST_GATEWAY_SECRET` its secret. It need not be empty; ids get a prefix of their own
//! and are removed at the end. Nobody else should write to it meanwhile.

use std::{collections::BTreeSet, env, panic, panic::AssertUnwindSafe, sync::Mutex};

use futures_util::{FutureExt as _, future::join_all};
use lockstep::{
    domain::{
        certificate::Certificate,
        object::{Kind, ObjectKey, Route},
    },
    sandbox::gateway::{Gateway, GatewayOptions},
    tyk::gateway::{Added, Client, Deleted, Error, Listed, Options, Readiness},
};
use serde_json::{Value, json};
use uuid::Uuid;

macro_rules! contract {
    ($($case:ident),+ $(,)?) => {
        mod stand_in {
            $(#[tokio::test]
            async fn $case() {
                super::Contract::on_the_stand_in().await.run(super::$case).await;
            })+
        }

        mod real_gateway {
            $(#[tokio::test]
            #[ignore = "needs LOCKSTEP_TEST_GATEWAY_URL; tests/run leaves it out without"]
            async fn $case() {
                let _turn = super::ONE_AT_A_TIME.lock().await;
                super::Contract::on_a_real_gateway().await.run(super::$case).await;
            })+
        }
    };
}

contract! {
    a_gateway_says_that_it_is_ready_and_which_version_it_is,
    a_wrong_secret_is_named_as_the_problem_and_nothing_is_done,
    an_address_that_is_not_the_control_api_is_never_an_empty_gateway,
    what_was_written_is_live_after_a_reload_and_not_before,
    a_write_creates_or_overwrites,
    a_listing_tells_kinds_names_and_routes,
    a_listing_keeps_the_exact_text,
    an_oas_document_is_read_by_id,
    reads_of_documents_never_overlap,
    what_was_deleted_is_live_until_a_reload,
    deleting_what_is_absent_is_told_apart_from_deleting,
    an_mcp_proxy_is_deleted_as_what_it_is,
    a_body_that_makes_another_object_is_found_out,
    a_refusal_comes_with_the_gateways_own_words,
    an_api_with_a_bad_listen_path_vanishes_and_a_write_repairs_it,
    a_duplicate_listen_path_is_renamed_until_the_document_changes,
    an_api_can_change_its_kind,
    one_reload_makes_fifty_objects_live,
    names_and_bodies_may_hold_any_character,
    ids_are_one_segment_of_the_path_whatever_they_hold,
    a_certificate_is_listed_at_once_under_the_id_that_it_names_itself_by,
    a_certificate_that_is_there_is_put_anew_only_when_the_gateway_would_take_it,
    a_certificate_that_cannot_be_used_is_refused_with_the_gateways_own_words,
    a_public_key_is_kept_like_a_certificate,
}

async fn a_gateway_says_that_it_is_ready_and_which_version_it_is(gateway: &Contract) {
    let client = &gateway.client;
    assert_eq!(client.readiness().await.unwrap(), Readiness::Ready);
    assert!(client.version().await.unwrap().contains('.'));
}

async fn a_wrong_secret_is_named_as_the_problem_and_nothing_is_done(gateway: &Contract) {
    let id = gateway.id("a");
    gateway.write(Kind::ClassicApi, &id, &classic(&id)).await;
    gateway.reload().await;
    let intruder = gateway.client_at("", "not the secret");
    let body = classic(&id);
    let refusals = [
        intruder.list().await.unwrap_err(),
        intruder.document(&id).await.unwrap_err(),
        intruder
            .write(Kind::ClassicApi, &gateway.id("b"), &body)
            .await
            .unwrap_err(),
        intruder.delete(Kind::ClassicApi, &id).await.unwrap_err(),
        intruder.reload().await.unwrap_err(),
    ];
    for refusal in refusals {
        let Error::Unauthorized {
            status: 403,
            message,
        } = &refusal
        else {
            panic!("{refusal}");
        };
        assert_eq!(
            message,
            "Attempted administrative access with invalid or missing key!"
        );
        assert!(refusal.is_denial() && !refusal.is_transient() && !refusal.is_ambiguous());
    }
    gateway.reload().await;
    assert_eq!(gateway.live_ids().await, [id]);
}

async fn an_address_that_is_not_the_control_api_is_never_an_empty_gateway(gateway: &Contract) {
    let elsewhere = gateway.client_at("/elsewhere", &gateway.secret);
    assert_eq!(elsewhere.readiness().await.unwrap(), Readiness::Unknown);
    let errors = [
        elsewhere.version().await.unwrap_err(),
        elsewhere.list().await.unwrap_err(),
        elsewhere.document("a").await.unwrap_err(),
        elsewhere
            .write(Kind::ClassicApi, "a", &classic("a"))
            .await
            .unwrap_err(),
        elsewhere.delete(Kind::ClassicApi, "a").await.unwrap_err(),
        elsewhere.delete(Kind::Policy, "a").await.unwrap_err(),
        elsewhere.reload().await.unwrap_err(),
    ];
    for error in errors {
        assert!(
            matches!(error, Error::NotFound { status: 404, .. }),
            "{error}"
        );
    }
}

async fn what_was_written_is_live_after_a_reload_and_not_before(gateway: &Contract) {
    for kind in Kind::LOADED {
        let id = gateway.id_of(kind);
        gateway.write(kind, &id, &plain(kind, &id)).await;
    }
    assert!(gateway.live().await.is_empty());
    gateway.reload().await;
    let expected: Vec<ObjectKey> = Kind::LOADED
        .map(|kind| ObjectKey::new(kind, gateway.id_of(kind)))
        .into();
    assert_eq!(gateway.live_keys().await, expected);
}

async fn a_write_creates_or_overwrites(gateway: &Contract) {
    for kind in Kind::LOADED {
        let id = gateway.id_of(kind);
        gateway.write(kind, &id, &plain(kind, &id)).await;
        gateway.reload().await;
        gateway.write(kind, &id, &named(kind, &id, "before")).await;
        gateway.write(kind, &id, &named(kind, &id, "after")).await;
        assert_eq!(gateway.one(kind, &id).await.name, id, "not before a reload");
        gateway.reload().await;
        assert_eq!(gateway.one(kind, &id).await.name, "after");
    }
}

async fn a_listing_tells_kinds_names_and_routes(gateway: &Contract) {
    let id = |name: &str| gateway.id(name);
    let mut with_domain = classic(&id("c-domain"));
    with_domain["domain"] = json!("c.example.com");
    let mut domain_off = classic(&id("c-off"));
    domain_off["domain"] = json!("off.example.com");
    domain_off["domain_disabled"] = json!(true);
    let mut oas_domain = oas(&id("o-domain"));
    oas_domain["x-tyk-api-gateway"]["server"]["customDomain"] =
        json!({"enabled": true, "name": "o.example.com"});
    let mut oas_domain_off = oas(&id("o-off"));
    oas_domain_off["x-tyk-api-gateway"]["server"]["customDomain"] =
        json!({"enabled": false, "name": "off.example.com"});
    let wanted = [
        (Kind::ClassicApi, "c", classic(&id("c")), Some("")),
        (
            Kind::ClassicApi,
            "c-domain",
            with_domain,
            Some("c.example.com"),
        ),
        (Kind::ClassicApi, "c-off", domain_off, Some("")),
        (Kind::OasApi, "o", oas(&id("o")), Some("")),
        (Kind::OasApi, "o-domain", oas_domain, Some("o.example.com")),
        (Kind::OasApi, "o-off", oas_domain_off, Some("")),
        (Kind::McpProxy, "m", oas(&id("m")), Some("")),
        (Kind::Policy, "p", policy(&id("p")), None),
    ];
    for (kind, name, body, _) in &wanted {
        gateway.write(*kind, &id(name), body).await;
    }
    gateway.reload().await;
    assert_eq!(gateway.live().await.len(), wanted.len());
    for (kind, name, _, domain) in wanted {
        let listed = gateway.one(kind, &id(name)).await;
        assert_eq!(listed.name, id(name));
        let route = domain.map(|domain| Route::new(domain, &format!("/{}/", id(name))));
        assert_eq!(listed.route, route, "{name}");
    }
}

async fn a_listing_keeps_the_exact_text(gateway: &Contract) {
    let id = gateway.id("p");
    let mut body = policy(&id);
    body["quota_max"] = json!(9_007_199_254_740_993_i64);
    gateway.write(Kind::Policy, &id, &body).await;
    gateway.reload().await;
    let listed = gateway.one(Kind::Policy, &id).await;
    assert!(
        listed
            .raw
            .get()
            .contains(r#""quota_max":9007199254740993,"#)
    );
    assert_eq!(listed.body()["quota_max"], json!(9_007_199_254_740_993_i64));
    assert_eq!(listed.body()["_id"], json!(""));
}

async fn an_oas_document_is_read_by_id(gateway: &Contract) {
    let id = |name: &str| gateway.id(name);
    gateway.write(Kind::OasApi, &id("o"), &oas(&id("o"))).await;
    gateway
        .write(Kind::McpProxy, &id("m"), &oas(&id("m")))
        .await;
    gateway
        .write(Kind::ClassicApi, &id("c"), &classic(&id("c")))
        .await;
    assert_eq!(gateway.client.document(&id("o")).await.unwrap(), None);
    gateway.reload().await;
    for name in ["o", "m"] {
        let document = gateway.client.document(&id(name)).await.unwrap().unwrap();
        assert_eq!(document["x-tyk-api-gateway"]["info"]["id"], id(name));
    }
    assert_eq!(gateway.client.document(&id("absent")).await.unwrap(), None);
    let error = gateway.client.document(&id("c")).await.unwrap_err();
    let message =
        "the requested API definition is in Tyk classic format, please use old api endpoint";
    assert_eq!(error, refused(400, message));
}

async fn reads_of_documents_never_overlap(gateway: &Contract) {
    if let Some(stand_in) = &gateway.stand_in {
        stand_in.faults().die_on_overlapping_oas_reads(true);
    }
    let id = gateway.id("jwt");
    let mut body = oas(&id);
    body["components"] = json!({"securitySchemes": {"idp": {
        "type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}});
    body["security"] = json!([{"idp": []}]);
    body["x-tyk-api-gateway"]["server"]["authentication"] = json!({
        "enabled": true,
        "securitySchemes": {"idp": {
            "enabled": true,
            "header": {"enabled": true, "name": "Authorization"},
            "signingMethod": "hmac",
            "source": "c2VjcmV0",
            "identityBaseField": "sub",
            "defaultPolicies": ["none"]
        }}
    });
    gateway.write(Kind::OasApi, &id, &body).await;
    gateway.reload().await;
    // Two readers at once stop a real gateway within some hundred reads.
    let readers = (0..4).map(|_| async {
        for _ in 0..250 {
            assert!(gateway.client.document(&id).await.unwrap().is_some());
        }
    });
    join_all(readers).await;
}

async fn what_was_deleted_is_live_until_a_reload(gateway: &Contract) {
    for kind in Kind::LOADED {
        let id = gateway.id_of(kind);
        gateway.write(kind, &id, &plain(kind, &id)).await;
    }
    gateway.reload().await;
    for kind in Kind::LOADED {
        let id = gateway.id_of(kind);
        assert_eq!(gateway.delete(kind, &id).await, Deleted::Done);
    }
    assert_eq!(gateway.live().await.len(), 4);
    gateway.reload().await;
    assert!(gateway.live().await.is_empty());
}

async fn deleting_what_is_absent_is_told_apart_from_deleting(gateway: &Contract) {
    let failed = Deleted::Refused("Delete failed".to_owned());
    for kind in Kind::LOADED {
        let id = gateway.id_of(kind);
        let never = gateway.delete(kind, &id).await;
        gateway.write(kind, &id, &plain(kind, &id)).await;
        let not_yet = gateway.delete(kind, &id).await;
        gateway.write(kind, &id, &plain(kind, &id)).await;
        gateway.reload().await;
        let once = gateway.delete(kind, &id).await;
        let twice = gateway.delete(kind, &id).await;
        gateway.reload().await;
        let gone = gateway.delete(kind, &id).await;
        let found = [never, not_yet, once, twice, gone];
        let expected = if kind == Kind::Policy {
            // Policies are deleted without a look at what is live.
            [
                failed.clone(),
                Deleted::Done,
                Deleted::Done,
                failed.clone(),
                failed.clone(),
            ]
        } else {
            [
                Deleted::Absent,
                Deleted::Absent,
                Deleted::Done,
                failed.clone(),
                Deleted::Absent,
            ]
        };
        assert_eq!(found, expected, "{kind}");
    }
}

async fn an_mcp_proxy_is_deleted_as_what_it_is(gateway: &Contract) {
    let (proxy, api) = (gateway.id("m"), gateway.id("o"));
    gateway.write(Kind::McpProxy, &proxy, &oas(&proxy)).await;
    gateway.write(Kind::OasApi, &api, &oas(&api)).await;
    gateway.reload().await;
    let failed = Deleted::Refused("Delete failed".to_owned());
    assert_eq!(gateway.delete(Kind::OasApi, &proxy).await, failed);
    let other_kind = Deleted::Refused("API is not an MCP Proxy".to_owned());
    assert_eq!(gateway.delete(Kind::McpProxy, &api).await, other_kind);
    assert_eq!(gateway.live().await.len(), 2);
    // The attempt in vain took the one of its two files that every API has.
    gateway.write(Kind::McpProxy, &proxy, &oas(&proxy)).await;
    assert_eq!(gateway.delete(Kind::McpProxy, &proxy).await, Deleted::Done);
    gateway.reload().await;
    assert_eq!(gateway.live_ids().await, [api]);
}

async fn a_body_that_makes_another_object_is_found_out(gateway: &Contract) {
    let id = gateway.id("meant");
    let mut without_id = oas(&id);
    let info = without_id.pointer_mut("/x-tyk-api-gateway/info").unwrap();
    info.as_object_mut().unwrap().remove("id");
    let mut bad_database_id = oas(&id);
    bad_database_id["x-tyk-api-gateway"]["info"]["dbId"] = json!("no object id");
    let wrong = [
        (Kind::ClassicApi, Value::Null),
        (Kind::ClassicApi, json!({})),
        (Kind::ClassicApi, oas(&id)),
        (Kind::OasApi, without_id),
        (Kind::OasApi, bad_database_id),
        (Kind::ClassicApi, classic(&gateway.id("other"))),
        (Kind::Policy, policy(&gateway.id("other"))),
    ];
    for (kind, body) in wrong {
        let error = gateway.client.write(kind, &id, &body).await.unwrap_err();
        let Error::WrongKey { asked, made } = &error else {
            panic!("{error}");
        };
        assert_eq!(asked, &id);
        assert!(!error.is_transient());
        gateway.note(kind, made);
        assert!(error.to_string().contains(made.as_str()));
    }
}

async fn a_refusal_comes_with_the_gateways_own_words(gateway: &Contract) {
    let id = gateway.id("a");
    let mut wrong_type = classic(&id);
    wrong_type["name"] = json!(5);
    let mut bad_address = classic(&id);
    bad_address["enable_ip_whitelisting"] = json!(true);
    bad_address["allowed_ips"] = json!(["300.1.1.1"]);
    let mut bad_id = classic(&id);
    bad_id["api_id"] = json!("a/b");
    let mut no_extension = oas(&id);
    no_extension
        .as_object_mut()
        .unwrap()
        .remove("x-tyk-api-gateway");
    let mut no_server = oas(&id);
    no_server["x-tyk-api-gateway"]
        .as_object_mut()
        .unwrap()
        .remove("server");
    let mut unclosed = oas(&id);
    unclosed["x-tyk-api-gateway"]["server"]["listenPath"]["value"] = json!("/x/{y/");
    let mut nameless_policy = policy(&id);
    nameless_policy.as_object_mut().unwrap().remove("id");
    let mut policy_type = policy(&id);
    policy_type["rate"] = json!("many");
    let cases = [
        (Kind::ClassicApi, wrong_type, "Request malformed"),
        (
            Kind::ClassicApi,
            bad_address,
            "Validation of API Definition failed. Reason: invalid IP/CIDR \"300.1.1.1\".",
        ),
        (Kind::ClassicApi, bad_id, "Invalid API ID"),
        (
            Kind::OasApi,
            no_extension.clone(),
            "the payload should contain x-tyk-api-gateway",
        ),
        (
            Kind::McpProxy,
            no_extension,
            "the payload should contain x-tyk-api-gateway",
        ),
        (
            Kind::OasApi,
            no_server,
            "x-tyk-api-gateway: server is required",
        ),
        (
            Kind::OasApi,
            unclosed,
            "failed to add Tyk servers: failed to parse: expected closing curly brace at position 24",
        ),
        (
            Kind::Policy,
            nameless_policy,
            "Unable to create policy without id.",
        ),
        (Kind::Policy, policy_type, "Request malformed"),
        (
            Kind::Policy,
            policy("a b"),
            "Invalid Policy ID: Allowed characters: a-z, A-Z, 0-9, ., _, -, ~",
        ),
    ];
    for (kind, body, words) in cases {
        let error = gateway.client.write(kind, &id, &body).await.unwrap_err();
        let Error::Refused {
            status: 400,
            message,
        } = &error
        else {
            panic!("{kind}: {error}");
        };
        let (start, _) = words.split_once(" at position").unwrap_or((words, ""));
        assert!(message.starts_with(start), "{message}");
        assert!(!error.is_ambiguous() && !error.is_transient() && !error.is_denial());
    }
    gateway.reload().await;
    assert!(gateway.live().await.is_empty());
}

async fn an_api_with_a_bad_listen_path_vanishes_and_a_write_repairs_it(gateway: &Contract) {
    let (id, other) = (gateway.id("c"), gateway.id("o"));
    gateway.write(Kind::ClassicApi, &id, &classic(&id)).await;
    gateway.write(Kind::OasApi, &other, &oas(&other)).await;
    gateway.reload().await;
    let mut unclosed = classic(&id);
    unclosed["proxy"]["listen_path"] = json!("/x/{y/");
    let mut no_slash = oas(&other);
    no_slash["x-tyk-api-gateway"]["server"]["listenPath"]["value"] = json!("no-slash/");
    gateway.write(Kind::ClassicApi, &id, &unclosed).await;
    gateway.write(Kind::OasApi, &other, &no_slash).await;
    gateway.reload().await;
    assert!(gateway.live().await.is_empty());
    assert_eq!(gateway.delete(Kind::ClassicApi, &id).await, Deleted::Absent);
    gateway.write(Kind::ClassicApi, &id, &classic(&id)).await;
    gateway.write(Kind::OasApi, &other, &oas(&other)).await;
    gateway.reload().await;
    assert_eq!(gateway.live().await.len(), 2);
}

async fn a_duplicate_listen_path_is_renamed_until_the_document_changes(gateway: &Contract) {
    let (first, second) = (gateway.id("first"), gateway.id("second"));
    let path = format!("/{first}/");
    let mut body = classic(&second);
    body["proxy"]["listen_path"] = json!(path);
    gateway
        .write(Kind::ClassicApi, &first, &classic(&first))
        .await;
    gateway.reload().await;
    gateway.write(Kind::ClassicApi, &second, &body).await;
    gateway.reload().await;
    let renamed = Route::new("", &format!("{path}-{second}"));
    let own = Route::new("", &path);
    let route = async |id: &str| {
        let listed = gateway.one(Kind::ClassicApi, id).await;
        listed.route.unwrap()
    };
    assert_eq!(route(&first).await, own);
    assert_eq!(route(&second).await, renamed);
    gateway.delete(Kind::ClassicApi, &first).await;
    gateway.reload().await;
    gateway.write(Kind::ClassicApi, &second, &body).await;
    gateway.reload().await;
    assert_eq!(
        route(&second).await,
        renamed,
        "the same body repairs nothing"
    );
    body["name"] = json!("changed");
    gateway.write(Kind::ClassicApi, &second, &body).await;
    gateway.reload().await;
    assert_eq!(route(&second).await, own);
}

async fn an_api_can_change_its_kind(gateway: &Contract) {
    let id = gateway.id("a");
    gateway.write(Kind::OasApi, &id, &oas(&id)).await;
    gateway.reload().await;
    assert_eq!(gateway.delete(Kind::OasApi, &id).await, Deleted::Done);
    gateway.reload().await;
    gateway.write(Kind::ClassicApi, &id, &classic(&id)).await;
    gateway.reload().await;
    let classic = [ObjectKey::new(Kind::ClassicApi, &id)];
    assert_eq!(gateway.live_keys().await, classic);
    gateway.write(Kind::OasApi, &id, &oas(&id)).await;
    gateway.reload().await;
    let oas = [ObjectKey::new(Kind::OasApi, &id)];
    assert_eq!(gateway.live_keys().await, oas);
}

async fn one_reload_makes_fifty_objects_live(gateway: &Contract) {
    let kinds = [Kind::Policy, Kind::ClassicApi, Kind::OasApi];
    let mut expected = BTreeSet::new();
    for (number, kind) in (0..50).zip(kinds.into_iter().cycle()) {
        let id = gateway.id(&number.to_string());
        gateway.write(kind, &id, &plain(kind, &id)).await;
        expected.insert(ObjectKey::new(kind, id));
    }
    gateway.reload().await;
    let found: BTreeSet<ObjectKey> = gateway.live_keys().await.into_iter().collect();
    assert_eq!(found, expected);
}

async fn names_and_bodies_may_hold_any_character(gateway: &Contract) {
    let name = "Ünïcode 日本語 🦀 <&> \"quoted\" \\ tab\t";
    for kind in [Kind::Policy, Kind::ClassicApi, Kind::OasApi] {
        let id = gateway.id_of(kind);
        gateway.write(kind, &id, &named(kind, &id, name)).await;
    }
    gateway.reload().await;
    for kind in [Kind::Policy, Kind::ClassicApi, Kind::OasApi] {
        let listed = gateway.one(kind, &gateway.id_of(kind)).await;
        assert_eq!(listed.name, name);
        assert_eq!(listed.body()["name"], name);
    }
}

async fn ids_are_one_segment_of_the_path_whatever_they_hold(gateway: &Contract) {
    let odd = [
        "é", "日本", "a b", "a%b", "a%20b", "a+b", "a?b", "a#b", "a;b", "a&b=c", "a:b@c", "a.b",
        "~", "a\"b", "a'b", "a<b>", "a\tb", "[a]", "{a}", "a|b", "a*b", "a,b", "a$b", "..a",
    ];
    for (number, odd) in odd.iter().enumerate() {
        let id = gateway.id(odd);
        let mut body = oas(&id);
        let path = format!("/{}/", gateway.id(&number.to_string()));
        body["x-tyk-api-gateway"]["server"]["listenPath"]["value"] = json!(path);
        gateway.write(Kind::OasApi, &id, &body).await;
    }
    gateway.reload().await;
    assert_eq!(gateway.live().await.len(), odd.len());
    for odd in odd {
        let id = gateway.id(odd);
        let document = gateway.client.document(&id).await.unwrap();
        let document = document.unwrap_or_else(|| panic!("{id} is not found by its id"));
        assert_eq!(document["x-tyk-api-gateway"]["info"]["id"], id);
        assert_eq!(gateway.delete(Kind::OasApi, &id).await, Deleted::Done);
    }
    gateway.reload().await;
    assert!(gateway.live().await.is_empty());
    for encoded in ["a%2Fb", "%2e%2e%2fa", "a%255Cb"] {
        let id = gateway.id(encoded);
        let error = gateway
            .client
            .write(Kind::ClassicApi, &id, &classic(&id))
            .await;
        assert_eq!(error.unwrap_err(), refused(400, "Invalid API ID"));
    }
}

async fn a_certificate_is_listed_at_once_under_the_id_that_it_names_itself_by(gateway: &Contract) {
    let (client, organisation) = (&gateway.client, gateway.id("x"));
    assert!(client.certificates(&organisation).await.unwrap().is_empty());
    let mut ids = Vec::new();
    for pem in [CA, PARTNER] {
        let certificate = Certificate::parse(pem).unwrap();
        let id = certificate.id(&organisation);
        gateway
            .write(Kind::Certificate, &id, &certificate.body())
            .await;
        let again = client.add_certificate(&id, &certificate.body()).await;
        assert_eq!(again.unwrap(), Added::Exists);
        ids.push(id);
    }
    let listed = client.certificates(&organisation).await.unwrap();
    assert_eq!(listed, ids.iter().cloned().collect());
    // Another organisation's name may begin alike.
    let shorter = organisation.trim_end_matches('x');
    assert!(client.certificates(shorter).await.unwrap().is_empty());
    for id in &ids {
        // It says the same of one that is gone.
        assert_eq!(gateway.delete(Kind::Certificate, id).await, Deleted::Done);
        assert_eq!(gateway.delete(Kind::Certificate, id).await, Deleted::Done);
    }
    assert!(client.certificates(&organisation).await.unwrap().is_empty());
}

async fn a_certificate_that_is_there_is_put_anew_only_when_the_gateway_would_take_it(
    gateway: &Contract,
) {
    let (client, organisation) = (&gateway.client, gateway.id("x"));
    let alone = Certificate::parse(SERVER).unwrap();
    let id = alone.id(&organisation);
    assert_eq!(client.has_private_key(&id).await.unwrap(), None);
    gateway.write(Kind::Certificate, &id, &alone.body()).await;
    assert_eq!(client.has_private_key(&id).await.unwrap(), Some(false));
    let two_keys = json!({"pem": format!("{SERVER}{SERVER_KEY}{SERVER_KEY}")});
    let refusal = client.renew_certificate(&id, &two_keys).await;
    assert_eq!(
        refusal.unwrap_err(),
        refused(403, "Found multiple private keys")
    );
    assert_eq!(client.has_private_key(&id).await.unwrap(), Some(false));
    let with_key = Certificate::parse(&format!("{SERVER}{SERVER_KEY}")).unwrap();
    assert_eq!(with_key.id(&organisation), id);
    let renewed = client.renew_certificate(&id, &with_key.body()).await;
    renewed.unwrap();
    assert_eq!(client.has_private_key(&id).await.unwrap(), Some(true));
}

async fn a_certificate_that_cannot_be_used_is_refused_with_the_gateways_own_words(
    gateway: &Contract,
) {
    let organisation = gateway.id("x");
    let expired = Certificate::parse(EXPIRED).unwrap();
    let id = expired.id(&organisation);
    let cases = [
        (expired.body(), "certificate is expired"),
        (
            json!({"pem": "no PEM"}),
            "Failed to decode certificate. It should be PEM encoded.",
        ),
        (
            json!({"pem": format!("{CA}{PUBLIC_KEY}")}),
            "Public keys can't be combined with certificates",
        ),
    ];
    for (body, message) in cases {
        let refusal = gateway.client.add_certificate(&id, &body).await;
        let refusal = refusal.unwrap_err();
        assert_eq!(refusal, refused(403, message));
        assert!(!refusal.is_denial() && !refusal.is_transient() && !refusal.is_ambiguous());
    }
    // What is another one than its id says is found out.
    let other = Certificate::parse(CA).unwrap();
    let made = other.id(&organisation);
    gateway.note(Kind::Certificate, &made);
    let error = gateway.client.add_certificate(&id, &other.body()).await;
    assert_eq!(error.unwrap_err(), Error::WrongKey { asked: id, made });
    let listed = gateway.client.certificates(&organisation).await.unwrap();
    assert_eq!(listed.len(), 1);
}

async fn a_public_key_is_kept_like_a_certificate(gateway: &Contract) {
    let (client, organisation) = (&gateway.client, gateway.id("x"));
    let key = Certificate::parse(PUBLIC_KEY).unwrap();
    let id = key.id(&organisation);
    gateway.write(Kind::Certificate, &id, &key.body()).await;
    assert!(
        client
            .certificates(&organisation)
            .await
            .unwrap()
            .contains(&id)
    );
    assert_eq!(client.has_private_key(&id).await.unwrap(), Some(false));
}

const CA: &str = include_str!("../data/certificates/ca.pem");
const PARTNER: &str = include_str!("../data/certificates/partner.pem");
const EXPIRED: &str = include_str!("../data/certificates/expired.pem");
const SERVER: &str = include_str!("../data/certificates/server.pem");
const SERVER_KEY: &str = include_str!("../data/certificates/server.key");
const PUBLIC_KEY: &str = include_str!("../data/certificates/server-public-key.pem");

/// Two readers would stop a real gateway, and its reloads are everybody's.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// One case's hold on a gateway.
struct Contract {
    client: Client,
    url: String,
    secret: String,
    prefix: String,
    written: Mutex<BTreeSet<ObjectKey>>,
    stand_in: Option<Gateway>,
}

impl Contract {
    async fn on_the_stand_in() -> Self {
        let options = GatewayOptions {
            tick: std::time::Duration::from_millis(1),
            ..GatewayOptions::default()
        };
        let secret = options.secret.clone();
        let gateway = Gateway::start(options).await.unwrap();
        Self::new(gateway.url(), secret, Some(gateway))
    }

    async fn on_a_real_gateway() -> Self {
        let url = env::var("LOCKSTEP_TEST_GATEWAY_URL")
            .expect("LOCKSTEP_TEST_GATEWAY_URL names a gateway");
        let secret = env::var("LOCKSTEP_TEST_GATEWAY_SECRET").unwrap_or_default();
        let contract = Self::new(url, secret, None);
        contract.client.list().await.expect("the gateway answers");
        contract
    }

    fn new(url: String, secret: String, stand_in: Option<Gateway>) -> Self {
        Self {
            client: client(&url, &secret),
            url,
            secret,
            prefix: format!("lockstep-{}-", &Uuid::new_v4().simple().to_string()[..8]),
            written: Mutex::default(),
            stand_in,
        }
    }

    /// Runs a case and removes what it made, also when it failed.
    async fn run(self, case: impl AsyncFnOnce(&Self)) {
        let outcome = AssertUnwindSafe(case(&self)).catch_unwind().await;
        let tidied = AssertUnwindSafe(self.tidy()).catch_unwind().await;
        if let Err(panic) = outcome {
            panic::resume_unwind(panic);
        }
        if let Err(panic) = tidied {
            panic::resume_unwind(panic);
        }
    }

    async fn tidy(&self) {
        self.reload().await;
        let live: BTreeSet<ObjectKey> = self.live_keys().await.into_iter().collect();
        let mut written = self.written.lock().unwrap().clone();
        let is_certificate = |key: &ObjectKey| key.kind == Kind::Certificate;
        for key in written.extract_if(.., is_certificate) {
            self.delete(key.kind, &key.id).await;
        }
        let live_ids: BTreeSet<&str> = live.iter().map(|key| key.id.as_str()).collect();
        // What is not live may be on disk, and only what is live can be deleted.
        let mut hidden = Vec::new();
        for key in &written {
            if !live_ids.contains(key.id.as_str()) {
                let body = plain(key.kind, &key.id);
                if self.client.write(key.kind, &key.id, &body).await.is_ok() {
                    hidden.push(key);
                }
            }
        }
        self.reload().await;
        for key in live.iter().chain(hidden) {
            self.client.delete(key.kind, &key.id).await.unwrap();
        }
        self.reload().await;
        assert!(self.live().await.is_empty(), "something of ours is left");
        if let Some(stand_in) = &self.stand_in {
            assert!(stand_in.files().is_empty(), "{:?}", stand_in.files());
            assert!(stand_in.misuse().is_empty(), "{:?}", stand_in.misuse());
        }
    }

    fn id(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Ids that end in a kind's name are never loaded.
    fn id_of(&self, kind: Kind) -> String {
        self.id(&format!("{kind}-1"))
    }

    fn client_at(&self, path: &str, secret: &str) -> Client {
        client(&format!("{}{path}", self.url.trim_end_matches('/')), secret)
    }

    fn note(&self, kind: Kind, id: &str) {
        let key = ObjectKey::new(kind, id);
        self.written.lock().unwrap().insert(key);
    }

    async fn write(&self, kind: Kind, id: &str, body: &Value) {
        self.note(kind, id);
        self.client.write(kind, id, body).await.unwrap();
    }

    async fn delete(&self, kind: Kind, id: &str) -> Deleted {
        self.client.delete(kind, id).await.unwrap()
    }

    async fn reload(&self) {
        self.client.reload().await.unwrap();
    }

    /// What is live of this case's objects, by key.
    async fn live(&self) -> Vec<Listed> {
        let written = self.written.lock().unwrap().clone();
        let is_ours = |listed: &Listed| {
            let id = &listed.key.id;
            id.starts_with(&self.prefix) || written.iter().any(|key| key.id == *id)
        };
        let mut objects = self.client.list().await.unwrap().objects;
        objects.retain(is_ours);
        objects.sort_by(|left, right| left.key.cmp(&right.key));
        objects
    }

    async fn live_keys(&self) -> Vec<ObjectKey> {
        let live = self.live().await;
        live.into_iter().map(|listed| listed.key).collect()
    }

    async fn live_ids(&self) -> Vec<String> {
        let live = self.live().await;
        live.into_iter().map(|listed| listed.key.id).collect()
    }

    async fn one(&self, kind: Kind, id: &str) -> Listed {
        let key = ObjectKey::new(kind, id);
        let live = self.live().await;
        let found = live.into_iter().find(|listed| listed.key == key);
        found.unwrap_or_else(|| panic!("{key} is not live"))
    }
}

fn client(url: &str, secret: &str) -> Client {
    let options = Options::new(url.parse().unwrap(), secret.to_owned().into());
    Client::new(options).unwrap()
}

fn refused(status: u16, message: &str) -> Error {
    Error::Refused {
        status,
        message: message.to_owned(),
    }
}

fn plain(kind: Kind, id: &str) -> Value {
    match kind {
        Kind::Certificate => unreachable!("it is no file of a gateway"),
        Kind::Policy => policy(id),
        Kind::ClassicApi => classic(id),
        Kind::OasApi | Kind::McpProxy => oas(id),
    }
}

fn named(kind: Kind, id: &str, name: &str) -> Value {
    let mut body = plain(kind, id);
    let pointer = match kind {
        Kind::Certificate | Kind::Policy | Kind::ClassicApi => "/name",
        Kind::OasApi | Kind::McpProxy => "/x-tyk-api-gateway/info/name",
    };
    *body.pointer_mut(pointer).unwrap() = json!(name);
    body
}

fn classic(id: &str) -> Value {
    json!({
        "api_id": id,
        "org_id": "default",
        "name": id,
        "active": true,
        "use_keyless": true,
        "proxy": {
            "listen_path": format!("/{id}/"),
            "target_url": "http://127.0.0.1:9/",
            "strip_listen_path": true
        },
        "version_data": {
            "not_versioned": true,
            "versions": {"Default": {"name": "Default", "use_extended_paths": true}}
        }
    })
}

fn oas(id: &str) -> Value {
    json!({
        "openapi": "3.0.3",
        "info": {"title": id, "version": "1.0.0"},
        "paths": {},
        "x-tyk-api-gateway": {
            "info": {"id": id, "orgId": "default", "name": id, "state": {"active": true}},
            "upstream": {"url": "http://127.0.0.1:9"},
            "server": {"listenPath": {"value": format!("/{id}/"), "strip": true}}
        }
    })
}

fn policy(id: &str) -> Value {
    json!({
        "id": id,
        "name": id,
        "org_id": "default",
        "active": true,
        "rate": 50,
        "per": 60,
        "quota_max": 1000,
        "quota_renewal_rate": 3600,
        "access_rights": {}
    })
}
