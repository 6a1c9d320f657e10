//! What whoever writes manifests is told, and in which forms: problems, annotations, explanations,
//! schemas, conversions.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use lockstep::manifest::{
    Checked, Keyless, Limits, Options, Problem, SourceFile, check, read,
    schema::{explain, json_schema},
    write::converted,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::process::lockstep;

fn file(path: &str, text: &str) -> SourceFile {
    SourceFile {
        path: path.to_owned(),
        bytes: text.as_bytes().to_vec(),
    }
}

fn checked(text: &str, options: &Options) -> Checked {
    check(&[file("a.yaml", text)], options)
}

fn shown(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

const OAS: &str = r#"openapi: 3.0.3
info: { title: Orders, version: "1" }
components:
  securitySchemes:
    key: { type: apiKey, in: header, name: Authorization }
security: [{ key: [] }]
paths:
  /orders/{id}:
    parameters:
      - { name: id, in: path, required: true, schema: { type: string } }
    get:
      operationId: getOrder
      responses: { "200": { description: ok } }
x-tyk-api-gateway:
  info: { id: orders, name: Orders, state: { active: true } }
  upstream:
    url: http://orders.internal
    rateLimit: { enabled: true, rate: 10, per: 1m }
  server:
    listenPath: { value: /orders/, strip: true }
    authentication:
      enabled: true
      securitySchemes: { key: { enabled: true } }
  middleware:
    operations:
      getOrder:
        enforceTimeout: { enabled: true, duration: 1.5s }
"#;

const CLASSIC: &str = "api_id: ping
name: Ping
use_standard_auth: true
auth_configs:
  authToken: { auth_header_name: Authorization }
proxy:
  listen_path: /ping/
  target_url: http://ping.internal
version_data:
  not_versioned: true
  versions:
    Default:
      name: Default
      use_extended_paths: true
      extended_paths:
        white_list: [{ path: \"/a/{id}\", method: GET }]
        url_rewrites: [{ path: /a, method: GET, match_pattern: \"/a/(.*)\", rewrite_to: /b/$1 }]
";

const POLICY: &str = "id: gold
name: Gold
rate: 5
per: 60
access_rights:
  ping:
    api_id: ping
    allowed_urls: [{ url: \"/a/.*\", methods: [GET] }]
";

#[test]
fn good_manifests_have_neither_problems_nor_warnings() {
    let files = [
        file("orders.yaml", OAS),
        file("ping.yaml", CLASSIC),
        file("gold.yaml", POLICY),
    ];
    let checked = check(&files, &Options::default());
    assert_eq!(shown(&checked.problems), Vec::<String>::new());
    assert_eq!(shown(&checked.manifests.warnings), Vec::<String>::new());
    assert_eq!(checked.manifests.desired.len(), 3);
}

/// A file, a text in it and what stands in its place, the place of the message, and a part of it.
type Mistake = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

const MISTAKES: &[Mistake] = &[
    (
        "oas1",
        "rate: 10",
        "rate: ten",
        "18:33",
        "must be a number, and is the text \"ten\"",
    ),
    (
        "oas1",
        "per: 1m",
        "per: 1 minute",
        "18:44",
        "must be a duration such as \"1h30m\", and is the text \"1 minute\"",
    ),
    (
        "oas2",
        "active: true",
        "active: \"true\"",
        "15:47",
        "must be true or false, and is the text \"true\"; take the quotes away",
    ),
    (
        "oas2",
        "duration: 1.5s",
        "duration: soon",
        "27:42",
        "must be a duration such as \"1.5s\"",
    ),
    (
        "oas3",
        "security: [{ key: [] }]",
        "security: [{ keys: [] }]",
        "6:14",
        "there is no security scheme keys in components.securitySchemes: the gateway refuses the document; did you mean key?",
    ),
    (
        "oas3",
        "in: header",
        "in: headers",
        "5:26",
        "must be one of \"header\", \"query\", \"cookie\", and is the text \"headers\"; did you mean header?",
    ),
    (
        "oas4",
        "operationId: getOrder",
        "operationID: getOrder",
        "12:7",
        "OpenAPI has no field operationID here, and the gateway refuses it; did you mean operationId?",
    ),
    (
        "oas4",
        "value: /orders/,",
        "value: orders,",
        "20:19",
        "the listen path must begin with /",
    ),
    (
        "oas5",
        "openapi: 3.0.3",
        "openapi: 2.0",
        "1:1",
        "the gateway reads OpenAPI 3.0 and 3.1",
    ),
    (
        "classic1",
        "name: Ping",
        "name: [Ping]",
        "2:1",
        "must be a text, and is a list",
    ),
    (
        "classic1",
        "path: \"/a/{id}\"",
        "path: \"/a/(?!x)\"",
        "16:24",
        "there is no look-around",
    ),
    (
        "classic2",
        "api_id: ping",
        "api_id: pi ng",
        "1:1",
        "\"pi ng\" cannot be an API's id",
    ),
    (
        "classic2",
        "match_pattern: \"/a/(.*)\"",
        "match_pattern: \"/a/(.*\"",
        "17:49",
        "the gateway cannot compile the regular expression \"/a/(.*\": unclosed group",
    ),
    (
        "classic3",
        "http://ping.internal",
        "ping.internal",
        "8:3",
        "the upstream's address must have a scheme and a host",
    ),
    (
        "classic3",
        "not_versioned: true",
        "not_versioned: 1",
        "10:3",
        "must be true or false, and is 1",
    ),
    (
        "classic4",
        "auth_header_name: Authorization",
        "disable_header: true",
        "5:3",
        "no header, no parameter and no cookie has the credentials",
    ),
    (
        "policy1",
        "rate: 5",
        "rate: \"5\"",
        "3:1",
        "must be a number, and is the text \"5\"; take the quotes away",
    ),
    (
        "policy2",
        "api_id: ping",
        "api_id: pong",
        "7:5",
        "stands under ping and names the API pong; make the two equal",
    ),
    (
        "policy3",
        "id: gold",
        "id: go/ld",
        "1:1",
        "\"go/ld\" cannot be a policy's id",
    ),
    (
        "policy1",
        "\"/a/.*\"",
        "\"/a/**\"",
        "8:22",
        "one repetition follows another",
    ),
];

#[test]
fn twenty_mistakes_in_twelve_files_are_twenty_messages_at_their_lines() {
    let mut files: BTreeMap<&str, String> = BTreeMap::new();
    for (name, before, after, ..) in MISTAKES {
        let number = &name[name.len() - 1..];
        let text = files.entry(name).or_insert_with(|| {
            // Each file is an object of its own.
            let original = match &name[..name.len() - 1] {
                "oas" => OAS.replace("id: orders,", &format!("id: orders{number},")),
                "classic" => CLASSIC.replace("api_id: ping", &format!("api_id: ping{number}")),
                _ => POLICY.replace("id: gold", &format!("id: gold{number}")),
            };
            original
                .replace("/orders/, strip", &format!("/orders{number}/, strip"))
                .replace("/ping/", &format!("/ping{number}/"))
        });
        let before = before.replace("value: /orders/,", &format!("value: /orders{number}/,"));
        let before = match *name {
            "classic2" if before == "api_id: ping" => "api_id: ping2".to_owned(),
            "policy3" => "id: gold3".to_owned(),
            _ => before,
        };
        assert!(text.contains(&before), "{name}: {before}\n{text}");
        *text = text.replacen(&before, after, 1);
    }
    assert_eq!((MISTAKES.len(), files.len()), (20, 12));
    let sources: Vec<SourceFile> = files
        .iter()
        .map(|(name, text)| file(&format!("{name}.yaml"), text))
        .collect();
    let found = shown(&check(&sources, &Options::default()).problems);
    for (name, _, _, place, message) in MISTAKES {
        let start = format!("{name}.yaml:{place}: ");
        let matching = found
            .iter()
            .filter(|found| found.starts_with(&start) && found.contains(message))
            .count();
        assert_eq!(matching, 1, "{start}{message}\n{}", found.join("\n"));
    }
    assert_eq!(found.len(), 20, "{}", found.join("\n"));
}

#[test]
fn what_the_gateway_drops_is_a_warning_with_the_nearest_name_and_strictly_a_problem() {
    let text = CLASSIC
        .replace(
            "use_standard_auth: true",
            "use_standard_auth: true\nuse_keyles: false",
        )
        .replace("  target_url", "  strip_listenpath: true\n  target_url")
        + "enable_load_balancing: true\nNAME: x\nnonsense: 1\n";
    let loose = checked(&text, &Options::default());
    assert_eq!(shown(&loose.problems), Vec::<String>::new());
    let warnings = shown(&loose.manifests.warnings);
    for expected in [
        "a.yaml:4:1: /use_keyles: the gateway does not know the field use_keyles, and drops it; did you mean use_keyless?",
        "a.yaml:9:3: /proxy/strip_listenpath: the gateway does not know the field strip_listenpath, and drops it; did you mean strip_listen_path?",
        "a.yaml:20:1: /enable_load_balancing: the gateway does not know the field enable_load_balancing, and drops it; it is read at proxy.enable_load_balancing",
        "a.yaml:21:1: /NAME: the gateway reads it as name; write name: what is written otherwise is not looked at here",
        "a.yaml:22:1: /nonsense: the gateway does not know the field nonsense, and drops it; remove it",
    ] {
        assert!(
            warnings.iter().any(|warning| warning == expected),
            "{expected}\n{warnings:#?}"
        );
    }
    assert_eq!(warnings.len(), 5);
    let options = Options {
        strict: true,
        ..Options::default()
    };
    let strict = checked(&text, &options);
    assert_eq!(shown(&strict.problems), warnings);
    assert!(strict.manifests.warnings.is_empty());
}

#[test]
fn an_api_that_is_open_to_everybody_is_told_refused_or_let_be() {
    let open_oas = OAS.replace("      enabled: true\n", "      enabled: false\n");
    let open_classic = CLASSIC.replace("use_standard_auth: true", "use_keyless: true");
    let with_certificates = open_classic.clone() + "use_mutual_tls_auth: true\n";
    let internal = open_classic.clone() + "internal: true\n";
    for (text, is_open) in [
        (open_oas.as_str(), true),
        (open_classic.as_str(), true),
        (with_certificates.as_str(), false),
        (internal.as_str(), false),
        (OAS, false),
    ] {
        for (keyless, problems, warnings) in [
            (Keyless::Told, 0, usize::from(is_open)),
            (Keyless::Refused, usize::from(is_open), 0),
            (Keyless::Allowed, 0, 0),
        ] {
            let options = Options {
                keyless,
                ..Options::default()
            };
            let found = checked(text, &options);
            let counts = (found.problems.len(), found.manifests.warnings.len());
            assert_eq!(counts, (problems, warnings), "{keyless:?}\n{text}");
        }
    }
}

#[test]
fn a_place_for_a_secret_is_no_malformed_value_and_a_secret_is_not_shown() {
    let text = OAS.replace("per: 1m", "per: \"${secret:PERIOD}\"");
    assert_eq!(
        shown(&checked(&text, &Options::default()).problems),
        Vec::<String>::new()
    );
    let text = CLASSIC.replace(
        "auth_configs:",
        "request_signing: { secret: [hunter2hunter2] }\njwt_source: {a: hunter2hunter2}\nauth_configs:",
    );
    let found = checked(&text, &Options::default());
    assert_eq!(found.problems.len(), 2);
    assert!(!format!("{found:?}").contains("hunter2"));
    let text = POLICY.replace(
        "rate: 5",
        "rate: 5\nlast_updated: 5\nmeta_data: { password: hunter2 }",
    );
    assert!(!format!("{:?}", checked(&text, &Options::default()).problems).contains("hunter2"));
}

#[test]
fn every_limit_is_an_error_of_its_own() {
    let limits = Limits {
        file_bytes: 400,
        documents: 2,
        depth: 8,
        nodes: 60,
        aliases: 3,
        ..Limits::default()
    };
    let options = Options {
        limits,
        ..Options::default()
    };
    let deep = format!("{}1{}", "[".repeat(9), "]".repeat(9));
    let wide = format!("[{}]", vec!["1"; 80].join(","));
    for (path, text, expected) in [
        (
            "a.yaml",
            "a".repeat(401),
            "the file has 401 bytes, and 400 are allowed; split it",
        ),
        (
            "a.yaml",
            "a: 1\n---\nb: 1\n---\nc: 1\n".to_owned(),
            "document",
        ),
        ("a.yaml", deep.clone(), "depth"),
        ("a.json", deep, "the file is nested too deeply"),
        ("a.yaml", wide.clone(), "node"),
        ("a.json", wide, "the file has more than 60 values; split it"),
        (
            "a.yaml",
            "a: &a 1\nb: [*a, *a, *a, *a]\n".to_owned(),
            "alias",
        ),
    ] {
        let found = shown(&check(&[file(path, &text)], &options).problems);
        assert_eq!(found.len(), 1, "{text}");
        assert!(
            found[0].to_lowercase().contains(expected),
            "{expected}: {}",
            found[0]
        );
    }
}

#[test]
fn annotations_for_a_pull_request_name_file_line_and_column() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let broken = OAS.replace("rate: 10", "rate: \"100%,\\nor: so\"");
    std::fs::create_dir(path.join("a, b")).unwrap();
    std::fs::write(path.join("a, b/x:y.yaml"), broken).unwrap();
    std::fs::write(
        path.join("open.yaml"),
        CLASSIC.replace("use_standard_auth", "use_keyless"),
    )
    .unwrap();
    let (code, out, _) = lockstep(path, &[], &["validate", ".", "--output", "github"]);
    assert_eq!(code, 1);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 2, "{out}");
    assert!(
        lines[0].starts_with(
            "::error file=a%2C b/x%3Ay.yaml,line=18,col=33,title=lockstep::/x-tyk-api-gateway/upstream/rateLimit/rate: must be a number, and is the text \"100%25,\\nor: so\""
        ),
        "{out}"
    );
    assert!(
        lines[1]
            .starts_with("::warning file=open.yaml,line=3,col=1,title=lockstep::/use_keyless: "),
        "{out}"
    );

    let (code, out, _) = lockstep(path, &[], &["--output", "sarif", "validate", "."]);
    assert_eq!(code, 1);
    let sarif: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(sarif["version"], "2.1.0");
    let run = &sarif["runs"][0];
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    let place = &results[0]["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "a%2C%20b/x%3Ay.yaml");
    assert_eq!(place["region"], json!({"startLine": 18, "startColumn": 33}));
    assert_eq!(
        (&results[0]["level"], &results[1]["level"]),
        (&json!("error"), &json!("warning"))
    );
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    for result in results {
        assert!(rules.iter().any(|rule| rule["id"] == result["ruleId"]));
        assert!(result["message"]["text"].is_string());
    }

    // The two mistakes are the same in the other forms.
    let (_, out, _) = lockstep(path, &[], &["--output", "json", "validate", "."]);
    let value: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(value["problems"].as_array().unwrap().len(), 1);
    assert_eq!(value["warnings"].as_array().unwrap().len(), 1);
    let (code, out, err) = lockstep(path, &[], &["validate", "open.yaml", "--strict"]);
    assert_eq!(code, 1, "{out}{err}");
    let (code, out, _) = lockstep(
        path,
        &[],
        &[
            "validate",
            "open.yaml",
            "--allow-keyless",
            "true",
            "--strict",
        ],
    );
    assert_eq!(code, 0, "{out}");
    let (code, _, err) = lockstep(path, &[], &["--output", "sarif", "explain", "oas"]);
    assert_eq!(code, 1);
    assert!(err.contains("lockstep validate"), "{err}");
}

#[test]
fn kinds_and_fields_are_explained_from_the_tables_that_check_them() {
    let explained = explain("classic.proxy.listen_path").unwrap();
    assert_eq!(explained.shape, "a text");
    assert!(explained.about.contains("/orders/"));
    let explained = explain("oas.server").unwrap();
    assert_eq!(explained.path, "oas.x-tyk-api-gateway.server");
    assert!(explained.required);
    let listen_path = explained
        .fields
        .iter()
        .find(|field| field.name == "listenPath")
        .unwrap();
    assert!(listen_path.required && !listen_path.about.is_empty());
    // The names of versions and of APIs are the user's own.
    for path in [
        "classic.version_data.versions.Default.extended_paths.url_rewrites.match_pattern",
        "classic.version_data.versions.extended_paths.url_rewrites.match_pattern",
    ] {
        assert_eq!(
            explain(path).unwrap().shape,
            "a regular expression in Go's syntax"
        );
    }
    assert_eq!(
        explain("policy.acces_rights").unwrap_err(),
        "policy has no field acces_rights; did you mean access_rights?"
    );
    assert_eq!(
        explain("polcy").unwrap_err(),
        "there is no kind polcy; did you mean policy?"
    );
    assert_eq!(
        explain("policy.name.x").unwrap_err(),
        "policy.name has no fields"
    );

    // The operator's kinds, from the table of their translation; spec may be left out.
    let explained = explain("apidefinition.spec.proxy").unwrap();
    assert_eq!(explained.path, "ApiDefinition.spec.proxy");
    let names: Vec<&str> = explained
        .fields
        .iter()
        .map(|field| field.name.as_str())
        .collect();
    assert!(
        names.contains(&"listen_path") && names.contains(&"target_url"),
        "{names:?}"
    );
    assert_eq!(explain("ApiDefinition.proxy").unwrap(), explained);
    assert!(
        explain("ApiDefinition.proxi")
            .unwrap_err()
            .ends_with("did you mean proxy?")
    );
    for kind in lockstep::manifest::schema::kinds() {
        assert!(!explain(kind).unwrap().fields.is_empty(), "{kind}");
    }

    let folder = tempfile::tempdir().unwrap();
    let (code, out, err) = lockstep(folder.path(), &[], &["explain", "policy"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(
        out.starts_with("policy: an object\n") && out.contains("access_rights"),
        "{out}"
    );
    let (code, out, _) = lockstep(
        folder.path(),
        &[],
        &["explain", "oas.upstream.url", "--output", "json"],
    );
    let value: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &value["path"]),
        (0, &json!("oas.x-tyk-api-gateway.upstream.url"))
    );
    let (code, out, err) = lockstep(folder.path(), &[], &["explain", "policy.nme"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("did you mean name?"), "{err}");
}

fn validator(kind: Option<&str>) -> jsonschema::Validator {
    let schema = json_schema(kind).unwrap();
    assert!(jsonschema::draft7::meta::is_valid(&schema));
    jsonschema::draft7::new(&schema).unwrap()
}

#[test]
fn an_editor_takes_good_manifests_and_marks_what_the_checks_name() {
    for (kind, text, before, after) in [
        ("oas", OAS, "rate: 10", "rate: ten"),
        ("oas", OAS, "listenPath:", "listenpath:"),
        ("oas", OAS, "operationId:", "operationID:"),
        ("oas", OAS, "duration: 1.5s", "duration: 1h"),
        ("classic", CLASSIC, "use_standard_auth", "use_standart_auth"),
        (
            "classic",
            CLASSIC,
            "not_versioned: true",
            "not_versioned: yes please",
        ),
        ("policy", POLICY, "rate: 5", "rate: five"),
        ("policy", POLICY, "id: gold\n", ""),
    ] {
        let value = |text: &str| serde_saphyr::from_str::<Value>(text).unwrap();
        for validator in [validator(Some(kind)), validator(None)] {
            let good = value(text);
            let errors: Vec<String> = validator
                .iter_errors(&good)
                .map(|error| error.to_string())
                .collect();
            assert_eq!(errors, Vec::<String>::new(), "{kind}");
            let bad = value(&text.replacen(before, after, 1));
            assert!(!validator.is_valid(&bad), "{kind}: {after}");
        }
    }
    let operator = validator(Some("ApiDefinition"));
    let resource = |text: &str| serde_saphyr::from_str::<Value>(text).unwrap();
    let first = OPERATOR.split("---").next().unwrap();
    let errors: Vec<String> = operator
        .iter_errors(&resource(first))
        .map(|error| error.to_string())
        .collect();
    assert_eq!(errors, Vec::<String>::new());
    assert!(validator(None).is_valid(&resource(first)));
    assert!(!operator.is_valid(&resource(&first.replace("listen_path", "listenpath"))));
    assert!(json_schema(Some("nothing")).is_none());
    let folder = tempfile::tempdir().unwrap();
    let (code, out, _) = lockstep(folder.path(), &[], &["schema", "policy"]);
    assert_eq!(code, 0);
    assert_eq!(
        serde_json::from_str::<Value>(&out).ok(),
        json_schema(Some("policy"))
    );
    let (code, _, err) = lockstep(folder.path(), &[], &["schema", "polici"]);
    assert_eq!(code, 1);
    assert!(err.contains("did you mean policy?"), "{err}");
}

/// Native samples as values, with the kind that they are.
fn native_samples(root: &Path) -> Vec<(String, &'static str, Value)> {
    let mut found = Vec::new();
    for (folder, kind) in [
        ("oas-full", "oas"),
        ("classic-full", "classic"),
        ("policy", "policy"),
        ("streams", "oas"),
    ] {
        for entry in std::fs::read_dir(root.join("tyk").join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            if let Ok(value) = serde_saphyr::from_str::<Value>(&text) {
                found.push((path.display().to_string(), kind, value));
            }
        }
    }
    found
}

#[test]
#[ignore = "needs ../shared; tests/run has it"]
fn schemas_and_checks_say_the_same_of_every_sample() {
    let Some(shared) = crate::support::shared() else {
        return;
    };
    let samples = native_samples(&shared.join("samples/manifests"));
    assert!(samples.len() > 25, "{}", samples.len());
    let options = Options {
        keyless: Keyless::Allowed,
        strict: true,
        ..Options::default()
    };
    let mut good = 0;
    for (path, kind, mut value) in samples {
        // Most samples of the documentation leave their ids out.
        let pointer = match kind {
            "oas" => "/x-tyk-api-gateway/info/id",
            "classic" => "/api_id",
            _ => "/id",
        };
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let Some(Value::Object(members)) = value.pointer_mut(parent) else {
            continue;
        };
        members.entry(name).or_insert(json!("sample"));
        let found = check(&[file("a.json", &value.to_string())], &options).problems;
        // Of single fields alone a schema can tell.
        let of_fields = found.iter().filter(|found| {
            found.message.starts_with("must be") || found.message.contains("drops it")
        });
        let is_told = of_fields.count() > 0;
        let errors: Vec<String> = validator(Some(kind))
            .iter_errors(&value)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        if found.is_empty() {
            assert_eq!(errors, Vec::<String>::new(), "{path}");
            good += 1;
        }
        if is_told {
            assert!(!errors.is_empty(), "{path}: {:?}", shown(&found));
        }
    }
    assert!(good > 15, "{good}");
}

#[test]
#[ignore = "needs ../shared; tests/run has it"]
fn what_a_gateway_took_has_no_problem_here() {
    let Some(shared) = crate::support::shared() else {
        return;
    };
    let mut count = 0;
    let mut wrong = String::new();
    for entry in std::fs::read_dir(shared.join("samples/gateway/roundtrip")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.ends_with(".posted.json") {
            count += 1;
            let text = std::fs::read_to_string(&path).unwrap();
            for problem in check(&[file(&name, &text)], &Options::default()).problems {
                let _ = writeln!(wrong, "{problem}");
            }
        }
    }
    assert_eq!(wrong, "");
    assert!(count > 50, "{count}");
}

const OPERATOR: &str = "# The ping of the shop.
apiVersion: tyk.tyk.io/v1alpha1
kind: ApiDefinition
metadata:
  name: ping
  labels: { team: shop }
spec:
  name: Ping
  use_standard_auth: true
  protocol: http
  active: true
  request_signing: { secret: s3cr3t-in-clear }
  proxy:
    target_url: http://ping.internal
    listen_path: /ping
---
apiVersion: tyk.tyk.io/v1alpha1
kind: SecurityPolicy
metadata: { name: gold }
spec:
  name: Gold
  state: active
  active: true
  access_rights_array:
    - { name: ping, namespace: default }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: tools }
data:
  api.json: |
    openapi: 3.0.3
    info: { title: Tools, version: v1 }
    paths: {}
    x-tyk-api-gateway:
      info: { name: Tools, state: { active: true } }
      upstream: { url: http://tools.internal }
      server: { listenPath: { value: /tools/, strip: true } }
---
apiVersion: tyk.tyk.io/v1alpha1
kind: TykMcpProxyDefinition
metadata: { name: tools }
spec:
  tykMCP:
    configmapRef: { name: tools, keyName: api.json }
";

#[test]
fn a_converted_folder_wants_what_the_original_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::create_dir(path.join("old")).unwrap();
    std::fs::write(path.join("old/all.yaml"), OPERATOR).unwrap();
    let arguments = [
        "convert", "--from", "operator", "--to", "native", "old", "--into", "new",
    ];
    let (code, out, err) = lockstep(path, &[], &arguments);
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(out.matches("written: ").count(), 3, "{out}");
    assert!(
        out.contains("holds one in clear at /request_signing/secret"),
        "{out}"
    );
    assert!(
        err.contains("comments are not carried over; there are some in old/all.yaml"),
        "{err}"
    );
    assert!(!out.contains("s3cr3t") && !err.contains("s3cr3t"));
    let desired = |root: &str| {
        let mut files = Vec::new();
        let mut folders = vec![path.join(root)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap().path();
                if entry.is_dir() {
                    folders.push(entry);
                } else {
                    let bytes = std::fs::read(&entry).unwrap();
                    files.push(SourceFile {
                        path: entry.display().to_string(),
                        bytes,
                    });
                }
            }
        }
        let read = read(&files, &Options::default()).unwrap();
        let bodies = read
            .desired
            .into_values()
            .map(|object| (object.key, object.body));
        bodies.collect::<Vec<_>>()
    };
    assert_eq!(desired("new"), desired("old"));
    // Once more: nothing is to be done, and what was changed is kept.
    let (code, out, _) = lockstep(path, &[], &arguments);
    assert_eq!((code, out.matches("unchanged: ").count()), (0, 3), "{out}");
    let (code, _, err) = lockstep(
        path,
        &[],
        &["convert", "--from", "tyk-sync", "old", "--into", "x"],
    );
    assert_eq!(code, 1);
    assert!(err.contains(".tyk.json"), "{err}");
    assert!(!path.join("x").exists());
}

proptest! {
    #[test]
    fn what_is_converted_reads_back_as_it_was(
        name in "[A-Za-z0-9 _.-]{1,20}",
        id in "[A-Za-z0-9_-]{1,30}",
        data in prop::collection::btree_map("[a-z]{1,5}", any::<i64>(), 0..5),
    ) {
        prop_assume!(!name.trim().is_empty() && !id.ends_with("-oas") && !id.ends_with("-mcp"));
        prop_assume!(!["oas", "export", "import", "versions"].contains(&id.as_str()));
        let body = json!({
            "api_id": id, "name": name, "config_data": data, "use_keyless": true,
            "proxy": {"listen_path": "/a/", "target_url": "http://a"},
            "version_data": {"versions": {"Default": {"name": "Default"}}},
        });
        let first = read(&[file("a.json", &body.to_string())], &Options::default()).unwrap();
        let written = converted(&first.desired, &Options::default());
        prop_assert!(written.refused.is_empty());
        let files: Vec<SourceFile> = written.manifests.iter().map(|manifest| file(&manifest.path, &manifest.text)).collect();
        let again = read(&files, &Options::default()).unwrap();
        let bodies = |desired: &lockstep::domain::object::Desired| -> Vec<Value> {
            desired.values().map(|object| object.body.clone()).collect()
        };
        prop_assert_eq!(bodies(&first.desired), bodies(&again.desired));
    }

    #[test]
    fn no_value_in_any_place_makes_the_checks_panic(
        kind in 0..3_usize,
        place in any::<prop::sample::Index>(),
        value in prop_oneof![
            Just(Value::Null), any::<bool>().prop_map(Value::from), any::<f64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from), "\\PC{0,20}".prop_map(Value::from),
            prop::collection::vec("[a-z{}()*+?\\[\\]\\\\]{0,8}", 0..3).prop_map(Value::from),
        ],
    ) {
        let mut document: Value = serde_saphyr::from_str([OAS, CLASSIC, POLICY][kind]).unwrap();
        let mut places = Vec::new();
        pointers(&document, String::new(), &mut places);
        *document.pointer_mut(&places[place.index(places.len())]).unwrap() = value;
        let found = check(&[file("a.json", &document.to_string())], &Options::default());
        // The same twice, and each problem in the file that has it.
        let again = check(&[file("a.json", &document.to_string())], &Options::default());
        prop_assert_eq!(&found.problems, &again.problems);
        prop_assert!(found.problems.iter().all(|problem| problem.file == "a.json"));
    }
}

fn pointers(value: &Value, pointer: String, found: &mut Vec<String>) {
    let mut below = |name: &str, value: &Value| {
        let name = name.replace('~', "~0").replace('/', "~1");
        pointers(value, format!("{pointer}/{name}"), found);
    };
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| below(name, value)),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(at, value)| below(&at.to_string(), value)),
        _ => {}
    }
    found.push(pointer);
}
