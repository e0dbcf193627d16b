//! The end of all faults, and what must serve again a minute later.

use tessera_token::messages::{TokenKind, TokenRequest};
use tessera_token::time::UnixSeconds;

use super::act::Purpose;
use super::device::{tenant, Shown};
use super::gate::Gate;
use super::office::Office;
use super::world::{World, GATES};

/// Milliseconds after which everything serves again.
const WITHIN: u64 = 60_000;
/// Minutes for which seconds may be closed that verifiers closed while their time was ahead.
const MINUTES: u32 = 40;
/// Ended tokens that are shown once more.
const SHOWN: usize = 30;

impl World {
    pub async fn heal(&mut self) -> Result<(), String> {
        self.end_faults().await?;
        self.counts.heals += 1;
        self.net.forget_operators();
        if self.model.loss.is_some() {
            self.pass_a_minute().await?;
            self.settle_loss().await?;
        }
        if self.model.suspended != Some(false) {
            self.operate(Purpose::ReinstateTenant);
        }
        self.pass_a_minute().await?;
        self.pass_closed_seconds().await?;
        self.check_office().await?;
        for at in 0..GATES.len() {
            // Its stores look for room by the time of the machine, of which a simulated minute takes a moment.
            self.gates[at].has_room().await?;
            self.serves(at)?;
        }
        for at in 0..self.devices.len() {
            if self.model.devices[at].enrolled {
                self.is_served(at).await?;
            }
        }
        for at in 0..self.devices.len() {
            for gate in 0..GATES.len() {
                self.is_delivered(at, gate).await?;
            }
        }
        self.faults.all_stored();
        for _ in 0..SHOWN {
            for gate in 0..GATES.len() {
                self.show_ended(gate).await?;
            }
        }
        self.check().await
    }

    /// Seconds that a verifier closed while its time was ahead pass by, and those that come within the checks.
    async fn pass_closed_seconds(&mut self) -> Result<(), String> {
        for _ in 0..MINUTES {
            let soon = [self.now, self.now + WITHIN / 2, self.now + WITHIN];
            let closed = |gate: &Gate| soon.iter().any(|now| gate.may_be_closed(*now));
            if !self.gates.iter().any(closed) {
                return Ok(());
            }
            self.pass_a_minute().await?;
        }
        Err(format!("closed seconds go on for {MINUTES} minutes"))
    }

    pub async fn pass_a_minute(&mut self) -> Result<(), String> {
        for round in 0..WITHIN / 500 {
            self.pass(500).await;
            if round % 10 == 0 {
                self.office.sweep().await;
            }
            self.deliver().await?;
            self.go_on();
        }
        Ok(())
    }

    fn serves(&self, at: usize) -> Result<(), String> {
        let (gate, head) = (&self.gates[at], self.model.head);
        gate.ready().map_err(|code| format!("{} is not ready: {code}", GATES[at]))?;
        match gate.version() == head {
            true => Ok(()),
            false => {
                Err(format!("{} knows event {}, and there is {head}", GATES[at], gate.version()))
            }
        }
    }

    /// A device gets a token and gets in everywhere with it, when it is not revoked.
    async fn is_served(&mut self, at: usize) -> Result<(), String> {
        let (device, nonce): (_, [u8; 16]) = (&mut self.devices[at], self.chance.bytes());
        device.wrong = 0;
        let time = UnixSeconds::new(self.now / 1000);
        let request =
            TokenRequest::sign(&device.key, &tenant(), &device.id, time, &nonce, TokenKind::Key);
        let call = Office::of_device("/v1/token", request.to_cbor());
        let asked = self.office.ask(&call).await;
        let (status, body) = asked.ok_or("the office is down after all faults ended")?;
        let purpose = Purpose::Refresh(at, request);
        self.promised(&purpose, status, &body).await?;
        let revoked = self.model.devices[at].revoked == Some(true);
        if revoked != (status != 200) {
            return Err(format!("d-{at}, revoked: {revoked}, is answered {status} at a refresh"));
        }
        if revoked {
            return Ok(());
        }
        let token = self.model.tokens.len() - 1;
        self.devices[at].token = Some(token);
        for (gate, name) in GATES.iter().enumerate() {
            let before = self.counts.accepted;
            self.connect(at, gate).await?;
            if self.counts.accepted == before {
                return Err(format!("d-{at} is not let in at {name} a minute after all faults"));
            }
        }
        Ok(())
    }

    /// An attacker shows a recorded password.
    pub async fn show_again(&mut self, gate: usize) -> Result<(), String> {
        if self.seen.is_empty() {
            return Ok(());
        }
        self.counts.replays += 1;
        // Mostly a new one: an old one is refused by its age.
        let back = 1 + self.chance.below(self.seen.len()).min(self.chance.below(40));
        let shown = self.seen[self.seen.len().saturating_sub(back)].clone();
        self.show(&shown, gate, "is replayed").await
    }

    /// An attacker with the key of a device shows a token of it that was revoked.
    pub async fn show_ended(&mut self, gate: usize) -> Result<(), String> {
        let alive = |token: &super::model::Token| token.expires > self.now / 1000;
        let tokens = self.model.tokens.iter().enumerate();
        let ended: Vec<usize> = tokens
            .filter(|(_, token)| token.ended.is_some() && alive(token))
            .map(|(at, _)| at)
            .collect();
        if ended.is_empty() {
            return Ok(());
        }
        let token = *self.chance.pick(&ended);
        let (bytes, at) = (self.model.tokens[token].bytes.clone(), self.model.tokens[token].device);
        let client = self.devices[at].name.clone();
        let (password, time, counter) = self.devices[at].password(&bytes, &client, self.now);
        let shown = Shown { device: at, token, time, counter, password };
        self.show(&shown, gate, "with a revoked token").await
    }
}
