//! The connection of the uplink, and what is under way on it.
//!
//! 1. The first call opens it: with the token of the folder, and a proof of the key that is good once.
//! 2. Each call gets a number that is drawn for it. The parts of its answer are asked for one after the other.
//! 3. The token is renewed on the way. The connection goes on; when it ends, the calls under way have no answer, and the
//!    next call opens it again. Callers pause between their calls.

use std::pin::Pin;
use std::time::Duration;

use tessera_runtime::clock::SharedClock;
use tessera_runtime::device_folder::{DeviceFolder, DeviceFolderError};
use tessera_runtime::mqtt::{Link, LinkError, Place};
use tessera_runtime::random::{self, SharedRandom};
use tessera_runtime::stop::Stop;
use tessera_token::encoding::base64url;
use tessera_token::key::SecretKey;
use tessera_token::limits::UPLINK_PAGE;
use tessera_token::proof::{ConnectProof, Credential};
use tessera_token::time::UnixSeconds;
use tessera_token::trust::{
    Joined, UplinkAnswer, UplinkAsk, UplinkCall, UplinkPage, TRUST_TOPIC, UPLINK_HEAD,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{interval, sleep, MissedTickBehavior, Sleep};

use super::held::Held;
use super::renewal::{self, TOKEN_TOPIC};
use super::{Call, Given, UplinkFault};
use crate::config::UplinkConfig;
use crate::limits::{UPLINK_CONNECT, UPLINK_KEEP_ALIVE, UPLINK_WRITE};
use crate::validator::Validator;

/// Bytes around a page in an MQTT packet: its head, topic and lengths.
const PACKET_HEAD: usize = UPLINK_HEAD + 256;

/// The one that opens the connection and serves on it.
pub(super) struct Line {
    config: UplinkConfig,
    folder: DeviceFolder,
    clock: SharedClock,
    random: SharedRandom,
    validator: Validator,
    stop: Stop,
    /// Why the last try to open it failed, so that it is told once.
    told: Option<String>,
}

/// A call under way.
struct Open {
    number: u64,
    is_report: bool,
    parts: UplinkAnswer,
    answer: oneshot::Sender<Result<Given, UplinkFault>>,
}

/// An open connection.
struct Served<'a> {
    line: &'a Line,
    link: Link,
    key: SecretKey,
    held: Held,
    open: Vec<Open>,
    /// When the token is renewed, or asked for again.
    renew: Pin<Box<Sleep>>,
}

/// The connection is over.
struct Over;

impl Line {
    pub(super) fn new(
        config: UplinkConfig,
        clock: SharedClock,
        random: SharedRandom,
        validator: Validator,
        stop: Stop,
    ) -> Self {
        let folder = DeviceFolder::at(&config.folder);
        Self { config, folder, clock, random, validator, stop, told: None }
    }

    /// Serves calls until the agent stops.
    pub(super) async fn run(mut self, mut calls: mpsc::Receiver<Call>) {
        let stop = self.stop.clone();
        let serving = async {
            let mut next = calls.recv().await;
            while let Some(call) = next {
                next = match self.opened().await {
                    Ok(mut served) => served.serve(call, &mut calls).await,
                    Err(fault) => {
                        let _ = call.answer.send(Err(fault));
                        calls.recv().await
                    }
                };
            }
        };
        tokio::select! {
            () = stop.stopping() => {}
            () = serving => {}
        }
    }

    async fn opened(&mut self) -> Result<Served<'_>, UplinkFault> {
        let broker = self.config.broker.clone();
        match self.open().await {
            Ok((link, key, held)) => {
                if self.told.take().is_some() {
                    tracing::info!(broker, "the uplink is open again");
                }
                let renew = Box::pin(sleep(renewal::wait(&held, self.now())));
                Ok(Served { line: self, link, key, held, open: Vec::new(), renew })
            }
            Err((fault, why)) => {
                if self.told.as_deref() != Some(&*why) {
                    tracing::warn!(broker, why, "the uplink cannot be opened; it is tried again");
                }
                self.told = Some(why);
                Err(fault)
            }
        }
    }

    async fn open(&self) -> Result<(Link, SecretKey, Held), (UplinkFault, String)> {
        let own = |why: String| (UplinkFault::NotAllowed, why);
        let of_folder = |error: DeviceFolderError| own(error.to_string());
        let key = self.folder.key().map_err(of_folder)?;
        let held = Held::read(&self.folder).map_err(own)?;
        let now = self.now();
        let counter = self.folder.next_counter(now).map_err(of_folder)?;
        let client = self.config.client_id();
        let verifier = self.config.verifier.as_deref().unwrap_or(&held.audience);
        let proof = ConnectProof::make(&key, verifier, &client, &held.bytes, now, counter);
        let credential = Credential { token: held.bytes.clone(), proof: Some(proof) };
        let place = Place {
            host: self.config.address.name(),
            port: self.config.address.port,
            tls: self.config.address.tls.then_some(&self.config.trust),
            within: UPLINK_CONNECT,
            write: UPLINK_WRITE,
            keep_alive: UPLINK_KEEP_ALIVE,
            packet_bytes: u32::try_from(UPLINK_PAGE + PACKET_HEAD).unwrap_or(u32::MAX),
        };
        let login = (client.as_str(), base64url(&credential.to_password()));
        let opened = Link::open(&place, login, &[TRUST_TOPIC, TOKEN_TOPIC]).await;
        let link = opened.map_err(|error| {
            let has_ended = held.expires <= now;
            let why = match has_ended {
                true => format!("{error}; the token of the gateway has expired: get another with `tessera device token --refresh`"),
                false => error.to_string(),
            };
            (of(&error), why)
        })?;
        Ok((link, key, held))
    }

    fn now(&self) -> UnixSeconds {
        self.clock.unix()
    }
}

impl Served<'_> {
    /// Serves until the connection ends. Returns a call that needs another one, `None` when there are no more calls.
    async fn serve(&mut self, first: Call, calls: &mut mpsc::Receiver<Call>) -> Option<Call> {
        let mut pings = interval((self.link.keep_alive() / 2).max(Duration::from_secs(1)));
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut begun = self.begin(first).await;
        loop {
            match begun {
                Ok(None) => {}
                Ok(again) => {
                    self.open.clear();
                    return again;
                }
                Err(Over) => {
                    // Their callers hear at once that there is no answer.
                    self.open.clear();
                    return calls.recv().await;
                }
            }
            begun = tokio::select! {
                call = calls.recv() => match call {
                    Some(call) => self.begin(call).await,
                    None => return None,
                },
                message = self.link.next() => match message {
                    Ok(message) if message.topic == TRUST_TOPIC => self.take(&message.payload).await,
                    Ok(message) if message.topic == TOKEN_TOPIC => {
                        self.take_token(&message.payload);
                        Ok(None)
                    }
                    Ok(_) => Ok(None),
                    Err(error) => {
                        tracing::debug!(%error, "the uplink ended");
                        Err(Over)
                    }
                },
                _ = pings.tick() => self.link.ping().await.map(|()| None).map_err(|_| Over),
                () = &mut self.renew => self.ask_for_token().await,
            };
        }
    }

    /// Sends a call. It comes back when the connection has left an earlier one of its kind without an answer.
    async fn begin(&mut self, call: Call) -> Result<Option<Call>, Over> {
        let is_report = matches!(call.ask, UplinkAsk::Report(..));
        if self.open.iter().any(|open| open.is_report == is_report) {
            return Ok(Some(call));
        }
        if call.answer.is_closed() {
            return Ok(None);
        }
        let Ok(number) = random::number(self.line.random.as_ref()) else {
            let _ = call.answer.send(Err(UplinkFault::Lost));
            return Ok(None);
        };
        let parts = UplinkAnswer::new(number, call.most);
        self.open.push(Open { number, is_report, parts, answer: call.answer });
        self.send(number, call.ask).await
    }

    async fn send(&mut self, number: u64, ask: UplinkAsk) -> Result<Option<Call>, Over> {
        let call = UplinkCall { number, page: self.line.config.page, ask };
        let sent = self.link.publish(TRUST_TOPIC, call.to_cbor()).await;
        sent.map(|()| None).map_err(|_| Over)
    }

    /// Takes a page in.
    async fn take(&mut self, payload: &[u8]) -> Result<Option<Call>, Over> {
        let (number, joined, shared) = match UplinkPage::from_cbor(payload) {
            // It belongs to no call: nothing is taken.
            None => return Ok(None),
            Some(UplinkPage::Refused { number, code }) => {
                self.end(number, |_| Err(UplinkFault::Refused(code)));
                return Ok(None);
            }
            Some(UplinkPage::Part { number, total, from, shared, bytes }) => {
                let Some(open) = self.open.iter_mut().find(|open| open.number == number) else {
                    return Ok(None);
                };
                (number, open.parts.join((number, total, from), &bytes), shared)
            }
        };
        match joined {
            Joined::Foreign => {}
            Joined::Next(from) => return self.send(number, UplinkAsk::More(from)).await,
            Joined::Whole => {
                self.end(number, |parts| Ok(Given { bytes: parts.into_bytes(), shared }));
            }
            Joined::Broken => {
                tracing::warn!(
                    broker = self.line.config.broker,
                    "the parts of an answer on the uplink do not fit together: nothing of it is taken"
                );
                self.end(number, |_| Err(UplinkFault::Broken));
            }
        }
        Ok(None)
    }

    fn end(&mut self, number: u64, with: impl FnOnce(UplinkAnswer) -> Result<Given, UplinkFault>) {
        let Some(at) = self.open.iter().position(|open| open.number == number) else { return };
        let open = self.open.swap_remove(at);
        // The caller may have gone.
        let _ = open.answer.send(with(open.parts));
    }

    async fn ask_for_token(&mut self) -> Result<Option<Call>, Over> {
        self.renew = Box::pin(sleep(renewal::again(&self.held)));
        let line = self.line;
        let now = line.now();
        let Some(request) = renewal::request(&line.config, &self.key, now, line.random.as_ref())
        else {
            return Ok(None);
        };
        let sent = self.link.publish(TOKEN_TOPIC, request).await;
        sent.map(|()| None).map_err(|_| Over)
    }

    fn take_token(&mut self, payload: &[u8]) {
        let line = self.line;
        let of = (&line.config, &self.key, &self.held);
        let kept = renewal::next(payload, of, &line.validator).and_then(|next| {
            next.keep(&line.folder)?;
            Ok(next)
        });
        match kept {
            Ok(next) => {
                self.renew = Box::pin(sleep(renewal::wait(&next, line.now())));
                let expires = next.expires.get();
                self.held = next;
                tracing::info!(expires, "the token of this gateway is renewed");
            }
            Err(why) => {
                tracing::warn!(
                    why,
                    "the token of this gateway is not renewed; it is asked for again"
                );
            }
        }
    }
}

fn of(error: &LinkError) -> UplinkFault {
    match error {
        LinkError::Denied(_) | LinkError::Refused(_) => UplinkFault::NotAllowed,
        LinkError::Tls(_) => UplinkFault::NotBelieved,
        LinkError::Busy(_) | LinkError::Away(_) => UplinkFault::Away,
        LinkError::Lost(_) => UplinkFault::Lost,
    }
}
