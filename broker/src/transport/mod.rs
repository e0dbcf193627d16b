//! Transports of MQTT: plain TCP, TLS, WebSocket over either, QUIC; by setting, a PROXY header before the first bytes.
//!
//! 1. [`settings`] says what is listened on and how.
//! 2. The listener reads the PROXY header. Then [`acceptor`] turns a socket into a [`Stream`]: TLS handshake, WebSocket
//!    upgrade, each bounded in time and bytes. [`quic`] does it for a first packet over UDP.
//! 3. [`Stream`] is read and written without waiting; waiting is one call, [`Stream::ready`], so that an idle plain
//!    session pays nothing for the others.
//!
//! [`tls`] holds the certificates (which may change under a running broker) and what a handshake says about its peer.

pub mod settings;
pub mod tls;

pub(crate) mod acceptor;
pub(crate) mod quic;
mod stream;
mod websocket;

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use tessera_token::ace;
use tokio::io::{Interest, Ready};

use stream::ByteStream;
use tls::Channel;
use websocket::WebSocket;

pub use settings::Transport;

/// An open connection, whatever carries it.
pub(crate) struct Stream {
    stream: ByteStream,
    web_socket: Option<Box<WebSocket>>,
}

impl Stream {
    /// Waits until the stream is ready as `wanted`. Bytes that are buffered for the reader count as readable. Pending
    /// bytes of an earlier message are written on the way. Cancel-safe.
    pub(crate) async fn ready(&mut self, wanted: Interest) -> io::Result<Ready> {
        poll_fn(|context| self.poll_ready(context, wanted)).await
    }

    /// As [`Self::ready`]; the end of the stream counts as readable.
    pub(crate) fn poll_ready(
        &mut self,
        context: &mut Context<'_>,
        wanted: Interest,
    ) -> Poll<io::Result<Ready>> {
        if wanted.is_readable() && self.holds_bytes() {
            return Poll::Ready(Ok(Ready::READABLE));
        }
        let mut ready = Ready::EMPTY;
        if wanted.is_readable() && self.stream.poll_read_ready(context)?.is_ready() {
            ready |= Ready::READABLE;
        }
        while wanted.is_writable() || self.has_pending() {
            if self.stream.poll_write_ready(context)?.is_pending() {
                break;
            }
            if !self.has_pending() {
                ready |= Ready::WRITABLE;
                break;
            }
            self.push()?;
        }
        if ready.is_empty() {
            Poll::Pending
        } else {
            Poll::Ready(Ok(ready))
        }
    }

    /// Appends what has come. `Ok(0)` is the orderly end.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there; everything else ends the connection.
    pub(crate) fn try_read_buf(&mut self, inbox: &mut BytesMut) -> io::Result<usize> {
        match &mut self.web_socket {
            None => self.stream.try_read_buf(inbox),
            Some(web_socket) => web_socket.try_read_buf(&mut self.stream, inbox),
        }
    }

    /// Takes as much as goes out now, or a little more: see [`Stream::has_pending`].
    ///
    /// # Errors
    /// `WouldBlock` when nothing could be taken; everything else ends the connection.
    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.web_socket {
            None => self.stream.try_write(bytes),
            Some(web_socket) => web_socket.try_write(&mut self.stream, bytes),
        }
    }

    /// Whether something that was taken has not left yet: at most one batch.
    pub(crate) fn has_pending(&self) -> bool {
        self.stream.has_pending() || self.web_socket.as_ref().is_some_and(|ws| ws.has_pending())
    }

    /// Sends the close of every layer (WebSocket Close, TLS close_notify), as far as it can be written at once.
    pub(crate) fn send_close(&mut self) {
        if let Some(web_socket) = &mut self.web_socket {
            web_socket.send_close();
        }
        // A peer that has gone needs no close.
        let _ = self.push();
        self.stream.send_close();
    }

    /// Sends the close of every layer and closes the way out.
    pub(crate) async fn shutdown(&mut self) -> io::Result<()> {
        self.send_close();
        while self.stream.has_pending() {
            self.stream.writable().await?;
            self.push()?;
        }
        self.stream.shutdown().await
    }

    /// Whether something has come that was not read yet, as far as was known when the task last waited.
    pub(crate) fn has_unread(&mut self) -> bool {
        self.poll_ready(&mut Context::from_waker(Waker::noop()), Interest::READABLE).is_ready()
    }

    /// Whether what was written needs nothing of ours to reach the peer.
    pub(crate) fn is_carried_by_kernel(&self) -> bool {
        !matches!(self.stream, ByteStream::Quic(_))
    }

    /// Waits until the peer has what was written, where closing would take it back.
    ///
    /// # Errors
    /// The peer has gone.
    pub(crate) async fn delivered(&mut self) -> io::Result<()> {
        self.stream.delivered().await
    }

    /// The peer is known: frames may be as large as its packets.
    pub(crate) fn authenticated(&mut self, max_packet: usize) {
        self.stream.authenticated();
        if let Some(web_socket) = &mut self.web_socket {
            web_socket.allow_packets_of(max_packet);
        }
    }

    /// The channel as the TLS handshake describes it, over QUIC too; empty over plain TCP.
    pub(crate) fn channel(&self) -> Channel {
        self.stream.channel()
    }

    /// The channel binding of an answer to a challenge; `None` over TLS whose exporter is not bound to the handshake.
    pub(crate) fn binding(&self) -> Option<ace::Channel> {
        self.stream.binding()
    }

    /// Whether the channel is encrypted.
    pub(crate) fn is_encrypted(&self) -> bool {
        !matches!(self.stream, ByteStream::Plain(_))
    }

    /// The version of TLS: `none`, `1.2` or `1.3`.
    pub(crate) fn tls_version(&self) -> &'static str {
        match &self.stream {
            ByteStream::Plain(_) => "none",
            ByteStream::Tls(tls) => tls.version(),
            ByteStream::Quic(_) => "1.3",
        }
    }

    fn holds_bytes(&self) -> bool {
        self.stream.holds_bytes() || self.web_socket.as_ref().is_some_and(|ws| ws.holds_bytes())
    }

    /// Writes what is pending, as far as it goes.
    fn push(&mut self) -> io::Result<()> {
        match &mut self.web_socket {
            None => self.stream.push(),
            Some(web_socket) => web_socket.push(&mut self.stream),
        }
    }
}
