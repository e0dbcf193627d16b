//! Connections whose peer has gone, and which wait to leave their session.

use std::future::Future;
use std::pin::Pin;

use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::session::state_machine::End;

/// A connection that can leave its session: implemented above this level.
pub(crate) trait LeaveSession: Send {
    /// Leaves, and closes what is below.
    fn leave(self: Box<Self>, end: End) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// A connection whose peer has gone, and that has to leave its session.
pub(crate) struct Disconnected {
    pub(crate) connection: Box<dyn LeaveSession>,
    pub(crate) end: End,
    /// A stop waits for it.
    pub(crate) _counted: TaskTrackerToken,
}
