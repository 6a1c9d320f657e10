//! What is wrong with a configuration, in words that name the line, the key and the cure. Values that may be
//! secrets are never repeated.

use std::{fmt, path::Path};

use super::FILE_NAME;

/// Every problem of one file, in the order of its lines; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    file: String,
    problems: Vec<Problem>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Counted from 1; `None` when it concerns the file as a whole.
    pub line: Option<usize>,
    /// `stack.shop.path`; empty when no key is at fault.
    pub key: String,
    pub message: String,
}

impl ConfigErrors {
    pub(super) fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort();
        problems.dedup();
        Self {
            file: FILE_NAME.to_owned(),
            problems,
        }
    }

    pub(super) fn of_file(self, path: &Path) -> Self {
        Self {
            file: path.display().to_string(),
            ..self
        }
    }

    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Problem { line, key, message }) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(formatter)?;
            }
            write!(formatter, "{}:", self.file)?;
            if let Some(line) = line {
                write!(formatter, "{line}:")?;
            }
            if !key.is_empty() {
                write!(formatter, " {key}:")?;
            }
            write!(formatter, " {message}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

pub(super) fn read_file(path: &Path) -> Result<String, ConfigErrors> {
    std::fs::read_to_string(path).map_err(|error| {
        let problem = Problem {
            line: None,
            key: String::new(),
            message: format!("cannot be read: {error}"),
        };
        ConfigErrors::new(vec![problem]).of_file(path)
    })
}

/// `; did you mean "path"?`, or nothing when no candidate is near.
pub(super) fn did_you_mean<'a>(
    given: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> String {
    let nearest = candidates
        .into_iter()
        .map(|candidate| {
            let is_abbreviation = given.len() >= 3 && candidate.starts_with(given);
            let distance = if is_abbreviation {
                1
            } else {
                strsim::damerau_levenshtein(given, candidate)
            };
            (distance, candidate)
        })
        .filter(|(distance, candidate)| distance * 2 <= given.len().max(candidate.len()))
        .min();
    match nearest {
        Some((_, candidate)) => format!("; did you mean \"{candidate}\"?"),
        None => String::new(),
    }
}
