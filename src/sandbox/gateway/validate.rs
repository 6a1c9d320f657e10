//! What is refused before it is written: the schema of OAS documents as far as it was seen to
//! matter, and the rules for classic definitions. The messages are the gateway's.

use std::net::IpAddr;

use serde_json::Value;

use super::oas;
use super::schema::{self, Generation};
use super::state::{flag, text};
use super::types::{Type, types};
use super::{duration, listen_path};

pub const NOT_OAS: &str = "the supplied API definition is in OAS format, please use the Tyk \
                           classic format for this API";

const MALFORMED: &str = "request malformed";

/// Reads and checks the body of a write.
pub fn document(body: &[u8], mcp: bool) -> Result<Value, String> {
    let document = parse(body)?;
    if document.get(oas::EXTENSION).is_none_or(Value::is_null) {
        return Err("the payload should contain x-tyk-api-gateway".to_owned());
    }
    check(&document, mcp)?;
    Ok(document)
}

/// Reads a body as OpenAPI, in JSON or YAML.
pub fn parse(body: &[u8]) -> Result<Value, &'static str> {
    let text = std::str::from_utf8(body).map_err(|_| MALFORMED)?;
    let parsed = serde_json::from_str(text).or_else(|_| {
        if text.trim_start().starts_with(['{', '[']) {
            Err(MALFORMED)
        } else {
            serde_saphyr::from_str::<Value>(text).map_err(|_| MALFORMED)
        }
    });
    let value = match parsed {
        Ok(Value::Null) => Value::Object(serde_json::Map::new()),
        Ok(value @ Value::Object(_)) => value,
        _ if text.trim().is_empty() => Value::Object(serde_json::Map::new()),
        _ => return Err(MALFORMED),
    };
    if has_external_reference(&value) {
        return Err(MALFORMED);
    }
    Ok(value)
}

/// Checks a document: the schema first, and what a schema cannot say if that holds.
pub fn check(document: &Value, mcp: bool) -> Result<(), String> {
    let version = text(document, "/openapi");
    let generation = if version.is_empty() {
        Generation::Three0
    } else {
        schema::generation(version)?
    };
    let mut errors = schema_errors(document, generation);
    if !mcp {
        // The schema of other APIs knows nothing of the primitives of an MCP proxy.
        errors.retain(|error| !error.starts_with("x-tyk-api-gateway.middleware.mcp"));
    }
    if !errors.is_empty() {
        return Err(errors.join("\n"));
    }
    let errors: Vec<String> = [
        openapi_error(document),
        security_error(document),
        compliant_error(document),
        resource_metadata_error(document),
    ]
    .into_iter()
    .flatten()
    .collect();
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors.join("\n"))
    }
}

/// The rules for a classic definition, and for the projection of a document; the first that
/// fails.
pub fn definition(definition: &Value) -> Result<(), String> {
    data_source_names(definition)?;
    authentication_sources(definition)?;
    addresses(definition)?;
    timeouts(definition)?;
    upstream_authentication(definition)?;
    let targets = definition
        .pointer("/proxy/target_list")
        .and_then(Value::as_array)
        .map_or(0, Vec::len);
    if flag(definition, "/proxy/enable_load_balancing") && targets == 0 {
        return Err(
            "all load balancing targets have weight 0, at least one target must have weight > 0"
                .to_owned(),
        );
    }
    Ok(())
}

fn data_source_names(definition: &Value) -> Result<(), String> {
    let mut names = std::collections::BTreeSet::new();
    for source in array(definition, "/graphql/engine/data_sources") {
        if !names.insert(text(source, "/name").trim().to_lowercase()) {
            return Err("duplicate data source names are not allowed".to_owned());
        }
    }
    Ok(())
}

fn authentication_sources(definition: &Value) -> Result<(), String> {
    let configured = definition.get("auth_configs").and_then(Value::as_object);
    for (name, sources) in configured.into_iter().flatten() {
        let used = match name.as_str() {
            "authToken" => "use_standard_auth",
            "jwt" => "enable_jwt",
            "hmac" => "enable_signature_checking",
            "oauth" => "use_oauth2",
            "oidc" => "use_openid",
            "coprocess" => "enable_coprocess_auth",
            _ => continue,
        };
        let any = flag(sources, "/use_param")
            || flag(sources, "/use_cookie")
            || !flag(sources, "/disable_header");
        if flag(definition, &format!("/{used}")) && !any {
            return Err(format!(
                "all auth sources are disabled for {name}, at least one of header/cookie/query \
                 must be enabled"
            ));
        }
    }
    Ok(())
}

fn addresses(definition: &Value) -> Result<(), String> {
    for (switch, list) in [
        ("/enable_ip_whitelisting", "/allowed_ips"),
        ("/enable_ip_blacklisting", "/blacklisted_ips"),
    ] {
        if !flag(definition, switch) {
            continue;
        }
        for address in array(definition, list).filter_map(Value::as_str) {
            if !is_address(address) {
                return Err(format!("invalid IP/CIDR {address:?}"));
            }
        }
    }
    Ok(())
}

fn is_address(text: &str) -> bool {
    match text.split_once('/') {
        None => text.parse::<IpAddr>().is_ok(),
        Some((address, length)) => match (address.parse::<IpAddr>(), length.parse::<u8>()) {
            (Ok(IpAddr::V4(_)), Ok(length)) => length <= 32,
            (Ok(IpAddr::V6(_)), Ok(length)) => length <= 128,
            _ => false,
        },
    }
}

fn timeouts(definition: &Value) -> Result<(), String> {
    let versions = definition
        .pointer("/version_data/versions")
        .and_then(Value::as_object);
    let versions: Vec<&Value> = versions
        .into_iter()
        .flatten()
        .map(|(_, value)| value)
        .collect();
    let below_zero = |value: &Value, pointer: &str| {
        duration::nanoseconds(text(value, pointer)).is_some_and(|length| length < 0)
    };
    if versions
        .iter()
        .any(|version| below_zero(version, "/global_enforce_timeout"))
    {
        return Err("invalid global timeout value".to_owned());
    }
    let wrong = versions
        .iter()
        .flat_map(|version| array(version, "/extended_paths/hard_timeouts"))
        .any(|timeout| {
            timeout
                .get("timeout")
                .and_then(Value::as_i64)
                .is_some_and(|seconds| seconds < 0)
                || below_zero(timeout, "/timeout_duration")
        });
    if wrong {
        return Err("invalid timeout value".to_owned());
    }
    Ok(())
}

fn upstream_authentication(definition: &Value) -> Result<(), String> {
    let Some(configured) = definition.get("upstream_auth") else {
        return Ok(());
    };
    let basic = flag(configured, "/basic_auth/enabled");
    let oauth = flag(configured, "/oauth/enabled");
    if !flag(configured, "/enabled") || !oauth {
        return Ok(());
    }
    if basic {
        return Err("multiple upstream authentication modes not allowed".to_owned());
    }
    let mut kinds = array(configured, "/oauth/allowed_authorize_types").filter_map(Value::as_str);
    match (kinds.next(), kinds.next()) {
        (None, _) => Err("upstream OAuth authorization type is required".to_owned()),
        (_, Some(_)) => Err("multiple upstream OAuth authorization type not allowed".to_owned()),
        (Some("clientCredentials" | "password"), None) => Ok(()),
        _ => Err("invalid OAuth authorization type".to_owned()),
    }
}

fn schema_errors(document: &Value, generation: Generation) -> Vec<String> {
    let mut errors = Vec::new();
    let version = text(document, "/openapi");
    if generation == Generation::Three0 && !is_three_0(version) {
        errors.push(r"openapi: Does not match pattern '^3\.0\.\d(-.+)?$'".to_owned());
    }
    let root = document.as_object();
    for key in root.into_iter().flatten().map(|(key, _)| key) {
        let known = matches!(
            key.as_str(),
            "openapi"
                | "info"
                | "externalDocs"
                | "servers"
                | "security"
                | "tags"
                | "paths"
                | "components"
        ) || (generation == Generation::Three1
            && matches!(key.as_str(), "webhooks" | "jsonSchemaDialect"));
        if !known && !key.starts_with("x-") {
            errors.push(format!("(root): Additional property {key} is not allowed"));
        }
    }
    let wanted: &[&str] = match generation {
        Generation::Three0 => &["info", "paths"],
        Generation::Three1 => &["info"],
    };
    for key in wanted {
        must_be_object(document.get(*key), key, &mut errors);
    }
    let paths = document.get("paths").and_then(Value::as_object);
    for (path, item) in paths.into_iter().flatten() {
        if path.starts_with("x-") {
            continue;
        }
        if !path.starts_with('/') {
            errors.push(format!("paths: Additional property {path} is not allowed"));
            continue;
        }
        if generation == Generation::Three0 {
            for (method, operation) in oas::operations(item) {
                must_be_object(
                    operation.get("responses"),
                    &format!("paths.{path}.{method}.responses"),
                    &mut errors,
                );
            }
        }
    }
    let extension = document.get(oas::EXTENSION).unwrap_or(&Value::Null);
    let root = types().named("oas.XTykAPIGateway");
    super::rules::check(&root, extension, oas::EXTENSION, &mut errors);
    errors
}

fn must_be_object(value: Option<&Value>, path: &str, errors: &mut Vec<String>) {
    let given = value.map_or("null", kind);
    if given != "object" {
        errors.push(format!(
            "{path}: Invalid type. Expected: object, given: {given}"
        ));
    }
}

/// The name that the schema gives to the type of a value.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.as_f64().is_some_and(|it| it.fract() == 0.0) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The name of the type that a value should have; absent where anything goes.
pub fn expected(ty: &Type) -> Option<&'static str> {
    match ty {
        Type::Bool => Some("boolean"),
        Type::Int | Type::Unsigned { .. } => Some("integer"),
        Type::Float => Some("number"),
        Type::Text | Type::Duration | Type::ObjectId | Type::Time => Some("string"),
        Type::List(_) => Some("array"),
        Type::Map(_) | Type::Struct(_) => Some("object"),
        Type::Pointer(inner) => expected(inner),
        Type::Raw | Type::Any => None,
    }
}

fn is_three_0(version: &str) -> bool {
    version.strip_prefix("3.0.").is_some_and(|rest| {
        let mut rest = rest.chars();
        rest.next().is_some_and(|digit| digit.is_ascii_digit())
            && match rest.next() {
                None => true,
                Some('-') => rest.next().is_some(),
                Some(_) => false,
            }
    })
}

fn openapi_error(document: &Value) -> Option<String> {
    for member in ["title", "version"] {
        if text(document, &format!("/info/{member}")).is_empty() {
            return Some(format!(
                "invalid info: value of {member} must be a non-empty string"
            ));
        }
    }
    let mut names: std::collections::BTreeMap<String, String> = std::collections::BTreeMap::new();
    let paths = document.get("paths").and_then(Value::as_object);
    for (path, item) in paths.into_iter().flatten() {
        let Ok(variables) = listen_path::variables(path) else {
            continue;
        };
        for (method, operation) in oas::operations(item) {
            let name = format!("{} {path}", method.to_uppercase());
            let declared: Vec<&str> = array(item, "/parameters")
                .chain(array(operation, "/parameters"))
                .map(|parameter| oas::dereference(document, parameter))
                .filter(|parameter| text(parameter, "/in") == "path")
                .map(|parameter| text(parameter, "/name"))
                .collect();
            let list = |items: Vec<&str>| items.join(" ");
            let missing: Vec<&str> = variables
                .iter()
                .copied()
                .filter(|name| !declared.contains(name))
                .collect();
            let extra: Vec<&str> = declared
                .iter()
                .copied()
                .filter(|name| !variables.contains(name))
                .collect();
            if !missing.is_empty() {
                return Some(format!(
                    "invalid paths: operation {name} must define exactly all path parameters \
                     (missing: [{}])",
                    list(missing)
                ));
            }
            if !extra.is_empty() {
                return Some(format!(
                    "invalid paths: operation {name} must define exactly all path parameters \
                     (extra: [{}])",
                    list(extra)
                ));
            }
            let id = text(operation, "/operationId");
            if id.is_empty() {
                continue;
            }
            if let Some(other) = names.insert(id.to_owned(), name.clone()) {
                return Some(format!(
                    "invalid paths: operations \"{other}\" and \"{name}\" have the same operation \
                     id \"{id}\""
                ));
            }
        }
    }
    None
}

fn security_error(document: &Value) -> Option<String> {
    let requirements: Vec<&Value> = array(document, "/security").collect();
    if requirements.is_empty() {
        return None;
    }
    let schemes = document
        .pointer("/components/securitySchemes")
        .and_then(Value::as_object)
        .filter(|schemes| !schemes.is_empty());
    let Some(schemes) = schemes else {
        return Some("No components or security schemes present in OAS".to_owned());
    };
    requirements
        .iter()
        .filter_map(|requirement| requirement.as_object())
        .flatten()
        .find(|(name, _)| !schemes.contains_key(*name))
        .map(|(name, _)| {
            format!(
                "Missing required Security Scheme '{name}' in Components.SecuritySchemes. For \
                 more information please visit \
                 https://swagger.io/specification/#security-requirement-object"
            )
        })
}

/// Where alternatives are honoured, every enabled scheme must be named in one.
fn compliant_error(document: &Value) -> Option<String> {
    let authentication = document.pointer("/x-tyk-api-gateway/server/authentication")?;
    if text(authentication, "/securityProcessingMode") != "compliant" {
        return None;
    }
    let mut named: Vec<&str> = array(document, "/security")
        .filter_map(Value::as_object)
        .flatten()
        .map(|(name, _)| name.as_str())
        .collect();
    named.extend(
        array(authentication, "/security")
            .filter_map(Value::as_array)
            .flatten()
            .filter_map(Value::as_str),
    );
    let missing: Vec<&str> = authentication
        .get("securitySchemes")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter(|(name, scheme)| flag(scheme, "/enabled") && !named.contains(&name.as_str()))
        .map(|(name, _)| name.as_str())
        .collect();
    if missing.is_empty() {
        return None;
    }
    Some(format!(
        "invalid multi-auth configuration: the following authentication methods are enabled but \
         not configured in security requirements: {}",
        missing.join(", ")
    ))
}

fn resource_metadata_error(document: &Value) -> Option<String> {
    let metadata =
        document.pointer("/x-tyk-api-gateway/server/authentication/protectedResourceMetadata")?;
    (flag(metadata, "/enabled") && text(metadata, "/resource").is_empty())
        .then(|| "protectedResourceMetadata.resource is required when enabled".to_owned())
}

fn has_external_reference(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.iter().any(|(key, item)| {
            (key == "$ref" && item.as_str().is_some_and(|target| !target.starts_with('#')))
                || has_external_reference(item)
        }),
        Value::Array(items) => items.iter().any(has_external_reference),
        _ => false,
    }
}

fn array<'value>(value: &'value Value, pointer: &str) -> impl Iterator<Item = &'value Value> {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// What a load checks again.
pub fn is_sound(document: &Value) -> bool {
    openapi_error(document).is_none() && security_error(document).is_none()
}
