//! The report as text: lines for a screen, one table, and durations in their unit.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use super::{Latency, Report};

/// How it stands, in one line.
pub fn progress(report: &Report) -> String {
    format!(
        "{:>5.1}s  enrolled {}/{}  online {}  published {}  delivered {}  refreshed {}/{}  refused {}  alerts {}  failures {}",
        report.seconds,
        report.enrolled,
        report.devices,
        report.online,
        report.published,
        report.delivered,
        report.refreshed,
        report.devices,
        refused(report),
        alerts(report),
        report.failures,
    )
}

/// How it stands, in two lines of at most 80 columns.
pub fn status(report: &Report) -> [String; 2] {
    let half = |name: &str, title: &str| {
        let latency = report.latencies.get(name);
        latency.map(|l| format!("  {title} {}", millis(l.p50))).unwrap_or_default()
    };
    [
        format!(
            "online {} of {}  published {}  delivered {}  refreshed {} of {}",
            report.online,
            report.devices,
            report.published,
            report.delivered,
            report.refreshed,
            report.devices
        ),
        format!(
            "refused {}  alerts {}  failures {}{}{}",
            refused(report),
            alerts(report),
            report.failures,
            half("connect", "connect"),
            half("end to end", "end to end"),
        ),
    ]
}

fn refused(report: &Report) -> u64 {
    report.refusals.values().sum()
}

fn alerts(report: &Report) -> u64 {
    report.alerts.values().sum()
}

/// The summary table.
pub fn table(report: &Report) -> String {
    let mut out = String::new();
    let rows = [
        ("devices enrolled", format!("{} of {}", report.enrolled, report.devices)),
        ("devices connected", format!("{} of {}", report.connected_devices, report.devices)),
        ("connections made", report.connections.to_string()),
        ("connections lost", report.lost.to_string()),
        ("messages published", report.published.to_string()),
        ("acknowledged, with refreshes", report.acknowledged.to_string()),
        ("messages delivered", report.delivered.to_string()),
        ("commands received", report.commands.to_string()),
        ("devices refreshed", format!("{} of {}", report.refreshed, report.devices)),
        ("tokens refreshed", report.refreshes.to_string()),
        ("of them over MQTT", report.refreshed_by_mqtt.to_string()),
        ("of these pushed", report.pushed.to_string()),
        ("asked again over REST", report.asked_twice.to_string()),
    ];
    for (name, value) in rows {
        let _ = writeln!(out, "  {name:<30} {value}");
    }
    for line in latencies(report) {
        let _ = writeln!(out, "  {line}");
    }
    counts(&mut out, "failures of honest devices", &report.failures_by_code);
    counts(&mut out, "refusals of hostile ones", &report.refusals);
    counts(&mut out, "alerts by device", &report.alerts);
    let _ = writeln!(out, "  seed {}, {} s", report.seed, report.seconds);
    out
}

/// The latencies as a table with a head.
pub fn latencies(report: &Report) -> Vec<String> {
    let row = |name: &str, cells: [String; 5]| {
        let [count, p50, p95, p99, max] = cells;
        format!("{name:<14} {count:>9} {p50:>9} {p95:>9} {p99:>9} {max:>9}")
    };
    let head = row("latency", ["count", "p50", "p95", "p99", "max"].map(str::to_owned));
    let of = |(name, l): (&&'static str, &Latency)| {
        let [p50, p95, p99, max] = [l.p50, l.p95, l.p99, l.max].map(millis);
        row(name, [l.count.to_string(), p50, p95, p99, max])
    };
    std::iter::once(head).chain(report.latencies.iter().map(of)).collect()
}

/// Milliseconds in the unit that suits them: `480 µs`, `1.1 ms`, `34 ms`, `2.5 s`.
pub fn millis(millis: f64) -> String {
    match millis {
        below if below < 0.9995 => format!("{:.0} µs", below * 1000.0),
        below if below < 9.95 => format!("{below:.1} ms"),
        below if below < 999.5 => format!("{below:.0} ms"),
        above => format!("{:.1} s", above / 1000.0),
    }
}

/// The same for a duration.
pub fn duration(took: Duration) -> String {
    millis(took.as_secs_f64() * 1000.0)
}

/// Counts in one line: `none`, or `2 connection_lost, 1 queue_full`.
pub fn inline(counts: &BTreeMap<String, u64>) -> String {
    match counts.is_empty() {
        true => "none".to_owned(),
        false => {
            let one = |(kind, count): (&String, &u64)| format!("{count} {kind}");
            counts.iter().map(one).collect::<Vec<_>>().join(", ")
        }
    }
}

fn counts(out: &mut String, title: &str, counts: &BTreeMap<String, u64>) {
    if counts.is_empty() {
        let _ = writeln!(out, "  {title}: none");
        return;
    }
    let _ = writeln!(out, "  {title}:");
    for (kind, count) in counts {
        let _ = writeln!(out, "    {count:>7}  {kind}");
    }
}
