//! Printing: data to standard output, in the form that was asked for.

#![expect(
    clippy::print_stdout,
    reason = "the command line is the only place that prints"
)]

use comfy_table::{Table, presets};
use jiff::Timestamp;
use serde::Serialize;

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

pub fn table(head: &[&str], rows: Vec<Vec<String>>) {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(head);
    for row in rows {
        table.add_row(row);
    }
    let lines: Vec<String> = table
        .to_string()
        .lines()
        .map(|line| line.trim().to_owned())
        .collect();
    println!("{}", lines.join("\n"));
}

/// A moment for people, to the second, in UTC.
pub fn moment(micros: i64) -> String {
    Timestamp::from_microsecond(micros).map_or_else(
        |_| micros.to_string(),
        |timestamp| timestamp.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
    )
}

/// A moment for programs, RFC 3339.
pub fn rfc3339(micros: i64) -> String {
    Timestamp::from_microsecond(micros).map_or_else(|_| micros.to_string(), |at| at.to_string())
}
