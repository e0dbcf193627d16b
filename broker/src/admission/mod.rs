//! What a stranger may take from us before any byte is read: sockets and connects, per address prefix and in total.
//!
//! A refusal here is silent: the socket is closed without a byte, which costs an accept and nothing more.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::config::AdmissionLimits;
use crate::limits;

mod prefix;
#[cfg(test)]
mod tests;

pub use prefix::Prefix;
use prefix::Usage;

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
        }
    }
}

/// The book of open sockets. Cheap to clone.
#[derive(Clone)]
pub struct Admission {
    book: Arc<Mutex<Book>>,
    limits: AdmissionLimits,
}

#[derive(Default)]
struct Book {
    half_open: usize,
    sockets: usize,
    prefixes: HashMap<Prefix, Usage>,
}

impl Admission {
    /// An empty book.
    pub fn new(limits: AdmissionLimits) -> Self {
        Self { book: Arc::default(), limits }
    }

    /// Enters a socket that was just accepted. `now` is monotonic.
    ///
    /// # Errors
    /// The limit that it hit.
    pub fn enter(&self, peer: IpAddr, now: Duration) -> Result<Ticket, Turned> {
        let prefix = Prefix::of(peer);
        let mut book = self.book.lock();
        if book.half_open >= self.limits.half_open {
            return Err(Turned::HalfOpen);
        }
        if book.prefixes.len() >= limits::PREFIXES && !book.prefixes.contains_key(&prefix) {
            book.prefixes.retain(|_, usage| usage.in_use());
            if book.prefixes.len() >= limits::PREFIXES {
                return Err(Turned::Prefixes);
            }
        }
        let usage = book
            .prefixes
            .entry(prefix)
            .or_insert_with(|| Usage::new(self.limits.connects_per_second, now));
        usage.enter(&self.limits, now)?;
        book.half_open += 1;
        book.sockets += 1;
        Ok(Ticket { admission: self.clone(), prefix, half_open: true })
    }

    /// Sockets that may be half open.
    pub fn most_half_open(&self) -> usize {
        self.limits.half_open
    }

    /// Open sockets.
    pub fn sockets(&self) -> usize {
        self.book.lock().sockets
    }

    /// Sockets that have not connected yet.
    pub fn half_open(&self) -> usize {
        self.book.lock().half_open
    }
}

/// A place in the book; given back when dropped.
pub struct Ticket {
    admission: Admission,
    prefix: Prefix,
    half_open: bool,
}

impl Ticket {
    /// The CONNECT was accepted: the socket no longer counts as half open.
    pub fn connected(&mut self) {
        if !std::mem::replace(&mut self.half_open, false) {
            return;
        }
        let mut book = self.admission.book.lock();
        book.half_open = book.half_open.saturating_sub(1);
        if let Some(usage) = book.prefixes.get_mut(&self.prefix) {
            usage.connected();
        }
    }

    /// The address prefix, which behaviour tracking sees in place of the address.
    pub fn prefix(&self) -> Prefix {
        self.prefix
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.connected();
        let mut book = self.admission.book.lock();
        book.sockets = book.sockets.saturating_sub(1);
        if let Some(usage) = book.prefixes.get_mut(&self.prefix) {
            usage.closed();
        }
    }
}
