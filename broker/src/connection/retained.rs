//! Sends retained messages to new subscriptions: a few at a time are put into the queue, in turn with live messages,
//! and more as it drains. So a slow reader gets all of them too, and a lookup never fills the queue.
//!
//! The messages that a lookup found are held weakly: one that is replaced, removed or expired by then is not sent. The
//! message that replaced it reaches the subscription by its route.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use tessera_token::time::UnixSeconds;
use tessera_token::topic::TopicFilter;

use super::serve::Connection;
use crate::codec::QoS;
use crate::hub::Hub;
use crate::limits::RETAINED_AHEAD;
use crate::message::{Message, Options};
use crate::metrics::qos_label;
use crate::routing::retained::Retained;
use crate::routing::{Delivery, Free};
use crate::session::state_machine::{Granted, Machine};
use crate::session::Session;

/// The new subscriptions of one connection whose retained messages are not all sent. At most one lookup is held.
#[derive(Default)]
pub(super) struct Unsent {
    /// In their order; the first one has been looked up once `begun`.
    asked: VecDeque<Asked>,
    begun: bool,
    found: Vec<Weak<Message>>,
    /// Messages that left the queue: one of ours goes in for two of them.
    left: usize,
}

struct Asked {
    filter: TopicFilter,
    /// The subscription, by its number within the session: another one on the same filter is another one.
    number: u32,
}

impl Asked {
    /// How to deliver, while the subscription is there.
    fn options(&self, machine: &Machine) -> Option<Options> {
        let held = machine.held(self.filter.as_str())?;
        (held.number == self.number).then_some(held.options)
    }
}

impl Connection {
    /// Notes that a subscription is to be sent what is retained; [`Self::feed`] begins with it.
    pub(super) fn owe_retained(&mut self, one: &Granted) {
        let filter = &one.subscription.filter;
        let unsent = self.unsent.get_or_insert_default();
        self.session.look(|machine| unsent.ask(filter, machine));
    }

    /// Lets retained messages into the queue, as far as it is their turn.
    pub(super) fn feed(&mut self) {
        let Some(unsent) = &mut self.unsent else { return };
        if !unsent.feed(&self.hub, &self.session, self.now.unix) {
            self.unsent = None;
        }
    }

    /// The connection has ended and left its session: messages that outlive it are queued as far as there is room.
    pub(super) fn leave_unsent(&mut self) {
        if let Some(unsent) = self.unsent.take() {
            unsent.leave(&self.hub, &self.session, self.now.unix);
        }
    }
}

impl Unsent {
    /// So many messages left the queue.
    pub(super) fn note_left(&mut self, messages: usize) {
        self.left = self.left.saturating_add(messages).min(2 * RETAINED_AHEAD);
    }

    /// Subscribing again sends every retained message again, once. Subscriptions that have ended are dropped from the
    /// list, so that it is never longer than the session's list of subscriptions.
    fn ask(&mut self, filter: &TopicFilter, machine: &Machine) {
        self.keep(|one| one.filter != *filter && one.options(machine).is_some());
        if let Some(held) = machine.held(filter.as_str()) {
            self.asked.push_back(Asked { filter: filter.clone(), number: held.number });
        }
    }

    fn keep(&mut self, wanted: impl FnMut(&Asked) -> bool) {
        let first = self.asked.front().map(|asked| asked.number);
        self.asked.retain(wanted);
        if self.begun && self.asked.front().map(|asked| asked.number) != first {
            self.stop();
        }
    }

    fn stop(&mut self) {
        (self.begun, self.found) = (false, Vec::new());
    }

    /// False once nothing is left.
    fn feed(&mut self, hub: &Hub, session: &Session, now: UnixSeconds) -> bool {
        while let Some(options) = self.begin(hub, session, now) {
            let found = &mut self.found;
            let next = || Some(Delivery::new(take(found, &hub.retained, now)?, options, true));
            let fed = session.outbox.feed(self.left / 2, Free::Nothing, next);
            hub.metrics.found_no_room(fed.lost);
            self.left = self.left.saturating_sub(2 * fed.count);
            self.put_back(fed.refused);
            if !self.found.is_empty() {
                return true;
            }
            self.done();
        }
        false
    }

    /// The options of the subscription whose turn it is, with what is retained for it in `found`.
    fn begin(&mut self, hub: &Hub, session: &Session, now: UnixSeconds) -> Option<Options> {
        loop {
            let first = self.asked.front()?;
            let Some(options) = session.look(|machine| first.options(machine)) else {
                self.done();
                continue;
            };
            if !self.begun {
                let looked = hub.retained.lookup(&session.tenant, &first.filter, now);
                if looked.cut {
                    hub.metrics.limits_hit.inc(&["retained_lookup"]);
                }
                self.found = looked.messages.iter().map(Arc::downgrade).collect();
                self.begun = true;
            }
            return Some(options);
        }
    }

    fn done(&mut self) {
        self.stop();
        self.asked.pop_front();
    }

    fn put_back(&mut self, refused: Option<Delivery>) {
        self.found.extend(refused.map(|delivery| Arc::downgrade(&delivery.message)));
    }

    /// Moves the rest to the queue of the session. Messages of QoS 1 and 2 wait there for the next connection; messages
    /// of QoS 0 are not kept for an absent client. A message that finds no room is lost, and counted. A subscription
    /// that was not looked up by then counts as a lookup cut short. When another connection serves the session already,
    /// half of the queue stays free for live messages.
    fn leave(mut self, hub: &Hub, session: &Session, now: UnixSeconds) {
        session.look(|machine| {
            let is_kept = |options: Options| options.qos != QoS::AtMostOnce;
            self.keep(|one| one.options(machine).is_some_and(is_kept));
        });
        let free = if session.is_connected() { Free::Half } else { Free::Nothing };
        while !session.outbox.is_closed() {
            let Some(options) = self.begin(hub, session, now) else { return };
            let found = &mut self.found;
            let mut next = || loop {
                let delivery = Delivery::new(take(found, &hub.retained, now)?, options, true);
                if delivery.qos() != QoS::AtMostOnce {
                    return Some(delivery);
                }
            };
            let fed = session.outbox.feed(usize::MAX, free, &mut next);
            hub.metrics.found_no_room(fed.lost);
            let mut lost = 0;
            for delivery in fed.refused.into_iter().chain(std::iter::from_fn(next)) {
                hub.metrics.dropped.inc(&["queue_full", qos_label(delivery.qos())]);
                lost += 1;
            }
            self.done();
            if lost > 0 {
                session.outbox.miss(lost);
                hub.metrics.limits_hit.add(&["retained_lookup"], self.asked.len() as u64);
                return;
            }
        }
    }
}

/// The next that is still the message of its topic.
fn take(
    found: &mut Vec<Weak<Message>>,
    retained: &Retained,
    now: UnixSeconds,
) -> Option<Arc<Message>> {
    while let Some(one) = found.pop() {
        let message = one.upgrade().filter(|message| retained.is_current(message, now));
        if message.is_some() {
            return message;
        }
    }
    None
}
