//! How a version of trust follows from the one before: pure, the signed bytes are arguments.

use std::sync::Arc;

use tessera_token::key::{PublicKey, Thumbprint};
use tessera_token::limits::{CLOCK_SKEW_SECONDS, TOKEN_LIFE_SECONDS};
use tessera_token::time::UnixSeconds;
use tessera_token::trust::{
    BoundFeed, BoundSnapshot, Event, EventHash, Feed, FeedAnswer, FeedNonce, Heartbeat, Snapshot,
    TenantSet, TrustError, View,
};

use super::effect::TrustEffect;
use super::refusal::TrustRefusal;
use super::state::TrustState;

/// Outcome of an answer of the feed.
pub struct Applied {
    /// The new version: the old one with the good beginning of the events.
    pub state: TrustState,
    /// The changes, in order.
    pub effects: Vec<TrustEffect>,
    /// How many of the events were good.
    pub taken: usize,
    /// Whether the new version stands at a later place.
    pub moved: bool,
    /// Whether a view broke off before its end.
    pub broken: bool,
    /// Whether the heartbeat says that this is still not all.
    pub more: bool,
    /// Whether the heartbeat answered the nonce and belongs to this version.
    pub beat: bool,
    /// The fault of the first bad one; `too_large` also when everything was taken but for what found
    /// no room.
    pub refused: Option<TrustRefusal>,
}

impl Applied {
    fn nothing(before: &TrustState) -> Self {
        Self {
            state: before.clone(),
            effects: Vec::new(),
            taken: 0,
            moved: false,
            broken: false,
            more: false,
            beat: false,
            refused: None,
        }
    }

    fn follow_view(&mut self, view: &[u8], events: &[Vec<u8>]) {
        let (effects, taken) = (&mut self.effects, &mut self.taken);
        let followed = self.state.follow_view(view, events, |effect| {
            effects.extend(effect);
            *taken += 1;
        });
        self.broken = followed.is_err();
        self.moved = followed.is_ok() || self.taken > 0;
        self.refused = followed.err();
    }

    fn hear(&mut self, heartbeat: &[u8], nonce: &FeedNonce) {
        match self.state.beat(heartbeat, nonce) {
            Ok(more) => {
                self.more = more;
                self.beat = !more;
                self.refused = (self.state.left_out > 0).then_some(TrustRefusal::TooLarge);
            }
            Err(refusal) => self.refused = Some(refusal),
        }
    }
}

/// A snapshot of either kind, whose signature is good.
struct Opened {
    tenants: Option<TenantSet>,
    snapshot: Snapshot,
    root: PublicKey,
}

impl Opened {
    /// Opens it; the kind that is likely is tried first.
    fn read(bytes: &[u8], pin: &Thumbprint, bound_first: bool) -> Result<Self, TrustError> {
        let kinds = match bound_first {
            true => [Self::bound, Self::all],
            false => [Self::all, Self::bound],
        };
        let [first, second] = kinds;
        match first(bytes, pin) {
            // A message of another kind has another signature.
            Err(TrustError::Signature) => second(bytes, pin),
            opened => opened,
        }
    }

    fn all(bytes: &[u8], pin: &Thumbprint) -> Result<Self, TrustError> {
        let (snapshot, root) = Snapshot::open(bytes, pin)?;
        Ok(Self { tenants: None, snapshot, root })
    }

    fn bound(bytes: &[u8], pin: &Thumbprint) -> Result<Self, TrustError> {
        let (BoundSnapshot { tenants, snapshot }, root) = BoundSnapshot::open(bytes, pin)?;
        Ok(Self { tenants: Some(tenants), snapshot, root })
    }
}

/// When a snapshot is taken.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// The moment by which it may be over.
    pub now: UnixSeconds,
    /// The wall clock.
    pub wall: UnixSeconds,
    /// Seconds since a heartbeat answered this process, by the clocks of this machine; `None` when none did.
    pub heard: Option<u64>,
}

impl Taken {
    /// Seconds for which a verifier was away that heard its service last at the signed time `confirmed`. Signed times differ
    /// by more than has passed when the clock of the service was behind. The clocks of this machine are asked too, but
    /// only when they show the time of the service now: those of a machine that was paused stood still together.
    fn away(&self, now: UnixSeconds, confirmed: UnixSeconds) -> u64 {
        let signed = now.since(confirmed);
        let differ = now.since(self.wall).max(self.wall.since(now));
        match self.heard {
            Some(heard) if differ <= CLOCK_SKEW_SECONDS => signed.min(heard),
            _ => signed,
        }
    }

    /// Whether a clock of this machine stands against a long absence that a snapshot shows by its time: the clock of the
    /// service may be ahead. A wall clock that was never set is not asked, but the time since this process heard the service
    /// is.
    fn contradicts(&self, now: UnixSeconds, confirmed: UnixSeconds) -> bool {
        let was_heard = self.heard.is_some_and(|heard| heard <= TOKEN_LIFE_SECONDS);
        let wall_differs = self.is_set(confirmed)
            && now.since(self.wall) > CLOCK_SKEW_SECONDS
            && self.wall.since(confirmed) <= TOKEN_LIFE_SECONDS;
        was_heard || wall_differs
    }

    /// Whether the wall clock was ever set: it is not before the time at which the service was last heard.
    fn is_set(&self, confirmed: UnixSeconds) -> bool {
        confirmed.since(self.wall) <= CLOCK_SKEW_SECONDS
    }

    /// The moment before which withdrawals may be forgotten, after a long absence: a service that is ahead of a wall clock
    /// that shows the absence too withdraws no token that is alive.
    fn forgotten(&self, now: UnixSeconds, confirmed: UnixSeconds) -> UnixSeconds {
        match self.is_set(confirmed) {
            true => now.min(self.wall.max(confirmed)),
            false => now,
        }
    }
}

impl TrustState {
    /// The version that a signed snapshot of all tenants makes out of this one. Changes without room in it are left out
    /// and counted ([`TrustState::left_out`]).
    ///
    /// # Errors
    /// [`TrustRefusal`]; `older` and `order` when the snapshot would take back what is known.
    pub fn with_snapshot(
        &self,
        bytes: &[u8],
        pin: &Thumbprint,
        now: UnixSeconds,
    ) -> Result<Self, TrustRefusal> {
        self.with_snapshot_of(None, bytes, pin, Taken { now, wall: now, heard: None })
    }

    /// As [`TrustState::with_snapshot`], for a verifier of these tenants; `None` is all.
    ///
    /// # Errors
    /// [`TrustRefusal`]; `tenants` when the snapshot is for others.
    pub fn with_snapshot_of(
        &self,
        tenants: Option<&TenantSet>,
        bytes: &[u8],
        pin: &Thumbprint,
        taken: Taken,
    ) -> Result<Self, TrustRefusal> {
        let opened = Opened::read(bytes, pin, tenants.is_some())?;
        match opened.tenants.as_ref() == tenants {
            true => self.with_opened(opened, taken),
            false => Err(TrustRefusal::Tenants),
        }
    }

    /// As [`TrustState::with_snapshot`], for one that was stored when it was taken, of whichever tenants.
    pub(super) fn with_stored(&self, bytes: &[u8], pin: &Thumbprint) -> Result<Self, TrustRefusal> {
        // Whether it may still decide is judged by its age, not by the last moment for taking it in.
        let taken = Taken { now: UnixSeconds::new(0), wall: UnixSeconds::new(0), heard: None };
        self.with_opened(Opened::read(bytes, pin, false)?, taken)
    }

    fn with_opened(&self, opened: Opened, taken: Taken) -> Result<Self, TrustRefusal> {
        let Opened { tenants, snapshot, root } = opened;
        if taken.now > snapshot.valid_until {
            return Err(TrustRefusal::Expired);
        }
        let known = !self.is_empty();
        // Numbers of a former root bind no later one: in other hands it may have given out any.
        let is_other_root = self.root.as_ref().is_some_and(|former| *former != root);
        if snapshot.seq < self.seq && !is_other_root {
            return Err(TrustRefusal::Older);
        }
        if known && snapshot.seq == self.seq && snapshot.head != self.head && !is_other_root {
            return Err(TrustRefusal::Order);
        }
        let mut next = Self::empty(tessera_token::chain::TrustView::audience(self).clone());
        next.root = Some(root);
        next.bound = tenants.map(Arc::new);
        next.seq = snapshot.seq;
        next.head = snapshot.head;
        next.trusted_at = self.trusted_at.max(Some(snapshot.time));
        next.confirmed_at = self.confirmed_at;
        next.forgotten = self.forgotten;
        next.absent_since = self.absent_since;
        // Events in a row leave no gap, however long it took.
        if let Some(confirmed) =
            self.confirmed_at.filter(|_| known && (snapshot.seq > self.seq || is_other_root))
        {
            let was_long = taken.away(snapshot.time, confirmed) > TOKEN_LIFE_SECONDS;
            match was_long && taken.contradicts(snapshot.time, confirmed) {
                true => next.absent_since = self.absent_since.or(Some(confirmed)),
                false if was_long => {
                    let until = taken.forgotten(snapshot.time, confirmed);
                    next.forgotten = self.forgotten.max(Some(until));
                }
                false => {}
            }
        }
        for change in snapshot.state {
            next.take(change);
        }
        next.keep_floor_of(self)?;
        Ok(next)
    }

    /// The version that an answer of the feed to this nonce makes out of this one: an answer of the kind that fits the
    /// tenants of this version.
    pub fn with_answer(&self, answer: &FeedAnswer, nonce: &FeedNonce) -> Applied {
        match (answer, &self.bound) {
            (FeedAnswer::All(feed), None) => self.with_feed(feed, nonce),
            (FeedAnswer::Bound(bound), Some(_)) => self.with_view(bound, nonce),
            _ => Applied { refused: Some(TrustRefusal::Tenants), ..Applied::nothing(self) },
        }
    }

    /// The version that the answer of the feed to this nonce makes out of this one. Good events in front of a bad one
    /// count: no sender can hold a revocation back with rubbish behind it. One that finds no room is left out, and
    /// those behind it count too.
    pub fn with_feed(&self, feed: &Feed, nonce: &FeedNonce) -> Applied {
        let mut applied = Applied::nothing(self);
        for event in &feed.events {
            match applied.state.follow(event) {
                Ok(effect) => applied.effects.extend(effect),
                Err(refusal) => {
                    applied.refused = Some(refusal);
                    return applied;
                }
            }
            applied.taken += 1;
        }
        applied.moved = applied.taken > 0;
        applied.hear(&feed.heartbeat, nonce);
        applied
    }

    /// As [`TrustState::with_feed`], for a verifier of some tenants.
    fn with_view(&self, bound: &BoundFeed, nonce: &FeedNonce) -> Applied {
        let mut applied = Applied::nothing(self);
        match (bound.view.is_empty(), bound.feed.events.is_empty()) {
            (false, _) => applied.follow_view(&bound.view, &bound.feed.events),
            // No view vouches for these.
            (true, false) => applied.refused = Some(TrustRefusal::Order),
            (true, true) => {}
        }
        if applied.refused.is_none() {
            applied.hear(&bound.feed.heartbeat, nonce);
        }
        applied
    }

    /// Takes the events that a view includes, one after the other, then its place. Behind a bad event this version stands
    /// at the good one before it: the view says that nothing of these tenants lies between them.
    pub(super) fn follow_view(
        &mut self,
        view: &[u8],
        events: &[Vec<u8>],
        mut took: impl FnMut(Option<TrustEffect>),
    ) -> Result<(), TrustRefusal> {
        let root = self.root.clone().ok_or(TrustRefusal::NoSnapshot)?;
        let tenants = self.bound.clone().ok_or(TrustRefusal::Tenants)?;
        let view = View::open(view, &root)?;
        if view.tenants != tenants.id() {
            return Err(TrustRefusal::Tenants);
        }
        if (view.after, view.after_head) != (self.seq, self.head) {
            return Err(TrustRefusal::Order);
        }
        for (place, bytes) in events.iter().enumerate() {
            let event = view.included(place, self.seq, bytes, &tenants, &root)?;
            let effect = self.take(event.change);
            self.stand(event.seq, EventHash::of(bytes), event.time);
            took(effect);
        }
        if events.len() != view.included.len() {
            return Err(TrustRefusal::Order);
        }
        self.stand(view.seq, view.head, view.time);
        Ok(())
    }

    fn stand(&mut self, seq: u64, head: EventHash, time: UnixSeconds) {
        (self.seq, self.head) = (seq, head);
        self.trusted_at = self.trusted_at.max(Some(time));
    }

    /// Takes the next event; `None` when it found no room.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> Result<Option<TrustEffect>, TrustRefusal> {
        let root = self.root.as_ref().ok_or(TrustRefusal::NoSnapshot)?;
        let event = Event::open(bytes, root)?;
        if Some(event.seq) != self.seq.checked_add(1) || event.previous != self.head {
            return Err(TrustRefusal::Order);
        }
        let effect = self.take(event.change);
        self.stand(event.seq, EventHash::of(bytes), event.time);
        Ok(effect)
    }

    /// Whether there is more than we have. A heartbeat that answers another nonce, knows less than we do, or another
    /// past, is refused.
    pub(super) fn beat(&mut self, bytes: &[u8], nonce: &FeedNonce) -> Result<bool, TrustRefusal> {
        let root = self.root.as_ref().ok_or(TrustRefusal::NoSnapshot)?;
        let beat = Heartbeat::open_for(bytes, nonce, root)?;
        self.confirm(&beat)
    }

    /// As [`Self::beat`], for one that was stored when it had answered.
    pub(super) fn beat_again(&mut self, bytes: &[u8]) -> Result<(), TrustRefusal> {
        let root = self.root.as_ref().ok_or(TrustRefusal::NoSnapshot)?;
        let (beat, _) = Heartbeat::open_answer(bytes, root)?;
        self.confirm(&beat).map(drop)
    }

    fn confirm(&mut self, beat: &Heartbeat) -> Result<bool, TrustRefusal> {
        if beat.seq > self.seq {
            return Ok(true);
        }
        if beat.seq < self.seq {
            return Err(TrustRefusal::Beyond);
        }
        if beat.head != self.head {
            return Err(TrustRefusal::Order);
        }
        // It says what the clock of the service shows now: events that it signed with a wrong clock do not count on.
        self.trusted_at = Some(beat.time);
        self.confirmed_at = Some(beat.time);
        Ok(false)
    }
}
