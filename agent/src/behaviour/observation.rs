use std::net::IpAddr;

use tessera_token::grant::Grant;
use tessera_token::key::Thumbprint;
use tessera_token::refusal::RefusalCode;

/// Observation of a device by its session.
#[derive(Clone, Copy, Debug)]
pub enum Observation<'a> {
    /// The session was opened. When it takes an older session's place, this comes before that one's
    /// [`Observation::Disconnected`]: otherwise two holders of one key look like one that moves.
    Connected(NewConnection),
    /// The session ended; `clean` when the device said so.
    Disconnected {
        /// Whether a DISCONNECT packet came.
        clean: bool,
    },
    /// An authorised publish.
    Published {
        /// The topic.
        topic: &'a str,
        /// Bytes of the payload.
        bytes: usize,
    },
    /// An authorised subscription.
    Subscribed,
    /// A request for a token was refused.
    RequestRefused {
        /// Why.
        code: RefusalCode,
    },
    /// Something was refused on the session.
    Refused {
        /// Why.
        code: RefusalCode,
        /// The topic or filter that was refused, when there is one.
        topic: Option<&'a str>,
    },
}

/// How a session was opened.
#[derive(Clone, Copy, Debug)]
pub struct NewConnection {
    /// Where from.
    pub network: Network,
    /// The device key that was proved; `None` for a bearer token.
    pub key: Option<Thumbprint>,
    /// The device's group.
    pub group: u64,
    /// Whether it acts for itself or for many.
    pub kind: SubjectKind,
}

impl NewConnection {
    /// The connection of the holder of `grant`.
    pub fn of(grant: &Grant, network: Network) -> Self {
        Self {
            network,
            key: grant.confirmation(),
            group: grant.epochs().group_number,
            kind: SubjectKind::of(grant),
        }
    }
}

/// Kind of the subject of a grant, judged by its scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SubjectKind {
    /// Exact topics only.
    #[default]
    Device,
    /// At least one wildcard.
    Service,
}

impl SubjectKind {
    /// The kind that a grant's scope speaks of.
    pub fn of(grant: &Grant) -> Self {
        let entries = grant.scope().entries();
        match entries.iter().all(|entry| entry.filter.is_exact()) {
            true => Self::Device,
            false => Self::Service,
        }
    }
}

/// The network of a peer: the first 24 bits of an IPv4 address, the first 48 of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(u64);

impl Network {
    /// The network that an address belongs to.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(1 << 48 | u64::from(address.to_bits() >> 8)),
            IpAddr::V6(address) => Self(u64::try_from(address.to_bits() >> 80).unwrap_or(0)),
        }
    }

    /// A peer without an address, such as one on a Unix socket.
    pub const fn local() -> Self {
        Self(u64::MAX)
    }

    /// A name of 32 bits that is never 0.
    pub(super) fn mark(self) -> u32 {
        fold(mix(self.0)) | 1
    }
}

/// A stable 64-bit name of a text. It names a topic in stored profiles, so it must not change between versions.
pub(super) fn text_hash(text: &str) -> u64 {
    let mut hash = 0x9e37_79b9_7f4a_7c15 ^ text.len() as u64;
    let mut chunks = text.as_bytes().chunks_exact(8);
    for chunk in &mut chunks {
        let word = chunk.try_into().map_or(0, u64::from_le_bytes);
        hash = step(hash, word);
    }
    let tail = chunks.remainder().iter().rev();
    let word = tail.fold(0, |word, byte| word << 8 | u64::from(*byte));
    mix(step(hash, word))
}

fn step(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(23) ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd)
}

/// Spreads every bit over all others (the finaliser of splitmix64).
pub(super) fn mix(mut value: u64) -> u64 {
    value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

pub(super) fn fold(value: u64) -> u32 {
    (value ^ value >> 32) as u32
}
