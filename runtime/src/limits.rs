//! Every limit of this crate, with its unit and its reason.

use std::time::Duration;

/// Bytes of a store key without its table prefix: ids are at most 64 bytes and no key joins more than five of them.
pub const STORE_KEY_BYTES: usize = 512;
/// Bytes of one value: sled keeps a value in one page run. The largest of ours is a kept message, which the broker holds
/// below it (`MAX_PACKET_MOST`).
pub const STORE_VALUE_BYTES: usize = 1024 * 1024;
/// Puts, deletes and preconditions in one batch: a message for each of the 200,000 sessions that a broker holds is one
/// step, and fits twice.
pub const STORE_BATCH_STEPS: usize = 524_288;
/// Batches that wait for the writer thread: a full queue makes callers wait, or turns them away, instead of growing
/// memory. Twice the connections that a broker lets in at once (8,192), so that they wait out a disk that stalls.
pub const STORE_QUEUE: usize = 16_384;
/// Batches joined under one flush: bounds how long the first caller waits for the last.
pub const STORE_GROUP: usize = 512;
/// Pause after a flush for several callers, so that the next is for more of them: what it adds to their wait at most.
pub const STORE_PACE: Duration = Duration::from_millis(2);
/// Callers of one flush from which on there is no pause: the flush is shared well enough.
pub const STORE_PACED_BELOW: usize = 64;
/// Rows returned by one scan: callers page with `after`.
pub const STORE_SCAN_ROWS: usize = 10_000;
/// Bytes of sled's page cache: its default of 1 GiB is more than a gateway has.
pub const STORE_CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// Time for the engine's own threads to let the folder go when the store is closed; they need milliseconds.
pub const STORE_RELEASE: Duration = Duration::from_secs(30);
/// Bytes of a table name.
pub const STORE_TABLE_NAME_BYTES: usize = 32;

/// Bytes of an HTTP answer that we are willing to hold when the caller sets no limit of its own.
pub const HTTP_RESPONSE_BYTES: usize = 8 * 1024 * 1024;
/// Time to a TCP connection when the caller sets none: beyond it the peer is treated as away.
pub const HTTP_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for a whole exchange when the caller sets none; long polls set their own.
pub const HTTP_TOTAL_TIMEOUT: Duration = Duration::from_secs(30);
/// Idle connections kept per host: enough for a busy client, few enough to spare the server's sockets.
pub const HTTP_IDLE_PER_HOST: usize = 64;

/// Series of one metric family; past it new label values are counted under `other`, so that no peer can grow memory.
pub const METRIC_SERIES: usize = 512;

/// Bytes of one log line before it is cut: a peer must not be able to fill a disk with one packet.
pub const LOG_LINE_BYTES: usize = 16 * 1024;

/// Bytes of a secret file: tokens and keys are well under one KiB.
pub const SECRET_FILE_BYTES: u64 = 64 * 1024;
/// How often a file of derivation keys is looked at: a key that was taken out ends sessions this much later.
pub const DERIVATION_FILE_LOOK: Duration = Duration::from_secs(1);

/// Milliseconds by which wall time and monotonic time may part between two looks before it counts as a jump: NTP slews
/// half a millisecond a second, and steps above an eighth of a second.
pub const CLOCK_STEP_MILLIS: u64 = 5_000;
/// Time for which a clock that jumped must stay where it is before it is believed. A wrong reading that passes within
/// it moves nothing; a correction takes effect within it, and service must be back within a minute.
pub const CLOCK_HELD: Duration = Duration::from_secs(30);
/// Lived time goes this part faster than monotonic time while it lies behind the wall clock: what a stop of eight days
/// left behind is caught up in 64 days of running, and a clock that is ahead for a day brings it three hours ahead.
pub const LIVED_CATCH_UP: u64 = 8;
/// No clock shows an earlier time than this program was released at (2026-11-01T00:00:00Z, in seconds).
pub const RELEASED_SECONDS: u64 = 1_793_491_200;
