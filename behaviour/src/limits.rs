//! Bounds of the forms that are read.

/// Bytes of a line of observations, labels or alerts.
pub const LINE_BYTES: usize = 8 * 1024;

/// Milliseconds by which the time of a line may lie before the time of an earlier line.
pub const OUT_OF_ORDER_MS: u64 = 5_000;
