//! The keeper of the routers: opens and closes links, watches the router by its own steps (`pulse.rs`), and replaces
//! one that died, that hangs, or whose logs hold much that no reader will read.
//!
//! A change of routers, whatever its cause:
//! 1. The new router starts, and the fence moves: from now on the old one is written to no more.
//! 2. Each reader is told, takes a link into the new router and reads the old one to its end, if it still answers; what
//!    does not come out of it any more is a gap, which is counted for the reader.
//! 3. When all readers have their links, the writer gets its own.
//! 4. When all readers have left it, the old router ends.

use super::era::{Era, Fence};
use super::links::{Answer, NoLink, OwnedLink, Place, Request};
use super::logs::Residue;
use super::names::Names;
use super::pulse::{Cause, Finding};
use super::router::{Link, Router, RouterGone};
use super::running::{start_router, Running};
use super::Counters;
use crate::limits::{
    OLD_ROUTERS, ROUTER_CLOSES_AT_ONCE, ROUTER_MOVE_TICKS, ROUTER_QUIET_TICKS, ROUTER_RESIDUE,
    ROUTER_RESIDUE_QUIET,
};
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::sleep;

/// Tells what the logs of the router of an era hold.
pub(super) type Residues = Arc<dyn Fn(u64) -> Residue + Send + Sync>;

/// The state of the router that others read.
#[derive(Default)]
pub(super) struct Health {
    /// The router does not answer, or there is none.
    ails: AtomicBool,
    /// About how many bytes of messages the router's logs hold.
    pub(super) held: AtomicU64,
    /// Routers that were replaced and have not ended yet.
    pub(super) old: AtomicU64,
}

impl Health {
    pub(super) fn is_good(&self) -> bool {
        !self.ails.load(Ordering::Acquire)
    }
}

pub(super) struct Keeper {
    current: Running,
    old: Vec<Running>,
    fence: Fence,
    names: Names,
    /// Readers, of all routers.
    readers: usize,
    closes: usize,
    writer: Option<Waiting>,
    quiet: Quiet,
    residues: Residues,
    health: Arc<Health>,
    counters: Arc<Counters>,
    /// The pause between two steps.
    tick: Duration,
}

/// The writer waits until the readers are there.
struct Waiting {
    name: u32,
    answer: Answer,
    /// Whether the writer has no link yet: it does not know its name before it is answered.
    is_new: bool,
    /// Steps since the present router started.
    ticks: u32,
}

/// How long nothing was written.
#[derive(Default)]
struct Quiet {
    written: u64,
    ticks: u32,
}

impl Keeper {
    /// Starts the first router, which is looked at every `tick`. Blocks for about 0.1 ms.
    pub(super) fn start(
        counters: Arc<Counters>,
        residues: Residues,
        tick: Duration,
    ) -> Result<Self, RouterGone> {
        Ok(Self {
            current: Running::new(Router::start()?, 1),
            old: Vec::new(),
            fence: Arc::new(tokio::sync::Mutex::new(1)),
            names: Names::default(),
            readers: 0,
            closes: 0,
            writer: None,
            quiet: Quiet::default(),
            residues,
            health: Arc::default(),
            counters,
            tick,
        })
    }

    pub(super) fn health(&self) -> Arc<Health> {
        Arc::clone(&self.health)
    }

    pub(super) fn fence(&self) -> Fence {
        Arc::clone(&self.fence)
    }

    /// Until no caller is left.
    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Request>) {
        // A step is one sleep: several that were missed are one.
        let mut tick = Box::pin(sleep(self.tick));
        loop {
            tokio::select! {
                request = inbox.recv() => match request {
                    Some(request) => self.serve(request).await,
                    None => return,
                },
                () = &mut tick => {
                    self.tick().await;
                    tick = Box::pin(sleep(self.tick));
                }
            }
            self.let_the_writer_go().await;
        }
    }

    async fn serve(&mut self, request: Request) {
        match request {
            Request::Open { log: Some(log), answer } => {
                if let Err(Ok(unwanted)) = answer.send(self.open(&log).await) {
                    self.close(unwanted).await;
                }
            }
            Request::Open { log: None, answer } => match self.take_name() {
                Ok(name) => self.let_the_writer_wait(name, answer, true),
                Err(reason) => drop(answer.send(Err(reason))),
            },
            Request::Follow { log: Some(log), from, dead, answer } => {
                if dead && self.is_current(&from.era) {
                    // Failing, it is tried again for the link that is asked for.
                    let _ = self.replace(Cause::Died).await;
                }
                if let Err(Ok(unwanted)) = answer.send(self.link(from.name, Some(&log)).await) {
                    self.leave(unwanted).await;
                }
            }
            Request::Follow { log: None, from, answer, .. } => {
                if self.current.era.is_given_up() {
                    let _ = self.replace(Cause::Died).await;
                }
                self.let_the_writer_wait(from.name, answer, false);
            }
            Request::Close(link) => self.close(*link).await,
            Request::LeaveSession(link) => self.leave(*link).await,
            #[cfg(test)]
            Request::Renew => assert!(self.replace(Cause::Residue).await.is_ok()),
        }
    }

    fn is_current(&self, era: &Era) -> bool {
        era.number() == self.current.era.number()
    }

    // --- watching ---

    async fn tick(&mut self) {
        self.watch_the_old();
        if let Some(waiting) = &mut self.writer {
            waiting.ticks += 1;
        }
        let replaced = match self.watch() {
            Finding::Over(cause) => self.replace(cause).await,
            Finding::Alive if self.is_residue_due() => self.replace(Cause::Residue).await,
            _ => return,
        };
        // If it fails, the next step tries again: until then there is no router, and health says so.
        self.note_health(replaced.is_err());
    }

    /// One look at the present router.
    fn watch(&mut self) -> Finding {
        if self.current.era.is_given_up() {
            return Finding::Over(Cause::Died);
        }
        let found = self.current.step();
        self.note_health(found != Finding::Alive);
        found
    }

    fn note_health(&self, ails: bool) {
        if self.health.ails.swap(ails, Ordering::AcqRel) == ails {
            return;
        }
        let era = self.current.era.number();
        if ails {
            tracing::error!(era, "the router of wildcard routes does not answer: wildcard and shared subscriptions wait; it is replaced if it stays silent");
        } else {
            tracing::info!(era, "the router of wildcard routes answers");
        }
    }

    /// Routers that were replaced end with their last reader, or at once when nothing comes out of them.
    fn watch_the_old(&mut self) {
        for old in &mut self.old {
            if matches!(old.step(), Finding::Over(_)) {
                old.era.give_up();
            }
            if old.readers == 0 || old.era.is_given_up() {
                old.router.end();
            }
        }
        self.forget_the_ended();
    }

    fn forget_the_ended(&mut self) {
        self.old.retain(|old| !old.router.is_dead());
        self.health.old.store(self.old.len() as u64, Ordering::Relaxed);
    }

    /// Whether the logs hold so much that no reader will read that a router without it is worth the change.
    fn is_residue_due(&mut self) -> bool {
        let residue = (self.residues)(self.current.era.number());
        self.health.held.store(residue.all, Ordering::Relaxed);
        let quiet = residue.written == self.quiet.written;
        self.quiet.ticks = if quiet { self.quiet.ticks.saturating_add(1) } else { 0 };
        self.quiet.written = residue.written;
        let is_quiet = self.quiet.ticks >= ROUTER_QUIET_TICKS;
        self.old.iter().all(|old| old.era.is_given_up())
            && self.old.len() < OLD_ROUTERS
            && self.writer.is_none()
            && (residue.free >= ROUTER_RESIDUE || is_quiet && residue.all >= ROUTER_RESIDUE_QUIET)
    }

    /// Waits for something of a router while watching it.
    async fn watching<T>(&mut self, waited: impl Future<Output = T>) -> Result<T, RouterGone> {
        let mut waited = pin!(waited);
        loop {
            tokio::select! {
                biased;
                done = &mut waited => return Ok(done),
                () = sleep(self.tick) => {
                    self.watch_the_old();
                    if let Finding::Over(_) = self.watch() {
                        self.current.era.give_up();
                        return Err(RouterGone);
                    }
                }
            }
        }
    }

    // --- changing ---

    async fn replace(&mut self, cause: Cause) -> Result<(), RouterGone> {
        if cause != Cause::Residue {
            // The writer drops the fence, so that no caller waits in vain.
            self.current.era.give_up();
        }
        self.forget_the_ended();
        if self.old.len() >= OLD_ROUTERS {
            return Err(RouterGone);
        }
        let number = self.current.era.number() + 1;
        let fresh = Running::new(start_router(self.tick).await?, number);
        let fence = Arc::clone(&self.fence);
        let mut writable = match self.watching(fence.lock()).await {
            Ok(writable) => writable,
            // It hangs now: the writer has left it.
            Err(RouterGone) => fence.lock().await,
        };
        *writable = number;
        let old = std::mem::replace(&mut self.current, fresh);
        drop(writable);
        old.era.replace();
        self.quiet = Quiet::default();
        if let Some(waiting) = &mut self.writer {
            // The readers have as long for this router as for any.
            waiting.ticks = 0;
        }
        self.note_replaced(cause, old.readers);
        self.old.push(old);
        self.watch_the_old();
        Ok(())
    }

    fn note_replaced(&self, cause: Cause, readers: usize) {
        let (era, cause) = (self.current.era.number(), cause.as_str());
        if cause == Cause::Residue.as_str() {
            self.counters.renewals.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(era, readers, "the router of wildcard routes is renewed");
        } else {
            self.counters.restarts.fetch_add(1, Ordering::Relaxed);
            tracing::error!(
                era,
                cause,
                readers,
                "the router of wildcard routes was replaced: readers that missed messages are told"
            );
        }
    }

    fn let_the_writer_wait(&mut self, name: u32, answer: Answer, is_new: bool) {
        let waiting = Waiting { name, answer, is_new, ticks: 0 };
        // There is one writer: an earlier request is answered by its end.
        if let Some(before) = self.writer.replace(waiting).filter(|before| before.is_new) {
            self.names.give_back(before.name);
        }
    }

    /// The writer's link comes last: its messages reach all readers. A router that gives it none is replaced, and the
    /// writer waits for the readers there, too.
    async fn let_the_writer_go(&mut self) {
        // Without a router, the next step starts one.
        if self.current.era.is_given_up() {
            return;
        }
        let are_there = self.current.readers >= self.readers;
        let is_due = |waiting: &mut Waiting| are_there || waiting.ticks >= ROUTER_MOVE_TICKS;
        let Some(waiting) = self.writer.take_if(is_due) else { return };
        match self.link(waiting.name, None).await {
            Ok(link) => {
                if let Err(Ok(unwanted)) = waiting.answer.send(Ok(link)) {
                    self.close_writer(unwanted);
                }
            }
            Err(_) => {
                self.writer = Some(Waiting { ticks: 0, ..waiting });
                // Failing, it is tried again at the next step.
                let _ = self.replace(Cause::Hung).await;
            }
        }
    }

    // --- links ---

    fn take_name(&mut self) -> Result<u32, NoLink> {
        self.names.take().inspect_err(|_| {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
        })
    }

    async fn open(&mut self, log: &str) -> Result<OwnedLink, NoLink> {
        let name = self.take_name()?;
        let link = self.link(name, Some(log)).await;
        match &link {
            Ok(_) => self.readers += 1,
            Err(_) => self.names.give_back(name),
        }
        link
    }

    /// For a reader, a second attempt with a new router, then no more: the cause of a second failure is not the
    /// router's death. For the writer none: it would be there before the readers.
    async fn link(&mut self, name: u32, log: Option<&str>) -> Result<OwnedLink, NoLink> {
        let mut link = self.connect(name, log).await;
        if link.is_err() && log.is_some() && self.replace(Cause::Hung).await.is_ok() {
            link = self.connect(name, log).await;
        }
        let link = link.map_err(|RouterGone| NoLink::Unavailable)?;
        self.current.readers += usize::from(log.is_some());
        Ok(OwnedLink { link, place: Place { name, era: Arc::clone(&self.current.era) } })
    }

    async fn connect(&mut self, name: u32, log: Option<&str>) -> Result<Link, RouterGone> {
        if self.current.era.is_given_up() {
            return Err(RouterGone);
        }
        let opening = self.current.router.open(&format!("link-{name}"), log);
        self.watching(opening).await?
    }

    async fn close(&mut self, link: OwnedLink) {
        self.readers = self.readers.saturating_sub(1);
        self.names.give_back(link.place.name);
        self.leave(link).await;
    }

    fn close_writer(&mut self, link: OwnedLink) {
        self.names.give_back(link.place.name);
        self.current.router.close(link.link);
    }

    async fn leave(&mut self, OwnedLink { link, place }: OwnedLink) {
        if !self.is_current(&place.era) {
            let found = self.old.iter_mut().find(|old| old.era.number() == place.era.number());
            if let Some(old) = found {
                old.readers = old.readers.saturating_sub(1);
                old.router.close(link);
            }
            return;
        }
        self.current.readers = self.current.readers.saturating_sub(1);
        self.current.router.close(link);
        self.closes += 1;
        if self.closes.is_multiple_of(ROUTER_CLOSES_AT_ONCE) {
            self.wait_for_router().await;
        }
    }

    /// Opening a link is answered only after all that was asked before.
    async fn wait_for_router(&mut self) {
        if let Ok(link) = self.connect(0, None).await {
            self.current.router.close(link);
        }
    }
}

#[cfg(test)]
mod tests;
