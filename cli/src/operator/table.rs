//! JSON as tables for people.

use std::fmt::Write;

use serde_json::Value;

use crate::time;

/// One object, a line each member that has a value.
pub(super) fn one(object: &Value) -> String {
    let Some(members) = object.as_object() else { return format!("{object}\n") };
    let members = || members.iter().filter(|(_, value)| !value.is_null());
    let width = members().map(|(name, _)| name.len()).max().unwrap_or(0);
    members().fold(String::new(), |mut out, (name, value)| {
        let _ = writeln!(out, "{name:<width$}  {}", cell(name, value));
        out
    })
}

/// Many objects, the columns in this order.
pub(super) fn many(rows: &[Value], columns: &[&str]) -> String {
    let head: Vec<String> = columns.iter().map(|column| column.replace('_', " ")).collect();
    let body = rows.iter().map(|row| -> Vec<String> {
        columns.iter().map(|name| cell(name, row.get(*name).unwrap_or(&Value::Null))).collect()
    });
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(body).collect();
    let width = |at: usize| {
        lines
            .iter()
            .filter_map(|line| line.get(at))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    lines.iter().fold(String::new(), |mut out, line| {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let _ = writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
        out
    })
}

const TIMES: [&str; 14] = [
    "first",
    "last",
    "asked",
    "last_refresh",
    "created",
    "expires",
    "enrolled",
    "free",
    "at",
    "since",
    "not_before",
    "not_after",
    "issued",
    "suspended_at",
];

fn cell(name: &str, value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => {
            items.iter().map(|item| cell("", item)).collect::<Vec<_>>().join(" ")
        }
        Value::Object(members) if members.is_empty() => "-".to_owned(),
        Value::Object(members) => {
            let each = members.iter().map(|(name, value)| format!("{name}={}", cell(name, value)));
            each.collect::<Vec<_>>().join(" ")
        }
        Value::Number(number) if TIMES.contains(&name) => {
            number.as_u64().map_or_else(|| number.to_string(), time::utc)
        }
        other => other.to_string(),
    };
    // Text of an enrolled peer must not steer the terminal.
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
