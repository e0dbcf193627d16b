//! Limits of what verifiers tell of devices and rules.

/// The largest number that a report may say.
pub const COUNT_MOST: u64 = 1 << 53;
/// Rules of one report of counts.
pub const RULE_COUNTS_TOLD: usize = 100;
/// Verifiers whose counts of a rule are kept apart; those of further ones are left out.
pub const RULE_VERIFIERS: usize = 256;
/// Time after which the counts of a verifier that says nothing more are forgotten.
pub const RULE_COUNTS_SECONDS: u64 = 90 * 24 * 3600;

/// Devices of one report of evidence.
pub const EVIDENCE_ITEMS: usize = 100;
/// Topics of one device in a report.
pub const EVIDENCE_USES: usize = 64;
/// Devices whose topics are written in one transaction.
pub const INVENTORY_PER_WRITE: usize = 50;
/// Topics of a device that are kept one by one; further ones are kept as `first/levels/#`.
pub const DEVICE_USES: usize = 40;
/// The same of the devices of a role.
pub const ROLE_USES: usize = 512;
/// Refused topics of a role. Of more, those that one device alone asked for make room.
pub const ROLE_REFUSALS: usize = 64;
/// Time after which a topic that was not used again is forgotten.
pub const USES_KEPT_SECONDS: u64 = 90 * 24 * 3600;
/// Lines that an advice puts in the place of one: when more would be needed, the line stays.
pub const ADVICE_LINES: usize = 8;
/// Values of a level that an advice names one by one; when there are more, it proposes `+`.
pub const ADVICE_VALUES: usize = 4;
/// Days for which devices must have been watched before a role should be changed by an advice.
pub const ADVICE_DAYS_LEAST: u64 = 7;
/// Percent of the devices of a role that must have been seen before.
pub const ADVICE_DEVICES_PERCENT: u64 = 90;
/// Days of use that an advice may look at.
pub const ADVICE_DAYS_MOST: u64 = 90;
