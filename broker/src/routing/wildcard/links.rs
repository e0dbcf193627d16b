//! Links into the router: asked for here, opened and closed by the keeper (`keeper.rs`).

use super::era::{Era, Fence};
use super::keeper::{Health, Keeper, Residues};
use super::router::Link;
use super::Counters;
use crate::limits::ROUTER_LINK_REQUESTS;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Why there is no link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoLink {
    /// `limits::ROUTER_LINKS` are in use.
    TooMany,
    /// The router cannot be reached, or it is stopping.
    Unavailable,
}

/// A link and what is needed to end it or to follow a newer router.
pub(super) struct OwnedLink {
    pub(super) link: Link,
    pub(super) place: Place,
}

/// Which link of which router.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) name: u32,
    pub(super) era: Arc<Era>,
}

pub(super) type Answer = oneshot::Sender<Result<OwnedLink, NoLink>>;

/// A request to the keeper.
pub(super) enum Request {
    /// A link, subscribed to `log` or to write with.
    Open { log: Option<String>, answer: Answer },
    /// A link of the same name into the present router. `dead` says that the one there is ended by itself.
    Follow { log: Option<String>, from: Place, dead: bool, answer: Answer },
    /// A link is not needed any more, and its name is free.
    Close(Box<OwnedLink>),
    /// A link is not needed any more, its name is that of the one that followed.
    LeaveSession(Box<OwnedLink>),
    /// Another router, for no reason.
    #[cfg(test)]
    Renew,
}

/// Asks the keeper. When the last is dropped, it ends and with it the router.
#[derive(Clone)]
pub(super) struct Links {
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) counters: Arc<Counters>,
    health: Arc<Health>,
    fence: Fence,
    stop: CancellationToken,
    tick: Duration,
}

impl Links {
    /// `runtime` runs the keeper, which takes a step every `tick`.
    pub(super) fn start(
        counters: Arc<Counters>,
        residues: Residues,
        runtime: &Handle,
        tick: Duration,
    ) -> io::Result<Self> {
        let (requests, inbox) = mpsc::channel(ROUTER_LINK_REQUESTS);
        let keeper = Keeper::start(Arc::clone(&counters), residues, tick)
            .map_err(|_| io::Error::other("the router of wildcard routes did not start"))?;
        let (health, fence) = (keeper.health(), keeper.fence());
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        runtime.spawn(async move { stopped.run_until_cancelled(keeper.run(inbox)).await });
        Ok(Self { requests, counters, health, fence, stop, tick })
    }

    /// Without a keeper: the test answers.
    #[cfg(test)]
    pub(super) fn to(requests: mpsc::Sender<Request>) -> Self {
        let (counters, health, fence, stop) = Default::default();
        let tick = Duration::from_millis(5);
        Self { requests, counters, health, fence, stop, tick }
    }

    /// A link that is subscribed to `log`.
    pub(super) async fn open(&self, log: &str) -> Result<OwnedLink, NoLink> {
        if self.requests.capacity() == 0 {
            self.counters.links_waited.fetch_add(1, Ordering::Relaxed);
        }
        self.ask(|answer| Request::Open { log: Some(log.to_owned()), answer }).await
    }

    /// A link into the present router, in the place of one into an older one, or of one that has ended.
    pub(super) async fn follow(
        &self,
        log: &str,
        from: &Place,
        dead: bool,
    ) -> Result<OwnedLink, NoLink> {
        let (log, from) = (Some(log.to_owned()), from.clone());
        self.ask(|answer| Request::Follow { log, from, dead, answer }).await
    }

    async fn ask(&self, request: impl FnOnce(Answer) -> Request) -> Result<OwnedLink, NoLink> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(request(answer)).await.map_err(|_| NoLink::Unavailable)?;
        answered.await.unwrap_or(Err(NoLink::Unavailable))
    }

    /// Gives a link back.
    pub(super) async fn close(&self, link: OwnedLink) {
        // When the keeper is gone, the router is too.
        let _ = self.requests.send(Request::Close(Box::new(link))).await;
    }

    /// Gives a link back that another one has followed.
    pub(super) async fn leave(&self, link: OwnedLink) {
        let _ = self.requests.send(Request::LeaveSession(Box::new(link))).await;
    }

    /// A link to publish with; in the place of one that is lost, if given. After a change of routers it comes when all
    /// readers have links there, so that they miss nothing. Blocks: for threads only.
    pub(super) fn open_writer(&self, lost: Option<&Place>) -> Result<OwnedLink, NoLink> {
        let (answer, answered) = oneshot::channel();
        let request = match lost.cloned() {
            None => Request::Open { log: None, answer },
            Some(from) => Request::Follow { log: None, from, dead: false, answer },
        };
        self.requests.blocking_send(request).map_err(|_| NoLink::Unavailable)?;
        answered.blocking_recv().unwrap_or(Err(NoLink::Unavailable))
    }

    /// Another router, for no reason.
    #[cfg(test)]
    pub(super) async fn renew(&self) {
        let _ = self.requests.send(Request::Renew).await;
    }

    /// Ends the keeper and the router with it: there will be no link any more.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// Whether the keeper has ended: there will be no link any more.
    pub(super) fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }

    pub(super) fn fence(&self) -> &Fence {
        &self.fence
    }

    /// One step of the keeper: the pause before another try of a failed step.
    pub(super) fn tick(&self) -> Duration {
        self.tick
    }

    pub(super) fn health(&self) -> &Health {
        &self.health
    }
}

impl OwnedLink {
    /// The router that it leads into.
    pub(super) fn era(&self) -> &Arc<Era> {
        &self.place.era
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Waker};
    use tokio::task::unconstrained;

    #[tokio::test]
    async fn subscribers_wait_behind_a_queue_of_requests_and_are_counted() {
        let (requests, mut inbox) = mpsc::channel(ROUTER_LINK_REQUESTS);
        let links = Links::to(requests);
        let mut opening: Vec<Pin<Box<_>>> = (0..=ROUTER_LINK_REQUESTS)
            .map(|_| Box::pin(unconstrained(links.open("log"))))
            .collect();
        for one in &mut opening {
            assert!(one.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        assert_eq!(inbox.len(), ROUTER_LINK_REQUESTS);
        assert_eq!(links.counters.links_waited.load(Ordering::Relaxed), 1);
        // One is answered, and the one that waited takes its place.
        let Some(Request::Open { answer, .. }) = inbox.recv().await else { panic!() };
        assert!(answer.send(Err(NoLink::TooMany)).is_ok());
        let waited = opening.last_mut().unwrap();
        assert!(waited.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(inbox.len(), ROUTER_LINK_REQUESTS);
        assert_eq!(opening.swap_remove(0).await.err(), Some(NoLink::TooMany));
    }
}
