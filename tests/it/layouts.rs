//! Repositories as their users have them: tyk-sync's index, kustomizations, values and patches of
//! an environment, plain OpenAPI documents. What is read, what is refused with which words, and
//! that nothing makes it panic or run on.

use std::collections::BTreeMap;

use lockstep::manifest::{
    Authentication, Environment, Limits, Manifests, OpenApi, Options, PatchSource, Problem, Search,
    SourceFile, Template, read,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn file(path: &str, text: &str) -> SourceFile {
    SourceFile {
        path: path.to_owned(),
        bytes: text.as_bytes().to_vec(),
    }
}

/// Reads a stack's folder of a repository, as a run does: what is named elsewhere is looked for.
fn read_stack(
    folder: &str,
    repository: &[(&str, &str)],
    environment: &Environment,
) -> Result<Manifests, Vec<Problem>> {
    let is_manifest = |path: &str| {
        let name = path.rsplit('/').next().unwrap();
        let is_below = folder.is_empty() || path.starts_with(&format!("{folder}/"));
        let is_named = [".yaml", ".yml", ".json"]
            .iter()
            .any(|end| name.ends_with(end));
        is_below && is_named
    };
    let all: BTreeMap<&str, &str> = repository.iter().copied().collect();
    let files: Vec<SourceFile> = repository
        .iter()
        .filter(|(path, _)| is_manifest(path))
        .map(|(path, text)| file(path, text))
        .collect();
    let mut search = Search::new(environment.clone(), Limits::default());
    loop {
        let named = search.next(&files).map_err(|problem| vec![problem])?;
        if named.is_empty() {
            break;
        }
        let found = named
            .iter()
            .filter_map(|path| Some(file(path, all.get(path.as_str())?)));
        search.add(found);
    }
    let options = Options {
        environment: environment.clone(),
        folders: vec![folder.to_owned()],
        further: search.into_found(),
        ..Options::default()
    };
    read(&files, &options)
}

fn shown(read: Result<Manifests, Vec<Problem>>) -> Vec<String> {
    let problems = read.expect_err("it should be refused");
    problems.iter().map(ToString::to_string).collect()
}

fn keys(read: &Manifests) -> Vec<String> {
    read.desired.keys().map(ToString::to_string).collect()
}

fn body<'r>(read: &'r Manifests, id: &str) -> &'r Value {
    let found = read.desired.iter().find(|(key, _)| key.id == id);
    &found.unwrap_or_else(|| panic!("{:?}", keys(read))).1.body
}

fn ignored(read: &Manifests) -> Vec<String> {
    read.ignored.iter().map(ToString::to_string).collect()
}

fn warnings(read: &Manifests) -> Vec<String> {
    read.warnings.iter().map(ToString::to_string).collect()
}

fn classic(id: &str, path: &str, target: &str) -> String {
    json!({
        "api_id": id, "name": id, "use_keyless": true,
        "proxy": {"listen_path": path, "target_url": target},
        "version_data": {"versions": {"Default": {"name": "Default"}}},
    })
    .to_string()
}

fn resource(name: &str, target: &str) -> String {
    format!(
        "apiVersion: tyk.tyk.io/v1alpha1\nkind: ApiDefinition\nmetadata:\n  name: {name}\nspec:\n  name: {name}\n  use_keyless: true\n  protocol: http\n  proxy:\n    listen_path: /{name}/\n    target_url: {target}\n"
    )
}

fn values(files: &[&str]) -> Environment {
    Environment {
        values: files.iter().map(|&file| file.to_owned()).collect(),
        ..Environment::default()
    }
}

fn patches(patches: Value) -> Environment {
    let Value::Array(patches) = patches else {
        panic!("a list");
    };
    let inline = |(index, patch): (usize, Value)| PatchSource::Inline {
        name: format!("stack.production.patches[{index}]"),
        patch,
    };
    Environment {
        patches: patches.into_iter().enumerate().map(inline).collect(),
        ..Environment::default()
    }
}

/// base64url without padding, as the operator makes ids.
fn id(full_name: &str) -> String {
    use base64::Engine as _;
    base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(full_name)
}

// Values.

const OAS: &str = r#"openapi: 3.0.3
info: { title: Orders, version: "1" }
paths: {}
x-tyk-api-gateway:
  info: { id: orders, name: Orders, state: { active: true } }
  upstream:
    url: ${values.orders.url}
  server:
    listenPath: { value: "/${values.stage}/orders/", strip: "${values.strip}" }
    authentication: { enabled: true }
  middleware:
    global:
      contextVariables: { enabled: true }
      transformRequestHeaders:
        enabled: true
        add: [{ name: X-Script, value: "${own} $${values.kept} $secret_env.X ${secret:NAME}" }]
"#;

#[test]
fn values_are_filled_with_their_types_and_everything_else_stays() {
    let read = read_stack(
        "apis",
        &[
            ("apis/orders.yaml", OAS),
            (
                "env/base.yaml",
                "orders: { url: http://base, unused: 1 }\nstage: dev\nstrip: true\n",
            ),
            ("env/prod.yaml", "stage: 5\norders:\n  url: http://prod\n"),
        ],
        &values(&["env/base.yaml", "env/prod.yaml"]),
    )
    .unwrap();
    let orders = &body(&read, "orders")["x-tyk-api-gateway"];
    assert_eq!(orders["upstream"]["url"], "http://prod");
    assert_eq!(orders["server"]["listenPath"]["value"], "/5/orders/");
    assert_eq!(orders["server"]["listenPath"]["strip"], true);
    let header = &orders["middleware"]["global"]["transformRequestHeaders"]["add"][0]["value"];
    assert_eq!(header, "${own} ${values.kept} $secret_env.X ${secret:NAME}");
    assert_eq!(
        warnings(&read),
        ["env/base.yaml:1:29: /orders/unused: nothing uses the value orders.unused"]
    );
}

#[test]
fn a_value_that_is_missing_or_does_not_fit_is_named_at_its_place() {
    let found = shown(read_stack(
        "apis",
        &[
            ("apis/orders.yaml", OAS),
            (
                "env/prod.yaml",
                "stage: [a]\nordres: { url: x }\nstrip: true\n",
            ),
        ],
        &values(&["env/prod.yaml"]),
    ));
    assert_eq!(
        found,
        [
            "apis/orders.yaml:7:5: /x-tyk-api-gateway/upstream/url: there is no value orders.url; did you mean ordres.url?",
            "apis/orders.yaml:9:19: /x-tyk-api-gateway/server/listenPath/value: the value stage is a list, which cannot be part of a longer text; let the placeholder stand alone, or give a text",
        ]
    );
    let found = shown(read_stack(
        "apis",
        &[("apis/orders.yaml", OAS)],
        &Environment::default(),
    ));
    assert!(
        found[0].contains("name values files in the stack"),
        "{found:?}"
    );
    let found = shown(read_stack(
        "apis",
        &[("apis/orders.yaml", OAS)],
        &values(&["env/none.yaml"]),
    ));
    assert!(
        found
            .iter()
            .any(|line| line.starts_with("env/none.yaml: the stack names this values file")),
        "{found:?}"
    );
}

#[test]
fn what_is_no_manifest_may_hold_any_text() {
    let read = read_stack(
        "",
        &[
            ("notes.yaml", "a: ${values.unknown}\n"),
            (
                "deploy.yaml",
                "apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: \"${values.x}\" }\n",
            ),
        ],
        &Environment::default(),
    );
    assert_eq!(read.unwrap().ignored.len(), 2);
}

proptest! {
    /// Whatever a value holds, it is one scalar of the document, and everything else is as it was.
    #[test]
    fn no_value_breaks_out_of_its_place(value in "[ -~\n\t\u{80}-\u{2ff}]{0,40}", is_json in any::<bool>()) {
        let text = if is_json {
            json!({
                "api_id": "one", "name": "${values.a.b}", "use_keyless": true,
                "proxy": {"listen_path": "/one/", "target_url": "http://u"},
                "version_data": {"versions": {"Default": {"name": "Default"}}},
                "config_data": {"x": ["${values.a.b}", "${values.a}"], "y": "a ${values.a.b}${values.a.b}", "z": "kept"},
            })
            .to_string()
        } else {
            "api_id: one\nname: ${values.a.b}\nuse_keyless: true\nproxy:\n  listen_path: /one/\n  target_url: http://u\nversion_data: { versions: { Default: { name: Default } } }\nconfig_data:\n  x: [\"${values.a.b}\", '${values.a}']\n  y: a ${values.a.b}${values.a.b}\n  z: kept\n".to_owned()
        };
        let path = if is_json { "one.json" } else { "one.yaml" };
        let options = Options {
            environment: values(&["v.json"]),
            further: vec![file("v.json", &json!({"a": {"b": value}}).to_string())],
            ..Options::default()
        };
        let read = read(&[file(path, &text)], &options).unwrap();
        let expected = json!({
            "api_id": "one", "name": value, "use_keyless": true,
            "proxy": {"listen_path": "/one/", "target_url": "http://u"},
            "version_data": {"versions": {"Default": {"name": "Default"}}},
            "config_data": {"x": [value, {"b": value}], "y": format!("a {value}{value}"), "z": "kept"},
        });
        prop_assert_eq!(body(&read, "one"), &expected);
    }

    #[test]
    fn no_placeholder_makes_it_panic(text in "([$]{1,2}|[{]|[}]|values[.]|[a-z.]{1,3}|é){0,12}") {
        let document = json!({"api_id": "one", "name": text, "proxy": {"listen_path": "/one/", "target_url": "http://u"}});
        let _ = read_stack("", &[("a.json", &document.to_string()), ("v.json", r#"{"a":{"b":"x"}}"#)], &values(&["v.json"]));
    }
}

#[test]
fn a_value_used_often_is_bounded() {
    let long = "x".repeat(100_000);
    let holes = vec!["${values.long}"; 100_000];
    let document = json!({"api_id": "one", "name": "one", "tags": holes, "proxy": {"listen_path": "/one/", "target_url": "http://u"}});
    let found = shown(read_stack(
        "",
        &[
            ("a.json", &document.to_string()),
            ("env/v.json", &json!({"long": long}).to_string()),
        ],
        &values(&["env/v.json"]),
    ));
    assert!(found[0].contains("make more than"), "{found:?}");
}

// Patches.

#[test]
fn patches_change_what_they_name_and_say_when_they_change_nothing() {
    let environment = patches(json!([
        {"object": "classic/pay*", "merge": {"proxy": {"target_url": "http://prod"}, "tags": ["prod"]}},
        {"object": "orders", "operations": [
            {"op": "test", "path": "/name", "value": "orders"},
            {"op": "add", "path": "/domain", "value": "shop.example"},
            {"op": "remove", "path": "/use_keyless"},
            {"op": "add", "path": "/tags", "value": ["a"]},
            {"op": "add", "path": "/tags/-", "value": "b"},
            {"op": "copy", "from": "/tags/0", "path": "/tags/1"},
            {"op": "move", "from": "/tags/2", "path": "/tags/0"},
        ]},
        {"object": "oas/nobody", "merge": {}},
    ]));
    let read = read_stack(
        "",
        &[
            (
                "a.json",
                &format!(
                    "[{},{}]",
                    classic("payments", "/pay/", "http://dev"),
                    classic("orders", "/orders/", "http://dev")
                ),
            ),
            ("b.json", &classic("other", "/other/", "http://dev")),
        ],
        &environment,
    )
    .unwrap();
    assert_eq!(
        body(&read, "payments")["proxy"],
        json!({"listen_path": "/pay/", "target_url": "http://prod"})
    );
    assert_eq!(body(&read, "payments")["tags"], json!(["prod"]));
    assert_eq!(body(&read, "orders")["domain"], "shop.example");
    assert_eq!(body(&read, "orders")["tags"], json!(["b", "a", "a"]));
    assert!(body(&read, "orders").get("use_keyless").is_none());
    assert_eq!(body(&read, "other")["proxy"]["target_url"], "http://dev");
    let warned = warnings(&read);
    assert!(
        warned.iter().any(|line| line.starts_with(
            "stack.production.patches[2]: /object: no manifest of the stack is oas/nobody"
        )),
        "{warned:?}"
    );
}

#[test]
fn a_problem_points_at_whoever_wrote_the_field() {
    let environment = Environment {
        values: vec!["env/v.yaml".to_owned()],
        patches: vec![PatchSource::File("env/patches.yaml".to_owned())],
        openapi: None,
    };
    let found = shown(read_stack(
        "apis",
        &[
            (
                "apis/a.yaml",
                "- api_id: a\n  name: a\n  proxy:\n    listen_path: /a/\n    target_url: http://u\n  tags: [x]\n  active: 1\n  version_data: { versions: { D: {} } }\n",
            ),
            ("env/v.yaml", "a: 1\n"),
            (
                "env/patches.yaml",
                "- object: classic/a\n  merge:\n    proxy:\n      listen_path: a\n- object: a\n  operations:\n  - op: add\n    path: /tags/0\n    value: ${values.b}\n  - op: remove\n    path: /none\n",
            ),
        ],
        &environment,
    ));
    let expected = [
        "apis/a.yaml:7:3: /0/active: must be true or false, and is 1",
        "env/patches.yaml:4:7: /0/merge/proxy/listen_path: the listen path must begin with /: the gateway would not load the API (written here for apis/a.yaml#/0/proxy/listen_path); write it like /orders/",
        "env/patches.yaml:9:5: /1/operations/0/value: there is no value b (written here for apis/a.yaml#/0/tags/0); add it to a values file of the stack",
        "env/patches.yaml:10:5: /1/operations/1: there is nothing at /none (the patch is of apis/a.yaml)",
    ];
    for line in expected {
        assert!(
            found.iter().any(|found| found == line),
            "{line}\n{found:#?}"
        );
    }
}

#[test]
fn what_is_no_patch_is_refused_with_its_place() {
    for (patch, expected) in [
        (
            json!({"object": "a"}),
            "a patch has either merge (RFC 7396) or operations (RFC 6902)",
        ),
        (
            json!({"object": "a", "merge": 1}),
            "/merge: must be an object",
        ),
        (json!({"object": "a[", "merge": {}}), "/object: "),
        (
            json!({"objects": "a", "merge": {}}),
            "/objects: a patch has no objects; did you mean object?",
        ),
        (
            json!({"object": "a", "operations": [{"op": "ad", "path": "/x"}]}),
            "/operations/0/op: there is no operation \"ad\"; did you mean add?",
        ),
        (
            json!({"object": "a", "operations": [{"op": "add", "path": "x", "value": 1}]}),
            "/operations/0/path: is a JSON pointer",
        ),
        (
            json!({"object": "a", "operations": [{"op": "add", "path": "/x"}]}),
            "/operations/0: the operation has no value",
        ),
    ] {
        let found = shown(read_stack(
            "",
            &[("a.json", &classic("a", "/a/", "http://u"))],
            &patches(json!([patch])),
        ));
        assert!(found[0].contains(expected), "{expected}: {found:?}");
        let said = lockstep::manifest::check_patch(&patch).unwrap_err();
        assert!(said.contains(expected), "{said}");
    }
}

/// The cases of RFC 6902's appendix A that change a document, and some that must fail.
#[test]
fn json_patch_does_what_its_standard_says() {
    let cases = [
        (
            json!({"foo": "bar"}),
            json!([{"op": "add", "path": "/baz", "value": "qux"}]),
            Some(json!({"foo": "bar", "baz": "qux"})),
        ),
        (
            json!({"foo": ["bar", "baz"]}),
            json!([{"op": "add", "path": "/foo/1", "value": "qux"}]),
            Some(json!({"foo": ["bar", "qux", "baz"]})),
        ),
        (
            json!({"foo": ["bar", "qux", "baz"]}),
            json!([{"op": "remove", "path": "/foo/1"}]),
            Some(json!({"foo": ["bar", "baz"]})),
        ),
        (
            json!({"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}}),
            json!([{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}]),
            Some(json!({"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}})),
        ),
        (
            json!({"foo": ["all", "grass", "cows", "eat"]}),
            json!([{"op": "move", "from": "/foo/1", "path": "/foo/3"}]),
            Some(json!({"foo": ["all", "cows", "eat", "grass"]})),
        ),
        (
            json!({"foo": "bar"}),
            json!([{"op": "add", "path": "/baz/bat", "value": "qux"}]),
            None,
        ),
        (
            json!({"/": 9, "~1": 10}),
            json!([{"op": "test", "path": "/~01", "value": 10}]),
            Some(json!({"/": 9, "~1": 10})),
        ),
        (
            json!({"foo": ["bar"]}),
            json!([{"op": "add", "path": "/foo/-", "value": ["abc", "def"]}]),
            Some(json!({"foo": ["bar", ["abc", "def"]]})),
        ),
        (
            json!({"foo": ["bar"]}),
            json!([{"op": "add", "path": "/foo/2", "value": 1}]),
            None,
        ),
        (
            json!({"foo": ["bar"]}),
            json!([{"op": "add", "path": "/foo/01", "value": 1}]),
            None,
        ),
        (
            json!({"foo": null}),
            json!([{"op": "replace", "path": "/foo", "value": 1}]),
            Some(json!({"foo": 1})),
        ),
        (
            json!({"foo": {"a": 1}}),
            json!([{"op": "move", "from": "/foo", "path": "/foo/b"}]),
            None,
        ),
        (
            json!({"baz": "qux"}),
            json!([{"op": "test", "path": "/baz", "value": "bar"}]),
            None,
        ),
    ];
    for (before, operations, after) in cases {
        let document = json!({"api_id": "a", "name": "a", "use_keyless": true, "config_data": before, "proxy": {"listen_path": "/a/", "target_url": "http://u"}});
        let Value::Array(operations) = operations else {
            panic!()
        };
        let operations: Vec<Value> = operations
            .into_iter()
            .map(|mut operation| {
                for name in ["path", "from"] {
                    if let Some(path) = operation.get(name).and_then(Value::as_str) {
                        operation[name] = json!(format!("/config_data{path}"));
                    }
                }
                operation
            })
            .collect();
        let environment = patches(json!([{"object": "a", "operations": operations}]));
        let read = read_stack("", &[("a.json", &document.to_string())], &environment);
        let config = read
            .ok()
            .map(|read| body(&read, "a")["config_data"].clone());
        assert_eq!(config, after, "{before} {operations:?}");
    }
}

// tyk-sync.

#[test]
fn the_index_of_a_tyk_sync_repository_decides_what_is_read() {
    let wrapped = format!(
        "\n\n{{\"api_definition\":{},\"hook_references\":[]}}",
        classic("", "/one/", "http://u")
            .replace("\"api_id\":\"\"", "\"id\":\"5777ecdb0a91ff0001000003\"")
    );
    let oas = json!({"oas": {
        "openapi": "3.0.3", "info": {"title": "Two", "version": "1"}, "paths": {},
        "x-tyk-api-gateway": {
            "info": {"id": "two", "name": "Two", "orgId": "theirs", "state": {"active": true}},
            "upstream": {"url": "http://u"},
            "server": {"listenPath": {"value": "/two/"}},
        },
    }, "categories": ["a"]});
    let policy = json!({"_id": "5777ecdb0a91ff0001000009", "id": "", "name": "Gold", "org_id": "", "rate": 1, "per": 1, "access_rights": {"two-renamed": {"api_id": "two-renamed"}}});
    let index = json!({
        "type": "apidef",
        "files": [
            {"file": "./apis/one.json", "oas": {}},
            {"file": "apis/two.json", "api_id": "two-renamed", "org_id": "ours"},
        ],
        "policies": {"file": "policy-gold.json", "id": "gold"},
        "assets": [{"file": "asset-t.json"}],
    });
    let read = read_stack(
        "",
        &[
            (".tyk.json", &format!("\n\n{index}")),
            ("apis/one.json", &wrapped),
            ("apis/two.json", &oas.to_string()),
            ("policy-gold.json", &policy.to_string()),
            (
                "asset-t.json",
                r#"{"id":"t","kind":"oas-template","data":{}}"#,
            ),
            ("apis/old.json", &classic("old", "/old/", "http://u")),
            ("more/hand.yaml", &resource("hand", "http://u")),
        ],
        &Environment::default(),
    )
    .unwrap();
    let hand = id("default/hand");
    let mut expected = vec![
        format!("classic/{hand}"),
        "classic/5777ecdb0a91ff0001000003".to_owned(),
        "oas/two-renamed".to_owned(),
        "policy/gold".to_owned(),
    ];
    let mut found = keys(&read);
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    assert_eq!(
        body(&read, "two-renamed")["x-tyk-api-gateway"]["info"]["orgId"],
        "ours"
    );
    assert_eq!(
        ignored(&read),
        [
            "apis/old.json: .tyk.json does not list it",
            "asset-t.json: an API template, which only a Dashboard holds",
        ]
    );
}

#[test]
fn what_an_index_names_must_be_there_and_be_what_it_says() {
    let index = "{\n \"type\": \"swagger\",\n \"flies\": [],\n \"files\": [\n  {\"file\": \"none.json\"},\n  {\"file\": \"../../secret.json\"},\n  {\"api_id\": \"x\"},\n  {\"file\": \"policy.json\"},\n  {\"file\": \"broken.json\"},\n  {\"file\": \"a.json\", \"api_id\": \"not an id\"}\n ]\n}";
    let found = shown(read_stack(
        "apis",
        &[
            ("apis/.tyk.json", index),
            ("apis/policy.json", r#"{"id":"p","access_rights":{}}"#),
            ("apis/broken.json", "{"),
            ("apis/a.json", &classic("a", "/a/", "http://u")),
        ],
        &Environment::default(),
    ));
    let expected = [
        "apis/.tyk.json:2:2: /type: the type is not known",
        "apis/.tyk.json:3:2: /flies: the index of a tyk-sync repository has no flies; did you mean files?",
        "apis/.tyk.json:5:4: /files/0/file: the index names none.json, and there is no such file",
        "apis/.tyk.json:6:4: /files/1/file: ../../secret.json is not in the repository",
        "apis/.tyk.json:7:3: /files/2/file: the entry names no file",
        "apis/policy.json:1:1: apis/.tyk.json lists this file as an API, and it is none",
        "apis/broken.json:1:1: the file is not JSON",
        "apis/.tyk.json:10:22: /files/5/api_id: \"not an id\" cannot be an API's id (written here for apis/a.json#/api_id)",
    ];
    for line in expected {
        assert!(
            found.iter().any(|found| found.starts_with(line)),
            "{line}\n{found:#?}"
        );
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn an_index_that_is_empty_wants_nothing() {
    for index in [
        r#"{"type":"oas"}"#,
        r#"{"files":[],"policies":{},"assets":null}"#,
    ] {
        let read = read_stack(
            "",
            &[
                (".tyk.json", index),
                ("a.json", &classic("a", "/a/", "http://u")),
            ],
            &Environment::default(),
        )
        .unwrap();
        assert!(read.desired.is_empty());
        assert_eq!(ignored(&read), ["a.json: .tyk.json does not list it"]);
    }
}

// Plain OpenAPI documents, and policies as a file map.

#[test]
fn plain_openapi_documents_become_apis_as_the_stack_says() {
    let openapi = |authentication, upstream: Option<&str>| Environment {
        openapi: Some(OpenApi {
            listen_path: Template::listen_path("/{name}/").unwrap(),
            upstream: upstream.map(|text| Template::parse(text).unwrap()),
            authentication,
        }),
        ..Environment::default()
    };
    let plain = "openapi: 3.0.3\ninfo: { title: The orders, version: \"1\" }\nservers: [{ url: \"https://orders.internal/v1\" }]\npaths: {}\nsecurity: [{ key: [] }]\ncomponents: { securitySchemes: { key: { type: apiKey, in: header, name: X-Key } } }\n";
    let repository = [
        ("apis/shop/orders.yaml", plain),
        ("apis/stock/openapi.yml", plain),
    ];
    let read = read_stack(
        "apis",
        &repository,
        &openapi(Authentication::Document, None),
    )
    .unwrap();
    assert_eq!(keys(&read), ["oas/shop-orders", "oas/stock"]);
    let extension = &body(&read, "shop-orders")["x-tyk-api-gateway"];
    assert_eq!(
        extension["info"],
        json!({"id": "shop-orders", "name": "The orders", "state": {"active": true}})
    );
    assert_eq!(extension["upstream"]["url"], "https://orders.internal/v1");
    assert_eq!(
        extension["server"]["listenPath"],
        json!({"value": "/orders/", "strip": true})
    );
    assert_eq!(
        extension["server"]["authentication"],
        json!({"enabled": true, "securitySchemes": {"key": {"enabled": true}}})
    );

    let read = read_stack(
        "apis",
        &repository,
        &openapi(Authentication::Token, Some("http://{name}.svc:8080")),
    )
    .unwrap();
    let stock = body(&read, "stock");
    assert_eq!(
        stock["x-tyk-api-gateway"]["upstream"]["url"],
        "http://stock.svc:8080"
    );
    assert_eq!(stock["security"], json!([{"authToken": []}]));
    assert_eq!(
        stock["components"]["securitySchemes"]["authToken"]["name"],
        "Authorization"
    );
    assert!(warnings(&read).is_empty(), "{:?}", warnings(&read));

    let open = read_stack("apis", &repository, &openapi(Authentication::None, None)).unwrap();
    assert_eq!(warnings(&open).len(), 2, "it is open to everybody");

    let bare = "openapi: 3.0.3\ninfo: { title: x, version: \"1\" }\npaths: {}\n";
    let found = shown(read_stack(
        "",
        &[("x.yaml", bare)],
        &openapi(Authentication::Document, None),
    ));
    assert!(
        found.iter().any(
            |line| line.starts_with("x.yaml:1:1: /servers/0/url: the document names no server")
        ),
        "{found:?}"
    );

    let without = read_stack("apis", &repository, &Environment::default()).unwrap();
    assert_eq!(without.ignored.len(), 2);
}

#[test]
fn the_policies_of_a_gateways_file_are_read_under_their_ids() {
    let map = json!({
        "gold": {"rate": 5, "per": 1, "access_rights": {"a": {"api_id": "a"}}},
        "silver": {"id": "else", "rate": 1, "per": 1, "access_rights": {}},
    });
    let read = read_stack(
        "",
        &[("policies.json", &map.to_string())],
        &Environment::default(),
    )
    .unwrap();
    assert_eq!(keys(&read), ["policy/gold", "policy/silver"]);
    let found = shown(read_stack(
        "",
        &[(
            "policies.json",
            "{\"a\": {\"access_rights\": {}},\n \"b\": {\"rate\": \"1\", \"access_rights\": {}}}",
        )],
        &Environment::default(),
    ));
    assert_eq!(
        found,
        [
            "policies.json:2:8: /b/rate: must be a number, and is the text \"1\"; take the quotes away"
        ]
    );
}

// Kustomizations.

const POLICY: &str = "apiVersion: tyk.tyk.io/v1alpha1\nkind: SecurityPolicy\nmetadata: { name: gold }\nspec:\n  name: gold\n  active: true\n  access_rights_array:\n  - { name: orders, namespace: default }\n";

#[test]
fn an_overlay_is_built_with_its_base_outside_of_the_stacks_folder() {
    let base = "resources: [orders.yaml, ./policy.yaml]\n";
    let overlay = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: prod\nnamePrefix: p-\nnameSuffix: -v1\nresources:\n- ../../base\npatches:\n- path: upstream.yaml\n- target: { kind: ApiDefinition, name: or.* }\n  patch: |-\n    - op: replace\n      path: /spec/proxy/listen_path\n      value: /${values.stage}/\npatchesStrategicMerge:\n- |-\n  apiVersion: tyk.tyk.io/v1alpha1\n  kind: SecurityPolicy\n  metadata: { name: gold }\n  spec: { rate: 7, active: null }\npatchesJson6902:\n- target: { group: tyk.tyk.io, version: v1alpha1, kind: SecurityPolicy, name: gold }\n  path: per.json\n";
    let repository = [
        ("base/kustomization.yaml", base),
        ("base/orders.yaml", &resource("orders", "http://dev")),
        ("base/policy.yaml", POLICY),
        ("overlays/prod/kustomization.yaml", overlay),
        (
            "overlays/prod/upstream.yaml",
            "apiVersion: tyk.tyk.io/v1alpha1\nkind: ApiDefinition\nmetadata: { name: orders }\nspec: { proxy: { target_url: http://prod } }\n",
        ),
        (
            "overlays/prod/per.json",
            "[{\"op\": \"add\", \"path\": \"/spec/per\", \"value\": 9}]",
        ),
        ("overlays/prod/unused.yaml", &resource("unused", "http://x")),
        ("env/v.yaml", "stage: live\n"),
    ];
    let read = read_stack("overlays/prod", &repository, &values(&["env/v.yaml"])).unwrap();
    let (api, policy) = (id("prod/p-orders-v1"), id("prod/p-gold-v1"));
    let mut found = keys(&read);
    found.sort();
    assert_eq!(
        found,
        [format!("classic/{api}"), format!("policy/{policy}")]
    );
    assert_eq!(body(&read, &api)["proxy"]["target_url"], "http://prod");
    assert_eq!(body(&read, &api)["proxy"]["listen_path"], "/live/");
    let policy = body(&read, &policy);
    assert_eq!(policy["access_rights"][&api]["api_id"], json!(api));
    assert_eq!((&policy["rate"], &policy["per"]), (&json!(7), &json!(9)));
    assert!(policy.get("active").is_none());
    assert_eq!(
        ignored(&read),
        ["overlays/prod/unused.yaml: the kustomization of overlays/prod does not use it"]
    );

    // The root holds the base twice: by itself, and as what the overlay is made of.
    let read = read_stack("", &repository, &values(&["env/v.yaml"])).unwrap();
    assert_eq!(keys(&read).len(), 2, "{:?}", keys(&read));
}

#[test]
fn what_a_kustomization_uses_beyond_that_is_refused_by_its_name() {
    let text = "resources:\n- a.yaml\n- https://github.com/acme/base?ref=v1\n- ../../../etc\n- /etc/passwd\n- none\ncomponents: [../c]\nsecretGenerator: [{ name: x }]\nimages: []\ngenerators: [exec.yaml]\nresourecs: [b.yaml]\nconfigMapGenerator:\n- { name: m, envs: [x.env] }\npatches:\n- { path: none.yaml }\n- { patch: 'a: [', target: { kind: X } }\n- { patch: '{kind: X}', target: { labelSelector: a=b } }\n";
    let found = shown(read_stack(
        "k",
        &[
            ("k/kustomization.yaml", text),
            ("k/a.yaml", "kind: ApiDefinition\n"),
        ],
        &Environment::default(),
    ));
    let expected = [
        "k/a.yaml:1:1: /apiVersion: kustomize takes Kubernetes objects only, and this has no apiVersion",
        "k/kustomization.yaml:3:3: /resources/1: https://github.com/acme/base?ref=v1 is not in this repository, and is not fetched; run kustomize build, and commit the built output instead, and exclude this folder",
        "k/kustomization.yaml:4:3: /resources/2: ../../../etc leads out of the repository",
        "k/kustomization.yaml:5:3: /resources/3: /etc/passwd leads out of the repository",
        "k/kustomization.yaml:6:3: /resources/4: none is neither a file nor a folder with a kustomization.yaml",
        "k/kustomization.yaml:7:1: /components: components of kustomize is not followed; run kustomize build",
        "k/kustomization.yaml:8:1: /secretGenerator: secretGenerator of kustomize is not followed",
        "k/kustomization.yaml:10:1: /generators: generators of kustomize is not followed",
        "k/kustomization.yaml:11:1: /resourecs: kustomize has no resourecs; did you mean resources?",
        "k/kustomization.yaml:13:14: /configMapGenerator/0/envs: envs of a configMapGenerator is not followed",
        "k/kustomization.yaml:15:5: /patches/0/path: there is no file none.yaml",
        "k/kustomization.yaml:16:5: /patches/1/patch: the patch cannot be read",
        "k/kustomization.yaml:17:35: /patches/2/target/labelSelector: labelSelector of a target is not followed",
    ];
    for line in expected {
        assert!(
            found.iter().any(|found| found.starts_with(line)),
            "{line}\n{found:#?}"
        );
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn a_problem_in_a_patched_resource_is_shown_where_it_was_written() {
    let overlay = "resources: [base]\npatches:\n- path: p.yaml\n";
    let patch = "apiVersion: tyk.tyk.io/v1alpha1\nkind: ApiDefinition\nmetadata: { name: orders }\nspec:\n  proxy:\n    listen_path: orders\n";
    let found = shown(read_stack(
        "",
        &[
            ("kustomization.yaml", overlay),
            ("p.yaml", patch),
            ("base/kustomization.yml", "resources: [orders.yaml]\n"),
            ("base/orders.yaml", &resource("orders", "orders")),
        ],
        &Environment::default(),
    ));
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(
        found[0].starts_with("base/orders.yaml:11:5: /spec/proxy/target_url: "),
        "{found:#?}"
    );
    assert!(
        found[1]
            .starts_with("p.yaml:6:5: /spec/proxy/listen_path: the listen path must begin with /"),
        "{found:#?}"
    );
    assert!(
        found[1].contains("(written here for base/orders.yaml#/spec/proxy/listen_path)"),
        "{found:#?}"
    );
}

#[test]
fn circles_depths_and_bombs_of_kustomizations_end() {
    let circle = [
        ("a/kustomization.yaml", "resources: [../b]\n"),
        ("b/kustomization.yaml", "resources: [../a]\n"),
    ];
    for folder in ["", "a"] {
        let found = shown(read_stack(folder, &circle, &Environment::default()));
        assert!(found[0].contains("go round in a circle"), "{found:?}");
    }
    let deep: Vec<(String, String)> = (0..60)
        .map(|level| {
            (
                format!("d{level}/kustomization.yaml"),
                format!("resources: [../d{}]\n", level + 1),
            )
        })
        .collect();
    let deep: Vec<(&str, &str)> = deep
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str()))
        .collect();
    let found = shown(read_stack("d0", &deep, &Environment::default()));
    assert!(found[0].contains("levels deep"), "{found:?}");
    // Each level uses the next one ten times.
    let bomb: Vec<(String, String)> = (0..12)
        .map(|level| {
            (
                format!("d{level}/kustomization.yaml"),
                format!(
                    "resources: [{}]\n",
                    vec![format!("../d{}", level + 1); 10].join(", ")
                ),
            )
        })
        .chain([(
            "d12/kustomization.yaml".to_owned(),
            "resources: []\n".to_owned(),
        )])
        .collect();
    let bomb: Vec<(&str, &str)> = bomb
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str()))
        .collect();
    let found = shown(read_stack("d0", &bomb, &Environment::default()));
    assert!(found[0].contains("make more than"), "{found:?}");
}

#[test]
fn helm_charts_are_refused_with_advice_and_without_noise() {
    let found = shown(read_stack(
        "",
        &[
            (
                "chart/Chart.yaml",
                "apiVersion: v2\nname: shop\nversion: 1.0.0\n",
            ),
            ("chart/values.yaml", "a: 1\n"),
            (
                "chart/templates/api.yaml",
                "{{ if .Values.a }}\nx: {{ .Values.b }}\n{{ end }}\n",
            ),
            ("chart/charts/sub/Chart.yaml", "name: sub\n"),
        ],
        &Environment::default(),
    ));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(
        found[0].starts_with("chart/Chart.yaml:1:1: this folder is a Helm chart"),
        "{found:#?}"
    );
    let found = shown(read_stack(
        "",
        &[(
            "templates/api.yaml",
            "{{ if .Values.a }}\nx: {{ .Values.b }}\n",
        )],
        &Environment::default(),
    ));
    assert!(found[0].contains("helm template"), "{found:#?}");
}

#[test]
fn a_generated_config_map_is_the_file_that_it_is_made_of() {
    let read = read_stack(
        "k",
        &[
            (
                "k/kustomization.yaml",
                "configMapGenerator:\n- name: orders\n  files: [doc.json=oas.txt]\n  literals: ['a=\"b\"']\n",
            ),
            ("k/oas.txt", "not parsed: ["),
        ],
        &Environment::default(),
    );
    let read = read.unwrap();
    assert_eq!(read.ignored.len(), 1, "{:?}", ignored(&read));
}

#[test]
fn a_document_in_a_config_map_is_filled_after_it_was_parsed() {
    let resource = "apiVersion: tyk.tyk.io/v1alpha1
kind: TykOasApiDefinition
metadata: { name: orders }
spec: { tykOAS: { configmapRef: { name: orders, keyName: doc.yaml } } }
";
    let repository = |values: &'static str| {
        [
            (
                "k/kustomization.yaml",
                "resources: [api.yaml]\nconfigMapGenerator:\n- { name: orders, files: [doc.yaml] }\n",
            ),
            ("k/api.yaml", resource),
            ("k/doc.yaml", OAS),
            ("env/base.yaml", values),
        ]
    };
    let environment = values(&["env/base.yaml"]);
    // As text it would be a map in a place for none.
    let good = "orders: { url: 'http://a/b: c' }\nstage: dev\nstrip: true\n";
    let read = read_stack("k", &repository(good), &environment).unwrap();
    let made = read.desired.values().next().unwrap();
    let own = &made.body["x-tyk-api-gateway"];
    assert_eq!(own["upstream"]["url"], "http://a/b: c");
    assert_eq!(own["server"]["listenPath"]["strip"], true);
    let found = shown(read_stack(
        "k",
        &repository("stage: dev\nstrip: true\n"),
        &environment,
    ));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(
        found[0].contains("there is no value orders.url"),
        "{found:#?}"
    );
}

fn arbitrary_text() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "resources",
        "bases",
        "patches",
        "path",
        "patch",
        "target",
        "kind",
        "name",
        "namespace",
        "namePrefix",
        "files",
        "policies",
        "file",
        "api_id",
        "configMapGenerator",
        "literals",
        "metadata",
        "spec",
        "object",
        "merge",
        "operations",
        "op",
        "add",
        "remove",
        "/a/0",
        "/tags/-",
        "..",
        "../k",
        "a.yaml",
        ".",
        "k",
        "ApiDefinition",
        "orders",
        "${values.a}",
        "- ",
        ": ",
        "\n",
        "\n  ",
        "\n- ",
        "[",
        "]",
        "{",
        "}",
        "'",
        "\"",
        "|-\n",
        "*",
        "&a ",
        "*a",
        "~",
        "1",
        "true",
        "null",
        ",",
    ]);
    prop::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn no_kustomization_values_or_index_makes_it_panic_or_hang(one in arbitrary_text(), two in arbitrary_text(), three in arbitrary_text()) {
        let environment = Environment {
            values: vec!["k/v.yaml".to_owned()],
            patches: vec![PatchSource::File("k/p.yaml".to_owned())],
            openapi: None,
        };
        let _ = read_stack(
            "k",
            &[
                ("k/kustomization.yaml", &one),
                ("k/a.yaml", &resource("orders", "http://u")),
                ("k/v.yaml", &two),
                ("k/p.yaml", &three),
                ("k/s/.tyk.json", &two),
                ("k/s/a.json", &one),
            ],
            &environment,
        );
    }

    #[test]
    fn the_order_of_files_does_not_matter(order in Just((0..8_usize).collect::<Vec<_>>()).prop_shuffle()) {
        let api = resource("orders", "http://dev");
        let hand = classic("hand", "/hand/", "${values.u}");
        let listed = classic("listed", "/listed/", "http://u");
        let all = [
            ("k/kustomization.yaml", "resources: [a.yaml, ../b]\nnamePrefix: x-\n"),
            ("k/a.yaml", api.as_str()),
            ("b/kustomization.yaml", "resources: [p.yaml]\n"),
            ("b/p.yaml", POLICY),
            ("t/.tyk.json", "{\"files\":[{\"file\":\"l.json\"}]}"),
            ("t/l.json", listed.as_str()),
            ("hand.json", hand.as_str()),
            ("v.yaml", "u: http://v\n"),
        ];
        let shuffled: Vec<(&str, &str)> = order.iter().map(|&index| all[index]).collect();
        let one = read_stack("", &all, &values(&["v.yaml"])).unwrap();
        let two = read_stack("", &shuffled, &values(&["v.yaml"])).unwrap();
        let bodies = |read: &Manifests| -> Vec<Value> { read.desired.values().map(|object| object.body.clone()).collect() };
        prop_assert_eq!(keys(&one), keys(&two));
        prop_assert_eq!(bodies(&one), bodies(&two));
        prop_assert_eq!(one.ignored, two.ignored);
        prop_assert_eq!(one.warnings, two.warnings);
        prop_assert_eq!(one.desired.len(), 4);
    }
}
