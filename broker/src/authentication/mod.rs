//! Authentication: every CONNECT passes here before any stored state of its client is read.
//!
//! A CONNECT that fails a guard without a signature is refused at once ([`evidence`]). Any other goes straight to one of a
//! few verification actors, which take turns ([`pool`]). Each is supervised, and has a thread and a bounded mailbox of its
//! own ([`actor`]). When all mailboxes are full, the CONNECT is refused with `limit_reached`. The actor records the use of
//! the proof in memory and answers at once. A proof whose second is not reserved yet is answered by the thread that
//! writes. An actor never waits for the disk, and the asking task is woken once.

pub(crate) mod response;

mod actor;
mod evidence;
mod pool;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use tessera_agent::validator::{Settled, Validator};
use tessera_runtime::random::{self, RandomError, SharedRandom};
use tessera_token::ace::{BoundNonce, Nonce};
use tessera_token::chain::{Admission, Refusal};
use tessera_token::refusal::RefusalCode;
use tokio::sync::{oneshot, Semaphore, SemaphorePermit};

use crate::admission::{Admission as Door, Asker};
use crate::authz_info::Upload;
use crate::limits::AUTHENTICATION_SUSPECTS;
use actor::{Connect, UploadedToken};

pub(crate) use evidence::Evidence;
pub(crate) use pool::{Addresses, Pool};

/// Handle to the verification actors. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Authenticator {
    actors: Addresses,
    validator: Validator,
    random: SharedRandom,
    hint: Option<Arc<str>>,
    suspects: Arc<Semaphore>,
    door: Door,
}

impl Authenticator {
    /// A handle to running verification actors.
    pub(crate) fn new(
        actors: Addresses,
        validator: Validator,
        random: SharedRandom,
        hint: Option<Arc<str>>,
        door: Door,
    ) -> Self {
        let suspects = Arc::new(Semaphore::new(AUTHENTICATION_SUSPECTS));
        Self { actors, validator, random, hint, suspects, door }
    }

    /// A challenge for one connection.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub(crate) fn nonce(&self) -> Result<Nonce, RandomError> {
        random::bytes(&*self.random).map(Nonce::from_bytes)
    }

    /// The same for our own method.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub(crate) fn bound_nonce(&self) -> Result<BoundNonce, RandomError> {
        random::bytes(&*self.random).map(BoundNonce::from_bytes)
    }

    /// The `ace_as_hint` for clients without a token.
    pub(crate) fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Lets a CONNECT in, or not; those of suspect prefixes have few places in the queues, and a prefix from which many
    /// wrong credentials came has a rate. Dropping the future leaves
    /// at worst a used-up proof.
    ///
    /// # Errors
    /// The true reason, for log, metric and observer alone; [`response`] decides the answer to the peer.
    pub(crate) async fn admit(
        &self,
        evidence: Evidence,
        client_id: &str,
        asker: Asker,
    ) -> Result<Admission, Refusal> {
        self.validator.ready()?;
        let settled = self.judge(evidence, client_id, asker).await?;
        self.validator.let_in(settled)
    }

    /// Refuses at once by the guards that need no signature; a verification actor checks the signatures.
    async fn judge(
        &self,
        evidence: Evidence,
        client_id: &str,
        asker: Asker,
    ) -> Result<Settled, Refusal> {
        let (screened, tickets) = evidence.screen(&self.validator, client_id)?;
        self.door.may_check(asker, &screened.token_hash())?;
        let _place = place(&self.suspects, asker.suspect)?;
        let (reply, verdict) = oneshot::channel();
        self.actors.ask(Connect { screened: Box::new(screened), tickets, reply })?;
        // The sender is dropped unanswered when the verification actor panicked or stops.
        verdict.await.unwrap_or_else(|_| Err(RefusalCode::NotReady.into()))
    }

    /// Verifies a token that a client published to `authz-info`. The result lets no client in.
    ///
    /// # Errors
    /// The first guard that concerns the token alone and says no; `bearer_not_allowed`, `confirmation_key` when no
    /// handshake could prove it; `limit_reached` when the verification actors are busy.
    pub(crate) async fn verify_upload(&self, token: Bytes) -> Result<Upload, RefusalCode> {
        self.validator.ready()?;
        let (reply, verdict) = oneshot::channel();
        self.actors.ask(UploadedToken { token, reply })?;
        // The sender is dropped unanswered when the verification actor panicked or stops.
        verdict.await.unwrap_or(Err(RefusalCode::NotReady))
    }

    /// The validator that the verification actors use.
    pub(crate) fn validator(&self) -> &Validator {
        &self.validator
    }

    /// Waits until each CONNECT that was taken is answered. Later ones are refused with `not_ready`.
    pub(crate) async fn finish(&self) {
        self.actors.finish().await;
    }

    /// Whether a verification actor runs.
    pub(crate) fn is_alive(&self) -> bool {
        self.actors.is_alive()
    }
}

/// A permit to wait for the verification actors, which only suspects need; held until the answer is there.
fn place(suspects: &Semaphore, suspect: bool) -> Result<Option<SemaphorePermit<'_>>, RefusalCode> {
    let place = suspect.then(|| suspects.try_acquire()).transpose();
    place.map_err(|_| RefusalCode::LimitReached)
}
