//! The answer to a CONNECT that is refused.

use std::time::Duration;

use tessera_token::ace::AS_HINT;
use tessera_token::chain::{Refusal, Subject};
use tessera_token::grant::Grant;
use tessera_token::refusal::RefusalCode;

use super::challenge::Method;
use super::guess::{self, Wait};
use super::{credentials, disconnect, Origin};
use crate::authentication::response;
use crate::codec::{ConnAck, Connect, Properties, PropertyId, ReasonCode, Recipient};
use crate::hub::Hub;
use crate::limits::DOOR_SLOW;
use crate::refusals::{Refusal as Told, What};
use crate::session::state_machine::reason_string;
use crate::transport::Stream;

/// A CONNECT that is not let in.
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    /// The client has proved the key of its token, so that it may learn the reason.
    proved: bool,
    reason: ReasonCode,
}

impl Refused {
    /// Before the client has proved anything.
    pub(super) fn unproved(refusal: impl Into<Refusal>) -> Self {
        let refusal = refusal.into();
        let reason = response::connack_reason(refusal.code);
        Self { refusal, proved: false, reason }
    }

    /// The same with this reason code.
    pub(super) fn with(self, reason: ReasonCode) -> Self {
        Self { reason, ..self }
    }

    /// After authentication.
    pub(super) fn proved(code: RefusalCode, grant: &Grant) -> Self {
        let subject = Subject { tenant: grant.tenant().clone(), device: grant.device().clone() };
        let reason = response::connack_reason(code);
        Self { refusal: Refusal { code, subject: Some(subject) }, proved: true, reason }
    }

    /// Holds the answer back when the peer has proved nothing, logs the true reason, and writes the CONNACK.
    pub(super) async fn answer(
        mut self,
        hub: &Hub,
        stream: &mut Stream,
        connect: &Connect,
        origin: Origin,
        (accepted, began): (Duration, Duration),
    ) {
        let spent = hub.clock.monotonic().saturating_sub(began);
        let is_guess = !self.proved && self.refusal.code.is_of_a_guess();
        let wait = match is_guess {
            true => guess::note(hub, &self.refusal, connect, origin),
            false => Wait::AsUsual,
        };
        let place = match wait {
            Wait::Slow(place) => Some(place),
            Wait::Busy => {
                self.reason = ReasonCode::SERVER_BUSY;
                None
            }
            Wait::AsUsual => None,
        };
        if !self.proved {
            let slow = place.as_ref().map_or(Duration::ZERO, |_| DOOR_SLOW);
            tokio::time::sleep(slow + response::hold_back(spent)).await;
        }
        drop(place);
        note_refused(hub, &self, origin, &connect.client_id, accepted);
        let explain = self.proved && hub.policy.reason_strings && wants_words(connect);
        let code = self.refusal.code;
        let properties = if explain { reason_string(code) } else { Properties::new() };
        let properties = hint(hub, connect, properties);
        let ack = ConnAck { session_present: false, reason: self.reason, properties };
        disconnect::refuse_connect(stream, ack, Recipient::of(connect), !self.proved).await;
    }
}

/// Where tokens come from (RFC 9431 section 2.4.1), for clients that asked by enhanced authentication.
fn hint(hub: &Hub, connect: &Connect, properties: Properties) -> Properties {
    match hub.authenticator.hint() {
        Some(hint)
            if credentials::method(connect).is_some_and(|name| Method::of(name).is_some()) =>
        {
            let told = Properties::build().all_of(&properties).user(AS_HINT, hint);
            told.finish().unwrap_or(properties)
        }
        _ => properties,
    }
}

/// Whether the client allows Reason Strings (Request Problem Information).
pub(super) fn wants_words(connect: &Connect) -> bool {
    connect.properties.flag(PropertyId::RequestProblemInfo).unwrap_or(true)
}

/// Counts and logs the true reason. Claims without a verified signature are no identity and are not written.
fn note_refused(hub: &Hub, refused: &Refused, origin: Origin, client_id: &str, accepted: Duration) {
    let code = refused.refusal.code;
    hub.metrics.refusals.inc(&["connect", code.as_str()]);
    let took = hub.clock.monotonic().saturating_sub(accepted);
    hub.metrics.connect_seconds.observe(&["refused"], took.as_secs_f64());
    let mut line = Told::of(What::Connect, code.as_str(), origin.remote);
    if let Some(subject) = &refused.refusal.subject {
        if !code.is_of_a_restriction() {
            hub.observer.observe_refusal(subject, code, origin.network);
        }
        line = line.owner(&subject.tenant, &subject.device);
    }
    match refused.proved {
        true => line.client_id(client_id).tell(),
        false => line.shown_client_id(client_id).tell(),
    }
}
