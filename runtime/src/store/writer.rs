use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::oneshot;

use super::batch::Batch;
use super::engine::{Changes, Engine};
use super::error::StoreError;
use crate::limits::{STORE_GROUP, STORE_PACE, STORE_PACED_BELOW, STORE_QUEUE};

/// The one thread that writes.
pub(super) struct Writer {
    queue: Mutex<Option<mpsc::Sender<Job>>>,
    poisoned: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What is done with the outcome, on the thread that writes.
pub type Then = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

struct Job {
    batch: Batch,
    then: Then,
}

impl Writer {
    pub(super) fn start(engine: Arc<Engine>) -> Result<Self, StoreError> {
        let (queue, jobs) = mpsc::channel(STORE_QUEUE);
        let poisoned = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&poisoned);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || run(&engine, jobs, &flag))
            .map_err(|error| StoreError::Io(error.to_string()))?;
        Ok(Self { queue: Mutex::new(Some(queue)), poisoned, thread: Mutex::new(Some(thread)) })
    }

    pub(super) async fn submit(&self, batch: Batch) -> Result<(), StoreError> {
        let queue = self.queue.lock().clone().ok_or(StoreError::Closed)?;
        let (answer, wait) = oneshot::channel();
        // The caller may have gone meanwhile.
        let then: Then = Box::new(move |outcome| drop(answer.send(outcome)));
        let sent = queue.send(Job { batch, then }).await;
        sent.map_err(|_| self.gone())?;
        wait.await.map_err(|_| self.gone())?
    }

    /// Queues the batch, or gives `then` back at once.
    pub(super) fn offer(&self, batch: Batch, then: Then) -> Result<(), (StoreError, Then)> {
        let Some(queue) = self.queue.lock().clone() else { return Err((StoreError::Closed, then)) };
        queue.try_send(Job { batch, then }).map_err(|refused| match refused {
            TrySendError::Full(job) => (StoreError::Busy, job.then),
            TrySendError::Closed(job) => (self.gone(), job.then),
        })
    }

    pub(super) fn is_healthy(&self) -> bool {
        !self.poisoned.load(Ordering::SeqCst)
    }

    pub(super) fn stop(&self) {
        drop(self.queue.lock().take());
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }

    /// The thread ended under us: it was stopped, or it panicked inside the engine.
    fn gone(&self) -> StoreError {
        match self.queue.lock().is_some() {
            true => {
                self.poisoned.store(true, Ordering::SeqCst);
                StoreError::Poisoned
            }
            false => StoreError::Closed,
        }
    }
}

fn run(engine: &Engine, mut jobs: mpsc::Receiver<Job>, poisoned: &AtomicBool) {
    while let Some(first) = jobs.blocking_recv() {
        let mut group = vec![first];
        while group.len() < STORE_GROUP {
            match jobs.try_recv() {
                Ok(job) => group.push(job),
                Err(_) => break,
            }
        }
        let callers = group.len();
        commit_group(engine, group, poisoned);
        if (2..STORE_PACED_BELOW).contains(&callers) {
            // Several callers at once, and few: more are on their way, and a flush costs as much for one as for all.
            std::thread::park_timeout(STORE_PACE);
        }
    }
}

fn commit_group(engine: &Engine, group: Vec<Job>, poisoned: &AtomicBool) {
    if poisoned.load(Ordering::SeqCst) {
        return answer_all(group.into_iter().map(|job| job.then), &Err(StoreError::Poisoned));
    }
    let mut changes = Changes::new();
    let mut accepted = Vec::new();
    for Job { batch, then } in group {
        match admit(engine, &mut changes, batch) {
            Ok(()) => accepted.push(then),
            Err(error) => then(Err(error)),
        }
    }
    let outcome = match changes.is_empty() {
        true => Ok(()),
        false => engine.apply_durably(changes),
    };
    if outcome.is_err() {
        poisoned.store(true, Ordering::SeqCst);
    }
    answer_all(accepted, &outcome);
}

/// Checks the batch against the engine and against what this group has accepted so far, then joins the group.
fn admit(engine: &Engine, changes: &mut Changes, batch: Batch) -> Result<(), StoreError> {
    for expect in &batch.expects {
        let found = match changes.get(&expect.key) {
            Some(value) => value.clone(),
            None => engine.get(&expect.key)?,
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
