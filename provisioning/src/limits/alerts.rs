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

/// Longest time for which a device is held back: a month.
pub const RESTRAINT_SECONDS_MOST: u64 = 30 * 24 * 3600;
/// Seconds for which a release is told: longer than any restraint that a rule of a broker has made by itself.
pub const RESTRAINT_SECONDS_KEPT: u64 = 24 * 3600;
/// Devices of a group that a policy may answer in an hour, at most.
pub const ANSWERS_AN_HOUR: u64 = 10_000;
/// Seconds in shadow after which a rule may be enforced.
pub const RULE_SHADOW_SECONDS: u64 = 3600;
/// Seconds for which a test of a rule counts.
pub const RULE_TEST_SECONDS: u64 = 7 * 24 * 3600;
/// Devices of a thousand beyond which a rule that cuts off waits for a second operator.
pub const RULE_WIDE_PER_MILLE: u64 = 10;
/// Seconds for which a rule that ended is shown.
pub const RULE_KEPT_SECONDS: u64 = 7 * 24 * 3600;
