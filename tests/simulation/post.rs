//! Messages at QoS 1 to persistent sessions: a message that was acknowledged to its publisher reaches its reader.

use std::collections::{BTreeMap, BTreeSet};

use tessera_broker::codec::ReasonCode;
use tessera_token::refusal::RefusalCode;

use super::device::Shown;
use super::line::Line;
use super::world::{World, BACKEND, GATES};

/// Promises to one persistent session of one broker.
#[derive(Clone, Default)]
pub struct Session {
    /// Its subscription was acknowledged.
    pub subscribed: bool,
    /// Messages that it must get: number to the token by which each was published.
    pub owed: BTreeMap<u64, usize>,
    /// The delivered messages; at least once is allowed, never is not.
    pub got: BTreeSet<u64>,
}

/// Messages that may wait for one session: less than its queue holds.
const WAITING: usize = 200;

impl World {
    fn filter(&self, at: usize) -> String {
        match at == BACKEND {
            true => "d/+/telemetry".to_owned(),
            false => format!("d/d-{at}/cmd"),
        }
    }

    /// Opens a line for a device; `None` when it is not let in.
    async fn dial(&mut self, at: usize, gate: usize, kept: bool) -> Result<Option<Line>, String> {
        let Some(broker) = self.gates[gate].mqtt() else { return Ok(None) };
        let Some(token) = self.devices[at].token else { return Ok(None) };
        let bytes = self.model.tokens[token].bytes.clone();
        // A publisher is a client of its own beside the reader of the device.
        let suffix = if kept { "" } else { "~w" };
        let client = format!("{}{suffix}", self.devices[at].name);
        let (password, time, counter) = self.devices[at].password(&bytes, &client, self.now);
        let shown = Shown { device: at, token, time, counter, password: password.clone() };
        let opened = Line::open(broker, &client, password, kept).await;
        if opened.is_err() && self.faults.gate_is_full(gate) {
            let name = GATES[gate];
            self.trail.add(format!("{client} is cut off by {name}, whose disk is full"));
            return Ok(None);
        }
        let (line, reason, present) = opened?;
        let taken = reason == ReasonCode::SUCCESS;
        // MQTT has no words for most codes.
        let told = if taken { Ok(()) } else { Err(RefusalCode::Internal) };
        self.judge(&shown, gate, "connects by MQTT", told)?;
        if !taken {
            return Ok(None);
        }
        let session = &self.sessions[gate][at];
        if kept && session.subscribed && !present && self.model.loss.is_none() {
            return Err(format!("the persistent session of {client} at {} is gone", GATES[gate]));
        }
        Ok(Some(line))
    }

    /// A reader comes, takes what waits, maybe not all, and goes or breaks.
    pub async fn read_post(&mut self, at: usize, gate: usize, whole: bool) -> Result<(), String> {
        let Some(mut line) = self.dial(at, gate, true).await? else { return Ok(()) };
        let cut = if whole || self.chance.hits(700) { usize::MAX } else { self.chance.below(6) };
        let got = line.drain(cut).await?;
        let filter = self.filter(at);
        let subscribed = self.sessions[gate][at].subscribed || line.subscribe(&filter).await?;
        match whole || self.chance.hits(500) {
            true => line.leave().await,
            false => line.lose().await,
        }
        let tokens = &self.model.tokens;
        let session = &mut self.sessions[gate][at];
        // A broker that has not heard yet lets a revoked reader in, and ends its session when it hears.
        let is_revoked = self.devices[at].token.is_some_and(|by| tokens[by].ended.is_some());
        session.subscribed = subscribed && !is_revoked;
        session.owed.retain(|_, by| tokens[*by].ended.is_none());
        for number in &got {
            session.owed.remove(number);
            session.got.insert(*number);
        }
        let (count, left) = (got.len(), session.owed.len());
        self.trail.add(format!("  got {count} messages, {left} are still owed"));
        Ok(())
    }

    /// A publisher sends a few messages; each PUBACK is a promise.
    pub async fn write_post(&mut self, at: usize, gate: usize) -> Result<(), String> {
        let Some(mut line) = self.dial(at, gate, false).await? else { return Ok(()) };
        let token = self.devices[at].token.unwrap_or_default();
        for id in 1..=u16::try_from(self.chance.between(1, 4)).unwrap() {
            let (reader, topic) = match at == BACKEND {
                true => {
                    let to = self.chance.below(BACKEND);
                    (to, format!("d/d-{to}/cmd"))
                }
                false => (BACKEND, format!("d/d-{at}/telemetry")),
            };
            self.messages += 1;
            let number = self.messages;
            if self.sessions[gate][reader].owed.len() >= WAITING {
                break;
            }
            if !line.publish(id, &topic, number).await? {
                break;
            }
            let session = &mut self.sessions[gate][reader];
            if session.subscribed {
                session.owed.insert(number, token);
            }
            self.trail.add(format!("  message {number} for d-{reader} is acknowledged"));
            if std::mem::take(&mut self.faults.crash_at_ack) {
                self.end(1 + gate).await;
                return Ok(());
            }
        }
        match self.chance.hits(500) {
            true => line.leave().await,
            false => line.lose().await,
        }
        Ok(())
    }

    /// Where trust was withdrawn nothing is owed: not to a reader who lost it, nor what a publisher said who did.
    pub fn forgive(&mut self) {
        let ended = |token: &usize| self.model.tokens[*token].ended.is_some();
        for sessions in &mut self.sessions {
            for (at, session) in sessions.iter_mut().enumerate() {
                session.owed.retain(|_, by| !ended(by));
                let lost = self.model.tokens.iter().any(|token| {
                    token.device == at && token.ended.is_some_and(|ended| ended.at == self.now)
                });
                if lost {
                    *session = Session::default();
                }
            }
        }
    }

    /// Messages owed to a session whose reader takes everything.
    pub async fn is_delivered(&mut self, at: usize, gate: usize) -> Result<(), String> {
        self.read_post(at, gate, true).await?;
        match self.sessions[gate][at].owed.first_key_value() {
            None => Ok(()),
            Some((number, _)) => Err(format!(
                "message {number} was acknowledged at {} and never reaches d-{at}",
                GATES[gate]
            )),
        }
    }
}
