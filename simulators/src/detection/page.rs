//! The page of the scores, `docs/detection.md`.

use std::fmt::Write;

use super::scenario::{Persona, Scenario};
use super::score::{curves, markdown};
use super::trial::Score;

/// The text before the figures.
const HEAD: &str = include_str!("page_head.txt");

/// Below this recall a row is named as a blind spot.
const BLIND: f64 = 0.8;

/// The page.
pub fn page(scenario: &Scenario, seeds: &[u64], score: &Score) -> String {
    let mut out = HEAD.to_owned();
    let list: Vec<String> = seeds.iter().map(u64::to_string).collect();
    let _ = writeln!(out, "\n### Numbers of a persona\n\n| key | meaning | from | to | default |\n|---|---|---|---|---|");
    for number in Persona::NUMBERS {
        let words = number.words.trim().trim_end_matches('.');
        let _ = writeln!(
            out,
            "| `{}` | {words} | {} | {} | {} |",
            number.key, number.low, number.high, number.default
        );
    }
    let _ = writeln!(
        out,
        "\n## Figures\n\nScenario `{}`: {} devices, {} days, {} tenants, seeds {}.\n",
        scenario.name,
        scenario.devices,
        scenario.days,
        scenario.tenants,
        list.join(", ")
    );
    out.push_str(&markdown(&score.sheets));
    let _ = writeln!(out, "### Recall over false alarms\n\n{}", curves(&score.curves));
    let _ = writeln!(out, "## Blind spots\n");
    let mut any = false;
    for ((class, grade), cell) in score.sheets.first().into_iter().flat_map(|sheet| &sheet.cells) {
        if cell.recall() < BLIND {
            any = true;
            let luck = cell.luck / cell.attacks.max(1) as f64;
            let _ = writeln!(
                out,
                "- {class}, {grade}: {} of {} found ({:.2}; {luck:.2} by luck).",
                cell.found,
                cell.attacks,
                cell.recall()
            );
        }
    }
    if !any {
        let _ = writeln!(out, "No row is below {BLIND}.");
    }
    out
}
