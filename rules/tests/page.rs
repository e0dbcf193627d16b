//! `docs/rules.md` against the code: its attributes, its bounds, and each of its rules.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;

use tessera_rules::attributes::schema::{ATTRIBUTES, PROPERTIES};
use tessera_rules::attributes::On;
use tessera_rules::language::Program;
use tessera_rules::limits;
use tessera_rules::rule::file::RuleFile;
use tessera_rules::rule::Rule;

const PAGE: &str = include_str!("../../docs/rules.md");

/// Days since 1970 for the dates of the page, by the calendar of the Gregorian year.
fn moment(text: &str) -> Result<u64, String> {
    let day = text.get(..10).ok_or("no date")?;
    let parts: Vec<u64> = day.split('-').map(|part| part.parse().unwrap()).collect();
    let &[year, month, day] = parts.as_slice() else { return Err("no date".into()) };
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1;
    Ok((days - 719_468) * 86_400)
}

#[test]
fn rules_of_the_page_are_rules() {
    let mut names = BTreeSet::new();
    for part in PAGE.split("```toml rule\n").skip(1) {
        let text = part.split("```").next().unwrap();
        let file: RuleFile = toml::from_str(text).unwrap_or_else(|e| panic!("{text}\n{e}"));
        let rule = Rule::new(file.into_draft(moment).unwrap());
        let rule = rule.unwrap_or_else(|e| panic!("{text}\n{e}"));
        let again = Rule::from_cbor(&rule.to_cbor()).unwrap();
        assert!(names.insert(again.draft().id.clone()), "twice: {text}");
    }
    assert_eq!(names.len(), 5, "{names:?}");
}

#[test]
fn attributes_of_the_page_are_those_of_the_schema() {
    let rows: Vec<String> = ATTRIBUTES
        .iter()
        .map(|attribute| {
            let events: Vec<&str> = attribute.on.iter().map(|on| on.as_str()).collect();
            let events = if events.len() == 3 { "all".to_owned() } else { events.join(", ") };
            format!(
                "| `{}` | {} | {events} | {} | {} |",
                attribute.name,
                attribute.type_name(),
                shown(attribute.default),
                attribute.meaning
            )
        })
        .collect();
    let table = PAGE.split("| attribute | type |").nth(1).unwrap();
    let found: Vec<&str> = table.lines().skip(2).take_while(|line| line.starts_with('|')).collect();
    assert_eq!(found, rows, "docs/rules.md, the table of attributes:\n{}", rows.join("\n"));
    for name in PROPERTIES {
        assert!(PAGE.contains(&format!("`{name}`")), "{name}");
    }
    for attribute in ATTRIBUTES.iter().filter(|a| !a.values.is_empty() && a.type_name() == "text") {
        let values: Vec<String> = attribute.values.iter().map(|v| format!("`{v}`")).collect();
        let line = format!("`{}`: {}", attribute.name, values.join(", "));
        assert!(PAGE.contains(&line), "docs/rules.md lacks {line}");
    }
}

fn shown(default: &str) -> String {
    match default {
        "none" | "the hour of the event" => default.to_owned(),
        value => format!("`{value}`"),
    }
}

#[test]
fn constructs_of_the_page_are_accepted() {
    let table = PAGE.split("| construct | example |").nth(1).unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let mut accepted = 0;
    for row in rows {
        let row = row.replace("\\|", "\u{1}");
        let example = row.split('|').nth(2).unwrap().trim().trim_matches('`').replace('\u{1}', "|");
        // The last two rows show pieces.
        if example.starts_with('\'') || example.starts_with("//") {
            continue;
        }
        let on = if example.contains("properties") { On::Connect } else { On::Publish };
        Program::compile(&example, on).unwrap_or_else(|e| panic!("{example}: {e}"));
        accepted += 1;
    }
    assert_eq!(accepted, 8);
}

#[test]
fn bounds_of_the_page_are_those_of_the_code() {
    let thousands = |n: usize| match n {
        0..=999 => n.to_string(),
        _ => format!("{},{:03}", n / 1000, n % 1000),
    };
    for (row, bound) in [
        ("bytes of a text", thousands(limits::TEXT_BYTES)),
        ("nodes: attributes, values, operators, calls; a list is one", limits::NODES.to_string()),
        ("depth of nesting, and of brackets", limits::DEPTH.to_string()),
        ("values of a list", limits::LIST_ITEMS.to_string()),
        ("rules of a tenant and event", limits::RULES.to_string()),
        ("life", format!("{} days", limits::LIFE_SECONDS / 86_400)),
        ("bytes as CBOR", thousands(limits::WIRE_BYTES)),
    ] {
        let line = format!("| {row} | {bound} |");
        assert!(PAGE.contains(&line), "docs/rules.md lacks {line}");
    }
}
