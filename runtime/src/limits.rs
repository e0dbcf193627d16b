//! Every limit of this crate, with its unit and its reason.

use std::time::Duration;

/// Bytes of a store key without its table prefix: ids are at most 64 bytes and no key joins more than five of them.
pub const STORE_KEY_BYTES: usize = 512;
/// Bytes of one value. The largest of ours is a kept message, which the broker holds
/// below it (`MAX_PACKET_MOST`).
pub const STORE_VALUE_BYTES: usize = 1024 * 1024;
/// Puts, deletes and preconditions in one batch: a message for each of the 200,000 sessions that a broker holds is one
/// step, and fits twice.
pub const STORE_BATCH_STEPS: usize = 524_288;
/// Batches that wait for the writer thread: a full queue makes callers wait, or turns them away, instead of growing
/// memory. Twice the connections that a broker lets in at once (8,192), so that they wait out a disk that stalls.
pub const STORE_QUEUE: usize = 16_384;
/// Batches joined under one sync: bounds how long the first caller waits for the last.
pub const STORE_GROUP: usize = 512;
/// Bytes of batches from which on no further batch joins a group: one record of the journal.
pub const STORE_GROUP_BYTES: usize = 8 * 1024 * 1024;
/// Pause after a sync for several callers, so that the next is for more of them: what it adds to their wait at most. A
/// sync that takes as long by itself has no pause behind it.
pub const STORE_PACE: Duration = Duration::from_millis(2);
/// Callers of one sync from which on there is no pause: the sync is shared well enough.
pub const STORE_PACED_BELOW: usize = 64;
/// Rows returned by one scan: callers page with `after`.
pub const STORE_SCAN_ROWS: usize = 10_000;
/// Bytes of sled's page cache: its default of 1 GiB is more than a gateway has.
pub const STORE_CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes of the rows in one block of a base: sled's own cost of an item is small beside it, and reading one row is still
/// cheap.
pub const STORE_BLOCK_BYTES: usize = 16 * 1024;
/// Bytes of all journals from which on a new base is written, for a small store; a large one waits for twice the bytes
/// of its rows, so that a row is written to the disk about three times in all.
pub const JOURNAL_BYTES: u64 = 4 * 1024 * 1024;
/// Bytes by which a journal is made longer at a time.
pub const JOURNAL_STEP_BYTES: usize = 256 * 1024;
/// Journals that are not in the base; each start adds one.
pub const JOURNAL_FILES: usize = 16;
/// Bytes of rows in memory from which on a new base is written.
pub const STORE_MEMORY_BYTES: usize = 32 * 1024 * 1024;
/// Times [`STORE_MEMORY_BYTES`] from which on commits wait for a base that is being written, or get `Busy` while none can
/// be written.
pub const STORE_MEMORY_MOST: usize = 4;
/// Bytes of journals that a stop leaves behind: reading them takes milliseconds.
pub const STORE_SMALL_BYTES: u64 = 512 * 1024;
/// Time before a checkpoint that failed, mostly for want of room, is tried again.
pub const STORE_CHECKPOINT_PAUSE: Duration = Duration::from_secs(60);
/// Time between two tries of a store that found no room, by itself or for a caller: service is back about a second after
/// there is room, and a try is one write of [`JOURNAL_STEP_BYTES`] and one record at most.
pub const STORE_TRY_AGAIN: Duration = Duration::from_secs(1);
/// Time for the engine to open its file: it needs a second for a gigabyte, and some damage keeps it without end.
pub const STORE_OPEN: Duration = Duration::from_secs(300);
/// Time for the engine's own threads to let the folder go when the store is closed; they need milliseconds.
pub const STORE_RELEASE: Duration = Duration::from_secs(30);
/// Bytes of a table name.
pub const STORE_TABLE_NAME_BYTES: usize = 32;

/// Connections to a database that read: long answers of SQLite, and all of PostgreSQL, wait for their turn.
pub const SQL_READERS: usize = 8;
/// Pages of the log of SQLite from which on it is moved into the database: 32 MiB.
pub const SQL_LOG_PAGES: i64 = 8_000;
/// Passes over the log at a time: commits that come meanwhile make it longer.
pub const SQL_LOG_PASSES: usize = 4;
/// Connections to PostgreSQL that write.
pub const SQL_LANES: usize = 8;
/// As many of them write at once, unless one takes longer than [`SQL_LANE_TURN`]: the fewer, the more batches each of their
/// transactions has.
pub const SQL_LANE_TURNS: usize = 2;
/// Time after which another of them may write beside one that waits for a row, or for the disk.
pub const SQL_LANE_TURN: Duration = Duration::from_millis(10);
/// Batches that one of them writes in one transaction: one that is refused makes the others come again.
pub const SQL_LANE_GROUP: usize = 32;
/// Seconds for which a connection to PostgreSQL may take to be made.
pub const SQL_CONNECT: Duration = Duration::from_secs(10);
/// Time for an answer of PostgreSQL, and for bytes to be taken by its machine.
pub const SQL_ANSWER: Duration = Duration::from_secs(30);
/// Time at the server for a row that another transaction holds, for one statement, and for the next step of a transaction.
pub const SQL_LOCK: Duration = Duration::from_secs(5);
/// See [`SQL_LOCK`].
pub const SQL_STATEMENT: Duration = Duration::from_secs(20);
/// See [`SQL_LOCK`].
pub const SQL_IDLE_IN_TRANSACTION: Duration = Duration::from_secs(10);
/// Statements that a connection to SQLite keeps prepared.
pub const SQL_PREPARED: usize = 256;
/// KiB of pages that the connection to SQLite which writes keeps in memory, and one that reads.
pub const SQL_CACHE_TO_WRITE: u32 = 16 * 1024;
/// See [`SQL_CACHE_TO_WRITE`].
pub const SQL_CACHE_TO_READ: u32 = 4 * 1024;
/// Bytes to which the log of SQLite is cut when its content has moved to the database.
pub const SQL_LOG_BYTES: u32 = 64 * 1024 * 1024;
/// Groups between two looks at the size of that log.
pub const SQL_LOG_LOOK: u64 = 16;
/// Time for the tables to be brought to a newer version.
pub const SQL_SCHEMA: Duration = Duration::from_secs(600);
/// Times that a batch is sent to PostgreSQL which meets others that wait for it.
pub const SQL_DEADLOCKS: usize = 5;
/// Bytes that a full disk must have before a database tries by itself to write there again.
pub const SQL_TRY_BYTES: u64 = 1024 * 1024;
/// Answers of small tables that are kept in memory, and the rows of one: some hundred bytes each.
pub const SQL_KEPT: usize = 4096;
/// See [`SQL_KEPT`].
pub const SQL_KEPT_ROWS: usize = 16;
/// Rows of one page of a walk through a table.
pub const SQL_WALK_ROWS: usize = 1000;
/// Bytes of a database of SQLite up to which all of it is checked at each start, in less than a second.
pub const SQL_CHECKED_AT_START: u64 = 64 * 1024 * 1024;
/// Rows up to which an answer of a database is read on the thread that asks.
pub const SQL_ROWS_AT_ONCE: usize = 128;

/// Bytes of an HTTP answer that we are willing to hold when the caller sets no limit of its own.
pub const HTTP_RESPONSE_BYTES: usize = 8 * 1024 * 1024;
/// Time to a TCP connection when the caller sets none: beyond it the peer is treated as away.
pub const HTTP_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for the body of an answer of which the head alone counts.
pub const HTTP_LEFT_TIME: Duration = Duration::from_secs(1);
/// Characters of a URL that stand in an error.
pub const HTTP_URL_TOLD: usize = 200;
/// Time for a whole exchange when the caller sets none; long polls set their own.
pub const HTTP_TOTAL_TIMEOUT: Duration = Duration::from_secs(30);
/// Idle connections kept per host: enough for a busy client, few enough to spare the server's sockets.
pub const HTTP_IDLE_PER_HOST: usize = 64;

/// Bytes that a server reads from a connection at once, and holds of a request that is not its turn yet.
pub const SERVER_READ_BYTES: usize = 4096;
/// Bytes of a request head: four of the longest headers of browsers and proxies.
pub const SERVER_HEAD_BYTES: usize = 16 * 1024;
/// Bytes of a body that wait for a handler.
pub const SERVER_AHEAD_BYTES: usize = 32 * 1024;
/// Bytes of a body that a handler left and that are read so that the connection can be kept: every refusal of a request of
/// ours leaves less.
pub const SERVER_LEFT_BYTES: u64 = 32 * 1024;
/// Time from the last byte of an answer to the end of its buffers: an idle connection holds none.
pub const SERVER_WARM: Duration = Duration::from_secs(1);
/// Time in which a peer must take [`SERVER_ANSWER_BYTES`] of an answer, or the rest of it.
pub const SERVER_ANSWER_STEP: Duration = Duration::from_secs(5);
/// See [`SERVER_ANSWER_STEP`]: 13 KiB a second.
pub const SERVER_ANSWER_BYTES: u64 = 64 * 1024;
/// Time for each step of closing: to send what the peer is told, and to read what it still sends.
pub const SERVER_CLOSING: Duration = Duration::from_secs(1);
/// Time for which a peer that still sends the body of an answered request is listened to, and not told the end: it would
/// come again at once.
pub const SERVER_LINGER: Duration = Duration::from_secs(5);
/// Time between two looks at what it sends.
pub const SERVER_LINGER_LOOK: Duration = Duration::from_millis(200);
/// Bytes read behind the last answer; then the connection is cut.
pub const SERVER_CLOSING_BYTES: usize = 64 * 1024;
/// Time after which a connection that keeps the server waiting gives its place to a newcomer that finds none.
pub const SERVER_STALLED: Duration = Duration::from_secs(1);
/// Bytes of a body or an answer that are progress: a connection on which fewer go in [`SERVER_STALLED`] keeps the server
/// waiting.
pub const SERVER_PROGRESS_BYTES: usize = 4 * 1024;
/// Places that change hands a second, and at once: more than all honest peers of an address come anew.
pub const SERVER_CHANGES: u64 = 2_000;
/// Time between two looks at those that wait for a place.
pub const SERVER_TURN: Duration = Duration::from_millis(5);
/// Connections that keep the server waiting that are ended at once: so a flood leaves room for the next newcomers.
pub const SERVER_EVICTED: usize = 64;
/// Places up to which each newcomer that finds none looks at all; of more, so many that are worth least are kept in order,
/// and serve one newcomer each.
pub const SERVER_RANKED: usize = 1024;
/// Time for which that order is used: a place that has become worth less than those in it ends this much later.
pub const SERVER_RANKING: Duration = Duration::from_millis(100);
/// Time between two looks at all places when the order is used up: 50 looks of a millisecond in a second.
pub const SERVER_LOOK: Duration = Duration::from_millis(20);
/// Time for which the kernel keeps what a peer does not take.
pub const SERVER_UNTAKEN: Duration = Duration::from_secs(20);

/// Series of one metric family; past it new label values are counted under `other`, so that no peer can grow memory.
pub const METRIC_SERIES: usize = 512;

/// Bytes of one log line before it is cut: a peer must not be able to fill a disk with one packet.
pub const LOG_LINE_BYTES: usize = 16 * 1024;
/// Lines that one cause may write at once: enough to see what happens, and to whom.
pub const LOG_BURST: u32 = 20;
/// Time for one more line of a cause: a flood of one cause writes about 0.15 MB an hour with its closing lines.
pub const LOG_REFILL: Duration = Duration::from_secs(10);
/// The same for levels below `info`, which are switched on to see much for a while.
pub const LOG_DEBUG_BURST: u32 = 1000;
/// See [`LOG_DEBUG_BURST`]: 100 lines a second and place.
pub const LOG_DEBUG_REFILL: Duration = Duration::from_millis(10);
/// Time from the first line that was left out to the closing line that tells how many there were.
pub const LOG_CLOSING: Duration = Duration::from_secs(10);
/// How often the closing lines are looked at.
pub const LOG_LOOK: Duration = Duration::from_secs(1);
/// Causes with a row of their own, in all places: some 300 bytes each.
pub const LOG_CAUSES: usize = 1024;
/// Keys of one place with a row of their own: more than one place has refusal codes; tenants beyond share rows.
pub const LOG_KEYS: usize = 32;
/// Rows that the further keys of a place share: a flood under one key hides this part of them.
pub const LOG_SHARED: usize = 8;
/// Time after which a cause that wrote nothing gives its row to another, when all are taken.
pub const LOG_FORGET: Duration = Duration::from_secs(600);
/// Bytes of a cause's key: two ids of 64 bytes fit, longer errors are cut.
pub const LOG_KEY_BYTES: usize = 160;
/// Bytes of the words that a closing line repeats.
pub const LOG_WORDS_BYTES: usize = 160;

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

/// Bytes of a file of certificates or keys: chains are a few KiB, the authorities of a whole system some hundred.
pub const PEM_BYTES: u64 = 1024 * 1024;
/// How often the files of certificates are looked at.
pub const CERTIFICATE_CHECK: Duration = Duration::from_secs(5);
/// Time for a TLS handshake in front of HTTP: two round trips and a signature.
pub const TLS_WITHIN: Duration = Duration::from_secs(5);
/// Bytes of a ClientHello that are looked at for the size of records that it asks for. A client with buffers that are
/// small sends fewer than 1 KiB.
pub const TLS_HELLO_BYTES: usize = 4 * 1024;
/// Bytes of it that are read at once.
pub const TLS_HELLO_CHUNK: usize = 1024;
/// Bytes of a PROXY header of version 2 behind its first 16. Addresses take 36, the rest is for what balancers add.
pub const PROXY_HEADER_BYTES: usize = 2_048;
/// Bytes of a PROXY header of version 1 with its end of line, as its specification says.
pub const PROXY_LINE_BYTES: usize = 107;
/// Time for a PROXY header: the balancer sends it with its first packet.
pub const PROXY_WITHIN: Duration = Duration::from_secs(2);
/// Sockets of one HTTP listener whose PROXY header has not come yet: only balancers that are trusted get here.
pub const PROXY_WAITING: usize = 1024;
/// Entries of `Forwarded` or `X-Forwarded-For` that are walked: more trusted hops than this stand in no row.
pub const FORWARDED_HOPS: usize = 32;

/// Sessions of a PKCS#11 token, and so calls at a time, where the settings name no number.
pub const PKCS11_SESSIONS: usize = 4;
/// The most sessions of a token: each has a thread.
pub const PKCS11_SESSIONS_MOST: usize = 64;
/// Calls that wait for a session: as many as a token that signs 200 times a second does in [`PKCS11_CALL`].
pub const PKCS11_QUEUE: usize = 1024;
/// Time for a call to a PKCS#11 module, with its wait in the queue. A device asks again after a refusal.
pub const PKCS11_CALL: Duration = Duration::from_secs(5);
/// Pause after a session could not be opened: a module that is away is not loaded anew by each request.
pub const PKCS11_OPEN_EVERY: Duration = Duration::from_secs(1);
/// Pause between two loadings of a module for a key that is not in its token: the key may be gone for good.
pub const PKCS11_MISSED_EVERY: Duration = Duration::from_secs(30);
/// Wait for calls that are in a module before it is loaded anew.
pub const PKCS11_RESET_WAIT: Duration = Duration::from_secs(1);
/// Handles of keys that a session remembers; more are found again.
pub const PKCS11_HANDLES: usize = 1024;
