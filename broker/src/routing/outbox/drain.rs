//! Messages that leave an outbox: to the client, or because their publisher was revoked.

use super::{held, Outbox};
use crate::codec::QoS;
use crate::message::Trusted;
use crate::persistence::Row;
use crate::routing::delivery::Delivery;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;

impl Outbox {
    /// Appends up to `most` waiting messages to `out` and returns how many. Those of QoS 1 and 2 are of the session's
    /// share until [`crate::shares::Holding::end`] is called.
    pub fn try_drain(&self, most: usize, out: &mut Vec<Delivery>) -> usize {
        self.try_drain_before(most, |_| false, out).0
    }

    /// As [`Self::try_drain`], but takes nothing from the first message on that must `stay`; true when it met one.
    pub(crate) fn try_drain_before(
        &self,
        most: usize,
        stay: impl Fn(&Delivery) -> bool,
        out: &mut Vec<Delivery>,
    ) -> (usize, bool) {
        let mut inner = self.inner.lock();
        let most = inner.queue.len().min(most);
        let count = inner.queue.iter().take(most).position(&stay).unwrap_or(most);
        let start = out.len();
        out.extend(inner.queue.drain(..count));
        let (mut freed, mut under_way) = (0, 0);
        for delivery in out.iter().skip(start) {
            freed += delivery.cost as usize;
            under_way += delivery.held_under_way();
        }
        inner.bytes = inner.bytes.saturating_sub(freed);
        self.holding.set_queue(held(inner.bytes, inner.queue.len()), under_way);
        if inner.queue.is_empty() && inner.queue.capacity() > 64 {
            inner.queue = VecDeque::new();
        }
        let low = inner.queue.len() <= self.max_messages / 2 && inner.bytes <= self.max_bytes / 2;
        self.unlock(inner);
        if count > 0 && low && self.waiting.load(Ordering::SeqCst) > 0 {
            self.drained.notify_waiters();
        }
        (count, count < most)
    }

    /// Drops messages of revoked publishers and their rows; returns the QoS of each.
    pub(crate) fn drop_revoked(&self, trusted: Trusted<'_>) -> Vec<QoS> {
        let mut dropped = Vec::new();
        let mut inner = self.inner.lock();
        let mut freed = 0;
        inner.queue.retain(|delivery| {
            let revoked = delivery.message.is_revoked(trusted);
            if revoked {
                freed += delivery.cost as usize;
                dropped.push((delivery.qos(), delivery.sequence.number));
            }
            !revoked
        });
        inner.bytes = inner.bytes.saturating_sub(freed);
        self.holding.set_queue(held(inner.bytes, inner.queue.len()), 0);
        self.unlock(inner);
        if !dropped.is_empty() {
            self.drained.notify_waiters();
        }
        if let Some(rows) = &self.rows {
            for (_, number) in dropped.iter().filter(|(_, number)| *number > 0) {
                rows.delete(|id| Row::Outgoing(id, *number));
            }
        }
        dropped.into_iter().map(|(qos, _)| qos).collect()
    }
}
