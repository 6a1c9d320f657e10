//! JSON Schemas (draft 7, which editors know best) from the tables.
//!
//! They are as strict as the checks with `--strict`: an editor underlines a field that the gateway
//! would drop.

use std::collections::{BTreeMap, btree_map::Entry};

use serde_json::{Map, Value, json};

use super::{NATIVE, Native, Shape, Type, Units, operator};

const DRAFT: &str = "http://json-schema.org/draft-07/schema#";

/// The schema of a kind, or of all: of any document that is read here. `None` for a kind that
/// does not exist.
pub fn json_schema(kind: Option<&str>) -> Option<Value> {
    let natives: Vec<&Native> = NATIVE
        .iter()
        .filter(|native| kind.is_none_or(|kind| native.name.eq_ignore_ascii_case(kind)))
        .collect();
    let mut definitions = Definitions::default();
    let mut roots = Vec::new();
    for native in &natives {
        let mut root = definitions.members(native.root, native.name);
        root.insert("title".to_owned(), json!(native.name));
        root.insert("description".to_owned(), json!(native.about));
        root.insert("required".to_owned(), json!(native.required));
        if let Some(Value::Object(properties)) = root.get_mut("properties") {
            properties.insert("$schema".to_owned(), json!({"type": "string"}));
        }
        roots.push(Value::Object(root));
    }
    let of_operator = match kind {
        Some(kind) => operator::kind(kind).into_iter().collect(),
        None => operator::kinds(),
    };
    roots.extend(of_operator.into_iter().map(operator::json_schema));
    let mut schema = match roots.len() {
        0 => return None,
        1 => roots.swap_remove(0),
        _ => json!({"title": "manifest", "anyOf": roots}),
    };
    let members = schema.as_object_mut()?;
    members.insert("$schema".to_owned(), json!(DRAFT));
    members.insert(
        "definitions".to_owned(),
        Value::Object(definitions.finish()),
    );
    Some(schema)
}

/// Types by their address, named by the way on which they were met first.
#[derive(Default)]
struct Definitions {
    names: BTreeMap<usize, String>,
    written: Map<String, Value>,
}

impl Definitions {
    fn finish(mut self) -> Map<String, Value> {
        self.written.insert(
            "placeholder".to_owned(),
            json!({"type": "string", "pattern": r"\$\{(values|secret)[.:][^}]+\}"}),
        );
        self.written
    }

    fn reference(&mut self, of: &'static Type, way: &str) -> Value {
        let name = match self.names.entry(std::ptr::from_ref(of).addr()) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(new) => {
                let name = new.insert(way.to_owned()).clone();
                let members = self.members(of, way);
                self.written.insert(name.clone(), Value::Object(members));
                name
            }
        };
        json!({"$ref": format!("#/definitions/{name}")})
    }

    fn members(&mut self, of: &'static Type, way: &str) -> Map<String, Value> {
        let mut properties = Map::new();
        for field in of.fields {
            let mut schema = self.shape(field.shape, &format!("{way}.{}", field.name));
            if !field.about.is_empty() {
                // Beside $ref nothing counts.
                if schema.get("$ref").is_some() {
                    schema = json!({"allOf": [schema]});
                }
                schema["description"] = json!(field.about);
            }
            properties.insert(field.name.to_owned(), schema);
        }
        let mut schema = Map::new();
        schema.insert("type".to_owned(), json!(["object", "null"]));
        schema.insert("properties".to_owned(), Value::Object(properties));
        if of.is_closed {
            schema.insert("patternProperties".to_owned(), json!({"^x-": {}}));
        }
        schema.insert("additionalProperties".to_owned(), json!(false));
        if !of.required.is_empty() {
            schema.insert("required".to_owned(), json!(of.required));
        }
        if !of.one_of.is_empty() {
            let each = of.one_of.iter().map(|name| json!({"required": [name]}));
            schema.insert("anyOf".to_owned(), each.collect());
        }
        if of.may_refer {
            let plain = std::mem::take(&mut schema);
            schema.insert(
                "anyOf".to_owned(),
                json!([{"type": "object", "required": ["$ref"]}, plain]),
            );
        }
        schema
    }

    fn shape(&mut self, shape: Shape, way: &str) -> Value {
        let number = |kind: &str, least: Option<u32>, most: Option<u32>| {
            let mut schema = json!({"type": [kind, "null"]});
            if let Some(least) = least {
                schema["minimum"] = json!(least);
            }
            if let Some(most) = most {
                schema["maximum"] = json!(most);
            }
            or_placeholder(&schema)
        };
        match shape {
            Shape::Any => json!({}),
            Shape::Text | Shape::Pattern | Shape::Path | Shape::Address => {
                json!({"type": ["string", "null"]})
            }
            Shape::Filled => json!({"type": ["string", "null"], "pattern": r"\S"}),
            Shape::Domain => or_placeholder(&json!({
                "type": ["string", "null"],
                "pattern": r"^[*a-zA-Z0-9-]+(\.[*a-zA-Z0-9-]+)*(:[0-9]+)?$",
            })),
            Shape::Flag => or_placeholder(&json!({"type": ["boolean", "null"]})),
            Shape::Number => number("number", None, None),
            Shape::Fraction => number("number", Some(0), Some(1)),
            Shape::Whole => number("integer", None, None),
            Shape::Count => number("integer", Some(0), None),
            Shape::Port => number("integer", Some(1), Some(65_535)),
            Shape::Duration(units) => or_placeholder(&json!({
                "type": ["string", "null"],
                "pattern": units.pattern(),
            })),
            Shape::OneOf(texts) | Shape::Known(texts) => {
                let mut values: Vec<Value> = texts.iter().map(|text| json!(text)).collect();
                values.push(Value::Null);
                or_placeholder(&json!({"enum": values}))
            }
            Shape::Object(of) => self.reference(of, way),
            Shape::List(of) | Shape::First(of) => {
                json!({"type": ["array", "null"], "items": self.shape(*of, way)})
            }
            Shape::Map(of) => {
                json!({"type": ["object", "null"], "additionalProperties": self.shape(*of, way)})
            }
        }
    }
}

/// What is filled in later is a text until then.
fn or_placeholder(schema: &Value) -> Value {
    json!({"anyOf": [schema, {"$ref": "#/definitions/placeholder"}]})
}

impl Units {
    fn pattern(self) -> &'static str {
        match self {
            Self::Any => r"^[-+]?(0|([0-9]*\.?[0-9]*(h|m|s|ms|us|µs|μs|ns))+)?$",
            Self::Nanoseconds => {
                "^([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?([0-9]+µs)?([0-9]+ns)?$"
            }
            Self::Seconds => "^([0-9]+h)?([0-9]+m)?([0-9]+s)?$",
            Self::Lifetime => "^(?=.*[1-9])([0-9]+h)?([0-9]+m)?([0-9]+s)?$",
            Self::Timeout => r"^([0-9]+(\.[0-9]+)?m)?([0-9]+(\.[0-9]+)?s)?([0-9]+(\.[0-9]+)?ms)?$",
        }
    }
}
