//! Experiments that explain a refusal that nothing else explains.
//!
//! A refused peer is told no reason. The experiments change one thing at a time (the proof, the token, the client id, the
//! method): the change with which the broker takes the device names the reason.

use tessera_runtime::random::{self, SystemRandom};
use tessera_simulators::device::credential::HeldToken;
use tessera_simulators::device::unverified_claims::unverified_header;
use tessera_simulators::limits;
use tessera_simulators::mqtt::{Challenge, Closed, Incoming, Link, Told, Version};
use tessera_token::ace::{BoundNonce, Channel};
use tessera_token::ids::VerifierName;
use tessera_token::limits::PROOF_WINDOW_SECONDS;
use tessera_token::messages::TokenKind;

use super::super::end::End;
use super::broker::Door;
use super::trouble::{Bearer, Reason};
use super::visit::Visit;

/// Where a broker tells its time.
const STATUS_TOPIC: &str = "$tessera/status";

impl Door<'_> {
    /// Changes one thing after the other.
    pub(super) async fn experiment(&self, visit: &mut Visit) -> Reason {
        let Some((tried, bearer)) = self.tried() else { return Reason::Unknown };
        let own = &self.client_id;
        // No new proof is made for the token of a password by a clock that was corrected in this visit.
        if self.shown.is_some() && !tried.bearer && !self.clocks.is_corrected {
            let taken = is_taken(self.connect_by(&tried, own).await).await;
            if note(visit, "new proof", taken) {
                return Reason::PasswordUsed;
            }
        }
        if let Some(fresh) = self.fresh.as_ref().filter(|fresh| fresh.token.bytes != tried.bytes) {
            let taken = is_taken(self.connect_by(&fresh.token, own).await).await;
            if note(visit, "new token", taken) {
                return by_new_token(&tried, &fresh.token, bearer);
            }
        }
        let token = self.fresh.as_ref().map_or(&tried, |fresh| &fresh.token);
        let other = other_client_id(own);
        let taken = is_taken(self.connect_by(token, &other).await).await;
        if note(visit, "new client id", taken) {
            return Reason::PlaceUsed(self.counter_lost);
        }
        if token.kind() != TokenKind::Key {
            return Reason::Unknown;
        }
        let answered = self.challenge(token).await;
        note(visit, "challenge", answered.is_ok());
        match answered {
            Ok(link) => self.by_challenge(link, token).await,
            // Behind a proxy that ends TLS the channel of the broker is another, and the answer says nothing.
            Err(Closed::Refused(reason))
                if Told::of(&reason) == Told::Unauthorised
                    && self.fresh.is_some()
                    && !self.broker.scheme.is_tls() =>
            {
                Reason::NotOurs(token.audience.clone())
            }
            Err(_) => Reason::Unknown,
        }
    }

    /// The key is taken, and no proof is: what else a proof signs is the time and the name of the verifier.
    async fn by_challenge(&self, link: Link, token: &HeldToken) -> Reason {
        let own = self.clocks.told.now();
        if let Some(time) = time_of(link).await {
            let ahead = i128::from(time) - i128::from(own.get());
            if ahead.unsigned_abs() > u128::from(PROOF_WINDOW_SECONDS) {
                let ahead = i64::try_from(ahead).unwrap_or(i64::MAX);
                return Reason::Clock(ahead, self.fresh.is_some());
            }
        }
        let verifier = self.verifier.as_ref().map_or(token.audience.as_str(), VerifierName::as_str);
        Reason::Verifier(verifier.to_owned(), self.verifier.is_some())
    }

    /// The token that was refused, as one that the key of the folder proves.
    fn tried(&self) -> Option<(HeldToken, Bearer)> {
        let held = self.token.as_ref();
        let Some(shown) = &self.shown else {
            return held.map(|held| (held.clone(), Bearer::Folder));
        };
        let bytes = shown.credential.token.clone();
        if let Some(held) = held.filter(|held| held.bytes == bytes) {
            return Some((held.clone(), Bearer::Password));
        }
        let claims = &shown.claims;
        let token = HeldToken {
            bytes,
            audience: claims.audience.to_string(),
            received: claims.issued,
            expires: claims.expires,
            bearer: shown.credential.proof.is_none(),
            key: None,
        };
        Some((token, Bearer::Password))
    }

    /// The method `tessera-ace-1`: neither a time, nor a counter, nor a verifier's name is signed.
    async fn challenge(&self, token: &HeldToken) -> Result<Link, Closed> {
        let drawn = random::bytes(&SystemRandom);
        let own = drawn.map(BoundNonce::from_bytes);
        let own = own.map_err(|error| Closed::Lost(error.to_string()))?;
        let answer = |nonce, channel: &Channel| {
            token.answer_challenge(&self.key, &self.client_id, channel, nonce, own).to_bytes()
        };
        let challenge = Challenge { token: &token.bytes, answer: &answer };
        let packet = self.packet(&self.client_id, String::new(), Version::V5);
        Link::open_challenged(&packet, &challenge).await
    }
}

/// The time of the broker, which it tells on its status topic. A word in a diagnosis: nothing is signed for it.
async fn time_of(mut link: Link) -> Option<u64> {
    link.subscribe(STATUS_TOPIC).ok()?;
    let wait = async {
        loop {
            match link.next().await {
                Incoming::Message { topic, payload } if topic == STATUS_TOPIC => {
                    let status: serde_json::Value = serde_json::from_slice(&payload).ok()?;
                    return status.get("time")?.as_u64();
                }
                Incoming::Closed(_) | Incoming::SubscribeRefused(_) => return None,
                _ => {}
            }
        }
    };
    let time = tokio::time::timeout(limits::ANSWER, wait).await.ok().flatten();
    link.close().await;
    time
}

/// Whether the broker took a connection, which is closed again.
async fn is_taken(opened: Result<Link, End>) -> bool {
    match opened {
        Ok(link) => {
            link.close().await;
            true
        }
        Err(_) => false,
    }
}

/// Tells an experiment; whether it was taken.
fn note(visit: &mut Visit, name: &str, taken: bool) -> bool {
    let words = if taken { "accepted" } else { "refused too" };
    visit.tried(name, taken, &format!("tried to explain the refusal: {words}"));
    taken
}

fn by_new_token(tried: &HeldToken, fresh: &HeldToken, bearer: Bearer) -> Reason {
    match tried.kind() {
        TokenKind::Symmetric => Reason::SymmetricKey,
        TokenKind::Bearer => Reason::BearerToken,
        // The header names algorithm and issuer key.
        TokenKind::Key if unverified_header(&tried.bytes) != unverified_header(&fresh.bytes) => {
            Reason::IssuerKey(bearer)
        }
        TokenKind::Key => Reason::TokenRevoked(bearer),
    }
}

/// Another client id of the same device.
fn other_client_id(own: &str) -> String {
    let device = own.split('~').next().unwrap_or(own);
    let suffix = if own.ends_with("~doctor") { "doctor2" } else { "doctor" };
    format!("{device}~{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_client_id_is_of_the_same_device() {
        for (own, other) in
            [("d-1", "d-1~doctor"), ("d-1~2", "d-1~doctor"), ("d-1~doctor", "d-1~doctor2")]
        {
            assert_eq!(other_client_id(own), other);
        }
    }
}
