//! The last retained message of each topic, in memory, with limits.
//!
//! A message lives until it is replaced, deleted by an empty payload, expires (message expiry or the publisher's token,
//! whichever is first: RFC 9431), or its publisher loses its rights. The session checks whether its subscriber may see
//! a message. The store holds the rows that survive a restart, and loads them through `Retained::restore`.

mod limits;
#[cfg(test)]
mod tests;
mod tree;

pub use limits::RetainedLimits;

use crate::limits::{RETAINED_BYTES, RETAINED_MESSAGES, RETAINED_PER_LOOKUP, RETAINED_VISITS};
use crate::message::encoding;
use crate::message::Message;
use crate::message::Trusted;
use crate::persistence::{Persistence, Row, Step};
use hashbrown::{HashMap, HashSet};
use parking_lot::RwLock;
use std::collections::BTreeSet;
use std::sync::Arc;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;
use tessera_token::topic::{TopicFilter, TopicName};
use tree::TopicTree;

/// The result of a retained publish.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stored {
    /// It is the topic's message now.
    Kept,
    /// An empty payload: there is none now.
    Deleted,
    /// A limit is reached; the topic's older message, if any, stays (MQTT 0x97).
    Full(Limit),
    /// It was over already: there is none now.
    Expired,
}

/// The limit on retained messages that is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limit {
    /// That of all.
    All,
    /// That of the tenant.
    Tenant,
    /// That of the publisher.
    Publisher,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::All, Self::Tenant, Self::Publisher];

    /// As a metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::All => "retained",
            Self::Tenant => "retained_per_tenant",
            Self::Publisher => "retained_per_device",
        }
    }

    /// As it is refused.
    pub const fn code(self) -> RefusalCode {
        match self {
            Self::All => RefusalCode::LimitReached,
            Self::Tenant | Self::Publisher => RefusalCode::ShareUsedUp,
        }
    }
}

/// Messages, and their bytes.
#[derive(Clone, Copy, Default)]
struct Sum {
    count: usize,
    bytes: usize,
}

/// Messages found for a filter.
pub struct Found {
    /// In no particular order.
    pub messages: Vec<Arc<Message>>,
    /// True when the limits of a lookup cut it short.
    pub cut: bool,
}

/// All retained messages of the broker.
pub struct Retained {
    inner: RwLock<Inner>,
}

struct Inner {
    persistence: Option<Arc<Persistence>>,
    last_row: u64,
    tenants: HashMap<TenantId, OfTenant>,
    publishers: HashMap<(TenantId, DeviceId), OfPublisher>,
    deadlines: BTreeSet<(UnixSeconds, TenantId, TopicName)>,
    sum: Sum,
    most: RetainedLimits,
}

#[derive(Default)]
struct OfTenant {
    tree: TopicTree,
    sum: Sum,
}

#[derive(Default)]
struct OfPublisher {
    topics: HashSet<TopicName>,
    sum: Sum,
}

/// The moment from which a retained message must no longer be sent.
pub fn deadline(message: &Message) -> UnixSeconds {
    let token = message.publisher.token_expires;
    message.expires().map_or(token, |expires| expires.min(token))
}

impl Default for Retained {
    fn default() -> Self {
        Self::new()
    }
}

impl Retained {
    /// An empty store with the limits of `limits.rs` on all together.
    pub fn new() -> Self {
        let all = (RETAINED_MESSAGES, RETAINED_BYTES);
        Self::with(None, RetainedLimits { all, tenant: all, device: all })
    }

    /// An empty store whose messages survive a restart, for so many messages and bytes at most.
    pub(crate) fn stored_in(persistence: Arc<Persistence>, most: RetainedLimits) -> Self {
        Self::with(Some(persistence), most)
    }

    fn with(persistence: Option<Arc<Persistence>>, most: RetainedLimits) -> Self {
        Self {
            inner: RwLock::new(Inner {
                persistence,
                last_row: 0,
                tenants: HashMap::new(),
                publishers: HashMap::new(),
                deadlines: BTreeSet::new(),
                sum: Sum::default(),
                most,
            }),
        }
    }

    /// Restores the message of row `row`, whatever the limits say. No lookup finds one that has expired.
    pub(crate) fn restore(&self, mut message: Message, row: u64) {
        let mut inner = self.inner.write();
        inner.last_row = inner.last_row.max(row);
        message.set_row(row);
        inner.insert(Arc::new(message));
    }

    /// Row numbers up to this one have been used.
    pub(crate) fn note_row(&self, row: u64) {
        let mut inner = self.inner.write();
        inner.last_row = inner.last_row.max(row);
    }

    /// Takes a publish with the retain flag. The message is copied: it keeps no network buffer alive. One that has
    /// expired already replaces the older one too [MQTT-3.3.1-5], by nothing.
    pub fn set(&self, message: &Message, now: UnixSeconds) -> Stored {
        let without = if message.payload.is_empty() {
            Stored::Deleted
        } else if deadline(message) <= now {
            Stored::Expired
        } else {
            return self.inner.write().keep_and_put(message);
        };
        self.inner.write().remove(&message.tenant, &message.topic);
        without
    }

    /// The live messages on topics that match.
    pub fn lookup(&self, tenant: &TenantId, filter: &TopicFilter, now: UnixSeconds) -> Found {
        let inner = self.inner.read();
        let mut found = Found { messages: Vec::new(), cut: false };
        let Some(OfTenant { tree, .. }) = inner.tenants.get(tenant) else { return found };
        found.cut = !tree.matching(filter, RETAINED_VISITS, |message| {
            if deadline(message) > now {
                found.messages.push(Arc::clone(message));
            }
            found.messages.len() < RETAINED_PER_LOOKUP
        });
        found
    }

    /// Whether this is still the message of its topic, and not over.
    pub fn is_current(&self, message: &Arc<Message>, now: UnixSeconds) -> bool {
        let inner = self.inner.read();
        let present = inner.get(&message.tenant, &message.topic);
        present.is_some_and(|present| Arc::ptr_eq(present, message)) && deadline(message) > now
    }

    /// Removes up to `most` messages that have expired; gives their topics, for the store.
    pub fn sweep(&self, now: UnixSeconds, most: usize) -> Vec<(TenantId, TopicName)> {
        let mut inner = self.inner.write();
        let due: Vec<_> =
            inner.deadlines.iter().take_while(|(at, ..)| *at <= now).take(most).cloned().collect();
        due.into_iter()
            .map(|(_, tenant, topic)| {
                inner.remove(&tenant, &topic);
                (tenant, topic)
            })
            .collect()
    }

    /// Removes the messages of a device for which `lost` is true; returns how many.
    pub fn remove_of(
        &self,
        tenant: &TenantId,
        device: &DeviceId,
        lost: impl Fn(&Message) -> bool,
    ) -> usize {
        let mut inner = self.inner.write();
        let known = inner.publishers.get(&(tenant.clone(), device.clone()));
        let known = known.into_iter().flat_map(|known| &known.topics);
        let is_lost =
            |topic: &&TopicName| inner.get(tenant, topic).is_some_and(|message| lost(message));
        let gone: Vec<_> = known.filter(is_lost).cloned().collect();
        for topic in &gone {
            inner.remove(tenant, topic);
        }
        gone.len()
    }

    /// Where something lies that was published under a token in which trust was taken back since.
    pub(crate) fn revoked(&self, trusted: Trusted<'_>) -> Vec<(TenantId, TopicName)> {
        let inner = self.inner.read();
        let mut found = Vec::new();
        for (tenant, OfTenant { tree, .. }) in &inner.tenants {
            tree.all(|message| {
                if message.is_revoked(trusted) {
                    found.push((tenant.clone(), message.topic.clone()));
                }
            });
        }
        found
    }

    /// Removes it, unless another client has published there since.
    pub(crate) fn remove_revoked(
        &self,
        tenant: &TenantId,
        topic: &TopicName,
        trusted: Trusted<'_>,
    ) {
        let mut inner = self.inner.write();
        let found = inner.get(tenant, topic);
        if found.is_some_and(|message| message.is_revoked(trusted)) {
            inner.remove(tenant, topic);
        }
    }

    /// Messages and bytes kept.
    pub fn size(&self) -> (usize, usize) {
        let inner = self.inner.read();
        (inner.sum.count, inner.sum.bytes)
    }
}

impl Inner {
    /// The new row is noted before the old one goes: one of them is there at every moment. A refused message is not
    /// copied and takes no row.
    fn keep_and_put(&mut self, message: &Message) -> Stored {
        if let Err(limit) = self.has_room(message) {
            return Stored::Full(limit);
        }
        let mut message = message.copied();
        if let Some(persistence) = &self.persistence {
            self.last_row += 1;
            message.set_row(self.last_row);
            let row = encoding::encode_message(&message);
            persistence.note(Step::Put(Row::Retained(self.last_row), row));
        }
        self.insert(Arc::new(message));
        Stored::Kept
    }

    fn get(&self, tenant: &TenantId, topic: &TopicName) -> Option<&Arc<Message>> {
        self.tenants.get(tenant)?.tree.get(topic)
    }

    /// The narrowest limit first: a publisher at its own limit gets that one. A message that is no larger than the one
    /// that it replaces takes nothing more: it fits, also while there is more than there may be.
    fn has_room(&self, message: &Message) -> Result<(), Limit> {
        let old = self.get(&message.tenant, &message.topic);
        let publisher = publisher(message);
        let of_publisher = self.publishers.get(&publisher).map_or(Sum::default(), |of| of.sum);
        let of_tenant = self.tenants.get(&message.tenant).map_or(Sum::default(), |of| of.sum);
        let is_same = old.is_some_and(|old| old.publisher.author.device() == &publisher.1);
        let cost = message.cost();
        let fits = |sum: Sum, old: Option<&Arc<Message>>, (count, bytes): (usize, usize)| {
            let Some(old) = old else { return sum.count < count && sum.bytes + cost <= bytes };
            cost <= old.cost() || sum.bytes - old.cost() + cost <= bytes
        };
        let most = self.most;
        match () {
            () if !fits(of_publisher, old.filter(|_| is_same), most.device) => {
                Err(Limit::Publisher)
            }
            () if !fits(of_tenant, old, most.tenant) => Err(Limit::Tenant),
            () if !fits(self.sum, old, most.all) => Err(Limit::All),
            () => Ok(()),
        }
    }

    /// Puts it in the place of the topic's older one. The caller has asked [`Self::has_room`].
    fn insert(&mut self, message: Arc<Message>) {
        let (tenant, topic) = (message.tenant.clone(), message.topic.clone());
        self.remove(&tenant, &topic);
        let cost = message.cost();
        self.sum.add(cost);
        self.deadlines.insert((deadline(&message), tenant.clone(), topic.clone()));
        let of_publisher = self.publishers.entry(publisher(&message)).or_default();
        of_publisher.sum.add(cost);
        of_publisher.topics.insert(topic);
        let of_tenant = self.tenants.entry(tenant).or_default();
        of_tenant.sum.add(cost);
        of_tenant.tree.put(message);
    }

    fn remove(&mut self, tenant: &TenantId, topic: &TopicName) {
        let Some(of_tenant) = self.tenants.get_mut(tenant) else { return };
        let Some(old) = of_tenant.tree.remove(topic) else { return };
        let cost = old.cost();
        of_tenant.sum.take(cost);
        if of_tenant.tree.is_empty() {
            self.tenants.remove(tenant);
        }
        if let (Some(persistence), true) = (&self.persistence, old.row() != 0) {
            persistence.note(Step::Delete(Row::Retained(old.row())));
        }
        self.sum.take(cost);
        self.deadlines.remove(&(deadline(&old), tenant.clone(), topic.clone()));
        let publisher = publisher(&old);
        if let Some(of_publisher) = self.publishers.get_mut(&publisher) {
            of_publisher.sum.take(cost);
            of_publisher.topics.remove(topic);
            if of_publisher.topics.is_empty() {
                self.publishers.remove(&publisher);
            }
        }
    }
}

impl Sum {
    fn add(&mut self, cost: usize) {
        self.count += 1;
        self.bytes += cost;
    }

    fn take(&mut self, cost: usize) {
        self.count -= 1;
        self.bytes -= cost;
    }
}

fn publisher(message: &Message) -> (TenantId, DeviceId) {
    (message.tenant.clone(), message.publisher.author.device().clone())
}
