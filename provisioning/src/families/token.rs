//! Refresh tokens: made and known by a key that follows from the root key. The database holds none of them.
//!
//! `tsr_rt_` and base64url of `family (16) | line (8) | number (8) | HMAC-SHA-256 of these (32)`. A service that has lost
//! its newest rows still knows which tokens are its own.

use subtle::ConstantTimeEq;
use tessera_runtime::secret::Secret;
use tessera_token::encoding::{base64url, from_base64url};
use tessera_token::key::SecretKey;
use tessera_token::seal::OpeningKey;

use crate::mac;
use crate::records::families::Place;

/// By it scanners of secrets know a refresh token.
pub(crate) const PREFIX: &str = "tsr_rt_";
const FAMILY: usize = 16;
const BODY: usize = FAMILY + 16;
const TAG: usize = 32;

/// The id of a family.
pub(crate) type Family = [u8; FAMILY];

/// A refresh token that this service made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) family: Family,
    pub(crate) place: Place,
}

/// The key of all refresh tokens.
pub(crate) struct FamilyKey(Secret<[u8; 32]>);

impl FamilyKey {
    /// It follows from the root key: each process of the service has it, and so has one that was restored.
    pub(crate) fn of(root: &SecretKey) -> Self {
        Self(Secret::new(mac(root.expose_seed().as_slice(), b"tessera-refresh-tokens-1", &[])))
    }

    /// The family that begins with the token of this serial. Serials are never given twice.
    pub(crate) fn family(&self, serial: u64) -> Family {
        let whole = self.mac(b"tessera-refresh-family-1", &serial.to_be_bytes());
        whole.first_chunk().copied().unwrap_or_default()
    }

    /// The refresh token at this place of a family: the same each time.
    pub(crate) fn make(&self, family: &Family, place: Place) -> Secret<String> {
        let body = body(family, place);
        let tag = Secret::new(self.mac(b"tessera-refresh-token-1", &body));
        let whole = Secret::new([body.as_slice(), tag.expose()].concat());
        Secret::new(format!("{PREFIX}{}", base64url(whole.expose())))
    }

    /// The place of a refresh token; `None` for one that this service did not make.
    pub(crate) fn open(&self, token: &[u8]) -> Option<Shown> {
        let text = std::str::from_utf8(token).ok()?.strip_prefix(PREFIX)?;
        let whole = Secret::new(from_base64url(text)?);
        let (body, tag) = whole.expose().split_first_chunk::<BODY>()?;
        let tag: &[u8; TAG] = tag.try_into().ok()?;
        if !bool::from(self.mac(b"tessera-refresh-token-1", body).ct_eq(tag)) {
            return None;
        }
        let (family, place) = body.split_first_chunk::<FAMILY>()?;
        let (line, number) = place.split_first_chunk::<8>()?;
        let number = u64::from_be_bytes(number.try_into().ok()?);
        let place = Place { line: u64::from_be_bytes(*line), number };
        Some(Shown { family: *family, place })
    }

    /// The key that opens the answer to the refresh token at this place.
    pub(crate) fn answer(&self, shown: &Shown) -> OpeningKey {
        // A name of its own: who holds the database and this key alone could make the token anyway.
        let body = body(&shown.family, shown.place);
        OpeningKey::from_random(self.mac(b"tessera-refresh-answer-1", &body))
    }

    fn mac(&self, context: &[u8], bytes: &[u8]) -> [u8; TAG] {
        mac(self.0.expose(), context, bytes)
    }
}

fn body(family: &Family, place: Place) -> [u8; BODY] {
    let mut body = [0; BODY];
    let parts = family.iter().copied();
    let parts = parts.chain(place.line.to_be_bytes()).chain(place.number.to_be_bytes());
    body.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
    body
}

fn mac(key: &[u8], context: &[u8], bytes: &[u8]) -> [u8; TAG] {
    *mac::of(key, &[context, bytes]).expose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_the_key_that_made_it_alone() {
        let key = FamilyKey::of(&SecretKey::from_seed(&[1; 32]));
        let other = FamilyKey::of(&SecretKey::from_seed(&[2; 32]));
        let shown = Shown { family: key.family(7), place: Place { line: 3, number: 9 } };
        let token = key.make(&shown.family, shown.place);
        let text = token.expose().as_str();
        assert!(
            text.starts_with(PREFIX) && text.len() <= tessera_token::limits::REFRESH_TOKEN_BYTES
        );
        assert_eq!(key.open(text.as_bytes()), Some(shown));
        assert_eq!(other.open(text.as_bytes()), None);
        for at in 0..text.len() {
            let mut bent = text.as_bytes().to_vec();
            bent[at] ^= 1;
            assert_eq!(key.open(&bent), None, "byte {at}");
        }
        for bent in [&text[1..], &text[..text.len() - 1], "", PREFIX] {
            assert_eq!(key.open(bent.as_bytes()), None);
        }
        let longer = format!("{text}AA");
        assert_eq!(key.open(longer.as_bytes()), None);
        assert_ne!(key.family(7), key.family(8));
    }
}
