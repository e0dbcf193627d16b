use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::Arc;
use std::task::{Context, Poll};

use atomic_waker::AtomicWaker;
use parking_lot::Mutex;
use tessera_agent::validator::restrictions::Proved;
use tessera_runtime::secret::Secret;
use tessera_token::chain::Admission;
use tessera_token::grant::Grant;
use tessera_token::hash::TokenHash;
use tessera_token::proof::TicketId;
use tessera_token::time::UnixSeconds;

use super::state_machine::End;
use crate::partners::PartnerUse;
use crate::refusals::Remote;

/// Handle to the connection that serves a session: tells it to end, to deliver, or to write its status.
#[derive(Default)]
pub struct ConnectionHandle {
    end: Mutex<Option<End>>,
    ended: AtomicBool,
    woken: AtomicBool,
    waker: AtomicWaker,
    security: ChannelSecurity,
    remote: Remote,
    shown: Mutex<Shown>,
    status: AtomicBool,
    aside: Mutex<Option<Box<Secret<Vec<u8>>>>>,
    partner: Option<Arc<PartnerUse>>,
    observed: AtomicU32,
    proved: AtomicU64,
}

/// The security of the channel.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum ChannelSecurity {
    /// Plaintext: any host on the way can read it.
    #[default]
    Plaintext,
    /// TLS or QUIC.
    Tls,
}

/// The proof that the peer of a connection has shown on it.
#[derive(Clone, Default)]
pub enum Shown {
    /// No key: a bearer token.
    #[default]
    Nothing,
    /// A resumption secret, which this ticket key made.
    Secret(TicketId),
    /// The public key of the device.
    Key,
    /// The symmetric key of this token, which is the key of no other.
    KeyOf(Box<TokenHash>),
}

impl Shown {
    /// The proof that let the peer in.
    pub fn by(admission: &Admission) -> Self {
        match admission.resumed {
            Some(ticket) => Self::Secret(ticket),
            None => Self::by_key_of(&admission.grant),
        }
    }

    /// The key of this grant's token.
    pub fn by_key_of(grant: &Grant) -> Self {
        match (grant.confirmation(), grant.derived_by()) {
            (None, _) => Self::Nothing,
            (Some(_), None) => Self::Key,
            (Some(_), Some(_)) => Self::KeyOf(Box::new(grant.token_hash())),
        }
    }
}

impl ConnectionHandle {
    /// The handle of a connection: its security, the proof of its peer, its other end, and the counters of its partner token.
    pub fn new(
        security: ChannelSecurity,
        shown: Shown,
        remote: Remote,
        partner: Option<Arc<PartnerUse>>,
    ) -> Self {
        Self { security, remote, shown: Mutex::new(shown), partner, ..Self::default() }
    }

    /// The counters of the partner token that let the peer in.
    pub(crate) fn partner(&self) -> Option<&PartnerUse> {
        self.partner.as_deref()
    }

    /// Keeps the number by which behaviour tracking knows the connection.
    pub(crate) fn observed_as(&self, number: u32) {
        self.observed.store(number, Ordering::Relaxed);
    }

    /// The number by which behaviour tracking knows the connection; 0 before it does.
    pub(crate) fn observed(&self) -> u32 {
        self.observed.load(Ordering::Relaxed)
    }

    /// The other end of the connection.
    pub fn remote(&self) -> Remote {
        self.remote
    }

    /// Asks the connection to end. The first reason counts, but a withdrawn grant beats every other.
    pub fn end(&self, end: End) {
        let mut present = self.end.lock();
        if present.is_none() || end.forget {
            *present = Some(end);
        }
        drop(present);
        self.ended.store(true, Ordering::Release);
        self.wake();
    }

    /// Wakes the connection to look for deliveries.
    pub fn wake(&self) {
        self.woken.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// The reason to end, when there is one.
    pub fn ended(&self) -> Option<End> {
        match self.ended.load(Ordering::Acquire) {
            true => *self.end.lock(),
            false => None,
        }
    }

    /// Whether it was rung since it was asked last. For the one connection that it belongs to.
    pub fn poll_woken(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.take_wake() {
            return Poll::Ready(());
        }
        self.waker.register(context.waker());
        // It may have been rung before the waker was there.
        match self.take_wake() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    fn take_wake(&self) -> bool {
        self.woken.load(Ordering::Acquire) && self.woken.swap(false, Ordering::AcqRel)
    }

    /// The peer has shown this now.
    pub fn set_shown(&self, shown: Shown, now: UnixSeconds) {
        *self.shown.lock() = shown;
        self.note_proved(now);
    }

    /// Notes that the peer is let in now: a key that it has shown is proved by that.
    pub(crate) fn note_proved(&self, now: UnixSeconds) {
        if self.has_proved_key() {
            self.proved.store(now.get(), Ordering::Relaxed);
        }
    }

    /// When the peer proved a key of its device last; 0 when it never did.
    pub(crate) fn proved_at(&self) -> UnixSeconds {
        UnixSeconds::new(self.proved.load(Ordering::Relaxed))
    }

    /// The kind of proof, for rules.
    pub(crate) fn proved(&self) -> Proved {
        match *self.shown.lock() {
            Shown::Nothing => Proved::Nothing,
            Shown::Secret(_) => Proved::Resumption,
            Shown::Key => Proved::Signature,
            Shown::KeyOf(_) => Proved::Mac,
        }
    }

    /// Whether the peer proved a key of its device on this connection. Only there anything is renewed.
    pub fn has_proved_key(&self) -> bool {
        matches!(*self.shown.lock(), Shown::Key | Shown::KeyOf(_))
    }

    /// Whether that was the device's own key, and not the symmetric key of one token.
    pub fn has_proved_own_key(&self) -> bool {
        matches!(*self.shown.lock(), Shown::Key)
    }

    /// The ticket key behind the secret that let the peer in.
    pub fn let_in_by(&self) -> Option<TicketId> {
        match *self.shown.lock() {
            Shown::Secret(ticket) => Some(ticket),
            _ => None,
        }
    }

    /// Whether the resumption secret of this grant's token may be sent here.
    pub fn may_hold_secret_of(&self, grant: &Grant) -> bool {
        let proved = match &*self.shown.lock() {
            Shown::Key => grant.confirmation().is_some(),
            Shown::KeyOf(token) => **token == grant.token_hash(),
            Shown::Nothing | Shown::Secret(_) => false,
        };
        proved && self.security == ChannelSecurity::Tls
    }

    /// Asks the connection to send this, and its status. It passes no queue: whatever happens to the connection, no
    /// other one of the session sends it.
    pub fn tell_aside(&self, payload: Secret<Vec<u8>>) {
        *self.aside.lock() = Some(Box::new(payload));
        self.ask_status();
    }

    /// Takes the payload of [`Self::tell_aside`], if there is one.
    pub fn take_aside(&self) -> Option<Box<Secret<Vec<u8>>>> {
        self.aside.lock().take()
    }

    /// Asks the connection to write its status.
    pub fn ask_status(&self) {
        self.status.store(true, Ordering::Release);
        self.wake();
    }

    /// Whether the status was asked for since the last time.
    pub fn take_status(&self) -> bool {
        self.status.load(Ordering::Acquire) && self.status.swap(false, Ordering::AcqRel)
    }
}
