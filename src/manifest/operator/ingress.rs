//! Ingresses: one API for each host and path, made of a template, as the operator's controller
//! makes them: with its names, and so its ids.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    super::{Place, Reading},
    Cluster, FullName, Resource, context,
    document::{Document, put},
    is_name,
};

const CLASS: &str = "tyk";
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const TEMPLATE_ANNOTATION: &str = "tyk.io/template";
const TEMPLATE_KIND_ANNOTATION: &str = "tyk.io/template-kind";

/// The port of APIs with TLS where no context gives one.
const HTTPS_PORT: i64 = 8443;

/// An Ingress of the class that the operator looks after.
pub(super) struct Ingress {
    name: FullName,
    template: Option<String>,
    template_kind: Option<String>,
    spec: Map<String, Value>,
    place: Place,
}

/// An API that an Ingress is made into.
pub(super) enum Api {
    Classic(Box<Resource>),
    Oas(Box<Document>),
}

/// One path of one host.
struct Path<'i> {
    host: &'i str,
    listen: &'i str,
    pointer: String,
    backend: &'i Value,
}

pub(super) fn read(
    name: FullName,
    value: &Value,
    place: Place,
    reading: &mut Reading<'_>,
) -> Option<Ingress> {
    let annotation = |key: &str| {
        let annotations = value.pointer("/metadata/annotations")?;
        annotations.get(key)?.as_str().map(str::to_owned)
    };
    let class = annotation(CLASS_ANNOTATION).or_else(|| {
        let class = value.pointer("/spec/ingressClassName")?;
        class.as_str().map(str::to_owned)
    });
    if class.as_deref() != Some(CLASS) {
        let reason = match class {
            Some(class) => format!("an Ingress of the class {class}, and Tyk's is {CLASS}"),
            None => format!("an Ingress without the class {CLASS}, which is Tyk's"),
        };
        reading.ignore(&place, reason);
        return None;
    }
    let Some(Value::Object(spec)) = value.get("spec") else {
        reading.wrong(&place, "/spec", "the spec is missing", None);
        return None;
    };
    Some(Ingress {
        name,
        template: annotation(TEMPLATE_ANNOTATION),
        template_kind: annotation(TEMPLATE_KIND_ANNOTATION),
        spec: spec.clone(),
        place,
    })
}

impl Ingress {
    /// The APIs that it asks for.
    pub fn apis(
        self,
        // Any will do, marked as a template or not.
        (templates, applied): (&BTreeMap<FullName, Resource>, &BTreeMap<FullName, Resource>),
        documents: &BTreeMap<FullName, Document>,
        cluster: &Cluster,
        reading: &mut Reading<'_>,
    ) -> Vec<Api> {
        let place = &self.place;
        if self.spec.contains_key("defaultBackend") {
            let message = "is not served: the operator makes APIs of rules alone";
            reading.warn(place, "/spec/defaultBackend", message, None);
        }
        let template = self.template.as_deref().map(|name| FullName {
            namespace: self.name.namespace.clone(),
            name: name.to_owned(),
        });
        let missing = |what: &str, fix: &str, reading: &mut Reading<'_>| {
            let message = format!("no {what}");
            reading.wrong(place, "/metadata/annotations", message, Some(fix));
            Vec::new()
        };
        match (self.template_kind.as_deref(), template) {
            (None | Some("ApiDefinition"), None) => {
                let keyless = self.keyless();
                self.classic(&keyless, cluster, reading)
            }
            (None | Some("ApiDefinition"), Some(name)) => {
                match templates.get(&name).or_else(|| applied.get(&name)) {
                    Some(template) => self.classic(template, cluster, reading),
                    None => missing(
                        &format!("ApiDefinition {name} is described here"),
                        "add it to the manifests",
                        reading,
                    ),
                }
            }
            (Some("TykOasApiDefinition"), Some(name)) => match documents.get(&name) {
                Some(template) => self.oas(template, cluster, reading),
                None => missing(
                    &format!("TykOasApiDefinition {name} is described here that is a template"),
                    "add it to the manifests, with the label tyk.io/ingress-template",
                    reading,
                ),
            },
            (Some(_), _) => {
                reading.wrong(
                    place,
                    "/metadata/annotations",
                    format!("{TEMPLATE_KIND_ANNOTATION} must be ApiDefinition or TykOasApiDefinition, and {TEMPLATE_ANNOTATION} the name of one"),
                    None,
                );
                Vec::new()
            }
        }
    }

    /// What the operator takes without a template.
    fn keyless(&self) -> Resource {
        let spec = json!({
            "name": "default-keyless",
            "protocol": "http",
            "use_keyless": true,
            "active": true,
            "proxy": {"target_url": "http://example.com"},
        });
        Resource {
            name: self.name.clone(),
            spec: spec.as_object().cloned().unwrap_or_default(),
            place: self.place.clone(),
            is_template: true,
        }
    }

    fn classic(
        &self,
        template: &Resource,
        cluster: &Cluster,
        reading: &mut Reading<'_>,
    ) -> Vec<Api> {
        let size = Value::Object(template.spec.clone()).to_string().len();
        let (http_port, https_port) = ports(template, cluster, reading);
        let secrets = self.tls_secrets();
        let mut made = Vec::new();
        for (index, path) in self.paths(reading).into_iter().enumerate() {
            let Some((service, address)) = self.upstream(&path, reading) else {
                continue;
            };
            if index > 0 && !cluster.copied.take(size, &self.place, reading) {
                break;
            }
            let name = self.api_name(&path);
            let mut spec = template.spec.clone();
            for own in ["api_id", "id"] {
                spec.remove(own);
            }
            spec.insert("name".to_owned(), json!(name.name));
            let mut body = Value::Object(spec);
            put(&mut body, "/proxy/listen_path", json!(path.listen));
            put(&mut body, "/proxy/target_url", json!(address));
            if !path.host.is_empty() {
                put(&mut body, "/domain", json!(domain(path.host)));
            }
            if let Some(port) = http_port {
                put(&mut body, "/listen_port", json!(port));
            }
            if is_challenge(&path, &service) {
                put(&mut body, "/proxy/strip_listen_path", json!(false));
                put(&mut body, "/proxy/preserve_host_header", json!(true));
            } else if let Some(secret) = secrets.get(path.host) {
                put(&mut body, "/protocol", json!("https"));
                put(&mut body, "/certificate_secret_names", json!([secret]));
                put(&mut body, "/listen_port", json!(https_port));
            }
            let Value::Object(spec) = body else {
                continue;
            };
            made.push(Api::Classic(Box::new(Resource {
                name,
                spec,
                place: self.place.clone(),
                is_template: false,
            })));
        }
        made
    }

    fn oas(&self, template: &Document, cluster: &Cluster, reading: &mut Reading<'_>) -> Vec<Api> {
        let (http_port, https_port) = ports(&template.resource, cluster, reading);
        let secrets = self.tls_secrets();
        let mut made = Vec::new();
        for (index, path) in self.paths(reading).into_iter().enumerate() {
            let Some((service, address)) = self.upstream(&path, reading) else {
                continue;
            };
            if index > 0 && !cluster.copied.take(template.size, &self.place, reading) {
                break;
            }
            let name = self.api_name(&path);
            let mut document = template.clone();
            let mut set = |pointer: &str, value: Value| {
                put(
                    &mut document.body,
                    &format!("/x-tyk-api-gateway{pointer}"),
                    value,
                );
            };
            set("/info/id", json!(name.derived_id()));
            set("/info/name", json!(name.name));
            set("/server/listenPath/value", json!(path.listen));
            set("/upstream/url", json!(address));
            let mut custom_domain = Map::new();
            if !path.host.is_empty() {
                custom_domain.insert("enabled".to_owned(), json!(true));
                custom_domain.insert("name".to_owned(), json!(domain(path.host)));
            }
            if let Some(port) = http_port {
                set("/server/port", json!(port));
            }
            if is_challenge(&path, &service) {
                set("/server/listenPath/strip", json!(false));
            } else if let Some(secret) = secrets.get(path.host) {
                set("/server/protocol", json!("https"));
                set("/server/port", json!(https_port));
                custom_domain.insert("certificatesRef".to_owned(), json!([secret]));
            }
            let spec = &mut document.resource.spec;
            // It may stand in the template's resource; the versions of a template are its own.
            spec.remove("versioning");
            if !custom_domain.is_empty() {
                spec.insert("customDomain".to_owned(), Value::Object(custom_domain));
            }
            document.resource.name = name;
            document.resource.place = self.place.clone();
            document.place = self.place.clone();
            made.push(Api::Oas(Box::new(document)));
        }
        made
    }

    fn paths(&self, reading: &mut Reading<'_>) -> Vec<Path<'_>> {
        let mut paths = Vec::new();
        let rules = self.spec.get("rules").and_then(Value::as_array);
        for (number, rule) in rules.into_iter().flatten().enumerate() {
            let pointer = format!("/spec/rules/{number}");
            let host = rule.get("host").and_then(Value::as_str).unwrap_or_default();
            let Some(own) = rule.pointer("/http/paths").and_then(Value::as_array) else {
                let message = "the rule has no paths, and the operator fails at one without";
                reading.wrong(&self.place, format!("{pointer}/http/paths"), message, None);
                continue;
            };
            for (index, path) in own.iter().enumerate() {
                let pointer = format!("{pointer}/http/paths/{index}");
                let kind = path.get("pathType").and_then(Value::as_str);
                if kind == Some("Exact") {
                    let message = "the operator serves everything below an Exact path too";
                    reading.warn(&self.place, format!("{pointer}/pathType"), message, None);
                }
                let text = path.get("path").and_then(Value::as_str);
                paths.push(Path {
                    host,
                    listen: text.unwrap_or_default(),
                    backend: path.get("backend").unwrap_or(&Value::Null),
                    pointer,
                });
            }
        }
        paths
    }

    /// The service of a path, and its address in the cluster.
    fn upstream(&self, path: &Path<'_>, reading: &mut Reading<'_>) -> Option<(String, String)> {
        let pointer = format!("{}/backend/service", path.pointer);
        let service = path.backend.get("service");
        let name = service.and_then(|service| service.get("name")?.as_str());
        let Some(name) = name.filter(|name| is_name(name)) else {
            let message = "must name a service";
            reading.wrong(&self.place, format!("{pointer}/name"), message, None);
            return None;
        };
        let port = service.and_then(|service| service.pointer("/port/number")?.as_u64());
        let Some(port) = port.filter(|port| (1..=65_535).contains(port)) else {
            reading.wrong(
                &self.place,
                format!("{pointer}/port/number"),
                "the number of the service's port is missing: the operator would take 0",
                Some("write number: instead of name:"),
            );
            return None;
        };
        let namespace = &self.name.namespace;
        let address = format!("http://{name}.{namespace}.svc.cluster.local:{port}");
        Some((name.to_owned(), address))
    }

    fn api_name(&self, path: &Path<'_>) -> FullName {
        const LETTERS: usize = 9;
        let mut hash = hex::encode(Sha256::digest(format!("{}{}", path.host, path.listen)));
        hash.truncate(LETTERS);
        let FullName { namespace, name } = &self.name;
        FullName {
            namespace: namespace.clone(),
            name: format!("{namespace}-{name}-{hash}"),
        }
    }

    /// The Secrets with the certificates of hosts; the last that names a host counts.
    fn tls_secrets(&self) -> BTreeMap<&str, &str> {
        let mut secrets = BTreeMap::new();
        let sections = self.spec.get("tls").and_then(Value::as_array);
        for section in sections.into_iter().flatten() {
            let hosts = section.get("hosts").and_then(Value::as_array);
            let hosts = hosts.into_iter().flatten().filter_map(Value::as_str);
            if let Some(secret) = section.get("secretName").and_then(Value::as_str) {
                secrets.extend(hosts.map(|host| (host, secret)));
            }
        }
        secrets
    }
}

/// The ports that the template's context gives to APIs without and with TLS.
fn ports(template: &Resource, cluster: &Cluster, reading: &mut Reading<'_>) -> (Option<i64>, i64) {
    let context = context::named(template, reading);
    let context = context.and_then(|name| cluster.contexts.get(&name));
    let https = context.and_then(|context| context.https_port);
    let http = context.and_then(|context| context.http_port);
    (http, https.unwrap_or(HTTPS_PORT))
}

/// A wildcard covers one label.
fn domain(host: &str) -> String {
    host.replacen('*', "{?:[^.]+}", 1)
}

/// A certificate authority asks for it: it is served without TLS.
fn is_challenge(path: &Path<'_>, service: &str) -> bool {
    path.listen.contains(".well-known/acme-challenge") || service.contains("cm-acme-http-solver")
}
