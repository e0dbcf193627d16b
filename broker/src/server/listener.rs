//! Permit, accept, back off, admission, handshake, first-packet deadline, in that order.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tessera_runtime::stop::Stop;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::connection::{self, Place};
use crate::hub::Hub;
use crate::limits::{ACCEPT_BACKOFF, BACKLOG, PROXY_WAITING, PROXY_WITHIN};
use crate::transport::accept::Door;
use crate::transport::proxy::{self, Source};

/// Listens with a backlog that takes the reconnects of a whole fleet.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    // Small packets leave at once; what is accepted here inherits it (Linux).
    socket.set_nodelay(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// One address that is listened on.
pub(super) struct Listener {
    pub(super) hub: Arc<Hub>,
    pub(super) door: Door,
    /// Sockets of all listeners together.
    pub(super) permits: Arc<Semaphore>,
    /// Who may send PROXY headers, when this listener expects them.
    pub(super) proxies: Option<Arc<[Source]>>,
}

impl Listener {
    /// Accepts until stop is told.
    pub(super) async fn run(self, listener: TcpListener, stop: Stop) {
        let waiting = PROXY_WAITING.min(self.hub.admission.most_half_open());
        let headers = Arc::new(Semaphore::new(waiting));
        loop {
            if self.permits.available_permits() == 0 {
                self.hub.metrics.limits_hit.inc(&["sockets"]);
            }
            let permit = tokio::select! {
                () = stop.stopping() => return,
                permit = Arc::clone(&self.permits).acquire_owned() => permit,
            };
            let Ok(permit) = permit else { return };
            let accepted = tokio::select! {
                () = stop.stopping() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((socket, peer)) => self.take(socket, peer, permit, &headers),
                Err(error) => {
                    self.hub.metrics.limits_hit.inc(&["accept"]);
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    }

    fn take(
        &self,
        socket: TcpStream,
        peer: SocketAddr,
        permit: OwnedSemaphorePermit,
        headers: &Arc<Semaphore>,
    ) {
        let (hub, door) = (Arc::clone(&self.hub), self.door.clone());
        let Some(proxies) = &self.proxies else {
            if let Some(place) = admit(&hub, peer.ip(), permit) {
                let tasks = hub.tasks.clone();
                tasks.spawn(connection::run(hub, door, socket, peer.ip(), place));
            }
            return;
        };
        let trusted = proxies.iter().any(|source| source.contains(peer.ip()));
        let waiting = Arc::clone(headers).try_acquire_owned();
        let (true, Ok(waiting)) = (trusted, waiting) else {
            hub.metrics.turned_away.inc(&[if trusted { "proxy_waiting" } else { "proxy_source" }]);
            return;
        };
        let tasks = hub.tasks.clone();
        tasks.spawn(async move {
            let found = behind_proxy(&hub, socket, peer, permit).await;
            drop(waiting);
            if let Some((socket, peer, place)) = found {
                connection::run(hub, door, socket, peer, place).await;
            }
        });
    }
}

/// The limits count the address that the balancer names, not the balancer's.
async fn behind_proxy(
    hub: &Hub,
    mut socket: TcpStream,
    peer: SocketAddr,
    permit: OwnedSemaphorePermit,
) -> Option<(TcpStream, IpAddr, Place)> {
    let named = tokio::time::timeout(PROXY_WITHIN, proxy::read(&mut socket, peer)).await;
    let Some(named) = named.ok().flatten() else {
        hub.metrics.broken.inc(&["proxy_header"]);
        return None;
    };
    let place = admit(hub, named.ip(), permit)?;
    Some((socket, named.ip(), place))
}

fn admit(hub: &Hub, peer: IpAddr, permit: OwnedSemaphorePermit) -> Option<Place> {
    match hub.admission.enter(peer, hub.clock.monotonic()) {
        Ok(ticket) => Some(Place { ticket, _permit: permit }),
        Err(turned) => {
            hub.metrics.turned_away.inc(&[turned.as_str()]);
            None
        }
    }
}
