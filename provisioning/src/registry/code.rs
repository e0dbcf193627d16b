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

/// The name under which a code is stored. Case and spaces around it do not matter.
pub(crate) fn hash(code: &str) -> [u8; 32] {
    sha256(code.trim().to_ascii_uppercase().as_bytes())
}

/// The id by which people speak of a claim: the start of its hash.
pub(crate) fn id(hash: &[u8]) -> String {
    hex::encode(hash.get(..8).unwrap_or_default())
}
