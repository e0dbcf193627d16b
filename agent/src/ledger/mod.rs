//! Which proofs were used: the highest counter of each device key, advanced durably before the peer is let in.
//!
//! Keys are spread over parts; a part is held until its row is durable, so that rows of one key are written in the
//! order in which they were claimed, while other parts share the same flush.
//!
//! A key is filed under the first 20 bytes of its thumbprint ([`Name`]), so that key and row of the store fit inline
//! into sled's nodes. Two keys of one name would share a counter, which can only refuse more.

use tessera_runtime::store::{Batch, Store, StoreError, Table};
use tessera_token::chain::CounterUse;
use tessera_token::key::Thumbprint;
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;
use tokio::sync::Mutex;

use crate::limits;

mod former;
#[cfg(test)]
mod tests;

/// With its length in front and a [`Name`] behind it, what sled keeps without a box of its own: 22 bytes.
const TABLE: &str = "k";
const ROW_BYTES: usize = 12;

/// What a key is filed under.
type Name = [u8; 20];

/// The ledger of proof counters.
pub struct Ledger {
    store: Store,
    rows: Table,
    parts: Vec<Mutex<Part>>,
}

/// What is known of some keys.
#[derive(Default)]
struct Part {
    /// In the order of the names: few, so that a search by halves is as good as a hash.
    highest: Vec<(Name, u32)>,
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
        let rows = store.table(TABLE)?;
        former::bring_over(store, &rows)?;
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
        let name = name_of(&claim.key);
        let part = self.part(&name).ok_or(RefusalCode::Internal)?;
        let mut part = part.lock().await;
        let previous = match part.highest(&name) {
            Some(highest) => Some(highest),
            None if part.complete => None,
            None => self.stored(&name).map_err(|_| RefusalCode::NotReady)?,
        };
        if previous.is_some_and(|highest| claim.counter <= highest) {
            return Err(RefusalCode::ProofReplayed);
        }
        part.put(name, claim.counter);
        let mut batch = Batch::new();
        batch.put(&self.rows, name, row(claim.counter, now));
        let written = self.store.commit(batch).await;
        written.map_err(|_| RefusalCode::NotReady)?;
        Ok(Advanced { previous })
    }

    /// Whether this key was let in before; false also when that cannot be told without waiting.
    pub fn knows(&self, key: &Thumbprint) -> bool {
        let name = name_of(key);
        let Some(Ok(part)) = self.part(&name).map(Mutex::try_lock) else { return false };
        match part.highest(&name) {
            Some(_) => true,
            None if part.complete => false,
            None => self.rows.contains(name).unwrap_or(false),
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

    fn stored(&self, name: &Name) -> Result<Option<u32>, StoreError> {
        let Some(value) = self.rows.get(name)? else {
            return Ok(None);
        };
        Ok(Some(counter_of(&value)))
    }

    fn part(&self, name: &Name) -> Option<&Mutex<Part>> {
        self.parts.get(number_of(name))
    }
}

impl Part {
    fn highest(&self, name: &Name) -> Option<u32> {
        let place = self.place(name).ok()?;
        self.highest.get(place).map(|(_, highest)| *highest)
    }

    fn put(&mut self, name: Name, counter: u32) {
        match self.place(&name) {
            Ok(place) => {
                if let Some((_, highest)) = self.highest.get_mut(place) {
                    *highest = counter;
                }
            }
            Err(_) if self.highest.len() >= limits::LEDGER_PART_KEYS => {
                // Every row is in the store.
                self.highest.clear();
                self.complete = false;
                self.highest.push((name, counter));
            }
            Err(place) => {
                self.highest.reserve_exact(1);
                self.highest.insert(place, (name, counter));
            }
        }
    }

    fn place(&self, name: &Name) -> Result<usize, usize> {
        self.highest.binary_search_by(|(one, _)| one.cmp(name))
    }
}

fn name_of(key: &Thumbprint) -> Name {
    let [name @ .., _, _, _, _, _, _, _, _, _, _, _, _] = *key.as_bytes();
    name
}

fn number_of(name: &Name) -> usize {
    let [.., high, low] = *name;
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
            let Ok(name) = Name::try_from(key.as_slice()) else { continue };
            if let Some(part) = parts.get_mut(number_of(&name)) {
                part.put(name, counter_of(value));
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

/// A damaged row lets nobody in with this key.
fn counter_of(row: &[u8]) -> u32 {
    read(row).map_or(u32::MAX, |(counter, _)| counter)
}

fn read(row: &[u8]) -> Option<(u32, UnixSeconds)> {
    let (counter, used) = row.split_first_chunk::<4>()?;
    let used: [u8; 8] = used.try_into().ok()?;
    Some((u32::from_be_bytes(*counter), UnixSeconds::new(u64::from_be_bytes(used))))
}
