//! Every bound of a measurement, with its unit and reason.

use std::time::Duration;

/// Connections under way at once while connects are counted: enough to fill two cores, less than any backlog.
pub(super) const CONNECTING: usize = 64;
/// The same for refused ones, which Tessera answers 50 ms later on purpose.
pub(super) const REFUSING: usize = 512;
/// CONNECTs signed before they are sent: each proof is good for 60 s, and this many are sent within a few seconds.
pub(super) const SIGNED_AT_ONCE: usize = 5_000;
/// Connections made and closed before a server's memory is looked at: what it allocates once is not a session's.
pub(super) const WARM_UP: usize = 200;
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
/// Work that a server does after its last answer is counted for so long.
pub(super) const SETTLE: Duration = Duration::from_millis(300);
/// Time for memory to come to rest before it is looked at.
pub(super) const REST: Duration = Duration::from_millis(1_000);
/// CONNECTs of each kind of refusal.
pub(super) const REFUSED: usize = 2_000;
/// Devices revoked in one round.
pub(super) const REVOKED: usize = 100;
/// Between two messages of the pair that waits while everybody leaves.
pub(super) const PROBE_EVERY: Duration = Duration::from_millis(1);
/// How long the pair is watched before and after everybody leaves.
pub(super) const PROBED: Duration = Duration::from_secs(2);
/// How long a revoked device's socket may stay open before the run fails.
pub(super) const CLOSED_WITHIN: Duration = Duration::from_secs(10);
/// Signature checks of which the fastest tells what one costs.
pub(super) const CHECKS: usize = 1_000;
