//! Every limit of this crate, with its unit and its reason.

use std::time::Duration;

/// Requests (publishes, subscribes) that wait inside one MQTT client: a slow broker makes the device wait.
pub const LINK_REQUESTS: usize = 64;
/// Events that wait between one MQTT client and its device.
pub const LINK_EVENTS: usize = 256;
/// Bytes of one MQTT packet in either direction: the largest token is 4 KiB, a relayed answer 8 KiB.
pub const PACKET_BYTES: usize = 64 * 1024;
/// Bytes of one WebSocket frame: a broker may put its largest packet (960 KiB) and others in one.
pub const FRAME_BYTES: usize = 2 * 1024 * 1024;
/// Publishes in flight of one device: rumqttc keeps a slot for each.
pub const IN_FLIGHT: u16 = 64;
/// Seconds from the first byte to CONNACK: longer means that the broker is not serving.
pub const CONNECT_SECONDS: u64 = 15;
/// Keep-alive of a virtual device.
pub const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Between two pings of a connection without a keep-alive.
pub const NO_KEEP_ALIVE: Duration = Duration::from_secs(3600);
/// Between two acts of a device.
pub const TICK_LEAST: Duration = Duration::from_millis(1);
/// How long one answer (SUBACK, PUBACK, token) may take before it counts as lost.
pub const ANSWER: Duration = Duration::from_secs(10);
/// Until a token that the broker had no room for is handed in again.
pub const HAND_IN_AGAIN: Duration = Duration::from_secs(1);
/// Enrolments under way at once: enough to fill two cores, few enough to leave the service's queue short.
pub const ENROL_AT_ONCE: usize = 32;
/// Connections under way at once in the first wave.
pub const CONNECT_AT_ONCE: usize = 64;
/// Claims asked for in one call of the operator API.
pub const CLAIMS_PER_CALL: usize = 500;
/// Devices of one fleet: a process has about a million ports at most, and a socket costs memory on both sides.
pub const DEVICES: usize = 50_000;
/// Distinct refusal codes counted; further ones go under `other`.
pub const REFUSAL_KINDS: usize = 128;
/// Devices that are not of the run and are named all the same: as many as a screen has lines for.
pub const GUESTS: usize = 8;
/// Their messages that wait to be told.
pub const HEARD: usize = 64;
/// Characters of such a message that are shown.
pub const HEARD_SHOWN: usize = 32;
/// Alerts kept for the report.
pub const ALERTS: usize = 10_000;
/// First and longest wait between two attempts to connect.
pub const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(20));
/// Tries of a request to provisioning before the device gives up for this round.
pub const HTTP_TRIES: u32 = 6;
/// Bytes of an operator's answer: a page of the largest list.
pub const OPERATOR_ANSWER_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of the answer to a WebSocket upgrade, and its headers.
pub const UPGRADE_BYTES: usize = 8 * 1024;
/// See [`UPGRADE_BYTES`].
pub const UPGRADE_HEADERS: usize = 64;
