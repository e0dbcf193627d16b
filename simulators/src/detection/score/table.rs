//! Scores as text, as Markdown and as JSON.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::{json, Value};

use super::{wilson, Cell, Sheet};

/// Grades in the order in which they are shown; names of blind spots come behind.
const GRADES: [&str; 3] = ["loud", "medium", "careful"];

fn keys(sheets: &[Sheet]) -> Vec<(String, String)> {
    let all: BTreeSet<&(String, String)> = sheets.iter().flat_map(|s| s.cells.keys()).collect();
    let mut all: Vec<_> = all.into_iter().cloned().collect();
    let place = |grade: &str| GRADES.iter().position(|of| *of == grade).unwrap_or(GRADES.len());
    // The twelve classes first, blind spots and what is beside them behind.
    all.sort_by_key(|(class, grade)| {
        let is_apart = place(grade) == GRADES.len() || class == "mix";
        (is_apart, class.clone(), place(grade), grade.clone())
    });
    all
}

fn time(minutes: Option<f64>) -> String {
    match minutes {
        None => "–".into(),
        Some(minutes) if minutes < 1.0 => format!("{:.0} s", minutes * 60.0),
        Some(minutes) if minutes < 120.0 => format!("{minutes:.0} min"),
        Some(minutes) => format!("{:.0} h", minutes / 60.0),
    }
}

fn row(sheet: &Sheet, class: &str, grade: &str, cell: &Cell) -> [String; 9] {
    let (low, high) = wilson(cell.found, cell.attacks);
    let (median, late) = cell.delays();
    [
        class.to_owned(),
        grade.to_owned(),
        cell.attacks.to_string(),
        format!("{:.2} ({low:.2} to {high:.2})", cell.recall()),
        sheet.precision(cell).map_or("–".into(), |precision| format!("{precision:.2}")),
        format!("{:.2}", sheet.f1(cell)),
        time(median),
        time(late),
        format!("{:.2}", cell.luck / cell.attacks.max(1) as f64),
    ]
}

const HEAD: [&str; 9] =
    ["class", "grade", "attacks", "recall (95 %)", "precision", "F1", "median", "p90", "by luck"];

fn rows(sheet: &Sheet) -> Vec<[String; 9]> {
    let all = keys(std::slice::from_ref(sheet));
    let cell =
        |key: &(String, String)| sheet.cells.get(key).map(|cell| row(sheet, &key.0, &key.1, cell));
    all.iter().filter_map(cell).collect()
}

/// Columns with a width of their own.
fn aligned(rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn summary(sheet: &Sheet) -> String {
    let (found, all) = sheet.sums();
    let (low, high) = wilson(sheet.wrong.min(sheet.device_days as u64), sheet.device_days as u64);
    format!(
        "{}: {found} of {all} attacks found; {:.2} false alarms per 1,000 device-days ({:.2} to {:.2}) on {:.0} \
         device-days; {} echoes",
        sheet.name,
        sheet.false_rate(),
        low * 1_000.0,
        high * 1_000.0,
        sheet.device_days,
        sheet.echoes
    )
}

fn causes(sheet: &Sheet) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for (cause, wrong) in &sheet.causes {
        let part = 1_000.0 * wrong.days as f64 / sheet.device_days.max(1e-9);
        let own = match wrong.of > 0.0 {
            true => format!("{:.2}", 1_000.0 * wrong.days as f64 / wrong.of),
            false => "–".into(),
        };
        rows.push(vec![cause.clone(), wrong.days.to_string(), format!("{part:.3}"), own]);
    }
    rows
}

const CAUSES: [&str; 4] = ["cause", "false alarms", "part per 1,000", "per 1,000 of its own days"];

/// The scores for a terminal: the first sheet in full, the others as recalls beside it.
pub fn text(sheets: &[Sheet]) -> String {
    let mut out = String::new();
    let Some(first) = sheets.first() else { return out };
    let _ = writeln!(out, "{}\n", summary(first));
    let mut table = vec![HEAD.map(str::to_owned).to_vec()];
    table.extend(rows(first).into_iter().map(|row| row.to_vec()));
    out.push_str(&aligned(&table));
    let mut table = vec![CAUSES.map(str::to_owned).to_vec()];
    table.extend(causes(first));
    let _ = write!(out, "\n{}", aligned(&table));
    if sheets.len() > 1 {
        let _ = write!(out, "\nrecall of all\n{}", aligned(&beside(sheets)));
    }
    out
}

/// Recalls of all sheets, a row for each cell.
fn beside(sheets: &[Sheet]) -> Vec<Vec<String>> {
    let names = sheets.iter().map(|sheet| sheet.name.clone());
    let mut table = vec![["".to_owned()].into_iter().chain(names).collect::<Vec<_>>()];
    let rates = sheets.iter().map(|sheet| format!("{:.2}", sheet.false_rate()));
    table.push(["false alarms per 1,000".to_owned()].into_iter().chain(rates).collect());
    for key in keys(sheets) {
        let recall = |sheet: &Sheet| match sheet.cells.get(&key) {
            Some(cell) if cell.attacks > 0 => format!("{:.2}", cell.recall()),
            _ => "–".into(),
        };
        let name = format!("{} {}", key.0, key.1);
        table.push([name].into_iter().chain(sheets.iter().map(recall)).collect());
    }
    table
}

fn markdown_table(rows: &[Vec<String>]) -> String {
    let mut out = String::new();
    for (place, row) in rows.iter().enumerate() {
        let _ = writeln!(out, "| {} |", row.join(" | "));
        if place == 0 {
            let rule: Vec<&str> = row.iter().map(|_| "---").collect();
            let _ = writeln!(out, "|{}|", rule.join("|"));
        }
    }
    out
}

/// The scores as the body of a page.
pub fn markdown(sheets: &[Sheet]) -> String {
    let mut out = String::new();
    let Some(first) = sheets.first() else { return out };
    let _ = writeln!(out, "{}.\n", summary(first));
    let mut table = vec![HEAD.map(str::to_owned).to_vec()];
    table.extend(rows(first).into_iter().map(|row| row.to_vec()));
    let _ = writeln!(out, "{}", markdown_table(&table));
    let _ = writeln!(out, "### False alarms by cause\n");
    let mut table = vec![CAUSES.map(str::to_owned).to_vec()];
    table.extend(causes(first));
    let _ = writeln!(out, "{}", markdown_table(&table));
    if !first.personas.is_empty() {
        let _ = writeln!(out, "### Careful attacks by persona\n");
        let mut table = vec![["persona", "attacks", "recall"].map(str::to_owned).to_vec()];
        for (persona, (found, all)) in &first.personas {
            let recall = *found as f64 / (*all).max(1) as f64;
            table.push(vec![persona.clone(), all.to_string(), format!("{recall:.2}")]);
        }
        let _ = writeln!(out, "{}", markdown_table(&table));
    }
    if sheets.len() > 1 {
        let _ = writeln!(out, "### Recall beside the references\n");
        let _ = writeln!(out, "{}", markdown_table(&beside(sheets)));
    }
    out
}

/// Recall over false alarms: for each detector, its sheets at rising budgets.
pub fn curves(of: &[(String, Vec<Sheet>)]) -> String {
    let mut head = vec!["detector".to_owned(), "false alarms per 1,000".to_owned()];
    head.extend(GRADES.map(|grade| format!("{grade}, mean")));
    let mut table = vec![head];
    for (name, sheets) in of {
        for sheet in sheets {
            let mut row = vec![name.clone(), format!("{:.2}", sheet.false_rate())];
            row.extend(GRADES.map(|grade| {
                sheet.of_grade(grade).map_or("–".into(), |(mean, _)| format!("{mean:.2}"))
            }));
            table.push(row);
        }
    }
    markdown_table(&table)
}

/// The scores as JSON.
pub fn to_json(sheets: &[Sheet]) -> Value {
    let sheet = |sheet: &Sheet| {
        let cells: Vec<Value> = keys(std::slice::from_ref(sheet))
            .iter()
            .filter_map(|key| sheet.cells.get(key).map(|cell| (key, cell)))
            .map(|((class, grade), cell)| {
                let (low, high) = wilson(cell.found, cell.attacks);
                let (median, late) = cell.delays();
                json!({
                    "class": class,
                    "grade": grade,
                    "attacks": cell.attacks,
                    "found": cell.found,
                    "recall": cell.recall(),
                    "recall_low": low,
                    "recall_high": high,
                    "precision": sheet.precision(cell),
                    "f1": sheet.f1(cell),
                    "minutes_median": median,
                    "minutes_p90": late,
                    "by_luck": cell.luck / cell.attacks.max(1) as f64,
                })
            })
            .collect();
        let causes: Vec<Value> = sheet
            .causes
            .iter()
            .map(|(cause, wrong)| {
                json!({ "cause": cause, "false_alarms": wrong.days, "device_days": wrong.of })
            })
            .collect();
        json!({
            "detector": sheet.name,
            "runs": sheet.runs,
            "device_days": sheet.device_days,
            "false_alarms": sheet.wrong,
            "false_alarms_per_1000_device_days": sheet.false_rate(),
            "messages": sheet.messages,
            "echoes": sheet.echoes,
            "cells": cells,
            "causes": causes,
            "careful_by_persona": sheet.personas.iter().map(|(persona, (found, all))| {
                json!({ "persona": persona, "found": found, "attacks": all })
            }).collect::<Vec<_>>(),
        })
    };
    json!({ "format": "tessera-score-1", "detectors": sheets.iter().map(sheet).collect::<Vec<_>>() })
}
