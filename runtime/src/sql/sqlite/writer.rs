//! The thread that writes: it takes what waits into one transaction, commits that, and answers.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::engine::Link;
use super::head::Head;
use super::log::Mover;
use crate::clock::SharedClock;
use crate::limits::{SQL_TRY_BYTES, STORE_GROUP, STORE_GROUP_BYTES, STORE_QUEUE, STORE_TRY_AGAIN};
use crate::sql::batch::Batch;
use crate::sql::kept::Kept;
use crate::store::StoreError;

type Answer = oneshot::Sender<Result<(), StoreError>>;

enum Request {
    Commit(Batch, Answer),
    Stop(Answer),
    /// So many pages more may be taken; `None`: without end.
    #[cfg(any(test, feature = "testing"))]
    Room(Option<u32>, Answer),
}

/// Whether the database is written.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Health {
    Writes,
    /// There is no room on the disk. It tries again by itself.
    Full,
    /// A write failed in another way: the content of the disk is unknown until the next start.
    Failed,
}

/// The handle of the thread.
pub(super) struct Writer {
    requests: SyncSender<Request>,
    health: Arc<AtomicU8>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(super) fn start(
        link: Link,
        head: Head,
        mover: Mover,
        (log, clock, kept): (PathBuf, SharedClock, Arc<Kept>),
    ) -> Result<Self, StoreError> {
        let (requests, inbox) = mpsc::sync_channel(STORE_QUEUE);
        let health = Arc::new(AtomicU8::new(Health::Writes as u8));
        let commit = head.state().commit;
        let mut work = Work {
            link: Some(link),
            mover: Some(mover),
            head,
            log,
            kept,
            commit,
            health: Arc::clone(&health),
            clock,
            full: None,
            #[cfg(any(test, feature = "testing"))]
            has_less_room: false,
        };
        let thread = std::thread::Builder::new().name("sql-writer".to_owned());
        let thread = thread.spawn(move || work.run(&inbox)).map_err(StoreError::from)?;
        Ok(Self { requests, health, thread: Mutex::new(Some(thread)) })
    }

    /// Writes a batch; done means durable.
    pub(super) async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::Commit(batch, answer))?;
        answered.await.unwrap_or(Err(StoreError::Closed))
    }

    fn send(&self, request: Request) -> Result<(), StoreError> {
        self.requests.try_send(request).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::Busy,
            TrySendError::Disconnected(_) => StoreError::Closed,
        })
    }

    /// As a disk on which there is room for so many pages more; `None`: for all.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn set_room(&self, pages: Option<u32>) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::Room(pages, answer))?;
        crate::store::block::on(answered).unwrap_or(Err(StoreError::Closed))
    }

    pub(super) fn is_healthy(&self) -> bool {
        self.health.load(Ordering::Acquire) == Health::Writes as u8
    }

    pub(super) fn is_full(&self) -> bool {
        self.health.load(Ordering::Acquire) == Health::Full as u8
    }

    /// Writes what waits and closes the database.
    pub(super) fn stop(&self) -> Result<(), StoreError> {
        let Some(thread) = self.thread.lock().take() else { return Ok(()) };
        let (answer, answered) = oneshot::channel();
        // Behind what waits, and it waits for a place.
        let sent = self.requests.send(Request::Stop(answer));
        let closed = match sent {
            Ok(()) => crate::store::block::on(answered).unwrap_or(Err(StoreError::Closed)),
            Err(_) => Err(StoreError::Closed),
        };
        self.health.store(Health::Failed as u8, Ordering::Release);
        // A panic of the thread is an answer that never came.
        let _ = thread.join();
        closed
    }
}

struct Work {
    /// `None` once it is closed.
    link: Option<Link>,
    mover: Option<Mover>,
    head: Head,
    /// The file of the log. It is gone when all of it is in the database.
    log: PathBuf,
    kept: Arc<Kept>,
    /// The last commit that was made.
    commit: u64,
    health: Arc<AtomicU8>,
    clock: SharedClock,
    /// When the last try found no room, and what it found.
    full: Option<(Duration, String)>,
    /// Whether a test has said how much room there is.
    #[cfg(any(test, feature = "testing"))]
    has_less_room: bool,
}

/// Whatever ends the thread, nothing is written behind it.
impl Drop for Work {
    fn drop(&mut self) {
        self.set(Health::Failed);
    }
}

impl Work {
    fn run(&mut self, inbox: &Receiver<Request>) {
        loop {
            let first = match self.is(Health::Full) {
                false => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
                true => inbox.recv_timeout(STORE_TRY_AGAIN),
            };
            let stop = match first {
                Ok(Request::Commit(batch, answer)) => self.group(inbox, batch, answer),
                Ok(Request::Stop(answer)) => Some(answer),
                #[cfg(any(test, feature = "testing"))]
                Ok(Request::Room(pages, answer)) => {
                    let _ = answer.send(self.set_room(pages));
                    None
                }
                Err(RecvTimeoutError::Timeout) => {
                    // An empty change needs less room than the next one.
                    if self.has_room() {
                        self.write(&mut Vec::new());
                    }
                    None
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if let Some(answer) = stop {
                // The caller may be gone.
                let _ = answer.send(self.close());
                return;
            }
        }
    }

    /// Whether the disk has room for more than one change; true where it does not tell.
    fn has_room(&self) -> bool {
        let room = self.log.parent().and_then(|folder| crate::store::room(folder).ok());
        room.is_none_or(|bytes| bytes >= SQL_TRY_BYTES)
    }

    /// Writes the first batch and what waits behind it; gives the answer of a stop that was among them.
    fn group(&mut self, inbox: &Receiver<Request>, batch: Batch, answer: Answer) -> Option<Answer> {
        let mut bytes = batch.bytes();
        let mut group = vec![(batch, answer)];
        let mut stop = None;
        while group.len() < STORE_GROUP && bytes < STORE_GROUP_BYTES {
            match inbox.try_recv() {
                Ok(Request::Commit(batch, answer)) => {
                    bytes += batch.bytes();
                    group.push((batch, answer));
                }
                Ok(Request::Stop(answer)) => {
                    stop = Some(answer);
                    break;
                }
                #[cfg(any(test, feature = "testing"))]
                Ok(Request::Room(pages, answer)) => {
                    let _ = answer.send(self.set_room(pages));
                }
                Err(_) => break,
            }
        }
        self.write(&mut group);
        stop
    }

    #[cfg(any(test, feature = "testing"))]
    fn set_room(&mut self, pages: Option<u32>) -> Result<(), StoreError> {
        let Some(link) = &self.link else { return Err(StoreError::Closed) };
        let most = match pages {
            Some(more) => link.number("PRAGMA page_count")? + i64::from(more),
            None => i64::from(u32::MAX - 1),
        };
        // The next commit is a try.
        (self.full, self.has_less_room) = (None, pages.is_some());
        link.number(&format!("PRAGMA max_page_count = {most}")).map(drop)
    }

    /// One transaction for all of them.
    fn write(&mut self, group: &mut Vec<(Batch, Answer)>) {
        match self.together(group) {
            Ok(outcomes) => {
                for ((_, answer), outcome) in group.drain(..).zip(outcomes) {
                    // The caller may be gone: what it asked for is done.
                    let _ = answer.send(outcome);
                }
            }
            Err(error) => {
                for (_, answer) in group.drain(..) {
                    let _ = answer.send(Err(error.clone()));
                }
            }
        }
    }

    /// The outcome of each batch; an error when nothing of all was written.
    fn together(
        &mut self,
        group: &[(Batch, Answer)],
    ) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        if self.is(Health::Failed) {
            return Err(StoreError::Poisoned);
        }
        #[cfg(any(test, feature = "testing"))]
        if self.has_less_room && self.is(Health::Full) && group.iter().all(|(b, _)| b.is_empty()) {
            // On a full disk the log has no room for it either.
            return Err(StoreError::Full("the room of a test".to_owned()));
        }
        if let Some((at, why)) = &self.full {
            // Of all callers, one a second is a try.
            if self.clock.monotonic().saturating_sub(*at) < STORE_TRY_AGAIN {
                return Err(StoreError::Full(why.clone()));
            }
        }
        let outcomes = self.try_together(group);
        if let Err(error) = &outcomes {
            self.failed(error);
        }
        outcomes
    }

    fn try_together(
        &mut self,
        group: &[(Batch, Answer)],
    ) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        let link = self.link.as_mut().ok_or(StoreError::Closed)?;
        let commit = self.commit + 1;
        let mut outcomes = Vec::with_capacity(group.len());
        let written = link.transaction(|link| {
            for (batch, _) in group {
                match link.expected(batch).and_then(|()| link.make_or_nothing(batch)) {
                    Ok(()) => outcomes.push(Ok(())),
                    Err(error @ StoreError::Conflict { .. }) => outcomes.push(Err(error)),
                    Err(error) => return Err(error),
                }
            }
            link.count(commit)
        });
        // Also after an error: then it may be in the database or not.
        group.iter().for_each(|(batch, _)| self.kept.written(batch));
        written?;
        self.written(commit)?;
        if let (Some(mover), Some(link)) = (&self.mover, &self.link) {
            if mover.after_group(link, commit) {
                self.head.moved(commit);
            }
        }
        Ok(outcomes)
    }

    fn written(&mut self, commit: u64) -> Result<(), StoreError> {
        self.commit = commit;
        self.head.note(commit).map_err(|error| {
            // The changes are durable and are not answered: the head would not ask for them.
            StoreError::Io(format!("the file `head`: {error}"))
        })?;
        if self.full.take().is_some() || self.is(Health::Full) {
            tracing::info!("there is room on the disk again: the database is written");
            self.set(Health::Writes);
        }
        Ok(())
    }

    fn failed(&mut self, error: &StoreError) {
        match error {
            StoreError::Full(why) => {
                self.full = Some((self.clock.monotonic(), why.clone()));
                if !self.is(Health::Full) {
                    tracing::error!(
                        why,
                        "there is no room on the disk: nothing is written until there is"
                    );
                }
                self.set(Health::Full);
            }
            StoreError::Conflict { .. } | StoreError::TooLarge(_) | StoreError::Busy => {}
            error => {
                tracing::error!(%error, "the database is not written any more: restart when the cause is mended");
                self.set(Health::Failed);
            }
        }
    }

    fn close(&mut self) -> Result<(), StoreError> {
        // The last connection of all moves the rest of the log.
        drop(self.mover.take());
        let closed = self.link.take().map_or(Ok(()), Link::close);
        if closed.is_ok() && !self.log.exists() && !self.is(Health::Failed) {
            self.head.moved(self.commit);
            self.head.note(self.commit).map_err(StoreError::from)?;
        }
        let synced = self.head.sync().map_err(StoreError::from);
        if self.is(Health::Failed) {
            return Err(StoreError::Poisoned);
        }
        closed.and(synced)
    }

    fn is(&self, health: Health) -> bool {
        self.health.load(Ordering::Acquire) == health as u8
    }

    fn set(&self, health: Health) {
        self.health.store(health as u8, Ordering::Release);
    }
}
