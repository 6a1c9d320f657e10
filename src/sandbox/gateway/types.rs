//! The wire types of the gateway, as data: which members an object has, of what type, and which
//! of them vanish when they are zero. A definition is kept sparse (the members that were sent)
//! and written out in full, the way the gateway does. It never judges a value beyond its type.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::OnceLock;

use serde_json::{Map, Number, Value};

use super::duration;

/// A value does not fit its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Misfit;

#[derive(Debug, Clone)]
pub enum Type {
    Bool,
    Int,
    Unsigned { max: u64 },
    Float,
    Text,
    Duration,
    ObjectId,
    Time,
    Raw,
    Any,
    Pointer(Box<Type>),
    List(Box<Type>),
    Map(Box<Type>),
    Struct(usize),
}

#[derive(Debug)]
pub struct Field {
    pub name: String,
    pub ty: Type,
    omit: Omit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Omit {
    Never,
    Empty,
    Zero,
}

#[derive(Debug)]
pub struct Struct {
    pub fields: Vec<Field>,
    exact: HashMap<String, usize>,
    folded: HashMap<String, usize>,
    zero: OnceLock<String>,
}

#[derive(Debug)]
pub struct Types {
    structs: Vec<Struct>,
    names: HashMap<String, usize>,
    titles: Vec<String>,
}

/// The table, read once.
pub fn types() -> &'static Types {
    static TYPES: OnceLock<Types> = OnceLock::new();
    TYPES.get_or_init(|| Types::read(include_str!("types.json")))
}

impl Types {
    pub fn named(&self, name: &str) -> Type {
        Type::Struct(
            *self
                .names
                .get(name)
                .expect("the names asked for stand in types.json"),
        )
    }

    pub fn name(&self, index: usize) -> &str {
        &self.titles[index]
    }

    /// The members of a struct type, through pointers.
    pub fn fields(&self, ty: &Type) -> Option<&Struct> {
        match ty {
            Type::Struct(index) => Some(&self.structs[*index]),
            Type::Pointer(inner) => self.fields(inner),
            _ => None,
        }
    }

    /// Reads a JSON value as the type: unknown members are dropped, names match without regard
    /// to case, null leaves a member absent.
    pub fn decode(&self, ty: &Type, value: &Value) -> Result<Value, Misfit> {
        if value.is_null() {
            return Ok(Value::Null);
        }
        match ty {
            Type::Bool => keep_if(value, value.is_boolean()),
            Type::Text | Type::Time => keep_if(value, value.is_string()),
            Type::Int => keep_if(value, value.is_i64()),
            Type::Unsigned { max } => {
                keep_if(value, value.as_u64().is_some_and(|number| number <= *max))
            }
            Type::Float => match value {
                Value::Number(number) => Ok(Value::Number(through_float(number))),
                _ => Err(Misfit),
            },
            Type::Duration => {
                let text = value.as_str().ok_or(Misfit)?;
                Ok(Value::String(duration::canonical(text)))
            }
            Type::ObjectId => {
                let text = value.as_str().ok_or(Misfit)?;
                let hex = text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
                if !(hex || text.is_empty()) {
                    return Err(Misfit);
                }
                Ok(Value::String(text.to_ascii_lowercase()))
            }
            Type::Raw => Ok(value.clone()),
            Type::Any => Ok(loose(value)),
            Type::Pointer(inner) => self.decode(inner, value),
            Type::List(inner) => {
                let list = value.as_array().ok_or(Misfit)?;
                list.iter()
                    .map(|item| self.decode(inner, item))
                    .collect::<Result<Vec<_>, _>>()
                    .map(Value::Array)
            }
            Type::Map(inner) => {
                let map = value.as_object().ok_or(Misfit)?;
                let mut out = Map::new();
                for (key, item) in map {
                    out.insert(key.clone(), self.decode(inner, item)?);
                }
                Ok(Value::Object(out))
            }
            Type::Struct(index) => {
                let map = value.as_object().ok_or(Misfit)?;
                let shape = &self.structs[*index];
                let mut out = Map::new();
                for (key, item) in map {
                    let Some(field) = shape.field(key) else {
                        continue;
                    };
                    let item = self.decode(&field.ty, item)?;
                    if !item.is_null() {
                        out.insert(field.name.clone(), item);
                    }
                }
                Ok(Value::Object(out))
            }
        }
    }

    /// The full text of a sparse value.
    pub fn encode(&self, ty: &Type, value: &Value) -> String {
        let mut out = String::with_capacity(1024);
        self.write(ty, Some(value), &mut out);
        out
    }

    /// Whether the value is the zero value of the type, however it was spelled.
    pub fn is_zero(&self, ty: &Type, value: &Value) -> bool {
        match (ty, value) {
            (_, Value::Null) => true,
            (Type::Pointer(_) | Type::List(_) | Type::Map(_) | Type::Any | Type::Raw, _) => false,
            (_, Value::Bool(flag)) => !flag,
            (_, Value::Number(number)) => number.as_f64() == Some(0.0),
            (Type::Duration, Value::String(text)) => text == "0s",
            (_, Value::String(text)) => text.is_empty(),
            (Type::Struct(index), Value::Object(map)) => self.fields(ty).is_some_and(|shape| {
                // A limit counts as absent whatever is said of its smoothing.
                let blind = self.name(*index) == "user.APILimit";
                map.iter().all(|(key, item)| {
                    shape.field(key).is_none_or(|field| {
                        (blind && field.name == "smoothing") || self.is_zero(&field.ty, item)
                    })
                })
            }),
            _ => false,
        }
    }

    fn write(&self, ty: &Type, value: Option<&Value>, out: &mut String) {
        let value = value.filter(|value| !value.is_null());
        match (ty, value) {
            (Type::Struct(index), None) => out.push_str(self.zero_text(*index)),
            (Type::Struct(index), Some(Value::Object(map))) => self.write_struct(*index, map, out),
            (Type::Pointer(inner), Some(value)) => self.write(inner, Some(value), out),
            (Type::List(inner), Some(Value::Array(items))) => {
                out.push('[');
                for (position, item) in items.iter().enumerate() {
                    if position > 0 {
                        out.push(',');
                    }
                    self.write(inner, Some(item), out);
                }
                out.push(']');
            }
            (Type::Map(inner), Some(Value::Object(map))) => {
                out.push('{');
                for (position, (key, item)) in map.iter().enumerate() {
                    if position > 0 {
                        out.push(',');
                    }
                    write_text(key, out);
                    out.push(':');
                    self.write(inner, Some(item), out);
                }
                out.push('}');
            }
            // The text as it came, less the spaces.
            (Type::Raw, Some(value)) => out.push_str(&value.to_string()),
            (_, Some(value)) => write_value(value, out),
            (Type::Bool, None) => out.push_str("false"),
            (Type::Int | Type::Unsigned { .. } | Type::Float, None) => out.push('0'),
            (Type::Text | Type::ObjectId | Type::Time, None) => out.push_str("\"\""),
            (Type::Duration, None) => out.push_str("\"0s\""),
            (_, None) => out.push_str("null"),
        }
    }

    fn write_struct(&self, index: usize, map: &Map<String, Value>, out: &mut String) {
        out.push('{');
        let mut first = true;
        for field in &self.structs[index].fields {
            let value = map.get(&field.name).filter(|value| !value.is_null());
            let omitted = match field.omit {
                Omit::Never => false,
                Omit::Empty => value.map_or_else(
                    || !matches!(field.ty, Type::Struct(_)),
                    |value| self.is_empty(&field.ty, value),
                ),
                Omit::Zero => value.is_none_or(|value| self.is_zero(&field.ty, value)),
            };
            if omitted {
                continue;
            }
            if !first {
                out.push(',');
            }
            first = false;
            write_text(&field.name, out);
            out.push(':');
            self.write(&field.ty, value, out);
        }
        out.push('}');
    }

    fn is_empty(&self, ty: &Type, value: &Value) -> bool {
        match ty {
            Type::Struct(_) | Type::Pointer(_) | Type::Any => false,
            Type::List(_) | Type::Map(_) | Type::Raw => match value {
                Value::Array(items) => items.is_empty(),
                Value::Object(map) => map.is_empty(),
                _ => false,
            },
            _ => self.is_zero(ty, value),
        }
    }

    fn zero_text(&self, index: usize) -> &str {
        self.structs[index].zero.get_or_init(|| {
            let mut out = String::new();
            self.write_struct(index, &Map::new(), &mut out);
            out
        })
    }

    fn read(text: &str) -> Self {
        let table: Vec<(String, Vec<Vec<String>>)> =
            serde_json::from_str::<std::collections::BTreeMap<String, Vec<Vec<String>>>>(text)
                .expect("types.json is a table of types")
                .into_iter()
                .collect();
        let names: HashMap<String, usize> = table
            .iter()
            .enumerate()
            .map(|(index, (name, _))| (name.clone(), index))
            .collect();
        let structs = table
            .into_iter()
            .map(|(_, fields)| {
                let fields: Vec<Field> = fields
                    .into_iter()
                    .map(|field| Field {
                        name: field[0].clone(),
                        ty: parse(&field[1], &names).0,
                        omit: match field.get(2).map(String::as_str) {
                            Some("omitempty") => Omit::Empty,
                            Some("omitzero") => Omit::Zero,
                            _ => Omit::Never,
                        },
                    })
                    .collect();
                let by = |key: fn(&str) -> String| {
                    fields
                        .iter()
                        .enumerate()
                        .map(|(index, field)| (key(&field.name), index))
                        .collect()
                };
                Struct {
                    exact: by(str::to_owned),
                    folded: by(str::to_lowercase),
                    zero: OnceLock::new(),
                    fields,
                }
            })
            .collect();
        let mut titles = vec![String::new(); names.len()];
        for (name, index) in &names {
            titles[*index].clone_from(name);
        }
        Self {
            structs,
            names,
            titles,
        }
    }
}

impl Struct {
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.exact
            .get(name)
            .or_else(|| self.folded.get(&name.to_lowercase()))
            .map(|index| &self.fields[*index])
    }
}

/// A JSON text as the gateway writes it: members in the order of the map, `<`, `>` and `&`
/// escaped, whole numbers without a fraction.
pub fn write_value(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => write_number(number, out),
        Value::String(text) => write_text(text, out),
        Value::Array(items) => {
            out.push('[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                write_value(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            out.push('{');
            for (position, (key, item)) in map.iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                write_text(key, out);
                out.push(':');
                write_value(item, out);
            }
            out.push('}');
        }
    }
}

pub fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

fn write_number(number: &Number, out: &mut String) {
    if number.is_i64() || number.is_u64() {
        let _ = write!(out, "{number}");
        return;
    }
    let float = number.as_f64().unwrap_or_default();
    let size = float.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{float:e}");
        match text.split_once('e') {
            Some((mantissa, exponent)) if !exponent.starts_with('-') => {
                let _ = write!(out, "{mantissa}e+{exponent}");
            }
            _ => out.push_str(&text),
        }
    } else {
        let _ = write!(out, "{float}");
    }
}

/// A value that the gateway holds without a type: its numbers are floats.
pub fn loose(value: &Value) -> Value {
    match value {
        Value::Number(number) => Value::Number(through_float(number)),
        Value::Array(items) => Value::Array(items.iter().map(loose).collect()),
        Value::Object(map) => Value::Object(
            map.iter()
                .map(|(key, item)| (key.clone(), loose(item)))
                .collect(),
        ),
        other => other.clone(),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a whole float below 2^63 fits, and the loss above 2^53 is what is imitated"
)]
fn through_float(number: &Number) -> Number {
    let Some(float) = number.as_f64() else {
        return number.clone();
    };
    if float.fract() == 0.0 && float.abs() < 9.2e18 {
        Number::from(float as i64)
    } else {
        Number::from_f64(float).unwrap_or_else(|| number.clone())
    }
}

fn keep_if(value: &Value, fits: bool) -> Result<Value, Misfit> {
    if fits { Ok(value.clone()) } else { Err(Misfit) }
}

/// `*` pointer, `[` list, `{string,` map, `@` struct.
fn parse<'text>(text: &'text str, names: &HashMap<String, usize>) -> (Type, &'text str) {
    if let Some(rest) = text.strip_prefix('*') {
        let (inner, rest) = parse(rest, names);
        return (Type::Pointer(Box::new(inner)), rest);
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (inner, rest) = parse(rest, names);
        return (Type::List(Box::new(inner)), rest);
    }
    if let Some(rest) = text.strip_prefix("{string,") {
        let (inner, rest) = parse(rest, names);
        return (Type::Map(Box::new(inner)), rest);
    }
    if let Some(name) = text.strip_prefix('@') {
        let index = names.get(name).expect("every type named is in the table");
        return (Type::Struct(*index), "");
    }
    let ty = match text {
        "bool" => Type::Bool,
        "int" | "int64" => Type::Int,
        "uint16" => Type::Unsigned {
            max: u64::from(u16::MAX),
        },
        "uint64" => Type::Unsigned { max: u64::MAX },
        "float64" => Type::Float,
        "duration" => Type::Duration,
        "objectid" => Type::ObjectId,
        "time" => Type::Time,
        "raw" => Type::Raw,
        "any" => Type::Any,
        _ => Type::Text,
    };
    (ty, "")
}
