use tessera_token::hash::sha256;
use tessera_token::ids::ClientId;
use tessera_token::key::Thumbprint;

use crate::limits::LEDGER_PARTS;

/// Key of proofs in the ledger: 16 bytes of a hash, of which the first is that of the key for all its client ids, so that
/// they are in one part. Two of one name would share their places, which can only refuse more.
pub(super) type Name = [u8; 16];

/// The key that made the proof.
pub(super) struct Who {
    /// The key.
    pub(super) key: Name,
    /// The key with the suffix of the client id; `None` without one.
    pub(super) client: Option<Name>,
}

impl Who {
    pub(super) fn of(key: &Thumbprint, client_id: &ClientId) -> Self {
        let whole = key.as_bytes();
        let suffix = client_id.as_str().get(client_id.subject().len()..).unwrap_or_default();
        let client = (!suffix.is_empty()).then(|| {
            let digest = sha256(&[whole.as_slice(), suffix.as_bytes()].concat());
            let mut name = head(&digest);
            name[0] = whole[0];
            name
        });
        Self { key: head(whole), client }
    }

    /// The name that further client ids of a key share when it has too many.
    pub(super) fn shared(&self) -> Name {
        let mut name = self.key.map(|byte| !byte);
        name[0] = self.key[0];
        name
    }
}

/// The part that a name belongs to.
pub(super) fn part_of(name: &Name) -> usize {
    usize::from(name[0]) % LEDGER_PARTS
}

fn head(bytes: &[u8; 32]) -> Name {
    let [head @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = *bytes;
    head
}
