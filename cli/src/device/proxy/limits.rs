//! Every limit of the proxy, with its unit and its reason.

use std::time::Duration;

/// Bytes of a CONNECT: it is held until it has its password. A broker of ours takes 8 KiB.
pub(super) const CONNECT_BYTES: usize = 64 * 1024;
/// Time for a whole CONNECT.
pub(super) const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Bytes that wait in one direction of one client: behind them the sender waits.
pub(super) const WAITING_BYTES: usize = 16 * 1024;
/// Bytes of a packet that is looked into as a whole: a SUBSCRIBE, an answer on a control topic. Larger ones pass.
pub(super) const LOOKED_INTO_BYTES: usize = 64 * 1024;
/// Bytes of a packet that are held until its topic is known.
pub(super) const HELD_BYTES: usize = 1024;
/// Payloads of the renewal that wait for their turn on a connection, in each direction.
pub(super) const RENEWAL_WAITING: usize = 4;
/// How long SUBACK for the control topics is waited for. The packets of the client wait meanwhile.
pub(super) const SUBACK_WITHIN: Duration = Duration::from_secs(5);
/// Time for the last bytes to a peer, once a connection has ended.
pub(super) const LAST_BYTES_WITHIN: Duration = Duration::from_secs(2);
/// A connection without keep alive ends when nothing moved on it for so long: twice the longest keep alive of the broker.
pub(super) const IDLE: Duration = Duration::from_secs(2400);
/// Connects to the broker at once, and the time after which another one may follow.
pub(super) const CONNECTS: (u32, Duration) = (32, Duration::from_secs(1));
/// First and longest wait after a connect that failed.
pub(super) const BACKOFF: (Duration, Duration) =
    (Duration::from_millis(500), Duration::from_secs(60));
/// How long a client waits for its turn before it is told that the server is not available.
pub(super) const TURN_WITHIN: Duration = Duration::from_secs(5);
/// Clients whose client ids are remembered: they get the same one when they come again.
pub(super) const REMEMBERED: usize = 256;
/// Time for all clients to be told at a stop.
pub(super) const DRAIN: Duration = Duration::from_secs(5);
