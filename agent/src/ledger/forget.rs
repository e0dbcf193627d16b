use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use tessera_runtime::store::StoreError;
use tessera_token::limits::PROOF_WINDOW_SECONDS;
use tessera_token::time::UnixSeconds;

use super::memory::{bucket_of, seconds_of};
use super::{ahead, former, second_of, Ledger};
use crate::limits;

/// Memory of one bucket, over all parts.
#[derive(Default, Clone, Copy)]
struct Held {
    entries: usize,
    used: u64,
}

impl Ledger {
    /// Forgets when memory is full. In its time that is done by [`Ledger::clean`], which no CONNECT waits for.
    pub(super) fn look(&self, now: UnixSeconds) {
        let entries = self.entries.load(Ordering::Relaxed);
        if entries <= limits::LEDGER_ENTRIES {
            return;
        }
        let is_later = self.looked.load(Ordering::Relaxed) != bucket_of(second_of(now));
        if is_later || entries > self.look_at.load(Ordering::Relaxed) {
            self.forget(now);
        }
    }

    /// Forgets what cannot be fresh any more, and more when memory is full. It closes seconds before it forgets them.
    pub(super) fn forget(&self, now: UnixSeconds) {
        // One at a time; a second caller has nothing to add.
        let Some(_one) = self.forgetting.try_lock() else { return };
        self.looked.store(bucket_of(second_of(now)), Ordering::Relaxed);
        let held = self.held();
        let low = self.low_water.at(now, self.monotonic().as_secs());
        let mut going = self.over(&held, low);
        let entries = |buckets: &[u32]| -> usize {
            buckets.iter().filter_map(|bucket| held.get(bucket)).map(|held| held.entries).sum()
        };
        let all: usize = held.values().map(|held| held.entries).sum();
        if all - entries(&going) > limits::LEDGER_ENTRIES {
            // Proofs that could only be fresh by the lower time make way first.
            going = self.over(&held, now);
        }
        let before = going.len();
        for bucket in in_order_of_use(&held, now) {
            if all - entries(&going) <= limits::LEDGER_ENTRIES {
                break;
            }
            if !going.contains(&bucket) {
                going.push(bucket);
            }
        }
        if going.len() > before {
            self.metrics.limit("entries");
            tracing::warn!(
                entries = all,
                "too many connect proofs to remember: slow clocks are refused"
            );
        }
        self.close(&going);
        // When all that is left is of the present, a look for each proof would find nothing.
        let left = self.entries.load(Ordering::Relaxed) + limits::LEDGER_ENTRIES / 64;
        self.look_at.store(left.max(limits::LEDGER_ENTRIES), Ordering::Relaxed);
    }

    /// Removes a page of rows that say nothing any more, behind `after`. Returns where to go on; `None` at the end.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn clean(
        &self,
        after: Option<Vec<u8>>,
        now: UnixSeconds,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.forget(now);
        self.end_doubt(now).await?;
        let page = self.ahead.page(after.as_deref())?;
        let closed = self.closed.load_full();
        let is_closed = |bucket: Option<u32>| {
            let seconds = bucket.map_or((0, u32::MAX), seconds_of);
            closed.covers_all(seconds.0, seconds.1)
        };
        let next = page.last().map(|(key, _)| key.clone());
        let gone: Vec<_> = page.into_iter().filter(|row| is_closed(ahead::bucket(row))).collect();
        if !gone.is_empty() {
            // After a crash they are to be closed too.
            self.reserve.cover_all(&closed).await?;
            self.ahead.remove(&gone).await?;
        }
        Ok(next)
    }

    /// Closes what is in doubt since the start when that has lasted long enough, durably. Until then it stays in doubt.
    async fn end_doubt(&self, now: UnixSeconds) -> Result<(), StoreError> {
        let Some(doubt) = &self.doubt else { return Ok(()) };
        let Some(due) = doubt.due(now, self.monotonic()) else { return Ok(()) };
        self.reserve.cover_all(&due).await?;
        self.closed.rcu(|closed| {
            let mut closed = (**closed).clone();
            closed.add_all(&due);
            closed
        });
        doubt.end();
        Ok(())
    }

    /// Lets go of what a former version left, once none of its proofs can be fresh, and removes a page of its rows.
    /// Whether there may be more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn clean_former(&self, now: UnixSeconds) -> Result<bool, StoreError> {
        if let Some(former) = self.former.load_full() {
            if !former.is_over(now, self.monotonic()) {
                return Ok(false);
            }
            self.reserve.cover_all(former.seconds()).await?;
            self.closed.rcu(|closed| {
                let mut closed = (**closed).clone();
                closed.add_all(former.seconds());
                closed
            });
            self.former.store(None);
        }
        former::remove_page(&self.store).await
    }

    /// The buckets of which no proof can be fresh, nor could any be on its way.
    fn over(&self, held: &BTreeMap<u32, Held>, now: UnixSeconds) -> Vec<u32> {
        let monotonic = self.monotonic().as_secs();
        let over = |bucket: u32, held: &Held| {
            let last = u64::from(seconds_of(bucket).1);
            last + PROOF_WINDOW_SECONDS < now.get()
                && held.used + limits::LEDGER_REMEMBER_SECONDS <= monotonic
        };
        held.iter()
            .filter(|(bucket, held)| over(**bucket, held))
            .map(|(bucket, _)| *bucket)
            .collect()
    }

    fn held(&self) -> BTreeMap<u32, Held> {
        let mut all: BTreeMap<u32, Held> = BTreeMap::new();
        for part in &self.parts {
            for (number, bucket) in part.lock().buckets() {
                let held = all.entry(number).or_default();
                held.entries += bucket.places.len();
                held.used = held.used.max(bucket.used);
            }
        }
        all
    }

    fn close(&self, buckets: &[u32]) {
        if buckets.is_empty() {
            return;
        }
        self.closed.rcu(|closed| {
            let mut closed = (**closed).clone();
            for (first, last) in buckets.iter().map(|bucket| seconds_of(*bucket)) {
                closed.add(first, last);
            }
            closed
        });
        for part in &self.parts {
            let gone = part.lock().forget(buckets);
            self.entries.fetch_sub(gone, Ordering::Relaxed);
        }
    }
}

/// The part that is forgotten first when memory is full: what is not fresh, longest unused first, then the oldest of what is. The present
/// stays.
fn in_order_of_use(held: &BTreeMap<u32, Held>, now: UnixSeconds) -> Vec<u32> {
    let present = bucket_of(second_of(now));
    let window = 1 + (PROOF_WINDOW_SECONDS as u32) / limits::LEDGER_BUCKET_SECONDS;
    let fresh = present.saturating_sub(window)..=present.saturating_add(window);
    let mut order: Vec<_> =
        held.iter().filter(|(bucket, _)| !(present..=*fresh.end()).contains(*bucket)).collect();
    order.sort_by_key(|(bucket, held)| match fresh.contains(*bucket) {
        false => (false, held.used, **bucket),
        true => (true, 0, **bucket),
    });
    order.into_iter().map(|(bucket, _)| *bucket).collect()
}
