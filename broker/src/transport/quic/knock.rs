use std::net::SocketAddr;
use std::sync::Arc;

use quinn::{Connecting, Connection, Incoming, ServerConfig};
use tokio::sync::OwnedSemaphorePermit;

use super::{Endpoint, Quic};
use crate::admission::SocketPermit;

/// A first packet over QUIC. Dropped, it is refused.
pub(crate) struct Knock {
    incoming: Incoming,
    config: Arc<ServerConfig>,
    /// There when the address is not proved.
    trial: Option<OwnedSemaphorePermit>,
}

impl Knock {
    pub(super) fn new(incoming: Incoming, config: Arc<ServerConfig>) -> Self {
        Self { incoming, config, trial: None }
    }

    /// Where it claims to come from.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.incoming.remote_address()
    }

    /// Goes on with it when its address is proved, or when few others are not; else it is asked to come again, and
    /// nothing is kept of it.
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

    /// Closes without a word what may come from anywhere, and tells a proved address that it is refused.
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
