//! Limits of imports and exports, and of requests that are done once.

use std::time::Duration;

use super::KEYS_PER_PUBLICATION;

/// Seconds for which the answer to a request with an Idempotency-Key is kept (a day).
pub const KEPT_SECONDS: u64 = 24 * 3600;
/// Kept answers of one account: past it the oldest goes.
pub const KEPT_PER_ACCOUNT: usize = 256;
/// Characters of an Idempotency-Key at least: 128 bits as base64url.
pub const KEY_CHARS_LEAST: usize = 22;
/// Characters of an Idempotency-Key at most.
pub const KEY_CHARS_MOST: usize = 255;
/// Requests with an Idempotency-Key that are being done at a time in one process.
pub const KEPT_RUNNING: usize = 1024;
/// Tags in the headers of a condition.
pub const ETAGS: usize = 16;
/// Bytes of such a header.
pub const ETAGS_BYTES: usize = 1024;
/// Bytes of one line of an import: a device with all of its attributes at their longest takes 2 KiB.
pub const IMPORT_LINE_BYTES: usize = 4096;
/// Lines of one import; a longer file is sent as several.
pub const IMPORT_LINES: u64 = 200_000;
/// The highest number that the first line of an import may have.
pub const IMPORT_FIRST_MOST: u64 = 1_000_000_000;
/// Ranges of lines with claims that an import of claims keeps: each refused line between others makes one more.
pub const CLAIM_IMPORT_RANGES: usize = 2_000;
/// Imports of claims of one tenant that are known at a time.
pub const CLAIM_IMPORTS: usize = 500;
/// Seconds for which an import of claims goes on by its key after its last claim (30 days).
pub const CLAIM_IMPORT_SECONDS: u64 = 30 * 24 * 3600;
/// Lines of one write of an import: the keys of one publication of the trust feed.
pub const IMPORT_BATCH: usize = KEYS_PER_PUBLICATION;
/// Time that the next line of an import may take.
pub const IMPORT_LINE_TIME: Duration = Duration::from_secs(10);
/// Time for which lines that are here wait for others to be written with.
pub const IMPORT_GATHER: Duration = Duration::from_millis(20);
/// Time for which they wait in all, while others come one by one.
pub const IMPORT_GATHER_MOST: Duration = Duration::from_secs(1);
/// Time of a whole import.
pub const IMPORT_TIME: Duration = Duration::from_secs(3600);
/// Devices of one read of an export.
pub const EXPORT_ROWS: usize = 500;
/// Imports and exports of one tenant that run at a time in one process.
pub const BULK_OF_TENANT: usize = 2;
/// The same of all tenants.
pub const BULK: usize = 16;
/// Parts of an answer that is made while it is sent that wait for the peer.
pub const FLOW_PARTS: usize = 2;
