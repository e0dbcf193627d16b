//! The places of connections. Each listener has a book of its own.
//!
//! No newcomer waits and none is turned away while a connection that does nothing has a place: when the places of its
//! address, or all, are taken, the connection that is worth least gives its own. Worth least: one that is being closed,
//! then one that keeps the server waiting for over a second, then an idle one, then the oldest that is not being answered.
//! A request whose head and body are here is never interrupted.
//!
//! Peers that come again as soon as they are ended would take all the time that there is. So places change hands at a rate;
//! beyond it newcomers wait, and the last that came is the first that is served: it is the one whose peer still waits.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{oneshot, Notify};
use tokio::time::{sleep, timeout};

use super::place::{Peer, Place, Worth, STALLED};
use super::{ServerLimits, ServerMetrics};
use crate::clock::SharedClock;
use crate::limits::{SERVER_CHANGES, SERVER_EVICTED, SERVER_TURN};

/// All places of one listener.
pub(super) struct Book {
    listener: &'static str,
    connections: usize,
    per_peer: usize,
    clock: SharedClock,
    metrics: ServerMetrics,
    stopping: AtomicBool,
    places: Mutex<Places>,
    waited: Notify,
}

/// The outcome for a newcomer.
enum Taken {
    /// A place.
    Place(Held),
    /// A place when its turn comes; the sender goes when it does not.
    Later(oneshot::Receiver<Held>),
}

/// A place that is given back when it goes out of scope. Not to be dropped under the lock of the book.
pub(super) struct Held(pub(super) Arc<Place>);

impl Held {
    pub(super) fn is_lost(&self, cx: &mut Context<'_>) -> bool {
        self.0.is_lost(cx)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut places = self.0.book.places.lock();
        places.remove(&self.0);
        self.0.book.show(&places);
    }
}

#[derive(Default)]
struct Places {
    /// Changes of hands that are left, in thousandths, and when that was so.
    changes: (u64, u64),
    waiting: VecDeque<(Peer, oneshot::Sender<Held>)>,
    count: usize,
    taken: u64,
    of: HashMap<Peer, Vec<Arc<Place>>>,
}

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
            places: Mutex::new(Places { changes: (SERVER_CHANGES * 1000, 0), ..Places::default() }),
            waited: Notify::new(),
        })
    }

    /// A place for a new connection, at the cost of others when there is none; within `time`.
    pub(super) async fn place(self: &Arc<Self>, peer: Peer, time: Duration) -> Option<Held> {
        match self.take(peer) {
            Taken::Place(place) => Some(place),
            Taken::Later(turn) => timeout(time, turn).await.ok()?.ok(),
        }
    }

    fn take(self: &Arc<Self>, peer: Peer) -> Taken {
        let mut places = self.places.lock();
        if let Some(place) = self.take_now(&mut places, peer) {
            return Taken::Place(Held(place));
        }
        let (sender, turn) = oneshot::channel();
        places.waiting.push_back((peer, sender));
        if places.waiting.len() > self.connections / 2 {
            places.waiting.pop_front();
        }
        self.waited.notify_one();
        Taken::Later(turn)
    }

    /// Gives those that wait their turns, the last that came first, for as long as the server runs.
    pub(super) async fn give_turns(self: Arc<Self>) {
        loop {
            self.waited.notified().await;
            while self.give_some() {
                sleep(SERVER_TURN).await;
            }
        }
    }

    /// Whether some wait on.
    fn give_some(self: &Arc<Self>) -> bool {
        let mut places = self.places.lock();
        // Those whose peers were not waited for any more give theirs back behind the lock, which goes first.
        let mut left = Vec::new();
        let mut goes_on = false;
        while let Some((peer, turn)) = places.waiting.pop_back() {
            if turn.is_closed() {
                continue;
            }
            let Some(place) = self.take_now(&mut places, peer) else {
                places.waiting.push_back((peer, turn));
                goes_on = true;
                break;
            };
            left.extend(turn.send(Held(place)).err());
        }
        drop(places);
        drop(left);
        goes_on
    }

    fn take_now(self: &Arc<Self>, places: &mut Places, peer: Peer) -> Option<Arc<Place>> {
        let now = self.now();
        let full = |own: &Vec<Arc<Place>>| own.len() >= self.per_peer;
        if peer != Peer::Proxy && places.of.get(&peer).is_some_and(full) {
            places.change(now)?;
            let own = places.of.get(&peer).into_iter().flatten().cloned().collect();
            Self::evict(places, own, now)?;
        } else if places.count >= self.connections {
            places.change(now)?;
            let all = places.of.values().flatten().cloned().collect();
            Self::evict(places, all, now)?;
        }
        places.taken += 1;
        let number = places.taken;
        let own = places.of.entry(peer).or_default();
        let place = Arc::new(Place::new(Arc::clone(self), peer, number, now, own.len()));
        own.push(Arc::clone(&place));
        places.count += 1;
        self.show(places);
        Some(place)
    }

    /// Ends some of `places`, those that are worth least. Several that are worth nothing go at once, so that a flood does
    /// not make each newcomer look through all.
    fn evict(places: &mut Places, mut all: Vec<Arc<Place>>, now: u64) -> Option<()> {
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
                place.end();
            }
        }
        Some(())
    }

    /// Idle connections end, the others after their answer.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        let mut places = self.places.lock();
        places.waiting.clear();
        places.of.values().flatten().for_each(|place| place.wake());
    }

    pub(super) fn ended(&self, why: &str) {
        self.metrics.ended.inc(&[why]);
    }

    pub(super) fn unix_millis(&self) -> u64 {
        self.clock.unix_millis()
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_millis()).unwrap_or(u64::MAX)
    }

    fn show(&self, places: &Places) {
        let count = i64::try_from(places.count).unwrap_or(i64::MAX);
        self.metrics.open.set(&[self.listener], count);
    }
}

impl Places {
    /// Whether a place may change hands now.
    fn change(&mut self, now: u64) -> Option<()> {
        let (left, at) = self.changes;
        let gained = now.saturating_sub(at).saturating_mul(SERVER_CHANGES);
        let left = left.saturating_add(gained).min(SERVER_CHANGES * 1000);
        self.changes = (left, now);
        self.changes.0 = left.checked_sub(1000)?;
        Some(())
    }

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
