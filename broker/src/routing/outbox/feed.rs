//! Feeds retained messages into an outbox, a few ahead of the reader.

use super::{Outbox, Push};
use crate::limits::RETAINED_AHEAD;
use crate::routing::delivery::Delivery;

/// The part of the queue that [`Outbox::feed`] leaves free, whatever the share of the session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Free {
    /// Nothing.
    Nothing,
    /// Half of it.
    Half,
}

/// The result of [`Outbox::feed`].
#[derive(Default)]
pub(crate) struct Fed {
    /// Messages that were added.
    pub(crate) count: usize,
    /// Messages that were lost for want of a share, by QoS.
    pub(crate) lost: [u64; 3],
    /// The one that found no room.
    pub(crate) refused: Option<Delivery>,
}

impl Outbox {
    /// Adds what `next` gives, which can wait elsewhere: while few messages wait, or else `share` of them, and as far
    /// as there is room. `next` is called under the lock of the queue: messages pushed after `next` looked come after
    /// it.
    pub(crate) fn feed(
        &self,
        mut share: usize,
        free: Free,
        mut next: impl FnMut() -> Option<Delivery>,
    ) -> Fed {
        let mut inner = self.inner.lock();
        let few = RETAINED_AHEAD.min(self.max_messages / 2).max(1);
        let mut fed = Fed::default();
        while !inner.closed {
            let is_low = inner.queue.len() < few && inner.bytes <= self.max_bytes / 2;
            let is_left_free = match free {
                Free::Nothing => inner.queue.len() < self.max_messages,
                Free::Half => {
                    inner.queue.len() < self.max_messages / 2 && inner.bytes < self.max_bytes / 2
                }
            };
            if !is_low && share == 0 || !is_left_free {
                break;
            }
            let Some(delivery) = next() else { break };
            if !self.fits(&inner, delivery.cost as usize) {
                fed.refused = Some(delivery);
                break;
            }
            let qos = delivery.qos();
            // Without a share it is lost: no drain of this queue would show when there is one.
            match self.add(&mut inner, delivery) {
                Push::NoShare => {
                    self.miss(1);
                    if let Some(count) = fed.lost.get_mut(qos as usize) {
                        *count += 1;
                    }
                }
                _ => {
                    share = share.saturating_sub(1);
                    fed.count += 1;
                }
            }
        }
        self.unlock(inner);
        fed
    }
}
