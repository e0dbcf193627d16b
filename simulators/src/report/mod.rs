//! Report of a run: counters, latencies, alerts, and their report as text and JSON.

pub mod histogram;
pub mod render;
pub mod tally;
#[cfg(test)]
mod tests;

pub use histogram::Histogram;
pub use tally::{Alert, Tally};

use std::collections::BTreeMap;

use serde::Serialize;

/// A run in numbers.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The seed that makes the run again.
    pub seed: u64,
    /// Seconds that it took.
    pub seconds: f64,
    /// Devices asked for.
    pub devices: usize,
    /// Devices that enrolled.
    pub enrolled: u64,
    /// Devices that connected at least once.
    pub connected_devices: u64,
    /// Connections made, with reconnects.
    pub connections: u64,
    /// Devices connected now.
    pub online: u64,
    /// Messages that honest devices queued for sending.
    pub published: u64,
    /// Of them acknowledged by the broker.
    pub acknowledged: u64,
    /// Messages that a backend received.
    pub delivered: u64,
    /// Commands that devices received.
    pub commands: u64,
    /// Tokens refreshed.
    pub refreshes: u64,
    /// Devices that refreshed at least once.
    pub refreshed: u64,
    /// Tokens that came over MQTT, of those refreshed.
    pub refreshed_by_mqtt: u64,
    /// Tokens that provisioning pushed, of those over MQTT.
    #[serde(default)]
    pub pushed: u64,
    /// Requests for a token over MQTT that had no answer or no room, so that REST was asked too: no failures by
    /// themselves.
    pub asked_twice: u64,
    /// Connections that honest devices lost without asking for it.
    pub lost: u64,
    /// Honest devices' failures: a clean run has none.
    pub failures: u64,
    /// The same by code.
    pub failures_by_code: BTreeMap<String, u64>,
    /// Hostile personas' refusals by code.
    pub refusals: BTreeMap<String, u64>,
    /// Alerts by `device signal`.
    pub alerts: BTreeMap<String, u64>,
    /// Latencies in milliseconds by name.
    pub latencies: BTreeMap<&'static str, Latency>,
}

/// Percentiles in microseconds.
#[derive(Debug, Clone, Copy, Serialize, PartialEq, Eq)]
pub struct Micros {
    /// Observations.
    pub count: u64,
    /// The shortest.
    pub min: u64,
    /// Half are below.
    pub p50: u64,
    /// 90 % are below.
    pub p90: u64,
    /// 95 % are below.
    pub p95: u64,
    /// 99 % are below.
    pub p99: u64,
    /// 999 of 1,000 are below.
    pub p999: u64,
    /// The longest.
    pub max: u64,
}

/// Percentiles in milliseconds.
#[derive(Debug, Clone, Copy, Serialize, PartialEq)]
pub struct Latency {
    /// Observations.
    pub count: u64,
    /// Half are below.
    pub p50: f64,
    /// 95 % are below.
    pub p95: f64,
    /// 99 % are below.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}
