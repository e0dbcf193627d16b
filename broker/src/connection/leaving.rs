//! Lets connections whose peer has gone leave their session in turn.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::hub::Leaving;
use crate::limits::LEAVING_AT_ONCE;

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
