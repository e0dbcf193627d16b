//! Nonces for devices to sign, at enrolment and in the place of a time: made without a row, remembered once used.

use std::collections::HashMap;
use std::time::Duration;

use hmac::{Hmac, Mac};
use parking_lot::Mutex;
use sha2::Sha256;
use tessera_runtime::random::{self, Random, RandomError};
use tessera_runtime::secret::Secret;
use tessera_token::refusal::RefusalCode;

use crate::limits::{NONCE_SECONDS, USED_NONCES};

const BYTES: usize = 32;
const BODY: usize = 16;

/// Makes and takes nonces. The key lives as long as the process: a restart makes all older nonces invalid, so a used
/// one can never come back. Their time is monotonic, so that no jump of the clock brings one back either.
pub(crate) struct Nonces {
    key: Secret<[u8; 32]>,
    used: Mutex<HashMap<[u8; BODY], u64>>,
}

impl Nonces {
    pub(crate) fn new(random: &dyn Random) -> Result<Self, RandomError> {
        Ok(Self { key: Secret::new(random::bytes(random)?), used: Mutex::default() })
    }

    /// `monotonic time (8) | random (8) | HMAC-SHA-256 of both, first 16`.
    pub(crate) fn make(
        &self,
        random: &dyn Random,
        now: Duration,
    ) -> Result<[u8; BYTES], RandomError> {
        let mut body = [0; BODY];
        let (time, fresh) = body.split_at_mut(8);
        time.copy_from_slice(&now.as_secs().to_be_bytes());
        random.fill(fresh)?;
        let mut nonce = [0; BYTES];
        let (front, back) = nonce.split_at_mut(BODY);
        front.copy_from_slice(&body);
        back.copy_from_slice(&self.tag(&body));
        Ok(nonce)
    }

    /// Whether the nonce is ours and not too old; it may have been used.
    pub(crate) fn is_ours(&self, nonce: &[u8], now: Duration) -> Result<(), RefusalCode> {
        let (_, made) = self.open(nonce)?;
        match now.as_secs().abs_diff(made) > NONCE_SECONDS {
            true => Err(RefusalCode::NonceInvalid),
            false => Ok(()),
        }
    }

    /// Whether the nonce is ours and still good; it is not used up by this.
    pub(crate) fn check(&self, nonce: &[u8], now: Duration) -> Result<(), RefusalCode> {
        let (body, made) = self.open(nonce)?;
        let age = now.as_secs().abs_diff(made);
        match age > NONCE_SECONDS || self.used.lock().contains_key(&body) {
            true => Err(RefusalCode::NonceInvalid),
            false => Ok(()),
        }
    }

    /// Uses the nonce up. Of two that present the same one, one is refused.
    pub(crate) fn take(&self, nonce: &[u8], now: Duration) -> Result<(), RefusalCode> {
        self.check(nonce, now)?;
        let (body, made) = self.open(nonce)?;
        let mut used = self.used.lock();
        if used.len() >= USED_NONCES {
            used.retain(|_, made| now.as_secs().abs_diff(*made) <= NONCE_SECONDS);
        }
        if used.len() >= USED_NONCES {
            return Err(RefusalCode::RateLimited);
        }
        match used.insert(body, made) {
            None => Ok(()),
            Some(_) => Err(RefusalCode::NonceInvalid),
        }
    }

    /// Forgets what has expired.
    pub(crate) fn sweep(&self, now: Duration) {
        self.used.lock().retain(|_, made| now.as_secs().abs_diff(*made) <= NONCE_SECONDS);
    }

    fn open(&self, nonce: &[u8]) -> Result<([u8; BODY], u64), RefusalCode> {
        let nonce: &[u8; BYTES] = nonce.try_into().map_err(|_| RefusalCode::NonceInvalid)?;
        let (body, tag) = nonce.split_first_chunk::<BODY>().ok_or(RefusalCode::NonceInvalid)?;
        let made = body.first_chunk::<8>().map_or(0, |time| u64::from_be_bytes(*time));
        let genuine = subtle::ConstantTimeEq::ct_eq(self.tag(body).as_slice(), tag);
        match bool::from(genuine) {
            true => Ok((*body, made)),
            false => Err(RefusalCode::NonceInvalid),
        }
    }

    fn tag(&self, body: &[u8]) -> [u8; BODY] {
        let mut tag = [0; BODY];
        // A key of any length is taken: the error cannot happen, and an empty tag would match no nonce of ours.
        if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.key.expose()) {
            mac.update(b"tessera-enrol-nonce-1");
            mac.update(body);
            let whole = mac.finalize().into_bytes();
            tag.iter_mut().zip(whole).for_each(|(to, from)| *to = from);
        }
        tag
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tessera_runtime::random::SeededRandom;

    const NOW: Duration = Duration::from_secs(1000);
    const GOOD: Duration = Duration::from_secs(NONCE_SECONDS);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_nonce_is_good_once() {
        let random = SeededRandom::predictable(1);
        let nonces = Nonces::new(&random).unwrap();
        let nonce = nonces.make(&random, NOW).unwrap();
        nonces.check(&nonce, NOW).unwrap();
        nonces.take(&nonce, NOW).unwrap();
        assert_eq!(nonces.take(&nonce, NOW), Err(RefusalCode::NonceInvalid));
        nonces.sweep(NOW + GOOD + SECOND);
        assert!(nonces.used.lock().is_empty());
    }

    #[test]
    fn foreign_changed_and_old_nonces_are_refused() {
        let random = SeededRandom::predictable(1);
        let nonces = Nonces::new(&random).unwrap();
        let foreign = Nonces::new(&random).unwrap().make(&random, NOW).unwrap();
        let nonce = nonces.make(&random, NOW).unwrap();
        for at in 0..BYTES {
            let mut changed = nonce;
            changed[at] ^= 1;
            assert_eq!(nonces.take(&changed, NOW), Err(RefusalCode::NonceInvalid));
        }
        assert_eq!(nonces.take(&foreign, NOW), Err(RefusalCode::NonceInvalid));
        assert_eq!(nonces.take(&nonce[..31], NOW), Err(RefusalCode::NonceInvalid));
        let late = NOW + GOOD + SECOND;
        assert_eq!(nonces.take(&nonce, late), Err(RefusalCode::NonceInvalid));
        nonces.take(&nonce, NOW + GOOD).unwrap();
    }
}
