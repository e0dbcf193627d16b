//! The life of one router, as those see it who hold links into it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// One router's place in the sequence of routers. At most one of them is written to: the writer looks under the lock of
/// the [`Fence`], and it is moved on under the same lock.
pub(super) struct Era {
    number: u64,
    is_replaced: AtomicBool,
    replaced: CancellationToken,
    given_up: CancellationToken,
}

/// The number of the one router that may be written to, held while something is written.
pub(super) type Fence = Arc<tokio::sync::Mutex<u64>>;

impl Era {
    pub(super) fn new(number: u64) -> Arc<Self> {
        let (replaced, given_up) = Default::default();
        Arc::new(Self { number, is_replaced: AtomicBool::new(false), replaced, given_up })
    }

    /// Counted from 1.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Another router is written to from now on: its readers take links there and read this one to its end.
    pub(super) fn replace(&self) {
        self.is_replaced.store(true, Ordering::Release);
        self.replaced.cancel();
    }

    pub(super) fn is_replaced(&self) -> bool {
        self.is_replaced.load(Ordering::Acquire)
    }

    pub(super) async fn replaced(&self) {
        self.replaced.cancelled().await;
    }

    /// No caller waits for this router any more.
    pub(super) fn give_up(&self) {
        self.given_up.cancel();
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.given_up.is_cancelled()
    }

    pub(super) async fn given_up(&self) {
        self.given_up.cancelled().await;
    }
}
