//! The text of a file: parsed once within its bounds, and searched for positions only when there
//! is a problem to show.

use std::{fmt, sync::OnceLock};

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy};

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
            self.parse_json(text)?
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

    fn parse_json(&self, text: &str) -> Result<Vec<Value>, Problem> {
        if text.trim().is_empty() {
            return Ok(Vec::new());
        }
        let Unambiguous(value) = serde_json::from_str(text).map_err(|error| {
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
        let mut options = serde_saphyr::options! {
            budget: serde_saphyr::budget! {
                max_depth: limits.depth,
                max_nodes: limits.nodes,
                max_aliases: limits.aliases,
                max_documents: limits.documents,
            },
            with_snippet: false,
            emit_comments: false,
        };
        // What kubectl reads is YAML 1.1 where it matters; OpenAPI is YAML 1.2.
        if text.contains("apiVersion:") && text.contains("kind:") {
            options.legacy_octal_numbers = true;
        } else {
            options.strict_booleans = true;
            options.leading_zero_numbers_as_strings = true;
        }
        if let Some(values) = plain(text, options.clone()) {
            return Ok(values);
        }
        // It has merge keys, or something is wrong: this says what, and where.
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

/// YAML without merge keys, as most of it is: a parser that need not merge, and leaves it to us that
/// no name stands twice, does not have to remember the names. `None` for what is not to be read so.
fn plain(text: &str, mut options: serde_saphyr::Options) -> Option<Vec<Value>> {
    options.merge_keys = MergeKeyPolicy::Error;
    options.duplicate_keys = DuplicateKeyPolicy::PassThrough;
    let values = serde_saphyr::from_multiple_with_options::<Unambiguous>(text, options).ok()?;
    Some(values.into_iter().map(|Unambiguous(value)| value).collect())
}

/// A value in which no object names a member twice: which of the two was meant, nobody can tell.
struct Unambiguous(Value);

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Unique).map(Self)
    }
}

struct Unique;

impl<'de> Visitor<'de> for Unique {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
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
        while let Some(Unambiguous(item)) = access.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            if members.contains_key(&name) {
                return Err(A::Error::custom(format_args!(
                    "the member {name:?} stands twice"
                )));
            }
            let Unambiguous(member) = access.next_value()?;
            members.insert(name, member);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// YAML in which names stand twice, and anchors, aliases and merges stand, more often than
    /// people write them.
    fn yaml() -> impl Strategy<Value = String> {
        let name = prop_oneof![
            3 => "[abc]",
            1 => Just("<<".to_owned()),
            1 => Just("'<<'".to_owned()),
            1 => Just("\"a\"".to_owned()),
            1 => Just("? a\n".to_owned()),
            1 => Just("!!str b".to_owned()),
            1 => Just("&n c".to_owned()),
            1 => Just("*n ".to_owned()),
            1 => Just("true".to_owned()),
        ];
        let leaf = prop_oneof![
            Just("1".to_owned()),
            Just("0x1f".to_owned()),
            Just("017".to_owned()),
            Just("yes".to_owned()),
            Just("~".to_owned()),
            Just("1e3".to_owned()),
            Just(".nan".to_owned()),
            Just("\"a # b\"".to_owned()),
            Just("c # of it".to_owned()),
            Just("!!binary aGk=".to_owned()),
            Just("99999999999999999999".to_owned()),
            Just("*m".to_owned()),
            Just("&m {a: 1, b: 2}".to_owned()),
            Just("[&m {c: 3}, *m]".to_owned()),
        ];
        let member =
            (name, leaf, 0..3_usize, any::<bool>()).prop_map(|(name, leaf, depth, opens)| {
                let indent = "  ".repeat(depth);
                if opens {
                    format!("{indent}{name}:\n")
                } else {
                    format!("{indent}{name}: {leaf}\n")
                }
            });
        let line = prop_oneof![8 => member, 1 => Just("---\n".to_owned()), 1 => Just("# said\n".to_owned())];
        proptest::collection::vec(line, 0..8).prop_map(|lines| lines.concat())
    }

    proptest! {
        #[test]
        fn a_plain_reading_finds_what_a_careful_one_finds_or_nothing(text in yaml()) {
            let options = serde_saphyr::options! { emit_comments: false };
            let careful = serde_saphyr::from_multiple_with_options::<Value>(&text, options.clone());
            if let Some(values) = plain(&text, options) {
                prop_assert_eq!(Some(values), careful.ok());
            }
        }
    }

    #[test]
    fn a_name_that_stands_twice_is_refused_where_it_stands_and_a_merge_is_followed() {
        let parse = |text: &str| {
            let file = SourceFile {
                path: "a.yaml".to_owned(),
                bytes: text.as_bytes().to_vec(),
            };
            let documents = Source::new(&file).parse(&Limits::default());
            documents
                .map(|documents| {
                    let values = documents.into_iter().map(|document| document.value);
                    values.collect::<Value>().to_string()
                })
                .map_err(|problem| (problem.line, problem.column))
        };
        assert_eq!(parse("a: 1\nb:\n  c: 1\n  c: 2\n"), Err((4, 3)));
        assert_eq!(parse("a: 1\n\"a\": 2\n"), Err((2, 1)));
        assert_eq!(
            parse("a: &a {x: 1}\nb: {<<: *a, y: 2}\n"),
            Ok(r#"[{"a":{"x":1},"b":{"x":1,"y":2}}]"#.to_owned())
        );
        assert_eq!(parse("b: {<<: {x: 1}, y: 2, y: 3}\n"), Err((1, 23)));
    }
}
