//! Work, of which every acknowledgement is written down.

use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::json;
use tessera_token::hash::sha256;

use super::{Client, Device, Dice, Facts, Outcome, Purpose, Refresh, Row, Used};
use crate::mqtt::Mqtt;

/// Messages that wait for one persistent session at most: below the limit of the broker.
const WAITING: usize = 400;
/// Devices and proofs in use; older ones are only looked up.
const RECENT: usize = 30;

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A device enrols.
    Enrol,
    /// A device pulls a token.
    Refresh,
    /// A device is revoked.
    Revoke,
    /// A token is revoked by its hash.
    RevokeToken,
    /// A device connects with a proof.
    Connect,
    /// A device shows a proof to the agent.
    Validate,
    /// A message for a persistent session.
    Publish,
    /// A retained message.
    Retain,
    /// An operator makes a row.
    Row,
}

impl Kind {
    /// Every kind once.
    pub const EACH: [Self; 9] = [
        Self::Enrol,
        Self::Revoke,
        Self::Publish,
        Self::Connect,
        Self::Refresh,
        Self::RevokeToken,
        Self::Validate,
        Self::Row,
        Self::Retain,
    ];
    /// Every kind, as often as it is to happen.
    pub const ALL: [Self; 14] = [
        Self::Enrol,
        Self::Enrol,
        Self::Refresh,
        Self::Refresh,
        Self::Revoke,
        Self::RevokeToken,
        Self::Connect,
        Self::Connect,
        Self::Validate,
        Self::Publish,
        Self::Publish,
        Self::Publish,
        Self::Retain,
        Self::Row,
    ];
}

/// One who works.
pub struct Worker {
    /// The client it asks with.
    pub client: Client,
    facts: Arc<Mutex<Facts>>,
    dice: Dice,
    name: String,
    made: u64,
    /// Devices of its own that are not used up, youngest last.
    mine: Vec<Device>,
    backend: Option<Device>,
    publisher: Option<Mqtt>,
    why: String,
}

/// Enrols what every run has: persistent sessions, publishers of retained messages, a backend.
///
/// # Panics
/// When the servers refuse it.
pub fn prepare(client: &Client, seed: u64, kept: usize) -> Facts {
    let mut facts = Facts::default();
    let enrol = |id: &str, role: &str| {
        let seed = sha256(format!("{seed} {id}").as_bytes());
        match client.enrol(id, role, seed, Purpose::Connect) {
            Outcome::Done(device) => device,
            other => panic!("{id}: {}", other.code()),
        }
    };
    facts.backend = Some(enrol("b-check", "backend"));
    for number in 0..kept {
        let device = enrol(&format!("k-{number}"), "sensor");
        let mut session = match client.connect(&device, false) {
            Outcome::Done(session) => session,
            other => panic!("{}: {}", device.id, other.code()),
        };
        let granted = session.subscribe(&format!("d/{}/cmd", device.id), 1).unwrap();
        assert_eq!(granted, 1, "the subscription of a persistent session");
        session.close();
        facts.kept.insert(device.id.clone(), Vec::new());
        enrolled(&mut facts, device);
    }
    for number in 0..3 {
        let device = enrol(&format!("r-{number}"), "sensor");
        enrolled(&mut facts, device);
    }
    facts
}

fn enrolled(facts: &mut Facts, device: Device) {
    facts.audit.insert(("device.enrol".to_owned(), device.id.clone()));
    facts.devices.insert(device.id.clone(), device);
}

impl Worker {
    /// One with a name that no other has.
    pub fn new(client: Client, facts: Arc<Mutex<Facts>>, dice: Dice, name: &str) -> Self {
        let name = name.to_owned();
        Self {
            client,
            facts,
            dice,
            name,
            made: 0,
            mine: Vec::new(),
            backend: None,
            publisher: None,
            why: String::new(),
        }
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap()
    }

    /// Why the last thing that was not acknowledged was not: the code of the refusal, or how the connection ended.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// Does one thing of these kinds; whether it was acknowledged.
    pub fn step(&mut self, kinds: &[Kind]) -> bool {
        let kind = *self.dice.of(kinds);
        self.act(kind).is_some()
    }

    /// Does one thing.
    pub fn act(&mut self, kind: Kind) -> Option<()> {
        match kind {
            Kind::Enrol => self.enrol(),
            Kind::Refresh => self.refresh(),
            Kind::Revoke => self.revoke(),
            Kind::RevokeToken => self.revoke_token(),
            Kind::Connect => self.connect(),
            Kind::Validate => self.validate(),
            Kind::Publish => self.publish(),
            Kind::Retain => self.retain(),
            Kind::Row => self.row(),
        }
    }

    fn next_name(&mut self) -> String {
        self.made += 1;
        format!("{}-{}", self.name, self.made)
    }

    fn enrol(&mut self) -> Option<()> {
        let purposes = [Purpose::Revoke, Purpose::RevokeToken, Purpose::Refresh, Purpose::Connect];
        let id = self.next_name();
        let purpose = purposes[(self.made % 4) as usize];
        let seed = self.dice.bytes();
        let device = self.client.enrol(&id, "sensor", seed, purpose).noted(&mut self.why)?;
        enrolled(&mut self.facts(), device.clone());
        self.mine.push(device);
        if self.mine.len() > RECENT {
            self.mine.remove(0);
        }
        Some(())
    }

    /// A device for a purpose; one is enrolled when there is none.
    fn any(&mut self, purpose: Purpose) -> Option<usize> {
        for _ in 0..=4 {
            let fit: Vec<usize> =
                (0..self.mine.len()).filter(|i| self.mine[*i].purpose == purpose).collect();
            if !fit.is_empty() {
                return Some(*self.dice.of(&fit));
            }
            self.enrol()?;
        }
        None
    }

    fn refresh(&mut self) -> Option<()> {
        let at = self.any(Purpose::Refresh)?;
        let device = self.mine[at].clone();
        let nonce: [u8; 16] = self.dice.bytes();
        let request = self.client.refresh_request(&device, &nonce);
        let at = self.client.now().get();
        let token = self.client.refresh(&request).noted(&mut self.why)?;
        self.facts().refreshes.push(Refresh { device: device.id, at, request, token });
        Some(())
    }

    fn revoke(&mut self) -> Option<()> {
        let at = self.any(Purpose::Revoke)?;
        // It is used up also when no answer comes: its state is then not known.
        let device = self.mine.remove(at);
        self.client.revoke(&device.id).noted(&mut self.why)?;
        let mut facts = self.facts();
        facts.audit.insert(("device.revoke".to_owned(), device.id.clone()));
        facts.revoked.insert(device.id);
        Some(())
    }

    fn revoke_token(&mut self) -> Option<()> {
        let at = self.any(Purpose::RevokeToken)?;
        let device = self.mine.remove(at);
        self.client.revoke_token(&device.token).noted(&mut self.why)?;
        self.facts().revoked_tokens.insert(device.id);
        Some(())
    }

    fn proof(&mut self) -> Option<(Device, u64, Vec<u8>)> {
        let at = self.any(Purpose::Connect)?;
        let device = self.mine[at].clone();
        let password = self.client.password(&device, &device.id);
        Some((device, self.client.now().get(), password))
    }

    fn connect(&mut self) -> Option<()> {
        let (device, at, password) = self.proof()?;
        let session = self.client.connect_with(&device.id, &password, true).noted(&mut self.why)?;
        self.facts().used.push(Used { client: device.id, at, password, agent: false });
        session.close();
        Some(())
    }

    fn validate(&mut self) -> Option<()> {
        let (device, at, _) = self.proof()?;
        let password = self.client.gateway_password(&device);
        self.client.validate_with(&device.id, &password).noted(&mut self.why)?;
        self.facts().used.push(Used { client: device.id, at, password, agent: true });
        Some(())
    }

    fn publisher(&mut self) -> Option<Mqtt> {
        if let Some(session) = self.publisher.take() {
            return Some(session);
        }
        if self.backend.is_none() {
            let (id, seed) = (format!("b-{}", self.next_name()), self.dice.bytes());
            let backend =
                self.client.enrol(&id, "backend", seed, Purpose::Connect).noted(&mut self.why)?;
            enrolled(&mut self.facts(), backend.clone());
            self.backend = Some(backend);
        }
        let backend = self.backend.clone()?;
        self.client.connect(&backend, true).noted(&mut self.why)
    }

    fn publish(&mut self) -> Option<()> {
        let mut session = self.publisher()?;
        let text = self.next_name();
        let open: Vec<String> = {
            let facts = self.facts();
            let open = facts.kept.iter().filter(|(_, waiting)| waiting.len() < WAITING);
            open.map(|(client, _)| client.clone()).collect()
        };
        if open.is_empty() {
            return None;
        }
        let to = self.dice.of(&open).clone();
        session.publish(&format!("d/{to}/cmd"), &text, false).ok()?;
        self.facts().kept.get_mut(&to)?.push(text);
        self.publisher = Some(session);
        Some(())
    }

    /// The publisher sends DISCONNECT; the next message needs a CONNECT of its own.
    pub fn hang_up(&mut self) {
        self.publisher = None;
    }

    fn retain(&mut self) -> Option<()> {
        // The worker with the first name is the only one that writes there, so that numbers rise.
        let at = self.any(Purpose::Connect)?;
        let device = self.mine[at].clone();
        let mut session = self.client.connect(&device, true).noted(&mut self.why)?;
        let topic = format!("d/{}/telemetry", device.id);
        let number = self.made;
        self.made += 1;
        session.publish(&topic, &number.to_string(), true).ok()?;
        self.facts().retained.insert(topic, number);
        session.close();
        Some(())
    }

    fn row(&mut self) -> Option<()> {
        let name = self.next_name().to_lowercase();
        let at = "/v1/tenants/default";
        let (ask, body, row) = match self.dice.below(5) {
            0 => (
                "/v1/tenants".to_owned(),
                json!({ "tenant": name }),
                Row { path: "/v1/tenants".to_owned(), member: "tenant".to_owned(), name },
            ),
            1 => (
                format!("{at}/groups"),
                json!({ "group": name }),
                Row { path: format!("{at}/groups"), member: "group".to_owned(), name },
            ),
            2 => (
                "/v1/operators".to_owned(),
                json!({ "operator": name, "roles": ["viewer"], "tenants": "all" }),
                Row { path: "/v1/operators".to_owned(), member: "operator".to_owned(), name },
            ),
            3 => {
                let path = format!("{at}/claims");
                let made =
                    self.client.ask(&path, &json!({ "role": "sensor" })).noted(&mut self.why)?;
                let name = made["claims"][0]["claim"].as_str()?.to_owned();
                self.facts().rows.insert(Row { path, member: "claim".to_owned(), name });
                return Some(());
            }
            _ => {
                let rotated = self
                    .client
                    .ask(&format!("{at}/keys/rotate"), &json!({}))
                    .noted(&mut self.why)?;
                let name = rotated["active"].as_str()?.to_owned();
                let (path, member) = (format!("{at}/keys"), "key".to_owned());
                self.facts().rows.insert(Row { path, member, name });
                return Some(());
            }
        };
        self.client.ask(&ask, &body).noted(&mut self.why)?;
        self.facts().rows.insert(row);
        Some(())
    }
}
