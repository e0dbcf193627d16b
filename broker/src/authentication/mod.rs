//! Authentication: every CONNECT passes here before any stored state of its client is read.
//!
//! A CONNECT that fails a guard without a signature is refused at once ([`evidence`]). Any other goes to one of a few
//! verification threads with bounded queues ([`pool`]), which take turns. When all are full, it waits in
//! the bounded mailbox of an actor, which tries once more and refuses with `limit_reached` if there is
//! still no room. The thread records the use of the proof in memory and answers at once. A proof whose second is not
//! reserved yet is answered by the thread that writes. A verification thread never waits for the disk, and the asking
//! task is woken once.

pub mod response;

mod evidence;
mod pool;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use actix::Addr;
use bytes::Bytes;
use tessera_agent::validator::{Settled, Validator};
use tessera_runtime::random::{self, RandomError, SharedRandom};
use tessera_token::ace::{BoundNonce, Nonce};
use tessera_token::chain::{Admission, Refusal};
use tessera_token::refusal::RefusalCode;
use tokio::sync::{oneshot, Semaphore, SemaphorePermit};

use crate::authz_info::Upload;
use crate::limits::AUTHENTICATION_SUSPECTS;
use pool::Job;

pub use evidence::Evidence;
pub use pool::{spawn_workers, start_actor, OverflowActor, Workers};

/// Handle to the verification threads and the overflow actor. Cheap to clone.
#[derive(Clone)]
pub struct Authenticator {
    workers: Workers,
    actor: Addr<OverflowActor>,
    validator: Validator,
    random: SharedRandom,
    hint: Option<Arc<str>>,
    suspects: Arc<Semaphore>,
}

impl Authenticator {
    /// A handle to running threads and a running actor.
    pub fn new(
        workers: Workers,
        actor: Addr<OverflowActor>,
        validator: Validator,
        random: SharedRandom,
        hint: Option<Arc<str>>,
    ) -> Self {
        let suspects = Arc::new(Semaphore::new(AUTHENTICATION_SUSPECTS));
        Self { workers, actor, validator, random, hint, suspects }
    }

    /// A challenge for one connection.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn nonce(&self) -> Result<Nonce, RandomError> {
        random::bytes(&*self.random).map(Nonce::from_bytes)
    }

    /// The same for our own method.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn bound_nonce(&self) -> Result<BoundNonce, RandomError> {
        random::bytes(&*self.random).map(BoundNonce::from_bytes)
    }

    /// The `ace_as_hint` for clients without a token.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Lets a CONNECT in, or not; those of suspect prefixes have few places in the queues. Dropping the future leaves
    /// at worst a used-up proof.
    ///
    /// # Errors
    /// The true reason, for log, metric and observer alone; [`response`] decides the answer to the peer.
    pub async fn admit(
        &self,
        evidence: Evidence,
        client_id: &str,
        suspect: bool,
    ) -> Result<Admission, Refusal> {
        self.validator.ready()?;
        let settled = self.judge(evidence, client_id, suspect).await?;
        self.validator.let_in(settled)
    }

    /// Refuses at once by the guards that need no signature; a thread checks the signatures.
    async fn judge(
        &self,
        evidence: Evidence,
        client_id: &str,
        suspect: bool,
    ) -> Result<Settled, Refusal> {
        let (screened, tickets) = evidence.screen(&self.validator, client_id)?;
        let _place = place(&self.suspects, suspect)?;
        let (reply, verdict) = oneshot::channel();
        let job = Job::Connect { screened: Box::new(screened), tickets, reply };
        if let Err(job) = self.workers.dispatch(job) {
            self.actor.try_send(job).map_err(|_| RefusalCode::LimitReached)?;
        }
        // The sender is dropped unanswered only when the actor or a thread stops.
        verdict.await.unwrap_or_else(|_| Err(RefusalCode::NotReady.into()))
    }

    /// Verifies a token that a client published to `authz-info`. The result lets no client in.
    ///
    /// # Errors
    /// The first guard that concerns the token alone and says no; `bearer_not_allowed`, `confirmation_key` when no
    /// handshake could prove it; `limit_reached` when the threads are busy.
    pub async fn verify_upload(&self, token: Bytes) -> Result<Upload, RefusalCode> {
        self.validator.ready()?;
        let (reply, verdict) = oneshot::channel();
        if self.actor.try_send(Job::Upload { token, reply }).is_err() {
            return Err(RefusalCode::LimitReached);
        }
        // The sender is dropped unanswered only when the actor or a thread stops.
        verdict.await.unwrap_or(Err(RefusalCode::NotReady))
    }

    /// The validator that the threads use.
    pub fn validator(&self) -> &Validator {
        &self.validator
    }

    /// Whether the actor still runs.
    pub fn is_alive(&self) -> bool {
        self.actor.connected()
    }
}

/// A permit to wait for the threads, which only suspects need; held until the answer is there.
fn place(suspects: &Semaphore, suspect: bool) -> Result<Option<SemaphorePermit<'_>>, RefusalCode> {
    let place = suspect.then(|| suspects.try_acquire()).transpose();
    place.map_err(|_| RefusalCode::LimitReached)
}
