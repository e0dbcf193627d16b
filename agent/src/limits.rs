//! Every limit of this crate, with its unit and its reason.

use std::time::Duration;

// --- trust -------------------------------------------------------------------------------------------------------

/// Parts of the device and token tables: a change copies one part, so that readers never wait. Thousands of entries
/// a part at a million devices copy in under a millisecond.
pub const TRUST_SHARDS: usize = 256;
// Shared with provisioning, which refuses what would not fit here.
pub use tessera_token::limits::{
    TRUST_DEVICES, TRUST_DEVICE_KEYS, TRUST_GROUPS, TRUST_KEYS, TRUST_TENANTS, TRUST_TOKENS,
};
/// Issuer keys with a table by which they verify faster: 215 KiB and a quarter of a millisecond each, the first that are
/// known.
pub const TRUST_PREPARED_KEYS: usize = 128;
/// Effects that a slow subscriber may lag behind before it must check everything again.
pub const TRUST_EFFECTS: usize = 4096;
/// Events stored behind the snapshot before a new snapshot is fetched: bounds the time to start.
pub const TRUST_EVENTS_STORED: usize = 10_000;
/// Seconds after which a snapshot that could not be had is asked for again only to shorten the start. Events are taken
/// meanwhile, and stored past [`TRUST_EVENTS_STORED`].
pub const TRUST_SNAPSHOT_PAUSE_SECONDS: u64 = 600;
/// CBOR items of what is stored beyond a snapshot: the tables above bound it, each entry is at most 6.
pub const TRUST_FLOOR_ITEMS: usize =
    6 * (TRUST_DEVICES + TRUST_TOKENS + TRUST_GROUPS + TRUST_TENANTS + TRUST_KEYS);
/// Bytes of one stored piece of a snapshot: under the store's limit of a value.
pub const TRUST_PIECE_BYTES: usize = 512 * 1024;
/// Seconds between durable writes of the highest time ever seen: what a restart may forget of it.
pub const TRUST_TIME_STEP_SECONDS: u64 = 30;
/// Seconds between durable writes of heartbeats that bring no event.
pub const TRUST_HEARTBEAT_STEP_SECONDS: u64 = 30;
/// Seconds between removals of entries that say nothing any more.
pub const TRUST_PRUNE_SECONDS: u64 = 600;
/// Seconds by which the clock may have run ahead of a newly signed time before the highest time seen is taken back.
pub const TRUST_AHEAD_SECONDS: u64 = 3600;

// --- sync --------------------------------------------------------------------------------------------------------

/// Seconds that one long poll waits at the service.
pub const SYNC_WAIT_SECONDS: u64 = 10;
/// Time for one long poll in all: its wait and a slow network.
pub const SYNC_POLL_TOTAL: Duration = Duration::from_secs(25);
/// Time for a snapshot of 64 MiB over a slow line.
pub const SYNC_SNAPSHOT_TOTAL: Duration = Duration::from_secs(120);
/// First wait after a failure.
pub const SYNC_BACKOFF_FIRST: Duration = Duration::from_millis(200);
/// Longest wait after many failures: an outage of the service ends at most this late for us.
pub const SYNC_BACKOFF_LAST: Duration = Duration::from_secs(15);
/// Shortest time between two polls that brought nothing: a service that does not wait must not be flooded.
pub const SYNC_PAUSE: Duration = Duration::from_millis(20);

// --- ledger ------------------------------------------------------------------------------------------------------

/// Parts of the ledger: two keys in one part wait for each other's flush.
pub const LEDGER_PARTS: usize = 4096;
/// Keys remembered in memory in one part; the rest is read from the store. In all about 6 MiB.
pub const LEDGER_PART_KEYS: usize = 64;
/// Rows of the ledger that are read into memory at start, when there are not more: about a tenth of a second.
pub const LEDGER_LOADED_ROWS: usize = 131_072;
/// Seconds after which a key that was not used needs no row: its tokens have expired.
pub const LEDGER_KEEP_SECONDS: u64 = 31 * 24 * 3600;
/// Rows looked at in one step of the ledger's clean-up.
pub const LEDGER_PRUNE_ROWS: usize = 2000;

// --- validator ---------------------------------------------------------------------------------------------------

/// Device keys remembered to have passed the torsion test: every key of a large broker, about 4 MiB.
pub const KNOWN_KEYS: usize = 65_536;

/// Proofs that came too late and are judged in full all the same in one second, so that the log can name their devices.
pub const LATE_PROOFS_PER_SECOND: u64 = 50;

// --- behaviour ---------------------------------------------------------------------------------------------------

/// Observations that wait for the tracker: one for each device of a large broker in one tick.
pub const OBSERVATIONS: usize = 16_384;
/// Observations taken in one step of the tracker.
pub const OBSERVATIONS_PER_STEP: usize = 8192;
/// Time between two steps of the tracker.
pub const TRACKER_TICK: Duration = Duration::from_millis(100);
/// Alerts that a slow reader may lag behind.
pub const ALERTS: usize = 256;
/// Bytes of one device's profile.
pub const PROFILE_BYTES: usize = 1024;
/// Groups with a baseline of their own.
pub const BEHAVIOUR_GROUPS: usize = 2048;
/// Profiles written in one batch: the ledger's writes wait for at most this many.
pub const PROFILES_PER_BATCH: usize = 128;
/// Time between two rounds of writing changed profiles.
pub const PROFILE_SAVE: Duration = Duration::from_secs(30);
/// Profiles evicted at once when the table is full: finding the longest idle costs a walk.
pub const PROFILE_EVICT_PART: usize = 64;

// --- daemon ------------------------------------------------------------------------------------------------------

/// Bytes of a validate request: a password of 5,600 characters as base64url, and a client id.
pub const VALIDATE_BODY_BYTES: usize = 12 * 1024;
/// Time for a client to send its request head.
pub const DAEMON_REQUEST_TIME: Duration = Duration::from_secs(5);
/// Idle connections are closed after this.
pub const DAEMON_KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Connections at once, per listener.
pub const DAEMON_CONNECTIONS: usize = 256;
