use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use quinn::udp::{UdpSockRef, UdpSocketState};
use quinn::{EndpointConfig, IdleTimeout, ServerConfig, TokioRuntime, TransportConfig, VarInt};
use tokio::sync::Semaphore;

use super::{QuicIncoming, DONE};
use crate::limits::{
    QUIC_EARLY_BYTES, QUIC_KERNEL_BYTES, QUIC_RETRY_WITHIN, QUIC_UNPROVED, QUIC_WAITING,
    QUIC_WINDOW, QUIC_WINDOW_BEFORE_AUTH,
};
use crate::transport::tls::Certificates;

/// A UDP port on which QUIC is spoken.
pub(crate) struct Endpoint {
    endpoint: quinn::Endpoint,
    /// All but the certificates, which may change.
    config: ServerConfig,
    certificates: Arc<Certificates>,
    /// Handshakes with addresses that are not proved.
    unproved: Arc<Semaphore>,
}

impl Endpoint {
    /// Begins to speak QUIC on the running tokio. A connection that is silent for as long as `idle` is given up.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn start(
        socket: UdpSocket,
        certificates: Arc<Certificates>,
        idle: Duration,
    ) -> io::Result<Self> {
        widen(&socket)?;
        let idle = IdleTimeout::try_from(idle).map_err(io::Error::other)?;
        let mut config = ServerConfig::with_crypto(certificates.quic());
        config
            .transport_config(Arc::new(transport(idle)))
            .retry_token_lifetime(QUIC_RETRY_WITHIN)
            .max_incoming(QUIC_WAITING)
            .incoming_buffer_size(QUIC_EARLY_BYTES.0)
            .incoming_buffer_size_total(QUIC_EARLY_BYTES.1);
        // Only Retry proves an address: a token that is good for later would have to be remembered.
        config.validation_token.sent(0);
        let endpoint = quinn::Endpoint::new(
            EndpointConfig::default(),
            Some(config.clone()),
            socket,
            Arc::new(TokioRuntime),
        )?;
        let unproved = Arc::new(Semaphore::new(QUIC_UNPROVED));
        Ok(Self { endpoint, config, certificates, unproved })
    }

    /// The next first packet; `None` when there will be none. Cancel-safe.
    pub(crate) async fn next(&self) -> Option<QuicIncoming> {
        let incoming = self.endpoint.accept().await?;
        Some(QuicIncoming::new(incoming, self.config()))
    }

    /// The configuration of the next handshake.
    fn config(&self) -> Arc<ServerConfig> {
        let mut config = self.config.clone();
        config.crypto = self.certificates.quic();
        Arc::new(config)
    }

    pub(super) fn unproved(&self) -> &Arc<Semaphore> {
        &self.unproved
    }

    /// Refuses new connections; those that are open stay.
    pub(crate) fn shut(&self) {
        self.endpoint.set_server_config(None);
    }

    /// Closes the open connections, and waits until each peer has been told.
    pub(crate) async fn end(&self) {
        self.endpoint.close(DONE, &[]);
        self.endpoint.wait_idle().await;
    }
}

/// One port carries all connections, and the kernel drops what finds no room without a word.
fn widen(socket: &UdpSocket) -> io::Result<()> {
    let state = UdpSocketState::new(UdpSockRef::from(socket))?;
    state.set_recv_buffer_size(UdpSockRef::from(socket), QUIC_KERNEL_BYTES)?;
    state.set_send_buffer_size(UdpSockRef::from(socket), QUIC_KERNEL_BYTES)?;
    let receive = state.recv_buffer_size(UdpSockRef::from(socket))?;
    let send = state.send_buffer_size(UdpSockRef::from(socket))?;
    if receive.min(send) < QUIC_KERNEL_BYTES {
        tracing::warn!(
            receive,
            send,
            wanted = QUIC_KERNEL_BYTES,
            "the system lets fewer bytes wait for QUIC: raise net.core.rmem_max and net.core.wmem_max"
        );
    }
    Ok(())
}

fn transport(idle: IdleTimeout) -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(idle))
        .receive_window(VarInt::from_u32(QUIC_WINDOW_BEFORE_AUTH))
        .stream_receive_window(VarInt::from_u32(QUIC_WINDOW))
        .send_window(QUIC_WINDOW.into())
        .allow_spin(false);
    transport
}
