//! Opaque tokens of accounts, programs and partners: a prefix for each class, 43 characters of base62 (256 random bits), and
//! 6 of the CRC-32 of everything before them.
//!
//! There is no `-` or `_` behind the prefix, so a double click selects a whole token. The checksum tells a mistyped token and
//! a guess from a token before any store is asked; it is no secret and proves nothing.

use tessera_token::encoding::hex;
use tessera_token::hash::sha256;
use tessera_token::key::SecretKey;
use zeroize::Zeroize;

use crate::random::{self, Random, RandomError};
use crate::secret::Secret;
use crate::store::checksum;

/// A regular expression for secret scanners: it finds each token of the present form. `docs/tokens.md` has it too.
pub const PATTERN: &str = r"\btsr_(?:op|pat|prt)_[0-9A-Za-z]{49}\b";

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Digits of 256 bits.
const RANDOM_DIGITS: usize = 43;
/// Digits of 32 bits.
const SUM_DIGITS: usize = 6;
/// Characters of base64url of 256 bits: the form of operator tokens of earlier versions, without a checksum.
const OLD_CHARS: usize = 43;
/// Separates the seed of the key of a partner token from its hash, which is stored.
const PARTNER_KEY: &[u8] = b"tessera-partner-key-1";
/// Bytes of the hash of a token that name it.
const ID_BYTES: usize = 8;

/// The class of a token: its prefix tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The token of an operator account.
    Operator,
    /// An API token: a part of the rights of the account that made it, for a time.
    Api,
    /// A partner token: for a system of another party.
    Partner,
}

impl Class {
    const ALL: [Self; 3] = [Self::Operator, Self::Api, Self::Partner];

    /// The beginning of each token of the class.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Operator => "tsr_op_",
            Self::Api => "tsr_pat_",
            Self::Partner => "tsr_prt_",
        }
    }

    /// Its name in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Api => "api",
            Self::Partner => "partner",
        }
    }
}

/// The form of a token, as its text tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// Its class.
    pub class: Class,
    /// Whether it has the form of earlier versions, without a checksum.
    pub is_old: bool,
}

/// Why a text is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// It begins with no prefix of a class.
    Prefix,
    /// It has another number of characters.
    Length,
    /// It has a character that no token has.
    Characters,
    /// Its checksum is not that of its text.
    Checksum,
}

impl Malformed {
    /// The reason in a sentence.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Prefix => "it begins with none of tsr_op_, tsr_pat_, tsr_prt_",
            Self::Length => {
                "it is too short or too long: a part is missing, or something was added"
            }
            Self::Characters => "it has a character that no token has",
            Self::Checksum => "its checksum is wrong: a character was changed",
        }
    }
}

/// Reads the form of a token. Neither a store nor the network is asked.
///
/// # Errors
/// [`Malformed`].
pub fn read(text: &str) -> Result<Form, Malformed> {
    let mut classes = Class::ALL.into_iter();
    let found = classes.find_map(|class| Some((class, text.strip_prefix(class.prefix())?)));
    let (class, rest) = found.ok_or(Malformed::Prefix)?;
    if class == Class::Operator && rest.len() == OLD_CHARS {
        let good = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
        return match rest.bytes().all(good) {
            true => Ok(Form { class, is_old: true }),
            false => Err(Malformed::Characters),
        };
    }
    if rest.len() != RANDOM_DIGITS + SUM_DIGITS {
        return Err(Malformed::Length);
    }
    if !rest.bytes().all(|c| c.is_ascii_alphanumeric()) {
        return Err(Malformed::Characters);
    }
    let (body, sum) = text.split_at(text.len() - SUM_DIGITS);
    match sum_of(body) == sum {
        true => Ok(Form { class, is_old: false }),
        false => Err(Malformed::Checksum),
    }
}

/// A new token.
///
/// # Errors
/// [`RandomError`].
pub fn draw(class: Class, random: &dyn Random) -> Result<Secret<String>, RandomError> {
    let bytes = Secret::new(random::bytes::<32>(random)?);
    let mut text = String::with_capacity(64);
    text.push_str(class.prefix());
    digits(bytes.expose(), RANDOM_DIGITS, &mut text);
    let sum = sum_of(&text);
    text.push_str(&sum);
    Ok(Secret::new(text))
}

/// The public name of a token: the first 8 bytes of its SHA-256 in hexadecimal digits. Lists and the audit log name it so.
#[must_use]
pub fn id(text: &str) -> String {
    let hash = sha256(text.as_bytes());
    hex::encode(hash.get(..ID_BYTES).unwrap_or_default())
}

/// The key to which access tokens for a partner token are bound. It follows from the text of the token, so a broker that was
/// shown the token knows an access token that was made for it from all others.
#[must_use]
pub fn partner_key(text: &str) -> SecretKey {
    let named = Secret::new([PARTNER_KEY, text.as_bytes()].concat());
    let seed = Secret::new(sha256(named.expose()));
    SecretKey::from_seed(seed.expose())
}

fn sum_of(text: &str) -> String {
    let mut sum = String::with_capacity(SUM_DIGITS);
    digits(&checksum::of(&[text.as_bytes()]).to_be_bytes(), SUM_DIGITS, &mut sum);
    sum
}

/// The number that these bytes are, the most significant first, in `count` digits of base62.
fn digits(bytes: &[u8], count: usize, into: &mut String) {
    let (mut number, mut found) = (bytes.to_vec(), vec![0; count]);
    for digit in found.iter_mut().rev() {
        let mut rest = 0_usize;
        for byte in &mut number {
            let value = rest * 256 + usize::from(*byte);
            // Below 256: `rest` is below 62.
            *byte = u8::try_from(value / ALPHABET.len()).unwrap_or_default();
            rest = value % ALPHABET.len();
        }
        *digit = ALPHABET.get(rest).copied().unwrap_or_default();
    }
    into.extend(found.iter().copied().map(char::from));
    number.zeroize();
    found.zeroize();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;

    #[test]
    fn numbers_in_base62() {
        let of = |bytes: &[u8], count| {
            let mut text = String::new();
            digits(bytes, count, &mut text);
            text
        };
        assert_eq!(of(&[0; 32], 43), "0".repeat(43));
        assert_eq!(of(&[61], 2), "0z");
        assert_eq!(of(&[62], 2), "10");
        assert_eq!(of(&u32::MAX.to_be_bytes(), 6), "4gfFC3");
        // 2^256 - 1 needs all digits, and no more.
        assert_eq!(of(&[255; 32], 44), format!("0{}", of(&[255; 32], 43)));
    }

    #[test]
    fn a_token_of_each_class_is_read_again_and_no_changed_one_is() {
        for class in Class::ALL {
            let token = draw(class, &SystemRandom).unwrap();
            let token = token.expose();
            assert_eq!(read(token), Ok(Form { class, is_old: false }));
            let rest = token.strip_prefix(class.prefix()).unwrap();
            assert!(rest.len() == 49 && rest.bytes().all(|c| c.is_ascii_alphanumeric()), "{rest}");
            for at in 0..token.len() {
                let mut bytes = token.clone().into_bytes();
                bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
                let changed = String::from_utf8(bytes).unwrap();
                assert!(read(&changed).is_err(), "{changed}");
            }
            for cut in [&token[1..], &token[..token.len() - 1], &format!("{token}a")] {
                assert!(read(cut).is_err(), "{cut}");
            }
        }
    }

    #[test]
    fn the_form_is_fixed() {
        struct Ones;
        impl Random for Ones {
            fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
                bytes.fill(1);
                Ok(())
            }
        }
        let token = draw(Class::Api, &Ones).unwrap();
        assert_eq!(token.expose(), "tsr_pat_0El6XFXwsUFD8J2vGxsaboW7rZYnQRBP5d9erwRwd293fnZ3E");
        assert_eq!(id(token.expose()), "b952fe85f50a1d6f");
    }

    #[test]
    fn operator_tokens_of_earlier_versions_are_told_by_their_length() {
        let old = format!("tsr_op_{}", "A-_".repeat(15).get(..43).unwrap());
        assert_eq!(read(&old), Ok(Form { class: Class::Operator, is_old: true }));
        assert_eq!(read(&format!("tsr_pat_{}", "A".repeat(43))), Err(Malformed::Length));
        assert_eq!(read(&format!("tsr_op_{}", "A".repeat(49))), Err(Malformed::Checksum));
        assert_eq!(read(&format!("tsr_op_{}-", "A".repeat(48))), Err(Malformed::Characters));
        assert_eq!(read("Bearer tsr_op_"), Err(Malformed::Prefix));
        assert_eq!(read(""), Err(Malformed::Prefix));
    }
}
