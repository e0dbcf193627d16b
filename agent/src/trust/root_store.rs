//! The roots of a verifier at rest: the links that were taken.

use tessera_runtime::store::{Batch, StoreError, Table};
use tessera_token::key::Thumbprint;
use tessera_token::trust::{root_beside, RootSet, Roots};

use super::refusal::TrustRefusal;
use super::root_line::RootLine;
use super::state::TrustState;
use super::store::{piece_key, rows, TrustStore, TrustStoreError};

/// The line of the stored links, from these roots.
pub(super) fn stored_line(links: &Table, pinned: Roots) -> Result<RootLine, StoreError> {
    let taken: Vec<Vec<u8>> = rows(links)?.into_iter().map(|(_, link)| link).collect();
    match RootLine::of(pinned, taken) {
        // The operator has pinned a root of another line, or one to which a link leads that is still to come. Data under
        // these links are held.
        Err(TrustRefusal::Root) => {
            tracing::error!(
                "the stored root links do not hold the pinned root key: nothing is decided before a snapshot of that key"
            );
            Ok(RootLine::pinned(pinned))
        }
        Err(refusal) => {
            let why = format!("root links: {refusal}");
            Err(StoreError::Damaged { table: "trust_links", why })
        }
        Ok(line) => Ok(line),
    }
}

impl TrustStore {
    /// The root key that signs trust data now: the pinned one, or the one to which links have led.
    pub fn pin(&self) -> Thumbprint {
        self.roots().roots().online
    }

    /// The roots that are trusted now.
    pub fn roots(&self) -> RootSet {
        self.line.read().set()
    }

    /// Follows the links in front of a snapshot, and gives whether they lead on. The new roots are durable before they count.
    ///
    /// # Errors
    /// [`TrustStoreError`]; then the roots stay as they are.
    pub fn follow_links(&self, links: &[Vec<u8>]) -> Result<bool, TrustStoreError> {
        let Some(line) = self.line.read().followed(links)? else { return Ok(false) };
        let mut batch = Batch::new();
        for (key, _) in rows(&self.links)? {
            batch.delete(&self.links, key);
        }
        for (place, link) in line.links().iter().enumerate() {
            batch.put(&self.links, piece_key(place), link.as_slice());
        }
        self.store.commit_blocking(batch)?;
        *self.line.write() = line;
        Ok(true)
    }

    /// The snapshot under the root that signed it. Links may have led on since, and a power cut may have come before the next
    /// snapshot: then it counts on until that is there, and nothing else of the former root is taken. One of a root outside the
    /// line is held ([`TrustState::is_held`]).
    pub(super) fn stored_snapshot(
        &self,
        empty: &TrustState,
        snapshot: &[u8],
    ) -> Result<TrustState, TrustRefusal> {
        let pin = root_beside(snapshot)?.thumbprint();
        let mut state = empty.with_stored(snapshot, &pin)?;
        if !self.line.read().online().contains(&pin) {
            tracing::error!(
                root = ?pin,
                pinned = ?self.pin(),
                "the stored trust data are of a root key that no link joins to the pinned one: nothing is decided by them, and their revocations stay"
            );
            state.held = true;
        }
        Ok(state)
    }
}
