//! MQTT over any stream.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rustls::pki_types::ServerName;
use rustls::ClientConfig;
use tessera_broker::codec::{self, FrameReader, Packet, Password, Peer, ReasonCode, Step, Version};
use tessera_broker::transport::Transport;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::TlsConnector;

use crate::client::plan;
use crate::world::{device_scope, World};

const PATIENCE: Duration = Duration::from_secs(15);

pub struct Line<S> {
    pub io: S,
    pub inbox: BytesMut,
}

pub async fn tcp(world: &World, transport: Transport) -> TcpStream {
    TcpStream::connect(world.broker.addr(transport).unwrap()).await.unwrap()
}

pub async fn tls(
    world: &World,
    transport: Transport,
    config: ClientConfig,
) -> std::io::Result<TlsStream<TcpStream>> {
    tls_over(tcp(world, transport).await, &Arc::new(config)).await
}

pub async fn tls_over(
    socket: TcpStream,
    config: &Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::clone(config)).connect(name, socket).await
}

/// A CONNECT with token and proof.
pub fn connect(world: &World, device: &str) -> Vec<u8> {
    let mut connect = plan(world, device, Version::V5).connect;
    let token = world.token(device, device_scope(device));
    connect.password = Some(Password::new(world.password(device, device, token).into()));
    bytes(&Packet::Connect(Box::new(connect)))
}

pub fn bytes(packet: &Packet) -> Vec<u8> {
    let mut out = BytesMut::new();
    codec::encode(packet, Version::V5, &mut out).unwrap();
    out.to_vec()
}

pub fn decode(inbox: &mut BytesMut) -> Option<Packet> {
    match FrameReader::new(16 * 1024 * 1024).next(inbox).unwrap() {
        Step::Frame(frame) => Some(codec::decode(&frame, Version::V5, Peer::Server).unwrap()),
        Step::NeedMore(_) => None,
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Line<S> {
    pub fn new(io: S) -> Self {
        Self { io, inbox: BytesMut::new() }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        // The broker may have closed: then the test sees the close.
        let _ = self.io.write_all(bytes).await;
        let _ = self.io.flush().await;
    }

    /// The next packet; `None` when the broker closed.
    pub async fn next(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = decode(&mut self.inbox) {
                return Some(packet);
            }
            let read = tokio::time::timeout(PATIENCE, self.io.read_buf(&mut self.inbox));
            match read.await.expect("the broker says nothing") {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    pub async fn connect(&mut self, world: &World, device: &str) -> ReasonCode {
        self.send(&connect(world, device)).await;
        match self.next().await {
            Some(Packet::ConnAck(ack)) => ack.reason,
            other => panic!("expected CONNACK, got {other:?}"),
        }
    }

    pub async fn ping(&mut self) {
        self.send(&[0xc0, 0]).await;
        assert!(matches!(self.next().await, Some(Packet::PingResp)));
    }

    pub async fn closed(&mut self) {
        while self.next().await.is_some() {}
    }
}

pub async fn settle(what: impl Fn() -> bool) {
    tokio::time::timeout(PATIENCE, async {
        while !what() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("it never settles");
}
