//! The listeners of a broker, each with the rules of its transport.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use tessera_runtime::proxy::entrance::Entrance;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::bind::Socket;
use super::listener::Listener;
use super::quic::QuicListener;
use super::StartError;
use crate::config::BrokerConfig;
use crate::hub::Hub;
use crate::limits::QUIC_IDLE_KEEP_ALIVES;
use crate::transport::acceptor::Acceptor;
use crate::transport::quic::Endpoint;
use crate::transport::settings::Listen;

/// Listeners that do not run yet.
#[derive(Default)]
pub(super) struct Listeners {
    pub(super) tcp: Vec<(Listener, TcpListener)>,
    pub(super) quic: Vec<QuicListener>,
}

pub(super) fn listeners(
    hub: &Arc<Hub>,
    sockets: Vec<Socket>,
    config: &BrokerConfig,
) -> Result<Listeners, StartError> {
    let permits = Arc::new(Semaphore::new(config.admission.sockets));
    let proxies = config.proxy.from.clone();
    let keep_alive = Duration::from_secs(config.session.keep_alive.into());
    let mut listeners = Listeners::default();
    for (socket, Listen { transport, address, proxied }) in sockets.into_iter().zip(&config.listen)
    {
        let (transport, address, proxied) = (*transport, *address, *proxied);
        tracing::debug!(transport = transport.as_str(), %address, proxied, "listening");
        let is_local = address.ip().to_canonical().is_loopback();
        let certificates = hub.certificates.clone().filter(|_| transport.is_tls());
        let (hub, permits) = (Arc::clone(hub), Arc::clone(&permits));
        let entrance = Arc::new(Entrance::new(transport.as_str(), config.proxy.clone(), None));
        match socket {
            Socket::Udp(socket) => {
                let acceptor = Acceptor { transport, is_local, certificates: None, entrance };
                let idle = keep_alive * QUIC_IDLE_KEEP_ALIVES;
                let missing = || io::Error::other("QUIC needs a certificate");
                let endpoint = certificates.ok_or_else(missing);
                let endpoint = endpoint.and_then(|own| Endpoint::start(socket, own, idle));
                let endpoint = endpoint.map_err(|error| StartError::Listen(address, error))?;
                listeners.quic.push(QuicListener { hub, endpoint, acceptor, permits });
            }
            Socket::Tcp(socket) => {
                let listener = Listener {
                    hub,
                    runtime: Handle::current(),
                    acceptor: Acceptor { transport, is_local, certificates, entrance },
                    permits,
                    proxies: proxied.then(|| Arc::clone(&proxies)),
                };
                listeners.tcp.push((listener, socket));
            }
        }
    }
    Ok(listeners)
}
