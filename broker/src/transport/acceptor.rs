//! Turns an accepted socket into a stream. A peer that stays silent at any step is closed at its deadline.

use std::net::IpAddr;
use std::sync::Arc;

use tessera_runtime::proxy::entrance::Entrance;
use tokio::net::TcpStream;

use super::quic::QuicIncoming;
use super::settings::Transport;
use super::stream::ByteStream;
use super::tls::{Certificates, Tls, Use};
use super::websocket::{self, WebSocket};
use super::Stream;
use crate::admission::SocketPermit;
use crate::limits::{TLS_WITHIN, UPGRADE_WITHIN};
use crate::refusals::{Broken, Remote, What};

/// A connection whose handshakes have not begun, but those that name a peer behind a proxy.
pub(crate) enum Incoming {
    Tcp(TcpStream),
    /// Through an HTTP proxy that named the peer in the upgrade.
    Open(Box<Stream>),
    Quic(Box<QuicIncoming>),
}

/// Told when the first byte has come.
type Heard<'a> = &'a mut (dyn FnMut() + Send);

/// Turns the incoming connections of one listener into streams.
#[derive(Clone)]
pub(crate) struct Acceptor {
    pub(crate) transport: Transport,
    /// Whether the listener is on a loopback address: no other machine reaches it but through a proxy of this one.
    pub(crate) is_local: bool,
    /// There when the transport is TLS.
    pub(crate) certificates: Option<Arc<Certificates>>,
    /// The balancers and proxies that may name the address of a peer.
    pub(crate) entrance: Arc<Entrance>,
}

impl Acceptor {
    /// The other end of one of its connections.
    pub(crate) fn remote(&self, address: IpAddr) -> Remote {
        Remote { address, transport: self.transport.as_str() }
    }

    /// Whether the address of the peer stands in the upgrade request alone.
    pub(crate) fn is_fronted(&self, peer: IpAddr) -> bool {
        self.transport.is_web_socket() && self.entrance.is_proxy(peer)
    }

    /// Shakes hands as the transport asks; marks the permit when the first byte has come.
    ///
    /// # Errors
    /// The step that the peer did not take.
    pub(crate) async fn open(
        &self,
        incoming: Incoming,
        peer: IpAddr,
        permit: &mut SocketPermit,
    ) -> Result<Stream, Broken> {
        let broken = |what| move |rule| Broken::new(what, rule);
        let socket = match incoming {
            Incoming::Tcp(socket) => socket,
            Incoming::Open(stream) => {
                permit.heard();
                return Ok(*stream);
            }
            Incoming::Quic(incoming) => {
                let quic = tokio::time::timeout(TLS_WITHIN, incoming.open(permit)).await;
                let quic = quic.map_err(|_| "quic_too_slow").and_then(|opened| opened);
                let quic = quic.map_err(broken(What::Quic))?;
                return Ok(Stream { stream: ByteStream::Quic(Box::new(quic)), web_socket: None });
            }
        };
        let mut heard = || permit.heard();
        let mut stream = self.byte_stream(socket, &mut heard).await?;
        if !self.transport.is_web_socket() {
            return Ok(Stream { stream, web_socket: None });
        }
        let (web_socket, _) = self.upgrade(&mut stream, peer, &mut heard).await?;
        Ok(Stream { stream, web_socket: Some(Box::new(web_socket)) })
    }

    /// The same for a socket of the proxy `peer`, which has no permit yet: also gives the address that counts.
    ///
    /// # Errors
    /// As [`Acceptor::open`].
    pub(crate) async fn open_fronted(
        &self,
        socket: TcpStream,
        peer: IpAddr,
    ) -> Result<(Stream, IpAddr), Broken> {
        let mut stream = self.byte_stream(socket, &mut || {}).await?;
        let (web_socket, address) = self.upgrade(&mut stream, peer, &mut || {}).await?;
        Ok((Stream { stream, web_socket: Some(Box::new(web_socket)) }, address))
    }

    async fn byte_stream(&self, socket: TcpStream, heard: Heard<'_>) -> Result<ByteStream, Broken> {
        Ok(match &self.certificates {
            None => ByteStream::Plain(socket),
            Some(certificates) => {
                // Boxed: a socket that is silent, or not encrypted, pays no room for it.
                ByteStream::Tls(Box::new(
                    Box::pin(self.encrypt(socket, certificates, heard)).await?,
                ))
            }
        })
    }

    async fn upgrade(
        &self,
        stream: &mut ByteStream,
        peer: IpAddr,
        heard: Heard<'_>,
    ) -> Result<(WebSocket, IpAddr), Broken> {
        let upgrade = async {
            // The reader finds an error of the socket.
            let _ = stream.readable().await;
            heard();
            websocket::accept(stream, &self.entrance, peer).await
        };
        let upgrade = tokio::time::timeout(UPGRADE_WITHIN, upgrade).await;
        upgrade.map_err(|_| Broken::new(What::WebSocket, "websocket_too_slow"))?
    }

    async fn encrypt(
        &self,
        socket: TcpStream,
        certificates: &Certificates,
        heard: Heard<'_>,
    ) -> Result<Tls, Broken> {
        let broken = |rule| Broken::new(What::Tls, rule);
        let inside = if self.transport.is_web_socket() { Use::WebSocket } else { Use::Mqtt };
        let accept = async {
            // The reader finds an error of the socket.
            let _ = socket.readable().await;
            heard();
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
