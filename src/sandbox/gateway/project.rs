//! The classic projection of an OAS document: what `GET /tyk/apis` shows of it, and what the
//! loader works with.

use serde_json::{Map, Value, json};

use super::oas::read_extension;
use super::state::{flag, set, text};

/// The sparse classic definition of a document.
pub fn project(document: &Value, extension: &Value) -> Value {
    let _ = document;
    let extension = read_extension(extension);
    let mut out = Value::Object(Map::new());
    for (from, to) in [
        ("/info/id", "/api_id"),
        ("/info/dbId", "/id"),
        ("/info/orgId", "/org_id"),
        ("/info/name", "/name"),
        ("/info/expiration", "/expiration"),
        ("/server/listenPath/value", "/proxy/listen_path"),
        ("/upstream/url", "/proxy/target_url"),
        ("/server/customDomain/name", "/domain"),
    ] {
        set(&mut out, to, text(&extension, from).into());
    }
    for (from, to) in [
        ("/info/state/active", "/active"),
        ("/info/state/internal", "/internal"),
        ("/server/listenPath/strip", "/proxy/strip_listen_path"),
    ] {
        set(&mut out, to, flag(&extension, from).into());
    }
    set(
        &mut out,
        "/use_keyless",
        (!flag(&extension, "/server/authentication/enabled")).into(),
    );
    let versions: Map<String, Value> = extension
        .pointer("/info/versioning/versions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|version| {
            (
                text(version, "/name").to_owned(),
                text(version, "/id").into(),
            )
        })
        .collect();
    set(
        &mut out,
        "/definition",
        json!({
            "enabled": flag(&extension, "/info/versioning/enabled"),
            "name": text(&extension, "/info/versioning/name"),
            "default": text(&extension, "/info/versioning/default"),
            "location": text(&extension, "/info/versioning/location"),
            "key": text(&extension, "/info/versioning/key"),
            "versions": versions,
            "strip_versioning_data": flag(&extension, "/info/versioning/stripVersioningData"),
            "url_versioning_pattern": text(&extension, "/info/versioning/urlVersioningPattern"),
            "fallback_to_default": flag(&extension, "/info/versioning/fallbackToDefault"),
        }),
    );
    set(&mut out, "/version_data/not_versioned", true.into());
    out
}
