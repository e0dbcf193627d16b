//! The listener over UDP: prove the address when it matters, then permit, admission, handshake, as over TCP.

use std::sync::Arc;

use tessera_runtime::stop::Stop;
use tokio::sync::Semaphore;

use super::listener;
use crate::connection;
use crate::hub::Hub;
use crate::limits::LINGER;
use crate::refusals::{Refusal, What};
use crate::transport::accept::{Caller, Door};
use crate::transport::quic::{Endpoint, Knock};

/// One UDP port that is listened on.
pub(super) struct QuicListener {
    pub(super) hub: Arc<Hub>,
    pub(super) endpoint: Endpoint,
    pub(super) door: Door,
    /// Sockets of all listeners together.
    pub(super) permits: Arc<Semaphore>,
}

impl QuicListener {
    /// Accepts until stop is told.
    pub(super) async fn run(self, stop: Stop) -> Self {
        loop {
            let knock = tokio::select! {
                () = stop.stopping() => break,
                knock = self.endpoint.next() => knock,
            };
            let Some(knock) = knock else { break };
            self.take(knock);
            tokio::task::yield_now().await;
        }
        self.endpoint.shut();
        self
    }

    /// Tells those who are left, for a moment.
    pub(super) async fn end(&self) {
        // A peer that does not answer in time finds out by silence.
        let _ = tokio::time::timeout(LINGER, self.endpoint.end()).await;
    }

    fn take(&self, knock: Knock) {
        let Some(knock) = knock.proved(&self.endpoint) else {
            self.hub.metrics.limits_hit.inc(&["quic_unproved"]);
            return;
        };
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            self.hub.metrics.limits_hit.inc(&["sockets"]);
            Refusal::of(What::Connection, "sockets", self.door.remote(knock.peer().ip())).tell();
            return knock.turn_away();
        };
        let peer = knock.peer().ip();
        match listener::admit(&self.hub, self.door.remote(peer), permit) {
            Some(place) => {
                let (hub, door) = (Arc::clone(&self.hub), self.door.clone());
                let caller = Caller::Quic(Box::new(knock));
                self.hub.tasks.spawn(connection::run(hub, door, caller, peer, place));
            }
            None => knock.turn_away(),
        }
    }
}
