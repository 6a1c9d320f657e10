//! Names for files, variables and resources, made from ids that may hold any character. The same
//! id always gives the same name, on every machine, whatever else is there.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::domain::{
    canonical::Digest,
    object::{Kind, ObjectKey},
};

/// A longer id is cut, and its digest tells it apart.
const LONGEST: usize = 60;

/// The file of an object, below the folder of manifests and without its extension.
pub(super) fn file_stem(key: &ObjectKey) -> String {
    let folder = if key.kind.is_api() {
        "apis"
    } else {
        "policies"
    };
    format!("{folder}/{}", stem(&key.id))
}

/// The id itself where every file system takes it and keeps it apart from all others. Otherwise
/// what is left of it, a dot, which no such id holds, and its digest.
fn stem(id: &str) -> String {
    let is_plain = id.len() <= LONGEST
        && id.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        && id.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte)
        })
        && !is_device(id);
    if is_plain {
        return id.to_owned();
    }
    format!("{}.{}", words(id, '-').to_ascii_lowercase(), digest(id))
}

/// Names that Windows keeps for devices, with any extension.
fn is_device(name: &str) -> bool {
    if matches!(name, "con" | "prn" | "aux" | "nul") {
        return true;
    }
    ["com", "lpt"]
        .iter()
        .filter_map(|port| name.strip_prefix(port))
        .any(|number| number.len() == 1 && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The variable of the gateway's process that is to hold a secret. It ends in a digest: a gateway
/// puts values in by replacing text, so no name may be the beginning of another.
pub(super) fn variable(key: &ObjectKey, pointer: &str) -> String {
    let named: Vec<&str> = pointer
        .split('/')
        .filter(|token| !token.is_empty() && token.parse::<usize>().is_err())
        .collect();
    let field = named[named.len().saturating_sub(2)..].join("_");
    let readable = format!("{}_{}", words(&key.id, '_'), words(&field, '_'));
    format!(
        "LOCKSTEP_{}_{}",
        readable.trim_matches('_'),
        digest(&format!("{key}\0{pointer}"))
    )
    .to_ascii_uppercase()
}

/// Namespace and name of an operator's resource, and whether its id follows from them.
pub(super) struct ResourceName {
    pub namespace: String,
    pub name: String,
    pub gives_id: bool,
}

/// Of an object that the operator made, the names that it had there.
pub(super) fn resource(key: &ObjectKey) -> ResourceName {
    let decoded = BASE64_URL_SAFE_NO_PAD
        .decode(key.id.as_bytes())
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    if let Some((namespace, name)) = decoded.as_deref().and_then(|text| text.split_once('/'))
        && is_label(namespace)
        && is_label(name)
    {
        return ResourceName {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            gives_id: true,
        };
    }
    let name = if is_label(&key.id) {
        key.id.clone()
    } else {
        let prefix = if key.kind == Kind::Policy { "p" } else { "a" };
        let readable = words(&key.id, '-').to_ascii_lowercase();
        let readable = if readable.is_empty() {
            prefix
        } else {
            &readable
        };
        format!("{readable}.{}", digest(&key.id))
    };
    ResourceName {
        namespace: "default".to_owned(),
        name,
        gives_id: false,
    }
}

fn is_label(name: &str) -> bool {
    let ends =
        |at: Option<char>| at.is_some_and(|end| end.is_ascii_lowercase() || end.is_ascii_digit());
    name.len() <= LONGEST
        && ends(name.chars().next())
        && ends(name.chars().next_back())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Letters and digits of a text, with a separator for everything between them.
fn words(text: &str, separator: char) -> String {
    let mut out = String::new();
    for character in text.chars() {
        if out.len() >= LONGEST {
            break;
        }
        if character.is_ascii_alphanumeric() {
            out.push(character);
        } else if !out.is_empty() && !out.ends_with(separator) {
            out.push(separator);
        }
    }
    out.trim_end_matches(separator).to_owned()
}

fn digest(text: &str) -> String {
    Digest::of(text.as_bytes()).short()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn api(id: &str) -> ObjectKey {
        ObjectKey::new(Kind::ClassicApi, id)
    }

    #[test]
    fn every_id_gets_a_file_of_its_own_that_every_file_system_takes() {
        let long = "x".repeat(300);
        let ids = [
            "orders",
            "Orders",
            "ORDERS",
            "../../x",
            "..",
            ".",
            "con",
            "com1",
            "a b",
            "a-b",
            "a_b",
            "a/b",
            "bücher",
            "日本",
            "nul\0",
            long.as_str(),
            &long[1..],
            "x.json",
            "-x",
            "",
        ];
        let stems: BTreeSet<String> = ids
            .iter()
            .map(|id| file_stem(&api(id)).to_lowercase())
            .collect();
        assert_eq!(stems.len(), ids.len(), "{stems:?}");
        for stem in &stems {
            let name = stem.strip_prefix("apis/").unwrap();
            assert!(name.len() <= 80 && !name.contains(['/', '\\', '\0', ' ']));
            assert!(!is_device(name) && !name.starts_with("..") && name.is_ascii());
        }
        assert!(stems.contains("apis/orders"));
    }

    #[test]
    fn no_variable_is_the_beginning_of_another() {
        let names: Vec<String> = [
            "/a/token",
            "/a/token_x",
            "/a/0/token",
            "/a_token",
            "/b/a/token",
        ]
        .iter()
        .map(|pointer| variable(&api("orders-v1"), pointer))
        .collect();
        for (index, name) in names.iter().enumerate() {
            let others = names.iter().enumerate().filter(|(at, _)| *at != index);
            assert!(others.clone().all(|(_, other)| !other.starts_with(name)));
            assert!(
                name.bytes()
                    .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
            );
        }
        assert!(
            names[0].starts_with("LOCKSTEP_ORDERS_V1_A_TOKEN_"),
            "{}",
            names[0]
        );
    }

    #[test]
    fn what_the_operator_made_gets_its_names_back() {
        let name = resource(&api("ZGVmYXVsdC9odHRwYmlu"));
        assert_eq!(
            (name.namespace.as_str(), name.name.as_str()),
            ("default", "httpbin")
        );
        assert!(name.gives_id);
        assert!(!resource(&api("orders")).gives_id);
    }
}
