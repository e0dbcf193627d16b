//! The bytes that one session holds of the share of its device.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Account, Kind};
use crate::limits::{SHARE_FREE, SHARE_STEP};

/// Bytes that wait in the queue of a session, and bytes that are under way. The first [`SHARE_FREE`] count for no
/// share; the rest is taken in steps of [`SHARE_STEP`], so that most changes look at this session's own numbers alone.
pub(crate) struct Holding {
    account: Option<Arc<Account>>,
    /// In the queue. Set by the queue, under its lock.
    queued: AtomicUsize,
    /// Taken out of the queue and not acknowledged, or received and not released.
    under_way: AtomicUsize,
    /// Bytes that were taken of the share.
    granted: AtomicUsize,
    /// Held while `granted` changes.
    change: Mutex<()>,
}

impl Holding {
    /// Of this account; without one, nothing is bounded.
    pub(crate) fn of(account: Option<Arc<Account>>) -> Self {
        let [queued, under_way, granted] = [(); 3].map(|()| AtomicUsize::new(0));
        Self { account, queued, under_way, granted, change: Mutex::new(()) }
    }

    pub(crate) fn account(&self) -> Option<&Arc<Account>> {
        self.account.as_ref()
    }

    /// The queue is about to hold so many bytes; false when the share does not have them.
    pub(crate) fn grow_queue(&self, queued: usize) -> bool {
        let before = self.queued.swap_plain(queued);
        let covered = self.cover();
        if !covered {
            self.queued.store(before, Ordering::Relaxed);
        }
        covered
    }

    /// The queue holds so many bytes now, fewer than before or those of before a restart; so many more are under way.
    pub(crate) fn set_queue(&self, queued: usize, under_way: usize) {
        if under_way > 0 {
            self.under_way.fetch_add(under_way, Ordering::Relaxed);
        }
        self.queued.store(queued, Ordering::Relaxed);
        self.settle();
    }

    /// So many bytes are about to be under way that did not come out of the queue; false when the share does not have
    /// them.
    pub(crate) fn begin(&self, bytes: usize) -> bool {
        self.under_way.fetch_add(bytes, Ordering::Relaxed);
        let covered = self.cover();
        if !covered {
            self.under_way.fetch_sub(bytes, Ordering::Relaxed);
        }
        covered
    }

    /// So many bytes are under way no more.
    pub(crate) fn end(&self, bytes: usize) {
        if bytes > 0 {
            let before = self.under_way.fetch_sub(bytes, Ordering::Relaxed);
            debug_assert!(before >= bytes, "{bytes} bytes end, and {before} are under way");
            self.settle();
        }
    }

    /// So many bytes were restored: they are there, whatever the share says.
    pub(crate) fn restore(&self, queued: usize, under_way: usize) {
        let Some(account) = &self.account else { return };
        let _change = self.change.lock();
        self.queued.fetch_add(queued, Ordering::Relaxed);
        self.under_way.fetch_add(under_way, Ordering::Relaxed);
        let granted = self.granted.load(Ordering::Relaxed);
        let wanted = self.wanted();
        if wanted > granted {
            account.force(Kind::QueuedBytes, wanted - granted);
            self.granted.store(wanted, Ordering::Relaxed);
        }
    }

    fn held(&self) -> usize {
        self.queued.load(Ordering::Relaxed).saturating_add(self.under_way.load(Ordering::Relaxed))
    }

    /// The bytes that must be taken of the share for those that are held.
    fn wanted(&self) -> usize {
        self.held().saturating_sub(SHARE_FREE).div_ceil(SHARE_STEP).saturating_mul(SHARE_STEP)
    }

    fn cover(&self) -> bool {
        let Some(account) = &self.account else { return true };
        if self.held() <= SHARE_FREE + self.granted.load(Ordering::Relaxed) {
            return true;
        }
        let _change = self.change.lock();
        let (granted, wanted) = (self.granted.load(Ordering::Relaxed), self.wanted());
        let covered = wanted <= granted || account.take(Kind::QueuedBytes, wanted - granted);
        if covered {
            self.granted.store(granted.max(wanted), Ordering::Relaxed);
        }
        covered
    }

    /// Gives back bytes that are not needed: all of them once little is held, or else those above a few steps.
    fn settle(&self) {
        let granted = self.granted.load(Ordering::Relaxed);
        if granted == 0 || !is_spare(granted, self.wanted()) {
            return;
        }
        let Some(account) = &self.account else { return };
        let _change = self.change.lock();
        let (granted, wanted) = (self.granted.load(Ordering::Relaxed), self.wanted());
        if wanted < granted {
            account.give_back(Kind::QueuedBytes, granted - wanted);
            self.granted.store(wanted, Ordering::Relaxed);
        }
    }
}

const SPARE_STEPS: usize = 4;

fn is_spare(granted: usize, wanted: usize) -> bool {
    wanted == 0 || granted >= wanted.saturating_add(SPARE_STEPS * SHARE_STEP)
}

trait SwapPlain {
    /// A load and a store: for a number that one lock guards.
    fn swap_plain(&self, value: usize) -> usize;
}

impl SwapPlain for AtomicUsize {
    fn swap_plain(&self, value: usize) -> usize {
        let before = self.load(Ordering::Relaxed);
        self.store(value, Ordering::Relaxed);
        before
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        if let Some(account) = &self.account {
            account.give_back(Kind::QueuedBytes, self.granted.load(Ordering::Relaxed));
        }
    }
}
