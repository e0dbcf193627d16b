//! Snapshots of some tenants that can be served again, and the queues of the requests that wait for one
//! ([`crate::feed::bound`] makes them).
//!
//! Requests of one share ([`crate::operators::Operator::share`]) wait for each other first, so that a customer that asks a
//! thousand times stands in the common queue once.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tessera_token::limits::SNAPSHOT_BYTES;
use tessera_token::trust::TenantSetId;
use tokio::sync::{Mutex as Queue, OwnedMutexGuard};

use crate::limits::{SNAPSHOTS_BOUND, SNAPSHOT_REUSE_SECONDS};

/// Those that can be served again, the oldest first, and the turns of those that are made.
#[derive(Clone, Default)]
pub(crate) struct BoundSnapshots {
    turn: Arc<Queue<()>>,
    shares: Shares,
    made: Arc<Mutex<VecDeque<Made>>>,
}

/// The queue of each share, and how many are in it.
type Shares = Arc<Mutex<HashMap<String, (usize, Arc<Queue<()>>)>>>;

/// A request in the queue of its share; forgotten when dropped.
struct Queued {
    share: String,
    shares: Shares,
}

/// The turn of a request among those of its share.
pub(crate) struct OfShare {
    _first: OwnedMutexGuard<()>,
    /// Dropped last: the queue is not forgotten while it is held.
    _queued: Queued,
}

impl Drop for Queued {
    fn drop(&mut self) {
        let mut shares = self.shares.lock();
        if let Some((count, _)) = shares.get_mut(&self.share) {
            *count -= 1;
            if *count == 0 {
                shares.remove(&self.share);
            }
        }
    }
}

/// A snapshot that was made.
pub(crate) struct Made {
    pub(crate) tenants: TenantSetId,
    pub(crate) seq: u64,
    pub(crate) at: u64,
    pub(crate) bytes: Arc<Vec<u8>>,
}

impl BoundSnapshots {
    /// The turn to make one.
    pub(crate) async fn turn(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.turn).lock_owned().await
    }

    /// The turn among the requests of the share.
    pub(crate) async fn turn_of(&self, share: &str) -> OfShare {
        let queue = {
            let mut shares = self.shares.lock();
            let (count, queue) = shares.entry(share.to_owned()).or_default();
            *count += 1;
            Arc::clone(queue)
        };
        let queued = Queued { share: share.to_owned(), shares: Arc::clone(&self.shares) };
        OfShare { _first: queue.lock_owned().await, _queued: queued }
    }

    /// One of these tenants that is no older than the number.
    pub(crate) fn known(&self, tenants: TenantSetId, seq: u64, now: u64) -> Option<Arc<Vec<u8>>> {
        let mut made = self.made.lock();
        made.retain(|one| now.abs_diff(one.at) <= SNAPSHOT_REUSE_SECONDS);
        // Never an older one: its reader may stand behind it.
        let found = made.iter().find(|one| one.tenants == tenants && one.seq >= seq);
        found.map(|one| Arc::clone(&one.bytes))
    }

    pub(crate) fn keep(&self, new: Made) {
        let mut made = self.made.lock();
        made.retain(|one| one.tenants != new.tenants);
        made.push_back(new);
        let bytes = |made: &VecDeque<Made>| made.iter().map(|one| one.bytes.len()).sum::<usize>();
        while made.len() > SNAPSHOTS_BOUND || (made.len() > 1 && bytes(&made) > SNAPSHOT_BYTES) {
            made.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{poll_fn, Future};
    use std::pin::Pin;
    use std::task::Poll;

    use tessera_token::ids::TenantId;
    use tessera_token::trust::TenantSet;

    use super::*;

    fn id(name: &str) -> TenantSetId {
        TenantSet::new([TenantId::parse(name).unwrap()]).unwrap().id()
    }

    fn made(name: &str, at: u64, bytes: usize) -> Made {
        Made { tenants: id(name), seq: 7, at, bytes: Arc::new(vec![0; bytes]) }
    }

    #[test]
    fn they_are_served_again_for_a_moment_to_the_same_tenants_alone() {
        let bound = BoundSnapshots::default();
        bound.keep(made("a", 100, 1));
        assert!(bound.known(id("a"), 7, 100).is_some());
        assert!(bound.known(id("b"), 7, 100).is_none());
        assert!(bound.known(id("a"), 8, 100).is_none());
        assert!(bound.known(id("a"), 6, 100).is_some(), "the line went on while its reader waited");
        assert!(bound.known(id("a"), 7, 101 + SNAPSHOT_REUSE_SECONDS).is_none());
        assert!(bound.made.lock().is_empty());
    }

    #[test]
    fn number_and_bytes_are_bounded() {
        let bound = BoundSnapshots::default();
        for n in 0..SNAPSHOTS_BOUND + 3 {
            bound.keep(made(&format!("t{n}"), 100, 1));
        }
        assert_eq!(bound.made.lock().len(), SNAPSHOTS_BOUND);
        bound.keep(made("large", 100, SNAPSHOT_BYTES));
        assert_eq!(bound.made.lock().len(), 1);
        assert!(bound.known(id("large"), 7, 100).is_some());
    }

    #[tokio::test]
    async fn requests_of_a_share_wait_for_each_other_and_leave_nothing_behind() {
        let bound = BoundSnapshots::default();
        let first = bound.turn_of("of a").await;
        let mut second = Box::pin(bound.turn_of("of a"));
        assert!(is_pending(&mut second).await);
        drop(bound.turn_of("of b").await);
        let mut gone = Box::pin(bound.turn_of("of a"));
        assert!(is_pending(&mut gone).await);
        drop(gone);
        assert!(is_pending(&mut second).await);
        drop(first);
        drop(second.await);
        assert!(bound.shares.lock().is_empty());
    }

    async fn is_pending<F: Future + Unpin>(future: &mut F) -> bool {
        poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context).is_pending())).await
    }
}
