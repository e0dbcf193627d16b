//! Message routing: from an authorised message to the outboxes of all subscribers. Knows nothing of sockets or rights.
//!
//! 1. [`exact`] has exact filters: one hash lookup. Metrics call it the lane `device`.
//! 2. [`persistent`] has wildcards of persistent sessions, since rumqttd's router keeps its messages in memory.
//! 3. [`wildcard`] has all other wildcards and the shared filters, by rumqttd's router. Metrics call it the lane
//!    `fleet`.
//!
//! A session opens [`SessionRoutes`] with its [`Outbox`], subscribes through them and drains the outbox. It checks its
//! rights before a subscribe, before a publish, and again on each delivery that it takes out. [`retained`] keeps the
//! last message of each topic.

mod delivery;
pub mod exact;
mod outbox;
mod per_tenant;
mod persistent;
pub mod retained;
pub(crate) mod row;
mod session;
#[cfg(test)]
mod speed;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod wildcard;

pub use delivery::{Delivery, Sequence};
pub(crate) use outbox::Free;
pub use outbox::{Outbox, OutboxReader, Push};
pub use session::SessionRoutes;

use crate::limits::ROUTER_TICK;
use crate::message::Message;
use core::fmt;
use exact::ExactRoutes;
use persistent::PersistentRoutes;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tessera_token::ids::TenantId;
use tessera_token::refusal::RefusalCode;
use tokio::runtime::Handle;
pub(crate) use wildcard::Rest;
use wildcard::{WildcardRoutes, WildcardStats};

/// Why a subscription could not be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RoutingError {
    /// The share of the device, of its tenant or of all is used up (MQTT 0x97).
    ShareUsedUp,
    /// A limit of `limits.rs` on all or on one group is reached (MQTT 0x97).
    QuotaExceeded,
    /// The router cannot be reached (MQTT 0x80).
    Unavailable,
}

impl RoutingError {
    /// As it is refused.
    pub const fn code(self) -> RefusalCode {
        match self {
            Self::ShareUsedUp => RefusalCode::ShareUsedUp,
            Self::QuotaExceeded => RefusalCode::LimitReached,
            Self::Unavailable => RefusalCode::NotReady,
        }
    }
}

impl fmt::Display for RoutingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ShareUsedUp => "the device or its tenant has as many subscriptions as it may",
            Self::QuotaExceeded => "a limit on subscriptions is reached",
            Self::Unavailable => {
                "the router of wildcard and shared subscriptions cannot be reached"
            }
        })
    }
}

impl std::error::Error for RoutingError {}

/// The result of a publish by exact routes, and the number of wildcard and shared filters that it goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Sessions whose outbox took it.
    pub taken: usize,
    /// Sessions whose outbox was full, or whose share is used up: they miss it.
    pub full: usize,
    /// Wildcard and shared filters that matched.
    pub filters: usize,
    /// Of these, such whose only reader has no share left: it misses the message.
    pub lost: usize,
    /// Commit that must be durable before the publisher is answered; 0 for none.
    pub commit: u64,
    /// Names the durable shared groups that had it: [`Routing::publish_to_wildcards`] leaves them out.
    pub number: u64,
}

impl Tally {
    /// Counts a push.
    pub(in crate::routing) fn note(&mut self, push: Push) {
        match push {
            Push::Taken => self.taken += 1,
            Push::Stored(commit) => {
                self.taken += 1;
                self.commit = self.commit.max(commit);
            }
            Push::Full | Push::NoShare => self.full += 1,
            Push::Closed => {}
        }
    }

    /// Subscribers that miss it for want of room, as far as that is known yet: a log may turn out to have such too.
    pub fn missed(&self) -> usize {
        self.full + self.lost
    }

    /// Whether it has a subscriber that has it or may get it.
    pub fn has_reached(&self) -> bool {
        self.taken > 0 || self.filters > self.lost
    }

    /// Whether no subscription matches the topic (PUBACK 0x10).
    pub fn no_matching_subscribers(&self) -> bool {
        self.taken == 0 && self.full == 0 && self.filters == 0
    }
}

/// The routes of all subscriptions.
pub struct Routing {
    exact: ExactRoutes,
    persistent: PersistentRoutes,
    wildcard: WildcardRoutes,
}

impl Routing {
    /// Starts the router of wildcard routes; `runtime` runs its readers.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(runtime: Handle) -> io::Result<Arc<Self>> {
        Self::start_with(runtime, ROUTER_TICK)
    }

    fn start_with(runtime: Handle, tick: Duration) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            exact: ExactRoutes::new(),
            persistent: PersistentRoutes::default(),
            wildcard: WildcardRoutes::start(runtime, tick)?,
        }))
    }

    /// Delivers a message to all subscribers that can be reached without waiting; returns the rest for
    /// [`Routing::finish`].
    pub fn publish(&self, message: &Arc<Message>) -> (Tally, Option<Rest>) {
        let mut tally = self.publish_at_once(message);
        let rest = self.publish_to_wildcards(message, &mut tally);
        (tally, rest)
    }

    /// The part of [`Self::publish`] that one commit can hold: exact filters, and all that persistent sessions
    /// subscribed to.
    pub fn publish_at_once(&self, message: &Arc<Message>) -> Tally {
        let mut tally = Tally::default();
        self.exact.publish(message, &mut tally);
        self.persistent.publish(message, &mut tally);
        tally.number = self.wildcard.publish_at_once(message, &mut tally);
        tally
    }

    /// The other part, with the tally of the first, which it completes; returns the rest.
    pub fn publish_to_wildcards(&self, message: &Arc<Message>, tally: &mut Tally) -> Option<Rest> {
        self.wildcard.offer(message, tally)
    }

    /// Delivers the rest. Waits while the queue of the router is full: until then the caller reads no further packet of
    /// this publisher. Not cancel-safe: cancelled, only a part of the subscribers has been served.
    pub async fn finish(&self, rest: Rest) {
        self.wildcard.write(rest).await;
    }

    /// The subscriptions of one session; they end when it is dropped.
    pub fn session(self: &Arc<Self>, tenant: TenantId, outbox: Arc<Outbox>) -> SessionRoutes {
        SessionRoutes::new(Arc::clone(self), tenant, outbox)
    }

    /// Stops the router: no client is connected any more.
    pub fn stop(&self) {
        self.wildcard.stop();
    }

    /// Whether wildcard and shared subscriptions are served.
    pub fn is_healthy(&self) -> bool {
        self.wildcard.is_healthy()
    }

    /// Counters of the wildcard routes since start.
    pub fn wildcard_stats(&self) -> WildcardStats {
        self.wildcard.stats()
    }

    /// Messages, by QoS, that were lost for want of a share after their publishers had been answered, since this was
    /// asked last.
    pub(crate) fn take_lost(&self) -> [u64; 3] {
        self.wildcard.take_lost()
    }

    /// Topics with at least one exact subscriber.
    pub fn exact_topics(&self) -> usize {
        self.exact.topics()
    }
}
