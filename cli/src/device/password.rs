use std::time::Duration;

use serde_json::json;
use tessera_simulators::device::clock::DeviceClock;
use tessera_simulators::device::credential::HeldToken;
use tessera_token::encoding::{base64url, hex};
use tessera_token::ids::{ClientId, VerifierName};
use tessera_token::time::UnixSeconds;

use super::enrol::clock;
use super::folder::{Card, Folder};
use super::token::{kind, refresh};
use crate::args::PasswordArgs;
use crate::error::{Fault, Outcome};
use crate::output;

/// After it no proof of this second is made any more.
pub(super) const A_SECOND: Duration = Duration::from_secs(1);
/// After it all proofs are above the earlier ones, also when the answer between them has moved the clock: its time is a whole
/// second, and it was under way for a while, so that the clock may have gone back by so much.
pub(super) const AFTER_NEW_TOKEN: Duration = Duration::from_secs(3);
/// Seconds of life that a token must still have to be worth a password.
const MARGIN_SECONDS: u64 = 5;

pub(super) async fn run(args: PasswordArgs) -> Outcome {
    let folder = Folder::of(&args.folder);
    let card = folder.card()?;
    let client_id = args.client_id.as_deref().unwrap_or(&card.device);
    let password = make(&folder, &card, client_id, args.verifier.as_ref()).await?;
    let text = match args.hex {
        true => hex::encode(password),
        false => base64url(&password),
    };
    let object = json!({ "client_id": client_id, "user_name": card.device, "password": text });
    output::result(args.json, &text, &object);
    Ok(0)
}

/// A password for one CONNECT with a token that is good for a while yet.
pub(super) async fn make(
    folder: &Folder,
    card: &Card,
    client_id: &str,
    verifier: Option<&VerifierName>,
) -> Result<Vec<u8>, Fault> {
    let client = ClientId::parse(client_id)?;
    if client.subject() != card.device {
        return Err(Fault::new(format!("{client_id} is no client id of {}", card.device))
            .hint(format!("use {0} or {0}~suffix", card.device)));
    }
    let clock = clock(card);
    let token = good_token(folder, card, &clock).await?;
    let (now, counter) = place(folder, &clock).await?;
    let verifier = verifier.map_or(token.audience.as_str(), VerifierName::as_str);
    Ok(token.password_for(verifier, &folder.key()?, client_id, now, counter))
}

/// Time and counter of the next proof, above every earlier one.
pub(super) async fn place(
    folder: &Folder,
    clock: &DeviceClock,
) -> Result<(UnixSeconds, u32), Fault> {
    if folder.counter()?.is_none() {
        // The lost counter may have gone ahead of the time within this second, and orders the proofs of one second.
        tokio::time::sleep(A_SECOND).await;
    }
    let now = clock.now();
    Ok((now, folder.next_counter(now)?))
}

/// The token of the folder, renewed when less than a quarter of its life is left.
async fn good_token(folder: &Folder, card: &Card, clock: &DeviceClock) -> Result<HeldToken, Fault> {
    let held = folder.token();
    if let Ok(token) = &held {
        if token.is_good(clock.now(), MARGIN_SECONDS.max(token.life() / 4)) {
            return held;
        }
    }
    match (refresh(folder, card, clock, kind(folder)).await, held) {
        // Provisioning may be away for a while: what is still good is good enough.
        (Err(_), Ok(token)) if token.is_good(clock.now(), MARGIN_SECONDS) => Ok(token),
        (renewed, _) => renewed,
    }
}

#[cfg(test)]
mod tests {
    use tessera_runtime::clock::{Clock, SystemClock};
    use tessera_runtime::random::SystemRandom;
    use tessera_token::proof::Credential;

    use super::super::testing;
    use super::*;

    /// A folder with a token of which `left` of 100 seconds are left; provisioning is away.
    fn folder(left: u64) -> (tempfile::TempDir, Folder, Card) {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::create(dir.path()).unwrap();
        let card = Card {
            http: "http://127.0.0.1:1".into(),
            tenant: "t".into(),
            device: "d-1".into(),
            cafile: None,
            http_in_clear: false,
            clock_correction: 0,
        };
        let key = folder.key_or_new(&SystemRandom).unwrap();
        let expires = SystemClock::new().unix().plus(left);
        let claims = testing::claims(expires.minus(100), Some(key.public()));
        let bytes = testing::token(&claims);
        let audience = "mqtt".to_owned();
        let token = HeldToken {
            bytes,
            audience,
            received: expires.minus(100),
            expires,
            bearer: false,
            key: None,
        };
        folder.keep_card(&card).unwrap();
        folder.keep_token(&token).unwrap();
        (dir, folder, card)
    }

    #[tokio::test]
    async fn every_password_has_a_proof_of_its_own_for_its_client_id() {
        let (_dir, folder, card) = folder(90);
        let key = folder.key().unwrap().public();
        let mut last = 0;
        for client_id in ["d-1", "d-1~2", "d-1"] {
            let password = make(&folder, &card, client_id, None).await.unwrap();
            let credential = Credential::from_password(&password).unwrap();
            let proof = credential.proof.unwrap();
            assert!(proof.verifies(&key, "mqtt", client_id, &credential.token));
            assert!(proof.counter > last);
            last = proof.counter;
        }
    }

    #[tokio::test]
    async fn a_password_for_a_named_verifier_is_good_at_no_other() {
        let (_dir, folder, card) = folder(90);
        let key = folder.key().unwrap().public();
        let name = VerifierName::parse("gw-7").unwrap();
        let password = make(&folder, &card, "d-1", Some(&name)).await.unwrap();
        let Credential { token, proof } = Credential::from_password(&password).unwrap();
        let proof = proof.unwrap();
        assert!(proof.verifies(&key, "gw-7", "d-1", &token));
        assert!(!proof.verifies(&key, "mqtt", "d-1", &token));
    }

    #[tokio::test]
    async fn after_a_lost_counter_the_next_proof_is_above_all_that_were_made() {
        let (_dir, folder, card) = folder(90);
        let mut last = None;
        for lost in [false, false, false, true, false] {
            if lost {
                std::fs::remove_file(folder.path().join("counter")).unwrap();
            }
            let password = make(&folder, &card, "d-1", None).await.unwrap();
            let proof = Credential::from_password(&password).unwrap().proof.unwrap();
            assert!(Some(proof.place()) > last, "{proof:?}");
            assert!(u64::from(proof.counter) >= proof.time.get(), "{proof:?}");
            last = Some(proof.place());
        }
    }

    #[tokio::test]
    async fn another_devices_client_id_is_refused_here_already() {
        let (_dir, folder, card) = folder(90);
        for client_id in ["d-2", "d-1~", "d-1/x", "d-10"] {
            assert!(make(&folder, &card, client_id, None).await.is_err(), "{client_id}");
        }
        assert_eq!(folder.counter().unwrap(), None, "a refused password used a counter");
    }

    #[tokio::test]
    async fn what_is_still_good_is_good_enough_while_provisioning_is_away() {
        let (_dir, nearly_over, card) = folder(15);
        assert!(make(&nearly_over, &card, "d-1", None).await.is_ok());
        let (_dir, over, card) = folder(0);
        assert!(make(&over, &card, "d-1", None).await.is_err());
    }
}
