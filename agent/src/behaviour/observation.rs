use tessera_behaviour::observation::{Fault, Network, SubjectKind};
use tessera_token::grant::Grant;
use tessera_token::key::Thumbprint;
use tessera_token::refusal::RefusalCode;

/// Observation of a device by one of its connections.
#[derive(Clone, Copy, Debug)]
pub enum Observation<'a> {
    /// An authorised publish.
    Published {
        /// The topic.
        topic: &'a str,
        /// Bytes of the payload.
        bytes: usize,
    },
    /// Authorised publishes to one topic, counted elsewhere.
    PublishedMany {
        /// The topic.
        topic: &'a str,
        /// How many.
        count: u32,
        /// Bytes of all their payloads.
        bytes: u64,
    },
    /// Messages that were written to the device.
    Received {
        /// How many.
        count: u32,
        /// Bytes of all of them.
        bytes: usize,
    },
    /// A PINGREQ.
    Pinged,
    /// An authorised subscription.
    Subscribed {
        /// The topic filter.
        filter: &'a str,
    },
    /// A right in use without a packet of its own: a subscription that a session brings along, or the topic of a will.
    /// The engine is not told of it.
    Holds {
        /// Whether it is a subscription; otherwise a will.
        subscribed: bool,
        /// The topic or filter.
        topic: &'a str,
    },
    /// A request for a token was refused.
    RequestRefused {
        /// Why.
        code: RefusalCode,
    },
    /// A publish or a subscription was refused.
    Refused {
        /// Why.
        code: RefusalCode,
        /// The topic or filter that was refused.
        topic: &'a str,
    },
    /// The connection broke the protocol.
    Faulted(Fault),
}

/// How a connection was opened.
#[derive(Clone, Copy, Debug)]
pub struct NewConnection<'a> {
    /// Where from.
    pub network: Network,
    /// The device key that was proved; `None` for a bearer token.
    pub key: Option<Thumbprint>,
    /// The device's group.
    pub group: u64,
    /// Whether it acts for itself or for many.
    pub kind: SubjectKind,
    /// The client id.
    pub client: &'a str,
    /// Seconds of keep-alive; 0 when it is off.
    pub keep_alive: u16,
    /// A mark of the client software; 0 when it is not known.
    pub fingerprint: u32,
}

impl<'a> NewConnection<'a> {
    /// The connection of the holder of `grant`.
    pub fn of(grant: &'a Grant, network: Network) -> Self {
        Self {
            network,
            key: grant.confirmation(),
            group: grant.epochs().group_number,
            kind: kind(grant),
            client: grant.device().as_str(),
            keep_alive: 0,
            fingerprint: 0,
        }
    }
}

/// The kind of subject that a grant's scope speaks of.
pub fn kind(grant: &Grant) -> SubjectKind {
    let entries = grant.scope().entries();
    match entries.iter().all(|entry| entry.filter.is_exact()) {
        true => SubjectKind::Device,
        false => SubjectKind::Service,
    }
}

/// The level at which the topics of a device have its name; 1 when none has it.
pub(super) fn name_level(grant: &Grant) -> usize {
    let device = grant.device().as_str();
    let entries = grant.scope().entries().iter();
    let found = entries
        .filter_map(|entry| entry.filter.as_str().split('/').position(|level| level == device));
    found.min().unwrap_or(1)
}
