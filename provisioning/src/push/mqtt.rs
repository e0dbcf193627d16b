//! The connection of provisioning to a broker: MQTT 5 over TCP or TLS. Only this file names `rumqttc`, whose codec makes
//! the packets; messages have QoS 0, since each page answers what came before it.

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::v5 as p5;
use rumqttc::v5::mqttbytes::QoS;
use tessera_runtime::tls::{Carried, TlsClient, Trust};
use tessera_token::limits::PUSH_PAGE_BYTES;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::codec::{Decoder, Encoder};

use crate::limits::{PUSH_CONNECT, PUSH_KEEP_ALIVE, PUSH_WRITE};
use crate::push_settings::PushBroker;

/// Why there is no connection, or no more. Nothing of a credential is in it.
#[derive(Debug)]
pub(super) struct Ended(pub(super) String);

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn ended(why: impl fmt::Display) -> Ended {
    Ended(why.to_string())
}

/// One connection whose CONNACK said success, and whose subscription was granted.
pub(super) struct Link {
    stream: Carried,
    codec: p5::Codec,
    inbox: BytesMut,
    out: BytesMut,
    topic: &'static str,
    keep_alive: Duration,
}

impl Link {
    /// Connects and subscribes to `topic`.
    ///
    /// # Errors
    /// [`Ended`].
    pub(super) async fn open(
        broker: &PushBroker,
        trust: &Trust,
        (client_id, password): (&str, String),
        topic: &'static str,
    ) -> Result<Self, Ended> {
        let opening = Self::opened(broker, trust, (client_id, password), topic);
        timeout(PUSH_CONNECT, opening).await.map_err(|_| ended("no answer in time"))?
    }

    async fn opened(
        broker: &PushBroker,
        trust: &Trust,
        (client_id, password): (&str, String),
        topic: &'static str,
    ) -> Result<Self, Ended> {
        let (host, port) = broker.place();
        let socket = TcpStream::connect((host, port)).await.map_err(ended)?;
        socket.set_nodelay(true).map_err(ended)?;
        let stream: Carried = match broker.is_tls() {
            false => Box::pin(socket),
            true => {
                let tls = TlsClient::new(trust, None, b"mqtt").map_err(ended)?;
                tls.connect(host, socket).await.map_err(ended)?
            }
        };
        let most = u32::try_from(PUSH_PAGE_BYTES + 1024).ok();
        let codec = p5::Codec { max_incoming_size: most, max_outgoing_size: None };
        let (inbox, out) = (BytesMut::new(), BytesMut::new());
        let mut link = Self { stream, codec, inbox, out, topic, keep_alive: PUSH_KEEP_ALIVE };
        link.connect(client_id, password).await?;
        link.subscribe().await?;
        Ok(link)
    }

    async fn connect(&mut self, client_id: &str, password: String) -> Result<(), Ended> {
        let seconds = u16::try_from(self.keep_alive.as_secs()).unwrap_or(u16::MAX);
        let packet = p5::Connect {
            keep_alive: seconds,
            client_id: client_id.to_owned(),
            clean_start: true,
            properties: None,
        };
        let login = p5::Login { username: client_id.to_owned(), password };
        self.send(p5::Packet::Connect(packet, None, Some(login))).await?;
        match self.packet().await? {
            p5::Packet::ConnAck(ack) if ack.code == p5::ConnectReturnCode::Success => {
                let asked = ack.properties.and_then(|all| all.server_keep_alive);
                self.keep_alive = asked.map_or(self.keep_alive, |s| Duration::from_secs(s.into()));
                Ok(())
            }
            p5::Packet::ConnAck(ack) => {
                Err(Ended(format!("the broker refused the connection: {:?}", ack.code)))
            }
            _ => Err(ended("the first packet is no CONNACK")),
        }
    }

    async fn subscribe(&mut self) -> Result<(), Ended> {
        let filter = p5::Filter::new(self.topic, QoS::AtMostOnce);
        let mut packet = p5::Subscribe::new(filter, None);
        packet.pkid = 1;
        self.send(p5::Packet::Subscribe(packet)).await?;
        loop {
            match self.packet().await? {
                p5::Packet::SubAck(ack) => match ack.return_codes.first() {
                    Some(p5::SubscribeReasonCode::Success(_)) => return Ok(()),
                    refused => {
                        return Err(Ended(format!(
                            "the broker knows no push refresh, or does not take this service for its own: {refused:?}"
                        )))
                    }
                },
                p5::Packet::Disconnect(packet) => return Err(disconnected(&packet)),
                _ => {}
            }
        }
    }

    /// How long it may be silent.
    pub(super) fn keep_alive(&self) -> Duration {
        self.keep_alive
    }

    /// Publishes with QoS 0.
    ///
    /// # Errors
    /// [`Ended`], also when the broker takes nothing for [`PUSH_WRITE`].
    pub(super) async fn publish(&mut self, topic: &str, payload: Vec<u8>) -> Result<(), Ended> {
        let packet = p5::Publish::new(topic, QoS::AtMostOnce, payload, None);
        self.send(p5::Packet::Publish(packet)).await
    }

    pub(super) async fn ping(&mut self) -> Result<(), Ended> {
        self.send(p5::Packet::PingReq(p5::PingReq)).await
    }

    /// Ends the connection as the protocol asks.
    pub(super) async fn close(mut self) {
        let packet = p5::Disconnect::new(p5::DisconnectReasonCode::NormalDisconnection);
        if self.send(p5::Packet::Disconnect(packet)).await.is_ok() {
            // The broker may have gone before.
            let _ = timeout(PUSH_WRITE, self.stream.shutdown()).await;
        }
    }

    /// The payload of the next message on the topic. Cancel-safe.
    ///
    /// # Errors
    /// [`Ended`].
    pub(super) async fn next(&mut self) -> Result<Vec<u8>, Ended> {
        loop {
            match self.packet().await? {
                p5::Packet::Publish(publish) if publish.topic == self.topic.as_bytes() => {
                    return Ok(publish.payload.to_vec());
                }
                p5::Packet::Disconnect(packet) => return Err(disconnected(&packet)),
                _ => {}
            }
        }
    }

    /// The next packet. Cancel-safe: a part of one stays in the inbox.
    async fn packet(&mut self) -> Result<p5::Packet, Ended> {
        loop {
            if let Some(packet) = self.codec.decode(&mut self.inbox).map_err(ended)? {
                return Ok(packet);
            }
            let read = self.stream.read_buf(&mut self.inbox).await;
            if read.map_err(ended)? == 0 {
                return Err(ended("the broker closed the connection"));
            }
        }
    }

    async fn send(&mut self, packet: p5::Packet) -> Result<(), Ended> {
        self.codec.encode(packet, &mut self.out).map_err(ended)?;
        let bytes = self.out.split();
        let write = async {
            self.stream.write_all(&bytes).await?;
            self.stream.flush().await?;
            Ok::<_, io::Error>(())
        };
        match timeout(PUSH_WRITE, write).await {
            Ok(written) => written.map_err(ended),
            Err(_) => Err(ended("the broker takes nothing")),
        }
    }
}

fn disconnected(packet: &p5::Disconnect) -> Ended {
    Ended(format!("the broker ended the connection: {:?}", packet.reason_code))
}
