//! Exact filters. One hash lookup finds all sessions that subscribed to the topic of a publish.
//!
//! A topic with one subscriber (a device's own command topic, by far the most) lives inside the map; a topic with more
//! has a list of its own, so that a fan-out does not hold the shard. No step depends on the number of sessions.

pub(in crate::routing) mod subscribers;
#[cfg(test)]
mod tests;

use super::outbox::Outbox;
use super::Tally;
use crate::limits::EXACT_SHARDS;
use crate::message::Options;
use crate::message::{Message, SubscriberId};
use hashbrown::DefaultHashBuilder;
use hashbrown::{Equivalent, HashMap};
use parking_lot::RwLock;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;
use subscribers::{Subscriber, Subscribers};
use tessera_token::ids::TenantId;
use tessera_token::topic::TopicName;

/// All exact subscriptions of the broker.
pub struct ExactRoutes {
    hasher: DefaultHashBuilder,
    shards: Vec<RwLock<Shard>>,
}

type Shard = HashMap<Key, Entry>;

#[derive(PartialEq, Eq)]
struct Key {
    tenant: TenantId,
    topic: TopicName,
}

/// The same key, borrowed: a publish allocates nothing.
#[derive(PartialEq, Eq, Hash)]
struct KeyRef<'a> {
    tenant: &'a str,
    topic: &'a str,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        KeyRef { tenant: self.tenant.as_str(), topic: self.topic.as_str() }.hash(state);
    }
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.topic == key.topic.as_str() && self.tenant == key.tenant.as_str()
    }
}

enum Entry {
    One(Subscriber),
    Many(Arc<RwLock<Subscribers>>),
}

impl Default for ExactRoutes {
    fn default() -> Self {
        Self::new()
    }
}

impl ExactRoutes {
    /// No routes.
    pub fn new() -> Self {
        Self {
            hasher: DefaultHashBuilder::default(),
            shards: (0..EXACT_SHARDS).map(|_| RwLock::default()).collect(),
        }
    }

    /// Offers the message to all sessions that subscribed to its topic. Never waits.
    pub fn publish(&self, message: &Arc<Message>, tally: &mut Tally) {
        let key = KeyRef { tenant: message.tenant.as_str(), topic: message.topic.as_str() };
        let Some(shard) = self.shard(&key) else { return };
        let shard = shard.read();
        match shard.get(&key) {
            None => {}
            Some(Entry::One(subscriber)) => subscriber.offer(message, tally),
            Some(Entry::Many(many)) => {
                let many = Arc::clone(many);
                // Before the lock of the shard is released: the next to leave may leave this list to be the only
                // subscriber's.
                let reading = many.read();
                drop(shard);
                reading.offer(message, tally);
            }
        }
    }

    /// Subscribes, or changes the options of a subscription; returns whether it is new.
    pub fn subscribe(
        &self,
        tenant: &TenantId,
        topic: &TopicName,
        outbox: &Arc<Outbox>,
        options: Options,
    ) -> bool {
        let key = KeyRef { tenant: tenant.as_str(), topic: topic.as_str() };
        let subscriber = Subscriber { outbox: Arc::clone(outbox), options };
        let Some(shard) = self.shard(&key) else { return false };
        let mut shard = shard.write();
        if let Some(entry) = shard.get_mut(&key) {
            return entry.put(subscriber);
        }
        let key = Key { tenant: tenant.clone(), topic: topic.clone() };
        shard.insert(key, Entry::One(subscriber));
        true
    }

    /// Unsubscribes; returns whether there was such a subscription.
    pub fn unsubscribe(&self, tenant: &TenantId, topic: &TopicName, id: SubscriberId) -> bool {
        let key = KeyRef { tenant: tenant.as_str(), topic: topic.as_str() };
        let Some(shard) = self.shard(&key) else { return false };
        let mut shard = shard.write();
        let Some(entry) = shard.get_mut(&key) else { return false };
        match entry.remove(id) {
            Removed::Nothing => false,
            Removed::Some => true,
            Removed::Last => {
                shard.remove(&key);
                shrink(&mut shard);
                true
            }
        }
    }

    /// Topics with at least one subscriber.
    pub fn topics(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }

    fn shard(&self, key: &KeyRef<'_>) -> Option<&RwLock<Shard>> {
        let hash = self.hasher.hash_one(key);
        self.shards.get((hash >> 40) as usize % EXACT_SHARDS)
    }
}

/// After a whole fleet left, its room is given back.
fn shrink(shard: &mut Shard) {
    if shard.capacity() > 1_024 && shard.len() < shard.capacity() / 8 {
        shard.shrink_to(shard.len() * 2);
    }
}

enum Removed {
    Nothing,
    Some,
    Last,
}

impl Entry {
    fn put(&mut self, subscriber: Subscriber) -> bool {
        match self {
            Self::One(known) if known.outbox.id() == subscriber.outbox.id() => {
                *known = subscriber;
                false
            }
            Self::One(known) => {
                let mut many = Subscribers::default();
                many.put(known.clone());
                many.put(subscriber);
                *self = Self::Many(Arc::new(RwLock::new(many)));
                true
            }
            Self::Many(many) => many.write().put(subscriber),
        }
    }

    fn remove(&mut self, id: SubscriberId) -> Removed {
        let left = match self {
            Self::One(known) if known.outbox.id() == id => return Removed::Last,
            Self::One(_) => return Removed::Nothing,
            Self::Many(many) => {
                let mut many = many.write();
                if !many.remove(id) {
                    return Removed::Nothing;
                }
                if many.len() > 1 {
                    return Removed::Some;
                }
                many.take_first()
            }
        };
        match left {
            None => Removed::Last,
            Some(last) => {
                *self = Self::One(last);
                Removed::Some
            }
        }
    }
}
