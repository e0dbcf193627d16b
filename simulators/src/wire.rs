//! MQTT over TCP: the only file that names `rumqttc`.
//!
//! One [`Link`] is one connection. A task of its own drives the client and hands events on through a bounded queue, so
//! that a device may wait for an event, a timer and the stop signal at once without losing a half-read packet.
//!
//! rumqttc keeps passwords as `String`, so the base64url form of the connect proof is sent.

use std::fmt;
use std::time::Duration;

use rumqttc::v5::mqttbytes::v5 as p5;
use rumqttc::v5::mqttbytes::QoS as QoS5;
use rumqttc::{v5, QoS as QoS4};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::limits;

/// The version of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Version {
    /// MQTT 3.1.1.
    #[default]
    V311,
    /// MQTT 5.0.
    V5,
}

/// What a CONNECT holds.
#[derive(Clone)]
pub struct Connect {
    /// Host name or address, and port.
    pub broker: Broker,
    /// The client id.
    pub client_id: String,
    /// The user name; ignored by the broker on the connect-proof path.
    pub username: String,
    /// The password as text: base64url of token and proof. Neither printed nor logged.
    pub password: String,
    /// The version to speak.
    pub version: Version,
    /// Keep-alive.
    pub keep_alive: Duration,
}

/// Where the broker is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broker {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Broker {
    /// Takes `host:port`, `[v6]:port` or a host alone (port 1883) apart.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') => (host, port.parse().ok()?),
            _ => (text, 1883),
        };
        (!host.is_empty() && port != 0).then(|| Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// What comes over a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Incoming {
    /// A message.
    Message {
        /// Its topic.
        topic: String,
        /// Its payload.
        payload: Vec<u8>,
    },
    /// A QoS 1 publish was acknowledged.
    Published,
    /// A QoS 1 publish was refused (MQTT 5 alone can say so), with the name of the reason.
    PublishRefused(String),
    /// A subscription was granted.
    Subscribed,
    /// A subscription was refused.
    SubscribeRefused(String),
    /// The connection is gone; nothing follows.
    Closed(Closed),
}

/// Why a connection could not be made or is gone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Closed {
    /// CONNACK with a reason other than success.
    Refused(String),
    /// MQTT 5 DISCONNECT from the broker, with the name of the reason.
    Disconnected(String),
    /// The socket closed, broke or stayed silent.
    Lost(String),
}

impl Closed {
    /// A short stable name for counting.
    pub fn kind(&self) -> String {
        match self {
            Self::Refused(reason) => format!("connect:{reason}"),
            Self::Disconnected(reason) => format!("disconnect:{reason}"),
            Self::Lost(_) => "connection_lost".to_owned(),
        }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reason) => write!(f, "the broker refused the connection: {reason}"),
            Self::Disconnected(reason) => write!(f, "the broker ended the connection: {reason}"),
            Self::Lost(why) => write!(f, "the connection is gone: {why}"),
        }
    }
}

impl std::error::Error for Closed {}

/// The queue of outgoing requests is full or the connection is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotSent;

impl fmt::Display for NotSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not sent: the queue is full or the connection is gone")
    }
}

impl std::error::Error for NotSent {}

/// One connection whose CONNACK said success.
pub struct Link {
    client: Client,
    events: mpsc::Receiver<Incoming>,
    pump: JoinHandle<()>,
}

enum Client {
    V311(rumqttc::AsyncClient),
    V5(v5::AsyncClient),
}

impl Link {
    /// Connects and waits for CONNACK.
    ///
    /// # Errors
    /// [`Closed`].
    pub async fn open(connect: &Connect) -> Result<Self, Closed> {
        let (client, mut driver) = Driver::new(connect);
        let wait = Duration::from_secs(limits::CONNECT_SECONDS);
        match tokio::time::timeout(wait, driver.connected()).await {
            Ok(connected) => connected?,
            Err(_) => return Err(Closed::Lost("no CONNACK in time".to_owned())),
        }
        let (sender, events) = mpsc::channel(limits::LINK_EVENTS);
        let pump = tokio::spawn(driver.pump(sender));
        Ok(Self { client, events, pump })
    }

    /// The next event; after [`Incoming::Closed`] the same again. Cancel-safe.
    pub async fn next(&mut self) -> Incoming {
        let event = self.events.recv().await;
        event.unwrap_or_else(|| Incoming::Closed(Closed::Lost("closed".to_owned())))
    }

    /// The next event that is no [`Incoming::Message`], within [`limits::ANSWER`].
    pub async fn answer(&mut self) -> Incoming {
        let wait = async {
            loop {
                match self.next().await {
                    Incoming::Message { .. } => {}
                    other => return other,
                }
            }
        };
        let lost = || Incoming::Closed(Closed::Lost("no answer in time".to_owned()));
        tokio::time::timeout(limits::ANSWER, wait).await.unwrap_or_else(|_| lost())
    }

    /// Queues a publish with QoS 0 or 1.
    ///
    /// # Errors
    /// [`NotSent`].
    pub fn publish(
        &self,
        topic: &str,
        acknowledged: bool,
        payload: Vec<u8>,
    ) -> Result<(), NotSent> {
        let sent = match &self.client {
            Client::V311(client) => {
                let qos = if acknowledged { QoS4::AtLeastOnce } else { QoS4::AtMostOnce };
                client.try_publish(topic, qos, false, payload).is_ok()
            }
            Client::V5(client) => {
                let qos = if acknowledged { QoS5::AtLeastOnce } else { QoS5::AtMostOnce };
                client.try_publish(topic, qos, false, payload).is_ok()
            }
        };
        sent.then_some(()).ok_or(NotSent)
    }

    /// Queues a subscription with QoS 1.
    ///
    /// # Errors
    /// [`NotSent`].
    pub fn subscribe(&self, filter: &str) -> Result<(), NotSent> {
        let sent = match &self.client {
            Client::V311(client) => client.try_subscribe(filter, QoS4::AtLeastOnce).is_ok(),
            Client::V5(client) => client.try_subscribe(filter, QoS5::AtLeastOnce).is_ok(),
        };
        sent.then_some(()).ok_or(NotSent)
    }

    /// Sends DISCONNECT and waits a moment until it is written.
    pub async fn close(mut self) {
        let sent = match &self.client {
            Client::V311(client) => client.try_disconnect().is_ok(),
            Client::V5(client) => client.try_disconnect().is_ok(),
        };
        let gone = async { while !matches!(self.next().await, Incoming::Closed(_)) {} };
        if sent {
            let _ = tokio::time::timeout(Duration::from_secs(1), gone).await;
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

enum Driver {
    V311(Box<rumqttc::EventLoop>),
    V5(Box<v5::EventLoop>),
}

impl Driver {
    fn new(connect: &Connect) -> (Client, Self) {
        match connect.version {
            Version::V311 => {
                let (client, mut events) =
                    rumqttc::AsyncClient::new(options_311(connect), limits::LINK_REQUESTS);
                // Here the time to connect is no part of the options, as it is for MQTT 5.
                let mut network = rumqttc::NetworkOptions::new();
                network.set_connection_timeout(limits::CONNECT_SECONDS);
                events.set_network_options(network);
                (Client::V311(client), Self::V311(Box::new(events)))
            }
            Version::V5 => {
                let (client, events) =
                    v5::AsyncClient::new(options_5(connect), limits::LINK_REQUESTS);
                (Client::V5(client), Self::V5(Box::new(events)))
            }
        }
    }

    async fn connected(&mut self) -> Result<(), Closed> {
        match self {
            Self::V311(events) => events.poll().await.map(drop).map_err(closed_311),
            Self::V5(events) => events.poll().await.map(drop).map_err(closed_5),
        }
    }

    async fn pump(mut self, sender: mpsc::Sender<Incoming>) {
        loop {
            let event = match &mut self {
                Self::V311(events) => events.poll().await.map(incoming_311).map_err(closed_311),
                Self::V5(events) => events.poll().await.map(incoming_5).map_err(closed_5),
            };
            match event {
                Ok(None) => {}
                Ok(Some(event)) => {
                    if sender.send(event).await.is_err() {
                        return;
                    }
                }
                Err(closed) => return self.tell_the_rest(closed, &sender).await,
            }
        }
    }

    /// What was read together with the end of the connection comes before the end.
    async fn tell_the_rest(mut self, closed: Closed, sender: &mpsc::Sender<Incoming>) {
        loop {
            let left = match &mut self {
                Self::V311(events) => events.state.events.pop_front().map(incoming_311),
                Self::V5(events) => events.state.events.pop_front().map(incoming_5),
            };
            match left {
                Some(Some(event)) => {
                    if sender.send(event).await.is_err() {
                        return;
                    }
                }
                Some(None) => {}
                None => break,
            }
        }
        // Nobody waits for it when the link was dropped.
        let _ = sender.send(Incoming::Closed(closed)).await;
    }
}

fn options_311(connect: &Connect) -> rumqttc::MqttOptions {
    let broker = &connect.broker;
    let mut options =
        rumqttc::MqttOptions::new(connect.client_id.as_str(), broker.host.as_str(), broker.port);
    options
        .set_credentials(connect.username.as_str(), connect.password.as_str())
        .set_keep_alive(connect.keep_alive)
        .set_max_packet_size(limits::PACKET_BYTES, limits::PACKET_BYTES)
        .set_inflight(limits::IN_FLIGHT)
        .set_clean_session(true);
    options
}

fn options_5(connect: &Connect) -> v5::MqttOptions {
    let broker = &connect.broker;
    let mut options =
        v5::MqttOptions::new(connect.client_id.as_str(), broker.host.as_str(), broker.port);
    options
        .set_credentials(connect.username.as_str(), connect.password.as_str())
        .set_keep_alive(connect.keep_alive)
        .set_connection_timeout(limits::CONNECT_SECONDS)
        .set_outgoing_inflight_upper_limit(limits::IN_FLIGHT)
        .set_clean_start(true);
    options
}

fn incoming_311(event: rumqttc::Event) -> Option<Incoming> {
    let rumqttc::Event::Incoming(packet) = event else { return None };
    match packet {
        rumqttc::Packet::Publish(publish) => {
            Some(Incoming::Message { topic: publish.topic, payload: publish.payload.to_vec() })
        }
        rumqttc::Packet::PubAck(_) => Some(Incoming::Published),
        rumqttc::Packet::SubAck(ack) => Some(match ack.return_codes.first() {
            Some(rumqttc::SubscribeReasonCode::Success(_)) => Incoming::Subscribed,
            _ => Incoming::SubscribeRefused("failure".to_owned()),
        }),
        _ => None,
    }
}

fn incoming_5(event: v5::Event) -> Option<Incoming> {
    let v5::Event::Incoming(packet) = event else { return None };
    match packet {
        p5::Packet::Publish(publish) => Some(Incoming::Message {
            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
            payload: publish.payload.to_vec(),
        }),
        p5::Packet::PubAck(ack) => Some(match ack.reason {
            p5::PubAckReason::Success | p5::PubAckReason::NoMatchingSubscribers => {
                Incoming::Published
            }
            refused => Incoming::PublishRefused(format!("{refused:?}")),
        }),
        p5::Packet::SubAck(ack) => Some(match ack.return_codes.first() {
            Some(p5::SubscribeReasonCode::Success(_)) => Incoming::Subscribed,
            Some(refused) => Incoming::SubscribeRefused(format!("{refused:?}")),
            None => Incoming::SubscribeRefused("empty".to_owned()),
        }),
        _ => None,
    }
}

fn closed_311(error: rumqttc::ConnectionError) -> Closed {
    match error {
        rumqttc::ConnectionError::ConnectionRefused(code) => Closed::Refused(format!("{code:?}")),
        other => Closed::Lost(other.to_string()),
    }
}

fn closed_5(error: v5::ConnectionError) -> Closed {
    match error {
        v5::ConnectionError::ConnectionRefused(code) => Closed::Refused(format!("{code:?}")),
        v5::ConnectionError::MqttState(v5::StateError::ServerDisconnect {
            reason_code, ..
        }) => Closed::Disconnected(format!("{reason_code:?}")),
        other => Closed::Lost(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
