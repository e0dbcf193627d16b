//! Permit, accept, back off, first-packet deadline, in that order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tessera_runtime::stop::Stop;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Semaphore;

use crate::connection::{self, Place};
use crate::hub::Hub;
use crate::limits::{ACCEPT_BACKOFF, BACKLOG};

/// Listens with a backlog that takes the reconnects of a whole fleet.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts until stop is told.
pub(super) async fn run(hub: Arc<Hub>, listener: TcpListener, sockets: usize, stop: Stop) {
    let permits = Arc::new(Semaphore::new(sockets));
    loop {
        let permit = tokio::select! {
            () = stop.stopping() => return,
            permit = Arc::clone(&permits).acquire_owned() => permit,
        };
        let Ok(permit) = permit else { return };
        let accepted = tokio::select! {
            () = stop.stopping() => return,
            accepted = listener.accept() => accepted,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                hub.metrics.limits_hit.inc(&["accept"]);
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
                continue;
            }
        };
        match hub.admission.enter(peer.ip(), hub.clock.monotonic()) {
            Err(turned) => hub.metrics.turned_away.inc(&[turned.as_str()]),
            Ok(ticket) => {
                // Small packets leave at once; when that cannot be set they leave a little later.
                let _ = socket.set_nodelay(true);
                let place = Place { ticket, _permit: permit };
                hub.tasks.spawn(connection::run(Arc::clone(&hub), socket, peer, place));
            }
        }
    }
}
