//! Shared groups with a member whose session is persistent: the publishing task serves them, not the router.
//!
//! An acknowledged message for a persistent session must be on disk, and the router delivers after the publisher was
//! answered. So the member is chosen at once, gets its row, and the publisher waits for that. The price is the router's
//! back-pressure: a message that no member has room for is lost (counted), as for every persistent session.
//!
//! A group whose members all end with their connection stays with the router until a persistent one joins. From then on
//! each message says whether the group had it already: the number that [`DurableGroups::publish`] returns travels
//! through the router, and the group's reader skips messages that are not older than the group's own number.

use super::group::Group;
use super::tree::FilterTree;
use crate::message::Message;
use crate::routing::outbox::Push;
use crate::routing::per_tenant::PerTenant;
use crate::routing::Tally;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use tessera_token::ids::TenantId;
use tessera_token::topic::TopicFilter;

/// The groups; a publish costs one look at a number while there never was one.
#[derive(Default)]
pub(super) struct DurableGroups {
    /// How many groups have joined so far. A group gets its number while no publish of its tenant is under way.
    joined: AtomicU64,
    trees: PerTenant<FilterTree<Vec<Arc<Group>>>>,
}

impl DurableGroups {
    /// Hands the message to a member of each group that matches, and gives the number by which the groups that had it
    /// are known.
    pub(super) fn publish(&self, message: &Arc<Message>, tally: &mut Tally) -> u64 {
        if self.joined.load(Ordering::Acquire) == 0 {
            return 0;
        }
        let joined = self.trees.read(&message.tenant, |tree| {
            tree.matching(message.topic.as_str(), |groups| {
                for group in groups {
                    let offered = group.offer(message);
                    if matches!(offered, Push::Full | Push::NoShare) {
                        group.miss(1);
                    }
                    tally.note(offered);
                }
            });
            self.joined.load(Ordering::Acquire)
        });
        // No group of the tenant had it.
        joined.unwrap_or(0)
    }

    /// From now on the group is served here.
    pub(super) fn add(&self, tenant: &TenantId, filter: &TopicFilter, group: &Arc<Group>) {
        self.trees.change(tenant, |tree| {
            if group.is_at_once() {
                return;
            }
            let mut groups = tree.remove(filter).unwrap_or_default();
            groups.push(Arc::clone(group));
            tree.put(filter, groups);
            group.serve_at_once_from(self.joined.fetch_add(1, Ordering::AcqRel) + 1);
        });
    }

    /// The group has no member any more.
    pub(super) fn remove(&self, tenant: &TenantId, filter: &TopicFilter, group: &Arc<Group>) {
        self.trees.change(tenant, |tree| {
            let Some(mut groups) = tree.remove(filter) else { return };
            groups.retain(|one| !Arc::ptr_eq(one, group));
            if !groups.is_empty() {
                tree.put(filter, groups);
            }
        });
    }
}
