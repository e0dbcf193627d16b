//! The verification actor verifies one CONNECT or token after the other, on a thread of its own.
//!
//! A panic of a verification is caught here. It would otherwise end the task of actix's supervisor, which restarts an
//! actor that stops and no other. The actor then stops and is restarted with the same address and mailbox. Each peer that
//! waited is refused with `not_ready`; a CONNECT that comes later is verified.

use std::panic::{catch_unwind, AssertUnwindSafe};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, Supervised};
use bytes::Bytes;
use tessera_agent::validator::{Settled, Validator};
use tessera_runtime::metrics::Counter;
use tessera_token::chain::{Refusal, Screened};
use tessera_token::refusal::RefusalCode;
use tokio::sync::oneshot;

use crate::authz_info::Upload;
use crate::limits::VERIFICATION_MAILBOX;
use crate::resumption::Accepted;

/// A message that asks for one verification. It holds the sender of the answer: dropped unanswered, it says `not_ready`.
pub(super) trait Verification: Message<Result = ()> + Send + 'static {
    /// Verifies, and answers.
    fn run(self, validator: &Validator);
}

/// A CONNECT.
pub(super) struct Connect {
    /// The attempt, after the guards that need no signature.
    pub(super) screened: Box<Screened>,
    /// The ticket keys whose resumption secrets are accepted as proof.
    pub(super) tickets: Accepted,
    /// Takes the answer.
    pub(super) reply: oneshot::Sender<Result<Settled, Refusal>>,
}

impl Message for Connect {
    type Result = ();
}

impl Verification for Connect {
    fn run(self, validator: &Validator) {
        let Self { screened, tickets, reply } = self;
        // The peer has gone; further down it may go at any time.
        if reply.is_closed() {
            return;
        }
        let tell = |settled| drop(reply.send(settled));
        match validator.judge(*screened, &tickets) {
            Ok(admission) => validator.settle_then(admission, tell),
            Err(refusal) => tell(Err(refusal)),
        }
    }
}

/// A token that was published to `authz-info`: no client has proved its key, and it lets none in.
pub(super) struct UploadedToken {
    pub(super) token: Bytes,
    /// Takes the answer.
    pub(super) reply: oneshot::Sender<Result<Upload, RefusalCode>>,
}

impl Message for UploadedToken {
    type Result = ();
}

impl Verification for UploadedToken {
    fn run(self, validator: &Validator) {
        let Self { token, reply } = self;
        if reply.is_closed() {
            return;
        }
        let verified = validator.verify(&token).map_err(|refusal| refusal.code);
        drop(reply.send(verified.and_then(|token| Upload::of(&token))));
    }
}

/// The actor. It owns its mailbox and its state; the validator is shared by all.
pub(super) struct VerificationActor {
    validator: Validator,
    restarts: Counter,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Verifies,
    /// A verification panicked: the peers that waited then are refused.
    Restarted,
    /// The broker stops.
    Finished,
}

impl VerificationActor {
    /// An actor that runs in this context.
    pub(super) fn new(
        context: &mut Context<Self>,
        validator: Validator,
        restarts: Counter,
    ) -> Self {
        context.set_mailbox_capacity(VERIFICATION_MAILBOX);
        Self { validator, restarts, state: State::Verifies }
    }
}

impl Actor for VerificationActor {
    type Context = Context<Self>;
}

impl Supervised for VerificationActor {
    fn restarting(&mut self, context: &mut Self::Context) {
        self.state = State::Restarted;
        // Behind each message that waits now. A new address has a place of its own in a full mailbox.
        let _ = context.address().try_send(Resume);
    }
}

impl<V: Verification> Handler<V> for VerificationActor {
    type Result = ();

    fn handle(&mut self, verification: V, context: &mut Self::Context) {
        if self.state != State::Verifies {
            return;
        }
        let verify = AssertUnwindSafe(|| verification.run(&self.validator));
        if catch_unwind(verify).is_err() {
            self.restarts.inc(&[]);
            tracing::error!(
                "a verification panicked: its actor is restarted, and the peers that waited for it are refused with \
                 not_ready"
            );
            context.stop();
        }
    }
}

/// The last message of those that waited at a restart has been refused.
struct Resume;

impl Message for Resume {
    type Result = ();
}

impl Handler<Resume> for VerificationActor {
    type Result = ();

    fn handle(&mut self, _: Resume, _: &mut Self::Context) {
        if self.state == State::Restarted {
            self.state = State::Verifies;
        }
    }
}

/// Answers once everything before it is answered. Later peers are refused with `not_ready`.
pub(super) struct Finish;

impl Message for Finish {
    type Result = ();
}

impl Handler<Finish> for VerificationActor {
    type Result = ();

    fn handle(&mut self, _: Finish, _: &mut Self::Context) {
        self.state = State::Finished;
    }
}
