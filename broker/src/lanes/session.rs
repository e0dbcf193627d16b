//! The subscriptions of one session, in whichever lane each belongs.

use super::fleet::FleetSubscription;
use super::outbox::Outbox;
use super::{LaneError, Lanes};
use crate::message::Options;
use crate::shares::{self, Kind};
use hashbrown::HashMap;
use std::sync::Arc;
use tessera_token::ids::TenantId;
use tessera_token::topic::{Subscription, TopicName};

/// All that one session subscribed to. Dropping it unsubscribes everything; the cost is that of its own subscriptions.
pub struct LaneSession {
    lanes: Arc<Lanes>,
    tenant: TenantId,
    outbox: Arc<Outbox>,
    held: HashMap<Subscription, Held>,
}

enum Held {
    Device(TopicName),
    Fleet(FleetSubscription),
    /// A wildcard of a session that is kept across restarts.
    Kept,
}

impl LaneSession {
    pub(super) fn new(lanes: Arc<Lanes>, tenant: TenantId, outbox: Arc<Outbox>) -> Self {
        Self { lanes, tenant, outbox, held: HashMap::new() }
    }

    /// Subscribes, or changes the options of a subscription that is there; returns whether it is new. Messages
    /// published after this returns are delivered.
    ///
    /// # Errors
    /// A limit is reached, or the fleet lane cannot be reached; nothing has changed then.
    pub async fn subscribe(
        &mut self,
        wanted: &Subscription,
        options: Options,
    ) -> Result<bool, LaneError> {
        if let Some(Held::Fleet(known)) = self.held.get(wanted) {
            known.set_options(options);
            return Ok(false);
        }
        let part = match self.held.contains_key(wanted) {
            true => None,
            false => {
                let account = self.outbox.holding().account();
                let part = shares::part(account, Kind::Subscriptions, 1);
                Some(part.map_err(|_| LaneError::ShareUsedUp)?)
            }
        };
        let held = match exact(wanted) {
            Some(topic) => {
                self.lanes.device.subscribe(&self.tenant, &topic, &self.outbox, options);
                Held::Device(topic)
            }
            None if wanted.share.is_none() && self.outbox.is_kept() => {
                self.lanes.kept.subscribe(&self.tenant, &wanted.filter, &self.outbox, options);
                Held::Kept
            }
            None => Held::Fleet(self.subscribe_fleet(wanted, options).await?),
        };
        // It is given back with the subscription.
        part.into_iter().flatten().for_each(shares::Part::hold);
        Ok(self.held.insert(wanted.clone(), held).is_none())
    }

    /// Puts back what a persistent session subscribed to before a restart: it counts in the share in any case. Nothing of the
    /// router is needed, so nothing can refuse it: persistent sessions are served as messages are published.
    pub(crate) fn restore(&mut self, known: &Subscription, options: Options) {
        let Self { lanes, tenant, outbox, .. } = self;
        let held = match (exact(known), &known.share) {
            (Some(topic), _) => {
                lanes.device.subscribe(tenant, &topic, outbox, options);
                Held::Device(topic)
            }
            (None, Some(name)) => {
                Held::Fleet(lanes.fleet.rejoin(tenant, name, &known.filter, outbox, options))
            }
            (None, None) => {
                lanes.kept.subscribe(tenant, &known.filter, outbox, options);
                Held::Kept
            }
        };
        let is_new = self.held.insert(known.clone(), held).is_none();
        if let (Some(account), true) = (self.outbox.holding().account(), is_new) {
            account.force(Kind::Subscriptions, 1);
        }
    }

    async fn subscribe_fleet(
        &self,
        wanted: &Subscription,
        options: Options,
    ) -> Result<FleetSubscription, LaneError> {
        let fleet = &self.lanes.fleet;
        match &wanted.share {
            Some(name) => {
                fleet.join(&self.tenant, name, &wanted.filter, &self.outbox, options).await
            }
            None => fleet.subscribe(&self.tenant, &wanted.filter, &self.outbox, options).await,
        }
    }

    /// Unsubscribes; tells whether there was such a subscription.
    pub fn unsubscribe(&mut self, wanted: &Subscription) -> bool {
        let held = self.held.remove(wanted);
        self.give_back(usize::from(held.is_some()));
        match held {
            None => false,
            Some(Held::Fleet(_)) => true,
            Some(Held::Kept) => {
                self.lanes.kept.unsubscribe(&self.tenant, &wanted.filter, self.outbox.id())
            }
            Some(Held::Device(topic)) => {
                self.lanes.device.unsubscribe(&self.tenant, &topic, self.outbox.id())
            }
        }
    }

    fn give_back(&self, subscriptions: usize) {
        if let Some(account) = self.outbox.holding().account() {
            account.give_back(Kind::Subscriptions, subscriptions);
        }
    }

    /// The subscriptions.
    pub fn subscriptions(&self) -> impl Iterator<Item = &Subscription> {
        self.held.keys()
    }

    /// Where the messages come to.
    pub fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }
}

/// The topic of an exact filter that is not shared.
fn exact(wanted: &Subscription) -> Option<TopicName> {
    if wanted.share.is_some() || !wanted.filter.is_exact() {
        return None;
    }
    TopicName::parse(wanted.filter.as_str()).ok()
}

impl Drop for LaneSession {
    fn drop(&mut self) {
        let id = self.outbox.id();
        self.give_back(self.held.len());
        for (wanted, held) in &self.held {
            match held {
                Held::Device(topic) => drop(self.lanes.device.unsubscribe(&self.tenant, topic, id)),
                Held::Kept => drop(self.lanes.kept.unsubscribe(&self.tenant, &wanted.filter, id)),
                Held::Fleet(_) => {}
            }
        }
    }
}
