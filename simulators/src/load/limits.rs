//! Every bound of a load, with its unit and reason.

use std::time::Duration;

/// Connections under way at once: more only wait in the backlog of the broker.
pub(super) const CONNECTING: usize = 512;
/// Connections from one source address: Linux has 28,232 ports for them unless it is told otherwise.
pub const FROM_ONE_ADDRESS: usize = 28_000;
/// Between two looks at the clock while devices are started.
pub(super) const STEP: Duration = Duration::from_millis(10);
/// Between two progress lines, and two points of a plot.
pub(super) const SECOND: Duration = Duration::from_secs(1);
/// Points of a plot. A longer run has points that stand for more seconds each.
pub(super) const POINTS: usize = 1_200;
/// How long answers of the last messages are waited for.
pub(super) const SETTLE: Duration = Duration::from_secs(10);
/// How long the devices may take to leave.
pub(super) const DRAIN: Duration = Duration::from_secs(15);
/// Requests to provisioning under way at once while devices are removed or revoked.
pub(super) const REQUESTS: usize = 32;
/// Requests for tokens under way at once after an outage.
pub(super) const REFRESHING: usize = 256;
/// Tries to remove one device.
pub(super) const REMOVE_TRIES: u32 = 5;
/// Devices that could not be removed and are told by name.
pub(super) const NAMED: usize = 20;
/// Rows of one page of devices or claims.
pub(super) const PAGE: usize = 1_000;
/// Pages that are read: a page may hold few rows and name the next.
pub(super) const PAGES: usize = 1_000;
/// Bytes of a payload: the largest packet of a virtual device is 64 KiB, with its topic.
pub const PAYLOAD_BYTES: usize = 60 * 1024;
/// Topics of one device.
pub const TOPICS: usize = 16;
/// How long a session of a revoked device may stay open before it counts as a failure.
pub(super) const CLOSED_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of a request for metrics.
pub(super) const REQUEST_BYTES: usize = 4 * 1024;
/// Requests for metrics at once, and time for one.
pub(super) const SCRAPES: usize = 8;
/// See [`SCRAPES`].
pub(super) const SCRAPE: Duration = Duration::from_secs(5);
/// Points of a latency curve.
pub(super) const CURVE: usize = 200;
