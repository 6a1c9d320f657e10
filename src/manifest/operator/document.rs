//! `TykOasApiDefinition`, `TykStreamsApiDefinition` and `TykMcpProxyDefinition`: a document in a
//! `ConfigMap`, and settings beside it that win over the document's own.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use serde_json::{Map, Value, json};

use super::{
    super::{
        Place, Reading, SourceFile, native,
        source::{Document as Parsed, Source},
    },
    Cluster, FullName, Kind, Known, Resource, check_spec,
    fields::Unknown,
    reference,
};
use crate::domain::{diff::push_token, object::Kind as ObjectKind};

const EXTENSION: &str = "x-tyk-api-gateway";

/// A resource with the document that it names.
#[derive(Debug, Clone)]
pub(super) struct Document {
    pub kind: Kind,
    pub resource: Resource,
    pub body: Value,
    /// Where the document stands.
    pub place: Place,
    /// Something is wrong with it already, so that no object comes of it.
    pub is_faulty: bool,
    /// Bytes of the document.
    pub size: usize,
}

impl Document {
    pub fn known(&self) -> Known {
        let info = self.body.pointer("/x-tyk-api-gateway/info");
        let empty = Map::new();
        let info = info.and_then(Value::as_object).unwrap_or(&empty);
        Known::of(&self.resource.name, info, "id", "name")
    }
}

/// Looks up and parses the document that a resource names.
pub(super) fn read(
    kind: Kind,
    resource: Resource,
    cluster: &Cluster,
    reading: &mut Reading<'_>,
) -> Option<Document> {
    let before = reading.found.len();
    check_spec(kind, &resource, Unknown::Refused, cluster, reading);
    let member = match kind {
        Kind::TykStreamsApiDefinition => "tykStreams",
        Kind::TykMcpProxyDefinition => "tykMCP",
        _ => "tykOAS",
    };
    let pointer = format!("/spec/{member}/configmapRef");
    let Resource {
        name, spec, place, ..
    } = &resource;
    let found = spec
        .get(member)
        .and_then(|holder| holder.get("configmapRef"));
    let Some(found) = found.filter(|found| found.is_object()) else {
        reading.wrong(
            place,
            pointer,
            "the ConfigMap with the document is missing",
            Some("write configmapRef: { name, keyName }"),
        );
        return None;
    };
    let config_map = reference(found, &name.namespace, place, &pointer, reading)?;
    let key = found.get("keyName").and_then(Value::as_str);
    let Some(key) = key.filter(|key| !key.is_empty()) else {
        let message = "the key of the document is missing";
        reading.wrong(place, format!("{pointer}/keyName"), message, None);
        return None;
    };
    let Some(known) = cluster.config_maps.get(&config_map) else {
        reading.wrong(
            place,
            format!("{pointer}/name"),
            format!("no ConfigMap {config_map} is described here"),
            Some("commit the ConfigMap, or the document itself as a file of its own"),
        );
        return None;
    };
    let Some(text) = known.data.get(key) else {
        let message = format!("the ConfigMap {config_map} has no key {key:?}");
        reading.wrong(place, format!("{pointer}/keyName"), message, None);
        return None;
    };
    let mut at = "/data".to_owned();
    push_token(&mut at, key);
    let is_again = known.is_used.swap(true, Ordering::Relaxed);
    let (text, held) = (text.clone(), known.place.below(&at));
    if is_again && !cluster.copied.take(text.len(), place, reading) {
        return None;
    }
    let size = text.len();
    let mut body = parse(text, &held, reading)?;
    reading.fill(&mut body, &held);
    Some(Document {
        kind,
        resource,
        body,
        place: held,
        is_faulty: reading.found.len() > before,
        size,
    })
}

/// JSON, or YAML.
fn parse(text: String, place: &Place, reading: &mut Reading<'_>) -> Option<Value> {
    let is_json = text.trim_start().starts_with(['{', '[']);
    let file = SourceFile {
        path: if is_json { "text.json" } else { "text.yaml" }.to_owned(),
        bytes: text.into_bytes(),
    };
    let parsed = Source::new(&file).parse(&reading.options.limits);
    let message = match parsed {
        Ok(documents) => match <[Parsed; 1]>::try_from(documents) {
            Ok([document]) if document.value.is_object() => return Some(document.value),
            Ok(_) => "must be one document, and is no object".to_owned(),
            Err(documents) => format!("must be one document, and holds {}", documents.len()),
        },
        Err(problem) if problem.line > 0 => {
            let message = problem.message.replace("the file", "the document");
            format!("{message}, on its line {}", problem.line)
        }
        Err(problem) => problem.message.replace("the file", "the document"),
    };
    reading.wrong(place, "", message, None);
    None
}

/// Makes the object of a document.
pub(super) fn translate(document: Document, cluster: &Cluster, reading: &mut Reading<'_>) {
    let (before, objects) = (reading.found.len(), reading.objects.len());
    let id = document.known().id;
    let Document {
        kind,
        resource,
        mut body,
        place,
        is_faulty,
        size: _,
    } = document;
    if !body.get(EXTENSION).is_some_and(Value::is_object) {
        reading.wrong(
            &place,
            "",
            format!("the document has no section {EXTENSION}: nothing says where it listens"),
            None,
        );
        return;
    }
    if kind == Kind::TykStreamsApiDefinition && body.get("x-tyk-streaming").is_none() {
        reading.wrong(
            &place,
            "",
            "the document has no section x-tyk-streaming, so it describes no stream",
            None,
        );
    }
    put(&mut body, "/x-tyk-api-gateway/info/id", json!(id));
    if kind == Kind::TykOasApiDefinition {
        Settings {
            resource: &resource,
            body: &mut body,
            cluster,
            reading,
        }
        .apply();
    }
    let kind = match kind {
        Kind::TykMcpProxyDefinition => ObjectKind::McpProxy,
        _ => ObjectKind::OasApi,
    };
    native::document(body, kind, place, reading, before);
    if is_faulty {
        reading.objects.truncate(objects);
    }
}

/// The settings beside the document of a `TykOasApiDefinition`.
struct Settings<'s, 'o> {
    resource: &'s Resource,
    body: &'s mut Value,
    cluster: &'s Cluster,
    reading: &'s mut Reading<'o>,
}

impl Settings<'_, '_> {
    fn apply(&mut self) {
        self.versioning();
        self.client_certificates();
        self.custom_domain();
        self.mutual_tls();
        self.pinning();
        self.jwt();
        self.signing();
    }

    fn section(&self, name: &str) -> Option<Map<String, Value>> {
        self.resource.spec.get(name)?.as_object().cloned()
    }

    /// Writes below the extension.
    fn set(&mut self, pointer: &str, value: Value) {
        put(self.body, &format!("/{EXTENSION}{pointer}"), value);
    }

    fn certificate(&mut self, name: &str, pointer: &str) -> Option<String> {
        let Resource {
            name: own, place, ..
        } = self.resource;
        self.cluster
            .certificate(name, &own.namespace, place, pointer, self.reading)
    }

    /// References to the certificates of a list of Secrets.
    fn certificates(&mut self, names: Option<&Value>, pointer: &str) -> Vec<Value> {
        let names = names.and_then(Value::as_array).cloned().unwrap_or_default();
        let mut ids = Vec::new();
        for (index, name) in names.iter().enumerate() {
            if let Some(name) = name.as_str() {
                let id = self.certificate(name, &format!("{pointer}/{index}"));
                ids.extend(id.map(Value::from));
            }
        }
        ids
    }

    fn named(&mut self, value: &Value, pointer: &str) -> Option<FullName> {
        let Resource { name, place, .. } = self.resource;
        reference(value, &name.namespace, place, pointer, self.reading)
    }

    /// The other APIs are merged into the versions that the document has.
    fn versioning(&mut self) {
        let Some(versioning) = self.section("versioning") else {
            return;
        };
        for (member, value) in &versioning {
            if member != "versions" && !value.is_null() {
                self.set(&format!("/info/versioning/{member}"), value.clone());
            }
        }
        let Some(Value::Array(versions)) = versioning.get("versions") else {
            return;
        };
        let at = format!("/{EXTENSION}/info/versioning/versions");
        let mut merged = match self.body.pointer(&at) {
            Some(Value::Array(versions)) => versions.clone(),
            _ => Vec::new(),
        };
        let named = merged.iter().enumerate().filter_map(|(place, entry)| {
            let name = entry.get("name")?.as_str()?;
            Some((name.to_owned(), place))
        });
        let mut places: BTreeMap<String, usize> = named.collect();
        for (index, version) in versions.iter().enumerate() {
            let pointer = format!("/spec/versioning/versions/{index}/tykOasApiDefinitionRef");
            let named = version
                .get("tykOasApiDefinitionRef")
                .unwrap_or(&Value::Null);
            let Some(name) = self.named(named, &pointer) else {
                continue;
            };
            let Some(api) = self
                .cluster
                .apis
                .get(&(Kind::TykOasApiDefinition, name.clone()))
            else {
                let message = format!("no TykOasApiDefinition {name} is described here");
                let place = &self.resource.place;
                self.reading.wrong(place, pointer, message, None);
                continue;
            };
            let entry = json!({
                "name": version.get("name").cloned().unwrap_or_default(),
                "id": api.id,
            });
            let name = entry
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or_default();
            if let Some(place) = places.get(name).copied() {
                merged[place] = entry;
            } else {
                places.insert(name.to_owned(), merged.len());
                merged.push(entry);
            }
        }
        self.set("/info/versioning/versions", Value::Array(merged));
    }

    fn client_certificates(&mut self) {
        let Some(section) = self.section("clientCertificate") else {
            return;
        };
        let to = "/server/clientCertificates";
        self.copy(&section, &["enabled"], to);
        if section.contains_key("allowlist") {
            let pointer = "/spec/clientCertificate/allowlist";
            let ids = self.certificates(section.get("allowlist"), pointer);
            self.set(&format!("{to}/allowlist"), Value::Array(ids));
        }
    }

    fn custom_domain(&mut self) {
        let Some(section) = self.section("customDomain") else {
            return;
        };
        let to = "/server/customDomain";
        self.copy(&section, &["enabled", "name", "certificates"], to);
        if section.contains_key("certificatesRef") {
            let pointer = "/spec/customDomain/certificatesRef";
            let own = section.get("certificates").and_then(Value::as_array);
            let mut ids = own.cloned().unwrap_or_default();
            ids.extend(self.certificates(section.get("certificatesRef"), pointer));
            self.set(&format!("{to}/certificates"), Value::Array(ids));
        }
    }

    fn mutual_tls(&mut self) {
        let Some(section) = self.section("mutualTLS") else {
            return;
        };
        let to = "/upstream/mutualTLS";
        self.copy(&section, &["enabled"], to);
        let Some(Value::Array(pairs)) = section.get("domainToCertificateMapping") else {
            return;
        };
        let mut mapping = Vec::new();
        for (index, pair) in pairs.iter().enumerate() {
            let text = |member: &str| pair.get(member).and_then(Value::as_str);
            let pointer =
                format!("/spec/mutualTLS/domainToCertificateMapping/{index}/certificateRef");
            let id = match text("certificateRef").filter(|name| !name.is_empty()) {
                Some(name) => self.certificate(name, &pointer),
                None => text("certificateID").map(str::to_owned),
            };
            mapping.push(json!({
                "domain": text("domain").unwrap_or_default(),
                "certificate": id.unwrap_or_default(),
            }));
        }
        let to = format!("{to}/domainToCertificateMapping");
        self.set(&to, Value::Array(mapping));
    }

    fn pinning(&mut self) {
        let Some(section) = self.section("certificatePinning") else {
            return;
        };
        let to = "/upstream/certificatePinning";
        self.copy(&section, &["enabled"], to);
        let Some(Value::Array(pairs)) = section.get("domainToPublicKeysMapping") else {
            return;
        };
        let mut mapping = Vec::new();
        for (index, pair) in pairs.iter().enumerate() {
            let pointer =
                format!("/spec/certificatePinning/domainToPublicKeysMapping/{index}/publicKeyRefs");
            let own = pair.get("publicKeys").and_then(Value::as_array);
            let mut keys = own.cloned().unwrap_or_default();
            keys.extend(self.certificates(pair.get("publicKeyRefs"), &pointer));
            mapping.push(json!({
                "domain": pair.get("domain").cloned().unwrap_or_default(),
                "publicKeys": keys,
            }));
        }
        let to = format!("{to}/domainToPublicKeysMapping");
        self.set(&to, Value::Array(mapping));
    }

    fn jwt(&mut self) {
        let Some(section) = self.section("jwtAuth") else {
            return;
        };
        let place = &self.resource.place;
        let Some(scheme) = jwt_scheme(self.body) else {
            self.reading.wrong(
                place,
                "/spec/jwtAuth",
                "the document has no JWT scheme under x-tyk-api-gateway.server.authentication.securitySchemes, or more than one",
                Some("describe the one that the policies are for"),
            );
            return;
        };
        let mut to = "/server/authentication/securitySchemes".to_owned();
        push_token(&mut to, &scheme);
        if let Some(Value::Array(policies)) = section.get("defaultPoliciesRef") {
            let mut ids = Vec::new();
            for (index, policy) in policies.iter().enumerate() {
                let pointer = format!("/spec/jwtAuth/defaultPoliciesRef/{index}");
                ids.extend(self.policy(policy, &pointer).map(Value::from));
            }
            self.set(&format!("{to}/defaultPolicies"), Value::Array(ids));
        }
        let Some(Value::Object(scopes)) = section.get("scopes") else {
            return;
        };
        self.copy(scopes, &["claimName"], &format!("{to}/scopes"));
        if let Some(Value::Array(mapping)) = scopes.get("scopeToPolicyMapping") {
            let mut ids = Vec::new();
            for (index, pair) in mapping.iter().enumerate() {
                let pointer =
                    format!("/spec/jwtAuth/scopes/scopeToPolicyMapping/{index}/policyRef");
                let policy = pair.get("policyRef").unwrap_or(&Value::Null);
                let scope = pair.get("scope").cloned().unwrap_or_default();
                if let Some(id) = self.policy(policy, &pointer) {
                    ids.push(json!({"scope": scope, "policyId": id}));
                }
            }
            let to = format!("{to}/scopes/scopeToPolicyMapping");
            self.set(&to, Value::Array(ids));
        }
    }

    fn policy(&mut self, policy: &Value, pointer: &str) -> Option<String> {
        let name = self.named(policy, pointer)?;
        let place = &self.resource.place;
        Some(self.cluster.policy_id(&name, place, pointer, self.reading))
    }

    fn signing(&mut self) {
        let Some(section) = self.section("upstreamRequestSigning") else {
            return;
        };
        let to = "/upstream/authentication/requestSigning";
        self.set(&format!("{to}/enabled"), json!(true));
        self.set("/upstream/authentication/enabled", json!(true));
        self.copy(&section, &["algorithm", "keyId"], to);
        if let Some(name) = section.get("certificateRef").and_then(Value::as_str)
            && !name.is_empty()
        {
            let pointer = "/spec/upstreamRequestSigning/certificateRef";
            if let Some(id) = self.certificate(name, pointer) {
                self.set(&format!("{to}/certificateId"), json!(id));
            }
        }
        let Some(secret) = section.get("secretRef").filter(|secret| secret.is_object()) else {
            return;
        };
        let pointer = "/spec/upstreamRequestSigning/secretRef";
        let Some(name) = self.named(secret, pointer) else {
            return;
        };
        let key = secret.get("keyName").and_then(Value::as_str);
        let key = key.unwrap_or_default();
        let place = &self.resource.place;
        let value = self
            .cluster
            .secret_value(&name, key, place, pointer, self.reading);
        if let Some(value) = value {
            self.set(&format!("{to}/secret"), json!(value));
        }
    }

    fn copy(&mut self, from: &Map<String, Value>, members: &[&str], to: &str) {
        for member in members {
            if let Some(value) = from.get(*member).filter(|value| !value.is_null()) {
                self.set(&format!("{to}/{member}"), value.clone());
            }
        }
    }
}

/// The one scheme that is a JWT's: by its own settings, or by what `OpenAPI` says of it.
fn jwt_scheme(body: &Value) -> Option<String> {
    let schemes = body.pointer("/x-tyk-api-gateway/server/authentication/securitySchemes");
    let described = body.pointer("/components/securitySchemes");
    let is_jwt = |name: &str, scheme: &Value| {
        let says_so = ["source", "signingMethod", "jwksURIs", "identityBaseField"]
            .iter()
            .any(|member| scheme.get(member).is_some());
        let format = described.and_then(|schemes| schemes.get(name)?.get("bearerFormat")?.as_str());
        says_so || format.is_some_and(|format| format.eq_ignore_ascii_case("jwt"))
    };
    let mut found = schemes?
        .as_object()?
        .iter()
        .filter(|(name, scheme)| is_jwt(name, scheme));
    let (name, _) = found.next()?;
    found.next().is_none().then(|| name.clone())
}

/// Writes a value at a pointer, and the objects above it.
pub(super) fn put(body: &mut Value, pointer: &str, value: Value) {
    let mut place = body;
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        if !place.is_object() {
            *place = json!({});
        }
        place = &mut place[token];
    }
    *place = value;
}
