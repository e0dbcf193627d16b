//! How a version of trust follows from the one before: pure, the signed bytes are arguments.

use tessera_token::key::Thumbprint;
use tessera_token::limits::TOKEN_LIFE_SECONDS;
use tessera_token::time::UnixSeconds;
use tessera_token::trust::{Event, EventHash, Feed, FeedNonce, Heartbeat, Snapshot};

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
    /// Whether the heartbeat says that this is still not all.
    pub more: bool,
    /// Whether the heartbeat answered the nonce and belongs to this version.
    pub beat: bool,
    /// The fault of the first bad one; `too_large` also when everything was taken but for what found
    /// no room.
    pub refused: Option<TrustRefusal>,
}

impl TrustState {
    /// The version that a signed snapshot makes out of this one. Changes without room in it are left out and counted
    /// ([`TrustState::left_out`]).
    ///
    /// # Errors
    /// [`TrustRefusal`]; `older` and `order` when the snapshot would take back what is known.
    pub fn with_snapshot(
        &self,
        bytes: &[u8],
        pin: &Thumbprint,
        now: UnixSeconds,
    ) -> Result<Self, TrustRefusal> {
        let (snapshot, root) = Snapshot::open(bytes, pin)?;
        if now > snapshot.valid_until {
            return Err(TrustRefusal::Expired);
        }
        if snapshot.seq < self.seq {
            return Err(TrustRefusal::Older);
        }
        let known = !self.is_empty();
        if known && snapshot.seq == self.seq && snapshot.head != self.head {
            return Err(TrustRefusal::Order);
        }
        let mut next = Self::empty(tessera_token::chain::TrustView::audience(self).clone());
        next.root = Some(root);
        next.seq = snapshot.seq;
        next.head = snapshot.head;
        next.trusted_at = self.trusted_at.max(Some(snapshot.time));
        next.confirmed_at = self.confirmed_at;
        next.forgotten = self.forgotten;
        // Events in a row leave no gap, however long it took. All three are signed: no clock of this machine decides.
        let away = self.confirmed_at.map_or(0, |at| snapshot.time.since(at));
        if known && snapshot.seq > self.seq && away > TOKEN_LIFE_SECONDS {
            next.forgotten = self.forgotten.max(Some(snapshot.time));
        }
        for change in snapshot.state {
            next.take(change);
        }
        next.keep_floor_of(self)?;
        Ok(next)
    }

    /// The version that the answer of the feed to this nonce makes out of this one. Good events in front of a bad one
    /// count: no sender can hold a revocation back with rubbish behind it. One that finds no room is left out, and
    /// those behind it count too.
    pub fn with_feed(&self, feed: &Feed, nonce: &FeedNonce) -> Applied {
        let mut applied = Applied {
            state: self.clone(),
            effects: Vec::new(),
            taken: 0,
            more: false,
            beat: false,
            refused: None,
        };
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
        match applied.state.beat(&feed.heartbeat, nonce) {
            Ok(more) => {
                applied.more = more;
                applied.beat = !more;
                applied.refused = (applied.state.left_out > 0).then_some(TrustRefusal::TooLarge);
            }
            Err(refusal) => applied.refused = Some(refusal),
        }
        applied
    }

    /// Takes the next event; `None` when it found no room.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> Result<Option<TrustEffect>, TrustRefusal> {
        let root = self.root.as_ref().ok_or(TrustRefusal::NoSnapshot)?;
        let event = Event::open(bytes, root)?;
        if Some(event.seq) != self.seq.checked_add(1) || event.previous != self.head {
            return Err(TrustRefusal::Order);
        }
        let effect = self.take(event.change);
        self.seq = event.seq;
        self.head = EventHash::of(bytes);
        self.trusted_at = self.trusted_at.max(Some(event.time));
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
