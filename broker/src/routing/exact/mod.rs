//! Exact filters. One hash lookup finds all sessions that subscribed to the topic of a publish.
//!
//! A topic with one subscriber (a device's own command topic, by far the most) lives inside the map; a topic with more
//! has a list of its own. The lock of a shard is held for one push at most, and never while a list is waited for: a
//! fan-out to ten thousand sessions stops no other topic. No step depends on the number of sessions.
//!
//! The single push stays under the lock, because a copy of the entry for each message costs a tenth of the rate: its
//! count of references is shared with the session that drains.

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
        loop {
            let many = match shard.read().get(&key) {
                None => return,
                Some(Entry::One(subscriber)) => return subscriber.offer(message, tally),
                Some(Entry::Many(many)) => Arc::clone(many),
            };
            let list = many.read();
            // Otherwise it became the entry of one subscriber meanwhile.
            if !list.is_retired() {
                return list.offer(message, tally);
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
        loop {
            let many = {
                let mut shard = shard.write();
                match shard.get_mut(&key) {
                    Some(Entry::Many(many)) => Arc::clone(many),
                    Some(one) => return one.put(subscriber),
                    None => {
                        let key = Key { tenant: tenant.clone(), topic: topic.clone() };
                        shard.insert(key, Entry::One(subscriber));
                        return true;
                    }
                }
            };
            let mut list = many.write();
            if !list.is_retired() {
                return list.put(subscriber);
            }
        }
    }

    /// Unsubscribes; returns whether there was such a subscription.
    pub fn unsubscribe(&self, tenant: &TenantId, topic: &TopicName, id: SubscriberId) -> bool {
        let key = KeyRef { tenant: tenant.as_str(), topic: topic.as_str() };
        let Some(shard) = self.shard(&key) else { return false };
        loop {
            let many = {
                let mut shard = shard.write();
                match shard.get(&key) {
                    None => return false,
                    Some(Entry::One(known)) if known.outbox.id() != id => return false,
                    Some(Entry::One(_)) => {
                        shard.remove(&key);
                        shrink(&mut shard);
                        return true;
                    }
                    Some(Entry::Many(many)) => Arc::clone(many),
                }
            };
            let mut list = many.write();
            if list.is_retired() {
                continue;
            }
            let was = list.remove(id);
            if list.len() > 1 {
                return was;
            }
            // A list of one goes back into the map, before anything that waits for the list looks there again.
            let last = list.retire();
            replace(&mut shard.write(), &key, &many, last);
            return was;
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

/// Puts the last subscriber of a retired list in its place.
fn replace(
    shard: &mut Shard,
    key: &KeyRef<'_>,
    list: &Arc<RwLock<Subscribers>>,
    last: Option<Subscriber>,
) {
    let is_present =
        |entry: &Entry| matches!(entry, Entry::Many(present) if Arc::ptr_eq(present, list));
    let Some(entry) = shard.get_mut(key).filter(|entry| is_present(entry)) else { return };
    match last {
        Some(last) => *entry = Entry::One(last),
        None => {
            shard.remove(key);
            shrink(shard);
        }
    }
}

impl Entry {
    /// For an entry of one subscriber.
    fn put(&mut self, subscriber: Subscriber) -> bool {
        let Self::One(known) = self else { return false };
        if known.outbox.id() == subscriber.outbox.id() {
            *known = subscriber;
            return false;
        }
        let mut many = Subscribers::default();
        many.put(known.clone());
        many.put(subscriber);
        *self = Self::Many(Arc::new(RwLock::new(many)));
        true
    }
}
