//! The short way to a filter's only reader: while it keeps up, a message goes to its outbox at once, past the router.
//!
//! A commit log is worth its two thread hops when many read it or somebody is slow. A filter with one reader that keeps
//! up needs neither: measured, it halves what a message costs. As soon as the reader's outbox is full, messages go into
//! the log, and they go on doing so until the reader has read everything that went there: so order holds, and nothing
//! is lost that the log can hold.

use super::feed::Reader;
use crate::lanes::message::Message;
use crate::lanes::outbox::Push;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// One filter's only reader.
pub(super) struct Near {
    reader: Reader,
    way: Mutex<Way>,
    /// Messages on their way into the log.
    queued: AtomicU64,
    /// The offset behind the last of them that the writer has put there.
    written: AtomicU64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Outbox,
    Log,
    /// The reader has unsubscribed.
    Nowhere,
}

/// What became of a message.
pub(super) enum Offered {
    /// The reader has it, or does not want it.
    Done,
    /// It is to go into the log, with this.
    ToLog(OnItsWay),
    /// There is no reader any more.
    Nobody,
}

/// A message between its publisher and the log.
pub(super) struct OnItsWay(Arc<Near>);

impl Near {
    /// Begins on the way through the log, until its feed runs.
    pub(super) fn new(reader: Reader) -> Arc<Self> {
        Arc::new(Self {
            reader,
            way: Mutex::new(Way::Log),
            queued: AtomicU64::new(0),
            written: AtomicU64::new(0),
        })
    }

    pub(super) fn offer(self: &Arc<Self>, message: &Arc<Message>) -> Offered {
        let mut way = self.way.lock();
        if *way == Way::Outbox {
            match self.reader.offer(message) {
                Push::Taken | Push::Kept(_) => return Offered::Done,
                Push::Closed => return Offered::Nobody,
                Push::Full => *way = Way::Log,
            }
        }
        match *way {
            Way::Nowhere => Offered::Nobody,
            Way::Outbox | Way::Log => {
                self.queued.fetch_add(1, Ordering::SeqCst);
                Offered::ToLog(OnItsWay(Arc::clone(self)))
            }
        }
    }

    /// The feed has handed over everything before this offset: if that was all, the way is short again.
    pub(super) fn read_up_to(&self, offset: u64) {
        let mut way = self.way.lock();
        let all = self.queued.load(Ordering::SeqCst) == 0
            && self.written.load(Ordering::SeqCst) <= offset;
        if *way == Way::Log && all {
            *way = Way::Outbox;
        }
    }

    /// Whether its reader has unsubscribed.
    pub(super) fn has_ended(&self) -> bool {
        *self.way.lock() == Way::Nowhere
    }

    /// Nothing is delivered from now on.
    pub(super) fn end(&self) {
        *self.way.lock() = Way::Nowhere;
    }
}

impl OnItsWay {
    /// The writer has put it into the log; `next` is the offset behind it.
    pub(super) fn written(self, next: u64) {
        self.0.written.store(next, Ordering::SeqCst);
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        self.0.queued.fetch_sub(1, Ordering::SeqCst);
    }
}
