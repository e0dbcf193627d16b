//! Every bound of a measurement, with its unit and reason.

use std::time::Duration;

/// Connections under way at once while connects are counted: 64 left 15 % of two cores idle, and mosquitto's backlog is
/// 100, beyond which its clients would wait for a second SYN.
pub(super) const CONNECTING: usize = 96;
/// The same for refused ones, which Tessera answers 50 ms later on purpose.
pub(super) const REFUSING: usize = 512;
/// CONNECTs signed before they are sent: each proof is good for 60 s, and this many are sent within a few seconds.
pub(super) const SIGNED_AT_ONCE: usize = 5_000;
/// Connections made and closed before a server's memory is looked at: what it allocates once is not a session's.
pub(super) const WARM_UP: usize = 200;
/// Of a small crowd one in so many: what the first ones left behind is used again, and must not hide what the rest take.
pub(super) const WARM_UP_SHARE: usize = 10;
/// Devices of fan-in, subscribers of fan-out.
pub(super) const SPREAD: usize = 1_000;
/// Messages published and not yet delivered: below the 1,000 that wait for a session, so that none has to be dropped.
pub(super) const OUTSTANDING: usize = 800;
/// Commands of the backend without an acknowledgement: below the receive maximum of 256.
pub(super) const COMMANDS_OPEN: usize = 200;
/// Messages published to all subscribers and not yet delivered to all.
pub(super) const FAN_OUT_OPEN: usize = 64;
/// Bytes of a payload.
pub(super) const PAYLOAD: usize = 64;
/// Without a single message for so long, what is outstanding counts as lost.
pub(super) const STALL: Duration = Duration::from_secs(2);
/// An answer without which the run fails.
pub(super) const ANSWER: Duration = Duration::from_secs(20);
/// Work that a server does after its last answer is counted for so long.
pub(super) const SETTLE: Duration = Duration::from_millis(300);
/// Time for memory to come to rest before it is looked at.
pub(super) const REST: Duration = Duration::from_millis(1_000);
/// CONNECTs of each kind of refusal.
pub(super) const REFUSED: usize = 2_000;
/// Devices revoked in one round.
pub(super) const REVOKED: usize = 100;
/// Readers of the trust feed to which a revocation goes.
pub(super) const FEED_READERS: usize = 50;
/// Time for a poll of such a reader: its wait, and the answer.
pub(super) const FEED_POLL: Duration = Duration::from_secs(25);
/// Between two messages of the pair that talks while all others leave.
pub(super) const PROBE_EVERY: Duration = Duration::from_millis(1);
/// How long the pair is watched before and after all others leave.
pub(super) const PROBED: Duration = Duration::from_secs(2);
/// Claims that are made for each second of a round: more than two cores take.
pub(super) const ENROLLED_A_SECOND: f64 = 5_000.0;
/// Claims of one call: as many as the service makes at once.
pub(super) const CLAIMS_AT_ONCE: usize = 1000;
/// Token requests that are signed for each second of a round: more than two cores answer.
pub(super) const ISSUED_A_SECOND: f64 = 12_000.0;
/// Tokens of one device in a round: fewer than its answers that provisioning keeps, and than its burst.
pub(super) const ISSUED_TO_A_DEVICE: usize = 48;
/// Bytes of an answer of provisioning.
pub(super) const HTTP_BUFFER: usize = 4 * 1024;
/// How long a revoked device's socket may stay open before the run fails.
pub(super) const CLOSED_WITHIN: Duration = Duration::from_secs(10);
/// Signature checks of which the fastest tells what one costs.
pub(super) const CHECKS: usize = 1_000;
/// Bytes that a TLS session of the generator holds back at most: packets here are far smaller.
pub(super) const TLS_BUFFER: usize = 16 * 1024;

// --- growth ------------------------------------------------------------------------------------------------------

/// Times that the movers of `growth` come and go: a thousand subscribes alone are too little work to time.
pub(super) const GROWTH_TURNS: usize = 3;

// --- flood -------------------------------------------------------------------------------------------------------

/// Honest devices that publish once a second.
pub(super) const HONEST: usize = 200;
/// How long the honest ones are watched alone.
pub(super) const CALM: Duration = Duration::from_secs(5);
/// How long the flood lasts: twice as long as a silent socket may stay, so that their number has come to rest.
pub(super) const FLOODED: Duration = Duration::from_secs(10);
/// Bad connects offered a second, all attackers together: what took down a known cluster, and 1 % for what is begun late.
pub(super) const FLOOD_A_SECOND: u64 = 30_300;
/// Threads that offer them: one cannot begin so many on a processor that it shares.
pub(super) const ATTACKERS: usize = 2;
/// Address prefixes (/24) that they come from.
pub(super) const FLOOD_PREFIXES: usize = 1_000;
/// Connects begun before the clock is looked at again.
pub(super) const FLOOD_BURST: u64 = 64;
/// Pause of an attacker with nothing due.
pub(super) const FLOOD_PAUSE: Duration = Duration::from_micros(500);
/// How long an attacker keeps a socket on which it sent something: longer than a refusal takes.
pub(super) const LOUD: Duration = Duration::from_millis(150);
/// How long it keeps a silent one: longer than the broker's deadline of 5 s.
pub(super) const SILENT: Duration = Duration::from_secs(6);
/// Silent sockets open at most, all attackers together: descriptors of this process.
pub(super) const SILENT_OPEN: usize = 10_000;
/// Between two honest devices that connect.
pub(super) const NEWCOMER_EVERY: Duration = Duration::from_millis(50);
/// Between two honest devices that connect from the network of an attacker.
pub(super) const NEIGHBOUR_EVERY: Duration = Duration::from_millis(250);
/// How long an honest device tries to connect.
pub(super) const NEWCOMER_PATIENCE: Duration = Duration::from_secs(5);
/// Between two of its tries.
pub(super) const NEWCOMER_PAUSE: Duration = Duration::from_millis(50);
/// How often the server's memory is looked at.
pub(super) const WATCH_EVERY: Duration = Duration::from_millis(100);

// --- wear --------------------------------------------------------------------------------------------------------

/// Between two publishes of a device that stays.
pub(super) const ACTIVE_EVERY: Duration = Duration::from_secs(60);
/// Time for what runs behind an answer to be written: the broker writes proofs within a second or two.
pub(super) const WRITTEN: Duration = Duration::from_secs(4);
/// Time for which connects come one by one, at times that have nothing to do with each other, unless `--quiet` is shorter.
pub(super) const ALONE_FOR: Duration = Duration::from_secs(540);
/// The mean time between them: that of 1,000 devices that connect once an hour.
pub(super) const ALONE: Duration = Duration::from_millis(3_600);

// --- push refresh ------------------------------------------------------------------------------------------------

/// Lives of a token for which pushes are counted: the one after the enrolment, and one as after a long time.
pub(super) const PUSHED_LIVES: u32 = 2;
/// The share of its life after which a token is pushed in the mean.
pub(super) const PUSHED_SHARE: f64 = 0.65;
