//! Tokens for the tests of the device verbs.

use tessera_token::claims::{Claims, Epochs, Serial};
use tessera_token::ids::{Audience, DeviceId, TenantId};
use tessera_token::issue::issue;
use tessera_token::key::{Algorithm, PublicKey, SecretKey};
use tessera_token::scope::Scope;
use tessera_token::time::UnixSeconds;

/// Claims of the device `d-1` of the tenant `t`, good for 100 seconds.
pub(super) fn claims(issued: UnixSeconds, confirmation: Option<PublicKey>) -> Claims {
    Claims {
        tenant: TenantId::parse("t").unwrap(),
        device: DeviceId::parse("d-1").unwrap(),
        audience: Audience::parse("mqtt").unwrap(),
        expires: issued.plus(100),
        not_before: None,
        issued,
        serial: Serial::from_counter(1),
        confirmation,
        scope: Scope::default(),
        epochs: Epochs::default(),
    }
}

/// A token of these claims, by the issuer key of the tests.
pub(super) fn token(claims: &Claims) -> Vec<u8> {
    issue(claims, Algorithm::Ed25519, &SecretKey::from_seed(&[9; 32])).unwrap()
}
