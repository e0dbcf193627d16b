//! Threads of their own for signature checks, behind bounded queues.

use std::io;
use std::sync::mpsc::{sync_channel, Receiver, SyncSender};
use std::thread;

use tessera_agent::validator::Validator;
use tessera_token::chain::{Admission, Refusal, Screened};
use tokio::sync::oneshot;

use crate::limits::WORKER_QUEUE;

/// One CONNECT to be judged.
pub struct Job {
    pub(super) screened: Screened,
    pub(super) reply: oneshot::Sender<Result<Admission, Refusal>>,
}

impl Job {
    pub(super) fn answer(self, verdict: Result<Admission, Refusal>) {
        // The peer may have gone meanwhile.
        let _ = self.reply.send(verdict);
    }
}

/// The running threads. They end when the last queue in front of them is dropped.
pub struct Workers {
    queues: Vec<SyncSender<Job>>,
}

/// Starts `count` threads.
///
/// # Errors
/// The operating system gives no thread.
pub fn spawn_workers(count: usize, validator: &Validator) -> io::Result<Workers> {
    let mut queues = Vec::with_capacity(count);
    for number in 0..count {
        let (queue, jobs) = sync_channel(WORKER_QUEUE);
        let validator = validator.clone();
        thread::Builder::new()
            .name(format!("verify-{number}"))
            .spawn(move || work(&jobs, &validator))?;
        queues.push(queue);
    }
    Ok(Workers { queues })
}

impl Workers {
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self { queues: Vec::new() }
    }

    pub(super) fn queues(&self) -> Vec<SyncSender<Job>> {
        self.queues.clone()
    }
}

fn work(jobs: &Receiver<Job>, validator: &Validator) {
    while let Ok(Job { screened, reply }) = jobs.recv() {
        if reply.is_closed() {
            continue;
        }
        // The peer may have gone meanwhile.
        let _ = reply.send(validator.judge_screened(screened, &[]));
    }
}
