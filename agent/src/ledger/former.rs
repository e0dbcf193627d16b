//! Rows of a former version: a row for each key with the highest counter it had used and when, in the table `k`, and
//! before that in `proof_counters`. Its counters rose with every proof, so a proof of such a key is new when its counter is
//! above, or when it was made after what could be used at that time.

use std::time::Duration;

use hashbrown::HashMap;
use tessera_runtime::store::{Batch, Store, StoreError};
use tessera_token::chain::ProofUse;
use tessera_token::limits::PROOF_WINDOW_SECONDS;
use tessera_token::time::UnixSeconds;

use super::ranges::Ranges;
use super::second_of;
use crate::limits;

const TABLES: [&str; 2] = ["k", "proof_counters"];
const WINDOW: u32 = PROOF_WINDOW_SECONDS as u32;

type FormerName = [u8; 20];

/// The rows of a former version, until none of their proofs can be fresh.
pub(super) struct Former {
    /// The counter, and the last second of a proof that it may have been used with.
    keys: HashMap<FormerName, (u32, u32)>,
    seconds: Ranges,
    /// More keys than are held: all their seconds are closed.
    pub(super) too_many: bool,
    last: u32,
    since: Duration,
}

impl Former {
    /// `None` when there is no row.
    pub(super) fn load(
        store: &Store,
        now: UnixSeconds,
        since: Duration,
    ) -> Result<Option<Self>, StoreError> {
        let mut former = Self {
            keys: HashMap::new(),
            seconds: Ranges::default(),
            too_many: false,
            last: 0,
            since,
        };
        let mut is_empty = true;
        for table in TABLES {
            let table = store.table(table)?;
            let mut after: Option<Vec<u8>> = None;
            loop {
                let page = table.scan_prefix(&[], after.as_deref(), limits::LEDGER_STEP_ROWS)?;
                for (key, value) in &page {
                    is_empty = false;
                    former.add(key, value, second_of(now));
                }
                match page.into_iter().next_back() {
                    Some((last, _)) => after = Some(last),
                    None => break,
                }
            }
        }
        if is_empty {
            return Ok(None);
        }
        tracing::info!(
            keys = former.keys.len(),
            "proof counters of a former version are held until they are over"
        );
        Ok(Some(former))
    }

    /// Whether the proof may be one that the former version took.
    pub(super) fn has_used(&self, proof: &ProofUse) -> bool {
        let Some(name) = proof.key.as_bytes().first_chunk::<20>() else { return true };
        let used = self.keys.get(name);
        used.is_some_and(|(counter, last)| {
            proof.place.counter() <= *counter && proof.place.second() <= *last
        })
    }

    /// The seconds of all that it took.
    pub(super) fn seconds(&self) -> &Ranges {
        &self.seconds
    }

    /// Whether none of its proofs can be fresh.
    pub(super) fn is_over(&self, now: UnixSeconds, monotonic: Duration) -> bool {
        let held = monotonic.saturating_sub(self.since).as_secs();
        held >= limits::LEDGER_REMEMBER_SECONDS && self.last.saturating_add(WINDOW) < second_of(now)
    }

    fn add(&mut self, key: &[u8], value: &[u8], now: u32) {
        let Some(name) = key.first_chunk::<20>() else { return };
        // Of a damaged row neither is known: it holds whatever can be fresh now.
        let (counter, used) = read(value).unwrap_or((u32::MAX, now));
        let last = used.saturating_add(WINDOW);
        self.last = self.last.max(last);
        self.seconds.add(used.saturating_sub(WINDOW), last);
        if self.keys.len() >= limits::LEDGER_FORMER_KEYS && !self.keys.contains_key(name) {
            self.too_many = true;
            return;
        }
        let held = self.keys.entry(*name).or_insert((counter, last));
        *held = (held.0.max(counter), held.1.max(last));
    }
}

/// Counter and second of use.
fn read(value: &[u8]) -> Option<(u32, u32)> {
    let (counter, used) = value.split_first_chunk::<4>()?;
    let used = u64::from_be_bytes(used.try_into().ok()?);
    Some((u32::from_be_bytes(*counter), second_of(UnixSeconds::new(used))))
}

/// Removes a page of rows. Whether there may be more.
pub(super) async fn remove_page(store: &Store) -> Result<bool, StoreError> {
    for table in TABLES {
        let table = store.table(table)?;
        let page = table.scan_prefix(&[], None, limits::LEDGER_STEP_ROWS)?;
        if page.is_empty() {
            continue;
        }
        let mut batch = Batch::new();
        page.iter().for_each(|(key, _)| batch.delete(&table, key));
        store.commit(batch).await?;
        return Ok(true);
    }
    Ok(false)
}
