//! The thief: holds a copy of another device's token, and of one whole password that the device has used.

use tessera_runtime::clock::SharedClock;
use tessera_token::encoding;
use tessera_token::key::SecretKey;
use tessera_token::proof::{ConnectProof, Credential};

use crate::device::credential::HeldToken;
use crate::mqtt::{Closed, Connect, Link, Version};
use crate::report::Tally;

/// The stolen token. No `Debug`: it holds a password.
#[derive(Clone)]
pub struct Loot {
    /// The victim's token.
    pub token: HeldToken,
    /// The verifier's name, when that is not the audience.
    pub verifier: Option<String>,
    /// A CONNECT that the victim made before, with its password.
    pub connect: Connect,
}

/// The outcome.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Theft {
    /// Attempts made.
    pub attempts: u32,
    /// Of them refused by CONNACK.
    pub refused: u32,
    /// Ways that let the thief in: none, or the product is broken.
    pub breaches: Vec<&'static str>,
}

/// Tries every way in once, under both versions of MQTT.
pub async fn attempt(loot: &Loot, own: &SecretKey, clock: &SharedClock, tally: &Tally) -> Theft {
    let mut theft = Theft::default();
    for version in [Version::V311, Version::V5] {
        for (way, password) in ways(loot, own, clock) {
            let connect = Connect { password, version, ..loot.connect.clone() };
            theft.attempts += 1;
            match Link::open(&connect).await {
                Ok(link) => {
                    theft.breaches.push(way);
                    link.close().await;
                }
                Err(closed) => {
                    theft.refused += u32::from(matches!(closed, Closed::Refused(_)));
                    tally.refusal(&format!("thief:{way}:{}", closed.kind()));
                }
            }
        }
    }
    theft
}

fn ways(loot: &Loot, own: &SecretKey, clock: &SharedClock) -> [(&'static str, String); 3] {
    let token = &loot.token;
    let id = &loot.connect.client_id;
    let verifier = loot.verifier.as_ref().unwrap_or(&token.audience);
    let (now, counter) = (clock.unix(), u32::MAX - 1);
    let forged = ConnectProof::make(own, verifier, id, &token.bytes, now, counter);
    let forged = Credential { token: token.bytes.clone(), proof: Some(forged) };
    let bare = Credential { token: token.bytes.clone(), proof: None };
    [
        ("own_key", encoding::base64url(&forged.to_password())),
        ("no_proof", encoding::base64url(&bare.to_password())),
        ("replay", loot.connect.password.clone()),
    ]
}
