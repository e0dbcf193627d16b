//! Every bound of a played scenario, with its unit and reason.

use std::time::Duration;

/// Acts that wait for all devices together. Past it the world waits, and the run is late.
pub(super) const ACTS: usize = 200_000;
/// Acts that wait for one device. Past it the device leaves acts out, which is counted.
pub(super) const ACTS_OF_ONE: usize = 4_096;
/// Orders that wait for one connection.
pub(super) const ORDERS: usize = 64;
/// Connections of one device that are open at once: the silent sessions of an attack are 500.
pub(super) const SESSIONS: usize = 600;
/// Connections under way at once.
pub(super) const CONNECTING: usize = 512;
/// Refused peers under way at once.
pub(super) const OUTSIDERS: usize = 256;
/// How fast the time of the scenario may go.
pub const FASTEST: f64 = 10_000.0;
/// The shortest keep-alive in seconds: a busy machine is late by more than one.
pub(super) const KEEP_ALIVE: f64 = 10.0;
/// Bytes of one payload: the largest packet of a virtual device is 64 KiB, with its topic.
pub(super) const PAYLOAD_BYTES: u64 = 60_000;
/// How long acknowledgements are waited for before a connection is closed.
pub(super) const SETTLE: Duration = Duration::from_secs(5);
/// How long the devices may take to leave.
pub(super) const DRAIN: Duration = Duration::from_secs(20);
/// Until a lost connection is opened again at the earliest, and at the latest.
pub(super) const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Between two progress lines.
pub(super) const SECOND: Duration = Duration::from_secs(1);
/// Alerts that are kept to be scored.
pub(super) const ALERTS: usize = 100_000;
/// How long the subscription to the alerts may take.
pub(super) const WATCHING: Duration = Duration::from_secs(15);
/// Seconds of the longest announcement that the operator API takes.
pub(super) const ANNOUNCED_SECONDS: u64 = 604_800;
