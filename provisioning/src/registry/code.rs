//! Claim codes: printed, typed by people, 100 bits, stored as a hash.

use tessera_runtime::random::{self, Random, RandomError};
use tessera_runtime::secret::Secret;
use tessera_token::encoding::hex;
use tessera_token::hash::sha256;
use tessera_token::messages::ClaimCode;

/// A new code, `TSR-XXXXX-XXXXX-XXXXX-XXXXX`.
pub(crate) fn draw(random: &dyn Random) -> Result<Secret<String>, RandomError> {
    let bytes = Secret::new(random::bytes::<{ ClaimCode::LETTERS }>(random)?);
    Ok(spell(bytes.expose()))
}

/// The code of the first of these bytes, of which each gives a letter.
pub(super) fn spell<const N: usize>(bytes: &[u8; N]) -> Secret<String> {
    Secret::new(ClaimCode::of_random(bytes).as_str().to_owned())
}

/// The name under which a code is stored. A text that can be no code has a name of its own, under which nothing is stored.
pub(crate) fn hash(code: &str) -> [u8; 32] {
    match ClaimCode::parse(code) {
        Some(code) => sha256(code.as_str().as_bytes()),
        None => sha256(code.trim().to_ascii_uppercase().as_bytes()),
    }
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
