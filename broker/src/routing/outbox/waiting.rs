//! Waiting for an outbox: for room in it, and for messages.

use super::{Inner, Outbox};
use crate::codec::QoS;
use crate::routing::delivery::Delivery;
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

impl Outbox {
    /// Waits until a message of `cost` bytes fits or the outbox is closed. Cancel-safe. A later push may still find it
    /// full: another caller may be faster.
    pub async fn room(&self, cost: usize) {
        self.room_if(cost, |_| true).await;
    }

    /// As [`Self::room`], and until a message of this QoS would reach the client.
    pub(in crate::routing) async fn room_to_reach(&self, cost: usize, qos: QoS) {
        self.room_if(cost, |inner| qos != QoS::AtMostOnce || !inner.unattended).await;
    }

    async fn room_if(&self, cost: usize, open: impl Fn(&Inner) -> bool) {
        let _waiting = Waiting::new(&self.waiting);
        loop {
            let drained = self.drained.notified();
            tokio::pin!(drained);
            drained.as_mut().enable();
            {
                let inner = self.inner.lock();
                if inner.closed || self.fits(&inner, cost) && open(&inner) {
                    return;
                }
            }
            drained.await;
        }
    }

    /// Waits until a message waits or the outbox is closed; takes nothing. Cancel-safe. For one reader.
    pub async fn ready(&self) {
        poll_fn(|context| self.poll_ready(context)).await;
    }

    /// As [`Self::poll_ready`], and ready when messages were missed that were not reported to the client.
    pub(crate) fn poll_news(&self, context: &mut Context<'_>) -> Poll<()> {
        match self.poll_ready(context) {
            // They may have been missed before the waker was there.
            Poll::Pending if self.has_untold() => Poll::Ready(()),
            ready => ready,
        }
    }

    /// As [`Self::ready`].
    pub fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.has_some() {
            return Poll::Ready(());
        }
        self.filled.register(context.waker());
        // It may have been filled before the waker was there.
        if self.has_some() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// The next message; `None` once the outbox is closed. Cancel-safe. For one reader.
    pub async fn recv(&self) -> Option<Delivery> {
        let mut one = Vec::with_capacity(1);
        self.drain(1, &mut one).await;
        one.pop()
    }

    /// Waits for messages and appends up to `most` to `out`; appends none only when the outbox is closed. Cancel-safe.
    /// For one reader.
    pub async fn drain(&self, most: usize, out: &mut Vec<Delivery>) {
        loop {
            if self.try_drain(most, out) > 0 || self.is_closed() {
                return;
            }
            self.ready().await;
        }
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
