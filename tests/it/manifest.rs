//! Manifests: what is read, what is refused with which words, and that nothing makes it panic.

use std::path::{Path, PathBuf};

use lockstep::manifest::{Manifests, Options, Problem, SourceFile, read};
use proptest::prelude::*;

fn file(path: &str, text: &str) -> SourceFile {
    SourceFile {
        path: path.to_owned(),
        bytes: text.as_bytes().to_vec(),
    }
}

fn read_one(path: &str, text: &str) -> Result<Manifests, Vec<Problem>> {
    read(&[file(path, text)], &Options::default())
}

fn problems(path: &str, text: &str) -> Vec<String> {
    read_one(path, text)
        .expect_err("it should be refused")
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn keys(read: &Manifests) -> Vec<String> {
    read.desired.keys().map(ToString::to_string).collect()
}

const OAS: &str = r#"openapi: 3.0.3
info: { title: Orders, version: "1" }
paths: {}
x-tyk-api-gateway:
  info: { id: orders, name: Orders, state: { active: true } }
  upstream: { url: "http://orders.internal" }
  server:
    listenPath: { value: /orders/, strip: true }
    authentication: { enabled: true }
"#;

const OPERATOR: &str = "apiVersion: tyk.tyk.io/v1alpha1
kind: ApiDefinition
metadata:
  name: httpbin
spec:
  name: httpbin
  use_keyless: true
  protocol: http
  active: true
  proxy:
    target_url: http://httpbin.org
    listen_path: /httpbin
    strip_listen_path: true
---
apiVersion: tyk.tyk.io/v1alpha1
kind: SecurityPolicy
metadata:
  name: gold
  namespace: plans
spec:
  name: Gold
  state: active
  active: true
  access_rights_array:
    - name: httpbin
      namespace: default
";

#[test]
fn an_oas_document_a_classic_definition_and_a_policy_are_read() {
    let read = read(
        &[
            file("apis/orders.yaml", OAS),
            file(
                "apis/ping.json",
                r#"{"api_id":"ping","name":"Ping","use_keyless":true,"proxy":{"listen_path":"/ping/","target_url":"http://p"},"version_data":{"versions":{"Default":{"name":"Default"}}}}"#,
            ),
            file("gold.yml", "id: gold\nname: Gold\nrate: 5\nper: 60\naccess_rights:\n  ping: { api_id: ping }\n"),
            file("README.yaml", "just: words\n"),
        ],
        &Options::default(),
    )
    .unwrap();
    assert_eq!(keys(&read), ["policy/gold", "classic/ping", "oas/orders"]);
    assert_eq!(read.ignored.len(), 1);
    let warnings: Vec<String> = read.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("/use_keyless: the API is open to everybody"));
}

#[test]
fn operator_resources_get_the_operators_ids_and_references_become_ids() {
    let read = read_one("all.yaml", OPERATOR).unwrap();
    // base64url without padding of default/httpbin and plans/gold.
    assert_eq!(
        keys(&read),
        ["policy/cGxhbnMvZ29sZA", "classic/ZGVmYXVsdC9odHRwYmlu"]
    );
    let policy = &read.desired.values().next().unwrap().body;
    let right = &policy["access_rights"]["ZGVmYXVsdC9odHRwYmlu"];
    assert_eq!(right["api_id"], "ZGVmYXVsdC9odHRwYmlu");
    assert_eq!(right["api_name"], "httpbin");
    assert_eq!(right.get("versions"), None);
    assert!(policy.get("access_rights_array").is_none());
}

#[test]
fn every_problem_is_named_with_its_place_and_its_cure() {
    let cases: &[(&str, &str, &[&str])] = &[
        (
            "a.yaml",
            "apiVersion: tyk.tyk.io/v1alpha1\nkind: ApiDefintion\nmetadata: { name: x }\nspec: {}\n",
            &[
                "a.yaml:2:1: /kind: there is no kind \"ApiDefintion\" in tyk.tyk.io/; did you mean ApiDefinition?",
            ],
        ),
        (
            "b.yaml",
            "apiVersion: tyk.tyk.io/v1alpha1\nkind: ApiDefinition\nmetadata:\n  name: x\nspec:\n  name: x\n  context: prod\n  use_keyless: true\n  use_standard_auth: true\n  proxy:\n    listen_path: x\n",
            &[
                "b.yaml:7:3: /spec/context: the field context does not exist; did you mean contextRef?",
                "b.yaml:8:3: /spec/use_keyless: use_keyless and use_standard_auth are both on; turn one of them off: an API is either open or asks for a key",
                "b.yaml:10:3: /spec/proxy/target_url: the upstream's address is missing; write target_url, or target_internal for another API",
                "b.yaml:11:5: /spec/proxy/listen_path: the listen path must begin with /: the gateway would not load the API; write it like /orders/",
            ],
        ),
        (
            "c.json",
            "{\"api_id\":\"a\",\n \"name\":\"A\",\"name\":\"B\"}",
            &["c.json:2:18: the file is not JSON: the member \"name\" stands twice"],
        ),
        (
            "d.yaml",
            "name: no id\nproxy:\n  listen_path: /d/{x/\n  target_url: http://d\nactive: \"yes\"\nversion_data: { versions: { Default: {} } }\n",
            &[
                "d.yaml:1:1: /api_id: the document has no id, and without one the gateway would make another object at every run; write one that never changes",
                "d.yaml:3:3: /proxy/listen_path: the braces of the listen path do not match: the gateway would not load the API; write it like /orders/",
                "d.yaml:5:1: /active: must be true or false, and is the text \"yes\"",
            ],
        ),
        (
            "e.yaml",
            "x-tyk-api-gateway:\n  info: { id: e-oas, name: E }\n",
            &[
                "e.yaml:1:1: /info/title: the title is missing",
                "e.yaml:1:1: /info/version: the version is missing",
                "e.yaml:1:1: /openapi: the OpenAPI version is missing; write \"3.0.3\"",
                "e.yaml:1:1: /paths: paths is missing; write {} for none",
                "e.yaml:1:1: /x-tyk-api-gateway/server/listenPath/value: the listen path is missing",
                "e.yaml:1:1: /x-tyk-api-gateway/upstream/url: the upstream's address is missing",
                "e.yaml:2:3: /x-tyk-api-gateway/info/state/active: whether the API is active is missing; write state: { active: true }",
                "e.yaml:2:11: /x-tyk-api-gateway/info/id: the gateway accepts an API with the id e-oas and never loads it, because of its ending; give it an id that does not end in -oas or -mcp",
            ],
        ),
    ];
    for (path, text, expected) in cases {
        let found = problems(path, text);
        let mut found: Vec<&str> = found.iter().map(String::as_str).collect();
        let mut expected = expected.to_vec();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{path}");
    }
}

#[test]
fn two_of_one_id_and_two_on_one_route_are_refused_with_both_named() {
    let other = OAS.replace("id: orders", "id: orders2");
    let found = read(
        &[
            file("a.yaml", OAS),
            file("b.yaml", OAS),
            file("c.yaml", &other),
        ],
        &Options::default(),
    )
    .unwrap_err();
    let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(shown.len(), 2, "{shown:?}");
    assert!(
        shown[0].starts_with(
            "b.yaml:5:11: /x-tyk-api-gateway/info/id: the id orders is taken by a.yaml"
        )
    );
    assert!(shown[1].contains("oas/orders2 listens on /orders/, and so does oas/orders in a.yaml"));
}

#[test]
fn the_targets_organisation_is_given_and_another_one_refused() {
    let options = Options {
        org: Some("acme".to_owned()),
        ..Options::default()
    };
    let read_with = |text: &str| read(&[file("a.yaml", text)], &options);
    let given = read_with(OAS).unwrap();
    let body = &given.desired.values().next().unwrap().body;
    assert_eq!(body["x-tyk-api-gateway"]["info"]["orgId"], "acme");
    let other = OAS.replace("id: orders,", "id: orders, orgId: other,");
    let refused = read_with(&other).unwrap_err();
    assert!(
        refused[0]
            .message
            .contains("belongs to the organisation other")
    );
}

#[test]
fn what_cannot_be_read_is_refused_and_never_read_as_nothing() {
    for (path, text) in [
        ("a.yaml", "a: [1, 2\n"),
        ("a.yaml", "a: 1\na: 2\n"),
        ("a.json", "{"),
        ("a.json", "{} {}"),
        ("a.yaml", "a: .inf\n"),
        ("a.yaml", "a: 123456789012345678901234567890\n"),
    ] {
        let found = problems(path, text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
    }
    let invalid = SourceFile {
        path: "a.yaml".to_owned(),
        bytes: vec![0x61, 0x0a, 0xff],
    };
    let found = read(&[invalid], &Options::default()).unwrap_err();
    assert_eq!(found[0].to_string(), "a.yaml:2:1: the file is not UTF-8");
}

#[test]
fn bombs_end_quickly_with_an_error() {
    let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (name, before) in "bcdefghij".chars().zip("abcdefghi".chars()) {
        let items = vec![format!("*{before}"); 9].join(", ");
        bomb.push_str(&format!("{name}: &{name} [{items}]\n"));
    }
    assert_eq!(problems("bomb.yaml", &bomb).len(), 1);
    let mut deep = String::new();
    for level in 0..5_000 {
        deep.push_str(&" ".repeat(level));
        deep.push_str(
            "a:
",
        );
    }
    assert_eq!(problems("deep.yaml", &deep).len(), 1);
    let deep_json = "[".repeat(100_000);
    assert_eq!(problems("deep.json", &deep_json).len(), 1);
    let flow = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(problems("flow.yaml", &flow).len(), 1);
}

#[test]
fn a_value_that_may_be_secret_is_not_in_a_message() {
    let text = OAS.replace("http://orders.internal", "http://u:pa55word@orders\n bad");
    if let Err(problems) = read_one("a.yaml", &text) {
        assert!(!format!("{problems:?}").contains("pa55word"));
    }
}

proptest! {
    #[test]
    fn the_order_of_files_does_not_matter(swap in any::<bool>()) {
        let (one, two) = (file("one.yaml", OPERATOR), file("two.yaml", OAS));
        let files = if swap { [two, one] } else { [one, two] };
        let read = read(&files, &Options::default()).unwrap();
        prop_assert_eq!(keys(&read), ["policy/cGxhbnMvZ29sZA", "classic/ZGVmYXVsdC9odHRwYmlu", "oas/orders"]);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), json in any::<bool>()) {
        let path = if json { "a.json" } else { "a.yaml" };
        let _ = read(&[SourceFile { path: path.to_owned(), bytes }], &Options::default());
    }

    #[test]
    fn no_broken_manifest_makes_it_panic(cut in 0..900_usize, with in "[ -~\n]{0,6}") {
        let text = format!("{OPERATOR}---\n{OAS}");
        let cut = cut.min(text.len());
        let broken = format!("{}{with}{}", &text[..cut], &text[(cut + with.len()).min(text.len())..]);
        let _ = read_one("a.yaml", &broken);
    }
}

fn samples(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            samples(&path, files);
        } else {
            files.push(path);
        }
    }
}

/// One letter a file: translated, ignored or refused.
fn outcome(path: &Path) -> (char, String) {
    let source = SourceFile {
        path: path.file_name().unwrap().to_string_lossy().into_owned(),
        bytes: std::fs::read(path).unwrap(),
    };
    match read(&[source], &Options::default()) {
        Ok(read) if read.desired.is_empty() => {
            let reasons: Vec<String> = read
                .ignored
                .iter()
                .map(|ignored| ignored.reason.clone())
                .collect();
            ('i', reasons.join("; "))
        }
        Ok(_) => ('t', String::new()),
        Err(problems) => {
            let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
            ('r', shown.join("\n    "))
        }
    }
}

#[test]
#[ignore = "needs ../shared; tests/run has it"]
fn every_sample_is_translated_ignored_with_a_reason_or_refused_with_a_place() {
    let Some(shared) = crate::support::shared() else {
        return;
    };
    let root = shared.join("samples/manifests");
    let mut files = Vec::new();
    samples(&root, &mut files);
    files.sort();
    let mut table = Vec::new();
    let mut counts = std::collections::BTreeMap::new();
    for path in &files {
        let (letter, said) = outcome(path);
        let name = path.strip_prefix(&root).unwrap().display();
        if !path.starts_with(root.join("tyk")) {
            table.push(format!("{letter} {name} {said}"));
        }
        let group = name.to_string().split('/').next().unwrap().to_owned();
        *counts.entry((group, letter)).or_insert(0) += 1;
        if letter == 'r' {
            assert!(!said.is_empty(), "{name} is refused without a word");
        }
    }

    insta::assert_snapshot!("operator_samples", table.join("\n"));
    assert_eq!(counts.get(&("refuse".to_owned(), 'r')), Some(&8));
    assert!(!counts.contains_key(&("refuse".to_owned(), 't')));
}

#[test]
fn an_id_that_makes_no_file_name_is_refused_before_a_gateway_keeps_half_of_it() {
    let of = |length: usize| OAS.replace("id: orders", &format!("id: {}", "x".repeat(length)));
    assert!(read_one("orders.yaml", &of(246)).is_ok());
    let problems = problems("orders.yaml", &of(247));
    assert!(
        problems[0].contains("the id has 247 characters, and a gateway can store 246 at most"),
        "{problems:?}"
    );
}
