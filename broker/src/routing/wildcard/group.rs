//! Shared subscriptions: the members of one `$share/<name>/<filter>` take turns (MQTT 5 section 4.8.2).
//!
//! A group reads its filter through one link and hands each message to the next member that has room; only when no
//! member has, it waits, and the commit log holds the rest. It waits for members whose queue is full. A member that has
//! room and no share is not waited for; when all members are like that, the message is lost. A group with a kept member
//! is served by [`super::durable_groups`] instead.

use crate::message::Options;
use crate::message::{Message, SubscriberId};
use crate::routing::delivery::Delivery;
use crate::routing::outbox::{Outbox, Push};
use parking_lot::Mutex;
use std::future::{poll_fn, Future};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::task::Poll;
use tokio::sync::Notify;

#[derive(Default)]
pub(in crate::routing) struct Group {
    turn: Mutex<Turn>,
    changed: Notify,
    /// The number of the first message that it gets as it is published; 0 while it gets all through the router.
    at_once_from: AtomicU64,
}

#[derive(Default)]
struct Turn {
    members: Vec<(Arc<Outbox>, Options)>,
    next: usize,
}

impl Group {
    /// Adds a member or changes its options; `None` when the group has `most` members, else whether it is new.
    pub(super) fn join(&self, outbox: &Arc<Outbox>, options: Options, most: usize) -> Option<bool> {
        let mut turn = self.turn.lock();
        let id = outbox.id();
        if let Some(known) = turn.members.iter_mut().find(|(member, _)| member.id() == id) {
            known.1 = options;
            return Some(false);
        }
        if turn.members.len() >= most {
            return None;
        }
        turn.members.push((Arc::clone(outbox), options));
        drop(turn);
        self.changed.notify_one();
        Some(true)
    }

    /// Removes a member and returns how many are left.
    pub(super) fn leave(&self, id: SubscriberId) -> usize {
        let mut turn = self.turn.lock();
        if let Some(place) = turn.members.iter().position(|(member, _)| member.id() == id) {
            turn.members.remove(place);
            if place < turn.next {
                turn.next -= 1;
            }
        }
        let left = turn.members.len();
        drop(turn);
        self.changed.notify_one();
        left
    }

    /// Whether it is served as messages are published.
    pub(super) fn is_at_once(&self) -> bool {
        self.at_once_from.load(Ordering::Acquire) != 0
    }

    pub(super) fn serve_at_once_from(&self, number: u64) {
        self.at_once_from.store(number, Ordering::Release);
    }

    /// Whether it had a message of this number already.
    pub(super) fn has_had(&self, number: u64) -> bool {
        self.is_at_once() && number >= self.at_once_from.load(Ordering::Acquire)
    }

    /// Hands the message to the next member that takes it.
    pub(in crate::routing) fn offer(self: &Arc<Self>, message: &Arc<Message>) -> Push {
        self.offer_noting(message, &mut Vec::new())
    }

    /// As [`Self::offer`]; the members that have room and no share are in `no_share` then, for [`Self::room`].
    pub(super) fn offer_noting(
        self: &Arc<Self>,
        message: &Arc<Message>,
        no_share: &mut Vec<SubscriberId>,
    ) -> Push {
        no_share.clear();
        let mut turn = self.turn.lock();
        let count = turn.members.len();
        let mut outcome = Push::Closed;
        for step in 0..count {
            let place = (turn.next + step) % count;
            let Some((outbox, options)) = turn.members.get(place) else { continue };
            let delivery = Delivery::new(Arc::clone(message), *options, false).shared(self);
            // A member that is away would let it go: another one is there for it.
            if !outbox.would_reach(delivery.qos()) {
                continue;
            }
            match outbox.push(delivery) {
                taken @ (Push::Taken | Push::Stored(_)) => {
                    turn.next = (place + 1) % count;
                    return taken;
                }
                // Weighs most: this member will have room, so the message is not lost.
                Push::Full => outcome = Push::Full,
                Push::NoShare => {
                    no_share.push(outbox.id());
                    if outcome == Push::Closed {
                        outcome = Push::NoShare;
                    }
                }
                Push::Closed => {}
            }
        }
        outcome
    }

    /// Notes messages that no member will see.
    pub(super) fn miss(&self, count: u64) {
        for (outbox, _) in &self.turn.lock().members {
            outbox.miss(count);
        }
    }

    /// Whether all members that are left are away, and the message is one that is not kept for them.
    pub(super) fn lets_go(&self, message: &Message) -> bool {
        let turn = self.turn.lock();
        let mut here = turn.members.iter().filter(|(outbox, _)| !outbox.is_closed()).peekable();
        here.peek().is_some()
            && here.all(|(outbox, options)| !outbox.would_reach(message.qos.min(options.qos)))
    }

    /// Waits until the message may reach some member, or members came or went. Those in `no_share` are not waited for:
    /// their queues have room, and it is not told when a share has. Cancel-safe.
    pub(super) async fn room(&self, message: &Message, no_share: &[SubscriberId]) {
        let members: Vec<(Arc<Outbox>, Options)> = self.turn.lock().members.clone();
        let cost = message.cost();
        let mut waits: Vec<Pin<Box<dyn Future<Output = ()> + Send + '_>>> =
            vec![Box::pin(self.changed.notified())];
        let waited_for = |outbox: &Outbox| !outbox.is_closed() && !no_share.contains(&outbox.id());
        for (outbox, options) in members.iter().filter(|(outbox, _)| waited_for(outbox)) {
            let qos = message.qos.min(options.qos);
            waits.push(Box::pin(outbox.room_to_reach(cost, qos)));
        }
        poll_fn(|context| {
            let ready = waits.iter_mut().any(|wait| wait.as_mut().poll(context).is_ready());
            if ready {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;
    use crate::codec::QoS;
    use crate::limits::{SHARE_FREE, SHARE_STEP};
    use crate::routing::testing::message;
    use crate::shares::tests::account_with;
    use crate::shares::Kind;

    #[test]
    fn who_is_away_is_no_room_for_what_is_not_kept() {
        let group = Arc::new(Group::default());
        let full = Outbox::with_limits(SubscriberId(1), 1, 1 << 20);
        let away = Outbox::new(SubscriberId(2));
        for outbox in [&full, &away] {
            assert_eq!(group.join(outbox, Options::default(), 2), Some(true));
        }
        away.set_attended(false);
        let mut message = message("a", "x");
        message.qos = QoS::AtMostOnce;
        let message = Arc::new(message);
        assert_eq!(group.offer(&message), Push::Taken);
        assert_eq!(group.offer(&message), Push::Full);
        let mut context = Context::from_waker(Waker::noop());
        // That they joined is news once.
        assert!(pin!(group.room(&message, &[])).poll(&mut context).is_ready());
        let mut room = pin!(group.room(&message, &[]));
        assert!(room.as_mut().poll(&mut context).is_pending(), "it would be asked for ever");
        assert!(!group.lets_go(&message));
        away.set_attended(true);
        assert!(room.as_mut().poll(&mut context).is_ready());
        assert_eq!(group.offer(&message), Push::Taken);
        // When the others have gone, there is no member to wait for.
        away.set_attended(false);
        full.close();
        assert_eq!(group.offer(&message), Push::Closed);
        assert!(group.lets_go(&message));
    }

    #[test]
    fn a_member_without_a_share_loses_nothing_for_one_that_is_full() {
        let group = Arc::new(Group::default());
        let account = account_with(SHARE_STEP);
        let most = (100, 1 << 20);
        let poor = Outbox::of_account(Arc::clone(&account), SubscriberId(1), None, most);
        let full = Outbox::with_limits(SubscriberId(2), 1, 1 << 20);
        for outbox in [&poor, &full] {
            assert_eq!(group.join(outbox, Options::default(), 2), Some(true));
        }
        let others = account.part(Kind::QueuedBytes, SHARE_STEP).unwrap();
        let message = Arc::new(message("a", vec![0; 2 * SHARE_FREE]));
        let mut no_share = Vec::new();
        let offer = |no_share: &mut Vec<_>| group.offer_noting(&message, no_share);
        assert_eq!(offer(&mut no_share), Push::Taken);
        assert_eq!((offer(&mut no_share), &*no_share), (Push::Full, &[SubscriberId(1)][..]));
        let mut context = Context::from_waker(Waker::noop());
        assert!(pin!(group.room(&message, &no_share)).poll(&mut context).is_ready(), "both joined");
        {
            let mut room = pin!(group.room(&message, &no_share));
            assert!(room.as_mut().poll(&mut context).is_pending(), "it would be asked for ever");
            full.try_drain(1, &mut Vec::new());
            assert!(room.as_mut().poll(&mut context).is_ready());
        }
        assert_eq!(offer(&mut no_share), Push::Taken);
        // A member that has a share again is asked like all others.
        drop(others);
        assert_eq!((offer(&mut no_share), &*no_share), (Push::Taken, &[][..]));
        // When no queue is full, there is nothing to wait for.
        full.close();
        while poor.try_drain(1, &mut Vec::new()) > 0 {}
        let _others = account.part(Kind::QueuedBytes, SHARE_STEP).unwrap();
        assert_eq!(offer(&mut no_share), Push::NoShare);
    }
}
