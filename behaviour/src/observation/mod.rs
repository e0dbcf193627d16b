//! An observation: one thing that one device did, or that was done in its name, at one moment.

use tessera_token::refusal::RefusalCode;

pub mod denial;
pub mod line;
pub mod network;
pub mod order;
pub mod place;

pub use denial::{Denial, Fault};
pub use network::Network;
pub use order::InOrder;
pub use place::{Place, Point};

/// Milliseconds since 1970-01-01T00:00:00Z, as the observer's clock says.
pub type UnixMillis = u64;

/// One thing that was seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation<'a> {
    /// When.
    pub at: UnixMillis,
    /// The tenant.
    pub tenant: &'a str,
    /// The device. Empty for [`Event::Stranger`] and [`Event::Announced`], which are about no device.
    pub device: &'a str,
    /// The session of the device, where several are open at once; 0 when the source does not tell them apart.
    pub session: u64,
    /// The thing itself.
    pub event: Event<'a>,
}

/// Kinds of observations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event<'a> {
    /// A session was opened. When it takes the place of an older session, this comes before the end of that one.
    Connected(Connected<'a>),
    /// A session ended.
    Disconnected {
        /// Whether the device sent DISCONNECT.
        clean: bool,
    },
    /// Authorised publishes of the device.
    Published(Messages<'a>),
    /// Messages that were sent to the device.
    Received(Messages<'a>),
    /// An authorised subscription.
    Subscribed {
        /// The topic filter.
        filter: &'a str,
    },
    /// PINGREQ packets.
    Pinged {
        /// How many since the last observation of this kind.
        count: u32,
    },
    /// Something was refused on the session.
    Refused {
        /// Why.
        code: RefusalCode,
        /// The topic or filter, when there is one.
        topic: Option<&'a str>,
        /// The kind of topic, when there is a topic.
        denial: Option<Denial<'a>>,
    },
    /// The session broke the protocol.
    Faulted(Fault),
    /// A CONNECT with a token of this device was refused before the device's key was proved: the device may be the
    /// victim.
    Outside {
        /// Why.
        code: RefusalCode,
        /// Where from.
        network: Network,
    },
    /// A CONNECT was refused, and no token that an issuer signed came with it: the name is the peer's own word.
    Stranger {
        /// Why.
        code: RefusalCode,
        /// Where from.
        network: Network,
        /// The client id or user name that was used, when there is one.
        name: Option<&'a str>,
        /// A mark of the credential that was shown, which tells one old setting from many guesses; 0 when none was
        /// shown.
        credential: u32,
    },
    /// The place of a proof went up by more than one.
    Skipped {
        /// By how much.
        step: u32,
    },
    /// An operator announced a change of a group.
    Announced {
        /// The number of the group.
        group: u64,
        /// When the change is over.
        until: UnixMillis,
    },
}

/// How a session was opened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Connected<'a> {
    /// Where from.
    pub network: Network,
    /// A mark of the device key that was proved; 0 for a bearer token.
    pub key: u32,
    /// The number of the device's group.
    pub group: u64,
    /// Whether the device acts for itself or for many.
    pub kind: SubjectKind,
    /// A mark of the client software: protocol level, keep-alive, flags, set of properties, TLS; 0 when not known.
    pub fingerprint: u32,
    /// Seconds of keep-alive; 0 when it is off.
    pub keep_alive: u16,
    /// The client id.
    pub client: &'a str,
    /// Where the peer is, when the observer's location files know it.
    pub place: Option<Place>,
}

/// Kind of the holder of a token, judged by its scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SubjectKind {
    /// Exact topics only.
    #[default]
    Device,
    /// At least one wildcard.
    Service,
}

/// Messages on one topic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Messages<'a> {
    /// The topic.
    pub topic: &'a str,
    /// How many messages.
    pub count: u32,
    /// Bytes of all their payloads.
    pub bytes: u64,
}
