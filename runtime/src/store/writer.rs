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

/// A callback for the outcome, on the thread that writes.
pub type Then = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// A batch that was not written. It has no text: its rows may be secret.
pub struct Refused {
    /// Why.
    pub error: StoreError,
    /// The batch, when there was no room for it: a later call may write it.
    pub batch: Option<Batch>,
}

struct Job {
    batch: Batch,
    /// A checkpoint is made before the batch.
    checkpoint: bool,
    then: Answer,
}

/// The receiver of the outcome.
enum Answer {
    Then(Then),
    /// A caller that gets a refused batch back. Such a batch is a group of its own.
    GiveBack(oneshot::Sender<Result<(), Refused>>),
}

impl Answer {
    fn tell(self, outcome: Result<(), StoreError>, batch: Option<Batch>) {
        match self {
            Self::Then(then) => then(outcome),
            // The caller may have gone meanwhile.
            Self::GiveBack(caller) => {
                drop(caller.send(outcome.map_err(|error| Refused { error, batch })));
            }
        }
    }
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
        let (answer, wait) = oneshot::channel();
        // The caller may have gone meanwhile.
        let then: Then = Box::new(move |outcome| drop(answer.send(outcome)));
        self.send(batch, Answer::Then(then)).await?;
        wait.await.map_err(|_| self.gone())?
    }

    /// As [`Self::submit`]; a batch for which there is no room comes back.
    pub(super) async fn submit_or_give_back(&self, batch: Batch) -> Result<(), Refused> {
        let lost = |error| Refused { error, batch: None };
        let (answer, wait) = oneshot::channel();
        self.send(batch, Answer::GiveBack(answer)).await.map_err(lost)?;
        wait.await.map_err(|_| lost(self.gone()))?
    }

    async fn send(&self, batch: Batch, then: Answer) -> Result<(), StoreError> {
        let queue = self.queue.lock().clone().ok_or(StoreError::Closed)?;
        let sent = queue.send(Job { batch, checkpoint: false, then }).await;
        // A holder of the queue keeps the thread going: a task that is not polled would hold up the close behind it.
        drop(queue);
        sent.map_err(|_| self.gone())
    }

    /// Queues the batch, or gives `then` back at once.
    pub(super) fn offer(&self, batch: Batch, then: Then) -> Result<(), (StoreError, Then)> {
        let Some(queue) = self.queue.lock().clone() else { return Err((StoreError::Closed, then)) };
        // A place first: `then` is given back as it came.
        let refused = match queue.try_reserve() {
            Ok(place) => {
                place.send(Job { batch, checkpoint: false, then: Answer::Then(then) });
                return Ok(());
            }
            Err(TrySendError::Full(())) => StoreError::Busy,
            Err(TrySendError::Closed(())) => self.gone(),
        };
        Err((refused, then))
    }

    #[cfg(any(test, feature = "testing"))]
    pub(super) fn checkpoint(&self) -> Result<(), StoreError> {
        let queue = self.queue.lock().clone().ok_or(StoreError::Closed)?;
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let then: Then = Box::new(move |outcome| drop(tell.send(outcome)));
        let job = Job { batch: Batch::new(), checkpoint: true, then: Answer::Then(then) };
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
        for part in apart(group) {
            commit_group(&mut scribe, part, state);
        }
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

/// Batches that may come back are groups of their own: what is refused of a group is not told apart.
fn apart(group: Vec<Job>) -> Vec<Vec<Job>> {
    let comes_back = |job: &Job| matches!(job.then, Answer::GiveBack(_));
    if !group.iter().any(comes_back) {
        return vec![group];
    }
    let mut parts: Vec<Vec<Job>> = Vec::new();
    let mut goes_on = false;
    for job in group {
        let alone = comes_back(&job);
        match parts.last_mut().filter(|_| goes_on && !alone) {
            Some(part) => part.push(job),
            None => parts.push(vec![job]),
        }
        goes_on = !alone;
    }
    parts
}

fn commit_group(scribe: &mut Scribe, group: Vec<Job>, state: &Condition) {
    if state.is_poisoned() {
        let answers = group.into_iter().map(|job| job.then);
        return answers.for_each(|then| then.tell(Err(StoreError::Poisoned), None));
    }
    let mut changes = Changes::new();
    let mut accepted = Vec::new();
    for Job { mut batch, then, .. } in group {
        let is_barrier = batch.is_barrier();
        match admit(scribe.core(), &mut changes, &mut batch) {
            Ok(()) => accepted.push((then, batch, is_barrier)),
            Err(error) => then.tell(Err(error), None),
        }
    }
    let (outcome, refused) = match changes.is_empty() {
        true => {
            // For callers that ask whether there is room again.
            try_again(scribe, state, Scribe::try_when_due);
            (Ok(()), None)
        }
        false if scribe.is_crowded() => (Err(StoreError::Busy), Some(changes)),
        false => match scribe.write(changes) {
            Ok(()) => (Ok(()), None),
            Err((error, changes)) => (Err(error), Some(changes)),
        },
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
    // Also while a record that found no room cannot be taken back: nothing is written before it is.
    let is_for_later = scribe.is_stuck() || matches!(outcome, Err(StoreError::Busy));
    let mut refused = refused.filter(|_| is_for_later);
    for (then, mut batch, is_barrier) in accepted {
        let batch = refused.take_if(|_| matches!(then, Answer::GiveBack(_))).map(|changes| {
            batch.take_back(changes);
            batch
        });
        then.tell(if is_barrier { seen.clone() } else { outcome.clone() }, batch);
    }
}

/// Checks the batch against the store and against what this group has accepted so far, then joins the group.
fn admit(core: &Core, changes: &mut Changes, batch: &mut Batch) -> Result<(), StoreError> {
    for expect in &batch.expects {
        let found = match changes.get(&expect.key) {
            Some(value) => value.clone(),
            None => core.get(&expect.key)?,
        };
        if found != expect.wanted {
            return Err(StoreError::Conflict { table: expect.table });
        }
    }
    for write in batch.writes.drain(..) {
        changes.insert(write.key, write.value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_that_may_come_back_are_groups_of_their_own() {
        let job = |comes_back: &bool| {
            let then = match comes_back {
                true => Answer::GiveBack(oneshot::channel().0),
                false => Answer::Then(Box::new(drop)),
            };
            Job { batch: Batch::new(), checkpoint: false, then }
        };
        let sizes = |group: &[bool]| -> Vec<usize> {
            apart(group.iter().map(job).collect()).iter().map(Vec::len).collect()
        };
        assert_eq!(sizes(&[false, false, false]), [3]);
        assert_eq!(sizes(&[false, false, true, true, false, false, true]), [2, 1, 1, 2, 1]);
    }
}
