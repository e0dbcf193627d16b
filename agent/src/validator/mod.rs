//! May this one connect? The chain of `tessera_token`, over stored trust data and the replay ledger.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::location::Locator;
use arc_swap::ArcSwap;
use tessera_runtime::store::Store;
use tessera_token::ace::Answer;
use tessera_token::chain::{self, Admission, Attempt, Refusal, Screened, Subject, VerifiedToken};
use tessera_token::grant::Grant;
use tessera_token::ids::{TenantId, VerifierName};
use tessera_token::proof::{Credential, DerivationKeys, Presented, TicketKey};
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;
use tessera_token::token_identity::TokenIdentity;
use tokio::sync::{broadcast, oneshot};

use crate::behaviour::Observer;
use crate::ledger::{Ledger, Taken};
use crate::limits;
use crate::namesake::Namesake;
pub use crate::namesake::VERIFIER_NAME_SHARED;
use crate::trust::{ClockState, Lapse, Trust, TrustEffect, TrustState};

use known::KnownKeys;
use late::Late;
use view::View;

mod known;
mod late;
mod readiness;
pub mod restrictions;
#[cfg(test)]
mod tests;
mod view;

/// Judges tokens and proofs offline. Cheap to clone.
#[derive(Clone)]
pub struct Validator {
    parts: Arc<Parts>,
}

struct Parts {
    trust: Arc<Trust>,
    ledger: Arc<Ledger>,
    store: Store,
    observer: Observer,
    known: KnownKeys,
    late: Late,
    derivation: ArcSwap<DerivationKeys>,
    namesake: Arc<Namesake>,
    locator: OnceLock<Locator>,
}

/// An admission whose proof is used up. [`Validator::let_in`] makes use of it.
#[derive(Debug)]
pub struct Settled {
    admission: Admission,
    /// How far its counter lies above the one before of the same key.
    gap: Option<u32>,
}

impl Validator {
    /// A validator over these parts, for proofs that name this verifier.
    pub(crate) fn new(
        trust: Arc<Trust>,
        ledger: Arc<Ledger>,
        store: Store,
        observer: Observer,
        namesake: Arc<Namesake>,
    ) -> Self {
        let known = KnownKeys::new(limits::KNOWN_KEYS);
        let (late, derivation) = (Late::default(), ArcSwap::default());
        let locator = OnceLock::new();
        let parts =
            Parts { trust, ledger, store, observer, known, late, derivation, namesake, locator };
        Self { parts: Arc::new(parts) }
    }

    /// Derives the keys of symmetric tokens by these from now on; before the first call every such token is refused.
    /// A key that is no longer among them ends its grants, as a withdrawn issuer key does.
    pub fn set_derivation_keys(&self, keys: DerivationKeys) {
        let before = self.parts.derivation.load_full();
        if before.ids().eq(keys.ids()) {
            return;
        }
        let withdrawn = before.ids().any(|id| keys.get(id).is_none());
        tracing::info!(keys = keys.ids().count(), withdrawn, "new derivation keys");
        self.parts.derivation.store(Arc::new(keys));
        if withdrawn {
            self.parts.trust.announce(TrustEffect::Reloaded);
        }
    }

    /// The whole act, for a caller that may wait: password and client id in, admission or refusal out.
    ///
    /// The broker runs its four parts on different threads: [`Self::screen`] where the CONNECT is read, [`Self::judge`]
    /// and [`Self::settle_then`] on a verification thread, [`Self::let_in`] where the session is opened.
    ///
    /// # Errors
    /// The [`Refusal`] of the first guard that says no.
    pub async fn admit(&self, password: &[u8], client_id: &str) -> Result<Admission, Refusal> {
        let screened = self.screen(Credential::from_password(password)?, client_id)?;
        self.settle(self.judge(screened, &[])?).await
    }

    /// The guards that cost nothing, before any signature. A proof that is too old for guard 8 is refused here, but
    /// for a few a second, which go on so that the log names the devices whose clock is wrong.
    ///
    /// # Errors
    /// The [`Refusal`] of the first guard that says no.
    pub fn screen(
        &self,
        presented: impl Into<Presented>,
        client_id: &str,
    ) -> Result<Screened, Refusal> {
        let (trust, now) = (self.parts.trust.load(), self.now());
        let screened = Screened::new(Attempt::new(presented, client_id), &self.view(&trust), now)?;
        if screened.is_fresh(now) || self.parts.late.take(self.parts.trust.monotonic()) {
            return Ok(screened);
        }
        Err(RefusalCode::ProofNotFresh.into())
    }

    /// The steps after [`Validator::screen`]: the signatures, and what depends on them. Over TLS a resumption secret of
    /// one of these ticket keys is a proof too. The admission counts for nothing before [`Validator::settle_then`] has
    /// taken it.
    ///
    /// # Errors
    /// The [`Refusal`] of the first guard that says no.
    pub fn judge(&self, screened: Screened, tickets: &[TicketKey]) -> Result<Admission, Refusal> {
        let trust = self.parts.trust.load();
        screened.admit(tickets, &self.view(&trust), self.now())
    }

    async fn settle(&self, admission: Admission) -> Result<Admission, Refusal> {
        let (tell, told) = oneshot::channel();
        // The caller may have gone meanwhile.
        self.settle_then(admission, |settled| drop(tell.send(settled)));
        let settled = told.await.unwrap_or_else(|_| Err(RefusalCode::NotReady.into()))?;
        self.let_in(settled)
    }

    /// Uses the proof up, on a thread that does not wait: `then` gets the result, mostly at once, or by the thread that
    /// writes. It must not wait either. A refusal is `proof_replayed`, `proof_undecided`, `limit_reached` or `not_ready`.
    pub fn settle_then<F>(&self, admission: Admission, then: F)
    where
        F: FnOnce(Result<Settled, Refusal>) + Send + 'static,
    {
        let Some(proof) = admission.proof_use else {
            return then(Ok(Settled { admission, gap: None }));
        };
        let client_id = admission.client_id.clone();
        self.parts.ledger.take_then(proof, &client_id, self.now(), move |taken| {
            then(match taken {
                Ok(Taken { previous }) => {
                    let counter = proof.place.counter();
                    let gap = previous.map(|previous| counter.saturating_sub(previous));
                    Ok(Settled { admission, gap })
                }
                Err(code) => Err(Refusal { code, subject: Some(subject(&admission.grant)) }),
            });
        });
    }

    /// The last part: checks once more whether the grant still holds.
    ///
    /// A revocation can come in after this returns: a caller that opens a session subscribes to
    /// [`Validator::trust_effects`] first, or asks [`Validator::still_holds`] once the session is in its index.
    ///
    /// # Errors
    /// The code of what has ended the grant since.
    pub fn let_in(&self, settled: Settled) -> Result<Admission, Refusal> {
        let Settled { admission, gap } = settled;
        if let Some(gap) = gap {
            self.parts.observer.observe_gap(&subject(&admission.grant), gap);
        }
        match self.still_holds(&admission.grant) {
            Ok(()) => Ok(admission),
            Err(code) => Err(Refusal { code, subject: Some(subject(&admission.grant)) }),
        }
    }

    /// The grant of a further token on a session whose peer has already proved the key.
    ///
    /// # Errors
    /// The [`Refusal`] of the first guard that says no; `client_id_mismatch` or `confirmation_key` when the token is
    /// not for the holder of `held`, `proof_missing` when it has a key of its own, `token_older` when that of `held` is newer.
    pub fn renew(&self, token: &[u8], held: &Grant) -> Result<Grant, Refusal> {
        self.replaced(token, |verified| verified.renew(held))
    }

    /// The grant of a token that provisioning itself gave, in answer to a request on this session that the key of the
    /// device has signed.
    ///
    /// # Errors
    /// As [`Validator::renew`], but for `proof_missing`.
    pub fn renew_as_issued(&self, token: &[u8], held: &Grant) -> Result<Grant, Refusal> {
        self.replaced(token, |verified| verified.renew_as_issued(held))
    }

    /// The grant of a token by which the peer re-authenticates (RFC 9431): the answer to a fresh challenge proves the
    /// key again, which must be the key of `held`, or the device's other kind of key. `client_id` is that of the session.
    ///
    /// # Errors
    /// As [`Validator::renew`]; `proof_invalid` for a wrong answer, `bearer_not_allowed` for a token without a key.
    pub fn reauthenticate(
        &self,
        token: &[u8],
        held: &Grant,
        answer: &Answer,
        client_id: &str,
    ) -> Result<Grant, Refusal> {
        self.replaced(token, |verified| verified.renew_with_proof(held, answer, client_id, token))
    }

    fn replaced(
        &self,
        token: &[u8],
        with: impl FnOnce(VerifiedToken) -> Result<Grant, RefusalCode>,
    ) -> Result<Grant, Refusal> {
        let verified = self.verify(token)?;
        let subject = verified.subject();
        with(verified).map_err(|code| Refusal { code, subject: Some(subject) })
    }

    /// A token without a proof: what it says, when all that concerns it alone holds. It allows nothing.
    ///
    /// # Errors
    /// The [`Refusal`] of the first guard that says no.
    pub fn verify(&self, token: &[u8]) -> Result<VerifiedToken, Refusal> {
        let trust = self.parts.trust.load();
        chain::verify(token, &self.view(&trust), self.now())
    }

    fn view<'v>(&'v self, trust: &'v TrustState) -> View<'v> {
        let Parts { known, derivation, trust: freshness, namesake, .. } = &*self.parts;
        let verifier = namesake.name().as_str();
        View { trust, freshness, known, verifier, derivation: derivation.load() }
    }

    /// Whether a grant that was given earlier still holds.
    ///
    /// # Errors
    /// The code of what ended it.
    pub fn still_holds(&self, grant: &Grant) -> Result<(), RefusalCode> {
        let trust = self.parts.trust.load();
        chain::still_holds(grant, &self.view(&trust), self.now())
    }

    /// The refusal, if the grant was revoked, whatever the clock says; see [`chain::grant_revoked`].
    pub fn grant_revoked(&self, grant: &Grant) -> Option<RefusalCode> {
        let trust = self.parts.trust.load();
        chain::grant_revoked(grant, &self.view(&trust))
    }

    /// Whether this verifier can still tell if the grant holds: staleness, and whether it follows the trust feed.
    ///
    /// # Errors
    /// `trust_missing`, `trust_not_followed`, `trust_stale`.
    pub fn can_tell(&self, grant: &Grant) -> Result<(), RefusalCode> {
        let trust = self.parts.trust.load();
        chain::can_tell(grant, &self.view(&trust), self.now())
    }

    /// The name that connect proofs must be made for.
    pub fn verifier(&self) -> &VerifierName {
        self.parts.namesake.name()
    }

    /// Whether another reader of the trust feed admits devices under the same name, as the service last said.
    pub fn shares_its_name(&self) -> bool {
        self.parts.namesake.is_shared()
    }

    /// The number of the newest trust event that is known.
    pub fn trust_seq(&self) -> u64 {
        self.parts.trust.load().seq()
    }

    /// A number that moves up with every change of trust data, in this process.
    pub fn trust_version(&self) -> u64 {
        self.parts.trust.version()
    }

    /// Whether messages published under a token must reach no subscriber any more; see [`chain::publisher_revoked`].
    pub fn publisher_revoked(&self, published: &TokenIdentity) -> Option<RefusalCode> {
        let trust = self.parts.trust.load();
        let forgotten = trust.forgotten().is_some_and(|until| published.expires < until);
        chain::publisher_revoked(published, trust.as_ref())
            .or_else(|| forgotten.then_some(RefusalCode::TrustStale))
    }

    /// Whether it is open if this verifier was away for so long that revocations are missing
    /// ([`crate::trust::TrustState::absent_since`]). No device is let in meanwhile, and no message sent.
    pub fn absence_is_open(&self) -> bool {
        self.parts.trust.absence_is_open()
    }

    /// The moment by which everything is judged. It goes back only when the clock that had brought it ahead is mended.
    pub fn now(&self) -> UnixSeconds {
        self.parts.trust.now()
    }

    /// As [`Self::now`], for a caller that has just asked for the monotonic time.
    pub fn now_at(&self, monotonic: Duration) -> UnixSeconds {
        self.parts.trust.now_at(monotonic)
    }

    /// The time by which what was kept is over; `None` while it rests on one clock alone
    /// ([`crate::trust::TrustTime::witnessed`]).
    pub fn witnessed_time(&self) -> Option<UnixSeconds> {
        self.parts.trust.time().witnessed()
    }

    /// How the wall clock stands against the trust service; `None` before the service was heard.
    pub fn clock_state(&self) -> Option<ClockState> {
        self.parts.trust.time().clock_state()
    }

    /// Whether a heartbeat of this process and the wall clock agree on the time: only then may something be deleted
    /// because its time is over. One clock alone may be wrong.
    pub fn time_is_settled(&self) -> bool {
        self.clock_state().is_some_and(|state| !state.wrong)
    }

    /// Seconds since a heartbeat last answered this verifier; `None` before the first.
    pub fn trust_age(&self) -> Option<u64> {
        self.parts.trust.age()
    }

    /// That the trust feed cannot be followed, while that is so.
    pub fn trust_lapse(&self) -> Option<Lapse> {
        self.parts.trust.lapse()
    }

    /// The tenant that this verifier serves, when it is one alone.
    pub fn sole_tenant(&self) -> Option<TenantId> {
        self.parts.trust.load().sole_tenant().cloned()
    }

    /// Whether any device could be let in at all, and in the minutes to come.
    ///
    /// # Errors
    /// `trust_missing` before trust data are there and confirmed, `trust_not_followed` as soon as the feed cannot be
    /// followed, `trust_stale` when no tenant's budget covers their age, `not_ready` when the store does not write.
    pub fn ready(&self) -> Result<(), RefusalCode> {
        if !self.parts.store.is_healthy() {
            return Err(RefusalCode::NotReady);
        }
        let (trust, state) = (&self.parts.trust, self.parts.trust.load());
        let Some(age) = trust.age().filter(|_| !state.is_empty()) else {
            return Err(RefusalCode::TrustMissing);
        };
        if trust.lapse().is_some() {
            return Err(RefusalCode::TrustNotFollowed);
        }
        match age > state.longest_budget() || trust.absence_is_open() {
            true => Err(RefusalCode::TrustStale),
            false => Ok(()),
        }
    }

    /// Why it is not ready, in words for the operator.
    pub fn why_not_ready(&self, code: RefusalCode) -> String {
        match (code, self.trust_lapse(), self.trust_age()) {
            (RefusalCode::TrustStale, ..) if self.absence_is_open() => {
                "the clocks of this machine and of its service differ: the last trust snapshot seems to come after a long \
                 absence; set the clock that is wrong"
                    .to_owned()
            }
            (RefusalCode::TrustNotFollowed, Some(lapse), _) => format!(
                "the trust feed cannot be followed: {} for {} s; no device is let in after another {} s",
                lapse.reason,
                lapse.lasts.as_secs(),
                lapse.left.as_secs()
            ),
            (RefusalCode::TrustStale, _, Some(age)) => {
                format!("the trust feed last confirmed what is known {age} s ago")
            }
            (RefusalCode::NotReady, ..) => {
                self.parts.store.waits_for().unwrap_or(code.words()).to_owned()
            }
            _ => code.words().to_owned(),
        }
    }

    /// Whether the wall clock is one to be relied on. A clock that is behind is carried by signed time; by one that is
    /// ahead tokens end too early.
    ///
    /// # Errors
    /// `clock_wrong` while the clock is ahead of that of the trust service.
    pub fn clock_ready(&self) -> Result<(), RefusalCode> {
        match self.clock_state().is_some_and(|state| state.is_ahead()) {
            true => Err(RefusalCode::ClockWrong),
            false => Ok(()),
        }
    }

    /// Whether connect proofs that are made now can be judged: for readiness alone, since other kinds of proof are not
    /// concerned.
    ///
    /// # Errors
    /// `proof_undecided` for some seconds after a stop without notice.
    pub fn decides_proofs(&self) -> Result<(), RefusalCode> {
        self.parts.ledger.decides(self.now())
    }

    /// Changes from now on. A receiver that lagged must treat that as [`TrustEffect::Reloaded`].
    pub fn trust_effects(&self) -> broadcast::Receiver<TrustEffect> {
        self.parts.trust.effects()
    }
}

fn subject(grant: &Grant) -> Subject {
    Subject { tenant: grant.tenant().clone(), device: grant.device().clone() }
}
