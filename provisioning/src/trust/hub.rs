use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

use tessera_runtime::stop::Stop;
use tokio::sync::{watch, Semaphore};

use crate::limits::{EVIDENCE_AT_ONCE, POLLERS};

/// Wakes the long polls that wait for news.
#[derive(Clone)]
pub(crate) struct Hub {
    head: Arc<watch::Sender<u64>>,
    waiting: Arc<AtomicUsize>,
    /// Each reader that shows evidence has one; it is as large as a snapshot.
    pub(crate) evidence: Arc<Semaphore>,
}

/// A place among the waiting; given back when dropped.
pub(crate) struct Seat(Arc<AtomicUsize>);

impl Hub {
    pub(crate) fn at(seq: u64) -> Self {
        Self {
            head: Arc::new(watch::channel(seq).0),
            waiting: Arc::default(),
            evidence: Arc::new(Semaphore::new(EVIDENCE_AT_ONCE)),
        }
    }

    /// Tells everybody that waits.
    pub(crate) fn announce(&self, seq: u64) {
        self.head.send_if_modified(|head| {
            let newer = seq > *head;
            *head = seq.max(*head);
            newer
        });
    }

    /// A place to wait; `None` when all are taken.
    pub(crate) fn seat(&self) -> Option<Seat> {
        let taken = self.waiting.fetch_add(1, Ordering::SeqCst);
        let seat = Seat(Arc::clone(&self.waiting));
        (taken < POLLERS).then_some(seat)
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Returns when something newer than `after` was announced, after `wait`, or when the service stops.
    pub(crate) async fn newer_than(&self, after: u64, wait: Duration, stop: &Stop) {
        let mut head = self.head.subscribe();
        tokio::select! {
            _ = head.wait_for(|seq| *seq > after) => {}
            () = tokio::time::sleep(wait) => {}
            () = stop.stopping() => {}
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
