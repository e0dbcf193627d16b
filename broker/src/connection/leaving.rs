//! The end of a connection: it leaves its session, in turn with the others when its peer has gone.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::serve::Connection;
use crate::hub::{Leave, Leaving};
use crate::limits::LEAVING_AT_ONCE;
use crate::refusals::What;
use crate::session::machine::End;

/// Connections leave a few at a time: when many go at once, those that stay are served in between. Once the connections
/// have been waited for, those in line are the last.
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
            tasks.spawn(leaving.connection.leave(leaving.end));
        }
        tokio::task::yield_now().await;
    }
}

/// Serves until something ends the connection, then leaves the session and says goodbye.
pub(super) async fn run(mut connection: Box<Connection>) {
    connection.hub.connected.fetch_add(1, Ordering::Relaxed);
    let end = connection.live().await;
    connection.hub.connected.fetch_sub(1, Ordering::Relaxed);
    if end.is_refusal() {
        connection.refusal(What::Session, end.why).tell();
    }
    if end.is_by_peer() {
        let leaving = connection.hub.leaving.clone();
        // In line with the others that leave; when the line is too long, here and now.
        let counted = connection.hub.tasks.token();
        match leaving.try_send(Leaving { connection, end, _counted: counted }) {
            Ok(()) => return,
            Err(TrySendError::Full(back) | TrySendError::Closed(back)) => {
                return back.connection.leave(back.end).await;
            }
        }
    }
    connection.leave(end).await;
}

impl Leave for Connection {
    fn leave(self: Box<Self>, end: End) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(self.close(end))
    }
}
