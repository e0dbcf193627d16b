//! Reads one link for one reader (a session or a group), as fast as the reader drains and no faster.

use super::atomic_options::AtomicOptions;
use super::direct::DirectReader;
use super::filters::Claim;
use super::group::Group;
use super::links::{Links, NoLink, OwnedLink};
use super::router::Event;
use super::Counters;
use crate::limits::ROUTER_DRAIN_TICKS;
use crate::message::envelope;
use crate::message::{Message, SubscriberId};
use crate::routing::delivery::Delivery;
use crate::routing::outbox::{Outbox, Push};
use bytes::{Buf, Bytes};
use std::sync::atomic::Ordering;
use std::sync::Arc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// The receiver of the messages of a link.
#[derive(Clone)]
pub(super) enum Reader {
    Session { outbox: Arc<Outbox>, options: Arc<AtomicOptions> },
    Group(Arc<Group>),
}

pub(super) struct Feed {
    pub(super) claim: Claim,
    pub(super) reader: Reader,
    /// The short way to the same reader, when it has one.
    pub(super) direct: Option<Arc<DirectReader>>,
    pub(super) links: Links,
    pub(super) counters: Arc<Counters>,
    pub(super) stop: CancellationToken,
}

/// Where a feed is.
struct At {
    link: OwnedLink,
    /// The place of the first message in the router that `link` leads into, once it is needed.
    base: Option<u64>,
    /// The place of the next message.
    expected: u64,
    /// The router that follows, while this one is read to its end.
    next: Option<Next>,
}

struct Next {
    link: OwnedLink,
    /// The place of the first message that can come out of `link`: messages from before the request for it do not.
    floor: u64,
}

enum Step {
    Event(Event),
    /// Another router took the place of this one.
    Replaced,
    /// Nothing more comes out of this router.
    Over,
    Stopped,
}

impl Feed {
    /// Runs until stopped or until the reader is gone; survives the router. A message at the place `owed` or higher
    /// must arrive or be counted as missed.
    pub(super) async fn run(self, link: OwnedLink, owed: u64) {
        // The log holds nothing yet, or the first message that comes out of it will show it.
        self.read_up_to(0);
        let mut at = At { link, base: None, expected: owed, next: None };
        while self.step(&mut at).await {}
        if let Some(next) = at.next.take() {
            self.links.leave(at.link).await;
            at.link = next.link;
        }
        self.links.close(at.link).await;
    }

    /// False when it is to end.
    async fn step(&self, at: &mut At) -> bool {
        let step = match at.next {
            None => self.wait(at).await,
            Some(_) => self.wait_for_the_last(at).await,
        };
        match step {
            Step::Event(Event::Message { offset, payload }) => self.take(at, offset, payload).await,
            Step::Event(Event::Pause) => self.resume(at).await,
            Step::Event(Event::Other) => true,
            Step::Replaced => self.follow(at, false).await,
            Step::Over => self.cross(at).await,
            Step::Stopped => false,
        }
    }

    async fn wait(&self, at: &mut At) -> Step {
        if self.stop.is_cancelled() {
            return Step::Stopped;
        }
        let OwnedLink { link, place } = &mut at.link;
        if place.era.is_replaced() {
            return Step::Replaced;
        }
        // A message that is there needs no look at the others.
        tokio::select! {
            biased;
            event = link.next() => event.map_or(Step::Over, Step::Event),
            () = self.stop.cancelled() => Step::Stopped,
            () = place.era.replaced() => Step::Replaced,
        }
    }

    /// The same for a router that is written to no more: to its end, or as long as something comes.
    async fn wait_for_the_last(&self, at: &mut At) -> Step {
        let OwnedLink { link, place } = &mut at.link;
        if at.expected >= self.claim.log().end_of(place.era.number()) {
            return Step::Over;
        }
        for _ in 0..ROUTER_DRAIN_TICKS {
            tokio::select! {
                biased;
                event = link.next() => return event.map_or(Step::Over, Step::Event),
                () = self.stop.cancelled() => return Step::Stopped,
                () = place.era.given_up() => return Step::Over,
                () = sleep(self.links.tick()) => {}
            }
        }
        Step::Over
    }

    async fn take(&self, at: &mut At, offset: u64, payload: Bytes) -> bool {
        if at.base.is_none() {
            at.base = self.claim.log().base_of(at.link.era().number());
        }
        let place = at.base.map_or(at.expected, |base| base.saturating_add(offset));
        self.note_gap(place.saturating_sub(at.expected));
        at.expected = place.saturating_add(1);
        if !self.deliver(at, payload).await {
            return false;
        }
        self.read_up_to(at.expected);
        true
    }

    async fn resume(&self, at: &mut At) -> bool {
        let OwnedLink { link, place } = &mut at.link;
        let following = at.next.is_none();
        // The next step finds a router that cannot be notified.
        tokio::select! {
            biased;
            _ = link.resume() => {}
            () = self.stop.cancelled() => {}
            () = place.era.replaced(), if following => {}
            () = place.era.given_up() => {}
        }
        true
    }

    /// Takes a link into the present router, before this one is read to its end: so nothing is missed there.
    async fn follow(&self, at: &mut At, dead: bool) -> bool {
        let log = self.claim.log();
        loop {
            // Under the fence, nothing is on its way into the router: all below this place is there before the link is.
            let floor = tokio::select! {
                _still = self.links.fence().lock() => log.next_place(),
                () = self.stop.cancelled() => return false,
            };
            match self.links.follow(log.text(), &at.link.place, dead).await {
                Ok(link) => {
                    at.next = Some(Next { link, floor });
                    return true;
                }
                Err(reason) => {
                    if self.links.is_closed() {
                        return false;
                    }
                    self.note_no_link(reason);
                }
            }
            tokio::select! {
                () = self.stop.cancelled() => return false,
                () = sleep(self.links.tick()) => {}
            }
        }
    }

    fn note_no_link(&self, reason: NoLink) {
        tracing::debug!(filter = %self.claim.filter(), ?reason, "a wildcard subscription waits for a router");
    }

    /// Leaves a router of which nothing more comes.
    async fn cross(&self, at: &mut At) -> bool {
        if at.next.is_none() && !self.follow(at, true).await {
            return false;
        }
        let Some(Next { link, floor }) = at.next.take() else { return false };
        let base = self.claim.log().base_of(link.era().number());
        let start = base.map_or(floor, |base| base.max(floor));
        self.note_gap(start.saturating_sub(at.expected));
        at.expected = at.expected.max(start);
        at.base = None;
        self.read_up_to(at.expected);
        self.links.leave(std::mem::replace(&mut at.link, link)).await;
        true
    }

    fn read_up_to(&self, place: u64) {
        if let Some(direct) = &self.direct {
            direct.read_up_to(place);
        }
    }

    /// The log turned over before this reader came to it, or its router ended: messages are lost to it, and counted.
    fn note_gap(&self, missed: u64) {
        if missed == 0 {
            return;
        }
        self.counters.gaps.fetch_add(missed, Ordering::Relaxed);
        self.reader.miss(missed);
        tracing::warn!(tenant = %self.claim.tenant(), filter = %self.claim.filter(), missed, "a subscriber missed messages: it was too slow, or the router was replaced");
    }

    /// False when no session is left to deliver to.
    async fn deliver(&self, at: &mut At, mut payload: Bytes) -> bool {
        let number = payload.try_get_u64().unwrap_or(0);
        if self.reader.has_had(number) {
            return true;
        }
        let Some(message) = envelope::unwrap(payload, self.claim.tenant()) else {
            self.counters.strays.fetch_add(1, Ordering::Relaxed);
            return true;
        };
        // A log has had other filters before: nothing passes that this filter does not match.
        if !self.claim.filter().matches(&message.topic) {
            self.counters.strays.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        let message = Arc::new(message);
        let mut no_share = Vec::new();
        loop {
            match self.reader.offer(&message, &mut no_share) {
                Push::Taken | Push::Stored(_) => {
                    self.counters.delivered.here().fetch_add(1, Ordering::Relaxed);
                    return true;
                }
                Push::Closed => return false,
                Push::NoShare => {
                    self.reader.miss(1);
                    if let Some(count) = self.counters.no_share.get(message.qos as usize) {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    return true;
                }
                Push::Full => {
                    if !self.room(at, &message, &no_share).await {
                        return false;
                    }
                }
            }
        }
    }
}

impl Feed {
    /// Waits until the message may fit; follows a new router until then. False when it is to end. While there are
    /// members in `no_share`, the group is asked again after each tick: other sessions of their devices may have freed
    /// some.
    async fn room(&self, at: &mut At, message: &Message, no_share: &[SubscriberId]) -> bool {
        let era = Arc::clone(at.link.era());
        let following = at.next.is_none();
        tokio::select! {
            () = self.stop.cancelled() => false,
            () = era.replaced(), if following => self.follow(at, false).await,
            () = self.reader.room(message, no_share) => true,
            () = sleep(self.links.tick()), if !no_share.is_empty() => true,
        }
    }
}

impl Reader {
    fn miss(&self, count: u64) {
        match self {
            Self::Session { outbox, .. } => outbox.miss(count),
            Self::Group(group) => group.miss(count),
        }
    }

    fn has_had(&self, number: u64) -> bool {
        match self {
            Self::Group(group) => group.has_had(number),
            Self::Session { .. } => false,
        }
    }

    /// `no_share` is as in [`Group::offer_noting`].
    fn offer(&self, message: &Arc<Message>, no_share: &mut Vec<SubscriberId>) -> Push {
        match self {
            // A group whose members are all leaving waits for others: it ends by its stop signal alone.
            Self::Group(group) => match group.offer_noting(message, no_share) {
                Push::Closed if group.lets_go(message) => Push::Taken,
                Push::Closed => Push::Full,
                other => other,
            },
            Self::Session { outbox, options } => {
                let options = options.get();
                if options.no_local && message.publisher.session == outbox.id() {
                    return Push::Taken;
                }
                outbox.push(Delivery::new(Arc::clone(message), options, false))
            }
        }
    }

    async fn room(&self, message: &Message, no_share: &[SubscriberId]) {
        match self {
            Self::Group(group) => group.room(message, no_share).await,
            Self::Session { outbox, .. } => outbox.room(message.cost()).await,
        }
    }
}
