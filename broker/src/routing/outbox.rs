//! The queue of outgoing messages of one session: bounded; routing push into it and the session drains it.
//!
//! Pushing never waits. Wildcard routes, whose commit logs hold the rest, wait for [`Outbox::room`]; exact routes count
//! the messages that did not fit. An idle outbox owns no heap memory but itself.

mod waiting;

use super::delivery::Delivery;
use super::row;
use crate::codec::QoS;
use crate::limits::{OUTBOX_BYTES, OUTBOX_MESSAGES, QUEUED_MESSAGE_OVERHEAD, RETAINED_AHEAD};
use crate::message::SubscriberId;
use crate::message::Trusted;
use crate::persistence::{Row, SessionRows};
use crate::shares::{Account, Holding};
use atomic_waker::AtomicWaker;
use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;
use tokio::sync::Notify;

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

/// How a push ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Push {
    /// It waits for the session.
    Taken,
    /// It waits for the session, and must be durable up to this commit number before its publisher is answered.
    Stored(u64),
    /// No room.
    Full,
    /// There is room in this queue, and the share of its device, of its tenant or of all is used up: the message is
    /// lost to it. Waiting for this queue alone would not help.
    NoShare,
    /// The session is gone.
    Closed,
}

/// The queue of one session.
pub struct Outbox {
    id: SubscriberId,
    max_messages: usize,
    max_bytes: usize,
    inner: Mutex<Inner>,
    filled: AtomicWaker,
    drained: Notify,
    rows: Option<SessionRows>,
    waiting: AtomicUsize,
    missed: AtomicU64,
    holding: Holding,
    /// The part of `missed` that its reader has reported.
    told: AtomicU64,
    /// Whether something waits or it is closed: what its reader looks at without the lock.
    some: AtomicBool,
}

#[derive(Default)]
struct Inner {
    queue: VecDeque<Delivery>,
    bytes: usize,
    closed: bool,
    last_number: u64,
    /// No connection: QoS 0 is not kept (MQTT 5 section 4.1).
    unattended: bool,
}

impl Outbox {
    /// An empty outbox with the limits of `limits.rs`.
    pub fn new(id: SubscriberId) -> Arc<Self> {
        Self::with_limits(id, OUTBOX_MESSAGES, OUTBOX_BYTES)
    }

    /// An empty outbox that holds at most `max_messages` and, but for a single larger one, `max_bytes`.
    pub fn with_limits(id: SubscriberId, max_messages: usize, max_bytes: usize) -> Arc<Self> {
        Self::build(id, (max_messages, max_bytes), None, None)
    }

    /// As [`Self::with_limits`], of the share of a device; one with `kept` is kept across restarts.
    pub(crate) fn of_account(
        account: Arc<Account>,
        id: SubscriberId,
        rows: Option<SessionRows>,
        most: (usize, usize),
    ) -> Arc<Self> {
        Self::build(id, most, rows, Some(account))
    }

    /// As [`Self::with_limits`], for a session that is kept across restarts.
    #[cfg(test)]
    pub(crate) fn stored_with_limits(
        rows: SessionRows,
        max_messages: usize,
        max_bytes: usize,
    ) -> Arc<Self> {
        Self::build(rows.id, (max_messages, max_bytes), Some(rows), None)
    }

    fn build(
        id: SubscriberId,
        (max_messages, max_bytes): (usize, usize),
        rows: Option<SessionRows>,
        account: Option<Arc<Account>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            holding: Holding::of(account),
            rows,
            id,
            max_messages: max_messages.max(1),
            max_bytes,
            inner: Mutex::default(),
            filled: AtomicWaker::new(),
            drained: Notify::new(),
            waiting: AtomicUsize::new(0),
            missed: AtomicU64::new(0),
            told: AtomicU64::new(0),
            some: AtomicBool::new(false),
        })
    }

    /// The session it belongs to.
    pub fn id(&self) -> SubscriberId {
        self.id
    }

    /// The bytes that its session holds of the share of its device.
    pub(crate) fn holding(&self) -> &Holding {
        &self.holding
    }

    /// Whether a delivery of this QoS would reach the client, now or later: QoS 0 is not kept without a connection.
    pub(in crate::routing) fn would_reach(&self, qos: QoS) -> bool {
        qos != QoS::AtMostOnce || !self.inner.lock().unattended
    }

    /// Adds a message, if there is room.
    pub fn push(&self, delivery: Delivery) -> Push {
        let mut inner = self.inner.lock();
        let pushed = self.add(&mut inner, delivery);
        self.unlock(inner);
        pushed
    }

    /// As [`Self::push`] if `open` says so. When it does not, or nothing fits, `turned_away` is called. Both are called
    /// under the lock of the queue, so that a delivery that is turned away here comes after one that was not.
    pub(in crate::routing) fn push_if(
        &self,
        delivery: Delivery,
        open: impl FnOnce() -> bool,
        turned_away: impl FnOnce(),
    ) -> Option<Push> {
        let mut inner = self.inner.lock();
        let pushed = open().then(|| self.add(&mut inner, delivery));
        if matches!(pushed, None | Some(Push::Full)) {
            turned_away();
        }
        self.unlock(inner);
        pushed.filter(|pushed| *pushed != Push::Full)
    }

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

    /// Does something that no push may come in between.
    pub(crate) fn between_pushes<T>(&self, step: impl FnOnce() -> T) -> T {
        let _pushing = self.inner.lock();
        step()
    }

    fn add(&self, inner: &mut Inner, mut delivery: Delivery) -> Push {
        let cost = delivery.cost as usize;
        if inner.closed {
            return Push::Closed;
        }
        if inner.unattended && delivery.qos() == QoS::AtMostOnce {
            return Push::Taken;
        }
        if !self.fits(inner, cost) {
            return Push::Full;
        }
        if !self.holding.grow_queue(held(inner.bytes + cost, inner.queue.len() + 1)) {
            return Push::NoShare;
        }
        self.number(inner, &mut delivery);
        let commit = delivery.sequence.commit;
        inner.bytes += cost;
        inner.queue.push_back(delivery);
        match commit {
            0 => Push::Taken,
            commit => Push::Stored(commit),
        }
    }

    /// Ends a change of the queue, and wakes the reader when there is something that was not there before.
    fn unlock(&self, inner: MutexGuard<'_, Inner>) {
        let some = !inner.queue.is_empty() || inner.closed;
        let had = self.some.load(Ordering::Relaxed);
        if some != had {
            self.some.store(some, Ordering::Release);
        }
        drop(inner);
        if some && !had {
            self.filled.wake();
        }
    }

    fn number(&self, inner: &mut Inner, delivery: &mut Delivery) {
        let Some(rows) = &self.rows else { return };
        if delivery.qos() == QoS::AtMostOnce {
            return;
        }
        inner.last_number += 1;
        let number = inner.last_number;
        delivery.sequence.number = number;
        if !delivery.live_only {
            let row = row::encode_delivery(delivery);
            delivery.sequence.commit = rows.put(|id| Row::Outgoing(id, number), row);
        }
    }

    /// Puts back what was there before a restart; `last_number` is the highest of all.
    pub(crate) fn restore(&self, deliveries: Vec<Delivery>, last_number: u64) {
        let mut inner = self.inner.lock();
        inner.last_number = last_number;
        inner.bytes = deliveries.iter().map(|delivery| delivery.cost as usize).sum();
        inner.queue = deliveries.into();
        inner.unattended = true;
        self.holding.restore(held(inner.bytes, inner.queue.len()), 0);
        self.unlock(inner);
    }

    /// Whether its session is kept across restarts.
    pub fn is_persistent(&self) -> bool {
        self.rows.is_some()
    }

    /// The kept part of its session.
    pub(crate) fn rows(&self) -> Option<&SessionRows> {
        self.rows.as_ref()
    }

    /// As [`Self::push`]; what does not fit is counted as missed.
    pub fn push_or_miss(&self, delivery: Delivery) -> Push {
        let pushed = self.push(delivery);
        if matches!(pushed, Push::Full | Push::NoShare) {
            self.miss(1);
        }
        pushed
    }

    /// Counts messages that this session will never see, and wakes its reader, which reports them to the client.
    pub fn miss(&self, count: u64) {
        self.missed.fetch_add(count, Ordering::Release);
        self.filled.wake();
    }

    /// Whether messages were missed that were not reported to the client.
    pub(crate) fn has_untold(&self) -> bool {
        self.missed.load(Ordering::Acquire) != self.told.load(Ordering::Relaxed)
    }

    /// From now on only later losses are untold. For one reader.
    pub(crate) fn take_untold(&self) {
        self.told.store(self.missed(), Ordering::Relaxed);
    }

    /// Messages that this session did not get because it was too slow: no room here, or a gap in the commit log.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Acquire)
    }

    /// Says whether the client is connected. While it is not, QoS 0 is not queued, and queued QoS 0 is dropped.
    pub fn set_attended(&self, attended: bool) {
        let mut inner = self.inner.lock();
        inner.unattended = !attended;
        if attended {
            drop(inner);
            self.drained.notify_waiters();
            return;
        }
        let mut freed = 0;
        inner.queue.retain(|delivery| {
            let keep = delivery.qos() != QoS::AtMostOnce;
            freed += if keep { 0 } else { delivery.cost as usize };
            keep
        });
        inner.bytes = inner.bytes.saturating_sub(freed);
        self.holding.set_queue(held(inner.bytes, inner.queue.len()), 0);
        self.unlock(inner);
        self.drained.notify_waiters();
    }

    /// Whether a message waits or it is closed.
    pub fn has_some(&self) -> bool {
        self.some.load(Ordering::Acquire)
    }

    /// Appends up to `most` waiting messages to `out` and returns how many. Those of QoS 1 and 2 are of the session's
    /// share until [`Holding::end`] is called.
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

    /// Messages that wait now.
    pub fn len(&self) -> usize {
        self.inner.lock().queue.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the session is gone.
    pub fn is_closed(&self) -> bool {
        self.inner.lock().closed
    }

    /// Ends it: what waits is dropped and given back to the caller's care, pushes fail, waiters go on.
    pub fn close(&self) -> Vec<Delivery> {
        let mut inner = self.inner.lock();
        inner.closed = true;
        inner.bytes = 0;
        let left = std::mem::take(&mut inner.queue);
        self.holding.set_queue(0, 0);
        self.unlock(inner);
        self.drained.notify_waiters();
        left.into()
    }

    fn fits(&self, inner: &Inner, cost: usize) -> bool {
        inner.queue.len() < self.max_messages
            && (inner.queue.is_empty() || inner.bytes.saturating_add(cost) <= self.max_bytes)
    }
}

/// The bytes that a queue of so many bytes and messages counts for in a share.
fn held(bytes: usize, messages: usize) -> usize {
    bytes.saturating_add(messages.saturating_mul(QUEUED_MESSAGE_OVERHEAD))
}
