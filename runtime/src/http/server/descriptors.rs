//! Every connection is a file descriptor, and the soft limit of most systems is 1,024.

use super::ServerLimits;

/// Descriptors that the rest of the process needs: store, logs, listeners, its own connections.
const OTHERS: usize = 128;

/// Raises the soft limit to the hard one, and lowers the connections to what it can hold: a server that has no descriptor
/// left accepts nothing at all.
pub(super) fn fit(mut limits: ServerLimits) -> ServerLimits {
    let most = match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(most) => usize::try_from(most).unwrap_or(usize::MAX),
        Err(error) => {
            tracing::warn!(%error, "the limit of file descriptors could not be raised");
            return limits;
        }
    };
    let room = (most.saturating_sub(OTHERS) / 2).max(16);
    if room < limits.connections {
        tracing::warn!(
            descriptors = most,
            wanted = limits.connections,
            connections = room,
            "fewer file descriptors than HTTP connections are allowed for"
        );
        // Each peer keeps its part.
        limits.per_peer = limits.per_peer.saturating_mul(room) / limits.connections;
        limits.connections = room;
    }
    limits.per_peer = limits.per_peer.clamp(1, limits.connections);
    limits
}
