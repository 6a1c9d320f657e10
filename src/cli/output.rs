//! Printing: data to standard output, in the form that was asked for. Much of it was written by
//! others, in Git and on gateways, and none of that may steer the terminal.

use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;

use crate::app::Target;
pub use crate::domain::moment::{rfc3339, shown as moment};

pub fn text(text: &str) {
    let text = text.strip_suffix('\n').unwrap_or(text);
    line(&harmless(text));
}

/// Whoever reads may have read enough, as `head` has. Data that cannot be written otherwise, such
/// as on a full disk, must not pass for complete.
fn line(text: &str) {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("error: standard output cannot be written: {error}");
            std::process::exit(1);
        }
        Ok(()) | Err(_) => {}
    }
}

/// Whether somebody at the terminal means it, after they were shown what it is. Without a terminal
/// nobody does.
pub fn confirmed(shown: &str, question: &str) -> io::Result<bool> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(false);
    }
    eprint!("{}\n{question} Type yes: ", harmless(shown));
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

/// The text with what would steer a terminal, or turn its letters round, written out.
pub fn harmless(text: &str) -> String {
    let steers = |letter: char| {
        let turns = matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        turns || letter.is_control() && letter != '\n'
    };
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if steers(letter) {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    shown
}

pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    line(&serde_json::to_string_pretty(value)?);
    Ok(())
}

/// One line of JSON, for what is read while the command goes on.
pub fn json_line(value: &impl Serialize) -> anyhow::Result<()> {
    line(&serde_json::to_string(value)?);
    Ok(())
}

/// Columns as wide as their widest cell.
pub fn table(head: &[&str], rows: Vec<Vec<String>>) {
    let head: Vec<String> = head.iter().map(ToString::to_string).collect();
    let one_line = |cell: String| harmless(&cell).replace('\n', "\\n");
    let rows: Vec<Vec<String>> = std::iter::once(head)
        .chain(rows)
        .map(|row| row.into_iter().map(one_line).collect())
        .collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in &rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        line(cells.join("  ").trim_end());
    }
}

/// A gateway that could not be asked. What the others say is shown all the same.
#[derive(Debug, Serialize)]
pub struct Unreached {
    target: String,
    node: String,
    error: String,
}

impl Unreached {
    pub fn new(node: &Target, error: &impl ToString) -> Self {
        Self {
            target: node.name.clone(),
            node: node.address.clone(),
            error: error.to_string(),
        }
    }
}

pub fn unreached(nodes: &[Unreached]) {
    for node in nodes {
        eprintln!("error: {}: {}", node.node, harmless(&node.error));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_does_not_steer_the_terminal() {
        assert_eq!(
            harmless("red \u{1b}[31m, turned \u{202e}, back \r, über\nnext line"),
            "red \\u{1b}[31m, turned \\u{202e}, back \\r, über\nnext line"
        );
    }
}
