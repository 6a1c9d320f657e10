//! References between Kubernetes objects, which follow when a kustomization gives names.
//!
//! kustomize knows those of Kubernetes' own kinds; for the operator's it would have to be told in
//! `configurations`. Here they are known, so that a prefix never parts a policy from its APIs.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::patch;

/// How a reference is written.
#[derive(Clone, Copy)]
enum Form {
    /// An object with a name, and perhaps a namespace.
    Object,
    /// A name alone, in the namespace of the object itself.
    Name,
    /// `namespace/name` in one text.
    FullName,
}

/// The kinds that have a reference, where, and to which kinds.
const REFERENCES: &[(&[&str], &str, &[&str], Form)] = &[
    (ALL, "spec/contextRef", &["OperatorContext"], Form::Object),
    (
        ALL,
        "metadata/annotations/tyk.io~1template",
        &["ApiDefinition", "TykOasApiDefinition"],
        Form::Name,
    ),
    (
        &["Ingress"],
        "spec/tls/*/secretName",
        &["Secret"],
        Form::Name,
    ),
    (
        &["OperatorContext"],
        "spec/secretRef",
        &["Secret"],
        Form::Object,
    ),
    (API, "spec/proxy/target_internal/target", API, Form::Object),
    (
        API,
        "spec/version_data/versions/*/extended_paths/url_rewrites/*/rewrite_to_internal/target",
        API,
        Form::Object,
    ),
    (
        API,
        "spec/version_data/versions/*/extended_paths/url_rewrites/*/triggers/*/rewrite_to_internal/target",
        API,
        Form::Object,
    ),
    (API, "spec/jwt_default_policies/*", POLICY, Form::FullName),
    (
        API,
        "spec/jwt_scope_to_policy_mapping/*",
        POLICY,
        Form::FullName,
    ),
    (
        API,
        "spec/certificate_secret_names/*",
        &["Secret"],
        Form::Name,
    ),
    (
        API,
        "spec/client_certificate_refs/*",
        &["Secret"],
        Form::Name,
    ),
    (
        API,
        "spec/upstream_certificate_refs/*",
        &["Secret"],
        Form::Name,
    ),
    (
        API,
        "spec/pinned_public_keys_refs/*",
        &["Secret"],
        Form::Name,
    ),
    (
        API,
        "spec/graphql/graph_ref",
        &["SubGraph", "SuperGraph"],
        Form::Name,
    ),
    (POLICY, "spec/access_rights_array/*", APIS, Form::Object),
    (
        OAS,
        "spec/tykOAS/configmapRef",
        &["ConfigMap"],
        Form::Object,
    ),
    (
        OAS,
        "spec/jwtAuth/defaultPoliciesRef/*",
        POLICY,
        Form::Object,
    ),
    (
        OAS,
        "spec/jwtAuth/scopes/scopeToPolicyMapping/*/policyRef",
        POLICY,
        Form::Object,
    ),
    (
        OAS,
        "spec/versioning/versions/*/tykOasApiDefinitionRef",
        OAS,
        Form::Object,
    ),
    (
        OAS,
        "spec/upstreamRequestSigning/secretRef",
        &["Secret"],
        Form::Object,
    ),
    (
        OAS,
        "spec/clientCertificate/allowlist/*",
        &["Secret"],
        Form::Name,
    ),
    (
        OAS,
        "spec/certificatePinning/domainToPublicKeysMapping/*/publicKeyRefs/*",
        &["Secret"],
        Form::Name,
    ),
    (
        &["TykStreamsApiDefinition"],
        "spec/tykStreams/configmapRef",
        &["ConfigMap"],
        Form::Object,
    ),
    (
        &["TykMcpProxyDefinition"],
        "spec/tykMCP/configmapRef",
        &["ConfigMap"],
        Form::Object,
    ),
    (
        &["SuperGraph"],
        "spec/subgraph_refs/*",
        &["SubGraph"],
        Form::Object,
    ),
    (&["APIDescription"], "spec/policyRef", POLICY, Form::Object),
    (
        &["PortalAPICatalogue"],
        "spec/apis/*/apiDescriptionRef",
        &["APIDescription"],
        Form::Object,
    ),
    (
        &["PortalAPICatalogue"],
        "spec/apis/*/policyRef",
        POLICY,
        Form::Object,
    ),
];

/// Whatever the kind.
const ALL: &[&str] = &[];
const API: &[&str] = &["ApiDefinition"];
const OAS: &[&str] = &["TykOasApiDefinition"];
const POLICY: &[&str] = &["SecurityPolicy"];
const APIS: &[&str] = &[
    "ApiDefinition",
    "TykOasApiDefinition",
    "TykStreamsApiDefinition",
    "TykMcpProxyDefinition",
];

/// Kind, namespace and name as they were → namespace and name as they are.
pub(super) type Renamed = BTreeMap<(String, String, String), (String, String)>;

/// Lets an object's references follow. `own` is the namespace that it was in.
pub(super) fn follow(value: &mut Value, own: &str, renamed: &Renamed) {
    let kind = value
        .get("kind")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    for (kinds, pattern, to, form) in REFERENCES {
        if !kinds.is_empty() && !kinds.contains(&kind.as_str()) {
            continue;
        }
        patch::each(value, pattern, &mut String::new(), &mut |reference, _| {
            change(reference, own, to, *form, renamed);
        });
    }
}

fn change(reference: &mut Value, own: &str, kinds: &[&str], form: Form, renamed: &Renamed) {
    let new_of = |namespace: &str, name: &str| {
        kinds.iter().find_map(|kind| {
            renamed.get(&((*kind).to_owned(), namespace.to_owned(), name.to_owned()))
        })
    };
    match form {
        Form::Object => {
            let Value::Object(members) = reference else {
                return;
            };
            let text = |name: &str| {
                members
                    .get(name)
                    .and_then(Value::as_str)
                    .filter(|text| !text.is_empty())
            };
            let Some(name) = text("name") else {
                return;
            };
            let found = match text("namespace") {
                Some(namespace) => new_of(namespace, name),
                None => new_of(own, name).or_else(|| new_of("default", name)),
            };
            if let Some((namespace, name)) = found {
                members.insert("name".to_owned(), json!(name));
                members.insert("namespace".to_owned(), json!(namespace));
            }
        }
        Form::Name => {
            if let Some((_, name)) = reference.as_str().and_then(|name| new_of(own, name)) {
                *reference = json!(name);
            }
        }
        Form::FullName => {
            let parts = reference.as_str().and_then(|text| text.split_once('/'));
            if let Some((namespace, name)) =
                parts.and_then(|(namespace, name)| new_of(namespace, name))
            {
                *reference = json!(format!("{namespace}/{name}"));
            }
        }
    }
}
