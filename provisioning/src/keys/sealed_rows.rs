//! Secrets in rows of the database: sealed to a key that follows from the seed of the first root key, which the database does
//! not hold in clear. A copy of the database alone tells none of them.

use tessera_runtime::random::{self, Random};
use tessera_token::key::SecretKey;
use tessera_token::proof::SymmetricKey;
use tessera_token::refusal::RefusalCode;
use tessera_token::seal::{seal, OpeningKey};

use crate::refused::Refused;

/// The kind of a sealed row: a text of one kind opens as no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sealed {
    GroupKey,
    Webhook,
}

impl Sealed {
    fn context(self) -> &'static [u8] {
        match self {
            Self::GroupKey => b"tessera-group-key-1",
            Self::Webhook => b"tessera-webhook-1",
        }
    }
}

fn opening(root: &SecretKey) -> Result<OpeningKey, RefusalCode> {
    let seed = SymmetricKey::from_bytes(root.expose_seed().as_slice());
    let seed = seed.ok_or(RefusalCode::Internal)?;
    Ok(OpeningKey::from_random(seed.mac(b"tessera-sealed-rows-1")))
}

/// Seals a key for the row of this name.
pub(crate) fn sealed(
    root: &SecretKey,
    random: &dyn Random,
    (kind, name): (Sealed, &[u8]),
    key: &SymmetricKey,
) -> Result<Vec<u8>, Refused> {
    let once = random::bytes(random)?;
    let text = seal(&opening(root)?.public(), once, kind.context(), name, key.expose_bytes());
    Ok(text.ok_or(RefusalCode::Internal)?)
}

/// Opens what [`sealed`] made for the row of the same name.
///
/// # Errors
/// `internal` when the row was sealed by a service with another root key, or was changed.
pub(crate) fn opened(
    root: &SecretKey,
    (kind, name): (Sealed, &[u8]),
    text: &[u8],
) -> Result<SymmetricKey, Refused> {
    let plain = opening(root)?.open(text, kind.context(), name);
    let key = plain.and_then(|plain| SymmetricKey::from_bytes(&plain));
    key.ok_or_else(|| {
        tracing::error!(
            ?kind,
            "a sealed key does not open: it was sealed under another root key, or its row was changed"
        );
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
        let (name, other_name) =
            ((Sealed::GroupKey, &b"acme/line"[..]), (Sealed::GroupKey, &b"acme/other"[..]));
        let text = sealed(&root, &random, name, &key).unwrap();
        assert!(!text.windows(8).any(|part| part == [7; 8]));
        assert!(opened(&root, name, &text).is_ok_and(|opened| opened == key));
        assert!(opened(&other, name, &text).is_err());
        assert!(opened(&root, other_name, &text).is_err());
        assert!(opened(&root, (Sealed::Webhook, name.1), &text).is_err());
        assert!(opened(&root, name, &text[1..]).is_err());
        assert_ne!(sealed(&root, &random, name, &key).unwrap(), text);
    }
}
