//! Reads one link for one reader (a session or a group), as fast as the reader drains and no faster.

use super::envelope;
use super::filters::Claim;
use super::group::Group;
use super::links::{Links, OwnedLink};
use super::near::Near;
use super::router::{Event, RouterGone};
use super::wish::Wish;
use super::Counters;
use crate::lanes::delivery::Delivery;
use crate::lanes::message::Message;
use crate::lanes::outbox::{Outbox, Push};
use bytes::{Buf, Bytes};
use std::sync::atomic::Ordering;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Who gets what the link brings.
#[derive(Clone)]
pub(super) enum Reader {
    Session { outbox: Arc<Outbox>, wish: Arc<Wish> },
    Group(Arc<Group>),
}

pub(super) struct Feed {
    pub(super) claim: Claim,
    pub(super) reader: Reader,
    /// The short way to the same reader, when it has one.
    pub(super) near: Option<Arc<Near>>,
    pub(super) links: Links,
    pub(super) counters: Arc<Counters>,
    pub(super) stop: CancellationToken,
}

enum End {
    Stopped,
    RouterGone,
}

impl Feed {
    /// Runs until stopped or until the reader is gone; survives the router. What has the offset `owed` or a higher one
    /// must arrive or be told as missed.
    pub(super) async fn run(self, mut link: OwnedLink, mut owed: u64) {
        // Nothing is on its way through the log yet, or the first message that comes out of it will tell.
        self.read_up_to(0);
        loop {
            match self.read(&mut link, owed).await {
                End::Stopped => return self.links.close(link).await,
                End::RouterGone => match self.links.replace(self.claim.log().text(), link).await {
                    Ok(fresh) => {
                        link = fresh;
                        owed = self.claim.log().next_offset();
                    }
                    Err(reason) => {
                        tracing::error!(filter = %self.claim.filter(), ?reason, "a fleet subscription was lost");
                        return;
                    }
                },
            }
        }
    }

    async fn read(&self, link: &mut OwnedLink, owed: u64) -> End {
        let mut expected = owed;
        loop {
            let event = tokio::select! {
                biased;
                () = self.stop.cancelled() => return End::Stopped,
                event = link.link.next() => event,
            };
            match event {
                Ok(Event::Message { offset, payload }) => {
                    self.note_gap(offset.saturating_sub(expected));
                    expected = offset.saturating_add(1);
                    if !self.deliver(payload).await {
                        return End::Stopped;
                    }
                    self.read_up_to(expected);
                }
                Ok(Event::Pause) => {
                    if let Err(RouterGone) = link.link.resume().await {
                        return End::RouterGone;
                    }
                }
                Ok(Event::Other) => {}
                Err(RouterGone) => return End::RouterGone,
            }
        }
    }

    fn read_up_to(&self, offset: u64) {
        if let Some(near) = &self.near {
            near.read_up_to(offset);
        }
    }

    /// The log turned over before this reader came to it: messages are lost to it, and it is told.
    fn note_gap(&self, missed: u64) {
        if missed == 0 {
            return;
        }
        self.counters.gaps.fetch_add(missed, Ordering::Relaxed);
        if let Reader::Session { outbox, .. } = &self.reader {
            outbox.miss(missed);
        }
        tracing::warn!(tenant = %self.claim.tenant(), filter = %self.claim.filter(), missed, "a slow subscriber missed messages");
    }

    /// False when there is nobody left to deliver to.
    async fn deliver(&self, mut payload: Bytes) -> bool {
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
        loop {
            match self.reader.offer(&message) {
                Push::Taken | Push::Kept(_) => {
                    self.counters.delivered.here().fetch_add(1, Ordering::Relaxed);
                    return true;
                }
                Push::Closed => return false,
                Push::Full => {
                    tokio::select! {
                        () = self.stop.cancelled() => return false,
                        () = self.reader.room(&message) => {}
                    }
                }
            }
        }
    }
}

impl Reader {
    fn has_had(&self, number: u64) -> bool {
        match self {
            Self::Group(group) => group.has_had(number),
            Self::Session { .. } => false,
        }
    }

    pub(super) fn offer(&self, message: &Arc<Message>) -> Push {
        match self {
            // A group whose members are all leaving waits for others: it ends by its stop signal alone.
            Self::Group(group) => match group.offer(message) {
                Push::Closed if group.lets_go(message) => Push::Taken,
                Push::Closed => Push::Full,
                other => other,
            },
            Self::Session { outbox, wish } => {
                let options = wish.get();
                if options.no_local && message.publisher.session == outbox.id() {
                    return Push::Taken;
                }
                outbox.push(Delivery::new(Arc::clone(message), options, false))
            }
        }
    }

    async fn room(&self, message: &Message) {
        match self {
            Self::Group(group) => group.room(message).await,
            Self::Session { outbox, .. } => outbox.room(message.cost()).await,
        }
    }
}
