//! The connect of a visit, with what was asked for. A refusal that nothing explains is explained by
//! [`super::experiment`].

use std::sync::Arc;

use tessera_simulators::device::clock::DeviceClock;
use tessera_simulators::device::credential::HeldToken;
use tessera_simulators::limits;
use tessera_simulators::mqtt::{Broker, Closed, Connect, Link, Obstacle, Session, Told, Version};
use tessera_token::encoding::base64url;
use tessera_token::ids::VerifierName;
use tessera_token::key::SecretKey;

use super::super::end::End;
use super::super::folder::Folder;
use super::super::password::{place, A_SECOND};
use super::password::Shown;
use super::service::Fresh;
use super::trouble::{Bearer, BrokerFault, ProofFault, TokenFault, Trouble};
use super::visit::Visit;

/// The clocks of a visit.
pub(super) struct Clocks {
    /// The clock of the tokens that the device had: proofs for them are signed by no other.
    pub(super) kept: Arc<DeviceClock>,
    /// The clock by the new token, for proofs of that one alone: a device cannot verify a token, so the time in it may
    /// be a stranger's.
    pub(super) told: Arc<DeviceClock>,
    /// Whether the folder's token and clock were replaced in this visit.
    pub(super) is_corrected: bool,
}

/// The device at the door of the broker.
pub(super) struct Door<'a> {
    pub(super) broker: Broker,
    pub(super) client_id: String,
    pub(super) verifier: Option<VerifierName>,
    pub(super) folder: &'a Folder,
    pub(super) key: SecretKey,
    pub(super) clocks: Clocks,
    /// The token of the folder, or the new one when the folder has none.
    pub(super) token: Option<HeldToken>,
    pub(super) fresh: Option<Fresh>,
    pub(super) shown: Option<Shown>,
    /// Parts of the given password that are foreign to the folder: its key proves nothing for that.
    pub(super) foreign: Option<TokenFault>,
    /// Suspected fault of its proof.
    pub(super) proof: Option<ProofFault>,
    pub(super) v5_alone: bool,
    pub(super) counter_lost: bool,
}

/// Message of a CONNACK beside a refusal of the credential.
fn fault_of(reason: &str) -> Option<BrokerFault> {
    match Told::of(reason) {
        Told::Unauthorised => None,
        Told::Busy => Some(BrokerFault::Busy),
        Told::NotReady => Some(BrokerFault::NotReady),
        Told::Share => Some(BrokerFault::Share),
        Told::Other => Some(BrokerFault::Foreign(reason.to_owned())),
    }
}

impl Door<'_> {
    /// Connects as asked. A refusal is explained.
    pub(super) async fn enter(&self, visit: &mut Visit) -> Option<Link> {
        let entered = match (&self.shown, &self.token) {
            (Some(shown), _) => self.connect_shown(shown).await,
            (None, Some(token)) => self.connect_twice(visit, token).await,
            (None, None) => return None,
        };
        let end = match entered {
            Ok(link) => {
                visit.good("broker", format!("{} accepts the password", self.broker));
                return Some(link);
            }
            Err(end) => end,
        };
        if let Some(fault) = &self.proof {
            visit.bad("proof", Trouble::Proof(fault.clone()));
        }
        match end {
            End::Fault(fault) => visit
                .bad("broker", super::home::of_fault(&fault, "make the folder writable for you")),
            End::Closed(Closed::NotOpened(obstacle, why)) => {
                visit.bad("broker", Trouble::Unreachable(obstacle, why));
            }
            End::Closed(Closed::Refused(reason)) => match fault_of(&reason) {
                Some(fault) => visit.bad("broker", Trouble::Broker(fault)),
                None => self.explain(visit, &reason).await,
            },
            End::Closed(other) => {
                visit.bad("broker", Trouble::Unreachable(Obstacle::Closed, other.to_string()));
            }
        }
        None
    }

    /// Once more a second later, when nothing explains a refusal: an old copy of the counter has healed itself by then.
    async fn connect_twice(&self, visit: &mut Visit, token: &HeldToken) -> Result<Link, End> {
        let first = self.connect_by(token, &self.client_id).await;
        match &first {
            Err(End::Closed(Closed::Refused(reason)))
                if Told::of(reason) == Told::Unauthorised && !is_explained(visit) => {}
            _ => return first,
        }
        tokio::time::sleep(A_SECOND).await;
        let second = self.connect_by(token, &self.client_id).await;
        if second.is_ok() {
            visit.note("counter", "the proof counter was old: it goes on from the time");
        }
        second
    }

    async fn explain(&self, visit: &mut Visit, told: &str) {
        if is_explained(visit) {
            let words = format!("{} refuses ({told}), as the above explains", self.broker);
            visit.tried("broker", false, &words);
            return;
        }
        visit.tried("broker", false, &format!("{} refuses ({told})", self.broker));
        if let Some(fault) = &self.foreign {
            return visit.bad("reason", Trouble::Token(Bearer::Password, fault.clone()));
        }
        let reason = self.experiment(visit).await;
        visit.bad("reason", Trouble::Refused(reason));
    }

    /// By a new proof of this token: MQTT 5 tells more, 3.1.1 is spoken where the broker does not speak it.
    pub(super) async fn connect_by(&self, token: &HeldToken, client_id: &str) -> Result<Link, End> {
        match self.open_by(token, client_id, Version::V5).await {
            Err(End::Closed(closed)) if self.may_be_older(&closed) => {
                older(closed, self.open_by(token, client_id, Version::V311).await)
            }
            opened => opened,
        }
    }

    async fn open_by(&self, token: &HeldToken, id: &str, version: Version) -> Result<Link, End> {
        let is_fresh = |fresh: &Fresh| fresh.token.bytes == token.bytes;
        let clock = match self.fresh.as_ref().is_some_and(is_fresh) {
            true => &self.clocks.told,
            false => &self.clocks.kept,
        };
        let (now, counter) = place(self.folder, clock).await.map_err(End::Fault)?;
        let verifier = self.verifier.as_ref().map_or(token.audience.as_str(), VerifierName::as_str);
        let raw = token.password_for(verifier, &self.key, id, now, counter);
        Ok(Link::open(&self.packet(id, base64url(&raw), version)).await?)
    }

    /// With the password that was given.
    async fn connect_shown(&self, shown: &Shown) -> Result<Link, End> {
        let open = |version| {
            let packet = self.packet(&self.client_id, shown.text(), version);
            async move { Ok(Link::open(&packet).await?) }
        };
        match open(Version::V5).await {
            Err(End::Closed(closed)) if self.may_be_older(&closed) => {
                older(closed, open(Version::V311).await)
            }
            opened => opened,
        }
    }

    /// Whether a broker that speaks 3.1.1 alone may have answered: its CONNACK is none of MQTT 5.
    fn may_be_older(&self, closed: &Closed) -> bool {
        !self.v5_alone
            && match closed {
                Closed::Refused(reason) => reason == "unsupported_protocol_version",
                Closed::NotOpened(obstacle, _) => *obstacle == Obstacle::NotMqtt,
                _ => false,
            }
    }

    pub(super) fn packet(&self, client_id: &str, password: String, version: Version) -> Connect {
        let username = client_id.split('~').next().unwrap_or(client_id).to_owned();
        Connect {
            broker: self.broker.clone(),
            client_id: client_id.to_owned(),
            username,
            password,
            version,
            keep_alive: limits::KEEP_ALIVE,
            session: Session::default(),
        }
    }
}

/// Whether a step before explains that the credential is refused.
fn is_explained(visit: &Visit) -> bool {
    visit.has(|trouble| {
        matches!(
            trouble,
            Trouble::ClientIdBad
                | Trouble::ClientIdForeign(_)
                | Trouble::Standing(_)
                | Trouble::Token(..)
                | Trouble::Proof(_)
        )
    })
}

/// Outcome of 3.1.1; the first end when that did not get further.
fn older(first: Closed, second: Result<Link, End>) -> Result<Link, End> {
    match second {
        Err(End::Closed(Closed::NotOpened(..))) => Err(End::Closed(first)),
        second => second,
    }
}
