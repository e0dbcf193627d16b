//! Acts of operators, devices and readers, and the promises of an answer.

use serde_json::Value;
use tessera_token::encoding::{base64url, hex};
use tessera_token::messages::{
    EnrolRequest, NonceAnswer, RefusalAnswer, TokenAnswer, TokenKind, TokenRequest,
};
use tessera_token::time::UnixSeconds;

use super::device::{self, tenant, Shown, TENANT};
use super::model::{Ended, Token, UNHEARD};
use super::net::{Asker, Exchange};
use super::office::Office;
use super::world::World;

/// Purpose of a request.
#[derive(Clone)]
pub enum Purpose {
    /// A read of the feed.
    Trust,
    /// A verifier shows what it has beyond a restored service, which writes it down.
    Evidence,
    Nonce(usize),
    Enrol(usize),
    Refresh(usize, TokenRequest),
    Claim(usize),
    Revoke(usize),
    Reinstate(usize),
    RevokeToken(usize),
    RevokeGroup(usize),
    RevokeTenant,
    ReinstateTenant,
    Rotate,
    Compromise([u8; 8]),
}

impl Purpose {
    pub fn told(&self) -> String {
        match self {
            Self::Trust => "trust".to_owned(),
            Self::Evidence => "evidence".to_owned(),
            Self::Nonce(device) => format!("nonce for d-{device}"),
            Self::Enrol(device) => format!("enrol d-{device}"),
            Self::Refresh(device, request) => {
                format!("refresh d-{device} of {}", request.time.get())
            }
            Self::Claim(device) => format!("claim for d-{device}"),
            Self::Revoke(device) => format!("revoke d-{device}"),
            Self::Reinstate(device) => format!("reinstate d-{device}"),
            Self::RevokeToken(token) => format!("revoke token {token}"),
            Self::RevokeGroup(group) => format!("revoke group g-{group}"),
            Self::RevokeTenant => "revoke the tenant".to_owned(),
            Self::ReinstateTenant => "reinstate the tenant".to_owned(),
            Self::Rotate => "rotate the issuer key".to_owned(),
            Self::Compromise(kid) => format!("compromise key {}", hex::encode(kid)),
        }
    }
}

const JUST_SO: &str = "{}";

impl World {
    /// An operator asks for something.
    pub fn operate(&mut self, purpose: Purpose) {
        let of = |rest: String| format!("/v1/tenants/{TENANT}/{rest}");
        let (path, body) = match &purpose {
            Purpose::Claim(device) => {
                let device = &self.devices[*device];
                let (id, group, role) = (&device.name, device.group, device.role);
                let body = format!(
                    r#"{{"role":"{role}","group":"g-{group}","device":"{id}","expires_in":157680000}}"#
                );
                (of("claims".to_owned()), body)
            }
            Purpose::Revoke(device) => (of(format!("devices/d-{device}/revoke")), JUST_SO.into()),
            Purpose::Reinstate(device) => {
                (of(format!("devices/d-{device}/reinstate")), JUST_SO.into())
            }
            Purpose::RevokeToken(token) => {
                let hash = base64url(self.model.hash(*token).as_bytes());
                (of("tokens/revoke".to_owned()), format!(r#"{{"token_hash":"{hash}"}}"#))
            }
            Purpose::RevokeGroup(group) => (of(format!("groups/g-{group}/revoke")), JUST_SO.into()),
            Purpose::RevokeTenant => (of("revoke".to_owned()), JUST_SO.into()),
            Purpose::ReinstateTenant => (of("reinstate".to_owned()), JUST_SO.into()),
            Purpose::Rotate => (of("keys/rotate".to_owned()), JUST_SO.into()),
            Purpose::Compromise(kid) => {
                (of(format!("keys/{}/compromise", hex::encode(kid))), JUST_SO.into())
            }
            _ => return,
        };
        let call = self.office.of_operator(true, path, body);
        self.trail.add(format!("operator asks: {}", purpose.told()));
        self.send(Asker::Operator, call, purpose);
    }

    /// A device does the next thing on its way to a token.
    pub fn strive(&mut self, at: usize) {
        let device = &mut self.devices[at];
        if device.waiting.is_some() || device.claim.is_none() {
            return;
        }
        if device.token.is_none() && !self.model.devices[at].enrolled {
            let call = Office::of_device("/v1/enrol/nonce", Vec::new());
            return self.send(Asker::Device(at), call, Purpose::Nonce(at));
        }
        // A request without an answer is sent again while it is fresh.
        let now = device.unix(self.now);
        let again = device.request.take().filter(|one| one.time.get().abs_diff(now) < 50);
        let request = again.unwrap_or_else(|| {
            let nonce: [u8; 16] = self.chance.bytes();
            let time = UnixSeconds::new(now);
            TokenRequest::sign(&device.key, &tenant(), &device.id, time, &nonce, TokenKind::Key)
        });
        device.request = Some(request.clone());
        let call = Office::of_device("/v1/token", request.to_cbor());
        self.send(Asker::Device(at), call, Purpose::Refresh(at, request));
    }

    /// An answer of provisioning: from now on it is promised, also when the answer gets lost.
    pub async fn promised(
        &mut self,
        purpose: &Purpose,
        status: u16,
        body: &[u8],
    ) -> Result<(), String> {
        if status >= 500 {
            return self.failed(purpose, status).await;
        }
        if status >= 300 {
            return self.refused(purpose, body);
        }
        match purpose {
            Purpose::Trust | Purpose::Evidence | Purpose::Nonce(_) => return Ok(()),
            Purpose::Enrol(at) => {
                let token = token_of(body)?;
                let token = self.model.give(token, *at)?;
                let known = &mut self.model.devices[*at];
                known.enrolled = true;
                if self.model.loss.is_none() {
                    known.revoked.get_or_insert(false);
                }
                self.may_have(*at, "an enrolment")?;
                self.model.audits("device.enrol", &format!("d-{at}"));
                self.trail.add(format!("  d-{at} is enrolled with token {token}"));
            }
            Purpose::Refresh(at, request) => {
                self.may_have(*at, "a token")?;
                let token = self.model.give(token_of(body)?, *at)?;
                self.trail.add(format!("  d-{at} is given token {token}"));
                self.same_answer(request, token)?;
            }
            Purpose::Claim(at) => {
                let made = json(body)?;
                let claim = &made["claims"][0];
                let text = |name: &str| claim[name].as_str().unwrap_or_default().to_owned();
                self.devices[*at].claim = Some(text("code"));
                self.model.audits("claim.create", &text("claim"));
            }
            Purpose::Revoke(at) => {
                self.epoch_of(*at, &json(body)?)?;
                self.model.devices[*at].revoked = Some(true);
                self.model.audits("device.revoke", &format!("d-{at}"));
                self.ended("device", |token| token.device == *at).await?;
            }
            Purpose::Reinstate(at) => {
                self.epoch_of(*at, &json(body)?)?;
                // A reader may know that it was revoked in a part that the service has lost.
                self.model.devices[*at].revoked = self.model.loss.is_none().then_some(false);
                self.model.audits("device.reinstate", &format!("d-{at}"));
            }
            Purpose::RevokeToken(which) => {
                let bytes = self.model.tokens[*which].bytes.clone();
                self.ended("hash", |token| token.bytes == bytes).await?;
            }
            Purpose::RevokeGroup(group) => {
                let epoch = json(body)?["epoch"].as_u64().unwrap_or(0);
                if epoch <= self.model.groups[*group] {
                    return Err(format!("the epoch of g-{group} did not rise above {epoch}"));
                }
                self.model.groups[*group] = epoch;
                self.model.audits("group.revoke", &format!("g-{group}"));
                let members: Vec<bool> =
                    self.devices.iter().map(|device| device.group == *group).collect();
                self.ended("group", |token| members[token.device]).await?;
            }
            Purpose::RevokeTenant => {
                let epoch = json(body)?["epoch"].as_u64().unwrap_or(0);
                if epoch <= self.model.tenant {
                    return Err(format!("the tenant's epoch did not rise above {epoch}"));
                }
                (self.model.tenant, self.model.suspended) = (epoch, Some(true));
                self.model.audits("tenant.revoke", TENANT);
                self.ended("tenant", |_| true).await?;
            }
            Purpose::ReinstateTenant => {
                self.model.suspended = self.model.loss.is_none().then_some(false);
                self.model.audits("tenant.reinstate", TENANT);
            }
            Purpose::Rotate => {}
            Purpose::Compromise(kid) => {
                self.model.audits("key.compromise", &hex::encode(kid));
                self.ended("key", |token| token.kid == *kid).await?;
            }
        }
        self.hear_events().await
    }

    /// A fault on the side of the service: its disk has no room. Nothing is done then, it is not ready, and reads go on.
    async fn failed(&mut self, purpose: &Purpose, status: u16) -> Result<(), String> {
        let what = purpose.told();
        if !self.faults.office_is_full() {
            return Err(format!("a fault of the service without one of the disk: {what}"));
        }
        if status != 503 {
            return Err(format!("no room on the disk is told as {status}: {what}"));
        }
        match matches!(purpose, Purpose::Trust) || !self.office.is_unwell().await {
            true => Err(format!("{what}: 503 of a service that says that it is ready")),
            false => Ok(()),
        }
    }

    /// A refusal that says that something promised is gone.
    fn refused(&mut self, purpose: &Purpose, body: &[u8]) -> Result<(), String> {
        let code = match purpose {
            Purpose::Nonce(_) | Purpose::Enrol(_) | Purpose::Refresh(..) => {
                RefusalAnswer::from_cbor(body).ok().and_then(|refusal| refusal.code)
            }
            _ => json(body)?["code"].as_str().and_then(tessera_token::refusal::RefusalCode::parse),
        };
        let code = code.map_or("none", |code| code.as_str());
        self.trail.add(format!("  refused: {code}"));
        let lost = match (purpose, code) {
            // The device signs with its own key: a service that does not know the device says so too.
            (Purpose::Refresh(at, _), "proof_invalid")
            | (Purpose::Revoke(at), "device_unknown") => self.model.devices[*at].enrolled,
            (Purpose::Refresh(at, _) | Purpose::Enrol(at), "device_revoked") => {
                self.model.devices[*at].revoked == Some(false)
            }
            (Purpose::Enrol(_), "claim_unknown") => self.faults.clocks == 0,
            (Purpose::RevokeToken(which), "not_found") => {
                let Token { expires, lost, .. } = self.model.tokens[*which];
                !lost
                    && expires > self.now / 1000
                    && self.faults.clocks == 0
                    && !self.clocks_were_wrong
            }
            _ => false,
        };
        match lost {
            true => {
                Err(format!("{}: refused as {code}: what was promised is lost", purpose.told()))
            }
            false => Ok(()),
        }
    }

    fn may_have(&self, at: usize, what: &str) -> Result<(), String> {
        let revoked = self.model.devices[at].revoked == Some(true);
        match revoked || self.model.suspended == Some(true) {
            true => Err(format!("d-{at} is revoked or its tenant is, and got {what}")),
            false => Ok(()),
        }
    }

    /// The same request has the same answer for as long as it is fresh.
    fn same_answer(&mut self, request: &TokenRequest, token: usize) -> Result<(), String> {
        let name = [request.device.as_str().as_bytes(), &request.nonce].concat();
        let known = self.model.refreshed.entry(name).or_insert((token, self.now));
        match known.0 == token {
            true => Ok(()),
            false => Err(format!("a request was answered by token {} and by {token}", known.0)),
        }
    }

    fn epoch_of(&mut self, at: usize, shown: &Value) -> Result<(), String> {
        let epoch = shown["epoch"].as_u64().unwrap_or(0);
        let known = &mut self.model.devices[at];
        if epoch < known.epoch {
            return Err(format!("the epoch of d-{at} went from {} to {epoch}", known.epoch));
        }
        known.epoch = epoch;
        Ok(())
    }

    async fn ended(
        &mut self,
        by: &'static str,
        which: impl Fn(&super::model::Token) -> bool,
    ) -> Result<(), String> {
        let ended = Ended { seq: UNHEARD, at: self.now, by, sure: true };
        self.model.end(ended, which);
        self.forgive();
        // A service that ended with this answer is asked when it is up again.
        self.hear_events().await
    }

    /// Hands an answer to the part that asked, when it still waits.
    pub fn heard(&mut self, to: Exchange, status: u16, body: Vec<u8>) {
        let id = Some(to.id);
        match to.from {
            Asker::Operator => {}
            Asker::Gate(at) => {
                let gate = &mut self.gates[at];
                if gate.waiting.map(|(id, _)| id) == id {
                    gate.waiting = None;
                    gate.answered(Some((status, body)));
                    self.asks_next(at);
                }
            }
            Asker::Device(at) => {
                if self.devices[at].waiting.map(|(id, _)| id) == id {
                    self.devices[at].waiting = None;
                    self.device_heard(at, status, &body);
                }
            }
        }
    }

    fn device_heard(&mut self, at: usize, status: u16, body: &[u8]) {
        let device = &mut self.devices[at];
        if status != 200 {
            device.request = None;
            return;
        }
        if let Ok(nonce) = NonceAnswer::from_cbor(body) {
            let claim = device.claim.clone().unwrap_or_default();
            let request =
                EnrolRequest::sign(&device.key, &tenant(), &device.id, &claim, &nonce.nonce);
            let call = Office::of_device("/v1/enrol", request.to_cbor());
            return self.send(Asker::Device(at), call, Purpose::Enrol(at));
        }
        if let Ok(answer) = TokenAnswer::from_cbor(body) {
            let known = self.model.tokens.iter();
            device.token = known
                .rev()
                .position(|token| token.bytes == answer.access_token)
                .map(|back| self.model.tokens.len() - 1 - back);
            device.request = None;
        }
    }

    /// A device shows its token at a gate.
    pub async fn connect(&mut self, at: usize, gate: usize) -> Result<(), String> {
        let Some(token) = self.devices[at].token else { return Ok(()) };
        let bytes = self.model.tokens[token].bytes.clone();
        let client = self.devices[at].name.clone();
        let (password, time, counter) = self.devices[at].password(&bytes, &client, self.now);
        let shown = Shown { device: at, token, time, counter, password };
        if self.seen.len() < device::RECORDED {
            self.seen.push(shown.clone());
        } else {
            let place = self.chance.below(device::RECORDED);
            self.seen[place] = shown.clone();
        }
        let before = self.counts.accepted;
        self.show(&shown, gate, "connects").await?;
        if self.counts.accepted > before && std::mem::take(&mut self.faults.crash_at_accept) {
            self.end(1 + gate).await;
            self.start(1 + gate).await?;
            self.show(&shown, gate, "is replayed behind a crash").await?;
        }
        Ok(())
    }
}

fn json(body: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(body).map_err(|error| format!("an answer is no JSON: {error}"))
}

fn token_of(body: &[u8]) -> Result<Vec<u8>, String> {
    let answer = TokenAnswer::from_cbor(body);
    Ok(answer.map_err(|_| "an answer holds no token")?.access_token)
}
