//! The broker's side of a client: a CONNECT with a fresh password, at a pace, and once more with a new token when it is
//! refused.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tessera_broker::codec::Connect;
use tessera_runtime::clock::{Clock, SystemClock};
use tessera_runtime::random::SystemRandom;
use tessera_simulators::device::renewal::fraction;
use tessera_simulators::limits::CONNECT_SECONDS;
use tessera_simulators::mqtt::{Broker, ByteStream, BytesMut, Turn};
use tessera_token::ids::VerifierName;
use tessera_token::messages::TokenKind;
use tessera_token::proof::Credential;

use super::super::enrol::clock;
use super::super::folder::{Card, Folder};
use super::super::password::{self, AFTER_NEW_TOKEN};
use super::super::token::refresh;
use super::connect;
use super::limits::{CONNECT_BYTES, TURN_WITHIN};
use super::pace::Pace;
use super::packets::Answer;
use super::scanner;
use crate::args::{DeviceProxyArgs, TlsArgs};
use crate::error::Fault;

/// The device, and the way to its broker.
pub(super) struct Upstream {
    pub(super) folder: Folder,
    pub(super) device: String,
    mqtt: String,
    tls: TlsArgs,
    verifier: Option<VerifierName>,
    clock: SystemClock,
    pace: Mutex<Pace>,
    /// One writer of the folder's token at a time.
    pub(super) writer: tokio::sync::Mutex<()>,
}

/// A connection that the broker took.
pub(super) struct Opened {
    pub(super) stream: ByteStream,
    /// The broker's CONNACK.
    pub(super) connack: Vec<u8>,
    /// Bytes that came with it.
    pub(super) rest: BytesMut,
    /// The token that was shown.
    pub(super) token: Vec<u8>,
}

/// Why there is no connection.
pub(super) enum NotOpened {
    /// The broker's own CONNACK.
    Refused(Vec<u8>),
    /// Provisioning refuses, or the folder cannot be used.
    NoToken(Fault),
    /// Broker or provisioning is away.
    Away(String),
}

/// The answer to one CONNECT.
enum Tried {
    Taken(Opened),
    Refused(Answer, Vec<u8>),
}

impl Upstream {
    /// Reads the folder and the files of TLS once, so that their faults are told at the start.
    pub(super) fn of(args: &DeviceProxyArgs) -> Result<Self, Fault> {
        let folder = Folder::of(&args.folder);
        let card = folder.card()?;
        folder.key()?;
        args.tls.broker(&args.mqtt, card.trust())?;
        let clock = SystemClock::new();
        Ok(Self {
            folder,
            device: card.device,
            mqtt: args.mqtt.clone(),
            tls: args.tls.clone(),
            verifier: args.verifier.clone(),
            clock,
            pace: Mutex::new(Pace::new(clock.monotonic())),
            writer: tokio::sync::Mutex::new(()),
        })
    }

    /// Connects as `client_id`. After a refusal of the credential once more with a new token: the held one may have been
    /// ended meanwhile, and a new one corrects the clock.
    pub(super) async fn open(
        &self,
        connect: &Connect,
        client_id: &str,
    ) -> Result<Opened, NotOpened> {
        self.turn().await?;
        let outcome = match self.connect(connect, client_id).await {
            Ok(Tried::Refused(Answer::NotAuthorised, first)) => {
                self.once_more(connect, client_id, first).await
            }
            other => other,
        };
        match outcome {
            Ok(Tried::Taken(opened)) => {
                self.pace().succeeded();
                Ok(opened)
            }
            Ok(Tried::Refused(answer, connack)) => {
                self.failed();
                let code = match answer {
                    Answer::Refused(code) => format!("{code:#04x}"),
                    _ => "not authorised".to_owned(),
                };
                tracing::warn!(client_id, reason = %code, "the broker refused the CONNECT");
                Err(NotOpened::Refused(connack))
            }
            Err(not_opened) => {
                self.failed();
                Err(not_opened)
            }
        }
    }

    async fn once_more(
        &self,
        connect: &Connect,
        client_id: &str,
        first: Vec<u8>,
    ) -> Result<Tried, NotOpened> {
        tracing::info!(client_id, "the broker refused the CONNECT; once more with a new token");
        if !self.renew_or_tell(client_id).await {
            return Ok(Tried::Refused(Answer::NotAuthorised, first));
        }
        // An old copy of the counter goes on from the time: above all proofs of the seconds before.
        tokio::time::sleep(AFTER_NEW_TOKEN).await;
        self.connect(connect, client_id).await
    }

    /// Whether there is a new token; else the log has the code of provisioning, which says what the broker may not.
    pub(super) async fn renew_or_tell(&self, client_id: &str) -> bool {
        let renewed = self.renew().await;
        if let Err(fault) = &renewed {
            tracing::warn!(client_id, reason = fault.words(), "refused: no new token");
        }
        renewed.is_ok()
    }

    /// One CONNECT, up to its CONNACK.
    async fn connect(&self, connect: &Connect, client_id: &str) -> Result<Tried, NotOpened> {
        let (card, password) = self.password(client_id).await.map_err(no_token)?;
        let token = Credential::from_password(&password).map(|credential| credential.token);
        let token = token.map_err(|code| NotOpened::Away(code.to_string()))?;
        let broker = self.tls.broker(&self.mqtt, card.trust()).map_err(NotOpened::NoToken)?;
        let packet = connect::signed(connect, client_id, &card.device, password);
        let packet = packet.map_err(|error| NotOpened::Away(error.rule.to_owned()))?;
        let within = Duration::from_secs(CONNECT_SECONDS);
        let tried = tokio::time::timeout(within, exchange(&broker, &packet));
        let late = |_| NotOpened::Away("no CONNACK in time".to_owned());
        let (stream, connack, rest) = tried.await.map_err(late)?.map_err(NotOpened::Away)?;
        let start = scanner::head(&connack).ok().flatten().map_or(0, |(_, start)| start);
        match connack.get(start..).and_then(|body| Answer::of(connect.version, body)) {
            Some(Answer::Accepted) => Ok(Tried::Taken(Opened { stream, connack, rest, token })),
            Some(answer) => Ok(Tried::Refused(answer, connack)),
            None => Err(NotOpened::Away("its CONNACK is not readable".to_owned())),
        }
    }

    /// A password with a token that is bound to the key of the device: on other connections nothing is renewed.
    async fn password(&self, client_id: &str) -> Result<(Card, Vec<u8>), Fault> {
        let _writer = self.writer.lock().await;
        let is_bound = self.folder.token().is_ok_and(|held| held.kind() == TokenKind::Key);
        if !is_bound {
            let card = self.folder.card()?;
            refresh(&self.folder, &card, &clock(&card), TokenKind::Key).await?;
        }
        let card = self.folder.card()?;
        let verifier = self.verifier.as_ref();
        let password = password::make(&self.folder, &card, client_id, verifier).await?;
        Ok((card, password))
    }

    async fn renew(&self) -> Result<(), Fault> {
        let _writer = self.writer.lock().await;
        let card = self.folder.card()?;
        refresh(&self.folder, &card, &clock(&card), TokenKind::Key).await.map(drop)
    }

    /// Waits for a place among the connects.
    async fn turn(&self) -> Result<(), NotOpened> {
        let began = self.clock.monotonic();
        loop {
            let now = self.clock.monotonic();
            let Err(wait) = self.pace().take(now) else { return Ok(()) };
            if now.saturating_sub(began) + wait > TURN_WITHIN {
                tokio::time::sleep(TURN_WITHIN.saturating_sub(now.saturating_sub(began))).await;
                return Err(NotOpened::Away("the last connects failed or were many".to_owned()));
            }
            tokio::time::sleep(wait).await;
        }
    }

    fn failed(&self) {
        self.pace().failed(self.clock.monotonic(), fraction(&SystemRandom));
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn no_token(fault: Fault) -> NotOpened {
    match fault.is_passing() {
        true => NotOpened::Away(fault.words().to_owned()),
        false => NotOpened::NoToken(fault),
    }
}

/// Sends a CONNECT; the CONNACK, and the bytes behind it.
async fn exchange(
    broker: &Broker,
    packet: &[u8],
) -> Result<(ByteStream, Vec<u8>, BytesMut), String> {
    let opened = ByteStream::open(broker).await;
    let mut stream = opened.map_err(|(_, why)| format!("{broker}: {why}"))?;
    let (mut inbox, mut outbox) = (BytesMut::new(), BytesMut::from(packet));
    loop {
        let turn = stream.turn(&mut inbox, CONNECT_BYTES, &mut outbox).await;
        if turn.map_err(|error| format!("{broker}: {error}"))? == Turn::Ended {
            return Err(format!("{broker}: it closed the connection before CONNACK"));
        }
        let malformed = |_| format!("{broker}: its answer is no MQTT");
        let Some((head, start)) = scanner::head(&inbox).map_err(malformed)? else { continue };
        if head.first != 0x20 || head.body > 0x3fff {
            return Err(format!("{broker}: its answer is no CONNACK"));
        }
        if inbox.len() >= start + head.body {
            let connack = inbox.split_to(start + head.body).to_vec();
            return Ok((stream, connack, inbox));
        }
    }
}
