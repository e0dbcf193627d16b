//! Counters that every device of a run shares.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use super::{Histogram, Latency, Report};
use crate::limits;

/// One alert as a backend received it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alert {
    /// The device that it names.
    pub device: String,
    /// The signal or signals that spoke.
    pub signal: String,
    /// The reasons in words, as they came.
    pub words: String,
}

/// A number that only grows.
#[derive(Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds one.
    pub fn one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes one away again: for what is counted while it lasts.
    pub fn less(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// The value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Everything that is counted in a run.
#[derive(Default)]
pub struct Tally {
    /// Devices that enrolled.
    pub enrolled: Count,
    /// Devices that connected at least once.
    pub connected: Count,
    /// Connections made.
    pub connections: Count,
    /// Devices connected now.
    pub online: Count,
    /// Subscriptions granted.
    pub subscribed: Count,
    /// Messages queued for sending.
    pub published: Count,
    /// Messages acknowledged.
    pub acknowledged: Count,
    /// Messages that a backend received.
    pub delivered: Count,
    /// Commands received by devices.
    pub commands: Count,
    /// Refreshes.
    pub refreshes: Count,
    /// Devices that refreshed at least once.
    pub refreshed: Count,
    /// Refreshes that were answered on `$tessera/token`.
    pub refreshed_by_mqtt: Count,
    /// Of these, tokens that provisioning pushed.
    pub pushed: Count,
    /// Requests on `$tessera/token` without an answer in time, or that found no room: REST was asked after them.
    pub asked_twice: Count,
    /// Connections lost without asking.
    pub lost: Count,
    /// From the first request to the token.
    pub enrol_latency: Histogram,
    /// From the name of the broker to the open TCP connection.
    pub tcp_latency: Histogram,
    /// The handshake of TLS.
    pub tls_latency: Histogram,
    /// From CONNECT to CONNACK.
    pub connack_latency: Histogram,
    /// From the name of the broker to CONNACK.
    pub connect_latency: Histogram,
    /// From publish to its acknowledgement.
    pub publish_latency: Histogram,
    /// From the request on `$tessera/token` or REST to the new token.
    pub refresh_latency: Histogram,
    /// From publish to the backend.
    pub delivery_latency: Histogram,
    failures: Mutex<BTreeMap<String, u64>>,
    refusals: Mutex<BTreeMap<String, u64>>,
    alerts: Mutex<Vec<Alert>>,
}

impl Tally {
    /// Counts a failure of an honest device.
    pub fn failure(&self, kind: &str) {
        bump(&mut locked(&self.failures), kind);
    }

    /// Counts a refusal that a hostile persona met.
    pub fn refusal(&self, kind: &str) {
        bump(&mut locked(&self.refusals), kind);
    }

    /// Keeps an alert, up to [`limits::ALERTS`].
    pub fn alert(&self, alert: Alert) {
        let mut alerts = locked(&self.alerts);
        if alerts.len() < limits::ALERTS {
            alerts.push(alert);
        }
    }

    /// The alerts so far.
    pub fn alerts(&self) -> Vec<Alert> {
        locked(&self.alerts).clone()
    }

    /// Failures of honest devices so far, all codes.
    pub fn failures(&self) -> u64 {
        locked(&self.failures).values().sum()
    }

    /// The same by code.
    pub fn failures_by_code(&self) -> BTreeMap<String, u64> {
        locked(&self.failures).clone()
    }

    /// The report at this moment.
    pub fn report(&self, seed: u64, devices: usize, took: Duration) -> Report {
        Report {
            seed,
            seconds: (took.as_secs_f64() * 10.0).round() / 10.0,
            devices,
            enrolled: self.enrolled.get(),
            connected_devices: self.connected.get(),
            connections: self.connections.get(),
            online: self.online.get(),
            published: self.published.get(),
            acknowledged: self.acknowledged.get(),
            delivered: self.delivered.get(),
            commands: self.commands.get(),
            refreshes: self.refreshes.get(),
            refreshed: self.refreshed.get(),
            refreshed_by_mqtt: self.refreshed_by_mqtt.get(),
            pushed: self.pushed.get(),
            asked_twice: self.asked_twice.get(),
            lost: self.lost.get(),
            failures: self.failures(),
            failures_by_code: locked(&self.failures).clone(),
            refusals: locked(&self.refusals).clone(),
            alerts: self.alerts_by_device(),
            latencies: self.latencies(),
        }
    }

    fn alerts_by_device(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for alert in locked(&self.alerts).iter() {
            bump(&mut counts, &format!("{} {}", alert.device, alert.signal));
        }
        counts
    }

    fn latencies(&self) -> BTreeMap<&'static str, Latency> {
        let named = [
            ("enrol", &self.enrol_latency),
            ("connect", &self.connect_latency),
            ("refresh", &self.refresh_latency),
            ("end to end", &self.delivery_latency),
        ];
        named.into_iter().filter_map(|(name, h)| Some((name, h.latency()?))).collect()
    }
}

fn bump(counts: &mut BTreeMap<String, u64>, kind: &str) {
    let known = counts.contains_key(kind) || counts.len() < limits::REFUSAL_KINDS;
    let kind = if known { kind } else { "other" };
    *counts.entry(kind.to_owned()).or_default() += 1;
}

/// A panic elsewhere leaves counters that are still good to read.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
