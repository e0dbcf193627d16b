//! Limits on sockets before any byte of them is read: open sockets and connects, per address prefix and in total.
//!
//! A refusal here is silent: the socket is closed without a byte, which costs an accept and nothing more. When all
//! half-open places are in use, the silent sockets that have waited longest are closed, and a part of the places is
//! reserved for prefixes that hold few. Prefixes with many sockets that failed lately are suspect ([`reputation`]):
//! they share the places that are left evenly ([`fair_share`]). The page is `docs/flood.md`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

mod fair_share;
mod half_open;
mod limits;
mod prefix;
mod reputation;
mod table;
#[cfg(test)]
mod tests;
mod usage;

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

    /// The CONNECT was accepted: the socket no longer counts as half open.
    pub(crate) fn connected(&mut self) {
        self.admission.table().connected(&mut self.entry);
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
