//! From a socket to a stream. Who stays silent at any step is cut at its deadline.

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

/// Who asks to be let in.
pub(crate) enum Caller {
    Tcp(TcpStream),
    Quic(Box<Knock>),
}

/// What a listener does with its sockets.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) transport: Transport,
    /// There when the transport is TLS.
    pub(crate) certificates: Option<Arc<Certificates>>,
}

impl Door {
    /// Shakes hands as the transport asks; the ticket is told when the first byte has come.
    ///
    /// # Errors
    /// The rule that the peer broke, as a metric label.
    pub(crate) async fn open(
        &self,
        caller: Caller,
        ticket: &mut Ticket,
    ) -> Result<Stream, &'static str> {
        let socket = match caller {
            Caller::Tcp(socket) => socket,
            Caller::Quic(knock) => {
                let quic = tokio::time::timeout(TLS_WITHIN, knock.open(ticket)).await;
                let quic = quic.map_err(|_| "quic_too_slow")??;
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
        let web_socket = upgrade.map_err(|_| "websocket_too_slow")??;
        Ok(Stream { wire, web_socket: Some(Box::new(web_socket)) })
    }

    async fn encrypt(
        &self,
        socket: TcpStream,
        certificates: &Certificates,
        ticket: &mut Ticket,
    ) -> Result<Tls, &'static str> {
        let inside = if self.transport.is_web_socket() { Use::WebSocket } else { Use::Mqtt };
        let accept = async {
            // What goes wrong here is found by the one who reads.
            let _ = socket.readable().await;
            ticket.heard();
            Tls::accept(socket, certificates.config(inside)).await
        };
        let tls = tokio::time::timeout(TLS_WITHIN, accept).await.map_err(|_| "tls_too_slow")??;
        if certificates.settings().alpn_required && !tls.named_protocol() {
            return Err("tls_no_alpn");
        }
        Ok(tls)
    }
}
