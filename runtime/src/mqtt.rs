//! An MQTT 5 client connection over TCP or TLS, for services that speak to a broker on control topics. Only this file names
//! `rumqttc`, whose codec makes the packets. Messages have QoS 0: each answer of a control topic says what came before it.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::v5 as p5;
use rumqttc::v5::mqttbytes::QoS;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::codec::{Decoder, Encoder};

use crate::tls::{Carried, TlsClient, TlsError, Trust};

/// Why there is no connection, or no more. Nothing of a credential is in it.
#[derive(Debug)]
pub enum LinkError {
    /// The broker let the client in and denies it a topic.
    Denied(String),
    /// The broker does not let this client in.
    Refused(String),
    /// The broker lets no client in now.
    Busy(String),
    /// The certificate of what answers is not believed.
    Tls(TlsError),
    /// There is no way to the broker.
    Away(String),
    /// The connection ended.
    Lost(String),
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(why) => write!(f, "the broker denies the topic: {why}"),
            Self::Refused(why) | Self::Busy(why) => {
                write!(f, "the broker refused the connection: {why}")
            }
            Self::Tls(error) => error.fmt(f),
            Self::Away(why) | Self::Lost(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for LinkError {}

fn lost(why: impl fmt::Display) -> LinkError {
    LinkError::Lost(why.to_string())
}

/// A broker as text: `mqtts://host:port` or `mqtt://host:port`; 8883 and 1883 where no port is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Whether it is spoken to over TLS.
    pub tls: bool,
    /// A name, or an address: IPv6 in brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Address {
    /// Takes the text; `None` when it is no address.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (tls, place, usual) = match text.strip_prefix("mqtts://") {
            Some(place) => (true, place, 8883),
            None => (false, text.strip_prefix("mqtt://")?, 1883),
        };
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') && !port.ends_with(']') => {
                (host, port.parse().ok()?)
            }
            _ => (place, usual),
        };
        let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        let is_good = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.bytes().all(is_name),
        };
        (is_good && port != 0).then(|| Self { tls, host: host.to_owned(), port })
    }

    /// The host without brackets.
    #[must_use]
    pub fn name(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// Whether others could read what is sent to it.
    #[must_use]
    pub fn is_in_clear_beyond_this_machine(&self) -> bool {
        let host = self.name();
        let is_here = host == "localhost"
            || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
        !self.tls && !is_here
    }
}

/// A broker, and the bounds of a connection to it.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// A name or an address, without brackets.
    pub host: &'a str,
    /// The port.
    pub port: u16,
    /// The trust settings for TLS; `None` speaks in clear.
    pub tls: Option<&'a Trust>,
    /// Until the connection stands and all subscriptions are granted.
    pub within: Duration,
    /// Time for the broker to take one packet.
    pub write: Duration,
    /// The keep-alive that is asked for.
    pub keep_alive: Duration,
    /// Bytes of one packet of the broker.
    pub packet_bytes: u32,
}

/// One connection whose CONNACK said success, and whose subscriptions were granted.
pub struct Link {
    stream: Carried,
    codec: p5::Codec,
    inbox: BytesMut,
    out: BytesMut,
    keep_alive: Duration,
    write: Duration,
}

/// A message.
pub struct Message {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: Vec<u8>,
}

impl Link {
    /// Connects as `client_id` and subscribes to the topics.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn open(
        place: &Place<'_>,
        login: (&str, String),
        topics: &[&str],
    ) -> Result<Self, LinkError> {
        let opening = Self::opened(place, login, topics);
        let late = |_| LinkError::Away("no answer in time".to_owned());
        timeout(place.within, opening).await.map_err(late)?
    }

    async fn opened(
        place: &Place<'_>,
        (client_id, password): (&str, String),
        topics: &[&str],
    ) -> Result<Self, LinkError> {
        let away = |error: io::Error| LinkError::Away(error.to_string());
        let socket = TcpStream::connect((place.host, place.port)).await.map_err(away)?;
        socket.set_nodelay(true).map_err(away)?;
        let stream: Carried = match place.tls {
            None => Box::pin(socket),
            Some(trust) => {
                let tls = TlsClient::new(trust, None, b"mqtt").map_err(LinkError::Tls)?;
                tls.connect(place.host, socket).await.map_err(LinkError::Tls)?
            }
        };
        let most = Some(place.packet_bytes);
        let codec = p5::Codec { max_incoming_size: most, max_outgoing_size: None };
        let (inbox, out) = (BytesMut::new(), BytesMut::new());
        let (keep_alive, write) = (place.keep_alive, place.write);
        let mut link = Self { stream, codec, inbox, out, keep_alive, write };
        link.connect(client_id, password, place.packet_bytes).await?;
        link.subscribe(topics).await?;
        Ok(link)
    }

    async fn connect(
        &mut self,
        client_id: &str,
        password: String,
        most: u32,
    ) -> Result<(), LinkError> {
        let seconds = u16::try_from(self.keep_alive.as_secs()).unwrap_or(u16::MAX);
        let mut properties = p5::ConnectProperties::new();
        properties.max_packet_size = Some(most);
        let packet = p5::Connect {
            keep_alive: seconds,
            client_id: client_id.to_owned(),
            clean_start: true,
            properties: Some(properties),
        };
        let login = p5::Login { username: client_id.to_owned(), password };
        self.send(p5::Packet::Connect(packet, None, Some(login))).await?;
        match self.packet().await? {
            p5::Packet::ConnAck(ack) if ack.code == p5::ConnectReturnCode::Success => {
                let told = ack.properties.as_ref();
                self.codec.max_outgoing_size = told.and_then(|all| all.max_packet_size);
                let asked = told.and_then(|all| all.server_keep_alive);
                self.keep_alive = asked.map_or(self.keep_alive, |s| Duration::from_secs(s.into()));
                Ok(())
            }
            p5::Packet::ConnAck(ack) => {
                let said = ack.properties.and_then(|all| all.reason_string).unwrap_or_default();
                let why = format!("{:?} {said}", ack.code).trim_end().to_owned();
                Err(match ack.code {
                    p5::ConnectReturnCode::NotAuthorized
                    | p5::ConnectReturnCode::BadUserNamePassword
                    | p5::ConnectReturnCode::ClientIdentifierNotValid
                    | p5::ConnectReturnCode::Banned => LinkError::Refused(why),
                    _ => LinkError::Busy(why),
                })
            }
            _ => Err(lost("the first packet is no CONNACK")),
        }
    }

    async fn subscribe(&mut self, topics: &[&str]) -> Result<(), LinkError> {
        let filters = topics.iter().map(|topic| p5::Filter::new(*topic, QoS::AtMostOnce));
        let mut packet = p5::Subscribe::new_many(filters, None);
        packet.pkid = 1;
        self.send(p5::Packet::Subscribe(packet)).await?;
        loop {
            match self.packet().await? {
                p5::Packet::SubAck(ack) => {
                    let granted = |code: &_| matches!(code, p5::SubscribeReasonCode::Success(_));
                    let refused = topics
                        .iter()
                        .enumerate()
                        .find(|(at, _)| !ack.return_codes.get(*at).is_some_and(granted));
                    return match refused {
                        None => Ok(()),
                        Some((at, topic)) => {
                            let code = ack.return_codes.get(at);
                            Err(LinkError::Denied(format!("{topic}: {code:?}")))
                        }
                    };
                }
                p5::Packet::Disconnect(packet) => return Err(disconnected(&packet)),
                _ => {}
            }
        }
    }

    /// How long it may be silent.
    pub fn keep_alive(&self) -> Duration {
        self.keep_alive
    }

    /// Publishes with QoS 0.
    ///
    /// # Errors
    /// [`LinkError`], also when the broker takes nothing for the time of the place.
    pub async fn publish(&mut self, topic: &str, payload: Vec<u8>) -> Result<(), LinkError> {
        let packet = p5::Publish::new(topic, QoS::AtMostOnce, payload, None);
        self.send(p5::Packet::Publish(packet)).await
    }

    /// Says that the client is there.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn ping(&mut self) -> Result<(), LinkError> {
        self.send(p5::Packet::PingReq(p5::PingReq)).await
    }

    /// Ends the connection as the protocol asks.
    pub async fn close(mut self) {
        let packet = p5::Disconnect::new(p5::DisconnectReasonCode::NormalDisconnection);
        if self.send(p5::Packet::Disconnect(packet)).await.is_ok() {
            // The broker may have gone before.
            let _ = timeout(self.write, self.stream.shutdown()).await;
        }
    }

    /// The next message. Cancel-safe.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn next(&mut self) -> Result<Message, LinkError> {
        loop {
            match self.packet().await? {
                p5::Packet::Publish(publish) => {
                    return Ok(Message {
                        topic: String::from_utf8_lossy(&publish.topic).into_owned(),
                        payload: publish.payload.to_vec(),
                    });
                }
                p5::Packet::Disconnect(packet) => return Err(disconnected(&packet)),
                _ => {}
            }
        }
    }

    /// The next packet. Cancel-safe: a part of one stays in the inbox.
    async fn packet(&mut self) -> Result<p5::Packet, LinkError> {
        loop {
            if let Some(packet) = self.codec.decode(&mut self.inbox).map_err(lost)? {
                return Ok(packet);
            }
            let read = self.stream.read_buf(&mut self.inbox).await;
            if read.map_err(lost)? == 0 {
                return Err(lost("the broker closed the connection"));
            }
        }
    }

    async fn send(&mut self, packet: p5::Packet) -> Result<(), LinkError> {
        self.codec.encode(packet, &mut self.out).map_err(lost)?;
        let bytes = self.out.split();
        let write = async {
            self.stream.write_all(&bytes).await?;
            self.stream.flush().await?;
            Ok::<_, io::Error>(())
        };
        match timeout(self.write, write).await {
            Ok(written) => written.map_err(lost),
            Err(_) => Err(lost("the broker takes nothing")),
        }
    }
}

fn disconnected(packet: &p5::Disconnect) -> LinkError {
    LinkError::Lost(format!("the broker ended the connection: {:?}", packet.reason_code))
}
