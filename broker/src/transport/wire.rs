use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::quic::Quic;
use super::tls::{Channel, Tls};

/// Bytes in order, in clear or encrypted.
pub(super) enum Wire {
    Plain(TcpStream),
    Tls(Box<Tls>),
    Quic(Box<Quic>),
}

impl Wire {
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
            Self::Plain(socket) => socket.try_read_buf(inbox),
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

    pub(super) fn say_goodbye(&mut self) {
        match self {
            Self::Plain(_) => {}
            Self::Tls(tls) => tls.say_goodbye(),
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

    pub(super) fn channel(&self) -> Channel {
        match self {
            Self::Plain(_) => Channel::default(),
            Self::Tls(tls) => tls.channel(),
            Self::Quic(quic) => quic.channel(),
        }
    }
}
