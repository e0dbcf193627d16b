//! Shared subscriptions: the members of one `$share/<name>/<filter>` take turns (MQTT 5 section 4.8.2).
//!
//! A group reads its filter through one link and hands each message to the next member that has room; only when no
//! member has, it waits, and the commit log holds the rest. A group with a kept member is served by
//! [`super::at_once`] instead.

use crate::lanes::delivery::{Delivery, Options};
use crate::lanes::message::{Message, SubscriberId};
use crate::lanes::outbox::{Outbox, Push};
use parking_lot::Mutex;
use std::future::{poll_fn, Future};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::task::Poll;
use tokio::sync::Notify;

#[derive(Default)]
pub(in crate::lanes) struct Group {
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

    /// Takes a member out and tells how many are left.
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
    pub(in crate::lanes) fn offer(self: &Arc<Self>, message: &Arc<Message>) -> Push {
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
                taken @ (Push::Taken | Push::Kept(_)) => {
                    turn.next = (place + 1) % count;
                    return taken;
                }
                // Weighs most: a queue that has room would be waited for without end.
                Push::NoShare => outcome = Push::NoShare,
                Push::Full if outcome == Push::Closed => outcome = Push::Full,
                Push::Full | Push::Closed => {}
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

    /// Waits until the message may reach some member, or members came or went. Cancel-safe.
    pub(super) async fn room(&self, message: &Message) {
        let members: Vec<(Arc<Outbox>, Options)> = self.turn.lock().members.clone();
        let cost = message.cost();
        let mut waits: Vec<Pin<Box<dyn Future<Output = ()> + Send + '_>>> =
            vec![Box::pin(self.changed.notified())];
        for (outbox, options) in members.iter().filter(|(outbox, _)| !outbox.is_closed()) {
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
    use crate::lanes::testing::message;

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
        assert!(pin!(group.room(&message)).poll(&mut context).is_ready());
        let mut room = pin!(group.room(&message));
        assert!(room.as_mut().poll(&mut context).is_pending(), "it would be asked for ever");
        assert!(!group.lets_go(&message));
        away.set_attended(true);
        assert!(room.as_mut().poll(&mut context).is_ready());
        assert_eq!(group.offer(&message), Push::Taken);
        // When the others have gone, there is nobody to wait for.
        away.set_attended(false);
        full.close();
        assert_eq!(group.offer(&message), Push::Closed);
        assert!(group.lets_go(&message));
    }
}
