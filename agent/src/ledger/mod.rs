//! Which proofs were used: the highest counter of each device key, advanced durably before the peer is let in.
//!
//! Keys are spread over parts; a part is held until its row is durable, so that rows of one key are written in the
//! order in which they were claimed, while other parts share the same flush.

use std::collections::HashMap;

use tessera_runtime::store::{Batch, Store, StoreError, Table};
use tessera_token::chain::CounterUse;
use tessera_token::key::Thumbprint;
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;
use tokio::sync::Mutex;

use crate::limits;

#[cfg(test)]
mod tests;

const ROW_BYTES: usize = 12;

/// The ledger of proof counters.
pub struct Ledger {
    store: Store,
    rows: Table,
    parts: Vec<Mutex<Part>>,
}

/// What is known of some keys.
#[derive(Default)]
struct Part {
    highest: HashMap<Thumbprint, u32>,
    /// A key that is not here has no row.
    complete: bool,
}

/// A counter that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advanced {
    /// The highest counter before; `None` when the key was never seen.
    pub previous: Option<u32>,
}

impl Ledger {
    /// The ledger in `store`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn new(store: &Store) -> Result<Self, StoreError> {
        let rows = store.table("proof_counters")?;
        let parts = load(&rows)?.into_iter().map(Mutex::new).collect();
        Ok(Self { store: store.clone(), rows, parts })
    }

    /// Takes the counter, once and for all: of many callers with the same counter exactly one is let through.
    ///
    /// Cancel-safe: a counter may then be used up without anybody having been let in.
    ///
    /// # Errors
    /// `proof_replayed` when the counter is not above the highest one; `not_ready` when the store cannot read or write,
    /// and nobody is let in.
    pub async fn advance(
        &self,
        claim: CounterUse,
        now: UnixSeconds,
    ) -> Result<Advanced, RefusalCode> {
        let part = self.part(&claim.key).ok_or(RefusalCode::Internal)?;
        let mut part = part.lock().await;
        let previous = match part.highest.get(&claim.key) {
            Some(highest) => Some(*highest),
            None if part.complete => None,
            None => self.stored(&claim.key).map_err(|_| RefusalCode::NotReady)?,
        };
        if previous.is_some_and(|highest| claim.counter <= highest) {
            return Err(RefusalCode::ProofReplayed);
        }
        part.put(claim.key, claim.counter);
        let mut batch = Batch::new();
        batch.put(&self.rows, claim.key.as_bytes(), row(claim.counter, now));
        let written = self.store.commit(batch).await;
        written.map_err(|_| RefusalCode::NotReady)?;
        Ok(Advanced { previous })
    }

    /// Whether this key was let in before; false also when that cannot be told without waiting.
    pub fn knows(&self, key: &Thumbprint) -> bool {
        let Some(Ok(part)) = self.part(key).map(Mutex::try_lock) else { return false };
        match part.highest.contains_key(key) {
            true => true,
            false if part.complete => false,
            false => self.rows.contains(key.as_bytes()).unwrap_or(false),
        }
    }

    /// Removes rows of keys that were not used for longer than any token lives, among at most
    /// [`limits::LEDGER_PRUNE_ROWS`] rows behind `after`. Returns where to go on; `None` at the end.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn prune(
        &self,
        after: Option<Vec<u8>>,
        now: UnixSeconds,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let page = self.rows.scan_prefix(&[], after.as_deref(), limits::LEDGER_PRUNE_ROWS)?;
        let oldest = now.minus(limits::LEDGER_KEEP_SECONDS);
        let mut batch = Batch::new();
        for (key, value) in &page {
            let used = read(value).map(|(_, used)| used);
            if used.is_some_and(|used| used < oldest) {
                // Only as it was read: a proof that comes in at this moment keeps its row.
                batch.expect(&self.rows, key, Some(value.clone()));
                batch.delete(&self.rows, key);
            }
        }
        match self.store.commit(batch).await {
            Ok(()) | Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(page.into_iter().next_back().map(|(key, _)| key))
    }

    fn stored(&self, key: &Thumbprint) -> Result<Option<u32>, StoreError> {
        let Some(value) = self.rows.get(key.as_bytes())? else {
            return Ok(None);
        };
        // A damaged row lets nobody in with this key.
        Ok(Some(read(&value).map_or(u32::MAX, |(counter, _)| counter)))
    }

    fn part(&self, key: &Thumbprint) -> Option<&Mutex<Part>> {
        self.parts.get(number_of(key))
    }
}

impl Part {
    fn put(&mut self, key: Thumbprint, counter: u32) {
        if self.highest.len() >= limits::LEDGER_PART_KEYS && !self.highest.contains_key(&key) {
            // Every row is in the store.
            self.highest.clear();
            self.complete = false;
        }
        self.highest.insert(key, counter);
    }
}

fn number_of(key: &Thumbprint) -> usize {
    let [.., high, low] = *key.as_bytes();
    usize::from(u16::from_be_bytes([high, low])) % limits::LEDGER_PARTS
}

/// Reads every row when there are not too many, so that most keys are never looked up in the store.
fn load(rows: &Table) -> Result<Vec<Part>, StoreError> {
    let mut parts: Vec<Part> = Vec::new();
    parts.resize_with(limits::LEDGER_PARTS, || Part { complete: true, ..Part::default() });
    let (mut after, mut read_so_far) = (None, 0);
    loop {
        let page = rows.scan_prefix(&[], after.as_deref(), limits::LEDGER_PRUNE_ROWS)?;
        read_so_far += page.len();
        if read_so_far > limits::LEDGER_LOADED_ROWS {
            return Ok((0..limits::LEDGER_PARTS).map(|_| Part::default()).collect());
        }
        for (key, value) in &page {
            let Ok(key) = <[u8; 32]>::try_from(key.as_slice()) else { continue };
            let key = Thumbprint::from_bytes(key);
            if let Some(part) = parts.get_mut(number_of(&key)) {
                // A damaged row lets nobody in with this key.
                part.put(key, read(value).map_or(u32::MAX, |(counter, _)| counter));
            }
        }
        match page.into_iter().next_back() {
            Some((last, _)) => after = Some(last),
            None => return Ok(parts),
        }
    }
}

fn row(counter: u32, now: UnixSeconds) -> Vec<u8> {
    let mut row = Vec::with_capacity(ROW_BYTES);
    row.extend_from_slice(&counter.to_be_bytes());
    row.extend_from_slice(&now.get().to_be_bytes());
    row
}

fn read(row: &[u8]) -> Option<(u32, UnixSeconds)> {
    let (counter, used) = row.split_first_chunk::<4>()?;
    let used: [u8; 8] = used.try_into().ok()?;
    Some((u32::from_be_bytes(*counter), UnixSeconds::new(u64::from_be_bytes(used))))
}
