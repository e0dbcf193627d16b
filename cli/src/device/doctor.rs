//! Finds out why a device is refused. The wire tells no reason before a proof holds, so every step that the broker
//! would take is taken here first, with the device's own knowledge, and provisioning is asked for the rest.

use tessera_runtime::random::SystemRandom;
use tessera_simulators::device::api::ApiError;
use tessera_simulators::device::clock::DeviceClock;
use tessera_simulators::device::peek::unverified_claims;
use tessera_simulators::wire::{Closed, Link};
use tessera_token::claims::Epochs;
use tessera_token::limits::PROOF_WINDOW_SECONDS;
use tessera_token::messages::TokenKind;
use tessera_token::proof::Credential;
use tessera_token::refusal::RefusalCode;
use tessera_token::text::from_base64url;

use super::connect::prepare;
use super::enrol::clock;
use super::folder::{Card, Folder};
use crate::args::ConnectArgs;
use crate::fault::{Fault, Outcome};
use crate::{out, when};

/// Finding of one step.
enum Finding {
    Good(String),
    /// A code when the broker or provisioning would refuse for it, and what to do.
    Bad(Option<RefusalCode>, String),
}

/// A visit: steps, and whether all went well.
struct Visit {
    good: bool,
}

impl Visit {
    fn step(&mut self, name: &str, finding: Finding) -> bool {
        match finding {
            Finding::Good(words) => {
                out::line(&format!("ok    {name:<14} {words}"));
                true
            }
            Finding::Bad(code, words) => {
                self.good = false;
                out::line(&format!("FAIL  {name:<14} {words}"));
                if let Some(code) = code {
                    out::line(&format!("      {:<14} {code}: {}", "", code.words()));
                }
                false
            }
        }
    }
}

pub(super) async fn run(args: ConnectArgs) -> Outcome {
    let folder = Folder::of(&args.folder);
    let mut visit = Visit { good: true };
    let card = match folder.card() {
        Ok(card) => card,
        Err(fault) => {
            visit.step("folder", Finding::Bad(None, fault.to_string()));
            return Ok(1);
        }
    };
    let who = format!("{} of tenant {} at {}", card.device, card.tenant, card.http);
    visit.step("folder", Finding::Good(who));
    visit.step("key", key(&folder));
    let clock = clock(&card);
    let mut fresh = None;
    if visit.step("provisioning", reachable(&card, &clock).await) {
        visit.step("clock", clock_right(&clock));
        let (finding, epochs) = standing(&folder, &card, &clock).await;
        visit.step("standing", finding);
        fresh = epochs;
    }
    visit.step("token", token(&folder, &card, &clock, fresh));
    visit.step("broker", broker(&folder, &card, &args).await);
    out::line(if visit.good { "the device is well" } else { "see the first FAIL above" });
    Ok(u8::from(!visit.good))
}

fn key(folder: &Folder) -> Finding {
    match (folder.key(), folder.key_mode()) {
        (Err(fault), _) | (_, Err(fault)) => Finding::Bad(None, fault.to_string()),
        (Ok(_), Ok(mode)) if mode & 0o077 != 0 => Finding::Bad(
            None,
            format!(
                "others can read the key (mode {mode:o}): chmod 600 {}/device.key",
                folder.path().display()
            ),
        ),
        (Ok(key), Ok(_)) => {
            let thumbprint = key.public().thumbprint();
            Finding::Good(format!("readable by you alone, thumbprint {thumbprint:?}"))
        }
    }
}

async fn reachable(card: &Card, clock: &DeviceClock) -> Finding {
    let api = match card.api() {
        Ok(api) => api,
        Err(error) => return Finding::Bad(None, error.to_string()),
    };
    match api.nonce(clock).await {
        Ok(_) => Finding::Good(format!("{} answers", card.http)),
        Err(error) => refusal(&error),
    }
}

fn clock_right(clock: &DeviceClock) -> Finding {
    // The time of provisioning is not signed: a hint in words, and no time to sign for.
    let off = clock.hint();
    let words = match off {
        -2..=2 => "this machine's clock agrees with provisioning".to_owned(),
        _ => format!(
            "this machine's clock is {} {}",
            when::span(off.unsigned_abs()),
            if off > 0 { "late" } else { "early" }
        ),
    };
    match off.unsigned_abs() > PROOF_WINDOW_SECONDS {
        true => Finding::Bad(
            Some(RefusalCode::ProofNotFresh),
            format!("{words}; `tessera device` corrects for it, other clients on this machine do not need the clock"),
        ),
        false => Finding::Good(words),
    }
}

/// Whether provisioning would still give this device a token, and under which epochs: the truest answer about
/// revocation.
async fn standing(folder: &Folder, card: &Card, clock: &DeviceClock) -> (Finding, Option<Epochs>) {
    let asked = async {
        let identity = folder.identity(card)?;
        let api = card.api()?;
        Ok::<_, Fault>(api.token(&identity, clock, &SystemRandom, TokenKind::Key).await)
    };
    match asked.await {
        Ok(Ok(answer)) => {
            let epochs = unverified_claims(&answer.access_token).map(|claims| claims.epochs);
            (Finding::Good("provisioning knows the key and gives it tokens".to_owned()), epochs)
        }
        Ok(Err(error)) => (refusal(&error), None),
        Err(fault) => (Finding::Bad(None, fault.to_string()), None),
    }
}

/// The epoch that has moved on since `held` was issued.
fn moved_on(held: Epochs, fresh: Epochs) -> Option<RefusalCode> {
    if held.tenant < fresh.tenant {
        return Some(RefusalCode::TenantEpoch);
    }
    if held.group_number == fresh.group_number && held.group < fresh.group {
        return Some(RefusalCode::GroupEpoch);
    }
    (held.device < fresh.device).then_some(RefusalCode::DeviceEpoch)
}

fn refusal(error: &ApiError) -> Finding {
    match error {
        ApiError::Refused(code) => Finding::Bad(Some(*code), "provisioning refuses".to_owned()),
        other => Finding::Bad(None, other.to_string()),
    }
}

/// The broker's own checks of the token, as far as the device can make them.
fn token(folder: &Folder, card: &Card, clock: &DeviceClock, fresh: Option<Epochs>) -> Finding {
    let (token, key) = match (folder.token(), folder.key()) {
        (Ok(token), Ok(key)) => (token, key),
        (Err(fault), _) | (_, Err(fault)) => return Finding::Bad(None, fault.to_string()),
    };
    let Some(claims) = unverified_claims(&token.bytes) else {
        return Finding::Bad(Some(RefusalCode::TokenMalformed), "not readable".to_owned());
    };
    let now = clock.now();
    let bad = |code: RefusalCode, words: &str| Finding::Bad(Some(code), words.to_owned());
    if claims.expires <= now {
        return bad(RefusalCode::TokenExpired, "get a new one: tessera device token --refresh");
    }
    if claims.issued > now.plus(PROOF_WINDOW_SECONDS) {
        return bad(RefusalCode::TokenNotYetValid, "it was issued in the future");
    }
    if claims.device.as_str() != card.device {
        return bad(RefusalCode::ClientIdMismatch, "it names another device");
    }
    if let Some(code) = fresh.and_then(|fresh| moved_on(claims.epochs, fresh)) {
        return bad(code, "it was revoked; a new one is given: tessera device token --refresh");
    }
    match &claims.confirmation {
        Some(bound) if *bound != key.public() => {
            bad(RefusalCode::ProofInvalid, "it is bound to another key than the one in this folder")
        }
        _ => Finding::Good(format!("good for another {}", when::span(claims.expires.since(now)))),
    }
}

async fn broker(folder: &Folder, card: &Card, args: &ConnectArgs) -> Finding {
    let connect = match prepare(folder, card, args).await {
        Ok(connect) => connect,
        Err(fault) => return Finding::Bad(None, fault.to_string()),
    };
    let form = from_base64url(&connect.password).map(|raw| Credential::from_password(&raw));
    if let Some(Err(code)) = form {
        return Finding::Bad(Some(code), "the password is not in the right form".to_owned());
    }
    match Link::open(&connect).await {
        Ok(link) => {
            link.close().await;
            Finding::Good(format!("{} accepts the password", connect.broker))
        }
        Err(Closed::Refused(reason)) => Finding::Bad(
            None,
            format!(
                "{} refuses ({reason}). When all above is well: was a later proof of this key used already, from a copy of \
                 this folder or before this clock was set back (proof_replayed), has the broker just come back from a \
                 crash (proof_undecided: try again in a few seconds), does the broker trust another root key (key_unknown), or has it no fresh \
                 trust data (trust_stale)? Its log has the code.",
                connect.broker
            ),
        ),
        Err(closed) => Finding::Bad(None, format!("{closed}; is --mqtt right?")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_epoch_that_moved_is_named() {
        let held = Epochs { tenant: 1, group_number: 2, group: 3, device: 4 };
        assert_eq!(moved_on(held, held), None);
        let moved = |change: fn(&mut Epochs)| {
            let mut fresh = held;
            change(&mut fresh);
            moved_on(held, fresh)
        };
        assert_eq!(moved(|e| e.tenant = 2), Some(RefusalCode::TenantEpoch));
        assert_eq!(moved(|e| e.group = 4), Some(RefusalCode::GroupEpoch));
        assert_eq!(moved(|e| e.device = 5), Some(RefusalCode::DeviceEpoch));
        // In another group now: the counters of the two are not comparable.
        assert_eq!(moved(|e| (e.group_number, e.group) = (9, 9)), None);
    }
}
