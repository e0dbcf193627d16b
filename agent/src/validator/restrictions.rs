//! Restrictions beside the rights of tokens, as the trust data have them now: rules of tenants, and devices that are held
//! back. A broker keeps a guard for each session and asks its parts; a verifier without sessions of its own asks
//! [`Validator::restricted`].

use std::sync::Arc;

use crate::location::{Locator, Place};
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
use crate::behaviour;
use crate::limits;
use crate::rulebook::Rulebook;
use crate::trust::Restrained;

/// The proof that let a peer in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proved {
    /// None: a bearer token or a partner token.
    Nothing,
    /// A resumption secret.
    Resumption,
    /// A signature of the device key.
    Signature,
    /// A MAC of the symmetric key of its token.
    Mac,
}

impl Proved {
    /// The proof by the key of this grant's token.
    pub fn by_key_of(grant: &Grant) -> Self {
        match (grant.confirmation(), grant.derived_by()) {
            (None, _) => Self::Nothing,
            (Some(_), Some(_)) => Self::Mac,
            (Some(_), None) => Self::Signature,
        }
    }
}

/// The circumstances of a peer that its grant does not tell.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The client id.
    pub client_id: &'a str,
    /// The address as a text, empty when it is not known.
    pub network: &'a str,
    /// The proof that let it in.
    pub proved: Proved,
    /// Whether it came by a partner token.
    pub is_partner: bool,
}

/// The attributes of a peer for rules, which stay while its token and its connection stay.
pub struct Subject {
    tenant: TenantId,
    device: DeviceId,
    group: Arc<str>,
    kind: &'static str,
    client_id: Box<str>,
    network: Box<str>,
    place: Place,
    issued: UnixSeconds,
    expires: UnixSeconds,
    token_kind: &'static str,
    proof: &'static str,
    alg: &'static str,
}

impl Subject {
    fn new(grant: &Grant, group: Arc<str>, of: Circumstances<'_>, place: Place) -> Self {
        let token_kind = match Proved::by_key_of(grant) {
            _ if of.is_partner => "partner",
            Proved::Nothing => "bearer",
            Proved::Mac => "symmetric",
            Proved::Signature | Proved::Resumption => "pop",
        };
        Self {
            tenant: grant.tenant().clone(),
            device: grant.device().clone(),
            group,
            kind: match behaviour::kind(grant) {
                SubjectKind::Device => "device",
                SubjectKind::Service => "service",
            },
            client_id: of.client_id.into(),
            network: of.network.into(),
            place,
            issued: grant.issued(),
            expires: grant.expires(),
            token_kind,
            proof: match of.proved {
                Proved::Nothing => "none",
                Proved::Resumption => "resumption",
                Proved::Signature => "signature",
                Proved::Mac => "mac",
            },
            alg: match token_kind {
                "bearer" | "partner" => "none",
                "symmetric" => "HS256",
                _ if grant.is_p256() => "ES256",
                _ => "EdDSA",
            },
        }
    }

    /// As rules ask them.
    pub fn session(&self) -> Session<'_> {
        Session {
            tenant: self.tenant.as_str(),
            device: self.device.as_str(),
            group: &self.group,
            kind: self.kind,
            client_id: &self.client_id,
            network: &self.network,
            asn: self.place.asn,
            country: self.place.country(),
            token_issued: Some(self.issued),
            token_expires: Some(self.expires),
            token_kind: self.token_kind,
            proof: self.proof,
            alg: self.alg,
            ..Session::default()
        }
    }
}

/// A peer, as far as restraints and rules ask it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Its grant.
    pub grant: &'a Grant,
    /// The rest about it.
    pub of: Circumstances<'a>,
    /// When it was let in by that proof.
    pub since: UnixSeconds,
}

impl Asked<'_> {
    /// Whether its key was proved at this moment or later.
    fn is_fresh(&self, moment: UnixSeconds) -> bool {
        matches!(self.of.proved, Proved::Signature | Proved::Mac) && self.since >= moment
    }
}

impl Validator {
    /// From now on it knows where addresses are; the first call counts.
    pub(crate) fn set_locator(&self, locator: Locator) {
        let _ = self.parts.locator.set(locator);
    }

    /// Where addresses are.
    pub(crate) fn locator(&self) -> Option<&Locator> {
        self.parts.locator.get()
    }

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

    /// The attributes of a peer for rules. A group whose name is not known here has its number as a text.
    pub fn subject(&self, grant: &Grant, of: Circumstances<'_>) -> Subject {
        let number = grant.epochs().group_number;
        let name = self.parts.trust.load().group_name(grant.tenant(), number).cloned();
        let group = name.unwrap_or_else(|| number.to_string().into());
        let address = of.network.parse().ok();
        let place = self.locator().zip(address).map(|(locator, address)| locator.place(address));
        Subject::new(grant, group, of, place.unwrap_or_default())
    }

    /// Asks restraints alone. `acts`: it wants more than to be let in, which a quarantine allows.
    ///
    /// # Errors
    /// `quarantined`, `step_up_required`.
    pub fn not_held_back(&self, asked: &Asked<'_>, acts: bool) -> Result<(), RefusalCode> {
        let held = self.restrained(asked.grant.tenant(), asked.grant.device());
        match held.filter(|held| self.now() < held.until).map(|held| (held.step, held.at)) {
            Some((Step::Quarantine, _)) if acts => Err(RefusalCode::Quarantined),
            Some((Step::StepUp, at)) if !asked.is_fresh(at) => Err(RefusalCode::StepUpRequired),
            _ => Ok(()),
        }
    }

    /// Asks restraints and rules about an action, for a verifier that keeps no state of its own about devices: it refuses,
    /// and holds no device back by itself.
    ///
    /// # Errors
    /// `quarantined`, `step_up_required`, `rule_denied`.
    pub fn restricted(&self, asked: &Asked<'_>, event: Event<'_>) -> Result<(), RefusalCode> {
        let acts = !matches!(event, Event::Connect(_));
        self.not_held_back(asked, acts)?;
        let Some(book) = self.rulebook(asked.grant.tenant()) else { return Ok(()) };
        let (now, subject) = (self.now(), self.subject(asked.grant, asked.of));
        let session = subject.session();
        let moment = Moment { now, ..Moment::default() };
        let attributes = Attributes { session: &session, moment, event };
        let verdicts = book.judge(&mut Picked::default(), &attributes);
        let fresh = now.minus(limits::FRESH_PROOF_SECONDS);
        match verdicts.strongest().map(|rule| rule.draft().action) {
            Some(Action::Deny) => Err(RefusalCode::RuleDenied),
            Some(Action::Quarantine) if acts => Err(RefusalCode::Quarantined),
            Some(Action::StepUp) if !asked.is_fresh(fresh) => Err(RefusalCode::StepUpRequired),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    #[tokio::test]
    async fn the_attributes_of_a_peer_follow_its_token_and_its_proof() {
        let folder = tempfile::tempdir().unwrap();
        let world = World::new();
        let verifier = Verifier::trusting(folder.path(), &world);
        let password = world.password(&world.token(), NOW, 1);
        let grant = verifier.validator.admit(&password, DEVICE).await.unwrap().grant;
        assert_eq!(Proved::by_key_of(&grant), Proved::Signature);
        let read = |proved, is_partner| {
            let of = Circumstances { client_id: DEVICE, network: "192.0.2.7", proved, is_partner };
            let subject = verifier.validator.subject(&grant, of);
            let Session { token_kind, proof, alg, group, .. } = subject.session();
            [token_kind, proof, alg, group].map(str::to_owned)
        };
        let number = grant.epochs().group_number.to_string();
        let wanted = |kind, proof, alg| [kind, proof, alg, number.as_str()].map(str::to_owned);
        assert_eq!(read(Proved::Signature, false), wanted("pop", "signature", "EdDSA"));
        assert_eq!(read(Proved::Resumption, false), wanted("pop", "resumption", "EdDSA"));
        assert_eq!(read(Proved::Nothing, true), wanted("partner", "none", "none"));
    }

    #[tokio::test]
    async fn location_files_give_a_peer_its_system_and_its_country() {
        use crate::location::{testing, LocationFiles};

        let (folder, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let world = World::new();
        let verifier = Verifier::trusting(folder.path(), &world);
        let password = world.password(&world.token(), NOW, 1);
        let grant = verifier.validator.admit(&password, DEVICE).await.unwrap().grant;
        let read = |network| {
            let of = Circumstances {
                client_id: DEVICE,
                network,
                proved: Proved::Signature,
                is_partner: false,
            };
            let subject = verifier.validator.subject(&grant, of);
            let session = subject.session();
            (session.asn, session.country.to_owned())
        };
        assert_eq!(read("192.0.2.7"), (0, String::new()));
        let write = |name: &str, network: (_, _, _)| {
            let path = files.path().join(name);
            std::fs::write(&path, testing::file("Test", NOW, &[network])).unwrap();
            Some(path)
        };
        let net = [192, 0, 2, 0].into();
        let city = write("city", (net, 24, testing::city("DE", (52.5, 13.4), Some(20))));
        let asn = write("asn", (net, 24, testing::asn(64_500)));
        verifier.validator.set_locator(Locator::open(LocationFiles { city, asn }).unwrap());
        assert_eq!(read("192.0.2.7"), (64_500, "DE".to_owned()));
        for unknown in ["198.51.100.1", "2001:db8::1", ""] {
            assert_eq!(read(unknown), (0, String::new()), "{unknown}");
        }
    }
}
