//! One message on its way to one session.

use super::outbox::Push;
use super::wildcard::group::Group;
use crate::codec::QoS;
use crate::limits::QUEUED_MESSAGE_OVERHEAD;
use crate::message::{Message, Options};
use std::sync::{Arc, Weak};

/// One message on its way to one session.
#[derive(Clone)]
pub struct Delivery {
    /// The message.
    pub message: Arc<Message>,
    /// The subscription that matched.
    pub options: Options,
    /// Sent because it was retained, not because it was just published.
    pub retained: bool,
    /// Its place among what is kept for the session.
    pub sequence: Sequence,
    pub(super) live_only: bool,
    /// Bytes that it counts for while it waits.
    pub(super) cost: u32,
    share: Option<Weak<Group>>,
}

/// The place of a QoS 1 or 2 delivery among all of a persistent session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sequence {
    /// Its number; 0 for a session that is not kept. Packet ids follow it, so that they are the same after a restart.
    pub number: u64,
    /// Commit that must be durable before it is sent; 0 for none.
    pub commit: u64,
    /// It comes from before a restart: perhaps it was sent already.
    pub again: bool,
}

impl Delivery {
    /// A delivery that waits for nothing.
    pub fn new(message: Arc<Message>, options: Options, retained: bool) -> Self {
        let sequence = Sequence::default();
        let cost = u32::try_from(message.cost()).unwrap_or(u32::MAX);
        Self { message, options, retained, sequence, live_only: false, cost, share: None }
    }

    /// The same, not kept across a restart: it is about the present connection.
    #[must_use]
    pub fn live_only(self) -> Self {
        Self { live_only: true, ..self }
    }

    /// The same, of a shared subscription.
    pub(in crate::routing) fn shared(self, group: &Arc<Group>) -> Self {
        Self { share: Some(Arc::downgrade(group)), ..self }
    }

    /// Offers what its session will not get to the other members of the shared subscription that it came by; false
    /// when there is none or none has room (MQTT 5 section 4.8.2).
    pub fn offer_to_others(&self) -> bool {
        let group = self.share.as_ref().and_then(Weak::upgrade);
        let pushed = group.map(|group| group.offer(&self.message));
        matches!(pushed, Some(Push::Taken | Push::Stored(_)))
    }

    /// Its bytes in a share from when it leaves the queue until it is done with; a QoS 0 message is done with at once.
    pub(crate) fn held_under_way(&self) -> usize {
        match self.qos() {
            QoS::AtMostOnce => 0,
            _ => self.cost as usize + QUEUED_MESSAGE_OVERHEAD,
        }
    }

    /// The lower of what was published and what is wished.
    pub fn qos(&self) -> QoS {
        self.message.qos.min(self.options.qos)
    }

    /// The retain flag on the wire (MQTT 5 section 3.3.1.3).
    pub fn retain(&self) -> bool {
        self.retained || (self.options.retain_as_published && self.message.retain)
    }
}
