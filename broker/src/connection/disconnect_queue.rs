//! Runs a connection and lets it leave its session. Connections whose peer has gone wait for that in a queue.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::serve::Connection;
use crate::hub::{Disconnected, LeaveSession};
use crate::limits::DISCONNECTS_AT_ONCE;
use crate::refusals::What;
use crate::session::state_machine::End;

/// Lets queued connections leave a few at a time: when many go at once, the others are served in between. Ends after
/// `drained`, once the queue is empty.
pub(crate) async fn run_disconnect_queue(
    tasks: TaskTracker,
    mut queue: mpsc::Receiver<Disconnected>,
    drained: CancellationToken,
) {
    let mut some = Vec::with_capacity(DISCONNECTS_AT_ONCE);
    loop {
        let count = tokio::select! {
            biased;
            count = queue.recv_many(&mut some, DISCONNECTS_AT_ONCE) => count,
            () = drained.cancelled(), if !queue.is_closed() => {
                queue.close();
                continue;
            }
        };
        if count == 0 {
            return;
        }
        for one in some.drain(..) {
            tasks.spawn(one.connection.leave(one.end));
        }
        tokio::task::yield_now().await;
    }
}

/// Serves until something ends the connection, then leaves the session and closes.
pub(super) async fn run(mut connection: Box<Connection>) {
    connection.hub.connected.fetch_add(1, Ordering::Relaxed);
    let end = connection.live().await;
    connection.hub.connected.fetch_sub(1, Ordering::Relaxed);
    if end.is_refusal() {
        connection.refusal(What::Session, end.cause.as_str()).tell();
    }
    if end.is_by_peer() {
        let queue = connection.hub.disconnected.clone();
        // In turn with the others; when the queue is full, at once.
        let counted = connection.hub.tasks.token();
        match queue.try_send(Disconnected { connection, end, _counted: counted }) {
            Ok(()) => return,
            Err(TrySendError::Full(back) | TrySendError::Closed(back)) => {
                return back.connection.leave(back.end).await;
            }
        }
    }
    connection.leave(end).await;
}

impl LeaveSession for Connection {
    fn leave(self: Box<Self>, end: End) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(self.close(end))
    }
}
