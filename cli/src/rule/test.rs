//! `rule test`: what a rule would have done in recorded time.

use std::path::Path;

use serde_json::{json, Value};
use tessera_rules::dry_run::{DryRun, Report};
use tessera_rules::rule::Rule;

use super::recorded::{known, Recorded};
use super::{aligned, met, read, reads};
use crate::args::RuleTestArgs;
use crate::detection::files;
use crate::error::{Fault, Outcome};
use crate::output;

/// The share of a tenant's devices beyond which a rule that cuts off asks for a second operator.
const SECOND_OPERATOR: f64 = 0.01;

/// The result of a test.
pub(super) struct Found<'r> {
    rule: &'r Rule,
    report: Report,
    /// Attributes that the rule reads, or selects by, and the data lack.
    absent: Vec<&'static str>,
    without_connect: u64,
    lines: u64,
}

pub(super) async fn test(args: &RuleTestArgs) -> Outcome {
    let rule = read(&args.rule)?;
    let found = found(&rule, &args.against)?;
    output::result(args.operator.json, text(&found).trim_end(), &object(&found));
    match args.keep {
        true => crate::operator::rule::tested(&rule, &found.report, &args.operator).await,
        false => Ok(0),
    }
}

/// The result.
pub(super) fn found<'r>(rule: &'r Rule, against: &Path) -> Result<Found<'r>, Fault> {
    let draft = rule.draft();
    let (mut run, mut recorded) = (DryRun::new(rule), Recorded::default());
    let mut without_connect = 0;
    let lines = files::observations(against, &mut |seen| {
        recorded.event(seen, |attributes, count, has_begun| {
            let is_asked = attributes.event.on() == draft.on
                && attributes.session.tenant == draft.selector.tenant;
            without_connect += if is_asked && !has_begun { count } else { 0 };
            run.observe(attributes, count);
        });
        true
    })?;
    let report = run.finish();
    if report.events == 0 {
        let place = against.display();
        let (on, tenant) = (draft.on, &draft.selector.tenant);
        let fault = Fault::new(format!("{place}: no {on} of the tenant {tenant} in {lines} lines"));
        return Err(fault.hint("nothing was tested: is selector.tenant the tenant of the file?"));
    }
    let mut absent = reads(rule);
    if !draft.selector.roles.is_empty() {
        absent.push("role");
    }
    absent.retain(|name| !known(draft.on).contains(name));
    absent.dedup();
    Ok(Found { rule, report, absent, without_connect, lines })
}

impl Found<'_> {
    fn asks_for_a_second_operator(&self) -> bool {
        self.rule.draft().action.cuts_off() && self.report.share() > SECOND_OPERATOR
    }
}

pub(super) fn text(found: &Found<'_>) -> String {
    let Found { rule, report, .. } = found;
    let draft = rule.draft();
    let tenant = &draft.selector.tenant;
    let mut out = aligned(&[
        ("rule", format!("{}, version {}", draft.id, draft.version)),
        ("condition", rule.program().to_string()),
        (
            "events",
            format!(
                "{} of {} by the tenant {tenant}, in {} lines",
                report.events, draft.on, found.lines
            ),
        ),
        ("picked", format!("{} by the selector", report.picked)),
        ("matched", report.matched.to_string()),
        (
            "devices",
            format!(
                "{} of {} {} ({:.1} %)",
                report.devices_matched,
                report.devices,
                met(draft.action),
                100.0 * report.share()
            ),
        ),
        ("cost", format!("at most {} steps an event", report.cost)),
    ]);
    let hours = report.hours.iter().enumerate().filter(|(_, count)| **count > 0);
    let hours: Vec<(String, u64)> =
        hours.map(|(hour, count)| (format!("{hour:02}:00"), *count)).collect();
    for (head, rows) in
        [("device", &report.most_devices), ("group", &report.most_groups), ("hour (UTC)", &hours)]
    {
        if !rows.is_empty() {
            out.push('\n');
            out.push_str(&table(head, rows));
        }
    }
    for line in remarks(found) {
        out.push('\n');
        out.push_str(&line);
    }
    out
}

fn table(head: &str, rows: &[(String, u64)]) -> String {
    let shown = |name: &str| -> String {
        let name = if name.is_empty() { "-" } else { name };
        // Text of an enrolled peer must not steer the terminal.
        name.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
    };
    let width = rows.iter().map(|(name, _)| shown(name).chars().count()).max().unwrap_or(0);
    let width = width.max(head.len());
    let line = |(name, count): &(String, u64)| format!("{:<width$}  {count}\n", shown(name));
    format!("{head:<width$}  matches\n") + &rows.iter().map(line).collect::<String>()
}

fn remarks(found: &Found<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    if !found.absent.is_empty() {
        lines.push(format!(
            "not in the data, so the default was taken: {} (docs/rules.md)",
            found.absent.join(", ")
        ));
    }
    if found.without_connect > 0 {
        lines.push(format!(
            "{} events of devices whose CONNECT is not in the data: their group, kind, client_id and network have the default",
            found.without_connect
        ));
    }
    if found.report.further > 0 {
        lines.push(format!(
            "{} matches of devices beyond the first {} are not listed by name",
            found.report.further,
            tessera_rules::limits::DRY_RUN_NAMES
        ));
    }
    if found.asks_for_a_second_operator() {
        lines.push(
            "more than 1 % of the devices: narrow the selector, or have a second person look at it"
                .into(),
        );
    }
    lines
}

pub(super) fn object(found: &Found<'_>) -> Value {
    let Found { rule, report, .. } = found;
    let named = |rows: &[(String, u64)], name: &str| -> Vec<Value> {
        rows.iter().map(|(value, matches)| json!({ name: value, "matches": matches })).collect()
    };
    json!({
        "id": rule.draft().id,
        "version": rule.draft().version,
        "action": rule.draft().action.as_str(),
        "lines": found.lines,
        "events": report.events,
        "other_events": report.other_events,
        "picked": report.picked,
        "matched": report.matched,
        "devices": report.devices,
        "devices_matched": report.devices_matched,
        "share": report.share(),
        "second_operator": found.asks_for_a_second_operator(),
        "most_devices": named(&report.most_devices, "device"),
        "most_groups": named(&report.most_groups, "group"),
        "hours": report.hours,
        "cost": report.cost,
        "absent": found.absent,
        "without_connect": found.without_connect,
        "further": report.further,
    })
}
