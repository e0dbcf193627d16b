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
}

impl Writer {
    pub(super) fn start(links: Links, counters: Arc<Counters>) -> io::Result<Self> {
        let (queue, inbox) = mpsc::channel(FLEET_QUEUE_MESSAGES);
        let room = Arc::new(Semaphore::new(FLEET_QUEUE_KIB));
        let thread = Thread { links, counters, room: Arc::clone(&room), link: None, ahead: 0 };
        std::thread::Builder::new().name("fleet-writer".into()).spawn(move || thread.run(inbox))?;
        Ok(Self { queue, room })
    }

    /// Queues a message; waits while the queue is full. Cancel-safe: a cancelled call queued nothing.
    pub(super) async fn write(&self, entry: Entry) {
        let Ok(permit) = self.room.acquire_many(kib(&entry)).await else { return };
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
