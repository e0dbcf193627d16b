//! The one thread that writes: groups, the journal, and when a checkpoint is due.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::oneshot;

use super::batch::Batch;
use super::block;
use super::core::Core;
use super::engine::Changes;
use super::error::StoreError;
use super::scribe::Scribe;
use super::{NO_BASE, NO_ROOM};
use crate::limits::{STORE_GROUP, STORE_GROUP_BYTES, STORE_PACE, STORE_PACED_BELOW, STORE_QUEUE};

/// The door of the thread that writes.
pub(super) struct Writer {
    queue: Mutex<Option<mpsc::Sender<Job>>>,
    state: Arc<Condition>,
    thread: Mutex<Option<JoinHandle<Result<(), StoreError>>>>,
}

/// How the store is.
#[derive(Default)]
struct Condition {
    /// It writes nothing more in this process.
    poisoned: AtomicBool,
    /// It writes nothing until there is room on the disk, or a new base.
    full: AtomicBool,
    /// It is for the new base alone.
    crowded: AtomicBool,
}

impl Condition {
    fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::SeqCst)
    }

    fn poison(&self) {
        self.poisoned.store(true, Ordering::SeqCst);
    }

    fn show(&self, scribe: &Scribe) {
        self.crowded.store(scribe.is_crowded() && !scribe.is_stuck(), Ordering::SeqCst);
        let waits = scribe.tries_after().is_some() && !self.is_poisoned();
        self.full.store(waits, Ordering::SeqCst);
    }
}

/// What is done with the outcome, on the thread that writes.
pub type Then = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

struct Job {
    batch: Batch,
    /// A checkpoint is made before the batch.
    checkpoint: bool,
    then: Then,
}

impl Writer {
    pub(super) fn start(scribe: Scribe) -> Result<Self, StoreError> {
        let (queue, jobs) = mpsc::channel(STORE_QUEUE);
        let state = Arc::new(Condition::default());
        let told = Arc::clone(&state);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || run(scribe, jobs, &told))
            .map_err(|error| StoreError::Io(error.to_string()))?;
        Ok(Self { queue: Mutex::new(Some(queue)), state, thread: Mutex::new(Some(thread)) })
    }

    pub(super) async fn submit(&self, batch: Batch) -> Result<(), StoreError> {
        let queue = self.queue.lock().clone().ok_or(StoreError::Closed)?;
        let (answer, wait) = oneshot::channel();
        // The caller may have gone meanwhile.
        let then: Then = Box::new(move |outcome| drop(answer.send(outcome)));
        let sent = queue.send(Job { batch, checkpoint: false, then }).await;
        // A holder of the queue keeps the thread going: a task that is not polled would hold up the close behind it.
        drop(queue);
        sent.map_err(|_| self.gone())?;
        wait.await.map_err(|_| self.gone())?
    }

    /// Queues the batch, or gives `then` back at once.
    pub(super) fn offer(&self, batch: Batch, then: Then) -> Result<(), (StoreError, Then)> {
        let Some(queue) = self.queue.lock().clone() else { return Err((StoreError::Closed, then)) };
        queue.try_send(Job { batch, checkpoint: false, then }).map_err(|refused| match refused {
            TrySendError::Full(job) => (StoreError::Busy, job.then),
            TrySendError::Closed(job) => (self.gone(), job.then),
        })
    }

    #[cfg(any(test, feature = "testing"))]
    pub(super) fn checkpoint(&self) -> Result<(), StoreError> {
        let queue = self.queue.lock().clone().ok_or(StoreError::Closed)?;
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let then: Then = Box::new(move |outcome| drop(tell.send(outcome)));
        let job = Job { batch: Batch::new(), checkpoint: true, then };
        queue.try_send(job).map_err(|_| StoreError::Busy)?;
        told.recv().map_err(|_| self.gone())?
    }

    pub(super) fn is_healthy(&self) -> bool {
        !self.state.is_poisoned() && !self.is_full()
    }

    pub(super) fn is_full(&self) -> bool {
        self.state.full.load(Ordering::SeqCst)
    }

    pub(super) fn waits_for(&self) -> Option<&'static str> {
        let why = if self.state.crowded.load(Ordering::SeqCst) { NO_BASE } else { NO_ROOM };
        self.is_full().then_some(why)
    }

    /// Writes what is queued, closes the journal, and ends the thread.
    pub(super) fn stop(&self) -> Result<(), StoreError> {
        drop(self.queue.lock().take());
        let thread = self.thread.lock().take();
        match thread.map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(stopped)) => stopped,
            Some(Err(_)) => Err(StoreError::Poisoned),
        }
    }

    /// The thread ended under us: it was stopped, or it panicked.
    fn gone(&self) -> StoreError {
        match self.queue.lock().is_some() {
            true => {
                self.state.poison();
                StoreError::Poisoned
            }
            false => StoreError::Closed,
        }
    }
}

fn run(
    mut scribe: Scribe,
    mut jobs: mpsc::Receiver<Job>,
    state: &Condition,
) -> Result<(), StoreError> {
    while let Some(first) = next(&mut scribe, &mut jobs, state) {
        if first.checkpoint && !state.is_poisoned() {
            scribe.compact();
        }
        let mut bytes = first.batch.bytes();
        let mut group = vec![first];
        while group.len() < STORE_GROUP && bytes < STORE_GROUP_BYTES {
            match jobs.try_recv() {
                Ok(job) => {
                    bytes += job.batch.bytes();
                    group.push(job);
                }
                Err(_) => break,
            }
        }
        let callers = group.len();
        commit_group(&mut scribe, group, state);
        if state.is_poisoned() {
            continue;
        }
        scribe.look_after();
        if (2..STORE_PACED_BELOW).contains(&callers) && scribe.is_fast() {
            // Several callers at once, and few: more are on their way, and a sync costs as much for one as for all.
            std::thread::park_timeout(STORE_PACE);
        }
    }
    match state.is_poisoned() {
        true => scribe.abandon(),
        false => scribe.finish(),
    }
}

/// The next job. While there is no room on the disk, it is looked from time to time whether there is some.
fn next(scribe: &mut Scribe, jobs: &mut mpsc::Receiver<Job>, state: &Condition) -> Option<Job> {
    loop {
        let pause = scribe.tries_after().filter(|_| !state.is_poisoned());
        state.show(scribe);
        let Some(pause) = pause else { return jobs.blocking_recv() };
        let clock = scribe.clock();
        if let Some(job) = block::within(jobs.recv(), pause, &clock) {
            return job;
        }
        // A failed try tells nothing new; the next one is after another pause.
        try_again(scribe, state, Scribe::try_again);
        scribe.look_after();
    }
}

/// A fault that is not for want of room ends the store.
fn try_again(
    scribe: &mut Scribe,
    state: &Condition,
    again: impl FnOnce(&mut Scribe) -> Result<(), StoreError>,
) {
    let was_stuck = scribe.is_stuck();
    if let Err(error) = again(scribe) {
        if was_stuck && !scribe.is_stuck() {
            tracing::error!(store = %scribe.core().folder.display(), %error, "store stops writing");
            state.poison();
        }
    }
}

fn commit_group(scribe: &mut Scribe, group: Vec<Job>, state: &Condition) {
    if state.is_poisoned() {
        return answer_all(group.into_iter().map(|job| job.then), &Err(StoreError::Poisoned));
    }
    let mut changes = Changes::new();
    let mut accepted = Vec::new();
    for Job { batch, then, .. } in group {
        let is_barrier = batch.is_barrier();
        match admit(scribe.core(), &mut changes, batch) {
            Ok(()) => accepted.push((then, is_barrier)),
            Err(error) => then(Err(error)),
        }
    }
    let outcome = match changes.is_empty() {
        true => {
            // For callers that ask whether there is room again.
            try_again(scribe, state, Scribe::try_when_due);
            Ok(())
        }
        false if scribe.is_crowded() => Err(StoreError::Busy),
        false => scribe.write(changes),
    };
    if let Err(error) = &outcome {
        if !matches!(error, StoreError::Busy) && !scribe.is_stuck() {
            tracing::error!(store = %scribe.core().folder.display(), %error, "store stops writing");
            state.poison();
        }
    }
    state.show(scribe);
    // The rows that readers see are durable, also while there is no room for more.
    let seen = if state.is_poisoned() { outcome.clone() } else { Ok(()) };
    for (then, is_barrier) in accepted {
        then(if is_barrier { seen.clone() } else { outcome.clone() });
    }
}

/// Checks the batch against the store and against what this group has accepted so far, then joins the group.
fn admit(core: &Core, changes: &mut Changes, batch: Batch) -> Result<(), StoreError> {
    for expect in &batch.expects {
        let found = match changes.get(&expect.key) {
            Some(value) => value.clone(),
            None => core.get(&expect.key)?,
        };
        if found != expect.wanted {
            return Err(StoreError::Conflict { table: expect.table });
        }
    }
    for write in batch.writes {
        changes.insert(write.key, write.value);
    }
    Ok(())
}

fn answer_all(answers: impl IntoIterator<Item = Then>, outcome: &Result<(), StoreError>) {
    for then in answers {
        then(outcome.clone());
    }
}
