//! The subscriptions of one session, each by the route that serves it.

use super::outbox::Outbox;
use super::wildcard::WildcardSubscription;
use super::{Routing, RoutingError};
use crate::message::Options;
use crate::shares::{self, Kind};
use hashbrown::HashMap;
use std::sync::Arc;
use tessera_token::ids::TenantId;
use tessera_token::topic::{Subscription, TopicName};

/// All that one session subscribed to. Dropping it unsubscribes everything; the cost is that of its own subscriptions.
pub struct SessionRoutes {
    routing: Arc<Routing>,
    tenant: TenantId,
    outbox: Arc<Outbox>,
    held: HashMap<Subscription, Held>,
}

enum Held {
    Exact(TopicName),
    Wildcard(WildcardSubscription),
    /// A wildcard of a persistent session.
    Persistent,
}

impl SessionRoutes {
    pub(super) fn new(routing: Arc<Routing>, tenant: TenantId, outbox: Arc<Outbox>) -> Self {
        Self { routing, tenant, outbox, held: HashMap::new() }
    }

    /// Subscribes, or changes the options of a subscription that is there; returns whether it is new. Messages
    /// published after this returns are delivered.
    ///
    /// # Errors
    /// A limit is reached, or the router cannot be reached; nothing has changed then.
    pub async fn subscribe(
        &mut self,
        wanted: &Subscription,
        options: Options,
    ) -> Result<bool, RoutingError> {
        if let Some(Held::Wildcard(known)) = self.held.get(wanted) {
            known.set_options(options);
            return Ok(false);
        }
        let part = match self.held.contains_key(wanted) {
            true => None,
            false => {
                let account = self.outbox.holding().account();
                let part = shares::part(account, Kind::Subscriptions, 1);
                Some(part.map_err(|_| RoutingError::ShareUsedUp)?)
            }
        };
        let held = match exact(wanted) {
            Some(topic) => {
                self.routing.exact.subscribe(&self.tenant, &topic, &self.outbox, options);
                Held::Exact(topic)
            }
            None if wanted.share.is_none() && self.outbox.is_persistent() => {
                self.routing.persistent.subscribe(
                    &self.tenant,
                    &wanted.filter,
                    &self.outbox,
                    options,
                );
                Held::Persistent
            }
            None => Held::Wildcard(self.subscribe_wildcard(wanted, options).await?),
        };
        // It is given back with the subscription.
        part.into_iter().flatten().for_each(shares::Part::hold);
        Ok(self.held.insert(wanted.clone(), held).is_none())
    }

    /// Restores a subscription of a persistent session after a restart: it counts in the share in any case. The router
    /// is not needed, so that nothing can refuse it: persistent sessions are served as messages are published.
    pub(crate) fn restore(&mut self, known: &Subscription, options: Options) {
        let Self { routing, tenant, outbox, .. } = self;
        let held = match (exact(known), &known.share) {
            (Some(topic), _) => {
                routing.exact.subscribe(tenant, &topic, outbox, options);
                Held::Exact(topic)
            }
            (None, Some(name)) => Held::Wildcard(routing.wildcard.rejoin(
                tenant,
                name,
                &known.filter,
                outbox,
                options,
            )),
            (None, None) => {
                routing.persistent.subscribe(tenant, &known.filter, outbox, options);
                Held::Persistent
            }
        };
        let is_new = self.held.insert(known.clone(), held).is_none();
        if let (Some(account), true) = (self.outbox.holding().account(), is_new) {
            account.force(Kind::Subscriptions, 1);
        }
    }

    async fn subscribe_wildcard(
        &self,
        wanted: &Subscription,
        options: Options,
    ) -> Result<WildcardSubscription, RoutingError> {
        let routes = &self.routing.wildcard;
        match &wanted.share {
            Some(name) => {
                routes.join(&self.tenant, name, &wanted.filter, &self.outbox, options).await
            }
            None => routes.subscribe(&self.tenant, &wanted.filter, &self.outbox, options).await,
        }
    }

    /// Unsubscribes; returns whether there was such a subscription.
    pub fn unsubscribe(&mut self, wanted: &Subscription) -> bool {
        let held = self.held.remove(wanted);
        self.give_back(usize::from(held.is_some()));
        match held {
            None => false,
            Some(Held::Wildcard(_)) => true,
            Some(Held::Persistent) => {
                self.routing.persistent.unsubscribe(&self.tenant, &wanted.filter, self.outbox.id())
            }
            Some(Held::Exact(topic)) => {
                self.routing.exact.unsubscribe(&self.tenant, &topic, self.outbox.id())
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

impl Drop for SessionRoutes {
    fn drop(&mut self) {
        let id = self.outbox.id();
        self.give_back(self.held.len());
        for (wanted, held) in &self.held {
            match held {
                Held::Exact(topic) => drop(self.routing.exact.unsubscribe(&self.tenant, topic, id)),
                Held::Persistent => {
                    let _ = self.routing.persistent.unsubscribe(&self.tenant, &wanted.filter, id);
                }
                Held::Wildcard(_) => {}
            }
        }
    }
}
