//! Expectations of a run: one literal list.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use super::Plan;
use crate::personas::prober::Probe;
use crate::personas::revoked::Cut;
use crate::personas::thief::Theft;
use crate::report::{render, Report};

/// A revoked device is gone within this time.
pub const CUT_WITHIN: Duration = Duration::from_secs(1);

/// One expectation and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Expectation {
    /// The condition.
    pub what: &'static str,
    /// Whether it did.
    pub held: bool,
    /// The evidence.
    pub saw: String,
}

/// The ids of those who misbehave.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Named {
    /// The thief of a token.
    pub thief: String,
    /// The owner of the copied token.
    pub victim: String,
    /// The device that tries topics of others.
    pub prober: String,
    /// The device that sends too much.
    pub flooder: String,
    /// The revoked device.
    pub revoked: String,
}

/// Outcome of the misdeeds.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Role of each device.
    pub named: Named,
    /// The thief's.
    pub theft: Option<Theft>,
    /// The prober's.
    pub probe: Option<Probe>,
    /// The revoked one's.
    pub cut: Option<Cut>,
    /// Steps that could not be tried.
    pub faults: Vec<String>,
}

impl Found {
    /// Keeps a fault.
    pub fn note(&mut self, tried: Result<(), String>) {
        self.faults.extend(tried.err());
    }
}

/// Compares the report with what must hold.
pub fn judge(plan: &Plan, report: &Report, found: &Found) -> Vec<Expectation> {
    let devices = plan.devices as u64;
    let mut list = vec![
        count("all devices enrolled", report.enrolled, devices),
        count("all devices connected with proof", report.connected_devices, devices),
        delivered(report),
        Expectation {
            what: "no failure of an honest device",
            held: report.failures == 0,
            saw: render::inline(&report.failures_by_code),
        },
    ];
    if plan.expect_refresh {
        list.push(count("every token refreshed at least once", report.refreshed, devices));
        list.push(by_mqtt(report));
    }
    if plan.hostile {
        list.extend(hostile(report, found));
    }
    list
}

fn hostile(report: &Report, found: &Found) -> [Expectation; 7] {
    let named = &found.named;
    [
        Expectation {
            what: "every attempt could be made",
            held: found.faults.is_empty(),
            saw: found.faults.join("; "),
        },
        theft(found.theft.as_ref()),
        probe(found.probe.as_ref()),
        cut(found.cut.as_ref()),
        noticed("thief noticed by name", report, &[&named.thief, &named.victim]),
        noticed("scope prober noticed by name", report, &[&named.prober]),
        noticed("flooder noticed by name", report, &[&named.flooder]),
    ]
}

fn count(what: &'static str, saw: u64, wanted: u64) -> Expectation {
    Expectation { what, held: saw == wanted, saw: format!("{saw} of {wanted}") }
}

/// Everything that was sent arrived: the sensors left before the backend, and what was under way was waited for.
fn delivered(report: &Report) -> Expectation {
    Expectation {
        what: "every message delivered",
        held: report.published > 0 && report.delivered >= report.published,
        saw: format!("{} delivered of {} published", report.delivered, report.published),
    }
}

/// A device that MQTT kept waiting asked over REST; that must not be the only way that works.
fn by_mqtt(report: &Report) -> Expectation {
    Expectation {
        what: "tokens refreshed over MQTT",
        held: report.refreshed_by_mqtt > 0 && 2 * report.refreshed_by_mqtt >= report.refreshes,
        saw: format!(
            "{} of {}, {} asked again over REST",
            report.refreshed_by_mqtt, report.refreshes, report.asked_twice
        ),
    }
}

fn theft(theft: Option<&Theft>) -> Expectation {
    let held =
        theft.is_some_and(|t| t.breaches.is_empty() && t.attempts > 0 && t.refused == t.attempts);
    let saw = theft.map_or("not tried".to_owned(), |t| {
        format!("{} of {} attempts refused{}", t.refused, t.attempts, allowed(&t.breaches))
    });
    Expectation { what: "copied token refused", held, saw }
}

fn probe(probe: Option<&Probe>) -> Expectation {
    let held = probe.is_some_and(|p| p.breaches.is_empty() && p.refused > 0 && p.unanswered == 0);
    let saw = probe.map_or("not tried".to_owned(), |p| {
        let unanswered = match p.unanswered {
            0 => String::new(),
            some => format!(", {some} unanswered"),
        };
        let allowed = allowed(&p.breaches);
        format!("{} of {} attempts refused{unanswered}{allowed}", p.refused, p.attempts)
    });
    Expectation { what: "topics of others refused", held, saw }
}

fn cut(cut: Option<&Cut>) -> Expectation {
    let held = cut.is_some_and(|cut| cut.took <= CUT_WITHIN && !cut.came_back);
    let saw = cut.map_or("not tried".to_owned(), |cut| {
        let back = if cut.came_back { "came back" } else { "stayed out" };
        format!("{} after the answer, {back}", render::duration(cut.took))
    });
    Expectation { what: "revoked device cut off within 1 s", held, saw }
}

fn noticed(what: &'static str, report: &Report, names: &[&String]) -> Expectation {
    let mut signals: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (device, of_alert) in report.alerts.keys().filter_map(|key| key.split_once(' ')) {
        if names.iter().any(|name| *name == device) {
            signals.entry(device).or_default().extend(of_alert.split('+'));
        }
    }
    let one = |(device, signals): (&&str, &BTreeSet<&str>)| {
        format!("{device}: {}", signals.iter().copied().collect::<Vec<_>>().join(", "))
    };
    let saw = match signals.is_empty() {
        true => "no alert".to_owned(),
        false => signals.iter().map(one).collect::<Vec<_>>().join("; "),
    };
    Expectation { what, held: !signals.is_empty(), saw }
}

/// Names of the ways and topics that were let in: none, or the product is broken.
fn allowed<T: AsRef<str>>(breaches: &[T]) -> String {
    let names: Vec<&str> = breaches.iter().map(AsRef::as_ref).collect();
    match names.as_slice() {
        [] => String::new(),
        names => format!(", allowed: {}", names.join(", ")),
    }
}

/// The list as text, one line each.
pub fn render(expectations: &[Expectation]) -> Vec<String> {
    let longest = expectations.iter().map(|e| e.what.len()).max().unwrap_or_default();
    let line = |e: &Expectation| {
        let mark = if e.held { "ok  " } else { "FAIL" };
        format!("{mark} {:<longest$}  {}", e.what, e.saw).trim_end().to_owned()
    };
    expectations.iter().map(line).collect()
}
