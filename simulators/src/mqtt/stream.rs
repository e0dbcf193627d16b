//! A connection that carries MQTT: bytes in, bytes out, whatever is underneath.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tessera_runtime::tls::{Carried, TlsError};
use tessera_token::ace::{Channel, ExporterSecret, BINDING_LABEL};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::{lookup_host, TcpSocket, TcpStream};

use super::broker::Broker;
use super::obstacle::Obstacle;
use super::web_socket::WebSocket;
use super::Milestone;

/// Bytes that one read takes.
const READ_BYTES: usize = 8 * 1024;

/// The open connection.
pub struct ByteStream {
    way: Way,
    /// The channel, for an answer that is bound to it; none when the peer's TLS cannot bind anything.
    channel: Option<Channel>,
    /// Whether bytes were written and not flushed.
    unflushed: bool,
}

/// Progress of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// Bytes came.
    Read,
    /// Bytes left.
    Wrote,
    /// The peer sends nothing more.
    Ended,
}

enum Way {
    Bytes(Carried),
    WebSocket(Box<WebSocket>),
}

impl ByteStream {
    /// An open connection without layers of its own.
    pub fn over(carried: Carried) -> Self {
        Self { way: Way::Bytes(carried), channel: None, unflushed: false }
    }

    /// Connects, and shakes hands as the scheme asks. The caller bounds the time.
    ///
    /// # Errors
    /// The fault that was in the way, and in words.
    pub async fn open(broker: &Broker) -> Result<Self, (Obstacle, String)> {
        Self::open_watched(broker, &|_| ()).await
    }

    /// The same; `reached` is called at each milestone.
    pub(super) async fn open_watched(
        broker: &Broker,
        reached: &(dyn Fn(Milestone) + Sync),
    ) -> Result<Self, (Obstacle, String)> {
        let host = broker.host.trim_start_matches('[').trim_end_matches(']');
        let of_socket = |error: io::Error| (Obstacle::of_socket(&error), error.to_string());
        let socket = connect(host, broker).await.map_err(of_socket)?;
        reached(Milestone::Reached);
        // A packet of a device is small, and leaves at once.
        socket.set_nodelay(true).map_err(of_socket)?;
        let (carried, channel): (Carried, _) = match (broker.scheme.is_tls(), &broker.tls) {
            (false, _) => (Box::pin(socket), Some(Channel::Clear)),
            (true, Some(tls)) => {
                let of_tls = |error: TlsError| (Obstacle::of_tls(&error), error.to_string());
                let bound = tls.connect_bound(host, socket, BINDING_LABEL).await.map_err(of_tls)?;
                reached(Milestone::Secured);
                let exported = bound.1.map(|bytes| ExporterSecret::from_bytes(&bytes));
                (bound.0, exported.map(Channel::Tls))
            }
            (true, None) => {
                let why = "nothing says which certificates are trusted";
                return Err((Obstacle::Untrusted, why.to_owned()));
            }
        };
        let way = match broker.scheme.is_web_socket() {
            false => Way::Bytes(carried),
            true => {
                let opened = WebSocket::open(carried, broker).await;
                let web_socket = opened.map_err(|why| (Obstacle::Upgrade, why))?;
                Way::WebSocket(Box::new(web_socket))
            }
        };
        Ok(Self { way, channel, unflushed: false })
    }

    /// The channel at this end.
    pub(super) fn channel(&self) -> Option<&Channel> {
        self.channel.as_ref()
    }

    /// Appends what comes; `Ok(0)` is the end. Cancel-safe.
    pub(super) async fn read(&mut self, inbox: &mut BytesMut) -> io::Result<usize> {
        match &mut self.way {
            Way::Bytes(carried) => carried.read_buf(inbox).await,
            Way::WebSocket(web_socket) => web_socket.read(inbox).await,
        }
    }

    /// Writes all of it, and what is owed besides. Not cancel-safe.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.way {
            Way::Bytes(carried) => {
                carried.write_all(bytes).await?;
                carried.flush().await
            }
            Way::WebSocket(web_socket) => web_socket.write(bytes).await,
        }
    }

    /// Writes of `outbox`, or appends what comes to `inbox` while it has less than `room` bytes: the first of both that goes.
    /// Neither waits for the other. Cancel-safe.
    ///
    /// # Errors
    /// The connection is broken.
    pub async fn turn(
        &mut self,
        inbox: &mut BytesMut,
        room: usize,
        outbox: &mut BytesMut,
    ) -> io::Result<Turn> {
        poll_fn(|cx| {
            if let Poll::Ready(wrote) = self.poll_out(cx, outbox)? {
                return Poll::Ready(Ok(wrote));
            }
            if inbox.len() < room {
                if let Poll::Ready(read) = self.poll_in(cx, inbox)? {
                    return Poll::Ready(Ok(if read > 0 { Turn::Read } else { Turn::Ended }));
                }
            }
            // A frame that came alone may owe an answer.
            self.poll_out(cx, outbox)
        })
        .await
    }

    /// Whether nothing of `outbox` waits to be written, in a frame either.
    #[must_use]
    pub fn is_written(&self, outbox: &BytesMut) -> bool {
        outbox.is_empty()
            && match &self.way {
                Way::Bytes(_) => true,
                Way::WebSocket(web_socket) => web_socket.owes_nothing(),
            }
    }

    /// Ends the connection as its layers ask, and waits for the end of the peer: a close with unread bytes could take the
    /// last ones from it. The caller bounds the time.
    pub async fn close(mut self) {
        let carried = match &mut self.way {
            Way::Bytes(carried) => carried,
            Way::WebSocket(web_socket) => web_socket.carried(),
        };
        // The peer may have gone before.
        if carried.shutdown().await.is_ok() {
            let mut bytes = [0; READ_BYTES];
            while carried.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
        }
    }

    fn poll_out(&mut self, cx: &mut Context<'_>, outbox: &mut BytesMut) -> Poll<io::Result<Turn>> {
        let (carried, waiting) = match &mut self.way {
            Way::Bytes(carried) => (carried, outbox),
            Way::WebSocket(web_socket) => web_socket.framed(outbox)?,
        };
        if !waiting.is_empty() {
            let Poll::Ready(wrote) = carried.as_mut().poll_write(cx, waiting)? else {
                return Poll::Pending;
            };
            if wrote == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            waiting.advance(wrote);
            self.unflushed = true;
            return Poll::Ready(Ok(Turn::Wrote));
        }
        if self.unflushed && carried.as_mut().poll_flush(cx)?.is_ready() {
            self.unflushed = false;
        }
        Poll::Pending
    }

    fn poll_in(&mut self, cx: &mut Context<'_>, inbox: &mut BytesMut) -> Poll<io::Result<usize>> {
        match &mut self.way {
            Way::Bytes(carried) => poll_read(carried, cx, inbox),
            Way::WebSocket(web_socket) => web_socket.poll_in(cx, inbox),
        }
    }
}

/// A connection to the first address of the host that answers, from the address that the broker is to be reached from.
async fn connect(host: &str, broker: &Broker) -> io::Result<TcpStream> {
    let Some(from) = broker.from else { return TcpStream::connect((host, broker.port)).await };
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for at in lookup_host((host, broker.port)).await?.filter(|at| at.is_ipv4() == from.is_ipv4()) {
        let socket = if at.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.bind((from, 0).into())?;
        match socket.connect(at).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Appends what comes; 0 is the end.
pub(super) fn poll_read(
    carried: &mut Carried,
    cx: &mut Context<'_>,
    into: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    let mut bytes = [0; READ_BYTES];
    let mut read = ReadBuf::new(&mut bytes);
    match carried.as_mut().poll_read(cx, &mut read)? {
        Poll::Pending => Poll::Pending,
        Poll::Ready(()) => {
            into.extend_from_slice(read.filled());
            Poll::Ready(Ok(read.filled().len()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both sides write more than is in between before either reads: it ends, since no write keeps a read waiting.
    #[tokio::test]
    async fn a_turn_reads_while_its_own_bytes_wait() {
        const BYTES: usize = 100_000;
        let (left, right) = tokio::io::duplex(1_000);
        let side = |stream| async move {
            let mut stream = ByteStream::over(Box::pin(stream));
            let (mut inbox, mut outbox) = (BytesMut::new(), BytesMut::from(&[7; BYTES][..]));
            while inbox.len() < BYTES || !outbox.is_empty() {
                assert_ne!(stream.turn(&mut inbox, BYTES, &mut outbox).await.unwrap(), Turn::Ended);
            }
            stream
        };
        let (left, mut right) = tokio::join!(side(left), side(right));
        let end = async {
            let (mut inbox, mut outbox) = (BytesMut::new(), BytesMut::new());
            assert_eq!(right.turn(&mut inbox, 1, &mut outbox).await.unwrap(), Turn::Ended);
            drop(right);
        };
        tokio::join!(left.close(), end);
    }

    #[tokio::test]
    async fn a_turn_reads_nothing_without_room() {
        let (left, mut right) = tokio::io::duplex(1_000);
        right.write_all(&[1, 2, 3]).await.unwrap();
        let mut left = ByteStream::over(Box::pin(left));
        let (mut inbox, mut outbox) = (BytesMut::new(), BytesMut::from(&[9][..]));
        assert_eq!(left.turn(&mut inbox, 0, &mut outbox).await.unwrap(), Turn::Wrote);
        tokio::select! {
            biased;
            _ = left.turn(&mut inbox, 0, &mut outbox) => panic!("it read without room"),
            () = std::future::ready(()) => {}
        }
        assert_eq!(left.turn(&mut inbox, 1, &mut outbox).await.unwrap(), Turn::Read);
        assert_eq!(&inbox[..], [1, 2, 3]);
    }
}
