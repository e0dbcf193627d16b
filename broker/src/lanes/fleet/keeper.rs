//! The keeper of the routers: opens and closes links, watches the router by its own steps (`pulse.rs`), and replaces
//! one that died, that hangs, or whose logs hold much that no reader will read.
//!
//! A change of routers, whatever its cause:
//! 1. The new router starts, and the fence moves: from now on the old one is written to no more.
//! 2. Each reader is told, takes a link into the new router and reads the old one to its end, if it still answers; what
//!    does not come out of it any more is a gap, which the reader is told.
//! 3. When all readers have their links, the writer gets its own.
//! 4. When all readers have left it, the old router ends.

use super::era::{Era, Fence};
use super::links::{Answer, NoLink, OwnedLink, Place, Request};
use super::logs::Residue;
use super::pulse::{Cause, Finding, Patience, Pulse};
use super::router::{Link, Router, RouterGone};
use super::Counters;
use crate::limits::{
    FLEET_CLOSES_AT_ONCE, FLEET_HUNG_TICKS, FLEET_LINKS, FLEET_MOVE_TICKS, FLEET_QUIET_TICKS,
    FLEET_RESIDUE, FLEET_RESIDUE_QUIET, FLEET_SILENT_TICKS, FLEET_TICK,
};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::time::sleep;

/// Tells what the logs of the router of an era hold.
pub(super) type Residues = Arc<dyn Fn(u64) -> Residue + Send + Sync>;

const PATIENCE: Patience = Patience { silent: FLEET_SILENT_TICKS, hung: FLEET_HUNG_TICKS };

/// What others are told.
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

/// One router.
struct Running {
    router: Router,
    era: Arc<Era>,
    pulse: Pulse,
    /// Links of readers.
    readers: usize,
}

impl Running {
    fn new(router: Router, number: u64) -> Self {
        router.ask();
        Self { router, era: Era::new(number), pulse: Pulse::new(PATIENCE), readers: 0 }
    }

    /// One step of watching it.
    fn step(&mut self) -> Finding {
        let found = self.pulse.step(self.router.answers(), self.router.is_dead());
        self.router.ask();
        found
    }
}

pub(super) struct Keeper {
    current: Running,
    old: Vec<Running>,
    fence: Fence,
    free: VecDeque<u32>,
    made: u32,
    /// Links in use, of all routers, each name once.
    open: usize,
    /// The part of them that readers have.
    readers: usize,
    closes: usize,
    writer: Option<Waiting>,
    quiet: Quiet,
    residues: Residues,
    health: Arc<Health>,
    counters: Arc<Counters>,
}

/// The writer waits until the readers are there.
struct Waiting {
    name: u32,
    answer: Answer,
    ticks: u32,
}

/// How long nothing was written.
#[derive(Default)]
struct Quiet {
    written: u64,
    ticks: u32,
}

impl Keeper {
    /// Starts the first router. Blocks for about 0.1 ms.
    pub(super) fn start(counters: Arc<Counters>, residues: Residues) -> Result<Self, RouterGone> {
        Ok(Self {
            current: Running::new(Router::start()?, 1),
            old: Vec::new(),
            fence: Arc::new(tokio::sync::Mutex::new(1)),
            free: VecDeque::new(),
            made: 0,
            open: 0,
            readers: 0,
            closes: 0,
            writer: None,
            quiet: Quiet::default(),
            residues,
            health: Arc::default(),
            counters,
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
        let mut tick = Box::pin(sleep(FLEET_TICK));
        loop {
            tokio::select! {
                request = inbox.recv() => match request {
                    Some(request) => self.serve(request).await,
                    None => return,
                },
                () = &mut tick => {
                    self.tick().await;
                    tick = Box::pin(sleep(FLEET_TICK));
                }
            }
            self.let_the_writer_go().await;
        }
    }

    async fn serve(&mut self, request: Request) {
        match request {
            Request::Open { log, answer } => {
                let made = self.open(log.as_deref()).await;
                if let Err(Ok(unwanted)) = answer.send(made) {
                    match log {
                        Some(_) => self.close(unwanted).await,
                        None => self.close_writer(unwanted),
                    }
                }
            }
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
                self.writer = Some(Waiting { name: from.name, answer, ticks: 0 });
            }
            Request::Close(link) => self.close(*link).await,
            Request::Leave(link) => self.leave(*link).await,
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
        // Failing, it is tried again at the next step: there is no router meanwhile, and health says so.
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
            tracing::error!(era, "the fleet lane's router does not answer: wildcard and shared subscriptions wait; it is replaced when it goes on");
        } else {
            tracing::info!(era, "the fleet lane's router answers");
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
        let is_quiet = self.quiet.ticks >= FLEET_QUIET_TICKS;
        self.old.iter().all(|old| old.era.is_given_up())
            && self.writer.is_none()
            && (residue.free >= FLEET_RESIDUE || is_quiet && residue.all >= FLEET_RESIDUE_QUIET)
    }

    /// Waits for something of a router while watching it.
    async fn watching<T>(&mut self, waited: impl Future<Output = T>) -> Result<T, RouterGone> {
        let mut waited = pin!(waited);
        loop {
            tokio::select! {
                biased;
                done = &mut waited => return Ok(done),
                () = sleep(FLEET_TICK) => {
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
            // The writer lets go of the fence, and no caller waits for what will not come.
            self.current.era.give_up();
        }
        let number = self.current.era.number() + 1;
        let fresh = Running::new(start_router().await?, number);
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
        self.note_replaced(cause, old.readers);
        self.old.push(old);
        self.watch_the_old();
        Ok(())
    }

    fn note_replaced(&self, cause: Cause, readers: usize) {
        let (era, cause) = (self.current.era.number(), cause.as_str());
        if cause == Cause::Residue.as_str() {
            self.counters.renewals.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(era, readers, "the fleet lane's router is renewed");
        } else {
            self.counters.restarts.fetch_add(1, Ordering::Relaxed);
            tracing::error!(
                era,
                cause,
                readers,
                "the fleet lane's router was replaced: readers that miss messages are told"
            );
        }
    }

    /// The writer's link comes last: its messages reach all readers.
    async fn let_the_writer_go(&mut self) {
        let Some(waiting) = &self.writer else { return };
        if self.current.readers < self.readers && waiting.ticks < FLEET_MOVE_TICKS {
            return;
        }
        let Some(Waiting { name, answer, .. }) = self.writer.take() else { return };
        // A writer that does not wait any more has ended with the lane.
        let _ = answer.send(self.link(name, None).await);
    }

    // --- links ---

    async fn open(&mut self, log: Option<&str>) -> Result<OwnedLink, NoLink> {
        if self.open >= FLEET_LINKS {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            return Err(NoLink::TooMany);
        }
        let name = self.free.pop_front().unwrap_or_else(|| {
            self.made += 1;
            self.made
        });
        let link = self.link(name, log).await;
        match &link {
            Ok(_) => {
                self.open += 1;
                self.readers += usize::from(log.is_some());
            }
            Err(_) => self.free.push_back(name),
        }
        link
    }

    /// A second attempt with a new router, then no more: the cause of a second failure is not the router's death.
    async fn link(&mut self, name: u32, log: Option<&str>) -> Result<OwnedLink, NoLink> {
        let mut link = self.connect(name, log).await;
        if link.is_err() && self.replace(Cause::Hung).await.is_ok() {
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
        self.open = self.open.saturating_sub(1);
        self.readers = self.readers.saturating_sub(1);
        self.free.push_back(link.place.name);
        self.leave(link).await;
    }

    fn close_writer(&mut self, link: OwnedLink) {
        self.open = self.open.saturating_sub(1);
        self.free.push_back(link.place.name);
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
        if self.closes.is_multiple_of(FLEET_CLOSES_AT_ONCE) {
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

/// On a thread that can be given up, and for as long as a router may be silent.
async fn start_router() -> Result<Router, RouterGone> {
    let mut starting = tokio::task::spawn_blocking(Router::start);
    for _ in 0..FLEET_HUNG_TICKS {
        tokio::select! {
            biased;
            started = &mut starting => return started.unwrap_or(Err(RouterGone)),
            () = sleep(FLEET_TICK) => {}
        }
    }
    Err(RouterGone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeper() -> Keeper {
        Keeper::start(Arc::default(), Arc::new(|_| Residue::default())).ok().unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_link_too_many_is_refused_and_a_closed_one_makes_room() {
        let mut keeper = keeper();
        keeper.open = FLEET_LINKS - 1;
        let last = keeper.open(None).await.ok().unwrap();
        assert_eq!(keeper.open(None).await.err(), Some(NoLink::TooMany));
        assert_eq!(keeper.counters.refused.load(Ordering::Relaxed), 1);
        keeper.close_writer(last);
        assert!(keeper.open(None).await.is_ok());
    }
}
