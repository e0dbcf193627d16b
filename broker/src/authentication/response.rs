//! The answer to a refused peer, and its delay. The true reason goes to log, metric and observer alone.

use std::time::Duration;

use tessera_token::refusal::RefusalCode;

use crate::codec::ReasonCode;
use crate::limits::REFUSAL_BUCKET;

/// The CONNACK code. Until the proof held, every judgement about the credential is "not authorized", so that a peer
/// without a key learns no issuer, audience or epoch; a reason that does not depend on the credential may be sent.
pub(crate) fn connack_reason(code: RefusalCode) -> ReasonCode {
    match code {
        // Too many of one network, or of all: not about the credential.
        RefusalCode::LimitReached | RefusalCode::RateLimited => ReasonCode::SERVER_BUSY,
        RefusalCode::ShareUsedUp => ReasonCode::QUOTA_EXCEEDED,
        // Told only once the proof held: the device makes a new one in a few seconds.
        RefusalCode::TrustMissing
        | RefusalCode::TrustNotFollowed
        | RefusalCode::NotReady
        | RefusalCode::ProofUndecided => ReasonCode::SERVER_UNAVAILABLE,
        RefusalCode::MethodNotSupported => ReasonCode::BAD_AUTHENTICATION_METHOD,
        _ => ReasonCode::NOT_AUTHORIZED,
    }
}

/// How long to wait before a refusal is sent, when `passed` has passed since the CONNECT: to the next multiple of
/// the bucket.
pub(crate) fn hold_back(passed: Duration) -> Duration {
    tessera_runtime::hold_back::hold_back(passed, REFUSAL_BUCKET)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judgements_about_the_credential_look_the_same() {
        let open = [
            RefusalCode::LimitReached,
            RefusalCode::RateLimited,
            RefusalCode::ShareUsedUp,
            RefusalCode::TrustMissing,
            RefusalCode::TrustNotFollowed,
            RefusalCode::NotReady,
            RefusalCode::ProofUndecided,
            RefusalCode::MethodNotSupported,
        ];
        for code in RefusalCode::ALL.iter().filter(|code| !open.contains(code)) {
            assert_eq!(connack_reason(*code), ReasonCode::NOT_AUTHORIZED, "{code}");
        }
    }

    #[test]
    fn refusals_fall_on_the_bucket() {
        assert_eq!(hold_back(Duration::ZERO), REFUSAL_BUCKET);
        assert_eq!(hold_back(Duration::from_millis(49)), Duration::from_millis(1));
        assert_eq!(hold_back(Duration::from_millis(51)), Duration::from_millis(49));
    }
}
