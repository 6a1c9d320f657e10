//! What the gateway's own kinds of documents may hold: tables that the checks, `lockstep explain`
//! and `lockstep schema` read. The names and types are those of Tyk 5.14. The operator's kinds have
//! a table of their own, beside their translation.

mod check;
mod classic;
mod explain;
mod extension;
mod json;
mod openapi;
mod operator;
mod policy;

pub use explain::{Explained, explain, no_kind};
pub use json::json_schema;

pub(super) use check::{Unknown, check, is_address};

/// What stands in the place of a value.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    Any,
    Text,
    /// A text that is not empty.
    Filled,
    Flag,
    Number,
    /// From 0 to 1.
    Fraction,
    Whole,
    /// A whole number from 0.
    Count,
    Port,
    Duration(Units),
    /// A regular expression in Go's syntax.
    Pattern,
    /// A path in which `{name}` stands for one part, or a regular expression.
    Path,
    /// An address or a network in CIDR form.
    Address,
    /// A host name, with `*` and a port if need be.
    Domain,
    /// One of these texts; the gateway refuses another.
    OneOf(&'static [&'static str]),
    /// One of these texts; a newer gateway may know more.
    Known(&'static [&'static str]),
    Object(&'static Type),
    List(&'static Shape),
    /// A list of which the gateway checks the first item alone.
    First(&'static Shape),
    /// Members with any names.
    Map(&'static Shape),
}

/// How a duration is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Units {
    /// As Go reads it, such as `1.5h`; what Go does not read counts as 0.
    Any,
    /// Hours to nanoseconds.
    Nanoseconds,
    /// Hours to seconds.
    Seconds,
    /// Hours to seconds, and not nothing.
    Lifetime,
    /// Minutes to milliseconds, with decimals.
    Timeout,
}

/// The members of an object, in the order of their names.
#[derive(Debug)]
pub struct Type {
    pub fields: &'static [Field],
    pub required: &'static [&'static str],
    /// Of these one must be there.
    pub one_of: &'static [&'static str],
    /// Whether the gateway refuses members that it does not know, but for `x-…`.
    pub is_closed: bool,
    /// Whether `$ref` may take the place of all members.
    pub may_refer: bool,
}

#[derive(Debug)]
pub struct Field {
    pub name: &'static str,
    pub shape: Shape,
    pub about: &'static str,
}

const fn field(name: &'static str, shape: Shape) -> Field {
    Field {
        name,
        shape,
        about: "",
    }
}

impl Field {
    const fn about(mut self, about: &'static str) -> Self {
        self.about = about;
        self
    }
}

impl Type {
    const fn new(fields: &'static [Field]) -> Self {
        Self {
            fields,
            required: &[],
            one_of: &[],
            is_closed: false,
            may_refer: false,
        }
    }

    const fn requires(mut self, names: &'static [&'static str]) -> Self {
        self.required = names;
        self
    }

    const fn needs_one_of(mut self, names: &'static [&'static str]) -> Self {
        self.one_of = names;
        self
    }

    const fn closed(mut self) -> Self {
        self.is_closed = true;
        self
    }

    const fn or_reference(mut self) -> Self {
        self.may_refer = true;
        self
    }

    pub fn field(&self, name: &str) -> Option<&'static Field> {
        let at = self.fields.binary_search_by(|field| field.name.cmp(name));
        at.ok().map(|at| &self.fields[at])
    }
}

/// A kind of document that a gateway has itself.
#[derive(Debug)]
pub struct Native {
    pub name: &'static str,
    pub about: &'static str,
    pub root: &'static Type,
    /// What makes a document one of this kind, for an editor.
    required: &'static [&'static str],
}

/// The names of all kinds that are explained and have a schema.
pub fn kinds() -> Vec<&'static str> {
    let native = NATIVE.iter().map(|native| native.name);
    native.chain(operator::kinds()).collect()
}

pub static CLASSIC: &Type = &classic::API_DEFINITION;
pub static POLICY: &Type = &policy::POLICY;
pub(super) static OAS: &Type = &openapi::DOCUMENT;
pub(super) static EXTENSION: &Type = &extension::EXTENSION;

pub static NATIVE: &[Native] = &[
    Native {
        name: "oas",
        about: "An OpenAPI document with x-tyk-api-gateway, which says where the API listens and \
                where its requests go.",
        root: &openapi::DOCUMENT,
        required: &["info", "openapi", "paths", "x-tyk-api-gateway"],
    },
    Native {
        name: "classic",
        about: "An API in the gateway's older form, a classic definition.",
        root: &classic::API_DEFINITION,
        required: &["api_id", "proxy"],
    },
    Native {
        name: "policy",
        about: "What keys may do: access rights, rate limit and quota.",
        root: &policy::POLICY,
        required: &["access_rights", "id"],
    },
];

impl Shape {
    /// In words, as the end of "must be".
    pub fn words(self) -> String {
        match self {
            Self::Any => "anything".to_owned(),
            Self::Text => "a text".to_owned(),
            Self::Filled => "a text that is not empty".to_owned(),
            Self::Flag => "true or false".to_owned(),
            Self::Number => "a number".to_owned(),
            Self::Fraction => "a number from 0 to 1".to_owned(),
            Self::Whole => "a whole number".to_owned(),
            Self::Count => "a whole number from 0".to_owned(),
            Self::Port => "a port from 1 to 65535".to_owned(),
            Self::Duration(units) => format!("a duration such as {}", units.example()),
            Self::Pattern => "a regular expression in Go's syntax".to_owned(),
            Self::Path => "a path, with {variables} or a regular expression".to_owned(),
            Self::Address => "an IP address or a network such as 10.0.0.0/8".to_owned(),
            Self::Domain => "a host name".to_owned(),
            Self::OneOf(texts) | Self::Known(texts) => {
                let texts: Vec<String> = texts.iter().map(|text| format!("{text:?}")).collect();
                format!("one of {}", texts.join(", "))
            }
            Self::Object(_) | Self::Map(_) => "an object".to_owned(),
            Self::List(_) | Self::First(_) => "a list".to_owned(),
        }
    }
}

impl Units {
    pub fn example(self) -> &'static str {
        match self {
            Self::Any | Self::Nanoseconds => "\"1m30s\"",
            Self::Seconds | Self::Lifetime => "\"1h30m\"",
            Self::Timeout => "\"1.5s\"",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn types(shape: Shape, seen: &mut BTreeSet<usize>, check: &mut dyn FnMut(&'static Type)) {
        match shape {
            Shape::Object(of) if seen.insert(std::ptr::from_ref(of).addr()) => {
                check(of);
                for field in of.fields {
                    types(field.shape, seen, check);
                }
            }
            Shape::List(of) | Shape::First(of) | Shape::Map(of) => types(*of, seen, check),
            _ => {}
        }
    }

    #[test]
    fn fields_stand_in_the_order_of_their_names_and_what_is_required_exists() {
        let mut seen = BTreeSet::new();
        let mut fields = 0;
        for native in NATIVE {
            types(Shape::Object(native.root), &mut seen, &mut |of| {
                fields += of.fields.len();
                assert!(of.fields.is_sorted_by(|left, right| left.name < right.name));
                for name in of.required.iter().chain(of.one_of) {
                    assert!(of.field(name).is_some(), "{name}");
                }
            });
            for name in native.required {
                assert!(native.root.field(name).is_some(), "{name}");
            }
        }
        assert!(
            seen.len() > 200 && fields > 1_000,
            "{} {fields}",
            seen.len()
        );
    }
}
