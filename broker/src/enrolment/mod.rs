//! Enrolment over MQTT: a device that has a claim code and no token yet. Off unless the setting `enrolment` says so.
//!
//! 1. The CONNECT has the user name `$claim/TENANT`, the code as its password and the device id as its client id. Its form is
//!    judged here; then provisioning is asked whether that claim is good for that device. A device that used it is let in
//!    again: its answer may have been lost.
//! 2. The connection reaches `$tessera/enrol` and nothing else (`connection/enrol_only.rs`). The broker relays a request of
//!    that device by that claim, and no other.
//!
//! Strangers come here, so everything is bounded: connections in total and of one address prefix, wrong codes of one prefix,
//! questions to provisioning at once, and those of suspect prefixes among them.

#[cfg(test)]
mod tests;

use std::time::Duration;

use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::messages::{ClaimCheck, ClaimCode, EnrolRequest, CLAIM_USER};
use tessera_token::refusal::RefusalCode;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::admission::Prefix;
use crate::codec::{Connect, PropertyId};
use crate::limits::{ENROL_CHECKS, ENROL_RELAYS, ENROL_SUSPECTS};
use crate::relay::{Answer, Relay};
use crate::visits::{Visit, Visits};

/// The connections that enrol.
pub(crate) struct Enrolment {
    on: bool,
    pub(crate) visits: Visits,
    checks: Semaphore,
    suspects: Semaphore,
    /// Apart from the checks: strangers take no place of a device whose claim is good.
    relays: Semaphore,
}

impl Enrolment {
    /// None yet; `on` is the setting, `half_open` how many sockets may be half open.
    pub(crate) fn new(on: bool, half_open: usize) -> Self {
        Self {
            on,
            visits: Visits::new(half_open),
            checks: Semaphore::new(ENROL_CHECKS),
            suspects: Semaphore::new(ENROL_SUSPECTS),
            relays: Semaphore::new(ENROL_RELAYS),
        }
    }

    /// Whether devices may enrol here.
    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    /// A permit to relay a request of a device whose claim is good.
    ///
    /// # Errors
    /// `limit_reached`.
    pub(crate) fn may_relay(&self) -> Result<SemaphorePermit<'_>, RefusalCode> {
        self.relays.try_acquire().map_err(|_| RefusalCode::LimitReached)
    }

    /// A place for a connection whose claim has the right form; its try is counted. `now` is monotonic.
    ///
    /// # Errors
    /// `rate_limited`, `limit_reached`.
    pub(crate) fn enter(&self, from: Prefix, now: Duration) -> Result<Visit<'_>, RefusalCode> {
        self.visits.may_try(from, now)?;
        self.visits.enter(from, now).ok_or_else(|| {
            self.visits.forgive(from);
            RefusalCode::LimitReached
        })
    }

    /// Whether the claim is good, by the word of provisioning. A try that was right costs its prefix nothing.
    ///
    /// # Errors
    /// The true reason, for log and metric; `limit_reached` before provisioning is asked, `not_ready` when it gives no
    /// answer about the claim.
    pub(crate) async fn check(
        &self,
        relay: &Relay,
        claim: &ClaimCheck,
        (from, suspect): (Prefix, bool),
    ) -> Result<(), RefusalCode> {
        let checked = self.ask(relay, claim, suspect).await;
        if checked.map_or_else(RefusalCode::is_of_the_server, |()| true) {
            self.visits.forgive(from);
        }
        checked
    }

    async fn ask(
        &self,
        relay: &Relay,
        claim: &ClaimCheck,
        suspect: bool,
    ) -> Result<(), RefusalCode> {
        let _few = suspect.then(|| self.suspects.try_acquire()).transpose();
        let _few = _few.map_err(|_| RefusalCode::LimitReached)?;
        let _permit = self.checks.try_acquire().map_err(|_| RefusalCode::LimitReached)?;
        match relay.check(claim).await {
            Answer::Given((), _) => Ok(()),
            Answer::Refusal(_, code) => Err(judged(code)),
            Answer::Away => Err(RefusalCode::NotReady),
        }
    }
}

/// A refusal of provisioning that is about the claim, or about how often is asked. Any other is a fault between broker and
/// provisioning, and says nothing about the device.
fn judged(code: RefusalCode) -> RefusalCode {
    match code {
        RefusalCode::ClaimUnknown
        | RefusalCode::ClaimUsed
        | RefusalCode::ClaimMismatch
        | RefusalCode::TenantSuspended
        // The relay's account belongs to other tenants, and no word says whether there is this one.
        | RefusalCode::OperatorNotAllowed
        | RefusalCode::LimitReached
        | RefusalCode::RateLimited => code,
        other => {
            tracing::warn!(code = %other, "provisioning did not judge a claim code: see its log");
            RefusalCode::NotReady
        }
    }
}

/// Whether the CONNECT means to enrol.
pub(crate) fn is_meant(connect: &Connect) -> bool {
    let user = connect.user_name.as_deref().and_then(|user| user.strip_prefix(CLAIM_USER));
    user.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The claim of such a CONNECT, when its form is right; nothing is asked.
///
/// # Errors
/// `claim_in_clear` on a connection that is not `private`; `method_not_supported` beside enhanced authentication,
/// `will_not_authorised` with a will, `client_id_invalid`, `claim_unknown` for what can be no claim of a tenant.
pub(crate) fn claim_of(connect: &Connect, private: bool) -> Result<ClaimCheck, RefusalCode> {
    if !private {
        return Err(RefusalCode::ClaimInClear);
    }
    if connect.properties.text(PropertyId::AuthMethod).is_some() {
        return Err(RefusalCode::MethodNotSupported);
    }
    if connect.will.is_some() {
        return Err(RefusalCode::WillNotAuthorised);
    }
    let device = DeviceId::parse(&connect.client_id).map_err(|_| RefusalCode::ClientIdInvalid)?;
    let user = connect.user_name.as_deref().and_then(|user| user.strip_prefix(CLAIM_USER));
    let tenant = user.and_then(|rest| TenantId::parse(rest.strip_prefix('/')?).ok());
    let code = connect.password.as_ref().map(|password| std::str::from_utf8(password.expose()));
    let code = code.and_then(|code| ClaimCode::parse(code.ok()?));
    let (tenant, claim) = tenant.zip(code).ok_or(RefusalCode::ClaimUnknown)?;
    Ok(ClaimCheck { tenant, device, claim })
}

/// Whether the request is of the device and by the claim of the CONNECT.
///
/// # Errors
/// `client_id_mismatch`, `claim_mismatch`.
pub(crate) fn is_by(claim: &ClaimCheck, request: &EnrolRequest) -> Result<(), RefusalCode> {
    if (&request.tenant, &request.device) != (&claim.tenant, &claim.device) {
        return Err(RefusalCode::ClientIdMismatch);
    }
    match request.claim().and_then(ClaimCode::parse) {
        Some(code) if code == claim.claim => Ok(()),
        _ => Err(RefusalCode::ClaimMismatch),
    }
}
