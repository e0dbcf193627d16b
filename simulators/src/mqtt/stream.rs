//! A connection that carries MQTT: bytes in, bytes out, whatever is underneath.

use std::io;

use bytes::BytesMut;
use tessera_runtime::tls::{Carried, TlsError};
use tessera_token::ace::{Channel, ExporterSecret, BINDING_LABEL};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::broker::Broker;
use super::obstacle::Obstacle;
use super::web_socket::WebSocket;

/// The open connection.
pub(super) struct ByteStream {
    way: Way,
    /// The channel, for an answer that is bound to it; none when the peer's TLS cannot bind anything.
    channel: Option<Channel>,
}

enum Way {
    Bytes(Carried),
    WebSocket(Box<WebSocket>),
}

impl ByteStream {
    /// Connects, and shakes hands as the scheme asks. The caller bounds the time.
    ///
    /// # Errors
    /// What was in the way, and in words.
    pub(super) async fn open(broker: &Broker) -> Result<Self, (Obstacle, String)> {
        let host = broker.host.trim_start_matches('[').trim_end_matches(']');
        let of_socket = |error: io::Error| (Obstacle::of_socket(&error), error.to_string());
        let socket = TcpStream::connect((host, broker.port)).await.map_err(of_socket)?;
        // A packet of a device is small, and leaves at once.
        socket.set_nodelay(true).map_err(of_socket)?;
        let (carried, channel): (Carried, _) = match (broker.scheme.is_tls(), &broker.tls) {
            (false, _) => (Box::pin(socket), Some(Channel::Clear)),
            (true, Some(tls)) => {
                let of_tls = |error: TlsError| (Obstacle::of_tls(&error), error.to_string());
                let bound = tls.connect_bound(host, socket, BINDING_LABEL).await.map_err(of_tls)?;
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
        Ok(Self { way, channel })
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
}
