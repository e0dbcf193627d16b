//! The shell around [`super::step`]: an actix actor with a bounded mailbox.

use actix::{Actor, Addr, Context, Handler, Message};
use tessera_token::refusal::RefusalCode;

use super::workers::{Job, Workers};
use crate::limits::GATE_MAILBOX;

/// The actor. Its mailbox is the one queue of CONNECTs that found no verification thread with room.
pub struct GateActor {
    workers: Workers,
    mailbox: usize,
}

/// Starts the actor in the actix system of this thread.
pub fn start_actor(workers: &Workers) -> Addr<GateActor> {
    GateActor { workers: workers.clone(), mailbox: GATE_MAILBOX }.start()
}

impl Actor for GateActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(self.mailbox);
    }
}

impl Message for Job {
    type Result = ();
}

impl Handler<Job> for GateActor {
    type Result = ();

    fn handle(&mut self, job: Job, _: &mut Self::Context) {
        if let Err(job) = self.workers.dispatch(job) {
            job.refuse(RefusalCode::LimitReached);
        }
    }
}
