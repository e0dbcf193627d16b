//! Restrictions beside the rights of tokens, as the trust data have them now.

use std::sync::Arc;

use tessera_behaviour::observation::SubjectKind;
use tessera_rules::attributes::{Attributes, Event, Moment, Session};
use tessera_rules::rule::Action;
use tessera_rules::set::Picked;
use tessera_token::grant::Grant;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;
use tessera_token::trust::Step;

use super::Validator;
use crate::limits;
use crate::rulebook::Rulebook;
use crate::trust::Restrained;

impl Validator {
    /// The rules of a tenant; `None` without any.
    pub fn rulebook(&self, tenant: &TenantId) -> Option<Arc<Rulebook>> {
        self.parts.trust.load().rulebook(tenant).cloned()
    }

    /// The rules of every tenant that has some.
    pub fn rulebooks(&self) -> Vec<(TenantId, Arc<Rulebook>)> {
        let trust = self.parts.trust.load();
        trust.rulebooks().map(|(tenant, book)| (tenant.clone(), Arc::clone(book))).collect()
    }

    /// The last word of the trust data about how a device is held back; it may be over.
    pub fn restrained(&self, tenant: &TenantId, device: &DeviceId) -> Option<Restrained> {
        self.parts.trust.load().restrained(tenant, device)
    }

    /// The name of a group; its number as a text when the name is not known here.
    pub fn group_name(&self, tenant: &TenantId, number: u64) -> Arc<str> {
        let trust = self.parts.trust.load();
        trust.group_name(tenant, number).cloned().unwrap_or_else(|| number.to_string().into())
    }
}

/// An action of a device, as far as rules and restraints ask it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The grant.
    pub grant: &'a Grant,
    /// The client id.
    pub client_id: &'a str,
    /// The address of the peer, empty when it is not known.
    pub network: &'a str,
    /// When the peer proved its key; `None` when it shows a bearer token.
    pub proved: Option<UnixSeconds>,
    /// The action.
    pub event: Event<'a>,
}

impl Validator {
    /// Asks restraints and rules, for a verifier that keeps no state of its own about devices: it refuses, and holds no device
    /// back by itself.
    ///
    /// # Errors
    /// `quarantined`, `step_up_required`, `rule_denied`.
    pub fn restricted(&self, asked: &Asked<'_>) -> Result<(), RefusalCode> {
        let (grant, now) = (asked.grant, self.now());
        let is_connect = matches!(asked.event, Event::Connect(_));
        let is_fresh = |since: UnixSeconds| asked.proved.is_some_and(|proved| proved >= since);
        let held = self.restrained(grant.tenant(), grant.device()).filter(|held| now < held.until);
        match held.map(|held| (held.step, held.at)) {
            Some((Step::Quarantine, _)) if !is_connect => return Err(RefusalCode::Quarantined),
            Some((Step::StepUp, at)) if !is_fresh(at) => return Err(RefusalCode::StepUpRequired),
            _ => {}
        }
        let Some(book) = self.rulebook(grant.tenant()) else { return Ok(()) };
        let group = self.group_name(grant.tenant(), grant.epochs().group_number);
        let session = Session {
            tenant: grant.tenant().as_str(),
            device: grant.device().as_str(),
            group: &group,
            kind: match crate::behaviour::kind(grant) {
                SubjectKind::Device => "device",
                SubjectKind::Service => "service",
            },
            client_id: asked.client_id,
            network: asked.network,
            token_issued: Some(grant.issued()),
            token_expires: Some(grant.expires()),
            ..Session::default()
        };
        let moment = Moment { now, ..Moment::default() };
        let mut picked = Picked::default();
        let attributes = Attributes { session: &session, moment, event: asked.event };
        let verdicts = book.set().evaluate(&mut picked, &attributes);
        book.counters().add(&verdicts, now, |_| {});
        let fresh = now.minus(limits::FRESH_PROOF_SECONDS);
        match verdicts.strongest().map(|rule| rule.draft().action) {
            Some(Action::Deny) => Err(RefusalCode::RuleDenied),
            Some(Action::Quarantine) if !is_connect => Err(RefusalCode::Quarantined),
            Some(Action::StepUp) if !is_fresh(fresh) => Err(RefusalCode::StepUpRequired),
            _ => Ok(()),
        }
    }
}
