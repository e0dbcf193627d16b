//! A token that is shown to its issuer: which one it is, when an issuer key signed it. It allows nothing, and it may have
//! expired.

use crate::cbor::strict;
use crate::claims::Raw;
use crate::cose::{self, Sealed};
use crate::hash::TokenHash;
use crate::ids::{DeviceId, TenantId};
use crate::key::{KeyId, PublicKey};
use crate::limits;
use crate::refusal::RefusalCode;
use crate::time::UnixSeconds;

/// The names of a token. They count once [`Presented::is_signed_by`] was asked.
pub struct Presented {
    /// The tenant that it names.
    pub tenant: TenantId,
    /// The device that it names.
    pub device: DeviceId,
    /// The number under which its issuer keeps it.
    pub serial: u64,
    /// When it expires.
    pub expires: UnixSeconds,
    /// The issuer key that it names.
    pub key_id: KeyId,
    /// Its name in revocation lists.
    pub hash: TokenHash,
    sealed: Sealed,
}

impl Presented {
    /// Reads the bytes of a token; no signature is computed yet.
    ///
    /// # Errors
    /// That of the first guard: size, form, claims.
    pub fn read(token: &[u8]) -> Result<Self, RefusalCode> {
        if token.len() > limits::TOKEN_BYTES {
            return Err(RefusalCode::TokenTooLarge);
        }
        if cose::token_end(token)? != token.len() {
            return Err(RefusalCode::TokenMalformed);
        }
        let sealed = cose::open_token(token)?;
        strict::check(&sealed.payload).map_err(|_| RefusalCode::TokenMalformed)?;
        let malformed = RefusalCode::ClaimsMalformed;
        let raw = Raw::read(&sealed.payload).map_err(|_| malformed)?;
        let tenant = raw.iss.and_then(|iss| TenantId::parse(iss).ok()).ok_or(malformed)?;
        let device = raw.sub.and_then(|sub| DeviceId::parse(sub).ok()).ok_or(malformed)?;
        let serial = raw.cti.and_then(counter).ok_or(malformed)?;
        let expires = raw.exp.ok_or(malformed)?;
        let (key_id, hash) = (sealed.key_id, TokenHash::of(token));
        Ok(Self { tenant, device, serial, expires, key_id, hash, sealed })
    }

    /// Whether this key signed it.
    #[must_use]
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        let Sealed { algorithm, signature, .. } = &self.sealed;
        key.accepts(algorithm.number()) && key.verifies(self.sealed.signed_bytes(), signature)
    }
}

/// The counter in shortest bytes, which is the only form that is issued.
fn counter(cti: &[u8]) -> Option<u64> {
    let shortest = cti.len() == 1 || cti.first().is_some_and(|first| *first != 0);
    let fits = (1..=8).contains(&cti.len()) && shortest;
    fits.then(|| cti.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::claims::{Claims, Epochs};
    use crate::ids::{Audience, Serial};
    use crate::key::{Algorithm, SecretKey};
    use crate::scope::Scope;

    fn token(serial: u64, issuer: &SecretKey) -> Vec<u8> {
        let claims = Claims {
            tenant: TenantId::parse("acme").unwrap(),
            device: DeviceId::parse("d-17").unwrap(),
            audience: Audience::parse("mqtt").unwrap(),
            expires: UnixSeconds::new(10),
            not_before: None,
            issued: UnixSeconds::new(5),
            serial: Serial::from_counter(serial),
            confirmation: Some(SecretKey::from_seed(&[3; 32]).public()),
            scope: Scope::new(Vec::new()).unwrap(),
            epochs: Epochs::default(),
        };
        crate::issue::issue(&claims, Algorithm::Ed25519, issuer).unwrap()
    }

    #[test]
    fn a_token_is_named_by_its_serial_when_its_issuer_signed_it_also_after_its_end() {
        let issuer = SecretKey::from_seed(&[1; 32]);
        for serial in [0, 1, 255, 256, 1 << 40, u64::MAX] {
            let bytes = token(serial, &issuer);
            let shown = Presented::read(&bytes).unwrap();
            assert_eq!((shown.serial, shown.device.as_str()), (serial, "d-17"));
            assert_eq!(shown.hash, TokenHash::of(&bytes));
            assert!(shown.is_signed_by(&issuer.public()));
            assert!(!shown.is_signed_by(&SecretKey::from_seed(&[2; 32]).public()));
        }
    }

    #[test]
    fn bytes_that_are_no_token_of_our_form_are_refused() {
        let mut bytes = token(7, &SecretKey::from_seed(&[1; 32]));
        for end in 0..bytes.len() {
            assert!(Presented::read(&bytes[..end]).is_err());
        }
        bytes.push(0);
        assert!(Presented::read(&bytes).is_err());
        assert!(Presented::read(&[0; limits::TOKEN_BYTES + 1]).is_err());
        assert_eq!(counter(&[0, 1]), None);
        assert_eq!(counter(&[1; 9]), None);
    }
}
