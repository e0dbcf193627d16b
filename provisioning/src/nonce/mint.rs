//! Makes nonces without a row, and knows its own again.

use tessera_runtime::random::{Random, RandomError};
use tessera_runtime::secret::Secret;
use tessera_token::refusal::RefusalCode;

use crate::limits::NONCE_SECONDS;
use crate::mac;

/// Bytes of a nonce.
pub(crate) const BYTES: usize = 32;
/// Bytes by which a nonce is remembered.
pub(super) const BODY: usize = 16;

/// A nonce of ours that is not too old.
pub(super) struct Known {
    pub(super) body: [u8; BODY],
    /// Seconds, of the clock that made it.
    pub(super) made: u64,
}

/// The key of the nonces. `now` is in seconds of a clock that the caller keeps to.
pub(super) struct Mint(Secret<[u8; 32]>);

impl Mint {
    pub(super) fn of(key: Secret<[u8; 32]>) -> Self {
        Self(key)
    }

    /// `time (8) | random (8) | HMAC-SHA-256 of both, first 16`.
    pub(super) fn make(&self, random: &dyn Random, now: u64) -> Result<[u8; BYTES], RandomError> {
        let mut body = [0; BODY];
        let (time, fresh) = body.split_at_mut(8);
        time.copy_from_slice(&now.to_be_bytes());
        random.fill(fresh)?;
        let mut nonce = [0; BYTES];
        let (front, back) = nonce.split_at_mut(BODY);
        front.copy_from_slice(&body);
        back.copy_from_slice(&self.tag(&body));
        Ok(nonce)
    }

    /// The nonce, when it is ours and not too old; it may have been used.
    pub(super) fn open(&self, nonce: &[u8], now: u64) -> Result<Known, RefusalCode> {
        let nonce: &[u8; BYTES] = nonce.try_into().map_err(|_| RefusalCode::NonceInvalid)?;
        let (body, tag) = nonce.split_first_chunk::<BODY>().ok_or(RefusalCode::NonceInvalid)?;
        let made = body.first_chunk::<8>().map_or(0, |time| u64::from_be_bytes(*time));
        let genuine = subtle::ConstantTimeEq::ct_eq(self.tag(body).as_slice(), tag);
        match bool::from(genuine) && now.abs_diff(made) <= NONCE_SECONDS {
            true => Ok(Known { body: *body, made }),
            false => Err(RefusalCode::NonceInvalid),
        }
    }

    fn tag(&self, body: &[u8]) -> [u8; BODY] {
        let mut tag = [0; BODY];
        let whole = mac::of(self.0.expose(), &[b"tessera-enrol-nonce-1", body]);
        tag.iter_mut().zip(whole.expose()).for_each(|(to, from)| *to = *from);
        tag
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tessera_runtime::random::{bytes, SeededRandom};

    const NOW: u64 = 1000;

    #[test]
    fn foreign_changed_and_old_nonces_are_refused() {
        let random = SeededRandom::predictable(1);
        let mint = || Mint::of(Secret::new(bytes(&random).unwrap()));
        let (own, other) = (mint(), mint());
        let foreign = other.make(&random, NOW).unwrap();
        let nonce = own.make(&random, NOW).unwrap();
        let refused =
            |nonce: &[u8], now: u64| own.open(nonce, now).err() == Some(RefusalCode::NonceInvalid);
        for at in 0..BYTES {
            let mut changed = nonce;
            changed[at] ^= 1;
            assert!(refused(&changed, NOW));
        }
        assert!(refused(&foreign, NOW));
        assert!(refused(&nonce[..31], NOW));
        assert!(refused(&nonce, NOW + NONCE_SECONDS + 1));
        assert_eq!(own.open(&nonce, NOW + NONCE_SECONDS).unwrap().made, NOW);
    }
}
