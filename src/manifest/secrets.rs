//! References to the stack's secrets, `${secret:NAME}`: each must be one, be known, and stand in a
//! value. They stay as they are; nothing is filled in here.

use serde_json::Value;

use super::{Place, Reading, checks, native};
use crate::domain::{
    diff::push_token,
    object::{Kind, Object},
    reference::{Piece, may_refer, pieces},
};

/// A text that refers to secrets, or only begins to.
pub(super) struct Reference {
    pointer: String,
    text: String,
    is_name: bool,
}

/// Everything of a document that refers to secrets.
pub(super) fn references(document: &Value) -> Vec<Reference> {
    let mut found = Vec::new();
    if mentions_any(document) {
        collect(document, &mut String::new(), &mut found);
    }
    found
}

fn mentions_any(value: &Value) -> bool {
    match value {
        Value::String(text) => may_refer(text),
        Value::Array(items) => items.iter().any(mentions_any),
        Value::Object(members) => members
            .iter()
            .any(|(name, member)| may_refer(name) || mentions_any(member)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn collect(value: &Value, pointer: &mut String, found: &mut Vec<Reference>) {
    let reference = |pointer: &str, text: &str, is_name: bool| {
        may_refer(text).then(|| Reference {
            pointer: pointer.to_owned(),
            text: text.to_owned(),
            is_name,
        })
    };
    match value {
        Value::String(text) => found.extend(reference(pointer, text, false)),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let length = pointer.len();
                push_token(pointer, &index.to_string());
                collect(item, pointer, found);
                pointer.truncate(length);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                let length = pointer.len();
                push_token(pointer, name);
                found.extend(reference(pointer, name, true));
                collect(member, pointer, found);
                pointer.truncate(length);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

pub(super) fn check(references: &[Reference], place: &Place, reading: &mut Reading<'_>) {
    for reference in references {
        let Reference {
            pointer,
            text,
            is_name,
        } = reference;
        if *is_name {
            let message = "a secret cannot stand in a name: names are shown";
            reading.wrong(place, pointer.as_str(), message, None);
            continue;
        }
        let pieces = match pieces(text) {
            Ok(pieces) => pieces,
            Err(error) => {
                reading.wrong(place, pointer.as_str(), error.to_string(), None);
                continue;
            }
        };
        let Some(known) = &reading.options.secrets else {
            continue;
        };
        for piece in pieces {
            let Piece::Secret(name) = piece else {
                continue;
            };
            if known.contains(name) {
                continue;
            }
            let names: Vec<&str> = known.iter().map(String::as_str).collect();
            let fix = checks::nearest(name, &names).map_or_else(
                || format!("add {name} to [stack.NAME.secrets] in the configuration of the server"),
                |nearest| format!("did you mean ${{secret:{nearest}}}?"),
            );
            let message = format!("the stack has no secret {name:?}");
            reading.wrong(place, pointer.as_str(), message, Some(&fix));
        }
    }
}

/// What an object is called, and where it listens, is shown everywhere.
pub(super) fn refuse_names(object: &Object, place: &Place, reading: &mut Reading<'_>) {
    if let Some((pointer, what)) = named_by_secret(object) {
        let message = format!("a secret cannot stand in {what}, which is shown");
        reading.wrong(place, pointer, message, None);
    }
}

fn named_by_secret(object: &Object) -> Option<(&'static str, &'static str)> {
    let kind = object.key.kind;
    if may_refer(&object.key.id) {
        return Some((native::id_pointer(kind), "an id"));
    }
    if may_refer(object.name()) {
        let pointer = match kind {
            Kind::OasApi | Kind::McpProxy => "/x-tyk-api-gateway/info/name",
            Kind::Certificate | Kind::Policy | Kind::ClassicApi => "/name",
        };
        return Some((pointer, "a name"));
    }
    let route = object.route()?;
    let is_route = may_refer(&route.listen_path) || may_refer(&route.domain);
    is_route.then(|| {
        (
            native::listen_path_pointer(kind),
            "a listen path or a domain",
        )
    })
}
