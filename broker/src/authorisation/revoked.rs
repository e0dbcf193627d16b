//! Whether the grant of a session was revoked.

use tessera_agent::validator::Validator;
use tessera_token::grant::Grant;
use tessera_token::refusal::RefusalCode;
use tessera_token::token_identity::TokenIdentity;

/// The refusal, if this grant was revoked. The end of a token by time is no revocation, and neither are trust data that
/// are missing or stale: a persistent session then waits for its device with the next token or for fresh trust data,
/// and timers end connected sessions.
pub(crate) fn revocation_of(validator: &Validator, grant: &Grant) -> Option<RefusalCode> {
    match validator.still_holds(grant).err()? {
        RefusalCode::TokenExpired => validator.publisher_revoked(&TokenIdentity::of(grant)),
        code if code.cannot_tell() => validator.publisher_revoked(&TokenIdentity::of(grant)),
        // A key whose time has not come, or is over, by a clock that may be wrong: refused now, and not revoked.
        _ => validator
            .grant_revoked(grant)
            .or_else(|| validator.publisher_revoked(&TokenIdentity::of(grant))),
    }
}

/// Why a session that rests on `held` must not go on with `next`. A later epoch in `next` means that the
/// device was revoked in between, even when the trust feed has not said so yet; `next` alone does not show that later.
pub(crate) fn revoked_between(
    validator: &Validator,
    held: &Grant,
    next: &Grant,
) -> Option<RefusalCode> {
    revocation_of(validator, held).or_else(|| next.epochs().moved_since(held.epochs()))
}
