//! Chooses the queue of one CONNECT.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::Arc;

/// The queues of the verification threads, taken in turn. Clones share the turn.
pub(super) struct Dispatcher<J> {
    queues: Vec<SyncSender<J>>,
    next: Arc<AtomicUsize>,
}

impl<J> Clone for Dispatcher<J> {
    fn clone(&self) -> Self {
        Self { queues: self.queues.clone(), next: Arc::clone(&self.next) }
    }
}

impl<J> Dispatcher<J> {
    pub(super) fn new(queues: Vec<SyncSender<J>>) -> Self {
        Self { queues, next: Arc::default() }
    }

    /// Puts the job into the first queue with room, starting with the one whose turn it is. Gives it back when all
    /// are full.
    pub(super) fn dispatch(&self, mut job: J) -> Result<(), J> {
        let count = self.queues.len();
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        for offset in 0..count {
            let place = first.wrapping_add(offset) % count;
            let Some(queue) = self.queues.get(place) else { continue };
            match queue.try_send(job) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(back) | TrySendError::Disconnected(back)) => job = back,
            }
        }
        Err(job)
    }
}
