//! An MQTT client over TCP, TLS and WebSocket. [`broker`] says where and how, [`stream`] opens the connection,
//! [`protocol`] makes packets and state with `rumqttc`, [`driver`] moves packets between them and the connection.
//!
//! One [`Link`] is one connection. A task of its own drives it and hands events on through a bounded queue, so
//! that a device may wait for an event, a timer and the stop signal at once without losing a half-read packet.
//!
//! rumqttc keeps passwords as `String`, so the base64url form of the connect proof is sent.

mod broker;
mod challenge;
mod driver;
mod obstacle;
mod protocol;
mod stream;
mod web_socket;

use std::fmt;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub use broker::{Broker, Scheme};
pub use bytes::BytesMut;
pub use challenge::Challenge;
use driver::{Driver, Order};
pub use obstacle::{Obstacle, Told};
use protocol::Asked;
pub use stream::{ByteStream, Turn};

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

/// The broker, and the fields of a CONNECT.
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
    /// The session that is asked for.
    pub session: Session,
}

/// The session that a client asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Session {
    /// Whether a former session of the client ends (Clean Session, Clean Start).
    pub clean: bool,
    /// Seconds for which it outlives the connection (MQTT 5 alone).
    pub expiry: u32,
}

impl Default for Session {
    fn default() -> Self {
        Self { clean: true, expiry: 0 }
    }
}

/// Quality of service of a message or a subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Qos {
    /// At most once.
    Zero,
    /// At least once.
    #[default]
    One,
    /// Exactly once.
    Two,
}

/// A message to publish.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outgoing {
    /// Its topic.
    pub topic: String,
    /// Its quality of service.
    pub qos: Qos,
    /// Whether the broker retains it.
    pub retain: bool,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// A step on the way to a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Milestone {
    /// The name is resolved and TCP is connected.
    Reached,
    /// The handshake of TLS is done.
    Secured,
    /// The handshakes of all layers are done, and CONNECT is about to be sent.
    Opened,
    /// CONNACK said success.
    Welcomed,
}

/// An event of a connection.
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
    /// A QoS 2 publish was completed.
    Completed,
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
    /// The socket closed or broke.
    Lost(String),
    /// The broker gave no answer within [`limits::ANSWER`].
    Silent,
    /// There was no connection to lose yet: what was in the way, and in words.
    NotOpened(Obstacle, String),
}

impl Closed {
    /// A short stable name for counting.
    pub fn kind(&self) -> String {
        match self {
            Self::Refused(reason) => format!("connect:{reason}"),
            Self::Disconnected(reason) => format!("disconnect:{reason}"),
            Self::NotOpened(obstacle, _) => format!("connect:{}", obstacle.name()),
            Self::Lost(_) | Self::Silent => "connection_lost".to_owned(),
        }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reason) => {
                write!(f, "the broker refused the connection: {}", words(reason))
            }
            Self::Disconnected(reason) => {
                write!(f, "the broker ended the connection: {}", words(reason))
            }
            Self::Lost(why) => write!(f, "the connection is gone: {why}"),
            Self::Silent => f.write_str("the connection is gone: no answer in time"),
            Self::NotOpened(_, why) => write!(f, "no connection to the broker: {why}"),
        }
    }
}

/// The name of a reason in words.
fn words(reason: &str) -> String {
    reason.replace('_', " ")
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
    asks: mpsc::Sender<Order>,
    events: mpsc::Receiver<Incoming>,
    driver: JoinHandle<()>,
}

impl Link {
    /// Connects and waits for CONNACK.
    ///
    /// # Errors
    /// [`Closed`].
    pub async fn open(connect: &Connect) -> Result<Self, Closed> {
        Self::open_by(connect, None, &|_| ()).await
    }

    /// As [`Link::open`]; `reached` is called at each milestone.
    ///
    /// # Errors
    /// [`Closed`].
    pub async fn open_watched(
        connect: &Connect,
        reached: &(dyn Fn(Milestone) + Sync),
    ) -> Result<Self, Closed> {
        Self::open_by(connect, None, reached).await
    }

    /// As [`Link::open`], by a challenge in the place of the password: MQTT 5 alone.
    ///
    /// # Errors
    /// [`Closed`].
    pub async fn open_challenged(
        connect: &Connect,
        challenge: &Challenge<'_>,
    ) -> Result<Self, Closed> {
        Self::open_by(connect, Some(challenge), &|_| ()).await
    }

    async fn open_by(
        connect: &Connect,
        challenge: Option<&Challenge<'_>>,
        reached: &(dyn Fn(Milestone) + Sync),
    ) -> Result<Self, Closed> {
        let wait = Duration::from_secs(limits::CONNECT_SECONDS);
        let mut is_open = false;
        let opening = async {
            let stream = ByteStream::open_watched(&connect.broker, reached).await;
            let stream = stream.map_err(|(obstacle, why)| Closed::NotOpened(obstacle, why))?;
            is_open = true;
            reached(Milestone::Opened);
            let driver = Driver::open(stream, connect, challenge).await?;
            reached(Milestone::Welcomed);
            Ok(driver)
        };
        let driver = match tokio::time::timeout(wait, opening).await {
            Ok(opened) => opened?,
            Err(_) if is_open => return Err(too_late(Obstacle::Silent, "no CONNACK in time")),
            Err(_) => return Err(too_late(Obstacle::Address, "no answer in time")),
        };
        let (asks, asked) = mpsc::channel(limits::LINK_REQUESTS);
        let (sender, events) = mpsc::channel(limits::LINK_EVENTS);
        let driver = tokio::spawn(driver.run(asked, sender));
        Ok(Self { asks, events, driver })
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
        let lost = || Incoming::Closed(Closed::Silent);
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
        let qos = if acknowledged { Qos::One } else { Qos::Zero };
        self.send(Outgoing { topic: topic.to_owned(), qos, retain: false, payload })
    }

    /// Queues a publish.
    ///
    /// # Errors
    /// [`NotSent`].
    pub fn send(&self, message: Outgoing) -> Result<(), NotSent> {
        self.ask(Asked::Publish(message))
    }

    /// Queues a subscription with QoS 1.
    ///
    /// # Errors
    /// [`NotSent`].
    pub fn subscribe(&self, filter: &str) -> Result<(), NotSent> {
        self.subscribe_at(filter, Qos::One)
    }

    /// Queues a subscription.
    ///
    /// # Errors
    /// [`NotSent`].
    pub fn subscribe_at(&self, filter: &str, qos: Qos) -> Result<(), NotSent> {
        self.ask(Asked::Subscribe(filter.to_owned(), qos))
    }

    /// Queues bytes that no MQTT client would write: a broken packet.
    ///
    /// # Errors
    /// [`NotSent`].
    pub fn write_raw(&self, bytes: Vec<u8>) -> Result<(), NotSent> {
        self.asks.try_send(Order::Raw(bytes)).map_err(|_| NotSent)
    }

    fn ask(&self, asked: Asked) -> Result<(), NotSent> {
        self.asks.try_send(Order::Ask(asked)).map_err(|_| NotSent)
    }

    /// Sends DISCONNECT and waits a moment until it is written.
    pub async fn close(mut self) {
        let sent = self.ask(Asked::Disconnect).is_ok();
        let gone = async { while !matches!(self.next().await, Incoming::Closed(_)) {} };
        if sent {
            let _ = tokio::time::timeout(Duration::from_secs(1), gone).await;
        }
    }
}

fn too_late(obstacle: Obstacle, why: &str) -> Closed {
    Closed::NotOpened(obstacle, why.to_owned())
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

#[cfg(test)]
mod tests;
