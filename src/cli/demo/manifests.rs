//! The demo's manifests: what a small shop would have. `PREFIX` keeps the ids and listen paths
//! apart from everything else on a gateway that is not ours alone.

use std::collections::BTreeMap;

const ORDERS: &str = r#"# A Tyk OAS API that asks for a key.
openapi: 3.0.3
info:
  title: Orders
  version: 1.0.0
paths:
  /orders:
    get:
      operationId: listOrders
      responses:
        "200":
          description: The orders
components:
  securitySchemes:
    key:
      type: apiKey
      in: header
      name: X-Api-Key
security:
  - key: []
x-tyk-api-gateway:
  info:
    id: PREFIXorders
    name: Orders
    state:
      active: true
  upstream:
    url: http://orders.internal:8080
  server:
    listenPath:
      value: /PREFIXorders/
      strip: true
    authentication:
      enabled: true
      securitySchemes:
        key:
          enabled: true
"#;

const CATALOG: &str = r#"{
  "openapi": "3.0.3",
  "info": { "title": "Catalog", "version": "1.0.0" },
  "paths": {},
  "x-tyk-api-gateway": {
    "info": { "id": "PREFIXcatalog", "name": "Catalog", "state": { "active": true } },
    "upstream": { "url": "http://catalog.internal:8080" },
    "server": { "listenPath": { "value": "/PREFIXcatalog/", "strip": true } }
  }
}
"#;

const PING: &str = r"# A classic definition.
api_id: PREFIXping
name: Ping
active: true
use_keyless: true
proxy:
  listen_path: /PREFIXping/
  target_url: http://ping.internal:7000
  strip_listen_path: true
version_data:
  not_versioned: true
  versions:
    Default:
      name: Default
      use_extended_paths: true
";

const PAYMENTS: &str = r"# As Tyk Operator has it, with the policy that names it.
apiVersion: tyk.tyk.io/v1alpha1
kind: ApiDefinition
metadata:
  name: PREFIXpayments
spec:
  name: Payments
  protocol: http
  active: true
  use_standard_auth: true
  proxy:
    target_url: http://payments.internal:8080
    listen_path: /PREFIXpayments/
    strip_listen_path: true
---
apiVersion: tyk.tyk.io/v1alpha1
kind: SecurityPolicy
metadata:
  name: PREFIXpayments-partner
spec:
  id: PREFIXpayments-partner
  name: Partners of payments
  state: active
  active: true
  rate: 50
  per: 60
  access_rights_array:
    - name: PREFIXpayments
      namespace: default
";

const GOLD: &str = r"# A policy as the gateway has it.
id: PREFIXgold
name: Gold
active: true
rate: 100
per: 60
quota_max: -1
access_rights:
  PREFIXorders:
    api_id: PREFIXorders
    api_name: Orders
    versions: [Default]
";

/// Not YAML that describes an API: the listen path is a list, the id is missing.
pub const BROKEN: &str = "openapi: 3.0.3
info: { title: Returns, version: 1.0.0 }
paths: {}
x-tyk-api-gateway:
  info: { name: Returns, state: { active: true } }
  upstream: { url: http://returns.internal }
  server:
    listenPath:
      value: returns
";

pub fn all(prefix: &str) -> BTreeMap<String, String> {
    [
        ("apis/orders.yaml", ORDERS),
        ("apis/catalog.json", CATALOG),
        ("apis/ping.yaml", PING),
        ("apis/payments.yaml", PAYMENTS),
        ("policies/gold.yaml", GOLD),
    ]
    .into_iter()
    .map(|(path, text)| (path.to_owned(), text.replace("PREFIX", prefix)))
    .collect()
}
