//! A token in the hands of its device, and the password made of it.

use std::sync::atomic::{AtomicU32, Ordering};

use tessera_token::ace::{BoundNonce, BoundResponse, Channel, Meant};
use tessera_token::encoding;
use tessera_token::key::SecretKey;
use tessera_token::messages::{TokenAnswer, TokenKind};
use tessera_token::proof::{ConnectProof, Credential, Pop, ResumptionSecret, SymmetricKey};
use tessera_token::time::UnixSeconds;

use super::api::time_of;
use super::unverified_claims::unverified_claims;

/// A token and what the device knows of it. No `Debug`: a bearer token is a secret.
#[derive(Clone)]
pub struct HeldToken {
    /// The token's bytes.
    pub bytes: Vec<u8>,
    /// The audience that a proof is made for.
    pub audience: String,
    /// When it was received, by the device's corrected clock.
    pub received: UnixSeconds,
    /// When it expires, by the device's corrected clock.
    pub expires: UnixSeconds,
    /// Whether it carries no `cnf`.
    pub bearer: bool,
    /// The symmetric key that it is bound to; without one it is the key of the device.
    pub key: Option<SymmetricKey>,
}

impl HeldToken {
    /// Takes an answer.
    pub fn of(answer: &TokenAnswer) -> Self {
        let received = time_of(answer).unwrap_or(answer.server_time);
        // The one in the token, whose hash the proof names: the member beside it is not signed.
        let claims = unverified_claims(&answer.access_token);
        let audience = claims.map_or_else(|| answer.audience.clone(), |claims| claims.audience);
        Self {
            bytes: answer.access_token.clone(),
            audience: audience.as_str().to_owned(),
            received,
            expires: received.plus(answer.expires_in),
            bearer: answer.bearer,
            key: answer.key.as_ref().map(|issued| issued.key.clone()),
        }
    }

    /// Kind of the token: the next one is asked for alike.
    pub fn kind(&self) -> TokenKind {
        match (self.bearer, &self.key) {
            (true, _) => TokenKind::Bearer,
            (false, Some(_)) => TokenKind::Symmetric,
            (false, None) => TokenKind::Key,
        }
    }

    /// Proves the key of the token: by its own symmetric one, or by the key of the device.
    fn prove(&self, key: &SecretKey, message: &[u8]) -> Pop {
        match &self.key {
            Some(shared) => shared.prove(message),
            None => Pop::Signature(key.sign(message)),
        }
    }

    /// Seconds of its life as it was received.
    pub fn life(&self) -> u64 {
        self.expires.since(self.received)
    }

    /// Whether it is still good for at least `margin` seconds.
    pub fn is_good(&self, now: UnixSeconds, margin: u64) -> bool {
        now.plus(margin) < self.expires
    }

    /// The password for one CONNECT at the verifier that has the name of the audience, as raw bytes.
    pub fn password(
        &self,
        key: &SecretKey,
        client_id: &str,
        now: UnixSeconds,
        counter: u32,
    ) -> Vec<u8> {
        self.password_for(&self.audience, key, client_id, now, counter)
    }

    /// The password for one CONNECT at the verifier of this name, as raw bytes.
    pub fn password_for(
        &self,
        verifier: &str,
        key: &SecretKey,
        client_id: &str,
        now: UnixSeconds,
        counter: u32,
    ) -> Vec<u8> {
        let (prove, token) = (|message: &[u8]| self.prove(key, message), &self.bytes);
        let proof = (!self.bearer)
            .then(|| ConnectProof::make_by(prove, verifier, client_id, token, now, counter));
        Credential { token: self.bytes.clone(), proof }.to_password()
    }

    /// The answer to a challenge of the method `tessera-ace-1` on this channel.
    pub fn answer_challenge(
        &self,
        key: &SecretKey,
        client_id: &str,
        channel: &Channel,
        broker: BoundNonce,
        own: BoundNonce,
    ) -> BoundResponse {
        let meant = Meant { audience: &self.audience, client_id, token: &self.bytes };
        let prove = |message: &[u8]| self.prove(key, message);
        BoundResponse::make_by(prove, meant, channel, broker, own)
    }

    /// The password for one CONNECT over TLS, as raw bytes, by the resumption secret that the broker told for this token
    /// on `$tessera/status`.
    pub fn password_resumed(
        &self,
        secret: &ResumptionSecret,
        client_id: &str,
        now: UnixSeconds,
        counter: u32,
    ) -> Vec<u8> {
        let proof =
            ConnectProof::resume(secret, &self.audience, client_id, &self.bytes, now, counter);
        Credential { token: self.bytes.clone(), proof: Some(proof) }.to_password()
    }

    /// The password for one CONNECT, as base64url text.
    pub fn password_text(
        &self,
        key: &SecretKey,
        client_id: &str,
        now: UnixSeconds,
        counter: u32,
    ) -> String {
        encoding::base64url(&self.password(key, client_id, now, counter))
    }
}

/// The proof counter of a device that lives as long as the process.
///
/// It starts from the clock, so that a fleet of the same seed started again an hour later is above its former self.
pub struct Counter(AtomicU32);

impl Counter {
    /// A counter above every earlier run of the same device.
    pub fn from_clock(now: UnixSeconds) -> Self {
        // 2^32 counters last 136 years at one a second since 2024.
        const EPOCH_2024: u64 = 1_704_067_200;
        let start = now.since(UnixSeconds::new(EPOCH_2024));
        Self(AtomicU32::new(u32::try_from(start).unwrap_or(u32::MAX / 2)))
    }

    /// The next value.
    pub fn next(&self) -> u32 {
        self.0.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }

    /// Leaves so many values out.
    pub fn skip(&self, places: u32) {
        self.0.fetch_add(places, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tessera_token::key::SecretKey;

    #[test]
    fn counters_rise() {
        let counter = Counter::from_clock(UnixSeconds::new(1_800_000_000));
        let first = counter.next();
        assert!(first > 90_000_000);
        assert_eq!(counter.next(), first + 1);
    }

    #[test]
    fn a_token_is_good_until_the_margin() {
        let held = HeldToken {
            bytes: vec![1],
            audience: "mqtt".to_owned(),
            received: UnixSeconds::new(100),
            expires: UnixSeconds::new(200),
            bearer: true,
            key: None,
        };
        assert_eq!(held.life(), 100);
        assert!(held.is_good(UnixSeconds::new(150), 49));
        assert!(!held.is_good(UnixSeconds::new(150), 50));
        let key = SecretKey::from_seed(&[7; 32]);
        assert_eq!(held.password(&key, "a", UnixSeconds::new(1), 1), vec![1]);
    }
}
