//! Limits of partner tokens.

use std::time::Duration;

/// Time for which an answer of provisioning about a partner token is used again. Revocations hold at once all the same.
pub const PARTNER_KEPT: Duration = Duration::from_secs(30);
/// The same for a refusal: a token that was made just now is good soon.
pub const PARTNER_REFUSED_KEPT: Duration = Duration::from_secs(5);
/// Partner tokens whose answers and counters are kept: some 600 bytes each.
pub const PARTNERS_KEPT: usize = 10_000;
/// Refused ones.
pub const PARTNER_REFUSALS_KEPT: usize = 4096;
/// Questions to provisioning at a time, about tokens that were not good lately.
pub const PARTNER_ASKS: usize = 16;
/// The same of one address prefix, with those that wait.
pub const PARTNER_ASKS_OF_PREFIX: usize = 4;
/// The same of all, with those that wait.
pub const PARTNER_ASKS_WAITING: usize = 128;
/// Questions about tokens that were good lately: no stranger takes a place among them.
pub const PARTNER_ASKS_OF_KNOWN: usize = 16;
/// Time without a question after one that provisioning has not answered.
pub const PARTNER_ASK_PAUSE: Duration = Duration::from_secs(1);
/// Time for a place, and for the answer.
pub const PARTNER_ASK_WITHIN: Duration = Duration::from_secs(3);
/// Bytes of an answer: an access token of 4 KiB as base64url, and the scope beside it.
pub const PARTNER_ANSWER_BYTES: usize = 32 * 1024;
/// Partner tokens in one report of their use: as many as provisioning takes.
pub const PARTNER_USES_REPORTED: usize = 100;
/// Time between two reports.
pub const PARTNER_REPORT_EVERY: Duration = Duration::from_secs(60);
