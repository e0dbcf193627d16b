//! Delivery: from an authorised message to the outboxes of all who subscribed. Knows nothing of sockets or rights.
//!
//! Two lanes: [`device`] for exact filters (one hash lookup), [`fleet`] for wildcard and shared ones (rumqttd's router).
//! Wildcards of sessions that are kept across restarts have a small one of their own ([`kept`]): the router forgets.
//! A session opens a [`LaneSession`] with its [`Outbox`], subscribes through it and drains the outbox; rights are
//! checked by the session before a subscribe, before a publish, and again on each delivery that it takes out.
//! [`retained`] keeps the last message of each topic.

mod delivery;
pub mod device;
pub mod fleet;
mod kept;
mod outbox;
pub mod retained;
pub(crate) mod row;
mod session;
#[cfg(test)]
mod speed;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use delivery::{Delivery, Sequence};
pub(crate) use outbox::Free;
pub use outbox::{Outbox, Push};
pub use session::LaneSession;

use crate::limits::FLEET_TICK;
use crate::message::Message;
use core::fmt;
use device::DeviceLane;
pub(crate) use fleet::Rest;
use fleet::{FleetLane, FleetStats};
use kept::KeptLane;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tessera_token::ids::TenantId;
use tessera_token::refusal::RefusalCode;
use tokio::runtime::Handle;

/// Why a subscription could not be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LaneError {
    /// The share of the device, of its tenant or of all is used up (MQTT 0x97).
    ShareUsedUp,
    /// A limit of `limits.rs` on all or on one group is reached (MQTT 0x97).
    QuotaExceeded,
    /// The router cannot be reached (MQTT 0x80).
    Unavailable,
}

impl LaneError {
    /// As it is refused.
    pub const fn code(self) -> RefusalCode {
        match self {
            Self::ShareUsedUp => RefusalCode::ShareUsedUp,
            Self::QuotaExceeded => RefusalCode::LimitReached,
            Self::Unavailable => RefusalCode::NotReady,
        }
    }
}

impl fmt::Display for LaneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ShareUsedUp => "the device or its tenant has as many subscriptions as it may",
            Self::QuotaExceeded => "a limit on subscriptions is reached",
            Self::Unavailable => "the fleet lane cannot be reached",
        })
    }
}

impl std::error::Error for LaneError {}

/// The result of a publish in the device lane, and the number of filters of the fleet lane that it goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Sessions whose outbox took it.
    pub taken: usize,
    /// Sessions whose outbox was full, or whose share is used up: they miss it.
    pub full: usize,
    /// Filters of the fleet lane that matched.
    pub filters: usize,
    /// Of these, such whose only reader has no share left: it misses the message.
    pub lost: usize,
    /// Commit that must be durable before the publisher is answered; 0 for none.
    pub commit: u64,
    /// Names the shared groups that had it at once: [`Lanes::publish_to_fleet`] leaves them out.
    pub number: u64,
}

impl Tally {
    /// Counts a push.
    pub(in crate::lanes) fn note(&mut self, push: Push) {
        match push {
            Push::Taken => self.taken += 1,
            Push::Kept(commit) => {
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

    /// Whether no client listens to the topic (PUBACK 0x10).
    pub fn is_nobody(&self) -> bool {
        self.taken == 0 && self.full == 0 && self.filters == 0
    }
}

/// Both lanes.
pub struct Lanes {
    device: DeviceLane,
    kept: KeptLane,
    fleet: FleetLane,
}

impl Lanes {
    /// Starts both lanes; `runtime` runs the readers of the fleet lane.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(runtime: Handle) -> io::Result<Arc<Self>> {
        Self::start_with(runtime, FLEET_TICK)
    }

    fn start_with(runtime: Handle, tick: Duration) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            device: DeviceLane::new(),
            kept: KeptLane::default(),
            fleet: FleetLane::start(runtime, tick)?,
        }))
    }

    /// Delivers a message to all who can be reached without waiting, and tells what is left for [`Lanes::finish`].
    pub fn publish(&self, message: &Arc<Message>) -> (Tally, Option<Rest>) {
        let mut tally = self.publish_at_once(message);
        let rest = self.publish_to_fleet(message, &mut tally);
        (tally, rest)
    }

    /// The part of [`Self::publish`] that one commit can hold: exact filters, and all that persistent sessions subscribed to.
    pub fn publish_at_once(&self, message: &Arc<Message>) -> Tally {
        let mut tally = Tally::default();
        self.device.publish(message, &mut tally);
        self.kept.publish(message, &mut tally);
        tally.number = self.fleet.publish_at_once(message, &mut tally);
        tally
    }

    /// The other part, with the tally of the first, which it completes; tells what is left.
    pub fn publish_to_fleet(&self, message: &Arc<Message>, tally: &mut Tally) -> Option<Rest> {
        self.fleet.offer(message, tally)
    }

    /// Delivers what is left. Waits while the queue of the fleet lane is full: the caller reads no further packet of
    /// this publisher meanwhile. Not cancel-safe: cancelled, only a part of the subscribers has been served.
    pub async fn finish(&self, rest: Rest) {
        self.fleet.write(rest).await;
    }

    /// The subscriptions of one session; they end when it is dropped.
    pub fn session(self: &Arc<Self>, tenant: TenantId, outbox: Arc<Outbox>) -> LaneSession {
        LaneSession::new(Arc::clone(self), tenant, outbox)
    }

    /// Ends the fleet lane: no client is connected any more.
    pub fn stop(&self) {
        self.fleet.stop();
    }

    /// Whether wildcard and shared subscriptions are served.
    pub fn is_healthy(&self) -> bool {
        self.fleet.is_healthy()
    }

    /// Counters of the fleet lane since start.
    pub fn fleet_stats(&self) -> FleetStats {
        self.fleet.stats()
    }

    /// Messages, by QoS, that were lost for want of a share after their publishers had been answered, since this was
    /// asked last.
    pub(crate) fn take_lost(&self) -> [u64; 3] {
        self.fleet.take_lost()
    }

    /// Topics with at least one exact subscriber.
    pub fn device_topics(&self) -> usize {
        self.device.topics()
    }
}
