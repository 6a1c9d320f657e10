//! Authentication: the schemes that the root `security` names, and those that only the extension
//! knows, as the switches and sources of a classic definition.

use serde_json::{Map, Value, json};

use super::super::state::{flag, set, text};
use super::super::types::types;
use super::table::{BASIC, JWT, OAUTH, SOURCES};
use super::{carry, list, map_of};

/// What a security scheme of the document is to the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Token,
    Jwt,
    Basic,
    Oauth,
    ExternalOauth,
    Other,
}

impl Scheme {
    /// The name of its type in the table of types.
    pub fn type_name(self) -> Option<&'static str> {
        match self {
            Self::Token => Some("oas.Token"),
            Self::Jwt => Some("oas.JWT"),
            Self::Basic => Some("oas.Basic"),
            Self::Oauth => Some("oas.OAuth"),
            Self::ExternalOauth => Some("oas.ExternalOAuth"),
            Self::Other => None,
        }
    }
}

pub fn project(document: &Value, extension: &Value, out: &mut Value) {
    let Some(authentication) = extension.pointer("/server/authentication") else {
        requirements(document, extension, out);
        return;
    };
    proprietary(authentication, out);
    requirements(document, extension, out);
    for name in processed(document, authentication) {
        let declared = declared(document, &name);
        let configured = authentication
            .pointer("/securitySchemes")
            .and_then(|schemes| schemes.get(&name))
            .unwrap_or(&Value::Null);
        one(&name, declared, configured, out);
    }
    if let Some(certificate) = authentication.get("certificateAuth") {
        let wanted =
            flag(certificate, "/enabled") || flag(out, "/auth_configs/authToken/use_certificate");
        set(
            out,
            "/auth_configs/authToken/use_certificate",
            wanted.into(),
        );
    }
}

/// What a scheme is, by its declaration and by what the extension says of it.
pub fn scheme_of(declared: &Value, configured: &Value) -> Scheme {
    match (text(declared, "/type"), text(declared, "/scheme")) {
        ("apiKey", _) => Scheme::Token,
        ("http", "bearer") if text(declared, "/bearerFormat") == "JWT" => Scheme::Jwt,
        ("http", "basic") => Scheme::Basic,
        ("oauth2", _) if configured.get("providers").is_some() => Scheme::ExternalOauth,
        ("oauth2", _) if !configured.is_null() => Scheme::Oauth,
        _ => Scheme::Other,
    }
}

fn one(name: &str, declared: &Value, configured: &Value, out: &mut Value) {
    let scheme = scheme_of(declared, configured);
    let Some(type_name) = scheme.type_name() else {
        return;
    };
    let configured = types()
        .decode(&types().named(type_name), configured)
        .ok()
        .filter(Value::is_object)
        .unwrap_or_else(|| json!({}));
    let key = match scheme {
        Scheme::Token => "authToken",
        Scheme::Jwt => "jwt",
        Scheme::Basic => "basic",
        Scheme::Oauth => "oauth",
        Scheme::ExternalOauth => "externalOAuth",
        Scheme::Other => return,
    };
    let mut sources = sources(name, &configured);
    match scheme {
        Scheme::Token => {
            let switch = flag(&configured, "/enabled");
            set(out, "/use_standard_auth", switch.into());
            let wanted = text(declared, "/name");
            let members = match text(declared, "/in") {
                "header" => [
                    ("disable_header", json!(false)),
                    ("auth_header_name", json!(wanted)),
                ],
                "query" => [("use_param", json!(true)), ("param_name", json!(wanted))],
                _ => [("use_cookie", json!(true)), ("cookie_name", json!(wanted))],
            };
            for (member, value) in members {
                set(&mut sources, &format!("/{member}"), value);
            }
        }
        Scheme::Jwt => {
            carry(&configured, "", out, "", JWT);
            policies(
                &configured,
                "/scopes/scopeToPolicyMapping",
                out,
                "/scopes/jwt",
            );
            if let Some(addresses) = list(&configured, "/jwksURIs") {
                let addresses: Vec<Value> = addresses
                    .map(|it| {
                        json!({
                            "url": text(it, "/url"),
                            "cache_timeout": text(it, "/cacheTimeout"),
                        })
                    })
                    .collect();
                set(out, "/jwt_jwks_uris", addresses.into());
            }
        }
        Scheme::Basic => carry(&configured, "", out, "", BASIC),
        Scheme::Oauth => {
            carry(&configured, "", out, "", OAUTH);
            access_types(declared, &configured, out);
        }
        Scheme::ExternalOauth => external(&configured, out),
        Scheme::Other => {}
    }
    set(out, &format!("/auth_configs/{key}"), sources);
}

fn sources(name: &str, configured: &Value) -> Value {
    let mut sources = json!({ "name": name });
    carry(configured, "", &mut sources, "", SOURCES);
    sources
}

fn access_types(declared: &Value, configured: &Value, out: &mut Value) {
    let mut kinds = Vec::new();
    if flag(configured, "/refreshToken") {
        kinds.push("refresh_token");
    }
    let flows = declared.get("flows").unwrap_or(&Value::Null);
    for (flow, kind) in [
        ("authorizationCode", "authorization_code"),
        ("clientCredentials", "client_credentials"),
        ("password", "password"),
    ] {
        if flows.get(flow).is_some() {
            kinds.push(kind);
        }
    }
    set(out, "/oauth_meta/allowed_access_types", json!(kinds));
}

fn external(configured: &Value, out: &mut Value) {
    let providers: Vec<Value> = list(configured, "/providers")
        .into_iter()
        .flatten()
        .map(|provider| {
            let jwt = provider.get("jwt").unwrap_or(&Value::Null);
            let introspection = provider.get("introspection").unwrap_or(&Value::Null);
            json!({
                "jwt": {
                    "enabled": flag(jwt, "/enabled"),
                    "signing_method": text(jwt, "/signingMethod"),
                    "source": text(jwt, "/source"),
                    "issued_at_validation_skew": jwt.get("issuedAtValidationSkew"),
                    "not_before_validation_skew": jwt.get("notBeforeValidationSkew"),
                    "expires_at_validation_skew": jwt.get("expiresAtValidationSkew"),
                    "identity_base_field": text(jwt, "/identityBaseField"),
                },
                "introspection": {
                    "enabled": flag(introspection, "/enabled"),
                    "url": text(introspection, "/url"),
                    "client_id": text(introspection, "/clientId"),
                    "client_secret": text(introspection, "/clientSecret"),
                    "identity_base_field": text(introspection, "/identityBaseField"),
                    "cache": introspection.get("cache"),
                },
            })
        })
        .collect();
    set(
        out,
        "/external_oauth",
        json!({"enabled": flag(configured, "/enabled"), "providers": providers}),
    );
}

/// The schemes that only the extension knows.
fn proprietary(authentication: &Value, out: &mut Value) {
    for (from, to) in [("hmac", "hmac"), ("oidc", "oidc"), ("custom", "coprocess")] {
        let Some(configured) = authentication.get(from) else {
            continue;
        };
        let named = ["header", "query", "cookie"]
            .iter()
            .any(|source| configured.get(source).is_some());
        if from != "custom" || named {
            set(out, &format!("/auth_configs/{to}"), sources("", configured));
        }
    }
    if let Some(oidc) = authentication.get("oidc") {
        let providers: Vec<Value> = list(oidc, "/providers")
            .into_iter()
            .flatten()
            .map(|provider| {
                let clients = list(provider, "/clientToPolicyMapping")
                    .into_iter()
                    .flatten();
                json!({
                    "issuer": text(provider, "/issuer"),
                    "client_ids": map_of(clients.map(|pair| {
                        (text(pair, "/clientId"), text(pair, "/policyId").to_owned())
                    })),
                })
            })
            .collect();
        set(out, "/openid_options/providers", providers.into());
        policies(oidc, "/scopes/scopeToPolicyMapping", out, "/scopes/oidc");
    }
}

fn policies(from: &Value, pointer: &str, out: &mut Value, to: &str) {
    if let Some(pairs) = list(from, pointer) {
        let pairs = pairs.map(|pair| (text(pair, "/scope"), text(pair, "/policyId").to_owned()));
        let pairs = map_of(pairs);
        if pairs.as_object().is_some_and(|map| !map.is_empty()) {
            set(out, &format!("{to}/scope_to_policy"), pairs);
        }
    }
}

/// The alternatives of the root `security`, and in compliant mode those of the extension.
fn requirements(document: &Value, extension: &Value, out: &mut Value) {
    let compliant = is_compliant(extension);
    let root: Vec<&Map<String, Value>> = list(document, "/security")
        .into_iter()
        .flatten()
        .filter_map(Value::as_object)
        .collect();
    let vendor: Vec<&Value> = if compliant {
        list(extension, "/server/authentication/security")
            .into_iter()
            .flatten()
            .collect()
    } else {
        Vec::new()
    };
    if (root.is_empty() || !has_components(document)) && vendor.is_empty() {
        return;
    }
    let mut names: Vec<Value> = root
        .iter()
        .map(|requirement| requirement.keys().cloned().collect::<Vec<String>>().into())
        .collect();
    let mut scopes: Vec<Value> = root
        .iter()
        .map(|requirement| Value::Object((*requirement).clone()))
        .collect();
    names.extend(vendor.iter().map(|requirement| (*requirement).clone()));
    scopes.extend(vendor.iter().map(|_| json!({})));
    let single = root.len() == 1 && root[0].len() <= 1;
    if compliant || !single {
        set(out, "/security_requirements", names.into());
    }
    set(out, "/security_requirement_scopes", scopes.into());
}

/// The names of the schemes that are looked at: of the first alternative, in compliant mode of
/// all.
fn processed(document: &Value, authentication: &Value) -> Vec<String> {
    let compliant = text(authentication, "/securityProcessingMode") == "compliant";
    let any_scheme = authentication
        .get("securitySchemes")
        .and_then(Value::as_object)
        .is_some_and(|schemes| !schemes.is_empty());
    if !has_components(document) || !(compliant || any_scheme || flag(authentication, "/enabled")) {
        return Vec::new();
    }
    let count = if compliant { usize::MAX } else { 1 };
    let mut names: Vec<String> = list(document, "/security")
        .into_iter()
        .flatten()
        .take(count)
        .filter_map(Value::as_object)
        .flat_map(|requirement| requirement.keys().cloned())
        .collect();
    if compliant {
        names.extend(
            list(authentication, "/security")
                .into_iter()
                .flatten()
                .filter_map(Value::as_array)
                .flatten()
                .filter_map(|name| name.as_str().map(str::to_owned)),
        );
    }
    // Of several tokens the one that is switched on comes last, and stays.
    names.sort_by_key(|name| {
        authentication
            .pointer("/securitySchemes")
            .and_then(|schemes| schemes.get(name))
            .is_some_and(|scheme| flag(scheme, "/enabled"))
    });
    names
}

fn is_compliant(extension: &Value) -> bool {
    text(extension, "/server/authentication/securityProcessingMode") == "compliant"
}

fn has_components(document: &Value) -> bool {
    document
        .pointer("/components/securitySchemes")
        .and_then(Value::as_object)
        .is_some_and(|schemes| !schemes.is_empty())
}

fn declared<'document>(document: &'document Value, name: &str) -> &'document Value {
    document
        .pointer("/components/securitySchemes")
        .and_then(|schemes| schemes.get(name))
        .unwrap_or(&Value::Null)
}
