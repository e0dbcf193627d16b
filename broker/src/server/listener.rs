//! Permit, accept, back off, admission, handshake, first-packet deadline, in that order.
//!
//! A socket that is turned away costs its accept and its close: it is known to no reactor and has no task.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;

use tessera_runtime::proxy::{header, trusted, Source};
use tessera_runtime::stop::Stop;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::connection::{self, Place};
use crate::hub::Hub;
use crate::limits::{ACCEPTS_PER_TURN, ACCEPT_BACKOFF, BACKLOG, PROXY_WAITING, PROXY_WITHIN};
use crate::refusals::{Refusal, Remote, What};
use crate::transport::acceptor::{Acceptor, Incoming};

/// Listens with a backlog that takes the reconnects of a whole fleet.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    // Small packets leave at once; what is accepted here inherits it (Linux).
    socket.set_nodelay(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// One address that is listened on.
pub(super) struct Listener {
    pub(super) hub: Arc<Hub>,
    /// The runtime that serves the connections.
    pub(super) runtime: Handle,
    pub(super) acceptor: Acceptor,
    /// Sockets of all listeners together.
    pub(super) permits: Arc<Semaphore>,
    /// The peers that may send PROXY headers, when this listener expects them.
    pub(super) proxies: Option<Arc<[Source]>>,
}

impl Listener {
    /// Accepts until the broker stops.
    pub(super) async fn run(self, listener: AsyncFd<TcpListener>, stop: Stop) {
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
                accepted = self.accept_some(&listener, permit, &headers) => accepted,
            };
            if let Err(error) = accepted {
                self.hub.metrics.limits_hit.inc(&["accept"]);
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Waits for a socket, then takes what is there, up to a turn's worth, as long as there are permits.
    async fn accept_some(
        &self,
        listener: &AsyncFd<TcpListener>,
        permit: OwnedSemaphorePermit,
        headers: &Arc<Semaphore>,
    ) -> io::Result<()> {
        let mut next = Some(permit);
        let mut ready = listener.readable().await?;
        for _ in 0..ACCEPTS_PER_TURN {
            let permit = next.take().or_else(|| Arc::clone(&self.permits).try_acquire_owned().ok());
            let Some(permit) = permit else { return Ok(()) };
            match ready.try_io(|listener| listener.get_ref().accept()) {
                Ok(accepted) => {
                    let (socket, peer) = accepted?;
                    self.take(socket, peer, permit, headers);
                }
                Err(_nothing_there) => return Ok(()),
            }
        }
        Ok(())
    }

    fn take(
        &self,
        socket: std::net::TcpStream,
        peer: SocketAddr,
        permit: OwnedSemaphorePermit,
        headers: &Arc<Semaphore>,
    ) {
        if self.proxies.is_none() && !self.acceptor.is_fronted(peer.ip()) {
            if let Some(place) = admit(&self.hub, self.acceptor.remote(peer.ip()), permit) {
                self.serve(socket, peer, place);
            }
            return;
        }
        let trusted = self.proxies.as_ref().is_none_or(|from| trusted(from, peer.ip()));
        let waiting = Arc::clone(headers).try_acquire_owned();
        let (true, Ok(waiting)) = (trusted, waiting) else {
            let why = if trusted { "proxy_waiting" } else { "proxy_source" };
            if !trusted {
                self.acceptor.entrance.no_source(peer.ip());
            }
            self.hub.metrics.turned_away.inc(&[why]);
            return Refusal::of(What::ProxyHeader, why, self.acceptor.remote(peer.ip())).tell();
        };
        let Some(socket) = self.adopt(socket) else { return };
        let (hub, acceptor) = (Arc::clone(&self.hub), self.acceptor.clone());
        let expected = self.proxies.is_some();
        let task = async move {
            let found = Box::pin(behind_proxy(&hub, &acceptor, socket, peer, expected)).await;
            drop(waiting);
            let Some((incoming, peer)) = found else { return };
            if let Some(place) = admit(&hub, acceptor.remote(peer), permit) {
                connection::run(hub, acceptor, incoming, peer, place).await;
            }
        };
        self.hub.tasks.spawn_on(task, &self.runtime);
    }

    fn serve(&self, socket: std::net::TcpStream, peer: SocketAddr, mut place: Place) {
        let Some(socket) = self.adopt(socket) else {
            place.permit.mark_not_at_fault();
            return;
        };
        let (hub, acceptor) = (Arc::clone(&self.hub), self.acceptor.clone());
        let task = connection::run(hub, acceptor, Incoming::Tcp(socket), peer.ip(), place);
        self.hub.tasks.spawn_on(task, &self.runtime);
    }

    /// Makes the socket known to the runtime that serves connections.
    fn adopt(&self, socket: std::net::TcpStream) -> Option<TcpStream> {
        let _entered = self.runtime.enter();
        let adopted = socket.set_nonblocking(true).and_then(|()| TcpStream::from_std(socket));
        if let Err(error) = &adopted {
            self.hub.metrics.limits_hit.inc(&["accept"]);
            tracing::warn!(%error, "an accepted socket could not be set up");
        }
        adopted.ok()
    }
}

/// The limits count the address that the balancer or proxy names, not its own. A proxy names it in the upgrade request,
/// so the handshake comes first there.
async fn behind_proxy(
    hub: &Hub,
    acceptor: &Acceptor,
    mut socket: TcpStream,
    mut peer: SocketAddr,
    expected: bool,
) -> Option<(Incoming, IpAddr)> {
    if expected {
        let named = tokio::time::timeout(PROXY_WITHIN, header::read(&mut socket, peer)).await;
        let Some(named) = named.ok().flatten() else {
            hub.metrics.broken.inc(&["proxy_header"]);
            Refusal::of(What::ProxyHeader, "proxy_header", acceptor.remote(peer.ip())).tell();
            return None;
        };
        peer = named;
    }
    if !acceptor.is_fronted(peer.ip()) {
        return Some((Incoming::Tcp(socket), peer.ip()));
    }
    match acceptor.open_fronted(socket, peer.ip()).await {
        Ok((stream, address)) => Some((Incoming::Open(Box::new(stream)), address)),
        Err(broken) => {
            connection::note_broken(hub, acceptor.remote(peer.ip()), &broken);
            None
        }
    }
}

pub(super) fn admit(hub: &Hub, from: Remote, permit: OwnedSemaphorePermit) -> Option<Place> {
    match hub.admission.enter(from.address, hub.clock.monotonic()) {
        Ok(entered) => Some(Place { permit: entered, _of_listener: permit }),
        Err(rejected) => {
            hub.metrics.turned_away.inc(&[rejected.as_str()]);
            Refusal::of(What::Connection, rejected.as_str(), from).tell();
            None
        }
    }
}
