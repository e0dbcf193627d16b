//! The one thread that opens and closes links, and starts the router again when it died.
//!
//! Who finds a link dead asks for another and says which router it belonged to; the first to do so makes the thread
//! start a new router, the others get links into that one. So every link is made again by its own owner.

use super::router::{Link, Router, RouterGone};
use super::Counters;
use crate::limits::{FLEET_CLOSES_AT_ONCE, FLEET_LINKS, FLEET_LINK_REQUESTS};
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Why there is no link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoLink {
    /// `limits::FLEET_LINKS` are in use.
    TooMany,
    /// The router cannot be reached, or the lane is stopping.
    Unavailable,
}

/// A link and what is needed to end it or to replace it.
pub(super) struct OwnedLink {
    pub(super) link: Link,
    name: u32,
    generation: u64,
}

type Answer = oneshot::Sender<Result<OwnedLink, NoLink>>;

enum Request {
    Open { log: Option<String>, answer: Answer },
    Replace { log: Option<String>, dead: Box<OwnedLink>, answer: Answer },
    Close(Box<OwnedLink>),
}

/// Asks the thread. When the last is dropped, the thread ends and with it the router.
#[derive(Clone)]
pub(super) struct Links {
    requests: mpsc::Sender<Request>,
    counters: Arc<Counters>,
}

impl Links {
    pub(super) fn start(counters: Arc<Counters>) -> io::Result<Self> {
        let (requests, inbox) = mpsc::channel(FLEET_LINK_REQUESTS);
        let keeper = Keeper {
            router: Router::start()
                .map_err(|RouterGone| io::Error::other("the fleet lane's router did not start"))?,
            generation: 1,
            free: VecDeque::new(),
            made: 0,
            open: 0,
            closes: 0,
            counters: Arc::clone(&counters),
        };
        std::thread::Builder::new().name("fleet-links".into()).spawn(move || keeper.run(inbox))?;
        Ok(Self { requests, counters })
    }

    /// A link that is subscribed to `log`.
    pub(super) async fn open(&self, log: &str) -> Result<OwnedLink, NoLink> {
        let (answer, answered) = oneshot::channel();
        let request = Request::Open { log: Some(log.to_owned()), answer };
        if self.requests.capacity() == 0 {
            self.counters.links_waited.fetch_add(1, Ordering::Relaxed);
        }
        self.requests.send(request).await.map_err(|_| NoLink::Unavailable)?;
        answered.await.unwrap_or(Err(NoLink::Unavailable))
    }

    /// A link in the place of one whose router is gone.
    pub(super) async fn replace(&self, log: &str, dead: OwnedLink) -> Result<OwnedLink, NoLink> {
        let (answer, answered) = oneshot::channel();
        let request = Request::Replace { log: Some(log.to_owned()), dead: Box::new(dead), answer };
        self.requests.send(request).await.map_err(|_| NoLink::Unavailable)?;
        answered.await.unwrap_or(Err(NoLink::Unavailable))
    }

    /// Gives a link back.
    pub(super) async fn close(&self, link: OwnedLink) {
        // When the thread is gone, the router is too.
        let _ = self.requests.send(Request::Close(Box::new(link))).await;
    }

    /// A link to publish with; in the place of `dead`, if given. Blocks: for threads only.
    pub(super) fn open_writer(&self, dead: Option<OwnedLink>) -> Result<OwnedLink, NoLink> {
        let (answer, answered) = oneshot::channel();
        let request = match dead {
            None => Request::Open { log: None, answer },
            Some(dead) => Request::Replace { log: None, dead: Box::new(dead), answer },
        };
        self.requests.blocking_send(request).map_err(|_| NoLink::Unavailable)?;
        answered.blocking_recv().unwrap_or(Err(NoLink::Unavailable))
    }
}

impl OwnedLink {
    /// Which router it leads into, counted from 1.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    #[cfg(test)]
    pub(super) fn kill_router(self) {
        self.link.kill_router();
    }
}

struct Keeper {
    router: Router,
    generation: u64,
    free: VecDeque<u32>,
    made: u32,
    open: usize,
    closes: usize,
    counters: Arc<Counters>,
}

impl Keeper {
    fn run(mut self, mut inbox: mpsc::Receiver<Request>) {
        while let Some(request) = inbox.blocking_recv() {
            match request {
                Request::Open { log, answer } => self.answer(log.as_deref(), answer),
                Request::Replace { log, dead, answer } => {
                    let generation = dead.generation;
                    self.forget(*dead);
                    if generation == self.generation {
                        // Failing, it is tried once more with the link that is asked for.
                        let _ = self.restart();
                    }
                    self.answer(log.as_deref(), answer);
                }
                Request::Close(link) => self.close(*link),
            }
        }
    }

    fn answer(&mut self, log: Option<&str>, answer: Answer) {
        if let Err(Ok(unwanted)) = answer.send(self.make(log)) {
            self.close(unwanted);
        }
    }

    /// A second attempt with a new router, then no more: what fails twice is not the router's death.
    fn make(&mut self, log: Option<&str>) -> Result<OwnedLink, NoLink> {
        if self.open >= FLEET_LINKS {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            return Err(NoLink::TooMany);
        }
        let name = self.free.pop_front().unwrap_or_else(|| {
            self.made += 1;
            self.made
        });
        let link = self.connect(name, log).or_else(|RouterGone| {
            self.restart()?;
            self.connect(name, log)
        });
        match link {
            Ok(link) => {
                self.open += 1;
                Ok(OwnedLink { link, name, generation: self.generation })
            }
            Err(RouterGone) => {
                self.free.push_back(name);
                Err(NoLink::Unavailable)
            }
        }
    }

    fn connect(&mut self, name: u32, log: Option<&str>) -> Result<Link, RouterGone> {
        let mut link = self.router.open(&format!("link-{name}"))?;
        match log.map(|log| link.subscribe(log)) {
            None | Some(Ok(())) => Ok(link),
            Some(Err(gone)) => Err(gone),
        }
    }

    fn restart(&mut self) -> Result<(), RouterGone> {
        self.router = Router::start()?;
        self.generation += 1;
        self.counters.restarts.fetch_add(1, Ordering::Relaxed);
        tracing::error!(
            generation = self.generation,
            "the fleet lane's router ended and was started again"
        );
        Ok(())
    }

    fn close(&mut self, link: OwnedLink) {
        if link.generation != self.generation {
            return self.forget(link);
        }
        self.open = self.open.saturating_sub(1);
        self.free.push_back(link.name);
        Router::close(link.link);
        self.closes += 1;
        if self.closes.is_multiple_of(FLEET_CLOSES_AT_ONCE) {
            self.wait_for_router();
        }
    }

    fn forget(&mut self, link: OwnedLink) {
        self.open = self.open.saturating_sub(1);
        self.free.push_back(link.name);
    }

    /// Opening a link is answered only after all that was asked before.
    fn wait_for_router(&mut self) {
        if let Ok(link) = self.router.open("link-0") {
            Router::close(link);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Waker};
    use tokio::task::unconstrained;

    fn keeper(open: usize) -> Keeper {
        let (router, counters) = (Router::start().ok().unwrap(), Arc::default());
        let free = VecDeque::new();
        Keeper { router, generation: 1, free, made: 0, open, closes: 0, counters }
    }

    #[test]
    fn one_link_too_many_is_refused_and_a_closed_one_makes_room() {
        let mut keeper = keeper(FLEET_LINKS - 1);
        let last = keeper.make(None).ok().unwrap();
        assert_eq!(keeper.make(None).err(), Some(NoLink::TooMany));
        assert_eq!(keeper.counters.refused.load(Ordering::Relaxed), 1);
        keeper.close(last);
        assert!(keeper.make(None).is_ok());
    }

    #[tokio::test]
    async fn subscribers_wait_behind_a_queue_of_requests_and_are_counted() {
        let (requests, mut inbox) = mpsc::channel(FLEET_LINK_REQUESTS);
        let links = Links { requests, counters: Arc::default() };
        let mut opening: Vec<Pin<Box<_>>> =
            (0..=FLEET_LINK_REQUESTS).map(|_| Box::pin(unconstrained(links.open("log")))).collect();
        for one in &mut opening {
            assert!(one.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        assert_eq!(inbox.len(), FLEET_LINK_REQUESTS);
        assert_eq!(links.counters.links_waited.load(Ordering::Relaxed), 1);
        // One is answered, and the one that waited takes its place.
        let Some(Request::Open { answer, .. }) = inbox.recv().await else { panic!() };
        assert!(answer.send(Err(NoLink::TooMany)).is_ok());
        let waited = opening.last_mut().unwrap();
        assert!(waited.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(inbox.len(), FLEET_LINK_REQUESTS);
        assert_eq!(opening.swap_remove(0).await.err(), Some(NoLink::TooMany));
    }
}
