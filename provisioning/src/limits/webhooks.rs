//! Limits of webhooks.

use std::time::Duration;

/// Webhooks of one tenant.
pub const WEBHOOKS: usize = 10;
/// Webhooks of all tenants.
pub const WEBHOOKS_TOTAL: usize = 1000;
/// Patterns of actions of one webhook.
pub const WEBHOOK_ACTIONS: usize = 32;
/// Characters of one pattern.
pub const WEBHOOK_ACTION_CHARS: usize = 64;
/// Messages of one webhook that wait.
pub const WEBHOOK_WAITING: usize = 10_000;
/// Time for which the number of messages that wait is taken as it was counted.
pub const WEBHOOK_COUNT_EVERY: Duration = Duration::from_secs(30);
/// Attempts of one webhook that can be read; past it the oldest goes.
pub const WEBHOOK_ATTEMPTS: u64 = 100;
/// Characters of the reason of a failed attempt.
pub const WEBHOOK_WHY_CHARS: usize = 200;
/// Messages of one webhook that are sent at a time in one process.
pub const WEBHOOK_AT_ONCE: usize = 4;
/// Messages of the webhooks of one tenant that are sent at a time in one process.
pub const WEBHOOK_AT_ONCE_OF_TENANT: usize = 8;
/// Messages that are sent at a time in one process.
pub const WEBHOOK_AT_ONCE_TOTAL: usize = 32;
/// Time of one attempt, from the look-up of the name to the whole answer.
pub const WEBHOOK_TIME: Duration = Duration::from_secs(10);
/// Bytes of an answer.
pub const WEBHOOK_ANSWER_BYTES: usize = 64 * 1024;
/// Seconds for which a process has a message to itself: longer than an attempt.
pub const WEBHOOK_LEASE_SECONDS: u64 = 60;
/// Seconds between attempts: ten attempts within about three days.
pub const WEBHOOK_PAUSES: [u64; 9] = [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400];
/// Seconds of the longest of them, with a fifth more: no message waits longer.
pub const WEBHOOK_PAUSE_MOST: u64 = 86_400 * 6 / 5;
/// Seconds without a success after which a webhook is disabled (5 days).
pub const WEBHOOK_FAILING_SECONDS: u64 = 5 * 24 * 3600;
/// Seconds after which a failure does not go on from the one before: longer than the longest pause.
pub const WEBHOOK_FAILED_LATELY_SECONDS: u64 = 2 * 24 * 3600;
/// Seconds for which messages have a signature by the former secret too, after a rotation (a day).
pub const WEBHOOK_FORMER_SECONDS: u64 = 24 * 3600;
/// Entries of the audit log that are looked at for webhooks in one step.
pub const WEBHOOK_STEP: usize = 100;
/// Such steps before attempts are looked at again.
pub const WEBHOOK_STEPS: usize = 10;
/// Messages that one call sends again.
pub const WEBHOOK_REPLAY: u64 = 1000;
/// Time between looks for messages that are due.
pub const WEBHOOK_LOOK: Duration = Duration::from_secs(1);
/// Time after which a webhook without messages is looked at again: another process may have left some.
pub const WEBHOOK_LOOK_IDLE: Duration = Duration::from_secs(30);
