//! The sessions that subscribed to one topic.

use crate::limits::EXACT_INDEX_ABOVE;
use crate::message::Options;
use crate::message::{Message, SubscriberId};
use crate::routing::delivery::Delivery;
use crate::routing::outbox::Outbox;
use crate::routing::Tally;
use hashbrown::HashMap;
use std::sync::Arc;

#[derive(Clone)]
pub(in crate::routing) struct Subscriber {
    pub(in crate::routing) outbox: Arc<Outbox>,
    pub(in crate::routing) options: Options,
}

impl Subscriber {
    pub(in crate::routing) fn offer(&self, message: &Arc<Message>, tally: &mut Tally) {
        if self.options.no_local && message.publisher.session == self.outbox.id() {
            return;
        }
        let delivery = Delivery::new(Arc::clone(message), self.options, false);
        tally.note(self.outbox.push_or_miss(delivery));
    }
}

/// Joining and leaving cost the same for one subscriber and for ten thousand.
#[derive(Default)]
pub(in crate::routing) struct Subscribers {
    list: Vec<Subscriber>,
    places: HashMap<SubscriberId, usize>,
    /// It is no longer in the map, and takes nothing more.
    retired: bool,
}

impl Subscribers {
    pub(in crate::routing) fn offer(&self, message: &Arc<Message>, tally: &mut Tally) {
        for subscriber in &self.list {
            subscriber.offer(message, tally);
        }
    }

    /// Adds or replaces; returns whether the session was not there before.
    pub(in crate::routing) fn put(&mut self, subscriber: Subscriber) -> bool {
        let id = subscriber.outbox.id();
        if let Some(known) = self.place(id).and_then(|place| self.list.get_mut(place)) {
            *known = subscriber;
            return false;
        }
        self.list.push(subscriber);
        if self.list.len() > EXACT_INDEX_ABOVE {
            self.index(id);
        }
        true
    }

    pub(in crate::routing) fn remove(&mut self, id: SubscriberId) -> bool {
        let Some(place) = self.place(id) else { return false };
        self.list.swap_remove(place);
        self.places.remove(&id);
        if let (Some(moved), false) = (self.list.get(place), self.places.is_empty()) {
            self.places.insert(moved.outbox.id(), place);
        }
        true
    }

    pub(in crate::routing) fn len(&self) -> usize {
        self.list.len()
    }

    pub(in crate::routing) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether [`Self::retire`] was called.
    pub(in crate::routing) fn is_retired(&self) -> bool {
        self.retired
    }

    /// Ends it, and gives its only subscriber, if there is one.
    pub(in crate::routing) fn retire(&mut self) -> Option<Subscriber> {
        self.retired = true;
        self.places.clear();
        self.list.pop()
    }

    fn place(&self, id: SubscriberId) -> Option<usize> {
        if self.places.is_empty() {
            return self.list.iter().position(|subscriber| subscriber.outbox.id() == id);
        }
        self.places.get(&id).copied()
    }

    fn index(&mut self, newest: SubscriberId) {
        if self.places.is_empty() {
            self.places =
                self.list.iter().enumerate().map(|(place, one)| (one.outbox.id(), place)).collect();
        } else {
            self.places.insert(newest, self.list.len() - 1);
        }
    }
}
