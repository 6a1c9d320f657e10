//! The stand-in gateway answers every recording as the real gateway did.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lockstep::sandbox::gateway::{Faults, Gateway, GatewayOptions, Hang};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// The upstream that the recordings name.
const UPSTREAM: &str = "127.0.0.1:18199";

const SCENARIOS: [(&str, usize); 13] = [
    ("auth", 21),
    ("certs", 21),
    ("classic-lifecycle", 33),
    ("collisions", 37),
    ("errors", 124),
    ("mcps", 44),
    ("oas-lifecycle", 38),
    ("policies", 36),
    ("reload", 16),
    ("schema", 6),
    ("startup", 26),
    ("traps", 230),
    ("versions", 62),
];

#[test]
fn every_scenario_file_is_replayed() {
    let mut found: Vec<String> = std::fs::read_dir(data())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "json"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    found.sort();
    let replayed: Vec<&str> = SCENARIOS.iter().map(|(name, _)| *name).collect();
    assert_eq!(found, replayed);
}

macro_rules! scenarios {
    ($($name:ident),+ $(,)?) => {$(
        #[tokio::test]
        async fn $name() {
            replay(&stringify!($name)["answers_as_recorded_in_".len()..].replace('_', "-")).await;
        }
    )+};
}

scenarios! {
    answers_as_recorded_in_auth,
    answers_as_recorded_in_certs,
    answers_as_recorded_in_classic_lifecycle,
    answers_as_recorded_in_collisions,
    answers_as_recorded_in_errors,
    answers_as_recorded_in_mcps,
    answers_as_recorded_in_oas_lifecycle,
    answers_as_recorded_in_policies,
    answers_as_recorded_in_reload,
    answers_as_recorded_in_schema,
    answers_as_recorded_in_startup,
    answers_as_recorded_in_traps,
    answers_as_recorded_in_versions,
}

#[tokio::test]
async fn own_documents_read_back_as_they_did_from_a_real_gateway() {
    assert_eq!(round_trips(&data().join("roundtrip"), "own-").await, 28);
}

#[tokio::test]
#[ignore = "needs ../shared; tests/run has it"]
async fn all_documents_read_back_as_they_did_from_a_real_gateway() {
    let Some(shared) = crate::support::shared() else {
        return;
    };
    let folder = shared.join("samples/gateway/roundtrip");
    assert_eq!(round_trips(&folder, "").await, 54);
}

#[tokio::test]
#[ignore = "needs ../shared; tests/run has it"]
async fn what_a_real_gateway_refused_or_never_loaded_is_refused_or_absent_here() {
    let Some(shared) = crate::support::shared() else {
        return;
    };
    let file = shared.join("samples/gateway/roundtrip/refused.json");
    let text = std::fs::read_to_string(file).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(cases.len(), 8);
    let mut wrong = Vec::new();
    for case in cases {
        let world = World::start("127.0.0.1:18108").await;
        let name = case["name"].as_str().unwrap();
        let endpoint = case["endpoint"].as_str().unwrap();
        let posted = world
            .send("POST", endpoint, Some(case["posted"].to_string()))
            .await;
        let same = by_lines(&posted.1["message"]) == by_lines(&case["body"]["message"])
            && posted.1["key"] == case["body"]["key"];
        if posted.0 != case["status"] || !same {
            wrong.push(format!("{name}: {posted:?} instead of {}", case["body"]));
        }
        if let Some(after) = case.get("after_reload").filter(|it| !it.is_null()) {
            world.gateway.reload_now().await;
            let id = posted.1["key"].as_str().unwrap_or_default();
            let read = world.send("GET", &format!("{endpoint}/{id}"), None).await;
            if read.0 != after["status"] {
                wrong.push(format!("{name}: {} after the reload", read.0));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The errors of a schema come in any order.
fn by_lines(message: &Value) -> Vec<&str> {
    let mut lines: Vec<&str> = message.as_str().unwrap_or_default().lines().collect();
    lines.sort_unstable();
    lines
}

/// A gateway, and the upstream behind it.
struct World {
    gateway: Gateway,
    client: reqwest::Client,
    upstream: String,
    held: Option<Hang>,
    /// Ids that the real gateway made → ids made here.
    ids: BTreeMap<String, String>,
}

impl World {
    async fn start(public_address: &str) -> Self {
        let environment = [
            ("NAME_VALUE", "Name from env"),
            ("LP_VALUE", "/from-env/"),
            ("LPC", "/cenv/"),
        ];
        let gateway = Gateway::start(GatewayOptions {
            proxy: Some(([127, 0, 0, 1], 0).into()),
            public_address: Some(public_address.to_owned()),
            tick: Duration::from_millis(1),
            environment: environment
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..GatewayOptions::default()
        })
        .await
        .unwrap();
        Self {
            gateway,
            client: reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .build()
                .unwrap(),
            upstream: upstream().await,
            held: None,
            ids: BTreeMap::new(),
        }
    }

    async fn send(&self, method: &str, path: &str, body: Option<String>) -> (u16, Value) {
        let request = self
            .client
            .request(
                method.parse().unwrap(),
                format!("{}{path}", self.gateway.url()),
            )
            .header("x-tyk-authorization", "SECRET")
            .body(body.unwrap_or_default());
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (
            status,
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        )
    }

    /// From the words of the recording to those of this run.
    fn here(&self, text: &str) -> String {
        let mut text = text.replace(UPSTREAM, &self.upstream);
        for (recorded, made) in &self.ids {
            text = text.replace(recorded, made);
        }
        text
    }

    /// And back.
    fn there(&self, text: &str) -> String {
        let mut text = text.replace(&self.upstream, UPSTREAM);
        for (recorded, made) in &self.ids {
            text = text.replace(made, recorded);
        }
        text
    }
}

async fn replay(name: &str) {
    let text = std::fs::read_to_string(data().join(format!("{name}.json"))).unwrap();
    let exchanges: Vec<Value> = serde_json::from_str(&text).unwrap();
    let count = SCENARIOS.iter().find(|(it, _)| *it == name).unwrap().1;
    assert_eq!(exchanges.len(), count);
    let address = if name == "mcps" {
        "127.0.0.1:18104"
    } else {
        "127.0.0.1:18100"
    };
    let mut world = World::start(address).await;
    let mut wrong = Vec::new();
    for (index, exchange) in exchanges.iter().enumerate() {
        beforehand(name, index, &mut world).await;
        if let Err(problem) = exchange_once(&mut world, exchange).await {
            let note = &exchange["note"];
            let request = &exchange["request"];
            let (method, path) = (&request["method"], &request["path"]);
            wrong.push(format!("#{index} {note} {method} {path}\n{problem}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// What happened behind the gateway's back in the recording.
async fn beforehand(name: &str, index: usize, world: &mut World) {
    let gateway = &world.gateway;
    match (name, index) {
        ("collisions", 15) => {
            gateway.restart(false).await.unwrap();
            gateway.ready().await;
        }
        ("reload", 8) => gateway.break_file_by_hand("broken"),
        ("traps", 221) => {
            gateway.put_file_by_hand("other_name", &classic("foreign", &world.upstream));
        }
        ("startup", 0) => {
            for number in 0..400 {
                gateway.put_api_by_hand(&oas(&format!("api{number:03}"), &world.upstream));
            }
            gateway.put_policy_by_hand("p", &json!({"id": "p", "name": "p"}));
            world.held = Some(gateway.faults().hold_loads());
            gateway.restart(false).await.unwrap();
        }
        ("startup", 9) => {
            world.held = None;
            gateway.faults().clear();
            gateway.ready().await;
        }
        ("traps", 217) | ("startup", 13) => gateway.grow_older(Duration::from_mins(1)),
        ("startup", 15) => *world = World::start("127.0.0.1:18100").await,
        ("startup", 18) => {
            gateway.put_api_by_hand(&classic("x", &world.upstream));
            Faults::redis_down(gateway.faults(), true);
            gateway.restart(false).await.unwrap();
            gateway.ready().await;
        }
        ("startup", 23) => gateway.reload_now().await,
        _ => {}
    }
}

async fn exchange_once(world: &mut World, exchange: &Value) -> Result<(), String> {
    let request = &exchange["request"];
    let response = &exchange["response"];
    let port = if request["on"] == "proxy port" {
        world.gateway.proxy_url().unwrap()
    } else {
        world.gateway.url()
    };
    let url = format!("{port}{}", world.here(request["path"].as_str().unwrap()));
    let mut sent = world
        .client
        .request(request["method"].as_str().unwrap().parse().unwrap(), url);
    for (name, value) in request["headers"].as_object().unwrap() {
        sent = sent.header(
            name,
            value.as_str().unwrap().replace(" (then one space)", " "),
        );
    }
    if let Some(body) = request.get("body") {
        sent = sent.body(world.here(&body.to_string()));
    } else if let Some(text) = request["text"].as_str() {
        let text = if text.starts_with("(PEM certificate followed by") {
            two_example()
        } else {
            text.to_owned()
        };
        sent = sent.body(world.here(&text));
    }
    let answered = sent.send().await;
    if response["status"] == 0 {
        return match answered {
            Err(error) if error.is_connect() => Ok(()),
            other => Err(format!("{other:?} instead of no connection")),
        };
    }
    let answered = answered.map_err(|error| format!("{error:?}"))?;
    let status = answered.status().as_u16();
    let headers = answered.headers().clone();
    let text = answered.text().await.map_err(|error| error.to_string())?;
    learn(world, response, &text);
    let text = world.there(&text);
    let mut problems = Vec::new();
    if response["status"] != status {
        problems.push(format!(
            "  status {status} instead of {}",
            response["status"]
        ));
    }
    for name in [
        "content-type",
        "content-length",
        "location",
        "content-disposition",
        "x-tyk-base-api-id",
    ] {
        let recorded = response["headers"][name].as_str();
        let here = headers.get(name).map(|value| value.to_str().unwrap());
        let unimportant = name == "content-length"
            && (response["reduced"] == true || text.contains("not_before"));
        if recorded != here && !unimportant {
            problems.push(format!("  {name} {here:?} instead of {recorded:?}"));
        }
    }
    problems.extend(body_problem(response, &text));
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems.join("\n"))
    }
}

fn body_problem(response: &Value, text: &str) -> Option<String> {
    let here: Option<Value> = serde_json::from_str(text).ok();
    if let Some(recorded) = response.get("body") {
        let here = here.unwrap_or(Value::String(text.to_owned()));
        let here = if response["reduced"] == true {
            reduced(recorded, &here)
        } else {
            here
        };
        let (recorded, here) = (comparable(recorded), comparable(&here));
        if let Some(difference) = difference(&recorded, &here, "") {
            return Some(difference);
        }
        if let Some(raw) = response["raw"].as_str() {
            let loose =
                recorded.is_array() || raw.contains("\"time\"") || raw.contains("not_before");
            if !loose && raw != text {
                return Some(format!("  {text:?}\n  instead of\n  {raw:?}"));
            }
            if raw.ends_with('\n') != text.ends_with('\n') {
                return Some(format!("  the line end of {text:?}"));
            }
        }
        return None;
    }
    let recorded = response["text"].as_str()?;
    (recorded != text).then(|| format!("  {text:?} instead of {recorded:?}"))
}

/// Notes what the ids made by the real gateway are called here.
fn learn(world: &mut World, response: &Value, text: &str) {
    let here: Value = serde_json::from_str(text).unwrap_or_default();
    for name in ["key", "id"] {
        let recorded = response["body"][name].as_str();
        if let (Some(recorded), Some(made)) = (recorded, here[name].as_str()) {
            let is_made = |id: &str| {
                id.len() >= 32
                    && id
                        .trim_start_matches("default")
                        .bytes()
                        .all(|it| it.is_ascii_hexdigit())
            };
            if recorded != made && is_made(recorded) && is_made(made) {
                let cut = |id: &str| id.trim_start_matches("default").to_owned();
                world.ids.insert(cut(recorded), cut(made));
            }
        }
    }
}

/// The summary that the recording holds instead of a body.
fn reduced(recorded: &Value, here: &Value) -> Value {
    match (recorded, here) {
        (Value::String(_), Value::Array(items)) => json!(format!("(list of {})", items.len())),
        (Value::Array(rows), Value::Array(items)) => items
            .iter()
            .map(|item| {
                let keys = rows.first().and_then(Value::as_object);
                keys.into_iter()
                    .flatten()
                    .map(|(key, _)| {
                        let value = match key.as_str() {
                            "listen_path" => item["proxy"]["listen_path"].clone(),
                            "is_oas" => json!(item["is_oas"] == true),
                            other => item[other].clone(),
                        };
                        (key.clone(), value)
                    })
                    .collect::<Value>()
            })
            .collect(),
        (Value::Object(_), Value::Object(_)) if here["schema"].is_object() => {
            let mut here = here.clone();
            let keys: Vec<String> = here["schema"]
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect();
            here["schema"] = json!({"(top keys)": keys});
            here
        }
        _ => here.clone(),
    }
}

/// Lists without an order sorted, times and the dates of certificates made equal.
fn comparable(value: &Value) -> Value {
    let mut value = unordered(value, "");
    if let Value::Array(items) = &mut value {
        items.sort_by_key(Value::to_string);
    }
    value
}

fn unordered(value: &Value, key: &str) -> Value {
    match value {
        _ if matches!(key, "time" | "not_before" | "not_after") => json!("a time"),
        Value::Array(items) => {
            let mut items: Vec<Value> = items.iter().map(|item| unordered(item, "")).collect();
            if matches!(key, "eventHandlers" | "domainToCertificateMapping") {
                items.sort_by_key(Value::to_string);
            }
            Value::Array(items)
        }
        Value::Object(map) => map
            .iter()
            .map(|(key, item)| (key.clone(), unordered(item, key)))
            .collect(),
        other => other.clone(),
    }
}

/// Every place where two values differ.
fn difference(recorded: &Value, here: &Value, path: &str) -> Option<String> {
    match (recorded, here) {
        (Value::Object(one), Value::Object(other)) => {
            let keys: std::collections::BTreeSet<&String> =
                one.keys().chain(other.keys()).collect();
            let found: Vec<String> = keys
                .into_iter()
                .filter_map(|key| {
                    let path = format!("{path}/{key}");
                    match (one.get(key), other.get(key)) {
                        (Some(one), Some(other)) => difference(one, other, &path),
                        (Some(one), None) => Some(format!("  {path} missing, was {one}")),
                        (None, other) => {
                            Some(format!("  {path} is {}, was absent", other.unwrap()))
                        }
                    }
                })
                .collect();
            (!found.is_empty()).then(|| found.join("\n"))
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            let found: Vec<String> = one
                .iter()
                .zip(other)
                .enumerate()
                .filter_map(|(index, (one, other))| {
                    difference(one, other, &format!("{path}/{index}"))
                })
                .collect();
            (!found.is_empty()).then(|| found.join("\n"))
        }
        _ => (recorded != here).then(|| format!("  {path} is {here}, was {recorded}")),
    }
}

async fn round_trips(folder: &Path, prefix: &str) -> usize {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.strip_suffix(".posted.json").map(str::to_owned)
        })
        .filter(|name| name.starts_with(prefix))
        .collect();
    names.sort();
    let mut wrong = Vec::new();
    for name in &names {
        let world = World::start("127.0.0.1:18108").await;
        let read = |what: &str| {
            std::fs::read_to_string(folder.join(format!("{name}.{what}.json"))).unwrap()
        };
        let posted = read("posted");
        let recorded: Value = serde_json::from_str(&read("read")).unwrap();
        let endpoint = if name.contains("-policy-") {
            "/tyk/policies"
        } else if name.contains("-classic-") {
            "/tyk/apis"
        } else {
            "/tyk/apis/oas"
        };
        let answer = world.send("POST", endpoint, Some(posted)).await;
        world.gateway.reload_now().await;
        let id = answer.1["key"].as_str().unwrap_or_default().to_owned();
        let here = world.send("GET", &format!("{endpoint}/{id}"), None).await;
        if let Some(problem) = difference(&comparable(&recorded), &comparable(&here.1), "") {
            wrong.push(format!("{name} ({answer:?})\n{problem}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    names.len()
}

fn classic(id: &str, upstream: &str) -> Value {
    json!({
        "api_id": id, "org_id": "default", "name": id, "active": true, "use_keyless": true,
        "proxy": {
            "listen_path": format!("/{id}/"),
            "target_url": format!("http://{upstream}"),
            "strip_listen_path": true,
        },
        "version_data": {
            "not_versioned": true,
            "versions": {"Default": {"name": "Default", "use_extended_paths": true}},
        },
    })
}

fn oas(id: &str, upstream: &str) -> Value {
    json!({
        "openapi": "3.0.3", "info": {"title": id, "version": "1.0.0"}, "paths": {},
        "x-tyk-api-gateway": {
            "info": {"id": id, "orgId": "default", "name": id, "state": {"active": true}},
            "upstream": {"url": format!("http://{upstream}")},
            "server": {"listenPath": {"value": format!("/{id}/"), "strip": true}},
        },
    })
}

/// Answers every request with its path, as the upstream of the recordings did.
async fn upstream() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = vec![0; 8192];
                let length = stream.read(&mut head).await.unwrap_or(0);
                let head = String::from_utf8_lossy(&head[..length]).into_owned();
                let path = head.split(' ').nth(1).unwrap_or("/");
                let body = format!("{{\"up\":\"{path}\"}}");
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
                     connection: close\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    address
}

/// A certificate for `two.example`, and something that looks like its key.
fn two_example() -> String {
    let certificate = std::fs::read_to_string(data().join("two-example.pem")).unwrap();
    format!(
        "{certificate}-----BEGIN RSA PRIVATE KEY-----\nbm90IGEga2V5\n-----END RSA PRIVATE KEY-----\n"
    )
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/gateway")
}
