//! The one thread that publishes into the router, from a bounded queue.

use super::filters::Route;
use super::links::{Links, OwnedLink};
use super::router::RouterGone;
use super::Counters;
use crate::limits::{FLEET_BATCH, FLEET_BATCHES_AHEAD, FLEET_QUEUE_KIB, FLEET_QUEUE_MESSAGES};
use bytes::Bytes;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use tokio::sync::{mpsc, Semaphore};

/// One message for the logs of all filters that match it.
pub(super) struct Entry {
    pub(super) routes: Vec<Route>,
    pub(super) envelope: Bytes,
}

/// The queue in front of the router. Full means wait: that is the back-pressure on publishers.
#[derive(Clone)]
pub(super) struct Writer {
    queue: mpsc::Sender<Entry>,
    room: Arc<Semaphore>,
    counters: Arc<Counters>,
}

impl Writer {
    pub(super) fn start(links: Links, counters: Arc<Counters>) -> io::Result<Self> {
        let (queue, inbox) = mpsc::channel(FLEET_QUEUE_MESSAGES);
        let room = Arc::new(Semaphore::new(FLEET_QUEUE_KIB));
        let of_thread = (Arc::clone(&counters), Arc::clone(&room));
        let thread =
            Thread { links, counters: of_thread.0, room: of_thread.1, link: None, ahead: 0 };
        std::thread::Builder::new().name("fleet-writer".into()).spawn(move || thread.run(inbox))?;
        Ok(Self { queue, room, counters })
    }

    /// Queues a message; waits while the queue is full. Cancel-safe: a cancelled call queued nothing.
    pub(super) async fn write(&self, entry: Entry) {
        let kib = kib(&entry);
        if self.queue.capacity() == 0 || self.room.available_permits() < kib as usize {
            self.counters.publishers_waited.fetch_add(1, Ordering::Relaxed);
        }
        let Ok(permit) = self.room.acquire_many(kib).await else { return };
        if let Ok(slot) = self.queue.reserve().await {
            permit.forget();
            slot.send(entry);
        }
    }
}

fn kib(entry: &Entry) -> u32 {
    let kib = entry.envelope.len() / 1024 + 1;
    u32::try_from(kib.min(FLEET_QUEUE_KIB)).unwrap_or(u32::MAX)
}

struct Thread {
    links: Links,
    counters: Arc<Counters>,
    room: Arc<Semaphore>,
    link: Option<OwnedLink>,
    ahead: usize,
}

impl Thread {
    fn run(mut self, mut inbox: mpsc::Receiver<Entry>) {
        let mut batch = Vec::with_capacity(FLEET_BATCH);
        while inbox.blocking_recv_many(&mut batch, FLEET_BATCH) > 0 {
            let room: usize = batch.iter().map(|entry| kib(entry) as usize).sum();
            let count = batch.len() as u64;
            if self.write(&mut batch).is_err() {
                self.counters.lost.fetch_add(count, Ordering::Relaxed);
                self.replace_link();
            }
            batch.clear();
            self.room.add_permits(room);
        }
    }

    fn write(&mut self, batch: &mut Vec<Entry>) -> Result<(), RouterGone> {
        if self.link.is_none() {
            self.link = self.links.open_writer(None).ok();
        }
        let owned = self.link.as_mut().ok_or(RouterGone)?;
        let generation = owned.generation();
        let flat = batch.drain(..).flat_map(|entry| {
            let envelope = entry.envelope;
            entry.routes.into_iter().map(move |Route { log, near }| {
                let next = log.note_written(generation);
                if let Some(near) = near {
                    near.written(next);
                }
                (log.name().clone(), envelope.clone())
            })
        });
        owned.link.publish(flat)?;
        self.ahead += 1;
        while self.ahead >= FLEET_BATCHES_AHEAD {
            owned.link.wait_for_ack()?;
            self.ahead -= 1;
        }
        Ok(())
    }

    fn replace_link(&mut self) {
        self.ahead = 0;
        let dead = self.link.take();
        self.link = self.links.open_writer(dead).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};
    use tokio::task::unconstrained;

    /// A queue that nobody empties but the test.
    fn stuck() -> (Writer, mpsc::Receiver<Entry>, Arc<Counters>) {
        let (queue, inbox) = mpsc::channel(FLEET_QUEUE_MESSAGES);
        let room = Arc::new(Semaphore::new(FLEET_QUEUE_KIB));
        let counters = Arc::new(Counters::default());
        (Writer { queue, room, counters: Arc::clone(&counters) }, inbox, counters)
    }

    fn waited(counters: &Counters) -> u64 {
        counters.publishers_waited.load(Ordering::Relaxed)
    }

    /// Writes until one has to wait, which then gets in as soon as `make_room` has taken one out.
    async fn fill(writer: &Writer, bytes: usize, make_room: impl FnOnce()) -> usize {
        let envelope = Bytes::from(vec![0; bytes]);
        let entry = || Entry { routes: Vec::new(), envelope: envelope.clone() };
        let mut written = 0;
        loop {
            let mut write = pin!(unconstrained(writer.write(entry())));
            let mut context = Context::from_waker(Waker::noop());
            if write.as_mut().poll(&mut context) == Poll::Pending {
                make_room();
                write.await;
                return written;
            }
            written += 1;
        }
    }

    #[tokio::test]
    async fn publishers_wait_behind_a_queue_of_messages_and_are_counted() {
        let (writer, mut inbox, counters) = stuck();
        let written = fill(&writer, 10, || drop(inbox.try_recv().unwrap())).await;
        assert_eq!((written, waited(&counters)), (FLEET_QUEUE_MESSAGES, 1));
    }

    #[tokio::test]
    async fn publishers_wait_behind_a_queue_of_bytes_and_are_counted() {
        let (writer, mut inbox, counters) = stuck();
        // A quarter and a little: three fit.
        let bytes = FLEET_QUEUE_KIB * 1024 / 4;
        let room = Arc::clone(&writer.room);
        let make_room = || room.add_permits(kib(&inbox.try_recv().unwrap()) as usize);
        assert_eq!((fill(&writer, bytes, make_room).await, waited(&counters)), (3, 1));
    }
}
