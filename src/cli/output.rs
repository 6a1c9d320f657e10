//! Printing: data to standard output, in the form that was asked for.

#![expect(
    clippy::print_stdout,
    reason = "the command line is the only place that prints"
)]

use serde::Serialize;

pub use crate::domain::moment::{rfc3339, shown as moment};

pub fn text(text: &str) {
    let text = text.strip_suffix('\n').unwrap_or(text);
    println!("{text}");
}

pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

/// One line of JSON, for what is read while the command goes on.
pub fn json_line(value: &impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(value)?);
    Ok(())
}

/// Columns as wide as their widest cell.
pub fn table(head: &[&str], rows: Vec<Vec<String>>) {
    let head: Vec<String> = head.iter().map(ToString::to_string).collect();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
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
        println!("{}", cells.join("  ").trim_end());
    }
}
