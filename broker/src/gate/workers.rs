//! Threads of their own for signature checks, behind bounded queues.

use std::io;
use std::sync::mpsc::{sync_channel, Receiver};
use std::thread;

use bytes::Bytes;
use tessera_agent::validator::{Settled, Validator};
use tessera_token::chain::{Refusal, Screened};
use tessera_token::refusal::RefusalCode;
use tokio::sync::oneshot;

use super::step::Dispatcher;
use crate::authz::Upload;
use crate::limits::WORKER_QUEUE;
use crate::tickets::Accepted;

/// One verification.
pub enum Job {
    /// A CONNECT.
    Connect {
        /// The attempt, after the guards that need no signature.
        screened: Box<Screened>,
        /// The ticket keys whose resumption secrets are accepted as proof.
        tickets: Accepted,
        /// Where the verdict goes.
        reply: oneshot::Sender<Result<Settled, Refusal>>,
    },
    /// A token that was published to `authz-info`: no client has proved its key, and it lets none in.
    Upload {
        /// Its bytes.
        token: Bytes,
        /// Where the verdict goes.
        reply: oneshot::Sender<Result<Upload, RefusalCode>>,
    },
}

impl Job {
    /// Answers without looking. The peer may have gone meanwhile.
    pub(super) fn refuse(self, code: RefusalCode) {
        let _ = match self {
            Self::Connect { reply, .. } => reply.send(Err(code.into())).is_ok(),
            Self::Upload { reply, .. } => reply.send(Err(code)).is_ok(),
        };
    }

    fn run(self, validator: &Validator) {
        match self {
            // The peer has gone meanwhile; below it may.
            Self::Connect { reply, .. } if reply.is_closed() => {}
            Self::Upload { reply, .. } if reply.is_closed() => {}
            Self::Connect { screened, tickets, reply } => {
                let tell = |settled| drop(reply.send(settled));
                match validator.judge_screened(*screened, &tickets) {
                    Ok(admission) => validator.settle_then(admission, tell),
                    Err(refusal) => tell(Err(refusal)),
                }
            }
            Self::Upload { token, reply } => {
                let verified = validator.verify(&token).map_err(|refusal| refusal.code);
                drop(reply.send(verified.and_then(|token| Upload::of(&token))));
            }
        }
    }
}

/// The running threads. They end when the last queue in front of them is dropped. Cheap to clone.
#[derive(Clone)]
pub struct Workers {
    dispatcher: Dispatcher<Job>,
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
    Ok(Workers { dispatcher: Dispatcher::new(queues) })
}

impl Workers {
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self { dispatcher: Dispatcher::new(Vec::new()) }
    }

    /// As [`Dispatcher::dispatch`].
    pub(super) fn dispatch(&self, job: Job) -> Result<(), Job> {
        self.dispatcher.dispatch(job)
    }
}

fn work(jobs: &Receiver<Job>, validator: &Validator) {
    while let Ok(job) = jobs.recv() {
        job.run(validator);
    }
}
