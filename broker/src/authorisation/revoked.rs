//! Whether what a session rests on was revoked.

use tessera_agent::validator::Validator;
use tessera_token::grant::Grant;
use tessera_token::refusal::RefusalCode;
use tessera_token::standing::Standing;

/// Why no client may go on by this grant: not because the token expired, and not because the
/// broker cannot tell. A kept session waits for its device with a next token or for fresh trust data, and timers
/// end connected ones.
pub(crate) fn withdrawn(validator: &Validator, grant: &Grant) -> Option<RefusalCode> {
    match validator.still_holds(grant).err()? {
        RefusalCode::TokenExpired => validator.taken_back(&Standing::of(grant)),
        code if code.cannot_tell() => validator.taken_back(&Standing::of(grant)),
        // A key whose time has not come, or is over, by a clock that may be wrong: refused now, and not withdrawn.
        _ => validator.withdrawn(grant).or_else(|| validator.taken_back(&Standing::of(grant))),
    }
}

/// Why a session that rests on `held` must not go on with `next`. A later epoch in `next` means that the
/// device was revoked in between, even when the trust feed has not told so yet; `next` alone does not show that later.
pub(crate) fn revoked_between(
    validator: &Validator,
    held: &Grant,
    next: &Grant,
) -> Option<RefusalCode> {
    withdrawn(validator, held).or_else(|| next.epochs().moved_since(held.epochs()))
}
