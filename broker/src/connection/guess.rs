//! A CONNECT whose credential was wrong: counted for its address prefix, told to behaviour tracking, and answered slowly while
//! the prefix has a step ([`crate::admission`]).

use tessera_agent::behaviour::{Mark, Refused as Stranger};
use tessera_token::ace::{self, AuthData};
use tessera_token::chain::Refusal;
use tessera_token::refusal::RefusalCode;

use super::Origin;
use crate::admission::{Guess, Step, WaitingAnswer};
use crate::codec::{Connect, PropertyId};
use crate::hub::Hub;
use crate::limits::DOOR_STEP;

/// When the answer is sent.
pub(super) enum Wait {
    /// As that of any other refusal.
    AsUsual,
    /// Later; the place is given back then.
    Slow(WaitingAnswer),
    /// As usual, and without a word about the credential: too many wait.
    Busy,
}

/// Counts the credential, and tells it when it is another one.
pub(super) fn note(hub: &Hub, refusal: &Refusal, connect: &Connect, origin: Origin) -> Wait {
    let (credential, name) = (mark(hub, connect), name(refusal.code, connect));
    let pair = hub.observer.mark_of_pair(name, credential).number();
    let guess = Guess { credential: credential.number(), pair };
    let counted = hub.admission.guessed(origin.prefix, guess, hub.clock.monotonic());
    hub.metrics.guesses.inc(&[if counted.is_new { "new" } else { "again" }]);
    if counted.is_new && refusal.subject.is_none() {
        let tenant = hub.authenticator.validator().sole_tenant();
        hub.observer.observe_stranger(&Stranger {
            tenant: tenant.as_ref(),
            code: refusal.code,
            network: origin.network,
            name,
            credential,
        });
    }
    if let Some(pairs) = counted.began {
        hub.metrics.door_steps.inc(&[counted.step.as_str()]);
        tracing::warn!(
            network = %origin.prefix, step = counted.step.as_str(), pairs, seconds = DOOR_STEP.as_secs(),
            "many wrong credentials from one network: its wrong answers wait, good ones are let in"
        );
    }
    if counted.step == Step::Open {
        return Wait::AsUsual;
    }
    hub.admission.wait(origin.prefix).map_or_else(
        || {
            hub.metrics.limits_hit.inc(&["door_waiting"]);
            Wait::Busy
        },
        Wait::Slow,
    )
}

/// The mark of the credential: of the token alone, when there is one, since an honest device makes a new proof each time.
fn mark(hub: &Hub, connect: &Connect) -> Mark {
    if let Some(data) = connect.properties.binary(PropertyId::AuthData) {
        return match AuthData::parse(&data) {
            Ok(AuthData::Token(token) | AuthData::Proved { token, .. }) => {
                hub.observer.mark_of(&token)
            }
            _ => hub.observer.mark_of(&data),
        };
    }
    if let Some(Ok(Some(token))) = connect.user_name.as_deref().map(ace::from_username) {
        return hub.observer.mark_of(&token);
    }
    let password = connect.password.as_ref();
    password.map_or(Mark::NONE, |password| hub.observer.mark_of_password(password.expose()))
}

/// The name that was asked for. A peer without any token may choose a client id for each connection: its user name is the
/// one that stays.
fn name(code: RefusalCode, connect: &Connect) -> &str {
    let is_token = !matches!(
        code,
        RefusalCode::CredentialMissing
            | RefusalCode::CredentialMalformed
            | RefusalCode::TokenMalformed
            | RefusalCode::TokenForm
    );
    let user = connect.user_name.as_deref().filter(|user| !is_token && !user.is_empty());
    user.unwrap_or(&connect.client_id)
}
