//! rumqttd's router, embedded. No other file names it.
//!
//! Its sources (0.20.0) and measurements decide how it is used here:
//! - `LinkBuilder::build`, `LinkTx` and `LinkRx::recv` block the thread: only `Router`, and the methods here that say
//!   so, do that, on threads of their own. `LinkRx::next` and `wake` are truly asynchronous.
//! - It remembers every filter, topic and client id for ever: names come from fixed pools (`logs.rs`, `links.rs`).
//! - A topic that no filter matches, or that is new, scans all filters on its only thread (1.2 to 1.9 ms at 10,000). We
//!   publish to names of logs, which after the first time is one hash lookup; filters are matched by our own tree.
//! - `$share` keeps one cursor for each group *name*: a group with two filters reads the one log at the position of the
//!   other, and an unsubscribe from any filter takes a member out of all its groups. A member whose buffer is full
//!   stops its group. So `$share` is never sent here; groups are in front (`group.rs`).
//! - `Ready` for a link that the router has dropped, or that it does not hold paused, panics the router thread. A link
//!   has one owner, who answers each pause once and gives the link away to be closed.
//! - `build` waits for an answer without end, and when the router dies with the request still queued, the answer never
//!   comes and never fails: the queue outlives its reader as long as the waiting builder holds it. So links are built
//!   and closed on a thread that can be given up, and another one asks the router again and again whether it runs
//!   ([`Router::ask`]).
//! - Its thread never ends by itself, since it holds a sender of its own queue: a payload whose drop unwinds ends it
//!   ([`Router::end`]).
//! - A link that is dropped without `Packet::Disconnect` stays registered: [`Router::close`] is the only way out.
//! - Its subscribers get at most 200 notifications ahead; the rest stays in the log. When the log turns over, the
//!   offset in `Forward` jumps: [`Event::Message`] carries it.

use crate::limits::{ROUTER_LINKS, ROUTER_LOGS};
use bytes::Bytes;
use rumqttd::local::{LinkBuilder, LinkRx, LinkTx};
use rumqttd::protocol::{Disconnect, DisconnectReasonCode, Packet, PingReq, Publish};
use rumqttd::{Notification, RouterConfig, SegmentConfig};
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{sync_channel, SyncSender};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::sync::{mpsc, oneshot};

/// The router's thread has ended or is given up: every link is dead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RouterGone;

/// One running router. Dropping it ends the router.
pub(super) struct Router {
    jobs: mpsc::Sender<Job>,
    questions: SyncSender<()>,
    vital: Arc<Vital>,
    ender: LinkTx,
}

/// The signs of life of the router's thread.
#[derive(Default)]
struct Vital {
    answers: AtomicU64,
    died: AtomicBool,
}

type Opened = oneshot::Sender<Result<Link, RouterGone>>;

enum Job {
    Open { name: String, log: Option<String>, answer: Opened },
    Close(Link),
}

/// The name of a log and what is written to it.
pub(super) type Written = (Bytes, Bytes);

/// One connection to the router, with one owner.
pub(super) struct Link {
    tx: LinkTx,
    rx: LinkRx,
}

/// An event of a link.
pub(super) enum Event {
    /// A message of the log that was subscribed to, with its place in it.
    Message {
        /// Counts up by one for each message of the log.
        offset: u64,
        /// The envelope.
        payload: Bytes,
    },
    /// The router waits for [`Link::resume`].
    Pause,
    /// Acknowledgements and the like.
    Other,
}

impl Router {
    /// Starts a router on a thread of its own, with two of ours beside it. Blocks for about 0.1 ms.
    pub(super) fn start() -> Result<Self, RouterGone> {
        let events = rumqttd::Router::new(0, config()).spawn();
        let build = |name: &str| Link::build(LinkBuilder::new(name, events.clone()));
        let (mut watch, ender) = (build("watch")?, build("ender")?.tx);
        let vital = Arc::new(Vital::default());
        let (questions, asked) = sync_channel(1);
        let of_thread = Arc::clone(&vital);
        spawn("fleet-watch", move || {
            while asked.recv().is_ok() {
                let answered = watch.send(Packet::PingReq(PingReq));
                if answered.and_then(|()| watch.wait_for_ack()).is_err() {
                    return of_thread.died.store(true, Ordering::Release);
                }
                of_thread.answers.fetch_add(1, Ordering::Release);
            }
        })?;
        let (jobs, mut inbox) = mpsc::channel(ROUTER_LINKS);
        spawn("fleet-opener", move || {
            while let Some(job) = inbox.blocking_recv() {
                match job {
                    Job::Close(link) => link.disconnect(),
                    Job::Open { name, log, answer } => {
                        let link = Link::build(LinkBuilder::new(&name, events.clone()));
                        let link = link.and_then(|link| link.subscribed(log.as_deref()));
                        if let Err(Ok(unwanted)) = answer.send(link) {
                            unwanted.disconnect();
                        }
                    }
                }
            }
        })?;
        Ok(Self { jobs, questions, vital, ender })
    }

    /// A link that is subscribed to `log`; about 0.1 ms later. `name` is in use by no other link of this router. The
    /// answer may never come: the caller that waits watches the router, too.
    pub(super) fn open(
        &self,
        name: &str,
        log: Option<&str>,
    ) -> impl Future<Output = Result<Link, RouterGone>> + use<> {
        let (answer, opened) = oneshot::channel();
        let job = Job::Open { name: name.to_owned(), log: log.map(str::to_owned), answer };
        let asked = self.jobs.try_send(job);
        async move {
            asked.map_err(|_| RouterGone)?;
            opened.await.unwrap_or(Err(RouterGone))
        }
    }

    /// Ends a link, soon. Never waits.
    pub(super) fn close(&self, link: Link) {
        // When the thread has as many to close as there can be, the router hangs and is replaced: the link ends with
        // it.
        let _ = self.jobs.try_send(Job::Close(link));
    }

    /// Asks for a sign of life, which [`Self::answers`] counts. Never waits.
    pub(super) fn ask(&self) {
        // The question before is still open: that is the answer.
        let _ = self.questions.try_send(());
    }

    /// Signs of life so far.
    pub(super) fn answers(&self) -> u64 {
        self.vital.answers.load(Ordering::Acquire)
    }

    /// Whether its thread has ended, as far as was found by asking.
    pub(super) fn is_dead(&self) -> bool {
        self.vital.died.load(Ordering::Acquire)
    }

    /// Ends its thread, as soon as that runs, and all memory of it. Never waits; to be tried again until
    /// [`Self::is_dead`], since its queue may be full.
    pub(super) fn end(&mut self) {
        // The pill of an earlier attempt stays there when the queue is full (`try_publish` pushes first).
        self.ender.buffer().clear();
        let _ = self.ender.try_publish("end", Bytes::from_owner(Pill));
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.end();
    }
}

/// A payload that ends the router's thread by unwinding it, without a word, when it is dropped there: it is published
/// to a topic that no log has.
struct Pill;

impl AsRef<[u8]> for Pill {
    fn as_ref(&self) -> &[u8] {
        b"end"
    }
}

impl Drop for Pill {
    fn drop(&mut self) {
        if is_router_thread() && !std::thread::panicking() {
            std::panic::resume_unwind(Box::new("this router is not needed any more"));
        }
    }
}

fn is_router_thread() -> bool {
    std::thread::current().name() == Some("router-0")
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), RouterGone> {
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(body);
    started.map(|_| ()).map_err(|_| RouterGone)
}

fn config() -> RouterConfig {
    let sizes = ROUTER_LOGS.map(|(name, _, bytes, segments)| {
        let size = SegmentConfig { max_segment_size: bytes, max_segment_count: segments };
        (format!("{name}/+"), size)
    });
    RouterConfig {
        max_connections: ROUTER_LINKS + 4,
        max_outgoing_packet_count: 200,
        max_segment_size: 64 * 1024,
        max_segment_count: 2,
        custom_segment: Some(sizes.into_iter().collect()),
        ..RouterConfig::default()
    }
}

impl Link {
    fn build(builder: LinkBuilder<'_>) -> Result<Self, RouterGone> {
        builder.build().map(|(tx, rx, _)| Self { tx, rx }).map_err(|_| RouterGone)
    }

    fn subscribed(mut self, log: Option<&str>) -> Result<Self, RouterGone> {
        log.map_or(Ok(()), |log| self.subscribe(log)).map(|()| self)
    }

    /// Subscribes and waits until the router has done so: what is published afterwards arrives. Blocks.
    pub(super) fn subscribe(&mut self, log: &str) -> Result<(), RouterGone> {
        self.tx.subscribe(log).map_err(|_| RouterGone)?;
        self.wait_for_ack()
    }

    /// Blocks.
    fn disconnect(mut self) {
        let disconnect = Disconnect { reason_code: DisconnectReasonCode::NormalDisconnection };
        // An error means that the router is gone, and the link with it.
        let _ = self.send(Packet::Disconnect(disconnect, None));
    }

    /// Puts a batch into the router's input and asks for one acknowledgement. Never waits: when the router's queue is
    /// full, the rest is returned for [`Self::retry`].
    pub(super) fn publish(&mut self, batch: impl IntoIterator<Item = Written>) -> Option<Written> {
        let mut batch = batch.into_iter();
        let first = batch.next()?;
        let last = {
            let mut buffer = self.tx.buffer();
            buffer.push_back(Packet::PingReq(PingReq));
            batch.fold(first, |(log, payload), next| {
                buffer.push_back(Packet::Publish(Publish::new(log, payload, false), None));
                next
            })
        };
        self.retry(last)
    }

    /// Adds the last message of a batch and notifies the router.
    pub(super) fn retry(&mut self, (log, payload): Written) -> Option<Written> {
        if self.tx.try_publish(log.clone(), payload.clone()).is_ok() {
            return None;
        }
        // The router may have taken it with the others, for an earlier word.
        self.tx.buffer().pop_back().map(|_| (log, payload))
    }

    /// Waits for one acknowledgement. Blocks.
    fn wait_for_ack(&mut self) -> Result<(), RouterGone> {
        loop {
            if let Some(Notification::DeviceAck(_)) = self.rx.recv().map_err(|_| RouterGone)? {
                return Ok(());
            }
        }
    }

    /// One acknowledgement. Cancel-safe.
    pub(super) async fn ack(&mut self) -> Result<(), RouterGone> {
        loop {
            if let Some(Notification::DeviceAck(_)) =
                self.rx.next().await.map_err(|_| RouterGone)?
            {
                return Ok(());
            }
        }
    }

    /// The next event. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Event, RouterGone> {
        loop {
            return match self.rx.next().await.map_err(|_| RouterGone)? {
                Some(Notification::Forward(forward)) => {
                    let offset = forward.cursor.map_or(0, |(_, offset)| offset);
                    Ok(Event::Message { offset, payload: forward.publish.payload })
                }
                Some(Notification::Unschedule) => Ok(Event::Pause),
                Some(Notification::Disconnect(..)) => Err(RouterGone),
                Some(_) => Ok(Event::Other),
                None => continue,
            };
        }
    }

    /// Lets the router go on; once for each [`Event::Pause`], never otherwise.
    pub(super) async fn resume(&self) -> Result<(), RouterGone> {
        self.rx.wake().await.map_err(|_| RouterGone)
    }

    /// `LinkTx::send` is asynchronous in name only: it blocks and is done at its first poll.
    fn send(&mut self, packet: Packet) -> Result<(), RouterGone> {
        let sending = pin!(self.tx.send(packet));
        match sending.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(_)) => Ok(()),
            _ => Err(RouterGone),
        }
    }

    /// Makes the router's thread wait until what comes back is dropped.
    #[cfg(test)]
    pub(super) fn hang_router(&mut self) -> std::sync::mpsc::SyncSender<()> {
        let (hold, held) = sync_channel(1);
        let _ = self.tx.try_publish("nowhere", Bytes::from_owner(Brake(held)));
        hold
    }

    /// Makes the router's thread panic, as `Ready` for a closed link does.
    #[cfg(test)]
    pub(super) fn kill_router(mut self) {
        let disconnect = Disconnect { reason_code: DisconnectReasonCode::NormalDisconnection };
        let _ = self.send(Packet::Disconnect(disconnect, None));
        let _ = self.rx.ready();
    }
}

/// A payload whose drop stops the thread that does it.
#[cfg(test)]
struct Brake(std::sync::mpsc::Receiver<()>);

#[cfg(test)]
impl AsRef<[u8]> for Brake {
    fn as_ref(&self) -> &[u8] {
        b"brake"
    }
}

#[cfg(test)]
impl Drop for Brake {
    fn drop(&mut self) {
        if is_router_thread() {
            let _ = self.0.recv();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_router_that_hangs_is_told_to_end_again_and_again_and_holds_one_word_of_it() {
        let mut router = Router::start().unwrap();
        let release = router.open("brake", None).await.unwrap().hang_router();
        // More than its queue takes.
        for _ in 0..5_000 {
            router.end();
        }
        assert_eq!(router.ender.buffer().len(), 1);
        drop(release);
        while !router.is_dead() {
            router.ask();
            tokio::task::yield_now().await;
        }
    }
}
