use std::net::SocketAddr;
use std::sync::Arc;

use quinn::{Connecting, Connection, Incoming, ServerConfig};
use tokio::sync::OwnedSemaphorePermit;

use super::{Endpoint, Quic};
use crate::admission::SocketPermit;

/// A first packet over QUIC. Dropped, it is refused.
pub(crate) struct QuicIncoming {
    incoming: Incoming,
    config: Arc<ServerConfig>,
    /// There when the address is not proved.
    trial: Option<OwnedSemaphorePermit>,
}

impl QuicIncoming {
    pub(super) fn new(incoming: Incoming, config: Arc<ServerConfig>) -> Self {
        Self { incoming, config, trial: None }
    }

    /// The address in the packet; it may be spoofed until it is validated.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.incoming.remote_address()
    }

    /// Accepts the packet if its address is validated, or if few other attempts are from addresses that are not.
    /// Otherwise it sends a Retry, and keeps no state.
    pub(crate) fn proved(mut self, endpoint: &Endpoint) -> Option<Self> {
        if !self.incoming.remote_address_validated() {
            match Arc::clone(endpoint.unproved()).try_acquire_owned() {
                Ok(trial) => self.trial = Some(trial),
                Err(_) => {
                    // It can always be asked: that it cannot is said of proved addresses alone.
                    let _ = self.incoming.retry();
                    return None;
                }
            }
        }
        Some(self)
    }

    /// Refuses the attempt: without an answer when the address may be spoofed.
    pub(crate) fn turn_away(self) {
        match self.trial {
            Some(_) => self.incoming.ignore(),
            None => self.incoming.refuse(),
        }
    }

    /// Shakes hands and waits for the client's stream. The caller bounds the time.
    ///
    /// # Errors
    /// The rule that the peer broke, as a metric label.
    pub(in crate::transport) async fn open(
        self,
        permit: &mut SocketPermit,
    ) -> Result<Quic, &'static str> {
        match &self.trial {
            // The address may be spoofed: failures must not count against its owner.
            Some(_) => permit.mark_not_at_fault(),
            None => permit.heard(),
        }
        let connecting = self.incoming.accept_with(self.config).map_err(|_| "quic_refused")?;
        let connection = shaken(connecting).await?;
        drop(self.trial);
        permit.mark_at_fault();
        permit.heard();
        let stream = connection.accept_bi().await.map_err(|_| "quic_no_stream")?;
        Ok(Quic::new(connection, stream, permit.prefix()))
    }
}

/// Alerts have told the peer what is wrong by the time that this fails.
async fn shaken(connecting: Connecting) -> Result<Connection, &'static str> {
    connecting.await.map_err(|error| match error {
        quinn::ConnectionError::TransportError(_) | quinn::ConnectionError::VersionMismatch => {
            "quic_refused"
        }
        _ => "quic_lost",
    })
}
