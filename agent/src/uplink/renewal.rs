//! The next token of the gateway, over the connection that it has (`$tessera/token`). It is kept when this verifier itself
//! would take it: neither a broker nor a person on the way can put a token in its place that is good nowhere.

use std::time::Duration;

use tessera_runtime::random::{self, Random};
use tessera_token::key::SecretKey;
use tessera_token::messages::{RefusalAnswer, TokenAnswer, TokenKind, TokenRequest};
use tessera_token::time::UnixSeconds;

use super::held::Held;
use crate::config::UplinkConfig;
use crate::limits::{UPLINK_RENEW_AGAIN, UPLINK_RENEW_PERCENT};
use crate::validator::Validator;

/// The topic for tokens.
pub(super) const TOKEN_TOPIC: &str = "$tessera/token";

/// How long until the next token is asked for.
pub(super) fn wait(held: &Held, now: UnixSeconds) -> Duration {
    let life = held.expires.since(held.received);
    let due = held.received.plus(life.saturating_mul(UPLINK_RENEW_PERCENT) / 100);
    Duration::from_secs(due.since(now))
}

/// The wait until a token is asked for once more: a part of its life, so that a short one is asked for often enough.
pub(super) fn again(held: &Held) -> Duration {
    let part = Duration::from_secs(held.expires.since(held.received)) / 20;
    part.clamp(Duration::from_millis(500), UPLINK_RENEW_AGAIN)
}

/// The request for the next token; `None` without randomness.
pub(super) fn request(
    config: &UplinkConfig,
    key: &SecretKey,
    now: UnixSeconds,
    random: &dyn Random,
) -> Option<Vec<u8>> {
    let nonce: [u8; 16] = random::bytes(random).ok()?;
    let draft = TokenRequest::draft(config.tenant(), config.device(), now, &nonce, TokenKind::Key);
    Some(draft.signed_by(key).to_cbor())
}

/// The token of a message on the topic, when it is the next one of this gateway; the words of what is wrong otherwise.
pub(super) fn next(
    payload: &[u8],
    (config, key, held): (&UplinkConfig, &SecretKey, &Held),
    validator: &Validator,
) -> Result<Held, String> {
    let Ok(answer) = TokenAnswer::from_cbor(payload) else {
        let refused = RefusalAnswer::from_cbor(payload).map_err(|error| error.to_string())?;
        let code = refused.code.map_or(refused.description.as_str(), |code| code.as_str());
        return Err(code.to_owned());
    };
    let verified = validator.verify(&answer.access_token);
    let verified = verified.map_err(|refusal| refusal.code.as_str().to_owned())?;
    let claims = verified.claims();
    let own = claims.tenant == *config.tenant() && claims.device == *config.device();
    let bound = verified.public_key() == Some(key.public().thumbprint());
    if !own || !bound || answer.bearer || claims.expires <= held.expires {
        return Err("a token that is not the next one of this device".to_owned());
    }
    Ok(Held {
        audience: claims.audience.as_str().to_owned(),
        received: claims.issued,
        expires: claims.expires,
        bytes: answer.access_token,
    })
}
