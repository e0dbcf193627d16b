//! A client that says exactly what it is told to, right or wrong.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tessera_broker::codec::{
    self, ConnAck, Connect, Disconnect, FrameReader, Packet, Password, Peer, Properties,
    PropertiesBuilder, PropertyId, Publish, QoS, ReasonCode, Step, Subscribe, SubscribeOptions,
    Subscription, Unsubscribe, Version, Will,
};
use tessera_token::encoding::hex;
use tessera_token::scope::Scope;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::world::{device_scope, World};

/// Only a broken broker reaches it.
const PATIENCE: Duration = Duration::from_secs(10);

pub const VERSIONS: [Version; 2] = [Version::V311, Version::V5];

pub struct Client {
    socket: TcpStream,
    inbox: BytesMut,
    pub version: Version,
}

/// How to connect.
pub struct Plan<'w> {
    world: &'w World,
    device: String,
    scope: Scope,
    token: Option<Vec<u8>>,
    pub connect: Connect,
}

pub fn plan<'w>(world: &'w World, device: &str, version: Version) -> Plan<'w> {
    Plan {
        world,
        device: device.to_owned(),
        scope: device_scope(device),
        token: None,
        connect: Connect {
            version,
            clean_start: true,
            keep_alive: 0,
            properties: Properties::new(),
            client_id: device.into(),
            will: None,
            user_name: (version == Version::V311).then(|| "ignored".into()),
            password: None,
        },
    }
}

impl<'w> Plan<'w> {
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    pub fn token(mut self, token: Vec<u8>) -> Self {
        self.token = Some(token);
        self
    }

    pub fn client_id(mut self, id: &str) -> Self {
        self.connect.client_id = id.into();
        self
    }

    pub fn keep_alive(mut self, seconds: u16) -> Self {
        self.connect.keep_alive = seconds;
        self
    }

    pub fn properties(
        mut self,
        build: impl FnOnce(PropertiesBuilder) -> PropertiesBuilder,
    ) -> Self {
        self.connect.properties = build(Properties::build()).finish().unwrap();
        self
    }

    /// Keeps the session for `seconds`, and takes up the one that is there.
    pub fn kept(mut self, seconds: u32) -> Self {
        self.connect.clean_start = false;
        if self.connect.version == Version::V5 {
            self = self.properties(|p| p.number(PropertyId::SessionExpiry, seconds));
        }
        self
    }

    pub fn will(mut self, topic: &str, properties: Properties) -> Self {
        self.connect.will = Some(Will {
            qos: QoS::AtLeastOnce,
            retain: false,
            properties,
            topic: topic.into(),
            payload: Bytes::from_static(b"gone"),
        });
        self
    }

    /// The will that was set replaces what is retained.
    pub fn retained(mut self) -> Self {
        self.connect.will.as_mut().unwrap().retain = true;
        self
    }

    /// Connects and gives the CONNACK, or `None` when the socket was closed instead.
    pub async fn try_open(self) -> (Client, Option<ConnAck>) {
        let client = Client::raw(self.world, self.connect.version).await;
        self.try_over(client).await
    }

    /// The same over a socket that is there.
    pub async fn try_over(mut self, mut client: Client) -> (Client, Option<ConnAck>) {
        if self.connect.password.is_none() {
            let token = self
                .token
                .take()
                .unwrap_or_else(|| self.world.token(&self.device, self.scope.clone()));
            let password = self.world.password(&self.device, &self.connect.client_id, token);
            self.connect.password = Some(Password::new(password.into()));
        }
        client.send(&Packet::Connect(Box::new(self.connect))).await;
        let ack = match client.next().await {
            Some(Packet::ConnAck(ack)) => Some(ack),
            None => None,
            Some(other) => panic!("expected CONNACK, got {other:?}"),
        };
        (client, ack)
    }

    pub async fn open(self) -> Client {
        let (client, ack) = self.try_open().await;
        assert_eq!(ack.expect("closed").reason, ReasonCode::SUCCESS);
        client
    }

    pub async fn refused(self) -> ReasonCode {
        let (mut client, ack) = self.try_open().await;
        client.closed().await;
        ack.expect("closed without CONNACK").reason
    }
}

impl Client {
    pub async fn raw(world: &World, version: Version) -> Self {
        let socket = TcpStream::connect(world.mqtt()).await.unwrap();
        Self { socket, inbox: BytesMut::new(), version }
    }

    /// From an address of this machine: all of 127.0.0.0/8 is.
    pub async fn from(world: &World, address: Ipv4Addr, version: Version) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddrV4::new(address, 0).into()).unwrap();
        let socket = socket.connect(world.mqtt()).await.unwrap();
        Self { socket, inbox: BytesMut::new(), version }
    }

    pub async fn send(&mut self, packet: &Packet) {
        let mut out = BytesMut::new();
        codec::encode(packet, self.version, &mut out).unwrap();
        self.bytes(&out).await;
    }

    /// All of them in one write.
    pub async fn send_all(&mut self, packets: &[Packet]) {
        let mut out = BytesMut::new();
        for packet in packets {
            codec::encode(packet, self.version, &mut out).unwrap();
        }
        self.bytes(&out).await;
    }

    /// The first byte and the packet id of as many acknowledgements.
    pub async fn ack_ids(&mut self, count: usize) -> Vec<(u8, u16)> {
        let mut ids = Vec::new();
        for _ in 0..count {
            let bytes = self.next_bytes().await;
            ids.push((bytes[0], u16::from_be_bytes([bytes[2], bytes[3]])));
        }
        ids
    }

    pub async fn bytes(&mut self, bytes: &[u8]) {
        // The broker may have closed already: then the test sees the close.
        let _ = self.socket.write_all(bytes).await;
    }

    /// The next packet; `None` when the broker closed.
    pub async fn next(&mut self) -> Option<Packet> {
        self.next_within(PATIENCE).await
    }

    /// The same, with so much patience for each read.
    pub async fn next_within(&mut self, patience: Duration) -> Option<Packet> {
        let reader = FrameReader::new(16 * 1024 * 1024);
        loop {
            if let Step::Frame(frame) = reader.next(&mut self.inbox).unwrap() {
                return Some(codec::decode(&frame, self.version, Peer::Server).unwrap());
            }
            let read = tokio::time::timeout(patience, self.socket.read_buf(&mut self.inbox));
            match read.await.expect("the broker says nothing") {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// The bytes of the next packet, whatever they say; empty when the broker closed.
    pub async fn next_bytes(&mut self) -> Vec<u8> {
        loop {
            let head = self.inbox.iter().skip(1).position(|byte| *byte < 0x80);
            if let Some(width) = head {
                let length = self.inbox[1..width + 2].iter().rev();
                let length = length.fold(0, |sum, byte| sum << 7 | usize::from(byte & 0x7f));
                if self.inbox.len() >= width + 2 + length {
                    return self.inbox.split_to(width + 2 + length).to_vec();
                }
            }
            let read = tokio::time::timeout(PATIENCE, self.socket.read_buf(&mut self.inbox));
            match read.await.expect("the broker says nothing") {
                Ok(0) | Err(_) => return self.inbox.split().to_vec(),
                Ok(_) => {}
            }
        }
    }

    /// Sends bytes and expects exactly these as the answer; none means that the broker closes without a word.
    pub async fn answered(&mut self, sent: &str, expected: &str) {
        self.bytes(&hex::decode(sent.replace(' ', "")).unwrap()).await;
        let got = hex::encode(self.next_bytes().await);
        assert_eq!(got, expected.replace(' ', ""), "the answer to {sent}");
    }

    /// The reason of a DISCONNECT, or `None` when there was only a close. Other packets in front are passed over.
    pub async fn end(&mut self) -> Option<ReasonCode> {
        loop {
            match self.next().await {
                Some(Packet::Disconnect(bye)) => return Some(bye.reason),
                None => return None,
                Some(_) => {}
            }
        }
    }

    /// The end of a connection: its reason in MQTT 5, a plain close in 3.1.1.
    pub async fn ended_with(&mut self, reason: ReasonCode) {
        let expected = (self.version == Version::V5).then_some(reason);
        assert_eq!(self.end().await, expected);
        self.closed().await;
    }

    pub async fn closed(&mut self) {
        while self.next().await.is_some() {}
    }

    /// Everything sent before was handled, and nothing came that was not asked for.
    pub async fn quiet(&mut self) {
        self.send(&Packet::PingReq).await;
        match self.next().await {
            Some(Packet::PingResp) => {}
            other => panic!("expected silence, got {other:?}"),
        }
    }

    pub async fn subscribe(&mut self, filter: &str, qos: QoS) -> ReasonCode {
        self.subscribe_with(
            filter,
            SubscribeOptions { qos, ..SubscribeOptions::default() },
            Properties::new(),
        )
        .await
    }

    pub async fn subscribe_with(
        &mut self,
        filter: &str,
        options: SubscribeOptions,
        properties: Properties,
    ) -> ReasonCode {
        let entries = vec![Subscription { filter: filter.into(), options }];
        self.send(&Packet::Subscribe(Subscribe { packet_id: 77, properties, entries })).await;
        match self.next().await {
            Some(Packet::SubAck(ack)) => {
                assert_eq!((ack.packet_id, ack.reasons.len()), (77, 1));
                ack.reasons[0]
            }
            other => panic!("expected SUBACK, got {other:?}"),
        }
    }

    pub async fn unsubscribe(&mut self, filter: &str) -> Vec<ReasonCode> {
        let filters = vec![filter.into()];
        self.send(&Packet::Unsubscribe(Unsubscribe {
            packet_id: 78,
            properties: Properties::new(),
            filters,
        }))
        .await;
        match self.next().await {
            Some(Packet::UnsubAck(ack)) => ack.reasons,
            other => panic!("expected UNSUBACK, got {other:?}"),
        }
    }

    pub async fn publish(&mut self, topic: &str, qos: QoS, payload: &[u8]) {
        self.send(&publish(topic, qos, payload)).await;
    }

    /// Publishes with QoS 1 and gives the reason of the PUBACK.
    pub async fn publish_acked(&mut self, topic: &str, payload: &[u8]) -> ReasonCode {
        self.publish(topic, QoS::AtLeastOnce, payload).await;
        self.acked().await
    }

    pub async fn acked(&mut self) -> ReasonCode {
        match self.next().await {
            Some(Packet::PubAck(ack)) => ack.reason,
            other => panic!("expected PUBACK, got {other:?}"),
        }
    }

    /// The next PUBLISH; QoS 1 is acknowledged.
    pub async fn message(&mut self) -> Publish {
        let message = self.unacked_message().await;
        if let Some(id) = message.packet_id {
            self.send(&Packet::PubAck(codec::Ack::new(id, ReasonCode::SUCCESS))).await;
        }
        message
    }

    pub async fn unacked_message(&mut self) -> Publish {
        match self.next().await {
            Some(Packet::Publish(publish)) => publish,
            other => panic!("expected PUBLISH, got {other:?}"),
        }
    }

    pub async fn goodbye(mut self) {
        let bye = Disconnect { reason: ReasonCode::SUCCESS, properties: Properties::new() };
        self.send(&Packet::Disconnect(bye)).await;
        self.closed().await;
    }
}

pub fn publish(topic: &str, qos: QoS, payload: &[u8]) -> Packet {
    Packet::Publish(Publish {
        dup: false,
        qos,
        retain: false,
        topic: topic.into(),
        packet_id: (qos != QoS::AtMostOnce).then_some(9),
        properties: Properties::new(),
        payload: Bytes::copy_from_slice(payload),
    })
}

pub fn retained(topic: &str, payload: &[u8]) -> Packet {
    match publish(topic, QoS::AtLeastOnce, payload) {
        Packet::Publish(publish) => Packet::Publish(Publish { retain: true, ..publish }),
        other => other,
    }
}

/// Yields until it holds; only a broken broker lets it run out of patience.
pub async fn until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(2 * PATIENCE, waiting).await.expect("never came to hold");
}
