//! The place of one connection: its peer, its phase and its worth.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicU8, AtomicUsize, Ordering};
use std::sync::Arc;
use std::task::Context;

use atomic_waker::AtomicWaker;

use super::book::Book;
use crate::limits::SERVER_STALLED;

/// The peer whose connections count together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Peer {
    /// An IPv4 address.
    V4([u8; 4]),
    /// The /64 that one IPv6 host has.
    V6([u8; 8]),
    /// A proxy that speaks for many peers, so that its places have no bound but that of all.
    Proxy,
    /// A user of this machine.
    User(u32),
    /// A peer that was gone when it was asked.
    Unknown,
}

impl Peer {
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => {
                address.octets().first_chunk().map_or(Self::Unknown, |prefix| Self::V6(*prefix))
            }
        }
    }
}

/// The phase of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// It has sent nothing yet.
    Silent,
    /// A head comes in.
    Head,
    /// A request is with its handler, and its body is not all here.
    Body,
    /// A request is with its handler.
    Working,
    /// An answer goes out.
    Answering,
    /// It may send another request.
    Idle,
    /// It is told that it ends.
    Closing,
}

const PHASES: [Phase; 7] = [
    Phase::Silent,
    Phase::Head,
    Phase::Body,
    Phase::Working,
    Phase::Answering,
    Phase::Idle,
    Phase::Closing,
];

/// The place of one connection.
pub(super) struct Place {
    pub(super) book: Arc<Book>,
    pub(super) peer: Peer,
    phase: AtomicU8,
    since: AtomicU64,
    number: u64,
    evicted: AtomicBool,
    /// Where it stands among those of its peer.
    pub(super) at: AtomicUsize,
    waker: AtomicWaker,
}

/// How much a place is worth, the least first: its kind, the time since which it has been like this, and its number.
pub(super) type Worth = (u8, u64, u64);

const CLOSING: u8 = 0;
pub(super) const STALLED: u8 = 1;
const IDLE: u8 = 2;
const FRESH: u8 = 3;

impl Place {
    pub(super) fn new(book: Arc<Book>, peer: Peer, number: u64, now: u64, at: usize) -> Self {
        Self {
            book,
            peer,
            phase: AtomicU8::new(Phase::Silent as u8),
            since: AtomicU64::new(now),
            number,
            evicted: AtomicBool::new(false),
            at: AtomicUsize::new(at),
            waker: AtomicWaker::new(),
        }
    }

    /// Its task ends when it hears of it.
    pub(super) fn end(&self) {
        self.evicted.store(true, Ordering::Release);
        self.waker.wake();
    }

    pub(super) fn wake(&self) {
        self.waker.wake();
    }

    pub(super) fn turn(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
        self.since.store(self.book.now(), Ordering::Relaxed);
    }

    /// Its phase makes progress: it keeps the server waiting from now on only.
    pub(super) fn progress(&self) {
        self.since.store(self.book.now(), Ordering::Relaxed);
    }

    pub(super) fn book(&self) -> &Book {
        &self.book
    }

    /// Another connection has it now; the task is woken when that comes.
    pub(super) fn is_lost(&self, cx: &Context<'_>) -> bool {
        self.waker.register(cx.waker());
        self.evicted.load(Ordering::Acquire)
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.book.is_stopping()
    }

    /// `None` while it must not be ended.
    pub(super) fn worth(&self, now: u64) -> Option<Worth> {
        let since = self.since.load(Ordering::Relaxed);
        let is_old = now.saturating_sub(since) >= SERVER_STALLED.as_millis() as u64;
        let phase = PHASES.get(usize::from(self.phase.load(Ordering::Relaxed)))?;
        let kind = match (phase, is_old) {
            (Phase::Working, _) => return None,
            (Phase::Closing, _) => CLOSING,
            (Phase::Silent | Phase::Head | Phase::Body | Phase::Answering, true) => STALLED,
            (Phase::Idle, true) => IDLE,
            (_, false) => FRESH,
        };
        Some((kind, since, self.number))
    }
}
