//! Answers of provisioning, and the clock that its token sets.

use tessera_runtime::http::HttpError;
use tessera_runtime::random::SystemRandom;
use tessera_simulators::device::api::{ApiError, DeviceApi};
use tessera_simulators::device::clock::DeviceClock;
use tessera_simulators::device::credential::HeldToken;
use tessera_simulators::device::identity::Identity;
use tessera_simulators::device::unverified_claims::unverified_claims;
use tessera_token::claims::Claims;
use tessera_token::limits::PROOF_WINDOW_SECONDS;
use tessera_token::messages::TokenKind;

use super::super::enrol::clock as kept;
use super::super::folder::{Card, Folder};
use super::super::token::{kind, refresh};
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
            visit.bad("provisioning", trouble(&ApiError::Http(error)));
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
        ApiError::Http(HttpError::Tls(why)) => Trouble::ServiceTls(why.to_string()),
        other => Trouble::ServiceAway(other.to_string()),
    }
}

fn is_own_fault(code: tessera_token::refusal::RefusalCode) -> bool {
    use tessera_token::refusal::RefusalCode::{ClockWrong, Internal};
    matches!(code, ClockWrong | Internal)
}

/// Compares the clock that the folder kept with the one that the new token set. One that is wrong is corrected as a
/// refresh does it: token and correction are kept together, because nothing may be signed for an earlier token by the time
/// of a later one, which nothing here can verify. The token that the folder has then.
pub(super) async fn clock(
    visit: &mut Visit,
    folder: &Folder,
    card: &Card,
    clock: &DeviceClock,
    signed: bool,
) -> Option<HeldToken> {
    let machine = match clock.hint() {
        wrong if wrong.unsigned_abs() > SAME_SECONDS => {
            format!("this machine's clock is {}", off(wrong))
        }
        _ => "this machine's clock agrees with provisioning".to_owned(),
    };
    if !signed {
        // The time of a refusal is not signed: a hint in words, and no time to sign for.
        visit.good("clock", format!("{machine} (by its unsigned word)"));
        return None;
    }
    let late = clock.correction().saturating_sub(card.clock_correction);
    if late.unsigned_abs() <= PROOF_WINDOW_SECONDS {
        let kept = match late {
            late if late.unsigned_abs() > SAME_SECONDS => {
                format!("that of the folder is {}: within the window of a proof", off(late))
            }
            _ => "proofs go by the one of provisioning".to_owned(),
        };
        visit.good("clock", format!("{machine}; {kept}"));
        return None;
    }
    // By the kept clock: its time is refused, and a nonce is signed in its place.
    match refresh(folder, card, &kept(card), kind(folder)).await {
        Ok(token) => {
            visit.bad("clock", Trouble::KeptClock(late));
            Some(token)
        }
        Err(fault) => {
            visit.bad("clock", of_fault(&fault, "make the folder writable for you"));
            None
        }
    }
}
