//! Packets of one client and of the broker, in both directions at once. A slow reader on either side makes the other side
//! wait; packets of the proxy go between those of the client.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::Value;
use tessera_broker::codec::{Connect, ReasonCode, Version};
use tessera_runtime::stop::Stop;
use tessera_simulators::mqtt::{ByteStream, BytesMut, Turn};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::control::{FromBroker, FromClient, Topic, DISCONNECT};
use super::keeping::Heard;
use super::limits::{IDLE, LAST_BYTES_WITHIN, RENEWAL_WAITING, SUBACK_WITHIN, WAITING_BYTES};
use super::packets::{disconnect, subscribe, token};
use super::scanner::{Packet, Scanner, Step};
use super::upstream::Opened;

/// A connection of a client, and the one of the broker that serves it.
pub(super) struct Pump {
    version: Version,
    idle: Duration,
    client: Side,
    broker: Side,
    control: FromBroker,
    /// Packets of the proxy that wait for the end of the client's packet.
    own: VecDeque<Vec<u8>>,
    /// Whether the packets of the client wait for SUBACK for the proxy's own subscription.
    is_held: bool,
    client_is_gone: bool,
    client_said_goodbye: bool,
    /// The reason of a DISCONNECT of the broker.
    goodbye: Option<u8>,
    /// The refusal that the broker told on `$tessera/status`: code and words.
    refusal: Option<(String, String)>,
}

/// One of the two connections.
struct Side {
    stream: ByteStream,
    /// Bytes that came from it.
    came: BytesMut,
    /// The place in those bytes.
    scanner: Scanner,
    /// Bytes that go to it.
    goes: BytesMut,
}

/// Reason of the end.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Left {
    /// The client left, with or without DISCONNECT.
    Client { said_goodbye: bool },
    /// The broker ended the connection: the reason of its DISCONNECT, and the refusal.
    Broker { reason: Option<u8>, refusal: Option<(String, String)> },
    /// The client sends something that is no MQTT.
    ClientMalformed,
    /// The broker sends something that is no MQTT.
    BrokerMalformed,
    /// Nothing moved for too long.
    Idle,
    /// The proxy stops.
    Stopped,
}

impl Side {
    fn new(stream: ByteStream, came: BytesMut, goes: BytesMut) -> Self {
        Self { stream, came, scanner: Scanner::new(), goes }
    }

    /// Whether all that goes to it has left this process.
    fn is_written(&self) -> bool {
        self.stream.is_written(&self.goes)
    }

    /// Writes what waits, and ends the connection.
    async fn end(mut self) {
        let last = async {
            let mut nothing = BytesMut::new();
            while !self.is_written() {
                if self.stream.turn(&mut nothing, 0, &mut self.goes).await.is_err() {
                    return;
                }
            }
            self.stream.close().await;
        };
        // A peer that takes nothing more loses the last bytes.
        let _ = timeout(LAST_BYTES_WITHIN, last).await;
    }
}

impl Pump {
    /// Of a client whose CONNECT the broker took. `came` is what it has sent since.
    pub(super) fn new(
        connect: &Connect,
        client: ByteStream,
        came: BytesMut,
        opened: Opened,
    ) -> Self {
        let version = connect.version;
        let asked = BytesMut::from(subscribe(version).as_slice());
        let keep_alive = Duration::from_secs(connect.keep_alive.into());
        Self {
            version,
            idle: if keep_alive.is_zero() { IDLE } else { 2 * keep_alive },
            client: Side::new(client, came, BytesMut::from(opened.connack.as_slice())),
            broker: Side::new(opened.stream, opened.rest, asked),
            control: FromBroker::new(version),
            own: VecDeque::new(),
            is_held: true,
            client_is_gone: false,
            client_said_goodbye: false,
            goodbye: None,
            refusal: None,
        }
    }

    /// Passes packets on until one side ends it. `asks` are payloads for `$tessera/token`.
    pub(super) async fn run(
        &mut self,
        mut asks: mpsc::Receiver<Vec<u8>>,
        heard: mpsc::Sender<Heard>,
        stop: &Stop,
    ) -> Left {
        let mut suback_due = std::pin::pin!(sleep(SUBACK_WITHIN));
        loop {
            // In this order: an answer of the broker may let the client's packets go on.
            if let Err(left) = self.pass_down(&heard).and_then(|()| self.pass_up()) {
                return left;
            }
            if self.client_is_gone && self.client.came.is_empty() && self.broker.is_written() {
                return self.left();
            }
            let (up, down) = (room(&self.broker.goes), room(&self.client.goes));
            let Self { client, broker, .. } = self;
            tokio::select! {
                turn = client.stream.turn(&mut client.came, up, &mut client.goes),
                    if !self.client_is_gone => self.client_is_gone = is_over(turn),
                turn = broker.stream.turn(&mut broker.came, down, &mut broker.goes) => {
                    if is_over(turn) {
                        return self.left_by_broker(&heard);
                    }
                }
                Some(payload) = asks.recv(), if self.own.len() < RENEWAL_WAITING => {
                    self.own.push_back(token(self.version, payload));
                }
                () = &mut suback_due, if self.is_held => self.go_on(false, &heard),
                () = sleep(self.idle) => return Left::Idle,
                () = stop.stopping() => return Left::Stopped,
            }
        }
    }

    /// Tells the client why, as far as its version can, writes what waits and closes both connections.
    pub(super) async fn end(mut self, left: &Left) {
        let reason = match left {
            Left::Client { .. } => None,
            Left::Broker { .. } | Left::BrokerMalformed => Some(ReasonCode::UNSPECIFIED),
            Left::ClientMalformed => Some(ReasonCode::MALFORMED_PACKET),
            Left::Idle => Some(ReasonCode::KEEP_ALIVE_TIMEOUT),
            Left::Stopped => Some(ReasonCode::SERVER_SHUTTING_DOWN),
        };
        let can_be_told = self.goodbye.is_none() && self.broker.scanner.is_between();
        let packet = reason.and_then(|reason| disconnect(self.version, reason));
        if let Some(packet) = packet.filter(|_| can_be_told && !self.client_said_goodbye) {
            self.client.goes.extend_from_slice(&packet);
        }
        if self.client_is_gone {
            self.client.goes.clear();
        }
        tokio::join!(self.client.end(), self.broker.end());
    }

    /// From the client to the broker.
    fn pass_up(&mut self) -> Result<(), Left> {
        while self.broker.goes.len() < WAITING_BYTES {
            if self.client.scanner.is_between() && !self.client_said_goodbye {
                let own = self.own.drain(..).flatten();
                self.broker.goes.extend(own);
            }
            if self.is_held || self.client.came.is_empty() {
                return Ok(());
            }
            let Side { came, scanner, .. } = &mut self.client;
            match scanner.feed(came, &mut self.broker.goes, &FromClient) {
                Ok(Step::Told(packet)) => {
                    self.client_said_goodbye |= packet.kind() == DISCONNECT;
                    self.control.client_says(&packet);
                }
                Ok(Step::Hungry | Step::Ended) => {}
                Err(_) => return Err(Left::ClientMalformed),
            }
        }
        Ok(())
    }

    /// From the broker to the client.
    fn pass_down(&mut self, heard: &mpsc::Sender<Heard>) -> Result<(), Left> {
        while self.client.goes.len() < WAITING_BYTES && !self.broker.came.is_empty() {
            let Side { came, scanner, .. } = &mut self.broker;
            match scanner.feed(came, &mut self.client.goes, &self.control) {
                Ok(Step::Told(packet)) => self.told(&packet, heard),
                Ok(Step::Hungry | Step::Ended) => {}
                Err(_) => return Err(Left::BrokerMalformed),
            }
            if self.client_is_gone {
                self.client.goes.clear();
            }
        }
        Ok(())
    }

    fn told(&mut self, packet: &Packet, heard: &mpsc::Sender<Heard>) {
        if let Some(is_granted) = self.control.suback(packet) {
            return self.go_on(is_granted, heard);
        }
        if packet.kind() == DISCONNECT {
            self.goodbye = Some(packet.body.first().copied().unwrap_or_default());
        }
        let Some(message) = self.control.message(packet) else { return };
        match message.topic {
            // Without room the renewal has its hands full, and asks again.
            Topic::Token => drop(heard.try_send(Heard::Answer(message.payload))),
            Topic::Status => self.refusal = refusal(&message.payload).or(self.refusal.take()),
        }
    }

    /// The packets of the client need not wait any more.
    fn go_on(&mut self, is_granted: bool, heard: &mpsc::Sender<Heard>) {
        self.is_held = false;
        if !is_granted {
            tracing::warn!("the control topics could not be subscribed to: tokens come over REST");
            drop(heard.try_send(Heard::NoAnswers));
        }
    }

    fn left_by_broker(&mut self, heard: &mpsc::Sender<Heard>) -> Left {
        // Its last packets say why.
        while !self.broker.came.is_empty() {
            let before = self.broker.came.len();
            if self.pass_down(heard).is_err() || self.broker.came.len() == before {
                break;
            }
        }
        match self.client_said_goodbye || self.goodbye.is_some() {
            true => self.left(),
            false => Left::Broker { reason: None, refusal: self.refusal.take() },
        }
    }

    /// The end by a DISCONNECT. A client may close before the broker does, once it has the broker's.
    fn left(&mut self) -> Left {
        match self.goodbye {
            reason @ Some(_) if !self.client_said_goodbye => {
                Left::Broker { reason, refusal: self.refusal.take() }
            }
            _ => Left::Client { said_goodbye: self.client_said_goodbye },
        }
    }
}

fn room(goes: &BytesMut) -> usize {
    if goes.len() < WAITING_BYTES {
        WAITING_BYTES
    } else {
        0
    }
}

fn is_over(turn: std::io::Result<Turn>) -> bool {
    !matches!(turn, Ok(Turn::Read | Turn::Wrote))
}

/// Code and words of a refusal on `$tessera/status`.
fn refusal(payload: &[u8]) -> Option<(String, String)> {
    let status: Value = serde_json::from_slice(payload).ok()?;
    let text = |name: &str| Some(status.get(name)?.as_str()?.to_owned());
    Some((text("refusal")?, text("words").unwrap_or_default()))
}

#[cfg(test)]
mod tests;
