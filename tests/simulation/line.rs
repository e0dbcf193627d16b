//! MQTT 5 to a broker over a real socket of this machine: connected, used and left within one step, so that no timer of
//! the broker decides what a step sees.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tessera_broker::codec::{
    self, Ack, Connect, Disconnect, FrameReader, Packet, Password, Peer, Properties, PropertyId,
    Publish, QoS, ReasonCode, Step, Subscribe, SubscribeOptions, Subscription, Version,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Real time: only a broken broker lets it pass.
const PATIENCE: Duration = Duration::from_secs(20);
/// A session that never ends by itself.
const KEPT: u32 = u32::MAX - 1;

pub struct Line {
    socket: TcpStream,
    inbox: BytesMut,
}

impl Line {
    /// Connects; the reason, and whether a session was there.
    pub async fn open(
        broker: SocketAddr,
        client: &str,
        password: Vec<u8>,
        kept: bool,
    ) -> Result<(Self, ReasonCode, bool), String> {
        let socket = TcpStream::connect(broker).await.map_err(|error| error.to_string())?;
        let mut line = Self { socket, inbox: BytesMut::new() };
        let expiry = if kept { KEPT } else { 0 };
        let properties = Properties::build().number(PropertyId::SessionExpiry, expiry);
        let connect = Connect {
            version: Version::V5,
            clean_start: !kept,
            keep_alive: 0,
            properties: properties.finish().unwrap(),
            client_id: client.into(),
            will: None,
            user_name: None,
            password: Some(Password::new(password.into())),
        };
        line.send(Packet::Connect(Box::new(connect))).await;
        match line.next().await? {
            Some(Packet::ConnAck(ack)) => Ok((line, ack.reason, ack.session_present)),
            other => Err(format!("no CONNACK: {other:?}")),
        }
    }

    pub async fn subscribe(&mut self, filter: &str) -> Result<bool, String> {
        let options = SubscribeOptions { qos: QoS::AtLeastOnce, ..SubscribeOptions::default() };
        let entries = vec![Subscription { filter: filter.into(), options }];
        let properties = Properties::new();
        self.send(Packet::Subscribe(Subscribe { packet_id: 7, properties, entries })).await;
        match self.next().await? {
            Some(Packet::SubAck(ack)) => Ok(ack.reasons[0] == ReasonCode::GRANTED_QOS_1),
            Some(Packet::Disconnect(_)) | None => Ok(false),
            other => Err(format!("no SUBACK: {other:?}")),
        }
    }

    /// Publishes with QoS 1; whether it was acknowledged as taken.
    pub async fn publish(&mut self, id: u16, topic: &str, payload: u64) -> Result<bool, String> {
        self.send(Packet::Publish(Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic: topic.into(),
            packet_id: Some(id),
            properties: Properties::new(),
            payload: Bytes::copy_from_slice(&payload.to_be_bytes()),
        }))
        .await;
        match self.next().await? {
            Some(Packet::PubAck(ack)) => Ok(!ack.reason.is_error()),
            Some(Packet::Disconnect(_)) | None => Ok(false),
            other => Err(format!("no PUBACK: {other:?}")),
        }
    }

    /// Messages until nothing more comes. Those from the one with number `cut` on are not acknowledged.
    pub async fn drain(&mut self, cut: usize) -> Result<Vec<u64>, String> {
        let mut got = Vec::new();
        loop {
            let before = got.len();
            self.send(Packet::PingReq).await;
            loop {
                match self.next().await? {
                    Some(Packet::Publish(message)) => {
                        let payload = message.payload.as_ref().try_into();
                        got.push(u64::from_be_bytes(payload.map_err(|_| "a foreign payload")?));
                        let id = message.packet_id.ok_or("QoS 1 came as QoS 0")?;
                        if got.len() <= cut {
                            self.send(Packet::PubAck(Ack::new(id, ReasonCode::SUCCESS))).await;
                        }
                    }
                    Some(Packet::PingResp) => break,
                    Some(Packet::Disconnect(_)) | None => return Ok(got),
                    other => return Err(format!("unasked: {other:?}")),
                }
            }
            if got.len() == before {
                return Ok(got);
            }
        }
    }

    /// Leaves in order.
    pub async fn leave(mut self) {
        let bye = Disconnect { reason: ReasonCode::SUCCESS, properties: Properties::new() };
        self.send(Packet::Disconnect(bye)).await;
        self.is_closed().await;
    }

    /// Breaks, and waits until the broker has seen it.
    pub async fn lose(mut self) {
        // It may have closed first.
        let _ = self.socket.shutdown().await;
        self.is_closed().await;
    }

    async fn is_closed(&mut self) {
        while matches!(self.next().await, Ok(Some(_))) {}
    }

    async fn send(&mut self, packet: Packet) {
        let mut out = BytesMut::new();
        codec::encode(&packet, Version::V5, &mut out).unwrap();
        // A broker that has closed is seen by the next read.
        let _ = self.socket.write_all(&out).await;
    }

    async fn next(&mut self) -> Result<Option<Packet>, String> {
        let reader = FrameReader::new(1024 * 1024);
        loop {
            if let Step::Frame(frame) = reader.next(&mut self.inbox).unwrap() {
                let packet = codec::decode(&frame, Version::V5, Peer::Server);
                return Ok(Some(
                    packet.map_err(|error| format!("bytes of no packet: {}", error.rule))?,
                ));
            }
            let read = tokio::time::timeout(PATIENCE, self.socket.read_buf(&mut self.inbox));
            match read.await.map_err(|_| "the broker says nothing")? {
                Ok(0) | Err(_) => return Ok(None),
                Ok(_) => {}
            }
        }
    }
}
