//! Invariants after every step.

use serde_json::Value;
use tessera_token::cbor::Writer;
use tessera_token::encoding::from_base64url;
use tessera_token::hash::sha256;
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::{Event, EventHash, Feed};

use super::device::{Shown, TENANT};
use super::model::UNHEARD;
use super::world::World;

/// Milliseconds after which a verifier that has not heard of a revocation admits no device any more.
const STALE: u64 = (24 * 3600 + 120) * 1000;

impl World {
    pub async fn check(&mut self) -> Result<(), String> {
        self.check_gates()?;
        if self.office.is_up() && self.trail.step.is_multiple_of(8) {
            let at = self.chance.below(self.devices.len());
            self.check_device(at).await?;
            self.check_audit().await?;
        }
        Ok(())
    }

    /// A verifier never knows less than before, nor what was never told.
    fn check_gates(&mut self) -> Result<(), String> {
        for (gate, reached) in self.gates.iter().zip(&mut self.reached) {
            let (name, version) = (&gate.machine.name, gate.version());
            if !gate.is_up() {
                continue;
            }
            if version < *reached {
                return Err(format!("{name} knew event {reached} and now knows {version}"));
            }
            *reached = version;
        }
        Ok(())
    }

    /// Everything that a start must find again.
    pub async fn check_office(&mut self) -> Result<(), String> {
        self.hear_events().await?;
        self.check_events().await?;
        for at in 0..self.devices.len() {
            self.check_device(at).await?;
        }
        let known = std::mem::take(&mut self.model.audit);
        for (_, seen) in self.model.audited.values_mut() {
            *seen = 0;
        }
        self.check_audit().await?;
        match self.model.audit.starts_with(&known) {
            true => Ok(()),
            false => Err("the audit chain is another one than before".to_owned()),
        }
    }

    /// The registry holds the promised state of a device.
    pub async fn check_device(&mut self, at: usize) -> Result<(), String> {
        if !self.model.devices[at].enrolled {
            return Ok(());
        }
        let path = format!("/v1/tenants/{TENANT}/devices/d-{at}");
        let Some(shown) = self.read(path).await? else { return Ok(()) };
        let known = &mut self.model.devices[at];
        let (epoch, state) = (shown["epoch"].as_u64().unwrap_or(0), shown["state"].as_str());
        if epoch < known.epoch {
            return Err(format!("d-{at}: epoch {epoch}, and {} was told before", known.epoch));
        }
        let revoked = state == Some("revoked");
        if self.model.loss.is_some() && known.revoked.is_none() {
            return Ok(());
        }
        match *known.revoked.get_or_insert(revoked) == revoked {
            true => Ok(()),
            false => Err(format!("d-{at} is {state:?}, and the opposite was answered")),
        }
    }

    pub async fn read(&mut self, path: String) -> Result<Option<Value>, String> {
        let call = self.office.of_operator(false, path.clone(), String::new());
        match self.office.ask(&call).await {
            None => Ok(None),
            Some((200, body)) => Ok(serde_json::from_slice(&body).ok()),
            // Entries that wait to be chained are chained before they are told, which is a write.
            Some((503, _)) if self.faults.office_is_full() && path.starts_with("/v1/audit") => {
                Ok(None)
            }
            Some((status, _)) => Err(format!("{path}: {status}: what was promised is lost")),
        }
    }

    /// Reads what is new in the feed.
    pub async fn hear_events(&mut self) -> Result<(), String> {
        while self.page_of_events(self.model.head).await?.is_some() {}
        if self.office.is_up() {
            self.model.heard();
        }
        Ok(())
    }

    /// Reads the feed from its beginning: no number ever has two meanings, and nothing that was told is gone.
    async fn check_events(&mut self) -> Result<(), String> {
        let mut last = self.model.start;
        while let Some(seq) = self.page_of_events(last).await? {
            last = seq;
        }
        match self.office.is_up() && last < self.model.head {
            true => Err(format!("event {} was told and is gone behind {last}", self.model.head)),
            false => Ok(()),
        }
    }

    /// Notes the events behind `after`; the number of the last, `None` when there is none.
    async fn page_of_events(&mut self, after: u64) -> Result<Option<u64>, String> {
        let call = self.office.of_reader(format!("/v1/trust/events?after={after}&wait=0"));
        let body = match self.office.ask(&call).await {
            None => return Ok(None),
            Some((200, body)) => body,
            Some((410, _)) if self.model.loss.is_some() => {
                self.find_feed().await?;
                return Ok(Some(self.model.head));
            }
            Some((status, _)) => return Err(format!("the feed behind event {after}: {status}")),
        };
        let feed = Feed::from_cbor(&body).map_err(|error| format!("the feed: {error}"))?;
        let mut last = None;
        for bytes in feed.events {
            let event = Event::open(&bytes, &self.root);
            let Event { seq, change, .. } = event.map_err(|error| format!("an event: {error}"))?;
            if seq > self.model.head {
                self.trail.add(format!("  event {seq}: {change:?}"));
            }
            self.model.event(seq, *EventHash::of(&bytes).as_bytes())?;
            last = Some(seq);
        }
        Ok(last)
    }

    /// The audit chain verifies, never shrinks, and holds what was promised.
    pub async fn check_audit(&mut self) -> Result<(), String> {
        loop {
            let from = self.model.audit.len();
            let path = format!("/v1/audit?cursor={from}&limit=1000");
            let Some(page) = self.read(path).await? else { return Ok(()) };
            let items = page["items"].as_array().cloned().unwrap_or_default();
            for item in &items {
                self.link(item)?;
            }
            if items.is_empty() {
                break;
            }
        }
        for ((action, subject), (owed, seen)) in &self.model.audited {
            if seen < owed {
                return Err(format!("audit: {seen} of {owed} entries of {action} {subject}"));
            }
        }
        Ok(())
    }

    fn link(&mut self, item: &Value) -> Result<(), String> {
        let number = |name: &str| item[name].as_u64().unwrap_or(0);
        let text = |name: &str| item[name].as_str().unwrap_or_default();
        let bytes = |name: &str| from_base64url(text(name)).unwrap_or_default();
        let previous = self.model.audit.last().copied().unwrap_or_default();
        let seq = number("seq");
        let mut w = Writer::new();
        w.array(15).text("tessera-audit-2").uint(seq).bytes(&previous).uint(number("at"));
        w.text(text("actor")).text(text("action")).text(text("tenant"));
        w.text(text("subject")).text(text("detail"));
        for name in ["how", "credential", "network", "outcome", "before", "after"] {
            w.text(text(name));
        }
        let hash = sha256(&w.finish());
        let right = seq == self.model.audit.len() as u64 + 1
            && bytes("previous") == previous
            && bytes("hash") == hash;
        if !right {
            return Err(format!("audit entry {seq} does not follow the one before"));
        }
        self.model.audit.push(hash);
        let name = (text("action").to_owned(), text("subject").to_owned());
        self.model.audited.entry(name).or_default().1 += 1;
        Ok(())
    }

    /// Shows a password at a gate and judges the answer.
    pub async fn show(&mut self, shown: &Shown, at: usize, how: &str) -> Result<(), String> {
        let client = self.devices[shown.device].name.clone();
        let Some(outcome) = self.gates[at].show(&shown.password, &client).await else {
            return Ok(());
        };
        self.judge(shown, at, how, outcome)
    }

    /// Judges what became of a password.
    pub fn judge(
        &mut self,
        shown: &Shown,
        at: usize,
        how: &str,
        outcome: Result<(), RefusalCode>,
    ) -> Result<(), String> {
        let (name, client) = (&self.gates[at].machine.name, &self.devices[shown.device].name);
        let code = outcome.err().map_or("accepted", RefusalCode::as_str);
        let (token, counter) = (shown.token, shown.counter);
        self.trail.add(format!("{client} {how} at {name} with token {token} #{counter}: {code}"));
        let Err(code) = outcome else { return self.accepted(shown, at) };
        self.counts.refused += 1;
        if self.model.tokens[token].ended.is_some() && is_for_good(code) {
            self.turned_away.insert((at, token));
        }
        Ok(())
    }

    fn accepted(&mut self, shown: &Shown, at: usize) -> Result<(), String> {
        self.counts.accepted += 1;
        let name = &self.gates[at].machine.name;
        if !self.taken[at].add(shown.device, shown.time, shown.counter) {
            return Err(format!(
                "{name} accepted a proof twice: {} #{}",
                shown.time, shown.counter
            ));
        }
        let Some(ended) = self.model.tokens[shown.token].ended else { return Ok(()) };
        let (version, ago) = (self.gates[at].version(), (self.now - ended.at) / 1000);
        let told = format!(
            "{name} accepted token {}, revoked by {} {ago} s ago in event {}; it knows {version}",
            shown.token, ended.by, ended.seq
        );
        if ended.seq != UNHEARD && version >= ended.seq {
            return Err(told);
        }
        if self.turned_away.contains(&(at, shown.token)) {
            return Err(format!("{told}, and had refused it before"));
        }
        match ended.seq != UNHEARD && self.now - ended.at > STALE {
            true => Err(format!("{told}, and should have heard of it")),
            false => Ok(()),
        }
    }
}

/// Codes that say that a token will never be good again.
fn is_for_good(code: RefusalCode) -> bool {
    use RefusalCode::{DeviceEpoch, GroupEpoch, TenantEpoch, TokenRevoked};
    matches!(code, DeviceEpoch | GroupEpoch | TenantEpoch | TokenRevoked)
}
