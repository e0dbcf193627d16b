//! The report of a load, and its text.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::removal::Removal;
use super::series::Point;
use crate::report::{Histogram, Micros, Tally};

/// A load in numbers.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The work, as the command names it.
    pub kind: String,
    /// The seed of the keys.
    pub seed: u64,
    /// In front of each device id.
    pub prefix: String,
    /// Devices asked for.
    pub devices: usize,
    /// Devices that enrolled.
    pub enrolled: u64,
    /// Devices that connected at least once.
    pub connected: u64,
    /// Connections made.
    pub connections: u64,
    /// Connections lost without asking for it.
    pub lost: u64,
    /// Subscriptions granted.
    pub subscribed: u64,
    /// Messages published.
    pub published: u64,
    /// Of them acknowledged.
    pub acknowledged: u64,
    /// Messages received.
    pub received: u64,
    /// Tokens renewed.
    pub refreshes: u64,
    /// Of them over MQTT.
    pub refreshed_by_mqtt: u64,
    /// Seconds from the first connect to the end of the work.
    pub seconds: f64,
    /// Seconds from the first connect until every device was connected.
    pub all_connected_after: Option<f64>,
    /// First connects a second until then.
    pub connects_a_second: Option<f64>,
    /// Messages published a second, from the first to the last.
    pub published_a_second: Option<f64>,
    /// Messages received a second, from the first to the last.
    pub received_a_second: Option<f64>,
    /// Times by stage, in microseconds.
    pub stages: Vec<Stage>,
    /// Failures by code.
    pub failures: BTreeMap<String, u64>,
    /// Refusals that the storm asked for, by code.
    pub refusals: BTreeMap<String, u64>,
    /// Further figures of a storm, by name with the unit.
    pub values: BTreeMap<String, f64>,
    /// The run over time.
    pub series: Vec<Point>,
    /// The removal of the devices; none when they were kept.
    pub removal: Option<Removal>,
}

/// The times of one stage.
#[derive(Clone, Debug, Serialize)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// The percentiles.
    pub micros: Micros,
    /// Shares of all, with the microseconds within which each was done.
    #[serde(skip)]
    pub curve: Vec<(f64, u64)>,
}

impl Stage {
    pub(super) fn of(name: &str, histogram: &Histogram) -> Option<Self> {
        let curve = histogram.curve(super::limits::CURVE);
        Some(Self { name: name.to_owned(), micros: histogram.micros()?, curve })
    }
}

/// The stages that a tally has seen.
pub(super) fn stages(tally: &Tally) -> Vec<Stage> {
    let named = [
        ("enrol", &tally.enrol_latency),
        ("dns and tcp", &tally.tcp_latency),
        ("tls", &tally.tls_latency),
        ("connect to connack", &tally.connack_latency),
        ("whole connect", &tally.connect_latency),
        ("publish to puback", &tally.publish_latency),
        ("end to end", &tally.delivery_latency),
        ("token refresh", &tally.refresh_latency),
    ];
    named.into_iter().filter_map(|(name, histogram)| Stage::of(name, histogram)).collect()
}

impl Report {
    /// The numbers of a tally.
    pub(super) fn count(&mut self, tally: &Tally) {
        self.enrolled = self.enrolled.max(tally.enrolled.get());
        self.connected = tally.connected.get();
        self.connections = tally.connections.get();
        self.lost = tally.lost.get();
        self.subscribed = tally.subscribed.get();
        self.published = tally.published.get();
        self.acknowledged = tally.acknowledged.get();
        self.received = tally.delivered.get();
        self.refreshes = tally.refreshes.get();
        self.refreshed_by_mqtt = tally.refreshed_by_mqtt.get();
        self.failures = tally.failures_by_code();
    }

    /// Whether every device did its work, nothing failed, and nothing is left behind.
    pub fn is_good(&self) -> bool {
        let devices = self.devices as u64;
        self.enrolled == devices
            && self.connected == devices
            && self.failures.is_empty()
            && self.removal.as_ref().is_none_or(Removal::is_done)
    }
}

/// The report as text.
pub fn render(report: &Report) -> String {
    let mut out = String::new();
    let mut row = |name: &str, value: String| {
        let _ = writeln!(out, "  {name:<28} {value}");
    };
    let rate = |rate: Option<f64>| rate.map(|rate| format!("  ({rate:.0} a second)"));
    row("devices enrolled", format!("{} of {}", report.enrolled, report.devices));
    let connects = rate(report.connects_a_second).unwrap_or_default();
    row("devices connected", format!("{} of {}{connects}", report.connected, report.devices));
    row("connections made, lost", format!("{}, {}", report.connections, report.lost));
    if report.subscribed > 0 {
        row("subscriptions granted", report.subscribed.to_string());
    }
    if report.published > 0 {
        let published = rate(report.published_a_second).unwrap_or_default();
        row("messages published", format!("{}{published}", report.published));
        row("messages acknowledged", report.acknowledged.to_string());
    }
    if report.received > 0 || report.subscribed > 0 {
        let received = rate(report.received_a_second).unwrap_or_default();
        row("messages received", format!("{}{received}", report.received));
    }
    row(
        "tokens renewed",
        format!("{}, {} of them over MQTT", report.refreshes, report.refreshed_by_mqtt),
    );
    for (name, value) in &report.values {
        row(name, format!("{value:.1}"));
    }
    row("seconds", format!("{:.1}", report.seconds));
    table(&mut out, &report.stages);
    counts(&mut out, "failures", &report.failures);
    if !report.refusals.is_empty() {
        counts(&mut out, "refusals that were asked for", &report.refusals);
    }
    match &report.removal {
        None => {
            let _ = writeln!(out, "  devices are kept: {}…", report.prefix);
        }
        Some(removal) => {
            let _ = writeln!(out, "  {} devices removed", removal.removed);
            if let Some(rest) = removal.rest() {
                let _ = writeln!(out, "  {rest}");
            }
        }
    }
    out
}

fn table(out: &mut String, stages: &[Stage]) {
    let heads = ["count", "p50", "p90", "p95", "p99", "p99.9", "max"];
    let _ = write!(out, "  {:<22}", "stage, in µs");
    for head in heads {
        let _ = write!(out, " {head:>9}");
    }
    out.push('\n');
    for Stage { name, micros, .. } in stages {
        let _ = write!(out, "  {name:<22}");
        for value in cells(micros) {
            let _ = write!(out, " {value:>9}");
        }
        out.push('\n');
    }
}

/// The cells of a row, in the order of the table.
pub(super) const fn cells(micros: &Micros) -> [u64; 7] {
    let Micros { count, p50, p90, p95, p99, p999, max, .. } = *micros;
    [count, p50, p90, p95, p99, p999, max]
}

fn counts(out: &mut String, title: &str, counts: &BTreeMap<String, u64>) {
    if counts.is_empty() {
        let _ = writeln!(out, "  {title}: none");
        return;
    }
    let _ = writeln!(out, "  {title}:");
    for (code, count) in counts {
        let _ = writeln!(out, "    {count:>9}  {code}");
    }
}
