//! The queue of outgoing messages of one session: bounded; routes push into it and the session drains it.
//!
//! Pushing never waits. Wildcard routes, whose commit logs hold the rest, wait for [`Outbox::room`]; exact routes count
//! the messages that did not fit. An idle outbox owns no heap memory but itself.

mod drain;
mod feed;
mod reader;
mod waiting;

use super::delivery::Delivery;
use super::row;
use crate::codec::QoS;
use crate::limits::{OUTBOX_BYTES, OUTBOX_MESSAGES, QUEUED_MESSAGE_OVERHEAD};
use crate::message::SubscriberId;
use crate::persistence::{Row, SessionRows};
use crate::shares::{Account, Holding};
use atomic_waker::AtomicWaker;
use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;
use tokio::sync::Notify;

pub(crate) use feed::Free;
pub use reader::OutboxReader;

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
