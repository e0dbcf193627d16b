//! Who has a place. Each listener has a book of its own.
//!
//! No newcomer waits and none is turned away while a connection that does nothing has a place: when the places of its
//! address, or all, are taken, the connection that is worth least gives its own. Worth least is one that is being closed,
//! then one that keeps the server waiting for over a second, then an idle one, then the oldest that is not being answered.
//! A request whose head and body are here is never interrupted.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicU8, AtomicUsize, Ordering};
use std::sync::Arc;
use std::task::Context;

use atomic_waker::AtomicWaker;
use parking_lot::Mutex;

use super::{ServerLimits, ServerMetrics};
use crate::clock::SharedClock;
use crate::limits::{SERVER_EVICTED, SERVER_STALLED};

/// Whose connections count together.
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

/// What a connection does.
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
    book: Arc<Book>,
    peer: Peer,
    phase: AtomicU8,
    since: AtomicU64,
    number: u64,
    evicted: AtomicBool,
    at: AtomicUsize,
    waker: AtomicWaker,
}

/// All places of one listener.
pub(super) struct Book {
    listener: &'static str,
    connections: usize,
    per_peer: usize,
    clock: SharedClock,
    metrics: ServerMetrics,
    stopping: AtomicBool,
    places: Mutex<Places>,
}

#[derive(Default)]
struct Places {
    count: usize,
    taken: u64,
    of: HashMap<Peer, Vec<Arc<Place>>>,
}

/// How much a place is worth, the least first: its kind, the time since which it has been like this, and its number.
type Worth = (u8, u64, u64);

impl Book {
    pub(super) fn new(
        listener: &'static str,
        limits: &ServerLimits,
        clock: SharedClock,
        metrics: ServerMetrics,
    ) -> Arc<Self> {
        Arc::new(Self {
            listener,
            connections: limits.connections,
            per_peer: limits.per_peer,
            clock,
            metrics,
            stopping: AtomicBool::new(false),
            places: Mutex::default(),
        })
    }

    /// A place for a new connection, at the cost of others when there is none.
    pub(super) fn take(self: &Arc<Self>, peer: Peer) -> Option<Arc<Place>> {
        let now = self.now();
        let mut places = self.places.lock();
        let full = |own: &Vec<Arc<Place>>| own.len() >= self.per_peer;
        if peer != Peer::Proxy && places.of.get(&peer).is_some_and(full) {
            let own = places.of.get(&peer).into_iter().flatten().cloned().collect();
            self.evict(&mut places, own, now)?;
        } else if places.count >= self.connections {
            let all = places.of.values().flatten().cloned().collect();
            self.evict(&mut places, all, now)?;
        }
        places.taken += 1;
        let number = places.taken;
        let own = places.of.entry(peer).or_default();
        let place = Arc::new(Place {
            book: Arc::clone(self),
            peer,
            phase: AtomicU8::new(Phase::Silent as u8),
            since: AtomicU64::new(now),
            number,
            evicted: AtomicBool::new(false),
            at: AtomicUsize::new(own.len()),
            waker: AtomicWaker::new(),
        });
        own.push(Arc::clone(&place));
        places.count += 1;
        self.show(&places);
        Some(place)
    }

    /// Ends some of `places`, those that are worth least. Several that are worth nothing go at once, so that a flood does
    /// not make each newcomer look through all.
    fn evict(&self, places: &mut Places, mut all: Vec<Arc<Place>>, now: u64) -> Option<()> {
        let mut ranked: Vec<(Worth, Arc<Place>)> =
            all.drain(..).filter_map(|place| Some((place.worth(now)?, place))).collect();
        if ranked.len() > SERVER_EVICTED {
            ranked.select_nth_unstable_by_key(SERVER_EVICTED, |(worth, _)| *worth);
            ranked.truncate(SERVER_EVICTED);
        }
        ranked.sort_unstable_by_key(|(worth, _)| *worth);
        ranked.first()?;
        for (nth, ((kind, ..), place)) in ranked.iter().enumerate() {
            if nth == 0 || *kind <= STALLED {
                places.remove(place);
                place.evicted.store(true, Ordering::Release);
                place.waker.wake();
            }
        }
        Some(())
    }

    /// Idle connections end, the others after their answer.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        let places = self.places.lock();
        places.of.values().flatten().for_each(|place| place.waker.wake());
    }

    pub(super) fn ended(&self, why: &str) {
        self.metrics.ended.inc(&[why]);
    }

    pub(super) fn unix_millis(&self) -> u64 {
        self.clock.unix_millis()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_millis()).unwrap_or(u64::MAX)
    }

    fn show(&self, places: &Places) {
        let count = i64::try_from(places.count).unwrap_or(i64::MAX);
        self.metrics.open.set(&[self.listener], count);
    }
}

impl Places {
    fn remove(&mut self, place: &Place) {
        let Some(own) = self.of.get_mut(&place.peer) else { return };
        let at = place.at.load(Ordering::Relaxed);
        if !own.get(at).is_some_and(|there| std::ptr::eq(&**there, place)) {
            return;
        }
        own.swap_remove(at);
        if let Some(moved) = own.get(at) {
            moved.at.store(at, Ordering::Relaxed);
        }
        if own.is_empty() {
            self.of.remove(&place.peer);
        }
        self.count -= 1;
    }
}

const CLOSING: u8 = 0;
const STALLED: u8 = 1;
const IDLE: u8 = 2;
const FRESH: u8 = 3;

impl Place {
    pub(super) fn turn(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
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
        self.book.stopping.load(Ordering::Acquire)
    }

    /// `None` while it must not be ended.
    fn worth(&self, now: u64) -> Option<Worth> {
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

    /// Gives it back.
    pub(super) fn leave(&self) {
        let mut places = self.book.places.lock();
        places.remove(self);
        self.book.show(&places);
    }
}
