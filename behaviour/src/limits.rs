//! Bounds of the forms that are read.

/// Bytes of a line of observations, labels or alerts.
pub const LINE_BYTES: usize = 8 * 1024;

/// Milliseconds by which the time of a line may lie before the time of an earlier line.
pub const OUT_OF_ORDER_MS: u64 = 5_000;

/// Lines that wait until no earlier one can come: five seconds of a broker at 40,000 messages a second.
pub const WAITING_LINES: usize = 200_000;

/// Clients of a converted file of which something is remembered.
pub const CONVERTED_CLIENTS: usize = 200_000;
