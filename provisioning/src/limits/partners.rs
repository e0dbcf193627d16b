//! Limits of partner tokens.

use super::{API_TOKEN_SECONDS, API_TOKEN_SECONDS_LEAST, API_TOKEN_SECONDS_MOST};

/// Partner tokens of one device: the present one, the next one, and some for places of their own.
pub const PARTNER_TOKENS_PER_DEVICE: usize = 8;
/// Partner tokens of one device with those that have expired and are still listed.
pub const PARTNER_TOKEN_ROWS: usize = 4 * PARTNER_TOKENS_PER_DEVICE;
/// Seconds of a partner token's life when its maker names none.
pub const PARTNER_TOKEN_SECONDS_USUAL: u64 = API_TOKEN_SECONDS;
/// The same at least.
pub const PARTNER_TOKEN_SECONDS_LEAST: u64 = API_TOKEN_SECONDS_LEAST;
/// The same at most, also for a row that says more.
pub const PARTNER_TOKEN_SECONDS_MOST: u64 = API_TOKEN_SECONDS_MOST;
/// Seconds that an access token for a partner lives at least: a partner token that ends earlier is over.
pub const PARTNER_ACCESS_SECONDS_LEAST: u64 = 2;
/// Days for which the use of a partner token is kept.
pub const PARTNER_USE_DAYS: u64 = 92;
/// Partner tokens of which one report of a broker tells the use: at their longest they fit into a body.
pub const PARTNER_USES_REPORTED: usize = 100;
