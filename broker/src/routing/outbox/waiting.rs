//! Waiting for room in an outbox.

use super::{Inner, Outbox};
use crate::codec::QoS;
use std::sync::atomic::{AtomicUsize, Ordering};

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
