//! The text of a file: parsed once within its bounds, and searched for positions only when there
//! is a problem to show.

use std::{collections::BTreeSet, fmt, sync::OnceLock};

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{Limits, Problem, SourceFile};

/// One document of a file.
#[derive(Debug)]
pub(super) struct Document {
    pub index: usize,
    pub value: Value,
}

/// A file, and where things stand in it.
pub(super) struct Source<'f> {
    file: &'f SourceFile,
    /// Every node's position, by document and pointer; made when the first is asked for.
    marked: OnceLock<Vec<MarkedYaml<'f>>>,
}

impl<'f> Source<'f> {
    pub fn new(file: &'f SourceFile) -> Self {
        Self {
            file,
            marked: OnceLock::new(),
        }
    }

    pub fn file(&self) -> &'f SourceFile {
        self.file
    }

    /// The documents of the file. Empty ones are passed over.
    pub fn parse(&self, limits: &Limits) -> Result<Vec<Document>, Problem> {
        let bytes = &self.file.bytes;
        if bytes.len() > limits.file_bytes {
            return Err(self.problem(
                0,
                0,
                format!(
                    "the file has {} bytes, and {} are allowed",
                    bytes.len(),
                    limits.file_bytes
                ),
                Some("split it"),
            ));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let before = &bytes[..error.valid_up_to()];
            let line = before.split(|&byte| byte == b'\n').count();
            self.problem(line as u64, 1, "the file is not UTF-8".to_owned(), None)
        })?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let is_json = self.file.path.to_ascii_lowercase().ends_with(".json");
        let values = if is_json {
            self.parse_json(text, limits)?
        } else {
            self.parse_yaml(text, limits)?
        };
        let mut nodes = 0;
        for value in &values {
            self.within_bounds(value, limits.depth, limits.nodes, &mut nodes)?;
        }
        Ok(values
            .into_iter()
            .enumerate()
            .map(|(index, value)| Document { index, value })
            .collect())
    }

    fn parse_json(&self, text: &str, _limits: &Limits) -> Result<Vec<Value>, Problem> {
        if text.trim().is_empty() {
            return Ok(Vec::new());
        }
        let mut json = serde_json::Deserializer::from_str(text);
        let value = Unique
            .deserialize(&mut json)
            .and_then(|value| json.end().map(|()| value))
            .map_err(|error| {
                let place = format!(" at line {} column {}", error.line(), error.column());
                let message = error.to_string().replace(&place, "");
                self.problem(
                    error.line() as u64,
                    error.column() as u64,
                    format!("the file is not JSON: {message}"),
                    None,
                )
            })?;
        Ok(vec![value])
    }

    fn parse_yaml(&self, text: &str, limits: &Limits) -> Result<Vec<Value>, Problem> {
        let budget = serde_saphyr::budget! {
            max_depth: limits.depth,
            max_nodes: limits.nodes,
            max_aliases: limits.aliases,
            max_documents: limits.documents,
        };
        // What kubectl reads is YAML 1.1 where it matters; OpenAPI is YAML 1.2.
        let is_kubernetes = text.contains("apiVersion:") && text.contains("kind:");
        let options = if is_kubernetes {
            serde_saphyr::options! {
                budget: budget,
                legacy_octal_numbers: true,
                with_snippet: false,
            }
        } else {
            serde_saphyr::options! {
                budget: budget,
                strict_booleans: true,
                leading_zero_numbers_as_strings: true,
                with_snippet: false,
            }
        };
        serde_saphyr::from_multiple_with_options::<Value>(text, options).map_err(|error| {
            let location = error.location();
            let (line, column) =
                location.map_or((0, 0), |location| (location.line(), location.column()));
            let message = error.without_snippet().to_string();
            let message = message.lines().next().unwrap_or_default();
            let message = message.split(" at line ").next().unwrap_or(message);
            self.problem(
                line,
                column,
                format!("the file is not YAML that can be read: {message}"),
                Some(if text.contains("{{") {
                    "if it is a template of Helm, run helm template and commit the built output instead"
                } else {
                    "a document that cannot be read would look as if its objects were gone"
                }),
            )
        })
    }

    fn within_bounds(
        &self,
        value: &Value,
        depth: usize,
        most: usize,
        nodes: &mut usize,
    ) -> Result<(), Problem> {
        *nodes += 1;
        if *nodes > most {
            let message = format!("the file has more than {most} values");
            return Err(self.problem(0, 0, message, Some("split it")));
        }
        if depth == 0 {
            return Err(self.problem(0, 0, "the file is nested too deeply".to_owned(), None));
        }
        match value {
            Value::Array(items) => items
                .iter()
                .try_for_each(|item| self.within_bounds(item, depth - 1, most, nodes)),
            Value::Object(members) => members
                .values()
                .try_for_each(|member| self.within_bounds(member, depth - 1, most, nodes)),
            Value::Number(number) => match number.as_f64() {
                // A whole number that does not fit 64 bits was rounded on the way here.
                Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() >= 1e18 => {
                    Err(self.problem(
                        0,
                        0,
                        "the file holds a whole number that is too large to be kept exactly"
                            .to_owned(),
                        Some("write it as a text if it is not meant as a number"),
                    ))
                }
                _ => Ok(()),
            },
            Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
        }
    }

    fn problem(&self, line: u64, column: u64, message: String, fix: Option<&str>) -> Problem {
        Problem {
            file: self.file.path.clone(),
            line,
            column,
            document: 0,
            pointer: String::new(),
            message,
            fix: fix.map(str::to_owned),
        }
    }

    /// The line and column, from 1, of what stands at a pointer; of the nearest thing around it
    /// when there is nothing.
    pub fn locate(&self, document: usize, pointer: &str) -> (u64, u64) {
        let documents = self.marked.get_or_init(|| {
            let text = std::str::from_utf8(&self.file.bytes).unwrap_or_default();
            let text = text.strip_prefix('\u{feff}').unwrap_or(text);
            let mut documents = MarkedYaml::load_from_str(text).unwrap_or_default();
            documents.retain(|document| !is_null(document));
            documents
        });
        let Some(mut node) = documents.get(document) else {
            return (0, 0);
        };
        let mut place = (node.span.start.line(), node.span.start.col());
        for token in pointer.split('/').skip(1) {
            let token = token.replace("~1", "/").replace("~0", "~");
            let next = match &node.data {
                YamlData::Mapping(members) => members.iter().find_map(|(name, member)| {
                    let is_it = name.data.as_str() == Some(token.as_str());
                    is_it.then_some((name.span.start, member))
                }),
                YamlData::Sequence(items) => token
                    .parse::<usize>()
                    .ok()
                    .and_then(|index| items.get(index))
                    .map(|item| (item.span.start, item)),
                _ => None,
            };
            let Some((start, member)) = next else {
                break;
            };
            place = (start.line(), start.col());
            node = member;
        }
        (place.0 as u64, place.1 as u64 + 1)
    }
}

fn is_null(node: &MarkedYaml<'_>) -> bool {
    matches!(
        &node.data,
        YamlData::Value(Scalar::Null) | YamlData::BadValue
    )
}

/// A JSON value in which no object names a member twice: which of the two was meant, nobody can
/// tell.
struct Unique;

impl<'de> DeserializeSeed<'de> for Unique {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(Unique)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        let mut seen = BTreeSet::new();
        while let Some(name) = access.next_key::<String>()? {
            if !seen.insert(name.clone()) {
                return Err(A::Error::custom(format_args!(
                    "the member {name:?} stands twice"
                )));
            }
            let member = access.next_value_seed(Unique)?;
            members.insert(name, member);
        }
        Ok(Value::Object(members))
    }
}
