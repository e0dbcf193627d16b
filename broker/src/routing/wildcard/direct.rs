//! Fast path for a filter with one subscriber: while the subscriber keeps up, a message goes to its outbox at once,
//! past the router.
//!
//! A commit log is worth its two thread hops when it has many readers or a slow one. A filter with one reader that
//! keeps up needs neither: without them a message costs half. As soon as the reader's outbox is full, messages go into
//! the log, and they do so until the reader has read all of them: so order holds, and no message is lost that the log
//! can hold.

use super::atomic_options::AtomicOptions;
use crate::message::Message;
use crate::routing::delivery::Delivery;
use crate::routing::outbox::{Outbox, Push};
use std::sync::atomic::{AtomicU64, AtomicU8, Ordering};
use std::sync::Arc;

/// The only reader of one filter.
pub(super) struct DirectReader {
    outbox: Arc<Outbox>,
    options: Arc<AtomicOptions>,
    /// One of the modes below; it changes between two pushes to the outbox.
    mode: AtomicU8,
    /// Messages that are queued for the log.
    queued: AtomicU64,
    /// The place after the last of them that the writer has put there.
    written: AtomicU64,
}

/// Messages go to the outbox.
const DIRECT: u8 = 0;
/// Messages go into the log.
const LOG: u8 = 1;
/// The reader has unsubscribed.
const ENDED: u8 = 2;

/// The result of an offer.
pub(super) enum Offered {
    /// The reader has it, or does not want it.
    Done,
    /// It goes into the log, with this.
    ToLog(QueuedToLog),
    /// The share of the reader is used up.
    Lost,
    /// There is no reader any more.
    Gone,
}

/// A message that is queued for the log.
pub(super) struct QueuedToLog(Arc<DirectReader>);

impl DirectReader {
    /// Begins with the log, until its feed runs.
    pub(super) fn new(outbox: &Arc<Outbox>, options: &Arc<AtomicOptions>) -> Arc<Self> {
        Arc::new(Self {
            outbox: Arc::clone(outbox),
            options: Arc::clone(options),
            mode: AtomicU8::new(LOG),
            queued: AtomicU64::new(0),
            written: AtomicU64::new(0),
        })
    }

    pub(super) fn offer(self: &Arc<Self>, message: &Arc<Message>) -> Offered {
        let options = self.options.get();
        if options.no_local && message.publisher.session == self.outbox.id() {
            return if self.has_ended() { Offered::Gone } else { Offered::Done };
        }
        let delivery = Delivery::new(Arc::clone(message), options, false);
        let mut queued = None;
        let into_log = || {
            if self.mode() != ENDED {
                self.mode.store(LOG, Ordering::SeqCst);
                self.queued.fetch_add(1, Ordering::SeqCst);
                queued = Some(QueuedToLog(Arc::clone(self)));
            }
        };
        match self.outbox.push_if(delivery, || self.mode() == DIRECT, into_log) {
            Some(Push::Closed) => Offered::Gone,
            Some(Push::NoShare) => {
                self.outbox.miss(1);
                Offered::Lost
            }
            Some(_) => Offered::Done,
            None => queued.map_or(Offered::Gone, Offered::ToLog),
        }
    }

    /// The feed has delivered all messages before this place, or counted them as missed. If the log holds no more,
    /// messages go to the outbox again.
    pub(super) fn read_up_to(&self, place: u64) {
        self.outbox.between_pushes(|| {
            let all = self.queued.load(Ordering::SeqCst) == 0
                && self.written.load(Ordering::SeqCst) <= place;
            if self.mode() == LOG && all {
                self.mode.store(DIRECT, Ordering::SeqCst);
            }
        });
    }

    /// Whether its reader has unsubscribed.
    pub(super) fn has_ended(&self) -> bool {
        self.mode() == ENDED
    }

    /// Nothing is delivered from now on.
    pub(super) fn end(&self) {
        self.outbox.between_pushes(|| self.mode.store(ENDED, Ordering::SeqCst));
    }

    fn mode(&self) -> u8 {
        self.mode.load(Ordering::SeqCst)
    }
}

impl QueuedToLog {
    /// The writer has put it into the log; `next` is the place after it.
    pub(super) fn written(self, next: u64) {
        self.0.written.store(next, Ordering::SeqCst);
    }
}

impl Drop for QueuedToLog {
    fn drop(&mut self) {
        self.0.queued.fetch_sub(1, Ordering::SeqCst);
    }
}
