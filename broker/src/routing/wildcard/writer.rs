//! The one thread that publishes into the router, from a bounded queue.
//!
//! Each batch is written under the fence: into the present router, or into none. Messages that a router has not
//! taken when it is replaced are written to the next one; those that its readers did not get from it are a gap in their
//! logs, which they are told.

use super::era::Fence;
use super::filters::Route;
use super::links::{Links, OwnedLink, Place};
use super::router::{RouterGone, Written};
use super::Counters;
use crate::limits::{
    ROUTER_BATCH, ROUTER_BATCHES_AHEAD, ROUTER_QUEUE_KIB, ROUTER_QUEUE_MESSAGES, ROUTER_RETRY,
};
use bytes::Bytes;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, Semaphore};
use tokio::time::sleep;

/// One message for the logs of all filters that match it.
pub(super) struct Entry {
    pub(super) routes: Vec<Route>,
    pub(super) envelope: Bytes,
}

/// The queue before the router. When it is full, publishers wait: that is the back-pressure on them.
#[derive(Clone)]
pub(super) struct Writer {
    queue: mpsc::Sender<Entry>,
    room: Arc<Semaphore>,
    counters: Arc<Counters>,
}

impl Writer {
    pub(super) fn start(
        links: Links,
        counters: Arc<Counters>,
        runtime: Handle,
    ) -> io::Result<Self> {
        let (queue, inbox) = mpsc::channel(ROUTER_QUEUE_MESSAGES);
        let room = Arc::new(Semaphore::new(ROUTER_QUEUE_KIB));
        let thread = Thread {
            fence: Arc::clone(links.fence()),
            links,
            counters: Arc::clone(&counters),
            room: Arc::clone(&room),
            runtime,
            held: Held::Nothing,
            ahead: 0,
        };
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
    u32::try_from(kib.min(ROUTER_QUEUE_KIB)).unwrap_or(u32::MAX)
}

struct Thread {
    links: Links,
    fence: Fence,
    counters: Arc<Counters>,
    room: Arc<Semaphore>,
    runtime: Handle,
    held: Held,
    ahead: usize,
}

/// The thread's link into the router.
enum Held {
    Nothing,
    /// A link that leads nowhere any more: its name and its place among the links stay the thread's.
    Lost(Place),
    Open(OwnedLink),
}

impl Thread {
    fn run(mut self, mut inbox: mpsc::Receiver<Entry>) {
        let mut batch = Vec::with_capacity(ROUTER_BATCH);
        while inbox.blocking_recv_many(&mut batch, ROUTER_BATCH) > 0 {
            let room: usize = batch.iter().map(|entry| kib(entry) as usize).sum();
            self.deliver(&mut batch);
            batch.clear();
            self.room.add_permits(room);
        }
    }

    /// Until a router has the batch, or the writer ends.
    fn deliver(&mut self, batch: &mut Vec<Entry>) {
        while !batch.is_empty() {
            self.held = match std::mem::replace(&mut self.held, Held::Nothing) {
                Held::Nothing => self.open(None),
                Held::Lost(place) => self.open(Some(place)),
                Held::Open(mut owned) => match self.write(&mut owned, batch) {
                    Ok(()) => Held::Open(owned),
                    Err(RouterGone) => {
                        self.ahead = 0;
                        Held::Lost(owned.place)
                    }
                },
            };
            if self.links.is_closed() {
                return;
            }
        }
    }

    /// Without an answer, a pause comes before the next attempt.
    fn open(&self, lost: Option<Place>) -> Held {
        match self.links.open_writer(lost.as_ref()) {
            Ok(link) => Held::Open(link),
            Err(_) => {
                if !self.links.is_closed() {
                    // Within the runtime: the timer is its own.
                    self.runtime.block_on(async { sleep(self.links.tick()).await });
                }
                lost.map_or(Held::Nothing, Held::Lost)
            }
        }
    }

    /// Takes nothing out of the batch unless the link leads into the present router.
    fn write(&mut self, owned: &mut OwnedLink, batch: &mut Vec<Entry>) -> Result<(), RouterGone> {
        let era = Arc::clone(owned.era());
        let fence = Arc::clone(&self.fence);
        let may_write = fence.blocking_lock();
        if *may_write != era.number() || era.is_given_up() {
            return Err(RouterGone);
        }
        batch.retain(|entry| !entry.routes.is_empty());
        let count = batch.len() as u64;
        if count == 0 {
            return Ok(());
        }
        let flat = batch.drain(..).flat_map(|entry| {
            let (envelope, number) = (entry.envelope, era.number());
            entry.routes.into_iter().map(move |Route { log, direct }| {
                let next = log.note_written(number, envelope.len());
                if let Some(direct) = direct {
                    direct.written(next);
                }
                (log.name().clone(), envelope.clone())
            })
        });
        let left = owned.link.publish(flat);
        self.ahead += 1;
        let written = self.runtime.block_on(async {
            tokio::select! {
                biased;
                written = Self::settle(&mut self.ahead, owned, left) => written,
                () = era.given_up() => Err(RouterGone),
            }
        });
        if written.is_err() {
            self.counters.lost.fetch_add(count, Ordering::Relaxed);
        }
        written
    }

    /// Waits until the router has room for what is left, and has caught up far enough.
    async fn settle(
        ahead: &mut usize,
        owned: &mut OwnedLink,
        mut left: Option<Written>,
    ) -> Result<(), RouterGone> {
        while let Some(message) = left.take() {
            left = owned.link.retry(message);
            if left.is_some() {
                sleep(ROUTER_RETRY).await;
            }
        }
        while *ahead >= ROUTER_BATCHES_AHEAD {
            owned.link.ack().await?;
            *ahead -= 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::era::Era;
    use super::super::links::{NoLink, Request};
    use super::super::router::Router;
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};
    use tokio::runtime::Runtime;
    use tokio::task::unconstrained;

    /// A queue that only the test empties.
    fn stuck() -> (Writer, mpsc::Receiver<Entry>, Arc<Counters>) {
        let (queue, inbox) = mpsc::channel(ROUTER_QUEUE_MESSAGES);
        let room = Arc::new(Semaphore::new(ROUTER_QUEUE_KIB));
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
        assert_eq!((written, waited(&counters)), (ROUTER_QUEUE_MESSAGES, 1));
    }

    #[tokio::test]
    async fn publishers_wait_behind_a_queue_of_bytes_and_are_counted() {
        let (writer, mut inbox, counters) = stuck();
        // A quarter and a little: three fit.
        let bytes = ROUTER_QUEUE_KIB * 1024 / 4;
        let room = Arc::clone(&writer.room);
        let make_room = || room.add_permits(kib(&inbox.try_recv().unwrap()) as usize);
        assert_eq!((fill(&writer, bytes, make_room).await, waited(&counters)), (3, 1));
    }

    #[test]
    fn a_writer_that_gets_no_new_link_asks_again_in_the_place_of_the_one_it_had() {
        let runtime = Runtime::new().unwrap();
        let (requests, mut inbox) = mpsc::channel(1);
        let links = Links::to(requests);
        let router = Router::start().unwrap();
        let link_of = |era| {
            let link = runtime.block_on(router.open(&format!("link-{era}"), None)).ok().unwrap();
            OwnedLink { link, place: Place { name: 7, era: Era::new(era) } }
        };
        let mut thread = Thread {
            fence: Arc::clone(links.fence()),
            links,
            counters: Arc::default(),
            room: Arc::new(Semaphore::new(ROUTER_QUEUE_KIB)),
            runtime: runtime.handle().clone(),
            // The fence is at 0.
            held: Held::Open(link_of(1)),
            ahead: 0,
        };
        let writing = std::thread::spawn(move || {
            thread.deliver(&mut vec![Entry { routes: Vec::new(), envelope: Bytes::new() }]);
            matches!(thread.held, Held::Open(owned) if owned.place.era.number() == 0)
        });
        for again in [true, true, false] {
            let Some(Request::Follow { log: None, from, answer, .. }) = inbox.blocking_recv()
            else {
                panic!("it asks for a link of another name")
            };
            assert_eq!(from.name, 7);
            let link = if again { Err(NoLink::Unavailable) } else { Ok(link_of(0)) };
            assert!(answer.send(link).is_ok());
        }
        assert!(writing.join().unwrap());
    }
}
