//! Walks the parsed TOML with its positions. A reader collects problems instead of stopping at the first one,
//! and knows which keys were asked for, so that the others can be called unknown.

use std::{
    borrow::Cow,
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fmt::{Display, Write},
    io::Read as _,
    path::Path,
};

use secrecy::SecretString;
use sha2::{Digest, Sha256};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    ConfigErrors, Environment, Name, Problem, SecretSource, Source, VaultField,
    problem::did_you_mean,
};

const LARGEST_SECRET_FILE: u64 = 64 * 1024;

/// There is no value: a problem says why, or the reader's role has no need of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Absent;

pub(super) type Read<T> = Result<T, Absent>;

/// Whose configuration is read: it decides which secrets are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    All,
    Receiver,
    /// Whoever only reads manifests: no secret is looked up.
    Files,
    /// Whoever owns the database's tables, and changes them.
    Owner,
}

pub(super) struct Reader<'a> {
    text: &'a str,
    base_dir: &'a Path,
    env: Environment<'a>,
    role: Role,
    problems: RefCell<Vec<Problem>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str, base_dir: &'a Path, env: Environment<'a>, role: Role) -> Self {
        Self {
            text,
            base_dir,
            env,
            role,
            problems: RefCell::default(),
        }
    }

    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    pub(super) fn role(&self) -> Role {
        self.role
    }

    pub(super) fn root<'r>(&'r self, table: &'r DeTable<'r>) -> Section<'r> {
        Section {
            reader: self,
            path: String::new(),
            line: None,
            table: Some(table),
            asked: RefCell::default(),
        }
    }

    /// Only the message: the parser's own text would repeat the line, which may hold a misplaced secret.
    pub(super) fn syntax_problem(&self, error: &toml::de::Error) {
        let line = error.span().map(|span| self.line_at(span.start));
        self.problem(line, "", &error.message());
    }

    pub(super) fn finish<T>(self, value: Read<T>) -> Result<T, ConfigErrors> {
        let problems = self.problems.into_inner();
        match value {
            Ok(value) if problems.is_empty() => Ok(value),
            Ok(_) | Err(Absent) => Err(ConfigErrors::new(problems)),
        }
    }

    fn problem(&self, line: Option<usize>, key: &str, message: &dyn Display) -> Absent {
        self.problems.borrow_mut().push(Problem {
            line,
            key: key.to_owned(),
            message: message.to_string(),
        });
        Absent
    }

    fn line_at(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().iter().take(offset);
        1 + before.filter(|byte| **byte == b'\n').count()
    }
}

/// A table of the file, or one that is left out and has only defaults.
pub(super) struct Section<'r> {
    reader: &'r Reader<'r>,
    path: String,
    line: Option<usize>,
    table: Option<&'r DeTable<'r>>,
    asked: RefCell<BTreeSet<&'static str>>,
}

impl<'r> Section<'r> {
    pub(super) fn field(&self, key: &'static str) -> Option<Field<'r>> {
        self.asked.borrow_mut().insert(key);
        let (spanned_key, value) = self.table?.get_key_value(key)?;
        Some(Field {
            reader: self.reader,
            path: self.path_of(key),
            line: self.reader.line_at(spanned_key.span().start),
            value: value.get_ref(),
        })
    }

    pub(super) fn required(&self, key: &'static str) -> Read<Field<'r>> {
        self.field(key)
            .ok_or_else(|| self.missing(key, &"is missing"))
    }

    pub(super) fn missing(&self, key: &'static str, message: &dyn Display) -> Absent {
        self.reader.problem(self.line, &self.path_of(key), message)
    }

    pub(super) fn optional<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&Field<'r>) -> Read<T>,
    ) -> Read<Option<T>> {
        self.field(key).map(|field| read(&field)).transpose()
    }

    pub(super) fn or_default<T>(
        &self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&Field<'r>) -> Read<T>,
    ) -> Read<T> {
        self.field(key).map_or(Ok(default), |field| read(&field))
    }

    /// About the section as a whole.
    pub(super) fn problem(&self, message: &dyn Display) -> Absent {
        self.reader.problem(self.line, &self.path, message)
    }

    pub(super) fn base_dir(&self) -> &'r Path {
        self.reader.base_dir
    }

    /// To be called when every key was asked for.
    pub(super) fn refuse_unknown_keys(&self) {
        let asked = self.asked.borrow();
        for key in self.table.into_iter().flat_map(DeTable::keys) {
            let name = key.get_ref().as_ref();
            if !asked.contains(name) {
                let line = self.reader.line_at(key.span().start);
                let hint = did_you_mean(name, asked.iter().copied());
                self.reader.problem(
                    Some(line),
                    &self.path_of(name),
                    &format!("unknown key{hint}"),
                );
            }
        }
    }

    /// A table at the top of the file that may be left out.
    pub(super) fn section(&self, key: &'static str) -> Section<'r> {
        let field = self.field(key);
        Section {
            reader: self.reader,
            path: key.to_owned(),
            line: field.as_ref().map(|field| field.line),
            table: field.and_then(|field| field.table().ok()),
            asked: RefCell::default(),
        }
    }

    /// A table of this section, with keys of its own.
    pub(super) fn table(&self, key: &'static str) -> Read<Option<Section<'r>>> {
        let Some(field) = self.field(key) else {
            return Ok(None);
        };
        Ok(Some(Section {
            reader: self.reader,
            table: Some(field.table()?),
            path: field.path,
            line: Some(field.line),
            asked: RefCell::default(),
        }))
    }

    /// `[key.one]`, `[key.two]` …
    pub(super) fn named_sections(&self, key: &'static str) -> NamedSections<'r> {
        let mut sections = BTreeMap::new();
        let table = self.field(key).and_then(|field| field.table().ok());
        for (name, value) in table.into_iter().flatten() {
            let field = Field {
                reader: self.reader,
                path: format!("{}.{}", self.path_of(key), key_for_people(name.get_ref())),
                line: self.reader.line_at(name.span().start),
                value: value.get_ref(),
            };
            let name = Name::parse(name.get_ref()).map_err(|error| field.problem(&error));
            let (Ok(name), Ok(table)) = (name, field.table()) else {
                continue;
            };
            let Field {
                reader, path, line, ..
            } = field;
            let section = Section {
                reader,
                path,
                line: Some(line),
                table: Some(table),
                asked: RefCell::default(),
            };
            sections.insert(name, section);
        }
        NamedSections(sections)
    }

    fn path_of(&self, key: &str) -> String {
        let key = key_for_people(key);
        if self.path.is_empty() {
            key
        } else {
            format!("{}.{key}", self.path)
        }
    }
}

pub(super) struct NamedSections<'r>(BTreeMap<Name, Section<'r>>);

impl<'r> NamedSections<'r> {
    /// Also of sections that have problems: a reference to one of them is not another problem.
    pub(super) fn names(&self) -> BTreeSet<&Name> {
        self.0.keys().collect()
    }

    pub(super) fn get(&self, name: &Name) -> Option<&Section<'r>> {
        self.0.get(name)
    }

    pub(super) fn read<T>(
        &self,
        mut read: impl FnMut(&Section<'r>) -> Read<T>,
    ) -> BTreeMap<Name, T> {
        let mut values = BTreeMap::new();
        for (name, section) in &self.0 {
            let value = read(section);
            section.refuse_unknown_keys();
            if let Ok(value) = value {
                values.insert(name.clone(), value);
            }
        }
        values
    }
}

/// A value with its place in the file.
pub(super) struct Field<'r> {
    reader: &'r Reader<'r>,
    path: String,
    line: usize,
    value: &'r DeValue<'r>,
}

impl<'r> Field<'r> {
    pub(super) fn problem(&self, message: &dyn Display) -> Absent {
        self.reader.problem(Some(self.line), &self.path, message)
    }

    /// The key, from the top of the file.
    pub(super) fn place(&self) -> String {
        self.path.clone()
    }

    pub(super) fn parse<T, E: Display>(&self, parse: impl FnOnce(&str) -> Result<T, E>) -> Read<T> {
        let text = self
            .value
            .as_str()
            .ok_or_else(|| self.wrong_type("a string"))?;
        parse(text).map_err(|error| self.problem(&error))
    }

    pub(super) fn boolean(&self) -> Read<bool> {
        self.value
            .as_bool()
            .ok_or_else(|| self.wrong_type("true or false"))
    }

    pub(super) fn count(&self) -> Read<u32> {
        self.value
            .as_integer()
            .and_then(|integer| u32::from_str_radix(integer.as_str(), integer.radix()).ok())
            .ok_or_else(|| self.problem(&"must be a whole number, 0 or more"))
    }

    pub(super) fn items(&self) -> Read<Vec<Field<'r>>> {
        let items = self
            .value
            .as_array()
            .ok_or_else(|| self.wrong_type("a list"))?;
        let item = |(index, item): (usize, &'r Spanned<DeValue<'r>>)| Field {
            reader: self.reader,
            path: format!("{}[{index}]", self.path),
            line: self.reader.line_at(item.span().start),
            value: item.get_ref(),
        };
        Ok(items.iter().enumerate().map(item).collect())
    }

    /// Whatever the file says, as JSON.
    pub(super) fn json(&self) -> Read<serde_json::Value> {
        json(self.value).ok_or_else(|| self.problem(&"holds a number that JSON cannot hold"))
    }

    /// A table in a list, with keys of its own.
    pub(super) fn section(&self) -> Read<Section<'r>> {
        Ok(Section {
            reader: self.reader,
            path: self.path.clone(),
            line: Some(self.line),
            table: Some(self.table()?),
            asked: RefCell::default(),
        })
    }

    /// The members of a table with free keys, in their order.
    pub(super) fn entries(&self) -> Read<Vec<(&'r str, Field<'r>)>> {
        let entry = |(key, value): (&'r Spanned<Cow<'r, str>>, &'r Spanned<DeValue<'r>>)| {
            let name = key.get_ref().as_ref();
            let field = Field {
                reader: self.reader,
                path: format!("{}.{}", self.path, key_for_people(name)),
                line: self.reader.line_at(key.span().start),
                value: value.get_ref(),
            };
            (name, field)
        };
        Ok(self.table()?.iter().map(entry).collect())
    }

    pub(super) fn is_text(&self) -> bool {
        self.value.is_str()
    }

    /// The name of a section of another kind.
    pub(super) fn name_among(&self, kind: &str, names: &BTreeSet<&Name>) -> Read<Name> {
        let name = self.parse(Name::parse)?;
        if names.contains(&name) {
            return Ok(name);
        }
        let mut hint = did_you_mean(name.as_str(), names.iter().map(|name| name.as_str()));
        if hint.is_empty() && names.is_empty() {
            hint = format!("; the file has no [{kind}.…] section");
        }
        Err(self.problem(&format!("there is no {kind} \"{name}\"{hint}")))
    }

    /// Follows a reference that receivers need as well as workers.
    pub(super) fn secret(&self) -> Read<SecretString> {
        self.secret_of(&[Role::All, Role::Receiver])
    }

    /// Follows a reference that only a worker needs; for others it is checked for its form.
    pub(super) fn worker_secret(&self) -> Read<SecretString> {
        self.secret_of(&[Role::All])
    }

    pub(super) fn secret_of(&self, roles: &[Role]) -> Read<SecretString> {
        let reference = self.reference()?;
        if roles.contains(&self.reader.role) {
            self.follow(&reference)
        } else {
            Err(Absent)
        }
    }

    /// A reference that only a worker needs, and whose file is read again later.
    pub(super) fn source(&self) -> Read<Source> {
        let reference = self.reference()?;
        if self.reader.role != Role::All {
            return Err(Absent);
        }
        match reference {
            Reference::File(path) => Ok(Source::File(self.reader.base_dir.join(path))),
            Reference::Env(_) => self.follow(&reference).map(Source::Given),
        }
    }

    /// A secret of a stack. What it says is not needed at start, and is read again later; one that
    /// cannot be read concerns what refers to it alone.
    pub(super) fn secret_source(&self) -> Read<SecretSource> {
        const FORMS: &str = "secrets are given by reference: { env = \"NAME\" }, { file = \"path\" } or { vault = \"mount/path#field\" }, so that they stay out of this file";
        if let Some(table) = self.value.as_table()
            && let Some(place) = table.get("vault")
        {
            let (Some(place), 1) = (place.get_ref().as_str(), table.len()) else {
                return Err(self.problem(&FORMS));
            };
            return VaultField::parse(place)
                .map(SecretSource::Vault)
                .map_err(|error| self.problem(&format!("vault {error}")));
        }
        if self.value.as_table().is_none() {
            return Err(self.problem(&FORMS));
        }
        let reference = self.reference()?;
        if self.reader.role == Role::Receiver {
            return Err(Absent);
        }
        Ok(match reference {
            Reference::File(path) => {
                SecretSource::Here(Source::File(self.reader.base_dir.join(path)))
            }
            Reference::Env(name) => match (self.reader.env)(name) {
                Some(value) => SecretSource::Here(Source::Given(value.into())),
                None => SecretSource::NotSet {
                    variable: variable_for_people(name),
                },
            },
        })
    }

    fn reference(&self) -> Read<Reference<'r>> {
        let Some(table) = self.value.as_table() else {
            return Err(self.problem(
                &"secrets are given by reference: { env = \"NAME\" } or { file = \"path\" }, so that they stay out of this file",
            ));
        };
        let entries: Vec<_> = table
            .iter()
            .map(|(key, value)| (key.get_ref().as_ref(), value.get_ref().as_str()))
            .collect();
        match entries.as_slice() {
            [("env", Some(name))] if is_variable_name(name) => Ok(Reference::Env(name)),
            [("env", Some(_))] => {
                // Not repeated: whoever mistakes `env` for the place of the value has put it there.
                Err(self.problem(&"env takes the name of an environment variable: letters, digits and _"))
            }
            [("file", Some(path))] if !path.is_empty() => Ok(Reference::File(path)),
            _ => Err(self.problem(
                &"a reference is either { env = \"NAME\" } or { file = \"path\" }, and nothing else",
            )),
        }
    }

    fn follow(&self, reference: &Reference<'_>) -> Read<SecretString> {
        let (value, source) = match reference {
            Reference::Env(name) => {
                let value = (self.reader.env)(name).ok_or_else(|| {
                    self.problem(&format!("{} is not set", variable_for_people(name)))
                })?;
                (value, variable_for_people(name))
            }
            Reference::File(path) => {
                let path = self.reader.base_dir.join(path);
                let value = read_secret_file(&path).map_err(|error| {
                    self.problem(&format!("cannot read {}: {error}", path.display()))
                })?;
                (value, format!("the file {}", path.display()))
            }
        };
        // Editors and `echo` leave a line break at the end, which is never part of a secret.
        let value = value.trim_end_matches(['\n', '\r']);
        if value.trim().is_empty() {
            return Err(self.problem(&format!("{source} is empty")));
        }
        Ok(value.into())
    }

    fn table(&self) -> Read<&'r DeTable<'r>> {
        self.value
            .as_table()
            .ok_or_else(|| self.wrong_type("a table"))
    }

    fn wrong_type(&self, expected: &str) -> Absent {
        self.problem(&format!(
            "must be {expected}, not {}",
            type_for_people(self.value)
        ))
    }
}

enum Reference<'r> {
    Env(&'r str),
    File(&'r str),
}

/// Hashes what the file says, not how: order, comments, quotes and the base of numbers do not count.
pub(super) fn canonical_hash(table: &DeTable<'_>) -> String {
    let mut text = String::new();
    write_canonical_table(table, &mut text);
    hex::encode(Sha256::digest(text))
}

/// What the file says, key by key: the same text for the same value, however it is written.
pub(super) fn canonical_keys(table: &DeTable<'_>) -> BTreeMap<String, String> {
    let mut keys = BTreeMap::new();
    collect_keys(table, "", &mut keys);
    keys
}

fn collect_keys(table: &DeTable<'_>, above: &str, keys: &mut BTreeMap<String, String>) {
    for (key, value) in table {
        let path = format!("{above}{}", key.get_ref());
        match value.get_ref() {
            DeValue::Table(table) => collect_keys(table, &format!("{path}."), keys),
            value => {
                let mut text = String::new();
                write_canonical(value, &mut text);
                keys.insert(path, text);
            }
        }
    }
}

fn write_canonical_table(table: &DeTable<'_>, text: &mut String) {
    let sorted: BTreeMap<&str, &DeValue<'_>> = table
        .iter()
        .map(|(key, value)| (key.get_ref().as_ref(), value.get_ref()))
        .collect();
    text.push('{');
    for (key, value) in sorted {
        let _ = write!(text, "{key:?}=");
        write_canonical(value, text);
        text.push(',');
    }
    text.push('}');
}

fn write_canonical(value: &DeValue<'_>, text: &mut String) {
    match value {
        DeValue::Table(table) => write_canonical_table(table, text),
        DeValue::Array(items) => {
            text.push('[');
            for item in items {
                write_canonical(item.get_ref(), text);
                text.push(',');
            }
            text.push(']');
        }
        DeValue::String(string) => {
            let _ = write!(text, "{string:?}");
        }
        DeValue::Integer(integer) => {
            // No key takes a number that does not fit; a file with one is refused before its hash is used.
            let number = i64::from_str_radix(integer.as_str(), integer.radix()).unwrap_or_default();
            let _ = write!(text, "{number}");
        }
        DeValue::Boolean(boolean) => {
            let _ = write!(text, "{boolean}");
        }
        DeValue::Float(float) => text.push_str(float.as_str()),
        DeValue::Datetime(datetime) => {
            let _ = write!(text, "{datetime}");
        }
    }
}

fn json(value: &DeValue<'_>) -> Option<serde_json::Value> {
    Some(match value {
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .ok()?
            .into(),
        DeValue::Float(float) => {
            let float: f64 = float.as_str().replace('_', "").parse().ok()?;
            serde_json::Number::from_f64(float)?.into()
        }
        DeValue::Boolean(boolean) => (*boolean).into(),
        DeValue::Datetime(datetime) => datetime.to_string().into(),
        DeValue::Array(items) => items
            .iter()
            .map(|item| json(item.get_ref()))
            .collect::<Option<_>>()?,
        DeValue::Table(table) => {
            let member = |(name, value): (&Spanned<Cow<'_, str>>, &Spanned<DeValue<'_>>)| {
                Some((name.get_ref().clone().into_owned(), json(value.get_ref())?))
            };
            serde_json::Value::Object(table.iter().map(member).collect::<Option<_>>()?)
        }
    })
}

pub(super) fn read_secret_file(path: &Path) -> Result<String, std::io::Error> {
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(LARGEST_SECRET_FILE + 1)
        .read_to_string(&mut text)?;
    let is_too_large = u64::try_from(text.len()).is_ok_and(|length| length > LARGEST_SECRET_FILE);
    if is_too_large {
        return Err(std::io::Error::other("it is larger than 64 KiB"));
    }
    Ok(text)
}

fn is_variable_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(is_plain)
}

/// A name in the usual upper case is shown. Any other may be a token that was put in the wrong place.
fn variable_for_people(name: &str) -> String {
    if name.contains(|character: char| character.is_ascii_lowercase()) {
        "the environment variable that it names".to_owned()
    } else {
        format!("the environment variable {name}")
    }
}

/// A key that is not plain is quoted, so that a problem is always one line.
fn key_for_people(key: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !key.is_empty() && key.bytes().all(is_plain) {
        key.to_owned()
    } else {
        format!("{key:?}")
    }
}

fn type_for_people(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
