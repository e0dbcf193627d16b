//! What the gate does with one CONNECT: a choice of queue, nothing else.

use std::sync::mpsc::{SyncSender, TrySendError};

/// The queues of the verification threads, taken in turn.
pub(super) struct Dispatcher<J> {
    queues: Vec<SyncSender<J>>,
    next: usize,
}

impl<J> Dispatcher<J> {
    pub(super) fn new(queues: Vec<SyncSender<J>>) -> Self {
        Self { queues, next: 0 }
    }

    /// Puts the job into the first queue with room, starting with the one whose turn it is. Gives it back when all
    /// are full.
    pub(super) fn dispatch(&mut self, mut job: J) -> Result<(), J> {
        let count = self.queues.len();
        for offset in 0..count {
            let place = (self.next + offset) % count;
            let Some(queue) = self.queues.get(place) else { continue };
            match queue.try_send(job) {
                Ok(()) => {
                    self.next = (place + 1) % count;
                    return Ok(());
                }
                Err(TrySendError::Full(back) | TrySendError::Disconnected(back)) => job = back,
            }
        }
        Err(job)
    }
}
