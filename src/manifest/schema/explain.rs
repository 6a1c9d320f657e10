//! What a kind or one of its fields is, from the tables.

use serde::Serialize;

use super::{EXTENSION, Field, NATIVE, Native, Shape, Type, kinds, operator};
use crate::manifest::checks;

/// A kind, or a field of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// `KIND` or `KIND.field.field`.
    pub path: String,
    /// What stands there, in words.
    pub shape: String,
    pub about: String,
    pub required: bool,
    /// The members of an object, or of a list's or a map's items.
    pub fields: Vec<Member>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Member {
    pub name: String,
    pub shape: String,
    pub about: String,
    pub required: bool,
}

/// Explains `KIND` or `KIND.field.field`. The error says what there is instead.
pub fn explain(path: &str) -> Result<Explained, String> {
    let mut tokens = path.split('.').filter(|token| !token.is_empty());
    let name = tokens.next().unwrap_or_default();
    if let Some(kind) = operator::kind(name) {
        return operator::explain(kind, tokens);
    }
    let native = native(name)?;
    let mut explained = Explained {
        path: native.name.to_owned(),
        shape: "an object".to_owned(),
        about: native.about.to_owned(),
        required: false,
        fields: members(native.root),
    };
    let mut shape = Shape::Object(native.root);
    for token in tokens {
        let Some((of, is_map)) = object_in(shape) else {
            return Err(format!("{} has no fields", explained.path));
        };
        let found = of.field(token).map(|field| (field, of)).or_else(|| {
            // What a gateway adds to OpenAPI is what is asked for most.
            let is_root = std::ptr::eq(of, native.root);
            let field = EXTENSION
                .field(token)
                .filter(|_| is_root && native.name == "oas")?;
            explained.path.push_str(".x-tyk-api-gateway");
            Some((field, EXTENSION))
        });
        let Some((field, of)) = found else {
            // The name of a version, an API, a scheme.
            if is_map {
                shape = Shape::Object(of);
                continue;
            }
            let names: Vec<&str> = of.fields.iter().map(|field| field.name).collect();
            let hint = checks::nearest(token, &names)
                .map(|nearest| format!("; did you mean {nearest}?"))
                .unwrap_or_default();
            return Err(format!("{} has no field {token}{hint}", explained.path));
        };
        explained.path.push('.');
        explained.path.push_str(field.name);
        explained.shape = in_full(field.shape);
        field.about.clone_into(&mut explained.about);
        explained.required = of.required.contains(&field.name);
        explained.fields = object_in(field.shape).map_or_else(Vec::new, |(of, _)| members(of));
        shape = field.shape;
    }
    Ok(explained)
}

fn native(name: &str) -> Result<&'static Native, String> {
    if let Some(native) = NATIVE
        .iter()
        .find(|native| native.name.eq_ignore_ascii_case(name))
    {
        return Ok(native);
    }
    Err(no_kind(name))
}

/// What to say of a kind that does not exist.
pub fn no_kind(name: &str) -> String {
    let names = kinds();
    let hint = checks::nearest(name, &names).map_or_else(
        || format!("; there are {}", names.join(", ")),
        |nearest| format!("; did you mean {nearest}?"),
    );
    format!("there is no kind {name}{hint}")
}

/// The object in a place, or in the items of the list or map there; and whether names come before
/// its fields.
fn object_in(shape: Shape) -> Option<(&'static Type, bool)> {
    match shape {
        Shape::Object(of) => Some((of, false)),
        Shape::Map(of) => object_in(*of).map(|(of, _)| (of, true)),
        Shape::List(of) | Shape::First(of) => object_in(*of),
        _ => None,
    }
}

fn in_full(shape: Shape) -> String {
    match shape {
        Shape::List(of) | Shape::First(of) => format!("a list; each item is {}", in_full(*of)),
        Shape::Map(of) => format!(
            "an object with names of your own; each member is {}",
            in_full(*of)
        ),
        other => other.words(),
    }
}

fn members(of: &'static Type) -> Vec<Member> {
    of.fields
        .iter()
        .map(|field: &Field| Member {
            name: field.name.to_owned(),
            shape: in_full(field.shape),
            about: field.about.to_owned(),
            required: of.required.contains(&field.name),
        })
        .collect()
}
