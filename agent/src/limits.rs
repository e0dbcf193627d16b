//! Every limit of this crate, with its unit and its reason.

use std::time::Duration;

// --- trust -------------------------------------------------------------------------------------------------------

/// Parts of the device and token tables: a change copies one part, so that readers never wait. Thousands of entries
/// a part at a million devices copy in under a millisecond.
pub const TRUST_SHARDS: usize = 256;
// Shared with provisioning, which refuses what would not fit here.
pub use tessera_token::limits::{
    TRUST_DEVICES, TRUST_DEVICE_KEYS, TRUST_GROUPS, TRUST_KEYS, TRUST_RESTRAINTS, TRUST_RULES,
    TRUST_TENANTS, TRUST_TOKENS,
};
/// Issuer keys with a table by which they verify faster: 215 KiB and a quarter of a millisecond each, while its
/// tokens come in (active, retiring).
pub const TRUST_PREPARED_KEYS: usize = 128;
/// Effects that a slow subscriber may lag behind before it must check everything again.
pub const TRUST_EFFECTS: usize = 4096;
/// Events stored behind the snapshot before a new snapshot is fetched: bounds the time to start.
pub const TRUST_EVENTS_STORED: usize = 10_000;
/// Views without events that wait to be stored with the next heartbeat: with a poll each [`SYNC_WAIT_SECONDS`] those of
/// [`TRUST_HEARTBEAT_STEP`] are 30.
pub const TRUST_VIEWS_WAITING: usize = 64;
/// Time after which a snapshot that could not be had is asked for again only to shorten the start. Events are taken
/// meanwhile, and stored past [`TRUST_EVENTS_STORED`].
pub const TRUST_SNAPSHOT_PAUSE: Duration = Duration::from_secs(600);
/// CBOR items of what is stored beyond a snapshot: the tables above bound it, each entry is at most 6.
pub const TRUST_FLOOR_ITEMS: usize =
    6 * (TRUST_DEVICES + TRUST_TOKENS + TRUST_GROUPS + TRUST_TENANTS + TRUST_KEYS);
/// Bytes of one stored piece of a snapshot: under the store's limit of a value.
pub const TRUST_PIECE_BYTES: usize = 512 * 1024;
/// Time between durable writes of how far time has come: what a restart without the service may forget of it. A write is
/// one or two blocks of the disk, whatever it holds: every 30 s they were a tenth of what a gateway may write.
pub const TRUST_TIME_STEP: Duration = Duration::from_secs(300);
/// Time between durable writes of heartbeats that bring no event. By so much older may trust data seem after a restart.
pub const TRUST_HEARTBEAT_STEP: Duration = Duration::from_secs(300);
/// Time between removals of entries that say nothing any more.
pub const TRUST_PRUNE: Duration = Duration::from_secs(600);
/// Seconds that a verifier must have lived before it removes anything: one that was set up while the clock of the service
/// was ahead learns of that before.
pub const PRUNE_SETTLED_SECONDS: u64 = 24 * 3600;
/// Time for which the last heartbeat bears witness against a clock that is ahead: an answer comes at least every
/// [`SYNC_WAIT_SECONDS`], and a machine that slept has the time of before for no longer.
pub const CLOCK_WITNESS: Duration = Duration::from_secs(60);
/// How long a verifier waits for a second witness of the time before it deletes by its own clock what it kept for others:
/// a service that runs is heard within seconds, and one that does not must not hold back messages for good.
pub const CLOCK_WITNESS_WAIT: Duration = Duration::from_secs(300);
/// Seconds for which a verifier that cannot follow the trust feed although it hears it decides all the same, unless
/// configured: time enough for a snapshot and for a person's look, and no more.
pub const TRUST_NOT_FOLLOWED_SECONDS: u64 = 300;

// --- sync --------------------------------------------------------------------------------------------------------

/// Seconds that one long poll waits at the service.
pub const SYNC_WAIT_SECONDS: u64 = 10;
/// Time for one long poll in all: its wait and a slow network.
pub const SYNC_POLL_TOTAL: Duration = Duration::from_secs(25);
/// Time for a snapshot of 64 MiB over a slow line.
pub const SYNC_SNAPSHOT_TOTAL: Duration = Duration::from_secs(120);
/// Calls that wait for the uplink: the feed and the reports have one each.
pub const UPLINK_CALLS: usize = 4;
/// Until the uplink stands.
pub const UPLINK_CONNECT: Duration = Duration::from_secs(15);
/// Time for the broker to take one packet.
pub const UPLINK_WRITE: Duration = Duration::from_secs(10);
/// The keep-alive of the uplink.
pub const UPLINK_KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Time for the answer to a report over the uplink.
pub const UPLINK_REPORT: Duration = Duration::from_secs(20);
/// Share of the life of a gateway's token after which the next one is asked for, in percent.
pub const UPLINK_RENEW_PERCENT: u64 = 70;
/// Longest pause until it is asked for again.
pub const UPLINK_RENEW_AGAIN: Duration = Duration::from_secs(60);
/// First wait after a failure.
pub const SYNC_BACKOFF_FIRST: Duration = Duration::from_millis(200);
/// Longest wait after many failures: an outage of the service ends at most this late for us.
pub const SYNC_BACKOFF_LAST: Duration = Duration::from_secs(15);
/// Time between lines that say again that another reader has the name of this verifier.
pub const NAMESAKE_TOLD_EVERY: Duration = Duration::from_secs(3600);
/// Shortest time between two polls that brought nothing: a service that does not wait must not be flooded.
pub const SYNC_PAUSE: Duration = Duration::from_millis(20);

/// How long a verifier waits for its wall clock to agree with its service about a snapshot that seems to come after a long
/// absence. Until then it lets no device in; after it the absence is taken for a long one.
pub const ABSENCE_OPEN: Duration = Duration::from_secs(24 * 3600);

// --- ledger ------------------------------------------------------------------------------------------------------

/// Parts of the ledger: two keys in one part wait for each other's entry, which takes less than a microsecond.
pub const LEDGER_PARTS: usize = 256;
/// Seconds whose proofs are forgotten together: about the time in which a proof is fresh.
pub const LEDGER_BUCKET_SECONDS: u32 = 64;
/// Seconds by the monotonic clock for which proofs are remembered at least, whatever the wall clock says: twice the window
/// in which one is fresh, and as much again for a clock that is set meanwhile.
pub const LEDGER_REMEMBER_SECONDS: u64 = 180;
/// Seconds by the monotonic clock after which a time that was set is believed alone: until then seconds above the time of
/// before are not closed, because they come again when the new time was wrong.
pub const LEDGER_SETTLED_SECONDS: u64 = 24 * 3600;
/// Keys and client ids remembered in all, for about three minutes: 24 bytes each, at most about 50 MiB. Past it the oldest
/// seconds are closed, which refuses slow clocks; with an eighth more of fresh ones alone, new ones are refused.
pub const LEDGER_ENTRIES: usize = 1 << 20;
/// Client ids with a suffix that one key has a place of its own for in one bucket: connections of one device that come side
/// by side. Further ones share a place, so that the proofs of these must come in order.
pub const LEDGER_SUFFIXES: u8 = 32;
/// Counters of keys that are remembered in one part for the gap that behaviour tracking looks at: 65,536 keys in all, about
/// 2 MiB.
pub const LEDGER_COUNTERS_PER_PART: usize = 256;
/// Ranges of seconds in a list: those of a clock that is right are one, each time a clock was wrong adds one.
pub const LEDGER_RANGES: usize = 8;
/// Seconds between two ranges that are one all the same: seconds unused for a minute are not worth a range.
pub const LEDGER_RANGE_GAP: u32 = 60;
/// Seconds behind that of a proof that are reserved with it: what a device whose clock is right waits for after a crash, at
/// most, and one more.
pub const LEDGER_RESERVE_SECONDS: u32 = 2;
/// The same for the first proof behind reserved seconds of which the last went by unused. A gateway whose 1,000 devices
/// connect one by one writes half as often; fewer seconds save little, since ext4 commits the time of the file each 5 s.
pub const LEDGER_RESERVE_SELDOM: u32 = 8;
/// Seconds before that of a proof that are reserved with it: slow clocks need no write of their own.
pub const LEDGER_RESERVE_BEFORE: u32 = 60;
/// Seconds by which a proof may be ahead of our clock to be reserved for with all others; beyond, it has a row of its own.
pub const LEDGER_AHEAD_SECONDS: u32 = 1;
/// Proofs that wait until their second is reserved: as many as writes may wait in the store (`STORE_QUEUE`).
pub const LEDGER_WAITING: usize = 16_384;
/// Seconds above the lowest time that this process went by from which used proofs are written down: the time may have been
/// wrong, and its seconds come again. More than the row of that time lags behind, and a restart takes.
pub const LEDGER_WRITE_BACK_AFTER: u64 = 150;
/// Seconds that stay reserved when the proofs before them are written down, and that are reserved before a slow clock's proof
/// meanwhile: after a crash they are closed.
pub const LEDGER_WRITE_BACK_KEEP: u32 = 4;
/// Proofs that are written down in one step: 16 MiB. With more of them the seconds stay reserved until the rest fits a step.
pub const LEDGER_WRITE_BACK_ENTRIES: usize = 262_144;
/// Proofs of one part of which it is known that they are not written down yet; with more, all of the part are written.
pub const LEDGER_WRITE_BACK_LIST: usize = 4_096;
/// Seconds by which the stored lowest time may lag behind while proofs come: it is written with the reserved seconds.
pub const LEDGER_LOW_WATER_LAG: u32 = 30;
/// Keys of a former version that are held until their proofs are over: about 12 MiB. With more, their seconds are closed.
pub const LEDGER_FORMER_KEYS: usize = 262_144;
/// Rows of the ledger that one step of its clean-up, or of its start, looks at.
pub const LEDGER_STEP_ROWS: usize = 2000;
/// Entries in one row of a ledger at rest: 16 KiB.
pub const LEDGER_REST_ENTRIES: usize = 680;
/// Rows of a ledger at rest that are written or read in one step: 1 MiB.
pub const LEDGER_REST_PAGE: usize = 64;

// --- validator ---------------------------------------------------------------------------------------------------

/// Device keys remembered to have passed the torsion test: every key of a large broker, about 8 MiB when there are as many.
pub const KNOWN_KEYS: usize = 262_144;

/// Proofs that came too late and are judged in full all the same in one second, so that the log can name their devices.
pub const LATE_PROOFS_PER_SECOND: u64 = 50;

// --- behaviour ---------------------------------------------------------------------------------------------------

/// Observations that wait for the tracker: one for each device of a large broker in one tick.
pub const OBSERVATIONS: usize = 16_384;
/// Refused peers without a signed token that wait for the tracker. They have a queue of their own, so that strangers push out
/// no observation of a device.
pub const STRANGERS_WAITING: usize = 1_024;
/// Observations taken in one step of the tracker.
pub const OBSERVATIONS_PER_STEP: usize = 8192;
/// Time between two steps of the tracker.
pub const TRACKER_TICK: Duration = Duration::from_millis(100);
/// Topics of a session that are counted apart between two steps; publishes to further ones pass the queue one by one.
pub const SESSION_TOPICS: usize = 8;
/// Bytes of a topic, filter or client id that waits for the tracker: a longer one is cut.
pub const TOPIC_BYTES: usize = 256;
/// Alerts that wait on the disk until provisioning has taken them; the oldest make room.
pub const ALERTS_KEPT: u64 = 10_000;
/// Alerts of one request to provisioning.
pub const ALERTS_PER_REQUEST: usize = 50;
/// Bytes of what is handed over in one request: a body there has at most 32 KiB.
pub const HAND_OVER_BYTES: usize = 24 * 1024;
/// Bytes of an alert that is kept. A longer one, of which none is made, would never be taken.
pub const ALERT_KEPT_BYTES: usize = 16 * 1024;
/// Time between two attempts to hand something over, after the first failure and at most.
pub const HAND_OVER_PAUSE: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(300)];
/// Time between two looks for counts of rules that changed.
pub const RULE_COUNTS_EVERY: Duration = Duration::from_secs(10);
/// Rules of one request to provisioning.
pub const RULE_COUNTS_PER_REQUEST: usize = 100;
/// Files of recorded observations: the oldest is removed for the next.
pub const RECORD_FILES: usize = 8;
/// Time until a recorded observation can be read.
pub const RECORD_FLUSH: Duration = Duration::from_secs(1);
/// Time after which a record that could not be written is tried again.
pub const RECORD_RETRY: Duration = Duration::from_secs(60);
/// Devices whose topics are remembered until they are told. Of more, further ones are left out and counted.
pub const INVENTORY_DEVICES: usize = 100_000;
/// Topics and filters that a device uses, remembered one by one. Further ones are told as `first/levels/#`.
pub const INVENTORY_LINES: usize = 24;
/// Topics and filters that a device was refused, remembered one by one.
pub const INVENTORY_REFUSED: usize = 8;
/// Shapes of topics of all tenants, which share them. Of more, further ones are told as `#`.
pub const INVENTORY_SHAPES: usize = 65_536;
/// Time from a device's first topic until it is told.
pub const INVENTORY_FIRST: Duration = Duration::from_secs(10);
/// Time until it is told again.
pub const INVENTORY_EVERY: Duration = Duration::from_secs(3600);
/// Time between two looks for devices that are to be told.
pub const INVENTORY_LOOK: Duration = Duration::from_secs(1);
/// Devices of one request to provisioning, at most.
pub const INVENTORY_PER_REQUEST: usize = 100;
/// Alerts that a slow reader may lag behind.
pub const ALERTS: usize = 256;
/// Profiles written in one batch: the ledger's writes wait for at most this many.
pub const PROFILES_PER_BATCH: usize = 128;
/// Time between two rounds of writing changed profiles. Profiles that an alert was told of are written in the next one.
pub const PROFILE_ROUND: Duration = Duration::from_secs(300);
/// Rounds in which every device had its turn: a crash forgets what was learned in the last 30 minutes. Written every 30 s,
/// the profiles of 100,000 active devices alone were 173 GB a day.
pub const PROFILE_PARTS: u32 = 6;
/// Names of devices that were let go and whose rows wait to be removed: about 4 MiB while the store does not write. Rows
/// past it stay until the next start.
pub const PROFILES_EVICTED: usize = 65_536;

// --- daemon ------------------------------------------------------------------------------------------------------

/// Bytes of a validate request: a password of 5,600 characters as base64url, and a client id.
pub const VALIDATE_BODY_BYTES: usize = 12 * 1024;
/// Bytes of a batch or of a list of reports: eight passwords of the largest kind, or 256 reports with long topics.
pub const DAEMON_LIST_BODY_BYTES: usize = 128 * 1024;
/// Questions of one batch: each connect may cost two signatures, on the one thread that answers.
pub const DAEMON_BATCH: usize = 64;
/// Reports of one request.
pub const DAEMON_REPORTS: usize = 256;
/// CBOR items of a request: 256 reports of at most 14.
pub const DAEMON_CBOR_ITEMS: usize = 4096;
/// Decision sessions at once: 10,000 devices of a large gateway, and connections that were not closed. About 1 KiB each.
pub const DAEMON_SESSIONS: usize = 16_384;
/// Sessions of one client id whose caller reports: the present one, and older ones whose end was not reported yet.
pub const DAEMON_SESSIONS_PER_CLIENT: usize = 4;
/// Time between two looks for sessions whose token has ended.
pub const DAEMON_SWEEP: Duration = Duration::from_secs(30);
/// Bytes of the largest message of MQTT.
pub const MESSAGE_BYTES: u64 = 268_435_455;
/// Time for a client to send its request head.
pub const DAEMON_REQUEST_TIME: Duration = Duration::from_secs(5);
/// Idle connections are closed after this.
pub const DAEMON_KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Connections at once, per listener. One that does nothing costs some 2 KiB.
pub const DAEMON_CONNECTIONS: usize = 1024;

/// Seconds for which a proof of the key counts as fresh for a rule that asks for one.
pub const FRESH_PROOF_SECONDS: u64 = 900;
