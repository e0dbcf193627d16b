//! Limits of the trust feed over MQTT.

use std::time::Duration;

/// Questions of gateways that are under way at once, long polls among them. More are answered with `limit_reached`, and
/// asked again.
pub const UPLINK_ASKS: usize = 256;
/// Snapshots that are fetched at once: each may be as large as 64 MiB.
pub const UPLINK_SNAPSHOTS: usize = 2;
/// Bytes of answers that wait to be taken by gateways, page by page.
pub const UPLINK_HELD_BYTES: usize = 160 * 1024 * 1024;
/// How long an answer waits for its next page to be asked for.
pub const UPLINK_HELD: Duration = Duration::from_secs(30);
/// Seconds that a long poll of a gateway waits, at most.
pub const UPLINK_WAIT_SECONDS: u64 = 20;
/// Time for provisioning to answer a poll in all: its wait, and a slow network.
pub const UPLINK_POLL_WITHIN: Duration = Duration::from_secs(30);
/// Time for provisioning to answer with a snapshot, and to take evidence.
pub const UPLINK_SNAPSHOT_WITHIN: Duration = Duration::from_secs(60);
/// Questions of one gateway a second, and how many it may save up: a poll that brings news is followed by the next.
pub const UPLINK_ASKS_PER_SECOND: u32 = 10;
