use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tessera_runtime::stop::Stop;
use tessera_token::refusal::RefusalCode;
use tokio::sync::{watch, OwnedSemaphorePermit, Semaphore};

use crate::limits::{EVIDENCE_AT_ONCE, POLLERS};

/// Wakes the long polls that wait for news.
#[derive(Clone)]
pub(crate) struct Waiters {
    head: Arc<watch::Sender<u64>>,
    waiting: Arc<AtomicUsize>,
    /// Each reader that shows evidence has one; it is as large as a snapshot.
    evidence: Arc<Semaphore>,
    /// Those of readers of some tenants, so that they keep no reader of all from showing its own.
    evidence_bound: Arc<Semaphore>,
    /// The shares that show evidence, or wait to.
    showing: Arc<Mutex<HashSet<String>>>,
}

/// The right to show evidence; given back when dropped.
pub(crate) struct Showing {
    share: String,
    showing: Arc<Mutex<HashSet<String>>>,
    seat: Option<OwnedSemaphorePermit>,
}

impl Drop for Showing {
    fn drop(&mut self) {
        self.seat.take();
        self.showing.lock().remove(&self.share);
    }
}

/// A place among the waiting; given back when dropped.
pub(crate) struct Seat(Arc<AtomicUsize>);

impl Waiters {
    pub(crate) fn at(seq: u64) -> Self {
        Self {
            head: Arc::new(watch::channel(seq).0),
            waiting: Arc::default(),
            evidence: Arc::new(Semaphore::new(EVIDENCE_AT_ONCE)),
            evidence_bound: Arc::new(Semaphore::new(EVIDENCE_AT_ONCE)),
            showing: Arc::default(),
        }
    }

    /// Tells every reader that waits.
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

    /// A seat for the evidence of this share, which has one at a time; `bound` is one of some tenants.
    ///
    /// # Errors
    /// `rate_limited` when the share shows evidence already, `limit_reached` when no seat got free within `wait`.
    pub(crate) async fn show(
        &self,
        share: &str,
        bound: bool,
        wait: Duration,
    ) -> Result<Showing, RefusalCode> {
        // One share has one right, and there are at most `OPERATORS` accounts.
        if !self.showing.lock().insert(share.to_owned()) {
            return Err(RefusalCode::RateLimited);
        }
        let showing = Arc::clone(&self.showing);
        let mut right = Showing { share: share.to_owned(), showing, seat: None };
        let seats = if bound { &self.evidence_bound } else { &self.evidence };
        let seat = tokio::time::timeout(wait, Arc::clone(seats).acquire_owned()).await;
        let seat = seat.map_err(|_| RefusalCode::LimitReached)?;
        right.seat = Some(seat.map_err(|_| RefusalCode::NotReady)?);
        Ok(right)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_share_shows_one_piece_of_evidence_at_a_time_and_others_wait_so_long_as_they_may() {
        let waiters = Waiters::at(0);
        let first = waiters.show("a", false, Duration::ZERO).await.unwrap();
        assert_eq!(
            waiters.show("a", false, Duration::MAX).await.err(),
            Some(RefusalCode::RateLimited)
        );
        assert_eq!(
            waiters.show("b", false, Duration::ZERO).await.err(),
            Some(RefusalCode::LimitReached)
        );
        let waiting = waiters.show("b", false, Duration::MAX);
        tokio::pin!(waiting);
        assert!(is_pending_at(&mut waiting).await);
        assert_eq!(
            waiters.show("b", false, Duration::MAX).await.err(),
            Some(RefusalCode::RateLimited)
        );
        // Shares of some tenants have a seat of their own.
        let bound = waiters.show("c", true, Duration::ZERO).await.unwrap();
        let full = waiters.show("d", true, Duration::ZERO).await;
        assert_eq!(full.err(), Some(RefusalCode::LimitReached));
        drop(bound);
        drop(first);
        let second = waiting.await.unwrap();
        drop(second);
        // One that gave up is forgotten.
        waiters.show("b", false, Duration::ZERO).await.unwrap();
    }

    async fn is_pending_at<F: std::future::Future>(future: &mut std::pin::Pin<&mut F>) -> bool {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(future.as_mut().poll(context).is_pending())
        })
        .await
    }
}
