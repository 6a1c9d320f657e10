//! 5,000 manifests of 2 KB, read, checked and made canonical, beside what the YAML parser alone
//! takes for them. Both on all cores.

use std::time::Instant;

use lockstep::{
    domain::{parallel, plan::prepare, secrets::Masker},
    manifest::{Options, SourceFile, read},
};
use serde_json::Value;

use super::{repeats, report};

const COUNT: usize = 5_000;
const SIZE: usize = 2_048;

pub fn run() {
    for (name, text) in [
        ("OAS", oas as fn(usize) -> String),
        ("classic", classic),
        ("operator", operator),
    ] {
        let files: Vec<SourceFile> = (0..COUNT)
            .map(|index| SourceFile {
                path: format!("apis/api-{index}.yaml"),
                bytes: text(index).into_bytes(),
            })
            .collect();
        let bytes: usize = files.iter().map(|file| file.bytes.len()).sum();
        let average = bytes / COUNT;
        assert!(
            (SIZE * 9 / 10..=SIZE * 11 / 10).contains(&average),
            "{average}"
        );
        let (mut ours, mut parser) = (Vec::new(), Vec::new());
        for _ in 0..repeats() {
            let start = Instant::now();
            let manifests = read(&files, &Options::default()).unwrap();
            let desired = prepare(manifests.desired, &Masker::new(&[7; 32]));
            assert_eq!(desired.len(), COUNT);
            ours.push(start.elapsed().as_secs_f64());
            drop(desired);

            let start = Instant::now();
            let values = parallel::map(files.iter().collect(), |file: &SourceFile| {
                let text = std::str::from_utf8(&file.bytes).unwrap();
                serde_saphyr::from_multiple::<Value>(text).unwrap()
            });
            assert_eq!(values.len(), COUNT);
            parser.push(start.elapsed().as_secs_f64());
        }
        let name =
            format!("manifests, {COUNT} {name} of {average} bytes, read, checked, canonical");
        report(&name, "s", &ours, &parser);
    }
}

fn oas(index: usize) -> String {
    let mut text = format!(
        "openapi: 3.0.3
info:
  title: Orders {index}
  description: Everything about the orders of one customer, from the basket to the invoice.
  version: 1.0.0
components:
  securitySchemes:
    key: {{ type: apiKey, in: header, name: Authorization }}
security:
  - key: []
paths:
"
    );
    for path in ["orders", "invoices", "baskets"] {
        text.push_str(&format!(
            "  /{path}/{{id}}:
    parameters:
      - name: id
        in: path
        required: true
        schema: {{ type: string }}
    get:
      operationId: get-{path}
      summary: Reads one of the {path}
      responses:
        \"200\":
          description: What was asked for
        \"404\":
          description: There is none
"
        ));
    }
    text.push_str(&format!(
        "x-tyk-api-gateway:
  info:
    id: orders-{index}
    name: Orders {index}
    state:
      active: true
  upstream:
    url: http://orders-{index}.internal:8080
    rateLimit: {{ enabled: true, rate: 100, per: 1m }}
  server:
    listenPath:
      value: /orders-{index}/
      strip: true
    authentication:
      enabled: true
      securitySchemes:
        key: {{ enabled: true }}
  middleware:
    global:
      cors:
        enabled: true
        allowedOrigins: [\"https://shop.example\"]
        allowedMethods: [GET, POST]
    operations:
      get-orders:
        enforceTimeout: {{ enabled: true, duration: 5s }}
        urlRewrite: {{ enabled: true, pattern: \"(.*)\", rewriteTo: \"/v1$1\" }}
      get-invoices:
        transformRequestHeaders:
          enabled: true
          add:
            - name: X-Shop
              value: invoices
"
    ));
    padded(text)
}

fn definition(index: usize, indent: &str) -> String {
    let text = format!(
        "name: Orders {index}
protocol: http
active: true
use_keyless: false
use_standard_auth: true
auth_configs:
  authToken:
    auth_header_name: Authorization
definition:
  location: header
  key: x-api-version
proxy:
  listen_path: /orders-{index}/
  target_url: http://orders-{index}.internal:8080
  strip_listen_path: true
  preserve_host_header: false
global_rate_limit:
  rate: 100
  per: 60
CORS:
  enable: true
  allowed_origins: [\"https://shop.example\"]
  allowed_methods: [GET, POST]
cache_options:
  enable_cache: true
  cache_timeout: 60
version_data:
  not_versioned: true
  versions:
    Default:
      name: Default
      use_extended_paths: true
      extended_paths:
        white_list:
          - path: /orders/{{id}}
            method: GET
          - path: /invoices/{{id}}
            method: GET
        hard_timeouts:
          - path: /orders/{{id}}
            method: GET
            timeout: 5
        url_rewrites:
          - path: /orders/{{id}}
            method: GET
            match_pattern: /orders/(.*)
            rewrite_to: /v1/orders/$1
        transform_headers:
          - path: /invoices/{{id}}
            method: GET
            add_headers:
              X-Shop: invoices
"
    );
    let lines = text.lines().map(|line| format!("{indent}{line}\n"));
    lines.collect()
}

fn classic(index: usize) -> String {
    padded(format!("api_id: orders-{index}\n{}", definition(index, "")))
}

fn operator(index: usize) -> String {
    // As the operator has it: the methods with what becomes of each.
    let methods =
        "method_actions: { GET: { action: no_action, code: 200, data: \"\", headers: {} } }";
    let definition = definition(index, "  ");
    let (before, lists) = definition.split_once("white_list:").unwrap();
    let (list, after) = lists.split_once("hard_timeouts:").unwrap();
    let list = list.replace("method: GET", methods);
    padded(format!(
        "apiVersion: tyk.tyk.io/v1alpha1
kind: ApiDefinition
metadata:
  name: orders-{index}
  namespace: shop
spec:
{before}white_list:{list}hard_timeouts:{after}"
    ))
}

/// As people fill a file: with comments.
fn padded(mut text: String) -> String {
    while text.len() < SIZE {
        text.push_str("# The team of this API answers in the channel #orders, on weekdays.\n");
    }
    text
}
