//! Which proofs were used: the highest counter of each device key, advanced durably before the peer is let in.
//!
//! Keys are spread over parts; a part is held while its row is queued, so that rows of one key are written in the order
//! in which they were claimed, and all share the next flush.
//!
//! A key is filed under the first 20 bytes of its thumbprint ([`Name`]), so that key and row of the store fit inline
//! into sled's nodes. Two keys of one name would share a counter, which can only refuse more.

use std::sync::Arc;

use parking_lot::Mutex;
use tessera_runtime::store::{Batch, Store, StoreError, Table};
use tessera_token::chain::CounterUse;
use tessera_token::key::Thumbprint;
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;
use tokio::sync::oneshot;

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
    /// Whose rows are on their way to the store, once for each row.
    queued: Vec<Name>,
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

    /// Takes the counter, once and for all: of many callers with the same counter exactly one is let through. `then` is
    /// told how it went: at once when it is refused, by the thread that writes once the row is durable. It must not
    /// wait.
    ///
    /// A counter may be used up without anybody having been let in. Refused are: `proof_replayed`, when the counter is
    /// not above the highest one; `not_ready`, when the store cannot read or write, or has too much to write.
    pub fn advance_then<F>(self: &Arc<Self>, claim: CounterUse, now: UnixSeconds, then: F)
    where
        F: FnOnce(Result<Advanced, RefusalCode>) + Send + 'static,
    {
        let name = name_of(&claim.key);
        let Some(part) = self.part(&name) else { return then(Err(RefusalCode::Internal)) };
        let mut part = part.lock();
        let previous = match self.previous(&part, &name) {
            Ok(Some(highest)) if claim.counter <= highest => Err(RefusalCode::ProofReplayed),
            Ok(previous) => Ok(previous),
            Err(_) => Err(RefusalCode::NotReady),
        };
        let previous = match previous {
            Ok(previous) => previous,
            Err(code) => {
                drop(part);
                return then(Err(code));
            }
        };
        part.put(name, claim.counter);
        part.queued.push(name);
        let mut batch = Batch::new();
        batch.put(&self.rows, name, row(claim.counter, now));
        let ledger = Arc::clone(self);
        let queued = self.store.commit_then(batch, move |written| {
            ledger.written(&name);
            then(written.map(|()| Advanced { previous }).map_err(|_| RefusalCode::NotReady));
        });
        drop(part);
        if let Err((error, then)) = queued {
            then(Err(error));
        }
    }

    /// As [`Ledger::advance_then`], for code that waits.
    ///
    /// # Errors
    /// As there.
    pub async fn advance(
        self: &Arc<Self>,
        claim: CounterUse,
        now: UnixSeconds,
    ) -> Result<Advanced, RefusalCode> {
        let (tell, told) = oneshot::channel();
        // Who asked may have gone meanwhile.
        self.advance_then(claim, now, |advanced| {
            let _ = tell.send(advanced);
        });
        told.await.unwrap_or(Err(RefusalCode::NotReady))
    }

    /// Whether this key was let in before; false also when that cannot be told without waiting.
    pub fn knows(&self, key: &Thumbprint) -> bool {
        let name = name_of(key);
        let Some(Some(part)) = self.part(&name).map(Mutex::try_lock) else { return false };
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

    fn previous(&self, part: &Part, name: &Name) -> Result<Option<u32>, StoreError> {
        match part.highest(name) {
            Some(highest) => Ok(Some(highest)),
            None if part.complete => Ok(None),
            None => Ok(self.rows.get(name)?.map(|value| counter_of(&value))),
        }
    }

    /// A row of this name is in the store, or never will be.
    fn written(&self, name: &Name) {
        let Some(mut part) = self.part(name).map(Mutex::lock) else { return };
        if let Some(place) = part.queued.iter().position(|one| one == name) {
            part.queued.swap_remove(place);
        }
        if part.queued.is_empty() {
            // Many parts, most of them at rest.
            part.queued = Vec::new();
        }
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
                // The others are read from the store.
                let Self { highest, queued, .. } = self;
                highest.retain(|(name, _)| queued.contains(name));
                self.complete = false;
                self.put_new(name, counter);
            }
            Err(_) => self.put_new(name, counter),
        }
    }

    fn put_new(&mut self, name: Name, counter: u32) {
        if let Err(place) = self.place(&name) {
            self.highest.reserve_exact(1);
            self.highest.insert(place, (name, counter));
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
