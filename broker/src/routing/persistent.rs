//! Wildcard subscriptions of persistent sessions.
//!
//! An acknowledged message for them must be durable, and the router's commit logs are memory. So such a message goes to
//! their outboxes at once, where each gets its row. A session that does not drain loses messages beyond its limit
//! (counted).

use super::exact::subscribers::{Subscriber, Subscribers};
use super::outbox::Outbox;
use super::per_tenant::PerTenant;
use super::wildcard::tree::FilterTree;
use super::Tally;
use crate::message::Options;
use crate::message::{Message, SubscriberId};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use tessera_token::ids::TenantId;
use tessera_token::topic::TopicFilter;

/// The routes; a publish costs one look at a number while no session uses it.
#[derive(Default)]
pub(super) struct PersistentRoutes {
    count: AtomicUsize,
    trees: PerTenant<FilterTree<Subscribers>>,
}

impl PersistentRoutes {
    pub(super) fn publish(&self, message: &Arc<Message>, tally: &mut Tally) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        self.trees.read(&message.tenant, |tree| {
            tree.matching(message.topic.as_str(), |all| all.offer(message, tally));
        });
    }

    pub(super) fn subscribe(
        &self,
        tenant: &TenantId,
        filter: &TopicFilter,
        outbox: &Arc<Outbox>,
        options: Options,
    ) {
        self.trees.change(tenant, |tree| {
            let mut all = tree.remove(filter).unwrap_or_default();
            if all.put(Subscriber { outbox: Arc::clone(outbox), options }) {
                self.count.fetch_add(1, Ordering::Release);
            }
            tree.put(filter, all);
        });
    }

    /// Tells whether there was such a subscription.
    pub(super) fn unsubscribe(
        &self,
        tenant: &TenantId,
        filter: &TopicFilter,
        id: SubscriberId,
    ) -> bool {
        self.trees.change(tenant, |tree| {
            let Some(mut all) = tree.remove(filter) else { return false };
            let was = all.remove(id);
            if was {
                self.count.fetch_sub(1, Ordering::Release);
            }
            if !all.is_empty() {
                tree.put(filter, all);
            }
            was
        })
    }
}
