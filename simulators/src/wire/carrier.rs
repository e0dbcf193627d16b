//! A connection that carries MQTT: bytes in, bytes out, whatever is underneath.

use std::io;

use bytes::BytesMut;
use tessera_runtime::tls::Carried;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::broker::Broker;
use super::web_socket::WebSocket;

/// The open connection.
pub(super) enum Carrier {
    Bytes(Carried),
    WebSocket(Box<WebSocket>),
}

impl Carrier {
    /// Connects, and shakes hands as the scheme asks. The caller bounds the time.
    ///
    /// # Errors
    /// In words, with what to do.
    pub(super) async fn open(broker: &Broker) -> Result<Self, String> {
        let host = broker.host.trim_start_matches('[').trim_end_matches(']');
        let socket = TcpStream::connect((host, broker.port)).await;
        let socket = socket.map_err(|error| error.to_string())?;
        // A packet of a device is small, and leaves at once.
        socket.set_nodelay(true).map_err(|error| error.to_string())?;
        let carried: Carried = match (broker.scheme.is_tls(), &broker.tls) {
            (false, _) => Box::pin(socket),
            (true, Some(tls)) => {
                tls.connect(host, socket).await.map_err(|error| error.to_string())?
            }
            (true, None) => return Err("nothing says which certificates are trusted".to_owned()),
        };
        match broker.scheme.is_web_socket() {
            false => Ok(Self::Bytes(carried)),
            true => Ok(Self::WebSocket(Box::new(WebSocket::open(carried, broker).await?))),
        }
    }

    /// Appends what comes; `Ok(0)` is the end. Cancel-safe.
    pub(super) async fn read(&mut self, inbox: &mut BytesMut) -> io::Result<usize> {
        match self {
            Self::Bytes(carried) => carried.read_buf(inbox).await,
            Self::WebSocket(web_socket) => web_socket.read(inbox).await,
        }
    }

    /// Writes all of it, and what is owed besides. Not cancel-safe.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Bytes(carried) => {
                carried.write_all(bytes).await?;
                carried.flush().await
            }
            Self::WebSocket(web_socket) => web_socket.write(bytes).await,
        }
    }
}
