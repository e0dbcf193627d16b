use std::future::{poll_fn, Future};
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use tessera_token::ace::{self, ExporterSecret};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::quic::Quic;
use super::tls::{Channel, Tls};

/// Bytes in order, in clear or encrypted.
pub(super) enum ByteStream {
    Plain(TcpStream),
    Tls(Box<Tls>),
    Quic(Box<Quic>),
}

impl ByteStream {
    pub(super) fn poll_read_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => socket.poll_read_ready(context),
            Self::Tls(tls) => tls.socket().poll_read_ready(context),
            Self::Quic(quic) => quic.poll_read_ready(context),
        }
    }

    pub(super) fn poll_write_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => socket.poll_write_ready(context),
            Self::Tls(tls) => tls.socket().poll_write_ready(context),
            Self::Quic(quic) => quic.poll_write_ready(context),
        }
    }

    pub(super) async fn readable(&mut self) -> io::Result<()> {
        poll_fn(|context| self.poll_read_ready(context)).await
    }

    pub(super) async fn writable(&mut self) -> io::Result<()> {
        poll_fn(|context| self.poll_write_ready(context)).await
    }

    pub(super) fn try_read_buf(&mut self, inbox: &mut BytesMut) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => read_now(socket, inbox),
            Self::Tls(tls) => tls.try_read_buf(inbox),
            Self::Quic(quic) => quic.try_read_buf(inbox),
        }
    }

    pub(super) fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.try_write(bytes),
            Self::Tls(tls) => tls.try_write(bytes),
            Self::Quic(quic) => quic.try_write(bytes),
        }
    }

    pub(super) fn holds_bytes(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => tls.holds_bytes(),
            Self::Quic(quic) => quic.holds_bytes(),
        }
    }

    pub(super) fn has_pending(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => tls.has_pending(),
            Self::Quic(quic) => quic.has_pending(),
        }
    }

    pub(super) fn push(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(tls) => tls.push(),
            Self::Quic(quic) => quic.push(),
        }
    }

    pub(super) fn send_close(&mut self) {
        match self {
            Self::Plain(_) => {}
            Self::Tls(tls) => tls.send_close(),
            Self::Quic(quic) => quic.finish(),
        }
    }

    pub(super) async fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.shutdown().await,
            Self::Tls(tls) => tls.socket_mut().shutdown().await,
            Self::Quic(quic) => quic.delivered().await,
        }
    }

    /// Until the peer has what was written, where closing would take it back; the kernel sees to it elsewhere.
    pub(super) async fn delivered(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) | Self::Tls(_) => Ok(()),
            Self::Quic(quic) => quic.delivered().await,
        }
    }

    pub(super) fn authenticated(&mut self) {
        if let Self::Quic(quic) = self {
            quic.authenticated();
        }
    }

    pub(super) fn binding(&self) -> Option<ace::Channel> {
        let exported = match self {
            Self::Plain(_) => return Some(ace::Channel::Clear),
            Self::Tls(tls) => tls.binding(),
            Self::Quic(quic) => quic.binding(),
        };
        exported.map(|bytes| ace::Channel::Tls(ExporterSecret::from_bytes(&bytes)))
    }

    pub(super) fn channel(&self) -> Channel {
        match self {
            Self::Plain(_) => Channel::default(),
            Self::Tls(tls) => tls.channel(),
            Self::Quic(quic) => quic.channel(),
        }
    }
}

/// As `try_read_buf`, which takes a socket that gave less than there was room for as readable still, so that the next
/// wait ends at once in a read of nothing. The next wait registers a waker of its own, so none is needed here.
fn read_now(socket: &mut TcpStream, inbox: &mut BytesMut) -> io::Result<usize> {
    match pin!(socket.read_buf(inbox)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(read) => read,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_short_read_leaves_nothing_to_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut socket = listener.accept().await.unwrap().0;
        for round in 1..4 {
            peer.write_all(&[7; 10]).await.unwrap();
            socket.readable().await.unwrap();
            let mut inbox = BytesMut::with_capacity(1_024);
            assert_eq!(read_now(&mut socket, &mut inbox).unwrap(), 10, "round {round}");
            let ready = poll_fn(|context| Poll::Ready(socket.poll_read_ready(context))).await;
            assert!(ready.is_pending(), "round {round}: another read would find nothing");
        }
        drop(peer);
        socket.readable().await.unwrap();
        assert_eq!(read_now(&mut socket, &mut BytesMut::with_capacity(10)).unwrap(), 0);
    }
}
