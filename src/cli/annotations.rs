//! Problems in the forms that show them beside the lines of a pull request.

use serde_json::{Value, json};

use crate::manifest::{Checked, Problem};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Error,
    Warning,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

fn all(checked: &Checked) -> impl Iterator<Item = (Level, &Problem)> {
    let problems = checked.problems.iter().map(|found| (Level::Error, found));
    let warnings = checked.manifests.warnings.iter();
    problems.chain(warnings.map(|found| (Level::Warning, found)))
}

/// Everything but the file and the line, which stand elsewhere.
fn message(problem: &Problem) -> String {
    let mut text = String::new();
    if !problem.pointer.is_empty() {
        text.push_str(&format!("{}: ", problem.pointer));
    }
    text.push_str(&problem.message);
    if let Some(fix) = &problem.fix {
        text.push_str(&format!("; {fix}"));
    }
    text
}

/// Paths are of the repository's root, where checks of pull requests run.
fn path(problem: &Problem) -> &str {
    problem.file.strip_prefix("./").unwrap_or(&problem.file)
}

/// Workflow commands of GitHub Actions, one a line.
pub fn github(checked: &Checked) -> String {
    let mut text = String::new();
    for (level, problem) in all(checked) {
        text.push_str(&format!(
            "::{} file={}",
            level.word(),
            property(path(problem))
        ));
        if problem.line > 0 {
            text.push_str(&format!(",line={},col={}", problem.line, problem.column));
        }
        text.push_str(&format!(",title=lockstep::{}\n", data(&message(problem))));
    }
    text
}

fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// SARIF 2.1.0.
pub fn sarif(checked: &Checked) -> Value {
    let results: Vec<Value> = all(checked)
        .map(|(level, problem)| {
            let mut place = json!({"artifactLocation": {"uri": uri(path(problem))}});
            if problem.line > 0 {
                place["region"] = json!({
                    "startLine": problem.line,
                    "startColumn": problem.column.max(1),
                });
            }
            let mut location = json!({"physicalLocation": place});
            if !problem.pointer.is_empty() {
                location["logicalLocations"] = json!([{"fullyQualifiedName": problem.pointer}]);
            }
            json!({
                "ruleId": format!("manifest-{}", level.word()),
                "level": level.word(),
                "message": {"text": message(problem)},
                "locations": [location],
            })
        })
        .collect();
    let rule = |level: Level, text: &str| {
        json!({
            "id": format!("manifest-{}", level.word()),
            "shortDescription": {"text": text},
            "defaultConfiguration": {"level": level.word()},
        })
    };
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "lockstep",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": [
                    rule(Level::Error, "A manifest that stops its stack's run"),
                    rule(Level::Warning, "A manifest that may not do what it looks like"),
                ],
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

/// A path as a relative reference of RFC 3986.
fn uri(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}
