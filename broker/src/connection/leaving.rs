//! Those whose peer has gone, in line to leave their session.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::{TaskTracker, TaskTrackerToken};

use super::serve::Connection;
use crate::limits::LEAVING_AT_ONCE;
use crate::session::machine::End;

/// A connection whose peer has gone, and that has to leave its session.
pub(crate) struct Leaving {
    pub(super) connection: Box<Connection>,
    pub(super) end: End,
    /// Whoever stops waits for it.
    pub(super) _counted: TaskTrackerToken,
}

/// Lets those who leave do so, a few at a time: when everybody goes at once, those who stay are served in between. Once
/// the connections have been waited for, those who are in line are the last.
pub(crate) async fn see_off(
    tasks: TaskTracker,
    mut leaving: mpsc::Receiver<Leaving>,
    drained: CancellationToken,
) {
    let mut some = Vec::with_capacity(LEAVING_AT_ONCE);
    loop {
        let count = tokio::select! {
            biased;
            count = leaving.recv_many(&mut some, LEAVING_AT_ONCE) => count,
            () = drained.cancelled(), if !leaving.is_closed() => {
                leaving.close();
                continue;
            }
        };
        if count == 0 {
            return;
        }
        for leaving in some.drain(..) {
            tasks.spawn(leaving.connection.close(leaving.end));
        }
        tokio::task::yield_now().await;
    }
}
