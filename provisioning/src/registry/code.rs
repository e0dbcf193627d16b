//! Claim codes: printed, typed by people, 100 bits, stored as a hash.

use tessera_runtime::random::{self, Random, RandomError};
use tessera_runtime::secret::Secret;
use tessera_token::encoding::hex;
use tessera_token::hash::sha256;

/// Crockford's base 32: no I, L, O, U, so that nothing is misread.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const GROUPS: usize = 4;
const GROUP: usize = 5;

/// A new code, `TSR-XXXXX-XXXXX-XXXXX-XXXXX`.
pub(crate) fn draw(random: &dyn Random) -> Result<Secret<String>, RandomError> {
    let bytes = Secret::new(random::bytes::<{ GROUPS * GROUP }>(random)?);
    let mut text = String::from("TSR");
    for group in bytes.expose().chunks(GROUP) {
        text.push('-');
        text.extend(group.iter().filter_map(letter));
    }
    Ok(Secret::new(text))
}

/// 256 is a multiple of 32: every letter is as likely as every other.
fn letter(byte: &u8) -> Option<char> {
    ALPHABET.get(usize::from(byte % 32)).map(|letter| char::from(*letter))
}

/// The name under which a code is stored. Case, blanks and dashes do not matter, nor whether `TSR` is in front; `O` is read
/// as `0`, and `I` and `L` as `1`.
pub(crate) fn hash(code: &str) -> [u8; 32] {
    let read: String = code.chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
    let read = read.to_ascii_uppercase();
    let is_whole = |letters: &&str| letters.len() == GROUPS * GROUP && letters.is_ascii();
    let letters =
        read.strip_prefix("TSR").filter(is_whole).or(Some(read.as_str()).filter(is_whole));
    let Some(letters) = letters else {
        return sha256(code.trim().to_ascii_uppercase().as_bytes());
    };
    let mut text = String::from("TSR");
    for (at, letter) in letters.chars().enumerate() {
        if at % GROUP == 0 {
            text.push('-');
        }
        text.push(match letter {
            'O' => '0',
            'I' | 'L' => '1',
            other => other,
        });
    }
    sha256(text.as_bytes())
}

/// The id by which people speak of a claim: the start of its hash.
pub(crate) fn id(hash: &[u8]) -> String {
    hex::encode(hash.get(..8).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_as_people_type_it() {
        let code = "TSR-0A1B2-CDEFG-HJKMN-PQRST";
        assert_eq!(hash(code), sha256(code.as_bytes()), "as it was stored before");
        for typed in [
            "tsr-0a1b2-cdefg-hjkmn-pqrst",
            "  TSR 0A1B2 CDEFG HJKMN PQRST\n",
            "TSR0A1B2CDEFGHJKMNPQRST",
            "0a1b2-cdefg-hjkmn-pqrst",
            "TSR-OAIB2-CDEFG-HJKMN-PQRST",
            "T S R - o a l b 2-cdefghjkmnpqrst",
        ] {
            assert_eq!(hash(typed), hash(code), "{typed:?}");
        }
        for other in ["", "TSR", "TSR-0A1B2-CDEFG-HJKMN-PQRSV", "TSR-0A1B2-CDEFG-HJKMN-PQRS", "é"]
        {
            assert_ne!(hash(other), hash(code), "{other:?}");
        }
    }
}
