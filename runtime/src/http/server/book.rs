//! The places of connections. Each listener has a book of its own.
//!
//! No newcomer waits and none is turned away while a connection that does nothing has a place: when the places of its
//! address, or all, are taken, the connection that is worth least gives its own. Worth least: one that is being closed,
//! then one that keeps the server waiting for over a second, then an idle one, then the oldest that is not being answered.
//! A request whose head and body are here is never interrupted. Of more than [`SERVER_RANKED`](crate::limits::SERVER_RANKED)
//! places the order is that of a [`ranking`](super::ranking), a tenth of a second old at most; when it is used up, newcomers
//! wait for the next, [`SERVER_LOOK`](crate::limits::SERVER_LOOK) at most.
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

use super::place::{Peer, Place};
use super::ranking::Ranking;
use super::{ServerLimits, ServerMetrics};
use crate::clock::SharedClock;
use crate::limits::{SERVER_CHANGES, SERVER_TURN};

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
    of: HashMap<Peer, Own>,
    /// Of the places of all.
    ranking: Ranking,
}

/// The places of one peer.
#[derive(Default)]
struct Own {
    places: Vec<Arc<Place>>,
    ranking: Ranking,
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
        let full = |own: &Own| own.places.len() >= self.per_peer;
        if peer != Peer::Proxy && places.of.get(&peer).is_some_and(full) {
            places.change(now)?;
            places.evict_of(peer, now)?;
        } else if places.count >= self.connections {
            places.change(now)?;
            places.evict_of_all(now)?;
        }
        places.taken += 1;
        let number = places.taken;
        let own = &mut places.of.entry(peer).or_default().places;
        let place = Arc::new(Place::new(Arc::clone(self), peer, number, now, own.len()));
        own.push(Arc::clone(&place));
        places.count += 1;
        self.show(places);
        Some(place)
    }

    /// Idle connections end, the others after their answer.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        let mut places = self.places.lock();
        places.waiting.clear();
        places.all().for_each(|place| place.wake());
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

    fn all(&self) -> impl Iterator<Item = &Arc<Place>> {
        self.of.values().flat_map(|own| &own.places)
    }

    /// Ends the place of this peer that is worth least.
    fn evict_of(&mut self, peer: Peer, now: u64) -> Option<()> {
        let own = self.of.get_mut(&peer)?;
        let (count, mut ranking) = (own.places.len(), std::mem::take(&mut own.ranking));
        let look = |places: &Self, ranking: &mut Ranking| {
            ranking.look(places.of.get(&peer).into_iter().flat_map(|own| &own.places), now);
        };
        let evicted = self.evict(&mut ranking, count, look, now);
        if let Some(own) = self.of.get_mut(&peer) {
            own.ranking = ranking;
        }
        evicted
    }

    /// The same among all.
    fn evict_of_all(&mut self, now: u64) -> Option<()> {
        let mut ranking = std::mem::take(&mut self.ranking);
        let all = |places: &Self, ranking: &mut Ranking| ranking.look(places.all(), now);
        let evicted = self.evict(&mut ranking, self.count, all, now);
        self.ranking = ranking;
        evicted
    }

    fn evict(
        &mut self,
        ranking: &mut Ranking,
        count: usize,
        look: impl Fn(&Self, &mut Ranking),
        now: u64,
    ) -> Option<()> {
        let end = |places: &mut Self, ranking: &mut Ranking| {
            ranking.take(now, |place| {
                let was_there = places.remove(place);
                if was_there {
                    place.end();
                }
                was_there
            })
        };
        if ranking.is_over(count, now) {
            look(self, ranking);
        }
        if end(self, ranking).is_some() {
            return Some(());
        }
        if !ranking.may_look(now) {
            return None;
        }
        look(self, ranking);
        end(self, ranking)
    }

    /// Whether it was there.
    fn remove(&mut self, place: &Place) -> bool {
        let Some(own) = self.of.get_mut(&place.peer) else { return false };
        let own = &mut own.places;
        let at = place.at.load(Ordering::Relaxed);
        if !own.get(at).is_some_and(|there| std::ptr::eq(&**there, place)) {
            return false;
        }
        own.swap_remove(at);
        if let Some(moved) = own.get(at) {
            moved.at.store(at, Ordering::Relaxed);
        }
        if own.is_empty() {
            self.of.remove(&place.peer);
        }
        self.count -= 1;
        true
    }
}

#[cfg(test)]
mod tests;
