//! MQTT over QUIC: a quinn client that speaks our codec.

mod guards;
mod sessions;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream};
use tessera_broker::codec::ReasonCode;
use tessera_broker::transport::Transport;
use tessera_broker::RawBrokerConfig;
use tokio::io::Join;

use super::certs::{Certs, V13};
use super::line::Line;
use crate::world::{world_with, World};

/// A client with its one stream.
struct Peer {
    endpoint: Endpoint,
    connection: Connection,
    line: Line<Join<RecvStream, SendStream>>,
}

async fn quic_world(certs: &Certs, change: impl FnOnce(&mut RawBrokerConfig)) -> World {
    world_with(|raw| {
        certs.settings(raw);
        raw.quic = Some("127.0.0.1:0".parse().unwrap());
        change(raw);
    })
    .await
}

fn at(world: &World) -> SocketAddr {
    world.broker.addr(Transport::Quic).unwrap()
}

fn udp(address: &str) -> UdpSocket {
    UdpSocket::bind((address, 0)).unwrap()
}

/// The protocol that the client names: `mqtt` unless the configuration names something.
fn config(mut tls: rustls::ClientConfig) -> ClientConfig {
    if tls.alpn_protocols.is_empty() {
        tls.alpn_protocols = vec![b"mqtt".to_vec()];
    }
    ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
}

fn endpoint(config: ClientConfig) -> Endpoint {
    let mut endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.set_default_client_config(config);
    endpoint
}

async fn shake(endpoint: &Endpoint, world: &World) -> Result<Connection, ConnectionError> {
    endpoint.connect(at(world), "localhost").unwrap().await
}

impl Peer {
    async fn over(endpoint: Endpoint, world: &World) -> Result<Self, ConnectionError> {
        let connection = shake(&endpoint, world).await?;
        let (send, receive) = connection.open_bi().await?;
        Ok(Self { endpoint, connection, line: Line::new(tokio::io::join(receive, send)) })
    }

    async fn with(world: &World, tls: rustls::ClientConfig) -> Self {
        Self::over(endpoint(config(tls)), world).await.unwrap()
    }

    async fn new(world: &World, certs: &Certs) -> Self {
        Self::with(world, certs.client(V13)).await
    }

    async fn connected(world: &World, certs: &Certs, device: &str) -> Self {
        let mut peer = Self::new(world, certs).await;
        assert_eq!(peer.line.connect(world, device).await, ReasonCode::SUCCESS);
        peer
    }

    /// The code with which the broker closed.
    async fn closed_with(&self) -> u64 {
        match self.connection.closed().await {
            ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
            other => panic!("expected an application's close, got {other:?}"),
        }
    }
}

/// A client from this address that speaks something else inside.
pub async fn speaks_wrong_protocol(certs: &Certs, from: std::net::Ipv4Addr, broker: SocketAddr) {
    let mut tls = certs.client(V13);
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let mut endpoint = Endpoint::client((from, 0).into()).unwrap();
    endpoint.set_default_client_config(config(tls));
    endpoint.connect(broker, "localhost").unwrap().await.expect_err("another protocol");
}
