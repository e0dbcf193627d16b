//! The short way to a filter's only reader: while it keeps up, a message goes to its outbox at once, past the router.
//!
//! A commit log is worth its two thread hops when many read it or one of them is slow. A filter with one reader that keeps
//! up needs neither: measured, it halves what a message costs. As soon as the reader's outbox is full, messages go into
//! the log, and they go on doing so until the reader has read everything that went there: so order holds, and nothing
//! is lost that the log can hold.

use super::wish::Wish;
use crate::lanes::delivery::Delivery;
use crate::lanes::outbox::{Outbox, Push};
use crate::message::Message;
use std::sync::atomic::{AtomicU64, AtomicU8, Ordering};
use std::sync::Arc;

/// One filter's only reader.
pub(super) struct Near {
    outbox: Arc<Outbox>,
    wish: Arc<Wish>,
    /// One of the ways below; it changes between two pushes to the outbox.
    way: AtomicU8,
    /// Messages on their way into the log.
    queued: AtomicU64,
    /// The place behind the last of them that the writer has put there.
    written: AtomicU64,
}

const OUTBOX: u8 = 0;
const LOG: u8 = 1;
/// The reader has unsubscribed.
const NOWHERE: u8 = 2;

/// The result of an offer.
pub(super) enum Offered {
    /// The reader has it, or does not want it.
    Done,
    /// It is to go into the log, with this.
    ToLog(OnItsWay),
    /// The share of the reader is used up.
    Lost,
    /// There is no reader any more.
    Nobody,
}

/// A message between its publisher and the log.
pub(super) struct OnItsWay(Arc<Near>);

impl Near {
    /// Begins on the way through the log, until its feed runs.
    pub(super) fn new(outbox: &Arc<Outbox>, wish: &Arc<Wish>) -> Arc<Self> {
        Arc::new(Self {
            outbox: Arc::clone(outbox),
            wish: Arc::clone(wish),
            way: AtomicU8::new(LOG),
            queued: AtomicU64::new(0),
            written: AtomicU64::new(0),
        })
    }

    pub(super) fn offer(self: &Arc<Self>, message: &Arc<Message>) -> Offered {
        let options = self.wish.get();
        if options.no_local && message.publisher.session == self.outbox.id() {
            return if self.has_ended() { Offered::Nobody } else { Offered::Done };
        }
        let delivery = Delivery::new(Arc::clone(message), options, false);
        let mut on_its_way = None;
        let turn_away = || {
            if self.way() != NOWHERE {
                self.way.store(LOG, Ordering::SeqCst);
                self.queued.fetch_add(1, Ordering::SeqCst);
                on_its_way = Some(OnItsWay(Arc::clone(self)));
            }
        };
        match self.outbox.push_if(delivery, || self.way() == OUTBOX, turn_away) {
            Some(Push::Closed) => Offered::Nobody,
            Some(Push::NoShare) => {
                self.outbox.miss(1);
                Offered::Lost
            }
            Some(_) => Offered::Done,
            None => on_its_way.map_or(Offered::Nobody, Offered::ToLog),
        }
    }

    /// The feed has handed over everything before this place, or told it as missed: if that was all, the way is short again.
    pub(super) fn read_up_to(&self, place: u64) {
        self.outbox.between_pushes(|| {
            let all = self.queued.load(Ordering::SeqCst) == 0
                && self.written.load(Ordering::SeqCst) <= place;
            if self.way() == LOG && all {
                self.way.store(OUTBOX, Ordering::SeqCst);
            }
        });
    }

    /// Whether its reader has unsubscribed.
    pub(super) fn has_ended(&self) -> bool {
        self.way() == NOWHERE
    }

    /// Nothing is delivered from now on.
    pub(super) fn end(&self) {
        self.outbox.between_pushes(|| self.way.store(NOWHERE, Ordering::SeqCst));
    }

    fn way(&self) -> u8 {
        self.way.load(Ordering::SeqCst)
    }
}

impl OnItsWay {
    /// The writer has put it into the log; `next` is the place behind it.
    pub(super) fn written(self, next: u64) {
        self.0.written.store(next, Ordering::SeqCst);
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        self.0.queued.fetch_sub(1, Ordering::SeqCst);
    }
}
