//! From a socket to a stream. Who stays silent at any step is cut at its deadline.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::net::TcpStream;

use super::quic::Knock;
use super::settings::Transport;
use super::tls::{Certificates, Tls, Use};
use super::websocket;
use super::wire::Wire;
use super::Stream;
use crate::admission::Ticket;
use crate::limits::{TLS_WITHIN, UPGRADE_WITHIN};
use crate::refusals::{Broken, Remote, What};

/// Who asks to be let in.
pub(crate) enum Caller {
    Tcp(TcpStream),
    Quic(Box<Knock>),
}

impl Caller {
    /// Whether the other end of a plain socket is on this machine.
    pub(crate) fn is_here(&self) -> bool {
        match self {
            Self::Tcp(socket) => socket.peer_addr().is_ok_and(|peer| is_here(peer.ip())),
            Self::Quic(_) => false,
        }
    }
}

/// Whether this is an address of this machine alone.
pub(crate) fn is_here(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// What a listener does with its sockets.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) transport: Transport,
    /// There when the transport is TLS.
    pub(crate) certificates: Option<Arc<Certificates>>,
}

impl Door {
    /// Who is at the other end of a connection through it.
    pub(crate) fn remote(&self, address: IpAddr) -> Remote {
        Remote { address, transport: self.transport.as_str() }
    }

    /// Shakes hands as the transport asks; the ticket is told when the first byte has come.
    ///
    /// # Errors
    /// The step that the peer did not take.
    pub(crate) async fn open(&self, caller: Caller, ticket: &mut Ticket) -> Result<Stream, Broken> {
        let broken = |what| move |rule| Broken::new(what, rule);
        let socket = match caller {
            Caller::Tcp(socket) => socket,
            Caller::Quic(knock) => {
                let quic = tokio::time::timeout(TLS_WITHIN, knock.open(ticket)).await;
                let quic = quic.map_err(|_| "quic_too_slow").and_then(|opened| opened);
                let quic = quic.map_err(broken(What::Quic))?;
                return Ok(Stream { wire: Wire::Quic(Box::new(quic)), web_socket: None });
            }
        };
        let mut wire = match &self.certificates {
            None => Wire::Plain(socket),
            Some(certificates) => {
                // Boxed: a socket that is silent, or not encrypted, pays no room for it.
                Wire::Tls(Box::new(Box::pin(self.encrypt(socket, certificates, ticket)).await?))
            }
        };
        if !self.transport.is_web_socket() {
            return Ok(Stream { wire, web_socket: None });
        }
        let upgrade = async {
            // What goes wrong here is found by the one who reads.
            let _ = wire.readable().await;
            ticket.heard();
            websocket::accept(&mut wire).await
        };
        let upgrade = tokio::time::timeout(UPGRADE_WITHIN, upgrade).await;
        let web_socket = upgrade.map_err(|_| broken(What::WebSocket)("websocket_too_slow"))??;
        Ok(Stream { wire, web_socket: Some(Box::new(web_socket)) })
    }

    async fn encrypt(
        &self,
        socket: TcpStream,
        certificates: &Certificates,
        ticket: &mut Ticket,
    ) -> Result<Tls, Broken> {
        let broken = |rule| Broken::new(What::Tls, rule);
        let inside = if self.transport.is_web_socket() { Use::WebSocket } else { Use::Mqtt };
        let accept = async {
            // What goes wrong here is found by the one who reads.
            let _ = socket.readable().await;
            ticket.heard();
            Tls::accept(socket, certificates.config(inside)).await
        };
        let tls = tokio::time::timeout(TLS_WITHIN, accept).await;
        let tls = tls.map_err(|_| broken("tls_too_slow"))??;
        if certificates.settings().alpn_required && !tls.named_protocol() {
            return Err(broken("tls_no_alpn"));
        }
        Ok(tls)
    }
}
