//! Limits of alerts about odd behaviour, and of announced changes.

/// Alerts of one report of a verifier.
pub const ALERTS_TOLD: usize = 50;
/// Alerts that an account of verifiers hands over in an hour.
pub const ALERTS_AN_HOUR: u64 = 2_000;
/// Bytes of an alert in the audit log; of a longer one the log has its words alone.
pub const ALERT_TEXT_BYTES: usize = 4 * 1024;
/// Seconds after which a line of alerts that no verifier went on with is forgotten: 400 days, since an alert that comes again
/// after that would have an entry twice.
pub const ALERT_LINE_SECONDS: u64 = 400 * 24 * 3600;
/// Seconds for which a change of a group is announced at most: a week.
pub const ANNOUNCED_SECONDS_MOST: u64 = 7 * 24 * 3600;
