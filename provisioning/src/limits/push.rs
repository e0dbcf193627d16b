//! Limits of push refresh.

use std::time::Duration;

/// Sessions of one broker that are pushed their tokens; further ones ask by themselves.
pub const PUSH_SESSIONS: usize = 1_000_000;
/// Sessions of one device at one broker that are pushed their tokens.
pub const PUSH_SESSIONS_OF_DEVICE: u32 = 16;
/// Tokens that are pushed to one device in one life of them, by all brokers: a little more than twice as many as its
/// sessions need.
pub const PUSHES_OF_DEVICE: u64 = 64;
/// Devices whose pushes are counted at a time.
pub const PUSH_SHARES: usize = 1_000_000;
/// The life of a token in milliseconds by which a session counts at least.
pub const PUSH_LIFE_MILLIS_LEAST: u64 = 1_000 * super::TOKEN_SECONDS_LEAST;
/// Tenants that the settings name for one broker.
pub const PUSH_TENANTS: usize = 1_000;
/// The share of a token's life after which the next one is pushed, in percent, when nothing else is in the way.
pub const PUSH_SHARE_PERCENT: u64 = 65;
/// Pushes to one broker in a second at which no unevenness matters.
pub const PUSH_FREE_PER_SECOND: u32 = 5;
/// Pushes that are placed in one second, in percent of the mean rate of the sessions. And
pub const PUSH_PLACED_PERCENT: u64 = 112;
/// those that leave in one, also while a backlog is caught up. With the tenth of a second that may be saved up, no second
/// has more than 1.3 times the mean.
pub const PUSH_MOST_PERCENT: u64 = 117;
/// Milliseconds after which a push without an outcome counts as failed.
pub const PUSH_ANSWER_MILLIS: u64 = 15_000;
/// The first pause before a push is tried again, in milliseconds: twice as long each time, with jitter.
pub const PUSH_AGAIN_MILLIS: u64 = 5_000;
/// Further tries of one push.
pub const PUSH_TRIES: u32 = 4;
/// Pushes to one broker in a second that are never exceeded, unless configured.
pub const PUSH_PER_SECOND: u32 = 1_000;
/// Brokers that may wait to be pushed to, beside those of the settings.
pub const PUSH_BROKERS: usize = 16;
/// Tokens that are being made for pushes to one broker.
pub const PUSHES_AT_ONCE: usize = 32;
/// Pushes that one broker has and that have no outcome: a slow broker gets no more.
pub const PUSHES_UNDER_WAY: usize = 128;
/// Time between two looks for what is due.
pub const PUSH_TICK: Duration = Duration::from_millis(100);
/// Time for a connection to a broker, with its CONNACK and its subscription.
pub const PUSH_CONNECT: Duration = Duration::from_secs(15);
/// Time for one write to a broker.
pub const PUSH_WRITE: Duration = Duration::from_secs(10);
/// Keep-alive of that connection.
pub const PUSH_KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Time without a page after which the connection counts as dead: a broker sends one every two seconds.
pub const PUSH_SILENCE: Duration = Duration::from_secs(30);
/// The pause before a broker is tried again: the first and the longest, with jitter.
pub const PUSH_BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Time between two beats of the process that pushes to a broker.
pub const PUSH_BEAT: Duration = Duration::from_secs(5);
/// Time without a beat after which another process pushes to the broker.
pub const PUSH_TURN_SILENCE: Duration = Duration::from_secs(30);
/// Seconds of a token of provisioning itself, at most.
pub const PUSH_OWN_TOKEN_SECONDS: u64 = 3_600;
/// Time after which a next token of provisioning itself is made again that could not be made.
pub const PUSH_OWN_AGAIN: Duration = Duration::from_secs(15);
/// Time for the refreshers to end when the service stops: another process takes their turns after a silence otherwise.
pub const PUSH_STOP: Duration = Duration::from_secs(5);
