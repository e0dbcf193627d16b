//! Claim codes, in the one spelling under which they are compared, and the question of a broker about one.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use zeroize::Zeroizing;

use super::error::{in_member, required, Bad};
use super::labels::*;
use super::{body, label, pairs, MessageError};
use crate::cbor::{Reader, Writer};
use crate::ids::{DeviceId, TenantId};

/// The user name of a CONNECT whose password is a claim code, in front of `/` and the tenant.
pub const CLAIM_USER: &str = "$claim";
/// The one topic that such a connection reaches.
pub const ENROL_TOPIC: &str = "$tessera/enrol";

/// Crockford's base 32: no I, L, O, U, so that nothing is misread.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Groups of a code, and letters of a group.
const GROUPS: usize = 4;
const GROUP: usize = 5;

/// A claim code. It is a secret, and is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct ClaimCode(Zeroizing<String>);

impl ClaimCode {
    /// Letters of a code.
    pub const LETTERS: usize = GROUPS * GROUP;

    /// Reads a code as people type it: case, blanks and dashes do not matter, nor whether `TSR` is in front; `O` is read as
    /// `0`, and `I` and `L` as `1`. `None` for a text that can be no code.
    pub fn parse(text: &str) -> Option<Self> {
        let mut read = Zeroizing::new(String::with_capacity(Self::LETTERS + 3));
        for letter in text.chars().filter(|c| !c.is_whitespace() && *c != '-') {
            if read.len() >= Self::LETTERS + 3 || !letter.is_ascii() {
                return None;
            }
            read.push(letter.to_ascii_uppercase());
        }
        let is_whole = |letters: &&str| letters.len() == Self::LETTERS;
        let letters = read.strip_prefix("TSR").filter(is_whole);
        let letters = letters.or(Some(read.as_str()).filter(is_whole))?;
        let plain = letters.chars().map(|letter| match letter {
            'O' => '0',
            'I' | 'L' => '1',
            other => other,
        });
        let is_known = |letter| u8::try_from(letter).is_ok_and(|byte| ALPHABET.contains(&byte));
        plain.clone().all(is_known).then(|| Self::of_letters(plain))
    }

    /// The code that the first of these random bytes make, a letter each. 256 is a multiple of 32: every letter is as likely
    /// as every other.
    pub fn of_random<const N: usize>(bytes: &[u8; N]) -> Self {
        const { assert!(N >= Self::LETTERS, "each letter needs a byte") };
        let bytes = bytes.iter().take(Self::LETTERS);
        let letters = bytes.filter_map(|byte| ALPHABET.get(usize::from(byte % 32)));
        Self::of_letters(letters.map(|letter| char::from(*letter)))
    }

    fn of_letters(letters: impl Iterator<Item = char>) -> Self {
        let mut text = Zeroizing::new(String::with_capacity(Self::LETTERS + GROUPS + 3));
        text.push_str("TSR");
        for (at, letter) in letters.enumerate() {
            if at % GROUP == 0 {
                text.push('-');
            }
            text.push(letter);
        }
        Self(text)
    }

    /// `TSR-XXXXX-XXXXX-XXXXX-XXXXX`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ClaimCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClaimCode(…)")
    }
}

/// `POST /v1/enrol/check`: a broker asks whether this device could use this claim now, or has used it.
#[derive(Clone, PartialEq, Eq)]
pub struct ClaimCheck {
    /// The tenant.
    pub tenant: TenantId,
    /// The device id.
    pub device: DeviceId,
    /// The code.
    pub claim: ClaimCode,
}

impl ClaimCheck {
    /// As `application/ace+cbor`.
    pub fn to_cbor(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.map(3)
            .int(CLIENT_ID)
            .text(self.device.as_str())
            .int(TENANT)
            .text(self.tenant.as_str())
            .int(CLAIM)
            .text(self.claim.as_str());
        w.finish()
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, MessageError> {
        let body = body(bytes)?;
        let mut r = Reader::new(&body);
        let (mut tenant, mut device, mut claim) = (None, None, None);
        for _ in 0..pairs(&mut r)? {
            let label = label(&mut r)?;
            let mut read = || -> Result<(), Bad> {
                match label {
                    Some(CLIENT_ID) => device = Some(DeviceId::parse(r.text()?)?),
                    Some(TENANT) => tenant = Some(TenantId::parse(r.text()?)?),
                    Some(CLAIM) => claim = Some(ClaimCode::parse(r.text()?).ok_or(Bad)?),
                    _ => r.skip()?,
                }
                Ok(())
            };
            in_member(label, read())?;
        }
        Ok(Self {
            tenant: required(TENANT, tenant)?,
            device: required(CLIENT_ID, device)?,
            claim: required(CLAIM, claim)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn a_code_is_read_as_people_type_it() {
        let code = ClaimCode::parse("TSR-0A1B2-CDEFG-HJKMN-PQRST").unwrap();
        assert_eq!(code.as_str(), "TSR-0A1B2-CDEFG-HJKMN-PQRST");
        for typed in [
            "tsr-0a1b2-cdefg-hjkmn-pqrst",
            "  TSR 0A1B2 CDEFG HJKMN PQRST\n",
            "TSR0A1B2CDEFGHJKMNPQRST",
            "0a1b2-cdefg-hjkmn-pqrst",
            "TSR-OAIB2-CDEFG-HJKMN-PQRST",
            "T S R - o a l b 2-cdefghjkmnpqrst",
        ] {
            assert_eq!(ClaimCode::parse(typed).as_ref(), Some(&code), "{typed:?}");
        }
        let long = "A".repeat(100_000);
        for other in [
            "",
            "TSR",
            "TSR-0A1B2-CDEFG-HJKMN-PQRS",
            "TSR-0A1B2-CDEFG-HJKMN-PQRSTT",
            "TSR-0A1B2-CDEFG-HJKMN-PQRSU",
            "TSR-0A1B2-CDEFG-HJKMN-PQRS/",
            "é0A1B2CDEFGHJKMNPQRS",
            &long,
        ] {
            assert_eq!(ClaimCode::parse(other), None, "{other:?}");
        }
        assert_eq!(format!("{code:?}"), "ClaimCode(…)");
        let drawn = ClaimCode::of_random(&[
            0, 31, 32, 255, 7, 0, 1, 2, 3, 4, 10, 11, 12, 13, 14, 16, 17, 18, 19, 20,
        ]);
        assert_eq!(drawn.as_str(), "TSR-0Z0Z7-01234-ABCDE-GHJKM");
        assert_eq!(ClaimCode::parse(drawn.as_str()), Some(drawn));
        // A code whose own letters begin like the prefix.
        let own = ClaimCode::parse("TSR-TSRTS-RTSRT-SRTSR-TSRTS").unwrap();
        assert_eq!(ClaimCode::parse("TSRTSRTSRTSRTSRTSRTS"), Some(own));
    }

    #[test]
    fn a_check_is_read_as_it_was_written() {
        let check = ClaimCheck {
            tenant: "acme".parse().unwrap(),
            device: "d-17".parse().unwrap(),
            claim: ClaimCode::parse("TSR-0A1B2-CDEFG-HJKMN-PQRST").unwrap(),
        };
        let bytes = check.to_cbor();
        assert!(ClaimCheck::from_cbor(&bytes).is_ok_and(|read| read == check));
        for wrong in [&b""[..], b"\xa0", &bytes[..bytes.len() - 1], b"\xa1\x18\x18\x01"] {
            assert!(ClaimCheck::from_cbor(wrong).is_err(), "{wrong:x?}");
        }
    }
}
