//! The verification threads behind bounded queues, and the actor whose mailbox takes CONNECTs that find all queues
//! full.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{sync_channel, Receiver, SyncSender, TrySendError};
use std::sync::Arc;
use std::thread;

use actix::{Actor, Addr, Context, Handler, Message};
use bytes::Bytes;
use tessera_agent::validator::{Settled, Validator};
use tessera_token::chain::{Refusal, Screened};
use tessera_token::refusal::RefusalCode;
use tokio::sync::oneshot;

use crate::authz_info::Upload;
use crate::limits::{AUTHENTICATION_MAILBOX, WORKER_QUEUE};
use crate::resumption::Accepted;

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
    /// Answers without verifying. The peer may have gone.
    pub(super) fn refuse(self, code: RefusalCode) {
        let _ = match self {
            Self::Connect { reply, .. } => reply.send(Err(code.into())).is_ok(),
            Self::Upload { reply, .. } => reply.send(Err(code)).is_ok(),
        };
    }

    fn run(self, validator: &Validator) {
        match self {
            // The peer has gone; further down it may go at any time.
            Self::Connect { reply, .. } if reply.is_closed() => {}
            Self::Upload { reply, .. } if reply.is_closed() => {}
            Self::Connect { screened, tickets, reply } => {
                let tell = |settled| drop(reply.send(settled));
                match validator.judge(*screened, &tickets) {
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

/// The running threads. They end when their last queue is dropped. Cheap to clone.
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

/// The queues of the verification threads, taken in turn. Clones share the turn.
pub(super) struct Dispatcher<J> {
    queues: Vec<SyncSender<J>>,
    next: Arc<AtomicUsize>,
}

impl<J> Clone for Dispatcher<J> {
    fn clone(&self) -> Self {
        Self { queues: self.queues.clone(), next: Arc::clone(&self.next) }
    }
}

impl<J> Dispatcher<J> {
    pub(super) fn new(queues: Vec<SyncSender<J>>) -> Self {
        Self { queues, next: Arc::default() }
    }

    /// Puts the job into the first queue with room, starting with the one whose turn it is. Gives it back when all
    /// are full.
    pub(super) fn dispatch(&self, mut job: J) -> Result<(), J> {
        let count = self.queues.len();
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        for offset in 0..count {
            let place = first.wrapping_add(offset) % count;
            let Some(queue) = self.queues.get(place) else { continue };
            match queue.try_send(job) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(back) | TrySendError::Disconnected(back)) => job = back,
            }
        }
        Err(job)
    }
}

/// The actor. Its mailbox is the one queue of CONNECTs that found no verification thread with room.
pub struct OverflowActor {
    workers: Workers,
    mailbox: usize,
}

/// Starts the actor in the actix system of this thread.
pub fn start_actor(workers: &Workers) -> Addr<OverflowActor> {
    OverflowActor { workers: workers.clone(), mailbox: AUTHENTICATION_MAILBOX }.start()
}

impl Actor for OverflowActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(self.mailbox);
    }
}

impl Message for Job {
    type Result = ();
}

impl Handler<Job> for OverflowActor {
    type Result = ();

    fn handle(&mut self, job: Job, _: &mut Self::Context) {
        if let Err(job) = self.workers.dispatch(job) {
            job.refuse(RefusalCode::LimitReached);
        }
    }
}
