//! What provisioning says, and the clock that its token sets.

use tessera_runtime::random::SystemRandom;
use tessera_simulators::device::api::{ApiError, DeviceApi};
use tessera_simulators::device::clock::DeviceClock;
use tessera_simulators::device::credential::HeldToken;
use tessera_simulators::device::identity::Identity;
use tessera_simulators::device::peek::unverified_claims;
use tessera_token::claims::Claims;
use tessera_token::limits::PROOF_WINDOW_SECONDS;
use tessera_token::messages::TokenKind;

use super::super::folder::{Card, Folder};
use super::cure::off;
use super::home::of_fault;
use super::trouble::Trouble;
use super::visit::Visit;

/// Seconds by which two clocks may differ before it is worth a word.
const SAME_SECONDS: u64 = 2;

/// A token that provisioning gave just now. The folder does not keep it.
pub(super) struct Fresh {
    pub(super) token: HeldToken,
    pub(super) claims: Claims,
}

/// Asks provisioning for the standing of the device: the truest answer about revocation is whether it gives a token.
pub(super) async fn standing(
    visit: &mut Visit,
    card: &Card,
    identity: &Identity,
    clock: &DeviceClock,
) -> Option<Fresh> {
    let api = match card.api() {
        Ok(api) => api,
        Err(error) => {
            visit.bad("provisioning", Trouble::ServiceAway(error.to_string()));
            return None;
        }
    };
    if let Err(error) = api.nonce(clock).await {
        visit.bad("provisioning", trouble(&error));
        return None;
    }
    visit.good("provisioning", format!("{} answers", card.http));
    ask(visit, &api, identity, clock).await
}

async fn ask(
    visit: &mut Visit,
    api: &DeviceApi,
    identity: &Identity,
    clock: &DeviceClock,
) -> Option<Fresh> {
    // Bound to the device's key, whatever the folder holds: it tells a fault of the token from one of the key.
    let answer = match api.token(identity, clock, &SystemRandom, TokenKind::Key).await {
        Ok(answer) => answer,
        Err(error) => {
            visit.bad("standing", trouble(&error));
            return None;
        }
    };
    visit.good("standing", "provisioning knows the key and gives it tokens");
    let claims = unverified_claims(&answer.access_token)?;
    Some(Fresh { token: HeldToken::of(&answer), claims })
}

/// A refusal, or the silence, of provisioning.
fn trouble(error: &ApiError) -> Trouble {
    match error {
        ApiError::Refused(code) if error.is_temporary() || is_own_fault(*code) => {
            Trouble::ServiceBusy(*code)
        }
        ApiError::Refused(code) => Trouble::Standing(*code),
        other => Trouble::ServiceAway(other.to_string()),
    }
}

fn is_own_fault(code: tessera_token::refusal::RefusalCode) -> bool {
    use tessera_token::refusal::RefusalCode::{ClockWrong, Internal};
    matches!(code, ClockWrong | Internal)
}

/// Compares the clock that the folder kept with the one that the new token set, and keeps the latter.
pub(super) fn clock(
    visit: &mut Visit,
    folder: &Folder,
    card: &Card,
    clock: &DeviceClock,
    signed: bool,
) {
    let machine = match clock.hint() {
        off @ (1.. | ..=-1) if off.unsigned_abs() > SAME_SECONDS => {
            format!("this machine's clock is {}", self::off(off))
        }
        _ => "this machine's clock agrees with provisioning".to_owned(),
    };
    if !signed {
        // The time of a refusal is not signed: a hint in words, and no time to sign for.
        visit.good("clock", format!("{machine} (by its unsigned word)"));
        return;
    }
    let late = clock.correction().saturating_sub(card.clock_correction);
    if late.unsigned_abs() > SAME_SECONDS {
        let kept = Card { clock_correction: clock.correction(), ..card.clone() };
        if let Err(fault) = folder.keep_card(&kept) {
            visit.bad("clock", of_fault(&fault, "make the folder writable for you"));
            return;
        }
    }
    match late.unsigned_abs() > PROOF_WINDOW_SECONDS {
        true => visit.bad("clock", Trouble::KeptClock(late)),
        false => visit.good("clock", format!("{machine}; proofs go by the one of provisioning")),
    }
}
