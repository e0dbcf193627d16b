//! The listener over UDP: prove the address when it matters, then permit, admission, handshake, as over TCP.

use std::sync::Arc;

use tessera_runtime::stop::Stop;
use tokio::sync::Semaphore;

use super::listener;
use crate::connection;
use crate::hub::Hub;
use crate::limits::LINGER;
use crate::refusals::{Refusal, What};
use crate::transport::acceptor::{Acceptor, Incoming};
use crate::transport::quic::{Endpoint, QuicIncoming};

/// One UDP port that is listened on.
pub(super) struct QuicListener {
    pub(super) hub: Arc<Hub>,
    pub(super) endpoint: Endpoint,
    pub(super) acceptor: Acceptor,
    /// Sockets of all listeners together.
    pub(super) permits: Arc<Semaphore>,
}

impl QuicListener {
    /// Accepts until the broker stops.
    pub(super) async fn run(self, stop: Stop) -> Self {
        loop {
            let incoming = tokio::select! {
                () = stop.stopping() => break,
                incoming = self.endpoint.next() => incoming,
            };
            let Some(incoming) = incoming else { break };
            self.take(incoming);
            tokio::task::yield_now().await;
        }
        self.endpoint.shut();
        self
    }

    /// Closes the connections that are left, for a moment.
    pub(super) async fn end(&self) {
        // A peer that does not answer in time finds out by silence.
        let _ = tokio::time::timeout(LINGER, self.endpoint.end()).await;
    }

    fn take(&self, incoming: QuicIncoming) {
        let Some(incoming) = incoming.proved(&self.endpoint) else {
            self.hub.metrics.limits_hit.inc(&["quic_unproved"]);
            return;
        };
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            self.hub.metrics.limits_hit.inc(&["sockets"]);
            Refusal::of(What::Connection, "sockets", self.acceptor.remote(incoming.peer().ip()))
                .tell();
            return incoming.turn_away();
        };
        let peer = incoming.peer().ip();
        match listener::admit(&self.hub, self.acceptor.remote(peer), permit) {
            Some(place) => {
                let (hub, acceptor) = (Arc::clone(&self.hub), self.acceptor.clone());
                let incoming = Incoming::Quic(Box::new(incoming));
                self.hub.tasks.spawn(connection::run(hub, acceptor, incoming, peer, place));
            }
            None => incoming.turn_away(),
        }
    }
}
