//! Limits on sockets before any byte of them is read: open sockets and connects, per address prefix and in total.
//!
//! A refusal here is silent: the socket is closed without a byte, which costs an accept and nothing more. When all
//! half-open places are in use, the silent sockets that have waited longest are closed, and a part of the places is
//! reserved for prefixes that hold few. Prefixes with many sockets that failed lately are suspect ([`reputation`]):
//! they share the places that are left evenly ([`fair_share`]). Many different credentials of a prefix that are all wrong
//! lead to steps of their own ([`guesses`]). The page is `docs/flood.md`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tessera_token::hash::TokenHash;
use tessera_token::refusal::RefusalCode;
use tokio::sync::Notify;

mod bucket;
mod fair_share;
mod guesses;
mod half_open;
mod limits;
mod prefix;
mod reputation;
mod table;
#[cfg(test)]
mod tests;
mod usage;

pub(crate) use guesses::{Counted, Guess, Step};
use half_open::Kind;
pub use limits::AdmissionLimits;
pub(crate) use prefix::Prefix;
use table::{Entry, SocketTable};

/// Why a socket was closed before it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejected {
    /// All half-open sockets are in use.
    HalfOpen,
    /// The prefix has all its half-open sockets in use.
    PrefixHalfOpen,
    /// The prefix has all its sockets in use.
    PrefixSockets,
    /// The prefix connects too fast.
    PrefixRate,
    /// Too many prefixes are in use at once.
    Prefixes,
    /// The prefix is suspect, and has its share of what is left for such.
    SuspectRate,
}

impl Rejected {
    /// All of them.
    pub(crate) const ALL: [Self; 6] = [
        Self::HalfOpen,
        Self::PrefixHalfOpen,
        Self::PrefixSockets,
        Self::PrefixRate,
        Self::Prefixes,
        Self::SuspectRate,
    ];

    /// The label in metrics and logs.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::HalfOpen => "half_open",
            Self::PrefixHalfOpen => "prefix_half_open",
            Self::PrefixSockets => "prefix_sockets",
            Self::PrefixRate => "prefix_rate",
            Self::Prefixes => "prefixes",
            Self::SuspectRate => "suspect_rate",
        }
    }
}

/// The table of open sockets. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Admission(Arc<Shared>);

struct Shared {
    table: Mutex<SocketTable>,
    limits: AdmissionLimits,
}

impl Admission {
    /// An empty table.
    pub(crate) fn new(limits: AdmissionLimits) -> Self {
        Self(Arc::new(Shared { table: Mutex::default(), limits }))
    }

    /// Enters a socket that was just accepted. `now` is monotonic.
    ///
    /// # Errors
    /// The limit that it hit.
    pub(crate) fn enter(&self, peer: IpAddr, now: Duration) -> Result<SocketPermit, Rejected> {
        let call = Arc::new(Notify::new());
        let entry = self.table().enter(Prefix::of(peer), &self.0.limits, now, &call)?;
        Ok(SocketPermit { admission: self.clone(), entry, call: Some(call), blameless: false })
    }

    /// Counts a wrong credential of a prefix that has an open socket. `now` is monotonic.
    pub(crate) fn guessed(&self, prefix: Prefix, guess: Guess, now: Duration) -> Counted {
        self.table().guessed(prefix, guess, now)
    }

    /// A place for the answer to a wrong credential, which waits; `None` when all are in use.
    pub(crate) fn wait(&self, prefix: Prefix) -> Option<WaitingAnswer> {
        let taken = self.table().may_wait(prefix);
        taken.then(|| WaitingAnswer { admission: self.clone(), prefix })
    }

    /// Whether the signature of this token may be checked now.
    ///
    /// # Errors
    /// `rate_limited`.
    pub(crate) fn may_check(&self, asker: Asker, token: &TokenHash) -> Result<(), RefusalCode> {
        match self.table().may_check(asker.prefix, mark(token), asker.now) {
            true => Ok(()),
            false => Err(RefusalCode::RateLimited),
        }
    }

    /// Sockets that may be half open.
    pub(crate) fn most_half_open(&self) -> usize {
        self.0.limits.half_open
    }

    /// Open sockets.
    pub(crate) fn sockets(&self) -> usize {
        self.table().sockets
    }

    /// Sockets that have not connected yet.
    pub(crate) fn half_open(&self) -> usize {
        self.table().half_open
    }

    fn table(&self) -> MutexGuard<'_, SocketTable> {
        self.0.table.lock()
    }
}

/// The peer whose credentials are to be checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    pub(crate) prefix: Prefix,
    /// Whether its prefix was suspect when it came.
    pub(crate) suspect: bool,
    /// When it asks, by the monotonic clock.
    pub(crate) now: Duration,
}

/// Eight bytes of the hash of a token: enough to tell those of one prefix apart.
fn mark(token: &TokenHash) -> u64 {
    let [_, a, b, c, d, e, f, g, h, ..] = *token.as_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// The place of an answer that waits; given back when dropped.
pub(crate) struct WaitingAnswer {
    admission: Admission,
    prefix: Prefix,
}

impl Drop for WaitingAnswer {
    fn drop(&mut self) {
        self.admission.table().waited(self.prefix);
    }
}

/// The entry of a socket in the table; dropping it removes the entry. A socket that is closed before
/// [`SocketPermit::connected`] is a strike against its prefix.
pub(crate) struct SocketPermit {
    admission: Admission,
    entry: Entry,
    /// Not needed any more once it is connected.
    call: Option<Arc<Notify>>,
    blameless: bool,
}

impl SocketPermit {
    /// The signal by which the socket is told to close for another one; `None` once it is connected.
    pub(crate) fn call(&self) -> Option<Arc<Notify>> {
        self.call.clone()
    }

    /// The first byte has come: an unsuspected socket need not make room any more.
    pub(crate) fn heard(&mut self) {
        if self.entry.kind == Kind::Unsuspected && self.entry.stage.is_waiting() {
            self.admission.table().heard(&mut self.entry);
        }
    }

    /// The CONNECT is whole: the socket need not close for others any more. False when it was told to already.
    pub(crate) fn judged(&mut self) -> bool {
        self.admission.table().heard(&mut self.entry)
    }

    /// The CONNECT with this token was accepted: the socket no longer counts as half open.
    pub(crate) fn connected(&mut self, token: &TokenHash) {
        self.admission.table().connected(&mut self.entry, mark(token));
        self.call = None;
    }

    /// A socket that ends before its CONNECT is accepted will not count against its prefix.
    pub(crate) fn mark_not_at_fault(&mut self) {
        self.blameless = true;
    }

    /// The address is known to be the peer's own: from now on a failure counts against its prefix.
    pub(crate) fn mark_at_fault(&mut self) {
        self.blameless = false;
    }

    /// Whether its prefix was suspect when it came.
    pub(crate) fn is_suspect(&self) -> bool {
        self.entry.kind == Kind::Suspect
    }

    /// The address prefix, which behaviour tracking sees in place of the address.
    pub(crate) fn prefix(&self) -> Prefix {
        self.entry.prefix
    }
}

impl Drop for SocketPermit {
    fn drop(&mut self) {
        self.admission.table().closed(&mut self.entry, self.blameless);
    }
}
