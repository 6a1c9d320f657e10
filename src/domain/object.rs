//! Objects: what lives on a target, and the key that names it.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::way::at;

/// The kinds of objects. A Streams API is an OAS document with an extension, so it is an OAS API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// First of all, because the others refer to it.
    Certificate,
    Policy,
    ClassicApi,
    OasApi,
    /// An OAS document that is written to an endpoint of its own.
    McpProxy,
}

impl Kind {
    pub const ALL: [Self; 5] = [
        Self::Certificate,
        Self::Policy,
        Self::ClassicApi,
        Self::OasApi,
        Self::McpProxy,
    ];

    /// Those that a gateway keeps as files and loads at a reload; certificates live in its Redis.
    pub const LOADED: [Self; 4] = [Self::Policy, Self::ClassicApi, Self::OasApi, Self::McpProxy];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Policy => "policy",
            Self::ClassicApi => "classic",
            Self::OasApi => "oas",
            Self::McpProxy => "mcp",
        }
    }

    /// APIs of every kind share one space of ids on a gateway; the others have their own.
    pub fn is_api(self) -> bool {
        match self {
            Self::ClassicApi | Self::OasApi | Self::McpProxy => true,
            Self::Certificate | Self::Policy => false,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = ObjectKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or(ObjectKeyError)
    }
}

/// Names one object of a target. Its text form is `kind/id`, for example `oas/orders`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectKey {
    pub kind: Kind,
    pub id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "an object is named KIND/ID, with a kind of certificate, policy, classic, oas or mcp; for \
     example oas/orders"
)]
pub struct ObjectKeyError;

impl ObjectKey {
    pub fn new(kind: Kind, id: impl Into<String>) -> Self {
        Self {
            kind,
            id: id.into(),
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.id)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ObjectKey {
    type Err = ObjectKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, id) = text.split_once('/').ok_or(ObjectKeyError)?;
        if id.is_empty() {
            return Err(ObjectKeyError);
        }
        Ok(Self::new(kind.parse()?, id))
    }
}

impl TryFrom<String> for ObjectKey {
    type Error = ObjectKeyError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ObjectKey> for String {
    fn from(key: ObjectKey) -> Self {
        key.to_string()
    }
}

/// An object as Git wants it: the body is what is posted to the gateway, references to secrets
/// resolved only in memory.
#[derive(Clone, PartialEq)]
pub struct Object {
    pub key: ObjectKey,
    pub body: Value,
    /// The file that describes it, relative to the repository's root.
    pub path: String,
}

// A body may hold secrets, so an object never prints it.
impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {}", self.key, self.path)
    }
}

impl Object {
    /// The name that people gave it.
    pub fn name(&self) -> &str {
        let pointer = match self.key.kind {
            Kind::Certificate => "/subject",
            Kind::Policy | Kind::ClassicApi => "/name",
            Kind::OasApi | Kind::McpProxy => "/x-tyk-api-gateway/info/name",
        };
        text_at(&self.body, pointer)
    }

    /// Where an API listens. What is no API listens nowhere.
    pub fn route(&self) -> Option<Route> {
        match self.key.kind {
            Kind::Certificate | Kind::Policy => None,
            Kind::ClassicApi => Some(Route::of_classic(&self.body)),
            Kind::OasApi | Kind::McpProxy => {
                let server = at(&self.body, "/x-tyk-api-gateway/server")?;
                let domain_on = at(server, "/customDomain/enabled") == Some(&Value::Bool(true));
                let domain = if domain_on {
                    text_at(server, "/customDomain/name")
                } else {
                    ""
                };
                Some(Route::new(domain, text_at(server, "/listenPath/value")))
            }
        }
    }

    /// The ids of the APIs that this policy gives access to.
    pub fn granted_apis(&self) -> Vec<&str> {
        match self.key.kind {
            Kind::Policy => grants_of(&self.body),
            Kind::Certificate | Kind::ClassicApi | Kind::OasApi | Kind::McpProxy => Vec::new(),
        }
    }

    /// The ids of the APIs that this API lists as its versions.
    pub fn child_versions(&self) -> Vec<&str> {
        match self.key.kind {
            Kind::Certificate | Kind::Policy => Vec::new(),
            Kind::ClassicApi => classic_children(&self.body),
            Kind::OasApi | Kind::McpProxy => {
                at(&self.body, "/x-tyk-api-gateway/info/versioning/versions")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                    .filter_map(|version| version.get("id")?.as_str())
                    .collect()
            }
        }
    }
}

/// The ids of the APIs that a policy gives access to.
pub fn grants_of(policy: &Value) -> Vec<&str> {
    policy
        .get("access_rights")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(id, _)| id.as_str())
        .collect()
}

/// The ids of the APIs that a classic definition (or a projection) lists as its versions.
pub fn classic_children(body: &Value) -> Vec<&str> {
    at(body, "/definition/versions")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(_, id)| id.as_str())
        .collect()
}

/// The desired state: what Git wants on a target, by key.
pub type Desired = BTreeMap<ObjectKey, Object>;

/// A domain and a listen path: a gateway serves one API at each.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Route {
    /// Empty for any domain.
    pub domain: String,
    pub listen_path: String,
}

impl Route {
    pub fn new(domain: &str, listen_path: &str) -> Self {
        Self {
            domain: domain.to_owned(),
            listen_path: listen_path.to_owned(),
        }
    }

    /// The route of a classic definition, or of the classic projection of an OAS API.
    pub fn of_classic(body: &Value) -> Self {
        let domain_off = body.get("domain_disabled") == Some(&Value::Bool(true));
        let domain = if domain_off {
            ""
        } else {
            text_at(body, "/domain")
        };
        Self::new(domain, text_at(body, "/proxy/listen_path"))
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.domain, self.listen_path)
    }
}

fn text_at<'a>(body: &'a Value, pointer: &str) -> &'a str {
    at(body, pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}
