//! The reading end of an outbox.

use super::Outbox;
use crate::routing::delivery::Delivery;
use std::future::poll_fn;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Waits for the messages of an outbox. A message wakes one reader, the one that waited last: so this is not `Clone`,
/// each connection makes one when it joins its session, and only while the session is its own it waits here.
pub struct OutboxReader(Arc<Outbox>);

impl Outbox {
    /// The reading end, for the connection that has just joined the session.
    pub fn reader(self: &Arc<Self>) -> OutboxReader {
        OutboxReader(Arc::clone(self))
    }

    fn has_untold(&self) -> bool {
        self.missed() != self.told.load(Ordering::Relaxed)
    }
}

impl OutboxReader {
    /// Ready when a message waits, the outbox is closed, or messages were missed that were not reported to the client.
    pub(crate) fn poll_news(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self.poll_ready(context) {
            // They may have been missed before the waker was there.
            Poll::Pending if self.0.has_untold() => Poll::Ready(()),
            ready => ready,
        }
    }

    /// Whether messages were missed that were not reported to the client.
    pub(crate) fn has_untold(&self) -> bool {
        self.0.has_untold()
    }

    /// From now on only later losses are untold.
    pub(crate) fn take_untold(&mut self) {
        self.0.told.store(self.0.missed(), Ordering::Relaxed);
    }

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.0.has_some() {
            return Poll::Ready(());
        }
        self.0.filled.register(context.waker());
        // It may have been filled before the waker was there.
        match self.0.has_some() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// The next message; `None` once the outbox is closed. Cancel-safe.
    pub async fn recv(&mut self) -> Option<Delivery> {
        let mut one = Vec::with_capacity(1);
        self.drain(1, &mut one).await;
        one.pop()
    }

    /// Waits for messages and appends up to `most` to `out`; appends none only when the outbox is closed. Cancel-safe.
    pub async fn drain(&mut self, most: usize, out: &mut Vec<Delivery>) {
        while self.0.try_drain(most, out) == 0 && !self.0.is_closed() {
            poll_fn(|context| self.poll_ready(context)).await;
        }
    }
}
