//! How a version of trust follows from the one before: pure, the signed bytes are arguments.

use tessera_token::key::Thumbprint;
use tessera_token::time::UnixSeconds;
use tessera_token::trust::{Event, EventHash, Feed, Heartbeat, Snapshot};

use super::effect::TrustEffect;
use super::refusal::TrustRefusal;
use super::state::TrustState;

/// What an answer of the feed came to.
pub struct Applied {
    /// The new version: the old one with the good beginning of the events.
    pub state: TrustState,
    /// What changed, in order.
    pub effects: Vec<TrustEffect>,
    /// How many of the events were good.
    pub taken: usize,
    /// Whether the heartbeat says that this is still not all.
    pub more: bool,
    /// Whether the heartbeat was good and belongs to this version.
    pub beat: bool,
    /// What was wrong with the first that was not good.
    pub refused: Option<TrustRefusal>,
}

impl TrustState {
    /// The version that a signed snapshot makes out of this one.
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
        for change in snapshot.state {
            next.apply(change)?;
        }
        next.keep_floor_of(self)?;
        Ok(next)
    }

    /// The version that an answer of the feed makes out of this one. Good events in front of a bad one count: nobody
    /// can hold a revocation back by putting rubbish behind it.
    pub fn with_feed(&self, feed: &Feed) -> Applied {
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
                Ok(effect) => applied.effects.push(effect),
                Err(refusal) => {
                    applied.refused = Some(refusal);
                    return applied;
                }
            }
            applied.taken += 1;
        }
        match applied.state.beat(&feed.heartbeat) {
            Ok(more) => {
                applied.more = more;
                applied.beat = !more;
            }
            Err(refusal) => applied.refused = Some(refusal),
        }
        applied
    }

    pub(super) fn follow(&mut self, bytes: &[u8]) -> Result<TrustEffect, TrustRefusal> {
        let root = self.root.as_ref().ok_or(TrustRefusal::NoSnapshot)?;
        let event = Event::open(bytes, root)?;
        if Some(event.seq) != self.seq.checked_add(1) || event.previous != self.head {
            return Err(TrustRefusal::Order);
        }
        let effect = self.apply(event.change)?;
        self.seq = event.seq;
        self.head = EventHash::of(bytes);
        self.trusted_at = self.trusted_at.max(Some(event.time));
        Ok(effect)
    }

    /// Whether there is more than we have. A heartbeat that knows less than we do, or another past, is refused.
    pub(super) fn beat(&mut self, bytes: &[u8]) -> Result<bool, TrustRefusal> {
        let root = self.root.as_ref().ok_or(TrustRefusal::NoSnapshot)?;
        let beat = Heartbeat::open(bytes, root)?;
        if beat.seq > self.seq {
            return Ok(true);
        }
        if beat.seq < self.seq || beat.head != self.head {
            return Err(TrustRefusal::Order);
        }
        // It says what the clock of the service shows now: events that it signed with a wrong clock do not count on.
        self.trusted_at = Some(beat.time);
        Ok(false)
    }
}
