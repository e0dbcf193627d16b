//! Peers that were refused and showed no token that an issuer signed: a queue of their own, and marks of their credentials.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};

use tessera_behaviour::observation::Network;
use tessera_token::hash::sha256;
use tessera_token::ids::TenantId;
use tessera_token::proof::Credential;
use tessera_token::refusal::RefusalCode;

use super::counts::kept;
use crate::limits::STRANGERS_WAITING;

/// A mark of a credential or of a name with a credential. It is made with a key that the process drew at its start, and is
/// cut to 64 bits: nothing leads back to the credential.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark(u64);

impl Mark {
    /// Of a peer that showed nothing.
    pub const NONE: Self = Self(0);

    /// The mark as a number; 0 for [`Self::NONE`] alone.
    pub fn number(self) -> u64 {
        self.0
    }

    /// 32 bits of it, for the engine.
    fn short(self) -> u32 {
        u32::try_from(self.0 >> 32).unwrap_or(0) | u32::from(self != Self::NONE)
    }
}

/// A refused peer.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    /// The tenant at whose door it was refused; none when the verifier serves several and nothing signed names one.
    pub tenant: Option<&'a TenantId>,
    /// Why.
    pub code: RefusalCode,
    /// Where from.
    pub network: Network,
    /// The name that it asked for.
    pub name: &'a str,
    /// A mark of the credential that it showed.
    pub credential: Mark,
}

/// The same in the queue.
pub(super) struct Waiting {
    pub(super) tenant: Box<str>,
    pub(super) code: RefusalCode,
    pub(super) network: Network,
    pub(super) name: Option<Box<str>>,
    pub(super) credential: u32,
}

/// The side of the connections.
pub(super) struct Strangers {
    key: [u8; 16],
    queue: SyncSender<Waiting>,
    dropped: AtomicU64,
}

impl Strangers {
    pub(super) fn new(key: [u8; 16]) -> (Self, Receiver<Waiting>) {
        let (queue, waiting) = std::sync::mpsc::sync_channel(STRANGERS_WAITING);
        (Self { key, queue, dropped: AtomicU64::new(0) }, waiting)
    }

    /// Never waits; what finds the queue full is dropped and counted.
    pub(super) fn tell(&self, refused: &Refused<'_>) {
        let waiting = Waiting {
            tenant: refused.tenant.map_or("", TenantId::as_str).into(),
            code: refused.code,
            network: refused.network,
            name: (!refused.name.is_empty()).then(|| kept(refused.name)),
            credential: refused.credential.short(),
        };
        if self.queue.try_send(waiting).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// The mark of a password: of its token alone, when it holds one, since an honest device makes a new proof each time.
    pub(super) fn of_password(&self, password: &[u8]) -> Mark {
        match Credential::from_password(password) {
            Ok(credential) => self.of_bytes(&credential.token),
            Err(_) => self.of_bytes(password),
        }
    }

    pub(super) fn of_bytes(&self, bytes: &[u8]) -> Mark {
        if bytes.is_empty() {
            return Mark::NONE;
        }
        let [a, b, c, d, e, f, g, h, ..] = sha256(&[&self.key, bytes].concat());
        Mark(u64::from_be_bytes([a, b, c, d, e, f, g, h]).max(1))
    }

    /// The mark of a name with a credential.
    pub(super) fn of_pair(&self, name: &str, credential: Mark) -> Mark {
        self.of_bytes(&[&credential.0.to_be_bytes(), name.as_bytes()].concat())
    }
}
