use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{ready, Context, Poll, Waker};

use bytes::{Buf, BytesMut};
use quinn::{Connection, RecvStream, SendStream, VarInt};
use rustls::pki_types::CertificateDer;
use tessera_token::ace::BINDING_LABEL;
use tokio::io::{AsyncRead, ReadBuf};

use super::{DONE, MOVED};
use crate::admission::Prefix;
use crate::limits::{QUIC_READ, QUIC_WINDOW, WRITE_BATCH};
use crate::transport::tls::{Channel, EXPORTER_LABEL};

/// The one stream of a connection, and the connection, which is closed with it.
///
/// quinn says that a stream is ready only by reading or writing it, so what was read on the way is held here until it
/// is asked for, and what did not go out at once is pending.
pub(in crate::transport) struct Quic {
    connection: Connection,
    send: SendStream,
    receive: RecvStream,
    held: BytesMut,
    ended: bool,
    pending: BytesMut,
    /// The network that the books count it to.
    home: Prefix,
}

impl Quic {
    pub(super) fn new(
        connection: Connection,
        (send, receive): (SendStream, RecvStream),
        home: Prefix,
    ) -> Self {
        let (held, pending) = (BytesMut::new(), BytesMut::new());
        Self { connection, send, receive, held, ended: false, pending, home }
    }

    /// The peer is known: it may send further ahead.
    pub(in crate::transport) fn authenticated(&self) {
        self.connection.set_receive_window(VarInt::from_u32(QUIC_WINDOW));
    }

    /// Ready also at the end of the stream.
    pub(in crate::transport) fn poll_read_ready(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.holds_bytes() {
            return Poll::Ready(Ok(()));
        }
        self.still_at_home()?;
        let mut room = [MaybeUninit::uninit(); QUIC_READ];
        let mut room = ReadBuf::uninit(&mut room);
        ready!(Pin::new(&mut self.receive).poll_read(context, &mut room))?;
        self.ended = room.filled().is_empty();
        self.held.extend_from_slice(room.filled());
        Poll::Ready(Ok(()))
    }

    /// Ready when nothing is pending.
    pub(in crate::transport) fn poll_write_ready(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            let written = Pin::new(&mut self.send).poll_write(context, &self.pending);
            self.pending.advance(ready!(written)?);
        }
        self.pending = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    pub(in crate::transport) fn try_read_buf(&mut self, inbox: &mut BytesMut) -> io::Result<usize> {
        if self.held.is_empty() && !self.ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let held = std::mem::take(&mut self.held);
        inbox.extend_from_slice(&held);
        Ok(held.len())
    }

    /// Takes a batch at most beyond what goes out now.
    pub(in crate::transport) fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.still_at_home()?;
        self.push()?;
        if self.has_pending() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if bytes.is_empty() {
            return Ok(0);
        }
        match Pin::new(&mut self.send).poll_write(&mut nobody(), bytes)? {
            Poll::Ready(written) => Ok(written),
            Poll::Pending => {
                let taken = bytes.get(..WRITE_BATCH).unwrap_or(bytes);
                self.pending.extend_from_slice(taken);
                Ok(taken.len())
            }
        }
    }

    pub(in crate::transport) fn holds_bytes(&self) -> bool {
        self.ended || !self.held.is_empty()
    }

    pub(in crate::transport) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    pub(in crate::transport) fn push(&mut self) -> io::Result<()> {
        match self.poll_write_ready(&mut nobody()) {
            Poll::Ready(pushed) => pushed,
            Poll::Pending => Ok(()),
        }
    }

    /// Nothing more is written. A stream that breaks off with something pending has no orderly end.
    pub(in crate::transport) fn finish(&mut self) {
        if !self.has_pending() {
            // It is finished or lost already: nothing more to say.
            let _ = self.send.finish();
        }
    }

    /// Finishes the stream and waits until the peer has all of it.
    pub(in crate::transport) async fn delivered(&mut self) -> io::Result<()> {
        self.finish();
        self.send.stopped().await?;
        Ok(())
    }

    /// The channel binding of RFC 9266.
    pub(in crate::transport) fn binding(&self) -> Option<[u8; 32]> {
        self.export(BINDING_LABEL.as_bytes())
    }

    fn export(&self, label: &[u8]) -> Option<[u8; 32]> {
        let mut secret = [0; 32];
        let exported = self.connection.export_keying_material(&mut secret, label, &[]);
        exported.is_ok().then_some(secret)
    }

    /// The handshake was a whole one: sessions are not resumed over QUIC.
    pub(in crate::transport) fn channel(&self) -> Channel {
        let exporter = self.export(EXPORTER_LABEL);
        let identity = self.connection.peer_identity();
        let chain =
            identity.and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok());
        let peer = chain.as_ref().and_then(|chain| chain.first());
        Channel::after(false, exporter, peer)
    }

    /// A client may get another port or address of its network; one that leaves it has to come again, so that the books
    /// of admission stay true.
    fn still_at_home(&self) -> io::Result<()> {
        if Prefix::of(self.connection.remote_address().ip()) == self.home {
            return Ok(());
        }
        self.connection.close(MOVED, &[]);
        Err(io::ErrorKind::ConnectionAborted.into())
    }
}

impl Drop for Quic {
    fn drop(&mut self) {
        self.connection.close(DONE, &[]);
    }
}

/// A context that wakes no task: the caller polls again before it waits.
fn nobody() -> Context<'static> {
    Context::from_waker(Waker::noop())
}
