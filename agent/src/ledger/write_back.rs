//! Writes the used proofs of seconds that may come again to rows, and takes those seconds out of the reserve.
//!
//! The time may have been wrong when it is above one that this process, or the one before it, went by. After a crash all
//! reserved seconds are closed: those of a wrong time would be closed again when real time passes them. With rows of their own the
//! proofs are known instead. In this order:
//!
//! 1. The reserve keeps the seconds around the present; the others are not relied on any more, and stay on the disk.
//! 2. Part by part, the proofs that have no row yet are queued while the part is held. A proof that was taken before is
//!    among them; a later one of these seconds reserves them anew.
//! 3. When all rows are durable, the reserve is written without the others.

use std::sync::atomic::Ordering;

use tessera_runtime::store::StoreError;
use tessera_token::time::UnixSeconds;
use tokio::sync::oneshot;

use super::ranges::Ranges;
use super::reserve::Kept;
use super::{second_of, Ledger};
use crate::limits;

impl Ledger {
    /// One step, to be called every few seconds. It does nothing while the time is the lowest that this process went by.
    /// False when there is more to do: the reserve is being written, or there are more proofs than one step writes.
    ///
    /// # Errors
    /// [`StoreError`]; the seconds stay reserved.
    pub async fn write_back(&self, now: UnixSeconds) -> Result<bool, StoreError> {
        let low = self.low_water.at(now, self.monotonic().as_secs());
        self.reserve.note_low(second_of(low));
        let may_come_again = now.get() > low.get().saturating_add(limits::LEDGER_WRITE_BACK_AFTER);
        if !may_come_again && !self.is_written_back.load(Ordering::Relaxed) {
            return Ok(true);
        }
        let unwritten: usize = self.parts.iter().map(|part| part.lock().unwritten()).sum();
        if unwritten > limits::LEDGER_WRITE_BACK_ENTRIES {
            // A part of them now, so that the rest fits the next step.
            self.metrics.limit("write_back");
            self.write_places(Some(limits::LEDGER_WRITE_BACK_ENTRIES)).await?;
            return Ok(false);
        }
        if !self.keep_the_present(second_of(now)).await? {
            return Ok(false);
        }
        // The last step is one under the time that was right.
        self.is_written_back.store(may_come_again, Ordering::Relaxed);
        if !may_come_again {
            self.reserve.end_write_back();
            self.parts.iter().for_each(|part| part.lock().forget_written());
        }
        Ok(true)
    }

    /// Writes the proofs of all seconds but those around the present, and lets these seconds go. Whether it came to that:
    /// while the reserve is written it does not.
    async fn keep_the_present(&self, present: u32) -> Result<bool, StoreError> {
        let first = present.saturating_sub(limits::LEDGER_WRITE_BACK_KEEP);
        match self.reserve.keep(first, present.saturating_add(limits::LEDGER_RESERVE_SELDOM)) {
            Kept::Busy => Ok(false),
            Kept::All => Ok(true),
            Kept::Some => {
                let written = self.write_places(None).await;
                self.reserve.leave(written.as_ref());
                written.map(|_| true)
            }
        }
    }

    /// Writes the places that have no row, `most` of them or all. Returns the seconds that are closed: what was forgotten
    /// before has none.
    async fn write_places(&self, most: Option<usize>) -> Result<Ranges, StoreError> {
        let written = self.queue_places(most).await;
        if written.is_err() {
            self.parts.iter().for_each(|part| part.lock().forget_written());
        }
        written
    }

    async fn queue_places(&self, most: Option<usize>) -> Result<Ranges, StoreError> {
        let (mut told, mut room) = (Vec::new(), most.unwrap_or(usize::MAX));
        let closed = {
            // Nothing is forgotten between a proof and its row.
            let _one = self.forgetting.lock();
            for part in &self.parts {
                let mut part = part.lock();
                let Some(left) = room.checked_sub(part.unwritten()) else { continue };
                room = left;
                let places = part.take_unwritten();
                if places.is_empty() {
                    continue;
                }
                let (tell, row) = oneshot::channel();
                // Queued while the part is held: a later row of the same name is written later.
                let queued = self.ahead.put_all(&places, move |written| drop(tell.send(written)));
                queued.map_err(|(error, _)| error)?;
                told.push(row);
            }
            (*self.closed.load_full()).clone()
        };
        for row in told {
            row.await.unwrap_or(Err(StoreError::Poisoned))?;
        }
        Ok(closed)
    }
}
