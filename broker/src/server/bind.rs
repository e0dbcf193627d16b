//! The sockets of a broker, bound before anything is built on them.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use tessera_runtime::inherited;

use super::{listener, StartError};
use crate::config::BrokerConfig;
use crate::transport::settings::Listen;
use crate::transport::Transport;

/// A socket that is listened on.
pub(super) enum Socket {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

/// All of them.
pub(super) struct Bound {
    /// In the order of the settings.
    pub(super) sockets: Vec<Socket>,
    /// Where they are.
    pub(super) listening: Vec<(Transport, SocketAddr)>,
    pub(super) mqtt_addr: SocketAddr,
    pub(super) http: TcpListener,
    pub(super) http_addr: SocketAddr,
}

impl Bound {
    pub(super) fn new(config: &BrokerConfig) -> Result<Self, StartError> {
        let (mut sockets, mut listening) = (Vec::new(), Vec::new());
        for one in &config.listen {
            let failed = |error| StartError::Listen(one.address, error);
            let (socket, address) = bind(one).map_err(failed)?;
            listening.push((one.transport, address));
            sockets.push(socket);
        }
        let http = inherited::take(config.http).map_or_else(|| TcpListener::bind(config.http), Ok);
        let http = http.map_err(|error| StartError::Listen(config.http, error))?;
        let mqtt_addr = listening.first().map_or(config.http, |(_, address)| *address);
        let http_addr = http.local_addr().map_err(StartError::Thread)?;
        Ok(Self { sockets, listening, mqtt_addr, http, http_addr })
    }
}

fn bind(one: &Listen) -> io::Result<(Socket, SocketAddr)> {
    if one.transport == Transport::Quic {
        let socket = UdpSocket::bind(one.address)?;
        let address = socket.local_addr()?;
        return Ok((Socket::Udp(socket), address));
    }
    let socket = inherited::take(one.address).map_or_else(|| listener::bind(one.address), Ok)?;
    let address = socket.local_addr()?;
    Ok((Socket::Tcp(socket), address))
}
