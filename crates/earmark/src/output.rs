//! What commands print: JSON for programs, tables for people.
//!
//! Always holds: a reader that has seen enough (`earmark entries acme | head`) is no error.

use std::io::{ErrorKind, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

/// Prints a reply as JSON.
pub(crate) fn json(value: &Value) {
    line(format_args!("{value:#}"));
}

/// Prints a line.
#[expect(clippy::print_stderr, reason = "there is nowhere else to say it")]
pub(crate) fn line(text: impl std::fmt::Display) {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            eprintln!("earmark: cannot print: {error}");
            std::process::exit(1);
        }
        Ok(()) | Err(_) => {}
    }
}

/// Prints rows under a header; says so when there are none.
pub(crate) fn table(header: &[&str], rows: Vec<Vec<String>>) {
    if rows.is_empty() {
        return line("nothing");
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(|name| name.to_uppercase()).collect::<Vec<_>>());
    for row in rows {
        table.add_row(row);
    }
    for row in table.lines() {
        line(row.trim_end());
    }
}

/// A field of a reply as people read it: `-` for nothing.
pub(crate) fn field(value: &Value, name: &str) -> String {
    shown(&value[name])
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            let pairs = fields.iter().map(|(name, value)| format!("{name}={}", shown(value)));
            let pairs: Vec<_> = pairs.collect();
            if pairs.is_empty() { "-".to_owned() } else { pairs.join(" ") }
        }
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => number.to_string(),
    }
}

/// The rows of a list in a reply.
pub(crate) fn rows(reply: &Value, list: &str, fields: &[&str]) -> Vec<Vec<String>> {
    let items = reply[list].as_array().cloned().unwrap_or_default();
    items.iter().map(|item| fields.iter().map(|name| field(item, name)).collect()).collect()
}
