//! Every socket is a file descriptor, and the soft limit of most systems is 1,024.

/// Raises the soft limit to the hard one and says what there is.
pub(super) fn raise(sockets: usize) {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) if limit < sockets as u64 => {
            tracing::warn!(limit, sockets, "fewer file descriptors than sockets are allowed for");
        }
        Ok(limit) => tracing::info!(limit, "file descriptors"),
        Err(error) => tracing::warn!(%error, "the limit of file descriptors could not be raised"),
    }
}
