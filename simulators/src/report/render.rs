//! The report as text: one progress line, one table.

use std::fmt::Write;

use super::Report;

/// One line for a screen that moves.
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
        report.refusals.values().sum::<u64>(),
        report.alerts.values().sum::<u64>(),
        report.failures,
    )
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
        ("asked again over REST", report.asked_twice.to_string()),
    ];
    for (name, value) in rows {
        let _ = writeln!(out, "  {name:<30} {value}");
    }
    latencies(&mut out, report);
    counts(&mut out, "failures of honest devices", &report.failures_by_code);
    counts(&mut out, "refusals of hostile ones", &report.refusals);
    counts(&mut out, "alerts by device", &report.alerts);
    let _ = writeln!(out, "  seed {}, {} s", report.seed, report.seconds);
    out
}

fn latencies(out: &mut String, report: &Report) {
    let _ = writeln!(
        out,
        "  {:<14} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "latency (ms)", "count", "p50", "p95", "p99", "max"
    );
    for (name, l) in &report.latencies {
        let _ = writeln!(
            out,
            "  {name:<14} {:>9} {:>9.2} {:>9.2} {:>9.2} {:>9.2}",
            l.count, l.p50, l.p95, l.p99, l.max
        );
    }
}

fn counts(out: &mut String, title: &str, counts: &std::collections::BTreeMap<String, u64>) {
    if counts.is_empty() {
        let _ = writeln!(out, "  {title}: none");
        return;
    }
    let _ = writeln!(out, "  {title}:");
    for (kind, count) in counts {
        let _ = writeln!(out, "    {count:>7}  {kind}");
    }
}
