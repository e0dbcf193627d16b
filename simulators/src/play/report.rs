//! The numbers of a run, and their text.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::pace::Pace;
use super::stage::Stage;
use crate::load::Removal;
use crate::report::{render as words, Micros};

/// See the module.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The seed of world and keys.
    pub seed: u64,
    /// In front of every device id.
    pub prefix: String,
    /// Seconds of the scenario in one second.
    pub speed: f64,
    /// Hours of the scenario that were played.
    pub hours: f64,
    /// Seconds that it took.
    pub seconds: f64,
    /// Devices of the scenario.
    pub devices: u64,
    /// Those that enrolled, with the reader of the alerts.
    pub enrolled: u64,
    /// Devices that connected at least once.
    pub connected: u64,
    /// Connections made.
    pub connections: u64,
    /// Messages published, without those that were to be refused.
    pub published: u64,
    /// Of them acknowledged.
    pub acknowledged: u64,
    /// Messages that devices received.
    pub received: u64,
    /// Subscriptions granted.
    pub subscribed: u64,
    /// Tokens renewed.
    pub renewed: u64,
    /// Sessions that were lost and opened again.
    pub reopened: u64,
    /// Acts that were not done: the device or the process was too far behind, or had no means.
    pub left_out: u64,
    /// Failures by code: they were not to be.
    pub failures: BTreeMap<String, u64>,
    /// Refusals by code: they were to be.
    pub refusals: BTreeMap<String, u64>,
    /// By how much acts were late, in microseconds.
    pub late: Option<Micros>,
    /// Attacks that were made.
    pub attacks: u64,
    /// Messages about alerts of devices of the run.
    pub alerts: u64,
    /// Those about others of the tenant, which are not judged.
    pub alerts_of_others: u64,
    /// Those for which there was no room.
    pub alerts_dropped: u64,
    /// The removal of the devices.
    pub removal: Option<Removal>,
}

impl Report {
    pub(super) fn of(stage: &Stage, reached: Option<(Pace, u64)>) -> Self {
        let (plan, tally) = (&stage.plan, stage.tally());
        let counted = tally.report(plan.seed, 0, std::time::Duration::ZERO);
        let (hours, seconds) = reached.map_or((0.0, 0.0), |(pace, until)| {
            let seconds = stage.now().saturating_sub(pace.process).as_secs_f64();
            (until.saturating_sub(pace.world) as f64 / 3_600_000.0, seconds)
        });
        Self {
            seed: plan.seed,
            prefix: plan.prefix.clone(),
            speed: plan.speed,
            hours,
            seconds,
            devices: plan.scenario.devices,
            enrolled: counted.enrolled,
            connected: counted.connected_devices,
            connections: counted.connections,
            published: counted.published,
            acknowledged: counted.acknowledged,
            received: counted.delivered,
            subscribed: tally.subscribed.get(),
            renewed: counted.refreshes,
            reopened: 0,
            left_out: 0,
            failures: counted.failures_by_code,
            refusals: counted.refusals,
            late: stage.late.micros(),
            attacks: 0,
            alerts: 0,
            alerts_of_others: 0,
            alerts_dropped: 0,
            removal: None,
        }
    }

    /// Whether the fleet was served, nothing was let in that was to be refused, and nothing is left of it.
    pub fn is_good(&self) -> bool {
        self.failures.is_empty() && self.removal.as_ref().is_none_or(Removal::is_done)
    }
}

/// The report as text.
pub fn render(report: &Report) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<28}{value}");
    };
    line("scenario played", format!("{:.1} hours in {:.0} s", report.hours, report.seconds));
    line("devices", format!("{}, enrolled {}", report.devices, report.enrolled));
    line("connected at least once", report.connected.to_string());
    line("connections", report.connections.to_string());
    line("published", format!("{}, acknowledged {}", report.published, report.acknowledged));
    line("received", report.received.to_string());
    line("tokens renewed", report.renewed.to_string());
    line("sessions opened again", report.reopened.to_string());
    line("acts left out", report.left_out.to_string());
    if let Some(late) = report.late {
        let millis = |micros: u64| micros as f64 / 1_000.0;
        let (half, most) = (millis(late.p50), millis(late.p99));
        line("late by", format!("p50 {half:.1} ms, p99 {most:.1} ms"));
    }
    line("attacks made", report.attacks.to_string());
    line("messages about alerts", report.alerts.to_string());
    line("refusals", words::inline(&report.refusals));
    line("failures", words::inline(&report.failures));
    if let Some(removal) = &report.removal {
        line("devices removed", removal.removed.to_string());
        if let Some(rest) = removal.rest() {
            line("", rest);
        }
    }
    text
}
