//! A service's own OpenAPI document, without a word about a gateway, made into an API: the stack
//! says where such APIs listen, where they go, and how they ask who calls.

use std::fmt;

use serde_json::{Map, Value, json};

use super::{
    Place, Reading,
    draft::Draft,
    library::{folder_of, is_below, name_of},
};

const EXTENSION: &str = "x-tyk-api-gateway";

/// How the plain OpenAPI documents of a stack become APIs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenApi {
    pub listen_path: Template,
    /// Without one, the document's first server.
    pub upstream: Option<Template>,
    pub authentication: Authentication,
}

/// How an API asks who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    /// It is open to everybody.
    None,
    /// A key of the gateway in the header Authorization.
    Token,
    /// As the document's own `security` says.
    Document,
}

impl Authentication {
    pub const WORDS: &[(&str, Self)] = &[
        ("none", Self::None),
        ("token", Self::Token),
        ("document", Self::Document),
    ];
}

/// A text in which `{name}` stands for the API's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(String);

impl Template {
    pub fn parse(text: &str) -> Result<Self, String> {
        let rest = text.replace("{name}", "");
        if text.trim().is_empty() {
            return Err("is empty".to_owned());
        }
        if rest.contains(['{', '}']) {
            return Err("has braces other than those of {name}".to_owned());
        }
        Ok(Self(text.to_owned()))
    }

    /// Where APIs listen; two documents of one stack cannot listen on one path.
    pub fn listen_path(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            return Err("must begin with /, like \"/{name}/\"".to_owned());
        }
        Self::parse(text)
    }

    fn of(&self, name: &str) -> String {
        self.0.replace("{name}", name)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether it describes a service and says nothing of the gateway.
pub(super) fn is_plain(value: &Value) -> bool {
    value.get("openapi").is_some() && value.get(EXTENSION).is_none()
}

/// Adds what the stack says. What the gateway needs beyond that is checked like in every document.
pub(super) fn complete(draft: &mut Draft, settings: &OpenApi, reading: &mut Reading<'_>) {
    let place = draft.place.clone();
    let identity = Identity::new(&place, &reading.options.folders);
    let upstream = match &settings.upstream {
        Some(template) => Some(template.of(&identity.name)),
        None => server_of(&draft.value).map(str::to_owned),
    };
    let Some(upstream) = upstream else {
        reading.wrong(
            &place,
            "/servers/0/url",
            "the document names no server with a full address, and the stack names no upstream",
            Some("write the address here, or openapi.upstream in the stack"),
        );
        return;
    };
    let title = draft.value.pointer("/info/title").and_then(Value::as_str);
    let title = title
        .filter(|title| !title.trim().is_empty())
        .unwrap_or(&identity.name)
        .to_owned();
    let authentication = authentication(&mut draft.value, settings.authentication, &place, reading);
    let mut server = json!({
        "listenPath": {"value": settings.listen_path.of(&identity.name), "strip": true},
    });
    if let Some(authentication) = authentication {
        server["authentication"] = authentication;
    }
    if let Value::Object(members) = &mut draft.value {
        let extension = json!({
            "info": {"id": identity.id, "name": title, "state": {"active": true}},
            "upstream": {"url": upstream},
            "server": server,
        });
        members.insert(EXTENSION.to_owned(), extension);
        // The gateway asks for it, and a document may do without.
        members.entry("paths").or_insert_with(|| json!({}));
    }
}

/// What a document is called by its file: the id of `apis/shop/orders.yaml` below `apis` is
/// shop-orders, its name orders. A document moves to another id only when its file moves.
struct Identity {
    id: String,
    name: String,
}

impl Identity {
    fn new(place: &Place, folders: &[String]) -> Self {
        const NAMELESS: &[&str] = &["openapi", "swagger", "api", "index", "spec"];
        let below = folders
            .iter()
            .filter(|folder| !folder.is_empty() && is_below(folder, &place.file))
            .map(|folder| &place.file[folder.len() + 1..])
            .min_by_key(|below| below.len())
            .unwrap_or(&place.file);
        let stem = below.rsplit_once('.').map_or(below, |(stem, _)| stem);
        let parent = folder_of(stem);
        let stem = if NAMELESS.contains(&name_of(stem)) && !parent.is_empty() {
            parent
        } else {
            stem
        };
        let mut id = plain(stem);
        let mut name = plain(name_of(stem));
        if place.document > 0 || !place.base.is_empty() {
            let further = plain(&format!("{}{}", place.document, place.base));
            id = format!("{id}-{further}");
            name = format!("{name}-{further}");
        }
        // A gateway accepts such an id and never loads its API.
        if id.ends_with("-oas") || id.ends_with("-mcp") {
            id.push_str("-api");
        }
        Self { id, name }
    }
}

fn plain(text: &str) -> String {
    let keep = |letter: char| {
        let is_plain = letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
        if is_plain { letter } else { '-' }
    };
    text.chars().map(keep).collect()
}

fn server_of(document: &Value) -> Option<&str> {
    let url = document.pointer("/servers/0/url")?.as_str()?;
    let is_full = url.starts_with("http://") || url.starts_with("https://");
    (is_full && !url.contains('{')).then_some(url)
}

/// The gateway's side of the schemes that protect a document; `None` for an open API.
fn authentication(
    document: &mut Value,
    wanted: Authentication,
    place: &Place,
    reading: &mut Reading<'_>,
) -> Option<Value> {
    const TOKEN: &str = "authToken";
    match wanted {
        Authentication::None => None,
        Authentication::Token => {
            document["security"] = json!([{TOKEN: []}]);
            let scheme = json!({"type": "apiKey", "in": "header", "name": "Authorization"});
            let components = member(document, "components");
            member(components, "securitySchemes")[TOKEN] = scheme;
            let schemes = json!({TOKEN: {"enabled": true}});
            Some(json!({"enabled": true, "securitySchemes": schemes}))
        }
        Authentication::Document => {
            let required = document.pointer("/security/0").and_then(Value::as_object);
            let names: Vec<String> = required
                .map(|names| names.keys().cloned().collect())
                .unwrap_or_default();
            if names.is_empty() {
                reading.wrong(
                    place,
                    "/security",
                    "the document names no security scheme, and the stack asks for the document's own",
                    Some("write security: [{ NAME: [] }], or another authentication in the stack"),
                );
            }
            let mut schemes = Map::new();
            for name in names {
                let scheme = document
                    .pointer("/components/securitySchemes")
                    .and_then(|all| all.get(&name));
                let text = |member: &str| {
                    scheme
                        .and_then(|scheme| scheme.get(member))
                        .and_then(Value::as_str)
                };
                let is_known = match text("type") {
                    Some("apiKey") => true,
                    Some("http") => {
                        text("scheme").is_some_and(|scheme| scheme.eq_ignore_ascii_case("basic"))
                    }
                    _ => false,
                };
                if is_known {
                    schemes.insert(name, json!({"enabled": true}));
                } else {
                    reading.wrong(
                        place,
                        "/security/0",
                        format!("the scheme {name} is neither an apiKey nor http basic: more must be known of it"),
                        Some("describe the API to the gateway in x-tyk-api-gateway"),
                    );
                }
            }
            Some(json!({"enabled": true, "securitySchemes": schemes}))
        }
    }
}

fn member<'v>(value: &'v mut Value, name: &str) -> &'v mut Value {
    if !value.is_object() {
        *value = json!({});
    }
    let member = &mut value[name];
    if !member.is_object() {
        *member = json!({});
    }
    member
}
