//! Secrets in rows of the database: sealed to a key that follows from the seed of the first root key, which the database does
//! not hold in clear. A copy of the database alone tells none of them.

use tessera_runtime::random::{self, Random};
use tessera_token::key::SecretKey;
use tessera_token::proof::SymmetricKey;
use tessera_token::refusal::RefusalCode;
use tessera_token::seal::{seal, OpeningKey};

use crate::refused::Refused;

const CONTEXT: &[u8] = b"tessera-group-key-1";

fn opening(root: &SecretKey) -> Result<OpeningKey, RefusalCode> {
    let seed = SymmetricKey::from_bytes(root.expose_seed().as_slice());
    let seed = seed.ok_or(RefusalCode::Internal)?;
    Ok(OpeningKey::from_random(seed.mac(b"tessera-sealed-rows-1")))
}

/// Seals a key for the row of this name.
pub(crate) fn sealed(
    root: &SecretKey,
    random: &dyn Random,
    name: &[u8],
    key: &SymmetricKey,
) -> Result<Vec<u8>, Refused> {
    let once = random::bytes(random)?;
    let text = seal(&opening(root)?.public(), once, CONTEXT, name, key.expose_bytes());
    Ok(text.ok_or(RefusalCode::Internal)?)
}

/// Opens what [`sealed`] made for the row of the same name.
///
/// # Errors
/// `internal` when the row was sealed by a service with another root key, or was changed.
pub(crate) fn opened(root: &SecretKey, name: &[u8], text: &[u8]) -> Result<SymmetricKey, Refused> {
    let plain = opening(root)?.open(text, CONTEXT, name);
    let key = plain.and_then(|plain| SymmetricKey::from_bytes(&plain));
    key.ok_or_else(|| {
        tracing::error!("a group key does not open: it was sealed under another root key, or its row was changed");
        RefusalCode::Internal.into()
    })
}

#[cfg(test)]
mod tests {
    use tessera_runtime::random::SeededRandom;

    use super::*;

    #[test]
    fn a_sealed_key_opens_under_its_root_key_and_name_alone() {
        let (root, other) = (SecretKey::from_seed(&[1; 32]), SecretKey::from_seed(&[2; 32]));
        let random = SeededRandom::predictable(1);
        let key = SymmetricKey::from_bytes(&[7; 48]).unwrap();
        let text = sealed(&root, &random, b"acme/line", &key).unwrap();
        assert!(!text.windows(8).any(|part| part == [7; 8]));
        assert!(opened(&root, b"acme/line", &text).is_ok_and(|opened| opened == key));
        assert!(opened(&other, b"acme/line", &text).is_err());
        assert!(opened(&root, b"acme/other", &text).is_err());
        assert!(opened(&root, b"acme/line", &text[1..]).is_err());
        assert_ne!(sealed(&root, &random, b"acme/line", &key).unwrap(), text);
    }
}
