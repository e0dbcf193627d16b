//! Limits on sockets before any byte of them is read: open sockets and connects, per address prefix and in total.
//!
//! A refusal here is silent: the socket is closed without a byte, which costs an accept and nothing more. When all
//! half-open places are in use, the silent sockets that have waited longest are closed, and a part of the places is
//! reserved for prefixes that hold few. Prefixes with many sockets that failed lately are suspect ([`standing`]): they
//! share the places that are left evenly ([`shares`]). The page is `docs/flood.md`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

mod book;
mod limits;
mod prefix;
mod shares;
mod standing;
#[cfg(test)]
mod tests;
mod usage;
mod waiting;

use book::{Book, Entry};
pub use limits::AdmissionLimits;
pub use prefix::Prefix;
use waiting::Kind;

/// Why a socket was closed before it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
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

impl Turned {
    /// The label in metrics and logs.
    pub const fn as_str(self) -> &'static str {
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

/// The book of open sockets. Cheap to clone.
#[derive(Clone)]
pub struct Admission(Arc<Shared>);

struct Shared {
    book: Mutex<Book>,
    limits: AdmissionLimits,
}

impl Admission {
    /// An empty book.
    pub fn new(limits: AdmissionLimits) -> Self {
        Self(Arc::new(Shared { book: Mutex::default(), limits }))
    }

    /// Enters a socket that was just accepted. `now` is monotonic.
    ///
    /// # Errors
    /// The limit that it hit.
    pub fn enter(&self, peer: IpAddr, now: Duration) -> Result<Ticket, Turned> {
        let call = Arc::new(Notify::new());
        let entry = self.book().enter(Prefix::of(peer), &self.0.limits, now, &call)?;
        Ok(Ticket { admission: self.clone(), entry, call: Some(call), blameless: false })
    }

    /// Sockets that may be half open.
    pub fn most_half_open(&self) -> usize {
        self.0.limits.half_open
    }

    /// Open sockets.
    pub fn sockets(&self) -> usize {
        self.book().sockets
    }

    /// Sockets that have not connected yet.
    pub fn half_open(&self) -> usize {
        self.book().half_open
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.book.lock()
    }
}

/// A place in the book; given back when dropped. A socket that is closed before [`Ticket::connected`] is a strike
/// against its prefix.
pub struct Ticket {
    admission: Admission,
    entry: Entry,
    /// Not needed any more once it is connected.
    call: Option<Arc<Notify>>,
    blameless: bool,
}

impl Ticket {
    /// The signal by which the socket is told to close for another one; `None` once it is connected.
    pub fn call(&self) -> Option<Arc<Notify>> {
        self.call.clone()
    }

    /// The first byte has come: an unsuspected socket need not make room any more.
    pub fn heard(&mut self) {
        if self.entry.kind == Kind::Unsuspected && self.entry.stage.is_waiting() {
            self.admission.book().heard(&mut self.entry);
        }
    }

    /// The CONNECT is whole: the socket need not make room any more. False when it was told to already.
    pub fn judged(&mut self) -> bool {
        self.admission.book().heard(&mut self.entry)
    }

    /// The CONNECT was accepted: the socket no longer counts as half open.
    pub fn connected(&mut self) {
        self.admission.book().connected(&mut self.entry);
        self.call = None;
    }

    /// That it did not connect is not the peer's fault, or none at all.
    pub fn blameless(&mut self) {
        self.blameless = true;
    }

    /// The address is known to be the peer's own: what it does from now on is its prefix's doing.
    pub fn answerable(&mut self) {
        self.blameless = false;
    }

    /// Whether its prefix was suspect when it came.
    pub fn is_suspect(&self) -> bool {
        self.entry.kind == Kind::Suspect
    }

    /// The address prefix, which behaviour tracking sees in place of the address.
    pub fn prefix(&self) -> Prefix {
        self.entry.prefix
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.admission.book().closed(&mut self.entry, self.blameless);
    }
}
