//! Restrictions of sessions: guards are made and renewed here, and what a rule asks for is done.

use std::sync::Arc;

use tessera_agent::trust::TrustEffect;
use tessera_agent::validator::restrictions::Circumstances;
use tessera_token::grant::Grant;
use tessera_token::ids::{ClientId, DeviceId, TenantId};
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::Step;

use super::Hub;
use crate::codec::ReasonCode;
use crate::guard::restraint::Hold;
use crate::guard::{Guard, Told};
use crate::session::state_machine::{End, Will};
use crate::session::{ConnectionHandle, Session};

impl Hub {
    /// How a device is held back now.
    pub(crate) fn hold(&self, tenant: &TenantId, device: &DeviceId) -> Hold {
        let told = self.authenticator.validator().restrained(tenant, device);
        self.restraints.of(tenant, device, told, self.now().unix)
    }

    /// The restrictions of a session with this grant on this connection; `None` without any.
    pub(crate) fn guard(
        &self,
        grant: &Grant,
        client_id: &ClientId,
        handle: &ConnectionHandle,
    ) -> Option<Arc<Guard>> {
        let validator = self.authenticator.validator();
        let book = validator.rulebook(grant.tenant());
        let hold = self.hold(grant.tenant(), grant.device());
        if book.is_none() && hold.step == Step::Released {
            return None;
        }
        let network = handle.remote().address.to_canonical().to_string();
        let of = Circumstances {
            client_id: client_id.as_str(),
            network: &network,
            proved: handle.proved(),
            is_partner: handle.partner().is_some(),
        };
        let clamp = match hold.step {
            Step::Clamp => {
                self.restraints.clamp(grant.tenant(), grant.device(), self.clock.monotonic())
            }
            _ => Arc::default(),
        };
        Guard::of(validator.subject(grant, of), book, hold, clamp)
    }

    /// Puts the restrictions of now on a session that this connection serves. A session that has to prove its key anew
    /// ends.
    pub(crate) fn restrict(&self, session: &Session, handle: &ConnectionHandle) {
        let make = || self.guard(session.rights().grant(), &session.client_id, handle);
        let hold = session.guard_by(make).as_deref().map(Guard::hold).unwrap_or_default();
        if hold.is(Step::StepUp, self.now().unix) && handle.proved_at() < hold.at {
            let code = RefusalCode::StepUpRequired;
            self.metrics.refusals.inc(&["session", code.as_str()]);
            handle.end(End::refused(ReasonCode::NOT_AUTHORIZED, code));
        }
    }

    /// Renews the restrictions of the sessions that a change of trust data may concern.
    pub(crate) fn restrict_after(&self, effect: &TrustEffect) {
        let sessions = match effect {
            TrustEffect::Rules(tenant) => self.registry.of_tenant(tenant),
            TrustEffect::Restraint { tenant, device } => self.registry.of_device(tenant, device),
            TrustEffect::Group { tenant, number } => self.registry.of_group(tenant, *number),
            TrustEffect::Reloaded => self.registry.all(),
            TrustEffect::Tenant(_)
            | TrustEffect::Device { .. }
            | TrustEffect::Key { .. }
            | TrustEffect::Token { .. } => return,
        };
        self.restrict_all(&sessions);
    }

    fn restrict_all(&self, sessions: &[Arc<Session>]) {
        for session in sessions {
            match session.served_by() {
                Some(handle) => self.restrict(session, &handle),
                // The next connection brings its own; a will asks anew.
                None => drop(session.guard_by(|| None)),
            }
        }
    }

    /// Whether rules and restraints let the will of a session pass: it may have no connection any more.
    ///
    /// # Errors
    /// The code of the restriction.
    pub(crate) fn will_may_pass(&self, session: &Session, will: &Will) -> Result<(), RefusalCode> {
        let handle = session.served_by().unwrap_or_default();
        let rights = session.rights();
        let Some(guard) = self.guard(rights.grant(), &session.client_id, &handle) else {
            return Ok(());
        };
        let form = (will.payload.len(), will.qos, will.retain);
        let ruling = guard.message(will.topic.as_str(), form, &will.properties, self.now().unix);
        if let Some(told) = ruling.told {
            self.follow_rule(&session.tenant, session.device.device(), &told);
        }
        ruling.refusal.map_or(Ok(()), Err)
    }

    /// Tells of the match of a rule, and holds the device back when the rule says so. False when there is no room for
    /// that: then the rule holds for the present event alone.
    pub(crate) fn follow_rule(&self, tenant: &TenantId, device: &DeviceId, told: &Told) -> bool {
        let action = told.action.as_str();
        self.metrics.rule_matches.inc(&[action]);
        tracing::info!(%tenant, %device, rule = told.rule, action, "a rule holds");
        let Some(step) = told.step else { return true };
        if !self.restraints.raise(tenant, device, step, self.now().unix) {
            self.metrics.limits_hit.inc(&["restraints"]);
            return false;
        }
        self.restrict_all(&self.registry.of_device(tenant, device));
        true
    }
}
