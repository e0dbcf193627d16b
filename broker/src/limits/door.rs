//! Limits of wrong credentials, by the address prefix from which they come.

use std::time::Duration;

/// Different pairs of name and credential, all wrong, of one prefix within an hour, from which on its wrong answers are slow.
/// Twice the broker's usual hour is added.
pub const GUESSES_SLOW: u32 = 30;
/// The most that the usual hour adds up to with them: an attacker who is patient raises the bound no further.
pub const GUESSES_SLOW_MOST: u32 = 120;
/// Further pairs during the slow step, from which on signatures are checked at a bounded rate.
pub const GUESSES_CLOSED: u32 = 90;
/// Further pairs during a step that make it begin anew.
pub const GUESSES_AGAIN: u32 = 30;
/// Different credentials among the pairs, as a sketch of 64 bits counts them. One setting that many devices share is no
/// guess; with four times as many pairs it counts all the same.
pub const GUESSED_CREDENTIALS: u32 = 8;
/// The time in which pairs are counted.
pub const GUESSES_HOUR: Duration = Duration::from_secs(3600);
/// Hours over which the usual hour of the broker is learned.
pub const GUESSES_USUAL_HOURS: u32 = 24;
/// How long a step lasts without news.
pub const DOOR_STEP: Duration = Duration::from_secs(600);
/// How long the answer to a wrong credential waits during a step.
pub const DOOR_SLOW: Duration = Duration::from_secs(1);
/// Answers of one prefix that wait at once. A further one is sent at once and says that the server is busy.
pub const DOOR_WAITING_PER_PREFIX: usize = 32;
/// Answers of all prefixes that wait at once.
pub const DOOR_WAITING: usize = 512;
/// Signatures a second, and at once, that are checked for a prefix in the closed step: about a fiftieth of a processor. Tokens
/// that got in from the prefix before have as many of their own, and a CONNECT that is accepted costs none.
pub const DOOR_CHECKS_PER_SECOND: u32 = 200;
/// Tokens that got in from a prefix, by a mark of 8 bytes: the newest.
pub const DOOR_KNOWN: usize = 128;
